#include "federated/private_rounds.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "fewbits/error.h"
#include "fewbits/privacy/discrete_gaussian.h"
#include "fewbits/privacy/spread_noise.h"

namespace fewbits::federated {
namespace {

// Adaptive clipping (Andrew et al. 2021, arXiv 1905.03871): the norm follows the median of the updates' norms.
constexpr double kQuantile = 0.5;
constexpr double kQuantileRate = 0.2;
constexpr double kCountNoise = 1.0 / 20;   // of the number of clients within the norm, as a share of the cohort's expected size
constexpr double kLeastNorm = 1e-10;
constexpr double kLargestNorm = 1e10;

void require(bool right, const std::string& what) {
  if (!right) throw Error(Errc::kBadArgument, what);
}

privacy::Clipping clipping_of(const PrivacyOptions& privacy, const Codec& codec) {
  if (!privacy.per_tensor) return privacy::Clipping::whole(codec.elements(), privacy.clip);
  require(!codec.structured(), "clipping tensor by tensor does not go with a structured family: what clients send are its free parameters");
  return privacy::Clipping::per_tensor(codec.layout(), privacy.clip);
}

}  // namespace

PrivateRounds::PrivateRounds(const PrivacyOptions& privacy, const Options& options, const Codec& codec, std::size_t values,
                             const Clients& clients)
    : options_(privacy),
      q_(options.client_probability.value_or(static_cast<double>(options.clients_per_round) / static_cast<double>(clients.count))),
      clients_(static_cast<double>(clients.count)),
      clipping_(clipping_of(privacy, codec)),
      noise_multiplier_(privacy.noise_multiplier) {
  require(std::isfinite(privacy.examples_cap) && privacy.examples_cap >= 0, "examples-cap must be at least 0");
  require(!privacy.epsilon || privacy.noise_multiplier == 0, "epsilon and noise-multiplier: the one follows from the other");
  if (privacy.epsilon || privacy.noise_multiplier > 0) {
    require(options.client_probability.has_value(),
            "privacy needs client-probability: what a round tells about a client is less because it may not take part, each client by "
            "chance and independently; for cohorts of a fixed size that does not hold. A deployment that cannot sample accounts with 1");
    require(privacy.delta > 0 && privacy.delta < 1, "privacy needs delta, over 0 and less than 1: at most 1 in the number of clients");
  }
  if (options.secure && (privacy.epsilon || privacy.noise_multiplier > 0)) least_cohort_ = least_cohort_of(options);
  if (privacy.noise_by_clients) {
    spread_noise(options, values);
  } else if (privacy.epsilon) {
    noise_multiplier_ = privacy::noise_for(q_, options.rounds, *privacy.epsilon, privacy.delta);
  }
  require(!privacy.adaptive || noise_multiplier_ < 2 * count_noise(),
          "an adaptive norm needs more clients: counting those within it takes noise of a twentieth of the cohort, and " +
              std::to_string(noise_multiplier_) + " is at least twice that");
  double weight_of_all = 0;
  for (std::size_t client = 0; client < clients.count; ++client) weight_of_all += weight(clients.size(static_cast<std::uint32_t>(client)));
  require(weight_of_all > 0, "no client has an example");
  denominator_ = q_ * weight_of_all;
  begin();   // refuses noise that cannot be drawn now, not in the first round
}

privacy::RoundMechanism PrivateRounds::round() const {
  if (!client_noise_) return privacy::GaussianRound{q_, noise_multiplier_};
  return client_noise_->round(q_, least_cohort_);
}

std::size_t PrivateRounds::least_cohort_of(const Options& options) const {
  double arrives = q_;
  if (options.links) {
    require(!options.links->deadline, "privacy with secure aggregation does not go with a deadline: how many clients a round loses by it is not known before");
    arrives *= (1 - options.links->lost) * (1 - options.links->away);
  }
  const std::size_t least = privacy::least_cohort(static_cast<std::size_t>(clients_), arrives, options_.delta / options.rounds);
  require(least >= options.secure->min_cohort,
          "of " + std::to_string(std::llround(clients_ * arrives)) + " clients a round on average fewer than min-cohort, " +
              std::to_string(options.secure->min_cohort) + ", would come more often than in a share of delta/rounds, and a round that is refused "
              "tells of its clients; at least " + std::to_string(least) + " come. Ask more clients, or lower min-cohort");
  return least;
}

void PrivateRounds::spread_noise(const Options& options, std::size_t values) {
  require(options.secure.has_value(), "noise by clients goes with secure aggregation: a single one's is too little for its own update");
  require(!options_.adaptive, "noise by clients does not go with an adaptive norm, which needs a count of its own");
  require(noise_multiplier_ > 0 || options_.epsilon, "noise by clients needs epsilon or noise-multiplier");
  const privacy::SpreadNoise noise{.values = values, .norm = clipping_.norm(), .bits = options.secure->bits, .q = q_, .cohort = cohort(),
                                   .least_cohort = least_cohort_};
  if (options_.epsilon) noise_multiplier_ = noise.multiplier_for(options.rounds, *options_.epsilon, options_.delta);
  client_noise_ = noise.client(noise_multiplier_);
}

double PrivateRounds::weight(std::size_t examples) const noexcept {
  if (options_.examples_cap == 0) return examples > 0 ? 1 : 0;
  return std::min(static_cast<double>(examples) / options_.examples_cap, 1.0);
}

double PrivateRounds::count_noise() const noexcept { return kCountNoise * q_ * clients_; }

// With adaptive clipping two releases share a round's noise multiplier.
double PrivateRounds::update_noise() const noexcept {
  if (!options_.adaptive || noise_multiplier_ == 0) return noise_multiplier_;
  return 1 / std::sqrt(1 / (noise_multiplier_ * noise_multiplier_) - 1 / (4 * count_noise() * count_noise()));
}

std::string PrivateRounds::exhausted() const {
  if (!options_.epsilon || !accountant_.would_exceed(round(), *options_.epsilon, options_.delta)) return {};
  return "the next round would spend more than epsilon " + std::to_string(*options_.epsilon);
}

privacy::PrivateSum PrivateRounds::begin() const { return {clipping_, update_noise()}; }

std::vector<float> PrivateRounds::release(privacy::PrivateSum sum, const Within& within, privacy::RandomSource& source) {
  std::vector<float> mean = sum.release(denominator_, source);
  spend();
  if (options_.adaptive) {
    // 1 for a client within the norm, −1 for one that is not: so many halves, of which a client moves the count by one.
    std::int64_t halves = 2 * static_cast<std::int64_t>(within.clients) - static_cast<std::int64_t>(within.of);
    if (noise_multiplier_ > 0) halves += privacy::DiscreteGaussian(2 * count_noise(), source).draw();
    const double above = static_cast<double>(halves) / (2 * q_ * clients_) + 0.5 - kQuantile;
    clipping_ = clipping_.with_norm(std::clamp(clipping_.norm() * std::exp(-kQuantileRate * above), kLeastNorm, kLargestNorm));
  }
  return mean;
}

void PrivateRounds::release(std::span<double> values, double sensitivity, privacy::RandomSource& source) {
  if (noise_multiplier_ > 0 && !client_noise_) privacy::add_noise(values, sensitivity, noise_multiplier_, source);
  for (double& value : values) value /= denominator_;
  spend();
}

void PrivateRounds::spend() {
  if (noise_multiplier_ > 0) accountant_.add(round());
}

std::optional<double> PrivateRounds::epsilon() const {
  if (noise_multiplier_ == 0) return std::nullopt;
  return accountant_.rounds() == 0 ? 0 : accountant_.spent(options_.delta).epsilon;
}

void PrivateRounds::restore(std::uint32_t rounds, double norm) {
  accountant_ = privacy::Accountant();
  if (noise_multiplier_ > 0 && rounds > 0) accountant_.add(round(), rounds);
  clipping_ = clipping_.with_norm(norm);
}

}  // namespace fewbits::federated
