/*
 * SDM Vol. 3, VMX Instruction Reference > INVVPID: its types, its descriptor,
 * and how it fails. Where it is undefined or faults: invvpid_faults.c; what it
 * invalidates: invvpid_effect.c.
 */
#include "lib/check.h"
#include "x86/memory.h"
#include "x86/paging.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/instr.h"
#include "x86/vmx/pointer.h"
#include "x86/vmx/probe.h"

#define SDM "VMX Instruction Reference > INVVPID"

enum { ADDRESS, SINGLE, ALL, RETAINING, TYPES };

#define VPID 0x1234u
#define BEYOND 0x8000000000000000ull /* not canonical, with 48 and with 57 bits */

static bool supports(ulong type)
{
        return type < TYPES && vmx_caps()->ept_vpid & (u64)CAP_INVVPID_ADDRESS << type;
}

static ulong supported_type(void)
{
        ulong type = ADDRESS;

        while (!supports(type) && type < TYPES)
                type++;
        return type;
}

/* What INVVPID with a current VMCS, and without one, does. */
static void check_both(const char *what, ulong type, u64 low, u64 high, bool succeeds)
{
        struct inv_descriptor d = { low, high };

        vm_begin(GUEST_NATIVE);
        vm_poison(VMERR_INVALIDATE_OPERAND);
        if (succeeds)
                CHECK_RESULT(what, invvpid(type, &d), SUCCEED);
        else
                CHECK_RESULT(what, invvpid(type, &d), FAIL_VALID(VMERR_INVALIDATE_OPERAND));
        begin_without_vmcs();
        if (succeeds)
                CHECK_RESULT(what, invvpid(type, &d), SUCCEED);
        else
                CHECK_RESULT(what, invvpid(type, &d), FAIL_INVALID);
        CHECK_EQ("current-VMCS pointer", current_vmcs(), NO_VMCS);
}

struct type {
        struct row head;
        u64 type;
        bool succeeds;
};

static const struct type types[] = {
        { ROW("4", "type 4", "INS_INVVPID_TYPE_RANGE INS_INVVPID_NO_CURRENT", NULL), 4, false },
        { ROW("5", "type 5", "INS_INVVPID_TYPE_RANGE", NULL), 5, false },
        { ROW("7fffffff", "type 7FFFFFFFH", "INS_INVVPID_TYPE_RANGE", NULL),
          0x7fffffff, false },
        { ROW("ffffffff", "type FFFFFFFFH", "INS_INVVPID_TYPE_RANGE", NULL),
          0xffffffff, false },
        { ROW("bit-32", "all-context with bit 32 set", "INS_INVVPID_TYPE_64BIT", "host64"),
          BIT(32) | ALL, false },
        { ROW("bit-63", "single-context with bit 63 set", "INS_INVVPID_TYPE_64BIT",
              "host64"), BIT(63) | SINGLE, false },
        { ROW("address", "individual-address",
              "INS_INVVPID_TYPE_RANGE INS_INVVPID_SUCCESS", "invvpid-address"),
          ADDRESS, true },
        { ROW("address-absent", "individual-address where it is not supported",
              "INS_INVVPID_TYPE0_UNSUPPORTED", "!invvpid-address"), ADDRESS, false },
        { ROW("single", "single-context", "INS_INVVPID_TYPE_RANGE INS_INVVPID_SUCCESS",
              "invvpid-single"), SINGLE, true },
        { ROW("single-absent", "single-context where it is not supported",
              "INS_INVVPID_TYPE1_UNSUPPORTED", "!invvpid-single"), SINGLE, false },
        { ROW("all", "all-context", "INS_INVVPID_TYPE_RANGE INS_INVVPID_SUCCESS",
              "invvpid-all"), ALL, true },
        { ROW("all-absent", "all-context where it is not supported",
              "INS_INVVPID_TYPE2_UNSUPPORTED", "!invvpid-all"), ALL, false },
        { ROW("retaining", "single-context, retaining globals",
              "INS_INVVPID_TYPE_RANGE INS_INVVPID_SUCCESS", "invvpid-retaining-globals"),
          RETAINING, true },
        { ROW("retaining-absent", "retaining globals where it is not supported",
              "INS_INVVPID_TYPE3_UNSUPPORTED", "!invvpid-retaining-globals"),
          RETAINING, false },
};

TABLE(type_values, types, .id = "invvpid.type", .title = "types of INVVPID", .sdm = SDM,
      .needs = "invvpid")
{
        const struct type *t = case_row(self, row);

        check_both("a type that is supported", supported_type(), VPID, 0, true);
        check_both("this type", (ulong)t->type, VPID, 0, t->succeeds);
}

#define FIRST_RESERVED 16

FAMILY(reserved, 64 - FIRST_RESERVED, .id = "invvpid.descriptor.bit",
       .title = "bits 63:16 of the descriptor must be 0 for every type", .sdm = SDM,
       .rules = "INS_INVVPID_DESC_63_16", .needs = "invvpid")
{
        for (ulong type = 0; type < TYPES; type++) {
                if (!supports(type))
                        continue;
                check_both("with bits 63:16 = 0", type, VPID, 0, true);
                check_both("with the bit", type, VPID | BIT(FIRST_RESERVED + row), 0, false);
        }
}

struct descriptor {
        struct row head;
        ulong type;
        u64 low, high;
        bool succeeds;
};

#define VPID_ROWS(T, name, token, zero)                                        \
        { ROW("vpid." name ".0", "VPID 0000H", "INS_INVVPID_TYPE" T, token),   \
          zero, 0, 0, false },                                                 \
        { ROW("vpid." name ".1", "VPID 0001H", "INS_INVVPID_TYPE" T, token),   \
          zero, 1, 0, true },                                                  \
        { ROW("vpid." name ".ffff", "VPID FFFFH", "INS_INVVPID_TYPE" T, token), \
          zero, 0xffff, 0, true }

#define CANONICAL(id, address, ok)                                             \
        { ROW("address." id, "a linear address", "INS_INVVPID_TYPE0_CANON",    \
              "invvpid-address"), ADDRESS, VPID, address, ok }

#define CANONICAL48(id, address, ok)                                           \
        { ROW("address." id, "a linear address, 48 bits wide",                 \
              "INS_INVVPID_TYPE0_CANON", "invvpid-address !la57"), ADDRESS,    \
          VPID, address, ok }

static const struct descriptor descriptors[] = {
        VPID_ROWS("0_VPID0", "address", "invvpid-address", ADDRESS),
        VPID_ROWS("1_VPID0", "single", "invvpid-single", SINGLE),
        VPID_ROWS("3_VPID0", "retaining", "invvpid-retaining-globals", RETAINING),
        { ROW("vpid.all.0", "VPID 0000H", "INS_INVVPID_TYPE2_VPID_ANY", "invvpid-all"),
          ALL, 0, 0, true },
        { ROW("vpid.all.1", "VPID 0001H", "INS_INVVPID_TYPE2_VPID_ANY", "invvpid-all"),
          ALL, 1, 0, true },
        { ROW("vpid.all.ffff", "VPID FFFFH", "INS_INVVPID_TYPE2_VPID_ANY", "invvpid-all"),
          ALL, 0xffff, 0, true },
        CANONICAL("0", 0, true),
        CANONICAL("lower-half", 0x00007fffffffffff, true),
        CANONICAL("upper-half", 0xffff800000000000, true),
        CANONICAL("all-ones", ~0ull, true),
        CANONICAL("bit-63-alone", BEYOND, false),
        CANONICAL("bit-63-clear", ~BEYOND, false),
        CANONICAL("bit-62-alone", BIT(62), false),
        /* Beside the canonical addresses of 57 bits; and of 48. */
        CANONICAL("bit-56-alone", 0x0100000000000000, false),
        CANONICAL("bit-56-clear", 0xfeffffffffffffff, false),
        CANONICAL48("bit-47-alone", 0x0000800000000000, false),
        CANONICAL48("bit-47-clear", 0xffff7fffffffffff, false),
        { ROW("address.above-32", "a linear address above 4 GBytes",
              "INS_INVVPID_32BIT_ADDR", "invvpid-address host32"),
          ADDRESS, VPID, BIT(32), true },
        { ROW("address.above-32-bad", "all 64 bits count outside IA-32e mode too",
              "INS_INVVPID_32BIT_ADDR", "invvpid-address host32"),
          ADDRESS, VPID, BEYOND, false },
        { ROW("address.single", "single-context does not look at the linear address",
              "INS_INVVPID_TYPE1_ADDR_IGNORED", "invvpid-single"),
          SINGLE, VPID, BEYOND, true },
        { ROW("address.all", "all-context does not look at the linear address",
              "INS_INVVPID_TYPE2_ADDR_IGNORED", "invvpid-all"), ALL, VPID, BEYOND, true },
        { ROW("address.retaining", "nor does single-context, retaining globals",
              "INS_INVVPID_TYPE3_ADDR_IGNORED", "invvpid-retaining-globals"),
          RETAINING, VPID, BEYOND, true },
        { ROW("two.reserved-vpid", "a reserved bit, and VPID 0000H", "INS_INVVPID_ORDER",
              "invvpid-address"), ADDRESS, BIT(16), 0, false },
        { ROW("two.vpid-address", "VPID 0000H, and an address that is not canonical",
              "INS_INVVPID_ORDER", "invvpid-address"), ADDRESS, 0, BEYOND, false },
};

TABLE(descriptor, descriptors, .id = "invvpid", .title = "descriptor of INVVPID",
      .sdm = SDM, .needs = "invvpid")
{
        const struct descriptor *d = case_row(self, row);

        check_both("a good descriptor", d->type, VPID, 0x1000, true);
        check_both("this descriptor", d->type, d->low, d->high, d->succeeds);
}

struct reading {
        struct row head;
        ulong type;
        struct vmx_result outcome;
};

#define FAULTS FAULT_CODE(VEC_PF, 0)

static const struct reading readings[] = {
        { ROW("address", "individual-address reads it", "INS_INVVPID_MEM_PF",
              "invvpid-address"),
          ADDRESS, FAULTS },
        { ROW("single", "single-context reads it", "INS_INVVPID_MEM_PF",
              "invvpid-single"),
          SINGLE, FAULTS },
        { ROW("all", "all-context reads it", "INS_INVVPID_2_READS_DESC", "invvpid-all"),
          ALL, FAULTS },
        { ROW("retaining", "retaining globals reads it", "INS_INVVPID_MEM_PF",
              "invvpid-retaining-globals"), RETAINING, FAULTS },
        { ROW("unsupported", "an unsupported type fails before it is read",
              "INS_INVVPID_TYPE_BEFORE_OPERAND INS_INVVPID_ORDER", NULL),
          TYPES, FAIL_VALID(VMERR_INVALIDATE_OPERAND) },
};

TABLE(reads, readings, .id = "invvpid.descriptor.absent",
      .title = "a descriptor in a page that is not present", .sdm = SDM,
      .needs = "invvpid")
{
        const struct reading *x = case_row(self, row);
        struct inv_descriptor *d = page_alloc(1);
        struct vmx_result r;

        *d = (struct inv_descriptor){ VPID, 0 };
        vm_begin(GUEST_NATIVE);
        CHECK_RESULT("with the page present", invvpid(supported_type(), d), SUCCEED);
        vm_poison(x->outcome.kind == VMX_FAIL_VALID ? x->outcome.code : 0);
        paging_set(d, 0);
        r = invvpid(x->type, d);
        paging_set(d, PTE_P | PTE_W);
        check_result(__FILE__, (int)self->line, "with the page not present", r, x->outcome);
}

#ifdef __x86_64__
#define CR3_LAM_U57 BIT(61)
#define TAG BITS(62, 57)     /* masked in addresses whose bit 63 is 0 */

/* Of the operand's own address, and of the one in the descriptor. */
CASE(lam, .id = "invvpid.lam",
     .title = "linear-address masking is for the operand's address alone", .sdm = SDM,
     .rules = "INS_MEM_LAM INS_MEM_LAM_NOT_DATA",
     .needs = "host64 lam invvpid invvpid-address")
{
        struct inv_descriptor *d = page_alloc(1);
        struct inv_descriptor *tagged = (struct inv_descriptor *)((ulong)d | TAG);
        ulong cr3 = read_cr3();

        *d = (struct inv_descriptor){ VPID, 0x1000 };
        vm_begin(GUEST_NATIVE);
        CHECK_RESULT("a tagged operand without masking", invvpid(ADDRESS, tagged),
                     FAULT_CODE(VEC_GP, 0));
        write_cr3(cr3 | CR3_LAM_U57);
        CHECK_RESULT("a tagged operand with masking", invvpid(ADDRESS, tagged), SUCCEED);
        d->high |= TAG;
        vm_poison(VMERR_INVALIDATE_OPERAND);
        CHECK_RESULT("a tagged address in the descriptor", invvpid(ADDRESS, d),
                     FAIL_VALID(VMERR_INVALIDATE_OPERAND));
        write_cr3(cr3);
}
#endif
