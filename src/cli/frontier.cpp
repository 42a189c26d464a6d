#include "cli/frontier.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <exception>
#include <numeric>
#include <sstream>
#include <thread>

#include "cli/frontier_plans.h"
#include "fewbits/error.h"

namespace fewbits::cli {
namespace {

// A plan of the catalogue, and what came of it: a measurement, or the reason why there is none.
struct Job {
  std::string family;
  std::string plan;
  std::optional<Codec> codec = {};
  std::optional<Measurement> measurement = {};
  std::string skipped = {};
  std::exception_ptr failure = nullptr;
};

bool contains_one_of(const std::string& text, const std::vector<std::string>& parts) {
  return parts.empty() ||
         std::ranges::any_of(parts, [&](const std::string& part) { return text.find(part) != std::string::npos; });
}

void check(const Updates& updates) {
  for (std::size_t k = 0; k < updates.values.size(); ++k) {
    const auto& x = updates.values[k];
    const double norm = std::accumulate(x.begin(), x.end(), 0.0, [](double sum, double value) { return sum + value * value; });
    const std::string which =
        updates.values.size() > 1 ? "update " + std::to_string(k + 1) + " of " + updates.source : updates.source;
    if (!std::isfinite(norm))
      throw Error(Errc::kNotFinite, which + " has values that are not finite, or are too large");
    if (norm == 0) throw Error(Errc::kBadArgument, which + " is zero, so that errors have no scale");
  }
}

// What is wrong, without what would be right: the catalogue is not the user's.
std::string first_clause(const std::string& text) {
  return text.substr(0, std::min(text.find(';'), text.find(" (position")));
}

std::vector<Job> jobs_for(const Updates& updates, const FrontierOptions& options) {
  std::vector<Job> jobs;
  bool profile_taken = options.profile.empty();
  for (const std::string& plan : options.plans)
    jobs.push_back({.family = "given", .plan = plan, .codec = Codec::compile(plan, updates.layout)});
  const bool matrices = has_matrices(updates.layout);
  for (const PlanFamily& family : frontier_plans(updates.layout.elements()))
    for (const std::string& plan : family.plans) {
      if (!contains_one_of(family.name + "\n" + plan, options.matching)) continue;
      Job job{.family = family.name, .plan = plan};
      if (family.matrices && !matrices) {
        job.skipped = "no tensor has rows and columns";
      } else if (family.profile && options.profile.empty()) {
        job.skipped = "needs --profile";
      } else {
        try {
          job.codec = Codec::compile(plan, updates.layout);
        } catch (const Error& error) {
          job.skipped = first_clause(error.what());
        }
      }
      jobs.push_back(std::move(job));
    }
  for (Job& job : jobs)
    if (!options.profile.empty() && job.codec && job.codec->takes_profile()) {
      job.codec = with_profile(*job.codec, options.profile);
      profile_taken = true;
    }
  if (!profile_taken) throw Error(Errc::kBadArgument, "--profile is of no use: none of these plans has scale=profile");
  if (jobs.empty())
    throw Error(Errc::kBadArgument, "no plan of the catalogue contains '" + options.matching.front() + "'");
  return jobs;
}

void run(std::vector<Job>& jobs, const Updates& updates, const FrontierOptions& options) {
  MeasureProgress progress;
  std::atomic<std::size_t> next = 0;
  std::atomic<std::size_t> done = 0;
  const auto work = [&] {
    for (std::size_t i = next++; i < jobs.size(); i = next++) {
      Job& job = jobs[i];
      try {
        if (job.codec) job.measurement = measure_plan(job.plan, *job.codec, updates, options.repeats, options.seed, nullptr);
      } catch (const Error& error) {
        job.skipped = first_clause(error.what());
      } catch (...) {
        job.failure = std::current_exception();
      }
      job.codec.reset();
      progress.update(job.plan, ++done, jobs.size());
    }
  };
  std::size_t threads = options.threads != 0 ? options.threads : std::max(1u, std::thread::hardware_concurrency());
  threads = std::min(threads, jobs.size());
  {
    std::vector<std::jthread> pool;
    for (std::size_t k = 1; k < threads; ++k) pool.emplace_back(work);
    work();
  }
  for (const Job& job : jobs)
    if (job.failure) std::rethrow_exception(job.failure);
}

// By promise, and by what was measured: the ratio is 1 without bias, and the number of repeats where all error is bias.
bool is_unbiased(const Measurement& m, std::size_t repeats) {
  return m.unbiased == Unbiased::kAlways &&
         (repeats == 1 || !m.bias_ratio || *m.bias_ratio < (1 + static_cast<double>(repeats)) / 2);
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

// For each rate of the catalogue: the plan of least error among those that take no more, by a twentieth at most.
std::string best_table(const Frontier& frontier, std::size_t repeats) {
  std::vector<std::vector<std::string>> rows = {{"at most", "unbiased", "NMSE", "x limit", "any", "NMSE", "x limit"}};
  for (const double rate : frontier_rates()) {
    std::vector<std::string> row = {number(rate)};
    for (const bool unbiased : {true, false}) {
      const Measurement* best = nullptr;
      for (const Frontier::Point& point : frontier.points) {
        const Measurement& m = point.measurement;
        if (m.rate <= 1.05 * rate && (!unbiased || is_unbiased(m, repeats)) && (best == nullptr || m.nmse < best->nmse))
          best = &m;
      }
      for (const std::string& cell : best == nullptr
                                         ? std::vector<std::string>{"-", "-", "-"}
                                         : std::vector{best->plan, number(best->nmse),
                                                       best->limit_ratio ? number(*best->limit_ratio) : "-"})
        row.push_back(cell);
    }
    rows.push_back(std::move(row));
  }
  return table(rows);
}

// One line for plans of a family with the same reason.
std::string skipped_text(const std::vector<Frontier::Skipped>& skipped) {
  std::string text;
  for (std::size_t i = 0; i < skipped.size();) {
    std::size_t end = i + 1;
    while (end < skipped.size() && skipped[end].family == skipped[i].family && skipped[end].reason == skipped[i].reason)
      ++end;
    const std::string which =
        end - i == 1 ? skipped[i].plan : skipped[i].family + ", " + std::to_string(end - i) + " plans";
    text += "skipped: " + which + ": " + skipped[i].reason + "\n";
    i = end;
  }
  return text;
}

}  // namespace

Frontier measure_frontier(const Updates& updates, const FrontierOptions& options) {
  check(updates);
  std::vector<Job> jobs = jobs_for(updates, options);
  run(jobs, updates, options);
  Frontier frontier;
  for (auto begin = jobs.begin(); begin != jobs.end();) {
    const auto end = std::find_if(begin, jobs.end(), [&](const Job& job) { return job.family != begin->family; });
    std::stable_sort(begin, end, [](const Job& a, const Job& b) {
      return a.measurement && b.measurement && a.measurement->rate < b.measurement->rate;
    });
    for (; begin != end; ++begin) {
      if (begin->measurement)
        frontier.points.push_back({begin->family, std::move(*begin->measurement)});
      else
        frontier.skipped.push_back({begin->family, begin->plan, begin->skipped});
    }
  }
  return frontier;
}

ordered_json to_json(const Frontier& frontier, const Updates& updates, const FrontierOptions& options) {
  ordered_json points = ordered_json::array();
  for (const Frontier::Point& point : frontier.points) {
    ordered_json entry = {{"family", point.family}, {"promise", to_string(point.measurement.unbiased)}};
    entry.update(to_json(point.measurement));
    points.push_back(std::move(entry));
  }
  ordered_json skipped = ordered_json::array();
  for (const Frontier::Skipped& one : frontier.skipped)
    skipped.push_back({{"family", one.family}, {"plan", one.plan}, {"reason", one.reason}});
  return {{"source", updates.source},   {"updates", updates.values.size()}, {"coordinates", updates.layout.elements()},
          {"repeats", options.repeats}, {"seed", options.seed},
          {"profile", options.profile.empty() ? ordered_json() : ordered_json(options.profile)},
          {"plans", points},            {"skipped", skipped}};
}

std::string to_text(const Frontier& frontier, const Updates& updates, const FrontierOptions& options) {
  std::vector<std::vector<std::string>> rows = {measurement_columns()};
  for (const Frontier::Point& point : frontier.points) rows.push_back(measurement_cells(point.measurement));
  const std::vector<std::string> lines = lines_of(table(rows));
  std::string text = lines.front() + "\n";
  for (std::size_t i = 0; i < frontier.points.size(); ++i) {
    if (i == 0 || frontier.points[i].family != frontier.points[i - 1].family)
      text += "\n" + frontier.points[i].family + "\n";
    text += lines[i + 1] + "\n";
  }
  text += "\nleast error\n" + best_table(frontier, options.repeats) + "\n" + skipped_text(frontier.skipped) +
          (frontier.skipped.empty() ? "" : "\n") + measurement_notes(updates, options.repeats, options.seed) +
          "unbiased: what the plan promises; over rotations: only of vectors that a random rotation makes normal.\n";
  return text;
}

}  // namespace fewbits::cli
