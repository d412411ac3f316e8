/*
 * SDM Vol. 3, VM Entries > Checks on VMX Controls > VM-Entry Control Fields: the
 * VM-entry controls. Event injection: entry_controls_injection*.c; the MSR area:
 * entry_controls_msr_areas.c.
 */
#include "x86/msr.h"
#include "x86/vmx/control_check.h"

#define SDM SDM_ENTRY_CONTROLS
#define ENTRY(NAME) OR(ENTRY_CONTROLS, CTL_ENTRY_##NAME)

FAMILY(entry_bits, 32, .id = "entry.controls.entry.bit",
       .title = "a VM-entry control has a value that its capability MSR allows",
       .sdm = SDM,
       .rules = "ENTC_ENTRY_MUST_BE_1_CLEARED ENTC_ENTRY_MUST_BE_0_SET "
                "ENTC_ENTRY_TRUE_DEFAULT1_MAY_BE_0 ENTC_ENTRY_FLEXIBLE_BOTH "
                "ENTC_CAP_TRUE_MSR_SELECTS ENTC_CAP_ALLOWED1_HONOURED")
{
        control_bit_check(WORD_ENTRY, row);
}

CASE(load_debug_0, .id = "entry.controls.entry.load-debug-controls-0",
     .title = "\"load debug controls\" 0 where the TRUE MSR allows it",
     .sdm = SDM, .rules = "ENTC_ENTRY_LOAD_DEBUG_ZERO", .needs = "true-controls")
{
        default1_check(WORD_ENTRY, CTL_ENTRY_LOAD_DEBUG_CONTROLS);
}

static void prepare(__attribute__((unused)) struct vm *vm)
{
        vm_valid_fields();
}

#define ALONE(NAME, token)                                                    \
        { ROW("alone." token, "the control without one of VM exits",          \
              "ENTC_ENTRY_LATER_BITS_NO_DEPENDENCY", token),                  \
          .given = EDITS(GUEST_DEFECT), .accepted = BAD_GUEST,                \
          .prepare = prepare, .accept = EDITS(ENTRY(NAME)) }

static const struct probe entry_probes[] = {
        ALONE(LOAD_RTIT_CTL, "load-ia32-rtit-ctl"),
        ALONE(LOAD_UINV, "load-uinv"),
        ALONE(LOAD_CET_STATE, "load-cet-state-entry"),
        ALONE(LOAD_LBR_CTL, "load-guest-ia32-lbr-ctl"),
        ALONE(LOAD_PKRS, "load-pkrs-entry"),
        ALONE(LOAD_FRED, "load-fred-entry"),
        ALONE(LOAD_SPEC_CTRL, "load-ia32-spec-ctrl-entry"),
        ALONE(ALLOW_SEAM_TELEMETRY, "allow-seam-guest-telemetry"),
        { ROW("entry-to-smm", "\"entry to SMM\" must be 0 outside SMM",
              "ENTC_ENTRY_TO_SMM_OUTSIDE_SMM "
              "SMM_ENTRY_CTL_ENTRY_TO_SMM"),
          .reject = EDITS(ENTRY(ENTRY_TO_SMM)), .outcome = BAD_CONTROLS },
        { ROW("deactivate-dual-monitor",
              "\"deactivate dual-monitor treatment\" must be 0 outside SMM",
              "ENTC_ENTRY_DEACTIVATE_DUAL_OUTSIDE_SMM "
              "SMM_ENTRY_CTL_DEACTIVATE"),
          .reject = EDITS(ENTRY(DEACTIVATE_DUAL_MONITOR)),
          .outcome = BAD_CONTROLS },
        { ROW("both-smm", "the two controls for SMM must not both be 1",
              "ENTC_ENTRY_SMM_BITS_EXCLUSIVE SMM_ENTRY_CTL_BOTH"),
          .reject = EDITS(ENTRY(ENTRY_TO_SMM), ENTRY(DEACTIVATE_DUAL_MONITOR)),
          .outcome = BAD_CONTROLS },
};

PROBES(entry_checks, entry_probes, .id = "entry.controls.entry",
       .title = "checks on VM-entry controls", .sdm = SDM)

/* Intel PT; the rules are among those of VM-execution controls. */
#define PT_GPA WITH_SECONDARY(CTL_SECONDARY_PT_USES_GUEST_PHYSICAL)
#define PT_NEEDS                                                        \
        "pt-uses-guest-physical-addresses load-ia32-rtit-ctl "          \
        "clear-ia32-rtit-ctl enable-ept"

static const struct probe pt_probes[] = {
        { ROW("ept", "Intel PT by guest-physical addresses needs EPT",
              "ENTC_PT_GPA_NEEDS_EPT"),
          .reject = EDITS(CLEAR(SECONDARY_CONTROLS, CTL_SECONDARY_ENABLE_EPT)),
          .outcome = BAD_CONTROLS },
        { ROW("load-rtit-ctl",
              "Intel PT by guest-physical addresses needs \"load IA32_RTIT_CTL\"",
              "ENTC_PT_GPA_NEEDS_LOAD_RTIT"),
          .reject = EDITS(CLEAR(ENTRY_CONTROLS, CTL_ENTRY_LOAD_RTIT_CTL)),
          .outcome = BAD_CONTROLS },
        { ROW("clear-rtit-ctl",
              "Intel PT by guest-physical addresses needs \"clear IA32_RTIT_CTL\"",
              "ENTC_PT_GPA_NEEDS_CLEAR_RTIT"),
          .reject = EDITS(CLEAR(EXIT_CONTROLS, CTL_EXIT_CLEAR_RTIT_CTL)),
          .outcome = BAD_CONTROLS },
};

TABLE(pt_checks, pt_probes, .id = "entry.controls.pt-guest-physical",
      .title = "checks on Intel PT", .sdm = SDM_EXECUTION_CONTROLS,
      .needs = PT_NEEDS)
{
        struct probe p = *(const struct probe *)case_row(self, row);

        p.given = EDITS(WITH_EPT, PT_GPA, ENTRY(LOAD_RTIT_CTL),
                        OR(EXIT_CONTROLS, CTL_EXIT_CLEAR_RTIT_CTL),
                        GUEST_DEFECT);
        p.accepted = RESULT(BAD_GUEST);
        probe_check(self, &p);
}

#define RTIT_CTL_TRACE_EN BIT(0)
#define RTIT_CTL_OS BIT(2)
#define MSR_IA32_RTIT_OUTPUT_BASE 0x560
#define MSR_IA32_RTIT_OUTPUT_MASK_PTRS 0x561

static struct vmx_result enter_tracing(bool load)
{
        struct vm *vm = vm_begin(GUEST_NATIVE);

        vmcs_edit(EDITS(GUEST_DEFECT));
        vm_control(VMCS_ENTRY_CONTROLS, load ? CTL_ENTRY_LOAD_RTIT_CTL : 0, 0);
        vm_poison(VMERR_ENTRY_CONTROLS);
        return vm_enter(vm);
}

CASE(pt_tracing, .id = "entry.controls.entry.load-rtit-ctl-tracing",
     .title = "\"load IA32_RTIT_CTL\" must be 0 while Intel PT traces",
     .sdm = SDM_EXECUTION_CONTROLS, .rules = "ENTC_PT_TRACEEN_FORBIDS_LOAD_RTIT",
     .needs = "pt pt-in-vmx load-ia32-rtit-ctl")
{
        u64 base = 0, mask = 0;

        /* One output region of 4 KBytes. */
        if (rdmsr_safe(MSR_IA32_RTIT_OUTPUT_BASE, &base).raised ||
            rdmsr_safe(MSR_IA32_RTIT_OUTPUT_MASK_PTRS, &mask).raised ||
            wrmsr_safe(MSR_IA32_RTIT_OUTPUT_BASE, new_page(0)).raised ||
            wrmsr_safe(MSR_IA32_RTIT_OUTPUT_MASK_PTRS, 0xfff).raised) {
                case_skip("no single-range output of Intel PT");
                return;
        }
        CHECK_RESULT("not tracing, the control 1", enter_tracing(true),
                     BAD_GUEST);
        if (wrmsr_safe(MSR_IA32_RTIT_CTL,
                       RTIT_CTL_TRACE_EN | RTIT_CTL_OS).raised) {
                case_skip("Intel PT can not be enabled");
                return;
        }
        CHECK_RESULT("tracing, the control 0", enter_tracing(false), BAD_GUEST);
        wrmsr(MSR_IA32_RTIT_CTL, RTIT_CTL_TRACE_EN | RTIT_CTL_OS);
        CHECK_RESULT("tracing, the control 1", enter_tracing(true),
                     BAD_CONTROLS);
        wrmsr(MSR_IA32_RTIT_CTL, 0);
        wrmsr(MSR_IA32_RTIT_OUTPUT_BASE, base);
        wrmsr(MSR_IA32_RTIT_OUTPUT_MASK_PTRS, mask);
}
