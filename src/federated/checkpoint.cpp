#include "federated/checkpoint.h"

#include <zlib.h>

#include <array>
#include <cstring>
#include <string_view>

#include "fewbits/error.h"

namespace fewbits::federated {
namespace {

constexpr std::string_view kMagic = "fewbits checkpoint 4\n";

template <typename T>
void put(std::vector<std::byte>& bytes, const T* values, std::size_t count) {
  const std::size_t old = bytes.size();
  bytes.resize(old + count * sizeof(T));
  if (count > 0) std::memcpy(bytes.data() + old, values, count * sizeof(T));
}

[[noreturn]] void damaged() { throw Error(Errc::kBadArgument, "checkpoint is damaged or of another version"); }

template <typename T>
void take(std::span<const std::byte>& bytes, T* values, std::size_t count) {
  if (bytes.size() / sizeof(T) < count) damaged();
  if (count > 0) std::memcpy(values, bytes.data(), count * sizeof(T));
  bytes = bytes.subspan(count * sizeof(T));
}

void put_state(std::vector<std::byte>& bytes, const std::vector<std::byte>& state) {
  const std::uint64_t size = state.size();
  put(bytes, &size, 1);
  put(bytes, state.data(), state.size());
}

std::vector<std::byte> take_state(std::span<const std::byte>& bytes) {
  std::uint64_t size = 0;
  take(bytes, &size, 1);
  if (size > bytes.size()) damaged();
  std::vector<std::byte> state(size);
  take(bytes, state.data(), state.size());
  return state;
}

void put_vector(std::vector<std::byte>& bytes, const std::vector<float>& values) {
  const std::uint64_t size = values.size();
  put(bytes, &size, 1);
  put(bytes, values.data(), values.size());
}

std::vector<float> take_vector(std::span<const std::byte>& bytes) {
  std::uint64_t size = 0;
  take(bytes, &size, 1);
  if (size > bytes.size()) damaged();
  std::vector<float> values(size);
  take(bytes, values.data(), values.size());
  return values;
}

std::uint32_t crc(std::span<const std::byte> bytes) {
  return static_cast<std::uint32_t>(crc32_z(0, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

}  // namespace

std::vector<std::byte> Checkpoint::to_bytes() const {
  std::vector<std::byte> bytes;
  const std::array<std::uint64_t, 10> numbers = {fingerprint,    seed,
                                                 round,          frames,
                                                 upload_bytes,   download_bytes,
                                                 stopped.size(), static_cast<std::uint64_t>(states.feedback),
                                                 server.steps,   states.clients.size()};
  std::size_t values = 0;
  for (const auto* vector : {&parameters, &server.momentum, &server.second, &server.average}) values += vector->size() + 2;
  std::size_t state_bytes = states.server.size() + profile.size() + 16;
  for (const auto& [client, state] : states.clients) state_bytes += state.size() + 12;
  bytes.reserve(kMagic.size() + sizeof numbers + stopped.size() + 4 * values + state_bytes + 4);
  put(bytes, kMagic.data(), kMagic.size());
  put(bytes, numbers.data(), numbers.size());
  put(bytes, stopped.data(), stopped.size());
  for (const auto* vector : {&parameters, &server.momentum, &server.second, &server.average}) put_vector(bytes, *vector);
  for (const auto& [client, state] : states.clients) {
    put(bytes, &client, 1);
    put_state(bytes, state);
  }
  put_state(bytes, states.server);
  put_state(bytes, profile);
  const std::uint32_t checksum = crc(bytes);
  put(bytes, &checksum, 1);
  return bytes;
}

Checkpoint Checkpoint::from_bytes(std::span<const std::byte> bytes) {
  if (bytes.size() < kMagic.size() + 4 || std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) != 0) damaged();
  std::uint32_t checksum = 0;
  std::memcpy(&checksum, bytes.data() + bytes.size() - 4, 4);
  if (checksum != crc(bytes.first(bytes.size() - 4))) damaged();
  bytes = bytes.subspan(kMagic.size(), bytes.size() - kMagic.size() - 4);

  Checkpoint saved;
  std::array<std::uint64_t, 10> numbers{};
  take(bytes, numbers.data(), numbers.size());
  if (numbers[6] > bytes.size()) damaged();
  saved.fingerprint = numbers[0];
  saved.seed = numbers[1];
  saved.round = numbers[2];
  saved.frames = numbers[3];
  saved.upload_bytes = numbers[4];
  saved.download_bytes = numbers[5];
  saved.stopped.resize(numbers[6]);
  take(bytes, saved.stopped.data(), saved.stopped.size());
  for (auto* vector : {&saved.parameters, &saved.server.momentum, &saved.server.second, &saved.server.average})
    *vector = take_vector(bytes);
  saved.states.feedback = static_cast<Feedback>(numbers[7]);
  saved.server.steps = numbers[8];
  for (std::uint64_t i = 0; i < numbers[9]; ++i) {
    std::uint32_t client = 0;
    take(bytes, &client, 1);
    if (!saved.states.clients.emplace(client, take_state(bytes)).second) damaged();
  }
  saved.states.server = take_state(bytes);
  saved.profile = take_state(bytes);
  if (!bytes.empty()) damaged();
  return saved;
}

}  // namespace fewbits::federated
