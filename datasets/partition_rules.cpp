#include "datasets/partition_rules.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <sstream>

#include "fewbits/error.h"

namespace fewbits::datasets {
namespace {

using Rows = std::vector<std::uint32_t>;

constexpr std::size_t kTries = 100;

Rows permuted_rows(const PartitionTask& task) {
  Rows rows(task.labels.size());
  std::iota(rows.begin(), rows.end(), 0u);
  RandomReader random = task.random(Draw::kRows);
  shuffle(random, rows);
  return rows;
}

std::vector<Rows> rows_by_class(const PartitionTask& task) {
  std::vector<Rows> by_class(task.classes);
  for (std::size_t row = 0; row < task.labels.size(); ++row) {
    by_class[static_cast<std::size_t>(task.labels[row])].push_back(static_cast<std::uint32_t>(row));
  }
  return by_class;
}

std::vector<Rows> shuffled_rows_by_class(const PartitionTask& task) {
  std::vector<Rows> by_class = rows_by_class(task);
  for (std::size_t c = 0; c < task.classes; ++c) {
    RandomReader random = task.random(Draw::kRows, c);
    shuffle(random, by_class[c]);
  }
  return by_class;
}

// `count` sizes that differ by at most 1 and add to `total`; the first ones are the longer.
std::vector<std::size_t> even_sizes(std::size_t total, std::size_t count) {
  std::vector<std::size_t> sizes(count, total / count);
  for (std::size_t i = 0; i < total % count; ++i) ++sizes[i];
  return sizes;
}

Partition cut(const Rows& rows, const std::vector<std::size_t>& sizes) {
  Partition parts;
  auto begin = rows.begin();
  for (const std::size_t size : sizes) {
    parts.emplace_back(begin, begin + static_cast<std::ptrdiff_t>(size));
    begin += static_cast<std::ptrdiff_t>(size);
  }
  return parts;
}

// Sizes of the runs between the cuts at floor(total * cumulated shares). Divided by the last sum, not by 1: clients with
// share 0 at the end then get nothing, whatever was rounded.
std::vector<std::size_t> sizes_by_share(std::size_t total, const std::vector<double>& shares) {
  const double sum = std::accumulate(shares.begin(), shares.end(), 0.0);
  std::vector<std::size_t> sizes;
  double cumulated = 0;
  std::size_t before = 0;
  for (const double share : shares) {
    cumulated += share;
    const auto end = static_cast<std::size_t>(std::floor(static_cast<double>(total) * (cumulated / sum)));
    sizes.push_back(end - before);
    before = end;
  }
  return sizes;
}

std::size_t least_size(const PartitionTask& task, std::size_t fallback) {
  const std::size_t least = task.spec.integer("min", 0, Rows().max_size(), fallback);
  if (least > task.labels.size() / task.clients) {
    task.fail(std::to_string(task.clients) + " clients cannot have " + std::to_string(least) + " of " +
              std::to_string(task.labels.size()) + " examples each");
  }
  return least;
}

double alpha_of(const PartitionTask& task, std::string_view key = "alpha") {
  return task.spec.number(key, kLeastAlpha, kMostAlpha);
}

[[noreturn]] void fail_never_reached(const PartitionTask& task, double alpha, std::size_t least) {
  std::ostringstream message;
  message << "in " << kTries << " draws with " << alpha << " and " << task.clients << " clients there was always one with"
          << " less than " << least << " examples; take a larger value, fewer clients, or min=0";
  task.fail(message.str());
}

// Sizes proportional to exp(s z), none below `least`: those that would be get `least`, the others share the rest.
std::vector<std::size_t> lognormal_sizes(const PartitionTask& task, double sigma, std::size_t least) {
  RandomReader random = task.random(Draw::kShares);
  NormalReader normal(random);
  std::vector<double> logs(task.clients);
  for (double& value : logs) value = sigma * normal.next();
  const double largest = *std::max_element(logs.begin(), logs.end());
  std::vector<double> weights;
  for (const double value : logs) weights.push_back(portable_exp(value - largest));

  std::vector<bool> raised(task.clients, false);
  std::size_t left = task.labels.size();
  double sum = 0;
  for (bool again = true; again;) {
    again = false;
    sum = 0;
    for (std::size_t i = 0; i < task.clients; ++i) sum += raised[i] ? 0 : weights[i];
    const std::size_t shared = left;
    for (std::size_t i = 0; i < task.clients; ++i) {
      if (raised[i] || static_cast<double>(shared) * (weights[i] / sum) >= static_cast<double>(least)) continue;
      raised[i] = again = true;
      left -= least;
    }
  }
  std::vector<std::size_t> sizes(task.clients, least);
  std::vector<std::pair<double, std::size_t>> remainders;  // negative, so that sorting puts the largest first
  std::size_t given = 0;
  for (std::size_t i = 0; i < task.clients; ++i) {
    if (raised[i]) continue;
    const double exact = static_cast<double>(left) * (weights[i] / sum);
    sizes[i] = static_cast<std::size_t>(exact);
    given += sizes[i];
    remainders.emplace_back(static_cast<double>(sizes[i]) - exact, i);
  }
  std::sort(remainders.begin(), remainders.end());
  for (std::size_t i = 0; given < left; ++i, ++given) ++sizes[remainders[i % remainders.size()].second];
  return sizes;
}

}  // namespace

void PartitionTask::fail(const std::string& what) const {
  throw Error(Errc::kBadArgument, "partition '" + spec.text() + "': " + what);
}

Partition split_iid(const PartitionTask& task) { return cut(permuted_rows(task), even_sizes(task.labels.size(), task.clients)); }

// McMahan et al. 2016 (arXiv 1602.05629), section 3: sorted by label, cut into shards, `per` of them a client.
Partition split_shards(const PartitionTask& task) {
  const std::size_t per = task.spec.integer("per", 1, task.labels.size());
  if (per > task.labels.size() / task.clients) {
    task.fail(std::to_string(task.labels.size()) + " examples cannot be cut into " + std::to_string(task.clients) +
              " times " + std::to_string(per) + " shards");
  }
  Rows sorted;
  for (const Rows& rows : rows_by_class(task)) sorted.insert(sorted.end(), rows.begin(), rows.end());
  const std::size_t count = per * task.clients;
  const Partition pieces = cut(sorted, even_sizes(sorted.size(), count));
  Rows order(count);
  std::iota(order.begin(), order.end(), 0u);
  RandomReader random = task.random(Draw::kHolders);
  shuffle(random, order);
  Partition parts(task.clients);
  for (std::size_t i = 0; i < count; ++i) {
    const Rows& piece = pieces[order[i]];
    parts[i / per].insert(parts[i / per].end(), piece.begin(), piece.end());
  }
  return parts;
}

// "#C=c" of NIID-Bench (Li et al. 2021, arXiv 2102.02079): client i holds class i mod L and c - 1 other random ones.
Partition split_classes(const PartitionTask& task) {
  const std::size_t held = task.spec.integer("c", 1, task.classes);
  RandomReader random = task.random(Draw::kHolders);
  std::vector<std::vector<std::size_t>> holders(task.classes);
  for (std::size_t client = 0; client < task.clients; ++client) {
    const std::size_t first = client % task.classes;
    std::vector<std::size_t> others;
    for (std::size_t c = 0; c < task.classes; ++c) {
      if (c != first) others.push_back(c);
    }
    shuffle(random, others);
    holders[first].push_back(client);
    for (std::size_t i = 0; i + 1 < held; ++i) holders[others[i]].push_back(client);
  }
  const std::vector<Rows> by_class = shuffled_rows_by_class(task);
  Partition parts(task.clients);
  for (std::size_t c = 0; c < task.classes; ++c) {
    if (by_class[c].empty()) continue;
    if (holders[c].empty()) task.fail("nobody holds class " + std::to_string(c) + "; take more clients or a larger c");
    const Partition pieces = cut(by_class[c], even_sizes(by_class[c].size(), holders[c].size()));
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      Rows& part = parts[holders[c][i]];
      part.insert(part.end(), pieces[i].begin(), pieces[i].end());
    }
  }
  return parts;
}

// NIID-Bench's: each class is dealt by a Dirichlet draw over the clients; those that are full already get none of it.
Partition split_dirichlet(const PartitionTask& task) {
  const double alpha = alpha_of(task);
  const std::size_t least = least_size(task, 10);
  const double full = static_cast<double>(task.labels.size()) / static_cast<double>(task.clients);
  const std::vector<Rows> by_class = shuffled_rows_by_class(task);
  for (std::size_t attempt = 0; attempt < kTries; ++attempt) {
    RandomReader random = task.random(Draw::kShares, attempt);
    Partition parts(task.clients);
    bool dealt = true;
    for (const Rows& rows : by_class) {
      std::vector<double> shares = dirichlet_variate(random, std::vector<double>(task.clients, alpha));
      double open = 0;
      for (std::size_t i = 0; i < task.clients; ++i) {
        if (static_cast<double>(parts[i].size()) >= full) shares[i] = 0;
        open += shares[i];
      }
      if (rows.empty()) continue;
      if (!(open > 0)) {  // the whole draw fell on full clients
        dealt = false;
        break;
      }
      const Partition pieces = cut(rows, sizes_by_share(rows.size(), shares));
      for (std::size_t i = 0; i < task.clients; ++i) parts[i].insert(parts[i].end(), pieces[i].begin(), pieces[i].end());
    }
    if (dealt && std::all_of(parts.begin(), parts.end(), [&](const Rows& rows) { return rows.size() >= least; })) {
      return parts;
    }
  }
  fail_never_reached(task, alpha, least);
}

std::size_t draw_class(RandomReader& random, const std::vector<double>& chances) {
  const double at = random.uniform() * std::accumulate(chances.begin(), chances.end(), 0.0);
  std::size_t chosen = 0;
  double cumulated = 0;
  for (std::size_t c = 0; c < chances.size(); ++c) {
    if (!(chances[c] > 0)) continue;
    chosen = c;
    cumulated += chances[c];
    if (at < cumulated) break;
  }
  return chosen;
}

// Hsu et al. 2019 (arXiv 1909.06335): each client draws its mixture of classes around the prior, then its examples.
Partition split_dirichlet_client(const PartitionTask& task) {
  const double alpha = alpha_of(task);
  std::vector<Rows> pools = shuffled_rows_by_class(task);
  std::vector<double> parameters;
  for (const Rows& pool : pools) {
    parameters.push_back(alpha * static_cast<double>(pool.size()) / static_cast<double>(task.labels.size()));
  }
  const std::vector<std::size_t> sizes = even_sizes(task.labels.size(), task.clients);
  Partition parts(task.clients);
  for (std::size_t client = 0; client < task.clients; ++client) {
    RandomReader random = task.random(Draw::kDealing, client);
    const std::vector<double> mixture = dirichlet_variate(random, parameters);
    while (parts[client].size() < sizes[client]) {
      std::vector<double> chances = mixture;
      double sum = 0;
      for (std::size_t c = 0; c < chances.size(); ++c) sum += chances[c] = pools[c].empty() ? 0 : chances[c];
      if (!(sum > 0)) {
        for (std::size_t c = 0; c < chances.size(); ++c) sum += chances[c] = pools[c].empty() ? 0 : 1;
      }
      const std::size_t chosen = draw_class(random, chances);
      parts[client].push_back(pools[chosen].back());
      pools[chosen].pop_back();
    }
  }
  return parts;
}

Partition split_quantity(const PartitionTask& task) {
  const bool by_dirichlet = task.spec.has("dirichlet");
  if (by_dirichlet == task.spec.has("lognormal")) task.fail("give dirichlet=A or lognormal=S, one of them");
  if (!by_dirichlet) {
    const double sigma = task.spec.number("lognormal", 0, 20);
    return cut(permuted_rows(task), lognormal_sizes(task, sigma, least_size(task, 1)));
  }
  const double alpha = alpha_of(task, "dirichlet");
  const std::size_t least = least_size(task, 10);
  for (std::size_t attempt = 0; attempt < kTries; ++attempt) {
    RandomReader random = task.random(Draw::kShares, attempt);
    const std::vector<double> shares = dirichlet_variate(random, std::vector<double>(task.clients, alpha));
    const double smallest = *std::min_element(shares.begin(), shares.end());
    if (static_cast<double>(task.labels.size()) * smallest < static_cast<double>(least)) continue;
    return cut(permuted_rows(task), sizes_by_share(task.labels.size(), shares));
  }
  fail_never_reached(task, alpha, least);
}

}  // namespace fewbits::datasets
