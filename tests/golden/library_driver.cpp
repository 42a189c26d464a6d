// What the program does not offer, for golden_test.py: free parameters of structured plans as they are, and partial sums.
//
//   library_driver encode  PLAN SEED ROUND CLIENT in.f32 out.fb  TENSOR...
//   library_driver decode  PLAN SEED ROUND CLIENT in.fb out.f32  TENSOR...
//   library_driver sum     PLAN SEED ROUND 0 frames.txt out.sum  TENSOR...    a line a frame: weight, space, path
//   library_driver restore PLAN SEED ROUND 0 in.sum out.sum      TENSOR...
//
// A CLIENT is a number, or NUMBER@INDEX/SIZE for one with a place in a cohort. A TENSOR is NAME:D0,D1,...; .f32 files hold
// little-endian float32. A refusal is one line on stderr and exit code 2.
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <iostream>
#include <iterator>
#include <span>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "fewbits/aggregator.h"
#include "fewbits/codec.h"
#include "fewbits/error.h"

namespace {

std::vector<std::byte> read_bytes(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error("cannot read " + path);
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

std::vector<float> read_floats(const std::string& path) {
  const std::vector<std::byte> bytes = read_bytes(path);
  std::vector<float> values(bytes.size() / sizeof(float));
  const auto target = std::as_writable_bytes(std::span(values));
  for (std::size_t i = 0; i < target.size(); ++i) target[i] = bytes[i];
  return values;
}

void write_bytes(const std::string& path, std::span<const std::byte> bytes) {
  std::ofstream out(path, std::ios::binary);
  for (const std::byte byte : bytes) out.put(static_cast<char>(byte));
  if (!out) throw std::runtime_error("cannot write " + path);
}

fewbits::Tensor tensor(const std::string& text) {
  const std::size_t colon = text.rfind(':');
  fewbits::Tensor result{text.substr(0, colon), {}};
  std::stringstream extents(text.substr(colon + 1));
  for (std::string extent; std::getline(extents, extent, ',');) result.shape.push_back(std::stoull(extent));
  return result;
}

int run(const std::vector<std::string>& arguments) {
  if (arguments.size() < 7) throw std::runtime_error("seven arguments and the tensors are due");
  const std::string& command = arguments[0];
  const std::uint64_t seed = std::stoull(arguments[2]);
  const auto round = static_cast<std::uint32_t>(std::stoul(arguments[3]));
  const std::uint64_t client = std::stoull(arguments[4]);
  fewbits::Cohort cohort;
  if (const std::size_t at = arguments[4].find('@'); at != std::string::npos) {
    cohort.index = static_cast<std::uint32_t>(std::stoul(arguments[4].substr(at + 1)));
    cohort.size = static_cast<std::uint32_t>(std::stoul(arguments[4].substr(arguments[4].find('/') + 1)));
  }
  const std::string& in = arguments[5];
  const std::string& out = arguments[6];
  std::vector<fewbits::Tensor> tensors;
  for (std::size_t i = 7; i < arguments.size(); ++i) tensors.push_back(tensor(arguments[i]));
  const auto codec = fewbits::Codec::compile(arguments[1], fewbits::Layout(tensors));

  if (command == "encode") {
    write_bytes(out, codec.encode(read_floats(in), {seed, round, client, cohort}));
  } else if (command == "decode") {
    const std::vector<float> update = codec.decode(read_bytes(in), {seed, cohort});
    write_bytes(out, std::as_bytes(std::span(update)));
  } else if (command == "sum") {
    fewbits::Aggregator sum(codec, {seed, round}, {.max_abs = 1e20});
    std::ifstream list(in);
    double weight = 0;
    for (std::string path; list >> weight && list.ignore() && std::getline(list, path);) {
      const std::vector<std::byte> frame = read_bytes(path);
      sum.add(frame, {fewbits::inspect(frame).client, weight});
    }
    write_bytes(out, sum.serialize());
  } else if (command == "restore") {
    write_bytes(out, fewbits::Aggregator::restore(codec, {seed, round}, read_bytes(in)).serialize());
  } else {
    throw std::runtime_error("no command " + command);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run({argv + 1, argv + argc});
  } catch (const fewbits::Error& error) {
    std::cerr << error.what() << '\n';
    return 2;
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
