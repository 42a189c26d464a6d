#include "codecs/mask.h"

#include "kernels/kernels.h"

namespace fewbits {
namespace {

constexpr ParameterSpec kParameters[] = {
    {.name = "keep", .type = ParameterType::kNumber, .min = 0, .max = 1, .min_excluded = true,
     .summary = "share of the coordinates that is kept; at least one is"},
    {.name = "seed", .type = ParameterType::kChoice, .choices = "round|client", .default_value = "client",
     .summary = "all clients of a round keep the same coordinates, or each its own"},
};

class Mask final : public Transform {
 public:
  Mask(const Parameters& parameters, std::size_t inputs)
      : inputs_(inputs), outputs_(kept_of(parameters.number("keep"), inputs)),
        per_client_(parameters.choice("seed") == "client") {}

  std::size_t outputs() const noexcept override { return outputs_; }
  bool shared() const noexcept override { return !per_client_; }

  Traits traits(const InputTraits&) const override {
    const double gain = outputs_ == 0 ? 1 : static_cast<double>(inputs_) / static_cast<double>(outputs_);
    return {Unbiased::kAlways, gain - 1, gain};
  }

  InputTraits output_traits(const InputTraits& input) const override {
    return {outputs_, input.rotated_spread, input.own_rotation};
  }

  std::size_t workspace_bytes() const noexcept override {
    return Workspace::bytes_for<std::uint64_t>(kernels::subset_scratch(inputs_)) +
           Workspace::bytes_for<std::uint32_t>(outputs_);
  }

  void forward(const StageContext& context, std::span<const float> x, std::span<float> y, ByteWriter&) const override {
    const Workspace::Scope scope(*context.workspace);
    const auto indices = draw(context);
    for (std::size_t i = 0; i < y.size(); ++i) y[i] = x[indices[i]];
  }

  void inverse_add(const StageContext& context, std::span<const std::byte>, std::span<double> y,
                   std::span<double> x) const noexcept override {
    const Workspace::Scope scope(*context.workspace);
    const auto indices = draw(context);
    const double gain = static_cast<double>(inputs_) / static_cast<double>(outputs_);
    for (std::size_t i = 0; i < y.size(); ++i) x[indices[i]] += gain * y[i];
  }

 private:
  std::span<const std::uint32_t> draw(const StageContext& context) const noexcept {
    const auto scratch = context.workspace->take<std::uint64_t>(kernels::subset_scratch(inputs_));
    const auto indices = context.workspace->take<std::uint32_t>(outputs_);
    kernels::subset(context.key(per_client_, Purpose::kSubset), inputs_, scratch, indices);
    return indices;
  }

  std::size_t inputs_;
  std::size_t outputs_;
  bool per_client_;
};

class MaskSubspace final : public Subspace {
 public:
  explicit MaskSubspace(std::vector<std::uint32_t> indices) : indices_(std::move(indices)) {}

  void expand_add(std::span<const float> free, std::span<float> update) const override {
    for (std::size_t i = 0; i < free.size(); ++i) update[indices_[i]] += free[i];
  }

  void pull_back(std::span<const float> gradient, std::span<float> free) const override {
    for (std::size_t i = 0; i < free.size(); ++i) free[i] = gradient[indices_[i]];
  }

  // The columns of E are unit vectors, so that its pseudo-inverse is its transpose.
  void project(std::span<const float> update, std::span<float> free) const override { pull_back(update, free); }

 private:
  std::vector<std::uint32_t> indices_;   // of the free coordinates, rising
};

// Every tensor keeps the same share, so that its name and its number of free coordinates do not depend on the draw.
class MaskFamily final : public Family {
 public:
  MaskFamily(const Parameters& parameters, const Layout& layout) : layout_(layout), free_(shrink(parameters, layout)) {}

  const Layout& free_layout() const noexcept override { return free_; }

  std::unique_ptr<Subspace> draw(const StageContext& context) const override {
    std::vector<std::uint32_t> indices(free_.elements());
    std::vector<std::uint64_t> scratch;
    for (std::size_t t = 0; t < layout_.tensors().size(); ++t) {
      const std::size_t n = layout_.tensors()[t].elements();
      const auto own = std::span(indices).subspan(free_.offset(t), free_.tensors()[t].elements());
      scratch.resize(kernels::subset_scratch(n));
      StageContext tensor = context;
      tensor.stage = static_cast<std::uint32_t>(t);
      kernels::subset(tensor.key(false, Purpose::kFamilyMask), n, scratch, own);
      for (std::uint32_t& index : own) index += static_cast<std::uint32_t>(layout_.offset(t));
    }
    return std::make_unique<MaskSubspace>(std::move(indices));
  }

 private:
  static Layout shrink(const Parameters& parameters, const Layout& layout) {
    std::vector<Tensor> tensors;
    for (const Tensor& tensor : layout.tensors())
      tensors.push_back({tensor.name, {kept_of(parameters.number("keep"), tensor.elements())}});
    return Layout(std::move(tensors));
  }

  Layout layout_;
  Layout free_;
};

}  // namespace

const StageDescriptor kMask{
    .id = 1,
    .name = "mask",
    .summary = "keeps a random subset of exactly round(keep*n) coordinates, drawn without replacement from the shared "
               "randomness, and scales it at the decoder; as a structure, trains only such a subset of each tensor",
    .source = "Konečný et al. 2016, arXiv 1610.05492, section 2 (random mask) and section 3 (subsampling)",
    .parameters = kParameters,
    .make_transform = [](const Parameters& p, const InputShape& input) -> std::unique_ptr<Transform> {
      return std::make_unique<Mask>(p, input.values);
    },
    .make_family = [](const Parameters& p, const Layout& layout) -> std::unique_ptr<Family> {
      return std::make_unique<MaskFamily>(p, layout);
    },
};

}  // namespace fewbits
