#include <tbb/enumerable_thread_specific.h>
#include <tbb/global_control.h>
#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "federated/checkpoint.h"
#include "federated/client.h"
#include "federated/client_states.h"
#include "federated/round_codec.h"
#include "federated/sampling.h"
#include "federated/server_step.h"
#include "federated/score.h"
#include "federated/stopwatch.h"
#include "federated/table.h"
#include "fewbits/aggregator.h"
#include "fewbits/error.h"
#include "fewbits/federated/federated.h"
#include "fewbits/structure.h"

namespace fewbits::federated {
namespace {

// Frames that are held before they are aggregated: enough for many cores, few enough for cohorts of thousands.
constexpr std::size_t kFramesAtOnce = 64;
constexpr std::size_t kRowsPerEvaluation = 500;
constexpr std::size_t kMaxThreads = 1024;

void require(bool right, const std::string& what) {
  if (!right) throw Error(Errc::kBadArgument, what);
}

bool positive(double value) { return std::isfinite(value) && value > 0; }

void check(const Task& task) {
  require(task.model != nullptr, "the task has no model");
  require(task.shape.features > 0 && task.shape.targets > 0, "the task's examples have no features or no targets");
  check_table(task.train, task.shape, "training");
  check_table(task.test, task.shape, "test");
  require(rows_of(task.train, task.shape) > 0 && rows_of(task.test, task.shape) > 0,
          "the task has no training or no test examples");
  require(task.clients.count > 0 && task.clients.count <= 0xFFFF'FFFFu, "the task has no clients, or too many");
  require(task.clients.size != nullptr && task.clients.rows != nullptr, "the task does not say which rows clients have");
}

void check(const Options& options, const PlanOptions& plan, std::size_t clients) {
  require(options.rounds >= 1 && options.rounds <= kMaxRound,
          "rounds is " + std::to_string(options.rounds) + ", expected 1 to " + std::to_string(kMaxRound));
  require(options.epochs >= 1 && options.batch >= 1, "epochs and batch must be at least 1");
  require(options.eval_every >= 1, "eval-every must be at least 1");
  require(options.threads <= kMaxThreads, "threads is " + std::to_string(options.threads) + ", expected at most " +
                                              std::to_string(kMaxThreads));
  if (options.client_probability) {
    require(positive(*options.client_probability) && *options.client_probability <= 1,
            "client-probability is " + std::to_string(*options.client_probability) + ", expected over 0 and at most 1");
  } else {
    require(options.clients_per_round >= 1 && options.clients_per_round <= clients,
            "clients-per-round is " + std::to_string(options.clients_per_round) + ", expected 1 to the number of clients, " +
                std::to_string(clients));
  }
  require(positive(plan.learning_rate) && positive(plan.learning_rate_decay) && positive(plan.server_learning_rate),
          "lr, lr-decay and server-lr must be positive");
  for (const auto& [name, value] : {std::pair{"server-momentum", plan.server_momentum}, {"server-beta2", plan.server_beta2},
                                    {"average", plan.average}})
    require(value >= 0 && value < 1, std::string(name) + " must be at least 0 and less than 1");
  require(positive(plan.server_tau), "server-tau must be positive");
  require(std::isfinite(plan.prox) && plan.prox >= 0, "prox must be at least 0");
}

bool is_divergence(const Error& error) {
  return error.code() == Errc::kNotFinite || error.code() == Errc::kTooLarge;
}

// `count` of the clients, or all, at even distances.
std::vector<std::uint32_t> spread(const std::vector<std::uint32_t>& clients, std::size_t count) {
  std::vector<std::uint32_t> chosen(std::min(count, clients.size()));
  for (std::size_t i = 0; i < chosen.size(); ++i) chosen[i] = clients[i * clients.size() / chosen.size()];
  return chosen;
}

}  // namespace

struct Trainer::State {
  State(const Task& the_task, const Options& the_options, const PlanOptions& the_plan)
      : task((check(the_task), the_task)),
        options((check(the_options, the_plan, the_task.clients.count), the_options)),
        plan(the_plan),
        model(task.model()),
        codec(Codec::compile(plan.plan, model->layout()), plan.private_step),
        states(codec.plan(), plan, task.clients),
        arena(options.threads == 0 ? tbb::task_arena::automatic : static_cast<int>(options.threads)),
        workers([this] { return Worker(task, options, codec.plan()); }),
        parameters(model->layout().elements()),
        server(plan, parameters.size()) {
    // Without it an arena has no more threads than the machine has cores.
    if (options.threads > 0) {
      parallelism.emplace(tbb::global_control::max_allowed_parallelism, options.threads);
    }
    require(!codec.plan().takes_profile() || !states.active(),
            "scale=profile does not go with feedback=: what clients remember is of one codec");
    model->initialize(options.seed, parameters);
  }

  void stop(const std::string& why) { stopped = "diverged in round " + std::to_string(round + 1) + ": " + why; }

  // Replies of clients [begin, end) of the cohort, computed in parallel; an error in the place of its client.
  struct Outcome {
    Reply reply;
    std::optional<Error> refusal;
  };
  // `first`: the place of its first client in the cohort.
  std::vector<Outcome> train(const Assignment& assignment, std::span<const std::uint32_t> cohort, std::size_t first) {
    std::vector<Outcome> outcomes(cohort.size());
    arena.execute([&] {
      tbb::parallel_for(std::size_t{0}, cohort.size(), [&](std::size_t i) {
        try {
          outcomes[i].reply = workers.local().train(assignment, cohort[i], static_cast<std::uint32_t>(first + i));
        } catch (const Error& error) {
          if (!is_divergence(error)) throw;
          outcomes[i].refusal = error;
        }
      });
    });
    return outcomes;
  }

  std::optional<std::vector<float>> average(RoundResult& result);
  double evaluate();

  const Task& task;
  const Options options;
  const PlanOptions plan;
  std::unique_ptr<Model> model;
  RoundCodec codec;
  ClientStates states;
  std::optional<tbb::global_control> parallelism;
  tbb::task_arena arena;
  tbb::enumerable_thread_specific<Worker> workers;

  std::size_t observed_clients = 0;
  std::function<void(const ClientUpdate&)> see;

  std::uint32_t round = 0;
  std::string stopped;
  std::uint64_t frames = 0;
  std::uint64_t upload_bytes = 0;
  std::uint64_t download_bytes = 0;
  std::vector<float> parameters;
  ServerStep server;
};

// The weighted mean of the cohort's updates, and what it cost. None when training has diverged; empty when nobody sent.
std::optional<std::vector<float>> Trainer::State::average(RoundResult& result) {
  std::vector<std::uint32_t> cohort = sample_clients(options, task.clients.count, result.round);
  std::erase_if(cohort, [&](std::uint32_t client) { return task.clients.size(client) == 0; });
  std::optional<Structure> family;
  if (codec.now().structured()) family.emplace(codec.now(), RoundContext{options.seed, result.round});
  const std::vector<std::uint32_t> observed = spread(cohort, observed_clients);
  const Assignment assignment{
      .round = result.round,
      .codec = &codec.now(),
      .cohort_size = static_cast<std::uint32_t>(std::max<std::size_t>(cohort.size(), 1)),
      .learning_rate = plan.learning_rate * std::pow(plan.learning_rate_decay, result.round - 1),
      .prox = plan.prox,
      .model = parameters,
      .family = family ? &*family : nullptr,
      .states = states.active() ? &states : nullptr,
      .observed = observed,
      .see = &see};
  states.begin_round(cohort);
  result.download_bytes = cohort.size() * (sizeof(float) * parameters.size() + states.download_bytes() + codec.download_bytes());

  Aggregator sum(codec.now(), {options.seed, result.round, assignment.cohort_size});
  for (std::size_t begin = 0; begin < cohort.size(); begin += kFramesAtOnce) {
    const auto part = std::span(cohort).subspan(begin, std::min(kFramesAtOnce, cohort.size() - begin));
    const std::vector<Outcome> outcomes = train(assignment, part, begin);
    Stopwatch watch;
    for (std::size_t i = 0; i < part.size(); ++i) {
      const std::size_t examples = task.clients.size(part[i]);
      try {
        if (outcomes[i].refusal) throw *outcomes[i].refusal;
        sum.add(outcomes[i].reply.frame, {.client = part[i],
                                           .weight = static_cast<double>(examples),
                                           .cohort_index = static_cast<std::uint32_t>(begin + i)});
      } catch (const Error& error) {
        if (!is_divergence(error)) throw;
        stop("the update of client " + std::to_string(part[i]) + " was refused: " + error.what());
        return std::nullopt;
      }
      const Reply& reply = outcomes[i].reply;
      ++result.clients;
      result.examples += examples;
      result.loss += reply.loss * static_cast<double>(examples);
      result.train_seconds += reply.train_seconds;
      result.encode_seconds += reply.encode_seconds;
      result.upload_bytes += reply.frame.size();
    }
    result.decode_seconds += watch.lap();
  }
  if (result.clients == 0) return std::vector<float>();
  result.loss /= static_cast<double>(result.examples);

  Stopwatch watch;
  std::vector<float> mean;
  try {
    mean = states.finish_round(sum);
    codec.learn(sum);
  } catch (const Error& error) {
    if (!is_divergence(error)) throw;
    stop(std::string("the mean was refused: ") + error.what());
    return std::nullopt;
  }
  if (family) {
    std::vector<float> update(parameters.size());
    family->expand(mean, update);
    mean = std::move(update);
  }
  result.decode_seconds += watch.lap();
  return mean;
}

double Trainer::State::evaluate() {
  const std::size_t all = rows_of(task.test, task.shape);
  const std::size_t rows = options.eval_examples == 0 ? all : std::min(options.eval_examples, all);
  std::vector<Score> scores((rows + kRowsPerEvaluation - 1) / kRowsPerEvaluation);
  arena.execute([&] {
    tbb::parallel_for(std::size_t{0}, scores.size(), [&](std::size_t part) {
      std::vector<std::uint32_t> chosen;
      for (std::size_t row = part * kRowsPerEvaluation; row < std::min(rows, (part + 1) * kRowsPerEvaluation); ++row) {
        chosen.push_back(static_cast<std::uint32_t>(row * all / rows));
      }
      scores[part] = workers.local().score(task.test, chosen, server.released(parameters));
    });
  });
  return value_of(std::span<const Score>(scores), model->metric());
}

Trainer::Trainer(const Task& task, const Options& options, const PlanOptions& plan)
    : state_(std::make_unique<State>(task, options, plan)) {}
Trainer::~Trainer() = default;
Trainer::Trainer(Trainer&&) noexcept = default;
Trainer& Trainer::operator=(Trainer&&) noexcept = default;

std::optional<RoundResult> Trainer::step() {
  State& s = *state_;
  if (done()) throw Error(Errc::kBadArgument, "the trainer is done after round " + std::to_string(s.round));
  Stopwatch watch;
  RoundResult result;
  result.round = s.round + 1;
  const std::optional<std::vector<float>> mean = s.average(result);
  if (!mean) return std::nullopt;
  if (!mean->empty() && !s.server.apply(*mean, s.parameters)) {
    s.stop("the model is no longer finite");
    return std::nullopt;
  }
  s.round = result.round;
  result.upload_bytes = s.upload_bytes += result.upload_bytes;
  result.download_bytes = s.download_bytes += result.download_bytes;
  result.frames = s.frames += result.clients;
  if (s.round % s.options.eval_every == 0 || s.round == s.options.rounds) result.score = s.evaluate();
  result.seconds = watch.lap();
  return result;
}

void Trainer::observe(std::size_t clients, std::function<void(const ClientUpdate&)> see) {
  state_->observed_clients = see ? clients : 0;
  state_->see = std::move(see);
}

std::uint32_t Trainer::round() const noexcept { return state_->round; }
bool Trainer::done() const noexcept { return state_->round == state_->options.rounds || !state_->stopped.empty(); }
const std::string& Trainer::stopped() const noexcept { return state_->stopped; }
const Codec& Trainer::codec() const noexcept { return state_->codec.plan(); }
const Layout& Trainer::layout() const noexcept { return state_->model->layout(); }
Metric Trainer::metric() const noexcept { return state_->model->metric(); }
std::span<const float> Trainer::parameters() const noexcept { return state_->parameters; }
std::span<const float> Trainer::released() const noexcept { return state_->server.released(state_->parameters); }

std::vector<std::byte> Trainer::save() const {
  const State& s = *state_;
  return Checkpoint{.fingerprint = s.codec.plan().fingerprint(), .seed = s.options.seed, .round = s.round, .frames = s.frames,
                    .upload_bytes = s.upload_bytes, .download_bytes = s.download_bytes, .stopped = s.stopped,
                    .parameters = s.parameters, .server = s.server.state(), .states = s.states.save(),
                    .profile = s.codec.save()}
      .to_bytes();
}

void Trainer::restore(std::span<const std::byte> bytes) {
  State& s = *state_;
  Checkpoint saved = Checkpoint::from_bytes(bytes);
  require(saved.fingerprint == s.codec.plan().fingerprint() && saved.seed == s.options.seed &&
              saved.parameters.size() == s.parameters.size() && s.server.takes(saved.server) &&
              saved.round <= s.options.rounds,
          "checkpoint is of another plan, model, seed, server's optimizer or number of rounds");
  s.states.restore(saved.states);
  s.codec.restore(saved.profile);
  s.round = static_cast<std::uint32_t>(saved.round);
  s.frames = saved.frames;
  s.upload_bytes = saved.upload_bytes;
  s.download_bytes = saved.download_bytes;
  s.stopped = std::move(saved.stopped);
  s.parameters = std::move(saved.parameters);
  s.server.restore(std::move(saved.server));
}

void run(Trainer& trainer, const std::function<bool(const RoundResult&)>& on_round) {
  while (!trainer.done()) {
    const std::optional<RoundResult> result = trainer.step();
    if (result && !on_round(*result)) return;
  }
}

}  // namespace fewbits::federated
