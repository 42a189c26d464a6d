#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "fewbits/aggregator.h"
#include "fewbits/codec.h"
#include "fewbits/export.h"

namespace fewbits {

// A structured family of updates, drawn anew each round from the shared seed and the same for all its clients: a random
// mask, or H = A·B with A from the seed (Konečný et al. 2016, section 2). A client optimizes the free parameters,
// starting from zero, and sends them by the codec; the server expands their mean once.
//
//   Structure family(codec, {.seed = 42, .round = 3});
//   std::vector<float> free(family.free_parameters());          // zeros
//   ... family.pull_back(gradient, free_gradient); free -= rate * free_gradient; model = start + expand(free) ...
//   auto frame = codec.encode(free, {.seed = 42, .round = 3, .client = 17});
class FEWBITS_API Structure {
 public:
  // Throws kBadArgument when the codec's plan names no family ("train=... | ...").
  Structure(const Codec& codec, const RoundContext& context);
  ~Structure();
  Structure(Structure&&) noexcept;
  Structure& operator=(Structure&&) noexcept;

  std::size_t free_parameters() const noexcept;  // = codec.elements()
  std::size_t coordinates() const noexcept;      // = codec.layout().elements()

  // update = the member of the family with these free parameters. Shapes [free_parameters()], [coordinates()].
  void expand(std::span<const float> free, std::span<float> update) const;

  // update += that member: a step of SGD inside the family without a second buffer.
  void expand_add(std::span<const float> free, std::span<float> update) const;

  // free_gradient = gradient with respect to the free parameters, by the chain rule (the adjoint of expand).
  void pull_back(std::span<const float> gradient, std::span<float> free_gradient) const;

  // Free parameters of the member of the family nearest to `update` in the L2 norm.
  void project(std::span<const float> update, std::span<float> free) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace fewbits
