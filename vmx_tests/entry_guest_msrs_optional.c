/*
 * SDM Vol. 3, VM Entries > Checks on the Guest State Area > Checks on Guest
 * Control Registers, Debug Registers, and MSRs: the MSRs of later features, and
 * all those that are not checked if not loaded.
 */
#include "lib/check.h"
#include "x86/cpu.h"
#include "x86/msr.h"
#include "x86/vmx/canonical.h"
#include "x86/vmx/probe.h"

#define SDM "VM Entries > Checks on Guest Control Registers, Debug Registers, and MSRs"

#define MSR_IA32_UINTR_MISC 0x988
#define MSR_IA32_FRED_RSP1 0x1cd
#define MSR_IA32_FRED_STKLVLS 0x1d0
#define MSR_IA32_FRED_SSP1 0x1d1
#define MSR_IA32_FRED_CONFIG 0x1d4

/*
 * One field that an entry control loads. VM exits need not load the MSR:
 * afterwards it gets its value back.
 */
struct loaded {
        u64 control;
        u32 field, msr;
};

static const struct loaded bndcfgs = { CTL_ENTRY_LOAD_BNDCFGS,
        VMCS_GUEST_BNDCFGS, MSR_IA32_BNDCFGS };
static const struct loaded rtit_ctl = { CTL_ENTRY_LOAD_RTIT_CTL,
        VMCS_GUEST_RTIT_CTL, MSR_IA32_RTIT_CTL };
static const struct loaded lbr_ctl = { CTL_ENTRY_LOAD_LBR_CTL,
        VMCS_GUEST_LBR_CTL, MSR_IA32_LBR_CTL };
static const struct loaded pkrs = { CTL_ENTRY_LOAD_PKRS,
        VMCS_GUEST_PKRS, MSR_IA32_PKRS };
static const struct loaded uinv = { CTL_ENTRY_LOAD_UINV,
        VMCS_GUEST_UINV, MSR_IA32_UINTR_MISC };
static const struct loaded s_cet = { CTL_ENTRY_LOAD_CET_STATE,
        VMCS_GUEST_S_CET, MSR_IA32_S_CET };
static const struct loaded ssp_table = { CTL_ENTRY_LOAD_CET_STATE,
        VMCS_GUEST_INTERRUPT_SSP_TABLE, MSR_IA32_INTERRUPT_SSP_TABLE_ADDR };

/* @value is refused unless @legal; @base is accepted. */
static void value_check(const struct test_case *self, const struct loaded *l,
                        u64 base, u64 value, bool legal)
{
        u64 old = rdmsr(l->msr);
        struct probe p = {
                .given = EDITS(OR(ENTRY_CONTROLS, l->control), SHOW_EXCEPTIONS,
                               EDIT(SET, l->field, base)),
        };

        probe_legal(self, &p, EDITS(EDIT(SET, l->field, value)), legal,
                    RESULT(BAD_GUEST));
        wrmsr(l->msr, old);
}

static const struct canonical_row canonical_rows[] = { CANONICAL_ROWS };

#define CANONICAL(what, id_, rule_, needs_)                                 \
TABLE(canonical_##what, canonical_rows,                                     \
      .id = "entry.guest." id_ ".canonical",                                \
      .title = "the address in the MSR must be canonical", .sdm = SDM,      \
      .rules = rule_, .needs = needs_)                                      \
{                                                                           \
        const struct canonical_row *r = case_row(self, row);                \
                                                                            \
        value_check(self, &what, 0, canonical_value(r) & ~0xfffull,         \
                    r->legal);                                              \
}
CANONICAL(bndcfgs, "bndcfgs", "ENTG_BNDCFGS_CANONICAL", "load-ia32-bndcfgs")
/* Without branch tracking there is no base of a bitmap: all of it is reserved. */
CANONICAL(s_cet, "s-cet", "ENTG_S_CET_CANONICAL",
          "load-cet-state-entry cet-ibt host64")
CANONICAL(ssp_table, "interrupt-ssp-table", "ENTG_INT_SSP_TABLE_CANONICAL",
          "load-cet-state-entry host64")

FAMILY(bndcfgs_bits, 12, .id = "entry.guest.bndcfgs.bit",
       .title = "bits 11:2 of IA32_BNDCFGS must be 0", .sdm = SDM,
       .rules = "ENTG_BNDCFGS_RESERVED", .needs = "load-ia32-bndcfgs")
{
        value_check(self, &bndcfgs, 0, BIT(row), row < 2);
}

/* Those that no enumeration of Intel PT gives a meaning. */
FAMILY(rtit_bits, 19, .id = "entry.guest.rtit-ctl.reserved",
       .title = "bits 18, 23, 30:28, 54:48 and 63:57 of IA32_RTIT_CTL must be 0",
       .sdm = SDM, .rules = "ENTG_RTIT_CTL_RESERVED",
       .needs = "load-ia32-rtit-ctl pt")
{
        static const u8 bits[] = { 18, 23, 28, 29, 30, 48, 49, 50, 51, 52, 53,
                                   54, 57, 58, 59, 60, 61, 62, 63 };

        value_check(self, &rtit_ctl, 0, BIT(bits[row]), false);
}

/*
 * Those that an enumeration gives a meaning: CPUID.14H:EBX and, from 32 on, ECX.
 * Where CPUID has the bit WRMSR takes it too, or it is not judged.
 */
static const struct {
        struct row head;
        u8 bit, enumerated;
} rtit_rows[] = {
        { ROW("cyc-en"), 1, 1 }, { ROW("pwr-evt-en"), 4, 5 },
        { ROW("fup-on-ptw"), 5, 4 }, { ROW("fabric-en"), 6, 32 + 3 },
        { ROW("cr3-filter"), 7, 0 }, { ROW("topa"), 8, 32 + 0 },
        { ROW("mtc-en"), 9, 3 }, { ROW("ptw-en"), 12, 4 },
        { ROW("event-en"), 31, 7 }, { ROW("dis-tnt"), 55, 8 },
        { ROW("inject-psb-pmi-on-enable"), 56, 6 },
};

TABLE(rtit_optional, rtit_rows, .id = "entry.guest.rtit-ctl.optional",
      .title = "a bit of IA32_RTIT_CTL is refused if CPUID does not have it",
      .sdm = SDM, .rules = "ENTG_RTIT_CTL_RESERVED",
      .needs = "load-ia32-rtit-ctl pt pt-in-vmx")
{
        struct cpuid c = cpuid(0x14, 0);
        u64 old = rdmsr(MSR_IA32_RTIT_CTL), value = BIT(rtit_rows[row].bit);
        bool exists = ((u64)c.c << 32 | c.b) & BIT(rtit_rows[row].enumerated);
        bool taken = !wrmsr_safe(MSR_IA32_RTIT_CTL, value).raised;

        wrmsr(MSR_IA32_RTIT_CTL, old);
        if (taken != exists)
                case_skip("WRMSR and CPUID differ");
        else
                value_check(self, &rtit_ctl, 0, value, exists);
}

/* CPUID.1CH:EBX: CPL filtering, branch filtering, call-stack mode. */
static bool lbr_bit_exists(unsigned bit)
{
        u32 features = cpuid(0x1c, 0).b;

        if (bit == 1 || bit == 2)
                return features & 1;
        if (bit == 3)
                return features & 4;
        if (bit >= 16 && bit <= 22)
                return features & 2;
        return bit == 0;
}

FAMILY(lbr_bits, 64, .id = "entry.guest.lbr-ctl.bit",
       .title = "a bit of IA32_LBR_CTL: refused if reserved", .sdm = SDM,
       .rules = "ENTG_LBR_CTL_RESERVED",
       .needs = "load-guest-ia32-lbr-ctl lbr")
{
        value_check(self, &lbr_ctl, 0, BIT(row), lbr_bit_exists(row));
}

FAMILY(pkrs_high, 32, .id = "entry.guest.pkrs.high",
       .title = "a bit of IA32_PKRS[63:32], from 32 on, must be 0", .sdm = SDM,
       .rules = "ENTG_PKRS_HIGH_BITS", .needs = "load-pkrs-entry pks")
{
        value_check(self, &pkrs, 0xffffffff, 0xffffffff | BIT(32 + row), false);
}

FAMILY(uinv_high, 8, .id = "entry.guest.uinv.high",
       .title = "a bit of UINV[15:8], from 8 on, must be 0", .sdm = SDM,
       .rules = "ENTG_UINV_HIGH_BITS", .needs = "load-uinv uintr")
{
        value_check(self, &uinv, 0xff, 0xff | BIT(8 + row), false);
}

FAMILY(s_cet_reserved, 4, .id = "entry.guest.s-cet.reserved",
       .title = "a bit of IA32_S_CET[9:6], from 6 on, must be 0", .sdm = SDM,
       .rules = "ENTG_S_CET_RESERVED", .needs = "load-cet-state-entry")
{
        value_check(self, &s_cet, 0, BIT(6 + row), false);
}

FAMILY(s_cet_stack, 2, .id = "entry.guest.s-cet.shadow-stack",
       .title = "a shadow-stack bit of IA32_S_CET may be 1", .sdm = SDM,
       .rules = "ENTG_S_CET_RESERVED", .needs = "load-cet-state-entry cet-ss")
{
        value_check(self, &s_cet, 0, BIT(row), true);
}

FAMILY(s_cet_branch, 4, .id = "entry.guest.s-cet.branch-tracking",
       .title = "a branch-tracking bit of IA32_S_CET may be 1", .sdm = SDM,
       .rules = "ENTG_S_CET_RESERVED", .needs = "load-cet-state-entry cet-ibt")
{
        value_check(self, &s_cet, 0, BIT(2 + row), true);
}

/* SUPPRESS is bit 10, TRACKER bit 11. */
FAMILY(s_cet_tracker, 4, .id = "entry.guest.s-cet.suppress-tracker",
       .title = "SUPPRESS and TRACKER must not both be 1", .sdm = SDM,
       .rules = "ENTG_S_CET_SUPPRESS_AND_TRACKER",
       .needs = "load-cet-state-entry cet-ibt")
{
        value_check(self, &s_cet, 0, (u64)row << 10, row != 3);
}

/* RSP1 to RSP3 and SSP1 to SSP3 follow each other, fields and MSRs. */
static struct loaded fred(u32 field, u32 msr, unsigned n)
{
        return (struct loaded){ CTL_ENTRY_LOAD_FRED, field + 2 * n, msr + n };
}

#define FRED_RULES "ENTG_FRED_MSR_RESERVED ENTG_FRED_MSR_CHECKED_WITH_CR4_FRED_0"

FAMILY(fred_config, 12, .id = "entry.guest.fred-config.bit",
       .title = "bits 2, 5:4 and 11 of IA32_FRED_CONFIG must be 0", .sdm = SDM,
       .rules = FRED_RULES, .needs = "load-fred-entry fred")
{
        struct loaded config = fred(VMCS_GUEST_FRED_CONFIG,
                                    MSR_IA32_FRED_CONFIG, 0);

        value_check(self, &config, 0, BIT(row),
                    row != 2 && row != 4 && row != 5 && row != 11);
}

#define FRED_STACK(reg, n)                                                     \
FAMILY(fred_##reg##n, 7, .id = "entry.guest.fred-" #reg #n ".bit",             \
       .title = "a bit of IA32_FRED_" #reg #n ": aligned or refused",          \
       .sdm = SDM, .rules = FRED_RULES, .needs = "load-fred-entry fred")       \
{                                                                              \
        struct loaded stack = fred(FIELD_##reg, FIRST_##reg, n - 1);           \
                                                                               \
        value_check(self, &stack, 0, BIT(row), row >= ALIGNED_##reg);          \
}                                                                              \
TABLE(fred_canonical_##reg##n, canonical_rows,                                 \
      .id = "entry.guest.fred-" #reg #n ".canonical",                          \
      .title = "IA32_FRED_" #reg #n " must be canonical", .sdm = SDM,          \
      .rules = "ENTG_FRED_MSR_CANONICAL ENTG_FRED_MSR_CHECKED_WITH_CR4_FRED_0",\
      .needs = "load-fred-entry fred")                                         \
{                                                                              \
        const struct canonical_row *r = case_row(self, row);                   \
        struct loaded stack = fred(FIELD_##reg, FIRST_##reg, n - 1);           \
                                                                               \
        value_check(self, &stack, 0, canonical_value(r) & ~0xfffull, r->legal);\
}
#define FIELD_rsp VMCS_GUEST_FRED_RSP1
#define FIRST_rsp MSR_IA32_FRED_RSP1
#define ALIGNED_rsp 6
#define FIELD_ssp VMCS_GUEST_FRED_SSP1
#define FIRST_ssp MSR_IA32_FRED_SSP1
#define ALIGNED_ssp 3
FRED_STACK(rsp, 1) FRED_STACK(rsp, 2) FRED_STACK(rsp, 3)
FRED_STACK(ssp, 1) FRED_STACK(ssp, 2) FRED_STACK(ssp, 3)

TABLE(fred_config_canonical, canonical_rows,
      .id = "entry.guest.fred-config.canonical",
      .title = "IA32_FRED_CONFIG must be canonical", .sdm = SDM,
      .rules = "ENTG_FRED_MSR_CANONICAL ENTG_FRED_MSR_CHECKED_WITH_CR4_FRED_0",
      .needs = "load-fred-entry fred")
{
        const struct canonical_row *r = case_row(self, row);
        struct loaded config = fred(VMCS_GUEST_FRED_CONFIG,
                                    MSR_IA32_FRED_CONFIG, 0);

        value_check(self, &config, 0, canonical_value(r) & ~0xfffull, r->legal);
}

/* The guest's CR4.LA57 is 0: the processor's width counts. */
CASE(fred_width, .id = "entry.guest.fred-rsp1.cpu-width",
     .title = "IA32_FRED_RSP1 may be canonical for 57 bits alone", .sdm =
     "VM Entries > Checks on Guest RIP, RFLAGS, and SSP",
     .rules = "ENTG_CANONICAL_WIDTH", .needs = "load-fred-entry fred la57")
{
        struct loaded rsp1 = fred(VMCS_GUEST_FRED_RSP1, MSR_IA32_FRED_RSP1, 0);

        value_check(self, &rsp1, 0, BIT(47), true);
        value_check(self, &rsp1, 0, BIT(63), false);
}

FAMILY(fred_stklvls, 3, .id = "entry.guest.fred-stklvls.unchecked",
       .title = "IA32_FRED_STKLVLS is not checked", .sdm = SDM,
       .rules = "ENTG_FRED_STKLVLS_UNCHECKED", .needs = "load-fred-entry fred")
{
        static const u64 values[] = { 0, ~0ull, BIT(63) };
        struct loaded stklvls = fred(VMCS_GUEST_FRED_STKLVLS,
                                     MSR_IA32_FRED_STKLVLS, 0);

        value_check(self, &stklvls, 0, values[row], true);
}

/* @msr: what must stay as it was; 0: it can not be read. */
struct unloaded_row {
        struct row head;
        u64 control, value;
        u32 field, msr;
};

#define UNLOADED(id_, rule_, needs_, control_, field_, msr_, value_)           \
        { .head = { .id = id_, .rules = rule_, .needs = needs_ },              \
          .control = CTL_ENTRY_LOAD_##control_, .field = VMCS_GUEST_##field_,  \
          .msr = msr_, .value = value_ }
#define FRED_UNLOADED(id_, field_, msr_)                                       \
        UNLOADED(id_ ".ones", "ENTG_FRED_UNCHECKED_WHEN_NOT_LOADED",           \
                 "fred load-fred-entry|save-fred", FRED, field_, msr_, ~0ull), \
        UNLOADED(id_ ".bit-63", "ENTG_FRED_UNCHECKED_WHEN_NOT_LOADED",         \
                 "fred load-fred-entry|save-fred", FRED, field_, msr_, BIT(63))

static const struct unloaded_row unloaded_rows[] = {
        UNLOADED("perf-global-ctrl", "ENTG_PERF_GLOBAL_CTRL_UNCHECKED_WHEN_NOT_LOADED",
                 "load-ia32-perf-global-ctrl-entry", PERF_GLOBAL_CTRL,
                 PERF_GLOBAL_CTRL, MSR_IA32_PERF_GLOBAL_CTRL, ~0ull),
        UNLOADED("pat", "ENTG_PAT_UNCHECKED_WHEN_NOT_LOADED",
                 "load-ia32-pat-entry|save-ia32-pat", PAT, PAT, MSR_IA32_PAT,
                 0x0202020202020202),
        UNLOADED("pat-ones", "ENTG_PAT_UNCHECKED_WHEN_NOT_LOADED",
                 "load-ia32-pat-entry|save-ia32-pat", PAT, PAT, MSR_IA32_PAT,
                 ~0ull),
        UNLOADED("efer", "ENTG_EFER_UNCHECKED_WHEN_NOT_LOADED",
                 "load-ia32-efer-entry|save-ia32-efer", EFER, EFER,
                 MSR_IA32_EFER, ~0ull),
        UNLOADED("efer-0", "ENTG_EFER_UNCHECKED_WHEN_NOT_LOADED",
                 "load-ia32-efer-entry|save-ia32-efer", EFER, EFER,
                 MSR_IA32_EFER, 0),
        UNLOADED("efer-lma", "ENTG_EFER_UNCHECKED_WHEN_NOT_LOADED",
                 "load-ia32-efer-entry|save-ia32-efer", EFER, EFER,
                 MSR_IA32_EFER, EFER_LMA),
        UNLOADED("bndcfgs", "ENTG_BNDCFGS_UNCHECKED_WHEN_NOT_LOADED",
                 "load-ia32-bndcfgs", BNDCFGS, BNDCFGS, MSR_IA32_BNDCFGS,
                 0x8000000000000ffc),
        UNLOADED("rtit-ctl", "ENTG_RTIT_CTL_UNCHECKED_WHEN_NOT_LOADED",
                 "load-ia32-rtit-ctl pt", RTIT_CTL, RTIT_CTL,
                 MSR_IA32_RTIT_CTL, ~0ull),
        UNLOADED("lbr-ctl", "ENTG_LBR_CTL_UNCHECKED_WHEN_NOT_LOADED",
                 "load-guest-ia32-lbr-ctl lbr", LBR_CTL, LBR_CTL,
                 MSR_IA32_LBR_CTL, ~0ull),
        UNLOADED("pkrs", "ENTG_PKRS_UNCHECKED_WHEN_NOT_LOADED",
                 "load-pkrs-entry pks", PKRS, PKRS, MSR_IA32_PKRS, ~0ull),
        UNLOADED("uinv", "ENTG_UINV_UNCHECKED_WHEN_NOT_LOADED",
                 "load-uinv uintr", UINV, UINV, MSR_IA32_UINTR_MISC, 0xffff),
        UNLOADED("s-cet", "ENTG_CET_UNCHECKED_WHEN_NOT_LOADED",
                 "load-cet-state-entry host64", CET_STATE, S_CET,
                 MSR_IA32_S_CET, 0x8000000000000003),
        UNLOADED("ssp", "ENTG_CET_UNCHECKED_WHEN_NOT_LOADED",
                 "load-cet-state-entry host64", CET_STATE, SSP, 0,
                 0x8000000000000003),
        UNLOADED("interrupt-ssp-table", "ENTG_CET_UNCHECKED_WHEN_NOT_LOADED",
                 "load-cet-state-entry host64", CET_STATE, INTERRUPT_SSP_TABLE,
                 MSR_IA32_INTERRUPT_SSP_TABLE_ADDR, 0x8000000000000003),
        FRED_UNLOADED("fred-config", FRED_CONFIG, MSR_IA32_FRED_CONFIG),
        FRED_UNLOADED("fred-rsp1", FRED_RSP1, MSR_IA32_FRED_RSP1),
        FRED_UNLOADED("fred-rsp2", FRED_RSP2, MSR_IA32_FRED_RSP1 + 1),
        FRED_UNLOADED("fred-rsp3", FRED_RSP3, MSR_IA32_FRED_RSP1 + 2),
        FRED_UNLOADED("fred-ssp1", FRED_SSP1, MSR_IA32_FRED_SSP1),
        FRED_UNLOADED("fred-ssp2", FRED_SSP2, MSR_IA32_FRED_SSP1 + 1),
        FRED_UNLOADED("fred-ssp3", FRED_SSP3, MSR_IA32_FRED_SSP1 + 2),
};

TABLE(unloaded, unloaded_rows, .id = "entry.guest.not-loaded",
      .title = "a field is not checked, and the MSR keeps its value, if the "
               "entry does not load it", .sdm = SDM)
{
        const struct unloaded_row *r = case_row(self, row);
        u64 old = 0;
        bool judged = r->msr && !rdmsr_safe(r->msr, &old).raised;
        struct probe p = {
                .given = EDITS(SHOW_EXCEPTIONS, CLEAR(ENTRY_CONTROLS, r->control)),
                .accept = EDITS(EDIT(SET, r->field, r->value)),
        };

        if (!control_can_be_0(WORD_ENTRY, r->control)) {
                case_skip("the control can not be 0");
                return;
        }
        probe_check(self, &p);
        if (judged)
                CHECK_EQ("the MSR after the VM exit", rdmsr(r->msr), old);
}
