#include "federated/attack.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <tuple>
#include <utility>

#include "federated/client.h"
#include "federated/table.h"
#include "fewbits/aggregator.h"
#include "fewbits/error.h"
#include "fewbits/privacy/private_sum.h"
#include "fewbits/secure/system_random.h"

namespace fewbits::federated {
namespace {

constexpr double kErrors = 3;          // standard errors that are no chance
constexpr double kLeastNorm = 1e-15;   // to clip to, of updates that are next to nothing

void require(bool right, const std::string& what) {
  if (!right) throw Error(Errc::kBadArgument, what);
}

void check(const Task& task, const AttackOptions& options) {
  require(options.runs >= 2, "runs is " + std::to_string(options.runs) + ", expected at least 2");
  require(task.shape.classes > 0 && task.shape.tokens == 0 && task.shape.targets == 1 && task.personal == 0,
          "attacked are images that are put into classes; these examples are none");
  const Layout layout = task.model()->layout();
  const auto& tensors = layout.tensors();
  require(tensors.size() >= 2 && tensors[0].shape.size() == 2 && tensors[0].shape[0] == task.shape.features && tensors[1].shape.size() == 1,
          "attacked is a first layer that is dense, with biases: choose model softmax or mlp");
  for (const AttackSetting& setting : options.settings) {
    require(setting.local_steps >= 1 && setting.batch >= 1 && setting.clients >= 1, "local steps, batch and clients of an attack are at least 1");
    require(setting.batch * setting.clients < rows_of(task.train, task.shape), "the attack takes more images than there are");
  }
}

double dot(std::span<const float> a, std::span<const float> b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

double cosine(std::span<const float> a, std::span<const float> b) {
  const double lengths = std::sqrt(dot(a, a) * dot(b, b));
  return lengths > 0 ? dot(a, b) / lengths : 0;
}

Spread spread(const std::vector<double>& values) {
  const std::vector<std::optional<double>> all(values.begin(), values.end());
  return *spread_of(all);
}

// Pairs differ by more than chance.
bool clearly_above(const std::vector<double>& values, const std::vector<double>& others) {
  std::vector<double> differences;
  for (std::size_t i = 0; i < values.size(); ++i) differences.push_back(values[i] - others[i]);
  const Spread of = spread(differences);
  return of.mean > kErrors * *of.deviation / std::sqrt(static_cast<double>(of.count));
}

// The images of one run, and clients that have them.
class Attacker {
 public:
  Attacker(const Task& task, const AttackOptions& options) : options_(options), task_(task), model_(task.model()) {
    task_.clients = {.count = 1,
                     .size = [this](std::uint32_t) { return setting_->batch; },
                     .rows = [this](std::uint32_t client) {
                       const auto first = rows_.begin() + static_cast<std::ptrdiff_t>(client * setting_->batch);
                       return std::vector<std::uint32_t>(first, first + static_cast<std::ptrdiff_t>(setting_->batch));
                     }};
    for (const AttackSetting& setting : options.settings) most_ = std::max(most_, setting.batch * setting.clients);
    if (options.warm_rounds > 0) warm_ = warmed_up(task);
    start_.resize(model_->layout().elements());
  }

  std::span<const float> image(std::uint32_t row) const { return task_.train.x.subspan(row * task_.shape.features, task_.shape.features); }
  const Layout& layout() const { return model_->layout(); }

  // Which images are whose: row 0 is the victim's, the last one nobody's.
  const std::vector<std::uint32_t>& begin(std::size_t run) {
    run_ = static_cast<std::uint32_t>(run);
    RandomReader random(stream_key({static_cast<std::uint64_t>(Purpose::kSynthetic), options_.seed, run}));
    const std::size_t all = rows_of(task_.train, task_.shape);
    rows_.clear();
    while (rows_.size() < most_ + 1) {
      const auto row = static_cast<std::uint32_t>(random.below(all));
      if (std::ranges::find(rows_, row) == rows_.end()) rows_.push_back(row);
    }
    if (warm_.empty()) {
      model_->initialize(random.next64(), start_);
    } else {
      start_ = warm_;
    }
    return rows_;
  }

  // What is seen of the clients' updates.
  std::vector<float> see(const AttackSetting& setting, double& bits_per_coordinate) {
    setting_ = &setting;
    Training& training = of(setting);
    const auto cohort = static_cast<std::uint32_t>(setting.clients);
    Aggregator sum(training.codec, {options_.seed, run_, cohort});
    Assignment assignment;
    assignment.round = run_;
    assignment.cohort_size = cohort;
    assignment.learning_rate = options_.learning_rate;
    assignment.model = start_;
    std::size_t bytes = 0;
    for (std::uint32_t client = 0; client < cohort; ++client) {
      const Reply reply = training.worker->train(assignment, {.client = client, .place = client, .examples = setting.batch, .codec = &training.codec});
      sum.add(reply.frame, {.client = client, .cohort_index = client});
      bytes += reply.frame.size();
    }
    bits_per_coordinate = 8 * static_cast<double>(bytes) / (static_cast<double>(start_.size()) * cohort);
    std::vector<float> mean = sum.mean();
    if (setting.noise_multiplier == 0) return mean;
    privacy::PrivateSum noisy(privacy::Clipping::whole(mean.size(), std::max(privacy::norm_of(mean), kLeastNorm)), setting.noise_multiplier);
    noisy.add(mean);
    return noisy.release(1, secrets_);
  }

 private:
  struct Training {
    Training(const Task& task, const AttackSetting& setting, const AttackOptions& attack, const Layout& layout)
        : codec(Codec::compile(setting.plan, layout)) {
      require(!codec.structured(), "attacked are updates of all parameters: leave train= out of the plan");
      options.seed = attack.seed;
      options.epochs = setting.local_steps;
      options.batch = setting.batch;
      worker = std::make_unique<Worker>(task, options, codec);
    }

    Options options;
    Codec codec;
    std::unique_ptr<Worker> worker;
  };

  Training& of(const AttackSetting& setting) {
    const auto [found, fresh] = trainings_.try_emplace({setting.plan, setting.local_steps, setting.batch}, nullptr);
    if (fresh) found->second = std::make_unique<Training>(task_, setting, options_, layout());
    return *found->second;
  }

  std::vector<float> warmed_up(const Task& task) const {
    Options options;
    options.seed = options_.seed;
    options.rounds = options.eval_every = options_.warm_rounds;
    options.clients_per_round = std::min(options.clients_per_round, task.clients.count);
    options.eval_examples = 1;
    Trainer trainer(task, options, {.learning_rate = options_.learning_rate});
    run(trainer, [](const RoundResult&) { return true; });
    require(trainer.stopped().empty(), "the model to attack: " + trainer.stopped());
    return {trainer.parameters().begin(), trainer.parameters().end()};
  }

  const AttackOptions& options_;
  Task task_;
  std::unique_ptr<Model> model_;
  std::size_t most_ = 1;
  std::vector<float> warm_;
  std::vector<float> start_;
  std::uint32_t run_ = 0;
  std::vector<std::uint32_t> rows_;
  const AttackSetting* setting_ = nullptr;
  std::map<std::tuple<std::string, std::size_t, std::size_t>, std::unique_ptr<Training>> trainings_;
  secure::SystemRandom secrets_;
};

std::vector<float> mean_image(const Task& task) {
  const std::size_t features = task.shape.features, rows = rows_of(task.train, task.shape);
  std::vector<double> sum(features);
  for (std::size_t row = 0; row < rows; ++row)
    for (std::size_t i = 0; i < features; ++i) sum[i] += task.train.x[row * features + i];
  std::vector<float> mean(features);
  for (std::size_t i = 0; i < features; ++i) mean[i] = static_cast<float>(sum[i] / static_cast<double>(rows));
  return mean;
}

// By runs.
struct Scores {
  std::vector<double> cosine, closest, closest_mean;
};

}  // namespace

std::vector<float> reconstruct(std::span<const float> weight, std::span<const float> bias) {
  const std::size_t units = bias.size(), features = weight.size() / units;
  const auto length = [&](std::size_t unit) {
    double squares = 0;
    for (std::size_t i = 0; i < features; ++i) squares += static_cast<double>(weight[i * units + unit]) * weight[i * units + unit];
    return squares;
  };
  std::size_t best = 0;
  for (std::size_t unit = 1; unit < units; ++unit)
    if (std::abs(bias[unit]) > std::abs(bias[best])) best = unit;
  if (bias[best] == 0)   // biases have been coded away
    for (std::size_t unit = 1; unit < units; ++unit)
      if (length(unit) > length(best)) best = unit;
  std::vector<float> image(features);
  double brightness = 0;
  for (std::size_t i = 0; i < features; ++i) brightness += image[i] = weight[i * units + best] / (bias[best] == 0 ? 1 : bias[best]);
  if (brightness < 0)
    for (float& pixel : image) pixel = -pixel;
  return image;
}

AttackReport attack(const Task& task, const AttackOptions& options) {
  check(task, options);
  Attacker attacker(task, options);
  AttackReport report{.parameters = attacker.layout().elements(), .features = task.shape.features, .shown = std::min(options.shown, options.runs),
                      .mean_image = {}, .unrelated = {}, .victims = {}, .mean = mean_image(task), .results = {}};
  const std::size_t weights = attacker.layout().tensors()[0].elements(), units = attacker.layout().tensors()[1].elements();
  for (const AttackSetting& setting : options.settings) report.results.emplace_back().setting = setting;

  std::vector<double> with_mean, with_unrelated;
  std::vector<Scores> scores(options.settings.size());
  for (std::size_t run = 0; run < options.runs; ++run) {
    const std::vector<std::uint32_t>& rows = attacker.begin(run);
    const std::span<const float> victim = attacker.image(rows[0]);
    with_mean.push_back(cosine(report.mean, victim));
    with_unrelated.push_back(cosine(attacker.image(rows.back()), victim));
    if (run < report.shown) report.victims.insert(report.victims.end(), victim.begin(), victim.end());
    for (std::size_t i = 0; i < options.settings.size(); ++i) {
      AttackResult& result = report.results[i];
      double bits = 0;
      const std::vector<float> seen = attacker.see(result.setting, bits);
      const std::vector<float> image = reconstruct(std::span(seen).first(weights), std::span(seen).subspan(weights, units));
      result.bits_per_coordinate += bits / static_cast<double>(options.runs);
      double closest = -1, closest_mean = -1;
      for (std::size_t one = 0; one < result.setting.batch * result.setting.clients; ++one) {
        closest = std::max(closest, cosine(image, attacker.image(rows[one])));
        closest_mean = std::max(closest_mean, cosine(report.mean, attacker.image(rows[one])));
      }
      scores[i].cosine.push_back(cosine(image, victim));
      scores[i].closest.push_back(closest);
      scores[i].closest_mean.push_back(closest_mean);
      if (run < report.shown) {
        result.cosines.push_back(scores[i].cosine.back());
        result.images.insert(result.images.end(), image.begin(), image.end());
      }
    }
  }
  report.mean_image = spread(with_mean);
  report.unrelated = spread(with_unrelated);
  for (std::size_t i = 0; i < scores.size(); ++i) {
    AttackResult& result = report.results[i];
    result.cosine = spread(scores[i].cosine);
    result.closest = spread(scores[i].closest);
    result.closest_mean_image = spread(scores[i].closest_mean);
    result.reads = clearly_above(scores[i].cosine, with_mean);
    result.reads_one = clearly_above(scores[i].closest, scores[i].closest_mean);
  }
  return report;
}

}  // namespace fewbits::federated
