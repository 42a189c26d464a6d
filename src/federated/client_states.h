#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <variant>
#include <vector>

#include "fewbits/aggregator.h"
#include "fewbits/error_feedback.h"
#include "fewbits/federated/federated.h"
#include "fewbits/shift.h"

namespace fewbits::federated {

// What the clients of one plan remember between their frames, and the server's part of it. Memory: what
// PlanOptions::feedback keeps, for each client that has taken part.
class ClientStates {
 public:
  // Bytes of `save`, for a checkpoint.
  struct Saved {
    Feedback feedback = Feedback::kNone;
    std::map<std::uint32_t, std::vector<std::byte>> clients;
    std::vector<std::byte> server;   // empty where the server remembers nothing
  };

  // `clients` must outlive it. Throws Error for options that do not go with the codec.
  ClientStates(const Codec& codec, const PlanOptions& plan, const Clients& clients);

  // Whether clients remember anything; else `encode` is not to be called.
  bool active() const noexcept { return plan_.feedback != Feedback::kNone; }

  // Makes states for the clients that have none. To be called before `encode`; a round that came to nothing is forgotten.
  void begin_round(std::span<const std::uint32_t> cohort);

  // Of one client of the cohort; different clients at once.
  std::vector<std::byte> encode(std::span<const float> update, const Context& context);

  // The server's update, from the frames of the clients that `arrived` (rising ids): these move on, the others of the
  // cohort are as before the round.
  std::vector<float> finish_round(const Aggregator& sum, std::span<const std::uint32_t> arrived);

  // What a client must be sent in a round beside the model.
  std::uint64_t download_bytes() const noexcept;

  Saved save() const;
  Saved save_changes();               // with those clients alone that have changed since the last call, or `restore`
  void restore(const Saved& saved);   // throws Error for what is not of this plan

 private:
  using State = std::variant<ErrorFeedback, Shift>;
  State make_state() const;
  State restored_state(std::span<const std::byte> bytes) const;
  Saved save_server() const;
  double population() const;

  Codec codec_;
  PlanOptions plan_;
  const Clients* clients_of_task_;
  double all_examples_ = 0;   // of kDiana: of all clients together
  std::map<std::uint32_t, State> clients_;
  std::set<std::uint32_t> changed_;
  std::optional<ServerShift> server_;
  std::optional<Reference> reference_;
};

}  // namespace fewbits::federated
