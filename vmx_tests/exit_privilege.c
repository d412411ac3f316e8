/*
 * SDM Vol. 3, VMX Non-Root Operation > Instructions That Cause VM Exits >
 * Relative Priority of Faults and VM Exits: invalid opcodes and faults due to
 * the privilege level come first, but for VMX instructions and MOV DR.
 */
#include "x86/cpu.h"
#include "x86/msr.h"
#include "x86/vmx/exit_probe.h"

#define SDM "VMX Non-Root Operation > Instructions That Cause VM Exits > " \
            "Relative Priority of Faults and VM Exits"

/* Bits of the qualification for control registers that are not defined. */
#define UNDEFINED_CR (BIT(7) | BITS(15, 12) | BITS(63, 32))
#define MOV_FROM BIT(4)
#define CLTS (2u << 4)
#define LMSW (3u << 4)
#define RCX  (1u << 8)

/* Each for the build's own mode and for virtual-8086 and real-address mode. */
#define CODES(name, native, small) \
        ONE(name##_code, native); ONE_IN(name##_16, 16, small)

CODES(clts, "clts", "clts");
CODES(hlt, "hlt", "hlt");
CODES(invd, "invd", "invd");
CODES(wbinvd, "wbinvd", "wbinvd");
CODES(invlpg, "invlpg (%" AX ")", "invlpg (%eax)");
CODES(lgdt, "lgdt (%" AX ")", "lgdt (%eax)");
CODES(lidt, "lidt (%" AX ")", "lidt (%eax)");
CODES(lldt, "lldt (%" AX ")", "lldt (%eax)");
CODES(ltr, "ltr (%" AX ")", "ltr (%eax)");
CODES(sldt, "sldt (%" AX ")", "sldt (%eax)");
CODES(str, "str (%" AX ")", "str (%eax)");
ONE(sgdt_code, "sgdt (%" AX ")");
ONE(sidt_code, "sidt (%" AX ")");
CODES(lmsw, "lmsw %cx", "lmsw %cx");
CODES(to_cr0, "mov %" CX ", %cr0", "mov %ecx, %cr0");
CODES(to_cr3, "mov %" CX ", %cr3", "mov %ecx, %cr3");
CODES(to_cr4, "mov %" CX ", %cr4", "mov %ecx, %cr4");
CODES(from_cr3, "mov %cr3, %" CX, "mov %cr3, %ecx");
CODES(rdmsr, "rdmsr", "rdmsr");
CODES(wrmsr, "wrmsr", "wrmsr");
CODES(xsetbv, "xsetbv", "xsetbv");
CODES(invpcid, "invpcid (%" AX "), %" CX, "invpcid (%eax), %ecx");
CODES(monitor, "monitor", "monitor");
CODES(mwait, "mwait", "mwait");
ONE(rdtsc_code, "rdtsc");
ONE(rdtscp_code, "rdtscp");
ONE(rdpmc_code, "rdpmc");
#ifdef __x86_64__
ONE(to_cr8_code, "mov %rcx, %cr8");
ONE(from_cr8_code, "mov %cr8, %rcx");
#endif

/* RAX: zeros below the stack pointer; the source of MOV CR: what the guest has. */
static void operands(struct vm *vm)
{
        vm->regs.rax = (ulong)vmread(VMCS_GUEST_RSP) - 256;
        vm->regs.rcx = 0;
        vm->regs.rdx = 0;
}

static void own_cr0(struct vm *vm)
{
        vm->regs.rcx = (ulong)vmread(VMCS_GUEST_CR0);
}

static void own_cr3(struct vm *vm)
{
        vm->regs.rcx = (ulong)vmread(VMCS_GUEST_CR3);
}

static void own_cr4(struct vm *vm)
{
        vm->regs.rcx = (ulong)vmread(VMCS_GUEST_CR4);
}

static void linear_address(struct vm *vm)
{
        vm->regs.rax = 0x123456;
}

static void sysenter_cs(struct vm *vm)
{
        vm->regs.rcx = MSR_IA32_SYSENTER_CS;
}

/* Within the segments' 64 KBytes. */
static void low_operands(struct vm *vm)
{
        vm->regs.rax = 0x800;
        vm->regs.rcx = vm->regs.rdx = 0;
}

#define USER SET(GUEST_CS_SELECTOR, SEL_USER_CODE), \
             SET(GUEST_SS_SELECTOR, SEL_USER_DATA), \
             OR(GUEST_CS_ACCESS_RIGHTS, 0x60), OR(GUEST_SS_ACCESS_RIGHTS, 0x60)

/* Conditions under which the instruction exits at CPL 0. */
#define PRIMARY(bit) OR(PRIMARY_CONTROLS, CTL_PRIMARY_##bit)
#define SECONDARY(bit) WITH_SECONDARY(CTL_SECONDARY_##bit)
#define DT_EXITING SECONDARY(DESCRIPTOR_TABLE_EXITING)
#define ALL_MSRS CLEAR(PRIMARY_CONTROLS, CTL_PRIMARY_USE_MSR_BITMAPS)
/* The guest's TS and PGE are 0, their read shadows 1. */
#define MASK_TS SET(CR0_GUEST_HOST_MASK, CR0_TS), OR(CR0_READ_SHADOW, CR0_TS)
#define MASK_PGE SET(CR4_GUEST_HOST_MASK, CR4_PGE), OR(CR4_READ_SHADOW, CR4_PGE)

#define CPL3(name, rule, needs, prep, vector, want, ...)                      \
        { ROW(#name, NULL, rule, needs), RUN(name##_code), .prepare = prep,   \
          .given = EDITS(__VA_ARGS__), .runs = EDITS(USER), .faults = vector, \
          .outcome = want }
#define CPL3_CR(name, rule, needs, prep, q, ...)                              \
        { ROW(#name, NULL, rule, needs), RUN(name##_code), .prepare = prep,   \
          .given = EDITS(__VA_ARGS__), .runs = EDITS(USER), .faults = VEC_GP, \
          .outcome = EXITS_WITH(EXIT_CR_ACCESS, q), .ignore = UNDEFINED_CR }
#define EXIT(reason) EXITS_WITH(EXIT_##reason, 0)

static const struct exit_probe cpl_rows[] = {
        CPL3_CR(clts, "EXI_PRI_CPL_GP_CLTS", NULL, NULL, CLTS, MASK_TS),
        CPL3(hlt, "EXI_PRI_CPL_GP_HLT", "hlt-exiting", NULL, VEC_GP, EXIT(HLT),
             PRIMARY(HLT_EXITING)),
        CPL3(invd, "EXI_PRI_CPL_GP_INVD", NULL, NULL, VEC_GP, EXIT(INVD),
             ALL_MSRS),
        CPL3(wbinvd, "EXI_PRI_CPL_GP_WBINVD", "wbinvd-exiting", NULL, VEC_GP,
             EXIT(WBINVD), SECONDARY(WBINVD_EXITING)),
        CPL3(invlpg, "EXI_PRI_CPL_GP_INVLPG", "invlpg-exiting", linear_address,
             VEC_GP, EXITS_WITH(EXIT_INVLPG, 0x123456), PRIMARY(INVLPG_EXITING)),
        CPL3(lgdt, "EXI_PRI_CPL_GP_LGDT", "descriptor-table-exiting", operands,
             VEC_GP, EXIT(GDTR_IDTR_ACCESS), DT_EXITING),
        CPL3(lidt, "EXI_PRI_CPL_GP_LIDT", "descriptor-table-exiting", operands,
             VEC_GP, EXIT(GDTR_IDTR_ACCESS), DT_EXITING),
        CPL3(lldt, "EXI_PRI_CPL_GP_LLDT", "descriptor-table-exiting", operands,
             VEC_GP, EXIT(LDTR_TR_ACCESS), DT_EXITING),
        CPL3(ltr, "EXI_PRI_CPL_GP_LTR", "descriptor-table-exiting", operands,
             VEC_GP, EXIT(LDTR_TR_ACCESS), DT_EXITING),
        CPL3_CR(lmsw, "EXI_PRI_CPL_GP_LMSW", NULL, operands, LMSW, MASK_TS),
        CPL3_CR(to_cr0, "EXI_PRI_CPL_GP_MOV_TO_CR0", NULL, own_cr0, RCX, MASK_TS),
        CPL3_CR(to_cr3, "EXI_PRI_CPL_GP_MOV_TO_CR3", "cr3-load-exiting", own_cr3,
                3 | RCX, PRIMARY(CR3_LOAD_EXITING)),
        CPL3_CR(to_cr4, "EXI_PRI_CPL_GP_MOV_TO_CR4", NULL, own_cr4, 4 | RCX,
                MASK_PGE),
        CPL3_CR(from_cr3, "EXI_PRI_CPL_GP_MOV_FROM_CR3", "cr3-store-exiting",
                NULL, 3 | MOV_FROM | RCX, PRIMARY(CR3_STORE_EXITING)),
#ifdef __x86_64__
        CPL3_CR(to_cr8, "EXI_PRI_CPL_GP_MOV_TO_CR8", "cr8-load-exiting host64",
                operands, 8 | RCX, PRIMARY(CR8_LOAD_EXITING)),
        CPL3_CR(from_cr8, "EXI_PRI_CPL_GP_MOV_FROM_CR8",
                "cr8-store-exiting host64", NULL, 8 | MOV_FROM | RCX,
                PRIMARY(CR8_STORE_EXITING)),
#endif
        CPL3(rdmsr, "EXI_PRI_CPL_GP_RDMSR", NULL, sysenter_cs, VEC_GP,
             EXIT(RDMSR), ALL_MSRS),
        CPL3(wrmsr, "EXI_PRI_CPL_GP_WRMSR", NULL, sysenter_cs, VEC_GP,
             EXIT(WRMSR), ALL_MSRS),
        CPL3(xsetbv, "EXI_PRI_CPL_GP_XSETBV", "xsave", operands, VEC_GP,
             EXIT(XSETBV), OR(GUEST_CR4, CR4_OSXSAVE)),
        CPL3(invpcid, "EXI_PRI_CPL_GP_INVPCID",
             "invlpg-exiting enable-invpcid invpcid", operands, VEC_GP,
             EXIT(INVPCID), PRIMARY(INVLPG_EXITING), SECONDARY(ENABLE_INVPCID)),
        CPL3(monitor, "EXI_PRI_CPL_UD_MONITOR", "monitor-exiting monitor",
             operands, VEC_UD, EXIT(MONITOR), PRIMARY(MONITOR_EXITING)),
        CPL3(mwait, "EXI_PRI_CPL_UD_MWAIT", "mwait-exiting monitor", operands,
             VEC_UD, EXIT(MWAIT), PRIMARY(MWAIT_EXITING)),
        CPL3(rdtsc, "EXI_PRI_RDTSC_TSD", "rdtsc-exiting", NULL, VEC_GP,
             EXIT(RDTSC), PRIMARY(RDTSC_EXITING), OR(GUEST_CR4, CR4_TSD)),
        CPL3(rdtscp, "EXI_PRI_RDTSCP_TSD", "rdtsc-exiting enable-rdtscp", NULL,
             VEC_GP, EXIT(RDTSCP), PRIMARY(RDTSC_EXITING),
             SECONDARY(ENABLE_RDTSCP), OR(GUEST_CR4, CR4_TSD)),
        CPL3(rdpmc, "EXI_PRI_RDPMC_PCE", "rdpmc-exiting perfmon", operands,
             VEC_GP, EXIT(RDPMC), PRIMARY(RDPMC_EXITING)),
        CPL3(sgdt, "EXI_PRI_UMIP_GP_SGDT", "descriptor-table-exiting umip",
             operands, VEC_GP, EXIT(GDTR_IDTR_ACCESS), DT_EXITING,
             OR(GUEST_CR4, CR4_UMIP)),
        CPL3(sidt, "EXI_PRI_UMIP_GP_SIDT", "descriptor-table-exiting umip",
             operands, VEC_GP, EXIT(GDTR_IDTR_ACCESS), DT_EXITING,
             OR(GUEST_CR4, CR4_UMIP)),
        CPL3(sldt, "EXI_PRI_UMIP_GP_SLDT", "descriptor-table-exiting umip",
             operands, VEC_GP, EXIT(LDTR_TR_ACCESS), DT_EXITING,
             OR(GUEST_CR4, CR4_UMIP)),
        CPL3(str, "EXI_PRI_UMIP_GP_STR", "descriptor-table-exiting umip",
             operands, VEC_GP, EXIT(LDTR_TR_ACCESS), DT_EXITING,
             OR(GUEST_CR4, CR4_UMIP)),
};

EXIT_PROBES(cpl, cpl_rows, .id = "exit.privilege.cpl3",
            .title = "at CPL 3 the instruction faults, at CPL 0 it exits",
            .sdm = SDM)

/* In virtual-8086 mode nothing of this exits; at CPL 0 it does, above. */
#define V86(name, vector, needs, prep, ...)                                   \
        { ROW(#name, NULL, NULL, needs), .mode = GUEST_V86,                   \
          .program = &name##_16, .prepare = prep,                             \
          .given = EDITS(__VA_ARGS__), .never = true, .faults = vector }

static const struct exit_probe v86_rows[] = {
        V86(clts, VEC_GP, NULL, NULL, MASK_TS),
        V86(hlt, VEC_GP, "hlt-exiting", NULL, PRIMARY(HLT_EXITING)),
        V86(invd, VEC_GP, NULL, NULL, ALL_MSRS),
        V86(wbinvd, VEC_GP, "wbinvd-exiting", NULL, SECONDARY(WBINVD_EXITING)),
        V86(invlpg, VEC_GP, "invlpg-exiting", low_operands, PRIMARY(INVLPG_EXITING)),
        V86(lgdt, VEC_GP, "descriptor-table-exiting", low_operands, DT_EXITING),
        V86(lidt, VEC_GP, "descriptor-table-exiting", low_operands, DT_EXITING),
        V86(lmsw, VEC_GP, NULL, low_operands, MASK_TS),
        V86(to_cr0, VEC_GP, NULL, own_cr0, MASK_TS),
        V86(to_cr3, VEC_GP, "cr3-load-exiting", own_cr3, PRIMARY(CR3_LOAD_EXITING)),
        V86(to_cr4, VEC_GP, NULL, own_cr4, MASK_PGE),
        V86(from_cr3, VEC_GP, "cr3-store-exiting", NULL, PRIMARY(CR3_STORE_EXITING)),
        V86(rdmsr, VEC_GP, NULL, sysenter_cs, ALL_MSRS),
        V86(wrmsr, VEC_GP, NULL, sysenter_cs, ALL_MSRS),
        V86(xsetbv, VEC_GP, "xsave", low_operands, OR(GUEST_CR4, CR4_OSXSAVE)),
        V86(invpcid, VEC_GP, "invlpg-exiting enable-invpcid invpcid", low_operands,
            PRIMARY(INVLPG_EXITING), SECONDARY(ENABLE_INVPCID)),
        V86(monitor, VEC_UD, "monitor-exiting monitor", low_operands,
            PRIMARY(MONITOR_EXITING)),
        V86(mwait, VEC_UD, "mwait-exiting monitor", low_operands,
            PRIMARY(MWAIT_EXITING)),
};

EXIT_PROBES(v86, v86_rows, .id = "exit.privilege.v86",
            .title = "an instruction that is not for virtual-8086 mode faults",
            .sdm = SDM, .rules = "EXI_PRI_V86_GP")

/* Neither mode has a local descriptor table or a task register. */
#define SEGMENT(name)                                                         \
        { ROW("v86." #name, NULL, NULL, NULL), .mode = GUEST_V86,             \
          .program = &name##_16, .prepare = low_operands,                     \
          .given = EDITS(DT_EXITING), .never = true, .faults = VEC_UD },      \
        { ROW("real." #name, NULL, NULL, "unrestricted-guest"),               \
          .mode = GUEST_REAL, .program = &name##_16, .prepare = low_operands, \
          .given = EDITS(DT_EXITING), .never = true, .faults = VEC_UD }

static const struct exit_probe segment_rows[] = {
        SEGMENT(lldt), SEGMENT(ltr), SEGMENT(sldt), SEGMENT(str),
};

EXIT_PROBES(segments, segment_rows, .id = "exit.privilege.no-ldt",
            .title = "LLDT, LTR, SLDT, STR are undefined without protection",
            .sdm = SDM, .rules = "EXI_PRI_REALMODE_UD_SEGINSTR",
            .needs = "descriptor-table-exiting")
