/*
 * SDM Vol. 3, VM Entries > steps of VM entry (chapter introduction): with
 * RFLAGS.TF = 1 only an entry that goes on at the next instruction gives a
 * single-step exception.
 */
#include "lib/string.h"
#include "x86/memory.h"
#include "x86/vmx/entry_code.h"
#include "x86/vmx/event.h"
#include "x86/vmx/probe.h"
#include "x86/vmx/snippet.h"

#define SDM "VM Entries > steps of VM entry (chapter introduction)"

/* TF is set by the instruction before the VM entry. */
#define SET_TF "pushf\norl $0x100, (" RSP ")\npopf\n"

ENTRY_CODE(step_launch, SET_TF "vmlaunch\nstep_launch_next:");
ENTRY_CODE(step_resume, SET_TF "vmresume\nstep_resume_next:");
extern const u8 step_launch_next[], step_resume_next[];

static struct trap_frame taken;
static ulong taken_dr6;

static void take(struct trap_frame *frame)
{
        taken = *frame;
        taken_dr6 = read_dr6();
        frame->rflags &= ~(ulong)RFLAGS_TF;
}

struct step_row {
        struct row head;
        const struct edit *edits;
        struct vmx_result outcome;
        bool launched, resume;
};

static struct vmx_result step(const struct step_row *r)
{
        struct vm *vm = vm_begin(GUEST_NATIVE);

        if (r->launched)
                CHECK_RESULT("VMLAUNCH", vm_launch(vm), EXITS(EXIT_VMCALL));
        vmcs_edit(r->edits);
        if (r->outcome.kind == VMX_FAIL_INVALID)
                CHECK_RESULT("VMCLEAR", vmclear(&vm->pointer), SUCCEED);
        else
                vm_poison(r->outcome.code);
        irq_set(VEC_DB, take);
        memset(&taken, 0, sizeof(taken));
        write_dr6(DR6_INIT);
        return entry_code_run(r->resume ? step_resume : step_launch);
}

static const struct step_row step_rows[] = {
        { ROW("controls", "error 7"), EDITS(SET(PIN_CONTROLS, ~0u)), BAD_CONTROLS,
          false, false },
        { ROW("host-state", "error 8"), EDITS(SET(HOST_CS_SELECTOR, 0)), BAD_HOST,
          false, false },
        { ROW("not-clear", "error 4"), NULL, FAIL_VALID(VMERR_VMLAUNCH_NOT_CLEAR),
          true, false },
        { ROW("not-launched", "error 5"), NULL,
          FAIL_VALID(VMERR_VMRESUME_NOT_LAUNCHED), false, true },
        { ROW("no-vmcs", "VMfailInvalid"), NULL, FAIL_INVALID, false, false },
};

TABLE(steps, step_rows, .id = "entry.vmfail.single-step",
      .title = "a single step over a VM entry that fails", .sdm = SDM,
      .rules = "ENTB_VMFAIL_SINGLE_STEP")
{
        const struct step_row *r = case_row(self, row);
        const u8 *next = r->resume ? step_resume_next : step_launch_next;
        bool invalid = r->outcome.kind == VMX_FAIL_INVALID;
        struct vmx_result got = step(r);

        check_result(__FILE__, __LINE__, "VM entry", got, r->outcome);
        CHECK_EQ("debug exceptions", irq_count[VEC_DB], 1);
        CHECK_EQ("at", taken.rip, (ulong)next);
        CHECK_EQ("DR6.BS", taken_dr6 & DR6_BS, DR6_BS);
        CHECK_MASKED("saved RFLAGS", taken.rflags,
                     RFLAGS_TF | (invalid ? RFLAGS_CF : RFLAGS_ZF),
                     RFLAGS_TF | VMX_FLAGS);
        write_dr6(DR6_INIT);
        vm_begin(GUEST_NATIVE);
}

static const struct step_row no_step_rows[] = {
        { ROW("guest-state", "invalid guest state"), EDITS(SET(GUEST_RFLAGS, 0)),
          BAD_GUEST, false, false },
        { ROW("entered", "a VM entry"), NULL, EXITS(EXIT_VMCALL), false, false },
        { ROW("resumed", "VMRESUME"), NULL, EXITS(EXIT_VMCALL), true, true },
};

TABLE(no_steps, no_step_rows, .id = "entry.vmfail.no-single-step",
      .title = "no single step where the next instruction is not reached",
      .sdm = SDM, .rules = "ENTB_VMFAIL_SINGLE_STEP")
{
        const struct step_row *r = case_row(self, row);
        struct vmx_result got = step(r);

        check_result(__FILE__, __LINE__, "VM entry", got, r->outcome);
        CHECK_EQ("debug exceptions", irq_count[VEC_DB], 0);
        CHECK_EQ("DR6", read_dr6(), DR6_INIT);
}

/* At CPL 3 the instruction faults. */
asm(".pushsection .text\n"
    "entry_step_cpl3: pushf\norl $0x100, (" RSP ")\npopf\n"
    "vmlaunch\n"
    ".popsection\n");
extern const u8 entry_step_cpl3[];

CASE(no_step_fault, .id = "entry.vmfail.no-single-step.fault",
     .title = "no single step after #GP of a VM entry", .sdm = SDM,
     .rules = "ENTB_VMFAIL_SINGLE_STEP")
{
        u8 code[TRAP_CODE_SIZE];
        struct trap t;

        vm_begin(GUEST_NATIVE);
        memcpy(code, entry_step_cpl3, sizeof(code));
        trap_at_cpl3(code, &t);
        CHECK("exception", t.raised, "none");
        CHECK_EQ("vector", t.vector, VEC_GP);
        CHECK_EQ("RFLAGS.TF that it saved", t.rflags & RFLAGS_TF, RFLAGS_TF);
}
