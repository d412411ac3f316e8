#include "x86/vmx/exit_probe.h"
#include "lib/report.h"
#include "lib/string.h"

#define VMCALL_LENGTH 3

static struct vm *set_up(const struct exit_probe *p, const struct edit *side)
{
        struct vm *vm = vm_begin(p->mode);

        vm_program(vm, *p->program);
        if (p->prepare)
                p->prepare(vm);
        vmcs_edit(p->given);
        vmcs_edit(side);
        vm_poison(0);
        return vm;
}

static u32 instruction_length(const struct exit_probe *p)
{
        return (u32)(p->program->end - p->program->start) - VMCALL_LENGTH;
}

static ulong linear_rip(void)
{
        return (ulong)(vmread(VMCS_GUEST_RIP) + vmread(VMCS_GUEST_CS_BASE));
}

bool exit_probe_ran(struct vm *vm, struct program program, const char *what)
{
        ulong length = (ulong)(program.end - program.start) - VMCALL_LENGTH;

        if (CHECK_RESULT(what, vm_enter(vm), EXITS(EXIT_VMCALL)) &&
            CHECK_EQ("RIP at the VMCALL", linear_rip(), vm->entry_rip + length))
                return true;
        vm_report_exit();
        return false;
}

static void run_executing(const struct test_case *self,
                          const struct exit_probe *p)
{
        int line = (int)self->line;
        struct guest_event event;
        struct vm *vm = set_up(p, p->runs);
        struct vmx_result got = vm_enter(vm);

        if (!check_result(self->file, line, "the instruction without its exit",
                          got, RESULT(EXITS(EXIT_VMCALL)))) {
                vm_report_exit();
                return;
        }
        if (p->faults) {
                if (!vm_event(vm, &event))
                        event.vector = 0;
                check_equal(self->file, line, "vector of the guest's exception",
                            event.vector, p->faults);
                check_equal(self->file, line, "its error code, or 0",
                            event.error, p->error);
                check_equal(self->file, line, "RIP in its frame", event.rip,
                            vm->mode == GUEST_V86 || vm->mode == GUEST_REAL
                            ? 0 : vm->entry_rip);
        } else {
                check_equal(self->file, line, "RIP behind the instruction",
                            linear_rip(), vm->entry_rip + instruction_length(p));
        }
}

/* A VM exit by an instruction comes before the instruction does anything. */
static void check_nothing_done(const struct test_case *self,
                               const struct exit_probe *p, struct vm *vm,
                               const struct guest_regs *before, u64 rsp,
                               u64 rflags)
{
        int line = (int)self->line;

        check_equal(self->file, line, "RIP at the instruction", linear_rip(),
                    vm->entry_rip);
        check_equal(self->file, line, "VM-exit instruction length",
                    vmread(VMCS_EXIT_INSTRUCTION_LENGTH), instruction_length(p));
        check_equal(self->file, line, "exiting-event identification, valid bit",
                    vmread(VMCS_EXIT_INTERRUPTION_INFO) >> 31, 0);
        check_equal(self->file, line, "original-event identification, valid bit",
                    vmread(VMCS_IDT_VECTORING_INFO) >> 31, 0);
        check_equal(self->file, line, "VM-instruction error, as before",
                    vmread(VMCS_VM_INSTRUCTION_ERROR),
                    VMERR_UNSUPPORTED_FIELD); /* vm_poison() */
        check_equal(self->file, line, "RSP", vmread(VMCS_GUEST_RSP), rsp);
        check_equal(self->file, line, "RFLAGS but RF",
                    vmread(VMCS_GUEST_RFLAGS) & ~(u64)RFLAGS_RF, rflags);
        check_true(self->file, line, "general registers as before",
                   !memcmp(before, &vm->regs, sizeof(*before)),
                   "RAX 0x%llx RCX 0x%llx RDX 0x%llx RBX 0x%llx",
                   (unsigned long long)vm->regs.rax,
                   (unsigned long long)vm->regs.rcx,
                   (unsigned long long)vm->regs.rdx,
                   (unsigned long long)vm->regs.rbx);
}

static void run_exiting(const struct test_case *self,
                        const struct exit_probe *p)
{
        struct vmx_result got, want = p->outcome;
        struct vm *vm = set_up(p, p->exits);
        struct guest_regs before = vm->regs;
        u64 rsp = vmread(VMCS_GUEST_RSP);
        u64 rflags = vmread(VMCS_GUEST_RFLAGS);

        got = vm_enter(vm);
        got.info &= ~p->ignore;
        want.info &= ~p->ignore;
        if (!check_result(self->file, (int)self->line,
                          "the instruction with its exit", got, want)) {
                vm_report_exit();
                return;
        }
        check_nothing_done(self, p, vm, &before, rsp, rflags);
        if (p->check)
                p->check(vm);
}

void exit_probe_run(const struct test_case *self, unsigned row)
{
        const struct exit_probe *p = case_row(self, row);

        if (!p->always)
                run_executing(self, p);
        if (!p->never)
                run_exiting(self, p);
}
