#include "x86/vmx/operand_place.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/guest_env.h"
#include "x86/vmx/session.h"

void operand_flags(struct operand *o)
{
        const u32 flags = VMX_FLAGS | RFLAGS_FIXED;

        CODE_ADD(&o->code, 0x68);                       /* push */
        code_add(&o->code, &flags, sizeof(flags));
        CODE_ADD(&o->code, 0x9d);                       /* popf */
}

void operand_insn(struct operand *o, u8 prefix)
{
        operand_flags(o);
        if (prefix)
                CODE_ADD(&o->code, prefix);
        code_insn(&o->code, o->insn);
}

void operand_insn_modrm(struct operand *o, u8 modrm, const void *more, unsigned size)
{
        u8 *last;

        operand_insn(o, 0);
        last = &o->code.bytes[o->code.size - 1];
        *last = (u8)((*last & 0x38) | modrm);
        code_add(&o->code, more, size);
}

void operand_insn_bp(struct operand *o)
{
        static const u8 no_displacement = 0;

        CODE_ADD(&o->code, 0x55);                       /* push BP */
        if (sizeof(ulong) == 8)
                CODE_ADD(&o->code, 0x48);
        CODE_ADD(&o->code, 0x89, 0xc5);                 /* mov AX, BP */
        operand_insn_modrm(o, 0x45, &no_displacement, 1);
        CODE_ADD(&o->code, 0x5d);                       /* pop BP */
}

void operand_dx(struct operand *o, u16 value)
{
        CODE_ADD(&o->code, 0x66, 0xba, (u8)value, (u8)(value >> 8));
}

static void put_and_run(struct operand *o, unsigned offset)
{
        put(o, offset);
        operand_insn(o, 0);
}

void place_not_present(struct operand *o, bool rejected)
{
        put_and_run(o, 0);
        paging_set(o->page, rejected ? 0 : PRESENT);
}

void place_reserved_bit(struct operand *o, bool rejected)
{
        put_and_run(o, 0);
        paging_set(o->page, PRESENT);
        if (rejected)
                *paging_entry(o->page) |= BIT(51);
        paging_flush();
}

void place_smap(struct operand *o, bool rejected)
{
        put_and_run(o, 0);
        paging_set(o->page, PRESENT | PTE_U);
        if (rejected)
                write_cr4(read_cr4() | CR4_SMAP);
}

void place_write_protected(struct operand *o, bool rejected)
{
        put_and_run(o, 0);
        paging_set(o->page, PRESENT & ~PTE_W);
        if (rejected)
                write_cr0(read_cr0() | CR0_WP);
        else
                write_cr0(read_cr0() & ~(ulong)CR0_WP);
}

void place_split(struct operand *o, bool rejected)
{
        put_and_run(o, PAGE_SIZE - o->size / 2);
        o->cr2 = phys(o->page) + PAGE_SIZE;
        paging_set(o->page + PAGE_SIZE, rejected ? 0 : PRESENT);
}

void place_odd(struct operand *o, bool unused)
{
        (void)unused;
        put_and_run(o, 17);
}

void place_line(struct operand *o, bool unused)
{
        (void)unused;
        put_and_run(o, 64 - o->size / 2);
}

/* [AX + 8 * DX - DISPLACEMENT] */
void place_sib(struct operand *o, bool unused)
{
        const u16 index = 0x123;
        const s32 displacement = -0x1230;
        struct { u8 sib; s32 displacement; } __attribute__((packed)) more = {
                0xd0, displacement,
        };

        (void)unused;
        put(o, 0);
        o->ax -= (ulong)(8 * index + displacement);
        CODE_ADD(&o->code, 0x31, 0xd2);                 /* xor DX, DX */
        operand_dx(o, index);
        operand_insn_modrm(o, 0x84, &more, sizeof(more));
}

#define BEHIND_BASE 0x100  /* where the operand is in its segment */

/* FS or GS with a base other than 0. */
static void with_override(struct operand *o, u8 prefix)
{
        put(o, 2 * BEHIND_BASE);
        o->ax = BEHIND_BASE;
        operand_insn(o, prefix);
#ifdef __x86_64__
        wrmsr(prefix == 0x64 ? MSR_IA32_FS_BASE : MSR_IA32_GS_BASE,
              phys(o->flat) - BEHIND_BASE);
#else
        this_cpu()->gdt[SEL_SPARE / 8] =
                desc_make((u32)(ulong)o->flat - BEHIND_BASE, 0xfffff,
                          DESC_S | DESC_P | DESC_DB | DESC_G | DESC_TYPE(3));
        if (prefix == 0x64)
                write_fs(SEL_SPARE);
        else
                write_gs(SEL_SPARE);
#endif
}

void place_fs_override(struct operand *o, bool unused)
{
        (void)unused;
        with_override(o, 0x64);
}

void place_gs_override(struct operand *o, bool unused)
{
        (void)unused;
        with_override(o, 0x65);
}

/* What the instruction works on, as its operand says. */
struct subject {
        u64 pointer;   /* of a region, valid for it */
        ulong cx;      /* field, or type of invalidation */
        u64 current;
};

#define POISON_BYTE 0x5a
#define FIELD VMCS_GUEST_SYSENTER_ESP
#define OLD_VALUE 0x1234u
#define NEW_VALUE 0x5678u

static void prepare(struct operand *o, struct subject *s)
{
        u64 low = 0, high = 0;

        s->pointer = phys(vmcs_region_new());
        o->size = 8;
        switch (o->insn) {
        case INSN_VMXON:
                vmx_off();
                vmx_prepare();
                s->current = NO_VMCS;
                break;
        default:
                s->current = vm_begin(GUEST_NATIVE)->pointer;
                vmwrite(FIELD, OLD_VALUE);
        }
        switch (o->insn) {
        case INSN_VMWRITE:
                low = NEW_VALUE;
                /* fallthrough */
        case INSN_VMREAD:
                o->size = sizeof(ulong);
                s->cx = FIELD;
                break;
        case INSN_INVEPT:
                o->size = 16;
                low = guest_env()->eptp;
                s->cx = vmx_caps()->ept_vpid & CAP_INVEPT_SINGLE ? 1 : 2;
                break;
        case INSN_INVVPID:
                o->size = 16;
                low = 1;
                while (s->cx < 3 && !(vmx_caps()->ept_vpid &
                                      CAP_INVVPID_ADDRESS << s->cx))
                        s->cx++;
                break;
        default:
                low = s->pointer;
        }
        memcpy(o->content, &low, 8);
        memcpy(o->content + 8, &high, 8);
        if (o->insn == INSN_VMPTRST || o->insn == INSN_VMREAD)
                memset(o->content, POISON_BYTE, sizeof(o->content));
        if (o->insn != INSN_VMXON)
                vm_poison(0);
}

/* As before the run: the operand can be read, CR0 and CR4 are the kernel's. */
static void undo(struct operand *o, ulong cr0, ulong cr4)
{
        write_cr0(cr0);
        write_cr4(cr4);
        paging_set(o->page, PRESENT);
        paging_set(o->page + PAGE_SIZE, PRESENT);
        operand_unmap();
        write_fs(SEL_DATA);
        write_gs(SEL_DATA);
}

static struct vmx_result run_at(struct operand *o, const struct operand_row *row,
                                ulong cx, bool rejected)
{
        ulong cr0 = read_cr0(), cr4 = read_cr4();
        const u32 field = (u32)cx;
        struct vmx_result r;

        o->page = page_alloc(2);
        CODE_ADD(&o->code, 0xb9);                       /* mov CX */
        code_add(&o->code, &field, sizeof(field));
        row->place(o, rejected);
        r = raw_run(RAW_NATIVE, &o->code, o->ax);
        undo(o, cr0, cr4);
        return r;
}

/* All bytes of the two pages but the operand are still 0. */
static bool only_operand_written(const struct operand *o)
{
        for (const u8 *p = o->page; p < o->page + 2 * PAGE_SIZE; p++)
                if (*p && (p < o->flat || p >= o->flat + o->size))
                        return false;
        return true;
}

static void check_done(const struct operand *o, const struct subject *s)
{
        u64 value = 0;

        memcpy(&value, o->flat, o->size < 8 ? o->size : 8);
        switch (o->insn) {
        case INSN_VMXON:
                vmx_set_operating(true);
                CHECK_EQ("current-VMCS pointer", current_vmcs(), NO_VMCS);
                vmx_off();
                return;
        case INSN_VMPTRLD:
                CHECK_EQ("current-VMCS pointer", current_vmcs(), s->pointer);
                return;
        case INSN_VMPTRST:
                CHECK_EQ("pointer stored", value, s->current);
                CHECK("bytes beside the destination", only_operand_written(o),
                      "written");
                return;
        case INSN_VMREAD:
                CHECK_EQ("value stored", value, OLD_VALUE);
                CHECK("bytes beside the destination", only_operand_written(o),
                      "written");
                return;
        case INSN_VMWRITE:
                CHECK_EQ("value of the field", vmread(FIELD), NEW_VALUE);
                return;
        default:
                return;
        }
}

static void check_nothing_done(const struct operand *o, const struct subject *s,
                               struct vmx_result r)
{
        if (r.kind == VMX_EXCEPTION) {
                CHECK_MASKED("saved RFLAGS", trap_last()->rflags, VMX_FLAGS,
                             VMX_FLAGS);
                if (r.vector == VEC_PF)
                        CHECK_EQ("CR2", trap_last()->cr2, o->cr2);
        }
        CHECK("the operand", !memcmp(o->flat, o->content, o->size), "changed");
        if (o->insn == INSN_VMXON) {
                /* Still outside VMX operation. */
                CHECK_RESULT("VMXOFF afterwards", vmxoff(), FAULT(VEC_UD));
                return;
        }
        if (!CHECK_EQ("current-VMCS pointer", current_vmcs(), s->current))
                return;
        CHECK_EQ("VM-instruction error", vmread(VMCS_VM_INSTRUCTION_ERROR),
                 VMERR_UNSUPPORTED_FIELD);
        CHECK_EQ("value of the field", vmread(FIELD), OLD_VALUE);
}

void operand_run(const struct test_case *self, unsigned row)
{
        const struct operand_row *r = case_row(self, row);
        struct operand accepted = { .insn = r->insn };
        struct operand rejected = { .insn = r->insn };
        struct subject s = { 0 };
        struct vmx_result got;

        prepare(&accepted, &s);
        got = run_at(&accepted, r, s.cx, false);
        if (check_result(self->file, (int)self->line, "accessible operand", got,
                         RESULT(SUCCEED)))
                check_done(&accepted, &s);
        if (!r->outcome.kind)
                return;
        s = (struct subject){ 0 };
        prepare(&rejected, &s);
        got = run_at(&rejected, r, s.cx, true);
        check_result(self->file, (int)self->line, "inaccessible operand", got,
                     r->outcome);
        check_nothing_done(&rejected, &s, got);
}
