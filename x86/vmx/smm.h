/*
 * A handler of system-management interrupts at the SMBASE of reset, where no
 * firmware has moved that: SDM Vol. 3, System Management Mode.
 */
#ifndef X86_VMX_SMM_H
#define X86_VMX_SMM_H

#include "lib/types.h"

/* What the handler tries; the vector of the exception, or SMM_NONE. */
enum smm_try {
        SMM_MOV_CR4,          /* MOV CR4 of the value that is there */
        SMM_MOV_CR4_VMXE,     /* the same with bit 13 set */
        SMM_CPUID,
        SMM_VMXON, SMM_VMXOFF, SMM_VMCLEAR, SMM_VMPTRLD, SMM_VMPTRST, SMM_VMREAD,
        SMM_VMWRITE, SMM_VMLAUNCH, SMM_VMRESUME, SMM_VMCALL,
        SMM_TRIES
};
#define SMM_NONE 0xff

struct smm_report {
        u32 count;            /* SMIs that came to the handler */
        u32 cr0, cr4;         /* as it found them */
        u8 vector[SMM_TRIES];
};

/* The handler's report; what was in the memory that it takes is lost. The pages
 * are the case's, as if they came from low_page(). */
volatile struct smm_report *smm_install(void);

/* Sends an SMI to this processor. False: it did not come to the handler. */
bool smm_send(void);
#define SMM_ICR ((2u << 8) | (1u << 14))  /* the low half of the ICR for that */

#endif
