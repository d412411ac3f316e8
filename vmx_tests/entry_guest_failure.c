/*
 * SDM Vol. 3, VM Entries > VM-Entry Failures During or After Loading Guest
 * State: what the VMCS says of a failure, and what it leaves as it was. What
 * the processor's state is afterwards: entry_guest_failure_state.c.
 */
#include "x86/vmx/entry_failure.h"
#include "lib/check.h"
#include "x86/cpu.h"
#include "x86/memory.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/event.h"
#include "x86/vmx/instr.h"

#define SDM ENTRY_FAILURE_SDM

static const struct entry_failure rows[] = { ENTRY_FAILURES };

/* Reason and qualification, whole. */
TABLE(reason, rows, .id = "entry.guest.failure.reason",
      .title = "exit reason and exit qualification", .sdm = SDM,
      .rules = "ENTG_FAIL_EXIT_REASON_FORMAT ENTG_FAIL_QUAL_1_UNUSED")
{
        const struct entry_failure *f = case_row(self, row);
        struct vm *vm = vm_begin(f->mode);

        CHECK_RESULT("VM entry", vm_enter(vm), EXITS(EXIT_VMCALL));
        vm = entry_failure_begin(f);
        vm_poison(0);
        CHECK_RESULT("VM entry that fails", vm_enter(vm),
                     entry_failure_result(f));
        CHECK_EQ("exit qualification", vmread(VMCS_EXIT_QUALIFICATION),
                 f->qualification);
}

static const struct probe zero_rows[] = {
        { ROW("rflags", "RFLAGS bit 1"), .outcome = BAD_GUEST,
          .reject = EDITS(CLEAR(GUEST_RFLAGS, RFLAGS_FIXED)) },
        { ROW("cr0", "CR0.NE"), .outcome = BAD_GUEST,
          .reject = EDITS(CLEAR(GUEST_CR0, CR0_NE)) },
        { ROW("tr", "TR unusable"), .outcome = BAD_GUEST,
          .reject = EDITS(OR(GUEST_TR_ACCESS_RIGHTS, 0x10000)) },
        { ROW("activity", "activity state"), .outcome = BAD_GUEST,
          .reject = EDITS(SET(GUEST_ACTIVITY_STATE, 4)) },
        { ROW("nmi-mov-ss", "NMI with blocking by MOV SS"), .outcome = BAD_GUEST,
          .accept = EDITS(SET(GUEST_INTERRUPTIBILITY_STATE, BLOCKED_MOV_SS)),
          .reject = EDITS(SET(GUEST_INTERRUPTIBILITY_STATE, BLOCKED_MOV_SS),
                          SET(ENTRY_INTERRUPTION_INFO, NMI)) },
};

PROBES(zero, zero_rows, .id = "entry.guest.failure.qualification-0",
       .title = "the exit qualification is 0", .sdm = SDM,
       .rules = "ENTG_FAIL_QUAL_0")

/*
 * Two violations: the checks have no order, so that the qualification may be
 * that of either.
 */
struct order_row {
        struct row head;
        enum guest_mode mode;
        void (*prepare)(struct vm *);
        const struct edit *edits;
        u32 one, other;
};

static const struct order_row order_rows[] = {
        { .head = { "link-rflags", "link pointer and RFLAGS" },
          .edits = EDITS(SET(VMCS_LINK_POINTER, 1),
                         CLEAR(GUEST_RFLAGS, RFLAGS_FIXED)),
          .one = 4, .other = 0 },
        { .head = { "pdpte-rflags", "PDPTEs and RFLAGS" }, .mode = GUEST_PAE,
          .prepare = entry_failure_pdpte,
          .edits = EDITS(CLEAR(GUEST_RFLAGS, RFLAGS_FIXED)),
          .one = 2, .other = 0 },
        { .head = { "link-pdpte", "link pointer and PDPTEs" },
          .mode = GUEST_PAE, .prepare = entry_failure_pdpte,
          .edits = EDITS(SET(VMCS_LINK_POINTER, 1)), .one = 4, .other = 2 },
};

TABLE(order, order_rows, .id = "entry.guest.failure.order",
      .title = "two violations: either qualification",
      .sdm = "VM Entries > Checks on the Guest State Area",
      .rules = "ENTG_CHECKS_ANY_ORDER")
{
        const struct order_row *r = case_row(self, row);
        struct vm *vm = vm_begin(r->mode);
        struct vmx_result one =
                ENTRY_FAILS(EXIT_ENTRY_FAILURE_GUEST_STATE, r->one);
        struct vmx_result other =
                ENTRY_FAILS(EXIT_ENTRY_FAILURE_GUEST_STATE, r->other);

        if (r->prepare)
                r->prepare(vm);
        vmcs_edit(r->edits);
        vm_poison(0);
        check_result_either(self->file, (int)self->line, "VM entry",
                            vm_enter(vm), one, other);
}

/* Which entry of the VM-entry MSR-load area fails. */
#define MSR_ROW(id_, mask, first) \
        { .head = { .id = id_ }, .bad = mask, .qualification = first }

static const struct {
        struct row head;
        u32 bad, qualification;
} msr_rows[] = {
        MSR_ROW("1", BIT(0), 1), MSR_ROW("2", BIT(1), 2), MSR_ROW("3", BIT(2), 3),
        MSR_ROW("16", BIT(15), 16), MSR_ROW("2-and-4", BIT(1) | BIT(3), 2),
        MSR_ROW("1-and-2", BIT(0) | BIT(1), 1),
};

TABLE(msr_index, msr_rows, .id = "entry.guest.failure.msr-index",
      .title = "the exit qualification names the first entry that fails",
      .sdm = SDM,
      .rules = "MSRL_FAIL_REASON MSRL_FAIL_INDEX_FIRST MSRL_FAIL_INDEX_NTH")
{
        u32 bad = msr_rows[row].bad;
        struct vm *vm = vm_begin(GUEST_NATIVE);

        entry_failure_msr_area(0, 16);
        CHECK_RESULT("VM entry", vm_enter(vm), EXITS(EXIT_VMCALL));
        vm = vm_begin(GUEST_NATIVE);
        entry_failure_msr_area(bad, 16);
        vm_poison(0);
        CHECK_RESULT("VM entry that fails", vm_enter(vm),
                     ENTRY_FAILS(EXIT_ENTRY_FAILURE_MSR_LOADING,
                                 msr_rows[row].qualification));
}

/* The fields of the current VMCS, in the order of vmcs_fields. */
#define FIELDS_MAX 256
static u64 values[FIELDS_MAX];

static bool is_judged(unsigned i, enum vmcs_type type)
{
        u32 field = vmcs_fields[i].encoding;

        return i < FIELDS_MAX && vmcs_type(field) == type && vmcs_has(field) &&
               field != VMCS_EXIT_REASON && field != VMCS_EXIT_QUALIFICATION &&
               field != VMCS_VM_INSTRUCTION_ERROR;
}

static void note_fields(enum vmcs_type type)
{
        for (unsigned i = 0; i < vmcs_field_count; i++)
                if (is_judged(i, type))
                        values[i] = vmread(vmcs_fields[i].encoding);
}

static void check_fields(enum vmcs_type type)
{
        for (unsigned i = 0; i < vmcs_field_count; i++)
                if (is_judged(i, type))
                        CHECK_EQ(vmcs_fields[i].name,
                                 vmread(vmcs_fields[i].encoding), values[i]);
}

PROGRAM(undefined, 32, "ud2\n");

/* A VM exit before leaves exit information, which is poisoned if possible. */
TABLE(exit_information, rows, .id = "entry.guest.failure.exit-information",
      .title = "the other VM-exit information fields stay as they were",
      .sdm = SDM, .rules = "ENTG_FAIL_OTHER_EXIT_INFO_UNCHANGED")
{
        const struct entry_failure *f = case_row(self, row);
        struct vm *vm = vm_begin(f->mode);

        vm_program(vm, undefined);
        vmwrite(VMCS_EXCEPTION_BITMAP, 0xffffffff);
        CHECK_RESULT("VM entry", vm_enter(vm), EXITS(EXIT_EXCEPTION_NMI));
        entry_failure_apply(vm, f);
        vm_poison(0);
        note_fields(VMCS_TYPE_READ_ONLY);
        CHECK_RESULT("VM entry that fails", vm_enter(vm),
                     entry_failure_result(f));
        check_fields(VMCS_TYPE_READ_ONLY);
}

/* Error 5 comes from a VMRESUME that fails early. */
TABLE(error, rows, .id = "entry.guest.failure.vm-instruction-error",
      .title = "the VM-instruction error stays as it was", .sdm = SDM,
      .rules = "ENTG_FAIL_VM_INSTRUCTION_ERROR_UNCHANGED")
{
        const struct entry_failure *f = case_row(self, row);
        struct vm *vm = entry_failure_begin(f);

        CHECK_RESULT("VMRESUME of a clear VMCS", vm_resume(vm),
                     FAIL_VALID(VMERR_VMRESUME_NOT_LAUNCHED));
        CHECK_RESULT("VM entry that fails", vm_enter(vm),
                     entry_failure_result(f));
        CHECK_EQ("VM-instruction error", vmread(VMCS_VM_INSTRUCTION_ERROR),
                 VMERR_VMRESUME_NOT_LAUNCHED);
}

/* Values that an exit would replace: none is the processor's at the time. */
static const struct edit *const guest_marks = EDITS(
        SET(GUEST_SYSENTER_CS, 0x1230), SET(GUEST_SYSENTER_ESP, 0x45670),
        SET(GUEST_SYSENTER_EIP, 0x89ab0), SET(GUEST_DR7, 0x700),
        SET(GUEST_GDTR_LIMIT, 0x123),
        SET(GUEST_IDTR_LIMIT, 0x456), SET(GUEST_FS_SELECTOR, 0x1238),
        SET(GUEST_GS_SELECTOR, 0x5670), SET(GUEST_FS_BASE, 0x11000),
        SET(GUEST_GS_BASE, 0x22000), SET(GUEST_LDTR_SELECTOR, 0x2340),
        SET(GUEST_ACTIVITY_STATE, ACTIVE),
        SET(GUEST_PENDING_DEBUG_EXCEPTIONS, PENDING_ENABLED | 5),
        OR(GUEST_RFLAGS, RFLAGS_ARITH | RFLAGS_IF),
        SET(GUEST_INTERRUPTIBILITY_STATE, BLOCKED_STI));

TABLE(guest_area, rows, .id = "entry.guest.failure.guest-state",
      .title = "the guest-state area stays as it was", .sdm = SDM,
      .rules = "ENTG_FAIL_GUEST_AREA_UNCHANGED")
{
        const struct entry_failure *f = case_row(self, row);
        struct vm *vm = vm_begin(f->mode);

        vmcs_edit(guest_marks);
        entry_failure_apply(vm, f);
        note_fields(VMCS_TYPE_GUEST);
        CHECK_RESULT("VM entry that fails", vm_enter(vm),
                     entry_failure_result(f));
        check_fields(VMCS_TYPE_GUEST);
}

TABLE(controls, rows, .id = "entry.guest.failure.controls",
      .title = "the control fields stay as they were, an injection included",
      .sdm = SDM, .rules = "ENTG_FAIL_ENTRY_INTR_INFO_KEPT")
{
        const struct entry_failure *f = case_row(self, row);
        struct vm *vm = entry_failure_begin(f);

        vmwrite(VMCS_ENTRY_INTERRUPTION_INFO, HARDWARE(VEC_UD));
        note_fields(VMCS_TYPE_CONTROL);
        CHECK_RESULT("VM entry that fails", vm_enter(vm),
                     entry_failure_result(f));
        check_fields(VMCS_TYPE_CONTROL);
}

CASE(injection, .id = "entry.guest.failure.injection-kept",
     .title = "the injection that failed is done by the next entry", .sdm = SDM,
     .rules = "ENTG_FAIL_ENTRY_INTR_INFO_KEPT")
{
        struct vm *vm = vm_begin(GUEST_NATIVE);
        struct guest_event event;

        vmwrite(VMCS_ENTRY_INTERRUPTION_INFO, HARDWARE(VEC_UD));
        vmwrite(VMCS_GUEST_RFLAGS, 0);
        CHECK_RESULT("VM entry that fails", vm_enter(vm), BAD_GUEST);
        CHECK_EQ("injected-event identification",
                 vmread(VMCS_ENTRY_INTERRUPTION_INFO), HARDWARE(VEC_UD));
        vmwrite(VMCS_GUEST_RFLAGS, RFLAGS_FIXED);
        if (!CHECK_RESULT("VM entry", vm_enter(vm), EXITS(EXIT_VMCALL)))
                return;
        CHECK("the handler is reached", vm_event(vm, &event), "it is not");
        CHECK_EQ("the vector", event.vector, VEC_UD);
        CHECK_EQ("the valid bit of the injected event",
                 vmread(VMCS_ENTRY_INTERRUPTION_INFO) & EVENT_VALID, 0);
}

/* A VM exit stores IA32_EFER.LMA there; the host has LMA = 1. */
CASE(lma, .id = "entry.guest.failure.ia-32e-mode-guest",
     .title = "\"IA-32e mode guest\" stays as it was", .sdm = SDM,
     .rules = "ENTG_FAIL_ENTRY_CONTROLS_UNCHANGED",
     .needs = "host64 stores-lma")
{
        struct vm *vm = vm_begin(GUEST_PAE);

        vmwrite(VMCS_GUEST_RFLAGS, 0);
        CHECK_RESULT("VM entry that fails", vm_enter(vm), BAD_GUEST);
        CHECK_EQ("\"IA-32e mode guest\"", vmread(VMCS_ENTRY_CONTROLS) &
                 CTL_ENTRY_IA32E_MODE_GUEST, 0);
        vm = vm_begin(GUEST_LONG);
        vmwrite(VMCS_GUEST_RFLAGS, 0);
        CHECK_RESULT("VM entry that fails", vm_enter(vm), BAD_GUEST);
        CHECK_EQ("\"IA-32e mode guest\"", vmread(VMCS_ENTRY_CONTROLS) &
                 CTL_ENTRY_IA32E_MODE_GUEST, CTL_ENTRY_IA32E_MODE_GUEST);
}

TABLE(timer, rows, .id = "entry.guest.failure.timer",
      .title = "the VMX-preemption timer value stays as it was", .sdm = SDM,
      .rules = "ENTG_FAIL_TIMER_FIELD_UNCHANGED",
      .needs = "activate-vmx-preemption-timer save-vmx-preemption-timer-value")
{
        const struct entry_failure *f = case_row(self, row);
        struct vm *vm = entry_failure_begin(f);

        vm_control(VMCS_PIN_CONTROLS, CTL_PIN_ACTIVATE_PREEMPTION_TIMER, 0);
        vm_control(VMCS_EXIT_CONTROLS, CTL_EXIT_SAVE_PREEMPTION_TIMER, 0);
        vmwrite(VMCS_PREEMPTION_TIMER_VALUE, 0xfffffff0);
        CHECK_RESULT("VM entry that fails", vm_enter(vm),
                     entry_failure_result(f));
        CHECK_EQ("VMX-preemption timer value",
                 vmread(VMCS_PREEMPTION_TIMER_VALUE), 0xfffffff0);
}

TABLE(pointer, rows, .id = "entry.guest.failure.current-vmcs",
      .title = "the current VMCS stays current", .sdm = SDM,
      .rules = "ENTG_FAIL_CURRENT_VMCS_KEPT")
{
        const struct entry_failure *f = case_row(self, row);
        struct vm *vm = entry_failure_begin(f);
        u64 pointer = 0;

        CHECK_RESULT("VM entry that fails", vm_enter(vm),
                     entry_failure_result(f));
        CHECK_RESULT("VMPTRST", vmptrst(&pointer), SUCCEED);
        CHECK_EQ("current-VMCS pointer", pointer, vm->pointer);
}
