#include "x86/vmx/host_state.h"
#include "x86/memory.h"
#include "x86/paging.h"
#include "x86/smp.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/guest_env.h"
#include "x86/vmx/instr.h"
#include "x86/vmx/session.h"

void host_restore(void)
{
        desc_reload();
        if (read_cr3() != paging_root())
                write_cr3(paging_root());
}

static bool is_canonical(u64 address, unsigned width)
{
        u64 top = address >> (width - 1);

        return !top || top == ~0ull >> (width - 1);
}

/* Between 48 bits and the processor's width it is open which one counts. */
static void try_address(const struct test_case *self, u32 field,
                        const struct edit *given, u64 address)
{
        struct probe p = {
                .given = given, .restore = host_restore,
                .accept = (const struct edit[]){ EDIT(SET, field, address),
                                                 { .op = EDIT_END } },
                .reject = (const struct edit[]){ EDIT(SET, field, address),
                                                 { .op = EDIT_END } },
        };

        if (!is_canonical(address, linear_address_width())) {
                p.accept = NULL;
                p.outcome = RESULT(BAD_HOST);
        } else if (!is_canonical(address, 48)) {
                p.accept = NULL;
        }
        probe_check(self, &p);
}

void host_address_bit(const struct test_case *self, u32 field,
                      const struct edit *given, unsigned bit)
{
        try_address(self, field, given, BIT(bit));
        try_address(self, field, given, ~BIT(bit));
}

#ifndef __x86_64__
struct wide_write {
        u64 vmxon_pointer, vmcs_pointer, field, value;
        u32 tables;           /* CR3 of 64-bit mode */
        u32 succeeded;
};

/* x86/vmx/wide_write.S; SEL_SPARE is a 64-bit code segment. */
void wide_write(struct wide_write *w);

void vmwrite_wide(struct vm *vm, u32 field, u64 value)
{
        struct wide_write w = {
                .vmxon_pointer = this_vmx()->vmxon_pointer,
                .vmcs_pointer = vm->pointer, .field = field, .value = value,
                .tables = (u32)phys(guest_env()->pml4),
        };

        CHECK_RESULT("VMCLEAR", vmclear(&vm->pointer), SUCCEED);
        vmx_off();
        this_cpu()->gdt[SEL_SPARE / 8] =
                desc_make(0, 0xfffff, DESC_TYPE(11) | DESC_S | DESC_P | DESC_L |
                                      DESC_G);
        wide_write(&w);
        vmx_on();
        vm_load(vm);
        vm->launched = false;
        if (!w.succeeded)
                case_error("VMWRITE in 64-bit mode failed");
}
#endif
