/*
 * The checks on one word of controls against its capability MSR, bit by bit,
 * and on fields that hold a physical address. SDM Vol. 3, VM Entries > Checks
 * on VMX Controls.
 */
#ifndef X86_VMX_CONTROL_CHECK_H
#define X86_VMX_CONTROL_CHECK_H

#include "lib/check.h"
#include "x86/vmx/probe.h"
#include "x86/vmx/requirements.h"

#define SDM_EXECUTION_CONTROLS \
        "VM Entries > Checks on VMX Controls > VM-Execution Control Fields"
#define SDM_EXIT_CONTROLS \
        "VM Entries > Checks on VMX Controls > VM-Exit Control Fields"
#define SDM_ENTRY_CONTROLS \
        "VM Entries > Checks on VMX Controls > VM-Entry Control Fields"

/*
 * Both settings of bit @bit of a word: what the capability MSR allows must pass
 * (with what the control requires), what it does not allow must fail. The body
 * of a FAMILY of as many cases as the word has bits.
 */
void control_bit_check(enum control_word word, unsigned bit);

/*
 * A control of the default1 class, 1 and 0, in a guest that runs: 0 passes where
 * the TRUE capability MSR allows it.
 */
void default1_check(enum control_word word, u64 mask);

/* VMWRITE finds no such field. */
void absent_field_check(u32 field);

/* The bits that such a field may set: IA32_VMX_BASIC[48], MAXPHYADDR. */
unsigned control_address_width(void);

struct address_check {
        u32 field;
        unsigned low;                /* its bits below this must be 0 */
        bool mapped;                 /* hypervisors look for the page at VM */
                                     /* entry, and some end where there is no */
                                     /* memory: one case does that to them */
        const struct edit *active;   /* controls that make the field count */
        const struct edit *inactive; /* the same, but it does not count */
};

/* The bodies of the cases that ADDRESS_CHECK declares. */
void address_check_bit(const struct address_check *a, unsigned bit);
void address_check_ignored(const struct address_check *a, unsigned row);
void address_check_top(const struct address_check *a);

struct address_value {
        struct row head;
        u64 value;
};
extern const struct address_value address_values[];
#define ADDRESS_VALUES 3

/*
 * ADDRESS_CHECK(name, id, needs, "thing", rules of the bits, rules of the
 * setting in which it does not count, .field = ..., ...)
 */
#define ADDRESS_CHECK(name, id_, needs_, thing, bit_rules, off_rules, ...)    \
        static const struct address_check name = { __VA_ARGS__ };             \
        FAMILY(name##_bits, 64, .id = id_ ".bit",                             \
               .title = "a bit of " thing " that it cannot have must be 0",   \
               .sdm = SDM_EXECUTION_CONTROLS,                                            \
               .rules = bit_rules " ENTC_ADDR_32BIT_LIMIT "                   \
                        "ENTC_ADDR_WIDTH_TME",                                \
               .needs = needs_)                                               \
        {                                                                     \
                address_check_bit(&name, row);                                \
        }                                                                     \
        CASE(name##_ignored, .id = id_ ".ignored",                            \
             .title = thing " is not checked while it does not count",        \
             .sdm = SDM_EXECUTION_CONTROLS, .rules = off_rules, .needs = needs_,         \
             .rows = address_values, .row_size = sizeof(address_values[0]),   \
             .count = ADDRESS_VALUES)                                         \
        {                                                                     \
                address_check_ignored(&name, row);                            \
        }                                                                     \
        CASE(name##_top, .id = id_ ".top-of-space",                           \
             .title = thing " may be the last one that the processor has",    \
             .sdm = SDM_EXECUTION_CONTROLS, .rules = "ENTC_ADDR_TOP_OF_SPACE_OK",        \
             .needs = needs_)                                                 \
        {                                                                     \
                address_check_top(&name);                                     \
        }

#endif
