#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "fewbits/downlink.h"
#include "fewbits/layout.h"

namespace fewbits::federated {

// How the model gets to the clients: whole, or by a plan as compressed differences.
class ModelSender {
 public:
  // `plan` empty: whole. Throws Error for a plan that does not compile, or cannot carry a model.
  ModelSender(const std::string& plan, const Layout& layout, std::span<const float> model, std::uint64_t seed);

  // The model that clients train from in `round`, where the server has `model`, which must stay as it is meanwhile. The
  // same again for a round that has been sent and was not done.
  std::span<const float> send(std::span<const float> model, std::uint32_t round);

  // Bytes to a client in the last round that was sent: the frames of all rounds since `last_round`, the last in which it
  // had the model, or the whole model, whichever is less. 0: it never had it.
  std::uint64_t bytes(std::uint32_t last_round) const noexcept;

  std::vector<std::byte> save() const;
  void restore(std::span<const std::byte> bytes);   // throws Error for what is not of this plan

 private:
  std::vector<float> start_;
  std::uint64_t seed_;
  std::optional<Downlink> downlink_;
  std::vector<std::uint64_t> sent_;   // bytes of all frames up to each round, from round 0 on
};

}  // namespace fewbits::federated
