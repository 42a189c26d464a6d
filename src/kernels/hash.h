#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace fewbits::kernels {

// XXH3, 64 bits, with a seed (xxHash's specification, XXH3_64bits_withSeed).
std::uint64_t hash64(std::span<const std::byte> data, std::uint64_t seed) noexcept;

}  // namespace fewbits::kernels
