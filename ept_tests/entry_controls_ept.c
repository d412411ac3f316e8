/*
 * SDM Vol. 3, VM Entries > Checks on VMX Controls > VM-Execution Control Fields:
 * controls that need EPT, and the addresses of page-modification log, sub-page
 * permissions, virtualization exceptions and VM functions. EPTP:
 * entry_controls_eptp.c.
 */
#include "x86/vmx/caps.h"
#include "x86/vmx/control_check.h"

#define SDM SDM_EXECUTION_CONTROLS
#define SECONDARY(NAME) CTL_SECONDARY_##NAME
#define NO_EPT CLEAR(SECONDARY_CONTROLS, SECONDARY(ENABLE_EPT))

#define PAGE_CHECK(name, id_, needs_, thing, rule, ...)                 \
        ADDRESS_CHECK(name, "entry.controls." id_, needs_, thing,       \
                      rule "_ALIGN " rule "_WIDTH", rule "_IGNORED",    \
                      .low = 12, __VA_ARGS__)

PAGE_CHECK(pml, "pml-address", "enable-ept enable-pml", "the PML address",
           "ENTC_PML_ADDRESS", .field = VMCS_PML_ADDRESS,
           .active = EDITS(WITH_EPT, WITH_SECONDARY(SECONDARY(ENABLE_PML))),
           .inactive = EDITS(WITH_EPT))
PAGE_CHECK(spptp, "spptp", "enable-ept sub-page-write-permissions",
           "the sub-page-permission-table pointer", "ENTC_SPPTP",
           .field = VMCS_SPPTP,
           .active = EDITS(WITH_EPT, WITH_SECONDARY(
                   SECONDARY(SUB_PAGE_WRITE_PERMISSIONS))),
           .inactive = EDITS(WITH_EPT))
PAGE_CHECK(ve_information, "ve-information", "ept-violation-ve",
           "the virtualization-exception information address", "ENTC_VE_INFO",
           .field = VMCS_VE_INFORMATION_ADDRESS,
           .active = EDITS(WITH_SECONDARY(SECONDARY(EPT_VIOLATION_VE))))

#define EPTP_SWITCHING CAP_EPTP_SWITCHING
#define WITH_SWITCHING                                                  \
        WITH_SECONDARY(SECONDARY(ENABLE_VM_FUNCTIONS)),                 \
        SET(VM_FUNCTION_CONTROLS, EPTP_SWITCHING)
#define SWITCHING_NEEDS "enable-ept enable-vm-functions eptp-switching"

PAGE_CHECK(eptp_list, "eptp-list", SWITCHING_NEEDS, "the EPTP-list address",
           "ENTC_EPTP_LIST", .field = VMCS_EPTP_LIST_ADDRESS,
           .active = EDITS(WITH_EPT, WITH_SWITCHING),
           .inactive = EDITS(WITH_EPT,
                             WITH_SECONDARY(SECONDARY(ENABLE_VM_FUNCTIONS))))

/* The fields of all these controls are valid; the guest state is not. */
static void prepare(__attribute__((unused)) struct vm *vm)
{
        vm_valid_fields();
}

/* With EPT alone and together, and without both; the fourth is refused. */
#define NEEDS_EPT(id_, rules_, needs_, controls)                              \
        { ROW(id_, "the control needs EPT", rules_, "enable-ept " needs_),    \
          .prepare = prepare, .given = EDITS(GUEST_DEFECT),                   \
          .accepted = BAD_GUEST, .outcome = BAD_CONTROLS,                     \
          .accept = EDITS(WITH_EPT, controls),                                \
          .reject = EDITS(WITH_EPT, controls, NO_EPT) },                      \
        { ROW(id_ ".neither", "neither the control nor EPT", rules_,          \
              "enable-ept " needs_),                                          \
          .prepare = prepare, .given = EDITS(GUEST_DEFECT),                   \
          .accepted = BAD_GUEST, .outcome = BAD_CONTROLS,                     \
          .accept = EDITS(OR(PRIMARY_CONTROLS,                                \
                             CTL_PRIMARY_ACTIVATE_SECONDARY)),                \
          .reject = EDITS(controls) },                                        \
        { ROW(id_ ".ept-alone", "EPT without the control", rules_,            \
              "enable-ept " needs_),                                          \
          .prepare = prepare, .given = EDITS(GUEST_DEFECT),                   \
          .accepted = BAD_GUEST, .accept = EDITS(WITH_EPT) }

#define TERTIARY(NAME) WITH_TERTIARY(CTL_TERTIARY_##NAME)

static const struct probe needs_ept_probes[] = {
        NEEDS_EPT("pml", "ENTC_PML_NEEDS_EPT", "enable-pml",
                  WITH_SECONDARY(SECONDARY(ENABLE_PML))),
        NEEDS_EPT("unrestricted-guest", "ENTC_UNRESTRICTED_NEEDS_EPT",
                  "unrestricted-guest",
                  WITH_SECONDARY(SECONDARY(UNRESTRICTED_GUEST))),
        NEEDS_EPT("mode-based-execute", "ENTC_MBEC_NEEDS_EPT",
                  "mode-based-execute-control",
                  WITH_SECONDARY(SECONDARY(MODE_BASED_EXECUTE_CONTROL))),
        NEEDS_EPT("spp", "ENTC_SPP_NEEDS_EPT", "sub-page-write-permissions",
                  WITH_SECONDARY(SECONDARY(SUB_PAGE_WRITE_PERMISSIONS))),
        NEEDS_EPT("eptp-switching", "ENTC_EPTP_SWITCHING_NEEDS_EPT",
                  "enable-vm-functions eptp-switching", WITH_SWITCHING),
        NEEDS_EPT("hlat", "ENTC_HLAT_NEEDS_EPT",
                  "activate-tertiary-controls enable-hlat",
                  TERTIARY(ENABLE_HLAT)),
        NEEDS_EPT("paging-write", "ENTC_PAGING_WRITE_NEEDS_EPT",
                  "activate-tertiary-controls ept-paging-write-control",
                  TERTIARY(EPT_PAGING_WRITE_CONTROL)),
        NEEDS_EPT("guest-paging-verification", "ENTC_GPV_NEEDS_EPT",
                  "activate-tertiary-controls guest-paging-verification",
                  TERTIARY(GUEST_PAGING_VERIFICATION)),
        NEEDS_EPT("pebs", "ENTC_PEBS_GPA_NEEDS_EPT",
                  "activate-tertiary-controls pebs-uses-guest-physical-addresses",
                  TERTIARY(PEBS_USES_GUEST_PHYSICAL)),
};

PROBES(needs_ept, needs_ept_probes, .id = "entry.controls.needs-ept",
       .title = "controls that need EPT", .sdm = SDM)

/* Guest CR0.PE and CR0.PG are 1: not even then. */
static const struct probe ept_probes[] = {
        { ROW("needs-ept.unrestricted-guest.run", "a guest that could run without",
              "ENTC_UNRESTRICTED_NEEDS_EPT", "enable-ept unrestricted-guest"),
          .given = EDITS(WITH_EPT, WITH_SECONDARY(SECONDARY(UNRESTRICTED_GUEST))),
          .reject = EDITS(NO_EPT), .outcome = BAD_CONTROLS },
#define PML_INDEX_ROW(id_, index)                                             \
        { ROW("pml.index." id_, "PML without accessed and dirty flags, any index", \
              "ENTC_PML_WITHOUT_AD_OK", "enable-ept enable-pml"),             \
          .accept = EDITS(WITH_EPT, WITH_SECONDARY(SECONDARY(ENABLE_PML)),    \
                          CALC(PML_ADDRESS, new_page),                        \
                          SET(PML_INDEX, index)) }
        PML_INDEX_ROW("0", 0), PML_INDEX_ROW("511", 511),
        PML_INDEX_ROW("512", 512), PML_INDEX_ROW("ffff", 0xffff),
        { ROW("ve-without-ept", "\"EPT-violation #VE\" does not need EPT",
              "ENTC_VE_WITHOUT_EPT_OK", "ept-violation-ve"),
          .accept = EDITS(WITH_SECONDARY(SECONDARY(EPT_VIOLATION_VE)),
                          CALC(VE_INFORMATION_ADDRESS, new_page)) },
#define EPTP_INDEX_ROW(id_, index)                                            \
        { ROW("eptp-index." id_, "EPTP index: any value",                     \
              "ENTC_EPTP_INDEX_ANY", "ept-violation-ve"),                     \
          .accept = EDITS(WITH_SECONDARY(SECONDARY(EPT_VIOLATION_VE)),        \
                          CALC(VE_INFORMATION_ADDRESS, new_page),             \
                          SET(EPTP_INDEX, index)) }
        EPTP_INDEX_ROW("0", 0), EPTP_INDEX_ROW("511", 511),
        EPTP_INDEX_ROW("512", 512), EPTP_INDEX_ROW("ffff", 0xffff),
        { ROW("vm-functions.none", "no VM function, and no EPT",
              "ENTC_VMFUNC_ZERO_WITHOUT_EPT_OK", "enable-vm-functions"),
          .accept = EDITS(WITH_SECONDARY(SECONDARY(ENABLE_VM_FUNCTIONS)),
                          SET(VM_FUNCTION_CONTROLS, 0)) },
        { ROW("vm-functions.off", "VM-function controls without VM functions",
              "ENTC_VMFUNC_IGNORED", "enable-vm-functions"),
          .given = EDITS(SET(VM_FUNCTION_CONTROLS, ~0ull)),
          .reject = EDITS(WITH_SECONDARY(SECONDARY(ENABLE_VM_FUNCTIONS))),
          .outcome = BAD_CONTROLS },
        { ROW("vm-functions.off.list",
              "the EPTP-list address without VM functions",
              "ENTC_VMFUNC_IGNORED ENTC_EPTP_LIST_IGNORED", SWITCHING_NEEDS),
          .given = EDITS(WITH_EPT, SET(VM_FUNCTION_CONTROLS, EPTP_SWITCHING),
                         SET(EPTP_LIST_ADDRESS, 1)),
          .reject = EDITS(WITH_SECONDARY(SECONDARY(ENABLE_VM_FUNCTIONS))),
          .outcome = BAD_CONTROLS },
};

PROBES(ept, ept_probes, .id = "entry.controls",
       .title = "what is used with EPT", .sdm = SDM)

FAMILY(function_bits, 64, .id = "entry.controls.vm-functions.bit",
       .title = "a VM-function control that is not supported must be 0",
       .sdm = SDM, .rules = "ENTC_VMFUNC_RESERVED",
       .needs = "enable-vm-functions")
{
        bool legal = vmx_caps()->vmfunc & BIT(row);
        bool switching = legal && BIT(row) == EPTP_SWITCHING;
        const struct edit *none = EDITS(SET(VM_FUNCTION_CONTROLS, 0));
        const struct edit *ept = EDITS(WITH_EPT,
                                       SET(VM_FUNCTION_CONTROLS, BIT(row)));
        struct probe p = {
                .prepare = prepare,
                .given = EDITS(WITH_SECONDARY(SECONDARY(ENABLE_VM_FUNCTIONS)),
                               GUEST_DEFECT),
                .accepted = BAD_GUEST, .accept = switching ? ept : none,
                .reject = EDITS(SET(VM_FUNCTION_CONTROLS, BIT(row))),
        };

        /* What another function requires, this SDM does not say. */
        if (!legal)
                p.outcome = RESULT(BAD_CONTROLS);
        probe_check(self, &p);
}
