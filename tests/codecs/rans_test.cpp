#include "codecs/rans.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <map>
#include <set>
#include <vector>

#include "kernels/hash.h"
#include "kernels/kernels.h"
#include "kernels/rans_models.h"
#include "kernels/tokens.h"
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

// A quantizer of which only the alphabet and the contexts matter.
class AnySymbols final : public Quantizer {
 public:
  AnySymbols(std::uint64_t alphabet, std::uint32_t contexts) : alphabet_(alphabet), contexts_(contexts) {}
  Traits traits(const InputTraits&) const override { return {}; }
  std::uint64_t alphabet_size() const noexcept override { return alphabet_; }
  std::uint32_t context_count() const noexcept override { return contexts_; }
  void quantize(const StageContext&, std::span<const float>, std::span<std::int32_t>, ByteWriter&) const override {}
  double check_symbols(const StageContext&, std::span<const std::byte>, std::span<const std::int32_t>) const override {
    return 0;
  }
  void accumulate(const StageContext&, std::span<const std::byte>, std::span<const std::int32_t>, double,
                  std::span<double>) const noexcept override {}

 private:
  std::uint64_t alphabet_;
  std::uint32_t contexts_;
};

// The coder between a quantizer and bytes, with scratch memory of the size that it asks for, full of `garbage`.
class Coding {
 public:
  Coding(std::size_t n, const Quantizer& quantizer, std::vector<std::uint16_t> contexts = {}, int garbage = 0xA5)
      : n_(n), quantizer_(quantizer), contexts_(std::move(contexts)), coder_(kRans.make_coder(Parameters("rans", {}, ""))) {
    const std::size_t scratch =
        quantizer_.workspace_bytes() + coder_->workspace_bytes() + coder_->scratch_bytes(n, quantizer_);
    workspace_.reserve(scratch);
    const Workspace::Scope scope(workspace_);
    std::ranges::fill(workspace_.take<std::byte>(scratch), static_cast<std::byte>(garbage));
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
  std::size_t packed_bytes() const { return kernels::packed_bytes(n_, symbol_bits(quantizer_.alphabet_size())); }

 private:
  StageContext context() { return {.keys = {}, .group = 0, .stage = 1, .workspace = &workspace_}; }
  SymbolModel model() {
    SymbolModel model;
    model.size = quantizer_.alphabet_size();
    if (quantizer_.knows_distribution()) {
      model.known = &quantizer_;
      model.quantizer_context = context();
      model.quantizer_side = side_;
    }
    model.context_count = quantizer_.context_count();
    if (model.context_count > 1) model.contexts = contexts_;
    return model;
  }

  std::size_t n_;
  const Quantizer& quantizer_;
  std::vector<std::uint16_t> contexts_;
  std::unique_ptr<Coder> coder_;
  Workspace workspace_;
  std::vector<std::byte> side_ = test::bytes_of({3});
};

TEST(RansOfAKnownDistribution, NothingButTheStreamIsWritten) {
  RandomReader random = test::reader(1);
  for (const unsigned lanes : {1u, 4u, 32u})
    for (const std::size_t n : {0, 1, 2, 7, 33, 1000, 5000}) {
      const KnownBits bits(n, lanes);
      Coding coding(n, bits);
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
    const KnownBits bits(3000, lanes);
    Coding coding(3000, bits);
    EXPECT_EQ(coding.decode(coding.encode(std::vector<std::int32_t>(3000, 1))), std::vector<std::int32_t>(3000, 1));
  }
}

TEST(RansOfAKnownDistribution, DamageIsRefusedOrIsAnotherSequence) {
  RandomReader random = test::reader(2);
  const KnownBits bits(200, 2);
  Coding coding(200, bits);
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

// A source of symbols: draws one, in a context, and says with what probability it was.
struct Draw {
  std::uint32_t symbol = 0;
  std::uint16_t context = 0;
  double probability = 1;
};
struct Source {
  const char* name;
  std::uint64_t alphabet;
  std::uint32_t contexts;
  std::function<Draw(RandomReader&, std::size_t)> draw;
};

// Normal values of this deviation, rounded to a step of 1 into the middle of the alphabet.
Draw rounded_normal(RandomReader& random, double deviation, int alphabet) {
  const auto below = [&](double border) { return 0.5 * std::erfc(-border / deviation / std::numbers::sqrt2); };
  const int symbol = std::clamp(static_cast<int>(std::floor(deviation * test::draw_normal(random) + 0.5)) + alphabet / 2, 0,
                                alphabet - 1);
  const double low = symbol == 0 ? 0 : below(symbol - alphabet / 2 - 0.5);
  const double high = symbol == alphabet - 1 ? 1 : below(symbol - alphabet / 2 + 0.5);
  return {static_cast<std::uint32_t>(symbol), 0, high - low};
}

Source normal_source(double deviation, int alphabet) {
  return {"normal", static_cast<std::uint64_t>(alphabet), 1,
          [=](RandomReader& random, std::size_t) { return rounded_normal(random, deviation, alphabet); }};
}
Source chances_source(std::vector<double> chances) {
  return {"chances", chances.size(), 1, [=](RandomReader& random, std::size_t) {
            double place = random.uniform();
            std::size_t symbol = 0;
            while (symbol + 1 < chances.size() && place >= chances[symbol]) place -= chances[symbol++];
            return Draw{static_cast<std::uint32_t>(symbol), 0, chances[symbol]};
          }};
}
Source uniform_source(std::uint64_t alphabet) {
  return {"uniform", alphabet, 1, [=](RandomReader& random, std::size_t) {
            return Draw{static_cast<std::uint32_t>(random.below(alphabet)), 0, 1 / static_cast<double>(alphabet)};
          }};
}
Source equal_source(std::uint64_t alphabet) {
  return {"equal", alphabet, 1,
          [=](RandomReader&, std::size_t) { return Draw{static_cast<std::uint32_t>(alphabet / 3), 0, 1}; }};
}
// Sizes of gaps: geometric, of this mean.
Source gap_source(double mean, std::uint64_t alphabet) {
  const double stay = 1 - 1 / (mean + 1);
  return {"gaps", alphabet, 1, [=](RandomReader& random, std::size_t) {
            const auto gap = static_cast<std::uint32_t>(
                std::min(static_cast<double>(alphabet - 1), std::log(1 - random.uniform()) / std::log(stay)));
            return Draw{gap, 0, std::pow(stay, gap) * (1 - stay)};
          }};
}
// Bit patterns of normal float32 values, of which a share is zero; `drop` low bits are left out.
Source float_source(double zeros, unsigned drop) {
  return {"floats", 1ull << (32 - drop), 1, [=](RandomReader& random, std::size_t) {
            if (random.uniform() < zeros) return Draw{0, 0, zeros};
            return Draw{std::bit_cast<std::uint32_t>(static_cast<float>(test::draw_normal(random))) >> drop, 0, 1};
          }};
}
// Normal values, of a deviation that their context says.
Source context_source(std::uint32_t contexts, int alphabet) {
  return {"contexts", static_cast<std::uint64_t>(alphabet), contexts, [=](RandomReader& random, std::size_t) {
            const auto context = static_cast<std::uint16_t>(random.below(contexts));
            Draw draw = rounded_normal(random, 1.3 * std::exp2(-4.0 + 5.0 * context / contexts), alphabet);
            draw.context = context;
            return draw;
          }};
}
Source useless_contexts(std::uint32_t contexts) {
  return {"useless", 16, contexts, [=](RandomReader& random, std::size_t) {
            Draw draw = rounded_normal(random, 1.25, 16);
            draw.context = static_cast<std::uint16_t>(random.below(contexts));
            return draw;
          }};
}
// A deviation that changes every `period` symbols.
Source drifting_source(std::size_t period) {
  return {"drift", 16, 1, [=](RandomReader& random, std::size_t i) {
            return rounded_normal(random, std::exp2(-3.0 + static_cast<double>(i / period % 5)), 16);
          }};
}

std::vector<Source> sources() {
  return {normal_source(2.5, 32),   normal_source(1.25, 16),     normal_source(0.425, 8),   normal_source(36, 256),
          normal_source(100, 512),  chances_source({0.05, 0.9, 0.05}),   chances_source({0.999, 0.001}),
          uniform_source(2),        uniform_source(3),           uniform_source(16),        uniform_source(257),
          uniform_source(513),      uniform_source(100'000),     uniform_source(1ull << 32), equal_source(2),
          equal_source(16),         equal_source(512),           equal_source(513),         equal_source(1ull << 32),
          gap_source(100, 1 << 20), gap_source(3, 100'000),      gap_source(1e6, 1ull << 32), float_source(0, 0),
          float_source(0.3, 0),     float_source(0.97, 0),       float_source(0, 16),       float_source(0.3, 16),
          context_source(16, 16),   context_source(3, 2),        context_source(64, 256),   useless_contexts(16),
          drifting_source(1000)};
}

struct Drawn {
  std::vector<std::int32_t> symbols;
  std::vector<std::uint16_t> contexts;
  double bits = 0;   // that the source's own probabilities take
};
Drawn draw(const Source& source, std::size_t n, std::uint64_t seed) {
  RandomReader random = test::reader(seed);
  Drawn drawn;
  for (std::size_t i = 0; i < n; ++i) {
    const Draw one = source.draw(random, i);
    drawn.symbols.push_back(static_cast<std::int32_t>(one.symbol));
    drawn.contexts.push_back(one.context);
    drawn.bits -= std::log2(one.probability);
  }
  return drawn;
}

struct Coded {
  std::vector<std::byte> bytes;
  std::size_t packed = 0;
  double size() const { return static_cast<double>(bytes.size()); }
  unsigned way() const { return std::to_integer<unsigned>(bytes.at(0)); }
};
Coded code(const Source& source, const Drawn& drawn) {
  const AnySymbols quantizer(source.alphabet, source.contexts);
  Coding coding(drawn.symbols.size(), quantizer, drawn.contexts);
  return {coding.encode(drawn.symbols), coding.packed_bytes()};
}

constexpr unsigned kWay = 3, kTable = 1, kAdaptive = 2, kContexts = 4, kSmooth = 8, kFast = 16, kClasses = 32,
                   kFrequent = 64, kOneLane = 128;

TEST(Rans, EverySymbolComesBackAndNoneCostsMoreThanPackedButForAByte) {
  for (const Source& source : sources()) {
    const AnySymbols quantizer(source.alphabet, source.contexts);
    for (const std::size_t n : {0, 1, 2, 3, 10, 33, 100, 256, 257, 1000, 4096, 5000, 20'000, 65'536, 100'000}) {
      if (n > 5000 && source.alphabet > 100 && !test::long_tests() && n != 20'000) continue;
      const Drawn drawn = draw(source, n, 7 * n);
      Coding coding(n, quantizer, drawn.contexts);
      const auto bytes = coding.encode(drawn.symbols);
      EXPECT_LE(bytes.size(), n == 0 ? 0 : coding.packed_bytes() + 1) << source.name << " of " << source.alphabet << ", " << n;
      // Whatever was in the scratch memory before.
      Coding other(n, quantizer, drawn.contexts, 0xFF);
      ASSERT_EQ(other.decode(bytes), drawn.symbols) << source.name << " of " << source.alphabet << ", " << n;
      ASSERT_EQ(other.encode(drawn.symbols), bytes) << source.name << " of " << source.alphabet << ", " << n;
    }
  }
}

// The source's own probabilities are the best that any model of single symbols could know.
TEST(Rans, AMillionSymbolsTakeTheirEntropy) {
  constexpr std::size_t n = 1 << 20;
  // Entropies of 3.37, 2.41, 1.06, 7.21 and 1.58 bits.
  for (const Source& source : {normal_source(2.5, 32), normal_source(1.25, 16), normal_source(0.425, 8),
                               normal_source(36, 256), chances_source({1 / 3., 1 / 3., 1 / 3.})}) {
    const Drawn drawn = draw(source, n, 1);
    ASSERT_GE(drawn.bits, n);
    EXPECT_LE(code(source, drawn).size() * 8, 1.003 * drawn.bits) << source.alphabet;
  }
  for (const Source& source : {chances_source({0.05, 0.9, 0.05}), chances_source({0.97, 0.03}), chances_source({0.999, 0.001})}) {
    const Drawn drawn = draw(source, n, 2);   // 0.57, 0.19, 0.011 bits
    EXPECT_LE(code(source, drawn).size() * 8, 1.01 * drawn.bits) << source.alphabet;
  }
}

// Without tables, and shorter than the estimator of Krichevsky and Trofimov, which starts from nothing as well, by what a
// range coder's state adds: 3 bytes, and the byte that names the way.
TEST(Rans, SmallFramesLearnAsTheyGo) {
  for (const Source& source : {normal_source(2.5, 32), normal_source(1.25, 16), normal_source(0.425, 8)}) {
    for (const std::size_t n : {10, 100, 1000}) {
      double coded = 0, estimator = 0;
      std::size_t adaptive = 0;
      constexpr std::uint64_t kFrames = 40;
      for (std::uint64_t frame = 0; frame < kFrames; ++frame) {
        const Drawn drawn = draw(source, n, 1000 * n + frame);
        const Coded result = code(source, drawn);
        coded += result.size() / kFrames;
        adaptive += (result.way() & kWay) == kAdaptive ? 1 : 0;
        EXPECT_NE(result.way() & kWay, kTable);
        std::map<std::int32_t, double> counts;
        for (std::size_t i = 0; i < n; ++i) {
          double& count = counts[drawn.symbols[i]];
          estimator -= std::log2((count + 0.5) / (static_cast<double>(i) + 0.5 * static_cast<double>(source.alphabet))) / kFrames;
          ++count;
        }
      }
      EXPECT_LE(coded, estimator / 8 + 4) << source.alphabet << ", " << n;
      if (n >= 100) {
        EXPECT_EQ(adaptive, kFrames) << source.alphabet << ", " << n;
      }
    }
  }
}

TEST(Rans, EqualSymbolsCostNearlyNothing) {
  for (const std::uint64_t alphabet : {2ull, 3ull, 16ull, 256ull, 65536ull, 1ull << 32})
    for (const std::size_t n : {100, 1000, 40'000, 1 << 18}) {
      const Source source = equal_source(alphabet);
      EXPECT_LE(code(source, draw(source, n, 1)).bytes.size(), 16u) << alphabet << ", " << n;
    }
}

// Of random symbols the packed ones are chosen, but where a power of two is far from the alphabet's size.
TEST(Rans, RandomSymbolsArePackedOrTakeTheirLogarithm) {
  for (const std::size_t n : {1000, 100'000}) {
    for (const std::uint64_t alphabet : {2ull, 16ull, 256ull, 65536ull, 1ull << 32}) {
      const Source source = uniform_source(alphabet);
      const Coded result = code(source, draw(source, n, 1));
      EXPECT_EQ(result.way(), 0u);
      EXPECT_EQ(result.bytes.size(), result.packed + 1);
    }
  }
  for (const std::uint64_t alphabet : {3ull, 5ull, 100ull, 300ull, 5000ull}) {
    const Source source = uniform_source(alphabet);
    EXPECT_LE(code(source, draw(source, 100'000, 1)).size() * 8, 1.005 * 1e5 * std::log2(alphabet)) << alphabet;
  }
}

TEST(Rans, ContextsAreUsedWhereTheyTell) {
  const Source source = context_source(16, 16);
  for (const std::size_t n : {1000, 10'000, 300'000}) {
    const Drawn drawn = draw(source, n, n);
    const Coded with = code(source, drawn);
    EXPECT_NE(with.way() & kContexts, 0u);
    Source blind = source;
    blind.contexts = 1;
    const Coded without = code(blind, drawn);
    // 16 distributions of about 6 symbols that occur: adaptively they are learned for (6 − 1)/2·log2(n/16) bits each, if
    // from nothing. In tables a token takes at most 5 bits for its count's width, 6 for its bits, and is right within 1.
    const double learning = ((with.way() & kWay) == kTable ? 256 * 12 : 16 * 2.5 * std::log2(static_cast<double>(n) / 16));
    EXPECT_LE(with.size() * 8, drawn.bits + learning + 8 * 32) << n;
    EXPECT_LE(with.size() * 8, (n < 100'000 ? 1.25 : 1.005) * drawn.bits) << n;
    EXPECT_GE(without.size(), 1.2 * with.size()) << n;
  }
  // Useless ones cost nothing.
  const Source useless = useless_contexts(16);
  Source blind = useless;
  blind.contexts = 1;
  for (const std::size_t n : {100, 1000, 10'000, 300'000}) {
    const Drawn drawn = draw(useless, n, n);
    EXPECT_LE(code(useless, drawn).bytes.size(), code(blind, drawn).bytes.size() + 1);
  }
}

TEST(Rans, DistributionsThatChangeAreFollowed) {
  for (const std::size_t n : {30'000, 300'000}) {
    const Source source = drifting_source(n / 15);
    const Drawn drawn = draw(source, n, 3);
    const Coded result = code(source, drawn);
    EXPECT_EQ(result.way() & kWay, kAdaptive);
    EXPECT_NE(result.way() & kFast, 0u);
    // After a change the old symbols' weight falls as e^(-t/256), which costs up to Σ −log2(1 − e^(-t/256)) = 256·π²/(6·ln 2) =
    // 607 bits; and 256 symbols that are remembered say what up to 10 tokens' chances are with a loss of 9/(2·ln 2·2·256)
    // bits a symbol.
    EXPECT_LE(result.size() * 8, drawn.bits + 15 * 607 + 0.0127 * static_cast<double>(n) + 8 * 32) << n;
    std::map<std::int32_t, double> counts;
    for (const std::int32_t symbol : drawn.symbols) ++counts[symbol];
    double table = 0;   // at least
    for (const auto& [symbol, count] : counts) table -= count * std::log2(count / static_cast<double>(n));
    EXPECT_LE(result.size() * 8, 0.8 * table) << n;
  }
}

// The sign and the exponent of normal values have H = 1 + 2.55 bits of 9; of bfloat16 values so many of 9 as well.
TEST(Rans, FloatsLoseWhatTheirExponentsRepeat) {
  std::map<std::uint32_t, double> exponents;
  const std::size_t n = 100'000;
  const Source whole = float_source(0, 0);
  const Drawn drawn = draw(whole, n, 4);
  double exponent_bits = 0;
  for (const std::int32_t symbol : drawn.symbols) ++exponents[static_cast<std::uint32_t>(symbol) >> 23];
  for (const auto& [exponent, count] : exponents) exponent_bits -= count * std::log2(count / static_cast<double>(n));
  EXPECT_LE(code(whole, drawn).size() * 8, 1.001 * (exponent_bits + 23.0 * n));
  const Source half = float_source(0, 16);
  EXPECT_LE(code(half, draw(half, n, 4)).size() * 8, 1.003 * (exponent_bits + 7.0 * n));
  // Zeros have a token of their own: h(0.3) bits a value beside 0.7 of the others.
  const Source sparse = float_source(0.3, 0);
  const double zeros = -0.3 * std::log2(0.3) - 0.7 * std::log2(0.7);
  EXPECT_LE(code(sparse, draw(sparse, n, 4)).size() * 8, 1.003 * (0.7 * (exponent_bits + 23.0 * n) + zeros * n));
}

// Gaps of a mean far below the alphabet's size: classes that widen as they grow lose 0.2 % of the entropy.
TEST(Rans, SmallNumbersOfALargeAlphabetTakeTheirEntropy) {
  for (const double mean : {3.0, 30.0, 1000.0})
    for (const std::uint64_t alphabet : {1ull << 20, 1ull << 32}) {
      const Source source = gap_source(mean, alphabet);
      const Drawn drawn = draw(source, 200'000, 5);
      const Coded result = code(source, drawn);
      EXPECT_NE(result.way() & kClasses, 0u);
      EXPECT_LE(result.size() * 8, 1.004 * drawn.bits) << mean << ", " << alphabet;
    }
}

// Suresh et al. 2017, theorem 4 (variable-length coding) with k = sqrt(d) + 1 levels: at most 2 + log2((k − 1)²/2d + 5/4) bits a
// coordinate and k·log2((d + k)e/k) for a table, with an error of at most d/(2(k − 1)²) = 1/2 of ‖x‖². Three bits of ours are
// levels of about that step.
TEST(Rans, QuantizedSymbolsTakeNoMoreThanTheVariableLengthCodeOfSureshEtAl) {
  constexpr std::size_t n = 1 << 16;
  const Codec codec = Codec::compile("hadamard+quantize:bits=3+rans", n);
  const auto x = test::normal(n, 6);
  const auto frame = codec.encode(x, {1, 2, 3});
  const auto back = codec.decode(frame, {1});
  EXPECT_LE(test::squared_distance(x, back), 0.5 * std::pow(test::norm(x), 2));
  const double k = 257;
  const double table = k * std::log2((n + k) * std::numbers::e / k);
  EXPECT_LE(8.0 * static_cast<double>(frame.size()), n * (2 + std::log2(0.5 + 1.25)) + table);
  EXPECT_LE(8.0 * static_cast<double>(frame.size()), 2 * n);   // and far less than 2.8: 1.96
}

// Sources whose frames take every way with every flag.
std::vector<std::pair<Source, std::size_t>> hostile_frames() {
  return {{normal_source(1.25, 16), 60},     {normal_source(1.25, 16), 700},  {normal_source(0.425, 8), 40},
          {chances_source({0.9, 0.1}), 100}, {equal_source(16), 100},         {context_source(4, 16), 300},
          {gap_source(20, 100'000), 400},     {float_source(0.5, 0), 40},      {float_source(0.3, 16), 200},
          {drifting_source(100), 600},       {equal_source(3), 70'000},       {uniform_source(16), 20},
          {normal_source(36, 256), 20'000},  {context_source(3, 2), 40'000},  {chances_source({0.98, 0.01, 0.01}), 70'000}};
}

TEST(RansUnderAttack, AllWaysAreAmongTheFrames) {
  unsigned seen = 0;
  std::set<unsigned> ways;
  for (const auto& [source, n] : hostile_frames()) {
    const unsigned way = code(source, draw(source, n, 9)).way();
    ways.insert(way & kWay);
    seen |= way;
  }
  EXPECT_EQ(ways, (std::set<unsigned>{0, kTable, kAdaptive}));
  EXPECT_EQ(seen, 255u);
}

// A damaged frame is refused or says other symbols: what a frame says in one way it says once.
TEST(RansUnderAttack, DamageIsRefusedOrIsAnotherSequence) {
  for (const auto& [source, n] : hostile_frames()) {
    const Drawn drawn = draw(source, n, 9);
    const AnySymbols quantizer(source.alphabet, source.contexts);
    Coding coding(n, quantizer, drawn.contexts);
    const auto bytes = coding.encode(drawn.symbols);
    std::set<std::uint64_t> said;   // by hashes, in each way
    const auto offer = [&](const std::vector<std::byte>& frame) {
      std::vector<std::int32_t> back;
      try {
        back = coding.decode(frame);
      } catch (const Error& error) {
        EXPECT_TRUE(error.code() == Errc::kMalformed || error.code() == Errc::kTruncated ||
                    error.code() == Errc::kTrailingBytes);
        return;
      }
      const std::uint64_t way = frame.empty() ? 0 : std::to_integer<std::uint64_t>(frame.front());
      EXPECT_TRUE(said.insert(kernels::hash64(std::as_bytes(std::span(back)), way)).second) << source.name << ", " << n;
    };
    offer(bytes);
    if (bytes.size() < 1000) {
      test::truncations(bytes, offer);
      test::flips(bytes, [&](const auto& flipped, std::size_t) { offer(flipped); });
    } else {
      RandomReader random = test::reader(10);
      for (int i = 0; i < (test::long_tests() ? 3000 : 60); ++i) {
        auto flipped = bytes;
        const std::uint64_t bit = random.below(i % 2 == 0 ? 400 : 8 * bytes.size());
        flipped[bit / 8] ^= std::byte{1} << (bit % 8);
        offer(flipped);
        offer({bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(random.below(bytes.size()))});
      }
    }
    auto longer = bytes;
    for (int more = 0; more < 4; ++more) {
      longer.push_back(std::byte{0});
      offer(longer);
    }
  }
}

TEST(RansUnderAttack, RandomBytesInEveryWayAreRefusedOrSymbols) {
  RandomReader random = test::reader(11);
  for (const auto& [alphabet, contexts] : std::vector<std::pair<std::uint64_t, std::uint32_t>>{
           {2, 1}, {3, 2}, {16, 1}, {16, 5}, {512, 1}, {513, 1}, {70'000, 1}, {1ull << 32, 1}}) {
    const AnySymbols quantizer(alphabet, contexts);
    for (const std::size_t n : {1, 5, 60, 300}) {
      std::vector<std::uint16_t> classes(n);
      for (auto& context : classes) context = static_cast<std::uint16_t>(random.below(contexts));
      Coding coding(n, quantizer, classes);
      for (unsigned way = 0; way < 256; ++way)
        for (int i = 0; i < (test::long_tests() ? 200 : 4); ++i) {
          std::vector<std::byte> noise(1 + random.below(40));
          for (std::byte& byte : noise) byte = static_cast<std::byte>(random.next());
          noise[0] = static_cast<std::byte>(way);
          try {
            coding.decode(noise);
          } catch (const Error&) {
          }
        }
    }
  }
}

// A stream by hand: the byte of its way, and what `put` writes, last to first.
std::vector<std::byte> by_hand(unsigned way, const std::function<void(RansWriter&)>& put) {
  std::vector<std::uint16_t> room(10'000);
  RansWriter writer(room);
  put(writer);
  std::vector<std::byte> out(1 + writer.bytes());
  out[0] = static_cast<std::byte>(way);
  writer.finish(std::span(out).subspan(1));
  return out;
}

void put_table(std::span<const std::uint32_t> counts, RansWriter& writer) {
  std::uint32_t memory[FollowingModel::words_for(count_table::kWidths)];
  FollowingModel widths{memory};
  widths.begin();
  std::vector<RansInterval> log;
  count_table::write(counts, widths, [&](RansInterval symbol) { log.push_back(symbol); });
  for (std::size_t i = log.size(); i-- > 0;) writer.put(0, log[i]);
}

TEST(RansUnderAttack, ATableThatIsNotTheSymbolsOwnIsRefused) {
  const AnySymbols quantizer(3, 1);
  Coding coding(5, quantizer);
  const std::vector<std::int32_t> symbols = {0, 1, 0, 2, 0};
  const auto frame = [&](const std::vector<std::uint32_t>& counts) {
    std::vector<std::uint16_t> borders(4);
    count_table::borders(counts, borders);
    return by_hand(kTable, [&](RansWriter& writer) {
      for (std::size_t i = symbols.size(); i-- > 0;) {
        const auto symbol = static_cast<std::size_t>(symbols[i]);
        writer.put(0, {borders[symbol], static_cast<std::uint32_t>(borders[symbol + 1] - borders[symbol])});
      }
      put_table(counts, writer);
    });
  };
  EXPECT_EQ(coding.decode(frame({3, 1, 1})), symbols);
  EXPECT_EQ(coding.decode(frame({2, 1, 1})), symbols);   // 2 and 3 are the same in a table
  EXPECT_EQ(frame({2, 1, 1}), frame({3, 1, 1}));
  for (const std::vector<std::uint32_t>& counts :
       {std::vector<std::uint32_t>{1, 1, 1}, {4, 1, 1}, {3, 2, 1}, {3, 1, 5}, {6, 2, 2}, {0x80000000, 0x80000000, 0xFFFFFFFF}}) {
    EXPECT_EQ(test::refusal([&] { coding.decode(frame(counts)); }), Errc::kMalformed);
  }
  // No symbol at all.
  EXPECT_EQ(test::refusal([&] {
              coding.decode(by_hand(kTable, [](RansWriter& writer) { put_table(std::vector<std::uint32_t>{0, 0, 0}, writer); }));
            }),
            Errc::kMalformed);
}

TEST(RansUnderAttack, AFrequentSymbolMustOccurAndHasNoOtherToken) {
  constexpr std::uint64_t kAlphabet = 1 << 16;
  const AnySymbols quantizer(kAlphabet, 1);
  Coding coding(4, quantizer);
  // Symbols of the token 0 are 0 … 127, with 7 bits as they are.
  const auto frame = [&](std::uint32_t frequent, std::vector<std::uint32_t> tokens, std::uint32_t low) {
    std::vector<std::uint32_t> counts(Tokens(kAlphabet, {.has_frequent = true}).count());
    for (const std::uint32_t token : tokens) ++counts[token];
    std::vector<std::uint16_t> borders(counts.size() + 1);
    count_table::borders(counts, borders);
    return by_hand(kTable | kFrequent, [&](RansWriter& writer) {
      for (std::size_t i = tokens.size(); i-- > 0;) {
        if (tokens[i] != 512) writer.put_bits(0, low, 7);
        writer.put(0, {borders[tokens[i]], static_cast<std::uint32_t>(borders[tokens[i] + 1] - borders[tokens[i]])});
      }
      put_table(counts, writer);
      writer.put_bits(0, frequent >> 15, 1);
      writer.put_bits(0, frequent & 0x7FFF, 15);
    });
  };
  EXPECT_EQ(coding.decode(frame(5, {512, 0, 512, 512}, 9)), (std::vector<std::int32_t>{5, 9, 5, 5}));
  EXPECT_EQ(coding.decode(frame(0xFFFF, {512, 0, 512, 511}, 9)), (std::vector<std::int32_t>{0xFFFF, 9, 0xFFFF, 0xFF89}));
  EXPECT_EQ(test::refusal([&] { coding.decode(frame(5, {512, 0, 512, 512}, 5)); }), Errc::kMalformed);
  EXPECT_EQ(test::refusal([&] { coding.decode(frame(5, {0, 0, 0, 0}, 9)); }), Errc::kMalformed);
}

// Flags that change nothing, or stand for what there is not.
TEST(RansUnderAttack, WaysThatCannotBeAreRefused) {
  const auto refused = [](std::uint64_t alphabet, std::uint32_t contexts, std::size_t n, unsigned way) {
    const AnySymbols quantizer(alphabet, contexts);
    Coding coding(n, quantizer, std::vector<std::uint16_t>(n));
    const auto error = test::error_of([&] { coding.decode(by_hand(way, [](RansWriter&) {})); });
    return error && std::string(error->what()).find("way " + std::to_string(way)) != std::string::npos;
  };
  EXPECT_FALSE(refused(16, 1, 10, kAdaptive));
  EXPECT_FALSE(refused(16, 1, 10, kAdaptive | kSmooth));
  EXPECT_FALSE(refused(16, 2, 10, kAdaptive | kContexts));
  EXPECT_FALSE(refused(16, 1, 257, kAdaptive | kFast));
  EXPECT_FALSE(refused(513, 1, 10, kAdaptive | kClasses));
  EXPECT_FALSE(refused(513, 1, 10, kAdaptive | kFrequent));
  EXPECT_FALSE(refused(16, 1, 1 << 16, kAdaptive | kOneLane));
  for (unsigned flags = 0; flags < 256; flags += 4) {
    EXPECT_TRUE(refused(16, 1, 10, 3 | flags)) << flags;
    EXPECT_TRUE(flags == 0 || refused(16, 1, 10, flags)) << flags;
  }
  EXPECT_TRUE(refused(16, 1, 10, kTable | kSmooth));
  EXPECT_TRUE(refused(16, 1, 1000, kTable | kFast));
  EXPECT_TRUE(refused(3, 1, 10, kAdaptive | kSmooth));
  EXPECT_TRUE(refused(16, 1, 256, kAdaptive | kFast));
  EXPECT_TRUE(refused(512, 1, 10, kAdaptive | kClasses));
  EXPECT_TRUE(refused(512, 1, 10, kTable | kFrequent));
  EXPECT_TRUE(refused(16, 1, 10, kAdaptive | kContexts));
  EXPECT_TRUE(refused(16, 34, 10, kAdaptive | kContexts));   // 544 cells for 10 symbols
  EXPECT_TRUE(refused(16, 1, (1 << 16) - 1, kAdaptive | kOneLane));
  EXPECT_TRUE(refused(512, 1, (1 << 17) + 1, kAdaptive));
  EXPECT_FALSE(refused(512, 1, 1 << 17, kAdaptive));
}

}  // namespace
}  // namespace fewbits
