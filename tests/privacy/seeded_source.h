#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "fewbits/privacy/random_source.h"
#include "kernels/random.h"
#include "tests/engine/support.h"

namespace fewbits::privacy {

// The same bytes in each run, from the shared generator, so that a failure can be repeated: nothing but a test may do that.
class SeededSource final : public RandomSource {
 public:
  explicit SeededSource(std::uint64_t seed) : words_(fewbits::test::reader(seed)) {}

  void fill(std::span<std::byte> bytes) override {
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(words_.next() >> 24);
  }

 private:
  RandomReader words_;
};

}  // namespace fewbits::privacy
