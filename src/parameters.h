#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace fewbits {

enum class ParameterType { kInteger, kNumber, kChoice };

// One parameter that a stage takes in a plan.
struct ParameterSpec {
  std::string_view name;
  ParameterType type = ParameterType::kInteger;
  double min = 0;                       // of numbers; excluded where min_excluded
  double max = 0;
  bool min_excluded = false;
  std::string_view choices = {};        // "round|client"; N in "block:N" stands for a number, 1..2^24
  std::string_view default_value = {};  // empty: must be given
  std::string_view summary = {};
  bool rate_wish = false;               // steers the encoder only, so it is left out of the fingerprint
  bool optional = false;                // may be left out; it has no default

  std::string range() const;            // "1..8", "(0, 1]", "round|client"
  std::string_view type_name() const noexcept;
};

// How many of n values a share `keep` of them is: to the nearest, halves up, at least one where there is any.
std::size_t kept_of(double keep, std::size_t n) noexcept;

// The values of a stage's parameters, complete and within their ranges.
class Parameters {
 public:
  // Throws Error kBadPlan with what is wrong and what would be right; the offset is one within `text`.
  // `text` is what follows the first colon: "key=value,key=value". `stage` is named in messages.
  Parameters(std::string_view stage, std::span<const ParameterSpec> specs, std::string_view text);

  bool has(std::string_view name) const;   // of an optional one
  std::int64_t integer(std::string_view name) const;
  double number(std::string_view name) const;
  std::string_view choice(std::string_view name) const;

  // "key=value,..." of all parameters in the order of the specification, defaults included.
  std::string text(bool with_rate_wishes = true) const;

 private:
  struct Value {
    const ParameterSpec* spec;
    std::string text;   // canonical
    double number = 0;
  };
  const Value& find(std::string_view name) const;

  std::vector<Value> values_;
};

}  // namespace fewbits
