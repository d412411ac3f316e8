/*
 * SDM Vol. 3, VM Entries > Loading MSRs: entries that can not be loaded. Each
 * stands between two good ones, and its place is taken by a good one first.
 */
#include "lib/check.h"
#include "x86/cpu.h"
#include "x86/memory.h"
#include "x86/vmx/event.h"
#include "x86/vmx/guest_msr.h"
#include "x86/vmx/session.h"

#define SDM "VM Entries > Loading MSRs"
#define NEEDS "intel64 "

#define FIRST MSR_IA32_FMASK
#define LAST MSR_IA32_STAR
#define OLD 0x11112222u
#define NEW 0x33334444u
#define CANONICAL 0x00007fffffffffffull
#define NOT_CANONICAL 0x8000000000000000ull

/* Of values that run time knows, @good and @bad are XORed with the MSR's. */
struct failing {
        struct row head;
        struct msr_entry good, bad;
        bool relative;
        bool either;         /* a processor may load @bad as well */
};

#define BAD_MSR ENTRY_FAILS(EXIT_ENTRY_FAILURE_MSR_LOADING, 2)

static struct vmx_result list_enter(struct msr_entry middle)
{
        const struct msr_entry list[] = {
                { FIRST, 0, NEW }, middle, { LAST, 0, NEW },
        };

        (void)vm_begin(GUEST_NATIVE);
        wrmsr(FIRST, OLD);
        wrmsr(LAST, OLD);
        vm_entry_msrs(list, ARRAY_LEN(list));
        vm_poison(0);
        return vm_enter(&this_vmx()->vm);
}

static void check_loaded(struct msr_entry e)
{
        CHECK_EXIT("the good entry", list_enter(e), EXITS(EXIT_VMCALL));
        CHECK_EQ("the MSR of the first entry", rdmsr(FIRST), NEW);
        CHECK_EQ("the MSR of the last entry", rdmsr(LAST), NEW);
}

static void check_fails(struct vmx_result got)
{
        CHECK_EXIT("the bad entry", got, BAD_MSR);
        CHECK_EQ("the MSR of the entry before", rdmsr(FIRST), NEW);
        CHECK_EQ("the MSR of the entry behind", rdmsr(LAST), OLD);
}

static void failing_run(const struct failing *f)
{
        u64 first = rdmsr(FIRST), last = rdmsr(LAST), base = 0, old = 0;
        struct msr_entry good = f->good, bad = f->bad;
        /* What VM exits do not load they leave as the guest had it. */
        bool there = !rdmsr_safe(good.index, &old).raised;
        struct vmx_result got;

        if (f->relative)
                base = old;
        good.value ^= base;
        bad.value ^= base;
        check_loaded(good);
        got = list_enter(bad);
        if (f->either && result_matches(got, RESULT(EXITS(EXIT_VMCALL))))
                CHECK_EQ("the MSR of the last entry", rdmsr(LAST), NEW);
        else
                check_fails(got);
        if (there)
                wrmsr(good.index, old);
        wrmsr(FIRST, first);
        wrmsr(LAST, last);
}

#define FREE(bits) { MSR_IA32_LSTAR, bits, NEW }
#define RULES(more) "MSRL_FAIL_EARLIER_ENTRIES_APPLIED " \
                    "MSRL_FAIL_LATER_ENTRIES_NOT_APPLIED " more

FAMILY(reserved, 32, .id = "entry.msr-load.fail.reserved",
       .title = "a bit of an entry's bits 63:32, from 32 on, must be 0",
       .sdm = SDM, .rules = RULES("MSRL_RESERVED_63_32"), .needs = NEEDS)
{
        struct failing f = { .good = FREE(0), .bad = FREE(1u << row) };

        failing_run(&f);
}

/* An MSR that can never be loaded, with the value that it has or may have. */
#define NEVER(name, rule, needs_, msr, value_)                        \
        { ROW(name, NULL, rule, needs_), FREE(0),                     \
          { .index = msr, .value = value_ } }
#define VALUE(name, rule, needs_, msr, good_, bad_)                   \
        { ROW(name, NULL, rule, needs_), { msr, 0, good_ },           \
          { msr, 0, bad_ } }
/* The same, with bits that are changed. */
#define CHANGE(name, rule, needs_, msr, bits)                         \
        { ROW(name, NULL, rule, needs_), { msr, 0, 0 },               \
          { msr, 0, bits }, .relative = true }
/* SDM Vol. 2, WRMSR, lists the MSRs; IA32_CSTAR is not among them. */
#define CANONICAL_ROW(name, rule, needs_, msr) \
        VALUE(name, rule, needs_, msr, CANONICAL, NOT_CANONICAL)
#define GP "MSRL_VALUE_GP_RESERVED"
#define GP_CANONICAL "MSRL_VALUE_GP_NONCANONICAL"
#define CET "MSRL_CET_MSRS"
#define SSP_ROWS(n)                                                          \
        VALUE("pl" #n "-ssp.bit-0", CET, "cet-ss", MSR_IA32_PL0_SSP + (n),   \
              0x7fffffffeff8, 0x7fffffffeff9),                               \
        VALUE("pl" #n "-ssp.bit-1", CET, "cet-ss", MSR_IA32_PL0_SSP + (n),   \
              0x7fffffffeffc, 0x7fffffffeffe),                               \
        VALUE("pl" #n "-ssp.canonical", CET, "cet-ss host64",                \
              MSR_IA32_PL0_SSP + (n), 0xffff800000000000, NOT_CANONICAL)

static const struct failing rows[] = {
        NEVER("fs-base", "MSRL_FS_BASE", NULL, MSR_IA32_FS_BASE, 0),
        NEVER("gs-base", "MSRL_GS_BASE", NULL, MSR_IA32_GS_BASE, 0),
        NEVER("smm-monitor-ctl", "MSRL_SMM_ONLY", NULL,
              MSR_IA32_SMM_MONITOR_CTL, 0),
        NEVER("smbase", "MSRL_SMBASE", NULL, MSR_IA32_SMBASE, 0x30000),
        NEVER("nonexistent.ffffffff", "MSRL_NONEXISTENT", NULL, 0xffffffff, 0),
        NEVER("nonexistent.c000ffff", "MSRL_NONEXISTENT", NULL, 0xc000ffff, 0),
        NEVER("read-only.platform-id", "MSRL_READ_ONLY", NULL,
              MSR_IA32_PLATFORM_ID, 0),
        NEVER("read-only.mtrrcap", "MSRL_READ_ONLY", "mtrr", MSR_IA32_MTRRCAP, 0),
        NEVER("read-only.vmx-basic", "MSRL_READ_ONLY", NULL, MSR_IA32_VMX_BASIC,
              0),
        VALUE("value.pat.byte-0", GP, "pat", MSR_IA32_PAT, 0x0007010600070106,
              0x0007010600070102),
        VALUE("value.pat.byte-7", GP, "pat", MSR_IA32_PAT, 0x0007010600070106,
              0x0207010600070106),
        CHANGE("value.efer.bit-1", GP, NULL, MSR_IA32_EFER, BIT(1)),
        CHANGE("value.efer.bit-63", GP, NULL, MSR_IA32_EFER, BIT(63)),
        CHANGE("value.apic-base.bit-0", GP, "apic", MSR_IA32_APIC_BASE, BIT(0)),
        CHANGE("value.apic-base.bit-63", GP, "apic", MSR_IA32_APIC_BASE, BIT(63)),
        CANONICAL_ROW("value.kernel-gs-base", GP_CANONICAL, NULL,
                      MSR_IA32_KERNEL_GS_BASE),
        CANONICAL_ROW("value.lstar", GP_CANONICAL, NULL, MSR_IA32_LSTAR),
        CANONICAL_ROW("value.sysenter-esp", GP_CANONICAL, NULL,
                      MSR_IA32_SYSENTER_ESP),
        CANONICAL_ROW("value.sysenter-eip", GP_CANONICAL, NULL,
                      MSR_IA32_SYSENTER_EIP),
        VALUE("value.xss", "MSRL_USER_MSR_XSS", "xsaves", MSR_IA32_XSS, 0,
              BIT(63)),
        SSP_ROWS(0), SSP_ROWS(1), SSP_ROWS(2), SSP_ROWS(3),
        VALUE("u-cet.reserved", CET, "cet-ss", MSR_IA32_U_CET, 1, 0x41),
        VALUE("u-cet.canonical", CET, "cet-ibt host64", MSR_IA32_U_CET,
              0xffff800000000000, NOT_CANONICAL),
};

TABLE(fails, rows, .id = "entry.msr-load.fail",
      .title = "an entry fails; those before it were loaded, those behind it not",
      .sdm = SDM, .rules = RULES(""), .needs = NEEDS)
{
        failing_run(case_row(self, row));
}

/* For model-specific reasons a processor may load some of these or not. */
#define EITHER(name, rule, needs_, msr, value_)                       \
        { ROW(name, NULL, rule, needs_), FREE(0),                     \
          { .index = msr, .value = value_ }, .either = true }
static const struct failing either_rows[] = {
        EITHER("bios-updt-trig", "MSRL_BIOS_UPDT_TRIG", NULL,
               MSR_IA32_BIOS_UPDT_TRIG, 0),
        EITHER("bios-sign-id", "MSRL_BIOS_SIGN_ID", NULL, MSR_IA32_BIOS_SIGN_ID,
               0),
        EITHER("spec-ctrl", "MSRL_SPEC_MSRS", "spec-ctrl", MSR_IA32_SPEC_CTRL, 0),
        EITHER("pred-cmd", "MSRL_SPEC_MSRS", "spec-ctrl", MSR_IA32_PRED_CMD, 1),
        EITHER("flush-cmd", "MSRL_SPEC_MSRS", "flush-cmd", MSR_IA32_FLUSH_CMD, 1),
};

TABLE(either, either_rows, .id = "entry.msr-load.model-specific",
      .title = "an entry is loaded, or fails as an entry does", .sdm = SDM,
      .needs = NEEDS)
{
        failing_run(case_row(self, row));
}

/* 40000000H to 400000FFH are left to software: a hypervisor may have them. */
CASE(software, .id = "entry.msr-load.fail.nonexistent.40000000",
     .title = "an MSR that WRMSR refuses can not be loaded", .sdm = SDM,
     .rules = "MSRL_NONEXISTENT", .needs = NEEDS)
{
        struct failing f = { .good = FREE(0), .bad = { 0x40000000, 0, 0 } };

        if (!wrmsr_safe(f.bad.index, 0).raised)
                case_skip("WRMSR writes it");
        else
                failing_run(&f);
}

CASE(rtit_ctl, .id = "entry.msr-load.fail.rtit-ctl",
     .title = "without Intel PT in VMX operation IA32_RTIT_CTL can not be loaded",
     .sdm = SDM, .rules = "MSRL_RTIT_CTL_NOT_ALLOWED_IN_VMX",
     .needs = NEEDS "pt !pt-in-vmx")
{
        struct failing f = {
                .good = FREE(0), .bad = { MSR_IA32_RTIT_CTL, 0, 0 },
        };

        failing_run(&f);
}

CASE(rtit_ctl_loaded, .id = "entry.msr-load.rtit-ctl",
     .title = "with Intel PT in VMX operation IA32_RTIT_CTL can be loaded",
     .sdm = SDM, .rules = "MSRL_RTIT_CTL_NOT_ALLOWED_IN_VMX",
     .needs = NEEDS "pt pt-in-vmx")
{
        u64 old = rdmsr(MSR_IA32_RTIT_CTL);

        check_loaded((struct msr_entry){ MSR_IA32_RTIT_CTL, 0, 4 });
        CHECK_EQ("IA32_RTIT_CTL", rdmsr(MSR_IA32_RTIT_CTL), 4);
        wrmsr(MSR_IA32_RTIT_CTL, old);
}

/* One page as output region; the trace is never read. */
#define TRACE_EN BIT(0)
#define TRACE_OS BIT(2)
CASE(rtit_tracing, .id = "entry.msr-load.fail.rtit-tracing",
     .title = "while TraceEn = 1 another IA32_RTIT_* MSR can not be loaded",
     .sdm = SDM, .rules = "MSRL_RTIT_CONFIG_WITH_TRACEEN",
     .needs = NEEDS "pt pt-in-vmx")
{
        u64 page = phys(page_alloc(1)), other = phys(page_alloc(1));
        struct vmx_result got;

        if (!(cpuid(0x14, 0).c & BIT(2))) {
                case_skip("no single-range output");
                return;
        }
        for (u64 enable = 0; enable <= TRACE_EN; enable += TRACE_EN) {
                const struct msr_entry list[] = {
                        { MSR_IA32_RTIT_OUTPUT_BASE, 0, page },
                        { MSR_IA32_RTIT_OUTPUT_BASE + 1, 0, PAGE_SIZE - 1 },
                        { MSR_IA32_RTIT_CTL, 0, TRACE_OS | enable },
                        { MSR_IA32_RTIT_OUTPUT_BASE, 0, other },
                };

                (void)vm_begin(GUEST_NATIVE);
                vm_entry_msrs(list, ARRAY_LEN(list));
                vm_poison(0);
                got = vm_enter(&this_vmx()->vm);
                wrmsr(MSR_IA32_RTIT_CTL, 0);
                if (enable)
                        CHECK_EXIT("TraceEn = 1", got, ENTRY_FAILS(
                                   EXIT_ENTRY_FAILURE_MSR_LOADING, 4));
                else
                        CHECK_EXIT("TraceEn = 0", got, EXITS(EXIT_VMCALL));
        }
}
