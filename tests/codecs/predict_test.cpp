#include <gtest/gtest.h>

#include <algorithm>

#include "codec_impl.h"
#include "stage.h"
#include "tests/codecs/hard_inputs.h"
#include "tests/codecs/matrices.h"
#include "tests/engine/hostile.h"

namespace fewbits::test {
namespace {

constexpr Context kKeys{7, 3, 1};
constexpr std::size_t kRows = 40, kColumns = 60;

Layout matrix_layout(std::size_t rows = kRows, std::size_t columns = kColumns) { return Layout({{"w", {rows, columns}}}); }

// Two strong directions, and noise with a hundredth of their energy.
std::vector<float> low_rank_and_noise(std::size_t rows = kRows, std::size_t columns = kColumns) {
  auto x = with_singular_values(rows, columns, {4, 3}, 1);
  const auto noise = normal(rows * columns, 2, std::sqrt(0.25 / static_cast<double>(rows * columns)));
  for (std::size_t i = 0; i < x.size(); ++i) x[i] += noise[i];
  return x;
}

double nmse(const Codec& codec, std::span<const float> x, std::span<const std::byte> frame) {
  return squared_distance(codec.decode(frame, {7}), x) / std::pow(norm(x), 2);
}

// The rounding of the rest to float32, and of the sum: 2^-24 of each.
void expect_equal_but_for_rounding(std::span<const float> back, std::span<const float> x) {
  EXPECT_LE(std::sqrt(squared_distance(back, x)), 0x1p-22 * norm(x) + 1e-42);
}

TEST(Predict, LosesNothingWhateverTheFactorsAre) {
  for (const auto& [rows, columns] : {std::pair{40, 60}, {60, 40}, {7, 9}, {2, 500}, {3, 3}})
    for (const char* parameters : {"rank=1", "rank=2", "rank=5,iterations=3"}) {
      const auto n = static_cast<std::size_t>(rows * columns);
      const Codec codec = Codec::compile("predict:" + std::string(parameters) + "+f32", matrix_layout(rows, columns));
      auto inputs = hard_inputs(n);
      inputs.emplace_back("low rank", with_singular_values(rows, columns, {4, 3}, 1));
      for (const auto& [name, x] : inputs)
        for (const float scale : {1.0f, 1e-30f, 1e20f}) {
          auto scaled = x;
          for (float& value : scaled) value *= scale;
          if (all_finite(scaled)) expect_equal_but_for_rounding(codec.decode(codec.encode(scaled, kKeys), {7}), scaled);
        }
    }
}

// Factors are sent where they save bits: 2·(40 + 60) numbers of 2 bytes for two directions, and a byte for their number.
TEST(Predict, SendsThePairsOfFactorsThatPay) {
  const Codec with = Codec::compile("predict:rank=5,iterations=2+f32", matrix_layout());
  const std::size_t without = Codec::compile("f32", matrix_layout()).encode(low_rank_and_noise(), kKeys).size();
  EXPECT_EQ(with.encode(low_rank_and_noise(), kKeys).size(), without + 1 + 2 * 2 * 100);
  EXPECT_EQ(with.encode(normal(kRows * kColumns, 3), kKeys).size(), without + 1);
  EXPECT_EQ(with.encode(std::vector<float>(kRows * kColumns), kKeys).size(), without + 1);
  // Vectors have none, nor values that are no tensors' any more.
  EXPECT_EQ(Codec::compile("predict:rank=1+f32", 100).max_frame_size(), Codec::compile("f32", 100).max_frame_size());
  EXPECT_EQ(Codec::compile("hadamard+predict:rank=1+f32", matrix_layout()).max_frame_size(),
            Codec::compile("hadamard+f32", matrix_layout()).max_frame_size());
}

TEST(Predict, PassesTensorsOn) {
  const Codec codec = Codec::compile("predict:rank=1+lowrank:rank=2+f32", matrix_layout());
  EXPECT_EQ(codec.describe().groups.at(0).values, 2u * 100);
}

TEST(Predict, PromisesWhatTheQuantizerBehindItDoes) {
  const auto promise = Codec::compile("predict:rank=2+quantize:bits=2", matrix_layout()).describe();
  const auto plain = Codec::compile("quantize:bits=2", matrix_layout()).describe();
  EXPECT_EQ(promise.unbiased, Unbiased::kAlways);
  EXPECT_DOUBLE_EQ(promise.nmse_bound.value(), plain.nmse_bound.value());
  EXPECT_FALSE(promise.fixed_size);
}

// What goes on to the quantizer, from the transform itself.
std::vector<float> rest_of(const Codec& codec, std::span<const float> x, const Context& keys) {
  const auto& stage = codec.impl().plan().rules.front().transforms.front();
  const auto tensors = codec.layout().tensors();
  const auto transform = stage.descriptor->make_transform(stage.parameters, {x.size(), tensors});
  Workspace workspace;
  workspace.reserve(transform->workspace_bytes());
  std::vector<float> rest(x.size());
  std::vector<std::byte> side;
  ByteWriter writer(side);
  StageContext context;
  context.keys = keys;
  context.workspace = &workspace;
  transform->forward(context, x, rest, writer);
  return rest;
}

// Over the dither of `quantize`, whose error at the fraction f of a step has variance f(1 − f)·step² (mean of 4,000 rounds,
// 6 standard errors). Rounds have factors of their own, found from other starts.
TEST(Predict, IsUnbiasedAndErrsByTheVarianceOfTheQuantizer) {
  const auto x = low_rank_and_noise(24, 40);
  const Codec codec = Codec::compile("predict:rank=2+quantize:bits=2", matrix_layout(24, 40));
  constexpr std::uint32_t kRounds = 4000;
  std::vector<double> error(x.size()), variance(x.size());
  double energy = 0, expected = 0, energy_variance = 0;
  std::size_t predicted = 0;
  const std::size_t plain_bytes = Codec::compile("quantize:bits=2", x.size()).max_frame_size();
  for (std::uint32_t round = 0; round < kRounds; ++round) {
    const Context keys{7, round, 1};
    const auto frame = codec.encode(x, keys);
    const auto back = codec.decode(frame, {7});
    predicted += frame.size() > plain_bytes ? 1 : 0;
    const auto rest = rest_of(codec, x, keys);
    const auto [low, high] = std::ranges::minmax(rest);
    const double step = (static_cast<double>(high) - static_cast<double>(low)) / 3;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double place = (static_cast<double>(rest[i]) - static_cast<double>(low)) / step;
      const double f = place - std::floor(place);
      const double v = f * (1 - f) * step * step;
      const double e = static_cast<double>(back[i]) - static_cast<double>(x[i]);
      error[i] += e;
      variance[i] += v;
      energy += e * e;
      expected += v;
      energy_variance += f * (1 - f) * (std::pow(1 - f, 3) + std::pow(f, 3)) * std::pow(step, 4) - v * v;
    }
  }
  EXPECT_GT(predicted, kRounds / 4);   // where a random start was good enough for factors that pay
  EXPECT_LT(predicted, kRounds);
  for (std::size_t i = 0; i < x.size(); ++i) EXPECT_LE(std::abs(error[i]), 6 * std::sqrt(variance[i]) + 1e-3) << i;
  EXPECT_NEAR(energy, expected, 6 * std::sqrt(energy_variance) + 1e-4 * expected);
}

// At equal bytes, two strong directions beside noise of a hundredth of the energy: at the limit of rate and distortion
// 100·4^(−ΔR) times better, ΔR the bits a coordinate that the factors take: here 2·16·300/20,000 = 0.48, so 51 times.
TEST(Predict, ErrsFarLessOnAMatrixOfLowRankAndNoiseAtEqualBytes) {
  const auto x = low_rank_and_noise(100, 200);
  const Codec plain = Codec::compile("trellis:states=8,bits=1.5,scale=flat", matrix_layout(100, 200));
  const Codec with = Codec::compile("predict:rank=2,iterations=3+trellis:states=8,bits=1.5,scale=flat", matrix_layout(100, 200));
  const auto one = plain.encode(x, kKeys);
  const auto other = with.encode(x, kKeys);
  EXPECT_NEAR(static_cast<double>(other.size()), static_cast<double>(one.size()), 0.02 * static_cast<double>(one.size()));
  const double gain = nmse(plain, x, one) / nmse(with, x, other);
  EXPECT_GE(gain, 40);
  EXPECT_LE(gain, 65);
}

TEST(Predict, StartsWhereAnEncoderEnded) {
  const auto x = with_singular_values(kRows, kColumns, {64, 32, 16, 8, 4, 2, 1}, 1);
  const Codec codec = Codec::compile("predict:rank=3+quantize:bits=4", matrix_layout());
  Encoder encoder(codec);
  const double first = nmse(codec, x, encoder.encode(x, {7, 0, 1}));
  double last = 0;
  for (std::uint32_t round = 1; round < 8; ++round) last = nmse(codec, x, encoder.encode(x, {7, round, 1}));
  EXPECT_LE(last, 0.8 * first);
}

TEST(Predict, FramesOfOthersAreRefusedOrSafe) {
  const auto x = with_singular_values(12, 20, {4, 3}, 1);
  const Codec codec = Codec::compile("predict:rank=2,iterations=2+quantize:bits=2", matrix_layout(12, 20));
  const auto frame = codec.encode(x, kKeys);
  const std::size_t side = inspect(frame).header_bytes;
  ASSERT_EQ(frame[side], std::byte{2});
  const auto offer = [&](const std::vector<std::byte>& forged) {
    Aggregator sum(codec, {7, 3});
    const auto code = refusal([&] { sum.add(resealed(forged), {1, 2.5}); });
    if (!code) {
      for (const float value : sum.mean()) EXPECT_LE(std::abs(value), 1e9f);
    } else {
      EXPECT_EQ(sum.clients(), 0u);
    }
    return code;
  };
  EXPECT_EQ(offer(frame), std::nullopt);
  flips(frame, [&](std::vector<std::byte> flipped, std::size_t) { offer(flipped); });
  truncations(frame, [&](std::vector<std::byte> part) { EXPECT_TRUE(offer(part).has_value()); });
  EXPECT_EQ(offer(with_bytes(frame, side, bytes_of({3}))), Errc::kMalformed) << "more pairs than there can be";
  EXPECT_EQ(offer(with_value<std::uint16_t>(frame, side + 1, 0x7FC0)), Errc::kMalformed) << "NaN";
  EXPECT_EQ(offer(with_value<std::uint16_t>(frame, side + 1, 0xFF80)), Errc::kMalformed) << "infinity";
  EXPECT_EQ(offer(with_value<std::uint16_t>(frame, side + 1, 0x7F7F)), Errc::kTooLarge) << "3.4e38";
}

}  // namespace
}  // namespace fewbits::test
