#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/secure_run.h"

// A byte for phase and client, then a message for the server. Refused, the round ends as if it had not been.
namespace fewbits::fuzz {

bool accepts(std::span<const std::uint8_t> input) {
  if (input.empty()) return false;
  const SecureRun& run = secure_run();
  const std::size_t phase = input[0] & 3, place = input[0] >> 2 & 3;
  const std::uint64_t client = run.cohort[place];
  const secure::Bytes& right = run.up[phase].at(client);
  const secure::Bytes message = aimed(input, right);

  secure::test::SeededRandom random(SecureRun::kSeed);
  secure::Server server(run.settings, run.cohort, random);
  const auto deliver = [&](std::size_t in, std::uint64_t except) {
    for (const auto& [id, bytes] : run.up[in])
      if (id != except) server.receive(id, bytes);
  };
  for (std::size_t before = 0; before < phase; ++before) {
    deliver(before, ~0ull);
    require(server.close() == run.down[before + 1]);
  }
  bool accepted = true;
  try {
    server.receive(client, message);
  } catch (const Error& error) {
    accepted = false;
    require(std::string(error.what()).starts_with("client "));
    server.receive(client, right);
  }
  try {
    deliver(phase, client);
    if (phase != 3 && accepted && message != right && phase < 2) {
      server.close();  // with keys or shares of its own choice the others' messages are no longer theirs
      return true;
    }
    for (std::size_t after = phase; after < 3; ++after) {
      const auto down = server.close();
      require(down == run.down[after + 1]);
      deliver(after + 1, ~0ull);
    }
  } catch (const Error&) {
    require(accepted && message != right && phase == 0);  // its key may be another client's
    return true;
  }
  const auto sum = server.sum();
  if (accepted && phase == 3) require(message == right);
  if (!accepted || message == right) require(sum == run.sum);
  return accepted;
}

}  // namespace fewbits::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fewbits::fuzz::accepts({data, size});
  return 0;
}
