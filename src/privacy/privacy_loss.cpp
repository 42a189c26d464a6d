#include "privacy/privacy_loss.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numbers>

namespace fewbits::privacy {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kReach = 12;  // standard deviations of the noise that a round's table covers: all but 2e-33
constexpr double kStep = 1e-4;
constexpr double kWindowTail = 1e-10;     // of the tilted sum, outside of the window at either end
constexpr double kMostEntries = 1 << 20;  // of a table, about
constexpr double kLargestExponent = 600;
constexpr std::size_t kMostKinds = 32;
constexpr std::size_t kKeptEntries = 1 << 24;

// Where N(0,1) has been left at x, so that differences are exact in both tails: its lower tail, or the negated upper one.
double tail(double x) {
  const double t = 0.5 * std::erfc(std::abs(x) / std::numbers::sqrt2);
  return x < 0 ? t : -t;
}
double between(double tail_a, double tail_b) { return tail_b - tail_a + (tail_a > 0 && tail_b <= 0 ? 1 : 0); }

// Loss of x where a client was removed: ln of the mixture (1-q) N(0,z^2) + q N(1,z^2) over N(0,z^2). It rises with x.
double loss_at(double q, double z, double x) {
  const double u = (x - 0.5) / z / z;
  if (q == 1) return u;
  return u > 1 ? u + std::log(q) + std::log1p((1 - q) / q * std::exp(-u)) : std::log1p(q * std::expm1(u));
}

double place_of(double q, double z, double loss) {
  double u = loss;
  if (q < 1) {
    if (loss > 1) {
      u = loss - std::log(q) + std::log1p(-(1 - q) * std::exp(-loss));
    } else {
      const double ratio = std::expm1(loss) / q;
      u = ratio > -1 ? std::log1p(ratio) : -kInfinity;
    }
  }
  return z * z * u + 0.5;
}

// Probabilities at the multiples first, first + 1, ... of a step. What a client's data add to the loss beyond them is lost.
struct Table {
  std::int64_t first = 0;
  std::vector<double> p;
  double lost = 0;
  double mean = 0;
  double variance = 0;
};

// Each cell between neighbouring losses gives its mass to its ends, such that both hypotheses keep theirs: of all
// distributions on the grid that are no more private than the true one, the most private.
Table make_table(double q, double z, double step, bool removed) {
  const double x_low = -kReach * z, x_high = (removed ? 1 : 0) + kReach * z;
  const double a = loss_at(q, z, x_low), b = loss_at(q, z, x_high);
  const double low = std::floor((removed ? a : -b) / step), high = std::ceil((removed ? b : -a) / step);
  Table table;
  table.first = static_cast<std::int64_t>(low);
  const auto cells = static_cast<std::size_t>(std::max(1.0, high - low));
  table.p.assign(cells + 1, 0);
  double t0 = 0, t1 = 0;
  for (std::size_t i = 0; i <= cells; ++i) {
    const double loss = (low + static_cast<double>(i)) * step;
    double x = std::clamp(place_of(q, z, removed ? loss : -loss), x_low, x_high);
    if (i == 0) x = removed ? x_low : x_high;
    if (i == cells) x = removed ? x_high : x_low;
    const double next0 = tail(x / z), next1 = tail((x - 1) / z);
    if (i > 0) {
      const double m0 = removed ? between(t0, next0) : between(next0, t0);
      const double m1 = removed ? between(t1, next1) : between(next1, t1);
      const double mixed = (1 - q) * m0 + q * m1;
      const double mass = removed ? mixed : m0, other = removed ? m0 : mixed;
      // Of losses whose exponential is near the largest double: all goes up.
      const double split = (mass - other * std::exp(std::min(loss - step, kLargestExponent))) / -std::expm1(-step);
      const double upper = loss > kLargestExponent ? mass : std::clamp(split, 0.0, mass);
      table.p[i - 1] += mass - upper;
      table.p[i] += upper;
    }
    t0 = next0;
    t1 = next1;
  }
  // Beyond the reach: losses below the table are raised into it; those above it are lost, or are bounded by its end.
  const double beyond = 0.5 * std::erfc(kReach / std::numbers::sqrt2);
  table.p[1] += beyond;
  if (removed)
    table.lost = beyond;
  else
    table.p[cells] += beyond;
  double squares = 0, mass = table.lost;
  for (std::size_t i = 0; i <= cells; ++i) {
    const double loss = (low + static_cast<double>(i)) * step;
    mass += table.p[i];
    table.mean += table.p[i] * loss;
    squares += table.p[i] * loss * loss;
  }
  table.variance = std::max(0.0, squares - table.mean * table.mean);
  if (!(std::abs(mass - 1) < 1e-9)) table.lost = 1;  // numbers beyond what doubles can hold: no bound rather than a wrong one
  return table;
}

constexpr std::size_t kBlock = 256;

// ln of the mean of exp(tilt * loss). `visit(i, weight)`, where it is given, gets p[i] exp(tilt * loss) over that mean.
class Tilt {
 public:
  Tilt(const Table& table, double step, double tilt) : table_(table) {
    per_step_ = tilt * step;
    block_ = static_cast<std::size_t>(std::clamp(100 / std::abs(per_step_), 1.0, static_cast<double>(kBlock)));
    for (std::size_t k = 0; k < block_; ++k) powers_[k] = std::exp(per_step_ * static_cast<double>(k));
    const double ends[] = {exponent(0), exponent(table.p.size() - 1)};
    // An upper bound of the largest exponent keeps all finite; probabilities far below one may then leave it too high.
    for (std::size_t i = 0; i < table.p.size(); i += kBlock) {
      double most = 0;
      const std::size_t end = std::min(i + kBlock, table.p.size());
      for (std::size_t k = i; k < end; ++k) most = std::max(most, table.p[k]);
      if (most > 0) reference_ = std::max(reference_, std::log(most) + std::max(exponent(i), exponent(end - 1)));
    }
    reference_ = std::max(reference_, std::max(ends[0], ends[1]) - 600);
    double sum = 0;
    for (std::size_t i = 0; i < table.p.size(); i += block_) {
      double inner = 0;
      const std::size_t n = std::min(block_, table.p.size() - i);
      for (std::size_t k = 0; k < n; ++k) inner += table.p[i + k] * powers_[k];
      sum += inner * std::exp(exponent(i) - reference_);
    }
    log_mean_ = reference_ + std::log(sum);
  }

  double log_mean() const noexcept { return log_mean_; }

  template <class Visit>
  void weights(const Visit& visit) const {
    for (std::size_t i = 0; i < table_.p.size(); i += block_) {
      const double outer = std::exp(exponent(i) - log_mean_);
      const std::size_t n = std::min(block_, table_.p.size() - i);
      for (std::size_t k = 0; k < n; ++k) visit(i + k, table_.p[i + k] * powers_[k] * outer);
    }
  }

 private:
  double exponent(std::size_t i) const { return per_step_ * static_cast<double>(table_.first + static_cast<std::int64_t>(i)); }

  const Table& table_;
  double per_step_ = 0;
  std::size_t block_ = 1;
  double powers_[kBlock];
  double reference_ = -kInfinity;
  double log_mean_ = 0;
};

// One direction of all the rounds.
struct Sum {
  std::vector<const Table*> tables;
  std::vector<double> counts;
  double step = 0;
  double deviation = 0;  // of the total loss
  double tilt = 0;
  double log_mean = 0;  // of exp(tilt * total loss)
  double low = 0;       // window
  double high = 0;
  double lost = 0;  // probability

  double log_mean_at(double t) const {
    double sum = 0;
    for (std::size_t g = 0; g < tables.size(); ++g) sum += counts[g] * Tilt(*tables[g], step, t).log_mean();
    return sum;
  }

  // The tilt under which the epsilon of Chernoff's bound is the mean: there the sum is worked out relative to its tail.
  void choose_tilt(double log_delta) {
    double variance = 0;
    for (std::size_t g = 0; g < tables.size(); ++g) {
      variance += counts[g] * tables[g]->variance;
      lost += counts[g] * tables[g]->lost;
    }
    deviation = std::max(std::sqrt(variance), step);
    const auto bound = [&](double log_t) { return (log_mean_at(std::exp(log_t)) - log_delta) / std::exp(log_t); };
    double a = std::log(std::min(0.02 / deviation, 0.05)), b = std::log(std::max(40 / deviation, 1.0));
    const double golden = (std::sqrt(5.0) - 1) / 2;
    double c = b - golden * (b - a), d = a + golden * (b - a);
    double at_c = bound(c), at_d = bound(d);
    while (b - a > 0.1) {
      if (at_c < at_d) {
        b = d, d = c, at_d = at_c;
        at_c = bound(c = b - golden * (b - a));
      } else {
        a = c, c = d, at_c = at_d;
        at_d = bound(d = a + golden * (b - a));
      }
    }
    tilt = std::exp(at_c < at_d ? c : d);
    log_mean = log_mean_at(tilt);
  }

  // By Chernoff's bound of the tilted sum; any exponent gives a bound, so that a few are enough.
  void choose_window() {
    double variance = 0;
    for (std::size_t g = 0; g < tables.size(); ++g) {
      double mean = 0, squares = 0;
      const auto first = static_cast<double>(tables[g]->first);
      Tilt(*tables[g], step, tilt).weights([&](std::size_t i, double w) {
        const double loss = (first + static_cast<double>(i)) * step;
        mean += w * loss, squares += w * loss * loss;
      });
      variance += counts[g] * std::max(0.0, squares - mean * mean);
    }
    const double tilted = std::max(std::sqrt(variance), step), log_tail = std::log(kWindowTail);
    low = -kInfinity, high = kInfinity;
    for (int j = -6; j <= 8; ++j) {
      const double s = std::exp2(j / 2.0) / tilted;
      high = std::min(high, (log_mean_at(tilt + s) - log_mean - log_tail) / s);
      low = std::max(low, -(log_mean_at(tilt - s) - log_mean - log_tail) / s);
    }
  }
};

Complex power(Complex z, std::uint64_t count) {
  const double norm = z.re * z.re + z.im * z.im;
  if (!(norm > 0) || std::log(norm) * static_cast<double>(count) < -160) return {};
  Complex result{1, 0};
  for (; count > 0; count >>= 1) {
    if (count & 1) result = result * z;
    z = z * z;
  }
  return result;
}

// epsilon from the tilted sum on the window, which is taken modulo the length of the vector.
template <class At>
double solve(const Sum& sum, std::size_t size, double log_delta, const At& at) {
  const auto first = static_cast<std::int64_t>(std::floor(sum.low / sum.step)), n = static_cast<std::int64_t>(size);
  const std::int64_t last = first + n - 1;
  // In units of delta. Above the window: Chernoff's bound once more.
  const auto scale = [&](double loss) { return std::exp(sum.log_mean - log_delta - sum.tilt * loss); };
  const double lost = sum.lost * std::exp(-log_delta) + kWindowTail * scale(static_cast<double>(last) * sum.step);
  if (lost >= 1) return kInfinity;
  double mass = lost, other = 0;  // sums of w and of w e^(origin - loss) over what is above
  double origin = static_cast<double>(last) * sum.step, weight = 0;
  const double factor = std::exp(sum.tilt * sum.step), other_factor = std::exp(sum.step);
  double other_weight = 0;
  for (std::int64_t i = last; i >= first; --i) {
    const double loss = static_cast<double>(i) * sum.step;
    if ((last - i) % 64 == 0) {
      other *= std::exp(loss - origin);
      origin = loss;
      weight = scale(loss), other_weight = 1;
    } else {
      weight *= factor, other_weight *= other_factor;
    }
    // delta at this loss, of what is above it.
    if (mass - other / other_weight >= 1 || loss < 0) {
      if (!(other > 0)) return std::max(0.0, loss + sum.step);
      return mass <= 1 ? 0 : std::max(0.0, origin + std::log((mass - 1) / other));
    }
    const double p = std::max(0.0, at(static_cast<std::size_t>(((i % n) + n) % n))) * weight;
    mass += p;
    other += p * other_weight;
  }
  return std::max(0.0, sum.low);
}

// Rounds without sampling add up to one, whose delta has a closed form (Balle and Wang 2018, arXiv 1805.06530).
double gaussian_epsilon(double z, double delta) {
  const auto delta_at = [z](double epsilon) {
    const double a = 0.5 / z - epsilon * z, b = -0.5 / z - epsilon * z;
    const double first = 0.5 * std::erfc(-a / std::numbers::sqrt2);
    if (b > -30) return first - std::exp(epsilon) * 0.5 * std::erfc(-b / std::numbers::sqrt2);
    // e^epsilon times the density at b is the density at a; the tail's series is exact to 1e-8 of this term.
    const double b2 = b * b, density = std::exp(-a * a / 2) / std::sqrt(2 * std::numbers::pi);
    return first - density / -b * (1 - 1 / b2 + 3 / (b2 * b2) - 15 / (b2 * b2 * b2));
  };
  if (delta_at(0) <= delta) return 0;
  double low = 0, high = 1;
  while (high < 1e300 && delta_at(high) > delta) low = high, high *= 2;
  for (int i = 0; i < 100 && high - low > 1e-13 * high; ++i) {
    const double middle = low + (high - low) / 2;
    (delta_at(middle) > delta ? low : high) = middle;
  }
  return high;
}

// Standard deviation of a round's loss where the client was not there.
double bulk_deviation(double q, double z) {
  constexpr int kPoints = 200;
  double weights = 0, mean = 0, squares = 0;
  for (int i = -kPoints; i <= kPoints; ++i) {
    const double x = 8.0 * i / kPoints, w = std::exp(-x * x / 2), loss = loss_at(q, z, x * z);
    weights += w, mean += w * loss, squares += w * loss * loss;
  }
  mean /= weights;
  return std::sqrt(std::max(0.0, squares / weights - mean * mean));
}

// The step varies continuously with the noise: searches for a noise multiplier stand on that.
double choose_step(std::span<const SampledRounds> rounds) {
  double variance = 0, count = 0, range = 0;
  for (const SampledRounds& r : rounds) {
    const double s = bulk_deviation(r.q, r.z), n = static_cast<double>(r.count);
    variance += n * s * s, count += n;
    range = std::max(range, loss_at(r.q, r.z, 1 + kReach * r.z) - loss_at(r.q, r.z, -kReach * r.z));
  }
  const double s = std::sqrt(variance / count), ratio = s / (3.2 * kStep);
  const double fine = std::max({s / 32, std::min(s / 16, kStep), kStep * std::min(1.0, ratio * ratio)});
  return std::max({fine, range / kMostEntries, 16 * std::sqrt(variance) / kMostEntries});
}

// No more than kMostKinds. The widest set of kinds is halved until there are so many sets; each is as its largest q with its
// smallest z, which is no more private than any of them. Rounds without sampling become one.
std::vector<SampledRounds> merged(std::span<const SampledRounds> rounds) {
  struct Set {
    std::vector<SampledRounds> kinds;
    double least_q = 1, most_q = 0, least_z = kInfinity, most_z = 0;
    std::uint64_t count = 0;
    void add(const SampledRounds& r) {
      kinds.push_back(r);
      least_q = std::min(least_q, r.q), most_q = std::max(most_q, r.q);
      least_z = std::min(least_z, r.z), most_z = std::max(most_z, r.z);
      count += r.count;
    }
    double width() const { return std::max(most_q / least_q, most_z / least_z); }
  };
  double precision = 0;  // of the sum of those without sampling
  std::vector<Set> sets(1);
  for (const SampledRounds& r : rounds) {
    if (r.q == 1)
      precision += static_cast<double>(r.count) / r.z / r.z;
    else if (r.count > 0)
      sets[0].add(r);
  }
  std::vector<SampledRounds> kinds;
  if (precision > 0) kinds.push_back({1, 1 / std::sqrt(precision), 1});
  if (sets[0].count == 0) return kinds;
  while (kinds.size() + sets.size() < kMostKinds) {
    const auto widest =
        std::max_element(sets.begin(), sets.end(), [](const Set& a, const Set& b) { return a.width() < b.width(); });
    if (!(widest->width() > 1)) break;
    const bool by_q = widest->most_q / widest->least_q >= widest->most_z / widest->least_z;
    const double middle =
        by_q ? std::sqrt(widest->least_q * widest->most_q) : std::sqrt(widest->least_z) * std::sqrt(widest->most_z);
    Set below, above;
    for (const SampledRounds& r : widest->kinds) {
      const double value = by_q ? r.q : r.z, least = by_q ? widest->least_q : widest->least_z;
      (value < middle || value == least ? below : above).add(r);
    }
    if (above.count == 0) break;  // neighbouring numbers
    *widest = std::move(below);
    sets.push_back(std::move(above));
  }
  for (const Set& set : sets) kinds.push_back({set.most_q, set.least_z, set.count});
  return kinds;
}

}  // namespace

struct PrivacyLoss::Round {
  double q, z, step;
  Table removed, added;

  std::size_t entries() const { return removed.p.size() + added.p.size(); }
};

PrivacyLoss::PrivacyLoss() = default;
PrivacyLoss::~PrivacyLoss() = default;

const PrivacyLoss::Round& PrivacyLoss::round(double q, double z, double step) {
  const auto found =
      std::find_if(kept_.begin(), kept_.end(), [&](const Round& r) { return r.q == q && r.z == z && r.step == step; });
  if (found != kept_.end()) {
    kept_.splice(kept_.begin(), kept_, found);
  } else {
    kept_.push_front({q, z, step, make_table(q, z, step, true), make_table(q, z, step, false)});
    kept_entries_ += kept_.front().entries();
    // Those of this query are in front.
    while (kept_entries_ > kKeptEntries && kept_.size() > kMostKinds) {
      kept_entries_ -= kept_.back().entries();
      kept_.pop_back();
    }
  }
  return kept_.front();
}

double PrivacyLoss::epsilon(std::span<const SampledRounds> rounds, double delta) {
  const std::vector<SampledRounds> kinds = merged(rounds);
  if (kinds.empty()) return 0;
  if (kinds.size() == 1 && kinds[0].q == 1)
    return gaussian_epsilon(kinds[0].z / std::sqrt(static_cast<double>(kinds[0].count)), delta);

  const double log_delta = std::log(delta);
  Sum sums[2];
  double step = choose_step(kinds);
  std::size_t size = 0;
  for (;; step *= 2) {
    if (!(step > 0 && step < 1)) return kInfinity;
    double width = 0;
    for (int side = 0; side < 2; ++side) {
      Sum& sum = sums[side] = {};
      sum.step = step;
      for (const SampledRounds& kind : kinds) {
        const Round& r = round(kind.q, kind.z, step);
        sum.tables.push_back(side == 0 ? &r.removed : &r.added);
        sum.counts.push_back(static_cast<double>(kind.count));
      }
      sum.choose_tilt(log_delta);
      sum.choose_window();
      width = std::max(width, (sum.high - sum.low) / step + 3);
    }
    if (width > 4 * kMostEntries) continue;
    if (!(width > 0)) return kInfinity;
    size = std::bit_ceil(static_cast<std::size_t>(std::max(width, 16.0)));
    break;
  }

  // Both directions at once, as real and imaginary parts.
  if (!fourier_ || fourier_->size() != size) fourier_ = std::make_unique<Fourier>(size);
  std::vector<Complex> spectrum(size), product;
  for (std::size_t g = 0; g < kinds.size(); ++g) {
    if (g > 0) std::fill(spectrum.begin(), spectrum.end(), Complex{});
    for (int side = 0; side < 2; ++side) {
      const Table& table = *sums[side].tables[g];
      const auto n = static_cast<std::int64_t>(size);
      const auto offset = static_cast<std::size_t>(((table.first % n) + n) % n);
      Tilt(table, step, sums[side].tilt).weights([&](std::size_t i, double w) {
        Complex& place = spectrum[(i + offset) & (size - 1)];
        (side == 0 ? place.re : place.im) += w;
      });
    }
    fourier_->forward(spectrum.data());
    const std::uint64_t count = kinds[g].count;
    for (std::size_t i = 0; i < size; ++i) {
      const std::size_t j = Fourier::mirror(i);
      if (j < i) continue;
      const Complex x = spectrum[i], y = conjugate(spectrum[j]), sum = x + y, difference = x - y;
      const Complex a = power({sum.re / 2, sum.im / 2}, count);
      const Complex b = power({difference.im / 2, -difference.re / 2}, count);
      spectrum[i] = {a.re, a.im};
      if (j != i)
        spectrum[j] = {b.re, b.im};
      else
        spectrum[i] = {a.re, b.re};  // both are real
    }
    if (g == 0) {
      product = spectrum;
      continue;
    }
    for (std::size_t i = 0; i < size; ++i) {
      if (Fourier::mirror(i) == i)
        product[i] = {product[i].re * spectrum[i].re, product[i].im * spectrum[i].im};
      else
        product[i] = product[i] * spectrum[i];
    }
  }
  for (std::size_t i = 2; i < size; ++i) {
    const std::size_t j = Fourier::mirror(i);
    if (j < i) continue;
    const Complex a = product[i], b = product[j];
    product[i] = {a.re - b.im, a.im + b.re};
    product[j] = {a.re + b.im, b.re - a.im};
  }
  fourier_->inverse(product.data());
  return std::max(solve(sums[0], size, log_delta, [&](std::size_t i) { return product[i].re; }),
                  solve(sums[1], size, log_delta, [&](std::size_t i) { return product[i].im; }));
}

}  // namespace fewbits::privacy
