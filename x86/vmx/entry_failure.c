#include "x86/vmx/entry_failure.h"
#include "lib/string.h"
#include "x86/memory.h"
#include "x86/msr.h"
#include "x86/vmx/guest_env.h"

void entry_failure_pdpte(struct vm *vm)
{
        u64 *table = page_alloc(1);

        (void)vm;
        memcpy(table, guest_env()->pae_pdpt, 4 * sizeof(*table));
        table[3] |= BIT(1);
        vmwrite(VMCS_GUEST_CR3, phys(table));
}

void entry_failure_msr_area(u32 bad, u32 count)
{
        struct msr_entry *area = page_alloc(1);

        /* IA32_FS_BASE is refused everywhere; VM exits load the other. */
        for (u32 i = 0; i < count; i++)
                area[i].index = bad & BIT(i) ? MSR_IA32_FS_BASE
                                             : MSR_IA32_SYSENTER_CS;
        vmwrite(VMCS_ENTRY_MSR_LOAD_ADDRESS, phys(area));
        vmwrite(VMCS_ENTRY_MSR_LOAD_COUNT, count);
}

void entry_failure_msr(struct vm *vm)
{
        (void)vm;
        entry_failure_msr_area(1, 1);
}

void entry_failure_apply(struct vm *vm, const struct entry_failure *failure)
{
        vmcs_edit(failure->edits);
        if (failure->prepare)
                failure->prepare(vm);
}

struct vm *entry_failure_begin(const struct entry_failure *failure)
{
        struct vm *vm = vm_begin(failure->mode);

        entry_failure_apply(vm, failure);
        return vm;
}

struct vmx_result entry_failure_result(const struct entry_failure *failure)
{
        return RESULT(ENTRY_FAILS(failure->reason, failure->qualification));
}
