#include "fewbits/layout.h"

#include <gtest/gtest.h>

#include <limits>

#include "tests/engine/support.h"

namespace fewbits::test {
namespace {

TEST(Layout, ANumberIsOneTensorWithoutAName) {
  const Layout layout = 7;
  ASSERT_EQ(layout.tensors().size(), 1u);
  EXPECT_EQ(layout.tensors()[0].name, "");
  EXPECT_EQ(layout.elements(), 7u);
  EXPECT_EQ(layout.text(), "\t7\n");
}

TEST(Layout, TensorsFollowOneAnother) {
  const Layout layout({{"a", {2, 3}}, {"scalar", {}}, {"none", {4, 0, 9}}, {"b", {5}}});
  EXPECT_EQ(layout.elements(), 12u);
  EXPECT_EQ(layout.offset(0), 0u);
  EXPECT_EQ(layout.offset(1), 6u);
  EXPECT_EQ(layout.offset(2), 7u);
  EXPECT_EQ(layout.offset(3), 7u);
  EXPECT_EQ(layout.text(), "a\t2,3\nscalar\t\nnone\t4,0,9\nb\t5\n");
}

TEST(Layout, TheTextTellsNamesApartWhateverTheyHold) {
  EXPECT_EQ(Layout({{"a\tb\nc\\d", {1}}}).text(), "a\\tb\\nc\\\\d\t1\n");
  EXPECT_NE(Layout({{"a\t1\nb", {1}}}).text(), Layout({{"a", {1}}, {"b", {1}}}).text());
  EXPECT_NE(Layout({{"a\\t", {1}}}).text(), Layout({{"a\t", {1}}}).text());
}

TEST(Layout, RefusesNamesThatRepeat) {
  const auto error = error_of([] { Layout({{"w", {1}}, {"v", {1}}, {"w", {2}}}); });
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->code(), Errc::kBadArgument);
  EXPECT_NE(std::string(error->what()).find("'w'"), std::string::npos);
}

TEST(Layout, RefusesMoreCoordinatesThanAnIndexCounts) {
  constexpr std::size_t kMost = Layout::kMaxElements;
  constexpr std::size_t kHuge = std::numeric_limits<std::size_t>::max();
  EXPECT_EQ(Layout(kMost).elements(), kMost);
  EXPECT_EQ(refusal([] { return Layout(kMost + 1); }), Errc::kBadArgument);
  EXPECT_EQ(refusal([] { return Layout({{"a", {kMost}}, {"b", {1}}}); }), Errc::kBadArgument);
  // Products that wrap around 2^64, to zero and to something small.
  EXPECT_EQ(refusal([] { return Layout({{"a", {1ull << 32, 1ull << 32}}}); }), Errc::kBadArgument);
  EXPECT_EQ(refusal([] { return Layout({{"a", {kHuge, kHuge}}}); }), Errc::kBadArgument);
  EXPECT_EQ(refusal([] { return Layout({{"a", {kHuge, 2, 3}}}); }), Errc::kBadArgument);
  EXPECT_EQ(Layout({{"a", {kHuge, kHuge, 0}}}).elements(), 0u);
}

}  // namespace
}  // namespace fewbits::test
