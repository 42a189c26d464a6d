#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <numbers>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "fewbits/aggregator.h"
#include "fewbits/codec.h"
#include "kernels/hash.h"
#include "kernels/random.h"

// What the tests of the library share.
namespace fewbits::test {

// Tests take their long versions where FEWBITS_LONG_TESTS is set.
inline bool long_tests() {
  const char* value = std::getenv("FEWBITS_LONG_TESTS");
  return value != nullptr && *value != '\0';
}

// A reader of random numbers for the inputs of tests, apart from every stream of the codecs.
inline RandomReader reader(std::uint64_t seed) {
  return RandomReader(stream_key({seed, static_cast<std::uint64_t>(Purpose::kSynthetic)}));
}

inline double draw_normal(RandomReader& random) {
  const double radius = std::sqrt(-2 * std::log(1 - random.uniform()));
  return radius * std::cos(2 * std::numbers::pi * random.uniform());
}

// Independent normal values, none of them zero.
inline std::vector<float> normal(std::size_t n, std::uint64_t seed, double scale = 1) {
  RandomReader random = reader(seed);
  std::vector<float> x(n);
  for (float& value : x) {
    value = static_cast<float>(scale * draw_normal(random));
    if (value == 0) value = 1e-3f;
  }
  return x;
}

// Several tensors of n coordinates in all: a matrix, a short vector, and the rest.
inline Layout net(std::size_t n) {
  const auto columns = std::max<std::size_t>(1, static_cast<std::size_t>(std::sqrt(static_cast<double>(n))) / 2);
  const std::size_t rows = n / 2 / columns;
  const std::size_t bias = std::min(columns, n - rows * columns);
  return Layout({{"in.weight", {rows, columns}}, {"in.bias", {bias}}, {"out.weight", {n - rows * columns - bias}}});
}

inline double norm(std::span<const float> x) {
  double sum = 0;
  for (const float value : x) sum += static_cast<double>(value) * static_cast<double>(value);
  return std::sqrt(sum);
}

inline double squared_distance(std::span<const float> a, std::span<const float> b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double difference = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    sum += difference * difference;
  }
  return sum;
}

// Equal to the bit, the signs of zeros and NaNs too.
inline bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size_bytes()) == 0);
}

inline bool all_finite(std::span<const float> x) {
  for (const float value : x)
    if (!std::isfinite(value)) return false;
  return true;
}

// The code of the Error that `call` throws; nothing where it returns. Any other exception fails the test.
template <class Call>
std::optional<Errc> refusal(Call call) {
  try {
    call();
  } catch (const Error& error) {
    return error.code();
  }
  return std::nullopt;
}

// The error itself, for tests of messages and positions.
template <class Call>
std::optional<Error> error_of(Call call) {
  try {
    call();
  } catch (const Error& error) {
    return error;
  }
  return std::nullopt;
}

// Where a frame's checksum stands (docs/frame-format.md §1): after 12 bytes and two varints. Nothing where the bytes
// end before it, or a varint has no end.
inline std::optional<std::size_t> checksum_offset(std::span<const std::byte> frame) {
  std::size_t at = 12;
  for (int numbers = 0; numbers < 2; ++numbers) {
    std::size_t length = 0;
    do {
      if (at >= frame.size() || length == 10) return std::nullopt;
      ++length;
    } while ((frame[at++] & std::byte{0x80}) != std::byte{0});
  }
  if (at + 4 > frame.size()) return std::nullopt;
  return at;
}

// Makes the checksum right again.
inline void reseal(std::vector<std::byte>& frame) {
  const auto at = checksum_offset(frame);
  if (!at) return;
  const std::span<const std::byte> all(frame);
  const std::uint64_t header = kernels::hash64(all.first(*at), 0);
  const auto sum = static_cast<std::uint32_t>(kernels::hash64(all.subspan(*at + 4), header));
  std::memcpy(frame.data() + *at, &sum, sizeof sum);
}

inline std::vector<std::byte> resealed(std::vector<std::byte> frame) {
  reseal(frame);
  return frame;
}

// Makes the hash at the end of a partial sum right again (§9).
inline void reseal_partial_sum(std::vector<std::byte>& bytes) {
  if (bytes.size() < 8) return;
  const std::uint64_t hash = kernels::hash64(std::span<const std::byte>(bytes).first(bytes.size() - 8), 0);
  std::memcpy(bytes.data() + bytes.size() - 8, &hash, sizeof hash);
}

inline std::vector<std::byte> bytes_of(std::initializer_list<unsigned> values) {
  std::vector<std::byte> bytes;
  for (const unsigned value : values) bytes.push_back(static_cast<std::byte>(value));
  return bytes;
}

}  // namespace fewbits::test
