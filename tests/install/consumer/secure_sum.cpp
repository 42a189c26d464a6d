// Three clients whose inputs the server adds without seeing one of them.
#include <cstdint>
#include <cstdio>
#include <map>
#include <span>
#include <vector>

#include "fewbits/error.h"
#include "fewbits/secure/client.h"
#include "fewbits/secure/server.h"
#include "fewbits/secure/system_random.h"
#include "fewbits/secure/words.h"

using namespace fewbits::secure;

int main() {
  const Settings settings{.session = 1, .length = 1000, .bits = word_bits(16, 3), .clients = 3, .min_cohort = 3};
  const std::vector<std::uint64_t> cohort = {1, 2, 3};
  SystemRandom random;
  Server server(settings, cohort, random);
  std::map<std::uint64_t, Client> clients;
  for (const std::uint64_t id : cohort) clients.emplace(id, Client(settings, id, random));

  for (auto& [id, client] : clients) server.receive(id, client.advertise());
  auto down = server.close();
  for (auto& [id, client] : clients) server.receive(id, client.share(down.at(id)));
  down = server.close();
  for (auto& [id, client] : clients) {
    const std::vector<std::uint32_t> words(settings.length, static_cast<std::uint32_t>(id));
    server.receive(id, client.masked_input(down.at(id), words));
  }
  down = server.close();
  for (auto& [id, client] : clients) server.receive(id, client.unmask(down.at(id)));

  for (const std::uint32_t word : server.sum())
    if (word != 6) return 1;
  try {
    server.receive(4, {});
    return 1;
  } catch (const fewbits::Error& error) {
    std::printf("refused: %s\n", error.what());
  }
  std::printf("secure: the sum of %zu clients\n", server.survivors().size());
  return 0;
}
