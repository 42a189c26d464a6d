#include "fewbits/privacy/spread_noise.h"

#include <cmath>
#include <string>

#include "fewbits/error.h"
#include "fewbits/privacy/private_sum.h"

namespace fewbits::privacy {

ClientNoise SpreadNoise::client(double multiplier) const {
  const double most = cohort + 4 * std::sqrt(cohort);
  const double sigma = multiplier * norm / std::sqrt(static_cast<double>(least_cohort));
  return {values, norm, step_for(bits, values, most, most * norm, std::sqrt(most) * sigma), sigma};
}

double SpreadNoise::multiplier_for(std::uint64_t rounds, double epsilon, double delta) const {
  const Accountant accountant;
  const auto fits = [&](double multiplier) {
    return accountant.spent_with(client(multiplier).round(q, least_cohort), delta, rounds).epsilon <= epsilon;
  };
  double low = 0.05, high = 0.1;
  while (!fits(high)) {
    low = high;
    high *= 2;
    if (high > PrivateSum::kMaxNoiseMultiplier)
      throw Error(Errc::kBadArgument, "epsilon is too little for noise of the clients in words of " + std::to_string(bits) +
                                          " bits: take more bits, or more clients");
  }
  while (high / low > 1 + 1e-4) (fits((low + high) / 2) ? high : low) = (low + high) / 2;
  return high;
}

std::size_t least_cohort(std::size_t clients, double probability, double chance) {
  if (!(probability > 0 && probability <= 1 && chance > 0 && chance < 1))
    throw Error(Errc::kBadArgument, "a cohort needs a probability over 0 and at most 1, and a chance over 0 and less than 1");
  if (probability == 1) return clients;
  double log_chance = static_cast<double>(clients) * std::log1p(-probability), below = 0;
  std::size_t count = 0;
  while (count < clients) {
    below += std::exp(log_chance);
    if (below > chance) break;
    log_chance += std::log(static_cast<double>(clients - count) / static_cast<double>(count + 1)) + std::log(probability) - std::log1p(-probability);
    ++count;
  }
  return count;
}

}  // namespace fewbits::privacy
