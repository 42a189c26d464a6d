#include "federated/sampling.h"

#include <algorithm>
#include <unordered_map>

namespace fewbits::federated {

std::vector<std::uint32_t> sample_clients(const Options& options, std::size_t asked, std::size_t clients,
                                          std::uint32_t round) {
  RandomReader random(stream_key({static_cast<std::uint64_t>(Purpose::kClientSampling), options.seed, round}));
  std::vector<std::uint32_t> chosen;
  if (options.client_probability) {
    for (std::uint32_t client = 0; client < clients; ++client) {
      if (random.uniform() < *options.client_probability) chosen.push_back(client);
    }
    return chosen;
  }
  // The first steps of a Fisher-Yates shuffle of all ids, of which only those that have moved are kept.
  std::unordered_map<std::uint32_t, std::uint32_t> moved;
  const auto at = [&](std::uint32_t place) {
    const auto found = moved.find(place);
    return found == moved.end() ? place : found->second;
  };
  const std::size_t count = std::min(asked, clients);
  for (std::uint32_t i = 0; i < count; ++i) {
    const auto other = static_cast<std::uint32_t>(i + random.below(clients - i));
    chosen.push_back(at(other));
    moved[other] = at(i);
  }
  std::sort(chosen.begin(), chosen.end());
  return chosen;
}

std::vector<std::uint32_t> sample_clients_secretly(double probability, std::size_t clients, privacy::RandomSource& source) {
  std::vector<std::uint32_t> chosen;
  privacy::RandomWords words(source);
  for (std::uint32_t client = 0; client < clients; ++client) {
    if (words.uniform() < probability) chosen.push_back(client);
  }
  return chosen;
}

RandomReader batch_randomness(const Options& options, std::uint32_t round, std::uint32_t client) {
  return RandomReader(stream_key({static_cast<std::uint64_t>(Purpose::kBatches), options.seed, round, client}));
}

}  // namespace fewbits::federated
