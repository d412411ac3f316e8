/*
 * SDM Vol. 3, VM Exits > Architectural State Before a VM Exit, and VM Entries >
 * VM Exits During Event Injection: what is saved when delivery of an injected
 * event ends in a VM exit; page faults met by it; and the fetch of the handler's
 * first instruction, which is not part of it.
 */
#include "x86/cpu.h"
#include "x86/memory.h"
#include "x86/paging.h"
#include "x86/vmx/event.h"
#include "x86/vmx/session.h"

#define SDM "VM Exits > Architectural State Before a VM Exit"

/* Injects @info through a gate that is not present; #NP exits. */
static struct vm *begin(u32 info)
{
        struct vm *vm = vm_begin(GUEST_NATIVE);
        struct vm_tables t = vm_tables(vm);

        vm_gate(&t, (u8)info)[GATE_RIGHTS] = GATE_INTERRUPT;
        vmwrite(VMCS_EXCEPTION_BITMAP, BIT(VEC_NP));
        vm_inject(info, 0, 1);
        vm_poison(0);
        return vm;
}

static void enter_and_exit(struct vm *vm, u32 info)
{
        CHECK_EXIT("VM entry", vm_enter(vm), EXITS(EXIT_EXCEPTION_NMI));
        CHECK_ORIGINAL_EVENT(info, 0);
}

static const struct {
        struct row head;
        u32 info;
        u32 blocked;
} blockings[] = {
        { ROW("sti.exception", "#UD, blocking by STI"), HARDWARE(6), BLOCKED_STI },
        { ROW("sti.int-n", "INT n, blocking by STI"), INT_N(0x30), BLOCKED_STI },
        { ROW("sti.int1", "INT1, blocking by STI"), INT1_TRAP, BLOCKED_STI },
        { ROW("sti.int3", "INT3, blocking by STI"), SOFTWARE(3), BLOCKED_STI },
        { ROW("mov-ss.exception", "#UD, blocking by MOV SS"), HARDWARE(6),
          BLOCKED_MOV_SS },
        { ROW("mov-ss.int-n", "INT n, blocking by MOV SS"), INT_N(0x30),
          BLOCKED_MOV_SS },
        { ROW("mov-ss.int1", "INT1, blocking by MOV SS"), INT1_TRAP,
          BLOCKED_MOV_SS },
        { ROW("mov-ss.int3", "INT3, blocking by MOV SS"), SOFTWARE(3),
          BLOCKED_MOV_SS },
};

TABLE(blocking, blockings, .id = "inject.exit-state.blocking",
      .title = "no blocking by STI or MOV SS is saved by an exit in delivery",
      .sdm = SDM, .rules = "INJ_EXIT_BLOCKING_CLEARED")
{
        struct vm *vm = begin(blockings[row].info);

        vm_control(VMCS_GUEST_RFLAGS, RFLAGS_IF, 0);
        vmwrite(VMCS_GUEST_INTERRUPTIBILITY_STATE, blockings[row].blocked);
        enter_and_exit(vm, blockings[row].info);
        CHECK_BLOCKING(0);

        /* By contrast: VMCALL, the first instruction, leaves it. */
        vm = vm_begin(GUEST_NATIVE);
        vm_control(VMCS_GUEST_RFLAGS, RFLAGS_IF, 0);
        vmwrite(VMCS_GUEST_INTERRUPTIBILITY_STATE, blockings[row].blocked);
        vm_poison(0);
        CHECK_EXIT("without injection", vm_enter(vm), EXITS(EXIT_VMCALL));
        CHECK_BLOCKING(blockings[row].blocked);
}

static const struct {
        struct row head;
        u32 info;
} halted[] = {
        { ROW("external"), EXTERNAL(0x30) },
        { ROW("nmi"), NMI },
        { ROW("db"), HARDWARE(VEC_DB) },
        { ROW("mc"), HARDWARE(VEC_MC) },
};

TABLE(activity, halted, .id = "inject.exit-state.activity",
      .title = "an exit in delivery to a halted guest saves the active state",
      .sdm = SDM, .rules = "INJ_EXIT_ACTIVITY_ACTIVE", .needs = "activity-hlt")
{
        struct vm *vm = begin(halted[row].info);

        vmwrite(VMCS_GUEST_ACTIVITY_STATE, HLT);
        enter_and_exit(vm, halted[row].info);
        CHECK_VMCS(GUEST_ACTIVITY_STATE, ACTIVE);
        CHECK_VMCS(GUEST_RIP, (ulong)program_vmcall.start);
}

static const struct {
        struct row head;
        u32 info;
        u32 pending;
        u32 rflags;
} pendings[] = {
        { ROW("external.breakpoint"), EXTERNAL(0x30), PENDING_ENABLED | PENDING_B(0) },
        { ROW("nmi.breakpoint"), NMI, PENDING_ENABLED | PENDING_B(0) },
        { ROW("exception.breakpoint"), HARDWARE(6), PENDING_ENABLED | PENDING_B(0) },
        { ROW("int1.breakpoint"), INT1_TRAP, PENDING_ENABLED | PENDING_B(0) },
        { ROW("external.step"), EXTERNAL(0x30), PENDING_BS, RFLAGS_TF },
        { ROW("exception.step"), HARDWARE(6), PENDING_BS, RFLAGS_TF },
};

TABLE(pending_debug, pendings, .id = "inject.exit-state.pending-debug",
      .title = "an exit in delivery saves no pending debug exception",
      .sdm = SDM, .rules = "INJ_EXIT_PENDING_DEBUG_NONE")
{
        struct vm *vm = begin(pendings[row].info);

        vm_control(VMCS_GUEST_RFLAGS, pendings[row].rflags, 0);
        vmwrite(VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS, pendings[row].pending);
        enter_and_exit(vm, pendings[row].info);
        CHECK_VMCS(GUEST_PENDING_DEBUG_EXCEPTIONS, 0);
}

/*
 * The GDT's second page is not present; the gate's segment is there. The error
 * code is 0: a read by the processor, no page.
 */
static const struct {
        struct row head;
        u32 bitmap, mask, match;
        bool exits;
} page_faults[] = {
        { ROW("bitmap-clear", "bit 14 = 0, match: delivered"), 0, 0, 0, false },
        { ROW("bitmap-set", "bit 14 = 1, match: exit"), BIT(14), 0, 0, true },
        { ROW("bitmap-set.match", "bit 14 = 1, match of W = 0: exit"), BIT(14),
          PF_W, 0, true },
        { ROW("bitmap-set.mismatch", "bit 14 = 1, mismatch: delivered"), BIT(14),
          PF_W, PF_W, false },
        { ROW("bitmap-clear.mismatch", "bit 14 = 0, mismatch: exit"), 0, PF_P, PF_P,
          true },
        { ROW("bitmap-clear.match", "bit 14 = 0, match of P = 0: delivered"), 0,
          PF_P, 0, false },
};

TABLE(page_fault, page_faults, .id = "inject.exit.page-fault",
      .title = "bitmap and error-code mask decide on a page fault in delivery",
      .sdm = "VM Entries > VM Exits During Event Injection",
      .rules = "INJ_EXIT_PF_NESTED_PFEC")
{
        const u16 selector = 0x1008;
        struct vm *vm = vm_begin(GUEST_NATIVE);
        struct vm_tables t = vm_tables(vm);
        ulong at = (ulong)t.gdt + selector;
        u8 vector = 0x30;

        vmwrite(VMCS_GUEST_GDTR_LIMIT, 0x1fff);
        *vm_pte(vm, (void *)at) = 0;
        vm_gate_selector(&t, vector, selector);
        vmwrite(VMCS_EXCEPTION_BITMAP, page_faults[row].bitmap);
        vmwrite(VMCS_PAGE_FAULT_ERROR_CODE_MASK, page_faults[row].mask);
        vmwrite(VMCS_PAGE_FAULT_ERROR_CODE_MATCH, page_faults[row].match);
        vm_inject(EXTERNAL(vector), 0, 0);
        write_cr2(0x1000);
        vm_poison(0);
        if (!page_faults[row].exits) {
                CHECK_DELIVERED("VM entry", vm, vm_enter(vm), .vector = VEC_PF,
                                .has_error = true,
                                .rip = (ulong)program_vmcall.start);
                CHECK_EQ("CR2 / 8", read_cr2() / 8, at / 8);
                return;
        }
        CHECK_EXIT("VM entry", vm_enter(vm), EXITS(EXIT_EXCEPTION_NMI));
        CHECK_EXITING_EVENT(HARDWARE_CODE(VEC_PF), 0);
        CHECK_ORIGINAL_EVENT(EXTERNAL(vector), 0);
        CHECK_EQ("exit qualification / 8", vmread(VMCS_EXIT_QUALIFICATION) / 8,
                 at / 8);
        CHECK_EQ("CR2", read_cr2(), 0x1000);
        CHECK_VMCS(GUEST_RIP, (ulong)program_vmcall.start);
}

/* Delivery is over when the handler is fetched: its frame is on the stack. */
CASE(handler_fetch, .id = "inject.exit.handler-fetch",
     .title = "a page fault on the handler's first instruction is not in delivery",
     .sdm = "VM Exits > Information for VM Exits During Event Delivery",
     .rules = "INJ_EXIT_HANDLER_FETCH_NOT_DELIVERY")
{
        struct vm *vm = vm_begin(GUEST_NATIVE);
        struct vm_tables t = vm_tables(vm);
        u64 rsp = vmread(VMCS_GUEST_RSP);

        vm_paging_hole(vm);
        vm_gate_offset(&t, VEC_UD, GUEST_HOLE);
        vmwrite(VMCS_EXCEPTION_BITMAP, BIT(VEC_PF));
        vm_inject(HARDWARE(VEC_UD), 0, 0);
        vm_poison(0);
        CHECK_EXIT("VM entry", vm_enter(vm),
                   EXITS_WITH(EXIT_EXCEPTION_NMI, GUEST_HOLE));
        CHECK_ORIGINAL_EVENT(0, 0);
        CHECK_VMCS(GUEST_RIP, GUEST_HOLE);
        CHECK_EQ("words pushed", (rsp - vmread(VMCS_GUEST_RSP)) / sizeof(ulong),
                 sizeof(ulong) == 8 ? 5 : 3);
        CHECK_EQ("RIP in the frame", vm_stack(vm, 0),
                 (ulong)program_vmcall.start);
}
