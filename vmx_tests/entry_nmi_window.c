/*
 * SDM Vol. 3, VM Entries > NMI-Window Exiting and Interruptibility State: an NMI
 * window that is open at VM entry, virtual-NMI blocking and what ends it.
 */
#include "x86/cpu.h"
#include "x86/vmx/event.h"

#define SDM "VM Entries > NMI-Window Exiting"
#define CAUSES "VMX Non-Root Operation > Other Causes of VM Exits"
#define STATE "VM Entries > Interruptibility State"
#define VIRTUAL "nmi-exiting virtual-nmis"
#define NEEDS VIRTUAL " nmi-window-exiting"
#define WATCHDOG " activate-vmx-preemption-timer"

#define WINDOW EXITS_WITH(EXIT_NMI_WINDOW, 0)

PROGRAM(iret, NATIVE_BITS, IRET);

static struct vm *begin_as_is(u32 blocked, bool window)
{
        struct vm *vm = vm_begin(GUEST_NATIVE);

        vm_control(VMCS_PIN_CONTROLS,
                   CTL_PIN_NMI_EXITING | CTL_PIN_VIRTUAL_NMIS, 0);
        if (window)
                vm_control(VMCS_PRIMARY_CONTROLS, CTL_PRIMARY_NMI_WINDOW_EXITING,
                           0);
        vmwrite(VMCS_GUEST_INTERRUPTIBILITY_STATE, blocked);
        vm_poison(0);
        return vm;
}

static struct vm *begin(u32 blocked, bool window)
{
        vm_end_virtual_nmi_blocking();
        return begin_as_is(blocked, window);
}

CASE(from_field, .id = "entry.virtual-nmi.from-field",
     .title = "the VMCS says whether virtual NMIs are blocked, not the guest before",
     .sdm = STATE, .rules = "POST_VNMI_STATE_FROM_BIT3", .needs = VIRTUAL)
{
        struct vm *vm = begin_as_is(BLOCKED_NMI, false);

        CHECK_EXIT("blocked", vm_enter(vm), EXITS(EXIT_VMCALL));
        CHECK_VMCS(GUEST_INTERRUPTIBILITY_STATE, BLOCKED_NMI);
        vm = begin_as_is(0, false);
        CHECK_EXIT("not blocked", vm_enter(vm), EXITS(EXIT_VMCALL));
        CHECK_VMCS(GUEST_INTERRUPTIBILITY_STATE, 0);
}

CASE(immediate, .id = "entry.nmi-window.immediate",
     .title = "an open window exits before the first instruction",
     .sdm = SDM, .rules = "POST_NW_IMMEDIATE",
     .needs = NEEDS)
{
        struct vm *vm = begin(BLOCKED_NMI, true);

        CHECK_EXIT("virtual-NMI blocking", vm_enter(vm), EXITS(EXIT_VMCALL));
        vm = begin(0, true);
        CHECK_EXIT("no blocking", vm_enter(vm), WINDOW);
        CHECK_VMCS(GUEST_RIP, (ulong)program_vmcall.start);
        CHECK_VMCS(GUEST_INTERRUPTIBILITY_STATE, 0);
        CHECK_EXITING_EVENT(0, 0);
        CHECK_ORIGINAL_EVENT(0, 0);
        vm_control(VMCS_PRIMARY_CONTROLS, 0, CTL_PRIMARY_NMI_WINDOW_EXITING);
        CHECK_EXIT("control 0", vm_enter(vm), EXITS(EXIT_VMCALL));
}

FAMILY(flags, 2, .id = "entry.nmi-window.if",
       .title = "IF does not matter",
       .sdm = CAUSES, .rules = "POST_NW_IF_IRRELEVANT", .needs = NEEDS)
{
        struct vm *vm = begin(0, true);

        vm_control(VMCS_GUEST_RFLAGS, row ? RFLAGS_IF : 0, 0);
        CHECK_EXIT("VM entry", vm_enter(vm), WINDOW);
        CHECK_VMCS(GUEST_RIP, (ulong)program_vmcall.start);
}

static const struct {
        struct row head;
        u32 info;
} events[] = {
        { ROW("external"), EXTERNAL(0x30) },
        { ROW("exception"), HARDWARE(VEC_UD) },
        { ROW("int-n"), INT_N(0x30) },
        { ROW("int1"), INT1_TRAP },
        { ROW("int3"), SOFTWARE(3) },
};

TABLE(injection, events, .id = "entry.nmi-window.after-injection",
      .title = "the window's exit follows injection, at the handler",
      .sdm = SDM, .rules = "POST_NW_AFTER_INJECTION POST_PRIO_INJECTION_BEFORE_ALL",
      .needs = NEEDS)
{
        u32 info = events[row].info;
        struct vm *vm = begin(0, true);

        vm_inject(info, 0, 1);
        CHECK_EXIT("VM entry", vm_enter(vm), WINDOW);
        CHECK_VMCS(GUEST_RIP, vm_handler(vm, (u8)info));
        CHECK_ORIGINAL_EVENT(0, 0);
        CHECK_EQ("RIP in the frame", vm_stack(vm, 0),
                 (ulong)program_vmcall.start + ((info & 0x700) >= 0x400));
}

CASE(nmi, .id = "entry.nmi-window.after-nmi",
     .title = "after an injected NMI the window opens with the handler's IRET",
     .sdm = SDM, .rules = "POST_NW_AFTER_NMI_INJECTION INJ_NMI_VNMI_IRET_CLEARS",
     .needs = NEEDS)
{
        struct vm *vm = begin(0, true);
        struct guest_event event = { .has_error = false };

        vm_inject(NMI, 0, 0);
        CHECK_EXIT("the handler's VMCALL", vm_enter(vm), EXITS(EXIT_VMCALL));
        CHECK_VMCS(GUEST_RIP, vm_handler(vm, VEC_NMI));
        vm_event_return(&event);
        CHECK_EXIT("its IRET", vm_enter(vm), WINDOW);
        CHECK_VMCS(GUEST_RIP, (ulong)program_vmcall.start);
        CHECK_VMCS(GUEST_INTERRUPTIBILITY_STATE, 0);
}

static const struct {
        struct row head;
        u32 state;
} inactive[] = {
        { ROW("hlt", "HLT", "POST_NW_HLT", "activity-hlt"), HLT },
        { ROW("shutdown", "shutdown", "POST_NW_SHUTDOWN", "activity-shutdown"),
          SHUTDOWN },
};

TABLE(activity, inactive, .id = "entry.nmi-window.activity",
      .title = "the window's exit wakes a guest that enters an inactive state",
      .sdm = SDM, .needs = NEEDS WATCHDOG)
{
        struct vm *vm = begin(BLOCKED_NMI, true);

        vmwrite(VMCS_GUEST_ACTIVITY_STATE, inactive[row].state);
        vm_watchdog();
        CHECK_EXIT("virtual-NMI blocking", vm_enter(vm), TIMER_EXIT);
        CHECK_VMCS(GUEST_RIP, (ulong)program_vmcall.start);
        vm = begin(0, true);
        vmwrite(VMCS_GUEST_ACTIVITY_STATE, inactive[row].state);
        vm_watchdog();
        CHECK_EXIT("no blocking", vm_enter(vm), WINDOW);
        CHECK_VMCS(GUEST_RIP, (ulong)program_vmcall.start);
}

PROGRAM(nops, NATIVE_BITS, "nop\n nop\n vmcall\n");

CASE(mov_ss, .id = "entry.nmi-window.mov-ss",
     .title = "blocking by MOV SS keeps the window shut for one instruction",
     .sdm = STATE, .rules = "POST_MOVSS_BLOCK_ONE_INSTR_NMIWIN", .needs = NEEDS)
{
        struct vm *vm = begin(BLOCKED_MOV_SS, true);

        vm_program(vm, nops);
        CHECK_EXIT("VM entry", vm_enter(vm), WINDOW);
        CHECK_VMCS(GUEST_RIP, (ulong)nops.start + 1);
        CHECK_VMCS(GUEST_INTERRUPTIBILITY_STATE, 0);
}

/* Earlier editions let a processor ignore blocking by STI here. */
CASE(sti_blocking, .id = "entry.nmi-window.sti",
     .title = "blocking by STI keeps the window shut for one instruction at most",
     .sdm = CAUSES, .rules = "POST_STI_NMIWIN_IMPL", .needs = NEEDS)
{
        struct vm *vm = begin(BLOCKED_STI, true);
        u64 rip;

        vm_program(vm, nops);
        vm_control(VMCS_GUEST_RFLAGS, RFLAGS_IF, 0);
        CHECK_EXIT("VM entry", vm_enter(vm), WINDOW);
        rip = vmread(VMCS_GUEST_RIP) - (ulong)nops.start;
        CHECK("RIP at the first or second instruction", rip <= 1, "+%llu",
              (unsigned long long)rip);
}

CASE(iret_opens, .id = "entry.nmi-window.iret",
     .title = "IRET ends virtual-NMI blocking: the window's exit is at its target",
     .sdm = CAUSES, .rules = "POST_NW_VNMI_BLOCKED POST_VNMI_STATE_FROM_BIT3",
     .needs = NEEDS)
{
        struct vm *vm = begin(BLOCKED_NMI, true);

        vm_program(vm, iret);
        vm_push_frame((ulong)nops.start, SEL_CODE, 0);
        CHECK_EXIT("VM entry", vm_enter(vm), WINDOW);
        CHECK_VMCS(GUEST_RIP, (ulong)nops.start);
        CHECK_VMCS(GUEST_INTERRUPTIBILITY_STATE, 0);
}

CASE(iret_clears, .id = "entry.virtual-nmi.iret",
     .title = "virtual-NMI blocking is saved as it is: until IRET, and not after",
     .sdm = STATE,
     .rules = "POST_VNMI_IRET_CLEARS POST_VNMI_SAVED POST_VNMI_STATE_FROM_BIT3",
     .needs = VIRTUAL)
{
        struct vm *vm = begin(BLOCKED_NMI, false);

        CHECK_EXIT("before IRET", vm_enter(vm), EXITS(EXIT_VMCALL));
        CHECK_VMCS(GUEST_INTERRUPTIBILITY_STATE, BLOCKED_NMI);
        vm = begin(BLOCKED_NMI, false);
        vm_program(vm, iret);
        vm_push_frame((ulong)program_vmcall.start, SEL_CODE, 0);
        CHECK_EXIT("after IRET", vm_enter(vm), EXITS(EXIT_VMCALL));
        CHECK_VMCS(GUEST_RIP, (ulong)program_vmcall.start);
        CHECK_VMCS(GUEST_INTERRUPTIBILITY_STATE, 0);
}

/* The frame's code segment is beyond the GDT: #GP, which exits or is delivered. */
FAMILY(iret_faults, 2, .id = "entry.virtual-nmi.iret-fault.exit",
       .title = "an IRET that faults ends virtual-NMI blocking",
       .sdm = STATE, .rules = "POST_VNMI_IRET_CLEARS", .needs = VIRTUAL)
{
        const u16 beyond = SEL_SPARE + DESC_SPARE * 8;
        struct vm *vm = begin(BLOCKED_NMI, false);

        vm_program(vm, iret);
        vm_push_frame((ulong)program_vmcall.start, beyond, 0);
        if (row) {
                vmwrite(VMCS_EXCEPTION_BITMAP, BIT(VEC_GP));
                CHECK_EXIT("#GP by IRET", vm_enter(vm), EXITS(EXIT_EXCEPTION_NMI));
                CHECK_VMCS_MASKED(EXIT_INTERRUPTION_INFO, HARDWARE_CODE(VEC_GP),
                                  ~(u32)BIT(12));
        } else {
                CHECK_EXIT("#GP by IRET", vm_enter(vm), EXITS(EXIT_VMCALL));
                CHECK_VMCS(GUEST_RIP, vm_handler(vm, VEC_GP));
        }
        CHECK_VMCS(GUEST_INTERRUPTIBILITY_STATE, 0);
}

CASE(after_db, .id = "entry.nmi-window.after-debug",
     .title = "a pending #DB is delivered first; the exit is at its handler",
     .sdm = SDM, .rules = "POST_PRIO_DB_DELIVERED_THEN_NW", .needs = NEEDS)
{
        struct vm *vm = begin(0, true);

        vmwrite(VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS,
                PENDING_ENABLED | PENDING_B(0));
        CHECK_EXIT("VM entry", vm_enter(vm), WINDOW);
        CHECK_VMCS(GUEST_RIP, vm_handler(vm, VEC_DB));
        CHECK_EQ("RIP in the frame", vm_stack(vm, 0),
                 (ulong)program_vmcall.start);
}
