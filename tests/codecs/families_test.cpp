#include <gtest/gtest.h>

#include "fewbits/structure.h"
#include "tests/engine/support.h"
#include "tests/kernels/binomial.h"

namespace fewbits::test {
namespace {

Layout layout() {
  return Layout({{"in.weight", {12, 7}},
                 {"in.bias", {12}},
                 {"conv", {4, 3, 2, 2}},
                 {"scalar", {}},
                 {"none", {0, 3}},
                 {"out", {2, 30}}});
}

class EveryFamily : public ::testing::TestWithParam<const char*> {
 protected:
  Codec codec_ = Codec::compile(std::string("train=") + GetParam() + " | f32", layout());
  static double dot(std::span<const float> a, std::span<const float> b) {
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
    return sum;
  }
  static std::vector<float> expand(const Structure& family, std::span<const float> free) {
    std::vector<float> update(family.coordinates(), -1.0f);  // whatever stood there is gone afterwards
    family.expand(free, update);
    return update;
  }
  static std::vector<float> pull_back(const Structure& family, std::span<const float> gradient) {
    std::vector<float> free(family.free_parameters(), -1.0f);
    family.pull_back(gradient, free);
    return free;
  }
  static std::vector<float> project(const Structure& family, std::span<const float> update) {
    std::vector<float> free(family.free_parameters(), -1.0f);
    family.project(update, free);
    return free;
  }
};
INSTANTIATE_TEST_SUITE_P(Families, EveryFamily,
                         ::testing::Values("mask:keep=0.0625", "mask:keep=0.5", "mask:keep=1", "mask:keep=0.0001",
                                           "lowrank:rank=1", "lowrank:rank=3", "lowrank:rank=11", "lowrank:rank=1000"));

TEST_P(EveryFamily, HasTheSizesOfTheCodec) {
  const Structure family(codec_, {42, 3});
  EXPECT_EQ(family.free_parameters(), codec_.elements());
  EXPECT_EQ(family.coordinates(), layout().elements());
  EXPECT_LE(family.free_parameters(), family.coordinates());
}

// ⟨E f, g⟩ = ⟨f, Eᵀ g⟩. A product has at most 60 terms in float32: 64·2^-24 of the norms' product, and entries of E are
// ≤ 1.
TEST_P(EveryFamily, PullBackIsTheAdjointOfExpand) {
  for (std::uint32_t round = 0; round < 10; ++round) {
    const Structure family(codec_, {42, round});
    const auto f = normal(family.free_parameters(), 10 + round);
    const auto g = normal(family.coordinates(), 20 + round);
    const auto update = expand(family, f);
    EXPECT_NEAR(dot(update, g), dot(f, pull_back(family, g)),
                64 * 0x1p-24 * (norm(update) * norm(g) + norm(f) * norm(g)));
  }
}

TEST_P(EveryFamily, ExpandAddAddsTheExpansion) {
  const Structure family(codec_, {42, 3});
  const auto f = normal(family.free_parameters(), 1);
  const auto start = normal(family.coordinates(), 2);
  auto sum = start;
  family.expand_add(f, sum);
  const auto update = expand(family, f);
  // Sums in another order: 13 roundings of the largest magnitude on the way.
  for (std::size_t i = 0; i < sum.size(); ++i)
    EXPECT_NEAR(sum[i], start[i] + update[i], 32 * 0x1p-24 * (std::abs(start[i]) + norm(f)));
}

// E⁺ E = I on the family, where its members determine their parameters: always for a mask. A of ±1 may have columns
// that depend on others; then the member is still its own projection.
TEST_P(EveryFamily, AMemberIsItsOwnProjection) {
  for (std::uint32_t round = 0; round < 10; ++round) {
    const Structure family(codec_, {42, round});
    const auto f = normal(family.free_parameters(), 30 + round);
    const auto update = expand(family, f);
    const auto back = project(family, update);
    if (std::string(GetParam()).starts_with("mask")) {
      EXPECT_TRUE(same_bits(back, f));
    }
    // The regularization of dependent columns is 1e-9 beside squares of order 1.
    EXPECT_LE(std::sqrt(squared_distance(expand(family, back), update)), 1e-3 * norm(update)) << round;
  }
}

// The nearest member: what is left is orthogonal to the family, and no other member is nearer.
TEST_P(EveryFamily, ProjectionLeavesARestThatIsOrthogonal) {
  const Structure family(codec_, {42, 3});
  const auto x = normal(family.coordinates(), 5);
  const auto near = expand(family, project(family, x));
  std::vector<float> rest(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) rest[i] = x[i] - near[i];
  EXPECT_LE(norm(pull_back(family, rest)), 1e-3 * norm(x));
  for (std::uint64_t k = 0; k < 10; ++k) {
    auto other = project(family, x);
    const auto change = normal(other.size(), k, 0.1);
    for (std::size_t i = 0; i < other.size(); ++i) other[i] += change[i];
    EXPECT_GE(squared_distance(expand(family, other), x), squared_distance(near, x) * (1 - 1e-5));
  }
}

TEST_P(EveryFamily, IsTheSameForAllClientsAndAnotherEachRoundAndSeed) {
  const auto draw = [&](RoundContext context) {
    const Structure family(codec_, context);
    std::vector<float> count(family.free_parameters());
    for (std::size_t i = 0; i < count.size(); ++i) count[i] = static_cast<float>(i + 1);
    return expand(family, count);
  };
  EXPECT_EQ(draw({42, 3}), draw({42, 3}));
  const std::string plan = GetParam();
  if (plan == "mask:keep=1" || plan == "lowrank:rank=1000") return;  // everything is trained
  EXPECT_NE(draw({42, 3}), draw({42, 4}));
  EXPECT_NE(draw({42, 3}), draw({43, 3}));
}

TEST_P(EveryFamily, RefusesVectorsOfAnotherLength) {
  const Structure family(codec_, {42, 3});
  std::vector<float> free(family.free_parameters()), update(family.coordinates());
  std::vector<float> free_longer(free.size() + 1), update_longer(update.size() + 1);
  EXPECT_EQ(refusal([&] { family.expand(free_longer, update); }), Errc::kBadArgument);
  EXPECT_EQ(refusal([&] { family.expand(free, update_longer); }), Errc::kBadArgument);
  EXPECT_EQ(refusal([&] { family.expand_add(free_longer, update); }), Errc::kBadArgument);
  EXPECT_EQ(refusal([&] { family.pull_back(update_longer, free); }), Errc::kBadArgument);
  EXPECT_EQ(refusal([&] { family.pull_back(update, free_longer); }), Errc::kBadArgument);
  EXPECT_EQ(refusal([&] { family.project(update_longer, free); }), Errc::kBadArgument);
  EXPECT_EQ(refusal([&] { family.project(update, free_longer); }), Errc::kBadArgument);
}

TEST(Structure, NeedsAPlanWithAFamily) {
  EXPECT_EQ(refusal([] { Structure(Codec::compile("f32", 10), {42, 3}); }), Errc::kBadArgument);
  EXPECT_EQ(refusal([] {
              Structure(Codec::compile("train=mask:keep=0.5 | f32", 10), {42, kMaxRound + 1});
            }),
            Errc::kBadArgument);
}

// What the server does with a mean: free parameters, decoded, expanded once.
TEST(Structure, AMeanOfFreeParametersExpandsToTheMeanOfUpdates) {
  const Codec codec = Codec::compile("train=lowrank:rank=2 | f32", layout());
  const Structure family(codec, {42, 3});
  Aggregator sum(codec, {42, 3});
  std::vector<double> mean(family.coordinates());
  for (std::uint64_t client = 0; client < 4; ++client) {
    const auto free = normal(codec.elements(), client);
    sum.add(codec.encode(free, {42, 3, client}), {client, 1});
    std::vector<float> update(family.coordinates());
    family.expand(free, update);
    for (std::size_t i = 0; i < mean.size(); ++i) mean[i] += static_cast<double>(update[i]) / 4;
  }
  std::vector<float> expanded(family.coordinates());
  family.expand(sum.mean(), expanded);
  for (std::size_t i = 0; i < mean.size(); ++i) EXPECT_NEAR(expanded[i], mean[i], 1e-5);
}

// Each tensor of N keeps max(1, round(keep·N)); over 4,000 rounds the count of each coordinate is binomial, and an
// exact tail under 1e-9 fails (two sides of 205 coordinates).
TEST(StructuredMask, CoversEveryCoordinateEquallyOften) {
  constexpr std::int64_t kRounds = 4000;
  const Codec codec = Codec::compile("train=mask:keep=0.1 | f32", layout());
  std::vector<std::int64_t> counts(layout().elements());
  for (std::uint32_t round = 0; round < kRounds; ++round) {
    const Structure family(codec, {42, round});
    std::vector<float> update(family.coordinates());
    family.expand(std::vector<float>(family.free_parameters(), 1.0f), update);
    for (std::size_t i = 0; i < update.size(); ++i) {
      ASSERT_TRUE(update[i] == 0 || update[i] == 1) << "a coordinate is taken twice";
      counts[i] += update[i] != 0;
    }
  }
  const Layout whole = layout();
  const std::vector<double> kept = {8, 1, 5, 1, 0, 6};
  for (std::size_t t = 0; t < whole.tensors().size(); ++t) {
    const std::size_t n = whole.tensors()[t].elements();
    for (std::size_t i = whole.offset(t); i < whole.offset(t) + n; ++i)
      EXPECT_GE(binomial_tail(counts[i], kRounds, kept[t] / static_cast<double>(n)), 1e-9)
          << whole.tensors()[t].name << ": coordinate " << i << " is free in " << counts[i] << " rounds";
  }
}

// The factor A of a matrix of 12 rows: column j of A is the expansion of a unit of B's row j. Its entries are ±1/√12,
// so AAᵀ has rank/12 on the diagonal always; beside it 12·(AAᵀ)_ij sums rank·rounds independent signs: the count of
// plus signs is binomial with 1/2. Exact tails under 1e-10 fail (66 entries, two sides).
TEST(LowRank, FactorsHaveIndependentSignsSoThatNoDirectionIsPreferred) {
  constexpr std::uint32_t kRounds = 2000;
  constexpr std::size_t kRows = 12, kColumns = 7, kRank = 3;
  const Codec codec = Codec::compile("train=lowrank:rank=3 | f32", Layout({{"w", {kRows, kColumns}}}));
  ASSERT_EQ(codec.elements(), kRank * kColumns);
  std::vector<std::int64_t> plus(kRows * kRows);
  for (std::uint32_t round = 0; round < kRounds; ++round) {
    const Structure family(codec, {42, round});
    for (std::size_t j = 0; j < kRank; ++j) {
      std::vector<float> free(codec.elements()), update(kRows * kColumns);
      free[j * kColumns] = 1;
      family.expand(free, update);
      for (std::size_t a = 0; a < kRows; ++a) {
        EXPECT_NEAR(std::pow(update[a * kColumns], 2), 1.0 / kRows, 1e-7);
        for (std::size_t b = 0; b < kRows; ++b) plus[a * kRows + b] += update[a * kColumns] * update[b * kColumns] > 0;
        for (std::size_t c = 1; c < kColumns; ++c) EXPECT_EQ(update[a * kColumns + c], 0.0f);
      }
    }
  }
  for (std::size_t a = 0; a < kRows; ++a)
    for (std::size_t b = 0; b < a; ++b)
      EXPECT_GE(binomial_tail(plus[a * kRows + b], kRounds * kRank, 0.5), 1e-10) << a << ", " << b;
}

TEST(LowRank, LeavesVectorsAndFlatMatricesWhole) {
  const Codec codec = Codec::compile("train=lowrank:rank=3 | f32", layout());
  // 3·7 of 12×7, the bias, 3·12 of 4×12, the scalar, nothing, 2×30 whole.
  EXPECT_EQ(codec.elements(), 3u * 7 + 12 + 3 * 12 + 1 + 60);
  const Structure family(codec, {42, 3});
  std::vector<float> free(codec.elements()), update(family.coordinates());
  for (std::size_t i = 0; i < 12; ++i) free[21 + i] = static_cast<float>(i + 1);
  family.expand(free, update);
  for (std::size_t i = 0; i < 12; ++i) EXPECT_EQ(update[84 + i], static_cast<float>(i + 1));
}

}  // namespace
}  // namespace fewbits::test
