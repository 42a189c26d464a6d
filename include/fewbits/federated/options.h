#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "fewbits/error_feedback.h"
#include "fewbits/federated/links.h"
#include "fewbits/shift.h"

// What a federated training is told beside its task.
namespace fewbits::federated {

// User-level differential privacy (DP-FedAvg: McMahan, Ramage, Talwar, Zhang 2018, arXiv 1710.06963): updates are clipped by their
// clients, and again by the server once they are decoded; the sum, over a fixed denominator, gets discrete Gaussian noise. What
// is promised of the models, and of the scores on examples that are nobody's: (epsilon, delta) for each client with all its data.
struct PrivacyOptions {
  double clip = 1;                 // S: norm of an update, of free parameters in a structured family
  bool per_tensor = false;         // each of n tensors to S/√n
  bool adaptive = false;           // S follows the median of the norms (Andrew et al. 2021, arXiv 1905.03871); `clip` is the first
  double noise_multiplier = 0;     // z: noise of z·S on the sum. 0 without epsilon: clipping alone, and no promise
  std::optional<double> epsilon = {};   // instead: the budget of all rounds together. No round begins that would exceed it
  double delta = 0;                // less than 1 in the number of clients
  double examples_cap = 0;         // clients weigh min(examples/cap, 1); 0: all the same
  bool noise_by_clients = false;   // with secure aggregation: each adds its part, so that the sum itself is private (privacy/client_noise.h)
};

// Secure aggregation (secure/client.h): the server learns the sum of a round's updates, and none of them. For plans that are linear
// in integers at a common step (integers.h); step=auto in a plan is the step at which sums fit into the words.
struct SecureOptions {
  unsigned bits = 16;              // of a masked word
  std::size_t min_cohort = 10;     // a sum of fewer is not opened: the round comes to nothing
  std::size_t neighbours = 0;      // 0: by the cohort (secure/settings.h)
  std::size_t threshold = 0;
  std::string transcript = {};     // folder for all that the server sees, round by round
};

// Shared by all plans that are compared: they have the same initial model, clients in each round, and batches.
struct Options {
  std::uint64_t seed = 1;
  std::uint32_t rounds = 200;
  std::size_t clients_per_round = 10;        // drawn without replacement
  std::optional<double> client_probability = {};  // instead: each client takes part with this chance
  std::size_t epochs = 1;
  std::size_t batch = 32;
  std::uint32_t eval_every = 1;              // the last round is always evaluated
  std::size_t eval_examples = 0;             // over 0: on so many test examples, spread evenly over all
  std::size_t stream = 0;                    // over 0: clients see so many examples in each round that they take part in, in
                                             // their order, and never again; one that has seen all takes part no more
  double personal_rate = 30;                 // of the input vectors of Task::personal: so many times the learning rate; a
                                             // model's first layer makes their gradients small
  std::optional<PrivacyOptions> privacy = {};
  std::optional<SecureOptions> secure = {};
  std::optional<LinkOptions> links = {};     // a simulated network, with stragglers and losses
  std::size_t threads = 0;                   // 0: all cores. No result depends on it
};

// What clients remember between their frames (docs/codecs.md, error feedback and shifts).
enum class Feedback : std::uint8_t {
  kNone,
  kEf14,
  kEf21,
  kDgc,        // EF14 with momentum
  kDiana,
  kReference,  // all know the last mean
};

// How the server moves the model along the mean of the updates.
enum class ServerOptimizer : std::uint8_t {
  kSgd,    // velocity = momentum · velocity + mean; model += rate · velocity
  kAdam,   // FedAdam (Reddi et al. 2020, arXiv 2003.00295, algorithm 2), whose β1 is the momentum
};

struct PlanOptions {
  std::string plan = "f32";                  // bits=auto: what each client's link can carry by the deadline
  double learning_rate = 0.1;
  double learning_rate_decay = 1;            // factor of the clients' rate from round to round
  double server_learning_rate = 1;
  double server_momentum = 0;
  ServerOptimizer server = ServerOptimizer::kSgd;
  double server_beta2 = 0.99;                // of kAdam: of the mean of squares
  double server_tau = 1e-3;                  // of kAdam: added to their root
  double average = 0;                        // over 0: what is evaluated and released is an average of the models, in which a
                                             // round weighs this much less than the next one
  double prox = 0;                           // μ of FedProx (Li et al. 2018, arXiv 1812.06127): clients minimize their
                                             // loss + μ/2 · ‖w − the round's model‖²
  std::string downlink = {};                 // plan of the models that go down, as differences; empty: whole, as float32
  Feedback feedback = Feedback::kNone;
  FeedbackOptions error_feedback = {};       // of kEf14, kEf21 and kDgc, which decides its method
  ShiftOptions shift = {};                   // of kDiana
  std::optional<double> clip = {};           // instead of PrivacyOptions::clip
  bool private_step = false;                 // with scale=profile: clients choose steps of their own, not the profile's
};

}  // namespace fewbits::federated
