#include "federated/checkpoint.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>

#include "federated/bytes.h"
#include "federated/client_memory.h"
#include "federated/plan_entry.h"
#include "fewbits/error.h"
#include "synthetic_task.h"
#include "tests/engine/hostile.h"

namespace fewbits::federated {
namespace {

using Bytes = std::vector<std::byte>;

// Every field has something in it that no other has.
Checkpoint full() {
  Checkpoint checkpoint;
  checkpoint.fingerprint = 0x0123456789abcdef;
  checkpoint.seed = 2;
  checkpoint.round = 3;
  checkpoint.totals = {.frames = 4, .upload_bytes = 5, .wasted_bytes = 6, .download_bytes = 7, .simulated_seconds = 8.5};
  checkpoint.stopped = "diverged";
  checkpoint.parameters = {9, 10};
  checkpoint.server = {.steps = 11, .momentum = {12}, .second = {13, 14}, .average = {15}};
  checkpoint.states.feedback = Feedback::kDgc;
  checkpoint.states.clients = {{16, Bytes(3, std::byte{17})}, {18, {}}};
  checkpoint.states.server = Bytes(2, std::byte{19});
  checkpoint.profile = Bytes(3, std::byte{20});
  checkpoint.downlink = Bytes(4, std::byte{21});
  checkpoint.memories = Bytes(5, std::byte{22});
  return checkpoint;
}

Bytes append(Bytes bytes, const Bytes& more) {
  bytes.insert(bytes.end(), more.begin(), more.end());
  return bytes;
}

void expect_damaged(const Bytes& bytes) {
  const auto error = test::error_of([&] { Checkpoint::from_bytes(bytes); });
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->code(), Errc::kBadArgument);
}

TEST(Checkpoints, GiveBackWhatWasPutIn) {
  const Checkpoint in = full(), out = Checkpoint::from_bytes(in.to_bytes());
  EXPECT_EQ(out.fingerprint, in.fingerprint);
  EXPECT_EQ(out.seed, in.seed);
  EXPECT_EQ(out.round, in.round);
  EXPECT_EQ(out.totals.frames, in.totals.frames);
  EXPECT_EQ(out.totals.upload_bytes, in.totals.upload_bytes);
  EXPECT_EQ(out.totals.wasted_bytes, in.totals.wasted_bytes);
  EXPECT_EQ(out.totals.download_bytes, in.totals.download_bytes);
  EXPECT_EQ(out.totals.simulated_seconds, in.totals.simulated_seconds);
  EXPECT_EQ(out.stopped, in.stopped);
  EXPECT_EQ(out.parameters, in.parameters);
  EXPECT_EQ(out.server.steps, in.server.steps);
  EXPECT_EQ(out.server.momentum, in.server.momentum);
  EXPECT_EQ(out.server.second, in.server.second);
  EXPECT_EQ(out.server.average, in.server.average);
  EXPECT_EQ(out.states.feedback, in.states.feedback);
  EXPECT_EQ(out.states.clients, in.states.clients);
  EXPECT_EQ(out.states.server, in.states.server);
  EXPECT_EQ(out.profile, in.profile);
  EXPECT_EQ(out.downlink, in.downlink);
  EXPECT_EQ(out.memories, in.memories);
  EXPECT_EQ(out.to_bytes(), in.to_bytes());
  EXPECT_EQ(Checkpoint::from_bytes(Checkpoint().to_bytes()).to_bytes(), Checkpoint().to_bytes());
}

TEST(Checkpoints, DamageAtAnyBitAndAnyTruncationIsRefused) {
  const Bytes good = full().to_bytes();
  test::truncations(good, expect_damaged);
  test::flips(good, [](const Bytes& bytes, std::size_t) { expect_damaged(bytes); });
  expect_damaged(append(good, Bytes(1)));
  expect_damaged(append(good, good));
}

// Behind a checksum that is right, as no accident leaves it: each eight bytes as the largest number.
TEST(Checkpoints, ClaimsOfMoreThanThereIsAreRefusedBeforeMemoryIsTaken) {
  const Bytes good = full().to_bytes();
  const Bytes body(good.begin(), good.end() - 4);
  std::size_t refused = 0;
  for (std::size_t at = std::string("fewbits checkpoint 5\n").size(); at + 8 <= body.size(); ++at) {
    for (const std::uint64_t claim : {std::numeric_limits<std::uint64_t>::max(), std::uint64_t{1} << 62, std::uint64_t{1} << 40}) {
      Bytes lie = test::with_value(body, at, claim);
      // CRC-32 as zlib's, bit by bit.
      std::uint32_t crc = 0xFFFFFFFF;
      for (const std::byte byte : lie) {
        crc ^= static_cast<std::uint32_t>(byte);
        for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xEDB88320u : 0);
      }
      lie.resize(good.size());
      std::memcpy(lie.data() + body.size(), &crc, 4);
      // Where it is no length it is taken as it is; nothing is ever allocated for it, and nothing else is thrown.
      const auto error = test::error_of([&] { Checkpoint::from_bytes(lie); });
      if (!error) continue;
      EXPECT_EQ(error->code(), Errc::kBadArgument) << at;
      ++refused;
    }
  }
  EXPECT_GT(refused, 13u * 3);   // at least at each of the lengths
}

TEST(BytesIn, ReadsWhatBytesOutWrote) {
  BytesOut out;
  out.value(std::uint16_t{7});
  out.list(std::string("text"));
  out.list(std::vector<float>{1, 2});
  out.lists_by_client(std::map<std::uint32_t, Bytes>{{3, Bytes(2)}, {5, {}}});
  const Bytes bytes = std::move(out).take();
  BytesIn in(bytes);
  EXPECT_EQ(in.value<std::uint16_t>(), 7);
  EXPECT_EQ(in.list<std::string>(), "text");
  EXPECT_EQ(in.list<std::vector<float>>(), (std::vector<float>{1, 2}));
  EXPECT_THROW(in.expect_end(), Error);
  EXPECT_EQ(in.lists_by_client<Bytes>(), (std::map<std::uint32_t, Bytes>{{3, Bytes(2)}, {5, {}}}));
  in.expect_end();
  EXPECT_THROW(in.value<char>(), Error);
}

TEST(BytesIn, ClaimsAreComparedWithWhatIsThere) {
  const auto claiming = [](std::uint64_t count, std::size_t there) {
    BytesOut out;
    out.value(count);
    for (std::size_t i = 0; i < there; ++i) out.value(std::byte{0});
    return std::move(out).take();
  };
  for (const std::uint64_t count : {std::uint64_t{3}, std::uint64_t{1} << 40, std::uint64_t{1} << 62, ~std::uint64_t{0}}) {
    const Bytes bytes = claiming(count, 11);
    EXPECT_THROW(BytesIn(bytes).list<std::vector<float>>(), Error) << count;   // 11 bytes are two floats and a half
    EXPECT_THROW(BytesIn(bytes).list<std::vector<std::uint64_t>>(), Error) << count;
    EXPECT_THROW(BytesIn(bytes).lists_by_client<Bytes>(), Error) << count;
  }
  EXPECT_THROW(BytesIn(claiming(12, 11)).list<Bytes>(), Error);
  const Bytes two = claiming(2, 11);
  EXPECT_EQ(BytesIn(two).list<std::vector<float>>().size(), 2u);
  BytesOut twice;
  twice.value<std::uint64_t>(2);
  for (int i = 0; i < 2; ++i) {
    twice.value(std::uint32_t{4});
    twice.list(Bytes(1));
  }
  EXPECT_THROW(BytesIn(twice.bytes()).lists_by_client<Bytes>(), Error);   // one client, two lists
}

TEST(ClientMemories, SurviveAndRefuseDamage) {
  ClientMemories memories;
  EXPECT_EQ(memories.of(3).examples_seen, 0u);
  memories.make(3) = {.examples_seen = 7, .model_round = 2, .personal = {1, 2}};
  memories.make(9).model_round = 1;
  const Bytes saved = memories.save();
  ClientMemories read;
  read.restore(saved);
  EXPECT_EQ(read.save(), saved);
  EXPECT_EQ(read.of(3).examples_seen, 7u);
  EXPECT_EQ(read.of(3).model_round, 2u);
  EXPECT_EQ(read.of(3).personal, (std::vector<float>{1, 2}));
  EXPECT_EQ(read.of(4).personal.size(), 0u);
  test::truncations(saved, [&](const Bytes& bytes) { EXPECT_THROW(read.restore(bytes), Error); });
  EXPECT_THROW(read.restore(append(saved, Bytes(1))), Error);
  EXPECT_EQ(read.save(), saved);   // as before
}

// Of a whole trainer with all that there is to remember: a small one, at every byte.
TEST(Checkpoints, ATrainerRefusesAnyDamageAndStaysAsItIs) {
  const SyntheticTask synthetic(4, "softmax");
  Options options;
  options.seed = 11;
  options.clients_per_round = 2;
  options.stream = 20;
  options.links = parse_links("lost=0.2");
  const auto plan = parse_plan_entry("mask:keep=0.1+f32 @ feedback=ef14,downlink=mask:keep=0.1+f32,average=0.5,server=adam", {}).options;
  Trainer trainer(synthetic.task, options, plan), other(synthetic.task, options, plan);
  for (int i = 0; i < 3; ++i) trainer.step();
  const Bytes saved = trainer.save(), before = other.save();
  const auto refused = [&](const Bytes& bytes) { EXPECT_THROW(other.restore(bytes), Error); };
  for (std::size_t at = 0; at < saved.size(); ++at) {
    Bytes damaged = saved;
    damaged[at] ^= std::byte{0x10};
    refused(damaged);
    refused({saved.begin(), saved.begin() + static_cast<std::ptrdiff_t>(at)});
  }
  EXPECT_EQ(other.save(), before);
  // Of trainers that remember other things.
  for (const char* text : {"mask:keep=0.1+f32 @ feedback=ef14,average=0.5,server=adam", "mask:keep=0.1+f32 @ downlink=mask:keep=0.1+f32,average=0.5,server=adam",
                           "mask:keep=0.1+f32 @ feedback=ef14,downlink=mask:keep=0.2+f32,average=0.5,server=adam",
                           "mask:keep=0.1+f32 @ feedback=ef14,downlink=mask:keep=0.1+f32,average=0.5"}) {
    Trainer another(synthetic.task, options, parse_plan_entry(text, {}).options);
    const Bytes its = another.save();
    EXPECT_THROW(another.restore(saved), Error) << text;
    EXPECT_TRUE(another.save() == its) << text;   // nothing was taken over
  }
  other.restore(saved);
  EXPECT_EQ(other.save(), saved);
}

}  // namespace
}  // namespace fewbits::federated
