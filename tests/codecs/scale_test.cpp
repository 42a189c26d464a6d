#include "scale.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include "tests/codecs/hard_inputs.h"
#include "tests/engine/hostile.h"
#include "tests/engine/support.h"

namespace fewbits::test {
namespace {

// A model with its memory, as a codec uses it.
class Model {
 public:
  Model(const std::string& choice, std::vector<Tensor> tensors)
      : tensors_(std::move(tensors)), values_(Layout(tensors_).elements()),
        model_(make_scale_model(choice, values_, tensors_, nullptr)) {
    workspace_.reserve(model_->workspace_bytes());
  }
  Model(const std::string& choice, std::size_t n) : Model(choice, {{"", {n}}}) {}

  std::size_t values() const { return values_; }

  std::vector<std::int16_t> fit(std::span<const float> x, ScaleDetail detail = ScaleDetail::kFull) {
    std::vector<std::int16_t> classes(values_, 77);
    side_.assign(1, std::byte{0xAB});  // what a frame has before it stays
    ByteWriter writer(side_);
    const Classes found = model_->fit(workspace_, x, detail, classes, writer);
    classes = std::vector<std::int16_t>(found.of.begin(), found.of.end());
    EXPECT_EQ(side_.front(), std::byte{0xAB});
    side_.erase(side_.begin());
    EXPECT_LE(side_.size(), model_->max_side_bytes());
    return classes;
  }
  const std::vector<std::byte>& side() const { return side_; }

  // As from a frame; `consumed` of the bytes belong to the scales.
  std::vector<std::int16_t> read(std::span<const std::byte> bytes, std::size_t* consumed = nullptr) {
    ByteReader checked(bytes);
    model_->check(workspace_, checked);
    if (consumed != nullptr) *consumed = checked.offset();
    std::vector<std::int16_t> classes(values_, 77);
    ByteReader reader(bytes);
    const Classes found = model_->classes(workspace_, reader, classes);
    classes = std::vector<std::int16_t>(found.of.begin(), found.of.end());
    EXPECT_EQ(reader.offset(), checked.offset());
    return classes;
  }

  void expect_round_trip(std::span<const float> x, ScaleDetail detail, const std::string& what) {
    const auto classes = fit(x, detail);
    auto bytes = side_;
    bytes.push_back(std::byte{0x11});  // of what follows in the frame
    std::size_t consumed = 0;
    EXPECT_EQ(read(bytes, &consumed), classes) << what;
    EXPECT_EQ(consumed, side_.size()) << what;
    for (std::size_t i = 0; i < values_; ++i) {
      // A value that a zero class lost would never come back.
      ASSERT_TRUE(classes[i] != kZeroClass || x[i] == 0) << what << ", value " << i << " = " << x[i];
      ASSERT_TRUE(classes[i] == kZeroClass || std::abs(classes[i]) <= kMaxClass) << what;
    }
  }

 private:
  std::vector<Tensor> tensors_;
  std::size_t values_;
  std::unique_ptr<ScaleModel> model_;
  Workspace workspace_;
  std::vector<std::byte> side_;
};

const std::vector<std::vector<Tensor>> kLayouts = {
    {{"vector", {700}}},
    {{"matrix", {20, 35}}},
    {{"tall", {700, 1}}},
    {{"wide", {1, 700}}},
    {{"convolution", {8, 3, 5, 5}}, {"bias", {8}}, {"head", {4, 23}}},
    {{"scalar", {}}, {"none", {0}}, {"empty", {0, 5}}, {"embedding", {233, 3}}},
    {{"one", {1}}, {"two", {2}}, {"square", {2, 2}}, {"rest", {693}}},
};
const std::vector<std::string> kChoices = {"flat", "block:1", "block:2", "block:256", "block:16777216", "separable"};

TEST(ScaleModels, ClassesComeBackFromBytes) {
  for (const auto& layout : kLayouts)
    for (const std::string& choice : kChoices) {
      Model model(choice, layout);
      for (const auto& [name, x] : hard_inputs(model.values())) {
        for (const float scale : {1.0f, 1e-30f, 1e37f}) {
          std::vector<float> scaled(x);
          for (float& v : scaled) v = std::clamp(v * scale, -3e38f, 3e38f);
          for (const ScaleDetail detail : {ScaleDetail::kFull, ScaleDetail::kTensors})
            model.expect_round_trip(scaled, detail, choice + ", " + layout.front().name + ", " + name);
        }
      }
    }
}

TEST(ScaleModels, NothingIsWrittenForNothing) {
  for (const std::string& choice : kChoices) {
    Model model(choice, std::vector<Tensor>{{"none", {0}}});
    EXPECT_TRUE(model.fit({}).empty());
    EXPECT_TRUE(model.side().empty());
    EXPECT_TRUE(model.read({}).empty());
  }
  Model flat("flat", 10);
  EXPECT_EQ(flat.fit(normal(10, 1)), std::vector<std::int16_t>(10, 0));
  EXPECT_TRUE(flat.side().empty());
}

TEST(SeparableScales, OfTensorsAloneTakeFewBytes) {
  Model model("separable", {{"matrix", {200, 784}}, {"bias", {200}}, {"head", {10, 200}}, {"last", {10}}});
  std::vector<float> x = normal(model.values(), 5);
  const auto head = std::span(x).subspan(200 * 784 + 200, 2000);
  for (float& v : head) v *= 64;
  const auto classes = model.fit(x, ScaleDetail::kTensors);
  EXPECT_NEAR(classes[0], 0, 1);
  EXPECT_NEAR(classes[200 * 784 + 200], 24, 1);   // quarter-octaves
  EXPECT_EQ(std::set<std::int16_t>(classes.begin(), classes.begin() + 200 * 784).size(), 1u);
  EXPECT_LE(model.side().size(), 48u);
  model.fit(x);
  EXPECT_GT(model.side().size(), 100u);
}

// A class is the nearest half-octave of the mean energy.
TEST(BlockScales, AreTheMeanEnergies) {
  RandomReader random = reader(1);
  for (const std::size_t block : {1, 3, 256}) {
    Model model("block:" + std::to_string(block), 1000);
    std::vector<float> x = normal(1000, block);
    for (float& v : x) v *= static_cast<float>(std::exp(20 * (random.uniform() - 0.5)));
    const auto classes = model.fit(x);
    for (std::size_t start = 0; start < x.size(); start += block) {
      const auto part = std::span(x).subspan(start, std::min(block, x.size() - start));
      const double exact = 2 * std::log2(std::pow(norm(part), 2) / static_cast<double>(part.size()));
      for (std::size_t i = start; i < start + part.size(); ++i) ASSERT_LE(std::abs(classes[i] - exact), 0.5 + 1e-9) << i;
    }
  }
}

// |x_ij| = r_i·c_j is all that such a model can say: rows and columns are each within half a class, and within one more
// where a scale serves so few values that it is sent on a grid twice as wide.
TEST(SeparableScales, AreThoseOfAProduct) {
  RandomReader random = reader(2);
  Model model("separable", std::vector<Tensor>{{"w", {30, 40}}});
  std::vector<double> rows(30), columns(40);
  for (auto* side : {&rows, &columns})
    for (double& v : *side) v = std::exp(3 * (random.uniform() - 0.5));
  std::vector<float> x;
  for (const double r : rows)
    for (const double c : columns) x.push_back(static_cast<float>((random.next() % 2 == 0 ? 1e-5 : -1e-5) * r * c));
  const auto classes = model.fit(x);
  for (std::size_t i = 0; i < x.size(); ++i)
    EXPECT_LE(std::abs(classes[i] - 4 * std::log2(std::abs(static_cast<double>(x[i])))), 3.0 + 1e-6) << i;
}

TEST(SeparableScales, AHotRowIsHotAlone) {
  Model model("separable", std::vector<Tensor>{{"w", {20, 50}}});
  auto x = normal(1000, 3);
  for (std::size_t j = 0; j < 50; ++j) x[7 * 50 + j] *= 1024;
  const auto classes = model.fit(x);
  // Ten octaves are 40 classes; a mean of 50 squares is within a factor of 4 of its expectation, two classes by √2.
  for (std::size_t i = 0; i < x.size(); ++i) EXPECT_NEAR(classes[i], i / 50 == 7 ? 40 : 0, 5) << i;
}

TEST(SeparableScales, ZeroRowsAndColumnsAreZeroAndNothingElse) {
  Model model("separable", std::vector<Tensor>{{"w", {12, 9}}, {"bias", {600}}});
  auto x = normal(12 * 9 + 600, 4);
  for (std::size_t i = 0; i < 108; ++i)
    if (i / 9 == 3 || i / 9 == 11 || i % 9 == 0) x[i] = 0;
  std::ranges::fill(std::span(x).subspan(108, 256), 0.0f);
  const auto classes = model.fit(x);
  for (std::size_t i = 0; i < x.size(); ++i) EXPECT_EQ(classes[i] == kZeroClass, x[i] == 0) << i;
  model.expect_round_trip(x, ScaleDetail::kFull, "zero rows");

  // Zeros inside other rows and columns have a class.
  auto sparse = std::vector<float>(708, 0.0f);
  sparse[0] = sparse[10] = 1;
  const auto both = model.fit(sparse);
  EXPECT_NE(both[1], kZeroClass);
  EXPECT_NE(both[9], kZeroClass);
  EXPECT_EQ(std::ranges::count(both, kZeroClass), 704);
}

// A quiet row times a quiet column is limited to 12 octaves below the top of its matrix.
TEST(SeparableScales, HaveADepth) {
  Model model("separable", std::vector<Tensor>{{"w", {2, 2}}});
  const auto classes = model.fit(std::vector<float>{1e10f, 1, 1, 1e-10f});
  EXPECT_EQ(classes[0] - classes[3], 48);
  Model blocks("block:1", 4);
  const auto deep = blocks.fit(std::vector<float>{1e10f, 1, 1, 1e-10f});
  EXPECT_NEAR(deep[0] - deep[3], 4 * std::log2(1e20), 1);
}

TEST(ScaleModels, LargestAndSmallestFloatsHaveClasses) {
  for (const std::string& choice : kChoices) {
    Model model(choice, std::vector<Tensor>{{"w", {4, 4}}});
    std::vector<float> x(16, 1e-45f);
    model.expect_round_trip(x, ScaleDetail::kFull, choice + ", least");
    x[5] = 3.4e38f;
    model.expect_round_trip(x, ScaleDetail::kFull, choice + ", least and greatest");
    std::ranges::fill(x, -3.4e38f);
    model.expect_round_trip(x, ScaleDetail::kFull, choice + ", greatest");
  }
}

TEST(ScaleModels, DamageIsRefusedOrGivesOtherClassesWithinBounds) {
  for (const std::string choice : {"block:8", "separable"}) {
    Model model(choice, std::vector<Tensor>{{"w", {16, 20}}, {"bias", {100}}});
    auto x = normal(420, 5);
    for (std::size_t i = 40; i < 60; ++i) x[i] = 0;
    for (std::size_t i = 100; i < 200; ++i) x[i] *= 1000;
    model.fit(x);
    const auto side = model.side();
    truncations(side, [&](const auto& part) {
      const auto code = refusal([&] { model.read(part); });
      ASSERT_TRUE(code.has_value());
      EXPECT_TRUE(code == Errc::kTruncated || code == Errc::kMalformed);
    });
    std::size_t accepted = 0;
    flips(side, [&](const auto& flipped, std::size_t) {
      std::vector<std::int16_t> classes;
      const auto code = refusal([&] { classes = model.read(flipped); });
      if (code) {
        EXPECT_TRUE(code == Errc::kTruncated || code == Errc::kMalformed);
        return;
      }
      ++accepted;
      for (const std::int16_t c : classes) ASSERT_TRUE(c == kZeroClass || std::abs(c) <= kMaxClass);
    });
    // Accepted are those of a base, 12 bits of which the writer may choose freely in each short run, and some that turn a
    // class into one that is as probable. For all others the coder's last state tells.
    EXPECT_LE(accepted, 8 * side.size() / 3) << choice;
    // Anything else with the right length before it.
    RandomReader random = reader(6);
    for (int round = 0; round < 2000; ++round) {
      std::vector<std::byte> bytes(1 + random.below(60));
      bytes[0] = static_cast<std::byte>(bytes.size() - 1);
      for (std::size_t i = 1; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(random.next());
      std::vector<std::int16_t> classes;
      if (refusal([&] { classes = model.read(bytes); })) continue;
      for (const std::int16_t c : classes) ASSERT_TRUE(c == kZeroClass || std::abs(c) <= kMaxClass);
    }
  }
}

// What scales cost, in bits a coordinate.
TEST(ScaleModels, AreCheap) {
  constexpr std::size_t kN = 1 << 20;
  const auto x = normal(kN, 7);
  const auto cost = [](const Model& model) {
    return 8 * static_cast<double>(model.side().size()) / static_cast<double>(model.values());
  };
  Model blocks("block:256", kN);
  blocks.fit(x);
  EXPECT_LE(cost(blocks), 0.003);
  EXPECT_GT(cost(blocks), 0);
  Model square("separable", std::vector<Tensor>{{"w", {1024, 1024}}});
  square.fit(x);
  EXPECT_LE(cost(square), 0.0003);
  // Where the blocks' energies are a random walk by up to an octave a block.
  RandomReader random = reader(8);
  auto walk = x;
  double scale = 1;
  for (std::size_t i = 0; i < kN; ++i) {
    if (i % 256 == 0) scale = std::clamp(scale * std::exp2(random.uniform() - 0.5), 1e-3, 1e3);
    walk[i] *= static_cast<float>(scale);
  }
  blocks.fit(walk);
  EXPECT_LE(cost(blocks), 0.012);
  // Equal blocks cost next to nothing, and so do empty ones.
  blocks.fit(std::vector<float>(kN, 1.0f));
  EXPECT_LE(blocks.side().size(), 40u);
  blocks.fit(std::vector<float>(kN));
  EXPECT_LE(blocks.side().size(), 40u);
}

TEST(MatrixShape, IsTheFirstAxisAndTheRest) {
  const auto shape = [](std::vector<std::size_t> dimensions) {
    const MatrixShape matrix = matrix_shape({"", std::move(dimensions)});
    return std::pair(matrix.rows, matrix.columns);
  };
  EXPECT_EQ(shape({3, 4}), std::pair(std::size_t{3}, std::size_t{4}));
  EXPECT_EQ(shape({64, 3, 5, 5}), std::pair(std::size_t{64}, std::size_t{75}));
  EXPECT_EQ(shape({12}), std::pair(std::size_t{1}, std::size_t{12}));
  EXPECT_EQ(shape({}), std::pair(std::size_t{1}, std::size_t{1}));
  EXPECT_EQ(shape({12, 1}), std::pair(std::size_t{1}, std::size_t{12}));
  EXPECT_EQ(shape({1, 12}), std::pair(std::size_t{1}, std::size_t{12}));
  EXPECT_EQ(shape({0, 12}), std::pair(std::size_t{1}, std::size_t{0}));
}

// Without shapes there are blocks of 256; without a profile, one class.
TEST(ScaleModels, FallBack) {
  const auto x = normal(1000, 9);
  Model vector("separable", 1000);
  Model blocks("block:256", 1000);
  EXPECT_EQ(vector.fit(x), blocks.fit(x));
  EXPECT_EQ(vector.side(), blocks.side());
  Model profile("profile", 1000);
  EXPECT_EQ(profile.fit(x), std::vector<std::int16_t>(1000, 0));
  EXPECT_TRUE(profile.side().empty());
}

}  // namespace
}  // namespace fewbits::test
