/*
 * SDM Vol. 3, VM Entries > Checks on VMX Controls > VM-Entry Control Fields:
 * fields for event injection: the error code, nested exceptions, FRED.
 *
 * The guest state is invalid throughout, so that no event is delivered.
 */
#include "x86/vmx/caps.h"
#include "x86/vmx/control_check.h"
#include "x86/vmx/event.h"

#define SDM SDM_ENTRY_CONTROLS
#define CR4_FRED BIT(32)

#define INFO(v) SET(ENTRY_INTERRUPTION_INFO, v)
#define ERROR(v) SET(ENTRY_EXCEPTION_ERROR_CODE, v)
#define LENGTH(v) SET(ENTRY_INSTRUCTION_LENGTH, v)

/* One injection into a guest in @mode, with @given before it. */
static struct vmx_result inject(enum guest_mode mode, const struct edit *given,
                                u32 info, u32 error)
{
        struct vm *vm = vm_begin(mode);

        vmcs_edit(given);
        vmwrite(VMCS_ENTRY_INTERRUPTION_INFO, info);
        vmwrite(VMCS_ENTRY_EXCEPTION_ERROR_CODE, error);
        vmwrite(VMCS_ENTRY_INSTRUCTION_LENGTH, 1);
        vmcs_edit(EDITS(GUEST_DEFECT));
        vm_poison(VMERR_ENTRY_CONTROLS);
        return vm_enter(vm);
}

static void passes(enum guest_mode mode, const struct edit *given, u32 info,
                   u32 error)
{
        CHECK_RESULT("VM entry that injects a valid event",
                     inject(mode, given, info, error), BAD_GUEST);
}

static void refused(enum guest_mode mode, const struct edit *given, u32 info,
                    u32 error)
{
        CHECK_RESULT("VM entry that injects an invalid event",
                     inject(mode, given, info, error), BAD_CONTROLS);
}

/* The exceptions that have one: #DF, #TS, #NP, #SS, #GP, #PF, #AC. */
static bool has_error_code(unsigned vector)
{
        return vector == 8 || (vector >= 10 && vector <= 14) || vector == 17;
}

static void vector_with_fixed_code(enum guest_mode mode,
                                   const struct edit *given, unsigned vector)
{
        u32 with = HARDWARE_CODE(vector), without = HARDWARE(vector);

        passes(mode, given, has_error_code(vector) ? with : without, 0);
        refused(mode, given, has_error_code(vector) ? without : with, 0);
}

#define DEC_RULES "ENTC_INJ_DEC_REQUIRED_VECTORS ENTC_INJ_DEC_FORBIDDEN_VECTORS"

FAMILY(fixed_code, 32, .id = "entry.injection.error-code.vector",
       .title = "an error code exactly for the exceptions that have one",
       .sdm = SDM, .rules = DEC_RULES, .needs = "!error-code-optional")
{
        vector_with_fixed_code(GUEST_NATIVE, NULL, row);
}

FAMILY(fixed_code_unrestricted, 32,
       .id = "entry.injection.error-code.unrestricted-pe-1.vector",
       .title = "an unrestricted guest with CR0.PE = 1: the same", .sdm = SDM,
       .rules = "ENTC_INJ_DEC_UNRESTRICTED_PE1",
       .needs = "!error-code-optional unrestricted-guest")
{
        vector_with_fixed_code(GUEST_PROTECTED, NULL, row);
}

FAMILY(free_code, 32, .id = "entry.injection.error-code-optional.vector",
       .title = "any exception with and without error code", .sdm = SDM,
       .rules = "ENTC_INJ_DEC_FREE_WITH_BASIC56",
       .needs = "error-code-optional")
{
        passes(GUEST_NATIVE, NULL, HARDWARE(row), 0);
        passes(GUEST_NATIVE, NULL, HARDWARE_CODE(row), 0);
}

FAMILY(no_code, 32, .id = "entry.injection.error-code.real-mode.vector",
       .title = "never an error code for a guest with CR0.PE = 0", .sdm = SDM,
       .rules = "ENTC_INJ_DEC_REAL_MODE_UNRESTRICTED",
       .needs = "unrestricted-guest")
{
        passes(GUEST_REAL, NULL, HARDWARE(row), 0);
        refused(GUEST_REAL, NULL, HARDWARE_CODE(row), 0);
}

/*
 * Unrestricted guest set, but secondary controls not active: as in protected
 * mode.
 */
FAMILY(inactive_code, 32, .id = "entry.injection.error-code.inactive.vector",
       .title = "\"unrestricted guest\" that is not active does not count",
       .sdm = SDM, .rules = "ENTC_INJ_DEC_SECONDARY_OFF",
       .needs = "!error-code-optional unrestricted-guest")
{
        vector_with_fixed_code(
                GUEST_NATIVE,
                EDITS(SET(SECONDARY_CONTROLS,
                          CTL_SECONDARY_UNRESTRICTED_GUEST |
                          CTL_SECONDARY_ENABLE_EPT),
                      CLEAR(PRIMARY_CONTROLS, CTL_PRIMARY_ACTIVATE_SECONDARY)),
                row);
}

/*
 * Guest CR0.PE = 0 without unrestricted guest is refused as guest state; the
 * editions differ on whether the error code may be refused before.
 */
FAMILY(pe_0, 2, .id = "entry.injection.error-code.pe-0",
       .title = "guest CR0.PE = 0 without unrestricted guest", .sdm = SDM,
       .rules = "ENTC_INJ_DEC_PE0_WITHOUT_UNRESTRICTED")
{
        const struct edit *real = EDITS(CLEAR(GUEST_CR0, CR0_PE));

        passes(GUEST_NATIVE, NULL, HARDWARE_CODE(13), 0);
        check_result_either(__FILE__, __LINE__, "VM entry that injects #GP",
                            inject(GUEST_NATIVE, real,
                                   row ? HARDWARE_CODE(13) : HARDWARE(13), 0),
                            RESULT(BAD_CONTROLS), RESULT(BAD_GUEST));
}

#define NO_CODE(id_, info, needs_)                                            \
        { ROW(id_, "an error code with another event than an exception",      \
              "ENTC_INJ_DEC_ONLY_HW_EXCEPTION", needs_),                      \
          .given = EDITS(GUEST_DEFECT, LENGTH(1)), .accepted = BAD_GUEST,     \
          .accept = EDITS(INFO(info)),                                        \
          .reject = EDITS(INFO((info) | EVENT_HAS_ERROR)),                    \
          .outcome = BAD_CONTROLS }
#define NOT_NESTED(id_, info, needs_)                                         \
        { ROW(id_, "a nested exception that is no exception",                 \
              "ENTC_INJ_NESTED_BIT13_ONLY_HW_EXCEPTION",                      \
              "nested-exception" needs_),                                     \
          .given = EDITS(GUEST_DEFECT, LENGTH(1)), .accepted = BAD_GUEST,     \
          .accept = EDITS(INFO(info)),                                        \
          .reject = EDITS(INFO((info) | BIT(13))), .outcome = BAD_CONTROLS }
/* Valid for a guest that uses FRED, of which only CR4.FRED is looked at. */
#define FRED(id_, what, rules_, needs_, length, vector)                       \
        { ROW(id_, what, rules_, "fred host64" needs_),                       \
          .given = EDITS(GUEST_DEFECT, OR(GUEST_CR4, CR4_FRED)),              \
          .accepted = BAD_GUEST,                                              \
          .accept = EDITS(INFO(EVENT(7, vector)), LENGTH(length)) }
#define FRED_LENGTHS "ENTC_INJ_TYPE_7_FRED_LENGTH_MAX"
#define FRED_TOO_LONG(id_, vector, length)                                    \
        { ROW(id_, "SYSCALL or SYSENTER of an impossible length",             \
              FRED_LENGTHS, "fred host64"),                                   \
          .given = EDITS(GUEST_DEFECT, OR(GUEST_CR4, CR4_FRED),               \
                         INFO(EVENT(7, vector))),                             \
          .accepted = BAD_GUEST, .accept = EDITS(LENGTH(15)),                 \
          .reject = EDITS(LENGTH(length)), .outcome = BAD_CONTROLS }
#define FRED_LENGTH_0(id_, vector)                                            \
        { ROW(id_ ".refused", "length 0 without IA32_VMX_MISC[30]",           \
              "ENTC_INJ_TYPE_7_FRED_LENGTH_ZERO",                             \
              "fred host64 !inject-length-0"),                                \
          .given = EDITS(GUEST_DEFECT, OR(GUEST_CR4, CR4_FRED),               \
                         INFO(EVENT(7, vector))),                             \
          .accepted = BAD_GUEST, .accept = EDITS(LENGTH(1)),                  \
          .reject = EDITS(LENGTH(0)), .outcome = BAD_CONTROLS },              \
        FRED(id_ ".allowed", "length 0 with IA32_VMX_MISC[30]",               \
             "ENTC_INJ_TYPE_7_FRED_LENGTH_ZERO", " inject-length-0", 0, vector)
#define FRED_VECTOR(id_, vector)                                              \
        { ROW(id_, "type 7, a vector that FRED does not have",                \
              "ENTC_INJ_TYPE_7_FRED_VECTORS", "fred host64"),                 \
          .given = EDITS(GUEST_DEFECT, OR(GUEST_CR4, CR4_FRED), LENGTH(1)),   \
          .accepted = BAD_GUEST, .accept = EDITS(INFO(EVENT(7, 1))),          \
          .reject = EDITS(INFO(EVENT(7, vector))), .outcome = BAD_CONTROLS }
#define FRED_ONLY(id_, vector)                                                \
        { ROW(id_, "type 7, a vector for guests that use FRED",               \
              "ENTC_INJ_TYPE_7_FRED_VECTORS", "fred host64"),                 \
          .given = EDITS(GUEST_DEFECT, INFO(EVENT(7, vector)), LENGTH(1)),    \
          .accepted = BAD_GUEST,                                              \
          .accept = EDITS(OR(GUEST_CR4, CR4_FRED)), .outcome = BAD_CONTROLS }

static const struct probe probes[] = {
        NO_CODE("error-code.external", EXTERNAL(13), NULL),
        NO_CODE("error-code.nmi", NMI, NULL),
        NO_CODE("error-code.int-n", INT_N(13), NULL),
        NO_CODE("error-code.privileged", INT1_TRAP, NULL),
        NO_CODE("error-code.software", SOFTWARE(3), NULL),
        NO_CODE("error-code.other-event", PENDING_MTF, "monitor-trap-flag"),
        { ROW("error-code.unused", "without error code its field is not checked",
              "ENTC_INJ_ERROR_CODE_IGNORED", "!error-code-optional"),
          .given = EDITS(GUEST_DEFECT, ERROR(~0u)), .accepted = BAD_GUEST,
          .accept = EDITS(INFO(HARDWARE(6))),
          .reject = EDITS(INFO(HARDWARE_CODE(13))), .outcome = BAD_CONTROLS },
        { ROW("error-code.unused-nmi",
              "without error code its field is not checked",
              "ENTC_INJ_ERROR_CODE_IGNORED"),
          .given = EDITS(GUEST_DEFECT, ERROR(~0u)), .accepted = BAD_GUEST,
          .accept = EDITS(INFO(NMI)),
          .reject = EDITS(INFO(HARDWARE_CODE(13))), .outcome = BAD_CONTROLS },
        { ROW("nested", "nested exception, where it is supported",
              "ENTC_INJ_NESTED_EXCEPTION_BIT13", "nested-exception"),
          .given = EDITS(GUEST_DEFECT), .accepted = BAD_GUEST,
          .accept = EDITS(INFO(HARDWARE_CODE(13) | BIT(13))) },
        { ROW("not-nested", "nested exception, where it is not supported",
              "ENTC_INJ_NESTED_EXCEPTION_BIT13", "!nested-exception"),
          .given = EDITS(GUEST_DEFECT, INFO(HARDWARE_CODE(13))),
          .accepted = BAD_GUEST,
          .reject = EDITS(OR(ENTRY_INTERRUPTION_INFO, BIT(13))),
          .outcome = BAD_CONTROLS },
        NOT_NESTED("nested.external", EXTERNAL(0x30), ""),
        NOT_NESTED("nested.nmi", NMI, ""),
        NOT_NESTED("nested.int-n", INT_N(0x80), ""),
        NOT_NESTED("nested.privileged", INT1_TRAP, ""),
        NOT_NESTED("nested.software", SOFTWARE(3), ""),
        NOT_NESTED("nested.other-event", PENDING_MTF, " monitor-trap-flag"),
        FRED("fred.syscall", "SYSCALL for a guest that uses FRED",
             "ENTC_INJ_TYPE_7_FRED_VECTORS ENTC_INJ_TYPE_7_VECTOR0_NEEDS_MTF",
             "", 2, 1),
        FRED("fred.sysenter", "SYSENTER for a guest that uses FRED",
             "ENTC_INJ_TYPE_7_FRED_VECTORS", "", 15, 2),
        FRED("fred.pending-mtf", "a pending MTF VM exit for a guest that uses FRED",
             "ENTC_INJ_TYPE_7_FRED_VECTORS", " monitor-trap-flag", 0, 0),
        FRED_VECTOR("fred.vector-3", 3), FRED_VECTOR("fred.vector-255", 255),
        FRED_ONLY("fred.syscall-idt", 1), FRED_ONLY("fred.sysenter-idt", 2),
        FRED_TOO_LONG("fred.length.syscall-16", 1, 16),
        FRED_TOO_LONG("fred.length.syscall-bit-31", 1, BIT(31)),
        FRED_TOO_LONG("fred.length.syscall-ones", 1, ~0u),
        FRED_TOO_LONG("fred.length.sysenter-16", 2, 16),
        FRED_TOO_LONG("fred.length.sysenter-bit-31", 2, BIT(31)),
        FRED_TOO_LONG("fred.length.sysenter-ones", 2, ~0u),
        FRED_LENGTH_0("fred.length-0.syscall", 1),
        FRED_LENGTH_0("fred.length-0.sysenter", 2),
        { ROW("event-data", "injected-event data: any value",
              "ENTC_INJ_EVENT_DATA_ANY", "fred"),
          .given = EDITS(GUEST_DEFECT, INFO(NMI)), .accepted = BAD_GUEST,
          .accept = EDITS(SET(INJECTED_EVENT_DATA, ~0ull)) },
        { ROW("event-data-fred", "injected-event data of a FRED guest: any value",
              "ENTC_INJ_EVENT_DATA_ANY", "fred host64"),
          .given = EDITS(GUEST_DEFECT, INFO(NMI), OR(GUEST_CR4, CR4_FRED)),
          .accepted = BAD_GUEST,
          .accept = EDITS(SET(INJECTED_EVENT_DATA, ~0ull)) },
};

PROBES(error_probes, probes, .id = "entry.injection",
       .title = "error codes and nested exceptions", .sdm = SDM)

/* Bit 15 was reserved once; see the SDM of 2018. */
FAMILY(code_bits, 32, .id = "entry.injection.error-code.bit",
       .title = "bits 31:16 of the error code must be 0", .sdm = SDM,
       .rules = "ENTC_INJ_ERROR_CODE_HIGH_BITS")
{
        const u32 info = HARDWARE_CODE(13);

        passes(GUEST_NATIVE, NULL, info, row < 15 ? 1u << row : 0x7fff);
        if (row > 15)
                refused(GUEST_NATIVE, NULL, info, 1u << row);
}

/* Delivered by the IDT a nested exception is like any other. */
CASE(nested_delivery, .id = "entry.injection.nested.delivery",
     .title = "the nested-exception bit changes nothing without FRED",
     .sdm = SDM, .rules = "ENTC_INJ_NESTED_BIT13_NOT_FRED_NO_EFFECT",
     .needs = "nested-exception")
{
        for (unsigned nested = 0; nested < 2; nested++) {
                struct vm *vm = vm_begin(GUEST_NATIVE);
                struct guest_event event;

                vmwrite(VMCS_ENTRY_INTERRUPTION_INFO,
                        HARDWARE_CODE(13) | nested << 13);
                vmwrite(VMCS_ENTRY_EXCEPTION_ERROR_CODE, 0x1234);
                vm_poison(VMERR_ENTRY_CONTROLS);
                CHECK_RESULT("VM entry", vm_enter(vm), EXITS(EXIT_VMCALL));
                if (!CHECK("event delivered", vm_event(vm, &event), "none"))
                        continue;
                CHECK_EQ("vector", event.vector, 13);
                CHECK_EQ("error code", event.error, 0x1234);
                CHECK_EQ("saved RIP", event.rip, vm->entry_rip);
        }
}
