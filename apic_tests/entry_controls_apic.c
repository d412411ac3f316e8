/*
 * SDM Vol. 3, VM Entries > Checks on VMX Controls > VM-Execution Control Fields:
 * APIC virtualization: addresses, the TPR shadow and its threshold, virtual
 * interrupts. Posted interrupts, IPIs and the APIC timer:
 * entry_controls_posted.c.
 */
#include "x86/vmx/control_check.h"

#define SDM SDM_EXECUTION_CONTROLS
#define SECONDARY(NAME) CTL_SECONDARY_##NAME
#define INACTIVE CLEAR(PRIMARY_CONTROLS, CTL_PRIMARY_ACTIVATE_SECONDARY)

ADDRESS_CHECK(virtual_apic, "entry.controls.virtual-apic", "use-tpr-shadow",
              "the virtual-APIC address",
              "ENTC_VIRTUAL_APIC_ALIGN APIC_ENTRY_VAPIC_ADDR_ALIGN "
              "ENTC_VIRTUAL_APIC_WIDTH APIC_ENTRY_VAPIC_ADDR_WIDTH",
              "ENTC_VIRTUAL_APIC_IGNORED APIC_ENTRY_VAPIC_ADDR_IGNORED_WHEN_OFF",
              .field = VMCS_VIRTUAL_APIC_ADDRESS, .low = 12,
              .active = EDITS(OR(PRIMARY_CONTROLS, CTL_PRIMARY_USE_TPR_SHADOW)))
ADDRESS_CHECK(apic_access, "entry.controls.apic-access",
              "virtualize-apic-accesses", "the APIC-access address",
              "ENTC_APIC_ACCESS_ALIGN APIC_ENTRY_ACCESS_ADDR_ALIGN "
              "ENTC_APIC_ACCESS_WIDTH APIC_ENTRY_ACCESS_ADDR_WIDTH",
              "ENTC_APIC_ACCESS_IGNORED APIC_ENTRY_ACCESS_ADDR_IGNORED_WHEN_OFF",
              .field = VMCS_APIC_ACCESS_ADDRESS, .low = 12, .mapped = true,
              .active = EDITS(WITH_SECONDARY(
                      SECONDARY(VIRTUALIZE_APIC_ACCESSES))))

static u8 *page;

/* The TPR shadow with that virtual TPR; no control that hides the threshold. */
static struct vm *begin(const struct edit *given, u8 vtpr, u32 threshold)
{
        struct vm *vm = vm_begin(GUEST_NATIVE);

        vmcs_edit(EDITS(WITH_TPR_SHADOW));
        vmcs_edit(given);
        page = (u8 *)(ulong)vmread(VMCS_VIRTUAL_APIC_ADDRESS);
        page[0x80] = vtpr;
        vmwrite(VMCS_TPR_THRESHOLD, threshold);
        vm_poison(VMERR_ENTRY_CONTROLS);
        return vm;
}

#define ENTERS(given, vtpr, threshold)                                      \
        CHECK_RESULT("VM entry with a valid TPR threshold",                 \
                     vm_enter(begin(given, vtpr, threshold)),               \
                     EXITS(EXIT_VMCALL))
#define REFUSED(given, vtpr, threshold)                                     \
        CHECK_RESULT("VM entry with an invalid TPR threshold",              \
                     vm_enter(begin(given, vtpr, threshold)), BAD_CONTROLS)

FAMILY(threshold_bits, 32, .id = "entry.controls.tpr-threshold.bit",
       .title = "bits 31:4 of the TPR threshold must be 0", .sdm = SDM,
       .rules = "ENTC_TPR_THRESHOLD_HIGH_BITS APIC_ENTRY_TPR_THRESHOLD_RESERVED",
       .needs = "use-tpr-shadow")
{
        ENTERS(NULL, 0xf0, row < 4 ? 1u << row : 15);
        if (row >= 4)
                REFUSED(NULL, 0xf0, 1u << row);
}

FAMILY(threshold_bits_apic_access, 32,
       .id = "entry.controls.tpr-threshold.apic-accesses.bit",
       .title = "the same with APIC accesses virtualized", .sdm = SDM,
       .rules = "ENTC_TPR_THRESHOLD_HIGH_BITS_WITH_APIC_ACCESSES",
       .needs = "use-tpr-shadow virtualize-apic-accesses")
{
        const struct edit *accesses =
                EDITS(WITH_SECONDARY(SECONDARY(VIRTUALIZE_APIC_ACCESSES)),
                      CALC(APIC_ACCESS_ADDRESS, new_page));

        ENTERS(accesses, 0xf0, row < 4 ? 1u << row : 15);
        if (row >= 4)
                REFUSED(accesses, 0xf0, 1u << row);
}

FAMILY(threshold_above, 15, .id = "entry.controls.tpr-threshold.vtpr",
       .title = "the TPR threshold is at most VTPR[7:4]", .sdm = SDM,
       .rules = "ENTC_TPR_THRESHOLD_VS_VTPR APIC_ENTRY_TPR_THRESHOLD_GT_VTPR",
       .needs = "use-tpr-shadow")
{
        u32 threshold = row + 1;

        ENTERS(NULL, (u8)(threshold << 4), threshold);
        if (threshold < 15)
                ENTERS(NULL, (u8)((threshold + 1) << 4), threshold);
        REFUSED(NULL, (u8)((threshold - 1) << 4), threshold);
        /* VTPR[3:0] does not count. */
        REFUSED(NULL, (u8)((threshold - 1) << 4 | 15), threshold);
}

CASE(threshold_bytes, .id = "entry.controls.tpr-threshold.vtpr-bytes",
     .title = "only byte 0 of VTPR is compared with the threshold, and it stays",
     .sdm = SDM,
     .rules = "ENTC_TPR_THRESHOLD_VTPR_LOW_NIBBLE_IGNORED ENTB_VTPR_BYTES_MAY_CLEAR",
     .needs = "use-tpr-shadow")
{
        for (unsigned byte = 0x81; byte <= 0x83; byte++) {
                struct vm *vm = begin(NULL, 0x4f, 5);

                page[byte] = 0xff;
                CHECK_RESULT("VM entry with VTPR 4FH, threshold 5",
                             vm_enter(vm), BAD_CONTROLS);
                CHECK_EQ("byte 0 of VTPR after VMfail", page[0x80], 0x4f);
                vm = begin(NULL, 0x50, 5);
                page[byte] = 0xff;
                CHECK_RESULT("VM entry with VTPR 50H, threshold 5",
                             vm_enter(vm), EXITS(EXIT_VMCALL));
                CHECK_EQ("byte 0 of VTPR after a VM exit", page[0x80], 0x50);
        }
}

/* Virtual-interrupt delivery: the threshold does not count. */
FAMILY(threshold_vid, 4, .id = "entry.controls.tpr-threshold.virtual-interrupts",
       .title = "virtual-interrupt delivery: the TPR threshold is not checked",
       .sdm = SDM,
       .rules = "ENTC_TPR_THRESHOLD_IGNORED_WITH_VID "
                "APIC_ENTRY_TPR_THRESHOLD_RESERVED_VID",
       .needs = "virtual-interrupt-delivery external-interrupt-exiting "
                "use-tpr-shadow")
{
        static const u32 thresholds[] = { 0xf, 0x1f, 0x80000000, 0xffffffff };

        ENTERS(EDITS(WITH_VIRTUAL_INTERRUPTS), 0, thresholds[row]);
        REFUSED(NULL, 0, thresholds[row]);
}

static const struct probe threshold_probes[] = {
        { ROW("off.ones", "TPR threshold FFFFFFFFH without TPR shadow",
              "ENTC_TPR_THRESHOLD_IGNORED_NO_SHADOW "
              "APIC_ENTRY_TPR_THRESHOLD_OFF"),
          .given = EDITS(SET(TPR_THRESHOLD, ~0u)),
          .reject = EDITS(WITH_TPR_SHADOW), .outcome = BAD_CONTROLS },
        { ROW("off.15", "TPR threshold 15 without TPR shadow",
              "ENTC_TPR_THRESHOLD_IGNORED_NO_SHADOW"),
          .given = EDITS(SET(TPR_THRESHOLD, 15)),
          .reject = EDITS(WITH_TPR_SHADOW), .outcome = BAD_CONTROLS },
        { ROW("inactive.apic-accesses",
              "virtualized APIC accesses that are not active hide nothing",
              "ENTC_TPR_THRESHOLD_VTPR_WITH_SECONDARY_OFF "
              "APIC_ENTRY_TPR_THRESHOLD_GT_VTPR_SECONDARY_OFF",
              "virtualize-apic-accesses"),
          .given = EDITS(WITH_TPR_SHADOW, INACTIVE,
                         SET(SECONDARY_CONTROLS,
                             SECONDARY(VIRTUALIZE_APIC_ACCESSES))),
          .accept = EDITS(SET(TPR_THRESHOLD, 0)),
          .reject = EDITS(SET(TPR_THRESHOLD, 1)), .outcome = BAD_CONTROLS },
        { ROW("inactive.virtual-interrupts",
              "virtual-interrupt delivery that is not active hides nothing",
              "ENTC_TPR_THRESHOLD_VTPR_WITH_SECONDARY_OFF "
              "APIC_ENTRY_TPR_THRESHOLD_GT_VTPR_SECONDARY_OFF",
              "virtual-interrupt-delivery"),
          .given = EDITS(WITH_TPR_SHADOW, INACTIVE,
                         SET(SECONDARY_CONTROLS,
                             SECONDARY(VIRTUAL_INTERRUPT_DELIVERY))),
          .accept = EDITS(SET(TPR_THRESHOLD, 0)),
          .reject = EDITS(SET(TPR_THRESHOLD, 1)), .outcome = BAD_CONTROLS },
        { ROW("apic-accesses",
              "virtualized APIC accesses: TPR below threshold is a VM exit",
              "ENTC_TPR_THRESHOLD_VTPR_SKIPPED_WITH_APIC_ACCESSES",
              "virtualize-apic-accesses"),
          .given = EDITS(WITH_TPR_SHADOW, SET(TPR_THRESHOLD, 15)),
          .accept = EDITS(WITH_SECONDARY(SECONDARY(VIRTUALIZE_APIC_ACCESSES)),
                          CALC(APIC_ACCESS_ADDRESS, new_page)),
          .accepted = EXITS_WITH(EXIT_TPR_BELOW_THRESHOLD, 0),
          .outcome = BAD_CONTROLS },
        { ROW("apic-accesses.1",
              "virtualized APIC accesses: TPR one below threshold",
              "ENTC_TPR_THRESHOLD_VTPR_SKIPPED_WITH_APIC_ACCESSES",
              "virtualize-apic-accesses"),
          .given = EDITS(WITH_TPR_SHADOW, SET(TPR_THRESHOLD, 1)),
          .accept = EDITS(WITH_SECONDARY(SECONDARY(VIRTUALIZE_APIC_ACCESSES)),
                          CALC(APIC_ACCESS_ADDRESS, new_page)),
          .accepted = EXITS_WITH(EXIT_TPR_BELOW_THRESHOLD, 0),
          .outcome = BAD_CONTROLS },
};

PROBES(thresholds, threshold_probes, .id = "entry.controls.tpr-threshold",
       .title = "checks on the TPR threshold", .sdm = SDM,
       .needs = "use-tpr-shadow")

/* What needs the TPR shadow: bits of a case's number. */
static const u64 needing[] = {
        SECONDARY(VIRTUALIZE_X2APIC_MODE),
        SECONDARY(APIC_REGISTER_VIRTUALIZATION),
        SECONDARY(VIRTUAL_INTERRUPT_DELIVERY),
};

FAMILY(shadow_matrix, 8, .id = "entry.controls.tpr-shadow.subset",
       .title = "x2APIC mode (1), APIC registers (2), virtual interrupts (4): "
                "any needs the TPR shadow",
       .sdm = SDM, .rules = "ENTC_TPR_SHADOW_NEEDED_MATRIX",
       .needs = "use-tpr-shadow virtualize-x2apic-mode "
                "apic-register-virtualization virtual-interrupt-delivery "
                "external-interrupt-exiting")
{
        for (unsigned shadow = 0; shadow < 2; shadow++) {
                struct vm *vm = vm_begin(GUEST_NATIVE);
                u64 controls = 0;

                for (unsigned i = 0; i < ARRAY_LEN(needing); i++)
                        controls |= row >> i & 1 ? needing[i] : 0;
                vmcs_edit(EDITS(OR(PIN_CONTROLS,
                                   CTL_PIN_EXTERNAL_INTERRUPT_EXITING),
                                WITH_SECONDARY(controls)));
                if (shadow)
                        vmcs_edit(EDITS(WITH_TPR_SHADOW));
                vm_poison(VMERR_ENTRY_CONTROLS);
                if (shadow || !row)
                        CHECK_RESULT("VM entry with all that it needs",
                                     vm_enter(vm), EXITS(EXIT_VMCALL));
                else
                        CHECK_RESULT("VM entry without TPR shadow",
                                     vm_enter(vm), BAD_CONTROLS);
        }
}

#define EXTERNAL OR(PIN_CONTROLS, CTL_PIN_EXTERNAL_INTERRUPT_EXITING)
#define NO_SHADOW CLEAR(PRIMARY_CONTROLS, CTL_PRIMARY_USE_TPR_SHADOW)
#define NEEDS_SHADOW(id_, NAME, rules_, needs_)                               \
        { ROW("tpr-shadow." id_, "the control needs the TPR shadow", rules_,  \
              id_ needs_),                                                    \
          .given = EDITS(EXTERNAL, WITH_TPR_SHADOW,                           \
                         WITH_SECONDARY(SECONDARY(NAME))),                    \
          .reject = EDITS(NO_SHADOW), .outcome = BAD_CONTROLS }

static const struct probe apic_probes[] = {
        NEEDS_SHADOW("virtualize-x2apic-mode", VIRTUALIZE_X2APIC_MODE,
                     "ENTC_TPR_SHADOW_NEEDED_BY_X2APIC "
                     "APIC_ENTRY_X2V_NEEDS_TPRSHADOW",
                     " external-interrupt-exiting"),
        NEEDS_SHADOW("apic-register-virtualization",
                     APIC_REGISTER_VIRTUALIZATION,
                     "ENTC_TPR_SHADOW_NEEDED_BY_APIC_REGISTER "
                     "APIC_ENTRY_ARV_NEEDS_TPRSHADOW",
                     " external-interrupt-exiting"),
        NEEDS_SHADOW("virtual-interrupt-delivery", VIRTUAL_INTERRUPT_DELIVERY,
                     "ENTC_TPR_SHADOW_NEEDED_BY_VID "
                     "APIC_ENTRY_VID_NEEDS_TPRSHADOW",
                     " external-interrupt-exiting"),
        { ROW("apic-accesses-without-tpr-shadow",
              "\"virtualize APIC accesses\" does not need the TPR shadow",
              "ENTC_APIC_ACCESSES_WITHOUT_TPR_SHADOW_OK",
              "virtualize-apic-accesses"),
          .accept = EDITS(WITH_SECONDARY(SECONDARY(VIRTUALIZE_APIC_ACCESSES)),
                          CALC(APIC_ACCESS_ADDRESS, new_page)) },
        { ROW("registers-alone",
              "\"APIC-register virtualization\" needs only the TPR shadow",
              "ENTC_APIC_REGISTER_INDEPENDENT_OF_VID",
              "apic-register-virtualization"),
          .accept = EDITS(WITH_TPR_SHADOW,
                          WITH_SECONDARY(
                                  SECONDARY(APIC_REGISTER_VIRTUALIZATION))) },
        { ROW("virtual-interrupts-alone",
              "\"virtual-interrupt delivery\" without the other controls",
              "ENTC_APIC_REGISTER_INDEPENDENT_OF_VID "
              "ENTC_VID_WITHOUT_ACK_ON_EXIT_OK",
              "virtual-interrupt-delivery external-interrupt-exiting"),
          .accept = EDITS(WITH_VIRTUAL_INTERRUPTS,
                          CLEAR(EXIT_CONTROLS,
                                CTL_EXIT_ACKNOWLEDGE_INTERRUPT)) },
        { ROW("virtual-interrupts-external",
              "\"virtual-interrupt delivery\" needs external-interrupt exiting",
              "ENTC_VID_NEEDS_EXTINT_EXITING "
              "APIC_ENTRY_VID_NEEDS_EXTINT_EXITING",
              "virtual-interrupt-delivery external-interrupt-exiting"),
          .given = EDITS(WITH_VIRTUAL_INTERRUPTS),
          .reject = EDITS(CLEAR(PIN_CONTROLS,
                                CTL_PIN_EXTERNAL_INTERRUPT_EXITING)),
          .outcome = BAD_CONTROLS },
        { ROW("x2apic-and-apic-accesses.first",
              "x2APIC mode excludes virtualized APIC accesses",
              "ENTC_X2APIC_EXCLUDES_APIC_ACCESSES APIC_ENTRY_X2V_VAA_EXCLUSIVE",
              "virtualize-x2apic-mode virtualize-apic-accesses"),
          .given = EDITS(WITH_TPR_SHADOW, CALC(APIC_ACCESS_ADDRESS, new_page),
                         WITH_SECONDARY(SECONDARY(VIRTUALIZE_X2APIC_MODE))),
          .reject = EDITS(WITH_SECONDARY(SECONDARY(VIRTUALIZE_APIC_ACCESSES))),
          .outcome = BAD_CONTROLS },
        { ROW("x2apic-and-apic-accesses.second",
              "virtualized APIC accesses exclude x2APIC mode",
              "ENTC_X2APIC_EXCLUDES_APIC_ACCESSES APIC_ENTRY_X2V_VAA_EXCLUSIVE",
              "virtualize-x2apic-mode virtualize-apic-accesses"),
          .given = EDITS(WITH_TPR_SHADOW, CALC(APIC_ACCESS_ADDRESS, new_page),
                         WITH_SECONDARY(SECONDARY(VIRTUALIZE_APIC_ACCESSES))),
          .reject = EDITS(WITH_SECONDARY(SECONDARY(VIRTUALIZE_X2APIC_MODE))),
          .outcome = BAD_CONTROLS },
        { ROW("x2apic-and-apic-accesses.registers",
              "the same with APIC-register virtualization",
              "APIC_ENTRY_X2V_VAA_EXCLUSIVE",
              "virtualize-x2apic-mode virtualize-apic-accesses "
              "apic-register-virtualization"),
          .given = EDITS(WITH_TPR_SHADOW, CALC(APIC_ACCESS_ADDRESS, new_page),
                         WITH_SECONDARY(SECONDARY(VIRTUALIZE_X2APIC_MODE) |
                                        SECONDARY(APIC_REGISTER_VIRTUALIZATION))),
          .reject = EDITS(WITH_SECONDARY(SECONDARY(VIRTUALIZE_APIC_ACCESSES))),
          .outcome = BAD_CONTROLS },
        { ROW("apic-access-inactive",
              "a misaligned APIC-access address, secondary controls not active",
              "APIC_ENTRY_ACCESS_ADDR_IGNORED_WHEN_OFF ENTC_APIC_ACCESS_IGNORED",
              "virtualize-apic-accesses"),
          .given = EDITS(SET(APIC_ACCESS_ADDRESS, ~0ull),
                         WITH_SECONDARY(SECONDARY(VIRTUALIZE_APIC_ACCESSES))),
          .accept = EDITS(INACTIVE), .outcome = BAD_CONTROLS },
};

PROBES(apic_checks, apic_probes, .id = "entry.controls",
       .title = "checks on APIC virtualization", .sdm = SDM,
       .needs = "use-tpr-shadow")
