#include "fewbits/secure/system_random.h"

#include <botan/chacha_rng.h>
#include <botan/system_rng.h>

namespace fewbits::secure {

struct SystemRandom::State {
  Botan::ChaCha_RNG generator{Botan::system_rng()};
};

SystemRandom::SystemRandom() : state_(std::make_unique<State>()) {}
SystemRandom::~SystemRandom() = default;

void SystemRandom::fill(std::span<std::byte> bytes) {
  state_->generator.randomize(reinterpret_cast<std::uint8_t*>(bytes.data()), bytes.size());
}

}  // namespace fewbits::secure
