#include "secure/graph.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <numeric>
#include <span>
#include <utility>

namespace fewbits::secure {
namespace {

// Uniform below `bound`.
std::size_t drawn_below(std::uint64_t bound, privacy::RandomSource& random) {
  const std::uint64_t rejected = (0 - bound) % bound;  // 2^64 mod bound
  for (;;) {
    std::uint64_t word;
    random.fill(std::as_writable_bytes(std::span(&word, 1)));
    if (word >= rejected) return static_cast<std::size_t>(word % bound);
  }
}

}  // namespace

std::vector<std::vector<std::size_t>> drawn_graph(std::size_t clients, std::size_t neighbours, privacy::RandomSource& random) {
  std::vector<std::vector<std::size_t>> graph(clients);
  if (clients - 1 <= neighbours) {
    for (std::size_t u = 0; u < clients; ++u)
      for (std::size_t v = 0; v < clients; ++v)
        if (v != u) graph[u].push_back(v);
    return graph;
  }
  std::vector<std::size_t> order(clients);
  std::iota(order.begin(), order.end(), std::size_t{0});
  for (std::size_t i = clients - 1; i > 0; --i) std::swap(order[i], order[drawn_below(i + 1, random)]);
  for (std::size_t i = 0; i < clients; ++i)
    for (std::size_t step = 1; step <= neighbours / 2; ++step) {
      const std::size_t next = order[(i + step) % clients];
      graph[order[i]].push_back(next);
      graph[next].push_back(order[i]);
    }
  for (auto& list : graph) std::ranges::sort(list);
  return graph;
}

}  // namespace fewbits::secure
