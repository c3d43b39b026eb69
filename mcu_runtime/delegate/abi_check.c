/* SPDX-License-Identifier: Apache-2.0
 *
 * Signs of an interpreter whose structs are laid out differently: small integers out of range, pointers that are not
 * pointers, tensors whose bytes are not the product of their dimensions. A shifted field shows in one of them.
 */
#include "abi_check.h"

enum {
    LOWEST_ADDRESS = 4096,
    MOST_THREADS = 65536,
    MOST_TYPES = 64,
    MOST_KINDS = 16,
    MOST_DIMENSIONS = 64,
    MOST_BUILTINS = 4096,
    MOST_OPERANDS = 1 << 20,
};

static bool is_pointer(const void *pointer, size_t alignment)
{
    return (uintptr_t)pointer >= LOWEST_ADDRESS && (uintptr_t)pointer % alignment == 0U;
}

static bool is_in(int64_t value, int64_t low, int64_t high)
{
    return value >= low && value <= high;
}

const char *hwcmp_abi_context_problem(const TfLiteContext *context)
{
    if (context == NULL || context->tensors_size == 0U || context->tensors_size > INT32_MAX ||
        !is_pointer(context->tensors, _Alignof(TfLiteTensor)) || !is_pointer(context->impl_, 1U) ||
        context->GetExecutionPlan == NULL || context->ResizeTensor == NULL || context->ReportError == NULL ||
        context->GetNodeAndRegistration == NULL || context->ReplaceNodeSubsetsWithDelegateKernels == NULL ||
        !is_in(context->recommended_num_threads, -1, MOST_THREADS)) {
        return "the context of this interpreter has another layout";
    }
    return NULL;
}

/* Bytes of an element; 0 for types whose tensors are not simply dims x element. */
static size_t element_bytes(int32_t type)
{
    switch (type) {
    case kTfLiteUInt8:
    case kTfLiteInt8:
    case kTfLiteBool:
        return 1U;
    case kTfLiteInt16:
        return 2U;
    case kTfLiteFloat32:
    case kTfLiteInt32:
        return 4U;
    case kTfLiteInt64:
        return 8U;
    default:
        return 0U;
    }
}

static bool is_allocated_by_shape(const TfLiteTensor *tensor)
{
    const int32_t kind = tensor->allocation_type;
    return tensor->sparsity == NULL && tensor->dims != NULL &&
           (kind == kTfLiteMmapRo || kind == kTfLiteArenaRw || kind == kTfLiteArenaRwPersistent);
}

/* Multiplied modulo 2^64: a product that wraps does not come out at `bytes` by accident. */
static bool bytes_fit_shape(const TfLiteTensor *tensor)
{
    const size_t element = element_bytes(tensor->type);
    uint64_t bytes = element;

    if (element == 0U || !is_allocated_by_shape(tensor)) {
        return true;
    }
    for (int axis = 0; axis < tensor->dims->size; axis++) {
        bytes *= (uint64_t)tensor->dims->data[axis];
    }
    return bytes == tensor->bytes;
}

static bool tensor_is_plausible(const TfLiteTensor *tensor)
{
    if (!is_in(tensor->type, 0, MOST_TYPES) || !is_in(tensor->allocation_type, 0, MOST_KINDS) ||
        !is_in(tensor->quantization.type, 0, MOST_KINDS) || tensor->data_is_stale > 1U || tensor->is_variable > 1U) {
        return false;
    }
    if (tensor->dims == NULL) {
        return true;
    }
    if (!is_pointer(tensor->dims, _Alignof(TfLiteIntArray)) || !is_in(tensor->dims->size, 0, MOST_DIMENSIONS)) {
        return false;
    }
    return bytes_fit_shape(tensor);
}

const char *hwcmp_abi_tensors_problem(const TfLiteContext *context)
{
    for (size_t i = 0; i < context->tensors_size; i++) {
        if (!tensor_is_plausible(&context->tensors[i])) {
            return "the tensors of this interpreter have another layout";
        }
    }
    return NULL;
}

static bool indices_are_plausible(const TfLiteContext *context, const TfLiteIntArray *indices)
{
    if (!is_pointer(indices, _Alignof(TfLiteIntArray)) || !is_in(indices->size, 0, MOST_OPERANDS)) {
        return false;
    }
    for (int i = 0; i < indices->size; i++) {
        if (!is_in(indices->data[i], kTfLiteOptionalTensor, (int64_t)context->tensors_size - 1)) {
            return false;
        }
    }
    return true;
}

const char *hwcmp_abi_node_problem(const TfLiteContext *context, const TfLiteNode *node,
                                   const TfLiteRegistration *registration)
{
    if (!is_pointer(node, _Alignof(TfLiteNode)) || !is_pointer(registration, _Alignof(TfLiteRegistration)) ||
        !indices_are_plausible(context, node->inputs) || !indices_are_plausible(context, node->outputs) ||
        !is_in(registration->builtin_code, 0, MOST_BUILTINS)) {
        return "the operators of this interpreter have another layout";
    }
    if (registration->builtin_code == kTfLiteBuiltinCustom &&
        (!is_pointer(registration->custom_name, 1U) || node->custom_initial_data_size < 0)) {
        return "the custom operators of this interpreter have another layout";
    }
    return NULL;
}
