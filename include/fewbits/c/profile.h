#pragma once

#include <stddef.h>
#include <stdint.h>

#include "fewbits/c/aggregator.h"
#include "fewbits/c/codec.h"
#include "fewbits/c/error.h"
#include "fewbits/export.h"

#ifdef __cplusplus
extern "C" {
#endif

// A fewbits_profile (codec.h) holds the scales of a layout's tensors that the server has learned and every client of a
// round has: what `scale=profile` codes with, at no cost to the uplink. Layouts are named by any codec that has them.

// Learns a profile from round to round, at the server.
typedef struct fewbits_learner fewbits_learner;

typedef struct fewbits_learner_options {
  double memory;  // weight of the past against a new round, in [0, 1)
  double floor;   // no row, column or vector has less than this share of the mean energy
} fewbits_learner_options;

// From the bytes that a server sent down with the model. Refused where they are damaged, of another version or layout.
FEWBITS_API fewbits_code fewbits_profile_restore(const fewbits_codec* layout, const uint8_t* bytes, size_t size,
                                                 fewbits_profile** profile, fewbits_error* error);
FEWBITS_API void fewbits_profile_free(fewbits_profile* profile);

// The profile as `*size` bytes, to be sent down; valid as long as the profile. NULL and 0 for what is no profile.
FEWBITS_API const uint8_t* fewbits_profile_bytes(const fewbits_profile* profile, size_t* size);

// 1 where all scales are the same: before anything is learned; else 0.
FEWBITS_API int fewbits_profile_is_flat(const fewbits_profile* profile);

// 1 where the steps are part of the profile: sums of frames are linear in what they hold, and clients with little to
// say send less; else 0: each client chooses and sends its own.
FEWBITS_API int fewbits_profile_has_common_step(const fewbits_profile* profile);

// A new profile with the steps at which an update of these scales would take what the `bits=` (or `nmse=`) of the
// codec's plan wishes. FEWBITS_BAD_ARGUMENT for a flat profile, and where no stage of the plan has scale=profile.
FEWBITS_API fewbits_code fewbits_profile_with_common_step(const fewbits_profile* profile, const fewbits_codec* codec,
                                                          fewbits_profile** with_step, fewbits_error* error);

// Options that are NULL: {0.8, 0.02}. FEWBITS_BAD_ARGUMENT for options out of range.
FEWBITS_API fewbits_code fewbits_learner_create(const fewbits_codec* layout, const fewbits_learner_options* options,
                                                fewbits_learner** learner, fewbits_error* error);
FEWBITS_API void fewbits_learner_free(fewbits_learner* learner);

// Learns from a round's frames. FEWBITS_BAD_ARGUMENT where their plan has no scale=profile, FEWBITS_EMPTY before the
// first client.
FEWBITS_API fewbits_code fewbits_learner_learn(fewbits_learner* learner, const fewbits_aggregator* round,
                                               fewbits_error* error);

// Learns from a round of which only the mean is known (shape [elements], the layout's coordinates, finite). Its noise
// is taken for energy.
FEWBITS_API fewbits_code fewbits_learner_learn_mean(fewbits_learner* learner, const float* mean, size_t elements,
                                                    fewbits_error* error);

// Rounds learned from. 0 for what is no learner.
FEWBITS_API uint32_t fewbits_learner_rounds(const fewbits_learner* learner);

// The profile of all rounds so far, as a new handle: flat before the first.
FEWBITS_API fewbits_code fewbits_learner_profile(const fewbits_learner* learner, fewbits_profile** profile,
                                                 fewbits_error* error);

// Everything that later profiles depend on, as bytes; and back, into a learner of the same layout.
FEWBITS_API fewbits_code fewbits_learner_save(const fewbits_learner* learner, uint8_t* bytes, size_t capacity,
                                              size_t* size, fewbits_error* error);
FEWBITS_API fewbits_code fewbits_learner_restore(fewbits_learner* learner, const uint8_t* bytes, size_t size,
                                                 fewbits_error* error);

#ifdef __cplusplus
}
#endif
