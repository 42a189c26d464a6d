#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "tests/engine/every_plan.h"
#include "tests/engine/threads.h"

namespace fewbits::test {
namespace {

class ManyFrames : public EveryPlan {};

// With frames among them that are cut, of another client, of a bad weight, and of a client who has sent one already.
TEST_P(ManyFrames, AreAddedAsOneAfterTheOther) {
  for (const std::size_t n : {std::size_t{0}, std::size_t{1}, std::size_t{700}, std::size_t{5000}}) {
    const Codec codec = EveryPlan::codec(n);
    std::vector<std::vector<std::byte>> frames;
    std::vector<Contribution> contributions;
    for (std::uint64_t client = 0; client < 7; ++client) {
      frames.push_back(codec.encode(update(codec, client), context(client)));
      contributions.push_back(from(client, static_cast<double>(3 + client)));
    }
    const auto also = [&](std::vector<std::byte> frame, const Contribution& contribution) {
      frames.insert(frames.begin() + 3, std::move(frame));
      contributions.insert(contributions.begin() + 3, contribution);
    };
    also(frames[1], contributions[1]);
    also({frames[5].begin(), frames[5].end() - 1}, from(20));
    also(frames[6], from(21));
    also(codec.encode(update(codec, 22), context(22)), from(22, -1));

    Aggregator one_by_one(codec, round_context());
    std::vector<std::optional<Errc>> reasons;
    std::vector<Submission> submissions;
    for (std::size_t i = 0; i < frames.size(); ++i) {
      reasons.push_back(refusal([&] { one_by_one.add(frames[i], contributions[i]); }));
      submissions.push_back({frames[i], contributions[i]});
    }
    EXPECT_EQ(std::ranges::count_if(reasons, [](const auto& reason) { return !reason; }), 7);
    for (const std::size_t threads : {0, 1, 3}) {
      Threads executor(threads);
      Aggregator sum(codec, round_context());
      const auto refused = sum.add_many(submissions, threads == 0 ? nullptr : &executor);
      ASSERT_EQ(refused.size(), frames.size());
      for (std::size_t i = 0; i < refused.size(); ++i)
        EXPECT_EQ(refused[i] ? std::optional(refused[i]->code()) : std::nullopt, reasons[i]) << i;
      EXPECT_EQ(sum.serialize(), one_by_one.serialize()) << threads << " threads, " << n << " values";
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Plans, ManyFrames, ::testing::ValuesIn(all_plans()), name_of);

double peak_mebibytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

// Clients stream through: what a sum needs does not grow with them. FEWBITS_LONG_TESTS: 10,000 clients of 2^20 coordinates.
TEST(ManyClients, TakeTheMemoryOfOne) {
  const bool whole = std::getenv("FEWBITS_LONG_TESTS") != nullptr;
  const std::size_t n = whole ? 1 << 20 : 1 << 16;
  const std::uint64_t clients = whole ? 10'000 : 1'000;
  const Codec codec = Codec::compile("hadamard+quantize:bits=4", n);
  constexpr std::size_t kAtOnce = 50;
  const std::vector<float> x = normal(n, 1);
  std::vector<std::vector<std::byte>> frames(kAtOnce);
  Encoder encoder(codec);
  Aggregator sum(codec, {kSeed, kRound});
  double before = 0;
  for (std::uint64_t first = 0; first < clients; first += kAtOnce) {
    std::vector<Submission> batch;
    for (std::uint64_t client = first; client < first + kAtOnce; ++client) {
      const auto frame = encoder.encode(x, {kSeed, kRound, client});
      frames[client - first].assign(frame.begin(), frame.end());
      batch.push_back({frames[client - first], {client}});
    }
    for (const auto& refused : sum.add_many(batch)) ASSERT_FALSE(refused);
    if (first == 0) before = peak_mebibytes();
  }
  EXPECT_EQ(sum.clients(), clients);
  // The ids are kept, 40 bytes each or so.
  EXPECT_LE(peak_mebibytes() - before, 4 + static_cast<double>(clients) * 1e-4) << "MiB";
  // Rounding errors of so many clients average out.
  EXPECT_LE(squared_distance(sum.mean(), x), 0.2 / static_cast<double>(clients) * norm(x) * norm(x));
}

}  // namespace
}  // namespace fewbits::test
