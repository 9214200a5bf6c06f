// AlignbookFewRows, an operation for TensorFlow on an x86 processor: the product of a few rows, up to some 16, by a
// matrix, as in generation. Such a product takes as long as reading the matrix; TensorFlow's MatMul takes two to three
// times as long as that. lib/engine/products.ts calls it.
//
//   x            [M, K], float32 or bfloat16
//   y            [K, N], or [N, K] with transpose_y; float32 or bfloat16
//   wide         whether the processor has AVX512; it must have AVX2 and FMA
//   product      [M, N], float32 or bfloat16
//
// The sums are float32 in any case. A row of the product does not depend on how many other rows there are; but on the
// number of threads it does, as every sum is one of parts, one for each thread.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <type_traits>
#include <vector>

#include "tensorflow.h"
#include "threads.h"

#if defined(__x86_64__)
#include <immintrin.h>

namespace {

constexpr char NAME[] = "AlignbookFewRows";

// Of w, in bytes: read from memory once, and then from a core's own cache.
constexpr int64_t BLOCK = 80 << 10;
constexpr int64_t LINE = 64;
// How many bytes of w justify another thread.
constexpr int64_t SHARE = 64 << 10;
// How many numbers of a sum of parts do.
constexpr int64_t SUMS = 32 << 10;

struct Bfloat16 {
  uint16_t bits;
};

inline float widened(float x) { return x; }

inline float widened(Bfloat16 x) {
  const uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// To the nearest, ties to even.
inline Bfloat16 rounded(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  if (x != x) return {static_cast<uint16_t>(bits >> 16 | 0x40)};
  return {static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}

template <class Number>
void copyWidened(const Number* from, int64_t size, float* to) {
  std::transform(from, from + size, to, [](Number x) { return widened(x); });
}

struct Factors {
  const float* x;
  const void* w;
  int64_t M, K, N;
  bool transposed;
};

namespace avx2 {
#define TARGET __attribute__((target("avx2,fma")))
using Vector = __m256;
constexpr int LANES = 8;
constexpr int MOST_SUMS = 8;  // of 16 registers
TARGET inline Vector load(const float* from) { return _mm256_loadu_ps(from); }
TARGET inline Vector load(const Bfloat16* from) {
  const __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
}
TARGET inline Vector everywhere(float x) { return _mm256_set1_ps(x); }
TARGET inline void store(float* to, Vector x) { _mm256_storeu_ps(to, x); }
TARGET inline Vector plusProduct(Vector sum, Vector a, Vector b) { return _mm256_fmadd_ps(a, b, sum); }
TARGET inline float total(Vector x) {
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
#include "few_rows_kernel.h"
#undef TARGET
}  // namespace avx2

namespace avx512 {
#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma")))
using Vector = __m512;
constexpr int LANES = 16;
constexpr int MOST_SUMS = 16;  // of 32 registers
TARGET inline Vector load(const float* from) { return _mm512_loadu_ps(from); }
TARGET inline Vector load(const Bfloat16* from) {
  const __m256i halves = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}
TARGET inline Vector everywhere(float x) { return _mm512_set1_ps(x); }
TARGET inline void store(float* to, Vector x) { _mm512_storeu_ps(to, x); }
TARGET inline Vector plusProduct(Vector sum, Vector a, Vector b) { return _mm512_fmadd_ps(a, b, sum); }
TARGET inline float total(Vector x) { return _mm512_reduce_add_ps(x); }
#include "few_rows_kernel.h"
#undef TARGET
}  // namespace avx512

template <class Weight>
void multiply(const Factors& f, bool wide, float* y) {
  const auto* w = static_cast<const Weight*>(f.w);
  const auto compute = wide ? avx512::computeShare<Weight> : avx2::computeShare<Weight>;
  const int64_t rows = f.transposed ? f.N : f.K;
  const int64_t bytes = f.K * f.N * static_cast<int64_t>(sizeof(Weight));
  const int64_t shares = std::min(std::clamp<int64_t>(bytes / SHARE, 1, alignbook::threadCount()), rows);
  const auto begin = [&](int64_t share) { return rows * share / shares; };
  if (f.transposed) {  // each share has its own columns of y
    alignbook::inParallel(shares, [&](int64_t n) { compute(f, w, y, begin(n), begin(n + 1)); });
    return;
  }
  // Each share has a part of every sum.
  const int64_t size = f.M * f.N;
  static thread_local std::vector<float> parts;
  parts.resize((shares - 1) * size);
  float* const others = parts.data();
  alignbook::inParallel(shares, [&](int64_t n) {
    float* const sums = n == 0 ? y : others + (n - 1) * size;
    std::fill_n(sums, size, 0.0f);
    compute(f, w, sums, begin(n), begin(n + 1));
  });
  const int64_t adders = std::clamp<int64_t>((shares - 1) * size / SUMS, 1, shares);
  alignbook::inParallel(adders, [&](int64_t adder) {
    const int64_t from = size * adder / adders, to = size * (adder + 1) / adders;
    for (int64_t n = 0; n < shares - 1; ++n)
      for (int64_t i = from; i < to; ++i) y[i] += others[n * size + i];
  });
}

struct Settings {
  bool transposed, wide;
};

void* create(TF_OpKernelConstruction* construction) {
  TF_Status* status = TF_NewStatus();
  const auto isSet = [&](const char* name) {
    unsigned char value = 0;
    TF_OpKernelConstruction_GetAttrBool(construction, name, &value, status);
    return value != 0;
  };
  auto* settings = new Settings{isSet("transpose_y"), isSet("wide")};
  TF_DeleteStatus(status);
  return settings;
}

void compute(void* kernel, TF_OpKernelContext* context) {
  const auto& settings = *static_cast<const Settings*>(kernel);
  alignbook::Call call(context, 2);
  if (!call.isOk()) return;
  if (TF_NumDims(call[0]) != 2 || TF_NumDims(call[1]) != 2 ||
      TF_Dim(call[0], 1) != TF_Dim(call[1], settings.transposed ? 1 : 0))
    return call.fail("AlignbookFewRows: the shapes do not fit");
  const int64_t M = TF_Dim(call[0], 0), K = TF_Dim(call[0], 1), N = TF_Dim(call[1], settings.transposed ? 0 : 1);
  const TF_DataType type = TF_ExpectedOutputDataType(context, 0);
  const int64_t shape[] = {M, N};
  TF_Tensor* product = TF_AllocateOutput(context, 0, type, shape, 2, M * N * TF_DataTypeSize(type), call.status());
  if (!call.isOk()) return;

  // x begins at a line of the cache, so that no vector of it lies in two.
  static thread_local std::vector<float> spaceOfX, sums;
  spaceOfX.resize(M * K + LINE / sizeof(float));
  void* x = spaceOfX.data();
  size_t space = spaceOfX.size() * sizeof(float);
  std::align(LINE, M * K * sizeof(float), x, space);
  if (TF_TensorType(call[0]) == TF_BFLOAT16) copyWidened(call.data<Bfloat16>(0), M * K, static_cast<float*>(x));
  else copyWidened(call.data<float>(0), M * K, static_cast<float*>(x));
  auto* y = static_cast<float*>(TF_TensorData(product));
  if (type == TF_BFLOAT16) {
    sums.resize(M * N);
    y = sums.data();
  }
  const Factors factors{static_cast<float*>(x), TF_TensorData(call[1]), M, K, N, settings.transposed};
  if (TF_TensorType(call[1]) == TF_BFLOAT16) multiply<Bfloat16>(factors, settings.wide, y);
  else multiply<float>(factors, settings.wide, y);
  if (type == TF_BFLOAT16)
    std::transform(y, y + M * N, static_cast<Bfloat16*>(TF_TensorData(product)), [](float sum) { return rounded(sum); });
  TF_DeleteTensor(product);
}

__attribute__((constructor)) void registerFewRows() {
  alignbook::registerOperation({
      NAME,
      {"x: Tx", "y: Ty"},
      {"product: Tproduct"},
      {"transpose_y: bool", "wide: bool", "Tx: {float, bfloat16}", "Ty: {float, bfloat16}",
       "Tproduct: {float, bfloat16}"},
      create,
      compute,
      [](void* settings) { delete static_cast<Settings*>(settings); },
  });
}

}  // namespace
#endif
