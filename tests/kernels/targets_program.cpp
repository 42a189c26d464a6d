// The checks of targets_test as a program of its own, which needs nothing but the kernels: for machines that are emulated.
#include <cstdio>

#include "tests/kernels/coder_checks.h"
#include "tests/kernels/targets_checks.h"

int main(int argc, char** argv) {
  using namespace fewbits;
  bool well = argc == 2;
  bool found = false;
  for (const targets::Kernels* kernels : targets::available()) {
    found = found || (argc == 2 && kernels->name == argv[1]);
    targets_checks::Checker checker(*kernels);
    checker.all(2100);   // an emulated machine is slow
    targets_checks::CoderChecker coder(*kernels);
    coder.all(1024);
    checker.failures.insert(checker.failures.end(), coder.failures.begin(), coder.failures.end());
    for (const std::string& failure : checker.failures) {
      std::printf("%s: %s\n", std::string(kernels->name).c_str(), failure.c_str());
      well = false;
    }
  }
  if (!found) std::puts("the target that the argument names is not there");
  return well && found ? 0 : 1;
}
