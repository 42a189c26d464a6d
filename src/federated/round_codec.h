#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fewbits/aggregator.h"
#include "fewbits/codec.h"
#include "fewbits/profile.h"

namespace fewbits::federated {

// The codecs of each round of one plan: the same in all, but for plans with scale=profile, whose server learns from each
// round and sends the next one's profile down. With bits=auto there is one for each of some rates, whose frames all
// belong to the same plan: they differ in a wish that only encoders look at.
class RoundCodec {
 public:
  // `private_step`: clients choose their own steps, although a profile could carry them. Throws Error for a plan that does
  // not compile, or whose frames would differ in more than their rate.
  RoundCodec(const std::string& plan, const Layout& layout, bool private_step);

  const Codec& plan() const noexcept { return plan_; }         // without a profile
  const Codec& now() const noexcept { return now_; }           // of the round that comes next
  bool rates_differ() const noexcept { return !rates_.empty(); }

  // Of the highest rate whose frames need at most so many bytes; the lowest where none does, now() without bits=auto.
  const Codec& within(double bytes) const noexcept;

  std::uint64_t download_bytes() const noexcept;               // of its profile, to each client

  void learn(const Aggregator& round);

  // Empty where nothing is learned.
  std::vector<std::byte> save() const;
  void restore(const std::vector<std::byte>& bytes);   // throws Error for what is not of this plan

 private:
  struct Rate {
    double bits = 0;
    Codec plan;
    Codec now;
  };
  void update();
  void share_out();

  std::vector<Rate> rates_;        // rising; empty without bits=auto
  std::size_t rated_values_ = 0;   // that are coded with bits=auto
  std::size_t other_bytes_ = 0;    // of the rest of a frame, at most
  Codec plan_;
  Codec now_;
  bool private_step_;
  std::optional<ProfileLearner> learner_;
  std::uint64_t profile_bytes_ = 0;
};

}  // namespace fewbits::federated
