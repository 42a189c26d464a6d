/* The sample of README.md, which is sample.h, with the two functions that it leaves to its reader. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static int report(const char* message);
static void upload(const uint8_t* frame, size_t size);

#include "sample.h"

enum { kSize = 10000 };

static uint8_t uploaded[2 * kSize];
static size_t uploaded_size;
static char reported[480];

static int report(const char* message) {
  strncpy(reported, message, sizeof(reported) - 1);
  return 1;
}

static void upload(const uint8_t* frame, size_t size) {
  if (size > sizeof(uploaded)) return;
  memcpy(uploaded, frame, size);
  uploaded_size = size;
}

int main(void) {
  static float update[kSize], decoded[kSize];
  const fewbits_context context = {42, 17, 3, 0, 0};
  fewbits_codec* codec;
  size_t i;
  double error = 0, energy = 0;
  for (i = 0; i < kSize; ++i) update[i] = (float)((i * 7919) % 1000) / 500.0f - 1.0f;
  if (send_update(update, kSize, 3, 17) != 0 || uploaded_size == 0) return 1;
  if (fewbits_codec_compile("trellis:bits=0.5", kSize, &codec, NULL) != FEWBITS_OK) return 2;
  if (fewbits_codec_decode(codec, uploaded, uploaded_size, &context, decoded, kSize, NULL) != FEWBITS_OK) return 3;
  for (i = 0; i < kSize; ++i) {
    error += ((double)decoded[i] - update[i]) * ((double)decoded[i] - update[i]);
    energy += (double)update[i] * update[i];
  }
  fewbits_codec_free(codec);
  if (error > 1.5 * energy) return 4;
  if (send_update(update, kSize, 1u << 28, 17) != 1 || strstr(reported, "round") == NULL) return 5;
  printf("README.md in C: %lu bytes for %d values\n", (unsigned long)uploaded_size, (int)kSize);
  return 0;
}
