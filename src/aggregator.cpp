#include "fewbits/aggregator.h"

#include <algorithm>
#include <cmath>
#include <unordered_set>

#include "codec_impl.h"
#include "kernels/hash.h"
#include "profile_state.h"
#include "unpack.h"

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

struct Aggregator::State {
  Codec codec;
  RoundContext context;
  Limits limits;
  std::vector<double> sum;
  std::vector<double> energies;       // of rows and columns, where they are learned
  double weight = 0;
  std::unordered_set<std::uint64_t> clients;
  Workspace workspace;
  UnpackedFrame unpacked;

  const Codec::Impl& impl() const noexcept { return codec.impl(); }
  std::uint64_t seed_hash() const noexcept { return stream_key({context.seed}); }
};

Aggregator::Aggregator(Codec codec, const RoundContext& context, const Limits& limits)
    : state_(new State{std::move(codec), context, limits, {}, {}, 0, {}, {}, {}}) {
  if (context.round > kMaxRound)
    throw Error(Errc::kBadArgument, "round " + std::to_string(context.round) + " is over " + std::to_string(kMaxRound));
  check_positive(limits.max_abs, kMaxLimit, "the limit of magnitudes");
  check_positive(limits.max_weight, kMaxLimit, "the limit of weights");
  state_->sum.resize(state_->impl().sum_size());
  if (state_->impl().learns()) {
    std::size_t count = 0;
    for (const Tensor& tensor : state_->codec.layout().tensors()) count += energy_count(tensor);
    state_->energies.resize(count);
  }
}
Aggregator::~Aggregator() = default;
Aggregator::Aggregator(Aggregator&&) noexcept = default;
Aggregator& Aggregator::operator=(Aggregator&&) noexcept = default;

void Aggregator::add(std::span<const std::byte> frame, const Contribution& from) {
  State& s = *state_;
  if (!(from.weight > 0) || !std::isfinite(from.weight))
    throw Error(Errc::kBadArgument, "a weight must be positive and finite; client " + std::to_string(from.client) +
                                        " has " + std::to_string(from.weight));
  if (from.weight > s.limits.max_weight)
    throw Error(Errc::kTooLarge, "weight " + std::to_string(from.weight) + " of client " + std::to_string(from.client) +
                                     " is over the limit of " + std::to_string(s.limits.max_weight));
  if (from.cohort_index >= s.context.cohort_size)
    throw Error(Errc::kBadArgument, "client " + std::to_string(from.client) + " has place " +
                                        std::to_string(from.cohort_index) + " in a cohort of " +
                                        std::to_string(s.context.cohort_size) + "; places are numbered from 0");
  const Workspace::Scope scope(s.workspace);
  unpack(s.impl(), frame, {s.context.seed, s.context.round, from.client, {from.cohort_index, s.context.cohort_size}},
         s.workspace, s.unpacked);
  if (!(s.unpacked.max_abs <= s.limits.max_abs))
    throw Error(Errc::kTooLarge, "client " + std::to_string(from.client) + " sends a magnitude of up to " +
                                     std::to_string(s.unpacked.max_abs) + ", over the limit of " +
                                     std::to_string(s.limits.max_abs));
  if (!s.clients.insert(from.client).second)
    throw Error(Errc::kDuplicateClient, "client " + std::to_string(from.client) + " is in the sum already");
  s.unpacked.accumulate(s.impl(), s.workspace, from.weight, s.sum);
  if (!s.energies.empty()) s.unpacked.add_energies(s.impl(), s.workspace, from.weight, s.energies);
  s.weight += from.weight;
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
  const std::size_t sums = Workspace::bytes_for<double>(s.sum.size());
  s.workspace.reserve(s.impl().workspace_bytes() + sums);
  const Workspace::Scope scope(s.workspace);
  const auto scaled = s.workspace.take<double>(s.sum.size());
  for (std::size_t i = 0; i < scaled.size(); ++i) scaled[i] = s.sum[i] / s.weight;
  std::vector<float> update(s.codec.elements());
  s.impl().finish({s.context.seed, s.context.round, 0, {0, s.context.cohort_size}}, s.workspace, scaled, update);
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
