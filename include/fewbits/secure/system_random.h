#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "fewbits/export.h"
#include "fewbits/privacy/random_source.h"

namespace fewbits::secure {

// A ChaCha20 generator seeded by the operating system. One thread at a time.
class FEWBITS_API SystemRandom final : public privacy::RandomSource {
 public:
  SystemRandom();
  ~SystemRandom() override;
  void fill(std::span<std::byte> bytes) override;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace fewbits::secure
