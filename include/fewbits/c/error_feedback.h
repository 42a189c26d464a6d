#pragma once

#include <stddef.h>
#include <stdint.h>

#include "fewbits/c/codec.h"
#include "fewbits/c/error.h"
#include "fewbits/export.h"

#ifdef __cplusplus
extern "C" {
#endif

// Error feedback: a client's memory that makes up for the bias of a codec. Memory: 4 bytes a coordinate (2 as bf16),
// twice that with momentum; while a frame is pending, as much again.
typedef struct fewbits_feedback fewbits_feedback;

typedef enum fewbits_feedback_method {
  FEWBITS_EF14 = 0,  // the memory of what was not sent. Any server
  FEWBITS_EF21 = 1   // the memory of what the server has. The server keeps the sum of all memories
} fewbits_feedback_method;

typedef enum fewbits_state_storage {
  FEWBITS_FLOAT32 = 0,
  FEWBITS_BFLOAT16 = 1  // half the bytes; each value is rounded to nearest, ties to even, at every commit
} fewbits_state_storage;

// As FeedbackOptions of fewbits/error_feedback.h, which says more.
typedef struct fewbits_feedback_options {
  int method;        // fewbits_feedback_method
  int storage;       // fewbits_state_storage; this and the rest but `scale` for FEWBITS_EF14 only
  double scale;      // of what is encoded, at most 1; 0: what suits the codec
  double momentum;   // in [0, 1); over 0: momentum correction
  int masking;       // 1: momentum is dropped where a value is sent
  double decay;      // in [0, 1]: factor of the memory for each round that the client skipped
  uint32_t max_age;  // rounds after which the memory is dropped; 0: never
} fewbits_feedback_options;

// Writes the defaults: EF14, float32, scale 0, no momentum, masking, decay 1, max_age 0. Nothing for NULL.
FEWBITS_API void fewbits_feedback_defaults(fewbits_feedback_options* options);

// Options that are NULL: the defaults. FEWBITS_BAD_ARGUMENT for options out of range, and for a codec whose plan trains
// inside a structured family.
FEWBITS_API fewbits_code fewbits_feedback_create(const fewbits_codec* codec, const fewbits_feedback_options* options,
                                                 fewbits_feedback** feedback, fewbits_error* error);
FEWBITS_API void fewbits_feedback_free(fewbits_feedback* feedback);

// As fewbits_codec_encode, of update and memory. The frame is then pending, and the memory stays as it is until
// `commit`. FEWBITS_BAD_ARGUMENT while another frame is pending, FEWBITS_WRONG_ROUND for a round not after the last
// committed one. After an error, FEWBITS_SHORT_BUFFER too, nothing has changed.
FEWBITS_API fewbits_code fewbits_feedback_encode(fewbits_feedback* feedback, const float* update, size_t elements,
                                                 const fewbits_context* context, uint8_t* frame, size_t capacity,
                                                 size_t* size, fewbits_error* error);

// The server has added the pending frame. FEWBITS_BAD_ARGUMENT when none is pending.
FEWBITS_API fewbits_code fewbits_feedback_commit(fewbits_feedback* feedback, fewbits_error* error);

// The pending frame, if any, was lost: the memory is what it was before `encode`, and the update is forgotten.
FEWBITS_API fewbits_code fewbits_feedback_abandon(fewbits_feedback* feedback, fewbits_error* error);

// 1 while a frame is pending, else 0.
FEWBITS_API int fewbits_feedback_pending(const fewbits_feedback* feedback);

// Writes the memory as of the last commit, fewbits_codec_elements values.
FEWBITS_API fewbits_code fewbits_feedback_memory(const fewbits_feedback* feedback, float* memory, size_t capacity,
                                                 fewbits_error* error);

// Goes on with another codec of the same layout, such as one with a newer profile. FEWBITS_BAD_ARGUMENT for another
// layout, or while a frame is pending.
FEWBITS_API fewbits_code fewbits_feedback_set_codec(fewbits_feedback* feedback, const fewbits_codec* codec,
                                                    fewbits_error* error);

// State as of the last commit (docs/frame-format.md): one restored goes on with the same bits. Bytes that are damaged,
// or of another codec, method, momentum or storage, are refused.
FEWBITS_API fewbits_code fewbits_feedback_save(const fewbits_feedback* feedback, uint8_t* bytes, size_t capacity,
                                               size_t* size, fewbits_error* error);
FEWBITS_API fewbits_code fewbits_feedback_restore(const fewbits_codec* codec, const fewbits_feedback_options* options,
                                                  const uint8_t* bytes, size_t size, fewbits_feedback** feedback,
                                                  fewbits_error* error);

#ifdef __cplusplus
}
#endif
