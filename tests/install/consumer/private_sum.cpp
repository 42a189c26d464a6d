// Something of fewbits::privacy, and of no other library.
#include <algorithm>
#include <cstdio>

#include "fewbits/privacy/random_source.h"

namespace {

class Ones final : public fewbits::privacy::RandomSource {
 public:
  void fill(std::span<std::byte> bytes) override { std::fill(bytes.begin(), bytes.end(), std::byte{1}); }
};

}  // namespace

int main() {
  Ones ones;
  std::byte bytes[4];
  ones.fill(bytes);
  std::printf("privacy: %d\n", std::to_integer<int>(bytes[3]));
  return 0;
}
