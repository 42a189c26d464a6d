#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "fewbits/federated/federated.h"

namespace fewbits::federated {

std::size_t rows_of(const Table& table, const ExampleShape& shape) noexcept;

// Throws kBadArgument where a vector does not end with a row, or they differ in rows.
void check_table(const Table& table, const ExampleShape& shape, const char* name);

// Gives rows side by side, copied where they do not lie so. One object serves one thread.
class Gatherer {
 public:
  // With `more` behind the features of each row. What is returned is good until the next call.
  Examples gather(const Table& table, const ExampleShape& shape, std::span<const std::uint32_t> rows,
                  std::span<const float> more = {});

 private:
  std::vector<float> x_;
  std::vector<float> y_;
};

}  // namespace fewbits::federated
