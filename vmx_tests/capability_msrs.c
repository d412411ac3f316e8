/*
 * SDM Vol. 3, Appendix A, VMX Capability Reporting Facility: which of its MSRs
 * exist, that they can only be read, and that they never change.
 */
#include "lib/check.h"
#include "lib/string.h"
#include "x86/msr.h"
#include "x86/trap.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/raw.h"
#include "x86/vmx/session.h"

#define SDM "VMX Capability Reporting Facility > introduction"
#define SECTION(name) "VMX Capability Reporting Facility > " name

struct msr_row {
        struct row head;
        u32 msr;
};

#define MSR_ROW(ID, NAME, NEEDS, RULES) \
        { ROW_OF(ID, "IA32_VMX_" #NAME, RULES, NEEDS), MSR_IA32_VMX_##NAME }
#define ROW_OF(ID, TITLE, RULES, NEEDS) \
        .head = { .id = ID, .title = TITLE, .rules = RULES, .needs = NEEDS }

/* Those that every VMX processor has come first. */
#define MANDATORY 11
#define OLD "CAP_MSR_READONLY"
#define NEW "CAP_MSR_READONLY_NEW"
static const struct msr_row msr_rows[] = {
        MSR_ROW("basic", BASIC, NULL, OLD),
        MSR_ROW("pinbased-ctls", PINBASED_CTLS, NULL, OLD),
        MSR_ROW("procbased-ctls", PROCBASED_CTLS, NULL, OLD),
        MSR_ROW("exit-ctls", EXIT_CTLS, NULL, OLD),
        MSR_ROW("entry-ctls", ENTRY_CTLS, NULL, OLD),
        MSR_ROW("misc", MISC, NULL, OLD),
        MSR_ROW("cr0-fixed0", CR0_FIXED0, NULL, OLD),
        MSR_ROW("cr0-fixed1", CR0_FIXED1, NULL, OLD),
        MSR_ROW("cr4-fixed0", CR4_FIXED0, NULL, OLD),
        MSR_ROW("cr4-fixed1", CR4_FIXED1, NULL, OLD),
        MSR_ROW("vmcs-enum", VMCS_ENUM, NULL, OLD),
        MSR_ROW("procbased-ctls2", PROCBASED_CTLS2,
                "activate-secondary-controls", OLD),
        MSR_ROW("ept-vpid-cap", EPT_VPID_CAP, "enable-ept|enable-vpid", OLD),
        MSR_ROW("true-pinbased-ctls", TRUE_PINBASED_CTLS, "true-controls", OLD),
        MSR_ROW("true-procbased-ctls", TRUE_PROCBASED_CTLS, "true-controls", OLD),
        MSR_ROW("true-exit-ctls", TRUE_EXIT_CTLS, "true-controls", OLD),
        MSR_ROW("true-entry-ctls", TRUE_ENTRY_CTLS, "true-controls", OLD),
        MSR_ROW("vmfunc", VMFUNC, "enable-vm-functions", OLD),
        MSR_ROW("procbased-ctls3", PROCBASED_CTLS3, "activate-tertiary-controls",
                NEW),
        MSR_ROW("exit-ctls2", EXIT_CTLS2, "activate-secondary-controls-exit",
                NEW),
};

static struct vmx_result try_read(u32 msr, u64 *value)
{
        return raw_trap(rdmsr_safe(msr, value));
}

static struct vmx_result try_write(u32 msr, u64 value)
{
        return raw_trap(wrmsr_safe(msr, value));
}

TABLE(read_only, msr_rows, .id = "capability.msr.read-only", .sdm = SDM,
      .title = "can be read and not written")
{
        u32 msr = ((const struct msr_row *)case_row(self, row))->msr;
        u64 before = 0, after = 0;

        CHECK_RESULT("RDMSR", try_read(msr, &before), SUCCEED);
        CHECK_RESULT("WRMSR of the same value", try_write(msr, before),
                     FAULT_CODE(VEC_GP, 0));
        CHECK_RESULT("WRMSR of another value", try_write(msr, before ^ 1),
                     FAULT_CODE(VEC_GP, 0));
        CHECK_RESULT("WRMSR of 0", try_write(msr, 0), FAULT_CODE(VEC_GP, 0));
        CHECK_RESULT("RDMSR", try_read(msr, &after), SUCCEED);
        CHECK_EQ("value", after, before);
}

TABLE(stable, msr_rows, .id = "capability.msr.stable", .sdm = SDM,
      .title = "has one value, outside VMX operation and in it",
      .rules = "CAP_STABLE_VALUES CAP_MSR_READABLE_OUTSIDE_VMX")
{
        u32 msr = ((const struct msr_row *)case_row(self, row))->msr;
        u64 value = 0, again = 0;

        vmx_off();
        vmx_prepare();
        write_cr4(read_cr4() & ~(ulong)CR4_VMXE);
        CHECK_RESULT("RDMSR with CR4.VMXE = 0", try_read(msr, &value), SUCCEED);
        write_cr4(read_cr4() | CR4_VMXE);
        CHECK_RESULT("RDMSR with CR4.VMXE = 1", try_read(msr, &again), SUCCEED);
        CHECK_EQ("value with CR4.VMXE = 1", again, value);
        vm_begin(GUEST_NATIVE);
        CHECK_RESULT("RDMSR in VMX operation", try_read(msr, &again), SUCCEED);
        CHECK_EQ("value in VMX operation", again, value);
        vmx_off();
        CHECK_RESULT("RDMSR after VMXOFF", try_read(msr, &again), SUCCEED);
        CHECK_EQ("value after VMXOFF", again, value);
}

FAMILY(mandatory, MANDATORY, .id = "capability.msr.mandatory", .sdm = SDM,
       .title = "exists on every VMX processor: 480H and this number",
       .rules = "CAP_MSR_MANDATORY_SET")
{
        u64 value;

        CHECK_RESULT("RDMSR", try_read(MSR_IA32_VMX_BASIC + row, &value), SUCCEED);
}

/* An MSR that exists if another one, at @source in struct vmx_caps, says so. */
struct exists_row {
        struct row head;
        u32 msr;
        size_t source;
        u64 mask;
};

#define EXISTS(ID, NAME, RULES, SOURCE, MASK)                          \
        { ROW_OF(ID, "IA32_VMX_" #NAME, RULES, NULL),                  \
          .msr = MSR_IA32_VMX_##NAME,                                  \
          .source = offsetof(struct vmx_caps, SOURCE), .mask = MASK }

static const struct exists_row exists_rows[] = {
        EXISTS("true-pinbased-ctls", TRUE_PINBASED_CTLS, "CAP_MSR_TRUE_EXISTENCE",
               basic, CAP_TRUE_CONTROLS),
        EXISTS("true-procbased-ctls", TRUE_PROCBASED_CTLS,
               "CAP_MSR_TRUE_EXISTENCE", basic, CAP_TRUE_CONTROLS),
        EXISTS("true-exit-ctls", TRUE_EXIT_CTLS, "CAP_MSR_TRUE_EXISTENCE",
               basic, CAP_TRUE_CONTROLS),
        EXISTS("true-entry-ctls", TRUE_ENTRY_CTLS, "CAP_MSR_TRUE_EXISTENCE",
               basic, CAP_TRUE_CONTROLS),
        EXISTS("procbased-ctls2", PROCBASED_CTLS2,
               "CAP_MSR_CTLS2_EXISTENCE CAP_SEC_IMPLIES_ACTIVATE",
               procbased, BIT(63)),
        EXISTS("procbased-ctls3", PROCBASED_CTLS3, "CAP_MSR_CTLS3_EXISTENCE",
               procbased, BIT(49)),
        EXISTS("exit-ctls2", EXIT_CTLS2,
               "CAP_MSR_EXIT2_EXISTENCE CAP_EXIT2_IMPLIES_ACTIVATE",
               exit, BIT(63)),
        EXISTS("ept-vpid-cap", EPT_VPID_CAP, "CAP_MSR_EPT_VPID_EXISTENCE",
               procbased2, BIT(33) | BIT(37)),
        EXISTS("vmfunc", VMFUNC, "CAP_MSR_VMFUNC_EXISTENCE",
               procbased2, BIT(45)),
};

TABLE(exists, exists_rows, .id = "capability.msr.exists",
      .sdm = SECTION("Reserved Controls and Default Settings"),
      .title = "exists exactly where another MSR says so")
{
        const struct exists_row *r = case_row(self, row);
        u64 source, value;

        memcpy(&source, (const u8 *)vmx_caps() + r->source, sizeof(source));
        if (source & r->mask)
                CHECK_RESULT("RDMSR", try_read(r->msr, &value), SUCCEED);
        else
                CHECK_RESULT("RDMSR", try_read(r->msr, &value),
                             FAULT_CODE(VEC_GP, 0));
}

/* The number of the MSR is in EAX, as trap_at_cpl3_arg() gives it. */
CASE(cpl3, .id = "capability.msr.cpl3", .sdm = SDM, .rules = "CAP_MSR_CPL",
     .title = "RDMSR of IA32_VMX_BASIC faults at CPL 3")
{
        /* mov ECX, EAX; rdmsr; int 40H */
        static const u8 code[TRAP_CODE_SIZE] = {
                0x89, 0xc1, 0x0f, 0x32, 0xcd, TRAP_END,
        };
        struct trap t;
        u64 value;

        CHECK_RESULT("RDMSR at CPL 0", try_read(MSR_IA32_VMX_BASIC, &value),
                     SUCCEED);
        trap_at_cpl3_arg(code, MSR_IA32_VMX_BASIC, &t);
        CHECK_RESULT("RDMSR at CPL 3", raw_trap(t), FAULT_CODE(VEC_GP, 0));
}

#define SDM_SMM "System Management Mode > Dual-Monitor Treatment of SMIs and SMM"

CASE(smm_monitor, .id = "capability.msr.smm-monitor-ctl",
     .sdm = SECTION("Basic VMX Information"),
     .title = "IA32_SMM_MONITOR_CTL exists exactly with the dual-monitor treatment",
     .rules = "CAP_BASIC_BIT49_DUAL_MONITOR SMM_MONCTL_RD_UNSUPPORTED")
{
        u64 value = 0;

        if (vmx_cap(basic, DUAL_MONITOR)) {
                CHECK_RESULT("RDMSR", try_read(MSR_IA32_SMM_MONITOR_CTL, &value),
                             SUCCEED);
                return;
        }
        CHECK_RESULT("RDMSR", try_read(MSR_IA32_SMM_MONITOR_CTL, &value),
                     FAULT_CODE(VEC_GP, 0));
        CHECK_RESULT("WRMSR", try_write(MSR_IA32_SMM_MONITOR_CTL, 0),
                     FAULT_CODE(VEC_GP, 0));
}

CASE(smm_monitor_write, .id = "capability.msr.smm-monitor-ctl.write",
     .sdm = SDM_SMM, .needs = "dual-monitor",
     .title = "IA32_SMM_MONITOR_CTL can be written in SMM only",
     .rules = "CAP_SMM_MONITOR_CTL_WRITE SMM_MONCTL_WR_OUTSIDE")
{
        u64 before = 0, after = 0;

        CHECK_RESULT("RDMSR", try_read(MSR_IA32_SMM_MONITOR_CTL, &before),
                     SUCCEED);
        CHECK_RESULT("WRMSR of the same value",
                     try_write(MSR_IA32_SMM_MONITOR_CTL, before),
                     FAULT_CODE(VEC_GP, 0));
        CHECK_RESULT("WRMSR of 0", try_write(MSR_IA32_SMM_MONITOR_CTL, 0),
                     FAULT_CODE(VEC_GP, 0));
        CHECK_RESULT("WRMSR of 1", try_write(MSR_IA32_SMM_MONITOR_CTL, 1),
                     FAULT_CODE(VEC_GP, 0));
        CHECK_RESULT("RDMSR", try_read(MSR_IA32_SMM_MONITOR_CTL, &after),
                     SUCCEED);
        CHECK_EQ("value", after, before);
}

CASE(smbase, .id = "capability.msr.smbase", .sdm = SDM_SMM,
     .title = "IA32_SMBASE can not be read outside SMM, and not be written",
     .rules = "CAP_SMBASE_MSR SMM_SMBASE_MSR")
{
        u64 value;

        CHECK_RESULT("RDMSR", try_read(MSR_IA32_SMBASE, &value),
                     FAULT_CODE(VEC_GP, 0));
        CHECK_RESULT("WRMSR", try_write(MSR_IA32_SMBASE, 0x30000),
                     FAULT_CODE(VEC_GP, 0));
}
