/*
 * SDM Vol. 3, VM Entries > Details of Vectored-Event Injection and Interruptibility
 * State: an injected NMI and virtual-NMI blocking. VM Exits > Architectural
 * State Before a VM Exit: also if its delivery ends in a VM exit.
 */
#include "x86/cpu.h"
#include "x86/memory.h"
#include "x86/vmx/ept.h"
#include "x86/vmx/event.h"

#define SDM "VM Entries > Details of Vectored-Event Injection"
#define NEEDS "nmi-exiting virtual-nmis"

static struct vm *begin(enum guest_mode mode, u32 blocked)
{
        struct vm *vm = vm_begin(mode);

        vm_control(VMCS_PIN_CONTROLS,
                   CTL_PIN_NMI_EXITING | CTL_PIN_VIRTUAL_NMIS, 0);
        vmwrite(VMCS_GUEST_INTERRUPTIBILITY_STATE, blocked);
        return vm;
}

CASE(blocking_set, .id = "inject.nmi.virtual-blocking",
     .title = "an injected NMI blocks virtual NMIs until its handler's IRET",
     .sdm = SDM, .rules = "INJ_NMI_VNMI_BLOCKING_SET INJ_NMI_VNMI_IRET_CLEARS",
     .needs = NEEDS)
{
        struct vm *vm = begin(GUEST_NATIVE, 0);
        struct guest_event event = { .has_error = false };

        vm_inject(NMI, 0, 0);
        vm_poison(0);
        CHECK_DELIVERED("VM entry", vm, vm_enter(vm), .vector = VEC_NMI,
                        .rip = (ulong)program_vmcall.start);
        CHECK_VMCS(GUEST_INTERRUPTIBILITY_STATE, BLOCKED_NMI);
        vm_event_return(&event);
        CHECK_EXIT("IRET", vm_enter(vm), EXITS(EXIT_VMCALL));
        CHECK_VMCS(GUEST_RIP, (ulong)program_vmcall.start);
        CHECK_VMCS(GUEST_INTERRUPTIBILITY_STATE, 0);
}

static const struct {
        struct row head;
        u32 info;
} others[] = {
        { ROW("external"), EXTERNAL(0x30) },
        { ROW("vector-2"), EXTERNAL(2) },
        { ROW("exception"), HARDWARE(VEC_UD) },
        { ROW("int-n"), INT_N(2) },
        { ROW("int1"), INT1_TRAP },
        { ROW("int3"), SOFTWARE(3) },
};

TABLE(blocking_kept, others, .id = "inject.nmi.virtual-blocking-kept",
      .title = "another event leaves virtual-NMI blocking as the VMCS says",
      .sdm = SDM, .rules = "INJ_NMI_VNMI_BLOCKING_SET",
      .needs = NEEDS)
{
        for (u32 blocked = 0; blocked <= BLOCKED_NMI; blocked += BLOCKED_NMI) {
                struct vm *vm;

                vm_end_virtual_nmi_blocking();
                vm = begin(GUEST_NATIVE, blocked);
                vm_inject(others[row].info, 0, 1);
                vm_poison(0);
                CHECK_EXIT("VM entry", vm_enter(vm), EXITS(EXIT_VMCALL));
                CHECK_VMCS(GUEST_RIP, vm_handler(vm, (u8)others[row].info));
                CHECK_VMCS(GUEST_INTERRUPTIBILITY_STATE, blocked);
        }
}

static void gate_absent(struct vm *vm, const struct vm_tables *t, u8 vector)
{
        vm_gate(t, vector)[GATE_RIGHTS] = GATE_INTERRUPT;
        vmwrite(VMCS_EXCEPTION_BITMAP, BIT(VEC_NP));
        (void)vm;
}

/* #NP, whose own gate is not present either: #DF. */
static void double_fault(struct vm *vm, const struct vm_tables *t, u8 vector)
{
        gate_absent(vm, t, vector);
        vm_gate(t, VEC_NP)[GATE_RIGHTS] = GATE_INTERRUPT;
        vmwrite(VMCS_EXCEPTION_BITMAP, BIT(VEC_DF));
}

static void task_gate(struct vm *vm, const struct vm_tables *t, u8 vector)
{
        vm_gate(t, vector)[GATE_RIGHTS] = GATE_P | GATE_TASK;
        vm_gate_selector(t, vector, SEL_SPARE);
        t->gdt[SEL_SPARE / 8] = desc_make((u32)(ulong)t->tss + 0x800, TSS_LIMIT,
                                          DESC_TYPE(9) | DESC_P);
        (void)vm;
}

static u64 *ept_entry_of_idt(const struct vm_tables *t)
{
        u64 *ept = ept_new();

        ept_map_identity(ept);
        ept_use(ept, 0);
        return (u64 *)ept_entry(ept, phys(t->idt), EPT_PTE);
}

static void violation(struct vm *vm, const struct vm_tables *t, u8 vector)
{
        *ept_entry_of_idt(t) = 0;
        (void)vm;
        (void)vector;
}

static void misconfiguration(struct vm *vm, const struct vm_tables *t, u8 vector)
{
        *ept_entry_of_idt(t) = phys(t->idt) | EPT_W | ept_memory_type();
        (void)vm;
        (void)vector;
}

static void apic_access(struct vm *vm, const struct vm_tables *t, u8 vector)
{
        vmcs_edit(EDITS(WITH_SECONDARY(CTL_SECONDARY_VIRTUALIZE_APIC_ACCESSES)));
        guest_map_small(t->idt);
        vmwrite(VMCS_APIC_ACCESS_ADDRESS, phys(t->idt));
        (void)vm;
        (void)vector;
}

static const struct {
        struct row head;
        void (*prepare)(struct vm *vm, const struct vm_tables *t, u8 vector);
        enum guest_mode mode;
        u32 reason;
} exits[] = {
        { ROW("exception", "a nested exception"), gate_absent, GUEST_NATIVE,
          EXIT_EXCEPTION_NMI },
        { ROW("double-fault", "#DF"), double_fault, GUEST_NATIVE,
          EXIT_EXCEPTION_NMI },
        { ROW("task-gate", "a task switch"), task_gate, GUEST_PAE,
          EXIT_TASK_SWITCH },
        { ROW("ept-violation", "an EPT violation", NULL, "enable-ept"), violation,
          GUEST_NATIVE, EXIT_EPT_VIOLATION },
        { ROW("ept-misconfiguration", "an EPT misconfiguration", NULL, "enable-ept"),
          misconfiguration, GUEST_NATIVE, EXIT_EPT_MISCONFIGURATION },
        { ROW("apic-access", "an APIC access", NULL, "virtualize-apic-accesses"),
          apic_access, GUEST_NATIVE, EXIT_APIC_ACCESS },
};

TABLE(exit_in_delivery, exits, .id = "inject.nmi.exit",
      .title = "an exit in delivery of an NMI saves virtual-NMI blocking",
      .sdm = "VM Exits > Architectural State Before a VM Exit",
      .rules = "INJ_EXIT_NMI_VNMI_BLOCKING_ON_EXIT", .needs = NEEDS)
{
        /* An interrupt with the same vector, and the same trouble, is none. */
        static const u32 infos[] = { EXTERNAL(VEC_NMI), NMI };

        for (unsigned i = 0; i < ARRAY_LEN(infos); i++) {
                struct vm_tables t;
                struct vm *vm;

                vm_end_virtual_nmi_blocking();
                vm = begin(exits[row].mode, 0);
                t = vm_tables(vm);
                exits[row].prepare(vm, &t, VEC_NMI);
                vm_inject(infos[i], 0, 0);
                vm_poison(0);
                CHECK_EXIT(i ? "NMI" : "interrupt", vm_enter(vm),
                           EXITS(exits[row].reason));
                CHECK_VMCS(GUEST_INTERRUPTIBILITY_STATE, i ? BLOCKED_NMI : 0);
        }
}
