#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "fewbits/codec.h"
#include "fewbits/error.h"
#include "fewbits/export.h"

namespace fewbits {

// What an aggregator accepts from clients that it does not trust.
struct Limits {
  double max_abs = 1e9;       // of every dequantized coefficient, before its weight
  double max_weight = 1e12;   // of one client
};

struct RoundContext {
  std::uint64_t seed = 0;
  std::uint32_t round = 0;
  std::uint32_t cohort_size = 1;   // clients that are asked, for stages that correlate them
};

struct Contribution {
  std::uint64_t client = 0;   // as the caller has authenticated it: a frame that names another is refused
  double weight = 1;          // positive; in federated averaging the number of examples
  std::uint32_t cohort_index = 0;   // the client's place in the cohort, for stages that correlate its clients
};

struct Submission {
  std::span<const std::byte> frame;
  Contribution from;
};

// Threads of the caller's: the library starts none.
class FEWBITS_API Executor {
 public:
  virtual ~Executor();

  // How many tasks may run at the same time, at least 1.
  virtual std::size_t threads() const = 0;

  // Calls task(0) … task(count − 1), each once, side by side or not, and comes back when all are done. Tasks do not throw.
  virtual void run(std::size_t count, const std::function<void(std::size_t)>& task) = 0;
};

// The weighted mean of the updates of one round, frame by frame. Memory: 8 bytes a coordinate for the sum, scratch for
// one frame (a tile of 2048 coordinates where every stage codes values one by one with a whole number of bits; else up to
// 8 bytes a coordinate and what the plan's transforms need), and the ids of the clients; nothing grows with the frames. The sum is float64 and stands in the deepest
// domain that all clients share, so a rotation with `seed=round` is undone once a round.
// One thread at a time; sums of several threads or servers are joined by `merge`.
class FEWBITS_API Aggregator {
 public:
  // Throws kBadArgument for a round over kMaxRound or limits that are not positive and finite.
  Aggregator(Codec codec, const RoundContext& context, const Limits& limits = {});
  ~Aggregator();
  Aggregator(Aggregator&&) noexcept;
  Aggregator& operator=(Aggregator&&) noexcept;

  // All or nothing: throws Error, and leaves the sum as it was, unless the frame is perfect, of this plan, layout and
  // round, from the client that the caller names, who is not in the sum yet, and within the limits.
  void add(std::span<const std::byte> frame, const Contribution& from);

  // As `add` for one after the other, to the bit, but with one sweep over the sum for many frames, and on the executor's
  // threads: by tiles of the sum where every stage allows, else frames are checked side by side, each with scratch of its
  // own. A frame that `add` would refuse adds nothing and does not stop the others; the i-th element says why. Throws only
  // std::bad_alloc.
  std::vector<std::optional<Error>> add_many(std::span<const Submission> frames, Executor* executor = nullptr);

  // Adds what `other` holds: the same plan, layout, seed and round, and no client in common; all or nothing.
  void merge(const Aggregator& other);

  std::size_t clients() const noexcept;
  double total_weight() const noexcept;
  const Codec& codec() const noexcept;
  const RoundContext& context() const noexcept;

  // Weighted sums of the energies of each tensor's rows, then its columns (of a vector: of all), estimated from the frames
  // for ProfileLearner; empty unless a stage of the plan has scale=profile.
  std::span<const double> energies() const noexcept;

  // Weighted mean of the updates (shape [codec.elements()]). Throws kEmpty before the first client.
  std::vector<float> mean() const;

  // The partial sum as bytes (docs/frame-format.md), for another process or a restart. Not a frame: it holds float64
  // sums, so restore it from trusted places.
  std::vector<std::byte> serialize() const;
  static Aggregator restore(Codec codec, const RoundContext& context, std::span<const std::byte> bytes,
                            const Limits& limits = {});

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace fewbits
