/* SPDX-License-Identifier: Apache-2.0
 * QEMU TCG plugin (plugin API version 1): exact counts of executed instructions between markers.
 *
 * Markers are moves of a register to itself, harmless on every Cortex-M (see count_markers.h):
 *   mov r9, r9    start counting        mov r10, r10  stop counting
 *   mov r11, r11  report the count of this region and set it to zero
 * Build: cc -shared -fPIC -O2 insn_count.c -o libinsn_count.so; use: -plugin libinsn_count.so,out=FILE
 * One line "insns=N" per report goes to FILE. QEMU's header is not packaged by distributions, so the few
 * functions used are declared here.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef void (*vcpu_callback)(unsigned int vcpu, void *userdata);

extern void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, struct qemu_plugin_tb *));
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
extern const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
extern size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *);
extern void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *, vcpu_callback, int flags, void *);
extern void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *, int op, void *, uint64_t);
extern void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, void *), void *);

EXPORT int qemu_plugin_version = 1;
EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv);

enum { CB_NO_REGS = 0, INLINE_ADD_U64 = 0, MARK_START = 0x46c9, MARK_STOP = 0x46d2, MARK_REPORT = 0x46db };

static uint64_t executed; /* every instruction but the markers */
static uint64_t started_at;
static uint64_t counted;
static bool running;
static FILE *out;

static void collect(void)
{
    if (running) {
        counted += executed - started_at;
        started_at = executed;
    }
}

static void on_start(unsigned int vcpu, void *userdata)
{
    (void)vcpu;
    (void)userdata;
    started_at = executed;
    running = true;
}

static void on_stop(unsigned int vcpu, void *userdata)
{
    (void)vcpu;
    (void)userdata;
    collect();
    running = false;
}

static void on_report(unsigned int vcpu, void *userdata)
{
    (void)vcpu;
    (void)userdata;
    collect();
    fprintf(out, "insns=%" PRIu64 "\n", counted);
    counted = 0;
}

/* The size does not count: at the end of a page QEMU looks ahead and gives the halfword behind a marker along with
 * it. No 32-bit instruction begins with the halfword of a marker. */
static vcpu_callback marker(const struct qemu_plugin_insn *insn)
{
    const uint8_t *data = qemu_plugin_insn_data(insn);
    if (qemu_plugin_insn_size(insn) < 2) {
        return NULL;
    }
    switch (data[0] | (data[1] << 8)) {
    case MARK_START:
        return on_start;
    case MARK_STOP:
        return on_stop;
    case MARK_REPORT:
        return on_report;
    default:
        return NULL;
    }
}

static void on_translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    (void)id;
    const size_t count = qemu_plugin_tb_n_insns(tb);
    for (size_t i = 0; i < count; i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
        const vcpu_callback callback = marker(insn);
        if (callback != NULL) {
            qemu_plugin_register_vcpu_insn_exec_cb(insn, callback, CB_NO_REGS, NULL);
        } else {
            qemu_plugin_register_vcpu_insn_exec_inline(insn, INLINE_ADD_U64, &executed, 1);
        }
    }
}

static void on_exit(qemu_plugin_id_t id, void *userdata)
{
    (void)id;
    (void)userdata;
    (void)fclose(out);
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv)
{
    (void)info;
    for (int i = 0; i < argc; i++) {
        if (strncmp(argv[i], "out=", 4) == 0) {
            out = fopen(argv[i] + 4, "w");
        }
    }
    if (out == NULL) {
        return -1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
    qemu_plugin_register_atexit_cb(id, on_exit, NULL);
    return 0;
}
