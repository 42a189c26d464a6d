#include "codecs/tcq.h"

#include <algorithm>
#include <cmath>

#include "kernels/kernels.h"
#include "kernels/trellis.h"

// Levels c_0 < … < c_(2K−1), K = 2^bits, of which the state allows those of its parity: the symbol s stands for level
// 2s + (state mod 2), so that any symbol may follow. s mod 2 says which way the path goes.
namespace fewbits {
namespace {

constexpr ParameterSpec kParameters[] = {
    {.name = "bits", .type = ParameterType::kInteger, .min = 1, .max = 4, .summary = "bits a value"},
    {.name = "states", .type = ParameterType::kChoice, .choices = "8|64|256", .default_value = "64",
     .summary = "states of the code: more err less, and take longer to encode"},
};

constexpr unsigned kMaxBits = 4;
constexpr std::size_t kLevelsOfACode = (2u << kMaxBits) - 2;   // positive ones: 2 + 4 + 8 + 16

constexpr std::int32_t kPositiveLevels[] = {
#include "codecs/tcq.inc"
};
static_assert(std::size(kPositiveLevels) == 3 * kLevelsOfACode);

constexpr double kOne = 65536;        // of the levels' fixed point
constexpr double kFarthest = 1 << 20;  // of a value: 16 standard deviations

unsigned states_of(const Parameters& p) {
  const std::string_view text = p.choice("states");
  return text == "8" ? 8 : text == "64" ? 64 : 256;
}

class Tcq final : public Quantizer {
 public:
  Tcq(const Parameters& parameters, std::size_t values)
      : n_(values), bits_(static_cast<unsigned>(parameters.integer("bits"))),
        code_(trellis_code(states_of(parameters))) {
    const std::size_t half = std::size_t{1} << bits_;
    const std::size_t first = (code_.states == 8 ? 0 : code_.states == 64 ? 1 : 2) * kLevelsOfACode + half - 2;
    for (std::size_t j = 0; j < half; ++j) {
      levels_[half + j] = kPositiveLevels[first + j];
      levels_[half - 1 - j] = -levels_[half + j];
    }
    for (std::size_t j = 0; j < 2 * half; ++j) points_[j] = levels_[j] / kOne;
  }

  // As for `lloyd`: with S = ‖x‖²/⟨x, Q⟩ the error follows from the growth ‖x‖‖Q‖/⟨x, Q⟩. ⟨x, Q⟩ ≥ c‖x‖, c the least
  // magnitude of a level: of the nearest path this is checked, and of the path that has x's signs it is so.
  Traits traits(const InputTraits& input) const override {
    const auto n = static_cast<double>(std::max<std::size_t>(n_, 1));
    const double growth = std::sqrt(n) * points_[size() - 1] / least();
    if (input.own_rotation) return {Unbiased::kOverRotations, std::nullopt, growth};
    return {Unbiased::kNo, growth * growth - 1, growth};
  }

  std::uint64_t alphabet_size() const noexcept override { return std::uint64_t{1} << bits_; }
  std::size_t max_side_bytes() const noexcept override { return n_ == 0 ? 0 : kScaleBytes; }

  std::size_t workspace_bytes() const noexcept override {
    return Workspace::bytes_for<std::int32_t>(n_) + Workspace::bytes_for<std::byte>(trellis_scratch(code_.states, n_));
  }

  void quantize(const StageContext& context, std::span<const float> x, std::span<std::int32_t> symbols,
                ByteWriter& side) const override {
    if (n_ == 0) return;
    const double energy = kernels::sum_of_squares(x);
    if (energy == 0) {
      std::ranges::fill(symbols, 0);
      side.f32(0);
      return;
    }
    Workspace& workspace = *context.workspace;
    const Workspace::Scope scope(workspace);
    const auto places = workspace.take<std::int32_t>(n_);
    const double ones = kOne / std::sqrt(energy / static_cast<double>(n_));
    for (std::size_t i = 0; i < n_; ++i) {
      const double place = std::clamp(static_cast<double>(x[i]) * ones, -kFarthest, kFarthest);
      places[i] = static_cast<std::int32_t>(std::rint(place));
    }
    const auto scratch = workspace.take<std::byte>(trellis_scratch(code_.states, n_));
    trellis_search(code_, places, std::span(levels_).first(size()), scratch, symbols);
    double along = kernels::sum_of_products(x, symbols, points());
    if (along < least() * std::sqrt(energy)) {
      follow_signs(x, symbols);
      along = kernels::sum_of_products(x, symbols, points());
    }
    const auto scale = static_cast<float>(energy / along);
    if (!std::isfinite(scale))
      throw Error(Errc::kBadArgument,
                  "the update is so large that the scale of 'tcq' is beyond float32; scale it down");
    for (std::int32_t& symbol : symbols) symbol = scale == 0 ? 0 : symbol >> 1;
    side.f32(scale);
  }

  void check_side(const StageContext&, ByteReader& side) const override {
    if (n_ != 0) side.scale();
  }

  double check_symbols(const StageContext&, std::span<const std::byte> side,
                       std::span<const std::int32_t> symbols) const override {
    const double scale = read_scale(side);
    if (scale == 0 && std::ranges::any_of(symbols, [](std::int32_t symbol) { return symbol != 0; }))
      throw Error(Errc::kMalformed, "the scale is zero and a symbol is not");
    return scale * points_[size() - 1];
  }

  void accumulate(const StageContext& context, std::span<const std::byte> side, std::span<const std::int32_t> symbols,
                  double weight, std::span<double> sum) const noexcept override {
    const Workspace::Scope scope(*context.workspace);
    const auto indices = context.workspace->take<std::int32_t>(n_);
    walk([&](std::size_t i, std::int32_t odd) {
      indices[i] = 2 * symbols[i] + odd;
      return symbols[i];
    });
    const double scale = weight * read_scale(side);
    double values[kMaxTrellisLevels];
    for (std::size_t j = 0; j < size(); ++j) values[j] = scale * points_[j];
    kernels::accumulate_points(std::span(values).first(size()), indices, sum);
  }

 private:
  static constexpr std::size_t kScaleBytes = 4;
  static constexpr std::size_t kMaxStreams = 32;

  static double read_scale(std::span<const std::byte> side) {
    return side.empty() ? 0.0 : static_cast<double>(ByteReader(side).f32());
  }

  // Calls symbol_of(i, parity of the state before value i) in the order of i.
  template <class SymbolOf>
  void walk(SymbolOf symbol_of) const noexcept {
    std::uint32_t states[kMaxStreams] = {};
    const std::size_t streams = trellis_streams(n_);
    for (std::size_t i = 0; i < n_; ++i) {
      std::uint32_t& state = states[i & (streams - 1)];
      state = code_.next(state, symbol_of(i, static_cast<std::int32_t>(state & 1)));
    }
  }

  // Indices of the least levels of the values' signs that the states allow, but for the largest value, which has the
  // farthest level.
  void follow_signs(std::span<const float> x, std::span<std::int32_t> indices) const noexcept {
    const auto largest = std::ranges::max_element(x, {}, [](float value) { return std::abs(value); });
    const auto half = static_cast<std::int32_t>(size() / 2);
    walk([&](std::size_t i, std::int32_t odd) {
      const bool far = i == static_cast<std::size_t>(largest - x.begin());
      const std::int32_t low = far ? 0 : half - 2;   // of the negative ones, even
      const std::int32_t high = far ? 2 * half - 2 : half;
      indices[i] = (x[i] < 0 ? low : high) + odd;
      return indices[i] >> 1;
    });
  }

  std::size_t size() const noexcept { return std::size_t{2} << bits_; }
  double least() const noexcept { return points_[size() / 2]; }
  std::span<const double> points() const noexcept { return std::span(points_).first(size()); }

  std::size_t n_;
  unsigned bits_;
  TrellisCode code_;
  std::int32_t levels_[kMaxTrellisLevels] = {};
  double points_[kMaxTrellisLevels] = {};
};

}  // namespace

const StageDescriptor kTcq{
    .id = 25,
    .name = "tcq",
    .summary = "trellis-coded quantization at a fixed rate: as `lloyd`, with twice the levels, of which a code "
               "allows half at a time; frames of one size without an entropy coder; behind hadamard:seed=client",
    .source = "Marcellin and Fischer 1990, trellis coded quantization; Ungerboeck 1982 (codes); the scale is EDEN's, "
              "Vargaftik et al. 2022, arXiv 2108.08842",
    .parameters = kParameters,
    .make_quantizer = [](const Parameters& p, const InputShape& input) -> std::unique_ptr<Quantizer> {
      return std::make_unique<Tcq>(p, input.values);
    },
};

}  // namespace fewbits
