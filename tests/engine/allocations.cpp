#include "tests/engine/allocations.h"

#include <malloc.h>

#include <algorithm>
#include <cstdlib>
#include <new>
#include <optional>

namespace {

std::size_t current = 0;
std::size_t peak = 0;
std::size_t given = 0;   // bytes, since the program began
std::optional<long> granted;   // allocations until one fails

void* counted(void* memory) {
  if (memory == nullptr || granted == 0) {
    std::free(memory);
    throw std::bad_alloc();
  }
  if (granted) --*granted;
  current += malloc_usable_size(memory);
  given += malloc_usable_size(memory);
  peak = std::max(peak, current);
  return memory;
}

void release(void* memory) noexcept {
  if (memory != nullptr) current -= malloc_usable_size(memory);
  std::free(memory);
}

}  // namespace

void* operator new(std::size_t size) { return counted(std::malloc(std::max<std::size_t>(size, 1))); }
void* operator new[](std::size_t size) { return operator new(size); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  const auto unit = static_cast<std::size_t>(alignment);
  return counted(std::aligned_alloc(unit, (std::max<std::size_t>(size, 1) + unit - 1) / unit * unit));
}
void operator delete(void* memory) noexcept { release(memory); }
void operator delete[](void* memory) noexcept { release(memory); }
void operator delete(void* memory, std::size_t) noexcept { release(memory); }
void operator delete[](void* memory, std::size_t) noexcept { release(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { release(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { release(memory); }

namespace fewbits::test {

PeakAllocation::PeakAllocation() noexcept : start_(current) { peak = current; }
std::size_t PeakAllocation::bytes() const noexcept { return peak - start_; }

std::size_t bytes_allocated() noexcept { return given; }

void grant_allocations(std::optional<long> count) noexcept { granted = count; }

}  // namespace fewbits::test
