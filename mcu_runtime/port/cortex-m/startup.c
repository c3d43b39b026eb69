/* SPDX-License-Identifier: Apache-2.0
 * Reset, faults, stack painting and SysTick for any Cortex-M; the symbols come from the board's linker script.
 */
#include <stdint.h>

#include "port.h"

extern uint32_t __data_load[], __data_start[], __data_end[], __bss_start[], __bss_end[];
extern uint32_t __stack_limit[], __stack_top[];

int main(void);
void Reset_Handler(void);
void Fault_Handler(void);
void reset_to_main(void);

#define STACK_PAINT 0xC5C5C5C5U
#define SYST_CSR (*(volatile uint32_t *)0xE000E010U)
#define SYST_RVR (*(volatile uint32_t *)0xE000E014U)
#define SYST_CVR (*(volatile uint32_t *)0xE000E018U)
#define CPACR (*(volatile uint32_t *)0xE000ED88U)

uint32_t port_stack_used(void)
{
    const uint32_t *word = __stack_limit;
    while (word != __stack_top && *word == STACK_PAINT) {
        word++;
    }
    return (uint32_t)((uintptr_t)__stack_top - (uintptr_t)word);
}

uint32_t port_ticks(void)
{
    return 0xFFFFFFU - SYST_CVR;
}

/* Runs on a stack that Reset_Handler has painted. */
__attribute__((noreturn, used)) void reset_to_main(void)
{
#if defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)
    CPACR |= 0xFU << 20; /* full access to CP10 and CP11: FPU and MVE */
    __asm__ volatile("dsb\n isb" ::: "memory");
#endif
    const uint32_t *from = __data_load;
    for (uint32_t *to = __data_start; to != __data_end; to++) {
        *to = *from++;
    }
    for (uint32_t *to = __bss_start; to != __bss_end; to++) {
        *to = 0U;
    }
    SYST_RVR = 0xFFFFFFU;
    SYST_CVR = 0U;
    SYST_CSR = 5U; /* processor clock, enabled, no interrupt */
    port_exit(main());
}

/* Sets the stack pointer (debuggers may start here with another one) and paints the stack below it. */
__attribute__((naked, used)) void Reset_Handler(void)
{
    __asm__ volatile("ldr r0, =__stack_top\n"
                     "mov sp, r0\n"
                     "ldr r1, =__stack_limit\n"
                     "ldr r2, =0xC5C5C5C5\n"
                     "b 2f\n"
                     "1: stmia r1!, {r2}\n"
                     "2: cmp r1, r0\n"
                     "bne 1b\n"
                     "ldr r0, =reset_to_main\n"
                     "bx r0\n"
                     ".ltorg\n");
}

/* Every fault ends the run with exit code 3, never with success. */
__attribute__((used)) void Fault_Handler(void)
{
    port_puts("HWCMP-FAULT\n");
    port_exit(3);
}

__attribute__((section(".vectors"), used)) static const uintptr_t vectors[16] = {
    (uintptr_t)__stack_top,   (uintptr_t)Reset_Handler, (uintptr_t)Fault_Handler, (uintptr_t)Fault_Handler,
    (uintptr_t)Fault_Handler, (uintptr_t)Fault_Handler, (uintptr_t)Fault_Handler, (uintptr_t)Fault_Handler,
    0,                        0,                        0,                        (uintptr_t)Fault_Handler,
    (uintptr_t)Fault_Handler, 0,                        (uintptr_t)Fault_Handler, (uintptr_t)Fault_Handler,
};
