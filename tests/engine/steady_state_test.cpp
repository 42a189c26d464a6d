#include <gtest/gtest.h>

#include "tests/engine/allocations.h"
#include "tests/engine/every_plan.h"

namespace fewbits::test {
namespace {

class SteadyState : public EveryPlan {};

// The first frames make room for all others.
TEST_P(SteadyState, EncodersAllocateNothing) {
  const Codec codec = EveryPlan::codec(5000);
  Encoder encoder(codec);
  const auto x = update(codec, 1);
  const Context own = context(1);
  const auto encode = [&](std::uint32_t round) { encoder.encode(x, {own.seed, round, own.client, own.cohort}); };
  for (std::uint32_t round = 0; round < 2; ++round) encode(round);
  const std::size_t before = bytes_allocated();
  for (std::uint32_t round = 2; round < 5; ++round) encode(round);
  EXPECT_EQ(bytes_allocated() - before, 0u);
}

// But for the ids of their clients.
TEST_P(SteadyState, AggregatorsAllocateNothing) {
  const Codec codec = EveryPlan::codec(5000);
  Aggregator sum(codec, round_context());
  std::vector<std::vector<std::byte>> frames;
  std::vector<Contribution> contributions;
  for (std::uint64_t client = 0; client < 8; ++client) {
    frames.push_back(codec.encode(update(codec, client), context(client)));
    contributions.push_back(from(client));
  }
  for (std::uint64_t client = 0; client < 4; ++client) sum.add(frames[client], contributions[client]);
  const std::size_t before = bytes_allocated();
  for (std::uint64_t client = 4; client < 8; ++client) sum.add(frames[client], contributions[client]);
  EXPECT_LE(bytes_allocated() - before, 4u * 64u);
}

INSTANTIATE_TEST_SUITE_P(Plans, SteadyState, ::testing::ValuesIn(all_plans()), name_of);

}  // namespace
}  // namespace fewbits::test
