#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "fewbits/profile.h"
#include "tests/engine/support.h"

// Plans of `dither` and `trellis`, and updates that are hard for them.
namespace fewbits::test {

enum class Steps { kOwn, kCommon };  // with scale=profile: chosen by the client, or part of the profile

struct Case {
  std::string plan;
  std::string input;
  std::size_t d = 0;
  Steps steps = Steps::kOwn;
  std::string learned = "rows";  // the input that the profile knows, where there is one
};

inline std::string text(const Case& c) {
  const bool profiled = c.plan.find("profile") != std::string::npos;
  return c.plan + (profiled ? " of " + c.learned : "") + (c.steps == Steps::kCommon ? " with a common step, " : ", ") +
         c.input + ", " + std::to_string(c.d) + " coordinates";
}
inline void PrintTo(const Case& c, std::ostream* out) { *out << text(c); }  // NOLINT: GoogleTest's name

inline constexpr std::array<const char*, 6> kInputs = {"two spikes", "outlier", "lognormal",
                                                       "ones", "alternating", "hot row"};

inline std::size_t columns_of(std::size_t d) { return d < 64 ? d : d / 16; }

// A matrix of 16 rows and a vector; a few values are one row.
inline Layout matrix(std::size_t d) {
  const std::size_t columns = columns_of(d);
  return Layout(std::vector<Tensor>{{"weight", {d / columns, columns}}, {"bias", {d % columns}}});
}

inline std::vector<float> input_of(const std::string& name, std::size_t d) {
  RandomReader random = reader(d + name.size());
  std::vector<float> x(d);
  for (std::size_t i = 0; i < d; ++i) {
    const double z = draw_normal(random);
    const double sign = random.next() % 2 == 0 ? 1 : -1;
    if (name == "ones") x[i] = 1;
    if (name == "alternating") x[i] = i % 2 == 0 ? 1.0f : -1.0f;
    if (name == "outlier") x[i] = static_cast<float>(z);
    if (name == "lognormal") x[i] = static_cast<float>(sign * std::exp(3 * z));
    if (name == "rows") x[i] = static_cast<float>(z * std::exp2(i / columns_of(d) % 4));
    if (name == "hot row") x[i] = static_cast<float>(i / columns_of(d) == 3 ? 100 * z : z);
  }
  if (name == "two spikes") {
    x[d / 3] = 1;
    if (d > 1) x[d - 1] = 0.4f;
  }
  if (name == "outlier") x[d / 2] = 200;
  return x;
}

// A codec, with the profile that it has.
struct Coded {
  Codec codec;
  std::optional<Profile> profile;

  const Profile* known() const { return profile ? &*profile : nullptr; }
};

inline Coded coded(const Case& c) {
  // Rows and columns for the models that see them.
  const bool flat = c.plan.find("scale=flat") != std::string::npos || c.plan.find("scale=block") != std::string::npos;
  const Layout layout = flat && c.input != "hot row" ? Layout(c.d) : matrix(c.d);
  Codec codec = Codec::compile(c.plan, layout);
  if (!codec.takes_profile()) return {std::move(codec), std::nullopt};
  ProfileLearner learner(layout);
  learner.learn(input_of(c.learned, c.d));
  Profile profile = learner.profile();
  if (c.steps == Steps::kCommon) profile = profile.with_common_step(codec);
  return {codec.with_profile(profile), std::move(profile)};
}

}  // namespace fewbits::test
