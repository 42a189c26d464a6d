#include "federated/checkpoint.h"

#include <string_view>
#include <utility>

#include "federated/bytes.h"

namespace fewbits::federated {
namespace {

constexpr std::string_view kMagic = "fewbits checkpoint 6\n";

using Bytes = std::vector<std::byte>;
using Values = std::vector<float>;

}  // namespace

std::vector<std::byte> Checkpoint::to_bytes() const {
  BytesOut out(kMagic);
  for (const std::uint64_t number : {fingerprint, seed, round}) out.value(number);
  out.value(totals);
  out.value(clip);
  out.value(last_norm);
  out.list(stopped);
  out.list(parameters);
  out.value(server.steps);
  for (const Values* values : {&server.momentum, &server.second, &server.average}) out.list(*values);
  out.value(states.feedback);
  out.lists_by_client(states.clients);
  for (const Bytes* part : {&states.server, &profile, &downlink, &memories}) out.list(*part);
  return sealed(std::move(out));
}

Checkpoint Checkpoint::from_bytes(std::span<const std::byte> bytes) {
  BytesIn in = unsealed(bytes, kMagic);
  Checkpoint saved;
  for (std::uint64_t* number : {&saved.fingerprint, &saved.seed, &saved.round}) *number = in.value<std::uint64_t>();
  saved.totals = in.value<Totals>();
  saved.clip = in.value<double>();
  saved.last_norm = in.value<double>();
  saved.stopped = in.list<std::string>();
  saved.parameters = in.list<Values>();
  saved.server.steps = in.value<std::uint64_t>();
  for (Values* values : {&saved.server.momentum, &saved.server.second, &saved.server.average}) *values = in.list<Values>();
  saved.states.feedback = in.value<Feedback>();
  saved.states.clients = in.lists_by_client<Bytes>();
  for (Bytes* part : {&saved.states.server, &saved.profile, &saved.downlink, &saved.memories}) *part = in.list<Bytes>();
  in.expect_end();
  return saved;
}

}  // namespace fewbits::federated
