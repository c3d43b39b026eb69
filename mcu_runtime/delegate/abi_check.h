/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HWCMP_ABI_CHECK_H
#define HWCMP_ABI_CHECK_H

#include "tflite_abi.h"

/* What contradicts the layout of tflite_abi.h in what the interpreter hands over: one English sentence, or null.
 * The first looks at the context alone, before any function of it may be called; the others follow only pointers
 * that look like pointers. */
const char *hwcmp_abi_context_problem(const TfLiteContext *context);
const char *hwcmp_abi_tensors_problem(const TfLiteContext *context);
const char *hwcmp_abi_node_problem(const TfLiteContext *context, const TfLiteNode *node,
                                   const TfLiteRegistration *registration);

#endif
