// A model of one's own, trained by fifty simulated clients at two rates: logistic regression, written against model.h.
// Link with fewbits::federated; the tests build and run it.
#include <fewbits/federated/federated.h>
#include <fewbits/federated/summary.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <random>
#include <span>
#include <vector>

namespace fb = fewbits::federated;

// The chance that a target is 1 is the logistic function of w x + b. Tensors "weight" [features] and "bias" [1].
class Logistic final : public fb::Model {
 public:
  explicit Logistic(std::size_t features)
      : layout_(std::vector<fewbits::Tensor>{{"weight", {features}}, {"bias", {1}}}) {}

  const fewbits::Layout& layout() const noexcept override { return layout_; }

  void initialize(std::uint64_t, std::span<float> parameters) const override { std::ranges::fill(parameters, 0.0f); }

  double loss_and_gradient(std::span<const float> parameters, const fb::Examples& batch, std::span<float> gradient) override {
    std::ranges::fill(gradient, 0.0f);
    const auto rows = static_cast<double>(batch.y.size());
    double loss = 0;
    for (std::size_t row = 0; row < batch.y.size(); ++row) {
      const std::span<const float> x = batch.x.subspan(row * features(), features());
      const double log_odds = this->log_odds(parameters, x), y = static_cast<double>(batch.y[row]);
      loss += (std::log1p(std::exp(-std::abs(log_odds))) + std::max(log_odds, 0.0) - y * log_odds) / rows;
      const auto slope = static_cast<float>((1 / (1 + std::exp(-log_odds)) - y) / rows);
      for (std::size_t i = 0; i < features(); ++i) gradient[i] += slope * x[i];
      gradient.back() += slope;
    }
    return loss;
  }

  fb::Score score(std::span<const float> parameters, const fb::Examples& examples) override {
    fb::Score right{.weight = static_cast<double>(examples.y.size())};
    for (std::size_t row = 0; row < examples.y.size(); ++row)
      right.sum += (log_odds(parameters, examples.x.subspan(row * features(), features())) > 0) == (examples.y[row] > 0.5f);
    return right;
  }

 private:
  std::size_t features() const { return layout_.elements() - 1; }

  double log_odds(std::span<const float> parameters, std::span<const float> x) const {
    double sum = static_cast<double>(parameters.back());
    for (std::size_t i = 0; i < x.size(); ++i) sum += static_cast<double>(parameters[i]) * static_cast<double>(x[i]);
    return sum;
  }

  fewbits::Layout layout_;
};

struct Data {
  std::vector<float> x, y;
};

// Points on both sides of a plane.
Data draw(std::size_t rows, std::size_t features, unsigned seed) {
  Data data;
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  for (std::size_t row = 0; row < rows; ++row) {
    float side = 0;
    for (std::size_t i = 0; i < features; ++i) {
      data.x.push_back(normal(random));
      side += data.x.back() * std::sin(static_cast<float>(i));
    }
    data.y.push_back(side > 0 ? 1.0f : 0.0f);
  }
  return data;
}

constexpr std::size_t kFeatures = 2000, kClients = 50, kRows = 200;   // rows of each client

int main() {
  const Data train = draw(kClients * kRows, kFeatures, 1), test = draw(1000, kFeatures, 2);
  std::vector<std::vector<std::uint32_t>> rows(kClients);
  for (std::uint32_t row = 0; row < kClients * kRows; ++row) rows[row % kClients].push_back(row);

  const fb::Task task{.model = [] { return std::make_unique<Logistic>(kFeatures); },
                      .shape = {.features = kFeatures},
                      .train = {train.x, train.y},
                      .test = {test.x, test.y},
                      .clients = fb::listed_clients(rows)};
  fb::Options options;
  options.rounds = 30;
  options.clients_per_round = 20;
  for (const char* plan : {"f32", "trellis:bits=0.5"}) {
    fb::Trainer trainer(task, options, {.plan = plan, .learning_rate = 0.1});
    std::vector<fb::RoundResult> results;
    fb::run(trainer, [&](const fb::RoundResult& result) {
      results.push_back(result);
      return true;
    });
    const fb::Summary summary = fb::summarize(results, trainer.layout().elements(), trainer.metric(), {});
    std::printf("%s: accuracy %.3f, %.3f bits a coordinate\n", plan, *results.back().score, summary.bits_per_coordinate);
  }
}
