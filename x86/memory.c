/*
 * Two pools, behind the image and below 1 MiB. Each is taken from both ends:
 * from the beginning until memory_release(), from the end for ever.
 */
#include "memory.h"
#include "boot/boot.h"
#include "../lib/suite.h"
#include "paging.h"
#include "smp.h"

/* Less than this is too little to try. */
#define MEMORY_LEAST 0x800000u

static struct pool {
        u32 next, end;
} high, low = { LOW_START, LOW_END };

u32 ap_blocks;  /* the blocks of the processors from 1 on; also for entry.S */

/* Is there memory at @p? */
static bool is_memory(volatile u32 *p)
{
        *p = 0x55aa1234;
        if (*p != 0x55aa1234)
                return false;
        *p = ~0x55aa1234u;
        return *p == ~0x55aa1234u;
}

void memory_init(void)
{
        extern u8 memory_start[];

        high.next = (u32)(ulong)memory_start;
        high.end = MEMORY_LIMIT;
        while (high.end > MEMORY_LEAST &&
               !is_memory((u32 *)(ulong)(high.end - sizeof(u64))))
                high.end -= 0x400000;
        high.end -= (CPU_MAX - 1) * CPU_BLOCK;
        ap_blocks = high.end;
}

/* STOS, not a loop: cases allocate much, and each iteration of a loop counts. */
static void *clear(u32 start, unsigned pages)
{
        ulong p = start, n = pages * (PAGE_SIZE / sizeof(ulong));

#ifdef __x86_64__
        asm volatile("rep stosq" : "+D"(p), "+c"(n) : "a"(0ul) : "memory");
#else
        asm volatile("rep stosl" : "+D"(p), "+c"(n) : "a"(0ul) : "memory");
#endif
        return (void *)(ulong)start;
}

static void *take(struct pool *pool, unsigned pages, u32 align)
{
        u32 start = (pool->next + align - 1) & ~(align - 1);

        if (pages > pool->end / PAGE_SIZE ||
            start > pool->end - pages * PAGE_SIZE)
                suite_panic("out of memory: %u pages", pages);
        pool->next = start + pages * PAGE_SIZE;
        return clear(start, pages);
}

static void *keep(struct pool *pool, unsigned pages)
{
        if (pages > (pool->end - pool->next) / PAGE_SIZE)
                suite_panic("out of memory: %u pages", pages);
        pool->end -= pages * PAGE_SIZE;
        return clear(pool->end, pages);
}

void *page_alloc(unsigned pages)
{
        return take(&high, pages, PAGE_SIZE);
}

void *page_alloc_aligned(unsigned pages, u32 align)
{
        return take(&high, pages, align);
}

void *low_page(unsigned pages)
{
        return take(&low, pages, PAGE_SIZE);
}

void *page_keep(unsigned pages)
{
        return keep(&high, pages);
}

void *low_page_keep(unsigned pages)
{
        return keep(&low, pages);
}

u64 memory_mark(void)
{
        return (u64)low.next << 32 | high.next;
}

void memory_release(u64 mark)
{
        high.next = (u32)mark;
        low.next = (u32)(mark >> 32);
        paging_reset();
}
