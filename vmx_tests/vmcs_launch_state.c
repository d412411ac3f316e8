/*
 * SDM Vol. 3, Virtual Machine Control Structures > Overview, the figure "States
 * of VMCS X": each of its arrows, and what is not in it, as a list of steps.
 */
#include "lib/check.h"
#include "x86/memory.h"
#include "x86/msr.h"
#include "x86/vmx/instr.h"
#include "x86/vmx/probe.h"
#include "x86/vmx/raw.h"
#include "x86/vmx/session.h"

#define SDM "Virtual Machine Control Structures > Overview"

/* Three VMCSs of valid guests, inactive and clear when a case begins. */
enum { X, Y, Z, VMCSS };
#define NONE VMCSS

enum action {
        STEPS_END, DO_CLEAR, DO_LOAD, DO_LAUNCH, DO_RESUME, IS_CURRENT, NO_READ,
        DO_WRITE, IS_FIELD, DO_SPOIL, DO_REPAIR, DO_LEAVE,
};

enum defect { BAD_PIN, BAD_HOST_CS, BAD_GUEST_FLAGS, BAD_MSR };

struct step {
        u8 action;
        u8 vmcs;                    /* X, Y, Z; or an enum defect */
        u16 line;
        struct vmx_result result;
};

#define STEP(what, ...) { .action = what, .line = __LINE__, __VA_ARGS__ }
#define VMCLEAR(x) STEP(DO_CLEAR, .vmcs = x)
#define VMPTRLD(x) STEP(DO_LOAD, .vmcs = x)
#define ENTERS EXITS(EXIT_VMCALL)
#define VMLAUNCH(...) STEP(DO_LAUNCH, .result = __VA_ARGS__)
#define VMRESUME(...) STEP(DO_RESUME, .result = __VA_ARGS__)
#define NOT_CLEAR FAIL_VALID(VMERR_VMLAUNCH_NOT_CLEAR)
#define NOT_LAUNCHED FAIL_VALID(VMERR_VMRESUME_NOT_LAUNCHED)
#define CURRENT(x) STEP(IS_CURRENT, .vmcs = x)   /* by VMPTRST */
#define VMREAD_FAILS STEP(NO_READ)               /* no current VMCS */
#define WRITE(x) STEP(DO_WRITE, .vmcs = x)       /* a value of X's own, ... */
#define READ(x) STEP(IS_FIELD, .vmcs = x)        /* ... that is there (NONE: 0) */
#define SPOIL(x) STEP(DO_SPOIL, .vmcs = x)
#define REPAIR STEP(DO_REPAIR)
#define VMXOFF_VMXON STEP(DO_LEAVE)
#define STEPS(...) (const struct step[]){ __VA_ARGS__, { .action = STEPS_END } }

struct path {
        struct row head;
        const struct step *steps;
};

static const struct path paths[] = {
        { ROW("inactive-to-current", "VMPTRLD X: current and clear",
              "VMCS_ST_INACTIVE_TO_CURRENT", NULL),
          STEPS(CURRENT(NONE), VMPTRLD(X), CURRENT(X), VMRESUME(NOT_LAUNCHED),
                VMLAUNCH(ENTERS)) },
        { ROW("current-to-active", "VMPTRLD Y: X stays active and clear",
              "VMCS_ST_CURRENT_TO_ACTIVE VMCS_ST_ACTIVE_TO_CURRENT", NULL),
          STEPS(VMPTRLD(X), WRITE(X), VMPTRLD(Y), CURRENT(Y), VMPTRLD(X), CURRENT(X),
                READ(X), VMRESUME(NOT_LAUNCHED), VMLAUNCH(ENTERS)) },
        { ROW("launch", "VMLAUNCH: X is launched",
              "VMCS_ST_LAUNCH INS_VMLAUNCH_SETS_LAUNCHED INS_VMLAUNCH_LAUNCHED "
              "VMCS_ST_EXIT_KEEPS", NULL),
          STEPS(VMPTRLD(X), VMRESUME(NOT_LAUNCHED), VMLAUNCH(ENTERS), CURRENT(X),
                VMLAUNCH(NOT_CLEAR), VMRESUME(ENTERS), VMRESUME(ENTERS),
                VMLAUNCH(NOT_CLEAR)) },
        { ROW("launched-to-active", "VMPTRLD Y: X stays active and launched",
              "VMCS_ST_LAUNCHED_TO_ACTIVE VMCS_ST_ACTIVE_LAUNCHED_TO_CURRENT", NULL),
          STEPS(VMPTRLD(X), VMLAUNCH(ENTERS), VMPTRLD(Y), CURRENT(Y), VMPTRLD(X),
                CURRENT(X), VMLAUNCH(NOT_CLEAR), VMRESUME(ENTERS)) },
        { ROW("same-again", "VMPTRLD X of the current X changes nothing",
              "VMCS_ST_ACTIVE_LAUNCHED_TO_CURRENT", NULL),
          STEPS(VMPTRLD(X), VMLAUNCH(ENTERS), WRITE(X), VMPTRLD(X), READ(X),
                VMLAUNCH(NOT_CLEAR), VMRESUME(ENTERS)) },

        { ROW("clear.current-clear", "VMCLEAR of a current, clear X",
              "VMCS_ST_CLEAR_FROM_CURRENT_CLEAR", NULL),
          STEPS(VMPTRLD(X), CURRENT(X), VMCLEAR(X), CURRENT(NONE), VMREAD_FAILS,
                VMPTRLD(X), VMRESUME(NOT_LAUNCHED), VMLAUNCH(ENTERS)) },
        { ROW("clear.active-clear", "VMCLEAR of an active, clear X: Y stays current",
              "VMCS_ST_CLEAR_FROM_ACTIVE_CLEAR", NULL),
          STEPS(VMPTRLD(X), VMPTRLD(Y), WRITE(Y), VMCLEAR(X), CURRENT(Y), READ(Y),
                VMPTRLD(X), VMRESUME(NOT_LAUNCHED), VMLAUNCH(ENTERS)) },
        { ROW("clear.current-launched", "VMCLEAR of a current, launched X",
              "VMCS_ST_CLEAR_FROM_CURRENT_LAUNCHED INS_VMRESUME_CLEAR", NULL),
          STEPS(VMPTRLD(X), VMLAUNCH(ENTERS), VMRESUME(ENTERS), VMCLEAR(X),
                CURRENT(NONE), VMPTRLD(X), VMRESUME(NOT_LAUNCHED), VMLAUNCH(ENTERS)) },
        { ROW("clear.active-launched", "VMCLEAR of an active, launched X: Y stays",
              "VMCS_ST_CLEAR_FROM_ACTIVE_LAUNCHED", NULL),
          STEPS(VMPTRLD(X), VMLAUNCH(ENTERS), VMPTRLD(Y), VMCLEAR(X), CURRENT(Y),
                VMPTRLD(X), VMRESUME(NOT_LAUNCHED), VMLAUNCH(ENTERS)) },
        { ROW("clear.inactive", "VMCLEAR of an inactive X does no harm",
              "VMCS_ST_CLEAR_FROM_INACTIVE", NULL),
          STEPS(VMPTRLD(X), WRITE(X), VMCLEAR(X), VMCLEAR(X), VMCLEAR(X), VMPTRLD(X),
                READ(X), VMRESUME(NOT_LAUNCHED), VMLAUNCH(ENTERS)) },
        { ROW("clear.other", "VMCLEAR of Y leaves a current, launched X as it is",
              "VMCS_ST_CLEAR_OTHER_KEEPS_CURRENT", NULL),
          STEPS(VMPTRLD(Y), VMPTRLD(X), VMLAUNCH(ENTERS), VMCLEAR(Y), CURRENT(X),
                VMLAUNCH(NOT_CLEAR), VMRESUME(ENTERS)) },
        { ROW("clear.then-load", "after VMCLEAR of the current VMCS another can be loaded",
              "VMCS_ST_CLEAR_CURRENT_THEN_LOAD", NULL),
          STEPS(VMPTRLD(X), VMCLEAR(X), CURRENT(NONE), VMPTRLD(Y), CURRENT(Y),
                VMPTRLD(X), CURRENT(X), VMLAUNCH(ENTERS)) },

        { ROW("launch-fails.controls", "VMLAUNCH with error 7: X stays clear",
              "VMCS_ST_LAUNCH_FAIL_EARLY INS_VMRESUME_CLEAR", NULL),
          STEPS(VMPTRLD(X), SPOIL(BAD_PIN), VMLAUNCH(BAD_CONTROLS),
                VMRESUME(NOT_LAUNCHED), REPAIR, VMLAUNCH(ENTERS)) },
        { ROW("launch-fails.host", "VMLAUNCH with error 8: X stays clear",
              "VMCS_ST_LAUNCH_FAIL_EARLY", NULL),
          STEPS(VMPTRLD(X), SPOIL(BAD_HOST_CS), VMLAUNCH(BAD_HOST),
                VMRESUME(NOT_LAUNCHED), REPAIR, VMLAUNCH(ENTERS)) },
        { ROW("launch-fails.guest", "VMLAUNCH with a wrong guest state: X stays clear",
              "VMCS_ST_LAUNCH_FAIL_LATE INS_VMLAUNCH_LATE_FAIL_CLEAR "
              "ENTG_FAIL_LAUNCH_STATE_UNCHANGED", NULL),
          STEPS(VMPTRLD(X), SPOIL(BAD_GUEST_FLAGS), VMLAUNCH(BAD_GUEST),
                VMRESUME(NOT_LAUNCHED), REPAIR, VMLAUNCH(ENTERS)) },
        { ROW("launch-fails.msr", "VMLAUNCH that fails to load an MSR: X stays clear",
              "VMCS_ST_LAUNCH_FAIL_LATE INS_VMLAUNCH_LATE_FAIL_CLEAR "
              "MSRL_FAIL_LAUNCH_STATE", NULL),
          STEPS(VMPTRLD(X), SPOIL(BAD_MSR),
                VMLAUNCH(ENTRY_FAILS(EXIT_ENTRY_FAILURE_MSR_LOADING, 1)),
                VMRESUME(NOT_LAUNCHED), REPAIR, VMLAUNCH(ENTERS)) },
        { ROW("resume-fails.controls", "VMRESUME with error 7: X stays launched",
              "VMCS_ST_RESUME_FAIL INS_VMRESUME_KEEPS_LAUNCHED", NULL),
          STEPS(VMPTRLD(X), VMLAUNCH(ENTERS), SPOIL(BAD_PIN), VMRESUME(BAD_CONTROLS),
                REPAIR, VMLAUNCH(NOT_CLEAR), VMRESUME(ENTERS)) },
        { ROW("resume-fails.host", "VMRESUME with error 8: X stays launched",
              "VMCS_ST_RESUME_FAIL INS_VMRESUME_KEEPS_LAUNCHED", NULL),
          STEPS(VMPTRLD(X), VMLAUNCH(ENTERS), SPOIL(BAD_HOST_CS), VMRESUME(BAD_HOST),
                REPAIR, VMLAUNCH(NOT_CLEAR), VMRESUME(ENTERS)) },
        { ROW("resume-fails.guest", "VMRESUME with a wrong guest state: X stays launched",
              "VMCS_ST_RESUME_FAIL ENTG_FAIL_LAUNCH_STATE_VMRESUME", NULL),
          STEPS(VMPTRLD(X), VMLAUNCH(ENTERS), SPOIL(BAD_GUEST_FLAGS), VMRESUME(BAD_GUEST),
                REPAIR, VMLAUNCH(NOT_CLEAR), VMRESUME(ENTERS)) },
        { ROW("resume-fails.msr", "VMRESUME that fails to load an MSR: X stays launched",
              "VMCS_ST_RESUME_FAIL", NULL),
          STEPS(VMPTRLD(X), VMLAUNCH(ENTERS), SPOIL(BAD_MSR),
                VMRESUME(ENTRY_FAILS(EXIT_ENTRY_FAILURE_MSR_LOADING, 1)),
                REPAIR, VMLAUNCH(NOT_CLEAR), VMRESUME(ENTERS)) },

        { ROW("three-active", "each VMCS has a launch state and fields of its own",
              "VMCS_ST_TWO_ACTIVE VMCS_ST_ONE_CURRENT VMCS_RW_PERSIST_SWITCH", NULL),
          STEPS(VMPTRLD(X), WRITE(X), VMLAUNCH(ENTERS), VMPTRLD(Y), WRITE(Y),
                VMPTRLD(Z), WRITE(Z), VMLAUNCH(ENTERS), VMPTRLD(X), READ(X),
                VMLAUNCH(NOT_CLEAR), VMRESUME(ENTERS), VMPTRLD(Y), READ(Y),
                VMRESUME(NOT_LAUNCHED), VMPTRLD(Z), READ(Z), VMRESUME(ENTERS),
                VMPTRLD(Y), VMLAUNCH(ENTERS), VMPTRLD(X), VMRESUME(ENTERS), READ(X),
                VMPTRLD(Y), VMRESUME(ENTERS), READ(Y)) },
        { ROW("persist-clear", "values survive VMCLEAR and VMPTRLD",
              "VMCS_RW_PERSIST_CLEAR", NULL),
          STEPS(VMPTRLD(X), READ(NONE), WRITE(X), VMCLEAR(X), VMPTRLD(Y), READ(NONE),
                WRITE(Y), VMPTRLD(X), READ(X), VMCLEAR(X), VMPTRLD(Y), READ(Y)) },
        { ROW("vmxoff-loses-current", "no VMCS is current after VMXOFF and VMXON",
              "VMCS_ST_VMXOFF_LOSES_CURRENT", NULL),
          STEPS(VMPTRLD(X), CURRENT(X), VMXOFF_VMXON, CURRENT(NONE), VMREAD_FAILS) },
        { ROW("vmxoff-cleared-first", "a VMCS cleared before VMXOFF keeps its fields",
              "VMCS_ST_VMXOFF_CLEARED_FIRST", NULL),
          STEPS(VMPTRLD(X), WRITE(X), VMLAUNCH(ENTERS), VMCLEAR(X), VMXOFF_VMXON,
                VMPTRLD(X), READ(X), VMRESUME(NOT_LAUNCHED), VMLAUNCH(ENTERS),
                VMRESUME(ENTERS)) },
};

/* Used by no guest here; all 32 bits are stored. */
#define FIELD VMCS_PAGE_FAULT_ERROR_CODE_MATCH
static u32 own_value(u8 vmcs)
{
        return vmcs == NONE ? 0 : 0x51a7e000u + vmcs;
}

static void spoil(enum defect defect)
{
        struct { u32 msr, reserved; u64 value; } *area;

        switch (defect) {
        case BAD_PIN:
                vmwrite(VMCS_PIN_CONTROLS, 0xffffffff);
                return;
        case BAD_HOST_CS:
                vmwrite(VMCS_HOST_CS_SELECTOR, 0);
                return;
        case BAD_GUEST_FLAGS:
                vmwrite(VMCS_GUEST_RFLAGS, 0);
                return;
        case BAD_MSR:
                /* An MSR that VM entry never loads from this area. */
                area = page_alloc(1);
                area->msr = MSR_IA32_FS_BASE;
                vmwrite(VMCS_ENTRY_MSR_LOAD_ADDRESS, phys(area));
                vmwrite(VMCS_ENTRY_MSR_LOAD_COUNT, 1);
        }
}

static void leave_and_come_back(void)
{
        vmx_off();
        vmx_on();
}

static void check_step(const struct step *s, struct vm *vms[], struct vm **current)
{
        struct vm *vm = s->vmcs < VMCSS ? vms[s->vmcs] : NULL;
        struct vmx_result want = RESULT(SUCCEED), got = want;
        u64 seen = 0, wanted = 0;
        ulong value = 0;

        switch (s->action) {
        case DO_CLEAR:
                got = vmclear(&vm->pointer);
                break;
        case DO_LOAD:
                got = vmptrld(&vm->pointer);
                *current = vm;
                break;
        case DO_LAUNCH:
        case DO_RESUME:
                want = s->result;
                vm_poison(want.kind == VMX_FAIL_VALID ? want.code : 0);
                got = s->action == DO_LAUNCH ? vm_launch(*current) : vm_resume(*current);
                break;
        case IS_CURRENT:
                seen = current_vmcs();
                wanted = vm ? vm->pointer : NO_VMCS;
                break;
        case NO_READ:
                want = RESULT(FAIL_INVALID);
                got = vmread_raw(FIELD, &value);
                break;
        case DO_WRITE:
                vmwrite(FIELD, own_value(s->vmcs));
                break;
        case IS_FIELD:
                seen = vmread(FIELD);
                wanted = own_value(s->vmcs);
                break;
        case DO_SPOIL:
                spoil((enum defect)s->vmcs);
                break;
        case DO_REPAIR:
                vm_baseline(*current, GUEST_NATIVE);
                break;
        case DO_LEAVE:
                leave_and_come_back();
                break;
        }
        check_result(__FILE__, s->line, "this step", got, want);
        check_equal(__FILE__, s->line, "this step", seen, wanted);
}

TABLE(states, paths, .id = "vmcs.state", .title = "states of a VMCS", .sdm = SDM)
{
        const struct path *p = case_row(self, row);
        struct vm *vms[VMCSS], *current = NULL;

        for (unsigned i = 0; i < VMCSS; i++)
                vms[i] = vm_new(GUEST_NATIVE);
        for (unsigned i = 0; i < VMCSS; i++)
                CHECK_RESULT("VMCLEAR", vmclear(&vms[i]->pointer), SUCCEED);
        for (const struct step *s = p->steps; s->action != STEPS_END; s++)
                check_step(s, vms, &current);
}
