/*
 * The physical address that VMXON, VMCLEAR and VMPTRLD take: which bits it must
 * not have set. SDM Vol. 3, Virtual Machine Control Structures > Software Use
 * of the VMCS and Related Structures.
 */
#ifndef X86_VMX_POINTER_H
#define X86_VMX_POINTER_H

#include "x86/vmx/raw.h"

/* VMX root operation with no current VMCS. */
void begin_without_vmcs(void);

/*
 * Executes VMXON, VMCLEAR or VMPTRLD. After VMXON the session believes that the
 * processor is in VMX operation: the case must end in vmx_off(), because the
 * region is not the session's.
 */
__attribute__((warn_unused_result))
struct vmx_result pointer_insn(enum insn_id insn, u64 pointer);

/*
 * @insn accepts a region's pointer and refuses it with each of the bits @first
 * to @last set, and changes nothing: VMXON fails without a VMCS, the others by
 * @error with a current VMCS and without an error number if there is none.
 */
void pointer_bits_refused(enum insn_id insn, unsigned first, unsigned last,
                          u32 error);

/* @insn refuses @pointer, with a current VMCS and without one, as above. */
void pointer_refused(enum insn_id insn, u64 pointer, u32 error);

/* The bits that a physical address can not have, and those of private keys. */
void pointer_width(enum insn_id insn, u32 error);
void pointer_width_keys(enum insn_id insn, u32 error);

#endif
