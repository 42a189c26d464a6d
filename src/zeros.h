#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <span>

#include "huge_pages.h"

namespace fewbits {

// Numbers that begin as zeros. Many come from the system as zeros, and are not written before they are added to.
class Zeros {
 public:
  Zeros() = default;

  // Throws std::bad_alloc.
  explicit Zeros(std::size_t count) : memory_(static_cast<double*>(std::calloc(count + kLine, sizeof(double)))) {
    if (memory_ == nullptr) throw std::bad_alloc();
    const std::size_t past = reinterpret_cast<std::uintptr_t>(memory_.get()) / sizeof(double) % kLine;
    values_ = {memory_.get() + (kLine - past) % kLine, count};
    prefer_huge_pages(values_.data(), values_.size_bytes());
  }

  std::span<double> values() noexcept { return values_; }
  std::span<const double> values() const noexcept { return values_; }

 private:
  static constexpr std::size_t kLine = 64 / sizeof(double);

  struct Release {
    void operator()(double* memory) const noexcept { std::free(memory); }
  };

  std::unique_ptr<double[], Release> memory_;
  std::span<double> values_;   // from the beginning of a cache line
};

}  // namespace fewbits
