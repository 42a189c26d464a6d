#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "federated/client_states.h"
#include "federated/table.h"
#include "fewbits/codec.h"
#include "fewbits/federated/federated.h"
#include "fewbits/structure.h"

namespace fewbits::federated {

// What every client of a round is told.
struct Assignment {
  std::uint32_t round = 0;
  const Codec* codec = nullptr;       // of this round
  std::uint32_t cohort_size = 1;
  double learning_rate = 0;
  double prox = 0;
  std::span<const float> model;
  const Structure* family = nullptr;  // train inside it; null: all parameters
  ClientStates* states = nullptr;     // encode by what clients remember; null: they remember nothing
  std::span<const std::uint32_t> observed;  // clients of which `see` is shown the update, in order of their ids
  const std::function<void(const ClientUpdate&)>* see = nullptr;
};

struct Reply {
  std::vector<std::byte> frame;
  double loss = 0;                    // mean over the steps, by rows
  double train_seconds = 0;
  double encode_seconds = 0;
};

// Scratch of one thread, in which client after client trains, and evaluation runs.
class Worker {
 public:
  Worker(const Task& task, const Options& options, const Codec& codec);

  // Local SGD of `client`, which has this place in the cohort, from the round's model, its update encoded. Throws Error
  // when the codec refuses the update.
  Reply train(const Assignment& assignment, std::uint32_t client, std::uint32_t place);

  Score score(const Table& table, std::span<const std::uint32_t> rows, std::span<const float> parameters);

 private:
  std::span<const std::byte> encode(const Codec& codec, const Context& context);
  double descend(const Assignment& assignment, std::uint32_t client);

  const Task* task_;
  const Options* options_;
  std::unique_ptr<Model> model_;
  Encoder encoder_;                   // of one round after the other
  std::vector<std::byte> fresh_;      // the encoder when it remembers nothing: clients come and go between threads
  std::vector<std::uint32_t> order_;
  Gatherer gatherer_;
  std::vector<float> local_;          // the client's model
  std::vector<float> gradient_;
  std::vector<float> update_;         // what is sent: local - start, or the free parameters
  std::vector<float> free_gradient_;
};

}  // namespace fewbits::federated
