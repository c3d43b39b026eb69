/* SPDX-License-Identifier: Apache-2.0
 * What an application needs of a board: four functions. Cortex-M boards implement them over semihosting
 * (QEMU and debug probes), the host over stdio.
 */
#ifndef HWCMP_PORT_H
#define HWCMP_PORT_H

#include <stdint.h>

void port_puts(const char *text);
void port_exit(int code) __attribute__((noreturn));

/* Most bytes of stack used since reset; 0 where the board cannot tell. */
uint32_t port_stack_used(void);

/* Free-running tick count (SysTick on Cortex-M, wraps at 2^24); only differences mean anything. */
uint32_t port_ticks(void);

/* Decimal printing without stdio. */
static inline void port_put_u32(uint32_t value)
{
    char text[11];
    uint32_t at = sizeof text - 1U;
    text[at] = '\0';
    do {
        text[--at] = (char)('0' + (char)(value % 10U));
        value /= 10U;
    } while (value != 0U);
    port_puts(&text[at]);
}

#endif
