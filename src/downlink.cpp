#include "fewbits/downlink.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "fewbits/error_feedback.h"
#include "kernels/random.h"

namespace fewbits {
namespace {

constexpr FeedbackOptions kEf21{.method = FeedbackMethod::kEf21};

// Streams of their own: the frames of client 0 go up with the same seed and round.
Context context_of(std::uint64_t seed, std::uint32_t round) {
  return {.seed = stream_key({static_cast<std::uint64_t>(Purpose::kDownlink), seed}), .round = round};
}

std::vector<float> checked(const Codec& codec, std::span<const float> model) {
  if (codec.structured())
    throw Error(Errc::kBadArgument, "a structured plan cannot carry models: what it leaves out would never be sent");
  if (model.size() != codec.elements())
    throw Error(Errc::kBadArgument, "the model has " + std::to_string(model.size()) + " coordinates, the plan is for " +
                                        std::to_string(codec.elements()));
  if (!std::ranges::all_of(model, [](float value) { return std::isfinite(value); }))
    throw Error(Errc::kNotFinite, "the model has a value that is NaN or infinite");
  return {model.begin(), model.end()};
}

void add_up(const std::vector<float>& start, const std::vector<float>& moved, std::vector<float>& view) {
  std::ranges::transform(start, moved, view.begin(), [](float a, float b) { return a + b; });
}

}  // namespace

struct Downlink::State {
  State(const Codec& codec, std::span<const float> model, ErrorFeedback the_feedback)
      : start(checked(codec, model)), view(start), difference(start.size()), feedback(std::move(the_feedback)) {}

  std::vector<float> start;
  std::vector<float> view;
  std::vector<float> difference;   // of the server's model from the start
  ErrorFeedback feedback;          // whose memory is the view's difference from the start
};

Downlink::Downlink(Codec codec, std::span<const float> model)
    : state_(std::make_unique<State>(codec, model, ErrorFeedback(codec, kEf21))) {}
Downlink::~Downlink() = default;
Downlink::Downlink(Downlink&&) noexcept = default;
Downlink& Downlink::operator=(Downlink&&) noexcept = default;

std::vector<std::byte> Downlink::encode(std::span<const float> model, std::uint64_t seed, std::uint32_t round) {
  State& s = *state_;
  if (model.size() != s.start.size()) checked(codec(), model);
  std::ranges::transform(model, s.start, s.difference.begin(), [](float a, float b) { return a - b; });
  std::vector<std::byte> frame = s.feedback.encode(s.difference, context_of(seed, round));
  s.feedback.commit();
  add_up(s.start, s.feedback.memory(), s.view);
  return frame;
}

std::span<const float> Downlink::view() const noexcept { return state_->view; }
const Codec& Downlink::codec() const noexcept { return state_->feedback.codec(); }
std::vector<std::byte> Downlink::save() const { return state_->feedback.save(); }

Downlink Downlink::restore(Codec codec, std::span<const float> model, std::span<const std::byte> bytes) {
  Downlink restored(codec, model);
  State& s = *restored.state_;
  s.feedback = ErrorFeedback::restore(codec, bytes, kEf21);
  if (s.feedback.round()) add_up(s.start, s.feedback.memory(), s.view);
  return restored;
}

DownlinkView::DownlinkView(Codec codec, std::span<const float> model)
    : codec_(std::move(codec)), start_(checked(codec_, model)), moved_(start_.size()), view_(start_) {}

void DownlinkView::add(std::span<const std::byte> frame, std::uint64_t seed) {
  const std::vector<float> step = codec_.decode(frame, {.seed = context_of(seed, 0).seed});
  std::ranges::transform(moved_, step, moved_.begin(), [](float a, float b) { return a + b; });
  add_up(start_, moved_, view_);
}

}  // namespace fewbits
