#include "codecs/qsgd.h"

#include <algorithm>
#include <cmath>

#include "kernels/kernels.h"

namespace fewbits {
namespace {

constexpr ParameterSpec kParameters[] = {
    {.name = "levels", .type = ParameterType::kInteger, .min = 1, .max = 32767,
     .summary = "magnitudes above zero: multiples of norm/levels"},
    {.name = "bucket", .type = ParameterType::kInteger, .min = 0, .max = 1 << 24, .default_value = "0",
     .summary = "values that share a norm (4 bytes a bucket); 0: all of them"},
};

class Qsgd final : public Quantizer {
 public:
  Qsgd(const Parameters& parameters, std::size_t values)
      : n_(values), levels_(static_cast<std::uint32_t>(parameters.integer("levels"))),
        bucket_(static_cast<std::size_t>(parameters.integer("bucket"))) {
    if (bucket_ == 0 || bucket_ > n_) bucket_ = n_;
  }

  // Alistarh et al. 2017, lemma 3.1. An error is under norm/levels in each value.
  Traits traits(const InputTraits&) const override {
    if (n_ == 0) return {Unbiased::kAlways, 0.0, 1.0};
    const double share = std::sqrt(static_cast<double>(bucket_)) / levels_;
    return {Unbiased::kAlways, std::min(share * share, share), 1 + share};
  }

  std::uint64_t alphabet_size() const noexcept override { return 2 * std::uint64_t{levels_} + 1; }
  std::size_t max_side_bytes() const noexcept override { return buckets() * kNormBytes; }
  std::size_t workspace_bytes() const noexcept override { return Workspace::bytes_for<double>(buckets()); }

  void quantize(const StageContext& context, std::span<const float> x, std::span<std::int32_t> symbols,
                ByteWriter& side) const override {
    const Workspace::Scope scope(*context.workspace);
    const auto slopes = context.workspace->take<double>(buckets());
    for_buckets([&](std::size_t bucket, std::size_t start, std::size_t count) {
      // Rounding is monotone in every step, so that a norm is never below a value.
      const auto norm = static_cast<float>(std::sqrt(kernels::sum_of_squares(x.subspan(start, count))));
      if (!std::isfinite(norm))
        throw Error(Errc::kBadArgument, "the norm of bucket " + std::to_string(bucket) +
                                            " is beyond float32; scale the update down or use smaller buckets");
      slopes[bucket] = norm == 0 ? 0 : levels_ / static_cast<double>(norm);
      side.f32(norm);
    });
    if (n_ != 0) kernels::round_magnitudes(context.key(true, Purpose::kRounding), bucket_, slopes, x, symbols);
  }

  void check_side(const StageContext&, ByteReader& side) const override {
    for (std::size_t bucket = 0; bucket < buckets(); ++bucket) side.scale();
  }

  double check_symbols(const StageContext&, std::span<const std::byte> side,
                       std::span<const std::int32_t> symbols) const override {
    ByteReader reader(side);
    double most = 0;
    for_buckets([&](std::size_t bucket, std::size_t start, std::size_t count) {
      const double norm = reader.f32();
      const std::int32_t largest = std::ranges::max(symbols.subspan(start, count));
      if (norm == 0 && largest != 0)
        throw Error(Errc::kMalformed, "the norm of bucket " + std::to_string(bucket) + " is zero and a value is not");
      most = std::max(most, norm * ((largest + 1) / 2) / levels_);
    });
    return most;
  }

  void accumulate(const StageContext&, std::span<const std::byte> side, std::span<const std::int32_t> symbols,
                  double weight, std::span<double> sum) const noexcept override {
    ByteReader reader(side);
    for_buckets([&](std::size_t, std::size_t start, std::size_t count) {
      const double step = static_cast<double>(reader.f32()) / levels_;
      kernels::accumulate_signed(weight * step, symbols.subspan(start, count), sum.subspan(start, count));
    });
  }

 private:
  static constexpr std::size_t kNormBytes = 4;

  std::size_t buckets() const noexcept { return n_ == 0 ? 0 : (n_ + bucket_ - 1) / bucket_; }

  template <class Visit>
  void for_buckets(Visit visit) const {
    for (std::size_t bucket = 0; bucket < buckets(); ++bucket)
      visit(bucket, bucket * bucket_, std::min(bucket_, n_ - bucket * bucket_));
  }

  std::size_t n_;
  std::uint32_t levels_;
  std::size_t bucket_;
};

}  // namespace

const StageDescriptor kQsgd{
    .id = 14,
    .name = "qsgd",
    .summary = "magnitudes as multiples of a fraction of the norm, rounded up or down at random so that their mean stays "
               "right, and signs",
    .source = "Alistarh et al. 2017, QSGD, arXiv 1610.02132, section 3.1",
    .parameters = kParameters,
    .make_quantizer = [](const Parameters& p, const InputShape& input) -> std::unique_ptr<Quantizer> {
      return std::make_unique<Qsgd>(p, input.values);
    },
    .default_coder = [](const Parameters&) -> std::string_view { return "rans"; },
};

}  // namespace fewbits
