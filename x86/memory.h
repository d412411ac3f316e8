/* Physical memory: pages for cases, given back together. */
#ifndef X86_MEMORY_H
#define X86_MEMORY_H

#include "../lib/types.h"

#define PAGE_SIZE 4096u
#define MEMORY_LIMIT 0x4000000u  /* nothing beyond 64 MiB is used */

/* A variable without initial value: nobody clears it (boot/link.ld). */
#define NOINIT __attribute__((section(".bss..noinit")))

/* @pages contiguous pages, zeroed, identity-mapped, above 1 MiB; never NULL
 * (running out is an error of the suite). */
void *page_alloc(unsigned pages);
/* The same, its address a multiple of @align (a power of two >= 4096). */
void *page_alloc_aligned(unsigned pages, u32 align);
/* The same below 1 MiB, for real-mode guests (112 pages in all). */
void *low_page(unsigned pages);

/* As page_alloc() and low_page(), never given back. */
void *page_keep(unsigned pages);
void *low_page_keep(unsigned pages);

/* memory_release(mark) gives back everything allocated since the mark was
 * taken, and undoes what paging_set() did. */
u64 memory_mark(void);
void memory_release(u64 mark);

static inline u64 phys(const volatile void *p)
{
        return (ulong)p;  /* identity-mapped */
}

/* Machine layer only. */
void memory_init(void);

#endif
