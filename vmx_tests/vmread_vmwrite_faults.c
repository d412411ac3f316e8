/*
 * SDM Vol. 3, VMX Instruction Reference > VMREAD and VMWRITE: where they are
 * undefined, who may execute them, and how their memory operands fault.
 */
#include "x86/vmx/modes.h"
#include "x86/vmx/operand.h"
#include "x86/vmx/pointer.h"

#define SDM_READ "VMX Instruction Reference > VMREAD"
#define SDM_WRITE "VMX Instruction Reference > VMWRITE"

static const struct mode_row read_modes[] = { MODE_ROWS(VMREAD) };
static const struct mode_row write_modes[] = { MODE_ROWS(VMWRITE) };

MODES(vmread_modes, read_modes, .id = "vmread.mode",
      .title = "where VMREAD may be executed", .sdm = SDM_READ)
MODES(vmwrite_modes, write_modes, .id = "vmwrite.mode",
      .title = "where VMWRITE may be executed", .sdm = SDM_WRITE)

static const struct operand_row read_operands[] = {
        OPERAND_ROWS(VMREAD, PF_W), OPERAND_DESTINATION_ROWS(VMREAD),
};
static const struct operand_row write_operands[] = {
        OPERAND_ROWS(VMWRITE, 0), OPERAND_SOURCE_ROWS(VMWRITE),
};

OPERANDS(vmread_operands, read_operands, .id = "vmread.operand",
         .title = "access to the destination of VMREAD", .sdm = SDM_READ)
OPERANDS(vmwrite_operands, write_operands, .id = "vmwrite.operand",
         .title = "access to the source of VMWRITE", .sdm = SDM_WRITE)

struct order {
        struct row head;
        u8 insn;
        u32 field;
        bool current;
        struct vmx_result at_cpl0;
};

#define ORDER(id, title, rule, N, FIELD, CURRENT, ...) \
        { ROW(id, title, rule), INSN_##N, FIELD, CURRENT, __VA_ARGS__ }
#define ORDER_ROWS(N, id)                                                     \
        ORDER(id ".no-current", #N ", no VMCS current", "INS_" #N "_ORDER",   \
              N, VMCS_GUEST_RSP, false, FAIL_INVALID),                        \
        ORDER(id ".unsupported", #N ", an encoding that names no field",      \
              "INS_" #N "_ORDER", N, 0x03fe, true,                            \
              FAIL_VALID(VMERR_UNSUPPORTED_FIELD))

static const struct order orders[] = {
        ORDER_ROWS(VMREAD, "vmread"), ORDER_ROWS(VMWRITE, "vmwrite"),
        ORDER("vmwrite.read-only", "VMWRITE, a read-only field", "INS_VMWRITE_ORDER",
              VMWRITE, VMCS_EXIT_REASON, true, { 0 }),
        ORDER("vmlaunch.no-current", "VMLAUNCH, no VMCS current",
              "INS_VMLAUNCH_GP_CPL", VMLAUNCH, 0, false, FAIL_INVALID),
        ORDER("vmresume.no-current", "VMRESUME, no VMCS current",
              "INS_VMRESUME_GP_CPL", VMRESUME, 0, false, FAIL_INVALID),
};

/* What it does at CPL 0 (kind 0: it depends on IA32_VMX_MISC[29]), then at CPL 3. */
TABLE(cpl_first, orders, .id = "cpl-first",
      .title = "the CPL is looked at before what else is wrong", .sdm = SDM_READ)
{
        static u64 operand;
        const struct order *o = case_row(self, row);
        struct code code = { 0 };

        CODE_ADD(&code, 0xb9);                  /* mov CX */
        code_add(&code, &o->field, sizeof(o->field));
        code_insn(&code, o->insn);
        if (o->current) {
                vm_begin(GUEST_NATIVE);
                vm_poison(o->at_cpl0.code);
        } else {
                begin_without_vmcs();
        }
        if (o->at_cpl0.kind)
                check_result(__FILE__, (int)self->line, "at CPL 0",
                             raw_run(RAW_NATIVE, &code, (ulong)&operand), o->at_cpl0);
        if (o->current)
                vm_poison(0);
        CHECK_RESULT("at CPL 3", raw_run(RAW_CPL3, &code, (ulong)&operand),
                     FAULT_CODE(VEC_GP, 0));
        if (o->current)
                CHECK_EQ("VM-instruction error", vmread(VMCS_VM_INSTRUCTION_ERROR),
                         VMERR_UNSUPPORTED_FIELD);
}

struct prefix {
        struct row head;
        u8 prefix;        /* 0: none, the accepted side */
        u8 modrm;         /* of the forms with register and memory operand */
};

#define REGISTERS 0xca    /* CX and DX */
#define MEMORY 0x08       /* CX and [AX] */

static const struct prefix prefixes[] = {
        { { "66.register", "prefix 66H", NULL, NULL }, 0x66, REGISTERS },
        { { "66.memory", "prefix 66H", NULL, NULL }, 0x66, MEMORY },
        { { "f2.register", "prefix F2H", NULL, NULL }, 0xf2, REGISTERS },
        { { "f2.memory", "prefix F2H", NULL, NULL }, 0xf2, MEMORY },
        { { "f3.register", "prefix F3H", NULL, NULL }, 0xf3, REGISTERS },
        { { "f3.memory", "prefix F3H", NULL, NULL }, 0xf3, MEMORY },
};

static void assemble(struct code *code, const struct prefix *p, bool prefixed,
                     u8 opcode)
{
        static const u32 field = VMCS_GUEST_RSP;

        CODE_ADD(code, 0xb9);                   /* mov CX */
        code_add(code, &field, sizeof(field));
        if (prefixed)
                CODE_ADD(code, p->prefix);
        CODE_ADD(code, 0x0f, opcode, p->modrm);
}

/* #UD with the prefix, in VMX root operation and, without VM exit, in a guest. */
static void check_prefix(const struct prefix *p, u8 opcode, u32 reason)
{
        static u64 operand;

        for (unsigned prefixed = 0; prefixed < 2; prefixed++) {
                struct code code = { 0 };
                struct vmx_result r;

                assemble(&code, p, prefixed, opcode);
                vm_begin(GUEST_NATIVE);
                r = raw_run(RAW_NATIVE, &code, (ulong)&operand);
                if (prefixed)
                        CHECK_RESULT("with the prefix", r, FAULT(VEC_UD));
                else
                        CHECK_RESULT("without the prefix", r, SUCCEED);
                r = raw_guest(vm_begin(GUEST_NATIVE), &code, (ulong)&operand);
                if (prefixed)
                        CHECK_RESULT("with the prefix, in a guest", r, FAULT(VEC_UD));
                else
                        CHECK_RESULT("without the prefix, in a guest", r, EXITS(reason));
        }
}

TABLE(vmread_prefix, prefixes, .id = "vmread.prefix",
      .title = "VMREAD takes no such prefix", .sdm = SDM_READ,
      .rules = "INS_PREFIX_VMREAD")
{
        check_prefix(case_row(self, row), 0x78, EXIT_VMREAD);
}

TABLE(vmwrite_prefix, prefixes, .id = "vmwrite.prefix",
      .title = "VMWRITE takes no such prefix", .sdm = SDM_WRITE,
      .rules = "INS_PREFIX_VMWRITE")
{
        check_prefix(case_row(self, row), 0x79, EXIT_VMWRITE);
}
