#include "parameters.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "fewbits/error.h"
#include "kernels/check.h"

namespace fewbits {
namespace {

template <class Number>
std::string shortest(Number value) {
  char buffer[32];
  const auto [end, error] = std::to_chars(buffer, buffer + sizeof buffer, value);
  std::string text(buffer, end);
  std::erase(text, '+');   // of an exponent: in a plan it joins stages
  return text;
}

std::string canonical(ParameterType type, double value) {
  return type == ParameterType::kInteger ? shortest(static_cast<std::int64_t>(value)) : shortest(value);
}

// Splits "a|b|c" and calls visit(choice) until it returns true.
template <class Visit>
bool any_choice(std::string_view choices, Visit visit) {
  while (true) {
    const std::size_t bar = choices.find('|');
    if (visit(choices.substr(0, bar))) return true;
    if (bar == std::string_view::npos) return false;
    choices.remove_prefix(bar + 1);
  }
}

// Whether `value` is `choice`, in which N stands for a number without leading zeros.
bool is_choice(std::string_view choice, std::string_view value) {
  if (!choice.ends_with(":N")) return choice == value;
  choice.remove_suffix(1);
  if (!value.starts_with(choice)) return false;
  value.remove_prefix(choice.size());
  std::uint32_t number = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
  return error == std::errc{} && end == value.data() + value.size() && number >= 1 && number <= 1u << 24 && value[0] != '0';
}

std::string names_of(std::span<const ParameterSpec> specs) {
  std::string all;
  for (const auto& spec : specs) all += (all.empty() ? "" : ", ") + std::string(spec.name);
  return all;
}

bool in_range(const ParameterSpec& spec, double value) {
  return (spec.min_excluded ? value > spec.min : value >= spec.min) && value <= spec.max;
}

}  // namespace

std::string ParameterSpec::range() const {
  if (type == ParameterType::kChoice) return std::string(choices);
  const std::string least = canonical(type, min);
  const std::string most = canonical(type, max);
  if (type == ParameterType::kInteger) return least + ".." + most;
  return (min_excluded ? "(" : "[") + least + ", " + most + "]";
}

std::string_view ParameterSpec::type_name() const noexcept {
  switch (type) {
    case ParameterType::kInteger: return "integer";
    case ParameterType::kNumber: return "number";
    case ParameterType::kChoice: return "choice";
  }
  return "";
}

Parameters::Parameters(std::string_view stage, std::span<const ParameterSpec> specs, std::string_view text) {
  const auto fail = [](const std::string& message, std::size_t offset) { throw Error(Errc::kBadPlan, message, offset); };

  std::vector<std::string_view> given(specs.size());
  std::vector<std::size_t> offsets(specs.size(), 0);
  for (std::size_t position = 0; position < text.size();) {
    const std::size_t end = std::min(text.find(',', position), text.size());
    const std::string_view item = text.substr(position, end - position);
    const std::size_t equals = item.find('=');
    const std::string_view name = item.substr(0, equals);
    const auto spec = std::ranges::find(specs, name, &ParameterSpec::name);
    if (spec == specs.end())
      fail(specs.empty() ? "'" + std::string(stage) + "' takes no parameters"
                         : "'" + std::string(stage) + "' has no parameter '" + std::string(name) + "'; it has " +
                               names_of(specs), position);
    if (equals == std::string_view::npos || equals + 1 == item.size())
      fail("parameter '" + std::string(name) + "' needs a value: " + std::string(name) + "=" + spec->range(), position);
    const auto index = static_cast<std::size_t>(spec - specs.begin());
    if (!given[index].empty()) fail("parameter '" + std::string(name) + "' is given twice", position);
    given[index] = item.substr(equals + 1);
    offsets[index] = position + equals + 1;
    position = end + 1;
    if (position == text.size()) fail("a parameter must follow the comma", position);
  }

  for (std::size_t i = 0; i < specs.size(); ++i) {
    const ParameterSpec& spec = specs[i];
    std::string_view value = given[i].empty() ? spec.default_value : given[i];
    if (value.empty() && spec.optional) continue;
    if (value.empty())
      fail("'" + std::string(stage) + "' needs " + std::string(spec.name) + "=" + spec.range(), text.size());
    const auto refuse = [&] {
      fail(std::string(spec.name) + "=" + std::string(value) + " is not in " + spec.range(), offsets[i]);
    };
    Value parsed{&spec, std::string(value), 0};
    if (spec.type == ParameterType::kChoice) {
      if (!any_choice(spec.choices, [&](std::string_view choice) { return is_choice(choice, value); })) refuse();
    } else {
      const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), parsed.number);
      if (error != std::errc{} || end != value.data() + value.size() || !in_range(spec, parsed.number)) refuse();
      if (spec.type == ParameterType::kInteger && parsed.number != std::floor(parsed.number)) refuse();
      parsed.text = canonical(spec.type, parsed.number);
    }
    values_.push_back(std::move(parsed));
  }
}

const Parameters::Value& Parameters::find(std::string_view name) const {
  const auto value = std::ranges::find(values_, name, [](const Value& v) { return v.spec->name; });
  FEWBITS_DCHECK(value != values_.end());
  return *value;
}

bool Parameters::has(std::string_view name) const {
  return std::ranges::any_of(values_, [&](const Value& v) { return v.spec->name == name; });
}

std::int64_t Parameters::integer(std::string_view name) const { return static_cast<std::int64_t>(find(name).number); }
double Parameters::number(std::string_view name) const { return find(name).number; }
std::string_view Parameters::choice(std::string_view name) const { return find(name).text; }

std::string Parameters::text(bool with_rate_wishes) const {
  std::string all;
  for (const auto& [spec, text, number] : values_) {
    if (spec->rate_wish && !with_rate_wishes) continue;
    all += (all.empty() ? "" : ",") + std::string(spec->name) + "=" + text;
  }
  return all;
}

std::size_t kept_of(double keep, std::size_t n) noexcept {
  if (n == 0) return 0;
  const double wanted = std::floor(keep * static_cast<double>(n) + 0.5);
  return std::clamp<std::size_t>(static_cast<std::size_t>(wanted), 1, n);
}

}  // namespace fewbits
