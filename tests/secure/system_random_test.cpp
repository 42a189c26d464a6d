#include "fewbits/secure/system_random.h"

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <set>

namespace fewbits::secure {
namespace {

TEST(SystemRandom, DiffersBetweenCallsAndSources) {
  std::set<std::array<std::byte, 32>> seen;
  for (int source = 0; source < 4; ++source) {
    SystemRandom random;
    for (int call = 0; call < 4; ++call) {
      std::array<std::byte, 32> bytes{};
      random.fill(bytes);
      EXPECT_TRUE(seen.insert(bytes).second);
    }
  }
}

}  // namespace
}  // namespace fewbits::secure
