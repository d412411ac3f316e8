/*
 * SDM Vol. 3, Introduction to Virtual Machine Extensions > Restrictions on VMX
 * Operation: Intel PT and SMX. Safer Mode Extensions Reference > GETSEC leaves.
 */
#include "lib/check.h"
#include "x86/memory.h"
#include "x86/msr.h"
#include "x86/trap.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/raw.h"
#include "x86/vmx/session.h"

#define SDM "Introduction to Virtual Machine Extensions > Restrictions on VMX Operation"

#define MSR_IA32_RTIT_OUTPUT_BASE 0x560
#define MSR_IA32_RTIT_OUTPUT_MASK_PTRS 0x561
#define MSR_IA32_RTIT_STATUS 0x571
#define TRACE_EN BIT(0)

static struct vmx_result set_trace(u64 value)
{
        return raw_trap(wrmsr_safe(MSR_IA32_RTIT_CTL, value));
}

/* Outside VMX operation, tracing is on: of neither user nor supervisor code. */
static bool begin_tracing(void)
{
        void *page = page_alloc(1);

        vmx_off();
        vmx_prepare();
        if (!(cpuid(0x14, 0).c & 1u << 2)) {
                case_skip("no single-range output of Intel PT");
                return false;
        }
        wrmsr(MSR_IA32_RTIT_CTL, 0);
        wrmsr(MSR_IA32_RTIT_STATUS, 0);
        wrmsr(MSR_IA32_RTIT_OUTPUT_BASE, phys(page));
        wrmsr(MSR_IA32_RTIT_OUTPUT_MASK_PTRS, 0x7f);
        return CHECK_RESULT("TraceEn = 1 outside VMX operation",
                            set_trace(TRACE_EN), SUCCEED);
}

static void end_tracing(void)
{
        vmx_off();
        CHECK_RESULT("TraceEn = 0 after VMXOFF", set_trace(0), SUCCEED);
}

CASE(pt_vmxon, .id = "operation.restrictions.pt.vmxon", .sdm = SDM,
     .title = "VMXON clears TraceEn where Intel PT can not be used in VMX",
     .needs = "pt !pt-in-vmx",
     .rules = "CR_PT_TRACEEN_VMXON CAP_MISC_BIT14_PT")
{
        if (!begin_tracing())
                return;
        vmx_on();
        CHECK_MASKED("IA32_RTIT_CTL after VMXON", rdmsr(MSR_IA32_RTIT_CTL), 0,
                     TRACE_EN);
        end_tracing();
}

CASE(pt_vmxon_kept, .id = "operation.restrictions.pt.vmxon-kept", .sdm = SDM,
     .title = "VMXON leaves TraceEn where Intel PT can be used in VMX",
     .needs = "pt pt-in-vmx", .rules = "CR_PT_TRACEEN_VMXON CAP_MISC_BIT14_PT")
{
        if (!begin_tracing())
                return;
        vmx_on();
        CHECK_MASKED("IA32_RTIT_CTL after VMXON", rdmsr(MSR_IA32_RTIT_CTL), ~0ull,
                     TRACE_EN);
        CHECK_RESULT("TraceEn = 0 in VMX operation", set_trace(0), SUCCEED);
        CHECK_RESULT("TraceEn = 1 in VMX operation", set_trace(TRACE_EN), SUCCEED);
        CHECK_RESULT("TraceEn = 0 in VMX operation", set_trace(0), SUCCEED);
        end_tracing();
}

CASE(pt_wrmsr, .id = "operation.restrictions.pt.wrmsr", .sdm = SDM,
     .title = "TraceEn can not be set in VMX root operation",
     .needs = "pt !pt-in-vmx", .rules = "CR_PT_TRACEEN_WRMSR CAP_MISC_BIT14_PT")
{
        if (!begin_tracing())
                return;
        vmx_on();
        CHECK_RESULT("WRMSR with TraceEn = 1", set_trace(TRACE_EN),
                     FAULT_CODE(VEC_GP, 0));
        end_tracing();
}

CASE(pt_wrmsr_guest, .id = "operation.restrictions.pt.wrmsr-guest", .sdm = SDM,
     .title = "TraceEn can not be set in VMX non-root operation",
     .needs = "pt !pt-in-vmx use-msr-bitmaps", .rules = "CR_PT_TRACEEN_WRMSR")
{
        const u32 msr = MSR_IA32_RTIT_CTL, value = TRACE_EN;
        struct code code = { 0 };
        struct vm *vm;

        if (!begin_tracing())
                return;
        vm = vm_begin(GUEST_NATIVE);
        vm_control(VMCS_PRIMARY_CONTROLS, CTL_PRIMARY_USE_MSR_BITMAPS, 0);
        vmwrite(VMCS_MSR_BITMAPS, phys(page_alloc(1)));
        CODE_ADD(&code, 0xb9);                          /* mov ECX */
        code_add(&code, &msr, sizeof(msr));
        CODE_ADD(&code, 0x31, 0xd2, 0xb8);              /* xor EDX, EDX; mov EAX */
        code_add(&code, &value, sizeof(value));
        CODE_ADD(&code, 0x0f, 0x30);                    /* wrmsr */
        CHECK_RESULT("WRMSR with TraceEn = 1", raw_guest(vm, &code, 0),
                     FAULT_CODE(VEC_GP, 0));
        end_tracing();
}

/* GETSEC leaves: CAPABILITIES, and those that the table has. */
#define GETSEC_CAPABILITIES 0
#define CHIPSET BIT(0)

static struct vmx_result getsec(u32 leaf, u32 *eax)
{
        u32 a = leaf, b = 0, c = 0, d = 0;

        trap_clear();
        asm volatile("1: .byte 0x0f, 0x37\n2:\n" EXTABLE("1b", "2b")
                     : "+a"(a), "+b"(b), "+c"(c), "+d"(d) : : "memory");
        *eax = a;
        return raw_trap(*trap_last());
}

struct leaf_row {
        struct row head;
        u32 leaf, supported;  /* a bit of the capabilities */
};

static const struct leaf_row leaf_rows[] = {
        { { .id = "enteraccs", .title = "GETSEC[ENTERACCS]" }, 2, 1u << 2 },
        { { .id = "senter", .title = "GETSEC[SENTER]" }, 4, 1u << 4 },
};

TABLE(smx, leaf_rows, .id = "operation.restrictions.smx", .sdm =
      "Safer Mode Extensions Reference > GETSEC[SENTER], GETSEC[ENTERACCS]",
      .title = "faults in VMX root operation", .needs = "smx",
      .rules = "CR_GETSEC_SENTER_IN_VMX")
{
        const struct leaf_row *r = case_row(self, row);
        u32 capabilities, unused;

        vmx_on();
        write_cr4(read_cr4() | CR4_SMXE);
        CHECK_RESULT("GETSEC[CAPABILITIES]",
                     getsec(GETSEC_CAPABILITIES, &capabilities), SUCCEED);
        if (!(capabilities & CHIPSET) || !(capabilities & r->supported))
                case_skip("the leaf is not supported here");
        else
                CHECK_RESULT("the leaf", getsec(r->leaf, &unused),
                             FAULT_CODE(VEC_GP, 0));
}
