/*
 * EPT paging structures. SDM Vol. 3, VMX Support for Address Translation > EPT
 * Translation Mechanism.
 */
#ifndef X86_VMX_EPT_H
#define X86_VMX_EPT_H

#include "lib/types.h"
#include "x86/vmx/result.h"

#define EPT_R BIT(0)
#define EPT_W BIT(1)
#define EPT_X BIT(2)            /* supervisor fetches only, with mode-based control */
#define EPT_RWX (EPT_R | EPT_W | EPT_X)
#define EPT_MT(type) ((u64)(type) << 3)  /* 0 UC, 1 WC, 4 WT, 5 WP, 6 WB */
#define EPT_MT_MASK EPT_MT(7)
#define EPT_IGNORE_PAT BIT(6)
#define EPT_LARGE BIT(7)
#define EPT_A BIT(8)
#define EPT_D BIT(9)
#define EPT_XU BIT(10)
#define EPT_SUPPRESS_VE BIT(63)
#define EPT_WB EPT_MT(6)

#define EPTP_WALK(levels) ((u64)((levels) - 1) << 3)
#define EPTP_AD BIT(6)

/* Levels, as the SDM numbers a table's entries: 4 PML4E ... 1 PTE. */
enum { EPT_PTE = 1, EPT_PDE, EPT_PDPTE, EPT_PML4E };
#define EPT_PAGE_SIZE(level) (4096ull << 9 * ((level) - 1))

/* An empty root table; its physical address is its address. */
u64 *ept_new(void);

/*
 * Maps one page at @level (EPT_PTE 4 KiB, EPT_PDE 2 MiB, EPT_PDPTE 1 GiB) from
 * @gpa to @hpa, both aligned on the page size. @flags: permissions and memory
 * type. Tables on the way get all permissions. A large page in the way is
 * split into pages that map the same.
 */
void ept_map(u64 *root, u64 gpa, u64 hpa, unsigned level, u64 flags);

/*
 * The entry of @level that is used for @gpa; tables on the way are made, large
 * pages split.
 */
volatile u64 *ept_entry(u64 *root, u64 gpa, unsigned level);

/*
 * The first 4 GiB, identically, RWX, in 2-MiB pages: write-back the suite's
 * memory, uncacheable what lies above; on a
 * processor without those the suite's memory and the local APIC in 4-KiB pages.
 */
void ept_map_identity(u64 *root);

/*
 * A root of its own over the guests' identity mapping of the first 4 GiB, whose
 * page directories it shares: what lies above belongs to the case.
 */
u64 *ept_new_over_identity(void);

/* "Enable EPT" in the current VMCS, with @root; nothing of it is cached. */
void ept_use(const u64 *root, u64 flags);

/* The EPTP for @root: 4-level walk, write-back if supported, else uncacheable;
 * @flags: EPTP_AD or other bits to set. */
u64 eptp_of(const u64 *root, u64 flags);

/* A leaf's memory type that is always valid: the EPTP's. */
u64 ept_memory_type(void);

/* Removes all that the processor cached for @eptp (INVEPT, if supported). */
void ept_invalidate(u64 eptp);

#endif
