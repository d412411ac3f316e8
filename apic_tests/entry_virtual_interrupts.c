/*
 * SDM Vol. 3, VM Entries > Interrupt-Window Exiting and Virtual-Interrupt
 * Delivery; APIC Virtualization and Virtual Interrupts > Evaluation of Pending
 * Virtual Interrupts, Virtual-Interrupt Delivery, PPR Virtualization: what VM
 * entry does with RVI and SVI.
 */
#include "x86/apic.h"
#include "x86/cpu.h"
#include "x86/memory.h"
#include "x86/vmx/event.h"

#define SDM "VM Entries > Interrupt-Window Exiting and Virtual-Interrupt Delivery"
#define DELIVERY "APIC Virtualization and Virtual Interrupts > Virtual-Interrupt Delivery"
#define EVALUATION "APIC Virtualization and Virtual Interrupts > Evaluation of Pending Virtual Interrupts"
#define PPR "APIC Virtualization and Virtual Interrupts > PPR Virtualization"
#define NEEDS "use-tpr-shadow virtual-interrupt-delivery external-interrupt-exiting"
#define TIMER " activate-vmx-preemption-timer"

#define VECTOR 0x51           /* virtual */
#define PHYSICAL 0x61

PROGRAM(nops, NATIVE_BITS, "nop\n nop\n vmcall\n");
PROGRAM(sti_nops, NATIVE_BITS, "sti\n nop\n nop\n vmcall\n");

static u32 *page;

static void page_bit(u32 reg, u8 vector)
{
        page[(reg + vector / 32 * 16) / 4] |= 1u << vector % 32;
}

static bool page_has(u32 reg, u8 vector)
{
        return page[(reg + vector / 32 * 16) / 4] >> vector % 32 & 1;
}

/* A guest with the virtual APIC page; RVI and SVI are as given, not VIRR. */
static struct vm *begin(u32 rflags, u8 rvi, u8 svi, u8 vtpr)
{
        struct vm *vm = vm_begin(GUEST_NATIVE);

        page = page_alloc(1);
        page[APIC_TPR / 4] = vtpr;
        page[APIC_PPR / 4] = ~0u;
        vm_program(vm, nops);
        vm_control(VMCS_PIN_CONTROLS, CTL_PIN_EXTERNAL_INTERRUPT_EXITING, 0);
        vmcs_edit(EDITS(WITH_SECONDARY(CTL_SECONDARY_VIRTUAL_INTERRUPT_DELIVERY),
                        OR(PRIMARY_CONTROLS, CTL_PRIMARY_USE_TPR_SHADOW)));
        vmwrite(VMCS_VIRTUAL_APIC_ADDRESS, phys(page));
        vmwrite(VMCS_GUEST_INTERRUPT_STATUS, (u32)svi << 8 | rvi);
        vm_control(VMCS_GUEST_RFLAGS, rflags, 0);
        vm_poison(0);
        return vm;
}

/* The same with VECTOR pending, consistently. */
static struct vm *begin_pending(u32 rflags)
{
        struct vm *vm = begin(rflags, VECTOR, 0, 0);

        page_bit(APIC_IRR, VECTOR);
        return vm;
}

static void check_still_pending(void)
{
        CHECK_VMCS(GUEST_INTERRUPT_STATUS, VECTOR);
        CHECK_EQ("VIRR bit", page_has(APIC_IRR, VECTOR), 1);
        CHECK_EQ("VISR bit", page_has(APIC_ISR, VECTOR), 0);
}

static void check_in_service(u8 rvi)
{
        CHECK_VMCS(GUEST_INTERRUPT_STATUS, VECTOR << 8 | rvi);
        CHECK_EQ("VIRR bit", page_has(APIC_IRR, VECTOR), 0);
        CHECK_EQ("VISR bit", page_has(APIC_ISR, VECTOR), 1);
        CHECK_EQ("VPPR", page[APIC_PPR / 4], VECTOR & 0xf0);
}

FAMILY(delivered, 2, .id = "entry.virtual-interrupt.delivered.next",
       .title = "a recognized virtual interrupt is delivered before the first instruction",
       .sdm = SDM,
       .rules = "POST_VID_DELIVERED_AFTER_ENTRY POST_VID_EXTINT_EXITING_NO_EXIT",
       .needs = NEEDS)
{
        const u8 next = row ? 0x31 : 0;
        struct vm *vm = begin_pending(RFLAGS_IF);

        if (next)
                page_bit(APIC_IRR, next);
        CHECK_DELIVERED("VM entry", vm, vm_enter(vm), .vector = VECTOR,
                        .rip = (ulong)nops.start,
                        .rflags = RFLAGS_FIXED | RFLAGS_IF);
        check_in_service(next);
        CHECK_ORIGINAL_EVENT(0, 0);
}

CASE(if_clear, .id = "entry.virtual-interrupt.if-clear",
     .title = "IF = 0 holds it, until after the instruction behind STI",
     .sdm = DELIVERY, .rules = "POST_VID_IF_CLEAR_HELD", .needs = NEEDS)
{
        struct vm *vm = begin_pending(0);

        CHECK_EXIT("IF = 0", vm_enter(vm), EXITS(EXIT_VMCALL));
        CHECK_VMCS(GUEST_RIP, (ulong)nops.start + 2);
        check_still_pending();
        vm = begin_pending(0);
        vm_program(vm, sti_nops);
        CHECK_DELIVERED("STI", vm, vm_enter(vm), .vector = VECTOR,
                        .rip = (ulong)sti_nops.start + 2);
}

static const struct {
        struct row head;
        u32 blocked;
} blockings[] = {
        { ROW("sti", "blocking by STI"), BLOCKED_STI },
        { ROW("mov-ss", "blocking by MOV SS"), BLOCKED_MOV_SS },
};

TABLE(blocking, blockings, .id = "entry.virtual-interrupt.blocking",
      .title = "blocking delays it by one instruction",
      .sdm = DELIVERY, .rules = "POST_BLOCK_VID_DELIVERY", .needs = NEEDS)
{
        struct vm *vm = begin_pending(RFLAGS_IF);

        vmwrite(VMCS_GUEST_INTERRUPTIBILITY_STATE, blockings[row].blocked);
        CHECK_DELIVERED("VM entry", vm, vm_enter(vm), .vector = VECTOR,
                        .rip = (ulong)nops.start + 1);
        check_in_service(0);
}

static const struct {
        struct row head;
        u32 info;
} events[] = {
        { ROW("external"), EXTERNAL(0x30) },
        { ROW("nmi"), NMI },
        { ROW("exception"), HARDWARE(VEC_UD) },
        { ROW("int-n"), INT_N(0x30) },
        { ROW("int3"), SOFTWARE(3) },
};

TABLE(injection, events, .id = "entry.virtual-interrupt.after-injection",
      .title = "it follows injection, at the handler",
      .sdm = SDM, .rules = "POST_VID_AFTER_INJECTION", .needs = NEEDS)
{
        u8 vector = (u8)events[row].info;

        for (unsigned trap = 0; trap < 2; trap++) {
                struct vm *vm = begin_pending(RFLAGS_IF);
                struct vm_tables t = vm_tables(vm);

                vm_gate(&t, vector)[GATE_RIGHTS] =
                        GATE_P | (trap ? GATE_TRAP : GATE_INTERRUPT);
                vm_inject(events[row].info, 0, 1);
                CHECK_EXIT("VM entry", vm_enter(vm), EXITS(EXIT_VMCALL));
                if (trap) {
                        CHECK_VMCS(GUEST_RIP, vm_handler(vm, VECTOR));
                        CHECK_EQ("RIP in the frame", vm_stack(vm, 0),
                                 vm_handler(vm, vector));
                        check_in_service(0);
                } else {
                        CHECK_VMCS(GUEST_RIP, vm_handler(vm, vector));
                        check_still_pending();
                }
        }
}

CASE(halted, .id = "entry.virtual-interrupt.hlt",
     .title = "it wakes a guest that enters HLT",
     .sdm = SDM, .rules = "POST_VID_HLT", .needs = NEEDS TIMER " activity-hlt")
{
        struct vm *vm = begin_pending(0);

        vmwrite(VMCS_GUEST_ACTIVITY_STATE, HLT);
        vm_watchdog();
        CHECK_EXIT("IF = 0", vm_enter(vm), TIMER_EXIT);
        check_still_pending();
        vm = begin_pending(RFLAGS_IF);
        vmwrite(VMCS_GUEST_ACTIVITY_STATE, HLT);
        vm_watchdog();
        CHECK_DELIVERED("IF = 1", vm, vm_enter(vm), .vector = VECTOR,
                        .rip = (ulong)nops.start);
        CHECK_VMCS(GUEST_ACTIVITY_STATE, ACTIVE);
        check_in_service(0);
}

CASE(shutdown, .id = "entry.virtual-interrupt.shutdown",
     .title = "it is not delivered in the shutdown state",
     .sdm = SDM, .rules = "POST_VID_SHUTDOWN_WFS",
     .needs = NEEDS TIMER " activity-shutdown")
{
        struct vm *vm = begin_pending(RFLAGS_IF);

        vmwrite(VMCS_GUEST_ACTIVITY_STATE, SHUTDOWN);
        vm_watchdog();
        CHECK_EXIT("VM entry", vm_enter(vm), TIMER_EXIT);
        CHECK_VMCS(GUEST_ACTIVITY_STATE, SHUTDOWN);
        check_still_pending();
}

CASE(over_interrupt, .id = "entry.virtual-interrupt.before-interrupt",
     .title = "it comes before the exit by a physical interrupt",
     .sdm = SDM, .rules = "POST_PRIO_VID_OVER_EXT", .needs = NEEDS " apic")
{
        struct vm *vm = begin(RFLAGS_IF, 0, 0, 0);

        irq_pend(PHYSICAL);
        CHECK_EXIT("no virtual interrupt", vm_enter(vm),
                   EXITS(EXIT_EXTERNAL_INTERRUPT));
        CHECK_VMCS(GUEST_RIP, (ulong)nops.start);
        CHECK_EQ("interrupts left to the host", irq_take(PHYSICAL), 1);
        vm = begin_pending(RFLAGS_IF);
        irq_pend(PHYSICAL);
        CHECK_EXIT("virtual interrupt", vm_enter(vm),
                   EXITS(EXIT_EXTERNAL_INTERRUPT));
        CHECK_VMCS(GUEST_RIP, vm_handler(vm, VECTOR));
        check_in_service(0);
        CHECK_EQ("interrupts left to the host", irq_take(PHYSICAL), 1);
}

static void enter_with_nmi(__attribute__((unused)) void *arg)
{
        struct vm *vm = begin_pending(RFLAGS_IF);

        vm_control(VMCS_PIN_CONTROLS, CTL_PIN_NMI_EXITING, 0);
        CHECK_EXIT("VM entry", vm_enter(vm), EXITS(EXIT_EXCEPTION_NMI));
        CHECK_EXITING_EVENT(NMI, 0);
        CHECK_VMCS(GUEST_RIP, (ulong)nops.start);
        check_still_pending();
}

CASE(nmi, .id = "entry.virtual-interrupt.after-nmi",
     .title = "an NMI comes before it",
     .sdm = SDM, .rules = "POST_PRIO_NMI_OVER_VID",
     .needs = NEEDS " nmi-exiting apic")
{
        CHECK_EQ("NMIs left to the host", nmi_blocked(enter_with_nmi, NULL, true),
                 0);
}

CASE(debug, .id = "entry.virtual-interrupt.after-debug",
     .title = "a pending #DB comes before it",
     .sdm = SDM, .rules = "POST_PRIO_DB_OVER_VID", .needs = NEEDS)
{
        struct vm *vm = begin_pending(RFLAGS_IF);

        vmwrite(VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS,
                PENDING_ENABLED | PENDING_B(0));
        vmwrite(VMCS_EXCEPTION_BITMAP, BIT(VEC_DB));
        CHECK_EXIT("VM entry", vm_enter(vm), EXITS(EXIT_EXCEPTION_NMI));
        CHECK_EXITING_EVENT(HARDWARE(VEC_DB), 0);
        CHECK_VMCS(GUEST_RIP, (ulong)nops.start);
        check_still_pending();
}

CASE(timer, .id = "entry.virtual-interrupt.after-timer",
     .title = "the preemption timer's exit comes before it",
     .sdm = "VMX Non-Root Operation > Other Causes of VM Exits",
     .rules = "POST_PRIO_TIMER_OVER_VID", .needs = NEEDS TIMER)
{
        struct vm *vm = begin_pending(RFLAGS_IF);

        vm_control(VMCS_PIN_CONTROLS, CTL_PIN_ACTIVATE_PREEMPTION_TIMER, 0);
        vmwrite(VMCS_PREEMPTION_TIMER_VALUE, 0);
        CHECK_EXIT("VM entry", vm_enter(vm), TIMER_EXIT);
        CHECK_VMCS(GUEST_RIP, (ulong)nops.start);
        check_still_pending();
}

CASE(mtf, .id = "entry.virtual-interrupt.mtf",
     .title = "with the monitor trap flag the exit is at its handler",
     .sdm = "VMX Non-Root Operation > Monitor Trap Flag",
     .rules = "POST_MTF_PENDING_EVENT_FIRST", .needs = NEEDS " monitor-trap-flag")
{
        struct vm *vm = begin_pending(RFLAGS_IF);

        vm_control(VMCS_PRIMARY_CONTROLS, CTL_PRIMARY_MONITOR_TRAP_FLAG, 0);
        CHECK_EXIT("VM entry", vm_enter(vm), EXITS(EXIT_MONITOR_TRAP_FLAG));
        CHECK_VMCS(GUEST_RIP, vm_handler(vm, VECTOR));
        check_in_service(0);
}

static const struct {
        struct row head;
        u8 vtpr, svi;
        u8 vppr;
} priorities[] = {
#define GE "ENTL_PPR_VTPR_GE_SVI"
#define LT "ENTL_PPR_SVI_GT_VTPR"
        { ROW("vtpr-above", "VTPR 53H, SVI 41H", GE), 0x53, 0x41, 0x53 },
        { ROW("same-class", "VTPR 53H, SVI 5FH", GE), 0x53, 0x5f, 0x53 },
        { ROW("zero", "VTPR 00H, SVI 00H", GE), 0x00, 0x00, 0x00 },
        { ROW("vtpr-ff", "VTPR FFH, SVI F5H", GE), 0xff, 0xf5, 0xff },
        { ROW("svi-above", "VTPR 43H, SVI 5FH", LT), 0x43, 0x5f, 0x50 },
        { ROW("svi-just-above", "VTPR 4FH, SVI 51H", LT), 0x4f, 0x51, 0x50 },
        { ROW("svi-ff", "VTPR 00H, SVI FFH", LT), 0x00, 0xff, 0xf0 },
};

TABLE(ppr, priorities, .id = "entry.virtual-interrupt.ppr",
      .title = "VM entry virtualizes the PPR, all four bytes",
      .sdm = PPR, .rules = "ENTL_PPR_UPPER_BYTES_CLEARED", .needs = NEEDS)
{
        struct vm *vm = begin(0, 0, priorities[row].svi, priorities[row].vtpr);

        CHECK_EXIT("VM entry", vm_enter(vm), EXITS(EXIT_VMCALL));
        CHECK_EQ("VPPR", page[APIC_PPR / 4], priorities[row].vppr);
}

CASE(no_ppr, .id = "entry.virtual-interrupt.no-ppr",
     .title = "without virtual-interrupt delivery VM entry leaves VPPR alone",
     .sdm = "VM Entries > Updating Non-Register State",
     .rules = "ENTL_PPR_ONLY_WITH_VID", .needs = NEEDS)
{
        struct vm *vm = begin(0, 0, 0x51, 0x30);

        vm_control(VMCS_SECONDARY_CONTROLS, 0,
                   CTL_SECONDARY_VIRTUAL_INTERRUPT_DELIVERY);
        CHECK_EXIT("without", vm_enter(vm), EXITS(EXIT_VMCALL));
        CHECK_EQ("VPPR", page[APIC_PPR / 4], ~0u);
        vm = begin(0, 0, 0x51, 0x30);
        CHECK_EXIT("with", vm_enter(vm), EXITS(EXIT_VMCALL));
        CHECK_EQ("VPPR", page[APIC_PPR / 4], 0x50);
}

static const struct {
        struct row head;
        u8 rvi, svi, vtpr;
        bool recognized;
} evaluations[] = {
        { ROW("above-tpr", "RVI 51H, VTPR 4FH"), 0x51, 0, 0x4f, true },
        { ROW("tpr-class", "RVI 51H, VTPR 50H"), 0x51, 0, 0x50, false },
        { ROW("same-class", "RVI 5FH, VTPR 50H"), 0x5f, 0, 0x50, false },
        { ROW("above-svi", "RVI 51H, SVI 4FH"), 0x51, 0x4f, 0, true },
        { ROW("svi-class", "RVI 5FH, SVI 51H"), 0x5f, 0x51, 0, false },
        { ROW("below", "RVI 31H, VTPR 70H"), 0x31, 0, 0x70, false },
        { ROW("highest", "RVI F1H, VTPR E0H"), 0xf1, 0, 0xe0, true },
        { ROW("no-class", "RVI 0FH, VTPR 00H"), 0x0f, 0, 0, false },
};

TABLE(evaluation, evaluations, .id = "entry.virtual-interrupt.evaluation",
      .title = "recognized if RVI[7:4] is above VPPR[7:4]",
      .sdm = EVALUATION, .rules = "ENTL_EVAL_RECOGNIZE", .needs = NEEDS)
{
        u8 rvi = evaluations[row].rvi;
        struct vm *vm = begin(RFLAGS_IF, rvi, evaluations[row].svi,
                              evaluations[row].vtpr);

        page_bit(APIC_IRR, rvi);
        if (evaluations[row].svi)
                page_bit(APIC_ISR, evaluations[row].svi);
        if (evaluations[row].recognized)
                CHECK_DELIVERED("VM entry", vm, vm_enter(vm), .vector = rvi,
                                .rip = (ulong)nops.start);
        else
                CHECK_EXIT("VM entry", vm_enter(vm), EXITS(EXIT_VMCALL));
        CHECK_EQ("VIRR bit", page_has(APIC_IRR, rvi),
                 !evaluations[row].recognized);
}

CASE(not_virr, .id = "entry.virtual-interrupt.virr",
     .title = "RVI counts, not the VIRR",
     .sdm = EVALUATION, .rules = "ENTL_EVAL_RVI_NOT_VIRR", .needs = NEEDS)
{
        struct vm *vm = begin(RFLAGS_IF, 0, 0, 0);

        page_bit(APIC_IRR, VECTOR);
        CHECK_EXIT("VIRR bit, RVI 0", vm_enter(vm), EXITS(EXIT_VMCALL));
        CHECK_VMCS(GUEST_RIP, (ulong)nops.start + 2);
        vm = begin_pending(RFLAGS_IF);
        CHECK_DELIVERED("VIRR bit and RVI", vm, vm_enter(vm), .vector = VECTOR,
                        .rip = (ulong)nops.start);
}

CASE(window, .id = "entry.virtual-interrupt.interrupt-window",
     .title = "with interrupt-window exiting none is recognized",
     .sdm = EVALUATION, .rules = "ENTL_EVAL_SUPPRESSED_BY_INTR_WINDOW",
     .needs = NEEDS " interrupt-window-exiting")
{
        struct vm *vm = begin_pending(RFLAGS_IF);

        vm_control(VMCS_PRIMARY_CONTROLS, CTL_PRIMARY_INTERRUPT_WINDOW_EXITING, 0);
        CHECK_EXIT("VM entry", vm_enter(vm), EXITS(EXIT_INTERRUPT_WINDOW));
        CHECK_VMCS(GUEST_RIP, (ulong)nops.start);
        check_still_pending();
}
