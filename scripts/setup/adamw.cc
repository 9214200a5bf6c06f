// AlignbookAdamW, an operation for TensorFlow on a CPU: one step of AdamW in one pass over memory. TensorFlow has Adam
// without decay, so decay, a clipped gradient's factor and Adam are otherwise five passes, and memory is what limits
// them. lib/engine/adamW.ts calls it, and computes the same bits by TensorFlow's own operations on a GPU.
//
//   weight, m, v  float32 of one size; changed in place
//   gradient      float32 of the same size
//   scalars       float32 [6]: lr sqrt(1 - beta2^t) / (1 - beta1^t), beta1, beta2, epsilon sqrt(1 - beta2^t),
//                 lr weightDecay, and the factor by which the gradient is multiplied
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <system_error>
#include <thread>
#include <vector>

#include "tensorflow/c/kernels.h"
#include "tensorflow/c/ops.h"
#include "tensorflow/c/tf_status.h"
#include "tensorflow/c/tf_tensor.h"

namespace {

constexpr char NAME[] = "AlignbookAdamW";
const char* const INPUTS[] = {"weight: float", "m: float", "v: float", "gradient: float", "scalars: float"};
constexpr int COUNT = 5;

struct Scalars {
  float alpha, beta1, beta2, epsilon, decay, factor;
};

// Numbers that are worth another thread: starting one takes as long as updating some ten thousand.
constexpr int64_t SHARE = 1 << 18;
// Shares begin at multiples of a cache line.
constexpr int64_t LINE = 16;

// TensorFlow's wheels need AVX, too; AVX512 is no faster, as memory is the limit. No multiplication is fused with an
// addition (-ffp-contract=off in platform.mjs), so all processors compute the same bits.
#if defined(__x86_64__)
__attribute__((target("avx")))
#endif
void update(float* __restrict weight, float* __restrict m, float* __restrict v, const float* __restrict gradient,
            int64_t size, Scalars s) {
  const float rate1 = 1 - s.beta1, rate2 = 1 - s.beta2;
  for (int64_t i = 0; i < size; ++i) {
    const float g = gradient[i] * s.factor;
    const float decayed = weight[i] - weight[i] * s.decay;
    const float mean = m[i] + (g - m[i]) * rate1;
    const float square = v[i] + (g * g - v[i]) * rate2;
    m[i] = mean;
    v[i] = square;
    weight[i] = decayed - (mean * s.alpha) / (std::sqrt(square) + s.epsilon);
  }
}

// As many as TensorFlow uses.
int64_t threads() {
  const char* asked = std::getenv("TF_NUM_INTRAOP_THREADS");
  const int64_t count = asked == nullptr ? 0 : std::atoll(asked);
  return std::max<int64_t>(1, count > 0 ? count : std::thread::hardware_concurrency());
}

void updateInParallel(float* weight, float* m, float* v, const float* gradient, int64_t size, Scalars s) {
  const int64_t shares = std::clamp<int64_t>(size / SHARE, 1, threads());
  const int64_t each = (size / shares + LINE) / LINE * LINE;
  std::vector<std::thread> others;
  others.reserve(shares);
  int64_t end = size;  // what is left for this thread: all before it
  for (int64_t begin = (shares - 1) * each; begin > 0; begin -= each) {
    if (begin >= end) continue;
    try {
      others.emplace_back(update, weight + begin, m + begin, v + begin, gradient + begin, end - begin, s);
    } catch (const std::system_error&) {
      break;  // no more threads for this process
    }
    end = begin;
  }
  update(weight, m, v, gradient, end, s);
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
        TF_SetStatus(status, TF_INVALID_ARGUMENT, "AlignbookAdamW: an input has a size of its own");
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

// When the addon is loaded, after TensorFlow's libraries.
__attribute__((constructor)) void registerOperation() {
  TF_Status* status = TF_NewStatus();
  TF_OpDefinitionBuilder* definition = TF_NewOpDefinitionBuilder(NAME);
  for (const char* input : INPUTS) TF_OpDefinitionBuilderAddInput(definition, input);
  TF_OpDefinitionBuilderSetIsStateful(definition, true);  // it has no output, and is run for its effect
  TF_RegisterOpDefinition(definition, status);
  const auto create = [](TF_OpKernelConstruction*) -> void* { return nullptr; };
  const auto destroy = [](void*) {};
  TF_RegisterKernelBuilder(NAME, TF_NewKernelBuilder(NAME, "CPU", create, compute, destroy), status);
  TF_DeleteStatus(status);
}

}  // namespace
