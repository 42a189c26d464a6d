#include <cmath>
#include <memory>

#include "cli/common.h"
#include "fewbits/error.h"
#include "fewbits/privacy/accountant.h"

namespace fewbits::cli {
namespace {

using privacy::Accountant;
using privacy::Accounting;
using privacy::GaussianRound;
using privacy::PrivacySpent;

struct Options {
  double q = 0;
  double delta = 0;
  std::optional<double> z;
  std::optional<double> epsilon;
  std::optional<double> rounds;
  std::optional<double> clients;
  std::string accountant = "pld";
  bool json = false;
};

// "1000" or "1e6".
std::uint64_t whole(const char* option, double value, double most) {
  if (!(value >= 1 && value <= most && value == std::floor(value)))
    throw Error(Errc::kBadArgument,
                std::string(option) + " is a whole number from 1 to " + number(most) + ", not " + number(value));
  return static_cast<std::uint64_t>(value);
}

PrivacySpent spent_after(const GaussianRound& round, std::uint64_t rounds, double delta, Accounting accounting) {
  return Accountant(accounting).spent_with(round, delta, rounds);
}

ordered_json finite(double value) { return std::isfinite(value) ? ordered_json(value) : ordered_json(); }

// Five significant digits: epsilon is compared with tables of four.
std::string digits(double value) {
  if (std::isinf(value)) return "none";
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "%.5g", value);
  return buffer;
}

void answer(const Options& o) {
  if (o.z.has_value() + o.epsilon.has_value() + o.rounds.has_value() != 2)
    throw Error(Errc::kBadArgument, "give two of --z, --epsilon and --rounds: the third is the answer");
  const Accounting accounting = o.accountant == "pld" ? Accounting::kPld : Accounting::kRdp;
  GaussianRound round{o.q, o.z.value_or(0)};
  std::uint64_t rounds = 0;
  std::optional<double> z_rdp;
  std::optional<std::uint64_t> rounds_rdp;
  if (o.rounds) rounds = whole("--rounds", *o.rounds, static_cast<double>(privacy::kMostRounds));
  if (!o.z) {
    round.z = privacy::noise_for(o.q, rounds, *o.epsilon, o.delta, accounting);
    z_rdp = accounting == Accounting::kRdp ? round.z : privacy::noise_for(o.q, rounds, *o.epsilon, o.delta, Accounting::kRdp);
  } else if (!o.rounds) {
    rounds = privacy::rounds_for(round, *o.epsilon, o.delta, accounting);
    rounds_rdp = accounting == Accounting::kRdp ? rounds : privacy::rounds_for(round, *o.epsilon, o.delta, Accounting::kRdp);
  }
  const std::optional<std::uint64_t> clients = o.clients ? std::optional(whole("--clients", *o.clients, 1e15)) : std::nullopt;
  std::string warning;
  if (clients && o.delta >= 1 / static_cast<double>(*clients))
    warning = "delta is not below 1/clients = " + number(1 / static_cast<double>(*clients)) +
              ": releasing one client's data outright would pass";

  const PrivacySpent spent = spent_after(round, rounds, o.delta, accounting);
  if (o.json) {
    ordered_json all = {{"q", o.q},
                        {"z", round.z},
                        {"rounds", rounds},
                        {"delta", o.delta},
                        {"accountant", o.accountant},
                        {"epsilon", finite(spent.epsilon)},
                        {"epsilon_rdp", finite(spent.epsilon_rdp)},
                        {"order", spent.order}};
    if (o.epsilon) all["target_epsilon"] = *o.epsilon;
    if (z_rdp) all["z_rdp"] = *z_rdp;
    if (rounds_rdp) all["rounds_rdp"] = *rounds_rdp;
    all["warning"] = warning.empty() ? ordered_json() : ordered_json(warning);
    print_json(all);
    return;
  }
  const bool both = accounting == Accounting::kPld;
  std::string text = "q            " + number(o.q) + ": the chance of a client to take part in a round\n";
  text += "z            " + digits(round.z) + ": the noise multiplier";
  if (both && z_rdp) text += "; " + digits(*z_rdp) + " by Rényi divergences";
  text += "\nrounds       " + std::to_string(rounds);
  if (both && rounds_rdp) text += "; " + std::to_string(*rounds_rdp) + " by Rényi divergences";
  text += "\ndelta        " + number(o.delta) + "\nepsilon      " + digits(spent.epsilon);
  if (both) text += ", by the privacy loss distribution\n             " + digits(spent.epsilon_rdp);
  text += ", by Rényi divergences";
  if (spent.order > 0) text += ", at order " + number(spent.order);
  text += "\n";
  std::vector<std::vector<std::string>> rows = {{"after", "rounds", "epsilon", "rdp"}};
  if (!both) rows[0].pop_back();
  for (const int percent : {10, 25, 50, 100}) {
    const std::uint64_t some = rounds * static_cast<std::uint64_t>(percent) / 100;
    if (some == 0) continue;
    const PrivacySpent then = percent == 100 ? spent : spent_after(round, some, o.delta, accounting);
    rows.push_back({std::to_string(percent) + " %", std::to_string(some), digits(then.epsilon)});
    if (both) rows.back().push_back(digits(then.epsilon_rdp));
  }
  if (rows.size() > 1) text += "\n" + table(rows);
  if (!warning.empty()) text += "\nwarning: " + warning + "\n";
  print(text);
}

}  // namespace

void add_privacy_command(CLI::App& app) {
  CLI::App* command =
      app.add_subcommand("privacy", "what rounds with noise tell about a client: epsilon, or the noise or rounds for it");
  const auto options = std::make_shared<Options>();
  command->add_option("--q", options->q, "chance of a client to take part in a round, independently of others")->required();
  command->add_option("--z", options->z, "noise multiplier: noise of the sum over the largest norm of a client's update");
  command->add_option("--rounds", options->rounds, "rounds of training");
  command->add_option("--epsilon", options->epsilon, "budget, for the noise or the rounds that keep to it");
  command->add_option("--delta", options->delta, "chance of a failure of the promise; well below 1/clients")->required();
  command->add_option("--clients", options->clients, "clients in all, for a warning where delta is too large for them");
  command
      ->add_option("--accountant", options->accountant, "pld: the privacy loss distribution; rdp: Rényi divergences, never less")
      ->capture_default_str()
      ->check(CLI::IsMember({"pld", "rdp"}));
  add_json(*command, options->json);
  command->footer(
      R"(Two of --z, --epsilon and --rounds give the third. Neighbouring data sets differ by one client, added or removed.

Examples:
  fewbits privacy --q 0.01 --z 1.1 --rounds 10000 --delta 1e-5
  fewbits privacy --q 0.01 --epsilon 2 --rounds 1000 --delta 1e-5     the least noise
  fewbits privacy --q 0.01 --z 1 --epsilon 2 --delta 1e-5             the most rounds)");
  command->callback([options] { answer(*options); });
}

}  // namespace fewbits::cli
