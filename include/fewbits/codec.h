#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fewbits/error.h"
#include "fewbits/export.h"
#include "fewbits/layout.h"

namespace fewbits {

// Rounds are numbered below this, so that a frame's header stays small.
inline constexpr std::uint32_t kMaxRound = (1u << 28) - 1;

// What the shared randomness of one frame is keyed by. Client and server must agree on it; nothing of it but round and
// client is sent. The generator is not cryptographic: a seed is no secret and hides nothing.
struct Context {
  std::uint64_t seed = 0;
  std::uint32_t round = 0;   // at most kMaxRound
  std::uint64_t client = 0;
};

// The randomness of a whole run; round and client are read from the frame.
struct RunContext {
  std::uint64_t seed = 0;
};

enum class Unbiased {
  kAlways,          // E[decode(encode(x))] = x for every x, over the shared randomness
  kOverRotations,   // only where a random rotation of its own precedes it in every client
  kNo,
};

// What a plan promises of the coordinates of one rule, before anything is coded.
struct GroupDescription {
  std::string rule;             // the pattern that chose the tensors, "*" where there is one rule
  std::string stages;           // canonical text, defaults and the coder spelled out
  std::size_t tensors = 0;
  std::size_t coordinates = 0;  // of the update
  std::size_t values = 0;       // coded ones: fewer after a mask
  Unbiased unbiased = Unbiased::kNo;
  std::optional<double> nmse_bound;   // E‖x̂ − x‖²/‖x‖² of one client is at most this, for every x
  std::optional<double> norm_growth;  // ‖x̂‖/‖x‖ is at most this, for every x and draw
  std::size_t max_bytes = 0;          // of its section of the frame
  bool fixed_size = false;            // the section always has max_bytes
  std::string sum_domain;             // where the aggregator keeps the sum: "update", or the shared transforms
};

struct Description {
  std::string plan;               // canonical
  std::string structure;          // the structured family, empty for none
  std::size_t coordinates = 0;    // of the whole update
  std::size_t parameters = 0;     // of what is encoded: fewer than coordinates in a structured family
  Unbiased unbiased = Unbiased::kNo;
  std::optional<double> nmse_bound;
  std::optional<double> norm_growth;
  std::size_t max_frame_bytes = 0;    // header included
  bool fixed_size = false;            // but for the lengths of round and client in the header
  double max_rate = 0;                // bits a coordinate of the update at max_frame_bytes
  std::vector<GroupDescription> groups;
};

// A plan compiled for a layout. Immutable, cheap to copy, safe to share between threads, clients and server.
class FEWBITS_API Codec {
 public:
  // Throws kBadPlan with the position in `plan` and what would be right.
  // Grammar and stages: docs/codecs.md.
  static Codec compile(std::string_view plan, Layout layout);

  // The canonical text: every parameter spelled out, equal for plans that mean the same.
  const std::string& plan() const noexcept;
  const Layout& layout() const noexcept;

  // Length of the vector that `encode` takes and `decode` gives: the layout's coordinates, or the free parameters
  // where the plan trains inside a structured family.
  std::size_t elements() const noexcept;
  bool structured() const noexcept;

  // Hash of plan and layout that every frame carries.
  std::uint64_t fingerprint() const noexcept;

  // Frames are never longer.
  std::size_t max_frame_size() const noexcept;

  Description describe() const;

  // `update` has elements() values, all finite; the frame's length is what a client uploads.
  // Throws kBadArgument for a wrong length, kNotFinite. O(elements log elements) at most.
  std::vector<std::byte> encode(std::span<const float> update, const Context& context) const;

  // The update that `frame` stands for, as the aggregator would add it. Throws Error for every frame that this codec's
  // encoder could not have written.
  std::vector<float> decode(std::span<const std::byte> frame, const RunContext& context) const;

  class Impl;  // private to the library
  const Impl& impl() const noexcept { return *impl_; }

 private:
  explicit Codec(std::shared_ptr<const Impl> impl) noexcept;
  std::shared_ptr<const Impl> impl_;
};

// Encodes update after update without allocating. One a thread.
class FEWBITS_API Encoder {
 public:
  explicit Encoder(Codec codec);
  ~Encoder();
  Encoder(Encoder&&) noexcept;
  Encoder& operator=(Encoder&&) noexcept;

  // As Codec::encode; the bytes stay valid until the next call.
  std::span<const std::byte> encode(std::span<const float> update, const Context& context);

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
