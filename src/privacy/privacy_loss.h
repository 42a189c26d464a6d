#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <span>
#include <vector>

#include "privacy/fourier.h"

namespace fewbits::privacy {

struct SampledRounds {
  double q = 1;
  double z = 0;
  std::uint64_t count = 0;
};

// epsilon of sampled Gaussian rounds from the distribution of their privacy loss; accountant.h says on which grid.
class PrivacyLoss {
 public:
  PrivacyLoss();
  ~PrivacyLoss();

  // An upper bound; infinite where the mass that is lost at the tables' ends is `delta` already.
  double epsilon(std::span<const SampledRounds> rounds, double delta);

 private:
  struct Round;
  const Round& round(double q, double z, double step);

  std::list<Round> kept_;  // the last that were used, latest first
  std::size_t kept_entries_ = 0;
  std::unique_ptr<Fourier> fourier_;
};

}  // namespace fewbits::privacy
