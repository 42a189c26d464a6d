#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <variant>
#include <vector>

#include "fewbits/export.h"

// What rounds of training have told about a client: (epsilon, delta) differential privacy, where neighbouring data sets differ
// by one client with all its data, added or removed. In all of it every client takes part in a round independently with
// probability q (Poisson sampling): rounds of a fixed number of clients are not covered, they account with q = 1.
// Everything here throws kBadArgument for a value out of its range, NaN among them.
namespace fewbits::privacy {

// Noise of the server: N(0, (z S)^2) is added to a sum to which a client contributes at most S in the Euclidean norm. Also
// discrete Gaussian noise, on a grid that all cohorts have in common.
struct GaussianRound {
  double q = 1;  // in (0, 1]
  double z = 0;  // noise multiplier, > 0
  bool operator==(const GaussianRound&) const = default;
};

// Noise of the clients: the sum of `clients` independent discrete Gaussians (Kairouz, Liu, Steinke 2021, arXiv 2102.06387,
// proposition 14). Lengths are in steps of the lattice.
struct DiscreteGaussianRound {
  double q = 1;
  std::uint64_t clients = 1;  // fewest that a round is released with
  double sigma = 0;           // of one client's noise, > 0
  double l2 = 0;              // largest norm of a client's integers, > 0
  std::uint64_t dimension = 1;
  bool operator==(const DiscreteGaussianRound&) const = default;
};

// Noise of the clients, Skellam, whose sums are Skellam (Agarwal, Kairouz, Liu 2021, arXiv 2110.04995). In steps of the lattice.
struct SkellamRound {
  double q = 1;
  double variance = 0;  // of the sum of all clients' noise in a coordinate, > 0
  double l2 = 0;
  std::uint64_t dimension = 1;
  bool operator==(const SkellamRound&) const = default;
};

using RoundMechanism = std::variant<GaussianRound, DiscreteGaussianRound, SkellamRound>;

// kPld, the privacy loss distribution, gives some 10 % less epsilon than kRdp, Rényi divergences, and up to half for small q.
// It is known for GaussianRound, and for DiscreteGaussianRound where the clients' noise is a few steps wide and more.
enum class Accounting { kPld, kRdp };

// Rényi divergence of one round, of an order > 1; infinite where no bound is known: of distributed noise that is sampled, and
// of Skellam noise, at orders that are no integers. GaussianRound: exact (Mironov, Talwar, Zhang 2019, arXiv 1908.10530).
// Sampled distributed noise: Zhu and Wang 2019, theorem 5.
FEWBITS_API double renyi_divergence(const RoundMechanism& round, double order);

// 1.1, 1.2, ..., 10.9, 11, 12, ..., 63, 128, 256, 512, 1024.
FEWBITS_API std::span<const double> renyi_orders();

struct RenyiEpsilon {
  double epsilon = 0;
  double order = 0;  // that gives it; 0 where no order gives a finite one
};

// The least epsilon at `delta` that divergences at these orders, as many, grant (Canonne, Kamath, Steinke 2020, arXiv
// 2004.00010, proposition 12).
FEWBITS_API RenyiEpsilon epsilon_from_renyi(std::span<const double> orders, std::span<const double> divergences, double delta);

struct PrivacySpent {
  double epsilon = 0;                        // the lesser of what the accountings say, of which each is an upper bound
  double epsilon_rdp = 0;                    // infinite where no order gives one
  double order = 0;                          // of epsilon_rdp
  Accounting accounting = Accounting::kRdp;  // kRdp where kPld was asked for and does not apply
};

// Counts rounds of one kind or of many. Equal rounds are kept as one with a count, and what is known of a kind is kept:
// after the first time spent() takes 5 to 20 ms for a kind of round, a tenth of a second where q is below 0.001 or z below
// 0.5. More than 32 kinds of GaussianRound are rounded towards less privacy, by about one per cent. Not for two threads at once.
//
// The privacy loss is a distribution on a grid that is never more private than the true one and agrees with its delta at each
// point of the grid ("connect the dots": Doroshenko et al. 2022, arXiv 2207.04380), for clients removed and for clients
// added. Its step is 1e-4; a 32nd of the standard deviation s of a round's loss where that is more; down to s/16 where s is
// below 3e-4; and more where tables would have more than 2^20 entries. It adds at most step^2/8 to the mean loss of a round,
// and less than 1 % to epsilon, some per cent where q is below 1e-4. What is left out, less than 1e-9 delta, counts as lost:
// all of it is an upper bound, but for rounding errors below 1e-6 delta.
class FEWBITS_API Accountant {
 public:
  explicit Accountant(Accounting accounting = Accounting::kPld);
  ~Accountant();
  Accountant(Accountant&&) noexcept;
  Accountant& operator=(Accountant&&) noexcept;

  void add(const RoundMechanism& round, std::uint64_t count = 1);

  // After all rounds that were added; nothing for no round. `delta` in (0, 1): less than 1/clients, or it promises nothing.
  PrivacySpent spent(double delta) const;

  // What would be spent after `count` further rounds, which are not added.
  PrivacySpent spent_with(const RoundMechanism& round, double delta, std::uint64_t count = 1) const;

  // Whether the next round, which is not added, would spend more than `epsilon`: to be asked before it is begun.
  bool would_exceed(const RoundMechanism& round, double epsilon, double delta) const;

  std::uint64_t rounds() const noexcept;

  // All the state there is: adding it to a new accountant restores this one.
  const std::vector<std::pair<RoundMechanism, std::uint64_t>>& history() const noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// The smallest noise multiplier with which `rounds` rounds spend at most `epsilon`, to a millionth; at least 0.01.
FEWBITS_API double noise_for(double q, std::uint64_t rounds, double epsilon, double delta,
                             Accounting accounting = Accounting::kPld);

// The most rounds that spend at most `epsilon`; 0 where one spends more, at most kMostRounds.
inline constexpr std::uint64_t kMostRounds = 1'000'000'000;
FEWBITS_API std::uint64_t rounds_for(const RoundMechanism& round, double epsilon, double delta,
                                     Accounting accounting = Accounting::kPld);

}  // namespace fewbits::privacy
