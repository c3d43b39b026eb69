/* SPDX-License-Identifier: Apache-2.0
 *
 * One axis of a convolution by itself: the depthwise kernels run along either of the two.
 */
#ifndef HWCMP_REF_AXIS_H
#define HWCMP_REF_AXIS_H

#include "../hwcmp_internal.h"

/* The steps go from element to element in bytes. */
typedef struct {
    int32_t inputs, outputs, taps, stride, dilation, pad;
    size_t input_step, output_step, weight_step;
} hwcmp_axis;

static inline hwcmp_axis hwcmp_height_of(const hwcmp_conv_params *params)
{
    const hwcmp_axis axis = {params->input.h,
                             params->output.h,
                             params->kernel_h,
                             params->stride_h,
                             params->dilation_h,
                             params->pad_top,
                             (size_t)params->input.w * (size_t)params->input.c,
                             (size_t)params->output.w * (size_t)params->output.c,
                             (size_t)params->kernel_w};
    return axis;
}

static inline hwcmp_axis hwcmp_width_of(const hwcmp_conv_params *params)
{
    const hwcmp_axis axis = {params->input.w,         params->output.w,         params->kernel_w, params->stride_w,
                             params->dilation_w,      params->pad_left,         (size_t)params->input.c,
                             (size_t)params->output.c, 1U};
    return axis;
}

/* Elements from the first to the last tap. */
static inline int32_t hwcmp_span_of(const hwcmp_axis *axis)
{
    return (axis->taps - 1) * axis->dilation + 1;
}

#endif
