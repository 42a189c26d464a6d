#include "fewbits/secure/words.h"

#include <bit>
#include <string>

#include "fewbits/error.h"

namespace fewbits::secure {
namespace {

void check(std::size_t from, std::size_t to, unsigned bits) {
  if (bits < 1 || bits > 32) throw Error(Errc::kBadArgument, "words have 1 to 32 bits, not " + std::to_string(bits));
  if (from != to) throw Error(Errc::kBadArgument, std::to_string(from) + " values are not " + std::to_string(to));
}

constexpr std::uint64_t modulus(unsigned bits) { return std::uint64_t{1} << bits; }

}  // namespace

unsigned word_bits(std::uint64_t values, std::uint64_t clients) {
  if (values == 0 || clients == 0) throw Error(Errc::kBadArgument, "a sum has at least one value and one client");
  // ⌈log2(m + 1)⌉ is the bits of m.
  const std::uint64_t largest = 0xFFFF'FFFF;
  if (values - 1 > largest / clients)
    throw Error(Errc::kBadArgument, "sums of " + std::to_string(clients) + " clients with " + std::to_string(values) +
                                        " values each need more than 32 bits");
  const auto bits = static_cast<unsigned>(std::bit_width(clients * (values - 1)));
  return bits == 0 ? 1 : bits;
}

void to_words(std::span<const std::int32_t> integers, unsigned bits, std::span<std::uint32_t> words) {
  check(integers.size(), words.size(), bits);
  const auto mask = static_cast<std::uint32_t>(modulus(bits) - 1);
  const auto low = -static_cast<std::int64_t>(modulus(bits) / 2), high = static_cast<std::int64_t>(modulus(bits));
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (integers[i] < low || integers[i] >= high)
      throw Error(Errc::kBadArgument,
                  std::to_string(integers[i]) + " is not a number of " + std::to_string(bits) + " bits, at " + std::to_string(i));
    words[i] = static_cast<std::uint32_t>(integers[i]) & mask;
  }
}

void from_words(std::span<const std::uint32_t> words, unsigned bits, std::int64_t lowest, std::span<std::int64_t> integers) {
  check(words.size(), integers.size(), bits);
  const std::uint64_t mask = modulus(bits) - 1;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (words[i] > mask)
      throw Error(Errc::kBadArgument,
                  std::to_string(words[i]) + " is not a word of " + std::to_string(bits) + " bits, at " + std::to_string(i));
    integers[i] = lowest + static_cast<std::int64_t>((words[i] - static_cast<std::uint64_t>(lowest)) & mask);
  }
}

void from_words(std::span<const std::uint32_t> words, unsigned bits, std::span<std::int64_t> integers) {
  check(words.size(), integers.size(), bits);
  from_words(words, bits, -static_cast<std::int64_t>(modulus(bits) / 2), integers);
}

}  // namespace fewbits::secure
