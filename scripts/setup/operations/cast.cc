// AlignbookCast, an operation for TensorFlow on an x86 processor with AVX2 and FMA: x, float32 or bfloat16, as y of the
// other type, rounded to the nearest, ties to even. For what lies in the cache TensorFlow's Cast takes up to three
// times as long.
#include <algorithm>
#include <cstdint>

#include "tensorflow.h"
#include "threads.h"

#if defined(__x86_64__)
#include "vectors.h"

namespace {

using namespace alignbook;
using namespace alignbook::avx2;

// How many numbers justify another thread.
constexpr int64_t SHARE = 1 << 16;

template <class From, class To>
TARGET_AVX2 void cast(const From* from, int64_t size, To* to) {
  int64_t i = 0;
  for (; i + 2 * LANES <= size; i += 2 * LANES) {
    const Vector first = load(from + i), second = load(from + i + LANES);
    store(to + i, first);
    store(to + i + LANES, second);
  }
  for (; i < size; i += LANES) store(to + i, load(from + i, size - i), size - i);
}

template <class From, class To>
void castInParallel(const From* from, int64_t size, To* to) {
  const int64_t shares = std::clamp<int64_t>(size / SHARE, 1, threadCount());
  inParallel(shares, [&](int64_t share) {
    const int64_t begin = size * share / shares;
    cast(from + begin, size * (share + 1) / shares - begin, to + begin);
  });
}

void compute(const void*, Call& call) {
  void* const to = call.allocateLike(0, 0);
  if (to == nullptr) return;
  const int64_t size = TF_TensorElementCount(call[0]);
  const bool isFromHalf = call.isInputBfloat16(0);
  const bool isToHalf = call.isOutputBfloat16(0);
  if (isFromHalf == isToHalf) return call.fail("AlignbookCast: the types are the same");
  if (isToHalf) castInParallel(call.data<float>(0), size, static_cast<Bfloat16*>(to));
  else castInParallel(call.data<Bfloat16>(0), size, static_cast<float*>(to));
}

__attribute__((constructor)) void registerCast() {
  registerOperation({
      "AlignbookCast",
      {"x: Tx"},
      {"y: Ty"},
      {"Tx: {float, bfloat16}", "Ty: {float, bfloat16}"},
      false,
      computeCall<1, compute>,
  });
}

}  // namespace
#endif
