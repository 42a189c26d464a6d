#include <cstdio>
#include <string>

#include "tests/secure/round.h"

// A round with all its messages, and of each client what it has drawn and its input, as JSON: messages_test.py reads it by
// docs/frame-format.md alone.
namespace fewbits::secure::test {
namespace {

class Recorded final : public privacy::RandomSource {
 public:
  explicit Recorded(std::uint64_t seed) : source_(seed) {}
  void fill(std::span<std::byte> bytes) override {
    source_.fill(bytes);
    drawn.insert(drawn.end(), bytes.begin(), bytes.end());
  }
  Bytes drawn;

 private:
  SeededRandom source_;
};

std::string hex(std::span<const std::byte> bytes) {
  std::string text;
  for (const std::byte byte : bytes) {
    const auto value = std::to_integer<unsigned>(byte);
    text += {"0123456789abcdef"[value >> 4], "0123456789abcdef"[value & 15]};
  }
  return '"' + text + '"';
}

void run(unsigned bits) {
  Settings settings = small(6, 4096 + 100, bits);
  settings.threshold = 3;
  SeededRandom random(1);
  const auto ids = TestRound::ids(settings.clients);
  Server server(settings, ids, random);
  std::printf(
      "{\"bits\": %u, \"length\": %zu, \"session\": 5, \"round\": 3, \"plan\": %u, \"terms\": [%zu, %u, 6, 5, 3, 3], "
      "\"clients\": {\n",
      bits, settings.length, 0xABCDEFu, settings.length, bits);
  std::map<std::uint64_t, Recorded> sources;
  std::map<std::uint64_t, Client> clients;
  std::map<std::uint64_t, std::vector<std::uint32_t>> inputs;
  std::map<std::uint64_t, std::string> text;
  const auto receive = [&](std::uint64_t id, const char* name, const Bytes& bytes) {
    server.receive(id, bytes);
    text[id] += std::string(", \"") + name + "\": " + hex(bytes);
  };
  std::map<std::uint64_t, Bytes> down;
  const auto close = [&](const char* name) {
    down = server.close();
    for (const auto& [id, bytes] : down) text[id] += std::string(", \"") + name + "\": " + hex(bytes);
  };
  for (const std::uint64_t id : ids) {
    Recorded& source = sources.emplace(id, Recorded(id)).first->second;
    clients.emplace(id, Client(settings, id, source));
    inputs[id] = drawn_words(settings.length, bits, id);
    receive(id, "1", clients.at(id).advertise());
  }
  close("2");
  for (std::size_t i = 0; i < ids.size(); ++i)
    if (i != 3) receive(ids[i], "3", clients.at(ids[i]).share(down.at(ids[i])));
  close("4");
  for (std::size_t i = 0; i < ids.size(); ++i)
    if (i != 3 && i != 1) receive(ids[i], "5", clients.at(ids[i]).masked_input(down.at(ids[i]), inputs.at(ids[i])));
  close("6");
  for (const auto& [id, bytes] : down) receive(id, "7", clients.at(id).unmask(bytes));
  const auto listed = [](const std::vector<std::uint32_t>& words) {
    std::string list;
    for (const std::uint32_t word : words) list += (list.empty() ? "" : ",") + std::to_string(word);
    return list;
  };
  bool first = true;
  for (const std::uint64_t id : ids) {
    std::printf("%s\"%llu\": {\"drawn\": %s, \"input\": [%s]%s}", first ? "" : ",\n", static_cast<unsigned long long>(id),
                hex(sources.at(id).drawn).c_str(), listed(inputs.at(id)).c_str(), text.at(id).c_str());
    first = false;
  }
  std::printf("}, \"sum\": [%s]}\n", listed(server.sum()).c_str());
}

}  // namespace
}  // namespace fewbits::secure::test

int main() {
  std::puts("[");
  fewbits::secure::test::run(11);
  std::puts(",");
  fewbits::secure::test::run(21);
  std::puts("]");
  return 0;
}
