/*
 * SDM Vol. 3, VMX Non-Root Operation > Monitor Trap Flag, and VM Entries >
 * Injection of Pending MTF VM Exits: with events that VM entry injects or that
 * are pending then.
 */
#include "x86/cpu.h"
#include "x86/vmx/event.h"

#define SDM "VMX Non-Root Operation > Monitor Trap Flag"
#define INJECTION "VM Entries > Injection of Pending MTF VM Exits"
#define NEEDS "monitor-trap-flag"
#define WATCHDOG " activate-vmx-preemption-timer"
#define MTF_EXIT EXITS_WITH(EXIT_MONITOR_TRAP_FLAG, 0)
#define VECTOR 0x61

PROGRAM(nops, NATIVE_BITS, "nop\n nop\n vmcall\n");

static struct vm *begin(bool control)
{
        struct vm *vm = vm_begin(GUEST_NATIVE);

        vm_program(vm, nops);
        if (control)
                vm_control(VMCS_PRIMARY_CONTROLS, CTL_PRIMARY_MONITOR_TRAP_FLAG, 0);
        vm_poison(0);
        return vm;
}

static void check_mtf_at(struct vm *vm, ulong rip)
{
        CHECK_EXIT("VM entry", vm_enter(vm), MTF_EXIT);
        CHECK_VMCS(GUEST_RIP, rip);
        CHECK_EXITING_EVENT(0, 0);
        CHECK_ORIGINAL_EVENT(0, 0);
        CHECK_VMCS_MASKED(ENTRY_INTERRUPTION_INFO, 0, EVENT_VALID);
}

FAMILY(type_7, 2, .id = "inject.mtf.control",
       .title = "a pending MTF exit comes before the first instruction",
       .sdm = INJECTION,
       .rules = "INJ_MTF_TYPE7_REASON INJ_MTF_TYPE7_CONTROL_IRRELEVANT",
       .needs = NEEDS)
{
        struct vm *vm = begin(row);

        vm_inject(PENDING_MTF, 0, 0);
        check_mtf_at(vm, (ulong)nops.start);
        /* It is used up. */
        if (row)
                check_mtf_at(vm, (ulong)nops.start + 1);
        else
                CHECK_EXIT("again", vm_enter(vm), EXITS(EXIT_VMCALL));
}

CASE(ignored, .id = "inject.mtf.fields-ignored",
     .title = "error code and instruction length mean nothing for a pending MTF exit",
     .sdm = INJECTION, .rules = "INJ_MTF_TYPE7_LENGTH_ERROR_IGNORED", .needs = NEEDS)
{
        struct vm *vm = begin(false);

        vm_inject(PENDING_MTF, ~0u, ~0u);
        check_mtf_at(vm, (ulong)nops.start);
}

static const struct {
        struct row head;
        u32 pending, rflags, blocked;
} states[] = {
        { ROW("sti", "blocking by STI"), 0, RFLAGS_IF, BLOCKED_STI },
        { ROW("mov-ss", "blocking by MOV SS"), 0, 0, BLOCKED_MOV_SS },
        { ROW("pending-step", "a pending single-step trap"), PENDING_BS, RFLAGS_TF, 0 },
        { ROW("pending-breakpoint", "a pending breakpoint"),
          PENDING_ENABLED | PENDING_B(0), 0, 0 },
};

TABLE(not_vectoring, states, .id = "inject.mtf.state",
      .title = "a pending MTF exit leaves blocking and pending debug exceptions",
      .sdm = "VM Entries > Special Features of VM Entry",
      .rules = "INJ_MTF_TYPE7_NOT_VECTORING", .needs = NEEDS)
{
        struct vm *vm = begin(false);

        vm_inject(PENDING_MTF, 0, 0);
        vm_control(VMCS_GUEST_RFLAGS, states[row].rflags, 0);
        vmwrite(VMCS_GUEST_INTERRUPTIBILITY_STATE, states[row].blocked);
        vmwrite(VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS, states[row].pending);
        check_mtf_at(vm, (ulong)nops.start);
        CHECK_BLOCKING(states[row].blocked);
        CHECK_VMCS(GUEST_PENDING_DEBUG_EXCEPTIONS, states[row].pending);
}

TABLE(after_injection, event_types, .id = "mtf.injection",
      .title = "MTF exits after injection, at the handler",
      .sdm = SDM, .rules = "POST_MTF_AFTER_VECTORED_INJECTION", .needs = NEEDS)
{
        u32 info = event_types[row].info;
        struct vm *vm = begin(true);

        vm_inject(info, 0, event_types[row].length);
        check_mtf_at(vm, vm_handler(vm, (u8)info));
        CHECK_EQ("RIP in the frame", vm_stack(vm, 0),
                 (ulong)nops.start + event_types[row].length);
}

TABLE(nested, event_types, .id = "mtf.injection-nested",
      .title = "a nested exception is delivered: MTF exits at its handler",
      .sdm = SDM, .rules = "POST_MTF_INJECTION_NESTED_DELIVERED", .needs = NEEDS)
{
        struct vm *vm = begin(true);
        struct vm_tables t = vm_tables(vm);

        vm_gate(&t, (u8)event_types[row].info)[GATE_RIGHTS] = GATE_INTERRUPT;
        vm_inject(event_types[row].info, 0, event_types[row].length);
        check_mtf_at(vm, vm_handler(vm, VEC_NP));
}

TABLE(exit_wins, event_types, .id = "mtf.injection-exit",
      .title = "a nested exception exits: no MTF exit, then or later",
      .sdm = SDM, .rules = "POST_MTF_INJECTION_EXIT_WINS POST_MTF_NOT_STICKY",
      .needs = NEEDS)
{
        struct vm *vm = begin(true);
        struct vm_tables t = vm_tables(vm);

        vm_gate(&t, (u8)event_types[row].info)[GATE_RIGHTS] = GATE_INTERRUPT;
        vmwrite(VMCS_EXCEPTION_BITMAP, BIT(VEC_NP));
        vm_inject(event_types[row].info, 0, event_types[row].length);
        CHECK_EXIT("VM entry", vm_enter(vm), EXITS(EXIT_EXCEPTION_NMI));
        CHECK_ORIGINAL_EVENT(event_types[row].info, 0);
        vm_control(VMCS_PRIMARY_CONTROLS, 0, CTL_PRIMARY_MONITOR_TRAP_FLAG);
        CHECK_EXIT("MTF 0 afterwards", vm_enter(vm), EXITS(EXIT_VMCALL));
}

CASE(pending_debug, .id = "mtf.pending.debug",
     .title = "a pending #DB is delivered: MTF exits at its handler",
     .sdm = SDM, .rules = "POST_MTF_PENDING_EVENT_FIRST", .needs = NEEDS)
{
        struct vm *vm = begin(true);

        vmwrite(VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS,
                PENDING_ENABLED | PENDING_B(0));
        check_mtf_at(vm, vm_handler(vm, VEC_DB));
        CHECK_EQ("RIP in the frame", vm_stack(vm, 0), (ulong)nops.start);
}

CASE(pending_interrupt, .id = "mtf.pending.interrupt",
     .title = "a pending interrupt is delivered: MTF exits at its handler",
     .sdm = SDM, .rules = "POST_MTF_PENDING_EVENT_FIRST", .needs = NEEDS " apic")
{
        struct vm *vm = begin(true);

        vm_control(VMCS_GUEST_RFLAGS, RFLAGS_IF, 0);
        irq_pend(VECTOR);
        check_mtf_at(vm, vm_handler(vm, VECTOR));
        CHECK_EQ("RIP in the frame", vm_stack(vm, 0), (ulong)nops.start);
        CHECK_EQ("interrupts left to the host", irq_take(VECTOR), 0);
}

static void enter_with_nmi(void *shutdown)
{
        struct vm *vm = begin(true);

        if (shutdown) {
                vmwrite(VMCS_GUEST_ACTIVITY_STATE, SHUTDOWN);
                vm_watchdog();
        }
        check_mtf_at(vm, vm_handler(vm, VEC_NMI));
        CHECK_EQ("RIP in the frame", vm_stack(vm, 0), (ulong)nops.start);
}

CASE(pending_nmi, .id = "mtf.pending.nmi",
     .title = "a pending NMI is delivered: MTF exits at its handler",
     .sdm = SDM, .rules = "POST_MTF_PENDING_EVENT_FIRST", .needs = NEEDS " apic")
{
        CHECK_EQ("NMIs left to the host", nmi_blocked(enter_with_nmi, NULL, true),
                 0);
}

/* No instruction, no event: nothing to exit after, until one is delivered. */
CASE(entry_to_hlt, .id = "mtf.hlt-state",
     .title = "no MTF exit for a guest that enters HLT, until an event is delivered",
     .sdm = SDM, .rules = "POST_MTF_ENTRY_TO_HLT_NO_INJECTION",
     .needs = NEEDS WATCHDOG " activity-hlt apic")
{
        struct vm *vm = begin(true);

        vmwrite(VMCS_GUEST_ACTIVITY_STATE, HLT);
        vm_watchdog();
        CHECK_EXIT("nothing pending", vm_enter(vm), TIMER_EXIT);
        CHECK_VMCS(GUEST_RIP, (ulong)nops.start);
        vm = begin(true);
        vmwrite(VMCS_GUEST_ACTIVITY_STATE, HLT);
        vm_control(VMCS_GUEST_RFLAGS, RFLAGS_IF, 0);
        vm_watchdog();
        irq_pend(VECTOR);
        check_mtf_at(vm, vm_handler(vm, VECTOR));
        CHECK_EQ("interrupts left to the host", irq_take(VECTOR), 0);
}

CASE(shutdown, .id = "mtf.shutdown-state",
     .title = "no MTF exit in the shutdown state",
     .sdm = "VM Entries > Pending MTF VM Exits",
     .rules = "POST_MTF_NOT_IN_SHUTDOWN_WFS",
     .needs = NEEDS WATCHDOG " activity-shutdown")
{
        struct vm *vm = begin(true);

        vmwrite(VMCS_GUEST_ACTIVITY_STATE, SHUTDOWN);
        vm_watchdog();
        CHECK_EXIT("VM entry", vm_enter(vm), TIMER_EXIT);
        CHECK_VMCS(GUEST_RIP, (ulong)nops.start);
        CHECK_VMCS(GUEST_ACTIVITY_STATE, SHUTDOWN);
}

CASE(shutdown_nmi, .id = "mtf.shutdown-state.nmi",
     .title = "an NMI ends the shutdown state: MTF exits at its handler",
     .sdm = "VM Entries > Pending MTF VM Exits",
     .rules = "POST_MTF_NOT_IN_SHUTDOWN_WFS",
     .needs = NEEDS WATCHDOG " activity-shutdown apic")
{
        CHECK_EQ("NMIs left to the host",
                 nmi_blocked(enter_with_nmi, (void *)1, true), 0);
}
