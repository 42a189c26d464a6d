#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "cli/measurement.h"

namespace fewbits::cli {

struct FrontierOptions {
  std::vector<std::string> plans;      // measured beside those of the catalogue
  std::vector<std::string> matching;   // of the catalogue only what contains one of these; none: all
  std::size_t repeats = 3;
  std::uint64_t seed = 1;
  std::size_t threads = 0;             // 0: all cores
  std::string profile;                 // file for plans with scale=profile; empty: they are skipped, but for given ones
};

struct Frontier {
  struct Point {
    std::string family;
    Measurement measurement;
  };
  struct Skipped {
    std::string family;
    std::string plan;
    std::string reason;
  };
  std::vector<Point> points;   // family after family, in each by rate
  std::vector<Skipped> skipped;
};

// Throws Error for plans of `options` that do not compile, and for updates that no plan can be measured on.
Frontier measure_frontier(const Updates& updates, const FrontierOptions& options);

ordered_json to_json(const Frontier& frontier, const Updates& updates, const FrontierOptions& options);
std::string to_text(const Frontier& frontier, const Updates& updates, const FrontierOptions& options);

}  // namespace fewbits::cli
