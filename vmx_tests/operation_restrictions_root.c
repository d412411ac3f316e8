/*
 * SDM Vol. 3, Introduction to Virtual Machine Extensions > Restrictions on VMX
 * Operation: VMX root operation is otherwise like operation outside VMX. The
 * controls of the current VMCS mean nothing there.
 */
#include "lib/check.h"
#include "x86/apic.h"
#include "x86/desc.h"
#include "x86/memory.h"
#include "x86/msr.h"
#include "x86/paging.h"
#include "x86/trap.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/guest_env.h"
#include "x86/vmx/instr.h"
#include "x86/vmx/pointer.h"
#include "x86/vmx/session.h"

#define SDM "Introduction to Virtual Machine Extensions > Restrictions on VMX Operation"

/* VMX root operation; the current VMCS has every exiting control that there is. */
static void begin_exiting(void)
{
        vm_begin(GUEST_NATIVE);
        vmwrite(VMCS_PIN_CONTROLS, control_settings(WORD_PIN,
                CTL_PIN_EXTERNAL_INTERRUPT_EXITING | CTL_PIN_NMI_EXITING |
                CTL_PIN_VIRTUAL_NMIS));
        vmwrite(VMCS_PRIMARY_CONTROLS, control_settings(WORD_PRIMARY,
                CTL_PRIMARY_INTERRUPT_WINDOW_EXITING |
                CTL_PRIMARY_HLT_EXITING | CTL_PRIMARY_INVLPG_EXITING |
                CTL_PRIMARY_MWAIT_EXITING | CTL_PRIMARY_RDPMC_EXITING |
                CTL_PRIMARY_RDTSC_EXITING | CTL_PRIMARY_CR3_LOAD_EXITING |
                CTL_PRIMARY_CR3_STORE_EXITING | CTL_PRIMARY_CR8_LOAD_EXITING |
                CTL_PRIMARY_CR8_STORE_EXITING | CTL_PRIMARY_NMI_WINDOW_EXITING |
                CTL_PRIMARY_MOV_DR_EXITING | CTL_PRIMARY_UNCONDITIONAL_IO_EXITING |
                CTL_PRIMARY_MONITOR_EXITING | CTL_PRIMARY_PAUSE_EXITING |
                CTL_PRIMARY_ACTIVATE_SECONDARY));
        if (vmcs_has(VMCS_SECONDARY_CONTROLS))
                vmwrite(VMCS_SECONDARY_CONTROLS, control_settings(WORD_SECONDARY,
                        CTL_SECONDARY_DESCRIPTOR_TABLE_EXITING |
                        CTL_SECONDARY_WBINVD_EXITING |
                        CTL_SECONDARY_RDRAND_EXITING |
                        CTL_SECONDARY_RDSEED_EXITING));
        vmwrite(VMCS_EXCEPTION_BITMAP, ~0u);
        vmwrite(VMCS_CR0_GUEST_HOST_MASK, ~0ull);
        vmwrite(VMCS_CR4_GUEST_HOST_MASK, ~0ull);
        vmwrite(VMCS_CR0_READ_SHADOW, 0);
        vmwrite(VMCS_CR4_READ_SHADOW, 0);
        vm_poison(0);
}

/* No VM exit has been recorded, and the VMCS is still current. */
static void check_no_exit(u64 reason)
{
        CHECK_EQ("exit reason", vmread(VMCS_EXIT_REASON), reason);
        CHECK_EQ("current-VMCS pointer", current_vmcs(), this_vmx()->vm.pointer);
}

static void do_cpuid(void)
{
        CHECK_EQ("CPUID.01H:ECX.VMX", cpuid(1, 0).c >> 5 & 1, 1);
}

static void do_rdtsc(void)
{
        u64 before = rdtsc();

        CHECK("RDTSC", rdtsc() >= before, "it went back");
}

static void do_rdmsr(void)
{
        CHECK_EQ("IA32_VMX_BASIC", rdmsr(MSR_IA32_VMX_BASIC), vmx_caps()->basic);
}

static void do_wrmsr(void)
{
        u64 old = rdmsr(MSR_IA32_SYSENTER_CS);

        wrmsr(MSR_IA32_SYSENTER_CS, 0x55);
        CHECK_EQ("IA32_SYSENTER_CS", rdmsr(MSR_IA32_SYSENTER_CS), 0x55);
        wrmsr(MSR_IA32_SYSENTER_CS, old);
}

/* The mask of the first 8259, which stays all ones. */
static void do_io(void)
{
        outb(0x21, 0xff);
        inb(0x21);
        CHECK("IN and OUT", true, "it exited");
}

static void do_invlpg(void)
{
        invlpg(page_alloc(1));
        CHECK("INVLPG", true, "it exited");
}

static void do_mov_dr(void)
{
        write_dr0(0x1234);
        CHECK_EQ("DR0", read_dr0(), 0x1234);
        write_dr0(0);
}

static void do_pause(void)
{
        pause();
        CHECK("PAUSE", true, "it exited");
}

static void do_wbinvd(void)
{
        asm volatile("wbinvd" : : : "memory");
        CHECK("WBINVD", true, "it exited");
}

static void do_descriptor_tables(void)
{
        CHECK_EQ("base of the IDT", sidt().base, (ulong)idt);
        CHECK_EQ("TR", str(), SEL_TSS);
        lldt(0);
        CHECK_EQ("LDTR", sldt(), 0);
}

static void do_mov_cr3(void)
{
        ulong cr3 = read_cr3();

        write_cr3(cr3);
        CHECK_EQ("CR3", read_cr3(), cr3);
        CHECK_EQ("CR3", cr3 & ~(ulong)0xfff, paging_root() & ~(ulong)0xfff);
}

static void do_mov_cr8(void)
{
#ifdef __x86_64__
        ulong old = read_cr8();

        write_cr8(5);
        CHECK_EQ("CR8", read_cr8(), 5);
        write_cr8(old);
#else
        case_error("CR8 needs host64");
#endif
}

static void do_clts(void)
{
        write_cr0(read_cr0() | CR0_TS);
        asm volatile("clts" : : : "memory");
        CHECK_MASKED("CR0.TS", read_cr0(), 0, CR0_TS);
}

struct root_row {
        struct row head;
        void (*fn)(void);
};

static const struct root_row root_rows[] = {
        { ROW("cpuid", "CPUID"), do_cpuid },
        { ROW("rdtsc", "RDTSC"), do_rdtsc },
        { ROW("rdmsr", "RDMSR"), do_rdmsr },
        { ROW("wrmsr", "WRMSR"), do_wrmsr },
        { ROW("io", "IN and OUT"), do_io },
        { ROW("invlpg", "INVLPG"), do_invlpg },
        { ROW("mov-dr", "MOV DR"), do_mov_dr },
        { ROW("pause", "PAUSE"), do_pause },
        { ROW("wbinvd", "WBINVD"), do_wbinvd },
        { ROW("descriptor-tables", "SIDT, STR, LLDT and SLDT"),
          do_descriptor_tables },
        { ROW("mov-cr3", "MOV CR3", "CR_ROOT_MOV_CR3_CR8"), do_mov_cr3 },
        { ROW("mov-cr8", "MOV CR8", "CR_ROOT_MOV_CR3_CR8", "host64"),
          do_mov_cr8 },
        { ROW("clts", "CLTS", "CR_ROOT_CLTS"), do_clts },
};

TABLE(no_exits, root_rows, .id = "operation.root.no-exit", .sdm = SDM,
      .title = "does its work in VMX root operation, whatever the current VMCS says",
      .rules = "CR_ROOT_NO_EXITS")
{
        u64 reason;

        begin_exiting();
        reason = vmread(VMCS_EXIT_REASON);
        ((const struct root_row *)case_row(self, row))->fn();
        check_no_exit(reason);
}

CASE(mov_cr_read, .id = "operation.root.cr-read", .sdm = SDM,
     .title = "MOV from CR0 and CR4 and SMSW give the registers, not the shadows",
     .rules = "CR_ROOT_MOV_CR_READ")
{
        ulong cr0, cr3, cr4, msw = 0;

        vm_begin(GUEST_NATIVE);
        cr0 = read_cr0();
        cr3 = read_cr3();
        cr4 = read_cr4();
        begin_exiting();
        asm volatile("smsw %0" : "+r"(msw));
        CHECK_EQ("CR0", read_cr0(), cr0);
        CHECK_EQ("CR3", read_cr3(), cr3);
        CHECK_EQ("CR4", read_cr4(), cr4);
        CHECK_EQ("machine status word", msw & 0xffff, cr0 & 0xffff);
        CHECK_MASKED("CR0.PE and CR0.NE", cr0, ~0u, CR0_PE | CR0_NE);
        CHECK_MASKED("CR4.VMXE", cr4, ~0u, CR4_VMXE);
}

static const u16 lmsw_sources[] = { 0, 0xe, 1 };

FAMILY(lmsw, ARRAY_LEN(lmsw_sources), .id = "operation.root.lmsw", .sdm = SDM,
       .title = "LMSW of 0, 0EH, 1: it never clears PE, and loads MP, EM and TS",
       .rules = "CR_ROOT_LMSW_PE")
{
        const u16 source = lmsw_sources[row];

        begin_exiting();
        write_cr0(read_cr0() ^ CR0_TS);
        trap_clear();
        asm volatile("1: lmsw %0\n2:\n" EXTABLE("1b", "2b")
                     : : "r"(source) : "memory");
        CHECK("LMSW", !trap_last()->raised, "it faulted");
        CHECK_EQ("CR0[3:0]", read_cr0() & 0xf, source | CR0_PE);
}

CASE(lmsw_fixed, .id = "operation.root.lmsw.fixed", .sdm = SDM,
     .title = "LMSW can not give MP, EM or TS a value that is not supported",
     .rules = "CR_ROOT_LMSW_FIXED")
{
        const u64 bits = CR0_MP | CR0_EM | CR0_TS;
        u64 fixed1 = vmx_caps()->cr0_fixed0 & bits;
        u64 fixed0 = ~vmx_caps()->cr0_fixed1 & bits;
        ulong cr0, source;

        begin_exiting();
        if (!(fixed0 | fixed1)) {
                case_skip("none of the three is fixed here");
                return;
        }
        cr0 = read_cr0();
        source = (cr0 & 0xf) ^ (ulong)(fixed0 | fixed1);
        trap_clear();
        asm volatile("1: lmsw %w0\n2:\n" EXTABLE("1b", "2b")
                     : : "r"(source) : "memory");
        CHECK("LMSW", trap_last()->raised && trap_last()->vector == VEC_GP,
              "it did not fault");
        CHECK_EQ("CR0", read_cr0(), cr0);
}

static void count_exit(u32 vector)
{
        CHECK_EQ("events that reached the handler", irq_count[vector], 1);
}

static void take_interrupt(void)
{
        const u8 vector = 0x51;

        irq_set(vector, irq_ignore);
        apic_self_ipi(vector);
        for (unsigned i = 0; i < 1000 && !irq_count[vector]; i++)
                sti_nop_cli();
        count_exit(vector);
}

static void take_nmi(void)
{
        irq_set(VEC_NMI, irq_ignore);
        apic_icr(apic_id(), ICR_NMI | ICR_ASSERT);
        for (unsigned i = 0; i < 1000 && !irq_count[VEC_NMI]; i++)
                pause();
        count_exit(VEC_NMI);
}

static void take_exception(void)
{
        trap_clear();
        asm volatile("1: ud2\n2:\n" EXTABLE("1b", "2b") : : : "memory");
        CHECK("#UD", trap_last()->raised && trap_last()->vector == VEC_UD,
              "it did not reach the handler");
}

static const struct root_row event_rows[] = {
        { ROW("interrupt", "an external interrupt", NULL, "apic"), take_interrupt },
        { ROW("nmi", "an NMI", NULL, "apic"), take_nmi },
        { ROW("exception", "an exception"), take_exception },
};

TABLE(events, event_rows, .id = "operation.root.event", .sdm = SDM,
      .title = "is delivered in VMX root operation, whatever the current VMCS says",
      .rules = "CR_INTR_NMI_ROOT_NORMAL")
{
        u64 reason;

        begin_exiting();
        reason = vmread(VMCS_EXIT_REASON);
        ((const struct root_row *)case_row(self, row))->fn();
        check_no_exit(reason);
}

CASE(hlt_wakes, .id = "operation.root.no-exit.hlt", .sdm = SDM, .needs = "apic",
     .title = "HLT waits in VMX root operation until an interrupt",
     .rules = "CR_ROOT_NO_EXITS")
{
        const u8 vector = 0x52;
        u64 reason;

        begin_exiting();
        reason = vmread(VMCS_EXIT_REASON);
        irq_set(vector, irq_ignore);
        apic_timer(vector, 1000);
        asm volatile("sti; hlt; cli" : : : "memory");
        apic_timer_stop();
        count_exit(vector);
        check_no_exit(reason);
}

CASE(xsetbv, .id = "operation.root.no-exit.xsetbv", .sdm = SDM, .needs = "xsave",
     .title = "XSETBV works in VMX root operation, and faults as outside",
     .rules = "CR_XSETBV_ROOT")
{
        u32 low, high;
        u64 xcr0;

        begin_exiting();
        write_cr4(read_cr4() | CR4_OSXSAVE);
        asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
        xcr0 = low | (u64)high << 32;
        CHECK_RESULT("XSETBV", raw_trap(xsetbv_safe(0, xcr0)), SUCCEED);
        CHECK_RESULT("XSETBV with bit 0 clear",
                     raw_trap(xsetbv_safe(0, xcr0 & ~1ull)),
                     FAULT_CODE(VEC_GP, 0));
}

CASE(compat, .id = "operation.root.mode.compatibility", .sdm = SDM,
     .title = "code in compatibility mode runs in VMX root operation",
     .rules = "CR_ROOT_ORDINARY_MODES", .needs = "host64")
{
#ifdef __x86_64__
        /* inc EAX (REX in 64-bit mode); int 40H */
        static const u8 code[TRAP_CODE_SIZE] = { 0x40, 0xcd, TRAP_END };
        struct trap t;

        vm_begin(GUEST_NATIVE);
        CHECK("code", !trap_in_compat(code, &t), "exception %u", t.vector);
        CHECK_EQ("current-VMCS pointer", current_vmcs(), this_vmx()->vm.pointer);
#else
        case_error("compatibility mode needs host64");
#endif
}

CASE(native_mode, .id = "operation.root.mode.native", .sdm = SDM,
     .title = "VMXON, a guest and VMXOFF in this build's mode",
     .rules = "CR_ROOT_ORDINARY_MODES")
{
        vmx_off();
        CHECK_RESULT("VM entry", vm_enter(vm_begin(GUEST_NATIVE)),
                     EXITS(EXIT_VMCALL));
        vmx_off();
        CHECK_RESULT("VMPTRST", vmptrst(&(u64){ 0 }), FAULT(VEC_UD));
}

CASE(paging_32, .id = "operation.root.mode.32-bit-paging", .sdm = SDM,
     .title = "VMXON and VMXOFF with 32-bit paging",
     .rules = "CR_ROOT_ORDINARY_MODES", .needs = "host32 pse")
{
        u64 pointer = phys(vmcs_region_new()), stored = 0;
        ulong cr0, cr3, cr4;
        struct vmx_result on, off, store;

        vmx_off();
        vmx_prepare();
        cr0 = read_cr0();
        cr3 = read_cr3();
        cr4 = read_cr4();
        write_cr0(cr0 & ~(ulong)CR0_PG);
        write_cr4((cr4 & ~(ulong)CR4_PAE) | CR4_PSE);
        write_cr3((ulong)guest_env()->directory32);
        write_cr0(cr0);
        on = vmxon(&pointer);
        store = vmptrst(&stored);
        off = vmxoff();
        write_cr0(cr0 & ~(ulong)CR0_PG);
        write_cr4(cr4);
        write_cr3(cr3);
        write_cr0(cr0);
        CHECK_RESULT("VMXON", on, SUCCEED);
        CHECK_RESULT("VMPTRST", store, SUCCEED);
        CHECK_EQ("current-VMCS pointer", stored, NO_VMCS);
        CHECK_RESULT("VMXOFF", off, SUCCEED);
}
