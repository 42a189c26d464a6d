#include "federated/checkpoint_files.h"

#include <fstream>
#include <iterator>
#include <set>
#include <string_view>
#include <system_error>
#include <utility>

#include "federated/bytes.h"
#include "fewbits/error.h"

namespace fewbits::federated {
namespace {

namespace fs = std::filesystem;

using Bytes = std::vector<std::byte>;

constexpr std::string_view kMagic = "fewbits run checkpoint 1\n";

[[noreturn]] void fail(const std::string& what) { throw Error(Errc::kBadArgument, what); }

std::optional<Bytes> bytes_of(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return std::nullopt;
  const std::string text(std::istreambuf_iterator<char>(in), {});
  const auto* raw = reinterpret_cast<const std::byte*>(text.data());
  return Bytes(raw, raw + text.size());
}

void write_file(const fs::path& path, std::span<const std::byte> bytes) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  out.close();
  if (!out) fail("cannot write " + path.string());
}

}  // namespace

void replace_file(const fs::path& path, std::span<const std::byte> bytes) {
  const fs::path temporary = path.string() + ".part";
  write_file(temporary, bytes);
  std::error_code error;
  fs::rename(temporary, path, error);
  if (error) fail("cannot write " + path.string() + ": " + error.message());
}

CheckpointFiles::CheckpointFiles(const fs::path& folder, const std::string& name) : folder_(folder), name_(name) {
  std::error_code error;
  if (fs::exists(main_path(), error)) read_main(files_, count_);
  std::set<fs::path> known;
  for (const auto& [client, file] : files_) known.insert(path_of(client, file));
  for (fs::directory_iterator entry(folder_ / (name_ + "-clients"), error), end; !error && entry != end;
       entry.increment(error)) {
    std::error_code ignored;
    if (!known.contains(entry->path())) fs::remove(entry->path(), ignored);
  }
}

fs::path CheckpointFiles::main_path() const { return folder_ / (name_ + ".bin"); }

fs::path CheckpointFiles::path_of(std::uint32_t client, const File& file) const {
  return folder_ / (name_ + "-clients") / (std::to_string(client) + "-" + std::to_string(file.number));
}

void CheckpointFiles::write(const Trainer::Changes& changes) {
  const std::uint64_t number = count_ + 1;
  Files files = files_;
  std::vector<fs::path> replaced;
  if (!changes.clients.empty()) {
    std::error_code error;
    fs::create_directories(folder_ / (name_ + "-clients"), error);
    if (error) fail("cannot make the folder " + (folder_ / (name_ + "-clients")).string() + ": " + error.message());
  }
  for (const auto& [client, bytes] : changes.clients) {
    if (files.contains(client)) replaced.push_back(path_of(client, files[client]));
    files[client] = {number, crc32_of(bytes)};
    write_file(path_of(client, files[client]), bytes);
  }
  BytesOut out(kMagic);
  out.value(number);
  out.value<std::uint64_t>(files.size());
  for (const auto& [client, file] : files) {
    out.value(client);
    out.value(file.number);
    out.value(file.crc);
  }
  out.list(changes.rest);
  replace_file(main_path(), sealed(std::move(out)));
  count_ = number;
  files_ = std::move(files);
  std::error_code ignored;
  for (const fs::path& path : replaced) fs::remove(path, ignored);
}

// The trainer's part.
std::vector<std::byte> CheckpointFiles::read_main(Files& files, std::uint64_t& count) const {
  const Bytes read = bytes_of(main_path()).value_or(Bytes());
  BytesIn in = unsealed(read, kMagic);
  count = in.value<std::uint64_t>();
  files.clear();
  for (auto left = in.value<std::uint64_t>(); left > 0; --left) {
    const auto client = in.value<std::uint32_t>();
    const auto number = in.value<std::uint64_t>();
    files[client] = {number, in.value<std::uint32_t>()};
  }
  Bytes rest = in.list<Bytes>();
  in.expect_end();
  return rest;
}

std::optional<Checkpoint> CheckpointFiles::read_rest() const {
  if (!exist()) return std::nullopt;
  Files files;
  std::uint64_t count = 0;
  return Checkpoint::from_bytes(read_main(files, count));
}

std::optional<std::vector<std::byte>> CheckpointFiles::read() const {
  std::optional<Checkpoint> checkpoint = read_rest();
  if (!checkpoint) return std::nullopt;
  for (const auto& [client, file] : files_) {
    std::optional<Bytes> bytes = bytes_of(path_of(client, file));
    if (!bytes || crc32_of(*bytes) != file.crc) fail("checkpoint is damaged: " + path_of(client, file).string());
    checkpoint->states.clients.emplace(client, std::move(*bytes));
  }
  return checkpoint->to_bytes();
}

}  // namespace fewbits::federated
