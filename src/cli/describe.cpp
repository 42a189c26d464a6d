#include <memory>

#include "cli/common.h"
#include "fewbits/stages.h"
#include "io/arrays.h"

namespace fewbits::cli {
namespace {

constexpr std::size_t kDefaultSize = 1 << 20;

std::string bound(const std::optional<double>& value) { return value ? "at most " + number(*value) : "no bound"; }

ordered_json or_null(const std::optional<double>& value) { return value ? ordered_json(*value) : ordered_json(); }

std::string hexadecimal(std::uint64_t value) {
  char buffer[19];
  std::snprintf(buffer, sizeof buffer, "%016llx", static_cast<unsigned long long>(value));
  return buffer;
}

const char* when(Unbiased unbiased) {
  switch (unbiased) {
    case Unbiased::kAlways:
      return "for every update, over the shared randomness";
    case Unbiased::kOverRotations:
      return "over random rotations of its own";
    case Unbiased::kNo:
      return "its mean error does not vanish";
  }
  return "";
}

ordered_json to_json(const Description& d) {
  ordered_json groups = ordered_json::array();
  for (const GroupDescription& g : d.groups)
    groups.push_back({{"rule", g.rule},
                      {"stages", g.stages},
                      {"tensors", g.tensors},
                      {"coordinates", g.coordinates},
                      {"values", g.values},
                      {"unbiased", to_string(g.unbiased)},
                      {"nmse_bound", or_null(g.nmse_bound)},
                      {"norm_growth", or_null(g.norm_growth)},
                      {"norm_added", g.norm_added},
                      {"max_bytes", g.max_bytes},
                      {"fixed_size", g.fixed_size},
                      {"sum_domain", g.sum_domain}});
  ordered_json all = {{"plan", d.plan},
          {"structure", d.structure.empty() ? ordered_json() : ordered_json(d.structure)},
          {"coordinates", d.coordinates},
          {"parameters", d.parameters},
          {"unbiased", to_string(d.unbiased)},
          {"nmse_bound", or_null(d.nmse_bound)},
          {"norm_growth", or_null(d.norm_growth)},
          {"norm_added", d.norm_added},
          {"max_frame_bytes", d.max_frame_bytes},
          {"fixed_size", d.fixed_size},
          {"max_bits_per_coordinate", d.max_rate},
          {"groups", groups}};
  if (d.cohort != 0) all["cohort"] = d.cohort;
  return all;
}

// Of a plan or one of its rules.
std::string growth(const auto& of) {
  if (!of.norm_growth) return "grows without a bound that is of use: for privacy the server clips again what it has decoded";
  return "grows at most " + number(*of.norm_growth) + " times" + (of.norm_added > 0 ? ", and by " + number(of.norm_added) : std::string());
}

std::string to_text(const Description& d, std::uint64_t fingerprint) {
  std::string text = "plan         " + d.plan + "\n";
  if (!d.structure.empty())
    text += "structure    " + d.structure + ": " + std::to_string(d.parameters) + " free parameters stand for " +
            std::to_string(d.coordinates) +
            " coordinates;\n             NMSE, norm and rules are about the free parameters\n";
  else
    text += "coordinates  " + std::to_string(d.coordinates) + "\n";
  text += "unbiased     " + to_string(d.unbiased) + ": " + when(d.unbiased) + "\n";
  text += "NMSE         " + bound(d.nmse_bound) + " of one client, for every update\n";
  text += "norm         " + growth(d) + "\n";
  text += "frame        at most " + std::to_string(d.max_frame_bytes) + " bytes, " + number(d.max_rate) +
          " bits a coordinate" +
          (d.fixed_size ? "; the same for every update, but for the 2 to 14 bytes of round and client" : "") + "\n";
  text += "fingerprint  " + hexadecimal(fingerprint) + ", which all its frames carry\n";
  if (d.cohort != 0) text += "cohort       made for " + std::to_string(d.cohort) + " clients a round, each in a place of its own\n";
  for (const GroupDescription& g : d.groups) {
    text += "\nrule " + g.rule + "\n";
    text += "  stages       " + g.stages + "\n";
    text += "  tensors      " + std::to_string(g.tensors) + ", of " + std::to_string(g.coordinates) + " coordinates; " +
            std::to_string(g.values) + " values are coded\n";
    text += "  unbiased     " + to_string(g.unbiased) + "; NMSE " + bound(g.nmse_bound) + "; norm " +
            growth(g) + "\n";
    text += "  section      " + std::string(g.fixed_size ? "always " : "at most ") + std::to_string(g.max_bytes) +
            " bytes\n";
    text += "  summed in    " +
            (g.sum_domain == "update" ? std::string("the update's coordinates")
                                      : "the domain behind " + g.sum_domain + ", undone once a round") +
            "\n";
  }
  return text;
}

std::string to_text(const std::vector<ParameterInfo>& parameters) {
  std::string text;
  for (const ParameterInfo& p : parameters)
    text += "    " + p.name + "=" + p.range +
            (p.optional                ? ", optional"
             : p.default_value.empty() ? ", must be given"
                                       : ", default " + p.default_value) +
            ": " + p.summary + "\n";
  return text;
}

std::string to_text(const StageInfo& stage) {
  std::string roles;
  for (const std::string& role : stage.roles) roles += (roles.empty() ? "" : ", ") + role;
  return stage.name + "  (" + roles + ", id " + std::to_string(stage.id) + ")\n  " + stage.summary + "\n" +
         to_text(stage.parameters) + "  source: " + stage.source + "\n";
}

std::string to_text(const PresetInfo& preset) {
  return preset.name + "  (stands for " + preset.stages + ")\n  " + preset.summary + "\n" + to_text(preset.parameters) +
         "  source: " + preset.source + "\n";
}

ordered_json to_json(const std::vector<ParameterInfo>& parameters) {
  ordered_json all = ordered_json::array();
  for (const ParameterInfo& p : parameters)
    all.push_back({{"name", p.name},
                   {"type", p.type},
                   {"range", p.range},
                   {"default", p.default_value.empty() ? ordered_json() : ordered_json(p.default_value)},
                   {"optional", p.optional},
                   {"summary", p.summary}});
  return all;
}

ordered_json to_json(const StageInfo& stage) {
  return {{"id", stage.id},           {"name", stage.name},     {"roles", stage.roles},
          {"summary", stage.summary}, {"source", stage.source}, {"parameters", to_json(stage.parameters)}};
}

// In the list of stages, where it has no id and stands for others.
ordered_json to_json(const PresetInfo& preset) {
  return {{"id", nullptr},
          {"name", preset.name},
          {"roles", {"preset"}},
          {"stages", preset.stages},
          {"summary", preset.summary},
          {"source", preset.source},
          {"parameters", to_json(preset.parameters)}};
}

void inspect_file(const std::string& path, bool json) {
  const std::vector<std::byte> frame = io::read_file(path);
  const FrameInfo info = inspect(frame);
  ordered_json sections = ordered_json::array();
  std::vector<std::vector<std::string>> rows = {{"section", "offset", "bytes"}};
  for (std::size_t i = 0; i < info.sections.size(); ++i) {
    sections.push_back({{"offset", info.sections[i].offset}, {"bytes", info.sections[i].bytes}});
    rows.push_back(
        {std::to_string(i), std::to_string(info.sections[i].offset), std::to_string(info.sections[i].bytes)});
  }
  if (json) {
    print_json({{"bytes", frame.size()},
                {"version", info.version},
                {"required_flags", info.required_flags},
                {"optional_flags", info.optional_flags},
                {"fingerprint", hexadecimal(info.fingerprint)},
                {"round", info.round},
                {"client", info.client},
                {"checksum", info.checksum},
                {"header_bytes", info.header_bytes},
                {"sections", sections}});
    return;
  }
  print("frame        " + std::to_string(frame.size()) + " bytes, format version " + std::to_string(info.version) +
        "\n" + "fingerprint  " + hexadecimal(info.fingerprint) + " (of plan, layout and profile)\n" + "round        " +
        std::to_string(info.round) + "\n" + "client       " + std::to_string(info.client) + "\n" + "flags        " +
        std::to_string(info.required_flags) + " to be understood, " + std::to_string(info.optional_flags) +
        " to be ignored\n" + "checksum     " + hexadecimal(info.checksum).substr(8) + ", right\n" + "header       " +
        std::to_string(info.header_bytes) + " bytes\n" + table(rows));
}

}  // namespace

void add_describe_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("describe", "what a plan promises, before anything is coded");
  struct Options {
    std::string plan;
    std::string profile;
    LayoutOptions layout;
    bool json = false;
  };
  const auto options = std::make_shared<Options>();
  add_plan(*command, options->plan);
  add_profile(*command, options->profile);
  options->layout.add_to(*command);
  add_json(*command, options->json);
  command->footer(R"(Without --size and --like for 1048576 coordinates.

Examples:
  fewbits describe --plan 'hadamard+quantize:bits=2' --size 2^20
  fewbits describe --plan '*.bias=f32; *=mask:keep=0.1+bf16' --like updates.npz
  fewbits describe --plan eden:bits=2        what a name of the literature stands for
  fewbits describe --plan trellis:scale=profile,bits=0.5 --profile round3.profile --like updates.npz)");
  command->callback([options] {
    const Layout layout = options->layout.given() ? options->layout.layout() : Layout(kDefaultSize);
    const Codec codec = with_profile(Codec::compile(options->plan, layout), options->profile);
    const Description description = codec.describe();
    if (options->json) {
      ordered_json said = to_json(description);
      said["fingerprint"] = hexadecimal(codec.fingerprint());
      print_json(said);
    } else {
      print(to_text(description, codec.fingerprint()));
    }
  });
}

void add_inspect_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("inspect", "header and sections of a frame, without its plan");
  const auto path = std::make_shared<std::string>();
  const auto json = std::make_shared<bool>(false);
  command->add_option("FRAME", *path, "file to read")->required();
  add_json(*command, *json);
  command->footer("Examples:\n  fewbits inspect out.fb");
  command->callback([path, json] { inspect_file(*path, *json); });
}

void add_stages_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("stages", "the stages that a plan may name, presets that stand for them, their parameters and sources");
  const auto json = std::make_shared<bool>(false);
  add_json(*command, *json);
  command->footer("Examples:\n  fewbits stages\n  fewbits stages --json");
  command->callback([json] {
    ordered_json all = ordered_json::array();
    std::string text;
    const auto list = [&](const auto& one) {
      all.push_back(to_json(one));
      text += (text.empty() ? "" : "\n") + to_text(one);
    };
    for (const StageInfo& stage : stages()) list(stage);
    for (const PresetInfo& preset : presets()) list(preset);
    if (*json)
      print_json(all);
    else
      print(text);
  });
}

}  // namespace fewbits::cli
