/*
 * SDM Vol. 3, VM Entries > Checks on the Guest State Area > Checks on Guest
 * Non-Register State: the wait-for-SIPI state. Nothing but a SIPI from another
 * processor ends a guest in it, so that these run on the second one: those that
 * must be refused, too, in case they are not.
 */
#include "lib/check.h"
#include "x86/apic.h"
#include "x86/cpu.h"
#include "x86/smp.h"
#include "x86/vmx/event.h"
#include "x86/vmx/probe.h"
#include "x86/vmx/session.h"

#define SDM "VM Entries > Checks on Guest Non-Register State"

#define SIPI_VECTOR 0x42
/* A SIPI that comes before the guest waits for it does nothing. */
#define SIPIS 20000
#define SPINS_BETWEEN 100

static const struct probe *job;
static struct vmx_result job_result;

static void enter(__attribute__((unused)) void *arg)
{
        job_result = probe_enter(job, job->accept, 0);
        /* Before the processor's VMXON region is given back. */
        vmx_off();
}

#define WAIT SET(GUEST_ACTIVITY_STATE, WAIT_FOR_SIPI)
#define AT_CPL_3 OR(GUEST_CS_SELECTOR, 3), OR(GUEST_SS_SELECTOR, 3),         \
        OR(GUEST_CS_ACCESS_RIGHTS, 0x60), OR(GUEST_SS_ACCESS_RIGHTS, 0x60)

static const struct probe rows[] = {
        { ROW("supported", "wait-for-SIPI with support",
              "ENTG_ACT_UNSUPPORTED_WFS ENTG_ACT_INJ_WFS_REFUSED"),
          .accept = EDITS(WAIT) },
        { ROW("pae", "wait-for-SIPI with support, 32-bit guest",
              "ENTG_ACT_UNSUPPORTED_WFS"),
          .mode = GUEST_PAE, .accept = EDITS(WAIT) },
        { ROW("cpl-3", "wait-for-SIPI with SS.DPL = 3",
              "ENTG_ACT_SHUTDOWN_WFS_ANY_DPL"),
          .accept = EDITS(WAIT, AT_CPL_3) },
        { ROW("v86", "wait-for-SIPI in virtual-8086 mode",
              "ENTG_ACT_SHUTDOWN_WFS_ANY_DPL"),
          .mode = GUEST_V86, .accept = EDITS(WAIT) },
        { ROW("nmi-blocked", "wait-for-SIPI with blocking by NMI",
              "ENTG_ACT_NMI_BLOCKING_ANY_STATE", "nmi-exiting virtual-nmis"),
          .accept = EDITS(WAIT, SET(GUEST_INTERRUPTIBILITY_STATE, BLOCKED_NMI),
                          OR(PIN_CONTROLS, CTL_PIN_NMI_EXITING |
                                           CTL_PIN_VIRTUAL_NMIS)) },
        { ROW("bs-0-tf-1", "wait-for-SIPI with TF = 1 and no pending BS",
              "ENTG_PDBG_BS_UNCHECKED_OTHERWISE"),
          .accept = EDITS(WAIT, OR(GUEST_RFLAGS, RFLAGS_TF)) },
        { ROW("bs-1-tf-0", "wait-for-SIPI with TF = 0 and a pending BS",
              "ENTG_PDBG_BS_UNCHECKED_OTHERWISE"),
          .accept = EDITS(WAIT, SET(GUEST_PENDING_DEBUG_EXCEPTIONS, PENDING_BS)) },
};

#define NEEDS "cpus-2 activity-wait-for-sipi"

/* Enters on the second processor and sends SIPIs until the guest has ended. */
static bool run(const struct probe *p)
{
        bool idle = false;

        /* The first processor's fields make the baseline, not the second's. */
        vm_begin(p->mode);
        job = p;
        if (!cpu_run(1, enter, NULL)) {
                case_error("the second processor takes no work");
                return false;
        }
        for (unsigned i = 0; i < SIPIS && !idle; i++) {
                apic_icr(cpu_get(1)->apic_id,
                         ICR_SIPI | ICR_ASSERT | SIPI_VECTOR);
                idle = cpu_wait(1, SPINS_BETWEEN);
        }
        if (CHECK("a SIPI ends the guest", idle, "it goes on"))
                return true;
        if (!cpu_restart(1))
                case_error("the second processor is lost");
        return false;
}

TABLE(accepted, rows, .id = "entry.guest.activity.wait-for-sipi.accepted",
      .title = "a guest that waits for a SIPI", .sdm = SDM, .needs = NEEDS)
{
        if (run(case_row(self, row)))
                check_result(self->file, (int)self->line, "VM entry", job_result,
                             RESULT(EXITS_WITH(EXIT_SIPI, SIPI_VECTOR)));
}

/* The active guest is accepted, the same that waits is not. */
static void refused(const struct test_case *self, const struct edit *given)
{
        struct probe p = { .given = given };
        struct vmx_result r = probe_enter(&p, NULL, 0);

        check_result(self->file, (int)self->line, "VM entry, active", r,
                     RESULT(EXITS(EXIT_VMCALL)));
        p.accept = EDITS(WAIT);
        if (run(&p))
                check_result(self->file, (int)self->line,
                             "VM entry, wait-for-SIPI", job_result,
                             RESULT(BAD_GUEST));
}

/* Blocking by STI (number 0) and by MOV SS (1) need the active state. */
FAMILY(blocking, 2, .id = "entry.guest.activity.wait-for-sipi.blocking",
       .title = "blocking by STI or by MOV SS needs the active state",
       .sdm = SDM,
       .rules = "ENTG_ACT_ACTIVE_ONLY_WITH_STI ENTG_ACT_ACTIVE_ONLY_WITH_MOVSS",
       .needs = NEEDS)
{
        refused(self, EDITS(OR(GUEST_RFLAGS, RFLAGS_IF),
                            SET(GUEST_INTERRUPTIBILITY_STATE, 1 << row)));
}

struct event_row {
        struct row head;
        u32 info, length;
};

#define EVENT_ROW(id_, info_, length_) \
        { .head = { .id = id_ }, .info = info_, .length = length_ }

static const struct event_row events[] = {
        EVENT_ROW("external.30", EXTERNAL(0x30), 0),
        EVENT_ROW("external.02", EXTERNAL(VEC_NMI), 0),
        EVENT_ROW("external.12", EXTERNAL(VEC_MC), 0),
        EVENT_ROW("nmi", NMI, 0),
        EVENT_ROW("hardware.00", HARDWARE(VEC_DE), 0),
        EVENT_ROW("hardware.01", HARDWARE(VEC_DB), 0),
        EVENT_ROW("hardware.06", HARDWARE(VEC_UD), 0),
        EVENT_ROW("hardware.08", HARDWARE_CODE(VEC_DF), 0),
        EVENT_ROW("hardware.0d", HARDWARE_CODE(VEC_GP), 0),
        EVENT_ROW("hardware.0e", HARDWARE_CODE(VEC_PF), 0),
        EVENT_ROW("hardware.12", HARDWARE(VEC_MC), 0),
        EVENT_ROW("hardware.1f", HARDWARE(31), 0),
        EVENT_ROW("int.80", INT_N(0x80), 2),
        EVENT_ROW("int.02", INT_N(VEC_NMI), 2),
        EVENT_ROW("privileged", INT1_TRAP, 1),
        EVENT_ROW("software.03", SOFTWARE(VEC_BP), 1),
        EVENT_ROW("software.04", SOFTWARE(VEC_OF), 1),
};

TABLE(inject, events, .id = "entry.guest.activity.wait-for-sipi.inject",
      .title = "no event may be injected in the wait-for-SIPI state", .sdm = SDM,
      .rules = "ENTG_ACT_INJ_WFS_REFUSED", .needs = NEEDS)
{
        const struct event_row *r = case_row(self, row);

        refused(self, EDITS(OR(GUEST_RFLAGS, RFLAGS_IF),
                            SET(ENTRY_INTERRUPTION_INFO, r->info),
                            SET(ENTRY_INSTRUCTION_LENGTH, r->length)));
        nmi_unblock();
}

/* The active guest would exit at once. */
CASE(inject_mtf, .id = "entry.guest.activity.wait-for-sipi.inject.mtf",
     .title = "no MTF VM exit may be pending in the wait-for-SIPI state",
     .sdm = SDM, .rules = "ENTG_ACT_INJ_WFS_REFUSED",
     .needs = NEEDS " monitor-trap-flag")
{
        struct probe p = {
                .given = EDITS(SET(ENTRY_INTERRUPTION_INFO, PENDING_MTF)),
        };
        struct vmx_result r = probe_enter(&p, NULL, 0);

        CHECK_RESULT("VM entry, active", r, EXITS(EXIT_MONITOR_TRAP_FLAG));
        p.accept = EDITS(WAIT);
        if (run(&p))
                CHECK_RESULT("VM entry, wait-for-SIPI", job_result, BAD_GUEST);
}
