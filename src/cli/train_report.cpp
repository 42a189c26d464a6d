#include "cli/train_report.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace fewbits::cli {
namespace {

std::string clock_text(double seconds) {
  const auto whole = static_cast<long>(std::ceil(seconds));
  char text[64];
  if (whole >= 3600) {
    std::snprintf(text, sizeof text, "%ld:%02ld:%02ld", whole / 3600, whole / 60 % 60, whole % 60);
  } else {
    std::snprintf(text, sizeof text, "%ld:%02ld", whole / 60, whole % 60);
  }
  return text;
}

std::size_t terminal_width() {
  winsize size{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < 40) return 100;
  return size.ws_col;
}

}  // namespace

std::string fixed(double value, int digits) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

std::string three_digits(double value) {
  if (!(value > 0)) return "0";
  const int whole = static_cast<int>(std::floor(std::log10(value))) + 1;
  return fixed(value, std::clamp(3 - whole, 0, 6));
}

std::string score_text(const federated::Metric& metric, double value, int digits) {
  if (metric.name == "accuracy") return fixed(value * 100, digits) + " %";
  char text[64];
  std::snprintf(text, sizeof text, "%.*g", digits + 3, value);
  return text;
}

std::size_t columns_of(const std::string& text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0u) != 0x80u; }));
}

Progress::Progress(bool quiet, std::size_t total_rounds)
    : quiet_(quiet), terminal_(isatty(STDERR_FILENO) == 1), rounds_left_(total_rounds) {}

void Progress::say(const std::string& line) const {
  if (!quiet_) std::fprintf(stderr, "%s\n", line.c_str());
}

void Progress::begin(const std::string& label, const federated::Metric& metric, std::uint32_t rounds, std::uint32_t done) {
  metric_ = metric;
  label_ = label;
  rounds_ = rounds;
  rounds_left_ -= done;
  last_ = done == 0 ? "" : label + ": " + std::to_string(done) + " of " + std::to_string(rounds) + " rounds done before";
}

std::string Progress::status(const federated::RoundResult& round, std::optional<double> score) const {
  std::string text = "round " + std::to_string(round.round) + "/" + std::to_string(rounds_) + "  " + std::string(metric_.name) + " " +
                     (score ? score_text(metric_, *score, 1) : "-") + "  " +
                     three_digits(static_cast<double>(round.upload_bytes) / 1e6) + " MB up";
  if (round.epsilon) text += "  epsilon " + three_digits(*round.epsilon);
  if (rounds_left_ > 0) {
    text += "  " + clock_text(seconds_run_ / static_cast<double>(rounds_run_) * static_cast<double>(rounds_left_)) + " left";
  }
  const std::size_t room = terminal_ ? terminal_width() - 1 : 160;
  std::string label = label_;
  if (label.size() + text.size() + 2 > room) label = label.substr(0, std::max<std::size_t>(room - std::min(room, text.size() + 5), 8)) + "...";
  return label + "  " + text;
}

void Progress::update(const federated::RoundResult& round, std::optional<double> score) {
  ++rounds_run_;
  seconds_run_ += round.seconds;
  rounds_left_ -= std::min<std::size_t>(rounds_left_, 1);
  last_ = status(round, score);
  if (quiet_) return;
  if (terminal_) {
    std::fprintf(stderr, "\r\033[K%s", last_.c_str());
    std::fflush(stderr);
  } else if (round.round * 10ull / rounds_ != (round.round - 1) * 10ull / rounds_) {
    std::fprintf(stderr, "%s\n", last_.c_str());
  }
}

void Progress::end(const std::string& note) {
  if (quiet_) return;
  if (terminal_) std::fprintf(stderr, "\r\033[K%s\n", last_.c_str());
  if (!note.empty()) std::fprintf(stderr, "%s: %s\n", label_.c_str(), note.c_str());
}

}  // namespace fewbits::cli
