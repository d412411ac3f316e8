/*
 * VMREAD and VMWRITE by a guest to a shadow VMCS. SDM Vol. 3, Virtual Machine
 * Control Structures > VMCS Types: Ordinary and Shadow.
 */
#ifndef X86_VMX_SHADOW_H
#define X86_VMX_SHADOW_H

#include "x86/vmx/guest.h"

struct shadow {
        struct vm *vm;            /* the guest; its VMCS is current */
        struct vmcs_region *region;
        u64 pointer;              /* of the shadow VMCS */
        u8 *bitmap[2];            /* of VMREAD and of VMWRITE, 4096 bytes each */
};

enum shadow_access { SHADOW_VMREAD, SHADOW_VMWRITE };
/* One more than an encoding has: with a memory operand at RAX instead of RDX. */
#define SHADOW_MEMORY 2u

/* A guest in @mode with VMCS shadowing and a link pointer; the bitmaps are 0. */
struct shadow shadow_begin(enum guest_mode mode);

/* The bit of @encoding in the bitmap of @access. */
void shadow_intercept(struct shadow *s, enum shadow_access access, u32 encoding,
                      bool intercept);

/* A field of the shadow VMCS, by the host. */
u64 shadow_read(struct shadow *s, u32 field);
void shadow_write(struct shadow *s, u32 field, u64 value);

/*
 * The guest executes VMREAD from the field in RCX to RDX, or VMWRITE from RDX
 * to it (@access, perhaps with SHADOW_MEMORY), all arithmetic flags set before.
 * What it did: an exit, an exception of the guest, else what the guest's flags
 * say, a VMfailValid with the VM-instruction error of the guest's VMCS.
 */
__attribute__((warn_unused_result))
struct vmx_result shadow_run(struct shadow *s, unsigned access, u64 field);

#endif
