/*
 * SDM Vol. 3, VM Entries > Checks on VMX Controls and Host-State Area: what an
 * entry that fails in these checks leaves alone. The VMCS itself: entry_order.c.
 */
#include "lib/string.h"
#include "x86/memory.h"
#include "x86/msr.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/control_check.h"
#include "x86/vmx/event.h"
#include "x86/vmx/instr.h"
#include "x86/vmx/snippet.h"

#define SDM "VM Entries > Checks on VMX Controls and Host-State Area"

/* The two kinds of failure, as numbers of a family. */
static const struct failure {
        const struct edit *edits;
        struct vmx_result outcome;
} failures[] = {
        { EDITS(SET(PIN_CONTROLS, ~0u)), BAD_CONTROLS },
        { EDITS(SET(HOST_CS_SELECTOR, 0)), BAD_HOST },
};
#define FAILURES 2  /* 0: a control; 1: host state */

static void fail(struct vm *vm, unsigned kind)
{
        vmcs_edit(failures[kind].edits);
        vm_poison(failures[kind].outcome.code);
        check_result(__FILE__, __LINE__, "VM entry with an invalid field",
                     vm_enter(vm), failures[kind].outcome);
}

/* The event is still there when the entry succeeds. */
FAMILY(injection, FAILURES, .id = "entry.vmfail.injection",
       .title = "the event that was to be injected stays valid", .sdm = SDM,
       .rules = "ENTB_VMFAIL_INJECTION_VALID_BIT_KEPT")
{
        struct vm *vm = vm_begin(GUEST_NATIVE);
        u64 pin = vmread(VMCS_PIN_CONTROLS), cs = vmread(VMCS_HOST_CS_SELECTOR);
        struct guest_event event;

        vmwrite(VMCS_ENTRY_INTERRUPTION_INFO, HARDWARE(VEC_UD));
        fail(vm, row);
        CHECK_VMCS(ENTRY_INTERRUPTION_INFO, HARDWARE(VEC_UD));
        vmwrite(VMCS_PIN_CONTROLS, pin);
        vmwrite(VMCS_HOST_CS_SELECTOR, cs);
        CHECK_RESULT("VM entry, valid", vm_enter(vm), EXITS(EXIT_VMCALL));
        if (CHECK("the event", vm_event(vm, &event), "not delivered"))
                CHECK_EQ("vector", event.vector, VEC_UD);
        CHECK_VMCS(ENTRY_INTERRUPTION_INFO, (u32)HARDWARE(VEC_UD) & ~EVENT_VALID);
}

CASE(entry_controls, .id = "entry.vmfail.entry-controls",
     .title = "\"IA-32e mode guest\" is not written",
     .sdm = SDM, .rules = "ENTB_VMFAIL_ENTRY_CONTROLS_KEPT",
     .needs = "host64 stores-lma")
{
        struct vm *vm = vm_begin(GUEST_PAE);
        u64 controls = vmread(VMCS_ENTRY_CONTROLS);

        fail(vm, 0);
        CHECK_VMCS(ENTRY_CONTROLS, controls);
        CHECK_EQ("\"IA-32e mode guest\" before",
                 controls & CTL_ENTRY_IA32E_MODE_GUEST, 0);
}

/* What a VM exit would load. */
struct processor {
        ulong cr0, cr3, cr4, dr7;
        bool debugctl_missing;
        u64 debugctl, sysenter_cs, sysenter_esp, sysenter_eip, pat, efer;
        u64 fs_base, gs_base;
        struct desc_ptr gdtr, idtr;
        u16 cs, ss, ds, es, fs, gs, tr, ldtr;
};

static struct processor processor_state(void)
{
        struct processor p;

        memset(&p, 0, sizeof(p));
        p.cr0 = read_cr0();
        p.cr3 = read_cr3();
        p.cr4 = read_cr4();
        p.dr7 = read_dr7();
        p.debugctl_missing = rdmsr_safe(MSR_IA32_DEBUGCTL, &p.debugctl).raised;
        p.sysenter_cs = rdmsr(MSR_IA32_SYSENTER_CS);
        p.sysenter_esp = rdmsr(MSR_IA32_SYSENTER_ESP);
        p.sysenter_eip = rdmsr(MSR_IA32_SYSENTER_EIP);
        p.pat = rdmsr(MSR_IA32_PAT);
#ifdef __x86_64__
        p.efer = rdmsr(MSR_IA32_EFER);
        p.fs_base = rdmsr(MSR_IA32_FS_BASE);
        p.gs_base = rdmsr(MSR_IA32_GS_BASE);
#endif
        p.gdtr = sgdt();
        p.idtr = sidt();
        p.cs = read_cs();
        p.ss = read_ss();
        p.ds = read_ds();
        p.es = read_es();
        p.fs = read_fs();
        p.gs = read_gs();
        p.tr = str();
        p.ldtr = sldt();
        return p;
}

#define SAME(member) CHECK_EQ(#member, after.member, before.member)

/*
 * The fields that follow are valid, and not what the processor has; DR7 is not
 * what every VM exit sets.
 */
FAMILY(host_state, FAILURES, .id = "entry.vmfail.host-state",
       .title = "nothing is loaded from the host-state area", .sdm = SDM,
       .rules = "ENTB_VMFAIL_HOST_STATE_NOT_LOADED", .needs = "load-ia32-pat-exit")
{
        const u64 sysenter_cs = rdmsr(MSR_IA32_SYSENTER_CS);
        const ulong dr7 = read_dr7();
        struct processor before, after;
        struct vm *vm = vm_begin(GUEST_NATIVE);

        vmwrite(VMCS_HOST_CR3, vmread(VMCS_HOST_CR3) | CR3_PCD | CR3_PWT);
        vmwrite(VMCS_HOST_CR0, vmread(VMCS_HOST_CR0) ^ CR0_WP);
        vmwrite(VMCS_HOST_CR4, vmread(VMCS_HOST_CR4) ^ CR4_TSD);
        vmwrite(VMCS_HOST_FS_BASE, 0x1000);
        vmwrite(VMCS_HOST_GS_BASE, 0x2000);
        vmwrite(VMCS_HOST_SYSENTER_CS, (u32)~sysenter_cs);
        vmwrite(VMCS_HOST_SYSENTER_ESP, 0x3000);
        vmwrite(VMCS_HOST_SYSENTER_EIP, 0x4000);
        vmwrite(VMCS_HOST_PAT, rdmsr(MSR_IA32_PAT) ^ 1);
        vmwrite(VMCS_HOST_DS_SELECTOR, SEL_DATA16);
        vmwrite(VMCS_HOST_GDTR_BASE, 0x5000);
        vm_control(VMCS_EXIT_CONTROLS, CTL_EXIT_LOAD_PAT, 0);
        write_dr7(dr7 | DR7_LE);
        wrmsr(MSR_IA32_SYSENTER_CS, 0x1234);
        before = processor_state();
        fail(vm, row);
        after = processor_state();
        SAME(cr0); SAME(cr3); SAME(cr4); SAME(dr7); SAME(debugctl);
        SAME(sysenter_cs); SAME(sysenter_esp); SAME(sysenter_eip);
        SAME(pat); SAME(efer); SAME(fs_base); SAME(gs_base);
        SAME(gdtr.base); SAME(gdtr.limit); SAME(idtr.base); SAME(idtr.limit);
        SAME(cs); SAME(ss); SAME(ds); SAME(es); SAME(fs); SAME(gs);
        SAME(tr); SAME(ldtr);
        write_dr7(dr7);
        wrmsr(MSR_IA32_SYSENTER_CS, sysenter_cs);
}

struct msr_entry {
        u32 index, reserved;
        u64 value;
};

/* One register in each area; the entry that succeeds uses them. */
FAMILY(msr_areas, FAILURES, .id = "entry.vmfail.msr-areas",
       .title = "none of the MSR areas is used", .sdm = SDM,
       .rules = "ENTB_VMFAIL_MSR_AREAS_NOT_PROCESSED")
{
        const u64 esp = rdmsr(MSR_IA32_SYSENTER_ESP);
        const u64 eip = rdmsr(MSR_IA32_SYSENTER_EIP);
        struct msr_entry *areas = page_alloc(1);
        struct msr_entry *load = areas, *store = areas + 1, *entry = areas + 2;
        struct vm *vm = vm_begin(GUEST_NATIVE);
        u64 pin = vmread(VMCS_PIN_CONTROLS), cs = vmread(VMCS_HOST_CS_SELECTOR);

        load->index = MSR_IA32_SYSENTER_ESP;
        load->value = 0x11000;
        store->index = entry->index = MSR_IA32_SYSENTER_EIP;
        store->value = POISON;
        entry->value = 0x22000;
        vmwrite(VMCS_EXIT_MSR_LOAD_ADDRESS, phys(load));
        vmwrite(VMCS_EXIT_MSR_STORE_ADDRESS, phys(store));
        vmwrite(VMCS_ENTRY_MSR_LOAD_ADDRESS, phys(entry));
        vmwrite(VMCS_EXIT_MSR_LOAD_COUNT, 1);
        vmwrite(VMCS_EXIT_MSR_STORE_COUNT, 1);
        vmwrite(VMCS_ENTRY_MSR_LOAD_COUNT, 1);
        fail(vm, row);
        CHECK_EQ("IA32_SYSENTER_ESP", rdmsr(MSR_IA32_SYSENTER_ESP), esp);
        CHECK_EQ("IA32_SYSENTER_EIP", rdmsr(MSR_IA32_SYSENTER_EIP), eip);
        CHECK_EQ("the VM-exit MSR-store area", store->value, POISON);
        vmwrite(VMCS_PIN_CONTROLS, pin);
        vmwrite(VMCS_HOST_CS_SELECTOR, cs);
        CHECK_RESULT("VM entry, valid", vm_enter(vm), EXITS(EXIT_VMCALL));
        CHECK_EQ("IA32_SYSENTER_ESP, loaded", rdmsr(MSR_IA32_SYSENTER_ESP), 0x11000);
        CHECK_EQ("the VM-exit MSR-store area, used", store->value, 0x22000);
        wrmsr(MSR_IA32_SYSENTER_ESP, esp);
        wrmsr(MSR_IA32_SYSENTER_EIP, eip);
}

SNIPPET(vmlaunch_code, "vmlaunch");

/*
 * The host RIP field names an instruction that must not be reached; a stack
 * pointer that had changed would not bring snippet_run() back.
 */
FAMILY(next_instruction, FAILURES, .id = "entry.vmfail.next-instruction",
       .title = "the next instruction runs, all registers as they were",
       .sdm = SDM, .rules = "ENTB_VMFAIL_FALLS_THROUGH")
{
        struct snippet_state s = snippet_state(), before;
        const u16 cs = read_cs();

        vm_begin(GUEST_NATIVE);
        vmcs_edit(failures[row].edits);
        vm_poison(failures[row].outcome.code);
        before = s;
        check_result(__FILE__, __LINE__, "VMLAUNCH",
                     snippet_run(&vmlaunch_code, &s), failures[row].outcome);
        CHECK("general registers",
              !memcmp(&before.regs, &s.regs, sizeof(s.regs)), "changed");
        CHECK_EQ("CS", read_cs(), cs);
        CHECK_EQ("SS", s.ss, before.ss);
        CHECK_EQ("DS", s.ds, before.ds);
        CHECK_EQ("ES", s.es, before.es);
}

static const struct flag_row {
        struct row head;
        u32 flag;
} flag_rows[] = {
        { ROW("if", "IF"), .flag = RFLAGS_IF },
        { ROW("df", "DF"), .flag = RFLAGS_DF },
        { ROW("iopl", "IOPL"), .flag = RFLAGS_IOPL },
        { ROW("nt", "NT"), .flag = RFLAGS_NT },
        { ROW("ac", "AC"), .flag = RFLAGS_AC },
        { ROW("id", "ID"), .flag = RFLAGS_ID },
};

/* Set and clear, for a failure of each kind. */
TABLE(flags, flag_rows, .id = "entry.vmfail.flags",
      .title = "a flag that VMfail does not define", .sdm =
      "VMX Instruction Reference > Conventions",
      .rules = "ENTB_VMFAIL_OTHER_RFLAGS_UNCHANGED ENTB_VMFAILVALID_FLAGS")
{
        const struct flag_row *r = case_row(self, row);

        for (unsigned i = 0; i < 2 * FAILURES; i++) {
                struct snippet_state s = snippet_state();
                const struct failure *f = &failures[i / 2];
                u32 flag = i % 2 ? r->flag : 0;

                vm_begin(GUEST_NATIVE);
                vmcs_edit(f->edits);
                vm_poison(f->outcome.code);
                s.flags = RFLAGS_FIXED | flag | (i % 2 ? VMX_FLAGS : 0);
                check_result(__FILE__, __LINE__, "VMLAUNCH",
                             snippet_run(&vmlaunch_code, &s), f->outcome);
                CHECK_EQ("RFLAGS", s.flags, RFLAGS_FIXED | flag | RFLAGS_ZF);
        }
}

static struct trap_frame taken;

static void take(struct trap_frame *frame)
{
        taken = *frame;
        frame->rflags &= ~(ulong)(RFLAGS_TF | RFLAGS_IF);
}

#define TEST_VECTOR 0x61

/* Blocking by STI ends with the VMLAUNCH that fails. */
FAMILY(interrupt, FAILURES, .id = "entry.vmfail.interrupt",
       .title = "an interrupt is taken by the host after the entry that failed",
       .sdm = SDM, .rules = "ENTB_VMFAIL_EVENTS_STAY_NORMAL", .needs = "apic")
{
        ulong next, flags;

        vm_begin(GUEST_NATIVE);
        vmcs_edit(failures[row].edits);
        vm_poison(failures[row].outcome.code);
        irq_pend(TEST_VECTOR);
        irq_set(TEST_VECTOR, take);
        memset(&taken, 0, sizeof(taken));
        asm volatile("sti\n\tvmlaunch\n1:\tpushf\n\tpop %[flags]\n\tcli\n\t"
#ifdef __x86_64__
                     "lea 1b(%%rip), %[next]"
#else
                     "mov $1b, %[next]"
#endif
                     : [flags] "=&r" (flags), [next] "=&r" (next)
                     : : "cc", "memory");
        CHECK_EQ("interrupts taken", irq_count[TEST_VECTOR], 1);
        CHECK_EQ("interrupted before", taken.rip, next);
        CHECK_MASKED("RFLAGS that the interrupt saved", taken.rflags,
                     RFLAGS_ZF | RFLAGS_IF, VMX_FLAGS | RFLAGS_IF);
        CHECK_VMCS(VM_INSTRUCTION_ERROR, failures[row].outcome.code);
}
