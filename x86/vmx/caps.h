/*
 * What the processor's VMX can do: the capability MSRs, read once. SDM,
 * Appendix A, "VMX Capability Reporting Facility".
 */
#ifndef X86_VMX_CAPS_H
#define X86_VMX_CAPS_H

#include "lib/types.h"
#include "x86/vmx/names.h"

/* One word of controls: a bit of @must is not allowed 0, one of @may allowed 1. */
struct control_limits {
        u64 must, may;
};

struct vmx_caps {
        bool vmx;         /* CPUID.01H:ECX.VMX; without it all else is 0 */
        u32 present;      /* bit n: MSR 480H + n exists; others read as 0 here */
        u32 missing;      /* it should exist, and RDMSR raised an exception */
#define MSR(number, name, member, exists) u64 member;
#include "x86/vmx/caps.def"
        /* By the TRUE MSRs where there are, and by the plain ones. */
        struct control_limits limits[CONTROL_WORDS];
        struct control_limits plain_limits[CONTROL_WORDS];
};

/* CAP_EPT_WB ...: the bits of the MSR that CAP() in caps.def names. */
enum {
#define CAP(member, hi, lo, name, token, title) \
        CAP_##name = BITS(hi, lo), CAP_SHIFT_##name = lo,
#include "x86/vmx/caps.def"
        CAP_WIDEN = BIT(63)  /* as CTL_WIDEN */
};

const struct vmx_caps *vmx_caps(void);

/* The value of the bit field @name of caps.def: vmx_cap(misc, CR3_TARGETS). */
#define vmx_cap(member, name) \
        ((vmx_caps()->member & (u64)CAP_##name) >> CAP_SHIFT_##name)

/* All controls of @mask can be 1; can be 0. */
bool control_can_be_1(enum control_word word, u64 mask);
bool control_can_be_0(enum control_word word, u64 mask);

/* Controls as near to @want as the processor allows (A.2 to A.5). */
u64 control_settings(enum control_word word, u64 want);

/* CPUID.80000008H:EAX, and what the SDM says where there is no such leaf. */
unsigned guest_address_width(void);     /* of what EPT translates */
unsigned linear_address_width(void);

/*
 * Bits that number the private keys of SEAM are not part of physical addresses:
 * IA32_TME_ACTIVATE[39:36] while bit 0 is set, else 0. SDM Vol. 3, Format of the
 * VMCS Region, the note on MAXPHYADDR.
 */
unsigned tme_key_bits(void);
unsigned physical_address_width(void);  /* without them */

/* Every capability MSR that exists, for the fingerprint: "IA32_VMX_BASIC", value. */
void vmx_caps_each(void (*fn)(const char *name, u64 value));

#endif
