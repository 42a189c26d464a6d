#include "fewbits/privacy/audit.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numbers>
#include <utility>

#include "fewbits/error.h"
#include "fewbits/privacy/accountant.h"

namespace fewbits::privacy {
namespace {

constexpr std::size_t kLeastTrials = 20;

void require(bool right, const std::string& what) {
  if (!right) throw Error(Errc::kBadArgument, what);
}

std::string text(double value) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "%.4g", value);
  return buffer;
}

// Values of `sorted` below `value`; of equal ones half.
double below(const std::vector<double>& sorted, double value) {
  const auto [first, last] = std::equal_range(sorted.begin(), sorted.end(), value);
  return static_cast<double>(first - sorted.begin()) + static_cast<double>(last - first) / 2;
}

std::vector<double> sorted_of(std::span<const double> values) {
  std::vector<double> sorted(values.begin(), values.end());
  std::ranges::sort(sorted);
  return sorted;
}

struct Area {
  double auc = 0;
  double error = 0;
};

Area area_under(std::span<const double> with, std::span<const double> without) {
  const std::vector<double> sorted_with = sorted_of(with), sorted_without = sorted_of(without);
  const auto n = static_cast<double>(with.size());
  Area area;
  std::vector<double> placements(with.size());
  for (std::size_t i = 0; i < with.size(); ++i) {
    const double exceeded = below(sorted_without, with[i]);
    area.auc += exceeded;
    placements[i] = (exceeded - below(sorted_with, without[i])) / n + 1;
  }
  area.auc /= n * n;
  double squares = 0;
  for (const double placement : placements) squares += (placement - 2 * area.auc) * (placement - 2 * area.auc);
  area.error = std::max(std::sqrt(squares / (n * (n - 1))), 1 / n);
  return area;
}

// P(at most k of n), each with chance p.
double at_most(std::size_t k, std::size_t n, double p) {
  if (p <= 0 || k >= n) return 1;
  if (p >= 1) return 0;
  double sum = 0;
  const auto all = static_cast<double>(n);
  for (std::size_t i = 0; i <= k; ++i) {
    const auto some = static_cast<double>(i);
    sum += std::exp(std::lgamma(all + 1) - std::lgamma(some + 1) - std::lgamma(all - some + 1) + some * std::log(p) +
                    (all - some) * std::log1p(-p));
  }
  return std::min(sum, 1.0);
}

// The chance is no larger, or the risk is met: that at which k of n or fewer come with probability `risk`.
double upper_rate(std::size_t k, std::size_t n, double risk) {
  double low = 0, high = 1;
  for (int step = 0; step < 50; ++step) {
    const double middle = (low + high) / 2;
    (at_most(k, n, middle) > risk ? low : high) = middle;
  }
  return high;
}

double lower_rate(std::size_t k, std::size_t n, double risk) { return 1 - upper_rate(n - k, n, risk); }

// The same bounds, nearly (Wilson 1927), for choosing thresholds; `sign` −1: from below.
double about(std::size_t k, std::size_t n, double sign) {
  constexpr double z = 2.5;
  const auto all = static_cast<double>(n);
  const double p = static_cast<double>(k) / all;
  return (p + z * z / (2 * all) + sign * z * std::sqrt(p * (1 - p) / all + z * z / (4 * all * all))) / (1 + z * z / all);
}

struct Threshold {
  double at = 0;
  bool above = true;   // guess "there" above it and bound false alarms; or "not there" up to it, and bound misses
};

struct Counts {
  std::size_t right = 0;
  std::size_t wrong = 0;
};

Counts counts(const std::vector<double>& with, const std::vector<double>& without, const Threshold& threshold) {
  const auto up_to = [&](const std::vector<double>& sorted) {
    return static_cast<std::size_t>(std::upper_bound(sorted.begin(), sorted.end(), threshold.at) - sorted.begin());
  };
  if (threshold.above) return {with.size() - up_to(with), without.size() - up_to(without)};
  return {up_to(without), up_to(with)};
}

double ratio(double right, double wrong, double delta) { return right > delta ? std::log((right - delta) / wrong) : 0; }

double epsilon_from_below(std::span<const double> with, std::span<const double> without, double delta, double risk) {
  std::vector<double> choose[2], bound[2];
  for (std::size_t i = 0; i < with.size(); ++i) {
    auto& half = i % 2 == 0 ? choose : bound;
    half[0].push_back(with[i]);
    half[1].push_back(without[i]);
  }
  for (auto* half : {choose, bound})
    for (int side = 0; side < 2; ++side) std::ranges::sort(half[side]);

  Threshold best;
  double most = -1;
  for (const auto& side : choose) {
    for (const double at : side) {
      for (const bool above : {true, false}) {
        const Counts seen = counts(choose[0], choose[1], {at, above});
        const double value = ratio(about(seen.right, side.size(), -1), about(seen.wrong, side.size(), 1), delta);
        if (value > most) most = value, best = {at, above};
      }
    }
  }
  const Counts seen = counts(bound[0], bound[1], best);
  return std::max(0.0, ratio(lower_rate(seen.right, bound[0].size(), risk / 2), upper_rate(seen.wrong, bound[0].size(), risk / 2), delta));
}

}  // namespace

double expected_auc(double z, double q) {
  require(z > 0 && std::isfinite(z), "z, the noise multiplier, is a finite number above 0, not " + text(z));
  require(q > 0 && q <= 1, "q, the chance of a client to take part, is in (0, 1], not " + text(q));
  return 0.5 + q * 0.5 * std::erf(1 / (2 * z));   // Φ(x) − 1/2 = erf(x/√2)/2
}

AuditResult judge_audit(std::span<const double> with, std::span<const double> without, const AuditClaim& claim, const AuditOptions& options) {
  require(with.size() == without.size() && with.size() >= kLeastTrials,
          "an audit has " + std::to_string(with.size()) + " values with the canary and " + std::to_string(without.size()) +
              " without it, expected as many, and at least " + std::to_string(kLeastTrials));
  require(options.confidence > 0 && options.confidence < 1, "the confidence is in (0, 1), not " + text(options.confidence));
  require(options.tolerance > 0, "the tolerance is above 0, not " + text(options.tolerance));
  for (const auto side : {with, without})
    require(std::ranges::none_of(side, [](double value) { return std::isnan(value); }), "an audit's statistic is NaN");
  AuditResult result;
  result.trials = with.size();
  result.auc_theory = expected_auc(claim.z, claim.q);
  result.epsilon = Accountant().spent_with(GaussianRound{claim.q, claim.z}, claim.delta).epsilon;
  const Area area = area_under(with, without);
  result.auc = area.auc;
  result.auc_error = area.error;
  result.epsilon_least = epsilon_from_below(with, without, claim.delta, 1 - options.confidence);

  const double off = (result.auc - result.auc_theory) / result.auc_error;
  const std::string met = text(result.auc) + ", " + text(std::abs(off)) + " standard errors ";
  if (off > options.tolerance)
    result.fault = "the release tells more than is claimed: AUC " + met + "above " + text(result.auc_theory);
  else if (result.epsilon_least > result.epsilon)
    result.fault = "the release tells more than is claimed: epsilon is over " + text(result.epsilon_least) + ", claimed is " + text(result.epsilon);
  else if (options.best_statistic && off < -options.tolerance)
    result.fault = "the canary is seen less than it should be: AUC " + met + "below " + text(result.auc_theory) +
                   "; it was not whole in the sum, or the noise is more than is claimed";
  return result;
}

AuditResult audit(const AuditedRelease& release, const AuditStatistic& statistic, const AuditClaim& claim, const AuditOptions& options) {
  std::vector<double> with, without;
  for (std::size_t trial = 0; trial < options.trials; ++trial) {
    with.push_back(statistic(trial, release(trial, true)));
    without.push_back(statistic(trial, release(trial, false)));
  }
  return judge_audit(with, without, claim, options);
}

AuditStatistic along(std::vector<float> canary) {
  return [canary = std::move(canary)](std::size_t, std::span<const float> release) {
    require(release.size() == canary.size(), "the release has " + std::to_string(release.size()) + " values, the canary " +
                                                 std::to_string(canary.size()));
    double sum = 0;
    for (std::size_t i = 0; i < canary.size(); ++i) sum += static_cast<double>(release[i]) * canary[i];
    return sum;
  };
}

double phase_statistic(std::span<const float> release, double step, std::span<const double> with, std::span<const double> without) {
  require(step > 0 && std::isfinite(step), "the step of a lattice is a finite number above 0, not " + text(step));
  require(release.size() == with.size() && release.size() == without.size(),
          "the release has " + std::to_string(release.size()) + " values, the places on the lattice " + std::to_string(with.size()) + " and " +
              std::to_string(without.size()));
  const double turn = 2 * std::numbers::pi / step;
  double sum = 0;
  for (std::size_t i = 0; i < release.size(); ++i)
    sum += std::cos(turn * (release[i] - with[i])) - std::cos(turn * (release[i] - without[i]));
  return sum;
}

}  // namespace fewbits::privacy
