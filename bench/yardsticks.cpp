#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <span>

#include "bench/cases.h"
#include "kernels/hash.h"
#include "kernels/random.h"

namespace fewbits::bench {
namespace {

constexpr std::size_t kLine = 64;

// Compiled for several machines, since a yardstick that does not use the machine flatters what is held against it.
#if defined(__x86_64__)
#define FEWBITS_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define FEWBITS_CLONES
#endif

FEWBITS_CLONES std::uint32_t sum_of_words(const std::uint32_t* words, std::size_t n) {
  constexpr std::size_t kLanes = 64;   // several sums side by side, which wait for memory and not for one another
  std::uint32_t lanes[kLanes] = {};
  for (std::size_t i = 0; i + kLanes <= n; i += kLanes)
    for (std::size_t l = 0; l < kLanes; ++l) lanes[l] += words[i + l];
  std::uint32_t sum = 0;
  for (const std::uint32_t lane : lanes) sum += lane;
  return sum;
}

FEWBITS_CLONES void scale_in_place(float* x, std::size_t n, float factor) {
  for (std::size_t i = 0; i < n; ++i) x[i] *= factor;
}

// Both ends of a copy begin a cache line. Where one lies 16 bytes beside the other, as vectors may, glibc 2.36 on Zen 3 copies
// by `rep movsb` at a thirtieth of the speed, and whatever is held against that seems fast.
std::shared_ptr<float> lines(std::size_t n) {
  struct Release {
    void operator()(float* memory) const { std::free(memory); }
  };
  std::shared_ptr<float> memory(static_cast<float*>(std::aligned_alloc(kLine, n * sizeof(float))), Release());
  if (memory == nullptr) throw std::bad_alloc();
  std::fill_n(memory.get(), n, 1.0f);
  return memory;
}

}  // namespace

Shared<float> normal(std::size_t n, std::uint64_t seed) {
  auto values = shared<float>(n);
  RandomReader random(stream_key({seed, static_cast<std::uint64_t>(Purpose::kSynthetic)}));
  for (float& value : *values) {
    double sum = -6;
    for (int i = 0; i < 6; ++i) {
      const std::uint32_t word = random.next();
      sum += static_cast<double>((word & 0xFFFF) + (word >> 16)) * 0x1p-16;
    }
    value = static_cast<float>(sum);
  }
  return values;
}

Case copy_case(std::size_t n) {
  return {"memcpy", Kind::kYardstick, repeated([n, from = lines(n), to = lines(n)] {
            std::memcpy(to.get(), from.get(), n * sizeof(float));
          })};
}

Case copy_and_hash_case(std::size_t n) {
  return {"memcpy + hash64", Kind::kYardstick, repeated([n, from = lines(n), to = lines(n)] {
            std::memcpy(to.get(), from.get(), n * sizeof(float));
            benchmark::DoNotOptimize(kernels::hash64(std::as_bytes(std::span(to.get(), n)), 1));
          })};
}

Case read_case(std::size_t n) {
  return {"read", Kind::kYardstick, repeated([words = shared<std::uint32_t>(n, 3)] {
            benchmark::DoNotOptimize(sum_of_words(words->data(), words->size()));
          })};
}

Case scale_case(std::size_t n) {
  return {"scale", Kind::kYardstick, repeated([x = normal(n)] {
            float factor = -1;   // magnitudes stay as they are
            benchmark::DoNotOptimize(factor);
            scale_in_place(x->data(), x->size(), factor);
          })};
}

Case generator_case(std::size_t n) {
  return {"generator pass", Kind::kYardstick, repeated([words = shared<std::uint32_t>(n)] {
            RandomStream(1).fill(0, *words);
          })};
}

}  // namespace fewbits::bench
