/*
 * SDM Vol. 3, VM Entries > Delivery of Pending Debug Exceptions after VM Entry:
 * with injection, with blocking by MOV SS or STI, and in inactive states.
 */
#include "x86/cpu.h"
#include "x86/vmx/event.h"

#define SDM "VM Entries > Delivery of Pending Debug Exceptions after VM Entry"
#define CAUSES (DR6_B0 | DR6_B1 | DR6_B2 | DR6_B3 | DR6_BD | DR6_BS)
#define BREAKPOINT (PENDING_ENABLED | PENDING_B(0))

PROGRAM(nops, NATIVE_BITS, "nop\n nop\n nop\n vmcall\n");
PROGRAM(handler, NATIVE_BITS, "nop\n nop\n vmcall\n");

static struct vm *begin(u32 pending, u32 rflags, u32 blocked)
{
        struct vm *vm = vm_begin(GUEST_NATIVE);

        vm_program(vm, nops);
        vmwrite(VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS, pending);
        vm_control(VMCS_GUEST_RFLAGS, rflags, 0);
        vmwrite(VMCS_GUEST_INTERRUPTIBILITY_STATE, blocked);
        write_dr6(DR6_INIT);
        vm_poison(0);
        return vm;
}

static const struct {
        struct row head;
        u32 info, pending, rflags, blocked;
} discarded[] = {
#define HW "POST_PDBG_NONE_AFTER_HW_INJECTION"
#define SW "POST_PDBG_NONE_AFTER_SW_INJECTION_NO_MOVSS"
        { ROW("external.breakpoint", "external interrupt, breakpoint", HW),
          EXTERNAL(0x30), BREAKPOINT, 0, 0 },
        { ROW("external.step", "external interrupt, single step", HW),
          EXTERNAL(0x30), PENDING_BS, RFLAGS_TF, 0 },
        { ROW("nmi.breakpoint", "NMI, breakpoint", HW), NMI, BREAKPOINT, 0, 0 },
        { ROW("nmi.step", "NMI, single step", HW), NMI, PENDING_BS, RFLAGS_TF, 0 },
        { ROW("exception.breakpoint", "#UD, breakpoint", HW), HARDWARE(VEC_UD),
          BREAKPOINT, 0, 0 },
        { ROW("exception.step", "#UD, single step", HW), HARDWARE(VEC_UD),
          PENDING_BS, RFLAGS_TF, 0 },
        { ROW("exception.mov-ss", "#UD, breakpoint, blocking by MOV SS", HW),
          HARDWARE(VEC_UD), BREAKPOINT, 0, BLOCKED_MOV_SS },
        { ROW("int1.breakpoint", "INT1, breakpoint", HW), INT1_TRAP, BREAKPOINT,
          0, 0 },
        { ROW("int1.step", "INT1, single step", HW), INT1_TRAP, PENDING_BS,
          RFLAGS_TF, 0 },
        { ROW("int-n.breakpoint", "INT n, breakpoint", SW), INT_N(0x30), BREAKPOINT,
          0, 0 },
        { ROW("int-n.step", "INT n, single step", SW), INT_N(0x30), PENDING_BS,
          RFLAGS_TF, 0 },
        { ROW("int3.breakpoint", "INT3, breakpoint", SW), SOFTWARE(3), BREAKPOINT,
          0, 0 },
        { ROW("into.step", "INTO, single step", SW), SOFTWARE(4), PENDING_BS,
          RFLAGS_TF, 0 },
        { ROW("int-n.sti", "INT n, breakpoint, blocking by STI", SW), INT_N(0x30),
          BREAKPOINT, RFLAGS_IF, BLOCKED_STI },
};

TABLE(injection, discarded, .id = "entry.pending-debug.discarded",
      .title = "injection discards what is pending",
      .sdm = SDM)
{
        u32 pending = discarded[row].pending, rflags = discarded[row].rflags;
        u8 vector = (u8)discarded[row].info;
        struct vm *vm;
        struct vm_tables t;

        if (!(discarded[row].blocked & BLOCKED_MOV_SS)) {
                vm = begin(pending, rflags, 0);
                CHECK_DELIVERED("without injection", vm, vm_enter(vm),
                                .vector = VEC_DB, .rip = (ulong)nops.start);
        }
        vm = begin(pending, rflags, discarded[row].blocked);
        t = vm_tables(vm);
        vm_gate_offset(&t, vector, (ulong)handler.start);
        vmwrite(VMCS_EXCEPTION_BITMAP, BIT(VEC_DB));
        vm_inject(discarded[row].info, 0, 1);
        CHECK_EXIT("with injection", vm_enter(vm), EXITS(EXIT_VMCALL));
        CHECK_VMCS(GUEST_RIP, (ulong)handler.start + 2);
        CHECK_VMCS(GUEST_PENDING_DEBUG_EXCEPTIONS, 0);
        CHECK_EQ("DR6", read_dr6(), DR6_INIT);
}

/*
 * As behind MOV SS: held until after the event, or lost. What is certain is that
 * the injected event comes first.
 */
static const struct {
        struct row head;
        u32 info;
} after_mov_ss[] = {
        { ROW("int-n", "INT n", "POST_PDBG_SW_INJECTION_MOVSS"), INT_N(0x30) },
        { ROW("int3", "INT3", "POST_PDBG_SW_INJECTION_MOVSS"), SOFTWARE(3) },
        { ROW("into", "INTO", "POST_PDBG_SW_INJECTION_MOVSS"), SOFTWARE(4) },
        { ROW("int1", "INT1", "POST_PDBG_TYPE5_MOVSS"), INT1_TRAP },
};

TABLE(mov_ss_injection, after_mov_ss, .id = "entry.pending-debug.mov-ss-injection",
      .title = "behind MOV SS, an injected event comes before what is pending",
      .sdm = SDM)
{
        u8 vector = (u8)after_mov_ss[row].info;
        struct vm *vm = begin(BREAKPOINT, 0, BLOCKED_MOV_SS);
        struct vm_tables t = vm_tables(vm);
        struct vmx_result r;

        vm_gate_offset(&t, vector, (ulong)handler.start);
        vmwrite(VMCS_EXCEPTION_BITMAP, BIT(VEC_DB));
        vm_inject(after_mov_ss[row].info, 0, 1);
        r = vm_enter(vm);
        check_result_either(__FILE__, __LINE__, "VM entry", r,
                            RESULT(EXITS(EXIT_VMCALL)),
                            RESULT(EXITS(EXIT_EXCEPTION_NMI)));
        if (r.code == EXIT_EXCEPTION_NMI) {
                CHECK_EXITING_EVENT(HARDWARE(VEC_DB), 0);
                CHECK_VMCS(GUEST_RIP, (ulong)handler.start);
                CHECK_VMCS_MASKED(EXIT_QUALIFICATION, DR6_B0, CAUSES);
        } else {
                CHECK_VMCS(GUEST_RIP, (ulong)handler.start + 2);
        }
        CHECK_ORIGINAL_EVENT(0, 0);
        CHECK_EQ("RIP in the frame", vm_stack(vm, 0), (ulong)nops.start + 1);
}

CASE(mov_ss, .id = "entry.pending-debug.mov-ss",
     .title = "behind MOV SS a breakpoint comes after the first instruction or is lost",
     .sdm = SDM, .rules = "POST_PDBG_MOVSS_BLOCKED")
{
        struct vm *vm = begin(BREAKPOINT, 0, 0);
        struct vmx_result r;

        vmwrite(VMCS_EXCEPTION_BITMAP, BIT(VEC_DB));
        CHECK_EXIT("no blocking", vm_enter(vm), EXITS(EXIT_EXCEPTION_NMI));
        CHECK_VMCS(GUEST_RIP, (ulong)nops.start);
        vm = begin(BREAKPOINT, 0, BLOCKED_MOV_SS);
        vmwrite(VMCS_EXCEPTION_BITMAP, BIT(VEC_DB));
        r = vm_enter(vm);
        check_result_either(__FILE__, __LINE__, "blocking", r,
                            RESULT(EXITS(EXIT_VMCALL)),
                            RESULT(EXITS(EXIT_EXCEPTION_NMI)));
        if (r.code == EXIT_EXCEPTION_NMI) {
                CHECK_VMCS(GUEST_RIP, (ulong)nops.start + 1);
                CHECK_VMCS_MASKED(EXIT_QUALIFICATION, DR6_B0, CAUSES);
        }
}

CASE(mov_ss_step, .id = "entry.pending-debug.mov-ss-step",
     .title = "behind MOV SS, with TF: one #DB after the first instruction",
     .sdm = SDM, .rules = "POST_PDBG_MOVSS_TF_MERGE")
{
        struct vm *vm = begin(PENDING_BS | BREAKPOINT, RFLAGS_TF, 0);

        vmwrite(VMCS_EXCEPTION_BITMAP, BIT(VEC_DB));
        CHECK_EXIT("no blocking", vm_enter(vm), EXITS(EXIT_EXCEPTION_NMI));
        CHECK_VMCS(GUEST_RIP, (ulong)nops.start);
        vm = begin(PENDING_BS | BREAKPOINT, RFLAGS_TF, BLOCKED_MOV_SS);
        vmwrite(VMCS_EXCEPTION_BITMAP, BIT(VEC_DB));
        CHECK_EXIT("blocking", vm_enter(vm), EXITS(EXIT_EXCEPTION_NMI));
        CHECK_EXITING_EVENT(HARDWARE(VEC_DB), 0);
        CHECK_VMCS(GUEST_RIP, (ulong)nops.start + 1);
        CHECK_VMCS_MASKED(EXIT_QUALIFICATION, DR6_BS, DR6_BS | DR6_BD);
        CHECK_VMCS(GUEST_PENDING_DEBUG_EXCEPTIONS, 0);
        CHECK_EQ("DR6", read_dr6(), DR6_INIT);
}

static const struct {
        struct row head;
        bool timer;
} savers[] = {
        { ROW("timer", "preemption timer", NULL, "activate-vmx-preemption-timer"),
          true },
        { ROW("mtf", "pending MTF exit", NULL, "monitor-trap-flag"), false },
};

TABLE(mov_ss_saved, savers, .id = "entry.pending-debug.mov-ss-saved",
      .title = "another exit before the first instruction saves what MOV SS blocks",
      .sdm = "VM Exits > Saving Non-Register State",
      .rules = "POST_PDBG_MOVSS_OTHER_EXIT_SAVES")
{
        struct vm *vm = begin(BREAKPOINT, 0, BLOCKED_MOV_SS);

        if (savers[row].timer) {
                vm_control(VMCS_PIN_CONTROLS, CTL_PIN_ACTIVATE_PREEMPTION_TIMER, 0);
                vmwrite(VMCS_PREEMPTION_TIMER_VALUE, 0);
                CHECK_EXIT("VM entry", vm_enter(vm), TIMER_EXIT);
        } else {
                vmwrite(VMCS_ENTRY_INTERRUPTION_INFO, PENDING_MTF);
                CHECK_EXIT("VM entry", vm_enter(vm), EXITS(EXIT_MONITOR_TRAP_FLAG));
        }
        CHECK_VMCS(GUEST_RIP, (ulong)nops.start);
        CHECK_VMCS(GUEST_PENDING_DEBUG_EXCEPTIONS, BREAKPOINT);
}

#define HALTED "activity-hlt activate-vmx-preemption-timer"

static void activity(u32 state)
{
        vmwrite(VMCS_GUEST_ACTIVITY_STATE, state);
        if (state != ACTIVE)
                vm_watchdog();
}

static const struct {
        struct row head;
        u32 pending, rflags, blocked;
        u32 activity;
} states[] = {
        { ROW("sti", "blocking by STI does not delay a single-step trap",
              "POST_PDBG_STI_NOT_BLOCKED"), PENDING_BS, RFLAGS_TF | RFLAGS_IF,
          BLOCKED_STI, ACTIVE },
        { ROW("sti-breakpoint", "blocking by STI does not delay a breakpoint",
              "POST_PDBG_STI_NOT_BLOCKED"), BREAKPOINT, RFLAGS_IF, BLOCKED_STI,
          ACTIVE },
        { ROW("nmi", "blocking by NMI and IF = 0 do not matter",
              "POST_PDBG_IF_AND_NMI_BLOCK_IRRELEVANT"), BREAKPOINT, 0, BLOCKED_NMI,
          ACTIVE },
        { ROW("if", "IF = 1 does not matter", "POST_PDBG_IF_AND_NMI_BLOCK_IRRELEVANT"),
          BREAKPOINT, RFLAGS_IF, 0, ACTIVE },
        { ROW("hlt-step", "a single-step trap wakes a halted guest",
              "POST_PDBG_HLT_WAKES", HALTED), PENDING_BS, RFLAGS_TF, 0, HLT },
        { ROW("hlt-breakpoint", "a breakpoint wakes a halted guest",
              "POST_PDBG_HLT_WAKES", HALTED), BREAKPOINT, 0, 0, HLT },
};

TABLE(state, states, .id = "entry.pending-debug.state",
      .title = "a pending debug exception comes before the first instruction",
      .sdm = SDM)
{
        u32 rflags = states[row].rflags;
        struct vm *vm = begin(states[row].pending, rflags, states[row].blocked);

        activity(states[row].activity);
        CHECK_DELIVERED("delivered", vm, vm_enter(vm), .vector = VEC_DB,
                        .rip = (ulong)nops.start, .rflags = rflags | RFLAGS_FIXED);
        CHECK_VMCS(GUEST_ACTIVITY_STATE, ACTIVE);
        CHECK_BLOCKING(0);
        vm = begin(states[row].pending, rflags, states[row].blocked);
        activity(states[row].activity);
        vmwrite(VMCS_EXCEPTION_BITMAP, BIT(VEC_DB));
        CHECK_EXIT("intercepted", vm_enter(vm), EXITS(EXIT_EXCEPTION_NMI));
        CHECK_EXITING_EVENT(HARDWARE(VEC_DB), 0);
        CHECK_VMCS(GUEST_RIP, (ulong)nops.start);
        CHECK_VMCS(GUEST_ACTIVITY_STATE, states[row].activity);
        write_dr6(DR6_INIT);
}

CASE(shutdown, .id = "entry.pending-debug.shutdown",
     .title = "nothing is pending in the shutdown state",
     .sdm = SDM, .rules = "POST_PDBG_NONE_SHUTDOWN_WFS",
     .needs = "activity-shutdown activate-vmx-preemption-timer")
{
        struct vm *vm = begin(BREAKPOINT, 0, 0);

        vmwrite(VMCS_GUEST_ACTIVITY_STATE, SHUTDOWN);
        vm_watchdog();
        CHECK_EXIT("VM entry", vm_enter(vm), TIMER_EXIT);
        CHECK_VMCS(GUEST_RIP, (ulong)nops.start);
        CHECK_VMCS(GUEST_ACTIVITY_STATE, SHUTDOWN);
        CHECK_VMCS(GUEST_PENDING_DEBUG_EXCEPTIONS, 0);
        CHECK_EQ("DR6", read_dr6(), DR6_INIT);
}
