/*
 * SDM Vol. 3, VMX Non-Root Operation > Instructions That Cause VM Exits >
 * Relative Priority of Faults and VM Exits: exits come before all faults but
 * invalid opcodes and those due to the privilege level.
 */
#include "x86/cpu.h"
#include "x86/memory.h"
#include "x86/vmx/exit_probe.h"

#define SDM "VMX Non-Root Operation > Instructions That Cause VM Exits > " \
            "Relative Priority of Faults and VM Exits"

#define UNDEFINED_CR (BIT(7) | BITS(15, 12) | BITS(63, 32))
#define UNDEFINED_IO (BITS(15, 7) | BITS(63, 32))
#define RCX (1u << 8)

ONE(to_cr0, "mov %" CX ", %cr0");
ONE(to_cr4, "mov %" CX ", %cr4");
ONE(rdmsr_code, "rdmsr");
ONE(wrmsr_code, "wrmsr");
ONE(rdpmc_code, "rdpmc");
ONE(monitor_code, "monitor");
ONE(mwait_code, "mwait");
ONE(xsetbv_code, "xsetbv");
ONE(invpcid_code, "invpcid (%" AX "), %" CX);
ONE(lgdt_code, "lgdt (%" AX ")");
ONE(lidt_code, "lidt (%" AX ")");
ONE(sgdt_code, "sgdt (%" AX ")");
ONE(sidt_code, "sidt (%" AX ")");
ONE(lldt_code, "lldt (%" AX ")");
ONE(ltr_code, "ltr (%" AX ")");
ONE(sldt_code, "sldt (%" AX ")");
ONE(str_code, "str (%" AX ")");
ONE(insb_code, "insb");
ONE(outsb_code, "outsb");
ONE(vmclear_code, "vmclear (%" AX ")");
ONE(vmptrld_code, "vmptrld (%" AX ")");
ONE(vmptrst_code, "vmptrst (%" AX ")");
ONE(vmxon_code, "vmxon (%" AX ")");
ONE(invept_code, "invept (%" AX "), %" CX);
ONE(invvpid_code, "invvpid (%" AX "), %" CX);
#ifdef __x86_64__
ONE(to_cr3, "mov %rcx, %cr3");
ONE(to_cr8, "mov %rcx, %cr8");
#endif

/* An address that the guest's page tables do not map. */
#define ABSENT 0x3fe00000ul

static void absent(struct vm *vm)
{
        guest_map(ABSENT, 0, 0);
        vm->regs.rax = vm->regs.rsi = vm->regs.rdi = ABSENT + 0x120;
        vm->regs.rcx = 0;
}

/* A port that no device answers. */
#define QUIET 0x6100

static void absent_string(struct vm *vm)
{
        absent(vm);
        vm->regs.rdx = QUIET;
}

static void cr0_without_pe(struct vm *vm)
{
        vm->regs.rcx = (ulong)vmread(VMCS_GUEST_CR0) & ~(ulong)CR0_PE;
}

static void cr4_without_vmxe(struct vm *vm)
{
        vm->regs.rcx = (ulong)vmread(VMCS_GUEST_CR4) & ~(ulong)CR4_VMXE;
}

#ifdef __x86_64__
/* The operand is the CR3-target value, which nobody checks. */
static void reserved_cr3(struct vm *vm)
{
        vm->regs.rcx = vmread(VMCS_GUEST_CR3) | BIT(60);
        vmwrite(VMCS_CR3_TARGET_VALUE_0, vm->regs.rcx);
}

static void reserved_cr8(struct vm *vm)
{
        vm->regs.rcx = 0x10;
}
#endif

/* An MSR that no processor has. */
static void bad_msr(struct vm *vm)
{
        vmwrite(VMCS_MSR_BITMAPS, phys(page_alloc(1)));
        vm->regs.rcx = 0x1fff;
}

/* IA32_EFER with all reserved bits. */
static void bad_efer(struct vm *vm)
{
        vmwrite(VMCS_MSR_BITMAPS, phys(page_alloc(1)));
        vm->regs.rcx = 0xc0000080;
        vm->regs.rax = vm->regs.rdx = 0xffffffff;
}

static void bad_counter(struct vm *vm)
{
        vm->regs.rcx = 0x123456;
}

/* ECX: an extension that is not defined; XCR 31. */
static void bad_ecx(struct vm *vm)
{
        vm->regs.rax = (ulong)vmread(VMCS_GUEST_RSP) - 256;
        vm->regs.rcx = 0x80000000;
        vm->regs.rdx = 0;
}

static void bad_type(struct vm *vm)
{
        vm->regs.rax = (ulong)vmread(VMCS_GUEST_RSP) - 256;
        vm->regs.rcx = 8;
}

#define BEYOND_GDT 0x0ff8

static void selector(struct vm *vm, u16 value)
{
        u16 *operand = page_alloc(1);

        *operand = value;
        vm->regs.rax = (ulong)operand;
}

static void bad_selector(struct vm *vm)
{
        selector(vm, BEYOND_GDT);
}

static void busy_tss(struct vm *vm)
{
        selector(vm, SEL_TSS);
}

#define PRIMARY(bit, reason_name)                                            \
        .runs = EDITS(CLEAR(PRIMARY_CONTROLS, CTL_PRIMARY_##bit)),           \
        .exits = EDITS(OR(PRIMARY_CONTROLS, CTL_PRIMARY_##bit)),             \
        .outcome = EXITS_WITH(EXIT_##reason_name, 0), .faults = VEC_GP
#define DESCRIPTOR_TABLE(id, code, prep, reason_name, vector, code_)         \
        { ROW(id, NULL, "EXI_PRI_OVER_PF_DESCTABLE",                         \
              "descriptor-table-exiting"), RUN(code), .prepare = prep,       \
          .given = EDITS(WITH_SECONDARY(0)),                                 \
          .runs = EDITS(CLEAR(SECONDARY_CONTROLS,                            \
                              CTL_SECONDARY_DESCRIPTOR_TABLE_EXITING)),      \
          .exits = EDITS(OR(SECONDARY_CONTROLS,                              \
                            CTL_SECONDARY_DESCRIPTOR_TABLE_EXITING)),        \
          .outcome = EXITS_WITH(EXIT_##reason_name, 0), .faults = vector,    \
          .error = code_ }
#define STRING_IO(id, code, error_, q)                                       \
        { ROW(id, NULL, "EXI_PRI_INS_OVER_PF", "unconditional-io-exiting"),  \
          RUN(code), .prepare = absent_string,                               \
          .given = EDITS(CLEAR(PRIMARY_CONTROLS,                             \
                               CTL_PRIMARY_USE_IO_BITMAPS)),                 \
          .runs = EDITS(CLEAR(PRIMARY_CONTROLS,                              \
                              CTL_PRIMARY_UNCONDITIONAL_IO_EXITING)),        \
          .exits = EDITS(OR(PRIMARY_CONTROLS,                                \
                            CTL_PRIMARY_UNCONDITIONAL_IO_EXITING)),          \
          .faults = VEC_PF, .error = error_,                                 \
          .outcome = EXITS_WITH(EXIT_IO_INSTRUCTION,                         \
                                (u64)QUIET << 16 | (q)),                     \
          .ignore = UNDEFINED_IO }

static const struct exit_probe rows[] = {
        { ROW("mov-to-cr0", "CR0.PE = 0 with CR0.PG = 1",
              "EXI_PRI_OVER_GP_MOV_CR0"), RUN(to_cr0),
          .prepare = cr0_without_pe, .faults = VEC_GP,
          .exits = EDITS(SET(CR0_GUEST_HOST_MASK, CR0_PE)),
          .outcome = EXITS_WITH(EXIT_CR_ACCESS, RCX), .ignore = UNDEFINED_CR },
        { ROW("mov-to-cr4", "CR4.VMXE = 0", "EXI_PRI_OVER_GP_MOV_CR4"),
          RUN(to_cr4), .prepare = cr4_without_vmxe, .faults = VEC_GP,
          .exits = EDITS(SET(CR4_GUEST_HOST_MASK, CR4_VMXE)),
          .outcome = EXITS_WITH(EXIT_CR_ACCESS, 4 | RCX),
          .ignore = UNDEFINED_CR },
#ifdef __x86_64__
        { ROW("mov-to-cr3", "a reserved bit; a target value, or not",
              "EXI_PRI_OVER_GP_MOV_CR3 EXI_MOV_TO_CR3_TARGET_NO_CHECK",
              "cr3-load-exiting cr3-target-0 host64"), RUN(to_cr3),
          .prepare = reserved_cr3, .faults = VEC_GP,
          .given = EDITS(OR(PRIMARY_CONTROLS, CTL_PRIMARY_CR3_LOAD_EXITING)),
          .runs = EDITS(SET(CR3_TARGET_COUNT, 1)),
          .exits = EDITS(SET(CR3_TARGET_COUNT, 0)),
          .outcome = EXITS_WITH(EXIT_CR_ACCESS, 3 | RCX),
          .ignore = UNDEFINED_CR },
        { ROW("mov-to-cr8", "bit 4", "EXI_PRI_OVER_GP_MOV_CR8",
              "cr8-load-exiting host64"), RUN(to_cr8), .prepare = reserved_cr8,
          .runs = EDITS(CLEAR(PRIMARY_CONTROLS, CTL_PRIMARY_CR8_LOAD_EXITING)),
          .exits = EDITS(OR(PRIMARY_CONTROLS, CTL_PRIMARY_CR8_LOAD_EXITING)),
          .outcome = EXITS_WITH(EXIT_CR_ACCESS, 8 | RCX), .faults = VEC_GP,
          .ignore = UNDEFINED_CR },
#endif
        { ROW("rdmsr", "an MSR that does not exist",
              "EXI_PRI_OVER_GP_RDMSR_NONEXIST", "use-msr-bitmaps"),
          RUN(rdmsr_code), .prepare = bad_msr, .faults = VEC_GP,
          .runs = EDITS(OR(PRIMARY_CONTROLS, CTL_PRIMARY_USE_MSR_BITMAPS)),
          .exits = EDITS(CLEAR(PRIMARY_CONTROLS, CTL_PRIMARY_USE_MSR_BITMAPS)),
          .outcome = EXITS_WITH(EXIT_RDMSR, 0) },
        { ROW("wrmsr", "reserved bits of IA32_EFER",
              "EXI_PRI_OVER_GP_WRMSR_BADVALUE", "use-msr-bitmaps"),
          RUN(wrmsr_code), .prepare = bad_efer, .faults = VEC_GP,
          .runs = EDITS(OR(PRIMARY_CONTROLS, CTL_PRIMARY_USE_MSR_BITMAPS)),
          .exits = EDITS(CLEAR(PRIMARY_CONTROLS, CTL_PRIMARY_USE_MSR_BITMAPS)),
          .outcome = EXITS_WITH(EXIT_WRMSR, 0) },
        { ROW("rdpmc", "a counter that does not exist",
              "EXI_PRI_OVER_GP_RDPMC", "rdpmc-exiting perfmon"),
          RUN(rdpmc_code), .prepare = bad_counter,
          PRIMARY(RDPMC_EXITING, RDPMC) },
        { ROW("monitor", "a reserved extension", "EXI_PRI_OVER_GP_MONITOR",
              "monitor-exiting monitor"), RUN(monitor_code),
          .prepare = bad_ecx, PRIMARY(MONITOR_EXITING, MONITOR) },
        { ROW("mwait", "a reserved extension", "EXI_PRI_OVER_GP_MWAIT",
              "mwait-exiting monitor"), RUN(mwait_code), .prepare = bad_ecx,
          PRIMARY(MWAIT_EXITING, MWAIT) },
        { ROW("xsetbv", "a register that does not exist",
              "EXI_PRI_OVER_GP_XSETBV", "xsave"), RUN(xsetbv_code),
          .prepare = bad_ecx, .given = EDITS(OR(GUEST_CR4, CR4_OSXSAVE)),
          .always = true, .outcome = EXITS_WITH(EXIT_XSETBV, 0) },
        { ROW("invpcid", "a type that does not exist",
              "EXI_PRI_OVER_GP_INVPCID",
              "invlpg-exiting enable-invpcid invpcid"), RUN(invpcid_code),
          .prepare = bad_type,
          .given = EDITS(WITH_SECONDARY(CTL_SECONDARY_ENABLE_INVPCID)),
          PRIMARY(INVLPG_EXITING, INVPCID) },
        DESCRIPTOR_TABLE("lgdt", lgdt_code, absent, GDTR_IDTR_ACCESS, VEC_PF, 0),
        DESCRIPTOR_TABLE("lidt", lidt_code, absent, GDTR_IDTR_ACCESS, VEC_PF, 0),
        DESCRIPTOR_TABLE("sgdt", sgdt_code, absent, GDTR_IDTR_ACCESS, VEC_PF, PF_W),
        DESCRIPTOR_TABLE("sidt", sidt_code, absent, GDTR_IDTR_ACCESS, VEC_PF, PF_W),
        DESCRIPTOR_TABLE("lldt", lldt_code, absent, LDTR_TR_ACCESS, VEC_PF, 0),
        DESCRIPTOR_TABLE("ltr", ltr_code, absent, LDTR_TR_ACCESS, VEC_PF, 0),
        DESCRIPTOR_TABLE("sldt", sldt_code, absent, LDTR_TR_ACCESS, VEC_PF, PF_W),
        DESCRIPTOR_TABLE("str", str_code, absent, LDTR_TR_ACCESS, VEC_PF, PF_W),
        DESCRIPTOR_TABLE("lldt.selector", lldt_code, bad_selector,
                         LDTR_TR_ACCESS, VEC_GP, BEYOND_GDT),
        DESCRIPTOR_TABLE("ltr.busy", ltr_code, busy_tss, LDTR_TR_ACCESS,
                         VEC_GP, SEL_TSS),
        STRING_IO("insb", insb_code, PF_W, BIT(3) | BIT(4)),
        STRING_IO("outsb", outsb_code, 0, BIT(4)),
};

EXIT_PROBES(before_faults, rows, .id = "exit.before-fault",
            .title = "what would fault exits instead", .sdm = SDM)

#define OPERAND(name, reason_name, needs)                                \
        { ROW(#name, NULL, NULL, needs), RUN(name##_code), .always = true, \
          .prepare = absent, .outcome = EXITS_WITH(EXIT_##reason_name, 0) }

static const struct exit_probe operand_rows[] = {
        OPERAND(vmclear, VMCLEAR, NULL), OPERAND(vmptrld, VMPTRLD, NULL),
        OPERAND(vmptrst, VMPTRST, NULL), OPERAND(vmxon, VMXON, NULL),
        OPERAND(invept, INVEPT, "invept"), OPERAND(invvpid, INVVPID, "invvpid"),
};

EXIT_PROBES(operands, operand_rows, .id = "exit.before-fault.operand",
            .title = "a VMX instruction exits though its operand is not mapped",
            .sdm = SDM, .rules = "EXI_PRI_OVER_PF_VMXINSTR")
