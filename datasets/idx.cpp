#include "datasets/idx.h"

#include <botan/hash.h>
#include <botan/hex.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <span>

#include "fewbits/error.h"

namespace fewbits::datasets {
namespace {

constexpr std::size_t kChunk = std::size_t{1} << 20;

// Bytes of a gzip or plain file, hashed as they are read.
class Reader {
 public:
  explicit Reader(const std::filesystem::path& path)
      : path_(path), file_(gzopen(path.c_str(), "rb")), hash_(Botan::HashFunction::create_or_throw("SHA-256")) {
    if (file_ == nullptr) fail(std::string("cannot be opened: ") + std::strerror(errno));
    gzbuffer(file_, 1u << 17);
  }
  ~Reader() { gzclose_r(file_); }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  // Fewer bytes than asked for only at the end of the file.
  std::size_t read(std::span<std::uint8_t> bytes) {
    const int got = gzread(file_, bytes.data(), static_cast<unsigned>(bytes.size()));
    int error = Z_OK;
    const char* message = gzerror(file_, &error);
    if (error == Z_BUF_ERROR) fail("is cut short: the gzip stream ends early");
    if (got < 0 || error != Z_OK) fail(std::string("cannot be read: ") + (error == Z_ERRNO ? std::strerror(errno) : message));
    hash_->update(bytes.data(), static_cast<std::size_t>(got));
    return static_cast<std::size_t>(got);
  }

  std::string sha256() { return Botan::hex_encode(hash_->final(), false); }

  [[noreturn]] void fail(const std::string& what) const { throw Error(Errc::kBadArgument, path_.string() + " " + what); }

 private:
  std::filesystem::path path_;
  gzFile file_;
  std::unique_ptr<Botan::HashFunction> hash_;
};

}  // namespace

IdxFile read_idx(const std::filesystem::path& path, std::size_t dimensions) {
  if (std::filesystem::is_directory(path)) throw Error(Errc::kBadArgument, path.string() + " is a folder, not a file");
  Reader reader(path);
  std::vector<std::uint8_t> header(4 + 4 * dimensions);
  const std::size_t got = reader.read(header);
  if (got >= 4 && (header[0] != 0 || header[1] != 0 || header[2] != 8 || header[3] != dimensions)) {
    const std::uint8_t wanted[4] = {0, 0, 8, static_cast<std::uint8_t>(dimensions)};
    reader.fail("is no IDX file of unsigned bytes in " + std::to_string(dimensions) + " dimensions: it begins with " +
                Botan::hex_encode(header.data(), 4, false) + ", expected " + Botan::hex_encode(wanted, 4, false));
  }
  if (got < header.size()) {
    reader.fail("is cut short: " + std::to_string(got) + " bytes, the header alone has " + std::to_string(header.size()));
  }

  IdxFile file;
  std::size_t claimed = 1;
  for (std::size_t i = 0; i < dimensions; ++i) {
    std::size_t extent = 0;
    for (std::size_t byte = 0; byte < 4; ++byte) extent = extent << 8 | header[4 + 4 * i + byte];
    if (extent == 0) reader.fail("has a dimension of 0");
    if (extent > kMaxIdxValues / claimed) {
      reader.fail("claims more than " + std::to_string(kMaxIdxValues) + " values, the most that are read");
    }
    claimed *= extent;
    file.shape.push_back(extent);
  }

  // The size of a gzip file is known only at its end, so the buffer grows with what has been unpacked.
  while (file.values.size() < claimed) {
    const std::size_t old = file.values.size();
    const std::size_t wanted = std::min(kChunk, claimed - old);
    file.values.resize(old + wanted);
    const std::size_t read = reader.read(std::span(file.values).subspan(old));
    if (read < wanted) {
      reader.fail("is cut short: " + std::to_string(old + read) + " values, its header says " + std::to_string(claimed));
    }
  }
  std::uint8_t beyond = 0;
  if (reader.read({&beyond, 1}) != 0) reader.fail("goes on after the " + std::to_string(claimed) + " values of its header");
  file.sha256 = reader.sha256();
  return file;
}

}  // namespace fewbits::datasets
