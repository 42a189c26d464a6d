#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fewbits::datasets {

// "name:key=value,key=value", the form in which partitions and models are chosen.
class Spec {
 public:
  // Throws kBadArgument for a parameter without name or value, or given twice. `what` names the thing in messages.
  Spec(std::string_view what, std::string_view text);

  const std::string& name() const noexcept { return name_; }
  const std::string& text() const noexcept { return text_; }

  // Throws kBadArgument when a parameter is none of `known`, and says which are.
  void allow_only(const std::vector<std::string>& known) const;

  bool has(std::string_view key) const;
  const std::string& value(std::string_view key) const;  // throws kBadArgument when it is not given

  // Value of `key`, in [least, most]. Throws kBadArgument when it is not given or no such number.
  double number(std::string_view key, double least, double most) const;
  std::uint64_t integer(std::string_view key, std::uint64_t least, std::uint64_t most) const;
  std::uint64_t integer(std::string_view key, std::uint64_t least, std::uint64_t most, std::uint64_t fallback) const;

 private:
  std::string what_;
  std::string text_;
  std::string name_;
  std::vector<std::pair<std::string, std::string>> parameters_;
};

}  // namespace fewbits::datasets
