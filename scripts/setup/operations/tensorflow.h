// What the operations of this project share: TensorFlow's C API for operations, and their registration.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <new>

#include "tensorflow/c/ops.h"
#include "tensorflow/c/tf_datatype.h"
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
void TF_OpKernelConstruction_GetAttrBool(TF_OpKernelConstruction*, const char* name, unsigned char* value, TF_Status*);
void TF_OpKernelConstruction_GetAttrFloat(TF_OpKernelConstruction*, const char* name, float* value, TF_Status*);
void TF_GetInput(TF_OpKernelContext*, int index, TF_Tensor**, TF_Status*);
TF_Tensor* TF_AllocateOutput(TF_OpKernelContext*, int index, TF_DataType, const int64_t* shape, int rank, size_t bytes,
                             TF_Status*);
TF_DataType TF_ExpectedOutputDataType(TF_OpKernelContext*, int index);
void TF_OpKernelContext_Failure(TF_OpKernelContext*, TF_Status*);
}

namespace alignbook {

// An operation on a CPU, as TensorFlow's own macros would declare it.
struct Operation {
  const char* name;
  std::initializer_list<const char*> inputs;      // such as "weight: float"
  std::initializer_list<const char*> outputs;
  std::initializer_list<const char*> attributes;  // such as "transpose_y: bool"
  bool changesInputs;
  void (*compute)(void* kernel, TF_OpKernelContext*);
  // Of the kernel, which holds what the attributes say. Default: there is none.
  void* (*create)(TF_OpKernelConstruction*) = [](TF_OpKernelConstruction*) -> void* { return nullptr; };
  void (*destroy)(void* kernel) = [](void*) {};
};

// The `destroy` of a kernel that `create` made with `new`.
template <class Kernel>
void destroyKernel(void* kernel) {
  delete static_cast<Kernel*>(kernel);
}

// To be called when the addon is loaded, after TensorFlow's libraries. Set-up loads it once, and so sees a failure.
void registerOperation(const Operation&);

// Attributes of an operation where it is created.
bool isSet(TF_OpKernelConstruction*, const char* name);
float numberOf(TF_OpKernelConstruction*, const char* name);

// The inputs and outputs of a call, and its status. Frees them, and reports the status where it is not OK.
class Call {
 public:
  static constexpr int MOST_INPUTS = 5;
  static constexpr int MOST_OUTPUTS = 3;
  Call(TF_OpKernelContext*, int inputs);
  ~Call();
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  bool isOk() const;
  void fail(const char* message);
  TF_Tensor* operator[](int input) const { return inputs_[input]; }
  template <class Number>
  Number* data(int input) const {
    return static_cast<Number*>(TF_TensorData(inputs_[input]));
  }
  bool isInputBfloat16(int input) const { return TF_TensorType(inputs_[input]) == TF_BFLOAT16; }
  // By the operation's attributes.
  bool isOutputBfloat16(int output) const { return TF_ExpectedOutputDataType(context_, output) == TF_BFLOAT16; }
  // An output; null, and the call has failed, where there is no memory.
  void* allocate(int output, std::initializer_list<int64_t> shape);
  // The same, of an input's shape.
  void* allocateLike(int input, int output);

 private:
  void* allocate(int output, const int64_t* shape, int rank);

  TF_OpKernelContext* context_;
  TF_Status* status_;
  TF_Tensor* inputs_[MOST_INPUTS] = {};
  TF_Tensor* outputs_[MOST_OUTPUTS] = {};
};

// What TensorFlow calls: `compute` for a call with so many inputs. No exception may leave it.
template <int inputs, void (*compute)(const void* kernel, Call&)>
void computeCall(void* kernel, TF_OpKernelContext* context) {
  Call call(context, inputs);
  if (!call.isOk()) return;
  try {
    compute(kernel, call);
  } catch (const std::bad_alloc&) {
    call.fail("there is not enough memory");
  }
}

}  // namespace alignbook
