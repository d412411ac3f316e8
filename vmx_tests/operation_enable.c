/*
 * SDM Vol. 3, Introduction to Virtual Machine Extensions > Discovering Support
 * for VMX, Enabling and Entering VMX Operation: CPUID and CR4.VMXE, and a VMXON
 * that fails. IA32_FEATURE_CONTROL: operation_feature_control.c; processors
 * without VMX: operation_without_vmx.c.
 */
#include "lib/check.h"
#include "x86/memory.h"
#include "x86/msr.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/pointer.h"
#include "x86/vmx/session.h"

#define DISCOVER "Introduction to Virtual Machine Extensions > Discovering Support for VMX"
#define ENABLE "Introduction to Virtual Machine Extensions > Enabling and Entering VMX Operation"

static struct vmx_result set_vmxe(bool set)
{
        ulong cr4 = read_cr4() & ~(ulong)CR4_VMXE;

        return raw_trap(write_cr4_safe(set ? cr4 | CR4_VMXE : cr4));
}

static u32 vmx_feature(void)
{
        return cpuid(1, 0).c >> 5 & 1;
}

CASE(discover, .id = "operation.discover", .sdm = DISCOVER,
     .title = "CPUID reports VMX: its MSRs are there and CR4.VMXE can be 1",
     .rules = "CAP_CPUID_VMX_BIT")
{
        u64 value;

        CHECK_EQ("CPUID.01H:ECX.VMX", vmx_feature(), 1);
        CHECK_RESULT("RDMSR of IA32_VMX_BASIC",
                     raw_trap(rdmsr_safe(MSR_IA32_VMX_BASIC, &value)), SUCCEED);
        vmx_off();
        CHECK_RESULT("CR4.VMXE = 1", set_vmxe(true), SUCCEED);
        CHECK_MASKED("CR4", read_cr4(), ~0u, CR4_VMXE);
}

CASE(not_gated, .id = "operation.discover.not-gated", .sdm = DISCOVER,
     .title = "CPUID reports VMX whatever CR4.VMXE is, and in VMX operation",
     .rules = "CAP_CPUID_VMX_NOT_GATED")
{
        vmx_off();
        vmx_prepare();
        CHECK_RESULT("CR4.VMXE = 0", set_vmxe(false), SUCCEED);
        CHECK_EQ("CPUID.01H:ECX.VMX with CR4.VMXE = 0", vmx_feature(), 1);
        CHECK_RESULT("CR4.VMXE = 1", set_vmxe(true), SUCCEED);
        CHECK_EQ("CPUID.01H:ECX.VMX with CR4.VMXE = 1", vmx_feature(), 1);
        vm_begin(GUEST_NATIVE);
        CHECK_EQ("CPUID.01H:ECX.VMX in VMX operation", vmx_feature(), 1);
}

CASE(vmxe, .id = "operation.vmxe", .sdm = DISCOVER,
     .title = "CR4.VMXE can be set and cleared outside VMX operation",
     .rules = "CAP_CR4_VMXE_SETTABLE")
{
        struct cpuid before, after;

        vmx_off();
        CHECK_RESULT("CR4.VMXE = 0", set_vmxe(false), SUCCEED);
        CHECK_MASKED("CR4", read_cr4(), 0, CR4_VMXE);
        before = cpuid(1, 0);
        CHECK_RESULT("CR4.VMXE = 1", set_vmxe(true), SUCCEED);
        CHECK_MASKED("CR4", read_cr4(), ~0u, CR4_VMXE);
        after = cpuid(1, 0);
        CHECK_EQ("CPUID.01H:EAX", after.a, before.a);
        CHECK_EQ("CPUID.01H:ECX", after.c, before.c);
        CHECK_EQ("CPUID.01H:EDX", after.d, before.d);
        CHECK_RESULT("CR4.VMXE = 0", set_vmxe(false), SUCCEED);
        CHECK_MASKED("CR4", read_cr4(), 0, CR4_VMXE);
}

CASE(vmxe_after_vmxoff, .id = "operation.vmxe.after-vmxoff", .sdm = ENABLE,
     .title = "CR4.VMXE can be cleared after VMXOFF, and not before",
     .rules = "CR_VMXOFF_CLEAR_VMXE")
{
        vm_begin(GUEST_NATIVE);
        CHECK_RESULT("CR4.VMXE = 0 in VMX operation", set_vmxe(false),
                     FAULT_CODE(VEC_GP, 0));
        vmx_off();
        CHECK_RESULT("CR4.VMXE = 0 after VMXOFF", set_vmxe(false), SUCCEED);
        CHECK_MASKED("CR4", read_cr4(), 0, CR4_VMXE);
}

enum failure { FAIL_ALIGN, FAIL_REVISION, FAIL_CR0 };

static const struct row failure_rows[] = {
        [FAIL_ALIGN] = { .id = "align", .title = "misaligned pointer" },
        [FAIL_REVISION] = { .id = "revision", .title = "wrong identifier" },
        [FAIL_CR0] = { .id = "cr0", .title = "CR0.NE = 0, #GP" },
};

TABLE(failed, failure_rows, .id = "operation.vmxon-failed", .sdm = ENABLE,
      .title = "a failed VMXON leaves the processor outside VMX operation",
      .rules = "CR_VMXON_FAIL_CLEAR_VMXE")
{
        struct vmcs_region *region = vmcs_region_new();
        u64 pointer = phys(region);
        struct vmx_result r;

        vmx_off();
        vmx_prepare();
        if (row == FAIL_ALIGN)
                pointer |= 1;
        if (row == FAIL_REVISION)
                region->revision ^= 1;
        if (row == FAIL_CR0)
                write_cr0(read_cr0() & ~(ulong)CR0_NE);
        r = vmxon(&pointer);
        write_cr0(read_cr0() | CR0_NE);
        if (row == FAIL_CR0)
                CHECK_RESULT("VMXON", r, FAULT_CODE(VEC_GP, 0));
        else
                CHECK_RESULT("VMXON", r, FAIL_INVALID);
        CHECK_RESULT("VMPTRST", vmptrst(&pointer), FAULT(VEC_UD));
        CHECK_RESULT("VMXOFF", vmxoff(), FAULT(VEC_UD));
        CHECK_RESULT("CR4.VMXE = 0", set_vmxe(false), SUCCEED);
        CHECK_RESULT("VM entry", vm_enter(vm_begin(GUEST_NATIVE)),
                     EXITS(EXIT_VMCALL));
}
