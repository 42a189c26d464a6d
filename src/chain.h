#pragma once

#include <memory>
#include <string>
#include <vector>

#include "plan.h"
#include "stage.h"

namespace fewbits {

// The stages of one rule, made for a number of values: how the coordinates of a group become a section of a frame, and
// a section is added to a sum.
class Chain {
 public:
  // `tensors` are the rule's, in the order of their coordinates. Throws kBadPlan where the stages cannot work together.
  Chain(const Plan::Rule& rule, std::uint32_t group, std::span<const Tensor> tensors, const ProfileScales* profile);

  std::size_t elements() const noexcept { return elements_; }
  std::size_t values() const noexcept { return values_; }         // behind all transforms
  std::size_t sum_size() const noexcept { return sum_size_; }     // behind those that all clients share
  std::size_t workspace_bytes() const noexcept { return workspace_bytes_; }
  std::size_t opened_bytes() const noexcept { return quantizer_->opened_bytes(); }
  std::size_t max_bytes() const noexcept { return max_bytes_; }

  std::uint32_t cohort() const noexcept { return cohort_; }       // that the stages need; 0 for any

  std::size_t stages() const noexcept { return transforms_.size() + 2; }

  // What an encoding has beside the values: bytes of the frame that are charged to this section although others write
  // them, and what the stages remember (shape [stages()], or none).
  struct EncodeOptions {
    std::size_t bytes_before = 0;
    std::span<std::vector<float>> memory = {};
  };

  // Appends a section. `x` (shape [elements]) is finite.
  void encode(const Context& keys, Workspace& workspace, std::span<const float> x, const EncodeOptions& options,
              ByteWriter& out) const;

  // A section that has been checked whole. It points into the frame, and into the caller's buffer of symbols.
  struct Unpacked {
    std::vector<std::span<const std::byte>> sides;   // of the transforms, then the quantizer
    std::span<const std::int32_t> symbols;           // shape [values]
    double max_abs = 0;                              // of the dequantized values, and what is made of them
    const void* opened = nullptr;                    // the quantizer's, in the workspace
    std::span<const std::byte> packed;               // instead of symbols, where the chain works by tiles
  };

  // Sections are checked and added tile by tile: no memory for their symbols, nor of the workspace, is needed.
  bool tiled() const noexcept {
    return shared_ == transforms_.size() && quantizer_->each_alone() && coder_->random_access(*quantizer_);
  }
  static constexpr std::size_t kTile = 4 * Coder::kPart;

  // Reads all of `in`. `symbols` (shape [values], or none for chains that work by tiles) receives the symbols. Throws what the stages' checks throw. Takes up to
  // opened_bytes() of the workspace, which the section needs as long as it is used.
  void unpack(const Context& keys, Workspace& workspace, ByteReader& in, std::span<std::int32_t> symbols,
              Unpacked& section) const;

  // sum (shape [sum_size]) += weight × the section, in the domain behind the shared transforms.
  void accumulate(const Context& keys, Workspace& workspace, const Unpacked& section, double weight,
                  std::span<double> sum) const noexcept;

  struct Addend {
    const Context* keys;
    const Unpacked* section;
    double weight;
  };

  // The same of some frames, one after the other, for coordinates first … first + sum.size() of the sum alone, at most a tile;
  // of chains that work by tiles.
  void accumulate_tile(std::span<const Addend> frames, std::size_t first, std::span<double> sum) const noexcept;

  // The sum is of integers, which `finish` scales: all transforms are shared, and the factors are.
  bool sums_integers() const noexcept { return shared_ == transforms_.size() && quantizer_->sums_integers(); }

  // Why not, for a user; empty where they are.
  std::string why_no_integers() const;
  // Of such chains. The integers (shape [sum_size]) of x (shape [elements]), without a frame; then what remains of a client's
  // accumulation when kUnitsPerInteger times these is taken from it, sum (shape [sum_size]) += weight × that.
  void encode_integers(const Context& keys, Workspace& workspace, std::span<const float> x, std::span<std::int32_t> integers) const;
  void accumulate_rest(const Context& keys, Workspace& workspace, double weight, std::span<double> sum) const noexcept;
  // Of the same chains: x behind the transforms (shape [sum_size]), and what sums of integers stand for there.
  void values(const Context& keys, Workspace& workspace, std::span<const float> x, std::span<float> values) const;
  void scale(const Context& keys, Workspace& workspace, std::span<double> sum) const noexcept;

  // The quantizer codes the update's own coordinates by a profile, so that frames tell of their energies.
  bool learns() const noexcept { return quantizer_->learns(); }
  // Weight × estimates of the coordinates' squares, in the workspace.
  SparseEnergies energies(const Context& keys, Workspace& workspace, const Unpacked& section, double weight) const noexcept;
  std::optional<std::int32_t> common_level(Workspace& workspace, std::size_t bytes_before) const;

  // The update (shape [elements]) that `sum` stands for: the shared transforms' way back from it, in the workspace, or `sum`
  // itself where there are none. It is used up.
  std::span<const double> finish(const Context& keys, Workspace& workspace, std::span<double> sum) const noexcept;
  // The same of values, which nothing scales.
  std::span<const double> undo(const Context& keys, Workspace& workspace, std::span<double> values) const noexcept;

  GroupDescription describe(const Plan::Rule& rule) const;

  // Π (1 + NMSE) of the unbiased transforms: what they multiply values by that they keep, n/k for a subset.
  double transform_gain() const;

 private:
  // The quantizer goes straight to and from the section's bytes.
  bool packed() const noexcept { return quantizer_->packs() && coder_->random_access(*quantizer_); }
  void accumulate_packed(std::span<const Addend> frames, std::size_t first, std::span<double> sum) const noexcept;
  // x behind the transforms, in the workspace; context_of(stage): a stage's own.
  template <class ContextOf>
  std::span<const float> transformed(Workspace& workspace, std::span<const float> x, ContextOf context_of, ByteWriter& out) const;
  void check_stages_fit(const Plan::Rule& rule, InputTraits input) const;
  StageContext context(const Context& keys, std::size_t stage, Workspace& workspace) const noexcept;
  StageContext quantizer_context(const Context& keys, Workspace& workspace, const void* opened) const noexcept;
  SymbolModel model(const Context& keys, Workspace& workspace, std::span<const std::byte> side, const void* opened) const noexcept;
  void inverse(const Context& keys, Workspace& workspace, std::span<const std::span<const std::byte>> sides,
               std::size_t first, std::size_t last, std::span<double> y, std::span<double> x) const noexcept;

  std::uint32_t group_;
  std::size_t elements_;
  std::size_t values_;
  std::size_t sum_size_;
  std::size_t shared_;   // transforms that all clients share, counted from the front
  std::size_t max_bytes_ = 0;
  std::size_t workspace_bytes_ = 0;
  std::uint32_t cohort_ = 0;
  bool linear_ = true;   // all transforms that are not shared
  std::vector<std::unique_ptr<Transform>> transforms_;
  std::unique_ptr<Quantizer> quantizer_;
  std::unique_ptr<Coder> coder_;
  // Of the shared transforms: they depend on the round alone, so they have no side values.
  std::vector<std::span<const std::byte>> no_sides_;
};

}  // namespace fewbits
