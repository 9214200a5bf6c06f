// AlignbookFewRows, an operation for TensorFlow on an x86 processor: the product of a few rows, up to a dozen, by a
// matrix, as in generation. Such a product takes as long as reading the matrix; TensorFlow's MatMul takes two to three
// times as long as that. lib/engine/products.ts calls it.
//
//   x            [M, K], float32 or bfloat16
//   y            [K, N], or [N, K] with transpose_y; float32 or bfloat16
//   bias         float32 [N], which is added to each row; or [0]
//   wide         whether the processor has AVX512; it must have AVX2 and FMA
//   product      [M, N], float32 or bfloat16
//
// The sums are float32 in any case. A row of the product does not depend on how many other rows there are. Without
// transpose_y it depends, in its last bits, on the number of threads: every sum is one of parts, one for each thread.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <type_traits>
#include <vector>

#include "tensorflow.h"
#include "threads.h"

#if defined(__x86_64__)
#include "vectors.h"

namespace {

using alignbook::Bfloat16;
using alignbook::widened;

// Of w, in bytes: read from memory once, and then from a core's own cache.
constexpr int64_t BLOCK = 80 << 10;
constexpr int64_t LINE = 64;
// How many bytes of w justify another thread.
constexpr int64_t SHARE = 64 << 10;
// How many numbers of a sum of parts do.
constexpr int64_t SUMS = 32 << 10;

template <class Number>
void copyWidened(const Number* from, int64_t size, float* to) {
  std::transform(from, from + size, to, [](Number x) { return widened(x); });
}

TARGET_AVX2 void roundAll(const float* from, int64_t size, Bfloat16* to) {
  using namespace alignbook::avx2;
  for (int64_t i = 0; i < size; i += LANES) store(to + i, load(from + i, size - i), size - i);
}

struct Factors {
  const float* x;
  const void* w;
  const float* bias;  // or null
  int64_t M, K, N;
  bool transposed;
};

namespace avx2 {
using namespace alignbook::avx2;
#define TARGET TARGET_AVX2
#include "few_rows_kernel.h"
#undef TARGET
}  // namespace avx2

namespace avx512 {
using namespace alignbook::avx512;
#define TARGET TARGET_AVX512
#include "few_rows_kernel.h"
#undef TARGET
}  // namespace avx512

// Each row of y [M, N] becomes the bias, or zeros.
void begin(const Factors& f, float* y) {
  for (int64_t m = 0; m < f.M; ++m)
    if (f.bias == nullptr) std::fill_n(y + m * f.N, f.N, 0.0f);
    else std::copy_n(f.bias, f.N, y + m * f.N);
}

template <class Weight>
void multiply(const Factors& f, bool wide, float* y) {
  const auto* w = static_cast<const Weight*>(f.w);
  const auto compute = wide ? avx512::computeShare<Weight> : avx2::computeShare<Weight>;
  const int64_t rows = f.transposed ? f.N : f.K;
  const int64_t bytes = f.K * f.N * static_cast<int64_t>(sizeof(Weight));
  const int64_t shares = std::clamp<int64_t>(bytes / SHARE, 1, alignbook::threadCount());
  const auto start = [&](int64_t share) { return rows * share / shares; };
  if (f.transposed) {  // each share has its own columns of y
    begin(f, y);
    alignbook::inParallel(shares, [&](int64_t n) { compute(f, w, y, start(n), start(n + 1)); });
    return;
  }
  // Each share has a part of every sum.
  const int64_t size = f.M * f.N;
  static thread_local std::vector<float> parts;
  parts.resize((shares - 1) * size);
  float* const others = parts.data();
  alignbook::inParallel(shares, [&](int64_t n) {
    float* const sums = n == 0 ? y : others + (n - 1) * size;
    if (n == 0) begin(f, sums);
    else std::fill_n(sums, size, 0.0f);
    compute(f, w, sums, start(n), start(n + 1));
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
  return new Settings{alignbook::isSet(construction, "transpose_y"), alignbook::isSet(construction, "wide")};
}

void compute(const void* kernel, alignbook::Call& call) {
  const auto& settings = *static_cast<const Settings*>(kernel);
  if (TF_NumDims(call[0]) != 2 || TF_NumDims(call[1]) != 2 ||
      TF_Dim(call[0], 1) != TF_Dim(call[1], settings.transposed ? 1 : 0))
    return call.fail("AlignbookFewRows: the shapes do not fit");
  const int64_t M = TF_Dim(call[0], 0), K = TF_Dim(call[0], 1), N = TF_Dim(call[1], settings.transposed ? 0 : 1);
  const int64_t biases = TF_TensorElementCount(call[2]);
  if (biases != 0 && biases != N) return call.fail("AlignbookFewRows: the shapes do not fit");
  void* const product = call.allocate(0, {M, N});
  if (product == nullptr || M * N == 0) return;
  const bool isRounded = call.isOutputBfloat16(0);

  // x begins at a line of the cache, so that no vector of it lies in two.
  static thread_local std::vector<float> spaceOfX, sums;
  spaceOfX.resize(M * K + LINE / sizeof(float));
  void* x = spaceOfX.data();
  size_t space = spaceOfX.size() * sizeof(float);
  std::align(LINE, M * K * sizeof(float), x, space);
  if (call.isInputBfloat16(0)) copyWidened(call.data<Bfloat16>(0), M * K, static_cast<float*>(x));
  else copyWidened(call.data<float>(0), M * K, static_cast<float*>(x));
  if (isRounded) sums.resize(M * N);
  float* const y = isRounded ? sums.data() : static_cast<float*>(product);
  const float* bias = biases == 0 ? nullptr : call.data<float>(2);
  const Factors factors{static_cast<float*>(x), TF_TensorData(call[1]), bias, M, K, N, settings.transposed};
  if (call.isInputBfloat16(1)) multiply<Bfloat16>(factors, settings.wide, y);
  else multiply<float>(factors, settings.wide, y);
  if (isRounded) roundAll(y, M * N, static_cast<Bfloat16*>(product));
}

__attribute__((constructor)) void registerFewRows() {
  alignbook::registerOperation({
      "AlignbookFewRows",
      {"x: Tx", "y: Ty", "bias: float"},
      {"product: Tproduct"},
      {"transpose_y: bool", "wide: bool", "Tx: {float, bfloat16}", "Ty: {float, bfloat16}",
       "Tproduct: {float, bfloat16}"},
      false,
      alignbook::computeCall<3, compute>,
      create,
      alignbook::destroyKernel<Settings>,
  });
}

}  // namespace
#endif
