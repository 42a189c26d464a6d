#include <CLI/CLI.hpp>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <exception>
#include <new>
#include <string>

#include "cli/common.h"
#include "cli/train.h"
#include "fewbits/error.h"
#include "fewbits/version.h"

namespace {

constexpr int kBadInput = 2;
constexpr int kFailed = 1;
constexpr int kReaderGone = 128 + SIGPIPE;  // what the shell says of a program that a closed pipe ends

int report(int code, const char* what) {
  std::fflush(stdout);
  std::fprintf(stderr, "fewbits: %s\n", what);
  return code;
}

// A reader that has seen enough, as head, is no failure to speak of.
int finish_output() {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return 0;
  return errno == EPIPE ? kReaderGone : report(kFailed, "cannot write the output");
}

// One line, whatever the parser makes of it.
std::string one_line(std::string text) {
  for (char& c : text)
    if (c == '\n') c = ' ';
  return text.substr(0, text.find_last_not_of(' ') + 1);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "fewbits sends model updates of federated training in a few bits a coordinate, and keeps their mean right.",
      "fewbits");
  app.set_version_flag("--version", "fewbits " + std::string(fewbits::kVersion));
  app.require_subcommand(1);
  app.footer(R"(Examples:
  fewbits measure --plan 'hadamard+quantize:bits=2' normal:2^20
  fewbits train --plan f32 --plan 'hadamard+mask:keep=0.0625+quantize:bits=2' --out out/run
  fewbits COMMAND --help)");
  try {
    add_train_command(app);
    fewbits::cli::add_measure_command(app);
    fewbits::cli::add_encode_command(app);
    fewbits::cli::add_decode_command(app);
    fewbits::cli::add_aggregate_command(app);
    fewbits::cli::add_describe_command(app);
    fewbits::cli::add_inspect_command(app);
    fewbits::cli::add_stages_command(app);
    fewbits::cli::add_privacy_command(app);
    fewbits::cli::add_attack_command(app);
    fewbits::cli::add_report_command(app);
    app.parse(argc, argv);
    return finish_output();
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    std::string help = "; see fewbits ";
    for (const CLI::App* command : app.get_subcommands()) help += command->get_name() + " ";
    return report(kBadInput, one_line(error.what() + help + "--help").c_str());
  } catch (const fewbits::Error& error) {
    return report(kBadInput, one_line(error.what()).c_str());
  } catch (const std::bad_alloc&) {
    return report(kFailed, "out of memory");
  } catch (const std::exception& error) {
    return report(kFailed, one_line(error.what()).c_str());
  }
}
