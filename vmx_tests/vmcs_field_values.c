/*
 * SDM Vol. 3, Virtual Machine Control Structures > VMREAD, VMWRITE, and
 * Encodings of VMCS Fields: what a field holds is what was written to it, all
 * its bits, no more, and nothing else changes.
 */
#include "lib/check.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/guest.h"
#include "x86/vmx/instr.h"
#include "x86/vmx/probe.h"
#include "x86/vmx/segment.h"

#define SDM "Virtual Machine Control Structures > VMREAD, VMWRITE, and Encodings of VMCS Fields"
#define SDM_REGISTERS "Virtual Machine Control Structures > Guest Register State"

struct field {
        struct row head;
        u32 encoding;
};

#define WIDTH_RULE(e) ((e) < 0x2000 ? "VMCS_ENC_WIDTH_16" :              \
                       (e) < 0x4000 ? "VMCS_ENC_WIDTH_64" :              \
                       (e) < 0x6000 ? "VMCS_ENC_WIDTH_32" : "VMCS_ENC_WIDTH_NATURAL")

static const struct field fields[] = {
#define FIELD(name, encoding, sdm, exists) \
        { { #encoding, sdm, WIDTH_RULE(encoding), exists }, encoding },
#include "x86/vmx/fields.def"
};

static bool is_rights(u32 field)
{
        return field >= VMCS_GUEST_ES_ACCESS_RIGHTS &&
               field <= VMCS_GUEST_TR_ACCESS_RIGHTS;
}

/*
 * The bits of a field that must be kept. Access rights have reserved bits that
 * VMWRITE may ignore: SDM, Guest Register State, below the table of the format.
 */
static u64 kept_bits(u32 field)
{
        u64 bits = BITS(vmcs_field_bits(field, 8 * sizeof(ulong)) - 1, 0);

        if (is_rights(field))
                bits &= ~(u64)(AR_RESERVED | (field == VMCS_GUEST_CS_ACCESS_RIGHTS
                                              ? 0 : AR_L));
        return bits;
}

/* Can be written and keeps it: VMfailValid writes the VM-instruction error. */
static bool is_storage(u32 field)
{
        return vmcs_has(field) && field != VMCS_VM_INSTRUCTION_ERROR &&
               (vmcs_type(field) != VMCS_TYPE_READ_ONLY || vm_can_poison_exit());
}

static void check_value(u32 field, u64 value)
{
        u64 kept = kept_bits(field);

        CHECK_RESULT("VMWRITE", vmwrite_raw(field, (ulong)value), SUCCEED);
        if (sizeof(ulong) == 4 && vmcs_width(field) == VMCS_WIDTH_64)
                CHECK_RESULT("VMWRITE, high access",
                             vmwrite_raw(field | 1, (ulong)(value >> 32)), SUCCEED);
        CHECK_MASKED("the field", vmread(field), value & kept,
                     is_rights(field) ? kept : ~0ull);
}

/* The parts of a 64-bit field, by both accesses. */
static void check_halves(u32 field, u64 value)
{
        ulong low = 0, high = 0;

        vmwrite(field, value);
        CHECK_RESULT("VMREAD", vmread_raw(field, &low), SUCCEED);
        CHECK_RESULT("VMREAD, high access", vmread_raw(field | 1, &high), SUCCEED);
        CHECK_EQ("full access", low, (ulong)value);
        CHECK_EQ("high access", high, value >> 32);
        CHECK_RESULT("VMWRITE, high access", vmwrite_raw(field | 1, (ulong)~high), SUCCEED);
        CHECK_EQ("the field after high access", vmread(field),
                 value ^ 0xffffffff00000000);
        CHECK_RESULT("VMWRITE", vmwrite_raw(field, low), SUCCEED);
        CHECK_EQ("the field after full access", vmread(field), low);
}

TABLE(values, fields, .id = "vmcs.value",
      .title = "a field keeps every value that is written to it", .sdm = SDM,
      .rules = "VMCS_RW_ROUNDTRIP")
{
        static const u64 patterns[] = {
                0, ~0ull, 0x5555555555555555, 0xaaaaaaaaaaaaaaaa, 1,
                0x8000000080008000,
        };
        u32 field = ((const struct field *)case_row(self, row))->encoding;
        u64 own = 0x9e3779b97f4a7c15ull * (field + 1);

        vm_begin(GUEST_NATIVE);
        if (!is_storage(field)) {
                case_skip(vmcs_has(field) ? "it can not be written" : "no such field");
                return;
        }
        for (unsigned i = 0; i < ARRAY_LEN(patterns); i++)
                check_value(field, patterns[i]);
        check_value(field, own);
        if (vmcs_width(field) == VMCS_WIDTH_64)
                check_halves(field, own);
}

/* The encoding is in the lowest 16 bits, so no two fields have the same value. */
static u64 own_value(u32 field)
{
        return 0x9e3779b97f4a0000ull + field;
}

CASE(independent, .id = "vmcs.independent",
     .title = "writing a field changes no other", .sdm = SDM,
     .rules = "VMCS_RW_INDEPENDENT VMCS_ENC_LAYOUT")
{
        vm_begin(GUEST_NATIVE);
        for (unsigned i = 0; i < vmcs_field_count; i++)
                if (is_storage(vmcs_fields[i].encoding))
                        vmwrite(vmcs_fields[i].encoding,
                                own_value(vmcs_fields[i].encoding));
        for (unsigned i = 0; i < vmcs_field_count; i++) {
                u32 field = vmcs_fields[i].encoding;

                if (is_storage(field))
                        CHECK_MASKED(vmcs_fields[i].name, vmread(field),
                                     own_value(field), kept_bits(field));
        }
}

CASE(error_volatile, .id = "vmcs.error-field",
     .title = "the VM-instruction error is that of the last VMfailValid",
     .sdm = "Virtual Machine Control Structures > VM-Instruction Error Field",
     .rules = "VMCS_RW_ERRFIELD_VOLATILE")
{
        static const u64 misaligned = 0x801;
        ulong value = 0;

        vm_begin(GUEST_NATIVE);
        CHECK_RESULT("VMPTRLD", vmptrld(&misaligned), FAIL_VALID(VMERR_VMPTRLD_ADDRESS));
        CHECK_EQ("VM-instruction error", vmread(VMCS_VM_INSTRUCTION_ERROR),
                 VMERR_VMPTRLD_ADDRESS);
        CHECK_RESULT("VMREAD", vmread_raw(0x6bfe, &value),
                     FAIL_VALID(VMERR_UNSUPPORTED_FIELD));
        CHECK_EQ("VM-instruction error", vmread(VMCS_VM_INSTRUCTION_ERROR),
                 VMERR_UNSUPPORTED_FIELD);
}

#ifndef __x86_64__
CASE(halves_order, .id = "vmcs.halves",
     .title = "a 64-bit field written by halves: full access first, then high",
     .sdm = SDM, .rules = "VMCS_RW_32BIT_HALVES", .needs = "host32")
{
        ulong low = 0, high = 0;

        vm_begin(GUEST_NATIVE);
        vmwrite(VMCS_TSC_OFFSET, ~0ull);
        CHECK_RESULT("VMWRITE", vmwrite_raw(VMCS_TSC_OFFSET, 0x01234567), SUCCEED);
        CHECK_RESULT("VMWRITE, high access",
                     vmwrite_raw(VMCS_TSC_OFFSET | 1, 0x89abcdef), SUCCEED);
        CHECK_RESULT("VMREAD, high access", vmread_raw(VMCS_TSC_OFFSET | 1, &high), SUCCEED);
        CHECK_RESULT("VMREAD", vmread_raw(VMCS_TSC_OFFSET, &low), SUCCEED);
        CHECK_EQ("bits 31:0", low, 0x01234567);
        CHECK_EQ("bits 63:32", high, 0x89abcdef);
        /* The other order loses the upper half. */
        CHECK_RESULT("VMWRITE, high access",
                     vmwrite_raw(VMCS_TSC_OFFSET | 1, 0x76543210), SUCCEED);
        CHECK_RESULT("VMWRITE", vmwrite_raw(VMCS_TSC_OFFSET, 0xfedcba98), SUCCEED);
        CHECK_EQ("the field", vmread(VMCS_TSC_OFFSET), 0xfedcba98);
}
#endif

/* The reserved bits of the field as they read after @value was written. */
static u32 reserved_after(u32 field, u32 value)
{
        vmwrite(field, value);
        return (u32)vmread(field) & AR_RESERVED;
}

FAMILY(rights_reserved, SEGMENTS, .id = "vmcs.access-rights.reserved",
       .title = "the reserved bits of a segment's access rights are all kept or all 0",
       .sdm = SDM_REGISTERS, .rules = "VMCS_RW_AR_RESERVED")
{
        static const u32 values[] = {
                0xffffffff, AR_RESERVED, 0x0f00, 0xfffe0000, 0x100, 0x800, 0x20000,
                0x80000000, 0x55555555, 0xaaaaaaaa,
        };
        u32 field = SEG_RIGHTS(row);
        bool kept;

        vm_begin(GUEST_NATIVE);
        kept = reserved_after(field, 0xffffffff);
        for (unsigned i = 0; i < ARRAY_LEN(values); i++) {
                u32 want = kept ? values[i] & AR_RESERVED : 0;

                CHECK_EQ("reserved bits", reserved_after(field, values[i]), want);
                CHECK_MASKED("the other bits", vmread(field), values[i],
                             kept_bits(field));
        }
}

/*
 * VM entry must judge what VMREAD shows: a bit that was kept is refused, one
 * that was dropped is not there. Each bit alone, with a guest that is valid.
 */
FAMILY(rights_entry, SEGMENTS, .id = "vmcs.access-rights.entry",
       .title = "VM entry checks the reserved access-rights bits that VMREAD returns",
       .sdm = SDM_REGISTERS, .rules = "VMCS_RW_AR_DROPPED_NOT_CHECKED")
{
        u32 field = SEG_RIGHTS(row);

        for (unsigned bit = 8; bit < 32; bit++) {
                struct vm *vm;
                u64 rights;

                if (!(BIT(bit) & AR_RESERVED))
                        continue;
                vm = vm_begin(GUEST_NATIVE);
                rights = row == SEG_LDTR ? AR_LDT : vmread(field);
                vmwrite(field, rights);
                vm_poison(0);
                CHECK_RESULT("without the bit", vm_enter(vm), EXITS(EXIT_VMCALL));
                vmwrite(field, rights | BIT(bit));
                vm_poison(0);
                if (vmread(field) & BIT(bit))
                        CHECK_RESULT("with a bit that reads back as 1", vm_enter(vm),
                                     BAD_GUEST);
                else
                        CHECK_RESULT("with a bit that reads back as 0", vm_enter(vm),
                                     EXITS(EXIT_VMCALL));
        }
}

struct control_field {
        struct row head;
        u32 field;
        u32 word;         /* enum control_word */
        u64 control;      /* the control that makes the field count */
};

#define CONTROL_FIELD(id, token, field, word, name)                          \
        { { id, "its control is 0", NULL, token }, VMCS_##field, WORD_##word, \
          CTL_##word##_##name }

static const struct control_field control_fields[] = {
        CONTROL_FIELD("msr-bitmaps", "use-msr-bitmaps", MSR_BITMAPS,
                      PRIMARY, USE_MSR_BITMAPS),
        CONTROL_FIELD("virtual-apic", "use-tpr-shadow", VIRTUAL_APIC_ADDRESS,
                      PRIMARY, USE_TPR_SHADOW),
        CONTROL_FIELD("tpr-threshold", "use-tpr-shadow", TPR_THRESHOLD,
                      PRIMARY, USE_TPR_SHADOW),
        CONTROL_FIELD("secondary", "activate-secondary-controls", SECONDARY_CONTROLS,
                      PRIMARY, ACTIVATE_SECONDARY),
        CONTROL_FIELD("eptp", "enable-ept", EPTP, SECONDARY, ENABLE_EPT),
        CONTROL_FIELD("vpid", "enable-vpid", VPID, SECONDARY, ENABLE_VPID),
        CONTROL_FIELD("apic-access", "virtualize-apic-accesses", APIC_ACCESS_ADDRESS,
                      SECONDARY, VIRTUALIZE_APIC_ACCESSES),
        CONTROL_FIELD("eoi-exit", "virtual-interrupt-delivery", EOI_EXIT_BITMAP_0,
                      SECONDARY, VIRTUAL_INTERRUPT_DELIVERY),
        CONTROL_FIELD("ple-gap", "pause-loop-exiting", PLE_GAP,
                      SECONDARY, PAUSE_LOOP_EXITING),
        CONTROL_FIELD("vmread-bitmap", "vmcs-shadowing", VMREAD_BITMAP,
                      SECONDARY, VMCS_SHADOWING),
        CONTROL_FIELD("xss-bitmap", "enable-xsaves-xrstors", XSS_EXITING_BITMAP,
                      SECONDARY, ENABLE_XSAVES_XRSTORS),
        CONTROL_FIELD("pml-address", "enable-pml", PML_ADDRESS, SECONDARY, ENABLE_PML),
        CONTROL_FIELD("tsc-multiplier", "use-tsc-scaling", TSC_MULTIPLIER,
                      SECONDARY, USE_TSC_SCALING),
        CONTROL_FIELD("preemption-timer", "activate-vmx-preemption-timer",
                      PREEMPTION_TIMER_VALUE, PIN, ACTIVATE_PREEMPTION_TIMER),
};

/* Both settings of the control: the field is there with each. */
TABLE(existence_not_enable, control_fields, .id = "vmcs.exists-disabled",
      .title = "a field exists whatever the setting of its control", .sdm = SDM,
      .rules = "VMCS_FLD_EXISTENCE_NOT_ENABLE")
{
        const struct control_field *f = case_row(self, row);
        u32 control = control_word_field((enum control_word)f->word);

        vm_begin(GUEST_NATIVE);
        for (unsigned on = 0; on < 2; on++) {
                u64 value = 0x1230 + on;

                vm_control(control, on ? f->control : 0, on ? 0 : f->control);
                CHECK_EQ("the control", !!(vmread(control) & f->control), on);
                CHECK_RESULT("VMWRITE", vmwrite_raw(f->field, (ulong)value), SUCCEED);
                CHECK_EQ("the field", vmread(f->field), value);
        }
}
