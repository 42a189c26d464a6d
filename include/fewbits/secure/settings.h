#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "fewbits/export.h"

namespace fewbits::secure {

using Bytes = std::vector<std::byte>;

// More neighbours than this cannot share a secret (the field of the shares has 256 elements).
inline constexpr std::size_t kMaxNeighbours = 254;

// What client and server have agreed on for one round of secure aggregation. Every message names it, and each side refuses
// what was made with other settings than its own.
struct FEWBITS_API Settings {
  std::uint64_t session = 0;  // the run
  std::uint32_t round = 0;
  std::uint64_t plan = 0;   // what the words stand for: Codec::fingerprint
  std::size_t length = 0;   // words of an input
  unsigned bits = 0;        // of a word, 1 … 32: sums are mod 2^bits (words.h)
  std::size_t clients = 0;  // that are asked

  // Clients that share secrets and masks with each: an even number, or clients − 1. 0: all up to 100 clients, above that
  // 52 (to 1,000), 62 (10,000), 68 (100,000).
  std::size_t neighbours = 0;

  // Neighbours whose shares open one of a client's two secrets; more than half of them, so that a server which tells some
  // of them that it lives and others that it does not gets one secret and not both. 0: ⌊2 neighbours/3⌋ + 1, above 100 clients
  // 37, 44, 48. With 5 % of the clients in league with the server and 5 % dropped the defaults fail to hide a client with
  // probability below 2^−40 a round, and to end the round below 2^−20.
  std::size_t threshold = 0;

  // A sum of fewer is not opened; at least 3: one of two tells each the other's.
  std::size_t min_cohort = 10;

  // With defaults in place. Throws kBadArgument, with what would be right, for what cannot be.
  Settings resolved() const;
};

}  // namespace fewbits::secure
