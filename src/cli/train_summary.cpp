#include "cli/train_summary.h"

#include <algorithm>
#include <cmath>

#include "cli/common.h"
#include "cli/train_report.h"
#include "federated/spread.h"
#include "fewbits/federated/summary.h"

namespace fewbits::cli {
namespace {

using federated::Summary;
using nlohmann::ordered_json;
using Column = std::vector<std::optional<double>>;  // a value a seed

constexpr double kTargetShare = 0.98;

template <typename Value>
ordered_json or_null(const std::optional<Value>& value) {
  return value ? ordered_json(*value) : ordered_json();
}

ordered_json setting_of(const SummaryTerms& terms) {
  const federated::Options& options = terms.settings.options;
  ordered_json summary = {{"dataset", terms.dataset}, {"model", terms.settings.data_options.model}, {"parameters", terms.parameters},
                          {"clients", terms.clients}};
  if (options.client_probability) {
    summary["clients_per_round"] = *options.client_probability * static_cast<double>(terms.clients);
    summary["client_probability"] = *options.client_probability;
  } else {
    const auto& sizes = terms.settings.clients_per_round;
    summary["clients_per_round"] = sizes.size() == 1 ? ordered_json(sizes.front()) : ordered_json(sizes);
  }
  summary["rounds"] = options.rounds;
  summary["metric"] = {{"name", terms.metric.name}, {"higher_is_better", terms.metric.higher_is_better}};
  return summary;
}

// Over clients, each counted once.
ordered_json distribution_json(std::vector<double> values) {
  std::ranges::sort(values);
  double sum = 0;
  for (const double value : values) sum += value;
  ordered_json deciles = ordered_json::array();
  for (std::size_t i = 0; i <= 10; ++i) deciles.push_back(values[i * (values.size() - 1) / 10]);
  return {{"mean", sum / static_cast<double>(values.size())}, {"deciles", std::move(deciles)}};
}

ordered_json personal_json(std::span<const federated::PersonalResult> results) {
  std::vector<double> before, after;
  std::size_t changed = 0;
  for (const federated::PersonalResult& result : results) {
    before.push_back(result.before);
    after.push_back(result.after);
    changed += result.after != result.before;
  }
  return {{"clients", results.size()}, {"clients_changed", changed}, {"before", distribution_json(before)},
          {"after", distribution_json(after)}, {"before_of_each", before}, {"after_of_each", after}};
}

ordered_json summary_of_seed(const SummaryTerms& terms, const SeedRun& run) {
  std::optional<double> target = terms.target;
  const auto result_of = [&](const PlanRun& plan) {
    return federated::summarize(plan.rounds, terms.parameters, terms.metric, target);
  };
  std::optional<Summary> reference;
  if (terms.float32) {
    if (terms.target_is_automatic) {
      const std::optional<double> best = result_of(run.plans[*terms.float32]).best_score;
      if (best) target = terms.metric.higher_is_better ? kTargetShare * *best : *best / kTargetShare;
    }
    reference = result_of(run.plans[*terms.float32]);
  }

  ordered_json summary = setting_of(terms);
  summary["target_score"] = or_null(target);
  summary["partition"] = terms.partition;
  summary["seed"] = run.seed;
  summary["plans"] = ordered_json::array();
  for (const PlanRun& plan : run.plans) {
    const Summary result = result_of(plan);
    ordered_json entry = {{"plan", plan.entry.text}, {"label", plan.entry.label}, {"canonical", plan.canonical},
                          {"best_score", or_null(result.best_score)},
                          {"final_score", or_null(result.final_score)},
                          {"rounds_to_target", or_null(result.rounds_to_target)},
                          {"upload_bytes_to_target", or_null(result.upload_bytes_to_target)},
                          {"download_bytes_to_target", or_null(result.download_bytes_to_target)},
                          {"simulated_seconds_to_target", or_null(result.simulated_seconds_to_target)},
                          {"upload_bytes", result.upload_bytes},
                          {"wasted_bytes", result.wasted_bytes},
                          {"download_bytes", result.download_bytes},
                          {"simulated_seconds", result.simulated_seconds},
                          {"bits_per_coordinate", result.bits_per_coordinate},
                          {"codec_time_share", result.codec_time_share},
                          {"train_seconds", result.train_seconds},
                          {"encode_seconds", result.encode_seconds},
                          {"decode_seconds", result.decode_seconds},
                          {"bytes_ratio_to_float32", nullptr},
                          {"rounds_ratio_to_float32", nullptr}};
    if (reference && reference->rounds_to_target && result.rounds_to_target) {
      entry["bytes_ratio_to_float32"] = static_cast<double>(*result.upload_bytes_to_target) /
                                        static_cast<double>(*reference->upload_bytes_to_target);
      entry["rounds_ratio_to_float32"] = static_cast<double>(*result.rounds_to_target) /
                                         static_cast<double>(*reference->rounds_to_target);
    }
    if (!plan.personal.empty()) entry["personal"] = personal_json(plan.personal);
    const auto empty = std::ranges::count(plan.rounds, std::size_t{0}, &federated::RoundResult::clients);
    if (empty > 0) entry["empty_rounds"] = empty;
    if (plan.noise_multiplier && !plan.rounds.empty()) {
      entry["privacy"] = {{"epsilon", or_null(plan.rounds.back().epsilon)}, {"delta", terms.settings.privacy.delta},
                          {"noise_multiplier", *plan.noise_multiplier}, {"clip", or_null(plan.rounds.back().clip)}};
    }
    if (!plan.stopped.empty()) entry["stopped"] = plan.stopped;
    summary["plans"].push_back(std::move(entry));
  }
  return summary;
}

std::optional<double> number_at(const ordered_json& entry, const char* key) {
  return entry.at(key).is_null() ? std::nullopt : std::optional(entry.at(key).get<double>());
}

Column column_of(const ordered_json& seeds, std::size_t plan, const char* key) {
  Column column;
  for (const ordered_json& summary : seeds) column.push_back(number_at(summary.at("plans").at(plan), key));
  return column;
}

ordered_json spread_json(const Column& column) {
  const std::optional<federated::Spread> spread = federated::spread_of(column);
  if (!spread) return nullptr;
  return {{"mean", spread->mean}, {"deviation", or_null(spread->deviation)}, {"min", spread->least},
          {"max", spread->most}, {"seeds", spread->count}};
}

ordered_json paired_json(const std::optional<double>& median, const Column& values) {
  ordered_json list = ordered_json::array();
  for (const auto& value : values) list.push_back(or_null(value));
  return {{"median", or_null(median)}, {"values", std::move(list)}};
}

ordered_json summary_of_seeds(const SummaryTerms& terms, std::span<const SeedRun> runs) {
  ordered_json seeds = ordered_json::array(), numbers = ordered_json::array();
  Column targets;
  for (const SeedRun& run : runs) {
    seeds.push_back(summary_of_seed(terms, run));
    numbers.push_back(run.seed);
    targets.push_back(number_at(seeds.back(), "target_score"));
  }
  ordered_json summary = setting_of(terms);
  summary["target_score"] = spread_json(targets);
  summary["partition"] = terms.partition;
  summary["seeds"] = std::move(numbers);
  summary["plans"] = ordered_json::array();
  const Column first_rounds = column_of(seeds, 0, "rounds_to_target");
  const Column first_bytes = column_of(seeds, 0, "upload_bytes_to_target");
  for (std::size_t i = 0; i < runs[0].plans.size(); ++i) {
    const PlanRun& plan = runs[0].plans[i];
    ordered_json entry = {{"plan", plan.entry.text}, {"label", plan.entry.label}, {"canonical", plan.canonical}};
    for (const char* key : {"best_score", "final_score", "rounds_to_target", "upload_bytes_to_target",
                            "download_bytes_to_target", "simulated_seconds_to_target", "upload_bytes", "wasted_bytes",
                            "download_bytes", "simulated_seconds", "bits_per_coordinate", "codec_time_share",
                            "train_seconds", "encode_seconds", "decode_seconds"}) {
      entry[key] = spread_json(column_of(seeds, i, key));
    }
    const auto rounds = federated::paired_need(column_of(seeds, i, "rounds_to_target"), first_rounds);
    const auto bytes = federated::paired_need(column_of(seeds, i, "upload_bytes_to_target"), first_bytes);
    entry["rounds_ratio_to_first"] = paired_json(rounds.median_ratio, rounds.ratios);
    entry["fewer_bytes_than_first"] = paired_json(bytes.median_factor, bytes.factors);
    summary["plans"].push_back(std::move(entry));
  }
  summary["per_seed"] = std::move(seeds);
  return summary;
}

// How a table writes scores, and heads their columns: percents of accuracies, else the metric's own values.
struct ScoreColumn {
  explicit ScoreColumn(const ordered_json& summary) : metric(summary.at("metric").at("name")) {}

  bool percents() const { return metric == "accuracy"; }
  std::string unit() const { return percents() ? " %" : ""; }
  std::string head(const char* which) const { return std::string(which) + " " + (percents() ? "%" : metric); }
  std::string cell(double value) const {
    if (percents()) return fixed(value * 100, 2);
    return fixed(value, std::abs(value) >= 10 ? 3 : 4);
  }
  std::string cell(const ordered_json& value) const { return value.is_null() ? "-" : cell(value.get<double>()); }

  std::string metric;
};

constexpr const char* kScoresAreMeans = "a score is the mean of the last 5 evaluations\n";

std::string aligned(const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths(rows[0].size());
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], columns_of(row[i]));
  }
  std::string text;
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      const std::string padding(widths[i] - columns_of(row[i]), ' ');
      text += i == 0 ? row[i] + padding : "  " + padding + row[i];
    }
    text += "\n";
  }
  return text;
}

// "f32: on what 100 clients hold out 81.3 %, their own models 86.0 % (means; the worst tenth 70.1 and 78.4)".
std::string personal_text(const ordered_json& plans, const ScoreColumn& score) {
  std::string text;
  for (const auto& plan : plans) {
    if (!plan.contains("personal")) continue;
    const auto& personal = plan["personal"];
    const auto& before = personal["before"];
    const auto& after = personal["after"];
    text += plan["label"].get<std::string>() + ": on what each of " + std::to_string(personal["clients"].get<std::size_t>()) +
            " clients holds out, mean " + score.cell(before["mean"]) + score.unit() + " of the released model, " +
            score.cell(after["mean"]) + score.unit() + " of its own; a tenth of them at or below " + score.cell(before["deciles"][1]) +
            ", then " + score.cell(after["deciles"][1]) + "\n";
  }
  return text;
}

// Rounds that came to nothing, and what each plan's have told about a client.
std::string rounds_text(const ordered_json& plans) {
  std::string text;
  for (const auto& plan : plans) {
    if (plan.contains("empty_rounds"))
      text += plan.at("label").template get<std::string>() + ": " + std::to_string(plan.at("empty_rounds").template get<std::size_t>()) +
              " rounds came to nothing: too few clients\n";
    if (!plan.contains("privacy")) continue;
    const auto& privacy = plan.at("privacy");
    text += plan.at("label").template get<std::string>() + ": epsilon " + three_digits(privacy.at("epsilon")) + " at delta " +
            number(privacy.at("delta")) + " for each client, by noise of " + three_digits(privacy.at("noise_multiplier")) +
            " times the norm " + three_digits(privacy.at("clip")) + "\n";
  }
  return text;
}

std::string table_of_seed(const ordered_json& summary) {
  const ScoreColumn score(summary);
  const auto& plans = summary.at("plans");
  const bool links = std::ranges::any_of(plans, [](const auto& plan) { return plan.at("simulated_seconds") > 0; });
  std::vector<std::vector<std::string>> rows = {
      {"plan", score.head("best"), score.head("final"), "rounds to target", "MB to target", "bits/coordinate", "fewer bytes", "codec time %"}};
  if (links) rows[0].insert(rows[0].end(), {"hours to target", "wasted %"});
  for (const auto& plan : summary.at("plans")) {
    const auto& rounds = plan.at("rounds_to_target");
    const auto& bytes = plan.at("upload_bytes_to_target");
    const auto& ratio = plan.at("bytes_ratio_to_float32");
    rows.push_back({plan.at("label"), score.cell(plan.at("best_score")), score.cell(plan.at("final_score")),
                    rounds.is_null() ? "-" : std::to_string(rounds.get<std::uint64_t>()),
                    bytes.is_null() ? "-" : three_digits(bytes.get<double>() / 1e6),
                    three_digits(plan.at("bits_per_coordinate")),
                    ratio.is_null() ? "-" : three_digits(1 / ratio.get<double>()) + "x",
                    fixed(plan.at("codec_time_share").get<double>() * 100, 1)});
    if (!links) continue;
    const auto& seconds = plan.at("simulated_seconds_to_target");
    const double sent = plan.at("upload_bytes"), wasted = plan.at("wasted_bytes");
    rows.back().push_back(seconds.is_null() ? "-" : three_digits(seconds.get<double>() / 3600));
    rows.back().push_back(fixed(sent > 0 ? 100 * wasted / sent : 0, 1));
  }
  std::string text = aligned(rows) + personal_text(plans, score) + rounds_text(plans);
  for (const auto& plan : summary.at("plans")) {
    if (plan.contains("stopped")) {
      text += plan.at("label").get<std::string>() + ": " + plan.at("stopped").get<std::string>() + "\n";
    }
  }
  const auto& target = summary.at("target_score");
  return text + "target " + (target.is_null() ? "none" : score.cell(target) + score.unit()) + "; " + kScoresAreMeans;
}

// "41.3 ± 2.10 (39-44)" of values that `text` writes, or "41" where all are equal; and of how many seeds, if not all.
template <typename Text>
std::string spread_text(const ordered_json& spread, std::size_t seeds, Text&& text) {
  if (spread.is_null()) return "-";
  std::string result = text(spread.at("mean").get<double>());
  if (spread.at("min") != spread.at("max")) {
    result += " ± " + text(spread.at("deviation").get<double>());
    result += " (" + text(spread.at("min").get<double>()) + "-" + text(spread.at("max").get<double>()) + ")";
  }
  const auto count = spread.at("seeds").get<std::size_t>();
  return count == seeds ? result : result + ", " + std::to_string(count) + " of " + std::to_string(seeds);
}

std::string table_of_seeds(const ordered_json& summary) {
  const std::size_t seeds = summary.at("seeds").size();
  const auto number = [](double value) { return value == std::floor(value) ? fixed(value, 0) : three_digits(value); };
  const ScoreColumn score(summary);
  const auto cell = [&](double value) { return score.cell(value); };
  const auto megabytes = [](double value) { return three_digits(value / 1e6); };
  std::vector<std::vector<std::string>> rows = {{"plan", score.head("best"), "rounds to target", "MB to target", "bits/coordinate",
                                                 "times the rounds", "fewer bytes", "codec time %"}};
  for (const auto& plan : summary.at("plans")) {
    const auto& rounds = plan.at("rounds_ratio_to_first").at("median");
    const auto& bytes = plan.at("fewer_bytes_than_first").at("median");
    rows.push_back({plan.at("label"), spread_text(plan.at("best_score"), seeds, cell),
                    spread_text(plan.at("rounds_to_target"), seeds, number),
                    spread_text(plan.at("upload_bytes_to_target"), seeds, megabytes),
                    three_digits(plan.at("bits_per_coordinate").at("mean")),
                    rounds.is_null() ? "-" : fixed(rounds.get<double>(), 2) + "x",
                    bytes.is_null() ? "-" : three_digits(bytes.get<double>()) + "x",
                    fixed(plan.at("codec_time_share").at("mean").get<double>() * 100, 1)});
  }
  std::string text = aligned(rows);
  for (const auto& of_seed : summary.at("per_seed")) {
    for (const auto& plan : of_seed.at("plans")) {
      if (!plan.contains("stopped")) continue;
      const std::string seed = std::to_string(of_seed.at("seed").get<std::uint64_t>());
      text += plan.at("label").get<std::string>() + ", seed " + seed + ": " + plan.at("stopped").get<std::string>() + "\n";
    }
  }
  const auto& target = summary.at("target_score");
  text += "target " + (target.is_null() ? "none" : spread_text(target, seeds, cell) + score.unit()) + "; " + kScoresAreMeans;
  return text + "of " + std::to_string(seeds) + " seeds: mean ± standard deviation (min-max); times the rounds and " +
         "fewer bytes: medians of the ratios to the first plan with the same seed\n";
}

}  // namespace

ordered_json summary_of(const SummaryTerms& terms, std::span<const SeedRun> runs) {
  return runs.size() == 1 ? summary_of_seed(terms, runs[0]) : summary_of_seeds(terms, runs);
}

std::string table_of(const ordered_json& summary) {
  return summary.contains("per_seed") ? table_of_seeds(summary) : table_of_seed(summary);
}

}  // namespace fewbits::cli
