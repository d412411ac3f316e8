/*
 * SDM Vol. 3, VM Entries > Details of Vectored-Event Injection: external
 * interrupts and NMIs, and what every injected event has in common: the context
 * it is delivered in, the frame, RFLAGS, the stack.
 */
#include "x86/apic.h"
#include "x86/memory.h"
#include "x86/msr.h"
#include "x86/vmx/event.h"
#include "x86/vmx/snippet.h"

#define SDM "VM Entries > Details of Vectored-Event Injection"

/* Exceptions' vectors among them: an interrupt never has an error code. */
#define INTERRUPT(n, id_, title_)                                       \
        { ROW(id_, title_, "INJ_EXTINT_DELIVERED"), .info = EXTERNAL(n) }
#define FLAGS(id_, title_, info_, bits)                                 \
        { ROW(id_, title_, "INJ_RFLAGS_PUSHED"), .info = (info_),       \
          .given = EDITS(OR(GUEST_RFLAGS, bits)) }

static const struct delivery interrupts[] = {
        INTERRUPT(0, "vector.0", "external interrupt 0"),
        INTERRUPT(1, "vector.1", "external interrupt 1"),
        INTERRUPT(2, "vector.2", "external interrupt 2"),
        INTERRUPT(3, "vector.3", "external interrupt 3"),
        INTERRUPT(8, "vector.8", "external interrupt 8"),
        INTERRUPT(10, "vector.10", "external interrupt 10"),
        INTERRUPT(13, "vector.13", "external interrupt 13"),
        INTERRUPT(14, "vector.14", "external interrupt 14"),
        INTERRUPT(17, "vector.17", "external interrupt 17"),
        INTERRUPT(32, "vector.32", "external interrupt 20H"),
        INTERRUPT(128, "vector.128", "external interrupt 80H"),
        INTERRUPT(255, "vector.255", "external interrupt FFH"),
        { ROW("nmi", "an NMI, IF = 0", "INJ_NMI_DELIVERED"), .info = NMI },
        { ROW("nmi-if", "an NMI, IF = 1", "INJ_NMI_DELIVERED"), .info = NMI,
          .given = EDITS(OR(GUEST_RFLAGS, RFLAGS_IF)) },
        { ROW("length-ignored", "the instruction length does not matter for an external interrupt",
              "INJ_LENGTH_IGNORED_FOR_OTHERS"),
          .info = EXTERNAL(0x30), .length = ~0u },
        { ROW("nmi-length-ignored", "the instruction length does not matter for an NMI",
              "INJ_LENGTH_IGNORED_FOR_OTHERS"),
          .info = NMI, .length = ~0u },
        { ROW("compatibility-mode", "an interrupt in compatibility mode has a 64-bit frame",
              "INJ_COMPAT_TO_64", "host64"),
          .mode = GUEST_COMPAT, .info = EXTERNAL(0x30) },
        { ROW("pae", "a 32-bit frame in a 32-bit guest", "INJ_32BIT_GATES"),
          .mode = GUEST_PAE, .info = EXTERNAL(0x30) },
        { ROW("32-bit-paging", "a 32-bit frame in a guest without PAE", "INJ_32BIT_GATES"),
          .mode = GUEST_32, .info = EXTERNAL(0x30) },
        { ROW("user", "an interrupt from CPL 3 enters a DPL-0 handler on the stack of the TSS",
              "INJ_PRIVILEGE_CHANGE INJ_HW_NO_DPL_CHECK"),
          .info = EXTERNAL(0x30), .prepare = vm_user },
        FLAGS("flags.arithmetic", "the arithmetic flags in the frame", HARDWARE(6), RFLAGS_ARITH),
        FLAGS("flags.if", "IF = 1 in the frame", HARDWARE(6), RFLAGS_IF),
        FLAGS("flags.df", "DF = 1 in the frame", EXTERNAL(0x30), RFLAGS_DF | RFLAGS_IF),
        FLAGS("flags.nt", "NT = 1 in the frame", NMI, RFLAGS_NT),
        FLAGS("flags.iopl", "IOPL in the frame", HARDWARE(6), RFLAGS_IOPL),
        FLAGS("flags.ac", "AC = 1 in the frame", HARDWARE(6), RFLAGS_AC),
        FLAGS("flags.id", "ID = 1 in the frame", HARDWARE(6), RFLAGS_ID),
        { ROW("rf.fault", "RF = 0 stays 0 in the frame of a fault", "INJ_RF_NOT_FORCED"),
          .info = HARDWARE_CODE(13), .error = 0x10 },
        { ROW("rf.interrupt", "RF = 1 in the frame of an external interrupt",
              "INJ_RF_NOT_FORCED INJ_RFLAGS_PUSHED"),
          .info = EXTERNAL(0x30), .given = EDITS(OR(GUEST_RFLAGS, RFLAGS_RF | RFLAGS_IF)) },
        { ROW("rf.int-n", "RF = 1 in the frame of a software interrupt",
              "INJ_RF_NOT_FORCED INJ_RFLAGS_PUSHED"),
          .info = INT_N(0x30), .length = 2, .advance = 2,
          .given = EDITS(OR(GUEST_RFLAGS, RFLAGS_RF)) },
};

DELIVERIES(interrupt, interrupts, .id = "inject.event",
           .title = "delivery of an injected event", .sdm = SDM)

PROGRAM(nops, NATIVE_BITS, ".fill 20, 1, 0x90\n vmcall\n");
PROGRAM(pushf_vmcall, NATIVE_BITS, "pushf\n pop " RAX "\n vmcall\n");
PROGRAM(cpuid_first, NATIVE_BITS, "cpuid\n vmcall\n");
PROGRAM(read_sysenter, NATIVE_BITS,
        "mov $0x174, %ecx\n rdmsr\n vmcall\n");

CASE(first_instruction, .id = "inject.none.first-instruction",
     .title = "the controls are in force for the first instruction: CPUID exits",
     .sdm = "VM Entries > Vectored-Event Injection",
     .rules = "ENTL_ENTERS_NONROOT_WITH_CONTROLS")
{
        struct vm *vm = vm_begin(GUEST_NATIVE);

        vm_program(vm, cpuid_first);
        vm_poison(0);
        CHECK_EXIT("VM entry", vm_enter(vm), EXITS_WITH(EXIT_CPUID, 0));
        CHECK_VMCS(GUEST_RIP, (ulong)cpuid_first.start);
}

/*
 * TF is cleared for the handler. IRET restores it, and the trap comes after the
 * instruction that follows IRET.
 */
TABLE(no_step, event_types, .id = "inject.tf",
      .title = "no single-step trap in the handler, but after its IRET",
      .sdm = SDM, .rules = "INJ_TF_NO_STEP_IN_HANDLER INJ_RFLAGS_PUSHED")
{
        struct vm *vm = vm_begin(GUEST_NATIVE);
        struct vm_tables t = vm_tables(vm);
        struct guest_event event = { .has_error = false };
        u8 vector = (u8)event_types[row].info;

        vm_program(vm, nops);
        vm_control(VMCS_GUEST_RFLAGS, RFLAGS_TF | RFLAGS_IF, 0);
        vm_gate_offset(&t, vector, (ulong)nops.start);
        vm_inject(event_types[row].info, 0, event_types[row].length);
        vm_poison(0);
        CHECK_EXIT("the handler's VMCALL", vm_enter(vm), EXITS(EXIT_VMCALL));
        CHECK_VMCS(GUEST_RIP, (ulong)nops.start + 20);
        CHECK_VMCS_MASKED(GUEST_RFLAGS, 0, RFLAGS_TF);

        /* Return to the program from a handler that says who it is. */
        vm_gate_offset(&t, vector, vm_handler(vm, vector));
        vmwrite(VMCS_GUEST_RIP, vm_handler(vm, vector));
        vm_event_return(&event);
        CHECK_DELIVERED("the trap after IRET", vm, vm_enter(vm), .vector = VEC_DB,
                        .rip = (ulong)nops.start + event_types[row].length + 1);
}

TABLE(flags_in_handler, event_types, .id = "inject.handler-flags.interrupt-gate",
      .title = "an interrupt gate clears TF, NT and IF",
      .sdm = SDM, .rules = "INJ_RFLAGS_AFTER_INT_GATE")
{
        const u32 all = RFLAGS_TF | RFLAGS_NT | RFLAGS_IF | RFLAGS_DF;
        struct vm *vm = vm_begin(GUEST_NATIVE);
        struct vm_tables t = vm_tables(vm);

        vm_gate_offset(&t, (u8)event_types[row].info, (ulong)pushf_vmcall.start);
        vm_control(VMCS_GUEST_RFLAGS, all, 0);
        vm_inject(event_types[row].info, 0, event_types[row].length);
        vm_poison(0);
        CHECK_EXIT("the handler's VMCALL", vm_enter(vm), EXITS(EXIT_VMCALL));
        CHECK_MASKED("RFLAGS in the handler", vm->regs.rax, RFLAGS_DF, all);
}

TABLE(trap_gate, event_types, .id = "inject.handler-flags.trap-gate",
      .title = "a trap gate clears TF and NT and leaves IF",
      .sdm = SDM, .rules = "INJ_RFLAGS_AFTER_TRAP_GATE")
{
        const u32 all = RFLAGS_TF | RFLAGS_NT | RFLAGS_IF;

        for (u32 flag = 0; flag <= RFLAGS_IF; flag += RFLAGS_IF) {
                struct vm *vm = vm_begin(GUEST_NATIVE);
                struct vm_tables t = vm_tables(vm);
                u8 vector = (u8)event_types[row].info;

                if (!flag && !(event_types[row].info & 0x700))
                        continue;  /* an external interrupt needs IF = 1 */
                vm_gate(&t, vector)[GATE_RIGHTS] = GATE_P | GATE_TRAP;
                vm_gate_offset(&t, vector, (ulong)pushf_vmcall.start);
                vm_control(VMCS_GUEST_RFLAGS, RFLAGS_TF | RFLAGS_NT | flag, 0);
                vm_inject(event_types[row].info, 0, event_types[row].length);
                vm_poison(0);
                CHECK_EXIT("the handler's VMCALL", vm_enter(vm),
                           EXITS(EXIT_VMCALL));
                CHECK_MASKED("RFLAGS in the handler", vm->regs.rax, flag, all);
        }
}

#define PENDING_VECTOR 0x61

/* What the local APIC knows of vectors, and its priority. */
static void apic_state(u32 state[17])
{
        for (unsigned i = 0; i < 8; i++) {
                state[i] = apic_read(APIC_ISR + i * 16);
                state[8 + i] = apic_read(APIC_IRR + i * 16);
        }
        state[16] = apic_read(APIC_PPR);
}

/*
 * With an interrupt pending that is not let in, and IF = 0 in the handler: an
 * acknowledge cycle would take it.
 */
CASE(no_acknowledge, .id = "inject.interrupt.no-acknowledge",
     .title = "an injected interrupt leaves the local APIC alone",
     .sdm = SDM, .rules = "INJ_EXTINT_NO_APIC_ACK", .needs = "apic")
{
        struct vm *vm = vm_begin(GUEST_NATIVE);
        u32 before[17], after[17];

        irq_pend(PENDING_VECTOR);
        apic_state(before);
        vm_inject(EXTERNAL(PENDING_VECTOR), 0, 0);
        vm_poison(0);
        CHECK_DELIVERED("VM entry with injection", vm, vm_enter(vm),
                        .vector = PENDING_VECTOR,
                        .rip = (ulong)program_vmcall.start);
        apic_state(after);
        for (unsigned i = 0; i < ARRAY_LEN(before); i++)
                CHECK_EQ(i == 16 ? "PPR" : i < 8 ? "ISR" : "IRR", after[i],
                         before[i]);
        CHECK_EQ("interrupts that the host takes", irq_take(PENDING_VECTOR), 1);
}

CASE(no_virtual_acknowledge, .id = "inject.interrupt.no-virtual-acknowledge",
     .title = "an injected interrupt leaves the virtual APIC alone",
     .sdm = SDM, .rules = "INJ_EXTINT_NO_APIC_ACK",
     .needs = "use-tpr-shadow virtual-interrupt-delivery "
              "external-interrupt-exiting")
{
        struct vm *vm = vm_begin(GUEST_NATIVE);
        u32 *page = page_alloc(1);

        vm_control(VMCS_PIN_CONTROLS, CTL_PIN_EXTERNAL_INTERRUPT_EXITING, 0);
        vm_control(VMCS_PRIMARY_CONTROLS,
                   CTL_PRIMARY_USE_TPR_SHADOW | CTL_PRIMARY_ACTIVATE_SECONDARY, 0);
        vm_control(VMCS_SECONDARY_CONTROLS,
                   CTL_SECONDARY_VIRTUAL_INTERRUPT_DELIVERY, 0);
        vmwrite(VMCS_VIRTUAL_APIC_ADDRESS, phys(page));
        /* The vector is pending there too, below the virtual TPR. */
        page[APIC_TPR / 4] = 0xf0;
        page[(APIC_IRR + PENDING_VECTOR / 32 * 16) / 4] =
                1u << PENDING_VECTOR % 32;
        vmwrite(VMCS_GUEST_INTERRUPT_STATUS, PENDING_VECTOR);
        vm_inject(EXTERNAL(PENDING_VECTOR), 0, 0);
        vm_poison(0);
        CHECK_DELIVERED("VM entry with injection", vm, vm_enter(vm),
                        .vector = PENDING_VECTOR,
                        .rip = (ulong)program_vmcall.start);
        for (unsigned i = 0; i < 8; i++) {
                CHECK_EQ("VISR", page[(APIC_ISR + i * 16) / 4], 0);
                CHECK_EQ("VIRR", page[(APIC_IRR + i * 16) / 4],
                         i == PENDING_VECTOR / 32
                         ? 1u << PENDING_VECTOR % 32 : 0);
        }
        CHECK_VMCS(GUEST_INTERRUPT_STATUS, PENDING_VECTOR);
}

CASE(msr_list_first, .id = "inject.context.msr-list",
     .title = "the handler sees MSRs that the VM-entry MSR-load list loaded",
     .sdm = "VM Entries > Vectored-Event Injection",
     .rules = "INJ_AFTER_STATE_AND_MSRS", .needs = "use-msr-bitmaps")
{
        struct vm *vm = vm_begin(GUEST_NATIVE);
        struct vm_tables t = vm_tables(vm);
        u64 *list = page_alloc(1);

        vm_control(VMCS_PRIMARY_CONTROLS, CTL_PRIMARY_USE_MSR_BITMAPS, 0);
        vmwrite(VMCS_MSR_BITMAPS, phys(page_alloc(1)));
        vmwrite(VMCS_GUEST_SYSENTER_CS, 0x1000);
        list[0] = MSR_IA32_SYSENTER_CS;
        list[1] = 0x2000;
        vmwrite(VMCS_ENTRY_MSR_LOAD_ADDRESS, phys(list));
        vmwrite(VMCS_ENTRY_MSR_LOAD_COUNT, 1);
        vm_gate_offset(&t, VEC_UD, (ulong)read_sysenter.start);
        vm_inject(HARDWARE(VEC_UD), 0, 0);
        vm_poison(0);
        CHECK_EXIT("the handler's VMCALL", vm_enter(vm), EXITS(EXIT_VMCALL));
        CHECK_EQ("IA32_SYSENTER_CS in the handler", (u32)vm->regs.rax, 0x2000);
        CHECK_VMCS(GUEST_RIP, (ulong)read_sysenter.end - 3);
}
