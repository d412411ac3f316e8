/*
 * SDM Vol. 3, VMX Instruction Reference > INVEPT and INVVPID: where they are
 * undefined, who may execute them, and how their memory operands fault.
 */
#include "x86/memory.h"
#include "x86/vmx/modes.h"
#include "x86/vmx/operand.h"

#define SDM_INVEPT "VMX Instruction Reference > INVEPT"
#define SDM_INVVPID "VMX Instruction Reference > INVVPID"

static const struct mode_row invept_rows[] = { MODE_ROWS(INVEPT) };
static const struct mode_row invvpid_rows[] = { MODE_ROWS(INVVPID) };

MODES(invept_modes, invept_rows, .id = "invept.mode",
      .title = "where INVEPT may be executed", .sdm = SDM_INVEPT, .needs = "invept")
MODES(invvpid_modes, invvpid_rows, .id = "invvpid.mode",
      .title = "where INVVPID may be executed", .sdm = SDM_INVVPID, .needs = "invvpid")

static const struct operand_row invept_operands[] = {
        OPERAND_ROWS(INVEPT, 0), OPERAND_SOURCE_ROWS(INVEPT),
};
static const struct operand_row invvpid_operands[] = {
        OPERAND_ROWS(INVVPID, 0), OPERAND_SOURCE_ROWS(INVVPID),
};

OPERANDS(invept_operand, invept_operands, .id = "invept.operand",
         .title = "access to the descriptor of INVEPT", .sdm = SDM_INVEPT,
         .needs = "invept")
OPERANDS(invvpid_operand, invvpid_operands, .id = "invvpid.operand",
         .title = "access to the descriptor of INVVPID", .sdm = SDM_INVVPID,
         .needs = "invvpid")

/* #UD in VMX root operation, and in a guest without a VM exit. */
static void check_undefined(const struct code *code)
{
        ulong operand = (ulong)page_alloc(1);

        vm_begin(GUEST_NATIVE);
        CHECK_RESULT("in VMX root operation", raw_run(RAW_NATIVE, code, operand),
                     FAULT(VEC_UD));
        CHECK_RESULT("in a guest", raw_guest(vm_begin(GUEST_NATIVE), code, operand),
                     FAULT(VEC_UD));
}

struct absent {
        struct row head;
        u8 insn;
};

static const struct absent absents[] = {
        { ROW("invept.absent.feature", "#UD on a processor without EPT",
              "INS_INVEPT_UD_FEATURE_ABSENT", "!enable-ept"), INSN_INVEPT },
        { ROW("invept.absent.instruction", "#UD with EPT and without INVEPT",
              "INS_INVEPT_UD_INSTR_ABSENT", "enable-ept !invept"), INSN_INVEPT },
        { ROW("invvpid.absent.feature", "#UD on a processor without VPIDs",
              "INS_INVVPID_UD_FEATURE_ABSENT", "!enable-vpid"), INSN_INVVPID },
        { ROW("invvpid.absent.instruction", "#UD with VPIDs and without INVVPID",
              "INS_INVVPID_UD_INSTR_ABSENT", "enable-vpid !invvpid"), INSN_INVVPID },
};

/* Their accepted side needs a processor that has them: the tables above. */
TABLE(absent, absents, .id = "invalidate", .title = "an instruction that is not there",
      .sdm = SDM_INVEPT)
{
        struct code code = { 0 };

        code_insn(&code, ((const struct absent *)case_row(self, row))->insn);
        check_undefined(&code);
}

struct form {
        struct row head;
        u8 insn;
        bool register_form, no_prefix;
};

static const struct form forms[] = {
        { ROW("invept.register", "a register operand", "INS_INVEPT_UD_REGISTER_FORM",
              "invept"), INSN_INVEPT, .register_form = true },
        { ROW("invept.no-66", "no prefix 66H", "INS_INVEPT_UD_PREFIX", "invept"),
          INSN_INVEPT, .no_prefix = true },
        { ROW("invvpid.register", "a register operand", "INS_INVVPID_UD_REGISTER_FORM",
              "invvpid"), INSN_INVVPID, .register_form = true },
        { ROW("invvpid.no-66", "no prefix 66H", "INS_INVVPID_UD_PREFIX", "invvpid"),
          INSN_INVVPID, .no_prefix = true },
};

TABLE(form, forms, .id = "invalidate.form", .title = "forms that do not exist",
      .sdm = SDM_INVEPT)
{
        const struct form *f = case_row(self, row);
        const struct insn *insn = &insns[f->insn];
        struct code code = { 0 };

        code_insn(&code, f->insn);
        CHECK_RESULT("the form that exists, in a guest",
                     raw_guest(vm_begin(GUEST_NATIVE), &code, (ulong)page_alloc(1)),
                     EXITS(insn->exit));
        code.size = 0;
        code_add(&code, insn->bytes + f->no_prefix, insn->size - (unsigned)f->no_prefix);
        if (f->register_form)
                code.bytes[code.size - 1] |= 0xc0;
        check_undefined(&code);
}
