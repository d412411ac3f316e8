/*
 * SDM Vol. 3, VMX Instruction Reference > VMCLEAR. Where it is refused, its
 * operand, the pointers that it refuses, and what it does to the VMCS.
 */
#include "x86/memory.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/modes.h"
#include "x86/vmx/operand.h"
#include "x86/vmx/pointer.h"
#include "x86/vmx/session.h"

#define SDM "VMX Instruction Reference > VMCLEAR—Clear Virtual-Machine Control Structure"
#define FIELD VMCS_GUEST_SYSENTER_CS

static const struct mode_row mode_rows[] = { MODE_ROWS(VMCLEAR) };

MODES(vmclear_modes, mode_rows, .id = "vmclear", .title = "refused", .sdm = SDM)

static const struct operand_row operand_rows[] = {
        OPERAND_ROWS(VMCLEAR, 0),
        OPERAND_SOURCE_ROWS(VMCLEAR),
};

OPERANDS(vmclear_operands, operand_rows, .id = "vmclear.operand",
         .title = "memory operand", .sdm = SDM)

/* 66 0F C7 /6 of a register is RDRAND where there is one. */
CASE(vmclear_register, .id = "vmclear.register", .sdm = SDM,
     .title = "the register form is undefined", .needs = "!rdrand",
     .rules = "INS_VMCLEAR_UD_REGISTER")
{
        struct code memory = { 0 }, reg = { 0 };
        u64 pointer = phys(vmcs_region_new());

        vm_begin(GUEST_NATIVE);
        code_insn(&memory, INSN_VMCLEAR);
        CODE_ADD(&reg, 0x66, 0x0f, 0xc7, 0xf0);
        CHECK_RESULT("memory form", raw_run(RAW_NATIVE, &memory, (ulong)&pointer),
                     SUCCEED);
        CHECK_RESULT("register form", raw_run(RAW_NATIVE, &reg, (ulong)&pointer),
                     FAULT(VEC_UD));
}

FAMILY(vmclear_align, 12, .id = "vmclear.align", .sdm = SDM,
       .title = "the address must be aligned: one bit of 11:0 set",
       .rules = "INS_VMCLEAR_ALIGN")
{
        pointer_bits_refused(INSN_VMCLEAR, row, row, VMERR_VMCLEAR_ADDRESS);
}

CASE(vmclear_width, .id = "vmclear.width", .sdm = SDM,
     .title = "the address must not have bits beyond the physical-address width",
     .rules = "INS_VMCLEAR_PAWIDTH")
{
        pointer_width(INSN_VMCLEAR, VMERR_VMCLEAR_ADDRESS);
}

CASE(vmclear_width_keys, .id = "vmclear.width-keys", .sdm = SDM,
     .title = "bits of private key identifiers are beyond the width",
     .rules = "INS_VMCLEAR_PAWIDTH_TME", .needs = "tme")
{
        pointer_width_keys(INSN_VMCLEAR, VMERR_VMCLEAR_ADDRESS);
}

CASE(vmclear_32_bits, .id = "vmclear.32-bit-addresses", .sdm = SDM,
     .title = "IA32_VMX_BASIC[48] = 1: the address has 32 bits",
     .rules = "INS_VMCLEAR_BASIC48 CAP_BASIC_BIT48_EFFECT",
     .needs = "vmx-addresses-32bit")
{
        pointer_bits_refused(INSN_VMCLEAR, 32, 32, VMERR_VMCLEAR_ADDRESS);
}

CASE(vmclear_high_half, .id = "vmclear.high-half", .sdm = SDM,
     .title = "the operand has 64 bits in 32-bit mode too", .needs = "host32",
     .rules = "INS_VMCLEAR_OPERAND_64BIT")
{
        pointer_bits_refused(INSN_VMCLEAR, 63, 63, VMERR_VMCLEAR_ADDRESS);
}

CASE(vmclear_all_ones, .id = "vmclear.all-ones", .sdm = SDM,
     .title = "FFFFFFFF_FFFFFFFFH is refused, also while no VMCS is current",
     .rules = "INS_VMCLEAR_ALLONES")
{
        pointer_refused(INSN_VMCLEAR, NO_VMCS, VMERR_VMCLEAR_ADDRESS);
}

CASE(vmclear_vmxon_pointer, .id = "vmclear.vmxon-pointer", .sdm = SDM,
     .title = "the VMXON pointer is refused", .rules = "INS_VMCLEAR_VMXON_PTR")
{
        u64 other = phys(vmcs_region_new());

        pointer_refused(INSN_VMCLEAR, this_vmx()->vmxon_pointer,
                        VMERR_VMCLEAR_VMXON_POINTER);
        vm_begin(GUEST_NATIVE);
        CHECK_RESULT("VMCLEAR of another region", vmclear(&other), SUCCEED);
}

CASE(vmclear_order, .id = "vmclear.vmxon-pointer.misaligned", .sdm = SDM,
     .title = "the address is checked before it is compared to the VMXON pointer",
     .rules = "INS_VMCLEAR_ORDER_2_3")
{
        pointer_refused(INSN_VMCLEAR, this_vmx()->vmxon_pointer | 1,
                        VMERR_VMCLEAR_ADDRESS);
}

struct revision_row {
        struct row head;
        u32 flip;        /* of the right identifier; 0: @value instead */
        u32 value;
};

static const struct revision_row revision_rows[] = {
        { ROW("zero", "0"), .value = 0 },
        { ROW("ones", "FFFFFFFFH"), .value = ~0u },
        { ROW("wrong", "one bit wrong"), .flip = 1 },
        { ROW("shadow", "bit 31 set"), .flip = 1u << 31 },
};

TABLE(vmclear_revision, revision_rows, .id = "vmclear.revision", .sdm = SDM,
      .title = "VMCLEAR does not look at the revision identifier",
      .rules = "INS_VMCLEAR_NO_REVISION_CHECK")
{
        const struct revision_row *r = case_row(self, row);
        struct vmcs_region *region = vmcs_region_new();
        u32 value = r->flip ? region->revision ^ r->flip : r->value;

        vm_begin(GUEST_NATIVE);
        region->revision = value;
        CHECK_RESULT("VMCLEAR", vmclear(&(u64){ phys(region) }), SUCCEED);
        CHECK_EQ("identifier afterwards", region->revision, value);
}

CASE(vmclear_current, .id = "vmclear.current", .sdm = SDM,
     .title = "VMCLEAR of the current VMCS leaves none current",
     .rules = "INS_VMCLEAR_CURRENT")
{
        struct vm *vm = vm_begin(GUEST_NATIVE);
        ulong value = 0;

        CHECK_EQ("current-VMCS pointer before", current_vmcs(), vm->pointer);
        CHECK_RESULT("VMCLEAR", vmclear(&vm->pointer), SUCCEED);
        CHECK_EQ("current-VMCS pointer", current_vmcs(), NO_VMCS);
        CHECK_RESULT("VMREAD", vmread_raw(FIELD, &value), FAIL_INVALID);
}

enum other_state { OTHER_ACTIVE, OTHER_INACTIVE, OTHER_NEW };

static const struct row other_rows[] = {
        [OTHER_ACTIVE] = { "active", "an active VMCS" },
        [OTHER_INACTIVE] = { "inactive", "a VMCS not active" },
        [OTHER_NEW] = { "new", "a region never used" },
};

TABLE(vmclear_other, other_rows, .id = "vmclear.other", .sdm = SDM,
      .title = "VMCLEAR of another VMCS keeps the current one",
      .rules = "INS_VMCLEAR_OTHER")
{
        struct vm *other = vm_new(GUEST_NATIVE), *vm;
        u64 pointer = other->pointer;

        if (row == OTHER_INACTIVE)
                CHECK_RESULT("VMCLEAR", vmclear(&pointer), SUCCEED);
        if (row == OTHER_NEW)
                pointer = phys(vmcs_region_new());
        vm = vm_begin(GUEST_NATIVE);
        vmwrite(FIELD, 0x1234);
        CHECK_RESULT("VMCLEAR of the other", vmclear(&pointer), SUCCEED);
        if (!CHECK_EQ("current-VMCS pointer", current_vmcs(), vm->pointer))
                return;
        CHECK_EQ("a field of the current VMCS", vmread(FIELD), 0x1234);
        CHECK_RESULT("VM entry", vm_enter(vm), EXITS(EXIT_VMCALL));
}

CASE(vmclear_launch_state, .id = "vmclear.launch-state", .sdm = SDM,
     .title = "VMCLEAR makes the launch state clear",
     .rules = "INS_VMCLEAR_LAUNCH_STATE")
{
        struct vm *vm = vm_begin(GUEST_NATIVE);

        CHECK_RESULT("VMLAUNCH", vm_launch(vm), EXITS(EXIT_VMCALL));
        CHECK_RESULT("VMLAUNCH of it again", vm_launch(vm),
                     FAIL_VALID(VMERR_VMLAUNCH_NOT_CLEAR));
        vm_clear(vm);
        CHECK_RESULT("VMRESUME after VMCLEAR", vm_resume(vm),
                     FAIL_VALID(VMERR_VMRESUME_NOT_LAUNCHED));
        CHECK_RESULT("VMLAUNCH after VMCLEAR", vm_launch(vm),
                     EXITS(EXIT_VMCALL));
}

CASE(vmclear_fail_keeps, .id = "vmclear.failed", .sdm = SDM,
     .title = "a failed VMCLEAR changes nothing but the VM-instruction error",
     .rules = "INS_VMCLEAR_FAIL_KEEPS")
{
        struct vm *vm = vm_begin(GUEST_NATIVE);
        u64 misaligned = vm->pointer | 1;

        vmwrite(FIELD, 0x4321);
        CHECK_RESULT("VMLAUNCH", vm_launch(vm), EXITS(EXIT_VMCALL));
        vm_poison(VMERR_VMCLEAR_ADDRESS);
        CHECK_RESULT("VMCLEAR", vmclear(&misaligned),
                     FAIL_VALID(VMERR_VMCLEAR_ADDRESS));
        if (!CHECK_EQ("current-VMCS pointer", current_vmcs(), vm->pointer))
                return;
        CHECK_EQ("a field", vmread(FIELD), 0x4321);
        CHECK_RESULT("VMRESUME", vm_resume(vm), EXITS(EXIT_VMCALL));
}

/* Unlike for each field and unlike what vm_baseline() writes. */
static u64 pattern(unsigned i)
{
        return 0x0123456789abcdefull * (2 * i + 1);
}

CASE(vmclear_preserves, .id = "vmclear.fields", .sdm = SDM,
     .title = "every field has its value again after VMCLEAR and VMPTRLD",
     .rules = "INS_VMCLEAR_PRESERVES_FIELDS")
{
        struct vm *vm = vm_begin(GUEST_NATIVE), *other;
        u64 *held = page_alloc(1);

        for (unsigned i = 0; i < vmcs_field_count; i++) {
                u32 field = vmcs_fields[i].encoding;

                if (vmcs_type(field) == VMCS_TYPE_READ_ONLY || !vmcs_has(field))
                        continue;
                vmwrite(field, pattern(i));
                held[i] = vmread(field);
        }
        CHECK_RESULT("VMCLEAR", vmclear(&vm->pointer), SUCCEED);
        other = vm_new(GUEST_NATIVE);
        CHECK_RESULT("VMCLEAR of another", vmclear(&other->pointer), SUCCEED);
        vm_load(vm);
        for (unsigned i = 0; i < vmcs_field_count; i++) {
                u32 field = vmcs_fields[i].encoding;

                if (vmcs_type(field) != VMCS_TYPE_READ_ONLY && vmcs_has(field))
                        CHECK_EQ(vmcs_fields[i].name, vmread(field), held[i]);
        }
}

CASE(vmclear_twice, .id = "vmclear.twice", .sdm = SDM,
     .title = "VMCLEAR of a clear VMCS succeeds, with no VMCS current as well",
     .rules = "INS_VMCLEAR_TWICE INS_VMCLEAR_NO_CURRENT")
{
        u64 pointer = phys(vmcs_region_new());

        begin_without_vmcs();
        CHECK_RESULT("VMCLEAR", vmclear(&pointer), SUCCEED);
        CHECK_RESULT("VMCLEAR again", vmclear(&pointer), SUCCEED);
        CHECK_EQ("current-VMCS pointer", current_vmcs(), NO_VMCS);
        CHECK_RESULT("VMPTRLD", vmptrld(&pointer), SUCCEED);
}
