#pragma once

#include <tbb/enumerable_thread_specific.h>
#include <tbb/global_control.h>
#include <tbb/task_arena.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "federated/checkpoint.h"
#include "federated/client.h"
#include "federated/client_memory.h"
#include "federated/client_states.h"
#include "federated/model_sender.h"
#include "federated/private_rounds.h"
#include "federated/round_codec.h"
#include "federated/secure_mean.h"
#include "federated/server_step.h"
#include "fewbits/aggregator.h"
#include "fewbits/error.h"
#include "fewbits/federated/federated.h"
#include "fewbits/secure/system_random.h"

namespace fewbits::federated {

// Errors of training that has gone astray, not of settings: what is not finite, or too large.
bool is_divergence(const Error& error);

struct Trainer::State {
  State(const Task& the_task, const Options& the_options, const PlanOptions& the_plan);

  void stop(const std::string& why) { stopped = "diverged in round " + std::to_string(round + 1) + ": " + why; }

  // The weighted mean of a round's updates, and what it cost so far this round. None when training has diverged; empty when
  // nobody's update arrived.
  std::optional<std::vector<float>> average(RoundResult& result);
  RoundCodec new_codec() const;   // of a training that has not begun
  std::optional<RoundResult> train_round();
  double evaluate();
  Checkpoint checkpoint(ClientStates::Saved saved_states) const;

  const Task& task;
  const Options options;
  const PlanOptions plan;
  std::unique_ptr<Model> model;
  RoundCodec codec;
  ClientStates states;
  std::optional<Links> links;
  std::optional<SecureMean> secure;
  std::optional<PrivateRounds> privacy;
  secure::SystemRandom secrets;          // of all that must not follow from the seed
  std::optional<tbb::global_control> parallelism;
  tbb::task_arena arena;
  tbb::enumerable_thread_specific<Worker> workers;

  std::size_t observed_clients = 0;
  std::function<void(const ClientUpdate&)> see;

  std::uint32_t round = 0;
  std::string stopped;
  std::optional<RoundResult> unscored;   // of the last round, whose evaluation has thrown
  Totals totals;
  std::vector<float> parameters;
  ServerStep server;
  ModelSender sender;
  ClientMemories memories;

 private:
  // An error in the place of its client.
  struct Outcome {
    Reply reply;
    std::optional<Error> refusal;
  };
  // What a round comes to, kept only when it ends well.
  struct Round {
    RoundResult& result;
    std::vector<Participant> cohort;
    std::vector<std::vector<float>> personal = {};   // by place in the cohort
    std::vector<std::uint32_t> arrived = {};         // rising ids
    Aggregator sum;
    std::optional<privacy::PrivateSum> private_sum = {};   // instead, with privacy
    PrivateRounds::Within within = {};
  };

  PrivateRounds* private_rounds() noexcept { return privacy ? &*privacy : nullptr; }
  void note_privacy(RoundResult& result) const;
  // False where they are too few for a sum that is opened.
  bool begin_secure(std::span<const Participant> cohort, const RoundContext& context);
  std::vector<float> open(Round& of);
  void check_combinations() const;
  std::vector<std::uint32_t> sample(std::uint32_t of_round);
  std::vector<Participant> choose(std::uint32_t of_round);
  std::uint64_t download_bytes(std::uint32_t client) const;
  ClientWork work_of(const Participant& participant) const;
  std::vector<Outcome> train(const Assignment& assignment, std::span<const Participant> cohort);

  // False when training has diverged.
  void add_private(Round& of, const Participant& participant, const Reply& reply);
  bool add(Round& of, const Participant& participant, const Outcome& outcome);
  bool train_all(Round& of, const Assignment& assignment);
  bool deliver(Round& of, std::span<const Outcome> outcomes);
  std::vector<float> release(Round& of);
  void remember(const Round& of);
};

}  // namespace fewbits::federated
