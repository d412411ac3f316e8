/*
 * SDM Vol. 3, VM Entries > Checks on VMX Controls > VM-Execution Control Fields:
 * EPTP and HLATP. What else depends on EPT: entry_controls_ept.c.
 */
#include "x86/memory.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/control_check.h"
#include "x86/vmx/ept.h"
#include "x86/vmx/guest_env.h"

#define SDM SDM_EXECUTION_CONTROLS
#define EPT WITH_SECONDARY(CTL_SECONDARY_ENABLE_EPT)
#define INACTIVE CLEAR(PRIMARY_CONTROLS, CTL_PRIMARY_ACTIVATE_SECONDARY)

#define MEMORY_TYPE 7ull
#define WALK_LENGTH (7ull << 3)
#define SHADOW_STACK BIT(7)

/* By the capability MSR; what is left open is not asked. */
static bool is_valid(u64 eptp)
{
        u64 cap = vmx_caps()->ept_vpid;
        unsigned type = eptp & 7, length = (eptp >> 3 & 7) + 1;

        if (!(type == 0 && cap & CAP_EPT_UC) && !(type == 6 && cap & CAP_EPT_WB))
                return false;
        if (!(length == 4 && cap & CAP_EPT_WALK_4) &&
            !(length == 5 && cap & CAP_EPT_WALK_5))
                return false;
        if (eptp & EPTP_AD && !(cap & CAP_EPT_AD))
                return false;
        if (eptp & BITS(11, 7))
                return false;
        return !(eptp >> control_address_width());
}

/* Nothing is translated: the guest state is refused. */
static void try_eptp(u64 eptp)
{
        struct vm *vm = vm_begin(GUEST_NATIVE);

        vmcs_edit(EDITS(EPT, GUEST_DEFECT));
        vmwrite(VMCS_EPTP, eptp);
        vm_poison(VMERR_ENTRY_CONTROLS);
        if (is_valid(eptp))
                CHECK_RESULT("VM entry with a valid EPTP", vm_enter(vm),
                             BAD_GUEST);
        else
                CHECK_RESULT("VM entry with an invalid EPTP", vm_enter(vm),
                             BAD_CONTROLS);
}

static void runs(u64 eptp)
{
        struct vm *vm = vm_begin(GUEST_NATIVE);

        vmcs_edit(EDITS(EPT));
        vmwrite(VMCS_EPTP, eptp);
        vm_poison(VMERR_ENTRY_CONTROLS);
        CHECK_RESULT("a guest with a valid EPTP", vm_enter(vm),
                     EXITS(EXIT_VMCALL));
}

#define NEEDS "enable-ept"

FAMILY(memory_type, 8, .id = "entry.controls.eptp.memory-type",
       .title = "the memory type of EPTP is one that is supported", .sdm = SDM,
       .rules = "ENTC_EPTP_MEMORY_TYPE EPT_CAP_CONSISTENT_MT "
                "EPT_EPTP_MT_UC_OR_WB_SAME_RESULT",
       .needs = NEEDS)
{
        u64 valid = identity_eptp(0), eptp = (valid & ~MEMORY_TYPE) | row;

        runs(is_valid(eptp) ? eptp : valid);
        try_eptp(eptp);
}

FAMILY(walk_length, 8, .id = "entry.controls.eptp.walk-length",
       .title = "the page-walk length of EPTP is one that is supported",
       .sdm = SDM,
       .rules = "ENTC_EPTP_WALK_LENGTH ENTC_EPTP_WALK_LENGTH_5 "
                "EPT_EPTP_PWL4_WALK",
       .needs = NEEDS)
{
        u64 valid = identity_eptp(0);

        runs(valid);
        try_eptp((valid & ~WALK_LENGTH) | (u64)row << 3);
}

/* Bit 7 is open where the capability is 1: two places of the SDM differ. */
FAMILY(bits, 58, .id = "entry.controls.eptp.bit-6-plus",
       .title = "a bit of EPTP that it cannot have must be 0: 6 and up",
       .sdm = SDM,
       .rules = "ENTC_EPTP_AD_BIT ENTC_EPTP_SSS_BIT7 ENTC_EPTP_RESERVED_11_8 "
                "ENTC_EPTP_WIDTH ENTC_ADDR_32BIT_LIMIT ENTC_ADDR_WIDTH_TME",
       .needs = NEEDS)
{
        u64 mask = BIT(6 + row), valid = identity_eptp(0);

        runs(valid);
        if (mask == SHADOW_STACK &&
            vmx_caps()->ept_vpid & CAP_EPT_SHADOW_STACK)
                return;
        try_eptp((mask > BITS(11, 0) ? valid & BITS(11, 0) : valid) | mask);
}

static u64 garbage(__attribute__((unused)) u64 old)
{
        u64 *page = (u64 *)(ulong)new_page(0);

        for (unsigned i = 0; i < 512; i++)
                page[i] = ~0ull;
        return eptp_of(page, 0);
}

/* A level above the identity map. */
static u64 five_levels(__attribute__((unused)) u64 old)
{
        u64 *pml5 = (u64 *)(ulong)new_page(0), four = identity_eptp(0);

        pml5[0] = (four & ~BITS(11, 0)) | EPT_RWX;
        return phys(pml5) | (four & MEMORY_TYPE) | EPTP_WALK(5);
}

static u64 top(u64 old)
{
        return (old & BITS(11, 0)) |
               ((1ull << control_address_width()) - 4096);
}

static u64 beyond(u64 old)
{
        return (old & BITS(11, 0)) | 1ull << control_address_width();
}

static const struct probe eptp_probes[] = {
        { ROW("reserved", "EPTP[11:8] all 1", "ENTC_EPTP_RESERVED_11_8"),
          .given = EDITS(WITH_EPT),
          .reject = EDITS(OR(EPTP, BITS(11, 8))), .outcome = BAD_CONTROLS },
        { ROW("ad.unsupported", "EPTP[6] without accessed and dirty flags",
              "ENTC_EPTP_AD_BIT EPT_AD_BIT6_NEEDS_CAP", "!ept-ad"),
          .given = EDITS(WITH_EPT), .reject = EDITS(OR(EPTP, EPTP_AD)),
          .outcome = BAD_CONTROLS },
        { ROW("ad.supported", "EPTP[6] with accessed and dirty flags",
              "ENTC_EPTP_AD_BIT", "ept-ad"),
          .given = EDITS(WITH_EPT), .accept = EDITS(OR(EPTP, EPTP_AD)) },
        { ROW("shadow-stack.unsupported", "EPTP[7] where it is reserved",
              "ENTC_EPTP_SSS_BIT7 EPT_SSS_EPTP7_CAP", "!ept-shadow-stack"),
          .given = EDITS(WITH_EPT), .reject = EDITS(OR(EPTP, SHADOW_STACK)),
          .outcome = BAD_CONTROLS },
        { ROW("walk-5.unsupported", "5-level EPT where it is not supported",
              "ENTC_EPTP_WALK_LENGTH ENTC_EPTP_WALK_LENGTH_5 EPT_EPTP_PWL5_WALK",
              "!ept-walk-5"),
          .given = EDITS(WITH_EPT),
          .reject = EDITS(CLEAR(EPTP, WALK_LENGTH), OR(EPTP, EPTP_WALK(5))),
          .outcome = BAD_CONTROLS },
        { ROW("walk-5.supported", "5-level EPT where it is supported",
              "ENTC_EPTP_WALK_LENGTH_5 EPT_EPTP_PWL5_WALK", "ept-walk-5"),
          .accept = EDITS(EPT, CALC(EPTP, five_levels)) },
        { ROW("off", "any EPTP without EPT", "ENTC_EPTP_IGNORED"),
          .given = EDITS(SET(EPTP, ~0ull)),
          .reject = EDITS(EPT), .outcome = BAD_CONTROLS },
        { ROW("inactive", "any EPTP while secondary controls are not active",
              "ENTC_EPTP_IGNORED"),
          .given = EDITS(SET(EPTP, ~0ull), EPT),
          .accept = EDITS(INACTIVE), .outcome = BAD_CONTROLS },
        { ROW("content", "EPT entries are not checked at VM entry",
              "ENTC_EPTP_TABLE_CONTENT_NOT_CHECKED "
              "EPT_ENTRY_NO_CR3_TRANSLATION"),
          .accept = EDITS(EPT, CALC(EPTP, garbage)),
          .accepted = EXITS(EXIT_EPT_MISCONFIGURATION),
          .reject = EDITS(EPT, CALC(EPTP, garbage), OR(EPTP, BIT(8))),
          .outcome = BAD_CONTROLS },
        { ROW("top-of-space", "EPTP may be the last page that the processor has",
              "ENTC_ADDR_TOP_OF_SPACE_OK"),
          .given = EDITS(WITH_EPT, GUEST_DEFECT), .accepted = BAD_GUEST,
          .accept = EDITS(CALC(EPTP, top)), .reject = EDITS(CALC(EPTP, beyond)),
          .outcome = BAD_CONTROLS },
};

PROBES(eptp, eptp_probes, .id = "entry.controls.eptp",
       .title = "checks on EPTP", .sdm = SDM, .needs = NEEDS)

/* HLATP: bits 3 and 4 are PWT and PCD. */
#define HLAT WITH_EPT, WITH_TERTIARY(CTL_TERTIARY_ENABLE_HLAT)
#define HLAT_NEEDS "enable-ept activate-tertiary-controls enable-hlat"
#define PWT_PCD BITS(4, 3)

FAMILY(hlatp_bits, 64, .id = "entry.controls.hlatp.bit",
       .title = "a bit of HLATP that it cannot have must be 0", .sdm = SDM,
       .rules = "ENTC_HLATP_RESERVED_LOW ENTC_HLATP_WIDTH "
                "ENTC_HLATP_BITS_63_12_AS_PHYSICAL",
       .needs = HLAT_NEEDS)
{
        bool legal = BIT(row) & PWT_PCD ||
                     (row >= 12 && row < control_address_width());
        struct probe p = {
                .given = EDITS(HLAT, GUEST_DEFECT, CALC(HLATP, new_page)),
                .accepted = BAD_GUEST,
                .accept = EDITS(OR(HLATP, legal ? BIT(row) : PWT_PCD)),
                .reject = EDITS(OR(HLATP, BIT(row))),
        };

        if (!legal)
                p.outcome = RESULT(BAD_CONTROLS);
        probe_check(self, &p);
}

static const struct probe hlat_probes[] = {
        { ROW("off", "any HLATP without HLAT", "ENTC_HLATP_IGNORED"),
          .given = EDITS(WITH_EPT, SET(HLATP, ~0ull), GUEST_DEFECT),
          .accepted = BAD_GUEST, .reject = EDITS(HLAT),
          .outcome = BAD_CONTROLS },
        { ROW("inactive", "any HLATP while tertiary controls are not active",
              "ENTC_HLATP_IGNORED ENTC_TERTIARY_IGNORED_IF_NOT_ACTIVATED"),
          .given = EDITS(HLAT, SET(HLATP, ~0ull), GUEST_DEFECT),
          .accepted = BAD_GUEST,
          .accept = EDITS(CLEAR(PRIMARY_CONTROLS,
                                CTL_PRIMARY_ACTIVATE_TERTIARY)),
          .outcome = BAD_CONTROLS },
        { ROW("top", "HLATP has the width of the processor, not of EPT",
              "ENTC_HLATP_BITS_63_12_AS_PHYSICAL"),
          .given = EDITS(HLAT, GUEST_DEFECT), .accepted = BAD_GUEST,
          .accept = EDITS(SET(HLATP, 0), CALC(HLATP, top)),
          .reject = EDITS(SET(HLATP, 0), CALC(HLATP, beyond)),
          .outcome = BAD_CONTROLS },
        { ROW("prefix.0", "HLAT prefix size 0", "ENTC_HLAT_PREFIX_SIZE_ANY"),
          .given = EDITS(HLAT, GUEST_DEFECT, CALC(HLATP, new_page)),
          .accepted = BAD_GUEST, .accept = EDITS(SET(HLAT_PREFIX_SIZE, 0)) },
        { ROW("prefix.1", "HLAT prefix size 1", "ENTC_HLAT_PREFIX_SIZE_ANY",
              "hlat-prefix"),
          .given = EDITS(HLAT, GUEST_DEFECT, CALC(HLATP, new_page)),
          .accepted = BAD_GUEST, .accept = EDITS(SET(HLAT_PREFIX_SIZE, 1)) },
};

PROBES(hlat, hlat_probes, .id = "entry.controls.hlatp",
       .title = "checks on HLATP", .sdm = SDM, .needs = HLAT_NEEDS)
