/*
 * SDM Vol. 3, VM Entries > Basic VM-Entry Checks: the current VMCS, blocking by
 * MOV SS and the launch state, as far as they come before the checks on controls
 * and host state; and what becomes of the launch state. Modes and privilege
 * levels: entry_start_modes.c.
 */
#include "x86/memory.h"
#include "x86/vmx/entry_code.h"
#include "x86/vmx/event.h"
#include "x86/vmx/pointer.h"
#include "x86/vmx/probe.h"
#include "x86/vmx/session.h"
#include "x86/vmx/snippet.h"

#define SDM "VM Entries > Basic VM-Entry Checks"
#define SDM_STEPS "VM Entries > steps of VM entry (chapter introduction)"
#define ENTERS EXITS(EXIT_VMCALL)
#define ERROR(name) FAIL_VALID(VMERR_##name)

/* Both forms of MOV to SS, and what blocks nothing. */
#define READ_SS "mov %ss, %eax\n"
#define REGISTER READ_SS "mov %eax, %ss\n"
#define MEMORY READ_SS "mov %eax, -16(" RSP ")\nmov -16(" RSP "), %ss\n"
#define LSS READ_SS "mov %eax, -12(" RSP ")\nlss -16(" RSP "), %eax\n"

ENTRY_CODE(start_launch, "vmlaunch");
ENTRY_CODE(start_resume, "vmresume");
ENTRY_CODE(register_launch, REGISTER "vmlaunch");
ENTRY_CODE(register_resume, REGISTER "vmresume");
ENTRY_CODE(memory_launch, MEMORY "vmlaunch");
ENTRY_CODE(memory_resume, MEMORY "vmresume");
ENTRY_CODE(nop_launch, REGISTER "nop\nvmlaunch");
ENTRY_CODE(nop_resume, REGISTER "nop\nvmresume");
ENTRY_CODE(twice_launch, REGISTER "vmlaunch\nvmlaunch");
ENTRY_CODE(sti_launch, "sti\nvmlaunch");
ENTRY_CODE(sti_resume, "sti\nvmresume");
ENTRY_CODE(lss_launch, LSS "vmlaunch");
#ifdef __x86_64__
#define pop_launch register_launch
#define pop_resume register_resume
#else
ENTRY_CODE(pop_launch, "push %ss\npop %ss\nvmlaunch");
ENTRY_CODE(pop_resume, "push %ss\npop %ss\nvmresume");
#endif

/* What is current when the entry is tried. */
enum start { CLEAR, LAUNCHED, SINCE_VMXON, SINCE_VMCLEAR, SHADOW };

/* Pointed to, because a macro's argument can not hold a list in braces. */
static const struct vmx_result enters = ENTERS, invalid = FAIL_INVALID;
static const struct vmx_result blocked = ERROR(ENTRY_BLOCKED_BY_MOV_SS);
static const struct vmx_result not_clear = ERROR(VMLAUNCH_NOT_CLEAR);
static const struct vmx_result not_launched = ERROR(VMRESUME_NOT_LAUNCHED);
static const struct vmx_result bad_controls = BAD_CONTROLS, bad_host = BAD_HOST;
static const struct vmx_result bad_guest = BAD_GUEST;

struct attempt {
        enum start start;
        ulong (*code)(void);
        const struct vmx_result *outcome;
};

struct start_row {
        struct row head;
        struct attempt accept, reject;
        const struct edit *edits;  /* of both VMCSs */
};

#define START(id_, what, rules_, needs_, a_start, a_code, a_outcome, r_start,  \
              r_code, r_outcome)                                               \
        { ROW(id_, what, rules_, needs_),                                      \
          .accept = { a_start, a_code, a_outcome },                            \
          .reject = { r_start, r_code, r_outcome } }
/* The instruction finds nothing that it could enter. */
#define ABSENT(id_, rules_, a_start, code, r_start)                           \
        START(id_, "no current VMCS", rules_, NULL, a_start, code, &enters,     \
              r_start, code, &invalid)
#define SHADOW_VMCS(id_, rules_, a_start, a_outcome, code)                     \
        START(id_, "a shadow VMCS is current", rules_, "vmcs-shadowing",       \
              a_start, code, a_outcome, SHADOW, code, &invalid)
#define BLOCKING(id_, needs_, start_, accept_, reject_)                        \
        START(id_, "blocking by MOV SS or POP SS", "ENTB_MOVSS_BLOCKING_26",   \
              needs_, start_, accept_, &enters, start_, reject_, &blocked)
#define BEFORE(id_, edits_, start_, code_, outcome_, blocked_)                 \
        { ROW(id_, "blocking by MOV SS comes before the other checks",         \
              "ENTB_MOVSS_BEATS_FIELD_CHECKS"),                                \
          .edits = edits_, .accept = { start_, code_, outcome_ },              \
          .reject = { start_, blocked_, &blocked } }
#define BAD_PIN EDITS(SET(PIN_CONTROLS, ~0u))
#define BAD_CS EDITS(SET(HOST_CS_SELECTOR, 0))
#define BAD_RFLAGS EDITS(SET(GUEST_RFLAGS, 0))

static const struct start_row rows[] = {
        ABSENT("no-vmcs.launch.vmxon", "ENTB_NO_CURRENT_VMCS", CLEAR,
                start_launch, SINCE_VMXON),
        ABSENT("no-vmcs.launch.vmclear", "ENTB_NO_CURRENT_VMCS", CLEAR,
                start_launch, SINCE_VMCLEAR),
        ABSENT("no-vmcs.resume.vmxon", "ENTB_NO_CURRENT_VMCS", LAUNCHED,
                start_resume, SINCE_VMXON),
        ABSENT("no-vmcs.resume.vmclear", "ENTB_NO_CURRENT_VMCS", LAUNCHED,
                start_resume, SINCE_VMCLEAR),
        START("no-vmcs.launch.mov-ss", "no current VMCS comes before MOV SS",
              "ENTB_NO_VMCS_BEATS_MOVSS", NULL, CLEAR, register_launch, &blocked,
              SINCE_VMCLEAR, register_launch, &invalid),
        START("no-vmcs.resume.mov-ss", "no current VMCS comes before MOV SS",
              "ENTB_NO_VMCS_BEATS_MOVSS", NULL, LAUNCHED, register_resume,
              &blocked, SINCE_VMCLEAR, register_resume, &invalid),
        SHADOW_VMCS("shadow.launch", "ENTB_SHADOW_VMCS_NOT_ENTERABLE", CLEAR,
                    &enters, start_launch),
        SHADOW_VMCS("shadow.resume",
                    "ENTB_SHADOW_VMCS_NOT_ENTERABLE "
                    "ENTB_SHADOW_BEATS_MOVSS_AND_LAUNCH_STATE",
                    CLEAR, &not_launched, start_resume),
        SHADOW_VMCS("shadow.mov-ss", "ENTB_SHADOW_BEATS_MOVSS_AND_LAUNCH_STATE",
                    CLEAR, &blocked, register_launch),
        BLOCKING("mov-ss.launch", NULL, CLEAR, nop_launch, register_launch),
        BLOCKING("mov-ss.resume", NULL, LAUNCHED, nop_resume, register_resume),
        BLOCKING("mov-ss.launch.memory", NULL, CLEAR, nop_launch, memory_launch),
        BLOCKING("mov-ss.resume.memory", NULL, LAUNCHED, nop_resume, memory_resume),
        BLOCKING("pop-ss.launch", "host32", CLEAR, nop_launch, pop_launch),
        BLOCKING("pop-ss.resume", "host32", LAUNCHED, nop_resume, pop_resume),
        START("mov-ss.launch.launched", "blocking comes before the launch state",
              "ENTB_MOVSS_BEATS_LAUNCH_STATE", NULL, LAUNCHED, start_launch,
              &not_clear, LAUNCHED, register_launch, &blocked),
        START("mov-ss.resume.clear", "blocking comes before the launch state",
              "ENTB_MOVSS_BEATS_LAUNCH_STATE", NULL, CLEAR, start_resume,
              &not_launched, CLEAR, register_resume, &blocked),
        BEFORE("mov-ss.controls", BAD_PIN, CLEAR, start_launch, &bad_controls,
               register_launch),
        BEFORE("mov-ss.host-state", BAD_CS, CLEAR, start_launch, &bad_host,
               register_launch),
        BEFORE("mov-ss.guest-state", BAD_RFLAGS, CLEAR, start_launch, &bad_guest,
               register_launch),
        START("mov-ss.one-instruction", "the entry that failed ends the blocking",
              "ENTB_MOVSS_BLOCKING_ONE_INSTRUCTION", NULL, CLEAR, twice_launch,
              &enters, CLEAR, register_launch, &blocked),
        START("mov-ss.nop", "any instruction ends the blocking",
              "ENTB_MOVSS_BLOCKING_ONE_INSTRUCTION", NULL, CLEAR, nop_launch,
              &enters, CLEAR, register_launch, &blocked),
        START("sti.launch", "blocking by STI does not matter",
              "ENTB_STI_BLOCKING_NOT_CHECKED", NULL, CLEAR, sti_launch, &enters,
              CLEAR, register_launch, &blocked),
        START("sti.resume", "blocking by STI does not matter",
              "ENTB_STI_BLOCKING_NOT_CHECKED", NULL, LAUNCHED, sti_resume, &enters,
              LAUNCHED, register_resume, &blocked),
        START("lss", "LSS blocks nothing", "ENTB_LSS_DOES_NOT_BLOCK", NULL, CLEAR,
              lss_launch, &enters, CLEAR, register_launch, &blocked),
        START("launched", "VMLAUNCH needs the launch state clear",
              "ENTB_VMLAUNCH_NON_CLEAR_4", NULL, CLEAR, start_launch, &enters,
              LAUNCHED, start_launch, &not_clear),
        START("clear", "VMRESUME needs the launch state launched",
              "ENTB_VMRESUME_NON_LAUNCHED_5", NULL, LAUNCHED, start_resume,
              &enters, CLEAR, start_resume, &not_launched),
};

static struct vmcs_region *shadow;

static struct vm *begin(enum start start, const struct edit *edits)
{
        struct vm *vm = vm_begin(GUEST_NATIVE);

        if (start == LAUNCHED)
                CHECK_RESULT("the first entry", vm_launch(vm), ENTERS);
        vmcs_edit(edits);
        if (start == SINCE_VMXON) {
                vm_clear(vm);
                vmx_off();
                vmx_on();
        } else if (start == SINCE_VMCLEAR) {
                begin_without_vmcs();
        } else if (start == SHADOW) {
                shadow = vmcs_region_new();
                shadow->revision |= 1u << 31;
                CHECK_RESULT("VMCLEAR", vmclear(&(u64){ phys(shadow) }), SUCCEED);
                CHECK_RESULT("VMPTRLD", vmptrld(&(u64){ phys(shadow) }), SUCCEED);
        }
        return vm;
}

static void attempt(const struct attempt *a, const struct edit *edits)
{
        const u32 poison = VMERR_UNSUPPORTED_FIELD;
        bool current = a->start != SINCE_VMXON && a->start != SINCE_VMCLEAR;
        struct vmx_result r;

        begin(a->start, edits);
        if (current)
                vm_poison(a->outcome->kind == VMX_FAIL_VALID ? a->outcome->code : 0);
        r = entry_code_run(a->code);
        check_result(__FILE__, __LINE__, "VM entry", r, *a->outcome);
        if (a->start == SHADOW)
                CHECK_VMCS(VM_INSTRUCTION_ERROR, poison);
}

TABLE(start, rows, .id = "entry.start", .title = "basic VM-entry checks",
      .sdm = SDM)
{
        const struct start_row *r = case_row(self, row);

        attempt(&r->accept, r->edits);
        attempt(&r->reject, r->edits);
        /* The region's memory is given back. */
        if (r->reject.start == SHADOW)
                CHECK_RESULT("VMCLEAR", vmclear(&(u64){ phys(shadow) }), SUCCEED);
}

static void drop(struct vm *vm)
{
        CHECK_RESULT("VMCLEAR", vmclear(&vm->pointer), SUCCEED);
}

/* The launch state is what the next two instructions of VM entry show. */
static void check_clear(struct vm *vm)
{
        vm_poison(VMERR_VMRESUME_NOT_LAUNCHED);
        CHECK_RESULT("VMRESUME: the launch state is clear", vm_resume(vm),
                     ERROR(VMRESUME_NOT_LAUNCHED));
        CHECK_RESULT("VMLAUNCH", vm_launch(vm), ENTERS);
}

static void check_launched(struct vm *vm)
{
        vm_poison(VMERR_VMLAUNCH_NOT_CLEAR);
        CHECK_RESULT("VMLAUNCH: the launch state is launched", vm_launch(vm),
                     ERROR(VMLAUNCH_NOT_CLEAR));
        CHECK_RESULT("VMRESUME", vm_resume(vm), ENTERS);
}

CASE(state_launch, .id = "entry.start.state.launch",
     .title = "VMLAUNCH sets the launch state, VMRESUME leaves it",
     .sdm = SDM_STEPS, .rules = "ENTB_LAUNCH_STATE_SET_ON_SUCCESS")
{
        struct vm *vm = vm_begin(GUEST_NATIVE);

        check_clear(vm);
        check_launched(vm);
        check_launched(vm);
}

CASE(state_vmclear, .id = "entry.start.state.vmclear",
     .title = "VMCLEAR sets the launch state clear", .sdm = SDM_STEPS,
     .rules = "ENTB_LAUNCH_STATE_CLEARED_BY_VMCLEAR")
{
        struct vm *first = vm_new(GUEST_NATIVE), *other;

        CHECK_RESULT("VMLAUNCH", vm_launch(first), ENTERS);
        check_launched(first);
        vm_clear(first);
        check_clear(first);
        /* And of a VMCS that is not current. */
        other = vm_new(GUEST_NATIVE);
        CHECK_RESULT("VMCLEAR, not current", vmclear(&first->pointer), SUCCEED);
        vm_load(first);
        check_clear(first);
        vm_load(other);
        check_clear(other);
        drop(first);
        drop(other);
}

CASE(state_vmptrld, .id = "entry.start.state.vmptrld",
     .title = "VMPTRLD of another VMCS leaves the launch state", .sdm = SDM_STEPS,
     .rules = "ENTB_LAUNCH_STATE_SURVIVES_VMPTRLD")
{
        struct vm *first = vm_new(GUEST_NATIVE), *other;

        CHECK_RESULT("VMLAUNCH", vm_launch(first), ENTERS);
        other = vm_new(GUEST_NATIVE);
        vm_load(first);
        check_launched(first);
        vm_load(other);
        check_clear(other);
        drop(first);
        drop(other);
}

/* Failures after the checks on controls and host state. */
static u64 missing_msr(__attribute__((unused)) u64 old)
{
        u32 *entry = page_alloc(1);

        entry[0] = ~0u;
        return phys(entry);
}

static const struct late_row {
        struct row head;
        const struct edit *bad, *good;
        struct vmx_result outcome;
} late_rows[] = {
        { ROW("guest-state", "VM-entry failure due to invalid guest state"),
          EDITS(SET(GUEST_RFLAGS, 0)), EDITS(SET(GUEST_RFLAGS, RFLAGS_FIXED)),
          BAD_GUEST },
        { ROW("msr-loading", "VM-entry failure due to MSR loading"),
          EDITS(CALC(ENTRY_MSR_LOAD_ADDRESS, missing_msr),
                SET(ENTRY_MSR_LOAD_COUNT, 1)),
          EDITS(SET(ENTRY_MSR_LOAD_COUNT, 0)),
          ENTRY_FAILS(EXIT_ENTRY_FAILURE_MSR_LOADING, 1) },
};

TABLE(late, late_rows, .id = "entry.start.state.late-failure",
      .title = "a VMLAUNCH that fails late leaves the launch state clear",
      .sdm = SDM_STEPS,
      .rules = "ENTB_LAUNCH_STATE_UNCHANGED_ON_LATE_FAIL "
               "ENTB_GUEST_DEFECT_IS_THE_SAFE_ACCEPT_PROBE "
               "ENTB_ERROR_FIELD_UNCHANGED_BY_SUCCESS")
{
        const struct late_row *r = case_row(self, row);
        struct vm *vm = vm_begin(GUEST_NATIVE);

        vmcs_edit(r->bad);
        vm_poison(0);
        check_result(__FILE__, __LINE__, "VMLAUNCH", vm_launch(vm), r->outcome);
        CHECK_VMCS(VM_INSTRUCTION_ERROR, VMERR_UNSUPPORTED_FIELD);
        vmcs_edit(r->good);
        check_clear(vm);
        /* An entry that succeeds, and its exit, leave the error number too. */
        vm_poison(0);
        CHECK_RESULT("VMRESUME", vm_resume(vm), ENTERS);
        CHECK_VMCS(VM_INSTRUCTION_ERROR, VMERR_UNSUPPORTED_FIELD);
}

SNIPPET(code_launch, "vmlaunch");
SNIPPET(code_resume, "vmresume");

FAMILY(invalid_flags, 4, .id = "entry.start.fail-invalid",
       .title = "VMfailInvalid of VMLAUNCH and VMRESUME (1), all flags 0 and 1 (2)",
       .sdm = "VMX Instruction Reference > Conventions",
       .rules = "ENTB_VMFAILINVALID_FLAGS "
                "ENTB_VMFAILINVALID_DOES_NOT_WRITE_ERROR_FIELD")
{
        struct vm *vm = vm_begin(GUEST_NATIVE);
        struct snippet_state s = snippet_state();

        vm_poison(0);
        CHECK_RESULT("VMCLEAR", vmclear(&vm->pointer), SUCCEED);
        s.flags = RFLAGS_FIXED | (row & 2 ? VMX_FLAGS : 0);
        CHECK_RESULT("without a current VMCS",
                     snippet_run(row & 1 ? &code_resume : &code_launch, &s),
                     FAIL_INVALID);
        CHECK_EQ("RFLAGS", s.flags, RFLAGS_FIXED | RFLAGS_CF);
        vm_load(vm);
        CHECK_VMCS(VM_INSTRUCTION_ERROR, VMERR_UNSUPPORTED_FIELD);
}
