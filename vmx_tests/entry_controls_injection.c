/*
 * SDM Vol. 3, VM Entries > Checks on VMX Controls > VM-Entry Control Fields:
 * fields for event injection: type, vector, reserved bits, instruction length.
 * The error code: entry_controls_injection_errors.c.
 *
 * The guest state is invalid throughout, so that no event is delivered.
 */
#include "x86/vmx/caps.h"
#include "x86/vmx/control_check.h"
#include "x86/vmx/event.h"

#define SDM SDM_ENTRY_CONTROLS

static struct vmx_result inject(u32 info, u32 error, u32 length)
{
        struct vm *vm = vm_begin(GUEST_NATIVE);

        vmwrite(VMCS_ENTRY_INTERRUPTION_INFO, info);
        vmwrite(VMCS_ENTRY_EXCEPTION_ERROR_CODE, error);
        vmwrite(VMCS_ENTRY_INSTRUCTION_LENGTH, length);
        vmcs_edit(EDITS(GUEST_DEFECT));
        vm_poison(VMERR_ENTRY_CONTROLS);
        return vm_enter(vm);
}

static void passes(u32 info, u32 error, u32 length)
{
        CHECK_RESULT("VM entry that injects a valid event",
                     inject(info, error, length), BAD_GUEST);
}

static void refused(u32 info, u32 error, u32 length)
{
        CHECK_RESULT("VM entry that injects an invalid event",
                     inject(info, error, length), BAD_CONTROLS);
}

FAMILY(nmi_vectors, 256, .id = "entry.injection.nmi.vector",
       .title = "an injected NMI has vector 2", .sdm = SDM,
       .rules = "ENTC_INJ_NMI_VECTOR")
{
        passes(NMI, 0, 0);
        if (row != 2)
                refused(EVENT(2, row), 0, 0);
}

/* With the error code that the vector has, or none. */
static u32 exception(unsigned vector)
{
        const u32 with_code = 1u << 8 | 1u << 10 | 1u << 11 | 1u << 12 |
                              1u << 13 | 1u << 14 | 1u << 17;

        return vector < 32 && with_code >> vector & 1 ? HARDWARE_CODE(vector)
                                                      : HARDWARE(vector);
}

FAMILY(exception_vectors, 256, .id = "entry.injection.exception.vector",
       .title = "an injected hardware exception has a vector up to 31",
       .sdm = SDM, .rules = "ENTC_INJ_HW_EXCEPTION_VECTOR")
{
        passes(exception(row & 31), 0, 0);
        if (row > 31) {
                refused(HARDWARE(row), 0, 0);
                refused(HARDWARE_CODE(row), 0, 0);
        }
}

FAMILY(other_vectors, 256, .id = "entry.injection.other-event.vector",
       .title = "an injected event of type 7 has vector 0", .sdm = SDM,
       .rules = "ENTC_INJ_TYPE_7_VECTOR", .needs = "monitor-trap-flag")
{
        passes(PENDING_MTF, 0, 1);
        if (row)
                refused(EVENT(7, row), 0, 1);
}

FAMILY(reserved_type_vectors, 8, .id = "entry.injection.type-1.vector-bit",
       .title = "event type 1 is reserved", .sdm = SDM,
       .rules = "ENTC_INJ_TYPE_1_RESERVED")
{
        passes(EVENT(0, 1u << row), 0, 1);
        refused(EVENT(1, 1u << row), 0, 1);
}

static const struct event_row {
        struct row head;
        u32 info, error, length;
} reserved_rows[] = {
        { ROW("type-1.vector-2", "type 1, the vector of NMI",
              "ENTC_INJ_TYPE_1_RESERVED"), .info = EVENT(1, 2), .length = 1 },
        { ROW("type-1.vector-13", "type 1, the vector of #GP",
              "ENTC_INJ_TYPE_1_RESERVED"), .info = EVENT(1, 13), .length = 1 },
        { ROW("type-1.vector-0", "type 1, vector 0",
              "ENTC_INJ_TYPE_1_RESERVED"), .info = EVENT(1, 0), .length = 1 },
        { ROW("type-7.unsupported", "type 7 without monitor trap flag and FRED",
              "ENTC_INJ_TYPE_7_NEEDS_MTF_SUPPORT", "!monitor-trap-flag !fred"),
          .info = PENDING_MTF, .length = 1 },
        { ROW("type-7.vector-0-without-mtf",
              "type 7, vector 0 without monitor trap flag",
              "ENTC_INJ_TYPE_7_VECTOR0_NEEDS_MTF", "!monitor-trap-flag fred"),
          .info = PENDING_MTF, .length = 1 },
};

TABLE(reserved, reserved_rows, .id = "entry.injection",
      .title = "a reserved event type", .sdm = SDM)
{
        const struct event_row *r = case_row(self, row);

        passes(NMI, 0, 0);
        refused(r->info, r->error, r->length);
}

#define VALID(id_, info_, length_, rule, needs_)                        \
        { ROW(id_, "a valid event", rule, needs_), .info = info_,       \
          .length = length_ }
#define ANY_VECTOR(id_, type, vector)                                   \
        VALID("any-vector." id_, EVENT(type, vector), 1,                \
              "ENTC_INJ_OTHER_TYPES_ANY_VECTOR", NULL)
#define ANY_LENGTH(id_, info, needs_)                                   \
        VALID("any-length." id_ ".0", info, 0,                          \
              "ENTC_INJ_LENGTH_IGNORED_OTHER_TYPES", needs_),           \
        VALID("any-length." id_ ".ones", info, ~0u,                     \
              "ENTC_INJ_LENGTH_IGNORED_OTHER_TYPES", needs_)
#define CONVENTION "ENTC_INJ_SW_VECTOR_CONVENTION_NOT_CHECKED"

static const struct event_row valid_rows[] = {
        ANY_VECTOR("external.0", 0, 0), ANY_VECTOR("external.2", 0, 2),
        ANY_VECTOR("external.13", 0, 13), ANY_VECTOR("external.31", 0, 31),
        ANY_VECTOR("external.32", 0, 32), ANY_VECTOR("external.255", 0, 255),
        ANY_VECTOR("int-n.0", 4, 0), ANY_VECTOR("int-n.2", 4, 2),
        ANY_VECTOR("int-n.14", 4, 14), ANY_VECTOR("int-n.128", 4, 128),
        ANY_VECTOR("int-n.255", 4, 255),
        ANY_VECTOR("privileged.0", 5, 0), ANY_VECTOR("privileged.255", 5, 255),
        ANY_VECTOR("software.0", 6, 0), ANY_VECTOR("software.8", 6, 8),
        ANY_VECTOR("software.255", 6, 255),
        ANY_LENGTH("external", EXTERNAL(32), NULL), ANY_LENGTH("nmi", NMI, NULL),
        ANY_LENGTH("exception", HARDWARE(6), NULL),
        ANY_LENGTH("other-event", PENDING_MTF, "monitor-trap-flag"),
        VALID("type-7.mtf-off", PENDING_MTF, 0,
              "ENTC_INJ_TYPE_7_NEEDS_MTF_SUPPORT", "monitor-trap-flag"),
        VALID("convention.software-6", SOFTWARE(6), 1, CONVENTION, NULL),
        VALID("convention.software-1", SOFTWARE(1), 1, CONVENTION, NULL),
        VALID("convention.privileged-13", EVENT(5, 13), 1, CONVENTION, NULL),
        VALID("convention.privileged-3", EVENT(5, 3), 1, CONVENTION, NULL),
};

TABLE(valid, valid_rows, .id = "entry.injection",
      .title = "an event that the checks on controls pass", .sdm = SDM)
{
        const struct event_row *r = case_row(self, row);

        passes(r->info, r->error, r->length);
}

/* Without the valid bit nothing is checked; with it all of this is invalid. */
static const struct event_row not_valid_rows[] = {
        { ROW("ones", "all other bits 1"),
          .info = 0x7fffffff, .error = ~0u, .length = ~0u },
        { ROW("type-1", "a reserved type"), .info = 0x100 },
        { ROW("error-code", "an error code with reserved bits"),
          .info = 0xb0d, .error = 0x10000 },
        { ROW("length", "a length of 16"), .info = 0x403, .length = 16 },
};

TABLE(not_valid, not_valid_rows, .id = "entry.injection.not-valid",
      .title = "fields of an event that is not valid are not checked",
      .sdm = SDM, .rules = "ENTC_INJ_NOT_VALID_NO_CHECKS")
{
        const struct event_row *r = case_row(self, row);

        passes(r->info, r->error, r->length);
        refused(r->info | EVENT_VALID, r->error, r->length);
}

FAMILY(reserved_bits, 19, .id = "entry.injection.reserved-bit-12-plus",
       .title = "a reserved bit of the injected-event identification: 12 and up",
       .sdm = SDM, .rules = "ENTC_INJ_RESERVED_BITS")
{
        unsigned bit = 12 + row;

        passes(HARDWARE_CODE(13), 0, 0);
        if (bit != 13)
                refused(HARDWARE_CODE(13) | BIT(bit), 0, 0);
        else if (vmx_caps()->basic & CAP_NESTED_EXCEPTION)
                passes(HARDWARE_CODE(13) | BIT(bit), 0, 0);
        else
                refused(HARDWARE_CODE(13) | BIT(bit), 0, 0);
}

/* Bits 3:0 of the length alone are 1 to 8; 16 and more is too long. */
#define LENGTH_BITS(name, id_, info)                                          \
        FAMILY(name##_length, 32, .id = "entry.injection." id_ ".length-bit", \
               .title = "the VM-entry instruction length is at most 15",      \
               .sdm = SDM, .rules = "ENTC_INJ_LENGTH_MAX_15")                 \
        {                                                                     \
                passes(info, 0, row < 4 ? 1u << row : 15);                    \
                if (row >= 4)                                                 \
                        refused(info, 0, 1u << row);                          \
        }
LENGTH_BITS(int_n, "int-n", INT_N(0x80))
LENGTH_BITS(privileged, "privileged", INT1_TRAP)
LENGTH_BITS(software, "software", SOFTWARE(3))

static const struct event_row length_rows[] = {
        { ROW("int-n", "software interrupt"), .info = INT_N(0x80) },
        { ROW("privileged", "privileged software exception"),
          .info = INT1_TRAP },
        { ROW("software", "software exception"), .info = SOFTWARE(3) },
};

TABLE(length_odd, length_rows, .id = "entry.injection.length-odd",
      .title = "lengths whose low bits would be legal", .sdm = SDM,
      .rules = "ENTC_INJ_LENGTH_MAX_15")
{
        const struct event_row *r = case_row(self, row);

        passes(r->info, 0, 1);
        refused(r->info, 0, 0x10001);
        refused(r->info, 0, 0x101);
        refused(r->info, 0, ~0u);
}

TABLE(length_0_refused, length_rows, .id = "entry.injection.length-0-refused",
      .title = "VM-entry instruction length 0 without IA32_VMX_MISC[30]",
      .sdm = SDM, .rules = "ENTC_INJ_LENGTH_ZERO_NOT_ALLOWED",
      .needs = "!inject-length-0")
{
        const struct event_row *r = case_row(self, row);

        passes(r->info, 0, 1);
        refused(r->info, 0, 0);
}

TABLE(length_0_allowed, length_rows, .id = "entry.injection.length-0-allowed",
      .title = "VM-entry instruction length 0 with IA32_VMX_MISC[30]",
      .sdm = SDM, .rules = "ENTC_INJ_LENGTH_ZERO_ALLOWED",
      .needs = "inject-length-0")
{
        const struct event_row *r = case_row(self, row);

        passes(r->info, 0, 0);
        refused(r->info, 0, 16);
}
