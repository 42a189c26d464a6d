#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "datasets/partition.h"
#include "datasets/spec.h"
#include "datasets/variates.h"
#include "kernels/random.h"

namespace fewbits::datasets {

inline constexpr double kMostAlpha = 1e6;
inline constexpr double kLeastAlpha = 1e-6;

// What the streams of one partition are for: parts of their keys.
enum class Draw : std::uint64_t { kRows = 1, kHolders = 2, kShares = 3, kDealing = 4, kDrawn = 5 };

struct PartitionTask {
  const Spec& spec;
  std::span<const float> labels;
  std::size_t classes;
  std::size_t clients;
  std::uint64_t seed;

  RandomReader random(Draw draw, std::uint64_t index = 0) const {
    return RandomReader(stream_key({static_cast<std::uint64_t>(Purpose::kPartition), seed,
                                    static_cast<std::uint64_t>(draw), index}));
  }
  [[noreturn]] void fail(const std::string& what) const;
};

// A class by its share among `chances`, of which one is over 0; those of 0 never come.
std::size_t draw_class(RandomReader& random, const std::vector<double>& chances);

// What a partition's name stands for: at least one client, no more clients than examples, labels below `classes`.
Partition split_iid(const PartitionTask& task);
Partition split_shards(const PartitionTask& task);
Partition split_classes(const PartitionTask& task);
Partition split_dirichlet(const PartitionTask& task);
Partition split_dirichlet_client(const PartitionTask& task);
Partition split_quantity(const PartitionTask& task);

}  // namespace fewbits::datasets
