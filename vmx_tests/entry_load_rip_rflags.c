/*
 * SDM Vol. 3, VM Entries > Loading Guest State > Loading Guest RIP, RSP, and
 * RFLAGS.
 */
#include "lib/check.h"
#include "lib/string.h"
#include "x86/cpu.h"
#include "x86/memory.h"
#include "x86/vmx/event.h"
#include "x86/vmx/exit_probe.h"
#include "x86/vmx/segment.h"
#include "x86/vmx/session.h"

#define SDM "VM Entries > Loading Guest RIP, RSP, and RFLAGS"
#define UG "unrestricted-guest"

/* Each instruction has 2 bytes, in every mode. */
#define ADDS "add $1, %al\nadd $1, %al\nadd $1, %al\nadd $1, %al\nvmcall\n"
PROGRAM(adds, 32, ADDS);
#define ADDS_COUNT 4u

struct mode_row {
        struct row head;
        enum guest_mode mode;
};

static const struct mode_row rip_rows[] = {
        { ROW("long", NULL, NULL, "host64"), GUEST_LONG },
        { ROW("compat", NULL, NULL, "host64"), GUEST_COMPAT },
        { ROW("pae"), GUEST_PAE }, { ROW("32"), GUEST_32 },
        { ROW("v86"), GUEST_V86 },
        { ROW("protected", NULL, NULL, UG), GUEST_PROTECTED },
        { ROW("real", NULL, NULL, UG), GUEST_REAL },
};

/* The base of CS counts where the mode has one of its own; see below. */
#define BASE_SHIFT 0x40u

static bool has_code_base(enum guest_mode mode)
{
        return mode != GUEST_LONG && mode != GUEST_V86;
}

TABLE(rip, rip_rows, .id = "entry.load.rip",
      .title = "the first instruction is at CS's base + RIP", .sdm = SDM,
      .rules = "ENTL_RIP")
{
        const struct mode_row *r = case_row(self, row);

        for (unsigned skip = 0; skip <= ADDS_COUNT; skip++) {
                struct vm *vm = vm_begin(r->mode);
                u64 rip;

                vm_program(vm, adds);
                rip = vmread(VMCS_GUEST_RIP) + 2 * skip;
                if (has_code_base(r->mode)) {
                        vmwrite(SEG_BASE(SEG_CS),
                                (u32)(vmread(SEG_BASE(SEG_CS)) - BASE_SHIFT));
                        rip += BASE_SHIFT;
                }
                vmwrite(VMCS_GUEST_RIP, rip);
                vm->regs.rax = 0;
                vm_poison(0);
                CHECK_EXIT("the guest", vm_enter(vm), EXITS(EXIT_VMCALL));
                CHECK_EQ("additions", (u8)vm->regs.rax, ADDS_COUNT - skip);
                CHECK_VMCS(GUEST_RIP, rip + 2 * (ADDS_COUNT - skip));
        }
}

CASE(rip_high, .id = "entry.load.rip.high",
     .title = "all 64 bits of RIP are loaded", .sdm = SDM, .rules = "ENTL_RIP",
     .needs = "host64")
{
        struct vm *vm = vm_begin(GUEST_LONG);
        u64 *pml4 = page_alloc(1), high = 0xffff800000000000;

        memcpy(pml4, guest_env()->pml4, PAGE_SIZE);
        pml4[256] = pml4[0];
        vmwrite(VMCS_GUEST_CR3, phys(pml4));
        vm_program(vm, adds);
        high += vm->entry_rip;
        vmwrite(VMCS_GUEST_RIP, high);
        vm->regs.rax = 0;
        vm_poison(0);
        CHECK_EXIT("the guest", vm_enter(vm), EXITS(EXIT_VMCALL));
        CHECK_EQ("additions", (u8)vm->regs.rax, ADDS_COUNT);
        CHECK_VMCS(GUEST_RIP, high + 2 * ADDS_COUNT);
}

PROGRAM(get_rsp, NATIVE_BITS, "mov %" SP ", %" AX "\nvmcall\n");
PROGRAM(get_esp, 32, "mov %esp, %eax\nvmcall\n");
PROGRAM(get_esp_16, 16, "mov %esp, %eax\nvmcall\n");

/* The field is not checked: a stack pointer need not be canonical. */
FAMILY(rsp, 5, .id = "entry.load.rsp",
       .title = "RSP is the field, all of it", .sdm = SDM,
       .rules = "ENTL_RSP_64", .needs = "host64")
{
        static const u64 values[] = {
                0xffff800000001000, 0x00007ffffffffff1, 0x123456789abcdef0, 0,
                0xffffffffffffffff,
        };
        struct vm *vm = vm_begin(GUEST_LONG);

        vm_program(vm, get_rsp);
        vmwrite(VMCS_GUEST_RSP, values[row]);
        vm_poison(0);
        CHECK_EXIT("the guest", vm_enter(vm), EXITS(EXIT_VMCALL));
        CHECK_EQ("RSP in the guest", vm->regs.rax, values[row]);
        CHECK_VMCS(GUEST_RSP, values[row]);
}

static const struct mode_row esp_rows[] = {
        { ROW("compat", NULL, NULL, "host64"), GUEST_COMPAT },
        { ROW("pae"), GUEST_PAE }, { ROW("32"), GUEST_32 },
        { ROW("v86"), GUEST_V86 },
        { ROW("protected", NULL, NULL, UG), GUEST_PROTECTED },
        { ROW("real", NULL, NULL, UG), GUEST_REAL },
};

/* Bits 63:32 may be ignored, and what becomes of them is undefined. */
TABLE(esp, esp_rows, .id = "entry.load.esp",
      .title = "outside 64-bit mode ESP is bits 31:0 of the field", .sdm = SDM,
      .rules = "ENTL_RSP_HIGH_UNDEFINED")
{
        static const u64 values[] = {
                0x12345678, 0xfedcba98, 0xffffffff00000000, 0x123456789abcdef0,
        };
        const struct mode_row *r = case_row(self, row);
        bool is_16 = r->mode == GUEST_V86 || r->mode == GUEST_REAL;

        for (unsigned i = 0; i < ARRAY_LEN(values); i++) {
                struct vm *vm = vm_begin(r->mode);

                vm_program(vm, is_16 ? get_esp_16 : get_esp);
                vmwrite(VMCS_GUEST_RSP, (ulong)values[i]);
                vm_poison(0);
                CHECK_EXIT("the guest", vm_enter(vm), EXITS(EXIT_VMCALL));
                CHECK_EQ("ESP in the guest", (u32)vm->regs.rax, (u32)values[i]);
                CHECK_VMCS_MASKED(GUEST_RSP, values[i], 0xffffffff);
        }
}

PROGRAM(get_flags, NATIVE_BITS, "pushf\npop %" AX "\nvmcall\n");
PROGRAM(get_flags_32, 32, "pushf\npop %eax\nvmcall\n");
PROGRAM(get_flags_16, 16, "pushfl\npop %eax\nvmcall\n");

struct flag_row {
        struct row head;
        u32 flag;
};

/* TF, RF and VM have cases of their own: the image does not show them. */
static const struct flag_row flags[] = {
        { ROW("none"), 0 }, { ROW("cf"), RFLAGS_CF }, { ROW("pf"), RFLAGS_PF },
        { ROW("af"), RFLAGS_AF }, { ROW("zf"), RFLAGS_ZF },
        { ROW("sf"), RFLAGS_SF }, { ROW("if"), RFLAGS_IF },
        { ROW("df"), RFLAGS_DF }, { ROW("of"), RFLAGS_OF },
        { ROW("iopl-1"), 1u << 12 }, { ROW("iopl-2"), 2u << 12 },
        { ROW("iopl-3"), RFLAGS_IOPL }, { ROW("nt"), RFLAGS_NT },
        { ROW("ac"), RFLAGS_AC }, { ROW("vif"), RFLAGS_VIF },
        { ROW("vip"), RFLAGS_VIP }, { ROW("id"), RFLAGS_ID },
};

/* The flag is 1 with all others 0, and the other way round. */
static void check_flag(enum guest_mode mode, struct program program, u32 flag)
{
        const u32 all = RFLAGS_ARITH | RFLAGS_IF | RFLAGS_DF | RFLAGS_IOPL |
                        RFLAGS_NT | RFLAGS_AC | RFLAGS_VIF | RFLAGS_VIP |
                        RFLAGS_ID;

        for (unsigned i = 0; i < 2; i++) {
                struct vm *vm = vm_begin(mode);
                u32 rflags = RFLAGS_FIXED | (i ? all & ~flag : flag);

                vm_program(vm, program);
                vmwrite(VMCS_GUEST_RFLAGS, rflags);
                vm_poison(0);
                CHECK_EXIT("the guest", vm_enter(vm), EXITS(EXIT_VMCALL));
                CHECK_EQ("RFLAGS in the guest", vm->regs.rax, rflags);
                CHECK_VMCS(GUEST_RFLAGS, rflags);
        }
}

#define FLAGS(name, guest, program, needs_)                                 \
TABLE(flags_##name, flags, .id = "entry.load.rflags." #name,                \
      .title = "a flag is the field's", .sdm = SDM, .rules = "ENTL_RFLAGS", \
      .needs = needs_)                                                      \
{                                                                           \
        const struct flag_row *r = case_row(self, row);                     \
                                                                            \
        check_flag(guest, program, r->flag);                                \
}
FLAGS(native, GUEST_NATIVE, get_flags, "")
FLAGS(pae, GUEST_PAE, get_flags_32, "host64")
FLAGS(real, GUEST_REAL, get_flags_16, UG)

PROGRAM(nops, 32, "nop\nnop\nvmcall\n");
#define DEBUG_QUALIFICATION (BITS(3, 0) | BIT(11) | BIT(13) | BIT(14) | BIT(16))

static void check_debug_exit(struct vm *vm, u64 qualification, unsigned advance)
{
        CHECK_EXIT("the guest", vm_enter(vm), EXITS(EXIT_EXCEPTION_NMI));
        CHECK_EXITING_EVENT(HARDWARE(VEC_DB), 0);
        CHECK_MASKED("exit qualification", vmread(VMCS_EXIT_QUALIFICATION),
                     qualification, DEBUG_QUALIFICATION);
        CHECK_VMCS(GUEST_RIP, vm->entry_rip + advance);
}

CASE(rf, .id = "entry.load.rflags.rf",
     .title = "RF = 1: an instruction breakpoint at RIP is not met", .sdm = SDM,
     .rules = "ENTL_RFLAGS_RF", .needs = "load-debug-controls")
{
        for (unsigned on = 0; on < 2; on++) {
                struct vm *vm = vm_begin(GUEST_NATIVE);

                vm_program(vm, nops);
                vm_control(VMCS_ENTRY_CONTROLS, CTL_ENTRY_LOAD_DEBUG_CONTROLS, 0);
                vmwrite(VMCS_GUEST_DR7, DR7_FIXED | DR7_G(0));
                vmwrite(VMCS_EXCEPTION_BITMAP, BIT(VEC_DB));
                vm_control(VMCS_GUEST_RFLAGS, on ? RFLAGS_RF : 0, 0);
                write_dr0(vm->entry_rip);
                vm_poison(0);
                if (on)
                        CHECK_EXIT("RF = 1", vm_enter(vm), EXITS(EXIT_VMCALL));
                else
                        check_debug_exit(vm, DR6_B0, 0);
                write_dr0(0);
        }
}

/* RF goes after the first instruction. */
CASE(rf_once, .id = "entry.load.rflags.rf.once",
     .title = "RF = 1: a breakpoint at the second instruction is met", .sdm = SDM,
     .rules = "ENTL_RFLAGS_RF", .needs = "load-debug-controls")
{
        struct vm *vm = vm_begin(GUEST_NATIVE);

        vm_program(vm, nops);
        vm_control(VMCS_ENTRY_CONTROLS, CTL_ENTRY_LOAD_DEBUG_CONTROLS, 0);
        vmwrite(VMCS_GUEST_DR7, DR7_FIXED | DR7_G(0));
        vmwrite(VMCS_EXCEPTION_BITMAP, BIT(VEC_DB));
        vm_control(VMCS_GUEST_RFLAGS, RFLAGS_RF, 0);
        write_dr0(vm->entry_rip + 1);
        vm_poison(0);
        check_debug_exit(vm, DR6_B0, 1);
        write_dr0(0);
}

static const struct mode_row tf_rows[] = {
        { ROW("native"), GUEST_NATIVE },
        { ROW("pae", NULL, NULL, "host64"), GUEST_PAE },
};

TABLE(tf, tf_rows, .id = "entry.load.rflags.tf",
      .title = "TF = 1 steps after the first instruction", .sdm = SDM,
      .rules = "ENTL_RFLAGS_TF_STEP", .needs = "load-debug-controls")
{
        const struct mode_row *r = case_row(self, row);

        for (unsigned on = 0; on < 2; on++) {
                struct vm *vm = vm_begin(r->mode);

                vm_program(vm, nops);
                /* IA32_DEBUGCTL.BTF = 0. */
                vm_control(VMCS_ENTRY_CONTROLS, CTL_ENTRY_LOAD_DEBUG_CONTROLS, 0);
                vmwrite(VMCS_EXCEPTION_BITMAP, BIT(VEC_DB));
                vm_control(VMCS_GUEST_RFLAGS, on ? RFLAGS_TF : 0, 0);
                vm_poison(0);
                if (on)
                        check_debug_exit(vm, DR6_BS, 1);
                else
                        CHECK_EXIT("TF = 0", vm_enter(vm), EXITS(EXIT_VMCALL));
        }
}

PROGRAM(read_word, 32, "mov (%esi), %eax\nvmcall\n");
PROGRAM(cli_code, 32, "cli\nvmcall\n");

/* Three conditions, all of them needed. */
FAMILY(ac, 8, .id = "entry.load.rflags.ac",
       .title = "a misaligned read faults with AC = 1 (row bit 0), CR0.AM = 1 "
                "(1) and CPL 3 (2), not without one of them", .sdm = SDM,
       .rules = "ENTL_RFLAGS_AC_IOPL")
{
        static u32 words[2];
        struct vm *vm = vm_begin(GUEST_NATIVE);

        if (row & 4)
                vm_user(vm);
        vm_program(vm, read_word);
        vm_control(VMCS_GUEST_RFLAGS, row & 1 ? RFLAGS_AC : 0, 0);
        vm_control(VMCS_GUEST_CR0, row & 2 ? CR0_AM : 0, row & 2 ? 0 : CR0_AM);
        vmwrite(VMCS_EXCEPTION_BITMAP, 0xffffffff);
        vm->regs.rsi = (ulong)words + 1;
        vm_poison(0);
        if (row != 7) {
                CHECK_EXIT("the read", vm_enter(vm), EXITS(EXIT_VMCALL));
                return;
        }
        CHECK_EXIT("the read", vm_enter(vm), EXITS(EXIT_EXCEPTION_NMI));
        CHECK_EXITING_EVENT(HARDWARE_CODE(VEC_AC), 0);
}

FAMILY(iopl, 4, .id = "entry.load.rflags.iopl",
       .title = "CLI at CPL 3 runs with IOPL 3, not with a lower one", .sdm = SDM,
       .rules = "ENTL_RFLAGS_AC_IOPL")
{
        struct vm *vm = vm_begin(GUEST_NATIVE);

        vm_user(vm);
        vm_program(vm, cli_code);
        vm_control(VMCS_GUEST_RFLAGS, row << 12, 0);
        vmwrite(VMCS_EXCEPTION_BITMAP, 0xffffffff);
        vm_poison(0);
        if (row == 3) {
                CHECK_EXIT("CLI", vm_enter(vm), EXITS(EXIT_VMCALL));
                return;
        }
        CHECK_EXIT("CLI", vm_enter(vm), EXITS(EXIT_EXCEPTION_NMI));
        CHECK_EXITING_EVENT(HARDWARE_CODE(VEC_GP), 0);
}
