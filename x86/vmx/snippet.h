/*
 * One instruction, run with every general register, RFLAGS and the segment
 * registers given, and all of them seen afterwards: what x86/vmx/instr.h does
 * not show. The bytes can be copied as well, to run in other modes.
 */
#ifndef X86_VMX_SNIPPET_H
#define X86_VMX_SNIPPET_H

#include "x86/desc.h"
#include "x86/trap.h"
#include "x86/vmx/guest.h"
#include "x86/vmx/result.h"

struct snippet {
        const u8 *start, *end;
};

#ifdef __x86_64__
#define SNIPPET_RETURN "ret\n"
#else
#define SNIPPET_RETURN "lret\n"
#endif

/* The names of the full-width registers, for instructions of both builds. */
#ifdef __x86_64__
#define R_(name) "%r" name
#else
#define R_(name) "%e" name
#endif
#define RAX R_("ax")
#define RCX R_("cx")
#define RDX R_("dx")
#define RBX R_("bx")
#define RSP R_("sp")
#define RBP R_("bp")

/*
 * SNIPPET(name, "instruction"): exactly one instruction, assembled for the
 * build's width. An exception of it is caught.
 */
#define SNIPPET(name, code)                                                   \
        asm(".pushsection .text.snippet, \"ax\", @progbits\n"                 \
            #name "_start:\n" code "\n" #name "_end:\n" SNIPPET_RETURN        \
            EXTABLE(#name "_start", #name "_end") ".popsection\n");           \
        extern const u8 name##_start[], name##_end[];                         \
        __attribute__((unused))                                               \
        static const struct snippet name = { name##_start, name##_end }

/* For tables: the same as a constant expression. */
#define SNIPPET_OF(name) { name##_start, name##_end }

static inline size_t snippet_size(const struct snippet *s)
{
        return (size_t)(s->end - s->start);
}

/* What is loaded before the instruction, and holds what was there after it. */
struct snippet_state {
        struct guest_regs regs;
        ulong flags;
        const u8 *code;       /* set by snippet_run() */
        u32 cs;               /* i386 only */
        u32 ds, es, fs, gs, ss;
};

/*
 * A state to change and run: the registers unlike each other and unlike 0, the
 * six arithmetic flags set, the kernel's segments.
 */
struct snippet_state snippet_state(void);

/*
 * Runs @s. The stack pointer is this kernel's and comes back as it was; on
 * i386 a code segment other than SEL_CODE needs an enclosing trap_call().
 */
__attribute__((warn_unused_result))
struct vmx_result snippet_run(const struct snippet *s, struct snippet_state *state);

#endif
