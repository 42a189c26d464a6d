#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <memory>
#include <mutex>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "arrays.h"
#include "bindings.h"
#include "fewbits/error.h"
#include "fewbits/privacy/accountant.h"
#include "fewbits/privacy/client_noise.h"
#include "fewbits/privacy/clipping.h"
#include "fewbits/privacy/discrete_gaussian.h"
#include "fewbits/privacy/private_sum.h"
#include "fewbits/privacy/spread_noise.h"
#include "fewbits/secure/system_random.h"
#include "secure_bindings.h"
#include "tensors.h"

namespace fewbits::python {
namespace {

using namespace py::literals;
using namespace privacy;

Accounting accounting_of(const std::string& name) {
  if (name == "pld") return Accounting::kPld;
  if (name == "rdp") return Accounting::kRdp;
  throw Error(Errc::kBadArgument, "accounting '" + name + "' is not known, only pld and rdp");
}

const char* name_of(Accounting accounting) { return accounting == Accounting::kPld ? "pld" : "rdp"; }

struct PyAccountant {
  std::mutex mutex;
  Accountant accountant;
};

template <class Call>
auto locked(PyAccountant& self, Call&& call) {
  const auto lock = without_gil(self.mutex);
  const py::gil_scoped_release release;
  return call(self.accountant);
}

struct PyGaussian {
  explicit PyGaussian(double sigma) : gaussian(sigma, random) {}
  secure::SystemRandom random;
  std::mutex mutex;
  DiscreteGaussian gaussian;
};

struct PySum {
  PySum(const Clipping& clipping, double noise_multiplier) : sum(clipping, noise_multiplier) {}
  std::mutex mutex;
  PrivateSum sum;
};

std::vector<float> copied(const FloatArray& array) { return {array.values().begin(), array.values().end()}; }

using Doubles = py::array_t<double, py::array::c_style | py::array::forcecast>;

void bind_rounds(py::module_& module) {
  py::class_<GaussianRound>(module, "GaussianRound", R"(Noise of the server: N(0, (z S)^2) on a sum to which a client contributes at most S. Also exact discrete noise.

q: chance with which each client takes part, independently. z: noise multiplier.)")
      .def(py::init([](double q, double z) { return GaussianRound{q, z}; }), "q"_a, "z"_a)
      .def_readonly("q", &GaussianRound::q)
      .def_readonly("z", &GaussianRound::z)
      .def("__eq__", [](const GaussianRound& self, const GaussianRound& other) { return self == other; }, py::is_operator())
      .def("__repr__", [](const GaussianRound& self) {
        std::ostringstream text;
        text << "GaussianRound(q=" << self.q << ", z=" << self.z << ")";
        return text.str();
      });
  py::class_<DiscreteGaussianRound>(module, "DiscreteGaussianRound", R"(Noise of the clients: the sum of `clients` independent discrete Gaussians. Lengths are in steps of the lattice.

q: as of GaussianRound. clients: fewest that a round is released with. sigma: of one client's noise. l2: largest norm of a client's
integers. dimension: values.)")
      .def(py::init([](double q, std::uint64_t clients, double sigma, double l2, std::uint64_t dimension) {
             return DiscreteGaussianRound{q, clients, sigma, l2, dimension};
           }), py::kw_only(), "q"_a, "clients"_a, "sigma"_a, "l2"_a, "dimension"_a)
      .def_readonly("q", &DiscreteGaussianRound::q)
      .def_readonly("clients", &DiscreteGaussianRound::clients)
      .def_readonly("sigma", &DiscreteGaussianRound::sigma)
      .def_readonly("l2", &DiscreteGaussianRound::l2)
      .def_readonly("dimension", &DiscreteGaussianRound::dimension)
      .def("__eq__", [](const DiscreteGaussianRound& self, const DiscreteGaussianRound& other) { return self == other; }, py::is_operator());
  py::class_<SkellamRound>(module, "SkellamRound", R"(Noise of the clients, Skellam. Lengths are in steps of the lattice.

q: as of GaussianRound. variance: of the sum of all clients' noise in a coordinate. l2: largest norm of a client's integers.
dimension: values.)")
      .def(py::init([](double q, double variance, double l2, std::uint64_t dimension) { return SkellamRound{q, variance, l2, dimension}; }),
           py::kw_only(), "q"_a, "variance"_a, "l2"_a, "dimension"_a)
      .def_readonly("q", &SkellamRound::q)
      .def_readonly("variance", &SkellamRound::variance)
      .def_readonly("l2", &SkellamRound::l2)
      .def_readonly("dimension", &SkellamRound::dimension)
      .def("__eq__", [](const SkellamRound& self, const SkellamRound& other) { return self == other; }, py::is_operator());
}

void bind_accountant(py::module_& module) {
  py::class_<PrivacySpent>(module, "PrivacySpent", R"(What rounds have told of a client.

epsilon: the lesser of what the accountings say. epsilon_rdp: by Renyi divergences, at `order`; infinite where none gives one.
accounting: "pld", or "rdp" where the other does not apply.)")
      .def_readonly("epsilon", &PrivacySpent::epsilon)
      .def_readonly("epsilon_rdp", &PrivacySpent::epsilon_rdp)
      .def_readonly("order", &PrivacySpent::order)
      .def_property_readonly("accounting", [](const PrivacySpent& self) { return name_of(self.accounting); });
  py::class_<PyAccountant>(module, "Accountant", R"(Counts rounds, and says what (epsilon, delta) they spend: for each client with all its data, added or removed.

accounting: "pld", the privacy loss distribution, or "rdp", Renyi divergences, which give some 10 % more. Rounds are GaussianRound,
DiscreteGaussianRound or SkellamRound; in all of them every client takes part independently with probability q.
Raises Error (BAD_ARGUMENT) for values out of their range. May be used from several threads.)")
      .def(py::init([](const std::string& accounting) {
             auto made = std::make_unique<PyAccountant>();
             made->accountant = Accountant(accounting_of(accounting));
             return made;
           }), "accounting"_a = "pld")
      .def("add", [](PyAccountant& self, const RoundMechanism& round, std::uint64_t count) {
             locked(self, [&](Accountant& own) { own.add(round, count); });
           }, "round"_a, "count"_a = 1)
      .def("spent", [](PyAccountant& self, double delta) { return locked(self, [&](Accountant& own) { return own.spent(delta); }); }, "delta"_a,
           "After all rounds that were added. delta: in (0, 1); less than 1 in the number of clients, or it promises nothing.")
      .def("spent_with", [](PyAccountant& self, const RoundMechanism& round, double delta, std::uint64_t count) {
             return locked(self, [&](Accountant& own) { return own.spent_with(round, delta, count); });
           }, "round"_a, "delta"_a, "count"_a = 1, "What would be spent after `count` further rounds, which are not added.")
      .def("would_exceed", [](PyAccountant& self, const RoundMechanism& round, double epsilon, double delta) {
             return locked(self, [&](Accountant& own) { return own.would_exceed(round, epsilon, delta); });
           }, "round"_a, "epsilon"_a, "delta"_a, "Whether the next round would spend more than epsilon: to be asked before it is begun.")
      .def_property_readonly("rounds", [](PyAccountant& self) { return self.accountant.rounds(); })
      .def("history", [](PyAccountant& self) { return locked(self, [](Accountant& own) { return own.history(); }); },
           "All rounds and their counts: adding them to a new accountant restores this one.");
  module.def("noise_multiplier", [](double q, std::uint64_t rounds, double epsilon, double delta, const std::string& accounting) {
    const Accounting own = accounting_of(accounting);
    const py::gil_scoped_release release;
    return noise_for(q, rounds, epsilon, delta, own);
  }, py::kw_only(), "q"_a, "rounds"_a, "epsilon"_a, "delta"_a, "accounting"_a = "pld",
             "The smallest noise multiplier with which so many rounds spend at most epsilon, to a millionth; at least 0.01. C++: noise_for.");
  module.def("rounds_for", [](const RoundMechanism& round, double epsilon, double delta, const std::string& accounting) {
    const Accounting own = accounting_of(accounting);
    const py::gil_scoped_release release;
    return rounds_for(round, epsilon, delta, own);
  }, "round"_a, py::kw_only(), "epsilon"_a, "delta"_a, "accounting"_a = "pld",
             "The most rounds that spend at most epsilon; 0 where one spends more, at most 10^9.");
}

void bind_clipping(py::module_& module) {
  py::class_<Clipping>(module, "Clipping", R"(Norms to which updates are clipped: of the whole, or of each of its tensors. Made by `whole` and `per_tensor`.)")
      .def_static("whole", &Clipping::whole, "elements"_a, "norm"_a, "Raises Error (BAD_ARGUMENT) for a norm outside 1e-20 to 1e20.")
      .def_static("per_tensor", [](const py::object& layout, double norm) { return Clipping::per_tensor(TypedCodec("f32", layout).codec().layout(), norm); },
                  "layout"_a, "norm"_a, "Of n tensors each is clipped to norm/sqrt(n). layout: as Codec takes it.")
      .def("clip", [](const Clipping& self, const py::object& update) {
             std::vector<float> values = copied(FloatArray(update, "the update"));
             bool within = false;
             {
               const py::gil_scoped_release release;
               within = self.clip(values);
             }
             return py::make_tuple(to_array(std::move(values)), within);
           }, "update"_a,
           R"(The update, no longer than it may be (float32, shape [elements]), and whether it has been so before. Raises Error (BAD_ARGUMENT for a
wrong length, NOT_FINITE).)")
      .def("with_norm", &Clipping::with_norm, "norm"_a, "The same tensors, in proportion.")
      .def_property_readonly("norm", &Clipping::norm, "S, the sensitivity of a sum.")
      .def_property_readonly("elements", &Clipping::elements);
  module.def("norm_of", [](const py::object& values) { return norm_of(FloatArray(values, "the vector").values()); }, "values"_a,
             "The Euclidean norm of a float32 array, without overflow.");
}

void bind_noise(py::module_& module) {
  py::class_<PyGaussian>(module, "DiscreteGaussian", R"(Integers k with probability proportional to exp(-k^2 / (2 sigma^2)), exactly, from the operating system's generator.

sigma: in steps of the integers, from 2^-10 to 2^28. Accounted as the Gaussian of the same sigma. May be used from several threads.)")
      .def(py::init<double>(), "sigma"_a)
      .def_property_readonly("sigma", [](const PyGaussian& self) { return self.gaussian.sigma(); }, "Up to 2^-27 of itself more than was asked for.")
      .def("draw", [](PyGaussian& self, std::size_t count) {
             py::array_t<std::int64_t> draws(static_cast<py::ssize_t>(count));
             const std::span out(draws.mutable_data(), count);
             const auto lock = without_gil(self.mutex);
             const py::gil_scoped_release release;
             for (std::int64_t& value : out) value = self.gaussian.draw();
             return draws;
           }, "count"_a, "int64, shape [count].");
  py::class_<PySum>(module, "PrivateSum", R"(The sum of one round of DP-FedAvg at a server that sees each update: it clips again, adds in integers, and its noise is discrete
and exact, of standard deviation noise_multiplier * clipping.norm in each coordinate of the sum.

Raises Error (BAD_ARGUMENT) for a multiplier that is negative or over 256. May be used from several threads.)")
      .def(py::init<const Clipping&, double>(), "clipping"_a, "noise_multiplier"_a)
      .def("add", [](PySum& self, const py::object& update, double weight) {
             const FloatArray own(update, "the update");
             const auto lock = without_gil(self.mutex);
             const py::gil_scoped_release release;
             self.sum.add(own.values(), weight);
           }, "update"_a, "weight"_a = 1.0,
           "Adds weight * update, clipped. weight: over 0, at most 1. All or nothing; raises Error (BAD_ARGUMENT, NOT_FINITE).")
      .def("release", [](PySum& self, double denominator) {
             std::vector<float> mean;
             {
               const auto lock = without_gil(self.mutex);
               const py::gil_scoped_release release;
               secure::SystemRandom random;
               mean = self.sum.release(denominator, random);
             }
             return to_array(std::move(mean));
           }, "denominator"_a, R"((sum + noise)/denominator: float32, shape [elements]; also where nobody has been added. Once. The denominator must not
depend on who takes part: q times the number of clients. Raises Error (BAD_ARGUMENT) the second time.)")
      .def_property_readonly("clipping", [](const PySum& self) { return self.sum.clipping(); });
  module.def("add_noise", [](const Doubles& sum, double sensitivity, double noise_multiplier) {
    std::vector<double> values(sum.data(), sum.data() + sum.size());
    {
      const py::gil_scoped_release release;
      secure::SystemRandom random;
      add_noise(values, sensitivity, noise_multiplier, random);
    }
    return py::array_t<double>(static_cast<py::ssize_t>(values.size()), values.data());
  }, "sum"_a, py::kw_only(), "sensitivity"_a, "noise_multiplier"_a,
             R"(The same noise for a sum that comes already summed, as from secure aggregation: float64.

sensitivity: the most that one client moves the sum by, in the Euclidean norm. Raises Error (BAD_ARGUMENT) unless it is positive, and for a
multiplier outside (0, 256].)");
  py::class_<ClientNoise>(module, "ClientNoise", R"(A client's part of noise that is spread over the clients of a secure sum: values are rounded at random to multiples of a step,
and get discrete Gaussian noise from the operating system's generator.

values: their number. norm: to which they are clipped. step, sigma: in the values' units; sigma from 2^-10 to 2^28 steps.
Raises Error (BAD_ARGUMENT) for others.)")
      .def(py::init<std::size_t, double, double, double>(), "values"_a, py::kw_only(), "norm"_a, "step"_a, "sigma"_a)
      .def_property_readonly("l2", &ClientNoise::l2, "Largest norm of a client's integers before the noise, in steps: of a DiscreteGaussianRound.")
      .def("round", &ClientNoise::round, "q"_a, "clients"_a, "A round of so many clients at least, each there with chance q, for an Accountant.")
      .def_property_readonly("values", &ClientNoise::values)
      .def_property_readonly("step", &ClientNoise::step)
      .def_property_readonly("sigma", &ClientNoise::sigma)
      .def("encode", [](const ClientNoise& self, const py::object& values) {
             const FloatArray own(values, "the vector");
             py::array_t<std::int32_t> integers(static_cast<py::ssize_t>(self.values()));
             const std::span out(integers.mutable_data(), self.values());
             {
               const py::gil_scoped_release release;
               secure::SystemRandom random;
               self.encode(own.values(), out, random);
             }
             return integers;
           }, "values"_a, "values/step, rounded, plus noise: int32, shape [values]. What is not finite counts as zero. Raises Error (BAD_ARGUMENT).");
  py::class_<SpreadNoise>(module, "SpreadNoise", R"(How much noise each client of a secure sum adds, and at which step, so that the fewest whose sum is opened add enough.

values: of an update. norm: to which it is clipped. bits: of a word. q: chance of each client to take part. cohort: clients of a round on
average. least_cohort: clients of a sum that is opened, at least (the function of that name).)")
      .def(py::init([](std::size_t values, double norm, unsigned bits, double q, double cohort, std::size_t least) {
             return SpreadNoise{values, norm, bits, q, cohort, least};
           }), "values"_a, py::kw_only(), "norm"_a, "bits"_a, "q"_a, "cohort"_a, "least_cohort"_a)
      .def("client", &SpreadNoise::client, "multiplier"_a,
           "A client's ClientNoise, for noise of multiplier times norm from least_cohort of them. Raises Error (BAD_ARGUMENT).")
      .def("multiplier_for", &SpreadNoise::multiplier_for, py::kw_only(), "rounds"_a, "epsilon"_a, "delta"_a, py::call_guard<py::gil_scoped_release>(),
           "The smallest multiplier with which so many rounds spend at most epsilon. Raises Error (BAD_ARGUMENT) where none does.");
  module.def("least_cohort", &least_cohort, py::kw_only(), "clients"_a, "probability"_a, "chance"_a,
             R"(The largest number such that fewer than so many of `clients`, each there with this probability, come with at most this chance. That a round
is refused for its few clients tells of them, which nothing accounts for: it must be as rare as a failure that delta allows.)");
  module.def("step_for", &step_for, py::kw_only(), "bits"_a, "values"_a, "clients"_a, "sum_norm"_a, "noise"_a,
             R"(The step at which words of `bits` bits hold the sum of `clients` updates: six standard deviations of it, where its norm is sum_norm at
most, spread evenly over the values by a rotation, with noise of standard deviation `noise` in all.)");
}

}  // namespace

void bind_privacy(py::module_& module) {
  bind_rounds(module);
  bind_accountant(module);
  bind_clipping(module);
  bind_noise(module);
}

}  // namespace fewbits::python
