#include "datasets/partition.h"

#include <algorithm>
#include <sstream>

#include "datasets/partition_rules.h"
#include "datasets/spec.h"
#include "fewbits/error.h"

namespace fewbits::datasets {
namespace {

struct Scheme {
  const char* name;
  const char* form;
  const char* summary;
  std::vector<std::string> parameters;
  Partition (*make)(const PartitionTask&);
};

const std::vector<Scheme>& schemes() {
  static const std::vector<Scheme> list = {
      {"iid", "iid", "random examples, equal sizes", {}, split_iid},
      {"shards", "shards:per=N", "sorted by label, N runs a client", {"per"}, split_shards},
      {"classes", "classes:c=N", "N classes a client", {"c"}, split_classes},
      {"dirichlet", "dirichlet:alpha=A[,min=10]", "each class dealt by Dirichlet(A) over the clients; sizes differ",
       {"alpha", "min"}, split_dirichlet},
      {"dirichlet-client", "dirichlet-client:alpha=A", "each client draws its mixture of classes, Dirichlet(A x prior); "
       "equal sizes", {"alpha"}, split_dirichlet_client},
      {"quantity", "quantity:dirichlet=A[,min=10] or quantity:lognormal=S[,min=1]",
       "random examples, sizes by Dirichlet(A) or proportional to exp(S z)", {"dirichlet", "lognormal", "min"}, split_quantity},
  };
  return list;
}

const Scheme& find_scheme(const Spec& spec) {
  std::string choices;
  for (const Scheme& scheme : schemes()) {
    if (spec.name() == scheme.name) {
      spec.allow_only(scheme.parameters);
      return scheme;
    }
    choices += (choices.empty() ? "" : "; ") + std::string(scheme.form);
  }
  throw Error(Errc::kBadArgument, "partition '" + spec.name() + "' is not known; choose one of: " + choices);
}

}  // namespace

void check_partition(std::string_view text) { find_scheme(Spec("partition", text)); }

Partition make_partition(std::string_view text, std::span<const float> labels, std::size_t classes,
                         std::size_t clients, std::uint64_t seed) {
  const Spec spec("partition", text);
  const Scheme& scheme = find_scheme(spec);
  const PartitionTask task{spec, labels, classes, clients, seed};
  if (clients == 0) task.fail("there must be at least 1 client");
  if (clients > labels.size()) {
    task.fail(std::to_string(clients) + " clients for " + std::to_string(labels.size()) + " examples");
  }
  for (const float label : labels) {
    if (static_cast<std::size_t>(label) >= classes) task.fail("label " + std::to_string(static_cast<std::size_t>(label)) + " of " + std::to_string(classes) + " classes");
  }
  return scheme.make(task);
}

std::vector<PartitionScheme> partition_schemes() {
  std::vector<PartitionScheme> list;
  for (const Scheme& scheme : schemes()) list.push_back({scheme.name, scheme.form, scheme.summary});
  return list;
}

std::string describe_partition(std::string_view text, const Partition& partition, std::span<const float> labels,
                               std::size_t classes) {
  std::vector<std::size_t> sizes;
  std::size_t held = 0;
  for (const auto& rows : partition) {
    std::vector<bool> seen(classes, false);
    for (const std::uint32_t row : rows) seen[static_cast<std::size_t>(labels[row])] = true;
    held += static_cast<std::size_t>(std::count(seen.begin(), seen.end(), true));
    sizes.push_back(rows.size());
  }
  std::sort(sizes.begin(), sizes.end());
  std::ostringstream out;
  out << text << ": " << partition.size() << " clients, examples min " << sizes.front() << ", median "
      << sizes[sizes.size() / 2] << ", max " << sizes.back() << "; ";
  out.precision(3);
  out << static_cast<double>(held) / static_cast<double>(partition.size()) << " classes a client";
  const Spec spec("partition", text);
  const auto share = static_cast<double>(classes);
  if (spec.name() == "dirichlet-client") {
    const double alpha = spec.number("alpha", kLeastAlpha, kMostAlpha);
    out << "; alpha " << alpha << " in all (Hsu), " << alpha / share << " a class";
  } else if (spec.name() == "dirichlet") {
    const double alpha = spec.number("alpha", kLeastAlpha, kMostAlpha);
    out << "; alpha " << alpha << " a class, " << alpha * share << " in all (Hsu)";
  }
  return out.str();
}

}  // namespace fewbits::datasets
