#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "fewbits/aggregator.h"
#include "fewbits/export.h"
#include "fewbits/privacy/random_source.h"
#include "fewbits/secure/settings.h"

namespace fewbits::secure {

// What the server waits for.
enum class Phase { kKeys, kShares, kInputs, kUnmasking };

// The server's part in one round of secure aggregation (client.h). It forwards keys and shares that it cannot read, adds masked
// inputs, and opens the sum with the shares that the clients who are left reveal.
//
//   Server server(settings, cohort, random);
//   for (int phase = 0; phase < 3; ++phase) {
//     for (auto& [client, bytes] : arrived_in_time()) server.receive(client, bytes);   // refusals: catch Error, go on
//     for (auto& [client, bytes] : server.close()) send(client, bytes);
//   }
//   for (auto& [client, bytes] : arrived_in_time()) server.receive(client, bytes);
//   auto sum = server.sum();
//
// Memory: 2 bytes a word of the input (4 above 16 bits) whatever the number of clients, and for each client 112 bytes a neighbour
// and some keys. One thread at a time.
class FEWBITS_API Server {
 public:
  // `cohort`: ids of the clients that are asked, all different; as many as settings.clients. `random` draws the graph: nobody
  // must be able to foresee it; it must outlive the first `close`. Throws kBadArgument for settings and cohorts that cannot be.
  Server(const Settings& settings, std::span<const std::uint64_t> cohort, privacy::RandomSource& random);
  ~Server();
  Server(Server&&) noexcept;
  Server& operator=(Server&&) noexcept;

  Phase phase() const noexcept;

  // A message of the phase, from the client as the caller has authenticated it. All or nothing: throws Error, which names the
  // client, and leaves everything as it was. kWrongClient: not asked, or without an answer in an earlier phase, or the message
  // names another; kDuplicateClient: a second one in the phase; kWrongRound, kWrongPlan: another round's, other settings';
  // kNotAFrame, kUnknownVersion, kTruncated, kTrailingBytes; kMalformed: another phase's, a useless key, a share that is not the
  // one that the client was sent. A masked input is added at once and not kept.
  void receive(std::uint64_t client, std::span<const std::byte> message);

  // Ends the phase: the message for each client that has answered in it; who has not is out. Throws kEmpty, and stays in the
  // phase, where fewer than min_cohort clients are left or, of some client, fewer neighbours than the threshold; kBadArgument in
  // the last phase.
  std::map<std::uint64_t, Bytes> close();

  // Words of the sum of the survivors' inputs, mod 2^bits (shape [length]); may be called again. Throws kBadArgument before the
  // last phase, kEmpty where of some client fewer shares than the threshold have come, and kMalformed, naming the client, where
  // shares do not open what it has committed to: it has dealt wrong ones. Expands a mask for each survivor, and for each client
  // that dropped between shares and input one for each of its neighbours: on the executor's threads, if there is one.
  std::vector<std::uint32_t> sum(Executor* executor = nullptr) const;

  // Those who have answered in all phases before this one and in it, in rising order; from the last phase on whose inputs are in
  // the sum.
  std::vector<std::uint64_t> survivors() const;

  const Settings& settings() const noexcept;  // with defaults in place

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace fewbits::secure
