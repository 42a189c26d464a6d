// What every function of the C interface refuses, and with which code.
#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "tests/c/handles.h"

namespace fewbits::test {
namespace {

struct Call {
  const char* name;
  std::function<fewbits_code(fewbits_error*)> run;
};

class Arguments : public testing::Test {
 protected:
  void expect(fewbits_code code, const std::vector<Call>& calls) {
    for (const Call& call : calls) {
      SCOPED_TRACE(call.name);
      fewbits_error error = {FEWBITS_OK, 1, ""};
      EXPECT_EQ(call.run(&error), code) << error.message;
      EXPECT_EQ(error.code, code);
      EXPECT_NE(error.message[0], '\0');
      EXPECT_EQ(call.run(nullptr), code);
    }
  }

  // The calls that take every kind of handle, with the handles of `s` but for those given as null.
  std::vector<Call> calls(const fewbits_codec* codec, fewbits_encoder* encoder, fewbits_aggregator* sum,
                          fewbits_profile* profile, fewbits_learner* learner, fewbits_feedback* feedback) {
    std::vector<Call> all;
    const auto call = [&](const char* name, auto run) { all.push_back({name, run}); };
    if (codec != s.codec.get()) {
      call("with_profile",
           [=, this](auto e) { return fewbits_codec_with_profile(codec, s.profile.get(), &out_codec, e); });
      call("encode", [=, this](auto e) {
        return fewbits_codec_encode(codec, s.update.data(), 64, &s.context, bytes, sizeof(bytes), &size, e);
      });
      call("decode", [=, this](auto e) {
        return fewbits_codec_decode(codec, s.frame.data(), s.frame.size(), &s.context, floats, 64, e);
      });
      call("encoder_create", [=, this](auto e) { return fewbits_encoder_create(codec, &out_encoder, e); });
      call("aggregator_create",
           [=, this](auto e) { return fewbits_aggregator_create(codec, &s.round, nullptr, &out_sum, e); });
      call("aggregator_restore",
           [=, this](auto e) { return fewbits_aggregator_restore(codec, &s.round, nullptr, bytes, 9, &out_sum, e); });
      call("profile_restore", [=, this](auto e) { return fewbits_profile_restore(codec, bytes, 9, &out_profile, e); });
      call("with_common_step",
           [=, this](auto e) { return fewbits_profile_with_common_step(s.profile.get(), codec, &out_profile, e); });
      call("learner_create", [=, this](auto e) { return fewbits_learner_create(codec, nullptr, &out_learner, e); });
      call("feedback_create", [=, this](auto e) { return fewbits_feedback_create(codec, nullptr, &out_feedback, e); });
      call("feedback_restore",
           [=, this](auto e) { return fewbits_feedback_restore(codec, nullptr, bytes, 9, &out_feedback, e); });
      call("set_codec", [=, this](auto e) { return fewbits_feedback_set_codec(s.feedback.get(), codec, e); });
    }
    if (encoder != s.encoder.get()) {
      call("encoder_encode", [=, this](auto e) {
        return fewbits_encoder_encode(encoder, s.update.data(), 64, &s.context, &out_frame, &size, e);
      });
      call("encoder_save", [=, this](auto e) { return fewbits_encoder_save(encoder, bytes, sizeof(bytes), &size, e); });
      call("encoder_restore", [=, this](auto e) { return fewbits_encoder_restore(encoder, bytes, 9, e); });
    }
    if (sum != s.sum.get()) {
      call("add",
           [=, this](auto e) { return fewbits_aggregator_add(sum, s.frame.data(), s.frame.size(), &s.from, e); });
      call("merge into", [=, this](auto e) { return fewbits_aggregator_merge(sum, s.sum.get(), e); });
      call("merge", [=, this](auto e) { return fewbits_aggregator_merge(s.sum.get(), sum, e); });
      call("mean", [=, this](auto e) { return fewbits_aggregator_mean(sum, floats, 64, e); });
      call("serialize",
           [=, this](auto e) { return fewbits_aggregator_serialize(sum, bytes, sizeof(bytes), &size, e); });
      call("learn", [=, this](auto e) { return fewbits_learner_learn(s.learner.get(), sum, e); });
    }
    if (profile != s.profile.get()) {
      call("with_profile",
           [=, this](auto e) { return fewbits_codec_with_profile(s.codec.get(), profile, &out_codec, e); });
      call("with_common_step",
           [=, this](auto e) { return fewbits_profile_with_common_step(profile, s.codec.get(), &out_profile, e); });
    }
    if (learner != s.learner.get()) {
      call("learn", [=, this](auto e) { return fewbits_learner_learn(learner, s.sum.get(), e); });
      call("learn_mean", [=, this](auto e) { return fewbits_learner_learn_mean(learner, s.update.data(), 64, e); });
      call("learner_profile", [=, this](auto e) { return fewbits_learner_profile(learner, &out_profile, e); });
      call("learner_save", [=, this](auto e) { return fewbits_learner_save(learner, bytes, sizeof(bytes), &size, e); });
      call("learner_restore", [=, this](auto e) { return fewbits_learner_restore(learner, bytes, 9, e); });
    }
    if (feedback != s.feedback.get()) {
      call("feedback_encode", [=, this](auto e) {
        return fewbits_feedback_encode(feedback, s.update.data(), 64, &s.context, bytes, sizeof(bytes), &size, e);
      });
      call("commit", [=](auto e) { return fewbits_feedback_commit(feedback, e); });
      call("abandon", [=](auto e) { return fewbits_feedback_abandon(feedback, e); });
      call("memory", [=, this](auto e) { return fewbits_feedback_memory(feedback, floats, 64, e); });
      call("set_codec", [=, this](auto e) { return fewbits_feedback_set_codec(feedback, s.codec.get(), e); });
      call("feedback_save",
           [=, this](auto e) { return fewbits_feedback_save(feedback, bytes, sizeof(bytes), &size, e); });
    }
    return all;
  }

  Session s;
  std::uint8_t bytes[2048] = {};
  float floats[64] = {};
  std::size_t size = 0;
  const std::uint8_t* out_frame = nullptr;
  fewbits_codec* out_codec = nullptr;
  fewbits_encoder* out_encoder = nullptr;
  fewbits_aggregator* out_sum = nullptr;
  fewbits_profile* out_profile = nullptr;
  fewbits_learner* out_learner = nullptr;
  fewbits_feedback* out_feedback = nullptr;
};

// Reads one kind of handle as another, as a caller without types would.
template <class To, class From>
To* as(const Owned<From>& handle) {
  return reinterpret_cast<To*>(handle.get());
}

TEST_F(Arguments, NullHandlesAreRefusedByEveryFunction) {
  const auto all = calls(nullptr, nullptr, nullptr, nullptr, nullptr, nullptr);
  ASSERT_EQ(all.size(), 34u);
  expect(FEWBITS_BAD_ARGUMENT, all);
}

TEST_F(Arguments, HandlesOfAnotherTypeAreRefusedByEveryFunction) {
  expect(FEWBITS_BAD_ARGUMENT,
         calls(as<fewbits_codec>(s.sum), as<fewbits_encoder>(s.codec), as<fewbits_aggregator>(s.profile),
               as<fewbits_profile>(s.learner), as<fewbits_learner>(s.feedback), as<fewbits_feedback>(s.encoder)));
}

TEST_F(Arguments, OtherNullsAreRefused) {
  const float* no_floats = nullptr;
  const std::uint8_t* no_bytes = nullptr;
  auto* codec = s.codec.get();
  const float* update = s.update.data();
  const fewbits_tensor nameless = {nullptr, nullptr, 0};
  const fewbits_tensor shapeless = {"a", nullptr, 1};
  expect(
      FEWBITS_BAD_ARGUMENT,
      {
          {"plan", [&](auto e) { return fewbits_codec_compile(nullptr, 64, &out_codec, e); }},
          {"codec", [&](auto e) { return fewbits_codec_compile("f32", 64, nullptr, e); }},
          {"plan of tensors",
           [&](auto e) { return fewbits_codec_compile_tensors(nullptr, nullptr, 0, &out_codec, e); }},
          {"tensors", [&](auto e) { return fewbits_codec_compile_tensors("f32", nullptr, 1, &out_codec, e); }},
          {"name", [&](auto e) { return fewbits_codec_compile_tensors("f32", &nameless, 1, &out_codec, e); }},
          {"shape", [&](auto e) { return fewbits_codec_compile_tensors("f32", &shapeless, 1, &out_codec, e); }},
          {"codec of tensors", [&](auto e) { return fewbits_codec_compile_tensors("f32", nullptr, 0, nullptr, e); }},
          {"with_profile", [&](auto e) { return fewbits_codec_with_profile(codec, s.profile.get(), nullptr, e); }},
          {"update",
           [&](auto e) { return fewbits_codec_encode(codec, no_floats, 64, &s.context, bytes, 2048, &size, e); }},
          {"context", [&](auto e) { return fewbits_codec_encode(codec, update, 64, nullptr, bytes, 2048, &size, e); }},
          {"frame",
           [&](auto e) { return fewbits_codec_encode(codec, update, 64, &s.context, nullptr, 2048, &size, e); }},
          {"size",
           [&](auto e) { return fewbits_codec_encode(codec, update, 64, &s.context, bytes, 2048, nullptr, e); }},
          {"decode", [&](auto e) { return fewbits_codec_decode(codec, no_bytes, 9, &s.context, floats, 64, e); }},
          {"decode context",
           [&](auto e) { return fewbits_codec_decode(codec, s.frame.data(), s.frame.size(), nullptr, floats, 64, e); }},
          {"decode update",
           [&](auto e) {
             return fewbits_codec_decode(codec, s.frame.data(), s.frame.size(), &s.context, nullptr, 64, e);
           }},
          {"encoder", [&](auto e) { return fewbits_encoder_create(codec, nullptr, e); }},
          {"encoder update",
           [&](auto e) {
             return fewbits_encoder_encode(s.encoder.get(), no_floats, 64, &s.context, &out_frame, &size, e);
           }},
          {"encoder context",
           [&](auto e) { return fewbits_encoder_encode(s.encoder.get(), update, 64, nullptr, &out_frame, &size, e); }},
          {"encoder frame",
           [&](auto e) { return fewbits_encoder_encode(s.encoder.get(), update, 64, &s.context, nullptr, &size, e); }},
          {"encoder size",
           [&](auto e) {
             return fewbits_encoder_encode(s.encoder.get(), update, 64, &s.context, &out_frame, nullptr, e);
           }},
          {"encoder_save", [&](auto e) { return fewbits_encoder_save(s.encoder.get(), bytes, 2048, nullptr, e); }},
          {"encoder_restore", [&](auto e) { return fewbits_encoder_restore(s.encoder.get(), no_bytes, 9, e); }},
          {"round", [&](auto e) { return fewbits_aggregator_create(codec, nullptr, nullptr, &out_sum, e); }},
          {"aggregator", [&](auto e) { return fewbits_aggregator_create(codec, &s.round, nullptr, nullptr, e); }},
          {"add", [&](auto e) { return fewbits_aggregator_add(s.sum.get(), no_bytes, 9, &s.from, e); }},
          {"from",
           [&](auto e) { return fewbits_aggregator_add(s.sum.get(), s.frame.data(), s.frame.size(), nullptr, e); }},
          {"serialize", [&](auto e) { return fewbits_aggregator_serialize(s.sum.get(), bytes, 2048, nullptr, e); }},
          {"restore",
           [&](auto e) { return fewbits_aggregator_restore(codec, &s.round, nullptr, no_bytes, 9, &out_sum, e); }},
          {"restore round",
           [&](auto e) { return fewbits_aggregator_restore(codec, nullptr, nullptr, bytes, 9, &out_sum, e); }},
          {"profile", [&](auto e) { return fewbits_profile_restore(codec, no_bytes, 9, &out_profile, e); }},
          {"with_common_step",
           [&](auto e) { return fewbits_profile_with_common_step(s.profile.get(), codec, nullptr, e); }},
          {"learner", [&](auto e) { return fewbits_learner_create(codec, nullptr, nullptr, e); }},
          {"learn_mean", [&](auto e) { return fewbits_learner_learn_mean(s.learner.get(), no_floats, 64, e); }},
          {"learner_profile", [&](auto e) { return fewbits_learner_profile(s.learner.get(), nullptr, e); }},
          {"learner_save", [&](auto e) { return fewbits_learner_save(s.learner.get(), bytes, 2048, nullptr, e); }},
          {"learner_restore", [&](auto e) { return fewbits_learner_restore(s.learner.get(), no_bytes, 9, e); }},
          {"feedback", [&](auto e) { return fewbits_feedback_create(codec, nullptr, nullptr, e); }},
          {"feedback update",
           [&](auto e) {
             return fewbits_feedback_encode(s.feedback.get(), no_floats, 64, &s.context, bytes, 2048, &size, e);
           }},
          {"feedback context",
           [&](auto e) {
             return fewbits_feedback_encode(s.feedback.get(), update, 64, nullptr, bytes, 2048, &size, e);
           }},
          {"feedback frame",
           [&](auto e) {
             return fewbits_feedback_encode(s.feedback.get(), update, 64, &s.context, nullptr, 2048, &size, e);
           }},
          {"feedback size",
           [&](auto e) {
             return fewbits_feedback_encode(s.feedback.get(), update, 64, &s.context, bytes, 2048, nullptr, e);
           }},
          {"feedback_save", [&](auto e) { return fewbits_feedback_save(s.feedback.get(), bytes, 2048, nullptr, e); }},
          {"feedback_restore",
           [&](auto e) { return fewbits_feedback_restore(codec, nullptr, no_bytes, 9, &out_feedback, e); }},
          {"memory", [&](auto e) { return fewbits_feedback_memory(s.feedback.get(), nullptr, 64, e); }},
      });
  EXPECT_EQ(fewbits_feedback_pending(s.feedback.get()), 0);
}

TEST_F(Arguments, WhatHasNoCodeGivesNothingForOtherHandles) {
  for (const auto* codec : {static_cast<fewbits_codec*>(nullptr), as<fewbits_codec>(s.sum)}) {
    EXPECT_EQ(fewbits_codec_plan(codec), nullptr);
    EXPECT_EQ(fewbits_codec_elements(codec), 0u);
    EXPECT_EQ(fewbits_codec_max_frame_size(codec), 0u);
    EXPECT_EQ(fewbits_codec_fingerprint(codec), 0u);
    EXPECT_EQ(fewbits_codec_takes_profile(codec), 0);
  }
  for (const auto* sum : {static_cast<fewbits_aggregator*>(nullptr), as<fewbits_aggregator>(s.codec)}) {
    EXPECT_EQ(fewbits_aggregator_clients(sum), 0u);
    EXPECT_EQ(fewbits_aggregator_total_weight(sum), 0);
  }
  for (const auto* profile : {static_cast<fewbits_profile*>(nullptr), as<fewbits_profile>(s.codec)}) {
    size = 9;
    EXPECT_EQ(fewbits_profile_bytes(profile, &size), nullptr);
    EXPECT_EQ(size, 0u);
    EXPECT_EQ(fewbits_profile_is_flat(profile), 0);
    EXPECT_EQ(fewbits_profile_has_common_step(profile), 0);
  }
  EXPECT_EQ(fewbits_profile_bytes(s.profile.get(), nullptr), nullptr);
  EXPECT_EQ(fewbits_learner_rounds(as<fewbits_learner>(s.codec)), 0u);
  EXPECT_EQ(fewbits_feedback_pending(as<fewbits_feedback>(s.codec)), 0);
  fewbits_feedback_defaults(nullptr);
}

TEST_F(Arguments, FreeingNullOrAnotherTypeDoesNothing) {
  fewbits_codec_free(nullptr);
  fewbits_encoder_free(nullptr);
  fewbits_aggregator_free(nullptr);
  fewbits_profile_free(nullptr);
  fewbits_learner_free(nullptr);
  fewbits_feedback_free(nullptr);
  fewbits_aggregator_free(as<fewbits_aggregator>(s.codec));
  EXPECT_EQ(fewbits_codec_elements(s.codec.get()), 64u);
}

TEST_F(Arguments, NoHandleIsMadeByAFailure) {
  auto* const stale = s.codec.get();
  fewbits_codec* codec = stale;
  EXPECT_EQ(fewbits_codec_compile("no", 64, &codec, nullptr), FEWBITS_BAD_PLAN);
  EXPECT_EQ(codec, nullptr);
}

// Each function with its result in a buffer one too short: the length it takes is told, the buffer stays as it was.
TEST_F(Arguments, ShortBuffersAreRefusedWithTheLengthThatItTakes) {
  ASSERT_EQ(fewbits_aggregator_add(s.sum.get(), s.frame.data(), s.frame.size(), &s.from, nullptr), FEWBITS_OK);
  using Write = std::function<fewbits_code(std::uint8_t*, std::size_t, std::size_t*, fewbits_error*)>;
  const std::vector<std::pair<const char*, Write>> writers = {
      {"encode",
       [&](auto b, auto n, auto m, auto e) {
         return fewbits_codec_encode(s.codec.get(), s.update.data(), 64, &s.context, b, n, m, e);
       }},
      {"encoder_save",
       [&](auto b, auto n, auto m, auto e) { return fewbits_encoder_save(s.encoder.get(), b, n, m, e); }},
      {"serialize",
       [&](auto b, auto n, auto m, auto e) { return fewbits_aggregator_serialize(s.sum.get(), b, n, m, e); }},
      {"learner_save",
       [&](auto b, auto n, auto m, auto e) { return fewbits_learner_save(s.learner.get(), b, n, m, e); }},
      {"feedback_encode",
       [&](auto b, auto n, auto m, auto e) {
         return fewbits_feedback_encode(s.feedback.get(), s.update.data(), 64, &s.context, b, n, m, e);
       }},
      {"feedback_save",
       [&](auto b, auto n, auto m, auto e) { return fewbits_feedback_save(s.feedback.get(), b, n, m, e); }},
  };
  for (const auto& [name, write] : writers) {
    SCOPED_TRACE(name);
    std::size_t asked = 0;
    EXPECT_EQ(write(nullptr, 0, &asked, nullptr), FEWBITS_SHORT_BUFFER);
    ASSERT_GT(asked, 0u);
    std::vector<std::uint8_t> buffer(asked, 0xA5);
    size = 0;
    fewbits_error error;
    EXPECT_EQ(write(buffer.data(), asked - 1, &size, &error), FEWBITS_SHORT_BUFFER);
    EXPECT_EQ(error.code, FEWBITS_SHORT_BUFFER);
    EXPECT_EQ(size, asked);
    EXPECT_EQ(buffer, std::vector<std::uint8_t>(asked, 0xA5));
    EXPECT_EQ(fewbits_feedback_pending(s.feedback.get()), 0);
    EXPECT_EQ(write(buffer.data(), asked, &size, &error), FEWBITS_OK);
    EXPECT_EQ(error.code, FEWBITS_OK);
    EXPECT_EQ(error.message[0], '\0');
    EXPECT_EQ(size, asked);
    EXPECT_NE(buffer, std::vector<std::uint8_t>(asked, 0xA5));
    fewbits_feedback_abandon(s.feedback.get(), nullptr);
  }
  floats[0] = 7;
  expect(FEWBITS_SHORT_BUFFER,
         {
             {"decode",
              [&](auto e) {
                return fewbits_codec_decode(s.codec.get(), s.frame.data(), s.frame.size(), &s.context, floats, 63, e);
              }},
             {"mean", [&](auto e) { return fewbits_aggregator_mean(s.sum.get(), floats, 63, e); }},
             {"memory", [&](auto e) { return fewbits_feedback_memory(s.feedback.get(), floats, 63, e); }},
         });
  EXPECT_EQ(floats[0], 7);
}

TEST_F(Arguments, ValuesOutOfRangeAreRefused) {
  fewbits_context late = s.context;
  late.round = 1u << 28;
  const fewbits_round late_round = {42, 1u << 28, 1};
  fewbits_context outside = s.context;
  outside.cohort_index = 5;
  const fewbits_limits none = {0, 1};
  const fewbits_learner_options forgetful = {1, 0.02};
  fewbits_feedback_options options;
  fewbits_feedback_defaults(&options);
  options.method = 2;
  fewbits_feedback_options momentum;
  fewbits_feedback_defaults(&momentum);
  momentum.momentum = 1;
  const fewbits_contribution weightless = {17, 0, 0};
  auto other = codec_of("f32", 65);
  auto flat = made<fewbits_profile>([&](auto out) {
    const auto learner =
        made<fewbits_learner>([&](auto place) { fewbits_learner_create(s.codec.get(), nullptr, place, nullptr); });
    fewbits_learner_profile(learner.get(), out, nullptr);
  });
  ASSERT_EQ(fewbits_profile_is_flat(flat.get()), 1);
  expect(
      FEWBITS_BAD_ARGUMENT,
      {
          {"length",
           [&](auto e) {
             return fewbits_codec_encode(s.codec.get(), s.update.data(), 63, &s.context, bytes, 2048, &size, e);
           }},
          {"round",
           [&](auto e) {
             return fewbits_codec_encode(s.codec.get(), s.update.data(), 64, &late, bytes, 2048, &size, e);
           }},
          {"cohort",
           [&](auto e) {
             return fewbits_codec_encode(s.codec.get(), s.update.data(), 64, &outside, bytes, 2048, &size, e);
           }},
          {"elements", [&](auto e) { return fewbits_codec_compile("f32", std::size_t{1} << 32, &out_codec, e); }},
          {"round of a sum",
           [&](auto e) { return fewbits_aggregator_create(s.codec.get(), &late_round, nullptr, &out_sum, e); }},
          {"limits", [&](auto e) { return fewbits_aggregator_create(s.codec.get(), &s.round, &none, &out_sum, e); }},
          {"weight",
           [&](auto e) { return fewbits_aggregator_add(s.sum.get(), s.frame.data(), s.frame.size(), &weightless, e); }},
          {"memory", [&](auto e) { return fewbits_learner_create(s.codec.get(), &forgetful, &out_learner, e); }},
          {"mean", [&](auto e) { return fewbits_learner_learn_mean(s.learner.get(), s.update.data(), 63, e); }},
          {"method", [&](auto e) { return fewbits_feedback_create(s.codec.get(), &options, &out_feedback, e); }},
          {"momentum", [&](auto e) { return fewbits_feedback_create(s.codec.get(), &momentum, &out_feedback, e); }},
          {"nothing pending", [&](auto e) { return fewbits_feedback_commit(s.feedback.get(), e); }},
          {"codec of a layout", [&](auto e) { return fewbits_feedback_set_codec(s.feedback.get(), other.get(), e); }},
          {"profile of a layout",
           [&](auto e) { return fewbits_codec_with_profile(other.get(), s.profile.get(), &out_codec, e); }},
          {"flat profile",
           [&](auto e) { return fewbits_profile_with_common_step(flat.get(), s.codec.get(), &out_profile, e); }},
      });
  s.update[3] = std::numeric_limits<float>::quiet_NaN();
  expect(FEWBITS_NOT_FINITE,
         {
             {"encode",
              [&](auto e) {
                return fewbits_codec_encode(s.codec.get(), s.update.data(), 64, &s.context, bytes, 2048, &size, e);
              }},
             {"encoder",
              [&](auto e) {
                return fewbits_encoder_encode(s.encoder.get(), s.update.data(), 64, &s.context, &out_frame, &size, e);
              }},
             {"feedback",
              [&](auto e) {
                return fewbits_feedback_encode(s.feedback.get(), s.update.data(), 64, &s.context, bytes, 2048, &size,
                                               e);
              }},
             {"learner", [&](auto e) { return fewbits_learner_learn_mean(s.learner.get(), s.update.data(), 64, e); }},
         });
  expect(FEWBITS_EMPTY, {
                            {"mean", [&](auto e) { return fewbits_aggregator_mean(s.sum.get(), floats, 64, e); }},
                            {"learn", [&](auto e) { return fewbits_learner_learn(s.learner.get(), s.sum.get(), e); }},
                        });
}

TEST_F(Arguments, LimitsAreThoseOfTheCaller) {
  const fewbits_limits magnitude = {1e-3, 10}, weight = {1e6, 1};
  for (const fewbits_limits* limits : {&magnitude, &weight}) {
    const auto sum = made<fewbits_aggregator>(
        [&](auto out) { fewbits_aggregator_create(s.codec.get(), &s.round, limits, out, nullptr); });
    const auto add = [&](auto e) {
      return fewbits_aggregator_add(sum.get(), s.frame.data(), s.frame.size(), &s.from, e);
    };
    expect(FEWBITS_TOO_LARGE, {{"add", add}});
    s.from.weight = 1;
    EXPECT_EQ(add(nullptr), limits == &weight ? FEWBITS_OK : FEWBITS_TOO_LARGE);
    s.from.weight = 2;
  }
}

}  // namespace
}  // namespace fewbits::test
