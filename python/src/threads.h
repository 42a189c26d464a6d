#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <functional>
#include <thread>
#include <vector>

#include "fewbits/aggregator.h"

namespace fewbits::python {

// Threads that live for one call; the one that calls is among them. 0: as many as the machine has cores.
class CallThreads final : public Executor {
 public:
  explicit CallThreads(std::size_t threads) : threads_(threads != 0 ? threads : std::max(1u, std::thread::hardware_concurrency())) {}

  std::size_t threads() const override { return threads_; }

  void run(std::size_t count, const std::function<void(std::size_t)>& task) override {
    std::atomic<std::size_t> next = 0;
    const auto work = [&] {
      for (std::size_t i = next++; i < count; i = next++) task(i);
    };
    std::vector<std::jthread> others;
    for (std::size_t k = 1; k < std::min(threads_, count); ++k) others.emplace_back(work);
    work();
  }

 private:
  std::size_t threads_;
};

}  // namespace fewbits::python
