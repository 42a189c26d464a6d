#include "registry.h"

#include <algorithm>
#include <array>

#include "codecs/ecsq.h"
#include "codecs/countsketch.h"
#include "codecs/float_formats.h"
#include "codecs/hadamard.h"
#include "codecs/lloyd.h"
#include "codecs/lowrank.h"
#include "codecs/mask.h"
#include "codecs/natural.h"
#include "codecs/pack.h"
#include "codecs/permk.h"
#include "codecs/predict.h"
#include "codecs/qsgd.h"
#include "codecs/quantize.h"
#include "codecs/rans.h"
#include "codecs/sign.h"
#include "codecs/tcq.h"
#include "codecs/ternary.h"
#include "codecs/topk.h"
#include "codecs/trellis.h"
#include "codecs/zstd.h"

namespace fewbits {
namespace {

// The list of stages, and the only place that names them. A stage is added by a line here; nothing registers itself,
// since a static object in an archive is dropped by the linker when no one refers to it.
constexpr std::array kStages = {
    // Transforms, and structured families.
    &kMask,
    &kHadamard,
    &kLowRank,
    &kTopK,
    &kPermK,
    &kCountSketch,
    &kPredict,
    // Quantizers.
    &kQuantize,
    &kF32,
    &kF16,
    &kBf16,
    &kLloyd,
    &kTcq,
    &kEcsq,
    &kQsgd,
    &kTernary,
    &kNatural,
    &kSign,
    &kDitherStage,
    &kTrellisStage,
    // Coders.
    &kPack,
    &kZstd,
    &kRans,
};

}  // namespace

std::span<const StageDescriptor* const> registry() noexcept { return kStages; }

const StageDescriptor* find_stage(std::string_view name) noexcept {
  const auto found = std::ranges::find(kStages, name, [](const StageDescriptor* stage) { return stage->name; });
  return found == kStages.end() ? nullptr : *found;
}

std::vector<ParameterInfo> parameter_infos(std::span<const ParameterSpec> specs) {
  std::vector<ParameterInfo> infos;
  for (const ParameterSpec& spec : specs)
    infos.push_back({std::string(spec.name), std::string(spec.type_name()), spec.range(),
                     std::string(spec.default_value), std::string(spec.summary), spec.optional});
  return infos;
}

std::vector<StageInfo> stages() {
  std::vector<StageInfo> all;
  for (const StageDescriptor* stage : kStages) {
    StageInfo info{stage->id, std::string(stage->name), {}, std::string(stage->summary), std::string(stage->source),
                   parameter_infos(stage->parameters)};
    if (stage->make_transform) info.roles.emplace_back("transform");
    if (stage->make_quantizer) info.roles.emplace_back("quantizer");
    if (stage->make_coder) info.roles.emplace_back("coder");
    if (stage->make_family) info.roles.emplace_back("structure");
    all.push_back(std::move(info));
  }
  return all;
}

}  // namespace fewbits
