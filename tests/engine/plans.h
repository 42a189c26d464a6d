#pragma once

#include <cctype>
#include <charconv>
#include <ostream>
#include <string>
#include <vector>

#include "registry.h"

// Plans that the conformance tests run over: every registered stage by itself, and a list of combinations.
namespace fewbits::test {

enum class LayoutKind { kVector, kNet };

struct Case {
  std::string plan;
  LayoutKind layout = LayoutKind::kVector;
};

inline std::ostream& operator<<(std::ostream& out, const Case& c) {
  return out << c.plan << (c.layout == LayoutKind::kNet ? " on a net" : "");
}

inline std::string decimal(double value) {
  char buffer[40];
  const auto [end, error] = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::fixed);
  return {buffer, end};
}

// The corners of one parameter: least, next to least, and largest value; every choice.
inline std::vector<std::string> corners(const ParameterSpec& spec) {
  std::vector<std::string> values;
  if (spec.type == ParameterType::kChoice) {
    std::string choices(spec.choices);
    for (std::size_t start = 0; start <= choices.size();) {
      const std::size_t end = std::min(choices.find('|', start), choices.size());
      values.push_back(choices.substr(start, end - start));
      if (values.back().ends_with(":N")) values.back().replace(values.back().size() - 1, 1, "7");
      start = end + 1;
    }
  } else if (spec.type == ParameterType::kInteger) {
    values = {decimal(spec.min), decimal(std::min(spec.min + 1, spec.max)), decimal(spec.max)};
  } else {
    const double least = spec.min_excluded ? spec.min + (spec.max - spec.min) * 0x1p-30 : spec.min;
    values = {decimal(least), decimal((spec.min + spec.max) / 3), decimal(spec.max)};
    // Of wishes one that any update can have.
    if (spec.optional) values = {"0.5"};
  }
  return values;
}

// The stage with each combination of its parameters' corners: "name:a=1,b=x", ...
inline std::vector<std::string> stage_corners(const StageDescriptor& stage) {
  std::vector<std::string> texts = {std::string(stage.name)};
  for (const ParameterSpec& spec : stage.parameters) {
    std::vector<std::string> longer;
    if (spec.optional) longer = texts;
    for (const std::string& text : texts)
      for (const std::string& value : corners(spec))
        longer.push_back(text + (text == stage.name ? ':' : ',') + std::string(spec.name) + "=" + value);
    texts = std::move(longer);
  }
  // Parameters that do not go together are refused.
  std::erase_if(texts, [&](const std::string& text) {
    if (stage.check_parameters == nullptr) return false;
    try {
      const std::size_t colon = std::min(text.find(':'), text.size() - 1);
      stage.check_parameters(Parameters(stage.name, stage.parameters, std::string_view(text).substr(colon + 1)));
      return false;
    } catch (const Error&) {
      return true;
    }
  });
  return texts;
}

// Plans in which a stage stands in each of its roles, beside stages that lose nothing.
inline std::vector<Case> plans_of(const StageDescriptor& stage) {
  std::vector<Case> plans;
  for (const std::string& text : stage_corners(stage)) {
    if (stage.make_transform) {
      plans.push_back({text + "+f32"});
      plans.push_back({text + "+quantize:bits=2"});
    }
    if (stage.make_quantizer) plans.push_back({text});
    if (stage.make_coder) {
      plans.push_back({"f32+" + text});
      plans.push_back({"quantize:bits=3+" + text});
    }
    if (stage.make_family) {
      plans.push_back({"train=" + text + " | f32"});
      plans.push_back({"train=" + text + " | f32", LayoutKind::kNet});
    }
  }
  return plans;
}

// Clients that a plan is made for; 1 where it does not matter.
inline std::uint32_t cohort_size(const std::string& plan) {
  constexpr std::string_view kKey = "cohort=";
  const std::size_t at = plan.find(kKey);
  return at == std::string::npos ? 1 : static_cast<std::uint32_t>(std::stoul(plan.substr(at + kKey.size())));
}

inline std::vector<Case> combined_plans() {
  constexpr auto net = LayoutKind::kNet;
  return {
      {"hadamard+quantize:bits=1"},
      {"hadamard+mask:keep=0.0625+quantize:bits=2"},
      {"hadamard:seed=client+mask:keep=0.25+quantize:bits=4"},
      {"mask:keep=0.1+quantize:bits=2"},
      {"mask:keep=0.3,seed=round+quantize:bits=8"},
      {"mask:keep=0.5+mask:keep=0.5+f32"},
      {"mask:keep=0.5,seed=round+mask:keep=0.5+quantize:bits=2"},
      {"mask:keep=0.5,seed=round+mask:keep=0.5,seed=round+bf16"},
      {"hadamard+hadamard+quantize:bits=3"},
      {"hadamard+hadamard:seed=client+quantize:bits=3"},
      {"hadamard:seed=client+hadamard+quantize:bits=3"},
      {"hadamard+mask:keep=0.5,seed=round+hadamard:seed=client+quantize:bits=2,block=32"},
      {"mask:keep=0.25+hadamard:seed=client+quantize:bits=2"},
      {"hadamard+f16"},
      {"eden:bits=3"},
      {"mask:keep=0.5+eden-ee:bits=1.5"},
      {"hadamard+natural+zstd"},
      {"stc:keep=0.1"},
      {"hadamard+mask:keep=0.25,seed=round+ternary"},
      {"quantize:bits=3,block=17"},
      {"quantize:bits=5,block=33+zstd:level=1"},
      {"hadamard+quantize:bits=4,block=256+zstd"},
      {"hadamard+quantize:bits=6+rans"},
      {"mask:keep=0.3+bf16+rans"},
      {"*.bias=f32; *=hadamard+quantize:bits=2", net},
      {"<40=f32; *=mask:keep=0.2+quantize:bits=1", net},
      {"in.*=quantize:bits=2+zstd; out.*=hadamard+quantize:bits=1; *=f16", net},
      {"in.*=quantize:bits=4,block=16+rans; *=f32+rans", net},
      {"*.weight=mask:keep=0.1,seed=round+quantize:bits=3; *=bf16+zstd", net},
      {"in.weight=hadamard+f32; in.bias=mask:keep=0.5+f32; out.weight=quantize:bits=7", net},
      {"hadamard+topk:keep=0.1+quantize:bits=4"},
      {"topk:keep=0.3+mask:keep=0.5+topk:keep=0.5+bf16+zstd"},
      {"lowrank:rank=1+f32", net},
      {"lowrank:rank=2,iterations=3+quantize:bits=8,block=64", net},
      {"*.bias=f32; *=lowrank:rank=1+mask:keep=0.9+bf16+zstd", net},
      {"mask:keep=0.5,seed=round+lowrank:rank=2+f32", net},
      {"permk:cohort=3+hadamard:seed=client+quantize:bits=2"},
      {"hadamard+permk:cohort=4+bf16+zstd"},
      {"mask:keep=0.5,seed=round+permk:cohort=2+f32", net},
      {"countsketch:keep=0.3+quantize:bits=8"},
      {"countsketch:rows=3,columns=20+countsketch:keep=0.5,seed=client+f32"},
      {"countsketch:rows=5,keep=0.8,estimate=median+bf16", net},
      {"predict:rank=1+f32", net},
      {"predict:rank=3,iterations=2+lowrank:rank=1+quantize:bits=4", net},
      {"in.*=predict:rank=2+hadamard:seed=client+quantize:bits=2; *=f32", net},
      {"train=mask:keep=0.0625 | hadamard+quantize:bits=2"},
      {"train=mask:keep=0.5 | *.bias=f32; *=hadamard+mask:keep=0.5+quantize:bits=2", net},
      {"train=lowrank:rank=2 | hadamard+quantize:bits=4", net},
      {"train=lowrank:rank=3 | in.*=f32; *=quantize:bits=1+zstd", net},
  };
}

inline std::vector<Case> all_plans() {
  std::vector<Case> plans;
  for (const StageDescriptor* stage : registry())
    for (Case& plan : plans_of(*stage)) plans.push_back(std::move(plan));
  for (Case& plan : combined_plans()) plans.push_back(std::move(plan));
  return plans;
}

// A name for GoogleTest: letters and digits, and the index to keep names apart.
inline std::string test_name(const Case& c, std::size_t index) {
  std::string name = std::to_string(index);
  for (const char letter : c.plan) name += std::isalnum(static_cast<unsigned char>(letter)) != 0 ? letter : '_';
  return name + (c.layout == LayoutKind::kNet ? "_net" : "");
}

}  // namespace fewbits::test
