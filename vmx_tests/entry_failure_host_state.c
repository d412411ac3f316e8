/*
 * SDM Vol. 3, VM Exits > Loading Host State, as a VM-entry failure during or
 * after loading guest state does it: RFLAGS and IA32_EFER.
 */
#include "x86/cpu.h"
#include "x86/msr.h"
#include "x86/vmx/event.h"

#define SDM "VM Exits > Loading Host State"

/*
 * VMLAUNCH with CF, ZF, SF, OF, DF and IF set before. RFLAGS where it comes back
 * to the host, at the host's RIP; or behind VMLAUNCH, and then *@failed is true.
 */
static ulong flags_after_launch(bool *failed)
{
        ulong rip_field = VMCS_HOST_RIP, rsp_field = VMCS_HOST_RSP, flags, early;

#ifdef __x86_64__
        asm volatile("push %%rbp\n\t"
                     "push %%rbx\n\t"
                     "lea 1f(%%rip), %%rax\n\t"
                     "vmwrite %%rax, %[rip]\n\t"
                     "xor %%esi, %%esi\n\t"
                     "vmwrite %%rsp, %[rsp]\n\t"
                     "push $0xec3\n\t"
                     "popf\n\t"
                     "vmlaunch\n\t"
                     "mov $1, %%esi\n"
                     "1: pushf\n\t"
                     "pop %%rax\n\t"
                     "cli\n\t"
                     "cld\n\t"
                     "pop %%rbx\n\t"
                     "pop %%rbp"
                     : [rip] "+c" (rip_field), [rsp] "+d" (rsp_field),
                       "=a" (flags), "=S" (early) :
                     : "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
                       "r15", "cc", "memory");
#else
        asm volatile("push %%ebp\n\t"
                     "push %%ebx\n\t"
                     "mov $1f, %%eax\n\t"
                     "vmwrite %%eax, %[rip]\n\t"
                     "xor %%esi, %%esi\n\t"
                     "vmwrite %%esp, %[rsp]\n\t"
                     "push $0xec3\n\t"
                     "popf\n\t"
                     "vmlaunch\n\t"
                     "mov $1, %%esi\n"
                     "1: pushf\n\t"
                     "pop %%eax\n\t"
                     "cli\n\t"
                     "cld\n\t"
                     "pop %%ebx\n\t"
                     "pop %%ebp"
                     : [rip] "+c" (rip_field), [rsp] "+d" (rsp_field),
                       "=a" (flags), "=S" (early) :
                     : "edi", "cc", "memory");
#endif
        *failed = early;
        return flags;
}

CASE(rflags, .id = "entry.failure.host.rflags",
     .title = "a failed entry clears RFLAGS; one that VMfails sets ZF",
     .sdm = SDM, .rules = "ENTG_FAIL_HOST_RFLAGS")
{
        bool failed;
        ulong flags;

        vm_begin(GUEST_NATIVE);
        vm_control(VMCS_GUEST_RFLAGS, 0, RFLAGS_FIXED);
        vm_poison(0);
        flags = flags_after_launch(&failed);
        CHECK_EQ("it is a VMfail", failed, 0);
        CHECK_EQ("RFLAGS", flags, RFLAGS_FIXED);
        CHECK_VMCS(EXIT_REASON, EXIT_ENTRY_FAILURE_GUEST_STATE | EXIT_ENTRY_FAILURE);

        vm_begin(GUEST_NATIVE);
        vmwrite(VMCS_HOST_CS_SELECTOR, 0);
        vm_poison(0);
        flags = flags_after_launch(&failed);
        CHECK_EQ("it is a VMfail", failed, 1);
        CHECK_MASKED("CF and ZF", flags, RFLAGS_ZF, RFLAGS_CF | RFLAGS_ZF);
}

static const struct {
        struct row head;
        enum guest_mode mode;
} modes[] = {
        { ROW("long", "to a 64-bit guest", NULL, "host64"), GUEST_LONG },
        { ROW("pae", "to a 32-bit guest"), GUEST_PAE },
};

TABLE(efer, modes, .id = "entry.failure.host.efer",
      .title = "after a failed entry IA32_EFER.LMA and LME are the host's",
      .sdm = SDM, .rules = "ENTG_FAIL_EFER_LMA_LME", .needs = "intel64")
{
        struct vm *vm = vm_begin(modes[row].mode);
        const u64 mode_bits = EFER_LMA | EFER_LME;

        vm_control(VMCS_GUEST_RFLAGS, 0, RFLAGS_FIXED);
        vm_poison(0);
        CHECK_EXIT("VM entry", vm_enter(vm), BAD_GUEST);
        CHECK_MASKED("IA32_EFER", rdmsr(MSR_IA32_EFER),
                     sizeof(ulong) == 8 ? mode_bits : 0, mode_bits);
}
