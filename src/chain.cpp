#include "chain.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "kernels/kernels.h"

namespace fewbits {

namespace {

std::size_t elements_of(std::span<const Tensor> tensors) {
  std::size_t elements = 0;
  for (const Tensor& tensor : tensors) elements += tensor.elements();
  return elements;
}

}  // namespace

Chain::Chain(const Plan::Rule& rule, std::uint32_t group, std::span<const Tensor> tensors, const ProfileScales* profile)
    : group_(group), elements_(elements_of(tensors)), values_(elements_), sum_size_(elements_), shared_(0) {
  InputTraits input{elements_, std::nullopt, false};
  std::size_t stage_bytes = 0;    // the most that one stage takes
  std::size_t vector_bytes = 0;   // of what lies between the stages, at 8 bytes a value
  for (const auto& stage : rule.transforms) {
    auto transform = stage.descriptor->make_transform(stage.parameters, {values_, tensors, profile});
    if (!transform->keeps_tensors()) tensors = {};
    input = transform->output_traits(input);
    values_ = transform->outputs();
    max_bytes_ += transform->max_side_bytes();
    stage_bytes = std::max(stage_bytes, transform->workspace_bytes());
    vector_bytes += Workspace::bytes_for<double>(values_);
    if (transform->shared() && transform->linear() && shared_ == transforms_.size()) {
      ++shared_;
      sum_size_ = values_;
    }
    linear_ = linear_ && transform->linear();
    if (const std::uint32_t cohort = transform->cohort(); cohort != 0) {
      if (cohort_ != 0 && cohort_ != cohort)
        throw Error(Errc::kBadPlan, "a stage is made for cohorts of " + std::to_string(cohort_) + " clients and another for " +
                                        std::to_string(cohort) + "; a round has one cohort", 0);
      cohort_ = cohort;
    }
    transforms_.push_back(std::move(transform));
  }
  no_sides_.resize(shared_);
  if (!linear_) vector_bytes += Workspace::bytes_for<double>(sum_size_);
  quantizer_ = rule.quantizer.descriptor->make_quantizer(rule.quantizer.parameters,
                                                         {values_, tensors, tensors.empty() ? nullptr : profile});
  coder_ = rule.coder.descriptor->make_coder(rule.coder.parameters);
  check_stages_fit(rule, input);
  max_bytes_ += quantizer_->max_side_bytes() + coder_->max_bytes(values_, *quantizer_);
  stage_bytes = std::max(stage_bytes, quantizer_->workspace_bytes() + coder_->workspace_bytes() +
                                          coder_->scratch_bytes(values_, *quantizer_));
  workspace_bytes_ = stage_bytes + vector_bytes + (packed() ? 0 : Workspace::bytes_for<std::int32_t>(values_)) +
                     Workspace::bytes_for<std::uint16_t>(values_) + quantizer_->opened_bytes();
}

void Chain::check_stages_fit(const Plan::Rule& rule, InputTraits input) const {
  const std::string name = "'" + std::string(rule.quantizer.descriptor->name) + "'";
  if (quantizer_->knows_distribution() && !coder_->takes_distribution())
    Plan::refuse(name + " cannot be coded by '" + std::string(rule.coder.descriptor->name) +
                     "', which gives each symbol the same bits; it is followed by '" +
                     std::string(rule.quantizer.descriptor->default_coder(rule.quantizer.parameters)) + "'",
                 rule.quantizer.position);
  if (input.rotated_spread && !input.own_rotation) {
    input.own_rotation = true;
    if (quantizer_->traits(input).unbiased == Unbiased::kOverRotations)
      Plan::refuse(name + " is unbiased only over rotations that each client draws for itself; behind a rotation that all "
                          "clients of a round share their errors are alike, and the mean of many is as wrong as one: write "
                          "seed=client",
                   rule.quantizer.position);
  }
}

StageContext Chain::context(const Context& keys, std::size_t stage, Workspace& workspace) const noexcept {
  return {.keys = keys, .group = group_, .stage = static_cast<std::uint32_t>(stage), .workspace = &workspace};
}

StageContext Chain::quantizer_context(const Context& keys, Workspace& workspace, const void* opened) const noexcept {
  StageContext own = context(keys, transforms_.size(), workspace);
  own.opened = opened;
  return own;
}

SymbolModel Chain::model(const Context& keys, Workspace& workspace, std::span<const std::byte> side,
                         const void* opened) const noexcept {
  SymbolModel model;
  model.size = quantizer_->alphabet_size();
  model.context_count = quantizer_->context_count();
  if (quantizer_->knows_distribution()) {
    model.known = quantizer_.get();
    model.quantizer_context = quantizer_context(keys, workspace, opened);
    model.quantizer_side = side;
    return model;
  }
  if (model.context_count > 1) {
    const auto classes = workspace.take<std::uint16_t>(values_);
    quantizer_->contexts(quantizer_context(keys, workspace, opened), side, classes);
    model.contexts = classes;
  }
  return model;
}

template <class ContextOf>
std::span<const float> Chain::transformed(Workspace& workspace, std::span<const float> x, ContextOf context_of, ByteWriter& out) const {
  for (std::size_t stage = 0; stage < transforms_.size(); ++stage) {
    const auto y = workspace.take<float>(transforms_[stage]->outputs());
    transforms_[stage]->forward(context_of(stage), x, y, out);
    if (!kernels::all_finite(y))
      throw Error(Errc::kNotFinite, "the update is so large that a transform of it overflows float32; scale it down");
    x = y;
  }
  return x;
}

void Chain::encode(const Context& keys, Workspace& workspace, std::span<const float> x, const EncodeOptions& options,
                   ByteWriter& out) const {
  const Workspace::Scope scope(workspace);
  const std::size_t start = out.written().size();
  const auto encoding = [&](std::size_t stage) {
    StageContext own = context(keys, stage, workspace);
    own.bytes_before = options.bytes_before + out.written().size() - start;
    if (!options.memory.empty()) own.memory = &options.memory[stage];
    return own;
  };
  x = transformed(workspace, x, encoding, out);
  if (packed()) return quantizer_->quantize_packed(encoding(transforms_.size()), x, out);
  const auto symbols = workspace.take<std::int32_t>(values_);
  const std::size_t side_start = out.written().size();
  const void* opened = quantizer_->quantize_and_open(encoding(transforms_.size()), x, symbols, out);
  const SymbolModel known = model(keys, workspace, out.written().subspan(side_start), opened);
  coder_->encode(encoding(transforms_.size() + 1), symbols, known, out);
}

void Chain::unpack(const Context& keys, Workspace& workspace, ByteReader& in, std::span<std::int32_t> symbols,
                   Unpacked& section) const {
  section.sides.clear();
  const auto keep_side = [&](auto check) {
    ByteReader start = in;
    check(in);
    section.sides.push_back(start.bytes(in.offset() - start.offset()));
  };
  for (const auto& transform : transforms_) keep_side([&](ByteReader& reader) { transform->check(reader); });
  keep_side([&](ByteReader& reader) { quantizer_->check_side(context(keys, transforms_.size(), workspace), reader); });
  const auto side = section.sides.back();
  const std::uint64_t size = quantizer_->alphabet_size();
  const auto check_alphabet = [&](std::span<const std::int32_t> part) {
    if (size >> 32 == 0 &&
        std::ranges::any_of(part, [&](std::int32_t symbol) { return static_cast<std::uint32_t>(symbol) >= size; }))
      in.malformed("a symbol is outside the alphabet of " + std::to_string(size));
  };
  if (tiled()) {
    section.packed = in.bytes(coder_->max_bytes(values_, *quantizer_));
    in.expect_end();
    const StageContext quantizing = context(keys, transforms_.size(), workspace);
    section.max_abs = quantizer_->check_symbols(quantizing, side, {});
    // Where nothing but padding can be wrong, the last symbols are all there is to see.
    const bool only_padding = values_ != 0 && std::has_single_bit(size) && quantizer_->all_right(side);
    std::int32_t tile[kTile];
    for (std::size_t first = only_padding ? (values_ - 1) / Coder::kPart * Coder::kPart : 0; first < values_; first += kTile) {
      const auto part = std::span(tile).first(std::min(kTile, values_ - first));
      if (!coder_->decode_part(section.packed, *quantizer_, first, part)) in.malformed("a padding bit is set");
      if (!only_padding) check_alphabet(part);
      section.max_abs = std::max(section.max_abs, quantizer_->check_symbols(quantizing, side, part));
    }
  } else {
    section.opened = quantizer_->open(context(keys, transforms_.size(), workspace), side);
    const Workspace::Scope scope(workspace);
    coder_->decode(context(keys, transforms_.size() + 1, workspace), in, model(keys, workspace, side, section.opened), symbols);
    in.expect_end();
    check_alphabet(symbols);
    section.symbols = symbols;
    section.max_abs = quantizer_->check_symbols(quantizer_context(keys, workspace, section.opened), side, symbols);
  }
  for (std::size_t stage = transforms_.size(); stage-- > 0;)
    section.max_abs = std::max(section.max_abs, transforms_[stage]->largest(section.sides[stage], section.max_abs));
}

void Chain::inverse(const Context& keys, Workspace& workspace, std::span<const std::span<const std::byte>> sides,
                    std::size_t first, std::size_t last, std::span<double> y, std::span<double> x) const noexcept {
  const Workspace::Scope scope(workspace);
  for (std::size_t stage = last; stage-- > first;) {
    const std::size_t inputs = stage == 0 ? elements_ : transforms_[stage - 1]->outputs();
    std::span<double> back = x;
    if (stage != first) {
      back = workspace.take<double>(inputs);
      std::ranges::fill(back, 0.0);
    }
    transforms_[stage]->inverse_add(context(keys, stage, workspace), sides[stage], y, back);
    y = back;
  }
}

void Chain::accumulate_packed(std::span<const Addend> frames, std::size_t first, std::span<double> sum) const noexcept {
  const std::size_t offset = coder_->max_bytes(first, *quantizer_);
  const std::size_t bytes = coder_->max_bytes(sum.size(), *quantizer_);
  for (std::size_t done = 0; done < frames.size(); done += Quantizer::kPackedAtOnce) {
    Quantizer::Packed some[Quantizer::kPackedAtOnce];
    const std::size_t count = std::min(std::size(some), frames.size() - done);
    for (std::size_t i = 0; i < count; ++i) {
      const auto& [keys, section, weight] = frames[done + i];
      some[i] = {section->sides.back(), section->packed.subspan(offset, bytes), weight};
    }
    quantizer_->accumulate_packed(std::span(some).first(count), sum);
  }
}

void Chain::accumulate_tile(std::span<const Addend> frames, std::size_t first, std::span<double> sum) const noexcept {
  if (packed()) return accumulate_packed(frames, first, sum);
  std::int32_t tile[kTile];
  const auto part = std::span(tile).first(sum.size());
  for (const auto& [keys, section, weight] : frames) {
    coder_->decode_part(section->packed, *quantizer_, first, part);
    const StageContext quantizing{.keys = *keys, .group = group_, .stage = static_cast<std::uint32_t>(transforms_.size())};
    quantizer_->accumulate(quantizing, section->sides.back(), part, weight, sum);
  }
}

void Chain::accumulate(const Context& keys, Workspace& workspace, const Unpacked& section, double weight,
                       std::span<double> sum) const noexcept {
  if (tiled()) {
    const Addend frame{&keys, &section, weight};
    if (packed()) return accumulate_packed({&frame, 1}, 0, sum);
    for (std::size_t first = 0; first < sum.size(); first += kTile)
      accumulate_tile({&frame, 1}, first, sum.subspan(first, std::min(kTile, sum.size() - first)));
    return;
  }
  const Workspace::Scope scope(workspace);
  const std::size_t count = transforms_.size();
  const StageContext quantizing = quantizer_context(keys, workspace, section.opened);
  if (shared_ == count) {
    quantizer_->accumulate(quantizing, section.sides.back(), section.symbols, weight, sum);
    return;
  }
  const auto values = workspace.take<double>(values_);
  std::ranges::fill(values, 0.0);
  quantizer_->accumulate(quantizing, section.sides.back(), section.symbols, linear_ ? weight : 1.0, values);
  if (quantizer_->sums_integers()) quantizer_->scale_sums(quantizing, values);
  if (linear_) {
    inverse(keys, workspace, section.sides, shared_, count, values, sum);
    return;
  }
  const auto back = workspace.take<double>(sum_size_);
  std::ranges::fill(back, 0.0);
  inverse(keys, workspace, section.sides, shared_, count, values, back);
  for (std::size_t i = 0; i < back.size(); ++i) sum[i] += weight * back[i];
}

std::string Chain::why_no_integers() const {
  if (shared_ != transforms_.size())
    return "a transform is not the same for all clients of a round, or not linear (seed=round where there is a choice)";
  if (quantizer_->sums_integers()) return {};
  return quantizer_->learns() ? "it has no profile with a common step yet (Profile::with_common_step)"
                              : "its steps are not common to all clients; trellis and dither have common ones with scale=flat,step=S, "
                                "or with scale=profile and a profile with a common step";
}

void Chain::encode_integers(const Context& keys, Workspace& workspace, std::span<const float> x,
                            std::span<std::int32_t> integers) const {
  const Workspace::Scope scope(workspace);
  std::vector<std::byte> none;   // transforms that all clients share have no side values
  ByteWriter out(none);
  x = transformed(workspace, x, [&](std::size_t stage) { return context(keys, stage, workspace); }, out);
  const void* opened = quantizer_->open_common(quantizer_context(keys, workspace, nullptr));
  const StageContext quantizing = quantizer_context(keys, workspace, opened);
  // What the quantizer writes no symbol for adds the same in both sums: 0.
  std::ranges::fill(integers, 0);
  std::vector<double> sum(values_);
  quantizer_->accumulate(quantizing, {}, integers, -1, sum);
  quantizer_->quantize_common(quantizing, x, integers);
  quantizer_->accumulate(quantizing, {}, integers, 1, sum);
  std::ranges::transform(sum, integers.begin(), [](double units) {
    return static_cast<std::int32_t>(std::llrint(units / Quantizer::kUnitsPerInteger));
  });
}

void Chain::values(const Context& keys, Workspace& workspace, std::span<const float> x, std::span<float> values) const {
  const Workspace::Scope scope(workspace);
  std::vector<std::byte> none;   // transforms that all clients share have no side values
  ByteWriter out(none);
  std::ranges::copy(transformed(workspace, x, [&](std::size_t stage) { return context(keys, stage, workspace); }, out), values.begin());
}

void Chain::scale(const Context& keys, Workspace& workspace, std::span<double> sum) const noexcept {
  quantizer_->scale_sums(context(keys, transforms_.size(), workspace), sum);
}

void Chain::accumulate_rest(const Context& keys, Workspace& workspace, double weight, std::span<double> sum) const noexcept {
  const Workspace::Scope scope(workspace);
  const auto zeros = workspace.take<std::int32_t>(values_);
  std::ranges::fill(zeros, 0);
  const void* opened = quantizer_->open_common(quantizer_context(keys, workspace, nullptr));
  quantizer_->accumulate(quantizer_context(keys, workspace, opened), {}, zeros, weight, sum);
}

SparseEnergies Chain::energies(const Context& keys, Workspace& workspace, const Unpacked& section,
                               double weight) const noexcept {
  return quantizer_->energies(quantizer_context(keys, workspace, section.opened), section.symbols, weight);
}

std::optional<std::int32_t> Chain::common_level(Workspace& workspace, std::size_t bytes_before) const {
  StageContext own = context({}, transforms_.size(), workspace);
  own.bytes_before = bytes_before;
  return quantizer_->common_level(own);
}

std::span<const double> Chain::finish(const Context& keys, Workspace& workspace, std::span<double> sum) const noexcept {
  if (sums_integers()) scale(keys, workspace, sum);
  return undo(keys, workspace, sum);
}

std::span<const double> Chain::undo(const Context& keys, Workspace& workspace, std::span<double> values) const noexcept {
  if (shared_ == 0) return values;
  const auto x = workspace.take<double>(elements_);
  std::ranges::fill(x, 0.0);
  inverse(keys, workspace, no_sides_, 0, shared_, values, x);
  return x;
}

GroupDescription Chain::describe(const Plan::Rule& rule) const {
  GroupDescription group;
  group.rule = rule.pattern;
  group.stages = rule.text();
  group.coordinates = elements_;
  group.values = values_;
  group.max_bytes = max_bytes_;

  // Errors of unbiased stages are uncorrelated, so relative second moments multiply: 1 + NMSE = Π (1 + NMSE_i).
  InputTraits input{elements_, std::nullopt, false};
  std::optional<double> second_moment = 1.0;
  std::optional<double> norm = 1.0;
  double norm_added = 0;
  group.unbiased = Unbiased::kAlways;
  bool exact_so_far = true;
  const auto combine = [&](const Traits& traits) {
    group.unbiased = std::max(group.unbiased, traits.unbiased);
    const bool composable = traits.nmse_bound && (traits.unbiased == Unbiased::kAlways || exact_so_far);
    second_moment = second_moment && composable ? std::optional(*second_moment * (1 + *traits.nmse_bound)) : std::nullopt;
    exact_so_far = exact_so_far && traits.nmse_bound == 0.0;
    norm_added += norm.value_or(0) * traits.norm_added;   // on the way back through the stages before it
    norm = norm && traits.norm_growth ? std::optional(*norm * *traits.norm_growth) : std::nullopt;
  };
  bool fixed = coder_->fixed_size() && quantizer_->fixed_side();
  for (std::size_t i = 0; i < transforms_.size(); ++i) {
    combine(transforms_[i]->traits(input));
    input = transforms_[i]->output_traits(input);
    fixed = fixed && transforms_[i]->max_side_bytes() == 0;
    if (i < shared_) group.sum_domain += (i == 0 ? "" : "+") + std::string(rule.transforms[i].descriptor->name);
  }
  combine(quantizer_->traits(input));
  if (second_moment) group.nmse_bound = *second_moment - 1;
  group.norm_growth = norm;
  group.norm_added = norm ? norm_added : 0;
  group.fixed_size = fixed;
  if (shared_ == 0) group.sum_domain = "update";
  return group;
}

double Chain::transform_gain() const {
  InputTraits input{elements_, std::nullopt, false};
  double gain = 1;
  for (const auto& transform : transforms_) {
    const Traits traits = transform->traits(input);
    if (traits.unbiased == Unbiased::kAlways && traits.nmse_bound) gain *= 1 + *traits.nmse_bound;
    input = transform->output_traits(input);
  }
  return gain;
}

}  // namespace fewbits
