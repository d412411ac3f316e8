/*
 * SDM Vol. 3, VM Entries > Checks on Host Control Registers and MSRs: CET state,
 * IA32_PKRS, FRED state and IA32_SPEC_CTRL.
 */
#include "x86/cpu.h"
#include "x86/msr.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/control_check.h"
#include "x86/vmx/host_state.h"

#define SDM SDM_HOST_REGISTERS
#define EXIT(NAME) OR(EXIT_CONTROLS, CTL_EXIT_##NAME)
#define OFF(NAME) CLEAR(EXIT_CONTROLS, CTL_EXIT_##NAME)

/* What accepted sides make a VM exit load: back to what it was. */
#define MSR_IA32_FRED_RSP1 0x1cd
#define MSR_IA32_FRED_CONFIG 0x1d4

static const u32 msrs[] = {
        MSR_IA32_S_CET, MSR_IA32_INTERRUPT_SSP_TABLE_ADDR, MSR_IA32_PKRS,
        MSR_IA32_SPEC_CTRL,
        /* RSP1 to RSP3, STKLVLS, SSP1 to SSP3, CONFIG. */
        MSR_IA32_FRED_RSP1, MSR_IA32_FRED_RSP1 + 1, MSR_IA32_FRED_RSP1 + 2,
        MSR_IA32_FRED_RSP1 + 3, MSR_IA32_FRED_RSP1 + 4, MSR_IA32_FRED_RSP1 + 5,
        MSR_IA32_FRED_RSP1 + 6, MSR_IA32_FRED_CONFIG,
};
static u64 values[ARRAY_LEN(msrs)];
static bool exists[ARRAY_LEN(msrs)];

static void save_msrs(void)
{
        bool fred = cpuid_bit(7, 1, 'a', 17);

        for (unsigned i = 0; i < ARRAY_LEN(msrs); i++)
                exists[i] = (fred || msrs[i] < MSR_IA32_FRED_RSP1 ||
                             msrs[i] > MSR_IA32_FRED_CONFIG) &&
                            !rdmsr_safe(msrs[i], &values[i]).raised;
}

static void restore_msrs(void)
{
        host_restore();
        for (unsigned i = 0; i < ARRAY_LEN(msrs); i++)
                if (exists[i])
                        wrmsr(msrs[i], values[i]);
}

static void check(const struct test_case *self, const struct probe *row)
{
        struct probe p = *row;

        save_msrs();
        p.restore = restore_msrs;
        probe_check(self, &p);
}

/* CET. While CR4.CET is 0, no value that is loaded does anything. */
#define LOAD_CET EXIT(LOAD_CET_STATE)
#define S_CET_SHADOW_STACKS BITS(1, 0)
#define S_CET_IBT (BITS(5, 2) | BITS(11, 10) | BITS(63, 12))
#define S_CET_RESERVED BITS(9, 6)

static bool s_cet_legal(u64 value)
{
        u64 defined = S_CET_SHADOW_STACKS * cpuid_bit(7, 0, 'c', 7) |
                      S_CET_IBT * cpuid_bit(7, 0, 'd', 20);
        u64 top = value >> 47;

        return !(value & ~defined) && (!top || top == BITS(16, 0));
}

/* Bits 55:47 are open where there are linear addresses of 57 bits. */
FAMILY(s_cet_bits, 64, .id = "entry.host.s-cet.bit",
       .title = "a reserved bit of host IA32_S_CET must be 0", .sdm = SDM,
       .rules = "ENTH_CET_S_CET_RESERVED ENTH_CET_S_CET_SSP_CANONICAL",
       .needs = "load-cet-state-exit cet-ss|cet-ibt host64")
{
        u64 mask = BIT(row);
        bool open = row >= 47 && row + 1 < linear_address_width();
        struct probe p = {
                .given = EDITS(LOAD_CET),
                .accept = EDITS(SET(HOST_S_CET, s_cet_legal(mask) ? mask : 0)),
                .reject = EDITS(SET(HOST_S_CET, mask)),
        };

        if (!s_cet_legal(mask) && !open)
                p.outcome = RESULT(BAD_HOST);
        check(self, &p);
}

FAMILY(s_cet_reserved, 4, .id = "entry.host.s-cet.reserved",
       .title = "bits 9:6 of host IA32_S_CET must be 0", .sdm = SDM,
       .rules = "ENTH_CET_S_CET_RESERVED",
       .needs = "load-cet-state-exit cet-ss|cet-ibt")
{
        struct probe p = {
                .given = EDITS(LOAD_CET), .accept = EDITS(SET(HOST_S_CET, 0)),
                .reject = EDITS(SET(HOST_S_CET, BIT(6 + row))),
                .outcome = BAD_HOST,
        };

        check(self, &p);
}

static u64 width_bit(__attribute__((unused)) u64 old)
{
        return BIT(linear_address_width() - 1);
}

#define SSP_LOW(id_, bits)                                                    \
        { ROW(id_, "host SSP is aligned", "ENTH_CET_SSP_ALIGN"),              \
          .given = EDITS(LOAD_CET), .accept = EDITS(SET(HOST_SSP, 0x1004)),   \
          .reject = EDITS(SET(HOST_SSP, 0x1000 + (bits))), .outcome = BAD_HOST }
#define CANONICAL(id_, field, rule, needs_, edit)                             \
        { ROW(id_, "a host CET field is canonical", rule, needs_),            \
          .given = EDITS(LOAD_CET),                                           \
          .accept = EDITS(SET(field, 0xffff800000000000)),                    \
          .reject = EDITS(edit), .outcome = BAD_HOST }

static const struct probe cet_probes[] = {
        { ROW("s-cet.suppress", "SUPPRESS without TRACKER",
              "ENTH_CET_SUPPRESS_AND_TRACKER", "cet-ibt"),
          .given = EDITS(LOAD_CET), .accept = EDITS(SET(HOST_S_CET, 0x400)),
          .reject = EDITS(SET(HOST_S_CET, 0xc00)), .outcome = BAD_HOST },
        { ROW("s-cet.tracker", "TRACKER without SUPPRESS",
              "ENTH_CET_SUPPRESS_AND_TRACKER", "cet-ibt"),
          .given = EDITS(LOAD_CET), .accept = EDITS(SET(HOST_S_CET, 0x800)),
          .reject = EDITS(SET(HOST_S_CET, 0xc00)), .outcome = BAD_HOST },
        { ROW("s-cet.enabled", "shadow stacks and branch tracking",
              "ENTH_CET_S_CET_RESERVED", "cet-ss cet-ibt"),
          .given = EDITS(LOAD_CET), .accept = EDITS(SET(HOST_S_CET, 7)),
          .reject = EDITS(SET(HOST_S_CET, 0x47)), .outcome = BAD_HOST },
        SSP_LOW("ssp.1", 1), SSP_LOW("ssp.2", 2), SSP_LOW("ssp.3", 3),
        CANONICAL("s-cet.non-canonical", HOST_S_CET,
                  "ENTH_CET_S_CET_SSP_CANONICAL", "host64 cet-ibt",
                  SET(HOST_S_CET, BIT(63))),
        CANONICAL("ssp.width", HOST_SSP, "ENTH_CET_S_CET_SSP_CANONICAL", "host64",
                  CALC(HOST_SSP, width_bit)),
        CANONICAL("ssp.bit-63", HOST_SSP, "ENTH_CET_S_CET_SSP_CANONICAL", "host64",
                  SET(HOST_SSP, BIT(63))),
        CANONICAL("ssp-table.width", HOST_INTERRUPT_SSP_TABLE,
                  "ENTH_CET_SSP_TABLE_CANONICAL", "host64",
                  CALC(HOST_INTERRUPT_SSP_TABLE, width_bit)),
        CANONICAL("ssp-table.bit-63", HOST_INTERRUPT_SSP_TABLE,
                  "ENTH_CET_SSP_TABLE_CANONICAL", "host64",
                  SET(HOST_INTERRUPT_SSP_TABLE, BIT(63))),
        { ROW("ssp-table.odd", "the SSP table may be anywhere",
              "ENTH_CET_SSP_TABLE_CANONICAL"),
          .given = EDITS(LOAD_CET),
          .accept = EDITS(SET(HOST_INTERRUPT_SSP_TABLE, 0x12345)) },
        { ROW("s-cet.off", "host IA32_S_CET is not checked unless it is loaded",
              "ENTH_CET_IGNORED"),
          .given = EDITS(SET(HOST_S_CET, 0xfff)), .accept = EDITS(OFF(LOAD_CET_STATE)),
          .reject = EDITS(LOAD_CET), .outcome = BAD_HOST },
        { ROW("ssp.off", "host SSP is not checked unless it is loaded",
              "ENTH_CET_IGNORED"),
          .given = EDITS(SET(HOST_SSP, 0xfff)), .accept = EDITS(OFF(LOAD_CET_STATE)),
          .reject = EDITS(LOAD_CET), .outcome = BAD_HOST },
        { ROW("ssp-table.off", "the host SSP table is not checked unless loaded",
              "ENTH_CET_IGNORED", "host64"),
          .given = EDITS(SET(HOST_INTERRUPT_SSP_TABLE, BIT(63))),
          .accept = EDITS(OFF(LOAD_CET_STATE)),
          .reject = EDITS(LOAD_CET), .outcome = BAD_HOST },
};

TABLE(cet, cet_probes, .id = "entry.host", .title = "checks on host CET state",
      .sdm = SDM, .needs = "load-cet-state-exit cet-ss|cet-ibt")
{
        check(self, case_row(self, row));
}

FAMILY(pkrs_bits, 64, .id = "entry.host.pkrs.bit",
       .title = "bits 63:32 of host IA32_PKRS must be 0", .sdm = SDM,
       .rules = "ENTH_PKRS_HIGH_HALF", .needs = "load-pkrs-exit")
{
        struct probe p = {
                .given = EDITS(EXIT(LOAD_PKRS)),
                .accept = EDITS(SET(HOST_PKRS, row < 32 ? BIT(row) : 0xffffffff)),
                .reject = EDITS(SET(HOST_PKRS, BIT(row))),
        };

        if (row >= 32)
                p.outcome = RESULT(BAD_HOST);
        check(self, &p);
}

/* FRED state. Nothing that is loaded does anything while CR4.FRED is 0. */
#define LOAD_FRED WITH_SECONDARY_EXIT(CTL_SECONDARY_EXIT_LOAD_FRED)
#define LOAD_SPEC_CTRL WITH_SECONDARY_EXIT(CTL_SECONDARY_EXIT_LOAD_SPEC_CTRL)
#define LEGAL_RSP 0x40u

static const u16 fred_fields[] = {
        VMCS_HOST_FRED_CONFIG, VMCS_HOST_FRED_RSP1, VMCS_HOST_FRED_RSP2,
        VMCS_HOST_FRED_RSP3, VMCS_HOST_FRED_SSP1, VMCS_HOST_FRED_SSP2,
        VMCS_HOST_FRED_SSP3,
};
static const u64 fred_reserved[] = {
        BIT(2) | BITS(5, 4) | BIT(11), BITS(5, 0), BITS(5, 0), BITS(5, 0),
        BITS(2, 0), BITS(2, 0), BITS(2, 0),
};
#define FRED_RULES "ENTH_FRED_CONFIG ENTH_FRED_RSP ENTH_FRED_SSP"

/* One bit, in all of the fields; the width is that of the processor here. */
FAMILY(fred_bits, 64, .id = "entry.host.fred.bit",
       .title = "a bit of a host FRED field that it cannot have must be 0",
       .sdm = SDM, .rules = FRED_RULES " ENTH_FRED_CPU_CANONICAL_LA57",
       .needs = "load-fred-exit")
{
        for (unsigned i = 0; i < ARRAY_LEN(fred_fields); i++) {
                bool legal = !(fred_reserved[i] & BIT(row)) &&
                             row < linear_address_width() - 1;
                const struct edit edits[] = {
                        EDIT(SET, fred_fields[i], BIT(row)), { .op = EDIT_END },
                };
                struct probe p = {
                        .given = EDITS(LOAD_FRED, GUEST_DEFECT),
                        .accepted = BAD_GUEST, .accept = legal ? edits : NULL,
                        .reject = edits,
                };

                if (!legal)
                        p.outcome = RESULT(BAD_HOST);
                check(self, &p);
        }
}

/* Reserved is what WRMSR refuses. */
FAMILY(spec_ctrl_bits, 64, .id = "entry.host.spec-ctrl.bit",
       .title = "a reserved bit of host IA32_SPEC_CTRL must be 0", .sdm = SDM,
       .rules = "ENTH_SPEC_CTRL_RESERVED",
       .needs = "load-ia32-spec-ctrl-exit spec-ctrl")
{
        u64 old = rdmsr(MSR_IA32_SPEC_CTRL), value = BIT(row);
        bool legal = !wrmsr_safe(MSR_IA32_SPEC_CTRL, value).raised;
        const struct edit edits[] = {
                EDIT(SET, VMCS_HOST_SPEC_CTRL, value), { .op = EDIT_END },
        };
        struct probe p = {
                .given = EDITS(LOAD_SPEC_CTRL), .accept = legal ? edits : NULL,
                .reject = edits,
        };

        wrmsr(MSR_IA32_SPEC_CTRL, old);
        if (!legal)
                p.outcome = RESULT(BAD_HOST);
        check(self, &p);
}

static const struct probe other_probes[] = {
        { ROW("pkrs.off", "host IA32_PKRS is not checked unless it is loaded",
              "ENTH_PKRS_IGNORED", "load-pkrs-exit"),
          .given = EDITS(SET(HOST_PKRS, ~0ull)), .accept = EDITS(OFF(LOAD_PKRS)),
          .reject = EDITS(EXIT(LOAD_PKRS)), .outcome = BAD_HOST },
        { ROW("fred.levels-0", "host IA32_FRED_STKLVLS 0", "ENTH_FRED_STKLVLS_ANY",
              "load-fred-exit"),
          .given = EDITS(LOAD_FRED, GUEST_DEFECT), .accepted = BAD_GUEST,
          .accept = EDITS(SET(HOST_FRED_STKLVLS, 0)) },
        { ROW("fred.levels-ones", "host IA32_FRED_STKLVLS of all ones",
              "ENTH_FRED_STKLVLS_ANY", "load-fred-exit"),
          .given = EDITS(LOAD_FRED, GUEST_DEFECT), .accepted = BAD_GUEST,
          .accept = EDITS(SET(HOST_FRED_STKLVLS, ~0ull)) },
        { ROW("fred.off", "host FRED state is not checked unless it is loaded",
              "ENTH_FRED_IGNORED", "load-fred-exit"),
          .given = EDITS(SET(HOST_FRED_RSP1, ~0ull), SET(HOST_FRED_CONFIG, ~0ull)),
          .accept = EDITS(CLEAR(SECONDARY_EXIT_CONTROLS,
                                CTL_SECONDARY_EXIT_LOAD_FRED)),
          .reject = EDITS(LOAD_FRED), .outcome = BAD_HOST },
        { ROW("fred.inactive", "the same, secondary VM-exit controls inactive",
              "ENTH_FRED_IGNORED", "load-fred-exit"),
          .given = EDITS(LOAD_FRED, SET(HOST_FRED_RSP1, ~0ull)),
          .accept = EDITS(OFF(ACTIVATE_SECONDARY)), .outcome = BAD_HOST },
        { ROW("spec-ctrl.bit-63", "host IA32_SPEC_CTRL[63]",
              "ENTH_SPEC_CTRL_RESERVED", "load-ia32-spec-ctrl-exit"),
          .given = EDITS(LOAD_SPEC_CTRL), .accept = EDITS(SET(HOST_SPEC_CTRL, 0)),
          .reject = EDITS(SET(HOST_SPEC_CTRL, BIT(63))), .outcome = BAD_HOST },
        { ROW("spec-ctrl.ibrs", "host IA32_SPEC_CTRL.IBRS",
              "ENTH_SPEC_CTRL_RESERVED", "load-ia32-spec-ctrl-exit"),
          .given = EDITS(LOAD_SPEC_CTRL), .accept = EDITS(SET(HOST_SPEC_CTRL, 1)),
          .reject = EDITS(SET(HOST_SPEC_CTRL, BIT(63) | 1)),
          .outcome = BAD_HOST },
        { ROW("spec-ctrl.off", "host IA32_SPEC_CTRL is not checked unless loaded",
              "ENTH_SPEC_CTRL_IGNORED", "load-ia32-spec-ctrl-exit"),
          .given = EDITS(SET(HOST_SPEC_CTRL, ~0ull)),
          .accept = EDITS(CLEAR(SECONDARY_EXIT_CONTROLS,
                                CTL_SECONDARY_EXIT_LOAD_SPEC_CTRL)),
          .reject = EDITS(LOAD_SPEC_CTRL), .outcome = BAD_HOST },
        { ROW("spec-ctrl.inactive", "the same, secondary VM-exit controls inactive",
              "ENTH_SPEC_CTRL_IGNORED", "load-ia32-spec-ctrl-exit"),
          .given = EDITS(LOAD_SPEC_CTRL, SET(HOST_SPEC_CTRL, ~0ull)),
          .accept = EDITS(OFF(ACTIVATE_SECONDARY)), .outcome = BAD_HOST },
};

TABLE(others, other_probes, .id = "entry.host",
      .title = "checks on host state of newer features", .sdm = SDM)
{
        check(self, case_row(self, row));
}
