#pragma once

#include <CLI/CLI.hpp>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "fewbits/codec.h"
#include "fewbits/layout.h"

// What the subcommands share.
namespace fewbits::cli {

using nlohmann::ordered_json;

// "1048576", "2^20", "1e6": a number of coordinates. Throws kBadArgument.
std::size_t parse_count(const std::string& text);

// --size N or --like FILE.
struct LayoutOptions {
  std::string size;
  std::string like;

  void add_to(CLI::App& command);
  bool given() const noexcept { return !size.empty() || !like.empty(); }
  Layout layout() const;  // throws kBadArgument where neither was given
};

// For integer options: decimal digits that fit 64 bits. CLI11 2.1 takes -1 for 2^64 - 1, and larger numbers too.
CLI::Validator whole_number();

// --seed, with the same words everywhere.
void add_seed(CLI::App& command, std::uint64_t& seed);
void add_plan(CLI::App& command, std::string& plan);
void add_json(CLI::App& command, bool& json);

// --profile, the file of scales that a plan with scale=profile is used with.
CLI::Option* add_profile(CLI::App& command, std::string& profile);

// `codec` with that profile; itself where `path` is empty. Throws Error that names the file.
Codec with_profile(const Codec& codec, const std::string& path);

// Throws kBadArgument unless a stage of the plan has scale=profile; `option` is what wants it.
void check_takes_profile(const Codec& codec, const std::string& option);

// "always", "over rotations", "no".
std::string to_string(Unbiased unbiased);

// Four significant digits, for people.
std::string number(double value);

// Columns padded to the widest cell; the first is aligned to the left, the others to the right.
std::string table(const std::vector<std::vector<std::string>>& rows);

void print(const std::string& text);
void print_json(const ordered_json& json);

double bits_per_coordinate(double bytes, std::size_t coordinates);

// One function a subcommand.
void add_attack_command(CLI::App& app);
void add_measure_command(CLI::App& app);
void add_encode_command(CLI::App& app);
void add_decode_command(CLI::App& app);
void add_aggregate_command(CLI::App& app);
void add_describe_command(CLI::App& app);
void add_inspect_command(CLI::App& app);
void add_privacy_command(CLI::App& app);
void add_report_command(CLI::App& app);
void add_stages_command(CLI::App& app);

}  // namespace fewbits::cli
