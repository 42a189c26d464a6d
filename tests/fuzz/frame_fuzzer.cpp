#include <cmath>
#include <cstring>

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/plans.h"

// One byte for the plan, then a frame, with the fingerprint and the checksum put right so that fuzzing gets behind
// them.
namespace fewbits::fuzz {
namespace {

constexpr std::uint64_t kFirst = 1'000'000;  // a client of whom no corpus frame is

const std::vector<std::byte>& first_frame(std::size_t plan) {
  static std::vector<std::vector<std::byte>> frames(codecs().size());
  if (frames[plan].empty()) {
    const Codec& codec = codecs()[plan];
    frames[plan] = codec.encode(test::normal(codec.elements(), plan), {kContext.seed, kContext.round, kFirst});
  }
  return frames[plan];
}

void add_to_a_sum(const Codec& codec, std::size_t plan, std::span<const std::byte> frame, std::uint64_t client,
                  bool& accepted) {
  Aggregator sum(codec, kContext);
  sum.add(first_frame(plan), {kFirst, 3});
  const auto before = sum.serialize();
  try {
    sum.add(frame, {client, 2});
    accepted = true;
  } catch (const Error&) {
    require(sum.serialize() == before);
    return;
  }
  require(sum.clients() == 2 && sum.total_weight() == 5);
  const double limit = Limits{}.max_abs * static_cast<double>(codec.layout().elements());
  for (const float value : sum.mean()) require(std::abs(static_cast<double>(value)) <= limit);
}

}  // namespace

bool accepts(std::span<const std::uint8_t> input) {
  if (input.empty()) return false;
  const std::size_t plan = (input[0] & ~kAsItIs) % codecs().size();
  const Codec& codec = codecs()[plan];
  const auto bytes = std::as_bytes(input.subspan(1));
  std::vector<std::byte> frame(bytes.begin(), bytes.end());
  if ((input[0] & kAsItIs) == 0) {
    const std::uint64_t fingerprint = codec.fingerprint();
    if (frame.size() >= 12) std::memcpy(frame.data() + 4, &fingerprint, sizeof fingerprint);
    test::reseal(frame);
  }
  std::uint64_t client = 0;
  try {
    const FrameInfo info = inspect(frame);
    client = info.client;
    require(!info.sections.empty());
    for (const auto& section : info.sections) require(section.offset + section.bytes <= frame.size());
  } catch (const Error&) {
  }
  bool accepted = false;
  add_to_a_sum(codec, plan, frame, client, accepted);
  try {
    const auto update = codec.decode(frame, {kContext.seed});
    require(update.size() == codec.elements() && test::all_finite(update));
  } catch (const Error&) {
    require(!accepted);
  }
  return accepted;
}

}  // namespace fewbits::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fewbits::fuzz::accepts({data, size});
  return 0;
}
