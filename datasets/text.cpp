#include "datasets/text.h"

#include <algorithm>
#include <array>
#include <span>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "datasets/documents.h"
#include "fewbits/error.h"

namespace fewbits::datasets {
namespace {

constexpr std::string_view kAlphabet = "\n !'(),-.:;?ABCDEFGHIJKLMNOPQRSTUVWYZabcdefghijklmnopqrstuvwxyz";
static_assert(kAlphabet.size() == kAlphabetSize);
constexpr std::uint16_t kSpace = 1;
static_assert(kAlphabet[kSpace] == ' ');

constexpr std::string_view kUnknown = "<unknown>";

std::size_t train_size(std::size_t tokens) { return tokens * 4 / 5; }

Text::User split(const std::string& name, std::span<const std::uint16_t> tokens) {
  const auto middle = tokens.begin() + static_cast<std::ptrdiff_t>(train_size(tokens.size()));
  return {name, {tokens.begin(), middle}, {middle, tokens.end()}};
}

std::vector<std::uint16_t> characters_of(std::string_view text) {
  static const std::array<std::uint16_t, 256> numbers = [] {
    std::array<std::uint16_t, 256> table;
    table.fill(kSpace);
    for (std::size_t i = 0; i < kAlphabet.size(); ++i) {
      table[static_cast<unsigned char>(kAlphabet[i])] = static_cast<std::uint16_t>(i);
    }
    return table;
  }();
  std::vector<std::uint16_t> tokens;
  tokens.reserve(text.size());
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte & 0xC0) != 0x80) tokens.push_back(numbers[byte]);
  }
  return tokens;
}

// Calls `use` with each word, in lower case.
template <class Use>
void for_each_word(std::string_view text, Use&& use) {
  std::string word;
  const auto end_word = [&] {
    if (!word.empty()) use(word);
    word.clear();
  };
  for (const char c : text) {
    const char lower = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    if ((lower >= 'a' && lower <= 'z') || lower == '\'') {
      word.push_back(lower);
    } else {
      end_word();
    }
  }
  end_word();
}

// All words by numbers in the order of their first occurrence.
struct Words {
  std::vector<std::string> spellings;
  std::vector<std::vector<std::uint32_t>> documents;  // shape [documents][words of each]
};

Words words_of(const std::vector<Document>& documents) {
  Words words;
  std::unordered_map<std::string, std::uint32_t> numbers;
  for (const Document& document : documents) {
    std::vector<std::uint32_t>& sequence = words.documents.emplace_back();
    for_each_word(document.text, [&](const std::string& word) {
      const auto [entry, is_new] = numbers.try_emplace(word, static_cast<std::uint32_t>(words.spellings.size()));
      if (is_new) words.spellings.push_back(word);
      sequence.push_back(entry->second);
    });
  }
  return words;
}

// Numbers of the words that are kept, the most frequent first.
std::vector<std::uint32_t> most_frequent(const Words& words, std::size_t most_words) {
  std::vector<std::uint64_t> counts(words.spellings.size());
  for (const auto& sequence : words.documents) {
    for (const std::uint32_t word : std::span(sequence).first(train_size(sequence.size()))) ++counts[word];
  }
  std::vector<std::uint32_t> kept;
  for (std::uint32_t word = 0; word < counts.size(); ++word) {
    if (counts[word] > 0) kept.push_back(word);
  }
  std::sort(kept.begin(), kept.end(), [&](std::uint32_t a, std::uint32_t b) {
    return counts[a] != counts[b] ? counts[a] > counts[b] : words.spellings[a] < words.spellings[b];
  });
  kept.resize(std::min(kept.size(), most_words));
  return kept;
}

void add_characters(const std::vector<Document>& documents, Text& text) {
  for (const char c : kAlphabet) text.vocabulary.emplace_back(1, c);
  for (const Document& document : documents) {
    if (document.chosen) text.users.push_back(split(document.name, characters_of(document.text)));
  }
}

void add_words(const std::vector<Document>& documents, std::size_t most_words, Text& text) {
  if (most_words < 1 || most_words > kMostWords) {
    throw Error(Errc::kBadArgument, "a vocabulary of " + std::to_string(most_words) + " words, expected 1 to " +
                                        std::to_string(kMostWords));
  }
  const Words words = words_of(documents);
  std::vector<std::uint16_t> tokens(words.spellings.size(), 0);
  text.vocabulary.emplace_back(kUnknown);
  for (const std::uint32_t word : most_frequent(words, most_words)) {
    tokens[word] = static_cast<std::uint16_t>(text.vocabulary.size());
    text.vocabulary.push_back(words.spellings[word]);
  }
  for (std::size_t i = 0; i < documents.size(); ++i) {
    if (!documents[i].chosen) continue;
    std::vector<std::uint16_t> sequence;
    for (const std::uint32_t word : words.documents[i]) sequence.push_back(tokens[word]);
    text.users.push_back(split(documents[i].name, sequence));
  }
}

std::uint32_t pair_of(std::uint16_t before, std::uint16_t token) { return std::uint32_t{before} << 16 | token; }

struct Counts {
  std::vector<std::uint64_t> tokens;                       // shape [vocabulary]
  std::unordered_map<std::uint32_t, std::uint64_t> pairs;  // by pair_of
};

Counts count(const Text& text) {
  Counts counts{std::vector<std::uint64_t>(text.vocabulary.size()), {}};
  for (const Text::User& user : text.users) {
    for (std::size_t i = 0; i < user.train.size(); ++i) {
      ++counts.tokens[user.train[i]];
      if (i > 0) ++counts.pairs[pair_of(user.train[i - 1], user.train[i])];
    }
  }
  return counts;
}

// The most frequent token after each, `otherwise` where none was seen.
std::vector<std::uint16_t> best_successors(const Counts& counts, std::uint16_t otherwise) {
  std::vector<std::uint16_t> best(counts.tokens.size(), otherwise);
  std::vector<std::uint64_t> most(counts.tokens.size());
  for (const auto& [pair, number] : counts.pairs) {
    const std::size_t before = pair >> 16;
    const auto token = static_cast<std::uint16_t>(pair & 0xFFFF);
    if (number > most[before] || (number == most[before] && token < best[before])) {
      most[before] = number;
      best[before] = token;
    }
  }
  return best;
}

}  // namespace

Text load_text(const std::string& name, const std::filesystem::path& data, Tokens tokens, std::size_t most_words) {
  Documents documents = read_documents(name, data);
  Text text{name, std::move(documents.folder), std::move(documents.files), {}, {}};
  if (tokens == Tokens::kCharacters) {
    add_characters(documents.items, text);
  } else {
    add_words(documents.items, most_words, text);
  }
  const bool trains =
      std::any_of(text.users.begin(), text.users.end(), [](const Text::User& user) { return !user.train.empty(); });
  if (!trains) throw Error(Errc::kBadArgument, text.folder + " has no text to train on");
  return text;
}

Baselines baselines(const Text& text) {
  const Counts counts = count(text);
  const auto top =
      static_cast<std::uint16_t>(std::max_element(counts.tokens.begin(), counts.tokens.end()) - counts.tokens.begin());
  const std::vector<std::uint16_t> successors = best_successors(counts, top);
  std::uint64_t total = 0, unigram = 0, bigram = 0;
  for (const Text::User& user : text.users) {
    std::uint16_t guess = user.train.empty() ? top : successors[user.train.back()];
    for (const std::uint16_t token : user.test) {
      ++total;
      unigram += token == top;
      bigram += token == guess;
      guess = successors[token];
    }
  }
  const auto share = [&](std::uint64_t hits) {
    return total == 0 ? 0.0 : static_cast<double>(hits) / static_cast<double>(total);
  };
  return {share(unigram), share(bigram)};
}

}  // namespace fewbits::datasets
