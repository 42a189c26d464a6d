#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "datasets/spec.h"

namespace fewbits::datasets {

// Clients without rows set aside for them, so that any number of them takes no memory: "drawn:size=N,alpha=A", each has N
// rows, drawn from all with replacement by a mixture of classes of its own, Dirichlet(A × share of each class) as in
// dirichlet-client, or without `alpha` regardless of classes. Two clients may have the same row. What a client has is a
// function of (seed, client) on every machine.
class DrawnClients {
 public:
  // Throws kBadArgument for text that is none of this kind, and without labels. `labels` are below `classes`.
  DrawnClients(std::string_view text, std::span<const float> labels, std::size_t classes, std::uint64_t seed);

  std::size_t size() const noexcept { return size_; }
  std::vector<std::uint32_t> rows(std::uint32_t client) const;

 private:
  std::vector<std::vector<std::uint32_t>> by_class_;
  std::vector<double> parameters_;   // of the Dirichlet distribution; empty: all rows are equally likely
  std::size_t labels_ = 0;
  std::size_t size_ = 0;
  std::uint64_t seed_ = 0;
};

// Whether a partition's text is of this kind.
bool is_drawn(std::string_view text);

inline constexpr const char* kDrawnForm = "drawn:size=N[,alpha=A]";
inline constexpr const char* kDrawnSummary = "each client draws N examples, by a mixture Dirichlet(A x prior); for any number of clients";

}  // namespace fewbits::datasets
