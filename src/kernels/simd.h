#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__AVX512BW__) || defined(__AVX2__)
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

// Vectors of 64 bytes, 16 lanes of 32 bits, whatever the machine's own are: on AVX-512 one register, on AVX2 two, on NEON
// and the portable target (SSE2 on x86-64) four. The compiler's own vector types do the arithmetic, so a loop written once
// is that of every target; only what they have no word for is written in intrinsics. Only files of src/kernels/targets
// include this: each is compiled with its target's flags, and all names here are its own.
namespace fewbits::simd {
namespace {

#if defined(__AVX512BW__) || defined(FEWBITS_WIDE_VECTORS)
constexpr std::size_t kNativeBytes = 64;
#elif defined(__AVX2__)
constexpr std::size_t kNativeBytes = 32;
#else
constexpr std::size_t kNativeBytes = 16;
#endif
constexpr std::size_t kParts = 64 / kNativeBytes;

#define FEWBITS_INLINE inline __attribute__((always_inline))
#define FEWBITS_UNROLL _Pragma("GCC unroll 16")

template <class T>
struct Integer;   // the signed integer of a lane's size: what comparisons give
template <> struct Integer<float> { using type = std::int32_t; };
template <> struct Integer<double> { using type = std::int64_t; };
template <> struct Integer<std::int32_t> { using type = std::int32_t; };
template <> struct Integer<std::uint32_t> { using type = std::int32_t; };
template <> struct Integer<std::int64_t> { using type = std::int64_t; };
template <> struct Integer<std::uint64_t> { using type = std::int64_t; };
template <> struct Integer<std::int16_t> { using type = std::int16_t; };
template <> struct Integer<std::uint16_t> { using type = std::int16_t; };
template <> struct Integer<std::uint8_t> { using type = std::int8_t; };
template <> struct Integer<std::int8_t> { using type = std::int8_t; };

template <class T>
struct Vec {
  static constexpr std::size_t kLanes = 64 / sizeof(T);
  static constexpr std::size_t kPartLanes = kNativeBytes / sizeof(T);
  typedef T Native __attribute__((vector_size(kNativeBytes)));

  Native part[kParts];

  static FEWBITS_INLINE Vec load(const void* from) noexcept {
    Vec v;
    FEWBITS_UNROLL for (std::size_t p = 0; p < kParts; ++p)
      __builtin_memcpy(&v.part[p], static_cast<const char*>(from) + p * kNativeBytes, kNativeBytes);
    return v;
  }
  FEWBITS_INLINE void store(void* to) const noexcept {
    FEWBITS_UNROLL for (std::size_t p = 0; p < kParts; ++p)
      __builtin_memcpy(static_cast<char*>(to) + p * kNativeBytes, &part[p], kNativeBytes);
  }

  static FEWBITS_INLINE Vec all(T value) noexcept {
    Vec v;
    FEWBITS_UNROLL for (std::size_t p = 0; p < kParts; ++p) v.part[p] = value - Native{};
    return v;
  }

  FEWBITS_INLINE T lane(std::size_t i) const noexcept { return part[i / kPartLanes][i % kPartLanes]; }
};

using F32 = Vec<float>;
using F64 = Vec<double>;
using I32 = Vec<std::int32_t>;
using U32 = Vec<std::uint32_t>;
using U64 = Vec<std::uint64_t>;
using I16 = Vec<std::int16_t>;
using U16 = Vec<std::uint16_t>;
using U8 = Vec<std::uint8_t>;

// Signed lanes wrap around as unsigned ones do.
template <class T>
struct Wrapping { using type = T; };
template <> struct Wrapping<std::int16_t> { using type = std::uint16_t; };
template <> struct Wrapping<std::int32_t> { using type = std::uint32_t; };
template <> struct Wrapping<std::int64_t> { using type = std::uint64_t; };

#define FEWBITS_BINARY(op)                                                                          \
  template <class T>                                                                                \
  FEWBITS_INLINE Vec<T> operator op(Vec<T> a, Vec<T> b) noexcept {                                  \
    using Lanes = typename Vec<typename Wrapping<T>::type>::Native;                                 \
    FEWBITS_UNROLL for (std::size_t p = 0; p < kParts; ++p)                                         \
      a.part[p] = (typename Vec<T>::Native)((Lanes)a.part[p] op (Lanes)b.part[p]);                  \
    return a;                                                                                       \
  }
FEWBITS_BINARY(+)
FEWBITS_BINARY(-)
FEWBITS_BINARY(*)
FEWBITS_BINARY(/)
FEWBITS_BINARY(&)
FEWBITS_BINARY(|)
FEWBITS_BINARY(^)
#undef FEWBITS_BINARY

template <class T>
FEWBITS_INLINE Vec<T> operator>>(Vec<T> a, int count) noexcept {
  FEWBITS_UNROLL for (std::size_t p = 0; p < kParts; ++p) a.part[p] = a.part[p] >> count;
  return a;
}
template <class T>
FEWBITS_INLINE Vec<T> operator<<(Vec<T> a, int count) noexcept {
  FEWBITS_UNROLL for (std::size_t p = 0; p < kParts; ++p) a.part[p] = a.part[p] << count;
  return a;
}
FEWBITS_INLINE U32 rotate_left(U32 a, int count) noexcept { return a << count | a >> (32 - count); }

// −1 in lanes where it holds, else 0.
#define FEWBITS_COMPARE(op)                                                                        \
  template <class T>                                                                               \
  FEWBITS_INLINE Vec<typename Integer<T>::type> operator op(Vec<T> a, Vec<T> b) noexcept {         \
    Vec<typename Integer<T>::type> r;                                                              \
    FEWBITS_UNROLL for (std::size_t p = 0; p < kParts; ++p) {                                      \
      r.part[p] = (typename Vec<typename Integer<T>::type>::Native)(a.part[p] op b.part[p]);        \
    }                                                                                              \
    return r;                                                                                      \
  }
FEWBITS_COMPARE(<)
FEWBITS_COMPARE(>)
FEWBITS_COMPARE(<=)
FEWBITS_COMPARE(>=)
FEWBITS_COMPARE(==)
#undef FEWBITS_COMPARE

template <class M, class T>
FEWBITS_INLINE Vec<T> select(Vec<M> where, Vec<T> yes, Vec<T> no) noexcept {
  FEWBITS_UNROLL for (std::size_t p = 0; p < kParts; ++p) yes.part[p] = where.part[p] ? yes.part[p] : no.part[p];
  return yes;
}
// The first argument where they are equal, or not ordered.
template <class T>
FEWBITS_INLINE Vec<T> min(Vec<T> a, Vec<T> b) noexcept {
  FEWBITS_UNROLL for (std::size_t p = 0; p < kParts; ++p) a.part[p] = b.part[p] < a.part[p] ? b.part[p] : a.part[p];
  return a;
}
template <class T>
FEWBITS_INLINE Vec<T> max(Vec<T> a, Vec<T> b) noexcept {
  FEWBITS_UNROLL for (std::size_t p = 0; p < kParts; ++p) a.part[p] = b.part[p] > a.part[p] ? b.part[p] : a.part[p];
  return a;
}

// The same bits as lanes of another type.
template <class To, class From>
FEWBITS_INLINE To cast(From v) noexcept {
  static_assert(sizeof(To) == sizeof(From));
  To r;
  FEWBITS_UNROLL for (std::size_t p = 0; p < kParts; ++p) r.part[p] = (typename To::Native)v.part[p];
  return r;
}

// Lanes of the same size as another type, towards 0 from float to integer.
template <class To, class From>
FEWBITS_INLINE Vec<To> convert(Vec<From> v) noexcept {
  static_assert(sizeof(To) == sizeof(From));
  Vec<To> r;
  FEWBITS_UNROLL for (std::size_t p = 0; p < kParts; ++p) r.part[p] = __builtin_convertvector(v.part[p], typename Vec<To>::Native);
  return r;
}

// To the nearest integer, ties to even; below 2^31 in magnitude.
FEWBITS_INLINE I32 round(F32 v) noexcept {
  I32 r;
  FEWBITS_UNROLL for (std::size_t p = 0; p < kParts; ++p) {
#if defined(__AVX512BW__)
    r.part[p] = (I32::Native)_mm512_cvtps_epi32((__m512)v.part[p]);
#elif defined(__AVX2__) && !defined(FEWBITS_WIDE_VECTORS)
    r.part[p] = (I32::Native)_mm256_cvtps_epi32((__m256)v.part[p]);
#elif defined(__SSE2__) && !defined(FEWBITS_WIDE_VECTORS)
    r.part[p] = (I32::Native)_mm_cvtps_epi32((__m128)v.part[p]);
#elif defined(__aarch64__) && !defined(FEWBITS_WIDE_VECTORS)
    r.part[p] = (I32::Native)vcvtnq_s32_f32((float32x4_t)v.part[p]);
#else
    FEWBITS_UNROLL for (std::size_t i = 0; i < I32::kPartLanes; ++i) r.part[p][i] = static_cast<std::int32_t>(__builtin_rintf(v.part[p][i]));
#endif
  }
  return r;
}

// a·b − c, where a·b is exact: fused with the product, it rounds the same.
FEWBITS_INLINE F32 product_less(F32 a, F32 b, F32 c) noexcept {
  FEWBITS_UNROLL for (std::size_t p = 0; p < kParts; ++p) {
#if defined(__AVX512BW__)
    a.part[p] = (F32::Native)_mm512_fmsub_ps((__m512)a.part[p], (__m512)b.part[p], (__m512)c.part[p]);
#elif defined(__AVX2__) && !defined(FEWBITS_WIDE_VECTORS)
    a.part[p] = (F32::Native)_mm256_fmsub_ps((__m256)a.part[p], (__m256)b.part[p], (__m256)c.part[p]);
#else
    a.part[p] = a.part[p] * b.part[p] - c.part[p];
#endif
  }
  return a;
}

// a ^ b ^ c and a | (b & mask): each one instruction on AVX-512.
FEWBITS_INLINE U32 differ(U32 a, U32 b, U32 c) noexcept {
#if defined(__AVX512BW__)
  a.part[0] = (U32::Native)_mm512_ternarylogic_epi32((__m512i)a.part[0], (__m512i)b.part[0], (__m512i)c.part[0], 0x96);
  return a;
#else
  return a ^ b ^ c;
#endif
}
template <class T>
FEWBITS_INLINE Vec<T> join(Vec<T> a, Vec<T> b, Vec<T> mask) noexcept {
#if defined(__AVX512BW__)
  a.part[0] = (typename Vec<T>::Native)_mm512_ternarylogic_epi32((__m512i)a.part[0], (__m512i)b.part[0], (__m512i)mask.part[0], 0xF8);
  return a;
#else
  return a | (b & mask);
#endif
}

// n·slope of lanes that hold 2^52 + n, an integer: fused, 2^52·slope goes off before the product is rounded.
FEWBITS_INLINE F64 times_biased(F64 biased, F64 slope) noexcept {
  FEWBITS_UNROLL for (std::size_t p = 0; p < kParts; ++p) {
#if defined(__AVX512BW__)
    const auto by = (__m512d)slope.part[p];
    biased.part[p] = (F64::Native)_mm512_fmsub_pd((__m512d)biased.part[p], by, by * _mm512_set1_pd(0x1p52));
#else
    biased.part[p] = (biased.part[p] - 0x1p52) * slope.part[p];
#endif
  }
  return biased;
}

// 0, 1, … 15.
FEWBITS_INLINE U32 counting() noexcept {
  static constexpr std::uint32_t kLanes[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return U32::load(kLanes);
}

// Lane i of a native vector takes lane i ^ distance.
template <std::size_t kDistance, class T>
FEWBITS_INLINE typename Vec<T>::Native exchange_part(typename Vec<T>::Native a) noexcept {
  constexpr std::size_t kPart = Vec<T>::kPartLanes;
  constexpr int d = static_cast<int>(kDistance);
  static_assert(sizeof(T) >= 4 && kDistance < kPart);
  if constexpr (kPart == 2)
    return __builtin_shufflevector(a, a, 0 ^ d, 1 ^ d);
  else if constexpr (kPart == 4)
    return __builtin_shufflevector(a, a, 0 ^ d, 1 ^ d, 2 ^ d, 3 ^ d);
  else if constexpr (kPart == 8)
    return __builtin_shufflevector(a, a, 0 ^ d, 1 ^ d, 2 ^ d, 3 ^ d, 4 ^ d, 5 ^ d, 6 ^ d, 7 ^ d);
  else
    return __builtin_shufflevector(a, a, 0 ^ d, 1 ^ d, 2 ^ d, 3 ^ d, 4 ^ d, 5 ^ d, 6 ^ d, 7 ^ d, 8 ^ d, 9 ^ d, 10 ^ d,
                                   11 ^ d, 12 ^ d, 13 ^ d, 14 ^ d, 15 ^ d);
}

// Lane i takes lane i ^ distance; distance 1, 2, 4 or 8, of lanes of 32 bits (1, 2, 4 of 64 bits).
template <std::size_t kDistance, class T>
FEWBITS_INLINE Vec<T> exchange(Vec<T> v) noexcept {
  constexpr std::size_t kPart = Vec<T>::kPartLanes;
  static_assert(kDistance < Vec<T>::kLanes);
  Vec<T> r;
  FEWBITS_UNROLL for (std::size_t p = 0; p < kParts; ++p) {
    if constexpr (kDistance >= kPart)
      r.part[p] = v.part[p ^ (kDistance / kPart)];
    else
      r.part[p] = exchange_part<kDistance, T>(v.part[p]);
  }
  return r;
}

// w + v in lanes whose number has no bit `distance`, w − v in the others: fused with a product by ±1, it rounds the same.
template <class T, std::size_t kDistance>
FEWBITS_INLINE typename Vec<T>::Native add_signed(typename Vec<T>::Native v, typename Vec<T>::Native w) noexcept {
  using Native = typename Vec<T>::Native;
  Native sign;
  FEWBITS_UNROLL for (std::size_t i = 0; i < Vec<T>::kPartLanes; ++i) sign[i] = (i & kDistance) != 0 ? T{-1} : T{1};
#if defined(__AVX512BW__)
  if constexpr (sizeof(T) == 4)
    return (Native)_mm512_fmadd_ps((__m512)v, (__m512)sign, (__m512)w);
  else
    return (Native)_mm512_fmadd_pd((__m512d)v, (__m512d)sign, (__m512d)w);
#elif defined(__AVX2__) && !defined(FEWBITS_WIDE_VECTORS)
  if constexpr (sizeof(T) == 4)
    return (Native)_mm256_fmadd_ps((__m256)v, (__m256)sign, (__m256)w);
  else
    return (Native)_mm256_fmadd_pd((__m256d)v, (__m256d)sign, (__m256d)w);
#else
  return v * sign + w;
#endif
}

// Sixteen values of another width in memory.
template <class From>
FEWBITS_INLINE I32 widen(const From* from) noexcept {
  typedef From Half __attribute__((vector_size(kNativeBytes / 4 * sizeof(From))));
  I32 r;
  FEWBITS_UNROLL for (std::size_t p = 0; p < kParts; ++p) {
    Half h;
    __builtin_memcpy(&h, from + p * I32::kPartLanes, sizeof h);
    r.part[p] = __builtin_convertvector(h, I32::Native);
  }
  return r;
}

// The low halves of sixteen lanes.
FEWBITS_INLINE void store_low_halves(I32 v, std::int16_t* to) noexcept {
  typedef std::int16_t Half __attribute__((vector_size(kNativeBytes / 2)));
  FEWBITS_UNROLL for (std::size_t p = 0; p < kParts; ++p) {
    const Half half = __builtin_convertvector(v.part[p], Half);
    __builtin_memcpy(to + p * I32::kPartLanes, &half, sizeof half);
  }
}

FEWBITS_INLINE U32 gather(const std::uint32_t* table, I32 index) noexcept {
  U32 r;
  FEWBITS_UNROLL for (std::size_t p = 0; p < kParts; ++p) {
#if defined(__AVX512BW__)
    r.part[p] = (U32::Native)_mm512_i32gather_epi32((__m512i)index.part[p], table, 4);
#elif defined(__AVX2__) && !defined(FEWBITS_WIDE_VECTORS)
    r.part[p] = (U32::Native)_mm256_i32gather_epi32(reinterpret_cast<const int*>(table), (__m256i)index.part[p], 4);
#else
    FEWBITS_UNROLL for (std::size_t i = 0; i < U32::kPartLanes; ++i) r.part[p][i] = table[index.part[p][i]];
#endif
  }
  return r;
}

// Half of a native vector's lanes, from lane kFirst on.
template <int kFirst, class T>
FEWBITS_INLINE auto half_of(T a) noexcept {
  if constexpr (kNativeBytes == 16)
    return __builtin_shufflevector(a, a, kFirst, kFirst + 1);
  else if constexpr (kNativeBytes == 32)
    return __builtin_shufflevector(a, a, kFirst, kFirst + 1, kFirst + 2, kFirst + 3);
  else
    return __builtin_shufflevector(a, a, kFirst, kFirst + 1, kFirst + 2, kFirst + 3, kFirst + 4, kFirst + 5, kFirst + 6,
                                   kFirst + 7);
}

// Half a native vector as one whole; gcc does it a quarter at a time where it is not told the instruction.
#if defined(__AVX512BW__)
FEWBITS_INLINE U64::Native words_of(__m256i h) noexcept { return (U64::Native)_mm512_cvtepu32_epi64(h); }
FEWBITS_INLINE F64::Native doubles_of(__m256i h, float) noexcept { return (F64::Native)_mm512_cvtps_pd((__m256)h); }
FEWBITS_INLINE F64::Native doubles_of(__m256i h, std::int32_t) noexcept { return (F64::Native)_mm512_cvtepi32_pd(h); }
#define FEWBITS_HALF (__m256i)
#elif defined(__AVX2__) && !defined(FEWBITS_WIDE_VECTORS)
FEWBITS_INLINE U64::Native words_of(__m128i h) noexcept { return (U64::Native)_mm256_cvtepu32_epi64(h); }
FEWBITS_INLINE F64::Native doubles_of(__m128i h, float) noexcept { return (F64::Native)_mm256_cvtps_pd((__m128)h); }
FEWBITS_INLINE F64::Native doubles_of(__m128i h, std::int32_t) noexcept { return (F64::Native)_mm256_cvtepi32_pd(h); }
#define FEWBITS_HALF (__m128i)
#else
template <class Half>
FEWBITS_INLINE U64::Native words_of(Half h) noexcept { return __builtin_convertvector(h, U64::Native); }
template <class Half, class T>
FEWBITS_INLINE F64::Native doubles_of(Half h, T) noexcept { return __builtin_convertvector(h, F64::Native); }
#define FEWBITS_HALF
#endif

// Eight of the sixteen lanes, as unsigned integers of 64 bits: lanes 8·half … 8·half + 7.
template <std::size_t kHalf>
FEWBITS_INLINE U64 widen(U32 v) noexcept {
  constexpr int kLow = static_cast<int>(U64::kPartLanes);
  U64 r;
  if constexpr (kParts == 1) {
    r.part[0] = words_of(FEWBITS_HALF half_of<static_cast<int>(kHalf) * kLow>(v.part[0]));
  } else {
    FEWBITS_UNROLL for (std::size_t p = 0; p < kParts; p += 2) {
      const auto from = v.part[(kHalf * kParts + p) / 2];
      r.part[p] = words_of(FEWBITS_HALF half_of<0>(from));
      r.part[p + 1] = words_of(FEWBITS_HALF half_of<kLow>(from));
    }
  }
  return r;
}

// By a count that the compiler does not know: on Zen 4 a loop of such shifts and lookups takes four fifths of the time of one
// whose shifts are by constants.
FEWBITS_INLINE U64 shift_right(U64 v, int count) noexcept {
  asm("" : "+r"(count));
#if defined(__AVX512BW__)
  v.part[0] = (U64::Native)_mm512_srl_epi64((__m512i)v.part[0], _mm_cvtsi32_si128(count));
  return v;
#else
  return v >> count;
#endif
}

// Eight numbers of a table of sixteen, by the low four bits of each lane.
FEWBITS_INLINE F64 lookup(const double* table, U64 index) noexcept {
  F64 r;
#if defined(__AVX512BW__)
  r.part[0] = (F64::Native)_mm512_permutex2var_pd(_mm512_loadu_pd(table), (__m512i)index.part[0], _mm512_loadu_pd(table + 8));
#else
  FEWBITS_UNROLL for (std::size_t p = 0; p < kParts; ++p)
    FEWBITS_UNROLL for (std::size_t i = 0; i < F64::kPartLanes; ++i) r.part[p][i] = table[index.part[p][i] & 15];
#endif
  return r;
}

// The low halves of the lanes of two native vectors.
template <class T>
FEWBITS_INLINE auto low_halves(T first, T second) noexcept {
  if constexpr (sizeof(T) == 16)
    return __builtin_shufflevector(first, second, 0, 2, 4, 6);
  else if constexpr (sizeof(T) == 32)
    return __builtin_shufflevector(first, second, 0, 2, 4, 6, 8, 10, 12, 14);
  else
    return __builtin_shufflevector(first, second, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
}
FEWBITS_INLINE U32 narrow(U64 low, U64 high) noexcept {
  U32 r;
  FEWBITS_UNROLL for (std::size_t p = 0; p < kParts; ++p) {
    const auto first = (U32::Native)(2 * p < kParts ? low : high).part[2 * p % kParts];
    const auto second = (U32::Native)(2 * p + 1 < kParts ? low : high).part[(2 * p + 1) % kParts];
    r.part[p] = low_halves(first, second);
  }
  return r;
}

// Eight values as float64: lanes 8·half … 8·half + 7.
template <std::size_t kHalf, class T>
FEWBITS_INLINE F64 to_double(Vec<T> v) noexcept {
  static_assert(sizeof(T) == 4);
  constexpr int kLow = static_cast<int>(F64::kPartLanes);
  F64 r;
  if constexpr (kParts == 1) {
    r.part[0] = doubles_of(FEWBITS_HALF half_of<static_cast<int>(kHalf) * kLow>(v.part[0]), T{});
  } else {
    FEWBITS_UNROLL for (std::size_t p = 0; p < kParts; p += 2) {
      const auto from = v.part[(kHalf * kParts + p) / 2];
      r.part[p] = doubles_of(FEWBITS_HALF half_of<0>(from), T{});
      r.part[p + 1] = doubles_of(FEWBITS_HALF half_of<kLow>(from), T{});
    }
  }
  return r;
}

// Bit i says whether lane i is −1 rather than 0.
FEWBITS_INLINE std::uint32_t bits(I16 mask) noexcept {
#if defined(__AVX512BW__)
  return _mm512_movepi16_mask((__m512i)mask.part[0]);
#elif defined(__AVX2__) && !defined(FEWBITS_WIDE_VECTORS)
  const __m256i packed = _mm256_permute4x64_epi64(_mm256_packs_epi16((__m256i)mask.part[0], (__m256i)mask.part[1]), 0xD8);
  return static_cast<std::uint32_t>(_mm256_movemask_epi8(packed));
#else
  std::int16_t lanes[32];
  mask.store(lanes);
  std::uint32_t all = 0;
  for (unsigned i = 0; i < 32; ++i) all |= static_cast<std::uint32_t>(lanes[i] & 1) << i;
  return all;
#endif
}
FEWBITS_INLINE std::uint32_t bits(I32 mask) noexcept {
#if defined(__AVX512BW__)
  return _mm512_movepi32_mask((__m512i)mask.part[0]);
#elif defined(__AVX2__) && !defined(FEWBITS_WIDE_VECTORS)
  const int low = _mm256_movemask_ps((__m256)mask.part[0]);
  const int high = _mm256_movemask_ps((__m256)mask.part[1]);
  return static_cast<std::uint32_t>(low | high << 8);
#elif defined(__SSE2__) && !defined(FEWBITS_WIDE_VECTORS)
  const __m128i low = _mm_packs_epi32((__m128i)mask.part[0], (__m128i)mask.part[1]);
  const __m128i high = _mm_packs_epi32((__m128i)mask.part[2], (__m128i)mask.part[3]);
  return static_cast<std::uint32_t>(_mm_movemask_epi8(_mm_packs_epi16(low, high)));
#else
  std::int32_t lanes[16];
  mask.store(lanes);
  std::uint32_t all = 0;
  for (unsigned i = 0; i < 16; ++i) all |= (static_cast<std::uint32_t>(lanes[i]) & 1u) << i;
  return all;
#endif
}

#if defined(__AVX2__) && !defined(__AVX512BW__) && !defined(FEWBITS_WIDE_VECTORS)
struct CompressTable {
  std::uint64_t lanes[256] = {};   // byte j of entry m: the lane of m's j-th bit
  constexpr CompressTable() noexcept {
    for (unsigned mask = 0; mask < 256; ++mask)
      for (unsigned lane = 0, at = 0; lane < 8; ++lane)
        if ((mask >> lane & 1) != 0) lanes[mask] |= static_cast<std::uint64_t>(lane) << (8 * at++);
  }
};
constexpr CompressTable kCompress;
#endif

// The lanes that `mask` names, one after the other; what follows them, up to 16 lanes in all, is overwritten.
FEWBITS_INLINE void compress(U32 v, std::uint32_t mask, std::uint32_t* out) noexcept {
#if defined(__AVX512BW__)
  _mm512_storeu_si512(out, _mm512_maskz_compress_epi32(static_cast<__mmask16>(mask), (__m512i)v.part[0]));
#elif defined(__AVX2__) && !defined(FEWBITS_WIDE_VECTORS)
  const auto put = [](U32::Native part, std::uint32_t own, std::uint32_t* to) {
    const __m256i lanes = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(&kCompress.lanes[own])));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm256_permutevar8x32_epi32((__m256i)part, lanes));
  };
  put(v.part[0], mask & 0xFF, out);
  put(v.part[1], mask >> 8, out + __builtin_popcount(mask & 0xFF));
#else
  if (mask == 0) return;
  std::uint32_t lanes[16];
  v.store(lanes);
  for (; mask != 0; mask &= mask - 1) *out++ = lanes[__builtin_ctz(mask)];
#endif
}

// (a·b + 2^43) >> 44, of products below 2^63 in magnitude.
FEWBITS_INLINE I32 product_over_2_44(I32 a, I32 b) noexcept {
#if defined(__AVX512BW__)
  const __m512i x = (__m512i)a.part[0], y = (__m512i)b.part[0];
  const __m512i half = _mm512_set1_epi64(std::int64_t{1} << 43);
  const __m512i even = _mm512_add_epi64(_mm512_mul_epi32(x, y), half);
  const __m512i odd = _mm512_add_epi64(_mm512_mul_epi32(_mm512_srli_epi64(x, 32), _mm512_srli_epi64(y, 32)), half);
  I32 r;
  r.part[0] = (I32::Native)_mm512_srai_epi32(_mm512_mask_shuffle_epi32(odd, 0x5555, even, _MM_PERM_DDBB), 12);
  return r;
#elif defined(__AVX2__) && !defined(FEWBITS_WIDE_VECTORS)
  I32 r;
  FEWBITS_UNROLL for (std::size_t p = 0; p < kParts; ++p) {
    const __m256i x = (__m256i)a.part[p], y = (__m256i)b.part[p];
    const __m256i half = _mm256_set1_epi64x(std::int64_t{1} << 43);
    const __m256i even = _mm256_add_epi64(_mm256_mul_epi32(x, y), half);
    const __m256i odd = _mm256_add_epi64(_mm256_mul_epi32(_mm256_srli_epi64(x, 32), _mm256_srli_epi64(y, 32)), half);
    r.part[p] = (I32::Native)_mm256_srai_epi32(_mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xAA), 12);
  }
  return r;
#else
  std::int32_t x[16], y[16];
  a.store(x);
  b.store(y);
  for (int i = 0; i < 16; ++i)
    x[i] = static_cast<std::int32_t>((static_cast<std::int64_t>(x[i]) * y[i] + (std::int64_t{1} << 43)) >> 44);
  return I32::load(x);
#endif
}

// a / b rounded down, of quotients below 2^31; b is not 0 and below 2^31.
FEWBITS_INLINE U32 quotient(U32 a, U32 b) noexcept {
  // Its distance from the next integer is above 2^-31, so float64 rounds nothing over it.
  const F64 offset = F64::all(0x1p31), integer = F64::all(0x1p52);
  const I32 from = cast<I32>(a ^ U32::all(1u << 31)), by = cast<I32>(b);
  const F64 low = (to_double<0>(from) + offset) / to_double<0>(by) + integer;
  const F64 high = (to_double<1>(from) + offset) / to_double<1>(by) + integer;
  const U32 nearest = narrow(cast<U64>(low), cast<U64>(high));
  const I32 rest = cast<I32>(a - nearest * b);
  return nearest + cast<U32>(rest < I32::all(0));
}

#if defined(__AVX2__) && !defined(__AVX512BW__) && !defined(FEWBITS_WIDE_VECTORS)
struct ExpandTable {
  alignas(32) std::uint32_t before[256][8] = {};   // of entry m: how many of m's bits are below the lane
  constexpr ExpandTable() noexcept {
    for (unsigned mask = 0; mask < 256; ++mask)
      for (unsigned lane = 0, below = 0; lane < 8; below += mask >> lane++ & 1) before[mask][lane] = below;
  }
};
constexpr ExpandTable kExpand;
FEWBITS_INLINE __m256i expansion(std::uint32_t mask) noexcept {
  return _mm256_load_si256(reinterpret_cast<const __m256i*>(kExpand.before[mask]));
}
#endif

// The lanes that `mask` names are the 16-bit words from `from` on, in order; those of the other lanes are anything. 32 bytes
// are read.
FEWBITS_INLINE U32 expand_words(const std::uint8_t* from, std::uint32_t mask) noexcept {
  U32 r;
#if defined(__AVX512BW__)
  const __m512i words = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
  r.part[0] = (U32::Native)_mm512_maskz_expand_epi32(static_cast<__mmask16>(mask), words);
#elif defined(__AVX2__) && !defined(FEWBITS_WIDE_VECTORS)
  const auto part = [](const std::uint8_t* own, std::uint32_t named) {
    const __m256i words = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(own)));
    return (U32::Native)_mm256_permutevar8x32_epi32(words, expansion(named));
  };
  r.part[0] = part(from, mask & 0xFF);
  r.part[1] = part(from + 2 * __builtin_popcount(mask & 0xFF), mask >> 8);
#else
  std::uint32_t lanes[16] = {};
  for (; mask != 0; mask &= mask - 1, from += 2) {
    std::uint16_t word;
    __builtin_memcpy(&word, from, 2);
    lanes[__builtin_ctz(mask)] = word;
  }
  r = U32::load(lanes);
#endif
  return r;
}

// The low 16 bits of the lanes that `mask` names, in order, end at `end`; what is before them, up to 32 bytes in all, is
// overwritten. Where they begin.
FEWBITS_INLINE std::uint16_t* store_words(U32 v, std::uint32_t mask, std::uint16_t* end) noexcept {
#if defined(__AVX512BW__)
  const int count = __builtin_popcount(mask);
  const __m512i first = _mm512_maskz_compress_epi32(static_cast<__mmask16>(mask), (__m512i)v.part[0]);
  const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512i last = _mm512_permutexvar_epi32(_mm512_add_epi32(lanes, _mm512_set1_epi32(count)), first);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(end - 16), _mm512_cvtepi32_epi16(last));
  return end - count;
#elif defined(__AVX2__) && !defined(FEWBITS_WIDE_VECTORS)
  const auto put = [](U32::Native part, std::uint32_t own, std::uint16_t* to) {
    const int count = __builtin_popcount(own);
    const __m256i lanes = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(&kCompress.lanes[own])));
    const __m256i first = _mm256_permutevar8x32_epi32(_mm256_and_si256((__m256i)part, _mm256_set1_epi32(0xFFFF)), lanes);
    const __m256i turn = _mm256_add_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32(count));
    const __m256i last = _mm256_permutevar8x32_epi32(first, turn);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to - 8),
                     _mm_packus_epi32(_mm256_castsi256_si128(last), _mm256_extracti128_si256(last, 1)));
    return to - count;
  };
  return put(v.part[0], mask & 0xFF, put(v.part[1], mask >> 8, end));
#else
  std::uint32_t lanes[16];
  v.store(lanes);
  for (; mask != 0; mask &= ~(1u << (31 - __builtin_clz(mask)))) *--end = static_cast<std::uint16_t>(lanes[31 - __builtin_clz(mask)]);
  return end;
#endif
}

}  // namespace
}  // namespace fewbits::simd
