#include "io/arrays.h"

#include <unistd.h>
#include <zip.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <memory>
#include <optional>
#include <system_error>

#include "fewbits/error.h"
#include "io/npy.h"

namespace fewbits::io {
namespace {

constexpr const char* kUnnamed = "update";
constexpr std::string_view kMember = ".npy";
constexpr zip_uint16_t kDosTime = 0;
constexpr zip_uint16_t kDosDate = 0x21;  // 1980-01-01, the first

[[noreturn]] void fail(const std::filesystem::path& path, const std::string& what) {
  throw Error(Errc::kBadArgument, path.string() + ": " + what);
}

bool is_npz(const std::filesystem::path& path) { return path.extension() == ".npz"; }

struct CloseZip {
  void operator()(zip_t* archive) const noexcept { zip_discard(archive); }
  void operator()(zip_file_t* file) const noexcept { zip_fclose(file); }
};
using Archive = std::unique_ptr<zip_t, CloseZip>;
using Member = std::unique_ptr<zip_file_t, CloseZip>;

Archive open_archive(const std::filesystem::path& path, int flags) {
  int code = 0;
  Archive archive(zip_open(path.c_str(), flags, &code));
  if (!archive) {
    zip_error_t error;
    zip_error_init_with_code(&error, code);
    const std::string text = zip_error_strerror(&error);
    zip_error_fini(&error);
    fail(path, "not a readable .npz: " + text);
  }
  return archive;
}

// Deflate's best: 258 bytes of zeros in 2 bits.
constexpr zip_uint64_t kMostInflation = 1032;

constexpr std::size_t kChunkBytes = 1 << 18;  // whole items of every type
static_assert(kChunkBytes >= kMaxNpyHeader);

// Fills `bytes` by calls of `some`, which gives 0 at the end; returns how many there were.
template <class Some>
std::size_t read_up_to(Some&& some, std::span<std::byte> bytes) {
  std::size_t done = 0;
  while (done < bytes.size()) {
    const std::size_t got = some(bytes.subspan(done));
    if (got == 0) break;
    done += got;
  }
  return done;
}

// Appends the array of an .npy that `some` reads, and returns its header. `size` is the length of the .npy as far as it
// is known; memory grows with what is really read.
template <class Some>
NpyHeader append_npy(Some&& some, std::optional<std::uint64_t> size, const std::string& place,
                     std::vector<float>& values) {
  std::vector<std::byte> chunk(kMaxNpyHeader);
  chunk.resize(read_up_to(some, chunk));
  const NpyHeader header = parse_npy_header(chunk, place);
  const std::size_t wanted = header.elements * header.item_bytes;
  const auto refuse = [&](std::uint64_t have) {
    throw Error(Errc::kBadArgument, place + ": the shape needs " + std::to_string(wanted) +
                                        " bytes of data, there are " + std::to_string(have));
  };
  if (size && *size != header.data_offset + wanted) refuse(*size - std::min<std::uint64_t>(*size, header.data_offset));

  chunk.erase(chunk.begin(), chunk.begin() + static_cast<std::ptrdiff_t>(header.data_offset));
  std::size_t done = 0;  // bytes before the chunk
  while (true) {
    const std::size_t have = chunk.size();
    chunk.resize(kChunkBytes);
    chunk.resize(have + read_up_to(some, std::span(chunk).subspan(have)));
    // Nothing at the end: only there is a member's checksum compared.
    if (chunk.empty()) break;
    if (chunk.size() > wanted - done || chunk.size() % header.item_bytes != 0) refuse(done + chunk.size());
    const std::size_t count = chunk.size() / header.item_bytes;
    values.resize(values.size() + count);
    convert_npy_data(header, chunk, place, std::span(values).last(count));
    done += chunk.size();
    chunk.clear();
  }
  if (done != wanted) refuse(done);
  return header;
}

void append_member(zip_t* archive, zip_uint64_t index, const std::filesystem::path& path, std::uint64_t& packed_left,
                   std::vector<Tensor>& tensors, Arrays& arrays) {
  constexpr zip_uint64_t kNeeded = ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE;
  zip_stat_t stat;
  if (zip_stat_index(archive, index, 0, &stat) != 0 || (stat.valid & kNeeded) != kNeeded)
    fail(path, "the .npz has a damaged directory");
  std::string_view name = stat.name;
  if (!name.ends_with(kMember)) fail(path, "'" + std::string(name) + "' is no array; an .npz holds .npy files alone");
  name.remove_suffix(kMember.size());
  // Members that share bytes of the file would unpack to far more than it can hold.
  if (stat.comp_size > packed_left || stat.size / kMostInflation > stat.comp_size)
    fail(path, "'" + std::string(name) + "' claims more bytes than the file can hold");
  packed_left -= stat.comp_size;
  const std::string place = path.string() + ": '" + std::string(name) + "'";
  const Member member(zip_fopen_index(archive, index, 0));
  if (!member) fail(path, "'" + std::string(name) + "' cannot be read: " + zip_strerror(archive));
  const auto some = [&](std::span<std::byte> bytes) {
    const zip_int64_t got = zip_fread(member.get(), bytes.data(), bytes.size());
    if (got < 0) throw Error(Errc::kBadArgument, place + " is damaged: " + zip_file_strerror(member.get()));
    return static_cast<std::size_t>(got);
  };
  NpyHeader header = append_npy(some, stat.size, place, arrays.values);
  if (arrays.values.size() > Layout::kMaxElements)
    fail(path, "more than " + std::to_string(Layout::kMaxElements) + " coordinates");
  tensors.push_back({std::string(name), std::move(header.shape)});
  arrays.types.push_back(std::move(header.type));
}

Arrays read_npz(const std::filesystem::path& path) {
  const Archive archive = open_archive(path, ZIP_RDONLY);
  std::vector<Tensor> tensors;
  Arrays arrays{Layout(0), {}, {}};
  const zip_int64_t count = zip_get_num_entries(archive.get(), 0);
  if (count <= 0) fail(path, "the .npz holds no array");
  std::uint64_t packed_left = std::filesystem::file_size(path);
  arrays.values.reserve(packed_left / sizeof(float));
  for (zip_int64_t i = 0; i < count; ++i)
    append_member(archive.get(), static_cast<zip_uint64_t>(i), path, packed_left, tensors, arrays);
  try {
    arrays.layout = Layout(std::move(tensors));
    return arrays;
  } catch (const Error& error) {
    fail(path, error.what());
  }
}

std::ifstream open_file(const std::filesystem::path& path) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) fail(path, "is a folder");
  std::ifstream in(path, std::ios::binary);
  if (!in) fail(path, std::string("cannot be read: ") + std::strerror(errno));
  return in;
}

std::size_t read_some(std::ifstream& in, const std::filesystem::path& path, std::span<std::byte> bytes) {
  in.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  if (in.bad()) fail(path, "cannot be read to its end");
  return static_cast<std::size_t>(in.gcount());
}

Arrays read_npy(const std::filesystem::path& path) {
  std::ifstream in = open_file(path);
  std::error_code not_a_file;
  const std::uintmax_t size = std::filesystem::file_size(path, not_a_file);
  std::vector<float> values;
  if (!not_a_file) values.reserve(size / sizeof(float));
  NpyHeader header =
      append_npy([&](std::span<std::byte> bytes) { return read_some(in, path, bytes); },
                 not_a_file ? std::nullopt : std::optional<std::uint64_t>(size), path.string(), values);
  return {Layout(std::vector<Tensor>{{"", std::move(header.shape)}}), std::move(values), {std::move(header.type)}};
}

// A name beside the file that no other process uses.
std::filesystem::path temporary_name(const std::filesystem::path& path) {
  std::filesystem::path temporary = path;
  temporary += ".tmp" + std::to_string(::getpid());
  return temporary;
}

void replace(const std::filesystem::path& temporary, const std::filesystem::path& path) {
  std::error_code error;
  std::filesystem::rename(temporary, path, error);
  if (error) {
    std::filesystem::remove(temporary, error);
    fail(path, "cannot be written");
  }
}

void write_npz(const std::filesystem::path& path, const Layout& layout, std::span<const float> values) {
  const std::filesystem::path temporary = temporary_name(path);
  // zip_close reads the sources: they must live until then.
  std::vector<std::vector<std::byte>> files;
  Archive archive = open_archive(temporary, ZIP_CREATE | ZIP_TRUNCATE);
  for (std::size_t t = 0; t < layout.tensors().size(); ++t) {
    const Tensor& tensor = layout.tensors()[t];
    files.push_back(make_npy(tensor.shape, values.subspan(layout.offset(t), tensor.elements())));
    const std::string name = (tensor.name.empty() ? kUnnamed : tensor.name) + std::string(kMember);
    zip_source_t* source = zip_source_buffer(archive.get(), files.back().data(), files.back().size(), 0);
    const zip_int64_t index =
        source == nullptr ? -1 : zip_file_add(archive.get(), name.c_str(), source, ZIP_FL_ENC_UTF_8);
    if (index < 0) {
      zip_source_free(source);
      fail(path, std::string("cannot be written: ") + zip_strerror(archive.get()));
    }
    // As numpy.savez: stored, and the same bytes whenever it is written.
    zip_set_file_compression(archive.get(), static_cast<zip_uint64_t>(index), ZIP_CM_STORE, 0);
    zip_file_set_dostime(archive.get(), static_cast<zip_uint64_t>(index), kDosTime, kDosDate, 0);
  }
  if (zip_close(archive.get()) != 0) fail(path, std::string("cannot be written: ") + zip_strerror(archive.get()));
  static_cast<void>(archive.release());  // closed
  replace(temporary, path);
}

}  // namespace

std::vector<std::byte> read_file(const std::filesystem::path& path) {
  std::ifstream in = open_file(path);
  std::vector<std::byte> bytes;
  std::vector<std::byte> chunk(kChunkBytes);
  while (const std::size_t got = read_some(in, path, chunk))
    bytes.insert(bytes.end(), chunk.begin(), chunk.begin() + static_cast<std::ptrdiff_t>(got));
  return bytes;
}

void write_file(const std::filesystem::path& path, std::span<const std::byte> bytes) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) fail(path, "is a folder");
  const bool in_place = std::filesystem::exists(path, error) && !std::filesystem::is_regular_file(path, error);
  const std::filesystem::path temporary = in_place ? path : temporary_name(path);
  std::ofstream out(temporary, std::ios::binary);
  out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  out.close();
  if (!out) {
    const std::string why = std::strerror(errno);
    if (!in_place) std::filesystem::remove(temporary, error);
    fail(path, "cannot be written: " + why);
  }
  if (!in_place) replace(temporary, path);
}

Arrays read_arrays(const std::filesystem::path& path) {
  if (is_npz(path)) {
    std::error_code error;
    if (!std::filesystem::exists(path, error)) fail(path, "cannot be read: no such file");
    return read_npz(path);
  }
  return read_npy(path);
}

void check_writable(const std::filesystem::path& path, const Layout& layout) {
  if (is_npz(path)) return;
  if (path.extension() != ".npy") fail(path, "the name of the result must end in .npy or .npz");
  if (layout.tensors().size() != 1)
    fail(path,
         "an .npy holds one array, the layout has " + std::to_string(layout.tensors().size()) + "; write an .npz");
}

void write_arrays(const std::filesystem::path& path, const Layout& layout, std::span<const float> values) {
  check_writable(path, layout);
  if (is_npz(path))
    write_npz(path, layout, values);
  else
    write_file(path, make_npy(layout.tensors().front().shape, values));
}

}  // namespace fewbits::io
