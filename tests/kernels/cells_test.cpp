#include "kernels/cells.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <numbers>
#include <vector>

#include "tests/engine/support.h"

namespace fewbits {
namespace {

double normal_cdf(double z) { return 0.5 * std::erfc(-z / std::numbers::sqrt2); }

constexpr double kSigmas[] = {1e-3, 0.1, 0.3, 0.7, 1, 2.2, 7.9, 8.1, 16.5, 100, 1e4, 1e6, 0x1p30};

struct Point {
  std::int64_t offset;
  std::int64_t m;
};

std::vector<std::byte> write(const CellModel& model, std::span<const Point> points, unsigned lanes) {
  std::vector<std::uint16_t> room(RansWriter::words_for(points.size() * CellModel::kMaxBits));
  RansWriter writer(room);
  writer.begin(lanes);
  for (std::size_t i = points.size(); i-- > 0;)
    model.write(writer, static_cast<unsigned>(i % lanes), points[i].offset, points[i].m);
  std::vector<std::byte> bytes(writer.bytes());
  writer.finish(bytes);
  return bytes;
}

void expect_read(const CellModel& model, std::span<const Point> points, unsigned lanes) {
  const auto bytes = write(model, points, lanes);
  RansReader reader(bytes);
  reader.begin(lanes);
  for (std::size_t i = 0; i < points.size(); ++i)
    ASSERT_EQ(model.read(reader, static_cast<unsigned>(i % lanes), points[i].offset), points[i].m) << i;
  EXPECT_TRUE(reader.ok());
}

// The point that each of the 2^15 slots stands for, read off streams whose one state has that slot. What follows the slot
// is all ones: no excess of the outermost points.
std::vector<std::int64_t> points_of_slots(const CellModel& model, std::int64_t offset) {
  std::vector<std::int64_t> points;
  for (std::uint32_t slot = 0; slot < kRansTotal; ++slot) {
    std::vector<std::byte> bytes(32, std::byte{0xFF});
    const std::uint32_t state = 1u << 31 | slot;
    std::memcpy(bytes.data(), &state, sizeof state);
    RansReader reader(bytes);
    reader.begin(1);
    points.push_back(model.read(reader, 0, offset));
  }
  return points;
}

class EveryCell : public ::testing::TestWithParam<std::tuple<int, unsigned>> {
 protected:
  const int shape_ = std::get<0>(GetParam());
  const unsigned spacing_ = std::get<1>(GetParam());
  const unsigned bits_ = kStepBits + spacing_ - 1;   // of the offset, within a period
};
INSTANTIATE_TEST_SUITE_P(ShapesAndSpacings, EveryCell,
                         ::testing::Combine(::testing::Range(0, kShapes), ::testing::Values(1u, 2u)));

TEST_P(EveryCell, EveryPointComesBack) {
  RandomReader random = test::reader(static_cast<std::uint64_t>(shape_) + 1);
  for (const double sigma : kSigmas) {
    const CellModel model(shape_, spacing_, sigma);
    std::vector<Point> points;
    for (int i = 0; i < 400; ++i) {
      // Offsets are up to a period, and one step less where the state is odd.
      const auto offset = static_cast<std::int64_t>(random.below((std::uint64_t{4} << kStepBits) + kOneStep)) - kOneStep;
      const std::int64_t middle = model.center(offset);
      const double likely = std::min(0x1p29, sigma / spacing_ * test::draw_normal(random));
      points.push_back({offset, middle + static_cast<std::int64_t>(likely)});
      points.push_back({offset, middle + static_cast<std::int64_t>(random.below(61)) - 30});
      points.push_back({offset, middle + (std::int64_t{1} << random.below(30)) * (random.below(2) == 0 ? 1 : -1)});
    }
    for (const std::int64_t m : {-(1 << 30) - 4, -(1 << 30), (1 << 30), (1 << 30) + 4}) points.push_back({0, m});
    for (const unsigned lanes : {1u, 4u}) expect_read(model, points, lanes);
    // Far from what is likely, and at every distance up to there, no point takes more room than the codec sets aside.
    for (const Point& point : points) EXPECT_LE(write(model, {&point, 1}, 1).size(), CellModel::kMaxBits / 8 + 4);
  }
}

// Points within 4.5 standard deviations have slots of their own, without gaps, in order, wherever the dither puts the grid.
TEST_P(EveryCell, GivesEveryPointNearbyAnInterval) {
  for (const double sigma : kSigmas) {
    if (sigma / spacing_ > 4) continue;  // then several points share an interval
    const CellModel model(shape_, spacing_, sigma);
    const auto reach = static_cast<std::int64_t>(4.5 * sigma / spacing_) + 1;
    for (const std::int64_t offset : {std::int64_t{0}, std::int64_t{1}, (std::int64_t{1} << (bits_ - 1)) - 1,
                                      std::int64_t{1} << (bits_ - 1), (std::int64_t{1} << bits_) - 1, -kOneStep}) {
      const std::int64_t middle = model.center(offset);
      std::int64_t next = middle - reach;
      for (const std::int64_t point : points_of_slots(model, offset)) {
        if (std::abs(point - middle) > reach) continue;
        ASSERT_TRUE(point == next || point == next - 1) << sigma << ", offset " << offset << ": " << point - middle;
        next = point + 1;
      }
      EXPECT_EQ(next, middle + reach + 1) << sigma << ", offset " << offset;
    }
  }
}

// Garbage is read as some points, within bounds, and never forever.
TEST_P(EveryCell, ReadsAnyBytes) {
  RandomReader random = test::reader(99);
  for (const double sigma : kSigmas) {
    const CellModel model(shape_, spacing_, sigma);
    for (const auto fill : {std::byte{0x00}, std::byte{0xFF}, std::byte{0x55}}) {
      for (int round = 0; round < 20; ++round) {
        std::vector<std::byte> bytes(4 + 2 * random.below(20), fill);
        for (std::size_t i = 0; i < 4; ++i) bytes[i] = static_cast<std::byte>(random.next());
        RansReader reader(bytes);
        reader.begin(1);
        for (int i = 0; i < 40; ++i)
          EXPECT_LE(std::abs(model.read(reader, 0, static_cast<std::int64_t>(random.below(1u << 26)))),
                    std::int64_t{1} << 57);
      }
    }
  }
}

// Of the points of dithered normal values, what they take against what the integral says they must: the same points on
// both sides, so that little is left to chance. Both ways to send a point, alone and with others in an interval.
TEST(CellsOfANormalValue, CostTheirEntropy) {
  constexpr int kPoints = 1 << 16;
  RandomReader random = test::reader(4);
  for (const unsigned spacing : {1u, 2u})
    for (const double sigma : {0.25, 0.4, 0.7, 1.0, 1.5, 3.0, 7.0, 9.0, 30.0, 200.0, 1000.0}) {
      const CellModel model(0, spacing, sigma);
      std::vector<Point> points;
      double entropy = 0;
      for (int i = 0; i < kPoints; ++i) {
        const auto x = static_cast<std::int64_t>(sigma * test::draw_normal(random) * 0x1p24);
        const auto offset = static_cast<std::int64_t>(random.below(std::uint64_t{spacing} << kStepBits));
        points.push_back({offset, model.center(x + offset)});
        const double place = static_cast<double>(points.back().m * spacing * kOneStep - offset) * 0x1p-24;
        const double low = (std::abs(place) - spacing / 2.0) / sigma;
        const double high = (std::abs(place) + spacing / 2.0) / sigma;
        entropy -= std::log2(normal_cdf(-low) - normal_cdf(-high)) / kPoints;
      }
      const double length = 8 * static_cast<double>(write(model, points, 1).size()) / kPoints;
      // The most where intervals of several points are half a standard deviation wide.
      EXPECT_LE(length, entropy + (sigma / spacing > 4 ? 0.02 : 0.002)) << spacing << ", " << sigma;
      EXPECT_GE(length, entropy - 0.001) << spacing << ", " << sigma;
    }
}

// The encoder's estimate of a point's cost, which chooses the steps.
TEST(CellsOfANormalValue, LengthIsTheMeanCostOfPointsAroundAPlace) {
  RandomReader random = test::reader(5);
  for (const unsigned spacing : {1u, 2u})
    for (const double sigma : {0.3, 1.0, 3.0, 20.0, 500.0}) {
      const CellModel model(0, spacing, sigma);
      double estimate = 0;
      std::vector<Point> points;
      for (int i = 0; i < 20'000; ++i) {
        const auto x = static_cast<std::int64_t>(sigma * test::draw_normal(random) * 0x1p24);
        const auto offset = static_cast<std::int64_t>(random.below(std::uint64_t{spacing} << kStepBits));
        const std::int64_t m = model.center(x + offset);
        points.push_back({offset, m});
        estimate += model.length(std::abs(static_cast<double>(m * spacing * kOneStep - offset)) * 0x1p-24) / 20'000;
      }
      const double real = 8 * static_cast<double>(write(model, points, 1).size()) / 20'000;
      EXPECT_NEAR(estimate, real, 0.01 * real + 0.005) << spacing << ", " << sigma;
    }
}

// The normal table is the integral to the nearest unit; all are symmetric, rise, and have variance 1; each has
// heavier tails than the one before it.
TEST(DistributionTables, AreDistributionsOfVarianceOne) {
  double kurtosis_before = 0;
  for (int shape = 0; shape < kShapes; ++shape) {
    const std::uint32_t* table = distribution(shape);
    EXPECT_EQ(table, distribution(shape));
    EXPECT_EQ(table[0], 0u);
    EXPECT_EQ(table[2 * kCdfHalf], 1u << kCdfBits);
    double variance = 0, fourth = 0;
    for (int i = 0; i <= 2 * kCdfHalf; ++i) {
      EXPECT_EQ(table[i] + table[2 * kCdfHalf - i], 1u << kCdfBits);
      if (shape == 0 && i != 0 && i != 2 * kCdfHalf) {
        const double z = static_cast<double>(i - kCdfHalf) / kCdfPerUnit;
        EXPECT_NEAR(table[i], normal_cdf(z) * (1 << kCdfBits), 0.5 + 1e-6) << i;
      }
      if (i == 0) continue;
      ASSERT_GE(table[i], table[i - 1]);
      const double middle = (i - 0.5 - kCdfHalf) / kCdfPerUnit;
      const double mass = static_cast<double>(table[i] - table[i - 1]) / (1 << kCdfBits);
      variance += mass * middle * middle;
      fourth += mass * middle * middle * middle * middle;
    }
    // Beyond 8 standard deviations the heaviest tails have 5 % of their variance.
    EXPECT_NEAR(variance, 1, shape == 0 ? 1e-4 : 0.06) << shape;
    const double kurtosis = fourth / (variance * variance);
    EXPECT_GT(kurtosis, kurtosis_before) << shape;
    kurtosis_before = kurtosis;
    if (shape == 0) {
      EXPECT_NEAR(kurtosis, 3, 0.01);
    }
  }
}

TEST(CodeLength, IsTheLogarithm) {
  RandomReader random = test::reader(6);
  for (int i = 0; i < 20'000; ++i) {
    const auto p = static_cast<std::uint32_t>(1 + random.below(std::uint64_t{1} << (1 + random.below(kCdfBits))));
    EXPECT_NEAR(code_length(p), 256 * (kCdfBits - std::log2(static_cast<double>(p))), 2.5) << p;
  }
  EXPECT_EQ(code_length(1u << kCdfBits), 0u);
  EXPECT_EQ(code_length(0), code_length(1));
}

}  // namespace
}  // namespace fewbits
