/*
 * SDM Vol. 3, VM Entries > Loading Guest State > Loading Guest Control
 * Registers, Debug Registers, and MSRs: the MSRs that a VM-entry control loads,
 * and those that no VM entry loads.
 */
#include "lib/check.h"
#include "x86/cpu.h"
#include "x86/memory.h"
#include "x86/paging.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/event.h"
#include "x86/vmx/guest_msr.h"

#define SDM "VM Entries > Loading Guest Control Registers, Debug Registers, and MSRs"

struct msr_row {
        struct row head;
        u64 control;
        u32 field, msr;
        u64 a, b;            /* values of the field */
        bool saved;          /* every VM exit saves the MSR */
        u8 shift;            /* where the field's value is in the MSR, */
        u64 rest;            /* and what is there besides */
};

#define ROW_OF(name, rules, needs_, control_, field_, ...)                    \
        { ROW(name, NULL, rules, needs_), .control = CTL_ENTRY_LOAD_##control_, \
          .field = VMCS_GUEST_##field_, .msr = MSR_IA32_##field_, __VA_ARGS__ }

#define FRED_RULES "ENTL_FRED_LOADED ENTL_FRED_NOT_LOADED"
#define FRED_ROW(name, register_, a_, b_)                                     \
        ROW_OF("fred-" name, FRED_RULES, "load-fred-entry fred host64", FRED, \
               FRED_##register_, .a = a_, .b = b_)

/* Memory type 6 stays in PA0, which is what the tables use. */
static const struct msr_row msr_rows[] = {
        ROW_OF("pat", "ENTL_PAT_LOADED ENTL_PAT_NOT_LOADED",
               "load-ia32-pat-entry", PAT, PAT,
               .a = 0x0007010600070106, .b = 0x0001050407000406),
        ROW_OF("perf-global-ctrl",
               "ENTL_PERF_GLOBAL_CTRL_LOADED ENTL_PERF_GLOBAL_CTRL_NOT_LOADED",
               "load-ia32-perf-global-ctrl-entry perf-global-ctrl",
               PERF_GLOBAL_CTRL, PERF_GLOBAL_CTRL, .a = 1, .b = 0),
        ROW_OF("bndcfgs", "ENTL_BNDCFGS_LOADED ENTL_BNDCFGS_NOT_LOADED",
               "load-ia32-bndcfgs mpx", BNDCFGS, BNDCFGS,
               .a = 0x12345001, .b = 0x6789a002, .saved = true),
        ROW_OF("rtit-ctl", "ENTL_RTIT_CTL_LOADED ENTL_RTIT_CTL_NOT_LOADED",
               "load-ia32-rtit-ctl pt pt-in-vmx", RTIT_CTL, RTIT_CTL,
               .a = 0x4, .b = 0x8, .saved = true),
        ROW_OF("lbr-ctl", "ENTL_LBR_CTL_LOADED ENTL_LBR_CTL_NOT_LOADED",
               "load-guest-ia32-lbr-ctl lbr", LBR_CTL, LBR_CTL,
               .a = 0x1, .b = 0x0, .saved = true),
        ROW_OF("pkrs", "ENTL_PKRS_LOADED ENTL_PKRS_NOT_LOADED",
               "load-pkrs-entry pks", PKRS, PKRS,
               .a = 0xc, .b = 0xc0000030, .saved = true),
        ROW_OF("s-cet", "ENTL_CET_LOADED ENTL_CET_NOT_LOADED",
               "load-cet-state-entry cet-ss", CET_STATE, S_CET,
               .a = 2, .b = 0, .saved = true),
        ROW_OF("s-cet.ibt", "ENTL_CET_LOADED ENTL_CET_NOT_LOADED",
               "load-cet-state-entry cet-ibt", CET_STATE, S_CET,
               .a = 0x12345014, .b = 0, .saved = true),
        { ROW("interrupt-ssp-table", NULL, "ENTL_CET_LOADED ENTL_CET_NOT_LOADED",
              "load-cet-state-entry cet-ss host64"),
          .control = CTL_ENTRY_LOAD_CET_STATE,
          .field = VMCS_GUEST_INTERRUPT_SSP_TABLE,
          .msr = MSR_IA32_INTERRUPT_SSP_TABLE_ADDR,
          .a = 0xffff800012345008, .b = 0x00007ffff6789ab0, .saved = true },
        { ROW("uinv", NULL, "ENTL_UINV_LOADED ENTL_UINV_NOT_LOADED "
              "ENTL_UINV_OTHER_BITS_KEPT", "load-uinv uintr"),
          .control = CTL_ENTRY_LOAD_UINV, .field = VMCS_GUEST_UINV,
          .msr = MSR_IA32_UINTR_MISC, .a = 0x55, .b = 0x40, .saved = true,
          .shift = 32, .rest = 7 },
        FRED_ROW("config", CONFIG, 0xffff800012345000, 0x0000700006789000),
        FRED_ROW("rsp1", RSP1, 0xffff800012345040, 0x00007000067890c0),
        FRED_ROW("rsp2", RSP2, 0xffff800022345040, 0x00007000167890c0),
        FRED_ROW("rsp3", RSP3, 0xffff800032345040, 0x00007000267890c0),
        FRED_ROW("stklvls", STKLVLS, 0x1234567890abcdef, 0xfedcba0987654321),
        FRED_ROW("ssp1", SSP1, 0xffff800012345048, 0x0000700006789090),
        FRED_ROW("ssp2", SSP2, 0xffff800022345048, 0x0000700016789090),
        FRED_ROW("ssp3", SSP3, 0xffff800032345048, 0x0000700026789090),
};

static u64 in_msr(const struct msr_row *r, u64 value)
{
        return value << r->shift | r->rest;
}

/*
 * The field has @field and the host's MSR @host. What the host can not write
 * nothing can keep.
 */
static void entry(const struct msr_row *r, bool loaded, u64 field, u64 host)
{
        struct vm *vm = vm_begin(GUEST_NATIVE);
        u64 want = loaded ? field : host;
        bool written = !wrmsr_safe(r->msr, in_msr(r, host)).raised;

        if (!loaded &&
            !(written && control_can_be_0(WORD_ENTRY, r->control)))
                return;
        vm_allow_msrs(vm);
        vm_control(VMCS_ENTRY_CONTROLS, loaded ? r->control : 0,
                   loaded ? 0 : r->control);
        vmwrite(r->field, field);
        CHECK_EQ(loaded ? "the MSR, loaded" : "the MSR, not loaded",
                 vm_rdmsr(vm, r->msr), in_msr(r, want));
        if (r->saved)
                CHECK_EQ("the field after the VM exit", vmread(r->field), want);
}

/* The field and the VM-entry MSR-load area. */
static void entry_and_list(const struct msr_row *r, u64 field, u64 list)
{
        struct vm *vm = vm_begin(GUEST_NATIVE);
        struct msr_entry e = { r->msr, 0, in_msr(r, list) };

        vm_allow_msrs(vm);
        vm_control(VMCS_ENTRY_CONTROLS, r->control, 0);
        vmwrite(r->field, field);
        vm_entry_msrs(&e, 1);
        CHECK_EQ("the MSR, in the MSR-load area too", vm_rdmsr(vm, r->msr),
                 in_msr(r, list));
}

TABLE(msrs, msr_rows, .id = "entry.load.msr",
      .title = "an MSR comes from the MSR-load area if it is there, else from the "
               "field if the VM-entry control says so, else from the host",
      .sdm = SDM, .rules = "MSRL_OVERRIDES_GUEST_FIELDS",
      .needs = "use-msr-bitmaps")
{
        const struct msr_row *r = case_row(self, row);
        u64 old = 0;
        bool there = !rdmsr_safe(r->msr, &old).raised;

        entry(r, true, r->a, r->b);
        entry(r, true, r->b, r->a);
        entry(r, false, r->a, r->b);
        entry(r, false, r->b, r->a);
        entry_and_list(r, r->a, r->b);
        entry_and_list(r, r->b, r->a);
        if (there)
                wrmsr(r->msr, old);
}

#ifdef __x86_64__
PROGRAM(read_ssp, 64, "xor %eax, %eax\nrdsspq %rax\nvmcall\n");

/* Nothing pushes to a shadow stack here: any address will do. */
CASE(ssp, .id = "entry.load.ssp",
     .title = "SSP comes from the field", .sdm = SDM,
     .rules = "ENTL_CET_LOADED", .needs = "load-cet-state-entry cet-ss host64")
{
        static const u64 values[] = { 0x00007ffff6789ab8, 0xffff800012345004 };
        u64 old = rdmsr(MSR_IA32_S_CET);

        for (unsigned i = 0; i < ARRAY_LEN(values); i++) {
                struct vm *vm = vm_begin(GUEST_LONG);

                vm_control(VMCS_ENTRY_CONTROLS, CTL_ENTRY_LOAD_CET_STATE, 0);
                vm_control(VMCS_GUEST_CR0, CR0_WP, 0);
                vm_control(VMCS_GUEST_CR4, CR4_CET, 0);
                vmwrite(VMCS_GUEST_S_CET, 1);
                vmwrite(VMCS_GUEST_SSP, values[i]);
                vm_program(vm, read_ssp);
                vm_poison(0);
                CHECK_EXIT("RDSSP", vm_enter(vm), EXITS(EXIT_VMCALL));
                CHECK_EQ("SSP in the guest", vm->regs.rax, values[i]);
        }
        wrmsr(MSR_IA32_S_CET, old);
}

/* A supervisor page with protection key 1, whose writes IA32_PKRS disables. */
PROGRAM(write_page, 64, "mov %al, (%rcx)\nvmcall\n");
#define PTE_KEY_1 BIT(59)

CASE(pkrs_effect, .id = "entry.load.pkrs-effect",
     .title = "IA32_PKRS of the field disables the guest's writes", .sdm = SDM,
     .rules = "ENTL_PKRS_LOADED", .needs = "load-pkrs-entry pks host64")
{
        u64 old = rdmsr(MSR_IA32_PKRS);

        for (u64 pkrs = 0; pkrs <= 8; pkrs += 8) {
                struct vm *vm = vm_begin(GUEST_LONG);
                u8 *page = page_alloc(1);
                u64 *pte = vm_pte(vm, page);

                *pte = (*pte & ~PTE_U) | PTE_KEY_1;
                vm_control(VMCS_ENTRY_CONTROLS, CTL_ENTRY_LOAD_PKRS, 0);
                vm_control(VMCS_GUEST_CR0, CR0_WP, 0);
                vm_control(VMCS_GUEST_CR4, CR4_PKS, 0);
                vmwrite(VMCS_GUEST_PKRS, pkrs);
                vmwrite(VMCS_EXCEPTION_BITMAP, 0xffffffff);
                wrmsr(MSR_IA32_PKRS, pkrs ^ 8);
                vm_program(vm, write_page);
                vm->regs.rcx = (ulong)page;
                vm_poison(0);
                if (!pkrs) {
                        CHECK_EXIT("the write with WD1 = 0", vm_enter(vm),
                                   EXITS(EXIT_VMCALL));
                        continue;
                }
                CHECK_EXIT("the write with WD1 = 1", vm_enter(vm),
                           EXITS_WITH(EXIT_EXCEPTION_NMI, (ulong)page));
                CHECK_EXITING_EVENT(HARDWARE_CODE(VEC_PF), PF_P | PF_W | PF_PK);
        }
        wrmsr(MSR_IA32_PKRS, old);
}
#endif

struct kept_row {
        struct row head;
        u32 msr;
        u64 a, b;
};

#define KEPT(name, msr_, needs_, a_, b_) \
        { ROW(name, NULL, NULL, needs_), MSR_IA32_##msr_, a_, b_ }
static const struct kept_row kept_rows[] = {
        KEPT("star", STAR, "intel64", 0x0010000811112222, 0x00200018deadbeef),
        KEPT("lstar", LSTAR, "intel64", 0xffff800012345678, 0x00007ffffedcba98),
        KEPT("cstar", CSTAR, "intel64", 0xffff800056781234, 0x00007fffba98fedc),
        KEPT("fmask", FMASK, "intel64", 0x00047700, 0xfff3a8ff),
        KEPT("kernel-gs-base", KERNEL_GS_BASE, "intel64", 0xffff800000005000,
             0x00007fffffffa000),
        KEPT("tsc-aux", TSC_AUX, "rdtscp", 0x12345678, 0xedcba987),
};

static void check_kept(u32 msr, u64 value)
{
        struct vm *vm = vm_begin(GUEST_NATIVE);

        vm_allow_msrs(vm);
        wrmsr(msr, value);
        CHECK_EQ("the MSR in the guest", vm_rdmsr(vm, msr), value);
        CHECK_EQ("the MSR after the VM exit", rdmsr(msr), value);
}

TABLE(kept, kept_rows, .id = "entry.load.msr-kept",
      .title = "an MSR without field and without entry of the MSR-load area "
               "keeps its value", .sdm = SDM, .rules = "ENTL_OTHER_MSRS_KEPT",
      .needs = "use-msr-bitmaps")
{
        const struct kept_row *r = case_row(self, row);
        u64 old = rdmsr(r->msr);

        check_kept(r->msr, r->a);
        check_kept(r->msr, r->b);
        wrmsr(r->msr, old);
}

/* The first variable range, while it is not valid. */
CASE(mtrr_kept, .id = "entry.load.msr-kept.mtrr-physbase0",
     .title = "an MTRR keeps its value", .sdm = SDM,
     .rules = "ENTL_OTHER_MSRS_KEPT", .needs = "use-msr-bitmaps mtrr")
{
        u64 old;

        if (!(rdmsr(MSR_IA32_MTRRCAP) & 0xff) ||
            rdmsr(MSR_IA32_MTRR_PHYSBASE0 + 1) & BIT(11)) {
                case_skip("no variable range is free");
                return;
        }
        old = rdmsr(MSR_IA32_MTRR_PHYSBASE0);
        check_kept(MSR_IA32_MTRR_PHYSBASE0, 0x3ffff006);
        check_kept(MSR_IA32_MTRR_PHYSBASE0, 0x12345000);
        wrmsr(MSR_IA32_MTRR_PHYSBASE0, old);
}

CASE(xss_kept, .id = "entry.load.msr-kept.xss",
     .title = "IA32_XSS keeps its value", .sdm = SDM,
     .rules = "ENTL_OTHER_MSRS_KEPT", .needs = "use-msr-bitmaps xsaves")
{
        u64 all = cpuid(0xd, 1).c, old = rdmsr(MSR_IA32_XSS);

        if (!all) {
                case_skip("IA32_XSS can only be 0");
                return;
        }
        check_kept(MSR_IA32_XSS, all);
        check_kept(MSR_IA32_XSS, 0);
        wrmsr(MSR_IA32_XSS, old);
}
