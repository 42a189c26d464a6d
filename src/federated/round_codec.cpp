#include "federated/round_codec.h"

#include <algorithm>
#include <utility>

#include "fewbits/error.h"

namespace fewbits::federated {
namespace {

constexpr std::string_view kAuto = "bits=auto";
constexpr const char* kRates[] = {"0.01", "0.02", "0.03", "0.05", "0.1", "0.2", "0.3", "0.5", "0.7", "1", "1.5", "2", "3", "4", "6", "8"};
constexpr std::size_t kUsualRate = 9;   // 1 bit

std::string with_rate(std::string plan, const char* rate) {
  for (std::size_t at = plan.find(kAuto); at != std::string::npos; at = plan.find(kAuto, at))
    plan.replace(at, kAuto.size(), std::string("bits=") + rate);
  return plan;
}

Codec at_rate(const std::string& plan, const char* rate, const Codec& like) {
  try {
    const Codec codec = Codec::compile(with_rate(plan, rate), like.layout());
    if (codec.fingerprint() == like.fingerprint()) return codec;
  } catch (const Error& error) {
    if (error.code() != Errc::kBadPlan) throw;   // bits that the stage does not take
  }
  throw Error(Errc::kBadArgument, "bits=auto goes with stages whose bits are a wish of the encoder, as those of trellis and dither; "
                                  "frames of '" + plan + "' with different bits cannot be added up");
}

}  // namespace

RoundCodec::RoundCodec(const std::string& plan, const Layout& layout, bool private_step)
    : plan_(Codec::compile(with_rate(plan, kRates[kUsualRate]), layout)), now_(plan_), private_step_(private_step) {
  if (plan.find(kAuto) != std::string::npos) {
    private_step_ = true;   // a step for all would be one rate for all
    for (const char* rate : kRates) {
      const Codec codec = at_rate(plan, rate, plan_);
      rates_.push_back({std::stod(rate), codec, codec});
    }
    share_out();
  }
  if (plan_.takes_profile()) learner_.emplace(plan_.layout());
}

// Rules without bits=auto take their bytes first.
void RoundCodec::share_out() {
  const auto low = rates_.front().plan.describe().groups, high = rates_.back().plan.describe().groups;
  for (std::size_t i = 0; i < low.size(); ++i) {
    if (low[i].stages == high[i].stages) {
      other_bytes_ += low[i].max_bytes;
    } else {
      rated_values_ += low[i].values;
    }
  }
}

const Codec& RoundCodec::within(double bytes) const noexcept {
  if (rates_.empty()) return now_;
  const double bits = 8 * (bytes - static_cast<double>(other_bytes_)) / static_cast<double>(std::max<std::size_t>(rated_values_, 1));
  const Codec* chosen = &rates_.front().now;
  for (const Rate& rate : rates_)
    if (rate.bits <= bits) chosen = &rate.now;
  return *chosen;
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
  for (Rate& rate : rates_) rate.now = rate.plan.with_profile(profile);
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
