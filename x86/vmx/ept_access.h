/*
 * One access of a guest to one page through EPT: where it goes, and what the
 * case makes of the entries that map it.
 */
#ifndef X86_VMX_EPT_ACCESS_H
#define X86_VMX_EPT_ACCESS_H

#include "lib/check.h"
#include "x86/vmx/ept.h"
#include "x86/vmx/guest_env.h"

enum ept_access_kind { EPT_READ, EPT_WRITE, EPT_FETCH };

struct ept_access {
        struct vm *vm;
        u64 *root;
        u8 *page;        /* the target, as the kernel sees it */
        u64 gpa;         /* guest-physical address of the target's first byte */
        ulong linear;    /* guest-linear address of the same */
};

/* In the page, at EPT_OFFSET: a VMCALL for fetches, data for the others. */
#define EPT_OFFSET 0x340
#define EPT_DATA   0x0f  /* the VMCALL's first byte */
#define EPT_VALUE  0xa7  /* what a write writes */

/*
 * A native guest under an EPT of its own: the identity mapping, and the target
 * page mapped RWX by a leaf of @leaf (EPT_PTE, EPT_PDE or EPT_PDPTE), beyond 4
 * GiB; if @far beyond 512 GiB, where even the PML4E is used by nothing else.
 */
void ept_access_begin(struct ept_access *a, unsigned leaf, bool far);

/* The entry of @level that maps the target. */
volatile u64 *ept_access_entry(struct ept_access *a, unsigned level);

/* Makes the guest do the access; the entries are not cached before. */
__attribute__((warn_unused_result))
struct vmx_result ept_access_do(struct ept_access *a, enum ept_access_kind kind);

/* Checks that @got is the access done: right data, right place. */
void ept_access_check_done(struct ept_access *a, enum ept_access_kind kind,
                           struct vmx_result got);

/*
 * Checks that @got is an EPT violation (48) with @qualification in the bits
 * that every processor defines, or an EPT misconfiguration (49), of this
 * access, and that nothing was done.
 */
void ept_access_check_violation(struct ept_access *a, enum ept_access_kind kind,
                                struct vmx_result got, u64 qualification);
void ept_access_check_misconfiguration(struct ept_access *a,
                                       enum ept_access_kind kind,
                                       struct vmx_result got);

#endif
