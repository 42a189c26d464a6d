#include "codecs/permk.h"

#include <numeric>
#include <utility>

namespace fewbits {
namespace {

constexpr ParameterSpec kParameters[] = {
    {.name = "cohort", .type = ParameterType::kInteger, .min = 1, .max = 1 << 20,
     .summary = "clients that are asked in a round; each sends one part in so many of its coordinates"},
};

// A permutation of the coordinates that all clients of a round share is cut into as many blocks as there are clients. Blocks differ
// by a coordinate where they cannot be equal, and are dealt from a random client on: so each coordinate falls to each client
// with the chance 1/N, and to exactly one of them. A short block is filled up by a zero.
class PermK final : public Transform {
 public:
  PermK(const Parameters& parameters, std::size_t inputs)
      : n_(inputs), cohort_(static_cast<std::uint32_t>(parameters.integer("cohort"))) {}

  std::size_t outputs() const noexcept override { return (n_ + cohort_ - 1) / cohort_; }
  bool shared() const noexcept override { return false; }
  std::uint32_t cohort() const noexcept override { return cohort_; }

  // The error of one client, over the permutations: a coordinate is multiplied by N with the chance 1/N, else lost.
  Traits traits(const InputTraits&) const override {
    return {Unbiased::kAlways, static_cast<double>(cohort_) - 1, static_cast<double>(cohort_)};
  }

  InputTraits output_traits(const InputTraits& input) const override {
    return {outputs(), input.rotated_spread, input.own_rotation};
  }

  std::size_t workspace_bytes() const noexcept override { return Workspace::bytes_for<std::uint32_t>(n_); }

  void forward(const StageContext& context, std::span<const float> x, std::span<float> y, ByteWriter&) const override {
    const Workspace::Scope scope(*context.workspace);
    const auto block = draw(context);
    for (std::size_t i = 0; i < y.size(); ++i) y[i] = i < block.size() ? x[block[i]] : 0;
  }

  void inverse_add(const StageContext& context, std::span<const std::byte>, std::span<double> y,
                   std::span<double> x) const noexcept override {
    const Workspace::Scope scope(*context.workspace);
    const auto block = draw(context);
    for (std::size_t i = 0; i < block.size(); ++i) x[block[i]] += static_cast<double>(cohort_) * y[i];
  }

 private:
  // The client's block. Shuffles (Fisher, Yates; Durstenfeld 1964) up to its end.
  std::span<const std::uint32_t> draw(const StageContext& context) const noexcept {
    const auto order = context.workspace->take<std::uint32_t>(n_);
    std::iota(order.begin(), order.end(), std::uint32_t{0});
    RandomReader random(context.key(false, Purpose::kPermutation));
    const std::uint64_t block = (context.keys.cohort.index + random.below(cohort_)) % cohort_;
    const auto begin = static_cast<std::size_t>(block * n_ / cohort_);
    const auto end = static_cast<std::size_t>((block + 1) * n_ / cohort_);
    for (std::size_t i = 0; i < end; ++i) std::swap(order[i], order[i + random.below(n_ - i)]);
    return order.subspan(begin, end - begin);
  }

  std::size_t n_;
  std::uint32_t cohort_;
};

}  // namespace

const StageDescriptor kPermK{
    .id = 19,
    .name = "permk",
    .summary = "the clients of a round share the coordinates out by a permutation that they have in common, so that the mean "
               "of equal updates is exact; needs their places in the cohort",
    .source = "Szlendak, Tyurin, Richtárik 2021, arXiv 2110.03300, definition 3 (Perm-K)",
    .parameters = kParameters,
    .make_transform = [](const Parameters& p, const InputShape& input) -> std::unique_ptr<Transform> {
      return std::make_unique<PermK>(p, input.values);
    },
};

}  // namespace fewbits
