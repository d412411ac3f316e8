/*
 * SDM Vol. 3, VM Entries > Checks on the Guest State Area > Checks on Guest
 * Non-Register State: guests that VM entry must accept in the wait-for-SIPI
 * state. Nothing but a SIPI from another processor ends them, so that they run
 * on the second one.
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

TABLE(accepted, rows, .id = "entry.guest.activity.wait-for-sipi.accepted",
      .title = "a guest that waits for a SIPI", .sdm = SDM,
      .needs = "cpus-2 activity-wait-for-sipi")
{
        bool idle = false;

        job = case_row(self, row);
        if (!cpu_run(1, enter, NULL)) {
                case_error("the second processor takes no work");
                return;
        }
        for (unsigned i = 0; i < SIPIS && !idle; i++) {
                apic_icr(cpu_get(1)->apic_id,
                         ICR_SIPI | ICR_ASSERT | SIPI_VECTOR);
                idle = cpu_wait(1, SPINS_BETWEEN);
        }
        if (!CHECK("a SIPI ends the guest", idle, "it goes on")) {
                if (!cpu_restart(1))
                        case_error("the second processor is lost");
                return;
        }
        check_result(self->file, (int)self->line, "VM entry", job_result,
                     RESULT(EXITS_WITH(EXIT_SIPI, SIPI_VECTOR)));
}
