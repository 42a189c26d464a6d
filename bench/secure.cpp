#include <memory>
#include <string>

#include "bench/cases.h"
#include "kernels/kernels.h"
#include "secure/masks.h"

// Masks of secure aggregation beside the bare key streams that they are made of.
namespace fewbits::bench {
namespace {

using secure::KeyStream;
using secure::Mask;

std::vector<Mask> some_masks(std::size_t count) {
  std::vector<Mask> masks(count);
  for (std::size_t i = 0; i < count; ++i) {
    masks[i].key.bytes[0] = static_cast<std::byte>(i + 1);
    masks[i].subtract = i % 2 != 0;
  }
  return masks;
}

// The library's streams of that many bytes, in pieces that stay in the first cache.
Case key_stream_case(std::size_t streams, std::size_t bytes) {
  return {"key stream", Kind::kPeer,
          repeated([stream = std::make_shared<KeyStream>(), masks = some_masks(streams), bytes,
                    piece = shared<std::byte>(std::min<std::size_t>(bytes, 16 << 10))] {
            for (const Mask& mask : masks) {
              stream->start(mask.key, 0);
              for (std::size_t at = 0; at < bytes; at += piece->size()) stream->next(*piece);
            }
          })};
}

// A client's input with its own mask and those of 10 neighbours.
std::vector<Case> mask(std::size_t n, unsigned bits) {
  constexpr std::size_t kMasks = 11;
  return {{"fewbits", Kind::kSubject,
           repeated([words = shared<std::uint32_t>(n, 5), masks = some_masks(kMasks),
                     bytes = shared<std::byte>(kernels::packed_bytes(n, bits)),
                     bits] { secure::mask(*words, bits, masks, *bytes, nullptr); })},
          key_stream_case(kMasks, n * (bits <= 16 ? 2 : 4))};
}

// What a server adds of each client.
std::vector<Case> add_input(std::size_t n, unsigned bits) {
  return {{"fewbits", Kind::kSubject,
           repeated([sum = std::make_shared<secure::MaskedSum>(n, bits),
                     bytes = shared<std::byte>(kernels::packed_bytes(n, bits))] { sum->add(*bytes); })},
          copy_case(n)};
}

// What a server opens a sum with: 70 survivors' own masks and 30 × 69 of the dropped.
std::vector<Case> unmask(std::size_t n, std::size_t masks) {
  auto sum = std::make_shared<secure::MaskedSum>(n, 11);
  return {{"fewbits", Kind::kSubject,
           repeated([sum, all = some_masks(masks)] { benchmark::DoNotOptimize(sum->opened(all, nullptr)); })},
          key_stream_case(masks, 2 * n)};
}

}  // namespace

std::vector<Group> secure_groups(std::span<const unsigned> sizes) {
  std::vector<Group> groups;
  for (const unsigned log2 : sizes) {
    const std::size_t n = std::size_t{1} << log2;
    groups.push_back({"secure/mask, 11 bits, 10 neighbours", log2, false, [n] { return mask(n, 11); }});
    groups.push_back({"secure/mask, 20 bits, 10 neighbours", log2, log2 > 20, [n] { return mask(n, 20); }});
    groups.push_back({"secure/add input, 11 bits", log2, false, [n] { return add_input(n, 11); }});
    groups.push_back({"secure/unmask, 100 masks", log2, log2 > 20, [n] { return unmask(n, 100); }});
    groups.push_back({"secure/unmask, 30 of 100 dropped", log2, log2 > 16, [n] { return unmask(n, 70 + 30 * 70); }});
  }
  return groups;
}

}  // namespace fewbits::bench
