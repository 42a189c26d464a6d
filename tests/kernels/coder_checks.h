#pragma once

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "kernels/cells.h"
#include "kernels/random.h"
#include "kernels/rans.h"
#include "kernels/trellis.h"
#include "tests/kernels/targets_checks.h"

// The loops of dithered lattices and of their entropy coder on one target against CellModel's and the plain formulas. No test
// library, as in targets_checks.h.
namespace fewbits::targets_checks {

class CoderChecker {
 public:
  std::vector<std::string> failures;

  explicit CoderChecker(const targets::Kernels& kernels) : kernels_(kernels), before_(targets::chosen()) {
    targets::choose(kernels);
  }
  ~CoderChecker() { targets::choose(before_); }
  CoderChecker(const CoderChecker&) = delete;
  CoderChecker& operator=(const CoderChecker&) = delete;

  void all(std::size_t most = 20'000) {
    for (const std::size_t n : {0u, 1u, 15u, 16u, 17u, 31u, 32u, 33u, 100u, 511u, 512u, 513u, 1024u, 2047u, 20'000u}) {
      if (n > most) break;
      n_ = n;
      for (const bool coded : {false, true}) {
        for (const bool one_class : {false, true}) {
          draw(coded, one_class);
          for (const unsigned lanes : {1u, 2u, 8u, 16u, 32u}) stream(lanes);
          places_and_values();
        }
      }
      lengths();
      keeps();
      for (const unsigned states : {8u, 64u, 256u})
        for (const unsigned streams : {1u, 8u, 32u}) search(states, streams);
    }
  }

 private:
  static constexpr int kLeast = -3;
  static constexpr std::size_t kClasses = 9;
  static constexpr std::size_t kRawClass = 7;   // whose points have raw bits, in stretches

  void expect(bool well, const std::string& what) {
    if (!well) failures.push_back(what + ", n = " + std::to_string(n_));
  }

  // Points that a writer could have, some of them far from 0, in a code's trellises or without one.
  void draw(bool coded, bool one_class) {
    RandomReader random(stream_key({n_, coded, one_class}));
    const int shape = one_class ? 0 : 6;
    tables_ = {};
    tables_.cdf = distribution(shape);
    tables_.quantiles = quantiles(shape);
    tables_.spacing_bits = kStepBits + (coded ? 1 : 0);
    tables_.word_shift = coded ? 6 : 8;
    tables_.code = coded ? trellis_code(64) : TrellisCode{};
    tables_.least = kLeast;
    models_.clear();
    slopes_.clear();
    guides_.clear();
    for (std::size_t c = 0; c < kClasses; ++c) {
      models_.emplace_back(shape, coded ? 2u : 1u, c == kRawClass ? 40 : 0.1 + 0.45 * static_cast<double>(c));
      expect(models_.back().in_lanes() == (c != kRawClass), "in_lanes");
      slopes_.push_back(models_.back().slope());
      guides_.push_back(models_.back().guide());
    }
    tables_.slopes = slopes_.data();
    tables_.guides = guides_.data();
    one_class_ = one_class;
    classes_.assign(n_, kLeast);
    words_.resize(n_);
    points_.resize(n_);
    std::uint32_t codes[kMaxTrellisStreams] = {};
    for (std::size_t j = 0; j < n_; ++j) {
      if (!one_class) {
        const std::size_t c = random.below(kClasses);
        const bool raw = j / 64 % 4 == 3;
        classes_[j] = static_cast<std::int16_t>(kLeast + static_cast<int>(c == kRawClass && !raw ? 0 : c));
      }
      words_[j] = random.next();
      const std::int64_t odd = coded ? codes[j % kMaxTrellisStreams] & 1 : 0;
      const std::int64_t offset = static_cast<std::int64_t>(words_[j] >> tables_.word_shift) - odd * kOneStep;
      const auto reach = static_cast<std::int64_t>(random.below(100) == 0 ? 2000 : 5);
      const std::int64_t m = model(j).center(offset) + static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(reach))) - reach / 2;
      points_[j] = static_cast<std::int32_t>(coded ? 2 * m + odd : m);
      if (coded) codes[j % kMaxTrellisStreams] = tables_.code.next(codes[j % kMaxTrellisStreams], m);
    }
  }

  bool coded() const { return tables_.code.states != 1; }
  const CellModel& model(std::size_t j) const { return models_[static_cast<std::size_t>(classes_[j] - kLeast)]; }
  const std::int16_t* classes() const { return one_class_ ? nullptr : classes_.data(); }

  void write_one(RansWriter& rans, unsigned lanes, std::size_t j) const {
    const std::int64_t k = points_[j];
    const std::int64_t odd = coded() ? k & 1 : 0;
    const std::int64_t offset = static_cast<std::int64_t>(words_[j] >> tables_.word_shift) - odd * kOneStep;
    model(j).write(rans, static_cast<unsigned>(j % lanes), offset, coded() ? k >> 1 : k);
  }

  std::vector<std::byte> written(unsigned lanes, bool at_once) const {
    std::vector<std::uint16_t> room(RansWriter::words_for(n_ * CellModel::kMaxBits));
    RansWriter rans(room);
    rans.begin(lanes);
    std::vector<std::uint32_t> starts(n_), frequencies(n_);
    for (std::size_t left = n_; left != 0;) {
      if (at_once) {
        const std::size_t after = left;
        left = kernels_.cell_intervals(tables_, classes(), words_.data(), points_.data(), after, starts.data(), frequencies.data());
        rans.put_intervals(left, std::span(starts).subspan(left, after - left), std::span(frequencies).subspan(left, after - left));
      }
      if (left != 0) write_one(rans, lanes, --left);
    }
    std::vector<std::byte> out(rans.bytes());
    rans.finish(out);
    return out;
  }

  struct Read {
    std::vector<std::int32_t> points;
    bool ok = false;
    bool operator==(const Read&) const = default;
  };

  // Where the bytes are no stream, what is read up to their end.
  Read read(std::span<const std::byte> bytes, unsigned lanes, bool at_once) const {
    RansReader rans(bytes);
    rans.begin(lanes);
    Read result{std::vector<std::int32_t>(n_), false};
    std::uint32_t codes[kMaxTrellisStreams] = {};
    const auto own = one_class_ ? std::span<const std::int16_t>{} : std::span<const std::int16_t>(classes_);
    for (std::size_t j = 0; j < n_ && rans.good();) {
      if (at_once && j % lanes == 0) j = rans.take_cells(tables_, own, words_, j, codes, result.points);
      if (j == n_ || !rans.good()) break;
      std::uint32_t& code = codes[j % kMaxTrellisStreams];
      const std::int64_t odd = coded() ? code & 1 : 0;
      const std::int64_t offset = static_cast<std::int64_t>(words_[j] >> tables_.word_shift) - odd * kOneStep;
      const std::int64_t m = model(j).read(rans, static_cast<unsigned>(j % lanes), offset);
      result.points[j] = static_cast<std::int32_t>(coded() ? 2 * m + odd : m);
      if (coded()) code = tables_.code.next(code, m);
      ++j;
    }
    result.ok = rans.ok();
    return result;
  }

  void stream(unsigned lanes) {
    const std::string name = std::string(coded() ? "trellis" : "dither") + ", " + std::to_string(lanes) + " lanes";
    std::vector<std::byte> bytes = written(lanes, false);
    expect(written(lanes, true) == bytes, "cell_intervals: " + name);
    const Read whole = read(bytes, lanes, true);
    expect(whole.ok && whole.points == points_, "rans_take_cells: " + name);
    RandomReader random(stream_key({n_, lanes, 7}));
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random.next());
    for (std::size_t lane = 0; 4 * lane + 3 < std::min<std::size_t>(bytes.size(), 4 * lanes); ++lane) bytes[4 * lane + 3] |= std::byte{1};
    expect(read(bytes, lanes, true) == read(bytes, lanes, false), "rans_take_cells of noise: " + name);
  }

  void places_and_values() {
    const std::vector<float> x = values(n_, Input::kPlain, 5);
    const std::vector<double> table = doubles(kClasses, 6);
    std::vector<double> steps(kClasses);
    for (std::size_t c = 0; c < kClasses; ++c) steps[c] = 0x1p20 * std::abs(table[c]);
    std::vector<float> far(x);
    if (n_ > 20) far[n_ / 2] = 0x1p16f;
    const auto sign = [&](std::size_t i) { return (words_[i] & 1) != 0 ? -1.0 : 1.0; };
    const auto of = [&](std::span<const double> all, std::size_t i) { return all[static_cast<std::size_t>(classes_[i] - kLeast)]; };
    for (const std::vector<float>* input : {&x, &std::as_const(far)}) {
      std::vector<std::int64_t> places(n_);
      const std::size_t done = kernels_.dither_places(steps.data(), classes(), kLeast, tables_.word_shift, words_.data(),
                                                      input->data(), n_, places.data());
      bool well = true, over = false;
      for (std::size_t i = 0; i < std::min(n_, done + 16); ++i) {
        const double place = sign(i) * static_cast<double>((*input)[i]) * of(steps, i) * 0x1p24;
        over = over || (i >= done && std::abs(place) >= 0x1p51);
        if (i < done) well = well && places[i] == std::llrint(place) + static_cast<std::int64_t>(words_[i] >> tables_.word_shift);
      }
      expect(well && (over || done == n_ / 16 * 16), "dither_places");
    }
    const std::vector<double> before = doubles(n_, 15);
    std::vector<double> got = before;
    const std::size_t done = kernels_.dither_add(table.data(), classes(), kLeast, tables_.word_shift, words_.data(),
                                                 points_.data(), n_, 0.7, got.data());
    bool well = done == n_ / 16 * 16;
    for (std::size_t i = 0; i < done; ++i) {
      const std::int64_t units = points_[i] * kOneStep - static_cast<std::int64_t>(words_[i] >> tables_.word_shift);
      well = well && same(got[i], before[i] + 0.7 * (sign(i) * static_cast<double>(units) * of(table, i)));
    }
    expect(well, "dither_add");
  }

  // Also of models whose points have raw bits.
  void lengths() {
    const std::vector<float> noise = values(n_, Input::kPlain, 8);
    std::vector<float> x = values(n_, Input::kPlain, 9);
    for (std::size_t i = 0; i < n_; ++i) x[i] = i % 50 == 49 ? 0x1p20f : std::abs(x[i]);
    std::vector<std::uint32_t> scratch(n_);
    for (const double sigma : {0.1, 1.0, 3.0, 100.0, 0x1p22}) {
      const CellModel model(3, 2, sigma);
      const double steps = 3 * sigma;
      double want = 0;
      for (std::size_t i = 0; i < n_; ++i)
        want += model.length(std::min(static_cast<double>(x[i]) * steps, 0x1p30) + static_cast<double>(noise[i]));
      // All are multiples of 1/256.
      expect(model.lengths(steps, x, noise, scratch) == want, "cell_lengths");
    }
  }

  void keeps() {
    RandomReader random(stream_key({n_, 12}));
    std::vector<std::int16_t> own(n_);
    std::vector<std::uint32_t> words(n_);
    for (std::size_t i = 0; i < n_; ++i) {
      own[i] = static_cast<std::int16_t>(random.below(7) == 0 ? INT16_MIN : kLeast + static_cast<int>(random.below(kClasses)));
      words[i] = random.next();
    }
    for (const unsigned few : {0u, 6u}) {
      std::vector<std::uint32_t> limits(kClasses);
      for (std::size_t c = 0; c < kClasses; ++c) limits[c] = (0xFFFF'FFFFu >> few) / static_cast<std::uint32_t>(kClasses - c);
      std::vector<std::uint32_t> want, got(n_);
      for (std::size_t i = 0; i < n_; ++i)
        if (own[i] != INT16_MIN && words[i] <= limits[static_cast<std::size_t>(own[i] - kLeast)]) want.push_back(static_cast<std::uint32_t>(5 + i));
      got.resize(kernels_.keep(words.data(), own.data(), limits.data(), kLeast, limits.back(), n_, 5, got.data()));
      expect(got == want, "keep");
    }
  }

  void search(unsigned states, unsigned streams) {
    RandomReader random(stream_key({n_, states, streams}));
    std::vector<std::int64_t> places(n_);
    std::vector<std::uint16_t> weights(n_);
    for (std::size_t i = 0; i < n_; ++i) {
      places[i] = static_cast<std::int64_t>(random.next64()) >> (i % 10 == 0 ? 10 : 34);
      weights[i] = static_cast<std::uint16_t>(1 + random.below(256));
    }
    const auto points = [&](const targets::Kernels& kernels) {
      std::vector<std::uint8_t> scratch(kTrellisBlock * states * streams / 8);
      std::vector<std::int32_t> found(n_);
      kernels.trellis_search(states, streams, places.data(), weights.data(), n_, scratch.data(), found.data());
      return found;
    };
    expect(points(kernels_) == points(*targets::available().front()),
           "trellis_search, " + std::to_string(states) + " states, " + std::to_string(streams) + " streams");
  }

  const targets::Kernels& kernels_;
  const targets::Kernels& before_;
  std::size_t n_ = 0;
  bool one_class_ = false;
  targets::CellTables tables_;
  std::vector<CellModel> models_;
  std::vector<std::int32_t> slopes_;
  std::vector<std::uint32_t> guides_;
  std::vector<std::int16_t> classes_;
  std::vector<std::uint32_t> words_;
  std::vector<std::int32_t> points_;
};

}  // namespace fewbits::targets_checks
