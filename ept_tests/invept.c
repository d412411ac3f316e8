/*
 * SDM Vol. 3, VMX Instruction Reference > INVEPT: its types, its descriptor, and
 * how it fails. Where it is undefined or faults: invept_faults.c; what it
 * invalidates: invept_effect.c.
 */
#include "lib/check.h"
#include "x86/memory.h"
#include "x86/paging.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/control_check.h"
#include "x86/vmx/ept.h"
#include "x86/vmx/instr.h"
#include "x86/vmx/pointer.h"

#define SDM "VMX Instruction Reference > INVEPT"

#define SINGLE 1
#define ALL 2

/* What INVEPT with a current VMCS, and without one, does. */
static void check_both(const char *what, ulong type, const struct inv_descriptor *d,
                       bool succeeds)
{
        vm_begin(GUEST_NATIVE);
        vm_poison(VMERR_INVALIDATE_OPERAND);
        if (succeeds)
                CHECK_RESULT(what, invept(type, d), SUCCEED);
        else
                CHECK_RESULT(what, invept(type, d), FAIL_VALID(VMERR_INVALIDATE_OPERAND));
        begin_without_vmcs();
        if (succeeds)
                CHECK_RESULT(what, invept(type, d), SUCCEED);
        else
                CHECK_RESULT(what, invept(type, d), FAIL_INVALID);
        CHECK_EQ("current-VMCS pointer", current_vmcs(), NO_VMCS);
}

/* A valid EPTP that is in no VMCS. */
static struct inv_descriptor descriptor(void)
{
        return (struct inv_descriptor){ eptp_of(ept_new(), 0), 0 };
}

static ulong supported_type(void)
{
        return vmx_caps()->ept_vpid & CAP_INVEPT_SINGLE ? SINGLE : ALL;
}

struct type {
        struct row head;
        u64 type;
        bool succeeds;
};

static const struct type types[] = {
        { ROW("0", "type 0", "INS_INVEPT_TYPE_RANGE INS_INVEPT_NO_CURRENT", NULL), 0, false },
        { ROW("3", "type 3", "INS_INVEPT_TYPE_RANGE", NULL), 3, false },
        { ROW("4", "type 4", "INS_INVEPT_TYPE_RANGE", NULL), 4, false },
        { ROW("7fffffff", "type 7FFFFFFFH", "INS_INVEPT_TYPE_RANGE", NULL),
          0x7fffffff, false },
        { ROW("ffffffff", "type FFFFFFFFH", "INS_INVEPT_TYPE_RANGE", NULL),
          0xffffffff, false },
        { ROW("bit-32", "single-context with bit 32 set", "INS_INVEPT_TYPE_64BIT", "host64"),
          BIT(32) | SINGLE, false },
        { ROW("bit-63", "all-context with bit 63 set", "INS_INVEPT_TYPE_64BIT", "host64"),
          BIT(63) | ALL, false },
        { ROW("single", "single-context",
              "INS_INVEPT_TYPE_RANGE INS_INVEPT_1_SUCCESS", "invept-single"), SINGLE, true },
        { ROW("single-absent", "single-context where it is not supported",
              "INS_INVEPT_TYPE1_UNSUPPORTED", "!invept-single"), SINGLE, false },
        { ROW("all", "all-context", "INS_INVEPT_TYPE_RANGE INS_INVEPT_NO_CURRENT",
              "invept-all"), ALL, true },
        { ROW("all-absent", "all-context where it is not supported",
              "INS_INVEPT_TYPE2_UNSUPPORTED", "!invept-all"), ALL, false },
};

TABLE(type_values, types, .id = "invept.type", .title = "types of INVEPT", .sdm = SDM,
      .needs = "invept")
{
        const struct type *t = case_row(self, row);
        struct inv_descriptor d = descriptor();

        check_both("a type that is supported", supported_type(), &d, true);
        check_both("this type", (ulong)t->type, &d, t->succeeds);
}

/* Single-context INVEPT takes the EPTPs that VM entry takes. */
static void check_eptp(u64 eptp, bool valid)
{
        struct inv_descriptor good = descriptor(), d = { eptp, 0 };

        check_both("with a valid EPTP", SINGLE, &good, true);
        check_both("with this EPTP", SINGLE, &d, valid);
}

FAMILY(memory_type, 8, .id = "invept.eptp.memory-type",
       .title = "EPTP[2:0]: a memory type that the processor supports", .sdm = SDM,
       .rules = "INS_INVEPT_1_MEMTYPE", .needs = "invept invept-single")
{
        u64 caps = vmx_caps()->ept_vpid;
        bool valid = (row == 0 && caps & CAP_EPT_UC) || (row == 6 && caps & CAP_EPT_WB);

        check_eptp((descriptor().low & ~7ull) | row, valid);
}

FAMILY(walk, 8, .id = "invept.eptp.walk",
       .title = "EPTP[5:3]: a page-walk length that the processor supports, less 1",
       .sdm = SDM, .rules = "INS_INVEPT_1_WALK", .needs = "invept invept-single")
{
        u64 caps = vmx_caps()->ept_vpid;
        bool valid = (row == 3 && caps & CAP_EPT_WALK_4) ||
                     (row == 4 && caps & CAP_EPT_WALK_5);

        check_eptp((descriptor().low & ~BITS(5, 3)) | (u64)row << 3, valid);
}

CASE(ad, .id = "invept.eptp.accessed-dirty",
     .title = "EPTP[6] needs accessed and dirty flags for EPT", .sdm = SDM,
     .rules = "INS_INVEPT_1_AD", .needs = "invept invept-single")
{
        check_eptp(descriptor().low | EPTP_AD, vmx_caps()->ept_vpid & CAP_EPT_AD);
}

FAMILY(reserved, 5, .id = "invept.eptp.reserved",
       .title = "EPTP[11:7] must be 0, bit 7 but with supervisor shadow-stack control",
       .sdm = SDM, .rules = "INS_INVEPT_1_RESERVED", .needs = "invept invept-single")
{
        if (row == 0 && vmx_caps()->ept_vpid & CAP_EPT_SHADOW_STACK) {
                case_skip("bit 7 is not reserved on this processor");
                return;
        }
        check_eptp(descriptor().low | BIT(7 + row), false);
}

#define FIRST_ADDRESS_BIT 12

FAMILY(address, 64 - FIRST_ADDRESS_BIT, .id = "invept.eptp.address-bit",
       .title = "EPTP bits from MAXPHYADDR on must be 0, those below need not",
       .sdm = SDM, .rules = "INS_INVEPT_1_PAWIDTH INS_INVEPT_1_SUCCESS",
       .needs = "invept invept-single")
{
        unsigned bit = FIRST_ADDRESS_BIT + row;

        check_eptp((descriptor().low & BITS(FIRST_ADDRESS_BIT - 1, 0)) | BIT(bit),
                   bit < control_address_width());
}

CASE(ignored, .id = "invept.all.eptp-ignored",
     .title = "all-context INVEPT does not look at the EPTP", .sdm = SDM,
     .rules = "INS_INVEPT_2_EPTP_IGNORED", .needs = "invept invept-all")
{
        static const u64 eptps[] = { ~0ull, 0, 1, BIT(63) };

        for (unsigned i = 0; i < ARRAY_LEN(eptps); i++)
                check_both("with this EPTP", ALL, &(struct inv_descriptor){ eptps[i], 0 },
                           true);
}

struct reading {
        struct row head;
        ulong type;
        struct vmx_result outcome;
};

static const struct reading readings[] = {
        { ROW("single", "single-context reads its descriptor",
              "INS_INVEPT_MEM_PF", "invept-single"),
          SINGLE, FAULT_CODE(VEC_PF, 0) },
        { ROW("all", "all-context reads its descriptor", "INS_INVEPT_2_READS_DESC",
              "invept-all"), ALL, FAULT_CODE(VEC_PF, 0) },
        { ROW("unsupported", "an unsupported type fails before it is read",
              "INS_INVEPT_TYPE_BEFORE_OPERAND", NULL),
          0, FAIL_VALID(VMERR_INVALIDATE_OPERAND) },
};

TABLE(reads, readings, .id = "invept.descriptor",
      .title = "a descriptor in a page that is not present", .sdm = SDM,
      .needs = "invept")
{
        const struct reading *x = case_row(self, row);
        struct inv_descriptor *d = page_alloc(1);
        struct vmx_result r;

        *d = descriptor();
        vm_begin(GUEST_NATIVE);
        CHECK_RESULT("with the page present", invept(supported_type(), d), SUCCEED);
        vm_poison(x->outcome.kind == VMX_FAIL_VALID ? x->outcome.code : 0);
        paging_set(d, 0);
        r = invept(x->type, d);
        paging_set(d, PTE_P | PTE_W);
        check_result(__FILE__, (int)self->line, "with the page not present", r, x->outcome);
}
