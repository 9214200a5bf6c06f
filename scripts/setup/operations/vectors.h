// Vectors of float32 on x86 processors, with AVX2 and FMA, and with AVX512. Every function that uses them must be
// marked with the macro of its kind, TARGET_AVX2 or TARGET_AVX512, and be called only where the processor has them.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "bfloat16.h"

namespace alignbook {

#define TARGET_AVX2 __attribute__((target("avx2,fma")))

namespace avx2 {

using Vector = __m256;
constexpr int LANES = 8;
constexpr int REGISTERS = 16;

TARGET_AVX2 inline Vector load(const float* from) { return _mm256_loadu_ps(from); }

TARGET_AVX2 inline Vector load(const Bfloat16* from) {
  const __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
}

TARGET_AVX2 inline Vector everywhere(float x) { return _mm256_set1_ps(x); }

TARGET_AVX2 inline void store(float* to, Vector x) { _mm256_storeu_ps(to, x); }

// Rounded to the nearest, ties to even; a NaN stays one.
TARGET_AVX2 inline void store(Bfloat16* to, Vector x) {
  const __m256i bits = _mm256_castps_si256(x);
  const __m256i isOdd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(isOdd, _mm256_set1_epi32(0x7fff)));
  const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
  const __m256i isNan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
  const __m256i high = _mm256_srli_epi32(_mm256_blendv_epi8(rounded, quiet, isNan), 16);
  const __m128i halves = _mm_packus_epi32(_mm256_castsi256_si128(high), _mm256_extracti128_si256(high, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), halves);
}

// The first lanes, and zeros; `count` is at most LANES.
TARGET_AVX2 inline Vector first(Vector x, int64_t count) {
  alignas(32) static constexpr int32_t ONES_AND_ZEROS[2 * LANES] = {-1, -1, -1, -1, -1, -1, -1, -1};
  return _mm256_and_ps(x, _mm256_loadu_ps(reinterpret_cast<const float*>(ONES_AND_ZEROS + LANES - count)));
}

// What is left of an array from `from` on: `count` numbers, at least one; the other lanes are zeros.
template <class Number>
TARGET_AVX2 inline Vector load(const Number* from, int64_t count) {
  if (count >= LANES) return load(from);
  Number lanes[LANES] = {};
  std::memcpy(lanes, from, count * sizeof(Number));
  return load(lanes);
}

template <class Number>
TARGET_AVX2 inline void store(Number* to, Vector x, int64_t count) {
  if (count >= LANES) return store(to, x);
  Number lanes[LANES];
  store(lanes, x);
  std::memcpy(to, lanes, count * sizeof(Number));
}

TARGET_AVX2 inline Vector plus(Vector a, Vector b) { return _mm256_add_ps(a, b); }
TARGET_AVX2 inline Vector minus(Vector a, Vector b) { return _mm256_sub_ps(a, b); }
TARGET_AVX2 inline Vector times(Vector a, Vector b) { return _mm256_mul_ps(a, b); }
TARGET_AVX2 inline Vector over(Vector a, Vector b) { return _mm256_div_ps(a, b); }

TARGET_AVX2 inline Vector plusProduct(Vector sum, Vector a, Vector b) { return _mm256_fmadd_ps(a, b, sum); }

// As masks: where x is infinity; and x, with zeros where a mask is set.
TARGET_AVX2 inline Vector isInfinite(Vector x) { return _mm256_cmp_ps(x, everywhere(__builtin_inff()), _CMP_EQ_OQ); }
TARGET_AVX2 inline Vector without(Vector x, Vector mask) { return _mm256_andnot_ps(mask, x); }

// The sum of all lanes.
TARGET_AVX2 inline float total(Vector x) {
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

// e^x to about one unit in the last place: 2^n e^r with |r| <= ln(2) / 2, where the terms of the series after the
// seventh are below half of that. 0 below -87, and infinity above 88.
TARGET_AVX2 inline Vector exponential(Vector x) {
  // Of two operands one of which is NaN these give the second.
  const Vector bounded = _mm256_min_ps(everywhere(88), _mm256_max_ps(everywhere(-87), x));
  constexpr int TO_NEAREST = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  const Vector n = _mm256_round_ps(times(bounded, everywhere(1.44269504f)), TO_NEAREST);
  // ln(2) in two parts; the first has few bits, so its product is exact.
  Vector r = _mm256_fnmadd_ps(n, everywhere(0.693359375f), bounded);
  r = _mm256_fnmadd_ps(n, everywhere(-2.12194440e-4f), r);
  Vector series = everywhere(1.0f / 5040);
  for (const float term : {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 1.0f / 2, 1.0f, 1.0f})
    series = plusProduct(everywhere(term), series, r);
  const __m256i power = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
  const Vector result = _mm256_mul_ps(series, _mm256_castsi256_ps(power));
  const Vector orZero = without(result, _mm256_cmp_ps(x, everywhere(-87), _CMP_LT_OQ));
  return _mm256_blendv_ps(orZero, everywhere(__builtin_inff()), _mm256_cmp_ps(x, everywhere(88), _CMP_GT_OQ));
}

}  // namespace avx2

// Clang 18 to 21 have a feature for vectors of 512 bits, which other compilers do not know.
#if defined(__clang__) && __clang_major__ >= 18 && __clang_major__ <= 21
#define TARGET_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,evex512")))
#else
#define TARGET_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma")))
#endif

namespace avx512 {

using Vector = __m512;
constexpr int LANES = 16;
constexpr int REGISTERS = 32;

TARGET_AVX512 inline Vector load(const float* from) { return _mm512_loadu_ps(from); }

TARGET_AVX512 inline Vector load(const Bfloat16* from) {
  const __m256i halves = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}

TARGET_AVX512 inline Vector everywhere(float x) { return _mm512_set1_ps(x); }

TARGET_AVX512 inline void store(float* to, Vector x) { _mm512_storeu_ps(to, x); }

TARGET_AVX512 inline Vector plusProduct(Vector sum, Vector a, Vector b) { return _mm512_fmadd_ps(a, b, sum); }

TARGET_AVX512 inline float total(Vector x) { return _mm512_reduce_add_ps(x); }

}  // namespace avx512

}  // namespace alignbook
