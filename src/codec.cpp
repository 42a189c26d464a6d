#include "fewbits/codec.h"

#include <algorithm>
#include <cmath>

#include "codec_impl.h"
#include "frame.h"
#include "kernels/hash.h"
#include "kernels/kernels.h"
#include "profile_state.h"
#include "saved_state.h"
#include "unpack.h"
#include "zeros.h"

namespace fewbits {
namespace {

std::unique_ptr<Family> make_family(const Plan& plan, const Layout& layout) {
  return plan.family ? plan.family->descriptor->make_family(plan.family->parameters, layout) : nullptr;
}

}  // namespace

Codec::Impl::Impl(std::string_view plan, Layout layout, const Profile* profile)
    : plan_(Plan::parse(plan)), text_(plan_.text()), layout_(std::move(layout)), family_(make_family(plan_, layout_)) {
  if (profile != nullptr && profile->is_flat()) profile = nullptr;
  const std::string format = plan_.format_text() + "\n" + layout_.text();
  fingerprint_ = kernels::hash64(std::as_bytes(std::span(format)), 0);
  if (profile != nullptr) fingerprint_ = kernels::hash64(profile->bytes(), fingerprint_);
  make_groups(profile);
}

void Codec::Impl::make_groups(const Profile* profile) {
  const Layout& layout = coded_layout();
  const auto tensors = layout.tensors();
  std::vector<std::size_t> rule_of(tensors.size());
  for (std::size_t t = 0; t < tensors.size(); ++t) {
    const auto rule = std::ranges::find_if(plan_.rules, [&](const Plan::Rule& r) { return r.matches(tensors[t]); });
    if (rule == plan_.rules.end())
      throw Error(Errc::kBadPlan, "no rule matches tensor '" + tensors[t].name + "'; end the plan with *=...", 0);
    rule_of[t] = static_cast<std::size_t>(rule - plan_.rules.begin());
  }

  std::size_t gathered = 0;
  std::size_t chain_bytes = 0;
  std::size_t opened_bytes = 0;
  max_frame_size_ = kMaxHeaderBytes;
  for (std::size_t rule = 0; rule < plan_.rules.size(); ++rule) {
    std::vector<Group::Range> ranges;
    std::vector<Tensor> chosen;
    ProfileScales scales;
    if (profile != nullptr && rule < profile->state().levels.size()) scales.level = profile->state().levels[rule];
    for (std::size_t t = 0; t < tensors.size(); ++t) {
      const std::size_t length = tensors[t].elements();
      if (rule_of[t] != rule || length == 0) continue;
      const std::size_t offset = layout.offset(t);
      if (!ranges.empty() && ranges.back().offset + ranges.back().length == offset)
        ranges.back().length += length;
      else
        ranges.push_back({offset, length});
      chosen.push_back(tensors[t]);
      if (profile != nullptr) scales.tensors.push_back(profile->state().tensors[t]);
    }
    if (chosen.empty()) continue;
    groups_.push_back({rule, chosen.size(), std::move(ranges),
                       Chain(plan_.rules[rule], static_cast<std::uint32_t>(rule), chosen,
                             profile == nullptr ? nullptr : &scales), sum_size_});
    const Chain& chain = groups_.back().chain;
    learns_ = learns_ || (chain.learns() && !family_);
    sum_size_ += chain.sum_size();
    symbols_ += chain.tiled() ? 0 : chain.values();
    gathered = std::max(gathered, chain.elements());
    chain_bytes = std::max(chain_bytes, chain.workspace_bytes());
    opened_bytes += chain.opened_bytes();   // of all groups of a frame at once
    max_frame_size_ += chain.max_bytes();
  }
  if (groups_.size() > 1) {   // the table: a count, and lengths of all sections but the last
    max_frame_size_ += varint_bytes(groups_.size());
    for (const Group& group : std::span(groups_).first(groups_.size() - 1))
      max_frame_size_ += varint_bytes(group.chain.max_bytes());
  }
  workspace_bytes_ = Workspace::bytes_for<double>(gathered) + chain_bytes + opened_bytes;
}

Codec::Impl::Memory Codec::Impl::make_memory() const {
  std::size_t stages = 0;
  for (const Group& group : groups_) stages += group.chain.stages();
  return Memory(stages);
}

void Codec::Impl::check_cohort(const Cohort& cohort) const {
  if (cohort.index >= cohort.size)
    throw Error(Errc::kBadArgument, "place " + std::to_string(cohort.index) + " in a cohort of " +
                                        std::to_string(cohort.size) + "; places are numbered from 0");
  for (const Group& group : groups_)
    if (group.chain.cohort() != 0 && group.chain.cohort() != cohort.size)
      throw Error(Errc::kBadArgument, "a cohort of " + std::to_string(cohort.size) + ", but '" + text_ + "' is made for " +
                                          std::to_string(group.chain.cohort()) + " clients a round");
}

void Codec::Impl::check_update(std::span<const float> update, const Context& context) const {
  if (update.size() != coded_layout().elements())
    throw Error(Errc::kBadArgument, "the update has " + std::to_string(update.size()) + " values, the codec codes " +
                                        std::to_string(coded_layout().elements()));
  if (context.round > kMaxRound)
    throw Error(Errc::kBadArgument, "round " + std::to_string(context.round) + " is over " + std::to_string(kMaxRound));
  check_cohort(context.cohort);
  if (!kernels::all_finite(update)) {
    const auto bad = std::ranges::find_if(update, [](float v) { return !std::isfinite(v); });
    throw Error(Errc::kNotFinite, "the update has " + std::to_string(*bad) + " at coordinate " +
                                      std::to_string(bad - update.begin()));
  }
}

std::span<const float> Codec::Impl::values_of(const Group& group, std::span<const float> update, Workspace& workspace) const noexcept {
  if (group.ranges.size() == 1) return update.subspan(group.ranges.front().offset, group.ranges.front().length);
  const auto gathered = workspace.take<float>(group.chain.elements());
  auto end = gathered.begin();
  for (const auto& [offset, length] : group.ranges) end = std::ranges::copy(update.subspan(offset, length), end).out;
  return gathered;
}

void Codec::Impl::encode(std::span<const float> update, const Context& context, Workspace& workspace, Memory& memory,
                         ByteWriter& out) const {
  check_update(update, context);
  workspace.reserve(workspace_bytes_);
  FrameWriter frame(out, fingerprint_, context, groups_.size());
  std::span<std::vector<float>> remembered = memory;
  for (const Group& group : groups_) {
    const Workspace::Scope scope(workspace);
    const std::span<const float> x = values_of(group, update, workspace);
    frame.begin_section();
    // The header and the table of sections are charged to the first one.
    const std::size_t bytes_before = &group == groups_.data() ? out.written().size() + groups_.size() - 1 : 0;
    const auto own = remembered.empty() ? remembered : remembered.first(group.chain.stages());
    group.chain.encode(context, workspace, x, {bytes_before, own}, out);
    remembered = remembered.subspan(own.size());
    frame.end_section();
  }
  frame.seal();
}

std::size_t Codec::Impl::encode_into(std::span<const float> update, const Context& context, Workspace& workspace,
                                     Memory& memory, std::span<std::byte> frame) const {
  if (frame.size() < max_frame_size_)
    throw Error(Errc::kBadArgument, "there are " + std::to_string(frame.size()) + " bytes for a frame that may take " +
                                        std::to_string(max_frame_size_));
  ByteWriter out(frame);
  encode(update, context, workspace, memory, out);
  return out.written().size();
}

void Codec::Impl::finish(const Context& keys, Workspace& workspace, std::span<double> sum, std::span<float> update) const {
  way_back(workspace, sum, update, [&](const Chain& chain, std::span<double> part) { return chain.finish(keys, workspace, part); });
}

void Codec::Impl::undo(const Context& keys, Workspace& workspace, std::span<double> values, std::span<float> update) const {
  way_back(workspace, values, update, [&](const Chain& chain, std::span<double> part) { return chain.undo(keys, workspace, part); });
}

template <class OfChain>
void Codec::Impl::way_back(Workspace& workspace, std::span<double> sum, std::span<float> update, OfChain of_chain) const {
  for (const Group& group : groups_) {
    const Workspace::Scope scope(workspace);
    std::span<const double> rest = of_chain(group.chain, sum.subspan(group.sum_offset, group.chain.sum_size()));
    for (const auto& [offset, length] : group.ranges) {
      std::ranges::transform(rest.first(length), update.subspan(offset, length).begin(),
                             [](double value) { return static_cast<float>(value); });
      rest = rest.subspan(length);
    }
  }
  if (!kernels::all_finite(update))
    throw Error(Errc::kTooLarge, "a coordinate of the decoded update is beyond the range of float32");
}

Codec::Codec(std::shared_ptr<const Impl> impl) noexcept : impl_(std::move(impl)) {}

Codec Codec::compile(std::string_view plan, Layout layout) {
  return Codec(std::make_shared<const Impl>(plan, std::move(layout), nullptr));
}

Codec Codec::with_profile(const Profile& profile) const {
  if (structured()) throw Error(Errc::kBadArgument, "a structured plan sends free parameters, which have no profile");
  if (profile.state().layout.text() != layout().text())
    throw Error(Errc::kBadArgument, "the profile is that of another layout: names and shapes of the tensors differ");
  return Codec(std::make_shared<const Impl>(plan(), layout(), &profile));
}

const std::string& Codec::plan() const noexcept { return impl_->text(); }
const Layout& Codec::layout() const noexcept { return impl_->layout(); }
std::size_t Codec::elements() const noexcept { return impl_->coded_layout().elements(); }
bool Codec::takes_profile() const noexcept { return impl_->learns(); }
bool Codec::structured() const noexcept { return impl_->family() != nullptr; }
std::uint64_t Codec::fingerprint() const noexcept { return impl_->fingerprint(); }
std::size_t Codec::max_frame_size() const noexcept { return impl_->max_frame_size(); }

std::vector<std::byte> Codec::encode(std::span<const float> update, const Context& context) const {
  Workspace workspace;
  std::vector<std::byte> frame;
  ByteWriter out(frame);
  Impl::Memory nothing;
  impl_->encode(update, context, workspace, nothing, out);
  return frame;
}

std::size_t Codec::encode(std::span<const float> update, const Context& context, std::span<std::byte> frame) const {
  Workspace workspace;
  Impl::Memory nothing;
  return impl_->encode_into(update, context, workspace, nothing, frame);
}

std::vector<float> Codec::decode(std::span<const std::byte> frame, const RunContext& context) const {
  Workspace workspace;
  UnpackedFrame unpacked;
  workspace.reserve(impl_->workspace_bytes());
  unpack(*impl_, frame, {context.seed, std::nullopt, std::nullopt, context.cohort}, workspace, unpacked);
  Zeros zeros(impl_->sum_size());
  const std::span<double> sum = zeros.values();
  unpacked.accumulate(*impl_, workspace, 1.0, sum);
  std::vector<float> update(elements());
  impl_->finish(unpacked.keys, workspace, sum, update);
  return update;
}

Description Codec::describe() const {
  Description all;
  all.plan = plan();
  if (impl_->plan().family) all.structure = impl_->plan().family->text();
  all.coordinates = layout().elements();
  all.parameters = elements();
  all.unbiased = Unbiased::kAlways;
  all.nmse_bound = 0.0;
  all.norm_growth = 0.0;
  all.max_frame_bytes = max_frame_size();
  all.fixed_size = true;
  // The worst input has all its energy in the worst group.
  const auto worst = [](std::optional<double>& bound, const std::optional<double>& group) {
    bound = bound && group ? std::optional(std::max(*bound, *group)) : std::nullopt;
  };
  for (const auto& group : impl_->groups()) {
    all.groups.push_back(group.chain.describe(impl_->plan().rules[group.rule]));
    GroupDescription& last = all.groups.back();
    last.tensors = group.tensors;
    all.cohort = std::max(all.cohort, group.chain.cohort());
    all.unbiased = std::max(all.unbiased, last.unbiased);
    worst(all.nmse_bound, last.nmse_bound);
    worst(all.norm_growth, last.norm_growth);
    all.norm_added = std::hypot(all.norm_added, last.norm_added);   // of different coordinates
    all.fixed_size = all.fixed_size && last.fixed_size;
  }
  if (!all.norm_growth) all.norm_added = 0;
  if (all.coordinates != 0)
    all.max_rate = 8.0 * static_cast<double>(all.max_frame_bytes) / static_cast<double>(all.coordinates);
  return all;
}

struct Encoder::State {
  Codec codec;
  Workspace workspace;
  std::vector<std::byte> frame;
  Codec::Impl::Memory memory;
};

Encoder::Encoder(Codec codec) : state_(new State{std::move(codec), {}, {}, {}}) {
  state_->memory = state_->codec.impl().make_memory();
  state_->workspace.reserve(state_->codec.impl().workspace_bytes());
}
const Codec& Encoder::codec() const noexcept { return state_->codec; }
Encoder::~Encoder() = default;
Encoder::Encoder(Encoder&&) noexcept = default;
Encoder& Encoder::operator=(Encoder&&) noexcept = default;

std::span<const std::byte> Encoder::encode(std::span<const float> update, const Context& context) {
  state_->frame.clear();
  state_->frame.reserve(state_->codec.max_frame_size());
  ByteWriter out(state_->frame);
  state_->codec.impl().encode(update, context, state_->workspace, state_->memory, out);
  return state_->frame;
}

std::size_t Encoder::encode(std::span<const float> update, const Context& context, std::span<std::byte> frame) {
  return state_->codec.impl().encode_into(update, context, state_->workspace, state_->memory, frame);
}

std::vector<std::byte> Encoder::save() const {
  StateWriter writer(StateKind::kEncoder, state_->codec);
  writer.memory(state_->memory);
  return std::move(writer).seal();
}

void Encoder::restore(std::span<const std::byte> bytes) {
  StateReader reader(bytes, StateKind::kEncoder, state_->codec);
  Codec::Impl::Memory memory = reader.memory(state_->codec);
  reader.expect_end();
  state_->memory = std::move(memory);
}

}  // namespace fewbits
