/*
 * SDM Vol. 3, Virtual Machine Control Structures > VMREAD, VMWRITE, and
 * Encodings of VMCS Fields: the encodings that name no field.
 */
#include "lib/check.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/guest.h"
#include "x86/vmx/instr.h"

#define SDM "Virtual Machine Control Structures > VMREAD, VMWRITE, and Encodings of VMCS Fields"

#define FILL ((ulong)0xa5a5a5a5a5a5a5a5ull)
#define ERROR_12 FAIL_VALID(VMERR_UNSUPPORTED_FIELD)

static void check_read(ulong encoding)
{
        ulong value = FILL;

        vm_poison(VMERR_UNSUPPORTED_FIELD);
        CHECK_RESULT("VMREAD", vmread_raw(encoding, &value), ERROR_12);
        CHECK_EQ("destination", value, FILL);
}

static void check_write(ulong encoding)
{
        vm_poison(VMERR_UNSUPPORTED_FIELD);
        CHECK_RESULT("VMWRITE", vmwrite_raw(encoding, 0), ERROR_12);
}

static void check_supported(ulong encoding)
{
        ulong value = FILL;

        CHECK_RESULT("VMREAD of a field", vmread_raw(encoding, &value), SUCCEED);
        CHECK_RESULT("VMWRITE of a field", vmwrite_raw(encoding, value), SUCCEED);
}

/* A field of each width with one further bit of the encoding set. */
static const u32 fields[] = {
        VMCS_GUEST_CS_SELECTOR, VMCS_IO_BITMAP_A, VMCS_PIN_CONTROLS, VMCS_GUEST_RIP,
};

#define FIRST_BIT 15
#define BITS_64 (64 - FIRST_BIT)

static void check_bit(unsigned bit, void (*check)(ulong))
{
        if (bit >= 8 * sizeof(ulong)) {
                case_skip("the operand has %u bits in this build",
                          8 * (unsigned)sizeof(ulong));
                return;
        }
        vm_begin(GUEST_NATIVE);
        for (unsigned i = 0; i < ARRAY_LEN(fields); i++) {
                check_supported(fields[i]);
                check(fields[i] | (ulong)BIT(bit));
        }
}

FAMILY(read_bits, 32 - FIRST_BIT, .id = "vmread.encoding.bit-15-up",
       .title = "VMREAD fails if one of bits 31:15 of the encoding is 1", .sdm = SDM,
       .rules = "INS_VMREAD_ENC_BITS_31_15 VMCS_ENC_BITS_31_15")
{
        check_bit(FIRST_BIT + row, check_read);
}

FAMILY(write_bits, 32 - FIRST_BIT, .id = "vmwrite.encoding.bit-15-up",
       .title = "VMWRITE fails if one of bits 31:15 of the encoding is 1", .sdm = SDM,
       .rules = "INS_VMWRITE_ENC_BITS_31_15 VMCS_ENC_BITS_31_15")
{
        check_bit(FIRST_BIT + row, check_write);
}

FAMILY(read_bits_64, 32, .id = "vmread.encoding.bit-32-up",
       .title = "VMREAD fails if one of bits 63:32 of the encoding is 1", .sdm = SDM,
       .rules = "INS_VMREAD_ENC_BITS_63_32 VMCS_ENC_BITS_63_32", .needs = "host64")
{
        check_bit(32 + row, check_read);
}

FAMILY(write_bits_64, 32, .id = "vmwrite.encoding.bit-32-up",
       .title = "VMWRITE fails if one of bits 63:32 of the encoding is 1", .sdm = SDM,
       .rules = "INS_VMWRITE_ENC_BITS_63_32 VMCS_ENC_BITS_63_32", .needs = "host64")
{
        check_bit(32 + row, check_write);
}

struct bad {
        struct row head;
        u32 encoding;
        u32 neighbour;    /* a field; it differs in the bit or in the index */
};

static const struct bad structural[] = {
        { { "all-ones", "all ones", "VMCS_ENC_BITS_31_15", NULL },
          ~0u, VMCS_GUEST_RIP },
#define HIGH(id, field) \
        { { "high." id, "high access to a field that has not 64 bits", \
            "VMCS_ENC_BIT0_NON64", NULL }, VMCS_##field | 1, VMCS_##field }
        HIGH("0x0801", GUEST_ES_SELECTOR),
        HIGH("0x0803", GUEST_CS_SELECTOR),
        HIGH("0x0c01", HOST_ES_SELECTOR),
        HIGH("0x4001", PIN_CONTROLS),
        HIGH("0x4005", EXCEPTION_BITMAP),
        HIGH("0x4801", GUEST_ES_LIMIT),
        HIGH("0x4c01", HOST_SYSENTER_CS),
        HIGH("0x6001", CR0_GUEST_HOST_MASK),
        HIGH("0x6801", GUEST_CR0),
        HIGH("0x6c01", HOST_CR0),
        { { "high.0x0001", "high access to a field that has not 64 bits",
            "VMCS_ENC_BIT0_NON64", "enable-vpid" }, VMCS_VPID | 1, VMCS_VPID },
        { { "high.0x4401", "high access to a field that has not 64 bits",
            "VMCS_ENC_BIT0_NON64", NULL }, VMCS_VM_INSTRUCTION_ERROR | 1,
          VMCS_PIN_CONTROLS },
        { { "high.0x6401", "high access to a field that has not 64 bits",
            "VMCS_ENC_BIT0_NON64", NULL }, VMCS_EXIT_QUALIFICATION | 1,
          VMCS_GUEST_CR0 },
#define BIT12(id, field) \
        { { "bit-12." id, "bit 12 of the encoding is 1", "VMCS_ENC_BIT12", NULL }, \
          VMCS_##field | 0x1000, VMCS_##field }
        BIT12("0x1800", GUEST_ES_SELECTOR),
        BIT12("0x1c00", HOST_ES_SELECTOR),
        BIT12("0x3000", IO_BITMAP_A),
        BIT12("0x3001", IO_BITMAP_A | 1),
        BIT12("0x3800", VMCS_LINK_POINTER),
        BIT12("0x5000", PIN_CONTROLS),
        BIT12("0x5800", GUEST_ES_LIMIT),
        BIT12("0x7000", CR0_GUEST_HOST_MASK),
        BIT12("0x7800", GUEST_CR0),
        BIT12("0x7c00", HOST_CR0),
        { { "no-16-bit-info.0x0400", "there is no 16-bit VM-exit information field",
            "VMCS_ENC_NO_16BIT_INFO", NULL }, 0x0400, VMCS_GUEST_ES_SELECTOR },
        { { "no-16-bit-info.0x0402", "there is no 16-bit VM-exit information field",
            "VMCS_ENC_NO_16BIT_INFO", NULL }, 0x0402, VMCS_GUEST_ES_SELECTOR },
        { { "no-host-ldtr", "there is no selector of LDTR in the host-state area",
            "VMCS_FLD_NO_HOST_LDTR", NULL }, 0x0c0e, VMCS_HOST_TR_SELECTOR },
        { { "no-host-limits", "there is one 32-bit field in the host-state area",
            "VMCS_FLD_NO_HOST_LDTR", NULL }, 0x4c02, VMCS_HOST_SYSENTER_CS },
        { { "no-host-es-base", "there is no field after host RIP without CET",
            "VMCS_FLD_NO_HOST_LDTR", "!load-cet-state-exit" }, 0x6c18, VMCS_HOST_RIP },
        { { "encls-and-no-enclv", "no field where control 28 can not be 1",
            "VMCS_FLD_64_CTL_ENCLV", NULL }, 0x2036, VMCS_TSC_OFFSET },
};

static const struct bad holes[] = {
#define HOLE(encoding, neighbour) \
        { { #encoding, "an index between fields", NULL, NULL }, encoding, VMCS_##neighbour }
        HOLE(0x000c, GUEST_ES_SELECTOR), HOLE(0x000e, GUEST_ES_SELECTOR),
        HOLE(0x03fe, GUEST_ES_SELECTOR), HOLE(0x0816, GUEST_TR_SELECTOR),
        HOLE(0x0818, GUEST_TR_SELECTOR), HOLE(0x0c10, HOST_TR_SELECTOR),
        HOLE(0x2046, TSC_OFFSET), HOLE(0x2047, TSC_OFFSET), HOLE(0x2048, TSC_OFFSET),
        HOLE(0x2049, TSC_OFFSET), HOLE(0x2050, TSC_OFFSET), HOLE(0x2051, TSC_OFFSET),
        HOLE(0x2054, TSC_OFFSET), HOLE(0x2055, TSC_OFFSET),
        HOLE(0x2406, VMCS_LINK_POINTER), HOLE(0x2407, VMCS_LINK_POINTER),
        HOLE(0x282a, GUEST_DEBUGCTL), HOLE(0x282b, GUEST_DEBUGCTL),
        HOLE(0x282c, GUEST_DEBUGCTL), HOLE(0x282d, GUEST_DEBUGCTL),
        HOLE(0x2832, GUEST_DEBUGCTL), HOLE(0x2833, GUEST_DEBUGCTL),
        HOLE(0x2c18, GUEST_DEBUGCTL), HOLE(0x2c19, GUEST_DEBUGCTL),
        HOLE(0x2c1c, GUEST_DEBUGCTL), HOLE(0x2c1d, GUEST_DEBUGCTL),
        HOLE(0x4028, PIN_CONTROLS), HOLE(0x402a, PIN_CONTROLS),
        HOLE(0x4410, GUEST_ES_LIMIT), HOLE(0x4412, GUEST_ES_LIMIT),
        HOLE(0x482c, GUEST_SYSENTER_CS), HOLE(0x4830, GUEST_SYSENTER_CS),
        HOLE(0x4c04, HOST_SYSENTER_CS),
        HOLE(0x6010, CR4_READ_SHADOW), HOLE(0x6012, CR4_READ_SHADOW),
        HOLE(0x640c, GUEST_CR0), HOLE(0x640e, GUEST_CR0),
        HOLE(0x682e, GUEST_SYSENTER_EIP), HOLE(0x6830, GUEST_SYSENTER_EIP),
        HOLE(0x6c1e, HOST_RIP), HOLE(0x6c20, HOST_RIP),
};

/*
 * Editions of the SDM add fields, and processors have some that no edition
 * names: a few are no violation, many are a target that does not look.
 */
#define FEW 8

static unsigned unknown_fields(void)
{
        unsigned count = 0;

        for (unsigned i = 0; i < ARRAY_LEN(holes); i++)
                count += vmcs_has(holes[i].encoding);
        return count;
}

static bool is_well_formed(u32 encoding)
{
        return !(encoding & ~0x6fffu) &&
               (!vmcs_is_high(encoding) || vmcs_width(encoding) == VMCS_WIDTH_64);
}

/* May @encoding be that of a field which this suite does not know? */
static bool is_unknown_field(u32 encoding)
{
        return is_well_formed(encoding) && vmcs_has(encoding) &&
               unknown_fields() <= FEW;
}

static void check_encoding(const struct bad *b)
{
        if (is_unknown_field(b->encoding)) {
                case_skip("a field that is not known here");
                return;
        }
        check_supported(b->neighbour);
        check_read(b->encoding);
        check_write(b->encoding);
}

TABLE(structure, structural, .id = "vmcs.encoding",
      .title = "VMREAD and VMWRITE fail with error 12", .sdm = SDM)
{
        const struct bad *b = case_row(self, row);

        vm_begin(GUEST_NATIVE);
        if (b->encoding == 0x2036 && control_can_be_1(WORD_SECONDARY, BIT(28))) {
                case_skip("secondary control 28 can be 1");
                return;
        }
        check_encoding(b);
}

TABLE(hole, holes, .id = "vmcs.encoding.hole",
      .title = "an encoding that no field has: error 12", .sdm = SDM,
      .rules = "VMCS_ENC_HOLES")
{
        const struct bad *b = case_row(self, row);

        vm_begin(GUEST_NATIVE);
        check_encoding(b);
}

#define WIDTHS_AND_TYPES 16

/* IA32_VMX_VMCS_ENUM[9:1] is the highest index that any field has. */
FAMILY(unused_index, WIDTHS_AND_TYPES, .id = "vmcs.encoding.unused-index",
       .title = "no field has an index above that of IA32_VMX_VMCS_ENUM", .sdm = SDM,
       .rules = "VMCS_ENC_UNUSED_INDEX")
{
        u32 highest = (u32)vmx_cap(vmcs_enum, HIGHEST_INDEX);
        bool is_64 = row / 4 == VMCS_WIDTH_64;

        vm_begin(GUEST_NATIVE);
        check_supported(VMCS_GUEST_RIP);
        for (u32 index = highest + 1; index < 512; index = index * 2 + 1) {
                for (unsigned high = 0; high <= is_64; high++) {
                        u32 encoding = vmcs_encoding(row / 4, row % 4, index, high);

                        check_read(encoding);
                        check_write(encoding);
                }
        }
}

/* The flags after it, of a VMREAD or VMWRITE that raises no exception. */
static ulong quick(ulong encoding, ulong *value, bool write)
{
        ulong flags;

        if (write)
                asm volatile("vmwrite %[value], %[field]\n\tpushf\n\tpop %[flags]"
                             : [flags] "=r" (flags)
                             : [value] "r" (*value), [field] "r" (encoding)
                             : "cc", "memory");
        else
                asm volatile("vmread %[field], %[value]\n\tpushf\n\tpop %[flags]"
                             : [flags] "=&r" (flags), [value] "+&r" (*value)
                             : [field] "r" (encoding) : "cc", "memory");
        return flags & VMX_FLAGS;
}

/* Returns whether it is a field that this suite does not know. */
static bool scan_one(u32 encoding)
{
        ulong value = FILL, read = quick(encoding, &value, false), written;
        bool read_only = vmcs_type(encoding) == VMCS_TYPE_READ_ONLY &&
                         !vm_can_poison_exit();

        if (read && read != RFLAGS_ZF) {
                CHECK_EQ("flags after VMREAD", read, RFLAGS_ZF);
                return false;
        }
        if (read && value != FILL)
                CHECK_EQ("destination", value, FILL);
        written = quick(encoding, &value, true);
        if (written != (read || read_only ? RFLAGS_ZF : 0))
                CHECK_EQ("flags after VMWRITE", written,
                         read || read_only ? RFLAGS_ZF : 0);
        if (!read && !is_well_formed(encoding))
                CHECK("the encoding is of no field", false,
                      "VMREAD of encoding 0x%x succeeded", encoding);
        return !read && !vmcs_is_high(encoding) && !vmcs_field_find(encoding);
}

struct block {
        u32 first, unknown;
};

static void scan_block(void *arg)
{
        struct block *b = arg;

        for (u32 low = 0; low < 0x400; low++)
                b->unknown += scan_one(b->first | low);
}

/* Width, type and bit 12 are the family's number: 1,024 encodings each. */
FAMILY(scan, 2 * WIDTHS_AND_TYPES, .id = "vmcs.encoding.scan",
       .title = "each encoding either names a field or fails with error 12", .sdm = SDM,
       .rules = "VMCS_ENC_WIDTH_CODE_EXHAUSTIVE")
{
        struct block block = { row << 10, 0 };
        struct trap t;

        vm_begin(GUEST_NATIVE);
        check_supported(VMCS_GUEST_RIP);
        vm_poison(VMERR_UNSUPPORTED_FIELD);
        CHECK("no access raises an exception", !trap_call(scan_block, &block, &t),
              "vector %u", t.vector);
        CHECK("encodings of no known field fail", block.unknown <= FEW,
              "VMREAD of %u of them succeeded", block.unknown);
}
