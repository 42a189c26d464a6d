#pragma once

#include <algorithm>
#include <cstring>

#include "fewbits/privacy/random_source.h"
#include "kernels/random.h"

namespace fewbits::privacy {

// The same bytes in each run, for tests alone.
class SeededSource final : public RandomSource {
 public:
  explicit SeededSource(std::uint64_t seed) : words_(stream_key({static_cast<std::uint64_t>(Purpose::kSynthetic), seed})) {}

  void fill(std::span<std::byte> bytes) override {
    while (!bytes.empty()) {
      const std::uint32_t word = words_.next();
      const std::size_t count = std::min(bytes.size(), sizeof word);
      std::memcpy(bytes.data(), &word, count);
      bytes = bytes.subspan(count);
    }
  }

 private:
  RandomReader words_;
};

}  // namespace fewbits::privacy
