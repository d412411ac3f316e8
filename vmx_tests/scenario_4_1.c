/*
 * Scenario: a VMM injects events while debug exceptions are pending. The guest's
 * own handlers keep a record of what reached them, in order; the VMM looks at it
 * and at DR6 and the pending debug exceptions after each step. A step's case
 * runs what goes before it too. SDM Vol. 3, VM Entries > Delivery of Pending
 * Debug Exceptions after VM Entry.
 */
#include "lib/string.h"
#include "x86/cpu.h"
#include "x86/memory.h"
#include "x86/vmx/event.h"
#include "x86/vmx/snippet.h"

#define SDM "VM Entries > Delivery of Pending Debug Exceptions after VM Entry"

#define BREAKPOINT (PENDING_ENABLED | PENDING_B(0))
#define INTERRUPT 0x30
#define CAUSES (DR6_B0 | DR6_B1 | DR6_B2 | DR6_B3 | DR6_BS)

/*
 * A handler notes its vector at (R/E)DI. The one of #DB notes in (R/E)BX where it
 * came from as well, and ends single-stepping.
 */
#ifdef __x86_64__
#define FRAME_RFLAGS "16(%rsp)"
#define DI "%rdi"
#else
#define FRAME_RFLAGS "8(%esp)"
#define DI "%edi"
#endif
#define NOTE(vector) "movb $" #vector ", (" DI ")\n inc " DI "\n"
PROGRAM(on_db, NATIVE_BITS,
        NOTE(1) "mov (" RSP "), " RBX "\n andl $~0x100, " FRAME_RFLAGS "\n" IRET);
PROGRAM(on_nmi, NATIVE_BITS, NOTE(2) IRET);
PROGRAM(on_ud, NATIVE_BITS, NOTE(6) IRET);
PROGRAM(on_interrupt, NATIVE_BITS, NOTE(0x30) IRET);

PROGRAM(quiet, NATIVE_BITS, "nop\n nop\n nop\n vmcall\n");
/* The operand of MOV to SS has a data breakpoint: #DB waits behind CPUID. */
PROGRAM(behind_mov_ss, NATIVE_BITS, "mov (" R_("si") "), %ss\n cpuid\n nop\n vmcall\n");

static u8 *notes;

static struct vm *begin(struct program program)
{
        struct vm *vm = vm_begin(GUEST_NATIVE);
        struct vm_tables t = vm_tables(vm);

        vm_gate_offset(&t, VEC_DB, (ulong)on_db.start);
        vm_gate_offset(&t, VEC_NMI, (ulong)on_nmi.start);
        vm_gate_offset(&t, VEC_UD, (ulong)on_ud.start);
        vm_gate_offset(&t, INTERRUPT, (ulong)on_interrupt.start);
        notes = page_alloc(1);
        vm->regs.rdi = (ulong)notes;
        vm->regs.rbx = 0;
        vm_program(vm, program);
        write_dr6(DR6_INIT);
        vm_poison(0);
        return vm;
}

/* The notes are @want, and the guest came to its end. */
static void check_notes(struct vm *vm, struct vmx_result r, const u8 *want,
                        unsigned count)
{
        unsigned got = (unsigned)(vm->regs.rdi - (ulong)notes);

        CHECK_EXIT("the guest's end", r, EXITS(EXIT_VMCALL));
        CHECK_EQ("events that reached the guest", got, count);
        for (unsigned i = 0; i < count && i < got; i++)
                CHECK_EQ("vector", notes[i], want[i]);
        CHECK_VMCS(GUEST_PENDING_DEBUG_EXCEPTIONS, 0);
}

static const struct {
        struct row head;
        u32 info;                 /* injected */
        u32 pending, rflags;
        u8 want[2];               /* vectors, in order */
        u8 count;
        u32 dr6;
} simple[] = {
        { ROW("nothing-injected", "nothing is injected: #DB"), 0, BREAKPOINT, 0,
          { VEC_DB }, 1, DR6_B0 },
        { ROW("interrupt", "an interrupt, no #DB"), EXTERNAL(INTERRUPT), BREAKPOINT,
          0, { INTERRUPT }, 1, 0 },
        { ROW("nmi", "an NMI, no #DB"), NMI, BREAKPOINT, 0, { VEC_NMI }, 1, 0 },
        { ROW("exception", "#UD, no #DB"), HARDWARE(VEC_UD), BREAKPOINT, 0,
          { VEC_UD }, 1, 0 },
        { ROW("int-n", "INT n, no #DB"), INT_N(INTERRUPT), BREAKPOINT, 0,
          { INTERRUPT }, 1, 0 },
        { ROW("step", "single-stepping, nothing injected: #DB"), 0, PENDING_BS,
          RFLAGS_TF, { VEC_DB }, 1, DR6_BS },
        { ROW("step-interrupt", "single-stepping: an interrupt, and #DB after its IRET"),
          EXTERNAL(INTERRUPT), PENDING_BS, RFLAGS_TF, { INTERRUPT, VEC_DB }, 2,
          DR6_BS },
        { ROW("step-exception", "single-stepping: #UD, and #DB after its IRET"),
          HARDWARE(VEC_UD), PENDING_BS, RFLAGS_TF, { VEC_UD, VEC_DB }, 2, DR6_BS },
        { ROW("step-int-n", "single-stepping: INT n, and #DB after its IRET"),
          INT_N(INTERRUPT), PENDING_BS, RFLAGS_TF, { INTERRUPT, VEC_DB }, 2, DR6_BS },
};

TABLE(injecting, simple, .id = "scenario.4-1.inject",
      .title = "injection while a debug exception is pending", .sdm = SDM,
      .rules = "POST_PDBG_NONE_AFTER_HW_INJECTION "
               "POST_PDBG_NONE_AFTER_SW_INJECTION_NO_MOVSS")
{
        struct vm *vm = begin(quiet);

        vmwrite(VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS, simple[row].pending);
        vm_control(VMCS_GUEST_RFLAGS, simple[row].rflags, 0);
        if (simple[row].info)
                vm_inject(simple[row].info, 0, 1);
        check_notes(vm, vm_enter(vm), simple[row].want, simple[row].count);
        CHECK_MASKED("DR6", read_dr6(), simple[row].dr6, CAUSES);
        write_dr6(DR6_INIT);
}

/* The guest meets its breakpoint; the VMM sees CPUID. */
static struct vm *breakpoint_in_guest(struct vmx_result *r)
{
        struct vm *vm = begin(behind_mov_ss);
        u16 *selector = page_alloc(1);

        *selector = SEL_DATA;
        vm->regs.rsi = (ulong)selector;
        write_dr0((ulong)selector);
        vm_control(VMCS_ENTRY_CONTROLS, CTL_ENTRY_LOAD_DEBUG_CONTROLS, 0);
        vmwrite(VMCS_GUEST_DR7, DR7_FIXED | DR7_L(0) | DR7_RW(0, 3) | DR7_LEN(0, 1));
        *r = vm_enter(vm);
        return vm;
}

static void end_breakpoint(void)
{
        write_dr0(0);
        write_dr6(DR6_INIT);
}

#define NEEDS "load-debug-controls"

CASE(mov_ss_exit, .id = "scenario.4-1.mov-ss.exit",
     .title = "an exit behind MOV SS saves the breakpoint that waits, and blocking",
     .sdm = "VM Exits > Saving Non-Register State",
     .rules = "POST_PDBG_MOVSS_OTHER_EXIT_SAVES POST_BLOCK_SAVED_ON_FAULTLIKE_EXIT",
     .needs = NEEDS)
{
        struct vmx_result r;

        breakpoint_in_guest(&r);
        CHECK_EXIT("behind MOV SS", r, EXITS(EXIT_CPUID));
        CHECK_BLOCKING(BLOCKED_MOV_SS);
        CHECK_VMCS_MASKED(GUEST_PENDING_DEBUG_EXCEPTIONS, BREAKPOINT,
                          PENDING_ENABLED | PENDING_B(0) | PENDING_BS);
        CHECK_MASKED("DR6", read_dr6(), 0, CAUSES);
        end_breakpoint();
}

CASE(mov_ss_resume, .id = "scenario.4-1.mov-ss.resume",
     .title = "the VMM does CPUID for the guest: #DB comes at once",
     .sdm = SDM, .rules = "POST_PDBG_VALID_EB POST_PDBG_DR6_UPDATE", .needs = NEEDS)
{
        static const u8 want[] = { VEC_DB };
        struct vmx_result r;
        struct vm *vm = breakpoint_in_guest(&r);
        ulong behind;

        vm_skip();
        behind = (ulong)vmread(VMCS_GUEST_RIP);
        vmwrite(VMCS_GUEST_INTERRUPTIBILITY_STATE, 0);
        check_notes(vm, vm_enter(vm), want, ARRAY_LEN(want));
        CHECK_EQ("RIP in the frame of #DB", vm->regs.rbx, behind);
        CHECK_MASKED("DR6", read_dr6(), DR6_B0, CAUSES);
        end_breakpoint();
}

CASE(mov_ss_exception, .id = "scenario.4-1.mov-ss.exception",
     .title = "the VMM injects #UD instead: no #DB",
     .sdm = SDM, .rules = "POST_PDBG_NONE_AFTER_HW_INJECTION", .needs = NEEDS)
{
        static const u8 want[] = { VEC_UD };
        struct vmx_result r;
        struct vm *vm = breakpoint_in_guest(&r);

        vm_skip();
        vm_inject(HARDWARE(VEC_UD), 0, 0);
        check_notes(vm, vm_enter(vm), want, ARRAY_LEN(want));
        CHECK_MASKED("DR6", read_dr6(), 0, CAUSES);
        end_breakpoint();
}

/* As behind MOV SS in the guest: at the handler's first instruction, or lost. */
CASE(mov_ss_int_n, .id = "scenario.4-1.mov-ss.int-n",
     .title = "the VMM injects INT n instead: #DB not before it",
     .sdm = SDM, .rules = "POST_PDBG_SW_INJECTION_MOVSS", .needs = NEEDS)
{
        static const u8 both[] = { VEC_DB, INTERRUPT }, one[] = { INTERRUPT };
        struct vmx_result r;
        struct vm *vm = breakpoint_in_guest(&r);

        vm_skip();
        vm_inject(INT_N(INTERRUPT), 0, 1);
        r = vm_enter(vm);
        if (notes[0] == VEC_DB) {
                check_notes(vm, r, both, ARRAY_LEN(both));
                CHECK_EQ("RIP in the frame of #DB", vm->regs.rbx,
                         (ulong)on_interrupt.start);
        } else {
                check_notes(vm, r, one, ARRAY_LEN(one));
        }
        end_breakpoint();
}
