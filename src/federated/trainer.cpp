#include <tbb/info.h>
#include <tbb/parallel_for.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "federated/score.h"
#include "federated/stopwatch.h"
#include "federated/table.h"
#include "federated/trainer_state.h"

namespace fewbits::federated {
namespace {

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
  require(std::ranges::all_of(task.test_rows, [&](std::uint32_t row) { return row < rows_of(task.test, task.shape); }),
          "the task has a row of the test examples that there is not");
  require(task.clients.count > 0 && task.clients.count <= 0xFFFF'FFFFu, "the task has no clients, or too many");
  require(task.clients.size != nullptr && task.clients.rows != nullptr, "the task does not say which rows clients have");
}

void check(const Options& options, const PlanOptions& plan, std::size_t clients) {
  require(options.rounds >= 1 && options.rounds <= kMaxRound,
          "rounds is " + std::to_string(options.rounds) + ", expected 1 to " + std::to_string(kMaxRound));
  require(options.epochs >= 1 && options.batch >= 1, "epochs and batch must be at least 1");
  require(options.eval_every >= 1, "eval-every must be at least 1");
  require(positive(options.personal_rate), "personal-rate must be positive");
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

std::vector<float> initial_model(const Task& task, const Model& model, std::uint64_t seed) {
  std::vector<float> parameters(model.layout().elements());
  if (task.start.empty()) {
    model.initialize(seed, parameters);
    return parameters;
  }
  require(task.start.size() == parameters.size(), "the model to begin with has " + std::to_string(task.start.size()) +
                                                      " parameters, this one has " + std::to_string(parameters.size()));
  require(std::ranges::all_of(task.start, [](float value) { return std::isfinite(value); }),
          "the model to begin with has a parameter that is NaN or infinite");
  std::ranges::copy(task.start, parameters.begin());
  return parameters;
}

}  // namespace

Trainer::State::State(const Task& the_task, const Options& the_options, const PlanOptions& the_plan)
    : task((check(the_task), the_task)),
      options((check(the_options, the_plan, the_task.clients.count), the_options)),
      plan(the_plan),
      model(task.model()),
      codec(new_codec()),
      states(codec.plan(), plan, task.clients),
      arena(options.threads == 0 ? tbb::task_arena::automatic : static_cast<int>(options.threads)),
      workers([this] { return Worker(task, options, codec.plan()); }),
      parameters(initial_model(task, *model, options.seed)),
      server(plan, parameters.size()),
      sender(plan.downlink, model->layout(), parameters, options.seed) {
  // Without it an arena has no more threads than the machine has cores; with it no other trainer has more than this one.
  if (options.threads > static_cast<std::size_t>(tbb::info::default_concurrency())) {
    parallelism.emplace(tbb::global_control::max_allowed_parallelism, options.threads);
  }
  if (options.links) links.emplace(*options.links, options.seed);
  if (options.secure) secure.emplace(*options.secure, plan.plan, model->layout());
  if (options.privacy) {
    PrivacyOptions own = *options.privacy;
    own.clip = plan.clip.value_or(own.clip);
    privacy.emplace(own, options, codec.plan(), secure ? secure->values() : codec.plan().elements(), task.clients);
  }
  check_combinations();
}

RoundCodec Trainer::State::new_codec() const {
  return {options.secure ? SecureMean::with_step(plan.plan) : plan.plan, model->layout(), plan.private_step};
}

void Trainer::State::check_combinations() const {
  require(!codec.plan().takes_profile() || !states.active(),
          "scale=profile does not go with feedback=: what clients remember is of one codec");
  require(!codec.rates_differ() || (links && links->options().deadline),
          "bits=auto needs links with a deadline: rates are what they carry until then");
  require(!codec.rates_differ() || !states.active(),
          "bits=auto does not go with feedback=: what clients remember is of one rate");
  require(options.stream == 0 || options.epochs == 1, "a stream is seen once: it goes with one epoch alone");
  require(options.stream == 0 || (plan.feedback != Feedback::kEf21 && plan.feedback != Feedback::kDiana),
          "a stream does not go with feedback=ef21 or diana: a client must weigh the same in each round");
  require(!plan.clip || privacy, "clip= of a plan goes with --clip: updates are clipped in all plans, or in none");
  require(!secure || (!states.active() && !codec.rates_differ() && !codec.plan().takes_profile()),
          "secure aggregation does not go with feedback=, bits=auto and scale=profile: the server sees no update, and steps are the same for all");
  require(!secure || !options.privacy || !options.privacy->adaptive,
          "secure aggregation does not go with an adaptive norm, which needs a count of the clients within it");
  require(!privacy || !codec.plan().takes_profile(),
          "privacy does not go with scale=profile: the server learns a profile from single updates");
  require(!privacy || !states.active(), "privacy does not go with feedback=: what clients remember of earlier rounds is not clipped");
  require(model->descends() || (options.stream == 0 && !codec.plan().structured() && task.personal == 0 && plan.prox == 0),
          "this model is not trained by descent: it goes with no stream, no input vector, no prox and no plan with train=");
}

double Trainer::State::evaluate() {
  const std::size_t all = task.test_rows.empty() ? rows_of(task.test, task.shape) : task.test_rows.size();
  const std::size_t rows = options.eval_examples == 0 ? all : std::min(options.eval_examples, all);
  const std::vector<float> no_personal(task.personal);
  std::vector<Score> scores((rows + kRowsPerEvaluation - 1) / kRowsPerEvaluation);
  arena.execute([&] {
    tbb::parallel_for(std::size_t{0}, scores.size(), [&](std::size_t part) {
      std::vector<std::uint32_t> chosen;
      for (std::size_t row = part * kRowsPerEvaluation; row < std::min(rows, (part + 1) * kRowsPerEvaluation); ++row) {
        const std::size_t at = row * all / rows;
        chosen.push_back(task.test_rows.empty() ? static_cast<std::uint32_t>(at) : task.test_rows[at]);
      }
      scores[part] = workers.local().score(task.test, chosen, server.released(parameters), no_personal);
    });
  });
  return value_of(std::span<const Score>(scores), model->metric());
}

Trainer::Trainer(const Task& task, const Options& options, const PlanOptions& plan)
    : state_(std::make_unique<State>(task, options, plan)) {}
Trainer::~Trainer() = default;
Trainer::Trainer(Trainer&&) noexcept = default;
Trainer& Trainer::operator=(Trainer&&) noexcept = default;

std::optional<RoundResult> Trainer::State::train_round() {
  if (privacy && !privacy->exhausted().empty()) {
    stopped = "ended after round " + std::to_string(round) + ": " + privacy->exhausted();
    return std::nullopt;
  }
  RoundResult result;
  result.round = round + 1;
  const std::optional<std::vector<float>> mean = average(result);
  if (!mean) return std::nullopt;
  if (!mean->empty() && !server.apply(*mean, parameters)) {
    stop("the model is no longer finite");
    return std::nullopt;
  }
  round = result.round;
  result.upload_bytes = totals.upload_bytes += result.upload_bytes;
  result.wasted_bytes = totals.wasted_bytes += result.wasted_bytes;
  result.download_bytes = totals.download_bytes += result.download_bytes;
  result.simulated_seconds = totals.simulated_seconds += result.simulated_seconds;
  result.frames = totals.frames += result.clients;
  return result;
}

std::optional<RoundResult> Trainer::step() {
  State& s = *state_;
  if (done()) throw Error(Errc::kBadArgument, "the trainer is done after round " + std::to_string(s.round));
  Stopwatch watch;
  if (!s.unscored) s.unscored = s.train_round();
  if (!s.unscored) return std::nullopt;
  if (s.round % s.options.eval_every == 0 || s.round == s.options.rounds) s.unscored->score = s.evaluate();
  RoundResult result = *std::exchange(s.unscored, std::nullopt);
  result.seconds = watch.lap();
  return result;
}

void Trainer::observe(std::size_t clients, std::function<void(const ClientUpdate&)> see) {
  state_->observed_clients = see ? clients : 0;
  state_->see = std::move(see);
}

std::uint32_t Trainer::round() const noexcept { return state_->round; }
bool Trainer::done() const noexcept {
  return (state_->round == state_->options.rounds && !state_->unscored) || !state_->stopped.empty();
}
const std::string& Trainer::stopped() const noexcept { return state_->stopped; }
std::optional<double> Trainer::noise_multiplier() const noexcept {
  if (!state_->privacy || state_->privacy->noise_multiplier() == 0) return std::nullopt;
  return state_->privacy->noise_multiplier();
}
const Codec& Trainer::codec() const noexcept { return state_->codec.plan(); }
const Layout& Trainer::layout() const noexcept { return state_->model->layout(); }
Metric Trainer::metric() const noexcept { return state_->model->metric(); }
std::span<const float> Trainer::parameters() const noexcept { return state_->parameters; }
std::span<const float> Trainer::released() const noexcept { return state_->server.released(state_->parameters); }

Checkpoint Trainer::State::checkpoint(ClientStates::Saved saved_states) const {
  return {.fingerprint = codec.plan().fingerprint(), .seed = options.seed, .round = round, .totals = totals,
          .clip = privacy ? privacy->norm() : 0, .last_norm = secure ? secure->last_norm() : 0, .stopped = stopped,
          .parameters = parameters, .server = server.state(), .states = std::move(saved_states), .profile = codec.save(),
          .downlink = sender.save(), .memories = memories.save()};
}

std::vector<std::byte> Trainer::save() const { return state_->checkpoint(state_->states.save()).to_bytes(); }

Trainer::Changes Trainer::save_changes() {
  ClientStates::Saved saved = state_->states.save_changes();
  Changes changes{.rest = {}, .clients = std::move(saved.clients)};
  saved.clients.clear();
  changes.rest = state_->checkpoint(std::move(saved)).to_bytes();
  return changes;
}

void Trainer::restore(std::span<const std::byte> bytes) {
  State& s = *state_;
  Checkpoint saved = Checkpoint::from_bytes(bytes);
  require(saved.fingerprint == s.codec.plan().fingerprint() && saved.seed == s.options.seed &&
              saved.parameters.size() == s.parameters.size() && s.server.takes(saved.server) &&
              saved.round <= s.options.rounds && (saved.clip > 0) == s.privacy.has_value(),
          "checkpoint is of another plan, model, seed, server's optimizer, privacy or number of rounds");
  ClientStates states(s.codec.plan(), s.plan, s.task.clients);
  states.restore(saved.states);
  RoundCodec codec = s.new_codec();
  codec.restore(saved.profile);
  ClientMemories memories;
  memories.restore(saved.memories);
  s.sender.restore(saved.downlink);   // nothing is refused behind it
  s.states = std::move(states);
  s.codec = std::move(codec);
  s.memories = std::move(memories);
  s.round = static_cast<std::uint32_t>(saved.round);
  s.unscored.reset();
  s.totals = saved.totals;
  s.stopped = std::move(saved.stopped);
  if (s.privacy) s.privacy->restore(s.round, saved.clip);
  if (s.secure) s.secure->restore(saved.last_norm);
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
