/*
 * SDM Vol. 3, VMX Instruction Reference > VMXOFF. Where it is refused, and what
 * is left outside VMX operation. INIT: operation_restrictions_init.c.
 */
#include "x86/memory.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/guest_env.h"
#include "x86/vmx/modes.h"
#include "x86/vmx/pointer.h"
#include "x86/vmx/session.h"

#define SDM "VMX Instruction Reference > VMXOFF—Leave VMX Operation"
#define FIELD VMCS_GUEST_SYSENTER_CS

static const struct mode_row mode_rows[] = { MODE_ROWS(VMXOFF) };

MODES(vmxoff_modes, mode_rows, .id = "vmxoff", .title = "refused", .sdm = SDM)

static void leave(void)
{
        CHECK_RESULT("VMXOFF", vmxoff(), SUCCEED);
        vmx_set_operating(false);
        CHECK_RESULT("VMPTRST afterwards", vmptrst(&(u64){ 0 }), FAULT(VEC_UD));
}

CASE(vmxoff_current, .id = "vmxoff.current", .sdm = SDM,
     .title = "VMXOFF leaves VMX operation while a VMCS is current",
     .rules = "INS_VMXOFF_SUCCESS SMM_VMXOFF_OK_DEFAULT")
{
        vm_begin(GUEST_NATIVE);
        leave();
}

CASE(vmxoff_no_current, .id = "vmxoff.no-current", .sdm = SDM,
     .title = "VMXOFF leaves VMX operation while no VMCS is current",
     .rules = "INS_VMXOFF_SUCCESS SMM_VMXOFF_OK_DEFAULT")
{
        begin_without_vmcs();
        leave();
}

/* With a pointer for those that take one; @cx is 0, a field all processors have. */
struct then_row {
        struct row head;
        enum insn_id insn;
};

#define THEN(id, name) { ROW(id, #name), INSN_##name }
static const struct then_row then_rows[] = {
        THEN("vmxoff", VMXOFF), THEN("vmclear", VMCLEAR),
        THEN("vmptrld", VMPTRLD), THEN("vmptrst", VMPTRST),
        THEN("vmread", VMREAD), THEN("vmwrite", VMWRITE),
        THEN("vmlaunch", VMLAUNCH), THEN("vmresume", VMRESUME),
        THEN("vmcall", VMCALL), THEN("invept", INVEPT),
        THEN("invvpid", INVVPID),
};

TABLE(vmxoff_then, then_rows, .id = "vmxoff.then", .sdm = SDM,
      .title = "undefined after VMXOFF, although CR4.VMXE = 1",
      .rules = "INS_VMXOFF_THEN_UD")
{
        const struct then_row *r = case_row(self, row);
        u64 operand[2] = { phys(vmcs_region_new()), 0 };
        struct code code = { 0 };

        vm_begin(GUEST_NATIVE);
        leave();
        CHECK_MASKED("CR4.VMXE", read_cr4(), CR4_VMXE, CR4_VMXE);
        code_insn(&code, r->insn);
        CHECK_RESULT("the instruction",
                     raw_run(RAW_NATIVE, &code, (ulong)operand), FAULT(VEC_UD));
}

CASE(vmxoff_then_vmxon, .id = "vmxoff.then-vmxon", .sdm = SDM,
     .title = "a VMCS that was cleared before VMXOFF is whole after VMXON",
     .rules = "INS_VMXON_REENTER")
{
        struct vm *vm = vm_begin(GUEST_NATIVE);

        vmwrite(FIELD, 0x9876);
        CHECK_RESULT("VMCLEAR", vmclear(&vm->pointer), SUCCEED);
        leave();
        vmx_on();
        vm->launched = false;
        vm_load(vm);
        CHECK_EQ("field", vmread(FIELD), 0x9876);
        CHECK_RESULT("VM entry", vm_enter(vm), EXITS(EXIT_VMCALL));
}

CASE(vmxoff_basics, .id = "vmxoff.no-current.others", .sdm = SDM,
     .title = "what works in VMX root operation while no VMCS is current",
     .rules = "INS_LEGAL_ROOT_BASICS")
{
        u64 pointer = phys(vmcs_region_new());
        struct code vmlaunch = { 0 }, vmresume = { 0 };
        ulong value = 0;

        begin_without_vmcs();
        code_insn(&vmlaunch, INSN_VMLAUNCH);
        code_insn(&vmresume, INSN_VMRESUME);
        CHECK_RESULT("VMREAD", vmread_raw(FIELD, &value), FAIL_INVALID);
        CHECK_RESULT("VMWRITE", vmwrite_raw(FIELD, 1), FAIL_INVALID);
        CHECK_RESULT("VMLAUNCH", raw_run(RAW_NATIVE, &vmlaunch, 0), FAIL_INVALID);
        CHECK_RESULT("VMRESUME", raw_run(RAW_NATIVE, &vmresume, 0), FAIL_INVALID);
        CHECK_RESULT("VMPTRST", vmptrst(&(u64){ 0 }), SUCCEED);
        CHECK_RESULT("VMCLEAR", vmclear(&pointer), SUCCEED);
        if (vmx_caps()->ept_vpid & CAP_INVEPT_ALL)
                CHECK_RESULT("INVEPT", invept(2, &(struct inv_descriptor){ 0 }),
                             SUCCEED);
        if (vmx_caps()->ept_vpid & CAP_INVVPID_ALL)
                CHECK_RESULT("INVVPID", invvpid(2, &(struct inv_descriptor){ 0 }),
                             SUCCEED);
        CHECK_RESULT("VMPTRLD", vmptrld(&pointer), SUCCEED);
        CHECK_RESULT("VMCLEAR", vmclear(&pointer), SUCCEED);
        leave();
}

CASE(vmxoff_registers, .id = "vmxoff.control-registers", .sdm =
     "Introduction to Virtual Machine Extensions > Restrictions on VMX Operation",
     .title = "VMXON and VMXOFF leave CR0, CR3 and CR4 as they are",
     .rules = "CR_VMXON_CR_UNCHANGED")
{
        ulong cr0, cr3, cr4;

        vmx_off();
        vmx_prepare();
        cr0 = read_cr0();
        cr3 = read_cr3();
        cr4 = read_cr4();
        vmx_on();
        CHECK_EQ("CR0 after VMXON", read_cr0(), cr0);
        CHECK_EQ("CR3 after VMXON", read_cr3(), cr3);
        CHECK_EQ("CR4 after VMXON", read_cr4(), cr4);
        leave();
        CHECK_EQ("CR0 after VMXOFF", read_cr0(), cr0);
        CHECK_EQ("CR3 after VMXOFF", read_cr3(), cr3);
        CHECK_EQ("CR4 after VMXOFF", read_cr4(), cr4);
}
