#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "fewbits/codec.h"
#include "fewbits/error_feedback.h"
#include "saved_state.h"

namespace fewbits {

// For the constructors of all that is kept from round to round. Throws kBadArgument.
void check_keeps_meaning(const Codec& codec);
void check_same_layout(const Codec& now, const Codec& next);

// As Codec::encode would say it, for a vector that is looked at before. Throws kBadArgument, kNotFinite.
void check_vector(std::span<const float> vector, std::size_t elements, const char* name);

// ω, where E[C(x)] = x and E‖C(x) − x‖² ≤ ω‖x‖² for every x.
std::optional<double> unbiased_bound(const Codec& codec);

// What ErrorFeedback and Shift share: vectors that a client keeps between its frames, and those that take their place once
// the frame has arrived. Every vector has codec.elements() values.
class ClientMemory {
 public:
  ClientMemory(Codec codec, StateKind kind, std::size_t vectors, StateStorage storage);

  const Codec& codec() const noexcept { return codec_; }
  void set_codec(Codec codec);

  // Throws unless `update` can be encoded now, under this context. Rounds since the last commit, 0 before the first.
  std::uint32_t check(std::span<const float> update, const Context& context) const;

  std::vector<float> vector(std::size_t index) const;   // zeros before the first commit

  // Encodes `message`, asks for the vectors that follow from what the server decodes, and keeps them until `commit`.
  template <class Next>
  std::vector<std::byte> send(std::span<const float> message, const Context& context, Next next) {
    Codec::Impl::Memory stages = kept_.stages;
    std::vector<std::byte> frame = encode(message, context, stages);
    propose(context.round, next(codec_.decode(frame, {context.seed, context.cohort})), std::move(stages));
    return frame;
  }

  void commit();
  void abandon() noexcept { pending_.reset(); }
  bool pending() const noexcept { return pending_.has_value(); }
  std::optional<std::uint32_t> round() const noexcept { return kept_.round; }

  std::vector<std::byte> save() const;
  void restore(std::span<const std::byte> bytes);

 private:
  struct Vectors {
    std::optional<std::uint32_t> round;
    std::vector<std::vector<float>> full;            // kFloat32
    std::vector<std::vector<std::uint16_t>> halves;  // kBFloat16
    Codec::Impl::Memory stages;                      // what an Encoder would keep
  };

  std::vector<std::byte> encode(std::span<const float> message, const Context& context,
                                Codec::Impl::Memory& stages) const;
  void propose(std::uint32_t round, std::vector<std::vector<float>> next, Codec::Impl::Memory stages);

  Codec codec_;
  StateKind kind_;
  std::size_t vectors_;
  StateStorage storage_;
  Vectors kept_;                     // no vectors before the first commit
  std::optional<Vectors> pending_;
};

}  // namespace fewbits
