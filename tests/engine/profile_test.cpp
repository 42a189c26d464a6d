#include "fewbits/profile.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "kernels/powers.h"
#include "profile_state.h"
#include "tests/engine/support.h"
#include "wire.h"

// Profiles, how they are learned, and codecs that have one. Seeds are fixed; tolerances are standard errors that the test
// computes, and their number is stated.
namespace fewbits::test {
namespace {

constexpr std::uint64_t kSeed = 2026;

// A matrix whose rows and columns differ by some octaves, a vector that is quieter, and one of a single row.
constexpr std::size_t kRows = 16;
constexpr std::size_t kColumns = 24;
Layout net_layout() { return Layout({{"weight", {kRows, kColumns}}, {"bias", {kRows}}, {"row", {1, 40}}}); }

double row_scale(std::size_t i) { return std::exp2(static_cast<double>(i % 5) - 2); }
double column_scale(std::size_t j) { return std::exp2(static_cast<double>(j % 3) / 2); }

// Normal values of the net's scales. `turned`: the loud rows are the quiet ones, and the other way round.
std::vector<float> update_of(std::uint64_t seed, double scale = 1, bool turned = false) {
  const Layout layout = net_layout();
  std::vector<float> x = normal(layout.elements(), seed, scale);
  for (std::size_t i = 0; i < kRows * kColumns; ++i) {
    const double own = row_scale(i / kColumns) * column_scale(i % kColumns);
    x[i] *= static_cast<float>(turned ? 1 / (own * own * own) : own);
  }
  for (std::size_t i = kRows * kColumns; i < kRows * kColumns + kRows; ++i) x[i] *= 0.25f;
  return x;
}

// Sums of squares of each row, then of each column; of the vectors one each: what energies() estimates.
std::vector<double> energies_of(std::span<const float> x) {
  std::vector<double> sums(kRows + kColumns + 2);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double square = static_cast<double>(x[i]) * static_cast<double>(x[i]);
    if (i < kRows * kColumns) {
      sums[i / kColumns] += square;
      sums[kRows + i % kColumns] += square;
    } else {
      sums[kRows + kColumns + (i < kRows * kColumns + kRows ? 0 : 1)] += square;
    }
  }
  return sums;
}

std::vector<double> values_per_energy() {
  std::vector<double> counts(kRows, kColumns);
  counts.resize(kRows + kColumns, kRows);
  counts.push_back(kRows);
  counts.push_back(40);
  return counts;
}

Profile learned(double scale = 1) {
  ProfileLearner learner(net_layout());
  learner.learn(update_of(5, scale));
  return learner.profile();
}

Codec codec_of(const std::string& plan) { return Codec::compile(plan, net_layout()); }

double nmse(std::span<const float> back, std::span<const float> x) { return squared_distance(back, x) / (norm(x) * norm(x)); }

// The checksum at the end of profiles and learners' states (docs/frame-format.md, §11).
std::vector<std::byte> resealed_profile(std::vector<std::byte> bytes) {
  if (bytes.size() < 4) return bytes;
  const auto sum = static_cast<std::uint32_t>(kernels::hash64(std::span<const std::byte>(bytes).first(bytes.size() - 4), 0));
  std::memcpy(bytes.data() + bytes.size() - 4, &sum, sizeof sum);
  return bytes;
}

// Every way to cut `bytes` and every bit turned over: `open` throws an Error, or gives what has these bytes.
template <class Open>
void check_damage(std::span<const std::byte> bytes, Open open) {
  const auto is_equal_or_refused = [&](const std::vector<std::byte>& damaged) {
    std::vector<std::byte> again;
    return refusal([&] { again = open(damaged); }).has_value() || again == damaged;
  };
  const auto is_refused = [&](const std::vector<std::byte>& damaged) { return refusal([&] { open(damaged); }).has_value(); };
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    const std::vector<std::byte> cut(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
    EXPECT_TRUE(is_refused(cut)) << size;
    EXPECT_TRUE(is_equal_or_refused(resealed_profile(cut))) << size;
  }
  std::vector<std::byte> longer(bytes.begin(), bytes.end());
  longer.push_back(std::byte{0});
  EXPECT_TRUE(is_refused(longer));
  EXPECT_TRUE(is_refused(resealed_profile(longer)));
  for (std::size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    std::vector<std::byte> flipped(bytes.begin(), bytes.end());
    flipped[bit / 8] ^= std::byte{1} << (bit % 8);
    EXPECT_TRUE(is_refused(flipped)) << bit;
    EXPECT_TRUE(is_equal_or_refused(resealed_profile(flipped))) << bit;
  }
}

// ---- bytes ----

TEST(ProfileBytes, ComeBackAsTheyWere) {
  const Codec codec = codec_of("*=trellis:scale=profile,bits=0.5");
  const Codec rules = codec_of("bias=f32; *=trellis:scale=profile,bits=0.5");
  const Profile flat = Profile::flat(net_layout());
  const Profile own = learned();
  const Profile common = own.with_common_step(codec);
  const Profile of_rules = own.with_common_step(rules);
  EXPECT_TRUE(flat.is_flat() && !own.is_flat() && !common.is_flat());
  EXPECT_TRUE(!flat.has_common_step() && !own.has_common_step() && common.has_common_step());
  for (const Profile& profile : {flat, own, common, of_rules}) {
    const Profile back = Profile::from_bytes(net_layout(), profile.bytes());
    EXPECT_EQ(back.bytes(), profile.bytes());
    EXPECT_EQ(back.is_flat(), profile.is_flat());
    EXPECT_EQ(back.has_common_step(), profile.has_common_step());
    EXPECT_EQ(codec.with_profile(back).fingerprint(), codec.with_profile(profile).fingerprint());
  }
  EXPECT_EQ(flat.bytes().size(), 11u);   // head, flags, checksum
  EXPECT_LT(own.bytes().size(), 60u);    // 42 scales
  EXPECT_EQ(of_rules.state().levels.size(), 2u);
  EXPECT_FALSE(of_rules.state().levels[0]);
}

TEST(ProfileBytes, DamageIsRefused) {
  const Profile own = learned();
  for (const Profile& profile :
       {Profile::flat(net_layout()), own, own.with_common_step(codec_of("bias=f32; *=dither:scale=profile,bits=0.5"))})
    check_damage(profile.bytes(), [](std::span<const std::byte> bytes) { return Profile::from_bytes(net_layout(), bytes).bytes(); });
}

// Whatever profile is taken, a codec can be made of it, and its frames decode to what they hold.
TEST(ProfileBytes, WhatIsTakenCanBeUsed) {
  const Codec codec = codec_of("dither:scale=profile,bits=0.5");
  const std::vector<std::byte> bytes = learned().with_common_step(codec).bytes();
  const std::vector<float> x = update_of(1);
  unsigned used = 0;
  for (std::size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    std::vector<std::byte> flipped(bytes);
    flipped[bit / 8] ^= std::byte{1} << (bit % 8);
    refusal([&] {
      const Codec own = codec.with_profile(Profile::from_bytes(net_layout(), resealed_profile(flipped)));
      const std::vector<std::byte> frame = own.encode(x, {kSeed, 1, 1});
      EXPECT_LE(frame.size(), own.max_frame_size());
      EXPECT_TRUE(all_finite(own.decode(frame, {kSeed})));
      ++used;
    });
  }
  EXPECT_GT(used, 10u);
}

TEST(ProfileBytes, OfAnotherLayoutAreRefused) {
  const Profile own = learned();
  const Layout renamed({{"weights", {kRows, kColumns}}, {"bias", {kRows}}, {"row", {1, 40}}});
  const Layout turned({{"weight", {kColumns, kRows}}, {"bias", {kRows}}, {"row", {1, 40}}});
  for (const Layout& layout : {renamed, turned, Layout(net_layout().elements())}) {
    EXPECT_EQ(refusal([&] { Profile::from_bytes(layout, own.bytes()); }), Errc::kWrongPlan);
    EXPECT_EQ(refusal([&] { Codec::compile("trellis:scale=profile,bits=1", layout).with_profile(own); }), Errc::kBadArgument);
  }
}

// ---- codecs with a profile ----

TEST(CodecWithProfile, RefusesFramesOfAnotherProfile) {
  const Codec plain = codec_of("trellis:scale=profile,bits=1");
  const Profile own = learned();
  const std::vector<Codec> codecs = {plain, plain.with_profile(own), plain.with_profile(learned(2)),
                                     plain.with_profile(own.with_common_step(plain)),
                                     plain.with_profile(own.with_common_step(codec_of("trellis:scale=profile,bits=2")))};
  const std::vector<float> x = update_of(1);
  for (const Codec& writer : codecs) {
    EXPECT_TRUE(writer.takes_profile());
    const std::vector<std::byte> frame = writer.encode(x, {kSeed, 1, 1});
    for (const Codec& reader : codecs) {
      const bool same = &reader == &writer;
      EXPECT_EQ(reader.fingerprint() == writer.fingerprint(), same);
      const auto decoding = refusal([&] { reader.decode(frame, {kSeed}); });
      Aggregator sum(reader, {kSeed, 1});
      const auto adding = refusal([&] { sum.add(frame, {1}); });
      EXPECT_EQ(decoding, same ? std::nullopt : std::optional(Errc::kWrongPlan));
      EXPECT_EQ(adding, decoding);
    }
  }
}

TEST(CodecWithProfile, WithAFlatOneIsThePlainCodec) {
  const Codec plain = codec_of("trellis:scale=profile,bits=1");
  const Codec flat = plain.with_profile(Profile::flat(net_layout()));
  EXPECT_EQ(flat.fingerprint(), plain.fingerprint());
  EXPECT_EQ(plain.with_profile(learned()).with_profile(Profile::flat(net_layout())).fingerprint(), plain.fingerprint());
  const std::vector<float> x = update_of(1);
  EXPECT_EQ(flat.encode(x, {kSeed, 1, 1}), plain.encode(x, {kSeed, 1, 1}));
}

TEST(CodecWithProfile, IsRefusedWhereItCannotBe) {
  const Profile own = learned();
  EXPECT_EQ(refusal([&] { codec_of("train=mask:keep=0.5 | trellis:bits=1").with_profile(own); }), Errc::kBadArgument);
  const Codec codec = codec_of("trellis:scale=profile,bits=1");
  EXPECT_EQ(refusal([&] { Profile::flat(net_layout()).with_common_step(codec); }), Errc::kBadArgument);
  EXPECT_EQ(refusal([&] { own.with_common_step(codec_of("trellis:scale=separable,bits=1")); }), Errc::kBadArgument);
  EXPECT_EQ(refusal([&] { own.with_common_step(codec_of("f32")); }), Errc::kBadArgument);
  EXPECT_FALSE(codec_of("trellis:scale=separable,bits=1").takes_profile());
  EXPECT_EQ(refusal([&] { codec_of("hadamard+trellis:scale=profile,bits=1"); }), Errc::kBadPlan);
}

// ---- learning ----

TEST(ProfileLearner, RefusesOptionsAndRoundsThatMakeNoSense) {
  for (const double memory : {-0.1, 1.0, std::nan("")})
    EXPECT_EQ(refusal([&] { ProfileLearner(net_layout(), {.memory = memory}); }), Errc::kBadArgument);
  for (const double floor : {0.0, 1.1, -1.0, std::nan("")})
    EXPECT_EQ(refusal([&] { ProfileLearner(net_layout(), {.floor = floor}); }), Errc::kBadArgument);
  ProfileLearner learner(net_layout());
  EXPECT_EQ(refusal([&] { learner.learn(Aggregator(codec_of("trellis:scale=profile,bits=1"), {kSeed, 1})); }), Errc::kEmpty);
  const auto learn_from = [&](const Codec& codec) {
    Aggregator sum(codec, {kSeed, 1});
    sum.add(codec.encode(std::vector<float>(codec.elements(), 1.0f), {kSeed, 1, 1}), {1});
    return refusal([&] { learner.learn(sum); });
  };
  EXPECT_EQ(learn_from(codec_of("trellis:scale=separable,bits=1")), Errc::kBadArgument);
  EXPECT_EQ(learn_from(Codec::compile("trellis:scale=profile,bits=1", Layout(net_layout().elements()))), Errc::kBadArgument);
  std::vector<float> mean(net_layout().elements(), 1);
  EXPECT_EQ(refusal([&] { learner.learn(std::span(mean).first(9)); }), Errc::kBadArgument);
  mean[3] = std::nanf("");
  EXPECT_EQ(refusal([&] { learner.learn(mean); }), Errc::kNotFinite);
  EXPECT_EQ(learner.rounds(), 0u);
  EXPECT_TRUE(learner.profile().is_flat());
  learner.learn(std::vector<float>(mean.size(), 0.0f));
  EXPECT_EQ(learner.rounds(), 1u);
  EXPECT_TRUE(learner.profile().is_flat());
}

// Energies that a learner holds, from its state.
std::vector<double> held(const ProfileLearner& learner) {
  const std::vector<std::byte> bytes = learner.save();
  ByteReader in(std::span<const std::byte>(bytes).subspan(6));
  in.varint();
  std::vector<double> energies(kRows + kColumns + 2);
  for (double& energy : energies) energy = in.f64();
  return energies;
}

TEST(ProfileLearner, LearnsTheMeanSquaresOfAMean) {
  ProfileLearner learner(net_layout(), {.memory = 0.25, .floor = 0.02});
  const std::vector<float> first = update_of(1);
  const std::vector<float> second = update_of(2, 2);
  const std::vector<double> counts = values_per_energy();
  learner.learn(first);
  const std::vector<double> one = energies_of(first);
  for (std::size_t k = 0; k < one.size(); ++k) EXPECT_NEAR(held(learner)[k], one[k] / counts[k], 1e-12 * one[k]);
  learner.learn(second);
  const std::vector<double> two = energies_of(second);
  for (std::size_t k = 0; k < one.size(); ++k)
    EXPECT_NEAR(held(learner)[k], (0.25 * one[k] + 0.75 * two[k]) / counts[k], 1e-12 * (one[k] + two[k]));

  const std::vector<double> energies = held(learner);
  double all = 0, weight = 0;   // mean energies of all coordinates, and of those of the matrix
  for (std::size_t k = 0; k < energies.size(); ++k) {
    if (k < kRows) weight += energies[k] / kRows;
    if (k < kRows || k >= kRows + kColumns) all += energies[k] * counts[k] / static_cast<double>(net_layout().elements());
  }
  const Profile profile = learner.profile();
  const auto& tensors = profile.state().tensors;
  ASSERT_EQ(tensors.size(), 3u);
  for (std::size_t i = 0; i < kRows; ++i) EXPECT_EQ(tensors[0].rows[i], class_of(std::max(energies[i], 0.02 * weight)));
  for (std::size_t j = 0; j < kColumns; ++j)
    EXPECT_EQ(tensors[0].columns[j], class_of(std::max(energies[kRows + j], 0.02 * weight) / weight));
  EXPECT_EQ(tensors[1].rows[0], class_of(std::max(energies[kRows + kColumns], 0.02 * all)));
  EXPECT_EQ(tensors[2].rows[0], class_of(energies[kRows + kColumns + 1]));
}

// From frames of a tenth of a bit and less: 6 standard errors of each energy's mean, taken from the rounds' own spread. A
// few hundred estimates are compared, so that even tails heavier than normal ones would have to conspire.
class Learning : public ::testing::TestWithParam<std::string> {};

TEST_P(Learning, FromCoarseFramesIsUnbiased) {
  constexpr unsigned kRounds = 2000;
  const Codec plain = codec_of(GetParam());
  const std::vector<float> x = update_of(1);
  const std::vector<double> truth = energies_of(x);
  const std::vector<double> counts = values_per_energy();
  for (const bool common : {false, true}) {
    ProfileLearner learner(net_layout(), {.memory = 0.99999});   // the plain mean, so far
    Codec codec = plain;
    std::vector<double> sum(truth.size()), squares(truth.size());
    double bits = 0;
    for (unsigned round = 0; round < kRounds; ++round) {
      // What was learned is used, which does not matter to the next round's mean.
      if (round == 100 || round == 700) {
        const Profile profile = learner.profile();
        codec = plain.with_profile(common ? profile.with_common_step(plain) : profile);
      }
      Aggregator aggregator(codec, {kSeed, round});
      const std::vector<std::byte> frame = codec.encode(x, {kSeed, round, 7});
      bits += 8 * static_cast<double>(frame.size()) / static_cast<double>(x.size()) / kRounds;
      aggregator.add(frame, {7, 3.0});
      learner.learn(aggregator);
      ASSERT_EQ(aggregator.energies().size(), truth.size());
      for (std::size_t k = 0; k < truth.size(); ++k) {
        const double energy = aggregator.energies()[k] / 3;
        sum[k] += energy;
        squares[k] += energy * energy;
      }
    }
    if (GetParam().ends_with("=0.05")) {
      EXPECT_LT(bits, 0.6);   // most of it is the header of so small an update
    }
    for (std::size_t k = 0; k < truth.size(); ++k) {
      const double mean = sum[k] / kRounds;
      const double error = std::sqrt((squares[k] / kRounds - mean * mean) / kRounds);
      EXPECT_NEAR(mean, truth[k], 6 * error) << k;
      if (k == 4) {
        EXPECT_LT(error, 0.15 * truth[k]);   // of a loud row: it says something
      }
      EXPECT_NEAR(held(learner)[k] * counts[k], mean, 1e-9 * std::abs(mean)) << k;
    }
  }
}
INSTANTIATE_TEST_SUITE_P(Plans, Learning,
                         ::testing::Values("trellis:states=8,scale=profile,bits=0.05", "trellis:scale=profile,bits=0.05",
                                           "dither:scale=profile,bits=0.05", "trellis:states=8,scale=profile,bits=0.5",
                                           "trellis:states=256,scale=profile,bits=0.5"));

TEST(ProfileLearner, GoesOnWhereItWasSaved) {
  const Codec plain = codec_of("trellis:scale=profile,bits=0.5");
  ProfileLearner learner(net_layout());
  ProfileLearner restored(net_layout());
  for (std::uint32_t round = 0; round < 6; ++round) {
    Aggregator sum(plain, {kSeed, round});
    for (std::uint64_t client = 0; client < 3; ++client)
      sum.add(plain.encode(update_of(10 * round + client), {kSeed, round, client}), {client, 1.0 + static_cast<double>(client)});
    learner.learn(sum);
    if (round == 2) restored.restore(learner.save());
    if (round > 2) restored.learn(sum);
  }
  EXPECT_EQ(restored.rounds(), 6u);
  EXPECT_EQ(restored.save(), learner.save());
  EXPECT_EQ(restored.profile().bytes(), learner.profile().bytes());
}

TEST(ProfileLearner, RefusesDamagedStates) {
  ProfileLearner learner(net_layout());
  learner.learn(update_of(1));
  ProfileLearner other(net_layout());
  other.learn(update_of(2));
  const std::vector<std::byte> before = other.save();
  check_damage(learner.save(), [&](std::span<const std::byte> bytes) {
    ProfileLearner opened(net_layout());
    opened.restore(bytes);
    return opened.save();
  });
  std::vector<std::byte> cut = learner.save();
  cut.pop_back();
  EXPECT_TRUE(refusal([&] { other.restore(cut); }));
  EXPECT_EQ(refusal([&] { other.restore(ProfileLearner(Layout(net_layout().elements())).save()); }), Errc::kWrongPlan);
  EXPECT_EQ(refusal([&] { other.restore(learner.profile().bytes()); }), Errc::kNotAFrame);
  EXPECT_EQ(refusal([&] { Profile::from_bytes(net_layout(), learner.save()); }), Errc::kNotAFrame);
  EXPECT_EQ(other.save(), before);
}

// ---- energies of partial sums ----

TEST(Energies, GoThroughMergesAndBytes) {
  const Codec codec = codec_of("bias=f32; *=trellis:scale=profile,bits=0.5").with_profile(learned());
  const RoundContext round{kSeed, 4};
  Aggregator all(codec, round), left(codec, round), right(codec, round);
  for (std::uint64_t client = 0; client < 8; ++client) {
    const std::vector<std::byte> frame = codec.encode(update_of(client), {kSeed, 4, client});
    const Contribution from{client, 1 + static_cast<double>(client)};
    all.add(frame, from);
    (client % 3 == 0 ? left : right).add(frame, from);
  }
  const Aggregator carried = Aggregator::restore(codec, round, right.serialize());
  EXPECT_TRUE(std::ranges::equal(carried.energies(), right.energies()));
  left.merge(carried);
  double largest = 0;
  for (const double energy : all.energies()) largest = std::max(largest, std::abs(energy));
  ASSERT_EQ(left.energies().size(), all.energies().size());
  for (std::size_t k = 0; k < all.energies().size(); ++k) EXPECT_NEAR(left.energies()[k], all.energies()[k], 1e-12 * largest) << k;
  EXPECT_GT(largest, 0);
  ProfileLearner a(net_layout()), b(net_layout());
  a.learn(all);
  b.learn(left);
  EXPECT_EQ(a.profile().bytes(), b.profile().bytes());
  EXPECT_TRUE(Aggregator(codec_of("trellis:scale=separable,bits=1"), round).energies().empty());
}

// ---- updates that the profile does not fit ----

std::uint8_t first_byte(std::span<const std::byte> frame) {
  return std::to_integer<std::uint8_t>(frame[inspect(frame).sections.at(0).offset]);
}
bool is_flat_frame(std::span<const std::byte> frame) {
  const std::size_t at = inspect(frame).sections.at(0).offset;
  return frame[at] == std::byte{0xFE} && frame[at + 1] == std::byte{0xFF};
}

TEST(FitOfAProfile, ABadOneIsLeftAside) {
  for (const std::string stage : {"trellis", "dither"}) {
    const Codec plain = codec_of(stage + ":scale=profile,bits=2");
    const Codec own = plain.with_profile(learned());
    double flat_error = 0, own_error = 0, good_error = 0, good_flat_error = 0;
    constexpr unsigned kRounds = 40;
    for (unsigned round = 0; round < kRounds; ++round) {
      const std::vector<float> bad = update_of(100 + round, 1, true);
      const std::vector<float> good = update_of(100 + round);
      const std::vector<std::byte> frame = own.encode(bad, {kSeed, round, 1});
      EXPECT_TRUE(is_flat_frame(frame));
      EXPECT_NEAR(static_cast<double>(frame.size()), 2.0 * static_cast<double>(bad.size()) / 8, 6);
      own_error += nmse(own.decode(frame, {kSeed}), bad) / kRounds;
      flat_error += nmse(plain.decode(plain.encode(bad, {kSeed, round, 1}), {kSeed}), bad) / kRounds;
      const std::vector<std::byte> fitting = own.encode(good, {kSeed, round, 1});
      EXPECT_FALSE(is_flat_frame(fitting));
      good_error += nmse(own.decode(fitting, {kSeed}), good) / kRounds;
      good_flat_error += nmse(plain.decode(plain.encode(good, {kSeed, round, 1}), {kSeed}), good) / kRounds;
    }
    // Two bytes more are 16 bits of 880: steps larger by 2^(16/440), errors by 5 %; and some spread of the mean of 40.
    EXPECT_LT(own_error, 1.12 * flat_error) << stage;
    EXPECT_LT(good_error, 0.8 * good_flat_error) << stage;
  }
}

TEST(FitOfAProfile, WithACommonStepItIsUsedAlways) {
  for (const std::string stage : {"trellis", "dither"}) {
    const Codec plain = codec_of(stage + ":scale=profile,bits=2");
    const Codec own = plain.with_profile(learned().with_common_step(plain));
    for (unsigned round = 0; round < 10; ++round)
      EXPECT_LT(first_byte(own.encode(update_of(100 + round, 1, true), {kSeed, round, 1})), 7 << 5) << stage;
    EXPECT_EQ(first_byte(own.encode(std::vector<float>(own.elements()), {kSeed, 1, 1})), 255);
  }
}

TEST(FitOfAProfile, WithACommonStepQuietClientsSendLess) {
  for (const double bits : {2.0, 1.0}) {
    const Codec plain = codec_of("trellis:scale=profile,bits=" + std::to_string(bits));
    const Codec own = plain.with_profile(learned().with_common_step(plain));
    std::vector<double> sizes;
    for (const double scale : {4.0, 1.0, 0.25, 0.0625}) {
      double bytes = 0;
      for (unsigned round = 0; round < 30; ++round)
        bytes += static_cast<double>(own.encode(update_of(200 + round, scale), {kSeed, round, 1}).size()) / 30;
      sizes.push_back(bytes);
    }
    for (std::size_t i = 1; i < sizes.size(); ++i) EXPECT_LT(sizes[i], sizes[i - 1]) << bits;
    // An update of the profile's scales is near the wish.
    const double wish = bits * static_cast<double>(own.elements()) / 8;
    EXPECT_NEAR(sizes[1], wish, 0.06 * wish + 3) << bits;
  }
}

// Integers are added: with whole weights the mean is the same to the bit in whatever order and by whatever merges it is made.
TEST(SumsAtACommonStep, DoNotDependOnTheOrder) {
  std::vector<Codec> codecs;
  for (const std::string stage : {"trellis:states=8,", "dither:"}) {
    codecs.push_back(codec_of(stage + "scale=flat,step=0.3"));
    const Codec plain = codec_of(stage + "scale=profile,bits=0.4");
    codecs.push_back(plain.with_profile(learned().with_common_step(plain)));
  }
  for (const Codec& codec : codecs) {
    std::vector<std::vector<std::byte>> frames;
    for (std::uint64_t client = 0; client < 40; ++client) frames.push_back(codec.encode(update_of(client), {kSeed, 1, client}));
    const auto sum_of = [&](std::size_t first, std::size_t stride) {
      Aggregator sum(codec, {kSeed, 1});
      for (std::size_t k = first; k < frames.size(); k += stride) {
        const std::size_t client = k * 7 % frames.size();   // 7 and 40 have no common factor
        sum.add(frames[client], {client, static_cast<double>(100 + client * client)});
      }
      return sum;
    };
    Aggregator in_order(codec, {kSeed, 1});
    for (std::size_t client = 0; client < frames.size(); ++client)
      in_order.add(frames[client], {client, static_cast<double>(100 + client * client)});
    Aggregator merged = sum_of(0, 3);
    merged.merge(sum_of(2, 3));
    merged.merge(Aggregator::restore(codec, {kSeed, 1}, sum_of(1, 3).serialize()));
    const std::vector<float> mean = in_order.mean();
    // Bytes hold the sums' float64: means in float32 would hide a difference.
    const auto sums = [](const Aggregator& sum) {   // without energies, which are no integers
      std::vector<std::byte> bytes = sum.serialize();
      const std::size_t after = 8 + 8 * sum.energies().size();
      bytes.resize(bytes.size() - after);
      return bytes;
    };
    EXPECT_EQ(sums(sum_of(0, 1)), sums(in_order)) << codec.plan();
    EXPECT_EQ(sums(merged), sums(in_order)) << codec.plan();

    // And it is the mean of what the frames decode to.
    std::vector<double> exact(codec.elements());
    double weights = 0;
    for (std::size_t client = 0; client < frames.size(); ++client) {
      const std::vector<float> x = codec.decode(frames[client], {kSeed});
      const double weight = static_cast<double>(100 + client * client);
      for (std::size_t i = 0; i < x.size(); ++i) exact[i] += weight * static_cast<double>(x[i]);
      weights += weight;
    }
    for (std::size_t i = 0; i < exact.size(); ++i) EXPECT_NEAR(mean[i], exact[i] / weights, 1e-5) << i;
  }
}

// 6 standard errors of the mean over the rounds, from the rounds' own spread.
TEST(FitOfAProfile, WithACommonStepLargeUpdatesAreLargeFrames) {
  constexpr unsigned kRounds = 600;
  for (const std::string stage : {"trellis:states=8,", "dither:"})
    for (const std::string bits : {"2", "0.3"}) {
      const Codec plain = codec_of(stage + "scale=profile,bits=" + bits);
      const Codec own = plain.with_profile(learned().with_common_step(plain));
      const std::vector<float> x = update_of(300, 1000);
      std::vector<double> sum(x.size()), squares(x.size());
      std::size_t bytes = 0;
      for (unsigned round = 0; round < kRounds; ++round) {
        const std::vector<std::byte> frame = own.encode(x, {kSeed, round, 1});
        ASSERT_LE(frame.size(), own.max_frame_size());
        bytes += frame.size();
        const std::vector<float> back = own.decode(frame, {kSeed});
        for (std::size_t i = 0; i < x.size(); ++i) {
          const double error = static_cast<double>(back[i]) - static_cast<double>(x[i]);
          sum[i] += error;
          squares[i] += error * error;
        }
      }
      const std::size_t usual = own.encode(update_of(300), {kSeed, 1, 1}).size();
      EXPECT_GT(bytes, 2 * usual * kRounds);
      for (std::size_t i = 0; i < x.size(); ++i) EXPECT_LE(std::abs(sum[i]), 6 * std::sqrt(squares[i])) << i;
    }
}

}  // namespace
}  // namespace fewbits::test
