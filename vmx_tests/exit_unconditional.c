/*
 * SDM Vol. 3, VMX Non-Root Operation > Instructions That Cause VM Exits >
 * Instructions That Cause VM Exits Unconditionally.
 */
#include "lib/check.h"
#include "x86/cpu.h"
#include "x86/vmx/exit_probe.h"

#define SDM "VMX Non-Root Operation > Instructions That Cause VM Exits > " \
            "Instructions That Cause VM Exits Unconditionally"

ONE(cpuid_code, "cpuid");
ONE_IN(cpuid16_code, 16, "cpuid");
ONE(invd_code, "invd");
ONE(getsec_code, ".byte 0x0f, 0x37");
ONE(xsetbv_code, "xsetbv");
ONE(vmclear_code, "vmclear (%" AX ")");
ONE(vmlaunch_code, "vmlaunch");
ONE(vmptrld_code, "vmptrld (%" AX ")");
ONE(vmptrst_code, "vmptrst (%" AX ")");
ONE(vmresume_code, "vmresume");
ONE(vmxoff_code, "vmxoff");
ONE(vmxon_code, "vmxon (%" AX ")");
ONE(vmread_code, "vmread %" AX ", %" AX);
ONE(vmwrite_code, "vmwrite %" AX ", %" AX);
ONE(invept_code, "invept (%" AX "), %" AX);
ONE(invvpid_code, "invvpid (%" AX "), %" AX);
ONE(vmcall_code, "vmcall");
ONE_IN(vmcall16_code, 16, "vmcall");
ONE_IN(cpuid32_code, 32, "cpuid");

/* A good address: what a bad one gives is another rule's. */
static void operand_on_stack(struct vm *vm)
{
        vm->regs.rax = (ulong)vmread(VMCS_GUEST_RSP) - 64;
}

static void cpl3(struct vm *vm)
{
        (void)vm;
        vmwrite(VMCS_GUEST_CS_SELECTOR, SEL_USER_CODE);
        vmwrite(VMCS_GUEST_SS_SELECTOR, SEL_USER_DATA);
        vmwrite(VMCS_GUEST_CS_ACCESS_RIGHTS,
                vmread(VMCS_GUEST_CS_ACCESS_RIGHTS) | 0x60);
        vmwrite(VMCS_GUEST_SS_ACCESS_RIGHTS,
                vmread(VMCS_GUEST_SS_ACCESS_RIGHTS) | 0x60);
        /* The data segments are DPL 0 still: a VM entry does not compare. */
}

#define ALWAYS(code, reason_name) \
        RUN(code), .always = true, .outcome = EXITS_WITH(EXIT_##reason_name, 0)

static const struct exit_probe instructions[] = {
        { ROW("cpuid", "CPUID", "EXI_CPUID"), ALWAYS(cpuid_code, CPUID) },
        { ROW("cpuid.cpl3", "CPUID at CPL 3", "EXI_CPUID"), .prepare = cpl3,
          ALWAYS(cpuid_code, CPUID) },
        { ROW("cpuid.pae", "CPUID under PAE paging", "EXI_CPUID"),
          .mode = GUEST_PAE, ALWAYS(cpuid32_code, CPUID) },
        { ROW("cpuid.compat", "CPUID in compatibility mode", "EXI_CPUID",
              "host64"), .mode = GUEST_COMPAT, ALWAYS(cpuid32_code, CPUID) },
        { ROW("cpuid.v86", "CPUID in virtual-8086 mode", "EXI_CPUID"),
          .mode = GUEST_V86, ALWAYS(cpuid16_code, CPUID) },
        { ROW("cpuid.real", "CPUID in real-address mode", "EXI_CPUID",
              "unrestricted-guest"), .mode = GUEST_REAL,
          ALWAYS(cpuid16_code, CPUID) },
        { ROW("invd", "INVD", "EXI_INVD"), ALWAYS(invd_code, INVD) },
        { ROW("getsec", "GETSEC with CR4.SMXE = 1; without it #UD",
              "EXI_GETSEC EXI_GETSEC_UD", "smx"), RUN(getsec_code),
          .exits = EDITS(OR(GUEST_CR4, CR4_SMXE)), .faults = VEC_UD,
          .outcome = EXITS_WITH(EXIT_GETSEC, 0) },
        { ROW("xsetbv", "XSETBV with CR4.OSXSAVE = 1; without it #UD",
              "EXI_XSETBV", "xsave"), RUN(xsetbv_code),
          .exits = EDITS(OR(GUEST_CR4, CR4_OSXSAVE)), .faults = VEC_UD,
          .outcome = EXITS_WITH(EXIT_XSETBV, 0) },
        { ROW("vmclear", "VMCLEAR", "EXI_VMCLEAR"),
          .prepare = operand_on_stack, ALWAYS(vmclear_code, VMCLEAR) },
        { ROW("vmlaunch", "VMLAUNCH", "EXI_VMLAUNCH"),
          ALWAYS(vmlaunch_code, VMLAUNCH) },
        { ROW("vmptrld", "VMPTRLD", "EXI_VMPTRLD"),
          .prepare = operand_on_stack, ALWAYS(vmptrld_code, VMPTRLD) },
        { ROW("vmptrst", "VMPTRST", "EXI_VMPTRST"),
          .prepare = operand_on_stack, ALWAYS(vmptrst_code, VMPTRST) },
        { ROW("vmresume", "VMRESUME", "EXI_VMRESUME"),
          ALWAYS(vmresume_code, VMRESUME) },
        { ROW("vmxoff", "VMXOFF", "EXI_VMXOFF"), ALWAYS(vmxoff_code, VMXOFF) },
        { ROW("vmxon", "VMXON", "EXI_VMXON"), .prepare = operand_on_stack,
          ALWAYS(vmxon_code, VMXON) },
        { ROW("vmread", "VMREAD without VMCS shadowing",
              "EXI_VMX_INSTR_NO_SHADOW_VMFAIL"), ALWAYS(vmread_code, VMREAD) },
        { ROW("vmwrite", "VMWRITE without VMCS shadowing",
              "EXI_VMX_INSTR_NO_SHADOW_VMFAIL"), ALWAYS(vmwrite_code, VMWRITE) },
        { ROW("invept", "INVEPT", "EXI_INVEPT", "invept"),
          .prepare = operand_on_stack, ALWAYS(invept_code, INVEPT) },
        { ROW("invvpid", "INVVPID", "EXI_INVVPID", "invvpid"),
          .prepare = operand_on_stack, ALWAYS(invvpid_code, INVVPID) },
        { ROW("vmcall", "VMCALL", "EXI_VMCALL"), ALWAYS(vmcall_code, VMCALL) },
        { ROW("vmcall.cpl3", "VMCALL at CPL 3", "EXI_VMCALL"), .prepare = cpl3,
          ALWAYS(vmcall_code, VMCALL) },
        { ROW("vmcall.v86", "VMCALL in virtual-8086 mode", "EXI_VMCALL"),
          .mode = GUEST_V86, ALWAYS(vmcall16_code, VMCALL) },
        { ROW("vmcall.real", "VMCALL in real-address mode", "EXI_VMCALL",
              "unrestricted-guest"), .mode = GUEST_REAL,
          ALWAYS(vmcall16_code, VMCALL) },
};

/* The qualification of VMX instructions with a memory operand is its
 * displacement: all operands here have none. */
EXIT_PROBES(unconditional, instructions, .id = "exit.unconditional",
            .title = "an instruction that always causes a VM exit", .sdm = SDM)
