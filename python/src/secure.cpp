#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <limits>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "arrays.h"
#include "bindings.h"
#include "fewbits/error.h"
#include "fewbits/secure/client.h"
#include "fewbits/secure/server.h"
#include "fewbits/secure/system_random.h"
#include "fewbits/secure/words.h"
#include "secure_bindings.h"

namespace fewbits::python {
namespace {

using namespace py::literals;
using secure::Settings;

using Words = py::array_t<std::uint32_t, py::array::c_style>;

// In place; the array is kept alive by what is returned.
Words words_of(const py::object& object) {
  const py::array array = py::module_::import("numpy").attr("asarray")(object);
  if (!array.dtype().is(py::dtype::of<std::uint32_t>()))
    throw py::type_error("the words are of " + dtype_name(array) + ", not uint32: to_words makes them of integers");
  return Words::ensure(array);
}

std::span<const std::uint32_t> span_of(const Words& words) { return {words.data(), static_cast<std::size_t>(words.size())}; }

// One thread at a time, others wait without the interpreter's lock.
struct PyClient {
  PyClient(const Settings& settings, std::uint64_t id) : client(settings, id, random) {}
  PyClient(const Settings& settings, std::uint64_t id, std::span<const std::byte> state)
      : client(secure::Client::restore(settings, id, state, random)) {}

  template <class Call>
  py::bytes answer(Call&& call) {
    secure::Bytes message;
    {
      const auto lock = without_gil(mutex);
      const py::gil_scoped_release release;
      message = call(client);
    }
    return to_bytes(message);
  }

  secure::SystemRandom random;
  std::mutex mutex;
  secure::Client client;
};

struct PyServer {
  PyServer(const Settings& settings, const std::vector<std::uint64_t>& cohort) : server(settings, cohort, random) {}

  secure::SystemRandom random;
  std::mutex mutex;
  secure::Server server;
};

const char* name_of(secure::Phase phase) {
  switch (phase) {
    case secure::Phase::kKeys: return "keys";
    case secure::Phase::kShares: return "shares";
    case secure::Phase::kInputs: return "inputs";
    case secure::Phase::kUnmasking: return "unmasking";
  }
  return "";
}

Words to_words(const py::object& object, unsigned bits) {
  const py::array array = py::module_::import("numpy").attr("asarray")(object);
  if (array.dtype().kind() != 'i' && array.dtype().kind() != 'u') throw py::type_error("the integers are of " + dtype_name(array));
  const auto wide = array.cast<py::array_t<std::int64_t, py::array::c_style | py::array::forcecast>>();
  std::vector<std::int32_t> integers(static_cast<std::size_t>(wide.size()));
  Words words(wide.size());
  const std::span out(words.mutable_data(), integers.size());
  {
    const std::span all(wide.data(), integers.size());
    const py::gil_scoped_release release;
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (all[i] < std::numeric_limits<std::int32_t>::min() || all[i] > std::numeric_limits<std::int32_t>::max())
        throw Error(Errc::kBadArgument, "integer " + std::to_string(all[i]) + " is not one of 32 bits");
      integers[i] = static_cast<std::int32_t>(all[i]);
    }
    secure::to_words(integers, bits, out);
  }
  return words;
}

py::array_t<std::int64_t> from_words(const py::object& object, unsigned bits, std::optional<std::int64_t> lowest) {
  const Words words = words_of(object);
  py::array_t<std::int64_t> integers(words.size());
  const auto in = span_of(words);
  const std::span out(integers.mutable_data(), in.size());
  const py::gil_scoped_release release;
  if (lowest)
    secure::from_words(in, bits, *lowest, out);
  else
    secure::from_words(in, bits, out);
  return integers;
}

void bind_settings(py::module_& module) {
  py::class_<Settings>(module, "Settings", R"(What client and server have agreed on for one round; every message names it, and each side refuses what was made with others.

session: the run, one that nobody has had before. round. plan: what the words stand for, Codec.fingerprint.
length: words of an input. bits: of a word, 1 to 32; sums are mod 2^bits. clients: that are asked.
neighbours: clients that share masks with each: an even number, or clients - 1; 0: all up to 100 clients, above that 52 to 68.
threshold: neighbours whose shares open a secret: more than half of them; 0: two thirds and one, above 100 clients 37 to 48.
min_cohort: a sum of fewer is not opened; at least 3.

Raises Error (BAD_ARGUMENT), with what would be right, for what cannot be.)")
      .def(py::init([](std::uint64_t session, std::uint32_t round, std::uint64_t plan, std::size_t length, unsigned bits, std::size_t clients,
                       std::size_t neighbours, std::size_t threshold, std::size_t min_cohort) {
             return Settings{session, round, plan, length, bits, clients, neighbours, threshold, min_cohort}.resolved();
           }), py::kw_only(), "session"_a, "round"_a, "plan"_a, "length"_a, "bits"_a, "clients"_a, "neighbours"_a = 0, "threshold"_a = 0,
           "min_cohort"_a = 10)
      .def_readonly("session", &Settings::session)
      .def_readonly("round", &Settings::round)
      .def_readonly("plan", &Settings::plan)
      .def_readonly("length", &Settings::length)
      .def_readonly("bits", &Settings::bits)
      .def_readonly("clients", &Settings::clients)
      .def_readonly("neighbours", &Settings::neighbours, "With the default in place.")
      .def_readonly("threshold", &Settings::threshold, "With the default in place.")
      .def_readonly("min_cohort", &Settings::min_cohort);
}

void bind_client(py::module_& module) {
  py::class_<PyClient>(module, "Client", R"(A client's part in one round of secure aggregation: the server learns the sum of the inputs, and of no client the input.

settings: of the round. id: as the server knows it. Secrets come from the operating system's generator.

Calls come in the order advertise, share, masked_input, unmask; each answers once, and one that raises changes nothing. Messages are
bytes; who carries them must hide them from others (TLS). Against a server that follows the protocol and is curious.

Raises Error: BAD_ARGUMENT for calls out of order, NOT_A_FRAME, UNKNOWN_VERSION, TRUNCATED, TRAILING_BYTES and MALFORMED for bytes that no
server writes, WRONG_ROUND, WRONG_PLAN and WRONG_CLIENT for those of another round, settings or client. May be used from several threads.)")
      .def(py::init<const Settings&, std::uint64_t>(), "settings"_a, "id"_a)
      .def("advertise", [](PyClient& self) { return self.answer([](secure::Client& client) { return client.advertise(); }); },
           "Two public keys of this round, for the server.")
      .def("share", [](PyClient& self, const py::object& neighbours) {
             const Bytes own(neighbours);
             return self.answer([&](secure::Client& client) { return client.share(own.values()); });
           }, "neighbours"_a,
           R"(From the neighbours' keys: shares of this client's secrets, each encrypted for one neighbour. Raises Error (EMPTY) for fewer
neighbours than the threshold.)")
      .def("masked_input", [](PyClient& self, const py::object& shares, const py::object& words) {
             const Bytes own(shares);
             const Words held = words_of(words);
             const auto input = span_of(held);
             return self.answer([&](secure::Client& client) { return client.masked_input(own.values(), input); });
           }, "shares"_a, "words"_a,
           R"(From the neighbours' shares: the input, masked: bits/8 bytes a word, and 40. Once.

words: uint32, shape [length], below 2^bits; to_words makes them.
Raises Error (EMPTY) for fewer shares than the threshold, and, naming the neighbour, CHECKSUM_MISMATCH or MALFORMED for a wrong one.)")
      .def("unmask", [](PyClient& self, const py::object& survivors) {
             const Bytes own(survivors);
             return self.answer([&](secure::Client& client) { return client.unmask(own.values()); });
           }, "survivors"_a,
           R"(From the list of who is left: a share of each neighbour's self mask or of its mask key, never both. Answers one list a round; raises
Error (EMPTY) where fewer than min_cohort clients, or than the threshold of neighbours, are left.)")
      .def("save", [](PyClient& self) { return self.answer([](secure::Client& client) { return client.save(); }); },
           R"(What the next calls need, for a client whose process ends between messages. As secret as the input. Restore each once: two
inputs under one mask reveal their difference.)")
      .def_static("restore", [](const Settings& settings, std::uint64_t id, const py::object& state) {
             return std::make_unique<PyClient>(settings, id, Bytes(state).values());
           }, "settings"_a, "id"_a, "state"_a,
           R"(The client that was saved, of the same settings and id. Raises Error (CHECKSUM_MISMATCH, WRONG_ROUND, WRONG_PLAN, WRONG_CLIENT).)")
      .def_property_readonly("id", [](const PyClient& self) { return self.client.id(); })
      .def_property_readonly("settings", [](const PyClient& self) { return self.client.settings(); });
}

void bind_server(py::module_& module) {
  py::class_<PyServer>(module, "Server", R"(The server's part in one round of secure aggregation: it forwards keys and shares that it cannot read, adds masked inputs, and
opens their sum with the shares that those who are left reveal.

    server = Server(settings, cohort)
    for _ in range(3):
        for client, message in arrived_in_time():
            server.receive(client, message)         # raises Error for a message of no use: go on
        for client, message in server.close().items():
            send(client, message)
    for client, message in arrived_in_time():
        server.receive(client, message)
    total = server.sum()

cohort: ids of the clients that are asked, as many as settings.clients. May be used from several threads.
Raises Error (BAD_ARGUMENT) for settings and cohorts that cannot be.)")
      .def(py::init<const Settings&, const std::vector<std::uint64_t>&>(), "settings"_a, "cohort"_a)
      .def_property_readonly("phase", [](const PyServer& self) { return name_of(self.server.phase()); },
                             R"(What it waits for: "keys", "shares", "inputs" or "unmasking".)")
      .def("receive", [](PyServer& self, std::uint64_t client, const py::object& message) {
             const Bytes own(message);
             const auto lock = without_gil(self.mutex);
             const py::gil_scoped_release release;
             self.server.receive(client, own.values());
           }, "client"_a, "message"_a,
           R"(A message of the phase, from the client as the caller knows it. All or nothing. Raises Error, which names the client: WRONG_CLIENT: not
asked, or without an answer in an earlier phase; DUPLICATE_CLIENT; WRONG_ROUND, WRONG_PLAN; NOT_A_FRAME, UNKNOWN_VERSION, TRUNCATED,
TRAILING_BYTES, MALFORMED.)")
      .def("close", [](PyServer& self) {
             std::map<std::uint64_t, secure::Bytes> messages;
             {
               const auto lock = without_gil(self.mutex);
               const py::gil_scoped_release release;
               messages = self.server.close();
             }
             py::dict all;
             for (const auto& [client, bytes] : messages) all[py::int_(client)] = to_bytes(bytes);
             return all;
           }, R"(Ends the phase: a dict of the message for each client that has answered in it; who has not is out. Raises Error (EMPTY), and stays in
the phase, where fewer than min_cohort clients are left, or of some client fewer neighbours than the threshold.)")
      .def("sum", [](PyServer& self) {
             std::vector<std::uint32_t> words;
             {
               const auto lock = without_gil(self.mutex);
               const py::gil_scoped_release release;
               words = self.server.sum();
             }
             return py::array_t<std::uint32_t>(static_cast<py::ssize_t>(words.size()), words.data());
           }, R"(Words of the sum of the survivors' inputs, mod 2^bits: uint32, shape [length]. Raises Error: BAD_ARGUMENT before the last phase, EMPTY where
of some client fewer shares than the threshold have come, MALFORMED, naming a client, where it has dealt wrong ones.)")
      .def("survivors", [](PyServer& self) {
             const auto lock = without_gil(self.mutex);
             return self.server.survivors();
           }, "Those who have answered in all phases so far, in rising order; from the last phase on whose inputs are in the sum.")
      .def_property_readonly("settings", [](const PyServer& self) { return self.server.settings(); });
}

}  // namespace

void bind_secure(py::module_& module) {
  bind_settings(module);
  bind_client(module);
  bind_server(module);
  module.def("word_bits", &secure::word_bits, "values"_a, "clients"_a,
             R"(Bits with which a sum of `clients` integers, each one of `values` neighbouring numbers, never wraps. Raises Error (BAD_ARGUMENT) for
more than 32.)");
  module.def("to_words", &to_words, "integers"_a, "bits"_a,
             R"(Integers mod 2^bits: uint32, of as many. Raises Error (BAD_ARGUMENT) for one that is neither a signed nor an unsigned number of so many
bits.)");
  module.def("from_words", &from_words, "words"_a, "bits"_a, "lowest"_a = py::none(),
             R"(The numbers from `lowest` to lowest + 2^bits - 1 whose words these are: int64. lowest: what a sum cannot fall below; by default
-2^(bits-1).)");
}

}  // namespace fewbits::python
