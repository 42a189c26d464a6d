#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace fewbits {

enum class Unbiased {
  kAlways,          // E[decode(encode(x))] = x for every x, over the shared randomness
  kOverRotations,   // only where a random rotation of its own precedes it in every client
  kNo,
};

// What a plan promises of the coordinates of one rule, before anything is coded.
struct GroupDescription {
  std::string rule;             // the pattern that chose the tensors, "*" where there is one rule
  std::string stages;           // canonical text, defaults and the coder spelled out
  std::size_t tensors = 0;
  std::size_t coordinates = 0;  // of the update
  std::size_t values = 0;       // coded ones: fewer after a mask
  Unbiased unbiased = Unbiased::kNo;
  std::optional<double> nmse_bound;   // E‖x̂ − x‖²/‖x‖² of one client is at most this, for every x
  std::optional<double> norm_growth;  // ‖x̂‖ ≤ norm_growth·‖x‖ + norm_added, for every x and draw; none: no bound that is of use
  double norm_added = 0;              // in the units of the update; over 0 at a step of its own, whatever the update
  std::size_t max_bytes = 0;          // of its section of the frame
  bool fixed_size = false;            // the section always has max_bytes
  std::string sum_domain;             // where the aggregator keeps the sum: "update", or the shared transforms
};

struct Description {
  std::string plan;               // canonical
  std::string structure;          // the structured family, empty for none
  std::size_t coordinates = 0;    // of the whole update
  std::size_t parameters = 0;     // of what is encoded: fewer than coordinates in a structured family
  Unbiased unbiased = Unbiased::kNo;
  std::optional<double> nmse_bound;
  std::optional<double> norm_growth;
  double norm_added = 0;
  std::size_t max_frame_bytes = 0;    // header included
  bool fixed_size = false;            // but for the lengths of round and client in the header
  std::uint32_t cohort = 0;           // clients a round that the plan is made for; 0: any number
  double max_rate = 0;                // bits a coordinate of the update at max_frame_bytes
  std::vector<GroupDescription> groups;
};

}  // namespace fewbits
