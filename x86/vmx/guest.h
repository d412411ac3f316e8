/*
 * Virtual machines: a VMCS filled from the capability MSRs so that VM entry must
 * succeed, the guest's registers, and entering it.
 *
 * A case begins with vm_begin(), edits the VMCS, and enters as often as it
 * likes. Every guest runs in the kernel's own memory, identity-mapped, with
 * descriptor tables, page tables and stacks of its own (x86/vmx/guest_env.h).
 */
#ifndef X86_VMX_GUEST_H
#define X86_VMX_GUEST_H

#include "x86/vmx/result.h"
#include "x86/vmx/vmcs.h"

enum guest_mode {
        GUEST_NATIVE,     /* GUEST_LONG in x86_64 builds, GUEST_PAE in i386 */
        GUEST_LONG,       /* 64-bit mode; x86_64 builds only */
        GUEST_COMPAT,     /* compatibility mode; x86_64 builds only */
        GUEST_PAE,        /* 32-bit protected mode, PAE paging */
        GUEST_32,         /* 32-bit protected mode, 32-bit paging, 4-MiB pages */
        GUEST_V86,        /* virtual-8086 mode over PAE paging, IOPL 3 */
        GUEST_PROTECTED,  /* protected mode without paging; unrestricted guest */
        GUEST_REAL,       /* real-address mode; unrestricted guest */
        GUEST_MODES,
};

/* The registers that VM entry and VM exit leave to software. */
struct guest_regs {
        ulong rax, rcx, rdx, rbx, rbp, rsi, rdi;
#ifdef __x86_64__
        ulong r8, r9, r10, r11, r12, r13, r14, r15;
#endif
};

/*
 * Code for a guest, written beside the case. It stands in the image and runs
 * there; for GUEST_REAL and GUEST_V86 vm_program() copies it below 1 MiB.
 */
struct program {
        const u8 *start, *end;
};

#ifdef __x86_64__
#define CODE_NATIVE ".code64\n"
#else
#define CODE_NATIVE ".code32\n"
#endif

/*
 * PROGRAM(name, bits, "instruction\n" ...): assembled for @bits (16, 32 or 64,
 * or PROGRAM_NATIVE). It should end in VMCALL; what runs on after its end gives
 * VMCALL again. Labels: numeric ones only.
 */
#ifdef __x86_64__
#define NATIVE_BITS 64
#else
#define NATIVE_BITS 32
#endif
#define PROGRAM(name, bits, code) PROGRAM_(name, bits, code)
#define PROGRAM_(name, bits, code)                                          \
        asm(".pushsection .text.guest, \"ax\", @progbits\n"                 \
            ".code" #bits "\n"                                              \
            ".balign 16\n" #name "_start:\n" code "\n" #name "_end:\n"      \
            "vmcall\nvmcall\n" CODE_NATIVE ".popsection\n");                \
        extern const u8 name##_start[], name##_end[];                       \
        __attribute__((unused))                                             \
        static const struct program name = { name##_start, name##_end }

struct vm {
        struct vmcs_region *region;
        u64 pointer;          /* physical address of the region */
        bool launched;        /* the VMCS's launch state */
        enum guest_mode mode;
        struct guest_regs regs;
        ulong entry_rip;      /* linear address at which the program begins */
};

/*
 * The standard start of a case: VMX operation on, the processor's standard VMCS
 * clear, current and current-state for @mode, the guest's registers different
 * from each other and from 0, its program a single VMCALL. Never fails (what
 * goes wrong makes the case an error).
 */
struct vm *vm_begin(enum guest_mode mode);

/* A further VM with a VMCS of its own; it is made current. */
struct vm *vm_new(enum guest_mode mode);

/* Makes the VMCS of @vm current (VMPTRLD). */
void vm_load(struct vm *vm);

/* VMCLEAR and VMPTRLD: launch state clear, the fields as they were. */
void vm_clear(struct vm *vm);

/*
 * Writes every field of the current VMCS that the processor has: those of a
 * valid guest in @mode, 0 for what it does not need.
 */
void vm_baseline(struct vm *vm, enum guest_mode mode);

/* The guest's next instruction: the beginning of @program. */
void vm_program(struct vm *vm, struct program program);

/* The program of vm_baseline(): one VMCALL. */
extern const struct program program_vmcall;

/*
 * VM entry by VMLAUNCH or VMRESUME as the launch state asks. A VM exit gives
 * exit reason and qualification; registers are in @vm.
 */
__attribute__((warn_unused_result))
struct vmx_result vm_enter(struct vm *vm);

/* The same by the instruction named, whatever the launch state. */
__attribute__((warn_unused_result))
struct vmx_result vm_launch(struct vm *vm);
__attribute__((warn_unused_result))
struct vmx_result vm_resume(struct vm *vm);

/*
 * Gives the VM-instruction error a value other than @expected_error, and the
 * exit-information fields (where they can be written) one that no exit gives,
 * so that stale values are noticed.
 */
void vm_poison(u32 expected_error);
#define POISON_REASON 0x0badu
#define POISON 0x5a5au
#define POISON_EVENT 0x80005a5au  /* of the event fields: valid, and no event */

/* True if VMWRITE can write the read-only fields (IA32_VMX_MISC[29]). */
bool vm_can_poison_exit(void);

/* Adds @length bytes of the exiting instruction to the guest's RIP. */
void vm_skip(void);

/* Reports exit information of the last VM exit as details of a finding. */
void vm_report_exit(void);

/* Turns a VM-execution, entry or exit control on or off in the current VMCS. */
void vm_control(u32 field, u64 set, u64 clear);

/* ROW(id, title, rules, needs): the head of a row of a table. */
#define ROW(...) .head = { __VA_ARGS__ }

/* Bits of a VMCS control field that a case sets: OR(SECONDARY_CONTROLS, ...)
 * alone has no effect while the primary controls do not activate it. */
#define WITH_SECONDARY(bits)                                             \
        OR(PRIMARY_CONTROLS, CTL_PRIMARY_ACTIVATE_SECONDARY),            \
        OR(SECONDARY_CONTROLS, bits)

#endif
