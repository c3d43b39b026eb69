/* SPDX-License-Identifier: Apache-2.0
 *
 * A stand-in for a TensorFlow Lite interpreter with one operator, to run the delegate under sanitizers: reads cases
 * from a file and prints one line for each, "ok <shape> <output in hex>" or "error <message>".
 *
 *     delegate_driver CASES
 *
 * A case is made of little-endian int32 words and, where marked *, bytes:
 *     layout, tensor count, tensors, builtin code, name*, inputs, outputs, options*
 *     tensor: type, allocation type, zero point, scale (bits of the float), quantized dimension, dims, scales, zero
 *         points, values*
 * Every list and every string of bytes is preceded by its length. layout: 0, or LAYOUT_... for an interpreter whose
 * structs differ. Values lie at odd addresses in blocks of exactly their size.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node.h"

TfLiteDelegate *tflite_plugin_create_delegate(const char *const *keys, const char *const *values, size_t count,
                                              void (*report_error)(const char *));
void tflite_plugin_destroy_delegate(TfLiteDelegate *delegate);

/* Structs that differ: another context, 8 bytes more per tensor, flags that are none, a size that is not that of the
 * shape, or 8 bytes fewer from the offset layout - LAYOUT_MISSING of the first tensor on. */
enum {
    LAYOUT_CONTEXT = 1,
    LAYOUT_LONG_TENSOR = 2,
    LAYOUT_FLAGS = 3,
    LAYOUT_BYTES = 4,
    LAYOUT_MISSING = 100,
    MOST_TENSORS = 8
};

typedef struct {
    TfLiteContext context; /* first: the callbacks get a pointer to it */
    TfLiteIntArray *plan;
    TfLiteNode node, delegated;
    TfLiteRegistration registration, replacement;
    TfLiteTensor tensors[MOST_TENSORS];
    TfLiteTensor foreign[MOST_TENSORS + 1];
    TfLiteAffineQuantization affine[MOST_TENSORS];
    uint8_t *blocks[MOST_TENSORS]; /* values, one byte later than malloc() put them */
    bool replaced;
    char message[512];
} interpreter;

static FILE *file;

static void fail(const char *what)
{
    (void)fprintf(stderr, "%s\n", what);
    exit(2);
}

/* ---- reading cases ------------------------------------------------------------------------------------------ */

static void read_exactly(void *out, size_t bytes)
{
    if (bytes > 0U && fread(out, 1U, bytes, file) != bytes) {
        fail("the file of cases is truncated");
    }
}

static int32_t read_word(void)
{
    int32_t word = 0;
    read_exactly(&word, sizeof word);
    return word;
}

static void *allocate(size_t bytes)
{
    void *memory = calloc(1U, bytes == 0U ? 1U : bytes);
    if (memory == NULL) {
        fail("out of memory");
    }
    return memory;
}

static TfLiteIntArray *read_ints(void)
{
    const int32_t size = read_word();
    TfLiteIntArray *array = allocate(sizeof *array + (size_t)size * sizeof(int));
    array->size = size;
    read_exactly(array->data, (size_t)size * sizeof(int));
    return array;
}

static TfLiteFloatArray *read_floats(void)
{
    const int32_t size = read_word();
    TfLiteFloatArray *array = allocate(sizeof *array + (size_t)size * sizeof(float));
    array->size = size;
    read_exactly(array->data, (size_t)size * sizeof(float));
    return array;
}

static void *read_bytes(int32_t *count)
{
    *count = read_word();
    void *bytes = allocate((size_t)*count);
    read_exactly(bytes, (size_t)*count);
    return bytes;
}

static void read_tensor(interpreter *it, int index)
{
    TfLiteTensor *tensor = &it->tensors[index];
    TfLiteAffineQuantization *affine = &it->affine[index];

    tensor->type = read_word();
    tensor->allocation_type = read_word();
    tensor->params.zero_point = read_word();
    read_exactly(&tensor->params.scale, sizeof tensor->params.scale);
    affine->quantized_dimension = read_word();
    tensor->dims = read_ints();
    affine->scale = read_floats();
    affine->zero_point = read_ints();
    tensor->quantization.type = affine->scale->size > 0 ? kTfLiteAffineQuantization : 0;
    tensor->quantization.params = affine;
    tensor->bytes = (size_t)read_word();
    it->blocks[index] = allocate(tensor->bytes + 1U);
    read_exactly(it->blocks[index] + 1, tensor->bytes);
    tensor->data.raw = it->blocks[index] + 1;
    tensor->name = "tensor";
}

/* ---- the interpreter's side ----------------------------------------------------------------------------------- */

static interpreter *owner(TfLiteContext *context)
{
    return (interpreter *)(void *)context;
}

/* Keeps the first message: what follows are consequences. */
static void report_error(TfLiteContext *context, const char *format, ...)
{
    if (owner(context)->message[0] != '\0') {
        return;
    }
    va_list arguments;
    va_start(arguments, format);
    if (vsnprintf(owner(context)->message, sizeof owner(context)->message, format, arguments) < 0) {
        fail("bad format of a message");
    }
    va_end(arguments);
}

static TfLiteStatus get_plan(TfLiteContext *context, TfLiteIntArray **plan)
{
    *plan = owner(context)->plan;
    return kTfLiteOk;
}

static TfLiteStatus get_node(TfLiteContext *context, int index, TfLiteNode **node, TfLiteRegistration **registration)
{
    (void)index;
    *node = &owner(context)->node;
    *registration = &owner(context)->registration;
    return kTfLiteOk;
}

static TfLiteStatus replace(TfLiteContext *context, TfLiteRegistration registration, const TfLiteIntArray *nodes,
                            TfLiteDelegate *delegate)
{
    (void)delegate;
    if (nodes->size != 1) {
        fail("expected one operator per partition");
    }
    owner(context)->replacement = registration;
    owner(context)->replaced = true;
    return kTfLiteOk;
}

static TfLiteStatus resize(TfLiteContext *context, TfLiteTensor *tensor, TfLiteIntArray *shape)
{
    interpreter *it = owner(context);
    const size_t index = (size_t)(tensor - it->tensors);
    size_t bytes = 1U;

    if (tensor->allocation_type == kTfLiteMmapRo) {
        fail("a constant must not get another shape");
    }

    for (int axis = 0; axis < shape->size; axis++) {
        bytes *= (size_t)shape->data[axis];
    }
    free(tensor->dims);
    free(it->blocks[index]);
    tensor->dims = shape;
    tensor->bytes = bytes;
    it->blocks[index] = allocate(bytes + 1U);
    tensor->data.raw = it->blocks[index] + 1;
    return kTfLiteOk;
}

/* The same tensors as an interpreter with other structs would lay them out. */
static void apply_layout(interpreter *it, int32_t layout)
{
    unsigned char *first = (unsigned char *)it->foreign;
    const size_t missing = layout >= LAYOUT_MISSING ? (size_t)(layout - LAYOUT_MISSING) : 0U;

    memcpy(first, it->tensors, sizeof it->tensors);
    it->context.tensors = it->foreign;
    if (layout == LAYOUT_LONG_TENSOR) {
        memmove(first + sizeof(TfLiteTensor) + 8, first + sizeof(TfLiteTensor),
                sizeof it->tensors - sizeof(TfLiteTensor));
    } else if (layout == LAYOUT_FLAGS) {
        it->foreign[0].is_variable = 0x55U;
    } else if (layout == LAYOUT_BYTES) {
        it->foreign[0].bytes++;
    } else if (layout == LAYOUT_CONTEXT) {
        memset(&it->context.recommended_num_threads, 0x55, sizeof it->context.recommended_num_threads);
    } else {
        memmove(first + missing, first + missing + 8, sizeof it->tensors - missing - 8U);
    }
}

static interpreter *read_case(int32_t layout)
{
    interpreter *it = allocate(sizeof *it);
    int32_t name_bytes = 0;
    const int32_t count = read_word();

    if (count > MOST_TENSORS) {
        fail("too many tensors");
    }
    for (int i = 0; i < count; i++) {
        read_tensor(it, i);
    }
    it->registration.builtin_code = read_word();
    it->registration.custom_name = read_bytes(&name_bytes);
    it->registration.version = 1;
    it->node.inputs = read_ints();
    it->node.outputs = read_ints();
    void *options = read_bytes(&it->node.custom_initial_data_size);
    it->node.custom_initial_data = options;
    it->node.builtin_data = options;
    it->plan = allocate(2U * sizeof(int));
    it->plan->size = 1;
    it->context = (TfLiteContext){.tensors_size = (size_t)count, .GetExecutionPlan = get_plan, .tensors = it->tensors,
                                  .impl_ = it, .ResizeTensor = resize, .ReportError = report_error,
                                  .GetNodeAndRegistration = get_node,
                                  .ReplaceNodeSubsetsWithDelegateKernels = replace, .recommended_num_threads = -1};
    if (layout != 0) {
        apply_layout(it, layout);
    }
    return it;
}

static void free_case(interpreter *it)
{
    for (size_t i = 0; i < it->context.tensors_size; i++) {
        free(it->tensors[i].dims);
        free(it->affine[i].scale);
        free(it->affine[i].zero_point);
        free(it->blocks[i]);
    }
    free((void *)(uintptr_t)it->registration.custom_name);
    free(it->node.inputs);
    free(it->node.outputs);
    free(it->node.builtin_data);
    free(it->plan);
    free(it);
}

/* ---- one case --------------------------------------------------------------------------------------------------- */

/* Prepares twice, as an interpreter does after a resize, and runs. */
static TfLiteStatus run_kernel(interpreter *it, TfLiteDelegate *delegate)
{
    TfLiteContext *context = &it->context;
    TfLiteDelegateParams params = {delegate, it->plan, it->node.inputs, it->node.outputs};

    it->delegated.user_data = it->replacement.init(context, (const char *)&params, 0U);
    TfLiteStatus status = it->replacement.prepare(context, &it->delegated);
    if (status == kTfLiteOk) {
        status = it->replacement.prepare(context, &it->delegated);
    }
    if (status == kTfLiteOk) {
        status = it->replacement.invoke(context, &it->delegated);
    } else if (it->replacement.invoke(context, &it->delegated) == kTfLiteOk) {
        fail("an operator ran although prepare had refused it");
    }
    it->replacement.free(context, it->delegated.user_data);
    return status;
}

static void print_result(const interpreter *it, TfLiteStatus status)
{
    const TfLiteTensor *output = &it->tensors[it->node.outputs->size > 0 ? it->node.outputs->data[0] : 0];

    if (status != kTfLiteOk) {
        (void)printf("error %s\n", it->message);
        return;
    }
    (void)printf("ok ");
    for (int axis = 0; axis < output->dims->size; axis++) {
        (void)printf(axis == 0 ? "%d" : "x%d", output->dims->data[axis]);
    }
    (void)printf(" ");
    for (size_t i = 0; i < output->bytes; i++) {
        (void)printf("%02x", (unsigned)(uint8_t)output->data.int8[i]);
    }
    (void)printf("\n");
}

static void run_case(void)
{
    interpreter *it = read_case(read_word());
    TfLiteDelegate *delegate = tflite_plugin_create_delegate(NULL, NULL, 0U, NULL);

    if (delegate == NULL) {
        fail("no delegate");
    }
    TfLiteStatus status = delegate->Prepare(&it->context, delegate);
    if (status == kTfLiteOk && !it->replaced) {
        (void)snprintf(it->message, sizeof it->message, "not claimed");
        status = kTfLiteError;
    } else if (status == kTfLiteOk) {
        status = run_kernel(it, delegate);
    }
    print_result(it, status);
    tflite_plugin_destroy_delegate(delegate);
    free_case(it);
}

int main(int argc, char **argv)
{
    file = argc == 2 ? fopen(argv[1], "rb") : NULL;
    if (file == NULL) {
        fail("usage: delegate_driver CASES");
    }
    for (int next = fgetc(file); next != EOF; next = fgetc(file)) {
        (void)ungetc(next, file);
        run_case();
    }
    (void)fclose(file);
    return 0;
}
