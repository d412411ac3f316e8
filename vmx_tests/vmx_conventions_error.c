/*
 * SDM Vol. 3, VMX Instruction Reference > Conventions, and Virtual Machine
 * Control Structures > VM-Instruction Error Field: where the error number goes,
 * and what leaves it and RFLAGS alone.
 */
#include "lib/check.h"
#include "lib/string.h"
#include "x86/memory.h"
#include "x86/msr.h"
#include "x86/paging.h"
#include "x86/vmx/pointer.h"
#include "x86/vmx/session.h"
#include "x86/vmx/snippet.h"

#define SDM "VMX Instruction Reference > Conventions"
#define FIELD VMCS_GUEST_SYSENTER_CS
#define UNSUPPORTED 0x6bfeu

SNIPPET(s_vmxon, "vmxon (" RAX ")");
SNIPPET(s_vmxoff, "vmxoff");
SNIPPET(s_vmclear, "vmclear (" RAX ")");
SNIPPET(s_vmptrld, "vmptrld (" RAX ")");
SNIPPET(s_vmptrst, "vmptrst (" RAX ")");
SNIPPET(s_vmread, "vmread " RCX ", (" RAX ")");
SNIPPET(s_vmwrite, "vmwrite (" RAX "), " RCX);
SNIPPET(s_invept, "invept (" RAX "), " RCX);
SNIPPET(s_invvpid, "invvpid (" RAX "), " RCX);
SNIPPET(s_vmlaunch_lock, ".byte 0xf0\nvmlaunch");

struct fault_row {
        struct row head;
        struct snippet code;
        bool outside;
        struct vmx_result outcome;
};

#define FAULTS(ID, TITLE, NEEDS, CODE, OUTSIDE, ...)                   \
        { .head = { .id = ID, .title = TITLE, .needs = NEEDS },        \
          .code = SNIPPET_OF(CODE), .outside = OUTSIDE, .outcome = __VA_ARGS__ }
#define NOT_PRESENT(ID, TITLE, NEEDS, CODE, WRITE)                     \
        FAULTS(ID, TITLE ", #PF", NEEDS, CODE, false, FAULT_CODE(VEC_PF, WRITE))

static const struct fault_row fault_rows[] = {
        FAULTS("vmxon-pf", "VMXON, #PF", NULL, s_vmxon, true,
               FAULT_CODE(VEC_PF, 0)),
        FAULTS("vmxoff-ud", "VMXOFF outside VMX operation, #UD", NULL, s_vmxoff,
               true, FAULT(VEC_UD)),
        FAULTS("vmptrld-ud", "VMPTRLD outside VMX operation, #UD", NULL,
               s_vmptrld, true, FAULT(VEC_UD)),
        FAULTS("lock-ud", "LOCK VMLAUNCH, #UD", NULL, s_vmlaunch_lock, false,
               FAULT(VEC_UD)),
        NOT_PRESENT("vmclear-pf", "VMCLEAR", NULL, s_vmclear, 0),
        NOT_PRESENT("vmptrld-pf", "VMPTRLD", NULL, s_vmptrld, 0),
        NOT_PRESENT("vmptrst-pf", "VMPTRST", NULL, s_vmptrst, PF_W),
        NOT_PRESENT("vmread-pf", "VMREAD", NULL, s_vmread, PF_W),
        NOT_PRESENT("vmwrite-pf", "VMWRITE", NULL, s_vmwrite, 0),
        NOT_PRESENT("invept-pf", "INVEPT", "invept-all", s_invept, 0),
        NOT_PRESENT("invvpid-pf", "INVVPID", "invvpid-all", s_invvpid, 0),
};

static void fault_with(const struct fault_row *r, ulong flags)
{
        struct snippet_state s = snippet_state();
        void *operand = page_alloc(1);
        struct guest_regs before;
        struct vm *vm = vm_begin(GUEST_NATIVE);

        vm_poison(0);
        if (r->outside) {
                vmx_off();
                vmx_prepare();
        }
        paging_set(operand, 0);
        s.regs.rax = (ulong)operand;
        s.regs.rcx = r->code.start == s_invept_start ||
                     r->code.start == s_invvpid_start ? 2 : FIELD;
        s.flags = flags | RFLAGS_FIXED;
        before = s.regs;
        CHECK_RESULT("the instruction", snippet_run(&r->code, &s), r->outcome);
        CHECK_MASKED("saved RFLAGS", trap_last()->rflags, flags, VMX_FLAGS);
        CHECK("general registers", !memcmp(&before, &s.regs, sizeof(before)),
              "changed");
        if (r->outside)
                return;
        if (!CHECK_EQ("current-VMCS pointer", current_vmcs(), vm->pointer))
                return;
        CHECK_EQ("VM-instruction error", vmread(VMCS_VM_INSTRUCTION_ERROR),
                 VMERR_UNSUPPORTED_FIELD);
}

TABLE(fault_keeps, fault_rows, .id = "conventions.fault", .sdm = SDM,
      .title = "a fault changes no flag and not the VM-instruction error",
      .rules = "INS_FLAGS_FAULT_KEPT INS_ERRFIELD_KEPT_ON_FAULT")
{
        fault_with(case_row(self, row), VMX_FLAGS);
        fault_with(case_row(self, row), 0);
}

CASE(fault_gp, .id = "conventions.fault.vmxon-gp", .sdm = SDM,
     .title = "VMXON with CR0.NE = 0, #GP: no flag changes",
     .rules = "INS_FLAGS_FAULT_KEPT")
{
        u64 pointer = phys(vmcs_region_new());

        vmx_off();
        vmx_prepare();
        for (ulong flags = 0; flags <= VMX_FLAGS; flags += VMX_FLAGS) {
                struct snippet_state s = snippet_state();
                struct vmx_result r;

                s.regs.rax = (ulong)&pointer;
                s.flags = flags | RFLAGS_FIXED;
                write_cr0(read_cr0() & ~(ulong)CR0_NE);
                r = snippet_run(&s_vmxon, &s);
                write_cr0(read_cr0() | CR0_NE);
                CHECK_RESULT("VMXON", r, FAULT_CODE(VEC_GP, 0));
                CHECK_MASKED("saved RFLAGS", trap_last()->rflags, flags,
                             VMX_FLAGS);
        }
}

CASE(fault_cpl3, .id = "conventions.fault.vmread-cpl3", .sdm = SDM,
     .title = "VMREAD at CPL 3 leaves the VM-instruction error as it is",
     .rules = "INS_ERRFIELD_KEPT_ON_FAULT")
{
        struct code code = { 0 };

        vm_begin(GUEST_NATIVE);
        vm_poison(0);
        code_insn(&code, INSN_VMREAD);
        CHECK_RESULT("VMREAD", raw_run(RAW_CPL3, &code, 0),
                     FAULT_CODE(VEC_GP, 0));
        CHECK_EQ("VM-instruction error", vmread(VMCS_VM_INSTRUCTION_ERROR),
                 VMERR_UNSUPPORTED_FIELD);
}

struct exit_row {
        struct row head;
        enum insn_id insn;
};

static const struct exit_row exit_rows[] = {
        { ROW("vmcall", "VMCALL"), INSN_VMCALL },
        { ROW("vmread", "VMREAD"), INSN_VMREAD },
        { ROW("vmxon", "VMXON"), INSN_VMXON },
        { ROW("vmclear", "VMCLEAR"), INSN_VMCLEAR },
};

TABLE(exit_keeps, exit_rows, .id = "conventions.exit", .sdm = SDM,
      .title = "an instruction that causes a VM exit changes no flag",
      .rules = "INS_FLAGS_EXIT_KEPT")
{
        const struct exit_row *r = case_row(self, row);
        u64 operand = phys(vmcs_region_new());

        for (ulong flags = 0; flags <= VMX_FLAGS; flags += VMX_FLAGS) {
                struct vm *vm = vm_begin(GUEST_NATIVE);
                struct code code = { 0 };

                vmwrite(VMCS_GUEST_RFLAGS, flags | RFLAGS_FIXED);
                code_insn(&code, r->insn);
                CHECK_RESULT("VM entry", raw_guest(vm, &code, (ulong)&operand),
                             EXITS(insns[r->insn].exit));
                CHECK_EQ("guest RFLAGS", vmread(VMCS_GUEST_RFLAGS),
                         flags | RFLAGS_FIXED);
        }
}

/* Every field but the error. */
static void read_all(u64 *values)
{
        for (unsigned i = 0; i < vmcs_field_count; i++) {
                u32 field = vmcs_fields[i].encoding;

                if (field != VMCS_VM_INSTRUCTION_ERROR && vmcs_has(field))
                        values[i] = vmread(field);
        }
}

CASE(error_only, .id = "conventions.error.only", .sdm = SDM,
     .title = "VMfailValid changes no field but the VM-instruction error",
     .rules = "INS_ERRFIELD_WRITTEN")
{
        u64 *before = page_alloc(1), *after = page_alloc(1);
        u64 misaligned = phys(vmcs_region_new()) | 1;

        vm_begin(GUEST_NATIVE);
        vm_poison(VMERR_VMPTRLD_ADDRESS);
        read_all(before);
        CHECK_RESULT("VMPTRLD", vmptrld(&misaligned),
                     FAIL_VALID(VMERR_VMPTRLD_ADDRESS));
        read_all(after);
        for (unsigned i = 0; i < vmcs_field_count; i++)
                if (before[i] != after[i])
                        CHECK_EQ(vmcs_fields[i].name, after[i], before[i]);
}

CASE(error_other, .id = "conventions.error.other-vmcs", .sdm = SDM,
     .title = "the error goes to the current VMCS, not to the one named",
     .rules = "INS_ERRFIELD_OTHER_VMCS")
{
        struct vm *named = vm_new(GUEST_NATIVE), *current;
        u64 misaligned = named->pointer | 1;

        vm_poison(0);
        current = vm_new(GUEST_NATIVE);
        vm_poison(VMERR_VMCLEAR_ADDRESS);
        CHECK_RESULT("VMCLEAR", vmclear(&misaligned),
                     FAIL_VALID(VMERR_VMCLEAR_ADDRESS));
        vm_load(named);
        CHECK_EQ("VM-instruction error of the other",
                 vmread(VMCS_VM_INSTRUCTION_ERROR), VMERR_UNSUPPORTED_FIELD);
        vm_load(current);
        CHECK_EQ("VM-instruction error of the current",
                 vmread(VMCS_VM_INSTRUCTION_ERROR), VMERR_VMCLEAR_ADDRESS);
}

CASE(error_none, .id = "conventions.error.fail-invalid", .sdm = SDM,
     .title = "VMfailInvalid writes the error of no VMCS, though one is active",
     .rules = "INS_FAILINVALID_NO_WRITE INS_VMFAIL_DISPATCH")
{
        struct vm *active = vm_new(GUEST_NATIVE);
        u64 misaligned = active->pointer | 1;
        struct vm *vm;

        vm_poison(0);
        vm = vm_begin(GUEST_NATIVE);
        CHECK_RESULT("VMCLEAR of the current VMCS", vmclear(&vm->pointer), SUCCEED);
        CHECK_RESULT("VMCLEAR", vmclear(&misaligned), FAIL_INVALID);
        CHECK_RESULT("VMPTRLD", vmptrld(&misaligned), FAIL_INVALID);
        vm_load(active);
        CHECK_EQ("VM-instruction error", vmread(VMCS_VM_INSTRUCTION_ERROR),
                 VMERR_UNSUPPORTED_FIELD);
}

CASE(error_guest_state, .id = "conventions.error.entry-33", .sdm = SDM,
     .title = "invalid guest state leaves the VM-instruction error as it is",
     .rules = "INS_ERRFIELD_ENTRY_FAIL_33")
{
        struct vm *vm = vm_begin(GUEST_NATIVE);

        vmwrite(VMCS_GUEST_RFLAGS, 0);
        vm_poison(0);
        CHECK_RESULT("VM entry", vm_enter(vm),
                     ENTRY_FAILS(EXIT_ENTRY_FAILURE_GUEST_STATE, 0));
        CHECK_EQ("VM-instruction error", vmread(VMCS_VM_INSTRUCTION_ERROR),
                 VMERR_UNSUPPORTED_FIELD);
}

CASE(error_msr_loading, .id = "conventions.error.entry-34", .sdm = SDM,
     .title = "a failure of MSR loading leaves the VM-instruction error as it is",
     .rules = "INS_ERRFIELD_ENTRY_FAIL_33")
{
        struct vm *vm = vm_begin(GUEST_NATIVE);
        u64 *list = page_alloc(1);

        list[0] = MSR_IA32_FS_BASE;  /* never may be in the list */
        vmwrite(VMCS_ENTRY_MSR_LOAD_ADDRESS, phys(list));
        vmwrite(VMCS_ENTRY_MSR_LOAD_COUNT, 1);
        vm_poison(0);
        CHECK_RESULT("VM entry", vm_enter(vm),
                     ENTRY_FAILS(EXIT_ENTRY_FAILURE_MSR_LOADING, 1));
        CHECK_EQ("VM-instruction error", vmread(VMCS_VM_INSTRUCTION_ERROR),
                 VMERR_UNSUPPORTED_FIELD);
}

CASE(error_shadow, .id = "conventions.error.shadow", .sdm = SDM,
     .title = "a guest's VMfailValid writes the error of the controlling VMCS",
     .rules = "INS_SHADOW_ERRFIELD_PLACE", .needs = "vmcs-shadowing")
{
        struct vmcs_region *shadow = vmcs_region_new();
        u8 *bitmaps = page_alloc(2);
        struct vm *vm = vm_begin(GUEST_NATIVE);
        struct code code = { 0 };
        const u32 field = UNSUPPORTED;

        shadow->revision |= 1u << 31;
        CHECK_RESULT("VMCLEAR", vmclear(&(u64){ phys(shadow) }), SUCCEED);
        vm_control(VMCS_PRIMARY_CONTROLS, CTL_PRIMARY_ACTIVATE_SECONDARY, 0);
        vm_control(VMCS_SECONDARY_CONTROLS, CTL_SECONDARY_VMCS_SHADOWING, 0);
        vmwrite(VMCS_VMCS_LINK_POINTER, phys(shadow));
        vmwrite(VMCS_VMREAD_BITMAP, phys(bitmaps));
        vmwrite(VMCS_VMWRITE_BITMAP, phys(bitmaps + PAGE_SIZE));
        CODE_ADD(&code, 0xb9);                          /* mov RCX */
        code_add(&code, &field, sizeof(field));
        CODE_ADD(&code, 0x0f, 0x78, 0xca);              /* vmread RCX, RDX */
        raw_program(vm, &code, 0);
        vm_poison(VMERR_UNSUPPORTED_FIELD);
        CHECK_RESULT("VMfailValid, then VMCALL", vm_enter(vm),
                     EXITS(EXIT_VMCALL));
        CHECK_EQ("VM-instruction error", vmread(VMCS_VM_INSTRUCTION_ERROR),
                 VMERR_UNSUPPORTED_FIELD);
        CHECK_MASKED("guest's flags", vmread(VMCS_GUEST_RFLAGS), RFLAGS_ZF,
                     VMX_FLAGS);
}
