/*
 * SDM Vol. 3, VM Entries > Checks on VMX Controls > VM-Execution Control Fields:
 * the secondary processor-based controls. Those of the APIC, and of EPT: the
 * files of the same name in apic_tests and ept_tests.
 */
#include "x86/vmx/caps.h"
#include "x86/vmx/control_check.h"

#define SDM SDM_EXECUTION_CONTROLS
#define SECONDARY(NAME) CTL_SECONDARY_##NAME

FAMILY(secondary_bits, 32, .id = "entry.controls.secondary.bit",
       .title = "a secondary processor-based control has a value that its "
                "capability MSR allows",
       .sdm = SDM,
       .rules = "ENTC_SECONDARY_MUST_BE_0_SET ENTC_CAP_ALLOWED1_HONOURED",
       .needs = "activate-secondary-controls")
{
        control_bit_check(WORD_SECONDARY, row);
}

#define INACTIVE CLEAR(PRIMARY_CONTROLS, CTL_PRIMARY_ACTIVATE_SECONDARY)

static struct vmx_result enter_inactive(u64 secondary)
{
        struct vm *vm = vm_begin(GUEST_NATIVE);

        vmwrite(VMCS_SECONDARY_CONTROLS, secondary);
        vmcs_edit(EDITS(INACTIVE));
        vm_poison(VMERR_ENTRY_CONTROLS);
        return vm_enter(vm);
}

/* Controls with others than what they require: the reject side needs no MSR. */
FAMILY(secondary_inactive_bits, 32, .id = "entry.controls.secondary.inactive.bit",
       .title = "a secondary control does not count while they are not active",
       .sdm = SDM, .rules = "ENTC_SECONDARY_IGNORED_IF_NOT_ACTIVATED",
       .needs = "activate-secondary-controls")
{
        u64 mask = BIT(row);

        CHECK_RESULT("VM entry with the bit 1, secondary controls not active",
                     enter_inactive(mask), EXITS(EXIT_VMCALL));
        if (!control_can_be_1(WORD_SECONDARY, mask)) {
                struct vm *vm = vm_begin(GUEST_NATIVE);

                vm_control(VMCS_PRIMARY_CONTROLS,
                           CTL_PRIMARY_ACTIVATE_SECONDARY, 0);
                vmwrite(VMCS_SECONDARY_CONTROLS, mask);
                vm_poison(VMERR_ENTRY_CONTROLS);
                CHECK_RESULT("VM entry with a reserved bit 1, secondary controls active",
                             vm_enter(vm), BAD_CONTROLS);
        }
}

/* All at once: no processor supports all 32, and two exclude each other. */
static const struct probe inactive_probes[] = {
        { ROW("all", "all secondary controls 1, and not active",
              "ENTC_SECONDARY_IGNORED_IF_NOT_ACTIVATED"),
          .given = EDITS(SET(SECONDARY_CONTROLS, 0xffffffff)),
          .accept = EDITS(INACTIVE),
          .reject = EDITS(OR(PRIMARY_CONTROLS, CTL_PRIMARY_ACTIVATE_SECONDARY)),
          .outcome = BAD_CONTROLS },
        { ROW("none", "no secondary control is required to be 1",
              "ENTC_SECONDARY_ALL_ZERO_OK"),
          .accept = EDITS(OR(PRIMARY_CONTROLS, CTL_PRIMARY_ACTIVATE_SECONDARY),
                          SET(SECONDARY_CONTROLS, 0)) },
};

PROBES(secondary_all, inactive_probes, .id = "entry.controls.secondary",
       .title = "checks on secondary controls as a whole", .sdm = SDM,
       .needs = "activate-secondary-controls")

CASE(capability, .id = "entry.controls.secondary.capability",
     .title = "IA32_VMX_PROCBASED_CTLS2[31:0] is 0",
     .sdm = "VMX Capability Reporting Facility > Secondary Processor-Based "
            "VM-Execution Controls",
     .rules = "ENTC_SECONDARY_ALL_ZERO_OK",
     .needs = "activate-secondary-controls")
{
        CHECK_EQ("bits 31:0", (u32)vmx_caps()->procbased2, 0);
}

/*
 * What a secondary control makes VM entry check is not checked while secondary
 * controls are not active: the fields are invalid on both sides.
 */
#define AS_ZERO(id_, what, needs_, control, ...)                              \
        { ROW(id_, what, "ENTC_SECONDARY_ACT_AS_ZERO_FOR_DEPENDENCIES",       \
              needs_),                                                        \
          .given = EDITS(WITH_SECONDARY(control) __VA_OPT__(,) __VA_ARGS__), \
          .accept = EDITS(INACTIVE), .outcome = BAD_CONTROLS }

static const struct probe as_zero_probes[] = {
        AS_ZERO("eptp", "an invalid EPTP", "enable-ept", SECONDARY(ENABLE_EPT),
                SET(EPTP, ~0ull)),
        AS_ZERO("vpid", "VPID 0", "enable-vpid", SECONDARY(ENABLE_VPID),
                SET(VPID, 0)),
        AS_ZERO("pml", "PML without EPT", "enable-pml", SECONDARY(ENABLE_PML),
                SET(PML_ADDRESS, 1)),
        AS_ZERO("unrestricted-guest", "unrestricted guest without EPT",
                "unrestricted-guest", SECONDARY(UNRESTRICTED_GUEST)),
        AS_ZERO("vm-functions", "reserved VM-function controls",
                "enable-vm-functions", SECONDARY(ENABLE_VM_FUNCTIONS),
                SET(VM_FUNCTION_CONTROLS, ~0ull)),
        AS_ZERO("vmcs-shadowing", "misaligned VMREAD and VMWRITE bitmaps",
                "vmcs-shadowing", SECONDARY(VMCS_SHADOWING),
                SET(VMREAD_BITMAP, 1), SET(VMWRITE_BITMAP, 1)),
        AS_ZERO("ve", "a misaligned virtualization-exception information address",
                "ept-violation-ve", SECONDARY(EPT_VIOLATION_VE),
                SET(VE_INFORMATION_ADDRESS, 1)),
        AS_ZERO("apic-access", "a misaligned APIC-access address",
                "virtualize-apic-accesses", SECONDARY(VIRTUALIZE_APIC_ACCESSES),
                SET(APIC_ACCESS_ADDRESS, 1)),
        AS_ZERO("x2apic", "virtualized x2APIC mode without TPR shadow",
                "virtualize-x2apic-mode", SECONDARY(VIRTUALIZE_X2APIC_MODE)),
        AS_ZERO("apic-registers", "virtualized APIC registers without TPR shadow",
                "apic-register-virtualization",
                SECONDARY(APIC_REGISTER_VIRTUALIZATION)),
        AS_ZERO("virtual-interrupts",
                "virtual interrupts without TPR shadow and external-interrupt "
                "exiting", "virtual-interrupt-delivery",
                SECONDARY(VIRTUAL_INTERRUPT_DELIVERY)),
        AS_ZERO("pt", "Intel PT by guest-physical addresses without EPT",
                "pt-uses-guest-physical-addresses",
                SECONDARY(PT_USES_GUEST_PHYSICAL)),
        AS_ZERO("spp", "sub-page permissions without EPT",
                "sub-page-write-permissions",
                SECONDARY(SUB_PAGE_WRITE_PERMISSIONS)),
        AS_ZERO("tsc-scaling", "TSC multiplier 0", "use-tsc-scaling",
                SECONDARY(USE_TSC_SCALING), SET(TSC_MULTIPLIER, 0)),
        AS_ZERO("pasid", "a misaligned PASID directory", "pasid-translation",
                SECONDARY(PASID_TRANSLATION), SET(LOW_PASID_DIRECTORY, 1)),
        AS_ZERO("mode-based-execute", "mode-based execute control without EPT",
                "mode-based-execute-control",
                SECONDARY(MODE_BASED_EXECUTE_CONTROL)),
};

PROBES(as_zero, as_zero_probes, .id = "entry.controls.secondary.as-zero",
       .title = "while not active, secondary controls require nothing",
       .sdm = SDM)

static const struct probe unrestricted_probes[] = {
        { ROW("guest-cr0", "unrestricted guest that is not active does not "
              "allow guest CR0.PE = 0",
              "ENTC_SECONDARY_ACT_AS_ZERO_FOR_GUEST_CR0", "unrestricted-guest"),
          .mode = GUEST_REAL,
          .reject = EDITS(INACTIVE), .outcome = BAD_GUEST },
};

PROBES(unrestricted, unrestricted_probes, .id = "entry.controls.secondary.as-zero",
       .title = "while not active, secondary controls permit nothing", .sdm = SDM)

/* Each alone, in a guest that runs. */
#define ALONE(NAME, token)                                                    \
        { ROW(token, "the control alone", "ENTC_SECONDARY_NO_DEPENDENCY_BITS", \
              token),                                                         \
          .accept = EDITS(WITH_SECONDARY(SECONDARY(NAME))) }

static const struct probe alone_probes[] = {
        ALONE(DESCRIPTOR_TABLE_EXITING, "descriptor-table-exiting"),
        ALONE(ENABLE_RDTSCP, "enable-rdtscp"),
        ALONE(WBINVD_EXITING, "wbinvd-exiting"),
        ALONE(PAUSE_LOOP_EXITING, "pause-loop-exiting"),
        ALONE(RDRAND_EXITING, "rdrand-exiting"),
        ALONE(ENABLE_INVPCID, "enable-invpcid"),
        ALONE(ENABLE_ENCLS_EXITING, "enable-encls-exiting"),
        ALONE(RDSEED_EXITING, "rdseed-exiting"),
        ALONE(CONCEAL_VMX_FROM_PT, "conceal-vmx-from-pt-secondary"),
        ALONE(ENABLE_XSAVES_XRSTORS, "enable-xsaves-xrstors"),
        ALONE(ENABLE_PCONFIG, "enable-pconfig"),
        ALONE(BUS_LOCK_DETECTION, "vmm-bus-lock-detection"),
        { ROW("instruction-timeout", "the control alone",
              "ENTC_SECONDARY_NO_DEPENDENCY_BITS", "instruction-timeout"),
          .accept = EDITS(WITH_SECONDARY(SECONDARY(INSTRUCTION_TIMEOUT)),
                          SET(INSTRUCTION_TIMEOUT_CONTROL, ~0u)) },
        { ROW("enable-user-wait-and-pause", "the control alone",
              "ENTC_USER_WAIT_PAUSE_NO_DEPENDENCY",
              "enable-user-wait-and-pause"),
          .accept = EDITS(WITH_SECONDARY(SECONDARY(ENABLE_USER_WAIT_AND_PAUSE))) },
};

PROBES(alone, alone_probes, .id = "entry.controls.secondary.alone",
       .title = "a control that requires nothing", .sdm = SDM)

FAMILY(vpid_bits, 16, .id = "entry.controls.vpid.bit",
       .title = "any VPID other than 0", .sdm = SDM, .rules = "ENTC_VPID_ZERO",
       .needs = "enable-vpid")
{
        struct probe p = {
                .given = EDITS(WITH_SECONDARY(SECONDARY(ENABLE_VPID))),
                .accept = EDITS(SET(VPID, BIT(row))),
                .reject = EDITS(SET(VPID, 0)), .outcome = BAD_CONTROLS,
        };

        probe_check(self, &p);
}

static const struct probe vpid_probes[] = {
        { ROW("ones", "VPID FFFFH", "ENTC_VPID_ZERO VPID_CURRENT_FIELD"),
          .given = EDITS(WITH_SECONDARY(SECONDARY(ENABLE_VPID))),
          .accept = EDITS(SET(VPID, 0xffff)),
          .reject = EDITS(SET(VPID, 0)), .outcome = BAD_CONTROLS },
        { ROW("off", "VPID 0 without \"enable VPID\"", "ENTC_VPID_ZERO_IGNORED"),
          .given = EDITS(SET(VPID, 0)),
          .reject = EDITS(WITH_SECONDARY(SECONDARY(ENABLE_VPID))),
          .outcome = BAD_CONTROLS },
        { ROW("inactive", "VPID 0, secondary controls not active",
              "ENTC_VPID_ZERO_IGNORED"),
          .given = EDITS(SET(VPID, 0),
                         WITH_SECONDARY(SECONDARY(ENABLE_VPID))),
          .accept = EDITS(INACTIVE), .outcome = BAD_CONTROLS },
};

PROBES(vpid, vpid_probes, .id = "entry.controls.vpid",
       .title = "checks on VPID", .sdm = SDM, .needs = "enable-vpid")

#define SCALING WITH_SECONDARY(SECONDARY(USE_TSC_SCALING))

/* The rule is newer in the SDM than in processors. */
static const struct probe tsc_probes[] = {
        { ROW("multiplier.0", "TSC multiplier 0", "ENTC_TSC_MULTIPLIER_ZERO"),
          .given = EDITS(SCALING, GUEST_DEFECT),
          .accept = EDITS(SET(TSC_MULTIPLIER, 1)), .accepted = BAD_GUEST,
          .reject = EDITS(SET(TSC_MULTIPLIER, 0)), .outcome = BAD_CONTROLS },
        { ROW("multiplier.ones", "TSC multiplier of all ones",
              "ENTC_TSC_MULTIPLIER_ZERO"),
          .accept = EDITS(SCALING, SET(TSC_MULTIPLIER, ~0ull)) },
        { ROW("multiplier.off", "TSC multiplier 0 without scaling",
              "ENTC_TSC_MULTIPLIER_IGNORED"),
          .given = EDITS(SET(TSC_MULTIPLIER, 0)),
          .reject = EDITS(SCALING), .outcome = BAD_CONTROLS },
        { ROW("without-offsetting", "TSC scaling without offsetting",
              "ENTC_TSC_MULTIPLIER_IGNORED"),
          .accept = EDITS(SCALING, SET(TSC_MULTIPLIER, BIT(48)),
                          CLEAR(PRIMARY_CONTROLS,
                                CTL_PRIMARY_USE_TSC_OFFSETTING)) },
        { ROW("rdtsc-exiting", "TSC scaling with RDTSC exiting",
              "ENTC_TSC_MULTIPLIER_IGNORED", "rdtsc-exiting"),
          .accept = EDITS(SCALING, SET(TSC_MULTIPLIER, BIT(48)),
                          OR(PRIMARY_CONTROLS, CTL_PRIMARY_RDTSC_EXITING)) },
};

PROBES(tsc, tsc_probes, .id = "entry.controls.tsc-scaling",
       .title = "checks on TSC scaling", .sdm = SDM, .needs = "use-tsc-scaling")
