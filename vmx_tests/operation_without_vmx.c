/*
 * SDM Vol. 3, Introduction to Virtual Machine Extensions > Discovering Support
 * for VMX, and Appendix A: an Intel processor whose CPUID does not report VMX.
 */
#include "lib/check.h"
#include "lib/string.h"
#include "x86/msr.h"
#include "x86/trap.h"
#include "x86/vmx/raw.h"

#define SDM "Introduction to Virtual Machine Extensions > Discovering Support for VMX"
#define NEEDS "novmx"

/* The rules are of Intel's processors: others have their own. */
static bool of_intel(void)
{
        struct cpuid c = cpuid(0, 0);
        const u32 vendor[3] = { c.b, c.d, c.c };

        if (!memcmp(vendor, "GenuineIntel", sizeof(vendor)))
                return true;
        case_skip("no VMX, and not a processor of Intel's");
        return false;
}

CASE(vmxe_reserved, .id = "operation.without-vmx.vmxe", .sdm = SDM,
     .title = "CR4.VMXE is reserved",
     .rules = "CAP_CR4_VMXE_RESERVED_NO_VMX CAP_CPUID_VMX_BIT", .needs = NEEDS)
{
        ulong cr4 = read_cr4();

        if (!of_intel())
                return;
        CHECK_RESULT("MOV of the value that it has", raw_trap(write_cr4_safe(cr4)),
                     SUCCEED);
        CHECK_RESULT("MOV with VMXE = 1", raw_trap(write_cr4_safe(cr4 | CR4_VMXE)),
                     FAULT_CODE(VEC_GP, 0));
        CHECK_EQ("CR4", read_cr4(), cr4);
}

FAMILY(instructions, INSNS, .id = "operation.without-vmx.instruction", .sdm = SDM,
       .title = "a VMX instruction is undefined, in the order of insns[]",
       .rules = "CAP_UD_NO_VMX_SUPPORT", .needs = NEEDS)
{
        static u64 operand[2];
        struct code code = { 0 };

        if (!of_intel())
                return;
        code_insn(&code, (enum insn_id)row);
        CHECK_RESULT(insns[row].name, raw_run(RAW_NATIVE, &code, (ulong)operand),
                     FAULT(VEC_UD));
}

#define OLD_MSRS (MSR_IA32_VMX_VMFUNC - MSR_IA32_VMX_BASIC + 1)

FAMILY(msrs, OLD_MSRS, .id = "operation.without-vmx.msr",
       .sdm = "VMX Capability Reporting Facility > introduction",
       .title = "a VMX capability MSR does not exist: 480H and this number",
       .rules = "CAP_MSR_ABSENT_WITHOUT_VMX", .needs = NEEDS)
{
        u64 value;

        if (!of_intel())
                return;
        CHECK_RESULT("RDMSR", raw_trap(rdmsr_safe(MSR_IA32_VMX_BASIC + row, &value)),
                     FAULT_CODE(VEC_GP, 0));
}

CASE(feature_control, .id = "operation.without-vmx.feature-control", .sdm =
     "Introduction to Virtual Machine Extensions > Enabling and Entering VMX "
     "Operation", .title = "IA32_FEATURE_CONTROL[2] can not be set",
     .rules = "CAP_FC_BIT2_NEEDS_VMX", .needs = NEEDS)
{
        u64 before, after;

        if (!of_intel())
                return;
        if (rdmsr_safe(MSR_IA32_FEATURE_CONTROL, &before).raised) {
                case_skip("no IA32_FEATURE_CONTROL");
                return;
        }
        CHECK_RESULT("WRMSR",
                     raw_trap(wrmsr_safe(MSR_IA32_FEATURE_CONTROL,
                                        before | FEATURE_CONTROL_VMX)),
                     FAULT_CODE(VEC_GP, 0));
        CHECK_RESULT("RDMSR", raw_trap(rdmsr_safe(MSR_IA32_FEATURE_CONTROL, &after)),
                     SUCCEED);
        CHECK_EQ("IA32_FEATURE_CONTROL", after, before);
}
