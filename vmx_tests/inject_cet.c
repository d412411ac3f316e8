/*
 * SDM Vol. 3, VM Entries > Details of Vectored-Event Injection, for a guest with
 * control-flow enforcement: the shadow stack and the indirect-branch tracker
 * take part in delivery of an injected event.
 */
#include "x86/cpu.h"
#include "x86/memory.h"
#include "x86/msr.h"
#include "x86/paging.h"
#include "x86/vmx/event.h"

#define SDM "VM Entries > Details of Vectored-Event Injection"
#define NEEDS "load-cet-state-entry load-cet-state-exit"

/* Bits of IA32_S_CET. */
#define SH_STK_EN BIT(0)
#define ENDBR_EN BIT(2)
#define TRACKER BIT(11)

#ifdef __x86_64__
PROGRAM(handler, NATIVE_BITS, "endbr64\n vmcall\n");
#else
PROGRAM(handler, NATIVE_BITS, "endbr32\n vmcall\n");
#endif

static const struct {
        struct row head;
        u32 info;
        u8 length;
} events[] = {
        { ROW("external"), EXTERNAL(0x30), 0 },
        { ROW("nmi"), NMI, 0 },
        { ROW("exception"), HARDWARE(VEC_UD), 0 },
        { ROW("int-n"), INT_N(0x30), 2 },
        { ROW("int3"), SOFTWARE(3), 1 },
};

static struct vm *begin(unsigned row, u64 s_cet, struct vm_tables *t)
{
        struct vm *vm = vm_begin(GUEST_NATIVE);

        *t = vm_tables(vm);
        vm_control(VMCS_GUEST_CR0, CR0_WP, 0);
        vm_control(VMCS_GUEST_CR4, CR4_CET, 0);
        vm_control(VMCS_ENTRY_CONTROLS, CTL_ENTRY_LOAD_CET_STATE, 0);
        vm_control(VMCS_EXIT_CONTROLS, CTL_EXIT_LOAD_CET_STATE, 0);
        vmwrite(VMCS_GUEST_S_CET, s_cet);
        vm_inject(events[row].info, 0, events[row].length);
        vm_poison(0);
        return vm;
}

/* CS, LIP and the old SSP, from the top. */
TABLE(shadow_stack, events, .id = "inject.cet.shadow-stack",
      .title = "delivery pushes CS, LIP and SSP on the shadow stack",
      .sdm = SDM, .rules = "INJ_CET_SHADOW_STACK", .needs = NEEDS " cet-ss host64")
{
        ulong page = (ulong)page_alloc(1), ssp = page + PAGE_SIZE;
        const u64 *top = (const u64 *)ssp;
        struct vm_tables t;
        struct vm *vm = begin(row, SH_STK_EN, &t);
        u64 *pte = vm_pte(vm, (void *)page);

        /* A shadow-stack page: not writable, dirty, the supervisor's. */
        *pte = (*pte & ~(PTE_W | PTE_U)) | PTE_A | PTE_D;
        vmwrite(VMCS_GUEST_SSP, ssp);
        CHECK_DELIVERED("shadow-stack page", vm, vm_enter(vm),
                        .vector = (u8)events[row].info,
                        .rip = (ulong)program_vmcall.start + events[row].length);
        CHECK_VMCS(GUEST_SSP, ssp - 24);
        CHECK_EQ("CS on the shadow stack", top[-1], SEL_CODE64);
        CHECK_EQ("LIP on the shadow stack", top[-2],
                 (ulong)program_vmcall.start + events[row].length);
        CHECK_EQ("SSP on the shadow stack", top[-3], ssp);

        vm = begin(row, SH_STK_EN, &t);
        vmwrite(VMCS_GUEST_SSP, ssp);
        vmwrite(VMCS_EXCEPTION_BITMAP, BIT(VEC_PF));
        CHECK_EXIT("ordinary page", vm_enter(vm), EXITS(EXIT_EXCEPTION_NMI));
        CHECK_EXITING_EVENT(HARDWARE_CODE(VEC_PF), PF_P | PF_W | PF_SS);
        CHECK_ORIGINAL_EVENT(events[row].info, 0);
        CHECK_VMCS(GUEST_SSP, ssp);
}

TABLE(tracker, events, .id = "inject.cet.tracker",
      .title = "the handler must begin with ENDBRANCH",
      .sdm = SDM, .rules = "INJ_CET_TRACKER", .needs = NEEDS " cet-ibt")
{
        u8 vector = (u8)events[row].info;
        struct vm_tables t;
        struct vm *vm = begin(row, ENDBR_EN, &t);

        vm_gate_offset(&t, vector, (ulong)handler.start);
        CHECK_EXIT("ENDBRANCH", vm_enter(vm), EXITS(EXIT_VMCALL));
        CHECK_VMCS(GUEST_RIP, (ulong)handler.start + 4);
        vm = begin(row, ENDBR_EN, &t);
        vmwrite(VMCS_EXCEPTION_BITMAP, BIT(VEC_CP));
        CHECK_EXIT("another instruction", vm_enter(vm),
                   EXITS(EXIT_EXCEPTION_NMI));
        CHECK_EXITING_EVENT(HARDWARE_CODE(VEC_CP), 3);
        CHECK_ORIGINAL_EVENT(0, 0);
        CHECK_VMCS(GUEST_RIP, vm_handler(vm, vector));
        CHECK_EQ("RIP in the frame", vm_stack(vm, 0),
                 (ulong)program_vmcall.start + events[row].length);
}
