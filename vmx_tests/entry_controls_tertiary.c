/*
 * SDM Vol. 3, VM Entries > Checks on VMX Controls > VM-Execution Control Fields:
 * the tertiary processor-based controls.
 */
#include "x86/vmx/control_check.h"

#define SDM SDM_EXECUTION_CONTROLS
#define TERTIARY(NAME) CTL_TERTIARY_##NAME

FAMILY(tertiary_bits, 64, .id = "entry.controls.tertiary.bit",
       .title = "a tertiary processor-based control has a value that its "
                "capability MSR allows",
       .sdm = SDM,
       .rules = "ENTC_TERTIARY_MUST_BE_0_SET ENTC_CAP_ALLOWED1_HONOURED",
       .needs = "activate-tertiary-controls")
{
        control_bit_check(WORD_TERTIARY, row);
}

#define ALONE(NAME, token)                                                    \
        { ROW("alone." token, "the control alone",                            \
              "ENTC_TERTIARY_NO_DEPENDENCY_BITS", token),                     \
          .accept = EDITS(WITH_TERTIARY(TERTIARY(NAME))) }

static const struct probe tertiary_probes[] = {
        { ROW("none", "no tertiary control is required to be 1",
              "ENTC_TERTIARY_ALL_ZERO_OK"),
          .accept = EDITS(OR(PRIMARY_CONTROLS, CTL_PRIMARY_ACTIVATE_TERTIARY),
                          SET(TERTIARY_CONTROLS, 0)) },
        { ROW("inactive", "tertiary controls that are not active do not count",
              "ENTC_TERTIARY_IGNORED_IF_NOT_ACTIVATED"),
          .given = EDITS(SET(TERTIARY_CONTROLS, ~0ull)),
          .accept = EDITS(CLEAR(PRIMARY_CONTROLS,
                                CTL_PRIMARY_ACTIVATE_TERTIARY)),
          .reject = EDITS(OR(PRIMARY_CONTROLS, CTL_PRIMARY_ACTIVATE_TERTIARY)),
          .outcome = BAD_CONTROLS },
        ALONE(LOADIWKEY_EXITING, "loadiwkey-exiting"),
        ALONE(ENABLE_MSR_LIST, "enable-msr-list-instructions"),
        ALONE(VIRTUALIZE_SPEC_CTRL, "virtualize-ia32-spec-ctrl"),
        ALONE(ENABLE_PBNDKB, "enable-pbndkb"),
        { ROW("alone.seam-guest-physical-address-width", "the control alone",
              "ENTC_TERTIARY_NO_DEPENDENCY_BITS",
              "seam-guest-physical-address-width"),
          .given = EDITS(GUEST_DEFECT), .accepted = BAD_GUEST,
          .accept = EDITS(WITH_TERTIARY(TERTIARY(SEAM_GUEST_PHYSICAL_WIDTH))) },
        { ROW("seam.off", "the SEAM fields are not checked outside SEAM",
              "ENTC_SEAM_FIELDS_IGNORED_OUTSIDE_SEAM",
              "seam-guest-physical-address-width"),
          .given = EDITS(GUEST_DEFECT, SET(SEAM_GUEST_KEYID, ~0u),
                         SET(SEAM_SHARED_EPTP, ~0ull)),
          .accepted = BAD_GUEST,
          .accept = EDITS(SET(TERTIARY_CONTROLS, 0)) },
        { ROW("seam.on", "the SEAM fields are not checked outside SEAM",
              "ENTC_SEAM_FIELDS_IGNORED_OUTSIDE_SEAM",
              "seam-guest-physical-address-width"),
          .given = EDITS(GUEST_DEFECT, SET(SEAM_GUEST_KEYID, ~0u),
                         SET(SEAM_SHARED_EPTP, ~0ull)),
          .accepted = BAD_GUEST,
          .accept = EDITS(WITH_TERTIARY(TERTIARY(SEAM_GUEST_PHYSICAL_WIDTH))) },
        { ROW("spec-ctrl-fields", "IA32_SPEC_CTRL mask and shadow: any value",
              "ENTC_SPEC_CTRL_VIRT_FIELDS_ANY", "virtualize-ia32-spec-ctrl"),
          .accept = EDITS(WITH_TERTIARY(TERTIARY(VIRTUALIZE_SPEC_CTRL)),
                          SET(SPEC_CTRL_MASK, ~0ull),
                          SET(SPEC_CTRL_SHADOW, ~0ull)),
          .given = EDITS(GUEST_DEFECT), .accepted = BAD_GUEST },
};

PROBES(tertiary_checks, tertiary_probes, .id = "entry.controls.tertiary",
       .title = "checks on tertiary controls", .sdm = SDM,
       .needs = "activate-tertiary-controls")

/* Where the processor has none, bit 17 is like any other reserved bit. */
static const struct probe absent_probes[] = {
        { ROW("activate", "tertiary controls can not be activated"),
          .reject = EDITS(OR(PRIMARY_CONTROLS, CTL_PRIMARY_ACTIVATE_TERTIARY)),
          .outcome = BAD_CONTROLS },
};

PROBES(absent, absent_probes, .id = "entry.controls.tertiary.absent",
       .title = "a processor without tertiary controls", .sdm = SDM,
       .rules = "ENTC_TERTIARY_UNSUPPORTED_BIT17",
       .needs = "!activate-tertiary-controls")

CASE(absent_field, .id = "entry.controls.tertiary.absent.field",
     .title = "without tertiary controls there is no field for them",
     .sdm = SDM, .rules = "ENTC_TERTIARY_UNSUPPORTED_BIT17",
     .needs = "!activate-tertiary-controls")
{
        absent_field_check(VMCS_TERTIARY_CONTROLS);
}
