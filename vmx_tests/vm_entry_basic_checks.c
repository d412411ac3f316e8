/*
 * SDM Vol. 3, VM Entries > Basic VM-Entry Checks: the current VMCS, its type,
 * blocking by MOV SS, the launch state, and the order of these checks.
 */
#include "lib/check.h"
#include "x86/memory.h"
#include "x86/vmx/entry_code.h"
#include "x86/vmx/pointer.h"
#include "x86/vmx/probe.h"
#include "x86/vmx/session.h"

#define SDM "VM Entries > Basic VM-Entry Checks"

#ifdef __x86_64__
#define RSP "%rsp"
#else
#define RSP "%esp"
#endif
#define MOV_SS "mov %ss, %eax\nmov %eax, %ss\n"
#define LSS "mov %ss, %eax\nmov %eax, -12(" RSP ")\nlss -16(" RSP "), %eax\n"

ENTRY_CODE(launch, "vmlaunch");
ENTRY_CODE(resume, "vmresume");
ENTRY_CODE(launch_mov_ss, MOV_SS "vmlaunch");
ENTRY_CODE(resume_mov_ss, MOV_SS "vmresume");
ENTRY_CODE(launch_mov_ss_nop, MOV_SS "nop\nvmlaunch");
ENTRY_CODE(resume_mov_ss_nop, MOV_SS "nop\nvmresume");
ENTRY_CODE(launch_sti, "sti\nvmlaunch");
ENTRY_CODE(resume_sti, "sti\nvmresume");
ENTRY_CODE(launch_lss, LSS "vmlaunch");
ENTRY_CODE(resume_lss, LSS "vmresume");
#ifndef __x86_64__
#define POP_SS "push %ss\npop %ss\n"
ENTRY_CODE(launch_pop_ss, POP_SS "vmlaunch");
ENTRY_CODE(resume_pop_ss, POP_SS "vmresume");
ENTRY_CODE(launch_pop_ss_nop, POP_SS "nop\nvmlaunch");
ENTRY_CODE(resume_pop_ss_nop, POP_SS "nop\nvmresume");
#endif

enum state {
        CLEAR_VMCS,     /* an ordinary VMCS is current, its launch state clear */
        LAUNCHED_VMCS,
        NO_VMCS_VMXON,  /* none is current, since VMXON */
        NO_VMCS_VMCLEAR,
        SHADOW_VMCS,
};

struct side {
        enum state state;
        ulong (*code)(void);
        const struct edit *edits;
        struct vmx_result outcome;
};

/* Two entries that differ in one thing. */
struct entry {
        struct row head;
        struct side accept, reject;
};

#define BAD_PIN EDITS(SET(PIN_CONTROLS, 0xffffffff))
#define BAD_BOTH EDITS(SET(PIN_CONTROLS, 0xffffffff), SET(HOST_CS_SELECTOR, 0))
#define ENTERS EXITS(EXIT_VMCALL)
#define ERROR(name) FAIL_VALID(VMERR_##name)

static const struct entry entries[] = {
        { ROW("launch.no-current.vmxon", "no current VMCS since VMXON",
              "INS_VMLAUNCH_NO_CURRENT", NULL),
          { CLEAR_VMCS, launch, NULL, ENTERS },
          { NO_VMCS_VMXON, launch, NULL, FAIL_INVALID } },
        { ROW("launch.no-current.vmclear", "no current VMCS since VMCLEAR",
              "INS_VMLAUNCH_NO_CURRENT", NULL),
          { CLEAR_VMCS, launch, NULL, ENTERS },
          { NO_VMCS_VMCLEAR, launch, NULL, FAIL_INVALID } },
        { ROW("resume.no-current.vmxon", "no current VMCS since VMXON",
              "INS_VMRESUME_NO_CURRENT", NULL),
          { LAUNCHED_VMCS, resume, NULL, ENTERS },
          { NO_VMCS_VMXON, resume, NULL, FAIL_INVALID } },
        { ROW("resume.no-current.vmclear", "no current VMCS since VMCLEAR",
              "INS_VMRESUME_NO_CURRENT", NULL),
          { LAUNCHED_VMCS, resume, NULL, ENTERS },
          { NO_VMCS_VMCLEAR, resume, NULL, FAIL_INVALID } },

        { ROW("launch.shadow", "a shadow VMCS is current: no error number",
              "INS_VMLAUNCH_SHADOW_CURRENT VMCS_TYPE_ORDINARY_SHADOW",
              "vmcs-shadowing"),
          { CLEAR_VMCS, launch, NULL, ENTERS },
          { SHADOW_VMCS, launch, NULL, FAIL_INVALID } },
        { ROW("resume.shadow", "a shadow VMCS is current: no error number",
              "INS_VMRESUME_SHADOW_CURRENT VMCS_TYPE_ORDINARY_SHADOW",
              "vmcs-shadowing"),
          { LAUNCHED_VMCS, resume, NULL, ENTERS },
          { SHADOW_VMCS, resume, NULL, FAIL_INVALID } },
        { ROW("launch.shadow-mov-ss", "the type comes before blocking by MOV SS",
              "INS_VMLAUNCH_SHADOW_BEFORE_MOVSS", "vmcs-shadowing"),
          { CLEAR_VMCS, launch_mov_ss, NULL, ERROR(ENTRY_BLOCKED_BY_MOV_SS) },
          { SHADOW_VMCS, launch_mov_ss, NULL, FAIL_INVALID } },
        { ROW("resume.shadow-mov-ss", "the type comes before blocking by MOV SS",
              "INS_VMRESUME_SHADOW_BEFORE_MOVSS", "vmcs-shadowing"),
          { LAUNCHED_VMCS, resume_mov_ss, NULL, ERROR(ENTRY_BLOCKED_BY_MOV_SS) },
          { SHADOW_VMCS, resume_mov_ss, NULL, FAIL_INVALID } },

        { ROW("launch.mov-ss", "VMLAUNCH right after MOV SS",
              "INS_VMLAUNCH_MOVSS", NULL),
          { CLEAR_VMCS, launch_mov_ss_nop, NULL, ENTERS },
          { CLEAR_VMCS, launch_mov_ss, NULL, ERROR(ENTRY_BLOCKED_BY_MOV_SS) } },
        { ROW("resume.mov-ss", "VMRESUME right after MOV SS",
              "INS_VMRESUME_MOVSS", NULL),
          { LAUNCHED_VMCS, resume_mov_ss_nop, NULL, ENTERS },
          { LAUNCHED_VMCS, resume_mov_ss, NULL, ERROR(ENTRY_BLOCKED_BY_MOV_SS) } },
#ifndef __x86_64__
        { ROW("launch.pop-ss", "VMLAUNCH right after POP SS",
              "INS_VMLAUNCH_MOVSS", "host32"),
          { CLEAR_VMCS, launch_pop_ss_nop, NULL, ENTERS },
          { CLEAR_VMCS, launch_pop_ss, NULL, ERROR(ENTRY_BLOCKED_BY_MOV_SS) } },
        { ROW("resume.pop-ss", "VMRESUME right after POP SS",
              "INS_VMRESUME_MOVSS", "host32"),
          { LAUNCHED_VMCS, resume_pop_ss_nop, NULL, ENTERS },
          { LAUNCHED_VMCS, resume_pop_ss, NULL, ERROR(ENTRY_BLOCKED_BY_MOV_SS) } },
#endif
        { ROW("launch.mov-ss-no-current", "no current VMCS comes before MOV SS",
              "INS_VMLAUNCH_MOVSS_NO_CURRENT", NULL),
          { CLEAR_VMCS, launch_mov_ss, NULL, ERROR(ENTRY_BLOCKED_BY_MOV_SS) },
          { NO_VMCS_VMCLEAR, launch_mov_ss, NULL, FAIL_INVALID } },
        { ROW("resume.mov-ss-no-current", "no current VMCS comes before MOV SS",
              "INS_VMRESUME_MOVSS_NO_CURRENT", NULL),
          { LAUNCHED_VMCS, resume_mov_ss, NULL, ERROR(ENTRY_BLOCKED_BY_MOV_SS) },
          { NO_VMCS_VMCLEAR, resume_mov_ss, NULL, FAIL_INVALID } },
        { ROW("launch.mov-ss-launched", "blocking by MOV SS comes before error 4",
              "INS_VMLAUNCH_MOVSS_BEFORE_4", NULL),
          { LAUNCHED_VMCS, launch, NULL, ERROR(VMLAUNCH_NOT_CLEAR) },
          { LAUNCHED_VMCS, launch_mov_ss, NULL, ERROR(ENTRY_BLOCKED_BY_MOV_SS) } },
        { ROW("resume.mov-ss-clear", "blocking by MOV SS comes before error 5",
              "INS_VMRESUME_MOVSS_BEFORE_5", NULL),
          { CLEAR_VMCS, resume, NULL, ERROR(VMRESUME_NOT_LAUNCHED) },
          { CLEAR_VMCS, resume_mov_ss, NULL, ERROR(ENTRY_BLOCKED_BY_MOV_SS) } },
        { ROW("launch.launched-controls", "error 4 comes before error 7",
              "INS_VMLAUNCH_4_BEFORE_7", NULL),
          { CLEAR_VMCS, launch, BAD_PIN, ERROR(ENTRY_CONTROLS) },
          { LAUNCHED_VMCS, launch, BAD_PIN, ERROR(VMLAUNCH_NOT_CLEAR) } },
        { ROW("resume.clear-controls", "error 5 comes before errors 7 and 8",
              "INS_VMRESUME_5_BEFORE_7", NULL),
          { LAUNCHED_VMCS, resume, BAD_PIN, ERROR(ENTRY_CONTROLS) },
          { CLEAR_VMCS, resume, BAD_BOTH, ERROR(VMRESUME_NOT_LAUNCHED) } },

        /* Both sides are accepted here. */
        { ROW("launch.sti", "blocking by STI does not matter",
              "INS_VMLAUNCH_STI_OK", NULL),
          { CLEAR_VMCS, launch, NULL, ENTERS },
          { CLEAR_VMCS, launch_sti, NULL, ENTERS } },
        { ROW("resume.sti", "blocking by STI does not matter",
              "INS_VMRESUME_STI_OK", NULL),
          { LAUNCHED_VMCS, resume, NULL, ENTERS },
          { LAUNCHED_VMCS, resume_sti, NULL, ENTERS } },
        { ROW("launch.lss", "LSS blocks nothing", "INS_VMENTRY_LSS_OK", NULL),
          { CLEAR_VMCS, launch, NULL, ENTERS },
          { CLEAR_VMCS, launch_lss, NULL, ENTERS } },
        { ROW("resume.lss", "LSS blocks nothing", "INS_VMENTRY_LSS_OK", NULL),
          { LAUNCHED_VMCS, resume, NULL, ENTERS },
          { LAUNCHED_VMCS, resume_lss, NULL, ENTERS } },
};

/* A shadow VMCS becomes current. */
static void load_shadow(void)
{
        struct vmcs_region *region = vmcs_region_new();
        u64 pointer = phys(region);

        region->revision |= 0x80000000;
        CHECK_RESULT("VMCLEAR of a shadow VMCS", vmclear(&pointer), SUCCEED);
        CHECK_RESULT("VMPTRLD of a shadow VMCS", vmptrld(&pointer), SUCCEED);
}

/* The VM, or NULL if no ordinary VMCS is current. */
static struct vm *prepare(const struct side *side)
{
        struct vm *vm = vm_begin(GUEST_NATIVE);

        switch (side->state) {
        case LAUNCHED_VMCS:
                CHECK_RESULT("first entry", vm_launch(vm), EXITS(EXIT_VMCALL));
                break;
        case NO_VMCS_VMXON:
                vm_clear(vm);
                vmx_off();
                vmx_on();
                return NULL;
        case NO_VMCS_VMCLEAR:
                begin_without_vmcs();
                return NULL;
        case SHADOW_VMCS:
                load_shadow();
                return NULL;
        case CLEAR_VMCS:
                break;
        }
        vmcs_edit(side->edits);
        return vm;
}

static struct vmx_result enter(const struct side *side, const struct vm *vm)
{
        if (vm || side->state == SHADOW_VMCS)
                vm_poison(side->outcome.kind == VMX_FAIL_VALID ? side->outcome.code : 0);
        return entry_code_run(side->code);
}

TABLE(basic, entries, .id = "entry.basic", .title = "basic VM-entry checks", .sdm = SDM)
{
        const struct entry *e = case_row(self, row);
        struct vm *vm = prepare(&e->accept);

        check_result(__FILE__, (int)self->line, "the side that differs in one thing",
                     enter(&e->accept, vm), e->accept.outcome);
        vm = prepare(&e->reject);
        check_result(__FILE__, (int)self->line, "VM entry", enter(&e->reject, vm),
                     e->reject.outcome);
        if (e->reject.state == SHADOW_VMCS)
                CHECK_EQ("VM-instruction error of the shadow VMCS",
                         vmread(VMCS_VM_INSTRUCTION_ERROR), VMERR_UNSUPPORTED_FIELD);
        if (!vm || e->reject.edits || e->reject.outcome.kind == VMX_EXIT)
                return;
        /* Neither the current VMCS nor its launch state have changed. */
        CHECK_EQ("current-VMCS pointer", current_vmcs(), vm->pointer);
        CHECK_RESULT("the entry that the launch state asks for",
                     entry_code_run(vm->launched ? resume : launch), EXITS(EXIT_VMCALL));
}

struct other {
        struct row head;
        u8 insn;
};

static const struct other others[] = {
        { ROW("vmread", "VMREAD", NULL, NULL), INSN_VMREAD },
        { ROW("vmwrite", "VMWRITE", NULL, NULL), INSN_VMWRITE },
        { ROW("vmclear", "VMCLEAR", NULL, NULL), INSN_VMCLEAR },
        { ROW("vmptrld", "VMPTRLD", NULL, NULL), INSN_VMPTRLD },
        { ROW("vmptrst", "VMPTRST", NULL, NULL), INSN_VMPTRST },
        { ROW("vmxoff", "VMXOFF", NULL, NULL), INSN_VMXOFF },
        { ROW("invept", "INVEPT", NULL, "invept invept-all"), INSN_INVEPT },
        { ROW("invvpid", "INVVPID", NULL, "invvpid invvpid-all"), INSN_INVVPID },
};

/* VMREAD and VMWRITE of guest ES; INVEPT and INVVPID of type 2, with a descriptor
 * that is as right for them as the pointer of a region is for the others. */
TABLE(others_after_mov_ss, others, .id = "entry.basic.mov-ss-others",
      .title = "blocking by MOV SS refuses VM entries alone", .sdm = SDM,
      .rules = "INS_AFTER_MOVSS_OTHERS")
{
        const struct other *o = case_row(self, row);
        bool invalidates = o->insn == INSN_INVEPT || o->insn == INSN_INVVPID;
        u64 operand[2] = { 0 };
        struct code code = { 0 };
        struct vmx_result r;

        vm_begin(GUEST_NATIVE);
        if (!invalidates)
                operand[0] = phys(vmcs_region_new());
        if (invalidates)
                CODE_ADD(&code, 0xb9, 2, 0, 0, 0);      /* mov 2, CX */
        else
                CODE_ADD(&code, 0xb9, 0, 8, 0, 0);      /* mov guest ES, CX */
        CODE_ADD(&code, 0x8c, 0xd2, 0x8e, 0xd2);        /* mov SS, DX; mov DX, SS */
        code_insn(&code, o->insn);
        r = raw_run(RAW_NATIVE, &code, (ulong)operand);
        if (o->insn == INSN_VMXOFF && r.kind == VMX_SUCCEED)
                vmx_set_operating(false);
        CHECK_RESULT("right after MOV SS", r, SUCCEED);
}

static const struct probe smm_controls[] = {
        { ROW("entry-to-smm", "entry to SMM must be 0", NULL, NULL),
          .reject = EDITS(OR(ENTRY_CONTROLS, CTL_ENTRY_ENTRY_TO_SMM)),
          .outcome = BAD_CONTROLS },
        { ROW("deactivate", "deactivate dual-monitor treatment must be 0", NULL, NULL),
          .reject = EDITS(OR(ENTRY_CONTROLS, CTL_ENTRY_DEACTIVATE_DUAL_MONITOR)),
          .outcome = BAD_CONTROLS },
        { ROW("both", "both must be 0", NULL, NULL),
          .reject = EDITS(OR(ENTRY_CONTROLS, CTL_ENTRY_ENTRY_TO_SMM |
                                             CTL_ENTRY_DEACTIVATE_DUAL_MONITOR)),
          .outcome = BAD_CONTROLS },
};

PROBES(outside_smm, smm_controls, .id = "entry.smm-controls",
       .title = "VM-entry controls outside SMM",
       .sdm = "VM Entries > Checks on VMX Controls > VM-Entry Control Fields",
       .rules = "INS_SMM_CONTROLS_OUTSIDE_SMM")
