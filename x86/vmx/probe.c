#include "x86/vmx/probe.h"
#include "lib/report.h"
#include "x86/vmx/ept.h"
#include "x86/vmx/guest_env.h"
#include "x86/vmx/names.h"
#include "x86/vmx/session.h"

struct vmx_result probe_enter(const struct probe *probe,
                              const struct edit *side, u32 expected_error)
{
        struct vm *vm = vm_begin(probe->mode);

        if (probe->program)
                vm_program(vm, *probe->program);
        vmcs_edit(probe->given);
        if (probe->prepare)
                probe->prepare(vm);
        vmcs_edit(side);
        vm_poison(expected_error);
        return vm_enter(vm);
}

static void report_fields(const struct edit *edits)
{
        char buf[160];

        for (; edits && edits->op != EDIT_END; edits++) {
                struct text t = TEXT(buf);

                text_add(&t, "%s = ", vmcs_field_name(edits->field));
                field_value_text(&t, edits->field, vmread(edits->field));
                report_detail("vmcs", "%s", buf);
        }
}

static void report_side(const struct probe *probe, const struct edit *side,
                        struct vmx_result got)
{
        report_fields(probe->given);
        report_fields(side);
        if (got.kind == VMX_EXIT)
                vm_report_exit();
}

static struct vmx_result enter_side(const struct probe *p,
                                    const struct edit *side, u32 expected_error)
{
        struct vmx_result r = probe_enter(p, side, expected_error);

        if (p->restore)
                p->restore();
        return r;
}

static bool edits_field(const struct edit *edits, u32 field)
{
        for (; edits && edits->op != EDIT_END; edits++)
                if (edits->field == field)
                        return true;
        return false;
}

/* Must the guest's first instruction be the baseline's VMCALL? */
static bool begins_at_program(const struct probe *p, const struct edit *side)
{
        return !p->accepted.kind && !p->program &&
               !edits_field(p->given, VMCS_ENTRY_INTERRUPTION_INFO) &&
               !edits_field(side, VMCS_ENTRY_INTERRUPTION_INFO);
}

static void accepted_side(const struct test_case *self, const struct probe *p,
                          const struct edit *side)
{
        struct vmx_result want = p->accepted, got;
        struct guest_event event;
        int line = (int)self->line;
        bool held;

        if (!want.kind)
                want = RESULT(EXITS(EXIT_VMCALL));
        got = enter_side(p, side, 0);
        held = check_result(self->file, line, "VM entry, accepted side", got,
                            want);
        /* The handlers' VMCALLs are no first instruction. */
        if (held && begins_at_program(p, side))
                held = check_true(self->file, line, "the guest's first "
                                  "instruction", !vm_event(&this_vmx()->vm,
                                                           &event),
                                  "%s in the guest",
                                  exception_name(event.vector));
        if (held && p->rax_mask)
                held = check_equal(self->file, line, "RAX of the guest",
                                   this_vmx()->vm.regs.rax & p->rax_mask,
                                   p->rax & p->rax_mask);
        if (!held)
                report_side(p, side, got);
}

void probe_check(const struct test_case *self, const struct probe *p)
{
        struct vmx_result want = p->outcome, got;
        int line = (int)self->line;
        bool held;

        accepted_side(self, p, p->accept);
        if (!want.kind)
                return;
        got = enter_side(p, p->reject,
                         want.kind == VMX_FAIL_VALID ? want.code : 0);
        held = p->also.kind
               ? check_result_either(self->file, line,
                                     "VM entry, rejected side", got, want,
                                     p->also)
               : check_result(self->file, line, "VM entry, rejected side", got,
                              want);
        if (!held)
                report_side(p, p->reject, got);
}

void probe_run(const struct test_case *self, unsigned row)
{
        probe_check(self, case_row(self, row));
}

void probe_legal(const struct test_case *self, const struct probe *probe,
                 const struct edit *edits, bool legal,
                 struct vmx_result outcome)
{
        struct probe p = *probe;

        p.accept = NULL;
        p.reject = edits;
        p.outcome = legal ? (struct vmx_result){ 0 } : outcome;
        probe_check(self, &p);
        if (legal)
                accepted_side(self, &p, edits);
}

void with_ept(struct vm *vm)
{
        (void)vm;
        vm_control(VMCS_PRIMARY_CONTROLS, CTL_PRIMARY_ACTIVATE_SECONDARY, 0);
        vm_control(VMCS_SECONDARY_CONTROLS, CTL_SECONDARY_ENABLE_EPT, 0);
        vmwrite(VMCS_EPTP, guest_env()->eptp);
}

void with_unrestricted_guest(struct vm *vm)
{
        with_ept(vm);
        vm_control(VMCS_SECONDARY_CONTROLS, CTL_SECONDARY_UNRESTRICTED_GUEST,
                   0);
}

void with_ept_hole(struct vm *vm)
{
        u64 *root = ept_new();

        ept_map_identity(root);
        *ept_entry(root, EPT_HOLE, EPT_PDE) = 0;
        with_ept(vm);
        vmwrite(VMCS_EPTP, eptp_of(root, 0));
        ept_invalidate(eptp_of(root, 0));
}
