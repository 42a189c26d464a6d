#include <gtest/gtest.h>

#include "tests/kernels/coder_checks.h"
#include "tests/kernels/targets_checks.h"

namespace fewbits {

namespace targets {
extern const Kernels kWide;
}

namespace {

void expect_reference(const targets::Kernels& kernels) {
  targets_checks::Checker checker(kernels);
  checker.all();
  targets_checks::CoderChecker coder(kernels);
  coder.all();
  checker.failures.insert(checker.failures.end(), coder.failures.begin(), coder.failures.end());
  EXPECT_TRUE(checker.failures.empty());
  for (const std::string& failure : checker.failures) ADD_FAILURE() << kernels.name << ": " << failure;
}

TEST(Targets, ComputeTheBitsOfTheReference) {
  for (const targets::Kernels* kernels : targets::available()) expect_reference(*kernels);
}

// Vectors of 64 bytes as with AVX-512, on machines that have none: the compiler splits them.
TEST(Targets, OneRegisterAVectorComputesTheSame) { expect_reference(targets::kWide); }

}  // namespace
}  // namespace fewbits
