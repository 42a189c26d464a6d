#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "fewbits/aggregator.h"
#include "secure/crypto.h"

// Words and their masks. A mask's word i is lane i of its key stream: 16 bits each for words of up to 16 bits, else 32,
// little-endian; lanes are added mod 2^16 or 2^32, and the low bits are the word.
namespace fewbits::secure {

inline constexpr std::size_t kPackedWords = 4096;

struct Mask {
  Secret key;
  bool subtract = false;
};

// bytes (shape [kernels::packed_bytes]) = the sum of words, which are below 2^bits, and masks: pieces of kPackedWords words, each
// packed as by kernels::pack.
void mask(std::span<const std::uint32_t> words, unsigned bits, std::span<const Mask> masks, std::span<std::byte> bytes,
          Executor* executor);

// The running sum of packed inputs: one lane a word.
class MaskedSum {
 public:
  MaskedSum(std::size_t length, unsigned bits);

  // False, with nothing added, where a padding bit is set. `bytes` has the right length.
  bool add(std::span<const std::byte> bytes);

  // The words, with masks added or subtracted.
  std::vector<std::uint32_t> opened(std::span<const Mask> masks, Executor* executor) const;

 private:
  std::size_t length_;
  unsigned bits_;
  std::vector<std::uint16_t> narrow_;
  std::vector<std::uint32_t> wide_;
};

}  // namespace fewbits::secure
