#include "codecs/rans.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/engine/hostile.h"
#include "tests/engine/support.h"

namespace fewbits {
namespace {

// A quantizer that knows its symbols: bits, of which number i is set with a chance of 1/2, 1/4, … 1/32768 by its
// remainder, which is how the side value says that the remainders begin.
class KnownBits final : public Quantizer {
 public:
  static RansInterval interval(unsigned place, unsigned offset, bool set) {
    const std::uint32_t ones = kRansTotal >> (1 + (place + offset) % 15);
    return set ? RansInterval{kRansTotal - ones, ones} : RansInterval{0, kRansTotal - ones};
  }
  explicit KnownBits(std::size_t n, unsigned lanes) : n_(n), lanes_(lanes) {}
  Traits traits(const InputTraits&) const override { return {}; }
  std::uint64_t alphabet_size() const noexcept override { return 2; }
  std::size_t workspace_bytes() const noexcept override { return Workspace::bytes_for<std::uint32_t>(n_); }
  void quantize(const StageContext&, std::span<const float>, std::span<std::int32_t>, ByteWriter&) const override {}
  bool knows_distribution() const noexcept override { return true; }
  std::size_t max_symbol_bits() const noexcept override { return 15 * n_; }
  void write_symbols(const StageContext& context, std::span<const std::byte> side, std::span<const std::int32_t> symbols,
                     RansWriter& writer) const override {
    const Workspace::Scope scope(*context.workspace);
    const auto own = context.workspace->take<std::uint32_t>(n_);   // as a quantizer may: the coder's words must survive
    std::ranges::fill(own, 0xFFFFFFFFu);
    writer.begin(lanes_);
    for (std::size_t i = symbols.size(); i-- > 0;)
      writer.put(static_cast<unsigned>(i % lanes_),
                 interval(static_cast<unsigned>(i), std::to_integer<unsigned>(side[0]), symbols[i] != 0));
  }
  void read_symbols(const StageContext& context, std::span<const std::byte> side, RansReader& reader,
                    std::span<std::int32_t> symbols) const override {
    const Workspace::Scope scope(*context.workspace);
    std::ranges::fill(context.workspace->take<std::uint32_t>(n_), 0xFFFFFFFFu);
    reader.begin(lanes_);
    for (std::size_t i = 0; i < symbols.size(); ++i) {
      const auto lane = static_cast<unsigned>(i % lanes_);
      const auto one = interval(static_cast<unsigned>(i), std::to_integer<unsigned>(side[0]), true);
      symbols[i] = reader.slot(lane) >= one.start ? 1 : 0;
      reader.advance(lane, interval(static_cast<unsigned>(i), std::to_integer<unsigned>(side[0]), symbols[i] != 0));
    }
  }
  double check_symbols(const StageContext&, std::span<const std::byte>, std::span<const std::int32_t>) const override {
    return 0;
  }
  void accumulate(const StageContext&, std::span<const std::byte>, std::span<const std::int32_t>, double,
                  std::span<double>) const noexcept override {}

 private:
  std::size_t n_;
  unsigned lanes_;
};

class KnownCoding {
 public:
  KnownCoding(std::size_t n, unsigned lanes) : n_(n), quantizer_(n, lanes), coder_(kRans.make_coder(Parameters("rans", {}, ""))) {
    workspace_.reserve(quantizer_.workspace_bytes() + coder_->workspace_bytes() + coder_->scratch_bytes(n, quantizer_));
  }
  std::vector<std::byte> encode(std::span<const std::int32_t> symbols) {
    std::vector<std::byte> out = test::bytes_of({0xAB});
    ByteWriter writer(out);
    coder_->encode(context(), symbols, model(), writer);
    EXPECT_EQ(out.front(), std::byte{0xAB});
    out.erase(out.begin());
    EXPECT_LE(out.size(), coder_->max_bytes(n_, quantizer_));
    return out;
  }
  std::vector<std::int32_t> decode(std::span<const std::byte> bytes) {
    std::vector<std::int32_t> symbols(n_, -1);
    ByteReader reader(bytes);
    coder_->decode(context(), reader, model(), symbols);
    reader.expect_end();
    return symbols;
  }

 private:
  StageContext context() { return {.keys = {}, .group = 0, .stage = 1, .workspace = &workspace_}; }
  SymbolModel model() {
    SymbolModel known;
    known.size = 2;
    known.known = &quantizer_;
    known.quantizer_context = context();
    known.quantizer_side = side_;
    return known;
  }

  std::size_t n_;
  KnownBits quantizer_;
  std::unique_ptr<Coder> coder_;
  Workspace workspace_;
  std::vector<std::byte> side_ = test::bytes_of({3});
};

TEST(RansOfAKnownDistribution, NothingButTheStreamIsWritten) {
  RandomReader random = test::reader(1);
  for (const unsigned lanes : {1u, 4u, 32u})
    for (const std::size_t n : {0, 1, 2, 7, 33, 1000, 5000}) {
      KnownCoding coding(n, lanes);
      std::vector<std::int32_t> symbols(n);
      for (std::size_t i = 0; i < n; ++i)
        symbols[i] = random.below(kRansTotal) < KnownBits::interval(static_cast<unsigned>(i), 3, true).frequency ? 1 : 0;
      const auto bytes = coding.encode(symbols);
      EXPECT_EQ(coding.decode(bytes), symbols) << n;
      // The entropies of chances 2^-1 … 2^-15 add up to 3.156 bits in 15 symbols; a lane costs up to 4 bytes. Five standard
      // deviations: a symbol's code length has a variance of at most 1 (p(1 − p)·log2²((1 − p)/p) is 0.9 at most).
      EXPECT_LE(static_cast<double>(bytes.size()),
                static_cast<double>(n) * 3.156 / 15 / 8 + 4 * lanes + 5 * std::sqrt(static_cast<double>(n)) / 8 + 1);
    }
}

TEST(RansOfAKnownDistribution, EverySequenceFitsItsRoom) {
  for (const unsigned lanes : {1u, 32u}) {
    KnownCoding coding(3000, lanes);
    EXPECT_EQ(coding.decode(coding.encode(std::vector<std::int32_t>(3000, 1))), std::vector<std::int32_t>(3000, 1));
  }
}

TEST(RansOfAKnownDistribution, DamageIsRefusedOrIsAnotherSequence) {
  RandomReader random = test::reader(2);
  KnownCoding coding(200, 2);
  std::vector<std::int32_t> symbols(200);
  for (auto& symbol : symbols) symbol = random.below(16) == 0 ? 1 : 0;
  const auto bytes = coding.encode(symbols);
  test::truncations(bytes, [&](const auto& part) {
    EXPECT_EQ(test::refusal([&] { coding.decode(part); }), Errc::kMalformed);
  });
  test::flips(bytes, [&](const auto& flipped, std::size_t) {
    std::vector<std::int32_t> back;
    const auto code = test::refusal([&] { back = coding.decode(flipped); });
    if (code) {
      EXPECT_EQ(code, Errc::kMalformed);
    } else {
      EXPECT_EQ(coding.encode(back), flipped);
    }
  });
  auto longer = bytes;
  longer.resize(longer.size() + 2);
  EXPECT_EQ(test::refusal([&] { coding.decode(longer); }), Errc::kMalformed);
}

}  // namespace
}  // namespace fewbits
