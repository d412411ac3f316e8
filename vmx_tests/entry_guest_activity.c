/*
 * SDM Vol. 3, VM Entries > Checks on the Guest State Area > Checks on Guest
 * Non-Register State: activity state. Wait-for-SIPI is accepted in
 * entry_guest_wait_for_sipi.c, which needs a second processor.
 */
#include "lib/check.h"
#include "x86/cpu.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/event.h"
#include "x86/vmx/probe.h"
#include "x86/vmx/segment.h"

#define SDM "VM Entries > Checks on Guest Non-Register State"

#define STATE(n) EDITS(SET(GUEST_ACTIVITY_STATE, n))
#define IF_1 OR(GUEST_RFLAGS, RFLAGS_IF)

/* The timer ends an inactive guest, or an active one, at once. */
#define TIMER OR(PIN_CONTROLS, CTL_PIN_ACTIVATE_PREEMPTION_TIMER), \
              SET(PREEMPTION_TIMER_VALUE, 0)
#define TIMER_NEED "activate-vmx-preemption-timer "
/* The same later, where there is one, should HLT or shutdown not be refused. */
static void guard(__attribute__((unused)) struct vm *vm)
{
        if (control_can_be_1(WORD_PIN, CTL_PIN_ACTIVATE_PREEMPTION_TIMER))
                vm_watchdog();
}

#define BY_TIMER .accepted = EXITS(EXIT_PREEMPTION_TIMER)

/* No activity state has a bit above 1. */
#define RANGE(name, guest, needs_)                                           \
FAMILY(range_##name, 31, .id = "entry.guest.activity.range." #name,          \
       .title = "an activity state above 3 is refused (a bit from 2 on, and "\
                "all)", .sdm = SDM, .rules = "ENTG_ACT_RANGE",               \
       .needs = needs_)                                                      \
{                                                                            \
        struct probe p = {                                                   \
                .mode = guest, .given = EDITS(SHOW_EXCEPTIONS),              \
                .reject = STATE(row < 30 ? BIT(2 + row) : 0xffffffff),       \
                .outcome = BAD_GUEST,                                        \
        };                                                                   \
                                                                             \
        probe_check(self, &p);                                               \
}
RANGE(long, GUEST_LONG, "host64")
RANGE(pae, GUEST_PAE, "")
RANGE(v86, GUEST_V86, "")
RANGE(real, GUEST_REAL, "unrestricted-guest")

static const struct probe support_rows[] = {
        { ROW("5", "activity state 5", "ENTG_ACT_RANGE"),
          .reject = STATE(5), .outcome = BAD_GUEST },
        { ROW("7", "activity state 7", "ENTG_ACT_RANGE"),
          .reject = STATE(7), .outcome = BAD_GUEST },
        { ROW("hlt.absent", "HLT without support",
              "ENTG_ACT_UNSUPPORTED_HLT", "!activity-hlt"),
          .prepare = guard, .reject = STATE(HLT), .outcome = BAD_GUEST },
        { ROW("shutdown.absent", "shutdown without support",
              "ENTG_ACT_UNSUPPORTED_SHUTDOWN", "!activity-shutdown"),
          .prepare = guard, .reject = STATE(SHUTDOWN), .outcome = BAD_GUEST },
        { ROW("wait-for-sipi.absent", "wait-for-SIPI without support",
              "ENTG_ACT_UNSUPPORTED_WFS", "!activity-wait-for-sipi"),
          .reject = STATE(WAIT_FOR_SIPI), .outcome = BAD_GUEST },
        { ROW("hlt", "HLT with support", "ENTG_ACT_UNSUPPORTED_HLT",
              "activity-hlt " TIMER_NEED),
          .given = EDITS(TIMER), .accept = STATE(HLT), BY_TIMER },
        { ROW("hlt.pae", "HLT with support, 32-bit guest",
              "ENTG_ACT_UNSUPPORTED_HLT", "activity-hlt " TIMER_NEED),
          .mode = GUEST_PAE, .given = EDITS(TIMER), .accept = STATE(HLT),
          BY_TIMER },
        { ROW("hlt.real", "HLT with support, real-mode guest",
              "ENTG_ACT_UNSUPPORTED_HLT",
              "activity-hlt unrestricted-guest " TIMER_NEED),
          .mode = GUEST_REAL, .given = EDITS(TIMER), .accept = STATE(HLT),
          BY_TIMER },
        { ROW("shutdown", "shutdown with support",
              "ENTG_ACT_UNSUPPORTED_SHUTDOWN", "activity-shutdown " TIMER_NEED),
          .given = EDITS(TIMER), .accept = STATE(SHUTDOWN), BY_TIMER },
        { ROW("shutdown.pae", "shutdown with support, 32-bit guest",
              "ENTG_ACT_UNSUPPORTED_SHUTDOWN", "activity-shutdown " TIMER_NEED),
          .mode = GUEST_PAE, .given = EDITS(TIMER), .accept = STATE(SHUTDOWN),
          BY_TIMER },
        { ROW("hlt.if-0", "HLT with RFLAGS.IF = 0", "ENTG_ACT_HLT_IF_FREE",
              "activity-hlt " TIMER_NEED),
          .given = EDITS(TIMER, CLEAR(GUEST_RFLAGS, RFLAGS_IF)),
          .accept = STATE(HLT), BY_TIMER },
        /* The DPL of SS is 3. */
        { ROW("hlt.v86", "HLT in virtual-8086 mode", "ENTG_ACT_HLT_SS_DPL",
              "activity-hlt"),
          .mode = GUEST_V86, .given = EDITS(SHOW_EXCEPTIONS),
          .prepare = guard, .reject = STATE(HLT), .outcome = BAD_GUEST },
        { ROW("shutdown.v86", "shutdown in virtual-8086 mode",
              "ENTG_ACT_SHUTDOWN_WFS_ANY_DPL", "activity-shutdown " TIMER_NEED),
          .mode = GUEST_V86, .given = EDITS(TIMER), .accept = STATE(SHUTDOWN),
          BY_TIMER },
        /* Blocking by NMI: the virtual one, which stays the guest's. */
        { ROW("hlt.nmi-blocked", "HLT with blocking by NMI",
              "ENTG_ACT_NMI_BLOCKING_ANY_STATE",
              "activity-hlt nmi-exiting virtual-nmis " TIMER_NEED),
          .given = EDITS(TIMER, SET(GUEST_INTERRUPTIBILITY_STATE, BLOCKED_NMI),
                         OR(PIN_CONTROLS, CTL_PIN_NMI_EXITING |
                                          CTL_PIN_VIRTUAL_NMIS)),
          .accept = STATE(HLT), BY_TIMER },
        { ROW("shutdown.nmi-blocked", "shutdown with blocking by NMI",
              "ENTG_ACT_NMI_BLOCKING_ANY_STATE",
              "activity-shutdown nmi-exiting virtual-nmis " TIMER_NEED),
          .given = EDITS(TIMER, SET(GUEST_INTERRUPTIBILITY_STATE, BLOCKED_NMI),
                         OR(PIN_CONTROLS, CTL_PIN_NMI_EXITING |
                                          CTL_PIN_VIRTUAL_NMIS)),
          .accept = STATE(SHUTDOWN), BY_TIMER },
};

PROBES(support, support_rows, .id = "entry.guest.activity",
       .title = "activity states", .sdm = SDM)

/* SS, CS and their RPLs with one DPL; @ss: the other rights of SS. */
#define AT_CPL(dpl, ss)                                                      \
        OR(GUEST_CS_SELECTOR, dpl), OR(GUEST_SS_SELECTOR, dpl),              \
        OR(GUEST_CS_ACCESS_RIGHTS, AR_DPL(dpl)),                             \
        SET(GUEST_SS_ACCESS_RIGHTS, (ss) | AR_DPL(dpl))

#define CPL(name, guest, ss, needs_)                                         \
FAMILY(hlt_cpl_##name, 3, .id = "entry.guest.activity.hlt.dpl." #name,       \
       .title = "HLT needs SS.DPL = 0 (number: DPL - 1)", .sdm = SDM,        \
       .rules = "ENTG_ACT_HLT_SS_DPL", .needs = "activity-hlt " needs_)      \
{                                                                            \
        struct probe p = {                                                   \
                .mode = guest, .reject = STATE(HLT), .outcome = BAD_GUEST,   \
                .prepare = guard,                                            \
                .given = EDITS(SHOW_EXCEPTIONS, AT_CPL(1 + row, ss)),        \
        };                                                                   \
                                                                             \
        probe_check(self, &p);                                               \
}                                                                            \
FAMILY(shutdown_cpl_##name, 3, .id = "entry.guest.activity.shutdown.dpl." #name, \
       .title = "shutdown goes with any SS.DPL (number: DPL - 1)",           \
       .sdm = SDM, .rules = "ENTG_ACT_SHUTDOWN_WFS_ANY_DPL",                 \
       .needs = "activity-shutdown " TIMER_NEED needs_)                      \
{                                                                            \
        struct probe p = {                                                   \
                .mode = guest, .accept = STATE(SHUTDOWN), BY_TIMER,          \
                .given = EDITS(TIMER, AT_CPL(1 + row, ss)),                  \
        };                                                                   \
                                                                             \
        probe_check(self, &p);                                               \
}
CPL(long, GUEST_LONG, 0xc093, "host64")
CPL(pae, GUEST_PAE, 0xc093, "")
CPL(unusable, GUEST_LONG, AR_UNUSABLE, "host64")

/* Blocking by STI (number 0) and by MOV SS (1) need the active state. */
#define BLOCKING(name, state, need)                                          \
FAMILY(blocking_##name, 2, .id = "entry.guest.activity." #name ".blocking",      \
       .title = "blocking by STI or by MOV SS needs the active state",       \
       .sdm = SDM,                                                           \
       .rules = "ENTG_ACT_ACTIVE_ONLY_WITH_STI "                             \
                "ENTG_ACT_ACTIVE_ONLY_WITH_MOVSS", .needs = need)            \
{                                                                            \
        struct probe p = {                                                   \
                .reject = STATE(state), .outcome = BAD_GUEST,                \
                .prepare = guard,                                            \
                .given = EDITS(SHOW_EXCEPTIONS, IF_1,                        \
                               SET(GUEST_INTERRUPTIBILITY_STATE, 1 << row)), \
        };                                                                   \
                                                                             \
        probe_check(self, &p);                                               \
}
BLOCKING(hlt, HLT, "activity-hlt")
BLOCKING(shutdown, SHUTDOWN, "activity-shutdown")
