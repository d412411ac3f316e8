/*
 * Scenario: a VMM that single-steps its guest with the monitor trap flag, alone,
 * through what the guest does by itself and with events that it injects. Each
 * step is an exit whose RIP, RFLAGS and pending debug exceptions are known. SDM
 * Vol. 3, VMX Non-Root Operation > Monitor Trap Flag.
 */
#include "x86/cpu.h"
#include "x86/memory.h"
#include "x86/vmx/event.h"
#include "x86/vmx/snippet.h"

#define SDM "VMX Non-Root Operation > Monitor Trap Flag"
#define NEEDS "monitor-trap-flag"
#define INTERRUPT 0x30

#ifdef __x86_64__
#define AX_TO_STACK "push %rax\n pop %rcx\n"
#else
#define AX_TO_STACK "push %eax\n pop %ecx\n"
#endif

/* Lengths: 1 1 1 2 (over one byte) 1 and VMCALL. */
PROGRAM(walk, NATIVE_BITS,
        "nop\n" AX_TO_STACK "jmp 1f\n hlt\n1: nop\n vmcall\n");
PROGRAM(with_cpuid, NATIVE_BITS, "nop\n cpuid\n nop\n vmcall\n");
PROGRAM(copy, NATIVE_BITS, "cld\n rep movsb\n nop\n vmcall\n");
PROGRAM(handler, NATIVE_BITS, "nop\n nop\n" IRET);

static struct vm *begin(struct program program)
{
        struct vm *vm = vm_begin(GUEST_NATIVE);
        struct vm_tables t = vm_tables(vm);

        vm_gate_offset(&t, INTERRUPT, (ulong)handler.start);
        vm_gate_offset(&t, VEC_DB, (ulong)handler.start);
        vm_program(vm, program);
        vm_control(VMCS_PRIMARY_CONTROLS, CTL_PRIMARY_MONITOR_TRAP_FLAG, 0);
        vm_poison(0);
        return vm;
}

/* One step, to @rip; false ends the walk. */
static bool step(struct vm *vm, ulong rip)
{
        return CHECK_EXIT("step", vm_enter(vm), EXITS_WITH(EXIT_MONITOR_TRAP_FLAG, 0)) &&
               CHECK_VMCS(GUEST_RIP, rip) && CHECK_ORIGINAL_EVENT(0, 0);
}

/* Steps through the handler, back to @rip. */
static void step_through_handler(struct vm *vm, ulong rip)
{
        if (step(vm, (ulong)handler.start + 1) && step(vm, (ulong)handler.start + 2))
                step(vm, rip);
}

static void off(void)
{
        vm_control(VMCS_PRIMARY_CONTROLS, 0, CTL_PRIMARY_MONITOR_TRAP_FLAG);
}

static const u8 path[] = { 1, 2, 3, 6, 7 };

CASE(alone, .id = "scenario.4-2.walk",
     .title = "a program, instruction by instruction, to its end",
     .sdm = SDM, .rules = "POST_MTF_ONE_INSTRUCTION POST_MTF_EXITING_INSTRUCTION",
     .needs = NEEDS)
{
        struct vm *vm = begin(walk);

        for (unsigned i = 0; i < ARRAY_LEN(path); i++)
                if (!step(vm, (ulong)walk.start + path[i]))
                        return;
        CHECK_EQ("RCX, what the program computed", vm->regs.rcx, vm->regs.rax);
        CHECK_EXIT("the end", vm_enter(vm), EXITS(EXIT_VMCALL));
}

CASE(stop, .id = "scenario.4-2.stop",
     .title = "half-way the VMM lets the guest run: no exit before its end",
     .sdm = SDM, .rules = "POST_MTF_NOT_STICKY", .needs = NEEDS)
{
        struct vm *vm = begin(walk);

        for (unsigned i = 0; i < 2; i++)
                if (!step(vm, (ulong)walk.start + path[i]))
                        return;
        off();
        CHECK_EXIT("the end", vm_enter(vm), EXITS(EXIT_VMCALL));
        CHECK_VMCS(GUEST_RIP, (ulong)walk.end - 3);
}

/* At each boundary one interrupt; every step of its handler is seen. */
CASE(interrupts, .id = "scenario.4-2.interrupts",
     .title = "an interrupt is injected at every boundary: handler, IRET, one instruction",
     .sdm = SDM, .rules = "POST_MTF_AFTER_VECTORED_INJECTION POST_MTF_IRET_FAR",
     .needs = NEEDS)
{
        struct vm *vm = begin(walk);
        ulong rip = (ulong)walk.start;

        vm_control(VMCS_GUEST_RFLAGS, RFLAGS_IF, 0);
        for (unsigned i = 0; i < ARRAY_LEN(path); i++) {
                vm_inject(EXTERNAL(INTERRUPT), 0, 0);
                if (!step(vm, (ulong)handler.start))
                        return;
                CHECK_VMCS_MASKED(GUEST_RFLAGS, 0, RFLAGS_IF);
                step_through_handler(vm, rip);
                CHECK_VMCS_MASKED(GUEST_RFLAGS, RFLAGS_IF, RFLAGS_IF);
                rip = (ulong)walk.start + path[i];
                if (!step(vm, rip))
                        return;
        }
        CHECK_EXIT("the end", vm_enter(vm), EXITS(EXIT_VMCALL));
}

static const struct {
        struct row head;
        u32 info;
        u8 vector, length;
} events[] = {
        { ROW("exception", "#DB"), HARDWARE(VEC_DB), VEC_DB, 0 },
        { ROW("int-n", "INT n"), INT_N(INTERRUPT), INTERRUPT, 1 },
        { ROW("int1", "INT1"), INT1_TRAP, VEC_DB, 1 },
};

TABLE(injected, events, .id = "scenario.4-2.event",
      .title = "an event injected between two steps: handler, IRET, the next step",
      .sdm = SDM, .rules = "POST_MTF_AFTER_VECTORED_INJECTION", .needs = NEEDS)
{
        struct vm *vm = begin(walk);
        ulong back = (ulong)walk.start + path[0] + events[row].length;

        if (!step(vm, (ulong)walk.start + path[0]))
                return;
        vm_inject(events[row].info, 0, events[row].length);
        if (!step(vm, (ulong)handler.start))
                return;
        step_through_handler(vm, back);
        step(vm, (ulong)walk.start + path[events[row].length + 1]);
}

CASE(pending_mtf, .id = "scenario.4-2.type-7",
     .title = "an injected MTF exit stops the guest where it is, once",
     .sdm = SDM, .rules = "INJ_MTF_TYPE7_REASON INJ_MTF_TYPE7_CONTROL_IRRELEVANT",
     .needs = NEEDS)
{
        struct vm *vm = begin(walk);

        off();
        vm_inject(PENDING_MTF, 0, 0);
        if (!step(vm, (ulong)walk.start))
                return;
        CHECK_EXIT("the end", vm_enter(vm), EXITS(EXIT_VMCALL));
}

CASE(exiting, .id = "scenario.4-2.exit",
     .title = "an instruction that exits takes the place of a step",
     .sdm = SDM, .rules = "POST_MTF_EXITING_INSTRUCTION", .needs = NEEDS)
{
        struct vm *vm = begin(with_cpuid);

        if (!step(vm, (ulong)with_cpuid.start + 1))
                return;
        CHECK_EXIT("CPUID", vm_enter(vm), EXITS(EXIT_CPUID));
        vm_skip();
        if (step(vm, (ulong)with_cpuid.start + 4))
                CHECK_EXIT("the end", vm_enter(vm), EXITS(EXIT_VMCALL));
}

CASE(string, .id = "scenario.4-2.rep",
     .title = "a REP instruction takes one step an iteration",
     .sdm = SDM, .rules = "POST_MTF_REP_STRING", .needs = NEEDS)
{
        struct vm *vm = begin(copy);
        u8 *from = page_alloc(1), *to = page_alloc(1);
        ulong rep = (ulong)copy.start + 1;

        from[0] = 0x11;
        from[1] = 0x22;
        from[2] = 0x33;
        vm->regs.rsi = (ulong)from;
        vm->regs.rdi = (ulong)to;
        vm->regs.rcx = 3;
        if (!step(vm, rep))
                return;
        for (unsigned i = 0; i < 3; i++) {
                CHECK_EQ("not copied yet", to[i], 0);
                if (!step(vm, i < 2 ? rep : rep + 2))
                        return;
                CHECK_EQ("copied", to[i], from[i]);
        }
        CHECK_EQ("RCX", vm->regs.rcx, 0);
}

/* The guest single-steps itself: each trap of its own waits behind an MTF exit. */
CASE(guest_steps, .id = "scenario.4-2.guest-tf",
     .title = "the guest's own single-step trap follows the MTF exit",
     .sdm = SDM, .rules = "POST_MTF_TF_CONCURRENT POST_MTF_PENDING_EVENT_FIRST",
     .needs = NEEDS)
{
        struct vm *vm = begin(walk);

        vm_control(VMCS_GUEST_RFLAGS, RFLAGS_TF, 0);
        for (unsigned i = 0; i < 2; i++) {
                if (!step(vm, (ulong)walk.start + path[i]))
                        return;
                CHECK_VMCS(GUEST_PENDING_DEBUG_EXCEPTIONS, PENDING_BS);
                /* The next step is the delivery of that trap. */
                if (!step(vm, (ulong)handler.start))
                        return;
                CHECK_VMCS(GUEST_PENDING_DEBUG_EXCEPTIONS, 0);
                step_through_handler(vm, (ulong)walk.start + path[i]);
        }
        write_dr6(DR6_INIT);
}
