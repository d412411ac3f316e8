/*
 * SDM Vol. 3, VM Entries > Checks on VMX Controls > VM-Execution Control Fields:
 * posted interrupts, IPI virtualization and APIC-timer virtualization.
 */
#include "x86/vmx/control_check.h"

#define SDM SDM_EXECUTION_CONTROLS
#define SECONDARY(NAME) CTL_SECONDARY_##NAME
#define TERTIARY(NAME) CTL_TERTIARY_##NAME
#define PI_NEEDS                                                        \
        "process-posted-interrupts virtual-interrupt-delivery "         \
        "use-tpr-shadow external-interrupt-exiting "                    \
        "acknowledge-interrupt-on-exit"
#define OFF(WORD, NAME) CLEAR(WORD##_CONTROLS, CTL_##WORD##_##NAME)

ADDRESS_CHECK(descriptor, "entry.controls.posted-interrupt-descriptor",
              PI_NEEDS, "the posted-interrupt descriptor address",
              "ENTC_PI_DESCRIPTOR_ALIGN PI_ENTRY_DESC_ALIGN "
              "ENTC_PI_DESCRIPTOR_WIDTH PI_ENTRY_DESC_WIDTH",
              "ENTC_PI_DESCRIPTOR_IGNORED PI_ENTRY_UNCHECKED_WHEN_OFF",
              .field = VMCS_POSTED_INTERRUPT_DESCRIPTOR, .low = 6,
              .active = EDITS(WITH_POSTED_INTERRUPTS))

FAMILY(vector_bits, 16, .id = "entry.controls.posted-interrupt-vector.bit",
       .title = "bits 15:8 of the notification vector must be 0", .sdm = SDM,
       .rules = "ENTC_PI_NOTIFICATION_VECTOR PI_ENTRY_VECTOR_RANGE",
       .needs = PI_NEEDS)
{
        struct probe p = {
                .given = EDITS(WITH_POSTED_INTERRUPTS),
                .accept = EDITS(SET(POSTED_INTERRUPT_VECTOR,
                                    row < 8 ? BIT(row) : 0xff)),
                .reject = EDITS(SET(POSTED_INTERRUPT_VECTOR,
                                    row < 8 ? 0x100 | BIT(row) : BIT(row))),
                .outcome = BAD_CONTROLS,
        };

        probe_check(self, &p);
}

static const struct probe posted_probes[] = {
        { ROW("virtual-interrupts",
              "posted interrupts need virtual-interrupt delivery",
              "ENTC_PI_NEEDS_VID PI_ENTRY_NEEDS_VID"),
          .reject = EDITS(OFF(SECONDARY, VIRTUAL_INTERRUPT_DELIVERY)),
          .outcome = BAD_CONTROLS },
        { ROW("virtual-interrupts.no-tpr-shadow", "the same without TPR shadow",
              "ENTC_PI_NEEDS_VID_TPR_SHADOW_OFF PI_ENTRY_NEEDS_VID"),
          .reject = EDITS(OFF(SECONDARY, VIRTUAL_INTERRUPT_DELIVERY),
                          OFF(PRIMARY, USE_TPR_SHADOW)),
          .outcome = BAD_CONTROLS },
        { ROW("virtual-interrupts.inactive",
              "virtual-interrupt delivery that is not active",
              "ENTC_PI_NEEDS_VID_SECONDARY_OFF PI_ENTRY_NEEDS_VID"),
          .reject = EDITS(OFF(PRIMARY, ACTIVATE_SECONDARY)),
          .outcome = BAD_CONTROLS },
        { ROW("acknowledge",
              "posted interrupts need \"acknowledge interrupt on exit\"",
              "ENTC_PI_NEEDS_ACK_ON_EXIT PI_ENTRY_NEEDS_ACK"),
          .reject = EDITS(OFF(EXIT, ACKNOWLEDGE_INTERRUPT)),
          .outcome = BAD_CONTROLS },
        { ROW("external", "posted interrupts need external-interrupt exiting",
              "PI_ENTRY_NEEDS_EXTINT"),
          .reject = EDITS(OFF(PIN, EXTERNAL_INTERRUPT_EXITING)),
          .outcome = BAD_CONTROLS },
        { ROW("vector.0", "notification vector 0",
              "ENTC_PI_NOTIFICATION_VECTOR PI_ENTRY_VECTOR_RANGE"),
          .accept = EDITS(SET(POSTED_INTERRUPT_VECTOR, 0)),
          .reject = EDITS(SET(POSTED_INTERRUPT_VECTOR, 0x100)),
          .outcome = BAD_CONTROLS },
        { ROW("vector.15", "notification vector 15",
              "ENTC_PI_NOTIFICATION_VECTOR PI_ENTRY_VECTOR_RANGE"),
          .accept = EDITS(SET(POSTED_INTERRUPT_VECTOR, 15)),
          .reject = EDITS(SET(POSTED_INTERRUPT_VECTOR, 0x10f)),
          .outcome = BAD_CONTROLS },
        { ROW("vector.ones", "notification vector FFFFH",
              "ENTC_PI_NOTIFICATION_VECTOR PI_ENTRY_VECTOR_RANGE"),
          .accept = EDITS(SET(POSTED_INTERRUPT_VECTOR, 0xff)),
          .reject = EDITS(SET(POSTED_INTERRUPT_VECTOR, 0xffff)),
          .outcome = BAD_CONTROLS },
        { ROW("vector.off", "notification vector FFFFH without posted interrupts",
              "ENTC_PI_NOTIFICATION_VECTOR_IGNORED PI_ENTRY_UNCHECKED_WHEN_OFF"),
          .accept = EDITS(OFF(PIN, PROCESS_POSTED_INTERRUPTS),
                          SET(POSTED_INTERRUPT_VECTOR, 0xffff)),
          .reject = EDITS(SET(POSTED_INTERRUPT_VECTOR, 0xffff)),
          .outcome = BAD_CONTROLS },
};

TABLE(posted, posted_probes, .id = "entry.controls.posted-interrupts",
      .title = "checks on posted interrupts", .sdm = SDM, .needs = PI_NEEDS)
{
        struct probe p = *(const struct probe *)case_row(self, row);

        p.given = EDITS(WITH_POSTED_INTERRUPTS);
        probe_check(self, &p);
}

/* IPI virtualization. */
#define IPIV_NEEDS "activate-tertiary-controls ipi-virtualization use-tpr-shadow"
#define WITH_IPIV                                                       \
        WITH_TPR_SHADOW, WITH_TERTIARY(TERTIARY(IPI_VIRTUALIZATION)),   \
        CALC(PID_POINTER_TABLE, new_page), SET(LAST_PID_POINTER_INDEX, 0)

ADDRESS_CHECK(pid_table, "entry.controls.pid-pointer-table", IPIV_NEEDS,
              "the PID-pointer table address",
              "ENTC_PID_POINTER_TABLE_ALIGN IPIV_ENTRY_TABLE_ALIGN "
              "ENTC_PID_POINTER_TABLE_WIDTH IPIV_ENTRY_TABLE_WIDTH",
              "ENTC_PID_POINTER_TABLE_IGNORED",
              .field = VMCS_PID_POINTER_TABLE, .low = 3,
              .active = EDITS(WITH_IPIV),
              .inactive = EDITS(SET(LAST_PID_POINTER_INDEX, 0xffff)))

/* The last entry at the end of the physical address space, and behind it. */
static struct vmx_result enter_with_table(u64 below_end, u16 index)
{
        struct vm *vm = vm_begin(GUEST_NATIVE);

        vmcs_edit(EDITS(WITH_IPIV, GUEST_DEFECT));
        vmwrite(VMCS_PID_POINTER_TABLE,
                (1ull << control_address_width()) - below_end);
        vmwrite(VMCS_LAST_PID_POINTER_INDEX, index);
        vm_poison(VMERR_ENTRY_CONTROLS);
        return vm_enter(vm);
}

CASE(last_entry, .id = "entry.controls.pid-pointer-table.last-entry",
     .title = "the last entry of the PID-pointer table is inside the width",
     .sdm = SDM,
     .rules = "ENTC_PID_POINTER_TABLE_LAST_ENTRY IPIV_ENTRY_TABLE_WIDTH",
     .needs = IPIV_NEEDS)
{
        CHECK_RESULT("one entry at the end", enter_with_table(8, 0), BAD_GUEST);
        CHECK_RESULT("two entries", enter_with_table(8, 1), BAD_CONTROLS);
        CHECK_RESULT("65,536 entries at the end",
                     enter_with_table(0x80000, 0xffff), BAD_GUEST);
        CHECK_RESULT("one entry more", enter_with_table(0x7fff8, 0xffff),
                     BAD_CONTROLS);
}

static u64 garbage(__attribute__((unused)) u64 old)
{
        u64 page = new_page(0);

        for (unsigned i = 0; i < 512; i++)
                ((u64 *)(ulong)page)[i] = ~0ull;
        return page;
}

static const struct probe ipi_probes[] = {
        { ROW("tpr-shadow", "IPI virtualization needs the TPR shadow",
              "ENTC_IPIV_NEEDS_TPR_SHADOW IPIV_ENTRY_NEEDS_TPRSHADOW"),
          .given = EDITS(WITH_IPIV), .reject = EDITS(OFF(PRIMARY, USE_TPR_SHADOW)),
          .outcome = BAD_CONTROLS },
        { ROW("alone", "IPI virtualization needs nothing but the TPR shadow",
              "ENTC_IPIV_WITHOUT_VID_OK"),
          .accept = EDITS(WITH_IPIV) },
        { ROW("alone.inactive-secondary",
              "IPI virtualization needs no secondary control",
              "ENTC_IPIV_WITHOUT_VID_OK"),
          .accept = EDITS(WITH_IPIV, OFF(PRIMARY, ACTIVATE_SECONDARY)) },
        { ROW("content", "entries of the PID-pointer table are not checked",
              "ENTC_PID_POINTER_CONTENT_NOT_CHECKED"),
          .accept = EDITS(WITH_IPIV, CALC(PID_POINTER_TABLE, garbage),
                          SET(LAST_PID_POINTER_INDEX, 0xffff)) },
        { ROW("inactive", "the table is not checked, tertiary controls inactive",
              "ENTC_PID_POINTER_TABLE_IGNORED"),
          .given = EDITS(WITH_IPIV, SET(PID_POINTER_TABLE, ~0ull)),
          .accept = EDITS(OFF(PRIMARY, ACTIVATE_TERTIARY)),
          .outcome = BAD_CONTROLS },
};

PROBES(ipi, ipi_probes, .id = "entry.controls.ipi-virtualization",
       .title = "checks on IPI virtualization", .sdm = SDM, .needs = IPIV_NEEDS)

/*
 * APIC-timer virtualization. Its fields have no encoding in Appendix B yet: the
 * cases are skipped where the processor does not have them where they are
 * expected.
 */
#define TIMER_NEEDS                                                     \
        "activate-tertiary-controls apic-timer-virtualization "         \
        "virtual-interrupt-delivery use-tpr-shadow "                    \
        "external-interrupt-exiting rdtsc-exiting"
#define TIMER WITH_TERTIARY(TERTIARY(APIC_TIMER_VIRTUALIZATION))
#define VECTOR(v) SET(VIRTUAL_TIMER_VECTOR, v)

static bool timer_fields(void)
{
        vm_begin(GUEST_NATIVE);
        if (vmcs_has(VMCS_VIRTUAL_TIMER_VECTOR))
                return true;
        case_skip("no field for the virtual timer vector at 000AH");
        return false;
}

FAMILY(timer_vector_bits, 16, .id = "entry.controls.virtual-timer-vector.bit",
       .title = "bits 15:8 of the virtual timer vector must be 0", .sdm = SDM,
       .rules = "ENTC_APIC_TIMER_VIRT_VECTOR PI_TIMV_ENTRY_VECTOR "
                "ENTC_APIC_TIMER_VECTOR_LOW_OK",
       .needs = TIMER_NEEDS)
{
        struct probe p = {
                .given = EDITS(WITH_VIRTUAL_INTERRUPTS, TIMER, GUEST_DEFECT),
                .accepted = BAD_GUEST,
                .accept = EDITS(VECTOR(row < 8 ? BIT(row) : 0xff)),
                .reject = EDITS(VECTOR(row < 8 ? 0x100 | BIT(row) : BIT(row))),
                .outcome = BAD_CONTROLS,
        };

        if (timer_fields())
                probe_check(self, &p);
}

static const struct probe timer_probes[] = {
        { ROW("virtual-interrupts", "it needs virtual-interrupt delivery",
              "ENTC_APIC_TIMER_VIRT_NEEDS_VID PI_TIMV_ENTRY_VID"),
          .given = EDITS(WITH_VIRTUAL_INTERRUPTS, TIMER, GUEST_DEFECT),
          .reject = EDITS(OFF(SECONDARY, VIRTUAL_INTERRUPT_DELIVERY)) },
        { ROW("rdtsc-exiting", "it excludes \"RDTSC exiting\"",
              "ENTC_APIC_TIMER_VIRT_FORBIDS_RDTSC_EXITING PI_TIMV_ENTRY_RDTSC"),
          .given = EDITS(WITH_VIRTUAL_INTERRUPTS, TIMER, GUEST_DEFECT),
          .reject = EDITS(OR(PRIMARY_CONTROLS, CTL_PRIMARY_RDTSC_EXITING)) },
        { ROW("off", "without it nothing of this is checked",
              "ENTC_APIC_TIMER_VIRT_IGNORED"),
          .given = EDITS(VECTOR(0xffff), GUEST_DEFECT,
                         OR(PRIMARY_CONTROLS, CTL_PRIMARY_RDTSC_EXITING)),
          .reject = EDITS(TIMER) },
        { ROW("off.virtual-interrupts", "the same with virtual interrupts",
              "ENTC_APIC_TIMER_VIRT_IGNORED"),
          .given = EDITS(VECTOR(0xffff), GUEST_DEFECT, WITH_VIRTUAL_INTERRUPTS),
          .reject = EDITS(TIMER) },
        { ROW("vector.0", "virtual timer vector 0", "ENTC_APIC_TIMER_VECTOR_LOW_OK"),
          .given = EDITS(WITH_VIRTUAL_INTERRUPTS, TIMER, GUEST_DEFECT),
          .accept = EDITS(VECTOR(0)), .reject = EDITS(VECTOR(0x100)) },
        { ROW("deadline", "guest deadline and its shadow: any value",
              "ENTC_APIC_TIMER_VECTOR_LOW_OK"),
          .given = EDITS(WITH_VIRTUAL_INTERRUPTS, TIMER, GUEST_DEFECT,
                         SET(GUEST_DEADLINE, ~0ull),
                         SET(GUEST_DEADLINE_SHADOW, ~0ull)),
          .accept = EDITS(VECTOR(15)), .reject = EDITS(VECTOR(0x10f)) },
};

TABLE(timer, timer_probes, .id = "entry.controls.apic-timer-virtualization",
      .title = "checks on APIC-timer virtualization", .sdm = SDM,
      .needs = TIMER_NEEDS)
{
        struct probe p = *(const struct probe *)case_row(self, row);

        p.accepted = RESULT(BAD_GUEST);
        p.outcome = RESULT(BAD_CONTROLS);
        if (timer_fields())
                probe_check(self, &p);
}
