#include "cli/frames.h"

#include <charconv>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "cli/common.h"
#include "fewbits/aggregator.h"
#include "fewbits/error.h"
#include "fewbits/profile.h"
#include "io/arrays.h"

namespace fewbits::cli {

Encodable to_encodable(const Codec& codec, std::vector<float> update, const RoundContext& context) {
  if (!codec.structured()) return {std::move(update), 0};
  const Structure family(codec, context);
  std::vector<float> free(family.free_parameters());
  family.project(update, free);
  std::vector<float> member(update.size());
  family.expand(free, member);
  double outside = 0;
  double all = 0;
  for (std::size_t i = 0; i < update.size(); ++i) {
    const double difference = static_cast<double>(update[i]) - static_cast<double>(member[i]);
    outside += difference * difference;
    all += static_cast<double>(update[i]) * static_cast<double>(update[i]);
  }
  return {std::move(free), all > 0 ? outside / all : 0};
}

std::vector<float> to_update(const Codec& codec, std::vector<float> decoded, const RoundContext& context) {
  if (!codec.structured()) return decoded;
  const Structure family(codec, context);
  std::vector<float> update(family.coordinates());
  family.expand(decoded, update);
  return update;
}

namespace {

void add_cohort(CLI::App& command, Cohort& cohort) {
  command.add_option("--cohort", cohort.size, "clients that are asked in the round, for plans that share work out among them")
      ->capture_default_str()
      ->check(whole_number());
  command.add_option("--place", cohort.index, "the client's place among them, from 0")->capture_default_str()->check(whole_number());
}

struct EncodeOptions {
  std::string plan;
  std::string profile;
  Context context;
  std::string update;
  std::string frame;
  bool json = false;
};

void encode(const EncodeOptions& options) {
  io::Arrays arrays = io::read_arrays(options.update);
  const Codec codec = with_profile(Codec::compile(options.plan, arrays.layout), options.profile);
  const RoundContext round{options.context.seed, options.context.round};
  const Encodable encodable = to_encodable(codec, std::move(arrays.values), round);
  const std::vector<std::byte> frame = codec.encode(encodable.values, options.context);
  io::write_file(options.frame, frame);
  const double rate = bits_per_coordinate(static_cast<double>(frame.size()), codec.layout().elements());
  if (encodable.energy_outside > 1e-6)
    std::fprintf(stderr, "fewbits: %s %% of the update's energy lies outside the structured family and is not sent\n",
                 number(100 * encodable.energy_outside).c_str());
  if (options.json) {
    print_json({{"frame", options.frame},
                {"plan", codec.plan()},
                {"coordinates", codec.layout().elements()},
                {"bytes", frame.size()},
                {"bits_per_coordinate", rate},
                {"energy_outside", encodable.energy_outside}});
  } else {
    print(options.frame + ": " + std::to_string(frame.size()) + " bytes, " + number(rate) + " bits a coordinate\n");
  }
}

struct DecodeOptions {
  std::string plan;
  std::string profile;
  RunContext context;
  LayoutOptions layout;
  std::string frame;
  std::string update;
  bool json = false;
};

void decode(const DecodeOptions& options) {
  const Codec codec = with_profile(Codec::compile(options.plan, options.layout.layout()), options.profile);
  io::check_writable(options.update, codec.layout());
  const std::vector<std::byte> frame = io::read_file(options.frame);
  std::vector<float> decoded = codec.decode(frame, options.context);
  const FrameInfo info = inspect(frame);
  const std::vector<float> update = to_update(codec, std::move(decoded), {options.context.seed, info.round});
  io::write_arrays(options.update, codec.layout(), update);
  if (options.json)
    print_json(
        {{"update", options.update}, {"coordinates", update.size()}, {"round", info.round}, {"client", info.client}});
  else
    print(options.update + ": " + std::to_string(update.size()) + " coordinates, round " + std::to_string(info.round) +
          ", client " + std::to_string(info.client) + "\n");
}

struct AggregateOptions {
  std::string plan;
  std::string profile;
  RoundContext context;
  LayoutOptions layout;
  Limits limits;
  std::string mean;
  std::string learn;          // file of the learner's state
  std::string next_profile;   // file of the next round's profile
  bool common_step = false;
  std::vector<std::string> frames;
  bool json = false;
};

struct WeightedFile {
  std::string path;
  double weight = 1;
};

// "a.fb:600"; a file that has the whole name goes before a weight.
WeightedFile parse_weighted(const std::string& text) {
  std::error_code error;
  const std::size_t colon = text.rfind(':');
  if (colon == std::string::npos || std::filesystem::exists(text, error)) return {text, 1};
  const std::string digits = text.substr(colon + 1);
  double weight = 0;
  const auto [end, failure] = std::from_chars(digits.data(), digits.data() + digits.size(), weight);
  if (failure != std::errc() || end != digits.data() + digits.size())
    throw Error(Errc::kBadArgument, "'" + text + "' has no file of that name, and '" + digits + "' is no weight");
  return {text.substr(0, colon), weight};
}

// The learner of a state file; a new one where there is none yet.
ProfileLearner read_learner(const Layout& layout, const std::string& path) {
  ProfileLearner learner(layout);
  std::error_code error;
  if (!std::filesystem::exists(path, error)) {
    const std::filesystem::path folder = std::filesystem::path(path).parent_path();
    if (!folder.empty() && !std::filesystem::is_directory(folder, error))
      throw Error(Errc::kBadArgument, path + ": cannot be written: there is no folder " + folder.string());
    return learner;
  }
  const std::vector<std::byte> bytes = io::read_file(path);
  try {
    learner.restore(bytes);
  } catch (const Error& failure) {
    throw Error(failure.code(), path + ": " + failure.what());
  }
  return learner;
}

Profile next_profile(const Codec& plain, const ProfileLearner& learner, bool common_step) {
  const Profile profile = learner.profile();
  // Where nothing but zeros was sent, all that is left is the plan without a profile.
  return common_step && !profile.is_flat() ? profile.with_common_step(plain) : profile;
}

void aggregate(const AggregateOptions& options) {
  const Codec plain = Codec::compile(options.plan, options.layout.layout());
  const Codec codec = with_profile(plain, options.profile);
  io::check_writable(options.mean, codec.layout());
  std::optional<ProfileLearner> learner;
  if (!options.learn.empty()) {
    check_takes_profile(codec, "--learn");
    learner = read_learner(codec.layout(), options.learn);
  }
  Aggregator sum(codec, options.context, options.limits);
  std::uint32_t place = 0;
  for (const std::string& text : options.frames) {
    const WeightedFile file = parse_weighted(text);
    const std::vector<std::byte> frame = io::read_file(file.path);
    try {
      sum.add(frame, {inspect(frame).client, file.weight, codec.describe().cohort == 0 ? 0 : place++});
    } catch (const Error& error) {
      throw Error(error.code(), file.path + ": " + error.what(), error.offset());
    }
  }
  const std::vector<float> update = to_update(codec, sum.mean(), options.context);
  std::optional<Profile> next;
  if (learner) {
    learner->learn(sum);
    if (!options.next_profile.empty()) next = next_profile(plain, *learner, options.common_step);
  }
  if (next) io::write_file(options.next_profile, next->bytes());
  io::write_arrays(options.mean, codec.layout(), update);
  // The state last: where something fails before it, the round can be done again.
  if (learner) io::write_file(options.learn, learner->save());
  if (options.json) {
    ordered_json said = {{"mean", options.mean},
                         {"coordinates", update.size()},
                         {"clients", sum.clients()},
                         {"weight", sum.total_weight()}};
    if (learner) said["rounds_learned"] = learner->rounds();
    if (next)
      said["next_profile"] = {{"file", options.next_profile},
                              {"bytes", next->bytes().size()},
                              {"flat", next->is_flat()},
                              {"common_step", next->has_common_step()}};
    print_json(said);
    return;
  }
  print(options.mean + ": mean of " + std::to_string(sum.clients()) + " clients, total weight " +
        number(sum.total_weight()) + "\n");
  if (learner) print(options.learn + ": learned from " + std::to_string(learner->rounds()) + " rounds\n");
  if (next)
    print(options.next_profile + ": " + std::to_string(next->bytes().size()) + " bytes, " +
          (next->is_flat() ? "flat: there is nothing to tell scales from" : next->has_common_step() ? "with a common step" : "scales only") +
          "\n");
}

}  // namespace

void add_encode_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("encode", "an update to a frame");
  const auto options = std::make_shared<EncodeOptions>();
  add_plan(*command, options->plan);
  add_profile(*command, options->profile);
  add_seed(*command, options->context.seed);
  command->add_option("--round", options->context.round, "below 2^28")->capture_default_str()->check(whole_number());
  command->add_option("--client", options->context.client, "id of the client")
      ->capture_default_str()
      ->check(whole_number());
  add_cohort(*command, options->context.cohort);
  command->add_option("UPDATE", options->update, ".npy, or .npz whose arrays are the layout")->required();
  command->add_option("FRAME", options->frame, "file to write")->required();
  add_json(*command, options->json);
  command->footer(R"(Examples:
  fewbits encode --plan 'hadamard+quantize:bits=2' --seed 42 --round 3 --client 17 update.npy out.fb
  fewbits encode --plan '*.bias=f32; *=hadamard+quantize:bits=4' updates.npz out.fb
  fewbits encode --plan trellis:scale=profile,bits=0.5 --profile round3.profile --round 3 updates.npz out.fb)");
  command->callback([options] { encode(*options); });
}

void add_decode_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("decode", "a frame back to an update");
  const auto options = std::make_shared<DecodeOptions>();
  add_plan(*command, options->plan);
  add_profile(*command, options->profile);
  add_seed(*command, options->context.seed);
  add_cohort(*command, options->context.cohort);
  options->layout.add_to(*command);
  command->add_option("FRAME", options->frame, "file to read")->required();
  command->add_option("UPDATE", options->update, ".npy or .npz to write")->required();
  add_json(*command, options->json);
  command->footer(R"(Examples:
  fewbits decode --plan 'hadamard+quantize:bits=2' --seed 42 --size 2^20 out.fb back.npy
  fewbits decode --plan 'hadamard+quantize:bits=2' --seed 42 --like updates.npz out.fb back.npz
  fewbits decode --plan trellis:scale=profile,bits=0.5 --profile round3.profile --like updates.npz out.fb back.npz)");
  command->callback([options] { decode(*options); });
}

void add_aggregate_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("aggregate", "the weighted mean of the frames of one round");
  const auto options = std::make_shared<AggregateOptions>();
  add_plan(*command, options->plan);
  add_profile(*command, options->profile);
  add_seed(*command, options->context.seed);
  command->add_option("--round", options->context.round, "of all the frames")->required()->check(whole_number());
  command->add_option("--cohort", options->context.cohort_size,
                      "clients that were asked; where the plan shares work out among them, frames come in the order of their places")
      ->capture_default_str()
      ->check(whole_number());
  options->layout.add_to(*command);
  command->add_option("--max-abs", options->limits.max_abs, "largest magnitude that a frame may hold")
      ->capture_default_str();
  command->add_option("--max-weight", options->limits.max_weight, "largest weight of a frame")->capture_default_str();
  CLI::Option* learn = command->add_option(
      "--learn", options->learn, "file of what was learned of the scales so far; made where missing, then brought up to date");
  CLI::Option* next =
      command->add_option("--next-profile", options->next_profile, "file to write: the next round's --profile")->needs(learn);
  command->add_flag("--common-step", options->common_step, "the next profile has the steps too, by the plan's wish")->needs(next);
  command->add_option("--out", options->mean, ".npy or .npz to write")->required();
  command->add_option("FRAMES", options->frames, "files, each with :WEIGHT or weight 1")->required();
  add_json(*command, options->json);
  command->footer(
      R"(A frame that is refused ends the command, and nothing is written. Client ids are those that the frames name.

Examples:
  fewbits aggregate --plan 'hadamard+quantize:bits=2' --seed 42 --round 3 --size 2^20 --out mean.npy a.fb b.fb:600
  fewbits aggregate --plan trellis:scale=profile,bits=0.5 --profile round3.profile --round 3 --like model.npz \
      --out mean.npz --learn scales.state --next-profile round4.profile --common-step a.fb b.fb)");
  command->callback([options] { aggregate(*options); });
}

}  // namespace fewbits::cli
