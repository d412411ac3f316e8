/*
 * SDM Vol. 3, VMX Instruction Reference > VMPTRST. Where it is refused, its
 * destination, and what it stores.
 */
#include "x86/vmx/modes.h"
#include "x86/vmx/operand.h"
#include "x86/vmx/pointer.h"
#include "x86/vmx/session.h"

#define SDM "VMX Instruction Reference > VMPTRST—Store Pointer to Virtual-Machine Control Structure"

static const struct mode_row mode_rows[] = { MODE_ROWS(VMPTRST) };

MODES(vmptrst_modes, mode_rows, .id = "vmptrst", .title = "refused", .sdm = SDM)

static const struct operand_row operand_rows[] = {
        OPERAND_ROWS(VMPTRST, PF_W),
        OPERAND_DESTINATION_ROWS(VMPTRST),
};

OPERANDS(vmptrst_operands, operand_rows, .id = "vmptrst.operand",
         .title = "memory operand", .sdm = SDM)

struct form_row {
        struct row head;
        u8 size, bytes[4];
};

/* 0F C7 /7 of a register is RDSEED where there is one. */
static const struct form_row form_rows[] = {
        { ROW("register", "the register form", "INS_VMPTRST_UD_REGISTER",
              "!rdseed"), 3, { 0x0f, 0xc7, 0xf8 } },
        { ROW("prefix-66", "prefix 66", "INS_PREFIX_VMPTRST"),
          4, { 0x66, 0x0f, 0xc7, 0x38 } },
        { ROW("prefix-f2", "prefix F2", "INS_PREFIX_VMPTRST"),
          4, { 0xf2, 0x0f, 0xc7, 0x38 } },
        { ROW("prefix-f3", "prefix F3", "INS_PREFIX_VMPTRST"),
          4, { 0xf3, 0x0f, 0xc7, 0x38 } },
};

TABLE(vmptrst_forms, form_rows, .id = "vmptrst.form", .sdm = SDM,
      .title = "undefined forms of 0F C7 /7")
{
        const struct form_row *r = case_row(self, row);
        struct code right = { 0 }, wrong = { 0 };
        u64 stored = 0x55;

        vm_begin(GUEST_NATIVE);
        code_insn(&right, INSN_VMPTRST);
        code_add(&wrong, r->bytes, r->size);
        CHECK_RESULT("the form of 0F C7 38",
                     raw_run(RAW_NATIVE, &right, (ulong)&stored), SUCCEED);
        stored = 0x55;
        CHECK_RESULT("this form", raw_run(RAW_NATIVE, &wrong, (ulong)&stored),
                     FAULT(VEC_UD));
        CHECK_EQ("memory afterwards", stored, 0x55);
}

CASE(vmptrst_current, .id = "vmptrst.current", .sdm = SDM,
     .title = "VMPTRST stores the pointer of the current VMCS",
     .rules = "INS_VMPTRST_CURRENT INS_VMPTRST_NEVER_FAILS")
{
        struct vm *a = vm_begin(GUEST_NATIVE), *b = vm_new(GUEST_NATIVE);
        u64 stored[3] = { 0x55, 0x66, 0x77 };

        CHECK_RESULT("VMPTRST", vmptrst(&stored[1]), SUCCEED);
        CHECK_EQ("pointer", stored[1], b->pointer);
        CHECK_EQ("8 bytes before", stored[0], 0x55);
        CHECK_EQ("8 bytes behind", stored[2], 0x77);
        CHECK_RESULT("VMPTRST again", vmptrst(&stored[1]), SUCCEED);
        CHECK_EQ("pointer", stored[1], b->pointer);
        vm_load(a);
        CHECK_RESULT("VMPTRST", vmptrst(&stored[1]), SUCCEED);
        CHECK_EQ("pointer", stored[1], a->pointer);
        CHECK_RESULT("VM entry", vm_enter(a), EXITS(EXIT_VMCALL));
}

static const struct row none_rows[] = {
        { .id = "vmxon", .title = "right after VMXON" },
        { .id = "vmclear", .title = "after VMCLEAR of the current VMCS" },
};

TABLE(vmptrst_none, none_rows, .id = "vmptrst.none", .sdm = SDM,
      .title = "VMPTRST stores FFFFFFFF_FFFFFFFFH while no VMCS is current",
      .rules = "INS_VMPTRST_NONE INS_VMPTRST_NEVER_FAILS")
{
        u64 stored = 0x66;

        begin_without_vmcs();
        if (!row) {
                vmx_off();
                vmx_on();
        }
        CHECK_RESULT("VMPTRST", vmptrst(&stored), SUCCEED);
        CHECK_EQ("pointer", stored, NO_VMCS);
}
