#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "datasets/dataset.h"

namespace fewbits::datasets {

// Texts of users, as numbers of tokens.
struct Text {
  struct User {
    std::string name;
    std::vector<std::uint16_t> train, test;  // below the size of the vocabulary; test goes on where train ends
  };
  std::string name;
  std::string folder;
  std::vector<SourceFile> files;
  std::vector<std::string> vocabulary;  // token number -> what it stands for
  std::vector<User> users;              // in the order of the text; one of few tokens may have no train, or no test
};

enum class Tokens {
  kCharacters,  // line end, space, !'(),-.:;?, A to Z but for X, a to z; what is none of them is a space
  kWords,       // runs of letters and apostrophes, in lower case; number 0 stands for all that have no other
};

inline constexpr std::size_t kAlphabetSize = 63;
inline constexpr std::size_t kMostWords = 65535;

// The first 80 % of each user's tokens, rounded down, train, the rest test. `most_words` (1 to kMostWords): so many
// words that are the most frequent in the text that trains, equally frequent ones in alphabetical order, have a number
// of their own; not used for characters.
//
// name             users
// "kjv"            the chapters of the King James Bible, "Ge 1" to "Rev 22"; of each verse the text and a line end
// "kjv:users=books,books=1-39"
//                  its books, and only those of the Old Testament (numbered from 1, in order); either may be left out.
//                  The words of the vocabulary are counted in all books whichever are chosen, so that a model of some
//                  can be trained on others.
// "fortunes"       the authors that Debian's fortunes quote with 1,000 characters or more, in alphabetical order
// any other name   the files NAME.txt of a folder, sorted by name; bytes 0x80 to 0xBF continue a character of UTF-8
//
// `data` is the folder to read; where it is empty, it is $FEWBITS_DATA/NAME if that exists, and else Debian's: the
// output of the program `bible`, the folder of fortunes. The Bible in a folder is a file kjv.txt, as `bible` writes it.
// The checksum of the Bible is verified unless `data` names the folder. Throws kBadArgument when nothing is found, when
// a line of kjv.txt is no verse, and when there is no text.
Text load_text(const std::string& name, const std::filesystem::path& data, Tokens tokens, std::size_t most_words);

// Shares of the test tokens that models of counts predict, the most frequent by the counts in the text that trains, the
// least number among equals. No user's last token is followed by another's first; where a test begins, the token before
// it is the user's last that trains. "<unknown>" is a token like the others. 0 without test tokens.
struct Baselines {
  double unigram_accuracy;  // always the most frequent token
  double bigram_accuracy;   // the most frequent after the token before; the unigram's where there is none
};
Baselines baselines(const Text& text);

}  // namespace fewbits::datasets
