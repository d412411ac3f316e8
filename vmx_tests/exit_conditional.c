/*
 * SDM Vol. 3, VMX Non-Root Operation > Instructions That Cause VM Exits >
 * Instructions That Cause VM Exits Conditionally: those with a control of their
 * own. Control registers, I/O and MSRs have files of their own.
 */
#include "lib/string.h"
#include "x86/cpu.h"
#include "x86/vmx/exit_probe.h"

#define SDM "VMX Non-Root Operation > Instructions That Cause VM Exits > " \
            "Instructions That Cause VM Exits Conditionally"

ONE(invlpg_code, "invlpg (%" AX ")");
ONE(mwait_code, "mwait");
ONE(monitor_code, "monitor");
ONE(rdpmc_code, "rdpmc");
ONE(rdtsc_code, "rdtsc");
ONE(rdtscp_code, "rdtscp");
ONE(pause_code, "pause");
ONE(nop_code, "nop");
ONE(nop16_code, ".byte 0x66, 0x90");
ONE(wbinvd_code, "wbinvd");
ONE(invpcid_code, "invpcid (%" AX "), %" CX);
ONE(rdrand_code, "rdrand %" CX);
ONE(rdseed_code, "rdseed %" CX);
ONE(sgdt_code, "sgdt (%" AX ")");
ONE(sidt_code, "sidt (%" AX ")");
ONE(lgdt_code, "lgdt (%" AX ")");
ONE(lidt_code, "lidt (%" AX ")");
ONE(sldt_code, "sldt (%" AX ")");
ONE(str_code, "str (%" AX ")");
ONE(lldt_code, "lldt (%" AX ")");
ONE(ltr_code, "ltr (%" AX ")");

/* HLT without its exit would never end: a pending event is not wanted here. */
ONE(hlt_code, "hlt");

#define SCRATCH 256

/* The operand is below the guest's stack pointer: zeros. */
static ulong scratch(struct vm *vm)
{
        vm->regs.rax = (ulong)vmread(VMCS_GUEST_RSP) - SCRATCH;
        return vm->regs.rax;
}

static void operand(struct vm *vm)
{
        u64 *p = (u64 *)scratch(vm);

        p[0] = p[1] = 0;
        vm->regs.rcx = 0;
}

/* For LGDT and LIDT: a table that is as good as the guest's own. */
static void table_operand(struct vm *vm)
{
        struct desc_ptr *p = (struct desc_ptr *)scratch(vm);

        p->limit = 0xfff;
        p->base = (ulong)vmread(VMCS_GUEST_IDTR_BASE);
}

/* LTR needs an available TSS in the guest's GDT. */
static void tss_operand(struct vm *vm)
{
        const struct guest_env *env = guest_env();

        *(u16 *)scratch(vm) = SEL_TSS;
        env->gdt[SEL_TSS / 8] &= ~DESC_TYPE(2);
}

static void monitor_registers(struct vm *vm)
{
        scratch(vm);
        vm->regs.rcx = vm->regs.rdx = 0;
}

static void linear_address(struct vm *vm)
{
        vm->regs.rax = 0x123456;
}

#define CONTROL(bit, reason_name)                              \
        .runs = EDITS(CLEAR(PRIMARY_CONTROLS, bit)),           \
        .exits = EDITS(OR(PRIMARY_CONTROLS, bit)),             \
        .outcome = EXITS_WITH(EXIT_##reason_name, 0)

#define SECONDARY(bit, reason_name)                            \
        .given = EDITS(WITH_SECONDARY(0)),                     \
        .runs = EDITS(CLEAR(SECONDARY_CONTROLS, bit)),         \
        .exits = EDITS(OR(SECONDARY_CONTROLS, bit)),           \
        .outcome = EXITS_WITH(EXIT_##reason_name, 0)

static const struct exit_probe controls[] = {
        { ROW("hlt", "HLT", "EXI_HLT", "hlt-exiting"), RUN(hlt_code),
          .always = true,
          .exits = EDITS(OR(PRIMARY_CONTROLS, CTL_PRIMARY_HLT_EXITING)),
          .outcome = EXITS_WITH(EXIT_HLT, 0) },
        { ROW("monitor", "MONITOR", "EXI_MONITOR", "monitor-exiting monitor"),
          RUN(monitor_code), .prepare = monitor_registers,
          CONTROL(CTL_PRIMARY_MONITOR_EXITING, MONITOR) },
        /*
         * Nothing is armed, so MWAIT does not wait (SDM Vol. 2, MWAIT), and
         * bit 0 of the qualification, "armed", is 0.
         */
        { ROW("mwait", "MWAIT", "EXI_MWAIT", "mwait-exiting monitor"),
          RUN(mwait_code), .prepare = monitor_registers,
          CONTROL(CTL_PRIMARY_MWAIT_EXITING, MWAIT) },
        /* The qualification is the linear address. */
        { ROW("invlpg", "INVLPG", "EXI_INVLPG", "invlpg-exiting"),
          RUN(invlpg_code), .prepare = linear_address,
          .runs = EDITS(CLEAR(PRIMARY_CONTROLS, CTL_PRIMARY_INVLPG_EXITING)),
          .exits = EDITS(OR(PRIMARY_CONTROLS, CTL_PRIMARY_INVLPG_EXITING)),
          .outcome = EXITS_WITH(EXIT_INVLPG, 0x123456) },
        { ROW("rdtsc", "RDTSC", "EXI_RDTSC", "rdtsc-exiting"),
          RUN(rdtsc_code), CONTROL(CTL_PRIMARY_RDTSC_EXITING, RDTSC) },
        { ROW("rdpmc", "RDPMC", "EXI_RDPMC", "rdpmc-exiting perfmon"),
          RUN(rdpmc_code), .prepare = operand,
          CONTROL(CTL_PRIMARY_RDPMC_EXITING, RDPMC) },
        { ROW("pause", "PAUSE", "EXI_PAUSE", "pause-exiting"),
          RUN(pause_code), CONTROL(CTL_PRIMARY_PAUSE_EXITING, PAUSE) },
        { ROW("pause.nop", "NOP is no PAUSE", "EXI_PAUSE_NOP_ENCODING",
              "pause-exiting"), RUN(nop_code), .never = true,
          .runs = EDITS(OR(PRIMARY_CONTROLS, CTL_PRIMARY_PAUSE_EXITING)) },
        { ROW("pause.nop-66", "NOP with a 66H prefix is no PAUSE",
              "EXI_PAUSE_NOP_ENCODING", "pause-exiting"),
          RUN(nop16_code), .never = true,
          .runs = EDITS(OR(PRIMARY_CONTROLS, CTL_PRIMARY_PAUSE_EXITING)) },
        { ROW("wbinvd", "WBINVD", "EXI_WBINVD", "wbinvd-exiting"),
          RUN(wbinvd_code), SECONDARY(CTL_SECONDARY_WBINVD_EXITING, WBINVD) },
        { ROW("wbinvd.secondary-off",
              "WBINVD while the secondary controls are not activated",
              "EXI_SECONDARY_OFF_IGNORED",
              "wbinvd-exiting"), RUN(wbinvd_code),
          .given = EDITS(OR(SECONDARY_CONTROLS, CTL_SECONDARY_WBINVD_EXITING)),
          CONTROL(CTL_PRIMARY_ACTIVATE_SECONDARY, WBINVD) },
        { ROW("rdtscp", "RDTSCP", "EXI_RDTSCP", "rdtsc-exiting enable-rdtscp"),
          RUN(rdtscp_code),
          .given = EDITS(WITH_SECONDARY(CTL_SECONDARY_ENABLE_RDTSCP)),
          CONTROL(CTL_PRIMARY_RDTSC_EXITING, RDTSCP) },
        { ROW("invpcid", "INVPCID", "EXI_INVPCID",
              "invlpg-exiting enable-invpcid invpcid"),
          RUN(invpcid_code), .prepare = operand,
          .given = EDITS(WITH_SECONDARY(CTL_SECONDARY_ENABLE_INVPCID)),
          CONTROL(CTL_PRIMARY_INVLPG_EXITING, INVPCID) },
};

EXIT_PROBES(conditional, controls, .id = "exit.conditional",
            .title = "an instruction that exits by a control of its own",
            .sdm = SDM)

static void rdrand_exits(struct vm *vm)
{
        (void)vm;
        vm_control(VMCS_SECONDARY_CONTROLS, CTL_SECONDARY_RDRAND_EXITING, 0);
}

/* RDRAND and RDSEED may fail to deliver: either way they do not exit. */
static const struct exit_probe random[] = {
        { ROW("rdrand", "RDRAND", "EXI_RDRAND", "rdrand-exiting rdrand"),
          RUN(rdrand_code), SECONDARY(CTL_SECONDARY_RDRAND_EXITING, RDRAND) },
        { ROW("rdseed", "RDSEED, whatever RDRAND exiting", "EXI_RDSEED",
              "rdseed-exiting rdseed rdrand-exiting"), RUN(rdseed_code),
          SECONDARY(CTL_SECONDARY_RDSEED_EXITING, RDSEED),
          .prepare = rdrand_exits },
};

EXIT_PROBES(conditional_random, random, .id = "exit.conditional",
            .title = "random numbers", .sdm = SDM)

static const struct exit_probe tables[] = {
#define DT(name, prep, reason, rules) \
        { ROW(#name, #name, rules, "descriptor-table-exiting"), \
          RUN(name##_code), .prepare = prep, \
          SECONDARY(CTL_SECONDARY_DESCRIPTOR_TABLE_EXITING, reason) }
        DT(lgdt, table_operand, GDTR_IDTR_ACCESS, "EXI_DT_LGDT"),
        DT(lidt, table_operand, GDTR_IDTR_ACCESS, "EXI_DT_LIDT"),
        DT(sgdt, operand, GDTR_IDTR_ACCESS, "EXI_DT_SGDT"),
        DT(sidt, operand, GDTR_IDTR_ACCESS, "EXI_DT_SIDT"),
        DT(lldt, operand, LDTR_TR_ACCESS, "EXI_DT_LLDT"),
        DT(ltr, tss_operand, LDTR_TR_ACCESS, "EXI_DT_LTR"),
        DT(sldt, operand, LDTR_TR_ACCESS, "EXI_DT_SLDT"),
        DT(str, operand, LDTR_TR_ACCESS, "EXI_DT_STR"),
};

/* Which instruction it was: SDM, Information for VM Exits Due to Instruction
 * Execution, the two bits at 29:28 of the instruction information. */
static u32 identity(const char *id)
{
        bool load = id[0] == 'l';
        bool second = !strcmp(id, "sidt") || !strcmp(id, "lidt") ||
                      !strcmp(id, "str") || !strcmp(id, "ltr");

        return (u32)load << 1 | second;
}

TABLE(descriptor_tables, tables, .id = "exit.conditional",
      .title = "an instruction that loads or stores a descriptor-table register",
      .sdm = SDM)
{
        const struct exit_probe *p = case_row(self, row);

        exit_probe_run(self, row);
        if (!check_failed())
                CHECK_EQ("instruction identity",
                         vmread(VMCS_EXIT_INSTRUCTION_INFO) >> 28 & 3,
                         identity(p->head.id));
        /* The next VM's GDT is this one. */
        guest_env()->gdt[SEL_TSS / 8] |= DESC_TYPE(2);
}

/*
 * Without its exit HLT waits; the preemption timer ends that. How long it takes
 * to come to the HLT is not known: the timer is set higher until it is enough.
 */
CASE(hlt_waits, .id = "exit.conditional.hlt.waits",
     .title = "HLT without HLT exiting enters the HLT activity state",
     .sdm = SDM, .rules = "EXI_HLT",
     .needs = "hlt-exiting activate-vmx-preemption-timer")
{
        struct vm *vm = vm_begin(GUEST_NATIVE);

        vm_program(vm, hlt_code);
        vm_control(VMCS_PRIMARY_CONTROLS, 0, CTL_PRIMARY_HLT_EXITING);
        vm_control(VMCS_PIN_CONTROLS, CTL_PIN_ACTIVATE_PREEMPTION_TIMER, 0);
        for (u64 value = 1000; value <= 10000000; value *= 10) {
                vmwrite(VMCS_PREEMPTION_TIMER_VALUE, value);
                vm_poison(0);
                if (!CHECK_RESULT("HLT exiting = 0", vm_enter(vm),
                                  EXITS_WITH(EXIT_PREEMPTION_TIMER, 0))) {
                        vm_report_exit();
                        return;
                }
                if (vmread(VMCS_GUEST_RIP) != vm->entry_rip)
                        break;
                CHECK_EQ("activity state, before HLT",
                         vmread(VMCS_GUEST_ACTIVITY_STATE), 0);
        }
        CHECK_EQ("activity state", vmread(VMCS_GUEST_ACTIVITY_STATE), 1);
        CHECK_EQ("RIP behind HLT", vmread(VMCS_GUEST_RIP), vm->entry_rip + 1);
}
