/*
 * SDM Vol. 3, VM Entries > Special Features of VM Entry > VM Entries and Advanced
 * Debugging Features: VM entry is no branch that is recorded. Each record-keeper
 * is on from VM entry on; without a branch in the guest it has nothing.
 */
#ifdef __x86_64__
#include "lib/check.h"
#include "x86/cpu.h"
#include "x86/memory.h"
#include "x86/vmx/event.h"
#include "x86/vmx/guest_msr.h"

#define SDM "VM Entries > VM Entries and Advanced Debugging Features"
#define RULES "ENTL_NO_LBR_FOR_ENTRY POST_LBR_BTM_NONE"

PROGRAM(straight, 64, "nop\nnop\nvmcall\n");
PROGRAM(jump, 64, "nop\njmp 1f\n1: vmcall\n");
#define JUMP_FROM 1
#define JUMP_TO 3

static struct vm *debug_guest(bool with_branch)
{
        struct vm *vm = vm_begin(GUEST_LONG);

        vm_control(VMCS_ENTRY_CONTROLS, CTL_ENTRY_LOAD_DEBUG_CONTROLS, 0);
        vm_program(vm, with_branch ? jump : straight);
        vm_poison(0);
        return vm;
}

/* Architectural last-branch records: the newest is number 0. */
#define MSR_LBR_DEPTH 0x14cf    /* a write of it clears them */
#define MSR_LBR_0_FROM_IP 0x1500
#define MSR_LBR_0_TO_IP 0x1600
#define LBR_ALL 0x7f0003        /* LBREn, OS, and every type of branch */

CASE(records, .id = "entry.branch-records.lbr",
     .title = "VM entry makes no last-branch record", .sdm = SDM, .rules = RULES,
     .needs = "host64 lbr load-guest-ia32-lbr-ctl clear-ia32-lbr-ctl "
              "load-debug-controls")
{
        for (unsigned branch = 0; branch < 2; branch++) {
                struct vm *vm = debug_guest(branch);
                struct vmx_result got;
                u64 from, to;

                vm_control(VMCS_ENTRY_CONTROLS, CTL_ENTRY_LOAD_LBR_CTL, 0);
                vmwrite(VMCS_GUEST_LBR_CTL, LBR_ALL);
                wrmsr(MSR_IA32_LBR_CTL, 0);
                wrmsr(MSR_LBR_DEPTH, rdmsr(MSR_LBR_DEPTH));
                /* Nothing of the host is recorded after it. */
                vm_control(VMCS_EXIT_CONTROLS, CTL_EXIT_CLEAR_LBR_CTL, 0);
                got = vm_enter(vm);
                from = rdmsr(MSR_LBR_0_FROM_IP);
                to = rdmsr(MSR_LBR_0_TO_IP);
                CHECK_EXIT("the guest", got, EXITS(EXIT_VMCALL));
                CHECK_EQ("source of the record", from,
                         branch ? vm->entry_rip + JUMP_FROM : 0);
                CHECK_EQ("target of the record", to,
                         branch ? vm->entry_rip + JUMP_TO : 0);
        }
}

/* The debug-store save area of 64-bit mode: SDM Vol. 3, DS Save Area. */
struct debug_store {
        u64 base, index, maximum, threshold, pebs[8];
};
#define BTS_RECORD 24
#define BTS_UNAVAILABLE BIT(11)

CASE(store, .id = "entry.branch-records.bts",
     .title = "VM entry writes no record to the branch-trace store", .sdm = SDM,
     .rules = RULES, .needs = "host64 debug-store debug-store-64 load-debug-controls")
{
        const u64 on = DEBUGCTL_TR | DEBUGCTL_BTS;
        struct debug_store *ds = page_alloc(1);
        u64 *buffer = page_alloc(1), old_area = 0, misc = 0;
        bool works;

        if (rdmsr_safe(MSR_IA32_MISC_ENABLE, &misc).raised ||
            misc & BTS_UNAVAILABLE ||
            rdmsr_safe(MSR_IA32_DS_AREA, &old_area).raised) {
                case_skip("branch-trace storage is unavailable");
                return;
        }
        ds->base = ds->index = (ulong)buffer;
        ds->maximum = ds->base + 100 * BTS_RECORD;
        ds->threshold = ds->maximum + BTS_RECORD;
        wrmsr(MSR_IA32_DS_AREA, (ulong)ds);
        works = msr_takes(MSR_IA32_DEBUGCTL, on);
        if (works)
                wrmsr(MSR_IA32_DEBUGCTL, 0);
        for (unsigned branch = 0; works && branch < 2; branch++) {
                struct vm *vm = debug_guest(branch);

                vmwrite(VMCS_GUEST_DEBUGCTL, on);
                ds->index = ds->base;
                CHECK_EXIT("the guest", vm_enter(vm), EXITS(EXIT_VMCALL));
                CHECK_EQ("records", (ds->index - ds->base) / BTS_RECORD, branch);
                if (!branch)
                        continue;
                CHECK_EQ("source of the record", buffer[0],
                         vm->entry_rip + JUMP_FROM);
                CHECK_EQ("target of the record", buffer[1],
                         vm->entry_rip + JUMP_TO);
        }
        wrmsr(MSR_IA32_DS_AREA, old_area);
        if (!works)
                case_skip("WRMSR can not turn the branch-trace store on");
}
#endif
