#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <vector>

namespace fewbits::federated {

// What a client that has taken part keeps, beside what its codec remembers. Nothing of it is sent.
struct ClientMemory {
  std::uint64_t examples_seen = 0;   // of its stream
  std::uint32_t model_round = 0;     // the last whose model it has; 0: none
  std::vector<float> personal;       // its input vector; empty without
};

// By client. Memory grows with those that have taken part.
class ClientMemories {
 public:
  // Of a client without one: what is empty.
  const ClientMemory& of(std::uint32_t client) const;
  ClientMemory& make(std::uint32_t client) { return memories_[client]; }

  std::vector<std::byte> save() const;
  void restore(std::span<const std::byte> bytes);   // throws kBadArgument for damaged bytes

 private:
  std::map<std::uint32_t, ClientMemory> memories_;
};

}  // namespace fewbits::federated
