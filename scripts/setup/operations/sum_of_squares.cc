// AlignbookSumOfSquares, an operation for TensorFlow on an x86 processor with AVX2 and FMA: the sum of the squares of
// x, float32 or bfloat16, as a float32; for the norm of gradients. TensorFlow's L2Loss of bfloat16 numbers is itself a
// bfloat16.
#include <algorithm>
#include <cstdint>
#include <vector>

#include "tensorflow.h"
#include "threads.h"

#if defined(__x86_64__)
#include "vectors.h"

namespace {

using namespace alignbook;
using namespace alignbook::avx2;

// How many numbers justify another thread.
constexpr int64_t SHARE = 1 << 16;
// How many numbers are added up in float32; such sums are added up in float64.
constexpr int64_t BLOCK = 1 << 12;

template <class Number>
TARGET_AVX2 double sumOfSquares(const Number* x, int64_t size) {
  double sum = 0;
  for (int64_t from = 0; from < size; from += BLOCK) {
    const int64_t to = std::min(from + BLOCK, size);
    Vector squares[4] = {everywhere(0), everywhere(0), everywhere(0), everywhere(0)};
    int64_t i = from;
    for (; i + 4 * LANES <= to; i += 4 * LANES)
      for (int n = 0; n < 4; ++n) {
        const Vector numbers = load(x + i + n * LANES);
        squares[n] = plusProduct(squares[n], numbers, numbers);
      }
    for (; i < to; i += LANES) {
      const Vector numbers = load(x + i, to - i);
      squares[0] = plusProduct(squares[0], numbers, numbers);
    }
    sum += total(plus(plus(squares[0], squares[1]), plus(squares[2], squares[3])));
  }
  return sum;
}

template <class Number>
float sumInParallel(const Number* x, int64_t size) {
  const int64_t shares = std::clamp<int64_t>(size / SHARE, 1, threadCount());
  std::vector<double> sums(shares);
  inParallel(shares, [&](int64_t share) {
    const int64_t from = size * share / shares;
    sums[share] = sumOfSquares(x + from, size * (share + 1) / shares - from);
  });
  double sum = 0;
  for (const double part : sums) sum += part;
  return static_cast<float>(sum);
}

void compute(const void*, Call& call) {
  auto* const sum = static_cast<float*>(call.allocate(0, {}));
  if (sum == nullptr) return;
  const int64_t size = TF_TensorElementCount(call[0]);
  if (call.isInputBfloat16(0)) *sum = sumInParallel(call.data<Bfloat16>(0), size);
  else *sum = sumInParallel(call.data<float>(0), size);
}

__attribute__((constructor)) void registerSumOfSquares() {
  registerOperation({
      "AlignbookSumOfSquares",
      {"x: T"},
      {"sum: float"},
      {"T: {float, bfloat16}"},
      false,
      computeCall<1, compute>,
  });
}

}  // namespace
#endif
