/*
 * SDM Vol. 3, VM Entries > Loading Guest State > Loading Guest Control
 * Registers, Debug Registers, and MSRs: CR0, CR3 and CR4, as the guest's own
 * instructions see them. The host has the other value of each bit.
 */
#include "lib/check.h"
#include "x86/cpu.h"
#include "x86/memory.h"
#include "x86/paging.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/event.h"

#define SDM "VM Entries > Loading Guest Control Registers, Debug Registers, and MSRs"

PROGRAM(get_cr0, 32, "mov %cr0, %eax\nvmcall\n");
PROGRAM(get_cr3, 32, "mov %cr3, %eax\nvmcall\n");
PROGRAM(get_cr4, 32, "mov %cr4, %eax\nvmcall\n");
PROGRAM(get_dr4, 32, "mov %dr4, %eax\nvmcall\n");
PROGRAM(x87_code, 32, "fnop\nvmcall\n");
PROGRAM(wait_code, 32, "fwait\nvmcall\n");
PROGRAM(store, 32, "mov %eax, (%ecx)\nvmcall\n");
PROGRAM(load, NATIVE_BITS, "mov (%ecx), %eax\nvmcall\n");

#define CR0_RESERVED (BITS(15, 6) | BIT(17) | BITS(28, 19))
#define CR0_NOT_LOADED (CR0_RESERVED | CR0_ET | CR0_NW | CR0_CD)

/* The value that the guest reads, by @program. */
static u64 guest_value(struct vm *vm, struct program program)
{
        vm_program(vm, program);
        vmwrite(VMCS_EXCEPTION_BITMAP, 0xffffffff);
        vm_poison(0);
        if (!CHECK_EXIT("the guest", vm_enter(vm), EXITS(EXIT_VMCALL)))
                return ~0ull;
        return vm->regs.rax;
}

struct bit_row {
        struct row head;
        u32 bit;
        enum guest_mode mode;
};

static const struct bit_row cr0_rows[] = {
        { ROW("mp"), CR0_MP }, { ROW("em"), CR0_EM }, { ROW("ts"), CR0_TS },
        { ROW("wp"), CR0_WP }, { ROW("am"), CR0_AM },
        { ROW("mp.pae"), CR0_MP, GUEST_PAE }, { ROW("em.pae"), CR0_EM, GUEST_PAE },
        { ROW("ts.pae"), CR0_TS, GUEST_PAE }, { ROW("wp.pae"), CR0_WP, GUEST_PAE },
        { ROW("am.pae"), CR0_AM, GUEST_PAE },
        { ROW("mp.real", NULL, NULL, "unrestricted-guest"), CR0_MP, GUEST_REAL },
        { ROW("em.real", NULL, NULL, "unrestricted-guest"), CR0_EM, GUEST_REAL },
        { ROW("ts.real", NULL, NULL, "unrestricted-guest"), CR0_TS, GUEST_REAL },
        { ROW("wp.real", NULL, NULL, "unrestricted-guest"), CR0_WP, GUEST_REAL },
        { ROW("am.real", NULL, NULL, "unrestricted-guest"), CR0_AM, GUEST_REAL },
};

/* A control register, and of its bits those that VM entry loads. */
struct control_register {
        u32 field, shadow;
        const struct program *get;
        ulong (*read)(void);
        void (*write)(ulong);
        u64 loaded;
};

static const struct control_register cr0 = {
        VMCS_GUEST_CR0, VMCS_CR0_READ_SHADOW, &get_cr0, read_cr0, write_cr0,
        0xffffffff & ~CR0_NOT_LOADED,
}, cr4 = {
        VMCS_GUEST_CR4, VMCS_CR4_READ_SHADOW, &get_cr4, read_cr4, write_cr4,
        0xffffffff,
};

/* Both values of a bit; the host, and the read shadow, have the other one. */
static void check_bit(const struct control_register *cr,
                      const struct bit_row *r, enum guest_mode mode)
{
        for (unsigned value = 0; value < 2; value++) {
                struct vm *vm = vm_begin(mode);
                ulong host = cr->read();
                u64 field;

                vm_control(cr->field, value ? r->bit : 0, value ? 0 : r->bit);
                field = vmread(cr->field);
                vmwrite(cr->shadow, ~field);
                cr->write(value ? host & ~(ulong)r->bit : host | r->bit);
                CHECK_MASKED("the register in the guest",
                             guest_value(vm, *cr->get), field, cr->loaded);
                CHECK_MASKED("the register that the VM exit saved",
                             vmread(cr->field), field, cr->loaded);
        }
}

TABLE(cr0_bit, cr0_rows, .id = "entry.load.cr0.bit",
      .title = "a bit of CR0 comes from the field, not from the host",
      .sdm = SDM, .rules = "ENTL_CR0_LOADED")
{
        const struct bit_row *r = case_row(self, row);

        check_bit(&cr0, r, r->mode);
}

/* The host has both set: vm_begin() gives it what VMX operation asks for. */
CASE(cr0_protected, .id = "entry.load.cr0.bit.pg",
     .title = "CR0.PG = 0 comes from the field", .sdm = SDM,
     .rules = "ENTL_CR0_LOADED", .needs = "unrestricted-guest")
{
        struct vm *vm = vm_begin(GUEST_PROTECTED);

        CHECK_MASKED("CR0 in the guest", guest_value(vm, get_cr0),
                     CR0_PE | CR0_NE, CR0_PE | CR0_NE | CR0_PG);
}

CASE(cr0_real, .id = "entry.load.cr0.bit.pe",
     .title = "CR0.PE = 0 comes from the field", .sdm = SDM,
     .rules = "ENTL_CR0_LOADED", .needs = "unrestricted-guest")
{
        struct vm *vm = vm_begin(GUEST_REAL);

        CHECK_MASKED("CR0 in the guest", guest_value(vm, get_cr0), CR0_NE,
                     CR0_PE | CR0_NE | CR0_PG);
}

/* What the bits do: the instruction faults with them, and runs without one. */
struct effect_row {
        struct row head;
        const struct program *program;
        u32 bits, without;
};

static const struct effect_row effect_rows[] = {
        { ROW("em", "CR0.EM = 1: an x87 instruction faults", NULL, "x87"),
          &x87_code, CR0_EM, CR0_EM },
        { ROW("ts", "CR0.TS = 1: an x87 instruction faults", NULL, "x87"),
          &x87_code, CR0_TS, CR0_TS },
        { ROW("mp", "CR0.MP = CR0.TS = 1: WAIT faults", NULL, "x87"),
          &wait_code, CR0_MP | CR0_TS, CR0_MP },
};

TABLE(cr0_effect, effect_rows, .id = "entry.load.cr0.effect", .sdm = SDM,
      .rules = "ENTL_CR0_LOADED")
{
        const struct effect_row *r = case_row(self, row);

        for (unsigned on = 0; on < 2; on++) {
                struct vm *vm = vm_begin(GUEST_NATIVE);
                ulong host = read_cr0();

                vmwrite(VMCS_EXCEPTION_BITMAP, 0xffffffff);
                vm_control(VMCS_GUEST_CR0, on ? r->bits : r->bits & ~r->without,
                           on ? 0 : r->without);
                write_cr0(on ? host & ~(ulong)r->without : host | r->without);
                vm_program(vm, *r->program);
                vm_poison(0);
                if (!on) {
                        CHECK_EXIT("the bit is 0 in the guest", vm_enter(vm),
                                   EXITS(EXIT_VMCALL));
                        continue;
                }
                CHECK_EXIT("the bit is 1 in the guest", vm_enter(vm),
                           EXITS_WITH(EXIT_EXCEPTION_NMI, 0));
                CHECK_EXITING_EVENT(HARDWARE(VEC_NM), 0);
                CHECK_VMCS(GUEST_RIP, vm->entry_rip);
        }
}

CASE(cr0_wp_effect, .id = "entry.load.cr0.effect.wp",
     .title = "CR0.WP = 1: a supervisor's write to a read-only page faults",
     .sdm = SDM, .rules = "ENTL_CR0_LOADED")
{
        for (unsigned on = 0; on < 2; on++) {
                struct vm *vm = vm_begin(GUEST_NATIVE);
                ulong host = read_cr0();
                u32 *page = page_alloc(1);

                vmwrite(VMCS_EXCEPTION_BITMAP, 0xffffffff);
                *vm_pte(vm, page) &= ~(u64)PTE_W;
                vm_control(VMCS_GUEST_CR0, on ? CR0_WP : 0, on ? 0 : CR0_WP);
                write_cr0(on ? host & ~(ulong)CR0_WP : host | CR0_WP);
                vm_program(vm, store);
                vm->regs.rcx = (ulong)page;
                vm_poison(0);
                if (!on) {
                        CHECK_EXIT("the write with CR0.WP = 0", vm_enter(vm),
                                   EXITS(EXIT_VMCALL));
                        CHECK_EQ("the page", *page, (u32)vm->regs.rax);
                        continue;
                }
                CHECK_EXIT("the write with CR0.WP = 1", vm_enter(vm),
                           EXITS_WITH(EXIT_EXCEPTION_NMI, (ulong)page));
                /* The guests' pages are user pages; the access is not. */
                CHECK_EXITING_EVENT(HARDWARE_CODE(VEC_PF), PF_P | PF_W);
                CHECK_EQ("the page", *page, 0);
        }
}

/*
 * CD = 0 and NW = 1 can not be in the processor at once (general-protection
 * exception); of the host's values this leaves 0 and CD alone, as both at once
 * would end the coherency of its memory. VM exits do not touch the bits either.
 */
static void cd_nw(unsigned row, bool host_cd)
{
        const u64 both = CR0_CD | CR0_NW;
        struct vm *vm = vm_begin(GUEST_NATIVE);
        ulong host = read_cr0(), after;
        u64 seen, field;

        vm_control(VMCS_GUEST_CR0, 0, both);
        vm_control(VMCS_GUEST_CR0, (u64)row << 29, 0);
        if (host_cd)
                write_cr0(host | CR0_CD);
        seen = guest_value(vm, get_cr0);
        field = vmread(VMCS_GUEST_CR0);
        after = read_cr0();
        write_cr0(host);
        CHECK_MASKED("CR0 in the guest", seen, host_cd ? CR0_CD : 0, both);
        CHECK_MASKED("CR0 that the VM exit saved", field, host_cd ? CR0_CD : 0,
                     both);
        CHECK_MASKED("CR0 of the host afterwards", after,
                     host_cd ? CR0_CD : 0, both);
}

FAMILY(cr0_cd_nw, 4, .id = "entry.load.cr0.cd-nw",
       .title = "NW and CD (in this order) of the field: the guest has 0, as the host",
       .sdm = SDM, .rules = "ENTL_CR0_CD_NW_KEPT")
{
        cd_nw(row, false);
}

FAMILY(cr0_cd_host, 4, .id = "entry.load.cr0.cd-nw.host-cd",
       .title = "NW and CD (in this order) of the field: the guest has CD, as the host",
       .sdm = SDM, .rules = "ENTL_CR0_CD_NW_KEPT ENTL_CR0_CD_KEPT_WHEN_HOST_SET")
{
        cd_nw(row, true);
}

CASE(cr0_et, .id = "entry.load.cr0.et",
     .title = "CR0.ET stays 1, whatever the field has", .sdm = SDM,
     .rules = "ENTL_CR0_ET_KEPT")
{
        struct vm *vm;

        if (vmx_caps()->cr0_fixed0 & CR0_ET) {
                case_skip("CR0.ET = 0 is refused: IA32_VMX_CR0_FIXED0");
                return;
        }
        for (unsigned value = 0; value < 2; value++) {
                vm = vm_begin(GUEST_NATIVE);
                vm_control(VMCS_GUEST_CR0, value ? CR0_ET : 0,
                           value ? 0 : CR0_ET);
                CHECK_MASKED("CR0 in the guest", guest_value(vm, get_cr0),
                             CR0_ET, CR0_ET);
                CHECK_VMCS_MASKED(GUEST_CR0, CR0_ET, CR0_ET);
        }
}

/* Where IA32_VMX_CR0_FIXED1 forbids a bit the field can not have it. */
FAMILY(cr0_reserved, 21, .id = "entry.load.cr0.reserved",
       .title = "a reserved bit of CR0 (15:6, 17, 28:19) is not loaded",
       .sdm = SDM, .rules = "ENTL_CR0_RESERVED_KEPT_ZERO")
{
        u64 bit = BIT(row < 10 ? 6 + row : row == 10 ? 17 : 8 + row);
        struct vm *vm;

        if (!(vmx_caps()->cr0_fixed1 & bit)) {
                case_skip("the bit is refused: IA32_VMX_CR0_FIXED1");
                return;
        }
        for (unsigned value = 0; value < 2; value++) {
                vm = vm_begin(GUEST_NATIVE);
                vm_control(VMCS_GUEST_CR0, value ? bit : 0, value ? 0 : bit);
                CHECK_MASKED("CR0 in the guest", guest_value(vm, get_cr0), 0,
                             bit);
                CHECK_VMCS_MASKED(GUEST_CR0, 0, bit);
        }
}

/* MOV from CR3 exits where the processor knows no other way. */
static bool cr3_hidden(void)
{
        if (control_can_be_0(WORD_PRIMARY, CTL_PRIMARY_CR3_STORE_EXITING))
                return false;
        case_skip("\"CR3-store exiting\" can not be 0");
        return true;
}

/* A root of the guest's own: its address, and what it maps. */
CASE(cr3_address, .id = "entry.load.cr3.address",
     .title = "CR3 comes from the field, and the guest's paging uses it",
     .sdm = SDM, .rules = "ENTL_CR3_LOADED")
{
        struct vm *vm = vm_begin(GUEST_NATIVE);
        u32 *there = page_alloc(1), *elsewhere = page_alloc(1);
        u64 cr3, *pte;

        if (cr3_hidden())
                return;
        *there = 0x11111111;
        *elsewhere = 0x22222222;
        pte = vm_pte(vm, there);
        *pte = (*pte & ~PTE_ADDR) | phys(elsewhere);
        cr3 = vmread(VMCS_GUEST_CR3);
        CHECK("the root is the guest's own", cr3 != read_cr3(), "it is not");
        CHECK_EQ("CR3 in the guest", guest_value(vm, get_cr3), cr3);
        CHECK_VMCS(GUEST_CR3, cr3);

        vm->regs.rcx = (ulong)there;
        CHECK_EQ("a page that only the guest's tables map otherwise",
                 (u32)guest_value(vm, load), *elsewhere);
}

FAMILY(cr3_low, 2, .id = "entry.load.cr3.low",
       .title = "PWT and PCD (in this order) of CR3 come from the field",
       .sdm = SDM, .rules = "ENTL_CR3_LOADED")
{
        u32 bit = row ? CR3_PCD : CR3_PWT;

        if (cr3_hidden())
                return;
        for (unsigned value = 0; value < 2; value++) {
                struct vm *vm = vm_begin(GUEST_NATIVE);
                u64 field;

                vm_control(VMCS_GUEST_CR3, value ? bit : 0, value ? 0 : bit);
                field = vmread(VMCS_GUEST_CR3);
                CHECK_EQ("CR3 in the guest", guest_value(vm, get_cr3), field);
        }
}

CASE(cr3_pcid, .id = "entry.load.cr3.pcid",
     .title = "CR3[11:0], a PCID with CR4.PCIDE = 1, comes from the field",
     .sdm = SDM, .rules = "ENTL_CR3_LOADED", .needs = "host64 pcid")
{
        static const u16 pcids[] = { 0xfff, 0xa5a, 0x5a5, 0x000 };

        if (cr3_hidden())
                return;
        for (unsigned i = 0; i < ARRAY_LEN(pcids); i++) {
                struct vm *vm = vm_begin(GUEST_LONG);
                u64 cr3 = vmread(VMCS_GUEST_CR3) | pcids[i];

                vm_control(VMCS_GUEST_CR4, CR4_PCIDE, 0);
                vmwrite(VMCS_GUEST_CR3, cr3);
                CHECK_EQ("CR3 in the guest", guest_value(vm, get_cr3), cr3);
                CHECK_VMCS(GUEST_CR3, cr3);
        }
}

/* Bits that change nothing for the first instruction of a guest. */
static const struct bit_row cr4_rows[] = {
        { ROW("tsd"), CR4_TSD },
        { ROW("de", NULL, NULL, "debugging-extensions"), CR4_DE },
        { ROW("mce", NULL, NULL, "mce"), CR4_MCE },
        { ROW("pge", NULL, NULL, "pge"), CR4_PGE },
        { ROW("pce"), CR4_PCE },
        { ROW("osfxsr", NULL, NULL, "fxsr"), CR4_OSFXSR },
        { ROW("osxmmexcpt", NULL, NULL, "sse"), CR4_OSXMMEXCPT },
        { ROW("umip", NULL, NULL, "umip"), CR4_UMIP },
        { ROW("fsgsbase", NULL, NULL, "fsgsbase"), CR4_FSGSBASE },
        { ROW("osxsave", NULL, NULL, "xsave"), CR4_OSXSAVE },
};

#define CR4_BITS(name, guest)                                               \
TABLE(cr4_##name, cr4_rows, .id = "entry.load.cr4.bit." #name,              \
      .title = "a bit of CR4 comes from the field, not from the host",      \
      .sdm = SDM, .rules = "ENTL_CR4_LOADED")                               \
{                                                                           \
        check_bit(&cr4, case_row(self, row), guest);                        \
}
CR4_BITS(native, GUEST_NATIVE)
CR4_BITS(pae, GUEST_PAE)

CASE(cr4_de_effect, .id = "entry.load.cr4.effect.de",
     .title = "CR4.DE = 1: DR4 is not an alias of DR6", .sdm = SDM,
     .rules = "ENTL_CR4_LOADED", .needs = "debugging-extensions")
{
        for (unsigned on = 0; on < 2; on++) {
                struct vm *vm = vm_begin(GUEST_NATIVE);
                ulong host = read_cr4();

                vmwrite(VMCS_EXCEPTION_BITMAP, 0xffffffff);
                vm_control(VMCS_GUEST_CR4, on ? CR4_DE : 0, on ? 0 : CR4_DE);
                write_cr4(on ? host & ~(ulong)CR4_DE : host | CR4_DE);
                vm_program(vm, get_dr4);
                vm_poison(0);
                if (!on) {
                        CHECK_EXIT("MOV from DR4 with CR4.DE = 0", vm_enter(vm),
                                   EXITS(EXIT_VMCALL));
                        continue;
                }
                CHECK_EXIT("MOV from DR4 with CR4.DE = 1", vm_enter(vm),
                           EXITS_WITH(EXIT_EXCEPTION_NMI, 0));
                CHECK_EXITING_EVENT(HARDWARE(VEC_UD), 0);
        }
}
