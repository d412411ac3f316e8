/*
 * SDM Vol. 3, VMX Instruction Reference > VMXON. Where it is refused, its
 * operand, the pointers that it refuses, and VMX root operation that it enters.
 * What it asks of CR0, CR4 and IA32_FEATURE_CONTROL: operation_restrictions_cr.c
 * and operation_feature_control.c.
 */
#include "lib/string.h"
#include "x86/memory.h"
#include "x86/paging.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/modes.h"
#include "x86/vmx/operand.h"
#include "x86/vmx/pointer.h"
#include "x86/vmx/session.h"

#define SDM "VMX Instruction Reference > VMXON—Enter VMX Operation"
#define FIELD VMCS_GUEST_SYSENTER_CS

static const struct mode_row mode_rows[] = {
        MODE_ROWS_UD(VMXON),
        MODE_ROW("outside.compat", "VMXON in compatibility mode outside VMX",
                 "INS_VMXON_UD_COMPAT", "host64", INSN_VMXON, STATE_OFF,
                 RAW_COMPAT, 0, FAULT(VEC_UD)),
        MODE_ROW("vmxe-0", "VMXON with CR4.VMXE = 0",
                 "INS_VMXON_UD_VMXE CR_VMXON_CR4_VMXE_CLEAR", NULL, INSN_VMXON,
                 STATE_OFF_VMXE0, RAW_NATIVE, 0, FAULT(VEC_UD)),
        MODE_ROW("vmxe-0.cpl3", "VMXON with CR4.VMXE = 0 at CPL 3",
                 "INS_VMXON_UD_VMXE", NULL, INSN_VMXON, STATE_OFF_VMXE0,
                 RAW_CPL3, 0, FAULT(VEC_UD)),
        MODE_ROW("vmxe-1.real", "VMXON in real-address mode, CR4.VMXE = 1",
                 "CR_VMXON_CR0_PE_CLEAR", "host32", INSN_VMXON, STATE_OFF,
                 RAW_REAL, 0, FAULT(VEC_UD)),
        MODE_ROWS_INNER_CPL(VMXON, "outside", "INS_VMXON_GP_CPL", STATE_OFF),
        MODE_ROWS_INNER_CPL(VMXON, "root", "INS_VMXON_GP_CPL_ROOT", STATE_ROOT),
        MODE_ROW("outside.cpl3", "VMXON at CPL 3, its operand a supervisor page",
                 "INS_VMXON_GP_CPL INS_VMXON_GP_BEFORE_OPERAND", NULL,
                 INSN_VMXON, STATE_OFF, RAW_CPL3, 0, FAULT_CODE(VEC_GP, 0)),
        MODE_ROW("outside.cpl3.bad-pointer",
                 "VMXON at CPL 3 where at CPL 0 it would fail",
                 "INS_VMXON_GP_CPL", NULL, INSN_VMXON, STATE_OFF, RAW_CPL3,
                 MODE_BAD_POINTER, FAULT_CODE(VEC_GP, 0)),
        MODE_ROW("root.cpl3", "VMXON at CPL 3 in VMX root operation",
                 "INS_VMXON_GP_CPL_ROOT", NULL, INSN_VMXON, STATE_ROOT,
                 RAW_CPL3, MODE_BAD_POINTER, FAULT_CODE(VEC_GP, 0)),
};

MODES(vmxon_modes, mode_rows, .id = "vmxon", .title = "refused", .sdm = SDM)

static const struct operand_row operand_rows[] = {
        OPERAND_ROWS(VMXON, 0),
        OPERAND_SOURCE_ROWS(VMXON),
};

OPERANDS(vmxon_operands, operand_rows, .id = "vmxon.operand",
         .title = "memory operand", .sdm = SDM)

/* Outside VMX operation, ready for VMXON. */
static void begin_outside(void)
{
        vmx_off();
        vmx_prepare();
}

/* The case must end in vmx_off(). */
static struct vmx_result enter_vmx(struct vmcs_region *region)
{
        begin_outside();
        return pointer_insn(INSN_VMXON, phys(region));
}

CASE(vmxon_register, .id = "vmxon.register", .sdm = SDM,
     .title = "the register form is undefined", .needs = "!uintr",
     .rules = "INS_VMXON_UD_REGISTER")
{
        u64 pointer = phys(vmcs_region_new());
        struct code memory = { 0 }, reg = { 0 };

        begin_outside();
        CODE_ADD(&reg, 0xf3, 0x0f, 0xc7, 0xf0);
        CHECK_RESULT("register form", raw_run(RAW_NATIVE, &reg, (ulong)&pointer),
                     FAULT(VEC_UD));
        code_insn(&memory, INSN_VMXON);
        CHECK_RESULT("memory form", raw_run(RAW_NATIVE, &memory, (ulong)&pointer),
                     SUCCEED);
        vmx_set_operating(true);
        vmx_off();
}

CASE(vmxon_gp_before_operand, .id = "vmxon.cr0-before-operand", .sdm = SDM,
     .title = "CR0 is checked before the operand is read",
     .rules = "INS_VMXON_GP_BEFORE_OPERAND")
{
        const u64 *operand = page_alloc(1);

        begin_outside();
        paging_set(operand, 0);
        CHECK_RESULT("VMXON, operand not present", vmxon(operand),
                     FAULT_CODE(VEC_PF, 0));
        write_cr0(read_cr0() & ~(ulong)CR0_NE);
        CHECK_RESULT("VMXON with CR0.NE = 0", vmxon(operand),
                     FAULT_CODE(VEC_GP, 0));
        write_cr0(read_cr0() | CR0_NE);
}

FAMILY(vmxon_align, 12, .id = "vmxon.align", .sdm = SDM,
       .title = "the address must be aligned: one bit of 11:0 set",
       .rules = "INS_VMXON_ALIGN")
{
        pointer_bits_refused(INSN_VMXON, row, row, 0);
}

CASE(vmxon_width, .id = "vmxon.width", .sdm = SDM,
     .title = "the address must not have bits beyond the physical-address width",
     .rules = "INS_VMXON_PAWIDTH")
{
        pointer_width(INSN_VMXON, 0);
}

CASE(vmxon_width_keys, .id = "vmxon.width-keys", .sdm = SDM,
     .title = "bits of private key identifiers are beyond the width",
     .rules = "INS_VMXON_PAWIDTH_TME", .needs = "tme")
{
        pointer_width_keys(INSN_VMXON, 0);
}

CASE(vmxon_32_bits, .id = "vmxon.32-bit-addresses", .sdm = SDM,
     .title = "IA32_VMX_BASIC[48] = 1: the address has 32 bits",
     .rules = "INS_VMXON_BASIC48 CAP_BASIC_BIT48_EFFECT",
     .needs = "vmx-addresses-32bit")
{
        pointer_bits_refused(INSN_VMXON, 32, 32, 0);
}

CASE(vmxon_all_ones, .id = "vmxon.all-ones", .sdm = SDM,
     .title = "FFFFFFFF_FFFFFFFFH is refused", .rules = "INS_VMXON_POINTER_ALLONES")
{
        pointer_refused(INSN_VMXON, NO_VMCS, 0);
        pointer_bits_refused(INSN_VMXON, 0, 0, 0);
}

CASE(vmxon_zero, .id = "vmxon.zero", .sdm = SDM,
     .title = "physical address 0 is a legal VMXON pointer",
     .rules = "INS_VMXON_POINTER_ZERO")
{
        void *saved = page_alloc(1);
        struct vmcs_region *zero = NULL;

        asm("" : "+r"(zero));  /* the real-mode vectors stand there */
        memcpy(saved, zero, PAGE_SIZE);
        memset(zero, 0, PAGE_SIZE);
        begin_outside();
        zero->revision = (u32)vmx_cap(basic, REVISION);
        CHECK_RESULT("VMXON", pointer_insn(INSN_VMXON, 0), SUCCEED);
        vmx_off();
        memcpy(zero, saved, PAGE_SIZE);
}

/* The region's first doubleword, one bit of it wrong. */
FAMILY(vmxon_revision, 31, .id = "vmxon.revision", .sdm = SDM,
       .title = "one bit of the VMCS revision identifier is wrong",
       .rules = "INS_VMXON_REVISION CAP_BASIC_REVISION")
{
        struct vmcs_region *region = vmcs_region_new();

        region->revision ^= 1u << row;
        CHECK_RESULT("VMXON", enter_vmx(region), FAIL_INVALID);
        CHECK_RESULT("VMPTRST", vmptrst(&(u64){ 0 }), FAULT(VEC_UD));
        region->revision ^= 1u << row;
        CHECK_RESULT("VMXON of the right one", enter_vmx(region), SUCCEED);
        vmx_off();
}

CASE(vmxon_shadow, .id = "vmxon.shadow", .sdm = SDM,
     .title = "bit 31 of the first doubleword must be 0",
     .rules = "INS_VMXON_SHADOW_BIT")
{
        struct vmcs_region *region = vmcs_region_new();

        region->revision |= 1u << 31;
        CHECK_RESULT("VMXON", enter_vmx(region), FAIL_INVALID);
        CHECK_RESULT("VMPTRST", vmptrst(&(u64){ 0 }), FAULT(VEC_UD));
        region->revision &= ~(1u << 31);
        CHECK_RESULT("VMXON of the right one", enter_vmx(region), SUCCEED);
        vmx_off();
}

CASE(vmxon_rest, .id = "vmxon.region.rest", .sdm = SDM,
     .title = "nothing but the first doubleword of the region is checked",
     .rules = "INS_VMXON_REST_OF_REGION VMCS_VMXON_REGION_CONTENT")
{
        struct vmcs_region *region = vmcs_region_new();

        memset((u8 *)region + 4, 0xff, PAGE_SIZE - 4);
        CHECK_RESULT("VMXON", enter_vmx(region), SUCCEED);
        vmx_off();
        memset((u8 *)region + 4, 0xa5, PAGE_SIZE - 4);
        CHECK_RESULT("VMXON", enter_vmx(region), SUCCEED);
        vmx_off();
}

CASE(vmxon_identifier_kept, .id = "vmxon.region.identifier", .sdm = SDM,
     .title = "VMXON and VMXOFF do not change the revision identifier",
     .rules = "INS_VMXON_REGION_NOT_REQUIRED_WRITE")
{
        struct vmcs_region *region = vmcs_region_new();
        u32 before = region->revision;

        CHECK_RESULT("VMXON", enter_vmx(region), SUCCEED);
        vmx_off();
        CHECK_EQ("first doubleword", region->revision, before);
}

CASE(vmxon_region_reuse, .id = "vmxon.region.reuse", .sdm =
     "Virtual Machine Control Structures > Software Use of the VMCS and Related "
     "Structures > VMXON Region",
     .title = "a VMXON region becomes a VMCS after VMXOFF, and one again",
     .rules = "VMCS_VMXON_REGION_REUSE INS_VMXON_REENTER")
{
        struct vmcs_region *first = vmcs_region_new();
        struct vmcs_region *second = vmcs_region_new();
        u32 revision = first->revision;
        u64 pointer = phys(first);

        CHECK_RESULT("VMXON", enter_vmx(first), SUCCEED);
        CHECK_RESULT("VMXON of another region", enter_vmx(second), SUCCEED);
        first->revision = revision;
        CHECK_RESULT("VMCLEAR of the first", vmclear(&pointer), SUCCEED);
        CHECK_RESULT("VMPTRLD of the first", vmptrld(&pointer), SUCCEED);
        CHECK_EQ("current-VMCS pointer", current_vmcs(), pointer);
        CHECK_RESULT("VMCLEAR of the first", vmclear(&pointer), SUCCEED);
        first->revision = revision;
        CHECK_RESULT("VMXON of the first", enter_vmx(first), SUCCEED);
        CHECK_RESULT("VMCLEAR of the VMXON pointer", vmclear(&pointer),
                     FAIL_INVALID);
        vmx_off();
}

CASE(vmxon_success, .id = "vmxon.success", .sdm = SDM,
     .title = "VMXON enters VMX operation; no VMCS is current",
     .rules = "INS_VMXON_SUCCESS INS_VMXON_NO_CURRENT_VMCS")
{
        ulong value = 0;

        vm_begin(GUEST_NATIVE);  /* a VMCS is current before VMXOFF */
        begin_outside();
        CHECK_RESULT("VMPTRST before", vmptrst(&(u64){ 0 }), FAULT(VEC_UD));
        CHECK_RESULT("VMXON", enter_vmx(vmcs_region_new()), SUCCEED);
        CHECK_EQ("current-VMCS pointer", current_vmcs(), NO_VMCS);
        CHECK_RESULT("VMREAD", vmread_raw(FIELD, &value), FAIL_INVALID);
        CHECK_RESULT("VM entry", vm_enter(vm_begin(GUEST_NATIVE)),
                     EXITS(EXIT_VMCALL));
        vmx_off();
}

CASE(vmxon_reenter, .id = "vmxon.reenter", .sdm = SDM,
     .title = "VMXON works again after VMXOFF, with either region",
     .rules = "INS_VMXON_REENTER")
{
        struct vmcs_region *a = vmcs_region_new(), *b = vmcs_region_new();

        CHECK_RESULT("VMXON", enter_vmx(a), SUCCEED);
        CHECK_RESULT("VMXON, same region", enter_vmx(a), SUCCEED);
        CHECK_RESULT("VMXON, another region", enter_vmx(b), SUCCEED);
        CHECK_EQ("current-VMCS pointer", current_vmcs(), NO_VMCS);
        vmx_off();
}

enum in_root { ROOT_SAME, ROOT_OTHER, ROOT_MISALIGNED, ROOT_REVISION,
               ROOT_CURRENT };

static const struct row root_rows[] = {
        [ROOT_SAME] = { .id = "same", .title = "the VMXON pointer" },
        [ROOT_OTHER] = { .id = "other", .title = "another valid region" },
        [ROOT_MISALIGNED] = { .id = "misaligned", .title = "a misaligned pointer",
                              .rules = "INS_VMXON_IN_ROOT_OPERAND_UNUSED" },
        [ROOT_REVISION] = { .id = "revision", .title = "a wrong identifier",
                            .rules = "INS_VMXON_IN_ROOT_OPERAND_UNUSED" },
        [ROOT_CURRENT] = { .id = "current", .title = "the current VMCS",
                           .rules = "INS_VMXON_IN_ROOT_OPERAND_UNUSED" },
};

TABLE(vmxon_in_root, root_rows, .id = "vmxon.in-root", .sdm = SDM,
      .title = "VMXON in VMX root operation fails and changes nothing",
      .rules = "INS_VMXON_IN_ROOT INS_VMXON_IN_ROOT_KEEPS_STATE")
{
        struct vmcs_region *region = vmcs_region_new();
        struct vm *vm = vm_begin(GUEST_NATIVE);
        u64 original = this_vmx()->vmxon_pointer, pointer = phys(region);

        if (row == ROOT_SAME)
                pointer = original;
        else if (row == ROOT_MISALIGNED)
                pointer |= 1;
        else if (row == ROOT_REVISION)
                region->revision ^= 1;
        else if (row == ROOT_CURRENT)
                pointer = vm->pointer;
        vm_poison(VMERR_VMXON_IN_ROOT);
        CHECK_RESULT("VMXON", vmxon(&pointer), FAIL_VALID(VMERR_VMXON_IN_ROOT));
        CHECK_EQ("current-VMCS pointer", current_vmcs(), vm->pointer);
        CHECK_RESULT("VMCLEAR of the VMXON pointer", vmclear(&original),
                     FAIL_VALID(VMERR_VMCLEAR_VMXON_POINTER));
        CHECK_RESULT("VM entry", vm_enter(vm), EXITS(EXIT_VMCALL));
        begin_without_vmcs();
        CHECK_RESULT("VMXON, no VMCS current", vmxon(&pointer), FAIL_INVALID);
        CHECK_EQ("current-VMCS pointer", current_vmcs(), NO_VMCS);
        if (row == ROOT_OTHER)
                CHECK_RESULT("VMCLEAR of the other region", vmclear(&pointer),
                             SUCCEED);
}
