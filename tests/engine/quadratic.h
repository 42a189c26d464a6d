#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "fewbits/aggregator.h"
#include "tests/engine/support.h"

// Distributed least squares, whose optimum is known: client i has f_i(w) = ½ Σ_j a_j (w_j − b_ij)² and weight i + 1, so
// the optimum of the weighted mean is the weighted mean of the b_i, whatever a is. At it no client's gradient is zero.
namespace fewbits::test {

struct Quadratic {
  Quadratic(std::size_t clients, std::size_t n, double heterogeneity, std::uint64_t seed)
      : curvature(n), centres(clients), model(n), optimum(n) {
    RandomReader random = reader(seed);
    for (float& a : curvature) a = static_cast<float>(0.5 + 0.5 * random.uniform());
    for (std::size_t i = 0; i < clients; ++i) {
      centres[i] = normal(n, seed + 1 + i, heterogeneity);
      for (std::size_t j = 0; j < n; ++j) optimum[j] += weight(i) * static_cast<double>(centres[i][j]);
      total += weight(i);
    }
    for (double& value : optimum) value /= total;
  }

  static double weight(std::size_t client) { return static_cast<double>(client + 1); }
  std::size_t clients() const { return centres.size(); }

  // What a client would send: its step of gradient descent with rate 1.
  std::vector<float> step_of(std::size_t client) const {
    std::vector<float> x(model.size());
    for (std::size_t j = 0; j < x.size(); ++j)
      x[j] = static_cast<float>(static_cast<double>(curvature[j]) *
                                (static_cast<double>(centres[client][j]) - model[j]));
    return x;
  }

  void move(double rate, std::span<const float> update) {
    for (std::size_t j = 0; j < model.size(); ++j) model[j] += rate * static_cast<double>(update[j]);
  }

  // Root of the mean squared error of the model.
  double distance() const {
    double sum = 0;
    for (std::size_t j = 0; j < model.size(); ++j) sum += (model[j] - optimum[j]) * (model[j] - optimum[j]);
    return std::sqrt(sum / static_cast<double>(model.size()));
  }

  std::vector<float> curvature;
  std::vector<std::vector<float>> centres;
  std::vector<double> model;
  std::vector<double> optimum;
  double total = 0;
};

// Every round: the frames of the cohort that `takes_part` chooses, and a step by the update made of their sum. The mean of
// the model's squared distances over the last quarter, as a root.
struct Descent {
  std::uint32_t rounds = 0;
  double rate = 0;
  std::function<bool(std::uint32_t round, std::size_t client)> takes_part = [](std::uint32_t, std::size_t) { return true; };
  std::function<std::vector<std::byte>(std::size_t client, std::span<const float> update, const Context&)> encode = nullptr;
  std::function<void(std::size_t client)> arrived = [](std::size_t) {};
  std::function<std::vector<float>(const Aggregator& sum)> update = [](const Aggregator& sum) { return sum.mean(); };

  double run(Quadratic& task, const Codec& codec) const {
    constexpr std::uint64_t kSeed = 5;
    double squares = 0;
    for (std::uint32_t round = 1; round <= rounds; ++round) {
      Aggregator sum(codec, {kSeed, round});
      for (std::size_t i = 0; i < task.clients(); ++i) {
        if (!takes_part(round, i)) continue;
        sum.add(encode(i, task.step_of(i), {kSeed, round, i}), {i, Quadratic::weight(i)});
        arrived(i);
      }
      if (sum.clients() > 0) task.move(rate, update(sum));
      if (round > rounds - rounds / 4) squares += task.distance() * task.distance();
    }
    return std::sqrt(squares / (rounds / 4));
  }
};

}  // namespace fewbits::test
