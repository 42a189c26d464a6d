#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "federated/client_states.h"
#include "federated/server_step.h"

namespace fewbits::federated {

// What a run has cost so far.
struct Totals {
  std::uint64_t frames = 0;
  std::uint64_t upload_bytes = 0;
  std::uint64_t wasted_bytes = 0;
  std::uint64_t download_bytes = 0;
  double simulated_seconds = 0;
};

// The state of a trainer between two rounds, as bytes in this machine's order, with a CRC-32 at the end.
struct Checkpoint {
  std::uint64_t fingerprint = 0;
  std::uint64_t seed = 0;
  std::uint64_t round = 0;
  Totals totals;
  double clip = 0;                   // norm of the next round's updates; 0 without privacy
  double last_norm = 0;              // of the last mean; 0 without secure aggregation
  std::string stopped;
  std::vector<float> parameters;
  ServerStep::State server;
  ClientStates::Saved states;
  std::vector<std::byte> profile;    // what the server has learned; empty for most plans
  std::vector<std::byte> downlink;   // empty without
  std::vector<std::byte> memories;   // what clients keep of a stream, and for themselves; empty without

  std::vector<std::byte> to_bytes() const;
  static Checkpoint from_bytes(std::span<const std::byte> bytes);  // throws kBadArgument when they are damaged
};

}  // namespace fewbits::federated
