#pragma once

#include "c/handle.h"
#include "fewbits/aggregator.h"
#include "fewbits/c/fewbits.h"
#include "fewbits/codec.h"
#include "fewbits/error_feedback.h"
#include "fewbits/profile.h"

// What the names of the C interface stand for.
struct fewbits_codec : fewbits::c::Handle<fewbits::Codec, fewbits::c::Kind::kCodec> {
  using Handle::Handle;
};
struct fewbits_encoder : fewbits::c::Handle<fewbits::Encoder, fewbits::c::Kind::kEncoder> {
  using Handle::Handle;
};
struct fewbits_aggregator : fewbits::c::Handle<fewbits::Aggregator, fewbits::c::Kind::kAggregator> {
  using Handle::Handle;
};
struct fewbits_profile : fewbits::c::Handle<fewbits::Profile, fewbits::c::Kind::kProfile> {
  using Handle::Handle;
};
struct fewbits_learner : fewbits::c::Handle<fewbits::ProfileLearner, fewbits::c::Kind::kLearner> {
  using Handle::Handle;
};
struct fewbits_feedback : fewbits::c::Handle<fewbits::ErrorFeedback, fewbits::c::Kind::kFeedback> {
  using Handle::Handle;
};

namespace fewbits::c {

// In C a struct whose members are not named is zero, and a cohort of nobody is of one.
inline Cohort cohort_of(std::uint32_t index, std::uint32_t size) noexcept { return {index, size == 0 ? 1 : size}; }

inline Context context_of(const fewbits_context* context) {
  const fewbits_context& c = required(context, "the context");
  return {c.seed, c.round, c.client, cohort_of(c.cohort_index, c.cohort_size)};
}

}  // namespace fewbits::c
