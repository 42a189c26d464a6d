#include "cli/measurement.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <numbers>
#include <system_error>

#include "fewbits/error.h"
#include "io/arrays.h"
#include "kernels/random.h"

namespace fewbits::cli {
namespace {

namespace fs = std::filesystem;

double parse_sigma(const std::string& text) {
  double sigma = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), sigma);
  if (error != std::errc() || end != text.data() + text.size() || !(sigma > 0 && sigma <= 20))
    throw Error(Errc::kBadArgument, "'" + text + "' is no sigma of a lognormal; it is over 0 and at most 20");
  return sigma;
}

// normal:N and lognormal:N[,sigma]: exp(sigma · normal), with random signs so that it looks like an update.
std::optional<Updates> draw(const std::string& text, std::uint64_t seed) {
  const bool lognormal = text.starts_with("lognormal:");
  if (!lognormal && !text.starts_with("normal:")) return std::nullopt;
  std::string count = text.substr(text.find(':') + 1);
  double sigma = 1;
  if (const std::size_t comma = count.find(','); lognormal && comma != std::string::npos) {
    sigma = parse_sigma(count.substr(comma + 1));
    count.resize(comma);
  }
  const std::size_t n = parse_count(count);
  Updates updates{text, Layout(n), {std::vector<float>(n)}, true};
  RandomReader random(stream_key({seed, static_cast<std::uint64_t>(Purpose::kSynthetic)}));
  for (float& value : updates.values.front()) {
    // Box and Muller 1958; 1 − u is never 0.
    const double radius = std::sqrt(-2 * std::log(1 - random.uniform()));
    const double normal = radius * std::cos(2 * std::numbers::pi * random.uniform());
    const bool negative = (random.next() >> 31) != 0;
    value = static_cast<float>(lognormal ? (negative ? -1 : 1) * std::exp(sigma * normal) : normal);
  }
  return updates;
}

std::vector<std::string> files_of(const std::string& input) {
  std::error_code error;
  if (!fs::is_directory(input, error)) return {input};
  std::vector<std::string> files;
  for (const fs::directory_entry& entry : fs::directory_iterator(input, error)) {
    const fs::path extension = entry.path().extension();
    if (extension == ".npz" || extension == ".npy") files.push_back(entry.path().string());
  }
  if (error) throw Error(Errc::kBadArgument, input + ": cannot be read: " + error.message());
  if (files.empty()) throw Error(Errc::kBadArgument, input + ": no .npy or .npz in this folder");
  std::ranges::sort(files);
  return files;
}

}  // namespace

Updates read_updates(const std::vector<std::string>& inputs, std::uint64_t seed) {
  Updates updates;
  std::string first;
  for (const std::string& input : inputs) {
    if (std::optional<Updates> drawn = draw(input, seed)) {
      if (inputs.size() > 1)
        throw Error(Errc::kBadArgument,
                    "'" + input + "' stands alone: several inputs are files of one model's updates");
      return std::move(*drawn);
    }
    for (const std::string& file : files_of(input)) {
      io::Arrays arrays = io::read_arrays(file);
      if (first.empty()) {
        first = file;
        updates.layout = std::move(arrays.layout);
      } else if (arrays.layout.text() != updates.layout.text()) {
        throw Error(Errc::kBadArgument, file + ": its names and shapes are not those of " + first +
                                            "; several inputs are updates of one model");
      }
      updates.values.push_back(std::move(arrays.values));
    }
  }
  updates.source = inputs.front();
  if (inputs.size() > 1) updates.source += " and others";
  if (updates.values.size() > 1) updates.source += ", " + std::to_string(updates.values.size()) + " updates";
  return updates;
}

MeasureProgress::MeasureProgress() : terminal_(::isatty(STDERR_FILENO) != 0) {}

void MeasureProgress::update(const std::string& what, std::size_t done, std::size_t all) {
  if (!terminal_ || std::chrono::steady_clock::now() - start_ < std::chrono::seconds(1)) return;
  const std::scoped_lock lock(mutex_);
  const std::size_t percent = 100 * done / all;
  if (percent == last_) return;
  last_ = percent;
  std::fprintf(stderr, "\r\033[K%.60s: %zu %%", what.c_str(), percent);  // in one line of a terminal
  std::fflush(stderr);
  shown_ = true;
}

MeasureProgress::~MeasureProgress() {
  if (shown_) std::fputs("\r\033[K", stderr);
}

Measurement measure_plan(const std::string& plan, const Codec& codec, const Updates& updates, std::size_t repeats,
                         std::uint64_t seed, MeasureProgress* progress) {
  MeasureOptions options{.repeats = repeats, .seed = seed};
  if (progress != nullptr)
    options.progress = [&](std::size_t done, std::size_t all) { progress->update(plan, done, all); };
  std::vector<std::span<const float>> values;
  for (const std::vector<float>& update : updates.values) {
    // A synthetic vector may as well be free parameters of a structured family.
    const std::size_t length = updates.synthetic ? codec.elements() : update.size();
    values.push_back(std::span(update).first(length));
  }
  Measurement result = measure(codec, values, options);
  result.plan = plan;
  return result;
}

ordered_json to_json(const Measurement& m) {
  const auto or_null = [](const std::optional<double>& value) { return value ? ordered_json(*value) : ordered_json(); };
  return {{"plan", m.plan},
          {"coordinates", m.coordinates},
          {"bytes", m.bytes},
          {"bits_per_coordinate", m.rate},
          {"nmse", m.nmse},
          {"bias_ratio", or_null(m.bias_ratio)},
          {"limit_ratio", or_null(m.limit_ratio)},
          {"unbiased", m.unbiased == Unbiased::kAlways},
          {"encode_ns_per_coordinate", m.encode_ns},
          {"decode_ns_per_coordinate", m.decode_ns}};
}

std::vector<std::string> measurement_columns() {
  return {"plan", "bytes", "bits/coord", "NMSE", "x limit", "bias ratio", "unbiased", "enc ns/coord", "dec ns/coord"};
}

std::vector<std::string> measurement_cells(const Measurement& m) {
  const auto or_dash = [](const std::optional<double>& value) { return value ? number(*value) : std::string("-"); };
  char bytes[32];
  std::snprintf(bytes, sizeof bytes, "%.0f", m.bytes);
  const std::string unbiased = m.unbiased == Unbiased::kAlways ? "yes" : to_string(m.unbiased);
  return {m.plan,   bytes,    number(m.rate),       number(m.nmse),     or_dash(m.limit_ratio), or_dash(m.bias_ratio),
          unbiased, number(m.encode_ns), number(m.decode_ns)};
}

std::string measurement_notes(const Updates& updates, std::size_t repeats, std::uint64_t seed) {
  return updates.source + (updates.values.size() > 1 ? " of " : ", ") + std::to_string(updates.layout.elements()) +
         " coordinates, " + std::to_string(repeats) + " repeats, seed " + std::to_string(seed) +
         ".\nNMSE: mean of |decoded - update|^2 / |update|^2. x limit: NMSE x (4^rate - 1), 1 being the least of an "
         "unbiased code on a\n"
         "Gaussian. bias ratio: repeats x NMSE of the mean of the repeats / NMSE, 1 when unbiased.\n";
}

}  // namespace fewbits::cli
