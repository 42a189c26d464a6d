#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <mutex>
#include <string>

#include "federated/plan_entry.h"
#include "federated/round_codec.h"
#include "fewbits/aggregator.h"
#include "fewbits/error.h"
#include "fewbits/federated/federated.h"
#include "synthetic_task.h"

// bits=auto: each client's frames are as fine as its link allows.
namespace fewbits::federated {
namespace {

constexpr double kHeaderBytes = 24;   // that the trainer sets aside

Options options(const std::string& links) {
  Options result;
  result.seed = 11;
  result.rounds = 4;
  result.clients_per_round = 12;
  result.batch = 32;
  if (!links.empty()) result.links = parse_links(links);
  return result;
}

// 4803 parameters, 600 bytes a bit. Half of the clients can carry more than 900 bytes in ten seconds.
constexpr const char* kModel = "mlp:hidden=200";
constexpr const char* kLinks = "up=0.001,deadline=10";

bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

std::string refusal(const SyntheticTask& synthetic, const Options& of, const std::string& plan) {
  try {
    Trainer(synthetic.task, of, parse_plan_entry(plan, {}).options);
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was refused";
}

TEST(Rates, TheCodecIsTheFinestThatFits) {
  const Layout layout(std::vector<Tensor>{{"a", {40, 100}}, {"b", {100}}});
  RoundCodec codec("trellis:bits=auto", layout, false);
  ASSERT_TRUE(codec.rates_differ());
  const auto text = [&](double bits) { return codec.within(bits * 4100 / 8).plan(); };
  EXPECT_EQ(text(0), Codec::compile("trellis:bits=0.01", layout).plan());
  EXPECT_EQ(text(-5), text(0));
  EXPECT_EQ(text(0.0999), Codec::compile("trellis:bits=0.05", layout).plan());
  EXPECT_EQ(text(0.1), Codec::compile("trellis:bits=0.1", layout).plan());
  EXPECT_EQ(text(1.4), Codec::compile("trellis:bits=1", layout).plan());
  EXPECT_EQ(text(1e9), Codec::compile("trellis:bits=8", layout).plan());
  for (const double bits : {0.0, 0.3, 2.0, 100.0}) {
    EXPECT_EQ(codec.within(bits * 4100 / 8).fingerprint(), codec.plan().fingerprint());
  }
  const RoundCodec one("trellis:bits=2", layout, false);
  EXPECT_FALSE(one.rates_differ());
  EXPECT_EQ(&one.within(0), &one.now());
}

// In every rule that has it, and only there.
TEST(Rates, EachRuleGetsItAndTheOthersComeFirst) {
  const Layout layout(std::vector<Tensor>{{"a.weight", {40, 100}}, {"a.bias", {100}}});
  const RoundCodec codec("*.bias=f32; *=dither:bits=auto", layout, false);
  const auto plan = [&](const char* bits) { return Codec::compile(std::string("*.bias=f32; *=dither:bits=") + bits, layout).plan(); };
  EXPECT_EQ(codec.within(0).plan(), plan("0.01"));
  EXPECT_EQ(codec.within(399 + 500 * 2).plan(), plan("1.5"));   // 100 biases, and 500 bytes a bit of the weights
  EXPECT_EQ(codec.within(400 + 500 * 2).plan(), plan("2"));
}

// A client a round: what it sends is what the round's upload grows by.
TEST(Rates, RiseWithTheLinkAndStayWithinIt) {
  const SyntheticTask synthetic(12, kModel);
  Options one = options(kLinks);
  one.rounds = 40;
  one.clients_per_round = 1;
  const Links links(*one.links, one.seed);
  Trainer trainer(synthetic.task, one, {.plan = "trellis:bits=auto"});
  std::uint32_t client = 0;
  trainer.observe(1, [&](const ClientUpdate& update) { client = update.client; });
  std::map<std::uint32_t, std::pair<double, double>> by_client;   // budget; bytes, those of the first frame
  std::uint64_t before = 0;
  while (!trainer.done()) {
    const RoundResult round = trainer.step().value();
    const auto bytes = static_cast<double>(round.upload_bytes - before);
    before = round.upload_bytes;
    if (round.asked == 0) continue;
    EXPECT_EQ(round.clients, 1u) << "late";
    const ClientWork work{.download_bytes = 4 * trainer.parameters().size(), .examples = round.examples};
    const double budget = *links.upload_budget(client, work);
    EXPECT_LE(bytes, std::max(budget, 130.0)) << client;   // of the lowest rate, the scales of rows and columns
    by_client.emplace(client, std::pair{budget, bytes});
  }
  ASSERT_EQ(by_client.size(), 11u);
  std::size_t compared = 0;
  for (const auto& [a, slow] : by_client) {
    for (const auto& [b, fast] : by_client) {
      if (fast.first < 2.2 * slow.first) continue;   // rates are at most a factor of 2 apart
      EXPECT_GT(fast.second, slow.second) << a << " and " << b;
      ++compared;
    }
  }
  EXPECT_GT(compared, 10u);
}

class EveryRatedPlan : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(All, EveryRatedPlan,
                         testing::Values("trellis:bits=auto", "dither:bits=auto", "*.bias=f32; *=trellis:bits=auto",
                                         "trellis:scale=profile,bits=auto", "dither:scale=profile,bits=auto"));

// The frames of all rates make one sum, to the bit that which the library makes of them.
TEST_P(EveryRatedPlan, AllFramesEnterOneSum) {
  const SyntheticTask synthetic(12, kModel);
  // 203 biases as they are take 812 bytes of every client.
  const Options all = options(std::string(GetParam()).starts_with("*.bias") ? "up=0.004,deadline=10" : kLinks);
  const Links links(*all.links, all.seed);
  Trainer trainer(synthetic.task, all, {.plan = GetParam()});
  RoundCodec codec(GetParam(), trainer.layout(), false);
  std::mutex mutex;
  std::map<std::uint32_t, std::vector<float>> updates;
  trainer.observe(100, [&](const ClientUpdate& update) {
    const std::lock_guard lock(mutex);
    updates[update.client].assign(update.values.begin(), update.values.end());
  });
  std::vector<float> model(trainer.parameters().begin(), trainer.parameters().end());
  std::uint64_t profiles = 0, upload = 0;
  for (std::uint32_t round = 1; round <= all.rounds; ++round) {
    const RoundResult result = trainer.step().value();
    EXPECT_EQ(result.asked, 11u);
    EXPECT_EQ(result.clients, 11u);   // without fade no frame is late
    const auto size = static_cast<std::uint32_t>(updates.size());
    Aggregator sum(codec.now(), {all.seed, round, size});
    std::map<std::string, int> rates;
    std::uint32_t place = 0;
    for (const auto& [client, update] : updates) {
      const std::size_t examples = synthetic.rows_of_each[client].size();
      const ClientWork work{.download_bytes = 4 * model.size() + codec.download_bytes(), .examples = examples};
      const Codec& own = codec.within(*links.upload_budget(client, work) - kHeaderBytes);
      ++rates[own.plan()];
      const auto frame = own.encode(update, {all.seed, round, client, {place, size}});
      upload += frame.size();
      sum.add(frame, {client, static_cast<double>(examples), place});
      ++place;
      profiles += codec.download_bytes();
    }
    EXPECT_GT(rates.size(), 3u) << "rates hardly differ";
    const auto mean = sum.mean();
    for (std::size_t i = 0; i < model.size(); ++i) model[i] += mean[i];
    EXPECT_TRUE(same_bits(trainer.parameters(), model)) << round;
    EXPECT_EQ(result.upload_bytes, upload);
    EXPECT_EQ(result.download_bytes, round * 11 * 4 * model.size() + profiles);
    codec.learn(sum);
    updates.clear();
  }
  EXPECT_EQ(profiles > 0, std::string(GetParam()).find("profile") != std::string::npos);
}

TEST(Rates, WhatTheyDoNotGoWithIsRefusedInWords) {
  const SyntheticTask synthetic;
  const auto says = [&](const std::string& links, const std::string& plan, const char* words) {
    const std::string said = refusal(synthetic, options(links), plan);
    EXPECT_NE(said.find(words), std::string::npos) << plan << ": " << said;
  };
  for (const char* links : {"", "up=1", "lost=0.5"}) says(links, "trellis:bits=auto", "needs links with a deadline");
  for (const char* feedback : {"ef14", "ef21", "dgc", "diana", "reference"})
    says(kLinks, std::string("trellis:bits=auto @ feedback=") + feedback + (feedback == std::string("diana") ? ",feedback-rate=0.5" : ""),
         "does not go with feedback=");
  for (const char* plan : {"quantize:bits=auto", "hadamard+quantize:bits=auto", "tcq:bits=auto", "*.bias=trellis:bits=auto; *=quantize:bits=auto"})
    says(kLinks, plan, "cannot be added up");
  says(kLinks, "trelis:bits=auto", "trelis");
  says(kLinks, "trellis:bits=automatic", "bits");
  says(kLinks, "trellis:nmse=auto", "nmse");
}

}  // namespace
}  // namespace fewbits::federated
