#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fewbits/codec.h"
#include "kernels/random.h"
#include "kernels/rans.h"
#include "parameters.h"
#include "scale.h"
#include "wire.h"
#include "workspace.h"

// What a stage is. A codec sees this file, wire.h and the kernels; never the engine, nor another codec.
//
// The engine checks: sizes of all spans, that inputs are finite, that symbols are in the alphabet, and that a frame's
// section is read to its end. It calls,
// to encode: Transform::forward for each transform, Quantizer::quantize, Coder::encode, which append to the section in
// that order; to decode: Transform::check, Quantizer::check_side, Coder::decode, Quantizer::check_symbols, each of which
// may throw, and then Quantizer::accumulate and Transform::inverse_add, which cannot fail.
namespace fewbits {

// The place of a stage in one frame: what its randomness is keyed by, and scratch memory.
struct StageContext {
  Context keys;
  std::uint32_t group = 0;   // rule of the plan
  std::uint32_t stage = 0;   // position in the chain
  Workspace* workspace = nullptr;
  std::size_t bytes_before = 0;          // of the frame, charged to this section, before the stage writes; encoding only
  std::vector<float>* memory = nullptr;  // kept by an Encoder from frame to frame, empty at first; encoding only, may be null
  const void* opened = nullptr;          // what Quantizer::open made of the frame's side values

  // Key of a stream of the shared randomness: of this client's own, or the same for all clients of the round.
  std::uint64_t key(bool per_client, Purpose purpose) const noexcept {
    return stream_key({keys.seed, keys.round, per_client, per_client ? keys.client : 0, group, stage,
                       static_cast<std::uint64_t>(purpose)});
  }
};

// What comes into a stage: how many values and, where they are still the coordinates of tensors one after the other, which.
struct InputShape {
  std::size_t values = 0;
  std::span<const Tensor> tensors = {};   // their elements add up to `values`; none behind a transform that mixes them
  const ProfileScales* profile = nullptr;   // of those tensors; none where the codec has no profile
};

// What is known of the values that come into a stage, before any are seen.
struct InputTraits {
  std::size_t values = 0;
  // After a rotation: every value's variance over its signs is at most spread·‖x‖²/values. Nothing otherwise.
  std::optional<double> rotated_spread;
  bool own_rotation = false;   // one that each client draws for itself
};

// What a stage promises for inputs of that kind. Bounds hold for every input.
struct Traits {
  Unbiased unbiased = Unbiased::kNo;
  std::optional<double> nmse_bound;   // E‖x̂ − x‖²/‖x‖²
  std::optional<double> norm_growth;  // ‖x̂‖ ≤ norm_growth·‖x‖ + norm_added, for every draw
  double norm_added = 0;
};

class Stage {
 public:
  virtual ~Stage() = default;

  virtual Traits traits(const InputTraits& input) const = 0;

  // The most that any one call takes of the workspace.
  virtual std::size_t workspace_bytes() const noexcept { return 0; }
};

// A map of vectors and the map back: float[inputs] → float[outputs].
class Transform : public Stage {
 public:
  virtual std::size_t outputs() const noexcept = 0;

  // The same map for all clients of a round, so that sums can be kept behind it.
  virtual bool shared() const noexcept = 0;

  // The way back is linear in the values. Where it is not, it is taken with the values as they are, and what comes out is
  // weighted and added up.
  virtual bool linear() const noexcept { return true; }

  // A bound of what the way back makes of values up to `most` in magnitude, for one that is not linear; limits on the
  // magnitudes of a frame hold for this.
  virtual double largest(std::span<const std::byte> /*side*/, double most) const noexcept { return most; }

  // Size of the cohort that the map is made for; 0 for any.
  virtual std::uint32_t cohort() const noexcept { return 0; }

  // outputs() = inputs, and output i still belongs to the coordinate i.
  virtual bool keeps_tensors() const noexcept { return false; }

  virtual InputTraits output_traits(const InputTraits& input) const = 0;

  // The most bytes of side values that `forward` writes.
  virtual std::size_t max_side_bytes() const noexcept { return 0; }

  // y (shape [outputs]) = T x; side values that the map back needs go to `side`. x and y do not overlap.
  virtual void forward(const StageContext& context, std::span<const float> x, std::span<float> y,
                       ByteWriter& side) const = 0;

  // Reads what `forward` wrote and refuses what it cannot have written.
  virtual void check(ByteReader&) const {}

  // x (shape [inputs]) += T⁻¹ y, the unbiased map back; `y` (shape [outputs]) may be overwritten. `side` has been checked.
  virtual void inverse_add(const StageContext& context, std::span<const std::byte> side, std::span<double> y,
                           std::span<double> x) const noexcept = 0;
};

class Quantizer;

// Estimated squares of some values, in their order; the others have none.
struct SparseEnergies {
  std::span<const std::uint32_t> places;
  std::span<const double> energies;
};

// What both ends know of symbols before they are coded.
struct SymbolModel {
  std::uint64_t size = 0;   // a symbol is in [0, size) as an unsigned 32-bit number; at most 2^32
  // The class of each symbol, below context_count, where the model knows one: symbols of one class are alike.
  std::span<const std::uint16_t> contexts = {};
  std::uint32_t context_count = 1;
  // Set where the quantizer knows how each symbol is distributed: a range coder lets it write and read them.
  const Quantizer* known = nullptr;
  StageContext quantizer_context = {};
  std::span<const std::byte> quantizer_side = {};
};

// Bits of a symbol of an alphabet where all have the same number.
constexpr unsigned symbol_bits(std::uint64_t alphabet_size) noexcept {
  return static_cast<unsigned>(std::bit_width(alphabet_size - 1));
}

// float[n] → symbols. Decoding is accumulating into zeros, so that decoder and aggregator cannot disagree.
class Quantizer : public Stage {
 public:
  virtual std::uint64_t alphabet_size() const noexcept = 0;

  virtual std::size_t max_side_bytes() const noexcept { return 0; }
  virtual bool fixed_side() const noexcept { return true; }

  // symbols[i] (shape [n], n that of x) for each value; what the dequantizer needs beside them goes to `side`.
  // Throws kBadArgument for values that the quantizer cannot represent.
  virtual void quantize(const StageContext& context, std::span<const float> x, std::span<std::int32_t> symbols,
                        ByteWriter& side) const = 0;

  // What the calls that follow need to know of a frame, made of its checked side values once; they find it in their context.
  // It lies in the workspace, in at most `opened_bytes`, until the caller is done with the frame. None by default.
  virtual std::size_t opened_bytes() const noexcept { return 0; }
  virtual const void* open(const StageContext&, std::span<const std::byte> /*side*/) const noexcept { return nullptr; }

  // `quantize`, and `open` of what it wrote, for quantizers that have made it already.
  virtual const void* quantize_and_open(const StageContext& context, std::span<const float> x,
                                        std::span<std::int32_t> symbols, ByteWriter& side) const {
    const std::size_t before = side.written().size();
    quantize(context, x, symbols, side);
    return open(context, side.written().subspan(before));
  }

  // Classes of the symbols of a frame with these side values, for coders that use them; none by default.
  // Called by both ends, with the same result.
  virtual std::uint32_t context_count() const noexcept { return 1; }
  virtual void contexts(const StageContext&, std::span<const std::byte> /*side*/, std::span<std::uint16_t>) const noexcept {}

  // Whether each symbol's distribution is known from the side values and the symbols before it. Then the symbols go
  // through `write_symbols` and `read_symbols`, behind a coder that has a range coder, and only behind such a one.
  virtual bool knows_distribution() const noexcept { return false; }
  // The most bits that all symbols together take there, but for the coder's states.
  virtual std::size_t max_symbol_bits() const noexcept { return 0; }
  // From the last symbol to the first. What symbols a frame has none for are, is not said.
  virtual void write_symbols(const StageContext&, std::span<const std::byte> /*side*/,
                             std::span<const std::int32_t> /*symbols*/, RansWriter&) const {}
  virtual void read_symbols(const StageContext&, std::span<const std::byte> /*side*/, RansReader&,
                            std::span<std::int32_t> /*symbols*/) const {}

  // Reads what `quantize` wrote beside the symbols and refuses what it cannot have written.
  virtual void check_side(const StageContext&, ByteReader&) const {}

  // Refuses symbols that `quantize` cannot have written with these side values. The largest magnitude that any of the
  // values decodes to, or a bound of it: always finite.
  virtual double check_symbols(const StageContext& context, std::span<const std::byte> side,
                               std::span<const std::int32_t> symbols) const = 0;

  // sum[i] += weight × value of symbols[i]; shapes [n]. All has been checked.
  virtual void accumulate(const StageContext& context, std::span<const std::byte> side,
                          std::span<const std::int32_t> symbols, double weight, std::span<double> sum) const noexcept = 0;

  // A symbol's value depends on it and the side values alone, and `check_symbols` and `accumulate` can be asked of any run of
  // symbols: a frame can be added piece by piece, and need never be unpacked whole.
  virtual bool each_alone() const noexcept { return false; }
  // Of such quantizers: with these side values, which have been checked, every symbol of the alphabet is right.
  virtual bool all_right(std::span<const std::byte> /*side*/) const noexcept { return false; }

  // It goes straight to and from the bytes of its symbols, where the coder packs them with random access; the frames are the
  // same. `quantize_packed` writes the side values, then the bytes; `accumulate_packed` adds some
  // frames' values, one frame after the other, with `bytes` those of the symbols to add.
  struct Packed {
    std::span<const std::byte> side;
    std::span<const std::byte> bytes;
    double weight;
  };
  static constexpr std::size_t kPackedAtOnce = 16;
  virtual bool packs() const noexcept { return false; }
  virtual void quantize_packed(const StageContext&, std::span<const float> /*x*/, ByteWriter& /*out*/) const {}
  virtual void accumulate_packed(std::span<const Packed> /*frames*/, std::span<double> /*sum*/) const noexcept {}

  // What frames stand for are integers times factors that all clients share. Then `accumulate` adds weight × the integers,
  // so that sums with whole weights are exact and do not depend on the order while they are below 2^53, and `scale_sums`
  // multiplies each value's sum by its factor.
  virtual bool sums_integers() const noexcept { return false; }
  virtual void scale_sums(const StageContext&, std::span<double> /*sum*/) const noexcept {}

  // Of such quantizers: what is kept, dither and steps are known before a frame is seen. `open_common` is `open` without side
  // values, and `quantize_common` is `quantize` with what that opened. A symbol k adds kUnitsPerInteger · (±k) to what a
  // symbol of 0 adds, the sign being known.
  static constexpr double kUnitsPerInteger = 0x1p24;
  virtual const void* open_common(const StageContext&) const noexcept { return nullptr; }
  virtual void quantize_common(const StageContext&, std::span<const float> /*x*/, std::span<std::int32_t> /*symbols*/) const {}

  // Its scales are those of a profile, which learns from the energies of its frames.
  virtual bool learns() const noexcept { return false; }
  // Of a quantizer with a profile: the level of a step for all clients (scale.h) at which frames are as its plan wishes.
  virtual std::optional<std::int32_t> common_level(const StageContext&) const { return std::nullopt; }

  // Weight × unbiased estimates of the squares of values, in the workspace, for quantizers that know the variance of their
  // error.
  virtual SparseEnergies energies(const StageContext&, std::span<const std::int32_t> /*symbols*/,
                                  double /*weight*/) const noexcept {
    return {};
  }
};

// symbols ↔ bytes, lossless. The coder is the last of its section and owns the section's remaining bytes.
class Coder : public Stage {
 public:
  virtual std::size_t max_bytes(std::size_t symbols, const Quantizer& quantizer) const noexcept = 0;
  virtual bool fixed_size() const noexcept = 0;

  // The coder has a range coder, which a quantizer that knows its symbols' distribution can drive.
  virtual bool takes_distribution() const noexcept { return false; }
  // Beside workspace_bytes(): scratch that depends on what is coded.
  virtual std::size_t scratch_bytes(std::size_t /*symbols*/, const Quantizer&) const noexcept { return 0; }

  virtual void encode(const StageContext& context, std::span<const std::int32_t> symbols, const SymbolModel& model,
                      ByteWriter& out) const = 0;

  // The bytes are those of kernels::pack, max_bytes() of them, with all bits of a symbol in one place, so that symbols can be
  // read from anywhere: `decode_part` reads those from `first` on, a multiple of kPart; false where a padding bit is set.
  static constexpr std::size_t kPart = 512;
  virtual bool random_access(const Quantizer&) const noexcept { return false; }
  virtual bool decode_part(std::span<const std::byte> /*bytes*/, const Quantizer&, std::size_t /*first*/,
                           std::span<std::int32_t> /*symbols*/) const noexcept {
    return false;
  }

  // Reads exactly symbols.size() symbols. Throws for bytes that `encode` cannot have written.
  virtual void decode(const StageContext& context, ByteReader& in, const SymbolModel& model,
                      std::span<std::int32_t> symbols) const = 0;

  Traits traits(const InputTraits&) const final { return {Unbiased::kAlways, 0.0, 1.0}; }
};

// One draw of a structured family: a linear map from free parameters to updates.
class Subspace {
 public:
  virtual ~Subspace() = default;
  virtual void expand_add(std::span<const float> free, std::span<float> update) const = 0;          // update += E free
  virtual void pull_back(std::span<const float> gradient, std::span<float> free) const = 0;         // free = Eᵀ gradient
  virtual void project(std::span<const float> update, std::span<float> free) const = 0;             // free = E⁺ update
};

// A structured family for one layout.
class Family {
 public:
  virtual ~Family() = default;
  virtual const Layout& free_layout() const noexcept = 0;
  virtual std::unique_ptr<Subspace> draw(const StageContext& context) const = 0;   // the same for all clients
};

// One line of the registry. A stage has one or more roles; a factory is null where it does not have that role.
struct StageDescriptor {
  std::uint32_t id = 0;   // part of the fingerprint: changes whenever the stage's bytes do, and is never used again
  std::string_view name;
  std::string_view summary;
  std::string_view source;
  std::span<const ParameterSpec> parameters;
  // Throws Error kBadPlan for parameters that do not go together.
  void (*check_parameters)(const Parameters&) = nullptr;
  std::unique_ptr<Transform> (*make_transform)(const Parameters&, const InputShape&) = nullptr;
  std::unique_ptr<Quantizer> (*make_quantizer)(const Parameters&, const InputShape&) = nullptr;
  std::unique_ptr<Coder> (*make_coder)(const Parameters&) = nullptr;
  std::unique_ptr<Family> (*make_family)(const Parameters&, const Layout&) = nullptr;
  // Of a quantizer: the coder that ends the chain where the plan names none.
  std::string_view (*default_coder)(const Parameters&) = [](const Parameters&) -> std::string_view { return "pack"; };
};

}  // namespace fewbits
