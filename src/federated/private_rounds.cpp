#include "federated/private_rounds.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "fewbits/error.h"
#include "fewbits/privacy/discrete_gaussian.h"

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

PrivateRounds::PrivateRounds(const PrivacyOptions& privacy, const Options& options, const Codec& codec, const Clients& clients)
    : options_(privacy),
      q_(options.client_probability.value_or(1)),
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
  if (privacy.epsilon) noise_multiplier_ = privacy::noise_for(q_, options.rounds, *privacy.epsilon, privacy.delta);
  require(!privacy.adaptive || noise_multiplier_ < 2 * count_noise(),
          "an adaptive norm needs more clients: counting those within it takes noise of a twentieth of the cohort, and " +
              std::to_string(noise_multiplier_) + " is at least twice that");
  double weight_of_all = 0;
  for (std::size_t client = 0; client < clients.count; ++client) weight_of_all += weight(clients.size(static_cast<std::uint32_t>(client)));
  require(weight_of_all > 0, "no client has an example");
  denominator_ = q_ * weight_of_all;
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
  if (noise_multiplier_ > 0) accountant_.add(round());
  if (options_.adaptive) {
    // 1 for a client within the norm, −1 for one that is not: so many halves, of which a client moves the count by one.
    std::int64_t halves = 2 * static_cast<std::int64_t>(within.clients) - static_cast<std::int64_t>(within.of);
    if (noise_multiplier_ > 0) halves += privacy::DiscreteGaussian(2 * count_noise(), source).draw();
    const double above = static_cast<double>(halves) / (2 * q_ * clients_) + 0.5 - kQuantile;
    clipping_ = clipping_.with_norm(std::clamp(clipping_.norm() * std::exp(-kQuantileRate * above), kLeastNorm, kLargestNorm));
  }
  return mean;
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
