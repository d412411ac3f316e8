/*
 * SDM Vol. 3, VM Entries > Checks on the Guest State Area: a guest that will use
 * FRED transitions.
 */
#include "lib/check.h"
#include "x86/cpu.h"
#include "x86/vmx/event.h"
#include "x86/vmx/probe.h"
#include "x86/vmx/segment.h"

#define SDM "VM Entries > Checks on Guest Segment Registers"
#define SDM_STATE "VM Entries > Checks on Guest Non-Register State"

#define FRED_ON OR(GUEST_CR4, BIT(32))
#define STACK (AR_G | AR_DB | AR_P | AR_S | AR_TYPE(3))
#define CODE64 (AR_G | AR_L | AR_P | AR_S | AR_TYPE(11))
#define CODE32 (AR_G | AR_DB | AR_P | AR_S | AR_TYPE(11))

/* CS and SS with one DPL and that as RPLs. */
#define AT_CPL(dpl, cs, ss)                                                  \
        OR(GUEST_CS_SELECTOR, dpl), OR(GUEST_SS_SELECTOR, dpl),              \
        SET(GUEST_CS_ACCESS_RIGHTS, (cs) | AR_DPL(dpl)),                     \
        SET(GUEST_SS_ACCESS_RIGHTS, (ss) | AR_DPL(dpl))

/* One violation each, on a guest that is accepted with CR4.FRED = 1. */
static const struct probe rows[] = {
        { ROW("dpl-1", "SS.DPL must be 0 or 3", "ENTG_FRED_SS_DPL"),
          .given = EDITS(FRED_ON), .accept = EDITS(AT_CPL(3, CODE64, STACK)),
          .reject = EDITS(AT_CPL(1, CODE64, STACK)), .outcome = BAD_GUEST },
        { ROW("dpl-2", "SS.DPL must be 0 or 3", "ENTG_FRED_SS_DPL"),
          .given = EDITS(FRED_ON), .accept = EDITS(AT_CPL(0, CODE64, STACK)),
          .reject = EDITS(AT_CPL(2, CODE64, STACK)), .outcome = BAD_GUEST },
        { ROW("cpl-0-compat", "CS.L must be 1 if SS.DPL is 0",
              "ENTG_FRED_CPL0_NEEDS_64BIT"),
          .given = EDITS(FRED_ON),
          .reject = EDITS(AT_CPL(0, CODE32, STACK)), .outcome = BAD_GUEST },
        { ROW("cpl-3-compat", "CS.L may be 0 if SS.DPL is 3",
              "ENTG_FRED_CPL0_NEEDS_64BIT"),
          .given = EDITS(FRED_ON), .accept = EDITS(AT_CPL(3, CODE32, STACK)),
          .reject = EDITS(AT_CPL(0, CODE32, STACK)), .outcome = BAD_GUEST },
        { ROW("unusable.dpl-1", "the DPL of an unusable SS counts",
              "ENTG_FRED_SS_CHECKS_UNUSABLE_SS"),
          .given = EDITS(FRED_ON),
          .accept = EDITS(AT_CPL(0, CODE64, AR_UNUSABLE)),
          .reject = EDITS(AT_CPL(1, CODE64, AR_UNUSABLE)), .outcome = BAD_GUEST },
        { ROW("unusable.dpl-2", "the DPL of an unusable SS counts",
              "ENTG_FRED_SS_CHECKS_UNUSABLE_SS"),
          .given = EDITS(FRED_ON),
          .accept = EDITS(AT_CPL(3, CODE64, AR_UNUSABLE)),
          .reject = EDITS(AT_CPL(2, CODE64, AR_UNUSABLE)), .outcome = BAD_GUEST },
        { ROW("unusable.cpl-0-compat", "the DPL of an unusable SS counts for CS.L",
              "ENTG_FRED_SS_CHECKS_UNUSABLE_SS"),
          .given = EDITS(FRED_ON),
          .accept = EDITS(AT_CPL(0, CODE64, AR_UNUSABLE)),
          .reject = EDITS(AT_CPL(0, CODE32, AR_UNUSABLE)), .outcome = BAD_GUEST },
};

PROBES(segments, rows, .id = "entry.guest.fred", .title = "a FRED guest",
       .sdm = SDM, .needs = "host64 fred")

FAMILY(rflags_iopl, 4, .id = "entry.guest.fred.iopl",
       .title = "RFLAGS.IOPL must be 0 if SS.DPL is 3",
       .sdm = "VM Entries > Checks on Guest RIP, RFLAGS, and SSP",
       .rules = "ENTG_FRED_IOPL", .needs = "host64 fred")
{
        struct probe p = {
                .given = EDITS(SHOW_EXCEPTIONS, FRED_ON,
                               AT_CPL(3, CODE64, STACK)),
        };

        probe_legal(self, &p, EDITS(OR(GUEST_RFLAGS, row << 12)), !row,
                    RESULT(BAD_GUEST));
}

#define STI_BLOCKED OR(GUEST_RFLAGS, RFLAGS_IF), \
        SET(GUEST_INTERRUPTIBILITY_STATE, BLOCKED_STI)

CASE(blocking_by_sti, .id = "entry.guest.fred.sti",
     .title = "no blocking by STI if SS.DPL is 3", .sdm = SDM_STATE,
     .rules = "ENTG_FRED_STI_BLOCKING_CPL3", .needs = "host64 fred")
{
        struct probe p = {
                .given = EDITS(SHOW_EXCEPTIONS, FRED_ON, STI_BLOCKED),
                .reject = EDITS(AT_CPL(3, CODE64, STACK)), .outcome = BAD_GUEST,
        };

        probe_check(self, &p);
}

/* The same states with CR4.FRED = 0. */
static const struct probe off_rows[] = {
        { ROW("dpl-1"), .accept = EDITS(AT_CPL(1, CODE64, STACK)),
          .reject = EDITS(FRED_ON, AT_CPL(1, CODE64, STACK)),
          .outcome = BAD_GUEST },
        { ROW("dpl-2"), .accept = EDITS(AT_CPL(2, CODE64, STACK)),
          .reject = EDITS(FRED_ON, AT_CPL(2, CODE64, STACK)),
          .outcome = BAD_GUEST },
        { ROW("cpl-0-compat"), .accept = EDITS(AT_CPL(0, CODE32, STACK)),
          .reject = EDITS(FRED_ON, AT_CPL(0, CODE32, STACK)),
          .outcome = BAD_GUEST },
        { ROW("iopl-3"),
          .accept = EDITS(AT_CPL(3, CODE64, STACK), OR(GUEST_RFLAGS, RFLAGS_IOPL)),
          .reject = EDITS(FRED_ON, AT_CPL(3, CODE64, STACK),
                          OR(GUEST_RFLAGS, RFLAGS_IOPL)),
          .outcome = BAD_GUEST },
        { ROW("sti"),
          .accept = EDITS(AT_CPL(3, CODE64, STACK), STI_BLOCKED),
          .reject = EDITS(FRED_ON, AT_CPL(3, CODE64, STACK), STI_BLOCKED),
          .outcome = BAD_GUEST },
};

PROBES(off, off_rows, .id = "entry.guest.fred.off",
       .title = "the rules for FRED guests need CR4.FRED = 1", .sdm = SDM,
       .rules = "ENTG_FRED_SS_CHECKS_NEED_CR4_FRED", .needs = "host64 fred")

/*
 * SYSCALL (vector 1) and SYSENTER (2). There is no stack: the delivery to an
 * active guest goes wrong after the entry; that it is entered is what counts.
 */
#define SYSCALLS(name, state, need)                                          \
FAMILY(syscall_##name, 2, .id = "entry.guest.fred.inject." #name,            \
       .title = "SYSCALL and SYSENTER need the active state (number: vector - 1)", \
       .sdm = SDM_STATE, .rules = "ENTG_ACT_INJ_FRED_SYSCALL",               \
       .needs = "host64 fred " need)                                         \
{                                                                            \
        struct probe p = {                                                   \
                .given = EDITS(SHOW_EXCEPTIONS, FRED_ON,                     \
                        SET(GUEST_RSP, BIT(63)),                             \
                        SET(ENTRY_INTERRUPTION_INFO, EVENT(7, 1 + row)),     \
                        SET(ENTRY_INSTRUCTION_LENGTH, 2)),                   \
        };                                                                   \
        struct vmx_result r = probe_enter(&p, NULL, 0);                      \
                                                                             \
        CHECK("the active guest is entered",                                 \
              r.kind == VMX_EXIT && !(r.code & EXIT_ENTRY_FAILURE),          \
              "kind %u, code 0x%x", r.kind, r.code);                         \
        CHECK_RESULT("the inactive guest",                                   \
                     probe_enter(&p, EDITS(SET(GUEST_ACTIVITY_STATE, state)), \
                                 0), BAD_GUEST);                             \
}
SYSCALLS(hlt, HLT, "activity-hlt")
SYSCALLS(shutdown, SHUTDOWN, "activity-shutdown")
SYSCALLS(wait_for_sipi, WAIT_FOR_SIPI, "activity-wait-for-sipi")
