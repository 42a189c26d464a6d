#include "datasets/partition.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>

#include "fewbits/error.h"
#include "kernels/random.h"

namespace fewbits::datasets {
namespace {

constexpr std::size_t kClasses = 10;
constexpr std::size_t kPerClass = 600;
constexpr std::size_t kRows = kClasses * kPerClass;

// Labels in a mixed order, as in a real file.
std::vector<float> labels() {
  std::vector<float> result(kRows);
  for (std::size_t i = 0; i < kRows; ++i) result[i] = static_cast<float>(i * 7919 % kClasses);
  return result;
}

Partition split(const std::string& text, std::size_t clients, std::uint64_t seed = 1) {
  return make_partition(text, labels(), kClasses, clients, seed);
}

std::vector<std::size_t> class_counts(const std::vector<std::uint32_t>& rows) {
  const std::vector<float> y = labels();
  std::vector<std::size_t> counts(kClasses);
  for (const std::uint32_t row : rows) ++counts[static_cast<std::size_t>(y[row])];
  return counts;
}

std::string refusal(const std::string& text, std::size_t clients = 20) {
  try {
    split(text, clients);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::kBadArgument);
    return error.what();
  }
  ADD_FAILURE() << text << " was accepted";
  return "";
}

std::uint64_t fingerprint(const Partition& partition) {
  std::uint64_t hash = 0;
  for (const auto& rows : partition) {
    hash = mix64(hash + rows.size() + kGoldenRatio);
    for (const std::uint32_t row : rows) hash = mix64((hash ^ row) + kGoldenRatio);
  }
  return hash;
}

class EveryPartition : public testing::TestWithParam<const char*> {};

TEST_P(EveryPartition, DealsEachRowOnce) {
  for (const std::size_t clients : {10u, 16u, 37u}) {
    const Partition parts = split(GetParam(), clients);
    ASSERT_EQ(parts.size(), clients);
    std::vector<std::uint32_t> all;
    for (const auto& rows : parts) all.insert(all.end(), rows.begin(), rows.end());
    std::sort(all.begin(), all.end());
    ASSERT_EQ(all.size(), kRows);
    for (std::uint32_t i = 0; i < kRows; ++i) ASSERT_EQ(all[i], i);
  }
}

TEST_P(EveryPartition, IsAFunctionOfTheSeed) {
  EXPECT_EQ(split(GetParam(), 20, 5), split(GetParam(), 20, 5));
  EXPECT_NE(split(GetParam(), 20, 5), split(GetParam(), 20, 6));
}

TEST_P(EveryPartition, IsDescribed) {
  EXPECT_NE(describe_partition(GetParam(), split(GetParam(), 20), labels(), kClasses).find("20 clients"),
            std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(All, EveryPartition,
                         testing::Values("iid", "shards:per=2", "classes:c=2", "dirichlet:alpha=0.5",
                                         "dirichlet:alpha=0.05,min=0", "dirichlet-client:alpha=3",
                                         "dirichlet-client:alpha=0.01", "quantity:dirichlet=2",
                                         "quantity:lognormal=1.5"));

// Runs of other versions are compared by their seeds: these values never change.
TEST(Partition, NeverChanges) {
  EXPECT_EQ(fingerprint(split("iid", 16)), 17805746653054562688u);
  EXPECT_EQ(fingerprint(split("shards:per=2", 16)), 3451459232821801104u);
  EXPECT_EQ(fingerprint(split("classes:c=3", 16)), 17326021935782624463u);
  EXPECT_EQ(fingerprint(split("dirichlet:alpha=0.3", 16)), 10683128297545657636u);
  EXPECT_EQ(fingerprint(split("dirichlet-client:alpha=3", 16)), 5846781831429595907u);
  EXPECT_EQ(fingerprint(split("quantity:dirichlet=1", 16)), 6211116922275122497u);
  EXPECT_EQ(fingerprint(split("quantity:lognormal=1", 16)), 17121484989449835932u);
}

TEST(Partition, IidSizesDifferByAtMostOne) {
  const Partition parts = split("iid", 37);
  for (std::size_t i = 0; i < 37; ++i) EXPECT_EQ(parts[i].size(), kRows / 37 + (i < kRows % 37 ? 1 : 0));
}

TEST(Partition, ShardsHoldRunsOfTheSortedRows) {
  // 20 shards of 300 in 10 classes of 600: each shard has one class.
  for (const auto& rows : split("shards:per=2", 10)) {
    const auto counts = class_counts(rows);
    EXPECT_EQ(rows.size(), 600u);
    for (const std::size_t count : counts) EXPECT_TRUE(count == 0 || count == 300 || count == 600) << count;
  }
}

TEST(Partition, ClassesAreHeldByOwnersAndCutEvenly) {
  const Partition parts = split("classes:c=3", 20);
  std::vector<std::set<std::size_t>> pieces(kClasses);
  for (std::size_t client = 0; client < parts.size(); ++client) {
    const auto counts = class_counts(parts[client]);
    EXPECT_EQ(std::count_if(counts.begin(), counts.end(), [](std::size_t n) { return n > 0; }), 3);
    EXPECT_GT(counts[client % kClasses], 0u);
    for (std::size_t c = 0; c < kClasses; ++c) {
      if (counts[c] > 0) pieces[c].insert(counts[c]);
    }
  }
  for (const auto& sizes : pieces) EXPECT_LE(*sizes.rbegin() - *sizes.begin(), 1u);
}

TEST(Partition, AClassThatNobodyHoldsIsAnError) {
  EXPECT_NE(refusal("classes:c=1", 3).find("nobody holds class 3"), std::string::npos);
}

TEST(Partition, DirichletKeepsItsLeastSize) {
  for (const auto& rows : split("dirichlet:alpha=0.3,min=40", 16)) EXPECT_GE(rows.size(), 40u);
  for (const auto& rows : split("dirichlet:alpha=0.5", 16)) EXPECT_GE(rows.size(), 10u);
}

TEST(Partition, FullClientsGetNoMoreOfAClass) {
  // A client below n/K takes at most one more class on top: no one can have more than n/K - 1 + a class.
  for (const auto& rows : split("dirichlet:alpha=0.05,min=0", 16)) EXPECT_LT(rows.size(), kRows / 16 + kPerClass);
}

TEST(Partition, ADirichletThatNeverReachesItsLeastSizeIsAnError) {
  const std::string text = refusal("dirichlet:alpha=0.01,min=100", 40);
  EXPECT_NE(text.find("in 100 draws with 0.01 and 40 clients"), std::string::npos) << text;
  EXPECT_NE(text.find("less than 100 examples"), std::string::npos) << text;
  EXPECT_NE(refusal("quantity:dirichlet=0.01", 40).find("in 100 draws"), std::string::npos);
}

TEST(Partition, DirichletClientSizesAreEqual) {
  const Partition parts = split("dirichlet-client:alpha=0.5", 37);
  for (std::size_t i = 0; i < 37; ++i) EXPECT_EQ(parts[i].size(), kRows / 37 + (i < kRows % 37 ? 1 : 0));
}

TEST(Partition, DirichletClientSkewFollowsItsParameter) {
  // Sum of squared class shares q: E = (1 + 0.3) / (1 + 3) = 0.325 for ten classes with 0.3 each, and with the 30
  // examples of a client 0.325 + (1 - 0.325) / 30 = 0.348. A sum in [0.1, 1] with that mean deviates by at most
  // sqrt((1 - 0.348) * (0.348 - 0.1)) = 0.41, the mean of 20 by 0.09: twice that is allowed. No class is used up by the
  // first 20 of 200 clients but for rare ones.
  const auto skew = [](const std::string& text) {
    const Partition parts = split(text, 200);
    double mean = 0;
    for (std::size_t i = 0; i < 20; ++i) {
      for (const std::size_t count : class_counts(parts[i])) {
        const double share = static_cast<double>(count) / static_cast<double>(parts[i].size());
        mean += share * share / 20;
      }
    }
    return mean;
  };
  EXPECT_NEAR(skew("dirichlet-client:alpha=3"), 0.348, 0.18);
  EXPECT_GT(skew("dirichlet-client:alpha=0.001"), 0.95);
  EXPECT_LT(skew("dirichlet-client:alpha=100000"), 0.2);
}

TEST(Partition, LognormalWithoutSpreadIsIid) { EXPECT_EQ(split("quantity:lognormal=0", 37), split("iid", 37)); }

TEST(Partition, LognormalKeepsItsLeastSize) {
  const Partition parts = split("quantity:lognormal=3,min=25", 40);
  std::size_t least = kRows, most = 0;
  for (const auto& rows : parts) {
    least = std::min(least, rows.size());
    most = std::max(most, rows.size());
  }
  EXPECT_EQ(least, 25u);
  EXPECT_GT(most, 500u);
}

TEST(Partition, BothAlphasAreSaid) {
  EXPECT_NE(describe_partition("dirichlet-client:alpha=3", split("dirichlet-client:alpha=3", 10), labels(), kClasses)
                .find("alpha 3 in all (Hsu), 0.3 a class"),
            std::string::npos);
  EXPECT_NE(describe_partition("dirichlet:alpha=0.3", split("dirichlet:alpha=0.3", 10), labels(), kClasses)
                .find("alpha 0.3 a class, 3 in all (Hsu)"),
            std::string::npos);
}

TEST(Partition, BadTextGivesTheChoices) {
  EXPECT_NE(refusal("dirichelt:alpha=1").find("choose one of: iid; shards:per=N"), std::string::npos);
  EXPECT_NE(refusal("dirichlet").find("write dirichlet:alpha=..."), std::string::npos);
  EXPECT_NE(refusal("dirichlet:beta=1").find("it has: alpha, min"), std::string::npos);
  EXPECT_NE(refusal("dirichlet:alpha=nan").find("expected a number from"), std::string::npos);
  EXPECT_NE(refusal("dirichlet:alpha=-1").find("expected a number from"), std::string::npos);
  EXPECT_NE(refusal("dirichlet:alpha=1,alpha=2").find("gives 'alpha' twice"), std::string::npos);
  EXPECT_NE(refusal("iid:").find("expected key=value"), std::string::npos);
  EXPECT_NE(refusal("shards:per=0").find("expected an integer from 1"), std::string::npos);
  EXPECT_NE(refusal("shards:per=2x").find("expected an integer from 1"), std::string::npos);
  EXPECT_NE(refusal("classes:c=11").find("expected an integer from 1 to 10"), std::string::npos);
  EXPECT_NE(refusal("quantity:min=3").find("give dirichlet=A or lognormal=S"), std::string::npos);
  EXPECT_NE(refusal("quantity:lognormal=1,min=400").find("cannot have 400"), std::string::npos);
}

TEST(Partition, MoreClientsThanExamplesIsAnError) {
  EXPECT_NE(refusal("iid", kRows + 1).find("6001 clients for 6000 examples"), std::string::npos);
  EXPECT_NE(refusal("iid", 0).find("at least 1 client"), std::string::npos);
}

}  // namespace
}  // namespace fewbits::datasets
