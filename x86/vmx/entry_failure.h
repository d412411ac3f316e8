/*
 * Ways in which a VM entry fails during or after loading guest state. SDM Vol.
 * 3, VM Entries > VM-Entry Failures During or After Loading Guest State.
 */
#ifndef X86_VMX_ENTRY_FAILURE_H
#define X86_VMX_ENTRY_FAILURE_H

#include "x86/vmx/probe.h"

#define ENTRY_FAILURE_SDM \
        "VM Entries > VM-Entry Failures During or After Loading Guest State"

struct entry_failure {
        struct row head;
        enum guest_mode mode;
        void (*prepare)(struct vm *vm);
        const struct edit *edits;
        u32 reason, qualification;
};

/* An entry of an MSR area. */
struct msr_entry {
        u32 index, reserved;
        u64 value;
};

/* A PDPTE of a GUEST_PAE without EPT has a reserved bit. */
void entry_failure_pdpte(struct vm *vm);

/* A VM-entry MSR-load area of @count entries; those of the mask @bad fail. */
void entry_failure_msr_area(u32 bad, u32 count);

/* entry_failure_msr_area() with one entry, which fails. */
void entry_failure_msr(struct vm *vm);

#define ENTRY_FAILURES                                                       \
        { .head = { "rflags", "RFLAGS bit 1 is 0" },                         \
          .edits = EDITS(CLEAR(GUEST_RFLAGS, RFLAGS_FIXED)),                 \
          .reason = EXIT_ENTRY_FAILURE_GUEST_STATE },                        \
        { .head = { "pdpte", "a PDPTE has a reserved bit" },                 \
          .mode = GUEST_PAE, .prepare = entry_failure_pdpte,                 \
          .reason = EXIT_ENTRY_FAILURE_GUEST_STATE, .qualification = 2 },    \
        { .head = { "link", "the VMCS link pointer is misaligned" },         \
          .edits = EDITS(SET(VMCS_LINK_POINTER, 1)),                         \
          .reason = EXIT_ENTRY_FAILURE_GUEST_STATE, .qualification = 4 },    \
        { .head = { "msr", "an MSR can not be loaded",                       \
                    "MSRL_FAIL_HOST_STATE" },                                \
          .prepare = entry_failure_msr,                                      \
          .reason = EXIT_ENTRY_FAILURE_MSR_LOADING, .qualification = 1 }

/* Makes the entry of @vm, whose mode must be @failure's, fail. */
void entry_failure_apply(struct vm *vm, const struct entry_failure *failure);

/* vm_begin() and that. */
struct vm *entry_failure_begin(const struct entry_failure *failure);

/* How the entry must end. */
struct vmx_result entry_failure_result(const struct entry_failure *failure);

#endif
