#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "fewbits/export.h"

namespace fewbits {

// One named tensor of an update. An empty shape is a scalar: one element.
struct Tensor {
  std::string name;
  std::vector<std::size_t> shape;

  FEWBITS_API std::size_t elements() const noexcept;
};

// The names and shapes of the tensors whose concatenation, each in row-major order, is an update.
// Both ends must agree on it: its text is part of every frame's fingerprint. Immutable.
class FEWBITS_API Layout {
 public:
  // At most this many coordinates in all, so that an index fits in 32 bits.
  static constexpr std::size_t kMaxElements = 0xFFFF'FFFF;

  // One vector of `elements` coordinates, a tensor without name.
  Layout(std::size_t elements);  // NOLINT: a size is a layout

  // Throws kBadArgument when names repeat or the coordinates are more than kMaxElements.
  explicit Layout(std::vector<Tensor> tensors);

  std::span<const Tensor> tensors() const noexcept { return tensors_; }
  std::size_t elements() const noexcept { return elements_; }

  // Where tensor `index` begins in the update.
  std::size_t offset(std::size_t index) const noexcept { return offsets_[index]; }

  // One tensor a line, "name<TAB>d0,d1,..."; the form that is hashed. Tabs, line ends and backslashes in names are
  // written \t, \n, \\.
  std::string text() const;

 private:
  std::vector<Tensor> tensors_;
  std::vector<std::size_t> offsets_;
  std::size_t elements_ = 0;
};

}  // namespace fewbits
