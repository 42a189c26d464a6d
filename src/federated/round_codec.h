#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "fewbits/aggregator.h"
#include "fewbits/codec.h"
#include "fewbits/profile.h"

namespace fewbits::federated {

// The codec of each round of one plan: the same in all, but for plans with scale=profile, whose server learns from each
// round and sends the next one's profile down.
class RoundCodec {
 public:
  // `private_step`: clients choose their own steps, although a profile could carry them.
  RoundCodec(Codec codec, bool private_step);

  const Codec& plan() const noexcept { return plan_; }         // without a profile
  const Codec& now() const noexcept { return now_; }           // of the round that comes next
  std::uint64_t download_bytes() const noexcept;               // of its profile, to each client

  void learn(const Aggregator& round);

  // Empty where nothing is learned.
  std::vector<std::byte> save() const;
  void restore(const std::vector<std::byte>& bytes);   // throws Error for what is not of this plan

 private:
  void update();

  Codec plan_;
  Codec now_;
  bool private_step_;
  std::optional<ProfileLearner> learner_;
  std::uint64_t profile_bytes_ = 0;
};

}  // namespace fewbits::federated
