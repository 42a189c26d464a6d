// What there is, and what it costs: stages, names from the literature, frames seen from outside, measurements.
#include <pybind11/stl.h>

#include <vector>

#include "bindings.h"
#include "describe.h"
#include "fewbits/measure.h"
#include "fewbits/stages.h"
#include "tensors.h"

namespace fewbits::python {
namespace {

using namespace py::literals;

py::list parameters_of(const std::vector<ParameterInfo>& parameters) {
  py::list all;
  for (const ParameterInfo& parameter : parameters)
    all.append(py::dict("name"_a = parameter.name, "type"_a = parameter.type, "range"_a = parameter.range,
                        "default"_a = parameter.default_value, "optional"_a = parameter.optional, "summary"_a = parameter.summary));
  return all;
}

// `key`: of the field that only stages have, or only presets.
template <class Info, class Parts>
py::list listed(const std::vector<Info>& infos, const char* key, Parts Info::*parts) {
  py::list all;
  for (const Info& info : infos)
    all.append(py::dict("name"_a = info.name, py::arg(key) = info.*parts, "summary"_a = info.summary, "source"_a = info.source,
                        "parameters"_a = parameters_of(info.parameters)));
  return all;
}

py::list list_stages() { return listed(stages(), "roles", &StageInfo::roles); }
py::list list_presets() { return listed(presets(), "stages", &PresetInfo::stages); }

py::dict inspect_frame(const py::object& frame) {
  const FrameInfo info = inspect(Bytes(frame).values());
  py::list sections;
  for (const FrameInfo::Section& section : info.sections)
    sections.append(py::dict("offset"_a = section.offset, "bytes"_a = section.bytes));
  return py::dict("version"_a = info.version, "fingerprint"_a = info.fingerprint, "round"_a = info.round, "client"_a = info.client,
                  "header_bytes"_a = info.header_bytes, "sections"_a = sections);
}

py::dict measure_codec(const TypedCodec& codec, const py::object& updates, std::size_t repeats, std::uint64_t seed) {
  std::vector<Update> own;
  if (py::isinstance<py::list>(updates) || py::isinstance<py::tuple>(updates))
    for (const py::handle& update : updates) own.emplace_back(codec, py::reinterpret_borrow<py::object>(update));
  else
    own.emplace_back(codec, updates);
  std::vector<std::span<const float>> values;
  for (const Update& update : own) values.push_back(update.values());
  Measurement m;
  {
    const py::gil_scoped_release release;
    m = measure(codec.codec(), values, {.repeats = repeats, .seed = seed});
  }
  return py::dict("plan"_a = m.plan, "coordinates"_a = m.coordinates, "bytes"_a = m.bytes, "bits_per_coordinate"_a = m.rate,
                  "nmse"_a = m.nmse, "bias_ratio"_a = m.bias_ratio, "limit_ratio"_a = m.limit_ratio,
                  "unbiased"_a = m.unbiased == Unbiased::kAlways, "encode_ns_per_coordinate"_a = m.encode_ns,
                  "decode_ns_per_coordinate"_a = m.decode_ns);
}

}  // namespace

py::str to_text(Unbiased unbiased) {
  switch (unbiased) {
    case Unbiased::kAlways: return "always";
    case Unbiased::kOverRotations: return "over rotations";
    default: return "no";
  }
}

py::dict to_dict(const Description& all) {
  py::list groups;
  for (const GroupDescription& one : all.groups)
    groups.append(py::dict("rule"_a = one.rule, "stages"_a = one.stages, "tensors"_a = one.tensors, "coordinates"_a = one.coordinates,
                           "values"_a = one.values, "unbiased"_a = to_text(one.unbiased), "nmse_bound"_a = one.nmse_bound,
                           "norm_growth"_a = one.norm_growth, "norm_added"_a = one.norm_added,
                           "max_bytes"_a = one.max_bytes, "fixed_size"_a = one.fixed_size,
                           "sum_domain"_a = one.sum_domain));
  return py::dict("plan"_a = all.plan, "structure"_a = all.structure, "coordinates"_a = all.coordinates, "parameters"_a = all.parameters,
                  "unbiased"_a = to_text(all.unbiased), "nmse_bound"_a = all.nmse_bound, "norm_growth"_a = all.norm_growth, "norm_added"_a = all.norm_added,
                  "max_frame_bytes"_a = all.max_frame_bytes, "fixed_size"_a = all.fixed_size, "cohort"_a = all.cohort,
                  "max_rate"_a = all.max_rate, "groups"_a = groups);
}

void bind_catalogue(py::module_& module) {
  module.def("stages", &list_stages, "Every stage that a plan may name: a list of dicts with name, roles, summary, source and parameters.");
  module.def("presets", &list_presets, "Names from the literature that stand for stages: a list of dicts as of stages, with the stages' text.");
  module.def("inspect", &inspect_frame, "frame"_a,
             R"(What a frame says of itself, without its plan: a dict of version, fingerprint, round, client, header_bytes and sections.

Raises Error when it is damaged or no frame.)");
  module.def("measure", &measure_codec, "codec"_a, "updates"_a, py::kw_only(), "repeats"_a = MeasureOptions{}.repeats,
             "seed"_a = MeasureOptions{}.seed,
             R"(Rate, error, bias and speed of a codec on updates, by real frames of real encoders.

updates: what Codec.encode takes (for a structured codec also an update of the layout's length, which is replaced by the nearest
    member of the round's family), or a list of such; figures are means over them.
repeats: frames for each update, of different clients in different rounds; a small bias needs many.

Returns a dict: bytes and bits_per_coordinate of a frame, all bytes counted; nmse: mean of |decoded - update|^2 / |update|^2;
bias_ratio: repeats x NMSE of the mean of the repeats / NMSE, 1 when unbiased, None without error; limit_ratio: NMSE x (4^bits - 1),
1 being the least of an unbiased code on a Gaussian; unbiased: whether the plan promises it; encode_ns_per_coordinate,
decode_ns_per_coordinate: of the fastest repeat, one thread. The same figures as of `fewbits measure --json`.

Raises Error (BAD_ARGUMENT) for an update of another length, and for one of zeros that is not decoded as such.)");
}

}  // namespace fewbits::python
