/*
 * SDM Vol. 3, VM Entries > VM Exits Induced by the TPR Threshold: the virtual
 * task priority below the threshold at VM entry.
 */
#include "x86/cpu.h"
#include "x86/memory.h"
#include "x86/vmx/event.h"

#define SDM "VM Entries > VM Exits Induced by the TPR Threshold"
#define NEEDS "use-tpr-shadow virtualize-apic-accesses"
#define TIMER " activate-vmx-preemption-timer"
#define BELOW EXITS_WITH(EXIT_TPR_BELOW_THRESHOLD, 0)

PROGRAM(handler, NATIVE_BITS, "nop\n vmcall\n");

static struct vm *begin(u8 vtpr, u32 threshold)
{
        struct vm *vm = vm_begin(GUEST_NATIVE);
        u8 *page = page_alloc(1);

        page[0x80] = vtpr;
        vmcs_edit(EDITS(WITH_SECONDARY(CTL_SECONDARY_VIRTUALIZE_APIC_ACCESSES),
                        OR(PRIMARY_CONTROLS, CTL_PRIMARY_USE_TPR_SHADOW)));
        vmwrite(VMCS_APIC_ACCESS_ADDRESS, phys(page_alloc(1)));
        vmwrite(VMCS_VIRTUAL_APIC_ADDRESS, phys(page));
        vmwrite(VMCS_TPR_THRESHOLD, threshold);
        vm_poison(0);
        return vm;
}

static const struct {
        struct row head;
        u8 vtpr, threshold;
        bool exits;
} values[] = {
        { ROW("equal.0", "VTPR 00H, threshold 0", "POST_TPR_BELOW"), 0x00, 0, false },
        { ROW("below.0", "VTPR 00H, threshold 1", "POST_TPR_BELOW"), 0x00, 1, true },
        { ROW("equal.2", "VTPR 20H, threshold 2", "POST_TPR_BELOW"), 0x20, 2, false },
        { ROW("below.2", "VTPR 20H, threshold 3", "POST_TPR_BELOW"), 0x20, 3, true },
        { ROW("above.2", "VTPR 20H, threshold 1", "POST_TPR_BELOW"), 0x20, 1, false },
        { ROW("equal.15", "VTPR F0H, threshold 15", "POST_TPR_BELOW"), 0xf0, 15, false },
        { ROW("below.14", "VTPR E0H, threshold 15", "POST_TPR_BELOW"), 0xe0, 15, true },
        { ROW("class.1f", "VTPR 1FH, threshold 2",
              "POST_TPR_USES_LOW_NIBBLE_OF_VTPR_CLASS"), 0x1f, 2, true },
        { ROW("class.2f", "VTPR 2FH, threshold 2",
              "POST_TPR_USES_LOW_NIBBLE_OF_VTPR_CLASS"), 0x2f, 2, false },
        { ROW("class.0f", "VTPR 0FH, threshold 1",
              "POST_TPR_USES_LOW_NIBBLE_OF_VTPR_CLASS"), 0x0f, 1, true },
};

TABLE(threshold, values, .id = "entry.tpr-threshold",
      .title = "an exit before the first instruction if VTPR[7:4] is below the threshold",
      .sdm = SDM, .needs = NEEDS)
{
        struct vm *vm = begin(values[row].vtpr, values[row].threshold);

        if (values[row].exits) {
                CHECK_EXIT("VM entry", vm_enter(vm), BELOW);
                CHECK_VMCS(GUEST_RIP, (ulong)program_vmcall.start);
                CHECK_EXITING_EVENT(0, 0);
                CHECK_ORIGINAL_EVENT(0, 0);
        } else {
                CHECK_EXIT("VM entry", vm_enter(vm), EXITS(EXIT_VMCALL));
        }
}

static const struct {
        struct row head;
        u32 rflags, blocked;
} blockings[] = {
        { ROW("if", "IF = 1"), RFLAGS_IF, 0 },
        { ROW("sti", "blocking by STI"), RFLAGS_IF, BLOCKED_STI },
        { ROW("mov-ss", "blocking by MOV SS"), 0, BLOCKED_MOV_SS },
        { ROW("nmi", "blocking by NMI"), 0, BLOCKED_NMI },
};

TABLE(blocking, blockings, .id = "entry.tpr-threshold.not-blocked",
      .title = "nothing in RFLAGS or the interruptibility state blocks the exit",
      .sdm = SDM, .rules = "POST_TPR_NOT_BLOCKED", .needs = NEEDS)
{
        for (u32 threshold = 1; threshold <= 2; threshold++) {
                struct vm *vm = begin(0x10, threshold);

                vm_control(VMCS_GUEST_RFLAGS, blockings[row].rflags, 0);
                vmwrite(VMCS_GUEST_INTERRUPTIBILITY_STATE, blockings[row].blocked);
                if (threshold == 2)
                        CHECK_EXIT("below", vm_enter(vm), BELOW);
                else
                        CHECK_EXIT("equal", vm_enter(vm), EXITS(EXIT_VMCALL));
                if (threshold == 2)
                        CHECK_VMCS(GUEST_RIP, (ulong)program_vmcall.start);
                CHECK_BLOCKING(blockings[row].blocked & ~BLOCKED_NMI);
        }
}

TABLE(injection, event_types, .id = "entry.tpr-threshold.after-injection",
      .title = "the exit follows injection, at the handler",
      .sdm = SDM,
      .rules = "POST_TPR_AFTER_INJECTION POST_PRIO_INJECTION_BEFORE_ALL",
      .needs = NEEDS)
{
        u32 info = event_types[row].info;

        for (u32 threshold = 1; threshold <= 2; threshold++) {
                struct vm *vm = begin(0x10, threshold);

                vm_inject(info, 0, event_types[row].length);
                if (threshold == 2)
                        CHECK_EXIT("below", vm_enter(vm), BELOW);
                else
                        CHECK_EXIT("equal", vm_enter(vm), EXITS(EXIT_VMCALL));
                CHECK_VMCS(GUEST_RIP, vm_handler(vm, (u8)info));
                CHECK_ORIGINAL_EVENT(0, 0);
                CHECK_EQ("RIP in the frame", vm_stack(vm, 0),
                         (ulong)program_vmcall.start +
                         event_types[row].length);
        }
}

CASE(without_accesses, .id = "entry.tpr-threshold.without-apic-accesses",
     .title = "without virtualization of APIC accesses VM entry is refused instead",
     .sdm = "VM Entries > VM-Execution Control Fields",
     .rules = "POST_TPR_NOT_WITHOUT_APIC_ACCESSES", .needs = NEEDS)
{
        for (u32 threshold = 1; threshold <= 2; threshold++) {
                struct vm *vm = begin(0x10, threshold);

                vm_control(VMCS_SECONDARY_CONTROLS, 0,
                           CTL_SECONDARY_VIRTUALIZE_APIC_ACCESSES);
                vm_poison(VMERR_ENTRY_CONTROLS);
                if (threshold == 2)
                        CHECK_RESULT("below", vm_enter(vm), BAD_CONTROLS);
                else
                        CHECK_EXIT("equal", vm_enter(vm), EXITS(EXIT_VMCALL));
        }
}

CASE(with_vid, .id = "entry.tpr-threshold.virtual-interrupt-delivery",
     .title = "no exit with virtual-interrupt delivery",
     .sdm = SDM, .rules = "POST_TPR_NOT_WITH_VID",
     .needs = NEEDS " virtual-interrupt-delivery external-interrupt-exiting")
{
        struct vm *vm = begin(0, 15);

        CHECK_EXIT("without", vm_enter(vm), BELOW);
        vm = begin(0, 15);
        vm_control(VMCS_PIN_CONTROLS, CTL_PIN_EXTERNAL_INTERRUPT_EXITING, 0);
        vm_control(VMCS_SECONDARY_CONTROLS,
                   CTL_SECONDARY_VIRTUAL_INTERRUPT_DELIVERY, 0);
        CHECK_EXIT("with", vm_enter(vm), EXITS(EXIT_VMCALL));
}

/* The activity state saved is not judged: the text only says that it wakes. */
CASE(halted, .id = "entry.tpr-threshold.hlt",
     .title = "the exit wakes a guest that enters HLT",
     .sdm = SDM, .rules = "POST_TPR_HLT", .needs = NEEDS TIMER " activity-hlt")
{
        for (u32 threshold = 1; threshold <= 2; threshold++) {
                struct vm *vm = begin(0x10, threshold);

                vmwrite(VMCS_GUEST_ACTIVITY_STATE, HLT);
                vm_watchdog();
                if (threshold == 2)
                        CHECK_EXIT("below", vm_enter(vm), BELOW);
                else
                        CHECK_EXIT("equal", vm_enter(vm), TIMER_EXIT);
                CHECK_VMCS(GUEST_RIP, (ulong)program_vmcall.start);
        }
}

CASE(shutdown, .id = "entry.tpr-threshold.shutdown",
     .title = "no exit in the shutdown state",
     .sdm = SDM, .rules = "POST_TPR_SHUTDOWN_DEFERRED",
     .needs = NEEDS TIMER " activity-shutdown")
{
        struct vm *vm = begin(0x10, 2);

        vmwrite(VMCS_GUEST_ACTIVITY_STATE, SHUTDOWN);
        vm_watchdog();
        CHECK_EXIT("VM entry", vm_enter(vm), TIMER_EXIT);
        CHECK_VMCS(GUEST_ACTIVITY_STATE, SHUTDOWN);
        CHECK_VMCS(GUEST_RIP, (ulong)program_vmcall.start);
}

static void enter_with_nmi(__attribute__((unused)) void *arg)
{
        struct vm *vm = begin(0x10, 2);
        struct vm_tables t = vm_tables(vm);

        vm_gate_offset(&t, VEC_NMI, (ulong)handler.start);
        vmwrite(VMCS_GUEST_ACTIVITY_STATE, SHUTDOWN);
        vm_watchdog();
        CHECK_EXIT("VM entry", vm_enter(vm), BELOW);
        CHECK_VMCS(GUEST_RIP, (ulong)handler.start);
        CHECK_EQ("RIP in the frame", vm_stack(vm, 0),
                 (ulong)program_vmcall.start);
}

CASE(shutdown_nmi, .id = "entry.tpr-threshold.shutdown-nmi",
     .title = "the exit comes after an NMI has ended the shutdown state",
     .sdm = SDM, .rules = "POST_TPR_SHUTDOWN_DEFERRED",
     .needs = NEEDS TIMER " activity-shutdown apic")
{
        CHECK_EQ("NMIs left to the host", nmi_blocked(enter_with_nmi, NULL, true),
                 0);
}
