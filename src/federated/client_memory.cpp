#include "federated/client_memory.h"

#include <utility>

#include "federated/bytes.h"

namespace fewbits::federated {

const ClientMemory& ClientMemories::of(std::uint32_t client) const {
  static const ClientMemory none;
  const auto found = memories_.find(client);
  return found == memories_.end() ? none : found->second;
}

std::vector<std::byte> ClientMemories::save() const {
  BytesOut out;
  out.value<std::uint64_t>(memories_.size());
  for (const auto& [client, memory] : memories_) {
    out.value(client);
    out.value(memory.examples_seen);
    out.value(memory.model_round);
    out.list(memory.personal);
  }
  return std::move(out).take();
}

void ClientMemories::restore(std::span<const std::byte> bytes) {
  std::map<std::uint32_t, ClientMemory> memories;
  BytesIn in(bytes);
  for (auto left = in.value<std::uint64_t>(); left > 0; --left) {
    const auto client = in.value<std::uint32_t>();
    ClientMemory memory;
    memory.examples_seen = in.value<std::uint64_t>();
    memory.model_round = in.value<std::uint32_t>();
    memory.personal = in.list<std::vector<float>>();
    if (!memories.emplace(client, std::move(memory)).second) BytesIn::damaged();
  }
  in.expect_end();
  memories_ = std::move(memories);
}

}  // namespace fewbits::federated
