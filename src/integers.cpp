#include "fewbits/integers.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <unordered_set>

#include "codec_impl.h"

namespace fewbits {
namespace {

void check_length(std::size_t given, std::size_t wanted, const char* what) {
  if (given != wanted)
    throw Error(Errc::kBadArgument, std::string("there are ") + std::to_string(given) + " " + what + ", expected " + std::to_string(wanted));
}

// Whole weights up to 2^53, so that float64 has every one of them.
void check_weight(const Contribution& from) {
  if (!(from.weight > 0 && from.weight <= 0x1p53 && std::floor(from.weight) == from.weight))
    throw Error(Errc::kBadArgument, "client " + std::to_string(from.client) + " has a weight of " + std::to_string(from.weight) +
                                        "; integers need a positive whole one");
}

}  // namespace

Integers::Integers(Codec codec, const RoundContext& context) : codec_(std::move(codec)), context_(context) {
  if (context.round > kMaxRound)
    throw Error(Errc::kBadArgument, "round " + std::to_string(context.round) + " is over " + std::to_string(kMaxRound));
  for (const auto& group : codec_.impl().groups()) {
    const std::string reason = group.chain.why_no_integers();
    if (!reason.empty())
      throw Error(Errc::kBadArgument, "'" + codec_.impl().plan().rules[group.rule].text() + "' is not linear in integers: " + reason);
  }
}

std::size_t Integers::size() const noexcept { return codec_.impl().sum_size(); }

Context Integers::keys(const Contribution& from) const {
  const Cohort cohort{from.cohort_index, context_.cohort_size};
  codec_.impl().check_cohort(cohort);
  return {context_.seed, context_.round, from.client, cohort};
}

void Integers::encode(std::span<const float> update, const Contribution& from, std::span<std::int32_t> integers) const {
  const Codec::Impl& impl = codec_.impl();
  const Context own = keys(from);
  impl.check_update(update, own);
  check_length(integers.size(), size(), "places for integers");
  Workspace workspace;
  workspace.reserve(impl.workspace_bytes());
  for (const auto& group : impl.groups()) {
    const Workspace::Scope scope(workspace);
    group.chain.encode_integers(own, workspace, impl.values_of(group, update, workspace),
                                integers.subspan(group.sum_offset, group.chain.sum_size()));
  }
}

// Units of 2^−24 steps, whole below 2^53; returns the clients' weights together.
double Integers::accumulate(std::span<const std::int64_t> sums, std::span<const Contribution> clients, std::span<double> sum) const {
  const Codec::Impl& impl = codec_.impl();
  check_length(sums.size(), size(), "sums");
  if (clients.empty()) throw Error(Errc::kEmpty, "the sum of no client");
  Workspace workspace;
  workspace.reserve(impl.workspace_bytes());
  std::unordered_set<std::uint64_t> seen;
  double weight = 0;
  for (const Contribution& from : clients) {
    check_weight(from);
    if (!seen.insert(from.client).second)
      throw Error(Errc::kDuplicateClient, "client " + std::to_string(from.client) + " is named twice");
    weight += from.weight;
    const Context own = keys(from);
    for (const auto& group : impl.groups()) {
      const Workspace::Scope scope(workspace);
      group.chain.accumulate_rest(own, workspace, from.weight, sum.subspan(group.sum_offset, group.chain.sum_size()));
    }
  }
  for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += static_cast<double>(sums[i]) * Quantizer::kUnitsPerInteger;
  return weight;
}

std::vector<float> Integers::mean(std::span<const std::int64_t> sums, std::span<const Contribution> clients) const {
  std::vector<double> sum(size());
  const double weight = accumulate(sums, clients, sum);
  for (double& value : sum) value /= weight;
  Workspace workspace;
  workspace.reserve(codec_.impl().workspace_bytes());
  std::vector<float> update(codec_.elements());
  codec_.impl().finish(shared(), workspace, sum, update);
  return update;
}

std::vector<float> Integers::values(std::span<const float> update) const {
  const Codec::Impl& impl = codec_.impl();
  impl.check_update(update, shared());
  Workspace workspace;
  workspace.reserve(impl.workspace_bytes());
  std::vector<float> values(size());
  for (const auto& group : impl.groups()) {
    const Workspace::Scope scope(workspace);
    group.chain.values(shared(), workspace, impl.values_of(group, update, workspace),
                       std::span(values).subspan(group.sum_offset, group.chain.sum_size()));
  }
  return values;
}

std::vector<double> Integers::values(std::span<const std::int64_t> sums, std::span<const Contribution> clients) const {
  std::vector<double> sum(size());
  accumulate(sums, clients, sum);
  Workspace workspace;
  workspace.reserve(codec_.impl().workspace_bytes());
  for (const auto& group : codec_.impl().groups()) {
    const Workspace::Scope scope(workspace);
    group.chain.scale(shared(), workspace, std::span(sum).subspan(group.sum_offset, group.chain.sum_size()));
  }
  return sum;
}

std::vector<float> Integers::update(std::span<const double> values) const {
  check_length(values.size(), size(), "values");
  Workspace workspace;
  workspace.reserve(codec_.impl().workspace_bytes());
  std::vector<double> sum(values.begin(), values.end());
  std::vector<float> update(codec_.elements());
  codec_.impl().undo(shared(), workspace, sum, update);
  return update;
}

}  // namespace fewbits
