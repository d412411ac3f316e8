#include "x86/vmx/views.h"
#include "x86/memory.h"
#include "x86/vmx/caps.h"

static u64 *map(u32 *page)
{
        u64 *root = ept_new();

        ept_map_identity(root);
        ept_map(root, VIEWS_TARGET, phys(page), EPT_PTE, EPT_RWX | ept_memory_type());
        return root;
}

struct views views_begin(enum guest_mode mode)
{
        struct views v = { .vm = vm_begin(mode) };

        v.old_page = page_alloc(1);
        v.new_page = page_alloc(1);
        v.list = page_alloc(1);
        *v.old_page = VIEWS_OLD;
        *v.new_page = VIEWS_NEW;
        v.old = map(v.old_page);
        v.new = map(v.new_page);
        v.eptp = eptp_of(v.old, 0);
        v.list[0] = eptp_of(v.new, 0);
        ept_invalidate(v.eptp);
        ept_invalidate(v.list[0]);
        vmcs_edit(EDITS(WITH_SECONDARY(CTL_SECONDARY_ENABLE_EPT |
                                       CTL_SECONDARY_ENABLE_VM_FUNCTIONS)));
        vmwrite(VMCS_EPTP, v.eptp);
        vmwrite(VMCS_EPTP_LIST_ADDRESS, phys(v.list));
        vmwrite(VMCS_VM_FUNCTION_CONTROLS, CAP_EPTP_SWITCHING);
        v.vm->regs.rsi = VIEWS_TARGET;
        return v;
}

struct vmx_result views_switch(struct views *v, u64 rax, u64 rcx)
{
        struct code code = { 0 };

        code_insn(&code, INSN_VMFUNC);
        if (v->vm->mode != GUEST_REAL && v->vm->mode != GUEST_V86)
                CODE_ADD(&code, 0x8b, 0x16);    /* mov (SI), EDX */
        v->vm->regs.rcx = (ulong)rcx;
        return raw_guest(v->vm, &code, (ulong)rax);
}
