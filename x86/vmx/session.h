/* Entering and leaving VMX operation. SDM Vol. 3, Introduction to VMX. */
#ifndef X86_VMX_SESSION_H
#define X86_VMX_SESSION_H

#include "x86/smp.h"
#include "x86/vmx/guest.h"

/* What each processor has for VMX: its VMXON region and its standard VM. */
struct vmx_cpu {
        struct vmcs_region *vmxon_region;
        u64 vmxon_pointer;
        bool operating;       /* in VMX root operation */
        struct vm vm;
        /* Of its guests: a TSS, where RSP begins, and RSP0 of that TSS. */
        u8 *tss;
        ulong stack_top, stack0_top;
};

struct vmx_cpu *this_vmx(void);

/*
 * In VMX root operation afterwards: sets IA32_FEATURE_CONTROL if nobody has
 * locked it, the fixed bits of CR0 and CR4, and executes VMXON unless the
 * processor is in VMX operation. What fails makes the case an error.
 */
void vmx_on(void);

/* The same without the VMXON: everything that it requires is given. */
void vmx_prepare(void);

/* Out of VMX operation afterwards (VMXOFF if need be). CR4.VMXE stays. */
void vmx_off(void);

/* VMX and VMXON outside SMX are not locked out by IA32_FEATURE_CONTROL. */
bool vmx_permitted(void);

/*
 * For cases that execute VMXON or VMXOFF themselves: what the state is now.
 * vmx_on() and vmx_off() believe it.
 */
void vmx_set_operating(bool operating);

/* CR0 and CR4 values nearest to @wanted that VMX operation supports. */
ulong vmx_cr0(ulong wanted);
ulong vmx_cr4(ulong wanted);

#endif
