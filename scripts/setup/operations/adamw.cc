// AlignbookAdamW, an operation for TensorFlow on a CPU: one step of AdamW in one pass over memory. TensorFlow has Adam
// without decay, so decay, the factor of clipping and Adam would take four passes, and memory is what limits them.
// lib/engine/adamW.ts calls it; on a GPU it calls TensorFlow's own operations instead.
//
//   weight, m, v  float32 of one size; changed in place
//   gradient      float32 or bfloat16 of the same size
//   scalars       float32 [6]: lr sqrt(1 - beta2^t) / (1 - beta1^t), beta1, beta2, epsilon sqrt(1 - beta2^t),
//                 lr weightDecay, and the factor by which the gradient is multiplied
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "bfloat16.h"
#include "tensorflow.h"
#include "threads.h"

namespace {

constexpr int COUNT = 5;

struct Scalars {
  float rate, beta1, beta2, epsilon, decay, factor;
};

// How many numbers justify another thread: waking one takes as long as updating some ten thousand.
constexpr int64_t SHARE = 1 << 18;
// Shares begin at multiples of a cache line.
constexpr int64_t LINE = 16;

// TensorFlow's wheels need AVX, too; AVX512 is no faster, as memory is the limit. No multiplication is fused with an
// addition (-ffp-contract=off in platform.mjs), so all processors compute the same bits.
template <bool decays, class Gradient>
#if defined(__x86_64__)
__attribute__((target("avx")))
#endif
void update(float* __restrict weight, float* __restrict m, float* __restrict v, const Gradient* __restrict gradient,
            int64_t size, Scalars s) {
  const float rate1 = 1 - s.beta1, rate2 = 1 - s.beta2;
  for (int64_t i = 0; i < size; ++i) {
    const float g = alignbook::widened(gradient[i]) * s.factor;
    const float before = decays ? weight[i] - weight[i] * s.decay : weight[i];
    const float mean = m[i] + (g - m[i]) * rate1;
    const float square = v[i] + (g * g - v[i]) * rate2;
    m[i] = mean;
    v[i] = square;
    weight[i] = before - (mean * s.rate) / (std::sqrt(square) + s.epsilon);
  }
}

template <class Gradient>
void updateInParallel(float* weight, float* m, float* v, const Gradient* gradient, int64_t size, Scalars s) {
  const auto part = s.decay == 0 ? update<false, Gradient> : update<true, Gradient>;
  const int64_t shares = std::clamp<int64_t>(size / SHARE, 1, alignbook::threadCount());
  const int64_t each = (size / shares + LINE) / LINE * LINE;
  alignbook::inParallel(shares, [&](int64_t share) {
    const int64_t begin = share * each, end = std::min(begin + each, size);
    if (begin < end) part(weight + begin, m + begin, v + begin, gradient + begin, end - begin, s);
  });
}

void compute(const void*, alignbook::Call& call) {
  const int64_t size = TF_TensorElementCount(call[0]);
  for (int n = 1; n < COUNT; ++n)
    if (TF_TensorElementCount(call[n]) != (n < COUNT - 1 ? size : static_cast<int64_t>(sizeof(Scalars) / 4)))
      return call.fail("AlignbookAdamW: the inputs differ in size");
  Scalars scalars;
  std::memcpy(&scalars, call.data<float>(COUNT - 1), sizeof scalars);
  const auto updateBy = [&](const auto* gradient) {
    updateInParallel(call.data<float>(0), call.data<float>(1), call.data<float>(2), gradient, size, scalars);
  };
  if (call.isInputBfloat16(3)) updateBy(call.data<alignbook::Bfloat16>(3));
  else updateBy(call.data<float>(3));
}

__attribute__((constructor)) void registerAdamW() {
  alignbook::registerOperation({
      "AlignbookAdamW",
      {"weight: float", "m: float", "v: float", "gradient: Tgradient", "scalars: float"},
      {},
      {"Tgradient: {float, bfloat16}"},
      true,
      alignbook::computeCall<COUNT, compute>,
  });
}

}  // namespace
