#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fewbits/description.h"
#include "fewbits/error.h"
#include "fewbits/export.h"
#include "fewbits/layout.h"

namespace fewbits {

// Rounds are numbered below this, so that a frame's header stays small.
inline constexpr std::uint32_t kMaxRound = (1u << 28) - 1;

// A client's place among those that the server asks in a round. Only stages that correlate the clients of a round use it
// (`permk`, `dither:correlated=1`); it is not sent, so client and server must agree on it.
struct Cohort {
  std::uint32_t index = 0;   // below size, different for each client of the round
  std::uint32_t size = 1;
};

// What the shared randomness of one frame is keyed by. Client and server must agree on it; nothing of it but round and
// client is sent. The generator is not cryptographic: a seed is no secret and hides nothing.
struct Context {
  std::uint64_t seed = 0;
  std::uint32_t round = 0;   // at most kMaxRound
  std::uint64_t client = 0;
  Cohort cohort = {};
};

// The randomness of a whole run; round and client are read from the frame.
struct RunContext {
  std::uint64_t seed = 0;
  Cohort cohort = {};
};

class Profile;

// A plan compiled for a layout. Immutable, cheap to copy, safe to share between threads, clients and server.
class FEWBITS_API Codec {
 public:
  // Throws kBadPlan with the position in `plan` and what would be right.
  // Grammar and stages: docs/codecs.md.
  static Codec compile(std::string_view plan, Layout layout);

  // The same plan and layout with the scales that a server has learned (profile.h), for stages with scale=profile. Frames
  // of codecs with another profile are refused. Throws kBadArgument for the profile of another layout.
  Codec with_profile(const Profile& profile) const;
  bool takes_profile() const noexcept;   // some stage has scale=profile

  // The canonical text: every parameter spelled out, equal for plans that mean the same.
  const std::string& plan() const noexcept;
  const Layout& layout() const noexcept;

  // Length of the vector that `encode` takes and `decode` gives: the layout's coordinates, or the free parameters
  // where the plan trains inside a structured family.
  std::size_t elements() const noexcept;
  bool structured() const noexcept;

  // Hash of plan, layout and profile that every frame carries.
  std::uint64_t fingerprint() const noexcept;

  // Frames are never longer.
  std::size_t max_frame_size() const noexcept;

  Description describe() const;

  // `update` has elements() values, all finite; the frame's length is what a client uploads.
  // Throws kBadArgument for a wrong length, kNotFinite. O(elements log elements) at most.
  std::vector<std::byte> encode(std::span<const float> update, const Context& context) const;

  // Into memory of the caller's, at least max_frame_size() bytes, else kBadArgument; returns the frame's length. What lies
  // behind it is undefined.
  std::size_t encode(std::span<const float> update, const Context& context, std::span<std::byte> frame) const;

  // The update that `frame` stands for, as the aggregator would add it. Throws Error for every frame that this codec's
  // encoder could not have written.
  std::vector<float> decode(std::span<const std::byte> frame, const RunContext& context) const;

  class Impl;  // private to the library
  const Impl& impl() const noexcept { return *impl_; }

 private:
  explicit Codec(std::shared_ptr<const Impl> impl) noexcept;
  std::shared_ptr<const Impl> impl_;
};

// Encodes update after update without allocating. One a thread, and one a client where a stage of the plan remembers.
class FEWBITS_API Encoder {
 public:
  explicit Encoder(Codec codec);
  ~Encoder();
  Encoder(Encoder&&) noexcept;
  Encoder& operator=(Encoder&&) noexcept;

  const Codec& codec() const noexcept;

  // As Codec::encode; the bytes stay valid until the next call.
  std::span<const std::byte> encode(std::span<const float> update, const Context& context);
  std::size_t encode(std::span<const float> update, const Context& context, std::span<std::byte> frame);

  // What stages remember from frame to frame (the warm start of `lowrank`), as bytes. It makes frames better, never
  // different to decode. `restore` throws kWrongPlan for the bytes of another codec, and Error for damaged ones.
  std::vector<std::byte> save() const;
  void restore(std::span<const std::byte> bytes);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// What a frame says of itself, without its plan.
struct FrameInfo {
  struct Section {
    std::size_t offset = 0;
    std::size_t bytes = 0;
  };
  std::uint8_t version = 0;
  std::uint8_t required_flags = 0;   // must be understood
  std::uint8_t optional_flags = 0;   // may be ignored
  std::uint64_t fingerprint = 0;
  std::uint32_t round = 0;
  std::uint64_t client = 0;
  std::uint32_t checksum = 0;
  std::size_t header_bytes = 0;
  std::vector<Section> sections;     // one a rule of the plan that matches a tensor
};

// Throws Error when `frame` is damaged or no frame.
FEWBITS_API FrameInfo inspect(std::span<const std::byte> frame);

}  // namespace fewbits
