/*
 * SDM Vol. 3, VM Entries > Special Features of VM Entry: what is pending right
 * after VM entry, before the first instruction, and which of two comes first.
 * Second processors' INIT: entry_init.c. Virtual interrupts: entry_virtual_
 * interrupts.c.
 */
#include "x86/cpu.h"
#include "x86/vmx/event.h"

#define VECTOR 0x61

/* In the order of their priority. */
enum condition { TPR, MTF, DB, TMR, NW, PHYSICAL_NMI, IW, EXT, CONDITIONS };

static void disarm_tpr(void)
{
        vmwrite(VMCS_TPR_THRESHOLD, 0);
}

static void arm_db(void)
{
        vmwrite(VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS, PENDING_BS);
        vm_control(VMCS_GUEST_RFLAGS, RFLAGS_TF, 0);
        vm_control(VMCS_EXCEPTION_BITMAP, BIT(VEC_DB), 0);
}

static void disarm_timer(void)
{
        vm_control(VMCS_PIN_CONTROLS, 0, CTL_PIN_ACTIVATE_PREEMPTION_TIMER);
}

static void disarm_nmi_window(void)
{
        vm_control(VMCS_PRIMARY_CONTROLS, 0, CTL_PRIMARY_NMI_WINDOW_EXITING);
}

static void arm_nmi(void)
{
        vm_control(VMCS_PIN_CONTROLS, CTL_PIN_NMI_EXITING, 0);
}

static void disarm_interrupt_window(void)
{
        vm_control(VMCS_PRIMARY_CONTROLS, 0,
                   CTL_PRIMARY_INTERRUPT_WINDOW_EXITING);
}

/* IF = 1 although it does not count: see entry_interruptibility.c for IF = 0. */
static void arm_interrupt(void)
{
        vm_control(VMCS_GUEST_RFLAGS, RFLAGS_IF, 0);
        vm_control(VMCS_PIN_CONTROLS, CTL_PIN_EXTERNAL_INTERRUPT_EXITING, 0);
}

static void nothing(void)
{
}

/* @disarm: where the exit does not remove the condition itself. */
static const struct {
        void (*arm)(void), (*disarm)(void);
        u32 reason;
        u32 event;
} conditions[CONDITIONS] = {
        [TPR] = { vm_pend_tpr_threshold, disarm_tpr, EXIT_TPR_BELOW_THRESHOLD, 0 },
        [MTF] = { vm_pend_mtf, nothing, EXIT_MONITOR_TRAP_FLAG, 0 },
        [DB] = { arm_db, nothing, EXIT_EXCEPTION_NMI, HARDWARE(VEC_DB) },
        [TMR] = { vm_pend_timer, disarm_timer, EXIT_PREEMPTION_TIMER, 0 },
        [NW] = { vm_pend_nmi_window, disarm_nmi_window, EXIT_NMI_WINDOW, 0 },
        [PHYSICAL_NMI] = { arm_nmi, nothing, EXIT_EXCEPTION_NMI, NMI },
        [IW] = { vm_pend_interrupt_window, disarm_interrupt_window,
                 EXIT_INTERRUPT_WINDOW, 0 },
        [EXT] = { arm_interrupt, nothing, EXIT_EXTERNAL_INTERRUPT, 0 },
};

struct trial {
        u32 set;                  /* conditions */
        enum condition first;     /* the one that should be seen */
        enum condition second;    /* if not CONDITIONS: after it, on re-entry */
};

static void check_seen(const char *what, struct vmx_result r, enum condition c)
{
        check_exit(__FILE__, __LINE__, what, r,
                   RESULT(EXITS(conditions[c].reason)));
        CHECK_EXITING_EVENT(conditions[c].event, 0);
        CHECK_ORIGINAL_EVENT(0, 0);
        CHECK_VMCS(GUEST_RIP, (ulong)program_vmcall.start);
}

static void enter(void *arg)
{
        const struct trial *t = arg;
        struct vm *vm = vm_begin(GUEST_NATIVE);

        for (unsigned c = 0; c < CONDITIONS; c++)
                if (t->set & BIT(c))
                        conditions[c].arm();
        vm_poison(0);
        check_seen("first", vm_enter(vm), t->first);
        if (t->second == DB)
                CHECK_VMCS_MASKED(GUEST_PENDING_DEBUG_EXCEPTIONS, PENDING_BS,
                                  PENDING_BS);
        if (t->set & BIT(MTF))
                CHECK_VMCS_MASKED(ENTRY_INTERRUPTION_INFO, 0, EVENT_VALID);
        if (t->second == CONDITIONS)
                return;
        conditions[t->first].disarm();
        vm_poison(0);
        if (t->second == MTF)  /* it is lost */
                CHECK_EXIT("second", vm_enter(vm), EXITS(EXIT_VMCALL));
        else
                check_seen("second", vm_enter(vm), t->second);
}

/*
 * An interrupt or an NMI that the guest's exit did not take is the host's: the
 * exit lets it in, so neither is there to be seen on re-entry.
 */
static void run(struct trial t)
{
        u32 taken;

        if (t.second == EXT || t.second == PHYSICAL_NMI)
                t.second = CONDITIONS;
        if (t.set & BIT(EXT))
                irq_pend(VECTOR);
        if (t.set & BIT(PHYSICAL_NMI)) {
                taken = nmi_blocked(enter, &t, true);
                CHECK_EQ("NMIs left to the host", taken,
                         t.first == PHYSICAL_NMI ? 0 : 1);
        } else {
                enter(&t);
        }
        if (t.set & BIT(EXT))
                CHECK_EQ("interrupts left to the host", irq_take(VECTOR), 1);
}

#define N_TPR N_TPR_THRESHOLD
#define N_DB ""
#define N_TMR N_TIMER
#define N_NW N_NMI_WINDOW
#define N_PHYSICAL_NMI "nmi-exiting apic"
#define N_IW N_INTERRUPT_WINDOW
#define N_EXT "external-interrupt-exiting apic"

static const struct {
        struct row head;
        u8 high, low;
} pairs[] = {
#define PAIR(high_, low_, id_, title_, rule_)                           \
        { ROW(id_, title_, rule_, N_##high_ " " N_##low_), high_, low_ }
#define LOWER_THAN_TPR(low_, id_, title_, rule_)                        \
        PAIR(TPR, low_, "tpr-threshold." id_,                           \
             "TPR threshold before " title_, rule_)
        LOWER_THAN_TPR(MTF, "mtf", "pending MTF exit",
                       "POST_PRIO_TPR_OVER_MTF POST_MTF_NOT_STICKY"),
        LOWER_THAN_TPR(DB, "debug", "pending #DB",
                       "POST_PRIO_TPR_OVER_DB POST_PDBG_TPR_EXIT_PRESERVES"),
        LOWER_THAN_TPR(TMR, "timer", "preemption timer", "POST_PRIO_TPR_OVER_TMR"),
        LOWER_THAN_TPR(NW, "nmi-window", "NMI window", "POST_PRIO_TPR_OVER_NW"),
        LOWER_THAN_TPR(PHYSICAL_NMI, "nmi", "NMI", "POST_PRIO_TPR_OVER_NMI"),
        LOWER_THAN_TPR(IW, "interrupt-window", "interrupt window",
                       "POST_PRIO_TPR_OVER_IW"),
        LOWER_THAN_TPR(EXT, "interrupt", "interrupt", "POST_PRIO_TPR_OVER_EXT"),
        PAIR(MTF, DB, "mtf.debug", "pending MTF exit before pending #DB",
             "POST_PRIO_MTF_OVER_DB POST_PDBG_MTF_EXIT_PRESERVES"),
        PAIR(MTF, TMR, "mtf.timer", "pending MTF exit before preemption timer",
             "POST_PRIO_MTF_OVER_TMR"),
        PAIR(MTF, NW, "mtf.nmi-window", "pending MTF exit before NMI window",
             "POST_PRIO_MTF_OVER_NW"),
        PAIR(MTF, PHYSICAL_NMI, "mtf.nmi", "pending MTF exit before NMI",
             "POST_PRIO_MTF_OVER_NMI"),
        PAIR(MTF, IW, "mtf.interrupt-window",
             "pending MTF exit before interrupt window", "POST_PRIO_MTF_OVER_IW"),
        PAIR(MTF, EXT, "mtf.interrupt", "pending MTF exit before interrupt",
             "POST_PRIO_MTF_OVER_EXT"),
        PAIR(DB, TMR, "debug.timer", "pending #DB before preemption timer",
             "POST_PRIO_DB_OVER_TMR"),
        PAIR(DB, NW, "debug.nmi-window", "pending #DB before NMI window",
             "POST_PRIO_DB_OVER_NW"),
        PAIR(DB, PHYSICAL_NMI, "debug.nmi", "pending #DB before NMI",
             "POST_PRIO_DB_OVER_NMI"),
        PAIR(DB, IW, "debug.interrupt-window", "pending #DB before interrupt window",
             "POST_PRIO_DB_OVER_IW"),
        PAIR(DB, EXT, "debug.interrupt", "pending #DB before interrupt",
             "POST_PRIO_DB_OVER_EXT"),
        PAIR(TMR, NW, "timer.nmi-window", "preemption timer before NMI window",
             "POST_PRIO_TMR_OVER_NW"),
        PAIR(TMR, PHYSICAL_NMI, "timer.nmi", "preemption timer before NMI",
             "POST_PRIO_TMR_OVER_NMI"),
        PAIR(TMR, IW, "timer.interrupt-window",
             "preemption timer before interrupt window", "POST_PRIO_TMR_OVER_IW"),
        PAIR(TMR, EXT, "timer.interrupt", "preemption timer before interrupt",
             "POST_PRIO_TMR_OVER_EXT"),
        PAIR(NW, PHYSICAL_NMI, "nmi-window.nmi", "NMI window before NMI",
             "POST_PRIO_NW_OVER_NMI"),
        PAIR(NW, IW, "nmi-window.interrupt-window",
             "NMI window before interrupt window", "POST_PRIO_NW_OVER_IW"),
        PAIR(NW, EXT, "nmi-window.interrupt", "NMI window before interrupt",
             "POST_PRIO_NW_OVER_EXT"),
        PAIR(PHYSICAL_NMI, IW, "nmi.interrupt-window", "NMI before interrupt window",
             "POST_PRIO_NMI_OVER_IW"),
        PAIR(PHYSICAL_NMI, EXT, "nmi.interrupt", "NMI before interrupt",
             "POST_PRIO_NMI_OVER_EXT"),
        PAIR(IW, EXT, "interrupt-window.interrupt",
             "interrupt window before interrupt", "POST_PRIO_IW_OVER_EXT"),
};

TABLE(priority, pairs, .id = "entry.priority",
      .title = "of two that are pending after VM entry the one comes first",
      .sdm = "VM Entries > Special Features of VM Entry")
{
        enum condition high = pairs[row].high, low = pairs[row].low;

        run((struct trial){ (u32)BIT(low), low, CONDITIONS });
        run((struct trial){ (u32)(BIT(high) | BIT(low)), high, low });
}

/* Everything is pending; at each entry one less, from the top. */
CASE(order, .id = "entry.priority.all",
     .title = "everything is pending after VM entry: in order of priority",
     .sdm = "VM Entries > Special Features of VM Entry",
     .rules = "POST_PRIO_FULL_ORDER",
     .needs = N_TPR " " N_MTF " " N_TMR " " N_NW " " N_PHYSICAL_NMI " " N_IW " " N_EXT)
{
        for (enum condition c = TPR; c < CONDITIONS; c++)
                run((struct trial){ (u32)(BIT(CONDITIONS) - BIT(c)), c,
                                    CONDITIONS });
}
