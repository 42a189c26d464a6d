#include "io/arrays.h"

#include <unistd.h>
#include <zip.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <memory>
#include <system_error>

#include "fewbits/error.h"
#include "io/npy.h"

namespace fewbits::io {
namespace {

constexpr const char* kUnnamed = "update";
constexpr std::string_view kMember = ".npy";

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

// Reads up to `bytes.size()` bytes; fewer at the end of the member.
std::size_t read_some(zip_file_t* member, std::span<std::byte> bytes, const std::string& name) {
  std::size_t done = 0;
  while (done < bytes.size()) {
    const zip_int64_t got = zip_fread(member, bytes.data() + done, bytes.size() - done);
    if (got < 0) throw Error(Errc::kBadArgument, name + ": damaged: " + zip_file_strerror(member));
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  return done;
}

void append_member(zip_t* archive, zip_uint64_t index, const std::filesystem::path& path, std::vector<Tensor>& tensors,
                   std::vector<float>& values) {
  zip_stat_t stat;
  if (zip_stat_index(archive, index, 0, &stat) != 0 || (stat.valid & ZIP_STAT_NAME) == 0 || (stat.valid & ZIP_STAT_SIZE) == 0)
    fail(path, "the .npz has a damaged directory");
  std::string_view name = stat.name;
  if (!name.ends_with(kMember)) fail(path, "'" + std::string(name) + "' is no array; an .npz holds .npy files alone");
  name.remove_suffix(kMember.size());
  const std::string place = path.string() + ": " + std::string(name);
  const Member member(zip_fopen_index(archive, index, 0));
  if (!member) fail(path, "'" + std::string(name) + "' cannot be read: " + zip_strerror(archive));

  std::vector<std::byte> head(std::min<zip_uint64_t>(kMaxNpyHeader, stat.size));
  head.resize(read_some(member.get(), head, place));
  const NpyHeader header = parse_npy_header(head, place);
  const std::size_t size = header.data_offset + header.elements * header.item_bytes;
  if (stat.size != size)
    fail(path, "'" + std::string(name) + "' needs " + std::to_string(size) + " bytes for its shape, it has " +
                   std::to_string(stat.size));
  std::vector<std::byte> data(head.begin() + static_cast<std::ptrdiff_t>(header.data_offset), head.end());
  const std::size_t have = data.size();
  data.resize(header.elements * header.item_bytes);
  if (have + read_some(member.get(), std::span(data).subspan(have), place) != data.size())
    fail(path, "'" + std::string(name) + "' is cut off");
  values.resize(values.size() + header.elements);
  convert_npy_data(header, data, place, std::span(values).last(header.elements));
  tensors.push_back({std::string(name), header.shape});
}

Arrays read_npz(const std::filesystem::path& path) {
  const Archive archive = open_archive(path, ZIP_RDONLY);
  std::vector<Tensor> tensors;
  std::vector<float> values;
  const zip_int64_t count = zip_get_num_entries(archive.get(), 0);
  if (count <= 0) fail(path, "the .npz holds no array");
  for (zip_int64_t i = 0; i < count; ++i)
    append_member(archive.get(), static_cast<zip_uint64_t>(i), path, tensors, values);
  return {Layout(std::move(tensors)), std::move(values)};
}

Arrays read_npy(const std::filesystem::path& path) {
  const std::vector<std::byte> file = read_file(path);
  const NpyHeader header = parse_npy_header(file, path.string());
  const auto data = std::span(file).subspan(header.data_offset);
  if (data.size() != header.elements * header.item_bytes)
    fail(path, "the shape needs " + std::to_string(header.elements * header.item_bytes) + " bytes of data, there are " +
                   std::to_string(data.size()));
  std::vector<float> values(header.elements);
  convert_npy_data(header, data, path.string(), values);
  return {Layout(std::vector<Tensor>{{"", header.shape}}), std::move(values)};
}

// A name beside the path that no other process uses.
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
    const zip_int64_t index = source == nullptr ? -1 : zip_file_add(archive.get(), name.c_str(), source, ZIP_FL_ENC_UTF_8);
    if (index < 0) {
      zip_source_free(source);
      fail(path, std::string("cannot be written: ") + zip_strerror(archive.get()));
    }
    zip_set_file_compression(archive.get(), static_cast<zip_uint64_t>(index), ZIP_CM_STORE, 0);
  }
  if (zip_close(archive.get()) != 0) fail(path, std::string("cannot be written: ") + zip_strerror(archive.get()));
  static_cast<void>(archive.release());   // closed
  replace(temporary, path);
}

}  // namespace

std::vector<std::byte> read_file(const std::filesystem::path& path) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) fail(path, "is a folder");
  std::ifstream in(path, std::ios::binary);
  if (!in) fail(path, std::string("cannot be read: ") + std::strerror(errno));
  std::vector<std::byte> bytes;
  std::byte buffer[1 << 16];
  while (in.read(reinterpret_cast<char*>(buffer), sizeof buffer) || in.gcount() > 0)
    bytes.insert(bytes.end(), buffer, buffer + in.gcount());
  if (in.bad()) fail(path, "cannot be read to its end");
  return bytes;
}

void write_file(const std::filesystem::path& path, std::span<const std::byte> bytes) {
  const std::filesystem::path temporary = temporary_name(path);
  {
    std::ofstream out(temporary, std::ios::binary);
    out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    out.close();
    if (!out) {
      const std::string why = std::strerror(errno);
      std::error_code ignored;
      std::filesystem::remove(temporary, ignored);
      fail(path, "cannot be written: " + why);
    }
  }
  replace(temporary, path);
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
    fail(path, "an .npy holds one array, the layout has " + std::to_string(layout.tensors().size()) + "; write an .npz");
}

void write_arrays(const std::filesystem::path& path, const Layout& layout, std::span<const float> values) {
  check_writable(path, layout);
  if (is_npz(path))
    write_npz(path, layout, values);
  else
    write_file(path, make_npy(layout.tensors().front().shape, values));
}

}  // namespace fewbits::io
