#include <tbb/parallel_for.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <utility>

#include "federated/sampling.h"
#include "federated/stopwatch.h"
#include "federated/trainer_state.h"
#include "fewbits/structure.h"

// What happens in a round, from the choice of its clients to the mean of their updates.
namespace fewbits::federated {
namespace {

// Frames that are held before they are aggregated: enough for many cores, few enough for cohorts of thousands.
constexpr std::size_t kFramesAtOnce = 64;

// Of a frame beside its values, on average.
constexpr double kHeaderBytes = 24;

// `count` of the clients, or all, at even distances.
std::vector<std::uint32_t> spread(const std::vector<Participant>& cohort, std::size_t count) {
  std::vector<std::uint32_t> chosen(std::min(count, cohort.size()));
  for (std::size_t i = 0; i < chosen.size(); ++i) chosen[i] = cohort[i * cohort.size() / chosen.size()].client;
  return chosen;
}

std::vector<std::uint32_t> ids_of(std::span<const Participant> cohort) {
  std::vector<std::uint32_t> ids;
  for (const Participant& participant : cohort) ids.push_back(participant.client);
  return ids;
}

// What came of a frame that was cut short is handed to the sum like any other, which refuses it.
void expect_refusal(const auto& add) {
  try {
    add();
  } catch (const Error&) {
    return;
  }
  throw std::logic_error("a frame that was cut short has been added");
}

}  // namespace

bool is_divergence(const Error& error) {
  return error.code() == Errc::kNotFinite || error.code() == Errc::kTooLarge;
}

// Those that take part in a round, in the order of their ids: that are asked, have examples, and can be reached.
std::vector<std::uint32_t> Trainer::State::sample(std::uint32_t of_round) {
  if (privacy && privacy->noise_multiplier() > 0) return sample_clients_secretly(*options.client_probability, task.clients.count, secrets);
  const std::size_t asked = links ? links->asked(options.clients_per_round) : options.clients_per_round;
  return sample_clients(options, asked, task.clients.count, of_round);
}

std::vector<Participant> Trainer::State::choose(std::uint32_t of_round) {
  std::vector<Participant> cohort;
  for (const std::uint32_t client : sample(of_round)) {
    if (links && links->away(of_round, client)) continue;
    Participant participant{.client = client, .examples = task.clients.size(client)};
    if (options.stream > 0) {
      participant.first_example = static_cast<std::size_t>(memories.of(client).examples_seen);
      participant.examples = std::min(options.stream, participant.examples - participant.first_example);
    }
    if (participant.examples == 0) continue;
    participant.personal = memories.of(client).personal;
    participant.place = static_cast<std::uint32_t>(cohort.size());
    cohort.push_back(participant);
  }
  return cohort;
}

std::uint64_t Trainer::State::download_bytes(std::uint32_t client) const {
  return sender.bytes(memories.of(client).model_round) + states.download_bytes() + codec.download_bytes();
}

ClientWork Trainer::State::work_of(const Participant& participant) const {
  return {.download_bytes = download_bytes(participant.client), .examples = participant.examples * options.epochs};
}

std::vector<Trainer::State::Outcome> Trainer::State::train(const Assignment& assignment,
                                                           std::span<const Participant> cohort) {
  std::vector<Outcome> outcomes(cohort.size());
  arena.execute([&] {
    tbb::parallel_for(std::size_t{0}, cohort.size(), [&](std::size_t i) {
      try {
        outcomes[i].reply = workers.local().train(assignment, cohort[i]);
      } catch (const Error& error) {
        if (!is_divergence(error)) throw;
        outcomes[i].refusal = error;
      }
    });
  });
  return outcomes;
}

// As the sum of others would add the frame, and then within the norm that is accounted.
void Trainer::State::add_private(Round& of, const Participant& participant, const Reply& reply) {
  Aggregator one(of.sum.codec(), of.sum.context());
  one.add(reply.frame, {.client = participant.client, .cohort_index = participant.place});
  of.private_sum->add(one.mean(), privacy->weight(participant.examples));
  of.within.clients += reply.within ? 1 : 0;
  ++of.within.of;
}

bool Trainer::State::add(Round& of, const Participant& participant, const Outcome& outcome) {
  try {
    if (outcome.refusal) throw *outcome.refusal;
    if (secure) {
      secure->receive(participant, outcome.reply.frame);
    } else if (of.private_sum) {
      add_private(of, participant, outcome.reply);
    } else {
      of.sum.add(outcome.reply.frame, {.client = participant.client,
                                       .weight = static_cast<double>(participant.examples),
                                       .cohort_index = participant.place});
    }
  } catch (const Error& error) {
    if (!is_divergence(error)) throw;
    stop("the update of client " + std::to_string(participant.client) + " was refused: " + error.what());
    return false;
  }
  ++of.result.clients;
  of.result.examples += participant.examples;
  of.result.loss += outcome.reply.loss * static_cast<double>(participant.examples);
  of.arrived.push_back(participant.client);
  return true;
}

// Part by part, so that a cohort of thousands does not hold its frames at once; but with links, where it takes the frames of
// all to tell which of them come in time.
bool Trainer::State::train_all(Round& of, const Assignment& assignment) {
  const std::size_t at_once = links ? of.cohort.size() : kFramesAtOnce;
  for (std::size_t begin = 0; begin < of.cohort.size(); begin += at_once) {
    const auto part = std::span(of.cohort).subspan(begin, std::min(at_once, of.cohort.size() - begin));
    std::vector<Outcome> outcomes = train(assignment, part);
    Stopwatch watch;
    for (std::size_t i = 0; i < part.size(); ++i) {
      of.result.train_seconds += outcomes[i].reply.train_seconds;
      of.result.encode_seconds += outcomes[i].reply.encode_seconds;
      of.personal.push_back(std::move(outcomes[i].reply.personal));
      if (links) continue;
      if (!add(of, part[i], outcomes[i])) return false;
      of.result.upload_bytes += outcomes[i].reply.frame.size();
    }
    if (links && !deliver(of, outcomes)) return false;
    of.result.decode_seconds += watch.lap();
  }
  return !links || !of.cohort.empty() || deliver(of, {});   // nobody can be reached: time passes all the same
}

bool Trainer::State::deliver(Round& of, std::span<const Outcome> outcomes) {
  std::vector<Delivery> deliveries;
  for (std::size_t i = 0; i < of.cohort.size(); ++i) {
    const Participant& participant = of.cohort[i];
    deliveries.push_back(links->deliver(of.result.round, participant.client, work_of(participant), outcomes[i].reply.frame.size()));
    of.result.upload_bytes += deliveries.back().bytes_sent;
  }
  const std::size_t wanted = options.client_probability ? of.cohort.size() : options.clients_per_round;
  const RoundOutcome outcome = close_round(deliveries, wanted, links->options().deadline);
  of.result.wasted_bytes = outcome.bytes_wasted;
  of.result.simulated_seconds = outcome.seconds;
  for (std::size_t i = 0; i < of.cohort.size(); ++i) {
    const Participant& participant = of.cohort[i];
    if (outcomes[i].refusal || std::ranges::binary_search(outcome.accepted, participant.client)) {
      if (!add(of, participant, outcomes[i])) return false;
    } else if (deliveries[i].lost) {
      const auto cut = std::span(outcomes[i].reply.frame).first(static_cast<std::size_t>(deliveries[i].bytes_sent));
      expect_refusal([&] {
        if (secure) return secure->receive(participant, cut);
        of.sum.add(cut, {.client = participant.client, .weight = static_cast<double>(participant.examples), .cohort_index = participant.place});
      });
    }
  }
  return true;
}

// Clients keep what they have seen and learned even where their frame did not arrive.
void Trainer::State::remember(const Round& of) {
  if (options.stream == 0 && task.personal == 0 && plan.downlink.empty()) return;
  for (const Participant& participant : of.cohort) {
    ClientMemory& memory = memories.make(participant.client);
    memory.examples_seen = participant.first_example + participant.examples;
    memory.model_round = of.result.round;
    memory.personal = of.personal[participant.place];
  }
}

// Of a cohort without clients too: that nobody was in it is private.
std::vector<float> Trainer::State::release(Round& of) {
  const double clip = privacy->norm();
  std::vector<float> mean = privacy->release(std::move(*of.private_sum), of.within, secrets);
  note_privacy(of.result);
  of.result.clip = clip;
  return mean;
}

void Trainer::State::note_privacy(RoundResult& result) const {
  if (!privacy) return;
  result.clip = privacy->norm();
  result.epsilon = privacy->epsilon();
  result.loss = std::numeric_limits<double>::quiet_NaN();
}

bool Trainer::State::begin_secure(std::span<const Participant> cohort, const RoundContext& context) {
  try {
    secure->begin(context, cohort, private_rounds());
    return true;
  } catch (const Error& error) {
    if (error.code() != Errc::kEmpty) throw;
    if (privacy) privacy->spend();   // that they were too few is a release
    return false;
  }
}

// Empty where too many have dropped out.
std::vector<float> Trainer::State::open(Round& of) {
  std::vector<float> mean;
  try {
    mean = secure->finish(private_rounds(), secrets);
  } catch (const Error& error) {
    if (error.code() != Errc::kEmpty) throw;
    if (privacy) privacy->spend();
    of.result.clients = of.result.examples = 0;
  }
  of.result.encode_seconds += secure->client_seconds();
  of.result.upload_bytes += secure->upload_bytes();
  of.result.download_bytes += secure->download_bytes();
  note_privacy(of.result);
  return mean;
}

std::optional<std::vector<float>> Trainer::State::average(RoundResult& result) {
  const std::span<const float> sent = sender.send(parameters, result.round);
  std::vector<Participant> cohort = choose(result.round);
  result.asked = cohort.size();
  for (Participant& participant : cohort) {
    participant.codec = &codec.now();
    if (codec.rates_differ()) {
      participant.codec = &codec.within(*links->upload_budget(participant.client, work_of(participant)) - kHeaderBytes);
    }
    result.download_bytes += download_bytes(participant.client);
  }
  const auto cohort_size = static_cast<std::uint32_t>(std::max<std::size_t>(cohort.size(), 1));
  const std::vector<std::uint32_t> observed = spread(cohort, observed_clients);
  std::optional<Structure> family;
  if (codec.now().structured()) family.emplace(codec.now(), RoundContext{options.seed, result.round});
  if (secure && !begin_secure(cohort, {options.seed, result.round, cohort_size})) {
    note_privacy(result);
    return std::vector<float>();
  }
  const Assignment assignment{
      .round = result.round,
      .cohort_size = cohort_size,
      .learning_rate = plan.learning_rate * std::pow(plan.learning_rate_decay, result.round - 1),
      .prox = plan.prox,
      .model = sent,
      .secure = secure ? &*secure : nullptr,
      .clipping = privacy ? &privacy->clipping() : nullptr,
      .family = family ? &*family : nullptr,
      .states = states.active() ? &states : nullptr,
      .observed = observed,
      .see = &see};
  states.begin_round(ids_of(cohort));
  Round of{.result = result,
           .cohort = std::move(cohort),
           .sum = Aggregator(codec.now(), {options.seed, result.round, assignment.cohort_size})};
  if (privacy && !secure) of.private_sum = privacy->begin();
  if (!train_all(of, assignment)) return std::nullopt;

  std::vector<float> mean;
  if (result.clients > 0) result.loss /= static_cast<double>(result.examples);
  if (result.clients > 0 || privacy) {
    Stopwatch watch;
    try {
      if (secure) {
        mean = open(of);
      } else if (privacy) {
        mean = release(of);
      } else {
        mean = states.finish_round(of.sum, of.arrived);
        codec.learn(of.sum);
      }
    } catch (const Error& error) {
      if (!is_divergence(error)) throw;
      stop(std::string("the mean was refused: ") + error.what());
      return std::nullopt;
    }
    if (family && !mean.empty()) {
      std::vector<float> update(parameters.size());
      family->expand(mean, update);
      mean = std::move(update);
    }
    result.decode_seconds += watch.lap();
  }
  remember(of);
  return mean;
}

}  // namespace fewbits::federated
