#include "kernels/hash.h"

#include <xxhash.h>

namespace fewbits::kernels {

std::uint64_t hash64(std::span<const std::byte> data, std::uint64_t seed) noexcept {
  return XXH3_64bits_withSeed(data.data(), data.size(), seed);
}

}  // namespace fewbits::kernels
