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
/* Each for 64-bit or protected mode, compatibility mode, and 16-bit modes. */
#define CODES(name, native, small) \
        ONE(name##_code, native); \
        ONE_IN(name##_16, 16, small); ONE_IN(name##_32, 32, small)

CODES(vmclear, "vmclear (%" AX ")", "vmclear (%eax)");
CODES(vmlaunch, "vmlaunch", "vmlaunch");
CODES(vmptrld, "vmptrld (%" AX ")", "vmptrld (%eax)");
CODES(vmptrst, "vmptrst (%" AX ")", "vmptrst (%eax)");
CODES(vmresume, "vmresume", "vmresume");
CODES(vmxoff, "vmxoff", "vmxoff");
CODES(vmxon, "vmxon (%" AX ")", "vmxon (%eax)");
CODES(vmread, "vmread %" AX ", (%" AX ")", "vmread %eax, (%eax)");
CODES(vmwrite, "vmwrite (%" AX "), %" AX, "vmwrite (%eax), %eax");
CODES(invept, "invept (%" AX "), %" AX, "invept (%eax), %eax");
CODES(invvpid, "invvpid (%" AX "), %" AX, "invvpid (%eax), %eax");
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

static void user_operand(struct vm *vm)
{
        operand_on_stack(vm);
        cpl3(vm);
}

/* Within the 64 KBytes of the segments. */
static void low_operand(struct vm *vm)
{
        vm->regs.rax = 0x800;
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

/*
 * VMX instructions: the exit comes before the CPL counts, but the modes where
 * they are undefined before the exit.
 */
#define VMX(name, reason, rule, plain, needs)                                 \
        { ROW(#name, NULL, plain, needs), .prepare = operand_on_stack,        \
          ALWAYS(name##_code, reason) },                                      \
        { ROW(#name ".cpl3", "at CPL 3", rule "_CPL3_EXITS", needs),          \
          .prepare = user_operand, ALWAYS(name##_code, reason) },             \
        { ROW(#name ".v86", "in virtual-8086 mode", rule "_MODE_UD", needs),  \
          .mode = GUEST_V86, UNDEFINED(name##_16) },                          \
        { ROW(#name ".real", "in real-address mode", rule "_MODE_UD",         \
              needs " unrestricted-guest"), .mode = GUEST_REAL,               \
          UNDEFINED(name##_16) },                                             \
        { ROW(#name ".compat", "in compatibility mode", rule "_MODE_UD",      \
              needs " host64"), .mode = GUEST_COMPAT,                         \
          UNDEFINED(name##_32) }
#define UNDEFINED(code) \
        .prepare = low_operand, RUN(code), .never = true, .faults = VEC_UD
#define NO_VMFAIL "EXI_VMX_INSTR_NO_SHADOW_VMFAIL"

static const struct exit_probe vmx_instructions[] = {
        VMX(vmclear, VMCLEAR, "EXI_VMCLEAR", "EXI_VMCLEAR", ""),
        VMX(vmlaunch, VMLAUNCH, "EXI_VMLAUNCH", "EXI_VMLAUNCH", ""),
        VMX(vmptrld, VMPTRLD, "EXI_VMPTRLD", "EXI_VMPTRLD", ""),
        VMX(vmptrst, VMPTRST, "EXI_VMPTRST", "EXI_VMPTRST", ""),
        VMX(vmresume, VMRESUME, "EXI_VMRESUME", "EXI_VMRESUME", ""),
        VMX(vmxoff, VMXOFF, "EXI_VMXOFF", "EXI_VMXOFF", ""),
        VMX(vmxon, VMXON, "EXI_VMXON", "EXI_VMXON", ""),
        VMX(vmread, VMREAD, "EXI_VMREAD", "EXI_VMREAD_NO_SHADOW " NO_VMFAIL, ""),
        VMX(vmwrite, VMWRITE, "EXI_VMWRITE", "EXI_VMWRITE_NO_SHADOW " NO_VMFAIL, ""),
        VMX(invept, INVEPT, "EXI_INVEPT", "EXI_INVEPT", "invept"),
        VMX(invvpid, INVVPID, "EXI_INVVPID", "EXI_INVVPID", "invvpid"),
};

EXIT_PROBES(vmx, vmx_instructions, .id = "exit.unconditional",
            .title = "a VMX instruction", .sdm = SDM)
