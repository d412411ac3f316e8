#include "x86/vmx/requirements.h"
#include "x86/memory.h"
#include "x86/msr.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/guest_env.h"

u64 new_page(__attribute__((unused)) u64 old)
{
        return phys(page_alloc(1));
}

u64 identity_eptp(__attribute__((unused)) u64 old)
{
        return guest_env()->eptp;
}

/* SDM, VM-Execution Control Fields; VM-Exit Control Fields. */
static const struct {
        u8 word, other_word;
        u64 control, others;
} required[] = {
#define REQUIRES(word, name, other, names) \
        { WORD_##word, WORD_##other, CTL_##word##_##name, names }
        REQUIRES(PIN, VIRTUAL_NMIS, PIN, CTL_PIN_NMI_EXITING),
        REQUIRES(PIN, PROCESS_POSTED_INTERRUPTS, SECONDARY,
                 CTL_SECONDARY_VIRTUAL_INTERRUPT_DELIVERY),
        REQUIRES(PIN, PROCESS_POSTED_INTERRUPTS, EXIT,
                 CTL_EXIT_ACKNOWLEDGE_INTERRUPT),
        REQUIRES(PRIMARY, NMI_WINDOW_EXITING, PIN, CTL_PIN_VIRTUAL_NMIS),
        REQUIRES(SECONDARY, VIRTUALIZE_X2APIC_MODE, PRIMARY,
                 CTL_PRIMARY_USE_TPR_SHADOW),
        REQUIRES(SECONDARY, APIC_REGISTER_VIRTUALIZATION, PRIMARY,
                 CTL_PRIMARY_USE_TPR_SHADOW),
        REQUIRES(SECONDARY, VIRTUAL_INTERRUPT_DELIVERY, PRIMARY,
                 CTL_PRIMARY_USE_TPR_SHADOW),
        REQUIRES(SECONDARY, VIRTUAL_INTERRUPT_DELIVERY, PIN,
                 CTL_PIN_EXTERNAL_INTERRUPT_EXITING),
        REQUIRES(SECONDARY, UNRESTRICTED_GUEST, SECONDARY,
                 CTL_SECONDARY_ENABLE_EPT),
        REQUIRES(SECONDARY, ENABLE_PML, SECONDARY, CTL_SECONDARY_ENABLE_EPT),
        REQUIRES(SECONDARY, MODE_BASED_EXECUTE_CONTROL, SECONDARY,
                 CTL_SECONDARY_ENABLE_EPT),
        REQUIRES(SECONDARY, SUB_PAGE_WRITE_PERMISSIONS, SECONDARY,
                 CTL_SECONDARY_ENABLE_EPT),
        REQUIRES(SECONDARY, PT_USES_GUEST_PHYSICAL, SECONDARY,
                 CTL_SECONDARY_ENABLE_EPT),
        REQUIRES(SECONDARY, PT_USES_GUEST_PHYSICAL, ENTRY,
                 CTL_ENTRY_LOAD_RTIT_CTL),
        REQUIRES(SECONDARY, PT_USES_GUEST_PHYSICAL, EXIT,
                 CTL_EXIT_CLEAR_RTIT_CTL),
        REQUIRES(TERTIARY, ENABLE_HLAT, SECONDARY, CTL_SECONDARY_ENABLE_EPT),
        REQUIRES(TERTIARY, EPT_PAGING_WRITE_CONTROL, SECONDARY,
                 CTL_SECONDARY_ENABLE_EPT),
        REQUIRES(TERTIARY, GUEST_PAGING_VERIFICATION, SECONDARY,
                 CTL_SECONDARY_ENABLE_EPT),
        REQUIRES(TERTIARY, PEBS_USES_GUEST_PHYSICAL, SECONDARY,
                 CTL_SECONDARY_ENABLE_EPT),
        REQUIRES(TERTIARY, IPI_VIRTUALIZATION, PRIMARY,
                 CTL_PRIMARY_USE_TPR_SHADOW),
        REQUIRES(TERTIARY, APIC_TIMER_VIRTUALIZATION, SECONDARY,
                 CTL_SECONDARY_VIRTUAL_INTERRUPT_DELIVERY),
        REQUIRES(EXIT, SAVE_PREEMPTION_TIMER, PIN,
                 CTL_PIN_ACTIVATE_PREEMPTION_TIMER),
};

void vm_require(enum control_word word, u64 bits)
{
        vm_control(control_word_field(word), bits, 0);
        if (word == WORD_SECONDARY)
                vm_require(WORD_PRIMARY, CTL_PRIMARY_ACTIVATE_SECONDARY);
        if (word == WORD_TERTIARY)
                vm_require(WORD_PRIMARY, CTL_PRIMARY_ACTIVATE_TERTIARY);
        if (word == WORD_SECONDARY_EXIT)
                vm_require(WORD_EXIT, CTL_EXIT_ACTIVATE_SECONDARY);
        for (unsigned i = 0; i < ARRAY_LEN(required); i++) {
                enum control_word other = (enum control_word)required[i].other_word;

                /* What can not be 1 would be a second defect, or has no field. */
                if (required[i].word == word && bits & required[i].control &&
                    control_can_be_1(other, required[i].others))
                        vm_require(other, required[i].others);
        }
}

/* VM entries and exits then leave the processor's MSR as it is. */
static u64 current_msr(u32 msr)
{
        u64 value = 0;

        return rdmsr_safe(msr, &value).raised ? 0 : value;
}

/* Structures that nothing is read from, or in which 0 is valid: one page. */
static const u16 page_fields[] = {
        VMCS_IO_BITMAP_A, VMCS_IO_BITMAP_B, VMCS_MSR_BITMAPS,
        VMCS_VIRTUAL_APIC_ADDRESS, VMCS_APIC_ACCESS_ADDRESS,
        VMCS_POSTED_INTERRUPT_DESCRIPTOR, VMCS_PML_ADDRESS,
        VMCS_EPTP_LIST_ADDRESS, VMCS_VMREAD_BITMAP, VMCS_VMWRITE_BITMAP,
        VMCS_VE_INFORMATION_ADDRESS, VMCS_SPPTP, VMCS_LOW_PASID_DIRECTORY,
        VMCS_HIGH_PASID_DIRECTORY, VMCS_HLATP, VMCS_PID_POINTER_TABLE,
};

void vm_valid_fields(void)
{
        static u16 present[ARRAY_LEN(page_fields)];
        static unsigned count;
        static bool looked, eptp, vpid, timer, multiplier, efer, perf;
        const u64 kept = EFER_SCE | EFER_NXE;
        u64 page = new_page(0);

        if (!looked) {
                for (unsigned i = 0; i < ARRAY_LEN(page_fields); i++)
                        if (vmcs_has(page_fields[i]))
                                present[count++] = page_fields[i];
                eptp = vmcs_has(VMCS_EPTP);
                vpid = vmcs_has(VMCS_VPID);
                timer = vmcs_has(VMCS_PREEMPTION_TIMER_VALUE);
                multiplier = vmcs_has(VMCS_TSC_MULTIPLIER);
                efer = vmcs_has(VMCS_GUEST_EFER);
                perf = vmcs_has(VMCS_HOST_PERF_GLOBAL_CTRL) &&
                       vmcs_has(VMCS_GUEST_PERF_GLOBAL_CTRL);
                looked = true;
        }
        for (unsigned i = 0; i < count; i++)
                vmwrite(present[i], page);
        if (eptp)
                vmwrite(VMCS_EPTP, identity_eptp(0));
        if (vpid)
                vmwrite(VMCS_VPID, 1);
        if (timer)
                vmwrite(VMCS_PREEMPTION_TIMER_VALUE, ~0u);
        if (multiplier)
                vmwrite(VMCS_TSC_MULTIPLIER, 1ull << 48);
        if (efer)
                vm_control(VMCS_GUEST_EFER, current_msr(MSR_IA32_EFER) & kept,
                           0);
        if (perf) {
                u64 value = current_msr(MSR_IA32_PERF_GLOBAL_CTRL);

                vmwrite(VMCS_HOST_PERF_GLOBAL_CTRL, value);
                vmwrite(VMCS_GUEST_PERF_GLOBAL_CTRL, value);
        }
}
