#pragma once

#include <cstdint>
#include <vector>

#include "fewbits/federated/federated.h"
#include "fewbits/privacy/random_source.h"
#include "kernels/random.h"

// What is drawn in a round, from the run's seed, the round and the client alone: the same for every plan.
namespace fewbits::federated {

// Clients that are asked in `round`, in the order of their ids: `asked` of them without replacement, or each by chance
// where the options have one. Memory grows with those that are asked, not with `clients`.
std::vector<std::uint32_t> sample_clients(const Options& options, std::size_t asked, std::size_t clients,
                                          std::uint32_t round);

// Each client by this chance, from a source that nobody else can foresee: privacy is amplified by sampling only where it is secret.
std::vector<std::uint32_t> sample_clients_secretly(double probability, std::size_t clients, privacy::RandomSource& source);

// The stream of which a client shuffles its examples, epoch after epoch.
RandomReader batch_randomness(const Options& options, std::uint32_t round, std::uint32_t client);

}  // namespace fewbits::federated
