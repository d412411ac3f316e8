/*
 * SDM Vol. 3, VM Entries > Checks on Host Segment and Descriptor-Table
 * Registers.
 */
#include "x86/desc.h"
#include "x86/memory.h"
#include "x86/paging.h"
#include "x86/vmx/host_state.h"
#include "x86/vmx/instr.h"

#define SDM SDM_HOST_SEGMENTS

/*
 * A 32-bit host can not run with null data segments: its VM exits come here
 * first. In 64-bit mode they do no harm.
 */
#ifdef __x86_64__
#define SAFE_EXIT { .op = EDIT_END }
#else
asm(".pushsection .text\n"
    "host_segments_exit:\n"
    "push %eax\n"
    "mov $0x10, %eax\n"  /* SEL_DATA */
    "mov %eax, %ds\n"
    "mov %eax, %es\n"
    "pop %eax\n"
    "jmp vm_exit_asm\n"
    ".popsection\n");
extern const u8 host_segments_exit[];

static u64 safe_exit(__attribute__((unused)) u64 old)
{
        return (ulong)host_segments_exit;
}
#define SAFE_EXIT CALC(HOST_RIP, safe_exit)
#endif

/* RPL and TI, one bit each and all three. */
#define RPL_TI(id_, REG, bits)                                                \
        { ROW(id_ "." #bits, "RPL and TI of a host selector must be 0",       \
              "ENTH_SEL_" #REG "_RPL_TI"),                                    \
          .restore = host_restore,                                            \
          .reject = EDITS(OR(HOST_##REG##_SELECTOR, bits)), .outcome = BAD_HOST }
#define SELECTOR(id_, REG)                                                    \
        RPL_TI(id_, REG, 1), RPL_TI(id_, REG, 2), RPL_TI(id_, REG, 4),        \
        RPL_TI(id_, REG, 7)
#define NULL_DATA(id_, REG)                                                   \
        { ROW(id_ ".null", "a null host selector", "ENTH_SEL_DATA_NULL_OK"),  \
          .restore = host_restore, .given = EDITS(SAFE_EXIT),                 \
          .accept = EDITS(SET(HOST_##REG##_SELECTOR, 0)),                     \
          .reject = EDITS(SET(HOST_##REG##_SELECTOR, 3)), .outcome = BAD_HOST }
#define NOT_LOOKED_UP(id_, REG, value)                                        \
        { ROW("not-looked-up." id_, "a host selector outside the GDT",        \
              "ENTH_SEL_NOT_CHECKED_AGAINST_GDT"),                            \
          .restore = host_restore, .given = EDITS(SAFE_EXIT),                 \
          .accept = EDITS(SET(HOST_##REG##_SELECTOR, value)) }
#define NOT_NULL(id_, REG)                                                    \
        { ROW(id_ ".null", "host " #REG " must not be null",                  \
              "ENTH_SEL_" #REG "_NOT_NULL"),                                  \
          .restore = host_restore,                                            \
          .reject = EDITS(SET(HOST_##REG##_SELECTOR, 0)), .outcome = BAD_HOST }

static const struct probe selectors[] = {
        SELECTOR("cs", CS), SELECTOR("ss", SS), SELECTOR("ds", DS),
        SELECTOR("es", ES), SELECTOR("fs", FS), SELECTOR("gs", GS),
        SELECTOR("tr", TR),
        NOT_NULL("cs", CS), NOT_NULL("tr", TR),
        { ROW("ss.null.32-bit", "host SS must not be null in a 32-bit host",
              "ENTH_SEL_SS_NULL_32BIT", "host32"),
          .restore = host_restore, .reject = EDITS(SET(HOST_SS_SELECTOR, 0)),
          .outcome = BAD_HOST },
#define SS_NULL_RPL(rpl)                                                      \
        { ROW("ss.null.64-bit." #rpl, "host SS may be null in a 64-bit host", \
              "ENTH_SEL_SS_NULL_64BIT_OK", "host64"),                         \
          .restore = host_restore, .accept = EDITS(SET(HOST_SS_SELECTOR, 0)), \
          .reject = EDITS(SET(HOST_SS_SELECTOR, rpl)), .outcome = BAD_HOST }
        SS_NULL_RPL(1), SS_NULL_RPL(2), SS_NULL_RPL(3),
        NULL_DATA("ds", DS), NULL_DATA("es", ES), NULL_DATA("fs", FS),
        NULL_DATA("gs", GS),
        NOT_LOOKED_UP("cs", CS, 0xfff8), NOT_LOOKED_UP("ds", DS, 0xfff8),
        NOT_LOOKED_UP("tr", TR, 0xfff8), NOT_LOOKED_UP("ss", SS, 0xfff8),
        NOT_LOOKED_UP("cs-data", CS, SEL_DATA),
        NOT_LOOKED_UP("tr-code", TR, SEL_CODE),
        NOT_LOOKED_UP("ds-not-present", DS, SEL_SPARE),
        { ROW("same", "one selector for host CS, SS and TR", "ENTH_SEL_SAME_OK"),
          .restore = host_restore,
          .accept = EDITS(SET(HOST_CS_SELECTOR, SEL_CODE),
                          SET(HOST_SS_SELECTOR, SEL_CODE),
                          SET(HOST_TR_SELECTOR, SEL_CODE)) },
};

PROBES(selector_checks, selectors, .id = "entry.host.selector",
       .title = "checks on host selectors", .sdm = SDM)

/* A limit, an attribute and a base of their own, whatever the selector says. */
#define BASE(id_, REG)                                                        \
        FAMILY(REG##_base, 64, .id = "entry.host.base." id_ ".bit",           \
               .title = "the base of host " #REG " is canonical", .sdm = SDM, \
               .rules = "ENTH_BASE_" #REG "_CANONICAL ENTH_BASE_LA57_CPU_WIDTH", \
               .needs = "host64")                                             \
        {                                                                     \
                host_address_bit(self, VMCS_HOST_##REG##_BASE, NULL, row);    \
        }
BASE("fs", FS)
BASE("gs", GS)
BASE("gdtr", GDTR)
BASE("idtr", IDTR)
BASE("tr", TR)

/* The base is checked with a null selector too. */
static const struct probe null_base_probes[] = {
        { ROW("fs", "the base of host FS, its selector null",
              "ENTH_BASE_FS_CANONICAL"),
          .restore = host_restore, .given = EDITS(SET(HOST_FS_SELECTOR, 0)),
          .reject = EDITS(SET(HOST_FS_BASE, BIT(63))), .outcome = BAD_HOST },
        { ROW("gs", "the base of host GS, its selector null",
              "ENTH_BASE_GS_CANONICAL"),
          .restore = host_restore, .given = EDITS(SET(HOST_GS_SELECTOR, 0)),
          .reject = EDITS(SET(HOST_GS_BASE, BIT(63))), .outcome = BAD_HOST },
};

PROBES(null_bases, null_base_probes, .id = "entry.host.base.null",
       .title = "checks on host bases", .sdm = SDM, .needs = "host64")

/* No event comes while the tables are there. */
static const struct table_row {
        struct row head;
        u32 field;
} table_rows[] = {
        { ROW("gdtr", "host GDTR base"), .field = VMCS_HOST_GDTR_BASE },
        { ROW("idtr", "host IDTR base"), .field = VMCS_HOST_IDTR_BASE },
        { ROW("tr", "host TR base"), .field = VMCS_HOST_TR_BASE },
};

TABLE(unmapped, table_rows, .id = "entry.host.base.unmapped",
      .title = "a base in a page that is not present", .sdm = SDM,
      .rules = "ENTH_DESCRIPTOR_TABLE_CONTENT_NOT_CHECKED")
{
        const struct table_row *r = case_row(self, row);
        void *page = page_alloc(1);
        struct vm *vm = vm_begin(GUEST_NATIVE);
        struct vmx_result result;

        vmwrite(r->field, (ulong)page);
        vm_poison(VMERR_ENTRY_HOST_STATE);
        paging_set(page, 0);
        result = vm_enter(vm);
        host_restore();
        CHECK_RESULT("VM entry", result, EXITS(EXIT_VMCALL));
}

CASE(ldtr, .id = "entry.host.selector.ldtr", .title = "there is no host LDTR",
     .sdm = SDM, .rules = "ENTH_LDTR_NOT_IN_HOST_AREA")
{
        const ulong ldtr = VMCS_HOST_TR_SELECTOR + 2;

        vm_begin(GUEST_NATIVE);
        CHECK_RESULT("VMWRITE of host TR",
                     vmwrite_raw(VMCS_HOST_TR_SELECTOR, SEL_TSS), SUCCEED);
        CHECK_RESULT("VMWRITE of what would be host LDTR", vmwrite_raw(ldtr, 0),
                     FAIL_VALID(VMERR_UNSUPPORTED_FIELD));
}

/*
 * What the guest would do does not matter: this one never exits. The timer ends
 * it on a processor that does not check.
 */
PROGRAM(forever, NATIVE_BITS, "1: jmp 1b\n");

static const struct forever_row {
        struct row head;
        const struct edit *bad;
} forever_rows[] = {
        { ROW("tr", "host TR null"), .bad = EDITS(SET(HOST_TR_SELECTOR, 0)) },
        { ROW("cr4", "host CR4.VMXE 0"),
          .bad = EDITS(CLEAR(HOST_CR4, CR4_VMXE)) },
};

TABLE(never_exiting, forever_rows, .id = "entry.host.never-exiting",
      .title = "host state is checked for a guest that would run for ever",
      .sdm = "VM Entries > Checks on VMX Controls and Host-State Area",
      .rules = "ENTH_CHECKED_EVEN_IF_NEVER_EXITING",
      .needs = "activate-vmx-preemption-timer")
{
        const struct forever_row *r = case_row(self, row);

        for (unsigned bad = 0; bad < 2; bad++) {
                struct vm *vm = vm_begin(GUEST_NATIVE);
                struct vmx_result result;

                vmcs_edit(EDITS(OR(PIN_CONTROLS, CTL_PIN_ACTIVATE_PREEMPTION_TIMER),
                                SET(PREEMPTION_TIMER_VALUE, 0x10000000)));
                if (bad) {
                        vm_program(vm, forever);
                        vmwrite(VMCS_PREEMPTION_TIMER_VALUE, 0x100);
                        vmcs_edit(r->bad);
                }
                vm_poison(VMERR_ENTRY_HOST_STATE);
                result = vm_enter(vm);
                host_restore();
                if (bad)
                        CHECK_RESULT("VM entry with the field invalid", result,
                                     BAD_HOST);
                else
                        CHECK_RESULT("VM entry, valid, to a guest that exits",
                                     result, EXITS(EXIT_VMCALL));
        }
}
