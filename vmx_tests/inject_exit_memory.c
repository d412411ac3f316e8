/*
 * SDM Vol. 3, VM Entries > VM Exits During Event Injection: EPT violations and
 * misconfigurations, APIC accesses and page-modification-log-full events that
 * delivery of an injected event causes, and their original-event information.
 */
#include "x86/cpu.h"
#include "x86/memory.h"
#include "x86/vmx/ept.h"
#include "x86/vmx/event.h"
#include "x86/vmx/session.h"
#include "x86/vmx/snippet.h"

#define SDM "VM Entries > VM Exits During Event Injection"

#define CODE 0x5a         /* error code */
#define LENGTH 2

static const struct event {
        struct row head;
        u32 info;
} events[] = {
        { ROW("external"), EXTERNAL(0x30) },
        { ROW("nmi"), NMI },
        { ROW("exception"), HARDWARE_CODE(VEC_GP) },
        { ROW("int-n"), INT_N(0x30) },
        { ROW("int1"), INT1_TRAP },
        { ROW("int3"), SOFTWARE(3) },
};

/* The guest's EPT, its own, and tables; @info is injected. */
static struct vm *begin(u32 info, struct vm_tables *t, u64 **ept)
{
        struct vm *vm = vm_begin(GUEST_NATIVE);

        *t = vm_tables(vm);
        if (ept) {
                *ept = ept_new();
                ept_map_identity(*ept);
                ept_use(*ept, 0);
        }
        vm_inject(info, CODE, LENGTH);
        vm_poison(0);
        return vm;
}

/* What every exit in delivery of @info has in common. */
static void check_in_delivery(u32 info, u64 rsp)
{
        CHECK_ORIGINAL_EVENT(info, CODE);
        CHECK_EXITING_EVENT(0, 0);
        CHECK_VMCS(GUEST_RIP, (ulong)program_vmcall.start);
        CHECK_VMCS(GUEST_RSP, rsp);
        CHECK_VMCS(GUEST_CS_SELECTOR, SEL_CODE);
}

static void check_within(const char *what, u64 got, u64 from, u64 size)
{
        CHECK(what, got - from < size, "0x%llx, not from 0x%llx to 0x%llx",
              (unsigned long long)got, (unsigned long long)from,
              (unsigned long long)(from + size - 1));
}

#define READ BIT(0)
#define WRITE BIT(1)
#define FETCH BIT(2)
#define ALLOWED(permissions) ((u64)(permissions) << 3)
#define LINEAR BIT(7)
#define TRANSLATED BIT(8)

TABLE(idt_violation, events, .id = "inject.exit.ept-violation.idt",
      .title = "an EPT violation on the IDT exits with the injected event",
      .sdm = SDM,
      .rules = "INJ_EXIT_EPT_VIOLATION_IDT INJ_EXIT_SAVED_RIP INJ_EXIT_IDTV_TYPES "
               "INJ_EXIT_SAVED_RSP_UNCHANGED INJ_EXIT_INSTR_LENGTH_EPT",
      .needs = "enable-ept")
{
        u32 info = events[row].info;
        u8 vector = (u8)info;
        struct vm_tables t;
        u64 *ept, rsp;
        struct vm *vm = begin(info, &t, &ept);

        CHECK_EXIT("mapped", vm_enter(vm), EXITS(EXIT_VMCALL));
        CHECK_VMCS(GUEST_RIP, vm_handler(vm, vector));
        vm = begin(info, &t, &ept);
        rsp = vmread(VMCS_GUEST_RSP);
        *ept_entry(ept, phys(t.idt), EPT_PTE) = 0;
        CHECK_EXIT("not mapped", vm_enter(vm), EXITS(EXIT_EPT_VIOLATION));
        CHECK_VMCS_MASKED(EXIT_QUALIFICATION, READ | LINEAR | TRANSLATED,
                          READ | WRITE | FETCH | ALLOWED(EPT_RWX) | LINEAR |
                          TRANSLATED);
        check_within("guest-linear address", vmread(VMCS_GUEST_LINEAR_ADDRESS),
                     (ulong)vm_gate(&t, vector), t.gate_size);
        check_within("guest-physical address", vmread(VMCS_GUEST_PHYSICAL_ADDRESS),
                     phys(vm_gate(&t, vector)), t.gate_size);
        check_in_delivery(info, rsp);
        if ((info & 0x700) >= 0x400)
                CHECK_VMCS(EXIT_INSTRUCTION_LENGTH, LENGTH);
}

TABLE(stack_violation, events, .id = "inject.exit.ept-violation.stack",
      .title = "an EPT violation on the stack exits with the injected event",
      .sdm = SDM,
      .rules = "INJ_EXIT_EPT_VIOLATION_STACK INJ_EXIT_SAVED_RSP_UNCHANGED "
               "INJ_EXIT_SAVED_RIP INJ_EXIT_INSTR_LENGTH_EPT",
      .needs = "enable-ept")
{
        u32 info = events[row].info;

        for (u64 allowed = EPT_R; allowed <= EPT_RWX; allowed += EPT_RWX - EPT_R) {
                ulong rsp = (ulong)page_alloc(1) + PAGE_SIZE;
                struct vm_tables t;
                u64 *ept;
                struct vm *vm = begin(info, &t, &ept);

                vmwrite(VMCS_GUEST_RSP, rsp);
                ept_map(ept, rsp - PAGE_SIZE, rsp - PAGE_SIZE, EPT_PTE,
                        allowed | ept_memory_type());
                if (allowed == EPT_RWX) {
                        CHECK_EXIT("writable", vm_enter(vm), EXITS(EXIT_VMCALL));
                        CHECK_VMCS(GUEST_RIP, vm_handler(vm, (u8)info));
                        continue;
                }
                CHECK_EXIT("read-only", vm_enter(vm), EXITS(EXIT_EPT_VIOLATION));
                CHECK_VMCS_MASKED(EXIT_QUALIFICATION,
                                  WRITE | ALLOWED(EPT_R) | LINEAR | TRANSLATED,
                                  WRITE | FETCH | ALLOWED(EPT_RWX) | LINEAR |
                                  TRANSLATED);
                check_within("guest-linear address",
                             vmread(VMCS_GUEST_LINEAR_ADDRESS), rsp - 48, 48);
                check_within("guest-physical address",
                             vmread(VMCS_GUEST_PHYSICAL_ADDRESS), rsp - 48, 48);
                check_in_delivery(info, rsp);
                if ((info & 0x700) >= 0x400)
                        CHECK_VMCS(EXIT_INSTRUCTION_LENGTH, LENGTH);
        }
}

TABLE(walk_violation, events, .id = "inject.exit.ept-violation.page-walk",
      .title = "an EPT violation on a page table exits with the injected event",
      .sdm = SDM, .rules = "INJ_EXIT_EPT_VIOLATION_PAGE_WALK",
      .needs = "enable-ept")
{
        u32 info = events[row].info;
        struct vm_tables t;
        u64 *ept, rsp, *pte;
        struct vm *vm = begin(info, &t, &ept);

        /* A page directory's 2-MiB region with the IDT alone: far from code. */
        rsp = vmread(VMCS_GUEST_RSP);
        pte = vm_pte(vm, t.idt);
        *ept_entry(ept, phys(pte) & ~(u64)(PAGE_SIZE - 1), EPT_PTE) = 0;
        CHECK_EXIT("VM entry", vm_enter(vm), EXITS(EXIT_EPT_VIOLATION));
        CHECK_VMCS_MASKED(EXIT_QUALIFICATION, READ | LINEAR,
                          READ | FETCH | ALLOWED(EPT_RWX) | LINEAR | TRANSLATED);
        CHECK_EQ("guest-physical address / 8",
                 vmread(VMCS_GUEST_PHYSICAL_ADDRESS) / 8, phys(pte) / 8);
        check_within("guest-linear address", vmread(VMCS_GUEST_LINEAR_ADDRESS),
                     (ulong)vm_gate(&t, (u8)info), t.gate_size);
        check_in_delivery(info, rsp);
}

/* Write-only is a misconfiguration. The instruction length is undefined. */
TABLE(misconfiguration, events, .id = "inject.exit.ept-misconfiguration",
      .title = "an EPT misconfiguration of the IDT's page exits with the injected event",
      .sdm = SDM, .rules = "INJ_EXIT_EPT_MISCONFIG", .needs = "enable-ept")
{
        u32 info = events[row].info;
        struct vm_tables t;
        u64 *ept, rsp;
        struct vm *vm = begin(info, &t, &ept);

        rsp = vmread(VMCS_GUEST_RSP);
        *ept_entry(ept, phys(t.idt), EPT_PTE) =
                phys(t.idt) | EPT_W | ept_memory_type();
        CHECK_EXIT("VM entry", vm_enter(vm),
                   EXITS_WITH(EXIT_EPT_MISCONFIGURATION, 0));
        check_within("guest-physical address", vmread(VMCS_GUEST_PHYSICAL_ADDRESS),
                     phys(vm_gate(&t, (u8)info)), t.gate_size);
        check_in_delivery(info, rsp);
}

/* Linear access during event delivery: SDM, the table of qualifications. */
#define APIC_EVENT_DELIVERY 3u

TABLE(apic_access, events, .id = "inject.exit.apic-access",
      .title = "delivery that touches the APIC-access page exits",
      .sdm = SDM,
      .rules = "INJ_EXIT_APIC_ACCESS INJ_EXIT_INSTR_LENGTH_EPT",
      .needs = "virtualize-apic-accesses")
{
        u32 info = events[row].info;

        for (unsigned on_stack = 0; on_stack < 2; on_stack++) {
                ulong top = (ulong)page_alloc(1) + PAGE_SIZE;
                struct vm_tables t;
                struct vm *vm = begin(info, &t, NULL);
                ulong page = on_stack ? top - PAGE_SIZE : (ulong)t.idt;
                u64 offset;

                vmwrite(VMCS_GUEST_RSP, top);
                vmcs_edit(EDITS(WITH_SECONDARY(
                                CTL_SECONDARY_VIRTUALIZE_APIC_ACCESSES)));
                guest_map_small((void *)page);
                vmwrite(VMCS_APIC_ACCESS_ADDRESS, page);
                CHECK_EXIT("VM entry", vm_enter(vm), EXITS(EXIT_APIC_ACCESS));
                offset = vmread(VMCS_EXIT_QUALIFICATION);
                CHECK_EQ("access type", offset >> 12 & 15, APIC_EVENT_DELIVERY);
                offset &= PAGE_SIZE - 1;
                if (on_stack)
                        check_within("offset", offset, PAGE_SIZE - 48, 48);
                else
                        check_within("offset", offset, (u8)info * t.gate_size,
                                     t.gate_size);
                check_in_delivery(info, top);
                if ((info & 0x700) >= 0x400)
                        CHECK_VMCS(EXIT_INSTRUCTION_LENGTH, LENGTH);
        }
}

/*
 * The log is full (index FFFFH) and the first write to a clean page has to be
 * logged: everything but the stack's page is dirty already.
 */
TABLE(pml_full, events, .id = "inject.exit.pml-full",
      .title = "a push that finds the page-modification log full exits",
      .sdm = SDM, .rules = "INJ_EXIT_PML_FULL INJ_EXIT_INSTR_LENGTH_EPT",
      .needs = "enable-pml ept-ad ept-2m")
{
        const u64 dirty = EPT_A | EPT_D;
        u32 info = events[row].info;

        for (unsigned full = 0; full < 2; full++) {
                ulong top = (ulong)page_alloc(1) + PAGE_SIZE;
                struct vm_tables t;
                u64 *ept;
                struct vm *vm = begin(info, &t, &ept);

                for (u64 gpa = 0; gpa < MEMORY_LIMIT; gpa += EPT_PAGE_SIZE(EPT_PDE))
                        *ept_entry(ept, gpa, EPT_PDE) |= dirty;
                *ept_entry(ept, top - PAGE_SIZE, EPT_PTE) &= ~EPT_D;
                ept_use(ept, EPTP_AD);
                vmcs_edit(EDITS(WITH_SECONDARY(CTL_SECONDARY_ENABLE_PML)));
                vmwrite(VMCS_PML_ADDRESS, phys(page_alloc(1)));
                vmwrite(VMCS_PML_INDEX, full ? 0xffff : 511);
                vmwrite(VMCS_GUEST_RSP, top);
                if (!full) {
                        CHECK_EXIT("room for one", vm_enter(vm),
                                   EXITS(EXIT_VMCALL));
                        CHECK_VMCS(GUEST_RIP, vm_handler(vm, (u8)info));
                        CHECK_VMCS(PML_INDEX, 510);
                        continue;
                }
                CHECK_EXIT("full", vm_enter(vm), EXITS(EXIT_PML_FULL));
                check_in_delivery(info, top);
                CHECK("the page is still clean",
                      !(*ept_entry(ept, top - PAGE_SIZE, EPT_PTE) & EPT_D),
                      "dirty");
                if ((info & 0x700) >= 0x400)
                        CHECK_VMCS(EXIT_INSTRUCTION_LENGTH, LENGTH);
        }
}

CASE(handler_fetch, .id = "inject.exit.ept-violation.handler-fetch",
     .title = "an EPT violation on the handler's first instruction is not in delivery",
     .sdm = "VM Exits > Information for VM Exits During Event Delivery",
     .rules = "INJ_EXIT_HANDLER_FETCH_NOT_DELIVERY", .needs = "enable-ept")
{
        u8 *code = page_alloc(1);
        struct vm_tables t;
        u64 *ept, rsp;
        struct vm *vm = begin(HARDWARE(VEC_UD), &t, &ept);

        rsp = vmread(VMCS_GUEST_RSP);
        vm_gate_offset(&t, VEC_UD, (ulong)code);
        ept_map(ept, phys(code), phys(code), EPT_PTE,
                EPT_R | EPT_W | ept_memory_type());
        CHECK_EXIT("VM entry", vm_enter(vm), EXITS(EXIT_EPT_VIOLATION));
        CHECK_VMCS_MASKED(EXIT_QUALIFICATION, FETCH, READ | WRITE | FETCH);
        CHECK_ORIGINAL_EVENT(0, 0);
        CHECK_VMCS(GUEST_RIP, (ulong)code);
        CHECK_EQ("words pushed", (rsp - vmread(VMCS_GUEST_RSP)) / sizeof(ulong),
                 sizeof(ulong) == 8 ? 5 : 3);
        CHECK_EQ("RIP in the frame", vm_stack(vm, 0),
                 (ulong)program_vmcall.start);
}

PROGRAM(read_at_ax, NATIVE_BITS, "mov (" RAX "), %cl\n vmcall\n");

static struct vm *begin_ve(u32 info, struct vm_tables *t, u64 **ept, u32 **area)
{
        struct vm *vm = begin(info, t, ept);

        *area = page_alloc(1);
        vmcs_edit(EDITS(WITH_SECONDARY(CTL_SECONDARY_EPT_VIOLATION_VE)));
        vmwrite(VMCS_VE_INFORMATION_ADDRESS, phys(*area));
        return vm;
}

/* Entry 0 does not suppress #VE. */
TABLE(no_ve, events, .id = "inject.exit.no-ve",
      .title = "an EPT violation in delivery exits where one by an instruction is #VE",
      .sdm = "VMX Non-Root Operation > Virtualization Exceptions > Convertible EPT Violations",
      .rules = "INJ_EXIT_NO_VE_DURING_DELIVERY", .needs = "ept-violation-ve")
{
        u32 info = events[row].info, *area;
        ulong top = (ulong)page_alloc(1) + PAGE_SIZE;
        struct vm_tables t;
        u64 *ept;
        struct vm *vm = begin_ve(0, &t, &ept, &area);

        *ept_entry(ept, top - PAGE_SIZE, EPT_PTE) = 0;
        vm_program(vm, read_at_ax);
        vm->regs.rax = top - PAGE_SIZE;
        CHECK_DELIVERED("by an instruction", vm, vm_enter(vm), .vector = VEC_VE,
                        .rip = (ulong)read_at_ax.start);
        CHECK_EQ("reason in the #VE area", area[0], EXIT_EPT_VIOLATION);

        vm = begin_ve(info, &t, &ept, &area);
        *ept_entry(ept, top - PAGE_SIZE, EPT_PTE) = 0;
        vmwrite(VMCS_GUEST_RSP, top);
        CHECK_EXIT("by a push", vm_enter(vm), EXITS(EXIT_EPT_VIOLATION));
        check_in_delivery(info, top);
        CHECK_EQ("reason in the #VE area", area[0], 0);

        vm = begin_ve(info, &t, &ept, &area);
        *ept_entry(ept, phys(t.idt), EPT_PTE) = 0;
        CHECK_EXIT("on the IDT", vm_enter(vm), EXITS(EXIT_EPT_VIOLATION));
        CHECK_ORIGINAL_EVENT(info, CODE);
        CHECK_EQ("reason in the #VE area", area[0], 0);
}
