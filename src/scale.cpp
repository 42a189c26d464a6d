#include "scale.h"

#include <algorithm>
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

// Runs of classes, each with a base; a class is coded as its difference to the base or to the one before it. The symbols
// are adaptive: counts that both ends keep (docs/frame-format.md).
class ClassCounts {
 public:
  static constexpr std::uint32_t kSymbols = 24;   // 0: zero class; 1 + zigzag(difference) up to the last, which is followed by the rest

  ClassCounts() noexcept {
    static constexpr std::uint8_t kPrior[kSymbols] = {4, 16, 12, 12, 8, 8, 5, 5, 3, 3, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    for (std::uint32_t s = 0; s < kSymbols; ++s) total_ += counts_[s] = kPrior[s];
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
  static constexpr std::uint32_t kGain = 8;
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

constexpr unsigned kBaseBits = 12;   // of a base, class + 2048
constexpr unsigned kRestBits = 13;   // of what goes beyond the symbols
constexpr std::uint32_t kLastSymbol = ClassCounts::kSymbols - 1;

constexpr std::size_t max_run_bytes(std::size_t values, std::size_t runs) noexcept {
  return kMaxVarintBytes + 4 + (values * (kRansBits + kRestBits) + runs * (kBaseBits + 1)) / 8 + 2;
}

class RunWriter {
 public:
  static std::size_t workspace_bytes(std::size_t values, std::size_t runs) noexcept {
    const std::size_t steps = 2 * values + 2 * runs;
    return Workspace::bytes_for<RansInterval>(steps) +
           Workspace::bytes_for<std::uint16_t>(RansWriter::words_for(steps * kRansBits));
  }

  RunWriter(Workspace& workspace, std::size_t values, std::size_t runs) noexcept
      : steps_(workspace.take<RansInterval>(2 * values + 2 * runs)),
        room_(workspace.take<std::uint16_t>(RansWriter::words_for(steps_.size() * kRansBits))) {}

  void run(std::span<const std::int16_t> classes) noexcept {
    // The base is the mean; differences go to it where it is nearer than the neighbour.
    std::int64_t sum = 0, count = 0, to_neighbour = 0, to_base = 0;
    for (const std::int16_t c : classes)
      if (c != kZeroClass) sum += c, ++count;
    const auto base = static_cast<std::int32_t>(count == 0 ? 0 : (sum >= 0 ? sum + count / 2 : sum - count / 2) / count);
    std::int32_t before = base;
    for (const std::int16_t c : classes) {
      if (c == kZeroClass) continue;
      to_neighbour += std::abs(c - before);
      to_base += std::abs(c - base);
      before = c;
    }
    const std::uint32_t delta = to_neighbour < to_base ? 1 : 0;
    bits(static_cast<std::uint32_t>(base + 2048), kBaseBits);
    bits(delta, 1);
    before = base;
    for (const std::int16_t c : classes) {
      if (c == kZeroClass) {
        symbol(delta, 0);
        continue;
      }
      const std::uint32_t z = zigzag(c - before) + 1;
      symbol(delta, std::min(z, kLastSymbol));
      if (z >= kLastSymbol) bits(z - kLastSymbol, kRestBits);
      if (delta != 0) before = c;
    }
  }

  void finish(ByteWriter& side) noexcept {
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
  void symbol(std::uint32_t delta, std::uint32_t s) noexcept {
    steps_[used_++] = counts_[delta].interval(s);
    counts_[delta].add(s);
  }

  std::span<RansInterval> steps_;
  std::span<std::uint16_t> room_;
  std::size_t used_ = 0;
  ClassCounts counts_[2];
};

class RunReader {
 public:
  explicit RunReader(std::span<const std::byte> bytes) noexcept : rans_(bytes) { rans_.begin(1); }

  void run(std::span<std::int16_t> classes) noexcept {
    const auto base = static_cast<std::int32_t>(rans_.bits(0, kBaseBits)) - 2048;
    const std::uint32_t delta = rans_.bits(0, 1);
    std::int32_t before = base;
    for (std::int16_t& c : classes) {
      const std::uint32_t s = counts_[delta].symbol_at(rans_.slot(0));
      rans_.advance(0, counts_[delta].interval(s));
      counts_[delta].add(s);
      if (s == 0) {
        c = kZeroClass;
        continue;
      }
      const std::uint32_t z = s == kLastSymbol ? s + rans_.bits(0, kRestBits) : s;
      std::int32_t value = before + unzigzag(z - 1);
      if (std::abs(value) > 2 * kMaxClass) {
        rans_.fail();
        value = 0;
      }
      c = static_cast<std::int16_t>(value);
      if (delta != 0) before = value;
    }
  }

  bool ok() const noexcept { return rans_.ok(); }

 private:
  RansReader rans_;
  ClassCounts counts_[2];
};

std::span<const std::byte> run_bytes(ByteReader& side) { return side.bytes(static_cast<std::size_t>(side.varint())); }

void fail(const ByteReader& side) { side.malformed("the scales of the values are damaged"); }

double energy(std::span<const float> x) noexcept {
  double sum = 0;
  for (const float v : x) sum += static_cast<double>(v) * static_cast<double>(v);
  return sum;
}

// ---- the models ------------------------------------------------------------------------------------------------------

class Flat final : public ScaleModel {
 public:
  std::size_t max_side_bytes() const noexcept override { return 0; }
  void fit(Workspace&, std::span<const float>, std::span<std::int16_t> classes, ByteWriter&) const override {
    std::ranges::fill(classes, std::int16_t{0});
  }
  void check(Workspace&, ByteReader&) const override {}
  void classes(Workspace&, ByteReader&, std::span<std::int16_t> classes) const noexcept override {
    std::ranges::fill(classes, std::int16_t{0});
  }
};

class Profiled final : public ScaleModel {
 public:
  Profiled(std::size_t values, std::span<const Tensor> tensors, const ProfileScales& profile) : classes_(values) {
    std::size_t at = 0;
    for (std::size_t t = 0; t < tensors.size(); ++t) {
      const TensorScales& scales = profile.tensors[t];
      const std::size_t count = tensors[t].elements();
      const std::size_t columns = scales.columns.size();
      for (std::size_t i = 0; i < count; ++i)
        classes_[at + i] = columns == 1 && scales.rows.size() == 1
                               ? static_cast<std::int16_t>(scales.rows[0] + scales.columns[0])
                               : static_cast<std::int16_t>(scales.rows[i / columns] + scales.columns[i % columns]);
      at += count;
    }
  }
  std::size_t max_side_bytes() const noexcept override { return 0; }
  void fit(Workspace&, std::span<const float>, std::span<std::int16_t> classes, ByteWriter&) const override {
    std::ranges::copy(classes_, classes.begin());
  }
  void check(Workspace&, ByteReader&) const override {}
  void classes(Workspace&, ByteReader&, std::span<std::int16_t> classes) const noexcept override {
    std::ranges::copy(classes_, classes.begin());
  }

 private:
  std::vector<std::int16_t> classes_;
};

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

  void fit(Workspace& workspace, std::span<const float> x, std::span<std::int16_t> classes, ByteWriter& side) const override {
    if (parts_.empty()) return;
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
      if (part.rows > 1) {
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
    expand(scales, classes);
  }

  void check(Workspace& workspace, ByteReader& side) const override {
    if (parts_.empty()) return;
    const Workspace::Scope scope(workspace);
    RunReader reader(run_bytes(side));
    read(reader, workspace.take<std::int16_t>(scales_));
    if (!reader.ok()) fail(side);
  }

  void classes(Workspace& workspace, ByteReader& side, std::span<std::int16_t> classes) const noexcept override {
    if (parts_.empty()) return;
    const Workspace::Scope scope(workspace);
    const auto scales = workspace.take<std::int16_t>(scales_);
    RunReader reader(run_bytes(side));
    read(reader, scales);
    expand(scales, classes);
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

  // Row energies, then the columns' given the rows as they are sent: r_i = mean_j x_ij², c_j = mean_i x_ij² / r_i, the
  // second half step of the Itakura–Saito fit from the moments.
  static void fit_matrix(std::span<const float> x, const MatrixShape& shape, std::span<double> columns,
                         std::span<std::int16_t> row_classes, std::span<std::int16_t> column_classes) noexcept {
    std::ranges::fill(columns, 0.0);
    std::size_t rows = 0;
    for (std::size_t i = 0; i < shape.rows; ++i) {
      const auto row = x.subspan(i * shape.columns, shape.columns);
      row_classes[i] = class_of(energy(row) / static_cast<double>(shape.columns));
      if (row_classes[i] == kZeroClass) continue;
      ++rows;
      const double inverse = energy_of(-row_classes[i]);
      for (std::size_t j = 0; j < shape.columns; ++j)
        columns[j] += static_cast<double>(row[j]) * static_cast<double>(row[j]) * inverse;
    }
    for (std::size_t j = 0; j < shape.columns; ++j) column_classes[j] = class_of(columns[j] / static_cast<double>(std::max<std::size_t>(rows, 1)));
  }

  void expand(std::span<const std::int16_t> scales, std::span<std::int16_t> classes) const noexcept {
    for (const MatrixShape& part : parts_) {
      if (part.rows > 1) {
        const auto rows = scales.first(part.rows);
        const auto columns = scales.subspan(part.rows, part.columns);
        scales = scales.subspan(part.rows + part.columns);
        const int floor = std::max(*std::ranges::max_element(rows), std::int16_t{-4 * kMaxClass}) +
                          std::max(*std::ranges::max_element(columns), std::int16_t{-4 * kMaxClass}) - kDepth;
        for (const std::int16_t row : rows) {
          for (std::size_t j = 0; j < part.columns; ++j)
            classes[j] = row == kZeroClass || columns[j] == kZeroClass
                             ? kZeroClass
                             : static_cast<std::int16_t>(std::clamp(std::max(row + columns[j], floor), -kMaxClass, kMaxClass));
          classes = classes.subspan(part.columns);
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
  if (choice == "profile" && profile != nullptr) return std::make_unique<Profiled>(values, tensors, *profile);
  return std::make_unique<Flat>();
}

}  // namespace fewbits
