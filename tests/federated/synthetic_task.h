#pragma once

#include <cstdint>
#include <vector>

#include "datasets/variates.h"
#include "fewbits/federated/federated.h"
#include "kernels/random.h"

namespace fewbits::federated {

// Three noisy clusters, dealt to `clients` clients of uneven sizes; the last client has no examples.
struct SyntheticTask {
  static constexpr std::size_t kFeatures = 20;
  static constexpr std::size_t kClasses = 3;

  explicit SyntheticTask(std::size_t clients = 12, const char* model = "mlp:hidden=16") {
    RandomReader random(stream_key({static_cast<std::uint64_t>(Purpose::kSynthetic), 7}));
    datasets::NormalReader normal(random);
    std::vector<double> centres(kFeatures * kClasses);
    for (double& value : centres) value = normal.next();
    const auto draw = [&](std::size_t rows, std::vector<float>& x, std::vector<float>& y) {
      for (std::size_t row = 0; row < rows; ++row) {
        const auto label = static_cast<std::size_t>(random.below(kClasses));
        y.push_back(static_cast<float>(label));
        for (std::size_t i = 0; i < kFeatures; ++i) {
          x.push_back(static_cast<float>(centres[label * kFeatures + i] + 0.8 * normal.next()));
        }
      }
    };
    draw(400, train_x, train_y);
    draw(1200, test_x, test_y);
    task.shape = {.features = kFeatures, .classes = kClasses};
    task.model = model_factory(model, task.shape);
    task.train = {train_x, train_y};
    task.test = {test_x, test_y};
    rows_of_each.resize(clients);
    for (std::uint32_t row = 0; row < 400; ++row) {
      // Of two draws the smaller: low ids have more.
      const std::uint64_t client = std::min(random.below(clients - 1), random.below(clients - 1));
      rows_of_each[static_cast<std::size_t>(client)].push_back(row);
    }
    task.clients = listed_clients(rows_of_each);
  }
  SyntheticTask(const SyntheticTask&) = delete;
  SyntheticTask& operator=(const SyntheticTask&) = delete;

  std::vector<float> train_x, test_x;
  std::vector<float> train_y, test_y;
  std::vector<std::vector<std::uint32_t>> rows_of_each;   // of train_x
  Task task;
};

}  // namespace fewbits::federated
