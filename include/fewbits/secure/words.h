#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "fewbits/export.h"

namespace fewbits::secure {

// Integers as words mod 2^bits, which are what is masked and summed: an integer k is the word k mod 2^bits, and a sum of words is
// the sum of the integers as long as it is known to lie among 2^bits neighbouring numbers.

// Bits with which a sum of `clients` integers, each one of `values` neighbouring numbers, never wraps:
// ⌈log2(clients · (values − 1) + 1)⌉, at least 1. Throws kBadArgument where either is 0, and for more than 32 bits.
FEWBITS_API unsigned word_bits(std::uint64_t values, std::uint64_t clients);

// words[i] = integers[i] mod 2^bits; shapes are equal. Throws kBadArgument for lengths that differ, and for an integer that is
// neither a signed nor an unsigned number of so many bits.
FEWBITS_API void to_words(std::span<const std::int32_t> integers, unsigned bits, std::span<std::uint32_t> words);

// integers[i] = the number from `lowest` to lowest + 2^bits − 1 whose word is words[i]; as Integers::mean takes them. `lowest`:
// what the sum cannot fall below, clients · the least value. Throws kBadArgument for lengths that differ, and words of more bits.
FEWBITS_API void from_words(std::span<const std::uint32_t> words, unsigned bits, std::int64_t lowest,
                            std::span<std::int64_t> integers);

// The same, centred: from −2^(bits−1) to 2^(bits−1) − 1.
FEWBITS_API void from_words(std::span<const std::uint32_t> words, unsigned bits, std::span<std::int64_t> integers);

}  // namespace fewbits::secure
