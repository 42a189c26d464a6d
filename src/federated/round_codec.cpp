#include "federated/round_codec.h"

#include <utility>

#include "fewbits/error.h"

namespace fewbits::federated {

RoundCodec::RoundCodec(Codec codec, bool private_step)
    : plan_(std::move(codec)), now_(plan_), private_step_(private_step) {
  if (plan_.takes_profile()) learner_.emplace(plan_.layout());
}

std::uint64_t RoundCodec::download_bytes() const noexcept { return profile_bytes_; }

void RoundCodec::learn(const Aggregator& round) {
  if (!learner_ || round.clients() == 0) return;
  learner_->learn(round);
  update();
}

void RoundCodec::update() {
  Profile profile = learner_->profile();
  if (!profile.is_flat() && !private_step_) profile = profile.with_common_step(plan_);
  now_ = plan_.with_profile(profile);
  profile_bytes_ = profile.is_flat() ? 0 : profile.bytes().size();
}

std::vector<std::byte> RoundCodec::save() const { return learner_ ? learner_->save() : std::vector<std::byte>(); }

void RoundCodec::restore(const std::vector<std::byte>& bytes) {
  if (learner_.has_value() == bytes.empty())
    throw Error(Errc::kBadArgument, "checkpoint is of another plan: one of the two learns a profile");
  if (!learner_) return;
  learner_->restore(bytes);
  update();
}

}  // namespace fewbits::federated
