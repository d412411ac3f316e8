/*
 * Is the target sane? The runner starts this kernel first: a processor that
 * can not divide or deliver an exception gives verdicts that mean nothing.
 * No case needs VMX. What emulators without VMX are known to get wrong, and
 * what no VMX case builds upon, is left out.
 */
#include "lib/check.h"
#include "lib/string.h"
#include "preflight_alu.h"
#include "preflight_exceptions.h"
#include "x86/apic.h"
#include "x86/memory.h"
#include "x86/paging.h"
#include "x86/trap.h"

struct alu_run {
        const struct alu *row;
        ulong ax, dx, flags;
};

static void alu_run(void *arg)
{
        struct alu_run *r = arg;

        asm volatile("push %[before]; popf; call *%[code]; pushf; pop %[after]"
                     : "+a"(r->ax), "+d"(r->dx), [after] "=r"(r->flags)
                     : "c"(r->row->cx), [code] "r"(r->row->code),
                       [before] "r"(r->row->flags | RFLAGS_FIXED)
                     : "cc", "memory");
}

TABLE(arithmetic, alu, .id = "preflight.alu",
      .title = "result and flags of an integer instruction",
      .sdm = "Instruction Set Reference", .rules = "", .needs = "any")
{
        const struct alu *a = case_row(self, row);
        struct alu_run r = { .row = a, .ax = a->ax, .dx = a->dx };
        struct trap t;

        trap_call(alu_run, &r, &t);
        CHECK_EQ("an exception", t.raised, false);
        CHECK_EQ("AX", r.ax, a->want_ax);
        CHECK_EQ("DX", r.dx, a->want_dx);
        CHECK_MASKED("flags", r.flags, a->want_flags, a->defined);
}

/* As the compiler does it: in the i386 build by x86/div64.c. */
static const volatile struct {
        u64 a, b, quotient, rest;
        bool is_signed;
} divisions[] = {
        { 0xfedcba9876543210ull, 0x123456789ull, 0xe0000000, 0x96543210,
          false },
        { 0xfedcba9876543210ull, 0xa, 0x197c790f3f086b68ull, 0x0, false },
        { 0xffffffffffffffffull, 0xffffffff00000001ull, 0x1, 0xfffffffe,
          false },
        { 0xffffffffffffffffull, 0x8000000000000000ull, 0x1,
          0x7fffffffffffffffull, false },
        { 0x5, 0x100000000ull, 0x0, 0x5, false },
        { 0x123456789abcdefull, 0x100000000ull, 0x1234567, 0x89abcdef, false },
        { 0xf000000000000001ull, 0xf000000000000000ull, 0x1, 0x1, false },
        { 0xeeddef0b82167eebull, 0x3ade68b1, 0xffffffffb57e838cull,
          0xffffffffd4c4ab1full, true },
        { 0xfffffffffffffff9ull, 0x2, 0xfffffffffffffffdull,
          0xffffffffffffffffull, true },
        { 0x7, 0xfffffffffffffffeull, 0xfffffffffffffffdull, 0x1, true },
        { 0x8000000000000001ull, 0x100000001ull, 0xffffffff80000001ull,
          0xffffffff80000000ull, true },
        { 0x7fffffffffffffffull, 0xfffffedcba987655ull, 0xffffffffff8f8000ull,
          0x5a7fff, true },
};

CASE(division, .id = "preflight.division", .title = "64-bit division in C",
     .sdm = "Instruction Set Reference > DIV", .rules = "", .needs = "any")
{
        for (unsigned i = 0; i < ARRAY_LEN(divisions); i++) {
                u64 a = divisions[i].a, b = divisions[i].b;
                bool s = divisions[i].is_signed;

                CHECK_EQ("quotient", s ? (u64)((s64)a / (s64)b) : a / b,
                         divisions[i].quotient);
                CHECK_EQ("rest", s ? (u64)((s64)a % (s64)b) : a % b,
                         divisions[i].rest);
        }
}

#define SIZE 96

/* After each string instruction the registers say how far it got. */
CASE(strings, .id = "preflight.strings", .title = "string instructions",
     .sdm = "Instruction Set Reference > REP/REPE/REPZ/REPNE/REPNZ",
     .rules = "", .needs = "any")
{
        u8 a[SIZE], b[SIZE];
        ulong si = (ulong)a, di = (ulong)b, n = SIZE, flags;
        unsigned differ = 0;

        for (unsigned i = 0; i < SIZE; i++) {
                a[i] = (u8)(i * 37 + 11);
                b[i] = 0;
        }
        asm volatile("cld; rep movsb"
                     : "+S"(si), "+D"(di), "+c"(n) : : "memory", "cc");
        CHECK_EQ("count after REP MOVSB", n, 0);
        CHECK_EQ("source after REP MOVSB", si, (ulong)a + SIZE);
        CHECK_EQ("destination after REP MOVSB", di, (ulong)b + SIZE);
        for (unsigned i = 0; i < SIZE; i++)
                differ += b[i] != (u8)(i * 37 + 11);
        CHECK_EQ("bytes that REP MOVSB copied wrongly", differ, 0);

        b[70] ^= 1;
        si = (ulong)a, di = (ulong)b, n = SIZE;
        asm volatile("repe cmpsb; pushf; pop %3"
                     : "+S"(si), "+D"(di), "+c"(n), "=r"(flags)
                     : : "memory", "cc");
        CHECK_EQ("count after REPE CMPSB", n, SIZE - 71);
        CHECK_EQ("source after REPE CMPSB", si, (ulong)a + 71);
        CHECK_EQ("ZF after REPE CMPSB", flags & ZF, 0);

        di = (ulong)a, n = SIZE;
        asm volatile("repne scasb" : "+D"(di), "+c"(n)
                     : "a"((u8)(50 * 37 + 11)) : "memory", "cc");
        CHECK_EQ("destination after REPNE SCASB", di, (ulong)a + 51);

        /* Downwards by doublewords: the last one stays. */
        di = (ulong)b + 16, n = 4;
        asm volatile("std; rep stosl; cld" : "+D"(di), "+c"(n)
                     : "a"(0x11223344) : "memory", "cc");
        CHECK_EQ("destination after REP STOSL with DF", di, (ulong)b);
        CHECK_EQ("the byte below", b[3], (u8)(3 * 37 + 11));
        CHECK_EQ("the first byte", b[4], 0x44);
        CHECK_EQ("the last byte", b[19], 0x11);
        CHECK_EQ("the byte above", b[20], (u8)(20 * 37 + 11));
}

static void check_trap(const struct trap *t, u8 vector, bool has_error,
                       u32 error)
{
        CHECK_EQ("an exception", t->raised, true);
        CHECK_EQ("vector", t->vector, vector);
        CHECK_EQ("an error code was pushed", t->has_error, has_error);
        CHECK_EQ("error code", t->error, error);
}

static void call(const u8 *code, struct trap *t)
{
        trap_call((void (*)(void *))(ulong)code, NULL, t);
}

TABLE(exception, exceptions, .id = "preflight.exception",
      .title = "an exception, its error code and its return address",
      .sdm = "Interrupt and Exception Handling > "
             "Exception and Interrupt Reference",
      .rules = "", .needs = "any")
{
        const struct exception *e = case_row(self, row);
        struct desc_ptr p = sidt();
        struct trap t;

        this_cpu()->gdt[SEL_SPARE / 8] =
                desc_make(0, 0xffff, DESC_TYPE(3) | DESC_S);
        p.limit = 0x60 * sizeof(idt[0]) - 1;
        lidt(p);
        write_dr6(0);
        call(e->code, &t);
        write_cr0(boot_cr0);
        check_trap(&t, e->vector, e->has_error, e->error);
        CHECK_EQ("RIP saved", t.rip, (ulong)e->at);
        if (e->vector == VEC_DB)
                CHECK_MASKED("DR6", t.dr6, DR6_BS, DR6_BS | 15);
}

/* A #GP whose own gate is not present: contributory upon contributory. */
CASE(double_fault, .id = "preflight.exception.df",
     .title = "#DF: an exception while another is delivered",
     .sdm = "Interrupt and Exception Handling > "
            "Exception and Interrupt Reference",
     .rules = "", .needs = "any")
{
        struct trap t;

        idt[VEC_GP].type &= 0x7f;
        call(x_limit, &t);
        idt[VEC_GP].type |= 0x80;
        check_trap(&t, VEC_DF, true, 0);
}

CODE(user_hlt, "hlt");
CODE(user_int, "int $0x50");
CODE(user_read, "mov (" AX "), %cl; int $0x40");
CODE(user_write, "mov %cl, (" AX "); int $0x40");
CODE(user_good, "push " AX "; pop " AX "; int $0x40");

CASE(user, .id = "preflight.user", .title = "privilege level 3",
     .sdm = "Protection > Privilege Levels", .rules = "", .needs = "any")
{
        struct trap t;

        CHECK_EQ("an exception", trap_at_cpl3(user_good, &t), false);
        CHECK_EQ("the vector of INT 40H", t.vector, TRAP_END);
        trap_at_cpl3(user_hlt, &t);
        check_trap(&t, VEC_GP, true, 0);
        CHECK_EQ("CPL", t.cs & 3, 3);
        trap_at_cpl3(user_int, &t);
        CHECK_EQ("vector after INT 50H", t.vector, VEC_GP);
        CHECK_MASKED("error code after INT 50H", t.error, ERR_IDT,
                     ERR_IDT | ERR_TI | ERR_EXT);
}

/* The page is mapped with @flags. */
static const struct fault {
        struct row head;
        u64 flags;
        enum { READ, WRITE, FETCH, USER_READ, USER_WRITE } access;
        bool fault;
        u32 error;
} faults[] = {
#define ROW(name, ...) { { name, NULL, NULL, NULL }, __VA_ARGS__ }
#define RW (PTE_P | PTE_W)
        ROW("read", RW, READ, false, 0),
        ROW("write", RW, WRITE, false, 0),
        ROW("read-absent", PTE_W, READ, true, 0),
        ROW("write-absent", PTE_W, WRITE, true, PF_W),
        ROW("read-only-read", PTE_P, READ, false, 0),
        ROW("read-only-write", PTE_P, WRITE, true, PF_P | PF_W),
        ROW("user-read", RW | PTE_U, USER_READ, false, 0),
        ROW("user-write", RW | PTE_U, USER_WRITE, false, 0),
        ROW("user-read-supervisor", RW, USER_READ, true, PF_P | PF_U),
        ROW("user-write-read-only", PTE_P | PTE_U, USER_WRITE, true,
            PF_P | PF_W | PF_U),
        ROW("user-read-absent", 0, USER_READ, true, PF_U),
        ROW("fetch", RW, FETCH, false, 0),
        { { "fetch-nx", NULL, NULL, "nx" },
          RW | PTE_NX, FETCH, true, PF_P | PF_I },
        { { "read-nx", NULL, NULL, "nx" }, RW | PTE_NX, READ, false, 0 },
#undef ROW
};

TABLE(page_fault, faults, .id = "preflight.page",
      .title = "a page fault or none: error code, CR2, accessed and dirty flag",
      .sdm = "Paging > Page-Fault Exceptions", .rules = "", .needs = "any")
{
        const struct fault *f = case_row(self, row);
        u8 *page = page_alloc(1), *at = page + 0x123;
        bool writes = f->access == WRITE || f->access == USER_WRITE;
        u64 used = f->fault ? 0 : writes ? PTE_A | PTE_D : PTE_A;
        struct trap t = { 0 };

        memset(page, 0xc3, PAGE_SIZE);  /* RET */
        write_cr2(0);
        paging_map(page, phys(page), f->flags);
        switch (f->access) {
        case READ:
                t = load_u8_safe(at);
                break;
        case WRITE:
                t = store_u8_safe(at, 0xc3);
                break;
        case FETCH:
                call(at, &t);
                break;
        case USER_READ:
                trap_at_cpl3_arg(user_read, (ulong)at, &t);
                break;
        case USER_WRITE:
                trap_at_cpl3_arg(user_write, (ulong)at, &t);
        }
        CHECK_MASKED("accessed and dirty", paging_get(page), used,
                     PTE_A | PTE_D);
        if (!f->fault) {
                CHECK_EQ("an exception", t.raised, false);
                return;
        }
        check_trap(&t, VEC_PF, true, f->error);
        CHECK_EQ("CR2", t.cr2, (ulong)at);
}

CODE(watched, "movb $1, (" AX "); watched_at: ret");
extern const u8 watched_at[];

static u8 watched_byte;

static void touch(void *p)
{
        asm volatile("call watched" : : "a"(p) : "memory");
}

CASE(breakpoint, .id = "preflight.breakpoint", .title = "a data breakpoint",
     .sdm = "Debug, Branch Profile, TSC, and Intel Resource Director "
            "Technology (Intel RDT) Features > Debug Registers",
     .rules = "", .needs = "any")
{
        struct trap t;

        write_dr6(0);
        write_dr1((ulong)&watched_byte);
        write_dr7(DR7_FIXED | DR7_G(1) | DR7_RW(1, 1));
        trap_call(touch, &watched_byte, &t);
        write_dr7(DR7_INIT);
        write_dr1(0);
        check_trap(&t, VEC_DB, false, 0);
        CHECK_EQ("RIP saved", t.rip, (ulong)watched_at);
        CHECK_MASKED("DR6", t.dr6, DR6_B1, DR6_BS | 15);
        CHECK_EQ("the byte", watched_byte, 1);
        watched_byte = 0;
}

/* Different values 1 MiB apart must not meet: nothing wraps around. */
CASE(memory, .id = "preflight.memory", .title = "memory holds what is written",
     .sdm = "Memory Organization", .rules = "", .needs = "any")
{
        enum { STEP = 256, BLOCKS = 8 };
        u32 *p = page_alloc(BLOCKS * STEP), bad = 0;

        for (u32 i = 0; i < BLOCKS; i++)
                p[i * STEP * PAGE_SIZE / 4] = 0x01000193u * (i + 1);
        for (u32 i = 0; i < BLOCKS; i++)
                bad += p[i * STEP * PAGE_SIZE / 4] != 0x01000193u * (i + 1);
        CHECK_EQ("words that changed", bad, 0);
}

CASE(tsc, .id = "preflight.tsc", .title = "the time-stamp counter goes forward",
     .sdm = "Debug, Branch Profile, TSC, and Intel Resource Director "
            "Technology (Intel RDT) Features > Time-Stamp Counter",
     .rules = "", .needs = "any")
{
        u64 first = rdtsc(), last = first;
        unsigned backwards = 0;

        for (int i = 0; i < 1000; i++) {
                u64 now = rdtsc();

                backwards += now < last;
                last = now;
        }
        CHECK_EQ("steps backwards", backwards, 0);
        CHECK("progress", last > first, "it stands still");
}

CASE(timer, .id = "preflight.timer",
     .title = "the APIC timer counts down and interrupts once",
     .sdm = "Advanced Programmable Interrupt Controller (APIC) > APIC Timer",
     .rules = "", .needs = "any apic")
{
        u32 count = 20000, previous = count, now = 0, rises = 0;

        irq_set(0x51, irq_ignore);
        apic_timer(0x51, count);
        for (u32 i = 0; i < 10000000 && !apic_vector_bit(APIC_IRR, 0x51); i++) {
                now = apic_read(APIC_TIMER_CURRENT);
                rises += now > previous;
                previous = now;
        }
        CHECK_EQ("counts upwards", rises, 0);
        CHECK_EQ("the count at the end", apic_read(APIC_TIMER_CURRENT), 0);
        CHECK_EQ("interrupts while IF = 0", irq_count[0x51], 0);
        sti_nop_cli();
        CHECK_EQ("interrupts", irq_count[0x51], 1);
        CHECK_EQ("in service after EOI", apic_vector_bit(APIC_ISR, 0x51), false);
        apic_timer_stop();
}

CASE(interrupt, .id = "preflight.interrupt",
     .title = "interrupts sent to oneself arrive, the higher first; an NMI too",
     .sdm = "Advanced Programmable Interrupt Controller (APIC) > "
            "Issuing Interprocessor Interrupts",
     .rules = "", .needs = "any apic")
{
        irq_set(0x51, irq_ignore);
        irq_set(0x61, irq_ignore);
        irq_set(VEC_NMI, irq_ignore);
        apic_self_ipi(0x51);
        apic_self_ipi(0x61);
        CHECK_EQ("interrupts while IF = 0", irq_count[0x51] + irq_count[0x61], 0);
        apic_write(APIC_TPR, 0x50);
        sti_nop_cli();
        CHECK_EQ("vector 61H over TPR 50H", irq_count[0x61], 1);
        CHECK_EQ("vector 51H under TPR 50H", irq_count[0x51], 0);
        apic_write(APIC_TPR, 0);
        sti_nop_cli();
        CHECK_EQ("vector 51H over TPR 0", irq_count[0x51], 1);
        apic_icr(apic_id(), ICR_NMI | ICR_ASSERT);
        for (u32 i = 0; i < 1000000 && !irq_count[VEC_NMI]; i++)
                pause();
        CHECK_EQ("NMIs", irq_count[VEC_NMI], 1);
}

struct visit {
        volatile u32 index, apic_id;
        volatile u64 sum;
};

static void visit(void *arg)
{
        struct visit *v = arg;

        v->index = this_cpu()->index;
        v->apic_id = apic_id();
        for (u32 i = 1; i <= 1000; i++)
                v->sum += i;
}

CASE(second, .id = "preflight.second-processor",
     .title = "the second processor works, and is another one",
     .sdm = "Multiple-Processor Management > Multiple-Processor (MP) Initialization",
     .rules = "", .needs = "any cpus-2")
{
        struct visit v = { 0 };

        CHECK_EQ("work is taken", cpu_run(1, visit, &v), true);
        CHECK_EQ("work is done", cpu_wait(1, CPU_SPINS), true);
        CHECK_EQ("processor", v.index, 1);
        CHECK_EQ("sum", v.sum, 500500);
        CHECK("APIC id", v.apic_id != apic_id(), "both are 0x%x", v.apic_id);
}
