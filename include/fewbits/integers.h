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

// Updates as integers whose plain sum is all that the receiver needs: for an all-reduce of integers, or for secure aggregation,
// where nobody sees a single client's. At a common step what a value stands for is ±(k − u)·step/p with u, the sign, p and the
// step known to both ends; ±k is the integer, and the clients' dithers are subtracted from the sum once a round
// (docs/codecs.md, A common step).
//
//   Integers integers(codec, {.seed = 42, .round = 3});
//   integers.encode(update, {.client = 17}, mine);           // at each client; then sums[i] += mine[i] of all of them
//   auto mean = integers.mean(sums, clients);                // as an Aggregator's of their frames
//
// For plans whose every rule ends in `trellis` or `dither` with `scale=flat,step=S`, or with `scale=profile` and a profile with a
// common step, behind transforms that all clients share (`hadamard`, `mask:seed=round`). Immutable, safe to share between threads.
class FEWBITS_API Integers {
 public:
  // Throws kBadArgument for other plans, with the reason, and for a round over kMaxRound.
  Integers(Codec codec, const RoundContext& context);

  std::size_t size() const noexcept;   // of a vector of integers: the values behind the transforms
  const Codec& codec() const noexcept { return codec_; }
  const RoundContext& context() const noexcept { return context_; }

  // `integers` (shape [size()]) of `update` (shape [codec.elements()], finite), in magnitude at most 2^30 + 4; 0 where a value is
  // not kept in this round. The weight does not enter: a client multiplies by it before they are summed. An update of zeros is
  // coded as any other. Throws kBadArgument for wrong lengths, a place outside the cohort and a value of over 2^30 steps;
  // kNotFinite. As long as encoding a frame, without the entropy coder.
  void encode(std::span<const float> update, const Contribution& from, std::span<std::int32_t> integers) const;

  // Weighted mean (shape [codec.elements()]) of the updates of `clients`, from sums[i] = Σ weight · integers[i] (shape [size()]):
  // the bits of the mean of their frames while sums of weight · steps are below 2^29. Weights are whole, so that the sums are.
  // Throws kBadArgument for wrong lengths, places or weights, kDuplicateClient, kEmpty without clients, and kTooLarge where a
  // coordinate is beyond float32. A draw of every client's dither.
  std::vector<float> mean(std::span<const std::int64_t> sums, std::span<const Contribution> clients) const;

  // Of the same rounds, in the domain of the values that are quantized: the update behind the transforms (shape [size()]). For noise
  // (privacy/), which is added there, and for those who round values in their own way.
  //
  // Those of an update; those that sums[i] = Σ weight · integers[i] of `clients` stand for, not divided by anything; and the update that
  // has such values. Errors as of `encode` and `mean`.
  std::vector<float> values(std::span<const float> update) const;
  std::vector<double> values(std::span<const std::int64_t> sums, std::span<const Contribution> clients) const;
  std::vector<float> update(std::span<const double> values) const;

 private:
  Context keys(const Contribution& from) const;
  Context shared() const noexcept { return {context_.seed, context_.round, 0, {0, context_.cohort_size}}; }
  double accumulate(std::span<const std::int64_t> sums, std::span<const Contribution> clients, std::span<double> sum) const;

  Codec codec_;
  RoundContext context_;
};

}  // namespace fewbits
