/*
 * SDM Vol. 3, VM Entries > Activity State and Special Features of VM Entry: the
 * wait-for-SIPI state, in which only a SIPI does anything, and an INIT signal
 * that is pending at VM entry. The guests run on the second processor.
 */
#include "lib/string.h"
#include "x86/apic.h"
#include "x86/cpu.h"
#include "x86/memory.h"
#include "x86/trap.h"
#include "x86/vmx/event.h"
#include "x86/vmx/remote.h"
#include "x86/vmx/session.h"

#define SDM "VM Entries > Activity State"
#define SPECIAL "VM Entries > Special Features of VM Entry"
#define N_CPUS "cpus-2"
#define N_WAIT N_CPUS " activity-wait-for-sipi"

#define VECTOR 0x61
#define SIPI_VECTOR 0x42
/* How often a SIPI may come too early. */
#define SIPIS 1000

static void timer_small(void)
{
        vm_pend_timer();
        vmwrite(VMCS_PREEMPTION_TIMER_VALUE, 1);
}

static void debug(void)
{
        vmwrite(VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS,
                PENDING_ENABLED | PENDING_B(0));
        vmwrite(VMCS_EXCEPTION_BITMAP, BIT(VEC_DB));
}

static void mtf(void)
{
        vm_control(VMCS_PRIMARY_CONTROLS, CTL_PRIMARY_MONITOR_TRAP_FLAG, 0);
}

static void interrupt(void)
{
        vm_control(VMCS_PIN_CONTROLS, CTL_PIN_EXTERNAL_INTERRUPT_EXITING, 0);
        vm_control(VMCS_GUEST_RFLAGS, RFLAGS_IF, 0);
}

static void nmi(void)
{
        vm_control(VMCS_PIN_CONTROLS, CTL_PIN_NMI_EXITING, 0);
}

static void virtual_interrupt(void)
{
        u32 *page = page_alloc(1);

        interrupt();
        vmcs_edit(EDITS(WITH_SECONDARY(CTL_SECONDARY_VIRTUAL_INTERRUPT_DELIVERY),
                        OR(PRIMARY_CONTROLS, CTL_PRIMARY_USE_TPR_SHADOW)));
        vmwrite(VMCS_VIRTUAL_APIC_ADDRESS, phys(page));
        page[(APIC_IRR + VECTOR / 32 * 16) / 4] = 1u << VECTOR % 32;
        vmwrite(VMCS_GUEST_INTERRUPT_STATUS, VECTOR);
}

static void nothing(void)
{
}

/* What the guest's processor does, and what it saw. */
static struct {
        struct remote remote;
        void (*arm)(void);
        u32 activity;
        bool wait_in_root;        /* until go_on */
        u64 pending_debug;
} job;

static void enter(__attribute__((unused)) void *arg)
{
        struct remote *r = &job.remote;
        struct vm *vm = vm_begin(GUEST_NATIVE);

        job.arm();
        vmwrite(VMCS_GUEST_ACTIVITY_STATE, job.activity);
        vm_poison(0);
        r->in_root = 1;
        for (u32 i = 0; i < REMOTE_LOOPS && job.wait_in_root && !r->go_on; i++)
                pause();
        r->result = vm_enter(vm);
        r->rip = vmread(VMCS_GUEST_RIP);
        r->activity = (u32)vmread(VMCS_GUEST_ACTIVITY_STATE);
        job.pending_debug = vmread(VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS);
        r->done = 1;
        vmx_off();
}

static void enter_with_nmi(__attribute__((unused)) void *arg)
{
        nmi_blocked(enter, NULL, true);
}

static bool start(void (*arm)(void), u32 activity, bool wait_in_root)
{
        memset(&job, 0, sizeof(job));
        job.arm = arm;
        job.activity = activity;
        job.wait_in_root = wait_in_root;
        job.remote.apic_id = cpu_get(1)->apic_id;
        irq_set(VECTOR, irq_ignore);
        irq_set(VEC_NMI, irq_ignore);
        apic_enable();
        if (!cpu_run(1, arm == nmi && wait_in_root ? enter_with_nmi : enter, NULL))
                case_error("processor 1 is busy");
        return remote_wait(&job.remote, &job.remote.in_root);
}

static void send(u32 icr)
{
        apic_icr(job.remote.apic_id, icr | ICR_ASSERT);
}

static const struct {
        struct row head;
        void (*arm)(void);
        u32 icr;              /* sent before the SIPI, if not 0 */
} waits[] = {
        { ROW("nothing", "nothing"), nothing, 0 },
        { ROW("interrupt", "interrupt", "POST_ACT_WFS_ENTERED",
              "external-interrupt-exiting"), interrupt, ICR_FIXED | VECTOR },
        { ROW("nmi", "NMI", "POST_ACT_WFS_ENTERED", "nmi-exiting"), nmi, ICR_NMI },
        { ROW("init", "INIT", "POST_ACT_WFS_ENTERED"), nothing, ICR_INIT },
        { ROW("timer-0", "preemption timer, 0", "POST_ACT_WFS_TIMER_NO_EXIT",
              N_TIMER), vm_pend_timer, 0 },
        { ROW("timer-1", "preemption timer, 1", "POST_ACT_WFS_TIMER_NO_EXIT",
              N_TIMER), timer_small, 0 },
        { ROW("interrupt-window", "interrupt window", "POST_IW_SHUTDOWN_WFS",
              N_INTERRUPT_WINDOW), vm_pend_interrupt_window, 0 },
        { ROW("nmi-window", "NMI window", "POST_NW_WFS", N_NMI_WINDOW),
          vm_pend_nmi_window, 0 },
        { ROW("tpr-threshold", "TPR threshold", "POST_TPR_WFS", N_TPR_THRESHOLD),
          vm_pend_tpr_threshold, 0 },
        { ROW("debug", "pending #DB", "POST_PDBG_NONE_SHUTDOWN_WFS"), debug, 0 },
        { ROW("mtf", "monitor trap flag", "POST_MTF_NOT_IN_SHUTDOWN_WFS",
              N_MTF), mtf, 0 },
        { ROW("virtual-interrupt", "virtual interrupt", "POST_VID_SHUTDOWN_WFS",
              "use-tpr-shadow virtual-interrupt-delivery "
              "external-interrupt-exiting"), virtual_interrupt, 0 },
};

TABLE(wait_for_sipi, waits, .id = "entry.wait-for-sipi",
      .title = "in the wait-for-SIPI state nothing exits but a SIPI",
      .sdm = SDM, .rules = "POST_ACT_WFS_ENTERED POST_ACT_WFS_SIPI_EXIT",
      .needs = N_WAIT)
{
        struct remote *r = &job.remote;

        if (!start(waits[row].arm, WAIT_FOR_SIPI, false))
                return;
        remote_moment();
        if (waits[row].icr)
                send(waits[row].icr);
        remote_moment();
        CHECK_EQ("it has ended before the SIPI", r->done, 0);
        for (unsigned i = 0; i < SIPIS && !r->done; i++) {
                send(ICR_SIPI | SIPI_VECTOR);
                remote_moment();
        }
        if (!remote_wait_done(r))
                return;
        CHECK_RESULT("the guest's processor", r->result,
                     EXITS_WITH(EXIT_SIPI, SIPI_VECTOR));
        CHECK_EQ("RIP", r->rip, (ulong)program_vmcall.start);
        CHECK_EQ("pending debug exceptions", job.pending_debug, 0);
}

static const struct {
        struct row head;
        u32 activity;
} inits[] = {
        { ROW("hlt", "HLT", NULL, "activity-hlt"), HLT },
        { ROW("shutdown", "shutdown", NULL, "activity-shutdown"), SHUTDOWN },
};

TABLE(init, inits, .id = "entry.init.activity",
      .title = "INIT exits from an inactive state",
      .sdm = "VMX Non-Root Operation > Other Causes of VM Exits",
      .rules = "POST_ACT_HLT_INIT", .needs = N_CPUS)
{
        struct remote *r = &job.remote;

        if (!start(nothing, inits[row].activity, false))
                return;
        remote_moment();
        CHECK_EQ("it has ended before INIT", r->done, 0);
        send(ICR_INIT);
        if (!remote_wait_done(r))
                return;
        CHECK_RESULT("the guest's processor", r->result,
                     EXITS_WITH(EXIT_INIT_SIGNAL, 0));
        CHECK_EQ("RIP", r->rip, (ulong)program_vmcall.start);
}

CASE(init_shutdown, .id = "entry.init.activity-saved.shutdown",
     .title = "an exit from shutdown by INIT saves shutdown",
     .sdm = "VM Exits > Architectural State Before a VM Exit",
     .rules = "POST_ACT_HLT_INIT", .needs = N_CPUS " activity-shutdown")
{
        struct remote *r = &job.remote;

        if (!start(nothing, SHUTDOWN, false))
                return;
        remote_moment();
        send(ICR_INIT);
        if (!remote_wait_done(r))
                return;
        CHECK_RESULT("the guest's processor", r->result,
                     EXITS_WITH(EXIT_INIT_SIGNAL, 0));
        CHECK_EQ("activity state", r->activity, SHUTDOWN);
}

/* The interrupt ends the case: the SIPI before it has done nothing. */
CASE(sipi_halted, .id = "entry.sipi.hlt",
     .title = "a SIPI to a halted guest is discarded",
     .sdm = SDM, .rules = "POST_ACT_ACTIVE_SIPI_DISCARDED",
     .needs = N_CPUS " activity-hlt external-interrupt-exiting")
{
        struct remote *r = &job.remote;

        if (!start(interrupt, HLT, false))
                return;
        remote_moment();
        send(ICR_SIPI | SIPI_VECTOR);
        remote_moment();
        CHECK_EQ("it has ended before the interrupt", r->done, 0);
        send(ICR_FIXED | VECTOR);
        if (!remote_wait_done(r))
                return;
        CHECK_RESULT("the guest's processor", r->result,
                     EXITS(EXIT_EXTERNAL_INTERRUPT));
        CHECK_EQ("RIP", r->rip, (ulong)program_vmcall.start);
}

/* INIT comes while the processor is in root operation, where it is held. */
static const struct {
        struct row head;
        void (*arm)(void);
        u32 reason;
        bool first;           /* it comes before INIT */
} priorities[] = {
        { ROW("tpr-threshold", "TPR threshold, before INIT",
              "POST_PRIO_TPR_OVER_INIT", N_TPR_THRESHOLD),
          vm_pend_tpr_threshold, EXIT_TPR_BELOW_THRESHOLD, true },
        { ROW("mtf", "pending MTF exit", "POST_PRIO_INIT_OVER_MTF",
              N_MTF), vm_pend_mtf, EXIT_MONITOR_TRAP_FLAG, false },
#define BELOW "POST_PRIO_INIT_OVER_DB_TMR_NW_NMI_IW_EXT"
        { ROW("debug", "pending #DB", BELOW), debug, EXIT_EXCEPTION_NMI, false },
        { ROW("timer", "preemption timer", BELOW, N_TIMER), vm_pend_timer,
          EXIT_PREEMPTION_TIMER, false },
        { ROW("nmi-window", "NMI window", BELOW, N_NMI_WINDOW),
          vm_pend_nmi_window, EXIT_NMI_WINDOW, false },
        { ROW("nmi", "NMI", BELOW, "nmi-exiting"), nmi, EXIT_EXCEPTION_NMI, false },
        { ROW("interrupt-window", "interrupt window", BELOW,
              N_INTERRUPT_WINDOW), vm_pend_interrupt_window,
          EXIT_INTERRUPT_WINDOW, false },
        { ROW("interrupt", "interrupt", BELOW, "external-interrupt-exiting"),
          interrupt, EXIT_EXTERNAL_INTERRUPT, false },
};

static bool enter_in_root(unsigned row, bool with_init)
{
        if (!start(priorities[row].arm, ACTIVE, true))
                return false;
        if (priorities[row].arm == interrupt)
                send(ICR_FIXED | VECTOR);
        if (with_init)
                send(ICR_INIT);
        remote_moment();  /* they arrive */
        job.remote.go_on = 1;
        return remote_wait_done(&job.remote);
}

TABLE(init_priority, priorities, .id = "entry.priority.init",
      .title = "INIT is pending after VM entry: it comes first, but for the TPR threshold",
      .sdm = SPECIAL, .needs = N_CPUS)
{
        struct remote *r = &job.remote;
        u32 reason = priorities[row].reason;

        if (!enter_in_root(row, false))
                return;
        check_result(__FILE__, __LINE__, "without INIT", r->result,
                     RESULT(EXITS(reason)));
        if (!enter_in_root(row, true))
                return;
        if (!priorities[row].first)
                reason = EXIT_INIT_SIGNAL;
        check_result(__FILE__, __LINE__, "with INIT", r->result,
                     RESULT(EXITS(reason)));
        CHECK_EQ("RIP", r->rip, (ulong)program_vmcall.start);
        if (priorities[row].arm == debug)
                CHECK_EQ("pending debug exceptions", job.pending_debug,
                         PENDING_ENABLED | PENDING_B(0));
}
