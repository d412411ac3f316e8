/*
 * SDM Vol. 3, VMX Non-Root Operation > Other Causes of VM Exits and Event
 * Blocking: an external interrupt that is pending at VM entry.
 */
#include "x86/cpu.h"
#include "x86/vmx/event.h"

#define CAUSES "VMX Non-Root Operation > Other Causes of VM Exits"
#define EVENT_BLOCKING "VMX Non-Root Operation > Event Blocking"
#define VECTOR 0x61
#define NEEDS "apic"

PROGRAM(nops, NATIVE_BITS, "nop\n nop\n vmcall\n");
PROGRAM(sti_nops, NATIVE_BITS, "sti\n nop\n nop\n vmcall\n");

static struct vm *begin(struct program program, u32 rflags, u64 pin, u64 exit)
{
        struct vm *vm = vm_begin(GUEST_NATIVE);

        vm_program(vm, program);
        vm_control(VMCS_GUEST_RFLAGS, rflags, 0);
        vm_control(VMCS_PIN_CONTROLS, pin, 0);
        vm_control(VMCS_EXIT_CONTROLS, exit, 0);
        vm_poison(0);
        return vm;
}

FAMILY(pending, 2, .id = "entry.interrupt.exit.acknowledge",
       .title = "a pending interrupt exits before the first instruction",
       .sdm = CAUSES, .rules = "POST_PENDING_EXTINT_EXIT_AT_ENTRY",
       .needs = NEEDS " external-interrupt-exiting acknowledge-interrupt-on-exit")
{
        struct vm *vm = begin(nops, RFLAGS_IF, CTL_PIN_EXTERNAL_INTERRUPT_EXITING,
                              row ? CTL_EXIT_ACKNOWLEDGE_INTERRUPT : 0);

        CHECK_EXIT("nothing pending", vm_enter(vm), EXITS(EXIT_VMCALL));
        vm = begin(nops, RFLAGS_IF, CTL_PIN_EXTERNAL_INTERRUPT_EXITING,
                   row ? CTL_EXIT_ACKNOWLEDGE_INTERRUPT : 0);
        irq_pend(VECTOR);
        CHECK_EXIT("pending", vm_enter(vm), EXITS_WITH(EXIT_EXTERNAL_INTERRUPT, 0));
        CHECK_VMCS(GUEST_RIP, (ulong)nops.start);
        CHECK_EXITING_EVENT(row ? EXTERNAL(VECTOR) : 0, 0);
        CHECK_ORIGINAL_EVENT(0, 0);
        CHECK_EQ("interrupts left to the host", irq_take(VECTOR), !row);
}

CASE(masked, .id = "entry.interrupt.masked",
     .title = "without exiting IF decides: held, delivered at once, or after STI",
     .sdm = EVENT_BLOCKING, .rules = "POST_EXTINT_IF0_HELD", .needs = NEEDS)
{
        struct vm *vm = begin(nops, 0, 0, 0);

        irq_pend(VECTOR);
        CHECK_EXIT("IF = 0", vm_enter(vm), EXITS(EXIT_VMCALL));
        CHECK_EQ("interrupts left to the host", irq_take(VECTOR), 1);
        vm = begin(nops, RFLAGS_IF, 0, 0);
        irq_pend(VECTOR);
        CHECK_DELIVERED("IF = 1", vm, vm_enter(vm), .vector = VECTOR,
                        .rip = (ulong)nops.start);
        CHECK_EQ("interrupts left to the host", irq_take(VECTOR), 0);
        vm = begin(sti_nops, 0, 0, 0);
        irq_pend(VECTOR);
        CHECK_DELIVERED("STI", vm, vm_enter(vm), .vector = VECTOR,
                        .rip = (ulong)sti_nops.start + 2);
        CHECK_EQ("interrupts left to the host", irq_take(VECTOR), 0);
}

/* VMLAUNCH right behind STI; the exit comes back here. */
static void launch_behind_sti(void)
{
        ulong rip_field = VMCS_HOST_RIP, rsp_field = VMCS_HOST_RSP;

#ifdef __x86_64__
        asm volatile("push %%rbx\n\t"
                     "push %%rbp\n\t"
                     "lea 1f(%%rip), %%rax\n\t"
                     "vmwrite %%rax, %[rip]\n\t"
                     "vmwrite %%rsp, %[rsp]\n\t"
                     "sti\n\t"
                     "vmlaunch\n\t"
                     "cli\n"
                     "1: pop %%rbp\n\t"
                     "pop %%rbx"
                     : [rip] "+c" (rip_field), [rsp] "+d" (rsp_field) :
                     : "rax", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12",
                       "r13", "r14", "r15", "cc", "memory");
#else
        asm volatile("push %%ebx\n\t"
                     "push %%ebp\n\t"
                     "mov $1f, %%eax\n\t"
                     "vmwrite %%eax, %[rip]\n\t"
                     "vmwrite %%esp, %[rsp]\n\t"
                     "sti\n\t"
                     "vmlaunch\n\t"
                     "cli\n"
                     "1: pop %%ebp\n\t"
                     "pop %%ebx"
                     : [rip] "+c" (rip_field), [rsp] "+d" (rsp_field) :
                     : "eax", "esi", "edi", "cc", "memory");
#endif
}

CASE(host_sti, .id = "entry.interrupt.host-sti",
     .title = "blocking by the host's STI does not reach the guest",
     .sdm = "VM Entries > Interruptibility State",
     .rules = "POST_HOST_STI_SHADOW_NOT_INHERITED",
     .needs = NEEDS " external-interrupt-exiting")
{
        begin(nops, RFLAGS_IF, CTL_PIN_EXTERNAL_INTERRUPT_EXITING, 0);
        irq_pend(VECTOR);
        launch_behind_sti();
        CHECK_VMCS(EXIT_REASON, EXIT_EXTERNAL_INTERRUPT);
        CHECK_VMCS(GUEST_RIP, (ulong)nops.start);
        CHECK_BLOCKING(0);
        CHECK_EQ("interrupts left to the host", irq_take(VECTOR), 1);
}
