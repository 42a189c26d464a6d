#include "fewbits/federated/links.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <fstream>
#include <sstream>
#include <utility>

#include "datasets/spec.h"
#include "datasets/variates.h"
#include "fewbits/error.h"
#include "kernels/random.h"

namespace fewbits::federated {
namespace {

constexpr double kBytesPerMbit = 1e6 / 8;
constexpr double kSecondsBetweenLooks = 10;
constexpr double kSafeShare = 0.8;  // of what a link should carry; the rest is for fades

struct Range {
  double least;
  double most;
};
constexpr Range kSpeeds = {1e-6, 1e6};     // Mbit/s
constexpr Range kLatencies = {0, 3600};    // s
constexpr Range kExampleTimes = {0, 1e6};  // ms
constexpr Range kDeviations = {0, 5};
constexpr Range kChances = {0, 1};
constexpr Range kFactors = {1, 100};
constexpr Range kDeadlines = {1e-3, 1e6};  // s
constexpr Range kWaits = {0, 1e6};         // s

struct NumberOption {
  const char* name;
  double LinkOptions::* member;
  Range range;
  const char* form;
  const char* summary;
};

// THE list of options that are numbers and always there.
constexpr NumberOption kNumbers[] = {
    {"up", &LinkOptions::upload_mbit, kSpeeds, "up=MBIT", "upload speed in Mbit/s, median of the clients; 1"},
    {"down", &LinkOptions::download_mbit, kSpeeds, "down=MBIT", "download speed in Mbit/s, median; 10"},
    {"latency", &LinkOptions::latency, kLatencies, "latency=S", "seconds that each transfer costs, median; 0.1"},
    {"example-ms", &LinkOptions::example_ms, kExampleTimes, "example-ms=MS",
     "milliseconds of computing for an example, median; 1"},
    {"spread", &LinkOptions::spread, kDeviations, "spread=D",
     "standard deviation of the logarithm of these four, between clients; 0.7"},
    {"fade", &LinkOptions::fade, kDeviations, "fade=D", "the same of a client's speeds, between rounds; 0"},
    {"away", &LinkOptions::away, kChances, "away=P", "chance of a client not to be reachable in a round; 0"},
    {"lost", &LinkOptions::lost, kChances, "lost=P", "chance of a client to be lost in the middle of its upload; 0"},
    {"over", &LinkOptions::over_selection, kFactors, "over=F",
     "so many times as many clients are asked as are wanted; the first to answer count; 1"},
    {"patience", &LinkOptions::patience, kWaits, "patience=S",
     "seconds that a client waits at most for a good connection before it sends; 0"},
};
constexpr const char* kDeadline = "deadline";
constexpr const char* kTrace = "trace";

std::string shortest(double value) {
  std::ostringstream out;
  out << value;
  return out.str();
}

std::string expected(Range range) {
  return ", expected a number from " + shortest(range.least) + " to " + shortest(range.most);
}

bool within(Range range, double value) { return value >= range.least && value <= range.most; }  // no for NaN

void check(const char* name, double value, Range range) {
  if (within(range, value)) return;
  throw Error(Errc::kBadArgument, std::string(name) + " of the links is " + shortest(value) + expected(range));
}

LinkOptions checked(LinkOptions options) {
  for (const NumberOption& option : kNumbers) check(option.name, options.*option.member, option.range);
  if (options.deadline) check(kDeadline, *options.deadline, kDeadlines);
  return options;
}

std::uint64_t key(Purpose purpose, std::uint64_t seed, std::uint32_t round, std::uint32_t client) {
  return stream_key({static_cast<std::uint64_t>(purpose), seed, round, client});
}

// As RandomReader's uniform(): in [0, 1), from the two words at `first`.
double uniform(const RandomStream& stream, std::uint64_t first) {
  std::uint32_t words[2];
  stream.fill(first, words);
  return static_cast<double>((words[0] | static_cast<std::uint64_t>(words[1]) << 32) >> 11) * 0x1p-53;
}

struct Column {
  const char* name;
  Range range;
};
constexpr std::array<Column, 4> kColumns = {{{"upload_mbit", kSpeeds},
                                             {"download_mbit", kSpeeds},
                                             {"latency_s", kLatencies},
                                             {"example_ms", kExampleTimes}}};
constexpr std::size_t kColumnsNeeded = 3;

// The lines of a trace. Its faults are named by file and line.
class TraceReader {
 public:
  explicit TraceReader(const std::string& path) : path_(path), in_(path) {
    if (!in_) throw Error(Errc::kBadArgument, "trace '" + path + "' cannot be read");
    next_line();
    const std::string least = header(kColumnsNeeded), most = header(kColumns.size());
    if (line_ != least && line_ != most) fail("is '" + line_ + "', expected '" + least + "' or '" + most + "'");
    columns_ = line_ == least ? kColumnsNeeded : kColumns.size();
  }

  std::vector<Link> links() {
    std::vector<Link> links;
    while (next_line()) {
      const auto [up, down, latency, example_ms] = row();
      links.push_back({up * kBytesPerMbit, down * kBytesPerMbit, latency, example_ms / 1000});
    }
    if (links.empty()) fail("is the last, expected a line for each link");
    return links;
  }

 private:
  static std::string header(std::size_t columns) {
    std::string text;
    for (std::size_t i = 0; i < columns; ++i) text += (i == 0 ? "" : ",") + std::string(kColumns[i].name);
    return text;
  }

  [[noreturn]] void fail(const std::string& what) const {
    throw Error(Errc::kBadArgument, "trace '" + path_ + "': line " + std::to_string(number_) + " " + what);
  }

  // False at the end of the file.
  bool next_line() {
    if (!std::getline(in_, line_)) return false;
    ++number_;
    if (line_.ends_with('\r')) line_.pop_back();
    return true;
  }

  std::array<double, kColumns.size()> row() const {
    if (static_cast<std::size_t>(std::ranges::count(line_, ',')) + 1 != columns_) {
      fail("is '" + line_ + "', expected " + std::to_string(columns_) + " numbers");
    }
    std::array<double, kColumns.size()> values{0, 0, 0, -1};
    const char* at = line_.data();
    for (std::size_t i = 0; i < columns_; ++i) {
      const char* end = std::find(at, line_.data() + line_.size(), ',');
      const auto [stop, error] = std::from_chars(at, end, values[i]);
      if (error != std::errc() || stop != end || !within(kColumns[i].range, values[i])) {
        fail("has " + std::string(kColumns[i].name) + " '" + std::string(at, end) + "'" + expected(kColumns[i].range));
      }
      at = end + 1;
    }
    return values;
  }

  std::string path_;
  std::ifstream in_;
  std::string line_;
  std::size_t number_ = 0;
  std::size_t columns_ = 0;
};

// Of a client that looks again while its connection is bad, which each time has chance 1/2.
double mean_wait(const LinkOptions& options) {
  if (options.fade == 0) return 0;
  double mean = 0, chance = 0.5;
  for (double waited = 0; waited < options.patience && chance > 0x1p-60; waited += kSecondsBetweenLooks, chance /= 2) {
    mean += chance * std::min(kSecondsBetweenLooks, options.patience - waited);
  }
  return mean;
}

// When a client that can send from now on does so, and at what part of its median speed.
struct Start {
  double wait;
  double speed;
};
Start wait_for_good(const LinkOptions& options, datasets::NormalReader& normal) {
  for (double waited = 0;; waited = std::min(waited + kSecondsBetweenLooks, options.patience)) {
    const double speed = datasets::portable_exp(options.fade * normal.next());
    if (speed >= 1 || waited >= options.patience) return {waited, speed};
  }
}

double time_before_sending(const Link& link, const ClientWork& work, double download_speed) {
  return link.latency + static_cast<double>(work.download_bytes) / (link.download * download_speed) +
         static_cast<double>(work.examples) * link.seconds_an_example;
}

}  // namespace

std::vector<LinkOptionInfo> link_options() {
  std::vector<LinkOptionInfo> options;
  for (const NumberOption& option : kNumbers) options.push_back({option.name, option.form, option.summary});
  options.push_back({kDeadline, "deadline=S",
                     "seconds from the start of a round; frames that come later are dropped; none"});
  options.push_back({kTrace, "trace=FILE",
                     "CSV file of clients' links in place of up, down, latency and example-ms, with the header "
                     "upload_mbit,download_mbit,latency_s[,example_ms]"});
  return options;
}

LinkOptions parse_links(std::string_view text) {
  const datasets::Spec spec("option", text.empty() ? "links" : "links:" + std::string(text));
  std::vector<std::string> known;
  for (const LinkOptionInfo& option : link_options()) known.push_back(option.name);
  spec.allow_only(known);
  LinkOptions options;
  for (const NumberOption& option : kNumbers) {
    if (spec.has(option.name)) options.*option.member = spec.number(option.name, option.range.least, option.range.most);
  }
  if (spec.has(kDeadline)) options.deadline = spec.number(kDeadline, kDeadlines.least, kDeadlines.most);
  if (spec.has(kTrace)) options.trace = spec.value(kTrace);
  return options;
}

Links::Links(LinkOptions options, std::uint64_t seed) : options_(checked(std::move(options))), seed_(seed) {
  if (options_.trace.empty()) return;
  trace_ = TraceReader(options_.trace).links();
  RandomReader random(stream_key({static_cast<std::uint64_t>(Purpose::kLinkTrace), seed}));
  datasets::shuffle(random, trace_);
}

std::size_t Links::asked(std::size_t wanted) const noexcept {
  const double exact = options_.over_selection * static_cast<double>(wanted);
  // 1.1 · 110 is a little over 121 in binary, and must not become 122.
  return std::max(wanted, static_cast<std::size_t>(std::ceil(exact * (1 - 1e-12))));
}

bool Links::away(std::uint32_t round, std::uint32_t client) const noexcept {
  return uniform(RandomStream(key(Purpose::kLinkAway, seed_, round, client)), 0) < options_.away;
}

Link Links::link(std::uint32_t client) const noexcept {
  RandomReader random(stream_key({static_cast<std::uint64_t>(Purpose::kLink), seed_, client}));
  datasets::NormalReader normal(random);
  const auto draw = [&](double median) { return median * datasets::portable_exp(options_.spread * normal.next()); };
  Link link;
  link.upload = draw(options_.upload_mbit * kBytesPerMbit);
  link.download = draw(options_.download_mbit * kBytesPerMbit);
  link.latency = draw(options_.latency);
  link.seconds_an_example = draw(options_.example_ms / 1000);
  if (trace_.empty()) return link;
  Link row = trace_[client % trace_.size()];
  if (row.seconds_an_example < 0) row.seconds_an_example = link.seconds_an_example;
  return row;
}

Delivery Links::deliver(std::uint32_t round, std::uint32_t client, const ClientWork& work,
                        std::uint64_t frame_bytes) const noexcept {
  Delivery delivery{.client = client, .bytes_sent = frame_bytes};
  RandomReader luck(key(Purpose::kLinkLost, seed_, round, client));
  delivery.lost = luck.uniform() < options_.lost;
  if (delivery.lost && frame_bytes > 0) delivery.bytes_sent = luck.below(frame_bytes);

  RandomReader random(key(Purpose::kLinkFade, seed_, round, client));
  datasets::NormalReader normal(random);
  const Link own = link(client);
  const double before = time_before_sending(own, work, datasets::portable_exp(options_.fade * normal.next()));
  const Start start = wait_for_good(options_, normal);
  delivery.arrival = before + start.wait + own.latency +
                     static_cast<double>(delivery.bytes_sent) / (own.upload * start.speed);
  return delivery;
}

std::optional<double> Links::upload_budget(std::uint32_t client, const ClientWork& work) const noexcept {
  if (!options_.deadline) return std::nullopt;
  const Link own = link(client);
  const double left = *options_.deadline - time_before_sending(own, work, 1) - mean_wait(options_) - own.latency;
  return std::max(0.0, kSafeShare * left * own.upload);
}

RoundOutcome close_round(std::span<const Delivery> deliveries, std::size_t wanted, std::optional<double> deadline) {
  std::vector<Delivery> whole;
  RoundOutcome outcome;
  double last = 0;
  for (const Delivery& delivery : deliveries) {
    outcome.bytes_wasted += delivery.bytes_sent;
    last = std::max(last, delivery.arrival);
    if (!delivery.lost && (!deadline || delivery.arrival <= *deadline)) whole.push_back(delivery);
  }
  std::ranges::sort(whole, {}, [](const Delivery& delivery) { return std::pair(delivery.arrival, delivery.client); });
  whole.resize(std::min(wanted, whole.size()));
  for (const Delivery& delivery : whole) {
    outcome.accepted.push_back(delivery.client);
    outcome.bytes_wasted -= delivery.bytes_sent;
  }
  std::ranges::sort(outcome.accepted);
  if (whole.size() < wanted) {
    outcome.seconds = deadline.value_or(last);
  } else if (!whole.empty()) {
    outcome.seconds = whole.back().arrival;
  }
  return outcome;
}

}  // namespace fewbits::federated
