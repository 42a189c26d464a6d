#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "federated/client.h"
#include "federated/private_rounds.h"
#include "federated/secure_round.h"
#include "fewbits/codec.h"
#include "fewbits/federated/options.h"
#include "fewbits/integers.h"

namespace fewbits::federated {

// The rounds of one plan under secure aggregation: integers for words, and what the sums of words stand for.
class SecureMean {
 public:
  // `plan` may say step=auto. Throws kBadArgument for a plan that is not linear in integers, with the reason.
  SecureMean(const SecureOptions& secure, std::string plan, const Layout& layout);

  // With step=auto replaced by a step, for what does not depend on it.
  static std::string with_step(std::string plan, double step = 1);
  std::size_t values() const noexcept { return values_; }

  // `privacy`: null without. Throws kEmpty for too few.
  void begin(const RoundContext& context, std::span<const Participant> cohort, const PrivateRounds* privacy);

  // A client's upload; different clients at once. `update` is used up.
  std::vector<std::byte> encode(const Participant& participant, std::span<float> update);
  void receive(const Participant& participant, std::span<const std::byte> message);

  // The mean of what was received. Throws kEmpty where that is too little. `privacy` as in begin.
  std::vector<float> finish(PrivateRounds* privacy, privacy::RandomSource& source);

  double client_seconds() const noexcept { return round_ ? round_->client_seconds() : 0; }           // beside encoding
  std::uint64_t upload_bytes() const noexcept { return round_ ? round_->upload_bytes() : 0; }       // beside masked inputs
  std::uint64_t download_bytes() const noexcept { return round_ ? round_->download_bytes() : 0; }

  // Norm of the last mean, which the next step follows; 0 before the first. For checkpoints.
  double last_norm() const noexcept { return last_norm_; }
  void restore(double last_norm) noexcept { last_norm_ = last_norm; }

 private:
  double step(const PrivateRounds* privacy) const;
  double sensitivity(double norm) const;

  SecureOptions options_;
  std::string plan_;
  Layout layout_;
  std::size_t values_;
  std::uint64_t session_;
  double last_norm_ = 0;

  const PrivateRounds* privacy_ = nullptr;
  double step_ = 0;       // of step=auto
  double added_ = 0;      // to the norm of values, by their rounding
  std::optional<Integers> integers_;
  std::optional<SecureRound> round_;
  std::vector<Contribution> received_;
};

}  // namespace fewbits::federated
