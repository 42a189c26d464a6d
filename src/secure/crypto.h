#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "fewbits/privacy/random_source.h"

// All cryptography of the library, by Botan 2.19 or 3: nothing is invented here. Parameters are in docs/frame-format.md.
namespace fewbits::secure {

inline constexpr std::size_t kKeyBytes = 32;
inline constexpr std::size_t kTagBytes = 16;

using PublicKey = std::array<std::byte, kKeyBytes>;
using Digest = std::array<std::byte, kKeyBytes>;

// 32 bytes that are wiped when they go.
struct Secret {
  std::array<std::byte, kKeyBytes> bytes{};

  Secret() = default;
  Secret(const Secret&) = default;
  Secret& operator=(const Secret&) = default;
  ~Secret();

  static Secret drawn(privacy::RandomSource& random);
  static Secret from(std::span<const std::byte> bytes);  // 32 of them
};

void wipe(std::span<std::byte> bytes) noexcept;

// X25519 (RFC 7748).
class KeyPair {
 public:
  explicit KeyPair(const Secret& secret);
  ~KeyPair();
  KeyPair(KeyPair&&) noexcept;
  KeyPair& operator=(KeyPair&&) noexcept;

  const PublicKey& public_key() const noexcept { return public_; }

  // Nothing where the secret would be all zeros: the other key is of low order, and agrees so with everyone.
  std::optional<Secret> agree(const PublicKey& other) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
  PublicKey public_{};
};

Digest sha256(std::initializer_list<std::span<const std::byte>> pieces);

// HKDF-SHA-256 (RFC 5869).
Secret derived(const Secret& key, const Digest& salt, std::span<const std::byte> info);

// ChaCha20-Poly1305 (RFC 8439), nonce zero: a key encrypts one message. `sealed` has kTagBytes more than `plain`.
void seal(const Secret& key, std::span<const std::byte> associated, std::span<const std::byte> plain,
          std::span<std::byte> sealed);
bool open(const Secret& key, std::span<const std::byte> associated, std::span<const std::byte> sealed,
          std::span<std::byte> plain);

// Shamir's sharing over GF(2^8), byte by byte: share i (from 0) is the polynomial's value at i + 1. 2 ≤ threshold ≤ count ≤ 254.
std::vector<Secret> split(const Secret& secret, std::size_t threshold, std::size_t count, privacy::RandomSource& random);

struct Point {
  std::uint8_t at;  // 1 … 254
  Secret value;
};
Secret joined(std::span<const Point> points);  // at different places, as many as the threshold

// The key stream of ChaCha20 (RFC 8439), nonce zero, block counter from 0.
class KeyStream {
 public:
  KeyStream();
  ~KeyStream();
  KeyStream(KeyStream&&) noexcept;
  KeyStream& operator=(KeyStream&&) noexcept;

  void start(const Secret& key, std::uint64_t byte);
  void next(std::span<std::byte> bytes);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace fewbits::secure
