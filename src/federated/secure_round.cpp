#include "federated/secure_round.h"

#include <fstream>
#include <nlohmann/json.hpp>

#include "federated/stopwatch.h"
#include "fewbits/error.h"
#include "fewbits/secure/words.h"

namespace fewbits::federated {
namespace {

std::filesystem::path folder_of(const SecureOptions& options, const secure::Settings& settings) {
  if (options.transcript.empty()) return {};
  const std::string number = std::to_string(settings.round);
  return std::filesystem::path(options.transcript) /
         ("round-" + std::string(number.size() < 6 ? 6 - number.size() : 0, '0') + number);
}

}  // namespace

SecureRound::SecureRound(const SecureOptions& options, const secure::Settings& settings,
                         std::span<const std::uint64_t> cohort)
    : transcript_(folder_of(options, settings)), server_(settings, cohort, random_) {
  if (!transcript_.empty()) {
    std::filesystem::create_directories(transcript_);
    const secure::Settings& all = server_.settings();
    const nlohmann::ordered_json manifest = {{"session", all.session},
                                             {"round", all.round},
                                             {"plan", all.plan},
                                             {"length", all.length},
                                             {"bits", all.bits},
                                             {"clients", all.clients},
                                             {"neighbours", all.neighbours},
                                             {"threshold", all.threshold},
                                             {"min_cohort", all.min_cohort},
                                             {"cohort", std::vector<std::uint64_t>(cohort.begin(), cohort.end())}};
    std::ofstream(transcript_ / "settings.json") << manifest.dump(2) << '\n';
  }
  Messages messages;
  Stopwatch watch;
  for (const std::uint64_t id : cohort)
    messages[id] = clients_.try_emplace(id, settings, id, random_).first->second.advertise();
  client_seconds_ += watch.lap();
  receive_all(messages, "keys");
  const Messages neighbours = close("keys");
  watch.lap();
  for (const auto& [id, keys] : neighbours) messages[id] = clients_.at(id).share(keys);
  client_seconds_ += watch.lap();
  receive_all(messages, "shares");
  shares_ = close("shares");
}

std::vector<std::byte> SecureRound::masked(std::uint64_t client, std::span<const std::int32_t> integers) {
  std::vector<std::uint32_t> words(integers.size());
  secure::to_words(integers, server_.settings().bits, words);
  return clients_.at(client).masked_input(shares_.at(client), words);
}

void SecureRound::receive(std::uint64_t client, std::span<const std::byte> message) {
  server_.receive(client, message);
  keep("input-" + std::to_string(client), message);
}

std::vector<std::int64_t> SecureRound::open() {
  Messages messages;
  const Messages survivors = close("inputs");
  Stopwatch watch;
  for (const auto& [id, ids] : survivors) messages[id] = clients_.at(id).unmask(ids);
  client_seconds_ += watch.lap();
  receive_all(messages, "unmasking");
  const std::vector<std::uint32_t> words = server_.sum();
  keep("sum", std::as_bytes(std::span(words)));
  std::vector<std::int64_t> sums(words.size());
  secure::from_words(words, server_.settings().bits, sums);
  return sums;
}

void SecureRound::receive_all(const Messages& messages, const char* phase) {
  for (const auto& [id, bytes] : messages) {
    server_.receive(id, bytes);
    upload_bytes_ += bytes.size();
    keep(std::string(phase) + "-" + std::to_string(id), bytes);
  }
}

SecureRound::Messages SecureRound::close(const char* phase) {
  Messages messages = server_.close();
  for (const auto& [id, bytes] : messages) {
    download_bytes_ += bytes.size();
    keep(std::string(phase) + "-to-" + std::to_string(id), bytes);
  }
  return messages;
}

void SecureRound::keep(const std::string& name, std::span<const std::byte> bytes) const {
  if (transcript_.empty()) return;
  std::ofstream file(transcript_ / (name + ".bin"), std::ios::binary);
  file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  if (!file.flush()) throw Error(Errc::kBadArgument, "cannot write " + (transcript_ / (name + ".bin")).string());
}

}  // namespace fewbits::federated
