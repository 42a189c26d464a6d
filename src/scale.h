#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "fewbits/layout.h"
#include "wire.h"
#include "workspace.h"

// Scale models: a variance for every coordinate before anything is coded. A coordinate's class c says that its standard
// deviation is 2^(c/4) times that of its update; steps, keep probabilities and the entropy coder's models follow from it.
namespace fewbits {

inline constexpr std::int16_t kZeroClass = INT16_MIN;   // the coordinate is zero and is not coded
inline constexpr int kMaxClass = 1200;                  // in magnitude

// The scales of one tensor, viewed as a matrix of its first axis and the rest: the class of entry (i, j) is
// rows[i] + columns[j]. A vector has one entry in each.
struct TensorScales {
  std::vector<std::int16_t> rows;
  std::vector<std::int16_t> columns;

  bool operator==(const TensorScales&) const = default;
};

// What a server has learned, ready for a codec: the scales of each tensor, and the level of a common step, if any.
struct ProfileScales {
  std::vector<TensorScales> tensors;
  bool common = false;
  std::int32_t level = 0;   // of the common step, as in a frame, but absolute
};

struct MatrixShape {
  std::size_t rows = 1;
  std::size_t columns = 1;
};
// First axis × the rest; a vector, or what has one row or column, is a single row.
MatrixShape matrix_shape(const Tensor& tensor) noexcept;

class ScaleModel {
 public:
  virtual ~ScaleModel() = default;
  virtual std::size_t max_side_bytes() const noexcept = 0;
  virtual std::size_t workspace_bytes() const noexcept { return 0; }

  // The classes of the values in x (shape [n]); what the other end needs to know them goes to `side`.
  virtual void fit(Workspace& workspace, std::span<const float> x, std::span<std::int16_t> classes, ByteWriter& side) const = 0;

  // Reads what `fit` wrote, and refuses what it cannot have written.
  virtual void check(Workspace& workspace, ByteReader& side) const = 0;

  // The classes again. Takes what has been checked from `side`.
  virtual void classes(Workspace& workspace, ByteReader& side, std::span<std::int16_t> classes) const noexcept = 0;
};

// scale=flat|block:N|separable|profile. `tensors` may be empty: then separable is block:256. Without a profile, `profile`
// is `flat`.
std::unique_ptr<ScaleModel> make_scale_model(std::string_view choice, std::size_t values, std::span<const Tensor> tensors,
                                             const ProfileScales* profile);

}  // namespace fewbits
