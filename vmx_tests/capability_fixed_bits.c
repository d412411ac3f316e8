/*
 * SDM Vol. 3, Appendix A, VMX Capability Reporting Facility > VMX-Fixed Bits in
 * CR0, VMX-Fixed Bits in CR4: what the four MSRs say. What follows for VMXON and
 * for MOV to the registers: operation_restrictions_cr.c.
 */
#include "lib/check.h"
#include "x86/cpu.h"
#include "x86/vmx/caps.h"

#define SDM(cr) "VMX Capability Reporting Facility > VMX-Fixed Bits in " cr

/* A bit that is fixed to 1 is not fixed to 0. */
CASE(cr0_consistent, .id = "capability.fixed.cr0.consistent", .sdm = SDM("CR0"),
     .title = "no bit of CR0 is fixed to both values",
     .rules = "CAP_CR0_FIXED_CONSISTENT")
{
        CHECK_EQ("bits fixed to 1 and to 0",
                 vmx_caps()->cr0_fixed0 & ~vmx_caps()->cr0_fixed1, 0);
}

CASE(cr4_consistent, .id = "capability.fixed.cr4.consistent", .sdm = SDM("CR4"),
     .title = "no bit of CR4 is fixed to both values",
     .rules = "CAP_CR4_FIXED_CONSISTENT")
{
        CHECK_EQ("bits fixed to 1 and to 0",
                 vmx_caps()->cr4_fixed0 & ~vmx_caps()->cr4_fixed1, 0);
}

CASE(cr4_vmxe, .id = "capability.fixed.cr4.vmxe", .sdm = SDM("CR4"),
     .title = "CR4.VMXE is fixed to 1",
     .rules = "CAP_CR4_FIXED0_VMXE CAP_CR4_FIXED1_VMXE")
{
        CHECK_MASKED("IA32_VMX_CR4_FIXED0", vmx_caps()->cr4_fixed0, ~0ull,
                     CR4_VMXE);
        CHECK_MASKED("IA32_VMX_CR4_FIXED1", vmx_caps()->cr4_fixed1, ~0ull,
                     CR4_VMXE);
}

CASE(unrestricted, .id = "capability.fixed.cr0.unrestricted", .sdm = SDM("CR0"),
     .title = "PE and PG are reported as fixed, though unrestricted guests exist",
     .needs = "unrestricted-guest", .rules = "CAP_CR_FIXED_URG_EXEMPT")
{
        CHECK_MASKED("IA32_VMX_CR0_FIXED0", vmx_caps()->cr0_fixed0, ~0ull,
                     CR0_PE | CR0_PG);
}
