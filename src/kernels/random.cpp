#include "kernels/random.h"

#include <algorithm>
#include <bit>

namespace fewbits {
namespace {

constexpr std::size_t kLanes = RandomStream::kLanes;

struct Generators {
  std::uint32_t state[4][kLanes];

  Generators(std::uint64_t key, std::uint64_t block) noexcept {
    // A block owns 4096 golden-ratio steps of the counter, of which it uses 32.
    std::uint64_t counter = key + block * 4096 * kGoldenRatio;
    for (auto& row : state) {
      for (std::size_t lane = 0; lane < kLanes; lane += 2) {
        const std::uint64_t seed = mix64(counter);
        counter += kGoldenRatio;
        row[lane] = static_cast<std::uint32_t>(seed);
        row[lane + 1] = static_cast<std::uint32_t>(seed >> 32);
      }
    }
  }

  void step(std::uint32_t* out) noexcept {
    auto& [s0, s1, s2, s3] = state;
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      out[lane] = std::rotl(s0[lane] + s3[lane], 7) + s0[lane];
      const std::uint32_t t = s1[lane] << 9;
      s2[lane] ^= s0[lane];
      s3[lane] ^= s1[lane];
      s1[lane] ^= s2[lane];
      s0[lane] ^= s3[lane];
      s2[lane] ^= t;
      s3[lane] = std::rotl(s3[lane], 11);
    }
  }
};

}  // namespace

void RandomStream::fill(std::uint64_t first, std::span<std::uint32_t> words) const noexcept {
  while (!words.empty()) {
    const std::uint64_t block = first / kBlockWords;
    std::size_t inside = first % kBlockWords;
    Generators generators(key_, block);
    std::uint32_t row[kLanes];
    for (; inside >= kLanes; inside -= kLanes) generators.step(row);
    const std::size_t wanted = std::min<std::size_t>(words.size(), kBlockWords - first % kBlockWords);
    for (std::size_t done = 0; done < wanted;) {
      const std::size_t take = std::min(kLanes - inside, wanted - done);
      if (take == kLanes) {
        generators.step(words.data() + done);
      } else {
        generators.step(row);
        std::copy_n(row + inside, take, words.data() + done);
      }
      done += take;
      inside = 0;
    }
    first += wanted;
    words = words.subspan(wanted);
  }
}

void RandomReader::refill() noexcept {
  stream_.fill(position_, buffer_);
  position_ += buffer_.size();
  used_ = 0;
}

}  // namespace fewbits
