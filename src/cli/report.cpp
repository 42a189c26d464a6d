#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include "cli/common.h"
#include "fewbits/error.h"

namespace fewbits::cli {
namespace {

struct ReportOptions {
  std::string folder;
  std::string file;
};

// Pictures are matplotlib's, so the Python package writes the report; this becomes its process.
[[noreturn]] void run_python(const ReportOptions& options) {
  std::vector<std::string> words = {"python3", "-m", "fewbits", "report", options.folder};
  if (!options.file.empty()) words.insert(words.end(), {"--out", options.file});
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  std::fflush(stdout);
  ::execvp(arguments.front(), arguments.data());
  throw Error(Errc::kBadArgument, std::string("python3 cannot be run: ") + std::strerror(errno));
}

}  // namespace

void add_report_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("report", "a run of `fewbits train` as one HTML file with tables and pictures");
  const auto options = std::make_shared<ReportOptions>();
  command->add_option("FOLDER", options->folder, "that `fewbits train --out` wrote; a frontier.json in it is shown too")->required();
  command->add_option("--out", options->file, "the file [FOLDER/report.html]");
  command->footer(R"(Needs the Python package fewbits and matplotlib where python3 finds them: pip install '.[plot]'.

Example:
  fewbits report out/demo)");
  command->callback([options] { run_python(*options); });
}

}  // namespace fewbits::cli
