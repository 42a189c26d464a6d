#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>
#include <span>
#include <type_traits>

#include "huge_pages.h"
#include "kernels/check.h"

namespace fewbits {

// Scratch memory that is given out and taken back as a stack. It is reserved once, for the most that a plan needs, so
// that the work after an input has been checked cannot fail for want of memory.
class Workspace {
 public:
  static constexpr std::size_t kAlignment = 64;

  // What `take` of `count` values uses up.
  template <class T>
  static constexpr std::size_t bytes_for(std::size_t count) noexcept {
    return (count * sizeof(T) + kAlignment - 1) / kAlignment * kAlignment;
  }

  // Throws std::bad_alloc. Nothing may be taken at the time.
  void reserve(std::size_t bytes) {
    if (bytes <= capacity_) return;
    memory_.reset(static_cast<std::byte*>(::operator new(bytes, std::align_val_t{kAlignment})));
    prefer_huge_pages(memory_.get(), bytes);
    capacity_ = bytes;
  }

  // Uninitialized values, valid until the enclosing Scope ends.
  template <class T>
  std::span<T> take(std::size_t count) noexcept {
    static_assert(std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T>);
    FEWBITS_DCHECK(used_ + bytes_for<T>(count) <= capacity_);
    T* values = reinterpret_cast<T*>(memory_.get() + used_);
    used_ += bytes_for<T>(count);
    return {values, count};
  }

  // Gives back what was taken since it was made.
  class Scope {
   public:
    explicit Scope(Workspace& workspace) noexcept : workspace_(workspace), mark_(workspace.used_) {}
    ~Scope() { workspace_.used_ = mark_; }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Workspace& workspace_;
    std::size_t mark_;
  };

 private:
  struct Release {
    void operator()(std::byte* memory) const noexcept { ::operator delete(memory, std::align_val_t{kAlignment}); }
  };

  std::unique_ptr<std::byte, Release> memory_;
  std::size_t capacity_ = 0;
  std::size_t used_ = 0;
};

}  // namespace fewbits
