/* SPDX-License-Identifier: Apache-2.0
 *
 * A place in RAM (which ends at RAM_END) beyond which nothing may be read, for data of test cases to end at.
 */
#ifndef WALL_H
#define WALL_H

#include <stdint.h>

/* The last 64 KB of RAM: the memory protection unit lets nobody in. That of Armv7-M, which Armv6-M code finds on the
 * emulated machine as well, has a region for it; that of Armv8-M only grants access, so its region ends there. */
#define WALL (RAM_END - 0x10000U)
#define MPU_CTRL (*(volatile uint32_t *)0xE000ED94U)
#define MPU_RNR (*(volatile uint32_t *)0xE000ED98U)
#define MPU_RBAR (*(volatile uint32_t *)0xE000ED9CU)
#define MPU_RASR (*(volatile uint32_t *)0xE000EDA0U)
#define MPU_RLAR MPU_RASR
#define MPU_MAIR0 (*(volatile uint32_t *)0xE000EDC0U)

static void build_wall(void)
{
    MPU_RNR = 0U;
#if __ARM_ARCH >= 8
    MPU_MAIR0 = 0x44U;            /* normal memory, not cached */
    MPU_RBAR = 2U;                /* from 0, code and data, any access */
    MPU_RLAR = (WALL - 32U) | 1U; /* to here, on */
    MPU_CTRL = 1U;                /* on, nothing elsewhere */
#else
    MPU_RBAR = WALL;
    MPU_RASR = (1U << 28) | (15U << 1) | 1U; /* no code, no access, 2^16 bytes, on */
    MPU_CTRL = 5U;                           /* on, elsewhere the default map */
#endif
    __asm__ volatile("dsb\n\tisb" ::: "memory");
}

#endif
