/* The places of 64-bit mode: canonical addresses, null selectors, encodings. */
#ifdef __x86_64__
#include "x86/vmx/operand_place.h"

#define LOWER_END 0x0000800000000000ull  /* the first that is not canonical */
#define UPPER_START 0xffff800000000000ull

/* The two pages at both ends of the canonical addresses. */
static void map_canonical(const u8 *page)
{
        u64 *root = (u64 *)paging_root();

        for (unsigned upper = 0; upper < 2; upper++) {
                u64 *tables = page_alloc(3);
                unsigned entry = upper ? 0 : 511;

                tables[entry] = phys(tables + 512) | PRESENT;
                tables[512 + entry] = phys(tables + 1024) | PRESENT;
                tables[1024 + entry] = phys(page) | PRESENT;
                if (upper)
                        tables[1024 + 1] = (phys(page) + PAGE_SIZE) | PRESENT;
                root[255 + upper] = phys(tables) | PRESENT;
        }
        paging_flush();
}

void operand_unmap(void)
{
        u64 *root = (u64 *)paging_root();

        root[255] = root[256] = 0;
        paging_flush();
}

static void put_canonical(struct operand *o, bool rejected)
{
        put(o, 0);
        map_canonical(o->page);
        o->ax = rejected ? LOWER_END : UPPER_START;
}

void place_canonical(struct operand *o, bool rejected)
{
        put_canonical(o, rejected);
        operand_insn(o, 0);
}

void place_canonical_end(struct operand *o, bool rejected)
{
        put_at_end(o, rejected);
        map_canonical(o->page);
        o->ax = LOWER_END - o->size + rejected;
        operand_insn(o, 0);
}

static void with_base(struct operand *o, u32 msr, u8 prefix, bool rejected)
{
        put(o, rejected ? PAGE_SIZE : PAGE_SIZE - o->size);
        map_canonical(o->page);
        wrmsr(msr, LOWER_END - PAGE_SIZE);
        o->ax = (ulong)(o->flat - o->page);
        operand_insn(o, prefix);
}

void place_fs_base(struct operand *o, bool rejected)
{
        with_base(o, MSR_IA32_FS_BASE, 0x64, rejected);
}

void place_gs_base(struct operand *o, bool rejected)
{
        with_base(o, MSR_IA32_GS_BASE, 0x65, rejected);
}

void place_rbp(struct operand *o, bool rejected)
{
        put_canonical(o, rejected);
        operand_insn_bp(o);
}

/* RSP + RAX, because exceptions need a stack. */
void place_rsp(struct operand *o, bool rejected)
{
        static const u8 sib = 0x04;

        put_canonical(o, rejected);
        CODE_ADD(&o->code, 0x48, 0x29, 0xe0);           /* sub RSP, RAX */
        operand_insn_modrm(o, 0x04, &sib, 1);
}

static void load_data_segments(struct operand *o, u16 selector)
{
        operand_dx(o, selector);
        CODE_ADD(&o->code, 0x8e, 0xda, 0x8e, 0xc2, 0x8e, 0xd2);
}

void place_null_selectors(struct operand *o, bool unused)
{
        (void)unused;
        put(o, 0);
        load_data_segments(o, 0);
        operand_insn(o, 0);
        load_data_segments(o, SEL_DATA);
}

void place_rex_w(struct operand *o, bool unused)
{
        const struct insn *i = &insns[o->insn];
        unsigned mandatory = i->bytes[0] != 0x0f;

        (void)unused;
        put(o, 0);
        operand_flags(o);
        code_add(&o->code, i->bytes, mandatory);
        CODE_ADD(&o->code, 0x48);
        code_add(&o->code, i->bytes + mandatory, i->size - mandatory);
}

void place_rip_relative(struct operand *o, bool unused)
{
        s32 distance = 0;
        u8 *end;

        (void)unused;
        put(o, 0);
        operand_insn_modrm(o, 0x05, &distance, sizeof(distance));
        end = raw_page() + o->code.size;
        distance = (s32)(o->flat - end);
        memcpy(&o->code.bytes[o->code.size - sizeof(distance)], &distance,
               sizeof(distance));
}

void place_address_size(struct operand *o, bool unused)
{
        (void)unused;
        put(o, 0);
        o->ax |= BIT(40);
        operand_insn(o, 0x67);
}
#endif
