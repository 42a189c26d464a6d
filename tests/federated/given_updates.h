#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "fewbits/federated/federated.h"

namespace fewbits::federated {

// With a learning rate of 1 and one batch a client's update is the mean of its examples' features, whatever the model.
class Echo final : public Model {
 public:
  explicit Echo(std::size_t features) : layout_({{"a", {features / 2}}, {"b", {features - features / 2}}}) {}

  const Layout& layout() const noexcept override { return layout_; }
  void initialize(std::uint64_t, std::span<float> parameters) const override { std::ranges::fill(parameters, 0.0f); }
  double loss_and_gradient(std::span<const float>, const Examples& batch, std::span<float> gradient) override {
    std::ranges::fill(gradient, 0.0f);
    for (std::size_t i = 0; i < batch.x.size(); ++i) gradient[i % gradient.size()] -= batch.x[i] / static_cast<float>(batch.y.size());
    return 1;
  }
  Score score(std::span<const float>, const Examples& examples) override { return {0, static_cast<double>(examples.y.size())}; }

 private:
  Layout layout_;
};

// Clients that have these updates; of which client k has as many examples, all alike, as `copies` says, one without it.
struct GivenUpdates {
  explicit GivenUpdates(const std::vector<std::vector<float>>& updates, const std::vector<std::size_t>& copies = {}) {
    std::vector<std::vector<std::uint32_t>> rows(updates.size());
    for (std::size_t client = 0; client < updates.size(); ++client) {
      for (std::size_t copy = 0; copy < (copies.empty() ? 1 : copies[client]); ++copy) {
        rows[client].push_back(static_cast<std::uint32_t>(y.size()));
        x.insert(x.end(), updates[client].begin(), updates[client].end());
        y.push_back(0);
      }
    }
    const std::size_t features = updates.front().size();
    task.shape = {.features = features, .classes = 2};
    task.model = [features] { return std::make_unique<Echo>(features); };
    task.train = task.test = {x, y};
    task.clients = listed_clients(std::move(rows));
  }
  GivenUpdates(const GivenUpdates&) = delete;
  GivenUpdates& operator=(const GivenUpdates&) = delete;

  std::vector<float> x, y;
  Task task;
};

}  // namespace fewbits::federated
