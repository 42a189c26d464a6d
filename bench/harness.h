#pragma once

#include <benchmark/benchmark.h>

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

// Cases that are compared are run in turn, in one process: what a neighbour on the machine takes from one it takes from the
// others too, so that ratios hold where times do not.
namespace fewbits::bench {

enum class Kind {
  kSubject,    // a call of this library
  kYardstick,  // what memory allows: memcpy, read, scale in place
  kPeer,       // another library's call for the same work
};

struct Case {
  std::string name;
  Kind kind = Kind::kSubject;
  std::function<void(std::size_t)> run;   // that many times over
  double items = 1;   // times n values that one run takes in

  // Also run on the portable target, as NAME (portable). Only where it differs from the chosen one.
  bool twin = true;
};

// The loop is inside of the type-erased call, so that it costs nothing.
template <class F>
std::function<void(std::size_t)> repeated(F once) {
  return [once = std::move(once)](std::size_t times) mutable {
    for (std::size_t i = 0; i < times; ++i) {
      once();
      benchmark::ClobberMemory();
    }
  };
}

struct Group {
  std::string name;    // "kernel/walsh_hadamard"
  unsigned log2 = 0;   // n = 2^log2 values
  bool heavy = false;  // only with --long
  std::function<std::vector<Case>()> make;   // memory is taken when the group's turn comes, and given back

  std::string full_name() const { return name + "/2^" + std::to_string(log2); }
};

struct Timing {
  double best = 0;     // seconds a run, of the fastest round
  double median = 0;
  std::vector<double> rounds;
};

struct Result {
  std::string group;
  std::string name;
  unsigned log2 = 0;
  Kind kind = Kind::kSubject;
  double items = 1;
  Timing timing;
  // Of subjects: speed over that of each yardstick, peer and twin of the group.
  struct Ratio {
    double best = 0;     // fastest round over fastest round
    double median = 0;   // of the ratios within each round
  };
  std::map<std::string, Ratio> ratios;

  // 4·n bytes of float32 input a run, whatever else is read or written.
  double gigabytes_per_second() const;
};

struct Options {
  double shortest = 3e-4;    // seconds that a case runs in one round
  double budget = 0.5;       // seconds for a group, unless `least_rounds` take longer
  std::size_t least_rounds = 5;
  std::size_t most_rounds = 31;
};

std::vector<Result> run(const Group& group, const Options& options);

inline std::string to_string(Kind kind) {
  return kind == Kind::kSubject ? "fewbits" : kind == Kind::kYardstick ? "yardstick" : "peer";
}

}  // namespace fewbits::bench
