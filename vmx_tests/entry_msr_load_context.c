/*
 * SDM Vol. 3, VM Entries > Loading MSRs: when it happens. After the checks and
 * the loading of guest state; before events are injected and the guest runs.
 */
#include "lib/check.h"
#include "lib/string.h"
#include "x86/cpu.h"
#include "x86/memory.h"
#include "x86/paging.h"
#include "x86/vmx/event.h"
#include "x86/vmx/exit_probe.h"
#include "x86/vmx/guest_msr.h"
#include "x86/vmx/session.h"

#define SDM "VM Entries > Loading MSRs"
#define SDM_STATE "VM Entries > Loading Guest Control Registers, Debug " \
                  "Registers, and MSRs"

#define FREE_MSR MSR_IA32_KERNEL_GS_BASE
#define OLD 0x0000111122223333ull
#define NEW 0x0000444455556666ull
#define GOOD { FREE_MSR, 0, NEW }
#define BAD { MSR_IA32_FS_BASE, 0, 0 }
#define BAD_MSR(n) ENTRY_FAILS(EXIT_ENTRY_FAILURE_MSR_LOADING, n)

static const struct msr_entry good_list[] = { GOOD }, bad_list[] = { BAD },
                              mixed_list[] = { GOOD, BAD };

/* One wrong field of the guest state; entries are loaded only without it. */
struct state_row {
        struct row head;
        const struct edit *wrong;
        struct vmx_result outcome;
};

static const struct state_row state_rows[] = {
        { ROW("rflags"), EDITS(SET(GUEST_RFLAGS, 0)), BAD_GUEST },
        { ROW("cr4"), EDITS(CLEAR(GUEST_CR4, CR4_VMXE)), BAD_GUEST },
        { ROW("activity"), EDITS(SET(GUEST_ACTIVITY_STATE, 4)), BAD_GUEST },
        { ROW("link-pointer"), EDITS(SET(VMCS_LINK_POINTER, 1)),
          ENTRY_FAILS(EXIT_ENTRY_FAILURE_GUEST_STATE, 4) },
};

static void check_order(const struct state_row *r, const struct msr_entry *list,
                        unsigned count, struct vmx_result alone)
{
        for (unsigned wrong = 0; wrong < 2; wrong++) {
                struct vm *vm = vm_begin(GUEST_NATIVE);
                struct vmx_result want = wrong ? r->outcome : alone;

                wrmsr(FREE_MSR, OLD);
                vm_entry_msrs(list, count);
                if (wrong)
                        vmcs_edit(r->wrong);
                vm_poison(0);
                CHECK_EXIT(wrong ? "the guest state is wrong too"
                                 : "the guest state is good", vm_enter(vm), want);
                CHECK_EQ("the MSR of the first entry", rdmsr(FREE_MSR),
                         wrong || list == bad_list ? OLD : NEW);
        }
}

TABLE(after_checks, state_rows, .id = "entry.msr-load.after-checks",
      .title = "with a wrong guest state no MSR is loaded, and the state is reported",
      .sdm = SDM_STATE, .rules = "ENTG_BEFORE_MSR_LOAD", .needs = "intel64")
{
        const struct state_row *r = case_row(self, row);
        u64 old = rdmsr(FREE_MSR);

        check_order(r, good_list, 1, RESULT(EXITS(EXIT_VMCALL)));
        check_order(r, bad_list, 1, RESULT(BAD_MSR(1)));
        check_order(r, mixed_list, 2, RESULT(BAD_MSR(2)));
        wrmsr(FREE_MSR, old);
}

PROGRAM(store, 32, "movl $0x5a5a5a5a, (%esi)\nvmcall\n");

/* The store of the program, or the frame of an event. */
FAMILY(nothing_runs, 2, .id = "entry.msr-load.fail.guest",
       .title = "after an entry that fails no instruction runs (row 0), no event "
                "is injected (1)", .sdm = SDM,
       .rules = "MSRL_FAIL_NO_GUEST_INSTRUCTION", .needs = "intel64")
{
        const u32 info = HARDWARE(VEC_UD);
        u64 old = rdmsr(FREE_MSR);
        static volatile u32 word;

        for (unsigned bad = 0; bad < 2; bad++) {
                struct vm *vm = vm_begin(GUEST_NATIVE);
                volatile ulong *stack = (volatile ulong *)this_vmx()->stack_top - 1;

                word = 0;
                *stack = 0x11223344;
                vm_program(vm, store);
                vm->regs.rsi = (ulong)&word;
                vm_entry_msrs(bad ? bad_list : good_list, 1);
                if (row)
                        vm_inject(info, 0, 0);
                vm_poison(0);
                if (bad) {
                        CHECK_EXIT("a list that fails", vm_enter(vm), BAD_MSR(1));
                        CHECK_VMCS(ENTRY_INTERRUPTION_INFO, row ? info : 0);
                } else if (row) {
                        CHECK_DELIVERED("a list that is loaded", vm,
                                        vm_enter(vm), .vector = VEC_UD,
                                        .rip = vm->entry_rip);
                        CHECK_VMCS(ENTRY_INTERRUPTION_INFO, info & ~EVENT_VALID);
                } else {
                        CHECK_EXIT("a list that is loaded", vm_enter(vm),
                                   EXITS(EXIT_VMCALL));
                }
                CHECK_EQ("what the program stores", word,
                         bad || row ? 0 : 0x5a5a5a5a);
                CHECK("the top of the guest's stack",
                      (*stack == 0x11223344) == (bad || !row), "0x%llx",
                      (unsigned long long)*stack);
        }
        wrmsr(FREE_MSR, old);
}

/*
 * BS of the pending debug exceptions must be TF and not BTF, where STI blocks.
 * BTF is the field's then, and the list's only afterwards.
 */
CASE(debugctl, .id = "entry.msr-load.debugctl-check",
     .title = "an entry for IA32_DEBUGCTL does not count for the checks", .sdm = SDM,
     .rules = "MSRL_DEBUGCTL_LIST_NO_CHECK_FEEDBACK",
     .needs = "load-debug-controls")
{
        const struct msr_entry btf = { MSR_IA32_DEBUGCTL, 0, DEBUGCTL_BTF };

        if (!msr_takes(MSR_IA32_DEBUGCTL, DEBUGCTL_BTF)) {
                case_skip("WRMSR can not set IA32_DEBUGCTL.BTF");
                return;
        }
        wrmsr(MSR_IA32_DEBUGCTL, 0);
        for (unsigned in_field = 0; in_field < 2; in_field++) {
                struct vm *vm = vm_begin(GUEST_NATIVE);

                vm_control(VMCS_ENTRY_CONTROLS, CTL_ENTRY_LOAD_DEBUG_CONTROLS, 0);
                vm_control(VMCS_GUEST_RFLAGS, RFLAGS_TF | RFLAGS_IF, 0);
                vmwrite(VMCS_GUEST_INTERRUPTIBILITY_STATE, BLOCKED_STI);
                vmwrite(VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS, PENDING_BS);
                vmwrite(VMCS_GUEST_DEBUGCTL, in_field ? DEBUGCTL_BTF : 0);
                vmwrite(VMCS_EXCEPTION_BITMAP, BIT(VEC_DB));
                vm_entry_msrs(&btf, 1);
                vm_poison(0);
                if (in_field) {
                        CHECK_EXIT("BTF = 1 in the field", vm_enter(vm),
                                   BAD_GUEST);
                        continue;
                }
                CHECK_EXIT("BTF = 1 in the list", vm_enter(vm),
                           EXITS(EXIT_EXCEPTION_NMI));
                CHECK_EXITING_EVENT(HARDWARE(VEC_DB), 0);
                CHECK_VMCS(GUEST_RIP, vm->entry_rip);
        }
        wrmsr(MSR_IA32_DEBUGCTL, 0);
}

PROGRAM(read_word, 32, "mov (%esi), %eax\nvmcall\n");

/*
 * WRMSR to an MTRR invalidates the TLBs (SDM Vol. 2, WRMSR). With a VPID nothing
 * else in VM entry does. The value is the one that the MTRR has.
 */
FAMILY(tlb, 2, .id = "entry.msr-load.tlb",
       .title = "an entry for an MTRR invalidates what is cached of the guest's "
                "paging (row 1: of a global page)", .sdm = SDM,
       .rules = "ENTL_TLB_MSR_LOAD_FLUSH", .needs = "enable-vpid mtrr pge")
{
        struct vm *vm = vm_begin(GUEST_NATIVE);
        u32 *page = page_alloc(1), *other = page_alloc(1);
        struct msr_entry mtrr = { MSR_IA32_MTRR_PHYSBASE0, 0, 0 };
        u64 *pte;

        if (!(rdmsr(MSR_IA32_MTRRCAP) & 0xff)) {
                case_skip("no variable-range MTRR");
                return;
        }
        mtrr.value = rdmsr(mtrr.index);
        *page = 0x11111111;
        *other = 0x22222222;
        vmcs_edit(EDITS(WITH_SECONDARY(CTL_SECONDARY_ENABLE_VPID)));
        /* Of no other case, whose translations might be there. */
        vmwrite(VMCS_VPID, 0x4d54 + row);
        vm_control(VMCS_GUEST_CR4, CR4_PGE, 0);
        pte = vm_pte(vm, page);
        if (row)
                *pte |= PTE_G;
        vm_program(vm, read_word);
        vm->regs.rsi = (ulong)page;
        vm_poison(0);
        CHECK_EXIT("the first read", vm_enter(vm), EXITS(EXIT_VMCALL));
        CHECK_EQ("the word read", (u32)vm->regs.rax, *page);

        *pte = (*pte & ~PTE_ADDR) | phys(other);
        vm_program(vm, read_word);
        vm_entry_msrs(&mtrr, 1);
        vm_poison(0);
        CHECK_EXIT("the second read", vm_enter(vm), EXITS(EXIT_VMCALL));
        CHECK_EQ("the word read, mapped elsewhere", (u32)vm->regs.rax, *other);
}
