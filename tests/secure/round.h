#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <vector>

#include "fewbits/secure/client.h"
#include "fewbits/secure/server.h"
#include "tests/engine/support.h"
#include "tests/privacy/seeded_source.h"

// Rounds of secure aggregation with every message at hand.
namespace fewbits::secure::test {

using SeededRandom = privacy::SeededSource;

inline Settings small(std::size_t clients, std::size_t length = 100, unsigned bits = 11) {
  return {.session = 5, .round = 3, .plan = 0xABCDEF, .length = length, .bits = bits, .clients = clients, .min_cohort = 3};
}

inline std::vector<std::uint32_t> drawn_words(std::size_t length, unsigned bits, std::uint64_t seed) {
  RandomReader random = fewbits::test::reader(seed);
  std::vector<std::uint32_t> words(length);
  for (std::uint32_t& word : words) word = random.next() >> (32 - bits);
  return words;
}

// All ends of one round. Phases are run one after the other; who is in `silent` sends nothing from that phase on.
class TestRound {
 public:
  using Messages = std::map<std::uint64_t, Bytes>;

  explicit TestRound(const Settings& settings, std::uint64_t seed = 1)
      : settings_(settings.resolved()), random_(seed), cohort_(ids(settings.clients)), server_(settings, cohort_, random_) {
    for (const std::uint64_t id : cohort_) {
      randoms_.push_back(std::make_unique<SeededRandom>(1000 * seed + id));
      clients_.emplace(id, Client(settings, id, *randoms_.back()));
      inputs_[id] = drawn_words(settings.length, settings.bits, 77 * seed + id);
    }
  }

  static std::vector<std::uint64_t> ids(std::size_t clients) {  // of all lengths, not in order
    std::vector<std::uint64_t> all;
    for (std::size_t i = 0; i < clients; ++i) all.push_back((i * 7 % clients + 1) << (i % 3 * 20));
    return all;
  }

  // The messages that the clients would send in the server's phase.
  Messages answers() {
    Messages sent;
    for (auto& [id, client] : clients_)
      if (!silent.contains(id)) sent[id] = answer(id);
    return sent;
  }

  Bytes answer(std::uint64_t id) {
    Client& one = clients_.at(id);
    switch (server_.phase()) {
      case Phase::kKeys:
        return one.advertise();
      case Phase::kShares:
        return one.share(down_.at(id));
      case Phase::kInputs:
        return one.masked_input(down_.at(id), inputs_.at(id));
      case Phase::kUnmasking:
        return one.unmask(down_.at(id));
    }
    return {};
  }

  void deliver(const Messages& sent) {
    for (const auto& [id, bytes] : sent) {
      server_.receive(id, bytes);
      sent_bytes[id] += bytes.size();
    }
  }

  void close() { down_ = server_.close(); }

  // Up to, and without, the answers of `phase`.
  void run_until(Phase phase) {
    while (server_.phase() != phase) {
      deliver(answers());
      close();
    }
  }

  std::vector<std::uint32_t> finish(Executor* executor = nullptr) {
    run_until(Phase::kUnmasking);
    deliver(answers());
    return server_.sum(executor);
  }

  // The sum of the survivors' inputs, in the clear.
  std::vector<std::uint32_t> plain_sum() const {
    std::vector<std::uint32_t> sum(settings_.length);
    for (const std::uint64_t id : server_.survivors())
      for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += inputs_.at(id)[i];
    for (std::uint32_t& word : sum) word &= static_cast<std::uint32_t>((std::uint64_t{1} << settings_.bits) - 1);
    return sum;
  }

  bool ends_well() {
    const auto sum = finish();
    return sum == plain_sum();
  }

  Server& server() { return server_; }
  Client& client(std::uint64_t id) { return clients_.at(id); }
  const Bytes& down(std::uint64_t id) const { return down_.at(id); }
  const std::vector<std::uint64_t>& cohort() const { return cohort_; }
  std::vector<std::uint32_t>& input(std::uint64_t id) { return inputs_.at(id); }
  const Settings& settings() const { return settings_; }

  std::set<std::uint64_t> silent;
  std::map<std::uint64_t, std::size_t> sent_bytes;

 private:
  Settings settings_;
  SeededRandom random_;
  std::vector<std::uint64_t> cohort_;
  Server server_;
  std::vector<std::unique_ptr<SeededRandom>> randoms_;
  std::map<std::uint64_t, Client> clients_;
  std::map<std::uint64_t, std::vector<std::uint32_t>> inputs_;
  Messages down_;
};

}  // namespace fewbits::secure::test
