#include "x86/vmx/guest_msr.h"
#include "lib/check.h"
#include "lib/string.h"
#include "x86/memory.h"
#include "x86/vmx/event.h"

PROGRAM(rdmsr_code, 32, "rdmsr\nvmcall\n");

void vm_allow_msrs(struct vm *vm)
{
        (void)vm;
        vm_control(VMCS_PRIMARY_CONTROLS, CTL_PRIMARY_USE_MSR_BITMAPS, 0);
        vmwrite(VMCS_MSR_BITMAPS, phys(page_alloc(1)));
}

void vm_entry_msrs(const struct msr_entry *entries, unsigned count)
{
        const unsigned a_page = PAGE_SIZE / sizeof(*entries);
        void *area = page_alloc(count / a_page + 1);

        memcpy(area, entries, count * sizeof(*entries));
        vmwrite(VMCS_ENTRY_MSR_LOAD_ADDRESS, phys(area));
        vmwrite(VMCS_ENTRY_MSR_LOAD_COUNT, count);
}

u64 vm_rdmsr(struct vm *vm, u32 msr)
{
        struct guest_event event = { 0 };

        vm_program(vm, rdmsr_code);
        vm->regs.rcx = msr;
        vm->regs.rax = vm->regs.rdx = 0xbadbadb;
        vm_poison(0);
        if (!CHECK_EXIT("RDMSR in the guest", vm_enter(vm), EXITS(EXIT_VMCALL)) ||
            !CHECK("RDMSR in the guest", !vm_event(vm, &event),
                   "an exception, vector %u", event.vector))
                return ~0ull;
        return (u64)(u32)vm->regs.rdx << 32 | (u32)vm->regs.rax;
}

bool msr_takes(u32 msr, u64 value)
{
        u64 got = 0;

        return !wrmsr_safe(msr, value).raised &&
               !rdmsr_safe(msr, &got).raised && got == value;
}
