#include "fewbits/shift.h"

#include <cmath>
#include <utility>

#include "client_memory.h"
#include "kernels/hash.h"
#include "kernels/kernels.h"
#include "saved_state.h"

namespace fewbits {
namespace {

// Mishchenko et al. 2019, theorem 2: α is at most 1/(1 + ω).
double rate_of(const Codec& codec, const ShiftOptions& options) {
  if (options.rate) {
    if (!(*options.rate > 0 && *options.rate <= 1))
      throw Error(Errc::kBadArgument, "rate is " + std::to_string(*options.rate) + ", expected over 0 and at most 1");
    return *options.rate;
  }
  const std::optional<double> bound = unbiased_bound(codec);
  if (!bound)
    throw Error(Errc::kBadArgument, "plan '" + codec.plan() + "' is biased or states no bound of its NMSE; give a rate, at " +
                                        "most 1/(1 + NMSE)");
  return 1 / (1 + *bound);
}

std::vector<float> difference(std::span<const float> x, std::span<const float> y) {
  std::vector<float> result(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) result[i] = x[i] - y[i];
  return result;
}

void check_codec(const Aggregator& sum, const Codec& codec) {
  if (sum.codec().fingerprint() != codec.fingerprint())
    throw Error(Errc::kWrongPlan, "the aggregator has plan '" + sum.codec().plan() + "', the shift '" + codec.plan() +
                                      "', or their layouts or profiles differ");
}

void check_range(std::span<const float> update) {
  if (!kernels::all_finite(update)) throw Error(Errc::kTooLarge, "a coordinate of the update is beyond the range of float32");
}

}  // namespace

struct Shift::State {
  State(Codec codec, const ShiftOptions& the_options)
      : options(the_options),
        rate(rate_of(codec, options)),
        memory(std::move(codec), StateKind::kShift, 1, StateStorage::kFloat32) {}

  ShiftOptions options;
  double rate;
  ClientMemory memory;
};

Shift::Shift(Codec codec, const ShiftOptions& options) : state_(std::make_unique<State>(std::move(codec), options)) {}
Shift::~Shift() = default;
Shift::Shift(Shift&&) noexcept = default;
Shift& Shift::operator=(Shift&&) noexcept = default;

std::vector<std::byte> Shift::encode(std::span<const float> update, const Context& context) {
  State& s = *state_;
  s.memory.check(update, context);
  std::vector<float> shift = s.memory.vector(0);
  return s.memory.send(difference(update, shift), context, [&](const std::vector<float>& sent) {
    for (std::size_t i = 0; i < shift.size(); ++i)
      shift[i] = static_cast<float>(static_cast<double>(shift[i]) + s.rate * static_cast<double>(sent[i]));
    std::vector<std::vector<float>> next;
    next.push_back(std::move(shift));
    return next;
  });
}

void Shift::commit() { state_->memory.commit(); }
void Shift::abandon() noexcept { state_->memory.abandon(); }
bool Shift::pending() const noexcept { return state_->memory.pending(); }
std::vector<float> Shift::memory() const { return state_->memory.vector(0); }
std::optional<std::uint32_t> Shift::round() const noexcept { return state_->memory.round(); }
double Shift::rate() const noexcept { return state_->rate; }
const Codec& Shift::codec() const noexcept { return state_->memory.codec(); }
std::vector<std::byte> Shift::save() const { return state_->memory.save(); }

void Shift::set_codec(Codec codec) {
  const double rate = rate_of(codec, state_->options);
  state_->memory.set_codec(std::move(codec));
  state_->rate = rate;
}

Shift Shift::restore(Codec codec, std::span<const std::byte> bytes, const ShiftOptions& options) {
  Shift restored(std::move(codec), options);
  restored.state_->memory.restore(bytes);
  return restored;
}

struct ServerShift::State {
  State(Codec the_codec, ShiftMethod the_method, const ShiftOptions& the_options)
      : codec(std::move(the_codec)), method(the_method), options(the_options), rate(rate_now(codec)) {
    check_keeps_meaning(codec);
    memories.resize(codec.elements());
  }

  double rate_now(const Codec& of) const { return method == ShiftMethod::kEf21 ? 1 : rate_of(of, options); }
  StateKind kind() const noexcept {
    return method == ShiftMethod::kEf21 ? StateKind::kServerEf21 : StateKind::kServerDiana;
  }

  Codec codec;
  ShiftMethod method;
  ShiftOptions options;
  double rate;
  std::optional<std::uint32_t> round;
  std::vector<double> memories;   // Σ weight · h
};

ServerShift::ServerShift(Codec codec, ShiftMethod method, const ShiftOptions& options)
    : state_(std::make_unique<State>(std::move(codec), method, options)) {}
ServerShift::~ServerShift() = default;
ServerShift::ServerShift(ServerShift&&) noexcept = default;
ServerShift& ServerShift::operator=(ServerShift&&) noexcept = default;

// kDiana: Mishchenko et al. 2019, algorithm 1; for a cohort, with the memories of all and the difference of those drawn.
// kEf21: Fatkhullin et al. 2021 (arXiv 2110.03294), EF21-PP.
std::vector<float> ServerShift::update(const Aggregator& differences, double population) {
  State& s = *state_;
  check_codec(differences, s.codec);
  const std::uint32_t round = differences.context().round;
  if (s.round && round <= *s.round)
    throw Error(Errc::kWrongRound, "round " + std::to_string(round) + " is not after round " + std::to_string(*s.round) +
                                       ", the last one that was added");
  const std::vector<float> mean = differences.mean();
  const double weight = differences.total_weight();
  // Both may be sums of the same weights in different orders.
  if (!(population >= weight * (1 - 1e-9)) || !std::isfinite(population))
    throw Error(Errc::kBadArgument, "a population of weight " + std::to_string(population) + " does not hold its cohort of " +
                                        std::to_string(weight));
  std::vector<double> memories(s.memories);
  std::vector<float> update(mean.size());
  for (std::size_t i = 0; i < mean.size(); ++i) {
    const auto step = static_cast<double>(mean[i]);
    const double before = memories[i] / population;
    memories[i] += s.rate * weight * step;
    update[i] = static_cast<float>(s.method == ShiftMethod::kEf21 ? memories[i] / population : before + step);
  }
  check_range(update);
  s.memories = std::move(memories);
  s.round = round;
  return update;
}

void ServerShift::set_codec(Codec codec) {
  check_same_layout(state_->codec, codec);
  state_->rate = state_->rate_now(codec);
  state_->codec = std::move(codec);
}

const Codec& ServerShift::codec() const noexcept { return state_->codec; }

std::vector<std::byte> ServerShift::save() const {
  StateWriter writer(state_->kind(), state_->codec);
  writer.last_round(state_->round);
  if (state_->round) writer.values(state_->memories);
  return std::move(writer).seal();
}

ServerShift ServerShift::restore(Codec codec, std::span<const std::byte> bytes, ShiftMethod method,
                                 const ShiftOptions& options) {
  ServerShift restored(std::move(codec), method, options);
  State& s = *restored.state_;
  StateReader reader(bytes, s.kind(), s.codec);
  s.round = reader.last_round();
  if (s.round) s.memories = reader.values<double>(s.memories.size());
  reader.expect_end();
  return restored;
}

struct Reference::State {
  Codec codec;
  std::vector<float> values;
};

Reference::Reference(Codec codec) : state_(new State{std::move(codec), {}}) {
  check_keeps_meaning(state_->codec);
  state_->values.resize(state_->codec.elements());
}
Reference::~Reference() = default;
Reference::Reference(Reference&&) noexcept = default;
Reference& Reference::operator=(Reference&&) noexcept = default;

void Reference::set(std::span<const float> reference) {
  check_vector(reference, state_->values.size(), "the reference");
  state_->values.assign(reference.begin(), reference.end());
}

const std::vector<float>& Reference::get() const noexcept { return state_->values; }
std::uint64_t Reference::hash() const noexcept { return kernels::hash64(std::as_bytes(std::span(state_->values)), 0); }

void Reference::set_codec(Codec codec) {
  check_same_layout(state_->codec, codec);
  state_->codec = std::move(codec);
}
const Codec& Reference::codec() const noexcept { return state_->codec; }

std::vector<std::byte> Reference::encode(std::span<const float> update, const Context& context) const {
  check_vector(update, state_->values.size(), "the update");
  return state_->codec.encode(difference(update, state_->values), context);
}

std::vector<float> Reference::mean(const Aggregator& differences) const {
  check_codec(differences, state_->codec);
  std::vector<float> mean = differences.mean();
  for (std::size_t i = 0; i < mean.size(); ++i) mean[i] += state_->values[i];
  check_range(mean);
  return mean;
}

std::vector<std::byte> Reference::save() const {
  StateWriter writer(StateKind::kReference, state_->codec);
  writer.values(state_->values);
  return std::move(writer).seal();
}

Reference Reference::restore(Codec codec, std::span<const std::byte> bytes) {
  Reference restored(std::move(codec));
  StateReader reader(bytes, StateKind::kReference, restored.state_->codec);
  restored.state_->values = reader.values<float>(restored.state_->values.size());
  reader.expect_end();
  return restored;
}

}  // namespace fewbits
