#include "federated/canary.h"

#include <mutex>
#include <utility>

#include "federated/table.h"
#include "fewbits/error.h"
#include "fewbits/privacy/clipping.h"

namespace fewbits::federated {
namespace {

void require(bool right, const std::string& what) {
  if (!right) throw Error(Errc::kBadArgument, what);
}

// One round, scored on one example.
Options one_round(Options options) {
  options.rounds = 1;
  options.eval_every = 1;
  options.eval_examples = 1;
  return options;
}

// Clients that the denominator counts.
double with_examples(const Clients& clients) {
  double count = 0;
  for (std::uint32_t client = 0; client < clients.count; ++client) count += clients.size(client) > 0 ? 1 : 0;
  return count;
}

Task without(Task task, std::uint32_t canary) {
  task.clients.size = [size = task.clients.size, canary](std::uint32_t client) { return client == canary ? 0 : size(client); };
  task.clients.rows = [rows = task.clients.rows, canary](std::uint32_t client) {
    return client == canary ? std::vector<std::uint32_t>() : rows(client);
  };
  return task;
}

}  // namespace

CanaryRound::CanaryRound(const Task& task, const Options& options, const PlanOptions& plan, std::uint32_t canary)
    : with_(task), without_(without(task, canary)), options_(one_round(options)), plan_(plan) {
  require(options.privacy.has_value() && options.privacy->examples_cap == 0 && !options.privacy->epsilon,
          "an audit is of a round with privacy, whose clients weigh the same and whose noise is given");
  require(canary < task.clients.count && task.clients.size(canary) > 0, "the canary has no examples");
  require(plan.server == ServerOptimizer::kSgd && plan.average == 0, "an audit reads the mean of the updates: leave the server's optimizer out");
  Options plain = options_;
  plain.privacy.reset();
  plain.client_probability = 1;
  Trainer trainer(with_, plain, {.learning_rate = plan.learning_rate, .prox = plan.prox});
  require(!Codec::compile(plan.plan, trainer.layout()).structured(), "an audit does not go with a structured family");
  std::mutex mutex;
  trainer.observe(task.clients.count, [&](const ClientUpdate& update) {
    if (update.client != canary) return;
    const std::lock_guard lock(mutex);
    direction_.assign(update.values.begin(), update.values.end());
  });
  run(trainer, [](const RoundResult&) { return true; });
  require(!direction_.empty(), "the canary has sent nothing");
  norm_ = privacy::norm_of(direction_);
  require(norm_ > 0, "the canary's update is zero");
  for (float& value : direction_) value = static_cast<float>(value / norm_);
}

std::vector<float> CanaryRound::sum(bool with_canary) const {
  const Task& task = with_canary ? with_ : without_;
  Trainer trainer(task, options_, plan_);
  std::vector<float> sum(trainer.parameters().begin(), trainer.parameters().end());
  run(trainer, [](const RoundResult&) { return true; });
  require(trainer.stopped().empty(), "the audited round: " + trainer.stopped());
  const double denominator = options_.client_probability.value_or(1) * with_examples(task.clients) / plan_.server_learning_rate;
  for (std::size_t i = 0; i < sum.size(); ++i)
    sum[i] = static_cast<float>((static_cast<double>(trainer.parameters()[i]) - sum[i]) * denominator);
  return sum;
}

privacy::AuditClaim CanaryRound::claim() const {
  return {.z = options_.privacy->noise_multiplier, .q = options_.client_probability.value_or(1), .delta = options_.privacy->delta};
}

privacy::AuditResult CanaryRound::audit(const privacy::AuditClaim& claim, const privacy::AuditOptions& options) const {
  return privacy::audit([this](std::size_t, bool with_canary) { return sum(with_canary); }, privacy::along(direction_), claim, options);
}

privacy::AuditResult audit_canary(const Task& task, double noise_multiplier, const CanaryOptions& options) {
  const std::size_t rows = rows_of(task.train, task.shape), each = options.examples;
  require(options.clients >= 2 && each >= 1 && options.clients * each <= rows,
          "an audit has at least two clients, each with an example of its own out of " + std::to_string(rows));
  Task small = task;
  small.clients = {.count = options.clients,
                   .size = [each](std::uint32_t) { return each; },
                   .rows = [each, apart = rows / (options.clients * each)](std::uint32_t client) {
                     std::vector<std::uint32_t> own;
                     for (std::size_t i = 0; i < each; ++i) own.push_back(static_cast<std::uint32_t>((client * each + i) * apart));
                     return own;
                   }};
  Options round{.seed = options.seed, .client_probability = 1, .threads = 1};
  round.privacy = PrivacyOptions{.noise_multiplier = noise_multiplier, .delta = options.delta};
  const PlanOptions plan{.plan = options.plan, .learning_rate = options.learning_rate};
  round.privacy->clip = CanaryRound(small, round, plan, 0).norm() / 2;
  const CanaryRound canary(small, round, plan, 0);
  privacy::AuditOptions audit = options.audit;
  audit.best_statistic = options.plan == "f32";
  return canary.audit(canary.claim(), audit);
}

}  // namespace fewbits::federated
