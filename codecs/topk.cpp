#include "codecs/topk.h"

#include <algorithm>
#include <bit>

#include "kernels/kernels.h"

namespace fewbits {
namespace {

constexpr ParameterSpec kParameters[] = {
    {.name = "keep", .type = ParameterType::kNumber, .min = 0, .max = 1, .min_excluded = true,
     .summary = "share of the coordinates that is kept; at least one is"},
};

// Positions are sent as gaps: how many places lie between one kept coordinate and the next. In one of two forms, since
// kept coordinates of real updates stand in clusters, which a model that learns halves the bytes for, while few positions
// are not worth a coder's states.

// What a model that learns says of gap + 1, a number of c + 1 bits: c in unary, each digit with a chance of its own; the
// bit below the highest with one for each c; the others are equally likely. All begin as they are where the kept
// coordinates lie anywhere: P(gap ≥ g) = q^g, q the share of those left out.
class GapModel {
 public:
  static constexpr unsigned kRawBits = 15;   // at once

  // A chance that adapts, of 2^16.
  struct Digit {
    std::uint32_t one = 0;
    std::uint32_t seen = 8;   // the weight of what has been seen

    std::uint32_t frequency() const noexcept { return one / 2; }

    void learn(bool digit) noexcept {
      one = clamped(digit ? one + (kOne - one) / seen : one - one / seen);
      seen = std::min(seen + 1, kMostSeen);
    }
  };

  GapModel(std::size_t n, std::size_t k) noexcept {
    std::uint64_t power = (static_cast<std::uint64_t>(n - k) << 32) / n;   // q^(2^j), of 2^32
    for (unsigned j = 0; j < kLengths; ++j) {
      const auto chance = static_cast<std::uint32_t>(power >> 16);
      longer[j].one = clamped(chance);
      if (j + 1 < kLengths) upper[j + 1].one = clamped(kOne * chance / (kOne + chance));
      power = power * power >> 32;
    }
  }

  static constexpr RansInterval interval(std::uint32_t frequency, bool digit) noexcept {
    return digit ? RansInterval{0, frequency} : RansInterval{frequency, kRansTotal - frequency};
  }

  static constexpr unsigned kLengths = 32;
  Digit longer[kLengths];   // c is more than this
  Digit upper[kLengths];    // the bit below the highest of c + 1 bits is set; [0] is not used

 private:
  static constexpr std::uint32_t kOne = 1 << 16;
  static constexpr std::uint32_t kMostSeen = 128;
  static constexpr std::uint32_t kLeast = 32;   // surprises cost at most 11 bits
  static constexpr std::uint32_t clamped(std::uint32_t chance) noexcept { return std::clamp(chance, kLeast, kOne - kLeast); }
};

// A RansInterval in 32 bits; frequencies are below kRansTotal.
struct Record {
  std::uint32_t start : 16;
  std::uint32_t frequency : 16;
};

void record(GapModel& model, std::uint32_t number, Record*& out) noexcept {
  const auto put = [&](RansInterval interval) {
    *out++ = {static_cast<std::uint16_t>(interval.start), static_cast<std::uint16_t>(interval.frequency)};
  };
  const auto put_digit = [&](GapModel::Digit& digit, bool value) {
    put(GapModel::interval(digit.frequency(), value));
    digit.learn(value);
  };
  const auto length = static_cast<unsigned>(std::bit_width(number)) - 1;
  for (unsigned j = 0; j < length; ++j) put_digit(model.longer[j], true);
  put_digit(model.longer[length], false);
  if (length == 0) return;
  put_digit(model.upper[length], (number >> (length - 1) & 1) != 0);
  for (unsigned at = 0; at + 1 < length; at += GapModel::kRawBits) {
    const unsigned count = std::min(GapModel::kRawBits, length - 1 - at);
    const unsigned shift = kRansBits - count;
    put({(number >> at & ((1u << count) - 1)) << shift, 1u << shift});
  }
}

// gap + 1, or 0 where it is more than `most`.
std::uint32_t read_number(GapModel& model, RansReader& in, std::uint64_t most) noexcept {
  const auto digit = [&](GapModel::Digit& chance) {
    const std::uint32_t frequency = chance.frequency();
    const bool value = in.slot(0) < frequency;
    in.advance(0, GapModel::interval(frequency, value));
    chance.learn(value);
    return value;
  };
  unsigned length = 0;
  while (digit(model.longer[length]))
    if (most >> ++length == 0) return 0;
  if (length == 0) return 1;
  std::uint32_t number = 1u << length;
  if (digit(model.upper[length])) number |= 1u << (length - 1);
  for (unsigned at = 0; at + 1 < length; at += GapModel::kRawBits)
    number |= in.bits(0, std::min(GapModel::kRawBits, length - 1 - at)) << at;
  return number <= most ? number : 0;
}

// Rice's code: gap / 2^b in unary, then the low b bits. Its length is bounded: the unary digits of all gaps together are
// at most (n − k) / 2^b and k stops.
class RiceCode {
 public:
  // 2^b at most ln 2 ≈ 11/16 of a mean gap, the best for gaps that are geometric.
  RiceCode(std::size_t n, std::size_t k) noexcept : most_(n - k) {
    while (bits_ < 31 && (std::uint64_t{32} << bits_) * k <= std::uint64_t{11} * n) ++bits_;
    most_ = k * (bits_ + 1) + (most_ >> bits_);
  }

  unsigned bits() const noexcept { return bits_; }
  std::size_t most() const noexcept { return most_; }   // bits of all gaps together
  std::size_t length(std::uint32_t gap) const noexcept { return (gap >> bits_) + 1 + bits_; }

 private:
  unsigned bits_ = 0;
  std::size_t most_;
};

class TopK final : public Transform {
 public:
  TopK(const Parameters& parameters, std::size_t inputs)
      : n_(inputs), k_(kept_of(parameters.number("keep"), inputs)), rice_(n_, std::max<std::size_t>(k_, 1)) {}

  std::size_t outputs() const noexcept override { return k_; }
  bool shared() const noexcept override { return false; }

  // The k largest squares are at least k/n of all.
  Traits traits(const InputTraits&) const override {
    if (k_ == n_) return {Unbiased::kAlways, 0.0, 1.0};
    return {Unbiased::kNo, 1 - static_cast<double>(k_) / static_cast<double>(n_), 1.0};
  }

  InputTraits output_traits(const InputTraits&) const override { return {k_, std::nullopt}; }

  std::size_t max_side_bytes() const noexcept override { return k_ == n_ ? 0 : 1 + (rice_.most() + 7) / 8; }

  std::size_t workspace_bytes() const noexcept override {
    const std::size_t writing =
        Workspace::bytes_for<Record>(max_records()) + Workspace::bytes_for<std::uint16_t>(words());
    return Workspace::bytes_for<std::uint32_t>(k_) +
           std::max(writing, Workspace::bytes_for<std::uint32_t>(kernels::largest_scratch(n_, k_)));
  }

  void forward(const StageContext& context, std::span<const float> x, std::span<float> y,
               ByteWriter& side) const override {
    const Workspace::Scope scope(*context.workspace);
    const auto positions = context.workspace->take<std::uint32_t>(k_);
    choose(*context.workspace, x, positions);
    for (std::size_t i = 0; i < k_; ++i) y[i] = x[positions[i]];
    if (k_ != n_) write(*context.workspace, positions, side);
  }

  void check(ByteReader& side) const override {
    if (k_ != n_ && !read(side, [](std::size_t, std::uint32_t) {}))
      side.malformed("positions of kept coordinates are not " + std::to_string(k_) + " rising numbers below " +
                     std::to_string(n_));
  }

  void inverse_add(const StageContext&, std::span<const std::byte> side, std::span<double> y,
                   std::span<double> x) const noexcept override {
    if (k_ == n_) {
      for (std::size_t i = 0; i < k_; ++i) x[i] += y[i];
      return;
    }
    ByteReader reader(side);
    read(reader, [&](std::size_t i, std::uint32_t position) { x[position] += y[i]; });
  }

 private:
  static void choose(Workspace& workspace, std::span<const float> x, std::span<std::uint32_t> positions) {
    const Workspace::Scope scope(workspace);
    kernels::largest(x, workspace.take<std::uint32_t>(kernels::largest_scratch(x.size(), positions.size())), positions);
  }

  // A number of c + 1 bits takes at most 2c + 1 intervals and at most c + 4; the logarithms of k numbers that add up to
  // n are at most k·log2(n/k) together, and at most as many as the gaps' sum.
  std::size_t max_records() const noexcept {
    if (k_ == n_) return 0;
    const auto length = static_cast<std::size_t>(std::bit_width(n_ / k_));
    return k_ + std::min({2 * (n_ - k_), 2 * length * k_, (length + 3) * k_});
  }

  // An interval writes at most one word.
  std::size_t words() const noexcept { return k_ == n_ ? 0 : max_records() + kMaxRansLanes; }

  void write(Workspace& workspace, std::span<const std::uint32_t> positions, ByteWriter& side) const {
    const auto records = workspace.take<Record>(max_records());
    GapModel model(n_, k_);
    Record* end = records.data();
    std::size_t rice_bits = 0;
    std::uint32_t next = 0;   // the least position that may come
    for (const std::uint32_t position : positions) {
      record(model, position - next + 1, end);
      rice_bits += rice_.length(position - next);
      next = position + 1;
    }
    RansWriter coded(workspace.take<std::uint16_t>(words()));
    coded.begin(1);
    while (end != records.data()) {
      --end;
      coded.put(0, {end->start, end->frequency});
    }
    const std::size_t rice_bytes = (rice_bits + 7) / 8;
    if (coded.bytes() + varint_bytes(coded.bytes()) < rice_bytes + 1) {
      side.varint(coded.bytes());
      coded.finish(side.grow(coded.bytes()));
    } else {
      side.u8(0);
      write_rice(positions, side.grow(rice_bytes));
    }
  }

  void write_rice(std::span<const std::uint32_t> positions, std::span<std::byte> out) const noexcept {
    std::size_t at = 0;   // in bits
    const auto put = [&](std::uint32_t bit) {
      out[at / 8] |= static_cast<std::byte>(bit << (at % 8));
      ++at;
    };
    std::uint32_t next = 0;
    for (const std::uint32_t position : positions) {
      const std::uint32_t gap = position - next;
      for (std::uint32_t i = gap >> rice_.bits(); i != 0; --i) put(1);
      put(0);
      for (unsigned b = 0; b < rice_.bits(); ++b) put(gap >> b & 1);
      next = position + 1;
    }
  }

  // Calls visit(i, position) for each kept coordinate. False for bytes that are no positions; throws where they end.
  template <class Visit>
  bool read(ByteReader& side, Visit visit) const {
    const std::uint64_t length = side.varint();
    return length == 0 ? read_rice(side, visit) : read_coded(side.bytes(static_cast<std::size_t>(length)), visit);
  }

  template <class Visit>
  bool read_coded(std::span<const std::byte> bytes, Visit visit) const noexcept {
    GapModel model(n_, k_);
    RansReader in(bytes);
    in.begin(1);
    std::uint32_t next = 0;
    for (std::size_t i = 0; i < k_; ++i) {
      const std::uint32_t number = read_number(model, in, n_ - next);
      if (number == 0 || !in.good()) return false;
      next += number;
      visit(i, next - 1);
    }
    return in.ok();
  }

  template <class Visit>
  bool read_rice(ByteReader& side, Visit visit) const {
    unsigned pending = 0;
    unsigned held = 0;
    const auto bit = [&] {
      if (held == 0) {
        pending = side.u8();
        held = 8;
      }
      const unsigned value = pending & 1;
      pending >>= 1;
      --held;
      return value;
    };
    std::uint64_t next = 0;
    for (std::size_t i = 0; i < k_; ++i) {
      std::uint64_t gap = 0;
      while (bit() != 0)
        if (next + (++gap << rice_.bits()) >= n_) return false;
      gap <<= rice_.bits();
      for (unsigned b = 0; b < rice_.bits(); ++b) gap |= std::uint64_t{bit()} << b;
      if (next + gap >= n_) return false;
      visit(i, static_cast<std::uint32_t>(next + gap));
      next += gap + 1;
    }
    return pending == 0;
  }

  std::size_t n_;
  std::size_t k_;
  RiceCode rice_;
};

}  // namespace

const StageDescriptor kTopK{
    .id = 18,
    .name = "topk",
    .summary = "keeps the round(keep*n) coordinates of largest magnitude, exactly, and sends their positions as gaps under "
               "a model that learns; biased, a contraction",
    .source = "Aji, Heafield 2017, arXiv 1704.05021; Stich et al. 2018, arXiv 1809.07599 (contraction); positions as gaps: "
              "Sattler et al. 2019, arXiv 1903.02891",
    .parameters = kParameters,
    .make_transform = [](const Parameters& p, const InputShape& input) -> std::unique_ptr<Transform> {
      return std::make_unique<TopK>(p, input.values);
    },
};

}  // namespace fewbits
