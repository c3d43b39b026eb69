/* SPDX-License-Identifier: Apache-2.0
 *
 * Messages, memory and checked access to tensors. Whatever comes from the file may be wrong.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node.h"

enum { MESSAGE_BYTES = 256 };

void hwcmp_node_clear(hwcmp_node *node)
{
    free(node->blob);
    free(node->bias);
    free(node->multiplier);
    free(node->shift);
    free(node->scratch.buf);
    node->blob = NULL;
    node->bias = NULL;
    node->multiplier = NULL;
    node->shift = NULL;
    node->scratch.buf = NULL;
    node->scratch.bytes = 0U;
    node->ready = false;
}

static bool is_index(const TfLiteContext *context, int32_t index)
{
    return index >= 0 && (size_t)index < context->tensors_size;
}

static const char *name_of(const TfLiteContext *context, const hwcmp_node *node)
{
    const char *name = is_index(context, node->output) ? context->tensors[node->output].name : NULL;
    return name == NULL ? "" : name;
}

TfLiteStatus hwcmp_node_fail(TfLiteContext *context, const hwcmp_node *node, const char *format, ...)
{
    char message[MESSAGE_BYTES];
    va_list arguments;

    va_start(arguments, format);
    if (vsnprintf(message, sizeof message, format, arguments) < 0) {
        message[0] = '\0';
    }
    va_end(arguments);
    context->ReportError(context, "%s '%.200s': %s", node->kind, name_of(context, node), message);
    return kTfLiteError;
}

/* Elements of a tensor; 0 if a dimension is not positive or the product is no int32. */
static int64_t count_elements(const TfLiteIntArray *dims)
{
    int64_t count = 1;

    for (int axis = 0; axis < dims->size; axis++) {
        if (dims->data[axis] < 1) {
            return 0;
        }
        count *= dims->data[axis];
        if (count > INT32_MAX) {
            return 0;
        }
    }
    return count;
}

static size_t element_bytes(int32_t type)
{
    return type == kTfLiteInt32 ? sizeof(int32_t) : 1U;
}

static const char *input_name(int position)
{
    static const char *const names[HWCMP_NODE_INPUTS] = {"the input", "the weights", "the bias", "the multiplier",
                                                         "the shift"};
    return names[position];
}

const TfLiteTensor *hwcmp_node_input(TfLiteContext *context, const hwcmp_node *node, int position, int32_t type)
{
    const char *what = input_name(position);
    const int32_t index = node->inputs[position];

    if (!is_index(context, index)) {
        (void)hwcmp_node_fail(context, node, "%s is missing", what);
        return NULL;
    }
    const TfLiteTensor *tensor = &context->tensors[index];
    if (tensor->type != type) {
        (void)hwcmp_node_fail(context, node, "%s: expected type %d. Received: %d", what, (int)type, (int)tensor->type);
        return NULL;
    }
    const int64_t count = tensor->dims == NULL ? 0 : count_elements(tensor->dims);
    if (count == 0 || (size_t)count * element_bytes(type) != tensor->bytes) {
        (void)hwcmp_node_fail(context, node, "%s has no valid shape", what);
        return NULL;
    }
    return tensor;
}

TfLiteStatus hwcmp_node_check_activations(TfLiteContext *context, const hwcmp_node *node)
{
    if (hwcmp_node_input(context, node, 0, kTfLiteInt8) == NULL) {
        return kTfLiteError;
    }
    if (node->output_count != 1 || !is_index(context, node->output)) {
        return hwcmp_node_fail(context, node, "expected one output. Received: %d", (int)node->output_count);
    }
    const TfLiteTensor *output = &context->tensors[node->output];
    if (output->type != kTfLiteInt8 || output->allocation_type == kTfLiteMmapRo ||
        output->allocation_type == kTfLitePersistentRo) {
        return hwcmp_node_fail(context, node, "the output must be int8 and no constant");
    }
    /* A kernel reads and writes at once; another shape of the output would even change the input's. */
    if (node->output == node->inputs[0]) {
        return hwcmp_node_fail(context, node, "the output overwrites the input");
    }
    return kTfLiteOk;
}

const TfLiteTensor *hwcmp_node_constant(TfLiteContext *context, const hwcmp_node *node, int position, int32_t type)
{
    const TfLiteTensor *tensor = hwcmp_node_input(context, node, position, type);

    if (tensor == NULL) {
        return NULL;
    }
    if (tensor->allocation_type != kTfLiteMmapRo || tensor->data.raw == NULL) {
        (void)hwcmp_node_fail(context, node, "%s must be stored in the file", input_name(position));
        return NULL;
    }
    return tensor;
}

int64_t hwcmp_node_elements(const TfLiteTensor *tensor)
{
    return (int64_t)(tensor->bytes / element_bytes(tensor->type));
}

void *hwcmp_node_alloc(TfLiteContext *context, const hwcmp_node *node, size_t bytes)
{
    void *memory = malloc(bytes);

    if (memory == NULL) {
        (void)hwcmp_node_fail(context, node, "out of memory");
    }
    return memory;
}

void *hwcmp_node_copy(TfLiteContext *context, const hwcmp_node *node, const void *bytes, size_t count)
{
    void *copy = hwcmp_node_alloc(context, node, count);

    return copy == NULL ? NULL : memcpy(copy, bytes, count);
}
