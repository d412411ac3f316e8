/*
 * SDM Vol. 3, VM Entries > Loading Guest State > Loading Guest Segment Registers
 * and Descriptor-Table Registers: the unusable bit, and null selectors without
 * it.
 */
#include "lib/check.h"
#include "x86/cpu.h"
#include "x86/vmx/event.h"
#include "x86/vmx/segment.h"
#include "x86/vmx/session.h"

#define SDM "VM Entries > Loading Guest Segment Registers and Descriptor-Table Registers"

/* 32-bit code, but the same in 64-bit mode. */
#define READ(seg) PROGRAM(via_##seg, 32, "mov %" #seg ":(%esi), %al\nvmcall\n")
READ(es);
READ(ss);
READ(ds);
READ(fs);
READ(gs);
PROGRAM(push_code, 32, "push %eax\nvmcall\n");
PROGRAM(pop_code, 32, "pop %eax\nvmcall\n");
PROGRAM(call_code, 32, "call 1f\n1: vmcall\n");

struct use {
        struct row head;
        enum guest_mode mode;
        enum segment seg;
        const struct program *program;
};

static u8 target[] = { 0xa5, 0x5a };

/* The segment with @selector: flat, or unusable with limit 0. */
static struct vmx_result use_enter(const struct use *u, u16 selector,
                                   bool unusable)
{
        struct vm *vm = vm_begin(u->mode);

        vmwrite(SEG_SELECTOR(u->seg), selector);
        vm_control(SEG_RIGHTS(u->seg), unusable ? AR_UNUSABLE : 0, 0);
        if (unusable)
                vmwrite(SEG_LIMIT(u->seg), 0);
        vmwrite(VMCS_EXCEPTION_BITMAP, 0xffffffff);
        vm_program(vm, *u->program);
        vm->regs.rsi = (ulong)target;
        vm->regs.rax = 0;
        vm_poison(0);
        return vm_enter(vm);
}

static void check_runs(const struct use *u, const char *what,
                       struct vmx_result got)
{
        if (CHECK_EXIT(what, got, EXITS(EXIT_VMCALL)) &&
            (u->program->start[0] == 0x8a || u->program->start[1] == 0x8a))
                CHECK_EQ("the byte read", (u8)this_vmx()->vm.regs.rax, target[0]);
}

static void use_run(const struct use *u)
{
        u8 vector = u->seg == SEG_SS ? VEC_SS : VEC_GP;

        check_runs(u, "usable", use_enter(u, SEL_DATA, false));
        check_runs(u, "usable, null selector", use_enter(u, 0, false));
        for (u16 selector = 0; selector <= SEL_DATA; selector += SEL_DATA) {
                CHECK_EXIT("unusable", use_enter(u, selector, true),
                           EXITS(EXIT_EXCEPTION_NMI));
                CHECK_EXITING_EVENT(HARDWARE_CODE(vector), 0);
                CHECK_VMCS(GUEST_RIP, (ulong)u->program->start);
        }
}

#define DATA "ENTL_SEG_UNUSABLE_DATA_FAULT"
#define STACK "ENTL_SEG_UNUSABLE_SS_FAULT"
#define USES(name, guest, needs_)                                             \
        { ROW("es." name, NULL, DATA, needs_), guest, SEG_ES, &via_es },      \
        { ROW("ds." name, NULL, DATA, needs_), guest, SEG_DS, &via_ds },      \
        { ROW("fs." name, NULL, DATA, needs_), guest, SEG_FS, &via_fs },      \
        { ROW("gs." name, NULL, DATA, needs_), guest, SEG_GS, &via_gs },      \
        { ROW("ss." name, NULL, STACK, needs_), guest, SEG_SS, &via_ss },     \
        { ROW("push." name, NULL, STACK, needs_), guest, SEG_SS, &push_code }, \
        { ROW("pop." name, NULL, STACK, needs_), guest, SEG_SS, &pop_code },  \
        { ROW("call." name, NULL, STACK, needs_), guest, SEG_SS, &call_code }

static const struct use uses[] = {
        USES("pae", GUEST_PAE, NULL),
        USES("compat", GUEST_COMPAT, "host64"),
        USES("32", GUEST_32, NULL),
        USES("protected", GUEST_PROTECTED, "unrestricted-guest"),
};

/* The stack is the guest's own: POP has something to read. */
TABLE(faults, uses, .id = "entry.load.unusable.fault",
      .title = "outside 64-bit mode an unusable segment faults, a usable one "
               "with a null selector does not", .sdm = SDM,
      .rules = "ENTL_USABLE_NULL_SELECTOR_NO_FAULT")
{
        use_run(case_row(self, row));
}

#define LONG(name, seg_, program_) { ROW(name), GUEST_LONG, seg_, &program_ }
static const struct use long_uses[] = {
        LONG("es", SEG_ES, via_es), LONG("ss", SEG_SS, via_ss),
        LONG("ds", SEG_DS, via_ds), LONG("fs", SEG_FS, via_fs),
        LONG("gs", SEG_GS, via_gs), LONG("push", SEG_SS, push_code),
        LONG("pop", SEG_SS, pop_code), LONG("call", SEG_SS, call_code),
};

/* The limit of the unusable segments is 0: it would fault if it counted. */
TABLE(long_mode, long_uses, .id = "entry.load.unusable.64-bit",
      .title = "in 64-bit mode an unusable segment does not fault", .sdm = SDM,
      .rules = "ENTL_SEG_UNUSABLE_64BIT_NO_FAULT", .needs = "host64")
{
        const struct use *u = case_row(self, row);

        check_runs(u, "usable", use_enter(u, SEL_DATA, false));
        for (u16 selector = 0; selector <= SEL_DATA; selector += SEL_DATA)
                check_runs(u, "unusable", use_enter(u, selector, true));
}

/* FS and GS keep their bases, others have base 0 in 64-bit mode. */
static const struct use base_uses[] = {
        LONG("fs", SEG_FS, via_fs), LONG("gs", SEG_GS, via_gs),
};

TABLE(long_base, base_uses, .id = "entry.load.unusable.64-bit.base",
      .title = "in 64-bit mode unusable FS and GS have the base of the VMCS",
      .sdm = SDM, .needs = "host64",
      .rules = "ENTL_SEG_FS_GS_UNUSABLE_BASE ENTL_SEG_UNUSABLE_64BIT_NO_FAULT")
{
        const struct use *u = case_row(self, row);

        for (unsigned i = 0; i < ARRAY_LEN(target); i++) {
                struct vm *vm = vm_begin(GUEST_LONG);
                u64 base = 0xffffffff80001000, at = (ulong)&target[i] - base;

                vm_control(SEG_RIGHTS(u->seg), AR_UNUSABLE, 0);
                vmwrite(SEG_BASE(u->seg), base + (at & ~0xffffull));
                vmwrite(VMCS_EXCEPTION_BITMAP, 0xffffffff);
                vm_program(vm, *u->program);
                vm->regs.rsi = at & 0xffff;
                vm_poison(0);
                CHECK_EXIT("the read", vm_enter(vm), EXITS(EXIT_VMCALL));
                CHECK_EQ("the byte read", (u8)vm->regs.rax, target[i]);
                CHECK_EQ("the base that the VM exit saved",
                         vmread(SEG_BASE(u->seg)), base + (at & ~0xffffull));
        }
}

struct saved_base {
        struct row head;
        enum guest_mode mode;
        enum segment seg;
};

#define SAVED(name, seg_, rules)                                          \
        { ROW(name ".long", NULL, rules), GUEST_LONG, seg_ },             \
        { ROW(name ".compat", NULL, rules), GUEST_COMPAT, seg_ },         \
        { ROW(name ".pae", NULL, rules), GUEST_PAE, seg_ }
static const struct saved_base saved_bases[] = {
        SAVED("ss", SEG_SS, "ENTL_SEG_SS_UNUSABLE_BASE_LOW"),
        SAVED("ds", SEG_DS, "ENTL_SEG_DS_ES_UNUSABLE_BASE_HIGH"),
        SAVED("es", SEG_ES, "ENTL_SEG_DS_ES_UNUSABLE_BASE_HIGH"),
};

/* Bits 31:0 are undefined. */
TABLE(bases, saved_bases, .id = "entry.load.unusable.base",
      .title = "bits 63:32 of the base of unusable SS, DS and ES become 0",
      .sdm = SDM, .needs = "host64")
{
        const struct saved_base *r = case_row(self, row);
        static const u64 values[] = {
                ~0ull, 0x8000000000000000, 0x0000800012345678, 0x100000000,
        };

        for (unsigned i = 0; i < ARRAY_LEN(values); i++) {
                struct vm *vm = vm_begin(r->mode);

                vm_control(SEG_RIGHTS(r->seg), AR_UNUSABLE, 0);
                vmwrite(SEG_BASE(r->seg), values[i]);
                vm_poison(0);
                CHECK_EXIT("the guest", vm_enter(vm), EXITS(EXIT_VMCALL));
                CHECK_MASKED("the base that the VM exit saved",
                             vmread(SEG_BASE(r->seg)), 0, BITS(63, 32));
                CHECK_MASKED("the rights that the VM exit saved",
                             vmread(SEG_RIGHTS(r->seg)), AR_UNUSABLE,
                             AR_UNUSABLE);
        }
}

/* 64-bit mode executes without a usable CS; of its base nothing is seen there. */
PROGRAM(get_cs, 64, "mov %cs, %eax\nvmcall\n");

CASE(cs, .id = "entry.load.unusable.cs",
     .title = "selector, base, limit, L, D and G of an unusable CS are loaded",
     .sdm = SDM, .rules = "ENTL_SEG_CS_UNUSABLE", .needs = "host64")
{
        const u32 bits = AR_L | AR_DB | AR_G | AR_UNUSABLE;

        for (unsigned i = 0; i < 2; i++) {
                struct vm *vm = vm_begin(GUEST_LONG);
                u64 base = i ? 0x12345678 : 0xfedcb000;
                u32 limit = i ? 0x54321 : 0x9abcdfff;
                u16 selector = i ? 0x1228 : SEL_CODE64;

                vmwrite(SEG_SELECTOR(SEG_CS), selector);
                vmwrite(SEG_BASE(SEG_CS), base);
                vmwrite(SEG_LIMIT(SEG_CS), limit);
                vm_control(SEG_RIGHTS(SEG_CS), AR_UNUSABLE | (i ? 0 : AR_G),
                           i ? AR_G : 0);
                vm_program(vm, get_cs);
                vm_poison(0);
                CHECK_EXIT("the guest", vm_enter(vm), EXITS(EXIT_VMCALL));
                CHECK_EQ("CS in the guest", (u32)vm->regs.rax, selector);
                CHECK_VMCS(GUEST_CS_SELECTOR, selector);
                CHECK_VMCS(GUEST_CS_BASE, base);
                CHECK_VMCS(GUEST_CS_LIMIT, limit);
                CHECK_VMCS_MASKED(GUEST_CS_ACCESS_RIGHTS,
                                  AR_L | AR_UNUSABLE | (i ? 0 : AR_G), bits);
        }
}

PROGRAM(cli_code, 32, "cli\nvmcall\n");

/* Conforming code runs at every CPL: only SS, and the RPLs, tell it. */
static const struct use dpl_rows[] = {
        { ROW("long", NULL, NULL, "host64"), GUEST_LONG },
        { ROW("pae"), GUEST_PAE },
};

TABLE(ss_dpl, dpl_rows, .id = "entry.load.unusable.ss-dpl",
      .title = "the DPL of an unusable SS is the CPL", .sdm = SDM,
      .rules = "ENTL_SEG_SS_UNUSABLE_DPL")
{
        const struct use *u = case_row(self, row);

        for (u32 cpl = 0; cpl <= 3; cpl += 3) {
                struct vm *vm = vm_begin(u->mode);

                vm_control(SEG_RIGHTS(SEG_CS), AR_TYPE(15), 0);
                vm_control(SEG_SELECTOR(SEG_CS), cpl, 0);
                vmwrite(SEG_SELECTOR(SEG_SS), cpl);
                vmwrite(SEG_RIGHTS(SEG_SS), AR_UNUSABLE | AR_DPL(cpl));
                vmwrite(VMCS_EXCEPTION_BITMAP, 0xffffffff);
                vm_program(vm, cli_code);
                vm_poison(0);
                if (!cpl) {
                        CHECK_EXIT("CLI at CPL 0", vm_enter(vm),
                                   EXITS(EXIT_VMCALL));
                } else {
                        CHECK_EXIT("CLI at CPL 3, IOPL 0", vm_enter(vm),
                                   EXITS(EXIT_EXCEPTION_NMI));
                        CHECK_EXITING_EVENT(HARDWARE_CODE(VEC_GP), 0);
                }
                CHECK_VMCS_MASKED(GUEST_SS_ACCESS_RIGHTS,
                                  AR_UNUSABLE | AR_DPL(cpl),
                                  AR_UNUSABLE | AR_DPL(3));
        }
}
