#pragma once

// The rules of all of the C interface (C99, or C++):
//   - A function that can fail returns a fewbits_code, FEWBITS_OK for success. It takes a fewbits_error of the
//   caller's, or
//     NULL, and writes there what happened, success too. Nothing is kept in globals: errors are as thread-safe as their
//     place.
//   - No C++ exception leaves it, lack of memory included. It never prints, aborts, or starts a thread.
//   - Whoever gets a handle from `compile`, `create`, `restore`, ... frees it by the function of its type. Where none
//   could be
//     made, the handle is set to NULL; freeing NULL does nothing. A handle does not need those that it was made from.
//   - Codecs and profiles are immutable: threads may share them. Every other handle is for one thread at a time.
//   - A length counts what its pointer points to: floats, bytes, tensors. The pointer may be NULL where the length is
//   0.
//   - `capacity` is the length of a buffer of the caller's. Where the result is longer it is FEWBITS_SHORT_BUFFER, and
//   `*size`,
//     where there is one, is the length that it takes. A buffer is written only on success.
//   - A handle or pointer that is NULL, or a handle of another type, is FEWBITS_BAD_ARGUMENT where an error is
//   returned.

#include <stddef.h>

#include "fewbits/export.h"

#ifdef __cplusplus
extern "C" {
#endif

// Why a call was refused. The numbers never change; those below 100 are fewbits::Errc.
typedef enum fewbits_code {
  FEWBITS_OK = 0,
  FEWBITS_BAD_ARGUMENT = 1,       // a value that the caller passed
  FEWBITS_BAD_PLAN = 2,           // plan text; the offset is a position in it
  FEWBITS_NOT_FINITE = 3,         // NaN or infinity in an update, or a transform of it that overflows float32
  FEWBITS_NOT_A_FRAME = 4,        // the first byte is another
  FEWBITS_UNKNOWN_VERSION = 5,    // a format version, or a must-understand flag, that this library does not know
  FEWBITS_TRUNCATED = 6,          // bytes end too early
  FEWBITS_TRAILING_BYTES = 7,     // bytes go on after the end
  FEWBITS_CHECKSUM_MISMATCH = 8,  // damaged on the way
  FEWBITS_WRONG_PLAN = 9,         // made with another plan, layout or profile
  FEWBITS_WRONG_ROUND = 10,
  FEWBITS_WRONG_CLIENT = 11,      // names another client than the one that the caller vouches for
  FEWBITS_DUPLICATE_CLIENT = 12,  // this client is in the sum already
  FEWBITS_MALFORMED = 13,         // a value that no encoder writes
  FEWBITS_TOO_LARGE = 14,         // a magnitude or weight over the limit
  FEWBITS_EMPTY = 15,             // the mean of no client
  FEWBITS_WRONG_SEED = 16,        // partial sums of two different seeds
  FEWBITS_SHORT_BUFFER = 100,     // the result is longer than the caller's buffer
  FEWBITS_OUT_OF_MEMORY = 101,
  FEWBITS_INTERNAL = 102  // a fault of the library's
} fewbits_code;

// The offset where there is none.
#define FEWBITS_NO_OFFSET ((size_t)-1)

typedef struct fewbits_error {
  fewbits_code code;
  size_t offset;      // byte in the frame, or position in the plan text, at which the trouble was found
  char message[480];  // UTF-8, ends with 0, cut between characters where it is longer; empty for FEWBITS_OK
} fewbits_error;

// Of the library, as "0.1.0". Static; frames carry a format version of their own.
FEWBITS_API const char* fewbits_version(void);

#ifdef __cplusplus
}
#endif
