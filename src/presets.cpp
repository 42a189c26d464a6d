#include "presets.h"

#include <algorithm>
#include <array>

#include "registry.h"

namespace fewbits {
namespace {

constexpr ParameterSpec kEden[] = {
    {.name = "bits", .type = ParameterType::kInteger, .min = 1, .max = 8, .summary = "bits a value"},
};

constexpr ParameterSpec kEdenEntropy[] = {
    {.name = "bits", .type = ParameterType::kNumber, .min = 0.015625, .max = 8,
     .summary = "entropy of a value's symbol, for normal values"},
};

constexpr ParameterSpec kStc[] = {
    {.name = "keep", .type = ParameterType::kNumber, .min = 0, .max = 1, .min_excluded = true,
     .summary = "share of the coordinates that is sent"},
};

constexpr ParameterSpec kPowerSgd[] = {
    {.name = "rank", .type = ParameterType::kInteger, .min = 1, .max = 1048576, .summary = "of each matrix"},
};

// The only place that names presets. Each parameter's range lies within that of the stage which takes it.
constexpr std::array kPresets = {
    Preset{.name = "eden",
           .summary = "a private rotation and the Lloyd–Max quantizer of normal values",
           .source = "Vargaftik et al. 2022, arXiv 2108.08842",
           .parameters = kEden,
           .stages = "hadamard:seed=client+lloyd:bits={bits}"},
    Preset{.name = "eden-ee",
           .summary = "a private rotation and multiples of one step, entropy-coded",
           .source = "Vargaftik et al. 2022, arXiv 2108.08842, section 3",
           .parameters = kEdenEntropy,
           .stages = "hadamard:seed=client+ecsq:bits={bits}"},
    Preset{.name = "drive",
           .summary = "a private rotation and signs: EDEN at 1 bit",
           .source = "Vargaftik et al. 2021, arXiv 2105.08339",
           .parameters = {},
           .stages = "hadamard:seed=client+lloyd:bits=1"},
    Preset{.name = "terngrad",
           .summary = "ternary values, without the clipping that biases them, entropy-coded",
           .source = "Wen et al. 2017, arXiv 1705.07878",
           .parameters = {},
           .stages = "ternary+rans"},
    Preset{.name = "stc",
           .summary = "sparse ternary compression: the largest coordinates' signs, times their mean magnitude; needs error "
                      "feedback",
           .source = "Sattler et al. 2019, arXiv 1903.02891, algorithm 1",
           .parameters = kStc,
           .stages = "topk:keep={keep}+sign"},
    Preset{.name = "powersgd",
           .summary = "two factors of low rank for each matrix, warm-started; needs error feedback",
           .source = "Vogels et al. 2019, arXiv 1905.13727, algorithm 1",
           .parameters = kPowerSgd,
           .stages = "lowrank:rank={rank}+f32"},
};

}  // namespace

std::string Preset::expand(const Parameters& values) const {
  std::string text;
  std::string_view rest = stages;
  for (std::size_t open = 0; (open = rest.find('{')) != std::string_view::npos;) {
    const std::size_t close = rest.find('}', open);
    text += rest.substr(0, open);
    text += values.choice(rest.substr(open + 1, close - open - 1));
    rest.remove_prefix(close + 1);
  }
  return text + std::string(rest);
}

std::span<const Preset> preset_table() noexcept { return kPresets; }

const Preset* find_preset(std::string_view name) noexcept {
  const auto found = std::ranges::find(kPresets, name, &Preset::name);
  return found == kPresets.end() ? nullptr : &*found;
}

std::vector<PresetInfo> presets() {
  std::vector<PresetInfo> all;
  for (const Preset& preset : kPresets)
    all.push_back({std::string(preset.name), std::string(preset.stages), std::string(preset.summary),
                   std::string(preset.source), parameter_infos(preset.parameters)});
  return all;
}

}  // namespace fewbits
