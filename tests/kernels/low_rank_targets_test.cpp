#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "kernels/low_rank_reference.h"
#include "kernels/random.h"
#include "kernels/targets.h"

namespace fewbits {
namespace {

std::vector<float> values(RandomReader& random, std::size_t n, float size) {
  std::vector<float> x(n);
  for (float& value : x) value = static_cast<float>(2 * random.uniform() - 1) * size;
  return x;
}

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

TEST(LowRankKernels, AreTheReferenceOnEveryTarget) {
  RandomReader random(1);
  for (const std::size_t rows : {1u, 2u, 3u, 4u, 5u, 8u, 71u})
    for (const std::size_t columns : {1u, 15u, 16u, 17u, 100u, 1023u, 1024u, 1025u, 1039u, 2100u})
      for (const std::size_t rank : {1u, 2u, 3u, 4u, 6u})
        for (const float size : {1.0f, 0x1p-130f}) {
          auto matrix = values(random, rows * columns, size);
          if (rows > 2) matrix[columns] = 1e10f;
          const auto right = values(random, rank * columns, 1);
          std::vector<double> left(rank * rows);
          reference::low_rank_times(matrix, rows, columns, rank, right, left);
          std::vector<float> product(rank * columns);
          reference::low_rank_transposed(matrix, rows, columns, rank, 0.3, left, product);
          for (const targets::Kernels* target : targets::available()) {
            std::vector<double> own_left(left.size(), -1);
            std::vector<float> own(product.size(), -1);
            target->low_rank_products(matrix.data(), rows, columns, rank, 0.3, right.data(), own_left.data(), own.data());
            ASSERT_TRUE(same_bits(own_left, left)) << rows << " × " << columns << ", rank " << rank << ", " << target->name;
            ASSERT_TRUE(same_bits(own, product)) << rows << " × " << columns << ", rank " << rank << ", " << target->name;
            std::ranges::fill(own, -1.0f);
            target->low_rank_transposed(matrix.data(), rows, columns, rank, 0.3, left.data(), own.data());
            ASSERT_TRUE(same_bits(own, product)) << rows << " × " << columns << ", rank " << rank << ", " << target->name;
          }
        }
}

TEST(LowRankKernels, NormsAreTheReferenceOnEveryTarget) {
  RandomReader random(2);
  for (std::size_t n = 0; n < 200; ++n)
    for (const float size : {1.0f, 0x1p-130f, 0x1p127f}) {
      auto x = values(random, n + 1, size);
      if (n > 3) x[n - 1] = -size;
      const std::span<const float> own(x.data() + 1, n);
      for (const targets::Kernels* target : targets::available()) {
        ASSERT_EQ(target->largest_magnitude(own.data(), n), reference::largest_magnitude(own)) << n << ", " << target->name;
        ASSERT_EQ(target->energy(own.data(), n, 0.7), reference::energy(own, 0.7)) << n << ", " << target->name;
      }
    }
}

}  // namespace
}  // namespace fewbits
