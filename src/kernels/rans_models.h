#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/rans.h"

// Models of symbols for the range coder, in integers alone: docs/frame-format.md §7 specifies each number.
namespace fewbits {

// floor(2^16·log2(x)), x ≥ 1, to within 1 of its last place.
constexpr std::uint64_t log2_fixed(std::uint64_t x) noexcept {
  const auto whole = static_cast<unsigned>(std::bit_width(x)) - 1;
  std::uint64_t mantissa = whole > 31 ? x >> (whole - 31) : x << (31 - whole);   // [2^31, 2^32)
  std::uint64_t result = whole;
  for (int bit = 0; bit < 16; ++bit) {
    mantissa = mantissa * mantissa >> 31;
    result <<= 1;
    if (mantissa >> 32 != 0) {
      mantissa >>= 1;
      result |= 1;
    }
  }
  return result;
}

// What intervals cost, from the product of their frequencies.
class CodeLength {
 public:
  void add(RansInterval symbol) noexcept {
    bits_ += kRansBits;
    product_ *= symbol.frequency;
    const auto width = static_cast<unsigned>(std::bit_width(product_));
    const unsigned excess = std::max(width, 32u) - 32;
    product_ >>= excess;
    bits_ -= excess;
  }
  void add_bits(std::uint64_t bits) noexcept { bits_ += bits; }
  std::uint64_t bits() const noexcept { return bits_ - static_cast<std::uint64_t>(std::bit_width(product_) - 1); }

 private:
  std::uint64_t product_ = 1;
  std::uint64_t bits_ = 0;
};

// A distribution of tokens 0 … T − 1 that follows what it sees. A view of memory that its owner keeps: the borders 0 … T of
// the tokens' shares in 2^30, and how many were seen.
class FollowingModel {
 public:
  static constexpr unsigned kScaleBits = 30;
  static constexpr std::size_t words_for(std::size_t tokens) noexcept { return tokens + 2; }

  explicit FollowingModel(std::span<std::uint32_t> memory) noexcept
      : borders_(memory.first(memory.size() - 1)), seen_(&memory.back()) {}

  void begin() noexcept {
    for (std::size_t i = 0; i <= tokens(); ++i)
      borders_[i] = static_cast<std::uint32_t>((static_cast<std::uint64_t>(i) << kScaleBits) / tokens());
    *seen_ = 0;
  }

  std::size_t tokens() const noexcept { return borders_.size() - 1; }
  std::uint64_t border(std::size_t i) const noexcept { return borders_[i]; }
  std::uint32_t seen(std::uint32_t limit) const noexcept { return std::min(*seen_, limit); }

  // Moves towards a distribution that is even over the tokens within `radius` of this one: by 1/(1 + prior + tokens seen
  // so far), of which those beyond `limit` do not count.
  void follow(std::size_t token, std::uint32_t radius, std::uint32_t prior, std::uint32_t limit) noexcept {
    const std::uint32_t rate = (1u << 24) / (seen(limit) + 1 + prior);
    const std::uint32_t stay = (1u << 24) - rate;
    std::uint32_t* const borders = borders_.data();
    const auto moved = [&](std::uint32_t border, std::uint64_t pull) {
      return static_cast<std::uint32_t>((static_cast<std::uint64_t>(border) * stay + pull) >> 24);
    };
    const std::size_t low = token > radius ? token - radius : 0;   // the last border that moves to 0
    const std::size_t high = std::min<std::size_t>(token + radius + 1, tokens());
    for (std::size_t i = 1; i <= low; ++i) borders[i] = moved(borders[i], 0);
    const std::uint64_t slope = static_cast<std::uint64_t>((1u << kScaleBits) / (2 * radius + 1)) * rate;
    for (std::size_t i = low + 1; i < high; ++i) borders[i] = moved(borders[i], (i + radius - token) * slope);
    const std::uint64_t whole = static_cast<std::uint64_t>(rate) << kScaleBits;
    for (std::size_t i = high; i < tokens(); ++i) borders[i] = moved(borders[i], whole);
    ++*seen_;
  }

  // The intervals alone, each at least 1 long.
  std::uint32_t start(std::size_t i) const noexcept { return scaled(border(i), i, tokens()); }
  RansInterval interval(std::size_t token) const noexcept { return {start(token), start(token + 1) - start(token)}; }

  static std::uint32_t scaled(std::uint64_t border, std::size_t i, std::size_t tokens) noexcept {
    return static_cast<std::uint32_t>(i + (border * (kRansTotal - tokens) >> kScaleBits));
  }

 private:
  std::span<std::uint32_t> borders_;
  std::uint32_t* seen_;
};

// The token whose interval holds the slot, where `start` (rising, start(0) = 0, start(tokens) = kRansTotal) gives the
// intervals' starts.
template <class Start>
std::size_t token_at(std::uint32_t slot, std::size_t tokens, Start start) noexcept {
  std::size_t low = 0;
  for (std::size_t high = tokens; high - low > 1;) {
    const std::size_t middle = (low + high) / 2;
    (start(middle) <= slot ? low : high) = middle;
  }
  return low;
}

// What an AdaptiveModel does beside counting.
struct AdaptiveOptions {
  bool smooth = false;   // what is seen of one token says something of its neighbours
  bool fast = false;     // old tokens are forgotten sooner

  // Fewer tokens have no neighbours, and fewer symbols no old ones.
  static constexpr std::size_t kMinSmoothTokens = 4;
  static constexpr std::size_t kMinFastSymbols = 257;
};

// Tokens in contexts, each of which has a distribution of its own, mixed with one that all share: the more of the own
// the more it has seen.
class AdaptiveModel {
 public:
  static constexpr std::size_t words_for(std::size_t contexts, std::size_t tokens) noexcept {
    return (contexts + 1) * FollowingModel::words_for(tokens);
  }

  // memory has words_for(contexts, tokens) words.
  AdaptiveModel(std::span<std::uint32_t> memory, std::size_t tokens, AdaptiveOptions options) noexcept
      : memory_(memory), tokens_(tokens), limit_(options.fast ? 256 : 4096), weight_(4) {
    if (options.smooth) {
      radius_ = static_cast<std::uint32_t>((tokens + 10) / 12);
      weight_ += static_cast<std::uint32_t>(tokens / 2);
    }
    for (std::size_t at = 0; at < memory_.size(); at += FollowingModel::words_for(tokens_)) model(at).begin();
  }

  RansInterval interval(std::size_t context, std::size_t token) const noexcept {
    const Mix mix(*this, context);
    const std::uint32_t start = mix.start(token);
    return {start, mix.start(token + 1) - start};
  }

  std::size_t token_at(std::size_t context, std::uint32_t slot, RansInterval& interval) const noexcept {
    const Mix mix(*this, context);
    const std::size_t token = fewbits::token_at(slot, tokens_, [&](std::size_t i) { return mix.start(i); });
    interval.start = mix.start(token);
    interval.frequency = mix.start(token + 1) - interval.start;
    return token;
  }

  void follow(std::size_t context, std::size_t token) noexcept {
    own(context).follow(token, 0, 0, limit_);
    shared().follow(token, radius_, kSharedPrior, limit_);
  }

 private:
  static constexpr std::uint32_t kSharedPrior = 2;

  struct Mix {
    Mix(const AdaptiveModel& all, std::size_t context) noexcept : own(all.own(context)), shared(all.shared()) {
      const std::uint64_t seen = own.seen(all.limit_);
      share = (seen << 16) / (seen + all.weight_);
    }
    std::uint32_t start(std::size_t i) const noexcept {
      const std::uint64_t border = (shared.border(i) * ((1u << 16) - share) + own.border(i) * share) >> 16;
      return FollowingModel::scaled(border, i, own.tokens());
    }
    FollowingModel own;
    FollowingModel shared;
    std::uint64_t share;   // of the own distribution, in 2^16
  };

  FollowingModel model(std::size_t at) const noexcept {
    return FollowingModel(memory_.subspan(at, FollowingModel::words_for(tokens_)));
  }
  FollowingModel shared() const noexcept { return model(0); }
  FollowingModel own(std::size_t context) const noexcept {
    return model((context + 1) * FollowingModel::words_for(tokens_));
  }

  std::span<std::uint32_t> memory_;
  std::size_t tokens_;
  std::uint32_t limit_;
  std::uint32_t weight_;
  std::uint32_t radius_ = 0;
};

// How often each token occurs, as a table says it: of a count's w bits the first, 1, and the kept_bits(w) after it.
namespace count_table {

constexpr unsigned kept_bits(unsigned width) noexcept { return width < 4 ? 0 : width / 2 - 2; }

// The least count of which the table says the same.
constexpr std::uint32_t rounded(std::uint32_t count) noexcept {
  const auto width = static_cast<unsigned>(std::bit_width(count));
  if (width == 0) return 0;
  const unsigned lost = width - 1 - kept_bits(width);
  return count >> lost << lost;
}

// Twice the mean of the counts of which the table says the same.
constexpr std::uint64_t weight(std::uint32_t count) noexcept {
  const auto width = static_cast<unsigned>(std::bit_width(count));
  if (width == 0) return 0;
  return 2 * static_cast<std::uint64_t>(rounded(count)) + (1ull << (width - 1 - kept_bits(width))) - 1;
}

// borders (shape [tokens + 1]): the intervals of tokens with these counts (or rounded ones; not all 0) among kRansTotal.
// Those that do not occur have none, rare ones have 1, the others share the rest.
inline void borders(std::span<const std::uint32_t> counts, std::span<std::uint16_t> borders) noexcept {
  std::uint64_t total = 0;
  for (const std::uint32_t count : counts) total += weight(count);
  const auto rare = [&](std::uint64_t one) { return one << (kRansBits - 1) < total; };
  std::uint64_t shared = total;
  std::uint64_t room = kRansTotal;
  for (const std::uint32_t count : counts) {
    const std::uint64_t one = weight(count);
    if (one == 0 || !rare(one)) continue;
    shared -= one;
    room -= 1;
  }
  std::uint64_t sum = 0;
  std::uint64_t border = 0;
  std::uint64_t rare_before = 0;
  borders[0] = 0;
  for (std::size_t token = 0; token < counts.size(); ++token) {
    const std::uint64_t one = weight(counts[token]);
    if (one != 0 && rare(one)) {
      ++rare_before;
    } else {
      sum += one;
    }
    border = sum * room / shared + rare_before;
    borders[token + 1] = static_cast<std::uint16_t>(border);
  }
}

inline constexpr std::size_t kWidths = 33;   // of counts: 0 … 32 bits
inline constexpr std::uint32_t kWidthPrior = 2;
inline constexpr std::uint32_t kWidthLimit = 4096;

// Calls put(RansInterval) for each of the table's symbols. `widths` has kWidths tokens and goes on from table to table.
template <class Put>
void write(std::span<const std::uint32_t> counts, FollowingModel widths, Put put) {
  std::size_t before = 0;
  for (const std::uint32_t count : counts) {
    const auto width = static_cast<std::size_t>(std::bit_width(count));
    const std::size_t step = (width + kWidths - before) % kWidths;
    put(widths.interval(step));
    widths.follow(step, 0, kWidthPrior, kWidthLimit);
    before = width;
    const unsigned kept = kept_bits(static_cast<unsigned>(width));
    if (kept == 0) continue;
    const std::uint32_t value = count >> (width - 1 - kept) & ((1u << kept) - 1);
    put({value << (kRansBits - kept), 1u << (kRansBits - kept)});
  }
}

// counts (shape [tokens]): rounded ones.
inline void read(RansReader& reader, FollowingModel widths, std::span<std::uint32_t> counts) noexcept {
  std::size_t before = 0;
  for (std::uint32_t& count : counts) {
    const std::size_t step =
        token_at(reader.slot(0), kWidths, [&](std::size_t i) { return widths.start(i); });
    reader.advance(0, widths.interval(step));
    widths.follow(step, 0, kWidthPrior, kWidthLimit);
    const auto width = static_cast<unsigned>((before + step) % kWidths);
    before = width;
    const unsigned kept = kept_bits(width);
    count = width == 0 ? 0 : ((1u << kept) | reader.bits(0, kept)) << (width - 1 - kept);
  }
}

}  // namespace count_table

}  // namespace fewbits
