/*
 * SDM Vol. 3, VMX Instruction Reference > VMPTRLD. Where it is refused, its
 * operand, the pointers and revision identifiers that it refuses, and the
 * current VMCS that it makes.
 */
#include "x86/memory.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/modes.h"
#include "x86/vmx/operand.h"
#include "x86/vmx/pointer.h"
#include "x86/vmx/session.h"

#define SDM "VMX Instruction Reference > VMPTRLD—Load Pointer to Virtual-Machine Control Structure"
#define FIELD VMCS_GUEST_SYSENTER_CS
#define SHADOW (1u << 31)

static const struct mode_row mode_rows[] = { MODE_ROWS(VMPTRLD) };

MODES(vmptrld_modes, mode_rows, .id = "vmptrld", .title = "refused", .sdm = SDM)

static const struct operand_row operand_rows[] = {
        OPERAND_ROWS(VMPTRLD, 0),
        OPERAND_SOURCE_ROWS(VMPTRLD),
};

OPERANDS(vmptrld_operands, operand_rows, .id = "vmptrld.operand",
         .title = "memory operand", .sdm = SDM)

static struct vmx_result run_bytes(const struct code *code, u64 pointer)
{
        vm_begin(GUEST_NATIVE);
        return raw_run(RAW_NATIVE, code, (ulong)&pointer);
}

/* 0F C7 /6 of a register is RDRAND where there is one. */
CASE(vmptrld_register, .id = "vmptrld.register", .sdm = SDM,
     .title = "the register form is undefined", .needs = "!rdrand",
     .rules = "INS_VMPTRLD_UD_REGISTER")
{
        u64 pointer = phys(vmcs_region_new());
        struct code memory = { 0 }, reg = { 0 };

        code_insn(&memory, INSN_VMPTRLD);
        CODE_ADD(&reg, 0x0f, 0xc7, 0xf0);
        CHECK_RESULT("memory form", run_bytes(&memory, pointer), SUCCEED);
        CHECK_RESULT("register form", run_bytes(&reg, pointer), FAULT(VEC_UD));
}

CASE(vmptrld_prefix, .id = "vmptrld.prefix", .sdm = SDM,
     .title = "0F C7 /6: the prefix selects VMPTRLD, VMCLEAR or VMXON",
     .rules = "INS_PREFIX_0FC7_6_SELECT")
{
        struct code none = { 0 }, p66 = { 0 }, pf3 = { 0 }, pf2 = { 0 };
        u64 pointer = phys(vmcs_region_new());

        CODE_ADD(&none, 0x0f, 0xc7, 0x30);
        CODE_ADD(&p66, 0x66, 0x0f, 0xc7, 0x30);
        CODE_ADD(&pf3, 0xf3, 0x0f, 0xc7, 0x30);
        CODE_ADD(&pf2, 0xf2, 0x0f, 0xc7, 0x30);
        CHECK_RESULT("no prefix", run_bytes(&none, pointer), SUCCEED);
        CHECK_EQ("current-VMCS pointer", current_vmcs(), pointer);
        CHECK_RESULT("66", raw_run(RAW_NATIVE, &p66, (ulong)&pointer), SUCCEED);
        CHECK_EQ("current-VMCS pointer", current_vmcs(), NO_VMCS);
        CHECK_RESULT("F3", run_bytes(&pf3, pointer),
                     FAIL_VALID(VMERR_VMXON_IN_ROOT));
        CHECK_RESULT("F2", run_bytes(&pf2, pointer), FAULT(VEC_UD));
}

FAMILY(vmptrld_align, 12, .id = "vmptrld.align", .sdm = SDM,
       .title = "the address must be aligned: one bit of 11:0 set",
       .rules = "INS_VMPTRLD_ALIGN")
{
        pointer_bits_refused(INSN_VMPTRLD, row, row, VMERR_VMPTRLD_ADDRESS);
}

CASE(vmptrld_width, .id = "vmptrld.width", .sdm = SDM,
     .title = "the address must not have bits beyond the physical-address width",
     .rules = "INS_VMPTRLD_PAWIDTH")
{
        u64 highest = BIT(physical_address_width() - 1);
        struct vmx_result r;

        pointer_width(INSN_VMPTRLD, VMERR_VMPTRLD_ADDRESS);
        if (vmx_caps()->basic & CAP_ADDRESSES_32BIT)
                return;
        /* What is there, if anything, is unknown: but the address is legal. */
        vm_begin(GUEST_NATIVE);
        r = vmptrld(&highest);
        check_result_either(__FILE__, __LINE__, "the highest legal bit", r,
                            RESULT(FAIL_VALID(VMERR_VMPTRLD_REVISION)),
                            RESULT(SUCCEED));
}

CASE(vmptrld_width_keys, .id = "vmptrld.width-keys", .sdm = SDM,
     .title = "bits of private key identifiers are beyond the width",
     .rules = "INS_VMPTRLD_PAWIDTH_TME", .needs = "tme")
{
        pointer_width_keys(INSN_VMPTRLD, VMERR_VMPTRLD_ADDRESS);
}

CASE(vmptrld_32_bits, .id = "vmptrld.32-bit-addresses", .sdm = SDM,
     .title = "IA32_VMX_BASIC[48] = 1: the address has 32 bits",
     .rules = "INS_VMPTRLD_BASIC48 CAP_BASIC_BIT48_EFFECT",
     .needs = "vmx-addresses-32bit")
{
        pointer_bits_refused(INSN_VMPTRLD, 32, 32, VMERR_VMPTRLD_ADDRESS);
}

CASE(vmptrld_high_half, .id = "vmptrld.high-half", .sdm = SDM,
     .title = "the operand has 64 bits in 32-bit mode too", .needs = "host32",
     .rules = "INS_VMPTRLD_OPERAND_64BIT")
{
        pointer_bits_refused(INSN_VMPTRLD, 63, 63, VMERR_VMPTRLD_ADDRESS);
}

CASE(vmptrld_all_ones, .id = "vmptrld.all-ones", .sdm = SDM,
     .title = "FFFFFFFF_FFFFFFFFH is refused", .rules = "INS_VMPTRLD_ALLONES")
{
        pointer_refused(INSN_VMPTRLD, NO_VMCS, VMERR_VMPTRLD_ADDRESS);
}

CASE(vmptrld_vmxon_pointer, .id = "vmptrld.vmxon-pointer", .sdm = SDM,
     .title = "the VMXON pointer is refused", .rules = "INS_VMPTRLD_VMXON_PTR")
{
        u64 other = phys(vmcs_region_new());

        pointer_refused(INSN_VMPTRLD, this_vmx()->vmxon_pointer,
                        VMERR_VMPTRLD_VMXON_POINTER);
        CHECK_RESULT("VMPTRLD of another region", vmptrld(&other), SUCCEED);
}

CASE(vmptrld_order, .id = "vmptrld.vmxon-pointer.misaligned", .sdm = SDM,
     .title = "the address is checked before it is compared to the VMXON pointer",
     .rules = "INS_VMPTRLD_ORDER_9_10")
{
        pointer_refused(INSN_VMPTRLD, this_vmx()->vmxon_pointer | 1,
                        VMERR_VMPTRLD_ADDRESS);
}

/* A region with this first doubleword is refused; with the right one, not. */
static void revision_refused(u32 revision)
{
        struct vmcs_region *region = vmcs_region_new();
        u32 right = region->revision;

        region->revision = revision;
        pointer_refused(INSN_VMPTRLD, phys(region), VMERR_VMPTRLD_REVISION);
        region->revision = right;
        CHECK_RESULT("VMPTRLD with the right identifier",
                     vmptrld(&(u64){ phys(region) }), SUCCEED);
}

FAMILY(vmptrld_revision, 31, .id = "vmptrld.revision", .sdm = SDM,
       .title = "one bit of the VMCS revision identifier is wrong",
       .rules = "INS_VMPTRLD_REVISION CAP_BASIC_REVISION")
{
        revision_refused((u32)vmx_cap(basic, REVISION) ^ 1u << row);
}

static const struct row value_rows[] = {
        { .id = "next", .title = "the identifier plus 1" },
        { .id = "zero", .title = "0" },
};

TABLE(vmptrld_revision_value, value_rows, .id = "vmptrld.revision", .sdm = SDM,
      .title = "another revision identifier", .rules = "INS_VMPTRLD_REVISION")
{
        u32 right = (u32)vmx_cap(basic, REVISION);

        if (row && !right)
                case_skip("0 is this processor's revision identifier");
        else
                revision_refused(row ? 0 : (right + 1) & ~SHADOW);
}

CASE(vmptrld_no_shadow, .id = "vmptrld.shadow.unsupported", .sdm = SDM,
     .title = "bit 31 of the first doubleword must be 0",
     .rules = "INS_VMPTRLD_SHADOW_UNSUPPORTED", .needs = "!vmcs-shadowing")
{
        revision_refused((u32)vmx_cap(basic, REVISION) | SHADOW);
}

CASE(vmptrld_shadow, .id = "vmptrld.shadow.supported", .sdm = SDM,
     .title = "a shadow VMCS can be made current",
     .rules = "INS_VMPTRLD_SHADOW_SUPPORTED", .needs = "vmcs-shadowing")
{
        struct vmcs_region *region = vmcs_region_new();
        u64 pointer = phys(region);

        region->revision |= SHADOW;
        vm_begin(GUEST_NATIVE);
        CHECK_RESULT("VMPTRLD", vmptrld(&pointer), SUCCEED);
        CHECK_EQ("current-VMCS pointer", current_vmcs(), pointer);
        CHECK_RESULT("VMCLEAR", vmclear(&pointer), SUCCEED);
        region->revision ^= 1;
        pointer_refused(INSN_VMPTRLD, pointer, VMERR_VMPTRLD_REVISION);
}

CASE(vmptrld_abort, .id = "vmptrld.abort-indicator", .sdm = SDM,
     .title = "the VMX-abort indicator is not checked",
     .rules = "INS_VMPTRLD_ABORT_INDICATOR")
{
        struct vmcs_region *region = vmcs_region_new();
        u64 pointer = phys(region);

        region->abort_indicator = ~0u;
        vm_begin(GUEST_NATIVE);
        CHECK_RESULT("VMPTRLD", vmptrld(&pointer), SUCCEED);
        CHECK_EQ("current-VMCS pointer", current_vmcs(), pointer);
}

CASE(vmptrld_success, .id = "vmptrld.current", .sdm = SDM,
     .title = "VMPTRLD makes a VMCS current",
     .rules = "INS_VMPTRLD_SUCCESS")
{
        u64 pointer = phys(vmcs_region_new());
        ulong value = 0;

        begin_without_vmcs();
        CHECK_RESULT("VMREAD before", vmread_raw(FIELD, &value), FAIL_INVALID);
        CHECK_RESULT("VMPTRLD", vmptrld(&pointer), SUCCEED);
        CHECK_EQ("current-VMCS pointer", current_vmcs(), pointer);
        CHECK_RESULT("VMWRITE", vmwrite_raw(FIELD, 0x77), SUCCEED);
        CHECK_RESULT("VMREAD", vmread_raw(FIELD, &value), SUCCEED);
        CHECK_EQ("value", value, 0x77);
}

CASE(vmptrld_replaces, .id = "vmptrld.another", .sdm = SDM,
     .title = "another VMCS becomes current, and each keeps data and launch state",
     .rules = "INS_VMPTRLD_REPLACES INS_VMPTRLD_NO_LAUNCH_CHANGE")
{
        struct vm *a = vm_begin(GUEST_NATIVE), *b;

        CHECK_RESULT("VMLAUNCH of the first", vm_launch(a), EXITS(EXIT_VMCALL));
        vmwrite(FIELD, 0x1111);
        b = vm_new(GUEST_NATIVE);
        if (!CHECK_EQ("current-VMCS pointer", current_vmcs(), b->pointer))
                return;
        vmwrite(FIELD, 0x2222);
        vm_load(a);
        if (!CHECK_EQ("current-VMCS pointer", current_vmcs(), a->pointer))
                return;
        CHECK_EQ("field of the first", vmread(FIELD), 0x1111);
        CHECK_RESULT("VMLAUNCH of it again", vm_launch(a),
                     FAIL_VALID(VMERR_VMLAUNCH_NOT_CLEAR));
        CHECK_RESULT("VMRESUME", vm_resume(a), EXITS(EXIT_VMCALL));
        vm_load(b);
        CHECK_EQ("field of the second", vmread(FIELD), 0x2222);
        CHECK_RESULT("VMRESUME of the second", vm_resume(b),
                     FAIL_VALID(VMERR_VMRESUME_NOT_LAUNCHED));
        CHECK_RESULT("VMLAUNCH of the second", vm_launch(b), EXITS(EXIT_VMCALL));
}

CASE(vmptrld_same, .id = "vmptrld.same", .sdm = SDM,
     .title = "VMPTRLD of the current VMCS changes nothing",
     .rules = "INS_VMPTRLD_SAME")
{
        struct vm *vm = vm_begin(GUEST_NATIVE);

        CHECK_RESULT("VMLAUNCH", vm_launch(vm), EXITS(EXIT_VMCALL));
        vmwrite(FIELD, 0x3333);
        vm_load(vm);
        if (!CHECK_EQ("current-VMCS pointer", current_vmcs(), vm->pointer))
                return;
        CHECK_EQ("field", vmread(FIELD), 0x3333);
        CHECK_RESULT("VMRESUME", vm_resume(vm), EXITS(EXIT_VMCALL));
}

enum failure { FAIL_ADDRESS, FAIL_VMXON, FAIL_REVISION };

static const struct row failure_rows[] = {
        [FAIL_ADDRESS] = { "address", "a misaligned address" },
        [FAIL_VMXON] = { "vmxon-pointer", "the VMXON pointer" },
        [FAIL_REVISION] = { "revision", "a wrong revision identifier" },
};

TABLE(vmptrld_failed, failure_rows, .id = "vmptrld.failed", .sdm = SDM,
      .title = "a failed VMPTRLD keeps the current VMCS, or none",
      .rules = "INS_VMPTRLD_FAIL_KEEPS INS_VMPTRLD_FAIL_NO_CURRENT")
{
        struct vmcs_region *region = vmcs_region_new();
        struct vm *vm = vm_begin(GUEST_NATIVE);
        u64 pointer = phys(region);
        u32 error = VMERR_VMPTRLD_REVISION;
        ulong value = 0;

        if (row == FAIL_ADDRESS) {
                pointer |= 1;
                error = VMERR_VMPTRLD_ADDRESS;
        } else if (row == FAIL_VMXON) {
                pointer = this_vmx()->vmxon_pointer;
                error = VMERR_VMPTRLD_VMXON_POINTER;
        } else {
                region->revision ^= 1;
        }
        vmwrite(FIELD, 0x4444);
        vm_poison(error);
        CHECK_RESULT("VMPTRLD", vmptrld(&pointer), FAIL_VALID(error));
        if (!CHECK_EQ("current-VMCS pointer", current_vmcs(), vm->pointer))
                return;
        CHECK_EQ("field", vmread(FIELD), 0x4444);
        CHECK_RESULT("VM entry", vm_enter(vm), EXITS(EXIT_VMCALL));

        begin_without_vmcs();
        CHECK_RESULT("VMPTRLD with none current", vmptrld(&pointer), FAIL_INVALID);
        CHECK_EQ("current-VMCS pointer", current_vmcs(), NO_VMCS);
        CHECK_RESULT("VMREAD", vmread_raw(FIELD, &value), FAIL_INVALID);
}
