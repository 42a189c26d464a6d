#include "federated/client.h"

#include <algorithm>

#include "datasets/variates.h"
#include "federated/sampling.h"
#include "federated/stopwatch.h"

namespace fewbits::federated {

Worker::Worker(const Task& task, const Options& options, const Codec& codec)
    : task_(&task),
      options_(&options),
      model_(task.model()),
      encoder_(codec),
      fresh_(encoder_.save()),
      local_(codec.layout().elements()),
      gradient_(codec.layout().elements()),
      update_(codec.elements()),
      free_gradient_(codec.structured() ? codec.elements() : 0) {}

Reply Worker::train(const Assignment& assignment, std::uint32_t client, std::uint32_t place) {
  Reply reply;
  Stopwatch watch;
  reply.loss = descend(assignment, client);
  reply.train_seconds = watch.lap();
  const Context context{.seed = options_->seed,
                        .round = assignment.round,
                        .client = client,
                        .cohort = {.index = place, .size = assignment.cohort_size}};
  if (assignment.states != nullptr) {
    reply.frame = assignment.states->encode(update_, context);
  } else {
    const std::span<const std::byte> frame = encode(*assignment.codec, context);
    reply.frame.assign(frame.begin(), frame.end());
  }
  reply.encode_seconds = watch.lap();
  if (std::binary_search(assignment.observed.begin(), assignment.observed.end(), client)) {
    (*assignment.see)({.round = assignment.round, .client = client, .values = update_});
  }
  return reply;
}

std::span<const std::byte> Worker::encode(const Codec& codec, const Context& context) {
  if (encoder_.codec().fingerprint() != codec.fingerprint()) {
    encoder_ = Encoder(codec);
    fresh_ = encoder_.save();
  } else if (encoder_.save() != fresh_) {
    encoder_.restore(fresh_);
  }
  return encoder_.encode(update_, context);
}

double Worker::descend(const Assignment& assignment, std::uint32_t client) {
  std::copy(assignment.model.begin(), assignment.model.end(), local_.begin());
  std::fill(update_.begin(), update_.end(), 0.0f);
  order_ = task_->clients.rows(client);
  RandomReader random = batch_randomness(*options_, assignment.round, client);
  const auto rate = static_cast<float>(assignment.learning_rate);
  const auto prox = static_cast<float>(assignment.prox);
  double loss = 0;
  for (std::size_t epoch = 0; epoch < options_->epochs; ++epoch) {
    datasets::shuffle(random, order_);
    for (std::size_t begin = 0; begin < order_.size(); begin += options_->batch) {
      const std::size_t rows = std::min(options_->batch, order_.size() - begin);
      const Examples batch = gatherer_.gather(task_->train, task_->shape, std::span(order_).subspan(begin, rows));
      loss += model_->loss_and_gradient(local_, batch, gradient_) * static_cast<double>(rows);
      if (prox > 0)
        for (std::size_t i = 0; i < local_.size(); ++i) gradient_[i] += prox * (local_[i] - assignment.model[i]);
      if (assignment.family == nullptr) {
        for (std::size_t i = 0; i < local_.size(); ++i) local_[i] -= rate * gradient_[i];
        continue;
      }
      // Recomputed from the start, so that the model is exactly the member of the family that will be sent.
      assignment.family->pull_back(gradient_, free_gradient_);
      for (std::size_t i = 0; i < update_.size(); ++i) update_[i] -= rate * free_gradient_[i];
      std::copy(assignment.model.begin(), assignment.model.end(), local_.begin());
      assignment.family->expand_add(update_, local_);
    }
  }
  if (assignment.family == nullptr) {
    for (std::size_t i = 0; i < update_.size(); ++i) update_[i] = local_[i] - assignment.model[i];
  }
  return loss / static_cast<double>(options_->epochs * order_.size());
}

Score Worker::score(const Table& table, std::span<const std::uint32_t> rows, std::span<const float> parameters) {
  return model_->score(parameters, gatherer_.gather(table, task_->shape, rows));
}

}  // namespace fewbits::federated
