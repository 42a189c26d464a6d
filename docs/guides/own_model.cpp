// A model of one's own: federated least squares (models.md).
#include <fewbits/federated/federated.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <numeric>
#include <span>
#include <vector>

namespace ff = fewbits::federated;

class LeastSquares final : public ff::Model {
 public:
  explicit LeastSquares(std::size_t features) : layout_({{"weight", {features}}}) {}

  const fewbits::Layout& layout() const noexcept override { return layout_; }
  void initialize(std::uint64_t, std::span<float> weight) const override { std::ranges::fill(weight, 0.0f); }

  double loss_and_gradient(std::span<const float> weight, const ff::Examples& batch,
                           std::span<float> gradient) override {
    std::ranges::fill(gradient, 0.0f);
    const auto rows = static_cast<float>(batch.y.size());
    double loss = 0;
    for (std::size_t row = 0; row < batch.y.size(); ++row) {
      const float error = this->error(weight, batch, row);
      loss += static_cast<double>(error * error / 2 / rows);
      for (std::size_t i = 0; i < weight.size(); ++i) gradient[i] += error * batch.x[row * weight.size() + i] / rows;
    }
    return loss;
  }

  ff::Score score(std::span<const float> weight, const ff::Examples& examples) override {
    ff::Score score{.sum = 0, .weight = static_cast<double>(examples.y.size())};
    for (std::size_t row = 0; row < examples.y.size(); ++row)
      score.sum += std::pow(static_cast<double>(error(weight, examples, row)), 2);
    return score;
  }
  ff::Metric metric() const noexcept override { return {.name = "rmse", .higher_is_better = false, .root = true}; }

 private:
  static float error(std::span<const float> weight, const ff::Examples& examples, std::size_t row) {
    const auto x = examples.x.subspan(row * weight.size(), weight.size());
    return std::inner_product(x.begin(), x.end(), weight.begin(), -examples.y[row]);
  }
  fewbits::Layout layout_;
};

int main() {
  std::vector<float> x, y;  // y = 2 a - b
  std::vector<std::vector<std::uint32_t>> rows_of_each(10);
  for (std::uint32_t i = 0; i < 500; ++i) {
    const float a = static_cast<float>(i % 7) - 3, b = static_cast<float>(i % 11) - 5;
    x.insert(x.end(), {a, b});
    y.push_back(2 * a - b);
    rows_of_each[i % 10].push_back(i);
  }
  ff::Task task;
  task.shape.features = 2;
  task.model = [] { return std::make_unique<LeastSquares>(2); };
  task.train = task.test = {x, y};
  task.clients = ff::listed_clients(rows_of_each);

  ff::PlanOptions plan;
  plan.plan = "trellis:bits=4";
  plan.learning_rate = 0.05;
  ff::Options options;
  options.rounds = 40;
  options.clients_per_round = 5;
  ff::Trainer trainer(task, options, plan);
  double rmse = 0;
  ff::run(trainer, [&](const ff::RoundResult& round) {
    rmse = *round.score;
    return true;
  });
  const std::span<const float> weight = trainer.released();
  std::printf("after %u rounds: rmse %.4f, %.3f a %+.3f b\n", trainer.round(), rmse, static_cast<double>(weight[0]),
              static_cast<double>(weight[1]));
  return rmse < 0.01 ? 0 : 1;
}
