// Three clients encode an update, a server averages the frames and prints the mean.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "fewbits/aggregator.h"
#include "fewbits/codec.h"
#include "fewbits/error.h"
#include "fewbits/version.h"

int main() {
  constexpr std::size_t kSize = 1000;
  const auto codec = fewbits::Codec::compile("f32", fewbits::Layout(kSize));
  fewbits::Aggregator sum(codec, {.seed = 42, .round = 3});

  std::vector<double> want(kSize, 0.0);
  double weights = 0;
  for (std::uint64_t client = 1; client <= 3; ++client) {
    std::vector<float> update(kSize);
    for (std::size_t i = 0; i < kSize; ++i) {
      update[i] = static_cast<float>(client) * std::sin(static_cast<float>(i));
      want[i] += static_cast<double>(client) * static_cast<double>(update[i]);
    }
    const auto frame = codec.encode(update, {.seed = 42, .round = 3, .client = client});
    std::printf("client %d: %zu bytes\n", static_cast<int>(client), frame.size());
    sum.add(frame, {.client = client, .weight = static_cast<double>(client)});
    weights += static_cast<double>(client);
  }

  const std::vector<float> mean = sum.mean();
  for (std::size_t i = 0; i < kSize; ++i) {
    if (std::abs(static_cast<double>(mean[i]) - want[i] / weights) > 1e-6) {
      std::printf("coordinate %zu: mean %g, want %g\n", i, static_cast<double>(mean[i]), want[i] / weights);
      return 1;
    }
  }

  // Thrown inside the library, caught outside: the type crosses the boundary of a shared library.
  try {
    fewbits::Codec::compile("no-such-stage", fewbits::Layout(kSize));
    std::puts("a plan of an unknown stage was not refused");
    return 1;
  } catch (const fewbits::Error& error) {
    if (error.code() != fewbits::Errc::kBadPlan) return 1;
    std::printf("refused: %s\n", error.what());
  }
  std::printf("fewbits %s, mean of %zu clients, first coordinates %g %g\n", std::string(fewbits::kVersion).c_str(),
              sum.clients(), static_cast<double>(mean[0]), static_cast<double>(mean[1]));
  return 0;
}
