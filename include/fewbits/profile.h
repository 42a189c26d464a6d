#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "fewbits/aggregator.h"
#include "fewbits/codec.h"
#include "fewbits/export.h"
#include "fewbits/layout.h"

namespace fewbits {

// The scales of a layout's tensors, one a row and one a column of each matrix (first axis × the rest), that the server has
// learned and every client of a round has: what `scale=profile` codes with, at no cost to the uplink. A small byte string,
// to be sent down with the model. Immutable, cheap to copy.
class FEWBITS_API Profile {
 public:
  // All scales the same: what a codec without a profile has, and round 1.
  static Profile flat(const Layout& layout);

  // Throws Error for bytes that are damaged, of another version, or of another layout.
  static Profile from_bytes(const Layout& layout, std::span<const std::byte> bytes);
  const std::vector<std::byte>& bytes() const noexcept;

  bool is_flat() const noexcept;

  // The steps are part of the profile, the same for all clients: a sum of frames is linear in what they hold, and clients
  // with little to say send less. Without them each client chooses and sends its own.
  bool has_common_step() const noexcept;

  // With the steps at which an update of these scales would take what the `bits=` (or `nmse=`) of the codec's plan wishes.
  // Throws kBadArgument for a flat profile, and where no stage of the plan has scale=profile.
  Profile with_common_step(const Codec& codec) const;

  struct State;   // private to the library
  explicit Profile(std::shared_ptr<const State> state) noexcept;
  const State& state() const noexcept { return *state_; }

 private:
  std::shared_ptr<const State> state_;
};

// Learns a profile from round to round, at the server. The energy of each row and column is estimated from every frame as
// it is added: the error of a dithered code is known, and is subtracted, so that coarse frames teach it without bias
// (docs/codecs.md, Profiles).
class FEWBITS_API ProfileLearner {
 public:
  struct Options {
    double memory = 0.8;   // weight of the past against a new round, in [0, 1)
    double floor = 0.02;   // no row, column or vector has less than this share of the mean energy
  };

  // Throws kBadArgument for options out of range.
  explicit ProfileLearner(Layout layout) : ProfileLearner(std::move(layout), Options()) {}
  ProfileLearner(Layout layout, const Options& options);
  ~ProfileLearner();
  ProfileLearner(ProfileLearner&&) noexcept;
  ProfileLearner& operator=(ProfileLearner&&) noexcept;

  // From a round's frames. Throws kBadArgument where their plan keeps no energies, kEmpty before the first client.
  void learn(const Aggregator& round);

  // From a round of which only the mean is known (shape [layout.elements()], finite). Its noise is taken for energy.
  void learn(std::span<const float> mean);

  std::uint32_t rounds() const noexcept;

  // Flat before the first round.
  Profile profile() const;

  // Everything that later profiles depend on. `restore` throws Error for damaged bytes, or those of another layout.
  std::vector<std::byte> save() const;
  void restore(std::span<const std::byte> bytes);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace fewbits
