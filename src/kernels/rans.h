#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "kernels/check.h"
#include "kernels/coder_tables.h"
#include "kernels/targets.h"

// Range asymmetric numeral systems (Duda 2013, arXiv 1311.2540) with interleaved states: 32-bit states in [2^16, 2^32),
// probabilities of 15 bits, 16-bit words. docs/frame-format.md specifies the bytes.
namespace fewbits {

// Where a symbol's interval begins among kRansTotal, and how long it is (at least 1).
struct RansInterval {
  std::uint32_t start = 0;
  std::uint32_t frequency = 0;
};

// Takes the symbols from the last to the first, since they are decoded in the opposite order; fills `room` from its end.
class RansWriter {
 public:
  // Words of room for symbols that take `bits` bits in all, beside the states. A symbol of probability p in a lane's
  // state x, in its interval's end, makes it up to log2(1 + p(1 − p)·2^15/x) bits longer than log2(1/p). While a lane
  // grows to its next word that adds up to less than 1.4 bits, from x = 2p·2^15 on; so no 16 bits become 18.
  static constexpr std::size_t words_for(std::size_t bits) noexcept { return bits / 16 + bits / 128 + kMaxRansLanes; }
  // The most that those symbols and the states are together.
  static constexpr std::size_t bytes_for(std::size_t bits) noexcept { return 2 * words_for(bits) + 4 * kMaxRansLanes; }

  explicit RansWriter(std::span<std::uint16_t> room) noexcept : begin_(room.data()), end_(begin_ + room.size()), next_(end_) { begin(1); }

  // Before the first symbol. The number of lanes must be known to the reader.
  void begin(unsigned lanes) noexcept {
    FEWBITS_DCHECK(lanes >= 1 && lanes <= kMaxRansLanes);
    lanes_ = lanes;
    for (std::uint32_t& state : states_) state = kRansLow;
  }

  void put(unsigned lane, RansInterval symbol) noexcept {
    FEWBITS_DCHECK(symbol.frequency != 0 && symbol.start + symbol.frequency <= kRansTotal);
    std::uint32_t& state = states_[lane];
    if (state >= static_cast<std::uint64_t>(symbol.frequency) << (32 - kRansBits)) {
      FEWBITS_DCHECK(next_ != begin_);
      *--next_ = static_cast<std::uint16_t>(state);
      state >>= 16;
    }
    state = (state / symbol.frequency << kRansBits) + state % symbol.frequency + symbol.start;
  }

  // With kMaxRansLanes lanes, symbols of a table of kRansTableSymbols, symbol i in lane i mod kMaxRansLanes, from the last on,
  // n a multiple of the lanes. How many are left for `put`.
  std::size_t put_table(std::span<const std::uint16_t, kRansTableSymbols + 1> borders,
                        std::span<const std::int32_t> symbols) noexcept {
    FEWBITS_DCHECK(lanes_ == kMaxRansLanes && symbols.size() % kMaxRansLanes == 0);
    return targets::chosen().rans_put(borders.data(), symbols.data(), symbols.size(), states_, begin_, &next_);
  }

  // Symbols first, first + 1, … of all, symbol i in lane i mod lanes, from the last on: of each where its interval starts, and
  // how long it is.
  void put_intervals(std::size_t first, std::span<const std::uint32_t> starts, std::span<const std::uint32_t> frequencies) noexcept {
    std::size_t left = starts.size();
    const auto put_last = [&] {
      --left;
      put(static_cast<unsigned>((first + left) % lanes_), {starts[left], frequencies[left]});
    };
    while (left != 0 && (first + left) % lanes_ != 0) put_last();
    const std::size_t below = std::min((lanes_ - first % lanes_) % lanes_, left);   // of a round that others have begun
    left = below + targets::chosen().rans_put_intervals(starts.data() + below, frequencies.data() + below, left - below, lanes_,
                                                        states_, begin_, &next_);
    while (left != 0) put_last();
  }

  // `count` ≤ 15 bits that are equally likely.
  void put_bits(unsigned lane, std::uint32_t value, unsigned count) noexcept {
    const unsigned shift = kRansBits - count;
    put(lane, {value << shift, 1u << shift});
  }

  std::size_t bytes() const noexcept {
    if (empty()) return 0;
    return static_cast<std::size_t>(end_ - next_) * 2 + (short_state() ? 3 : 4 * lanes_);
  }

  // out has bytes() bytes.
  void finish(std::span<std::byte> out) const noexcept {
    if (empty()) return;
    const std::size_t head = short_state() ? 3 : 4 * lanes_;
    std::memcpy(out.data(), states_, head);
    std::memcpy(out.data() + head, next_, out.size() - head);
  }

 private:
  // Nothing was put that took room: no bytes at all.
  bool empty() const noexcept {
    if (next_ != end_) return false;
    for (unsigned lane = 0; lane < lanes_; ++lane)
      if (states_[lane] != kRansLow) return false;
    return true;
  }
  // The one state of a small stream leaves out a top byte of zero; the parity of the length says so.
  bool short_state() const noexcept { return lanes_ == 1 && states_[0] < 1u << 24; }

  std::uint16_t* begin_;
  std::uint16_t* end_;
  std::uint16_t* next_;
  unsigned lanes_ = 1;
  std::uint32_t states_[kMaxRansLanes] = {};
};

// Reads what a RansWriter wrote, first symbol first. Bytes that are not such a stream give symbols all the same, and
// `ok` is false at the end.
class RansReader {
 public:
  explicit RansReader(std::span<const std::byte> bytes) noexcept : bytes_(bytes) {
    for (std::uint32_t& state : states_) state = kRansLow;
  }

  void begin(unsigned lanes) noexcept {
    lanes_ = lanes;
    for (std::uint32_t& state : states_) state = kRansLow;
    if (bytes_.empty()) return;
    const std::size_t head = lanes == 1 && bytes_.size() % 2 != 0 ? 3 : 4 * lanes;
    if (bytes_.size() < head || (bytes_.size() - head) % 2 != 0) {
      failed_ = true;
      return;
    }
    states_[0] = 0;
    std::memcpy(states_, bytes_.data(), head);
    position_ = head;
    bool fresh = head == bytes_.size();
    for (unsigned lane = 0; lane < lanes; ++lane) {
      failed_ = failed_ || states_[lane] < kRansLow;
      fresh = fresh && states_[lane] == kRansLow;
    }
    failed_ = failed_ || fresh || (lanes == 1 && head == 4 && states_[0] < 1u << 24);
  }

  // Which symbol comes next: the one whose interval holds the slot, below kRansTotal.
  std::uint32_t slot(unsigned lane) const noexcept { return states_[lane] & (kRansTotal - 1); }

  // Leaves that symbol behind.
  void advance(unsigned lane, RansInterval symbol) noexcept {
    std::uint32_t& state = states_[lane];
    state = symbol.frequency * (state >> kRansBits) + slot(lane) - symbol.start;
    if (state >= kRansLow) return;
    std::uint16_t word = 0;
    if (bytes_.size() - position_ >= sizeof word) {
      std::memcpy(&word, bytes_.data() + position_, sizeof word);
      position_ += sizeof word;
    } else {
      failed_ = true;
    }
    state = state << 16 | word;
  }

  // Undoes put_table: how many symbols, from the first on, were read and counted. The others are left for `advance`.
  std::size_t take_table(std::span<const std::uint16_t, kRansTableSymbols + 1> borders, std::span<std::int32_t> symbols,
                         std::span<std::uint32_t, kRansTableSymbols> counts) noexcept {
    FEWBITS_DCHECK(lanes_ == kMaxRansLanes);
    if (failed_) return 0;
    const auto* const all = reinterpret_cast<const std::uint8_t*>(bytes_.data());
    const std::uint8_t* next = all + position_;
    const std::size_t read = targets::chosen().rans_take(borders.data(), symbols.data(), symbols.size(), states_, &next,
                                                         all + bytes_.size(), counts.data());
    position_ = static_cast<std::size_t>(next - all);
    return read;
  }

  // Points of dithered cells (cells.h) from value `first` on, value i in lane i mod lanes and in the trellis i mod
  // kMaxTrellisStreams, whose states are `codes`; `classes` may be empty where all are of the class `tables.least`. How many of
  // the values are read then: whole rounds of lanes up to one that has a point without a symbol of its own.
  std::size_t take_cells(const targets::CellTables& tables, std::span<const std::int16_t> classes,
                         std::span<const std::uint32_t> words, std::size_t first, std::span<std::uint32_t> codes,
                         std::span<std::int32_t> points) noexcept {
    FEWBITS_DCHECK(first % lanes_ == 0);
    if (failed_) return first;
    const auto* const all = reinterpret_cast<const std::uint8_t*>(bytes_.data());
    const std::uint8_t* next = all + position_;
    const std::size_t read =
        targets::chosen().rans_take_cells(tables, classes.empty() ? nullptr : classes.data(), words.data(), first, points.size(),
                                          lanes_, codes.data(), points.data(), states_, &next, all + bytes_.size());
    position_ = static_cast<std::size_t>(next - all);
    return read;
  }

  std::uint32_t bits(unsigned lane, unsigned count) noexcept {
    const unsigned shift = kRansBits - count;
    const std::uint32_t value = slot(lane) >> shift;
    advance(lane, {value << shift, 1u << shift});
    return value;
  }

  void fail() noexcept { failed_ = true; }

  // Nothing was wrong so far: a long loop over bytes that are no stream may end early.
  bool good() const noexcept { return !failed_; }

  // After the last symbol: all bytes were used, and the states are back where a writer begins.
  bool ok() const noexcept {
    if (failed_ || position_ != bytes_.size()) return false;
    for (unsigned lane = 0; lane < lanes_; ++lane)
      if (states_[lane] != kRansLow) return false;
    return true;
  }

 private:
  std::span<const std::byte> bytes_;
  std::size_t position_ = 0;
  bool failed_ = false;
  unsigned lanes_ = 1;
  std::uint32_t states_[kMaxRansLanes] = {};
};

}  // namespace fewbits
