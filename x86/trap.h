/*
 * Exceptions and interrupts. The first of these that applies takes the event:
 * the fixup table (exceptions only); a handler set by irq_set(); an enclosing
 * trap_call() or trap_at_...(); else it is unexpected and ends the boot
 * (suite_panic).
 */
#ifndef X86_TRAP_H
#define X86_TRAP_H

#include "smp.h"

/*
 * In an asm statement: if the instruction at label @from raises an exception,
 * note it in this processor's trap record and go on at label @to; registers
 * and flags are as the exception left them. The stack must be this processor's.
 *
 *      trap_clear();
 *      asm volatile("1: rdmsr\n2:\n" EXTABLE("1b", "2b") : ...);
 *      if (trap_last()->raised) ...
 */
#define EXTABLE(from, to) \
        ".pushsection .extable, \"a\"\n\t.long " from ", " to "\n\t.popsection\n"

static inline void trap_clear(void)
{
        this_cpu()->trap.raised = false;
        barrier();
}

static inline const struct trap *trap_last(void)
{
        barrier();
        return &this_cpu()->trap;
}

/* Runs @fn(@arg). An exception anywhere in it (NMI too) ends it: returns true
 * and fills *@t. Else false, and t->raised is false. @t may be NULL. */
bool trap_call(void (*fn)(void *), void *arg, struct trap *t);

/*
 * The next ones copy TRAP_CODE_SIZE bytes from @code to a page of their own,
 * run them there until an exception, and say which. `int $0x40` is the orderly
 * end (TRAP_END): t->vector is 40H, t->raised and the value returned false.
 * @arg is in (E/R)AX at the beginning; the other general registers are 0, and
 * the stack is the end of the page (in compatibility mode: free space of the
 * caller's). The code must be position independent.
 */
#define TRAP_CODE_SIZE 512
#define TRAP_END 0x40
/* CPL 3, of the build's width; other pages are not accessible to it. */
bool trap_at_cpl3(const void *code, struct trap *t);
bool trap_at_cpl3_arg(const void *code, ulong arg, struct trap *t);
/* CPL 1 or 2, by descriptors at SEL_SPARE; all pages of the kernel are accessible. */
bool trap_at_inner_cpl_arg(unsigned cpl, const void *code, ulong arg, struct trap *t);
#ifdef __x86_64__
/* Compatibility mode, CPL 0 (32-bit code in SEL_CODE32). */
bool trap_in_compat(const void *code, struct trap *t);
bool trap_in_compat_arg(const void *code, ulong arg, struct trap *t);
#else
/* Virtual-8086 mode, IOPL 3 (16-bit code; CS = DS = ES = SS = the page). */
bool trap_in_v86(const void *code, struct trap *t);
bool trap_in_v86_arg(const void *code, ulong arg, struct trap *t);
#endif

/* What the entry code saves: the handler may change it, IRET loads it. */
struct trap_frame {
#ifdef __x86_64__
        ulong r15, r14, r13, r12, r11, r10, r9, r8;
        ulong rdi, rsi, rbp, rbx, rdx, rcx, rax;
#else
        ulong es, ds;
        ulong rdi, rsi, rbp, unused, rbx, rdx, rcx, rax;
#endif
        ulong vector;
        ulong error;          /* ~0: none was pushed */
        ulong rip, cs, rflags;
        ulong rsp, ss;        /* i386: only if the privilege level changed */
};

/*
 * A handler runs with interrupts off on the stack that the event chose. For a
 * vector from 32 on it need not send EOI: the entry code does after it (not for
 * the spurious vector FFH).
 */
typedef void irq_fn(struct trap_frame *frame);
void irq_set(unsigned vector, irq_fn *fn);  /* NULL: unexpected again */
void irq_ignore(struct trap_frame *frame);  /* a handler: only counts */
extern volatile u32 irq_count[256];         /* events that reached a handler */
void irq_reset(void);                       /* no handlers, counts 0 */

/* Used by the entry code only. */
void trap_handler(struct trap_frame *frame);
const char *vector_name(unsigned vector);   /* "#GP", "NMI"...; "" from 32 on */

#endif
