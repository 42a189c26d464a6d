#include "fewbits/c/profile.h"

#include "c/handles.h"

using namespace fewbits::c;

fewbits_code fewbits_profile_restore(const fewbits_codec* layout, const uint8_t* saved, size_t size,
                                     fewbits_profile** profile, fewbits_error* error) {
  return made(profile, error,
              [&] { return fewbits::Profile::from_bytes(use(layout).layout(), bytes(saved, size, "the bytes")); });
}

void fewbits_profile_free(fewbits_profile* profile) { release(profile); }

const uint8_t* fewbits_profile_bytes(const fewbits_profile* profile, size_t* size) {
  const bool valid = is(profile) && size != nullptr;
  if (size != nullptr) *size = valid ? profile->value.bytes().size() : 0;
  return valid ? reinterpret_cast<const uint8_t*>(profile->value.bytes().data()) : nullptr;
}

int fewbits_profile_is_flat(const fewbits_profile* profile) { return is(profile) && profile->value.is_flat() ? 1 : 0; }

int fewbits_profile_has_common_step(const fewbits_profile* profile) {
  return is(profile) && profile->value.has_common_step() ? 1 : 0;
}

fewbits_code fewbits_profile_with_common_step(const fewbits_profile* profile, const fewbits_codec* codec,
                                              fewbits_profile** with_step, fewbits_error* error) {
  return made(with_step, error, [&] { return use(profile).with_common_step(use(codec)); });
}

fewbits_code fewbits_learner_create(const fewbits_codec* layout, const fewbits_learner_options* options,
                                    fewbits_learner** learner, fewbits_error* error) {
  return made(learner, error, [&] {
    fewbits::ProfileLearner::Options chosen;
    if (options != nullptr) chosen = {options->memory, options->floor};
    return fewbits::ProfileLearner(use(layout).layout(), chosen);
  });
}

void fewbits_learner_free(fewbits_learner* learner) { release(learner); }

fewbits_code fewbits_learner_learn(fewbits_learner* learner, const fewbits_aggregator* round, fewbits_error* error) {
  return guarded(error, [&] { use(learner).learn(use(round)); });
}

fewbits_code fewbits_learner_learn_mean(fewbits_learner* learner, const float* mean, size_t elements,
                                        fewbits_error* error) {
  return guarded(error, [&] { use(learner).learn(array(mean, elements, "the mean")); });
}

uint32_t fewbits_learner_rounds(const fewbits_learner* learner) { return is(learner) ? learner->value.rounds() : 0; }

fewbits_code fewbits_learner_profile(const fewbits_learner* learner, fewbits_profile** profile, fewbits_error* error) {
  return made(profile, error, [&] { return use(learner).profile(); });
}

fewbits_code fewbits_learner_save(const fewbits_learner* learner, uint8_t* bytes, size_t capacity, size_t* size,
                                  fewbits_error* error) {
  return guarded(error, [&] { put_bytes(use(learner).save(), bytes, capacity, size); });
}

fewbits_code fewbits_learner_restore(fewbits_learner* learner, const uint8_t* saved, size_t size,
                                     fewbits_error* error) {
  return guarded(error, [&] { use(learner).restore(bytes(saved, size, "the bytes")); });
}
