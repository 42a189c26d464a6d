#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace fewbits {

// How the symbols of an alphabet of any size are cut: a token, which a model can learn, and bits that are sent as they are.
// docs/frame-format.md §7.
class Tokens {
 public:
  static constexpr std::size_t kDirect = 512;           // alphabets up to here: each symbol is a token
  static constexpr std::size_t kMost = kDirect + 1;     // tokens, of any alphabet

  struct Cut {
    bool classes = false;           // of a large alphabet: tokens by size, fine for small symbols; else by the high bits
    bool has_frequent = false;      // one symbol has a token of its own, the last
    std::uint32_t frequent = 0;
  };

  Tokens(std::uint64_t alphabet, Cut cut) noexcept : cut_(cut) {
    if (alphabet > kDirect && !cut.classes)
      shift_ = static_cast<unsigned>(std::bit_width(alphabet - 1)) - static_cast<unsigned>(std::bit_width(kDirect - 1));
    count_ = cut_token(static_cast<std::uint32_t>(alphabet - 1)) + 1 + (cut.has_frequent ? 1 : 0);
  }

  std::size_t count() const noexcept { return count_; }
  bool has_frequent() const noexcept { return cut_.has_frequent; }
  std::uint32_t frequent() const noexcept { return cut_.frequent; }
  bool is_frequent(std::size_t token) const noexcept { return cut_.has_frequent && token == count_ - 1; }

  std::size_t token(std::uint32_t symbol) const noexcept {
    return cut_.has_frequent && symbol == cut_.frequent ? count_ - 1 : cut_token(symbol);
  }
  // How many bits follow a token. A symbol is first_symbol(its token) plus what they say.
  unsigned raw_bits(std::size_t token) const noexcept {
    if (is_frequent(token)) return 0;
    if (!cut_.classes) return shift_;
    return token < kSmall ? 0 : static_cast<unsigned>(token - kSmall) / kSteps + 1;
  }
  std::uint32_t first_symbol(std::size_t token) const noexcept {
    if (is_frequent(token)) return cut_.frequent;
    const auto number = static_cast<std::uint32_t>(token);
    if (!cut_.classes) return number << shift_;
    return token < kSmall ? number : (kSteps + (number - kSmall) % kSteps) << raw_bits(token);
  }

 private:
  static constexpr std::uint32_t kSmall = 16;   // classes of one symbol
  static constexpr std::uint32_t kSteps = 8;    // classes to each power of two behind them

  std::size_t cut_token(std::uint32_t symbol) const noexcept {
    if (!cut_.classes) return symbol >> shift_;
    if (symbol < kSmall) return symbol;
    const auto bits = static_cast<unsigned>(std::bit_width(symbol)) - 4;
    return kSmall + (bits - 1) * kSteps + (symbol >> bits) % kSteps;
  }

  Cut cut_;
  unsigned shift_ = 0;
  std::size_t count_;
};

}  // namespace fewbits
