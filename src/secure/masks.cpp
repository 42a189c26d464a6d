#include "secure/masks.h"

#include <algorithm>
#include <array>
#include <exception>
#include <functional>

#include "kernels/kernels.h"

namespace fewbits::secure {
namespace {

constexpr unsigned kNarrow = 16;  // bits of a word, up to which a lane has 16
constexpr std::size_t kPiece =
    16 << 10;  // bytes of a key stream at a time: with the lanes that it is added to, in the first cache
constexpr std::size_t kChunk = 64 << 10;  // words that take all their masks before the next: lanes in the second cache

template <class Lane>
using Piece = std::array<Lane, kPiece / sizeof(Lane)>;

template <class Lane>
void add(const Lane* stream, bool subtract, Lane* lanes, std::size_t count) noexcept {
  if (subtract) {
    for (std::size_t i = 0; i < count; ++i) lanes[i] = static_cast<Lane>(lanes[i] - stream[i]);
  } else {
    for (std::size_t i = 0; i < count; ++i) lanes[i] = static_cast<Lane>(lanes[i] + stream[i]);
  }
}

// lanes (those of words first, first + 1, …) and all masks.
template <class Lane>
void add_masks(std::span<const Mask> masks, std::size_t first, KeyStream& stream, std::span<Lane> lanes) {
  alignas(64) Piece<Lane> piece;
  for (const Mask& mask : masks) {
    stream.start(mask.key, first * sizeof(Lane));
    for (std::size_t at = 0; at < lanes.size(); at += piece.size()) {
      const std::size_t count = std::min(piece.size(), lanes.size() - at);
      stream.next(std::as_writable_bytes(std::span(piece).first(count)));
      add(piece.data(), mask.subtract, lanes.data() + at, count);
    }
  }
}

// task(first word, words) of each chunk, on the executor's threads; throws what a task has thrown, when all are done.
void by_chunks(std::size_t length, Executor* executor, const std::function<void(std::size_t, std::size_t)>& task) {
  const std::size_t chunks = (length + kChunk - 1) / kChunk;
  const auto one = [&](std::size_t chunk) { task(chunk * kChunk, std::min(kChunk, length - chunk * kChunk)); };
  if (executor == nullptr) {
    for (std::size_t chunk = 0; chunk < chunks; ++chunk) one(chunk);
    return;
  }
  std::vector<std::exception_ptr> thrown(chunks);
  executor->run(chunks, [&](std::size_t chunk) {
    try {
      one(chunk);
    } catch (...) {
      thrown[chunk] = std::current_exception();
    }
  });
  for (const std::exception_ptr& exception : thrown)
    if (exception != nullptr) std::rethrow_exception(exception);
}

// Of the bytes, those of `count` words from word `first` on, which begins a packed piece.
template <class Byte>
std::span<Byte> part(std::span<Byte> bytes, unsigned bits, std::size_t first, std::size_t count) {
  return bytes.subspan(first / 8 * bits, kernels::packed_bytes(count, bits));
}

template <class Lane>
void mask_chunks(std::span<const std::uint32_t> words, unsigned bits, std::span<const Mask> masks, std::span<std::byte> bytes,
                 Executor* executor) {
  by_chunks(words.size(), executor, [&](std::size_t first, std::size_t count) {
    KeyStream stream;
    std::vector<Lane> lanes(count);
    for (std::size_t i = 0; i < count; ++i) lanes[i] = static_cast<Lane>(words[first + i]);
    add_masks(masks, first, stream, std::span(lanes));
    std::vector<std::int32_t> symbols(std::min(count, kPackedWords));
    for (std::size_t at = 0; at < count; at += symbols.size()) {
      const auto now = std::span(symbols).first(std::min(symbols.size(), count - at));
      for (std::size_t i = 0; i < now.size(); ++i) now[i] = static_cast<std::int32_t>(lanes[at + i]);
      kernels::pack(now, bits, part(bytes, bits, first + at, now.size()));
    }
  });
}

}  // namespace

void mask(std::span<const std::uint32_t> words, unsigned bits, std::span<const Mask> masks, std::span<std::byte> bytes,
          Executor* executor) {
  if (bits <= kNarrow)
    mask_chunks<std::uint16_t>(words, bits, masks, bytes, executor);
  else
    mask_chunks<std::uint32_t>(words, bits, masks, bytes, executor);
}

MaskedSum::MaskedSum(std::size_t length, unsigned bits)
    : length_(length), bits_(bits), narrow_(bits <= kNarrow ? length : 0), wide_(bits <= kNarrow ? 0 : length) {}

bool MaskedSum::add(std::span<const std::byte> bytes) {
  std::array<std::int32_t, kPackedWords> symbols;
  const auto unpacked = [&](std::size_t first) {
    const auto now = std::span(symbols).first(std::min(kPackedWords, length_ - first));
    const bool right = kernels::unpack(part(bytes, bits_, first, now.size()), bits_, now);
    return std::pair(now, right);
  };
  // Padding is in the last piece alone.
  if (!unpacked((length_ - 1) / kPackedWords * kPackedWords).second) return false;
  for (std::size_t first = 0; first < length_; first += kPackedWords) {
    const auto now = unpacked(first).first;
    if (bits_ <= kNarrow) {
      for (std::size_t i = 0; i < now.size(); ++i) narrow_[first + i] = static_cast<std::uint16_t>(narrow_[first + i] + now[i]);
    } else {
      for (std::size_t i = 0; i < now.size(); ++i) wide_[first + i] += static_cast<std::uint32_t>(now[i]);
    }
  }
  return true;
}

std::vector<std::uint32_t> MaskedSum::opened(std::span<const Mask> masks, Executor* executor) const {
  std::vector<std::uint32_t> words(length_);
  const auto word_mask = static_cast<std::uint32_t>((std::uint64_t{1} << bits_) - 1);
  const auto open = [&]<class Lane>(const std::vector<Lane>& sum) {
    by_chunks(length_, executor, [&](std::size_t first, std::size_t count) {
      KeyStream stream;
      std::vector<Lane> lanes(sum.begin() + static_cast<std::ptrdiff_t>(first),
                              sum.begin() + static_cast<std::ptrdiff_t>(first + count));
      add_masks(masks, first, stream, std::span(lanes));
      for (std::size_t i = 0; i < count; ++i) words[first + i] = lanes[i] & word_mask;
    });
  };
  if (bits_ <= kNarrow)
    open(narrow_);
  else
    open(wide_);
  return words;
}

}  // namespace fewbits::secure
