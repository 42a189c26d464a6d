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
#include "fewbits/privacy/clipping.h"
#include "fewbits/structure.h"
#include "kernels/random.h"

namespace fewbits::federated {

class SecureMean;

// What every client of a round is told.
struct Assignment {
  std::uint32_t round = 0;
  std::uint32_t cohort_size = 1;
  double learning_rate = 0;
  double prox = 0;
  std::span<const float> model;
  SecureMean* secure = nullptr;       // what clients send is for a secure sum; null: frames
  const privacy::Clipping* clipping = nullptr;   // of updates; null: they are sent as they are
  const Structure* family = nullptr;  // train inside it; null: all parameters
  ClientStates* states = nullptr;     // encode by what clients remember; null: they remember nothing
  std::span<const std::uint32_t> observed;  // clients of which `see` is shown the update, in order of their ids
  const std::function<void(const ClientUpdate&)>* see = nullptr;
};

// One of them.
struct Participant {
  std::uint32_t client = 0;
  std::uint32_t place = 0;                // in the cohort
  std::size_t first_example = 0;          // of its own, from which on it has some for this round
  std::size_t examples = 0;
  std::span<const float> personal = {};   // its input vector; empty before it has one
  const Codec* codec = nullptr;
};

struct Reply {
  std::vector<std::byte> frame;
  std::vector<float> personal;        // its input vector now, which stays with the client
  bool within = true;                 // nothing was clipped
  double loss = 0;                    // mean over the steps, by rows
  double train_seconds = 0;
  double encode_seconds = 0;
};

// What local training is, beside the model that it begins with.
struct Descent {
  std::size_t epochs = 1;
  std::size_t batch = 32;
  double learning_rate = 0;
  double prox = 0;
};

// Scratch of one thread, in which client after client trains, and evaluation runs.
class Worker {
 public:
  Worker(const Task& task, const Options& options, const Codec& codec);

  // Local training of a client from the round's model, its update encoded. Throws Error when the codec refuses the update.
  Reply train(const Assignment& assignment, const Participant& participant);

  // Trains `model`, a client's own, on these of its rows, with all that it has for itself.
  void fine_tune(std::span<float> model, std::vector<std::uint32_t> rows, const Descent& descent, std::uint32_t round,
                 std::uint32_t client, std::vector<float>& personal);

  Score score(const Table& table, std::span<const std::uint32_t> rows, std::span<const float> parameters,
              std::span<const float> personal);

 private:
  bool clip(const privacy::Clipping& clipping);
  std::span<const std::byte> encode(const Codec& codec, const Context& context);
  double improve(const Assignment& assignment, const Participant& participant);
  double descend(const Descent& descent, RandomReader random, std::span<const float> from, const Structure* family);
  double gradient_of(std::span<const std::uint32_t> rows, double learning_rate);

  const Task* task_;
  const Options* options_;
  std::unique_ptr<Model> model_;
  Encoder encoder_;                   // of one round after the other
  std::vector<std::byte> fresh_;      // the encoder when it remembers nothing: clients come and go between threads
  std::vector<std::uint32_t> order_;  // the client's rows
  Gatherer gatherer_;
  std::vector<float> local_;          // the client's model
  std::vector<float> personal_;       // and its input vector
  std::vector<float> gradient_;
  std::vector<float> features_gradient_;
  std::vector<float> update_;         // what is sent: local - start, or the free parameters
  std::vector<float> free_gradient_;
};

}  // namespace fewbits::federated
