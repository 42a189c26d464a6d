#include "fewbits/privacy/accountant.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>
#include <string>

#include "fewbits/error.h"
#include "privacy/privacy_loss.h"
#include "privacy/renyi.h"

namespace fewbits::privacy {
namespace {

using History = std::vector<std::pair<RoundMechanism, std::uint64_t>>;

void check_count(std::uint64_t all, std::uint64_t count) {
  if (count > kMostRounds || all > kMostRounds - count)
    throw Error(Errc::kBadArgument, "at most " + std::to_string(kMostRounds) + " rounds are accounted for");
}

// A round whose privacy loss distribution is known, and what that misses: probabilities are within a factor exp(±slack) of it.
struct NearlyGaussian {
  GaussianRound round;
  double slack = 0;
};

// Noise of clients that is many steps wide is that of a server to a factor that no one sees: probabilities of sums are within
// exp(±tau) in each coordinate, so that epsilon at delta is at most 2 tau · dimension more than a Gaussian's at exp(−tau · dimension) · delta,
// a round. A sum of few steps is too coarse to be counted as a Gaussian.
std::optional<NearlyGaussian> nearly_gaussian(const RoundMechanism& round) {
  constexpr double kMostSlack = 1e-9;
  constexpr double kLeastSteps = 4;
  if (const auto* gaussian = std::get_if<GaussianRound>(&round)) return NearlyGaussian{*gaussian};
  const auto* discrete = std::get_if<DiscreteGaussianRound>(&round);
  if (discrete == nullptr) return std::nullopt;
  const double sigma = std::sqrt(static_cast<double>(discrete->clients)) * discrete->sigma;
  const double slack = log_ratio_of_sum(*discrete) * static_cast<double>(discrete->dimension);
  if (sigma < kLeastSteps || slack > kMostSlack) return std::nullopt;
  return NearlyGaussian{{discrete->q, sigma / discrete->l2}, slack};
}

}  // namespace

struct Accountant::Impl {
  struct Known {
    RoundMechanism round;
    std::vector<double> divergences;
  };

  Accounting accounting = Accounting::kPld;
  History history;
  std::uint64_t rounds = 0;
  // What is known of rounds that were added or asked about.
  std::vector<Known> known;
  PrivacyLoss loss;

  const std::vector<double>& divergences(const RoundMechanism& round) {
    for (const Known& k : known)
      if (k.round == round) return k.divergences;
    if (known.size() >= 4096) known.clear();
    return known.emplace_back(Known{round, renyi_divergences(round)}).divergences;
  }

  static void append(History& to, const RoundMechanism& round, std::uint64_t count) {
    if (count == 0) return;
    const auto same = std::find_if(to.begin(), to.end(), [&](const auto& entry) { return entry.first == round; });
    if (same == to.end())
      to.emplace_back(round, count);
    else
      same->second += count;
  }

  RenyiEpsilon renyi(const History& all, double delta) {
    const std::span<const double> orders = renyi_orders();
    std::vector<double> sums(orders.size(), 0);
    for (const auto& [round, count] : all) {
      const std::vector<double>& one = divergences(round);
      for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += one[i] * static_cast<double>(count);
    }
    return epsilon_from_renyi(orders, sums, delta);
  }

  PrivacySpent spent(const History& all, double delta) {
    if (all.empty()) return {0, 0, 0, accounting};
    const RenyiEpsilon bound = renyi(all, delta);
    const PrivacySpent by_renyi{bound.epsilon, bound.epsilon, bound.order, Accounting::kRdp};
    if (accounting != Accounting::kPld) return by_renyi;
    std::vector<SampledRounds> rounds_of_noise;
    double slack = 0;
    for (const auto& [round, count] : all) {
      const std::optional<NearlyGaussian> like = nearly_gaussian(round);
      if (!like) return by_renyi;
      rounds_of_noise.push_back({like->round.q, like->round.z, count});
      slack += like->slack * static_cast<double>(count);
    }
    const double by_loss = loss.epsilon(rounds_of_noise, delta * std::exp(-slack)) + 2 * slack;
    return {std::min(bound.epsilon, by_loss), bound.epsilon, bound.order, Accounting::kPld};
  }
};

Accountant::Accountant(Accounting accounting) : impl_(std::make_unique<Impl>()) { impl_->accounting = accounting; }
Accountant::~Accountant() = default;
Accountant::Accountant(Accountant&&) noexcept = default;
Accountant& Accountant::operator=(Accountant&&) noexcept = default;

void Accountant::add(const RoundMechanism& round, std::uint64_t count) {
  check(round);
  check_count(impl_->rounds, count);
  Impl::append(impl_->history, round, count);
  impl_->rounds += count;
}

PrivacySpent Accountant::spent(double delta) const {
  check_delta(delta);
  return impl_->spent(impl_->history, delta);
}

PrivacySpent Accountant::spent_with(const RoundMechanism& round, double delta, std::uint64_t count) const {
  check(round);
  check_delta(delta);
  check_count(impl_->rounds, count);
  History all = impl_->history;
  Impl::append(all, round, count);
  return impl_->spent(all, delta);
}

bool Accountant::would_exceed(const RoundMechanism& round, double epsilon, double delta) const {
  check(round);
  check_delta(delta);
  check_budget(epsilon);
  check_count(impl_->rounds, 1);
  History all = impl_->history;
  Impl::append(all, round, 1);
  // The cheaper bound is enough for most rounds.
  if (impl_->renyi(all, delta).epsilon <= epsilon) return false;
  return impl_->spent(all, delta).epsilon > epsilon;
}

std::uint64_t Accountant::rounds() const noexcept { return impl_->rounds; }

const std::vector<std::pair<RoundMechanism, std::uint64_t>>& Accountant::history() const noexcept { return impl_->history; }

namespace {

constexpr double kLeastNoise = 0.01;
constexpr double kMostNoise = 1e12;

double spends(Accountant& accountant, const RoundMechanism& round, std::uint64_t rounds, double delta) {
  return accountant.spent_with(round, delta, rounds).epsilon;
}

// Of a falling function: x in (low, high] at which it is no more than `target`, as small as the precision allows, where it
// is more at `low` and not at `high`. False position with halving (Dowell and Jarratt's Illinois rule), on logarithms.
double fall_to(const std::function<double(double)>& of, double low, double high, double target, double precision) {
  const auto gap = [&](double x) { return std::log(std::max(of(x), 1e-300)) - std::log(target); };
  double at_low = gap(low), at_high = gap(high), a = std::log(low), b = std::log(high);
  for (int i = 0, side = 0; i < 100 && b - a > precision; ++i) {
    const bool bisect = !std::isfinite(at_low) || at_high < -600 || i % 8 == 7;
    double x = bisect ? (a + b) / 2 : (a * at_high - b * at_low) / (at_high - at_low);
    // A little beyond the root, so that the bracket closes from both sides.
    if (!bisect) x = std::clamp(x + 0.3 * precision, a + 0.1 * precision, b - 0.1 * precision);
    const double at_x = gap(std::exp(x));
    if (at_x <= 0) {
      b = x, at_high = at_x;
      if (at_x > -precision * 1e-3) break;
      if (side == 1) at_low /= 2;
      side = 1;
    } else {
      a = x, at_low = at_x;
      if (side == -1) at_high /= 2;
      side = -1;
    }
  }
  return std::exp(b);
}

}  // namespace

double noise_for(double q, std::uint64_t rounds, double epsilon, double delta, Accounting accounting) {
  check(GaussianRound{q, 1});
  check_count(0, rounds);
  check_delta(delta);
  check_budget(epsilon);
  if (rounds == 0) throw Error(Errc::kBadArgument, "noise for no round: there is at least one");
  const auto search = [&](Accounting by, double start) {
    Accountant accountant(by);
    const auto of = [&](double z) { return spends(accountant, GaussianRound{q, z}, rounds, delta); };
    double high = start;
    while (of(high) > epsilon) {
      if (high > kMostNoise) throw Error(Errc::kBadArgument, "no noise keeps to so small a budget");
      high *= 2;
    }
    double low = high, factor = 1.1;
    do {
      if (low == kLeastNoise) return kLeastNoise;
      high = low;
      low = std::max(low / factor, kLeastNoise);
      factor = std::min(2.0, factor * factor);
    } while (of(low) <= epsilon);
    return fall_to(of, low, high, epsilon, 1e-6);
  };
  const double by_renyi = search(Accounting::kRdp, 1);
  return accounting == Accounting::kRdp ? by_renyi : search(Accounting::kPld, by_renyi);
}

std::uint64_t rounds_for(const RoundMechanism& round, double epsilon, double delta, Accounting accounting) {
  check(round);
  check_delta(delta);
  check_budget(epsilon);
  const auto search = [&](Accounting by, std::uint64_t start) {
    Accountant accountant(by);
    const auto keeps = [&](std::uint64_t count, double& spent) {
      return (spent = spends(accountant, round, count, delta)) <= epsilon;
    };
    // [low, high): low rounds keep to the budget, high do not.
    std::uint64_t low = 0, high = std::max<std::uint64_t>(start, 1);
    double at_low = 0, at_high = 0, spent = 0;
    while (keeps(high, spent)) {
      if (high == kMostRounds) return kMostRounds;
      low = high, at_low = spent;
      high = std::min(high + high / 4 + 1, kMostRounds);
    }
    at_high = spent;
    for (int i = 0; high - low > 1; ++i) {
      const double l = static_cast<double>(low), width = static_cast<double>(high - low);
      double x = l + width / 2;
      if (i % 3 != 2 && std::isfinite(at_high)) {
        const double root = l + width * (epsilon - at_low) / (at_high - at_low);
        x = root + (i % 3 == 0 ? 0 : 1e-3 * width);  // the second on the other side
      }
      const std::uint64_t middle = std::clamp(static_cast<std::uint64_t>(std::max(x, 0.0)), low + 1, high - 1);
      if (keeps(middle, spent))
        low = middle, at_low = spent;
      else
        high = middle, at_high = spent;
    }
    return low;
  };
  const std::uint64_t by_renyi = search(Accounting::kRdp, 1);
  return accounting == Accounting::kRdp ? by_renyi : search(Accounting::kPld, std::max<std::uint64_t>(by_renyi, 1));
}

}  // namespace fewbits::privacy
