#include "fewbits/layout.h"

#include <algorithm>

#include "fewbits/error.h"

namespace fewbits {
namespace {

// Saturates just over the limit, so that huge shapes cannot wrap around.
std::size_t product(std::span<const std::size_t> shape) noexcept {
  if (std::ranges::find(shape, 0u) != shape.end()) return 0;
  std::size_t elements = 1;
  for (const std::size_t extent : shape)
    elements = extent > Layout::kMaxElements / elements ? Layout::kMaxElements + 1 : elements * extent;
  return elements;
}

void append_escaped(std::string& text, const std::string& name) {
  for (const char c : name) {
    switch (c) {
      case '\t': text += "\\t"; break;
      case '\n': text += "\\n"; break;
      case '\\': text += "\\\\"; break;
      default: text += c;
    }
  }
}

}  // namespace

std::size_t Tensor::elements() const noexcept { return product(shape); }

Layout::Layout(std::size_t elements) : Layout(std::vector<Tensor>{{"", {elements}}}) {}

Layout::Layout(std::vector<Tensor> tensors) : tensors_(std::move(tensors)) {
  std::vector<std::string_view> names;
  for (const Tensor& tensor : tensors_) {
    names.push_back(tensor.name);
    offsets_.push_back(elements_);
    elements_ += tensor.elements();
    if (elements_ > kMaxElements)
      throw Error(Errc::kBadArgument, "a layout has at most " + std::to_string(kMaxElements) +
                                          " coordinates; tensor '" + tensor.name + "' goes past that");
  }
  std::ranges::sort(names);
  if (const auto twice = std::ranges::adjacent_find(names); twice != names.end())
    throw Error(Errc::kBadArgument, "two tensors are named '" + std::string(*twice) + "'");
}

std::string Layout::text() const {
  std::string text;
  for (const Tensor& tensor : tensors_) {
    append_escaped(text, tensor.name);
    text += '\t';
    for (std::size_t i = 0; i < tensor.shape.size(); ++i)
      text += (i == 0 ? "" : ",") + std::to_string(tensor.shape[i]);
    text += '\n';
  }
  return text;
}

}  // namespace fewbits
