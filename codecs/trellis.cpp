#include "codecs/trellis.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <memory>
#include <numeric>
#include <optional>
#include <utility>

#include "kernels/cells.h"
#include "kernels/kernels.h"
#include "kernels/powers.h"
#include "kernels/targets.h"
#include "kernels/trellis.h"

// Subtractive dither (Roberts 1962; Zamir and Feder 1992), alone or over a trellis code (Marcellin and Fischer 1990), with
// entropy-coded points. x̂ = ±(k − u)·step: the error depends on the place of x + u modulo the code's period alone, which
// is uniform whatever x is, so it is independent of x; the random sign makes its mean zero.
namespace fewbits {
namespace {

// What is peculiar to a code.
struct Kind {
  unsigned spacing;     // steps between the points that may follow a given state
  double error;         // variance of the error, in squared steps
  double coarse_noise;  // of a step so coarse that keeping fewer values is better: variance of the error ÷ that of the values
  double ends;          // what the fixed first state and the free last one add to the squared errors of one path

  // A sum of variances of `values` errors, none over `most`, with the ends of the paths. No path errs more than single
  // values, for which every other point is free.
  double with_ends(double sum, double values, double most) const noexcept {
    if (ends == 0) return sum;
    const auto paths = static_cast<double>(trellis_streams(static_cast<std::size_t>(values)));
    return std::min(sum + paths * most * (ends / error), sum * (spacing * spacing / 12.0 / error));
  }
};

// Errors of the trellises are measured: 2^26 uniform places, standard error 3e-5 of them; those of the ends to 2 %.
Kind kind_of(unsigned states) noexcept {
  switch (states) {
    case 1: return {1, 1.0 / 12, 1.00, 0};
    case 8: return {2, 0.25955, 1.20, 0.45};
    case 64: return {2, 0.24988, 1.20, 0.75};
    default: return {2, 0.24539, 1.20, 0.97};
  }
}

constexpr int kLevelsPerOctave = 32;
constexpr int kLevelsPerClass = kLevelsPerOctave / 4;
constexpr int kLevelBias = 1024;          // a level is sent as bias + top class's level − level
constexpr int kMaxLevelCode = 8189;       // the two above say something else
constexpr int kZeroCode = 8191;           // all values are zero
constexpr int kFlatCode = 8190;           // the update does not fit the profile: as with scale=flat, whose settings follow
constexpr int kSpreadBias = 16;           // of the five bits of a common step's spread
constexpr double kFarthest = 0x1p30;      // steps
constexpr double kFinest = 0x1p28;        // the same, where the step is chosen
constexpr double kStateBits = 27;         // of a lane of the coder, about
constexpr std::size_t kMaxSamples = 8192;      // that the encoder looks at to choose its steps
constexpr std::size_t kCoarseStride = 4;       // every so many of them are enough to come near,
constexpr std::size_t kLeastCoarse = 1024;     // where there are that many
constexpr std::size_t kChunk = 512;   // values that are coded at a time
constexpr std::size_t kGroup = 16;    // of them, whose intervals are found together
// Up to that rate the energies of the samples stand for those of all values.
constexpr double kSampledBits = 8;

// Standard deviation of a class that is larger than it says by `more` quarter-octaves, or its square. Limited, so that
// nothing overflows whatever a frame says; no update of float32 comes near.
int limited(int c, int more) noexcept { return std::clamp(c + more, -kMaxClass, kMaxClass); }
double deviation_of(int c, int more) noexcept { return power32(kLevelsPerClass * limited(c, more)); }
double energy_of(int c, int more) noexcept { return power32(2 * kLevelsPerClass * limited(c, more)); }

// How a frame's steps are chosen from the classes.
struct Settings {
  bool zero = false;       // nothing is coded
  bool flat = false;       // all classes are 0 instead of the profile's
  int level = 0;           // 32·log2 of the standard deviation from which on every value is kept, in the scale of classes
  int gain = 0;            // quarter-octaves: how much larger the values are than their classes say; the steps follow it
  int spread = 0;          // quarter-octaves: the same, for the entropy coder
  int shape = 0;
  std::optional<double> step;   // the same for all values, which are all kept
};

struct ClassCode {
  std::uint64_t keep = 0;       // kept where a word is below it; 2^32: always
  double steps = 0;             // of a value of 1
  double point = 0;             // what a step is worth at the decoder, keep probability included
  double error = 0;             // variance of the decoded value's error by quantization, when kept
  std::uint16_t weight = 256;
  CellModel cells;
};

class ClassCodes {
 public:
  ClassCodes() = default;
  ClassCodes(Workspace& workspace, const Kind& kind, int least, int most, const Settings& settings) noexcept
      : least_(least), codes_(workspace.take<ClassCode>(static_cast<std::size_t>(most - least + 1))) {
    const double reference = noise(kind, most, settings);
    for (int c = least; c <= most; ++c) codes_[static_cast<std::size_t>(c - least)] = make(kind, c, settings, reference);
  }

  static std::size_t workspace_bytes(int range) noexcept {
    return Workspace::bytes_for<ClassCode>(static_cast<std::size_t>(range));
  }

  int least() const noexcept { return least_; }
  const ClassCode& operator[](int c) const noexcept { return codes_[static_cast<std::size_t>(c - least_)]; }

  // The cells' models as arrays; false where none of them can be used in lanes.
  bool tables(Workspace& workspace, int shape, targets::CellTables& tables) const noexcept {
    bool any = false;
    const auto slopes = workspace.take<std::int32_t>(codes_.size());
    const auto guides = workspace.take<std::uint32_t>(codes_.size());
    for (std::size_t i = 0; i < codes_.size(); ++i) {
      const CellModel& cells = codes_[i].cells;
      any = any || cells.in_lanes();
      slopes[i] = cells.slope();
      guides[i] = cells.guide();
    }
    tables.cdf = distribution(shape);
    tables.quantiles = quantiles(shape);
    tables.slopes = slopes.data();
    tables.guides = guides.data();
    tables.least = least_;
    return any;
  }
  // Of those, and of the codes' fields as arrays.
  static std::size_t table_bytes(int range) noexcept {
    const auto size = static_cast<std::size_t>(range);
    return 2 * Workspace::bytes_for<std::uint32_t>(size) + 3 * Workspace::bytes_for<double>(size) +
           Workspace::bytes_for<std::uint16_t>(size);
  }

  // Allocation of the error (docs/codecs.md): D(D + σ²) = σ²/μ for values that are all kept; below the level, where D would
  // exceed coarse_noise·σ², values are kept with probability σ/σ_level instead, and D stays at that.
  static double relative_noise(const Kind& kind, int above_level) noexcept {
    if (above_level <= 0) return kind.coarse_noise;
    const double ratio = power32(-2 * above_level);
    const double at_level = kind.coarse_noise * (1 + kind.coarse_noise) * ratio;
    return 2 * at_level / (1 + std::sqrt(1 + 4 * at_level));
  }

  static double keep_probability(int above_level) noexcept {
    if (above_level >= 0) return 1;
    const double exact = power32(std::max(above_level, -32 * kLevelsPerOctave));
    return std::max(1.0, std::floor(exact * 0x1p32)) * 0x1p-32;
  }

  // Of the decoded value, when kept; divided by the probability of that.
  static double noise(const Kind& kind, int c, const Settings& settings) noexcept {
    const int above = settings.step ? 0 : kLevelsPerClass * c - settings.level;
    const double p = settings.step ? 1 : keep_probability(above);
    const double variance = settings.step ? *settings.step * *settings.step * kind.error
                                          : energy_of(c, settings.gain) * relative_noise(kind, above);
    return variance / (p * p);
  }

  static double step_of(const Kind& kind, int c, const Settings& settings) noexcept {
    if (settings.step) return *settings.step;
    return deviation_of(c, settings.gain) * std::sqrt(relative_noise(kind, kLevelsPerClass * c - settings.level) / kind.error);
  }

 private:
  static ClassCode make(const Kind& kind, int c, const Settings& settings, double reference) noexcept {
    ClassCode code;
    const int above = settings.step ? 0 : kLevelsPerClass * c - settings.level;
    const double p = settings.step ? 1 : keep_probability(above);
    const double step = step_of(kind, c, settings);
    const double sigma = deviation_of(c, settings.spread) / step;
    // The cells are as wide as the scalar quantizer's error, the code's error is smaller. Half of the difference is right at
    // coarse steps, and makes no difference at fine ones (measured from 0.1 to 4 bits).
    const double width = (static_cast<double>(kind.spacing * kind.spacing) / 12 - kind.error) / 2;
    code.keep = static_cast<std::uint64_t>(p * 0x1p32);
    code.steps = 1 / step;
    code.point = step / p;
    code.error = noise(kind, c, settings);
    code.weight = static_cast<std::uint16_t>(std::clamp(256 * (code.error / reference) + 0.5, 1.0, 256.0));
    code.cells = CellModel(settings.shape, kind.spacing, std::sqrt(std::max(sigma * sigma - width, 0.01)));
    return code;
  }

  int least_ = 0;
  std::span<ClassCode> codes_;
};

constexpr std::uint64_t zigzag(int v) noexcept { return v < 0 ? static_cast<std::uint64_t>(-2LL * v - 1) : static_cast<std::uint64_t>(2 * v); }
constexpr int unzigzag(std::uint64_t v) noexcept {
  return (v & 1) != 0 ? -static_cast<int>((v + 1) / 2) : static_cast<int>(v / 2);
}

class Dithered final : public Quantizer {
 public:
  Dithered(const Parameters& p, const InputShape& input, unsigned states)
      : n_(input.values), states_(states), kind_(kind_of(states)), code_(states == 1 ? TrellisCode{} : trellis_code(states)),
        correlated_(states == 1 && p.integer("correlated") == 1),
        scale_(make_scale_model(p.choice("scale"), input.values, input.tensors, input.profile)) {
    const bool profiled = profiled_ = p.choice("scale") == "profile";
    if (profiled && input.tensors.empty() && input.values != 0)
      throw Error(Errc::kBadPlan, "scale=profile needs the tensors' own coordinates, which a transform before it has mixed", 0);
    if (p.has("bits")) bits_ = p.number("bits");
    if (p.has("nmse")) nmse_ = p.number("nmse");
    if (p.has("step")) step_ = p.number("step");
    if (profiled && input.profile != nullptr) {
      fitted_ = true;
      common_level_ = input.profile->level;
    }
  }

  // At a step of its own an error is half a step a value at most, or a step on average behind a trellis: the path that always takes
  // the nearest point that may follow is among those that are searched.
  Traits traits(const InputTraits&) const override {
    const std::optional<double> nmse = nmse_ ? std::optional(*nmse_) : std::nullopt;
    if (!step_) return {Unbiased::kAlways, nmse, std::nullopt};
    return {Unbiased::kAlways, nmse, 1.0, (states_ == 1 ? 0.5 : 1) * *step_ * std::sqrt(static_cast<double>(n_))};
  }

  std::uint64_t alphabet_size() const noexcept override { return std::uint64_t{1} << 32; }
  std::size_t max_side_bytes() const noexcept override { return scale_->max_side_bytes() + 8; }
  bool fixed_side() const noexcept override { return false; }
  bool knows_distribution() const noexcept override { return true; }
  std::size_t max_symbol_bits() const noexcept override { return n_ * CellModel::kMaxBits; }

  std::size_t workspace_bytes() const noexcept override {
    return 2 * Workspace::bytes_for<std::int16_t>(n_) + Workspace::bytes_for<std::byte>(scale_->max_side_bytes()) +
           scale_->workspace_bytes() +
           2 * ClassCodes::workspace_bytes(2 * kMaxClass + 1) + ClassCodes::table_bytes(2 * kMaxClass + 1) +
           Workspace::bytes_for<std::uint32_t>(n_) * 2 +
           Workspace::bytes_for<std::uint32_t>(2 * kMaxClass + 1) + Workspace::bytes_for<double>(n_) +
           Workspace::bytes_for<std::int64_t>(n_) + Workspace::bytes_for<std::uint16_t>(n_) +
           (states_ == 1 ? 0 : Workspace::bytes_for<std::byte>(trellis_scratch(states_, n_))) + 4 * kMaxRansLanes +
           Pilot::workspace_bytes(samples()) + 6 * Workspace::bytes_for<double>(2 * kMaxClass + 1) +
           64 * 16;
  }

  bool learns() const noexcept override { return profiled_; }

  // The wish for an update that is normal with the profile's scales.
  std::optional<std::int32_t> common_level(const StageContext& context) const override {
    if (!fitted_ || step_) return std::nullopt;
    Workspace& workspace = *context.workspace;
    const Workspace::Scope scope(workspace);
    ByteReader none({});
    const Classes classes = scale_->classes(workspace, none, workspace.take<std::int16_t>(n_));
    RandomReader random(context.key(false, Purpose::kPilot));
    const Pilot own = pilot(context, classes.of, [&](std::size_t i) {
      double sum = -6;   // of twelve uniform numbers: variance 1
      for (int j = 0; j < 12; ++j) sum += random.next() * 0x1p-32;
      return static_cast<float>(sum * power32(kLevelsPerClass * classes.of[i]));
    });
    Settings settings;
    settings.spread = settings.gain = 0;
    choose_level(workspace, own, of_all(measure(workspace, own.x, {own.classes, classes.range}), own), classes.range,
                 context.bytes_before, 0.5, settings);
    return settings.level;
  }

  void quantize(const StageContext& context, std::span<const float> x, std::span<std::int32_t> symbols,
                ByteWriter& side) const override {
    const Workspace::Scope scope(*context.workspace);
    quantize_and_open(context, x, symbols, side);
  }

  const void* quantize_and_open(const StageContext& context, std::span<const float> x, std::span<std::int32_t> symbols,
                                ByteWriter& side) const override {
    Workspace& workspace = *context.workspace;
    const auto room = workspace.take<std::int16_t>(n_);
    const std::size_t start = side.written().size();
    const double wish = bits_ ? *bits_ * static_cast<double>(n_) / 8 : 0;   // bytes; 0: no rate is wished
    std::size_t scales = 0;   // bytes that they take
    const auto fit = [&](ScaleDetail detail, std::span<std::int16_t> own_room) {
      const Classes classes = scale_->fit(workspace, x, detail, own_room, side);
      scales = side.written().size() - start;
      return classes;
    };
    const auto chosen = [&](const Classes& classes, double least) {
      return Fit{classes, choose(context, x, classes, context.bytes_before + scales, least)};
    };
    const Classes full = fit(ScaleDetail::kFull, room);
    Fit best;
    // Scales that take a good part of the bytes may not be worth it, or leave no room.
    if (const auto bytes = static_cast<double>(scales); bits_ && 16 * bytes > wish) {
      const bool room_left = bytes <= 0.75 * wish;
      if (room_left) best = chosen(full, 0.125);
      const auto written = side.written().subspan(start);
      const auto kept = workspace.take<std::byte>(written.size());
      std::ranges::copy(written, kept.begin());
      side.rewind(start);
      const Fit coarse = chosen(fit(ScaleDetail::kTensors, workspace.take<std::int16_t>(n_)), 0.5);
      if (room_left && best.choice.error <= coarse.choice.error) {
        side.rewind(start);
        side.bytes(kept);
      } else {
        best = coarse;
      }
    } else {
      best = chosen(full, 0.5);
    }
    const Settings& settings = best.choice.settings;
    const Classes classes = settings.flat ? flat_classes(room) : best.classes;
    write(settings, classes.range, side);
    const Opened& opened = open(context, settings, classes);
    search(workspace, opened, x, symbols);
    return &opened;
  }

  std::size_t opened_bytes() const noexcept override {
    return Workspace::bytes_for<Opened>(1) + 2 * Workspace::bytes_for<std::int16_t>(n_) + 2 * Workspace::bytes_for<std::uint32_t>(n_) +
           ClassCodes::workspace_bytes(2 * kMaxClass + 1) + ClassCodes::table_bytes(2 * kMaxClass + 1);
  }

  const void* open(const StageContext& context, std::span<const std::byte> side) const noexcept override {
    Workspace& workspace = *context.workspace;
    const auto room = workspace.take<std::int16_t>(n_);
    ByteReader reader(side);
    Classes classes = scale_->classes(workspace, reader, room);
    Settings settings;
    read_settings(reader, settings);
    if (settings.flat) classes = flat_classes(room);
    finish_level(classes.range, settings);
    return &open(context, settings, classes);
  }

  void check_side(const StageContext& context, ByteReader& side) const override {
    scale_->check(*context.workspace, side);
    Settings settings;
    if (!read_settings(side, settings)) side.malformed("the steps' settings are damaged");
  }

  double check_symbols(const StageContext& context, std::span<const std::byte>,
                       std::span<const std::int32_t> symbols) const override {
    const Opened& opened = opened_in(context);
    std::int32_t points[kChunk];
    double largest[4] = {};   // apart, so that one need not wait for the other
    for (std::size_t first = 0; first < opened.kept.size(); first += kChunk) {
      const std::size_t count = std::min(opened.kept.size() - first, kChunk);
      opened.gather(symbols, first, std::span(points, count));
      for (std::size_t i = 0; i < count; ++i) {
        const double reach = (std::abs(static_cast<double>(points[i])) + 4) * opened.point(first + i);
        largest[i % 4] = reach > largest[i % 4] ? reach : largest[i % 4];
      }
    }
    const double most = std::ranges::max(largest);
    if (!std::isfinite(most)) throw Error(Errc::kMalformed, "a value is too large for float64");
    return most;
  }

  void write_symbols(const StageContext& context, std::span<const std::byte>, std::span<const std::int32_t> symbols,
                     RansWriter& rans) const override {
    const Opened& opened = opened_in(context);
    const auto kept = opened.kept;
    const unsigned lanes = lanes_for(kept.size());
    rans.begin(lanes);
    std::int32_t points[kChunk];
    std::uint32_t starts[kChunk];
    std::uint32_t frequencies[kChunk];
    for (std::size_t end = kept.size(); end != 0;) {
      const std::size_t first = (end - 1) / kChunk * kChunk;
      std::size_t left = end - first;
      opened.gather(symbols, first, std::span(points, left));
      while (left != 0) {
        if (left % kGroup == 0 && opened.in_lanes) {
          const std::size_t after = left;
          left = targets::chosen().cell_intervals(opened.tables, opened.classes_from(first), opened.words.data() + first, points,
                                                  after, starts, frequencies);
          rans.put_intervals(first + left, {starts + left, after - left}, {frequencies + left, after - left});
        }
        // One by one to the next group: those at the end, and a group with a point that has no interval of its own.
        for (const std::size_t group = left == 0 ? 0 : (left - 1) / kGroup * kGroup; left != group; --left) {
          const std::size_t j = first + left - 1;
          const std::int64_t k = points[left - 1];
          const std::int64_t offset = dither(opened.words[j]) - parity(k) * kOneStep;
          opened.code(j).cells.write(rans, static_cast<unsigned>(j % lanes), offset, point(k));
        }
      }
      end = first;
    }
  }

  void read_symbols(const StageContext& context, std::span<const std::byte>, RansReader& rans,
                    std::span<std::int32_t> symbols) const override {
    const Opened& opened = opened_in(context);
    if (!opened.consistent) throw Error(Errc::kMalformed, "the steps' settings do not fit the scales of the values");
    const Workspace::Scope scope(*context.workspace);
    const auto kept = opened.kept;
    const unsigned lanes = lanes_for(kept.size());
    const std::size_t streams = states_ == 1 ? 1 : trellis_streams(kept.size());
    std::uint32_t states[kMaxTrellisStreams] = {};
    rans.begin(lanes);
    std::int32_t points[kChunk];
    for (std::size_t first = 0; first < kept.size(); first += kChunk) {
      const std::size_t count = std::min(kept.size() - first, kChunk);
      for (std::size_t read = 0; read < count;) {
        if (opened.in_lanes)
          read = rans.take_cells(opened.tables, opened.classes_between(first, count), opened.words.subspan(first, count), read,
                                 states, {points, count});
        // One by one to the next round: a round with a point that has no interval of its own, and what no rounds are made of.
        for (const std::size_t round = std::min(read + lanes, count); read != round; ++read) {
          const std::size_t j = first + read;
          if (!rans.good()) return;
          std::uint32_t& state = states[j % streams];
          const std::int64_t odd = states_ == 1 ? 0 : state & 1;
          const std::int64_t offset = dither(opened.words[j]) - odd * kOneStep;
          const std::int64_t m = opened.code(j).cells.read(rans, static_cast<unsigned>(j % lanes), offset);
          const std::int64_t k = states_ == 1 ? m : 2 * m + odd;
          if (std::abs(k) > static_cast<std::int64_t>(kFarthest) + 4) {
            rans.fail();
            return;
          }
          points[read] = static_cast<std::int32_t>(k);
          if (states_ != 1) state = code_.next(state, m);
        }
      }
      opened.scatter(std::span<const std::int32_t>(points, count), first, symbols);
    }
  }

  void accumulate(const StageContext& context, std::span<const std::byte>, std::span<const std::int32_t> symbols,
                  double weight, std::span<double> sum) const noexcept override {
    const Opened& opened = opened_in(context);
    const auto kept = opened.kept;
    const bool integers = sums_integers();
    std::int32_t points[kChunk];
    double values[kChunk];
    for (std::size_t first = 0; first < kept.size(); first += kChunk) {
      const std::size_t count = std::min(kept.size() - first, kChunk);
      opened.gather(symbols, first, std::span(points, count));
      if (!opened.all) std::fill_n(values, count, 0.0);
      double* const own = opened.all ? sum.data() + first : values;
      static constexpr double kOne = 1;
      std::size_t done = targets::chosen().dither_add(
          integers ? &kOne : opened.factors, integers ? nullptr : opened.classes_from(first), opened.codes.least(), dither_shift(),
          opened.words.data() + first, points, count, weight, own);
      for (; done != count; ++done) {
        const std::size_t j = first + done;
        own[done] += weight * (integers ? units(opened.words[j], points[done]) : value(opened, j, points[done]));
      }
      if (!opened.all)
        for (std::size_t i = 0; i < count; ++i) sum[kept[first + i]] += values[i];
    }
  }

  bool sums_integers() const noexcept override { return step_ || common_level_; }

  void scale_sums(const StageContext& context, std::span<double> sum) const noexcept override {
    Workspace& workspace = *context.workspace;
    const Workspace::Scope scope(workspace);
    ByteReader none({});
    const Classes classes = scale_->classes(workspace, none, workspace.take<std::int16_t>(n_));
    Settings settings;
    settings.step = step_;
    settings.level = common_level_.value_or(0);
    const auto [least, most] = classes.range;
    if (most < least) return;
    const ClassCodes codes(workspace, kind_, least, most, settings);
    const auto factors = workspace.take<double>(static_cast<std::size_t>(most - least + 1));
    for (int c = least; c <= most; ++c) factors[static_cast<std::size_t>(c - least)] = 0x1p-24 * codes[c].point;
    for (std::size_t i = 0; i < n_; ++i)
      if (classes.of[i] != kZeroClass) sum[i] *= factors[static_cast<std::size_t>(classes.of[i] - least)];
  }

  const void* open_common(const StageContext& context) const noexcept override {
    Workspace& workspace = *context.workspace;
    ByteReader none({});
    Settings settings;
    settings.step = step_;
    settings.level = common_level_.value_or(0);
    return &open(context, settings, scale_->classes(workspace, none, workspace.take<std::int16_t>(n_)));
  }

  void quantize_common(const StageContext& context, std::span<const float> x, std::span<std::int32_t> symbols) const override {
    search(*context.workspace, opened_in(context), x, symbols);
  }

  SparseEnergies energies(const StageContext& context, std::span<const std::int32_t> symbols,
                          double weight) const noexcept override {
    const Opened& opened = opened_in(context);
    const auto& kept = opened.kept;
    Workspace& workspace = *context.workspace;
    const auto energies = workspace.take<double>(kept.size());
    const auto share = [&](std::size_t j) { return weight * static_cast<double>(opened.code(j).keep) * 0x1p-32; };
    for (std::size_t j = 0; j < kept.size(); ++j) {
      const double y = value(opened, j, symbols[kept[j]]);
      energies[j] = share(j) * (y * y);
    }
    if (states_ == 1) {
      for (std::size_t j = 0; j < kept.size(); ++j) energies[j] += share(j) * -opened.code(j).error;
      return {kept, energies};
    }
    // A value's error depends on the weights of its neighbours (0.19 squared steps beside others of half the weight, which
    // have 0.33) and on the ends of its path. Other uniform places, searched with the same weights, have errors of just
    // the same distribution.
    const Workspace::Scope scope(workspace);
    const auto words = workspace.take<std::uint32_t>(kept.size());
    RandomStream(context.key(true, Purpose::kDither)).fill(n_, words);   // the frame has no words from n on
    const auto places = workspace.take<std::int64_t>(kept.size());
    const auto weights = workspace.take<std::uint16_t>(kept.size());
    const auto points = workspace.take<std::int32_t>(kept.size());
    for (std::size_t j = 0; j < kept.size(); ++j) {
      places[j] = dither(words[j]);
      weights[j] = opened.code(j).weight;
    }
    trellis_search(code_, places, weights, workspace.take<std::byte>(trellis_scratch(states_, kept.size())), points);
    for (std::size_t j = 0; j < kept.size(); ++j) {
      const double steps = static_cast<double>(places[j] - points[j] * kOneStep) * 0x1p-24;
      const double error = steps * opened.code(j).point;
      energies[j] += share(j) * -(error * error);
    }
    return {kept, energies};
  }

 private:
  // What is known of a frame from its side values: which values were kept, their classes, with what dither.
  struct Opened {
    std::span<const std::uint32_t> kept;
    std::span<const std::int16_t> classes;   // of those
    std::span<const std::uint32_t> words;
    ClassCodes codes;
    bool consistent = true;            // nothing is coded only where there is nothing
    const double* steps = nullptr;     // the codes' fields, class by class
    const double* points = nullptr;
    const double* factors = nullptr;   // points for values in 2^-24 steps
    const std::uint16_t* weights = nullptr;
    targets::CellTables tables;        // of the codes' cells
    bool in_lanes = false;             // whether the tables serve any of them
    bool one_class = false;
    bool all = false;                  // every value is kept

    const ClassCode& code(std::size_t j) const noexcept { return codes[classes[j]]; }
    double point(std::size_t j) const noexcept { return points[classes[j] - codes.least()]; }
    // Of kept values first, first + 1, …: from where they are among all, and back.
    template <class T, class U>
    void gather(std::span<const T> from, std::size_t first, std::span<U> to) const noexcept {
      if (all) return std::ranges::copy(from.subspan(first, to.size()), to.begin()), void();
      for (std::size_t i = 0; i < to.size(); ++i) to[i] = from[kept[first + i]];
    }
    template <class T, class U>
    void scatter(std::span<const T> from, std::size_t first, std::span<U> to) const noexcept {
      if (all) return std::ranges::copy(from, to.subspan(first).begin()), void();
      for (std::size_t i = 0; i < from.size(); ++i) to[kept[first + i]] = from[i];
    }
    std::span<const std::int16_t> classes_between(std::size_t first, std::size_t count) const noexcept {
      return one_class ? std::span<const std::int16_t>{} : classes.subspan(first, count);
    }
    const std::int16_t* classes_from(std::size_t first) const noexcept { return one_class ? nullptr : classes.data() + first; }
  };

  static const Opened& opened_in(const StageContext& context) noexcept { return *static_cast<const Opened*>(context.opened); }

  // Values looked at to choose steps, and the dither that they are tried with, which is not the frame's own.
  struct Pilot {
    std::span<float> x;            // magnitudes
    std::span<std::int16_t> classes;
    std::span<float> noise;        // of the quantizer, in steps
    double scale = 1;              // values that one stands for

    // By class, each in its order.
    void sort(Workspace& workspace) noexcept {
      if (x.empty()) return;
      const auto [least, most] = std::ranges::minmax(classes);
      if (least == most) return;
      const Workspace::Scope scope(workspace);
      const Pilot before{workspace.take<float>(x.size()), workspace.take<std::int16_t>(x.size()), workspace.take<float>(x.size())};
      std::ranges::copy(x, before.x.begin());
      std::ranges::copy(classes, before.classes.begin());
      std::ranges::copy(noise, before.noise.begin());
      const auto next = workspace.take<std::uint32_t>(static_cast<std::size_t>(most - least + 1));   // the next place of each class
      std::ranges::fill(next, 0u);
      for (const std::int16_t c : classes) ++next[static_cast<std::size_t>(c - least)];
      std::uint32_t sum = 0;
      for (std::uint32_t& of : next) sum += std::exchange(of, sum);
      for (std::size_t j = 0; j < before.x.size(); ++j) {
        const std::size_t at = next[static_cast<std::size_t>(before.classes[j] - least)]++;
        x[at] = before.x[j];
        classes[at] = before.classes[j];
        noise[at] = before.noise[j];
      }
    }

    // Every few of them, spread like all.
    Pilot coarse(Workspace& workspace) const noexcept {
      if (x.size() < kLeastCoarse) return *this;
      const std::size_t count = x.size() / kCoarseStride;
      Pilot few{workspace.take<float>(count), workspace.take<std::int16_t>(count), workspace.take<float>(count),
                scale * static_cast<double>(x.size()) / static_cast<double>(count)};
      for (std::size_t j = 0; j < count; ++j) {
        few.x[j] = x[kCoarseStride * j];
        few.classes[j] = classes[kCoarseStride * j];
        few.noise[j] = noise[kCoarseStride * j];
      }
      return few;
    }

    static std::size_t workspace_bytes(std::size_t count) noexcept {
      return 2 * (Workspace::bytes_for<float>(count) + Workspace::bytes_for<std::int16_t>(count) +
                  Workspace::bytes_for<float>(count)) + 2 * Workspace::bytes_for<std::uint32_t>(count + 1);
    }
  };

  static unsigned lanes_for(std::size_t kept) noexcept {
    return static_cast<unsigned>(std::clamp<std::size_t>(std::bit_floor(kept >> 13), 1, kMaxRansLanes));
  }

  // The top bits of a word are the dither, uniform over the code's period; its lowest bit is the sign.
  unsigned dither_shift() const noexcept { return states_ == 1 ? 8 : 6; }
  std::int64_t dither(std::uint32_t word) const noexcept { return word >> dither_shift(); }
  static double sign(std::uint32_t word) noexcept { return (word & 1) != 0 ? -1 : 1; }
  std::int64_t parity(std::int64_t k) const noexcept { return states_ == 1 ? 0 : k & 1; }
  std::int64_t point(std::int64_t k) const noexcept { return states_ == 1 ? k : k >> 1; }

  // What a symbol stands for, in 2^-24 steps: an integer.
  double units(std::uint32_t word, std::int32_t k) const noexcept {
    return sign(word) * static_cast<double>(static_cast<std::int64_t>(k) * kOneStep - dither(word));
  }

  double value(const Opened& opened, std::size_t j, std::int32_t k) const noexcept {
    return units(opened.words[j], k) * 0x1p-24 * opened.code(j).point;
  }

  // ---- side values ----

  void write(const Settings& settings, const ClassRange& range, ByteWriter& side) const {
    const auto pair = [&](int shape, int code) {
      side.u16(static_cast<std::uint16_t>(static_cast<unsigned>(shape) << 13 | static_cast<unsigned>(code)));
    };
    if (step_ || (common_level_ && !settings.flat)) {
      const int five = step_ ? (settings.zero ? 31 : 0) : settings.zero ? 31 : settings.spread + kSpreadBias;
      side.u8(static_cast<std::uint8_t>((settings.zero ? 7 : settings.shape) << 5 | five));
      if (step_ && !settings.zero) side.varint(zigzag(settings.spread));
      return;
    }
    if (settings.zero) return pair(7, kZeroCode);
    if (settings.flat) pair(7, kFlatCode);
    pair(settings.shape, kLevelBias + kLevelsPerClass * range.most - settings.level);
    side.varint(zigzag(settings.spread));
  }

  // The level is still relative to the top class. False for what no writer makes.
  bool read_settings(ByteReader& side, Settings& settings) const {
    if (step_ || common_level_) {
      const unsigned both = side.u8();
      settings.shape = static_cast<int>(both >> 5);
      const int five = static_cast<int>(both & 31);
      if (settings.shape == 7) return settings.zero = five == 31;
      if (step_) {
        settings.step = step_;
        const std::uint64_t spread = side.varint();
        settings.spread = unzigzag(std::min<std::uint64_t>(spread, 1 << 16));
        return five == 0 && std::abs(settings.spread) <= kMaxClass;
      }
      settings.spread = five - kSpreadBias;
      return true;
    }
    const auto pair = [&] {
      const unsigned both = side.u16();
      settings.shape = static_cast<int>(both >> 13);
      settings.level = static_cast<int>(both & 8191);
    };
    pair();
    if (settings.shape == 7) {
      if (settings.level == kZeroCode) return settings.zero = true;
      if (settings.level != kFlatCode || !fitted_) return false;
      settings.flat = true;
      pair();
    }
    const std::uint64_t spread = side.varint();
    settings.spread = settings.gain = unzigzag(std::min<std::uint64_t>(spread, 1 << 16));
    return settings.shape < kShapes && settings.level <= kMaxLevelCode && std::abs(settings.spread) <= kMaxClass;
  }

  void finish_level(const ClassRange& range, Settings& settings) const noexcept {
    if (common_level_ && !settings.flat)
      settings.level = *common_level_;
    else
      settings.level = kLevelBias + kLevelsPerClass * range.most - settings.level;
  }

  static Classes flat_classes(std::span<std::int16_t> room) noexcept {
    std::ranges::fill(room, std::int16_t{0});
    return {room, {0, 0}, true};
  }

  const Opened& open(const StageContext& context, const Settings& settings, const Classes& classes) const noexcept {
    Workspace& workspace = *context.workspace;
    Opened& opened = *std::construct_at(workspace.take<Opened>(1).data());
    const ClassRange& range = classes.range;
    const bool empty = range.most < range.least;
    opened.consistent = settings.zero ? empty || scale_->max_side_bytes() == 0 : !empty;
    if (settings.zero || empty) return opened;
    opened.codes = ClassCodes(workspace, kind_, range.least, range.most, settings);
    opened.one_class = range.least == range.most;
    opened.in_lanes = opened.codes.tables(workspace, settings.shape, opened.tables);
    const auto size = static_cast<std::size_t>(range.most - range.least + 1);
    const auto steps = workspace.take<double>(size);
    const auto points = workspace.take<double>(size);
    const auto factors = workspace.take<double>(size);
    const auto weights = workspace.take<std::uint16_t>(size);
    for (std::size_t at = 0; at < size; ++at) {
      const ClassCode& code = opened.codes[range.least + static_cast<int>(at)];
      steps[at] = code.steps;
      points[at] = code.point;
      factors[at] = 0x1p-24 * code.point;
      weights[at] = code.weight;
    }
    opened.steps = steps.data();
    opened.points = points.data();
    opened.factors = factors.data();
    opened.weights = weights.data();
    opened.tables.spacing_bits = kStepBits + (states_ == 1 ? 0 : 1);
    opened.tables.word_shift = dither_shift();
    opened.tables.code = code_;
    draw(context, classes, opened);
    return opened;
  }

  // Which values are kept, and the word of dither of each.
  void draw(const StageContext& context, const Classes& all, Opened& opened) const noexcept {
    const std::span<const std::int16_t> classes = all.of;
    const ClassRange& range = all.range;
    Workspace& workspace = *context.workspace;
    const auto kept = workspace.take<std::uint32_t>(n_);
    const auto kept_classes = workspace.take<std::int16_t>(n_);
    const auto words = workspace.take<std::uint32_t>(n_);
    std::size_t count = 0;
    constexpr std::size_t kBlock = RandomStream::kBlockWords;
    std::uint32_t chances[kBlock];
    opened.all = all.all && opened.codes[range.least].keep >> 32 != 0;
    if (opened.all) {
      std::iota(kept.begin(), kept.end(), 0u);
      count = n_;
    } else if (opened.codes[range.least].keep >> 32 != 0) {
      for (std::size_t i = 0; i < n_; ++i) {
        kept[count] = static_cast<std::uint32_t>(i);
        count += classes[i] != kZeroClass ? 1 : 0;
      }
    } else {
      const Workspace::Scope scope(workspace);
      const auto limits = workspace.take<std::uint32_t>(static_cast<std::size_t>(range.most - range.least + 1));
      for (int c = range.least; c <= range.most; ++c)
        limits[static_cast<std::size_t>(c - range.least)] = static_cast<std::uint32_t>(opened.codes[c].keep - 1);
      const RandomStream keep(context.key(true, Purpose::kKeep));
      for (std::size_t start = 0; start < n_; start += kBlock) {
        const std::size_t size = std::min(n_ - start, kBlock);
        keep.fill(start, {chances, size});
        count += targets::chosen().keep(chances, classes.data() + start, limits.data(), range.least, limits.back(),
                                        size, static_cast<std::uint32_t>(start), kept.data() + count);
      }
    }
    opened.kept = kept.first(count);
    if (opened.all) {
      opened.classes = classes;
    } else {
      for (std::size_t j = 0; j < count; ++j) kept_classes[j] = classes[kept[j]];
      opened.classes = kept_classes.first(count);
    }
    opened.words = words.first(count);
    const RandomStream stream(context.key(!correlated_, Purpose::kDither));
    if (!correlated_) {
      stream.fill(0, words.first(count));
      return;
    }
    // The clients of a cohort divide the period between them: place j of n takes offset + j/n, the offset and the sign are
    // shared (Suresh et al. 2022, arXiv 2203.04925).
    const auto turn = static_cast<std::uint32_t>((static_cast<std::uint64_t>(context.keys.cohort.index) << 32) / context.keys.cohort.size);
    std::size_t end = 0;
    for (std::size_t j = 0; j < count; ++j) {
      if (kept[j] >= end) {
        end = (kept[j] / kBlock + 1) * kBlock;
        stream.fill(end - kBlock, chances);
      }
      const std::uint32_t word = chances[kept[j] % kBlock];
      words[j] = (((word & ~1u) + turn) & ~1u) | (word & 1u);
    }
  }

  // ---- encoding ----

  void search(Workspace& workspace, const Opened& opened, std::span<const float> x, std::span<std::int32_t> symbols) const {
    const Workspace::Scope scope(workspace);
    const auto kept = opened.kept;
    const auto places = workspace.take<std::int64_t>(kept.size());
    const auto weights = workspace.take<std::uint16_t>(kept.size());
    float values[kChunk];
    for (std::size_t first = 0; first < kept.size(); first += kChunk) {
      const std::size_t count = std::min(kept.size() - first, kChunk);
      opened.gather(x, first, std::span(values, count));
      for (std::size_t done = 0; done < count;) {
        const std::size_t at = first + done;
        done += targets::chosen().dither_places(opened.steps, opened.classes_from(at), opened.codes.least(), dither_shift(),
                                                opened.words.data() + at, values + done, count - done, places.data() + at);
        // One by one to the next group: one with a value that is very many steps, and the last ones.
        for (const std::size_t group = std::min(done + kGroup, count); done != group; ++done)
          places[first + done] = place(opened, first + done, x[kept[first + done]]);
      }
    }
    if (opened.one_class) {
      std::ranges::fill(weights, opened.codes[opened.codes.least()].weight);
    } else {
      for (std::size_t j = 0; j < kept.size(); ++j) weights[j] = opened.weights[opened.classes[j] - opened.codes.least()];
    }
    const auto points = opened.all ? symbols : workspace.take<std::int32_t>(kept.size());
    if (states_ == 1) {
      for (std::size_t j = 0; j < kept.size(); ++j)
        points[j] = static_cast<std::int32_t>((places[j] + kOneStep / 2) >> kStepBits);
    } else {
      const std::size_t bytes = trellis_scratch(states_, kept.size());
      trellis_search(code_, places, weights, workspace.take<std::byte>(bytes), points);
    }
    if (!opened.all) opened.scatter(std::span<const std::int32_t>(points), 0, symbols);
  }

  std::int64_t place(const Opened& opened, std::size_t j, float x) const {
    const double in_steps = sign(opened.words[j]) * static_cast<double>(x) * opened.code(j).steps;
    if (!(std::abs(in_steps) < kFarthest))
      throw Error(Errc::kBadArgument, "value " + std::to_string(opened.kept[j]) + " is " + std::to_string(x) + ", over 2^30 steps of " +
                                          std::to_string(1 / opened.code(j).steps) + "; choose a larger step or another scale model");
    return std::llrint(in_steps * 0x1p24) + dither(opened.words[j]);
  }

  // ---- choosing steps ----

  // Energies by class: all that the error depends on; and the largest magnitudes.
  struct Energies {
    std::span<double> energy;
    std::span<double> count;
    std::span<double> largest;
    double total = 0;
    double relative = 0;   // mean of x² ÷ what the class says
  };

  Energies measure(Workspace& workspace, std::span<const float> x, const Classes& all) const noexcept {
    const std::span<const std::int16_t> classes = all.of;
    const ClassRange& range = all.range;
    Energies e = no_energies(workspace, range);
    for (std::size_t i = 0; i < x.size(); ++i) {
      if (classes[i] == kZeroClass) continue;
      const auto at = static_cast<std::size_t>(classes[i] - range.least);
      e.energy[at] += static_cast<double>(x[i]) * static_cast<double>(x[i]);
      e.count[at] += 1;
      e.largest[at] = std::max(e.largest[at], std::abs(static_cast<double>(x[i])));
    }
    sum_up(e, range);
    return e;
  }

  // Of the samples, as far as they are enough.
  Energies estimate(Workspace& workspace, std::span<const float> x, const Classes& classes, const Pilot& pilot) const noexcept {
    const bool compares = fitted_ && !common_level_;   // a profile with none: tails that samples miss would decide
    if (nmse_ || compares || (bits_ && *bits_ > kSampledBits) || pilot.x.size() == x.size())
      return measure(workspace, x, classes);
    Energies e = of_all(measure(workspace, pilot.x, {pilot.classes, classes.range}), pilot);
    const kernels::Range all = kernels::min_max(x);
    const double largest = std::max(-static_cast<double>(all.min), static_cast<double>(all.max));
    if (e.total == 0 && largest != 0) return measure(workspace, x, classes);
    std::ranges::fill(e.largest, largest);
    return e;
  }

  // Energies of samples, for the values that they stand for.
  static Energies of_all(Energies e, const Pilot& pilot) noexcept {
    for (double& energy : e.energy) energy *= pilot.scale;
    for (double& count : e.count) count *= pilot.scale;
    e.total *= pilot.scale;
    return e;
  }

  static Energies no_energies(Workspace& workspace, const ClassRange& range) noexcept {
    const auto size = static_cast<std::size_t>(range.most - range.least + 1);
    Energies e{workspace.take<double>(size), workspace.take<double>(size), workspace.take<double>(size)};
    for (const auto& sums : {e.energy, e.count, e.largest}) std::ranges::fill(sums, 0.0);
    return e;
  }

  static void sum_up(Energies& e, const ClassRange& range) noexcept {
    double count = 0;
    for (std::size_t at = 0; at < e.energy.size(); ++at) {
      e.total += e.energy[at];
      e.relative += e.energy[at] * power32(-2 * kLevelsPerClass * (range.least + static_cast<int>(at)));
      count += e.count[at];
    }
    if (count > 0) e.relative /= count;
  }

  double error_of(const Energies& e, const ClassRange& range, const Settings& settings) const noexcept {
    double quantized = 0;
    double dropped = 0;
    double kept = 0;
    for (int c = range.least; c <= range.most; ++c) {
      const auto at = static_cast<std::size_t>(c - range.least);
      if (e.count[at] == 0) continue;
      const double p = settings.step ? 1 : ClassCodes::keep_probability(kLevelsPerClass * c - settings.level);
      kept += e.count[at] * p;
      quantized += e.count[at] * p * ClassCodes::noise(kind_, c, settings);
      dropped += (1 / p - 1) * e.energy[at];
    }
    return kind_.with_ends(quantized, kept, ClassCodes::noise(kind_, range.most, settings)) + dropped;
  }

  // At a common step samples only choose the coder's shape and spread, for which few serve a small frame as well.
  std::size_t samples() const noexcept {
    if (n_ < 64) return n_ == 0 ? 0 : (63 / n_ + 1) * n_;
    if (n_ <= kMaxSamples || !common_level_ || !bits_) return std::min(n_, kMaxSamples);
    return static_cast<std::size_t>(std::clamp(*bits_ * static_cast<double>(n_) / 2, 1024.0, 1.0 * kMaxSamples));
  }

  // value_at(i): value i.
  template <class ValueAt>
  Pilot pilot(const StageContext& context, std::span<const std::int16_t> classes, ValueAt value_at) const noexcept {
    Workspace& workspace = *context.workspace;
    const std::size_t most = samples();
    Pilot pilot{workspace.take<float>(most), workspace.take<std::int16_t>(most), workspace.take<float>(most)};
    const auto words = workspace.take<std::uint32_t>(most + 1);
    RandomStream(context.key(true, Purpose::kPilot)).fill(0, words);
    std::size_t count = 0;
    const double reach = std::sqrt(12 * kind_.error);   // of a box with the code's error, in steps
    for (std::size_t j = 0; j < most; ++j) {
      // One of each n/most values; all, or all several times over, where they are few.
      const std::size_t i = n_ <= most ? j % n_ : static_cast<std::size_t>((static_cast<unsigned __int128>(j) << 32 | words[j]) * n_ / most >> 32);
      if (classes[i] == kZeroClass) continue;
      pilot.x[count] = std::abs(value_at(i));
      pilot.classes[count] = classes[i];
      // Spread evenly over its range, in steps of the golden ratio.
      const std::uint32_t word = words[most] + static_cast<std::uint32_t>(j) * static_cast<std::uint32_t>(kGoldenRatio >> 32);
      pilot.noise[count] = static_cast<float>((static_cast<double>(word) - 0x1p31) * (reach * 0x1p-32));
      ++count;
    }
    pilot.x = pilot.x.first(count);
    pilot.classes = pilot.classes.first(count);
    pilot.noise = pilot.noise.first(count);
    pilot.sort(workspace);
    pilot.scale = most == 0 ? 1 : static_cast<double>(n_) / static_cast<double>(most);
    return pilot;
  }

  // Expected bits of the symbols, as far as the pilot tells.
  double bits_of(Workspace& workspace, const Pilot& pilot, const ClassRange& range, const Settings& settings) const noexcept {
    const Workspace::Scope scope(workspace);
    const ClassCodes codes(workspace, kind_, range.least, range.most, settings);
    double sum = 0;
    double kept = 0;
    const auto scratch = workspace.take<std::uint32_t>(pilot.x.size());
    for (std::size_t first = 0; first < pilot.x.size();) {
      std::size_t end = first + 1;
      while (end < pilot.x.size() && pilot.classes[end] == pilot.classes[first]) ++end;
      const std::size_t count = end - first;
      const ClassCode& code = codes[pilot.classes[first]];
      const double p = static_cast<double>(code.keep) * 0x1p-32;
      sum += p * code.cells.lengths(code.steps, pilot.x.subspan(first, count), pilot.noise.subspan(first, count), scratch);
      kept += p * static_cast<double>(count);
      first = end;
    }
    return pilot.scale * sum + kStateBits * lanes_for(static_cast<std::size_t>(pilot.scale * kept));
  }

  // The greatest level (the coarsest steps) for which `fits` holds, as it does for low levels; `low` where it never does.
  // Quick where that is near `guess`.
  template <class Fits>
  static int highest_level(int low, int high, int guess, Fits fits) noexcept {
    guess = std::clamp(guess, low, high);
    if (fits(guess)) {
      low = guess;
      for (int stride = 2; low < high; stride *= 4) {
        const int next = std::min(high, low + stride);
        if (!fits(next)) {
          high = next - 1;
          break;
        }
        low = next;
      }
    } else {
      high = std::max(low, guess - 1);
      for (int stride = 2; low < high; stride *= 4) {
        const int next = std::max(low, high - stride);
        if (fits(next)) {
          low = next;
          break;
        }
        high = std::max(low, next - 1);
      }
    }
    while (low < high) {
      const int middle = low + (high - low + 1) / 2;
      if (fits(middle)) low = middle; else high = middle - 1;
    }
    return low;
  }

  struct Choice {
    Settings settings;
    double error = 0;   // variance of all values' errors, where a rate or an error was wished
  };

  // The classes that a scale model has given, and what they are good for.
  struct Fit {
    Classes classes;
    Choice choice;
  };

  // `least`: the share of a wished rate that the symbols have at least, whatever the rest of the frame takes.
  Choice choose(const StageContext& context, std::span<const float> x, const Classes& classes, std::size_t bytes_before,
                double least) const {
    Workspace& workspace = *context.workspace;
    const Workspace::Scope scope(workspace);
    const ClassRange& range = classes.range;
    Settings settings;
    if (range.most < range.least) return settings.zero = true, Choice{settings};
    const Pilot own = pilot(context, classes.of, [&](std::size_t i) { return x[i]; });
    const Energies energies = estimate(workspace, x, classes, own);
    if (energies.total == 0) return settings.zero = true, Choice{settings};
    settings.spread = settings.gain = std::clamp(nearest_log2(energies.relative, 2), -kMaxClass, kMaxClass);
    if (step_) {
      settings.step = step_;
      settings.gain = 0;
      return fit_coder(workspace, own, range, settings, -kMaxClass, kMaxClass), Choice{settings};
    }
    if (common_level_) {
      settings.level = *common_level_;
      settings.gain = 0;
      return fit_coder(workspace, own, range, settings, -kSpreadBias, 31 - kSpreadBias), Choice{settings};
    }
    choose_level(workspace, own, energies, range, bytes_before, least, settings);
    const double error = error_of(energies, range, settings);
    if (!fitted_) return {settings, error};

    // Does the profile serve this update at all? By what is not wished: the error of a rate, the bits of an error.
    const double with_profile = nmse_ ? bits_of(workspace, own, range, settings) : error;
    Settings flat;
    flat.flat = true;
    const ClassRange none{0, 0};
    double total[1] = {energies.total};
    double count[1] = {static_cast<double>(n_)};
    double largest[1] = {std::ranges::max(energies.largest)};
    const Energies joined{total, count, largest, energies.total, energies.total / static_cast<double>(n_)};
    flat.spread = flat.gain = std::clamp(nearest_log2(joined.relative, 2), -kMaxClass, kMaxClass);
    Pilot same = own;
    std::ranges::fill(same.classes, std::int16_t{0});
    choose_level(workspace, same, joined, none, bytes_before + 2, least, flat);
    const double without = nmse_ ? bits_of(workspace, same, none, flat) + 16 : error_of(joined, none, flat);
    return without < with_profile ? Choice{flat, error_of(joined, none, flat)} : Choice{settings, error};
  }

  bool too_fine(const Energies& e, const ClassRange& range, const Settings& settings) const noexcept {
    for (int c = range.least; c <= range.most; ++c)
      if (e.largest[static_cast<std::size_t>(c - range.least)] > kFinest * ClassCodes::step_of(kind_, c, settings)) return true;
    return false;
  }

  void choose_level(Workspace& workspace, const Pilot& own, const Energies& energies, const ClassRange& range,
                    std::size_t bytes_before, double least, Settings& settings) const noexcept {
    const int top = kLevelsPerClass * range.most;
    const int high = top + kLevelBias;
    const auto with = [&](int level) {
      Settings tried = settings;
      tried.level = level;
      return tried;
    };
    // Where nearly all is zero, many bits are left for the rest: more than there is use for.
    const int low = 1 + highest_level(top + kLevelBias - kMaxLevelCode - 1, high - 1, top - 28 * kLevelsPerOctave, [&](int level) {
      return too_fine(energies, range, with(level));
    });
    if (nmse_) {
      const double wanted = *nmse_ * energies.total;
      settings.level = highest_level(low, high, top + nearest_log2(*nmse_, kLevelsPerOctave / 2),
                                     [&](int level) { return error_of(energies, range, with(level)) <= wanted; });
      fit_shape(workspace, own, range, settings);
      return;
    }
    // The header's bytes and the coder's state come out of the wish, but only so much of it: tiny updates get larger frames
    // instead.
    const double wish = *bits_ * static_cast<double>(n_);
    const double budget = std::max(wish - 8.0 * static_cast<double>(bytes_before + 3), least * wish + kStateBits);
    settings.level = top - static_cast<int>(kLevelsPerOctave * *bits_);
    const auto fit_level = [&](const Pilot& samples) {   // bits fall as the level rises
      std::optional<std::pair<int, double>> tried;       // the lowest level that keeps the budget
      settings.level = 1 + highest_level(low - 1, high - 1, settings.level - 1, [&](int level) {
        const double bits = bits_of(workspace, samples, range, with(level));
        if (bits <= budget) tried = {level, bits};
        return bits > budget;
      });
      return tried && tried->first == settings.level ? std::optional(tried->second) : std::nullopt;
    };
    const Workspace::Scope scope(workspace);
    const Pilot few = own.coarse(workspace);
    fit_shape(workspace, few, range, settings, kShapes, fit_level(few));
    fit_level(few);
    if (few.x.size() == own.x.size()) return;
    if (fit_shape(workspace, own, range, settings, 1, fit_level(own))) fit_level(own);
  }

  // Takes the shape that takes the fewest bits, of all or of its own and the two beside it. Whether it is another one. `bits`: what
  // its own takes, if that is known.
  bool fit_shape(Workspace& workspace, const Pilot& own, const ClassRange& range, Settings& settings, int reach = kShapes,
                 std::optional<double> bits = {}) const noexcept {
    double best = bits ? *bits : bits_of(workspace, own, range, settings);
    const int before = settings.shape;
    for (int shape = std::max(before - reach, 0); shape <= std::min(before + reach, kShapes - 1); ++shape) {
      if (shape == before) continue;
      Settings tried = settings;
      tried.shape = shape;
      const double tried_bits = bits_of(workspace, own, range, tried);
      if (tried_bits < best) {
        best = tried_bits;
        settings.shape = shape;
      }
    }
    return settings.shape != before;
  }

  // Shape and spread of the coder, where the steps are given.
  void fit_coder(Workspace& workspace, const Pilot& own, const ClassRange& range, Settings& settings, int least, int most) const noexcept {
    settings.spread = std::clamp(settings.spread, least, most);
    const Workspace::Scope scope(workspace);
    const Pilot few = own.coarse(workspace);
    fit_shape(workspace, few, range, settings);
    fit_spread(workspace, few, range, settings, least, most);
    if (few.x.size() == own.x.size()) {
      fit_shape(workspace, own, range, settings);
      return;
    }
    fit_shape(workspace, own, range, settings, 1);
    fit_spread(workspace, own, range, settings, least, most);
  }

  void fit_spread(Workspace& workspace, const Pilot& own, const ClassRange& range, Settings& settings, int least, int most) const noexcept {
    double best = bits_of(workspace, own, range, settings);
    for (int direction : {-1, 1}) {
      for (Settings tried = settings; tried.spread + direction >= least && tried.spread + direction <= most;) {
        tried.spread += direction;
        const double bits = bits_of(workspace, own, range, tried);
        if (bits >= best) break;
        best = bits;
        settings = tried;
      }
    }
  }

  std::size_t n_;
  unsigned states_;
  Kind kind_;
  TrellisCode code_;
  bool correlated_;
  std::unique_ptr<ScaleModel> scale_;
  std::optional<double> bits_;
  std::optional<double> nmse_;
  std::optional<double> step_;
  bool profiled_ = false;                   // scale=profile
  bool fitted_ = false;                     // a profile gives the classes
  std::optional<std::int32_t> common_level_;   // and the step
};

constexpr ParameterSpec kBits{.name = "bits", .type = ParameterType::kNumber, .min = 0, .max = 16, .min_excluded = true,
                              .summary = "target: bits a value of the whole frame, header and all",
                              .rate_wish = true, .optional = true};
constexpr ParameterSpec kNmse{.name = "nmse", .type = ParameterType::kNumber, .min = 1e-9, .max = 1000,
                              .summary = "target: error E‖x̂ − x‖²/‖x‖² of one client, known before coding",
                              .rate_wish = true, .optional = true};
constexpr ParameterSpec kStep{.name = "step", .type = ParameterType::kNumber, .min = 1e-20, .max = 1e9,
                              .summary = "the step itself, common to all clients; with scale=flat", .optional = true};
constexpr ParameterSpec kScale{.name = "scale", .type = ParameterType::kChoice, .choices = "flat|block:N|separable|profile",
                               .default_value = "separable",
                               .summary = "scale model: one variance, one a block, one a row and column of each tensor, or the server's"};

constexpr ParameterSpec kDitherParameters[] = {
    kBits, kNmse, kStep, kScale,
    {.name = "correlated", .type = ParameterType::kInteger, .min = 0, .max = 1, .default_value = "0",
     .summary = "1: the clients of a cohort divide the dither's period between them"},
};
constexpr ParameterSpec kTrellisParameters[] = {
    kBits, kNmse, kStep, kScale,
    {.name = "states", .type = ParameterType::kChoice, .choices = "8|64|256", .default_value = "64",
     .summary = "states of the code: more are nearer to the limit, and slower"},
};

void check_wishes(const Parameters& p) {
  const int wishes = p.has("bits") + p.has("nmse") + p.has("step");
  if (wishes != 1) throw Error(Errc::kBadPlan, wishes == 0 ? "one of bits=, nmse= and step= must be given" : "only one of bits=, nmse= and step= can be given");
  if (p.has("step") && p.choice("scale") != "flat") throw Error(Errc::kBadPlan, "step= needs scale=flat: other scale models have many steps");
}

unsigned states_of(const Parameters& p) {
  const std::string_view text = p.choice("states");
  return text == "8" ? 8 : text == "64" ? 64 : 256;
}

}  // namespace

const StageDescriptor kDitherStage{
    .id = 11,
    .name = "dither",
    .summary = "subtractive-dithered uniform quantization with entropy coding: an error that does not depend on the update",
    .source = "Roberts 1962; Zamir, Feder 1992; correlated: Suresh et al. 2022, arXiv 2203.04925",
    .parameters = kDitherParameters,
    .check_parameters = check_wishes,
    .make_quantizer = [](const Parameters& p, const InputShape& input) -> std::unique_ptr<Quantizer> {
      return std::make_unique<Dithered>(p, input, 1);
    },
    .default_coder = [](const Parameters&) -> std::string_view { return "rans"; },
};

const StageDescriptor kTrellisStage{
    .id = 12,
    .name = "trellis",
    .summary = "dithered trellis-coded quantization with entropy coding: nearest to the rate-distortion limit",
    .source = "Marcellin, Fischer 1990 (trellis); Fischer, Wang 1992 (entropy-coded); Zamir, Feder 1992 (dither)",
    .parameters = kTrellisParameters,
    .check_parameters = check_wishes,
    .make_quantizer = [](const Parameters& p, const InputShape& input) -> std::unique_ptr<Quantizer> {
      return std::make_unique<Dithered>(p, input, states_of(p));
    },
    .default_coder = [](const Parameters&) -> std::string_view { return "rans"; },
};

}  // namespace fewbits
