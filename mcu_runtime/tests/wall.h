/* SPDX-License-Identifier: Apache-2.0
 *
 * A place in RAM (which ends at RAM_END) beyond which nothing may be read, for data of test cases to end at.
 */
#ifndef WALL_H
#define WALL_H

#include <stdint.h>

/* The last 64 KB of RAM: the memory protection unit of Armv7-M forbids every access to them. That of Armv8-M cannot
 * forbid privileged code to read. */
#define WALL (RAM_END - 0x10000U)
#define MPU_CTRL (*(volatile uint32_t *)0xE000ED94U)
#define MPU_RNR (*(volatile uint32_t *)0xE000ED98U)
#define MPU_RBAR (*(volatile uint32_t *)0xE000ED9CU)
#define MPU_RASR (*(volatile uint32_t *)0xE000EDA0U)

static void build_wall(void)
{
#if __ARM_ARCH == 7
    MPU_RNR = 0U;
    MPU_RBAR = WALL;
    MPU_RASR = (1U << 28) | (15U << 1) | 1U; /* no code, no access, 2^16 bytes, on */
    MPU_CTRL = 5U;                           /* on, elsewhere the default map */
    __asm__ volatile("dsb\n\tisb" ::: "memory");
#endif
}

#endif
