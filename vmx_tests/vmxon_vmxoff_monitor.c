/*
 * SDM Vol. 3, VMX Instruction Reference > VMXON, VMXOFF: both end the monitoring
 * of an address range.
 */
#include "lib/check.h"
#include "x86/apic.h"
#include "x86/memory.h"
#include "x86/trap.h"
#include "x86/vmx/session.h"

#define VECTOR 0x53
/* Long compared to some instructions; how long does not matter otherwise. */
#define LONG 10000000u

static void monitor(const void *line)
{
        asm volatile("monitor" : : "a"(line), "c"(0), "d"(0) : "memory");
}

/* MWAIT, ended by the timer at the latest. True if the timer ended it. */
static bool waits(void)
{
        bool waited;

        asm volatile("sti\n\tmwait\n\tcli" : : "a"(0), "c"(0) : "memory");
        waited = irq_count[VECTOR];
        apic_timer_stop();
        irq_count[VECTOR] = 0;
        return waited;
}

static void arm(void)
{
        irq_set(VECTOR, irq_ignore);
        apic_timer(VECTOR, LONG);
}

/* MWAIT may return at any time: where it always does nothing can be seen. */
static bool can_wait(const void *line)
{
        arm();
        monitor(line);
        if (waits())
                return true;
        case_skip("MWAIT does not wait here");
        return false;
}

CASE(by_vmxon, .id = "vmxon.monitor", .sdm =
     "VMX Instruction Reference > VMXON—Enter VMX Operation",
     .title = "VMXON clears address-range monitoring", .needs = "monitor apic",
     .rules = "CR_MONITOR_CLEARED_VMXON")
{
        void *line = page_alloc(1);

        vmx_off();
        vmx_prepare();
        if (!can_wait(line))
                return;
        arm();
        monitor(line);
        vmx_on();
        CHECK("MWAIT behind VMXON", !waits(), "it waited");
}

CASE(by_vmxoff, .id = "vmxoff.monitor", .sdm =
     "VMX Instruction Reference > VMXOFF—Leave VMX Operation",
     .title = "VMXOFF clears address-range monitoring", .needs = "monitor apic",
     .rules = "CR_MONITOR_CLEARED_VMXOFF")
{
        void *line = page_alloc(1);

        vmx_on();
        if (!can_wait(line))
                return;
        arm();
        monitor(line);
        vmx_off();
        CHECK("MWAIT behind VMXOFF", !waits(), "it waited");
}
