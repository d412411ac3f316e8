/*
 * SDM Vol. 3, VM Entries > Checks on VMX Controls > VM-Exit Control Fields: the
 * primary and the secondary VM-exit controls. MSR areas:
 * entry_controls_msr_areas.c.
 */
#include "x86/vmx/control_check.h"

#define SDM SDM_EXIT_CONTROLS
#define EXIT(NAME) OR(EXIT_CONTROLS, CTL_EXIT_##NAME)

FAMILY(exit_bits, 32, .id = "entry.controls.exit.bit",
       .title = "a VM-exit control has a value that its capability MSR allows",
       .sdm = SDM,
       .rules = "ENTC_EXIT_MUST_BE_1_CLEARED ENTC_EXIT_MUST_BE_0_SET "
                "ENTC_EXIT_TRUE_DEFAULT1_MAY_BE_0 ENTC_EXIT_FLEXIBLE_BOTH "
                "ENTC_CAP_TRUE_MSR_SELECTS ENTC_CAP_ALLOWED1_HONOURED")
{
        control_bit_check(WORD_EXIT, row);
}

FAMILY(exit2_bits, 64, .id = "entry.controls.secondary-exit.bit",
       .title = "a secondary VM-exit control has a value that its capability "
                "MSR allows",
       .sdm = SDM, .rules = "ENTC_EXIT2_MUST_BE_0_SET ENTC_CAP_ALLOWED1_HONOURED",
       .needs = "activate-secondary-controls-exit")
{
        control_bit_check(WORD_SECONDARY_EXIT, row);
}

CASE(save_debug_0, .id = "entry.controls.exit.save-debug-controls-0",
     .title = "\"save debug controls\" 0 where the TRUE MSR allows it",
     .sdm = SDM, .rules = "ENTC_EXIT_SAVE_DEBUG_ZERO", .needs = "true-controls")
{
        default1_check(WORD_EXIT, CTL_EXIT_SAVE_DEBUG_CONTROLS);
}

/* One of a pair that names the same register, and not the other. */
#define ALONE(id_, needs_, ...)                                               \
        { ROW("alone." id_, "the control without its counterpart",            \
              "ENTC_EXIT_LOAD_SAVE_INDEPENDENT", needs_),                     \
          .given = EDITS(GUEST_DEFECT), .accepted = BAD_GUEST,                \
          .prepare = prepare, .accept = EDITS(__VA_ARGS__) }
#define OFF(WORD, NAME) CLEAR(WORD##_CONTROLS, CTL_##WORD##_##NAME)

static void prepare(__attribute__((unused)) struct vm *vm)
{
        vm_valid_fields();
}

static const struct probe exit_probes[] = {
        { ROW("save-preemption-timer",
              "\"save VMX-preemption timer value\" needs the timer active",
              "ENTC_EXIT_SAVE_TIMER_NEEDS_TIMER",
              "save-vmx-preemption-timer-value activate-vmx-preemption-timer"),
          .given = EDITS(EXIT(SAVE_PREEMPTION_TIMER),
                         SET(PREEMPTION_TIMER_VALUE, ~0u)),
          .accept = EDITS(OR(PIN_CONTROLS, CTL_PIN_ACTIVATE_PREEMPTION_TIMER)),
          .reject = EDITS(OFF(PIN, ACTIVATE_PREEMPTION_TIMER)),
          .outcome = BAD_CONTROLS },
        { ROW("preemption-timer-unsaved",
              "the timer active does not need its value saved",
              "ENTC_EXIT_SAVE_TIMER_NEEDS_TIMER",
              "save-vmx-preemption-timer-value activate-vmx-preemption-timer"),
          .given = EDITS(SET(PREEMPTION_TIMER_VALUE, ~0u)),
          .accept = EDITS(OR(PIN_CONTROLS, CTL_PIN_ACTIVATE_PREEMPTION_TIMER)),
          .reject = EDITS(EXIT(SAVE_PREEMPTION_TIMER)),
          .outcome = BAD_CONTROLS },
        ALONE("save-pat", "save-ia32-pat", EXIT(SAVE_PAT)),
        ALONE("load-pat", "load-ia32-pat-exit", EXIT(LOAD_PAT)),
        ALONE("save-efer", "save-ia32-efer", EXIT(SAVE_EFER)),
        ALONE("load-efer", "load-ia32-efer-exit", EXIT(LOAD_EFER)),
        ALONE("save-perf-global-ctl", "save-ia32-perf-global-ctl",
              EXIT(SAVE_PERF_GLOBAL_CTRL)),
        ALONE("load-perf-global-ctrl", "load-ia32-perf-global-ctrl-exit",
              EXIT(LOAD_PERF_GLOBAL_CTRL)),
        ALONE("clear-bndcfgs", "clear-ia32-bndcfgs", EXIT(CLEAR_BNDCFGS)),
        ALONE("clear-rtit-ctl", "clear-ia32-rtit-ctl", EXIT(CLEAR_RTIT_CTL)),
        ALONE("clear-lbr-ctl", "clear-ia32-lbr-ctl", EXIT(CLEAR_LBR_CTL)),
        ALONE("clear-uinv", "clear-uinv", EXIT(CLEAR_UINV)),
        ALONE("conceal-vmx-from-pt", "conceal-vmx-from-pt-exit",
              EXIT(CONCEAL_VMX_FROM_PT)),
};

PROBES(exit_checks, exit_probes, .id = "entry.controls.exit",
       .title = "checks on VM-exit controls", .sdm = SDM)

#define EXIT2_ALONE(NAME, token)                                              \
        { ROW("alone." token, "the control alone",                            \
              "ENTC_EXIT2_NO_DEPENDENCY_BITS", token),                        \
          .given = EDITS(GUEST_DEFECT), .accepted = BAD_GUEST,                \
          .prepare = prepare,                                                 \
          .accept = EDITS(WITH_SECONDARY_EXIT(CTL_SECONDARY_EXIT_##NAME)) }

static const struct probe exit2_probes[] = {
        { ROW("none", "no secondary VM-exit control is required to be 1",
              "ENTC_EXIT2_ALL_ZERO_OK"),
          .accept = EDITS(EXIT(ACTIVATE_SECONDARY),
                          SET(SECONDARY_EXIT_CONTROLS, 0)) },
        { ROW("inactive", "secondary VM-exit controls that are not active",
              "ENTC_EXIT2_IGNORED_IF_NOT_ACTIVATED"),
          .given = EDITS(SET(SECONDARY_EXIT_CONTROLS, ~0ull)),
          .accept = EDITS(OFF(EXIT, ACTIVATE_SECONDARY)),
          .reject = EDITS(EXIT(ACTIVATE_SECONDARY)),
          .outcome = BAD_CONTROLS },
        EXIT2_ALONE(SAVE_FRED, "save-fred"),
        EXIT2_ALONE(LOAD_FRED, "load-fred-exit"),
        EXIT2_ALONE(LOAD_SPEC_CTRL, "load-ia32-spec-ctrl-exit"),
        EXIT2_ALONE(PREMATURELY_BUSY_SHADOW_STACK,
                    "prematurely-busy-shadow-stack"),
};

PROBES(exit2_checks, exit2_probes, .id = "entry.controls.secondary-exit",
       .title = "checks on secondary VM-exit controls", .sdm = SDM,
       .needs = "activate-secondary-controls-exit")

/* Where the processor has none, bit 31 is like any other reserved bit. */
static const struct probe absent_probes[] = {
        { ROW("activate", "secondary VM-exit controls can not be activated"),
          .reject = EDITS(EXIT(ACTIVATE_SECONDARY)), .outcome = BAD_CONTROLS },
};

PROBES(absent, absent_probes, .id = "entry.controls.secondary-exit.absent",
       .title = "a processor without secondary VM-exit controls", .sdm = SDM,
       .rules = "ENTC_EXIT2_UNSUPPORTED_BIT31",
       .needs = "!activate-secondary-controls-exit")

CASE(absent_field, .id = "entry.controls.secondary-exit.absent.field",
     .title = "without secondary VM-exit controls there is no field for them",
     .sdm = SDM, .rules = "ENTC_EXIT2_UNSUPPORTED_BIT31",
     .needs = "!activate-secondary-controls-exit")
{
        absent_field_check(VMCS_SECONDARY_EXIT_CONTROLS);
}
