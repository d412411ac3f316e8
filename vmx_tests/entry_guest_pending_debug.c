/*
 * SDM Vol. 3, VM Entries > Checks on the Guest State Area > Checks on Guest
 * Non-Register State: pending debug exceptions.
 */
#include "lib/check.h"
#include "x86/cpu.h"
#include "x86/msr.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/event.h"
#include "x86/vmx/probe.h"

#define SDM "VM Entries > Checks on Guest Non-Register State"

#define PENDING_BLD 0x800u
#define PENDING_RTM 0x10000u

#define PENDING(bits) EDITS(SET(GUEST_PENDING_DEBUG_EXCEPTIONS, bits))
/* A pending debug exception that is delivered. */
#define DEBUGGED EXITS(EXIT_EXCEPTION_NMI)

/* The entry alone is judged: what comes then is for other rules. */
static void entered(const struct test_case *self, const struct probe *p)
{
        struct vmx_result r = probe_enter(p, p->accept, 0);

        check_true(self->file, (int)self->line, "the guest is entered",
                   r.kind == VMX_EXIT && !(r.code & EXIT_ENTRY_FAILURE),
                   "kind %u, code 0x%x", r.kind, r.code);
}

static void refused(const struct test_case *self, enum guest_mode mode, u64 bits)
{
        struct probe p = {
                .mode = mode, .given = EDITS(SHOW_EXCEPTIONS),
                .reject = PENDING(bits), .outcome = BAD_GUEST,
        };

        probe_check(self, &p);
}

#define RESERVED(name, guest, needs_)                                        \
FAMILY(low_##name, 7, .id = "entry.guest.pending-debug.reserved-10-4." #name, \
       .title = "a bit from 4 on must be 0", .sdm = SDM,                     \
       .rules = "ENTG_PDBG_RESERVED_11_4", .needs = needs_)                  \
{                                                                            \
        refused(self, guest, BIT(4 + row));                                  \
}                                                                            \
CASE(bld_##name, .id = "entry.guest.pending-debug.bld." #name,               \
     .title = "bit 11 must be 0 without bus-lock detection", .sdm = SDM,     \
     .rules = "ENTG_PDBG_RESERVED_11_4 ENTG_PDBG_BLD",                       \
     .needs = "!bus-lock-detect " needs_)                                    \
{                                                                            \
        refused(self, guest, PENDING_BLD);                                   \
}                                                                            \
FAMILY(middle_##name, 2, .id = "entry.guest.pending-debug.reserved-13-15." #name, \
       .title = "bits 13 and 15 (in this order) must be 0", .sdm = SDM,      \
       .rules = "ENTG_PDBG_RESERVED_13_15", .needs = needs_)                 \
{                                                                            \
        refused(self, guest, BIT(13 + 2 * row));                             \
}                                                                            \
FAMILY(upper_##name, 15, .id = "entry.guest.pending-debug.reserved-31-17." #name, \
       .title = "a bit from 17 on must be 0", .sdm = SDM,                    \
       .rules = "ENTG_PDBG_RESERVED_63_17", .needs = needs_)                 \
{                                                                            \
        refused(self, guest, BIT(17 + row));                                 \
}                                                                            \
FAMILY(high_##name, 32, .id = "entry.guest.pending-debug.reserved-63-32." #name, \
       .title = "a bit from 32 on must be 0", .sdm = SDM,                    \
       .rules = "ENTG_PDBG_RESERVED_63_17", .needs = "host64 " needs_)       \
{                                                                            \
        refused(self, guest, BIT(32 + row));                                 \
}                                                                            \
/* Bits 3:0, and bit 12 as the highest, which makes them valid. */           \
FAMILY(free_##name, 32, .id = "entry.guest.pending-debug.b3-b0." #name,      \
       .title = "B3 to B0 and \"enabled breakpoint\" (number: 16) are free", \
       .sdm = SDM, .rules = "ENTG_PDBG_B3_B0_AND_EB_FREE", .needs = needs_)  \
{                                                                            \
        struct probe p = {                                                   \
                .mode = guest, .given = EDITS(SHOW_EXCEPTIONS),              \
                .accept = PENDING((row & 15) |                               \
                                  (row & 16 ? PENDING_ENABLED : 0)),         \
        };                                                                   \
                                                                             \
        if (row > 16)                                                        \
                p.accepted = (struct vmx_result)DEBUGGED;                    \
        if (row == 16)                                                       \
                entered(self, &p);                                           \
        else                                                                 \
                probe_check(self, &p);                                       \
}
RESERVED(long, GUEST_LONG, "host64")
RESERVED(pae, GUEST_PAE, "")
RESERVED(v86, GUEST_V86, "")
RESERVED(real, GUEST_REAL, "unrestricted-guest")

/* The three conditions under which BS must fit, and two under which not. */
enum condition { UNBLOCKED, STI, MOV_SS, HALTED, SHUT_DOWN };

#define TF(n) ((n) & 1)
#define BTF(n) ((n) & 2)
#define BS(n) ((n) & 4)

static struct vmx_result ending(enum condition c, bool bs)
{
        switch (c) {
        case MOV_SS:
                return RESULT(EXITS(EXIT_VMCALL));
        case HALTED:
                return bs ? RESULT(DEBUGGED)
                          : RESULT(EXITS(EXIT_PREEMPTION_TIMER));
        default:
                return bs ? RESULT(DEBUGGED) : RESULT(EXITS(EXIT_VMCALL));
        }
}

/* @number: TF, BTF and BS. BTF is that of the field and, if loaded, the MSR. */
static void bs_check(const struct test_case *self, enum condition c,
                     unsigned number, const struct edit control,
                     void (*prepare)(struct vm *))
{
        bool bs_due = TF(number) && !BTF(number);
        bool free = c == UNBLOCKED || c == SHUT_DOWN;
        bool legal = free || bs_due == !!BS(number);
        u32 state = c == STI ? BLOCKED_STI : c == MOV_SS ? BLOCKED_MOV_SS : 0;
        bool timed = c == HALTED || c == SHUT_DOWN;
        const struct edit *fits = PENDING(bs_due ? PENDING_BS : 0);
        const struct edit *edits = PENDING(BS(number) ? PENDING_BS : 0);
        struct probe p = {
                .given = EDITS(SHOW_EXCEPTIONS, control,
                        SET(GUEST_DEBUGCTL, BTF(number) ? DEBUGCTL_BTF : 0),
                        SET(GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_IF |
                            (TF(number) ? RFLAGS_TF : 0)),
                        SET(GUEST_INTERRUPTIBILITY_STATE, state),
                        OR(PIN_CONTROLS,
                           timed ? CTL_PIN_ACTIVATE_PREEMPTION_TIMER : 0),
                        SET(GUEST_ACTIVITY_STATE, c == HALTED ? HLT :
                            c == SHUT_DOWN ? SHUTDOWN : ACTIVE)),
                .accept = legal ? edits : fits, .reject = edits,
                .accepted = ending(c, legal ? BS(number) : bs_due),
                .prepare = prepare,
        };

        if (!legal)
                p.outcome = RESULT(BAD_GUEST);
        /* What ends an inactive guest with a pending exception is not judged. */
        if (c == SHUT_DOWN || (c == HALTED && legal && BS(number)))
                entered(self, &p);
        else
                probe_check(self, &p);
}

#define LOADED ((struct edit)OR(ENTRY_CONTROLS, CTL_ENTRY_LOAD_DEBUG_CONTROLS))

#define BS_RULES(name, condition, rules_, needs_)                            \
FAMILY(bs_##condition, 8, .id = "entry.guest.pending-debug.bs." name,        \
       .title = "BS must be TF and not BTF (number: TF + 2 * BTF + 4 * BS)", \
       .sdm = SDM, .rules = rules_, .needs = "load-debug-controls " needs_)  \
{                                                                            \
        bs_check(self, condition, row, LOADED, NULL);                        \
}
#define FORBIDDEN " ENTG_PDBG_BS_FORBIDDEN_TF0 ENTG_PDBG_BS_FORBIDDEN_BTF1"
#define TIMER_NEED "activate-vmx-preemption-timer"
BS_RULES("sti", STI, "ENTG_PDBG_BS_REQUIRED_STI" FORBIDDEN, "")
BS_RULES("mov-ss", MOV_SS, "ENTG_PDBG_BS_REQUIRED_MOVSS" FORBIDDEN, "")
BS_RULES("hlt", HALTED, "ENTG_PDBG_BS_REQUIRED_HLT" FORBIDDEN,
         "activity-hlt " TIMER_NEED)
BS_RULES("unblocked", UNBLOCKED, "ENTG_PDBG_BS_UNCHECKED_OTHERWISE", "")
BS_RULES("shutdown", SHUT_DOWN, "ENTG_PDBG_BS_UNCHECKED_OTHERWISE",
         "activity-shutdown " TIMER_NEED)

static u64 live_debugctl;

/* Every VM exit clears IA32_DEBUGCTL. */
static void set_debugctl(struct vm *vm)
{
        (void)vm;
        wrmsr(MSR_IA32_DEBUGCTL, live_debugctl);
}

/*
 * BTF is bit 1 of the field even if the entry does not load it; the live MSR
 * says the opposite.
 */
FAMILY(btf_source, 8, .id = "entry.guest.pending-debug.btf-source",
       .title = "BTF is the field's, not the MSR's (number: TF + 2 * BTF of "
                "the field + 4 * BS)", .sdm = SDM,
       .rules = "ENTG_PDBG_BTF_SOURCE_IS_FIELD", .needs = "true-controls")
{
        live_debugctl = BTF(row) ? 0 : DEBUGCTL_BTF;
        if (!control_can_be_0(WORD_ENTRY, CTL_ENTRY_LOAD_DEBUG_CONTROLS)) {
                case_skip("\"load debug controls\" can not be 0");
                return;
        }
        if (wrmsr_safe(MSR_IA32_DEBUGCTL, live_debugctl).raised ||
            rdmsr(MSR_IA32_DEBUGCTL) != live_debugctl) {
                case_skip("IA32_DEBUGCTL.BTF can not be written");
                return;
        }
        bs_check(self, STI, row, (struct edit)
                 CLEAR(ENTRY_CONTROLS, CTL_ENTRY_LOAD_DEBUG_CONTROLS),
                 set_debugctl);
        wrmsr(MSR_IA32_DEBUGCTL, 0);
}

/*
 * With injection: TF = 1, BTF = 0, so that BS must be 1. The event's handler is
 * the end; with blocking by MOV SS a software interrupt or exception could be
 * followed by the debug exception.
 */
#define INJECTION(id_, info, length, blocking)                               \
        { ROW(id_), .given = EDITS(                                          \
                SET(GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_IF | RFLAGS_TF),     \
                SET(GUEST_INTERRUPTIBILITY_STATE, blocking),                 \
                SET(ENTRY_INTERRUPTION_INFO, info),                          \
                SET(ENTRY_INSTRUCTION_LENGTH, length)),                      \
          .accept = PENDING(PENDING_BS), .reject = PENDING(0),               \
          .outcome = BAD_GUEST }

static const struct probe injection_rows[] = {
        INJECTION("sti.hardware-db", HARDWARE(VEC_DB), 0, BLOCKED_STI),
        INJECTION("sti.hardware-ud", HARDWARE(VEC_UD), 0, BLOCKED_STI),
        INJECTION("sti.int", INT_N(0x30), 2, BLOCKED_STI),
        INJECTION("sti.privileged", INT1_TRAP, 1, BLOCKED_STI),
        INJECTION("sti.software", SOFTWARE(VEC_BP), 1, BLOCKED_STI),
        INJECTION("mov-ss.hardware-db", HARDWARE(VEC_DB), 0, BLOCKED_MOV_SS),
        INJECTION("mov-ss.hardware-ud", HARDWARE(VEC_UD), 0, BLOCKED_MOV_SS),
        INJECTION("mov-ss.privileged", INT1_TRAP, 1, BLOCKED_MOV_SS),
};

PROBES(injection, injection_rows, .id = "entry.guest.pending-debug.injection",
       .title = "BS must fit TF and BTF when an event is injected, too",
       .sdm = SDM, .rules = "ENTG_PDBG_BS_CHECK_WITH_INJECTION")

/* A debug exception in a transactional region. */
#define RTM (PENDING_RTM | PENDING_ENABLED)
#define WITH(...) EDITS(SHOW_EXCEPTIONS, SET(GUEST_DEBUGCTL, 0), __VA_ARGS__)

static const struct probe rtm_rows[] = {
        { ROW("absent", "bit 16 without RTM", "ENTG_PDBG_RTM_NEEDS_CPUID",
              "!rtm"),
          .given = WITH(SET(GUEST_RFLAGS, RFLAGS_FIXED)), .reject = PENDING(RTM),
          .outcome = BAD_GUEST },
        { ROW("present", "bit 16 with RTM", "ENTG_PDBG_RTM_NEEDS_CPUID", "rtm"),
          .given = WITH(SET(GUEST_RFLAGS, RFLAGS_FIXED)), .accept = PENDING(RTM),
          .accepted = DEBUGGED },
        { ROW("bit-12", "bit 16 needs bit 12", "ENTG_PDBG_RTM_NEEDS_BIT12",
              "rtm"),
          .given = WITH(SET(GUEST_RFLAGS, RFLAGS_FIXED)), .accept = PENDING(RTM),
          .accepted = DEBUGGED, .reject = PENDING(PENDING_RTM),
          .outcome = BAD_GUEST },
        { ROW("mov-ss", "bit 16 and blocking by MOV SS", "ENTG_PDBG_RTM_NO_MOVSS",
              "rtm"),
          .given = WITH(SET(GUEST_RFLAGS, RFLAGS_FIXED)), .accept = PENDING(RTM),
          .accepted = DEBUGGED,
          .reject = EDITS(SET(GUEST_PENDING_DEBUG_EXCEPTIONS, RTM),
                          SET(GUEST_INTERRUPTIBILITY_STATE, BLOCKED_MOV_SS)),
          .outcome = BAD_GUEST },
        { ROW("sti-tf.no-bs", "bit 16, blocking by STI and TF = 1, BS = 0",
              "ENTG_PDBG_RTM_WITH_STI_TF", "rtm"),
          .given = WITH(SET(GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_IF),
                        SET(GUEST_INTERRUPTIBILITY_STATE, BLOCKED_STI)),
          .accept = PENDING(RTM), .accepted = DEBUGGED,
          .reject = EDITS(SET(GUEST_PENDING_DEBUG_EXCEPTIONS, RTM),
                          OR(GUEST_RFLAGS, RFLAGS_TF)),
          .outcome = BAD_GUEST },
        { ROW("sti-tf.bs", "bit 16, blocking by STI and TF = 1, BS = 1",
              "ENTG_PDBG_RTM_WITH_STI_TF", "rtm"),
          .given = WITH(SET(GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_IF),
                        SET(GUEST_INTERRUPTIBILITY_STATE, BLOCKED_STI)),
          .accept = PENDING(RTM), .accepted = DEBUGGED,
          .reject = EDITS(SET(GUEST_PENDING_DEBUG_EXCEPTIONS, RTM | PENDING_BS),
                          OR(GUEST_RFLAGS, RFLAGS_TF)),
          .outcome = BAD_GUEST },
};

PROBES(rtm, rtm_rows, .id = "entry.guest.pending-debug.rtm",
       .title = "a pending debug exception of an RTM region", .sdm = SDM)

/* Bits that are refused only with bit 16, and those always reserved. */
FAMILY(rtm_others, 15, .id = "entry.guest.pending-debug.rtm.other-bit",
       .title = "bits 11:0 and 15:13 must be 0 with bit 16 (numbers 0 to 11, "
                "13 to 15)", .sdm = SDM,
       .rules = "ENTG_PDBG_RTM_OTHER_BITS", .needs = "rtm")
{
        unsigned bit = row < 12 ? row : 1 + row;
        struct probe p = {
                .given = EDITS(SHOW_EXCEPTIONS), .accept = PENDING(RTM),
                .accepted = DEBUGGED, .reject = PENDING(RTM | BIT(bit)),
                .outcome = BAD_GUEST,
        };

        probe_check(self, &p);
}
