#pragma once

#include <cstddef>
#include <functional>
#include <thread>
#include <vector>

#include "fewbits/aggregator.h"

namespace fewbits::test {

// Tasks dealt out to threads of its own.
class Threads final : public Executor {
 public:
  explicit Threads(std::size_t count) : count_(count) {}
  std::size_t threads() const override { return count_; }
  void run(std::size_t count, const std::function<void(std::size_t)>& task) override {
    std::vector<std::thread> threads;
    for (std::size_t t = 0; t < count_; ++t)
      threads.emplace_back([&, t] {
        for (std::size_t i = t; i < count; i += count_) task(i);
      });
    for (std::thread& thread : threads) thread.join();
  }

 private:
  std::size_t count_;
};

}  // namespace fewbits::test
