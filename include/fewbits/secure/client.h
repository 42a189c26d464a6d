#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "fewbits/aggregator.h"
#include "fewbits/export.h"
#include "fewbits/privacy/random_source.h"
#include "fewbits/secure/settings.h"

namespace fewbits::secure {

// A client's part in one round of secure aggregation: the server learns the sum of the inputs, and of no client the input.
// Bonawitz et al. 2017 (CCS) on the sparse graph of Bell et al. 2020 (CCS). Messages are bytes (docs/frame-format.md, Secure
// aggregation); who carries them must tell each end whose they are, and hide them from others (TLS).
//
//   Client client(settings, 17, random);
//   to_server(client.advertise());
//   to_server(client.share(from_server()));
//   to_server(client.masked_input(from_server(), words));
//   to_server(client.unmask(from_server()));
//
// Against a server that follows the protocol and is curious, with up to threshold − 1 of the client's neighbours in league with
// it. Of an active one: two views of who is left are refused by the threshold; a cohort made up, or a graph not drawn at random,
// is not seen (there is no consistency phase, and no signatures).
//
// Calls come in this order, each answers once, and a call that throws changes nothing: kBadArgument for calls out of order,
// kNotAFrame, kUnknownVersion, kTruncated, kTrailingBytes, kMalformed for bytes that no server writes, kWrongRound, kWrongPlan,
// kWrongClient for those of another round, settings or client. The text names the client at fault, if there is one.
class FEWBITS_API Client {
 public:
  // `random` must be cryptographic (SystemRandom), and outlive the call of `share`. Throws kBadArgument for settings that cannot
  // be.
  Client(const Settings& settings, std::uint64_t id, privacy::RandomSource& random);
  ~Client();
  Client(Client&&) noexcept;
  Client& operator=(Client&&) noexcept;

  // Two public keys of this round.
  Bytes advertise();

  // From the neighbours' public keys: shares of this client's secrets, each encrypted for one neighbour. Throws also for fewer
  // neighbours than the threshold, another echo of its own keys, equal keys, and keys that agree with every other on the same
  // secret.
  Bytes share(std::span<const std::byte> neighbours);

  // From the neighbours' shares: the input (shape [length], words below 2^bits), masked, bits/8 bytes a word. The mask is used
  // once: no second input. Throws also where fewer neighbours than the threshold have shared, and, naming the neighbour,
  // kChecksumMismatch for a share that was not encrypted for this client, kMalformed for one that is not what was committed to.
  Bytes masked_input(std::span<const std::byte> shares, std::span<const std::uint32_t> words, Executor* executor = nullptr);

  // From the list of who is left: of each neighbour the share of its self mask, if its input arrived, or else of its mask key,
  // never both. Answers one list a round, of at least the threshold of neighbours and of min_cohort clients left; throws kEmpty
  // for fewer.
  Bytes unmask(std::span<const std::byte> survivors);

  // What the next calls need, for a client whose process ends between messages: at most 141 bytes and 73 a neighbour.
  // As secret as the input: whoever has it, and the server's messages, can unmask. Restore each state once, and wipe it: two inputs
  // under one mask reveal their difference.
  Bytes save() const;

  // The client that was saved, of the same settings and id. Throws kBadArgument for settings that cannot be, what a message of another
  // round or client throws, and kChecksumMismatch for bytes that are not those that were saved.
  static Client restore(const Settings& settings, std::uint64_t id, std::span<const std::byte> state, privacy::RandomSource& random);

  std::uint64_t id() const noexcept;
  const Settings& settings() const noexcept;  // with defaults in place

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace fewbits::secure
