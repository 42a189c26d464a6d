#pragma once

#include <span>
#include <vector>

#include "fewbits/federated/federated.h"

namespace fewbits::federated {

// The server's step along the mean of a round's updates, and the average of its models.
class ServerStep {
 public:
  ServerStep(const PlanOptions& plan, std::size_t parameters);

  // Moves `parameters` by `mean`. False, and nothing is changed, when a value would not be finite.
  bool apply(std::span<const float> mean, std::vector<float>& parameters);

  // The average as of the last step, of `parameters` themselves where none is kept.
  std::span<const float> released(const std::vector<float>& parameters) const noexcept;

  // What later steps depend on.
  struct State {
    std::uint64_t steps = 0;
    std::vector<float> momentum;   // empty without
    std::vector<float> second;     // of kAdam
    std::vector<float> average;    // before its bias is taken out; empty without
  };
  const State& state() const noexcept { return state_; }
  bool takes(const State& state) const noexcept;   // it is of such options and as many parameters
  void restore(State state);

 private:
  void release();

  PlanOptions plan_;
  State state_;
  std::vector<float> released_;
};

}  // namespace fewbits::federated
