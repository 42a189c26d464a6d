#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "tests/secure/round.h"

namespace fewbits::fuzz {

// One round of secure aggregation that went well, with all its messages: five clients, the last of whom sends no input. It is the
// same in every process, so that one end can be run again with a message of its choice in place of the right one.
struct SecureRun {
  using Messages = secure::test::TestRound::Messages;

  secure::Settings settings = secure::test::small(5, 50, 11);
  std::vector<std::uint64_t> cohort;
  std::array<Messages, 4> up;                      // by phase
  std::array<Messages, 4> down;                    // what a client answers in the phase; of the first, nothing
  std::vector<std::vector<std::uint32_t>> inputs;  // by place in the cohort
  std::vector<std::uint32_t> sum;

  SecureRun() {
    settings.threshold = 3;
    secure::test::TestRound round(settings, kSeed);
    cohort = round.cohort();
    for (const std::uint64_t id : cohort) inputs.push_back(round.input(id));
    for (std::size_t phase = 0; phase < 4; ++phase) {
      if (phase == 2) round.silent = {cohort.back()};
      up[phase] = round.answers();
      round.deliver(up[phase]);
      if (phase == 3) break;
      round.close();
      for (const std::uint64_t id : cohort)
        if (!round.silent.contains(id)) down[phase + 1][id] = round.down(id);
    }
    sum = round.server().sum();
  }

  static constexpr std::uint64_t kSeed = 1;
};

inline const SecureRun& secure_run() {
  static const SecureRun run;
  return run;
}

// The first byte of an input: bits 0 and 1 a phase, 2 and 3 the place of the client at whom it is aimed.
inline constexpr std::uint8_t kRightHeader = 0x40;  // set: the message's header is put right

inline secure::Bytes aimed(std::span<const std::uint8_t> input, const secure::Bytes& right) {
  const auto bytes = std::as_bytes(input.subspan(1));
  secure::Bytes message(bytes.begin(), bytes.end());
  constexpr std::size_t kHeader = 40;
  if ((input[0] & kRightHeader) != 0 && message.size() >= kHeader) std::copy_n(right.begin(), kHeader, message.begin());
  return message;
}

}  // namespace fewbits::fuzz
