#pragma once

#include <stddef.h>
#include <stdint.h>

#include "fewbits/c/codec.h"
#include "fewbits/c/error.h"
#include "fewbits/export.h"

#ifdef __cplusplus
extern "C" {
#endif

// The weighted mean of the updates of one round, frame by frame: 8 bytes a coordinate and scratch for one frame,
// whatever the number of clients.
typedef struct fewbits_aggregator fewbits_aggregator;

// What an aggregator accepts from clients that it does not trust. Both over 0 and at most 1e20.
typedef struct fewbits_limits {
  double max_abs;     // of every dequantized coefficient, before its weight
  double max_weight;  // of one client
} fewbits_limits;

typedef struct fewbits_round {
  uint64_t seed;
  uint32_t round;
  uint32_t cohort_size;  // clients that are asked, for stages that correlate them; 0 means 1
} fewbits_round;

typedef struct fewbits_contribution {
  uint64_t client;        // as the caller has authenticated it: a frame that names another is refused
  double weight;          // over 0; in federated averaging the number of examples
  uint32_t cohort_index;  // the client's place in the cohort, for stages that correlate its clients
} fewbits_contribution;

// Limits that are NULL: {1e9, 1e12}. FEWBITS_BAD_ARGUMENT for a round or limits out of range.
FEWBITS_API fewbits_code fewbits_aggregator_create(const fewbits_codec* codec, const fewbits_round* round,
                                                   const fewbits_limits* limits, fewbits_aggregator** aggregator,
                                                   fewbits_error* error);
FEWBITS_API void fewbits_aggregator_free(fewbits_aggregator* aggregator);

// Adds a frame of `size` bytes, all or nothing: refused, with the sum as it was, unless the frame is perfect, of this
// plan, layout and round, from the client that is named, who is not in the sum yet, and within the limits.
FEWBITS_API fewbits_code fewbits_aggregator_add(fewbits_aggregator* aggregator, const uint8_t* frame, size_t size,
                                                const fewbits_contribution* from, fewbits_error* error);

// Adds what `other` holds, all or nothing: FEWBITS_WRONG_PLAN, FEWBITS_WRONG_ROUND, FEWBITS_WRONG_SEED, and
// FEWBITS_DUPLICATE_CLIENT where a client is in both.
FEWBITS_API fewbits_code fewbits_aggregator_merge(fewbits_aggregator* aggregator, const fewbits_aggregator* other,
                                                  fewbits_error* error);

// Clients in the sum, and the sum of their weights. 0 for what is no aggregator.
FEWBITS_API size_t fewbits_aggregator_clients(const fewbits_aggregator* aggregator);
FEWBITS_API double fewbits_aggregator_total_weight(const fewbits_aggregator* aggregator);

// Writes the weighted mean of the updates, fewbits_codec_elements values. FEWBITS_EMPTY before the first client.
FEWBITS_API fewbits_code fewbits_aggregator_mean(const fewbits_aggregator* aggregator, float* mean, size_t capacity,
                                                 fewbits_error* error);

// The partial sum as bytes (docs/frame-format.md), for another process or a restart. Not a frame: it holds float64
// sums, so restore it from trusted places.
FEWBITS_API fewbits_code fewbits_aggregator_serialize(const fewbits_aggregator* aggregator, uint8_t* bytes,
                                                      size_t capacity, size_t* size, fewbits_error* error);

// An aggregator with the partial sum of `bytes`. Refused where they are damaged, or of another plan, seed or round.
FEWBITS_API fewbits_code fewbits_aggregator_restore(const fewbits_codec* codec, const fewbits_round* round,
                                                    const fewbits_limits* limits, const uint8_t* bytes, size_t size,
                                                    fewbits_aggregator** aggregator, fewbits_error* error);

#ifdef __cplusplus
}
#endif
