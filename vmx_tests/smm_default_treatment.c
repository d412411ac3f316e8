/*
 * SDM Vol. 3, System Management Mode > Default Treatment of SMIs and SMM with
 * VMX Operation and SMX Operation: SMIs in VMX operation, and VMX in SMM.
 *
 * They need SMM as reset leaves it. Where a firmware has moved SMBASE, SMIs go to
 * its handler, and the cases are skipped.
 */
#include "lib/check.h"
#include "x86/apic.h"
#include "x86/vmx/event.h"
#include "x86/vmx/instr.h"
#include "x86/vmx/raw.h"
#include "x86/vmx/session.h"
#include "x86/vmx/smm.h"

#define SDM_DELIVERY "System Management Mode > Default Treatment of SMI Delivery"
#define SDM_RSM "System Management Mode > Default Treatment of RSM"
#define SDM_VMXE "System Management Mode > Protection of CR4.VMXE in SMM"

/* The handler, tried once outside VMX operation. NULL: the case is skipped. */
static volatile struct smm_report *begin(void)
{
        volatile struct smm_report *report = smm_install();

        vmx_off();
        if (smm_send())
                return report;
        case_skip("SMIs do not come to a handler at the SMBASE of reset");
        return NULL;
}

CASE(vmxe, .id = "smm.vmxe", .title = "in SMM CR4.VMXE is 0 and can not be set",
     .sdm = SDM_VMXE, .rules = "CR_SMM_VMXE_RESERVED SMM_IN_SMM_VMXE_CLEARED "
                               "SMM_IN_SMM_SET_VMXE",
     .needs = "apic")
{
        volatile struct smm_report *report = begin();

        if (!report)
                return;
        vm_begin(GUEST_NATIVE);
        CHECK("an SMI in VMX root operation comes to the handler", smm_send(), "it does not");
        CHECK_EQ("CR4.VMXE in SMM", report->cr4 & CR4_VMXE, 0);
        CHECK_EQ("exception of MOV CR4 without it", report->vector[SMM_MOV_CR4], SMM_NONE);
        CHECK_EQ("exception of MOV CR4 with it", report->vector[SMM_MOV_CR4_VMXE], VEC_GP);
        CHECK_EQ("CR4.VMXE afterwards", read_cr4() & CR4_VMXE, CR4_VMXE);
}

struct instruction_row {
        struct row head;
        enum smm_try tried;
};

static const struct instruction_row instructions[] = {
        { ROW("vmxon", "VMXON", NULL, NULL), SMM_VMXON },
        { ROW("vmxoff", "VMXOFF", NULL, NULL), SMM_VMXOFF },
        { ROW("vmclear", "VMCLEAR", NULL, NULL), SMM_VMCLEAR },
        { ROW("vmptrld", "VMPTRLD", NULL, NULL), SMM_VMPTRLD },
        { ROW("vmptrst", "VMPTRST", NULL, NULL), SMM_VMPTRST },
        { ROW("vmread", "VMREAD", NULL, NULL), SMM_VMREAD },
        { ROW("vmwrite", "VMWRITE", NULL, NULL), SMM_VMWRITE },
        { ROW("vmlaunch", "VMLAUNCH", NULL, NULL), SMM_VMLAUNCH },
        { ROW("vmresume", "VMRESUME", NULL, NULL), SMM_VMRESUME },
        { ROW("vmcall", "VMCALL", NULL, NULL), SMM_VMCALL },
};

TABLE(instruction, instructions, .id = "smm.instruction",
      .title = "a VMX instruction is undefined in SMM, whatever was before", .sdm = SDM_VMXE,
      .rules = "CR_SMM_VMX_INSTR SMM_IN_SMM_VMX_INSN", .needs = "apic")
{
        const struct instruction_row *i = case_row(self, row);
        volatile struct smm_report *report = begin();

        if (!report)
                return;
        vm_begin(GUEST_NATIVE);
        CHECK("an SMI in VMX root operation comes to the handler", smm_send(), "it does not");
        CHECK_EQ("exception of CPUID, which is defined", report->vector[SMM_CPUID], SMM_NONE);
        CHECK_EQ("its exception", report->vector[i->tried], VEC_UD);
}

CASE(root, .id = "smm.rsm.root", .title = "RSM returns to VMX root operation as it was",
     .sdm = SDM_RSM, .rules = "CR_SMM_RSM_RESTORES SMM_SMI_ROOT_RESUMES",
     .needs = "apic")
{
        ulong cr0, cr4;
        struct vm *vm;

        if (!begin())
                return;
        vm = vm_begin(GUEST_NATIVE);
        CHECK_RESULT("VMLAUNCH", vm_launch(vm), EXITS(EXIT_VMCALL));
        cr0 = read_cr0();
        cr4 = read_cr4();
        CHECK("an SMI in VMX root operation comes to the handler", smm_send(), "it does not");
        CHECK_EQ("CR0", read_cr0(), cr0);
        CHECK_EQ("CR4", read_cr4(), cr4);
        CHECK_EQ("current-VMCS pointer", current_vmcs(), vm->pointer);
        CHECK_RESULT("VMRESUME", vm_resume(vm), EXITS(EXIT_VMCALL));
}

CASE(outside, .id = "smm.rsm.outside",
     .title = "RSM after an SMI outside VMX operation does not enter it", .sdm = SDM_RSM,
     .rules = "CR_SMM_RSM_RESTORES", .needs = "apic")
{
        ulong value = 0;

        if (!begin())
                return;
        vmx_prepare();
        CHECK("an SMI outside VMX operation comes to the handler", smm_send(), "it does not");
        CHECK_EQ("CR4.VMXE", read_cr4() & CR4_VMXE, CR4_VMXE);
        CHECK_RESULT("VMREAD", vmread_raw(VMCS_GUEST_RIP, &value), FAULT(VEC_UD));
        CHECK_RESULT("a guest afterwards", vm_enter(vm_begin(GUEST_NATIVE)),
                     EXITS(EXIT_VMCALL));
}

#ifdef __x86_64__
#define SI "rsi"
#define DI "rdi"
#else
#define SI "esi"
#define DI "edi"
#endif

/* Sends the SMI, waits until the handler has counted it, and exits by CPUID. */
PROGRAM(send_smi, NATIVE_BITS,
        "mov (%" DI "), %eax\n"
        "mov %ecx, 0x310(%" SI ")\n"
        "mov %edx, 0x300(%" SI ")\n"
        "1: pause\ncmp (%" DI "), %eax\njne 2f\ndec %ebx\njnz 1b\n"
        "2: cpuid\n");

#define SPINS 100000

struct guest_row {
        struct row head;
        enum guest_mode mode;
        bool ept;
};

static const struct guest_row guests[] = {
        { ROW("native", "an SMI in a guest", NULL, NULL), GUEST_NATIVE, false },
        { ROW("ept", "an SMI in a guest under EPT", "SMM_IN_SMM_EPT_OFF", "enable-ept"),
          GUEST_NATIVE, true },
};

/*
 * Every CPUID of a guest exits; the handler's does not. That is another access
 * to CPUID than the guest's, which exits before and after.
 */
TABLE(guest, guests, .id = "smm.guest",
      .title = "no control is in force in SMM; RSM returns to the guest",
      .sdm = SDM_DELIVERY,
      .rules = "CR_SMM_CONTROLS_OFF CR_SMM_RSM_RESTORES SMM_SMI_NONROOT_NO_EXIT "
               "SMM_IN_SMM_NO_EXITS SMM_SMI_SOURCE_IPI "
               "POST_SMI_BLOCKING_UNCHANGED", .needs = "apic")
{
        const struct guest_row *g = case_row(self, row);
        volatile struct smm_report *report = begin();
        struct vm *vm;
        u32 count;

        if (!report)
                return;
        if (this_cpu()->x2apic) {
                case_skip("the local APIC is in x2APIC mode");
                return;
        }
        vm = vm_begin(g->mode);
        vm_program(vm, send_smi);
        if (g->ept) {
                vmcs_edit(EDITS(WITH_SECONDARY(CTL_SECONDARY_ENABLE_EPT)));
                vmwrite(VMCS_EPTP, guest_env()->eptp);
        }
        vm->regs.rsi = (ulong)apic_base();
        vm->regs.rdi = (ulong)&report->count;
        vm->regs.rcx = apic_id() << 24;
        vm->regs.rdx = SMM_ICR;
        vm->regs.rbx = SPINS;
        count = report->count;
        vm_poison(0);
        CHECK_EXIT("the guest", vm_enter(vm), EXITS(EXIT_CPUID));
        CHECK_EQ("SMIs that came to the handler", report->count, count + 1);
        CHECK_EQ("CPUID in the handler", report->vector[SMM_CPUID], SMM_NONE);
        CHECK_VMCS(GUEST_RIP, (ulong)send_smi.end - 2);
        CHECK("the guest saw it", vm->regs.rbx, "it waited in vain");
        CHECK_EQ("current-VMCS pointer", current_vmcs(), vm->pointer);
}
