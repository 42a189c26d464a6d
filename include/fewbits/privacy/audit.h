#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "fewbits/export.h"

// Whether a mechanism keeps what is promised of it, from what it releases: a client is planted (the canary), and whoever knows
// all else guesses whether it is there. A sound mechanism lets that be guessed as well as theory says, and no better. An audit
// finds faults (no noise, too little of it, no clipping, a denominator that tells the cohort); it proves nothing.
// Everything here throws kBadArgument for a value out of its range.
namespace fewbits::privacy {

// What is promised of the round that is audited.
struct AuditClaim {
  double z = 0;          // noise multiplier, > 0: N(0, (z S)²) on a sum to which the canary contributes S
  double q = 1;          // chance of the canary to take part, in (0, 1]
  double delta = 1e-5;   // in (0, 1)
};

// Chance that a release with the canary looks more like one with it than a release without does (the area under the curve of
// true against false alarms). With x ~ N(S, (zS)²) and y ~ N(0, (zS)²) along the canary, x − y ~ N(S, 2(zS)²):
// P(x > y) = Φ(1/(z√2)) = 0.921, 0.760, 0.638 at z = 0.5, 1, 2. A canary that takes part by chance has x of that kind with
// probability q and x distributed as y else, where P(x > y) = 1/2: in all 1/2 + q (Φ(1/(z√2)) − 1/2). Ratios of the likelihoods rise
// with the projection, so by Neyman and Pearson no statistic has more.
FEWBITS_API double expected_auc(double z, double q = 1);

struct AuditOptions {
  std::size_t trials = 400;     // pairs of releases, at least 20
  double tolerance = 3;         // standard errors; three are exceeded by 0.3 % of audits of a sound mechanism
  double confidence = 0.99;     // of epsilon_least
  bool best_statistic = true;   // as ⟨release, canary⟩ is: then less than theory says is a fault too, of the audit or the mechanism
};

struct AuditResult {
  std::size_t trials = 0;
  double auc = 0;
  double auc_error = 0;       // standard error, at least 1/trials
  double auc_theory = 0;      // expected_auc of the claim
  double epsilon_least = 0;   // with the options' confidence epsilon is larger, at the claim's delta
  double epsilon = 0;         // that the accountant grants the claim for one round
  std::string fault;          // why the audit fails, in words; empty where it passes

  bool passes() const noexcept { return fault.empty(); }
};

// `with` and `without` the canary, shape [trials] each: a statistic of releases, larger where the canary seems to be there. Trial
// i's two are a pair, which may have more than the canary's absence in common; trials are independent. Standard error: of the sum
// of a pair's two placements, its shares of the other side's values that are exceeded (DeLong et al. 1988, clustered as by
// Obuchowski 1997). epsilon_least: one threshold is chosen by the even trials, and one of the two sides of (epsilon, delta) privacy,
// TPR ≤ e^ε FPR + δ or TNR ≤ e^ε FNR + δ; the odd trials bound both rates at it (Clopper and Pearson 1934), each with half of the risk.
FEWBITS_API AuditResult judge_audit(std::span<const double> with, std::span<const double> without, const AuditClaim& claim,
                                    const AuditOptions& options = {});

// What a mechanism releases in a trial, with the canary or without it, any shape; noise is fresh each time.
using AuditedRelease = std::function<std::vector<float>(std::size_t trial, bool with_canary)>;
using AuditStatistic = std::function<double(std::size_t trial, std::span<const float> release)>;

FEWBITS_API AuditResult audit(const AuditedRelease& release, const AuditStatistic& statistic, const AuditClaim& claim,
                              const AuditOptions& options = {});

// ⟨release, canary⟩, of releases with the shape of `canary`.
FEWBITS_API AuditStatistic along(std::vector<float> canary);

// Where a sum lies between the steps of a lattice. A sum of dithered updates is Δ(Σk − Σu), with u from the seed that clients and
// server share: its place modulo Δ is a function of who took part, and noise of whole steps leaves it as it is. The statistic is
// Σ_i cos 2π(r_i − a_i)/Δ − cos 2π(r_i − b_i)/Δ for a release r, and the places a with and b without the canary, shape [release].
FEWBITS_API double phase_statistic(std::span<const float> release, double step, std::span<const double> with, std::span<const double> without);

}  // namespace fewbits::privacy
