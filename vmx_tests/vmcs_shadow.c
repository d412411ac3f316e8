/*
 * SDM Vol. 3, VMX Non-Root Operation > Instructions That Cause VM Exits
 * Conditionally, VMREAD and VMWRITE: when they exit, and when they are left to
 * the guest. What they then do: vmcs_shadow_access.c.
 */
#include "lib/check.h"
#include "lib/string.h"
#include "x86/memory.h"
#include "x86/vmx/event.h"
#include "x86/vmx/instr.h"
#include "x86/vmx/raw.h"
#include "x86/vmx/shadow.h"

#define SDM "VMX Non-Root Operation > Instructions That Cause VM Exits Conditionally"
#define SDM_PRIORITY "VMX Non-Root Operation > Relative Priority of Faults and VM Exits"
#define SDM_OVERVIEW "Virtual Machine Control Structures > Overview"

static const u32 exits[] = { EXIT_VMREAD, EXIT_VMWRITE };

/* The exit of a guest's VMREAD or VMWRITE in registers, with nothing done. */
static void check_exits(struct shadow *s, enum shadow_access access, u64 field,
                        const char *what)
{
        ulong rdx = s->vm->regs.rdx;
        struct vmx_result r = shadow_run(s, access, field);

        if (!CHECK_EXIT(what, r, EXITS(exits[access])))
                return;
        CHECK_VMCS(GUEST_RIP, s->vm->entry_rip);
        CHECK_VMCS(EXIT_INSTRUCTION_LENGTH, 3);
        CHECK_VMCS_MASKED(GUEST_RFLAGS, VMX_FLAGS, VMX_FLAGS);
        CHECK_EQ("RDX", s->vm->regs.rdx, rdx);
}

struct bitmap_field {
        struct row head;
        u32 encoding;
        u32 field;        /* of full access */
};

static const struct bitmap_field bitmap_fields[] = {
        { ROW("16-bit", "a 16-bit field", NULL, NULL),
          VMCS_GUEST_CS_SELECTOR, VMCS_GUEST_CS_SELECTOR },
        { ROW("64-bit", "a 64-bit field", NULL, NULL),
          VMCS_TSC_OFFSET, VMCS_TSC_OFFSET },
        { ROW("64-bit.high", "a 64-bit field, high access", NULL, NULL),
          VMCS_TSC_OFFSET | 1, VMCS_TSC_OFFSET },
        { ROW("32-bit", "a 32-bit field", NULL, NULL),
          VMCS_EXCEPTION_BITMAP, VMCS_EXCEPTION_BITMAP },
        { ROW("natural", "a natural-width field", NULL, NULL),
          VMCS_GUEST_RIP, VMCS_GUEST_RIP },
        { ROW("host", "the last field of the host state", NULL, NULL),
          VMCS_HOST_RIP, VMCS_HOST_RIP },
};

/* The field's bit alone decides: the others are set where it is clear. */
static void check_bit(const struct bitmap_field *f, enum shadow_access access)
{
        const u64 value = 0x12345678;
        struct shadow s = shadow_begin(GUEST_NATIVE);

        shadow_write(&s, f->field, 0x4321);
        memset(s.bitmap[access], 0xff, PAGE_SIZE);
        shadow_intercept(&s, access, f->encoding, false);
        s.vm->regs.rdx = (ulong)value;
        CHECK_RESULT("with its bit 0", shadow_run(&s, access, f->encoding), SUCCEED);
        shadow_write(&s, f->field, 0x4321);
        memset(s.bitmap[access], 0, PAGE_SIZE);
        shadow_intercept(&s, access, f->encoding, true);
        check_exits(&s, access, f->encoding, "with its bit 1");
        CHECK_EQ("the field of the shadow VMCS", shadow_read(&s, f->field), 0x4321);
}

TABLE(read_bit, bitmap_fields, .id = "shadow.vmread.bitmap",
      .title = "a bit of the VMREAD bitmap decides whether VMREAD exits", .sdm = SDM,
      .rules = "INS_VMREAD_SHADOW_BITMAP_EXIT", .needs = "vmcs-shadowing")
{
        check_bit(case_row(self, row), SHADOW_VMREAD);
}

TABLE(write_bit, bitmap_fields, .id = "shadow.vmwrite.bitmap",
      .title = "a bit of the VMWRITE bitmap decides whether VMWRITE exits", .sdm = SDM,
      .rules = "INS_VMWRITE_SHADOW_BITMAP_EXIT", .needs = "vmcs-shadowing")
{
        check_bit(case_row(self, row), SHADOW_VMWRITE);
}

/* Two encodings that differ in bit @bit alone have bits of their own. */
static void check_index(enum shadow_access access, unsigned bit)
{
        const u32 field = VMCS_TSC_OFFSET, other = field ^ 1u << bit;
        struct shadow s = shadow_begin(GUEST_NATIVE);

        shadow_intercept(&s, access, other, true);
        CHECK_RESULT("with the bit of the other encoding set",
                     shadow_run(&s, access, field), SUCCEED);
        check_exits(&s, access, other, "the other encoding");
}

#define INDEX_BITS 15

FAMILY(read_index, INDEX_BITS, .id = "shadow.vmread.index",
       .title = "each bit of the encoding selects in the VMREAD bitmap", .sdm = SDM,
       .rules = "INS_VMREAD_SHADOW_BITMAP_INDEX", .needs = "vmcs-shadowing")
{
        check_index(SHADOW_VMREAD, row);
}

FAMILY(write_index, INDEX_BITS, .id = "shadow.vmwrite.index",
       .title = "each bit of the encoding selects in the VMWRITE bitmap", .sdm = SDM,
       .rules = "INS_VMWRITE_SHADOW_BITMAP_INDEX", .needs = "vmcs-shadowing")
{
        check_index(SHADOW_VMWRITE, row);
}

struct high_bit {
        struct row head;
        u8 bit;
};

static const struct high_bit high_bits[] = {
        { ROW("15", "bit 15", NULL, NULL), 15 },
        { ROW("16", "bit 16", NULL, NULL), 16 },
        { ROW("31", "bit 31", NULL, NULL), 31 },
        { ROW("32", "bit 32", NULL, "host64"), 32 },
        { ROW("47", "bit 47", NULL, "host64"), 47 },
        { ROW("63", "bit 63", NULL, "host64"), 63 },
};

static void check_high_bit(enum shadow_access access, unsigned bit)
{
        struct shadow s = shadow_begin(GUEST_NATIVE);

        CHECK_RESULT("without the bit", shadow_run(&s, access, VMCS_GUEST_CS_SELECTOR),
                     SUCCEED);
        check_exits(&s, access, VMCS_GUEST_CS_SELECTOR | BIT(bit), "with the bit");
}

TABLE(read_high, high_bits, .id = "shadow.vmread.high-bit",
      .title = "VMREAD exits if a bit above 14 of the encoding is 1", .sdm = SDM,
      .rules = "INS_VMREAD_SHADOW_ENC_HIGH_EXIT", .needs = "vmcs-shadowing")
{
        check_high_bit(SHADOW_VMREAD, ((const struct high_bit *)case_row(self, row))->bit);
}

TABLE(write_high, high_bits, .id = "shadow.vmwrite.high-bit",
      .title = "VMWRITE exits if a bit above 14 of the encoding is 1", .sdm = SDM,
      .rules = "INS_VMWRITE_SHADOW_ENC_HIGH_EXIT", .needs = "vmcs-shadowing")
{
        check_high_bit(SHADOW_VMWRITE, ((const struct high_bit *)case_row(self, row))->bit);
}

struct access {
        struct row head;
        enum shadow_access access;
};

#define ACCESSES(read_rules, write_rules) {                          \
        { ROW("vmread", "VMREAD", read_rules, NULL), SHADOW_VMREAD }, \
        { ROW("vmwrite", "VMWRITE", write_rules, NULL), SHADOW_VMWRITE } }

static const struct access exit_first[] = ACCESSES(
        "INS_VMREAD_SHADOW_LINK_INVALID_EXIT_FIRST",
        "INS_VMWRITE_SHADOW_LINK_INVALID_EXIT_FIRST");

TABLE(exit_before_link, exit_first, .id = "shadow.exit-before-link",
      .title = "the bitmap is looked at before the VMCS link pointer", .sdm = SDM_PRIORITY,
      .needs = "vmcs-shadowing")
{
        enum shadow_access a = ((const struct access *)case_row(self, row))->access;
        struct shadow s = shadow_begin(GUEST_NATIVE);

        vmwrite(VMCS_VMCS_LINK_POINTER, ~0ull);
        CHECK_RESULT("with the bit 0", shadow_run(&s, a, VMCS_GUEST_CS_SELECTOR), FAIL_INVALID);
        shadow_intercept(&s, a, VMCS_GUEST_CS_SELECTOR, true);
        check_exits(&s, a, VMCS_GUEST_CS_SELECTOR, "with the bit 1");
}

static const struct access exit_cpl[] = ACCESSES("INS_VMREAD_SHADOW_CPL_EXIT_FIRST",
                                                 "INS_VMWRITE_SHADOW_CPL_EXIT_FIRST");

TABLE(exit_before_cpl, exit_cpl, .id = "shadow.exit-before-cpl",
      .title = "the bitmap is looked at before the CPL", .sdm = SDM_PRIORITY,
      .needs = "vmcs-shadowing")
{
        enum shadow_access a = ((const struct access *)case_row(self, row))->access;
        struct shadow s = shadow_begin(GUEST_NATIVE);

        raw_guest_cpl3(s.vm);
        shadow_intercept(&s, a, VMCS_GUEST_CS_SELECTOR, true);
        check_exits(&s, a, VMCS_GUEST_CS_SELECTOR, "with the bit 1");
        shadow_intercept(&s, a, VMCS_GUEST_CS_SELECTOR, false);
        CHECK_RESULT("with the bit 0", shadow_run(&s, a, VMCS_GUEST_CS_SELECTOR),
                     FAULT_CODE(VEC_GP, 0));
}

static const struct access accesses[] = ACCESSES(NULL, NULL);

TABLE(secondary_off, accesses, .id = "shadow.secondary-off",
      .title = "VMCS shadowing does nothing while secondary controls are off", .sdm = SDM,
      .rules = "INS_SHADOW_SECONDARY_OFF", .needs = "vmcs-shadowing")
{
        enum shadow_access a = ((const struct access *)case_row(self, row))->access;
        struct shadow s = shadow_begin(GUEST_NATIVE);

        CHECK_RESULT("with secondary controls", shadow_run(&s, a, VMCS_GUEST_CS_SELECTOR),
                     SUCCEED);
        vm_control(VMCS_PRIMARY_CONTROLS, 0, CTL_PRIMARY_ACTIVATE_SECONDARY);
        /* VM entry would look at a link pointer that is none for it. */
        vmwrite(VMCS_VMCS_LINK_POINTER, ~0ull);
        check_exits(&s, a, VMCS_GUEST_CS_SELECTOR, "without secondary controls");
}

TABLE(live, accesses, .id = "shadow.bitmap-live",
      .title = "a bit that is changed between two entries is obeyed", .sdm = SDM,
      .rules = "INS_SHADOW_BITMAP_LIVE", .needs = "vmcs-shadowing")
{
        enum shadow_access a = ((const struct access *)case_row(self, row))->access;
        struct shadow s = shadow_begin(GUEST_NATIVE);

        for (unsigned round = 0; round < 3; round++) {
                CHECK_RESULT("with the bit 0", shadow_run(&s, a, VMCS_GUEST_RSP), SUCCEED);
                shadow_intercept(&s, a, VMCS_GUEST_RSP, true);
                check_exits(&s, a, VMCS_GUEST_RSP, "with the bit 1");
                shadow_intercept(&s, a, VMCS_GUEST_RSP, false);
        }
}

CASE(active, .id = "shadow.active",
     .title = "VM entry makes the shadow VMCS active, not current", .sdm = SDM_OVERVIEW,
     .rules = "VMCS_ST_SHADOW_ACTIVE_BY_ENTRY", .needs = "vmcs-shadowing")
{
        struct shadow s = shadow_begin(GUEST_NATIVE);

        s.vm->regs.rdx = 0x1234;
        CHECK_RESULT("VMWRITE", shadow_run(&s, SHADOW_VMWRITE, VMCS_GUEST_CS_SELECTOR), SUCCEED);
        CHECK_EQ("current-VMCS pointer", current_vmcs(), s.vm->pointer);
        CHECK_RESULT("VMCLEAR of the shadow VMCS", vmclear(&s.pointer), SUCCEED);
        CHECK_EQ("current-VMCS pointer", current_vmcs(), s.vm->pointer);
        CHECK_EQ("the field of the shadow VMCS",
                 shadow_read(&s, VMCS_GUEST_CS_SELECTOR), 0x1234);
        CHECK_RESULT("VMREAD after the next entry",
                     shadow_run(&s, SHADOW_VMREAD, VMCS_GUEST_CS_SELECTOR), SUCCEED);
        CHECK_EQ("its value", s.vm->regs.rdx, 0x1234);
}
