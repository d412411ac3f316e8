/*
 * SDM Vol. 3, VMX Capability Reporting Facility > Reserved Controls and Default
 * Settings: what the checks on controls are made against; and fields that exist
 * only with a control.
 */
#include "x86/msr.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/control_check.h"

#define SDM "VMX Capability Reporting Facility > Reserved Controls and Default Settings"

/* The default1 classes: A.3.1, A.3.2, A.4, A.5. */
static const struct word_row {
        struct row head;
        enum control_word word;
        u32 default1;
        u32 true_msr;
} word_rows[] = {
        { ROW("pin", "pin-based controls"), .word = WORD_PIN,
          .default1 = 1u << 1 | 1u << 2 | 1u << 4,
          .true_msr = MSR_IA32_VMX_TRUE_PINBASED_CTLS },
        { ROW("primary", "primary processor-based controls"),
          .word = WORD_PRIMARY,
          .default1 = 1u << 1 | BITS(6, 4) | 1u << 8 | BITS(16, 13) | 1u << 26,
          .true_msr = MSR_IA32_VMX_TRUE_PROCBASED_CTLS },
        { ROW("exit", "VM-exit controls"), .word = WORD_EXIT,
          .default1 = BITS(8, 0) | BITS(11, 10) | BITS(14, 13) | BITS(17, 16),
          .true_msr = MSR_IA32_VMX_TRUE_EXIT_CTLS },
        { ROW("entry", "VM-entry controls"), .word = WORD_ENTRY,
          .default1 = BITS(8, 0) | 1u << 12,
          .true_msr = MSR_IA32_VMX_TRUE_ENTRY_CTLS },
};

TABLE(consistent, word_rows, .id = "entry.controls.capabilities.consistent",
      .title = "the capability MSRs of a word of controls agree", .sdm = SDM,
      .rules = "ENTC_CAP_MSR_CONSISTENT")
{
        const struct word_row *r = case_row(self, row);
        const struct control_limits *plain = &vmx_caps()->plain_limits[r->word];
        const struct control_limits *limits = &vmx_caps()->limits[r->word];

        CHECK_EQ("controls that must be 1 and can not", plain->must & ~plain->may, 0);
        CHECK_EQ("the same by the TRUE MSR", limits->must & ~limits->may, 0);
        CHECK_EQ("default1 controls that need not be 1 by the plain MSR",
                 r->default1 & ~plain->must, 0);
        CHECK_EQ("other controls, by both MSRs",
                 limits->must & ~(u64)r->default1, plain->must & ~(u64)r->default1);
        CHECK_EQ("controls that can be 1, by both MSRs", limits->may, plain->may);
}

/* Without them the plain MSRs decide, and all of default1 must be 1. */
TABLE(no_true, word_rows, .id = "entry.controls.capabilities.no-true-msr",
      .title = "where IA32_VMX_BASIC[55] is 0", .sdm = SDM,
      .rules = "ENTC_CAP_TRUE_MSR_SELECTS", .needs = "!true-controls")
{
        const struct word_row *r = case_row(self, row);
        u32 field = control_word_field(r->word);
        struct vmx_result result;
        u64 value;

        CHECK("RDMSR of the TRUE MSR", rdmsr_safe(r->true_msr, &value).raised,
              "no exception");
        for (unsigned bit = 0; bit < 32; bit++) {
                struct vm *vm;

                if (!(r->default1 >> bit & 1))
                        continue;
                vm = vm_begin(GUEST_NATIVE);
                vm_control(field, 0, BIT(bit));
                vm_poison(VMERR_ENTRY_CONTROLS);
                result = vm_enter(vm);
                if (!CHECK_RESULT("VM entry, a default1 control 0", result,
                                  BAD_CONTROLS))
                        return;
        }
}

/* One field for each control that brings some. */
#define ABSENT(id_, token, FIELD_) \
        { ROW(id_, "a field of that control", NULL, "!" token), \
          .field = VMCS_##FIELD_ }

static const struct field_row {
        struct row head;
        u32 field;
} absent_rows[] = {
        ABSENT("vpid", "enable-vpid", VPID),
        ABSENT("posted-interrupts", "process-posted-interrupts",
               POSTED_INTERRUPT_DESCRIPTOR),
        ABSENT("tpr-shadow", "use-tpr-shadow", VIRTUAL_APIC_ADDRESS),
        ABSENT("tpr-threshold", "use-tpr-shadow", TPR_THRESHOLD),
        ABSENT("msr-bitmaps", "use-msr-bitmaps", MSR_BITMAPS),
        ABSENT("apic-access", "virtualize-apic-accesses", APIC_ACCESS_ADDRESS),
        ABSENT("ept", "enable-ept", EPTP),
        ABSENT("pml", "enable-pml", PML_ADDRESS),
        ABSENT("vm-functions", "enable-vm-functions", VM_FUNCTION_CONTROLS),
        ABSENT("eptp-list", "eptp-switching", EPTP_LIST_ADDRESS),
        ABSENT("vmcs-shadowing", "vmcs-shadowing", VMREAD_BITMAP),
        ABSENT("ve", "ept-violation-ve", VE_INFORMATION_ADDRESS),
        ABSENT("xsaves", "enable-xsaves-xrstors", XSS_EXITING_BITMAP),
        ABSENT("encls", "enable-encls-exiting", ENCLS_EXITING_BITMAP),
        ABSENT("spp", "sub-page-write-permissions", SPPTP),
        ABSENT("tsc-scaling", "use-tsc-scaling", TSC_MULTIPLIER),
        ABSENT("pause-loop", "pause-loop-exiting", PLE_GAP),
        ABSENT("preemption-timer", "activate-vmx-preemption-timer",
               PREEMPTION_TIMER_VALUE),
        ABSENT("tertiary", "activate-tertiary-controls", TERTIARY_CONTROLS),
        ABSENT("secondary-exit", "activate-secondary-controls-exit",
               SECONDARY_EXIT_CONTROLS),
};

TABLE(absent, absent_rows, .id = "entry.controls.absent-field",
      .title = "a field whose control the processor does not have",
      .sdm = "Virtual Machine Control Structures > VMREAD, VMWRITE, and Encodings "
             "of VMCS Fields",
      .rules = "ENTC_ABSENT_FIELD_NOT_TESTABLE")
{
        const struct field_row *r = case_row(self, row);

        absent_field_check(r->field);
}
