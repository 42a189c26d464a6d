#include "kernels/hash.h"

#include <gtest/gtest.h>
#include <xxhash.h>

#include <vector>

#include "kernels/random.h"
#include "kernels/targets.h"

namespace fewbits {
namespace {

// Sizes on either side of every change of xxHash's algorithm: 3, 8, 16, 128, 240, stripes of 64, blocks of 1024.
TEST(Hash, IsThatOfTheLibraryOnEveryTarget) {
  std::vector<std::byte> bytes(20'001);
  RandomReader random(1);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random.next());
  const targets::Kernels& before = targets::chosen();
  for (const targets::Kernels* target : targets::available()) {
    targets::choose(*target);
    for (std::size_t size = 0; size <= 20'000; size += size < 1100 ? 1 : 631)
      for (const std::uint64_t seed : {std::uint64_t{0}, std::uint64_t{0x9E37'79B9'7F4A'7C15}})
        for (const std::size_t offset : {std::size_t{0}, std::size_t{1}})
          ASSERT_EQ(kernels::hash64(std::span(bytes).subspan(offset, size), seed),
                    XXH3_64bits_withSeed(bytes.data() + offset, size, seed))
              << size << " bytes from " << offset << ", " << target->name;
  }
  targets::choose(before);
}

}  // namespace
}  // namespace fewbits
