#include "fewbits/secure/client.h"

#include <algorithm>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "secure/masks.h"
#include "secure/messages.h"

namespace fewbits::secure {
namespace {

enum class Step { kAdvertise, kShare, kInput, kUnmask, kDone };

const char* call_of(Step step) {
  switch (step) {
    case Step::kAdvertise:
      return "advertise";
    case Step::kShare:
      return "share";
    case Step::kInput:
      return "masked_input";
    case Step::kUnmask:
      return "unmask";
    case Step::kDone:
      break;
  }
  return "none: the round is over";
}

// Of save: the most beside neighbours, and of each.
constexpr std::size_t kStateBytes = 1 + 4 + 3 * kKeyBytes;
constexpr std::size_t kStateEntry = 8 + 1 + 2 * kKeyBytes;

// What a neighbour has sent for this client to keep.
struct HeldShares {
  Secret seed;  // of its self mask
  Secret mask_key;
};

struct Neighbour {
  std::uint64_t id = 0;
  Secret sending, receiving;  // keys of the shares that go to it and come from it
  Secret mask;
  std::optional<HeldShares> held;  // once it has shared
};

}  // namespace

struct Client::State {
  State(const Settings& settings, std::uint64_t own, privacy::RandomSource& source)
      : round(settings.resolved()), id(own), random(&source) {}

  Round round;
  std::uint64_t id;
  privacy::RandomSource* random;
  Step step = Step::kAdvertise;
  std::optional<KeyPair> sharing, masking;
  Secret share_secret, mask_secret;  // of these
  Secret seed;
  std::vector<Neighbour> neighbours;  // by rising id

  const Settings& settings() const { return round.settings(); }

  void expect(Step due) const {
    if (step != due)
      throw Error(Errc::kBadArgument,
                  "client " + std::to_string(id) + " calls " + call_of(due) + ", and what is due is " + call_of(step));
  }

  Bytes begun(Message type, std::size_t bytes) const {
    Bytes message;
    message.reserve(kHeaderBytes + bytes);
    ByteWriter out(message);
    round.write_header(out, type, id);
    return message;
  }

  // Throws kEmpty where too few neighbours are left.
  void expect_neighbours(std::size_t left, const char* what) const {
    if (left < settings().threshold)
      throw Error(Errc::kEmpty, std::to_string(left) + " neighbours " + what + ", fewer than the threshold of " +
                                    std::to_string(settings().threshold));
  }

  std::vector<Neighbour> read_neighbours(ByteReader in) const {
    for (const KeyPair* own : {&*sharing, &*masking})
      if (!std::ranges::equal(in.bytes(kKeyBytes), own->public_key())) in.malformed("the echo of the own keys is wrong");
    const std::uint32_t count = in.u32();
    if (count > settings().neighbours)
      in.malformed(std::to_string(count) + " neighbours are more than " + std::to_string(settings().neighbours));
    expect_neighbours(count, "are there");
    std::vector<Neighbour> found(count);
    std::set<PublicKey> keys = {sharing->public_key(), masking->public_key()};
    const Neighbour* before = nullptr;
    for (Neighbour& neighbour : found) {
      neighbour.id = in.u64();
      if (neighbour.id == id) in.malformed("the client is told to be its own neighbour");
      if (before != nullptr && neighbour.id <= before->id)
        in.malformed("neighbours are not in rising order at " + name(neighbour.id));
      before = &neighbour;
      PublicKey theirs[2];
      for (PublicKey& key : theirs) {
        std::ranges::copy(in.bytes(kKeyBytes), key.begin());
        if (!keys.insert(key).second) in.malformed(name(neighbour.id) + " has a key that another has too");
      }
      const auto shared = sharing->agree(theirs[0]), masked = masking->agree(theirs[1]);
      if (!shared || !masked) in.malformed(name(neighbour.id) + " has a key of low order, which hides nothing");
      neighbour.sending = round.share_key(*shared, id, neighbour.id);
      neighbour.receiving = round.share_key(*shared, neighbour.id, id);
      neighbour.mask = round.pair_mask(*masked, id, neighbour.id);
    }
    in.expect_end();
    return found;
  }

  HeldShares read_shares(ByteReader& in, const Neighbour& from) const {
    const auto commitments = in.bytes(2 * kCommitmentBytes);
    const auto sealed = in.bytes(kSealedBytes);
    std::array<std::byte, 2 * kKeyBytes> plain;
    if (!open(from.receiving, round.associated(from.id, id), sealed, plain))
      throw Error(Errc::kChecksumMismatch, name(from.id) + " has sent shares that do not decrypt", in.offset());
    const HeldShares held{Secret::from(plain), Secret::from(std::span(plain).subspan(kKeyBytes))};
    wipe(plain);
    if (!std::ranges::equal(commitments.first(kCommitmentBytes),
                            round.share_commitment(Kind::kSelfMask, from.id, id, held.seed)) ||
        !std::ranges::equal(commitments.subspan(kCommitmentBytes),
                            round.share_commitment(Kind::kMaskKey, from.id, id, held.mask_key)))
      throw Error(Errc::kMalformed, name(from.id) + " has sent other shares than it has committed to", in.offset());
    return held;
  }
};

Client::Client(const Settings& settings, std::uint64_t id, privacy::RandomSource& random)
    : state_(std::make_unique<State>(settings, id, random)) {}
Client::~Client() = default;
Client::Client(Client&&) noexcept = default;
Client& Client::operator=(Client&&) noexcept = default;

std::uint64_t Client::id() const noexcept { return state_->id; }
const Settings& Client::settings() const noexcept { return state_->settings(); }

Bytes Client::advertise() {
  State& s = *state_;
  s.expect(Step::kAdvertise);
  s.share_secret = Secret::drawn(*s.random);
  KeyPair sharing(s.share_secret);
  s.mask_secret = Secret::drawn(*s.random);
  KeyPair masking(s.mask_secret);
  Bytes message = s.begun(Message::kKeys, 2 * kKeyBytes);
  ByteWriter out(message);
  out.bytes(sharing.public_key());
  out.bytes(masking.public_key());
  s.sharing = std::move(sharing);
  s.masking = std::move(masking);
  s.step = Step::kShare;
  return message;
}

Bytes Client::share(std::span<const std::byte> neighbours) {
  State& s = *state_;
  s.expect(Step::kShare);
  std::vector<Neighbour> found = s.read_neighbours(s.round.read_header(neighbours, Message::kNeighbours, s.id));
  const Secret seed = Secret::drawn(*s.random);
  const std::size_t threshold = s.settings().threshold;
  const auto seeds = split(seed, threshold, found.size(), *s.random);
  const auto mask_keys = split(s.mask_secret, threshold, found.size(), *s.random);

  Bytes message = s.begun(Message::kShares, kKeyBytes + found.size() * kShareEntry);
  ByteWriter out(message);
  out.bytes(s.round.seed_commitment(seed, s.id));
  for (std::size_t i = 0; i < found.size(); ++i) {
    const std::uint64_t to = found[i].id;
    out.bytes(s.round.share_commitment(Kind::kSelfMask, s.id, to, seeds[i]));
    out.bytes(s.round.share_commitment(Kind::kMaskKey, s.id, to, mask_keys[i]));
    std::array<std::byte, 2 * kKeyBytes> plain;
    std::ranges::copy(seeds[i].bytes, plain.begin());
    std::ranges::copy(mask_keys[i].bytes, plain.begin() + kKeyBytes);
    seal(found[i].sending, s.round.associated(s.id, to), plain, out.grow(kSealedBytes));
    wipe(plain);
  }
  s.seed = seed;
  s.neighbours = std::move(found);
  s.step = Step::kInput;
  return message;
}

Bytes Client::masked_input(std::span<const std::byte> shares, std::span<const std::uint32_t> words, Executor* executor) {
  State& s = *state_;
  s.expect(Step::kInput);
  const unsigned bits = s.settings().bits;
  if (words.size() != s.settings().length)
    throw Error(Errc::kBadArgument,
                "the input has " + std::to_string(words.size()) + " words, not " + std::to_string(s.settings().length));
  std::uint32_t all = 0;
  for (const std::uint32_t word : words) all |= word;
  if (std::uint64_t{all} >> bits != 0)
    throw Error(Errc::kBadArgument, "the input has a word of more than " + std::to_string(bits) + " bits");

  ByteReader in = s.round.read_header(shares, Message::kForwarded, s.id);
  const auto present = in.bytes((s.neighbours.size() + 7) / 8);
  const auto has_shared = [&](std::size_t i) { return (present[i / 8] >> (i % 8) & std::byte{1}) != std::byte{0}; };
  for (std::size_t i = s.neighbours.size(); i < 8 * present.size(); ++i)
    if (has_shared(i)) in.malformed("a neighbour that does not exist has shared");
  std::vector<std::optional<HeldShares>> held(s.neighbours.size());
  std::vector<Mask> masks = {{s.round.self_mask(s.seed, s.id), false}};
  for (std::size_t i = 0; i < held.size(); ++i) {
    if (!has_shared(i)) continue;
    held[i] = s.read_shares(in, s.neighbours[i]);
    masks.push_back({s.neighbours[i].mask, s.neighbours[i].id < s.id});
  }
  in.expect_end();
  s.expect_neighbours(masks.size() - 1, "have shared");

  Bytes message = s.begun(Message::kInput, s.round.input_bytes());
  ByteWriter out(message);
  mask(words, bits, masks, out.grow(s.round.input_bytes()), executor);
  for (std::size_t i = 0; i < held.size(); ++i) s.neighbours[i].held = held[i];
  s.step = Step::kUnmask;
  return message;
}

Bytes Client::unmask(std::span<const std::byte> survivors) {
  State& s = *state_;
  s.expect(Step::kUnmask);
  ByteReader in = s.round.read_header(survivors, Message::kSurvivors, s.id);
  const std::uint32_t total = in.u32();
  const auto fates = in.bytes(s.neighbours.size());
  in.expect_end();
  std::size_t alive = 0;
  Bytes message = s.begun(Message::kReveal, s.neighbours.size() * kKeyBytes);
  ByteWriter out(message);
  for (std::size_t i = 0; i < fates.size(); ++i) {
    const Neighbour& neighbour = s.neighbours[i];
    const auto fate = static_cast<Fate>(fates[i]);
    if (fate > Fate::kDropped) in.malformed(name(neighbour.id) + " is neither left nor dropped nor absent");
    if ((fate == Fate::kAbsent) == neighbour.held.has_value())
      in.malformed(name(neighbour.id) +
                   (neighbour.held ? " has shared, and is said to be absent" : " has not shared, and is said to have"));
    if (fate == Fate::kSurvived) ++alive;
    if (fate != Fate::kAbsent) out.bytes(fate == Fate::kSurvived ? neighbour.held->seed.bytes : neighbour.held->mask_key.bytes);
  }
  const std::size_t least = alive + 1;
  if (total < least || total > s.settings().clients || (s.round.complete(s.neighbours.size()) && total != least))
    in.malformed(std::to_string(total) + " clients cannot be left where the client and " + std::to_string(alive) +
                 " of its neighbours are");
  if (total < s.settings().min_cohort)
    throw Error(Errc::kEmpty,
                std::to_string(total) + " clients are left, fewer than min_cohort, " + std::to_string(s.settings().min_cohort));
  s.expect_neighbours(alive, "are left");
  s.step = Step::kDone;
  s.neighbours.clear();   // what is not needed any more cannot be lost
  s.seed = s.share_secret = s.mask_secret = Secret();
  s.sharing.reset();
  s.masking.reset();
  return message;
}

Bytes Client::save() const {
  const State& s = *state_;
  Bytes bytes = s.begun(Message::kState, kStateBytes + s.neighbours.size() * kStateEntry);
  ByteWriter out(bytes);
  out.u8(static_cast<std::uint8_t>(s.step));
  if (s.step == Step::kShare) {
    out.bytes(s.share_secret.bytes);
    out.bytes(s.mask_secret.bytes);
  } else if (s.step == Step::kInput) {
    out.bytes(s.seed.bytes);
  }
  out.u32(static_cast<std::uint32_t>(s.neighbours.size()));
  for (const Neighbour& neighbour : s.neighbours) {
    out.u64(neighbour.id);
    if (s.step == Step::kInput) {
      out.bytes(neighbour.receiving.bytes);
      out.bytes(neighbour.mask.bytes);
    } else {
      out.u8(neighbour.held.has_value() ? 1 : 0);
      const HeldShares held = neighbour.held.value_or(HeldShares{});
      out.bytes(held.seed.bytes);
      out.bytes(held.mask_key.bytes);
    }
  }
  out.bytes(sha256({bytes}));
  return bytes;
}

Client Client::restore(const Settings& settings, std::uint64_t id, std::span<const std::byte> state, privacy::RandomSource& random) {
  Client client(settings, id, random);
  State& s = *client.state_;
  s.round.read_header(state, Message::kState, id);
  if (state.size() < kHeaderBytes + kKeyBytes)
    throw Error(Errc::kTruncated, "a client's state ends early", state.size());
  const std::size_t end = state.size() - kKeyBytes;
  if (!std::ranges::equal(sha256({state.first(end)}), state.subspan(end)))
    throw Error(Errc::kChecksumMismatch, "a client's state is not as it was saved", end);
  ByteReader in = s.round.read_header(state.first(end), Message::kState, id);
  const std::uint8_t step = in.u8();
  if (step > static_cast<std::uint8_t>(Step::kDone)) in.malformed("a client's state is of no call");
  s.step = static_cast<Step>(step);
  if (s.step == Step::kShare) {
    s.share_secret = Secret::from(in.bytes(kKeyBytes));
    s.mask_secret = Secret::from(in.bytes(kKeyBytes));
    s.sharing.emplace(s.share_secret);
    s.masking.emplace(s.mask_secret);
  } else if (s.step == Step::kInput) {
    s.seed = Secret::from(in.bytes(kKeyBytes));
  }
  const std::uint32_t count = in.u32();
  if (count > s.settings().neighbours) in.malformed(std::to_string(count) + " neighbours are more than " + std::to_string(s.settings().neighbours));
  s.neighbours.resize(count);
  for (Neighbour& neighbour : s.neighbours) {
    neighbour.id = in.u64();
    if (s.step == Step::kInput) {
      neighbour.receiving = Secret::from(in.bytes(kKeyBytes));
      neighbour.mask = Secret::from(in.bytes(kKeyBytes));
    } else {
      const bool shared = in.u8() != 0;
      const HeldShares held{Secret::from(in.bytes(kKeyBytes)), Secret::from(in.bytes(kKeyBytes))};
      if (shared) neighbour.held = held;
    }
  }
  in.expect_end();
  return client;
}

}  // namespace fewbits::secure
