/*
 * SDM Vol. 3, VM Entries > Checks on VMX Controls > VM-Execution Control Fields:
 * the primary processor-based controls and the CR3-target count.
 */
#include "x86/vmx/caps.h"
#include "x86/vmx/control_check.h"

#define SDM SDM_EXECUTION_CONTROLS

FAMILY(primary_bits, 32, .id = "entry.controls.primary.bit",
       .title = "a primary processor-based control has a value that its "
                "capability MSR allows",
       .sdm = SDM,
       .rules = "ENTC_PRIMARY_MUST_BE_1_CLEARED ENTC_PRIMARY_MUST_BE_0_SET "
                "ENTC_PRIMARY_TRUE_DEFAULT1_MAY_BE_0 "
                "ENTC_PRIMARY_FLEXIBLE_BOTH ENTC_CAP_TRUE_MSR_SELECTS "
                "ENTC_CAP_ALLOWED1_HONOURED")
{
        control_bit_check(WORD_PRIMARY, row);
}

/* Alone = 1 and alone = 0, in a guest that runs. */
#define ALONE(NAME, token, rules_)                                            \
        { .head = { token, "the control alone, 1 and 0", rules_, token },     \
          .control = CTL_PRIMARY_##NAME }
#define NO_DEPENDENCY "ENTC_PRIMARY_NO_DEPENDENCY_BITS"

static const struct control_row {
        struct row head;
        u64 control;
} alone_rows[] = {
        ALONE(INTERRUPT_WINDOW_EXITING, "interrupt-window-exiting", NO_DEPENDENCY),
        ALONE(USE_TSC_OFFSETTING, "use-tsc-offsetting", NO_DEPENDENCY),
        ALONE(HLT_EXITING, "hlt-exiting", NO_DEPENDENCY),
        ALONE(INVLPG_EXITING, "invlpg-exiting", NO_DEPENDENCY),
        ALONE(MWAIT_EXITING, "mwait-exiting", NO_DEPENDENCY),
        ALONE(RDPMC_EXITING, "rdpmc-exiting", NO_DEPENDENCY),
        ALONE(RDTSC_EXITING, "rdtsc-exiting", NO_DEPENDENCY),
        ALONE(CR3_LOAD_EXITING, "cr3-load-exiting", NO_DEPENDENCY),
        ALONE(CR3_STORE_EXITING, "cr3-store-exiting", NO_DEPENDENCY),
        ALONE(CR8_LOAD_EXITING, "cr8-load-exiting", NO_DEPENDENCY),
        ALONE(CR8_STORE_EXITING, "cr8-store-exiting", NO_DEPENDENCY),
        ALONE(MOV_DR_EXITING, "mov-dr-exiting", NO_DEPENDENCY),
        ALONE(UNCONDITIONAL_IO_EXITING, "unconditional-io-exiting", NO_DEPENDENCY),
        ALONE(MONITOR_TRAP_FLAG, "monitor-trap-flag", NO_DEPENDENCY),
        ALONE(MONITOR_EXITING, "monitor-exiting", NO_DEPENDENCY),
        ALONE(PAUSE_EXITING, "pause-exiting", NO_DEPENDENCY),
};

static void enter_with(u64 set, u64 clear)
{
        struct vm *vm = vm_begin(GUEST_NATIVE);

        vm_control(VMCS_PRIMARY_CONTROLS, set, clear);
        vm_poison(VMERR_ENTRY_CONTROLS);
        CHECK_RESULT("VM entry", vm_enter(vm), EXITS(EXIT_VMCALL));
}

TABLE(alone, alone_rows, .id = "entry.controls.primary.alone",
      .title = "a control that requires nothing", .sdm = SDM)
{
        const struct control_row *r = case_row(self, row);

        enter_with(r->control, 0);
        if (control_can_be_0(WORD_PRIMARY, r->control))
                enter_with(0, r->control);
}

#define CR3_LOAD CTL_PRIMARY_CR3_LOAD_EXITING
#define CR3_STORE CTL_PRIMARY_CR3_STORE_EXITING

static const struct control_row cr3_rows[] = {
        { ROW("load", "\"CR3-load exiting\" 0, \"CR3-store exiting\" 1"),
          .control = CR3_LOAD },
        { ROW("store", "\"CR3-store exiting\" 0, \"CR3-load exiting\" 1"),
          .control = CR3_STORE },
        { ROW("both", "both CR3 exiting controls 0"),
          .control = CR3_LOAD | CR3_STORE },
};

TABLE(cr3_exiting, cr3_rows, .id = "entry.controls.primary.cr3-exiting-0",
      .title = "default1 controls that the TRUE MSR lets be 0", .sdm = SDM,
      .rules = "ENTC_PRIMARY_CR3_EXITING_ZERO", .needs = "true-controls")
{
        const struct control_row *r = case_row(self, row);
        const u64 both = CR3_LOAD | CR3_STORE;

        enter_with(both, 0);
        if (control_can_be_0(WORD_PRIMARY, r->control))
                enter_with(both, r->control);
        else
                case_skip("the TRUE MSR does not let the control be 0");
}

#define PIN(bits) OR(PIN_CONTROLS, bits)
#define PRIMARY(bits) OR(PRIMARY_CONTROLS, bits)
#define NMI_WINDOW PRIMARY(CTL_PRIMARY_NMI_WINDOW_EXITING)
#define NMIS CTL_PIN_NMI_EXITING
#define VNMIS (CTL_PIN_NMI_EXITING | CTL_PIN_VIRTUAL_NMIS)
#define VNMI_NEEDS "nmi-window-exiting virtual-nmis nmi-exiting"
/* Virtual-NMI blocking: the window is not open. */
#define NO_WINDOW SET(GUEST_INTERRUPTIBILITY_STATE, 8)

static const struct probe primary_probes[] = {
        { ROW("nmi-window.nmi-exiting",
              "\"NMI-window exiting\" needs \"virtual NMIs\"",
              "ENTC_NMI_WINDOW_NEEDS_VIRTUAL_NMIS IRQ_NW_REQUIRES_VNMI",
              VNMI_NEEDS),
          .given = EDITS(NMI_WINDOW, PIN(NMIS), NO_WINDOW),
          .accept = EDITS(PIN(VNMIS)),
          .reject = EDITS(CLEAR(PIN_CONTROLS, CTL_PIN_VIRTUAL_NMIS)),
          .outcome = BAD_CONTROLS },
        { ROW("nmi-window.none",
              "\"NMI-window exiting\" without \"NMI exiting\"",
              "ENTC_NMI_WINDOW_NEEDS_VIRTUAL_NMIS IRQ_NW_REQUIRES_VNMI",
              VNMI_NEEDS),
          .given = EDITS(NO_WINDOW),
          .accept = EDITS(NMI_WINDOW, PIN(VNMIS)),
          .reject = EDITS(NMI_WINDOW), .outcome = BAD_CONTROLS },
        { ROW("nmi-window.0", "\"virtual NMIs\" without \"NMI-window exiting\"",
              "ENTC_NMI_WINDOW_NEEDS_VIRTUAL_NMIS", VNMI_NEEDS),
          .accept = EDITS(PIN(VNMIS)),
          .reject = EDITS(NMI_WINDOW), .outcome = BAD_CONTROLS },
};

PROBES(primary_checks, primary_probes, .id = "entry.controls.primary",
       .title = "checks on primary processor-based controls", .sdm = SDM)

FAMILY(cr8, 8, .id = "entry.controls.primary.cr8-and-tpr-shadow",
       .title = "CR8-load exiting (1), CR8-store exiting (2) and the TPR "
                "shadow (4) in any combination",
       .sdm = SDM, .rules = "ENTC_CR8_EXITING_WITHOUT_TPR_SHADOW",
       .needs = "cr8-load-exiting cr8-store-exiting use-tpr-shadow")
{
        static const struct { u32 number; u64 control; } parts[] = {
                { 1, CTL_PRIMARY_CR8_LOAD_EXITING },
                { 2, CTL_PRIMARY_CR8_STORE_EXITING },
                { 4, CTL_PRIMARY_USE_TPR_SHADOW },
        };
        struct vm *vm = vm_begin(GUEST_NATIVE);

        vmcs_edit(EDITS(CALC(VIRTUAL_APIC_ADDRESS, new_page)));
        for (unsigned i = 0; i < ARRAY_LEN(parts); i++)
                if (row & parts[i].number)
                        vm_control(VMCS_PRIMARY_CONTROLS, parts[i].control, 0);
        vm_poison(VMERR_ENTRY_CONTROLS);
        CHECK_RESULT("VM entry", vm_enter(vm), EXITS(EXIT_VMCALL));
}

/*
 * The check names 4, IA32_VMX_MISC the number that the processor has: counts
 * between the two are open.
 */
static void try_count(u32 count)
{
        u32 supported = (u32)vmx_cap(misc, CR3_TARGETS);
        u32 most = supported > 4 ? supported : 4;
        struct vm *vm = vm_begin(GUEST_NATIVE);
        struct vmx_result r;

        vmwrite(VMCS_CR3_TARGET_COUNT, count);
        vm_poison(VMERR_ENTRY_CONTROLS);
        r = vm_enter(vm);
        if (count <= supported)
                CHECK_RESULT("VM entry with a count that is supported", r,
                             EXITS(EXIT_VMCALL));
        else if (count > most)
                CHECK_RESULT("VM entry with too high a count", r, BAD_CONTROLS);
        else
                check_result_either(__FILE__, __LINE__,
                                    "VM entry with a count up to 4", r,
                                    RESULT(EXITS(EXIT_VMCALL)),
                                    RESULT(BAD_CONTROLS));
}

FAMILY(target_count_bits, 32, .id = "entry.controls.cr3-target-count.bit",
       .title = "CR3-target count of one bit", .sdm = SDM,
       .rules = "ENTC_CR3_TARGET_COUNT_LOW_BYTE_TRAP ENTC_CR3_TARGET_COUNT_MAX")
{
        try_count(0);
        try_count(1u << row);
}

static const struct count_row {
        struct row head;
        u32 count;
        bool above_limit;  /* that much more than the highest legal one */
} count_rows[] = {
        { ROW("0", "no CR3-target value"), .count = 0 },
        { ROW("3", "three CR3-target values", NULL, "cr3-target-2"), .count = 3 },
        { ROW("4", "four CR3-target values", NULL, "cr3-target-3"), .count = 4 },
        { ROW("most-plus-1", "one more than there are"), .count = 1, .above_limit = true },
        { ROW("256", "low byte 0"), .count = 256 },
        { ROW("65536", "low word 0"), .count = 0x10000 },
        { ROW("7fffffff", "7FFFFFFFH"), .count = 0x7fffffff },
        { ROW("ffffffff", "FFFFFFFFH"), .count = 0xffffffff },
};

TABLE(target_count, count_rows, .id = "entry.controls.cr3-target-count",
      .title = "CR3-target count", .sdm = SDM,
      .rules = "ENTC_CR3_TARGET_COUNT_MAX")
{
        const struct count_row *r = case_row(self, row);
        u32 supported = (u32)vmx_cap(misc, CR3_TARGETS);

        try_count(supported);
        try_count(r->count + (!r->above_limit ? 0 : supported > 4 ? supported : 4));
}
