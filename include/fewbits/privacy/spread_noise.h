#pragma once

#include <cstddef>
#include <cstdint>

#include "fewbits/export.h"
#include "fewbits/privacy/client_noise.h"

namespace fewbits::privacy {

// How much noise each client of a secure sum adds, and at which step, so that the fewest whose sum is opened add enough.
struct FEWBITS_API SpreadNoise {
  std::size_t values = 0;         // of an update
  double norm = 0;                // S
  unsigned bits = 0;              // of a word
  double q = 0;                   // chance of each client to take part
  double cohort = 0;              // clients of a round on average
  std::size_t least_cohort = 0;   // clients of a sum that is opened, at least

  // Of one client, for noise of multiplier · S from `least_cohort` of them. The words hold sums of as many as come but once in 30,000 rounds,
  // and all updates pointing one way. Throws kBadArgument for settings that cannot be.
  ClientNoise client(double multiplier) const;

  // The smallest multiplier, to 10^−4 of it, with which `rounds` rounds spend at most `epsilon`. Throws kBadArgument where none does.
  double multiplier_for(std::uint64_t rounds, double epsilon, double delta) const;
};

// The largest number such that fewer than so many of `clients`, each there with this probability, come with at most this chance. That
// a round is refused for its few clients tells of them, which nothing accounts for: it must be as rare as a failure that delta allows.
FEWBITS_API std::size_t least_cohort(std::size_t clients, double probability, double chance);

}  // namespace fewbits::privacy
