#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "chain.h"
#include "fewbits/codec.h"
#include "plan.h"

namespace fewbits {

// A compiled plan. Constant after construction.
class Codec::Impl {
 public:
  // Throws kBadPlan; kBadArgument for a profile of another layout. A flat profile is none.
  Impl(std::string_view plan, Layout layout, const Profile* profile);

  // The tensors that one rule chose, one after the other.
  struct Group {
    struct Range {
      std::size_t offset;   // in the update
      std::size_t length;
    };
    std::size_t rule;              // index in the plan
    std::size_t tensors;
    std::vector<Range> ranges;     // neighbours joined
    Chain chain;
    std::size_t sum_offset;        // of its part of the aggregator's sum
  };

  const Plan& plan() const noexcept { return plan_; }
  const std::string& text() const noexcept { return text_; }
  const Layout& layout() const noexcept { return layout_; }
  const Layout& coded_layout() const noexcept { return family_ ? family_->free_layout() : layout_; }
  const Family* family() const noexcept { return family_.get(); }
  std::span<const Group> groups() const noexcept { return groups_; }
  std::uint64_t fingerprint() const noexcept { return fingerprint_; }
  bool learns() const noexcept { return learns_; }   // frames tell of energies
  std::size_t sum_size() const noexcept { return sum_size_; }
  std::size_t symbols() const noexcept { return symbols_; }   // of the groups that do not work by tiles
  bool tiled() const noexcept { return symbols_ == 0; }       // all do
  std::size_t workspace_bytes() const noexcept { return workspace_bytes_; }   // of encoding, and of decoding
  std::size_t max_frame_size() const noexcept { return max_frame_size_; }

  // What the stages of an encoder remember: a vector for each stage of each group; or none, where nothing is kept.
  using Memory = std::vector<std::vector<float>>;
  Memory make_memory() const;

  void encode(std::span<const float> update, const Context& context, Workspace& workspace, Memory& memory,
              ByteWriter& out) const;

  // Into memory of the caller's, at least max_frame_size() bytes; the length of the frame.
  std::size_t encode_into(std::span<const float> update, const Context& context, Workspace& workspace, Memory& memory,
                          std::span<std::byte> frame) const;

  // Throws kBadArgument for an update of another length, a round over kMaxRound and what check_cohort refuses, kNotFinite.
  void check_update(std::span<const float> update, const Context& context) const;

  // The coordinates of a group, in the workspace where they are not all in one place.
  std::span<const float> values_of(const Group& group, std::span<const float> update, Workspace& workspace) const noexcept;

  // Throws kBadArgument for a place outside the cohort, and for a cohort of another size than the stages need.
  void check_cohort(const Cohort& cohort) const;

  // update (shape [elements]) = the update that `sum` (shape [sum_size]) stands for; `sum` is used up.
  // Throws kTooLarge where a coordinate is beyond float32.
  void finish(const Context& keys, Workspace& workspace, std::span<double> sum, std::span<float> update) const;
  void undo(const Context& keys, Workspace& workspace, std::span<double> values, std::span<float> update) const;   // Chain::undo

 private:
  void make_groups(const Profile* profile);
  template <class OfChain>
  void way_back(Workspace& workspace, std::span<double> sum, std::span<float> update, OfChain of_chain) const;

  Plan plan_;
  std::string text_;
  Layout layout_;
  std::unique_ptr<Family> family_;
  std::vector<Group> groups_;
  std::uint64_t fingerprint_ = 0;
  bool learns_ = false;
  std::size_t sum_size_ = 0;
  std::size_t symbols_ = 0;
  std::size_t workspace_bytes_ = 0;
  std::size_t max_frame_size_ = 0;
};

}  // namespace fewbits
