#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>

#include "tests/engine/hostile.h"
#include "tests/fuzz/plans.h"
#include "tests/fuzz/secure_run.h"

// Writes the seed corpus from real frames and sums: write_corpus FOLDER. Run by hand where fuzz/plans.h grows or a
// format version is added; what was there stays.
namespace fewbits::fuzz {
namespace {

std::filesystem::path folder;

void write(const std::string& name, std::uint8_t first, std::span<const std::byte> bytes) {
  std::ofstream out(folder / name, std::ios::binary);
  out.put(static_cast<char>(first));
  out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

std::string label(std::size_t plan) {
  std::string name = std::to_string(plan) + "-";
  for (const char c : codecs()[plan].plan().substr(0, 60))
    name += std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
  return name;
}

void frames() {
  for (std::size_t plan = 0; plan < codecs().size(); ++plan) {
    const Codec& codec = codecs()[plan];
    const auto x = test::normal(codec.elements(), 5);
    const auto frame = codec.encode(x, {kContext.seed, kContext.round, 17});
    const auto first = static_cast<std::uint8_t>(plan);
    write("accepted-" + label(plan), first, frame);
    const std::size_t at = inspect(frame).header_bytes;
    if (plan == 3) {
      write("accepted-untouched", first | kAsItIs, frame);
      write("refused-cut", first, std::span(frame).first(frame.size() - 1));
      write("refused-trailing", first, [&] {
        auto f = frame;
        f.push_back(std::byte{0});
        return f;
      }());
      write("refused-header-only", first, std::span(frame).first(at));
      write("refused-wrong-round", first, codec.encode(x, {kContext.seed, 4, 17}));
      write("refused-wrong-version", first, test::with_bytes(frame, 1, test::bytes_of({2})));
      write("refused-unknown-flag", first, test::with_bytes(frame, 2, test::bytes_of({4})));
      write("accepted-optional-flag", first, test::with_bytes(frame, 3, test::bytes_of({4})));
      write("refused-section-flag", first, test::with_bytes(frame, 2, test::bytes_of({1})));
      write("refused-scale-1e38", first, test::with_value(frame, at + 4, 1e38f));
      write("refused-scale-nan", first, test::with_value(frame, at, static_cast<float>(NAN)));
      write("refused-padding-bit", first, test::with_bytes(frame, frame.size() - 1, {frame.back() | std::byte{0x80}}));
      write("accepted-largest-client", first, codec.encode(x, {kContext.seed, kContext.round, ~0ull}));
      write("refused-padded-client", first,
            test::Forged{.round = test::varint(3),
                         .client = test::bytes_of({0x91, 0x00}),
                         .rest = {frame.begin() + static_cast<std::ptrdiff_t>(at), frame.end()}}
                .bytes());
      write("accepted-denormals", first,
            codec.encode(std::vector<float>(37, 1e-45f), {kContext.seed, kContext.round, 17}));
    }
    if (plan == 0) write("refused-infinity", first, test::with_value(frame, at, INFINITY));
    if (plan == 5) {
      auto bomb = std::vector<std::byte>(frame.begin(), frame.begin() + static_cast<std::ptrdiff_t>(at + 8));
      for (const std::byte b : test::zstd_bomb(20)) bomb.push_back(b);
      write("refused-zstd-bomb", first, bomb);
    }
    if (plan == 13) {
      write("refused-table-of-three", first, test::with_bytes(frame, at, test::bytes_of({3})));
      write("refused-section-too-long", first, test::with_bytes(frame, at + 1, test::bytes_of({0x7F})));
    }
  }
}

void partial_sums() {
  for (const std::size_t plan : {0, 3, 6, 9, 10, 13, 17, 18}) {
    const Codec& codec = codecs()[plan];
    const auto first = static_cast<std::uint8_t>(plan);
    Aggregator sum(codec, kContext);
    if (plan == 18) write("accepted-empty", first, sum.serialize());
    for (const std::uint64_t client : {3, 200, 70'000})
      sum.add(codec.encode(test::normal(codec.elements(), client), {kContext.seed, kContext.round, client}),
              {client, 2});
    const auto bytes = sum.serialize();
    write("accepted-" + label(plan), first, bytes);
    if (plan != 18) continue;
    write("accepted-untouched", first | kAsItIs, bytes);
    write("refused-cut", first, std::span(bytes).first(bytes.size() - 1));
    write("refused-weight-zero", first, test::with_value(bytes, 19, 0.0));
    write("refused-weight-nan", first, test::with_value(bytes, 19, static_cast<double>(NAN)));
    write("refused-sum-infinite", first, test::with_value(bytes, bytes.size() - 16, HUGE_VAL));
    write("refused-too-many-clients", first, test::with_bytes(bytes, 27, test::bytes_of({0x7F})));
  }
}

void plans() {
  const auto text = [](const std::string& name, std::uint8_t layout, std::string_view plan) {
    write(name, layout, std::as_bytes(std::span(plan)));
  };
  text("accepted-float", 0, "f32");
  text("accepted-konecny", 0, "hadamard+mask:keep=0.0625+quantize:bits=2");
  text("accepted-spelled-out", 0, "hadamard:seed=client + quantize:bits=8,block=16777216 + zstd:level=19");
  text("accepted-structured", 0, "train=mask:keep=0.0625 | hadamard+quantize:bits=2");
  text("accepted-lowrank", 1, "train=lowrank:rank=2 | in.*=f32; *=quantize:bits=1+zstd");
  text("accepted-rules", 1, "*.bias=f32; <20=f16; *=mask:keep=1e-3,seed=round+mask:keep=0.5+bf16");
  text("accepted-empty-layout", 2, "quantize:bits=1,block=1");
  text("accepted-star-name", 4, "?=f32; a.*=bf16; **=f16; *=f32");
  text("accepted-presets", 1, "*.bias=eden:bits=2; in.*=mask:keep=0.5 + drive + zstd; *=stc:keep=0.1");
  text("refused-preset", 0, "hadamard+eden:bits=9");
  text("refused-shared-rotation", 0, "hadamard+lloyd:bits=1");
  text("refused-nothing", 0, "");
  text("refused-no-quantizer", 0, "hadamard");
  text("refused-order", 0, "pack+f32+hadamard");
  text("refused-bits", 0, "quantize:bits=9");
  text("refused-number", 0, "mask:keep=1e-9999+f32");
  text("refused-family", 0, "train=quantize:bits=1 | f32");
  text("refused-no-rule", 1, "in.*=f32");
  text("refused-separators", 0, ";+:=,|<*?");
}

constexpr std::size_t kSecureHeader = 40;

// Of a message of secure aggregation, what both ends refuse.
void secure_lies(const std::string& name, std::uint8_t first, const secure::Bytes& message) {
  const std::span<const std::byte> bytes(message);
  write("refused-" + name + "-cut", first, bytes.first(bytes.size() - 1));
  write("refused-" + name + "-header-only", first, bytes.first(kSecureHeader));
  auto longer = message;
  longer.push_back(std::byte{0});
  write("refused-" + name + "-trailing", first, longer);
  write("refused-" + name + "-version", first, test::with_bytes(message, 1, test::bytes_of({2})));
  write("refused-" + name + "-phase", first, test::with_bytes(message, 2, test::bytes_of({0})));
  write("refused-" + name + "-round", first, test::with_bytes(message, 4, test::bytes_of({4})));
  write("refused-" + name + "-client", first, test::with_bytes(message, 32, test::bytes_of({0xEE})));
}

void secure_clients() {
  const SecureRun& run = secure_run();
  const char* names[] = {"neighbours", "forwarded", "survivors"};
  for (std::uint8_t phase = 0; phase < 3; ++phase)
    for (std::uint8_t place = 0; place < 4; ++place) {
      const auto first = static_cast<std::uint8_t>(phase | place << 2);
      const auto& message = run.down[phase + 1u].at(run.cohort[place]);
      write("accepted-" + std::string(names[phase]) + std::to_string(place), first, message);
      if (place != 1) continue;
      secure_lies(names[phase], first, message);
      const auto changed = [&](const std::string& what, std::size_t at, std::vector<std::byte> bytes) {
        write("refused-" + std::string(names[phase]) + "-" + what, first | kRightHeader, test::with_bytes(message, at, bytes));
      };
      if (phase == 0) {
        changed("echo", kSecureHeader + 5, test::bytes_of({1}));
        changed("count", kSecureHeader + 64, test::bytes_of({0xFF, 0xFF, 0xFF, 0xFF}));
        changed("zero-key", kSecureHeader + 76, std::vector<std::byte>(32));
      } else if (phase == 1) {
        changed("who", kSecureHeader, test::bytes_of({0x1F}));
        changed("sealed", kSecureHeader + 40, test::bytes_of({1, 2}));
      } else {
        changed("total", kSecureHeader, test::bytes_of({0xFF, 0xFF}));
        changed("both", kSecureHeader + 4, test::bytes_of({3}));
        changed("all-dropped", kSecureHeader + 4, test::bytes_of({2, 2, 2, 2}));
      }
    }
}

void secure_servers() {
  const SecureRun& run = secure_run();
  const char* names[] = {"keys", "shares", "input", "reveal"};
  for (std::uint8_t phase = 0; phase < 4; ++phase)
    for (std::uint8_t place = 0; place < 4; ++place) {
      const auto first = static_cast<std::uint8_t>(phase | place << 2);
      const auto& message = run.up[phase].at(run.cohort[place]);
      write("accepted-" + std::string(names[phase]) + std::to_string(place), first, message);
      if (place != 2) continue;
      secure_lies(names[phase], first, message);
      if (phase == 0) write("refused-keys-zero", first, test::with_bytes(message, kSecureHeader, std::vector<std::byte>(32)));
      if (phase == 1) write("accepted-shares-garbage", first, test::with_bytes(message, 200, test::bytes_of({1, 2, 3})));
      if (phase == 2) write("accepted-input-other", first, test::with_bytes(message, 50, test::bytes_of({1, 2, 3})));
      if (phase == 2) write("refused-input-padding", first, test::with_bytes(message, message.size() - 1, test::bytes_of({0xFF})));
      if (phase == 3) write("refused-reveal-other", first, test::with_bytes(message, kSecureHeader, test::bytes_of({1, 2, 3})));
    }
}

}  // namespace
}  // namespace fewbits::fuzz

int main(int count, char** arguments) {
  if (count != 2) {
    std::fprintf(stderr, "usage: %s FOLDER\n", arguments[0]);
    return 2;
  }
  using namespace fewbits::fuzz;
  for (const auto& [name, make] :
       {std::pair("frame", &frames), std::pair("partial_sum", &partial_sums), std::pair("plan", &plans),
        std::pair("secure_client", &secure_clients), std::pair("secure_server", &secure_servers)}) {
    folder = std::filesystem::path(arguments[1]) / name;
    std::filesystem::create_directories(folder);
    make();
  }
  return 0;
}
