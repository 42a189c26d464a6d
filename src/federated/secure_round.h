#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "fewbits/federated/options.h"
#include "fewbits/secure/client.h"
#include "fewbits/secure/server.h"
#include "fewbits/secure/system_random.h"

namespace fewbits::federated {

// One round of secure aggregation in one process: the state machines of server and clients, between which bytes alone pass.
class SecureRound {
 public:
  // Keys and shares are exchanged. Throws kEmpty for a cohort that is too small.
  SecureRound(const SecureOptions& options, const secure::Settings& settings, std::span<const std::uint64_t> cohort);

  // What a client uploads; different clients at once. `integers`: shape [settings.length].
  std::vector<std::byte> masked(std::uint64_t client, std::span<const std::int32_t> integers);

  // At the server; refuses as Server::receive does.
  void receive(std::uint64_t client, std::span<const std::byte> message);

  // Sums of those whose inputs have come, between −2^(bits−1) and 2^(bits−1) − 1. Throws kEmpty where they are too few.
  std::vector<std::int64_t> open();
  std::vector<std::uint64_t> survivors() const { return server_.survivors(); }

  // Of all clients, for keys, shares and unmasking; masked inputs are timed by who asks for them.
  double client_seconds() const noexcept { return client_seconds_; }

  // Of all messages but masked inputs, to the server and from it.
  std::uint64_t upload_bytes() const noexcept { return upload_bytes_; }
  std::uint64_t download_bytes() const noexcept { return download_bytes_; }

 private:
  using Messages = std::map<std::uint64_t, secure::Bytes>;
  void receive_all(const Messages& messages, const char* phase);
  Messages close(const char* phase);
  void keep(const std::string& name, std::span<const std::byte> bytes) const;

  std::filesystem::path transcript_;   // of this round; empty: none is kept
  secure::SystemRandom random_;
  secure::Server server_;
  std::map<std::uint64_t, secure::Client> clients_;
  Messages shares_;                    // for each client, from the others
  double client_seconds_ = 0;
  std::uint64_t upload_bytes_ = 0;
  std::uint64_t download_bytes_ = 0;
};

}  // namespace fewbits::federated
