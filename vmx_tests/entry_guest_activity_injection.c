/*
 * SDM Vol. 3, VM Entries > Checks on the Guest State Area > Checks on Guest
 * Non-Register State: which events may be injected in which activity state.
 * Wait-for-SIPI, with none, has a file of its own.
 */
#include "lib/check.h"
#include "x86/cpu.h"
#include "x86/vmx/event.h"
#include "x86/vmx/probe.h"
#include "x86/vmx/session.h"

#define SDM "VM Entries > Checks on Guest Non-Register State"

static bool allowed(u32 state, u32 info)
{
        unsigned type = info >> 8 & 7, vector = info & 0xff;

        switch (state) {
        case ACTIVE:
                return true;
        case HLT:
                return type == 0 || type == 2 || type == 7 ||
                       (type == 3 && (vector == VEC_DB || vector == VEC_MC));
        default:
                return type == 2 || (type == 3 && vector == VEC_MC);
        }
}

/* The guest's handler has the event; a pending MTF VM exit comes at once. */
static void accepted(const struct test_case *self, const struct probe *p,
                     const struct edit *side, u32 info)
{
        struct vmx_result r = probe_enter(p, side, 0), want = EXITS(EXIT_VMCALL);
        struct guest_event event;
        int line = (int)self->line;

        if (info == PENDING_MTF) {
                want.code = EXIT_MONITOR_TRAP_FLAG;
                check_exit(self->file, line, "the injection is accepted", r,
                           want);
                return;
        }
        if (!check_exit(self->file, line, "the injection is accepted", r, want))
                return;
        CHECK("the handler is reached", vm_event(&this_vmx()->vm, &event),
              "guest RIP 0x%llx", (unsigned long long)vmread(VMCS_GUEST_RIP));
        CHECK_EQ("the vector", event.vector, info & 0xff);
}

/*
 * The event is injected into an active guest, which is accepted, and into one
 * in @state.
 */
static void inject(const struct test_case *self, u32 state, u32 info)
{
        unsigned type = info >> 8 & 7;
        const struct edit *in_state = EDITS(SET(GUEST_ACTIVITY_STATE, state));
        struct probe p = {
                .given = EDITS(OR(GUEST_RFLAGS, RFLAGS_IF),
                               SET(ENTRY_INTERRUPTION_INFO, info),
                               SET(ENTRY_EXCEPTION_ERROR_CODE, 0),
                               SET(ENTRY_INSTRUCTION_LENGTH, type == 4 ? 2 : 1)),
        };

        accepted(self, &p, NULL, info);
        if (state == ACTIVE)
                return;
        if (allowed(state, info))
                accepted(self, &p, in_state, info);
        else
                check_exit(self->file, (int)self->line,
                           "the injection in this activity state",
                           probe_enter(&p, in_state, 0), RESULT(BAD_GUEST));
        nmi_unblock();
}

/* Hardware exceptions with their error codes; number: the vector. */
static u32 exception(unsigned vector)
{
        const u32 with_code = BIT(VEC_DF) | BIT(VEC_TS) | BIT(VEC_NP) |
                              BIT(VEC_SS) | BIT(VEC_GP) | BIT(VEC_PF) |
                              BIT(VEC_AC);

        return HARDWARE(vector) | (with_code & BIT(vector) ? EVENT_HAS_ERROR : 0);
}

struct event_row {
        struct row head;
        u32 info;
};

#define EVENT_ROW(id_, info_) { .head = { .id = id_ }, .info = info_ }

static const struct event_row external_rows[] = {
        EVENT_ROW("20", EXTERNAL(0x20)), EVENT_ROW("30", EXTERNAL(0x30)),
        EVENT_ROW("ff", EXTERNAL(0xff)), EVENT_ROW("01", EXTERNAL(VEC_DB)),
        EVENT_ROW("02", EXTERNAL(VEC_NMI)), EVENT_ROW("12", EXTERNAL(VEC_MC)),
};

static const struct event_row nmi_rows[] = { EVENT_ROW("02", NMI) };

/* Vectors that another type would be allowed with are among them. */
static const struct event_row software_rows[] = {
        EVENT_ROW("int.80", INT_N(0x80)), EVENT_ROW("int.01", INT_N(VEC_DB)),
        EVENT_ROW("int.02", INT_N(VEC_NMI)), EVENT_ROW("int.12", INT_N(VEC_MC)),
        EVENT_ROW("privileged.01", INT1_TRAP),
        EVENT_ROW("privileged.12", EVENT(5, VEC_MC)),
        EVENT_ROW("exception.03", SOFTWARE(VEC_BP)),
        EVENT_ROW("exception.04", SOFTWARE(VEC_OF)),
        EVENT_ROW("exception.01", SOFTWARE(VEC_DB)),
        EVENT_ROW("exception.12", SOFTWARE(VEC_MC)),
};

static const struct event_row mtf_rows[] = { EVENT_ROW("00", PENDING_MTF) };

#define EVENTS(what, id_, state, state_id, need, rules_)                     \
TABLE(what##_##state, what##_rows,                                           \
      .id = "entry.guest.activity." state_id ".inject." id_,                 \
      .title = "injection of an event in an activity state", .sdm = SDM,     \
      .rules = rules_, .needs = need)                                        \
{                                                                            \
        inject(self, state, ((const struct event_row *)                      \
                             case_row(self, row))->info);                    \
}
#define EXCEPTIONS(state, state_id, need, rules_)                            \
FAMILY(exceptions_##state, 32,                                               \
       .id = "entry.guest.activity." state_id ".inject.hardware",            \
       .title = "injection of a hardware exception in an activity state "    \
                "(number: vector)", .sdm = SDM, .rules = rules_,             \
       .needs = need)                                                        \
{                                                                            \
        inject(self, state, exception(row));                                 \
}
/* Rules: external interrupts, NMI, exceptions, software events, MTF. */
#define IN_STATE(state, id_, need, external_, nmi_, hardware_, software_, mtf_) \
        EVENTS(external, "external", state, id_, need, external_)            \
        EVENTS(nmi, "nmi", state, id_, need, nmi_)                           \
        EXCEPTIONS(state, id_, need, hardware_)                              \
        EVENTS(software, "software", state, id_, need, software_)            \
        EVENTS(mtf, "mtf", state, id_, need " monitor-trap-flag", mtf_)

#define ALL "ENTG_ACT_INJ_ACTIVE_ALL"
IN_STATE(ACTIVE, "active", "", ALL, ALL, ALL, ALL, ALL)
IN_STATE(HLT, "hlt", "activity-hlt", "ENTG_ACT_INJ_HLT_EXTINT",
         "ENTG_ACT_INJ_HLT_NMI",
         "ENTG_ACT_INJ_HLT_DB_MC ENTG_ACT_INJ_HLT_OTHER_EXCEPTIONS",
         "ENTG_ACT_INJ_HLT_SOFTWARE_TYPES", "ENTG_ACT_INJ_HLT_MTF")
#define REFUSED "ENTG_ACT_INJ_SHUTDOWN_REFUSED"
IN_STATE(SHUTDOWN, "shutdown", "activity-shutdown", REFUSED,
         "ENTG_ACT_INJ_SHUTDOWN_ALLOWED",
         "ENTG_ACT_INJ_SHUTDOWN_ALLOWED " REFUSED, REFUSED, REFUSED)
