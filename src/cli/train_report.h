#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "fewbits/federated/federated.h"

namespace fewbits::cli {

// Lines on standard error while plans train: one a plan that is written over on a terminal, else one each tenth.
class Progress {
 public:
  Progress(bool quiet, std::size_t total_rounds);

  void say(const std::string& line) const;
  void begin(const std::string& label, const federated::Metric& metric, std::uint32_t rounds, std::uint32_t done);
  void update(const federated::RoundResult& round, std::optional<double> score);
  void end(const std::string& note);   // empty where there is nothing to add

 private:
  std::string status(const federated::RoundResult& round, std::optional<double> score) const;

  bool quiet_;
  bool terminal_;
  std::size_t rounds_left_;       // of all plans
  std::size_t rounds_run_ = 0;
  double seconds_run_ = 0;
  std::string label_;
  federated::Metric metric_;
  std::uint32_t rounds_ = 0;
  std::string last_;
};

std::string fixed(double value, int digits);

// Three digits that matter, without an exponent for the sizes that occur here.
std::string three_digits(double value);

// "81.2 %" of accuracies, "1.3035" of others.
std::string score_text(const federated::Metric& metric, double value, int digits);

// Columns that a text takes: its code points. Labels may be UTF-8.
std::size_t columns_of(const std::string& text);

}  // namespace fewbits::cli
