#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "bench/harness.h"

// What is measured, and beside what.
namespace fewbits::bench {

template <class T>
using Shared = std::shared_ptr<std::vector<T>>;   // cases of a group share their inputs

template <class T>
Shared<T> shared(std::size_t n, T value = {}) {
  return std::make_shared<std::vector<T>>(n, value);
}

// Normal values, of variance 1 (a sum of 12 uniform ones), from the library's generator.
Shared<float> normal(std::size_t n, std::uint64_t seed = 1);

// Yardsticks, on memory of their own.
Case copy_case(std::size_t n);    // memcpy of 4·n bytes
Case copy_and_hash_case(std::size_t n);   // the least that a frame of floats costs: its bytes and their checksum
Case read_case(std::size_t n);    // a sum of n words
Case scale_case(std::size_t n);   // n floats, in place
Case generator_case(std::size_t n);   // n words of RandomStream: a pass of the generator over the vector

// Peers (peers.cpp).
Case fftw_walsh_hadamard(std::size_t n);
Case nth_element_case(Shared<float> x, std::size_t k);
// Of symbols below 16: zstd's on packed nibbles, htscodecs' on bytes.
Case zstd_encode(const std::vector<std::int32_t>& symbols);
Case zstd_decode(const std::vector<std::int32_t>& symbols);
Case htscodecs_encode(const std::vector<std::int32_t>& symbols);
Case htscodecs_decode(const std::vector<std::int32_t>& symbols);
// M·Q and Mᵀ·P of a square matrix, one after the other.
Case eigen_low_rank(Shared<float> matrix, std::size_t side, std::size_t rank);
Case openblas_low_rank(Shared<float> matrix, std::size_t side, std::size_t rank);
Case xxhash_case(Shared<float> x);   // the entry that needs no choice of a target

std::vector<Group> kernel_groups(std::span<const unsigned> sizes);
std::vector<Group> stage_groups(std::span<const unsigned> sizes);
std::vector<Group> plan_groups(std::span<const unsigned> sizes);
std::vector<Group> aggregation_groups(std::span<const unsigned> sizes);
std::vector<Group> secure_groups(std::span<const unsigned> sizes);

}  // namespace fewbits::bench
