#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "fewbits/federated/federated.h"

namespace fewbits::federated {

struct RecordOptions {
  std::filesystem::path folder;
  std::vector<std::uint32_t> rounds = {};  // none: 5, 20 and 40, as far as the run has them; in a shorter one the last
  std::size_t clients = 3;                 // a round, at most
};

// Writes what clients would send before it is coded: "round0005-client0042.npz", an array for each tensor of the
// layout. A file appears whole or not at all.
class Recorder {
 public:
  enum class Existing { kRefuse, kRemove, kKeep };  // of recorded updates that the folder has already

  // Throws kBadArgument for options that do not fit a run of so many rounds, and where `existing` says so. Touches
  // nothing.
  static void check(const RecordOptions& options, std::uint32_t run_rounds, Existing existing);

  // Throws kBadArgument for a structured plan: its clients send free parameters, not tensors.
  static void check(const Codec& codec);

  // Makes the folder, or clears it of recorded updates. Throws as check does.
  Recorder(RecordOptions options, std::uint32_t run_rounds, Existing existing);

  // Records what clients of `trainer` send from now on; the recorder must outlive it. Throws as check does.
  void watch(Trainer& trainer) const;

  // In words, for people.
  std::string describe() const;

 private:
  RecordOptions options_;
};

}  // namespace fewbits::federated
