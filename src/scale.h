#pragma once

#include <cstdint>
#include <memory>
#include <optional>
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
};

// What a server has learned, ready for the tensors of one rule: their scales, and the level of a common step, if any.
struct ProfileScales {
  std::vector<TensorScales> tensors;
  std::optional<std::int32_t> level;
};

struct MatrixShape {
  std::size_t rows = 1;
  std::size_t columns = 1;
};
// First axis × the rest; a vector, or what has one row or column, is a single row.
MatrixShape matrix_shape(const Tensor& tensor) noexcept;

// The class of an energy (of a mean square); kZeroClass for 0.
std::int16_t class_of(double energy) noexcept;

// Scales as bytes, by the same adaptive code that frames use. `read_scales` gives scales of the shapes of `tensors`, and
// throws kMalformed for bytes that `write_scales` cannot have written.
void write_scales(std::span<const TensorScales> scales, ByteWriter& out);
std::vector<TensorScales> read_scales(std::span<const Tensor> tensors, ByteReader& in);

struct ClassRange {
  int least = 0;
  int most = -1;   // below least where no value has a class
};

// The classes of a vector's values.
struct Classes {
  std::span<const std::int16_t> of;
  ClassRange range;
  bool all = false;   // no value is without one
};
Classes with_range(std::span<const std::int16_t> classes) noexcept;

// How much a scale model tells: all that it can, or one scale a tensor, which takes next to no bytes.
enum class ScaleDetail { kFull, kTensors };

class ScaleModel {
 public:
  virtual ~ScaleModel() = default;
  virtual std::size_t max_side_bytes() const noexcept = 0;
  virtual std::size_t workspace_bytes() const noexcept { return 0; }

  // The classes of the values in x (shape [n]), in `room` (shape [n]) unless they lie somewhere already; what the other end
  // needs to know them goes to `side`.
  virtual Classes fit(Workspace& workspace, std::span<const float> x, ScaleDetail detail, std::span<std::int16_t> room,
                      ByteWriter& side) const = 0;

  // Reads what `fit` wrote, and refuses what it cannot have written.
  virtual void check(Workspace& workspace, ByteReader& side) const = 0;

  // The classes again. Takes what has been checked from `side`.
  virtual Classes classes(Workspace& workspace, ByteReader& side, std::span<std::int16_t> room) const noexcept = 0;
};

// scale=flat|block:N|separable|profile. `tensors` may be empty: then separable is block:256. Without a profile, `profile`
// is `flat`.
std::unique_ptr<ScaleModel> make_scale_model(std::string_view choice, std::size_t values, std::span<const Tensor> tensors,
                                             const ProfileScales* profile);

}  // namespace fewbits
