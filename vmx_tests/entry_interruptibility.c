/*
 * SDM Vol. 3, VM Entries > Interruptibility State: blocking by STI and by MOV SS
 * that the VMCS says, how long it lasts and when it is saved again. VMX Non-Root
 * Operation > Event Blocking: external interrupts and RFLAGS.IF.
 */
#include "x86/cpu.h"
#include "x86/vmx/event.h"

#define SDM "VM Entries > Interruptibility State"
#define EVENT_BLOCKING "VMX Non-Root Operation > Event Blocking"
#define VECTOR 0x61

PROGRAM(nops, NATIVE_BITS, "nop\n nop\n nop\n vmcall\n");
PROGRAM(ud2, NATIVE_BITS, "ud2\n");
PROGRAM(cpuid_nops, NATIVE_BITS, "cpuid\n nop\n nop\n vmcall\n");
PROGRAM(nop_cpuid, NATIVE_BITS, "nop\n cpuid\n");

static struct vm *begin(struct program program, u32 rflags, u32 blocked)
{
        struct vm *vm = vm_begin(GUEST_NATIVE);

        vm_program(vm, program);
        vm_control(VMCS_GUEST_RFLAGS, rflags, 0);
        vmwrite(VMCS_GUEST_INTERRUPTIBILITY_STATE, blocked);
        vm_poison(0);
        return vm;
}

static const struct {
        struct row head;
        u32 blocked;
} blockings[] = {
        { ROW("sti", "blocking by STI"), BLOCKED_STI },
        { ROW("mov-ss", "blocking by MOV SS"), BLOCKED_MOV_SS },
};

TABLE(delivery, blockings, .id = "entry.blocking.delivery",
      .title = "a pending interrupt is delivered after one instruction",
      .sdm = SDM,
      .rules = "POST_STI_BLOCK_EXTINT_DELIVERY POST_MOVSS_BLOCK_EXTINT_DELIVERY",
      .needs = "apic")
{
        for (unsigned on = 0; on < 2; on++) {
                struct vm *vm = begin(nops, RFLAGS_IF,
                                      on ? blockings[row].blocked : 0);

                irq_pend(VECTOR);
                CHECK_DELIVERED(on ? "blocking" : "no blocking", vm, vm_enter(vm),
                                .vector = VECTOR, .rip = (ulong)nops.start + on);
                CHECK_EQ("interrupts left to the host", irq_take(VECTOR), 0);
        }
}

TABLE(fault, blockings, .id = "entry.blocking.fault",
      .title = "a fault of the first instruction ends blocking",
      .sdm = SDM, .rules = "POST_BLOCK_CLEARED_BY_FAULT",
      .needs = N_INTERRUPT_WINDOW)
{
        struct vm *vm = begin(ud2, RFLAGS_IF, blockings[row].blocked);
        struct vm_tables t = vm_tables(vm);

        vm_pend_interrupt_window();
        vm_gate(&t, VEC_UD)[GATE_RIGHTS] = GATE_P | GATE_TRAP;
        CHECK_EXIT("VM entry", vm_enter(vm), EXITS(EXIT_INTERRUPT_WINDOW));
        CHECK_VMCS(GUEST_RIP, vm_handler(vm, VEC_UD));
        CHECK_EQ("RIP in the frame", vm_stack(vm, 0), (ulong)ud2.start);
        CHECK_BLOCKING(0);
}

CASE(pending_debug, .id = "entry.blocking.pending-debug",
     .title = "a pending single-step trap ends blocking by STI",
     .sdm = SDM, .rules = "POST_BLOCK_CLEARED_BY_PENDING_DB",
     .needs = N_INTERRUPT_WINDOW)
{
        struct vm *vm = begin(nops, RFLAGS_IF | RFLAGS_TF, BLOCKED_STI);
        struct vm_tables t = vm_tables(vm);

        vm_pend_interrupt_window();
        vmwrite(VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS, PENDING_BS);
        vm_gate(&t, VEC_DB)[GATE_RIGHTS] = GATE_P | GATE_TRAP;
        CHECK_EXIT("VM entry", vm_enter(vm), EXITS(EXIT_INTERRUPT_WINDOW));
        CHECK_VMCS(GUEST_RIP, vm_handler(vm, VEC_DB));
        CHECK_EQ("RIP in the frame", vm_stack(vm, 0), (ulong)nops.start);
        CHECK_BLOCKING(0);
}

/* Software skips the first instruction and leaves the field as it was saved. */
TABLE(skip, blockings, .id = "entry.blocking.kept",
      .title = "blocking that software leaves in the field applies to one more instruction",
      .sdm = SDM,
      .rules = "POST_BLOCK_REENTRY_AFTER_SKIP POST_BLOCK_SAVED_ON_FAULTLIKE_EXIT",
      .needs = N_INTERRUPT_WINDOW)
{
        struct vm *vm = begin(cpuid_nops, RFLAGS_IF, blockings[row].blocked);

        vm_pend_interrupt_window();
        CHECK_EXIT("first entry", vm_enter(vm), EXITS(EXIT_CPUID));
        CHECK_VMCS(GUEST_RIP, (ulong)cpuid_nops.start);
        CHECK_BLOCKING(blockings[row].blocked);
        vm_skip();
        CHECK_EXIT("second entry", vm_enter(vm), EXITS(EXIT_INTERRUPT_WINDOW));
        CHECK_VMCS(GUEST_RIP, (ulong)cpuid_nops.start + 3);
        CHECK_BLOCKING(0);
}

TABLE(not_saved, blockings, .id = "entry.blocking.one-instruction",
      .title = "an exit by the second instruction saves no blocking",
      .sdm = "VM Exits > Architectural State Before a VM Exit",
      .rules = "POST_BLOCK_SAVED_ON_FAULTLIKE_EXIT")
{
        struct vm *vm = begin(nop_cpuid, RFLAGS_IF, blockings[row].blocked);

        CHECK_EXIT("VM entry", vm_enter(vm), EXITS(EXIT_CPUID));
        CHECK_VMCS(GUEST_RIP, (ulong)nop_cpuid.start + 1);
        CHECK_BLOCKING(0);
}

static const struct {
        struct row head;
        u32 info;
} events[] = {
        { ROW("exception"), HARDWARE(VEC_UD) },
        { ROW("exception-code"), HARDWARE_CODE(VEC_GP) },
        { ROW("int-n"), INT_N(0x30) },
        { ROW("int1"), INT1_TRAP },
        { ROW("int3"), SOFTWARE(3) },
};

TABLE(vectoring, events, .id = "entry.blocking.injection",
      .title = "no blocking by STI or MOV SS after injection",
      .sdm = SDM, .rules = "POST_VECTORING_IGNORES_FIELD_BITS")
{
        for (unsigned i = 0; i < ARRAY_LEN(blockings); i++) {
                struct vm *vm = begin(nops, RFLAGS_IF, blockings[i].blocked);

                vm_inject(events[row].info, 0, 1);
                CHECK_EXIT("VM entry", vm_enter(vm), EXITS(EXIT_VMCALL));
                CHECK_VMCS(GUEST_RIP, vm_handler(vm, (u8)events[row].info));
                CHECK_BLOCKING(0);
        }
}

/* The window is open at the handler, not one instruction later. */
TABLE(shadow, events, .id = "entry.blocking.injection-window",
      .title = "the interrupt window is open at the handler of an injected event",
      .sdm = SDM,
      .rules = "INJ_STI_SHADOW_CLEARED INJ_MOVSS_SHADOW_CLEARED",
      .needs = N_INTERRUPT_WINDOW)
{
        u8 vector = (u8)events[row].info;

        for (unsigned i = 0; i < ARRAY_LEN(blockings); i++) {
                struct vm *vm = begin(nops, RFLAGS_IF, blockings[i].blocked);
                struct vm_tables t = vm_tables(vm);

                vm_pend_interrupt_window();
                vm_gate(&t, vector)[GATE_RIGHTS] = GATE_P | GATE_TRAP;
                vm_inject(events[row].info, 0, 1);
                CHECK_EXIT("VM entry", vm_enter(vm), EXITS(EXIT_INTERRUPT_WINDOW));
                CHECK_VMCS(GUEST_RIP, vm_handler(vm, vector));
                CHECK_BLOCKING(0);
        }
}

CASE(nmi_shadow, .id = "entry.blocking.injection-nmi-window",
     .title = "the NMI window is open at the handler of an injected event",
     .sdm = SDM, .rules = "INJ_MOVSS_SHADOW_CLEARED",
     .needs = N_NMI_WINDOW)
{
        for (unsigned i = 0; i < ARRAY_LEN(blockings); i++) {
                struct vm *vm = begin(nops, RFLAGS_IF, blockings[i].blocked);

                vm_pend_nmi_window();
                vm_inject(HARDWARE(VEC_UD), 0, 0);
                CHECK_EXIT("VM entry", vm_enter(vm), EXITS(EXIT_NMI_WINDOW));
                CHECK_VMCS(GUEST_RIP, vm_handler(vm, VEC_UD));
        }
}

static const struct {
        struct row head;
        void (*arm)(void);
        u32 reason;
} immediate[] = {
        { ROW("timer", "preemption timer", "POST_TMR_NOT_BLOCKED",
              N_TIMER), vm_pend_timer, EXIT_PREEMPTION_TIMER },
        { ROW("tpr-threshold", "TPR threshold", "POST_TPR_NOT_BLOCKED",
              N_TPR_THRESHOLD), vm_pend_tpr_threshold, EXIT_TPR_BELOW_THRESHOLD },
        { ROW("mtf", "pending MTF exit", "INJ_MTF_TYPE7_NOT_VECTORING",
              N_MTF), vm_pend_mtf, EXIT_MONITOR_TRAP_FLAG },
};

TABLE(saved, immediate, .id = "entry.blocking.saved",
      .title = "an exit before the first instruction is not blocked and saves blocking",
      .sdm = "VM Exits > Saving Non-Register State",
      .rules = "POST_BLOCK_SAVED_ON_IMMEDIATE_EXIT")
{
        static const u32 states[] = { 0, BLOCKED_STI, BLOCKED_MOV_SS, BLOCKED_NMI };

        for (unsigned i = 0; i < ARRAY_LEN(states); i++) {
                struct vm *vm = begin(nops, states[i] == BLOCKED_STI
                                            ? RFLAGS_IF : 0, states[i]);

                immediate[row].arm();
                CHECK_EXIT("VM entry", vm_enter(vm), EXITS(immediate[row].reason));
                CHECK_VMCS(GUEST_RIP, (ulong)nops.start);
                if (states[i] == BLOCKED_NMI)
                        CHECK_VMCS(GUEST_INTERRUPTIBILITY_STATE, BLOCKED_NMI);
                else
                        CHECK_BLOCKING(states[i]);
        }
}

/* With exiting it is the processor's choice: at once or one instruction later. */
TABLE(exiting, blockings, .id = "entry.blocking.interrupt-exit",
      .title = "blocking delays the exit by an interrupt by one instruction at most",
      .sdm = EVENT_BLOCKING, .rules = "POST_BLOCK_EXTINT_EXITING_IMPL",
      .needs = "external-interrupt-exiting apic")
{
        struct vm *vm = begin(nops, RFLAGS_IF, blockings[row].blocked);
        u64 rip;

        vm_control(VMCS_PIN_CONTROLS, CTL_PIN_EXTERNAL_INTERRUPT_EXITING, 0);
        irq_pend(VECTOR);
        CHECK_EXIT("VM entry", vm_enter(vm), EXITS(EXIT_EXTERNAL_INTERRUPT));
        rip = vmread(VMCS_GUEST_RIP) - (ulong)nops.start;
        CHECK("RIP at the first or second instruction", rip <= 1, "+%llu",
              (unsigned long long)rip);
        CHECK_EQ("interrupts left to the host", irq_take(VECTOR), 1);
}

/* IF masks interrupts that the guest would get, not those that exit. */
CASE(if_clear, .id = "entry.interrupt.if-clear",
     .title = "with exiting a pending interrupt exits although IF = 0",
     .sdm = EVENT_BLOCKING, .rules = "POST_HOST_IF_IRRELEVANT POST_EXTINT_IF0_HELD",
     .needs = "external-interrupt-exiting apic")
{
        struct vm *vm = begin(nops, 0, 0);

        irq_pend(VECTOR);
        CHECK_EXIT("exiting 0", vm_enter(vm), EXITS(EXIT_VMCALL));
        vm = begin(nops, 0, 0);
        vm_control(VMCS_PIN_CONTROLS, CTL_PIN_EXTERNAL_INTERRUPT_EXITING, 0);
        CHECK_EXIT("exiting 1", vm_enter(vm), EXITS(EXIT_EXTERNAL_INTERRUPT));
        CHECK_VMCS(GUEST_RIP, (ulong)nops.start);
        CHECK_EQ("interrupts left to the host", irq_take(VECTOR), 1);
}
