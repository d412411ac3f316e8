#include "x86/vmx/remote.h"
#include "x86/apic.h"
#include "x86/memory.h"
#include "x86/trap.h"
#include "x86/vmx/instr.h"
#include "x86/vmx/session.h"

static void run_guest(void *arg)
{
        struct remote *r = arg;
        struct vm *vm = vm_begin(GUEST_NATIVE);
        struct vmx_result cleared;

        r->set_up(vm, r);
        r->result = vm_enter(vm);
        r->regs = vm->regs;
        if (r->result.kind == VMX_EXIT) {
                r->rip = vmread(VMCS_GUEST_RIP);
                r->rflags = vmread(VMCS_GUEST_RFLAGS);
                r->activity = (u32)vmread(VMCS_GUEST_ACTIVITY_STATE);
                r->interruption_info = (u32)vmread(VMCS_EXIT_INTERRUPTION_INFO);
                r->vectoring_info = (u32)vmread(VMCS_IDT_VECTORING_INFO);
        }
        /*
         * First this: whether an INIT that caused a VM exit is still pending
         * when VMXOFF unblocks it is not for every case to judge.
         */
        r->done = 1;
        /* The memory of the VMCS is another case's then: it must be inactive. */
        cleared = vmclear(&vm->pointer);
        (void)cleared;
        vmx_off();
}

struct remote *remote_start(void (*set_up)(struct vm *vm, struct remote *r))
{
        struct remote *r = page_alloc(1);

        r->set_up = set_up;
        r->apic_id = cpu_get(1)->apic_id;
        apic_enable();
        if (cpu_run(1, run_guest, r))
                return r;
        case_error("processor 1 is busy");
        return NULL;
}

/* Rounds until a processor that has nothing left to do is idle. */
#define IDLE_SPINS 100000u

static void give_new_start(void)
{
        if (!cpu_wait(1, IDLE_SPINS) && !cpu_restart(1))
                case_error("processor 1 does not come back");
}

bool remote_wait(struct remote *r, volatile u32 *word)
{
        for (u32 i = 0; i < CPU_SPINS && !*word && !r->done; i++)
                pause();
        if (CHECK("the guest comes to the point that the case waits for",
                  *word, r->done ? "it ended before" : "it never came"))
                return true;
        give_new_start();
        return false;
}

bool remote_wait_started(struct remote *r)
{
        return remote_wait(r, &r->started);
}

bool remote_wait_done(struct remote *r)
{
        if (!remote_wait(r, &r->done))
                return false;
        give_new_start();
        return true;
}

#define MOMENT_VECTOR 0x7d
#define MOMENT 200000u          /* clocks of the APIC timer */

void remote_moment(void)
{
        u32 before;

        irq_set(MOMENT_VECTOR, irq_ignore);
        before = irq_count[MOMENT_VECTOR];
        apic_timer(MOMENT_VECTOR, MOMENT);
        while (irq_count[MOMENT_VECTOR] == before)
                asm volatile("sti\n\thlt\n\tcli" : : : "memory");
        apic_timer_stop();
}
