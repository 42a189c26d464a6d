#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/cells.h"
#include "kernels/trellis.h"
#include "tests/engine/support.h"

namespace fewbits {
namespace {

struct Input {
  std::vector<std::int64_t> places;
  std::vector<std::uint16_t> weights;
  std::size_t size() const { return places.size(); }
};

// Places that are uniform over the code's period, up to `reach` steps from 0.
Input random_input(RandomReader& random, std::size_t n, double reach = 100, bool weighted = true) {
  Input input;
  for (std::size_t i = 0; i < n; ++i) {
    input.places.push_back(static_cast<std::int64_t>((2 * random.uniform() - 1) * reach * 0x1p24));
    input.weights.push_back(static_cast<std::uint16_t>(weighted ? 1 + random.below(256) : 256));
  }
  return input;
}

std::vector<std::int32_t> search(const TrellisCode& code, const Input& input, unsigned dirt = 0) {
  std::vector<std::byte> scratch(trellis_scratch(code.states, input.size()), static_cast<std::byte>(dirt));
  std::vector<std::int32_t> points(input.size(), -1);
  trellis_search(code, input.places, input.weights, scratch, points);
  return points;
}

// What trellis.h says a point costs: its distance in 1/256 of a step, to nearest, squared, times the weight over 256.
std::int64_t cost_of(std::int64_t place, std::int64_t point, std::int64_t weight) {
  const std::int64_t distance = (place - point * kOneStep + (1 << 15)) >> 16;
  return (distance * distance * weight + (1 << 15)) >> 16;
}

// The nearest point k with k mod 4 = w, the upper one of two.
std::int64_t nearest(std::int64_t place, int w) {
  const std::int64_t period = 4 * kOneStep;
  return ((place - w * kOneStep + period / 2) >> 26) * 4 + w;
}

std::int64_t total_cost(const Input& input, std::span<const std::int32_t> points) {
  std::int64_t total = 0;
  for (std::size_t i = 0; i < points.size(); ++i) total += cost_of(input.places[i], points[i], input.weights[i]);
  return total;
}

bool obeys(const TrellisCode& code, std::span<const std::int32_t> points) {
  const std::size_t streams = trellis_streams(points.size());
  std::vector<std::uint32_t> states(streams, 0);
  for (std::size_t i = 0; i < points.size(); ++i) {
    std::uint32_t& state = states[i % streams];
    if ((points[i] & 1) != static_cast<std::int32_t>(state & 1)) return false;
    state = code.next(state, points[i] >> 1);
  }
  return true;
}

// The least cost of all paths from state 0, one after the other.
std::int64_t exhaustive(const TrellisCode& code, const Input& input) {
  std::int64_t best = std::numeric_limits<std::int64_t>::max();
  for (std::uint32_t choices = 0; choices < 1u << input.size(); ++choices) {
    std::uint32_t state = 0;
    std::int64_t total = 0;
    for (std::size_t i = 0; i < input.size() && total < best; ++i) {
      const int w = static_cast<int>((state & 1) + 2 * (choices >> i & 1));
      const std::int64_t point = nearest(input.places[i], w);
      total += cost_of(input.places[i], point, input.weights[i]);
      state = code.next(state, point >> 1);
    }
    best = std::min(best, total);
  }
  return best;
}

// Viterbi's algorithm as it is written down: costs in full, one stream at a time, no more than 4096 steps before a
// decision. Of two ways into a state that from the lower one is kept; of two last states the lower one.
std::vector<std::int32_t> by_the_book(const TrellisCode& code, const Input& input) {
  constexpr std::size_t kBlock = 4096;
  const std::size_t streams = trellis_streams(input.size());
  std::vector<std::int32_t> points(input.size());
  for (std::size_t stream = 0; stream < streams; ++stream) {
    std::uint32_t start = 0;
    for (std::size_t first = stream; first < input.size(); first += kBlock * streams) {
      std::vector<std::int64_t> costs(code.states, std::numeric_limits<std::int64_t>::max());
      costs[start] = 0;
      struct Step {
        std::uint32_t from;
        std::int32_t point;
      };
      std::vector<std::vector<Step>> ways;
      std::vector<std::size_t> places;
      for (std::size_t i = first; i < std::min(input.size(), first + kBlock * streams); i += streams) {
        std::vector<std::int64_t> next(code.states, std::numeric_limits<std::int64_t>::max());
        std::vector<Step> way(code.states);
        for (std::uint32_t state = 0; state < code.states; ++state) {
          if (costs[state] == std::numeric_limits<std::int64_t>::max()) continue;
          for (const int bit : {0, 1}) {
            const std::int64_t point = nearest(input.places[i], static_cast<int>(state & 1) + 2 * bit);
            const std::int64_t cost = costs[state] + cost_of(input.places[i], point, input.weights[i]);
            const std::uint32_t to = code.next(state, point >> 1);
            if (cost >= next[to]) continue;
            next[to] = cost;
            way[to] = {state, static_cast<std::int32_t>(point)};
          }
        }
        costs = next;
        ways.push_back(std::move(way));
        places.push_back(i);
      }
      const auto best = static_cast<std::uint32_t>(std::ranges::min_element(costs) - costs.begin());
      std::uint32_t state = best;
      for (std::size_t step = ways.size(); step-- > 0;) {
        points[places[step]] = ways[step][state].point;
        state = ways[step][state].from;
      }
      start = best;
    }
  }
  return points;
}

class EveryCode : public ::testing::TestWithParam<unsigned> {
 protected:
  const TrellisCode code_ = trellis_code(GetParam());
  RandomReader random_ = test::reader(GetParam());
};
INSTANTIATE_TEST_SUITE_P(States, EveryCode, ::testing::Values(8u, 64u, 256u));

// Every state has two ways in, from states of one parity, by points of different halves.
TEST_P(EveryCode, IsAPermutationOfStatesForEitherHalf) {
  EXPECT_EQ(code_.states, GetParam());
  for (const std::int64_t half : {0, 1}) {
    std::vector<int> reached(code_.states);
    for (std::uint32_t state = 0; state < code_.states; ++state) {
      const std::uint32_t next = code_.next(state, half);
      ASSERT_LT(next, code_.states);
      EXPECT_EQ(next, code_.next(state, half - 2));
      EXPECT_NE(next, code_.next(state, half + 1));
      ++reached[next];
    }
    EXPECT_EQ(std::ranges::count(reached, 1), static_cast<std::ptrdiff_t>(code_.states));
  }
}

TEST_P(EveryCode, CostsAsLittleAsTheBestOfAllPaths) {
  for (std::size_t n = 1; n <= 12; ++n)
    for (int round = 0; round < 40; ++round) {
      // Far out, the points are still exact.
      const Input input = random_input(random_, n, round % 4 == 0 ? 0x1p29 : 10, round % 2 == 0);
      const auto points = search(code_, input);
      EXPECT_TRUE(obeys(code_, points));
      EXPECT_EQ(total_cost(input, points), exhaustive(code_, input)) << n << " values, round " << round;
    }
}

// One stream, 8 and 32; the last sizes have over 4096 steps in each.
TEST_P(EveryCode, FindsThePathOfViterbisAlgorithm) {
  std::vector<std::size_t> sizes = {0, 1, 2, 9, 100, 4095, 4096, 4099, 4104, 32767, 32768};
  sizes.push_back(test::long_tests() ? 8300 * 32 : 4100 * 32);
  sizes.push_back(sizes.back() + 5);
  for (const std::size_t n : sizes) {
    const Input input = random_input(random_, n, 50);
    const auto points = search(code_, input);
    EXPECT_TRUE(obeys(code_, points)) << n;
    const auto book = by_the_book(code_, input);
    // Streams that end a step earlier than others may take another path that costs the same.
    EXPECT_EQ(total_cost(input, points), total_cost(input, book)) << n;
    if (n % trellis_streams(n) == 0) {
      EXPECT_EQ(points, book) << n;
    }
  }
}

// Where every value is as far as can be from what the code allows next, or on a point, costs grow the fastest and ties are
// the rule.
TEST_P(EveryCode, StaysExactOnPlacesThatRepeat) {
  for (const double place : {0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 1.75, -0.25})
    for (const double slope : {0.0, 0.5, 1.0, 2.0, 4.0 / 3})
      for (const unsigned weight : {1u, 255u, 256u}) {
        Input input;
        for (std::size_t i = 0; i < 300; ++i) {
          input.places.push_back(static_cast<std::int64_t>((place + slope * static_cast<double>(i)) * 0x1p24));
          input.weights.push_back(static_cast<std::uint16_t>(weight));
        }
        EXPECT_EQ(search(code_, input), by_the_book(code_, input)) << place << " + " << slope << "i, weight " << weight;
      }
}

TEST_P(EveryCode, DependsOnItsInputAlone) {
  for (const std::size_t n : {1000, 5000, 40'000}) {
    const Input input = random_input(random_, n);
    EXPECT_EQ(search(code_, input, 0x00), search(code_, input, 0xFF)) << n;
  }
}

// What makes the error independent of the values: moved by whole periods, a place's point moves with it.
TEST_P(EveryCode, MovesWithItsPlaces) {
  Input input = random_input(random_, 500);
  const auto points = search(code_, input);
  std::vector<std::int64_t> shift;
  for (std::int64_t& place : input.places) {
    shift.push_back(4 * (static_cast<std::int64_t>(random_.below(1 << 26)) - (1 << 25)));
    place += shift.back() * kOneStep;
  }
  const auto moved = search(code_, input);
  for (std::size_t i = 0; i < points.size(); ++i) ASSERT_EQ(moved[i], points[i] + shift[i]) << i;
}

// The mean squared errors, in steps, that the codec reckons with; 2^26 places gave them to 3e-5. The streams are
// independent, and 32 of them give the standard error.
TEST_P(EveryCode, ErrsAsWasMeasured) {
  const double known = GetParam() == 8 ? 0.25955 : GetParam() == 64 ? 0.24988 : 0.24539;
  const std::size_t n = test::long_tests() ? 1 << 23 : GetParam() == 256 ? 1 << 19 : 1 << 21;
  const Input input = random_input(random_, n, 100, false);
  const auto points = search(code_, input);
  std::array<double, 32> errors{};
  for (std::size_t i = 0; i < n; ++i) {
    const double error = static_cast<double>(input.places[i] - points[i] * kOneStep) * 0x1p-24;
    errors[i % 32] += error * error / static_cast<double>(n / 32);
  }
  double mean = 0, spread = 0;
  for (const double error : errors) mean += error / 32;
  for (const double error : errors) spread += (error - mean) * (error - mean) / 31;
  EXPECT_NEAR(mean, known, 5 * std::sqrt(spread / 32) + 3e-5);
  RecordProperty("error", std::to_string(mean));
  RecordProperty("standard_error", std::to_string(std::sqrt(spread / 32)));
}

}  // namespace
}  // namespace fewbits
