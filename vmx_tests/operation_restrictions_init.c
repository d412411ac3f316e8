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
static struct vmx_result stored;

#define STEP_SPINS 2000000u

static bool wait_step(u32 wanted)
{
        for (u32 i = 0; i < STEP_SPINS; i++) {
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

/* The next step of the other processor, which waits for it. */
static void tell(u32 value)
{
        set_step(value);
        apic_icr(cpu_get(1)->apic_id, ICR_FIXED | ICR_ASSERT | VEC_WAKE);
}

/* On the other processor. In HLT, because there may be less than two real ones. */
static void wait_told(u32 wanted)
{
        while (__atomic_load_n(&step, __ATOMIC_ACQUIRE) != wanted)
                asm volatile("sti\n\thlt\n\tcli" : : : "memory");
}

/* In VMX root operation until asked to leave; an INIT would end this. */
static void in_root(void *unused)
{
        u64 pointer = 0;

        (void)unused;
        vmx_set_operating(false);  /* whatever an INIT left behind */
        vmx_on();
        set_step(IN_ROOT);
        wait_told(ASKED);
        stored = vmptrst(&pointer);
        set_step(STILL_IN_ROOT);
        wait_told(LEAVE);
        /* Nothing behind VMXOFF may run if an INIT is pending. */
        asm volatile("vmxoff" : : : "cc", "memory");
        set_step(LEFT);
}

static bool begin(void)
{
        step = BEGUN;
        stored = (struct vmx_result){ 0 };
        if (cpu_run(1, in_root, NULL) && wait_step(IN_ROOT))
                return true;
        case_error("processor 1 does not answer");
        return false;
}

/*
 * Waits long enough for an INIT, or for a step that must not come. Few rounds:
 * under a hypervisor with less processors than it gives, each may end a turn.
 */
static void linger(void)
{
        for (u32 i = 0; i < 2000; i++)
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
        tell(ASKED);
        CHECK("the processor", wait_step(STILL_IN_ROOT), "does not run on");
        CHECK_RESULT("VMPTRST on it", stored, SUCCEED);
        tell(LEAVE);
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
        tell(ASKED);
        CHECK("without INIT: the processor", wait_step(STILL_IN_ROOT),
              "does not run on");
        tell(LEAVE);
        CHECK("without INIT: behind VMXOFF", wait_step(LEFT), "nothing ran");
        end();

        if (!begin())
                return;
        apic_icr(cpu_get(1)->apic_id, ICR_INIT | ICR_ASSERT);
        tell(ASKED);
        CHECK("with INIT: the processor", wait_step(STILL_IN_ROOT),
              "does not run on");
        linger();
        tell(LEAVE);
        linger();
        CHECK_EQ("with INIT: the step behind VMXOFF",
                 __atomic_load_n(&step, __ATOMIC_ACQUIRE), LEAVE);
        end();
}
