#pragma once

#include <pybind11/pybind11.h>

#include <mutex>
#include <utility>

#include "fewbits/codec.h"

namespace fewbits::python {

void bind_codec(pybind11::module_& module);
void bind_aggregator(pybind11::module_& module);
void bind_memory(pybind11::module_& module);      // of clients and servers: ErrorFeedback, Profile, ProfileLearner
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

}  // namespace fewbits::python
