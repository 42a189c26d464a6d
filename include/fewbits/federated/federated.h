#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "fewbits/codec.h"
#include "fewbits/export.h"
#include "fewbits/federated/options.h"
#include "fewbits/federated/task.h"

// Federated averaging (McMahan et al. 2016, arXiv 1602.05629) in one process, in which every update crosses a byte
// buffer as a frame: encoded by the client, decoded by the server's aggregator.
namespace fewbits::federated {

// Counts are of the whole run so far; loss and seconds of this round. Seconds are sums over clients, for reports only.
struct RoundResult {
  std::uint32_t round = 0;                   // from 1
  std::optional<double> score;               // the model's metric() on the test examples; none where it is not evaluated
  double loss = 0;                           // mean of the clients' training losses, by examples; NaN with privacy
  std::size_t clients = 0;                   // whose updates are in this round's mean
  std::size_t asked = 0;                     // that were to send one
  std::size_t examples = 0;
  std::uint64_t frames = 0;
  std::uint64_t upload_bytes = 0;            // of all frames, and of what came of those that are not in a mean
  std::uint64_t wasted_bytes = 0;            // of it: of clients that were lost, late or more than were wanted
  std::uint64_t download_bytes = 0;          // models (4 bytes a parameter, or compressed), references, profiles
  std::optional<double> epsilon;             // spent by all rounds so far, at the options' delta; with noise
  std::optional<double> clip;                // with privacy: the norm to which updates were clipped
  double simulated_seconds = 0;              // by the links of Options, 0 without; of the whole run, too
  double seconds = 0;                        // of the round, by the clock
  double train_seconds = 0;
  double encode_seconds = 0;
  double decode_seconds = 0;                 // checks, decoding and averaging
};

// What a client would send, before it is coded: shape [codec().elements()].
struct ClientUpdate {
  std::uint32_t round = 0;
  std::uint32_t client = 0;
  std::span<const float> values;
};

struct PersonalOptions {
  std::size_t epochs = 0;
  double learning_rate = 0.1;
};

// Scores on the examples that a client holds out.
struct PersonalResult {
  std::uint32_t client = 0;
  std::size_t examples = 0;   // of them; none: no scores
  double before = 0;          // of the released model, without an input vector
  double after = 0;           // of the client's own
};

// One plan's training, round by round.
class FEWBITS_API Trainer {
 public:
  // `task` must outlive the trainer. Throws Error for options out of range, and for a plan that does not compile.
  Trainer(const Task& task, const Options& options, const PlanOptions& plan);
  ~Trainer();
  Trainer(Trainer&&) noexcept;
  Trainer& operator=(Trainer&&) noexcept;

  // The next round. None, with the model left as it was before it, when the budget of privacy does not suffice for it, or
  // training has diverged: an update that the codec or the aggregator refuses, or a model that is no longer finite. What
  // the task's functions throw comes out of it: the round is not done, and may be tried again; or it is, where the
  // evaluation threw, and the next call evaluates it.
  std::optional<RoundResult> step();

  // From now on `see` is shown the updates of at most `clients` clients a round, spread evenly over those that take part;
  // from several threads at once. What it throws comes out of step(), and the round is not done.
  void observe(std::size_t clients, std::function<void(const ClientUpdate&)> see);

  std::uint32_t round() const noexcept;      // the last one that is complete, 0 before the first
  bool done() const noexcept;                // all rounds are complete, or training has stopped
  const std::string& stopped() const noexcept;  // why, in words; else empty
  std::optional<double> noise_multiplier() const noexcept;   // of PrivacyOptions, where it follows from a budget too

  const Codec& codec() const noexcept;
  const Layout& layout() const noexcept;       // of the model
  Metric metric() const noexcept;
  std::span<const float> parameters() const noexcept;

  // What is evaluated, and to be given away: the average of the models where the plan has one, else parameters().
  std::span<const float> released() const noexcept;

  // How well these clients are served by the released model and by their own: the released one trained further on their
  // examples (for `epochs`, 0: not at all), with their input vectors. Nothing of the training changes. Throws kBadArgument
  // for a task whose clients hold nothing out.
  std::vector<PersonalResult> personalize(std::span<const std::uint32_t> clients, const PersonalOptions& options);

  // Everything that the next rounds depend on. A trainer made of the same arguments and restored goes on as the first
  // would have, bit for bit. `restore` throws Error for bytes of another plan or model, or damaged ones.
  std::vector<std::byte> save() const;
  void restore(std::span<const std::byte> bytes);

  // The same in parts, for a checkpoint after each round where clients remember much: `rest` is save() without what
  // clients remember between frames, `clients` has that of those for whom it has changed since the last save_changes() or
  // restore(), at first since the start.
  struct Changes {
    std::vector<std::byte> rest;
    std::map<std::uint32_t, std::vector<std::byte>> clients;
  };
  Changes save_changes();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Steps until the trainer is done or `on_round` returns false.
FEWBITS_API void run(Trainer& trainer, const std::function<bool(const RoundResult&)>& on_round);

}  // namespace fewbits::federated
