#include "secure/messages.h"

#include <algorithm>
#include <cstring>
#include <string_view>

#include "kernels/kernels.h"

namespace fewbits::secure {
namespace {

constexpr std::uint8_t kMagic = 0xF7;
constexpr std::uint8_t kVersion = 1;

std::span<const std::byte> text(std::string_view label) { return std::as_bytes(std::span(label)); }

Bytes numbers(std::initializer_list<std::uint64_t> values) {
  Bytes bytes;
  ByteWriter out(bytes);
  for (const std::uint64_t value : values) out.u64(value);
  return bytes;
}

const char* title(Message type) {
  switch (type) {
    case Message::kKeys:
      return "keys";
    case Message::kNeighbours:
      return "neighbours' keys";
    case Message::kShares:
      return "shares";
    case Message::kForwarded:
      return "neighbours' shares";
    case Message::kInput:
      return "masked input";
    case Message::kSurvivors:
      return "survivors";
    case Message::kReveal:
      return "revealed shares";
    case Message::kState:
      return "a client's state";
  }
  return "";
}

}  // namespace

Round::Round(const Settings& settings) : settings_(settings) {
  const Digest terms =
      sha256({text("fewbits secagg 1 terms"), numbers({settings.length, settings.bits, settings.clients, settings.neighbours,
                                                       settings.threshold, settings.min_cohort})});
  std::memcpy(&terms_, terms.data(), sizeof terms_);
  salt_ = sha256({text("fewbits secagg 1 round"), numbers({settings.session, settings.round, settings.plan}), terms});
}

std::size_t Round::input_bytes() const noexcept { return kernels::packed_bytes(settings_.length, settings_.bits); }

bool Round::complete(std::size_t neighbours) const noexcept {
  return neighbours < settings_.neighbours || settings_.neighbours == settings_.clients - 1;
}

void Round::write_header(ByteWriter& out, Message type, std::uint64_t client) const {
  out.u8(kMagic);
  out.u8(kVersion);
  out.u8(static_cast<std::uint8_t>(type));
  out.u8(0);
  out.u32(settings_.round);
  out.u64(settings_.session);
  out.u64(settings_.plan);
  out.u64(terms_);
  out.u64(client);
}

ByteReader Round::read_header(std::span<const std::byte> message, Message type, std::uint64_t client) const {
  ByteReader in(message);
  if (in.u8() != kMagic) throw Error(Errc::kNotAFrame, "the first byte is not that of a message of secure aggregation", 0);
  if (const unsigned version = in.u8(); version != kVersion)
    throw Error(Errc::kUnknownVersion, "version " + std::to_string(version) + " of the messages is not known, only 1", 1);
  if (const unsigned found = in.u8(); found != static_cast<unsigned>(type))
    throw Error(Errc::kMalformed,
                std::string("a message of kind ") + std::to_string(found) + " is not the one that is due, " + title(type), 2);
  if (in.u8() != 0) throw Error(Errc::kMalformed, "a reserved byte is not 0", 3);
  if (const std::uint32_t round = in.u32(); round != settings_.round)
    throw Error(Errc::kWrongRound, "a message of round " + std::to_string(round) + " in round " + std::to_string(settings_.round),
                4);
  if (in.u64() != settings_.session) throw Error(Errc::kWrongRound, "a message of another session", 8);
  if (in.u64() != settings_.plan) throw Error(Errc::kWrongPlan, "a message for another plan", 16);
  if (in.u64() != terms_)
    throw Error(Errc::kWrongPlan,
                "a message made with other settings: length, bits, clients, neighbours, threshold or min_cohort", 24);
  if (const std::uint64_t found = in.u64(); found != client)
    throw Error(Errc::kWrongClient, "a message of or for client " + std::to_string(found), 32);
  return in;
}

Secret Round::keyed(std::string_view label, const Secret& key, std::initializer_list<std::uint64_t> ids) const {
  Bytes info(text(label).begin(), text(label).end());
  const Bytes tail = numbers(ids);
  info.insert(info.end(), tail.begin(), tail.end());
  return derived(key, salt_, info);
}

Secret Round::share_key(const Secret& agreement, std::uint64_t from, std::uint64_t to) const {
  return keyed("fewbits secagg 1 share key", agreement, {from, to});
}

Bytes Round::associated(std::uint64_t from, std::uint64_t to) const {
  Bytes bytes;
  ByteWriter out(bytes);
  write_header(out, Message::kShares, from);
  out.u64(to);
  return bytes;
}

Secret Round::pair_mask(const Secret& agreement, std::uint64_t a, std::uint64_t b) const {
  return keyed("fewbits secagg 1 pair mask", agreement, {std::min(a, b), std::max(a, b)});
}

Secret Round::self_mask(const Secret& seed, std::uint64_t client) const {
  return keyed("fewbits secagg 1 self mask", seed, {client});
}

Digest Round::seed_commitment(const Secret& seed, std::uint64_t client) const {
  return sha256({text("fewbits secagg 1 self seed"), salt_, numbers({client}), seed.bytes});
}

std::array<std::byte, kCommitmentBytes> Round::share_commitment(Kind kind, std::uint64_t from, std::uint64_t to,
                                                                const Secret& share) const {
  const std::byte kind_byte{static_cast<std::uint8_t>(kind)};
  const Digest digest =
      sha256({text("fewbits secagg 1 share"), salt_, std::span(&kind_byte, 1), numbers({from, to}), share.bytes});
  std::array<std::byte, kCommitmentBytes> commitment;
  std::ranges::copy(std::span(digest).first(kCommitmentBytes), commitment.begin());
  return commitment;
}

}  // namespace fewbits::secure
