#include "datasets/text.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <numeric>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "tests/federated/data_folder.h"

namespace fewbits::datasets {
namespace {

using Strings = std::vector<std::string>;

// Tokens as what they stand for, with blanks between words.
std::string spelled(const Text& text, const std::vector<std::uint16_t>& tokens) {
  const bool words = text.vocabulary.size() != kAlphabetSize;
  std::string spelling;
  for (const std::uint16_t token : tokens) {
    if (words && !spelling.empty()) spelling += ' ';
    spelling += text.vocabulary.at(token);
  }
  return spelling;
}

Strings names_of(const Text& text) {
  Strings names;
  for (const Text::User& user : text.users) names.push_back(user.name);
  return names;
}

struct Sizes {
  std::size_t train = 0;
  std::size_t test = 0;
  std::vector<std::size_t> users;  // ascending
};

Sizes sizes_of(const Text& text) {
  Sizes sizes;
  for (const Text::User& user : text.users) {
    sizes.train += user.train.size();
    sizes.test += user.test.size();
    sizes.users.push_back(user.train.size() + user.test.size());
  }
  std::sort(sizes.users.begin(), sizes.users.end());
  return sizes;
}

class TextFolder : public test::DataFolder {
 protected:
  Text characters(const std::string& name = "text") const { return load_text(name, folder_, Tokens::kCharacters, 0); }
  Text words(std::size_t most, const std::string& name = "text") const {
    return load_text(name, folder_, Tokens::kWords, most);
  }
};

TEST_F(TextFolder, EachFileIsAUserInTheOrderOfTheNames) {
  save("b.txt", "second");
  save("a.txt", "first");
  save("notes.md", "nobody");
  const Text text = characters();
  EXPECT_EQ(names_of(text), (Strings{"a", "b"}));
  ASSERT_EQ(text.files.size(), 2u);
  // sha256sum of the file.
  EXPECT_EQ(text.files[0].sha256, "a7937b64b8caa58f03721bb6bacf5c78cb235febe0e70b1b84cd99541461a08e");
}

TEST_F(TextFolder, TheFirstFourFifthsOfEachUserTrain) {
  save("a.txt", "abcdefghi");  // floor(7.2)
  save("b.txt", "x");          // floor(0.8)
  const Text text = characters();
  EXPECT_EQ(spelled(text, text.users[0].train), "abcdefg");
  EXPECT_EQ(spelled(text, text.users[0].test), "hi");
  EXPECT_TRUE(text.users[1].train.empty());
  EXPECT_EQ(spelled(text, text.users[1].test), "x");
}

TEST_F(TextFolder, CharactersOutsideTheAlphabetAreSpaces) {
  save("a.txt",
       "A\tX\xC3\xA9\xE2\x82\xAC"
       "7~\n1234");  // é, €: one space each
  const Text text = characters();
  EXPECT_EQ(text.vocabulary.size(), 63u);
  EXPECT_EQ(std::accumulate(text.vocabulary.begin(), text.vocabulary.end(), std::string()),
            "\n !'(),-.:;?ABCDEFGHIJKLMNOPQRSTUVWYZabcdefghijklmnopqrstuvwxyz");
  EXPECT_EQ(spelled(text, text.users[0].train) + spelled(text, text.users[0].test), "A      \n    ");
}

TEST_F(TextFolder, WordsAreNumberedByFrequencyInWhatTrainsThenByTheAlphabet) {
  save("a.txt", "The cat, the dog; it's THE end. zoo zoo");  // "zoo zoo" is the test
  save("b.txt", "Dog ant bee cat cow");                      // "cow" is the test
  const Text text = words(4);
  EXPECT_EQ(text.vocabulary, (Strings{"<unknown>", "the", "cat", "dog", "ant"}));
  EXPECT_EQ(spelled(text, text.users[0].train), "the cat the dog <unknown> the <unknown>");
  EXPECT_EQ(spelled(text, text.users[0].test), "<unknown> <unknown>");
  EXPECT_EQ(words(100).vocabulary, (Strings{"<unknown>", "the", "cat", "dog", "ant", "bee", "end", "it's"}));
}

TEST_F(TextFolder, TheVocabularyHasLimits) {
  save("a.txt", "some words to train on");
  EXPECT_EQ(words(kMostWords).vocabulary.size(), 5u);
  EXPECT_SAYS(message([&] { words(0); }), "expected 1 to 65535");
  EXPECT_SAYS(message([&] { words(kMostWords + 1); }), "65536");
}

TEST_F(TextFolder, CountsPredictWhatTheyHaveSeen) {
  save("a.txt", "ababababcc");  // trains "abababab", tests "cc"
  save("b.txt", "aaabababab");  // trains "aaababab", tests "ab"
  save("c.txt", "b");           // trains nothing, tests "b"
  save("d.txt", "zya");         // trains "zy", tests "a"
  save("e.txt", "qzy");         // trains "qz", tests "y"
  const Text text = characters();
  // The most frequent is a. After a comes b, after b comes a, after z comes y; nothing has followed c and y.
  // Unigram: two of c c a b b a y. Bigram: a for c, a for c; a for a, b for b; a for b; a for a; y for y.
  EXPECT_DOUBLE_EQ(baselines(text).unigram_accuracy, 2.0 / 7);
  EXPECT_DOUBLE_EQ(baselines(text).bigram_accuracy, 4.0 / 7);
}

TEST_F(TextFolder, EqualCountsPredictTheLeastNumber) {
  save("a.txt", "acabacabab");  // trains "acabacab": a 4 b 2 c 2, after a come b and c alike; tests "ab"
  EXPECT_DOUBLE_EQ(baselines(characters()).unigram_accuracy, 0.5);
  EXPECT_DOUBLE_EQ(baselines(characters()).bigram_accuracy, 1.0);
}

TEST_F(TextFolder, WhatHasNoTextIsRefused) {
  EXPECT_SAYS(message([&] { characters(); }), "has no .txt files");
  save("a.txt", "");
  save("b.txt", "1");
  EXPECT_SAYS(message([&] { characters(); }), "no text to train on");
  EXPECT_SAYS(message([&] { load_text("text", folder_ / "absent", Tokens::kCharacters, 0); }), "is no folder");
  EXPECT_SAYS(message([] { load_text("no-such-text", {}, Tokens::kCharacters, 0); }), "--data FOLDER");
  EXPECT_SAYS(message([&] { characters("text:users=books"); }), "no parameter 'users'");
}

TEST_F(TextFolder, TheEnvironmentNamesAFolderOfTexts) {
  save("tales/a.txt", "once upon a time");
  setenv("FEWBITS_DATA", folder_.c_str(), 1);
  const Text text = load_text("tales", {}, Tokens::kCharacters, 0);
  unsetenv("FEWBITS_DATA");
  EXPECT_EQ(text.folder, (folder_ / "tales").string());
  EXPECT_EQ(names_of(text), Strings{"a"});
}

constexpr const char* kVerses =
    "Ge1:1 In the\nGe1:2 beginning\nGe2:1 Thus\n1Sm1:1 Now\n2 Sm1:1 And it came\n2 Sm2:10 to pass: \n";

TEST_F(TextFolder, VersesBecomeChaptersOrBooks) {
  save("kjv.txt", kVerses);
  const Text chapters = characters("kjv");
  EXPECT_EQ(names_of(chapters), (Strings{"Ge 1", "Ge 2", "1Sm 1", "2 Sm 1", "2 Sm 2"}));
  EXPECT_EQ(spelled(chapters, chapters.users[0].train) + spelled(chapters, chapters.users[0].test),
            "In the\nbeginning\n");
  const Text books = characters("kjv:users=books");
  EXPECT_EQ(names_of(books), (Strings{"Ge", "1Sm", "2 Sm"}));
  EXPECT_EQ(sizes_of(books).users, (std::vector<std::size_t>{4, 22, 22}));
}

TEST_F(TextFolder, SomeBooksCanBeChosenAndTheVocabularyIsOfAll) {
  save("kjv.txt", kVerses);
  EXPECT_EQ(names_of(characters("kjv:books=2-3,users=books")), (Strings{"1Sm", "2 Sm"}));
  EXPECT_EQ(names_of(characters("kjv:books=1")), (Strings{"Ge 1", "Ge 2"}));
  EXPECT_EQ(names_of(words(9, "kjv:books=1")), (Strings{"Ge 1", "Ge 2"}));
  EXPECT_EQ(words(9, "kjv:books=1").vocabulary, words(9, "kjv").vocabulary);
  for (const char* books : {"0-1", "3-2", "1-", "-2", "x", "1-2x", "1-2-3"}) {
    EXPECT_SAYS(message([&] { characters(std::string("kjv:books=") + books); }), "expected numbers of the first");
  }
  EXPECT_SAYS(message([&] { characters("kjv:books=2-4"); }), "there are 3 books");
  EXPECT_SAYS(message([&] { characters("kjv:users=roles"); }), "expected chapters or books");
  EXPECT_SAYS(message([&] { characters("kjv:verses=1"); }), "no parameter 'verses'");
}

TEST_F(TextFolder, WhatIsNoVerseIsRefusedWithItsLine) {
  for (const char* line :
       {"", "Ge", "Ge1", "Ge1:", "Ge1:1", "1:1 x", "Ge:1 x", "Ge1:x y", "2 1:1 x", "4Sm1:1 x", " Ge1:1 x"}) {
    save("kjv.txt", std::string("Ge1:1 x\n") + line + "\nGe1:2 y\n");
    EXPECT_SAYS(message([&] { characters("kjv"); }), "kjv.txt:2: no verse");
  }
}

TEST_F(TextFolder, TheBibleIsVerifiedUnlessTheCallerNamesItsFolder) {
  save("kjv/kjv.txt", kVerses);
  setenv("FEWBITS_DATA", folder_.c_str(), 1);
  const std::string text = message([] { load_text("kjv", {}, Tokens::kCharacters, 0); });
  unsetenv("FEWBITS_DATA");
  EXPECT_SAYS(text, "expected cd45f0c9");
  EXPECT_EQ(load_text("kjv", folder_ / "kjv", Tokens::kCharacters, 0).users.size(), 5u);
}

TEST_F(TextFolder, WithoutTheProgramItIsSaidHowToGetIt) {
  const std::string path = std::getenv("PATH");
  setenv("PATH", folder_.c_str(), 1);
  const std::string text = message([] { load_text("kjv", {}, Tokens::kCharacters, 0); });
  setenv("PATH", path.c_str(), 1);
  EXPECT_SAYS(text, "apt-get install bible-kjv");
  EXPECT_SAYS(text, "--data FOLDER");
}

TEST_F(TextFolder, AProgramThatFailsOrSaysSomethingElseIsRefused) {
  const std::string path = std::getenv("PATH");
  setenv("PATH", folder_.c_str(), 1);
  std::string texts[2];
  const char* programs[2] = {"echo Ge1:1 x; exit 3", "echo Ge1:1 x"};
  for (int i = 0; i < 2; ++i) {
    std::filesystem::permissions(save("bible", std::string("#!/bin/sh\n") + programs[i] + "\n"),
                                 std::filesystem::perms::owner_all);
    texts[i] = message([] { load_text("kjv", {}, Tokens::kCharacters, 0); });
  }
  setenv("PATH", path.c_str(), 1);
  EXPECT_SAYS(texts[0], "bible fails");
  EXPECT_SAYS(texts[1], "expected cd45f0c9");
}

TEST_F(TextFolder, FortunesBelongToTheirAuthors) {
  const std::string line(499, 'a');
  save("wit", "One\n" + line + "\n\t\t-- Ann Author, \"Book\"\n%\nNobody's\n%\n  " + line + "\n -- Short\n%\n");
  save("wit.dat", "index");
  save("sayings", line + "\n\t-- Ann Author\n%\nempty\n\t-- \n");
  const Text text = characters("fortunes");
  ASSERT_EQ(names_of(text), Strings{"Ann Author"});
  EXPECT_EQ(sizes_of(text).users, std::vector<std::size_t>{1004});
  EXPECT_EQ(spelled(text, text.users[0].test).back(), '\n');
  EXPECT_SAYS(message([&] { load_text("fortunes", "/dev", Tokens::kCharacters, 0); }), "apt-get install fortunes");
}

// The real text, from its Debian package; `make data` installs it.
TEST(KingJames, ChaptersHaveTheirSizes) {
  const Text text = load_text("kjv", {}, Tokens::kCharacters, 0);
  ASSERT_EQ(text.users.size(), 1189u);
  EXPECT_EQ(text.users.front().name, "Ge 1");
  EXPECT_EQ(text.users.back().name, "Rev 22");
  EXPECT_EQ(spelled(text, text.users.front().train).substr(0, 29), "In the beginning God created ");
  const Sizes sizes = sizes_of(text);
  EXPECT_EQ(sizes.train, 3'309'789u);
  EXPECT_EQ(sizes.test, 828'061u);
  EXPECT_EQ(sizes.users.front(), 173u);
  EXPECT_EQ(sizes.users[118], 1423u);
  EXPECT_EQ(sizes.users[594], 3282u);
  EXPECT_EQ(sizes.users.back(), 12'995u);

  std::vector<std::size_t> counts(text.vocabulary.size());
  for (const Text::User& user : text.users) {
    for (const std::uint16_t token : user.train) ++counts[token];
    for (const std::uint16_t token : user.test) ++counts[token];
  }
  EXPECT_EQ(counts[0], 31'102u);                               // verses
  EXPECT_EQ(std::count(counts.begin(), counts.end(), 0u), 0);  // all 63 symbols occur
  EXPECT_NEAR(static_cast<double>(counts[1]) / 4'137'850, 0.183, 5e-4);
}

TEST(KingJames, BooksHaveTheirSizes) {
  const Text text = load_text("kjv:users=books", {}, Tokens::kCharacters, 0);
  const Sizes sizes = sizes_of(text);
  ASSERT_EQ(sizes.users.size(), 66u);
  EXPECT_EQ(sizes.users.front(), 1553u);
  EXPECT_EQ(sizes.users[33], 32'003u);
  EXPECT_EQ(sizes.users.back(), 223'732u);
  EXPECT_EQ(load_text("kjv:books=1-39", {}, Tokens::kCharacters, 0).users.back().name, "Mal 4");
  EXPECT_EQ(load_text("kjv:books=40-66", {}, Tokens::kCharacters, 0).users.front().name, "Mat 1");
}

TEST(KingJames, WordsAreAsManyAsCounted) {
  const Text text = load_text("kjv", {}, Tokens::kWords, 4000);
  const Sizes sizes = sizes_of(text);
  EXPECT_EQ(sizes.train + sizes.test, 789'684u);
  EXPECT_EQ(text.vocabulary.size(), 4001u);
  EXPECT_EQ(text.vocabulary[1], "the");
  std::size_t unknown = 0;
  for (const Text::User& user : text.users) {
    unknown += static_cast<std::size_t>(std::count(user.train.begin(), user.train.end(), 0) +
                                        std::count(user.test.begin(), user.test.end(), 0));
  }
  EXPECT_NEAR(1 - static_cast<double>(unknown) / 789'684, 0.973, 1e-3);
}

TEST(KingJames, WordsAreRunsOfItsCharacters) {
  const Text text = load_text("kjv", {}, Tokens::kCharacters, 0);
  std::set<std::string> types;
  std::size_t count = 0;
  for (const Text::User& user : text.users) {
    std::string characters = spelled(text, user.train) + spelled(text, user.test);
    for (char& c : characters) c = std::isalpha(c) != 0 || c == '\'' ? static_cast<char>(std::tolower(c)) : ' ';
    std::istringstream words(characters);
    for (std::string word; words >> word; ++count) types.insert(word);
  }
  EXPECT_EQ(count, 789'684u);
  EXPECT_EQ(types.size(), 12'824u);
}

}  // namespace
}  // namespace fewbits::datasets
