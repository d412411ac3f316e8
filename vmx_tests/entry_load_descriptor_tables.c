/*
 * SDM Vol. 3, VM Entries > Loading Guest State > Loading Guest Segment Registers
 * and Descriptor-Table Registers: LDTR, GDTR and IDTR.
 */
#include "lib/check.h"
#include "lib/string.h"
#include "x86/cpu.h"
#include "x86/memory.h"
#include "x86/vmx/event.h"
#include "x86/vmx/segment.h"
#include "x86/vmx/session.h"

#define SDM "VM Entries > Loading Guest Segment Registers and Descriptor-Table Registers"
#define UG "unrestricted-guest"

/* The selector in ECX; what it names shows in FS:ESI. */
PROGRAM(load_fs, 32, "mov %ecx, %fs\nmov %fs:(%esi), %al\nvmcall\n");
/* A far pointer of 32 + 16 bits at ESI. */
PROGRAM(jump_far, 32, "ljmp *(%esi)\nvmcall\n");

static u8 target = 0x5a;
#define OFFSET 0x10u

/* A flat data segment, but for its base, by which offset OFFSET is the target. */
static u64 target_descriptor(void)
{
        return desc_make((u32)(ulong)&target - OFFSET, 0xfffff,
                         DESC_TYPE(3) | DESC_S | DESC_P | DESC_DB | DESC_G);
}

struct ldt_row {
        struct row head;
        enum guest_mode mode;
        bool jump;
};

static const struct ldt_row ldt_rows[] = {
        { ROW("mov.native"), GUEST_NATIVE, false },
        { ROW("mov.compat", NULL, NULL, "host64"), GUEST_COMPAT, false },
        { ROW("mov.pae"), GUEST_PAE, false },
        { ROW("jump.native"), GUEST_NATIVE, true },
        { ROW("jump.compat", NULL, NULL, "host64"), GUEST_COMPAT, true },
        { ROW("jump.pae"), GUEST_PAE, true },
};

/* The first entry of the table is empty. */
#define LDT_SELECTOR 0x0cu
#define LDT_LIMIT 15u

static struct vmx_result ldt_enter(const struct ldt_row *r, u16 selector,
                                   u32 rights, u32 limit)
{
        struct vm *vm = vm_begin(r->mode);
        u64 *ldt = page_alloc(1);
        static struct {
                u32 offset;
                u16 selector;
        } __attribute__((packed)) pointer;

        if (r->jump)
                ldt[1] = guest_env()->gdt[vmread(SEG_SELECTOR(SEG_CS)) / 8];
        else
                ldt[1] = target_descriptor();
        pointer.offset = (u32)(ulong)program_vmcall.start;
        pointer.selector = LDT_SELECTOR;
        vmwrite(SEG_SELECTOR(SEG_LDTR), selector);
        vmwrite(SEG_BASE(SEG_LDTR), (ulong)ldt);
        vmwrite(SEG_LIMIT(SEG_LDTR), limit);
        vmwrite(SEG_RIGHTS(SEG_LDTR), rights);
        vmwrite(VMCS_EXCEPTION_BITMAP, 0xffffffff);
        vm_program(vm, r->jump ? jump_far : load_fs);
        vm->regs.rcx = LDT_SELECTOR;
        vm->regs.rsi = r->jump ? (ulong)&pointer : OFFSET;
        vm->regs.rax = 0;
        vm_poison(0);
        return vm_enter(vm);
}

static void check_ldt_used(const struct ldt_row *r, const char *what,
                           struct vmx_result got)
{
        if (!CHECK_EXIT(what, got, EXITS(EXIT_VMCALL)))
                return;
        if (r->jump) {
                CHECK_VMCS(GUEST_CS_SELECTOR, LDT_SELECTOR);
                CHECK_VMCS(GUEST_RIP, (ulong)program_vmcall.start);
        } else {
                CHECK_EQ("the byte read", (u8)this_vmx()->vm.regs.rax, target);
        }
}

static void check_ldt_refused(const char *what, struct vmx_result got)
{
        CHECK_EXIT(what, got, EXITS(EXIT_EXCEPTION_NMI));
        CHECK_EXITING_EVENT(HARDWARE_CODE(VEC_GP), LDT_SELECTOR);
}

TABLE(ldtr, ldt_rows, .id = "entry.load.ldtr",
      .title = "a usable LDTR finds descriptors, with a null selector too, an "
               "unusable one faults", .sdm = SDM,
      .rules = "ENTL_SEG_UNUSABLE_LDTR_FAULT ENTL_USABLE_NULL_LDTR_NO_FAULT "
               "ENTL_SEG_HIDDEN_FROM_VMCS")
{
        const struct ldt_row *r = case_row(self, row);

        check_ldt_used(r, "usable", ldt_enter(r, 0x1230, AR_LDT, LDT_LIMIT));
        check_ldt_used(r, "usable, null selector",
                       ldt_enter(r, 0, AR_LDT, LDT_LIMIT));
        check_ldt_refused("unusable", ldt_enter(r, 0x1230, AR_LDT | AR_UNUSABLE,
                                                LDT_LIMIT));
        check_ldt_refused("unusable, null selector",
                          ldt_enter(r, 0, AR_LDT | AR_UNUSABLE, LDT_LIMIT));
}

TABLE(ldtr_limit, ldt_rows, .id = "entry.load.ldtr.limit",
      .title = "LDTR's limit counts to the byte", .sdm = SDM,
      .rules = "ENTL_SEG_HIDDEN_FROM_VMCS")
{
        const struct ldt_row *r = case_row(self, row);

        check_ldt_used(r, "the last byte is at the limit",
                       ldt_enter(r, 0x1230, AR_LDT, LDT_LIMIT));
        check_ldt_refused("it is behind the limit",
                          ldt_enter(r, 0x1230, AR_LDT, LDT_LIMIT - 1));
}

PROGRAM(store_gdt, 32, "sgdt (%esi)\nvmcall\n");
PROGRAM(store_idt, 32, "sidt (%esi)\nvmcall\n");
PROGRAM(store_gdt_16, 16, "sgdtl (%si)\nvmcall\n");
PROGRAM(store_idt_16, 16, "sidtl (%si)\nvmcall\n");

struct table_row {
        struct row head;
        enum guest_mode mode;
        const struct program *program;
        u32 base, limit;     /* the fields */
};

#define GDTR "ENTL_GDTR_LOADED"
#define IDTR "ENTL_IDTR_LOADED"
#define TABLE_ROWS(reg, rule, get, get_16)                                      \
        { ROW("native", NULL, rule), GUEST_NATIVE, &get,                        \
          VMCS_GUEST_##reg##_BASE, VMCS_GUEST_##reg##_LIMIT },                  \
        { ROW("compat", NULL, rule, "host64"), GUEST_COMPAT, &get,              \
          VMCS_GUEST_##reg##_BASE, VMCS_GUEST_##reg##_LIMIT },                  \
        { ROW("pae", NULL, rule), GUEST_PAE, &get,                              \
          VMCS_GUEST_##reg##_BASE, VMCS_GUEST_##reg##_LIMIT },                  \
        { ROW("real", NULL, rule, UG), GUEST_REAL, &get_16,                     \
          VMCS_GUEST_##reg##_BASE, VMCS_GUEST_##reg##_LIMIT }

static struct stored {
        u16 limit;
        u32 low, high;
} __attribute__((packed)) seen;

static void check_table(const struct table_row *r)
{
        static const u64 bases[] = {
                0x12345678, 0xffff8000fedcba98, 0x00007ffffffffff0, 0,
        };
        static const u16 limits[] = { 0, 0xffff, 0x1234, 0xedcb };

        for (unsigned i = 0; i < ARRAY_LEN(bases); i++) {
                struct vm *vm = vm_begin(r->mode);
                u64 base = (ulong)bases[i];
                struct stored *out = &seen;

                memset(&seen, 0xcc, sizeof(seen));
                vm_program(vm, *r->program);
                vm->regs.rsi = (ulong)&seen;
                if (r->mode == GUEST_REAL) {
                        out = (void *)(vm->entry_rip + 0x100);
                        vm->regs.rsi = 0x100;
                }
                vmwrite(r->base, base);
                vmwrite(r->limit, limits[i]);
                vmwrite(VMCS_EXCEPTION_BITMAP, 0xffffffff);
                vm_poison(0);
                CHECK_EXIT("the guest", vm_enter(vm), EXITS(EXIT_VMCALL));
                CHECK_EQ("the limit", out->limit, limits[i]);
                CHECK_EQ("bits 31:0 of the base", out->low, (u32)base);
                if (vm->mode == GUEST_LONG)
                        CHECK_EQ("bits 63:32 of the base", out->high,
                                 base >> 32);
        }
}

static const struct table_row gdtr_rows[] = {
        TABLE_ROWS(GDTR, GDTR, store_gdt, store_gdt_16),
};
static const struct table_row idtr_rows[] = {
        TABLE_ROWS(IDTR, IDTR, store_idt, store_idt_16),
};

TABLE(gdtr, gdtr_rows, .id = "entry.load.gdtr",
      .title = "SGDT finds base and limit of the fields", .sdm = SDM)
{
        check_table(case_row(self, row));
}

TABLE(idtr, idtr_rows, .id = "entry.load.idtr",
      .title = "SIDT finds base and limit of the fields", .sdm = SDM)
{
        check_table(case_row(self, row));
}

/* A descriptor or gate whose last byte is at the limit, or behind it. */
static const struct ldt_row limit_rows[] = {
        { ROW("native"), GUEST_NATIVE },
        { ROW("compat", NULL, NULL, "host64"), GUEST_COMPAT },
        { ROW("pae"), GUEST_PAE },
};

TABLE(gdtr_limit, limit_rows, .id = "entry.load.gdtr.limit",
      .title = "descriptors come from GDTR's base, up to its limit", .sdm = SDM,
      .rules = "ENTL_GDTR_LOADED")
{
        const struct ldt_row *r = case_row(self, row);

        for (unsigned outside = 0; outside < 2; outside++) {
                struct vm *vm = vm_begin(r->mode);
                u64 *gdt = page_alloc(1);

                gdt[SEL_SPARE / 8] = target_descriptor();
                vmwrite(VMCS_GUEST_GDTR_BASE, (ulong)gdt);
                vmwrite(VMCS_GUEST_GDTR_LIMIT, SEL_SPARE + 7 - outside);
                vmwrite(VMCS_EXCEPTION_BITMAP, 0xffffffff);
                vm_program(vm, load_fs);
                vm->regs.rcx = SEL_SPARE;
                vm->regs.rsi = OFFSET;
                vm_poison(0);
                if (!outside) {
                        CHECK_EXIT("the last byte is at the limit",
                                   vm_enter(vm), EXITS(EXIT_VMCALL));
                        CHECK_EQ("the byte read", (u8)vm->regs.rax, target);
                        continue;
                }
                CHECK_EXIT("it is behind the limit", vm_enter(vm),
                           EXITS(EXIT_EXCEPTION_NMI));
                CHECK_EXITING_EVENT(HARDWARE_CODE(VEC_GP), SEL_SPARE);
        }
}

PROGRAM(int_code, 32, "int $0x30\nvmcall\n");
PROGRAM(int_code_16, 16, "int $0x30\nvmcall\n");

static const struct ldt_row gate_rows[] = {
        { ROW("native"), GUEST_NATIVE },
        { ROW("compat", NULL, NULL, "host64"), GUEST_COMPAT },
        { ROW("pae"), GUEST_PAE },
        { ROW("real", NULL, NULL, UG), GUEST_REAL },
};

TABLE(idtr_limit, gate_rows, .id = "entry.load.idtr.limit",
      .title = "gates come from IDTR's base, up to its limit", .sdm = SDM,
      .rules = "ENTL_IDTR_LOADED")
{
        const struct ldt_row *r = case_row(self, row);
        bool real = r->mode == GUEST_REAL;

        for (unsigned outside = 0; outside < 2; outside++) {
                struct vm *vm = vm_begin(r->mode);
                struct vm_tables t = vm_tables(vm);

                vm_program(vm, real ? int_code_16 : int_code);
                vmwrite(VMCS_GUEST_IDTR_LIMIT,
                        0x31u * t.gate_size - 1 - outside);
                vmwrite(VMCS_EXCEPTION_BITMAP, BIT(VEC_GP));
                vm_poison(0);
                if (!outside) {
                        CHECK_DELIVERED("the last byte is at the limit", vm,
                                        vm_enter(vm), .vector = 0x30,
                                        .rip = (real ? 0 : vm->entry_rip) + 2);
                        continue;
                }
                CHECK_EXIT("it is behind the limit", vm_enter(vm),
                           EXITS(EXIT_EXCEPTION_NMI));
                if (real)
                        CHECK_VMCS_MASKED(EXIT_INTERRUPTION_INFO,
                                          HARDWARE(VEC_GP),
                                          ~(u64)EVENT_HAS_ERROR);
                else
                        CHECK_EXITING_EVENT(HARDWARE_CODE(VEC_GP),
                                            0x30 * 8 | ERR_IDT);
        }
}
