#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <memory>
#include <numeric>
#include <vector>

#include "codec_impl.h"
#include "stage.h"

namespace fewbits::test {

// A plan of one rule, taken apart: for one round's draws of masks and rotations, what an update decodes to on average
// over the dither, and the exact variances that remain. Errors of `quantize` are independent from coefficient to
// coefficient: of a value y at the fraction f of a step between two points, the error is (1 − f)·step with probability
// f and −f·step else, so its variance is f(1 − f)·step². The way back is linear, so variances go back by the squares of
// its matrix: exactly, from the matrix itself, up to kMatrix coordinates; above, each coefficient of a rotation of 2^k
// values has the square 1/2^k, and a mask's matrix is n/k at the kept places. Needs plans with at most one mask and one
// rotation.
class Probe {
 public:
  static constexpr std::size_t kMatrix = 64;
  enum class Norm { kSum, kSquares, kMax };  // of |M_ij|·v_j over j: Σ|M|v, ΣM²v, max|M|v

  explicit Probe(const Codec& codec) : n_(codec.elements()), rule_(codec.impl().plan().rules.front()) {
    std::size_t size = n_;
    std::size_t scratch = codec.impl().workspace_bytes();
    sizes_.push_back(size);
    for (const auto& stage : rule_.transforms) {
      transforms_.push_back(stage.descriptor->make_transform(stage.parameters, {size}));
      size = transforms_.back()->outputs();
      sizes_.push_back(size);
      scratch += transforms_.back()->workspace_bytes();
    }
    workspace_.reserve(scratch);
    values_.resize(transforms_.size() + 1);
  }

  std::size_t transforms() const { return transforms_.size(); }
  bool is(std::size_t stage, std::string_view name) const { return rule_.transforms[stage].descriptor->name == name; }
  std::size_t inputs(std::size_t stage) const { return sizes_[stage]; }
  std::size_t outputs(std::size_t stage) const { return sizes_[stage + 1]; }
  double gain(std::size_t stage) const {
    return static_cast<double>(inputs(stage)) / static_cast<double>(outputs(stage));
  }

  // The draws of one frame.
  void draw(const Context& keys) {
    keys_ = keys;
    matrices_.assign(transforms_.size() + 1, {});
    kept_.assign(transforms_.size(), {});
    for (std::size_t s = 0; s < transforms_.size(); ++s) {
      if (!is(s, "mask")) continue;
      std::vector<float> places(inputs(s)), kept(outputs(s));
      std::iota(places.begin(), places.end(), 0.0f);
      forward_stage(s, places, kept);
      kept_[s].assign(kept.begin(), kept.end());
    }
  }

  // Runs the transforms on x, and works out what the coefficients lead to.
  void apply(std::span<const float> x) {
    values_[0].assign(x.begin(), x.end());
    for (std::size_t s = 0; s < transforms_.size(); ++s) {
      values_[s + 1].resize(outputs(s));
      forward_stage(s, values_[s], values_[s + 1]);
    }
    quantizer_errors();
    mean_ = back(transforms_.size(), std::vector<double>(values_.back().begin(), values_.back().end()));
  }

  const std::vector<double>& mean() const { return mean_; }  // E over the dither of the decoded update, shape [n]

  // Of coefficients, shape [values]: variance; fourth central moment less the variance's square; a step; and how far
  // the encoder's float32 arithmetic may shift the mean (see quantizer_errors).
  const std::vector<double>& variance() const { return variance_; }
  const std::vector<double>& variance_of_square() const { return variance_of_square_; }
  const std::vector<double>& step() const { return step_; }
  const std::vector<double>& shift() const { return shift_; }
  const std::vector<float>& values(std::size_t stage) const { return values_[stage]; }

  // v (shape [values behind `stages` transforms]) taken back to coordinates.
  std::vector<double> propagate(std::size_t stages, std::vector<double> v, Norm norm) {
    if (n_ <= kMatrix) return by_matrix(stages, v, norm);
    for (std::size_t s = stages; s-- > 0;) v = is(s, "mask") ? back_mask(s, v, norm) : back_rotation(v, norm);
    return v;
  }

  // Variance of each coordinate over the draw of the mask at stage s, given the transforms before it: a sum over a
  // simple random sample of k out of N has variance k(1 − k/N)·S², S² = Σ(a_j − ā)²/(N − 1), where a_j = M_ij u_j.
  std::vector<double> mask_variance(std::size_t s) {
    const auto& u = values_[s];
    std::vector<double> squares(u.size());
    std::ranges::transform(u, squares.begin(), [](float v) { return static_cast<double>(v) * static_cast<double>(v); });
    auto result = propagate(s, squares, Norm::kSquares);
    const auto sums = back(s, std::vector<double>(u.begin(), u.end()));
    const auto big = static_cast<double>(inputs(s));
    const auto small = static_cast<double>(outputs(s));
    for (std::size_t i = 0; i < n_; ++i) {
      const double spread = big == 1 ? 0 : std::max(0.0, result[i] - sums[i] * sums[i] / big) / (big - 1);
      result[i] = big * big / small * (1 - small / big) * spread;
    }
    return result;
  }

 private:
  StageContext context(std::size_t stage) { return {keys_, 0, static_cast<std::uint32_t>(stage), &workspace_}; }

  void forward_stage(std::size_t s, std::span<const float> x, std::span<float> y) {
    std::vector<std::byte> side;
    ByteWriter writer(side);
    transforms_[s]->forward(context(s), x, y, writer);
  }

  // The way back from behind `stages` transforms.
  std::vector<double> back(std::size_t stages, std::vector<double> v) {
    for (std::size_t s = stages; s-- > 0;) {
      std::vector<double> x(inputs(s), 0.0);
      transforms_[s]->inverse_add(context(s), {}, v, x);
      v = std::move(x);
    }
    return v;
  }

  // The encoder places v at (v − lo)·slope in float32: a difference, a rounded slope and a product, each within 2^-24
  // of at most K steps, then to a multiple of 2^-23 step: the fraction is right within 3K·2^-24 + 2^-24. That moves the
  // mean by as many steps, and f(1 − f) by no more.
  void quantizer_errors() {
    const auto& y = values_.back();
    for (auto* v : {&variance_, &variance_of_square_, &step_, &shift_}) v->assign(y.size(), 0.0);
    if (rule_.quantizer.descriptor->name != "quantize") return;  // f32: no error
    const auto levels = static_cast<double>((1 << rule_.quantizer.parameters.integer("bits")) - 1);
    auto block = static_cast<std::size_t>(rule_.quantizer.parameters.integer("block"));
    if (block == 0) block = y.size();
    for (std::size_t start = 0; start < y.size(); start += block) {
      const std::size_t end = std::min(start + block, y.size());
      const auto [low, high] = std::ranges::minmax(std::span(y).subspan(start, end - start));
      const double step = (static_cast<double>(high) - static_cast<double>(low)) / levels;
      if (step == 0) continue;
      for (std::size_t j = start; j < end; ++j) {
        const double place = (static_cast<double>(y[j]) - static_cast<double>(low)) / step;
        const double f = place - std::floor(place);
        const double fuzz = (3 * levels + 1) * 0x1p-24;
        const double variance = f * (1 - f);
        variance_[j] = (variance + (y[j] == low ? 0 : fuzz)) * step * step;
        variance_of_square_[j] =
            (variance * (std::pow(1 - f, 3) + std::pow(f, 3)) - variance * variance + fuzz) * std::pow(step, 4);
        step_[j] = step;
        shift_[j] = fuzz * step;
      }
    }
  }

  std::vector<double> by_matrix(std::size_t stages, const std::vector<double>& v, Norm norm) {
    auto& matrix = matrices_[stages];
    if (matrix.empty())
      for (std::size_t j = 0; j < sizes_[stages]; ++j) {
        std::vector<double> unit(sizes_[stages], 0.0);
        unit[j] = 1;
        matrix.push_back(back(stages, std::move(unit)));
      }
    std::vector<double> result(n_, 0.0);
    for (std::size_t j = 0; j < v.size(); ++j)
      for (std::size_t i = 0; i < n_; ++i) add(result[i], std::abs(matrix[j][i]), v[j], norm);
    return result;
  }

  static void add(double& result, double entry, double value, Norm norm) {
    if (norm == Norm::kMax)
      result = std::max(result, entry * value);
    else
      result += (norm == Norm::kSquares ? entry * entry : entry) * value;
  }

  std::vector<double> back_mask(std::size_t s, const std::vector<double>& v, Norm norm) const {
    std::vector<double> result(inputs(s), 0.0);
    for (std::size_t j = 0; j < v.size(); ++j) add(result[kept_[s][j]], gain(s), v[j], norm);
    return result;
  }

  static std::vector<double> back_rotation(const std::vector<double>& v, Norm norm) {
    FEWBITS_DCHECK(std::has_single_bit(v.size()));
    double result = 0;
    for (const double value : v) add(result, 1 / std::sqrt(static_cast<double>(v.size())), value, norm);
    return std::vector<double>(v.size(), result);
  }

  std::size_t n_;
  const Plan::Rule& rule_;
  std::vector<std::unique_ptr<Transform>> transforms_;
  std::vector<std::size_t> sizes_;
  Workspace workspace_;
  Context keys_;
  std::vector<std::vector<float>> values_;
  std::vector<std::vector<std::size_t>> kept_;
  std::vector<std::vector<std::vector<double>>> matrices_;  // a column a coefficient, for each number of transforms
  std::vector<double> mean_, variance_, variance_of_square_, step_, shift_;
};

}  // namespace fewbits::test
