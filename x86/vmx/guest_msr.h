/*
 * MSRs of guests: reading them there, and the VM-entry MSR-load area (SDM Vol. 3,
 * VM Entries > Loading MSRs).
 */
#ifndef X86_VMX_GUEST_MSR_H
#define X86_VMX_GUEST_MSR_H

#include "x86/msr.h"
#include "x86/vmx/guest.h"

/* An entry of an MSR area. */
struct msr_entry {
        u32 index, reserved;
        u64 value;
};

/*
 * RDMSR and WRMSR do not exit: "use MSR bitmaps" (of which the case declares
 * its need), with bitmaps of zeros.
 */
void vm_allow_msrs(struct vm *vm);

/* Gives the next VM entry a VM-entry MSR-load area: a copy of @entries. */
void vm_entry_msrs(const struct msr_entry *entries, unsigned count);

/*
 * Enters the guest, whose program becomes RDMSR of @msr; vm_allow_msrs() was
 * called. What else happens makes the case fail.
 */
u64 vm_rdmsr(struct vm *vm, u32 msr);

/* Gives the host's MSR @value. False: WRMSR refuses it, or drops bits of it. */
bool msr_takes(u32 msr, u64 value);

#endif
