#include "x86/vmx/pointer.h"
#include "lib/check.h"
#include "x86/memory.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/session.h"

void begin_without_vmcs(void)
{
        CHECK_RESULT("VMCLEAR of the current VMCS",
                     vmclear(&vm_begin(GUEST_NATIVE)->pointer), SUCCEED);
        CHECK_EQ("current-VMCS pointer", current_vmcs(), NO_VMCS);
}

struct vmx_result pointer_insn(enum insn_id insn, u64 pointer)
{
        struct vmx_result r;

        switch (insn) {
        case INSN_VMXON:
                r = vmxon(&pointer);
                if (r.kind == VMX_SUCCEED)
                        vmx_set_operating(true);
                return r;
        case INSN_VMCLEAR:
                return vmclear(&pointer);
        default:
                return vmptrld(&pointer);
        }
}

static void refused_outside(u64 pointer)
{
        vmx_off();
        vmx_prepare();
        CHECK("VMXON", result_matches(pointer_insn(INSN_VMXON, pointer),
                                      RESULT(FAIL_INVALID)),
              "not VMfailInvalid for pointer 0x%llx", (unsigned long long)pointer);
        /* Still outside VMX operation. */
        CHECK_RESULT("VMPTRST afterwards", vmptrst(&(u64){ 0 }), FAULT(VEC_UD));
}

static void refused_in_root(enum insn_id insn, u64 pointer,
                            struct vmx_result want)
{
        u64 before = current_vmcs();
        struct vmx_result r = pointer_insn(insn, pointer);

        if (!result_matches(r, want))
                check_result(__FILE__, __LINE__, insns[insn].name, r, want);
        CHECK("current-VMCS pointer", current_vmcs() == before,
              "changed by %s of 0x%llx", insns[insn].name,
              (unsigned long long)pointer);
}

void pointer_refused(enum insn_id insn, u64 pointer, u32 error)
{
        if (insn == INSN_VMXON) {
                refused_outside(pointer);
                return;
        }
        vm_begin(GUEST_NATIVE);
        vm_poison(error);
        refused_in_root(insn, pointer, RESULT(FAIL_VALID(error)));
        begin_without_vmcs();
        refused_in_root(insn, pointer, RESULT(FAIL_INVALID));
}

static void accepted(enum insn_id insn, u64 pointer)
{
        if (insn == INSN_VMXON) {
                vmx_off();
                vmx_prepare();
        } else {
                vm_begin(GUEST_NATIVE);
        }
        check_result(__FILE__, __LINE__, insns[insn].name,
                     pointer_insn(insn, pointer), RESULT(SUCCEED));
        /* Not in VMX operation with a region that is the case's. */
        if (insn == INSN_VMXON)
                vmx_off();
}

void pointer_bits_refused(enum insn_id insn, unsigned first, unsigned last,
                          u32 error)
{
        u64 pointer = phys(vmcs_region_new());

        accepted(insn, pointer);
        for (unsigned bit = first; bit <= last; bit++)
                pointer_refused(insn, pointer | BIT(bit), error);
}

void pointer_width(enum insn_id insn, u32 error)
{
        unsigned width = physical_address_width();

        if (vmx_caps()->basic & CAP_ADDRESSES_32BIT)
                width = 32;
        pointer_bits_refused(insn, width, 63, error);
}

void pointer_width_keys(enum insn_id insn, u32 error)
{
        unsigned width = physical_address_width();
        unsigned whole = cpuid(0x80000008, 0).a & 0xff;

        if (width >= whole)
                case_skip("no key identifiers in physical addresses");
        else
                pointer_bits_refused(insn, width, whole - 1, error);
}
