#include "federated/server_step.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace fewbits::federated {

ServerStep::ServerStep(const PlanOptions& plan, std::size_t parameters) : plan_(plan) {
  const bool adam = plan.server == ServerOptimizer::kAdam;
  if (adam || plan.server_momentum > 0) state_.momentum.resize(parameters);
  if (adam) state_.second.resize(parameters);
  if (plan.average > 0) state_.average.resize(parameters);
}

bool ServerStep::apply(std::span<const float> mean, std::vector<float>& parameters) {
  const auto rate = static_cast<float>(plan_.server_learning_rate);
  const auto momentum = static_cast<float>(plan_.server_momentum);
  const auto beta2 = static_cast<float>(plan_.server_beta2);
  const auto tau = static_cast<float>(plan_.server_tau);
  const bool adam = plan_.server == ServerOptimizer::kAdam;
  std::vector<float> moved = parameters;
  State next = state_;
  bool finite = true;
  for (std::size_t i = 0; i < moved.size(); ++i) {
    float step = mean[i];
    if (adam) {
      next.second[i] = beta2 * next.second[i] + (1 - beta2) * (step * step);
      next.momentum[i] = momentum * next.momentum[i] + (1 - momentum) * step;
      step = next.momentum[i] / (std::sqrt(next.second[i]) + tau);
      finite = finite && std::isfinite(next.second[i]);
    } else if (!next.momentum.empty()) {
      step = next.momentum[i] = momentum * next.momentum[i] + step;
    }
    moved[i] += rate * step;
    finite = finite && std::isfinite(moved[i]) && std::isfinite(step);
  }
  if (!finite) return false;
  ++next.steps;
  const auto keep = static_cast<float>(plan_.average);
  for (std::size_t i = 0; i < next.average.size(); ++i) next.average[i] = keep * next.average[i] + (1 - keep) * moved[i];
  parameters = std::move(moved);
  state_ = std::move(next);
  release();
  return true;
}

// The average began with zeros, which weigh average^steps (as in Kingma and Ba 2014, section 3).
void ServerStep::release() {
  released_.resize(state_.average.size());
  const auto weight = static_cast<float>(1 - std::pow(plan_.average, static_cast<double>(state_.steps)));
  std::ranges::transform(state_.average, released_.begin(), [&](float value) { return value / weight; });
}

std::span<const float> ServerStep::released(const std::vector<float>& parameters) const noexcept {
  return state_.average.empty() || state_.steps == 0 ? std::span<const float>(parameters) : std::span<const float>(released_);
}

bool ServerStep::takes(const State& state) const noexcept {
  return state.momentum.size() == state_.momentum.size() && state.second.size() == state_.second.size() &&
         state.average.size() == state_.average.size();
}

void ServerStep::restore(State state) {
  state_ = std::move(state);
  release();
}

}  // namespace fewbits::federated
