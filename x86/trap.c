#include "trap.h"
#include "../lib/string.h"
#include "../lib/suite.h"
#include "apic.h"
#include "memory.h"
#include "paging.h"

volatile u32 irq_count[256];
static irq_fn *handlers[256];
static bool irq_used;  /* one of the two is not as irq_reset() leaves it */

/* In trap.S. @catch receives what trap_unwind() needs. */
bool trap_enter_call(void (*fn)(void *), void *arg, ulong *catch);
bool trap_enter_iret(const ulong *frame, ulong ax, ulong *catch);
_Noreturn void trap_unwind(ulong catch);

struct extable_entry {
        u32 from, to;
};

const char *vector_name(unsigned vector)
{
        static const char names[][5] = {
                "#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF",
                "9", "#TS", "#NP", "#SS", "#GP", "#PF", "15", "#MF", "#AC",
                "#MC", "#XM", "#VE", "#CP",
        };

        return vector < ARRAY_LEN(names) ? names[vector] : "";
}

void irq_set(unsigned vector, irq_fn *fn)
{
        handlers[vector] = fn;
        irq_used = true;
}

void irq_ignore(__attribute__((unused)) struct trap_frame *frame)
{
}

void irq_reset(void)
{
        if (!irq_used)
                return;
        irq_used = false;
        memset(handlers, 0, sizeof(handlers));
        memset((void *)irq_count, 0, sizeof(irq_count));
}

static irq_fn *handler_of(unsigned vector)
{
        /* These may come at any time, and mean nothing. */
        if (!handlers[vector] &&
            (vector == VEC_WAKE || vector == APIC_VEC_SPURIOUS))
                return irq_ignore;
        return handlers[vector];
}

static void record(struct trap *t, const struct trap_frame *f)
{
        bool outer = (f->cs & 3) || f->rflags & RFLAGS_VM;

        t->raised = true;
        t->vector = (u8)f->vector;
        t->has_error = f->error != (ulong)~0ul;
        t->error = t->has_error ? (u32)f->error : 0;
        t->rip = f->rip;
        t->cs = (u16)f->cs;
        t->rflags = f->rflags;
        /* i386 pushes no stack pointer if the privilege level stays. */
        t->rsp = sizeof(ulong) == 8 || outer ? f->rsp : (ulong)&f->rsp;
        t->cr2 = read_cr2();
        t->dr6 = f->vector == VEC_DB ? read_dr6() : 0;
}

static const struct extable_entry *fixup(const struct trap_frame *f)
{
        extern const struct extable_entry extable_start[], extable_end[];

        if ((u16)f->cs != SEL_CODE || f->rflags & RFLAGS_VM)
                return NULL;
        for (const struct extable_entry *e = extable_start; e < extable_end; e++)
                if (e->from == f->rip)
                        return e;
        return NULL;
}

/* Ends the service of an external interrupt; INT n leaves no bit in ISR. */
static void end_interrupt(const struct cpu *cpu, unsigned vector)
{
        if (vector >= 32 && vector != APIC_VEC_SPURIOUS && cpu->apic_on &&
            apic_vector_bit(APIC_ISR, (u8)vector))
                apic_eoi();
}

static _Noreturn void unexpected(const struct trap *t)
{
        suite_panic("unexpected %s (vector %u) error %s%x at %x:%llx cr2 %llx "
                    "rsp %llx", vector_name(t->vector), t->vector,
                    t->has_error ? "" : "none ", t->error, t->cs,
                    (unsigned long long)t->rip, (unsigned long long)t->cr2,
                    (unsigned long long)t->rsp);
}

void trap_handler(struct trap_frame *f)
{
        struct cpu *cpu = this_cpu();
        unsigned vector = (unsigned)f->vector;
        bool exception = vector < 32 && vector != VEC_NMI;
        const struct extable_entry *e;

        if (cpu->magic != CPU_MAGIC) {
                struct trap t;

                record(&t, f);
                unexpected(&t);
        }
        e = exception ? fixup(f) : NULL;
        if (e) {
                record(&cpu->trap, f);
                f->rip = e->to;
                return;
        }
        if (handler_of(vector)) {
                irq_used = true;
                irq_count[vector]++;
                handler_of(vector)(f);
                end_interrupt(cpu, vector);
                return;
        }
        record(&cpu->trap, f);
        if (!cpu->catch_rsp)
                unexpected(&cpu->trap);
        end_interrupt(cpu, vector);
        trap_unwind(cpu->catch_rsp);
}

/* The common end of everything that can be unwound to. */
static bool caught(struct cpu *cpu, ulong outer, bool raised, struct trap *t)
{
        cpu->catch_rsp = outer;
        if (raised && cpu->trap.vector == TRAP_END)
                cpu->trap.raised = raised = false;
        if (t) {
                if (raised)
                        *t = cpu->trap;
                else
                        *t = (struct trap){ .vector = cpu->trap.vector };
        }
        return raised;
}

bool trap_call(void (*fn)(void *), void *arg, struct trap *t)
{
        struct cpu *cpu = this_cpu();
        ulong outer = cpu->catch_rsp;

        return caught(cpu, outer, trap_enter_call(fn, arg, &cpu->catch_rsp), t);
}

/* @frame: what IRET loads. Runs it as trap_call() runs a function. */
static bool run_frame(const ulong *frame, ulong arg, struct trap *t)
{
        struct cpu *cpu = this_cpu();
        ulong outer = cpu->catch_rsp;
        bool raised = trap_enter_iret(frame, arg, &cpu->catch_rsp);

        return caught(cpu, outer, raised, t);
}

/* Fills *@page (allocated at the first use); what lies behind ends the run. */
static ulong copy_code(u8 **page, u8 *(*alloc)(void), const void *code)
{
        static const u8 end[] = { 0xcd, TRAP_END };

        if (!*page)
                *page = alloc();
        memcpy(*page, code, TRAP_CODE_SIZE);
        memcpy(*page + TRAP_CODE_SIZE, end, sizeof(end));
        return (ulong)*page;
}

static u8 *code_page(void)
{
        return page_keep(1);
}

/* The code's page is the user's while it runs, and only then. */
static bool run_as_user(const ulong *frame, u8 *page, ulong arg, struct trap *t)
{
        u64 flags = PTE_P | PTE_W | PTE_A | PTE_D;
        bool raised;

        paging_set(page, flags | PTE_U);
        raised = run_frame(frame, arg, t);
        paging_set(page, flags);
        return raised;
}

bool trap_at_cpl3_arg(const void *code, ulong arg, struct trap *t)
{
        static u8 *page;
        ulong rip = copy_code(&page, code_page, code);
        ulong frame[9] = { rip, SEL_USER_CODE, RFLAGS_FIXED, rip + PAGE_SIZE,
                           SEL_USER_DATA };

        write_ds(SEL_USER_DATA);  /* IRET would clear one of DPL 0 */
        write_es(SEL_USER_DATA);
        return run_as_user(frame, page, arg, t);
}

bool trap_at_inner_cpl_arg(unsigned cpl, const void *code, ulong arg, struct trap *t)
{
        static u8 *page;
        const u64 flat = DESC_S | DESC_DPL(cpl) | DESC_P | DESC_G;
        const u64 width = sizeof(ulong) == 8 ? DESC_L : DESC_DB;
        ulong rip = copy_code(&page, code_page, code);
        u64 *spare = &this_cpu()->gdt[SEL_SPARE / 8];
        ulong frame[5] = { rip, SEL_SPARE | cpl, RFLAGS_FIXED, rip + PAGE_SIZE,
                           (SEL_SPARE + 8) | cpl };

        spare[0] = desc_make(0, 0xfffff, flat | width | DESC_TYPE(11));
        spare[1] = desc_make(0, 0xfffff, flat | DESC_DB | DESC_TYPE(3));
        write_ds(SEL_USER_DATA);  /* as for CPL 3 */
        write_es(SEL_USER_DATA);
        return run_frame(frame, arg, t);
}

bool trap_at_cpl3(const void *code, struct trap *t)
{
        return trap_at_cpl3_arg(code, 0, t);
}

#ifdef __x86_64__
bool trap_in_compat_arg(const void *code, ulong arg, struct trap *t)
{
        static u8 *page;
        ulong rip = copy_code(&page, code_page, code);
        /* No change of privilege: exceptions arrive on the stack in use. */
        ulong stack = (read_rsp() - 1024) & ~15ul;
        ulong frame[5] = { rip, SEL_CODE32, RFLAGS_FIXED, stack, SEL_DATA };

        return run_frame(frame, arg, t);
}

bool trap_in_compat(const void *code, struct trap *t)
{
        return trap_in_compat_arg(code, 0, t);
}
#else
static u8 *low_code_page(void)
{
        return low_page_keep(1);
}

bool trap_in_v86_arg(const void *code, ulong arg, struct trap *t)
{
        static u8 *page;
        ulong segment = copy_code(&page, low_code_page, code) >> 4;
        ulong frame[9] = { 0, segment, RFLAGS_VM | RFLAGS_IOPL | RFLAGS_FIXED,
                           PAGE_SIZE - 2, segment, segment, segment, segment,
                           segment };

        return run_as_user(frame, page, arg, t);
}

bool trap_in_v86(const void *code, struct trap *t)
{
        return trap_in_v86_arg(code, 0, t);
}
#endif
