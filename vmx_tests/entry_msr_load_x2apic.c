/*
 * SDM Vol. 3, VM Entries > Loading MSRs: the MSRs by which x2APIC mode accesses
 * the local APIC can not be loaded, whatever mode it is in. The APIC of some
 * machines does not come back from x2APIC mode: this file has a kernel of its
 * own, and those cases are its last ones.
 */
#include "lib/check.h"
#include "x86/apic.h"
#include "x86/cpu.h"
#include "x86/memory.h"
#include "x86/vmx/event.h"
#include "x86/vmx/guest_msr.h"
#include "x86/vmx/session.h"

#define SDM "VM Entries > Loading MSRs"

#define FREE_MSR MSR_IA32_KERNEL_GS_BASE

/* The values would do no harm. */
struct register_row {
        struct row head;
        u32 msr;
        u64 value;
};

static const struct register_row registers[] = {
        { ROW("800"), 0x800, 0 },
        { ROW("802-id"), MSR_X2APIC(APIC_ID), 0 },
        { ROW("808-tpr"), MSR_X2APIC(APIC_TPR), 0 },
        { ROW("80b-eoi"), MSR_X2APIC(APIC_EOI), 0 },
        { ROW("80f-svr"), MSR_X2APIC(APIC_SVR),
          APIC_SVR_ENABLE | APIC_VEC_SPURIOUS },
        { ROW("828-esr"), MSR_X2APIC(APIC_ESR), 0 },
        /* To no processor. */
        { ROW("830-icr"), MSR_X2APIC(APIC_ICR),
          ICR_FIXED | ICR_LOGICAL | ICR_ASSERT | 0x31 },
        { ROW("838-initial-count"), MSR_X2APIC(APIC_TIMER_INITIAL), 0 },
        { ROW("83f-self-ipi"), MSR_X2APIC(APIC_SELF_IPI), 0x31 },
        { ROW("840"), 0x840, 0 },
        { ROW("8ff"), 0x8ff, 0 },
};

static void check_entry(u32 msr, u64 value, struct vmx_result want)
{
        const struct msr_entry list[] = { { FREE_MSR, 0, 1 }, { msr, 0, value } };
        struct vm *vm = vm_begin(GUEST_NATIVE);

        vm_entry_msrs(list, ARRAY_LEN(list));
        vm_poison(0);
        CHECK_EXIT("VM entry", vm_enter(vm), want);
}

static void check_register(const struct register_row *r, bool x2apic)
{
        u64 old = rdmsr(FREE_MSR);

        if (!apic_set_mode(x2apic)) {
                case_skip("the APIC's mode can not be changed");
                return;
        }
        check_entry(FREE_MSR, 2, RESULT(EXITS(EXIT_VMCALL)));
        check_entry(r->msr, r->value,
                    RESULT(ENTRY_FAILS(EXIT_ENTRY_FAILURE_MSR_LOADING, 2)));
        wrmsr(FREE_MSR, old);
}

#define RULE "MSRL_X2APIC_RANGE"

TABLE(xapic, registers, .id = "entry.msr-load.fail.x2apic.xapic-mode",
      .title = "800H to 8FFH can not be loaded while the APIC is in xAPIC mode",
      .sdm = SDM, .rules = RULE, .needs = "apic intel64")
{
        check_register(case_row(self, row), false);
}

TABLE(x2apic, registers, .id = "entry.msr-load.fail.x2apic.x2apic-mode",
      .title = "800H to 8FFH can not be loaded while the APIC is in x2APIC mode",
      .sdm = SDM, .rules = RULE, .needs = "x2apic intel64")
{
        check_register(case_row(self, row), true);
}
