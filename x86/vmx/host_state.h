/*
 * Host state that a case makes a VM exit load, and the kernel's own again.
 */
#ifndef X86_VMX_HOST_STATE_H
#define X86_VMX_HOST_STATE_H

#include "x86/vmx/probe.h"

#define SDM_HOST_REGISTERS \
        "VM Entries > Checks on Host Control Registers and MSRs"
#define SDM_HOST_SEGMENTS \
        "VM Entries > Checks on Host Segment and Descriptor-Table Registers"
#define SDM_HOST_SIZE "VM Entries > Checks Related to Address-Space Size"

/*
 * Control registers, segments and descriptor tables as the kernel has them. As
 * .restore of a probe: for all that a VM exit loads but MSRs. The code before it
 * must be able to run.
 */
void host_restore(void);

/*
 * Both values of a natural-width host-state field that holds a linear address:
 * bit @bit alone, and all bits but it. They must be refused where no linear-
 * address width makes them canonical, accepted where every width does.
 */
void host_address_bit(const struct test_case *self, u32 field,
                      const struct edit *given, unsigned bit);

#ifndef __x86_64__
/*
 * VMWRITE of all 64 bits of a natural-width field, which a 32-bit host can not
 * do, in 64-bit mode. The launch state of @vm is clear afterwards. Needs
 * Intel 64 architecture.
 */
void vmwrite_wide(struct vm *vm, u32 field, u64 value);
#endif

#endif
