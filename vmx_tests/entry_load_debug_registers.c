/*
 * SDM Vol. 3, VM Entries > Loading Guest State > Loading Guest Control
 * Registers, Debug Registers, and MSRs: DR7, IA32_DEBUGCTL, and the debug
 * registers that VM entry leaves alone. VM exits set DR7 and IA32_DEBUGCTL.
 */
#include "lib/check.h"
#include "x86/cpu.h"
#include "x86/msr.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/event.h"
#include "x86/vmx/exit_probe.h"
#include "x86/vmx/guest_msr.h"

#define SDM "VM Entries > Loading Guest Control Registers, Debug Registers, and MSRs"

PROGRAM(get_dr7, 32, "mov %dr7, %eax\nvmcall\n");
PROGRAM(nops, 32, "nop\nnop\nvmcall\n");
PROGRAM(read_memory, NATIVE_BITS, "mov (%" CX "), %al\nnop\nvmcall\n");
/* One unconditional branch, from the third instruction to the last but one. */
PROGRAM(branches, 32, "nop\nnop\njmp 1f\nnop\n1: nop\nvmcall\n");

/* What of the qualification of a debug exception is defined. */
#define DEBUG_QUALIFICATION (BITS(3, 0) | BIT(11) | BIT(13) | BIT(14) | BIT(16))

static struct vm *debug_guest(u64 dr7)
{
        struct vm *vm = vm_begin(GUEST_NATIVE);

        vm_control(VMCS_ENTRY_CONTROLS, CTL_ENTRY_LOAD_DEBUG_CONTROLS, 0);
        vmwrite(VMCS_GUEST_DR7, dr7);
        vmwrite(VMCS_EXCEPTION_BITMAP, 0xffffffff);
        return vm;
}

/* "Load debug controls" = 0, where the processor knows that. */
static bool not_loaded(void)
{
        if (!control_can_be_0(WORD_ENTRY, CTL_ENTRY_LOAD_DEBUG_CONTROLS)) {
                case_skip("\"load debug controls\" can not be 0");
                return false;
        }
        vm_control(VMCS_ENTRY_CONTROLS, 0, CTL_ENTRY_LOAD_DEBUG_CONTROLS);
        return true;
}

static void check_dr7(struct vm *vm, u64 want)
{
        vm_program(vm, get_dr7);
        vm_poison(0);
        CHECK_EXIT("MOV from DR7", vm_enter(vm), EXITS(EXIT_VMCALL));
        CHECK_EQ("DR7 in the guest", vm->regs.rax, want);
}

struct dr7_row {
        struct row head;
        u32 field, want;
};

static const struct dr7_row dr7_rows[] = {
        { ROW("none"), 0x400, 0x400 },
        { ROW("l0"), 0x401, 0x401 },
        { ROW("g0"), 0x402, 0x402 },
        { ROW("l1-g1-l2-g2-l3-g3"), 0x4fc, 0x4fc },
        { ROW("le-ge"), 0x700, 0x700 },
        { ROW("gd"), 0x2400, 0x2400 },
        { ROW("rw0-len0"), 0x000d0400, 0x000d0400 },
        { ROW("rw1-len1"), 0x00f00400, 0x00f00400 },
        { ROW("rw2-len2"), 0x07000400, 0x07000400 },
        { ROW("rw3-len3"), 0xd0000400, 0xd0000400 },
};

/* A read of DR7 faults with GD = 1: that field shows on exit, and by the fault. */
TABLE(dr7, dr7_rows, .id = "entry.load.dr7",
      .title = "DR7 comes from the field", .sdm = SDM,
      .rules = "ENTL_DR7_LOADED",
      .needs = "load-debug-controls save-debug-controls")
{
        const struct dr7_row *r = case_row(self, row);
        struct vm *vm = debug_guest(r->field);

        vm_control(VMCS_EXIT_CONTROLS, CTL_EXIT_SAVE_DEBUG_CONTROLS, 0);
        if (r->field & DR7_GD) {
                vm_program(vm, get_dr7);
                vm_poison(0);
                CHECK_EXIT("MOV from DR7 with DR7.GD = 1", vm_enter(vm),
                           EXITS(EXIT_EXCEPTION_NMI));
                CHECK_EXITING_EVENT(HARDWARE(VEC_DB), 0);
                CHECK_MASKED("exit qualification",
                             vmread(VMCS_EXIT_QUALIFICATION), DR6_BD,
                             DEBUG_QUALIFICATION);
                vm = debug_guest(r->field);
                vm_control(VMCS_EXIT_CONTROLS, CTL_EXIT_SAVE_DEBUG_CONTROLS, 0);
                vm_poison(0);
                CHECK_EXIT("VMCALL", vm_enter(vm), EXITS(EXIT_VMCALL));
        } else {
                check_dr7(vm, r->want);
        }
        CHECK_VMCS(GUEST_DR7, r->want);
        CHECK_EQ("DR7 of the host afterwards", read_dr7(), DR7_INIT);
}

static const struct dr7_row fixed_rows[] = {
        { ROW("bit-10"), 0x000, 0x400 },
        { ROW("bit-12"), 0x1400, 0x400 },
        { ROW("bit-14"), 0x4400, 0x400 },
        { ROW("bit-15"), 0x8400, 0x400 },
        { ROW("all"), 0xd000, 0x400 },
        { ROW("all.enabled"), 0xd002, 0x402 },
};

TABLE(dr7_fixed, fixed_rows, .id = "entry.load.dr7.fixed",
      .title = "DR7 has bits 15, 14, 12 = 0 and bit 10 = 1 whatever the field has",
      .sdm = SDM, .rules = "ENTL_DR7_FIXED_BITS",
      .needs = "load-debug-controls save-debug-controls")
{
        const struct dr7_row *r = case_row(self, row);
        struct vm *vm = debug_guest(r->field);

        vm_control(VMCS_EXIT_CONTROLS, CTL_EXIT_SAVE_DEBUG_CONTROLS, 0);
        check_dr7(vm, r->want);
        CHECK_VMCS(GUEST_DR7, r->want);
}

/* What an enabled breakpoint does, against the same one disabled. */
struct breakpoint_row {
        struct row head;
        const struct program *program;
        unsigned at, next; /* offsets of the breakpoint and of the saved RIP */
        u32 dr7;
        bool data;
};

static const struct breakpoint_row breakpoint_rows[] = {
        { ROW("execute", "an instruction breakpoint of the field is met"),
          &nops, 1, 1, DR7_FIXED | DR7_G(0) },
        { ROW("execute-local", "the same, enabled by L0"),
          &nops, 1, 1, DR7_FIXED | DR7_L(0) },
        { ROW("data", "a data breakpoint of the field is met"), &read_memory, 0,
          2, DR7_FIXED | DR7_G(0) | DR7_RW(0, 3), true },
};

TABLE(breakpoint, breakpoint_rows, .id = "entry.load.dr7.breakpoint",
      .sdm = SDM, .rules = "ENTL_DR7_LOADED", .needs = "load-debug-controls")
{
        const struct breakpoint_row *r = case_row(self, row);
        static u8 data;

        for (unsigned on = 0; on < 2; on++) {
                struct vm *vm = debug_guest(on ? r->dr7 : r->dr7 & ~3u);
                struct vmx_result got;

                vm_program(vm, *r->program);
                vm->regs.rcx = (ulong)&data;
                vm_poison(0);
                write_dr0(r->data ? (ulong)&data : vm->entry_rip + r->at);
                got = vm_enter(vm);
                write_dr0(0);
                if (!on) {
                        CHECK_EXIT("the breakpoint is disabled", got,
                                   EXITS(EXIT_VMCALL));
                        continue;
                }
                CHECK_EXIT("the breakpoint is enabled", got,
                           EXITS(EXIT_EXCEPTION_NMI));
                CHECK_EXITING_EVENT(HARDWARE(VEC_DB), 0);
                CHECK_MASKED("exit qualification",
                             vmread(VMCS_EXIT_QUALIFICATION), DR6_B0,
                             DEBUG_QUALIFICATION);
                CHECK_VMCS(GUEST_RIP, vm->entry_rip + r->next);
        }
}

CASE(dr7_kept, .id = "entry.load.dr7.not-loaded",
     .title = "without \"load debug controls\" the guest has the host's DR7",
     .sdm = SDM, .rules = "ENTL_DR7_NOT_LOADED",
     .needs = "load-debug-controls")
{
        /* Breakpoint 0 is enabled, where nothing is executed. */
        for (u32 host = 0x400; host < 0x402; host++) {
                struct vm *vm = debug_guest(host ^ 1);

                if (!not_loaded())
                        return;
                write_dr7(host);
                check_dr7(vm, host);

                vm = debug_guest(host ^ 1);
                write_dr7(host);
                check_dr7(vm, host ^ 1);
        }
}

static bool host_debugctl(u64 value)
{
        return msr_takes(MSR_IA32_DEBUGCTL, value);
}

/* The guest, entered with @bit as @value and as @value ^ @bit in the host. */
static void check_debugctl(u64 bit, u64 value)
{
        struct vm *vm = debug_guest(DR7_INIT);

        vm_allow_msrs(vm);
        vmwrite(VMCS_EXCEPTION_BITMAP, 0);
        vmwrite(VMCS_GUEST_DEBUGCTL, value);
        (void)host_debugctl(value ^ bit);
        CHECK_EQ("IA32_DEBUGCTL in the guest", vm_rdmsr(vm, MSR_IA32_DEBUGCTL),
                 value);
}

/* BTF is on every processor. */
CASE(debugctl, .id = "entry.load.debugctl",
     .title = "IA32_DEBUGCTL comes from the field", .sdm = SDM,
     .rules = "ENTL_DEBUGCTL_LOADED",
     .needs = "load-debug-controls use-msr-bitmaps")
{
        check_debugctl(DEBUGCTL_BTF, 0);
        check_debugctl(DEBUGCTL_BTF, DEBUGCTL_BTF);
}

CASE(debugctl_lbr, .id = "entry.load.debugctl.lbr",
     .title = "IA32_DEBUGCTL.LBR comes from the field", .sdm = SDM,
     .rules = "ENTL_DEBUGCTL_LOADED",
     .needs = "load-debug-controls use-msr-bitmaps")
{
        if (!host_debugctl(DEBUGCTL_LBR)) {
                case_skip("WRMSR can not set IA32_DEBUGCTL.LBR");
                return;
        }
        check_debugctl(DEBUGCTL_LBR, 0);
        check_debugctl(DEBUGCTL_LBR, DEBUGCTL_LBR);
        (void)host_debugctl(0);
}

CASE(btf, .id = "entry.load.debugctl.btf-effect",
     .title = "BTF = 1 from the field: RFLAGS.TF steps on branches", .sdm = SDM,
     .rules = "ENTL_DEBUGCTL_LOADED", .needs = "load-debug-controls")
{
        for (unsigned on = 0; on < 2; on++) {
                struct vm *vm = debug_guest(DR7_INIT);

                vmwrite(VMCS_GUEST_DEBUGCTL, on ? DEBUGCTL_BTF : 0);
                vm_control(VMCS_GUEST_RFLAGS, RFLAGS_TF, 0);
                vm_program(vm, branches);
                vm_poison(0);
                CHECK_EXIT("single step", vm_enter(vm),
                           EXITS(EXIT_EXCEPTION_NMI));
                CHECK_EXITING_EVENT(HARDWARE(VEC_DB), 0);
                CHECK_MASKED("exit qualification",
                             vmread(VMCS_EXIT_QUALIFICATION), DR6_BS,
                             DEBUG_QUALIFICATION);
                /* After the first instruction, or at the branch's target. */
                CHECK_VMCS(GUEST_RIP, vm->entry_rip + (on ? 5 : 1));
        }
}

CASE(debugctl_kept, .id = "entry.load.debugctl.not-loaded",
     .title = "without \"load debug controls\" the guest has the host's "
              "IA32_DEBUGCTL", .sdm = SDM,
     .rules = "ENTL_DEBUGCTL_NOT_LOADED",
     .needs = "load-debug-controls use-msr-bitmaps")
{
        for (u64 host = 0; host <= DEBUGCTL_BTF; host += DEBUGCTL_BTF) {
                struct vm *vm = debug_guest(DR7_INIT);

                if (!not_loaded())
                        return;
                vm_allow_msrs(vm);
                vmwrite(VMCS_GUEST_DEBUGCTL, host ^ DEBUGCTL_BTF);
                if (!host_debugctl(host)) {
                        case_skip("WRMSR can not write IA32_DEBUGCTL");
                        return;
                }
                CHECK_EQ("IA32_DEBUGCTL in the guest",
                         vm_rdmsr(vm, MSR_IA32_DEBUGCTL), host);
        }
}

#define GET(n) "mov %dr" #n ", %" AX "\nvmcall\n"
PROGRAM(get_dr0, NATIVE_BITS, GET(0));
PROGRAM(get_dr1, NATIVE_BITS, GET(1));
PROGRAM(get_dr2, NATIVE_BITS, GET(2));
PROGRAM(get_dr3, NATIVE_BITS, GET(3));
PROGRAM(get_dr6, NATIVE_BITS, GET(6));

struct kept_row {
        struct row head;
        const struct program *program;
        void (*write)(ulong);
        ulong (*read)(void);
        ulong values[2], after;
};

#define KEPT(n, first, second, after_)                               \
        { ROW("dr" #n), &get_dr##n, write_dr##n, read_dr##n,         \
          { (ulong)(first), (ulong)(second) }, after_ }
static const struct kept_row kept_rows[] = {
        KEPT(0, 0x5a5a1230, 0xffffffffa5a54560, 0),
        KEPT(1, 0x12345678, 0xffffffffedcba980, 0),
        KEPT(2, 0xffffffff, 0x00007ffffffffff0, 0),
        KEPT(3, 0x80000001, 0xffff800000000000, 0),
        KEPT(6, DR6_INIT | DR6_B0 | DR6_B2 | DR6_BS,
             DR6_INIT | DR6_B1 | DR6_B3 | DR6_BD | DR6_BT, DR6_INIT),
};

TABLE(kept, kept_rows, .id = "entry.load.debug-registers.kept",
      .title = "VM entry leaves DR0 to DR3 and DR6 alone", .sdm = SDM,
      .rules = "ENTL_DR0_3_DR6_NOT_LOADED", .needs = "load-debug-controls")
{
        const struct kept_row *r = case_row(self, row);

        for (unsigned i = 0; i < ARRAY_LEN(r->values); i++) {
                struct vm *vm = debug_guest(DR7_INIT);
                struct vmx_result got;
                ulong after;

                vm_program(vm, *r->program);
                vm_poison(0);
                r->write(r->values[i]);
                got = vm_enter(vm);
                after = r->read();
                r->write(r->after);
                CHECK_EXIT("the guest", got, EXITS(EXIT_VMCALL));
                CHECK_EQ("the register in the guest", vm->regs.rax,
                         r->values[i]);
                CHECK_EQ("the register after the VM exit", after, r->values[i]);
        }
}
