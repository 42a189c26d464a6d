#include <gtest/gtest.h>

#include <bit>

#include "tests/codecs/hard_inputs.h"
#include "tests/codecs/probe.h"
#include "tests/codecs/tails.h"
#include "tests/kernels/binomial.h"

// Unbiasedness, coordinate by coordinate, on hard inputs. Seeds are fixed, so the results are too. Standard errors are
// computed from exact variances (probe.h), never estimated. If a test fails, look at the coordinate; do not change the
// seed.
namespace fewbits::test {
namespace {

const unsigned kRounds = long_tests() ? 20'000 : 4000;
constexpr std::uint64_t kSeed = 2016;

// Sums over rounds, for each coordinate.
struct Sums {
  explicit Sums(std::size_t n)
      : error(n), dither_error(n), mask_variance(n), dither_variance(n), largest(n), shift(n), magnitude(n) {}
  std::vector<double> error, dither_error, mask_variance, dither_variance, largest, shift, magnitude;
  std::vector<std::int64_t> kept = std::vector<std::int64_t>(error.size());
  double energy = 0, expected_energy = 0, energy_variance = 0, largest_energy = 0, energy_shift = 0;
};

class UnbiasedPlan : public ::testing::TestWithParam<const char*> {
 protected:
  static void add_round(Probe& probe, std::span<const float> x, const std::vector<float>& back, Sums& sums) {
    const std::size_t all = probe.transforms();
    probe.apply(x);
    const auto variance = probe.propagate(all, probe.variance(), Probe::Norm::kSquares);
    const auto largest = probe.propagate(all, probe.step(), Probe::Norm::kMax);
    const auto shift = probe.propagate(all, probe.shift(), Probe::Norm::kSum);
    double gain = 1;  // of all masks: energies of errors in coefficients grow by its square, since rotations keep norms
    for (std::size_t s = 0; s < all; ++s) {
      if (!probe.is(s, "mask")) continue;
      const auto over_masks = probe.mask_variance(s);
      for (std::size_t i = 0; i < x.size(); ++i) sums.mask_variance[i] += over_masks[i];
      gain *= probe.gain(s);
    }
    for (std::size_t j = 0; j < probe.step().size(); ++j) {
      sums.expected_energy += gain * gain * probe.variance()[j];
      sums.energy_shift += gain * gain * probe.shift()[j] * probe.step()[j];
      sums.energy_variance += std::pow(gain, 4) * probe.variance_of_square()[j];
      sums.largest_energy = std::max(sums.largest_energy, std::pow(gain * probe.step()[j], 2));
    }
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double error = static_cast<double>(back[i]) - probe.mean()[i];
      sums.dither_error[i] += error;
      sums.energy += error * error;
      sums.error[i] += static_cast<double>(back[i]) - static_cast<double>(x[i]);
      sums.dither_variance[i] += variance[i];
      sums.largest[i] = std::max(sums.largest[i], largest[i]);
      sums.shift[i] += shift[i];
      sums.magnitude[i] += std::abs(static_cast<double>(back[i]));
      sums.kept[i] += back[i] != 0;
    }
  }

  // What rounding of the rotations may add to one decoded coordinate. A rotation of b = 2^e values rounds e sums and
  // one product for each value, and each level keeps the norm (but for a scale), so that the error has a norm of at
  // most (e + 1)·2^-24·‖u‖ to first order; once more where two blocks overlap; plus 2^-149 a value where u is denormal.
  // Masks before it multiply the error on the way back.
  static double rotation_rounding(const Probe& probe) {
    double total = 0;
    double gain = 1;
    for (std::size_t s = 0; s < probe.transforms(); ++s) {
      if (probe.is(s, "mask")) {
        gain *= probe.gain(s);
        continue;
      }
      const auto n = static_cast<double>(probe.inputs(s));
      total += gain * 2 * ((std::log2(n) + 2) * 0x1p-24 * norm(probe.values(s)) + std::sqrt(n) * 0x1p-149);
    }
    return total;
  }

  static void check(const Probe& probe, const std::string& input, std::span<const float> x, const Sums& sums) {
    const bool masked = probe.transforms() > 0 && probe.is(0, "mask");
    const double rounding = rotation_rounding(probe) * kRounds;
    for (std::size_t i = 0; i < x.size(); ++i) {
      // Each decoded value is rounded to float32 once.
      const double slack = sums.shift[i] + 0x1p-24 * sums.magnitude[i] + kRounds * 0x1p-149;
      EXPECT_LE(std::abs(sums.dither_error[i]), allowed(sums.dither_variance[i], sums.largest[i]) + slack)
          << "over the dither: " << input << ", " << x.size() << " coordinates, coordinate " << i << " = " << x[i]
          << ": mean error " << sums.dither_error[i] / kRounds << ", standard error "
          << std::sqrt(sums.dither_variance[i]) / kRounds;
      // A coordinate that is kept in fewer than 100 rounds has no normal sum: its count is looked at below.
      if (masked && kRounds / probe.gain(0) < 100) continue;
      const double variance = sums.dither_variance[i] + sums.mask_variance[i];
      const double dither_only = sums.mask_variance[i] == 0 ? sums.largest[i] : 0;
      EXPECT_LE(std::abs(sums.error[i]), allowed(variance, dither_only) + slack + rounding)
          << "over all draws: " << input << ", " << x.size() << " coordinates, coordinate " << i << " = " << x[i]
          << ": mean error " << sums.error[i] / kRounds << ", standard error " << std::sqrt(variance) / kRounds;
    }
    check_counts(probe, input, x, sums);
    // The energy of the errors against its exact mean, with fractions as right as the encoder's float32 has them.
    // Rounding decoded values to float32 adds an error of energy r to one of energy e: at most r + 2√(e·r)
    // (Cauchy–Schwarz).
    double magnitudes = 0;
    for (const double magnitude : sums.magnitude) magnitudes += magnitude * magnitude;
    const double denormal_rounding = kRounds * static_cast<double>(x.size()) * 0x1p-298;
    const double rounding_energy = 0x1p-48 * magnitudes + denormal_rounding;
    EXPECT_LE(std::abs(sums.energy - sums.expected_energy), allowed(sums.energy_variance, sums.largest_energy) +
                                                                2 * std::sqrt(sums.energy * rounding_energy) +
                                                                rounding_energy + sums.energy_shift)
        << input << ", " << x.size() << " coordinates: energy " << sums.energy << ", exactly " << sums.expected_energy;
  }

  // A mask in front keeps each coordinate with probability k/n; behind it f32 loses nothing, so that what arrives
  // tells. Exact tails: under 1e-9 fails.
  static void check_counts(const Probe& probe, const std::string& input, std::span<const float> x, const Sums& sums) {
    if (!std::string_view(GetParam()).starts_with("mask") || !std::string_view(GetParam()).ends_with("+f32")) return;
    for (std::size_t i = 0; i < x.size(); ++i) {
      if (x[i] == 0) continue;
      EXPECT_GE(binomial_tail(sums.kept[i], kRounds, 1 / probe.gain(0)), 1e-9)
          << input << ", coordinate " << i << " of " << x.size() << " is kept " << sums.kept[i] << " times";
    }
  }
};

// f32 behind nothing is the control: no variance at all, so that every bit of an error shows.
INSTANTIATE_TEST_SUITE_P(Plans, UnbiasedPlan,
                         ::testing::Values("f32", "quantize:bits=1", "quantize:bits=2", "quantize:bits=4",
                                           "quantize:bits=8", "quantize:bits=1,block=16", "quantize:bits=2,block=10",
                                           "quantize:bits=4,block=100", "mask:keep=0.25+f32",
                                           "mask:keep=0.25,seed=round+f32", "mask:keep=0.004+f32",
                                           "mask:keep=0.25+quantize:bits=2", "hadamard+f32", "hadamard+quantize:bits=1",
                                           "hadamard+quantize:bits=2", "hadamard+quantize:bits=4",
                                           "hadamard+quantize:bits=8", "hadamard:seed=client+quantize:bits=1",
                                           "hadamard+quantize:bits=2,block=32", "hadamard+mask:keep=0.25+f32",
                                           "hadamard+mask:keep=0.25+quantize:bits=2",
                                           "hadamard+mask:keep=0.25,seed=round+quantize:bits=1",
                                           "hadamard:seed=client+mask:keep=0.0625+quantize:bits=2",
                                           "mask:keep=0.25+hadamard:seed=client+quantize:bits=2"));

TEST_P(UnbiasedPlan, DecodesToTheUpdateOnAverage) {
  for (const std::size_t d : {1, 3, 37, 256, 512}) {
    const Codec codec = Codec::compile(GetParam(), d);
    ASSERT_EQ(codec.describe().unbiased, Unbiased::kAlways);
    Encoder encoder(codec);
    Probe probe(codec);
    const auto inputs = hard_inputs(d);
    std::vector<Sums> sums(inputs.size(), Sums(d));
    for (unsigned round = 0; round < kRounds; ++round) {
      const Context keys{kSeed, round, round % 10};
      probe.draw(keys);
      for (std::size_t k = 0; k < inputs.size(); ++k)
        add_round(probe, inputs[k].second, codec.decode(encoder.encode(inputs[k].second, keys), {kSeed}), sums[k]);
    }
    for (std::size_t k = 0; k < inputs.size(); ++k) {
      probe.apply(inputs[k].second);  // the norms of its last round stand for all
      check(probe, inputs[k].first, inputs[k].second, sums[k]);
      if (HasFailure()) return;
    }
  }
}

}  // namespace
}  // namespace fewbits::test
