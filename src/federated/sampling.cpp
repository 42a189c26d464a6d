#include "federated/sampling.h"

#include <algorithm>
#include <numeric>

namespace fewbits::federated {

std::vector<std::uint32_t> sample_clients(const Options& options, std::size_t clients, std::uint32_t round) {
  RandomReader random(stream_key({static_cast<std::uint64_t>(Purpose::kClientSampling), options.seed, round}));
  std::vector<std::uint32_t> chosen;
  if (options.client_probability) {
    for (std::uint32_t client = 0; client < clients; ++client) {
      if (random.uniform() < *options.client_probability) chosen.push_back(client);
    }
    return chosen;
  }
  std::vector<std::uint32_t> all(clients);
  std::iota(all.begin(), all.end(), 0u);
  const std::size_t count = std::min(options.clients_per_round, clients);
  for (std::size_t i = 0; i < count; ++i) {  // the first steps of a Fisher-Yates shuffle
    std::swap(all[i], all[i + static_cast<std::size_t>(random.below(clients - i))]);
  }
  all.resize(count);
  std::sort(all.begin(), all.end());
  return all;
}

RandomReader batch_randomness(const Options& options, std::uint32_t round, std::uint32_t client) {
  return RandomReader(stream_key({static_cast<std::uint64_t>(Purpose::kBatches), options.seed, round, client}));
}

}  // namespace fewbits::federated
