#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "fewbits/codec.h"
#include "fewbits/federated/options.h"
#include "fewbits/federated/task.h"
#include "fewbits/privacy/accountant.h"
#include "fewbits/privacy/client_noise.h"
#include "fewbits/privacy/clipping.h"
#include "fewbits/privacy/private_sum.h"

namespace fewbits::federated {

// What the server of one plan knows of the privacy of its rounds: norms, weights, noise, and what has been spent.
class PrivateRounds {
 public:
  // `values`: that are summed, where secure aggregation sums them. Throws kBadArgument for options that promise what they cannot hold.
  PrivateRounds(const PrivacyOptions& privacy, const Options& options, const Codec& codec, std::size_t values, const Clients& clients);

  const privacy::Clipping& clipping() const noexcept { return clipping_; }   // of the round that comes next
  double noise_multiplier() const noexcept { return noise_multiplier_; }     // of a round, whatever it releases
  double weight(std::size_t examples) const noexcept;                        // of a client: at most 1

  // Why the round that comes next would spend more than the budget; empty while there is enough.
  std::string exhausted() const;

  privacy::PrivateSum begin() const;

  // Clients of which nothing was clipped.
  struct Within {
    std::size_t clients = 0;
    std::size_t of = 0;
  };

  // The mean that the round releases, with noise; counts the round as spent.
  std::vector<float> release(privacy::PrivateSum sum, const Within& within, privacy::RandomSource& source);

  // The same of a secure sum of values (integers.h), which one client has moved by at most `sensitivity`; where clients have added the noise
  // it is in there. Divides by the denominator.
  void release(std::span<double> values, double sensitivity, privacy::RandomSource& source);

  // Counts the round as spent that comes to nothing.
  void spend();

  // What each client adds, where they do, in rounds of at least so many clients.
  const std::optional<privacy::ClientNoise>& client_noise() const noexcept { return client_noise_; }
  std::size_t least_cohort() const noexcept { return least_cohort_; }
  bool weighs_equally() const noexcept { return options_.examples_cap == 0; }
  double cohort() const noexcept { return q_ * clients_; }   // its expected size

  // After the rounds so far; none without noise.
  std::optional<double> epsilon() const;

  // The norm, the one thing that changes from round to round.
  double norm() const noexcept { return clipping_.norm(); }
  void restore(std::uint32_t rounds, double norm);

 private:
  privacy::RoundMechanism round() const;
  std::size_t least_cohort_of(const Options& options) const;
  void spread_noise(const Options& options, std::size_t values);
  double update_noise() const noexcept;
  double count_noise() const noexcept;

  PrivacyOptions options_;
  double q_;
  double clients_;
  double denominator_;          // q·W: what would be the cohort's weight on average
  privacy::Clipping clipping_;
  double noise_multiplier_ = 0;
  std::optional<privacy::ClientNoise> client_noise_;
  std::size_t least_cohort_ = 0;
  privacy::Accountant accountant_;
};

}  // namespace fewbits::federated
