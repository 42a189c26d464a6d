#include "federated/spread.h"

#include <gtest/gtest.h>

#include <cmath>
#include <optional>
#include <vector>

namespace fewbits::federated {
namespace {

using Column = std::vector<std::optional<double>>;

TEST(Spread, OfTheValuesThatAreThere) {
  const auto spread = spread_of(Column{2.0, std::nullopt, 4.0, 9.0});
  ASSERT_TRUE(spread.has_value());
  EXPECT_EQ(spread->count, 3u);
  EXPECT_DOUBLE_EQ(spread->mean, 5);
  EXPECT_DOUBLE_EQ(*spread->deviation, std::sqrt((9.0 + 1 + 16) / 2));
  EXPECT_EQ(spread->least, 2);
  EXPECT_EQ(spread->most, 9);
  EXPECT_FALSE(spread_of(Column{7.0})->deviation.has_value());
  EXPECT_EQ(spread_of(Column{7.0})->mean, 7);
  EXPECT_FALSE(spread_of(Column{std::nullopt}).has_value());
  EXPECT_FALSE(spread_of(Column{}).has_value());
}

TEST(Spread, RatiosArePairedAndTheirMedianTaken) {
  const PairedNeed odd = paired_need(Column{10.0, 40.0, 30.0}, Column{10.0, 20.0, 10.0});
  EXPECT_EQ(odd.ratios, (Column{1.0, 2.0, 3.0}));
  EXPECT_EQ(odd.factors, (Column{1.0, 0.5, 1.0 / 3}));
  EXPECT_EQ(odd.median_ratio, 2.0);  // and not that of the medians, 3
  EXPECT_EQ(odd.median_factor, 0.5);
  const PairedNeed even = paired_need(Column{4.0, 1.0}, Column{8.0, 8.0});
  EXPECT_EQ(even.median_ratio, (0.5 + 0.125) / 2);
  EXPECT_EQ(even.median_factor, (2.0 + 8) / 2);
}

TEST(Spread, ATargetThatIsNotReachedCountsAsTheWorst) {
  const PairedNeed one_of_three = paired_need(Column{10.0, std::nullopt, 30.0}, Column{10.0, 10.0, 10.0});
  EXPECT_EQ(one_of_three.ratios, (Column{1.0, std::nullopt, 3.0}));
  EXPECT_EQ(one_of_three.median_ratio, 3.0);
  EXPECT_EQ(one_of_three.median_factor, 1.0 / 3);
  const PairedNeed two_of_three = paired_need(Column{10.0, std::nullopt, std::nullopt}, Column{10.0, 10.0, 10.0});
  EXPECT_FALSE(two_of_three.median_ratio || two_of_three.median_factor);
  const PairedNeed one_of_two = paired_need(Column{std::nullopt, 5.0}, Column{10.0, 10.0});
  EXPECT_FALSE(one_of_two.median_ratio || one_of_two.median_factor);
}

TEST(Spread, PairsWhoseOtherDoesNotReachTheTargetAreLeftOut) {
  const PairedNeed need = paired_need(Column{10.0, 30.0, std::nullopt}, Column{std::nullopt, 10.0, std::nullopt});
  EXPECT_EQ(need.ratios, (Column{std::nullopt, 3.0, std::nullopt}));
  EXPECT_EQ(need.median_ratio, 3.0);
  EXPECT_FALSE(paired_need(Column{10.0}, Column{std::nullopt}).median_ratio.has_value());
}

}  // namespace
}  // namespace fewbits::federated
