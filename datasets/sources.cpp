#include "datasets/sources.h"

#include <botan/hash.h>
#include <botan/hex.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <span>

#include "fewbits/error.h"
#include "io/arrays.h"

namespace fewbits::datasets {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(const std::string& what) { throw Error(Errc::kBadArgument, what); }

class Descriptor {
 public:
  explicit Descriptor(int number = -1) noexcept : number_(number) {}
  ~Descriptor() { close(); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  int number() const noexcept { return number_; }
  void close() noexcept {
    if (number_ >= 0) ::close(number_);
    number_ = -1;
  }

 private:
  int number_;
};

// The child's input is empty, its errors are dropped, and its output goes to `out`.
class Redirections {
 public:
  explicit Redirections(int out) {
    posix_spawn_file_actions_init(&actions_);
    posix_spawn_file_actions_addopen(&actions_, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions_, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_adddup2(&actions_, out, STDOUT_FILENO);
  }
  ~Redirections() { posix_spawn_file_actions_destroy(&actions_); }
  Redirections(const Redirections&) = delete;
  Redirections& operator=(const Redirections&) = delete;

  const posix_spawn_file_actions_t* get() const noexcept { return &actions_; }

 private:
  posix_spawn_file_actions_t actions_;
};

// The child's number, or 0 when there is no such program.
pid_t start(std::vector<std::string> command, int out) {
  const Redirections redirections(out);
  std::vector<char*> arguments;
  for (std::string& word : command) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  std::string locale = "LC_ALL=C";
  char* environment[] = {locale.data(), nullptr};
  pid_t child = 0;
  const int error = posix_spawnp(&child, arguments[0], redirections.get(), nullptr, arguments.data(), environment);
  if (error == ENOENT) return 0;
  if (error != 0) fail(command[0] + " cannot be started: " + std::strerror(error));
  return child;
}

// Reads to the end, but no more than one byte over `most_bytes`.
std::string read_all(int in, std::size_t most_bytes) {
  std::string bytes;
  char chunk[1 << 16];
  while (bytes.size() <= most_bytes) {
    const ssize_t got = ::read(in, chunk, sizeof(chunk));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    bytes.append(chunk, static_cast<std::size_t>(got));
  }
  return bytes;
}

int wait_for(pid_t child) {
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

}  // namespace

std::string sha256_of(std::string_view bytes) {
  const auto hash = Botan::HashFunction::create_or_throw("SHA-256");
  hash->update(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
  return Botan::hex_encode(hash->final(), false);
}

std::string read_source(const fs::path& path, std::vector<SourceFile>& files) {
  const std::vector<std::byte> bytes = io::read_file(path);
  std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  files.push_back({path.string(), sha256_of(text)});
  return text;
}

void check_source(const SourceFile& file, std::string_view sha256, std::string_view title) {
  if (file.sha256 == sha256) return;
  fail(file.path + " is not " + std::string(title) + ": its SHA-256 is " + file.sha256 + ", expected " +
       std::string(sha256) + "; pass --data FOLDER to train on a set of your own");
}

fs::path chosen_folder(const std::string& name, const fs::path& data) {
  if (!data.empty()) {
    if (!fs::is_directory(data)) fail(data.string() + " is no folder");
    return data;
  }
  if (const char* home = std::getenv("FEWBITS_DATA"); home != nullptr && *home != '\0') {
    if (fs::path folder = fs::path(home) / name; fs::is_directory(folder)) return folder;
  }
  return {};
}

std::string output_of(const std::vector<std::string>& command, std::size_t most_bytes) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) fail(command[0] + " cannot be started: " + std::strerror(errno));
  Descriptor in(ends[0]);
  Descriptor out(ends[1]);
  const pid_t child = start(command, out.number());
  if (child == 0) return {};
  out.close();
  std::string bytes = read_all(in.number(), most_bytes);
  in.close();
  const int status = wait_for(child);
  if (bytes.size() > most_bytes) fail(command[0] + " writes more than " + std::to_string(most_bytes) + " bytes");
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
    fail(command[0] + " fails: it ends with status " + std::to_string(status));
  return bytes;
}

}  // namespace fewbits::datasets
