#include <cblas.h>
#include <fftw3.h>
#include <htscodecs/rANS_static4x16.h>
#include <xxhash.h>
#include <zstd.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "bench/cases.h"

namespace fewbits::bench {
namespace {

// 32 states side by side: its fastest order-0 coder.
constexpr int kHtsOrder = RANS_ORDER_X32;

std::vector<unsigned char> bytes_of(const std::vector<std::int32_t>& symbols) { return {symbols.begin(), symbols.end()}; }

std::vector<unsigned char> nibbles_of(const std::vector<std::int32_t>& symbols) {
  std::vector<unsigned char> packed(symbols.size() / 2);
  for (std::size_t i = 0; i < packed.size(); ++i)
    packed[i] = static_cast<unsigned char>(symbols[2 * i] | symbols[2 * i + 1] << 4);
  return packed;
}

struct Fftw {
  explicit Fftw(std::size_t n) : x(fftwf_alloc_real(n)) {
    const int dimensions = static_cast<int>(std::lround(std::log2(static_cast<double>(n))));
    const std::vector<int> sizes(static_cast<std::size_t>(dimensions), 2);
    const std::vector<fftwf_r2r_kind> kinds(sizes.size(), FFTW_R2HC);   // of two values: their sum and difference
    fftwf_set_timelimit(2);
    plan = fftwf_plan_r2r(dimensions, sizes.data(), x, x, kinds.data(), FFTW_MEASURE);
    if (plan == nullptr) throw std::runtime_error("FFTW has no plan for 2^" + std::to_string(dimensions) + " values");
    std::fill_n(x, n, 0.0f);   // planning writes over it
  }
  ~Fftw() {
    fftwf_destroy_plan(plan);
    fftwf_free(x);
  }
  Fftw(const Fftw&) = delete;
  Fftw& operator=(const Fftw&) = delete;

  float* x;
  fftwf_plan plan;
};

struct Zstd {
  Zstd() : encoder(ZSTD_createCCtx()), decoder(ZSTD_createDCtx()) {}
  ~Zstd() {
    ZSTD_freeCCtx(encoder);
    ZSTD_freeDCtx(decoder);
  }
  Zstd(const Zstd&) = delete;
  Zstd& operator=(const Zstd&) = delete;

  ZSTD_CCtx* encoder;
  ZSTD_DCtx* decoder;
};

}  // namespace

Case fftw_walsh_hadamard(std::size_t n) {
  return {"FFTW", Kind::kPeer, repeated([fftw = std::make_shared<Fftw>(n)] { fftwf_execute(fftw->plan); })};
}

Case nth_element_case(Shared<float> x, std::size_t k) {
  return {"nth_element", Kind::kPeer, repeated([x, k, magnitudes = shared<float>(x->size())] {
            std::ranges::transform(*x, magnitudes->begin(), [](float value) { return std::abs(value); });
            std::nth_element(magnitudes->begin(), magnitudes->begin() + static_cast<std::ptrdiff_t>(k), magnitudes->end(),
                             std::greater<>());
          })};
}

Case zstd_encode(const std::vector<std::int32_t>& symbols) {
  const auto in = std::make_shared<std::vector<unsigned char>>(nibbles_of(symbols));
  return {"zstd -1", Kind::kPeer,
          repeated([in, out = shared<unsigned char>(ZSTD_compressBound(in->size())), zstd = std::make_shared<Zstd>()] {
            benchmark::DoNotOptimize(
                ZSTD_compressCCtx(zstd->encoder, out->data(), out->size(), in->data(), in->size(), 1));
          })};
}

Case zstd_decode(const std::vector<std::int32_t>& symbols) {
  const std::vector<unsigned char> in = nibbles_of(symbols);
  auto coded = shared<unsigned char>(ZSTD_compressBound(in.size()));
  coded->resize(ZSTD_compress(coded->data(), coded->size(), in.data(), in.size(), 1));
  return {"zstd -1", Kind::kPeer, repeated([coded, out = shared<unsigned char>(in.size()), zstd = std::make_shared<Zstd>()] {
            benchmark::DoNotOptimize(
                ZSTD_decompressDCtx(zstd->decoder, out->data(), out->size(), coded->data(), coded->size()));
          })};
}

Case htscodecs_encode(const std::vector<std::int32_t>& symbols) {
  const auto in = std::make_shared<std::vector<unsigned char>>(bytes_of(symbols));
  const auto size = static_cast<unsigned>(in->size());
  return {"htscodecs", Kind::kPeer, repeated([in, size, out = shared<unsigned char>(rans_compress_bound_4x16(size, kHtsOrder))] {
            unsigned written = static_cast<unsigned>(out->size());
            benchmark::DoNotOptimize(rans_compress_to_4x16(in->data(), size, out->data(), &written, kHtsOrder));
          })};
}

Case htscodecs_decode(const std::vector<std::int32_t>& symbols) {
  std::vector<unsigned char> in = bytes_of(symbols);
  const auto size = static_cast<unsigned>(in.size());
  auto coded = shared<unsigned char>(rans_compress_bound_4x16(size, kHtsOrder));
  auto written = static_cast<unsigned>(coded->size());
  rans_compress_to_4x16(in.data(), size, coded->data(), &written, kHtsOrder);
  coded->resize(written);
  return {"htscodecs", Kind::kPeer, repeated([coded, size, out = shared<unsigned char>(size)] {
            unsigned read = size;
            benchmark::DoNotOptimize(
                rans_uncompress_to_4x16(coded->data(), static_cast<unsigned>(coded->size()), out->data(), &read));
          })};
}

Case openblas_low_rank(Shared<float> matrix, std::size_t side, std::size_t rank) {
  openblas_set_num_threads(1);
  const auto n = static_cast<int>(side);
  const auto r = static_cast<int>(rank);
  return {"OpenBLAS", Kind::kPeer,
          repeated([matrix, n, r, q = normal(side * rank, 2), p = shared<float>(side * rank), z = shared<float>(side * rank)] {
            cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, n, r, n, 1, matrix->data(), n, q->data(), r, 0, p->data(), r);
            cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, n, r, n, 1, matrix->data(), n, p->data(), r, 0, z->data(), r);
          })};
}

Case xxhash_case(Shared<float> x) {
  return {"xxhash", Kind::kPeer, repeated([x] {
            benchmark::DoNotOptimize(XXH3_64bits_withSeed(x->data(), x->size() * sizeof(float), 1));
          })};
}

}  // namespace fewbits::bench
