#include "privacy/renyi.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <numbers>
#include <string>

#include "fewbits/error.h"

namespace fewbits::privacy {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

[[noreturn]] void refuse(const std::string& what, double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.6g", value);
  throw Error(Errc::kBadArgument, what + ", not " + text);
}

void check_q(double q) {
  if (!(q > 0 && q <= 1)) refuse("q, the chance of a client to take part in a round, is in (0, 1]", q);
}

void check_positive(const char* name, double value) {
  if (!(value > 0 && std::isfinite(value))) refuse(std::string(name) + " is a finite number above 0", value);
}

bool is_integer(double order) { return order == std::floor(order); }

// ln of a sum of exp(terms).
class LogSum {
 public:
  void add(double term) {
    if (term == -kInfinity) return;
    if (term > largest_) {
      sum_ = sum_ * std::exp(largest_ - term) + 1;
      largest_ = term;
    } else {
      sum_ += std::exp(term - largest_);
    }
  }
  double value() const { return sum_ == 0 ? -kInfinity : largest_ + std::log(sum_); }

 private:
  double largest_ = -kInfinity;
  double sum_ = 0;
};

double log_expm1(double x) { return x > 1 ? x + std::log1p(-std::exp(-x)) : std::log(std::expm1(x)); }

// ln(1 + e^x).
double log1p_exp(double x) { return x > 0 ? x + std::log1p(std::exp(-x)) : std::log1p(std::exp(x)); }

// ln of the terms C(order, k) q^k (1-q)^(order-k) for k = 2, 3, ...; in turn.
class LogBinomial {
 public:
  LogBinomial(double order, double q) : order_(order), ratio_(std::log(q) - std::log1p(-q)) {
    term_ = order * std::log1p(-q);
    next();
  }
  double next() {
    ++k_;
    return term_ += std::log((order_ - k_ + 1) / k_) + ratio_;
  }

 private:
  double order_, ratio_, term_ = 0, k_ = 0;
};

// Both forms of the sampled Gaussian's moment A give ln(A - 1), by sums of positive terms alone: a round's divergence may
// be far below the rounding error of A itself.
double log_excess_at_integer(const GaussianRound& round, double order) {
  LogBinomial binomial(order, round.q);
  LogSum sum;
  for (double k = 2; k <= order; ++k) sum.add(binomial.next() + log_expm1(k * (k - 1) / 2 / round.z / round.z));
  return sum.value();
}

// ln((1+y)^a - 1 - a y) for y = q (e^u - 1): never negative, and as E[y] = 0 it has the mean A - 1.
double log_convex_part(double a, double q, double u) {
  if (u > 600) return a * (std::log(q) + u + std::log1p((1 - q) / q * std::exp(-u)));
  const double y = q * std::expm1(u);
  if (std::abs(a * y) < 1e-2) {
    const double rest =
        1 + (a - 2) / 3 * y * (1 + (a - 3) / 4 * y * (1 + (a - 4) / 5 * y * (1 + (a - 5) / 6 * y * (1 + (a - 6) / 7 * y))));
    return y == 0 ? -kInfinity : std::log(a * (a - 1) / 2 * rest) + 2 * std::log(std::abs(y));
  }
  const double power = a * std::log1p(y);
  if (power < 30) return std::log(std::max(0.0, std::expm1(power) - a * y));
  return power + std::log1p(-(1 + a * y) * std::exp(-power));
}

// The trapezoid rule, whose error falls exponentially for this integrand: its nearest singularity is pi z^2 off the real line,
// and steps are a third of z^2, or of z where that is less.
double log_excess(const GaussianRound& round, double order) {
  const double z = round.z;
  const auto log_integrand = [&](double x) { return -x / z * (x / z) / 2 + log_convex_part(order, round.q, (x - 0.5) / z / z); };
  const double begin = -12 * z, cell = z / 2;
  const auto cells = static_cast<std::size_t>(std::ceil((order + 24 * z) / cell));
  std::vector<double> ends(cells + 1);
  for (std::size_t i = 0; i <= cells; ++i) ends[i] = log_integrand(begin + static_cast<double>(i) * cell);
  // Its maxima are as wide as z; of small z most cells between them hold nothing.
  const double least = *std::max_element(ends.begin(), ends.end()) - 60;
  const auto steps = static_cast<std::size_t>(std::ceil(1.5 / std::min(1.0, z)));
  const double step = cell / static_cast<double>(steps);
  LogSum sum;
  for (std::size_t i = 0; i < cells; ++i) {
    if (ends[i] < least && ends[i + 1] < least) continue;
    sum.add(ends[i]);
    for (std::size_t k = 1; k < steps; ++k)
      sum.add(log_integrand(begin + static_cast<double>(i) * cell + static_cast<double>(k) * step));
  }
  return sum.value() + std::log(step / z) - 0.5 * std::log(2 * std::numbers::pi);
}

double divergence(const GaussianRound& round, double order) {
  if (round.q == 1) return order / 2 / round.z / round.z;
  const double excess = is_integer(order) ? log_excess_at_integer(round, order) : log_excess(round, order);
  return std::min(log1p_exp(excess) / (order - 1), order / 2 / round.z / round.z);
}

// Bound of a round without sampling, from `whole`, and with it: Zhu and Wang 2019, theorem 5, where the binomial terms of
// A = 1 are taken out.
template <class Whole>
double sampled(double q, double order, const Whole& whole) {
  if (q == 1) return whole(order);
  if (!is_integer(order)) return kInfinity;
  LogBinomial binomial(order, q);
  LogSum sum;
  sum.add(binomial.next() + log_expm1(whole(2)));
  for (double k = 3; k <= order; ++k) {
    const double exponent = std::log(3.0) + (k - 1) * whole(k);
    sum.add(binomial.next() + log_expm1(exponent));
  }
  return std::min(log1p_exp(sum.value()) / (order - 1), whole(order));
}

// Integers have an l1 norm of at most their squared l2 norm.
double l1_bound(double l2, double dimension) { return l2 * std::min(std::sqrt(dimension), l2); }

double divergence(const DiscreteGaussianRound& round, double order) {
  const double clients = static_cast<double>(round.clients), d = static_cast<double>(round.dimension);
  const double tau = log_ratio_of_sum(round);
  const double s1 = l1_bound(round.l2, d) / (std::sqrt(clients) * round.sigma),
               s2 = round.l2 / (std::sqrt(clients) * round.sigma);
  return sampled(round.q, order, [&](double a) {
    const double third = s2 + std::sqrt(d) * tau;
    return std::min({a / 2 * s2 * s2 + tau * d, a / 2 * (s2 * s2 + 2 * s1 * tau + tau * tau * d), a / 2 * third * third});
  });
}

double divergence(const SkellamRound& round, double order) {
  if (!is_integer(order)) return kInfinity;
  const double mu = round.variance, l2 = round.l2, l1 = l1_bound(l2, static_cast<double>(round.dimension));
  return sampled(round.q, order, [&](double a) {
    return a * l2 * l2 / (2 * mu) + std::min(((2 * a - 1) * l2 * l2 + 6 * l1) / (4 * mu * mu), 3 * l1 / (2 * mu));
  });
}

std::vector<double> make_orders() {
  std::vector<double> orders;
  for (int i = 11; i < 110; ++i) orders.push_back(i / 10.0);
  for (int i = 11; i < 64; ++i) orders.push_back(i);
  for (int i = 128; i <= 1024; i *= 2) orders.push_back(i);
  return orders;
}

}  // namespace

double log_ratio_of_sum(const DiscreteGaussianRound& round) {
  const double clients = static_cast<double>(round.clients);
  const double decay = 2 * std::numbers::pi * std::numbers::pi * round.sigma * round.sigma;
  double tau = 0;
  for (std::uint64_t k = 1; k < round.clients; ++k) {
    const double k_ = static_cast<double>(k);
    const double term = 10 * std::exp(-decay * k_ / (k_ + 1));
    // From here on terms fall towards their limit, by less than one part in k; the largest stands for all.
    if (k == 100'000) {
      tau += term * (clients - k_);
      break;
    }
    tau += term;
  }
  return tau;
}

void check(const RoundMechanism& round) {
  std::visit([](const auto& r) { check_q(r.q); }, round);
  if (const auto* gaussian = std::get_if<GaussianRound>(&round)) {
    if (!(gaussian->z > 0 && std::isfinite(gaussian->z)))
      refuse("z, the noise multiplier, is a finite number above 0", gaussian->z);
  } else if (const auto* discrete = std::get_if<DiscreteGaussianRound>(&round)) {
    check_positive("sigma, of one client's noise,", discrete->sigma);
    check_positive("l2, the largest norm of a client's integers,", discrete->l2);
    if (discrete->clients == 0 || discrete->dimension == 0)
      throw Error(Errc::kBadArgument, "a round of distributed noise has a client and a dimension at least");
  } else {
    const auto& skellam = std::get<SkellamRound>(round);
    check_positive("variance, of the sum of the noise,", skellam.variance);
    check_positive("l2, the largest norm of a client's integers,", skellam.l2);
    if (skellam.dimension == 0) throw Error(Errc::kBadArgument, "a round of distributed noise has a dimension at least");
  }
}

void check_order(double order) {
  if (!(order > 1 && std::isfinite(order))) refuse("an order of Rényi divergence is a finite number above 1", order);
}

void check_delta(double delta) {
  if (!(delta > 0 && delta < 1)) refuse("delta is in (0, 1)", delta);
}

void check_budget(double epsilon) {
  if (!(epsilon > 0 && std::isfinite(epsilon))) refuse("a budget of epsilon is a finite number above 0", epsilon);
}

double renyi_divergence(const RoundMechanism& round, double order) {
  check(round);
  check_order(order);
  return std::visit([order](const auto& r) { return divergence(r, order); }, round);
}

std::span<const double> renyi_orders() {
  static const std::vector<double> kOrders = make_orders();
  return kOrders;
}

std::vector<double> renyi_divergences(const RoundMechanism& round) {
  std::vector<double> all;
  for (const double order : renyi_orders()) all.push_back(renyi_divergence(round, order));
  return all;
}

RenyiEpsilon epsilon_from_renyi(std::span<const double> orders, std::span<const double> divergences, double delta) {
  check_delta(delta);
  if (orders.size() != divergences.size())
    throw Error(Errc::kBadArgument, "as many divergences as orders, not " + std::to_string(divergences.size()) + " for " +
                                        std::to_string(orders.size()));
  RenyiEpsilon best{kInfinity, 0};
  for (std::size_t i = 0; i < orders.size(); ++i) {
    const double order = orders[i], divergence = divergences[i];
    check_order(order);
    if (!(divergence >= 0)) refuse("a divergence is at least 0", divergence);
    double epsilon = divergence + std::log1p(-1 / order) - std::log(delta * order) / (order - 1);
    // By way of the total variation distance, whatever the order.
    if (delta * delta + std::expm1(-divergence) > 0) epsilon = 0;
    epsilon = std::max(epsilon, 0.0);
    if (epsilon < best.epsilon) best = {epsilon, order};
  }
  return best;
}

}  // namespace fewbits::privacy
