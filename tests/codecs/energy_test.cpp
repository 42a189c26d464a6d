#include <gtest/gtest.h>

#include "tests/codecs/hard_inputs.h"
#include "tests/codecs/probe.h"

// Mean squared errors against exact variances, and against the bounds that plans promise.
namespace fewbits::test {
namespace {

constexpr std::uint64_t kSeed = 7;

// Exact mean and variance of ‖x̂ − x‖² of one frame, given its rotation (and its mask where one is first or alone).
struct Energy {
  double mean = 0;
  double variance = 0;
};

// Errors of coefficients are independent, and rotations keep norms, so that energies and their variances add.
Energy of_quantization(const Codec& codec, const std::vector<float>& x, const Context& keys) {
  Probe probe(codec);
  probe.draw(keys);
  probe.apply(x);
  Energy energy;
  for (std::size_t j = 0; j < probe.variance().size(); ++j) {
    energy.mean += probe.variance()[j];
    energy.variance += probe.variance_of_square()[j];
  }
  return energy;
}

// Of 65,536 normal coordinates, over 8 rounds: the sum of 8 · 65,536 independent squares is normal, 6 standard errors.
TEST(Nmse, OfQuantizationIsItsExactVarianceAndUnderTheBoundOfSureshEtAl) {
  const std::size_t n = long_tests() ? 1 << 20 : 1 << 16;
  const auto x = normal(n, 1);
  for (const char* plan :
       {"quantize:bits=4", "quantize:bits=1", "quantize:bits=4,block=256", "hadamard+quantize:bits=1",
        "hadamard+quantize:bits=2", "hadamard+quantize:bits=4", "hadamard:seed=client+quantize:bits=2"}) {
    const Codec codec = Codec::compile(plan, n);
    double energy = 0;
    Energy exact;
    for (std::uint32_t round = 0; round < 8; ++round) {
      const Context keys{kSeed, round, 1};
      energy += squared_distance(codec.decode(codec.encode(x, keys), {kSeed}), x);
      const Energy one = of_quantization(codec, x, keys);
      exact.mean += one.mean;
      exact.variance += one.variance;
    }
    // Rounding to float32, of decoded values and in the rotation, is under 40·2^-24 of the norm: with errors of at
    // least 1/200 of the norm (here the finest, 4 bits) its cross term moves the energy by less than 2·200·40·2^-24 <
    // 0.1 %.
    EXPECT_NEAR(energy, exact.mean, 6 * std::sqrt(exact.variance) + 1e-3 * exact.mean) << plan;
    const auto bound = codec.describe().nmse_bound;
    ASSERT_TRUE(bound.has_value()) << plan;
    EXPECT_LT(energy / 8, *bound * std::pow(norm(x), 2)) << plan;
  }
}

// ‖x̂ − x‖² = ‖x‖² + ((n/k − 1)² − 1)·Σ over kept x_i²: a simple random sample of k squares out of n, whose sum has
// variance k(1 − k/n)·S².
TEST(Nmse, OfAMaskIsItsExactVariance) {
  constexpr std::size_t kN = 1 << 16;
  const auto x = normal(kN, 2);
  for (const auto& [plan, k] :
       std::vector<std::pair<const char*, double>>{{"mask:keep=0.1+f32", 6554}, {"mask:keep=0.5+f32", 32768}}) {
    const Codec codec = Codec::compile(plan, kN);
    double mean = 0, spread = 0;
    for (const float v : x) mean += std::pow(static_cast<double>(v), 2) / kN;
    for (const float v : x) spread += std::pow(std::pow(static_cast<double>(v), 2) - mean, 2) / (kN - 1);
    const double gain = kN / k;
    const double factor = std::pow(gain - 1, 2) - 1;
    const double error = std::abs(factor) * std::sqrt(k * (1 - k / kN) * spread / 8);
    double energy = 0;
    for (std::uint32_t round = 0; round < 8; ++round)
      energy += squared_distance(codec.decode(codec.encode(x, {kSeed, round, 1}), {kSeed}), x) / 8;
    const double exact = (gain - 1) * std::pow(norm(x), 2);
    EXPECT_NEAR(energy, exact, 6 * error + 1e-6 * exact) << plan;
    // The promise is this value, not only a bound.
    EXPECT_NEAR(*codec.describe().nmse_bound, gain - 1, 1e-12) << plan;
  }
}

// E‖x̂ − x‖² ≤ bound·‖x‖² for every input. The mean over 1,000 rounds of hard inputs stays under the bound: where an
// input reaches it (a mask, always), up to 6 standard errors, with a variance of the energy of at most the square of
// its mean times n/k (energies of masked spikes are 0 or n/k times their mean).
TEST(Nmse, StaysUnderItsBoundOnHardInputs) {
  for (const char* plan :
       {"quantize:bits=1", "quantize:bits=3", "quantize:bits=2,block=16", "hadamard+quantize:bits=1",
        "hadamard+quantize:bits=3", "hadamard:seed=client+quantize:bits=2,block=16", "mask:keep=0.25+f32",
        "mask:keep=0.25+quantize:bits=2", "hadamard+mask:keep=0.25+quantize:bits=2",
        "mask:keep=0.25+hadamard:seed=client+quantize:bits=1", "hadamard+hadamard+quantize:bits=2"})
    for (const std::size_t d : {3, 37, 256}) {
      const Codec codec = Codec::compile(plan, d);
      const double bound = codec.describe().nmse_bound.value();
      for (const auto& [name, x] : hard_inputs(d)) {
        constexpr unsigned kRounds = 1000;
        double energy = 0;
        for (unsigned round = 0; round < kRounds; ++round)
          energy += squared_distance(codec.decode(codec.encode(x, {kSeed, round, 1}), {kSeed}), x) / kRounds;
        const double gain = static_cast<double>(d) / std::max(1.0, std::floor(0.25 * static_cast<double>(d) + 0.5));
        EXPECT_LE(energy, bound * std::pow(norm(x), 2) * (1 + 6 * std::sqrt(gain / kRounds)) + 1e-80)
            << plan << ", " << name << ", " << d;
      }
    }
}

// Dithers of clients are independent given what a round shares, so that the squared error of the mean of n clients with
// the same update is 1/n of that of one. Each is a sum over rounds of nearly independent squares; exact mean 1/n, and a
// variance of at most (2·mean² a coordinate + that of one frame's squares/n) by the fourth moment of a mean: 6 standard
// errors.
TEST(TheMeanOfClients, HasAnErrorThatFallsAsOneOverTheirNumber) {
  constexpr std::size_t kN = 512;
  constexpr std::uint32_t kRounds = 32;
  const auto x = normal(kN, 3);
  for (const char* plan : {"quantize:bits=1", "quantize:bits=4", "hadamard+quantize:bits=1", "hadamard+quantize:bits=2",
                           "hadamard:seed=client+quantize:bits=1"})
    for (const std::uint64_t clients : {1, 4, 16, 64, 256}) {
      const Codec codec = Codec::compile(plan, kN);
      const auto n = static_cast<double>(clients);
      double energy = 0, expected = 0, variance = 0;
      for (std::uint32_t round = 0; round < kRounds; ++round) {
        Aggregator sum(codec, {kSeed, round});
        for (std::uint64_t client = 0; client < clients; ++client) {
          const Context keys{kSeed, round, client};
          sum.add(codec.encode(x, keys), {client, 1});
          Probe probe(codec);
          probe.draw(keys);
          probe.apply(x);
          for (std::size_t j = 0; j < kN; ++j) {
            const double v = probe.variance()[j];
            expected += v / (n * n);
            // Var((mean of n errors)²) ≤ 2v²/n² + (fourth moment − 3v²)/n³, spread over the clients of the round.
            variance += (2 * v * v / (n * n) + (probe.variance_of_square()[j] - 2 * v * v) / (n * n * n)) / n;
          }
        }
        energy += squared_distance(sum.mean(), x);
      }
      EXPECT_NEAR(energy, expected, 6 * std::sqrt(variance) + 1e-3 * expected) << plan << ", " << clients << " clients";
    }
}

// Subsampling errs over clients too where each draws its own mask; where a round shares the mask, only over rounds.
TEST(TheMeanOfClients, WithMasksOfTheirOwnErrsLessThanWithASharedMask) {
  constexpr std::size_t kN = 1000;
  const auto x = normal(kN, 4);
  const auto error = [&](const char* plan) {
    const Codec codec = Codec::compile(plan, kN);
    Aggregator sum(codec, {kSeed, 1});
    for (std::uint64_t client = 0; client < 100; ++client) sum.add(codec.encode(x, {kSeed, 1, client}), {client, 1});
    return squared_distance(sum.mean(), x) / std::pow(norm(x), 2);
  };
  // 3/100 and 3 on average; the standard error of either is under a tenth of it.
  EXPECT_NEAR(error("mask:keep=0.25+f32"), 0.03, 0.01);
  EXPECT_NEAR(error("mask:keep=0.25,seed=round+f32"), 3, 1);
}

}  // namespace
}  // namespace fewbits::test
