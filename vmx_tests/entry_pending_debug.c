/*
 * SDM Vol. 3, VM Entries > Delivery of Pending Debug Exceptions after VM Entry:
 * which values of the field are debug exceptions, and what delivery changes.
 * With injection, blocking and inactive states: entry_pending_debug_events.c.
 */
#include "x86/cpu.h"
#include "x86/msr.h"
#include "x86/vmx/event.h"

#define SDM "VM Entries > Delivery of Pending Debug Exceptions after VM Entry"

/* The bits of the exit qualification and of DR6 that the SDM defines for both. */
#define CAUSES (DR6_B0 | DR6_B1 | DR6_B2 | DR6_B3 | DR6_BD | DR6_BS)
#define BREAKPOINT (PENDING_ENABLED | PENDING_B(0))

PROGRAM(nops, NATIVE_BITS, "nop\n nop\n vmcall\n");

static struct vm *begin(u32 pending, u32 rflags, bool intercept)
{
        struct vm *vm = vm_begin(GUEST_NATIVE);

        vm_program(vm, nops);
        vmwrite(VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS, pending);
        vm_control(VMCS_GUEST_RFLAGS, rflags, 0);
        vmwrite(VMCS_EXCEPTION_BITMAP, intercept ? BIT(VEC_DB) : 0);
        write_dr6(DR6_INIT);
        vm_poison(0);
        return vm;
}

static const struct {
        struct row head;
        u32 pending, rflags;
        u32 causes;           /* 0: none, the first instruction executes */
        u32 unjudged;         /* of the causes */
} fields[] = {
        { ROW("none", "nothing", "POST_PDBG_VALID_BS POST_PDBG_VALID_EB"), 0, 0, 0, 0 },
        { ROW("bs", "BS", "POST_PDBG_VALID_BS"), PENDING_BS, RFLAGS_TF, DR6_BS, 0 },
        { ROW("bs.tf-clear", "BS, TF = 0", "POST_PDBG_TF_NOT_CONSULTED"), PENDING_BS,
          0, DR6_BS, 0 },
        { ROW("b0", "B0 and the enabled-breakpoint bit", "POST_PDBG_VALID_EB"),
          PENDING_ENABLED | PENDING_B(0), 0, DR6_B0, 0 },
        { ROW("b1", "B1 and the enabled-breakpoint bit", "POST_PDBG_VALID_EB"),
          PENDING_ENABLED | PENDING_B(1), 0, DR6_B1, 0 },
        { ROW("b2", "B2 and the enabled-breakpoint bit", "POST_PDBG_VALID_EB"),
          PENDING_ENABLED | PENDING_B(2), 0, DR6_B2, 0 },
        { ROW("b3", "B3 and the enabled-breakpoint bit", "POST_PDBG_VALID_EB"),
          PENDING_ENABLED | PENDING_B(3), 0, DR6_B3, 0 },
        { ROW("b0-b3", "B0 to B3 and the enabled-breakpoint bit", "POST_PDBG_VALID_EB"),
          PENDING_ENABLED | 15, 0, 15, 0 },
        { ROW("enabled", "the enabled-breakpoint bit alone",
              "POST_PDBG_VALID_EB_NO_B"), PENDING_ENABLED, 0, BIT(31), 0 },
        { ROW("b0-only", "B0 alone is none", "POST_PDBG_INVALID_B_ONLY"),
          PENDING_B(0), 0, 0, 0 },
        { ROW("b1-only", "B1 alone is none", "POST_PDBG_INVALID_B_ONLY"),
          PENDING_B(1), 0, 0, 0 },
        { ROW("b2-only", "B2 alone is none", "POST_PDBG_INVALID_B_ONLY"),
          PENDING_B(2), 0, 0, 0 },
        { ROW("b3-only", "B3 alone is none", "POST_PDBG_INVALID_B_ONLY"),
          PENDING_B(3), 0, 0, 0 },
        { ROW("bs-b0", "BS and B0: one #DB", "POST_PDBG_COMBINED"),
          PENDING_BS | BREAKPOINT, RFLAGS_TF, DR6_BS | DR6_B0, 0 },
        { ROW("bs-b0.not-enabled", "BS, and B0 without the enabled-breakpoint bit",
              "POST_PDBG_BS_B_WITHOUT_EB"),
          PENDING_BS | PENDING_B(0), RFLAGS_TF, DR6_BS, 15 },
};

/* Stands in a row for a #DB that reports no cause. */
#define NO_CAUSE ((u32)BIT(31))

TABLE(delivered, fields, .id = "entry.pending-debug.delivered",
      .title = "a pending debug exception is delivered before the first instruction",
      .sdm = SDM)
{
        struct vm *vm = begin(fields[row].pending, fields[row].rflags, false);
        u32 mask = CAUSES & ~fields[row].unjudged;
        struct vmx_result r = vm_enter(vm);
        struct guest_event event = { .has_error = false };
        u32 dr6 = (u32)read_dr6();

        if (fields[row].causes) {
                CHECK_DELIVERED("VM entry", vm, r, .vector = VEC_DB,
                                .rip = (ulong)nops.start,
                                .rflags = fields[row].rflags | RFLAGS_FIXED);
                CHECK_MASKED("DR6", dr6, fields[row].causes & ~NO_CAUSE, mask);
                /* There is no second one: a NOP would be single-stepped. */
                vmwrite(VMCS_GUEST_RIP, vm_handler(vm, VEC_DB));
                vm_event_return(&event);
                vm_control(VMCS_GUEST_RFLAGS, 0, RFLAGS_TF);
                if (!fields[row].rflags)
                        CHECK_EXIT("after IRET", vm_enter(vm), EXITS(EXIT_VMCALL));
        } else {
                CHECK_EXIT("VM entry", r, EXITS(EXIT_VMCALL));
                CHECK_EQ("DR6", dr6, DR6_INIT);
        }
        if (!fields[row].rflags)
                CHECK_VMCS(GUEST_RIP, (ulong)nops.start + 2);
        CHECK_VMCS(GUEST_PENDING_DEBUG_EXCEPTIONS, 0);
        write_dr6(DR6_INIT);
}

TABLE(intercepted, fields, .id = "entry.pending-debug.intercepted",
      .title = "a pending debug exception exits before the first instruction",
      .sdm = SDM, .rules = "POST_PDBG_INTERCEPTED_NO_UPDATE")
{
        struct vm *vm = begin(fields[row].pending, fields[row].rflags, true);
        u32 mask = CAUSES & ~fields[row].unjudged;
        struct vmx_result r = vm_enter(vm);

        CHECK_EQ("DR6", read_dr6(), DR6_INIT);
        if (!fields[row].causes) {
                CHECK_EXIT("VM entry", r, EXITS(EXIT_VMCALL));
                CHECK_VMCS(GUEST_RIP, (ulong)nops.start + 2);
                return;
        }
        CHECK_EXIT("VM entry", r, EXITS(EXIT_EXCEPTION_NMI));
        CHECK_EXITING_EVENT(HARDWARE(VEC_DB), 0);
        CHECK_ORIGINAL_EVENT(0, 0);
        CHECK_VMCS_MASKED(EXIT_QUALIFICATION, fields[row].causes & ~NO_CAUSE, mask);
        CHECK_VMCS(GUEST_RIP, (ulong)nops.start);
        CHECK_VMCS(GUEST_PENDING_DEBUG_EXCEPTIONS, 0);
}

/* TF alone: #DB after the first instruction. */
CASE(tf_only, .id = "entry.pending-debug.tf",
     .title = "TF without BS in the field: #DB after one instruction",
     .sdm = SDM, .rules = "POST_PDBG_TF_NOT_CONSULTED")
{
        struct vm *vm = begin(0, RFLAGS_TF, false);

        CHECK_DELIVERED("VM entry", vm, vm_enter(vm), .vector = VEC_DB,
                        .rip = (ulong)nops.start + 1);
        CHECK_MASKED("DR6", read_dr6(), DR6_BS, CAUSES);
        write_dr6(DR6_INIT);
}

CASE(rtm, .id = "entry.pending-debug.rtm",
     .title = "RTM and the enabled-breakpoint bit: #DB, with DR6.RTM = 0",
     .sdm = SDM, .rules = "POST_PDBG_RTM", .needs = "rtm")
{
        const u32 pending = DR6_RTM | PENDING_ENABLED;
        struct vm *vm = begin(pending, 0, true);

        CHECK_EXIT("intercepted", vm_enter(vm), EXITS(EXIT_EXCEPTION_NMI));
        CHECK_EXITING_EVENT(HARDWARE(VEC_DB), 0);
        CHECK_VMCS_MASKED(EXIT_QUALIFICATION, DR6_RTM, DR6_RTM | CAUSES);
        vm = begin(pending, 0, false);
        CHECK_DELIVERED("delivered", vm, vm_enter(vm), .vector = VEC_DB,
                        .rip = (ulong)nops.start);
        CHECK_MASKED("DR6", read_dr6(), 0, DR6_RTM | CAUSES);
        write_dr6(DR6_INIT);
}

static void load_debug(u64 dr7, u64 debugctl)
{
        vm_control(VMCS_ENTRY_CONTROLS, CTL_ENTRY_LOAD_DEBUG_CONTROLS, 0);
        vm_control(VMCS_EXIT_CONTROLS, CTL_EXIT_SAVE_DEBUG_CONTROLS, 0);
        vmwrite(VMCS_GUEST_DR7, dr7);
        vmwrite(VMCS_GUEST_DEBUGCTL, debugctl);
}

/* Accepted, or rather intercepted: nothing of it happens. */
FAMILY(gd, 2, .id = "entry.pending-debug.gd.delivered",
       .title = "delivery of a pending #DB clears DR7.GD, interception does not",
       .sdm = SDM, .rules = "POST_PDBG_DR6_UPDATE POST_PDBG_INTERCEPTED_NO_UPDATE",
       .needs = "load-debug-controls save-debug-controls")
{
        const u32 dr7 = DR7_FIXED | DR7_GD;
        struct vm *vm = begin(BREAKPOINT, 0, !row);

        load_debug(dr7, 0);
        if (row) {
                CHECK_DELIVERED("VM entry", vm, vm_enter(vm), .vector = VEC_DB,
                                .rip = (ulong)nops.start);
                CHECK_VMCS(GUEST_DR7, DR7_FIXED);
        } else {
                CHECK_EXIT("VM entry", vm_enter(vm), EXITS(EXIT_EXCEPTION_NMI));
                CHECK_VMCS(GUEST_DR7, dr7);
        }
        write_dr6(DR6_INIT);
}

FAMILY(debugctl, 2, .id = "entry.pending-debug.debugctl.delivered",
       .title = "delivery of a pending #DB clears IA32_DEBUGCTL.LBR and BTF",
       .sdm = SDM, .rules = "POST_PDBG_DR6_UPDATE POST_PDBG_INTERCEPTED_NO_UPDATE",
       .needs = "load-debug-controls save-debug-controls")
{
        const u32 bits = DEBUGCTL_LBR | DEBUGCTL_BTF;
        struct vm *vm;

        if (wrmsr_safe(MSR_IA32_DEBUGCTL, bits).raised ||
            rdmsr(MSR_IA32_DEBUGCTL) != bits) {
                case_skip("IA32_DEBUGCTL does not have LBR and BTF");
                return;
        }
        wrmsr(MSR_IA32_DEBUGCTL, 0);
        vm = begin(BREAKPOINT, 0, !row);
        load_debug(DR7_FIXED, bits);
        if (row) {
                CHECK_DELIVERED("VM entry", vm, vm_enter(vm), .vector = VEC_DB,
                                .rip = (ulong)nops.start);
                CHECK_VMCS(GUEST_DEBUGCTL, 0);
        } else {
                CHECK_EXIT("VM entry", vm_enter(vm), EXITS(EXIT_EXCEPTION_NMI));
                CHECK_VMCS(GUEST_DEBUGCTL, bits);
        }
        write_dr6(DR6_INIT);
}

/* DR6 tells them apart: B1 is pending, B0 is the breakpoint. */
CASE(breakpoint, .id = "entry.pending-debug.execute-breakpoint",
     .title = "a pending #DB comes before the breakpoint of the first instruction",
     .sdm = SDM, .rules = "POST_PDBG_RF_AND_EXECUTE_BREAKPOINT",
     .needs = "load-debug-controls")
{
        ulong dr0 = read_dr0();
        struct guest_event event = { .has_error = false };
        struct vm *vm = begin(PENDING_ENABLED | PENDING_B(1), 0, false);

        write_dr0((ulong)nops.start);
        vm_control(VMCS_ENTRY_CONTROLS, CTL_ENTRY_LOAD_DEBUG_CONTROLS, 0);
        vmwrite(VMCS_GUEST_DR7, DR7_FIXED | DR7_L(0));
        CHECK_DELIVERED("pending", vm, vm_enter(vm), .vector = VEC_DB,
                        .rip = (ulong)nops.start);
        CHECK_MASKED("DR6", read_dr6(), DR6_B1, DR6_B1 | DR6_BS);
        write_dr6(DR6_INIT);
        vm_event_return(&event);
        vmwrite(VMCS_GUEST_DR7, DR7_FIXED | DR7_L(0));
        CHECK_DELIVERED("breakpoint", vm, vm_enter(vm), .vector = VEC_DB,
                        .rip = (ulong)nops.start);
        CHECK_MASKED("DR6", read_dr6(), DR6_B0, DR6_B0 | DR6_B1 | DR6_BS);
        write_dr6(DR6_INIT);
        write_dr0(dr0);
}
