#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "fewbits/export.h"
#include "fewbits/layout.h"

namespace fewbits::privacy {

// Neighbouring coordinates that are clipped together.
struct ClipPart {
  std::size_t begin = 0;
  std::size_t end = 0;
  double norm = 0;
};

// Norms to which updates are clipped: of the whole, or of each of its parts. `norm()` is the sensitivity S of their sum.
class FEWBITS_API Clipping {
 public:
  // Throws kBadArgument for a norm outside 1e-20 to 1e20.
  static Clipping whole(std::size_t elements, double norm);
  // Of n tensors each is clipped to norm/√n, so that S² = Σ S_j² (McMahan et al. 2018, arXiv 1710.06963).
  static Clipping per_tensor(const Layout& layout, double norm);

  std::size_t elements() const noexcept { return parts_.back().end; }
  double norm() const noexcept { return norm_; }
  std::span<const ClipPart> parts() const noexcept { return parts_; }

  // Scales each part of `update` (shape [elements()], finite) by min(1, its norm/‖part‖), so that none is longer afterwards,
  // rounding included. True where all were within their norms. Throws kBadArgument for a wrong length, kNotFinite.
  bool clip(std::span<float> update) const;

  Clipping with_norm(double norm) const;   // the same parts, in proportion

 private:
  Clipping(std::vector<ClipPart> parts, double norm);
  std::vector<ClipPart> parts_;
  double norm_;
};

// ‖values‖, without overflow or underflow for any float32.
FEWBITS_API double norm_of(std::span<const float> values);

}  // namespace fewbits::privacy
