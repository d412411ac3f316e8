/*
 * SDM Vol. 3, VMX Non-Root Operation > Monitor Trap Flag: the boundary at which
 * an MTF VM exit comes, with the control or injected as an event of type 7.
 */
#include "x86/cpu.h"
#include "x86/memory.h"
#include "x86/vmx/event.h"
#include "x86/vmx/snippet.h"

#define SDM "VMX Non-Root Operation > Monitor Trap Flag"
#define NEEDS "monitor-trap-flag"
#define WATCHDOG " activate-vmx-preemption-timer"
#define MTF_EXIT EXITS_WITH(EXIT_MONITOR_TRAP_FLAG, 0)

PROGRAM(nops, NATIVE_BITS, "nop\n nop\n vmcall\n");
PROGRAM(ud2, NATIVE_BITS, "ud2\n");
PROGRAM(read_at_ax, NATIVE_BITS, "mov (" RAX "), %cl\n");
PROGRAM(load_bad_selector, NATIVE_BITS, "mov $0x1008, %eax\n mov %eax, %ds\n");
PROGRAM(int_n, NATIVE_BITS, "int $0x30\n");
PROGRAM(int1, NATIVE_BITS, ".byte 0xf1\n");
PROGRAM(int3, NATIVE_BITS, "int3\n");
PROGRAM(into, 32, "into\n");
PROGRAM(iret, NATIVE_BITS, IRET);
#ifdef __x86_64__
PROGRAM(far_return, NATIVE_BITS, "lretq\n");
#else
PROGRAM(far_return, NATIVE_BITS, "lret\n");
#endif
PROGRAM(mov_cr3, NATIVE_BITS, "mov " RAX ", %cr3\n nop\n");
PROGRAM(wbinvd, NATIVE_BITS, "wbinvd\n nop\n");
PROGRAM(mov_ss, NATIVE_BITS, "mov %eax, %ss\n nop\n");
PROGRAM(set_if, NATIVE_BITS, "sti\n nop\n");
PROGRAM(halt, NATIVE_BITS, "hlt\n nop\n");
PROGRAM(cpuid_nop, NATIVE_BITS, "cpuid\n nop\n");
PROGRAM(rep_stosb, NATIVE_BITS, "rep stosb\n nop\n");
PROGRAM(xbegin, NATIVE_BITS, ".byte 0xc7, 0xf8, 1, 0, 0, 0\n nop\n nop\n");

static struct vm *begin_mode(enum guest_mode mode, struct program program)
{
        struct vm *vm = vm_begin(mode);

        vm_program(vm, program);
        vm_control(VMCS_PRIMARY_CONTROLS, CTL_PRIMARY_MONITOR_TRAP_FLAG, 0);
        vm_poison(0);
        return vm;
}

static struct vm *begin(struct program program)
{
        return begin_mode(GUEST_NATIVE, program);
}

/* An MTF exit at @rip, not in delivery of anything. */
static void check_mtf_at(struct vm *vm, ulong rip)
{
        CHECK_EXIT("VM entry", vm_enter(vm), MTF_EXIT);
        CHECK_VMCS(GUEST_RIP, rip);
        CHECK_EXITING_EVENT(0, 0);
        CHECK_ORIGINAL_EVENT(0, 0);
}

CASE(one, .id = "mtf.one-instruction",
     .title = "MTF exits after each instruction, once",
     .sdm = SDM, .rules = "POST_MTF_ONE_INSTRUCTION", .needs = NEEDS)
{
        struct vm *vm = begin(nops);

        vm_control(VMCS_PRIMARY_CONTROLS, 0, CTL_PRIMARY_MONITOR_TRAP_FLAG);
        CHECK_EXIT("control 0", vm_enter(vm), EXITS(EXIT_VMCALL));
        vm = begin(nops);
        check_mtf_at(vm, (ulong)nops.start + 1);
        check_mtf_at(vm, (ulong)nops.start + 2);
        vm_control(VMCS_PRIMARY_CONTROLS, 0, CTL_PRIMARY_MONITOR_TRAP_FLAG);
        CHECK_EXIT("control 0", vm_enter(vm), EXITS(EXIT_VMCALL));
}

static void bad_selector(struct vm *vm)
{
        vmwrite(VMCS_GUEST_RIP, vm->entry_rip + 5);  /* behind the first MOV */
        vm->regs.rax = 0x1008;
}

static void page_fault(struct vm *vm)
{
        vm_paging_hole(vm);
        vm->regs.rax = GUEST_HOLE;
}

static void overflow(struct vm *vm)
{
        (void)vm;
        vm_control(VMCS_GUEST_RFLAGS, RFLAGS_OF, 0);
}

static void gate_absent(struct vm *vm)
{
        struct vm_tables t = vm_tables(vm);

        vm_gate(&t, VEC_UD)[GATE_RIGHTS] = GATE_INTERRUPT;
}

/* Instructions that enter a handler. */
static const struct {
        struct row head;
        const struct program *program;
        enum guest_mode mode;
        void (*prepare)(struct vm *vm);
        u8 vector;
} delivering[] = {
        { ROW("fault.ud", "UD2", "POST_MTF_FAULTING_INSTRUCTION"), &ud2,
          GUEST_NATIVE, NULL, VEC_UD },
        { ROW("fault.gp", "#GP", "POST_MTF_FAULTING_INSTRUCTION"),
          &load_bad_selector, GUEST_NATIVE, bad_selector, VEC_GP },
        { ROW("fault.pf", "#PF", "POST_MTF_FAULTING_INSTRUCTION"), &read_at_ax,
          GUEST_NATIVE, page_fault, VEC_PF },
        { ROW("fault.nested", "UD2, whose gate is not present: #NP",
              "POST_MTF_FAULTING_INSTRUCTION"), &ud2, GUEST_NATIVE, gate_absent,
          VEC_NP },
        { ROW("int-n", "INT n", "POST_MTF_SOFTWARE_INT"), &int_n, GUEST_NATIVE,
          NULL, 0x30 },
        { ROW("int1", "INT1", "POST_MTF_SOFTWARE_INT"), &int1, GUEST_NATIVE, NULL,
          VEC_DB },
        { ROW("int3", "INT3", "POST_MTF_SOFTWARE_INT"), &int3, GUEST_NATIVE, NULL,
          VEC_BP },
        { ROW("into", "INTO", "POST_MTF_SOFTWARE_INT"), &into, GUEST_PAE, overflow,
          VEC_OF },
};

TABLE(delivery, delivering, .id = "mtf.delivery",
      .title = "an instruction that enters a handler: MTF exits at the handler",
      .sdm = SDM, .needs = NEEDS)
{
        struct vm *vm = begin_mode(delivering[row].mode, *delivering[row].program);

        if (delivering[row].prepare)
                delivering[row].prepare(vm);
        check_mtf_at(vm, vm_handler(vm, delivering[row].vector));
}

CASE(intercepted, .id = "mtf.intercepted-fault",
     .title = "a fault that exits: no MTF exit, then or later",
     .sdm = SDM, .rules = "POST_MTF_INTERCEPTED_FAULT POST_MTF_NOT_STICKY",
     .needs = NEEDS)
{
        struct vm *vm = begin(ud2);

        vmwrite(VMCS_EXCEPTION_BITMAP, BIT(VEC_UD));
        CHECK_EXIT("VM entry", vm_enter(vm), EXITS(EXIT_EXCEPTION_NMI));
        vm_program(vm, nops);
        vm_control(VMCS_PRIMARY_CONTROLS, 0, CTL_PRIMARY_MONITOR_TRAP_FLAG);
        CHECK_EXIT("MTF 0 afterwards", vm_enter(vm), EXITS(EXIT_VMCALL));
}

static const struct {
        struct row head;
        const struct program *program;
        u32 reason;
} exiting[] = {
        { ROW("cpuid", "CPUID"), &cpuid_nop, EXIT_CPUID },
        { ROW("vmcall", "VMCALL"), &program_vmcall, EXIT_VMCALL },
};

TABLE(exit_first, exiting, .id = "mtf.exiting-instruction",
      .title = "an instruction that exits: no MTF exit, then or later",
      .sdm = SDM, .rules = "POST_MTF_EXITING_INSTRUCTION POST_MTF_NOT_STICKY",
      .needs = NEEDS)
{
        struct vm *vm = begin(*exiting[row].program);

        CHECK_EXIT("VM entry", vm_enter(vm), EXITS(exiting[row].reason));
        CHECK_VMCS(GUEST_RIP, (ulong)exiting[row].program->start);
        vm_program(vm, nops);
        vm_control(VMCS_PRIMARY_CONTROLS, 0, CTL_PRIMARY_MONITOR_TRAP_FLAG);
        CHECK_EXIT("MTF 0 afterwards", vm_enter(vm), EXITS(EXIT_VMCALL));
}

static void frame_to_nops(struct vm *vm)
{
        (void)vm;
        vm_push_frame((ulong)nops.start, SEL_CODE, 0);
}

static void own_cr3(struct vm *vm)
{
        vm->regs.rax = (ulong)vmread(VMCS_GUEST_CR3);
}

static void stack_selector(struct vm *vm)
{
        vm->regs.rax = SEL_DATA;
}

/* @length 0: the instruction goes to nops. */
static const struct {
        struct row head;
        const struct program *program;
        void (*prepare)(struct vm *vm);
        u8 length;
        u8 blocked;
        u8 activity;
} whole[] = {
        { ROW("iret", "IRET", "POST_MTF_IRET_FAR"), &iret, frame_to_nops, 0, 0,
          ACTIVE },
        { ROW("far-return", "far RET", "POST_MTF_IRET_FAR"), &far_return,
          frame_to_nops, 0, 0, ACTIVE },
        { ROW("mov-cr3", "MOV to CR3", "POST_MTF_IRET_FAR"), &mov_cr3, own_cr3, 3, 0,
          ACTIVE },
        { ROW("wbinvd", "WBINVD", "POST_MTF_IRET_FAR"), &wbinvd, NULL, 2, 0, ACTIVE },
        { ROW("mov-ss", "MOV SS: not blocked by it", "POST_MTF_MOVSS"), &mov_ss,
          stack_selector, 2, BLOCKED_MOV_SS, ACTIVE },
        { ROW("sti", "STI: not blocked by it", "POST_MTF_STI"), &set_if, NULL, 1,
          BLOCKED_STI, ACTIVE },
        { ROW("hlt", "HLT: the exit comes from that state",
              "POST_MTF_HLT_INSTRUCTION POST_ACT_HLT_DIRECT_EXIT_SAVES_HLT"),
          &halt, NULL, 1, 0, HLT },
};

TABLE(whole_instruction, whole, .id = "mtf.instruction",
      .title = "MTF exits behind the instruction",
      .sdm = SDM, .needs = NEEDS WATCHDOG)
{
        struct vm *vm = begin(*whole[row].program);

        if (whole[row].prepare)
                whole[row].prepare(vm);
        vm_watchdog();
        check_mtf_at(vm, whole[row].length
                         ? (ulong)whole[row].program->start + whole[row].length
                         : (ulong)nops.start);
        CHECK_BLOCKING(whole[row].blocked);
        CHECK_VMCS(GUEST_ACTIVITY_STATE, whole[row].activity);
}

CASE(rep, .id = "mtf.rep", .title = "REP: MTF exits after one iteration",
     .sdm = SDM, .rules = "POST_MTF_REP_STRING", .needs = NEEDS)
{
        struct vm *vm = begin(rep_stosb);
        ulong to = (ulong)page_alloc(1);

        vm->regs.rdi = to;
        vm->regs.rcx = 3;
        for (ulong left = 2; left; left--) {
                check_mtf_at(vm, (ulong)rep_stosb.start);
                CHECK_EQ("RCX", vm->regs.rcx, left);
                CHECK_EQ("RDI", vm->regs.rdi, to + 3 - left);
        }
        vm = begin(rep_stosb);
        vm->regs.rcx = 0;
        check_mtf_at(vm, (ulong)rep_stosb.start + 2);
}

CASE(rep_fault, .id = "mtf.rep-fault",
     .title = "REP: a fault of the first iteration, MTF exits at its handler",
     .sdm = SDM, .rules = "POST_MTF_REP_FAULT", .needs = NEEDS)
{
        struct vm *vm = begin(rep_stosb);

        vm_paging_hole(vm);
        vm->regs.rdi = GUEST_HOLE;
        vm->regs.rcx = 3;
        check_mtf_at(vm, vm_handler(vm, VEC_PF));
        CHECK_EQ("RCX", vm->regs.rcx, 3);
}

CASE(transaction, .id = "mtf.xbegin",
     .title = "XBEGIN: MTF exits at the fallback address",
     .sdm = SDM, .rules = "POST_MTF_XBEGIN", .needs = NEEDS " rtm")
{
        struct vm *vm = begin(xbegin);

        check_mtf_at(vm, (ulong)xbegin.start + 7);
}

/* The trap of TF is pending behind the MTF exit, and delivered later. */
CASE(with_tf, .id = "mtf.tf", .title = "MTF exits before the trap of TF",
     .sdm = SDM, .rules = "POST_MTF_TF_CONCURRENT", .needs = NEEDS)
{
        struct vm *vm = begin(nops);

        vm_control(VMCS_GUEST_RFLAGS, RFLAGS_TF, 0);
        check_mtf_at(vm, (ulong)nops.start + 1);
        CHECK_VMCS(GUEST_PENDING_DEBUG_EXCEPTIONS, PENDING_BS);
        vm_control(VMCS_PRIMARY_CONTROLS, 0, CTL_PRIMARY_MONITOR_TRAP_FLAG);
        CHECK_DELIVERED("MTF 0 afterwards", vm, vm_enter(vm), .vector = VEC_DB,
                        .rip = (ulong)nops.start + 1);
        vm = begin(nops);
        check_mtf_at(vm, (ulong)nops.start + 1);
        CHECK_VMCS(GUEST_PENDING_DEBUG_EXCEPTIONS, 0);
}
