#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "fewbits/stages.h"
#include "presets.h"
#include "registry.h"
#include "tests/engine/plans.h"
#include "tests/engine/support.h"

namespace fewbits::test {
namespace {

std::string canonical(std::string_view plan, Layout layout = Layout(100)) {
  return Codec::compile(plan, std::move(layout)).plan();
}

TEST(Plan, CanonicalTextSpellsOutEveryParameterAndTheCoder) {
  EXPECT_EQ(canonical("f32"), "f32+pack");
  EXPECT_EQ(canonical("hadamard+quantize:bits=2"), "hadamard:seed=round+quantize:bits=2,block=0+pack");
  EXPECT_EQ(canonical("mask:seed=round,keep=0.5+quantize:block=64,bits=1+zstd"),
            "mask:keep=0.5,seed=round+quantize:bits=1,block=64+zstd:level=3");
  EXPECT_EQ(canonical("train=mask:keep=0.0625|f32"), "train=mask:keep=0.0625,seed=client | f32+pack");
  EXPECT_EQ(canonical("*.bias=f32;*=bf16", Layout({{"a.bias", {3}}})), "*.bias=f32+pack; *=bf16+pack");
  EXPECT_EQ(canonical("quantize:bits=2,block=100000"), "quantize:bits=2,block=100000+pack");
}

TEST(Plan, WhitespaceAroundPiecesMeansNothing) {
  EXPECT_EQ(canonical("  hadamard +\n\tquantize:bits=2 + pack  "), canonical("hadamard+quantize:bits=2"));
  EXPECT_EQ(canonical(" train=mask:keep=0.5  |  f32 "), canonical("train=mask:keep=0.5|f32"));
  const Layout layout({{"a.bias", {3}}, {"b", {4}}});
  EXPECT_EQ(canonical(" *.bias = f32 ;\r\n * = bf16 ", layout), canonical("*.bias=f32;*=bf16", layout));
}

struct Fault {
  const char* plan;
  std::size_t position;
  std::vector<const char*> message;  // parts of it
};

// Where the trouble stands, and what would be right there.
TEST(Plan, ErrorsNameThePositionAndTheChoices) {
  const std::vector<Fault> faults = {
      {"", 0, {"stage is missing", "mask", "f32", "zstd"}},
      {"   ", 3, {"stage is missing"}},
      {"hadamar+f32", 0, {"no stage is named 'hadamar'", "hadamard"}},
      {"hadamard+quantise:bits=2", 9, {"no stage is named 'quantise'", "quantize"}},
      {"hadamard++f32", 9, {"stage is missing"}},
      {"hadamard+f32+", 13, {"stage is missing"}},
      {"hadamard", 8, {"a quantizer is missing", "quantize", "f32", "f16", "bf16"}},
      {"f32+hadamard", 4, {"'hadamard' is a transform", "before the quantizer 'f32'"}},
      {"f32+f16", 4, {"second quantizer"}},
      {"f32+pack+zstd", 9, {"cannot follow the coder 'pack'"}},
      {"pack", 0, {"must follow a quantizer", "quantize"}},
      {"hadamard+zstd", 9, {"must follow a quantizer"}},
      {"quantize", 8, {"needs bits=1..8"}},
      {"quantize:", 9, {"parameters must follow the colon"}},
      {"quantize:bits", 9, {"'bits' needs a value", "bits=1..8"}},
      {"quantize:bits=", 9, {"'bits' needs a value"}},
      {"quantize:bits=0", 14, {"bits=0 is not in 1..8"}},
      {"quantize:bits=9", 14, {"bits=9 is not in 1..8"}},
      {"quantize:bits=2.5", 14, {"bits=2.5 is not in 1..8"}},
      {"quantize:bits=two", 14, {"bits=two is not in 1..8"}},
      {"quantize:bits=2x", 14, {"bits=2x is not in 1..8"}},
      {"quantize:bits= 2", 14, {"is not in 1..8"}},
      {"quantize:bits=-1", 14, {"is not in 1..8"}},
      {"quantize:bits=nan", 14, {"is not in 1..8"}},
      {"quantize:bits=2,bits=2", 16, {"'bits' is given twice"}},
      {"quantize:bits=2,", 16, {"a parameter must follow the comma"}},
      {"quantize:bits=2,,block=4", 16, {"has no parameter ''", "bits, block"}},
      {"quantize:bits=2,levels=4", 16, {"has no parameter 'levels'", "bits, block"}},
      {"hadamard + quantize:bits=2,block=16777217", 33, {"block=16777217 is not in 0..16777216"}},
      {"mask:keep=0+f32", 10, {"keep=0 is not in (0, 1]"}},
      {"mask:keep=1.01+f32", 10, {"is not in (0, 1]"}},
      {"mask:keep=inf+f32", 10, {"is not in (0, 1]"}},
      {"mask:keep=0.5,seed=server+f32", 19, {"seed=server is not in round|client"}},
      {"f32:bits=3", 4, {"'f32' takes no parameters"}},
      {"f32+zstd:level=20", 15, {"level=20 is not in 1..19"}},
      {"=f32", 0, {"a pattern must stand before '='"}},
      {"f32; =f16", 5, {"a pattern must stand before '='"}},
      {"<=f32", 0, {"'<' is no size", "<1024="}},
      {"<12a=f32; *=f16", 0, {"'<12a' is no size"}},
      {"*=f32;", 6, {"stage is missing"}},
      {"a=;*=f32", 2, {"stage is missing"}},
      {"train=mask:keep=0.5", 19, {"a structured family is followed by '|'"}},
      {"train=quantize:bits=2 | f32", 6, {"'quantize' cannot stand here", "mask", "lowrank"}},
      {"train= | f32", 6, {"a structured family is missing", "mask", "lowrank"}},
      {"train=lowrank | f32", 13, {"'lowrank' needs rank=1..1048576"}},
      {"mask:keep=0.5 | f32", 0, {"before '|' stands train="}},
      {"train=mask:keep=0.5 |", 21, {"stage is missing"}},
      {"train=mask:keep=0.5 | f32 | f32", 22, {"no stage is named"}},
      {"eden", 4, {"'eden' needs bits=1..8"}},
      {"eden:", 5, {"parameters must follow the colon after 'eden'"}},
      {"hadamard + eden:bits=9", 21, {"bits=9 is not in 1..8"}},
      {"eden:bits=2,seed=round", 12, {"'eden' has no parameter 'seed'", "bits"}},
      {"drive:bits=1", 6, {"'drive' takes no parameters"}},
      {"f32+drive", 4, {"'hadamard' is a transform", "before the quantizer 'f32'"}},
      {"drive+f32", 6, {"'f32' is a second quantizer after 'lloyd'"}},
      {"terngrad+pack", 9, {"'pack' cannot follow the coder 'rans'"}},
      {"edne:bits=2", 0, {"no stage is named 'edne'", "stands for stages: eden, eden-ee, drive"}},
      {"train=eden:bits=2 | f32", 6, {"no stage is named 'eden'", "a structured family is one of mask"}},
      {"f32 f16", 0, {"no stage is named 'f32 f16'"}},
  };
  for (const Fault& fault : faults) {
    const auto error = error_of([&] { Codec::compile(fault.plan, 100); });
    ASSERT_TRUE(error.has_value()) << "'" << fault.plan << "' is accepted";
    EXPECT_EQ(error->code(), Errc::kBadPlan) << fault.plan;
    EXPECT_EQ(error->offset(), fault.position) << "'" << fault.plan << "': " << error->what();
    for (const char* part : fault.message)
      EXPECT_NE(std::string_view(error->what()).find(part), std::string_view::npos)
          << fault.plan << ": " << error->what();
  }
}

TEST(Preset, StandsForItsStages) {
  EXPECT_EQ(canonical("eden:bits=2"), canonical("hadamard:seed=client+lloyd:bits=2"));
  EXPECT_EQ(canonical("drive"), canonical("eden:bits=1"));
  EXPECT_EQ(canonical("terngrad"), canonical("ternary+rans"));
  EXPECT_EQ(canonical("stc:keep=0.010"), canonical("topk:keep=0.01+sign"));
  EXPECT_EQ(canonical("powersgd:rank=4"), canonical("lowrank:rank=4+f32"));
  // Among other stages, and in rules.
  EXPECT_EQ(canonical("mask:keep=0.5 + eden:bits=3 + zstd"),
            canonical("mask:keep=0.5+hadamard:seed=client+lloyd:bits=3+zstd"));
  const Layout layout({{"a.bias", {3}}, {"b", {4}}});
  EXPECT_EQ(canonical("*.bias=stc:keep=0.5; *=drive", layout),
            canonical("*.bias=topk:keep=0.5+sign; *=hadamard:seed=client+lloyd:bits=1", layout));
  EXPECT_EQ(canonical("train=mask:keep=0.5 | drive"), canonical("train=mask:keep=0.5 | hadamard:seed=client+lloyd:bits=1"));
  EXPECT_EQ(Codec::compile("drive", 9).fingerprint(), Codec::compile("eden:bits=1", 9).fingerprint());
}

// Whatever its parameters say, a preset is a plan or the end of one; no stage has its name.
TEST(Preset, IsAPlanAtEveryCornerOfItsParameters) {
  ASSERT_EQ(presets().size(), preset_table().size());
  for (const Preset& preset : preset_table()) {
    EXPECT_EQ(find_stage(preset.name), nullptr) << preset.name;
    EXPECT_FALSE(preset.summary.empty()) << preset.name;
    EXPECT_FALSE(preset.source.empty()) << preset.name;
    StageDescriptor like;
    like.name = preset.name;
    like.parameters = preset.parameters;
    for (const std::string& text : stage_corners(like)) {
      const Codec codec = Codec::compile(text, 100);
      const auto x = normal(100, 1);
      EXPECT_EQ(codec.decode(codec.encode(x, {1, 2, 3}), {1}).size(), x.size()) << text;
    }
  }
}

TEST(Plan, ThatIsTooLongIsRefused) {
  const std::string plan(100'000, ' ');
  EXPECT_EQ(refusal([&] { Codec::compile(plan + "f32", 3); }), Errc::kBadPlan);
}

TEST(Plan, ATensorThatNoRuleMatchesIsNamed) {
  const Layout layout({{"in.weight", {10}}, {"head", {5}}});
  const auto error = error_of([&] { Codec::compile("in.*=f32", layout); });
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->code(), Errc::kBadPlan);
  EXPECT_NE(std::string(error->what()).find("no rule matches tensor 'head'"), std::string::npos) << error->what();
}

// Which rule a tensor went to shows in the description: coordinates of each group are distinct powers of ten.
std::string groups(std::string_view plan, const std::vector<Tensor>& tensors) {
  std::string text;
  for (const auto& group : Codec::compile(plan, Layout(tensors)).describe().groups)
    text += (text.empty() ? "" : " ") + group.rule + ":" + std::to_string(group.coordinates) + "/" +
            std::to_string(group.tensors);
  return text;
}

TEST(Rules, TheFirstThatMatchesWins) {
  const std::vector<Tensor> tensors = {{"a.bias", {1}}, {"a.weight", {10}}, {"b.bias", {100}}, {"b.weight", {1000}}};
  EXPECT_EQ(groups("*.bias=f32; *=f16", tensors), "*.bias:101/2 *:1010/2");
  EXPECT_EQ(groups("a.*=f32; *.bias=bf16; *=f16", tensors), "a.*:11/2 *.bias:100/1 *:1000/1");
  EXPECT_EQ(groups("*=f32; *.bias=f16", tensors), "*:1111/4");
  EXPECT_EQ(groups("c*=f32; *=f16", tensors), "*:1111/4");
  EXPECT_EQ(groups("f32", tensors), "*:1111/4");
  EXPECT_EQ(groups("<100=f32; *=f16", tensors), "<100:11/2 *:1100/2");
  EXPECT_EQ(groups("<101=f32; *=f16", tensors), "<101:111/3 *:1000/1");
  EXPECT_EQ(groups("<0=f32; *=f16", tensors), "*:1111/4");
  EXPECT_EQ(groups("b.weight=f32; <18446744073709551615=f16", tensors), "b.weight:1000/1 <18446744073709551615:111/3");
}

TEST(Rules, GlobsMatchAsShellsDo) {
  const auto matches = [](const std::string& glob, const std::string& name) {
    return groups(glob + "=f32; *=f16", {{name, {7}}}).starts_with(glob + ":");
  };
  // A glob, a space, a name.
  const auto split = [](const std::string& text) {
    const std::size_t space = text.find(' ');
    return std::pair(text.substr(0, space), text.substr(space + 1));
  };
  for (const char* text : {"abc abc", "a* a", "a* abc", "*c abc", "a*c ac", "a*c abbc", "? x", "a?c abc", "*b* abc",
                           "*a*b*c* xaxbxcx", "a*b*c ab-ab-abc", "** x", "*? x", "conv?.* conv1.weight"}) {
    const auto [glob, name] = split(text);
    EXPECT_TRUE(matches(glob, name)) << text;
  }
  for (const char* text :
       {"abc ab", "abc abcd", "ab abc", "a* ba", "*c cb", "? ", "? xy", "a?c ac", "a*b*c acb", "*? ", "A a"}) {
    const auto [glob, name] = split(text);
    EXPECT_FALSE(matches(glob, name)) << text;
  }
}

// Backtracking that tried every place of every star would not end.
TEST(Rules, AGlobOfManyStarsEndsSoon) {
  std::string glob;
  for (int i = 0; i < 40; ++i) glob += "*a";
  EXPECT_EQ(groups(glob + "b=f32; *=f16", {{std::string(2000, 'a'), {7}}}), "*:7/1");
}

TEST(Rules, TensorsOfARuleAreOneVectorWhereverTheyLie) {
  const Layout layout({{"a", {3}}, {"b", {5}}, {"c", {4}}, {"empty", {0}}, {"d", {2}}});
  const Codec codec = Codec::compile("b=quantize:bits=8; d=f16; *=f32", layout);
  const auto x = normal(14, 3);
  const auto back = codec.decode(codec.encode(x, {}), {});
  for (const std::size_t i : {0, 1, 2, 8, 9, 10, 11}) EXPECT_EQ(back[i], x[i]) << i;  // a and c
  double range = 0;
  for (std::size_t i = 3; i < 8; ++i)
    for (std::size_t j = 3; j < 8; ++j) range = std::max(range, static_cast<double>(x[i]) - static_cast<double>(x[j]));
  for (std::size_t i = 3; i < 8; ++i) EXPECT_NEAR(back[i], x[i], 1.001 * range / 255) << i;
  for (const std::size_t i : {12, 13}) EXPECT_NEAR(back[i], x[i], std::abs(x[i]) * 0x1p-11f) << i;
}

TEST(Fingerprint, IsEqualForEqualPlansWrittenDifferently) {
  const auto fingerprint = [](std::string_view plan) { return Codec::compile(plan, 100).fingerprint(); };
  const std::uint64_t one = fingerprint("hadamard+quantize:bits=2");
  for (const char* same : {"hadamard:seed=round+quantize:bits=2,block=0+pack", " hadamard + quantize:block=0,bits=2 ",
                           "*=hadamard+quantize:bits=2", "hadamard+quantize:bits=2.0", "hadamard+quantize:bits=2e0"})
    EXPECT_EQ(fingerprint(same), one) << same;
  EXPECT_EQ(fingerprint("mask:keep=0.50+f32"), fingerprint("mask:keep=5e-1+f32"));
  // A wish of the encoder alone: any level is decoded alike.
  EXPECT_EQ(fingerprint("f32+zstd:level=1"), fingerprint("f32+zstd:level=19"));
}

TEST(Fingerprint, DiffersWhereAnythingDiffers) {
  std::set<std::uint64_t> seen;
  const auto fresh = [&](std::string_view plan, Layout layout) {
    return seen.insert(Codec::compile(plan, std::move(layout)).fingerprint()).second;
  };
  for (const char* plan : {"f32",
                           "f16",
                           "bf16",
                           "f32+zstd",
                           "quantize:bits=1",
                           "quantize:bits=2",
                           "quantize:bits=2,block=7",
                           "hadamard+f32",
                           "hadamard:seed=client+f32",
                           "mask:keep=0.5+f32",
                           "mask:keep=0.25+f32",
                           "mask:keep=0.5,seed=round+f32",
                           "hadamard+mask:keep=0.5+f32",
                           "mask:keep=0.5+hadamard+f32",
                           "train=mask:keep=0.5 | f32",
                           "train=mask:keep=0.25 | f32",
                           "train=lowrank:rank=1 | f32",
                           "a=f32; *=f16",
                           "a=f16; *=f32",
                           "b=f32; *=f16",
                           "<9=f32; *=f16"})
    EXPECT_TRUE(fresh(plan, Layout(100))) << plan;
  for (const Layout& layout :
       {Layout(101), Layout({{"w", {100}}}), Layout({{"", {10, 10}}}), Layout({{"", {100, 1}}}),
        Layout({{"w", {50}}, {"v", {50}}}), Layout({{"v", {50}}, {"w", {50}}}), Layout({{"w", {100}}, {"v", {0}}})})
    EXPECT_TRUE(fresh("f32", layout)) << layout.text();
}

TEST(Stages, AreListedWithTheirParameters) {
  const auto all = stages();
  ASSERT_EQ(all.size(), registry().size());
  for (std::size_t i = 0; i < all.size(); ++i) {
    EXPECT_EQ(all[i].name, registry()[i]->name);
    EXPECT_EQ(all[i].id, registry()[i]->id);
    EXPECT_FALSE(all[i].roles.empty());
    EXPECT_FALSE(all[i].summary.empty()) << all[i].name;
    EXPECT_FALSE(all[i].source.empty()) << all[i].name;
    for (const ParameterInfo& parameter : all[i].parameters) EXPECT_FALSE(parameter.summary.empty()) << parameter.name;
  }
  const auto quantize = std::ranges::find(all, "quantize", &StageInfo::name);
  ASSERT_NE(quantize, all.end());
  EXPECT_EQ(quantize->parameters[0].range, "1..8");
  EXPECT_EQ(quantize->parameters[0].default_value, "");
  EXPECT_EQ(quantize->parameters[1].default_value, "0");
}

}  // namespace
}  // namespace fewbits::test
