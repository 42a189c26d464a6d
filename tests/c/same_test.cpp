// The C interface against the C++ one: the same bytes, the same bits, the same errors.
#include <gtest/gtest.h>

#include <cstring>

#include "fewbits/aggregator.h"
#include "fewbits/error_feedback.h"
#include "fewbits/profile.h"
#include "fewbits/version.h"
#include "tests/c/handles.h"
#include "tests/engine/support.h"

namespace fewbits::test {
namespace {

constexpr std::size_t kSize = 1000;
constexpr std::uint64_t kSeed = 42;
constexpr std::uint32_t kRound = 3;

std::span<const std::byte> as_bytes(std::span<const std::uint8_t> bytes) { return std::as_bytes(bytes); }

std::vector<std::uint8_t> copy(std::span<const std::byte> bytes) {
  const auto* start = reinterpret_cast<const std::uint8_t*>(bytes.data());
  return {start, start + bytes.size()};
}

// The net of the engine's tests, as C has it.
Owned<fewbits_codec> net_codec(const std::string& plan) {
  const Layout layout = net(kSize);
  std::vector<fewbits_tensor> tensors;
  for (const Tensor& tensor : layout.tensors())
    tensors.push_back({tensor.name.c_str(), tensor.shape.data(), tensor.shape.size()});
  return made<fewbits_codec>(
      [&](auto out) { fewbits_codec_compile_tensors(plan.c_str(), tensors.data(), tensors.size(), out, nullptr); });
}

// The result of a call that fills a buffer of bytes.
template <class Write>
std::vector<std::uint8_t> written(Write write) {
  std::size_t size = 0;
  EXPECT_EQ(write(nullptr, 0, &size), FEWBITS_SHORT_BUFFER);
  std::vector<std::uint8_t> bytes(size);
  EXPECT_EQ(write(bytes.data(), size, &size), FEWBITS_OK);
  EXPECT_EQ(size, bytes.size());
  return bytes;
}

class SamePlan : public testing::TestWithParam<std::string> {};

TEST_P(SamePlan, FramesSumsAndStatesAreTheSameBytes) {
  const Codec codec = Codec::compile(GetParam(), net(kSize));
  const auto c = net_codec(GetParam());
  ASSERT_NE(c, nullptr);
  EXPECT_EQ(codec.plan(), fewbits_codec_plan(c.get()));
  EXPECT_EQ(codec.elements(), fewbits_codec_elements(c.get()));
  EXPECT_EQ(codec.fingerprint(), fewbits_codec_fingerprint(c.get()));
  EXPECT_EQ(codec.max_frame_size(), fewbits_codec_max_frame_size(c.get()));
  EXPECT_EQ(codec.takes_profile(), fewbits_codec_takes_profile(c.get()) == 1);

  const std::uint32_t cohort = GetParam().starts_with("permk") ? 4 : 1;
  const fewbits_round round = {kSeed, kRound, cohort};
  Encoder encoder(codec);
  const auto c_encoder = made<fewbits_encoder>([&](auto out) { fewbits_encoder_create(c.get(), out, nullptr); });
  Aggregator sum(codec, {kSeed, kRound, cohort}), half(codec, {kSeed, kRound, cohort});
  const auto c_sum =
      made<fewbits_aggregator>([&](auto out) { fewbits_aggregator_create(c.get(), &round, nullptr, out, nullptr); });
  const auto c_half =
      made<fewbits_aggregator>([&](auto out) { fewbits_aggregator_create(c.get(), &round, nullptr, out, nullptr); });

  std::vector<float> values(codec.elements());
  for (std::uint32_t client = 0; client < 4; ++client) {
    const auto update = normal(codec.elements(), client);
    const Cohort place = {cohort == 1 ? 0 : client, cohort};
    const Context context = {kSeed, kRound, client, place};
    const fewbits_context c_context = {kSeed, client, kRound, place.index, place.size};
    const auto frame = codec.encode(update, context);
    EXPECT_EQ(copy(frame), frame_of(c.get(), update, c_context));

    const std::uint8_t* start = nullptr;
    std::size_t size = 0;
    ASSERT_EQ(fewbits_encoder_encode(c_encoder.get(), update.data(), update.size(), &c_context, &start, &size, nullptr),
              FEWBITS_OK);
    EXPECT_EQ(copy(encoder.encode(update, context)), std::vector<std::uint8_t>(start, start + size));

    const auto bytes = copy(frame);
    ASSERT_EQ(
        fewbits_codec_decode(c.get(), bytes.data(), bytes.size(), &c_context, values.data(), values.size(), nullptr),
        FEWBITS_OK);
    EXPECT_TRUE(same_bits(codec.decode(frame, {kSeed, place}), values));

    const fewbits_contribution from = {client, 1.5 + client, place.index};
    (client < 3 ? sum : half).add(frame, {client, from.weight, place.index});
    ASSERT_EQ(fewbits_aggregator_add((client < 3 ? c_sum : c_half).get(), bytes.data(), bytes.size(), &from, nullptr),
              FEWBITS_OK);
  }
  EXPECT_EQ(copy(encoder.save()),
            written([&](auto b, auto n, auto m) { return fewbits_encoder_save(c_encoder.get(), b, n, m, nullptr); }));
  sum.merge(half);
  ASSERT_EQ(fewbits_aggregator_merge(c_sum.get(), c_half.get(), nullptr), FEWBITS_OK);
  EXPECT_EQ(sum.clients(), fewbits_aggregator_clients(c_sum.get()));
  EXPECT_EQ(sum.total_weight(), fewbits_aggregator_total_weight(c_sum.get()));
  ASSERT_EQ(fewbits_aggregator_mean(c_sum.get(), values.data(), values.size(), nullptr), FEWBITS_OK);
  EXPECT_TRUE(same_bits(sum.mean(), values));

  const auto saved =
      written([&](auto b, auto n, auto m) { return fewbits_aggregator_serialize(c_sum.get(), b, n, m, nullptr); });
  EXPECT_EQ(copy(sum.serialize()), saved);
  const auto restored = made<fewbits_aggregator>([&](auto out) {
    EXPECT_EQ(fewbits_aggregator_restore(c.get(), &round, nullptr, saved.data(), saved.size(), out, nullptr),
              FEWBITS_OK);
  });
  EXPECT_EQ(fewbits_aggregator_clients(restored.get()), 4u);
}
INSTANTIATE_TEST_SUITE_P(Plans, SamePlan, testing::ValuesIn(kPlans),
                         [](const auto& plan) { return std::to_string(plan.index); });

TEST(Same, ProfilesAreTheSameBytes) {
  const Codec codec = Codec::compile("trellis:bits=0.5,scale=profile", net(kSize));
  const auto c = net_codec("trellis:bits=0.5,scale=profile");
  ProfileLearner learner(codec.layout(), {0.5, 0.1});
  const fewbits_learner_options options = {0.5, 0.1};
  const auto c_learner =
      made<fewbits_learner>([&](auto out) { fewbits_learner_create(c.get(), &options, out, nullptr); });
  auto update = normal(kSize, 1);
  for (std::size_t i = 0; i < kSize / 3; ++i) update[i] *= 10;

  const fewbits_round round = {kSeed, kRound, 0};
  const fewbits_context context = {kSeed, 17, kRound, 0, 0};
  const fewbits_contribution from = {17, 1, 0};
  const auto frame = frame_of(c.get(), update, context);
  Aggregator sum(codec, {kSeed, kRound});
  sum.add(as_bytes(frame), {17, 1});
  const auto c_sum =
      made<fewbits_aggregator>([&](auto out) { fewbits_aggregator_create(c.get(), &round, nullptr, out, nullptr); });
  ASSERT_EQ(fewbits_aggregator_add(c_sum.get(), frame.data(), frame.size(), &from, nullptr), FEWBITS_OK);
  learner.learn(sum);
  ASSERT_EQ(fewbits_learner_learn(c_learner.get(), c_sum.get(), nullptr), FEWBITS_OK);
  learner.learn(update);
  ASSERT_EQ(fewbits_learner_learn_mean(c_learner.get(), update.data(), kSize, nullptr), FEWBITS_OK);
  EXPECT_EQ(fewbits_learner_rounds(c_learner.get()), 2u);

  const Profile profile = learner.profile().with_common_step(codec);
  const auto plain = made<fewbits_profile>([&](auto out) { fewbits_learner_profile(c_learner.get(), out, nullptr); });
  const auto stepped =
      made<fewbits_profile>([&](auto out) { fewbits_profile_with_common_step(plain.get(), c.get(), out, nullptr); });
  EXPECT_EQ(fewbits_profile_is_flat(stepped.get()), 0);
  EXPECT_EQ(fewbits_profile_has_common_step(plain.get()), 0);
  EXPECT_EQ(fewbits_profile_has_common_step(stepped.get()), 1);
  std::size_t size = 0;
  const std::uint8_t* bytes = fewbits_profile_bytes(stepped.get(), &size);
  EXPECT_EQ(copy(profile.bytes()), std::vector<std::uint8_t>(bytes, bytes + size));

  const auto restored =
      made<fewbits_profile>([&](auto out) { fewbits_profile_restore(c.get(), bytes, size, out, nullptr); });
  const auto next =
      made<fewbits_codec>([&](auto out) { fewbits_codec_with_profile(c.get(), restored.get(), out, nullptr); });
  EXPECT_EQ(codec.with_profile(profile).fingerprint(), fewbits_codec_fingerprint(next.get()));
  EXPECT_EQ(copy(codec.with_profile(profile).encode(update, {kSeed, kRound, 17})),
            frame_of(next.get(), update, context));

  const auto saved =
      written([&](auto b, auto n, auto m) { return fewbits_learner_save(c_learner.get(), b, n, m, nullptr); });
  EXPECT_EQ(copy(learner.save()), saved);
  const auto again = made<fewbits_learner>([&](auto out) { fewbits_learner_create(c.get(), &options, out, nullptr); });
  ASSERT_EQ(fewbits_learner_restore(again.get(), saved.data(), saved.size(), nullptr), FEWBITS_OK);
  EXPECT_EQ(fewbits_learner_rounds(again.get()), 2u);
}

TEST(Same, EncodersGoOnFromWhatWasSaved) {
  const auto c = net_codec("lowrank:rank=2+f16");
  const auto one = made<fewbits_encoder>([&](auto out) { fewbits_encoder_create(c.get(), out, nullptr); });
  const auto two = made<fewbits_encoder>([&](auto out) { fewbits_encoder_create(c.get(), out, nullptr); });
  const fewbits_context context = {kSeed, 17, kRound, 0, 0};
  const auto update = normal(kSize, 1);
  const auto encode = [&](fewbits_encoder* encoder) {
    const std::uint8_t* frame = nullptr;
    std::size_t size = 0;
    EXPECT_EQ(fewbits_encoder_encode(encoder, update.data(), kSize, &context, &frame, &size, nullptr), FEWBITS_OK);
    return std::vector<std::uint8_t>(frame, frame + size);
  };
  encode(one.get());
  const auto saved = written([&](auto b, auto n, auto m) { return fewbits_encoder_save(one.get(), b, n, m, nullptr); });
  ASSERT_EQ(fewbits_encoder_restore(two.get(), saved.data(), saved.size(), nullptr), FEWBITS_OK);
  EXPECT_EQ(encode(one.get()), encode(two.get()));
}

TEST(Same, ErrorFeedbackIsTheSameBytes) {
  const Codec codec = Codec::compile("stc:keep=0.05", net(kSize));
  const auto c = net_codec("stc:keep=0.05");
  FeedbackOptions options;
  options.momentum = 0.5;
  options.masking = false;
  options.decay = 0.75;
  options.max_age = 9;
  options.scale = 0.5;
  options.storage = StateStorage::kBFloat16;
  fewbits_feedback_options c_options;
  fewbits_feedback_defaults(&c_options);
  EXPECT_EQ(c_options.scale, 0);
  EXPECT_EQ(c_options.masking, 1);
  EXPECT_EQ(c_options.decay, 1);
  c_options = {FEWBITS_EF14, FEWBITS_BFLOAT16, 0.5, 0.5, 0, 0.75, 9};
  ErrorFeedback feedback(codec, options);
  const auto c_feedback =
      made<fewbits_feedback>([&](auto out) { fewbits_feedback_create(c.get(), &c_options, out, nullptr); });
  std::vector<std::uint8_t> frame(codec.max_frame_size());
  for (std::uint32_t round : {1u, 2u, 5u}) {
    const auto update = normal(kSize, round);
    const fewbits_context context = {kSeed, 17, round, 0, 0};
    std::size_t size = 0;
    ASSERT_EQ(fewbits_feedback_encode(c_feedback.get(), update.data(), kSize, &context, frame.data(), frame.size(),
                                      &size, nullptr),
              FEWBITS_OK);
    EXPECT_EQ(copy(feedback.encode(update, {kSeed, round, 17})),
              std::vector<std::uint8_t>(frame.begin(), frame.begin() + static_cast<std::ptrdiff_t>(size)));
    EXPECT_EQ(fewbits_feedback_pending(c_feedback.get()), 1);
    EXPECT_EQ(fewbits_feedback_set_codec(c_feedback.get(), c.get(), nullptr), FEWBITS_BAD_ARGUMENT);
    if (round == 2) {
      feedback.abandon();
      ASSERT_EQ(fewbits_feedback_abandon(c_feedback.get(), nullptr), FEWBITS_OK);
    } else {
      feedback.commit();
      ASSERT_EQ(fewbits_feedback_commit(c_feedback.get(), nullptr), FEWBITS_OK);
    }
    EXPECT_EQ(fewbits_feedback_pending(c_feedback.get()), 0);
  }
  const fewbits_context earlier = {kSeed, 17, 1, 0, 0};
  std::size_t size = 0;
  const auto update = normal(kSize, 1);
  EXPECT_EQ(fewbits_feedback_encode(c_feedback.get(), update.data(), kSize, &earlier, frame.data(), frame.size(), &size,
                                    nullptr),
            FEWBITS_WRONG_ROUND);
  std::vector<float> memory(kSize);
  ASSERT_EQ(fewbits_feedback_memory(c_feedback.get(), memory.data(), kSize, nullptr), FEWBITS_OK);
  EXPECT_TRUE(same_bits(feedback.memory(), memory));
  const auto saved =
      written([&](auto b, auto n, auto m) { return fewbits_feedback_save(c_feedback.get(), b, n, m, nullptr); });
  EXPECT_EQ(copy(feedback.save()), saved);
  const auto restored = made<fewbits_feedback>([&](auto out) {
    EXPECT_EQ(fewbits_feedback_restore(c.get(), &c_options, saved.data(), saved.size(), out, nullptr), FEWBITS_OK);
  });
  ASSERT_EQ(fewbits_feedback_memory(restored.get(), memory.data(), kSize, nullptr), FEWBITS_OK);
  EXPECT_TRUE(same_bits(feedback.memory(), memory));
}

TEST(Same, CodesAreThoseOfErrc) {
  const std::vector<std::pair<fewbits_code, Errc>> codes = {
      {FEWBITS_BAD_ARGUMENT, Errc::kBadArgument},
      {FEWBITS_BAD_PLAN, Errc::kBadPlan},
      {FEWBITS_NOT_FINITE, Errc::kNotFinite},
      {FEWBITS_NOT_A_FRAME, Errc::kNotAFrame},
      {FEWBITS_UNKNOWN_VERSION, Errc::kUnknownVersion},
      {FEWBITS_TRUNCATED, Errc::kTruncated},
      {FEWBITS_TRAILING_BYTES, Errc::kTrailingBytes},
      {FEWBITS_CHECKSUM_MISMATCH, Errc::kChecksumMismatch},
      {FEWBITS_WRONG_PLAN, Errc::kWrongPlan},
      {FEWBITS_WRONG_ROUND, Errc::kWrongRound},
      {FEWBITS_WRONG_CLIENT, Errc::kWrongClient},
      {FEWBITS_DUPLICATE_CLIENT, Errc::kDuplicateClient},
      {FEWBITS_MALFORMED, Errc::kMalformed},
      {FEWBITS_TOO_LARGE, Errc::kTooLarge},
      {FEWBITS_EMPTY, Errc::kEmpty},
      {FEWBITS_WRONG_SEED, Errc::kWrongSeed},
  };
  for (std::size_t i = 0; i < codes.size(); ++i) {
    EXPECT_EQ(static_cast<int>(codes[i].first), static_cast<int>(i) + 1);
    EXPECT_EQ(static_cast<int>(codes[i].first), static_cast<int>(codes[i].second));
  }
  EXPECT_EQ(FEWBITS_NO_OFFSET, Error::kNoOffset);
  EXPECT_EQ(fewbits_version(), kVersion);
}

// Each broken frame has the code, offset and message of the C++ interface, and leaves the sum as it was.
TEST(Same, BrokenFramesAreRefusedAlike) {
  const Codec codec = Codec::compile("quantize:bits=4", Layout(64));
  const auto c = codec_of("quantize:bits=4", 64);
  const auto update = normal(64, 1);
  const fewbits_context context = {kSeed, 17, kRound, 0, 0};
  const auto frame = frame_of(c.get(), update, context);
  const fewbits_round round = {kSeed, kRound, 0};
  const auto c_sum =
      made<fewbits_aggregator>([&](auto out) { fewbits_aggregator_create(c.get(), &round, nullptr, out, nullptr); });
  const fewbits_contribution first = {17, 2, 0};
  ASSERT_EQ(fewbits_aggregator_add(c_sum.get(), frame.data(), frame.size(), &first, nullptr), FEWBITS_OK);
  Aggregator sum(codec, {kSeed, kRound});
  sum.add(as_bytes(frame), {17, 2});
  const auto before = sum.serialize();

  struct Broken {
    fewbits_code code;
    std::vector<std::uint8_t> frame;
    fewbits_contribution from = {18, 1, 0};
  };
  const auto changed = [&](std::size_t at, std::uint8_t value) {
    auto bytes = frame;
    bytes[at] = value;
    return bytes;
  };
  auto longer = frame;
  longer.push_back(0);
  fewbits_context late = context, other = context;
  late.round = 4;
  other.client = 18;
  const auto wide = codec_of("quantize:bits=5", 64);
  auto large = update;
  large[0] = 3e9f;
  const std::vector<Broken> all = {
      {FEWBITS_TRUNCATED, {}},
      {FEWBITS_TRUNCATED, {frame.begin(), frame.begin() + 5}},
      {FEWBITS_CHECKSUM_MISMATCH, {frame.begin(), frame.end() - 1}},
      {FEWBITS_CHECKSUM_MISMATCH, longer},
      {FEWBITS_CHECKSUM_MISMATCH, changed(frame.size() - 1, static_cast<std::uint8_t>(frame.back() ^ 1))},
      {FEWBITS_NOT_A_FRAME, changed(0, 1)},
      {FEWBITS_UNKNOWN_VERSION, changed(1, 99)},
      {FEWBITS_WRONG_CLIENT, frame},
      {FEWBITS_DUPLICATE_CLIENT, frame, {17, 1, 0}},
      {FEWBITS_WRONG_ROUND, frame_of(c.get(), update, late), {17, 1, 0}},
      {FEWBITS_WRONG_PLAN, frame_of(wide.get(), update, other)},
      {FEWBITS_TOO_LARGE, frame_of(c.get(), large, other)},
      {FEWBITS_TOO_LARGE, frame_of(c.get(), update, other), {18, 1e13, 0}},
  };
  for (std::size_t i = 0; i < all.size(); ++i) {
    SCOPED_TRACE(i);
    fewbits_error error;
    EXPECT_EQ(fewbits_aggregator_add(c_sum.get(), all[i].frame.data(), all[i].frame.size(), &all[i].from, &error),
              all[i].code)
        << error.message;
    try {
      sum.add(as_bytes(all[i].frame), {all[i].from.client, all[i].from.weight});
      ADD_FAILURE() << "C++ takes it";
    } catch (const Error& same) {
      EXPECT_EQ(static_cast<int>(same.code()), static_cast<int>(error.code));
      EXPECT_EQ(same.offset(), error.offset);
      EXPECT_STREQ(same.what(), error.message);
    }
    EXPECT_EQ(copy(before), written([&](auto b, auto n, auto m) {
                return fewbits_aggregator_serialize(c_sum.get(), b, n, m, nullptr);
              }));
    if (all[i].code >= FEWBITS_TRUNCATED && all[i].code <= FEWBITS_WRONG_PLAN && all[i].code != FEWBITS_WRONG_ROUND) {
      float decoded[64] = {7};
      EXPECT_EQ(fewbits_codec_decode(c.get(), all[i].frame.data(), all[i].frame.size(), &context, decoded, 64, nullptr),
                all[i].code);
      EXPECT_EQ(decoded[0], 7);
    }
  }
  const fewbits_round other_seed = {kSeed + 1, kRound, 0};
  const auto foreign = made<fewbits_aggregator>(
      [&](auto out) { fewbits_aggregator_create(c.get(), &other_seed, nullptr, out, nullptr); });
  EXPECT_EQ(fewbits_aggregator_merge(c_sum.get(), foreign.get(), nullptr), FEWBITS_WRONG_SEED);
  EXPECT_EQ(fewbits_aggregator_merge(c_sum.get(), c_sum.get(), nullptr), FEWBITS_DUPLICATE_CLIENT);
}

TEST(Same, DamagedStatesAreRefusedAndMakeNoHandle) {
  Session s;
  const auto damage = [](std::vector<std::uint8_t> bytes) {
    bytes[bytes.size() / 2] ^= 1;
    return bytes;
  };
  const auto encoder =
      damage(written([&](auto b, auto n, auto m) { return fewbits_encoder_save(s.encoder.get(), b, n, m, nullptr); }));
  EXPECT_NE(fewbits_encoder_restore(s.encoder.get(), encoder.data(), encoder.size(), nullptr), FEWBITS_OK);
  const auto sum = damage(
      written([&](auto b, auto n, auto m) { return fewbits_aggregator_serialize(s.sum.get(), b, n, m, nullptr); }));
  auto* restored = s.sum.get();
  EXPECT_EQ(fewbits_aggregator_restore(s.codec.get(), &s.round, nullptr, sum.data(), sum.size(), &restored, nullptr),
            FEWBITS_CHECKSUM_MISMATCH);
  EXPECT_EQ(restored, nullptr);
  std::size_t size = 0;
  const std::uint8_t* bytes = fewbits_profile_bytes(s.profile.get(), &size);
  const auto profile = damage({bytes, bytes + size});
  auto* no_profile = s.profile.get();
  EXPECT_NE(fewbits_profile_restore(s.codec.get(), profile.data(), profile.size(), &no_profile, nullptr), FEWBITS_OK);
  EXPECT_EQ(no_profile, nullptr);
  const auto learner =
      damage(written([&](auto b, auto n, auto m) { return fewbits_learner_save(s.learner.get(), b, n, m, nullptr); }));
  EXPECT_NE(fewbits_learner_restore(s.learner.get(), learner.data(), learner.size(), nullptr), FEWBITS_OK);
  EXPECT_EQ(fewbits_learner_rounds(s.learner.get()), 1u);
  const auto feedback = damage(
      written([&](auto b, auto n, auto m) { return fewbits_feedback_save(s.feedback.get(), b, n, m, nullptr); }));
  auto* no_feedback = s.feedback.get();
  EXPECT_NE(fewbits_feedback_restore(s.codec.get(), nullptr, feedback.data(), feedback.size(), &no_feedback, nullptr),
            FEWBITS_OK);
  EXPECT_EQ(no_feedback, nullptr);
}

TEST(Same, LongMessagesAreCutBetweenCharacters) {
  for (std::size_t shift = 0; shift < 2; ++shift) {
    std::string name(shift, 'x');
    for (int i = 0; i < 400; ++i) name += "\xC3\xA9";  // é
    const fewbits_tensor tensor = {name.c_str(), nullptr, 0};
    fewbits_codec* codec = nullptr;
    fewbits_error error;
    ASSERT_EQ(fewbits_codec_compile_tensors("weight=f32", &tensor, 1, &codec, &error), FEWBITS_BAD_PLAN);
    EXPECT_EQ(error.offset, 0u);
    const std::size_t length = std::strlen(error.message);
    EXPECT_GE(length, sizeof(error.message) - 2);
    EXPECT_EQ(error.message[length - 1], '\xA9');
  }
}

TEST(Same, AnUpdateMayBeEmpty) {
  const auto c = codec_of("f32", 0);
  const fewbits_context context = {kSeed, 17, kRound, 0, 0};
  const auto frame = frame_of(c.get(), {}, context);
  ASSERT_FALSE(frame.empty());
  EXPECT_EQ(fewbits_codec_decode(c.get(), frame.data(), frame.size(), &context, nullptr, 0, nullptr), FEWBITS_OK);
}

}  // namespace
}  // namespace fewbits::test
