/* SPDX-License-Identifier: Apache-2.0
 *
 * A TensorFlow Lite external delegate for the desktop: it runs the packed operators, and every int8 FULLY_CONNECTED,
 * in the kernels of this runtime. One partition per operator: tensors inside a larger one would not be allocated.
 * Desktop code: unlike the runtime it allocates memory and counts.
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "abi_check.h"
#include "node.h"

#if defined(__GNUC__)
#define EXPORT __attribute__((visibility("default")))
#else
#define EXPORT
#endif

EXPORT TfLiteDelegate *tflite_plugin_create_delegate(const char *const *keys, const char *const *values, size_t count,
                                                     void (*report_error)(const char *));
EXPORT void tflite_plugin_destroy_delegate(TfLiteDelegate *delegate);
EXPORT uint64_t hwcmp_delegate_invocations(int32_t op);

/* ---- what is taken over --------------------------------------------------------------------------------------- */

typedef struct {
    const char *kind;
    hwcmp_node_prepare prepare;
    int32_t op;
} claim;

static const claim packed_claims[] = {
    {"HwcmpConv2D", hwcmp_node_prepare_packed, HWCMP_OP_CONV2D},
    {"HwcmpDepthwiseConv2D", hwcmp_node_prepare_packed, HWCMP_OP_DEPTHWISE_CONV2D},
    {"HwcmpFullyConnected", hwcmp_node_prepare_packed, HWCMP_OP_FULLY_CONNECTED},
};
static const claim builtin_claim = {"FULLY_CONNECTED", hwcmp_node_prepare_builtin, HWCMP_OP_FULLY_CONNECTED};

enum { OPS = 3, KINDS = sizeof packed_claims / sizeof packed_claims[0] };

static const claim *find_claim(const TfLiteContext *context, const TfLiteNode *node,
                               const TfLiteRegistration *registration)
{
    if (registration->builtin_code == kTfLiteBuiltinFullyConnected) {
        return hwcmp_node_is_int8_fully_connected(context, node) ? &builtin_claim : NULL;
    }
    for (size_t i = 0; registration->builtin_code == kTfLiteBuiltinCustom && i < KINDS; i++) {
        if (strcmp(registration->custom_name, packed_claims[i].kind) == 0) {
            return &packed_claims[i];
        }
    }
    return NULL;
}

/* ---- the kernel of a claimed operator -------------------------------------------------------------------------- */

static _Atomic uint64_t invocations[OPS];

uint64_t hwcmp_delegate_invocations(int32_t op)
{
    return op >= 0 && op < OPS ? atomic_load(&invocations[op]) : 0U;
}

static void copy_operands(hwcmp_node *node, const TfLiteNode *source)
{
    node->input_count = source->inputs->size;
    node->output_count = source->outputs->size;
    for (int i = 0; i < HWCMP_NODE_INPUTS; i++) {
        node->inputs[i] = i < source->inputs->size ? source->inputs->data[i] : kTfLiteOptionalTensor;
    }
    node->output = source->outputs->size > 0 ? source->outputs->data[0] : kTfLiteOptionalTensor;
}

static void copy_options(hwcmp_node *node, const TfLiteNode *source)
{
    if (node->prepare == hwcmp_node_prepare_packed) {
        node->option_bytes = source->custom_initial_data == NULL ? 0 : source->custom_initial_data_size;
        if (node->option_bytes == HWCMP_OPTION_BYTES) {
            memcpy(node->options, source->custom_initial_data, HWCMP_OPTION_BYTES);
        }
        return;
    }
    node->has_builtin = source->builtin_data != NULL;
    if (node->has_builtin) {
        memcpy(&node->builtin, source->builtin_data, sizeof node->builtin);
    }
}

/* Cannot report a failure; prepare does it when it meets null. */
static void *init(TfLiteContext *context, const char *buffer, size_t length)
{
    TfLiteDelegateParams params;
    TfLiteNode *source = NULL;
    TfLiteRegistration *registration = NULL;

    (void)length;
    memcpy(&params, buffer, sizeof params);
    const TfLiteIntArray *nodes = params.nodes_to_replace;
    if (nodes == NULL || nodes->size != 1 ||
        context->GetNodeAndRegistration(context, nodes->data[0], &source, &registration) != kTfLiteOk) {
        return NULL;
    }
    const claim *claimed = find_claim(context, source, registration);
    hwcmp_node *node = claimed == NULL ? NULL : calloc(1U, sizeof *node);
    if (node == NULL) {
        return NULL;
    }
    node->kind = claimed->kind;
    node->prepare = claimed->prepare;
    node->op = claimed->op;
    copy_operands(node, source);
    copy_options(node, source);
    return node;
}

static void release(TfLiteContext *context, void *buffer)
{
    (void)context;
    if (buffer != NULL) {
        hwcmp_node_clear(buffer);
        free(buffer);
    }
}

static TfLiteStatus prepare(TfLiteContext *context, TfLiteNode *delegated)
{
    hwcmp_node *node = delegated->user_data;

    if (node == NULL) {
        context->ReportError(context, "%s", "the hwcmp delegate could not take over an operator (out of memory?)");
        return kTfLiteError;
    }
    hwcmp_node_clear(node);
    const TfLiteStatus status = node->prepare(context, node);
    if (status != kTfLiteOk) {
        hwcmp_node_clear(node);
    }
    return status;
}

static hwcmp_status run(const hwcmp_node *node, const int8_t *input, int8_t *output)
{
    switch (node->op) {
    case HWCMP_OP_CONV2D:
        return hwcmp_conv2d_s8(&node->scratch, &node->conv, &node->weights, &node->channels, input, output);
    case HWCMP_OP_DEPTHWISE_CONV2D:
        return hwcmp_depthwise_conv2d_s8(&node->scratch, &node->conv, &node->weights, &node->channels, input, output);
    case HWCMP_OP_FULLY_CONNECTED:
        return hwcmp_fully_connected_s8(&node->scratch, &node->fully_connected, &node->weights, &node->channels, input,
                                        output);
    default:
        return HWCMP_ERR_ARGUMENT;
    }
}

/* A file in which two operators write one tensor can change a size after prepare has looked at it. */
static TfLiteStatus invoke(TfLiteContext *context, TfLiteNode *delegated)
{
    const hwcmp_node *node = delegated->user_data;

    if (node == NULL || !node->ready) {
        context->ReportError(context, "%s", "an operator of the hwcmp delegate runs unprepared");
        return kTfLiteError;
    }
    const TfLiteTensor *input = &context->tensors[node->inputs[0]];
    const TfLiteTensor *output = &context->tensors[node->output];
    if (input->bytes != node->input_bytes || output->bytes != node->output_bytes || input->data.raw == NULL ||
        output->data.raw == NULL) {
        return hwcmp_node_fail(context, node, "a tensor has changed its size since it was prepared");
    }
    const hwcmp_status status = run(node, input->data.int8, output->data.int8);
    if (status != HWCMP_OK) {
        return hwcmp_node_fail(context, node, "%s", hwcmp_status_text(status));
    }
    atomic_fetch_add(&invocations[node->op], 1U);
    return kTfLiteOk;
}

/* ---- the delegate ------------------------------------------------------------------------------------------------ */

static TfLiteStatus refuse(TfLiteContext *context, const char *problem)
{
    context->ReportError(context, "the hwcmp delegate does not know this interpreter: %s", problem);
    return kTfLiteError;
}

static TfLiteStatus take_over(TfLiteContext *context, TfLiteDelegate *delegate, int index)
{
    const TfLiteRegistration registration = {
        .init = init,
        .free = release,
        .prepare = prepare,
        .invoke = invoke,
        .builtin_code = kTfLiteBuiltinDelegate,
        .custom_name = "HwcmpDelegate",
        .version = 1,
    };
    union {
        TfLiteIntArray array;
        int ints[2];
    } one = {.ints = {1, index}};

    return context->ReplaceNodeSubsetsWithDelegateKernels(context, registration, &one.array, delegate);
}

static TfLiteStatus visit(TfLiteContext *context, TfLiteDelegate *delegate, int index)
{
    TfLiteNode *node = NULL;
    TfLiteRegistration *registration = NULL;

    if (context->GetNodeAndRegistration(context, index, &node, &registration) != kTfLiteOk) {
        return kTfLiteError;
    }
    const char *problem = hwcmp_abi_node_problem(context, node, registration);
    if (problem != NULL) {
        return refuse(context, problem);
    }
    return find_claim(context, node, registration) == NULL ? kTfLiteOk : take_over(context, delegate, index);
}

/* A copy, because taking over an operator changes the plan. Null if there is none, or no memory. */
static TfLiteIntArray *copy_plan(TfLiteContext *context)
{
    TfLiteIntArray *plan = NULL;

    if (context->GetExecutionPlan(context, &plan) != kTfLiteOk || plan == NULL || plan->size < 0) {
        return NULL;
    }
    const size_t bytes = sizeof *plan + (size_t)plan->size * sizeof plan->data[0];
    TfLiteIntArray *copy = malloc(bytes);
    return copy == NULL ? NULL : memcpy(copy, plan, bytes);
}

static TfLiteStatus prepare_delegate(TfLiteContext *context, TfLiteDelegate *delegate)
{
    /* With another layout of the context there is nobody to report to. */
    if (hwcmp_abi_context_problem(context) != NULL) {
        return kTfLiteError;
    }
    const char *problem = hwcmp_abi_tensors_problem(context);
    if (problem != NULL) {
        return refuse(context, problem);
    }
    TfLiteIntArray *plan = copy_plan(context);
    if (plan == NULL) {
        return refuse(context, "it gives no execution plan");
    }
    TfLiteStatus status = kTfLiteOk;
    for (int i = 0; i < plan->size && status == kTfLiteOk; i++) {
        status = visit(context, delegate, plan->data[i]);
    }
    free(plan);
    return status;
}

TfLiteDelegate *tflite_plugin_create_delegate(const char *const *keys, const char *const *values, size_t count,
                                              void (*report_error)(const char *))
{
    (void)keys;
    (void)values;
    if (count != 0U) {
        if (report_error != NULL) {
            report_error("the hwcmp delegate has no options");
        }
        return NULL;
    }
    TfLiteDelegate *delegate = calloc(1U, sizeof *delegate);
    if (delegate != NULL) {
        delegate->Prepare = prepare_delegate;
        delegate->flags = kTfLiteDelegateFlagsAllowDynamicTensors;
    }
    return delegate;
}

void tflite_plugin_destroy_delegate(TfLiteDelegate *delegate)
{
    free(delegate);
}
