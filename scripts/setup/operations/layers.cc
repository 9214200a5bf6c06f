// Layers of GPT-2 as operations for TensorFlow, on an x86 processor with AVX2 and FMA: each is one pass over memory,
// where TensorFlow's own operations take three to eleven. lib/engine/layers.ts has the formulas, and calls these.
//
// AlignbookLayerNorm: each row of x [N, C], normalized: (x - mean) / sqrt(variance + epsilon) weight + bias
//   weight, bias    [C]
//   y               [N, C], float32 or bfloat16
//   normalized      [N, C]: before weight and bias
//   inverse_std     [N, 1]
// AlignbookLayerNormGradient: from the gradient dy [N, C] of y to those of x, weight and bias
// AlignbookSigmoidGate: y = x sigmoid(slope x + slope cubic x^3) for each number of x; y is float32 or bfloat16
// AlignbookSigmoidGateGradient: from the gradient dy of y to that of x
//
// All numbers are float32 unless stated otherwise.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <vector>

#include "tensorflow.h"
#include "threads.h"

#if defined(__x86_64__)
#include "vectors.h"

namespace {

using namespace alignbook;
using namespace alignbook::avx2;

// How many numbers justify another thread.
constexpr int64_t SHARE = 16 << 10;

// How many threads share `count` things, each of `size` numbers.
int64_t sharesOf(int64_t count, int64_t size) {
  return std::clamp<int64_t>(count * size / SHARE, 1, std::min(std::max<int64_t>(count, 1), threadCount()));
}

// Calls body(begin, end) for each share.
void inShares(int64_t count, int64_t size, const std::function<void(int64_t, int64_t)>& body) {
  const int64_t shares = sharesOf(count, size);
  inParallel(shares, [&](int64_t n) { body(count * n / shares, count * (n + 1) / shares); });
}

// --- layer norm ---

template <class Number>
TARGET_AVX2 void normalize(const float* x, int64_t C, const float* weight, const float* bias, float epsilon, Number* y,
                           float* normalized, float* inverseStd) {
  Vector sum = everywhere(0);
  for (int64_t i = 0; i < C; i += LANES) sum = plus(sum, load(x + i, C - i));
  const float mean = total(sum) / static_cast<float>(C);
  Vector squares = everywhere(0);
  for (int64_t i = 0; i < C; i += LANES) {
    const Vector centered = first(minus(load(x + i, C - i), everywhere(mean)), std::min<int64_t>(C - i, LANES));
    squares = plusProduct(squares, centered, centered);
  }
  *inverseStd = 1 / std::sqrt(total(squares) / static_cast<float>(C) + epsilon);
  for (int64_t i = 0; i < C; i += LANES) {
    const Vector unit = times(minus(load(x + i, C - i), everywhere(mean)), everywhere(*inverseStd));
    store(normalized + i, unit, C - i);
    store(y + i, plusProduct(load(bias + i, C - i), unit, load(weight + i, C - i)), C - i);
  }
}

// dx = (dn - mean(dn) - normalized mean(dn normalized)) / std, where dn = dy weight. Adds to the other two gradients.
TARGET_AVX2 void normalizeBackward(const float* dy, const float* normalized, float inverseStd, const float* weight,
                                   int64_t C, float* dx, float* dWeight, float* dBias) {
  Vector sum = everywhere(0), along = everywhere(0);
  for (int64_t i = 0; i < C; i += LANES) {
    const Vector gradient = load(dy + i, C - i), unit = load(normalized + i, C - i);
    store(dWeight + i, plusProduct(load(dWeight + i, C - i), gradient, unit), C - i);
    store(dBias + i, plus(load(dBias + i, C - i), gradient), C - i);
    const Vector dn = times(gradient, load(weight + i, C - i));
    sum = plus(sum, dn);
    along = plusProduct(along, dn, unit);
  }
  const Vector mean = everywhere(total(sum) / static_cast<float>(C));
  const Vector meanAlong = everywhere(total(along) / static_cast<float>(C));
  for (int64_t i = 0; i < C; i += LANES) {
    const Vector dn = times(load(dy + i, C - i), load(weight + i, C - i));
    const Vector rest = minus(minus(dn, mean), times(load(normalized + i, C - i), meanAlong));
    store(dx + i, times(rest, everywhere(inverseStd)), C - i);
  }
}

struct LayerNorm {
  float epsilon;
};

void computeLayerNorm(const void* kernel, Call& call) {
  if (TF_NumDims(call[0]) != 2 || TF_TensorElementCount(call[1]) != TF_Dim(call[0], 1) ||
      TF_TensorElementCount(call[2]) != TF_Dim(call[0], 1))
    return call.fail("AlignbookLayerNorm: the shapes do not fit");
  const int64_t N = TF_Dim(call[0], 0), C = TF_Dim(call[0], 1);
  void* const y = call.allocate(0, {N, C});
  auto* const normalized = static_cast<float*>(call.allocate(1, {N, C}));
  auto* const inverseStd = static_cast<float*>(call.allocate(2, {N, 1}));
  if (!call.isOk()) return;
  const float *x = call.data<float>(0), *weight = call.data<float>(1), *bias = call.data<float>(2);
  const float epsilon = static_cast<const LayerNorm*>(kernel)->epsilon;
  const bool isRounded = call.isOutputBfloat16(0);
  inShares(N, C, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const int64_t at = n * C;
      if (isRounded)
        normalize(x + at, C, weight, bias, epsilon, static_cast<Bfloat16*>(y) + at, normalized + at, inverseStd + n);
      else
        normalize(x + at, C, weight, bias, epsilon, static_cast<float*>(y) + at, normalized + at, inverseStd + n);
    }
  });
}

void computeLayerNormGradient(const void*, Call& call) {
  const int64_t size = TF_TensorElementCount(call[0]);
  if (TF_NumDims(call[0]) != 2 || TF_TensorElementCount(call[1]) != size ||
      TF_TensorElementCount(call[2]) != TF_Dim(call[0], 0) || TF_TensorElementCount(call[3]) != TF_Dim(call[0], 1))
    return call.fail("AlignbookLayerNormGradient: the shapes do not fit");
  const int64_t N = TF_Dim(call[0], 0), C = TF_Dim(call[0], 1);
  auto* const dx = static_cast<float*>(call.allocate(0, {N, C}));
  auto* const dWeight = static_cast<float*>(call.allocate(1, {C}));
  auto* const dBias = static_cast<float*>(call.allocate(2, {C}));
  if (!call.isOk()) return;
  const float *dy = call.data<float>(0), *normalized = call.data<float>(1), *inverseStd = call.data<float>(2),
              *weight = call.data<float>(3);
  // Each share adds up gradients of weight and bias of its own.
  const int64_t shares = sharesOf(N, C);
  std::vector<float> sums(shares * 2 * C);
  inParallel(shares, [&](int64_t share) {
    float* const own = sums.data() + share * 2 * C;
    for (int64_t n = N * share / shares; n < N * (share + 1) / shares; ++n)
      normalizeBackward(dy + n * C, normalized + n * C, inverseStd[n], weight, C, dx + n * C, own, own + C);
  });
  std::copy_n(sums.data(), C, dWeight);
  std::copy_n(sums.data() + C, C, dBias);
  for (int64_t share = 1; share < shares; ++share)
    for (int64_t i = 0; i < C; ++i) {
      dWeight[i] += sums[share * 2 * C + i];
      dBias[i] += sums[share * 2 * C + C + i];
    }
}

// --- gates ---

struct Gate {
  float slope, cubic;
};

// slope (x + cubic x^3), and its derivative. Without a cubic term, as an infinite square times 0 would be NaN.
TARGET_AVX2 inline Vector argument(Vector x, Gate gate) {
  const Vector slope = everywhere(gate.slope);
  if (gate.cubic == 0) return times(slope, x);
  return times(x, plusProduct(slope, everywhere(gate.slope * gate.cubic), times(x, x)));
}

TARGET_AVX2 inline Vector argumentBackward(Vector x, Gate gate) {
  const Vector slope = everywhere(gate.slope);
  if (gate.cubic == 0) return slope;
  return plusProduct(slope, everywhere(3 * gate.slope * gate.cubic), times(x, x));
}

template <class Number>
TARGET_AVX2 void applyGate(const float* from, int64_t size, Gate gate, Number* to) {
  const Vector one = everywhere(1);
  for (int64_t i = 0; i < size; i += LANES) {
    const Vector x = load(from + i, size - i);
    const Vector power = exponential(minus(everywhere(0), argument(x, gate)));
    store(to + i, over(x, plus(one, power)), size - i);
  }
}

// dx = dy (gate + x gate (1 - gate) argument'), where 1 - gate is gate e^-argument, without cancellation.
TARGET_AVX2 void applyGateBackward(const float* dy, const float* from, int64_t size, Gate gate, float* dx) {
  const Vector one = everywhere(1);
  for (int64_t i = 0; i < size; i += LANES) {
    const Vector x = load(from + i, size - i);
    const Vector power = exponential(minus(everywhere(0), argument(x, gate)));
    const Vector open = over(one, plus(one, power));
    const Vector steepness = times(times(x, open), times(open, power));
    const Vector derivative = plusProduct(open, steepness, argumentBackward(x, gate));
    const Vector orZero = without(derivative, isInfinite(power));
    store(dx + i, times(load(dy + i, size - i), orZero), size - i);
  }
}

void* createGate(TF_OpKernelConstruction* construction) {
  return new Gate{numberOf(construction, "slope"), numberOf(construction, "cubic")};
}

void computeGate(const void* kernel, Call& call) {
  void* const y = call.allocateLike(0, 0);
  if (y == nullptr) return;
  const float* x = call.data<float>(0);
  const Gate gate = *static_cast<const Gate*>(kernel);
  const bool isRounded = call.isOutputBfloat16(0);
  inShares(TF_TensorElementCount(call[0]), 1, [&](int64_t begin, int64_t end) {
    if (isRounded) applyGate(x + begin, end - begin, gate, static_cast<Bfloat16*>(y) + begin);
    else applyGate(x + begin, end - begin, gate, static_cast<float*>(y) + begin);
  });
}

void computeGateGradient(const void* kernel, Call& call) {
  const int64_t size = TF_TensorElementCount(call[0]);
  if (TF_TensorElementCount(call[1]) != size)
    return call.fail("AlignbookSigmoidGateGradient: the shapes do not fit");
  auto* const dx = static_cast<float*>(call.allocateLike(0, 0));
  if (dx == nullptr) return;
  const float *dy = call.data<float>(0), *x = call.data<float>(1);
  const Gate gate = *static_cast<const Gate*>(kernel);
  inShares(size, 1, [&](int64_t begin, int64_t end) {
    applyGateBackward(dy + begin, x + begin, end - begin, gate, dx + begin);
  });
}

__attribute__((constructor)) void registerLayers() {
  registerOperation({
      "AlignbookLayerNorm",
      {"x: float", "weight: float", "bias: float"},
      {"y: Ty", "normalized: float", "inverse_std: float"},
      {"epsilon: float", "Ty: {float, bfloat16}"},
      false,
      computeCall<3, computeLayerNorm>,
      [](TF_OpKernelConstruction* construction) -> void* { return new LayerNorm{numberOf(construction, "epsilon")}; },
      destroyKernel<LayerNorm>,
  });
  registerOperation({
      "AlignbookLayerNormGradient",
      {"dy: float", "normalized: float", "inverse_std: float", "weight: float"},
      {"dx: float", "dweight: float", "dbias: float"},
      {},
      false,
      computeCall<4, computeLayerNormGradient>,
  });
  registerOperation({
      "AlignbookSigmoidGate",
      {"x: float"},
      {"y: Ty"},
      {"slope: float", "cubic: float", "Ty: {float, bfloat16}"},
      false,
      computeCall<1, computeGate>,
      createGate,
      destroyKernel<Gate>,
  });
  registerOperation({
      "AlignbookSigmoidGateGradient",
      {"dy: float", "x: float"},
      {"dx: float"},
      {"slope: float", "cubic: float"},
      false,
      computeCall<2, computeGateGradient>,
      createGate,
      destroyKernel<Gate>,
  });
}

}  // namespace
#endif
