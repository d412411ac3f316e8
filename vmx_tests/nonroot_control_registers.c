/*
 * SDM Vol. 3, VMX Non-Root Operation > Changes to Instruction Behavior in VMX
 * Non-Root Operation: CR0 with bits that the host owns; and XSETBV, which always
 * exits.
 */
#include "lib/check.h"
#include "x86/vmx/event.h"

#define SDM "VMX Non-Root Operation > Changes to Instruction Behavior in VMX Non-Root Operation"
#define SDM_EXITS "VMX Non-Root Operation > Instructions That Cause VM Exits Unconditionally"

#ifdef __x86_64__
#define AX "%rax"
#else
#define AX "%eax"
#endif

PROGRAM(mov_to_cr0, NATIVE_BITS, "mov " AX ", %cr0\n");
PROGRAM(lmsw, NATIVE_BITS, "lmsw %ax\n");
PROGRAM(run_clts, NATIVE_BITS, "clts\n");
PROGRAM(xsetbv, NATIVE_BITS, "xor %ecx, %ecx\nxor %edx, %edx\nmov $1, %eax\nxsetbv\n");

#define MOV_TO_CR0_QUALIFICATION 0u

struct owned {
        struct row head;
        bool shadow, source;   /* NE in the read shadow, and in what is moved */
};

static const struct owned owned[] = {
        { ROW("shadow-0", "the read shadow has NE = 0", NULL, NULL), false, false },
        { ROW("shadow-1", "the read shadow has NE = 1", NULL, NULL), true, true },
};

/* VMX operation fixes NE to 1; MOV of 0 to it would fault if it were the guest's. */
TABLE(exit_before_fixed, owned, .id = "nonroot.cr0.fixed-bit-owned",
      .title = "of a fixed bit that the host owns only the read shadow decides",
      .sdm = SDM, .rules = "CR_NONROOT_EXIT_BEFORE_FIXED")
{
        const struct owned *o = case_row(self, row);

        for (unsigned differs = 0; differs < 2; differs++) {
                struct vm *vm = vm_begin(GUEST_NATIVE);
                u64 cr0 = vmread(VMCS_GUEST_CR0);
                bool source = o->source != differs;

                vm_program(vm, mov_to_cr0);
                vmwrite(VMCS_CR0_GUEST_HOST_MASK, CR0_NE);
                vmwrite(VMCS_CR0_READ_SHADOW, o->shadow ? cr0 | CR0_NE
                                                        : cr0 & ~(u64)CR0_NE);
                vm->regs.rax = (ulong)(source ? cr0 | CR0_NE : cr0 & ~(u64)CR0_NE);
                vm_poison(0);
                if (differs)
                        CHECK_EXIT("MOV of another value than the read shadow's",
                                   vm_enter(vm),
                                   EXITS_WITH(EXIT_CR_ACCESS, MOV_TO_CR0_QUALIFICATION));
                else
                        CHECK_EXIT("MOV of the read shadow's value", vm_enter(vm),
                                   EXITS(EXIT_VMCALL));
                CHECK_VMCS(GUEST_CR0, cr0);
        }
}

struct quiet {
        struct row head;
        const struct program *program;
        u32 mask, shadow;      /* of CR0 */
        u32 cr0_set;           /* set in CR0 before */
        u32 source;            /* AX */
        u32 after_set, after_clear; /* what changes in CR0 */
};

static const struct quiet quiet[] = {
        { ROW("lmsw.pe", "LMSW can not clear PE, and does not fault", NULL, NULL),
          &lmsw, .source = 0 },
        { ROW("lmsw.pe-owned", "nor where the host owns PE", NULL, NULL),
          &lmsw, .mask = CR0_PE, .shadow = CR0_PE, .source = 0 },
        { ROW("lmsw.owned", "LMSW leaves TS alone where the host owns it",
              NULL, NULL),
          &lmsw, .mask = CR0_TS, .shadow = 0, .cr0_set = CR0_TS,
          .source = CR0_PE | CR0_EM | CR0_MP, .after_set = CR0_EM | CR0_MP },
        { ROW("lmsw.not-owned", "LMSW clears TS where the guest owns it",
              NULL, NULL),
          &lmsw, .cr0_set = CR0_TS | CR0_EM, .source = CR0_PE,
          .after_clear = CR0_TS | CR0_EM },
        { ROW("clts.owned", "CLTS leaves TS alone where the host owns it",
              NULL, NULL),
          &run_clts, .mask = CR0_TS, .shadow = 0, .cr0_set = CR0_TS },
        { ROW("clts.not-owned", "CLTS clears TS where the guest owns it",
              NULL, NULL),
          &run_clts, .cr0_set = CR0_TS, .after_clear = CR0_TS },
};

TABLE(no_exit, quiet, .id = "nonroot.cr0",
      .title = "LMSW or CLTS that does not exit", .sdm = SDM,
      .rules = "CR_NONROOT_LMSW_CLTS")
{
        const struct quiet *q = case_row(self, row);
        struct vm *vm = vm_begin(GUEST_NATIVE);
        u64 cr0 = (vmread(VMCS_GUEST_CR0) & ~(u64)(CR0_TS | CR0_EM | CR0_MP)) | q->cr0_set;

        vm_program(vm, *q->program);
        vmwrite(VMCS_GUEST_CR0, cr0);
        vmwrite(VMCS_CR0_GUEST_HOST_MASK, q->mask);
        vmwrite(VMCS_CR0_READ_SHADOW, q->shadow);
        vm->regs.rax = q->source;
        vm_poison(0);
        CHECK_EXIT("the program", vm_enter(vm), EXITS(EXIT_VMCALL));
        CHECK_VMCS(GUEST_CR0, (cr0 | q->after_set) & ~(u64)q->after_clear);
}

struct xsetbv_row {
        struct row head;
        bool osxsave, cpl3;
        struct vmx_result outcome;
        u8 event;            /* outcome is the VMCALL of its handler; 0: none */
};

static const struct xsetbv_row xsetbvs[] = {
        { ROW("exits", "with CR4.OSXSAVE = 1 at CPL 0", NULL, NULL),
          true, false, EXITS(EXIT_XSETBV), 0 },
        { ROW("cpl3", "#GP(0) at CPL 3", NULL, NULL),
          true, true, EXITS(EXIT_VMCALL), VEC_GP },
        { ROW("osxsave-0", "#UD with CR4.OSXSAVE = 0", NULL, NULL),
          false, false, EXITS(EXIT_VMCALL), VEC_UD },
};

#define XSETBV_SIZE 3

TABLE(xsetbv_exits, xsetbvs, .id = "nonroot.xsetbv", .title = "XSETBV of a guest",
      .sdm = SDM_EXITS, .rules = "CR_XSETBV_NONROOT", .needs = "xsave")
{
        const struct xsetbv_row *x = case_row(self, row);
        struct vm *vm = vm_begin(GUEST_NATIVE);
        ulong rip = (ulong)xsetbv.end - XSETBV_SIZE;
        struct guest_event e;

        vm_program(vm, xsetbv);
        if (x->osxsave)
                vm_control(VMCS_GUEST_CR4, CR4_OSXSAVE, 0);
        if (x->cpl3)
                vm_user(vm);
        vm_poison(0);
        if (!check_exit(__FILE__, (int)self->line, "XSETBV", vm_enter(vm), x->outcome))
                return;
        if (!x->event) {
                CHECK_VMCS(GUEST_RIP, rip);
                CHECK_VMCS(EXIT_INSTRUCTION_LENGTH, XSETBV_SIZE);
                return;
        }
        if (CHECK("an exception reached the guest's handler", vm_event(vm, &e),
                  "it did not")) {
                CHECK_EQ("vector", e.vector, x->event);
                CHECK_EQ("error code was pushed", e.has_error, x->event == VEC_GP);
                CHECK_EQ("error code", e.error, 0);
                CHECK_EQ("RIP", e.rip, rip);
        }
}
