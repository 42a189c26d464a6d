#pragma once

#include <vector>

#include "fewbits/federated/federated.h"

namespace fewbits::federated {

// Every round until the trainer is done.
inline std::vector<RoundResult> run_all(Trainer& trainer) {
  std::vector<RoundResult> rounds;
  run(trainer, [&](const RoundResult& round) {
    rounds.push_back(round);
    return true;
  });
  return rounds;
}

}  // namespace fewbits::federated
