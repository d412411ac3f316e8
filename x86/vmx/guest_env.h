/*
 * What guests find in memory: descriptor tables, page tables, event handlers,
 * stacks. Common to all guests; the handlers only say that they were reached.
 */
#ifndef X86_VMX_GUEST_ENV_H
#define X86_VMX_GUEST_ENV_H

#include "lib/types.h"
#include "x86/desc.h"
#include "x86/vmx/guest.h"

/* The guests' GDT has the selectors of x86/desc.h; the TSS is the guest's. */
struct guest_env {
        u64 *gdt;
        u8 *idt64, *idt32;     /* 256 gates of 16 and of 8 bytes */
        u8 *handlers;          /* 256 of 16 bytes */
        u64 *pml4, *pdpt;      /* both map 4 GiB identically, user-accessible, */
        u64 *pae_pdpt;         /* by the same four page directories of 2-MiB */
        u64 *directories;      /* pages */
        u32 *directory32;      /* 4-MiB pages, for 32-bit paging */
        u8 *low_code;          /* one page below 1 MiB, real-mode programs */
        u8 *low_handlers;      /* one page below 1 MiB, real-mode handlers */
        u64 eptp;              /* identity, if EPT is there, else 0 */
};

/* The environment, built at the first call; permanent. */
const struct guest_env *guest_env(void);

/* Takes the permanent memory that vm_baseline() needs. */
void baseline_init(void);

/*
 * Maps the 4-KiB page at @linear in the guests' own 64-bit and PAE page tables
 * to @physical with exactly @flags (PTE_ bits; 0: not present), until the case
 * ends. The rest of its 2 MiB stays identity-mapped. Below 4 GiB; not where the
 * suite's memory is.
 */
void guest_map(ulong linear, u64 physical, u64 flags);

/*
 * Maps @page, which may be the suite's memory, identically by a 4-KByte page
 * until the case ends: only so must accesses to an APIC-access page be
 * recognized. SDM Vol. 3, Issues Pertaining to Page Size and TLB Management.
 */
void guest_map_small(const void *page);

/* Undoes guest_map(); the guests' GDT is as it was made. */
void guest_env_reset(void);

/* Lays out this processor's guest TSS for @mode: RSP0, or ESP0 and SS0. */
void guest_env_tss(enum guest_mode mode);

/*
 * An event that the guest's own handler received: the last exit was the VMCALL
 * of a handler. The program must have pushed nothing before the event.
 */
struct guest_event {
        u8 vector;
        bool has_error;
        u32 error;
        u64 rip, rflags, rsp;  /* rsp: 0 where the mode saves none */
        u16 cs;
};

/* True if the last exit was a handler's VMCALL; then fills *@event. */
bool vm_event(struct vm *vm, struct guest_event *event);

/*
 * Lets the handler return: drops the error code and goes on behind the VMCALL,
 * where the handler's IRET stands.
 */
void vm_event_return(const struct guest_event *event);

#endif
