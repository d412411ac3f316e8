/*
 * SDM Vol. 3, Introduction to Virtual Machine Extensions > Restrictions on VMX
 * Operation, and VMX Instruction Reference > VMXOFF: INIT is blocked in VMX root
 * operation, and taken when VMXOFF ends that.
 */
#include "lib/check.h"
#include "x86/apic.h"
#include "x86/memory.h"
#include "x86/smp.h"
#include "x86/vmx/instr.h"
#include "x86/vmx/session.h"

#define SDM "Introduction to Virtual Machine Extensions > Restrictions on VMX Operation"

/* How far the other processor is, in this order. */
enum step { BEGUN, IN_ROOT, ASKED, STILL_IN_ROOT, LEAVE, LEFT };

static volatile u32 step;
static volatile u32 rounds;
static struct vmx_result stored;

static bool wait_step(u32 wanted)
{
        for (u32 i = 0; i < CPU_SPINS; i++) {
                if (__atomic_load_n(&step, __ATOMIC_ACQUIRE) == wanted)
                        return true;
                pause();
        }
        return false;
}

static void set_step(u32 value)
{
        __atomic_store_n(&step, value, __ATOMIC_RELEASE);
}

/* In VMX root operation until asked to leave; an INIT would end this. */
static void in_root(void *unused)
{
        u64 pointer = 0;

        (void)unused;
        vmx_set_operating(false);  /* whatever an INIT left behind */
        vmx_on();
        set_step(IN_ROOT);
        while (__atomic_load_n(&step, __ATOMIC_ACQUIRE) != ASKED)
                pause();
        stored = vmptrst(&pointer);
        set_step(STILL_IN_ROOT);
        while (__atomic_load_n(&step, __ATOMIC_ACQUIRE) != LEAVE)
                rounds++;
        /* Nothing behind VMXOFF may run if an INIT is pending. */
        asm volatile("vmxoff" : : : "cc", "memory");
        set_step(LEFT);
}

static bool begin(void)
{
        step = BEGUN;
        rounds = 0;
        stored = (struct vmx_result){ 0 };
        if (cpu_run(1, in_root, NULL) && wait_step(IN_ROOT))
                return true;
        case_error("processor 1 does not answer");
        return false;
}

/* Waits long enough for an INIT, or for a step that must not come. */
static void linger(void)
{
        for (u32 i = 0; i < 200000; i++)
                pause();
}

static void end(void)
{
        if (!cpu_restart(1))
                case_error("processor 1 does not come back");
}

CASE(blocked, .id = "operation.init.blocked", .sdm = SDM, .needs = "cpus-2",
     .title = "a processor in VMX root operation runs on after INIT",
     .rules = "CR_INIT_BLOCKED_ROOT")
{
        if (!begin())
                return;
        apic_icr(cpu_get(1)->apic_id, ICR_INIT | ICR_ASSERT);
        linger();
        set_step(ASKED);
        CHECK("the processor", wait_step(STILL_IN_ROOT), "does not run on");
        CHECK_RESULT("VMPTRST on it", stored, SUCCEED);
        set_step(LEAVE);
        linger();
        end();
}

CASE(delivered, .id = "operation.init.vmxoff", .sdm = SDM, .needs = "cpus-2",
     .title = "VMXOFF lets a pending INIT through before the next instruction",
     .rules = "CR_INIT_VMXOFF_DELIVERED INS_VMXOFF_INIT")
{
        /* Without INIT it gets behind VMXOFF. */
        if (!begin())
                return;
        set_step(ASKED);
        CHECK("without INIT: the processor", wait_step(STILL_IN_ROOT),
              "does not run on");
        set_step(LEAVE);
        CHECK("without INIT: behind VMXOFF", wait_step(LEFT), "nothing ran");
        end();

        if (!begin())
                return;
        apic_icr(cpu_get(1)->apic_id, ICR_INIT | ICR_ASSERT);
        set_step(ASKED);
        CHECK("with INIT: the processor", wait_step(STILL_IN_ROOT),
              "does not run on");
        linger();
        set_step(LEAVE);
        linger();
        CHECK_EQ("with INIT: the step behind VMXOFF",
                 __atomic_load_n(&step, __ATOMIC_ACQUIRE), LEAVE);
        end();
}
