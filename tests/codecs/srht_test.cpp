#include <gtest/gtest.h>

#include "tests/codecs/hard_inputs.h"

// `hadamard+mask`, the subsampled randomized Hadamard transform.
namespace fewbits::test {
namespace {

double nmse(const Codec& codec, std::span<const float> x, const Context& keys) {
  return squared_distance(codec.decode(codec.encode(x, keys), {7}), x) / std::pow(norm(x), 2);
}

// Behind a rotation of 2^k values a spike has equal squares everywhere, so that what is kept is k/n of the energy in every
// draw: the error is n/k − 1 exactly, but for rounding.
TEST(Srht, ErrsOnASpikeByTheSameInEveryDraw) {
  for (const std::size_t n : {64, 1024}) {
    std::vector<float> x(n);
    x[n / 3] = -2.5f;
    for (const char* plan : {"hadamard+mask:keep=0.25+f32", "hadamard:seed=client+mask:keep=0.25,seed=round+f32"})
      for (std::uint32_t round = 0; round < 20; ++round) EXPECT_NEAR(nmse(Codec::compile(plan, n), x, {7, round, 1}), 3, 1e-4);
  }
}

// n/k − 1 over the draws for any input and length; 2 %, of which the standard error over 2,000 rounds is less than a sixth.
TEST(Srht, ErrsByTheShareThatIsNotKept) {
  for (const std::size_t n : {96, 500})
    for (const auto& [keep, k] : {std::pair{"0.25", n / 4}, {"0.5", n / 2}}) {
      const Codec codec = Codec::compile("hadamard+mask:keep=" + std::string(keep) + "+f32", n);
      const double exact = static_cast<double>(n) / static_cast<double>(k) - 1;
      EXPECT_NEAR(codec.describe().nmse_bound.value(), exact, 1e-12);
      EXPECT_EQ(codec.describe().unbiased, Unbiased::kAlways);
      for (const auto& [name, x] : hard_inputs(n)) {
        if (name == "zeros" || name == "denormals") continue;
        double mean = 0;
        constexpr std::uint32_t kRounds = 2000;
        for (std::uint32_t round = 0; round < kRounds; ++round) mean += nmse(codec, x, {7, round, 1}) / kRounds;
        EXPECT_NEAR(mean, exact, 0.02 * exact) << name << ", " << n << ", " << keep;
      }
    }
}

}  // namespace
}  // namespace fewbits::test
