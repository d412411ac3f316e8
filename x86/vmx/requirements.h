/*
 * What the checks on VMX controls require beside a control that is 1: other
 * controls, and valid fields. SDM Vol. 3, VM Entries > Checks on VMX Controls.
 */
#ifndef X86_VMX_REQUIREMENTS_H
#define X86_VMX_REQUIREMENTS_H

#include "x86/cpu.h"
#include "x86/vmx/guest.h"

/* For CALC: the address of a new page; an EPTP that maps 4 GiB identically. */
u64 new_page(u64 old);
u64 identity_eptp(u64 old);

/* Edits that turn something on with all that it requires. */
#define WITH_EPT                                                        \
        WITH_SECONDARY(CTL_SECONDARY_ENABLE_EPT),                       \
        CALC(EPTP, identity_eptp)
#define WITH_TPR_SHADOW                                                 \
        OR(PRIMARY_CONTROLS, CTL_PRIMARY_USE_TPR_SHADOW),               \
        CALC(VIRTUAL_APIC_ADDRESS, new_page)
#define WITH_VIRTUAL_INTERRUPTS                                         \
        WITH_TPR_SHADOW,                                                \
        OR(PIN_CONTROLS, CTL_PIN_EXTERNAL_INTERRUPT_EXITING),           \
        WITH_SECONDARY(CTL_SECONDARY_VIRTUAL_INTERRUPT_DELIVERY)
#define WITH_POSTED_INTERRUPTS                                          \
        WITH_VIRTUAL_INTERRUPTS,                                        \
        OR(PIN_CONTROLS, CTL_PIN_PROCESS_POSTED_INTERRUPTS),            \
        OR(EXIT_CONTROLS, CTL_EXIT_ACKNOWLEDGE_INTERRUPT),              \
        SET(POSTED_INTERRUPT_VECTOR, 0xf2),                             \
        CALC(POSTED_INTERRUPT_DESCRIPTOR, new_page)
#define WITH_TERTIARY(bits)                                             \
        OR(PRIMARY_CONTROLS, CTL_PRIMARY_ACTIVATE_TERTIARY),            \
        OR(TERTIARY_CONTROLS, bits)
#define WITH_SECONDARY_EXIT(bits)                                       \
        OR(EXIT_CONTROLS, CTL_EXIT_ACTIVATE_SECONDARY),                 \
        OR(SECONDARY_EXIT_CONTROLS, bits)

/* Valid values for all fields of the current VMCS that some control makes count. */
void vm_valid_fields(void);

/*
 * Sets controls of the current VMCS, and the others that they require, as far as
 * the processor has them. Their fields need vm_valid_fields().
 */
void vm_require(enum control_word word, u64 bits);

/*
 * A guest state that no processor accepts: an entry that passes the checks on
 * controls and host state ends as BAD_GUEST, and nothing of the guest is used.
 */
#define GUEST_DEFECT                                                    \
        CLEAR(GUEST_RFLAGS, RFLAGS_FIXED), CLEAR(GUEST_CR4, CR4_VMXE)

#endif
