#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "federated/checkpoint.h"
#include "fewbits/federated/federated.h"

namespace fewbits::federated {

// The checkpoint of one training in a folder, of which each round writes only what it has changed:
//   NAME.bin                    all but what clients remember between frames, and which of the files below belong to it
//   NAME-clients/<client>-<n>   what a client remembers, as it was at the n-th checkpoint
// NAME.bin is renamed into place after the files that it speaks of are there, and files that it does not speak of are
// removed after that: wherever a process ends, there is the checkpoint of its last round or of the one before, whole.
class CheckpointFiles {
 public:
  // Removes what a process that ended has left. Throws kBadArgument where NAME.bin is damaged.
  CheckpointFiles(const std::filesystem::path& folder, const std::string& name);

  bool exist() const noexcept { return count_ > 0; }

  // In each `changes`, what has changed since the checkpoint that is here. Throws kBadArgument where it cannot be
  // written.
  void write(const Trainer::Changes& changes);

  // For Trainer::restore, and without what clients remember; none before the first. Throw kBadArgument where files are
  // damaged.
  std::optional<std::vector<std::byte>> read() const;
  std::optional<Checkpoint> read_rest() const;

 private:
  struct File {
    std::uint64_t number = 0;  // of the checkpoint that wrote it
    std::uint32_t crc = 0;
  };
  using Files = std::map<std::uint32_t, File>;  // by client

  std::filesystem::path main_path() const;
  std::filesystem::path path_of(std::uint32_t client, const File& file) const;
  std::vector<std::byte> read_main(Files& files, std::uint64_t& count) const;

  std::filesystem::path folder_;
  std::string name_;
  std::uint64_t count_ = 0;  // of checkpoints written
  Files files_;
};

// Writes a file whole or not at all: what reads it never sees half of it. Throws kBadArgument.
void replace_file(const std::filesystem::path& path, std::span<const std::byte> bytes);

}  // namespace fewbits::federated
