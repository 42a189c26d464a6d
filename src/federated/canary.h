#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "fewbits/federated/federated.h"
#include "fewbits/privacy/audit.h"

// The audit of privacy/audit.h on rounds as Trainer does them: with its clipping, frames, second clipping, denominator and noise.
namespace fewbits::federated {

// The first round of a training, with the planted client and without. Everybody else, their updates, and what the canary would
// send are known to whoever guesses.
class CanaryRound {
 public:
  // `options` has its privacy, and clients that all weigh the same; `canary` has examples. Throws kBadArgument for others, and for
  // a plan that trains inside a structured family. `task` must outlive it.
  CanaryRound(const Task& task, const Options& options, const PlanOptions& plan, std::uint32_t canary);

  // Norm of the canary's update before it is clipped: the audit means most where it is at least the clip.
  double norm() const noexcept { return norm_; }
  const std::vector<float>& direction() const noexcept { return direction_; }   // of it, of length 1

  // What the round has released, as a sum: what the model has moved, times the denominator, which is public. Shape [parameters].
  std::vector<float> sum(bool with_canary) const;

  // Of the round as its options say it.
  privacy::AuditClaim claim() const;
  privacy::AuditResult audit(const privacy::AuditClaim& claim, const privacy::AuditOptions& options) const;

 private:
  Task with_, without_;
  Options options_;
  PlanOptions plan_;
  std::vector<float> direction_;
  double norm_ = 0;
};

// An audit with nothing to choose but its size: clients of few examples, spread evenly over those of `task`, with f32 or another
// plan, and updates clipped to half the canary's norm.
struct CanaryOptions {
  std::uint64_t seed = 1;
  std::string plan = "f32";
  std::size_t clients = 50;
  std::size_t examples = 4;       // of a client
  double learning_rate = 0.1;
  double delta = 1e-5;
  privacy::AuditOptions audit = {};   // best_statistic goes by the plan: a coded canary may be seen less, never more
};
privacy::AuditResult audit_canary(const Task& task, double noise_multiplier, const CanaryOptions& options);

}  // namespace fewbits::federated
