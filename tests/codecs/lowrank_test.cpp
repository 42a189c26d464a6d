#include <gtest/gtest.h>

#include "kernels/low_rank.h"
#include "tests/codecs/hard_inputs.h"
#include "tests/codecs/matrices.h"

namespace fewbits::test {
namespace {

constexpr Context kKeys{7, 3, 1};

Codec lowrank(const std::string& parameters, std::size_t rows, std::size_t columns, const std::string& behind = "f32") {
  return Codec::compile("lowrank:" + parameters + "+" + behind, Layout({{"w", {rows, columns}}}));
}

double nmse(const Codec& codec, std::span<const float> x, std::span<const std::byte> frame) {
  return squared_distance(codec.decode(frame, {7}), x) / std::pow(norm(x), 2);
}

// Singular values 1, 0.8, 0.8², …: as slow a fall as still has a best approximation that is worth its bytes.
std::vector<double> falling(std::size_t count, double ratio) {
  std::vector<double> values(count);
  for (std::size_t k = 0; k < count; ++k) values[k] = std::pow(ratio, static_cast<double>(k));
  return values;
}

// The share of the energy behind the first `rank`: what the best approximation of that rank leaves (Eckart, Young 1936).
double best(const std::vector<double>& values, std::size_t rank) {
  double all = 0, rest = 0;
  for (std::size_t k = 0; k < values.size(); ++k) {
    all += values[k] * values[k];
    if (k >= rank) rest += values[k] * values[k];
  }
  return rest / all;
}

TEST(LowRankFactors, ComeWithin2PercentOfTheBestThatThereAre) {
  for (const auto& [rows, columns] : {std::pair{60, 90}, {90, 60}, {200, 33}})
    for (const std::size_t rank : {1, 2, 4, 8}) {
      const auto values = falling(30, 0.8);
      const auto x = with_singular_values(rows, columns, values, 1);
      const Codec codec = lowrank("iterations=16,rank=" + std::to_string(rank), rows, columns);
      const double error = nmse(codec, x, codec.encode(x, kKeys));
      EXPECT_LE(error, 1.02 * best(values, rank)) << rank;
      EXPECT_GE(error, best(values, rank) * (1 - 1e-4)) << rank;
    }
}

// One step a frame comes to the same, where an encoder goes on from where it was.
TEST(LowRankFactors, ComeAsNearOverTheFramesOfAnEncoder) {
  const auto values = falling(30, 0.8);
  const auto x = with_singular_values(60, 90, values, 1);
  const Codec codec = lowrank("rank=4", 60, 90);
  Encoder encoder(codec);
  const double first = nmse(codec, x, encoder.encode(x, {7, 0, 1}));
  EXPECT_GT(first, 1.05 * best(values, 4));
  double error = 0;
  for (std::uint32_t round = 1; round < 16; ++round) error = nmse(codec, x, encoder.encode(x, {7, round, 1}));
  EXPECT_LE(error, 1.02 * best(values, 4));
}

// From a random start the error is at most √(1 + k/(p − 1)) of the best of rank k, for each k + p = rank, on average
// (Halko, Martinsson, Tropp 2011, theorem 10.5, for normal starts; ours are signs).
TEST(LowRankFactors, FromARandomStartStayUnderTheBoundOfHalkoEtAl) {
  for (const double ratio : {0.5, 0.8, 0.95}) {
    const auto values = falling(30, ratio);
    const auto x = with_singular_values(60, 90, values, 1);
    constexpr std::size_t kRank = 8;
    const Codec codec = lowrank("rank=8", 60, 90);
    double error = 0;
    constexpr unsigned kRounds = 50;
    for (std::uint32_t round = 0; round < kRounds; ++round)
      error += std::sqrt(nmse(codec, x, codec.encode(x, {7, round, 1}))) / kRounds;
    double bound = 1;
    for (std::size_t k = 0; k + 2 <= kRank; ++k)
      bound = std::min(bound, std::sqrt((1 + static_cast<double>(k) / static_cast<double>(kRank - k - 1)) * best(values, k)));
    EXPECT_LE(error, bound) << ratio;
  }
}

// A matrix of that rank, or of less, is exact but for float32: products of up to 4096 terms round to 2^-24 each, P is
// orthonormal to 2^-24, Q too.
TEST(LowRankFactors, OfAMatrixOfLowRankAreExact) {
  for (const auto& [rows, columns] : {std::pair{20, 30}, {31, 17}, {513, 40}, {16, 1025}})
    for (const std::size_t rank : {1, 2, 3}) {
      const auto x = with_singular_values(rows, columns, {3, 2}, 5);
      const Codec codec = lowrank("iterations=2,rank=" + std::to_string(rank), rows, columns);
      const double error = nmse(codec, x, codec.encode(x, kKeys));
      EXPECT_NEAR(error, rank == 1 ? 4.0 / 13 : 0, rank == 1 ? 0.1 : 1e-11) << rows << ", " << columns << ", " << rank;
    }
}

// Columns that depend on those before add nothing, at the ends of float32 too, where sums would overflow or lose their bits.
TEST(LowRankFactors, OfARankThatTheMatrixDoesNotHaveDoNoHarm) {
  for (const float size : {0.7f, 3e38f, 1e-37f, 1e-39f})
    for (const char* parameters : {"rank=1", "rank=2", "rank=5,iterations=3"})
      for (const bool signs : {false, true}) {
        std::vector<float> x(32 * 32, size);
        for (std::size_t i = 0; signs && i < x.size(); i += 3) x[i] = -size / 2;
        for (std::size_t i = 0; i < x.size(); ++i) x[i] = x[i / 32 * 32];   // rows of equal values
        const Codec codec = lowrank(parameters, 32, 32);
        const auto back = codec.decode(codec.encode(x, kKeys), {7});
        for (std::size_t i = 0; i < x.size(); ++i) ASSERT_NEAR(back[i], x[i], 1e-5 * size) << size << ", " << parameters;
      }
}

// P is made orthonormal, so what is sent is a projection: it never errs by more than all.
TEST(LowRankFactors, NeverErrByMoreThanTheMatrix) {
  for (const auto& [rows, columns] : {std::pair{8, 32}, {32, 8}, {7, 9}, {3, 3}, {2, 128}, {256, 3}})
    for (const char* parameters : {"rank=1", "rank=2", "rank=2,iterations=3"}) {
      const Codec codec = lowrank(parameters, rows, columns);
      for (const auto& [name, x] : hard_inputs(static_cast<std::size_t>(rows * columns)))
        for (const float scale : {1.0f, 1e-20f, 1e15f, 1e30f}) {
          auto scaled = x;
          for (float& value : scaled) value *= scale;
          if (!all_finite(scaled)) continue;
          const auto back = codec.decode(codec.encode(scaled, kKeys), {7});
          ASSERT_TRUE(all_finite(back));
          EXPECT_LE(squared_distance(back, scaled), std::pow(norm(scaled), 2) * (1 + 1e-6) + 1e-85)
              << name << " times " << scale << ", " << parameters;
        }
    }
}

// An update of zeros leaves nothing to go on from: the next is coded as the first.
TEST(LowRankFactors, AreFoundAfterAnUpdateOfZeros) {
  const auto x = with_singular_values(20, 30, {3, 2, 1}, 5);
  const Codec codec = lowrank("rank=2", 20, 30);
  Encoder encoder(codec);
  const auto nothing = codec.decode(encoder.encode(std::vector<float>(600), {7, 0, 1}), {7});
  EXPECT_EQ(norm(nothing), 0);
  const std::vector<std::byte> fresh = codec.encode(x, {7, 1, 1});
  EXPECT_TRUE(std::ranges::equal(encoder.encode(x, {7, 1, 1}), fresh));
}

TEST(LowRankFactors, AreSentForMatricesThatTheyMakeSmaller) {
  const Layout layout({{"in.weight", {12, 7}}, {"in.bias", {12}}, {"conv", {4, 3, 2, 2}}, {"scalar", {}}, {"none", {0, 3}},
                       {"out", {2, 30}}});
  const auto values = [&](std::size_t rank) {
    return Codec::compile("lowrank:rank=" + std::to_string(rank) + "+f32", layout).describe().groups.at(0).values;
  };
  EXPECT_EQ(values(1), 19u + 12 + 16 + 1 + 32);
  EXPECT_EQ(values(2), 38u + 12 + 32 + 1 + 60);   // 2·32 for `out` are more than 60
  EXPECT_EQ(values(4), 76u + 12 + 48 + 1 + 60);   // 4·16 for `conv` are more than 48
  EXPECT_EQ(values(5), layout.elements());
  EXPECT_EQ(values(1000), layout.elements());
  EXPECT_EQ(Codec::compile("lowrank:rank=5+f32", layout).describe().unbiased, Unbiased::kAlways);
  EXPECT_EQ(Codec::compile("lowrank:rank=4+f32", layout).describe().unbiased, Unbiased::kNo);
  // Other tensors come as they are.
  const Codec codec = Codec::compile("lowrank:rank=2+f32", layout);
  const auto x = normal(layout.elements(), 3);
  const auto back = codec.decode(codec.encode(x, kKeys), {7});
  for (std::size_t t : {1, 3, 5})
    for (std::size_t i = layout.offset(t); i < layout.offset(t) + layout.tensors()[t].elements(); ++i) EXPECT_EQ(back[i], x[i]);
  // Behind a stage that mixes tensors there are none.
  EXPECT_EQ(Codec::compile("hadamard+lowrank:rank=1+f32", layout).describe().groups.at(0).values, layout.elements());
}

// Both factors of a pair have the same mean square, so that a quantizer's steps fit both: with 8 bits for the range of a
// pair, of at most 10 mean squares' roots (here), the error is (10/255)²/12 of each factor's energy: 2·1.3e-4 of the pair's.
TEST(LowRankFactors, AreOfOneSizeSoThatAQuantizerFitsBoth) {
  for (const auto& [rows, columns] : {std::pair{40, 40}, {10, 400}, {400, 10}}) {
    const auto x = with_singular_values(rows, columns, {1000, 1}, 5);
    const Codec codec = lowrank("rank=2,iterations=3", rows, columns,
                                "quantize:bits=8,block=" + std::to_string(rows + columns));
    EXPECT_LE(nmse(codec, x, codec.encode(x, kKeys)), 3e-4);
  }
}

// The limit is on what becomes of values: factors of 1e5 make a product of 1e10.
TEST(LowRankFactors, ThatMakeTooLargeAProductAreRefused) {
  const Codec codec = lowrank("rank=1", 8, 8);
  for (const auto& [size, code] : {std::pair{1e8f, std::optional<Errc>()}, {1e12f, std::optional(Errc::kTooLarge)}}) {
    Aggregator sum(codec, {7, 3});
    EXPECT_EQ(refusal([&] { sum.add(codec.encode(std::vector<float>(64, size), kKeys), {1, 1}); }), code) << size;
  }
}

// left is orthonormal to rounding (or zero) and right is Mᵀ·left: of ‖M‖, float32's rounding and a growth of 64 leave 2^-18.
void expect_projection(std::span<const float> matrix, std::size_t rows, std::size_t columns, std::vector<float> right,
                       std::size_t iterations) {
  const std::size_t rank = right.size() / columns;
  std::vector<float> products(rank * columns);
  std::vector<double> left(rank * rows), energies(rank), triangle(rank * rank);
  const double unit = kernels::low_rank(matrix, rows, columns, rank, iterations, right, left, energies, products, triangle);
  for (std::size_t k = 0; k < rank; ++k) {
    for (std::size_t l = 0; l <= k; ++l) {
      double dot = 0;
      for (std::size_t i = 0; i < rows; ++i) dot += left[k * rows + i] * left[l * rows + i];
      if (k == l && dot != 0) dot -= 1;
      EXPECT_NEAR(dot, 0, 1e-9);
    }
    double error = 0, energy = 0;
    for (std::size_t j = 0; j < columns; ++j) {
      double sum = 0;
      for (std::size_t i = 0; i < rows; ++i) sum += left[k * rows + i] * static_cast<double>(matrix[i * columns + j]);
      const double own = static_cast<double>(right[k * columns + j]) * unit;
      error += (own - sum) * (own - sum);
      energy += own * own;
    }
    EXPECT_LE(std::sqrt(error), 0x1p-18 * norm(matrix));
    EXPECT_NEAR(energies[k], energy, 1e-12 * energy);
  }
}

TEST(LowRankSearch, ProjectsWhateverTheConditionAndScale) {
  std::vector<std::pair<std::string, std::vector<float>>> matrices = hard_inputs(40 * 50);
  for (const double second : {0.3, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 0.0})
    matrices.emplace_back("1, " + std::to_string(second), with_singular_values(40, 50, {1, second, second * second}, 3));
  for (const auto& [name, matrix] : matrices)
    for (const int exponent : {-130, -100, -60, -35, -31, 0, 31, 35, 60, 120})
      for (const std::size_t rank : {1u, 3u, 6u})
        for (const std::size_t iterations : {1u, 3u}) {
          SCOPED_TRACE(name + " · 2^" + std::to_string(exponent) + ", rank " + std::to_string(rank));
          auto scaled = matrix;
          for (float& value : scaled) value = std::ldexp(value, exponent);
          if (!all_finite(scaled)) continue;
          expect_projection(scaled, 40, 50, normal(rank * 50, 7), iterations);
          expect_projection(scaled, 50, 40, normal(rank * 40, 7), iterations);
        }
}

// P is of middling size where large entries cancel, Mᵀ P is not.
TEST(LowRankSearch, ProjectsWhereOnlyTheSecondProductOverflows) {
  std::vector<float> matrix(4 * 16);
  for (std::size_t i = 0; i < 4; ++i) {
    matrix[i * 16] = 0x1p100f;
    matrix[i * 16 + 1] = 0x1p30f;
    matrix[i * 16 + 8] = -0x1p100f;
  }
  expect_projection(matrix, 4, 16, std::vector<float>(16, 1.0f), 1);
}

// Kahan's matrix (1966): columns of norm 1 whose R⁻¹ is far larger than the inverse of any pivot.
TEST(LowRankSearch, ProjectsWhereNoPivotTellsTheCondition) {
  constexpr std::size_t kRank = 9;
  std::vector<float> matrix(kRank * kRank), identity(kRank * kRank);
  for (std::size_t i = 0; i < kRank; ++i)
    for (std::size_t j = i; j < kRank; ++j) {
      matrix[i * kRank + j] = static_cast<float>(std::pow(0.6, static_cast<double>(i)) * (i == j ? 1 : -0.8));
      identity[i * kRank + j] = i == j ? 1.0f : 0.0f;
    }
  expect_projection(matrix, kRank, kRank, identity, 1);
}

TEST(LowRankRow, SumsProductsInRisingOrder) {
  const std::vector<double> factors = {1, 2, 10, 20, 30, -3, 5, 1e-17, 7, 11};   // two pairs, 2 rows, 3 columns
  for (std::size_t row = 0; row < 2; ++row)
    for (std::size_t rank = 0; rank <= 2; ++rank) {
      std::vector<double> out(3, -1.0);
      kernels::low_rank_row(factors, rank, 2, 3, row, out);
      for (std::size_t j = 0; j < 3; ++j) {
        double want = 0;
        for (std::size_t k = 0; k < rank; ++k) want += factors[5 * k + row] * factors[5 * k + 2 + j];
        EXPECT_EQ(out[j], want);
      }
    }
}

}  // namespace
}  // namespace fewbits::test
