#pragma once

#include <cstddef>
#include <span>

namespace fewbits::federated {

// values (shape [tokens.size(), width]) = the rows of table (shape [vocabulary, width]) that the tokens name.
inline void gather_rows(std::span<const float> table, std::size_t width, std::span<const float> tokens,
                        std::span<float> values) {
  float* out = values.data();
  for (const float token : tokens) {
    const float* row = table.data() + static_cast<std::size_t>(token) * width;
    for (std::size_t i = 0; i < width; ++i) *out++ = row[i];
  }
}

// The transpose: each row of values is added to the row of `table` that its token names; all others become 0.
inline void scatter_rows(std::span<const float> values, std::size_t width, std::span<const float> tokens,
                         std::span<float> table) {
  for (float& value : table) value = 0;
  const float* in = values.data();
  for (const float token : tokens) {
    float* row = table.data() + static_cast<std::size_t>(token) * width;
    for (std::size_t i = 0; i < width; ++i) row[i] += *in++;
  }
}

}  // namespace fewbits::federated
