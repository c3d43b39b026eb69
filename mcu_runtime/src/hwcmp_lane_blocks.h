/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to the runtime: a walk over the output pixels of conv2d in blocks, for arms that hold the activations of a
 * block in a tile, position after position of the window.
 *
 * Where blocks are whole rows or parts of one, they follow each other downwards in strips: the tile of a block then
 * contains the kernel rows that it shares with the next one.
 */
#ifndef HWCMP_LANE_BLOCKS_H
#define HWCMP_LANE_BLOCKS_H

#include "hwcmp_internal.h"

typedef struct {
    int32_t lanes, pixels, width, step; /* step: from block to block of a strip, in pixels */
    int32_t step_kept;                  /* `kept` of a block one step behind another */
    int32_t strip, next, before;
    bool in_strips;
    int32_t first; /* pixel of the block; from there on are `lanes` pixels, unless the layer has fewer */
    int32_t kept;  /* kernel rows of the block before that are the first ones of this block */
} hwcmp_lane_blocks;

/* Kernel rows that two windows have in common, the second one `rows` output rows below the first. */
static inline int32_t hwcmp_shared_kernel_rows(const hwcmp_conv_params *params, int32_t rows)
{
    const int32_t input_rows = rows * params->stride_h;
    const int32_t taps = input_rows / params->dilation_h;

    return taps * params->dilation_h == input_rows && taps < params->kernel_h ? params->kernel_h - taps : 0;
}

/* How many pixels at the end of a layer are taken one by one, because they would hardly fill a block: `few` at most. */
static inline int32_t hwcmp_lane_rest(const hwcmp_conv_params *params, int32_t lanes, int32_t few)
{
    const int32_t rest = (int32_t)params->output.h * params->output.w % lanes;
    return rest <= few ? rest : 0;
}

/* The pixels but for `rest` at the end. */
static inline hwcmp_lane_blocks hwcmp_lane_blocks_of(const hwcmp_conv_params *params, int32_t lanes, int32_t rest)
{
    const int32_t width = params->output.w;
    const bool in_strips = width % lanes == 0 || (width < lanes && lanes % width == 0);
    const int32_t step = in_strips ? hwcmp_max(width, lanes) : lanes;
    const hwcmp_lane_blocks blocks = {.lanes = lanes,
                                      .pixels = (int32_t)params->output.h * width - rest,
                                      .width = width,
                                      .step = step,
                                      .step_kept = in_strips ? hwcmp_shared_kernel_rows(params, step / width) : 0,
                                      .before = -1,
                                      .in_strips = in_strips};
    return blocks;
}

/* Moves on to the first or next block; false behind the last. The last block overlaps the one before it if the pixels
 * do not come out even. */
static inline bool hwcmp_lane_blocks_next(hwcmp_lane_blocks *blocks, const hwcmp_conv_params *params)
{
    if (blocks->next >= blocks->pixels) {
        blocks->strip += blocks->lanes;
        blocks->next = blocks->strip;
        blocks->before = -1;
    }
    if (blocks->strip >= blocks->step) {
        return false;
    }
    blocks->first = hwcmp_min(blocks->next, hwcmp_max(blocks->pixels - blocks->lanes, 0));
    blocks->kept = 0;
    if (blocks->in_strips && blocks->before >= 0) {
        const int32_t moved = blocks->first - blocks->before;
        blocks->kept = moved == blocks->step ? blocks->step_kept
                                             : hwcmp_shared_kernel_rows(params, moved / blocks->width);
    }
    blocks->before = blocks->first;
    blocks->next += blocks->step;
    return true;
}

#endif
