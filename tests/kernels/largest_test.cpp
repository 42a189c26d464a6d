#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "kernels/kernels.h"
#include "tests/codecs/hard_inputs.h"

namespace fewbits::test {
namespace {

std::vector<std::uint32_t> sorted_out(std::span<const float> x, std::size_t k) {
  std::vector<std::uint32_t> order(x.size());
  std::iota(order.begin(), order.end(), 0u);
  std::ranges::stable_sort(order, [&](std::uint32_t a, std::uint32_t b) { return std::abs(x[a]) > std::abs(x[b]); });
  order.resize(k);
  std::ranges::sort(order);
  return order;
}

void expect_largest(std::span<const float> x, const std::string& name) {
  const std::size_t n = x.size();
  for (const std::size_t k : {std::size_t{0}, std::size_t{1}, std::size_t{2}, n / 100, n / 3, n / 2, n - 1, n}) {
    if (k > n) continue;
    std::vector<std::uint32_t> chosen(k);
    kernels::largest(x, chosen);
    EXPECT_EQ(chosen, sorted_out(x, k)) << name << ", " << k << " of " << n;
  }
}

const std::vector<std::size_t> kSizes = {1, 2, 3, 4, 5, 7, 63, 64, 65, 1000, 4095, 4096, 4097};

TEST(Largest, AreThoseThatAStableSortPutsFirst) {
  for (const std::size_t n : kSizes)
    for (const auto& [name, x] : hard_inputs(n)) expect_largest(x, name);
  kernels::largest({}, {});
}

// Patterns that agree in their first digit, in their first two, or in all: few values, many times, of either sign.
TEST(Largest, AreRightWhereMagnitudesAreNearlyEqual) {
  RandomReader random = reader(1);
  for (const std::size_t n : kSizes)
    for (const std::uint32_t different : {1u, 2u, 3u, 1u << 9, 1u << 11, 1u << 21, 0x7F80'0000u}) {
      std::vector<float> x(n);
      const std::uint32_t base = different < 0x7F80'0000u ? 0x3F9D'5A37u : 0;
      for (float& value : x)
        value = std::bit_cast<float>((base + static_cast<std::uint32_t>(random.below(different))) |
                                     (random.next() & 0x8000'0000u));
      expect_largest(x, std::to_string(different) + " patterns");
    }
}

}  // namespace
}  // namespace fewbits::test
