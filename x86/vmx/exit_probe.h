/*
 * Boundary pairs for instructions that cause VM exits: tables of rows. Each row
 * runs one instruction twice from the same baseline: on the one side it must
 * execute and the guest reach the VMCALL behind it, on the other it must exit
 * as the row says, with nothing done.
 */
#ifndef X86_VMX_EXIT_PROBE_H
#define X86_VMX_EXIT_PROBE_H

#include "lib/check.h"
#include "x86/vmx/guest.h"
#include "x86/vmx/guest_env.h"

struct exit_probe {
        struct row head;
        enum guest_mode mode;
        const struct program *program; /* the instruction, then VMCALL */
        void (*prepare)(struct vm *vm); /* on both sides, before the edits */
        const struct edit *given;      /* on both sides */
        const struct edit *runs;       /* edits of the side that executes */
        const struct edit *exits;      /* of the side that exits */
        bool always;                   /* there is no side that executes */
        bool never;                    /* there is no side that exits */
        u8 faults;                     /* the executing side ends in this
                                        * exception's handler; 0: in VMCALL */
        u32 error;                     /* with this error code */
        struct vmx_result outcome;     /* of the side that exits */
        u64 ignore;                    /* bits of the qualification that the
                                        * SDM leaves undefined */
        /* Further checks of what the exit left, if it was as wanted. */
        void (*check)(struct vm *vm);
};

/*
 * Enters @vm, whose program is @program: it must come to its VMCALL, the last
 * instruction, with no event on the way.
 */
bool exit_probe_ran(struct vm *vm, struct program program, const char *what);

/* Runs the row; the body of a table of struct exit_probe. */
void exit_probe_run(const struct test_case *self, unsigned row);

#define EXIT_PROBES(name, rows, ...) \
        TABLE(name, rows, __VA_ARGS__) { exit_probe_run(self, row); }

/*
 * ONE(name, "instruction"): a program of it and VMCALL; RUN(name) in a row.
 * Operands: the guest's registers hold what vm_begin() put there or prepare()
 * sets.
 */
/* The name of the accumulator of the build, for operands. */
#ifdef __x86_64__
#define AX "rax"
#define SP "rsp"
#define SI "rsi"
#define CX "rcx"
#define DX "rdx"
#else
#define AX "eax"
#define SP "esp"
#define SI "esi"
#define CX "ecx"
#define DX "edx"
#endif

#define ONE(name, instruction) ONE_IN(name, NATIVE_BITS, instruction)
#define ONE_IN(name, bits, instruction) \
        PROGRAM(name, bits, instruction "\nvmcall\n")
#define RUN(name) .program = &name

#endif
