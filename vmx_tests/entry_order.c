/*
 * SDM Vol. 3, VM Entries > steps of VM entry (chapter introduction), and Checks
 * on VMX Controls and Host-State Area: the order of the groups of checks, and
 * that a failed entry changes nothing but the VM-instruction error. A sample of
 * invalid controls and host state goes through all of it, by VMLAUNCH and by
 * VMRESUME.
 */
#include "lib/report.h"
#include "x86/memory.h"
#include "x86/msr.h"
#include "x86/vmx/control_check.h"

#define SDM_STEPS "VM Entries > steps of VM entry (chapter introduction)"
#define SDM "VM Entries > Checks on VMX Controls and Host-State Area"

#define CONTROLS(id_, needs_, ...)                                      \
        { ROW("controls." id_, "an invalid control", NULL, needs_),     \
          .reject = EDITS(__VA_ARGS__), .outcome = BAD_CONTROLS }
#define HOST(id_, needs_, ...)                                          \
        { ROW("host." id_, "an invalid host-state field", NULL, needs_), \
          .reject = EDITS(__VA_ARGS__), .outcome = BAD_HOST }
#define SECONDARY(NAME) WITH_SECONDARY(CTL_SECONDARY_##NAME)

/*
 * One entry, which a processor that does not check can use: a VM exit with an
 * area that it can not use is a VMX abort.
 */
static u64 misaligned_area(__attribute__((unused)) u64 old)
{
        u64 area = new_page(0) + 8;
        u32 *entry = (u32 *)(ulong)area;

        entry[0] = MSR_IA32_SYSENTER_CS;
        entry[2] = (u32)rdmsr(MSR_IA32_SYSENTER_CS);
        return area;
}

/* No processor has all bits of a word of controls. */
static const struct probe defects[] = {
        CONTROLS("pin", NULL, SET(PIN_CONTROLS, ~0u)),
        CONTROLS("primary", NULL, SET(PRIMARY_CONTROLS, ~0u)),
        CONTROLS("secondary", "activate-secondary-controls",
                 SECONDARY(ENABLE_EPT), SET(SECONDARY_CONTROLS, ~0u)),
        CONTROLS("exit", NULL, OR(EXIT_CONTROLS, 0xfffffdff)),
        CONTROLS("entry", NULL, OR(ENTRY_CONTROLS, 0xfffffdff)),
        CONTROLS("cr3-target-count", NULL, SET(CR3_TARGET_COUNT, ~0u)),
        CONTROLS("io-bitmap-a", "use-io-bitmaps", SET(IO_BITMAP_A, 1),
                 OR(PRIMARY_CONTROLS, CTL_PRIMARY_USE_IO_BITMAPS)),
        CONTROLS("msr-bitmaps", "use-msr-bitmaps", SET(MSR_BITMAPS, 1),
                 OR(PRIMARY_CONTROLS, CTL_PRIMARY_USE_MSR_BITMAPS)),
        CONTROLS("tpr-threshold", "use-tpr-shadow", WITH_TPR_SHADOW,
                 SET(TPR_THRESHOLD, 1)),
        CONTROLS("virtual-apic", "use-tpr-shadow", WITH_TPR_SHADOW,
                 SET(VIRTUAL_APIC_ADDRESS, 1)),
        CONTROLS("virtual-nmis", "virtual-nmis",
                 OR(PIN_CONTROLS, CTL_PIN_VIRTUAL_NMIS)),
        CONTROLS("nmi-window", "nmi-window-exiting",
                 OR(PRIMARY_CONTROLS, CTL_PRIMARY_NMI_WINDOW_EXITING)),
        CONTROLS("apic-access", "virtualize-apic-accesses",
                 SECONDARY(VIRTUALIZE_APIC_ACCESSES), SET(APIC_ACCESS_ADDRESS, 1)),
        CONTROLS("x2apic", "virtualize-x2apic-mode",
                 SECONDARY(VIRTUALIZE_X2APIC_MODE)),
        CONTROLS("vpid", "enable-vpid", SECONDARY(ENABLE_VPID), SET(VPID, 0)),
        CONTROLS("eptp", "enable-ept", SECONDARY(ENABLE_EPT), SET(EPTP, ~0ull)),
        CONTROLS("unrestricted-guest", "unrestricted-guest",
                 SECONDARY(UNRESTRICTED_GUEST)),
        CONTROLS("vm-functions", "enable-vm-functions",
                 SECONDARY(ENABLE_VM_FUNCTIONS), SET(VM_FUNCTION_CONTROLS, ~0ull)),
        CONTROLS("vmread-bitmap", "vmcs-shadowing", SECONDARY(VMCS_SHADOWING),
                 SET(VMREAD_BITMAP, 1)),
        CONTROLS("ve-information", "ept-violation-ve",
                 SECONDARY(EPT_VIOLATION_VE), SET(VE_INFORMATION_ADDRESS, 1)),
        CONTROLS("save-timer", "save-vmx-preemption-timer-value",
                 OR(EXIT_CONTROLS, CTL_EXIT_SAVE_PREEMPTION_TIMER)),
        CONTROLS("exit-msr-store", NULL, SET(EXIT_MSR_STORE_COUNT, 1),
                 CALC(EXIT_MSR_STORE_ADDRESS, misaligned_area)),
        CONTROLS("exit-msr-load", NULL, SET(EXIT_MSR_LOAD_COUNT, 1),
                 CALC(EXIT_MSR_LOAD_ADDRESS, misaligned_area)),
        CONTROLS("entry-msr-load", NULL, SET(ENTRY_MSR_LOAD_COUNT, 1),
                 SET(ENTRY_MSR_LOAD_ADDRESS, 8)),
        CONTROLS("injected-type", NULL, SET(ENTRY_INTERRUPTION_INFO, 0x80000100)),
        CONTROLS("injected-length", NULL, SET(ENTRY_INTERRUPTION_INFO, 0x80000480),
                 SET(ENTRY_INSTRUCTION_LENGTH, 16)),
        CONTROLS("injected-error-code", NULL,
                 SET(ENTRY_INTERRUPTION_INFO, 0x80000b0d),
                 SET(ENTRY_EXCEPTION_ERROR_CODE, 0x10000)),
        HOST("cr0-pe", NULL, CLEAR(HOST_CR0, CR0_PE)),
        HOST("cr0-pg", NULL, CLEAR(HOST_CR0, CR0_PG)),
        HOST("cr0-ne", NULL, CLEAR(HOST_CR0, CR0_NE)),
        HOST("cr3", "host64", OR(HOST_CR3, BIT(60))),
        HOST("cr4-vmxe", NULL, CLEAR(HOST_CR4, CR4_VMXE)),
        HOST("cr4-pae", "host64", CLEAR(HOST_CR4, CR4_PAE)),
        HOST("sysenter-eip", "host64", SET(HOST_SYSENTER_EIP, BIT(63))),
        HOST("pat", "load-ia32-pat-exit", SET(HOST_PAT, 2),
             OR(EXIT_CONTROLS, CTL_EXIT_LOAD_PAT)),
        HOST("efer", "load-ia32-efer-exit", FLIP(HOST_EFER, BIT(10)),
             OR(EXIT_CONTROLS, CTL_EXIT_LOAD_EFER)),
        HOST("cs-null", NULL, SET(HOST_CS_SELECTOR, 0)),
        HOST("cs-rpl", NULL, OR(HOST_CS_SELECTOR, 1)),
        HOST("ss-ti", NULL, OR(HOST_SS_SELECTOR, 4)),
        HOST("ss-null", "host32", SET(HOST_SS_SELECTOR, 0)),
        HOST("tr-null", NULL, SET(HOST_TR_SELECTOR, 0)),
        HOST("gdtr-base", "host64", SET(HOST_GDTR_BASE, BIT(63))),
        HOST("tr-base", "host64", SET(HOST_TR_BASE, BIT(63))),
        HOST("rip", "host64", SET(HOST_RIP, BIT(63))),
};

#define ENTERS EXITS(EXIT_VMCALL)
#define NOT_CLEAR FAIL_VALID(VMERR_VMLAUNCH_NOT_CLEAR)
#define NOT_LAUNCHED FAIL_VALID(VMERR_VMRESUME_NOT_LAUNCHED)

/* All fields but the VM-instruction error; vm_enter() writes host RSP. */
static void read_fields(u64 *values)
{
        for (unsigned i = 0; i < vmcs_field_count; i++) {
                u32 field = vmcs_fields[i].encoding;

                if (field != VMCS_VM_INSTRUCTION_ERROR &&
                    field != VMCS_HOST_RSP && vmcs_has(field))
                        values[i] = vmread(field);
        }
}

static void compare_fields(const u64 *before)
{
        u64 *after = page_alloc(1);
        bool same = true;

        read_fields(after);
        for (unsigned i = 0; i < vmcs_field_count; i++) {
                if (before[i] == after[i])
                        continue;
                CHECK_EQ(vmcs_fields[i].name, after[i], before[i]);
                same = false;
        }
        CHECK("all other fields", same, "changed");
}

/* The fields that @edits change, as they are. */
#define MAX_EDITS 8

static void save(const struct edit *edits, u64 values[MAX_EDITS])
{
        for (unsigned i = 0; edits[i].op != EDIT_END; i++)
                values[i] = vmread(edits[i].field);
}

static void restore(const struct edit *edits, const u64 values[MAX_EDITS])
{
        for (unsigned i = 0; edits[i].op != EDIT_END; i++)
                vmwrite(edits[i].field, values[i]);
}

/* The sign that an injected event is valid, and the entry controls, stay too. */
static void fail(struct vmx_result (*enter)(struct vm *), struct vm *vm,
                 struct vmx_result want)
{
        u64 *before = page_alloc(1);

        vm_poison(want.code);
        read_fields(before);
        check_result(__FILE__, __LINE__, "VM entry with the field invalid",
                     enter(vm), want);
        CHECK_EQ("VM-instruction error", vmread(VMCS_VM_INSTRUCTION_ERROR),
                 want.code);
        compare_fields(before);
}

#define VMFAIL_RULES                                                    \
        "ENTB_VMFAIL_EXIT_INFO_UNMODIFIED "                             \
        "ENTB_VMFAIL_GUEST_STATE_UNMODIFIED "                           \
        "ENTB_VMFAIL_INJECTION_VALID_BIT_KEPT "                         \
        "ENTB_VMFAILVALID_WRITES_ERROR_FIELD ENTB_RETRY_AFTER_FIX "     \
        "ENTB_LAUNCH_STATE_UNCHANGED_ON_EARLY_FAIL "                    \
        "ENTB_LAUNCH_STATE_BEATS_FIELD_CHECKS "

static void check_resume(const struct probe *defect)
{
        u64 values[MAX_EDITS];
        struct vm *vm = vm_begin(GUEST_NATIVE);

        CHECK_RESULT("VMLAUNCH, all valid", vm_launch(vm), ENTERS);
        save(defect->reject, values);
        vmcs_edit(defect->reject);
        fail(vm_resume, vm, defect->outcome);
        fail(vm_launch, vm, RESULT(NOT_CLEAR));
        restore(defect->reject, values);
        CHECK_RESULT("VMRESUME, valid again", vm_resume(vm), ENTERS);
}

TABLE(resume, defects, .id = "entry.order.resume",
      .title = "VMRESUME makes the checks that VMLAUNCH makes, each time",
      .sdm = SDM,
      .rules = VMFAIL_RULES "ENTB_SAME_CHECKS_VMRESUME "
               "ENTB_CHECKS_REPEATED_EACH_ENTRY")
{
        check_resume(case_row(self, row));
}

static void check_launch(const struct probe *defect)
{
        u64 values[MAX_EDITS];
        struct vm *vm = vm_begin(GUEST_NATIVE);

        save(defect->reject, values);
        vmcs_edit(defect->reject);
        fail(vm_resume, vm, RESULT(NOT_LAUNCHED));
        fail(vm_launch, vm, defect->outcome);
        fail(vm_resume, vm, RESULT(NOT_LAUNCHED));
        restore(defect->reject, values);
        CHECK_RESULT("VMLAUNCH, valid", vm_launch(vm), ENTERS);
}

TABLE(launch, defects, .id = "entry.order.launch",
      .title = "a VMLAUNCH that fails changes nothing and can be repeated",
      .sdm = SDM, .rules = VMFAIL_RULES "ENTB_SINGLE_DEFECT_EXACT_NUMBER "
                           "ENTB_VMRESUME_NON_LAUNCHED_5")
{
        check_launch(case_row(self, row));
}

/* The build that has a 32-bit host is the same suite. */
TABLE(host32, defects, .id = "entry.order.host32",
      .title = "outside IA-32e mode the checks are the same", .sdm = SDM_STEPS,
      .rules = "ENTB_32BIT_HOST_SAME_CHECKS", .needs = "host32")
{
        check_launch(case_row(self, row));
}

/* An MSR that does not exist. */
static u64 bad_msr_area(__attribute__((unused)) u64 old)
{
        u32 *entry = (u32 *)(ulong)new_page(0);

        entry[0] = ~0u;
        return phys(entry);
}

static struct vmx_result enter_with(const struct edit *first,
                                    const struct edit *second)
{
        struct vm *vm = vm_begin(GUEST_NATIVE);

        vmcs_edit(first);
        vmcs_edit(second);
        vm_poison(VMERR_ENTRY_CONTROLS);
        return vm_enter(vm);
}

#define BEFORE_GUEST_RULES \
        "ENTB_CONTROLS_BEFORE_GUEST_STATE ENTB_HOST_BEFORE_GUEST_STATE"

TABLE(before_guest, defects, .id = "entry.order.before-guest-state",
      .title = "controls and host state are checked before the guest state",
      .sdm = SDM_STEPS, .rules = BEFORE_GUEST_RULES)
{
        const struct probe *defect = case_row(self, row);

        CHECK_RESULT("the guest state invalid",
                     enter_with(EDITS(GUEST_DEFECT), NULL), BAD_GUEST);
        check_result(__FILE__, __LINE__, "the other field invalid too",
                     enter_with(EDITS(GUEST_DEFECT), defect->reject),
                     defect->outcome);
}

/* Two defects have an area of their own that is bad. */
TABLE(before_msrs, defects, .id = "entry.order.before-msr-loading",
      .title = "controls and host state are checked before MSRs are loaded",
      .sdm = SDM_STEPS, .rules = "ENTB_CONTROLS_HOST_BEFORE_MSR_LOAD")
{
        const struct probe *defect = case_row(self, row);
        const struct edit *area = EDITS(CALC(ENTRY_MSR_LOAD_ADDRESS, bad_msr_area),
                                        SET(ENTRY_MSR_LOAD_COUNT, 1));

        CHECK_RESULT("an MSR that can not be loaded", enter_with(area, NULL),
                     ENTRY_FAILS(EXIT_ENTRY_FAILURE_MSR_LOADING, 1));
        check_result(__FILE__, __LINE__, "another field invalid too",
                     enter_with(area, defect->reject), defect->outcome);
}

/* Either may be found first: every pair of one of each kind. */
static const struct {
        const struct edit *controls, *host;
} pairs[] = {
        { EDITS(SET(PIN_CONTROLS, ~0u)), EDITS(SET(HOST_CS_SELECTOR, 0)) },
        { EDITS(SET(PIN_CONTROLS, ~0u)), EDITS(CLEAR(HOST_CR0, CR0_PE)) },
        { EDITS(SET(CR3_TARGET_COUNT, ~0u)), EDITS(SET(HOST_TR_SELECTOR, 0)) },
        { EDITS(OR(EXIT_CONTROLS, 0xfffffdff)), EDITS(CLEAR(HOST_CR4, CR4_VMXE)) },
        { EDITS(SET(EXIT_MSR_LOAD_COUNT, 1),
                CALC(EXIT_MSR_LOAD_ADDRESS, misaligned_area)),
          EDITS(OR(HOST_SS_SELECTOR, 1)) },
        { EDITS(SET(ENTRY_INTERRUPTION_INFO, 0x80000100)),
          EDITS(OR(HOST_CS_SELECTOR, 4)) },
};

FAMILY(either_first, 6, .id = "entry.order.controls-and-host",
       .title = "with controls and host state invalid either error is right",
       .sdm = SDM, .rules = "ENTB_CONTROL_VS_HOST_ORDER_FREE")
{
        CHECK_RESULT("the control invalid", enter_with(pairs[row].controls, NULL),
                     BAD_CONTROLS);
        CHECK_RESULT("the host state invalid", enter_with(pairs[row].host, NULL),
                     BAD_HOST);
        check_result_either(__FILE__, __LINE__, "both invalid",
                            enter_with(pairs[row].controls, pairs[row].host),
                            RESULT(BAD_CONTROLS), RESULT(BAD_HOST));
}
