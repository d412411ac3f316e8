/*
 * VMX instructions as bytes, run in any mode: for what inline assembly does not
 * reach. The memory operand is at (R/E)AX, in 16-bit code at BX + SI; the
 * register operand is (R/E)CX.
 */
#ifndef X86_VMX_RAW_H
#define X86_VMX_RAW_H

#include "x86/vmx/guest.h"
#include "x86/vmx/instr.h"

enum insn_id {
        INSN_VMXON, INSN_VMXOFF, INSN_VMCLEAR, INSN_VMPTRLD, INSN_VMPTRST,
        INSN_VMREAD, INSN_VMWRITE, INSN_VMLAUNCH, INSN_VMRESUME, INSN_VMCALL,
        INSN_VMFUNC, INSN_INVEPT, INSN_INVVPID,
        INSNS
};

#define INSN_BYTES 5

struct insn {
        const char *name;
        u8 exit;              /* basic exit reason in VMX non-root operation */
        u8 size;
        u8 bytes[INSN_BYTES]; /* with ModR/M for the operands above */
        bool modrm;           /* the last byte is ModR/M, of a memory operand */
};

extern const struct insn insns[INSNS];

/* Machine code that is put together. */
struct code {
        u8 size;
        u8 bytes[63];
};

void code_add(struct code *code, const void *bytes, unsigned size);
void code_insn(struct code *code, enum insn_id id);
/* CODE_ADD(code, 0x0f, 0x01, 0xc1): bytes, in order. */
#define CODE_ADD(code, ...)                                     \
        code_add(code, (const u8[]){ __VA_ARGS__ },             \
                 sizeof((const u8[]){ __VA_ARGS__ }))

enum raw_mode {
        RAW_NATIVE,       /* CPL 0, of the build's width; all VMX_FLAGS set */
        RAW_CPL1,         /* the same at CPL 1 */
        RAW_CPL2,         /* the same at CPL 2 */
        RAW_CPL3,         /* the same at CPL 3 */
        RAW_COMPAT,       /* compatibility mode, CPL 0; x86_64 builds only */
        RAW_COMPAT_CPL3,  /* the same at CPL 3 */
        RAW_V86,          /* virtual-8086 mode, IOPL 3; i386 builds only */
        RAW_REAL,         /* real-address mode; i386 builds, outside VMX */
};

/*
 * Runs @code once with @ax in (R/E)AX and 0 in (R/E)CX and says what it did; an
 * exception is in *trap_last(). In RAW_NATIVE the code stands at raw_page(),
 * and must leave the stack and the registers that a function keeps as they were.
 */
u8 *raw_page(void);
__attribute__((warn_unused_result))
struct vmx_result raw_run(enum raw_mode mode, const struct code *code, ulong ax);

/* What an access that may fault did: VMX_EXCEPTION or VMX_SUCCEED. */
struct vmx_result raw_trap(struct trap t);

/*
 * What the flags of an instruction say. Unlike vmx_result_of() it can tell a
 * VMfailValid without a VM-instruction error from other failures (code ~0).
 */
struct vmx_result raw_flags(ulong flags);

/* The guest's program: @code, and VMCALL behind it; RAX is @ax. */
void raw_program(struct vm *vm, const struct code *code, ulong ax);

/*
 * Enters a guest at @code. An exit by an exception is given as VMX_EXCEPTION.
 * Every exception causes a VM exit.
 */
__attribute__((warn_unused_result))
struct vmx_result raw_guest(struct vm *vm, const struct code *code, ulong ax);

/* The guest of @vm, not yet entered and of CPL 0, begins at @cpl, or at CPL 3. */
void raw_guest_cpl(struct vm *vm, unsigned cpl);
void raw_guest_cpl3(struct vm *vm);

/* VMPTRST: the current-VMCS pointer; what fails makes the case fail. */
u64 current_vmcs(void);
#define NO_VMCS (~0ull)

#endif
