#include "x86/vmx/session.h"
#include "lib/check.h"
#include "lib/platform.h"
#include "x86/memory.h"
#include "x86/msr.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/guest_env.h"
#include "x86/vmx/instr.h"

#define FEATURE_LOCK BIT(0)
#define FEATURE_VMX_OUTSIDE_SMX BIT(2)

static struct vmx_cpu cpus[CPU_MAX];

struct vmx_cpu *this_vmx(void)
{
        struct vmx_cpu *v = &cpus[this_cpu()->index];

        if (!v->vmxon_region) {
                v->operating = false;
                v->vmxon_region = vmcs_region_new();
                v->vmxon_pointer = phys(v->vmxon_region);
                v->vm.region = vmcs_region_new();
                v->vm.pointer = phys(v->vm.region);
                v->stack_top = (ulong)page_alloc(1) + PAGE_SIZE;
                v->stack0_top = (ulong)page_alloc(1) + PAGE_SIZE;
                v->tss = page_alloc(1);
        }
        return v;
}

bool vmx_permitted(void)
{
        u64 feature = rdmsr(MSR_IA32_FEATURE_CONTROL);

        return !(feature & FEATURE_LOCK) || feature & FEATURE_VMX_OUTSIDE_SMX;
}

ulong vmx_cr0(ulong wanted)
{
        const struct vmx_caps *c = vmx_caps();

        return (ulong)((wanted | c->cr0_fixed0) & c->cr0_fixed1);
}

ulong vmx_cr4(ulong wanted)
{
        const struct vmx_caps *c = vmx_caps();

        return (ulong)((wanted | c->cr4_fixed0) & c->cr4_fixed1);
}

void vmx_prepare(void)
{
        u64 feature = rdmsr(MSR_IA32_FEATURE_CONTROL);

        if (!(feature & FEATURE_LOCK))
                wrmsr(MSR_IA32_FEATURE_CONTROL,
                      feature | FEATURE_LOCK | FEATURE_VMX_OUTSIDE_SMX);
        write_cr0(vmx_cr0(read_cr0()));
        write_cr4(vmx_cr4(read_cr4() | CR4_VMXE));
}

void vmx_on(void)
{
        struct vmx_cpu *v = this_vmx();
        struct vmx_result r;

        if (v->operating)
                return;
        vmx_prepare();
        v->vmxon_region->revision = (u32)vmx_caps()->basic & 0x7fffffff;
        r = vmxon(&v->vmxon_pointer);
        if (r.kind == VMX_SUCCEED)
                v->operating = true;
        else
                CHECK_RESULT("VMXON of a valid region", r, SUCCEED);
}

void vmx_off(void)
{
        struct vmx_cpu *v = this_vmx();
        struct vmx_result r;

        if (!v->operating)
                return;
        r = vmxoff();
        if (r.kind == VMX_SUCCEED)
                v->operating = false;
        else
                CHECK_RESULT("VMXOFF in VMX root operation", r, SUCCEED);
}

void vmx_set_operating(bool operating)
{
        this_vmx()->operating = operating;
}

static u64 mark;

/*
 * IRET ends blocking by NMI. A case begins without what another one, or another
 * kernel on the same processor, has left behind: a hypervisor's processor may
 * keep virtual-NMI blocking of a guest that is long gone.
 */
static void unblock_nmis(void)
{
        ulong scratch;

#ifdef __x86_64__
        ulong ss;

        asm volatile("mov %%rsp, %0\n\t"
                     "mov %%ss, %1\n\t"
                     "push %1\n\t"
                     "push %0\n\t"
                     "pushfq\n\t"
                     "push %2\n\t"
                     "lea 1f(%%rip), %0\n\t"
                     "push %0\n\t"
                     "iretq\n"
                     "1:"
                     : "=&r"(scratch), "=&r"(ss)
                     : "r"((ulong)read_cs())
                     : "memory");
#else
        asm volatile("mov $1f, %0\n\t"
                     "pushf\n\t"
                     "push %1\n\t"
                     "push %0\n\t"
                     "iret\n"
                     "1:"
                     : "=&r"(scratch)
                     : "r"((ulong)read_cs())
                     : "memory");
#endif
}

void machine_case_begin(void)
{
        unblock_nmis();
        /* Permanent memory is taken before the first mark. */
        if (!mark && cpuid(1, 0).c & 1u << 5) {
                this_vmx();
                guest_env();
                baseline_init();
        }
        mark = memory_mark();
}

void machine_case_end(void)
{
        /* What the other processors had was allocated after the mark. */
        for (unsigned i = 1; i < CPU_MAX; i++)
                cpus[i].vmxon_region = NULL;
        irq_reset();
        desc_reload();
        vmcs_regions_clear();
        guest_env_reset();
        memory_release(mark);
}
