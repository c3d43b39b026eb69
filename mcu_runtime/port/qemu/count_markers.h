/* SPDX-License-Identifier: Apache-2.0
 * Markers that the counting plugin sees (insn_count.c): register-to-itself moves, legal on every Cortex-M.
 * Raw encodings, because assemblers pick other spellings of a no-op.
 */
#ifndef HWCMP_COUNT_MARKERS_H
#define HWCMP_COUNT_MARKERS_H

#define COUNT_START() __asm__ volatile(".short 0x46c9" ::: "memory")
#define COUNT_STOP() __asm__ volatile(".short 0x46d2" ::: "memory")
#define COUNT_REPORT() __asm__ volatile(".short 0x46db" ::: "memory")

#endif
