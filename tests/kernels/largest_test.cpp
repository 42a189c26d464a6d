#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "kernels/kernels.h"
#include "kernels/reference.h"
#include "kernels/targets.h"
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

std::vector<std::uint32_t> largest(std::span<const float> x, std::size_t k) {
  std::vector<std::uint32_t> scratch(kernels::largest_scratch(x.size(), k), ~0u);
  std::vector<std::uint32_t> chosen(k, ~0u);
  kernels::largest(x, scratch, chosen);
  return chosen;
}

// What `work` does on every target.
template <class Work>
void on_every_target(Work work) {
  const targets::Kernels& before = targets::chosen();
  for (const targets::Kernels* target : targets::available()) {
    targets::choose(*target);
    work(std::string(target->name));
  }
  targets::choose(before);
}

void expect_largest(std::span<const float> x, const std::string& name) {
  const std::size_t n = x.size();
  for (const std::size_t k : {std::size_t{0}, std::size_t{1}, std::size_t{2}, n / 100, n / 3, n / 2, n - 1, n}) {
    if (k > n) continue;
    const auto expected = sorted_out(x, k);
    on_every_target([&](const std::string& target) {
      EXPECT_EQ(largest(x, k), expected) << name << ", " << k << " of " << n << ", " << target;
    });
  }
}

const std::vector<std::size_t> kSizes = {1, 2, 3, 4, 5, 7, 63, 64, 65, 1000, 4095, 4096, 4097};

TEST(Largest, AreThoseThatAStableSortPutsFirst) {
  for (const std::size_t n : kSizes)
    for (const auto& [name, x] : hard_inputs(n)) expect_largest(x, name);
  on_every_target([&](const std::string&) { EXPECT_TRUE(largest({}, 0).empty()); });
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

// Past the size where thresholds are guessed: where guesses are good, where they find too few, and where ties or clusters
// leave too many; at any alignment.
TEST(Largest, OfLongVectorsAreThoseOfTheReference) {
  RandomReader random = reader(2);
  const auto uniform = [&] { return static_cast<float>(2 * random.uniform() - 1); };
  for (const std::size_t n : {4097u, 16'383u, 65'536u, 65'539u, 300'001u}) {
    std::vector<std::pair<std::string, std::vector<float>>> inputs;
    const auto add = [&](const std::string& name, auto value) {
      inputs.emplace_back(name, n + 1);
      for (std::size_t i = 0; i < n + 1; ++i) inputs.back().second[i] = value(i);
    };
    add("uniform", [&](std::size_t) { return uniform(); });
    add("heavy tails, layers", [&](std::size_t i) { return std::exp(8 * uniform()) * uniform() * (i < n / 2 ? 1.0f : 0.05f); });
    add("denormals", [&](std::size_t) { return uniform() * 0x1p-126f; });
    add("zeros", [&](std::size_t i) { return i % 2 == 0 ? 0.0f : -0.0f; });
    add("all equal", [&](std::size_t) { return random.uniform() < 0.5 ? 3.0f : -3.0f; });
    add("two values", [&](std::size_t) { return random.uniform() < 0.01 ? -2.0f : 1.0f; });
    add("few spikes", [&](std::size_t i) { return i % 5000 == 17 ? uniform() : 0.0f; });
    add("few levels", [&](std::size_t) { return std::floor(uniform() * 50); });
    add("one cluster", [&](std::size_t i) { return i > 1000 && i < 1100 + n / 50 ? uniform() : uniform() * 0x1p-20f; });
    add("largest floats", [&](std::size_t) { return random.uniform() < 0.5 ? 0x1.fffffep127f : uniform() * 0x1p127f; });
    for (const auto& [name, values] : inputs)
      for (const std::size_t offset : {0u, 1u})
        for (const std::size_t k : {std::size_t{1}, n / 1000, n / 100, n / 20, n / 5, n / 4, n / 4 + 1, n / 2, n}) {
          const auto x = std::span(values).subspan(offset, n);
          std::vector<std::uint32_t> expected(k);
          reference::largest(x, expected);
          on_every_target([&](const std::string& target) {
            EXPECT_TRUE(largest(x, k) == expected) << name << ", " << k << " of " << n << " from " << offset << ", " << target;
          });
        }
  }
}

}  // namespace
}  // namespace fewbits::test
