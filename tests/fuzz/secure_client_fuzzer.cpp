#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/secure_run.h"

// A byte for phase and client, then a message from the server. Refused, the client answers the right one as it would have.
namespace fewbits::fuzz {
namespace {

std::size_t count(const secure::Bytes& fates, std::byte fate) {
  return static_cast<std::size_t>(std::count(fates.begin(), fates.end(), fate));
}

}  // namespace

bool accepts(std::span<const std::uint8_t> input) {
  if (input.empty()) return false;
  const SecureRun& run = secure_run();
  const std::size_t phase = (input[0] & 3) % 3 + 1, place = input[0] >> 2 & 3;
  const std::uint64_t id = run.cohort[place];
  const secure::Bytes& right = run.down[phase].at(id);
  const secure::Bytes message = aimed(input, right);

  secure::test::SeededRandom random(1000 * SecureRun::kSeed + id);
  secure::Client client(run.settings, id, random);
  const auto answer = [&](std::size_t in, const secure::Bytes& to) {
    return in == 1 ? client.share(to) : in == 2 ? client.masked_input(to, run.inputs[place]) : client.unmask(to);
  };
  require(client.advertise() == run.up[0].at(id));
  for (std::size_t before = 1; before < phase; ++before)
    require(answer(before, run.down[before].at(id)) == run.up[before].at(id));
  secure::Bytes answered;
  try {
    answered = answer(phase, message);
  } catch (const Error&) {
    require(message != right);
    require(answer(phase, right) == run.up[phase].at(id));
    return false;
  }
  if (message == right) require(answered == run.up[phase].at(id));
  if (phase == 2) require(message == right);  // what is encrypted cannot be chosen
  if (phase == 3) {
    const secure::Bytes fates(message.begin() + 44, message.end());
    require(count(fates, std::byte{1}) >= 3 && count(fates, std::byte{1}) + count(fates, std::byte{2}) == 4);
    require(answered.size() == 40 + 32 * 4);
  }
  try {  // one answer: none to the right message, too
    answer(phase, right);
  } catch (const Error& error) {
    require(error.code() == Errc::kBadArgument);
    return true;
  }
  require(false);
  return true;
}

}  // namespace fewbits::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fewbits::fuzz::accepts({data, size});
  return 0;
}
