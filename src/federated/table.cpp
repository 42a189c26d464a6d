#include "federated/table.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "fewbits/error.h"

namespace fewbits::federated {
namespace {

struct Side {
  std::span<const float> values;
  std::size_t width = 0;
  std::size_t step = 0;

  std::size_t rows() const { return values.size() < width ? 0 : (values.size() - width) / step + 1; }
  bool ends_with_a_row() const { return values.empty() || (values.size() >= width && (values.size() - width) % step == 0); }
  std::span<const float> row(std::size_t index) const { return values.subspan(index * step, width); }
};

Side features_of(const Table& table, const ExampleShape& shape) {
  return {table.x, shape.features, table.x_step == 0 ? shape.features : table.x_step};
}

Side targets_of(const Table& table, const ExampleShape& shape) {
  return {table.y, shape.targets, table.y_step == 0 ? shape.targets : table.y_step};
}

// Where they lie one behind the other as they are: no copy is needed then.
std::optional<std::span<const float>> whole_rows(const Side& side, std::span<const std::uint32_t> rows) {
  if (rows.empty() || side.step != side.width) return std::nullopt;
  for (std::size_t i = 0; i < rows.size(); ++i)
    if (rows[i] != rows[0] + i) return std::nullopt;
  return side.values.subspan(rows[0] * side.width, rows.size() * side.width);
}

void copy_rows(const Side& side, std::span<const std::uint32_t> rows, std::span<const float> more, std::vector<float>& to) {
  to.resize(rows.size() * (side.width + more.size()));
  auto at = to.begin();
  for (const std::uint32_t row : rows) {
    at = std::ranges::copy(side.row(row), at).out;
    at = std::ranges::copy(more, at).out;
  }
}

}  // namespace

std::size_t rows_of(const Table& table, const ExampleShape& shape) noexcept { return targets_of(table, shape).rows(); }

void check_table(const Table& table, const ExampleShape& shape, const char* name) {
  const Side x = features_of(table, shape), y = targets_of(table, shape);
  if (x.ends_with_a_row() && y.ends_with_a_row() && x.rows() == y.rows()) return;
  throw Error(Errc::kBadArgument, std::string(name) + " examples: " + std::to_string(table.x.size()) + " features and " +
                                      std::to_string(table.y.size()) + " targets are not the same number of rows of " +
                                      std::to_string(shape.features) + " and " + std::to_string(shape.targets));
}

Examples Gatherer::gather(const Table& table, const ExampleShape& shape, std::span<const std::uint32_t> rows,
                          std::span<const float> more) {
  const Side x = features_of(table, shape), y = targets_of(table, shape);
  if (more.empty()) {
    const auto features = whole_rows(x, rows), targets = whole_rows(y, rows);
    if (features && targets) return {*features, *targets};
  }
  copy_rows(x, rows, more, x_);
  copy_rows(y, rows, {}, y_);
  return {x_, y_};
}

Clients listed_clients(std::vector<std::vector<std::uint32_t>> rows_of_each) {
  const auto rows = std::make_shared<const std::vector<std::vector<std::uint32_t>>>(std::move(rows_of_each));
  return {.count = rows->size(),
          .size = [rows](std::uint32_t client) { return (*rows)[client].size(); },
          .rows = [rows](std::uint32_t client) { return (*rows)[client]; }};
}

}  // namespace fewbits::federated
