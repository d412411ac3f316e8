/*
 * SDM Vol. 3, Interrupt and Exception Handling > Priority Among Simultaneous
 * Exceptions and Interrupts: what is pending right after VM entry comes before
 * the breakpoint of the first instruction and before faults of its fetch.
 */
#include "x86/cpu.h"
#include "x86/memory.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/ept.h"
#include "x86/vmx/event.h"

#define SDM "Interrupt and Exception Handling > Priority Among Simultaneous Exceptions and Interrupts"
#define VECTOR 0x61

static void interrupt(void)
{
        vm_control(VMCS_PIN_CONTROLS, CTL_PIN_EXTERNAL_INTERRUPT_EXITING, 0);
        vm_control(VMCS_GUEST_RFLAGS, RFLAGS_IF, 0);
        irq_pend(VECTOR);
}

static const struct {
        struct row head;
        void (*arm)(void);
        u32 reason;
} events[] = {
        { ROW("timer", "preemption timer", NULL, N_TIMER), vm_pend_timer,
          EXIT_PREEMPTION_TIMER },
        { ROW("nmi-window", "NMI window", NULL, N_NMI_WINDOW), vm_pend_nmi_window,
          EXIT_NMI_WINDOW },
        { ROW("interrupt-window", "interrupt window", NULL, N_INTERRUPT_WINDOW),
          vm_pend_interrupt_window, EXIT_INTERRUPT_WINDOW },
        { ROW("interrupt", "interrupt", NULL, "external-interrupt-exiting apic"),
          interrupt, EXIT_EXTERNAL_INTERRUPT },
        { ROW("tpr-threshold", "TPR threshold", NULL, N_TPR_THRESHOLD),
          vm_pend_tpr_threshold, EXIT_TPR_BELOW_THRESHOLD },
        { ROW("mtf", "pending MTF exit", NULL, N_MTF), vm_pend_mtf,
          EXIT_MONITOR_TRAP_FLAG },
};

/* One entry with the event of @row; its exit, at @rip. */
static void check_event_first(struct vm *vm, unsigned row, const char *what)
{
        u64 rip = vmread(VMCS_GUEST_RIP);

        events[row].arm();
        vm_poison(0);
        check_exit(__FILE__, __LINE__, what, vm_enter(vm),
                   RESULT(EXITS(events[row].reason)));
        CHECK_VMCS(GUEST_RIP, rip);
        CHECK_ORIGINAL_EVENT(0, 0);
        if (events[row].arm == interrupt)
                CHECK_EQ("interrupts left to the host", irq_take(VECTOR), 1);
}

static struct vm *begin_breakpoint(void)
{
        struct vm *vm = vm_begin(GUEST_NATIVE);

        write_dr0((ulong)program_vmcall.start);
        vm_control(VMCS_ENTRY_CONTROLS, CTL_ENTRY_LOAD_DEBUG_CONTROLS, 0);
        vmwrite(VMCS_GUEST_DR7, DR7_FIXED | DR7_L(0));
        vmwrite(VMCS_EXCEPTION_BITMAP, BIT(VEC_DB));
        vm_poison(0);
        return vm;
}

TABLE(breakpoint, events, .id = "entry.priority.breakpoint",
      .title = "it comes before the breakpoint of the first instruction",
      .sdm = SDM, .rules = "POST_PRIO_INSTRUCTION_BREAKPOINT_LAST",
      .needs = "load-debug-controls")
{
        ulong dr0 = read_dr0();
        struct vm *vm = begin_breakpoint();

        CHECK_EXIT("nothing pending", vm_enter(vm), EXITS(EXIT_EXCEPTION_NMI));
        CHECK_EXITING_EVENT(HARDWARE(VEC_DB), 0);
        CHECK_VMCS(GUEST_RIP, (ulong)program_vmcall.start);
        vm = begin_breakpoint();
        check_event_first(vm, row, "pending");
        write_dr0(dr0);
}

static struct vm *begin_page_fault(void)
{
        struct vm *vm = vm_begin(GUEST_NATIVE);

        vm_paging_hole(vm);
        vmwrite(VMCS_GUEST_RIP, GUEST_HOLE);
        vmwrite(VMCS_EXCEPTION_BITMAP, BIT(VEC_PF));
        return vm;
}

static struct vm *begin_limit(void)
{
        struct vm *vm = vm_begin(GUEST_PAE);

        vmwrite(VMCS_GUEST_CS_LIMIT, 0xfff);
        vm_control(VMCS_GUEST_CS_ACCESS_RIGHTS, 0, 1u << 15);
        vmwrite(VMCS_EXCEPTION_BITMAP, BIT(VEC_GP));
        return vm;
}

/* Bits above the linear-address width agree, the one below does not. */
static struct vm *begin_not_canonical(void)
{
        struct vm *vm = vm_begin(GUEST_NATIVE);

        vmwrite(VMCS_GUEST_RIP, BIT(linear_address_width() - 1));
        vmwrite(VMCS_EXCEPTION_BITMAP, BIT(VEC_GP));
        return vm;
}

static struct vm *begin_violation(void)
{
        struct vm *vm = vm_begin(GUEST_NATIVE);
        u64 *ept = ept_new(), page = phys(program_vmcall.start) & ~4095ull;

        ept_map_identity(ept);
        *ept_entry(ept, page, EPT_PTE) = 0;
        ept_use(ept, 0);
        return vm;
}

static void fetch(unsigned row, struct vm *(*begin)(void), u32 reason, u32 event)
{
        struct vm *vm = begin();
        u64 rip = vmread(VMCS_GUEST_RIP);

        vm_poison(0);
        check_exit(__FILE__, __LINE__, "nothing pending", vm_enter(vm),
                   RESULT(EXITS(reason)));
        CHECK_EXITING_EVENT(event, 0);
        CHECK_VMCS(GUEST_RIP, rip);
        check_event_first(begin(), row, "pending");
}

#define FETCH .sdm = SDM, .rules = "POST_PRIO_FETCH_FAULTS_LAST"

TABLE(fetch_limit, events, .id = "entry.priority.fetch.limit",
      .title = "it comes before the fault of a fetch beyond CS.limit", FETCH)
{
        fetch(row, begin_limit, EXIT_EXCEPTION_NMI, HARDWARE_CODE(VEC_GP));
}

TABLE(fetch_not_canonical, events, .id = "entry.priority.fetch.not-canonical",
      .title = "it comes before the fault of a fetch from a non-canonical RIP",
      .needs = "host64", FETCH)
{
        fetch(row, begin_not_canonical, EXIT_EXCEPTION_NMI, HARDWARE_CODE(VEC_GP));
}

TABLE(fetch_page, events, .id = "entry.priority.fetch.page",
      .title = "it comes before the page fault of the first fetch", FETCH)
{
        struct vm *vm = begin_page_fault();

        /* Whether the error code has the I bit is another matter. */
        CHECK_EXIT("nothing pending", vm_enter(vm),
                   EXITS_WITH(EXIT_EXCEPTION_NMI, GUEST_HOLE));
        CHECK_VMCS(GUEST_RIP, GUEST_HOLE);
        check_event_first(begin_page_fault(), row, "pending");
}

TABLE(fetch_ept, events, .id = "entry.priority.fetch.ept",
      .title = "it comes before the EPT violation of the first fetch",
      .needs = "enable-ept", FETCH)
{
        fetch(row, begin_violation, EXIT_EPT_VIOLATION, 0);
}
