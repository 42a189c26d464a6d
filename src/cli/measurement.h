#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "cli/common.h"
#include "fewbits/codec.h"
#include "fewbits/layout.h"
#include "fewbits/measure.h"

// Plans measured on updates, by real frames.
namespace fewbits::cli {

// Updates of one layout to measure on: from files, or one drawn from a distribution.
struct Updates {
  std::string source;   // in words: "normal:2^20", "out/updates, 9 updates", "a.npz and others, 3 updates"
  Layout layout = Layout(0);
  std::vector<std::vector<float>> values;
  bool synthetic = false;
};

// Each input is a .npy, an .npz or a folder of them, or there is one that is normal:N or lognormal:N[,sigma]. Throws
// kBadArgument for files that do not have the same names and shapes.
Updates read_updates(const std::vector<std::string>& inputs, std::uint64_t seed);

// A line on a terminal's stderr, when the work takes longer than a moment. Any thread may update it.
class MeasureProgress {
 public:
  MeasureProgress();
  ~MeasureProgress();
  MeasureProgress(const MeasureProgress&) = delete;
  MeasureProgress& operator=(const MeasureProgress&) = delete;

  void update(const std::string& what, std::size_t done, std::size_t all);

 private:
  std::mutex mutex_;
  bool terminal_;
  bool shown_ = false;
  std::size_t last_ = 101;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

// Of a plan as the user has written it. `progress` may be null.
Measurement measure_plan(const std::string& plan, const Codec& codec, const Updates& updates, std::size_t repeats,
                         std::uint64_t seed, MeasureProgress* progress);

// The fields of a measurement, and its cells in a table under `measurement_columns`.
ordered_json to_json(const Measurement& m);
std::vector<std::string> measurement_columns();
std::vector<std::string> measurement_cells(const Measurement& m);

// What was measured on, and what the columns mean.
std::string measurement_notes(const Updates& updates, std::size_t repeats, std::uint64_t seed);

}  // namespace fewbits::cli
