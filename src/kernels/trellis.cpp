#include "kernels/trellis.h"

#include <algorithm>
#include <cstring>

#include "kernels/cells.h"

namespace fewbits {
namespace {

// Steps of a block. A block's path ends in its best state, from which the next one goes on. Survivors of a source code
// meet late (hundreds of steps back), so blocks are long: the ends cost less than 0.2 % of the error.
constexpr std::size_t kBlock = 4096;
constexpr std::int16_t kUnreachable = 20000;

// Distance to the nearest point of 4Z + w in 1/256 of a step, as a function of the place modulo 4 alone.
std::int32_t offset_to(std::int64_t place, int w) noexcept {
  const std::int64_t period = 4 * kOneStep;
  const std::int64_t from = ((place - w * kOneStep + period / 2) & (period - 1)) - period / 2;
  return static_cast<std::int32_t>((from + (std::int64_t{1} << (kStepBits - 9))) >> (kStepBits - 8));
}

std::int16_t cost_of(std::int64_t place, int w, std::uint32_t weight) noexcept {
  const std::int32_t distance = offset_to(place, w);
  return static_cast<std::int16_t>((static_cast<std::uint32_t>(distance * distance) * weight + (1u << 15)) >> 16);
}

std::int32_t nearest(std::int64_t place, int w) noexcept {
  const std::int64_t period = 4 * kOneStep;
  return static_cast<std::int32_t>(((place - w * kOneStep + period / 2) >> (kStepBits + 2)) * 4 + w);
}

template <std::size_t kStates, std::size_t kStreams>
class Search {
 public:
  static std::size_t scratch_bytes(std::size_t values) noexcept {
    return std::min((values + kStreams - 1) / kStreams, kBlock) * kDecisionBytes;
  }

  Search(const TrellisCode& code, std::span<const std::int64_t> places, std::span<const std::uint16_t> weights,
         std::span<std::byte> scratch, std::span<std::int32_t> points) noexcept
      : code_(code), places_(places), weights_(weights), points_(points),
        decisions_(reinterpret_cast<std::uint8_t*>(scratch.data())) {
    for (auto& state : metric_) std::ranges::fill(state, kUnreachable);
    std::ranges::fill(metric_[0], std::int16_t{0});
  }

  void run() noexcept {
    const std::size_t steps = (points_.size() + kStreams - 1) / kStreams;
    for (std::size_t start = 0; start < steps; start += kBlock) {
      const std::size_t end = std::min(start + kBlock, steps);
      for (std::size_t step = start; step < end; ++step) advance(step);
      trace(start, end);
    }
  }

 private:
  using Row = std::int16_t[kStreams];

  // A bit for each state and stream of a step.
  static constexpr std::size_t kDecisionBytes = kStates * kStreams / 8;
  std::uint8_t* decisions(std::size_t step) noexcept { return decisions_ + step % kBlock * kDecisionBytes; }

  // Eight bytes of 0 or 1 to a byte, the first one to its lowest bit.
  static std::uint8_t gather_bits(const std::uint8_t* bytes) noexcept {
    std::uint64_t word;
    std::memcpy(&word, bytes, sizeof word);
    return static_cast<std::uint8_t>(word * 0x0102'0408'1020'4080u >> 56);
  }

  void advance(std::size_t step) noexcept {
    alignas(64) Row cost[4] = {};
    const std::size_t first = step * kStreams;
    const std::size_t count = std::min(kStreams, points_.size() - first);
    for (std::size_t lane = 0; lane < count; ++lane)
      for (int w = 0; w < 4; ++w) cost[w][lane] = cost_of(places_[first + lane], w, weights_[first + lane]);
    alignas(64) std::uint8_t decided[kStates * kStreams];
    constexpr std::size_t kHalf = kStates / 2;
    for (std::size_t next = 0; next < kStates; ++next) {
      const std::size_t odd = next >= kHalf ? 1 : 0;
      const std::size_t zero = next ^ (odd != 0 ? code_.parity : 0);
      const std::size_t one = zero ^ code_.input;
      const bool swapped = one < zero;
      const std::int16_t* low = metric_[2 * std::min(zero, one) + odd];
      const std::int16_t* high = metric_[2 * std::max(zero, one) + odd];
      const std::int16_t* low_cost = cost[odd + (swapped ? 2 : 0)];
      const std::int16_t* high_cost = cost[odd + (swapped ? 0 : 2)];
      std::int16_t* out = next_[next];
      for (std::size_t lane = 0; lane < kStreams; ++lane) {
        const auto a = static_cast<std::int16_t>(low[lane] + low_cost[lane]);
        const auto b = static_cast<std::int16_t>(high[lane] + high_cost[lane]);
        out[lane] = b < a ? b : a;
        decided[next * kStreams + lane] = b < a ? 1 : 0;
      }
    }
    std::uint8_t* packed = decisions(step);
    for (std::size_t i = 0; i < kDecisionBytes; ++i) packed[i] = gather_bits(decided + 8 * i);
    std::memcpy(metric_, next_, sizeof metric_);
    if (step % 8 == 7) renormalize();
  }

  void renormalize() noexcept {
    Row least;
    std::ranges::copy(metric_[0], least);
    for (const auto& state : metric_)
      for (std::size_t lane = 0; lane < kStreams; ++lane) least[lane] = std::min(least[lane], state[lane]);
    for (auto& state : metric_)
      for (std::size_t lane = 0; lane < kStreams; ++lane) state[lane] = static_cast<std::int16_t>(state[lane] - least[lane]);
  }

  // From the best state after the block back to its beginning. Only that state goes on.
  void trace(std::size_t start, std::size_t end) noexcept {
    constexpr std::size_t kHalf = kStates / 2;
    for (std::size_t lane = 0; lane < kStreams; ++lane) {
      std::size_t state = 0;
      for (std::size_t s = 1; s < kStates; ++s)
        if (metric_[s][lane] < metric_[state][lane]) state = s;
      for (std::size_t s = 0; s < kStates; ++s) metric_[s][lane] = s == state ? 0 : kUnreachable;
      for (std::size_t step = end; step-- > start;) {
        const std::size_t odd = state >= kHalf ? 1 : 0;
        const std::size_t zero = state ^ (odd != 0 ? code_.parity : 0);
        const std::size_t one = zero ^ code_.input;
        const std::size_t bit = state * kStreams + lane;
        const bool high = (decisions(step)[bit / 8] >> bit % 8 & 1) != 0;
        const std::size_t from = high ? std::max(zero, one) : std::min(zero, one);
        const std::size_t i = step * kStreams + lane;
        if (i < points_.size()) points_[i] = nearest(places_[i], static_cast<int>(odd + (from == one ? 2 : 0)));
        state = 2 * from + odd;
      }
    }
  }

  TrellisCode code_;
  std::span<const std::int64_t> places_;
  std::span<const std::uint16_t> weights_;
  std::span<std::int32_t> points_;
  std::uint8_t* decisions_;
  alignas(64) Row metric_[kStates];
  alignas(64) Row next_[kStates];
};

// Calls visit.template operator()<states, streams>().
template <std::size_t kStates, class Visit>
auto with_streams(std::size_t streams, Visit visit) noexcept {
  if (streams == 1) return visit.template operator()<kStates, 1>();
  if (streams == 8) return visit.template operator()<kStates, 8>();
  return visit.template operator()<kStates, 32>();
}

template <class Visit>
auto with_sizes(unsigned states, std::size_t streams, Visit visit) noexcept {
  if (states == 8) return with_streams<8>(streams, visit);
  if (states == 64) return with_streams<64>(streams, visit);
  return with_streams<256>(streams, visit);
}

}  // namespace

TrellisCode trellis_code(unsigned states) noexcept {
  if (states == 8) return {8, 013 >> 1, 04 >> 1};
  if (states == 64) return {64, 0103 >> 1, 024 >> 1};
  return {256, 0515 >> 1, 0362 >> 1};
}

std::size_t trellis_streams(std::size_t values) noexcept {
  if (values < 1u << 12) return 1;
  return values < 1u << 15 ? 8 : 32;
}

std::size_t trellis_scratch(unsigned states, std::size_t values) noexcept {
  return with_sizes(states, trellis_streams(values), [=]<std::size_t kStates, std::size_t kStreams>() {
    return Search<kStates, kStreams>::scratch_bytes(values);
  });
}

void trellis_search(const TrellisCode& code, std::span<const std::int64_t> places, std::span<const std::uint16_t> weights,
                    std::span<std::byte> scratch, std::span<std::int32_t> points) noexcept {
  with_sizes(code.states, trellis_streams(points.size()), [&]<std::size_t kStates, std::size_t kStreams>() {
    Search<kStates, kStreams>(code, places, weights, scratch, points).run();
    return 0;
  });
}

}  // namespace fewbits
