#include "cli/frontier_plans.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>

namespace fewbits::cli {
namespace {

// Bits a coordinate.
constexpr double kRates[] = {0.003, 0.01, 0.03, 0.1, 0.25, 0.5, 1, 2, 3, 4, 6, 8};

std::string decimal(double value) {
  char text[32];
  std::snprintf(text, sizeof text, value < 1000 ? "%.4g" : "%.0f", value);
  return text;
}

// `plan` with each number in the place of '#'.
std::vector<std::string> for_each(const std::string& plan, std::span<const double> numbers) {
  const std::size_t place = plan.find('#');
  std::vector<std::string> plans;
  for (const double x : numbers) plans.push_back(plan.substr(0, place) + decimal(x) + plan.substr(place + 1));
  return plans;
}

std::vector<std::string> for_each(const std::string& plan, std::initializer_list<double> numbers) {
  return for_each(plan, std::span(numbers.begin(), numbers.size()));
}

std::vector<std::string> for_rates(const std::string& plan) { return for_each(plan, kRates); }

// `plan` with the share to keep in the place of '#', for each rate below that of all coordinates, when a kept one takes
// `bits`.
std::vector<std::string> for_shares(const std::string& plan, std::size_t coordinates,
                                    const std::function<double(double)>& bits) {
  constexpr double kHeaderBits = 8 * 24;   // and the quantizer's scale
  std::vector<double> shares;
  for (const double whole_rate : kRates) {
    const double rate = whole_rate - kHeaderBits / static_cast<double>(std::max<std::size_t>(coordinates, 1));
    double least = 0;
    double most = 1;
    for (int i = 0; i < 50; ++i) {
      const double middle = (least + most) / 2;
      (middle * bits(middle) < rate ? least : most) = middle;
    }
    if (rate > 0 && least * bits(least) > 0.99 * rate && least < 0.99) shares.push_back(least);
  }
  return for_each(plan, shares);
}

std::vector<std::string> operator+(std::vector<std::string> left, const std::vector<std::string>& right) {
  left.insert(left.end(), right.begin(), right.end());
  return left;
}

// Positions of a share of the coordinates, drawn anyhow: the entropy of a kept one's.
double position_bits(double share) { return std::log2(1 / share) + (1 - share) / share * std::log2(1 / (1 - share)); }

}  // namespace

std::vector<PlanFamily> frontier_plans(std::size_t n) {
  const auto bits_only = [](double bits) { return [bits](double) { return bits; }; };
  const auto with_position = [](double bits) { return [bits](double share) { return bits + position_bits(share); }; };

  std::vector<PlanFamily> families = {
      {"floats", {"f32", "f16", "bf16", "bf16+rans"}},
      {"quantize", for_each("quantize:bits=#", {1, 2, 3, 4, 6, 8})},
      {"hadamard+quantize", for_each("hadamard+quantize:bits=#", {1, 2, 3, 4, 6, 8})},
      {"hadamard+quantize+rans (Suresh)", for_each("hadamard+quantize:bits=#+rans", {2, 3, 4, 5, 6, 7, 8})},
      {"hadamard+mask+quantize (Konečný)", for_shares("hadamard+mask:keep=#+quantize:bits=2", n, bits_only(2))},
      {"mask+f32", for_shares("mask:keep=#+f32", n, bits_only(32))},
      {"EDEN", for_shares("hadamard:seed=client+mask:keep=#+lloyd:bits=1", n, bits_only(1)) +
                   for_each("hadamard:seed=client+lloyd:bits=#", {1, 2, 3, 4, 5, 6, 7, 8})},
      {"EDEN+rans", for_each("hadamard:seed=client+lloyd:bits=#+rans", {2, 3, 4, 5, 6, 7, 8})},
      {"EDEN, entropy-coded", for_each("hadamard:seed=client+ecsq:bits=#", std::span(kRates).subspan(2))},
      {"fixed-rate trellis", for_shares("hadamard:seed=client+mask:keep=#+tcq:bits=1", n, bits_only(1)) +
                                 for_each("hadamard:seed=client+tcq:bits=#", {1, 2, 3, 4})},
      {"QSGD, one norm", for_each("qsgd:levels=#", {1, 10, 100, 1000, 10000})},
      {"QSGD, buckets of 128", for_each("qsgd:levels=#,bucket=128", {1, 2, 4, 8, 16, 32, 128})},
      {"TernGrad", {"ternary"}},
      {"natural", {"natural", "natural+rans"}},
      {"sign", {"sign", "hadamard+sign"}},
      {"topk+f32", for_shares("topk:keep=#+f32", n, with_position(32))},
      {"topk+quantize", for_shares("topk:keep=#+quantize:bits=4", n, with_position(4))},
      {"topk+sign (STC)", for_shares("topk:keep=#+sign", n, with_position(1))},
      {"count sketch+quantize", for_shares("countsketch:keep=#+quantize:bits=2", n, bits_only(2))},
      {"PowerSGD", for_each("lowrank:rank=#+bf16", {1, 2, 4, 8, 16, 32}), true},
      {"low rank+trellis", for_rates("predict:rank=4+trellis:bits=#"), true},
  };
  struct Scale {
    std::string name;
    bool matrices;
    bool profile;
  };
  for (const Scale& scale : {Scale{"flat", false, false}, {"block:256", false, false}, {"separable", true, false},
                             {"profile", true, true}})
    for (const std::string code : {"dither", "trellis:states=8", "trellis:states=64", "trellis:states=256"}) {
      const std::string separator = code == "dither" ? ":" : ",";
      const std::string states = code == "dither" ? code : "trellis, " + code.substr(code.find('=') + 1) + " states";
      families.push_back({states + ", " + scale.name, for_rates(code + separator + "scale=" + scale.name + ",bits=#"),
                          scale.matrices, scale.profile});
    }
  return families;
}

std::span<const double> frontier_rates() { return kRates; }

bool has_matrices(const Layout& layout) {
  return std::ranges::any_of(layout.tensors(), [](const Tensor& tensor) {
    return tensor.shape.size() > 1 && tensor.shape.front() > 1 && tensor.elements() > tensor.shape.front();
  });
}

}  // namespace fewbits::cli
