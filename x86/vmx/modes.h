/*
 * Tables of the modes and places in which a VMX instruction is refused before
 * it does anything. Each row also runs the instruction where it is allowed: at
 * CPL 0, in the build's mode, without LOCK.
 */
#ifndef X86_VMX_MODES_H
#define X86_VMX_MODES_H

#include "lib/check.h"
#include "x86/vmx/raw.h"

enum mode_state {
        STATE_OFF_VMXE0,  /* outside VMX operation, CR4.VMXE = 0 */
        STATE_OFF,        /* outside VMX operation, CR4.VMXE = 1 */
        STATE_ROOT,       /* VMX root operation, with a current VMCS */
        STATE_GUEST,      /* VMX non-root operation */
};

/* What else differs from the accepted side. */
#define MODE_LOCK 1u
#define MODE_CPL3 2u         /* of a guest */
#define MODE_BAD_POINTER 4u  /* the operand would give VMfail */

struct mode_row {
        struct row head;
        u8 insn;          /* enum insn_id */
        u8 state;         /* enum mode_state */
        u8 mode;          /* enum raw_mode, or of a guest enum guest_mode */
        u8 flags;
        struct vmx_result outcome;
};

/* The body of a table of struct mode_row. */
void mode_run(const struct test_case *self, unsigned row);

#define MODES(name, rows, ...) \
        TABLE(name, rows, __VA_ARGS__) { mode_run(self, row); }

#define MODE_ROW(ID, TITLE, RULES, NEEDS, INSN, STATE, MODE, FLAGS, ...)       \
        { ROW(ID, TITLE, RULES, NEEDS), .insn = INSN, .state = STATE,          \
          .mode = MODE, .flags = FLAGS, .outcome = __VA_ARGS__ }
#ifndef ROW
#define ROW(...) .head = { __VA_ARGS__ }
#endif

/* #GP(0) at the CPLs at which the kernel's pages are accessible. */
#define MODE_ROWS_INNER_CPL(N, ID, RULES, STATE)                               \
        MODE_ROW(ID ".cpl1", #N " at CPL 1", RULES, NULL, INSN_##N, STATE,     \
                 RAW_CPL1, 0, FAULT_CODE(VEC_GP, 0)),                          \
        MODE_ROW(ID ".cpl2", #N " at CPL 2", RULES, NULL, INSN_##N, STATE,     \
                 RAW_CPL2, 0, FAULT_CODE(VEC_GP, 0))

/* #UD in modes: @N as in the catalogue's ids (INS_N_UD_...), of every state. */
#define MODE_ROWS_UD(N)                                                        \
        MODE_ROW("outside.real", #N " in real-address mode",                   \
                 "INS_" #N "_UD_REAL", "host32", INSN_##N, STATE_OFF,          \
                 RAW_REAL, 0, FAULT(VEC_UD)),                                  \
        MODE_ROW("outside.v86", #N " in virtual-8086 mode outside VMX",        \
                 "INS_" #N "_UD_V86", "host32", INSN_##N, STATE_OFF,           \
                 RAW_V86, 0, FAULT(VEC_UD)),                                   \
        MODE_ROW("root.v86", #N " in virtual-8086 mode in VMX root operation", \
                 "INS_" #N "_UD_V86", "host32", INSN_##N, STATE_ROOT,          \
                 RAW_V86, 0, FAULT(VEC_UD)),                                   \
        MODE_ROW("root.compat", #N " in compatibility mode, VMX root",         \
                 "INS_" #N "_UD_COMPAT", "host64", INSN_##N, STATE_ROOT,       \
                 RAW_COMPAT, 0, FAULT(VEC_UD)),                                \
        MODE_ROW("root.compat-cpl3",                                           \
                 #N " in compatibility mode at CPL 3, VMX root",               \
                 "INS_" #N "_UD_COMPAT", "host64", INSN_##N, STATE_ROOT,       \
                 RAW_COMPAT_CPL3, 0, FAULT(VEC_UD)),                           \
        MODE_ROW("root.lock", "LOCK " #N " in VMX root operation",             \
                 "INS_" #N "_UD_LOCK", NULL, INSN_##N, STATE_ROOT,             \
                 RAW_NATIVE, MODE_LOCK, FAULT(VEC_UD)),                        \
        MODE_ROW("guest.real", #N " in a guest in real-address mode",          \
                 "INS_" #N "_UD_REAL", "unrestricted-guest", INSN_##N,         \
                 STATE_GUEST, GUEST_REAL, 0, FAULT(VEC_UD)),                   \
        MODE_ROW("guest.v86", #N " in a guest in virtual-8086 mode",           \
                 "INS_" #N "_UD_V86", NULL, INSN_##N, STATE_GUEST, GUEST_V86,  \
                 0, FAULT(VEC_UD)),                                            \
        MODE_ROW("guest.compat", #N " in a guest in compatibility mode",       \
                 "INS_" #N "_UD_COMPAT", "host64", INSN_##N, STATE_GUEST,      \
                 GUEST_COMPAT, 0, FAULT(VEC_UD)),                              \
        MODE_ROW("guest.compat-cpl3",                                          \
                 #N " in a guest in compatibility mode at CPL 3",              \
                 "INS_" #N "_UD_COMPAT", "host64", INSN_##N, STATE_GUEST,      \
                 GUEST_COMPAT, MODE_CPL3, FAULT(VEC_UD)),                      \
        MODE_ROW("guest.lock", "LOCK " #N " in a guest",                       \
                 "INS_" #N "_UD_LOCK", NULL, INSN_##N, STATE_GUEST,            \
                 GUEST_NATIVE, MODE_LOCK, FAULT(VEC_UD))

/* The same and what the instructions other than VMXON and VMCALL share. */
#define MODE_ROWS(N)                                                           \
        MODE_ROWS_UD(N),                                                       \
        MODE_ROW("outside", #N " outside VMX operation",                       \
                 "INS_" #N "_UD_OUTSIDE_VMX", NULL, INSN_##N, STATE_OFF,       \
                 RAW_NATIVE, 0, FAULT(VEC_UD)),                                \
        MODE_ROW("outside.vmxe-0",                                             \
                 #N " outside VMX operation with CR4.VMXE = 0",                \
                 "INS_" #N "_UD_OUTSIDE_VMX", NULL, INSN_##N,                  \
                 STATE_OFF_VMXE0, RAW_NATIVE, 0, FAULT(VEC_UD)),               \
        MODE_ROW("outside.cpl3", #N " outside VMX operation at CPL 3",         \
                 "INS_" #N "_UD_OUTSIDE_VMX", NULL, INSN_##N, STATE_OFF,       \
                 RAW_CPL3, 0, FAULT(VEC_UD)),                                  \
        MODE_ROW("outside.vmxe-0.cpl3",                                        \
                 #N " outside VMX operation at CPL 3 with CR4.VMXE = 0",       \
                 "INS_" #N "_UD_OUTSIDE_VMX", NULL, INSN_##N,                  \
                 STATE_OFF_VMXE0, RAW_CPL3, 0, FAULT(VEC_UD)),                 \
        MODE_ROWS_INNER_CPL(N, "root", "INS_" #N "_GP_CPL", STATE_ROOT),       \
        MODE_ROW("root.cpl3", #N " at CPL 3, its operand a supervisor page",   \
                 "INS_" #N "_GP_CPL", NULL, INSN_##N, STATE_ROOT, RAW_CPL3, 0, \
                 FAULT_CODE(VEC_GP, 0)),                                       \
        MODE_ROW("root.cpl3.bad-pointer",                                      \
                 #N " at CPL 3 where at CPL 0 it would fail",                  \
                 "INS_" #N "_GP_CPL", NULL, INSN_##N, STATE_ROOT, RAW_CPL3,    \
                 MODE_BAD_POINTER, FAULT_CODE(VEC_GP, 0))

#endif
