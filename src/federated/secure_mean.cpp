#include "federated/secure_mean.h"

#include <algorithm>
#include <cmath>
#include <sstream>
#include <utility>

#include "fewbits/error.h"
#include "fewbits/privacy/clipping.h"

namespace fewbits::federated {
namespace {

constexpr std::string_view kAuto = "step=auto";

std::uint64_t random_session() {
  std::uint64_t session = 0;
  secure::SystemRandom().fill(std::as_writable_bytes(std::span(&session, 1)));
  return session;
}

Integers integers_of(const std::string& plan, const Layout& layout, const RoundContext& context) {
  return {Codec::compile(plan, layout), context};
}

// How much longer than values what a plan's integers stand for is at most: of its rules together, without what the way back through
// their transforms makes of it.
double added_to_values(const Description& plan) {
  double added = 0;
  for (const GroupDescription& group : plan.groups) added = std::hypot(added, group.norm_added / group.norm_growth.value_or(1));
  return added;
}

}  // namespace

SecureMean::SecureMean(const SecureOptions& secure, std::string plan, const Layout& layout)
    : options_(secure), plan_(std::move(plan)), layout_(layout), values_(integers_of(with_step(plan_), layout_, {}).size()), session_(random_session()) {}

std::string SecureMean::with_step(std::string plan, double step) {
  std::ostringstream text;
  text.precision(9);
  text << "step=" << step;
  for (std::size_t at = plan.find(kAuto); at != std::string::npos; at = plan.find(kAuto, at)) plan.replace(at, kAuto.size(), text.str());
  return plan;
}

// The sum's norm: at most that of clipped updates which all point the same way, but with the last mean to go by, of a part that they
// have in common, twice the last one's norm, and of parts that they have not.
double SecureMean::step(const PrivateRounds* privacy) const {
  if (privacy == nullptr) throw Error(Errc::kBadArgument, "step=auto needs --clip: what fits into a word follows from the norm of updates");
  if (privacy->client_noise()) return privacy->client_noise()->step();
  const double clients = privacy->cohort() + 4 * std::sqrt(privacy->cohort());
  const double common = last_norm_ > 0 ? std::min(2 * last_norm_, privacy->norm()) : privacy->norm();
  const double sum = std::sqrt(clients * clients * common * common + clients * privacy->norm() * privacy->norm());
  return privacy::step_for(options_.bits, values_, clients, sum, 0);
}

void SecureMean::begin(const RoundContext& context, std::span<const Participant> cohort, const PrivateRounds* privacy) {
  privacy_ = privacy;
  round_.reset();
  received_.clear();
  const bool automatic = plan_.find(kAuto) != std::string::npos;
  if (!automatic && privacy != nullptr && privacy->noise_multiplier() > 0)
    throw Error(Errc::kBadArgument, "noise on a secure sum goes with step=auto in the plan '" + plan_ + "'");
  step_ = automatic ? step(privacy) : 0;
  integers_ = integers_of(automatic ? with_step(plan_, step_) : plan_, layout_, context);
  added_ = added_to_values(integers_->codec().describe());
  std::vector<std::uint64_t> ids;
  for (const Participant& participant : cohort) ids.push_back(participant.client);
  const std::size_t least = std::max(options_.min_cohort, privacy == nullptr ? 0 : privacy->least_cohort());
  if (ids.size() < least)
    throw Error(Errc::kEmpty, std::to_string(ids.size()) + " clients are too few for a secure sum of at least " + std::to_string(least));
  round_.emplace(options_, secure::Settings{.session = session_, .round = context.round, .plan = integers_->codec().fingerprint(), .length = values_,
                                            .bits = options_.bits, .clients = ids.size(), .neighbours = options_.neighbours,
                                            .threshold = options_.threshold, .min_cohort = least}, ids);
}

std::vector<std::byte> SecureMean::encode(const Participant& participant, std::span<float> update) {
  if (privacy_ != nullptr) {
    const auto weight = static_cast<float>(privacy_->weight(participant.examples));
    for (float& value : update) value *= weight;
  }
  std::vector<std::int32_t> integers(values_);
  if (privacy_ != nullptr && privacy_->client_noise()) {
    secure::SystemRandom random;
    privacy_->client_noise()->encode(integers_->values(update), integers, random);
    const auto wrapped = 32 - options_.bits;   // the sum is mod 2^bits, and so is what it is made of
    for (std::int32_t& integer : integers) integer = static_cast<std::int32_t>(static_cast<std::uint32_t>(integer) << wrapped) >> wrapped;
    return round_->masked(participant.client, integers);
  }
  const Contribution own{.client = participant.client, .cohort_index = participant.place};
  integers_->encode(update, own, integers);
  if (privacy_ != nullptr && privacy_->noise_multiplier() > 0) {
    const std::vector<std::int64_t> alone(integers.begin(), integers.end());
    double squares = 0;
    for (const double value : integers_->values(alone, {&own, 1})) squares += value * value;
    if (std::sqrt(squares) > sensitivity(privacy_->norm())) {   // nobody else can see to it
      std::ranges::fill(update, 0.0f);
      integers_->encode(update, own, integers);
    }
  }
  return round_->masked(participant.client, integers);
}

void SecureMean::receive(const Participant& participant, std::span<const std::byte> message) {
  round_->receive(participant.client, message);
  received_.push_back({.client = participant.client, .cohort_index = participant.place});
}

double SecureMean::sensitivity(double norm) const {
  return norm + added_ + 1e-6 * norm;
}

std::vector<float> SecureMean::finish(PrivateRounds* privacy, privacy::RandomSource& source) {
  const std::vector<std::int64_t> sums = round_->open();
  std::vector<float> mean;
  if (privacy == nullptr) {
    mean = integers_->mean(sums, received_);
  } else {
    std::vector<double> values(values_);
    if (privacy->client_noise()) {
      for (std::size_t i = 0; i < values_; ++i) values[i] = static_cast<double>(sums[i]) * step_;
    } else {
      values = integers_->values(sums, received_);
    }
    if (privacy->noise_multiplier() == 0 && privacy->weighs_equally()) {
      // Without a promise the number of clients is no secret.
      for (double& value : values) value /= static_cast<double>(received_.size());
    } else {
      privacy->release(values, sensitivity(privacy->norm()), source);
    }
    mean = integers_->update(values);
  }
  last_norm_ = privacy::norm_of(mean);
  return mean;
}

}  // namespace fewbits::federated
