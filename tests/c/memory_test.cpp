// Every allocation that a function of the C interface makes fails once: the call says FEWBITS_OUT_OF_MEMORY, changes
// nothing, and succeeds the next time.
#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "tests/c/handles.h"
#include "tests/engine/allocations.h"

namespace fewbits::test {
namespace {

// Calls until no allocation fails, and says how many did.
template <class Call>
long starved(Call call) {
  for (long granted = 0; granted < 100000; ++granted) {
    fewbits_error error = {FEWBITS_OK, 0, ""};
    grant_allocations(granted);
    const fewbits_code code = call(&error);
    grant_allocations(std::nullopt);
    if (code == FEWBITS_OK) return granted;
    EXPECT_EQ(code, FEWBITS_OUT_OF_MEMORY) << error.message;
    EXPECT_EQ(error.code, code);
    if (code != FEWBITS_OUT_OF_MEMORY) return -1;
  }
  return -1;
}

// The same for what makes a handle, which is freed.
template <class H, class Create>
long starved_handle(Create create) {
  H* handle = nullptr;
  const long failures = starved([&](fewbits_error* error) {
    const fewbits_code code = create(&handle, error);
    if (code != FEWBITS_OK && handle != nullptr) return FEWBITS_INTERNAL;
    return code;
  });
  Freer()(handle);
  return failures;
}

TEST(Memory, EveryFailureIsReportedAndLeavesEverythingAsItWas) {
  Session s;
  const Session untouched;
  std::vector<std::uint8_t> bytes(1 << 16);
  std::vector<float> values(Session::kSize);
  std::size_t size = 0;
  const std::size_t shape[1] = {Session::kSize};
  const fewbits_tensor tensor = {"a tensor with a name of more than a few characters", shape, 1};
  auto* codec = s.codec.get();

  EXPECT_GT(
      starved_handle<fewbits_codec>([&](auto h, auto e) { return fewbits_codec_compile("trellis:bits=2", 64, h, e); }),
      5);
  EXPECT_GT(starved_handle<fewbits_codec>(
                [&](auto h, auto e) { return fewbits_codec_compile_tensors("f32", &tensor, 1, h, e); }),
            5);
  EXPECT_GT(starved_handle<fewbits_codec>(
                [&](auto h, auto e) { return fewbits_codec_with_profile(codec, s.profile.get(), h, e); }),
            5);
  EXPECT_GT(starved_handle<fewbits_encoder>([&](auto h, auto e) { return fewbits_encoder_create(codec, h, e); }), 1);
  EXPECT_GT(starved_handle<fewbits_aggregator>(
                [&](auto h, auto e) { return fewbits_aggregator_create(codec, &s.round, nullptr, h, e); }),
            1);
  EXPECT_GT(
      starved_handle<fewbits_learner>([&](auto h, auto e) { return fewbits_learner_create(codec, nullptr, h, e); }), 1);
  EXPECT_GT(
      starved_handle<fewbits_feedback>([&](auto h, auto e) { return fewbits_feedback_create(codec, nullptr, h, e); }),
      1);

  EXPECT_GT(starved([&](auto e) {
              return fewbits_codec_encode(codec, s.update.data(), 64, &s.context, bytes.data(), bytes.size(), &size, e);
            }),
            0);
  EXPECT_EQ(size, s.frame.size());
  EXPECT_GT(starved([&](auto e) {
              return fewbits_codec_decode(codec, s.frame.data(), s.frame.size(), &s.context, values.data(), 64, e);
            }),
            0);

  EXPECT_GT(
      starved([&](auto e) { return fewbits_aggregator_add(s.sum.get(), s.frame.data(), s.frame.size(), &s.from, e); }),
      0);
  EXPECT_EQ(fewbits_aggregator_clients(s.sum.get()), 1u);
  fewbits_aggregator_add(untouched.sum.get(), s.frame.data(), s.frame.size(), &s.from, nullptr);
  std::vector<float> mean(64), same(64);
  EXPECT_GT(starved([&](auto e) { return fewbits_aggregator_mean(s.sum.get(), mean.data(), 64, e); }), 0);
  fewbits_aggregator_mean(untouched.sum.get(), same.data(), 64, nullptr);
  EXPECT_EQ(mean, same);

  Session other;
  other.context.client = other.from.client = 18;
  const auto second = frame_of(codec, other.update, other.context);
  ASSERT_EQ(fewbits_aggregator_add(other.sum.get(), second.data(), second.size(), &other.from, nullptr), FEWBITS_OK);
  EXPECT_GT(starved([&](auto e) { return fewbits_aggregator_merge(s.sum.get(), other.sum.get(), e); }), 0);
  EXPECT_EQ(fewbits_aggregator_clients(s.sum.get()), 2u);
  EXPECT_GT(
      starved([&](auto e) { return fewbits_aggregator_serialize(s.sum.get(), bytes.data(), bytes.size(), &size, e); }),
      0);
  EXPECT_GT(starved_handle<fewbits_aggregator>([&](auto h, auto e) {
              return fewbits_aggregator_restore(codec, &s.round, nullptr, bytes.data(), size, h, e);
            }),
            1);

  EXPECT_GE(starved([&](auto e) { return fewbits_learner_learn(s.learner.get(), s.sum.get(), e); }), 0);
  EXPECT_EQ(fewbits_learner_rounds(s.learner.get()), 2u);
  EXPECT_GT(
      starved_handle<fewbits_profile>([&](auto h, auto e) { return fewbits_learner_profile(s.learner.get(), h, e); }),
      1);
  EXPECT_GT(starved_handle<fewbits_profile>(
                [&](auto h, auto e) { return fewbits_profile_with_common_step(s.profile.get(), codec, h, e); }),
            1);
  std::size_t length = 0;
  const std::uint8_t* profile = fewbits_profile_bytes(s.profile.get(), &length);
  EXPECT_GT(starved_handle<fewbits_profile>(
                [&](auto h, auto e) { return fewbits_profile_restore(codec, profile, length, h, e); }),
            1);
  EXPECT_GT(
      starved([&](auto e) { return fewbits_learner_save(s.learner.get(), bytes.data(), bytes.size(), &size, e); }), 0);
  EXPECT_GE(starved([&](auto e) { return fewbits_learner_restore(s.learner.get(), bytes.data(), size, e); }), 0);

  EXPECT_GT(
      starved([&](auto e) { return fewbits_encoder_save(s.encoder.get(), bytes.data(), bytes.size(), &size, e); }), 0);
  EXPECT_GE(starved([&](auto e) { return fewbits_encoder_restore(s.encoder.get(), bytes.data(), size, e); }), 0);

  EXPECT_GT(starved([&](auto e) {
              return fewbits_feedback_encode(s.feedback.get(), s.update.data(), 64, &s.context, bytes.data(),
                                             bytes.size(), &size, e);
            }),
            0);
  EXPECT_EQ(fewbits_feedback_pending(s.feedback.get()), 1);
  EXPECT_GE(starved([&](auto e) { return fewbits_feedback_commit(s.feedback.get(), e); }), 0);
  EXPECT_GT(starved([&](auto e) { return fewbits_feedback_memory(s.feedback.get(), values.data(), 64, e); }), 0);
  EXPECT_GT(
      starved([&](auto e) { return fewbits_feedback_save(s.feedback.get(), bytes.data(), bytes.size(), &size, e); }),
      0);
  EXPECT_GT(starved_handle<fewbits_feedback>(
                [&](auto h, auto e) { return fewbits_feedback_restore(codec, nullptr, bytes.data(), size, h, e); }),
            1);
  EXPECT_GE(starved([&](auto e) { return fewbits_feedback_set_codec(s.feedback.get(), codec, e); }), 0);
}

TEST(Memory, EveryPlanEncodesAndAddsWhatItWouldHave) {
  for (const std::string& plan : kPlans) {
    SCOPED_TRACE(plan);
    const std::uint32_t cohort = plan.starts_with("permk") ? 4 : 1;
    const fewbits_context context = {42, 17, 3, 0, cohort};
    const fewbits_round round = {42, 3, cohort};
    const fewbits_contribution from = {17, 2, 0};
    const auto codec = codec_of(plan.c_str(), 3000);
    ASSERT_NE(codec, nullptr);
    std::vector<float> update(fewbits_codec_elements(codec.get()));
    for (std::size_t i = 0; i < update.size(); ++i) update[i] = static_cast<float>(i % 17) - 8;
    const auto want = frame_of(codec.get(), update, context);
    std::vector<std::uint8_t> frame(want.size());
    std::size_t size = 0;
    EXPECT_GT(starved([&](auto e) {
                return fewbits_codec_encode(codec.get(), update.data(), update.size(), &context, frame.data(),
                                            frame.size(), &size, e);
              }),
              0);
    EXPECT_EQ(frame, want);

    const auto make_sum = [&](auto out) { fewbits_aggregator_create(codec.get(), &round, nullptr, out, nullptr); };
    const auto sum = made<fewbits_aggregator>(make_sum), fed = made<fewbits_aggregator>(make_sum);
    std::vector<float> mean(update.size()), same(update.size());
    EXPECT_GT(starved([&](auto e) { return fewbits_aggregator_add(sum.get(), frame.data(), frame.size(), &from, e); }),
              0);
    ASSERT_EQ(fewbits_aggregator_add(fed.get(), want.data(), want.size(), &from, nullptr), FEWBITS_OK);
    ASSERT_EQ(fewbits_aggregator_mean(sum.get(), mean.data(), mean.size(), nullptr), FEWBITS_OK);
    ASSERT_EQ(fewbits_aggregator_mean(fed.get(), same.data(), same.size(), nullptr), FEWBITS_OK);
    EXPECT_EQ(mean, same);
  }
}

}  // namespace
}  // namespace fewbits::test
