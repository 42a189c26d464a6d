#include "fewbits/privacy/discrete_gaussian.h"

#include <bit>
#include <cmath>
#include <string>

#include "fewbits/error.h"

namespace fewbits::privacy {
namespace {

// The squares below stay under 2^127 while the numerator of sigma is at most 2^28 and draws are within 2^7 of the Laplace's
// scale; one farther out, with a chance of exp(−128), is drawn again.
constexpr unsigned kNumeratorBits = 28;
constexpr unsigned kMaxShift = 20;
constexpr std::uint64_t kFarthest = 128;

}  // namespace

DiscreteGaussian::DiscreteGaussian(double sigma, RandomSource& source) : words_(source) {
  if (!(sigma >= 0x1p-10 && sigma <= 0x1p28))
    throw Error(Errc::kBadArgument, "the standard deviation of discrete noise is " + std::to_string(sigma) + " steps, expected 2^-10 to 2^28");
  shift_ = 0;
  while (shift_ < kMaxShift && std::ldexp(sigma, static_cast<int>(shift_) + 1) <= std::ldexp(1.0, kNumeratorBits)) ++shift_;
  numerator_ = static_cast<std::uint64_t>(std::ceil(std::ldexp(sigma, static_cast<int>(shift_))));
  laplace_ = (numerator_ >> shift_) + 1;
}

double DiscreteGaussian::sigma() const noexcept { return std::ldexp(static_cast<double>(numerator_), -static_cast<int>(shift_)); }

std::uint64_t DiscreteGaussian::bits(unsigned count) {
  if (count > rest_bits_) {
    rest_ = words_.next();
    rest_bits_ = 64;
  }
  const std::uint64_t drawn = count == 64 ? rest_ : rest_ & ((std::uint64_t{1} << count) - 1);
  rest_ = count == 64 ? 0 : rest_ >> count;
  rest_bits_ -= count;
  return drawn;
}

DiscreteGaussian::Wide DiscreteGaussian::below(Wide bound) {
  const Wide largest = bound - 1;
  const auto high = static_cast<std::uint64_t>(largest >> 64), low = static_cast<std::uint64_t>(largest);
  while (true) {
    Wide drawn = high == 0 ? 0 : Wide{bits(static_cast<unsigned>(std::bit_width(high)))} << 64;
    drawn |= bits(high == 0 ? static_cast<unsigned>(std::bit_width(low)) : 64u);
    if (drawn <= largest) return drawn;
  }
}

bool DiscreteGaussian::bernoulli(Wide numerator, Wide denominator) { return below(denominator) < numerator; }

// exp(−γ) for γ ≤ 1: the alternating series, term by term.
bool DiscreteGaussian::bernoulli_exp_below_one(Wide numerator, Wide denominator) {
  unsigned k = 1;
  while (bernoulli(numerator, denominator * k)) ++k;
  return k % 2 == 1;
}

bool DiscreteGaussian::bernoulli_exp(Wide numerator, Wide denominator) {
  for (; numerator > denominator; numerator -= denominator)
    if (!bernoulli_exp_below_one(1, 1)) return false;
  return bernoulli_exp_below_one(numerator, denominator);
}

std::int64_t DiscreteGaussian::draw() {
  const Wide square = Wide{numerator_} * numerator_;                        // σ² = square / 2^(2·shift)
  const Wide t = Wide{laplace_} << (2 * shift_);                            // the scale, over the same denominator
  while (true) {
    const auto u = static_cast<std::uint64_t>(below(laplace_));
    if (!bernoulli_exp(u, laplace_)) continue;
    std::uint64_t v = 0;
    while (v < kFarthest && bernoulli_exp_below_one(1, 1)) ++v;
    if (v == kFarthest) continue;
    const bool negative = bits(1) != 0;
    const std::uint64_t magnitude = u + laplace_ * v;
    if (negative && magnitude == 0) continue;
    // exp(−(|y| − σ²/t)²/(2σ²)) = exp(−(|y|·t·2^2s − square)² / (2·square·t²·2^2s))
    const Wide product = t * magnitude;
    const Wide difference = product > square ? product - square : square - product;
    if (bernoulli_exp(difference * difference, 2 * square * laplace_ * t))
      return negative ? -static_cast<std::int64_t>(magnitude) : static_cast<std::int64_t>(magnitude);
  }
}

void DiscreteGaussian::add_to(std::span<std::int64_t> values) {
  for (std::int64_t& value : values) value = static_cast<std::int64_t>(static_cast<std::uint64_t>(value) + static_cast<std::uint64_t>(draw()));
}

}  // namespace fewbits::privacy
