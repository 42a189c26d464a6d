#include "plan.h"

#include <algorithm>
#include <charconv>

#include "fewbits/error.h"
#include "presets.h"
#include "registry.h"

namespace fewbits {
namespace {

constexpr std::size_t kMaxPlanLength = 1 << 16;

[[noreturn]] void fail(const std::string& message, std::size_t position) {
  throw Error(Errc::kBadPlan, message + " (position " + std::to_string(position) + " of the plan)", position);
}

// A piece of the plan's text that remembers where it stands.
struct Piece {
  std::string_view text;
  std::size_t position = 0;

  Piece sub(std::size_t start, std::size_t count = std::string_view::npos) const {
    return {text.substr(start, count), position + start};
  }

  Piece trimmed() const {
    constexpr std::string_view kSpace = " \t\r\n";
    const std::size_t first = text.find_first_not_of(kSpace);
    if (first == std::string_view::npos) return sub(text.size());
    return sub(first, text.find_last_not_of(kSpace) + 1 - first);
  }

  std::vector<Piece> split(char separator) const {
    std::vector<Piece> pieces;
    for (std::size_t start = 0;;) {
      const std::size_t end = text.find(separator, start);
      pieces.push_back(sub(start, end == std::string_view::npos ? end : end - start).trimmed());
      if (end == std::string_view::npos) return pieces;
      start = end + 1;
    }
  }
};

template <class Role>
std::string stages_with(Role role) {
  std::string names;
  for (const StageDescriptor* stage : registry())
    if (role(*stage)) names += (names.empty() ? "" : ", ") + std::string(stage->name);
  return names;
}

bool is_transform(const StageDescriptor& stage) { return stage.make_transform != nullptr; }
bool is_quantizer(const StageDescriptor& stage) { return stage.make_quantizer != nullptr; }
bool is_coder(const StageDescriptor& stage) { return stage.make_coder != nullptr; }
bool is_family(const StageDescriptor& stage) { return stage.make_family != nullptr; }

bool any_stage(const StageDescriptor& stage) { return is_transform(stage) || is_quantizer(stage) || is_coder(stage); }

std::string preset_names() {
  std::string names;
  for (const Preset& preset : preset_table()) names += (names.empty() ? "" : ", ") + std::string(preset.name);
  return names;
}

struct NameAndArguments {
  Piece name;
  Piece arguments;
};

NameAndArguments split_name(Piece piece) {
  const std::size_t colon = piece.text.find(':');
  return {piece.sub(0, colon).trimmed(),
          colon == std::string_view::npos ? piece.sub(piece.text.size()) : piece.sub(colon + 1)};
}

Parameters parse_parameters(const Piece& name, const Piece& arguments, std::span<const ParameterSpec> specs,
                            void (*check)(const Parameters&)) {
  const bool colon = arguments.position > name.position + name.text.size();
  if (colon && arguments.text.empty())
    fail("parameters must follow the colon after '" + std::string(name.text) + "'", arguments.position);
  try {
    Parameters parameters(name.text, specs, arguments.text);
    if (check != nullptr) check(parameters);
    return parameters;
  } catch (const Error& error) {
    fail(error.what(), arguments.position + (error.offset() == Error::kNoOffset ? 0 : error.offset()));
  }
}

template <class Role>
Plan::Stage parse_stage(Piece piece, const char* wanted, Role role) {
  const auto [name, arguments] = split_name(piece);
  const StageDescriptor* stage = find_stage(name.text);
  const auto choices = [&] { return std::string("; ") + wanted + " is one of " + stages_with(role); };
  if (name.text.empty()) fail(std::string(wanted) + " is missing" + choices(), name.position);
  if (stage == nullptr)
    fail("no stage is named '" + std::string(name.text) + "'" + choices() +
             (role == &any_stage ? ", or stands for stages: " + preset_names() : ""),
         name.position);
  if (!role(*stage)) fail("'" + std::string(name.text) + "' cannot stand here" + choices(), name.position);
  return {stage, parse_parameters(name, arguments, stage->parameters, stage->check_parameters), name.position};
}

// One stage, or those that a name of the literature stands for.
std::vector<Plan::Stage> parse_stages(Piece piece) {
  const auto [name, arguments] = split_name(piece);
  std::vector<Plan::Stage> stages;
  if (const Preset* preset = find_preset(name.text)) {
    const std::string text = preset->expand(parse_parameters(name, arguments, preset->parameters, nullptr));
    for (const Piece& part : Piece{text, 0}.split('+')) {
      stages.push_back(parse_stage(part, "a stage", any_stage));
      stages.back().position = name.position;
    }
  } else {
    stages.push_back(parse_stage(piece, "a stage", any_stage));
  }
  return stages;
}

Plan::Rule parse_chain(Piece piece, std::string pattern) {
  std::vector<Plan::Stage> transforms;
  std::optional<Plan::Stage> quantizer;
  std::optional<Plan::Stage> coder;
  const auto take = [&](Plan::Stage stage) {
    const StageDescriptor& descriptor = *stage.descriptor;
    const auto misplaced = [&](const std::string& why) {
      fail("'" + std::string(descriptor.name) + "' " + why, stage.position);
    };
    if (coder) misplaced("cannot follow the coder '" + std::string(coder->descriptor->name) + "', which ends a chain");
    if (is_transform(descriptor)) {
      if (quantizer)
        misplaced("is a transform and must stand before the quantizer '" + std::string(quantizer->descriptor->name) + "'");
      transforms.push_back(std::move(stage));
    } else if (is_quantizer(descriptor)) {
      if (quantizer)
        misplaced("is a second quantizer after '" + std::string(quantizer->descriptor->name) + "'; a chain has one");
      quantizer.emplace(std::move(stage));
    } else {
      if (!quantizer)
        misplaced("is a coder and must follow a quantizer: one of " + stages_with(is_quantizer));
      coder.emplace(std::move(stage));
    }
  };
  for (const Piece& part : piece.split('+'))
    for (Plan::Stage& stage : parse_stages(part)) take(std::move(stage));
  if (!quantizer)
    fail("a quantizer is missing; append one of " + stages_with(is_quantizer), piece.position + piece.text.size());
  if (!coder)
    coder.emplace(parse_stage({quantizer->descriptor->default_coder(quantizer->parameters), 0}, "a coder", is_coder));
  return {std::move(pattern), std::move(transforms), std::move(*quantizer), std::move(*coder)};
}

std::optional<std::size_t> size_pattern(std::string_view pattern) {
  if (!pattern.starts_with('<')) return std::nullopt;
  std::size_t limit = 0;
  const auto [end, error] = std::from_chars(pattern.data() + 1, pattern.data() + pattern.size(), limit);
  if (error != std::errc{} || end != pattern.data() + pattern.size()) return std::nullopt;
  return limit;
}

Plan::Rule parse_rule(Piece piece) {
  // The first colon ends a stage's name, so an equals sign before it belongs to a pattern.
  const std::size_t mark = piece.text.find_first_of("=:");
  if (mark == std::string_view::npos || piece.text[mark] == ':') return parse_chain(piece, "*");
  const Piece pattern = piece.sub(0, mark).trimmed();
  if (pattern.text.empty()) fail("a pattern must stand before '='", pattern.position);
  if (pattern.text.starts_with('<') && !size_pattern(pattern.text))
    fail("'" + std::string(pattern.text) + "' is no size; write <1024=... for tensors of fewer than 1024 elements",
         pattern.position);
  return parse_chain(piece.sub(mark + 1).trimmed(), std::string(pattern.text));
}

// `*` matches any run of characters, `?` any one. Linear in the product of lengths at worst.
bool glob_matches(std::string_view glob, std::string_view name) {
  std::size_t g = 0, n = 0;
  std::size_t star = std::string_view::npos, resume = 0;
  while (n < name.size()) {
    if (g < glob.size() && glob[g] == '*') {
      star = g++;
      resume = n;
    } else if (g < glob.size() && (glob[g] == '?' || glob[g] == name[n])) {
      ++g;
      ++n;
    } else if (star != std::string_view::npos) {
      g = star + 1;
      n = ++resume;
    } else {
      return false;
    }
  }
  return glob.find_first_not_of('*', g) == std::string_view::npos;
}

std::string format_text(const Plan::Stage& stage) {
  const std::string parameters = stage.parameters.text(false);
  return std::to_string(stage.descriptor->id) + (parameters.empty() ? "" : ":" + parameters);
}

template <class StageText>
std::string join(const Plan::Rule& rule, StageText stage_text) {
  std::string text;
  for (const auto& transform : rule.transforms) text += stage_text(transform) + "+";
  return text + stage_text(rule.quantizer) + "+" + stage_text(rule.coder);
}

template <class StageText>
std::string join(const Plan& plan, StageText stage_text) {
  std::string text;
  if (plan.family) text = "train=" + stage_text(*plan.family) + " | ";
  const bool one_rule = plan.rules.size() == 1 && plan.rules.front().pattern == "*";
  for (const auto& rule : plan.rules) {
    if (&rule != &plan.rules.front()) text += "; ";
    text += (one_rule ? "" : rule.pattern + "=") + join(rule, stage_text);
  }
  return text;
}

}  // namespace

std::string Plan::Stage::text() const {
  const std::string all = parameters.text();
  return std::string(descriptor->name) + (all.empty() ? "" : ":" + all);
}

std::string Plan::Rule::text() const {
  return join(*this, [](const Stage& stage) { return stage.text(); });
}

bool Plan::Rule::matches(const Tensor& tensor) const {
  if (const auto limit = size_pattern(pattern)) return tensor.elements() < *limit;
  return glob_matches(pattern, tensor.name);
}

void Plan::refuse(const std::string& message, std::size_t position) { fail(message, position); }

Plan Plan::parse(std::string_view text) {
  if (text.size() > kMaxPlanLength)
    fail("the plan has " + std::to_string(text.size()) + " characters; at most " + std::to_string(kMaxPlanLength) +
         " are read", 0);
  Plan plan;
  Piece rest = Piece{text, 0}.trimmed();
  if (const std::size_t bar = rest.text.find('|'); bar != std::string_view::npos) {
    constexpr std::string_view kTrain = "train=";
    const Piece head = rest.sub(0, bar).trimmed();
    if (!head.text.starts_with(kTrain))
      fail("before '|' stands train= and a structured family: one of " + stages_with(is_family), head.position);
    plan.family = parse_stage(head.sub(kTrain.size()).trimmed(), "a structured family", is_family);
    rest = rest.sub(bar + 1).trimmed();
  } else if (rest.text.starts_with("train=")) {
    fail("a structured family is followed by '|' and the stages that send its free parameters, as in "
         "train=mask:keep=0.0625 | f32", rest.position + rest.text.size());
  }
  for (const Piece& rule : rest.split(';')) plan.rules.push_back(parse_rule(rule));
  return plan;
}

std::string Plan::text() const {
  return join(*this, [](const Stage& stage) { return stage.text(); });
}

std::string Plan::format_text() const {
  return join(*this, [](const Stage& stage) { return fewbits::format_text(stage); });
}

}  // namespace fewbits
