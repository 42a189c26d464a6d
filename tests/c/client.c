/* A program in C99: clients encode updates by several plans, a server averages them, and bad calls are refused.
   client [FILE]: writes the first client's frames, one after the other, to FILE. The update is of whole numbers over a
   power of two, so that frames of two machines can be compared byte for byte. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "fewbits/c/fewbits.h"

enum { kRows = 60, kColumns = 50, kBias = 50, kSize = kRows * kColumns + kBias, kClients = 3 };

#define CHECK(condition)                                                            \
  do {                                                                              \
    if (!(condition)) {                                                             \
      printf("client.c:%d: %s is wrong: %s\n", __LINE__, #condition, error.message); \
      exit(1);                                                                      \
    }                                                                               \
  } while (0)

static void fill(float* update, uint32_t client) {
  uint32_t state = 1 + client;
  size_t i;
  for (i = 0; i < kSize; ++i) {
    int32_t sum = 0, k;
    for (k = 0; k < 4; ++k) {
      state = state * 1664525u + 1013904223u;
      sum += (int32_t)(state >> 20) - 2048;
    }
    update[i] = (float)sum / 1024.0f;
  }
}

static double error_of(const float* got, const float* want) {
  double error = 0, energy = 0;
  size_t i;
  for (i = 0; i < kSize; ++i) {
    error += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
    energy += (double)want[i] * want[i];
  }
  return error / energy;
}

static void run(const char* plan, double most, FILE* out) {
  const size_t matrix[2] = {kRows, kColumns}, bias[1] = {kBias};
  const fewbits_tensor tensors[2] = {{"weight", matrix, 2}, {"bias", bias, 1}};
  const fewbits_round round = {42, 3, 0};
  fewbits_error error = {FEWBITS_OK, 0, ""};
  fewbits_codec* codec = NULL;
  fewbits_aggregator *sum = NULL, *half = NULL;
  float* update = malloc(kSize * sizeof(float));
  float* mean = malloc(kSize * sizeof(float));
  float* want = calloc(kSize, sizeof(float));
  uint8_t* frame;
  size_t capacity, size = 0, i;
  uint32_t client;

  CHECK(update != NULL && mean != NULL && want != NULL);
  CHECK(fewbits_codec_compile_tensors(plan, tensors, 2, &codec, &error) == FEWBITS_OK);
  CHECK(fewbits_codec_elements(codec) == kSize);
  capacity = fewbits_codec_max_frame_size(codec);
  frame = malloc(capacity);
  CHECK(frame != NULL);
  CHECK(fewbits_aggregator_create(codec, &round, NULL, &sum, &error) == FEWBITS_OK);
  CHECK(fewbits_aggregator_create(codec, &round, NULL, &half, &error) == FEWBITS_OK);

  for (client = 0; client < kClients; ++client) {
    fewbits_context context = {42, 0, 3, 0, 0};
    fewbits_contribution from = {0, 0, 0};
    context.client = from.client = client;
    from.weight = 1 + client;
    fill(update, client);
    for (i = 0; i < kSize; ++i) want[i] += (float)from.weight * update[i] / 6.0f;
    CHECK(fewbits_codec_encode(codec, update, kSize, &context, frame, capacity, &size, &error) == FEWBITS_OK);
    CHECK(size > 0 && size <= capacity);
    if (client == 0 && out != NULL) CHECK(fwrite(frame, 1, size, out) == size);

    CHECK(fewbits_codec_decode(codec, frame, size, &context, mean, kSize, &error) == FEWBITS_OK);
    CHECK(error_of(mean, update) < most);
    CHECK(fewbits_aggregator_add(client < 2 ? sum : half, frame, size, &from, &error) == FEWBITS_OK);
    CHECK(fewbits_aggregator_add(client < 2 ? sum : half, frame, size, &from, &error) == FEWBITS_DUPLICATE_CLIENT);
    CHECK(error.code == FEWBITS_DUPLICATE_CLIENT && error.offset == FEWBITS_NO_OFFSET && error.message[0] != '\0');

    from.client = context.client = 9;
    frame[size - 1] ^= 1;
    CHECK(fewbits_aggregator_add(sum, frame, size, &from, &error) != FEWBITS_OK);
  }
  CHECK(fewbits_aggregator_merge(sum, half, &error) == FEWBITS_OK);
  CHECK(fewbits_aggregator_clients(sum) == kClients && fewbits_aggregator_total_weight(sum) == 6);
  CHECK(fewbits_aggregator_mean(sum, mean, kSize, &error) == FEWBITS_OK);
  CHECK(error_of(mean, want) < most);
  printf("%s: %lu bytes, NMSE of the mean %.3g\n", plan, (unsigned long)size, error_of(mean, want));

  fewbits_aggregator_free(half);
  fewbits_aggregator_free(sum);
  fewbits_codec_free(codec);
  free(frame);
  free(want);
  free(mean);
  free(update);
}

static void check_errors(void) {
  fewbits_error error = {FEWBITS_OK, 0, ""};
  fewbits_codec* codec = NULL;
  const fewbits_context context = {42, 0, 3, 0, 0};
  float update[4] = {1, 2, 3, 4};
  uint8_t frame[4];
  size_t size = 0;

  CHECK(fewbits_codec_compile("hadamard+nosuch", 4, &codec, &error) == FEWBITS_BAD_PLAN);
  CHECK(codec == NULL && error.code == FEWBITS_BAD_PLAN && error.offset == 9);
  printf("refused: %s\n", error.message);
  CHECK(fewbits_codec_compile("f32", 4, &codec, NULL) == FEWBITS_OK);
  CHECK(fewbits_codec_encode(codec, update, 4, &context, frame, sizeof(frame), &size, &error) == FEWBITS_SHORT_BUFFER);
  CHECK(size > sizeof(frame) && size <= fewbits_codec_max_frame_size(codec));
  update[2] = HUGE_VALF;
  CHECK(fewbits_codec_encode(codec, update, 4, &context, NULL, 0, &size, &error) == FEWBITS_NOT_FINITE);
  CHECK(fewbits_codec_encode(NULL, update, 4, &context, NULL, 0, &size, &error) == FEWBITS_BAD_ARGUMENT);
  CHECK(fewbits_codec_decode(codec, (const uint8_t*)"frame", 5, &context, update, 4, &error) == FEWBITS_NOT_A_FRAME);
  CHECK(error.offset == 0);
  fewbits_codec_free(codec);
  fewbits_codec_free(NULL);
}

int main(int argc, char** argv) {
  FILE* out = argc > 1 ? fopen(argv[1], "wb") : NULL;
  if (argc > 1 && out == NULL) return 1;
  run("f32", 1e-12, out);
  run("trellis:bits=2", 0.15, out);
  run("trellis:bits=1,scale=separable", 0.6, out);
  run("dither:bits=3", 0.05, out);
  run("eden:bits=1", 1.5, out);
  run("hadamard+quantize:bits=4+rans", 0.05, out);
  run("*bias=f16; *=topk:keep=0.1+qsgd:levels=15", 1.0, out);
  check_errors();
  printf("fewbits %s from C\n", fewbits_version());
  return out != NULL && fclose(out) != 0;
}
