#include "datasets/spec.h"

#include <algorithm>
#include <charconv>
#include <sstream>

#include "fewbits/error.h"

namespace fewbits::datasets {
namespace {

std::string shortest(double value) {
  std::ostringstream out;
  out << value;
  return out.str();
}

template <typename Number>
bool parse(const std::string& text, Number& value) {
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  return error == std::errc() && stop == end;
}

}  // namespace

Spec::Spec(std::string_view what, std::string_view text) : what_(what), text_(text) {
  const std::size_t colon = text.find(':');
  name_ = text.substr(0, colon);
  if (colon == std::string_view::npos) return;
  for (std::size_t begin = colon + 1; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    const std::string_view item = text.substr(begin, end - begin);
    const std::size_t equals = item.find('=');
    if (equals == std::string_view::npos || equals == 0 || equals + 1 == item.size()) {
      throw Error(Errc::kBadArgument, what_ + " '" + text_ + "': expected key=value, found '" + std::string(item) + "'");
    }
    std::string key(item.substr(0, equals));
    if (has(key)) throw Error(Errc::kBadArgument, what_ + " '" + text_ + "' gives '" + key + "' twice");
    parameters_.emplace_back(std::move(key), item.substr(equals + 1));
    begin = end + 1;
  }
}

void Spec::allow_only(const std::vector<std::string>& known) const {
  for (const auto& parameter : parameters_) {
    if (std::find(known.begin(), known.end(), parameter.first) != known.end()) continue;
    std::string choices;
    for (const std::string& name : known) choices += (choices.empty() ? "" : ", ") + name;
    throw Error(Errc::kBadArgument, what_ + " '" + name_ + "' has no parameter '" + parameter.first + "'; " +
                                        (choices.empty() ? "it has none" : "it has: " + choices));
  }
}

bool Spec::has(std::string_view key) const {
  return std::any_of(parameters_.begin(), parameters_.end(), [&](const auto& item) { return item.first == key; });
}

const std::string& Spec::value(std::string_view key) const {
  for (const auto& [name, value] : parameters_) {
    if (name == key) return value;
  }
  throw Error(Errc::kBadArgument,
              what_ + " '" + text_ + "' lacks '" + std::string(key) + "': write " + name_ + ":" + std::string(key) + "=...");
}

double Spec::number(std::string_view key, double least, double most) const {
  const std::string& text = value(key);
  double number = 0;
  if (!parse(text, number) || !(number >= least && number <= most)) {
    throw Error(Errc::kBadArgument, what_ + " '" + text_ + "': '" + std::string(key) + "' is '" + text +
                                        "', expected a number from " + shortest(least) + " to " + shortest(most));
  }
  return number;
}

std::uint64_t Spec::integer(std::string_view key, std::uint64_t least, std::uint64_t most) const {
  const std::string& text = value(key);
  std::uint64_t number = 0;
  if (!parse(text, number) || number < least || number > most) {
    throw Error(Errc::kBadArgument, what_ + " '" + text_ + "': '" + std::string(key) + "' is '" + text +
                                        "', expected an integer from " + std::to_string(least) + " to " +
                                        std::to_string(most));
  }
  return number;
}

std::uint64_t Spec::integer(std::string_view key, std::uint64_t least, std::uint64_t most,
                            std::uint64_t fallback) const {
  return has(key) ? integer(key, least, most) : fallback;
}

}  // namespace fewbits::datasets
