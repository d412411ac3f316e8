/* Processors: the block that each has, and work for the others. */
#ifndef X86_SMP_H
#define X86_SMP_H

/*
 * Every processor has a block, aligned on its size, with struct cpu at its
 * beginning and all its stacks behind it. Code finds its block from the stack
 * pointer: segment bases, TR and the APIC are what VMX cases change.
 */
#define CPU_BLOCK 0x10000
#define CPU_STACK_DF 0x2000   /* tops, as offsets in the block */
#define CPU_STACK_NMI 0x3000
#define CPU_STACK_MC 0x4000
#define CPU_STACK_RSP0 0x5000 /* entered from CPL 3 and virtual-8086 mode */
#define CPU_STACK_TOP CPU_BLOCK
#define CPU_MAX 16
#define CPU_MAGIC 0x55504376  /* "vCPU" */

#ifndef __ASSEMBLER__
#include "cpu.h"
#include "desc.h"

struct cpu {
        u32 magic;
        u32 index;            /* 0: the bootstrap processor */
        u32 apic_id;
        ulong apic_base;      /* this and the next: as apic_refresh() saw them */
        bool x2apic;
        bool apic_on;         /* software-enabled by us */
        ulong catch_rsp;      /* where an exception unwinds to; 0: nowhere */
        struct trap trap;     /* the last one that was caught */
        u64 gdt[DESC_ENTRIES] __attribute__((aligned(16)));
        struct tss tss __attribute__((aligned(16)));
        /* mailbox: written by the giver while @busy is 0, then @busy = 1 */
        void (*volatile fn)(void *);
        void *volatile arg;
        volatile u32 busy;
        volatile u32 online;
};

static inline struct cpu *this_cpu(void)
{
        return (struct cpu *)(read_rsp() & ~(ulong)(CPU_BLOCK - 1));
}

/* The block of processor @index < cpus_online(). */
struct cpu *cpu_get(unsigned index);

/*
 * How many processors answer. The first call starts them (INIT, SIPI, SIPI to
 * all others), later calls cost nothing. With the parameter cpus=N it waits
 * for N, else until no new one has answered for a while.
 */
unsigned cpus_online(void);

/*
 * Starts @fn(@arg) on processor @cpu (from 1); false if there is none or it is
 * still busy. It runs there with interrupts off, on that processor's own stack,
 * GDT and TSS, the same IDT and page tables (TLB flushed before).
 */
bool cpu_run(unsigned cpu, void (*fn)(void *), void *arg)
        __attribute__((warn_unused_result));

/* Waits until @cpu is idle; false after @spins rounds of PAUSE without. */
bool cpu_wait(unsigned cpu, u32 spins) __attribute__((warn_unused_result));
#define CPU_SPINS 20000000u   /* a limit for work that should end at once */

/*
 * Gives @cpu INIT-SIPI-SIPI and waits until it is idle: for one that a case
 * left in a guest, halted or in wait-for-SIPI. False if it does not come back
 * (in VMX root operation INIT is blocked: leave that first).
 */
bool cpu_restart(unsigned cpu) __attribute__((warn_unused_result));

#define VEC_WAKE 0xf0         /* the IPI that ends an idle processor's HLT */
#endif
#endif
