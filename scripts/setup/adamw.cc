// AlignbookAdamW, an operation for TensorFlow on a CPU: one step of AdamW in one pass over memory. TensorFlow has Adam
// without decay, so decay, the factor of clipping and Adam would take four passes, and memory is what limits them.
// lib/engine/adamW.ts calls it; on a GPU it calls TensorFlow's own operations instead.
//
//   weight, m, v  float32 of one size; changed in place
//   gradient      float32 of the same size
//   scalars       float32 [6]: lr sqrt(1 - beta2^t) / (1 - beta1^t), beta1, beta2, epsilon sqrt(1 - beta2^t),
//                 lr weightDecay, and the factor by which the gradient is multiplied
#if defined(__linux__)
#include <sched.h>
#endif

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <system_error>
#include <thread>
#include <vector>

#include "tensorflow/c/ops.h"
#include "tensorflow/c/tf_status.h"
#include "tensorflow/c/tf_tensor.h"

// From TensorFlow's c/kernels.h, which includes headers that set-up does not unpack.
extern "C" {
struct TF_OpKernelConstruction;
struct TF_OpKernelContext;
struct TF_KernelBuilder;
TF_KernelBuilder* TF_NewKernelBuilder(const char* operation, const char* device,
                                      void* (*create)(TF_OpKernelConstruction*),
                                      void (*compute)(void*, TF_OpKernelContext*), void (*destroy)(void*));
void TF_RegisterKernelBuilder(const char* name, TF_KernelBuilder*, TF_Status*);
void TF_GetInput(TF_OpKernelContext*, int index, TF_Tensor**, TF_Status*);
void TF_OpKernelContext_Failure(TF_OpKernelContext*, TF_Status*);
}

namespace {

constexpr char NAME[] = "AlignbookAdamW";
const char* const INPUTS[] = {"weight: float", "m: float", "v: float", "gradient: float", "scalars: float"};
constexpr int COUNT = 5;

struct Scalars {
  float rate, beta1, beta2, epsilon, decay, factor;
};

// How many numbers justify another thread: starting one takes as long as updating some ten thousand.
constexpr int64_t SHARE = 1 << 18;
// Shares begin at multiples of a cache line.
constexpr int64_t LINE = 16;

// TensorFlow's wheels need AVX, too; AVX512 is no faster, as memory is the limit. No multiplication is fused with an
// addition (-ffp-contract=off in platform.mjs), so all processors compute the same bits.
template <bool decays>
#if defined(__x86_64__)
__attribute__((target("avx")))
#endif
void update(float* __restrict weight, float* __restrict m, float* __restrict v, const float* __restrict gradient,
            int64_t size, Scalars s) {
  const float rate1 = 1 - s.beta1, rate2 = 1 - s.beta2;
  for (int64_t i = 0; i < size; ++i) {
    const float g = gradient[i] * s.factor;
    const float before = decays ? weight[i] - weight[i] * s.decay : weight[i];
    const float mean = m[i] + (g - m[i]) * rate1;
    const float square = v[i] + (g * g - v[i]) * rate2;
    m[i] = mean;
    v[i] = square;
    weight[i] = before - (mean * s.rate) / (std::sqrt(square) + s.epsilon);
  }
}

// As many as TensorFlow uses: what is asked for, or else the cores on which this process may run.
int64_t threads() {
  const char* asked = std::getenv("TF_NUM_INTRAOP_THREADS");
  if (asked != nullptr && std::atoll(asked) > 0) return std::atoll(asked);
#if defined(__linux__)
  cpu_set_t cores;
  if (sched_getaffinity(0, sizeof cores, &cores) == 0) return std::max(1, CPU_COUNT(&cores));
#endif
  return std::max(1u, std::thread::hardware_concurrency());
}

void updateInParallel(float* weight, float* m, float* v, const float* gradient, int64_t size, Scalars s) {
  const auto part = s.decay == 0 ? update<false> : update<true>;
  const int64_t shares = std::clamp<int64_t>(size / SHARE, 1, threads());
  const int64_t each = (size / shares + LINE) / LINE * LINE;
  std::vector<std::thread> others;
  others.reserve(shares);
  int64_t end = size;  // what is left for this thread: all before it
  for (int64_t begin = (shares - 1) * each; begin > 0; begin -= each) {
    if (begin >= end) continue;
    try {
      others.emplace_back(part, weight + begin, m + begin, v + begin, gradient + begin, end - begin, s);
    } catch (const std::system_error&) {
      break;  // no more threads for this process
    }
    end = begin;
  }
  part(weight, m, v, gradient, end, s);
  for (auto& other : others) other.join();
}

void compute(void*, TF_OpKernelContext* context) {
  TF_Status* status = TF_NewStatus();
  TF_Tensor* tensors[COUNT] = {};
  for (int n = 0; n < COUNT && TF_GetCode(status) == TF_OK; ++n) TF_GetInput(context, n, &tensors[n], status);
  if (TF_GetCode(status) == TF_OK) {
    const int64_t size = TF_TensorElementCount(tensors[0]);
    for (int n = 1; n < COUNT; ++n)
      if (TF_TensorElementCount(tensors[n]) != (n < COUNT - 1 ? size : static_cast<int64_t>(sizeof(Scalars) / 4)))
        TF_SetStatus(status, TF_INVALID_ARGUMENT, "AlignbookAdamW: the inputs differ in size");
  }
  if (TF_GetCode(status) == TF_OK) {
    const auto data = [&](int n) { return static_cast<float*>(TF_TensorData(tensors[n])); };
    Scalars scalars;
    std::memcpy(&scalars, data(COUNT - 1), sizeof scalars);
    updateInParallel(data(0), data(1), data(2), data(3), TF_TensorElementCount(tensors[0]), scalars);
  } else {
    TF_OpKernelContext_Failure(context, status);
  }
  for (TF_Tensor* tensor : tensors)
    if (tensor != nullptr) TF_DeleteTensor(tensor);
  TF_DeleteStatus(status);
}

// When the addon is loaded, after TensorFlow's libraries. Set-up loads it once, and so sees a failure.
__attribute__((constructor)) void registerOperation() {
  TF_Status* status = TF_NewStatus();
  TF_OpDefinitionBuilder* definition = TF_NewOpDefinitionBuilder(NAME);
  for (const char* input : INPUTS) TF_OpDefinitionBuilderAddInput(definition, input);
  TF_OpDefinitionBuilderSetIsStateful(definition, true);  // it has no output, and is run for its effect
  TF_RegisterOpDefinition(definition, status);
  if (TF_GetCode(status) == TF_OK) {
    const auto create = [](TF_OpKernelConstruction*) -> void* { return nullptr; };
    const auto destroy = [](void*) {};
    TF_RegisterKernelBuilder(NAME, TF_NewKernelBuilder(NAME, "CPU", create, compute, destroy), status);
  } else if (TF_GetCode(status) == TF_ALREADY_EXISTS) {
    TF_SetStatus(status, TF_OK, "");  // by another copy of the addon in this process
  }
  if (TF_GetCode(status) != TF_OK) {
    std::fprintf(stderr, "%s: %s\n", NAME, TF_Message(status));
    std::abort();
  }
  TF_DeleteStatus(status);
}

}  // namespace
