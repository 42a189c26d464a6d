#include "fewbits/error_feedback.h"

#include <algorithm>
#include <utility>

#include "client_memory.h"

namespace fewbits {
namespace {

void require(bool right, const std::string& what) {
  if (!right) throw Error(Errc::kBadArgument, what);
}

void check(const FeedbackOptions& options) {
  require(!options.scale || (*options.scale > 0 && *options.scale <= 1),
          "scale is " + std::to_string(options.scale.value_or(0)) + ", expected over 0 and at most 1");
  require(options.momentum >= 0 && options.momentum < 1,
          "momentum is " + std::to_string(options.momentum) + ", expected at least 0 and less than 1");
  require(options.decay >= 0 && options.decay <= 1, "decay is " + std::to_string(options.decay) + ", expected 0 to 1");
  if (options.method != FeedbackMethod::kEf21) return;
  // What the client forgets, or rounds, would stay in the server's sum for ever.
  require(options.storage == StateStorage::kFloat32, "the memory of EF21 is kept as float32: the server has it unrounded");
  require(options.decay == 1 && options.max_age == 0, "the memory of EF21 has no decay and no max_age: the server keeps it");
  require(options.momentum == 0, "EF21 has no momentum; use EF14");
}

StateKind kind_of(const FeedbackOptions& options) {
  if (options.method == FeedbackMethod::kEf21) return StateKind::kEf21;
  return options.momentum > 0 ? StateKind::kMomentum : StateKind::kEf14;
}

double scale_of(const FeedbackOptions& options, const Codec& codec) {
  if (options.scale) return *options.scale;
  if (const std::optional<double> bound = unbiased_bound(codec)) return 1 / (1 + *bound);
  double gain = 1;
  for (const auto& group : codec.impl().groups()) gain = std::max(gain, group.chain.transform_gain());
  return 1 / gain;
}

// base^exponent, the same bits everywhere, which pow is not.
double power(double base, std::uint32_t exponent) {
  double result = 1;
  for (; exponent > 0; exponent >>= 1, base *= base)
    if ((exponent & 1) != 0) result *= base;
  return result;
}

// a·x + y, rounded once to float32 from float64.
std::vector<float> combined(double a, std::span<const float> x, std::span<const float> y) {
  std::vector<float> sum(x.size());
  for (std::size_t i = 0; i < sum.size(); ++i)
    sum[i] = static_cast<float>(a * static_cast<double>(x[i]) + static_cast<double>(y[i]));
  return sum;
}

}  // namespace

struct ErrorFeedback::State {
  State(Codec codec, const FeedbackOptions& the_options)
      : options((check(the_options), the_options)),
        memory(std::move(codec), kind_of(options), options.momentum > 0 ? 2 : 1, options.storage),
        scale(scale_of(options, memory.codec())) {}

  double kept(std::uint32_t age) const {
    if (age <= 1) return 1;
    if (options.max_age > 0 && age > options.max_age) return 0;
    return power(options.decay, age - 1);
  }

  std::vector<std::byte> encode_ef14(std::span<const float> update, const Context& context, std::uint32_t age);
  std::vector<std::byte> encode_ef21(std::span<const float> update, const Context& context);
  template <class Next>
  std::vector<std::byte> send(std::vector<float> message, const Context& context, Next next);

  FeedbackOptions options;
  ClientMemory memory;
  double scale;
};

// next(p, C(scale · p)) gives the vectors to keep.
template <class Next>
std::vector<std::byte> ErrorFeedback::State::send(std::vector<float> message, const Context& context, Next next) {
  std::vector<float> scaled = message;
  if (scale != 1)
    for (float& value : scaled) value = static_cast<float>(scale * static_cast<double>(value));
  return memory.send(scaled, context, [&](const std::vector<float>& sent) { return next(std::move(message), sent); });
}

// Karimireddy et al. 2019, algorithm 2, with the learning rate left to the caller; with momentum Lin et al. 2018,
// algorithm 1 and section 3.2. What is subtracted is what was sent, not all of p where something was: the same for exact
// values, and quantized ones lose nothing.
std::vector<std::byte> ErrorFeedback::State::encode_ef14(std::span<const float> update, const Context& context,
                                                         std::uint32_t age) {
  const double keep = kept(age);
  const bool heavy = options.momentum > 0;
  std::vector<float> momentum;
  if (heavy) momentum = combined(options.momentum * keep, memory.vector(1), update);
  std::vector<float> message = combined(keep, memory.vector(0), heavy ? std::span<const float>(momentum) : update);
  return send(std::move(message), context, [&](std::vector<float> error, const std::vector<float>& sent) {
    for (std::size_t i = 0; i < error.size(); ++i) {
      error[i] -= sent[i];
      if (heavy && options.masking && sent[i] != 0) momentum[i] = 0;
    }
    std::vector<std::vector<float>> next;
    next.push_back(std::move(error));
    if (heavy) next.push_back(std::move(momentum));
    return next;
  });
}

// Richtárik et al. 2021, algorithm 2.
std::vector<std::byte> ErrorFeedback::State::encode_ef21(std::span<const float> update, const Context& context) {
  std::vector<float> estimate = memory.vector(0);
  return send(combined(-1, estimate, update), context, [&](const std::vector<float>&, const std::vector<float>& sent) {
    for (std::size_t i = 0; i < estimate.size(); ++i) estimate[i] += sent[i];
    std::vector<std::vector<float>> next;
    next.push_back(std::move(estimate));
    return next;
  });
}

ErrorFeedback::ErrorFeedback(Codec codec, const FeedbackOptions& options)
    : state_(std::make_unique<State>(std::move(codec), options)) {}
ErrorFeedback::~ErrorFeedback() = default;
ErrorFeedback::ErrorFeedback(ErrorFeedback&&) noexcept = default;
ErrorFeedback& ErrorFeedback::operator=(ErrorFeedback&&) noexcept = default;

std::vector<std::byte> ErrorFeedback::encode(std::span<const float> update, const Context& context) {
  const std::uint32_t age = state_->memory.check(update, context);
  return state_->options.method == FeedbackMethod::kEf21 ? state_->encode_ef21(update, context)
                                                         : state_->encode_ef14(update, context, age);
}

void ErrorFeedback::commit() { state_->memory.commit(); }
void ErrorFeedback::abandon() noexcept { state_->memory.abandon(); }
bool ErrorFeedback::pending() const noexcept { return state_->memory.pending(); }
std::vector<float> ErrorFeedback::memory() const { return state_->memory.vector(0); }
std::optional<std::uint32_t> ErrorFeedback::round() const noexcept { return state_->memory.round(); }
void ErrorFeedback::set_codec(Codec codec) {
  const double scale = scale_of(state_->options, codec);
  state_->memory.set_codec(std::move(codec));
  state_->scale = scale;
}
const Codec& ErrorFeedback::codec() const noexcept { return state_->memory.codec(); }
std::vector<std::byte> ErrorFeedback::save() const { return state_->memory.save(); }

ErrorFeedback ErrorFeedback::restore(Codec codec, std::span<const std::byte> bytes, const FeedbackOptions& options) {
  ErrorFeedback restored(std::move(codec), options);
  restored.state_->memory.restore(bytes);
  return restored;
}

}  // namespace fewbits
