/*
 * SDM Vol. 3, VM Entries > Interrupt-Window Exiting and Virtual-Interrupt
 * Delivery, and VMX Non-Root Operation > Other Causes of VM Exits: an interrupt
 * window that is open at VM entry, and when one opens later.
 */
#include "x86/cpu.h"
#include "x86/memory.h"
#include "x86/vmx/event.h"

#define SDM "VM Entries > Interrupt-Window Exiting and Virtual-Interrupt Delivery"
#define CAUSES "VMX Non-Root Operation > Other Causes of VM Exits"
#define NEEDS "interrupt-window-exiting"
#define WATCHDOG " activate-vmx-preemption-timer"

#define WINDOW EXITS_WITH(EXIT_INTERRUPT_WINDOW, 0)

static struct vm *begin(enum guest_mode mode, u32 rflags)
{
        struct vm *vm = vm_begin(mode);

        vm_control(VMCS_PRIMARY_CONTROLS, CTL_PRIMARY_INTERRUPT_WINDOW_EXITING, 0);
        vm_control(VMCS_GUEST_RFLAGS, rflags, 0);
        vm_poison(0);
        return vm;
}

CASE(immediate, .id = "entry.interrupt-window.immediate",
     .title = "an open window exits before the first instruction",
     .sdm = SDM, .rules = "POST_IW_IMMEDIATE", .needs = NEEDS)
{
        struct vm *vm = begin(GUEST_NATIVE, 0);

        CHECK_EXIT("IF = 0", vm_enter(vm), EXITS(EXIT_VMCALL));
        vm = begin(GUEST_NATIVE, RFLAGS_IF);
        CHECK_EXIT("IF = 1", vm_enter(vm), WINDOW);
        CHECK_VMCS(GUEST_RIP, (ulong)program_vmcall.start);
        CHECK_EXITING_EVENT(0, 0);
        CHECK_ORIGINAL_EVENT(0, 0);
        vm_control(VMCS_PRIMARY_CONTROLS, 0, CTL_PRIMARY_INTERRUPT_WINDOW_EXITING);
        CHECK_EXIT("control 0", vm_enter(vm), EXITS(EXIT_VMCALL));
}

/* A trap gate leaves the window open, an interrupt gate closes it. */
TABLE(injection, event_types, .id = "entry.interrupt-window.after-injection",
      .title = "the window's exit follows injection, at the handler",
      .sdm = SDM, .rules = "POST_IW_AFTER_INJECTION POST_PRIO_INJECTION_BEFORE_ALL",
      .needs = NEEDS)
{
        u32 info = event_types[row].info;

        for (unsigned trap = 0; trap < 2; trap++) {
                struct vm *vm = begin(GUEST_NATIVE, RFLAGS_IF);
                struct vm_tables t = vm_tables(vm);

                vm_gate(&t, (u8)info)[GATE_RIGHTS] =
                        GATE_P | (trap ? GATE_TRAP : GATE_INTERRUPT);
                vm_inject(info, 0, event_types[row].length);
                if (trap)
                        CHECK_EXIT("trap gate", vm_enter(vm), WINDOW);
                else
                        CHECK_EXIT("interrupt gate", vm_enter(vm),
                                   EXITS(EXIT_VMCALL));
                CHECK_VMCS(GUEST_RIP, vm_handler(vm, (u8)info));
                CHECK_ORIGINAL_EVENT(0, 0);
                CHECK_EQ("RIP in the frame", vm_stack(vm, 0),
                         (ulong)program_vmcall.start +
                         event_types[row].length);
        }
}

/* The activity state saved is not judged: the text only says that it wakes. */
CASE(halted, .id = "entry.interrupt-window.hlt",
     .title = "the window's exit wakes a guest that enters HLT",
     .sdm = SDM, .rules = "POST_IW_HLT", .needs = NEEDS WATCHDOG " activity-hlt")
{
        for (u32 flag = 0; flag <= RFLAGS_IF; flag += RFLAGS_IF) {
                struct vm *vm = begin(GUEST_NATIVE, flag);

                vmwrite(VMCS_GUEST_ACTIVITY_STATE, HLT);
                vm_watchdog();
                if (flag)
                        CHECK_EXIT("IF = 1", vm_enter(vm), WINDOW);
                else
                        CHECK_EXIT("IF = 0", vm_enter(vm), TIMER_EXIT);
                CHECK_VMCS(GUEST_RIP, (ulong)program_vmcall.start);
        }
}

CASE(shutdown, .id = "entry.interrupt-window.shutdown",
     .title = "no exit by the window in the shutdown state",
     .sdm = SDM, .rules = "POST_IW_SHUTDOWN_WFS",
     .needs = NEEDS WATCHDOG " activity-shutdown")
{
        struct vm *vm = begin(GUEST_NATIVE, RFLAGS_IF);

        vmwrite(VMCS_GUEST_ACTIVITY_STATE, SHUTDOWN);
        vm_watchdog();
        CHECK_EXIT("VM entry", vm_enter(vm), TIMER_EXIT);
        CHECK_VMCS(GUEST_ACTIVITY_STATE, SHUTDOWN);
        CHECK_VMCS(GUEST_RIP, (ulong)program_vmcall.start);
}

PROGRAM(sti_nop, NATIVE_BITS, "sti\n nop\n nop\n vmcall\n");
PROGRAM(nops, NATIVE_BITS, "nop\n nop\n vmcall\n");

CASE(after_sti, .id = "entry.interrupt-window.sti",
     .title = "the window opens one instruction after STI",
     .sdm = CAUSES, .rules = "POST_IW_IF_CLEAR", .needs = NEEDS)
{
        struct vm *vm = begin(GUEST_NATIVE, 0);

        vm_program(vm, sti_nop);
        CHECK_EXIT("VM entry", vm_enter(vm), WINDOW);
        CHECK_VMCS(GUEST_RIP, (ulong)sti_nop.start + 2);
        CHECK_BLOCKING(0);
        CHECK_VMCS_MASKED(GUEST_RFLAGS, RFLAGS_IF, RFLAGS_IF);
}

PROGRAM(iret, NATIVE_BITS, IRET);
PROGRAM(popf_nops, NATIVE_BITS, "push $0x202\n popf\n nop\n nop\n vmcall\n");
PROGRAM(sti_hlt, NATIVE_BITS, "sti\n hlt\n nop\n nop\n vmcall\n");

/* @left: bytes of the program that have not been executed; 0: it goes to nops. */
static const struct {
        struct row head;
        const struct program *program;
        u8 left;
} openers[] = {
        { ROW("popf", "POPF", "POST_IW_IF_CLEAR"), &popf_nops, 5 },
        { ROW("iret", "IRET", "POST_IW_IF_CLEAR"), &iret, 0 },
        { ROW("hlt", "HLT behind STI, which it wakes", "POST_IW_IF_CLEAR POST_IW_HLT"),
          &sti_hlt, 5 },
};

TABLE(opened, openers, .id = "entry.interrupt-window.opened",
      .title = "the window opens behind the instruction",
      .sdm = CAUSES, .needs = NEEDS WATCHDOG)
{
        struct vm *vm = begin(GUEST_NATIVE, 0);

        vm_program(vm, *openers[row].program);
        if (!openers[row].left)
                vm_push_frame((ulong)nops.start, SEL_CODE, RFLAGS_IF);
        vm_watchdog();
        CHECK_EXIT("VM entry", vm_enter(vm), WINDOW);
        CHECK_VMCS(GUEST_RIP, openers[row].left
                   ? (ulong)openers[row].program->end - openers[row].left
                   : (ulong)nops.start);
        CHECK_BLOCKING(0);
        CHECK_VMCS_MASKED(GUEST_RFLAGS, RFLAGS_IF, RFLAGS_IF);
}

static const struct {
        struct row head;
        u32 blocked;
} blockings[] = {
        { ROW("sti", "blocking by STI", "POST_STI_BLOCK_ONE_INSTR_WINDOW"),
          BLOCKED_STI },
        { ROW("mov-ss", "blocking by MOV SS", "POST_MOVSS_BLOCK_ONE_INSTR_WINDOW"),
          BLOCKED_MOV_SS },
};

TABLE(blocking, blockings, .id = "entry.interrupt-window.blocking",
      .title = "blocking in the VMCS keeps the window shut for one instruction",
      .sdm = "VM Entries > Interruptibility State", .needs = NEEDS)
{
        struct vm *vm = begin(GUEST_NATIVE, RFLAGS_IF);

        vm_program(vm, nops);
        CHECK_EXIT("no blocking", vm_enter(vm), WINDOW);
        CHECK_VMCS(GUEST_RIP, (ulong)nops.start);
        vm = begin(GUEST_NATIVE, RFLAGS_IF);
        vm_program(vm, nops);
        vmwrite(VMCS_GUEST_INTERRUPTIBILITY_STATE, blockings[row].blocked);
        CHECK_EXIT("blocking", vm_enter(vm), WINDOW);
        CHECK_VMCS(GUEST_RIP, (ulong)nops.start + 1);
        CHECK_BLOCKING(0);
}

CASE(nmi_blocking, .id = "entry.interrupt-window.nmi-blocking",
     .title = "blocking by NMI does not shut the window",
     .sdm = CAUSES, .rules = "POST_IW_NMI_BLOCKING_IRRELEVANT", .needs = NEEDS)
{
        struct vm *vm = begin(GUEST_NATIVE, RFLAGS_IF);

        vmwrite(VMCS_GUEST_INTERRUPTIBILITY_STATE, BLOCKED_NMI);
        CHECK_EXIT("VM entry", vm_enter(vm), WINDOW);
        CHECK_VMCS(GUEST_RIP, (ulong)program_vmcall.start);
        CHECK_VMCS(GUEST_INTERRUPTIBILITY_STATE, BLOCKED_NMI);
}

CASE(tpr, .id = "entry.interrupt-window.tpr",
     .title = "the virtual TPR does not shut the window",
     .sdm = CAUSES, .rules = "POST_IW_TPR_IRRELEVANT",
     .needs = NEEDS " use-tpr-shadow")
{
        struct vm *vm = begin(GUEST_NATIVE, RFLAGS_IF);
        u8 *page = page_alloc(1);

        page[0x80] = 0xf0;
        vm_control(VMCS_PRIMARY_CONTROLS, CTL_PRIMARY_USE_TPR_SHADOW, 0);
        vmwrite(VMCS_VIRTUAL_APIC_ADDRESS, phys(page));
        CHECK_EXIT("VM entry", vm_enter(vm), WINDOW);
        CHECK_VMCS(GUEST_RIP, (ulong)program_vmcall.start);
}

static const struct {
        struct row head;
        u32 rflags;
        bool open;
} virtual_flags[] = {
        { ROW("if", "IF = 1, VIF = 0"), RFLAGS_IF, true },
        { ROW("vif", "IF = 0, VIF = 1"), RFLAGS_VIF, false },
};

TABLE(vif, virtual_flags, .id = "entry.interrupt-window.vme",
      .title = "the window depends on IF, not on VIF",
      .sdm = CAUSES, .rules = "POST_IW_VIF_IRRELEVANT", .needs = NEEDS " vme")
{
        struct vm *vm = begin(GUEST_V86, virtual_flags[row].rflags);

        vm_control(VMCS_GUEST_CR4, CR4_VME, 0);
        vm_control(VMCS_GUEST_RFLAGS, 0, RFLAGS_IOPL);
        if (virtual_flags[row].open)
                CHECK_EXIT("VM entry", vm_enter(vm), WINDOW);
        else
                CHECK_EXIT("VM entry", vm_enter(vm), EXITS(EXIT_VMCALL));
        CHECK_VMCS(GUEST_RIP, 0);
}

/* The same with protected-mode virtual interrupts, at CPL 3. */
TABLE(pvi, virtual_flags, .id = "entry.interrupt-window.pvi",
      .title = "the window depends on IF, not on VIF, at CPL 3 with CR4.PVI",
      .sdm = CAUSES, .rules = "POST_IW_VIF_IRRELEVANT", .needs = NEEDS " vme")
{
        struct vm *vm = begin(GUEST_PAE, virtual_flags[row].rflags);

        vm_user(vm);
        vm_control(VMCS_GUEST_CR4, CR4_PVI, 0);
        if (virtual_flags[row].open)
                CHECK_EXIT("VM entry", vm_enter(vm), WINDOW);
        else
                CHECK_EXIT("VM entry", vm_enter(vm), EXITS(EXIT_VMCALL));
        CHECK_VMCS(GUEST_RIP, (ulong)program_vmcall.start);
}

CASE(after_db, .id = "entry.interrupt-window.after-debug",
     .title = "a pending #DB is delivered first; the exit is at its handler",
     .sdm = SDM, .rules = "POST_PRIO_DB_DELIVERED_THEN_IW", .needs = NEEDS)
{
        for (unsigned trap = 0; trap < 2; trap++) {
                struct vm *vm = begin(GUEST_NATIVE, RFLAGS_IF);
                struct vm_tables t = vm_tables(vm);

                vm_gate(&t, VEC_DB)[GATE_RIGHTS] =
                        GATE_P | (trap ? GATE_TRAP : GATE_INTERRUPT);
                vmwrite(VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS,
                        PENDING_ENABLED | PENDING_B(0));
                if (trap)
                        CHECK_EXIT("trap gate", vm_enter(vm), WINDOW);
                else
                        CHECK_EXIT("interrupt gate", vm_enter(vm),
                                   EXITS(EXIT_VMCALL));
                CHECK_VMCS(GUEST_RIP, vm_handler(vm, VEC_DB));
                CHECK_EQ("RIP in the frame", vm_stack(vm, 0),
                         (ulong)program_vmcall.start);
        }
}

static void enter_with_nmi(__attribute__((unused)) void *arg)
{
        struct vm *vm = begin(GUEST_NATIVE, RFLAGS_IF);
        struct vm_tables t = vm_tables(vm);

        vm_gate(&t, VEC_NMI)[GATE_RIGHTS] = GATE_P | GATE_TRAP;
        CHECK_EXIT("VM entry", vm_enter(vm), WINDOW);
        CHECK_VMCS(GUEST_RIP, vm_handler(vm, VEC_NMI));
        CHECK_EQ("RIP in the frame", vm_stack(vm, 0),
                 (ulong)program_vmcall.start);
}

CASE(after_nmi, .id = "entry.interrupt-window.after-nmi",
     .title = "an NMI is delivered first; the exit is at its handler",
     .sdm = SDM, .rules = "POST_PRIO_NMI_DELIVERED_THEN_IW", .needs = NEEDS " apic")
{
        CHECK_EQ("NMIs left to the host", nmi_blocked(enter_with_nmi, NULL, true),
                 0);
}
