#include "tensorflow.h"

#include <cstdio>
#include <cstdlib>
#include <vector>

namespace alignbook {

void registerOperation(const Operation& operation) {
  TF_Status* status = TF_NewStatus();
  TF_OpDefinitionBuilder* definition = TF_NewOpDefinitionBuilder(operation.name);
  for (const char* input : operation.inputs) TF_OpDefinitionBuilderAddInput(definition, input);
  for (const char* output : operation.outputs) TF_OpDefinitionBuilderAddOutput(definition, output);
  for (const char* attribute : operation.attributes) TF_OpDefinitionBuilderAddAttr(definition, attribute);
  TF_OpDefinitionBuilderSetIsStateful(definition, operation.changesInputs);
  TF_OpDefinitionBuilderSetShapeInferenceFunction(definition, TF_ShapeInferenceContextSetUnknownShape);
  TF_RegisterOpDefinition(definition, status);
  if (TF_GetCode(status) == TF_OK) {
    TF_KernelBuilder* kernel =
        TF_NewKernelBuilder(operation.name, "CPU", operation.create, operation.compute, operation.destroy);
    TF_RegisterKernelBuilder(operation.name, kernel, status);
  } else if (TF_GetCode(status) == TF_ALREADY_EXISTS) {
    TF_SetStatus(status, TF_OK, "");  // by another copy of the addon in this process
  }
  if (TF_GetCode(status) != TF_OK) {
    std::fprintf(stderr, "%s: %s\n", operation.name, TF_Message(status));
    std::abort();
  }
  TF_DeleteStatus(status);
}

bool isSet(TF_OpKernelConstruction* construction, const char* name) {
  unsigned char value = 0;
  TF_Status* status = TF_NewStatus();
  TF_OpKernelConstruction_GetAttrBool(construction, name, &value, status);
  TF_DeleteStatus(status);
  return value != 0;
}

float numberOf(TF_OpKernelConstruction* construction, const char* name) {
  float value = 0;
  TF_Status* status = TF_NewStatus();
  TF_OpKernelConstruction_GetAttrFloat(construction, name, &value, status);
  TF_DeleteStatus(status);
  return value;
}

Call::Call(TF_OpKernelContext* context, int inputs) : context_(context), status_(TF_NewStatus()) {
  for (int n = 0; n < inputs && isOk(); ++n) TF_GetInput(context, n, &inputs_[n], status_);
}

Call::~Call() {
  if (!isOk()) TF_OpKernelContext_Failure(context_, status_);
  for (TF_Tensor* input : inputs_)
    if (input != nullptr) TF_DeleteTensor(input);
  for (TF_Tensor* output : outputs_)
    if (output != nullptr) TF_DeleteTensor(output);
  TF_DeleteStatus(status_);
}

void* Call::allocate(int output, const int64_t* shape, int rank) {
  const TF_DataType type = TF_ExpectedOutputDataType(context_, output);
  size_t bytes = TF_DataTypeSize(type);
  for (int n = 0; n < rank; ++n) bytes *= shape[n];
  outputs_[output] = TF_AllocateOutput(context_, output, type, shape, rank, bytes, status_);
  return isOk() ? TF_TensorData(outputs_[output]) : nullptr;
}

void* Call::allocate(int output, std::initializer_list<int64_t> shape) {
  return allocate(output, shape.begin(), static_cast<int>(shape.size()));
}

void* Call::allocateLike(int input, int output) {
  std::vector<int64_t> shape(TF_NumDims(inputs_[input]));
  for (size_t n = 0; n < shape.size(); ++n) shape[n] = TF_Dim(inputs_[input], static_cast<int>(n));
  return allocate(output, shape.data(), static_cast<int>(shape.size()));
}

bool Call::isOk() const { return TF_GetCode(status_) == TF_OK; }

void Call::fail(const char* message) { TF_SetStatus(status_, TF_INVALID_ARGUMENT, message); }

}  // namespace alignbook
