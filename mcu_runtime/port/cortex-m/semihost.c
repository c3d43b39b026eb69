/* SPDX-License-Identifier: Apache-2.0
 * Arm semihosting ("Semihosting for AArch32 and AArch64", release 2.0) for M-profile cores.
 */
#include "semihost.h"

#include "port.h"

enum {
    SYS_OPEN = 0x01,
    SYS_CLOSE = 0x02,
    SYS_WRITE0 = 0x04,
    SYS_WRITE = 0x05,
    SYS_READ = 0x06,
    SYS_EXIT_EXTENDED = 0x20,
    ADP_STOPPED_APPLICATION_EXIT = 0x20026
};

static int32_t semihost_call(uint32_t operation, const void *argument)
{
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory", "cc");
    return (int32_t)r0;
}

void port_puts(const char *text)
{
    (void)semihost_call(SYS_WRITE0, text);
}

void port_exit(int code)
{
    const uint32_t block[2] = {ADP_STOPPED_APPLICATION_EXIT, (uint32_t)code};
    (void)semihost_call(SYS_EXIT_EXTENDED, block);
    for (;;) {
    }
}

int32_t semihost_open(const char *path, uint32_t path_length, uint32_t mode)
{
    const uint32_t block[3] = {(uint32_t)(uintptr_t)path, mode, path_length};
    return semihost_call(SYS_OPEN, block);
}

static uint32_t transfer(uint32_t operation, int32_t handle, const void *buffer, uint32_t bytes)
{
    const uint32_t block[3] = {(uint32_t)handle, (uint32_t)(uintptr_t)buffer, bytes};
    return (uint32_t)semihost_call(operation, block);
}

uint32_t semihost_read(int32_t handle, void *buffer, uint32_t bytes)
{
    return transfer(SYS_READ, handle, buffer, bytes);
}

uint32_t semihost_write(int32_t handle, const void *buffer, uint32_t bytes)
{
    return transfer(SYS_WRITE, handle, buffer, bytes);
}

void semihost_close(int32_t handle)
{
    const uint32_t block[1] = {(uint32_t)handle};
    (void)semihost_call(SYS_CLOSE, block);
}
