#include "tensorflow.h"

#include <cstdio>
#include <cstdlib>

namespace alignbook {

void registerOperation(const Operation& operation) {
  TF_Status* status = TF_NewStatus();
  TF_OpDefinitionBuilder* definition = TF_NewOpDefinitionBuilder(operation.name);
  for (const char* input : operation.inputs) TF_OpDefinitionBuilderAddInput(definition, input);
  for (const char* output : operation.outputs) TF_OpDefinitionBuilderAddOutput(definition, output);
  for (const char* attribute : operation.attributes) TF_OpDefinitionBuilderAddAttr(definition, attribute);
  TF_OpDefinitionBuilderSetIsStateful(definition, operation.outputs.size() == 0);
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

Call::Call(TF_OpKernelContext* context, int inputs) : context_(context), status_(TF_NewStatus()) {
  for (int n = 0; n < inputs && isOk(); ++n) TF_GetInput(context, n, &inputs_[n], status_);
}

Call::~Call() {
  if (!isOk()) TF_OpKernelContext_Failure(context_, status_);
  for (TF_Tensor* input : inputs_)
    if (input != nullptr) TF_DeleteTensor(input);
  TF_DeleteStatus(status_);
}

bool Call::isOk() const { return TF_GetCode(status_) == TF_OK; }

void Call::fail(const char* message) { TF_SetStatus(status_, TF_INVALID_ARGUMENT, message); }

}  // namespace alignbook
