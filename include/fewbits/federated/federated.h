#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "fewbits/codec.h"
#include "fewbits/export.h"
#include "fewbits/federated/model.h"
#include "fewbits/federated/options.h"

// Federated averaging (McMahan et al. 2016, arXiv 1602.05629) in one process, in which every update crosses a byte
// buffer as a frame: encoded by the client, decoded by the server's aggregator.
namespace fewbits::federated {

// Rows cut out of two long vectors: row r has the features x[r · x_step, ...) and the targets y[r · y_step, ...). Steps of
// 0 stand for rows side by side; shorter ones make overlapping windows, as those of a text.
struct Table {
  std::span<const float> x;
  std::span<const float> y;
  std::size_t x_step = 0;
  std::size_t y_step = 0;
};

// Who takes part. Both functions give the same for the same client each time, from several threads at once; they may draw
// their answer, so that a million clients need no memory.
struct Clients {
  std::size_t count = 0;
  std::function<std::size_t(std::uint32_t client)> size;                     // how many examples it has; may be none
  std::function<std::vector<std::uint32_t>(std::uint32_t client)> rows;      // of Task::train
};
FEWBITS_API Clients listed_clients(std::vector<std::vector<std::uint32_t>> rows_of_each);

// What is learned, by whom. The spans must outlive every trainer of the task.
struct Task {
  ModelFactory model;
  ExampleShape shape;
  Table train;
  Table test;
  Clients clients;
};

// Counts are of the whole run so far; loss and seconds of this round. Seconds are sums over clients, for reports only.
struct RoundResult {
  std::uint32_t round = 0;                   // from 1
  std::optional<double> score;               // the model's metric() on the test examples; none where it is not evaluated
  double loss = 0;                           // mean of the clients' training losses, by examples
  std::size_t clients = 0;                   // that sent an update in this round
  std::size_t examples = 0;
  std::uint64_t frames = 0;
  std::uint64_t upload_bytes = 0;            // lengths of the frames
  std::uint64_t download_bytes = 0;          // 4 a parameter and client, 8 with a reference; profiles
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

// One plan's training, round by round.
class FEWBITS_API Trainer {
 public:
  // `task` must outlive the trainer. Throws Error for options out of range, and for a plan that does not compile.
  Trainer(const Task& task, const Options& options, const PlanOptions& plan);
  ~Trainer();
  Trainer(Trainer&&) noexcept;
  Trainer& operator=(Trainer&&) noexcept;

  // The next round. None, with the model left as it was before it, when training has diverged: an update that the codec
  // or the aggregator refuses, or a model that is no longer finite.
  std::optional<RoundResult> step();

  // From now on `see` is shown the updates of at most `clients` clients a round, spread evenly over those that take part;
  // from several threads at once. What it throws comes out of step(), and the round is not done.
  void observe(std::size_t clients, std::function<void(const ClientUpdate&)> see);

  std::uint32_t round() const noexcept;      // the last one that is complete, 0 before the first
  bool done() const noexcept;                // all rounds are complete, or training has diverged
  const std::string& stopped() const noexcept;  // why it has diverged, in words; else empty

  const Codec& codec() const noexcept;
  const Layout& layout() const noexcept;       // of the model
  Metric metric() const noexcept;
  std::span<const float> parameters() const noexcept;

  // What is evaluated, and to be given away: the average of the models where the plan has one, else parameters().
  std::span<const float> released() const noexcept;

  // Everything that the next rounds depend on. A trainer made of the same arguments and restored goes on as the first
  // would have, bit for bit. `restore` throws Error for bytes of another plan or model, or damaged ones.
  std::vector<std::byte> save() const;
  void restore(std::span<const std::byte> bytes);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Steps until the trainer is done or `on_round` returns false.
FEWBITS_API void run(Trainer& trainer, const std::function<bool(const RoundResult&)>& on_round);

inline constexpr std::size_t kSmoothedRounds = 5;

// A plan's score at each round: the mean of its last five evaluations (of all, where there are fewer).
// None before the first evaluation.
FEWBITS_API std::vector<std::optional<double>> smoothed_scores(std::span<const RoundResult> rounds);

// What a run comes to; scores are smoothed ones.
struct Summary {
  std::optional<double> best_score;
  std::optional<double> final_score;
  std::optional<std::uint32_t> rounds_to_target;        // first round that is as good as the target
  std::optional<std::uint64_t> upload_bytes_to_target;  // up to it and with it
  std::uint64_t upload_bytes = 0;
  std::uint64_t download_bytes = 0;
  double bits_per_coordinate = 0;                       // of a frame, on average
  double train_seconds = 0;
  double encode_seconds = 0;
  double decode_seconds = 0;
  double codec_time_share = 0;                          // (encode + decode) / (train + encode + decode)
};
FEWBITS_API Summary summarize(std::span<const RoundResult> rounds, std::size_t coordinates, const Metric& metric,
                              std::optional<double> target);

}  // namespace fewbits::federated
