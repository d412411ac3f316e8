/*
 * SDM Vol. 3, VMX Instruction Reference > Conventions: what success and each
 * kind of failure do to RFLAGS, the VM-instruction error field and everything
 * else. Of each instruction one success and one failure of both kinds.
 */
#include "lib/check.h"
#include "lib/string.h"
#include "x86/memory.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/pointer.h"
#include "x86/vmx/session.h"
#include "x86/vmx/snippet.h"

#define SDM "VMX Instruction Reference > Conventions"

SNIPPET(s_vmxon, "vmxon (" RAX ")");
SNIPPET(s_vmxoff, "vmxoff");
SNIPPET(s_vmclear, "vmclear (" RAX ")");
SNIPPET(s_vmptrld, "vmptrld (" RAX ")");
SNIPPET(s_vmptrst, "vmptrst (" RAX ")");
SNIPPET(s_vmread, "vmread " RCX ", " RDX);
SNIPPET(s_vmread_mem, "vmread " RCX ", (" RAX ")");
SNIPPET(s_vmwrite, "vmwrite " RDX ", " RCX);
SNIPPET(s_vmwrite_mem, "vmwrite (" RAX "), " RCX);
SNIPPET(s_vmlaunch, "vmlaunch");
SNIPPET(s_vmresume, "vmresume");
SNIPPET(s_vmcall, "vmcall");
SNIPPET(s_invept, "invept (" RAX "), " RCX);
SNIPPET(s_invvpid, "invvpid (" RAX "), " RCX);

enum before { OUTSIDE, NO_CURRENT, CLEAR_CURRENT, LAUNCHED_CURRENT };

/* Bits of a row: what the instruction is given, and what it may change. */
#define MISALIGNED 1u      /* the pointer at RAX, of a region otherwise */
#define CURRENT 2u         /* it is the current VMCS's */
#define WRITES_MEMORY 4u
#define WRITES_RDX 8u
#define ANOTHER_VMCS 16u   /* none or another VMCS is current afterwards */
#define BAD_CONTROLS_SET 32u
#define VPID_1 64u         /* 1 at RAX, with 0 behind */

#define FIELD VMCS_GUEST_SYSENTER_CS
#define UNSUPPORTED 0x6bfeu

struct line {
        struct row head;
        struct snippet code;
        u8 before;
        u8 bits;
        u32 rcx;
        struct vmx_result outcome;
};

#define LINE(ID, TITLE, NEEDS, CODE, BEFORE, BITS, RCX_VALUE, ...)           \
        { .head = { .id = ID, .title = TITLE, .needs = NEEDS },              \
          .code = SNIPPET_OF(CODE), .before = BEFORE, .bits = BITS,          \
          .rcx = RCX_VALUE, .outcome = __VA_ARGS__ }

static u64 operand[2];

/* All flags that the conventions do not name, but TF, RF and VM. */
#define OTHER_FLAGS (RFLAGS_IF | RFLAGS_DF | RFLAGS_IOPL | RFLAGS_NT | \
                     RFLAGS_AC | RFLAGS_ID)

static void set_up(const struct line *l)
{
        struct vm *vm;

        operand[0] = phys(vmcs_region_new());
        operand[1] = 0;
        switch (l->before) {
        case OUTSIDE:
                vmx_off();
                vmx_prepare();
                break;
        case NO_CURRENT:
                begin_without_vmcs();
                break;
        default:
                vm = vm_begin(GUEST_NATIVE);
                if (l->before == LAUNCHED_CURRENT)
                        CHECK_RESULT("VMLAUNCH", vm_launch(vm),
                                     EXITS(EXIT_VMCALL));
                if (l->bits & BAD_CONTROLS_SET)
                        vmwrite(VMCS_PIN_CONTROLS, ~0u);
                if (l->bits & CURRENT)
                        operand[0] = vm->pointer;
                vm_poison(l->outcome.kind == VMX_FAIL_VALID ? l->outcome.code
                                                            : 0);
        }
        if (l->bits & MISALIGNED)
                operand[0] |= 1;
        if (l->bits & VPID_1)
                operand[0] = 1;
}

static ulong flags_of(struct vmx_result r)
{
        return r.kind == VMX_SUCCEED ? 0
               : r.kind == VMX_FAIL_INVALID ? RFLAGS_CF : RFLAGS_ZF;
}

static void note_state(const struct line *l, struct vmx_result r)
{
        if (r.kind != VMX_SUCCEED)
                return;
        if (l->code.start == s_vmxon_start)
                vmx_set_operating(true);
        if (l->code.start == s_vmxoff_start)
                vmx_set_operating(false);
}

/* Everything but flags: registers, memory, current VMCS, error field. */
static void check_rest(const struct line *l, struct guest_regs before,
                       struct guest_regs after, const u64 *memory, u64 current,
                       u32 error)
{
        if (l->bits & WRITES_RDX)
                after.rdx = before.rdx;
        CHECK("general registers", !memcmp(&before, &after, sizeof(before)),
              "changed");
        if (!(l->bits & WRITES_MEMORY))
                CHECK("operand in memory",
                      !memcmp(memory, operand, sizeof(operand)), "changed");
        if (l->before == OUTSIDE || l->bits & ANOTHER_VMCS)
                return;
        CHECK_EQ("current-VMCS pointer", current_vmcs(), current);
        if (l->before != NO_CURRENT && l->outcome.kind == VMX_SUCCEED)
                CHECK_EQ("VM-instruction error",
                         vmread(VMCS_VM_INSTRUCTION_ERROR), error);
}

static void check_flags_and_rest(const struct line *l)
{
        struct snippet_state state = snippet_state();
        struct guest_regs before;
        struct vmx_result r;
        u64 memory[2], current = NO_VMCS;
        u32 error = 0;

        set_up(l);
        if (l->before != OUTSIDE)
                current = current_vmcs();
        if (l->before == CLEAR_CURRENT || l->before == LAUNCHED_CURRENT)
                error = (u32)vmread(VMCS_VM_INSTRUCTION_ERROR);
        memcpy(memory, operand, sizeof(memory));
        state.regs.rax = (ulong)operand;
        state.regs.rcx = l->rcx;
        /* Each of the six flags has the value before that it must not have after. */
        state.flags = (VMX_FLAGS ^ flags_of(l->outcome)) | OTHER_FLAGS |
                      RFLAGS_FIXED;
        before = state.regs;
        r = snippet_run(&l->code, &state);
        note_state(l, r);
        CHECK_RESULT("the instruction", r, l->outcome);
        CHECK_MASKED("other flags", state.flags, OTHER_FLAGS, OTHER_FLAGS);
        check_rest(l, before, state.regs, memory, current, error);
}

/* With RFLAGS.TF = 1 a #DB says where the next instruction begins. */
static void check_next(const struct line *l)
{
        const u32 flags = RFLAGS_TF | RFLAGS_FIXED |
                          (VMX_FLAGS ^ (u32)flags_of(l->outcome));
        struct code code = { 0 };
        struct vmx_result r;

        set_up(l);
        CODE_ADD(&code, 0xb9);                          /* mov RCX */
        code_add(&code, &l->rcx, sizeof(l->rcx));
        CODE_ADD(&code, 0x68);                          /* push */
        code_add(&code, &flags, sizeof(flags));
        CODE_ADD(&code, 0x9d);                          /* popf */
        code_add(&code, l->code.start, (unsigned)snippet_size(&l->code));
        r = raw_run(RAW_NATIVE, &code, (ulong)operand);
        note_state(l, l->outcome);
        CHECK_RESULT("single step", r, FAULT(VEC_DB));
        CHECK_EQ("RIP", trap_last()->rip, phys(raw_page()) + code.size);
        CHECK_MASKED("saved RFLAGS", trap_last()->rflags,
                     flags_of(l->outcome) | RFLAGS_TF, VMX_FLAGS | RFLAGS_TF);
        write_dr6(DR6_INIT);
}

static void conventions(const struct line *l)
{
        check_flags_and_rest(l);
        check_next(l);
        if (l->code.start == s_vmxon_start)
                vmx_off();
}

static const struct line success_lines[] = {
        LINE("vmxon", "VMXON", NULL, s_vmxon, OUTSIDE, 0, 0, SUCCEED),
        LINE("vmxoff", "VMXOFF", NULL, s_vmxoff, CLEAR_CURRENT, ANOTHER_VMCS, 0,
             SUCCEED),
        LINE("vmclear", "VMCLEAR of the current VMCS", NULL, s_vmclear,
             CLEAR_CURRENT, CURRENT | ANOTHER_VMCS, 0, SUCCEED),
        LINE("vmclear-other", "VMCLEAR of another VMCS", NULL, s_vmclear,
             CLEAR_CURRENT, 0, 0, SUCCEED),
        LINE("vmptrld", "VMPTRLD", NULL, s_vmptrld, CLEAR_CURRENT, ANOTHER_VMCS,
             0, SUCCEED),
        LINE("vmptrld-same", "VMPTRLD of the current VMCS", NULL, s_vmptrld,
             CLEAR_CURRENT, CURRENT, 0, SUCCEED),
        LINE("vmptrst", "VMPTRST", NULL, s_vmptrst, CLEAR_CURRENT,
             WRITES_MEMORY, 0, SUCCEED),
        LINE("vmread", "VMREAD", NULL, s_vmread, CLEAR_CURRENT, WRITES_RDX,
             FIELD, SUCCEED),
        LINE("vmread-memory", "VMREAD to memory", NULL, s_vmread_mem,
             CLEAR_CURRENT, WRITES_MEMORY, FIELD, SUCCEED),
        LINE("vmwrite", "VMWRITE", NULL, s_vmwrite, CLEAR_CURRENT, 0, FIELD,
             SUCCEED),
        LINE("vmwrite-memory", "VMWRITE from memory", NULL, s_vmwrite_mem,
             CLEAR_CURRENT, 0, FIELD, SUCCEED),
        LINE("invept", "INVEPT", "invept-all", s_invept, CLEAR_CURRENT, 0, 2,
             SUCCEED),
        LINE("invvpid", "INVVPID", "invvpid-all", s_invvpid, CLEAR_CURRENT,
             VPID_1, 2, SUCCEED),
};

TABLE(success, success_lines, .id = "conventions.success", .sdm = SDM,
      .title = "VMsucceed",
      .rules = "INS_FLAGS_SUCCEED INS_FLAGS_OTHERS_KEPT INS_CURRENT_PTR_KEPT "
               "INS_ERRFIELD_KEPT_ON_SUCCESS INS_RIP_ADVANCE "
               "INS_GPRS_UNCHANGED INS_OPERAND_MEM_UNCHANGED")
{
        conventions(case_row(self, row));
}

static const struct line invalid_lines[] = {
        LINE("vmxon-outside", "VMXON outside VMX operation", NULL, s_vmxon,
             OUTSIDE, MISALIGNED, 0, FAIL_INVALID),
        LINE("vmxon", "VMXON in VMX root operation", NULL, s_vmxon, NO_CURRENT,
             0, 0, FAIL_INVALID),
        LINE("vmclear", "VMCLEAR", NULL, s_vmclear, NO_CURRENT, MISALIGNED, 0,
             FAIL_INVALID),
        LINE("vmptrld", "VMPTRLD", NULL, s_vmptrld, NO_CURRENT, MISALIGNED, 0,
             FAIL_INVALID),
        LINE("vmread", "VMREAD", NULL, s_vmread, NO_CURRENT, 0, FIELD,
             FAIL_INVALID),
        LINE("vmread-memory", "VMREAD to memory", NULL, s_vmread_mem, NO_CURRENT,
             0, FIELD, FAIL_INVALID),
        LINE("vmwrite", "VMWRITE", NULL, s_vmwrite, NO_CURRENT, 0, FIELD,
             FAIL_INVALID),
        LINE("vmlaunch", "VMLAUNCH", NULL, s_vmlaunch, NO_CURRENT, 0, 0,
             FAIL_INVALID),
        LINE("vmresume", "VMRESUME", NULL, s_vmresume, NO_CURRENT, 0, 0,
             FAIL_INVALID),
        LINE("vmcall", "VMCALL", NULL, s_vmcall, NO_CURRENT, 0, 0, FAIL_INVALID),
        LINE("invept", "INVEPT", "invept", s_invept, NO_CURRENT, 0, 0,
             FAIL_INVALID),
        LINE("invvpid", "INVVPID", "invvpid", s_invvpid, NO_CURRENT, VPID_1,
             9, FAIL_INVALID),
};

TABLE(fail_invalid, invalid_lines, .id = "conventions.fail-invalid", .sdm = SDM,
      .title = "VMfailInvalid",
      .rules = "INS_FLAGS_FAILINVALID INS_FLAGS_OTHERS_KEPT INS_VMFAIL_DISPATCH "
               "INS_CURRENT_PTR_KEPT INS_RIP_ADVANCE INS_GPRS_UNCHANGED "
               "INS_OPERAND_MEM_UNCHANGED")
{
        conventions(case_row(self, row));
}

static const struct line valid_lines[] = {
        LINE("vmxon", "VMXON", NULL, s_vmxon, CLEAR_CURRENT, 0, 0,
             FAIL_VALID(VMERR_VMXON_IN_ROOT)),
        LINE("vmclear", "VMCLEAR", NULL, s_vmclear, CLEAR_CURRENT, MISALIGNED, 0,
             FAIL_VALID(VMERR_VMCLEAR_ADDRESS)),
        LINE("vmptrld", "VMPTRLD", NULL, s_vmptrld, CLEAR_CURRENT, MISALIGNED, 0,
             FAIL_VALID(VMERR_VMPTRLD_ADDRESS)),
        LINE("vmread", "VMREAD", NULL, s_vmread, CLEAR_CURRENT, 0, UNSUPPORTED,
             FAIL_VALID(VMERR_UNSUPPORTED_FIELD)),
        LINE("vmread-memory", "VMREAD to memory", NULL, s_vmread_mem,
             CLEAR_CURRENT, 0, UNSUPPORTED, FAIL_VALID(VMERR_UNSUPPORTED_FIELD)),
        LINE("vmwrite", "VMWRITE", NULL, s_vmwrite, CLEAR_CURRENT, 0, UNSUPPORTED,
             FAIL_VALID(VMERR_UNSUPPORTED_FIELD)),
        LINE("vmlaunch", "VMLAUNCH of a launched VMCS", NULL, s_vmlaunch,
             LAUNCHED_CURRENT, 0, 0, FAIL_VALID(VMERR_VMLAUNCH_NOT_CLEAR)),
        LINE("vmlaunch-controls", "VMLAUNCH with invalid controls", NULL,
             s_vmlaunch, CLEAR_CURRENT, BAD_CONTROLS_SET, 0,
             FAIL_VALID(VMERR_ENTRY_CONTROLS)),
        LINE("vmresume", "VMRESUME of a clear VMCS", NULL, s_vmresume,
             CLEAR_CURRENT, 0, 0, FAIL_VALID(VMERR_VMRESUME_NOT_LAUNCHED)),
        LINE("vmcall", "VMCALL, a launched VMCS current", NULL, s_vmcall,
             LAUNCHED_CURRENT, 0, 0, FAIL_VALID(VMERR_VMCALL_IN_ROOT)),
        LINE("invept", "INVEPT", "invept", s_invept, CLEAR_CURRENT, 0, 0,
             FAIL_VALID(VMERR_INVALIDATE_OPERAND)),
        LINE("invvpid", "INVVPID", "invvpid", s_invvpid, CLEAR_CURRENT, VPID_1, 9,
             FAIL_VALID(VMERR_INVALIDATE_OPERAND)),
};

TABLE(fail_valid, valid_lines, .id = "conventions.fail-valid", .sdm = SDM,
      .title = "VMfailValid",
      .rules = "INS_FLAGS_FAILVALID INS_FLAGS_OTHERS_KEPT INS_VMFAIL_DISPATCH "
               "INS_ERRFIELD_WRITTEN INS_ERR_UNASSIGNED INS_CURRENT_PTR_KEPT "
               "INS_RIP_ADVANCE INS_GPRS_UNCHANGED INS_OPERAND_MEM_UNCHANGED")
{
        conventions(case_row(self, row));
}
