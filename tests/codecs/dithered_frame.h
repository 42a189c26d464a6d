#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <vector>

#include "codec_impl.h"
#include "profile_state.h"
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

  // `profile`: that of the codec, where it has one.
  explicit DitheredFrame(const Codec& codec, const Profile* profile = nullptr) : n_(codec.elements()) {
    const auto& stage = codec.impl().plan().rules.front().quantizer;
    if (stage.descriptor->name == "trellis") {
      const std::string_view states = stage.parameters.choice("states");
      states_ = states == "8" ? 8 : states == "64" ? 64 : 256;
    }
    if (stage.parameters.has("step")) step_ = stage.parameters.number("step");
    ProfileScales scales;
    fitted_ = profile != nullptr && !profile->is_flat();
    if (fitted_) {
      scales.tensors = profile->state().tensors;
      if (profile->has_common_step()) common_level_ = profile->state().levels.front();
    }
    scale_ = make_scale_model(stage.parameters.choice("scale"), n_, codec.layout().tensors(), fitted_ ? &scales : nullptr);
    workspace_.reserve(scale_->workspace_bytes());
    classes_.resize(n_);
    keep_.resize(n_);
    noise_.resize(n_);
  }

  void open(std::span<const std::byte> frame) {
    const FrameInfo info = inspect(frame);
    ByteReader in(frame.subspan(info.sections.at(0).offset, info.sections.at(0).bytes));
    const Classes found = scale_->classes(workspace_, in, classes_);
    classes_ = std::vector<std::int16_t>(found.of.begin(), found.of.end());
    side_bytes_ = in.offset();
    std::ranges::fill(keep_, 0.0);
    std::ranges::fill(noise_, 0.0);
    flat_ = false;
    double gain = 0, level = 0;
    if (step_ != 0 || common_level_) {
      zero_ = in.u8() >> 5 == 7;
      level = common_level_.value_or(0);
    } else {
      const auto pair = [&] {
        const unsigned low = in.u8();
        return low | static_cast<unsigned>(in.u8()) << 8;
      };
      unsigned both = pair();
      flat_ = fitted_ && both == (7u << 13 | 8190);
      if (flat_) {
        std::ranges::fill(classes_, std::int16_t{0});
        both = pair();
      }
      zero_ = both >> 13 == 7;
      level = 1024 + 8.0 * *std::ranges::max_element(classes_) - (both & 8191);
      if (!zero_) {
        const auto zigzag = static_cast<double>(in.varint());
        gain = std::fmod(zigzag, 2) == 0 ? zigzag / 2 : -(zigzag + 1) / 2;
      }
    }
    if (zero_) return;
    for (std::size_t i = 0; i < n_; ++i) {
      if (classes_[i] == kZeroClass) continue;
      if (step_ != 0) {
        keep_[i] = 1;
        noise_[i] = step_ * step_ * code().error;
        continue;
      }
      const double above = (8.0 * classes_[i] - level) / 32;  // octaves of the standard deviation
      const double variance = std::exp2((classes_[i] + gain) / 2);
      keep_[i] = std::exp2(std::min(0.0, above));
      // D(D + σ²) = σ²/μ for all that are above the level, and so that D is `coarse`·σ² at it.
      const double at_level = code().coarse * (1 + code().coarse) * std::exp2(-2 * above);
      const double relative = above <= 0 ? code().coarse : (std::sqrt(1 + 4 * at_level) - 1) / 2;
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
  bool flat() const { return flat_; }  // the update does not fit the profile

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
  bool fitted_ = false;
  std::optional<std::int32_t> common_level_;
  std::unique_ptr<ScaleModel> scale_;
  Workspace workspace_;
  std::vector<std::int16_t> classes_;
  std::vector<double> keep_, noise_;
  std::size_t side_bytes_ = 0;
  bool zero_ = false;
  bool flat_ = false;
};

}  // namespace fewbits::test
