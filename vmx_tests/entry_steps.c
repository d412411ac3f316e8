/*
 * SDM Vol. 3, VM Entries, introduction: the steps of VM entry. Where in them a
 * failure comes, and where the launch state changes. More about order:
 * entry_order.c; about launch states: vmcs_launch_state.c.
 */
#include "lib/check.h"
#include "x86/cpu.h"
#include "x86/vmx/event.h"

#define SDM "VM Entries > (chapter introduction: steps of VM entry)"

/* Each is wrong by itself; the guest state is wrong besides. */
static const struct probe early[] = {
        { ROW("control.pin"), .reject = EDITS(SET(PIN_CONTROLS, 0xffffffff)),
          .outcome = BAD_CONTROLS },
        { ROW("control.cr3-targets"),
          .reject = EDITS(SET(CR3_TARGET_COUNT, 0xffffffff)),
          .outcome = BAD_CONTROLS },
        { ROW("control.exit"), .reject = EDITS(SET(EXIT_CONTROLS, 0xffffffff)),
          .outcome = BAD_CONTROLS },
        { ROW("control.entry"), .reject = EDITS(SET(ENTRY_CONTROLS, 0xffffffff)),
          .outcome = BAD_CONTROLS },
        { ROW("control.event"),
          .reject = EDITS(SET(ENTRY_INTERRUPTION_INFO, EVENT(1, 3))),
          .outcome = BAD_CONTROLS },
        { ROW("host.cs"), .reject = EDITS(SET(HOST_CS_SELECTOR, 0)),
          .outcome = BAD_HOST },
        { ROW("host.tr"), .reject = EDITS(SET(HOST_TR_SELECTOR, 0)),
          .outcome = BAD_HOST },
        { ROW("host.cr4"), .reject = EDITS(CLEAR(HOST_CR4, CR4_VMXE)),
          .outcome = BAD_HOST },
};

static const struct edit *const guest_defects[] = {
        EDITS(SET(GUEST_RFLAGS, 0)), EDITS(CLEAR(GUEST_CR4, CR4_VMXE)),
        EDITS(SET(GUEST_ACTIVITY_STATE, 0xffffffff)),
};

TABLE(before_guest, early, .id = "entry.steps.before-guest-state",
      .title = "controls and host state are checked before guest state; nothing "
               "of a VM exit happens", .sdm = SDM,
      .rules = "ENTG_AFTER_CONTROLS_AND_HOST")
{
        const struct probe *p = case_row(self, row);

        for (unsigned i = 0; i < ARRAY_LEN(guest_defects); i++) {
                struct vm *vm = vm_begin(GUEST_NATIVE);

                vmcs_edit(guest_defects[i]);
                vm_poison(0);
                CHECK_EXIT("the guest state is wrong", vm_enter(vm), BAD_GUEST);

                vm = vm_begin(GUEST_NATIVE);
                vmcs_edit(guest_defects[i]);
                vmcs_edit(p->reject);
                vm_poison(p->outcome.code);
                check_result(self->file, (int)self->line,
                             "and what is checked before it too", vm_enter(vm),
                             p->outcome);
                if (vm_can_poison_exit()) {
                        CHECK_VMCS(EXIT_REASON, POISON_REASON);
                        CHECK_VMCS(EXIT_QUALIFICATION, POISON);
                }
        }
}

/* VM exits that come before the guest's first instruction. */
struct exit_row {
        struct row head;
        void (*prepare)(struct vm *vm);
        struct vmx_result outcome;
};

static void timer_expired(struct vm *vm)
{
        (void)vm;
        vm_control(VMCS_PIN_CONTROLS, CTL_PIN_ACTIVATE_PREEMPTION_TIMER, 0);
        vmwrite(VMCS_PREEMPTION_TIMER_VALUE, 0);
}

/* No gates: #GP instead of the event, or #DF and another fault instead of it. */
static void no_gates(struct vm *vm)
{
        (void)vm;
        vmwrite(VMCS_GUEST_IDTR_LIMIT, 0);
        vm_inject(HARDWARE(VEC_UD), 0, 0);
}

static void fault_in_injection(struct vm *vm)
{
        no_gates(vm);
        vmwrite(VMCS_EXCEPTION_BITMAP, BIT(VEC_GP));
}

static void pending_debug(struct vm *vm)
{
        (void)vm;
        vmwrite(VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS, PENDING_ENABLED | PENDING_B(0));
        vmwrite(VMCS_EXCEPTION_BITMAP, BIT(VEC_DB));
}

static const struct exit_row exits[] = {
        { ROW("instruction"), NULL, EXITS(EXIT_VMCALL) },
        { ROW("timer", NULL, NULL, "activate-vmx-preemption-timer"),
          timer_expired, EXITS(EXIT_PREEMPTION_TIMER) },
        { ROW("injection-fault"), fault_in_injection, EXITS(EXIT_EXCEPTION_NMI) },
        { ROW("triple-fault"), no_gates, EXITS(EXIT_TRIPLE_FAULT) },
        { ROW("debug-exception"), pending_debug, EXITS(EXIT_EXCEPTION_NMI) },
};

TABLE(launched, exits, .id = "entry.steps.launched",
      .title = "VMLAUNCH makes the VMCS launched, even if a VM exit follows at once",
      .sdm = SDM, .rules = "ENTL_LAUNCH_STATE_SET")
{
        const struct exit_row *r = case_row(self, row);
        struct vm *vm = vm_begin(GUEST_NATIVE);

        CHECK_RESULT("VMRESUME before", vm_resume(vm),
                     FAIL_VALID(VMERR_VMRESUME_NOT_LAUNCHED));
        /* A VMLAUNCH that fails leaves the launch state as it is. */
        vmcs_edit(guest_defects[0]);
        CHECK_RESULT("VMLAUNCH that fails", vm_launch(vm), BAD_GUEST);
        CHECK_RESULT("VMRESUME behind it", vm_resume(vm),
                     FAIL_VALID(VMERR_VMRESUME_NOT_LAUNCHED));
        vm_baseline(vm, GUEST_NATIVE);
        if (r->prepare)
                r->prepare(vm);
        vm_poison(0);
        check_exit(self->file, (int)self->line, "VMLAUNCH", vm_launch(vm),
                   r->outcome);
        CHECK_RESULT("VMLAUNCH once more", vm_launch(vm),
                     FAIL_VALID(VMERR_VMLAUNCH_NOT_CLEAR));
        vm_baseline(vm, GUEST_NATIVE);
        vm_poison(0);
        CHECK_RESULT("VMRESUME", vm_resume(vm), EXITS(EXIT_VMCALL));
}
