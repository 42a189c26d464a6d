#include "fewbits/structure.h"

#include <algorithm>

#include "codec_impl.h"

namespace fewbits {
namespace {

// A family's draw has a group of its own, so that its keys meet those of no chain.
constexpr std::uint32_t kStructureGroup = 0xFFFF'FFFF;

void check_shape(std::size_t given, std::size_t wanted, const char* name) {
  if (given != wanted)
    throw Error(Errc::kBadArgument, std::string(name) + " has " + std::to_string(given) + " values, the family needs " +
                                        std::to_string(wanted));
}

}  // namespace

struct Structure::State {
  Codec codec;
  std::unique_ptr<Subspace> subspace;
};

Structure::Structure(const Codec& codec, const RoundContext& context) : state_(new State{codec, nullptr}) {
  const Family* family = codec.impl().family();
  if (family == nullptr)
    throw Error(Errc::kBadArgument, "plan '" + codec.plan() + "' has no structured family; write train=... | before it");
  if (context.round > kMaxRound)
    throw Error(Errc::kBadArgument, "round " + std::to_string(context.round) + " is over " + std::to_string(kMaxRound));
  state_->subspace = family->draw({{context.seed, context.round, 0}, kStructureGroup, 0, nullptr});
}
Structure::~Structure() = default;
Structure::Structure(Structure&&) noexcept = default;
Structure& Structure::operator=(Structure&&) noexcept = default;

std::size_t Structure::free_parameters() const noexcept { return state_->codec.elements(); }
std::size_t Structure::coordinates() const noexcept { return state_->codec.layout().elements(); }

void Structure::expand(std::span<const float> free, std::span<float> update) const {
  std::ranges::fill(update, 0.0f);
  expand_add(free, update);
}

void Structure::expand_add(std::span<const float> free, std::span<float> update) const {
  check_shape(free.size(), free_parameters(), "the vector of free parameters");
  check_shape(update.size(), coordinates(), "the update");
  state_->subspace->expand_add(free, update);
}

void Structure::pull_back(std::span<const float> gradient, std::span<float> free_gradient) const {
  check_shape(gradient.size(), coordinates(), "the gradient");
  check_shape(free_gradient.size(), free_parameters(), "the gradient of the free parameters");
  state_->subspace->pull_back(gradient, free_gradient);
}

void Structure::project(std::span<const float> update, std::span<float> free) const {
  check_shape(update.size(), coordinates(), "the update");
  check_shape(free.size(), free_parameters(), "the vector of free parameters");
  state_->subspace->project(update, free);
}

}  // namespace fewbits
