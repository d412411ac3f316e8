/*
 * SDM Vol. 3, VM Entries > VMX-Preemption Timer; VMX Non-Root Operation >
 * VMX-Preemption Timer; VM Exits > Saving Non-Register State. Intervals are
 * judged by bounds that hold however long anything takes.
 */
#include "x86/cpu.h"
#include "x86/memory.h"
#include "x86/msr.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/event.h"

#define SDM "VM Entries > VMX-Preemption Timer"
#define OPERATION "VMX Non-Root Operation > VMX-Preemption Timer"
#define SAVING "VM Exits > Saving Non-Register State"
#define NEEDS "activate-vmx-preemption-timer"
#define SAVES NEEDS " save-vmx-preemption-timer-value"

/*
 * Long beyond any interval here, though bit 20 of the TSC be what the timer
 * counts or a hypervisor's clock be late; and it ends.
 */
PROGRAM(loop, NATIVE_BITS, "mov $0x2000000, %ecx\n1: dec %ecx\n jnz 1b\n vmcall\n");
PROGRAM(halt, NATIVE_BITS, "hlt\n vmcall\n");
PROGRAM(cpuids, NATIVE_BITS, "cpuid\n cpuid\n vmcall\n");
/* The TSC's low half at the beginning and at the end, in ESI and EDI. */
PROGRAM(busy, NATIVE_BITS,
        "rdtsc\n mov %eax, %esi\n mov $2000, %ecx\n1: dec %ecx\n jnz 1b\n"
        "rdtsc\n mov %eax, %edi\n vmcall\n");

static struct vm *begin(struct program program, u32 value)
{
        struct vm *vm = vm_begin(GUEST_NATIVE);

        vm_program(vm, program);
        vm_control(VMCS_PIN_CONTROLS, CTL_PIN_ACTIVATE_PREEMPTION_TIMER, 0);
        vmwrite(VMCS_PREEMPTION_TIMER_VALUE, value);
        /* A hypervisor's interrupts get through, on a processor that holds them. */
        if (program.start == loop.start)
                vm_control(VMCS_GUEST_RFLAGS, RFLAGS_IF, 0);
        vm_poison(0);
        return vm;
}

/* The timer counts changes of this bit of the TSC. */
static unsigned rate(void)
{
        return (unsigned)vmx_cap(misc, PREEMPTION_TIMER_RATE);
}

static void save_value(void)
{
        vm_control(VMCS_EXIT_CONTROLS, CTL_EXIT_SAVE_PREEMPTION_TIMER, 0);
}

CASE(zero, .id = "entry.timer.zero",
     .title = "a value of 0 exits before the first instruction",
     .sdm = SDM, .rules = "POST_TMR_ZERO", .needs = NEEDS)
{
        struct vm *vm = begin(program_vmcall, ~0u);

        CHECK_EXIT("value FFFFFFFFH", vm_enter(vm), EXITS(EXIT_VMCALL));
        vm = begin(program_vmcall, 0);
        CHECK_EXIT("value 0", vm_enter(vm), EXITS_WITH(EXIT_PREEMPTION_TIMER, 0));
        CHECK_VMCS(GUEST_RIP, (ulong)program_vmcall.start);
        CHECK_EXITING_EVENT(0, 0);
        CHECK_ORIGINAL_EVENT(0, 0);
}

static const struct {
        struct row head;
        u32 value;
} large[] = {
        { ROW("80000000"), 0x80000000 },
        { ROW("ffffffff"), 0xffffffff },
};

TABLE(is_unsigned, large, .id = "entry.timer.unsigned",
      .title = "a value with bit 31 set is large, not negative",
      .sdm = SDM, .rules = "POST_TMR_UNSIGNED", .needs = NEEDS)
{
        struct vm *vm = begin(busy, large[row].value);

        CHECK_EXIT("VM entry", vm_enter(vm), EXITS(EXIT_VMCALL));
        vm = begin(busy, 0);
        CHECK_EXIT("value 0", vm_enter(vm), TIMER_EXIT);
}

CASE(inactive, .id = "entry.timer.inactive",
     .title = "with the control 0 the value means nothing and is not changed",
     .sdm = SDM, .rules = "POST_TMR_INACTIVE", .needs = NEEDS)
{
        struct vm *vm = begin(busy, 0);

        vm_control(VMCS_PIN_CONTROLS, 0, CTL_PIN_ACTIVATE_PREEMPTION_TIMER);
        CHECK_EXIT("VM entry", vm_enter(vm), EXITS(EXIT_VMCALL));
        CHECK_VMCS(PREEMPTION_TIMER_VALUE, 0);
}

TABLE(injection, event_types, .id = "entry.timer.after-injection",
      .title = "a value of 0 exits after injection, at the handler",
      .sdm = SDM,
      .rules = "POST_TMR_ZERO_AFTER_INJECTION POST_PRIO_INJECTION_BEFORE_ALL",
      .needs = NEEDS)
{
        u32 info = event_types[row].info;
        struct vm *vm = begin(program_vmcall, 0);

        vm_inject(info, 0, event_types[row].length);
        CHECK_EXIT("VM entry", vm_enter(vm), TIMER_EXIT);
        CHECK_VMCS(GUEST_RIP, vm_handler(vm, (u8)info));
        CHECK_ORIGINAL_EVENT(0, 0);
        CHECK_EQ("RIP in the frame", vm_stack(vm, 0),
                 (ulong)program_vmcall.start + event_types[row].length);
}

TABLE(injection_exits, event_types, .id = "entry.timer.injection-exit",
      .title = "an exit in delivery of an injected event comes before the timer's",
      .sdm = SDM, .rules = "POST_TMR_ZERO_INJECTION_EXIT_FIRST", .needs = NEEDS)
{
        u32 info = event_types[row].info;
        struct vm *vm = begin(program_vmcall, 0);
        struct vm_tables t = vm_tables(vm);

        vm_gate(&t, (u8)info)[GATE_RIGHTS] = GATE_INTERRUPT;
        vmwrite(VMCS_EXCEPTION_BITMAP, BIT(VEC_NP));
        vm_inject(info, 0, event_types[row].length);
        CHECK_EXIT("VM entry", vm_enter(vm), EXITS(EXIT_EXCEPTION_NMI));
        CHECK_ORIGINAL_EVENT(info, 0);
}

CASE(after_db, .id = "entry.timer.after-debug",
     .title = "a pending #DB is delivered first; the exit is at its handler",
     .sdm = SDM, .rules = "POST_PRIO_DB_DELIVERED_THEN_TIMER", .needs = NEEDS)
{
        struct vm *vm = begin(program_vmcall, 0);

        write_dr6(DR6_INIT);
        vmwrite(VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS,
                PENDING_ENABLED | PENDING_B(0));
        CHECK_EXIT("VM entry", vm_enter(vm), TIMER_EXIT);
        CHECK_VMCS(GUEST_RIP, vm_handler(vm, VEC_DB));
        CHECK_EQ("RIP in the frame", vm_stack(vm, 0),
                 (ulong)program_vmcall.start);
        CHECK_MASKED("DR6", read_dr6(), DR6_B0, DR6_B0);
        write_dr6(DR6_INIT);
}

/* The guest has had all the time between, at most. */
static void check_interval(u32 value, u64 ticks)
{
        CHECK("ticks of the TSC until the timer's exit",
              ticks >= (u64)(value - 1) << rate(), "%llu for the value %u, bit %u",
              (unsigned long long)ticks, value, rate());
}

static u32 some_ticks(u32 ticks)
{
        u32 value = ticks >> rate();

        return value < 2 ? 2 : value;
}

FAMILY(interval, 3, .id = "entry.timer.rate",
       .title = "the timer expires, and not before its ticks have passed",
       .sdm = OPERATION, .rules = "POST_TMR_RATE", .needs = NEEDS)
{
        static const u32 ticks[] = { 1000, 10000, 40000 };
        u32 value = some_ticks(ticks[row]);
        struct vm *vm = begin(loop, value);
        u64 from = rdtsc();

        CHECK_EXIT("VM entry", vm_enter(vm), TIMER_EXIT);
        check_interval(value, rdtsc() - from);
}

static const struct {
        struct row head;
        u64 offset, multiplier;
} virtual_tscs[] = {
        { ROW("offset", "TSC offset", NULL, "use-tsc-offsetting"), BIT(40), 0 },
        { ROW("negative-offset", "negative TSC offset", NULL, "use-tsc-offsetting"),
          ~0ull << 30, 0 },
        { ROW("multiplier", "TSC multiplier 16", NULL,
              "use-tsc-offsetting use-tsc-scaling"), 0, 16ull << 48 },
};

TABLE(virtual_tsc, virtual_tscs, .id = "entry.timer.tsc",
      .title = "the timer counts the processor's TSC, not the guest's",
      .sdm = OPERATION, .rules = "POST_TMR_TSC_OFFSET_IRRELEVANT", .needs = NEEDS)
{
        u32 value = some_ticks(20000);
        struct vm *vm = begin(loop, value);
        u64 from;

        vm_control(VMCS_PRIMARY_CONTROLS, CTL_PRIMARY_USE_TSC_OFFSETTING, 0);
        vmwrite(VMCS_TSC_OFFSET, virtual_tscs[row].offset);
        if (virtual_tscs[row].multiplier) {
                vmcs_edit(EDITS(WITH_SECONDARY(CTL_SECONDARY_USE_TSC_SCALING)));
                vmwrite(VMCS_TSC_MULTIPLIER, virtual_tscs[row].multiplier);
        }
        from = rdtsc();
        CHECK_EXIT("VM entry", vm_enter(vm), TIMER_EXIT);
        check_interval(value, rdtsc() - from);
}

/* The TSC jumps ahead by the VM-entry MSR-load list; it is set back after that. */
CASE(tsc_written, .id = "entry.timer.tsc.written",
     .title = "a write of the TSC does not count",
     .sdm = OPERATION, .rules = "POST_TMR_RDTSC_WRITE_IRRELEVANT", .needs = NEEDS)
{
        const u64 jump = BIT(36);
        u32 value = some_ticks(20000);
        struct vm *vm = begin(loop, value);
        u64 *list = page_alloc(1), target;

        list[0] = MSR_IA32_TIME_STAMP_COUNTER;
        vmwrite(VMCS_ENTRY_MSR_LOAD_ADDRESS, phys(list));
        vmwrite(VMCS_ENTRY_MSR_LOAD_COUNT, 1);
        list[1] = target = rdtsc() + jump;
        CHECK_EXIT("VM entry", vm_enter(vm), TIMER_EXIT);
        check_interval(value, rdtsc() - target);
        wrmsr(MSR_IA32_TIME_STAMP_COUNTER, rdtsc() - jump);
}

CASE(saved, .id = "entry.timer.saved",
     .title = "the value saved has counted the guest's time, and no other",
     .sdm = SAVING, .rules = "POST_TMR_SAVE", .needs = SAVES)
{
        const u32 value = 0x40000000;
        struct vm *vm = begin(busy, value);
        u64 from, all, used;
        u32 inside;

        save_value();
        from = rdtsc();
        CHECK_EXIT("VM entry", vm_enter(vm), EXITS(EXIT_VMCALL));
        all = rdtsc() - from;
        used = value - (u32)vmread(VMCS_PREEMPTION_TIMER_VALUE);
        inside = (u32)vm->regs.rdi - (u32)vm->regs.rsi;
        CHECK("not less than the program took", used + 1 >= inside >> rate(),
              "counted %llu, the program took %u ticks", (unsigned long long)used,
              inside);
        CHECK("not more than all took", used <= (all >> rate()) + 1,
              "counted %llu, all took %llu ticks", (unsigned long long)used,
              (unsigned long long)all);
}

CASE(saved_zero, .id = "entry.timer.saved-zero",
     .title = "the timer's exit saves 0, so that the next entry exits at once",
     .sdm = SAVING, .rules = "POST_TMR_SAVE_ZERO_ON_EXPIRY", .needs = SAVES)
{
        struct vm *vm = begin(loop, some_ticks(1000));
        u64 rip;

        save_value();
        CHECK_EXIT("first entry", vm_enter(vm), TIMER_EXIT);
        CHECK_VMCS(PREEMPTION_TIMER_VALUE, 0);
        rip = vmread(VMCS_GUEST_RIP);
        CHECK_EXIT("second entry", vm_enter(vm), TIMER_EXIT);
        CHECK_VMCS(GUEST_RIP, rip);
}

CASE(not_saved, .id = "entry.timer.not-saved",
     .title = "without the VM-exit control the value stays as it was",
     .sdm = SAVING, .rules = "POST_TMR_NO_SAVE", .needs = NEEDS)
{
        u32 value = some_ticks(1000);
        struct vm *vm = begin(loop, value);

        CHECK_EXIT("the timer's exit", vm_enter(vm), TIMER_EXIT);
        CHECK_VMCS(PREEMPTION_TIMER_VALUE, value);
        vm = begin(busy, 0x40000000);
        CHECK_EXIT("another exit", vm_enter(vm), EXITS(EXIT_VMCALL));
        CHECK_VMCS(PREEMPTION_TIMER_VALUE, 0x40000000);
}

/* Time in the host is long compared with the second stay in the guest. */
CASE(stops, .id = "entry.timer.stops",
     .title = "the timer does not count between VM exit and VM entry",
     .sdm = OPERATION, .rules = "POST_TMR_STOPS_AT_EXIT", .needs = SAVES)
{
        const u32 wait = 200000;
        struct vm *vm = begin(cpuids, 0x40000000);
        u64 first, second, from, all;

        save_value();
        CHECK_EXIT("first entry", vm_enter(vm), EXITS(EXIT_CPUID));
        first = vmread(VMCS_PREEMPTION_TIMER_VALUE);
        vm_skip();
        from = rdtsc();
        while (rdtsc() - from < wait)
                pause();
        from = rdtsc();
        CHECK_EXIT("second entry", vm_enter(vm), EXITS(EXIT_CPUID));
        all = rdtsc() - from;
        second = vmread(VMCS_PREEMPTION_TIMER_VALUE);
        CHECK("counted in the second stay", first - second <= (all >> rate()) + 1,
              "%llu, though it took %llu ticks", (unsigned long long)(first - second),
              (unsigned long long)all);
}

CASE(hlt_executed, .id = "entry.timer.hlt",
     .title = "the timer wakes a guest that executed HLT, and saves HLT",
     .sdm = OPERATION,
     .rules = "POST_TMR_HLT_EXECUTED POST_ACT_HLT_DIRECT_EXIT_SAVES_HLT",
     .needs = NEEDS)
{
        struct vm *vm = begin(halt, some_ticks(20000));

        CHECK_EXIT("VM entry", vm_enter(vm), TIMER_EXIT);
        CHECK_VMCS(GUEST_RIP, (ulong)halt.start + 1);
        CHECK_VMCS(GUEST_ACTIVITY_STATE, HLT);
}

PROGRAM(mwait, NATIVE_BITS,
        "xor %ecx, %ecx\n xor %edx, %edx\n monitor\n xor %eax, %eax\n mwait\n"
        "vmcall\n");

/* MWAIT may end by itself: VMCALL is legal too. */
CASE(mwait_executed, .id = "entry.timer.mwait",
     .title = "the timer wakes a guest that executed MWAIT, and saves the active state",
     .sdm = "VMX Non-Root Operation > Other Causes of VM Exits",
     .rules = "POST_TMR_MWAIT", .needs = NEEDS " monitor")
{
        struct vm *vm = begin(mwait, some_ticks(20000));
        struct vmx_result r;

        vm->regs.rax = (ulong)page_alloc(1);
        r = vm_enter(vm);
        check_result_either(__FILE__, __LINE__, "VM entry", r, RESULT(TIMER_EXIT),
                            RESULT(EXITS(EXIT_VMCALL)));
        CHECK_VMCS(GUEST_RIP, (ulong)mwait.end - 3);
        CHECK_VMCS(GUEST_ACTIVITY_STATE, ACTIVE);
}
