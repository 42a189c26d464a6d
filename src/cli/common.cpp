#include "cli/common.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "fewbits/error.h"
#include "fewbits/profile.h"
#include "io/arrays.h"

namespace fewbits::cli {

std::size_t parse_count(const std::string& text) {
  double value = 0;
  const char* const last = text.data() + text.size();
  auto [end, error] = std::from_chars(text.data(), last, value);
  if (error == std::errc() && end != last && *end == '^') {
    double exponent = 0;
    const auto power = std::from_chars(end + 1, last, exponent);
    error = power.ec;
    end = power.ptr;
    value = std::pow(value, exponent);
  }
  if (error != std::errc() || end != last || !(value >= 0) || value != std::floor(value) ||
      value > static_cast<double>(Layout::kMaxElements))
    throw Error(Errc::kBadArgument, "'" + text + "' is no number of coordinates; write 1048576, 2^20 or 1e6, up to " +
                                        std::to_string(Layout::kMaxElements));
  return static_cast<std::size_t>(value);
}

void LayoutOptions::add_to(CLI::App& command) {
  CLI::Option* size_option =
      command.add_option("--size", size, "coordinates of an update that is one vector: 1048576, 2^20, 1e6");
  command.add_option("--like", like, ".npy or .npz whose names and shapes are the layout")->excludes(size_option);
}

Layout LayoutOptions::layout() const {
  if (!like.empty()) return io::read_arrays(like).layout;
  if (size.empty()) throw Error(Errc::kBadArgument, "give --size N or --like FILE: a frame does not say its layout");
  return Layout(parse_count(size));
}

CLI::Validator whole_number() {
  return CLI::Validator(
      [](std::string& text) {
        std::uint64_t value = 0;
        const char* const last = text.data() + text.size();
        const auto [end, error] = std::from_chars(text.data(), last, value);
        return error == std::errc() && end == last ? std::string()
                                                   : "'" + text + "' is no whole number from 0 to 2^64 - 1";
      },
      "", "whole number");
}

void add_seed(CLI::App& command, std::uint64_t& seed) {
  command.add_option("--seed", seed, "of the shared randomness; the same for clients and server")
      ->capture_default_str()
      ->check(whole_number());
}

void add_plan(CLI::App& command, std::string& plan) {
  command.add_option("--plan", plan, "how updates are coded, as 'hadamard+quantize:bits=2'; see fewbits stages")
      ->required();
}

CLI::Option* add_profile(CLI::App& command, std::string& profile) {
  return command.add_option("--profile", profile, "file of the scales that the server has learned, for plans with scale=profile");
}

void check_takes_profile(const Codec& codec, const std::string& option) {
  if (!codec.takes_profile())
    throw Error(Errc::kBadArgument, option + " needs a plan with scale=profile, as 'trellis:scale=profile,bits=0.5'; '" +
                                        codec.plan() + "' has none");
}

Codec with_profile(const Codec& codec, const std::string& path) {
  if (path.empty()) return codec;
  check_takes_profile(codec, "--profile");
  const std::vector<std::byte> bytes = io::read_file(path);
  try {
    return codec.with_profile(Profile::from_bytes(codec.layout(), bytes));
  } catch (const Error& error) {
    throw Error(error.code(), path + ": " + error.what());
  }
}

void add_json(CLI::App& command, bool& json) { command.add_flag("--json", json, "print JSON"); }

std::string to_string(Unbiased unbiased) {
  switch (unbiased) {
    case Unbiased::kAlways:
      return "always";
    case Unbiased::kOverRotations:
      return "over rotations";
    case Unbiased::kNo:
      return "no";
  }
  return "";
}

std::string number(double value) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "%.4g", value);
  return buffer;
}

std::string table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      const std::string padding(widths[i] - row[i].size(), ' ');
      line += i == 0 ? row[i] + padding : "  " + padding + row[i];
    }
    text += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  }
  return text;
}

void print(const std::string& text) { std::fputs(text.c_str(), stdout); }
void print_json(const ordered_json& json) {
  print(json.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n");  // names of files may be no UTF-8
}

double bits_per_coordinate(double bytes, std::size_t coordinates) {
  return coordinates == 0 ? 0 : 8 * bytes / static_cast<double>(coordinates);
}

}  // namespace fewbits::cli
