// AlignbookAttendToPast, an operation for TensorFlow on an x86 processor with AVX2 and FMA: attention of one more token
// of each row, in generation. TensorFlow's own operations are eighteen, each for a few thousand numbers, and compute
// all positions for which a cache has room. lib/engine/attention.ts has the formulas, and calls this.
//
//   qkv            float32 [B, 3C]: the queries, keys and values of the tokens
//   keys, values   [nh, B, S, hs], C = nh hs, float32 or bfloat16: those of earlier positions; the tokens' own are
//                  written into them
//   places         int32 [nh * B]: where, as rows of [nh * B * S, hs]. A token attends to its row's positions up to its
//                  own.
//   y              [B, C], float32 or bfloat16
//   scale          factor of the products of a query and a key
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

// How many numbers of keys and values justify another thread.
constexpr int64_t SHARE = 16 << 10;
constexpr int VECTORS = 4;  // of values that are added up at once

template <class Number>
TARGET_AVX2 void copy(const float* from, int64_t size, Number* to) {
  for (int64_t i = 0; i < size; i += LANES) store(to + i, load(from + i, size - i), size - i);
}

// Some vectors of the mixture of values, `hs` numbers apart, of which `left` are left: a line of the cache or more of
// each position at once.
template <int VECTORS, class Cached, class Number>
TARGET_AVX2 void mix(const float* weights, const Cached* values, int64_t length, int64_t hs, int64_t left,
                     Vector factor, Number* y) {
  Vector sums[VECTORS];
  for (Vector& sum : sums) sum = everywhere(0);
  for (int64_t s = 0; s < length; ++s)
    for (int n = 0; n < VECTORS; ++n)
      sums[n] = plusProduct(sums[n], everywhere(weights[s]), load(values + s * hs + n * LANES, left - n * LANES));
  for (int n = 0; n < VECTORS; ++n) store(y + n * LANES, times(sums[n], factor), left - n * LANES);
}

// One head of one token, over `length` positions. `scores` has room for as many numbers.
template <class Cached, class Number>
TARGET_AVX2 void attend(const float* q, const Cached* keys, const Cached* values, int64_t length, int64_t hs,
                        float scale, float* scores, Number* y) {
  float largest = -__builtin_inff();
  bool isNan = false;
  for (int64_t s = 0; s < length; ++s) {
    const Cached* key = keys + s * hs;
    Vector sum = everywhere(0);
    for (int64_t i = 0; i < hs; i += LANES) sum = plusProduct(sum, load(q + i, hs - i), load(key + i, hs - i));
    scores[s] = total(sum) * scale;
    largest = std::max(largest, scores[s]);
    isNan = isNan || scores[s] != scores[s];
  }
  if (isNan) largest = __builtin_nanf("");
  Vector powers = everywhere(0);
  for (int64_t s = 0; s < length; s += LANES) {
    const Vector power = first(exponential(minus(load(scores + s, length - s), everywhere(largest))),
                               std::min<int64_t>(length - s, LANES));
    store(scores + s, power, length - s);
    powers = plus(powers, power);
  }
  const Vector factor = everywhere(1 / total(powers));
  int64_t i = 0;
  for (; i + VECTORS * LANES <= hs; i += VECTORS * LANES)
    mix<VECTORS>(scores, values + i, length, hs, hs - i, factor, y + i);
  for (; i < hs; i += LANES) mix<1>(scores, values + i, length, hs, hs - i, factor, y + i);
}

struct Attention {
  const float* qkv;
  const int32_t* places;
  int64_t B, S, nHead, hs;
  float scale;
};

template <class Cached, class Number>
void attendAll(const Attention& a, Cached* keys, Cached* values, Number* y) {
  const int64_t C = a.nHead * a.hs, count = a.nHead * a.B;
  int64_t numbers = 0;
  for (int64_t n = 0; n < count; ++n) numbers += 2 * (a.places[n] - n * a.S + 1) * a.hs;
  const int64_t shares = std::clamp<int64_t>(numbers / SHARE, 1, std::min(threadCount(), count));
  std::vector<float> scores(shares * a.S);
  inParallel(shares, [&](int64_t share) {
    for (int64_t n = count * share / shares; n < count * (share + 1) / shares; ++n) {
      const int64_t head = n / a.B, row = n % a.B, place = a.places[n];
      const float* q = a.qkv + row * 3 * C + head * a.hs;
      copy(q + C, a.hs, keys + place * a.hs);
      copy(q + 2 * C, a.hs, values + place * a.hs);
      const int64_t start = n * a.S;
      attend(q, keys + start * a.hs, values + start * a.hs, place - start + 1, a.hs, a.scale,
             scores.data() + share * a.S, y + row * C + head * a.hs);
    }
  });
}

struct Settings {
  float scale;
};

void compute(const void* kernel, Call& call) {
  const auto misfit = [&] { call.fail("AlignbookAttendToPast: the shapes do not fit"); };
  if (TF_NumDims(call[0]) != 2 || TF_NumDims(call[1]) != 4 || TF_NumDims(call[2]) != 4) return misfit();
  const int64_t nHead = TF_Dim(call[1], 0), B = TF_Dim(call[1], 1), S = TF_Dim(call[1], 2), hs = TF_Dim(call[1], 3);
  for (int n = 0; n < 4; ++n)
    if (TF_Dim(call[1], n) != TF_Dim(call[2], n)) return misfit();
  if (TF_Dim(call[0], 0) != B || TF_Dim(call[0], 1) != 3 * nHead * hs || TF_TensorElementCount(call[3]) != nHead * B)
    return misfit();
  const auto* places = call.data<int32_t>(3);
  for (int64_t n = 0; n < nHead * B; ++n)
    if (places[n] < n * S || places[n] >= (n + 1) * S)
      return call.fail("AlignbookAttendToPast: a place is not among its row's");
  void* const y = call.allocate(0, {B, nHead * hs});
  if (y == nullptr) return;
  const Attention attention{call.data<float>(0), places, B, S, nHead, hs, static_cast<const Settings*>(kernel)->scale};
  const bool isRounded = call.isOutputBfloat16(0);
  const auto into = [&](auto* result) {
    if (call.isInputBfloat16(1))
      attendAll(attention, call.data<Bfloat16>(1), call.data<Bfloat16>(2), result);
    else attendAll(attention, call.data<float>(1), call.data<float>(2), result);
  };
  if (isRounded) into(static_cast<Bfloat16*>(y));
  else into(static_cast<float*>(y));
}

__attribute__((constructor)) void registerAttention() {
  registerOperation({
      "AlignbookAttendToPast",
      {"qkv: float", "keys: Tcache", "values: Tcache", "places: int32"},
      {"y: Ty"},
      {"scale: float", "Tcache: {float, bfloat16}", "Ty: {float, bfloat16}"},
      true,
      computeCall<4, compute>,
      [](TF_OpKernelConstruction* construction) -> void* { return new Settings{numberOf(construction, "scale")}; },
      destroyKernel<Settings>,
  });
}

}  // namespace
#endif
