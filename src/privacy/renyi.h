#pragma once

#include <vector>

#include "fewbits/privacy/accountant.h"

namespace fewbits::privacy {

// Throw kBadArgument.
void check(const RoundMechanism& round);
void check_order(double order);
void check_delta(double delta);
void check_budget(double epsilon);

// Of the sum of the clients' discrete Gaussians and one discrete Gaussian of the same variance: |ln| of the ratio of their probabilities
// is at most this, for every integer (Kairouz, Liu, Steinke 2021, whence their proposition 14).
double log_ratio_of_sum(const DiscreteGaussianRound& round);

// At all of renyi_orders().
std::vector<double> renyi_divergences(const RoundMechanism& round);

}  // namespace fewbits::privacy
