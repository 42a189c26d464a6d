#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "fewbits/codec.h"
#include "fewbits/export.h"

namespace fewbits {

// x is an update, C(p) what the server decodes of the frame of p.
enum class FeedbackMethod {
  kEf14,  // the memory e of what was not sent: p = x + e, e = p − C(p). Any server
  kEf21,  // the memory h of what the server has: h += C(x − h). The server keeps the sum of all h: ServerShift
};

enum class StateStorage {
  kFloat32 = 0,
  kBFloat16 = 1,  // half the bytes; each value is rounded to nearest, ties to even, at every commit
};

struct FeedbackOptions {
  FeedbackMethod method = FeedbackMethod::kEf14;

  // The codec encodes scale · p. Feedback converges for contractions, ‖p − C(scale · p)‖ < ‖p‖. None: 1/(1 + ω) for an
  // unbiased codec whose NMSE is at most ω, which makes it one; else 1, or k/n where a subset is taken, whose values then
  // come as they are.
  std::optional<double> scale = std::nullopt;

  // The rest for kEf14 only.
  StateStorage storage = StateStorage::kFloat32;

  // Over 0: momentum correction of DGC, u = momentum · u + x, p = e + u; where C(p) is not 0, u becomes 0 (`masking`).
  double momentum = 0;
  bool masking = true;

  // For clients that skip rounds: factor of the memory for each skipped round, and how many rounds after it was written
  // it is dropped (0: never).
  double decay = 1;
  std::uint32_t max_age = 0;
};

// Error feedback: a client's memory that makes up for the bias of a codec. One a client, owned by the caller.
//
//   ErrorFeedback feedback(codec);
//   auto frame = feedback.encode(update, {.seed = 42, .round = 3, .client = 17});
//   upload(frame) ? feedback.commit() : feedback.abandon();
//
// Memory: 4 bytes a coordinate (2 as bf16), twice that with momentum; none before the first commit. While a frame is
// pending, as much again. One thread at a time.
class FEWBITS_API ErrorFeedback {
 public:
  // Throws kBadArgument for options out of range, and for a structured codec: its free parameters mean something else
  // every round.
  explicit ErrorFeedback(Codec codec, const FeedbackOptions& options = {});
  ~ErrorFeedback();
  ErrorFeedback(ErrorFeedback&&) noexcept;
  ErrorFeedback& operator=(ErrorFeedback&&) noexcept;

  // The frame to upload. The memory stays as it is until `commit`. Throws kBadArgument for a wrong length and while
  // another frame is pending, kWrongRound for a round not after the last committed one, kNotFinite; and what the codec
  // throws. Nothing has changed then.
  std::vector<std::byte> encode(std::span<const float> update, const Context& context);

  // The server has added the frame. Throws kBadArgument when none is pending.
  void commit();

  // The frame was lost: the memory is what it was before `encode`, and the update is forgotten.
  void abandon() noexcept;
  bool pending() const noexcept;

  // e, or h (shape [codec.elements()]), as of the last commit.
  std::vector<float> memory() const;
  std::optional<std::uint32_t> round() const noexcept;  // of the last commit

  // Goes on with another codec of the same layout, such as one with a newer profile. Throws kBadArgument for another
  // layout, or while a frame is pending.
  void set_codec(Codec codec);
  const Codec& codec() const noexcept;

  // State as of the last commit (docs/frame-format.md): one restored goes on with the same bits. `restore` throws Error
  // for damaged bytes, another codec, method, momentum or storage, and values that are not finite.
  std::vector<std::byte> save() const;
  static ErrorFeedback restore(Codec codec, std::span<const std::byte> bytes, const FeedbackOptions& options = {});

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace fewbits
