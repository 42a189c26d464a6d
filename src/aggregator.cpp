#include "fewbits/aggregator.h"

#include <algorithm>
#include <cmath>
#include <exception>
#include <unordered_set>
#include <utility>

#include "codec_impl.h"
#include "kernels/hash.h"
#include "profile_state.h"
#include "unpack.h"
#include "zeros.h"

namespace fewbits {
namespace {

constexpr std::uint8_t kPartialSumMagic = 0xFC;
constexpr std::uint8_t kPartialSumVersion = 1;

// Over this a mean could leave float32 on the way back through the transforms.
constexpr double kMaxLimit = 1e20;

void check_positive(double value, double most, const char* name) {
  if (!(value > 0 && value <= most))
    throw Error(Errc::kBadArgument,
                std::string(name) + " is " + std::to_string(value) + ", not in (0, " + std::to_string(most) + "]");
}

}  // namespace

Executor::~Executor() = default;

struct Aggregator::State {
  // What one frame needs while it is looked at.
  struct Slot {
    Workspace workspace;
    UnpackedFrame unpacked;
    std::optional<Error> refused;
    std::exception_ptr failure;   // anything else: not the frame's fault
  };

  Codec codec;
  RoundContext context;
  Limits limits;
  Zeros zeros;
  std::span<double> sum;
  std::vector<double> energies;       // of rows and columns, where they are learned
  double weight = 0;
  std::unordered_set<std::uint64_t> clients;
  std::vector<Slot> slots;

  const Codec::Impl& impl() const noexcept { return codec.impl(); }
  std::uint64_t seed_hash() const noexcept { return stream_key({context.seed}); }

  void check(std::span<const std::byte> frame, const Contribution& from, Slot& slot) const;
  void enter(const Contribution& from);
  void accumulate(Slot& slot, double own_weight);
  void add_tiles(std::span<const Submission> frames, Executor* executor);
};

namespace {

constexpr std::size_t kFramesAtOnce = 64;   // of those that share a sweep over a tile

void run(Executor* executor, std::size_t count, const std::function<void(std::size_t)>& task) {
  if (executor != nullptr && count > 1) return executor->run(count, task);
  for (std::size_t i = 0; i < count; ++i) task(i);
}

}  // namespace

Aggregator::Aggregator(Codec codec, const RoundContext& context, const Limits& limits)
    : state_(new State{std::move(codec), context, limits, {}, {}, {}, 0, {}, std::vector<State::Slot>(1)}) {
  if (context.round > kMaxRound)
    throw Error(Errc::kBadArgument, "round " + std::to_string(context.round) + " is over " + std::to_string(kMaxRound));
  check_positive(limits.max_abs, kMaxLimit, "the limit of magnitudes");
  check_positive(limits.max_weight, kMaxLimit, "the limit of weights");
  state_->zeros = Zeros(state_->impl().sum_size());
  state_->sum = state_->zeros.values();
  if (state_->impl().learns()) {
    std::size_t count = 0;
    for (const Tensor& tensor : state_->codec.layout().tensors()) count += energy_count(tensor);
    state_->energies.resize(count);
  }
}
Aggregator::~Aggregator() = default;
Aggregator::Aggregator(Aggregator&&) noexcept = default;
Aggregator& Aggregator::operator=(Aggregator&&) noexcept = default;

// All that can be wrong with a frame but for who has sent one already.
void Aggregator::State::check(std::span<const std::byte> frame, const Contribution& from, Slot& slot) const {
  if (!(from.weight > 0) || !std::isfinite(from.weight))
    throw Error(Errc::kBadArgument, "a weight must be positive and finite; client " + std::to_string(from.client) +
                                        " has " + std::to_string(from.weight));
  if (from.weight > limits.max_weight)
    throw Error(Errc::kTooLarge, "weight " + std::to_string(from.weight) + " of client " + std::to_string(from.client) +
                                     " is over the limit of " + std::to_string(limits.max_weight));
  if (from.cohort_index >= context.cohort_size)
    throw Error(Errc::kBadArgument, "client " + std::to_string(from.client) + " has place " +
                                        std::to_string(from.cohort_index) + " in a cohort of " +
                                        std::to_string(context.cohort_size) + "; places are numbered from 0");
  unpack(impl(), frame, {context.seed, context.round, from.client, {from.cohort_index, context.cohort_size}},
         slot.workspace, slot.unpacked);
  if (!(slot.unpacked.max_abs <= limits.max_abs))
    throw Error(Errc::kTooLarge, "client " + std::to_string(from.client) + " sends a magnitude of up to " +
                                     std::to_string(slot.unpacked.max_abs) + ", over the limit of " +
                                     std::to_string(limits.max_abs));
}

void Aggregator::State::enter(const Contribution& from) {
  if (!clients.insert(from.client).second)
    throw Error(Errc::kDuplicateClient, "client " + std::to_string(from.client) + " is in the sum already");
  weight += from.weight;
}

void Aggregator::State::accumulate(Slot& slot, double own_weight) {
  slot.unpacked.accumulate(impl(), slot.workspace, own_weight, sum);
  if (!energies.empty()) slot.unpacked.add_energies(impl(), slot.workspace, own_weight, energies);
}

void Aggregator::add(std::span<const std::byte> frame, const Contribution& from) {
  State::Slot& slot = state_->slots.front();
  const Workspace::Scope scope(slot.workspace);
  state_->check(frame, from, slot);
  state_->enter(from);
  state_->accumulate(slot, from.weight);
}

// Tile after tile of the sum, all frames on each.
void Aggregator::State::add_tiles(std::span<const Submission> frames, Executor* executor) {
  struct Tile {
    std::size_t group;
    std::size_t first;
  };
  std::vector<Tile> tiles;
  std::vector<std::vector<Chain::Addend>> addends(impl().groups().size());
  for (std::size_t g = 0; g < impl().groups().size(); ++g) {
    for (std::size_t i = 0; i < frames.size(); ++i)
      if (const UnpackedFrame& frame = slots[i].unpacked; !slots[i].refused)
        addends[g].push_back({&frame.keys, &frame.sections[g], frames[i].from.weight});
    for (std::size_t first = 0; first < impl().groups()[g].chain.sum_size(); first += Chain::kTile) tiles.push_back({g, first});
  }
  run(executor, tiles.size(), [&](std::size_t t) {
    const auto& group = impl().groups()[tiles[t].group];
    const std::size_t size = std::min(Chain::kTile, group.chain.sum_size() - tiles[t].first);
    const auto part = sum.subspan(group.sum_offset + tiles[t].first, size);
    group.chain.accumulate_tile(addends[tiles[t].group], tiles[t].first, part);
  });
}

std::vector<std::optional<Error>> Aggregator::add_many(std::span<const Submission> frames, Executor* executor) {
  State& s = *state_;
  const bool tiled = s.impl().tiled();
  std::vector<std::optional<Error>> refused;
  refused.reserve(frames.size());
  while (refused.size() != frames.size()) {
    const std::size_t most = tiled ? kFramesAtOnce : executor != nullptr ? std::max<std::size_t>(executor->threads(), 1) : 1;
    const auto batch = frames.subspan(refused.size(), std::min(most, frames.size() - refused.size()));
    if (s.slots.size() < batch.size()) s.slots.resize(batch.size());
    std::vector<std::optional<Workspace::Scope>> scopes(batch.size());
    for (std::size_t i = 0; i < batch.size(); ++i) scopes[i].emplace(s.slots[i].workspace);
    const auto attempt = [&](std::size_t i, auto step) {
      try {
        step();
      } catch (const Error& error) {
        s.slots[i].refused = error;
      } catch (...) {
        s.slots[i].failure = std::current_exception();
      }
    };
    run(executor, batch.size(), [&](std::size_t i) {
      s.slots[i].refused.reset();
      attempt(i, [&] { s.check(batch[i].frame, batch[i].from, s.slots[i]); });
    });
    for (std::size_t i = 0; i < batch.size(); ++i)
      if (s.slots[i].failure != nullptr) std::rethrow_exception(std::exchange(s.slots[i].failure, nullptr));
    for (std::size_t i = 0; i < batch.size(); ++i) {
      State::Slot& slot = s.slots[i];
      if (!slot.refused) attempt(i, [&] { s.enter(batch[i].from); });
      if (!slot.refused && !tiled) s.accumulate(slot, batch[i].from.weight);
    }
    if (tiled) s.add_tiles(batch, executor);
    for (std::size_t i = 0; i < batch.size(); ++i) refused.push_back(std::exchange(s.slots[i].refused, std::nullopt));
  }
  return refused;
}

void Aggregator::merge(const Aggregator& other) {
  State& s = *state_;
  const State& o = *other.state_;
  if (o.impl().fingerprint() != s.impl().fingerprint())
    throw Error(Errc::kWrongPlan, "a partial sum of plan '" + o.codec.plan() + "' does not go into one of '" +
                                      s.codec.plan() + "' unless plan and layout are the same");
  if (o.context.round != s.context.round)
    throw Error(Errc::kWrongRound, "a partial sum of round " + std::to_string(o.context.round) +
                                       " does not go into one of round " + std::to_string(s.context.round));
  if (o.context.seed != s.context.seed) throw Error(Errc::kWrongSeed, "the partial sums have different seeds");
  auto clients = s.clients;
  for (const std::uint64_t client : o.clients)
    if (!clients.insert(client).second)
      throw Error(Errc::kDuplicateClient, "client " + std::to_string(client) + " is in both partial sums");
  s.clients.swap(clients);
  for (std::size_t i = 0; i < s.sum.size(); ++i) s.sum[i] += o.sum[i];
  for (std::size_t i = 0; i < s.energies.size(); ++i) s.energies[i] += o.energies[i];
  s.weight += o.weight;
}

std::size_t Aggregator::clients() const noexcept { return state_->clients.size(); }
double Aggregator::total_weight() const noexcept { return state_->weight; }
std::span<const double> Aggregator::energies() const noexcept { return state_->energies; }
const Codec& Aggregator::codec() const noexcept { return state_->codec; }
const RoundContext& Aggregator::context() const noexcept { return state_->context; }

std::vector<float> Aggregator::mean() const {
  State& s = *state_;
  if (s.clients.empty()) throw Error(Errc::kEmpty, "the mean of no client; add a frame first");
  Workspace& workspace = s.slots.front().workspace;
  workspace.reserve(s.impl().workspace_bytes() + Workspace::bytes_for<double>(s.sum.size()));
  const Workspace::Scope scope(workspace);
  const auto scaled = workspace.take<double>(s.sum.size());
  for (std::size_t i = 0; i < scaled.size(); ++i) scaled[i] = s.sum[i] / s.weight;
  std::vector<float> update(s.codec.elements());
  s.impl().finish({s.context.seed, s.context.round, 0, {0, s.context.cohort_size}}, workspace, scaled, update);
  return update;
}

std::vector<std::byte> Aggregator::serialize() const {
  const State& s = *state_;
  std::vector<std::byte> bytes;
  ByteWriter writer(bytes);
  writer.u8(kPartialSumMagic);
  writer.u8(kPartialSumVersion);
  writer.u64(s.impl().fingerprint());
  writer.u64(s.seed_hash());
  writer.varint(s.context.round);
  writer.f64(s.weight);
  std::vector<std::uint64_t> clients(s.clients.begin(), s.clients.end());
  std::ranges::sort(clients);
  writer.varint(clients.size());
  for (std::size_t i = 0; i < clients.size(); ++i)
    writer.varint(i == 0 ? clients[0] : clients[i] - clients[i - 1] - 1);
  for (const double value : s.sum) writer.f64(value);
  for (const double value : s.energies) writer.f64(value);
  writer.u64(kernels::hash64(writer.written(), 0));
  return bytes;
}

Aggregator Aggregator::restore(Codec codec, const RoundContext& context, std::span<const std::byte> bytes,
                               const Limits& limits) {
  Aggregator restored(std::move(codec), context, limits);
  State& s = *restored.state_;
  ByteReader reader(bytes);
  if (reader.u8() != kPartialSumMagic) throw Error(Errc::kNotAFrame, "no partial sum: the first byte is not 252", 0);
  if (const unsigned version = reader.u8(); version != kPartialSumVersion)
    throw Error(Errc::kUnknownVersion, "partial sum version " + std::to_string(version) +
                                           " is unknown; this library reads version 1", 1);
  constexpr std::size_t kHashBytes = 8;
  if (bytes.size() < kHashBytes) throw Error(Errc::kTruncated, "the partial sum ends in its header", bytes.size());
  const auto hashed = bytes.first(bytes.size() - kHashBytes);
  if (ByteReader(bytes.last(kHashBytes)).u64() != kernels::hash64(hashed, 0))
    throw Error(Errc::kChecksumMismatch, "the partial sum is damaged", hashed.size());
  if (reader.u64() != s.impl().fingerprint())
    throw Error(Errc::kWrongPlan, "the partial sum was made with another plan or layout than '" + s.codec.plan() + "'");
  if (reader.u64() != s.seed_hash()) throw Error(Errc::kWrongSeed, "the partial sum was made with another seed");
  if (const std::uint64_t round = reader.varint(); round != context.round)
    throw Error(Errc::kWrongRound, "the partial sum is of round " + std::to_string(round) + ", not " +
                                       std::to_string(context.round));
  s.weight = reader.f64();
  const std::uint64_t count = reader.varint();
  if (count > reader.remaining())
    throw Error(Errc::kTruncated, std::to_string(count) + " clients are claimed in " +
                                      std::to_string(reader.remaining()) + " bytes", reader.offset());
  std::uint64_t client = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t step = reader.varint();
    const std::uint64_t next = i == 0 ? step : client + step + 1;
    if (i != 0 && next <= client) reader.malformed("client ids do not rise");
    client = next;
    s.clients.insert(client);
  }
  const bool weighed = s.weight > 0 && s.weight <= limits.max_weight * static_cast<double>(count);
  if (count == 0 ? s.weight != 0 : !weighed)
    reader.malformed("a weight of " + std::to_string(s.weight) + " for " + std::to_string(count) + " clients");
  const std::size_t due = (s.sum.size() + s.energies.size()) * sizeof(double) + kHashBytes;
  if (reader.remaining() != due)
    throw Error(reader.remaining() < due ? Errc::kTruncated : Errc::kTrailingBytes,
                "the partial sum has " + std::to_string(reader.remaining()) + " bytes of sums, " + std::to_string(due) +
                    " are due", reader.offset());
  // A sum of honest frames has a mean that is a float32.
  const double most = s.weight * static_cast<double>(std::numeric_limits<float>::max());
  for (double& value : s.sum) {
    value = reader.f64();
    if (!(std::abs(value) <= most))
      throw Error(Errc::kTooLarge, "a sum of " + std::to_string(value) + " is beyond float32", reader.offset());
  }
  for (double& value : s.energies) {
    value = reader.f64();
    if (!std::isfinite(value)) reader.malformed("an energy is not finite");
  }
  return restored;
}

}  // namespace fewbits
