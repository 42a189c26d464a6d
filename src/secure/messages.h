#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "fewbits/error.h"
#include "fewbits/secure/settings.h"
#include "secure/crypto.h"
#include "wire.h"

// The bytes of messages, and what keys and commitments are made of (docs/frame-format.md, Secure aggregation).
namespace fewbits::secure {

enum class Message : std::uint8_t {
  kKeys = 1,        // client to server: two public keys
  kNeighbours = 2,  // back: those of its neighbours
  kShares = 3,      // client to server: its secrets' shares, encrypted
  kForwarded = 4,   // back: those for it
  kInput = 5,       // client to server: the masked input
  kSurvivors = 6,   // back: who is left
  kReveal = 7,      // client to server: a share of each
  kState = 64,      // of a client, to itself: never sent
};

inline constexpr std::size_t kHeaderBytes = 40;
inline constexpr std::size_t kCommitmentBytes = 16;
inline constexpr std::size_t kSealedBytes = 2 * kKeyBytes + kTagBytes;
inline constexpr std::size_t kShareEntry = 2 * kCommitmentBytes + kSealedBytes;  // of one receiver
inline constexpr std::size_t kNeighbourEntry = 8 + 2 * kKeyBytes;

// Of a neighbour, in the list of who is left.
enum class Fate : std::uint8_t {
  kAbsent = 0,    // has not shared: no part in the masks
  kSurvived = 1,  // its input is in the sum
  kDropped = 2,   // has shared, and no input came
};

enum class Kind : std::uint8_t { kSelfMask = 1, kMaskKey = 2 };  // of a share

// One round with its settings, as both ends derive it.
class Round {
 public:
  explicit Round(const Settings& settings);  // resolved

  const Settings& settings() const noexcept { return settings_; }
  std::size_t input_bytes() const noexcept;              // of the packed words
  bool complete(std::size_t neighbours) const noexcept;  // whether a graph with so many has an edge between all

  void write_header(ByteWriter& out, Message type, std::uint64_t client) const;

  // What is behind the header, if it is this. Throws.
  ByteReader read_header(std::span<const std::byte> message, Message type, std::uint64_t client) const;

  Secret share_key(const Secret& agreement, std::uint64_t from, std::uint64_t to) const;
  Bytes associated(std::uint64_t from, std::uint64_t to) const;
  Secret pair_mask(const Secret& agreement, std::uint64_t a, std::uint64_t b) const;
  Secret self_mask(const Secret& seed, std::uint64_t client) const;
  Digest seed_commitment(const Secret& seed, std::uint64_t client) const;
  std::array<std::byte, kCommitmentBytes> share_commitment(Kind kind, std::uint64_t from, std::uint64_t to,
                                                           const Secret& share) const;

 private:
  Secret keyed(std::string_view label, const Secret& key, std::initializer_list<std::uint64_t> ids) const;

  Settings settings_;
  std::uint64_t terms_ = 0;
  Digest salt_{};
};

inline std::string name(std::uint64_t client) { return "client " + std::to_string(client); }

// Calls, and has the client's name in front of what an Error says.
template <class Call>
auto naming(std::uint64_t client, Call&& call) {
  try {
    return call();
  } catch (const Error& error) {
    throw Error(error.code(), name(client) + ": " + error.what(), error.offset());
  }
}

}  // namespace fewbits::secure
