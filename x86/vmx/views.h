/*
 * A guest with two EPTs that it can switch between by VMFUNC. SDM Vol. 3, VMX
 * Non-Root Operation > VM Functions > EPTP Switching.
 */
#ifndef X86_VMX_VIEWS_H
#define X86_VMX_VIEWS_H

#include "x86/vmx/ept.h"
#include "x86/vmx/raw.h"

/* Both map 4 GiB identically, but for this page. */
#define VIEWS_TARGET 0xc0000000u
#define VIEWS_OLD 0x01d01d01u   /* the first word of the page, in the first EPT */
#define VIEWS_NEW 0x2e32e32eu   /* and in the second */

#define VIEWS_ENTRIES 512

struct views {
        struct vm *vm;
        u64 *old, *new;     /* the root tables */
        u64 eptp;           /* of the first, in the VMCS */
        u64 *list;          /* the EPTP list: entry 0 is the second, the others 0 */
        u32 *old_page, *new_page; /* what the target is */
};

/* A guest in @mode; EPTP switching is on. */
struct views views_begin(enum guest_mode mode);

/*
 * The guest executes VMFUNC with these registers, and then loads EDX from the
 * target if @mode has 32-bit addresses. Every exception causes an exit.
 */
__attribute__((warn_unused_result))
struct vmx_result views_switch(struct views *v, u64 rax, u64 rcx);

#endif
