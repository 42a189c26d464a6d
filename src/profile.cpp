#include "fewbits/profile.h"

#include <algorithm>
#include <cmath>

#include "codec_impl.h"
#include "frame.h"
#include "kernels/hash.h"
#include "kernels/kernels.h"
#include "kernels/powers.h"
#include "profile_state.h"
#include "wire.h"

namespace fewbits {
namespace {

constexpr std::uint8_t kProfileMagic = 0xF9;
constexpr std::uint8_t kLearnerMagic = 0xF8;
constexpr std::uint8_t kVersion = 1;
constexpr std::uint8_t kFlat = 1;
constexpr std::uint8_t kCommonStep = 2;
constexpr int kMostLevel = 1 << 15;

// Energies further apart than that are not told apart: 2^-64 of the largest.
constexpr double kLeastShare = 0x1p-64;

std::uint32_t layout_hash(const Layout& layout) {
  const std::string text = layout.text();
  return static_cast<std::uint32_t>(kernels::hash64(std::as_bytes(std::span(text)), 0));
}

std::uint32_t checksum(std::span<const std::byte> bytes) noexcept {
  return static_cast<std::uint32_t>(kernels::hash64(bytes, 0));
}

void begin(ByteWriter& out, std::uint8_t magic, const Layout& layout) {
  out.u8(magic);
  out.u8(kVersion);
  out.u32(layout_hash(layout));
}

// A reader of what lies between the common head and the checksum at the end.
ByteReader open(std::span<const std::byte> bytes, std::uint8_t magic, const Layout& layout, const std::string& what) {
  constexpr std::size_t kChecksumBytes = 4;
  ByteReader reader(bytes);
  if (reader.u8() != magic)
    throw Error(Errc::kNotAFrame, "no " + what + ": the first byte is not " + std::to_string(magic), 0);
  if (const unsigned version = reader.u8(); version != kVersion)
    throw Error(Errc::kUnknownVersion, what + " version " + std::to_string(version) + " is unknown; this library reads version 1", 1);
  if (bytes.size() < 6 + kChecksumBytes) throw Error(Errc::kTruncated, "the " + what + " ends in its header", bytes.size());
  const auto body = bytes.first(bytes.size() - kChecksumBytes);
  if (ByteReader(bytes.last(kChecksumBytes)).u32() != checksum(body))
    throw Error(Errc::kChecksumMismatch, "the " + what + " is damaged", body.size());
  if (reader.u32() != layout_hash(layout))
    throw Error(Errc::kWrongPlan, "the " + what + " is that of another layout: names and shapes of the tensors differ", 2);
  return ByteReader(body.subspan(6), 6);
}

std::shared_ptr<const Profile::State> sealed(Profile::State state) {
  ByteWriter out(state.bytes);
  begin(out, kProfileMagic, state.layout);
  out.u8(static_cast<std::uint8_t>((state.tensors.empty() ? kFlat : 0) | (state.levels.empty() ? 0 : kCommonStep)));
  if (!state.levels.empty()) {
    out.varint(state.levels.size());
    for (const auto& level : state.levels) {
      out.u8(level ? 1 : 0);
      if (level) out.varint(static_cast<std::uint64_t>(*level + kMostLevel));
    }
  }
  if (!state.tensors.empty()) write_scales(state.tensors, out);
  out.u32(checksum(out.written()));
  return std::make_shared<const Profile::State>(std::move(state));
}

}  // namespace

std::size_t energy_count(const Tensor& tensor) noexcept {
  const MatrixShape shape = matrix_shape(tensor);
  return shape.rows > 1 ? shape.rows + shape.columns : 1;
}

void EnergyFolder::add(std::size_t coordinate, double energy) noexcept {
  if (coordinate >= row_end_) {
    finish();
    if (coordinate >= end_) {
      while (coordinate >= end_) {
        sums_ = sums_.subspan(tensor_ == 0 ? 0 : energy_count(layout_.tensors()[tensor_ - 1]));
        start_ = end_;
        end_ += layout_.tensors()[tensor_++].elements();
      }
      shape_ = matrix_shape(layout_.tensors()[tensor_ - 1]);
    }
    row_ = (coordinate - start_) / shape_.columns;
    row_end_ = start_ + (row_ + 1) * shape_.columns;
  }
  pending_ += energy;
  if (shape_.rows > 1) sums_[shape_.rows + (coordinate - start_) - row_ * shape_.columns] += energy;
}

void EnergyFolder::finish() noexcept {
  if (row_end_ != 0) sums_[row_] += pending_;
  pending_ = 0;
}

Profile::Profile(std::shared_ptr<const State> state) noexcept : state_(std::move(state)) {}

Profile Profile::flat(const Layout& layout) { return Profile(sealed({layout, {}, {}, {}})); }

Profile Profile::from_bytes(const Layout& layout, std::span<const std::byte> bytes) {
  ByteReader reader = open(bytes, kProfileMagic, layout, "profile");
  State state{layout, {}, {}, {}};
  const unsigned flags = reader.u8();
  if (flags > (kFlat | kCommonStep) || flags == (kFlat | kCommonStep)) reader.malformed("a profile with flags " + std::to_string(flags));
  if ((flags & kCommonStep) != 0) {
    const std::uint64_t count = reader.varint();
    if (count == 0 || count > reader.remaining()) reader.malformed("a profile with " + std::to_string(count) + " steps");
    for (std::uint64_t i = 0; i < count; ++i) {
      const unsigned given = reader.u8();
      if (given > 1) reader.malformed("a step that is neither there nor not");
      if (given == 0) {
        state.levels.emplace_back();
        continue;
      }
      const std::uint64_t level = reader.varint();
      if (level > 2 * kMostLevel) reader.malformed("the level of a step is out of range");
      state.levels.emplace_back(static_cast<std::int32_t>(level) - kMostLevel);
    }
  }
  if ((flags & kFlat) == 0) state.tensors = read_scales(layout.tensors(), reader);
  reader.expect_end();
  state.bytes.clear();
  Profile profile(sealed(std::move(state)));
  if (!std::ranges::equal(profile.bytes(), bytes))
    throw Error(Errc::kMalformed, "the profile has values that no server writes", 6);
  return profile;
}

const std::vector<std::byte>& Profile::bytes() const noexcept { return state_->bytes; }
bool Profile::is_flat() const noexcept { return state_->tensors.empty(); }
bool Profile::has_common_step() const noexcept { return !state_->levels.empty(); }

Profile Profile::with_common_step(const Codec& codec) const {
  if (is_flat()) throw Error(Errc::kBadArgument, "a flat profile has no scale, so no step can be chosen from it");
  State state{state_->layout, state_->tensors, {}, {}};
  const Codec own = codec.with_profile(Profile(sealed(state)));
  state.levels.resize(own.impl().plan().rules.size());
  bool any = false;
  for (const auto& group : own.impl().groups()) {
    Workspace workspace;
    workspace.reserve(own.impl().workspace_bytes());
    const std::size_t header = &group == own.impl().groups().data() ? kTypicalHeaderBytes : 0;
    state.levels[group.rule] = group.chain.common_level(workspace, header);
    any = any || state.levels[group.rule];
  }
  if (!any) throw Error(Errc::kBadArgument, "no stage of '" + codec.plan() + "' has scale=profile and a wish for its rate or error");
  return Profile(sealed(std::move(state)));
}

struct ProfileLearner::State {
  Layout layout;
  Options options;
  std::uint32_t rounds = 0;
  std::vector<double> energies;   // means of squares: rows, then columns, tensor by tensor

  void add(std::span<const double> sums, double weight) {
    ++rounds;
    const double keep = std::min(options.memory, 1 - 1.0 / rounds);
    std::size_t at = 0;
    for (const Tensor& tensor : layout.tensors()) {
      const MatrixShape shape = matrix_shape(tensor);
      const std::size_t count = energy_count(tensor);
      for (std::size_t k = 0; k < count; ++k, ++at) {
        const std::size_t values = k < shape.rows ? shape.columns : shape.rows;
        const double now = values == 0 ? 0 : sums[at] / (weight * static_cast<double>(values));
        energies[at] = keep * energies[at] + (1 - keep) * now;
      }
    }
  }
};

ProfileLearner::ProfileLearner(Layout layout, const Options& options) : state_(new State{std::move(layout), options, 0, {}}) {
  if (!(options.memory >= 0 && options.memory < 1))
    throw Error(Errc::kBadArgument, "the memory of a profile is " + std::to_string(options.memory) + ", not in [0, 1)");
  if (!(options.floor > 0 && options.floor <= 1))
    throw Error(Errc::kBadArgument, "the floor of a profile is " + std::to_string(options.floor) + ", not in (0, 1]");
  std::size_t count = 0;
  for (const Tensor& tensor : state_->layout.tensors()) count += energy_count(tensor);
  state_->energies.resize(count);
}
ProfileLearner::~ProfileLearner() = default;
ProfileLearner::ProfileLearner(ProfileLearner&&) noexcept = default;
ProfileLearner& ProfileLearner::operator=(ProfileLearner&&) noexcept = default;

void ProfileLearner::learn(const Aggregator& round) {
  if (round.clients() == 0) throw Error(Errc::kEmpty, "nothing to learn from no client");
  if (round.codec().layout().text() != state_->layout.text())
    throw Error(Errc::kBadArgument, "the round's frames have another layout than the profile");
  if (round.energies().size() != state_->energies.size())
    throw Error(Errc::kBadArgument, "frames of '" + round.codec().plan() + "' tell no energies; it needs scale=profile");
  state_->add(round.energies(), round.total_weight());
}

void ProfileLearner::learn(std::span<const float> mean) {
  if (mean.size() != state_->layout.elements())
    throw Error(Errc::kBadArgument, "the mean has " + std::to_string(mean.size()) + " values, the profile " +
                                        std::to_string(state_->layout.elements()));
  if (!kernels::all_finite(mean)) throw Error(Errc::kNotFinite, "the mean has NaN or infinity");
  std::vector<double> sums(state_->energies.size());
  EnergyFolder folder(state_->layout, sums);
  for (std::size_t i = 0; i < mean.size(); ++i) folder.add(i, static_cast<double>(mean[i]) * static_cast<double>(mean[i]));
  folder.finish();
  state_->add(sums, 1);
}

std::uint32_t ProfileLearner::rounds() const noexcept { return state_->rounds; }

Profile ProfileLearner::profile() const {
  const State& s = *state_;
  // The mean energy of all coordinates; estimates of a coarse round may be below zero.
  double total = 0;
  std::size_t at = 0;
  for (const Tensor& tensor : s.layout.tensors()) {
    const MatrixShape shape = matrix_shape(tensor);
    for (std::size_t i = 0; i < std::min(shape.rows, energy_count(tensor)); ++i)
      total += s.energies[at + i] * static_cast<double>(shape.columns);
    at += energy_count(tensor);
  }
  const double mean = s.layout.elements() == 0 ? 0 : total / static_cast<double>(s.layout.elements());
  if (s.rounds == 0 || !(mean > 0x1p-1000)) return Profile::flat(s.layout);

  std::vector<TensorScales> tensors;
  std::span<const double> energies = s.energies;
  for (const Tensor& tensor : s.layout.tensors()) {
    const MatrixShape shape = matrix_shape(tensor);
    const auto own = energies.first(energy_count(tensor));
    energies = energies.subspan(own.size());
    if (shape.rows <= 1) {
      tensors.push_back({{class_of(std::max(own[0], s.options.floor * mean))}, {0}});
      continue;
    }
    const auto rows = own.first(shape.rows);
    const auto columns = own.subspan(shape.rows);
    double sum = 0;
    for (const double row : rows) sum += row;
    const double tensor_mean = std::max(sum / static_cast<double>(shape.rows), kLeastShare * mean);
    const double floor = std::max(s.options.floor * tensor_mean, kLeastShare * mean);
    TensorScales scales;
    for (const double row : rows) scales.rows.push_back(class_of(std::max(row, floor)));
    for (const double column : columns) scales.columns.push_back(class_of(std::max(column, floor) / tensor_mean));
    tensors.push_back(std::move(scales));
  }
  for (TensorScales& scales : tensors)
    for (std::int16_t& row : scales.rows) row = static_cast<std::int16_t>(std::clamp<int>(row, -kMaxClass / 2, kMaxClass / 2));
  return Profile(sealed({s.layout, std::move(tensors), {}, {}}));
}

std::vector<std::byte> ProfileLearner::save() const {
  std::vector<std::byte> bytes;
  ByteWriter out(bytes);
  begin(out, kLearnerMagic, state_->layout);
  out.varint(state_->rounds);
  for (const double energy : state_->energies) out.f64(energy);
  out.u32(checksum(out.written()));
  return bytes;
}

void ProfileLearner::restore(std::span<const std::byte> bytes) {
  ByteReader reader = open(bytes, kLearnerMagic, state_->layout, "learner's state");
  const std::uint64_t rounds = reader.varint();
  if (rounds > kMaxRound) reader.malformed(std::to_string(rounds) + " rounds are over the largest round");
  std::vector<double> energies(state_->energies.size());
  for (double& energy : energies) {
    energy = reader.f64();
    if (!std::isfinite(energy)) reader.malformed("an energy is not finite");
  }
  reader.expect_end();
  state_->rounds = static_cast<std::uint32_t>(rounds);
  state_->energies = std::move(energies);
}

}  // namespace fewbits
