/* SPDX-License-Identifier: Apache-2.0
 *
 * An operator that the delegate has taken over: what was in the file, and what prepare has made of it.
 */
#ifndef HWCMP_NODE_H
#define HWCMP_NODE_H

#include "hwcmp/hwcmp.h"
#include "tflite_abi.h"

enum { HWCMP_NODE_INPUTS = 5 };

/* How a kind of operator is prepared. The functions report what is wrong and return kTfLiteError. */
typedef struct hwcmp_node hwcmp_node;
typedef TfLiteStatus (*hwcmp_node_prepare)(TfLiteContext *context, hwcmp_node *node);

struct hwcmp_node {
    /* From the file; nothing of it has been checked. Only the first HWCMP_NODE_INPUTS inputs and HWCMP_OPTION_BYTES
     * options are kept, the counts are the file's. */
    const char *kind;
    hwcmp_node_prepare prepare;
    int32_t op; /* HWCMP_OP_... */
    int32_t input_count, output_count;
    int32_t inputs[HWCMP_NODE_INPUTS];
    int32_t output;
    int32_t option_bytes;
    uint8_t options[HWCMP_OPTION_BYTES];
    bool has_builtin;
    TfLiteFullyConnectedParams builtin;

    /* Owned; freed by hwcmp_node_clear(). */
    uint8_t *blob;
    int32_t *bias;
    int32_t *multiplier;
    int8_t *shift;

    /* Ready for the kernel. The tensors must have the sizes that prepare saw whenever it runs. */
    bool ready;
    hwcmp_weights weights;
    hwcmp_channels channels;
    hwcmp_scratch scratch;
    hwcmp_conv_params conv;
    hwcmp_fully_connected_params fully_connected;
    size_t input_bytes, output_bytes;
};

/* ---- node.c ------------------------------------------------------------------------------------------- */

/* Frees what prepare has made and makes the node unprepared. */
void hwcmp_node_clear(hwcmp_node *node);

/* Reports "<kind> <name of the output>: <message>" and returns kTfLiteError. */
#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
TfLiteStatus hwcmp_node_fail(TfLiteContext *context, const hwcmp_node *node, const char *format, ...);

/* The tensor of an input, of the given type, with at least one element and as many bytes as its dimensions say. Null
 * after reporting. */
const TfLiteTensor *hwcmp_node_input(TfLiteContext *context, const hwcmp_node *node, int position, int32_t type);

/* One int8 input as above, and one int8 output that may be written. */
TfLiteStatus hwcmp_node_check_activations(TfLiteContext *context, const hwcmp_node *node);

/* An input as above whose values are stored in the file. */
const TfLiteTensor *hwcmp_node_constant(TfLiteContext *context, const hwcmp_node *node, int position, int32_t type);

/* The elements of a tensor that one of the functions above has returned. */
int64_t hwcmp_node_elements(const TfLiteTensor *tensor);

/* malloc() that reports its failure; a copy of the bytes. The copy is aligned, wherever the file put them. */
void *hwcmp_node_alloc(TfLiteContext *context, const hwcmp_node *node, size_t bytes);
void *hwcmp_node_copy(TfLiteContext *context, const hwcmp_node *node, const void *bytes, size_t count);

/* ---- layer.c: the second half of prepare, the same for packed and builtin operators ----------------------- */

/* Opens the blob (node->blob, of `bytes` bytes). */
TfLiteStatus hwcmp_node_open(TfLiteContext *context, hwcmp_node *node, size_t bytes);

/* Takes node->bias, ->multiplier, ->shift (`entries` of the last two: 1 or one per channel) and refuses constants with
 * which an accumulator or its requantization could leave int32. */
TfLiteStatus hwcmp_node_set_channels(TfLiteContext *context, hwcmp_node *node, int64_t entries);

/* Shapes and scratch of a fully connected layer, then the output's size. */
TfLiteStatus hwcmp_node_set_fully_connected(TfLiteContext *context, hwcmp_node *node, bool keep_num_dims);

/* The same for convolutions: everything in node->conv but input, output, pad and tile is set already. */
TfLiteStatus hwcmp_node_set_conv(TfLiteContext *context, hwcmp_node *node, bool same);

/* ---- packed.c, builtin.c ---------------------------------------------------------------------------------- */

TfLiteStatus hwcmp_node_prepare_packed(TfLiteContext *context, hwcmp_node *node);
TfLiteStatus hwcmp_node_prepare_builtin(TfLiteContext *context, hwcmp_node *node);

/* Whether a FULLY_CONNECTED is int8 x int8 -> int8 with an int32 bias or none. */
bool hwcmp_node_is_int8_fully_connected(const TfLiteContext *context, const TfLiteNode *node);

#endif
