/*
 * SDM Vol. 3, Virtual Machine Control Structures > VM-Execution Control Fields:
 * fields in which every value is valid.
 */
#include "x86/vmx/control_check.h"

#define ANY(id_, what, rule, needs_, ...) \
        { ROW(id_, what, rule, needs_), .accept = EDITS(__VA_ARGS__) }
/* Nothing of the guest is used: with some values it could not run. */
#define ANY_CHECKED(id_, what, rule, needs_, ...)                       \
        { ROW(id_, what, rule, needs_), .given = EDITS(GUEST_DEFECT),   \
          .accepted = BAD_GUEST, .accept = EDITS(__VA_ARGS__) }
#define ONES ~0ull
#define PFEC "ENTC_PFEC_ANY"
#define MASKS "ENTC_CR_MASKS_SHADOWS_ANY"
#define BITMAPS "ENTC_XSS_ENCLS_BITMAPS_ANY"
#define VID "virtual-interrupt-delivery external-interrupt-exiting use-tpr-shadow"
#define SECONDARY(NAME) WITH_SECONDARY(CTL_SECONDARY_##NAME)

static const struct probe any_probes[] = {
        ANY("exception-bitmap.0", "exception bitmap 0",
            "ENTC_EXCEPTION_BITMAP_ANY", NULL, SET(EXCEPTION_BITMAP, 0)),
        ANY("exception-bitmap.ones", "exception bitmap of all ones",
            "ENTC_EXCEPTION_BITMAP_ANY", NULL, SET(EXCEPTION_BITMAP, ~0u)),
        ANY("page-fault.0-0", "page-fault mask 0, match 0", PFEC, NULL,
            SET(PAGE_FAULT_ERROR_CODE_MASK, 0),
            SET(PAGE_FAULT_ERROR_CODE_MATCH, 0)),
        ANY("page-fault.0-ones", "page-fault match outside the mask", PFEC, NULL,
            SET(PAGE_FAULT_ERROR_CODE_MASK, 0),
            SET(PAGE_FAULT_ERROR_CODE_MATCH, ~0u)),
        ANY("page-fault.ones-0", "page-fault mask of all ones", PFEC, NULL,
            SET(PAGE_FAULT_ERROR_CODE_MASK, ~0u),
            SET(PAGE_FAULT_ERROR_CODE_MATCH, 0)),
        ANY("page-fault.ones-ones", "page-fault mask and match of all ones",
            PFEC, NULL, SET(PAGE_FAULT_ERROR_CODE_MASK, ~0u),
            SET(PAGE_FAULT_ERROR_CODE_MATCH, ~0u)),
        ANY("cr0-mask.0", "CR0 guest/host mask 0", MASKS, NULL,
            SET(CR0_GUEST_HOST_MASK, 0)),
        ANY("cr0-mask.ones", "CR0 guest/host mask of all ones", MASKS, NULL,
            SET(CR0_GUEST_HOST_MASK, ONES)),
        ANY("cr4-mask.0", "CR4 guest/host mask 0", MASKS, NULL,
            SET(CR4_GUEST_HOST_MASK, 0)),
        ANY("cr4-mask.ones", "CR4 guest/host mask of all ones", MASKS, NULL,
            SET(CR4_GUEST_HOST_MASK, ONES)),
        ANY("cr0-shadow.0", "CR0 read shadow 0", MASKS, NULL,
            SET(CR0_GUEST_HOST_MASK, ONES), SET(CR0_READ_SHADOW, 0)),
        ANY("cr0-shadow.ones", "CR0 read shadow of all ones", MASKS, NULL,
            SET(CR0_GUEST_HOST_MASK, ONES), SET(CR0_READ_SHADOW, ONES)),
        ANY("cr4-shadow.0", "CR4 read shadow 0", MASKS, NULL,
            SET(CR4_GUEST_HOST_MASK, ONES), SET(CR4_READ_SHADOW, 0)),
        ANY("cr4-shadow.ones", "CR4 read shadow of all ones", MASKS, NULL,
            SET(CR4_GUEST_HOST_MASK, ONES), SET(CR4_READ_SHADOW, ONES)),
        ANY("cr3-targets.0", "CR3-target value 0: all ones",
            "ENTC_CR3_TARGET_VALUES_ANY", "cr3-target-3",
            SET(CR3_TARGET_COUNT, 4), SET(CR3_TARGET_VALUE_0, ONES)),
        ANY("cr3-targets.1", "CR3-target value 1: all ones",
            "ENTC_CR3_TARGET_VALUES_ANY", "cr3-target-3",
            SET(CR3_TARGET_COUNT, 4), SET(CR3_TARGET_VALUE_1, ONES)),
        ANY("cr3-targets.2", "CR3-target value 2: all ones",
            "ENTC_CR3_TARGET_VALUES_ANY", "cr3-target-3",
            SET(CR3_TARGET_COUNT, 4), SET(CR3_TARGET_VALUE_2, ONES)),
        ANY("cr3-targets.3", "CR3-target value 3: all ones",
            "ENTC_CR3_TARGET_VALUES_ANY", "cr3-target-3",
            SET(CR3_TARGET_COUNT, 4), SET(CR3_TARGET_VALUE_3, ONES)),
        ANY("tsc-offset.ones", "TSC offset of all ones", "ENTC_TSC_OFFSET_ANY",
            "use-tsc-offsetting",
            OR(PRIMARY_CONTROLS, CTL_PRIMARY_USE_TSC_OFFSETTING),
            SET(TSC_OFFSET, ONES)),
        ANY("tsc-offset.sign", "TSC offset 80000000_00000000H",
            "ENTC_TSC_OFFSET_ANY", "use-tsc-offsetting",
            OR(PRIMARY_CONTROLS, CTL_PRIMARY_USE_TSC_OFFSETTING),
            SET(TSC_OFFSET, BIT(63))),
        ANY("eoi-exit.0", "EOI-exit bitmaps 0",
            "ENTC_EOI_EXIT_BITMAP_ANY VAPIC_EOI_BITMAP_UNCHECKED", VID,
            WITH_VIRTUAL_INTERRUPTS, SET(EOI_EXIT_BITMAP_0, 0),
            SET(EOI_EXIT_BITMAP_1, 0), SET(EOI_EXIT_BITMAP_2, 0),
            SET(EOI_EXIT_BITMAP_3, 0)),
        ANY("eoi-exit.ones", "EOI-exit bitmaps of all ones",
            "ENTC_EOI_EXIT_BITMAP_ANY VAPIC_EOI_BITMAP_UNCHECKED", VID,
            WITH_VIRTUAL_INTERRUPTS, SET(EOI_EXIT_BITMAP_0, ONES),
            SET(EOI_EXIT_BITMAP_1, ONES), SET(EOI_EXIT_BITMAP_2, ONES),
            SET(EOI_EXIT_BITMAP_3, ONES)),
        ANY("ple.0-0", "PLE_Gap 0, PLE_Window 0", "ENTC_PLE_ANY",
            "pause-loop-exiting", SECONDARY(PAUSE_LOOP_EXITING),
            SET(PLE_GAP, 0), SET(PLE_WINDOW, 0)),
        ANY("ple.ones-0", "PLE_Gap above PLE_Window", "ENTC_PLE_ANY",
            "pause-loop-exiting", SECONDARY(PAUSE_LOOP_EXITING),
            SET(PLE_GAP, ~0u), SET(PLE_WINDOW, 0)),
        ANY("xss-exiting", "XSS-exiting bitmap of all ones", BITMAPS,
            "enable-xsaves-xrstors", SECONDARY(ENABLE_XSAVES_XRSTORS),
            SET(XSS_EXITING_BITMAP, ONES)),
        ANY("encls-exiting", "ENCLS-exiting bitmap of all ones", BITMAPS,
            "enable-encls-exiting", SECONDARY(ENABLE_ENCLS_EXITING),
            SET(ENCLS_EXITING_BITMAP, ONES)),
        ANY("pconfig-exiting", "PCONFIG-exiting bitmap of all ones", BITMAPS,
            "enable-pconfig", SECONDARY(ENABLE_PCONFIG),
            SET(PCONFIG_EXITING_BITMAP, ONES)),
        ANY_CHECKED("instruction-timeout.0", "instruction-timeout control 0",
                    "ENTC_NOTIFY_WINDOW_ANY", "instruction-timeout",
                    SECONDARY(INSTRUCTION_TIMEOUT),
                    SET(INSTRUCTION_TIMEOUT_CONTROL, 0)),
        ANY_CHECKED("instruction-timeout.ones",
                    "instruction-timeout control of all ones",
                    "ENTC_NOTIFY_WINDOW_ANY", "instruction-timeout",
                    SECONDARY(INSTRUCTION_TIMEOUT),
                    SET(INSTRUCTION_TIMEOUT_CONTROL, ~0u)),
};

PROBES(any, any_probes, .id = "entry.controls.any",
       .title = "a field in which every value is valid",
       .sdm = "Virtual Machine Control Structures > VM-Execution Control Fields")

/* The field serves the dual-monitor treatment; not every hypervisor has it. */
FAMILY(executive_pointer, 2, .id = "entry.controls.any.executive-vmcs",
       .title = "executive-VMCS pointer 1, and of all ones",
       .sdm = "System Management Mode > Dual-Monitor Treatment > VM Entries that "
              "Return from SMM",
       .rules = "ENTC_EXECUTIVE_VMCS_POINTER_ANY")
{
        struct probe p = {
                .accept = EDITS(SET(EXECUTIVE_VMCS_POINTER, row ? ONES : 1)),
        };

        vm_begin(GUEST_NATIVE);
        if (vmcs_has(VMCS_EXECUTIVE_VMCS_POINTER))
                probe_check(self, &p);
        else
                case_skip("there is no executive-VMCS pointer");
}
