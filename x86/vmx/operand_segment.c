/* The places of 32-bit mode: limits, types and null selectors of segments. */
#ifndef __x86_64__
#include "x86/vmx/operand_place.h"

/* Above all memory that is used: what a segment with base 0 can end at. */
#define HIGH_PAGE 0x08000000u

/* How a segment register is pushed, loaded from DX, named and popped. */
struct seg {
        u8 size, push[2], load, prefix, pop[2];
};

static const struct seg seg_ds = { 1, { 0x1e }, 0xda, 0x3e, { 0x1f } };
static const struct seg seg_es = { 1, { 0x06 }, 0xc2, 0x26, { 0x07 } };
static const struct seg seg_fs = { 2, { 0x0f, 0xa0 }, 0xe2, 0x64, { 0x0f, 0xa1 } };
static const struct seg seg_gs = { 2, { 0x0f, 0xa8 }, 0xea, 0x65, { 0x0f, 0xa9 } };

#define CODE_XR 11    /* types of segments, accessed */
#define CODE_X 9
#define DATA_RW 3
#define DATA_R 1

static u16 spare(u32 base, u32 limit, u32 type, u64 more)
{
        this_cpu()->gdt[SEL_SPARE / 8] =
                desc_make(base, limit, DESC_S | DESC_P | DESC_DB |
                                       DESC_TYPE(type) | more);
        return SEL_SPARE;
}

static u16 flat_segment(u32 type)
{
        return spare(0, 0xfffff, type, DESC_G);
}

static void with_segment(struct operand *o, const struct seg *s, u16 selector)
{
        operand_dx(o, selector);
        code_add(&o->code, s->push, s->size);
        CODE_ADD(&o->code, 0x8e, s->load);
        operand_insn(o, s->prefix);
        code_add(&o->code, s->pop, s->size);
}

static void limit(struct operand *o, const struct seg *s, bool rejected)
{
        put_at_end(o, rejected);
        o->ax -= (ulong)o->page;
        with_segment(o, s, spare((u32)(ulong)o->page, PAGE_SIZE - 1, DATA_RW, 0));
}

static void null(struct operand *o, const struct seg *s, bool rejected)
{
        put(o, 0);
        with_segment(o, s, rejected ? 0 : SEL_DATA);
}

#define PLACES(seg)                                               \
        void place_##seg##_limit(struct operand *o, bool r)       \
        {                                                         \
                limit(o, &seg_##seg, r);                          \
        }                                                         \
        void place_##seg##_null(struct operand *o, bool r)        \
        {                                                         \
                null(o, &seg_##seg, r);                           \
        }
PLACES(ds)
PLACES(es)
PLACES(fs)
PLACES(gs)

/* The operand is also at HIGH_PAGE, above code and stack. */
static u16 put_high(struct operand *o, bool rejected, u32 type)
{
        put_at_end(o, rejected);
        for (unsigned i = 0; i < 2; i++)
                paging_map((void *)(ulong)(HIGH_PAGE + i * PAGE_SIZE),
                           phys(o->page) + i * PAGE_SIZE, PRESENT);
        o->ax = HIGH_PAGE + (o->ax - (ulong)o->page);
        return spare(0, HIGH_PAGE >> 12, type, DESC_G);
}

/* RETF to the next instruction, in another code segment. */
static void change_cs(struct operand *o, u8 selector)
{
        CODE_ADD(&o->code, 0x6a, selector,              /* push */
                 0xe8, 0, 0, 0, 0,                      /* call next */
                 0x83, 0x04, 0x24, 5,                   /* add 5, (esp) */
                 0xcb);                                 /* lret */
}

/* FS:[BX + SI], which wraps to the operand; AX leads elsewhere. */
void place_address_16(struct operand *o, bool unused)
{
        static const u32 bx = 0x1234ff00, si = 0x56780300;

        (void)unused;
        put(o, 2 * 0x100);
        o->ax = 0;
        CODE_ADD(&o->code, 0x53, 0x56, 0xbb);           /* push BX, SI; mov BX */
        code_add(&o->code, &bx, sizeof(bx));
        CODE_ADD(&o->code, 0xbe);                       /* mov SI */
        code_add(&o->code, &si, sizeof(si));
        operand_flags(o);
        CODE_ADD(&o->code, 0x64, 0x67);
        code_insn(&o->code, o->insn);
        CODE_ADD(&o->code, 0x5e, 0x5b);                 /* pop SI, BX */
        spare((u32)(ulong)o->page, 0xfffff, DATA_RW, DESC_G);
        write_fs(SEL_SPARE);
}

static void with_cs(struct operand *o, u16 selector)
{
        change_cs(o, (u8)selector);
        operand_insn(o, 0x2e);
        CODE_ADD(&o->code, 0x9c);                       /* pushf */
        change_cs(o, SEL_CODE);
        CODE_ADD(&o->code, 0x9d);                       /* popf */
}

void place_cs_limit(struct operand *o, bool rejected)
{
        with_cs(o, put_high(o, rejected, CODE_XR));
}

void place_execute_only(struct operand *o, bool rejected)
{
        put(o, 0);
        with_cs(o, flat_segment(rejected ? CODE_X : CODE_XR));
}

void place_code(struct operand *o, bool rejected)
{
        put(o, 0);
        operand_insn(o, rejected ? 0x2e : 0x3e);
}

void place_code_execute_only(struct operand *o, bool rejected)
{
        put(o, 0);
        if (rejected)
                with_cs(o, flat_segment(CODE_X));
        else
                operand_insn(o, 0);
}

void place_read_only(struct operand *o, bool rejected)
{
        put(o, 0);
        with_segment(o, &seg_ds, flat_segment(rejected ? DATA_R : DATA_RW));
}

static void begin_ss(struct operand *o, bool rejected)
{
        operand_dx(o, put_high(o, rejected, DATA_RW));
        CODE_ADD(&o->code, 0x8e, 0xd2, 0x90);           /* mov DX, SS; nop */
}

static void end_ss(struct operand *o)
{
        operand_dx(o, SEL_DATA);
        CODE_ADD(&o->code, 0x8e, 0xd2);
}

void place_ss_limit_ebp(struct operand *o, bool rejected)
{
        begin_ss(o, rejected);
        operand_insn_bp(o);
        end_ss(o);
}

void place_ss_limit_prefix(struct operand *o, bool rejected)
{
        begin_ss(o, rejected);
        operand_insn(o, 0x36);
        end_ss(o);
}
#endif
