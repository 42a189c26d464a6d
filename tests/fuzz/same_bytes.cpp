#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "fewbits/codec.h"
#include "kernels/hash.h"
#include "kernels/random.h"

// Frames are the same to the bit, and so are the floats decoded from them, whatever compiled the library: this program is
// part of every build, g++'s and clang's, optimized and not, and compares with hashes on record. Above all of stages whose
// encoder works in floating point on the way to its symbols. The input is made without libm.
//
// Where an encoder's choices have been changed on purpose, hashes change too. Then put on record what all builds agree on.
namespace fewbits {
namespace {

constexpr std::size_t kRows = 256, kColumns = 253;
const Layout& layout() {
  static const Layout layout({{"weight", {kRows, kColumns}}, {"bias", {kRows}}, {"head", {10, 51}}});
  return layout;
}

// Bell-shaped, with rows and columns of their own size, all in exact arithmetic.
std::vector<float> update() {
  RandomReader random(stream_key({16, static_cast<std::uint64_t>(Purpose::kSynthetic)}));
  std::vector<float> x;
  for (std::size_t i = 0; i < layout().elements(); ++i) {
    std::int32_t sum = -2 * 0xFFFF;
    for (int j = 0; j < 4; ++j) sum += static_cast<std::int32_t>(random.next() >> 16);
    const unsigned shift = static_cast<unsigned>(i / kColumns * 7 % 5 + i % kColumns * 3 % 4);
    x.push_back(static_cast<float>(sum) / static_cast<float>(1u << (10 + shift)));
  }
  return x;
}

struct Record {
  const char* plan;
  std::uint64_t frame;
  std::uint64_t decoded;
};

constexpr Record kRecords[] = {
    {"dither:scale=flat,bits=1.5", 0xA49782937305AD06, 0x4A16A69FF84FD6FD},
    {"dither:scale=block:64,nmse=0.01", 0x9B0D7296E224811B, 0xC1CFCB51C2AEA772},
    {"dither:scale=flat,step=0.75", 0x47AA47FBD6FFF8C1, 0x446609E4899EBD14},
    {"trellis:states=8,scale=flat,bits=0.02", 0xBE3684670215B303, 0xC66413BEAB304E77},
    {"trellis:states=8,scale=separable,bits=2", 0x1A9F4A59EA9587A9, 0xC4A7E2BB52660E4B},
    {"trellis:states=64,scale=block:256,bits=0.1", 0x14FF49C38FD78A87, 0xB25E0389E34F4A90},
    {"trellis:states=64,bits=1", 0x21FEE7BDE6AFFF24, 0x252546C00488305D},
    {"trellis:states=64,nmse=0.5", 0x75D42953B509C5DB, 0x9D4F7F0CA0A6E2F4},
    {"trellis:states=256,scale=flat,bits=4", 0x5B283539813B9DD3, 0x88CBA3EED8FEB767},
    {"trellis:states=256,bits=0.3", 0x995CAA9745912B40, 0xE24510DBB90D8AC7},
    {"hadamard:seed=client+trellis:states=8,bits=1", 0x5C6C01B7ECB6284A, 0xB41E7B2C09E5F9ED},
    {"hadamard:seed=client+lloyd:bits=2", 0x9FE8666B1803C23C, 0x0C68549F50E84F1E},
    {"hadamard:seed=client+tcq:bits=2", 0x83DD886A07CB11DA, 0x5D3FE9EF12036C96},
    {"hadamard+quantize:bits=3", 0x3166DA12FAE6DA39, 0x7A40938AA97801CB},
};

int compare() {
  const std::vector<float> x = update();
  int wrong = 0;
  for (const Record& record : kRecords) {
    const Codec codec = Codec::compile(record.plan, layout());
    const auto bytes = codec.encode(x, {1, 2, 3});
    const auto back = codec.decode(bytes, {1});
    const std::uint64_t frame = kernels::hash64(bytes, 0);
    const std::uint64_t decoded = kernels::hash64(std::as_bytes(std::span(back)), 0);
    const bool same = frame == record.frame && decoded == record.decoded;
    std::printf("    {\"%s\", 0x%016llX, 0x%016llX},%s\n", record.plan, static_cast<unsigned long long>(frame),
                static_cast<unsigned long long>(decoded), same ? "" : "  // not as on record");
    wrong += same ? 0 : 1;
  }
  std::printf("%d of %zu plans give other bytes than those on record\n", wrong, std::size(kRecords));
  return wrong == 0 ? 0 : 1;
}

}  // namespace
}  // namespace fewbits

int main() { return fewbits::compare(); }
