#include "client_memory.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "kernels/kernels.h"

namespace fewbits {

void check_keeps_meaning(const Codec& codec) {
  if (codec.structured())
    throw Error(Errc::kBadArgument, "plan '" + codec.plan() + "' trains in a family that is drawn anew each round: its " +
                                        "free parameters have no memory; leave out train=...");
}

void check_same_layout(const Codec& now, const Codec& next) {
  check_keeps_meaning(next);
  if (next.layout().text() != now.layout().text())
    throw Error(Errc::kBadArgument, "the layout of plan '" + next.plan() + "' is another than that of the codec before");
}

void check_vector(std::span<const float> vector, std::size_t elements, const char* name) {
  if (vector.size() != elements)
    throw Error(Errc::kBadArgument, std::string(name) + " has " + std::to_string(vector.size()) +
                                        " values, the codec codes " + std::to_string(elements));
  if (kernels::all_finite(vector)) return;
  const auto bad = std::ranges::find_if(vector, [](float v) { return !std::isfinite(v); });
  throw Error(Errc::kNotFinite, std::string(name) + " has " + std::to_string(*bad) + " at coordinate " +
                                    std::to_string(bad - vector.begin()));
}

std::optional<double> unbiased_bound(const Codec& codec) {
  const Description promised = codec.describe();
  return promised.unbiased == Unbiased::kNo ? std::nullopt : promised.nmse_bound;
}

ClientMemory::ClientMemory(Codec codec, StateKind kind, std::size_t vectors, StateStorage storage)
    : codec_(std::move(codec)), kind_(kind), vectors_(vectors), storage_(storage) {
  check_keeps_meaning(codec_);
  kept_.stages = codec_.impl().make_memory();
}

void ClientMemory::set_codec(Codec codec) {
  if (pending_) throw Error(Errc::kBadArgument, "a frame is pending: commit or abandon it before the codec changes");
  check_same_layout(codec_, codec);
  // What stages remember is of use to the same stages only.
  if (codec.plan() != codec_.plan()) kept_.stages = codec.impl().make_memory();
  codec_ = std::move(codec);
}

std::uint32_t ClientMemory::check(std::span<const float> update, const Context& context) const {
  if (pending_)
    throw Error(Errc::kBadArgument, "the frame of round " + std::to_string(*pending_->round) +
                                        " is pending: commit it if it has arrived, else abandon it");
  check_vector(update, codec_.elements(), "the update");
  if (!kept_.round) return 0;
  if (context.round <= *kept_.round)
    throw Error(Errc::kWrongRound, "round " + std::to_string(context.round) + " is not after round " +
                                       std::to_string(*kept_.round) + ", of which the memory is");
  return context.round - *kept_.round;
}

std::vector<float> ClientMemory::vector(std::size_t index) const {
  if (!kept_.round) return std::vector<float>(codec_.elements());
  if (storage_ == StateStorage::kFloat32) return kept_.full[index];
  std::vector<float> values(codec_.elements());
  std::ranges::transform(kept_.halves[index], values.begin(), kernels::from_bfloat);
  return values;
}

std::vector<std::byte> ClientMemory::encode(std::span<const float> message, const Context& context,
                                            Codec::Impl::Memory& stages) const {
  Workspace workspace;
  std::vector<std::byte> frame;
  ByteWriter out(frame);
  codec_.impl().encode(message, context, workspace, stages, out);
  return frame;
}

void ClientMemory::propose(std::uint32_t round, std::vector<std::vector<float>> next, Codec::Impl::Memory stages) {
  const auto check = [](std::span<const float> vector) {
    if (!kernels::all_finite(vector)) throw Error(Errc::kNotFinite, "the memory leaves the range of its storage");
  };
  Vectors vectors{round, {}, {}, std::move(stages)};
  for (std::vector<float>& vector : next) {
    check(vector);
    if (storage_ == StateStorage::kFloat32) {
      vectors.full.push_back(std::move(vector));
      continue;
    }
    std::vector<std::uint16_t>& halves = vectors.halves.emplace_back(vector.size());
    std::ranges::transform(vector, halves.begin(), kernels::to_bfloat);
    std::ranges::transform(halves, vector.begin(), kernels::from_bfloat);
    check(vector);
  }
  pending_ = std::move(vectors);
}

void ClientMemory::commit() {
  if (!pending_) throw Error(Errc::kBadArgument, "no frame is pending; encode one before commit");
  kept_ = std::move(*pending_);
  pending_.reset();
}

std::vector<std::byte> ClientMemory::save() const {
  StateWriter writer(kind_, codec_);
  writer.out().u8(static_cast<std::uint8_t>(storage_));
  writer.last_round(kept_.round);
  for (const auto& vector : kept_.full) writer.values(vector);
  for (const auto& vector : kept_.halves) writer.values(vector);
  writer.memory(kept_.stages);
  return std::move(writer).seal();
}

void ClientMemory::restore(std::span<const std::byte> bytes) {
  StateReader reader(bytes, kind_, codec_);
  if (const unsigned saved = reader.in().u8(); saved != static_cast<unsigned>(storage_))
    throw Error(Errc::kWrongPlan, "the saved state has storage " + std::to_string(saved) + ", not " +
                                      std::to_string(static_cast<unsigned>(storage_)), reader.in().offset());
  Vectors vectors{reader.last_round(), {}, {}, {}};
  for (std::size_t i = 0; vectors.round && i < vectors_; ++i) {
    if (storage_ == StateStorage::kFloat32)
      vectors.full.push_back(reader.values<float>(codec_.elements()));
    else
      vectors.halves.push_back(reader.values<std::uint16_t>(codec_.elements()));
  }
  vectors.stages = reader.memory(codec_);
  reader.expect_end();
  kept_ = std::move(vectors);
  pending_.reset();
}

}  // namespace fewbits
