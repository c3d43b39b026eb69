/* SPDX-License-Identifier: Apache-2.0
 *
 * The part of TensorFlow Lite's C interface that an external delegate meets, declared by hand: the wheels of the
 * interpreters ship no headers. Names are TensorFlow Lite's; fields behind the last one used here are left out of
 * structs that the interpreter allocates, and are zero in structs that the delegate allocates.
 *
 * The layout was the same in every interpreter tried (tflite-runtime 2.14, TensorFlow 2.21, ai-edge-litert 1.0 to 2.3).
 * Nothing in the interface says which version is running: abi_check.h looks for signs of another layout.
 */
#ifndef HWCMP_TFLITE_ABI_H
#define HWCMP_TFLITE_ABI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum { kTfLiteOk = 0, kTfLiteError = 1 } TfLiteStatus;

/* Values of TfLiteTensor.type, .allocation_type, .quantization.type; TfLiteDelegate.flags; builtin operators. */
enum {
    kTfLiteFloat32 = 1,
    kTfLiteInt32 = 2,
    kTfLiteUInt8 = 3,
    kTfLiteInt64 = 4,
    kTfLiteBool = 6,
    kTfLiteInt16 = 7,
    kTfLiteInt8 = 9
};
enum { kTfLiteMmapRo = 1, kTfLiteArenaRw = 2, kTfLiteArenaRwPersistent = 3, kTfLitePersistentRo = 5 };
enum { kTfLiteAffineQuantization = 1 };
enum { kTfLiteDelegateFlagsAllowDynamicTensors = 1 };
enum { kTfLiteBuiltinFullyConnected = 9, kTfLiteBuiltinCustom = 32, kTfLiteBuiltinDelegate = 51 };
enum { kTfLiteActNone = 0, kTfLiteActRelu = 1, kTfLiteActReluN1To1 = 2, kTfLiteActRelu6 = 3 };
enum { kTfLiteOptionalTensor = -1 };

typedef struct {
    int size;
    int data[];
} TfLiteIntArray;

typedef struct {
    int size;
    float data[];
} TfLiteFloatArray;

typedef struct {
    float scale;
    int32_t zero_point;
} TfLiteQuantizationParams;

typedef struct {
    TfLiteFloatArray *scale;
    TfLiteIntArray *zero_point;
    int32_t quantized_dimension;
} TfLiteAffineQuantization;

typedef struct {
    int32_t type;
    void *params; /* a TfLiteAffineQuantization if type says so */
} TfLiteQuantization;

/* The two flags are bool there; as bytes they can be looked at before the layout is trusted. */
typedef struct {
    int32_t type;
    union {
        void *raw;
        int8_t *int8;
    } data;
    TfLiteIntArray *dims;
    TfLiteQuantizationParams params;
    int32_t allocation_type;
    size_t bytes;
    const void *allocation;
    const char *name;
    void *delegate;
    int32_t buffer_handle;
    uint8_t data_is_stale;
    uint8_t is_variable;
    TfLiteQuantization quantization;
    void *sparsity;
    const TfLiteIntArray *dims_signature;
} TfLiteTensor;

typedef struct {
    TfLiteIntArray *inputs;
    TfLiteIntArray *outputs;
    TfLiteIntArray *intermediates;
    TfLiteIntArray *temporaries;
    void *user_data;
    void *builtin_data;
    const void *custom_initial_data;
    int32_t custom_initial_data_size;
} TfLiteNode;

typedef struct TfLiteContext TfLiteContext;
typedef struct TfLiteDelegate TfLiteDelegate;

/* Passed by value to ReplaceNodeSubsetsWithDelegateKernels: the reserve keeps fields of newer versions zero. */
typedef struct {
    void *(*init)(TfLiteContext *context, const char *buffer, size_t length);
    void (*free)(TfLiteContext *context, void *buffer);
    TfLiteStatus (*prepare)(TfLiteContext *context, TfLiteNode *node);
    TfLiteStatus (*invoke)(TfLiteContext *context, TfLiteNode *node);
    const char *(*profiling_string)(const TfLiteContext *context, const TfLiteNode *node);
    int32_t builtin_code;
    const char *custom_name;
    int32_t version;
    void *reserved[16];
} TfLiteRegistration;

struct TfLiteContext {
    size_t tensors_size;
    TfLiteStatus (*GetExecutionPlan)(TfLiteContext *context, TfLiteIntArray **execution_plan);
    TfLiteTensor *tensors;
    void *impl_;
    /* Takes ownership of new_size, which malloc() must have given. */
    TfLiteStatus (*ResizeTensor)(TfLiteContext *context, TfLiteTensor *tensor, TfLiteIntArray *new_size);
    void (*ReportError)(TfLiteContext *context, const char *format, ...);
    TfLiteStatus (*AddTensors)(TfLiteContext *context, int tensors_to_add, int *first_new_tensor_index);
    TfLiteStatus (*GetNodeAndRegistration)(TfLiteContext *context, int node_index, TfLiteNode **node,
                                           TfLiteRegistration **registration);
    TfLiteStatus (*ReplaceNodeSubsetsWithDelegateKernels)(TfLiteContext *context, TfLiteRegistration registration,
                                                          const TfLiteIntArray *nodes_to_replace,
                                                          TfLiteDelegate *delegate);
    int32_t recommended_num_threads;
};

struct TfLiteDelegate {
    void *data_;
    TfLiteStatus (*Prepare)(TfLiteContext *context, TfLiteDelegate *delegate);
    TfLiteStatus (*CopyFromBufferHandle)(TfLiteContext *context, TfLiteDelegate *delegate, int32_t handle,
                                         TfLiteTensor *tensor);
    TfLiteStatus (*CopyToBufferHandle)(TfLiteContext *context, TfLiteDelegate *delegate, int32_t handle,
                                       TfLiteTensor *tensor);
    void (*FreeBufferHandle)(TfLiteContext *context, TfLiteDelegate *delegate, int32_t *handle);
    int64_t flags;
    void *reserved[16];
};

/* The `buffer` of a delegate kernel's init(). */
typedef struct {
    TfLiteDelegate *delegate;
    TfLiteIntArray *nodes_to_replace;
    TfLiteIntArray *input_tensors;
    TfLiteIntArray *output_tensors;
} TfLiteDelegateParams;

/* builtin_data of FULLY_CONNECTED. */
typedef struct {
    int32_t activation;
    int32_t weights_format;
    bool keep_num_dims;
    bool asymmetric_quantize_inputs;
} TfLiteFullyConnectedParams;

#if UINTPTR_MAX == UINT64_MAX
_Static_assert(sizeof(TfLiteTensor) == 112, "the interpreter's array of tensors has this stride");
_Static_assert(offsetof(TfLiteTensor, bytes) == 40 && offsetof(TfLiteTensor, quantization) == 80, "TfLiteTensor");
_Static_assert(offsetof(TfLiteNode, custom_initial_data_size) == 56, "TfLiteNode");
_Static_assert(offsetof(TfLiteRegistration, custom_name) == 48, "TfLiteRegistration");
_Static_assert(offsetof(TfLiteContext, recommended_num_threads) == 72, "TfLiteContext");
_Static_assert(offsetof(TfLiteDelegate, flags) == 40, "TfLiteDelegate");
#endif

#endif
