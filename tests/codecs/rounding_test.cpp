#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "tests/codecs/hard_inputs.h"
#include "tests/codecs/tails.h"

// Quantizers that round each value to one of its two neighbours among their points: `qsgd`, `ternary`, `natural`. Of a
// value y between the points lo and hi the error is hi − y with probability (y − lo)/(hi − lo) and lo − y else: mean 0,
// variance (hi − y)(y − lo). Points are computed here from the papers' formulas.
namespace fewbits::test {
namespace {

constexpr std::uint64_t kSeed = 17;

struct Neighbours {
  double low = 0;   // in magnitude
  double high = 0;
};

using Points = std::vector<Neighbours> (*)(std::span<const float>);

double magnitude(float value) { return std::abs(static_cast<double>(value)); }

// Multiples of ‖bucket‖₂/levels (Alistarh et al. 2017, equation 2); the norm is sent as float32.
template <int levels, std::size_t bucket>
std::vector<Neighbours> qsgd_points(std::span<const float> x) {
  std::vector<Neighbours> points;
  for (std::size_t start = 0; start < x.size(); start += bucket) {
    const auto values = x.subspan(start, std::min(bucket, x.size() - start));
    const double unit = static_cast<double>(static_cast<float>(norm(values))) / levels;
    for (const float value : values) {
      const double below = unit == 0 ? 0 : std::min(std::floor(magnitude(value) / unit), levels - 1.0);
      points.push_back({below * unit, (below + 1) * unit});
    }
  }
  return points;
}

// Zero and the largest magnitude (Wen et al. 2017, equation 3).
std::vector<Neighbours> ternary_points(std::span<const float> x) {
  double most = 0;
  for (const float value : x) most = std::max(most, magnitude(value));
  return std::vector<Neighbours>(x.size(), Neighbours{0, most});
}

// Powers of two (Horváth et al. 2019, definition 1).
std::vector<Neighbours> natural_points(std::span<const float> x) {
  std::vector<Neighbours> points;
  for (const float value : x) {
    const double below = value == 0 ? 0 : std::ldexp(1.0, std::ilogb(magnitude(value)));
    points.push_back({below, 2 * below});
  }
  return points;
}

struct Rounding {
  const char* plan;
  Points points;
};

// Packed, which costs no time.
Codec codec_of(const Rounding& r, std::size_t n) { return Codec::compile(std::string(r.plan) + "+pack", n); }

std::ostream& operator<<(std::ostream& out, const Rounding& r) { return out << r.plan; }

double variance_of(float value, const Neighbours& p) {
  return std::max(0.0, (p.high - magnitude(value)) * (magnitude(value) - p.low));
}

double exact_energy(const Rounding& r, std::span<const float> x) {
  const auto points = r.points(x);
  double sum = 0;
  for (std::size_t i = 0; i < x.size(); ++i) sum += variance_of(x[i], points[i]);
  return sum;
}

class RoundingTo : public ::testing::TestWithParam<Rounding> {};

constexpr std::size_t kAll = std::numeric_limits<std::size_t>::max() / 2;

INSTANTIATE_TEST_SUITE_P(Neighbours, RoundingTo,
                         ::testing::Values(Rounding{"qsgd:levels=1", qsgd_points<1, kAll>},
                                           Rounding{"qsgd:levels=5", qsgd_points<5, kAll>},
                                           Rounding{"qsgd:levels=3,bucket=7", qsgd_points<3, 7>},
                                           Rounding{"qsgd:levels=32767,bucket=64", qsgd_points<32767, 64>},
                                           Rounding{"ternary", ternary_points}, Rounding{"natural", natural_points}));

// Every decoded value is one of its two neighbours, rounded to float32 (an ulp of slack where a norm is computed in
// another order); mean error and mean square of each coordinate, and of all, as the variances say. 1e-9 a comparison.
TEST_P(RoundingTo, IsToANeighbourUnbiasedAndOfTheExactVariance) {
  const unsigned rounds = long_tests() ? 20'000 : 4000;
  for (const std::size_t d : {1, 3, 37, 150})
    for (const auto& [name, x] : hard_inputs(d)) {
      const Codec codec = codec_of(GetParam(), d);
      ASSERT_EQ(codec.describe().unbiased, Unbiased::kAlways);
      const auto points = GetParam().points(x);
      std::vector<double> error(d);
      double energy = 0;
      Encoder encoder(codec);
      for (unsigned round = 0; round < rounds; ++round) {
        const auto back = codec.decode(encoder.encode(x, {kSeed, round, round % 10}), {kSeed});
        for (std::size_t i = 0; i < d; ++i) {
          const double got = magnitude(back[i]);
          const double slack = 0x1p-22 * points[i].high + 0x1p-149;
          ASSERT_TRUE(std::abs(got - points[i].low) <= slack || std::abs(got - points[i].high) <= slack)
              << name << ", coordinate " << i << " = " << x[i] << " became " << back[i] << ", its neighbours are "
              << points[i].low << " and " << points[i].high;
          ASSERT_TRUE(back[i] == 0 || std::signbit(back[i]) == std::signbit(x[i])) << name << ", " << i;
          const double difference = static_cast<double>(back[i]) - static_cast<double>(x[i]);
          error[i] += difference;
          energy += difference * difference;
        }
      }
      double mean = 0, spread = 0, largest = 0, slack_of_all = 0;
      for (std::size_t i = 0; i < d; ++i) {
        const double gap = points[i].high - points[i].low;
        const double variance = variance_of(x[i], points[i]);
        const double slack = 0x1p-22 * points[i].high + 0x1p-149;
        EXPECT_LE(std::abs(error[i]), allowed(rounds * variance, gap) + rounds * slack)
            << name << ", " << d << " coordinates, coordinate " << i << " = " << x[i] << ": mean error "
            << error[i] / rounds;
        const double f = gap == 0 ? 0 : (magnitude(x[i]) - points[i].low) / gap;
        mean += rounds * variance;
        spread += rounds * (variance * (std::pow(1 - f, 3) + std::pow(f, 3)) * gap * gap - variance * variance);
        largest = std::max(largest, gap * gap);
        slack_of_all += rounds * (2 * slack * gap + slack * slack);
      }
      EXPECT_LE(std::abs(energy - mean), allowed(std::max(spread, 0.0), largest) + slack_of_all)
          << name << ", " << d << " coordinates: energy " << energy << ", exactly " << mean;
    }
}

// The mean of N encodings errs N times less: the energy of d independent normal means varies by at most √(2/m) where m
// coordinates carry it, m = (Σv)²/Σv².
TEST_P(RoundingTo, TheErrorOfTheMeanFallsAsOneOverN) {
  constexpr std::size_t kD = 300;
  constexpr unsigned kRounds = 1000;
  for (const auto& [name, x] : hard_inputs(kD)) {
    const Codec codec = codec_of(GetParam(), kD);
    const auto points = GetParam().points(x);
    std::vector<double> error(kD);
    for (unsigned round = 0; round < kRounds; ++round) {
      const auto back = codec.decode(codec.encode(x, {kSeed, round, 1}), {kSeed});
      for (std::size_t i = 0; i < kD; ++i) error[i] += (static_cast<double>(back[i]) - static_cast<double>(x[i])) / kRounds;
    }
    double of_mean = 0, one = 0, squares = 0, slack = 0;
    for (std::size_t i = 0; i < kD; ++i) {
      of_mean += error[i] * error[i];
      const double v = variance_of(x[i], points[i]);
      one += v;
      squares += v * v;
      slack += std::pow(0x1p-22 * points[i].high + 0x1p-149, 2);
    }
    if (one <= kRounds * slack) continue;   // points stay where they are
    EXPECT_NEAR(kRounds * of_mean / one, 1, 5 * std::sqrt(2 * squares) / one) << name;
  }
}

// For every input the exact variance, which the test above compares with the frames', is under the papers' bounds: min(n/s²,
// √n/s) for n values a bucket (lemma 3.1), (√n − 1)/2 (derived in ternary.cpp), 1/8 (theorem 1).
TEST_P(RoundingTo, StaysUnderThePapersBound) {
  for (const std::size_t d : {1, 2, 3, 37, 512, 4097}) {
    const double bound = codec_of(GetParam(), d).describe().nmse_bound.value();
    for (const auto& [name, x] : hard_inputs(d)) {
      const double norm_rounding = name == "denormals" ? 1.01 : 1 + 1e-6;
      EXPECT_LE(exact_energy(GetParam(), x), bound * std::pow(norm(x), 2) * norm_rounding) << name << ", " << d;
    }
  }
}

// On normal vectors, as GRACE's QSGD (buckets of 128) and natural compression were measured with 2^20 coordinates; and
// ternary by its formula. 8 rounds of 2^16: the exact variances of these plans leave under 0.5 % of sampling error.
TEST(Rounding, ErrsAsMeasuredElsewhere) {
  const std::size_t n = long_tests() ? 1 << 20 : 1 << 16;
  const auto x = normal(n, 1);
  double most = 0, magnitudes = 0;
  for (const float value : x) {
    most = std::max(most, magnitude(value));
    magnitudes += magnitude(value);
  }
  const double ternary = most * magnitudes / std::pow(norm(x), 2) - 1;
  const std::vector<std::pair<const char*, double>> figures = {{"qsgd:levels=1,bucket=128", 8.05},
                                                               {"qsgd:levels=3,bucket=128", 2.02},
                                                               {"qsgd:levels=7,bucket=128", 0.435},
                                                               {"natural", 0.082},
                                                               {"ternary", ternary}};
  for (const auto& [plan, figure] : figures) {
    const Codec codec = Codec::compile(std::string(plan) + "+pack", n);
    double nmse = 0;
    for (std::uint32_t round = 0; round < 8; ++round)
      nmse += squared_distance(codec.decode(codec.encode(x, {kSeed, round, 1}), {kSeed}), x) / 8 / std::pow(norm(x), 2);
    EXPECT_NEAR(nmse, figure, 0.02 * figure) << plan;
  }
}

// The bounds are reached: one value of 1 among others of 1/(√n + 1), and 4/3.
TEST(Rounding, ReachesItsBoundOnTheWorstVector) {
  std::vector<float> x(100, 1.0f / 11);
  x[50] = -1;
  EXPECT_NEAR(exact_energy({"ternary", ternary_points}, x) / std::pow(norm(x), 2),
              Codec::compile("ternary", 100).describe().nmse_bound.value(), 1e-6);
  const std::vector<float> thirds(10, 4.0f / 3);
  EXPECT_NEAR(exact_energy({"natural", natural_points}, thirds) / std::pow(norm(thirds), 2), 0.125, 1e-6);
}

// Powers of two stay as they are, from the least denormal to 2^127, beside any other value.
TEST(Natural, KeepsPowersOfTwo) {
  for (const int top : {-149, -126, 0, 104, 105, 106, 127}) {
    std::vector<float> x;
    for (int e = top > 105 ? -127 : -149; e <= top; ++e) {
      x.push_back(std::ldexp(1.0f, e));
      x.push_back(-x.back());
    }
    x.push_back(0);
    const Codec codec = Codec::compile("natural", x.size());
    for (std::uint32_t round = 0; round < 10; ++round)
      EXPECT_TRUE(same_bits(codec.decode(codec.encode(x, {kSeed, round, 0}), {kSeed}), x)) << top;
  }
}

// Beside a value over 2^105 the 22 least powers of two cannot be named: smaller values become zero or 2^-127, unbiased.
TEST(Natural, StaysUnbiasedBelowItsLeastPower) {
  constexpr unsigned kRounds = 20'000;
  const std::vector<float> x = {std::ldexp(1.5f, 110), 0x1p-149f, 0x1p-128f, 3 * 0x1p-130f, -0x1p-129f, -0x1.8p-127f};
  const Codec codec = Codec::compile("natural", x.size());
  std::vector<double> mean(x.size());
  for (std::uint32_t round = 0; round < kRounds; ++round) {
    const auto back = codec.decode(codec.encode(x, {kSeed, round, 0}), {kSeed});
    for (std::size_t i = 0; i < x.size(); ++i) mean[i] += static_cast<double>(back[i]) / kRounds;
    for (std::size_t i = 1; i < 5; ++i) EXPECT_TRUE(back[i] == 0 || std::abs(back[i]) == 0x1p-127f) << back[i];
  }
  for (std::size_t i = 1; i < x.size(); ++i) {
    const double step = 0x1p-127;
    const double low = i == 5 ? step : 0;
    const double variance = (low + step - magnitude(x[i])) * (magnitude(x[i]) - low);
    EXPECT_LE(std::abs(mean[i] - static_cast<double>(x[i])) * kRounds, allowed(kRounds * variance, step)) << i;
  }
}

TEST(Natural, RefusesWhatMayRoundBeyondFloat32) {
  const Codec codec = Codec::compile("natural", 2);
  const auto encode = [&](float value) { return refusal([&] { codec.encode(std::vector<float>{1, value}, {}); }); };
  EXPECT_EQ(encode(0x1p127f), std::nullopt);
  EXPECT_EQ(encode(-0x1p127f), std::nullopt);
  EXPECT_EQ(encode(std::nextafter(0x1p127f, INFINITY)), Errc::kBadArgument);
  EXPECT_EQ(encode(-std::numeric_limits<float>::max()), Errc::kBadArgument);
}

TEST(Qsgd, RefusesANormBeyondFloat32) {
  std::vector<float> x(4, std::numeric_limits<float>::max());
  EXPECT_EQ(refusal([&] { Codec::compile("qsgd:levels=2", 4).encode(x, {}); }), Errc::kBadArgument);
  // Buckets of one are exact.
  const Codec codec = Codec::compile("qsgd:levels=2,bucket=1", 4);
  EXPECT_TRUE(same_bits(codec.decode(codec.encode(x, {}), {}), x));
}

// The largest value is sent as it is, and a lone value therefore too.
TEST(Ternary, KeepsTheLargestValue) {
  auto x = normal(100, 3);
  x[20] = -std::numeric_limits<float>::max();
  const Codec codec = Codec::compile("ternary", 100);
  for (std::uint32_t round = 0; round < 100; ++round)
    EXPECT_EQ(codec.decode(codec.encode(x, {kSeed, round, 0}), {kSeed})[20], x[20]);
}

}  // namespace
}  // namespace fewbits::test
