#pragma once

#include <stddef.h>
#include <stdint.h>

#include "fewbits/c/error.h"
#include "fewbits/export.h"

#ifdef __cplusplus
extern "C" {
#endif

// A plan compiled for a layout.
typedef struct fewbits_codec fewbits_codec;

// Encodes update after update without allocating. One a thread, and one a client where a stage of the plan remembers.
typedef struct fewbits_encoder fewbits_encoder;

// Scales that a server has learned (fewbits/c/profile.h).
typedef struct fewbits_profile fewbits_profile;

// One tensor of an update.
typedef struct fewbits_tensor {
  const char* name;     // UTF-8, ends with 0
  const size_t* shape;  // [dimensions]
  size_t dimensions;    // 0 for a scalar: one element
} fewbits_tensor;

// What the shared randomness of one frame is keyed by. Client and server must agree on it; nothing of it but round and
// client is sent. The generator is not cryptographic: a seed is no secret and hides nothing.
typedef struct fewbits_context {
  uint64_t seed;
  uint64_t client;
  uint32_t round;         // below 2^28 - 1, or that
  uint32_t cohort_index;  // place among the clients of the round, for stages that correlate them
  uint32_t cohort_size;   // clients that are asked; 0 means 1
} fewbits_context;

// Compiles `plan` (UTF-8, ends with 0; docs/codecs.md) for one vector of `elements` coordinates.
// FEWBITS_BAD_PLAN with the position in the plan; FEWBITS_BAD_ARGUMENT for over 2^32 - 1 coordinates.
FEWBITS_API fewbits_code fewbits_codec_compile(const char* plan, size_t elements, fewbits_codec** codec,
                                               fewbits_error* error);

// The same for tensors (shape [count]), whose concatenation, each in row-major order, is an update. All is copied.
// FEWBITS_BAD_ARGUMENT for names that repeat, too.
FEWBITS_API fewbits_code fewbits_codec_compile_tensors(const char* plan, const fewbits_tensor* tensors, size_t count,
                                                       fewbits_codec** codec, fewbits_error* error);

// The same plan and layout with learned scales, as a new handle. FEWBITS_BAD_ARGUMENT for the profile of another
// layout.
FEWBITS_API fewbits_code fewbits_codec_with_profile(const fewbits_codec* codec, const fewbits_profile* profile,
                                                    fewbits_codec** with_profile, fewbits_error* error);

FEWBITS_API void fewbits_codec_free(fewbits_codec* codec);

// The canonical plan: every parameter spelled out, equal for plans that mean the same. Valid as long as the codec; NULL
// for what is no codec.
FEWBITS_API const char* fewbits_codec_plan(const fewbits_codec* codec);

// Coordinates that `encode` takes and `decode` gives: the layout's, or the free parameters where the plan trains inside
// a structured family. 0 for what is no codec.
FEWBITS_API size_t fewbits_codec_elements(const fewbits_codec* codec);

// Frames are never longer, in bytes. 0 for what is no codec.
FEWBITS_API size_t fewbits_codec_max_frame_size(const fewbits_codec* codec);

// Hash of plan, layout and profile that every frame carries. 0 for what is no codec.
FEWBITS_API uint64_t fewbits_codec_fingerprint(const fewbits_codec* codec);

// 1 where some stage has scale=profile, else 0.
FEWBITS_API int fewbits_codec_takes_profile(const fewbits_codec* codec);

// Writes the frame of `update` (shape [elements], finite) to `frame`, and its length to `*size`: what a client uploads.
// A capacity of fewbits_codec_max_frame_size is always enough. FEWBITS_BAD_ARGUMENT for a length that is not
// fewbits_codec_elements, a round or a place in the cohort out of range; FEWBITS_NOT_FINITE. Allocates scratch.
FEWBITS_API fewbits_code fewbits_codec_encode(const fewbits_codec* codec, const float* update, size_t elements,
                                              const fewbits_context* context, uint8_t* frame, size_t capacity,
                                              size_t* size, fewbits_error* error);

// Writes the update that `frame` (`size` bytes) stands for to `update`, fewbits_codec_elements values. Of `context`
// seed and cohort are used; round and client are read from the frame. Every frame that this codec's encoder could not
// have written is refused, with the byte at fault where one is.
FEWBITS_API fewbits_code fewbits_codec_decode(const fewbits_codec* codec, const uint8_t* frame, size_t size,
                                              const fewbits_context* context, float* update, size_t capacity,
                                              fewbits_error* error);

FEWBITS_API fewbits_code fewbits_encoder_create(const fewbits_codec* codec, fewbits_encoder** encoder,
                                                fewbits_error* error);
FEWBITS_API void fewbits_encoder_free(fewbits_encoder* encoder);

// As fewbits_codec_encode, but the frame is the encoder's: `*frame` points to `*size` bytes that stay valid until the
// next call with this encoder.
FEWBITS_API fewbits_code fewbits_encoder_encode(fewbits_encoder* encoder, const float* update, size_t elements,
                                                const fewbits_context* context, const uint8_t** frame, size_t* size,
                                                fewbits_error* error);

// What stages remember from frame to frame (the warm start of `lowrank`), as bytes. It makes frames better, never
// different to decode.
FEWBITS_API fewbits_code fewbits_encoder_save(const fewbits_encoder* encoder, uint8_t* bytes, size_t capacity,
                                              size_t* size, fewbits_error* error);

// FEWBITS_WRONG_PLAN for the bytes of another codec; FEWBITS_TRUNCATED, FEWBITS_CHECKSUM_MISMATCH, ... for damaged
// ones.
FEWBITS_API fewbits_code fewbits_encoder_restore(fewbits_encoder* encoder, const uint8_t* bytes, size_t size,
                                                 fewbits_error* error);

#ifdef __cplusplus
}
#endif
