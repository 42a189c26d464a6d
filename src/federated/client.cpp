#include "federated/client.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "datasets/variates.h"
#include "federated/sampling.h"
#include "federated/secure_mean.h"
#include "federated/stopwatch.h"

namespace fewbits::federated {

Worker::Worker(const Task& task, const Options& options, const Codec& codec)
    : task_(&task),
      options_(&options),
      model_(task.model()),
      encoder_(codec),
      fresh_(encoder_.save()),
      local_(codec.layout().elements()),
      personal_(task.personal),
      gradient_(codec.layout().elements()),
      update_(codec.elements()),
      free_gradient_(codec.structured() ? codec.elements() : 0) {}

Reply Worker::train(const Assignment& assignment, const Participant& participant) {
  Reply reply;
  Stopwatch watch;
  reply.loss = improve(assignment, participant);
  reply.personal = personal_;
  reply.train_seconds = watch.lap();
  if (assignment.clipping != nullptr) reply.within = clip(*assignment.clipping);
  const Context context{.seed = options_->seed,
                        .round = assignment.round,
                        .client = participant.client,
                        .cohort = {.index = participant.place, .size = assignment.cohort_size}};
  if (std::binary_search(assignment.observed.begin(), assignment.observed.end(), participant.client)) {
    (*assignment.see)({.round = assignment.round, .client = participant.client, .values = update_});
  }
  watch.lap();
  if (assignment.secure != nullptr) {
    reply.frame = assignment.secure->encode(participant, update_);
  } else if (assignment.states != nullptr) {
    reply.frame = assignment.states->encode(update_, context);
  } else {
    const std::span<const std::byte> frame = encode(*participant.codec, context);
    reply.frame.assign(frame.begin(), frame.end());
  }
  reply.encode_seconds = watch.lap();
  return reply;
}

// A client whose training has diverged sends nothing of note: whether one has is as private as the rest.
bool Worker::clip(const privacy::Clipping& clipping) {
  if (std::isfinite(privacy::norm_of(update_))) return clipping.clip(update_);
  std::ranges::fill(update_, 0.0f);
  return false;
}

std::span<const std::byte> Worker::encode(const Codec& codec, const Context& context) {
  // By the object, not by its fingerprint: codecs that differ in a wish alone have the same.
  if (&encoder_.codec().impl() != &codec.impl()) {
    encoder_ = Encoder(codec);
    fresh_ = encoder_.save();
  } else if (encoder_.save() != fresh_) {
    encoder_.restore(fresh_);
  }
  return encoder_.encode(update_, context);
}

// The client's model and input vector are in local_ and personal_ then, and what it sends in update_.
double Worker::improve(const Assignment& assignment, const Participant& participant) {
  std::copy(assignment.model.begin(), assignment.model.end(), local_.begin());
  std::fill(update_.begin(), update_.end(), 0.0f);
  personal_.assign(task_->personal, 0.0f);
  std::ranges::copy(participant.personal, personal_.begin());
  order_ = task_->clients.rows(participant.client);
  const auto first = order_.begin() + static_cast<std::ptrdiff_t>(participant.first_example);
  order_ = std::vector<std::uint32_t>(first, first + static_cast<std::ptrdiff_t>(participant.examples));

  double loss = 0;
  if (model_->descends()) {
    loss = descend({options_->epochs, options_->batch, assignment.learning_rate, assignment.prox},
                   batch_randomness(*options_, assignment.round, participant.client), assignment.model, assignment.family);
  } else {
    loss = model_->improve(local_, gatherer_.gather(task_->train, task_->shape, order_));
  }
  if (assignment.family == nullptr) {
    for (std::size_t i = 0; i < update_.size(); ++i) update_[i] = local_[i] - assignment.model[i];
  }
  return loss;
}

double Worker::descend(const Descent& descent, RandomReader random, std::span<const float> from, const Structure* family) {
  const auto rate = static_cast<float>(descent.learning_rate);
  const auto prox = static_cast<float>(descent.prox);
  double loss = 0;
  for (std::size_t epoch = 0; epoch < descent.epochs; ++epoch) {
    if (options_->stream == 0) datasets::shuffle(random, order_);
    for (std::size_t begin = 0; begin < order_.size(); begin += descent.batch) {
      const std::size_t rows = std::min(descent.batch, order_.size() - begin);
      loss += gradient_of(std::span(order_).subspan(begin, rows), descent.learning_rate) * static_cast<double>(rows);
      if (prox > 0)
        for (std::size_t i = 0; i < local_.size(); ++i) gradient_[i] += prox * (local_[i] - from[i]);
      if (family == nullptr) {
        for (std::size_t i = 0; i < local_.size(); ++i) local_[i] -= rate * gradient_[i];
        continue;
      }
      // Recomputed from the start, so that the model is exactly the member of the family that will be sent.
      family->pull_back(gradient_, free_gradient_);
      for (std::size_t i = 0; i < update_.size(); ++i) update_[i] -= rate * free_gradient_[i];
      std::copy(from.begin(), from.end(), local_.begin());
      family->expand_add(update_, local_);
    }
  }
  return loss / static_cast<double>(descent.epochs * order_.size());
}

// Moves the input vector along its own gradient; that of the model is in gradient_ then.
double Worker::gradient_of(std::span<const std::uint32_t> rows, double learning_rate) {
  const Examples batch = gatherer_.gather(task_->train, task_->shape, rows, personal_);
  if (personal_.empty()) return model_->loss_and_gradient(local_, batch, gradient_);
  const std::size_t width = task_->shape.features + personal_.size();
  features_gradient_.resize(rows.size() * width);
  const double loss = model_->loss_and_gradients(local_, batch, gradient_, features_gradient_);
  const auto rate = static_cast<float>(learning_rate * options_->personal_rate);
  for (std::size_t i = 0; i < personal_.size(); ++i) {
    float sum = 0;
    for (std::size_t row = 0; row < rows.size(); ++row) sum += features_gradient_[row * width + task_->shape.features + i];
    personal_[i] -= rate * sum;
  }
  return loss;
}

void Worker::fine_tune(std::span<float> model, std::vector<std::uint32_t> rows, const Descent& descent, std::uint32_t round,
                       std::uint32_t client, std::vector<float>& personal) {
  if (rows.empty()) return;
  std::ranges::copy(model, local_.begin());
  personal_ = personal;
  order_ = std::move(rows);
  const std::vector<float> from(model.begin(), model.end());
  descend(descent, batch_randomness(*options_, round, client), from, nullptr);
  std::ranges::copy(local_, model.begin());
  personal = personal_;
}

Score Worker::score(const Table& table, std::span<const std::uint32_t> rows, std::span<const float> parameters,
                    std::span<const float> personal) {
  return model_->score(parameters, gatherer_.gather(table, task_->shape, rows, personal));
}

}  // namespace fewbits::federated
