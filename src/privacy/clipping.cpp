#include "fewbits/privacy/clipping.h"

#include <cmath>
#include <string>
#include <utility>

#include "fewbits/error.h"

namespace fewbits::privacy {

double norm_of(std::span<const float> values) {
  double sum = 0;
  for (const float value : values) sum += static_cast<double>(value) * value;
  return std::sqrt(sum);
}

Clipping::Clipping(std::vector<ClipPart> parts, double norm) : parts_(std::move(parts)), norm_(norm) {
  if (!(norm >= 1e-20 && norm <= 1e20))
    throw Error(Errc::kBadArgument, "the norm to clip to is " + std::to_string(norm) + ", expected 1e-20 to 1e20");
  if (parts_.empty()) throw Error(Errc::kBadArgument, "a layout without tensors has nothing to clip");
}

Clipping Clipping::whole(std::size_t elements, double norm) { return {{{0, elements, norm}}, norm}; }

Clipping Clipping::per_tensor(const Layout& layout, double norm) {
  std::vector<ClipPart> parts;
  std::size_t begin = 0;
  const double each = norm / std::sqrt(static_cast<double>(layout.tensors().size()));
  for (const auto& tensor : layout.tensors()) {
    parts.push_back({begin, begin + tensor.elements(), each});
    begin += tensor.elements();
  }
  return {std::move(parts), norm};
}

bool Clipping::clip(std::span<float> update) const {
  if (update.size() != elements())
    throw Error(Errc::kBadArgument, "the update has " + std::to_string(update.size()) + " values, expected " + std::to_string(elements()));
  bool within = true;
  for (const ClipPart& part : parts_) {
    const auto values = update.subspan(part.begin, part.end - part.begin);
    const double norm = norm_of(values);
    if (!std::isfinite(norm)) throw Error(Errc::kNotFinite, "the update has a value that is NaN or infinite");
    if (norm <= part.norm) continue;
    within = false;
    // Toward zero by more than float32's rounding can add.
    const double factor = part.norm / norm * (1 - 0x1p-22);
    for (float& value : values) value = static_cast<float>(value * factor);
  }
  return within;
}

Clipping Clipping::with_norm(double norm) const {
  std::vector<ClipPart> parts = parts_;
  for (ClipPart& part : parts) part.norm *= norm / norm_;
  return {std::move(parts), norm};
}

}  // namespace fewbits::privacy
