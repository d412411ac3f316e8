#include "x86/vmx/modes.h"
#include "x86/memory.h"
#include "x86/vmx/pointer.h"
#include "x86/vmx/session.h"

static u64 operand[2];

static void new_operand(void)
{
        operand[0] = phys(vmcs_region_new());
        operand[1] = 0;
}

static void set_state(enum mode_state state)
{
        new_operand();
        if (state == STATE_ROOT) {
                vm_begin(GUEST_NATIVE);
                vm_poison(0);
                return;
        }
        vmx_off();
        vmx_prepare();
        if (state == STATE_OFF_VMXE0)
                write_cr4(read_cr4() & ~(ulong)CR4_VMXE);
}

/* What the instruction does where nothing is in its way. */
static struct vmx_result allowed(const struct mode_row *m)
{
        if (m->state == STATE_GUEST)
                return RESULT(EXITS(insns[m->insn].exit));
        switch (m->insn) {
        case INSN_VMCALL:
                return RESULT(FAIL_INVALID);
        case INSN_VMLAUNCH:
                return RESULT(FAIL_VALID(VMERR_ENTRY_CONTROLS));
        case INSN_VMRESUME:
                return RESULT(FAIL_VALID(VMERR_VMRESUME_NOT_LAUNCHED));
        case INSN_VMXON:
                return m->state == STATE_ROOT
                       ? RESULT(FAIL_VALID(VMERR_VMXON_IN_ROOT))
                       : RESULT(SUCCEED);
        case INSN_INVEPT:
        case INSN_INVVPID:
                /* Type 0; and for INVVPID bits 63:16 are not 0. */
                return RESULT(FAIL_VALID(VMERR_INVALIDATE_OPERAND));
        default:
                return RESULT(SUCCEED);
        }
}

static void add(struct code *code, const struct mode_row *m, bool rejected)
{
        if (rejected && m->flags & MODE_LOCK)
                CODE_ADD(code, 0xf0);
        /* A pointer of value 1, on the stack of CPL 3. */
        if (rejected && m->flags & MODE_BAD_POINTER) {
                CODE_ADD(code, 0x6a, 0, 0x6a, 1);      /* push 0; push 1 */
                CODE_ADD(code, 0x54, 0x58);            /* push SP; pop AX */
        }
        code_insn(code, m->insn);
}

static void check_guest(const struct mode_row *m, bool rejected)
{
        struct vm *vm = vm_begin(rejected ? m->mode : GUEST_NATIVE);
        struct code code = { 0 };
        struct vmx_result r;

        new_operand();
        if (rejected && m->flags & MODE_CPL3)
                raw_guest_cpl3(vm);
        add(&code, m, rejected);
        r = raw_guest(vm, &code, (ulong)operand);
        if (rejected)
                check_result(__FILE__, __LINE__, "refused in the guest", r,
                             m->outcome);
        else
                check_result(__FILE__, __LINE__, "allowed in the guest", r,
                             allowed(m));
}

/* The state in which the instruction is allowed. */
static enum mode_state home(const struct mode_row *m)
{
        if (m->insn != INSN_VMXON)
                return STATE_ROOT;
        return m->state == STATE_ROOT ? STATE_ROOT : STATE_OFF;
}

static void check_allowed(const struct mode_row *m)
{
        struct code code = { 0 };
        struct vmx_result r;

        set_state(home(m));
        /* Nothing can happen then: no target calls an SMM monitor. */
        if (m->insn == INSN_VMCALL)
                begin_without_vmcs();
        if (m->insn == INSN_VMLAUNCH)
                vmwrite(VMCS_PIN_CONTROLS, ~0u);
        /* A field that every processor has: the guest's ES selector. */
        if (m->insn == INSN_VMREAD || m->insn == INSN_VMWRITE)
                CODE_ADD(&code, 0xb9, 0x00, 0x08, 0, 0);  /* mov CX */
        add(&code, m, false);
        r = raw_run(RAW_NATIVE, &code, (ulong)operand);
        check_result(__FILE__, __LINE__, "allowed", r, allowed(m));
        if (r.kind == VMX_SUCCEED &&
            (m->insn == INSN_VMXON || m->insn == INSN_VMXOFF))
                vmx_set_operating(m->insn == INSN_VMXON);
        /* Not in VMX operation with a region that is the case's. */
        if (m->insn == INSN_VMXON)
                vmx_off();
}

void mode_run(const struct test_case *self, unsigned row)
{
        const struct mode_row *m = case_row(self, row);
        struct code code = { 0 };
        struct vmx_result r;
        u64 before = NO_VMCS;

        if (m->state == STATE_GUEST) {
                check_guest(m, false);
                check_guest(m, true);
                return;
        }
        check_allowed(m);
        set_state(m->state);
        if (m->state == STATE_ROOT)
                before = current_vmcs();
        add(&code, m, true);
        r = raw_run(m->mode, &code, (ulong)operand);
        check_result(__FILE__, __LINE__, "refused", r, m->outcome);
        if (m->state != STATE_ROOT) {
                /* Still outside VMX operation. */
                CHECK_RESULT("VMXOFF afterwards", vmxoff(), FAULT(VEC_UD));
                return;
        }
        if (r.kind == VMX_SUCCEED && m->insn == INSN_VMXOFF)
                vmx_set_operating(false);
        if (!CHECK_EQ("current-VMCS pointer", current_vmcs(), before))
                return;
        CHECK_EQ("VM-instruction error", vmread(VMCS_VM_INSTRUCTION_ERROR),
                 VMERR_UNSUPPORTED_FIELD);
}
