#include "kernels/kernels.h"

#include <algorithm>
#include <cmath>

#include "bench/cases.h"
#include "kernels/hash.h"
#include "kernels/low_rank.h"
#include "kernels/random.h"
#include "kernels/rans.h"
#include "kernels/trellis.h"
#include "registry.h"

namespace fewbits::bench {
namespace {

using Cases = std::vector<Case>;

// Of values that are 0: a transform without a scale that is run again and again would leave float32. Time does not depend
// on values. They begin a cache line, as the yardsticks' and a plan's own vectors do.
template <class T>
Cases walsh_hadamard(std::size_t n) {
  const auto x = std::make_shared<Workspace>();
  x->reserve(Workspace::bytes_for<T>(n));
  const std::span<T> values = x->take<T>(n);
  std::ranges::fill(values, T{0});
  Cases cases = {{"fewbits", Kind::kSubject, repeated([x, values] { kernels::walsh_hadamard(values); })},
                 copy_case(n), scale_case(n)};
  if constexpr (std::is_same_v<T, float>) {
    if (n <= 1u << 20) cases.push_back(fftw_walsh_hadamard(n));
  }
  return cases;
}

Cases rotate(std::size_t n) {
  const auto y = std::make_shared<Workspace>();
  y->reserve(Workspace::bytes_for<float>(n));
  const std::span<float> values = y->take<float>(n);
  return {{"fewbits", Kind::kSubject, repeated([x = normal(n), y, values] { kernels::rotate(1, *x, 0.1f, values); })},
          copy_case(n)};
}

Cases generator(std::size_t n) {
  return {{"fewbits", Kind::kSubject,
           repeated([words = shared<std::uint32_t>(n)] { RandomStream(1).fill(0, *words); })},
          copy_case(n)};
}

Cases min_max(std::size_t n) {
  return {{"fewbits", Kind::kSubject, repeated([x = normal(n)] { benchmark::DoNotOptimize(kernels::min_max(*x)); })},
          read_case(n)};
}

Cases all_finite(std::size_t n) {
  return {{"fewbits", Kind::kSubject, repeated([x = normal(n)] { benchmark::DoNotOptimize(kernels::all_finite(*x)); })},
          read_case(n)};
}

Cases sum_of_squares(std::size_t n) {
  return {{"fewbits", Kind::kSubject, repeated([x = normal(n)] { benchmark::DoNotOptimize(kernels::sum_of_squares(*x)); })},
          read_case(n)};
}

Cases flip_signs(std::size_t n) {
  return {{"fewbits", Kind::kSubject, repeated([x = normal(n)] { kernels::flip_signs(1, std::span(*x)); })},
          scale_case(n)};
}

template <unsigned kBits>
Cases quantize(std::size_t n) {
  return {{"fewbits", Kind::kSubject,
           repeated([x = normal(n), bytes = shared<std::byte>(kernels::packed_bytes(n, kBits))] {
             kernels::quantize_packed(1, {-6, 6}, kBits, *x, *bytes);
           })},
          copy_case(n), read_case(n)};
}

template <unsigned kBits>
Shared<std::byte> packed(std::size_t n) {
  auto bytes = shared<std::byte>(kernels::packed_bytes(n, kBits));
  kernels::quantize_packed(1, {-6, 6}, kBits, *normal(n), *bytes);
  return bytes;
}

template <unsigned kBits>
Cases dequantize(std::size_t n) {
  return {{"fewbits", Kind::kSubject,
           repeated([bytes = packed<kBits>(n), sum = shared<double>(n)] {
             const kernels::PackedUniform frame{*bytes, {-6, 6}, 0.5};
             kernels::accumulate_packed({&frame, 1}, kBits, *sum);
           })},
          copy_case(n), scale_case(n)};
}

Cases largest(std::size_t n, std::size_t k) {
  const auto x = normal(n);
  return {{"fewbits", Kind::kSubject,
           repeated([x, scratch = shared<std::uint32_t>(kernels::largest_scratch(n, k)), chosen = shared<std::uint32_t>(k)] {
             kernels::largest(*x, *scratch, *chosen);
           })},
          copy_case(n), read_case(n), nth_element_case(x, k)};
}

Cases subset(std::size_t n) {
  return {{"fewbits", Kind::kSubject,
           repeated([n, scratch = shared<std::uint64_t>(kernels::subset_scratch(n)), chosen = shared<std::uint32_t>(n / 16)] {
             kernels::subset(1, n, *scratch, *chosen);
           })},
          copy_case(n)};
}

Cases trellis_search_case(std::size_t n, unsigned states) {
  RandomReader random(1);
  auto places = shared<std::int64_t>(n);
  for (std::int64_t& place : *places) place = static_cast<std::int64_t>((2 * random.uniform() - 1) * 0x1p27);
  return {{"fewbits", Kind::kSubject,
           repeated([places, states, weights = shared<std::uint16_t>(n, 256), points = shared<std::int32_t>(n),
                     scratch = shared<std::byte>(trellis_scratch(states, n))] {
             trellis_search(trellis_code(states), *places, *weights, *scratch, *points);
           })},
          copy_case(n)};
}

Cases halves(std::size_t n) {
  return {{"to f16", Kind::kSubject, repeated([x = normal(n), y = shared<std::uint16_t>(n)] {
             std::ranges::transform(*x, y->begin(), kernels::to_half);
           })},
          {"from f16", Kind::kSubject, repeated([x = shared<std::uint16_t>(n, 0x3C00), y = shared<float>(n)] {
             std::ranges::transform(*x, y->begin(), kernels::from_half);
           })},
          {"to bf16", Kind::kSubject, repeated([x = normal(n), y = shared<std::uint16_t>(n)] {
             std::ranges::transform(*x, y->begin(), kernels::to_bfloat);
           })},
          copy_case(n)};
}

Cases hash(std::size_t n) {
  const auto x = normal(n);
  return {{"fewbits", Kind::kSubject, repeated([x] {
             benchmark::DoNotOptimize(kernels::hash64(std::as_bytes(std::span(*x)), 1));
           })},
          copy_case(n), xxhash_case(x)};
}

Cases low_rank(std::size_t n) {
  constexpr std::size_t kRank = 4;
  const auto side = static_cast<std::size_t>(std::lround(std::sqrt(static_cast<double>(n))));
  const auto matrix = normal(n);
  Cases cases = {{"fewbits", Kind::kSubject,
                  repeated([matrix, side, right = normal(side * kRank, 2), left = shared<double>(side * kRank),
                            energies = shared<double>(kRank), products = shared<float>(side * kRank),
                            triangle = shared<double>(kRank * kRank)] {
                    kernels::low_rank(*matrix, side, side, kRank, 1, *right, *left, *energies, *products, *triangle);
                  })},
                 read_case(n), openblas_low_rank(matrix, side, kRank)};
#if defined(__x86_64__)
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return cases;   // as it was compiled
#endif
  cases.push_back(eigen_low_rank(matrix, side, kRank));
  return cases;
}

// The coder of plans, on 4-bit symbols of normal values at steps of 0.4 standard deviations: an entropy of 3.37 bits.
struct RansCoder {
  explicit RansCoder(std::size_t n) {
    const auto stage = [](std::string_view name, std::string_view parameters) {
      const StageDescriptor* found = find_stage(name);
      return std::pair(found, Parameters(name, found->parameters, parameters));
    };
    const auto [rans, no_parameters] = stage("rans", "");
    const auto [quantize, bits] = stage("quantize", "bits=4");
    coder = rans->make_coder(no_parameters);
    quantizer = quantize->make_quantizer(bits, {.values = n});
    workspace.reserve(coder->workspace_bytes() + coder->scratch_bytes(n, *quantizer));
    const Shared<float> values = normal(n);
    for (const float value : *values)
      symbols.push_back(std::clamp(static_cast<std::int32_t>(std::lrint(value / 0.4f)) + 8, 0, 15));
    decoded.resize(n);
    encode();
  }

  static SymbolModel model() {
    SymbolModel sixteen;
    sixteen.size = 16;
    return sixteen;
  }
  StageContext context() {
    StageContext here;
    here.workspace = &workspace;
    return here;
  }

  void encode() {
    bytes.clear();
    ByteWriter out(bytes);
    coder->encode(context(), symbols, model(), out);
  }
  void decode() {
    ByteReader in(bytes);
    coder->decode(context(), in, model(), decoded);
  }

  std::unique_ptr<Coder> coder;
  std::unique_ptr<Quantizer> quantizer;
  Workspace workspace;
  std::vector<std::int32_t> symbols;
  std::vector<std::int32_t> decoded;
  std::vector<std::byte> bytes;
};

Cases rans_encode(std::size_t n) {
  const auto coder = std::make_shared<RansCoder>(n);
  return {{"fewbits", Kind::kSubject, repeated([coder] { coder->encode(); })},
          zstd_encode(coder->symbols), htscodecs_encode(coder->symbols), copy_case(n)};
}

Cases rans_decode(std::size_t n) {
  const auto coder = std::make_shared<RansCoder>(n);
  return {{"fewbits", Kind::kSubject, repeated([coder] { coder->decode(); })},
          zstd_decode(coder->symbols), htscodecs_decode(coder->symbols), copy_case(n)};
}

// The loops of rans.h alone, with 16 symbols of given frequencies.
struct RansLoop {
  static constexpr unsigned kLanes = kMaxRansLanes;

  explicit RansLoop(std::size_t n) : room(RansWriter::words_for(15 * n)) {
    for (unsigned s = 0; s < 16; ++s) intervals[s] = {s * (kRansTotal / 16), kRansTotal / 16};
    RandomReader random(1);
    for (std::size_t i = 0; i < n; ++i) symbols.push_back(static_cast<std::uint8_t>(random.next() >> 28));
    decoded.resize(n);
    write();
  }

  void write() {
    RansWriter writer(room);
    writer.begin(kLanes);
    for (std::size_t i = symbols.size(); i-- > 0;) writer.put(static_cast<unsigned>(i % kLanes), intervals[symbols[i]]);
    bytes.resize(writer.bytes());
    writer.finish(bytes);
  }
  void read() {
    RansReader reader(bytes);
    reader.begin(kLanes);
    for (std::size_t i = 0; i < decoded.size(); ++i) {
      const auto lane = static_cast<unsigned>(i % kLanes);
      decoded[i] = static_cast<std::uint8_t>(reader.slot(lane) / (kRansTotal / 16));
      reader.advance(lane, intervals[decoded[i]]);
    }
  }

  std::vector<std::uint16_t> room;
  RansInterval intervals[16];
  std::vector<std::uint8_t> symbols;
  std::vector<std::uint8_t> decoded;
  std::vector<std::byte> bytes;
};

Cases rans_loops(std::size_t n) {
  const auto loop = std::make_shared<RansLoop>(n);
  return {{"write", Kind::kSubject, repeated([loop] { loop->write(); })},
          {"read", Kind::kSubject, repeated([loop] { loop->read(); })}, copy_case(n)};
}

}  // namespace

std::vector<Group> kernel_groups(std::span<const unsigned> sizes) {
  struct Kernel {
    std::string name;
    std::function<Cases(std::size_t)> make;
    unsigned most = 24;   // larger sizes take long
  };
  std::vector<Kernel> all = {
      {"walsh_hadamard", walsh_hadamard<float>},
      {"walsh_hadamard, double", walsh_hadamard<double>},
      {"rotate", rotate},
      {"generator", generator},
      {"min_max", min_max},
      {"all_finite", all_finite},
      {"sum_of_squares", sum_of_squares},
      {"flip_signs", flip_signs},
      {"quantize + pack, 1 bit", quantize<1>},
      {"quantize + pack, 2 bits", quantize<2>},
      {"quantize + pack, 4 bits", quantize<4>},
      {"quantize + pack, 8 bits", quantize<8>},
      {"unpack + accumulate, 1 bit", dequantize<1>},
      {"unpack + accumulate, 4 bits", dequantize<4>},
      {"unpack + accumulate, 8 bits", dequantize<8>},
      {"largest 1 %", [](std::size_t n) { return largest(n, n / 100); }},
      {"largest 0.1 %", [](std::size_t n) { return largest(n, std::max<std::size_t>(n / 1000, 1)); }},
      {"subset 1/16", subset},
      {"half floats", halves},
      {"hash64", hash},
      {"low_rank, rank 4", low_rank},
      {"rans encode, 3.4 bits", rans_encode, 20},
      {"rans decode, 3.4 bits", rans_decode, 20},
      {"rans loops, 4 bits", rans_loops, 20},
  };
  for (const unsigned states : {8u, 64u, 256u})
    all.push_back({"trellis_search, " + std::to_string(states) + " states",
                   [states](std::size_t n) { return trellis_search_case(n, states); }, 20});
  std::vector<Group> groups;
  for (const Kernel& kernel : all)
    for (const unsigned log2 : sizes)
      groups.push_back({"kernel/" + kernel.name, log2, log2 > kernel.most,
                        [make = kernel.make, log2] { return make(std::size_t{1} << log2); }});
  return groups;
}

}  // namespace fewbits::bench
