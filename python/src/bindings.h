#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "fewbits/aggregator.h"
#include "fewbits/codec.h"

namespace fewbits::python {

void bind_codec(pybind11::module_& module);
void bind_aggregator(pybind11::module_& module);
void bind_memory(pybind11::module_& module);      // of clients and servers: ErrorFeedback, Profile, ProfileLearner
void bind_downlink(pybind11::module_& module);
void bind_structure(pybind11::module_& module);
void bind_integers(pybind11::module_& module);
void bind_catalogue(pybind11::module_& module);   // stages, presets, inspect, measure

using Place = std::pair<std::uint32_t, std::uint32_t>;   // (index, size) of a cohort

// Waits for a lock that another thread may hold without the interpreter's.
inline std::unique_lock<std::mutex> without_gil(std::mutex& mutex) {
  const pybind11::gil_scoped_release release;
  return std::unique_lock(mutex);
}

inline Cohort cohort_of(const Place& place) noexcept { return {place.first, place.second}; }

// Defines encode(update, *, seed, round, client, cohort=(0, 1)), the same for all that make frames; `encode` is given the object,
// the update and the context.
template <class Self, class... Options, class Encode>
void def_encode(pybind11::class_<Self, Options...>& type, const char* doc, Encode encode) {
  using namespace pybind11::literals;
  type.def("encode", [encode](Self& self, const pybind11::object& update, std::uint64_t seed, std::uint32_t round, std::uint64_t client,
                              const Place& cohort) { return encode(self, update, Context{seed, round, client, cohort_of(cohort)}); },
           "update"_a, pybind11::kw_only(), "seed"_a, "round"_a, "client"_a, "cohort"_a = Place(0, 1), doc);
}

// Who is in a sum: `weights` are 1 each where none are given, and places in a cohort of more than one those in the list.
// Throws kBadArgument where the lists differ in length.
std::vector<Contribution> contributions_of(const std::vector<std::uint64_t>& clients, const std::optional<std::vector<double>>& weights,
                                           const std::optional<std::vector<std::uint32_t>>& places, std::uint32_t cohort_size);

}  // namespace fewbits::python
