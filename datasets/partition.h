#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace fewbits::datasets {

// Rows of each client, in the order in which they were dealt. No row is given twice, and none is left out.
using Partition = std::vector<std::vector<std::uint32_t>>;

// Splits n examples with labels below `classes` among `clients` clients, as `text` says: one of partition_schemes().
// A function of its arguments alone, on every machine. Throws kBadArgument for text that names no partition, and where
// the split cannot be made (more clients than examples, a least size that is never reached, a class that nobody holds).
Partition make_partition(std::string_view text, std::span<const float> labels, std::size_t classes,
                         std::size_t clients, std::uint64_t seed);

// Throws kBadArgument as make_partition does for text that names no partition, without data.
void check_partition(std::string_view text);

struct PartitionScheme {
  std::string name;
  std::string form;     // "dirichlet:alpha=A[,min=M]"
  std::string summary;
};
std::vector<PartitionScheme> partition_schemes();

// One line for people: sizes and classes of the clients; for the Dirichlet partitions both meanings of alpha.
std::string describe_partition(std::string_view text, const Partition& partition, std::span<const float> labels,
                               std::size_t classes);

}  // namespace fewbits::datasets
