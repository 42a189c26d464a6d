#pragma once

#include <chrono>

namespace fewbits::federated {

// Seconds for reports; no result depends on them.
class Stopwatch {
 public:
  // Since the last lap, or the beginning.
  double lap() {
    const auto now = std::chrono::steady_clock::now();
    const double seconds = std::chrono::duration<double>(now - last_).count();
    last_ = now;
    return seconds;
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

}  // namespace fewbits::federated
