/*
 * The tables of entry.S: in both builds four page directories side by side,
 * under a PML4 and a PDPT (64-bit) or a PAE PDPT alone. A 2-MiB page whose
 * parts differ gets a page table.
 */
#include "paging.h"
#include "apic.h"
#include "cpu.h"
#include "memory.h"
#include "../lib/suite.h"

#define LARGE_SHIFT 21
#define LARGE (1u << LARGE_SHIFT)
#define ENTRIES 512

/* Large pages that can be split at one time. */
#define SPLITS 16

extern volatile u64 boot_directories[4 * ENTRIES];
extern u64 boot_root[];

static volatile u64 tables[SPLITS][ENTRIES] NOINIT
        __attribute__((aligned(4096)));
static u16 split_index[SPLITS];  /* into boot_directories */
static unsigned splits;

static u64 large_entry(u32 index)
{
        u64 flags = PTE_P | PTE_W | PTE_A | PTE_D | PTE_PS;

        /* The APIC's registers: uncacheable whatever the MTRRs say. */
        if (index == APIC_DEFAULT_BASE >> LARGE_SHIFT)
                flags |= PTE_PCD | PTE_PWT;
        return flags | (u64)index << LARGE_SHIFT;
}

void paging_init(void)
{
        u32 apic = APIC_DEFAULT_BASE >> LARGE_SHIFT;

        boot_directories[apic] = large_entry(apic);
}

volatile u64 *paging_entry(const volatile void *va)
{
        u32 index = (u32)((ulong)va >> LARGE_SHIFT);
        volatile u64 *directory = &boot_directories[index];

        if (*directory & PTE_PS) {
                volatile u64 *table = tables[splits];
                u64 entry = *directory & ~PTE_PS;

                if (splits == SPLITS)
                        suite_panic("too many page tables");
                for (unsigned i = 0; i < ENTRIES; i++)
                        table[i] = entry + i * PAGE_SIZE;
                split_index[splits++] = (u16)index;
                *directory = phys(table) | PTE_P | PTE_W | PTE_U | PTE_A;
                paging_flush();
        }
        return (volatile u64 *)(ulong)(*directory & PTE_ADDR) +
               ((ulong)va / PAGE_SIZE) % ENTRIES;
}

void paging_map(const volatile void *va, u64 pa, u64 flags)
{
        *paging_entry(va) = (pa & PTE_ADDR) | flags;
        invlpg(va);
}

void paging_set(const volatile void *va, u64 flags)
{
        paging_map(va, phys(va), flags);
}

u64 paging_get(const volatile void *va)
{
        u64 entry = boot_directories[(ulong)va >> LARGE_SHIFT];

        return entry & PTE_PS ? entry : *paging_entry(va);
}

bool paging_nx(void)
{
        return cpuid_bit(0x80000001, 0, 'd', 20);
}

void paging_flush(void)
{
        write_cr3(read_cr3());
}

void paging_reset(void)
{
        if (!splits)
                return;
        for (unsigned i = 0; i < splits; i++)
                boot_directories[split_index[i]] = large_entry(split_index[i]);
        splits = 0;
        paging_flush();
}

ulong paging_root(void)
{
        return (ulong)boot_root;
}
