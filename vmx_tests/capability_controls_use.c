/*
 * SDM Vol. 3, Virtual-Machine Monitor Programming Considerations > Algorithms for
 * Determining VMX Capabilities: the settings that the algorithms give enter; and
 * controls that need others can be used with them.
 */
#include "x86/memory.h"
#include "x86/msr.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/ept.h"
#include "x86/vmx/guest_env.h"
#include "x86/vmx/probe.h"
#include "x86/vmx/session.h"

#define SDM "Virtual-Machine Monitor Programming Considerations > " \
            "Algorithms for Determining VMX Capabilities"

/* The four words, and what the build's host and guest need of them. */
static const struct {
        u8 word;
        u32 default1, mode;
} words[] = {
        { WORD_PIN, 0x00000016, 0 },
        { WORD_PRIMARY, 0x0401e172, 0 },
        { WORD_EXIT, 0x00036dff,
          sizeof(ulong) == 8 ? CTL_EXIT_HOST_ADDRESS_SPACE_SIZE : 0 },
        { WORD_ENTRY, 0x000011ff,
          sizeof(ulong) == 8 ? CTL_ENTRY_IA32E_MODE_GUEST : 0 },
};

static struct vmx_result enter_with(bool default1)
{
        struct vm *vm = vm_begin(GUEST_NATIVE);

        for (unsigned i = 0; i < ARRAY_LEN(words); i++) {
                enum control_word word = (enum control_word)words[i].word;
                u64 value = vmx_caps()->limits[word].must | words[i].mode;

                if (default1)
                        value |= words[i].default1;
                vmwrite(control_word_field(word), value);
        }
        vm_poison(VMERR_ENTRY_CONTROLS);
        return vm_enter(vm);
}

CASE(minimal, .id = "capability.use.minimal", .sdm = SDM,
     .title = "exactly the controls that must be 1", .rules = "CAP_MINIMAL_SETTINGS_ENTER")
{
        CHECK_RESULT("VM entry", enter_with(false), EXITS(EXIT_VMCALL));
}

CASE(default1, .id = "capability.use.default1", .sdm = SDM,
     .title = "every default1 control 1", .rules = "CAP_DEFAULT1_SETTINGS_ENTER")
{
        CHECK_RESULT("VM entry", enter_with(true), EXITS(EXIT_VMCALL));
}

#ifdef __x86_64__
#define STACK "(%rsp)"
#else
#define STACK "(%esp)"
#endif
PROGRAM(descriptor_and_wbinvd, NATIVE_BITS, "sgdt " STACK "\nwbinvd\n");

CASE(ignored, .id = "capability.use.secondary-ignored", .sdm = SDM,
     .title = "secondary controls do nothing while they are not activated",
     .rules = "CAP_IGNORE_SECONDARY_WHEN_OFF",
     .needs = "descriptor-table-exiting wbinvd-exiting")
{
        struct vm *vm = vm_begin(GUEST_NATIVE);

        vm_control(VMCS_PRIMARY_CONTROLS, 0, CTL_PRIMARY_ACTIVATE_SECONDARY);
        vmwrite(VMCS_SECONDARY_CONTROLS, ~0u);
        vmwrite(VMCS_GUEST_RSP, this_vmx()->stack_top - 64);
        vm_program(vm, descriptor_and_wbinvd);
        vm_poison(VMERR_ENTRY_CONTROLS);
        CHECK_RESULT("VM entry", vm_enter(vm), EXITS(EXIT_VMCALL));
        /* The same program where they count. */
        vm = vm_begin(GUEST_NATIVE);
        vmcs_edit(EDITS(WITH_SECONDARY(CTL_SECONDARY_DESCRIPTOR_TABLE_EXITING)));
        vmwrite(VMCS_GUEST_RSP, this_vmx()->stack_top - 64);
        vm_program(vm, descriptor_and_wbinvd);
        CHECK_RESULT("VM entry, SGDT exits", vm_enter(vm),
                     EXITS(EXIT_GDTR_IDTR_ACCESS));
}

/* Addresses that the controls of the probes below want. */
static void structures(struct vm *vm)
{
        const u64 page = phys(page_alloc(1));

        (void)vm;
        if (vmcs_has(VMCS_VIRTUAL_APIC_ADDRESS))
                vmwrite(VMCS_VIRTUAL_APIC_ADDRESS, page);
        if (vmcs_has(VMCS_POSTED_INTERRUPT_DESCRIPTOR))
                vmwrite(VMCS_POSTED_INTERRUPT_DESCRIPTOR, phys(page_alloc(1)));
        if (vmcs_has(VMCS_POSTED_INTERRUPT_VECTOR))
                vmwrite(VMCS_POSTED_INTERRUPT_VECTOR, 0xf2);
        if (vmcs_has(VMCS_PML_ADDRESS))
                vmwrite(VMCS_PML_ADDRESS, phys(page_alloc(1)));
        if (vmcs_has(VMCS_PML_INDEX))
                vmwrite(VMCS_PML_INDEX, 511);
        if (vmcs_has(VMCS_SPPTP))
                vmwrite(VMCS_SPPTP, phys(page_alloc(1)));
        if (vmcs_has(VMCS_VE_INFORMATION_ADDRESS))
                vmwrite(VMCS_VE_INFORMATION_ADDRESS, phys(page_alloc(1)));
        if (vmcs_has(VMCS_HLATP))
                vmwrite(VMCS_HLATP, phys(guest_env()->pml4));
        if (vmcs_has(VMCS_EPTP))
                vmwrite(VMCS_EPTP, guest_env()->eptp);
}

/*
 * The same, with an identity map of which all linear addresses can execute: the
 * guest's are those of user-mode pages.
 */
static void structures_executable(struct vm *vm)
{
        u64 *root = ept_new();

        structures(vm);
        ept_map_identity(root);
        for (u64 gib = 0; gib < 4; gib++) {
                volatile u64 *entries = ept_entry(root, gib << 30, EPT_PDE);

                *ept_entry(root, gib << 30, EPT_PDPTE) |= EPT_XU;
                for (unsigned i = 0; i < 512; i++)
                        entries[i] |= EPT_XU;
        }
        *ept_entry(root, 0, EPT_PML4E) |= EPT_XU;
        vmwrite(VMCS_EPTP, eptp_of(root, 0));
}

#define PIN(c) CTL_PIN_##c
#define PRI(c) CTL_PRIMARY_##c
#define SEC(c) CTL_SECONDARY_##c
#define TPR_SHADOW OR(PRIMARY_CONTROLS, PRI(USE_TPR_SHADOW))
#define EXTERNAL OR(PIN_CONTROLS, PIN(EXTERNAL_INTERRUPT_EXITING))
#define ACKNOWLEDGE OR(EXIT_CONTROLS, CTL_EXIT_ACKNOWLEDGE_INTERRUPT)
#define WITH_EPT OR(SECONDARY_CONTROLS, SEC(ENABLE_EPT))
#define DELIVERY WITH_SECONDARY(SEC(VIRTUAL_INTERRUPT_DELIVERY))
#define POSTED OR(PIN_CONTROLS, PIN(PROCESS_POSTED_INTERRUPTS))
#define POSTED_NEEDS "process-posted-interrupts virtual-interrupt-delivery " \
                     "external-interrupt-exiting acknowledge-interrupt-on-exit " \
                     "use-tpr-shadow"
#define WITH_TERTIARY(bits)                                                   \
        OR(PRIMARY_CONTROLS, PRI(ACTIVATE_SECONDARY) |                        \
                             PRI(ACTIVATE_TERTIARY)),                         \
        OR(TERTIARY_CONTROLS, bits)
#define NEEDS_EPT(ID, TITLE, RULE, TOKEN, BIT_)                               \
        { ROW(ID, TITLE " needs \"enable EPT\"", RULE, TOKEN " enable-ept"),  \
          .prepare = structures, .given = EDITS(WITH_SECONDARY(SEC(BIT_))),   \
          .accept = EDITS(WITH_EPT), .outcome = BAD_CONTROLS }
#define NEEDS_EPT3(ID, TITLE, RULE, TOKEN, BIT_)                              \
        { ROW(ID, TITLE " needs \"enable EPT\"", RULE, TOKEN " enable-ept"),  \
          .prepare = structures,                                             \
          .given = EDITS(WITH_TERTIARY(CTL_TERTIARY_##BIT_)),                 \
          .accept = EDITS(WITH_EPT), .outcome = BAD_CONTROLS }

/* @given has the control that needs another; only @accept has the other. */
static const struct probe use_probes[] = {
        { ROW("virtual-nmis", "virtual NMIs needs NMI exiting", "CAP_DEP_VNMI_NMI",
              "virtual-nmis nmi-exiting"),
          .given = EDITS(OR(PIN_CONTROLS, PIN(VIRTUAL_NMIS))),
          .accept = EDITS(OR(PIN_CONTROLS, PIN(NMI_EXITING))),
          .outcome = BAD_CONTROLS },
        /* Virtual-NMI blocking keeps the window shut. */
        { ROW("nmi-window", "NMI-window exiting needs virtual NMIs",
              "CAP_DEP_NMIWIN_VNMI",
              "nmi-window-exiting virtual-nmis nmi-exiting"),
          .given = EDITS(OR(PRIMARY_CONTROLS, PRI(NMI_WINDOW_EXITING)),
                         OR(PIN_CONTROLS, PIN(NMI_EXITING)),
                         SET(GUEST_INTERRUPTIBILITY_STATE, 8)),
          .accept = EDITS(OR(PIN_CONTROLS, PIN(VIRTUAL_NMIS))),
          .outcome = BAD_CONTROLS },
        { ROW("posted.delivery", "posted interrupts need virtual-interrupt delivery",
              "CAP_DEP_POSTED", POSTED_NEEDS), .prepare = structures,
          .given = EDITS(POSTED, EXTERNAL, ACKNOWLEDGE, TPR_SHADOW),
          .accept = EDITS(DELIVERY), .outcome = BAD_CONTROLS },
        { ROW("posted.acknowledge", "posted interrupts need acknowledging",
              "CAP_DEP_POSTED", POSTED_NEEDS), .prepare = structures,
          .given = EDITS(POSTED, EXTERNAL, DELIVERY, TPR_SHADOW),
          .accept = EDITS(ACKNOWLEDGE), .outcome = BAD_CONTROLS },
        { ROW("x2apic", "virtualize x2APIC mode needs the TPR shadow",
              "CAP_DEP_X2APIC_TPR", "virtualize-x2apic-mode use-tpr-shadow"),
          .prepare = structures,
          .given = EDITS(WITH_SECONDARY(SEC(VIRTUALIZE_X2APIC_MODE))),
          .accept = EDITS(TPR_SHADOW), .outcome = BAD_CONTROLS },
        { ROW("apic-registers", "APIC-register virtualization needs the TPR shadow",
              "CAP_DEP_APICREG_TPR",
              "apic-register-virtualization use-tpr-shadow"),
          .prepare = structures,
          .given = EDITS(WITH_SECONDARY(SEC(APIC_REGISTER_VIRTUALIZATION))),
          .accept = EDITS(TPR_SHADOW), .outcome = BAD_CONTROLS },
        { ROW("delivery.tpr", "virtual-interrupt delivery needs the TPR shadow",
              "CAP_DEP_VID_TPR", "virtual-interrupt-delivery use-tpr-shadow "
              "external-interrupt-exiting"), .prepare = structures,
          .given = EDITS(DELIVERY, EXTERNAL), .accept = EDITS(TPR_SHADOW),
          .outcome = BAD_CONTROLS },
        { ROW("delivery.external",
              "virtual-interrupt delivery needs external-interrupt exiting",
              "CAP_DEP_VID_TPR", "virtual-interrupt-delivery use-tpr-shadow "
              "external-interrupt-exiting"), .prepare = structures,
          .given = EDITS(DELIVERY, TPR_SHADOW), .accept = EDITS(EXTERNAL),
          .outcome = BAD_CONTROLS },
        NEEDS_EPT("unrestricted-guest", "unrestricted guest", "CAP_DEP_URG_EPT",
                  "unrestricted-guest", UNRESTRICTED_GUEST),
        NEEDS_EPT("pml", "enable PML", "CAP_DEP_PML_EPT", "enable-pml ept-ad",
                  ENABLE_PML),
        { ROW("mode-based", "mode-based execute control needs \"enable EPT\"",
              "CAP_DEP_MBEC_EPT", "mode-based-execute-control enable-ept ept-2m"),
          .prepare = structures_executable,
          .given = EDITS(WITH_SECONDARY(SEC(MODE_BASED_EXECUTE_CONTROL))),
          .accept = EDITS(WITH_EPT), .outcome = BAD_CONTROLS },
        NEEDS_EPT("sub-page", "sub-page write permissions", "CAP_DEP_SPP_EPT",
                  "sub-page-write-permissions", SUB_PAGE_WRITE_PERMISSIONS),
        { ROW("pt", "Intel PT with guest-physical addresses needs EPT",
              "CAP_DEP_PTGPA_EPT", "pt-uses-guest-physical-addresses enable-ept "
              "load-ia32-rtit-ctl clear-ia32-rtit-ctl"), .prepare = structures,
          .given = EDITS(WITH_SECONDARY(SEC(PT_USES_GUEST_PHYSICAL)),
                         OR(ENTRY_CONTROLS, CTL_ENTRY_LOAD_RTIT_CTL),
                         OR(EXIT_CONTROLS, CTL_EXIT_CLEAR_RTIT_CTL)),
          .accept = EDITS(WITH_EPT), .outcome = BAD_CONTROLS },
        { ROW("save-timer", "saving the preemption timer needs the timer",
              "CAP_DEP_SAVE_PREEMPT", "save-vmx-preemption-timer-value "
              "activate-vmx-preemption-timer"),
          .given = EDITS(OR(EXIT_CONTROLS, CTL_EXIT_SAVE_PREEMPTION_TIMER),
                         SET(PREEMPTION_TIMER_VALUE, ~0u)),
          .accept = EDITS(OR(PIN_CONTROLS, PIN(ACTIVATE_PREEMPTION_TIMER))),
          .outcome = BAD_CONTROLS },
        NEEDS_EPT3("hlat", "enable HLAT", "CAP_DEP_HLAT_EPT", "enable-hlat",
                   ENABLE_HLAT),
        NEEDS_EPT3("paging-write", "EPT paging-write control", "CAP_DEP_HLAT_EPT",
                   "ept-paging-write-control", EPT_PAGING_WRITE_CONTROL),
        NEEDS_EPT3("paging-verification", "guest-paging verification",
                   "CAP_DEP_HLAT_EPT", "guest-paging-verification",
                   GUEST_PAGING_VERIFICATION),
        NEEDS_EPT3("pebs", "PEBS with guest-physical addresses",
                   "CAP_DEP_PEBS_GPA_EPT", "pebs-uses-guest-physical-addresses",
                   PEBS_USES_GUEST_PHYSICAL),
        { ROW("ipi", "IPI virtualization needs the TPR shadow",
              "CAP_DEP_IPIV_TPR", "ipi-virtualization use-tpr-shadow"),
          .prepare = structures,
          .given = EDITS(WITH_TERTIARY(CTL_TERTIARY_IPI_VIRTUALIZATION)),
          .accept = EDITS(TPR_SHADOW), .outcome = BAD_CONTROLS },
        { ROW("apic-timer",
              "APIC-timer virtualization needs virtual-interrupt delivery",
              "CAP_DEP_APIC_TIMER_VID", "apic-timer-virtualization "
              "virtual-interrupt-delivery use-tpr-shadow "
              "external-interrupt-exiting"), .prepare = structures,
          .given = EDITS(WITH_TERTIARY(CTL_TERTIARY_APIC_TIMER_VIRTUALIZATION),
                         TPR_SHADOW, EXTERNAL),
          .accept = EDITS(OR(SECONDARY_CONTROLS,
                             SEC(VIRTUAL_INTERRUPT_DELIVERY))),
          .outcome = BAD_CONTROLS },
};

PROBES(use, use_probes, .id = "capability.use", .sdm = SDM,
       .title = "a control that is offered can be used, with what it needs")

CASE(ve_without_ept, .id = "capability.use.ve-without-ept", .sdm = SDM,
     .title = "EPT-violation #VE can be 1 without EPT", .rules = "CAP_DEP_VE_EPT",
     .needs = "ept-violation-ve")
{
        struct vm *vm = vm_begin(GUEST_NATIVE);

        vmcs_edit(EDITS(WITH_SECONDARY(SEC(EPT_VIOLATION_VE))));
        structures(vm);
        vm_poison(VMERR_ENTRY_CONTROLS);
        CHECK_RESULT("VM entry", vm_enter(vm), EXITS(EXIT_VMCALL));
}
