#include "codecs/hadamard.h"

#include <algorithm>
#include <bit>

#include "kernels/kernels.h"

namespace fewbits {
namespace {

constexpr ParameterSpec kParameters[] = {
    {.name = "seed", .type = ParameterType::kChoice, .choices = "round|client", .default_value = "round",
     .summary = "all clients of a round share the rotation, so that the server undoes it once, or each has its own"},
};

// A vector of any length n is rotated without padding: the transform of length b, the largest power of two up to n, is
// applied to the first b coordinates and then, where b < n, to the last b. Both are orthonormal, so their product is.
class Hadamard final : public Transform {
 public:
  Hadamard(const Parameters& parameters, std::size_t inputs)
      : n_(inputs), block_(std::bit_floor(inputs)), per_client_(parameters.choice("seed") == "client") {
    // 1/sqrt(block): a power of two, times sqrt(1/2) where the exponent is odd.
    const int exponent = std::countr_zero(std::max<std::size_t>(block_, 1));
    forward_scale_ = exponent % 2 == 0 ? 1.0f : 0x1.6a09e6p-1f;
    for (int i = 0; i < exponent / 2; ++i) forward_scale_ *= 0.5f;
    // Undoes the rounded scale exactly: H·H = block.
    inverse_scale_ = 1.0 / (static_cast<double>(forward_scale_) * static_cast<double>(block_));
  }

  std::size_t outputs() const noexcept override { return n_; }
  bool shared() const noexcept override { return !per_client_; }
  Traits traits(const InputTraits&) const override { return {Unbiased::kAlways, 0.0, 1.0}; }

  InputTraits output_traits(const InputTraits& input) const override {
    const double spread = n_ == 0 ? 1 : static_cast<double>(n_) / static_cast<double>(block_);
    return {input.values, spread, per_client_ || input.own_rotation};
  }

  void forward(const StageContext& context, std::span<const float> x, std::span<float> y, ByteWriter&) const override {
    if (n_ == 0) return;
    kernels::rotate(context.key(per_client_, Purpose::kSigns), x.first(block_), forward_scale_, y.first(block_));
    if (block_ == n_) return;
    std::ranges::copy(x.subspan(block_), y.subspan(block_).begin());
    const std::span<float> tail = y.last(block_);
    kernels::rotate(context.key(per_client_, Purpose::kSigns2), tail, forward_scale_, tail);
  }

  void inverse_add(const StageContext& context, std::span<const std::byte>, std::span<double> y,
                   std::span<double> x) const noexcept override {
    if (n_ == 0) return;
    const std::uint64_t key = context.key(per_client_, Purpose::kSigns);
    if (block_ != n_) {
      kernels::rotate_back(context.key(per_client_, Purpose::kSigns2), inverse_scale_, y.last(block_));
      for (std::size_t i = block_; i < n_; ++i) x[i] += y[i];
    }
    kernels::rotate_back_add(key, inverse_scale_, y.first(block_), x.first(block_));
  }

 private:
  std::size_t n_;
  std::size_t block_;
  bool per_client_;
  float forward_scale_ = 1;
  double inverse_scale_ = 1;
};

}  // namespace

const StageDescriptor kHadamard{
    .id = 2,
    .name = "hadamard",
    .summary = "rotates by random signs and the Walsh–Hadamard transform, which evens out the magnitudes; any length, "
               "without padding",
    .source = "Konečný et al. 2016, arXiv 1610.05492, section 3 (structured random rotations); Suresh et al. 2017, "
              "arXiv 1611.00429, section 3",
    .parameters = kParameters,
    .make_transform = [](const Parameters& p, const InputShape& input) -> std::unique_ptr<Transform> {
      return std::make_unique<Hadamard>(p, input.values);
    },
};

}  // namespace fewbits
