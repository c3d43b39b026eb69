/* SPDX-License-Identifier: Apache-2.0
 * Semihosting files: how an emulator feeds inputs to an image and fetches its outputs.
 */
#ifndef HWCMP_SEMIHOST_H
#define HWCMP_SEMIHOST_H

#include <stdint.h>

enum { SEMIHOST_READ_BINARY = 1, SEMIHOST_WRITE_BINARY = 5 };

/* A handle, or -1. */
int32_t semihost_open(const char *path, uint32_t path_length, uint32_t mode);
/* Bytes NOT transferred: 0 is complete success. */
uint32_t semihost_read(int32_t handle, void *buffer, uint32_t bytes);
uint32_t semihost_write(int32_t handle, const void *buffer, uint32_t bytes);
void semihost_close(int32_t handle);

#endif
