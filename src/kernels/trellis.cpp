#include "kernels/trellis.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "kernels/targets.h"

namespace fewbits {
namespace {

// Levels of an alphabet. A cost is below 2^23, and every state is reached from every other one within eight steps.
struct Alphabet {
  using Metric = std::int32_t;
  static constexpr Metric kUnreachable = 1 << 29;
  static constexpr std::int32_t kNone = 1 << 22;

  Alphabet(std::span<const std::int32_t> levels, std::span<const std::int32_t> from) noexcept : places(from) {
    size = levels.size();
    std::fill_n(padded, 4, -kNone);
    std::ranges::copy(levels, padded + 4);
    std::fill_n(padded + 4 + size, 4, kNone);
  }

  std::size_t levels_up_to(std::int32_t place) const noexcept {
    std::size_t count = 0;
    for (std::size_t step = size; step > 0; step /= 2)
      if (count + step <= size && padded[4 + count + step - 1] <= place) count += step;
    return count;
  }

  // The level of 4Z + w nearest to the place, counted from the padding on; the lower of two.
  std::size_t index_of(std::size_t below, std::int32_t place, int w) const noexcept {
    const std::size_t low = below + 3 - ((below + 3 - static_cast<std::size_t>(w)) & 3);
    return padded[low + 4] - place < place - padded[low] ? low + 4 : low;
  }

  std::array<Metric, 4> costs(std::size_t i) const noexcept {
    std::array<Metric, 4> all;
    const std::size_t below = levels_up_to(places[i]);
    for (int w = 0; w < 4; ++w) {
      const std::int64_t distance = padded[index_of(below, places[i], w)] - places[i];
      all[static_cast<std::size_t>(w)] = static_cast<Metric>((distance * distance + (1 << 17)) >> 18);
    }
    return all;
  }

  std::int32_t choose(std::size_t i, int w) const noexcept {
    return static_cast<std::int32_t>(index_of(levels_up_to(places[i]), places[i], w)) - 4;
  }

  std::span<const std::int32_t> places;
  std::size_t size = 0;
  std::int32_t padded[kMaxTrellisLevels + 8];
};

template <std::size_t kStates, std::size_t kStreams>
class Search {
 public:
  static std::size_t scratch_bytes(std::size_t values) noexcept {
    return std::min((values + kStreams - 1) / kStreams, kTrellisBlock) * kDecisionBytes;
  }

  Search(const TrellisCode& code, const Alphabet& source, std::span<std::byte> scratch,
         std::span<std::int32_t> points) noexcept
      : code_(code), source_(source), points_(points), decisions_(reinterpret_cast<std::uint8_t*>(scratch.data())) {
    for (auto& state : metric_) std::ranges::fill(state, Alphabet::kUnreachable);
    std::ranges::fill(metric_[0], Metric{0});
  }

  void run() noexcept {
    const std::size_t steps = (points_.size() + kStreams - 1) / kStreams;
    for (std::size_t start = 0; start < steps; start += kTrellisBlock) {
      const std::size_t end = std::min(start + kTrellisBlock, steps);
      for (std::size_t step = start; step < end; ++step) advance(step);
      trace(start, end);
    }
  }

 private:
  using Metric = Alphabet::Metric;
  using Row = Metric[kStreams];

  // A bit for each state and stream of a step.
  static constexpr std::size_t kDecisionBytes = kStates * kStreams / 8;
  std::uint8_t* decisions(std::size_t step) noexcept { return decisions_ + step % kTrellisBlock * kDecisionBytes; }

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
    for (std::size_t lane = 0; lane < count; ++lane) {
      const auto costs = source_.costs(first + lane);
      for (std::size_t w = 0; w < 4; ++w) cost[w][lane] = costs[w];
    }
    alignas(64) std::uint8_t decided[kStates * kStreams];
    constexpr std::size_t kHalf = kStates / 2;
    for (std::size_t next = 0; next < kStates; ++next) {
      const std::size_t odd = next >= kHalf ? 1 : 0;
      const std::size_t zero = next ^ (odd != 0 ? code_.parity : 0);
      const std::size_t one = zero ^ code_.input;
      const bool swapped = one < zero;
      const Metric* low = metric_[2 * std::min(zero, one) + odd];
      const Metric* high = metric_[2 * std::max(zero, one) + odd];
      const Metric* low_cost = cost[odd + (swapped ? 2 : 0)];
      const Metric* high_cost = cost[odd + (swapped ? 0 : 2)];
      Metric* out = next_[next];
      for (std::size_t lane = 0; lane < kStreams; ++lane) {
        const auto a = static_cast<Metric>(low[lane] + low_cost[lane]);
        const auto b = static_cast<Metric>(high[lane] + high_cost[lane]);
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
      for (std::size_t lane = 0; lane < kStreams; ++lane) state[lane] = static_cast<Metric>(state[lane] - least[lane]);
  }

  // From the best state after the block back to its beginning. Only that state goes on.
  void trace(std::size_t start, std::size_t end) noexcept {
    constexpr std::size_t kHalf = kStates / 2;
    for (std::size_t lane = 0; lane < kStreams; ++lane) {
      std::size_t state = 0;
      for (std::size_t s = 1; s < kStates; ++s)
        if (metric_[s][lane] < metric_[state][lane]) state = s;
      for (std::size_t s = 0; s < kStates; ++s) metric_[s][lane] = s == state ? Metric{0} : Alphabet::kUnreachable;
      for (std::size_t step = end; step-- > start;) {
        const std::size_t odd = state >= kHalf ? 1 : 0;
        const std::size_t zero = state ^ (odd != 0 ? code_.parity : 0);
        const std::size_t one = zero ^ code_.input;
        const std::size_t bit = state * kStreams + lane;
        const bool high = (decisions(step)[bit / 8] >> bit % 8 & 1) != 0;
        const std::size_t from = high ? std::max(zero, one) : std::min(zero, one);
        const std::size_t i = step * kStreams + lane;
        if (i < points_.size()) points_[i] = source_.choose(i, static_cast<int>(odd + (from == one ? 2 : 0)));
        state = 2 * from + odd;
      }
    }
  }

  TrellisCode code_;
  Alphabet source_;
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

std::size_t trellis_streams(std::size_t values) noexcept {
  if (values < 1u << 12) return 1;
  return values < 1u << 15 ? 8 : kMaxTrellisStreams;
}

std::size_t trellis_scratch(unsigned states, std::size_t values) noexcept {
  return with_sizes(states, trellis_streams(values), [=]<std::size_t kStates, std::size_t kStreams>() {
    return Search<kStates, kStreams>::scratch_bytes(values);
  });
}

void trellis_search(const TrellisCode& code, std::span<const std::int64_t> places, std::span<const std::uint16_t> weights,
                    std::span<std::byte> scratch, std::span<std::int32_t> points) noexcept {
  targets::chosen().trellis_search(code.states, static_cast<unsigned>(trellis_streams(points.size())), places.data(),
                                   weights.data(), points.size(), reinterpret_cast<std::uint8_t*>(scratch.data()), points.data());
}

void trellis_search(const TrellisCode& code, std::span<const std::int32_t> places,
                    std::span<const std::int32_t> levels, std::span<std::byte> scratch, std::span<std::int32_t> points) noexcept {
  with_sizes(code.states, trellis_streams(points.size()), [&]<std::size_t kStates, std::size_t kStreams>() {
    Search<kStates, kStreams>(code, Alphabet(levels, places), scratch, points).run();
    return 0;
  });
}

}  // namespace fewbits
