#include "datasets/drawn.h"

#include <algorithm>
#include <string>

#include "datasets/partition_rules.h"
#include "datasets/variates.h"
#include "fewbits/error.h"
#include "kernels/random.h"

namespace fewbits::datasets {
namespace {

constexpr const char* kName = "drawn";
constexpr std::size_t kMostRows = 1u << 24;

}  // namespace

bool is_drawn(std::string_view text) { return Spec("partition", text).name() == kName; }

DrawnClients::DrawnClients(std::string_view text, std::span<const float> labels, std::size_t classes, std::uint64_t seed)
    : by_class_(classes), labels_(labels.size()), seed_(seed) {
  const Spec spec("partition", text);
  if (spec.name() != kName) throw Error(Errc::kBadArgument, "partition '" + spec.text() + "' is not " + kDrawnForm);
  spec.allow_only({"size", "alpha"});
  size_ = static_cast<std::size_t>(spec.integer("size", 1, kMostRows));
  if (labels.empty()) throw Error(Errc::kBadArgument, "partition '" + spec.text() + "': there are no examples to draw from");
  if (!spec.has("alpha")) return;
  if (classes == 0) throw Error(Errc::kBadArgument, "partition '" + spec.text() + "': alpha is for data with classes");
  const double alpha = spec.number("alpha", kLeastAlpha, kMostAlpha);
  for (std::size_t row = 0; row < labels.size(); ++row) {
    by_class_.at(static_cast<std::size_t>(labels[row])).push_back(static_cast<std::uint32_t>(row));
  }
  for (const auto& rows : by_class_) {
    parameters_.push_back(alpha * static_cast<double>(rows.size()) / static_cast<double>(labels.size()));
  }
}

std::vector<std::uint32_t> DrawnClients::rows(std::uint32_t client) const {
  RandomReader random(stream_key({static_cast<std::uint64_t>(Purpose::kPartition), seed_,
                                  static_cast<std::uint64_t>(Draw::kDrawn), client}));
  std::vector<std::uint32_t> rows(size_);
  if (parameters_.empty()) {
    for (std::uint32_t& row : rows) row = static_cast<std::uint32_t>(random.below(labels_));
    return rows;
  }
  const std::vector<double> mixture = dirichlet_variate(random, parameters_);
  for (std::uint32_t& row : rows) {
    const std::vector<std::uint32_t>& pool = by_class_[draw_class(random, mixture)];
    row = pool[static_cast<std::size_t>(random.below(pool.size()))];
  }
  return rows;
}

}  // namespace fewbits::datasets
