#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <regex>
#include <sstream>

#include "bench/cases.h"
#include "fewbits/error.h"
#include "fewbits/version.h"
#include "kernels/targets.h"

namespace fewbits::bench {
namespace {

using nlohmann::ordered_json;

std::string field(const std::string& file, const std::string& name) {
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);)
    if (line.starts_with(name)) return line.substr(std::min(line.find(':') + 2, line.size()));
  return "";
}

ordered_json machine() {
  std::string flags = " " + field("/proc/cpuinfo", "flags") + " ";
  ordered_json vectors = ordered_json::array();
  for (const char* flag : {"avx2", "avx512f", "avx512bw", "avx512_vbmi"})
    if (flags.find(" " + std::string(flag) + " ") != std::string::npos) vectors.push_back(flag);
  const benchmark::CPUInfo& cpu = benchmark::CPUInfo::Get();
  ordered_json caches = ordered_json::array();
  for (const auto& cache : cpu.caches)
    caches.push_back({{"level", cache.level}, {"type", cache.type}, {"bytes", cache.size}});
  return {{"cpu", field("/proc/cpuinfo", "model name")},
          {"family", field("/proc/cpuinfo", "cpu family")},
          {"model", field("/proc/cpuinfo", "model\t")},
          {"cores", cpu.num_cpus},
          {"vectors", vectors},
          {"caches", caches},
          {"load", cpu.load_avg},
          {"compiler", __VERSION__}};
}

ordered_json to_json(const Result& result) {
  ordered_json json = {{"group", result.group},
                       {"case", result.name},
                       {"kind", to_string(result.kind)},
                       {"log2", result.log2},
                       {"items", result.items},
                       {"seconds", result.timing.best},
                       {"median_seconds", result.timing.median},
                       {"rounds", result.timing.rounds.size()},
                       {"gigabytes_per_second", result.gigabytes_per_second()}};
  for (const auto& [name, ratio] : result.ratios)
    json["ratios"][name] = {{"best", ratio.best}, {"median", ratio.median}};
  return json;
}

void print(const Result& result) {
  std::string ratios;
  for (const auto& [name, ratio] : result.ratios) {
    char text[80];
    std::snprintf(text, sizeof text, "  %s %.3g (%.3g)", name.c_str(), ratio.best, ratio.median);
    ratios += text;
  }
  const std::string name = result.group + "/2^" + std::to_string(result.log2) + " " + result.name;
  std::printf("%-58s %11.2f %11.2f %8.2f %s\n", name.c_str(), result.timing.best * 1e6, result.timing.median * 1e6,
              result.gigabytes_per_second(), ratios.c_str());
  std::fflush(stdout);
}

struct Arguments {
  std::string filter;
  std::string json;
  std::vector<unsigned> sizes = {12, 16, 20, 24};
  bool quick = false;
  bool long_run = false;
  bool list = false;
  Options options;
};

void run_all(const Arguments& arguments) {
  std::vector<Group> groups;
  for (auto* make : {kernel_groups, aggregation_groups, plan_groups, stage_groups, secure_groups})
    for (Group& group : make(arguments.sizes)) groups.push_back(std::move(group));
  const std::regex filter(arguments.filter);
  std::erase_if(groups, [&](const Group& group) {
    return (group.heavy && !arguments.long_run) || !std::regex_search(group.full_name(), filter);
  });
  if (arguments.list) {
    for (const Group& group : groups) std::puts(group.full_name().c_str());
    return;
  }
  std::printf("target %s; GB/s: 4 bytes a value of float input; then speed over that of what stands beside it,\n"
              "fastest round over fastest round (median of the rounds' ratios)\n\n",
              std::string(targets::chosen().name).c_str());
  std::printf("%-58s %11s %11s %8s\n", "case", "us, best", "us, median", "GB/s");
  ordered_json results = ordered_json::array();
  for (const Group& group : groups)
    for (const Result& result : run(group, arguments.options)) {
      if (result.kind != Kind::kSubject || !result.name.ends_with("(portable)")) print(result);
      results.push_back(to_json(result));
    }
  if (arguments.json.empty()) return;
  std::ofstream out(arguments.json);
  out << ordered_json{{"version", kVersion},
                      {"target", targets::chosen().name},
                      {"machine", machine()},
                      {"results", results}}
             .dump(1)
      << '\n';
  if (!out.flush()) throw std::runtime_error(arguments.json + " cannot be written");
}

}  // namespace
}  // namespace fewbits::bench

int main(int argc, char** argv) {
  CLI::App app("times of fewbits beside those of its yardsticks and peers, interleaved (docs/performance.md)");
  fewbits::bench::Arguments arguments;
  app.add_option("--filter,--benchmark_filter", arguments.filter, "groups whose name this regular expression finds");
  app.add_option("--json", arguments.json, "file for the results");
  app.add_option("--sizes", arguments.sizes, "exponents of 2: numbers of values")->delimiter(',')->check(CLI::Range(10, 26));
  app.add_flag("--quick", arguments.quick, "2^12 and 2^16 alone, fewer rounds: under a minute");
  app.add_flag("--long", arguments.long_run, "the largest sizes of slow cases too");
  app.add_flag("--list", arguments.list, "names of the groups that would run");
  app.add_option("--seconds", arguments.options.budget, "for a group; three to five rounds are run however long they take")
      ->capture_default_str();
  try {
    app.parse(argc, argv);
    if (arguments.quick) {
      arguments.sizes = {12, 16};
      arguments.options.budget = std::min(arguments.options.budget, 0.1);
    }
    fewbits::bench::run_all(arguments);
    return 0;
  } catch (const CLI::ParseError& error) {
    return app.exit(error);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "fewbits_bench: %s\n", error.what());
    return 1;
  }
}
