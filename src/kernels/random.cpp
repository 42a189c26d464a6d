#include "kernels/random.h"

#include <algorithm>

#include "kernels/targets.h"

namespace fewbits {

void RandomStream::fill(std::uint64_t first, std::span<std::uint32_t> words) const noexcept {
  const auto rows = targets::chosen().random_rows;
  while (!words.empty()) {
    const std::uint64_t block = first / kBlockWords;
    const std::size_t inside = first % kBlockWords;
    const std::size_t wanted = std::min<std::size_t>(words.size(), kBlockWords - inside);
    const std::size_t row = inside / kLanes;
    const std::size_t skip = inside % kLanes;
    std::size_t done = wanted / kLanes * kLanes;
    if (skip == 0 && done != 0) {
      rows(key_, block, row, wanted / kLanes, words.data());
    } else {
      std::uint32_t lanes[kLanes];
      rows(key_, block, row, 1, lanes);
      done = std::min(kLanes - skip, wanted);
      std::copy_n(lanes + skip, done, words.data());
    }
    first += done;
    words = words.subspan(done);
  }
}

void RandomReader::refill() noexcept {
  stream_.fill(position_, buffer_);
  position_ += buffer_.size();
  used_ = 0;
}

}  // namespace fewbits
