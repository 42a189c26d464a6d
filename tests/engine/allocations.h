#pragma once

#include <cstddef>
#include <optional>

// Counts what operator new has given out; the programs that include allocations.cpp replace it.
namespace fewbits::test {

// The most bytes that were allocated at one time since the object was made, beyond those that were then.
class PeakAllocation {
 public:
  PeakAllocation() noexcept;
  std::size_t bytes() const noexcept;

 private:
  std::size_t start_;
};

// All that was allocated since the program began, given back or not.
std::size_t bytes_allocated() noexcept;

// From now on so many allocations succeed, and all after them fail; none: all succeed.
void grant_allocations(std::optional<long> count) noexcept;

}  // namespace fewbits::test
