#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "codec_impl.h"
#include "scale.h"
#include "tests/engine/support.h"

namespace fewbits::test {

// Of frames of `dither` and `trellis` in plans of that one stage: how probably each coordinate is kept, and the variance
// of its error by quantization where it is, from the frame's own settings by the formulas of docs/codecs.md, written down
// once more and with the logarithms of libm.
class DitheredFrame {
 public:
  // Squared steps: of the code's error, and of the most that a single value errs.
  struct Code {
    double error;
    double alone;
    double coarse;  // noise ÷ variance of values that are not all kept
    double ends;    // what a path's first and last steps err more
  };
  static Code code_of(unsigned states) {
    switch (states) {
      case 1: return {1.0 / 12, 1.0 / 12, 1.0, 0};
      case 8: return {0.25955, 1.0 / 3, 1.2, 0.45};
      case 64: return {0.24988, 1.0 / 3, 1.2, 0.75};
      default: return {0.24539, 1.0 / 3, 1.2, 0.97};
    }
  }

  explicit DitheredFrame(const Codec& codec, const ProfileScales* profile = nullptr)
      : n_(codec.elements()) {
    const auto& stage = codec.impl().plan().rules.front().quantizer;
    states_ = stage.descriptor->name == "dither" ? 1 : static_cast<unsigned>(std::stoul(std::string(stage.parameters.choice("states"))));
    if (stage.parameters.has("step")) step_ = stage.parameters.number("step");
    scale_ = make_scale_model(stage.parameters.choice("scale"), n_, codec.layout().tensors(), profile);
    if (profile != nullptr) common_level_ = profile->level;
    workspace_.reserve(scale_->workspace_bytes());
    classes_.resize(n_);
    keep_.resize(n_);
    noise_.resize(n_);
  }

  void open(std::span<const std::byte> frame) {
    const FrameInfo info = inspect(frame);
    ByteReader in(frame.subspan(info.sections.at(0).offset, info.sections.at(0).bytes));
    scale_->classes(workspace_, in, classes_);
    side_bytes_ = in.offset();
    std::ranges::fill(keep_, 0.0);
    std::ranges::fill(noise_, 0.0);
    zero_ = false;
    if (step_ != 0) {
      shape_ = in.u8() >> 5;
      zero_ = shape_ == 7;
      if (zero_) return;
      std::ranges::fill(keep_, 1.0);
      std::ranges::fill(noise_, step_ * step_ * code().error);
      return;
    }
    double gain = 0;
    double level = 0;
    flat_ = false;
    if (common_level_) {
      shape_ = in.u8() >> 5;
      zero_ = shape_ == 7;
      if (zero_) return;
      level = *common_level_;
    } else {
      unsigned both = in.u8();
      both |= static_cast<unsigned>(in.u8()) << 8;
      flat_ = both == 65534;   // the profile is left aside
      if (flat_) {
        std::ranges::fill(classes_, std::int16_t{0});
        both = in.u8();
        both |= static_cast<unsigned>(in.u8()) << 8;
      }
      shape_ = static_cast<int>(both >> 13);
      zero_ = shape_ == 7;
      if (zero_) return;
      const std::uint64_t zigzag = in.varint();
      gain = (zigzag & 1) != 0 ? -static_cast<double>(zigzag / 2 + 1) : static_cast<double>(zigzag / 2);
      level = 1024 + 8.0 * *std::ranges::max_element(classes_) - (both & 8191);
    }
    for (std::size_t i = 0; i < n_; ++i) {
      if (classes_[i] == kZeroClass) continue;
      const double above = (8.0 * classes_[i] - level) / 32;  // octaves of the standard deviation
      const double variance = std::exp2((classes_[i] + gain) / 2);
      keep_[i] = std::exp2(std::min(0.0, above));
      // D(D + σ²) is the same for all that are above the level.
      const double at_level = code().coarse * (1 + code().coarse);
      const double relative =
          above <= 0 ? code().coarse : (std::sqrt(1 + 4 * at_level * std::exp2(-2 * above)) - 1) / 2;
      noise_[i] = variance * relative / (keep_[i] * keep_[i]);
    }
  }

  Code code() const { return code_of(states_); }
  std::span<const std::int16_t> classes() const { return classes_; }
  // Per coordinate: probability, and variance of x̂ − x/p where it is kept.
  std::span<const double> keep() const { return keep_; }
  std::span<const double> noise() const { return noise_; }
  std::size_t side_bytes() const { return side_bytes_; }  // of the scales
  bool zero() const { return zero_; }
  bool flat() const { return flat_; }
  int shape() const { return shape_; }

  // E(x̂ − x)² of a coordinate.
  double variance(std::size_t i, double x) const {
    return keep_[i] == 0 ? 0 : keep_[i] * noise_[i] + (1 / keep_[i] - 1) * x * x;
  }

  // E‖x̂ − x‖², with the ends of the paths.
  double energy(std::span<const float> x) const {
    double kept = 0, quantized = 0, dropped = 0;
    for (std::size_t i = 0; i < n_; ++i) {
      if (keep_[i] == 0) continue;
      kept += keep_[i];
      quantized += keep_[i] * noise_[i];
      dropped += (1 / keep_[i] - 1) * static_cast<double>(x[i]) * static_cast<double>(x[i]);
    }
    const double paths = states_ == 1 ? 0 : kept < 4096 ? 1 : kept < 32768 ? 8 : 32;
    const double error = std::min(code().alone, code().error + code().ends * paths / std::max(1.0, kept));
    return quantized * error / code().error + dropped;
  }

 private:
  std::size_t n_;
  unsigned states_ = 1;
  double step_ = 0;
  std::optional<std::int32_t> common_level_;
  std::unique_ptr<ScaleModel> scale_;
  Workspace workspace_;
  std::vector<std::int16_t> classes_;
  std::vector<double> keep_, noise_;
  std::size_t side_bytes_ = 0;
  bool zero_ = false;
  bool flat_ = false;
  int shape_ = 0;
};

}  // namespace fewbits::test
