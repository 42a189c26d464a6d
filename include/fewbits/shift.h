#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "fewbits/aggregator.h"
#include "fewbits/codec.h"
#include "fewbits/export.h"

// Clients send how their updates differ from vectors that the server can add again: where these come near the updates,
// what is coded is small, and so is its error.
namespace fewbits {

struct ShiftOptions {
  // α, the same at both ends. None: 1/(1 + ω) for a codec whose NMSE is at most ω; give it where ends differ in wishes
  // of the plan on which ω depends.
  std::optional<double> rate = std::nullopt;
};

// DIANA for unbiased codecs: a client's memory h; the frame is C(x − h), then h += α·C(x − h). One a client, owned by
// the caller, two steps as in ErrorFeedback. 4 bytes a coordinate, none before the first commit.
class FEWBITS_API Shift {
 public:
  // Throws kBadArgument for a rate not in (0, 1], for none where the codec states no bound, and for a structured codec.
  explicit Shift(Codec codec, const ShiftOptions& options = {});
  ~Shift();
  Shift(Shift&&) noexcept;
  Shift& operator=(Shift&&) noexcept;

  // As in ErrorFeedback.
  std::vector<std::byte> encode(std::span<const float> update, const Context& context);
  void commit();
  void abandon() noexcept;
  bool pending() const noexcept;
  std::vector<float> memory() const;
  std::optional<std::uint32_t> round() const noexcept;
  double rate() const noexcept;
  void set_codec(Codec codec);
  const Codec& codec() const noexcept;
  std::vector<std::byte> save() const;
  static Shift restore(Codec codec, std::span<const std::byte> bytes, const ShiftOptions& options = {});

 private:
  struct State;
  std::unique_ptr<State> state_;
};

enum class ShiftMethod {
  kDiana,  // clients have Shift. Update: mean memory of all clients + mean difference of the cohort
  kEf21,   // clients have ErrorFeedback with kEf21. Update: mean memory of all clients, the cohort's as they are now
};

// The server's part: the sum of all clients' memories, Σ w·h; it knows no single one. Where a cohort is drawn, the update
// of kDiana has the expectation of the mean over all clients, and that of kEf21 counts those who are absent as they were
// when last seen.
// The sum stays theirs only if a client commits exactly the frames that were added, and has the same weight in every
// round. Limits of the Aggregator bound the differences, not the memories. 8 bytes a coordinate.
class FEWBITS_API ServerShift {
 public:
  ServerShift(Codec codec, ShiftMethod method, const ShiftOptions& options = {});
  ~ServerShift();
  ServerShift(ServerShift&&) noexcept;
  ServerShift& operator=(ServerShift&&) noexcept;

  // The update of a round, from the frames of its cohort. `population`: for kDiana the weight of all clients that could
  // have been drawn; for kEf21 of all that have taken part so far, this cohort with them (with more, those not yet seen
  // count as zeros).
  // Throws kWrongPlan for an aggregator of another codec, kWrongRound for a round not after the last one, kEmpty,
  // kBadArgument for a population below the cohort's weight, kTooLarge. Nothing has changed then.
  std::vector<float> update(const Aggregator& differences, double population);

  void set_codec(Codec codec);
  const Codec& codec() const noexcept;
  std::vector<std::byte> save() const;
  static ServerShift restore(Codec codec, std::span<const std::byte> bytes, ShiftMethod method,
                             const ShiftOptions& options = {});

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The simplest shift: a reference that both ends know, such as the last mean. Unbiased with an unbiased codec, whatever
// the reference is. A frame does not say which one it was made with: `hash` is for the ends to compare.
class FEWBITS_API Reference {
 public:
  explicit Reference(Codec codec);   // zeros
  ~Reference();
  Reference(Reference&&) noexcept;
  Reference& operator=(Reference&&) noexcept;

  void set(std::span<const float> reference);   // throws kBadArgument, kNotFinite
  const std::vector<float>& get() const noexcept;
  std::uint64_t hash() const noexcept;

  std::vector<std::byte> encode(std::span<const float> update, const Context& context) const;   // C(x − reference)
  std::vector<float> mean(const Aggregator& differences) const;                                 // reference + mean

  void set_codec(Codec codec);
  const Codec& codec() const noexcept;
  std::vector<std::byte> save() const;
  static Reference restore(Codec codec, std::span<const std::byte> bytes);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace fewbits
