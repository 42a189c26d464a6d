#include "fewbits/privacy/random_source.h"

#include <utility>

namespace fewbits::privacy {

RandomSource::~RandomSource() = default;

std::uint64_t RandomWords::next() {
  if (left_ == 0) {
    source_->fill(std::as_writable_bytes(std::span(buffer_)));
    left_ = buffer_.size();
  }
  return std::exchange(buffer_[--left_], 0);
}

}  // namespace fewbits::privacy
