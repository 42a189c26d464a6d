#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "fewbits/c/fewbits.h"

// What the tests of the C interface share: handles that free themselves, and one of each kind.
namespace fewbits::test {

// Of every kind of stage one at least.
inline const std::vector<std::string> kPlans = {
    "f32",
    "trellis:bits=2",
    "trellis:bits=0.3,scale=separable",
    "trellis:bits=1,scale=profile",
    "dither:bits=1",
    "hadamard+mask:keep=0.25+quantize:bits=2",
    "eden:bits=1",
    "topk:keep=0.1+qsgd:levels=3",
    "lowrank:rank=2+f16",
    "in.bias=f16; *=quantize:bits=4+zstd",
    "train=mask:keep=0.5 | quantize:bits=4",
    "permk:cohort=4+f32",
};

struct Freer {
  void operator()(fewbits_codec* handle) const { fewbits_codec_free(handle); }
  void operator()(fewbits_encoder* handle) const { fewbits_encoder_free(handle); }
  void operator()(fewbits_aggregator* handle) const { fewbits_aggregator_free(handle); }
  void operator()(fewbits_profile* handle) const { fewbits_profile_free(handle); }
  void operator()(fewbits_learner* handle) const { fewbits_learner_free(handle); }
  void operator()(fewbits_feedback* handle) const { fewbits_feedback_free(handle); }
};
template <class H>
using Owned = std::unique_ptr<H, Freer>;

// The handle that `create` makes; null where it fails.
template <class H, class Create>
Owned<H> made(Create create) {
  H* handle = nullptr;
  create(&handle);
  return Owned<H>(handle);
}

inline Owned<fewbits_codec> codec_of(const char* plan, std::size_t elements) {
  return made<fewbits_codec>([&](auto out) { fewbits_codec_compile(plan, elements, out, nullptr); });
}

inline std::vector<std::uint8_t> frame_of(const fewbits_codec* codec, const std::vector<float>& update,
                                          const fewbits_context& context) {
  std::vector<std::uint8_t> frame(fewbits_codec_max_frame_size(codec));
  std::size_t size = 0;
  fewbits_codec_encode(codec, update.data(), update.size(), &context, frame.data(), frame.size(), &size, nullptr);
  frame.resize(size);
  return frame;
}

// One handle of each kind, all of the same small profile plan, and what their calls take.
struct Session {
  static constexpr std::size_t kSize = 64;

  std::vector<float> update = std::vector<float>(kSize, 1.5f);
  fewbits_context context = {.seed = 42, .client = 17, .round = 3, .cohort_index = 0, .cohort_size = 1};
  fewbits_round round = {.seed = 42, .round = 3, .cohort_size = 1};
  fewbits_contribution from = {.client = 17, .weight = 2, .cohort_index = 0};
  Owned<fewbits_codec> codec = codec_of("trellis:bits=2,scale=profile", kSize);
  Owned<fewbits_encoder> encoder =
      made<fewbits_encoder>([&](auto out) { fewbits_encoder_create(codec.get(), out, nullptr); });
  Owned<fewbits_aggregator> sum = made<fewbits_aggregator>(
      [&](auto out) { fewbits_aggregator_create(codec.get(), &round, nullptr, out, nullptr); });
  Owned<fewbits_learner> learner =
      made<fewbits_learner>([&](auto out) { fewbits_learner_create(codec.get(), nullptr, out, nullptr); });
  Owned<fewbits_feedback> feedback =
      made<fewbits_feedback>([&](auto out) { fewbits_feedback_create(codec.get(), nullptr, out, nullptr); });
  std::vector<std::uint8_t> frame = frame_of(codec.get(), update, context);
  Owned<fewbits_profile> profile = made<fewbits_profile>([&](auto out) {
    fewbits_learner_learn_mean(learner.get(), update.data(), update.size(), nullptr);
    fewbits_learner_profile(learner.get(), out, nullptr);
  });
};

}  // namespace fewbits::test
