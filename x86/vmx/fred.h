/*
 * Guests that use FRED transitions, and what FRED event delivery leaves on the
 * stack. SDM Vol. 3, FRED Event Delivery.
 */
#ifndef X86_VMX_FRED_H
#define X86_VMX_FRED_H

#include "x86/vmx/event.h"

#define N_FRED "host64 fred load-fred-entry"

#define CR4_FRED BIT(32)
#define SYSCALL EVENT(7, 1)
#define SYSENTER EVENT(7, 2)
#define NESTED 0x2000u        /* of an injected or exiting event */
#define BLOCKED_ENCLAVE 0x10u /* interruptibility state: enclave interruption */

/* IA32_FRED_CONFIG beside the address of the entry points. */
#define FRED_LEVEL(n) ((u64)(n))               /* the current stack level */
#define FRED_RED_ZONE(n) ((u64)(n) << 6)       /* in 64 bytes */
#define FRED_EXTERNAL_LEVEL(n) ((u64)(n) << 9) /* of external interrupts */

#define FRED_LEVELS 4
#define FRED_RING0 256        /* its entry point, in the page */

struct fred_frame {
        u64 error, rip, cs, rflags, rsp, ss, data, reserved;
};

/* Beside the selector in the frame's CS. */
#define FRED_CS_LEVEL(n) ((u64)(n) << 16)
#define FRED_CS_TRACKER BIT(18)

/* Beside the selector in the frame's SS. */
#define FRED_SS_STI BIT(16)
#define FRED_SS_SOFTWARE BIT(17)
#define FRED_SS_NMI BIT(18)
#define FRED_SS_VECTOR(n) ((u64)(n) << 32)
#define FRED_SS_TYPE(n) ((u64)(n) << 48)
#define FRED_SS_ENCLAVE BIT(56)
#define FRED_SS_64BIT BIT(57)
#define FRED_SS_NESTED BIT(58)
#define FRED_SS_LENGTH(n) ((u64)(n) << 60)

struct fred {
        struct vm *vm;
        u8 *page;                 /* at both entry points: VMCALL */
        ulong stack[FRED_LEVELS]; /* where each level's stack begins */
};

/*
 * vm_begin(), for a guest with CR4.FRED = 1 and FRED MSRs that VM entry loads;
 * those of the host lead to other entry points and other stacks. Exceptions
 * exit. fred_end() gives the host its MSRs back, after any number of guests.
 */
void fred_begin(struct fred *f);
void fred_end(void);

/* CPL 3 for the guest. */
void fred_user(const struct fred *f);

/* As vm_inject(), with event data. */
void fred_inject(u32 info, u32 error, u32 length, u64 data);

/*
 * What is expected of a delivery: the frame, what RSP was before it was pushed
 * (0: not looked at) and the entry point.
 */
struct fred_want {
        struct fred_frame frame;
        ulong top;
        u16 entry;
};

/*
 * The delivery that the next VM entry makes of the event @info, by the guest
 * state in the VMCS: to the entry point for its CPL, on the stack of level 0
 * from CPL 3 and on the guest's own from CPL 0. Error code, event data and the
 * bits 18:16 of SS are left 0.
 */
struct fred_want fred_expect(const struct fred *f, u32 info, u32 length);

/* @r is the VMCALL at the entry point, with the frame as @want has it. */
#define CHECK_FRED(what, f, r, want) \
        check_fred(__FILE__, __LINE__, what, f, r, want)
bool check_fred(const char *file, int line, const char *what,
                const struct fred *f, struct vmx_result r,
                const struct fred_want *want);

#endif
