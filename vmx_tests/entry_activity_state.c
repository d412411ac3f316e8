/*
 * SDM Vol. 3, VM Entries > Activity State: a guest that VM entry puts into HLT or
 * the shutdown state, and what takes it out. Where nothing does, the preemption
 * timer ends the case. Wait-for-SIPI: entry_wait_for_sipi.c.
 */
#include "x86/cpu.h"
#include "x86/memory.h"
#include "x86/vmx/event.h"

#define SDM "VM Entries > Activity State"
#define CAUSES "VMX Non-Root Operation > Other Causes of VM Exits"
#define BEFORE_EXIT "VM Exits > Architectural State Before a VM Exit"
#define TIMER " activate-vmx-preemption-timer"
#define N_HLT "activity-hlt" TIMER
#define N_SHUTDOWN "activity-shutdown" TIMER
#define VECTOR 0x61

PROGRAM(nops, NATIVE_BITS, "nop\n nop\n vmcall\n");
PROGRAM(handler, NATIVE_BITS, "nop\n vmcall\n");

static struct vm *begin(u32 state, u32 rflags)
{
        struct vm *vm = vm_begin(GUEST_NATIVE);

        vm_program(vm, nops);
        vmwrite(VMCS_GUEST_ACTIVITY_STATE, state);
        vm_control(VMCS_GUEST_RFLAGS, rflags, 0);
        vm_watchdog();
        vm_poison(0);
        return vm;
}

static const struct {
        struct row head;
        u32 state;
} inactive[] = {
        { ROW("hlt", "HLT", "POST_ACT_HLT_ENTERED POST_TMR_HLT", "activity-hlt"), HLT },
        { ROW("shutdown", "shutdown", "POST_ACT_SHUTDOWN_ENTERED POST_TMR_SHUTDOWN",
              "activity-shutdown"), SHUTDOWN },
};

TABLE(entered, inactive, .id = "entry.activity.entered",
      .title = "in an inactive state no instruction is executed",
      .sdm = SDM, .rules = "POST_ACT_ACTIVE",
      .needs = "activate-vmx-preemption-timer")
{
        struct vm *vm = begin(ACTIVE, 0);

        CHECK_EXIT("active", vm_enter(vm), EXITS(EXIT_VMCALL));
        CHECK_VMCS(GUEST_RIP, (ulong)nops.start + 2);
        CHECK_VMCS(GUEST_ACTIVITY_STATE, ACTIVE);
        vm = begin(inactive[row].state, 0);
        CHECK_EXIT("inactive", vm_enter(vm), TIMER_EXIT);
        CHECK_VMCS(GUEST_RIP, (ulong)nops.start);
        CHECK_VMCS(GUEST_ACTIVITY_STATE, inactive[row].state);
        /* The timer at 0: at once, and the same. */
        vmwrite(VMCS_PREEMPTION_TIMER_VALUE, 0);
        CHECK_EXIT("inactive, timer 0", vm_enter(vm), TIMER_EXIT);
        CHECK_VMCS(GUEST_RIP, (ulong)nops.start);
        CHECK_VMCS(GUEST_ACTIVITY_STATE, inactive[row].state);
}

CASE(interrupt, .id = "entry.activity.hlt.interrupt",
     .title = "an interrupt is delivered to a halted guest, unless IF = 0",
     .sdm = SDM, .rules = "POST_ACT_HLT_EXTINT_DELIVERED POST_ACT_HLT_RIP_NOT_ADVANCED",
     .needs = N_HLT " apic")
{
        struct vm *vm = begin(HLT, 0);

        irq_pend(VECTOR);
        CHECK_EXIT("IF = 0", vm_enter(vm), TIMER_EXIT);
        CHECK_EQ("interrupts left to the host", irq_take(VECTOR), 1);
        vm = begin(HLT, RFLAGS_IF);
        irq_pend(VECTOR);
        CHECK_DELIVERED("IF = 1", vm, vm_enter(vm), .vector = VECTOR,
                        .rip = (ulong)nops.start);
        CHECK_VMCS(GUEST_ACTIVITY_STATE, ACTIVE);
        CHECK_EQ("interrupts left to the host", irq_take(VECTOR), 0);
}

FAMILY(interrupt_exit, 2, .id = "entry.activity.hlt.interrupt-exit.if",
       .title = "an interrupt exits from HLT, whatever IF is",
       .sdm = CAUSES, .rules = "POST_ACT_HLT_EXTINT_EXIT",
       .needs = N_HLT " external-interrupt-exiting apic")
{
        struct vm *vm = begin(HLT, row ? RFLAGS_IF : 0);

        vm_control(VMCS_PIN_CONTROLS, CTL_PIN_EXTERNAL_INTERRUPT_EXITING, 0);
        irq_pend(VECTOR);
        CHECK_EXIT("VM entry", vm_enter(vm), EXITS(EXIT_EXTERNAL_INTERRUPT));
        CHECK_VMCS(GUEST_RIP, (ulong)nops.start);
        CHECK_EQ("interrupts left to the host", irq_take(VECTOR), 1);
}

struct nmi_plan {
        u32 state;
        u64 pin;
};

static void enter_with_nmi(void *arg)
{
        const struct nmi_plan *p = arg;
        struct vm *vm = begin(p->state, 0);
        struct vm_tables t = vm_tables(vm);

        vm_gate_offset(&t, VEC_NMI, (ulong)handler.start);
        vm_control(VMCS_PIN_CONTROLS, p->pin, 0);
        if (p->pin) {
                CHECK_EXIT("NMI exiting", vm_enter(vm), EXITS(EXIT_EXCEPTION_NMI));
                CHECK_EXITING_EVENT(NMI, 0);
                CHECK_VMCS(GUEST_RIP, (ulong)nops.start);
        } else {
                CHECK_EXIT("no NMI exiting", vm_enter(vm), EXITS(EXIT_VMCALL));
                CHECK_VMCS(GUEST_RIP, (ulong)handler.start + 1);
                CHECK_EQ("RIP in the frame", vm_stack(vm, 0), (ulong)nops.start);
                CHECK_VMCS(GUEST_ACTIVITY_STATE, ACTIVE);
        }
}

static const struct {
        struct row head;
        struct nmi_plan plan;
} nmis[] = {
        { ROW("hlt.delivered", "HLT, delivered", "POST_ACT_HLT_NMI", "activity-hlt"),
          { HLT, 0 } },
        { ROW("hlt.exit", "HLT, exit", "POST_ACT_HLT_NMI",
              "activity-hlt nmi-exiting"), { HLT, CTL_PIN_NMI_EXITING } },
        { ROW("shutdown.delivered", "shutdown, delivered", "POST_ACT_SHUTDOWN_NMI",
              "activity-shutdown"), { SHUTDOWN, 0 } },
        { ROW("shutdown.exit", "shutdown, exit", "POST_ACT_SHUTDOWN_NMI",
              "activity-shutdown nmi-exiting"), { SHUTDOWN, CTL_PIN_NMI_EXITING } },
};

TABLE(nmi, nmis, .id = "entry.activity.nmi",
      .title = "an NMI takes the guest out of an inactive state",
      .sdm = CAUSES, .needs = "apic" TIMER)
{
        struct nmi_plan plan = nmis[row].plan;

        CHECK_EQ("NMIs left to the host", nmi_blocked(enter_with_nmi, &plan, true),
                 0);
}

CASE(shutdown_interrupt, .id = "entry.activity.shutdown.interrupt",
     .title = "an interrupt does not exit in the shutdown state, but in HLT",
     .sdm = SDM, .rules = "POST_ACT_SHUTDOWN_EXTINT_BLOCKED",
     .needs = N_SHUTDOWN " external-interrupt-exiting apic")
{
        struct vm *vm = begin(SHUTDOWN, RFLAGS_IF);

        vm_control(VMCS_PIN_CONTROLS, CTL_PIN_EXTERNAL_INTERRUPT_EXITING, 0);
        irq_pend(VECTOR);
        CHECK_EXIT("VM entry", vm_enter(vm), TIMER_EXIT);
        CHECK_VMCS(GUEST_RIP, (ulong)nops.start);
        CHECK_VMCS(GUEST_ACTIVITY_STATE, SHUTDOWN);
        CHECK_EQ("interrupts left to the host", irq_take(VECTOR), 1);
}

/* What wakes by an exit directly leaves HLT only after the exit. */
static void saves_hlt_nmi(__attribute__((unused)) void *arg)
{
        struct vm *vm = begin(HLT, 0);

        vm_control(VMCS_PIN_CONTROLS, CTL_PIN_NMI_EXITING, 0);
        CHECK_EXIT("VM entry", vm_enter(vm), EXITS(EXIT_EXCEPTION_NMI));
        CHECK_VMCS(GUEST_ACTIVITY_STATE, HLT);
}

CASE(direct_nmi, .id = "entry.activity.saved.nmi",
     .title = "an exit from HLT by an NMI saves HLT",
     .sdm = BEFORE_EXIT, .rules = "POST_ACT_HLT_DIRECT_EXIT_SAVES_HLT POST_ACT_HLT_NMI",
     .needs = N_HLT " nmi-exiting apic")
{
        nmi_blocked(saves_hlt_nmi, NULL, true);
}

CASE(direct_interrupt, .id = "entry.activity.saved.interrupt",
     .title = "an exit from HLT by an interrupt saves HLT",
     .sdm = BEFORE_EXIT,
     .rules = "POST_ACT_HLT_DIRECT_EXIT_SAVES_HLT POST_ACT_HLT_EXTINT_EXIT",
     .needs = N_HLT " external-interrupt-exiting apic")
{
        struct vm *vm = begin(HLT, RFLAGS_IF);

        vm_control(VMCS_PIN_CONTROLS, CTL_PIN_EXTERNAL_INTERRUPT_EXITING, 0);
        irq_pend(VECTOR);
        CHECK_EXIT("VM entry", vm_enter(vm), EXITS(EXIT_EXTERNAL_INTERRUPT));
        CHECK_VMCS(GUEST_ACTIVITY_STATE, HLT);
        irq_take(VECTOR);
}

CASE(direct_nmi_shutdown, .id = "entry.activity.saved.nmi-shutdown",
     .title = "an exit from shutdown by an NMI saves shutdown",
     .sdm = BEFORE_EXIT, .rules = "POST_ACT_SHUTDOWN_NMI",
     .needs = N_SHUTDOWN " nmi-exiting apic")
{
        struct nmi_plan plan = { SHUTDOWN, CTL_PIN_NMI_EXITING };

        nmi_blocked(enter_with_nmi, &plan, true);
        CHECK_VMCS(GUEST_ACTIVITY_STATE, SHUTDOWN);
}

CASE(direct_mtf, .id = "entry.activity.saved.mtf",
     .title = "a pending MTF exit wakes HLT and saves it",
     .sdm = BEFORE_EXIT,
     .rules = "POST_ACT_HLT_DIRECT_EXIT_SAVES_HLT POST_MTF_WAKES_HLT "
              "INJ_MTF_TYPE7_NOT_VECTORING",
     .needs = N_HLT " monitor-trap-flag")
{
        struct vm *vm = begin(HLT, 0);

        vmwrite(VMCS_ENTRY_INTERRUPTION_INFO, PENDING_MTF);
        CHECK_EXIT("VM entry", vm_enter(vm), EXITS(EXIT_MONITOR_TRAP_FLAG));
        CHECK_VMCS(GUEST_RIP, (ulong)nops.start);
        CHECK_VMCS(GUEST_ACTIVITY_STATE, HLT);
}

CASE(indirect, .id = "entry.activity.saved.indirect",
     .title = "an exit in delivery to a halted guest saves the active state",
     .sdm = BEFORE_EXIT, .rules = "POST_ACT_HLT_INDIRECT_EXIT_SAVES_ACTIVE",
     .needs = N_HLT " apic")
{
        struct vm *vm = begin(HLT, RFLAGS_IF);
        struct vm_tables t = vm_tables(vm);

        vm_gate(&t, VECTOR)[GATE_RIGHTS] = GATE_INTERRUPT;
        vmwrite(VMCS_EXCEPTION_BITMAP, BIT(VEC_NP));
        irq_pend(VECTOR);
        CHECK_EXIT("VM entry", vm_enter(vm), EXITS(EXIT_EXCEPTION_NMI));
        CHECK_ORIGINAL_EVENT(EXTERNAL(VECTOR), 0);
        CHECK_VMCS(GUEST_RIP, (ulong)nops.start);
        CHECK_VMCS(GUEST_ACTIVITY_STATE, ACTIVE);
        CHECK_EQ("interrupts left to the host", irq_take(VECTOR), 0);
}

static const struct {
        struct row head;
        u32 state;
        u32 info;
} injections[] = {
        { ROW("hlt.external", "HLT, external interrupt", "INJ_HLT_BECOMES_ACTIVE",
              "activity-hlt"), HLT, EXTERNAL(0x30) },
        { ROW("hlt.nmi", "HLT, NMI", "INJ_HLT_BECOMES_ACTIVE", "activity-hlt"), HLT,
          NMI },
        { ROW("hlt.db", "HLT, #DB", "INJ_HLT_BECOMES_ACTIVE", "activity-hlt"), HLT,
          HARDWARE(VEC_DB) },
        { ROW("hlt.mc", "HLT, #MC", "INJ_HLT_BECOMES_ACTIVE", "activity-hlt"), HLT,
          HARDWARE(VEC_MC) },
        { ROW("shutdown.nmi", "shutdown, NMI", "INJ_SHUTDOWN_BECOMES_ACTIVE",
              "activity-shutdown"), SHUTDOWN, NMI },
        { ROW("shutdown.mc", "shutdown, #MC", "INJ_SHUTDOWN_BECOMES_ACTIVE",
              "activity-shutdown"), SHUTDOWN, HARDWARE(VEC_MC) },
};

/* IRET goes to the program, which runs. */
TABLE(injection, injections, .id = "entry.activity.injection",
      .title = "injection makes the guest active, and it stays so",
      .sdm = SDM, .rules = "POST_ACT_VECTORING_IGNORES_FIELD",
      .needs = "activate-vmx-preemption-timer")
{
        struct vm *vm = begin(injections[row].state, 0);
        struct guest_event event = { .has_error = false };

        vm_inject(injections[row].info, 0, 0);
        CHECK_DELIVERED("VM entry", vm, vm_enter(vm),
                        .vector = (u8)injections[row].info,
                        .rip = (ulong)nops.start);
        CHECK_VMCS(GUEST_ACTIVITY_STATE, ACTIVE);
        vm_event_return(&event);
        vm_watchdog();
        CHECK_EXIT("after IRET", vm_enter(vm), EXITS(EXIT_VMCALL));
        CHECK_VMCS(GUEST_RIP, (ulong)nops.start + 2);
        CHECK_VMCS(GUEST_ACTIVITY_STATE, ACTIVE);
}
