#include "kernels/hash.h"

#include "kernels/targets.h"

namespace fewbits::kernels {

std::uint64_t hash64(std::span<const std::byte> data, std::uint64_t seed) noexcept {
  return targets::chosen().hash64(data.data(), data.size(), seed);
}

}  // namespace fewbits::kernels
