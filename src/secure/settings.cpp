#include "fewbits/secure/settings.h"

#include <string>

#include "fewbits/error.h"

namespace fewbits::secure {
namespace {

constexpr std::size_t kComplete = 100;  // clients, up to which all are neighbours

// Hypergeometric tails with a union bound over the clients; tests/secure/thresholds_test.cpp computes them again.
struct Sparse {
  std::size_t clients;  // at most
  std::size_t neighbours;
  std::size_t threshold;
};
constexpr Sparse kSparse[] = {{1'000, 52, 37}, {10'000, 62, 44}, {100'000, 68, 48}};

[[noreturn]] void refuse(const std::string& what) { throw Error(Errc::kBadArgument, "secure aggregation: " + what); }

}  // namespace

Settings Settings::resolved() const {
  Settings all = *this;
  if (length == 0 || length > 0xFFFF'FFFF) refuse("an input has 1 to 2^32 − 1 words, not " + std::to_string(length));
  if (bits < 1 || bits > 32) refuse("words have 1 to 32 bits, not " + std::to_string(bits));
  if (min_cohort < 3)
    refuse("min_cohort is at least 3, not " + std::to_string(min_cohort) + ": a sum of two tells each the other's input");
  if (clients < min_cohort || clients > 0xFFFF'FFFF)
    refuse(std::to_string(clients) + " clients are asked, and min_cohort is " + std::to_string(min_cohort));
  const Sparse* sparse = nullptr;
  if (neighbours == 0) {
    if (clients <= kComplete) {
      all.neighbours = clients - 1;
    } else {
      for (const Sparse& row : kSparse)
        if (sparse == nullptr && clients <= row.clients) sparse = &row;
      if (sparse == nullptr) refuse("for " + std::to_string(clients) + " clients, neighbours and threshold have no default");
      all.neighbours = sparse->neighbours;
    }
  }
  const std::string number = std::to_string(all.neighbours);
  if (all.neighbours > kMaxNeighbours)
    refuse(number + " neighbours are more than " + std::to_string(kMaxNeighbours) + ", among whom a secret can be shared");
  if (all.neighbours > clients - 1)
    refuse(number + " neighbours are more than the other " + std::to_string(clients - 1) + " clients");
  if (all.neighbours < 2 || (all.neighbours % 2 != 0 && all.neighbours != clients - 1))
    refuse("neighbours are an even number, or all others (" + std::to_string(clients - 1) + "), not " + number);
  if (threshold == 0) all.threshold = sparse != nullptr ? sparse->threshold : 2 * all.neighbours / 3 + 1;
  if (2 * all.threshold <= all.neighbours || all.threshold > all.neighbours)
    refuse("the threshold is more than half of the " + number + " neighbours, and at most all, not " +
           std::to_string(all.threshold));
  return all;
}

}  // namespace fewbits::secure
