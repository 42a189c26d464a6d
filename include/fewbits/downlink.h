#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "fewbits/codec.h"
#include "fewbits/export.h"

// Models sent to clients as compressed differences. All that have the frames of all rounds have the same bits, the view;
// each round's frame moves it towards the server's model, so that what one round leaves out the next ones bring: error
// feedback at the server (EF21-P: Gruntkowska et al. 2022, arXiv 2209.15218). The view comes to the
// model where the codec errs by less than what it codes; a plan that has too few bits for that runs away.
namespace fewbits {

// The server's side. Memory: 12 bytes a coordinate. One thread at a time.
class FEWBITS_API Downlink {
 public:
  // `model`: what clients have at the start. Throws kBadArgument for another length, and for a structured codec;
  // kNotFinite.
  Downlink(Codec codec, std::span<const float> model);
  ~Downlink();
  Downlink(Downlink&&) noexcept;
  Downlink& operator=(Downlink&&) noexcept;

  // The frame of `round` towards `model`, for all clients; view() has moved when it returns. Rounds grow from frame to
  // frame. Throws as ErrorFeedback::encode, and nothing has changed then.
  std::vector<std::byte> encode(std::span<const float> model, std::uint64_t seed, std::uint32_t round);

  // What clients with all frames so far have: shape [codec().elements()].
  std::span<const float> view() const noexcept;
  const Codec& codec() const noexcept;

  // Goes on with the same bits. `restore` throws Error for damaged bytes, or those of another codec.
  std::vector<std::byte> save() const;
  static Downlink restore(Codec codec, std::span<const float> model, std::span<const std::byte> bytes);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// A client's side: it begins with the same model; one that joins later with the server's view has the same up to rounding.
class FEWBITS_API DownlinkView {
 public:
  DownlinkView(Codec codec, std::span<const float> model);   // throws as Downlink

  // The frame of `round`. Throws Error for bytes that Codec::decode refuses, and nothing has changed then.
  void add(std::span<const std::byte> frame, std::uint64_t seed);
  std::span<const float> view() const noexcept { return view_; }

 private:
  Codec codec_;
  std::vector<float> start_;
  std::vector<float> moved_;   // the sum of all frames
  std::vector<float> view_;
};

}  // namespace fewbits
