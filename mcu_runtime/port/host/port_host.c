/* SPDX-License-Identifier: Apache-2.0
 * The board functions on a desktop.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "port.h"

void port_puts(const char *text)
{
    (void)fputs(text, stdout);
}

void port_exit(int code)
{
    exit(code);
}

uint32_t port_stack_used(void)
{
    return 0U;
}

uint32_t port_ticks(void)
{
    return (uint32_t)clock();
}
