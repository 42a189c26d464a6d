#include "scale.h"

#include <algorithm>
#include <bit>
#include <charconv>

#include "kernels/powers.h"
#include "kernels/rans.h"

namespace fewbits {
namespace {

constexpr std::size_t kBlockOfVectors = 256;
// No class of a matrix is further below its largest: a quiet row's and a quiet column's product is smaller than either,
// and steps should not be smaller than the error of the rest by more than this (12 octaves).
constexpr int kDepth = 48;

double energy_of(int c) noexcept { return power32(16 * c); }

// ---- classes as bytes ------------------------------------------------------------------------------------------------

// Runs of classes, each with a base; a class is coded as its difference to a prediction. The symbols are adaptive: counts
// that both ends keep (docs/frame-format.md).
class ClassCounts {
 public:
  static constexpr std::uint32_t kSymbols = 64;   // 0: zero class; 1 + zigzag(difference) up to the last, which is followed by the rest

  ClassCounts() noexcept {
    for (std::uint32_t s = 0; s < kSymbols; ++s) total_ += counts_[s] = s < kPriors ? kPrior[s] : 1;
  }

  RansInterval interval(std::uint32_t symbol) const noexcept {
    std::uint32_t below = 0;
    for (std::uint32_t s = 0; s < symbol; ++s) below += counts_[s];
    const std::uint32_t start = edge(symbol, below);
    return {start, edge(symbol + 1, below + counts_[symbol]) - start};
  }

  std::uint32_t symbol_at(std::uint32_t slot) const noexcept {
    std::uint32_t symbol = 0;
    for (std::uint32_t below = counts_[0]; symbol + 1 < kSymbols && slot >= edge(symbol + 1, below); below += counts_[++symbol]) {
    }
    return symbol;
  }

  void add(std::uint32_t symbol) noexcept {
    counts_[symbol] += kGain;
    total_ += kGain;
    if (total_ < kLimit) return;
    total_ = 0;
    for (std::uint32_t& count : counts_) total_ += count = (count + 1) / 2;
  }

 private:
  static constexpr std::uint32_t kPriors = 25;
  static constexpr std::uint8_t kPrior[kPriors] = {4, 16, 14, 14, 12, 12, 9, 9, 7, 7, 5, 5, 4, 4, 3, 3, 3, 3, 2, 2, 2, 2, 2, 2, 2};
  static constexpr std::uint32_t kGain = 16;
  static constexpr std::uint32_t kLimit = 1u << 14;

  std::uint32_t edge(std::uint32_t symbol, std::uint32_t below) const noexcept {
    return symbol + static_cast<std::uint32_t>(static_cast<std::uint64_t>(below) * (kRansTotal - kSymbols) / total_);
  }

  std::uint32_t counts_[kSymbols] = {};
  std::uint32_t total_ = 0;
};

constexpr std::uint32_t zigzag(std::int32_t v) noexcept {
  return static_cast<std::uint32_t>(v) << 1 ^ static_cast<std::uint32_t>(v >> 31);
}
constexpr std::int32_t unzigzag(std::uint32_t v) noexcept {
  return static_cast<std::int32_t>(v >> 1) ^ -static_cast<std::int32_t>(v & 1);
}

// What a class is expected to be, from those before it.
struct Prediction {
  enum Way : std::uint32_t { kBase = 0, kBefore = 1, kRows = 2 };
  Way way = kBase;
  std::size_t lag = 0;

  // Zero classes count as the base. kRows: rows of `lag` classes, as of an image, are alike: the class before, and the step
  // that the row above took.
  std::int32_t operator()(std::span<const std::int16_t> classes, std::size_t i, std::int32_t base) const noexcept {
    const auto at = [&](std::size_t back) -> std::int32_t {
      return back > i || classes[i - back] == kZeroClass ? base : classes[i - back];
    };
    switch (way) {
      case kBase: return base;
      case kBefore: return at(1);
      default: return i <= lag ? at(1) : std::clamp(at(1) + at(lag) - at(lag + 1), -2 * kMaxClass, 2 * kMaxClass);
    }
  }
};

constexpr unsigned kBaseBits = 12;   // of a base, class + 2048
constexpr unsigned kWayBits = 2;     // of the way of predicting
constexpr unsigned kLagBits = 6;
constexpr std::size_t kMaxLag = (1u << kLagBits) - 1;
constexpr unsigned kRestBits = 13;   // of what goes beyond the symbols
constexpr std::uint32_t kLastSymbol = ClassCounts::kSymbols - 1;

constexpr std::size_t max_run_bytes(std::size_t values, std::size_t runs) noexcept {
  return kMaxVarintBytes + 4 + (values * (kRansBits + kRestBits) + runs * (kBaseBits + kWayBits + kLagBits)) / 8 + 2;
}

class RunWriter {
 public:
  static std::size_t workspace_bytes(std::size_t values, std::size_t runs) noexcept {
    const std::size_t steps = 2 * values + 3 * runs;
    return Workspace::bytes_for<RansInterval>(steps) +
           Workspace::bytes_for<std::uint16_t>(RansWriter::words_for(steps * kRansBits));
  }

  RunWriter(Workspace& workspace, std::size_t values, std::size_t runs) noexcept
      : steps_(workspace.take<RansInterval>(2 * values + 3 * runs)),
        room_(workspace.take<std::uint16_t>(RansWriter::words_for(steps_.size() * kRansBits))) {}

  void run(std::span<const std::int16_t> classes) noexcept {
    std::int64_t sum = 0, count = 0;
    for (const std::int16_t c : classes)
      if (c != kZeroClass) sum += c, ++count;
    const auto base = static_cast<std::int32_t>(count == 0 ? 0 : (sum >= 0 ? sum + count / 2 : sum - count / 2) / count);
    const Prediction best = cheapest(classes, base);
    bits(static_cast<std::uint32_t>(base + 2048), kBaseBits);
    bits(static_cast<std::uint32_t>(best.way), kWayBits);
    if (best.way == Prediction::kRows) bits(static_cast<std::uint32_t>(best.lag), kLagBits);
    ClassCounts counts;
    for (std::size_t i = 0; i < classes.size(); ++i) {
      const std::uint32_t z = classes[i] == kZeroClass ? 0 : zigzag(classes[i] - best(classes, i, base)) + 1;
      const std::uint32_t s = std::min(z, kLastSymbol);
      steps_[used_++] = counts.interval(s);
      counts.add(s);
      if (z >= kLastSymbol) bits(z - kLastSymbol, kRestBits);
    }
  }

  void finish(ByteWriter& side) {
    RansWriter rans(room_);
    rans.begin(1);
    while (used_ != 0) rans.put(0, steps_[--used_]);
    side.varint(rans.bytes());
    rans.finish(side.grow(rans.bytes()));
  }

 private:
  void bits(std::uint32_t value, unsigned count) noexcept {
    steps_[used_++] = {value << (kRansBits - count), 1u << (kRansBits - count)};
  }

  // By the sum of the differences' lengths in bits.
  static Prediction cheapest(std::span<const std::int16_t> classes, std::int32_t base) noexcept {
    Prediction best;
    std::uint64_t least = UINT64_MAX;
    const auto consider = [&](Prediction tried) {
      std::uint64_t length = 0;
      for (std::size_t i = 0; i < classes.size() && length < least; ++i)
        if (classes[i] != kZeroClass) length += std::bit_width(zigzag(classes[i] - tried(classes, i, base)));
      if (length < least) least = length, best = tried;
    };
    consider({Prediction::kBase, 0});
    consider({Prediction::kBefore, 0});
    for (std::size_t lag = 2; lag < std::min(classes.size() / 4, kMaxLag + 1); ++lag) consider({Prediction::kRows, lag});
    return best;
  }

  std::span<RansInterval> steps_;
  std::span<std::uint16_t> room_;
  std::size_t used_ = 0;
};

class RunReader {
 public:
  explicit RunReader(std::span<const std::byte> bytes) noexcept : rans_(bytes) { rans_.begin(1); }

  void run(std::span<std::int16_t> classes) noexcept {
    const auto base = static_cast<std::int32_t>(rans_.bits(0, kBaseBits)) - 2048;
    Prediction prediction{static_cast<Prediction::Way>(rans_.bits(0, kWayBits)), 0};
    if (prediction.way > Prediction::kRows) rans_.fail();
    if (prediction.way == Prediction::kRows) prediction.lag = rans_.bits(0, kLagBits);
    if (prediction.way == Prediction::kRows && prediction.lag < 2) rans_.fail();
    ClassCounts counts;
    for (std::size_t i = 0; i < classes.size(); ++i) {
      const std::uint32_t s = counts.symbol_at(rans_.slot(0));
      rans_.advance(0, counts.interval(s));
      counts.add(s);
      const std::uint32_t z = s == kLastSymbol ? s + rans_.bits(0, kRestBits) : s;
      std::int32_t value = s == 0 ? kZeroClass : prediction(classes, i, base) + unzigzag(z - 1);
      if (s != 0 && std::abs(value) > 2 * kMaxClass) {
        rans_.fail();
        value = 0;
      }
      classes[i] = static_cast<std::int16_t>(value);
    }
  }

  bool ok() const noexcept { return rans_.ok(); }

 private:
  RansReader rans_;
};

std::span<const std::byte> run_bytes(ByteReader& side) { return side.bytes(static_cast<std::size_t>(side.varint())); }

void fail(const ByteReader& side) { side.malformed("the scales of the values are damaged"); }

double energy(std::span<const float> x) noexcept { return kernels::sum_of_squares(x); }

// ---- the models ------------------------------------------------------------------------------------------------------

// Classes that do not depend on the update.
class Given : public ScaleModel {
 public:
  explicit Given(std::vector<std::int16_t> classes) : own_(std::move(classes)), classes_(with_range(own_)) {}
  std::size_t max_side_bytes() const noexcept override { return 0; }
  Classes fit(Workspace&, std::span<const float>, ScaleDetail, std::span<std::int16_t>, ByteWriter&) const override {
    return classes_;
  }
  void check(Workspace&, ByteReader&) const override {}
  Classes classes(Workspace&, ByteReader&, std::span<std::int16_t>) const noexcept override { return classes_; }

 private:
  std::vector<std::int16_t> own_;
  Classes classes_;
};

std::vector<std::int16_t> profiled(std::size_t values, std::span<const Tensor> tensors, const ProfileScales& profile) {
  std::vector<std::int16_t> classes;
  classes.reserve(values);
  for (std::size_t t = 0; t < tensors.size(); ++t) {
    const auto& [rows, columns] = profile.tensors[t];
    if (rows.size() == 1 && columns.size() == 1) {
      classes.insert(classes.end(), tensors[t].elements(), static_cast<std::int16_t>(rows[0] + columns[0]));
      continue;
    }
    for (const std::int16_t row : rows)
      for (const std::int16_t column : columns) classes.push_back(static_cast<std::int16_t>(row + column));
  }
  return classes;
}

// Mean energies: of blocks, and of the rows and columns of matrices.
class Measured final : public ScaleModel {
 public:
  Measured(std::size_t block, std::size_t values, std::span<const Tensor> tensors) : block_(block) {
    if (tensors.empty()) {
      parts_.push_back({1, values});
    } else {
      for (const Tensor& tensor : tensors)
        if (tensor.elements() != 0) {
          const MatrixShape shape = matrix_shape(tensor);
          parts_.push_back({shape.rows, shape.columns});
        }
    }
    if (values == 0) parts_.clear();
    for (const MatrixShape& part : parts_) {
      if (part.rows > 1) {
        scales_ += part.rows + part.columns;
        runs_ += 2;
        columns_ = std::max(columns_, part.columns);
      } else {
        scales_ += blocks(part.columns);
        runs_ += 1;
      }
    }
  }

  std::size_t max_side_bytes() const noexcept override { return parts_.empty() ? 0 : max_run_bytes(scales_, runs_); }

  std::size_t workspace_bytes() const noexcept override {
    return RunWriter::workspace_bytes(scales_, runs_) + Workspace::bytes_for<std::int16_t>(scales_) +
           Workspace::bytes_for<double>(columns_);
  }

  Classes fit(Workspace& workspace, std::span<const float> x, ScaleDetail detail, std::span<std::int16_t> room,
              ByteWriter& side) const override {
    if (parts_.empty()) return {room, {}};
    const Workspace::Scope scope(workspace);
    const auto scales = workspace.take<std::int16_t>(scales_);
    const auto columns = workspace.take<double>(columns_);
    RunWriter writer(workspace, scales_, runs_);
    auto rest = scales;
    const auto take = [&rest](std::size_t count) {
      const auto part = rest.first(count);
      rest = rest.subspan(count);
      return part;
    };
    for (const MatrixShape& part : parts_) {
      const auto own = x.first(part.rows * part.columns);
      x = x.subspan(own.size());
      if (detail == ScaleDetail::kTensors) {
        const std::int16_t same = class_of(energy(own) / static_cast<double>(own.size()));
        const auto first = take(part.rows > 1 ? part.rows : blocks(part.columns));
        std::ranges::fill(first, same);
        writer.run(first);
        if (part.rows == 1) continue;
        const auto second = take(part.columns);
        std::ranges::fill(second, same == kZeroClass ? same : std::int16_t{0});
        writer.run(second);
      } else if (part.rows > 1) {
        const auto row_classes = take(part.rows);
        const auto column_classes = take(part.columns);
        fit_matrix(own, part, columns.first(part.columns), row_classes, column_classes);
        writer.run(row_classes);
        writer.run(column_classes);
      } else {
        const auto block_classes = take(blocks(part.columns));
        for (std::size_t b = 0; b < block_classes.size(); ++b) {
          const auto values = own.subspan(b * block_, std::min(block_, own.size() - b * block_));
          block_classes[b] = class_of(energy(values) / static_cast<double>(values.size()));
        }
        writer.run(block_classes);
      }
    }
    writer.finish(side);
    expand(scales, room);
    return with_range(room);
  }

  void check(Workspace& workspace, ByteReader& side) const override {
    if (parts_.empty()) return;
    const Workspace::Scope scope(workspace);
    RunReader reader(run_bytes(side));
    read(reader, workspace.take<std::int16_t>(scales_));
    if (!reader.ok()) fail(side);
  }

  Classes classes(Workspace& workspace, ByteReader& side, std::span<std::int16_t> room) const noexcept override {
    if (parts_.empty()) return {room, {}};
    const Workspace::Scope scope(workspace);
    const auto scales = workspace.take<std::int16_t>(scales_);
    RunReader reader(run_bytes(side));
    read(reader, scales);
    expand(scales, room);
    return with_range(room);
  }

 private:
  std::size_t blocks(std::size_t values) const noexcept { return (values + block_ - 1) / block_; }

  void read(RunReader& reader, std::span<std::int16_t> scales) const noexcept {
    const auto take = [&](std::size_t count) {
      reader.run(scales.first(count));
      scales = scales.subspan(count);
    };
    for (const MatrixShape& part : parts_) {
      if (part.rows > 1) {
        take(part.rows);
        take(part.columns);
      } else {
        take(blocks(part.columns));
      }
    }
  }

  // The Itakura–Saito fit by its fixed point r_i = mean_j x_ij²/c_j, c_j = mean_i x_ij²/r_i, from the rows' energies on: the
  // columns, the rows once more, and the columns given the rows as they are sent.
  static void fit_matrix(std::span<const float> x, const MatrixShape& shape, std::span<double> columns,
                         std::span<std::int16_t> row_classes, std::span<std::int16_t> column_classes) noexcept {
    for (std::size_t i = 0; i < shape.rows; ++i)
      row_classes[i] = class_of(energy(x.subspan(i * shape.columns, shape.columns)) / static_cast<double>(shape.columns));
    fit_columns(x, shape, columns, row_classes, column_classes);
    double count = 0;   // of the columns that have values
    for (std::size_t j = 0; j < shape.columns; ++j) {
      const bool zero = column_classes[j] == kZeroClass;
      columns[j] = zero ? 0 : energy_of(-column_classes[j]);
      count += zero ? 0 : 1;
    }
    for (std::size_t i = 0; i < shape.rows; ++i) {
      if (row_classes[i] == kZeroClass) continue;
      const auto row = x.subspan(i * shape.columns, shape.columns);
      row_classes[i] = class_of(kernels::sum_of_weighted_squares(row, columns) / count);
    }
    coarsen(row_classes, shape.columns);
    fit_columns(x, shape, columns, row_classes, column_classes);
    coarsen(column_classes, shape.rows);
  }

  static void fit_columns(std::span<const float> x, const MatrixShape& shape, std::span<double> columns,
                          std::span<const std::int16_t> row_classes, std::span<std::int16_t> column_classes) noexcept {
    std::ranges::fill(columns, 0.0);
    std::size_t rows = 0;
    for (std::size_t i = 0; i < shape.rows; ++i) {
      if (row_classes[i] == kZeroClass) continue;
      ++rows;
      const auto row = x.subspan(i * shape.columns, shape.columns);
      kernels::add_squares(row, energy_of(-row_classes[i]), columns);
    }
    for (std::size_t j = 0; j < shape.columns; ++j)
      column_classes[j] = class_of(columns[j] / static_cast<double>(std::max<std::size_t>(rows, 1)));
  }

  // A scale that serves few values, or quiet ones, is sent with less precision: a mismatch by a factor f in energy costs
  // each value (f − 1 − ln f)/(2 ln 2) bit, a grid twice as wide saves one bit.
  static void coarsen(std::span<std::int16_t> classes, std::size_t values_each) noexcept {
    const int loudest = *std::ranges::max_element(classes);
    const int width = values_each <= 24 ? 4 : values_each <= 120 ? 2 : 1;
    for (std::int16_t& c : classes) {
      if (c == kZeroClass) continue;
      const int own = c > loudest - 16 ? width : c > loudest - 32 ? 2 * width : 4 * width;
      c = static_cast<std::int16_t>(loudest - (loudest - c + own / 2) / own * own);
    }
  }

  // Two of them add up to a number of 16 bits.
  static bool sums_fit(std::span<const std::int16_t> scales) noexcept {
    return std::ranges::all_of(scales, [](std::int16_t c) { return c == kZeroClass || std::abs(c) <= INT16_MAX / 2; });
  }

  void expand(std::span<const std::int16_t> scales, std::span<std::int16_t> classes) const noexcept {
    for (const MatrixShape& part : parts_) {
      if (part.rows > 1) {
        const auto rows = scales.first(part.rows);
        const auto columns = scales.subspan(part.rows, part.columns);
        scales = scales.subspan(part.rows + part.columns);
        const int floor = std::max(*std::ranges::max_element(rows), std::int16_t{-4 * kMaxClass}) +
                          std::max(*std::ranges::max_element(columns), std::int16_t{-4 * kMaxClass}) - kDepth;
        const auto least = static_cast<std::int16_t>(std::clamp(floor, -kMaxClass, kMaxClass));
        const auto most = static_cast<std::int16_t>(kMaxClass);
        const bool narrow = sums_fit(rows) && sums_fit(columns);
        for (const std::int16_t row : rows) {
          const auto own = classes.first(part.columns);
          classes = classes.subspan(part.columns);
          if (row == kZeroClass) {
            std::ranges::fill(own, kZeroClass);
          } else if (narrow) {
            // In 16 bits throughout, which takes half the time; the class of zeros may wrap around.
            for (std::size_t j = 0; j < own.size(); ++j) {
              const std::int16_t c = columns[j];
              auto sum = static_cast<std::int16_t>(static_cast<std::uint16_t>(row) + static_cast<std::uint16_t>(c));
              sum = sum < least ? least : sum;
              sum = sum > most ? most : sum;
              own[j] = c == kZeroClass ? kZeroClass : sum;
            }
          } else {
            for (std::size_t j = 0; j < own.size(); ++j)
              own[j] = columns[j] == kZeroClass ? kZeroClass
                                                : static_cast<std::int16_t>(std::clamp<int>(row + columns[j], least, most));
          }
        }
      } else {
        for (std::size_t i = 0; i < part.columns; ++i) {
          const std::int16_t c = scales[i / block_];
          classes[i] = c == kZeroClass ? c : static_cast<std::int16_t>(std::clamp<int>(c, -kMaxClass, kMaxClass));
        }
        classes = classes.subspan(part.columns);
        scales = scales.subspan(blocks(part.columns));
      }
    }
  }


  std::size_t block_;
  std::vector<MatrixShape> parts_;
  std::size_t scales_ = 0;
  std::size_t runs_ = 0;
  std::size_t columns_ = 0;   // of the widest matrix
};

}  // namespace

Classes with_range(std::span<const std::int16_t> classes) noexcept {
  // One less than each class: the largest number for the class of zeros, which wraps around.
  static_assert(kZeroClass == INT16_MIN);
  std::int16_t before_least = INT16_MAX;
  std::int16_t most = INT16_MIN;
  std::int16_t lowest = INT16_MAX;
  for (const std::int16_t c : classes) {
    const auto before = static_cast<std::int16_t>(static_cast<std::uint16_t>(c) - 1u);
    before_least = before < before_least ? before : before_least;
    most = c > most ? c : most;
    lowest = c < lowest ? c : lowest;
  }
  const int least = before_least + 1;
  return {classes, most < least ? ClassRange{} : ClassRange{least, most}, !classes.empty() && lowest != kZeroClass};
}

// Half-octaves of an energy, which are quarter-octaves of the standard deviation.
std::int16_t class_of(double energy) noexcept {
  return energy == 0 ? kZeroClass : static_cast<std::int16_t>(nearest_log2(energy, 2));
}

void write_scales(std::span<const TensorScales> scales, ByteWriter& out) {
  std::size_t values = 0;
  for (const TensorScales& tensor : scales) values += tensor.rows.size() + tensor.columns.size();
  Workspace workspace;
  workspace.reserve(RunWriter::workspace_bytes(values, 2 * scales.size()));
  RunWriter writer(workspace, values, 2 * scales.size());
  for (const TensorScales& tensor : scales) {
    writer.run(tensor.rows);
    writer.run(tensor.columns);
  }
  writer.finish(out);
}

std::vector<TensorScales> read_scales(std::span<const Tensor> tensors, ByteReader& in) {
  RunReader reader(run_bytes(in));
  std::vector<TensorScales> scales;
  for (const Tensor& tensor : tensors) {
    const MatrixShape shape = matrix_shape(tensor);
    TensorScales own{std::vector<std::int16_t>(shape.rows), std::vector<std::int16_t>(shape.rows > 1 ? shape.columns : 1)};
    reader.run(own.rows);
    reader.run(own.columns);
    scales.push_back(std::move(own));
  }
  bool small = true;
  for (const TensorScales& tensor : scales)
    for (const auto* side : {&tensor.rows, &tensor.columns})
      small = small && std::ranges::all_of(*side, [](std::int16_t c) { return std::abs(c) <= kMaxClass / 2; });
  if (!reader.ok() || !small) fail(in);
  return scales;
}

MatrixShape matrix_shape(const Tensor& tensor) noexcept {
  const std::size_t elements = tensor.elements();
  if (tensor.shape.size() < 2 || elements == 0) return {1, elements};
  const std::size_t rows = tensor.shape.front();
  const std::size_t columns = elements / rows;
  if (rows == 1 || columns == 1) return {1, elements};
  return {rows, columns};
}

std::unique_ptr<ScaleModel> make_scale_model(std::string_view choice, std::size_t values, std::span<const Tensor> tensors,
                                             const ProfileScales* profile) {
  if (choice == "separable") return std::make_unique<Measured>(kBlockOfVectors, values, tensors);
  if (choice.starts_with("block:")) {
    std::size_t size = kBlockOfVectors;
    std::from_chars(choice.data() + 6, choice.data() + choice.size(), size);
    return std::make_unique<Measured>(size, values, std::span<const Tensor>());
  }
  if (choice == "profile" && profile != nullptr) return std::make_unique<Given>(profiled(values, tensors, *profile));
  return std::make_unique<Given>(std::vector<std::int16_t>(values));
}

}  // namespace fewbits
