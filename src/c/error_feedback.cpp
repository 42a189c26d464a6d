#include "fewbits/c/error_feedback.h"

#include "c/handles.h"

using namespace fewbits::c;

namespace {

// One of the two values of `To`.
template <class To>
To choice(int value, const char* name) {
  if (value != 0 && value != 1)
    throw fewbits::Error(fewbits::Errc::kBadArgument,
                         std::string(name) + " is " + std::to_string(value) + ", expected 0 or 1");
  return static_cast<To>(value);
}

fewbits::FeedbackOptions options_of(const fewbits_feedback_options* options) {
  fewbits::FeedbackOptions chosen;
  if (options == nullptr) return chosen;
  chosen.method = choice<fewbits::FeedbackMethod>(options->method, "method");
  chosen.storage = choice<fewbits::StateStorage>(options->storage, "storage");
  if (options->scale != 0) chosen.scale = options->scale;
  chosen.momentum = options->momentum;
  chosen.masking = options->masking != 0;
  chosen.decay = options->decay;
  chosen.max_age = options->max_age;
  return chosen;
}

}  // namespace

static_assert(static_cast<int>(fewbits::FeedbackMethod::kEf14) == FEWBITS_EF14);
static_assert(static_cast<int>(fewbits::FeedbackMethod::kEf21) == FEWBITS_EF21);
static_assert(static_cast<int>(fewbits::StateStorage::kFloat32) == FEWBITS_FLOAT32);
static_assert(static_cast<int>(fewbits::StateStorage::kBFloat16) == FEWBITS_BFLOAT16);

void fewbits_feedback_defaults(fewbits_feedback_options* options) {
  if (options == nullptr) return;
  const fewbits::FeedbackOptions defaults;
  *options = {FEWBITS_EF14,   FEWBITS_FLOAT32, 0, defaults.momentum, defaults.masking ? 1 : 0,
              defaults.decay, defaults.max_age};
}

fewbits_code fewbits_feedback_create(const fewbits_codec* codec, const fewbits_feedback_options* options,
                                     fewbits_feedback** feedback, fewbits_error* error) {
  return made(feedback, error, [&] { return fewbits::ErrorFeedback(use(codec), options_of(options)); });
}

void fewbits_feedback_free(fewbits_feedback* feedback) { release(feedback); }

fewbits_code fewbits_feedback_encode(fewbits_feedback* feedback, const float* update, size_t elements,
                                     const fewbits_context* context, uint8_t* frame, size_t capacity, size_t* size,
                                     fewbits_error* error) {
  return guarded(error, [&] {
    required(size, "size");
    auto& memory = use(feedback);
    const auto written = memory.encode(array(update, elements, "the update"), context_of(context));
    try {
      put_bytes(written, frame, capacity, size);
    } catch (...) {
      memory.abandon();
      throw;
    }
  });
}

fewbits_code fewbits_feedback_commit(fewbits_feedback* feedback, fewbits_error* error) {
  return guarded(error, [&] { use(feedback).commit(); });
}

fewbits_code fewbits_feedback_abandon(fewbits_feedback* feedback, fewbits_error* error) {
  return guarded(error, [&] { use(feedback).abandon(); });
}

int fewbits_feedback_pending(const fewbits_feedback* feedback) {
  return is(feedback) && feedback->value.pending() ? 1 : 0;
}

fewbits_code fewbits_feedback_memory(const fewbits_feedback* feedback, float* memory, size_t capacity,
                                     fewbits_error* error) {
  return guarded(error, [&] {
    const auto values = use(feedback).memory();
    put(std::span(values), memory, capacity, "the memory");
  });
}

fewbits_code fewbits_feedback_set_codec(fewbits_feedback* feedback, const fewbits_codec* codec, fewbits_error* error) {
  return guarded(error, [&] { use(feedback).set_codec(use(codec)); });
}

fewbits_code fewbits_feedback_save(const fewbits_feedback* feedback, uint8_t* bytes, size_t capacity, size_t* size,
                                   fewbits_error* error) {
  return guarded(error, [&] { put_bytes(use(feedback).save(), bytes, capacity, size); });
}

fewbits_code fewbits_feedback_restore(const fewbits_codec* codec, const fewbits_feedback_options* options,
                                      const uint8_t* saved, size_t size, fewbits_feedback** feedback,
                                      fewbits_error* error) {
  return made(feedback, error, [&] {
    return fewbits::ErrorFeedback::restore(use(codec), bytes(saved, size, "the bytes"), options_of(options));
  });
}
