#include "bench/harness.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "kernels/targets.h"

namespace fewbits::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kLong = 0.5;   // seconds that make a round rare

struct Runner {
  Case one;
  const targets::Kernels* target;
  std::size_t times = 1;
  std::vector<double> rounds = {};

  double seconds(std::size_t count) {
    targets::choose(*target);
    const auto start = Clock::now();
    one.run(count);
    return std::chrono::duration<double>(Clock::now() - start).count();
  }

  void calibrate(double shortest) {
    double took = seconds(1);   // the first touch of memory, and what caches learn
    if (took < kLong) took = seconds(times);
    for (; took < shortest; took = seconds(times)) {
      const double growth = took > 0 ? 1.2 * shortest / took : 10;
      times = static_cast<std::size_t>(std::ceil(static_cast<double>(times) * std::clamp(growth, 1.5, 10.0)));
    }
    estimate = took;
  }

  double estimate = 0;
};

double median(std::vector<double> values) {
  std::ranges::sort(values);
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 != 0 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

}  // namespace

double Result::gigabytes_per_second() const {
  return items * std::ldexp(4.0, static_cast<int>(log2)) / timing.best * 1e-9;
}

std::vector<Result> run(const Group& group, const Options& options) {
  const targets::Kernels& fastest = targets::chosen();
  const targets::Kernels& portable = *targets::available().front();
  std::vector<Runner> runners;
  for (Case& one : group.make()) {
    const bool twin = one.kind == Kind::kSubject && one.twin && &fastest != &portable;
    runners.push_back({one, &fastest});
    if (!twin) continue;
    one.name += " (portable)";
    runners.push_back({std::move(one), &portable});
  }

  double whole_round = 0;
  for (Runner& runner : runners) {
    runner.calibrate(options.shortest);
    whole_round += runner.estimate;
  }
  const auto rounds = std::clamp(static_cast<std::size_t>(options.budget / whole_round),
                                 whole_round < kLong ? options.least_rounds : options.least_rounds / 2 + 1, options.most_rounds);
  // Another case begins each round, so that none always comes behind the same one.
  for (std::size_t round = 0; round < rounds; ++round)
    for (std::size_t i = 0; i < runners.size(); ++i) {
      Runner& runner = runners[(round + i) % runners.size()];
      runner.rounds.push_back(runner.seconds(runner.times) / static_cast<double>(runner.times));
    }
  targets::choose(fastest);

  std::vector<Result> results;
  for (Runner& runner : runners)
    results.push_back({group.name, runner.one.name, group.log2, runner.one.kind, runner.one.items,
                       {std::ranges::min(runner.rounds), median(runner.rounds), runner.rounds}, {}});
  for (std::size_t s = 0; s < results.size(); ++s) {
    Result& subject = results[s];
    if (subject.kind != Kind::kSubject || runners[s].target != &fastest) continue;
    for (std::size_t o = 0; o < results.size(); ++o) {
      const Result& other = results[o];
      const bool own_twin = runners[o].target != &fastest && other.name == subject.name + " (portable)";
      if (other.kind == Kind::kSubject && !own_twin) continue;
      const double work = subject.items / other.items;
      std::vector<double> each;
      for (std::size_t round = 0; round < rounds; ++round)
        each.push_back(work * other.timing.rounds[round] / subject.timing.rounds[round]);
      subject.ratios[own_twin ? "portable" : other.name] = {work * other.timing.best / subject.timing.best, median(each)};
    }
  }
  return results;
}

}  // namespace fewbits::bench
