#include "fewbits/privacy/private_sum.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "fewbits/error.h"
#include "fewbits/privacy/discrete_gaussian.h"

namespace fewbits::privacy {
namespace {

// Steps of the grid are S·2^−resolution: as fine as noise of so many steps can be drawn.
int resolution(double noise_multiplier) {
  constexpr int kFinest = 24;
  constexpr int kSigmaBits = 28;
  return noise_multiplier <= 1 ? kFinest : std::min(kFinest, kSigmaBits - static_cast<int>(std::ceil(std::log2(noise_multiplier))));
}

double checked(double noise_multiplier) {
  if (!(noise_multiplier >= 0 && noise_multiplier <= PrivateSum::kMaxNoiseMultiplier))
    throw Error(Errc::kBadArgument, "the noise multiplier is " + std::to_string(noise_multiplier) + ", expected 0 to " +
                                        std::to_string(PrivateSum::kMaxNoiseMultiplier));
  return noise_multiplier;
}

// Rounding moves each coordinate by half a step at most; 1e-12 is for the sums of squares.
Clipping shorter(const Clipping& clipping, double step) {
  const double moved = std::sqrt(static_cast<double>(clipping.elements())) * step / 2;
  return clipping.with_norm((clipping.norm() - moved) * (1 - 1e-12));
}

}  // namespace

PrivateSum::PrivateSum(Clipping clipping, double noise_multiplier)
    : clipping_(std::move(clipping)),
      shorter_(shorter(clipping_, std::ldexp(clipping_.norm(), -resolution(checked(noise_multiplier))))),
      noise_multiplier_(noise_multiplier),
      step_(std::ldexp(clipping_.norm(), -resolution(noise_multiplier))),
      sum_(clipping_.elements()) {}

void PrivateSum::add(std::span<const float> update, double weight) {
  if (!(weight > 0 && weight <= 1))
    throw Error(Errc::kBadArgument, "a client's weight is " + std::to_string(weight) + ", expected over 0 and at most 1");
  scratch_.assign(update.begin(), update.end());
  shorter_.clip(scratch_);
  for (std::size_t i = 0; i < sum_.size(); ++i) sum_[i] += std::llrint(scratch_[i] * weight / step_);
}

std::vector<float> PrivateSum::release(double denominator, RandomSource& source) {
  if (!(denominator > 0 && std::isfinite(denominator)))
    throw Error(Errc::kBadArgument, "the denominator of a private mean is " + std::to_string(denominator) + ", expected over 0");
  if (released_) throw Error(Errc::kBadArgument, "the sum has been released; a second noise would say more than is accounted");
  released_ = true;
  if (noise_multiplier_ > 0) DiscreteGaussian(noise_multiplier_ * clipping_.norm() / step_, source).add_to(sum_);
  std::vector<float> mean(sum_.size());
  for (std::size_t i = 0; i < mean.size(); ++i) mean[i] = static_cast<float>(static_cast<double>(sum_[i]) * step_ / denominator);
  return mean;
}

void add_noise(std::span<double> sum, double sensitivity, double noise_multiplier, RandomSource& source) {
  if (!(sensitivity > 0 && std::isfinite(sensitivity) && checked(noise_multiplier) > 0))
    throw Error(Errc::kBadArgument, "noise of " + std::to_string(noise_multiplier) + " times a sensitivity of " + std::to_string(sensitivity) + " is none");
  const double step = std::ldexp(sensitivity * noise_multiplier, -26);
  const double rounded = sensitivity + step * std::sqrt(static_cast<double>(sum.size()));
  DiscreteGaussian noise(noise_multiplier * rounded / step, source);
  for (double& value : sum) value = static_cast<double>(std::llrint(value / step) + noise.draw()) * step;
}

}  // namespace fewbits::privacy
