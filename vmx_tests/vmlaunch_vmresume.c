/*
 * SDM Vol. 3, VMX Instruction Reference > VMLAUNCH/VMRESUME: where they are
 * undefined, how they fail, and what they leave alone.
 */
#include "lib/check.h"
#include "lib/string.h"
#include "x86/msr.h"
#include "x86/vmx/event.h"
#include "x86/vmx/modes.h"
#include "x86/vmx/probe.h"
#include "x86/vmx/snippet.h"

#define SDM "VMX Instruction Reference > VMLAUNCH/VMRESUME"

static const struct mode_row launch_modes[] = { MODE_ROWS(VMLAUNCH) };
static const struct mode_row resume_modes[] = { MODE_ROWS(VMRESUME) };

MODES(vmlaunch_modes, launch_modes, .id = "vmlaunch.mode",
      .title = "where VMLAUNCH may be executed", .sdm = SDM)
MODES(vmresume_modes, resume_modes, .id = "vmresume.mode",
      .title = "where VMRESUME may be executed", .sdm = SDM)

#define BAD_PIN SET(PIN_CONTROLS, 0xffffffff)
#define BAD_CS SET(HOST_CS_SELECTOR, 0)

struct early {
        struct row head;
        const struct edit *edits;
        struct vmx_result outcome, also;
};

static const struct early early_failures[] = {
        { ROW("controls", "wrong controls: error 7", NULL, NULL),
          EDITS(BAD_PIN), BAD_CONTROLS, { 0 } },
        { ROW("host", "wrong host state: error 8", NULL, NULL),
          EDITS(BAD_CS), BAD_HOST, { 0 } },
        { ROW("both", "both are wrong: error 7 or error 8", NULL, NULL),
          EDITS(BAD_PIN, BAD_CS), BAD_CONTROLS, BAD_HOST },
};

/* All of the host's state that an early failure must leave alone. */
struct host {
        ulong cr0, cr3, cr4, dr7;
        u64 efer;
        u16 cs, ss, ds, es, fs, gs, tr, ldtr, gdt_limit, idt_limit;
        ulong gdt_base, idt_base;
};

static struct host host_now(void)
{
        struct desc_ptr gdt = sgdt(), idt_now = sidt();

        return (struct host){
                .cr0 = read_cr0(), .cr3 = read_cr3(), .cr4 = read_cr4(),
                .dr7 = read_dr7(),
                .efer = cpuid_bit(0x80000001, 0, 'd', 20) ? rdmsr(MSR_IA32_EFER) : 0,
                .cs = read_cs(), .ss = read_ss(), .ds = read_ds(), .es = read_es(),
                .fs = read_fs(), .gs = read_gs(), .tr = str(), .ldtr = sldt(),
                .gdt_limit = gdt.limit, .idt_limit = idt_now.limit,
                .gdt_base = gdt.base, .idt_base = idt_now.base,
        };
}

static void check_host(const struct host *before)
{
        struct host now = host_now();

        CHECK_EQ("CR0", now.cr0, before->cr0);
        CHECK_EQ("CR3", now.cr3, before->cr3);
        CHECK_EQ("CR4", now.cr4, before->cr4);
        CHECK_EQ("DR7", now.dr7, before->dr7);
        CHECK_EQ("IA32_EFER", now.efer, before->efer);
        CHECK_EQ("CS", now.cs, before->cs);
        CHECK_EQ("SS", now.ss, before->ss);
        CHECK_EQ("DS", now.ds, before->ds);
        CHECK_EQ("ES", now.es, before->es);
        CHECK_EQ("FS", now.fs, before->fs);
        CHECK_EQ("GS", now.gs, before->gs);
        CHECK_EQ("TR", now.tr, before->tr);
        CHECK_EQ("LDTR", now.ldtr, before->ldtr);
        CHECK_EQ("GDTR base", now.gdt_base, before->gdt_base);
        CHECK_EQ("GDTR limit", now.gdt_limit, before->gdt_limit);
        CHECK_EQ("IDTR base", now.idt_base, before->idt_base);
        CHECK_EQ("IDTR limit", now.idt_limit, before->idt_limit);
}

SNIPPET(launch, "vmlaunch");
SNIPPET(resume, "vmresume");

/*
 * The host state in the VMCS is other than what the processor has, so that
 * loading any of it would be noticed.
 */
static void other_host_state(void)
{
        vmwrite(VMCS_HOST_FS_SELECTOR, 0);
        vmwrite(VMCS_HOST_GS_SELECTOR, 0);
        vmwrite(VMCS_HOST_DS_SELECTOR, 0);
        vmwrite(VMCS_HOST_ES_SELECTOR, 0);
        vmwrite(VMCS_HOST_CR4, read_cr4() | CR4_DE);
}

static void check_early(const struct early *e, bool is_resume)
{
        struct vm *vm = vm_begin(GUEST_NATIVE);
        struct snippet_state s = snippet_state(), before;
        struct vmx_result r;
        struct host host;

        if (is_resume)
                CHECK_RESULT("VMLAUNCH", vm_launch(vm), EXITS(EXIT_VMCALL));
        /* VM exits leave limits of FFFFH; this is what is compared below. */
        desc_reload();
        write_dr7(DR7_INIT | DR7_LE);
        other_host_state();
        vmcs_edit(e->edits);
        vm_poison(e->outcome.code);
        before = s;
        host = host_now();
        r = snippet_run(is_resume ? &resume : &launch, &s);
        if (e->also.kind)
                check_result_either(__FILE__, __LINE__, "VM entry", r, e->outcome, e->also);
        else
                check_result(__FILE__, __LINE__, "VM entry", r, e->outcome);
        CHECK("general registers are unchanged",
              !memcmp(&s.regs, &before.regs, sizeof(s.regs)), "they differ");
        check_host(&host);
        write_dr7(DR7_INIT);
        CHECK_EQ("current-VMCS pointer", current_vmcs(), vm->pointer);

        /* The launch state is as it was: the repaired VMCS can be entered. */
        vm_baseline(vm, GUEST_NATIVE);
        CHECK_RESULT("the other instruction", is_resume ? vm_launch(vm) : vm_resume(vm),
                     FAIL_VALID(is_resume ? VMERR_VMLAUNCH_NOT_CLEAR
                                          : VMERR_VMRESUME_NOT_LAUNCHED));
        CHECK_RESULT("with the VMCS repaired", vm_enter(vm), EXITS(EXIT_VMCALL));
}

TABLE(launch_early, early_failures, .id = "vmlaunch.early",
      .title = "VMLAUNCH fails early", .sdm = SDM,
      .rules = "INS_VMLAUNCH_ERR7_ERR8 INS_VMLAUNCH_FAIL_NEXT_INSN")
{
        check_early(case_row(self, row), false);
}

TABLE(resume_early, early_failures, .id = "vmresume.early",
      .title = "VMRESUME fails early", .sdm = SDM,
      .rules = "INS_VMRESUME_ERR7_ERR8 INS_VMRESUME_FAIL_NEXT_INSN "
               "INS_VMRESUME_KEEPS_LAUNCHED")
{
        check_early(case_row(self, row), true);
}

CASE(current_kept, .id = "vmlaunch.current-kept",
     .title = "VM entry and VM exit keep the current-VMCS pointer", .sdm = SDM,
     .rules = "INS_VMENTRY_CURRENT_KEPT VMCS_ST_EXIT_KEEPS")
{
        struct vm *other = vm_new(GUEST_NATIVE), *vm = vm_begin(GUEST_NATIVE);

        CHECK_EQ("before", current_vmcs(), vm->pointer);
        CHECK("two VMCSs", other->pointer != vm->pointer, "one address");
        CHECK_RESULT("VMLAUNCH", vm_launch(vm), EXITS(EXIT_VMCALL));
        CHECK_EQ("after VMLAUNCH and exit", current_vmcs(), vm->pointer);
        CHECK_RESULT("VMRESUME", vm_resume(vm), EXITS(EXIT_VMCALL));
        CHECK_EQ("after VMRESUME and exit", current_vmcs(), vm->pointer);
        vmwrite(VMCS_GUEST_RFLAGS, 0);
        CHECK_RESULT("VMRESUME with a wrong guest state", vm_resume(vm), BAD_GUEST);
        CHECK_EQ("after VM-entry failure", current_vmcs(), vm->pointer);
}

PROGRAM(mov_ss_launch, NATIVE_BITS, "mov %ss, %ecx\nmov %ecx, %ss\nvmlaunch\n");
PROGRAM(mov_ss_resume, NATIVE_BITS, "mov %ss, %ecx\nmov %ecx, %ss\nvmresume\n");
PROGRAM(plain_launch, NATIVE_BITS, "mov %ss, %ecx\nnop\nnop\nvmlaunch\n");
PROGRAM(plain_resume, NATIVE_BITS, "mov %ss, %ecx\nnop\nnop\nvmresume\n");

struct nested {
        struct row head;
        const struct program *plain, *mov_ss;
        u32 reason;
};

static const struct nested nested[] = {
        { ROW("vmlaunch", "VMLAUNCH", NULL, NULL),
          &plain_launch, &mov_ss_launch, EXIT_VMLAUNCH },
        { ROW("vmresume", "VMRESUME", NULL, NULL),
          &plain_resume, &mov_ss_resume, EXIT_VMRESUME },
};

/* Both have 4 bytes before the entry instruction. */
#define BEFORE 4

TABLE(nested_mov_ss, nested, .id = "vmlaunch.guest-mov-ss",
      .title = "a guest's entry instruction exits, right after MOV SS too", .sdm = SDM,
      .rules = "INS_VMLAUNCH_CPL_NONROOT")
{
        const struct nested *n = case_row(self, row);
        const struct program *programs[] = { n->plain, n->mov_ss };

        for (unsigned i = 0; i < 2; i++) {
                struct vm *vm = vm_begin(GUEST_NATIVE);

                vm_program(vm, *programs[i]);
                vm_poison(0);
                CHECK_EXIT(i ? "after MOV SS" : "not after MOV SS", vm_enter(vm),
                           EXITS_WITH(n->reason, 0));
                CHECK_VMCS(GUEST_RIP, vm->entry_rip + BEFORE);
                CHECK_VMCS(EXIT_INSTRUCTION_LENGTH, 3);
                CHECK_VMCS(GUEST_INTERRUPTIBILITY_STATE, i ? BLOCKED_MOV_SS : 0);
        }
}
