/* Interrupts, NMIs and IRET for the cases of x86/vmx/event.h. */
#include "x86/apic.h"
#include "x86/memory.h"
#include "x86/trap.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/event.h"
#include "x86/vmx/session.h"

/* TSC ticks of the watchdog. */
#define WATCHDOG_TICKS 1000000

/* For an IPI to arrive at its sender. */
#define ARRIVAL_SPINS 100000

void nmi_unblock(void)
{
#ifdef __x86_64__
        asm volatile("mov %%rsp, %%rax\n\t"
                     "push %0\n\t"
                     "push %%rax\n\t"
                     "pushf\n\t"
                     "push %1\n\t"
                     "lea 1f(%%rip), %%rax\n\t"
                     "push %%rax\n\t"
                     "iretq\n"
                     "1:" : : "i" (SEL_DATA), "i" (SEL_CODE) : "rax", "memory");
#else
        asm volatile("pushf\n\t"
                     "push %0\n\t"
                     "push $1f\n\t"
                     "iret\n"
                     "1:" : : "i" (SEL_CODE) : "memory");
#endif
}

void irq_pend(u8 vector)
{
        irq_set(vector, irq_ignore);
        apic_self_ipi(vector);
        for (u32 i = 0; i < ARRIVAL_SPINS; i++)
                if (apic_vector_bit(APIC_IRR, vector))
                        return;
        case_error("the self-IPI of vector 0x%x is not pending", vector);
}

u32 irq_take(u8 vector)
{
        u32 before = irq_count[vector];

        /* A guest takes interrupts without EOI. */
        if (apic_vector_bit(APIC_ISR, vector))
                apic_eoi();
        sti_nop_cli();
        return irq_count[vector] - before;
}

static struct {
        void (*fn)(void *);
        void *arg;
        bool pending;
        volatile bool entered;
        volatile u32 others;
} nmi;

void nmi_send(void)
{
        apic_icr(apic_id(), ICR_NMI | ICR_ASSERT);
}

static void nmi_handler(__attribute__((unused)) struct trap_frame *frame)
{
        if (nmi.entered) {
                nmi.others++;
                return;
        }
        nmi.entered = true;
        if (nmi.pending)
                nmi_send();
        nmi.fn(nmi.arg);
}

u32 nmi_seen(void)
{
        return nmi.others;
}

u32 nmi_blocked(void (*fn)(void *), void *arg, bool pending)
{
        nmi.fn = fn;
        nmi.arg = arg;
        nmi.pending = pending;
        nmi.entered = false;
        nmi.others = 0;
        irq_set(VEC_NMI, nmi_handler);
        nmi_unblock();
        /* A boot's first guest would take the NMI that is meant for @fn's. */
        vm_begin(GUEST_NATIVE);
#ifdef __x86_64__
        /* VM exits may unblock NMIs: then one nests, on the stack in use. */
        idt[VEC_NMI].ist = 0;
#endif
        nmi_send();
        for (u32 i = 0; i < ARRIVAL_SPINS && !nmi.entered; i++)
                pause();
        if (!nmi.entered)
                case_error("an NMI to the processor itself does not arrive");
        for (u32 i = 0; i < 100; i++)
                pause();
#ifdef __x86_64__
        idt[VEC_NMI].ist = IST_NMI;
#endif
        return nmi.others;
}

PROGRAM(iret, NATIVE_BITS, IRET);

void vm_push_frame(ulong rip, u16 cs, u32 rflags)
{
        ulong rsp = this_vmx()->stack_top, *frame = (ulong *)rsp - 5;

        frame[0] = rip;
        frame[1] = cs;
        frame[2] = rflags | RFLAGS_FIXED;
        frame[3] = rsp;
        frame[4] = SEL_DATA;
        vmwrite(VMCS_GUEST_RSP, (ulong)frame);
}

void vm_end_virtual_nmi_blocking(void)
{
        struct vm *vm = vm_begin(GUEST_NATIVE);

        vm_control(VMCS_PIN_CONTROLS,
                   CTL_PIN_NMI_EXITING | CTL_PIN_VIRTUAL_NMIS, 0);
        vm_program(vm, iret);
        vm_push_frame((ulong)program_vmcall.start, SEL_CODE, 0);
        CHECK_EXIT("IRET in another guest", vm_enter(vm), EXITS(EXIT_VMCALL));
        /* Under a hypervisor the guest's blocking may have become the host's. */
        nmi_unblock();
}

void vm_watchdog(void)
{
        u32 value = WATCHDOG_TICKS >> vmx_cap(misc, PREEMPTION_TIMER_RATE);

        vm_control(VMCS_PIN_CONTROLS, CTL_PIN_ACTIVATE_PREEMPTION_TIMER, 0);
        vmwrite(VMCS_PREEMPTION_TIMER_VALUE, value ? value : 1);
}

void vm_pend_timer(void)
{
        vm_control(VMCS_PIN_CONTROLS, CTL_PIN_ACTIVATE_PREEMPTION_TIMER, 0);
        vmwrite(VMCS_PREEMPTION_TIMER_VALUE, 0);
}

void vm_pend_interrupt_window(void)
{
        vm_control(VMCS_PRIMARY_CONTROLS, CTL_PRIMARY_INTERRUPT_WINDOW_EXITING, 0);
        vm_control(VMCS_GUEST_RFLAGS, RFLAGS_IF, 0);
}

void vm_pend_nmi_window(void)
{
        vm_control(VMCS_PIN_CONTROLS,
                   CTL_PIN_NMI_EXITING | CTL_PIN_VIRTUAL_NMIS, 0);
        vm_control(VMCS_PRIMARY_CONTROLS, CTL_PRIMARY_NMI_WINDOW_EXITING, 0);
}

void vm_pend_tpr_threshold(void)
{
        vmcs_edit(EDITS(WITH_SECONDARY(CTL_SECONDARY_VIRTUALIZE_APIC_ACCESSES),
                        OR(PRIMARY_CONTROLS, CTL_PRIMARY_USE_TPR_SHADOW)));
        vmwrite(VMCS_APIC_ACCESS_ADDRESS, phys(page_alloc(1)));
        vmwrite(VMCS_VIRTUAL_APIC_ADDRESS, phys(page_alloc(1)));
        vmwrite(VMCS_TPR_THRESHOLD, 1);  /* above the virtual TPR, 0 */
}

void vm_pend_mtf(void)
{
        vmwrite(VMCS_ENTRY_INTERRUPTION_INFO, PENDING_MTF);
}
