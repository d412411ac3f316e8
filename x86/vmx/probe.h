/*
 * Boundary pairs: tables of VM-entry checks. Each row is one case that enters
 * twice from the same baseline: the accepted side must reach the guest's first
 * instruction, the rejected side must end exactly as the row says.
 */
#ifndef X86_VMX_PROBE_H
#define X86_VMX_PROBE_H

#include "lib/check.h"
#include "x86/vmx/guest.h"

struct probe {
        struct row head;
        enum guest_mode mode;
        const struct edit *given;   /* on both sides, before the next two */
        const struct edit *accept;
        const struct edit *reject;
        void (*prepare)(struct vm *vm); /* on both sides, after @given */
        void (*restore)(void);      /* after each side, before it is judged:
                                     * for host state that a VM exit loaded */
        struct vmx_result outcome;  /* of the rejected side; kind 0: there is
                                     * none, the rule is that nothing is refused */
        struct vmx_result also;     /* legal too; kind 0: nothing */
        struct vmx_result accepted; /* of the accepted side; kind 0: VM exit by
                                     * the VMCALL of the program */
        const struct program *program; /* NULL: the baseline's, one VMCALL */
        u64 rax, rax_mask;          /* RAX after the accepted side, in these bits */
};


/* The checks of VM entry, as the rejected side shows them. */
#define BAD_CONTROLS FAIL_VALID(VMERR_ENTRY_CONTROLS)
#define BAD_HOST     FAIL_VALID(VMERR_ENTRY_HOST_STATE)
#define BAD_GUEST    ENTRY_FAILS(EXIT_ENTRY_FAILURE_GUEST_STATE, 0)

/* Runs the row; the body of a table of struct probe. */
void probe_run(const struct test_case *self, unsigned row);

/* The same for a row made at run time: families. */
void probe_check(const struct test_case *self, const struct probe *probe);

/*
 * For families in which some numbers are legal and some are not: the baseline
 * is accepted, and with @edits too if @legal, else it ends as @outcome says.
 * The sides and the outcome of @probe are not used.
 */
void probe_legal(const struct test_case *self, const struct probe *probe,
                 const struct edit *edits, bool legal,
                 struct vmx_result outcome);

/* An edit of a field that only run time knows: EDIT(SET, field, value). */
#define EDIT(op_, field_, value_) \
        { .field = (u16)(field_), .op = EDIT_##op_, .value = (value_) }

/* Any exception of the guest shows as such, and not as its handler's VMCALL. */
#define SHOW_EXCEPTIONS SET(EXCEPTION_BITMAP, 0xffffffff)

/* For .prepare: "enable EPT" with the identity map; "unrestricted guest" too. */
void with_ept(struct vm *vm);
void with_unrestricted_guest(struct vm *vm);

/* The same with an EPT of the case's own that does not map the 2 MBytes from
 * EPT_HOLE on; nothing of the suite lies there. */
#define EPT_HOLE 0xc0000000u
void with_ept_hole(struct vm *vm);

/* One side: baseline, edits, poison, entry. The VM is left as it ended. */
__attribute__((warn_unused_result))
struct vmx_result probe_enter(const struct probe *probe,
                              const struct edit *side, u32 expected_error);

/* PROBES(name, rows, .id = ..., .title = ..., .sdm = ...) declares the table. */
#define PROBES(name, rows, ...) \
        TABLE(name, rows, __VA_ARGS__) { probe_run(self, row); }

#endif
