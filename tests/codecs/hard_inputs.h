#pragma once

#include <string>
#include <utility>
#include <vector>

#include "tests/engine/support.h"

namespace fewbits::test {

// Updates on which codecs have been found biased, of d coordinates.
inline std::vector<std::pair<std::string, std::vector<float>>> hard_inputs(std::size_t d) {
  std::vector<float> spike(d), spikes(d), alternating(d), tails(d), denormals(d);
  spike[d - 1] = 1;
  spikes[d / 3] = 1;
  if (d > 1) spikes[d - 1] = 0.4f;
  RandomReader random = reader(d);
  for (std::size_t i = 0; i < d; ++i) {
    alternating[i] = i % 2 == 0 ? 1.0f : -1.0f;
    tails[i] = static_cast<float>(std::exp(3 * draw_normal(random)) * (random.next() % 2 == 0 ? 1 : -1));
    denormals[i] = static_cast<float>(1e-40 * draw_normal(random));
  }
  return {{"all equal", std::vector<float>(d, 0.7f)},
          {"one spike", spike},
          {"two spikes", spikes},
          {"alternating signs", alternating},
          {"heavy tails", tails},
          {"denormals", denormals},
          {"Gaussian", normal(d, 1000 + d)},
          {"zeros", std::vector<float>(d)}};
}

}  // namespace fewbits::test
