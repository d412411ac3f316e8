/*
 * SDM Vol. 3, VM Entries > Checks on VMX Controls > VM-Execution Control Fields:
 * the pin-based controls. Posted interrupts: apic_tests/entry_controls_apic.c.
 */
#include "x86/vmx/control_check.h"

#define SDM SDM_EXECUTION_CONTROLS

FAMILY(pin_bits, 32, .id = "entry.controls.pin.bit",
       .title = "a pin-based control has a value that its capability MSR allows",
       .sdm = SDM,
       .rules = "ENTC_PIN_MUST_BE_1_CLEARED ENTC_PIN_MUST_BE_0_SET "
                "ENTC_PIN_TRUE_DEFAULT1_MAY_BE_0 ENTC_PIN_FLEXIBLE_BOTH "
                "ENTC_CAP_TRUE_MSR_SELECTS ENTC_CAP_ALLOWED1_HONOURED")
{
        control_bit_check(WORD_PIN, row);
}

#define PIN(bits) OR(PIN_CONTROLS, bits)
#define NMI_EXITING CTL_PIN_NMI_EXITING
#define VIRTUAL_NMIS CTL_PIN_VIRTUAL_NMIS
#define EXTERNAL CTL_PIN_EXTERNAL_INTERRUPT_EXITING
#define TIMER CTL_PIN_ACTIVATE_PREEMPTION_TIMER
#define ACKNOWLEDGE OR(EXIT_CONTROLS, CTL_EXIT_ACKNOWLEDGE_INTERRUPT)

static const struct probe pin_probes[] = {
        { ROW("virtual-nmis", "\"virtual NMIs\" needs \"NMI exiting\"",
              "ENTC_VIRTUAL_NMIS_NEED_NMI_EXITING IRQ_VNMI_NEEDS_NMIE",
              "virtual-nmis nmi-exiting"),
          .given = EDITS(PIN(VIRTUAL_NMIS)),
          .accept = EDITS(PIN(NMI_EXITING)),
          .reject = EDITS(CLEAR(PIN_CONTROLS, NMI_EXITING)),
          .outcome = BAD_CONTROLS },
        { ROW("nmi-exiting-alone",
              "\"NMI exiting\" does not need \"virtual NMIs\"",
              "ENTC_VIRTUAL_NMIS_NEED_NMI_EXITING",
              "virtual-nmis nmi-exiting"),
          .accept = EDITS(PIN(NMI_EXITING)),
          .reject = EDITS(PIN(VIRTUAL_NMIS)), .outcome = BAD_CONTROLS },
        { ROW("external-without-acknowledge",
              "\"external-interrupt exiting\" without acknowledgement",
              "ENTC_EXTINT_EXITING_VS_ACK_INDEPENDENT",
              "external-interrupt-exiting acknowledge-interrupt-on-exit"),
          .accept = EDITS(PIN(EXTERNAL)) },
        { ROW("external-with-acknowledge",
              "\"external-interrupt exiting\" with acknowledgement",
              "ENTC_EXTINT_EXITING_VS_ACK_INDEPENDENT",
              "external-interrupt-exiting acknowledge-interrupt-on-exit"),
          .accept = EDITS(PIN(EXTERNAL), ACKNOWLEDGE) },
        { ROW("acknowledge-without-external",
              "acknowledgement without \"external-interrupt exiting\"",
              "ENTC_EXTINT_EXITING_VS_ACK_INDEPENDENT",
              "external-interrupt-exiting acknowledge-interrupt-on-exit"),
          .accept = EDITS(ACKNOWLEDGE) },
        { ROW("timer-value.0", "VMX-preemption timer value 0",
              "ENTC_PREEMPTION_TIMER_VALUE_ANY",
              "activate-vmx-preemption-timer"),
          .accept = EDITS(PIN(TIMER), SET(PREEMPTION_TIMER_VALUE, 0)),
          .accepted = EXITS_WITH(EXIT_PREEMPTION_TIMER, 0) },
        { ROW("timer-value.ones", "VMX-preemption timer value FFFFFFFFH",
              "ENTC_PREEMPTION_TIMER_VALUE_ANY",
              "activate-vmx-preemption-timer"),
          .accept = EDITS(PIN(TIMER), SET(PREEMPTION_TIMER_VALUE, ~0u)) },
};

PROBES(pin_checks, pin_probes, .id = "entry.controls.pin",
       .title = "checks on pin-based controls", .sdm = SDM)
