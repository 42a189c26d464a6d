#include "secure/crypto.h"

#include <botan/aead.h>
#include <botan/chacha_rng.h>
#include <botan/exceptn.h>
#include <botan/hash.h>
#include <botan/kdf.h>
#include <botan/mem_ops.h>
#include <botan/stream_cipher.h>
#include <botan/tss.h>
#if __has_include(<botan/x25519.h>)
#include <botan/x25519.h>
#else
#include <botan/curve25519.h>
#endif

#include <algorithm>
#include <cstring>
#include <string>

namespace fewbits::secure {
namespace {

using Octets = Botan::secure_vector<std::uint8_t>;

const std::uint8_t* octets(std::span<const std::byte> bytes) { return reinterpret_cast<const std::uint8_t*>(bytes.data()); }
std::uint8_t* octets(std::span<std::byte> bytes) { return reinterpret_cast<std::uint8_t*>(bytes.data()); }

Octets copied(std::span<const std::byte> bytes) { return Octets(octets(bytes), octets(bytes) + bytes.size()); }

// The directions of a mode have other names in Botan 3, and the same numbers.
constexpr auto kEncrypt = static_cast<Botan::Cipher_Dir>(0);
constexpr auto kDecrypt = static_cast<Botan::Cipher_Dir>(1);

constexpr std::array<std::uint8_t, 12> kZeroNonce{};

Octets applied(Botan::Cipher_Dir direction, const Secret& key, std::span<const std::byte> associated,
               std::span<const std::byte> in) {
  const auto mode = Botan::AEAD_Mode::create_or_throw("ChaCha20Poly1305", direction);
  mode->set_key(octets(key.bytes), key.bytes.size());
  mode->set_associated_data(octets(associated), associated.size());
  mode->start(kZeroNonce.data(), kZeroNonce.size());
  Octets data = copied(in);
  mode->finish(data);
  return data;
}

}  // namespace

void wipe(std::span<std::byte> bytes) noexcept { Botan::secure_scrub_memory(bytes.data(), bytes.size()); }

Secret::~Secret() { wipe(bytes); }

Secret Secret::drawn(privacy::RandomSource& random) {
  Secret secret;
  random.fill(secret.bytes);
  return secret;
}

Secret Secret::from(std::span<const std::byte> bytes) {
  Secret secret;
  std::ranges::copy(bytes.first(kKeyBytes), secret.bytes.begin());
  return secret;
}

struct KeyPair::State {
  explicit State(const Secret& secret) : key(copied(secret.bytes)) {}
  Botan::X25519_PrivateKey key;
};

KeyPair::KeyPair(const Secret& secret) : state_(std::make_unique<State>(secret)) {
  const auto bytes = state_->key.public_value();
  std::memcpy(public_.data(), bytes.data(), public_.size());
}
KeyPair::~KeyPair() = default;
KeyPair::KeyPair(KeyPair&&) noexcept = default;
KeyPair& KeyPair::operator=(KeyPair&&) noexcept = default;

std::optional<Secret> KeyPair::agree(const PublicKey& other) const {
  try {
    const Octets shared = state_->key.agree(octets(std::span(other)), other.size());
    const Secret secret = Secret::from(std::as_bytes(std::span(shared)));
    std::byte any{0};
    for (const std::byte byte : secret.bytes) any |= byte;
    if (any == std::byte{0}) return std::nullopt;
    return secret;
  } catch (const Botan::Exception&) {  // a version that looks for zeros by itself
    return std::nullopt;
  }
}

Digest sha256(std::initializer_list<std::span<const std::byte>> pieces) {
  const auto hash = Botan::HashFunction::create_or_throw("SHA-256");
  for (const auto piece : pieces) hash->update(octets(piece), piece.size());
  Digest digest;
  hash->final(reinterpret_cast<std::uint8_t*>(digest.data()));
  return digest;
}

Secret derived(const Secret& key, const Digest& salt, std::span<const std::byte> info) {
  const auto kdf = Botan::KDF::create_or_throw("HKDF(SHA-256)");
  const Octets out = kdf->derive_key(kKeyBytes, copied(key.bytes), copied(salt), copied(info));
  return Secret::from(std::as_bytes(std::span(out)));
}

void seal(const Secret& key, std::span<const std::byte> associated, std::span<const std::byte> plain,
          std::span<std::byte> sealed) {
  const Octets out = applied(kEncrypt, key, associated, plain);
  std::memcpy(sealed.data(), out.data(), out.size());
}

bool open(const Secret& key, std::span<const std::byte> associated, std::span<const std::byte> sealed,
          std::span<std::byte> plain) {
  try {
    const Octets out = applied(kDecrypt, key, associated, sealed);
    std::memcpy(plain.data(), out.data(), out.size());
    return true;
  } catch (const Botan::Exception&) {
    return false;
  }
}

// Botan's shares are those of draft-mcgrew-tss-03: 16 bytes identifier, hash, threshold, 2 bytes length with the place, the
// place, and then the values. What comes before the values both ends know.
constexpr std::size_t kShareHeader = 20;

std::vector<Secret> split(const Secret& secret, std::size_t threshold, std::size_t count, privacy::RandomSource& random) {
  Botan::ChaCha_RNG generator(copied(Secret::drawn(random).bytes));
  const auto shares = Botan::RTSS_Share::split(static_cast<std::uint8_t>(threshold), static_cast<std::uint8_t>(count),
                                               octets(secret.bytes), kKeyBytes, std::vector<std::uint8_t>(16), "None", generator);
  std::vector<Secret> values;
  values.reserve(count);
  for (const auto& share : shares)
    values.push_back(Secret::from(std::as_bytes(std::span(share.data())).subspan(kShareHeader + 1)));
  return values;
}

Secret joined(std::span<const Point> points) {
  std::vector<Botan::RTSS_Share> shares;
  shares.reserve(points.size());
  for (const Point& point : points) {
    Octets share(kShareHeader + 1 + kKeyBytes);
    share[17] = static_cast<std::uint8_t>(points.size());
    share[19] = kKeyBytes + 1;
    share[20] = point.at;
    std::memcpy(share.data() + kShareHeader + 1, point.value.bytes.data(), kKeyBytes);
    shares.emplace_back(share.data(), share.size());
  }
  const Octets secret = Botan::RTSS_Share::reconstruct(shares);
  return Secret::from(std::as_bytes(std::span(secret)));
}

struct KeyStream::State {
  std::unique_ptr<Botan::StreamCipher> cipher = Botan::StreamCipher::create_or_throw("ChaCha(20)");
};

KeyStream::KeyStream() : state_(std::make_unique<State>()) {}
KeyStream::~KeyStream() = default;
KeyStream::KeyStream(KeyStream&&) noexcept = default;
KeyStream& KeyStream::operator=(KeyStream&&) noexcept = default;

void KeyStream::start(const Secret& key, std::uint64_t byte) {
  state_->cipher->set_key(octets(key.bytes), key.bytes.size());
  state_->cipher->set_iv(kZeroNonce.data(), kZeroNonce.size());
  if (byte != 0) state_->cipher->seek(byte);
}

void KeyStream::next(std::span<std::byte> bytes) { state_->cipher->write_keystream(octets(bytes), bytes.size()); }

}  // namespace fewbits::secure
