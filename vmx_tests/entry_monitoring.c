/*
 * SDM Vol. 3, VM Entries > Loading Guest State > Clearing Address-Range
 * Monitoring; and the introduction: an entry that fails late clears it too, as a
 * VM exit does.
 */
#include "lib/check.h"
#include "x86/apic.h"
#include "x86/cpu.h"
#include "x86/memory.h"
#include "x86/msr.h"
#include "x86/paging.h"
#include "x86/trap.h"
#include "x86/vmx/event.h"

/*
 * Only write-back memory is monitored (SDM Vol. 2, MONITOR). Without firmware
 * the MTRRs are off, which makes all memory uncacheable.
 */
#define MTRR_ENABLE BIT(11)
#define WRITE_BACK 6

static u64 old_default;

static void memory_write_back(void)
{
        if (!cpuid_bit(1, 0, 'd', 12))
                return;
        old_default = rdmsr(MSR_IA32_MTRR_DEF_TYPE);
        if (old_default & MTRR_ENABLE)
                return;
        wrmsr(MSR_IA32_MTRR_DEF_TYPE, MTRR_ENABLE | WRITE_BACK);
        paging_flush();
}

static void memory_as_before(void)
{
        if (!cpuid_bit(1, 0, 'd', 12) || old_default & MTRR_ENABLE)
                return;
        asm volatile("wbinvd" : : : "memory");
        wrmsr(MSR_IA32_MTRR_DEF_TYPE, old_default);
        paging_flush();
}

static void host_monitor(const volatile void *range)
{
        asm volatile("monitor" : : "a"(range), "c"(0), "d"(0) : "memory");
}

/* MWAIT exits; the qualification is 1 if monitoring is armed. */
PROGRAM(mwait_code, 32, "xor %eax, %eax\nxor %ecx, %ecx\nmwait\nvmcall\n");
PROGRAM(monitor_mwait, NATIVE_BITS,
        "xor %ecx, %ecx\nxor %edx, %edx\nmonitor\n"
        "xor %eax, %eax\nmwait\nvmcall\n");

CASE(entry, .id = "entry.monitoring.cleared",
     .title = "VM entry clears the monitoring that the host armed",
     .sdm = "VM Entries > Clearing Address-Range Monitoring",
     .rules = "ENTL_MONITOR_CLEARED", .needs = "mwait-exiting monitor")
{
        volatile u32 *range = page_alloc(1);

        memory_write_back();
        for (unsigned armed = 0; armed < 2; armed++) {
                struct vm *vm = vm_begin(GUEST_NATIVE);

                vm_control(VMCS_PRIMARY_CONTROLS, CTL_PRIMARY_MWAIT_EXITING, 0);
                vm_program(vm, armed ? monitor_mwait : mwait_code);
                vm->regs.rax = (ulong)range;
                vm_poison(0);
                host_monitor(range);
                CHECK_EXIT(armed ? "MWAIT, armed by the guest"
                                 : "MWAIT, armed by the host only",
                           vm_enter(vm), EXITS_WITH(EXIT_MWAIT, armed));
        }
        memory_as_before();
}

/* "MONITOR exiting" does not matter for what the host has armed. */
CASE(entry_exiting, .id = "entry.monitoring.cleared.monitor-exiting",
     .title = "VM entry clears it with \"MONITOR exiting\" = 1 too",
     .sdm = "VM Entries > Clearing Address-Range Monitoring",
     .rules = "ENTL_MONITOR_CLEARED",
     .needs = "mwait-exiting monitor-exiting monitor")
{
        struct vm *vm = vm_begin(GUEST_NATIVE);

        vm_control(VMCS_PRIMARY_CONTROLS, CTL_PRIMARY_MWAIT_EXITING |
                                          CTL_PRIMARY_MONITOR_EXITING, 0);
        vm_program(vm, mwait_code);
        vm_poison(0);
        memory_write_back();
        host_monitor(page_alloc(1));
        CHECK_EXIT("MWAIT, armed by the host only", vm_enter(vm),
                   EXITS_WITH(EXIT_MWAIT, 0));
        memory_as_before();
}

#define VECTOR 0x41
/* Timer clocks: VM entry, VM exit and MWAIT are over long before. */
#define PATIENCE 400000u

/* MWAIT without monitoring is no more than a NOP: the timer finds it done. */
static const struct probe failures[] = {
        { ROW("guest-state"), .reject = EDITS(SET(GUEST_RFLAGS, 0)),
          .outcome = BAD_GUEST },
        { ROW("link-pointer"), .reject = EDITS(SET(VMCS_LINK_POINTER, 1)),
          .outcome = ENTRY_FAILS(EXIT_ENTRY_FAILURE_GUEST_STATE, 4) },
};

TABLE(failure, failures, .id = "entry.monitoring.failure",
      .title = "a late VM-entry failure clears the monitoring that the host armed",
      .sdm = "VM Entries > (chapter introduction: steps of VM entry)",
      .rules = "ENTG_FAIL_MONITOR_CLEARED", .needs = "monitor apic")
{
        const struct probe *p = case_row(self, row);
        struct vm *vm = vm_begin(GUEST_NATIVE);
        volatile u32 *range = page_alloc(1);
        struct vmx_result got;
        u32 interrupts;

        vmcs_edit(p->reject);
        vm_poison(0);
        irq_set(VECTOR, irq_ignore);
        memory_write_back();
        apic_timer(VECTOR, PATIENCE);
        host_monitor(range);
        got = vm_enter(vm);
        asm volatile("sti\n\tmwait\n\tcli" : : "a"(0), "c"(0) : "memory");
        interrupts = irq_count[VECTOR];
        apic_timer_stop();
        sti_nop_cli();
        irq_set(VECTOR, NULL);
        memory_as_before();
        check_exit(self->file, (int)self->line, "VM entry", got, p->outcome);
        CHECK_EQ("interrupts that MWAIT waited for", interrupts, 0);
}
