/* The kernel's own linear address space: 4 GiB, identity, 2-MiB pages. */
#ifndef X86_PAGING_H
#define X86_PAGING_H

#include "../lib/types.h"

#define PTE_P BIT(0)
#define PTE_W BIT(1)
#define PTE_U BIT(2)
#define PTE_PWT BIT(3)
#define PTE_PCD BIT(4)
#define PTE_A BIT(5)
#define PTE_D BIT(6)
#define PTE_PS BIT(7)
#define PTE_PAT_4K BIT(7)
#define PTE_G BIT(8)
#define PTE_PAT_LARGE BIT(12)
#define PTE_NX BIT(63)
#define PTE_ADDR BITS(51, 12)

/*
 * Sets the attributes of the 4-KiB page at @va (which stays identity-mapped) to
 * exactly @flags (PTE_ bits; 0: not present) and flushes it from this
 * processor's TLB. PTE_NX only where paging_nx(). Undone by memory_release().
 */
void paging_set(const volatile void *va, u64 flags);
/* The same, to any physical address. */
void paging_map(const volatile void *va, u64 pa, u64 flags);
/* The entry that maps @va now: PTE_PS tells a 2-MiB page. */
u64 paging_get(const volatile void *va);
/* The 4-KiB entry of @va itself, to be changed in place (A and D flags). */
volatile u64 *paging_entry(const volatile void *va);
bool paging_nx(void);        /* EFER.NXE is on */
void paging_flush(void);     /* this processor's TLB */
void paging_reset(void);     /* all as after boot */
/* CR3 of the kernel: the PML4 table (64-bit) or the PDPT (PAE). */
ulong paging_root(void);

/* Machine layer only. */
void paging_init(void);

#endif
