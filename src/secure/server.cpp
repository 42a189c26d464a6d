#include "fewbits/secure/server.h"

#include <algorithm>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "secure/graph.h"
#include "secure/masks.h"
#include "secure/messages.h"

namespace fewbits::secure {
namespace {

constexpr std::size_t kCommitments = 2 * kCommitmentBytes;  // of one receiver: of the share of the seed, and of the mask key

struct Peer {
  std::uint64_t id = 0;
  unsigned answers = 0;  // phases in which it has answered; the next is open to it if they are all before
  PublicKey sharing{}, masking{};
  std::vector<std::size_t> neighbours;  // indices of peers, rising, and so are their ids
  Digest seed_commitment{};
  Bytes commitments;                            // kCommitments for each neighbour
  Bytes sealed;                                 // kSealedBytes for each neighbour, until they are forwarded
  std::vector<std::optional<Secret>> revealed;  // by its neighbours, in their order

  std::size_t place_of(std::size_t neighbour) const {
    return static_cast<std::size_t>(std::ranges::lower_bound(neighbours, neighbour) - neighbours.begin());
  }
};

unsigned index(Phase phase) { return static_cast<unsigned>(phase); }

}  // namespace

struct Server::State {
  State(const Settings& settings, std::span<const std::uint64_t> cohort, privacy::RandomSource& source)
      : round(settings.resolved()), random(&source), sums(round.settings().length, round.settings().bits), probe(Secret()) {
    if (cohort.size() != round.settings().clients)
      throw Error(Errc::kBadArgument, "the cohort has " + std::to_string(cohort.size()) + " clients, the settings say " +
                                          std::to_string(round.settings().clients));
    std::vector<std::uint64_t> ids(cohort.begin(), cohort.end());
    std::ranges::sort(ids);
    if (const auto twice = std::ranges::adjacent_find(ids); twice != ids.end())
      throw Error(Errc::kBadArgument, name(*twice) + " is twice in the cohort");
    peers.resize(ids.size());
    for (std::size_t i = 0; i < ids.size(); ++i) peers[i].id = ids[i];
  }

  Round round;
  privacy::RandomSource* random;
  MaskedSum sums;
  KeyPair probe;  // no secret: finds keys of low order, which agree with every other on zeros
  Phase phase = Phase::kKeys;
  std::vector<Peer> peers;  // by rising id
  std::set<PublicKey> keys;

  const Settings& settings() const { return round.settings(); }
  bool answered(const Peer& peer, Phase in) const { return peer.answers > index(in); }
  bool answered(const Peer& peer) const { return answered(peer, phase); }

  std::size_t left() const {
    return static_cast<std::size_t>(std::ranges::count_if(peers, [&](const Peer& peer) { return answered(peer); }));
  }

  std::size_t neighbours_left(const Peer& peer) const {
    return static_cast<std::size_t>(std::ranges::count_if(peer.neighbours, [&](std::size_t v) { return answered(peers[v]); }));
  }

  Fate fate(const Peer& peer) const {
    return !answered(peer, Phase::kShares) ? Fate::kAbsent : answered(peer, Phase::kInputs) ? Fate::kSurvived : Fate::kDropped;
  }

  Peer& sender(std::uint64_t client) {
    const auto found = std::ranges::lower_bound(peers, client, {}, &Peer::id);
    if (found == peers.end() || found->id != client) throw Error(Errc::kWrongClient, "not of this round's cohort");
    if (found->answers < index(phase))
      throw Error(Errc::kWrongClient, "without an answer in an earlier phase, and so out of the round");
    if (found->answers > index(phase)) throw Error(Errc::kDuplicateClient, "a second message in one phase");
    return *found;
  }

  void receive_keys(Peer& peer, ByteReader in) {
    PublicKey found[2];
    for (PublicKey& key : found) std::ranges::copy(in.bytes(kKeyBytes), key.begin());
    in.expect_end();
    if (found[0] == found[1]) in.malformed("its two keys are equal");
    for (const PublicKey& key : found) {
      if (keys.contains(key)) in.malformed("a key that another client has");
      if (!probe.agree(key)) in.malformed("a key of low order, which hides nothing");
    }
    keys.insert(found[0]);
    keys.insert(found[1]);
    peer.sharing = found[0];
    peer.masking = found[1];
  }

  void receive_shares(Peer& peer, ByteReader in) {
    Digest seed_commitment;
    std::ranges::copy(in.bytes(kKeyBytes), seed_commitment.begin());
    const auto entries = in.bytes(peer.neighbours.size() * kShareEntry);
    in.expect_end();
    Bytes commitments, sealed;
    commitments.reserve(peer.neighbours.size() * kCommitments);
    sealed.reserve(peer.neighbours.size() * kSealedBytes);
    for (std::size_t i = 0; i < peer.neighbours.size(); ++i) {
      const auto entry = entries.subspan(i * kShareEntry, kShareEntry);
      commitments.insert(commitments.end(), entry.begin(), entry.begin() + kCommitments);
      sealed.insert(sealed.end(), entry.begin() + kCommitments, entry.end());
    }
    peer.seed_commitment = seed_commitment;
    peer.commitments = std::move(commitments);
    peer.sealed = std::move(sealed);
  }

  void receive_input(ByteReader in) {
    const auto words = in.bytes(round.input_bytes());
    in.expect_end();
    if (!sums.add(words)) in.malformed("padding bits of the input are set");
  }

  void receive_revealed(const Peer& peer, ByteReader in) {
    const auto self = static_cast<std::size_t>(&peer - peers.data());
    std::vector<std::pair<std::optional<Secret>*, Secret>> found;
    for (const std::size_t u : peer.neighbours) {
      Peer& dealer = peers[u];
      if (fate(dealer) == Fate::kAbsent) continue;
      const Kind kind = fate(dealer) == Fate::kSurvived ? Kind::kSelfMask : Kind::kMaskKey;
      const Secret share = Secret::from(in.bytes(kKeyBytes));
      const std::size_t place = dealer.place_of(self);
      const auto commitments = std::span(dealer.commitments).subspan(place * kCommitments, kCommitments);
      const auto wanted = kind == Kind::kSelfMask ? commitments.first(kCommitmentBytes) : commitments.last(kCommitmentBytes);
      if (!std::ranges::equal(wanted, round.share_commitment(kind, dealer.id, peer.id, share)))
        in.malformed("another share of " + name(dealer.id) + " than the one that it was sent");
      found.emplace_back(&dealer.revealed[place], share);
    }
    in.expect_end();
    for (const auto& [place, share] : found) *place = share;
  }

  void expect_enough() const {
    if (const std::size_t clients = left(); clients < settings().min_cohort)
      throw Error(Errc::kEmpty, std::to_string(clients) + " clients are left, fewer than min_cohort, " +
                                    std::to_string(settings().min_cohort) + ": nothing is opened");
    if (phase == Phase::kKeys) {
      expect_threshold(left() - 1, "a client");
      return;
    }
    for (const Peer& peer : peers)
      if (answered(peer, Phase::kShares)) expect_threshold(neighbours_left(peer), name(peer.id));
  }

  void expect_threshold(std::size_t neighbours, const std::string& whose) const {
    if (neighbours < settings().threshold)
      throw Error(Errc::kEmpty, std::to_string(neighbours) + " neighbours of " + whose + " are left, fewer than the threshold, " +
                                    std::to_string(settings().threshold) + ": nothing is opened");
  }

  void draw_graph() {
    std::vector<std::size_t> present;
    for (std::size_t i = 0; i < peers.size(); ++i)
      if (answered(peers[i])) present.push_back(i);
    const auto graph = drawn_graph(present.size(), settings().neighbours, *random);
    for (std::size_t i = 0; i < present.size(); ++i) {
      Peer& peer = peers[present[i]];
      peer.neighbours.clear();
      for (const std::size_t v : graph[i]) peer.neighbours.push_back(present[v]);
      peer.revealed.assign(peer.neighbours.size(), std::nullopt);
    }
  }

  Bytes message_to(const Peer& peer) const {
    const auto self = static_cast<std::size_t>(&peer - peers.data());
    constexpr Message kTypes[] = {Message::kNeighbours, Message::kForwarded, Message::kSurvivors};
    Bytes message;
    ByteWriter out(message);
    round.write_header(out, kTypes[index(phase)], peer.id);
    if (phase == Phase::kKeys) {
      out.bytes(peer.sharing);
      out.bytes(peer.masking);
      out.u32(static_cast<std::uint32_t>(peer.neighbours.size()));
      for (const std::size_t v : peer.neighbours) {
        out.u64(peers[v].id);
        out.bytes(peers[v].sharing);
        out.bytes(peers[v].masking);
      }
    } else if (phase == Phase::kShares) {
      Bytes present((peer.neighbours.size() + 7) / 8);
      for (std::size_t i = 0; i < peer.neighbours.size(); ++i)
        if (answered(peers[peer.neighbours[i]])) present[i / 8] |= std::byte{1} << (i % 8);
      out.bytes(present);
      for (const std::size_t u : peer.neighbours) {
        const Peer& dealer = peers[u];
        if (!answered(dealer)) continue;
        const std::size_t place = dealer.place_of(self);
        out.bytes(std::span(dealer.commitments).subspan(place * kCommitments, kCommitments));
        out.bytes(std::span(dealer.sealed).subspan(place * kSealedBytes, kSealedBytes));
      }
    } else {
      out.u32(static_cast<std::uint32_t>(left()));
      for (const std::size_t v : peer.neighbours) out.u8(static_cast<std::uint8_t>(fate(peers[v])));
    }
    return message;
  }

  // The secret that its neighbours' shares open.
  Secret opened(const Peer& peer) const {
    std::vector<Point> points;
    for (std::size_t i = 0; i < peer.revealed.size() && points.size() < settings().threshold; ++i)
      if (peer.revealed[i]) points.push_back({static_cast<std::uint8_t>(i + 1), *peer.revealed[i]});
    expect_threshold(points.size(), name(peer.id));
    return joined(points);
  }

  // What the sum of the survivors' masked inputs has too much.
  std::vector<Mask> masks() const {
    std::vector<Mask> all;
    for (const Peer& peer : peers) {
      if (fate(peer) == Fate::kAbsent) continue;
      const Secret secret = opened(peer);
      if (fate(peer) == Fate::kSurvived) {
        if (round.seed_commitment(secret, peer.id) != peer.seed_commitment) misdealt(peer);
        all.push_back({round.self_mask(secret, peer.id), true});
        continue;
      }
      const KeyPair masking(secret);
      if (masking.public_key() != peer.masking) misdealt(peer);
      for (const std::size_t v : peer.neighbours) {
        const Peer& other = peers[v];
        if (fate(other) != Fate::kSurvived) continue;
        const auto agreement = masking.agree(other.masking);
        if (!agreement) misdealt(peer);
        all.push_back(
            {round.pair_mask(*agreement, peer.id, other.id), other.id < peer.id});  // which added it: its neighbour is above
      }
    }
    return all;
  }

  [[noreturn]] static void misdealt(const Peer& peer) {
    throw Error(Errc::kMalformed,
                name(peer.id) + " has dealt shares that do not open what it has committed to: the sum cannot be opened");
  }
};

Server::Server(const Settings& settings, std::span<const std::uint64_t> cohort, privacy::RandomSource& random)
    : state_(std::make_unique<State>(settings, cohort, random)) {}
Server::~Server() = default;
Server::Server(Server&&) noexcept = default;
Server& Server::operator=(Server&&) noexcept = default;

Phase Server::phase() const noexcept { return state_->phase; }
const Settings& Server::settings() const noexcept { return state_->settings(); }

void Server::receive(std::uint64_t client, std::span<const std::byte> message) {
  State& s = *state_;
  naming(client, [&] {
    Peer& peer = s.sender(client);
    constexpr Message kTypes[] = {Message::kKeys, Message::kShares, Message::kInput, Message::kReveal};
    const ByteReader in = s.round.read_header(message, kTypes[index(s.phase)], client);
    switch (s.phase) {
      case Phase::kKeys:
        s.receive_keys(peer, in);
        break;
      case Phase::kShares:
        s.receive_shares(peer, in);
        break;
      case Phase::kInputs:
        s.receive_input(in);
        break;
      case Phase::kUnmasking:
        s.receive_revealed(peer, in);
        break;
    }
    ++peer.answers;
  });
}

std::map<std::uint64_t, Bytes> Server::close() {
  State& s = *state_;
  if (s.phase == Phase::kUnmasking) throw Error(Errc::kBadArgument, "no phase follows the last one: sum() opens the sum");
  s.expect_enough();
  if (s.phase == Phase::kKeys) s.draw_graph();
  std::map<std::uint64_t, Bytes> messages;
  for (const Peer& peer : s.peers)
    if (s.answered(peer)) messages.emplace(peer.id, s.message_to(peer));
  if (s.phase == Phase::kShares)
    for (Peer& peer : s.peers) Bytes().swap(peer.sealed);
  s.phase = static_cast<Phase>(index(s.phase) + 1);
  return messages;
}

std::vector<std::uint32_t> Server::sum(Executor* executor) const {
  const State& s = *state_;
  if (s.phase != Phase::kUnmasking) throw Error(Errc::kBadArgument, "the sum is opened in the last phase");
  return s.sums.opened(s.masks(), executor);
}

std::vector<std::uint64_t> Server::survivors() const {
  const State& s = *state_;
  std::vector<std::uint64_t> ids;
  for (const Peer& peer : s.peers)
    if (s.answered(peer, s.phase == Phase::kUnmasking ? Phase::kInputs : s.phase)) ids.push_back(peer.id);
  return ids;
}

}  // namespace fewbits::secure
