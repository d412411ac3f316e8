/*
 * SDM Vol. 3, VM Entries > VM-Entry Failures During or After Loading Guest
 * State: the processor afterwards.
 */
#include "x86/vmx/entry_failure.h"
#include "lib/check.h"
#include "lib/string.h"
#include "x86/cpu.h"
#include "x86/desc.h"
#include "x86/memory.h"
#include "x86/msr.h"
#include "x86/trap.h"
#include "x86/vmx/event.h"

#define SDM ENTRY_FAILURE_SDM

static const struct entry_failure rows[] = { ENTRY_FAILURES };

static bool fails(const struct entry_failure *f, struct vm *vm)
{
        return CHECK_RESULT("VM entry that fails", vm_enter(vm),
                            entry_failure_result(f));
}

/*
 * Each bit has one value before the entry and the other in the host-state area.
 * MP, DE and PWT matter to nothing here.
 */
TABLE(control_registers, rows, .id = "entry.guest.failure.host.control-registers",
      .title = "CR0, CR3 and CR4 are loaded from the host-state area",
      .sdm = SDM, .rules = "ENTG_FAIL_HOST_STATE_LOADED")
{
        const struct entry_failure *f = case_row(self, row);
        struct vm *vm = entry_failure_begin(f);
        ulong cr0 = read_cr0(), cr3 = read_cr3(), cr4 = read_cr4();

        vmwrite(VMCS_HOST_CR0, cr0 ^ CR0_MP);
        vmwrite(VMCS_HOST_CR3, cr3 ^ CR3_PWT);
        vmwrite(VMCS_HOST_CR4, cr4 ^ CR4_DE);
        fails(f, vm);
        CHECK_MASKED("CR0", read_cr0(), cr0 ^ CR0_MP, CR0_MP);
        CHECK_EQ("CR3", read_cr3(), cr3 ^ CR3_PWT);
        CHECK_MASKED("CR4", read_cr4(), cr4 ^ CR4_DE, CR4_DE);
        write_cr3(cr3);
}

/* LDTR, FS and GS hold something else before; the GDT moves. */
TABLE(segments, rows, .id = "entry.guest.failure.host.segments",
      .title = "segment registers, GDTR and IDTR are loaded as by a VM exit",
      .sdm = SDM, .rules = "ENTG_FAIL_HOST_STATE_LOADED")
{
        const struct entry_failure *f = case_row(self, row);
        u64 *gdt = page_alloc(1);
        u8 *tables = page_alloc(1);
        struct vm *vm = entry_failure_begin(f);
        struct cpu *cpu = this_cpu();

        cpu->gdt[SEL_SPARE / 8] = desc_make(0x1000, 0xfff, DESC_TYPE(2) | DESC_P);
        cpu->gdt[SEL_SPARE / 8 + 1] = 0;
        lldt(SEL_SPARE);
        write_fs(0);
        write_gs(0);
        memcpy(gdt, cpu->gdt, sizeof(cpu->gdt));
        memcpy(tables, idt, sizeof(idt[0]) * 256);
        vmwrite(VMCS_HOST_GDTR_BASE, (ulong)gdt);
        vmwrite(VMCS_HOST_IDTR_BASE, (ulong)tables);
        vmwrite(VMCS_HOST_FS_BASE, 0x12345000);
        vmwrite(VMCS_HOST_GS_BASE, 0x23456000);
        fails(f, vm);
        CHECK_EQ("CS", read_cs(), SEL_CODE);
        CHECK_EQ("SS", read_ss(), SEL_DATA);
        CHECK_EQ("DS", read_ds(), SEL_DATA);
        CHECK_EQ("ES", read_es(), SEL_DATA);
        CHECK_EQ("FS", read_fs(), SEL_DATA);
        CHECK_EQ("GS", read_gs(), SEL_DATA);
        CHECK_EQ("TR", str(), SEL_TSS);
        CHECK_EQ("LDTR", sldt(), 0);
        CHECK_EQ("GDTR base", sgdt().base, (ulong)gdt);
        CHECK_EQ("GDTR limit", sgdt().limit, 0xffff);
        CHECK_EQ("IDTR base", sidt().base, (ulong)tables);
        CHECK_EQ("IDTR limit", sidt().limit, 0xffff);
#ifdef __x86_64__
        CHECK_EQ("FS base", rdmsr(MSR_IA32_FS_BASE), 0x12345000);
        CHECK_EQ("GS base", rdmsr(MSR_IA32_GS_BASE), 0x23456000);
#endif
}

TABLE(msrs, rows, .id = "entry.guest.failure.host.msrs",
      .title = "DR7, IA32_DEBUGCTL and IA32_SYSENTER_* are as after a VM exit",
      .sdm = SDM, .rules = "ENTG_FAIL_HOST_STATE_LOADED", .needs = "sysenter")
{
        const struct entry_failure *f = case_row(self, row);
        u64 cs = rdmsr(MSR_IA32_SYSENTER_CS), esp = rdmsr(MSR_IA32_SYSENTER_ESP);
        u64 eip = rdmsr(MSR_IA32_SYSENTER_EIP), debugctl = 0;
        struct vm *vm = entry_failure_begin(f);

        wrmsr(MSR_IA32_SYSENTER_CS, 0x11);
        wrmsr(MSR_IA32_SYSENTER_ESP, 0x1111);
        wrmsr(MSR_IA32_SYSENTER_EIP, 0x2222);
        vmwrite(VMCS_HOST_SYSENTER_CS, 0x22);
        vmwrite(VMCS_HOST_SYSENTER_ESP, 0x3333);
        vmwrite(VMCS_HOST_SYSENTER_EIP, 0x4444);
        write_dr7(DR7_FIXED | DR7_LE | DR7_GE);
        /* Where it can not be set it can not stay either. */
        if (!wrmsr_safe(MSR_IA32_DEBUGCTL, DEBUGCTL_BTF).raised)
                debugctl = ~0ull;
        fails(f, vm);
        CHECK_EQ("DR7", read_dr7(), DR7_INIT);
        if (debugctl)
                CHECK_EQ("IA32_DEBUGCTL", rdmsr(MSR_IA32_DEBUGCTL), 0);
        CHECK_EQ("IA32_SYSENTER_CS", rdmsr(MSR_IA32_SYSENTER_CS), 0x22);
        CHECK_EQ("IA32_SYSENTER_ESP", rdmsr(MSR_IA32_SYSENTER_ESP), 0x3333);
        CHECK_EQ("IA32_SYSENTER_EIP", rdmsr(MSR_IA32_SYSENTER_EIP), 0x4444);
        wrmsr(MSR_IA32_SYSENTER_CS, cs);
        wrmsr(MSR_IA32_SYSENTER_ESP, esp);
        wrmsr(MSR_IA32_SYSENTER_EIP, eip);
}

/*
 * MSRs that the exit controls load: what the register has before is neither the
 * host-state area's nor the guest's.
 */
TABLE(pat, rows, .id = "entry.guest.failure.host.pat",
      .title = "with \"load IA32_PAT\" IA32_PAT is the host-state area's",
      .sdm = SDM, .rules = "ENTG_FAIL_HOST_STATE_LOADED",
      .needs = "load-ia32-pat-exit load-ia32-pat-entry")
{
        const struct entry_failure *f = case_row(self, row);
        u64 old = rdmsr(MSR_IA32_PAT), pa7 = 0xffull << 56, got;
        struct vm *vm = entry_failure_begin(f);

        vm_control(VMCS_EXIT_CONTROLS, CTL_EXIT_LOAD_PAT, 0);
        vm_control(VMCS_ENTRY_CONTROLS, CTL_ENTRY_LOAD_PAT, 0);
        vmwrite(VMCS_HOST_PAT, (old & ~pa7) | 4ull << 56);
        vmwrite(VMCS_GUEST_PAT, (old & ~pa7) | 5ull << 56);
        wrmsr(MSR_IA32_PAT, (old & ~pa7) | 6ull << 56);
        fails(f, vm);
        got = rdmsr(MSR_IA32_PAT);
        wrmsr(MSR_IA32_PAT, old);
        CHECK_EQ("IA32_PAT", got, (old & ~pa7) | 4ull << 56);
}

TABLE(efer, rows, .id = "entry.guest.failure.host.efer",
      .title = "with \"load IA32_EFER\" IA32_EFER is the host-state area's",
      .sdm = SDM, .rules = "ENTG_FAIL_HOST_STATE_LOADED",
      .needs = "load-ia32-efer-exit intel64")
{
        const struct entry_failure *f = case_row(self, row);
        u64 old = rdmsr(MSR_IA32_EFER);

        for (u64 sce = 0; sce <= EFER_SCE; sce += EFER_SCE) {
                struct vm *vm = entry_failure_begin(f);
                u64 got;

                vm_control(VMCS_EXIT_CONTROLS, CTL_EXIT_LOAD_EFER, 0);
                vmwrite(VMCS_HOST_EFER, (old & ~(u64)EFER_SCE) | sce);
                wrmsr(MSR_IA32_EFER, (old & ~(u64)EFER_SCE) | (sce ^ EFER_SCE));
                fails(f, vm);
                got = rdmsr(MSR_IA32_EFER);
                wrmsr(MSR_IA32_EFER, old);
                CHECK_EQ("IA32_EFER", got, (old & ~(u64)EFER_SCE) | sce);
        }
}

/* The area comes after the host-state area, which holds another value. */
TABLE(exit_load, rows, .id = "entry.guest.failure.host.msr-load-area",
      .title = "the VM-exit MSR-load area is processed", .sdm = SDM,
      .rules = "ENTG_FAIL_HOST_MSR_LOAD_AREA_PROCESSED", .needs = "sysenter")
{
        const struct entry_failure *f = case_row(self, row);
        u64 cs = rdmsr(MSR_IA32_SYSENTER_CS);
        struct msr_entry *area = page_alloc(1);
        struct vm *vm = entry_failure_begin(f);

        area[0] = (struct msr_entry){ MSR_IA32_SYSENTER_CS, 0, 0x55 };
        vmwrite(VMCS_HOST_SYSENTER_CS, 0x22);
        vmwrite(VMCS_EXIT_MSR_LOAD_ADDRESS, phys(area));
        vmwrite(VMCS_EXIT_MSR_LOAD_COUNT, 1);
        fails(f, vm);
        CHECK_EQ("IA32_SYSENTER_CS", rdmsr(MSR_IA32_SYSENTER_CS), 0x55);
        wrmsr(MSR_IA32_SYSENTER_CS, cs);
}

TABLE(exit_store, rows, .id = "entry.guest.failure.msr-store-area",
      .title = "the VM-exit MSR-store area is written by VM exits only",
      .sdm = SDM, .rules = "ENTG_FAIL_MSR_STORE_AREA_NOT_WRITTEN",
      .needs = "sysenter")
{
        const struct entry_failure *f = case_row(self, row);
        struct msr_entry *area = page_alloc(1);
        struct vm *vm = vm_begin(f->mode);

        area[0] = (struct msr_entry){ MSR_IA32_SYSENTER_CS, 0, 0x600df00d };
        vmwrite(VMCS_EXIT_MSR_STORE_ADDRESS, phys(area));
        vmwrite(VMCS_EXIT_MSR_STORE_COUNT, 1);
        vmwrite(VMCS_GUEST_SYSENTER_CS, 0x77);
        CHECK_RESULT("VM entry", vm_enter(vm), EXITS(EXIT_VMCALL));
        CHECK_EQ("the area after a VM exit", area[0].value, 0x77);

        area[0].value = 0x600df00d;
        entry_failure_apply(vm, f);
        fails(f, vm);
        CHECK_EQ("the area after the failure", area[0].value, 0x600df00d);
}

/* The registers that VM entry loads from nowhere. */
TABLE(registers, rows, .id = "entry.guest.failure.registers",
      .title = "general registers, CR2, DR0 to DR3 and DR6 stay as they were",
      .sdm = SDM, .rules = "ENTG_FAIL_GPRS_UNCHANGED")
{
        const struct entry_failure *f = case_row(self, row);
        struct vm *vm = entry_failure_begin(f);
        struct guest_regs before = vm->regs;
        const ulong *want = (const ulong *)&before, *got;
        ulong dr6;

        write_cr2(0x12345000);
        write_dr0(0x11110000);
        write_dr1(0x22220000);
        write_dr2(0x33330000);
        write_dr3(0x44440000);
        write_dr6(DR6_INIT | DR6_B1 | DR6_BS);
        dr6 = read_dr6();
        fails(f, vm);
        CHECK_EQ("CR2", read_cr2(), 0x12345000);
        CHECK_EQ("DR0", read_dr0(), 0x11110000);
        CHECK_EQ("DR1", read_dr1(), 0x22220000);
        CHECK_EQ("DR2", read_dr2(), 0x33330000);
        CHECK_EQ("DR3", read_dr3(), 0x44440000);
        CHECK_EQ("DR6", read_dr6(), dr6);
        got = (const ulong *)&vm->regs;
        for (unsigned i = 0; i < sizeof(before) / sizeof(ulong); i++)
                CHECK_EQ("a general register", got[i], want[i]);
        write_dr0(0);
        write_dr1(0);
        write_dr2(0);
        write_dr3(0);
        write_dr6(DR6_INIT);
}

/* Not blocked before, bit 3 of the field is 1: an NMI comes at once. */
TABLE(nmi_open, rows, .id = "entry.guest.failure.nmi.open",
      .title = "NMIs are not blocked if they were not", .sdm = SDM,
      .rules = "ENTG_FAIL_NMI_BLOCKING_KEPT", .needs = "apic")
{
        const struct entry_failure *f = case_row(self, row);
        struct vm *vm;
        u32 before;

        irq_set(VEC_NMI, irq_ignore);
        nmi_unblock();
        vm = entry_failure_begin(f);
        vmwrite(VMCS_GUEST_INTERRUPTIBILITY_STATE, BLOCKED_NMI);
        fails(f, vm);
        before = irq_count[VEC_NMI];
        nmi_send();
        for (u32 i = 0; i < 100000 && irq_count[VEC_NMI] == before; i++)
                pause();
        CHECK_EQ("NMIs taken", irq_count[VEC_NMI] - before, 1);
        /* One that is pending must not meet another case. */
        nmi_unblock();
}

static const struct entry_failure *blocked;

/* In the handler of an NMI, with another one pending. */
static void fail_in_handler(__attribute__((unused)) void *arg)
{
        struct vm *vm = entry_failure_begin(blocked);
        u32 before = irq_count[VEC_NMI];

        vmwrite(VMCS_GUEST_INTERRUPTIBILITY_STATE, 0);
        fails(blocked, vm);
        for (u32 i = 0; i < 1000; i++)
                pause();
        CHECK_EQ("NMIs taken", irq_count[VEC_NMI] - before, 0);
}

TABLE(nmi_blocked_before, rows, .id = "entry.guest.failure.nmi.blocked",
      .title = "NMIs stay blocked if they were", .sdm = SDM,
      .rules = "ENTG_FAIL_NMI_BLOCKING_KEPT", .needs = "apic")
{
        blocked = case_row(self, row);
        /* Here, not in the handler: it may allocate and execute VMXON. */
        vm_begin(blocked->mode);
        CHECK_EQ("NMIs after the handler", nmi_blocked(fail_in_handler, NULL, true),
                 1);
}
