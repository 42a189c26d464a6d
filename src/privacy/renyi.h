#pragma once

#include <vector>

#include "fewbits/privacy/accountant.h"

namespace fewbits::privacy {

// Throw kBadArgument.
void check(const RoundMechanism& round);
void check_order(double order);
void check_delta(double delta);
void check_budget(double epsilon);

// At all of renyi_orders().
std::vector<double> renyi_divergences(const RoundMechanism& round);

}  // namespace fewbits::privacy
