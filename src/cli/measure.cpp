#include <algorithm>
#include <memory>

#include "cli/common.h"
#include "cli/frontier.h"
#include "cli/measurement.h"
#include "fewbits/codec.h"
#include "fewbits/error.h"

namespace fewbits::cli {
namespace {

constexpr std::size_t kRepeats = 10;
constexpr std::size_t kFrontierRepeats = 3;

struct MeasureOptions {
  std::vector<std::string> plans;
  std::string profile;
  std::vector<std::string> inputs;
  std::size_t repeats = 0;   // 0: not given
  std::uint64_t seed = 1;
  bool json = false;
  bool frontier = false;
  std::vector<std::string> matching;
  std::size_t threads = 0;
};

std::string to_text(const std::vector<Measurement>& all, const std::string& notes) {
  std::vector<std::vector<std::string>> rows = {measurement_columns()};
  bool structured = false;
  for (const Measurement& m : all) {
    structured = structured || m.structured;
    rows.push_back(measurement_cells(m));
  }
  std::string text = table(rows) + "\n" + notes;
  if (structured)
    text +=
        "Structured plans: errors are against the update's nearest member of the round's family, as if trained in it; "
        "bits and\n"
        "nanoseconds are per coordinate of the whole update.\n";
  return text;
}

void measure_plans(const MeasureOptions& options) {
  if (options.plans.empty())
    throw Error(Errc::kBadArgument, "--plan is required, or --frontier for those of the catalogue");
  const Updates updates = read_updates(options.inputs, options.seed);
  const std::size_t repeats = options.repeats != 0 ? options.repeats : kRepeats;
  std::vector<Codec> codecs;   // all are right before one is run
  for (const std::string& plan : options.plans) codecs.push_back(Codec::compile(plan, updates.layout));
  // The profile goes to those of the plans that take one.
  if (!options.profile.empty()) {
    if (std::ranges::none_of(codecs, &Codec::takes_profile)) check_takes_profile(codecs.front(), "--profile");
    for (Codec& codec : codecs)
      if (codec.takes_profile()) codec = with_profile(codec, options.profile);
  }
  std::vector<Measurement> all;
  {
    MeasureProgress progress;
    for (std::size_t i = 0; i < codecs.size(); ++i)
      all.push_back(measure_plan(options.plans[i], codecs[i], updates, repeats, options.seed, &progress));
  }
  if (options.json) {
    ordered_json list = ordered_json::array();
    for (const Measurement& m : all) list.push_back(to_json(m));
    print_json(list);
  } else {
    print(to_text(all, measurement_notes(updates, repeats, options.seed)));
  }
}

void measure_catalogue(const MeasureOptions& options) {
  const Updates updates = read_updates(options.inputs, options.seed);
  const FrontierOptions frontier_options{options.plans, options.matching,
                                         options.repeats != 0 ? options.repeats : kFrontierRepeats, options.seed,
                                         options.threads, options.profile};
  const Frontier frontier = measure_frontier(updates, frontier_options);
  if (options.json)
    print_json(to_json(frontier, updates, frontier_options));
  else
    print(to_text(frontier, updates, frontier_options));
}

}  // namespace

void add_measure_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("measure", "rate, error, bias and speed of plans on a vector, by real frames");
  const auto options = std::make_shared<MeasureOptions>();
  command->add_option("--plan", options->plans, "a plan; may be given several times")
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  CLI::Option* frontier = command->add_flag(
      "--frontier", options->frontier,
      "all plans of a catalogue, from 0.003 to 8 bits a coordinate, beside those given");
  command
      ->add_option("--plans-matching", options->matching,
                   "of the catalogue only plans and families whose text contains this; may be given several times")
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->needs(frontier);
  command
      ->add_option("--threads", options->threads,
                   "of --frontier, each with a plan; 0: all cores. Figures do not depend on it, but times do")
      ->capture_default_str()
      ->check(whole_number())
      ->check(CLI::Range(std::size_t{0}, std::size_t{1024}))
      ->needs(frontier);
  command
      ->add_option("--repeats", options->repeats,
                   "frames a plan and update; bias needs many [" + std::to_string(kRepeats) + "; of --frontier " +
                       std::to_string(kFrontierRepeats) + "]")
      ->check(whole_number())
      ->check(CLI::Range(std::size_t{1}, std::size_t{kMaxRound}));
  add_profile(*command, options->profile);
  add_seed(*command, options->seed);
  add_json(*command, options->json);
  command
      ->add_option("INPUT", options->inputs,
                   "normal:N, lognormal:N[,sigma], update.npy, updates.npz, or a folder of such files; figures of "
                   "several files are means")
      ->required();
  command->footer(R"(N may be written 1048576, 2^20 or 1e6. Times are of the fastest repeat, one thread.

Examples:
  fewbits measure --plan 'hadamard+quantize:bits=2' --plan bf16 normal:2^20
  fewbits measure --plan 'mask:keep=0.1+f32' --repeats 1000 --json lognormal:65536,2
  fewbits measure --plan '<1024=f32; *=hadamard+quantize:bits=1' updates.npz
  fewbits measure --plan trellis:bits=0.5 --plan trellis:scale=profile,bits=0.5 --profile round3.profile updates.npz
  fewbits measure --frontier normal:2^18
  fewbits measure --frontier --plans-matching trellis --plans-matching EDEN --json out/updates > frontier.json
      and then: python -m fewbits.frontier frontier.json)");
  command->callback([options] {
    if (options->frontier)
      measure_catalogue(*options);
    else
      measure_plans(*options);
  });
}

}  // namespace fewbits::cli
