/*
 * Events for guests: injecting them, tables for a delivery to go wrong in, and
 * interrupts and NMIs that are pending when a guest is entered.
 */
#ifndef X86_VMX_EVENT_H
#define X86_VMX_EVENT_H

#include "x86/desc.h"
#include "x86/vmx/guest_env.h"
#include "x86/vmx/probe.h"

/*
 * The identification of an event, in the VMCS fields for injected, exiting and
 * original events: SDM Vol. 3, Virtual Machine Control Structures > VM-Entry
 * Controls for Event Injection.
 */
#define EVENT_VALID 0x80000000u
#define EVENT_HAS_ERROR 0x800u
#define EVENT(type, vector) (EVENT_VALID | (u32)(type) << 8 | (vector))
#define EXTERNAL(vector) EVENT(0, vector)     /* external interrupt */
#define NMI EVENT(2, 2)
#define HARDWARE(vector) EVENT(3, vector)     /* hardware exception */
#define HARDWARE_CODE(vector) (HARDWARE(vector) | EVENT_HAS_ERROR)
#define INT_N(vector) EVENT(4, vector)        /* software interrupt */
#define INT1_TRAP EVENT(5, 1)                 /* privileged software exception */
#define SOFTWARE(vector) EVENT(6, vector)     /* software exception */
#define PENDING_MTF EVENT(7, 0)

/* Bits of the guest's interruptibility state. */
#define BLOCKED_STI 1u
#define BLOCKED_MOV_SS 2u
#define BLOCKED_NMI 8u

/* The guest's activity states. */
enum { ACTIVE, HLT, SHUTDOWN, WAIT_FOR_SIPI };

/* Pending debug exceptions. */
#define PENDING_B(n) (1u << (n))
#define PENDING_ENABLED (1u << 12)
#define PENDING_BS (1u << 14)

/* The event that the next VM entry injects. RFLAGS.IF becomes 1 for an external
 * interrupt: VM entry requires that. */
void vm_inject(u32 info, u32 error, u32 length);

/* One of each type, as rows: an external interrupt, an NMI, #UD, INT n, INT1 and
 * INT3, with the length of the instruction. */
struct event_type {
        struct row head;
        u32 info;
        u8 length;
};

#define EVENT_TYPES 6
extern const struct event_type event_types[EVENT_TYPES];

/* The address of the guest's handler for @vector: its first instruction. */
ulong vm_handler(const struct vm *vm, u8 vector);

/* The @n-th word of the guest's stack, as wide as @vm's mode pushes. */
u64 vm_stack(const struct vm *vm, unsigned n);

/* CPL 3 for the guest, in a mode with protection levels; IOPL stays. */
void vm_user(struct vm *vm);

/*
 * Descriptor tables of the running case's own, copies of the guest's, which the
 * guest uses from now on.
 */
struct vm_tables {
        u8 *idt;
        u64 *gdt;         /* two pages; the limit is as before */
        u8 *tss;          /* at the beginning of a page */
        unsigned gate_size;
};

struct vm_tables vm_tables(const struct vm *vm);

/* The gate of @vector; GATE_RIGHTS is its byte of type, DPL and P. */
static inline u8 *vm_gate(const struct vm_tables *t, u8 vector)
{
        return t->idt + vector * t->gate_size;
}
#define GATE_RIGHTS 5
#define GATE_IST 4
#define GATE_P 0x80
#define GATE_DPL(n) ((n) << 5)
#define GATE_TASK 0x05
#define GATE_INTERRUPT 0x0e
#define GATE_TRAP 0x0f

/* Other parts of a gate of protected mode. */
void vm_gate_selector(const struct vm_tables *t, u8 vector, u16 selector);
void vm_gate_offset(const struct vm_tables *t, u8 vector, ulong offset);

/*
 * The entry that maps the 4-KiB page at @va in page tables of the guest's own
 * (identical otherwise): GUEST_LONG, GUEST_COMPAT and GUEST_PAE, in which
 * vm_paging_hole() makes everything from GUEST_HOLE to 4 GiB not present.
 */
u64 *vm_pte(struct vm *vm, const volatile void *va);
#define GUEST_HOLE 0xc0000000u
void vm_paging_hole(struct vm *vm);

/*
 * The guest's handler of @want->vector was the end of @r, with that frame: cs
 * and rflags are compared where not 0.
 */
#define CHECK_DELIVERED(what, vm, r, ...)                               \
        check_delivered(__FILE__, __LINE__, what, vm, r,                \
                        &(struct guest_event){ __VA_ARGS__ })
bool check_delivered(const char *file, int line, const char *what,
                     struct vm *vm, struct vmx_result r,
                     const struct guest_event *want);

/* A field of the current VMCS, by its name in fields.def. */
#define CHECK_VMCS(field, want)                                         \
        CHECK_EQ(vmcs_field_name(VMCS_##field), vmread(VMCS_##field), want)
#define CHECK_VMCS_MASKED(field, want, mask)                            \
        CHECK_MASKED(vmcs_field_name(VMCS_##field),                     \
                     vmread(VMCS_##field), want, mask)

/* Blocking by STI and MOV SS as saved. */
#define CHECK_BLOCKING(want)                                            \
        CHECK_VMCS_MASKED(GUEST_INTERRUPTIBILITY_STATE, want,           \
                          BLOCKED_STI | BLOCKED_MOV_SS)

/* As CHECK_RESULT, and reports the exit information where it does not hold. */
#define CHECK_EXIT(what, r, ...)                                        \
        check_exit(__FILE__, __LINE__, what, r, (struct vmx_result)__VA_ARGS__)
bool check_exit(const char *file, int line, const char *what,
                struct vmx_result r, struct vmx_result want);

/*
 * The last exit came during delivery of the event @info (with @error, if that
 * says so), or of none (0). Bit 12 of the field is undefined.
 */
#define CHECK_ORIGINAL_EVENT(info, error)                               \
        check_original_event(__FILE__, __LINE__, info, error)
bool check_original_event(const char *file, int line, u32 info, u32 error);

/* The event that the last exit was due to, likewise. */
#define CHECK_EXITING_EVENT(info, error)                                \
        check_exiting_event(__FILE__, __LINE__, info, error)
bool check_exiting_event(const char *file, int line, u32 info, u32 error);

/*
 * Makes interrupt @vector (from 32 on) pending in the local APIC; the host has
 * IF = 0. irq_take() lets the host have what is still pending and says how
 * often @vector came; the APIC is as before then, even if a guest took it.
 */
void irq_pend(u8 vector);
u32 irq_take(u8 vector);

/*
 * Runs @fn(@arg) as in a handler of an NMI: NMIs are blocked, and another one
 * is pending if @pending. Returns how many the host took besides the first.
 */
u32 nmi_blocked(void (*fn)(void *), void *arg, bool pending);
u32 nmi_seen(void);           /* so far, for @fn */
void nmi_send(void);          /* to this processor */

/* IRET: an NMI injected into a guest, earlier, may have left NMIs blocked. Done
 * by vm_inject() and nmi_blocked(). */
void nmi_unblock(void);

/*
 * Runs another guest, with virtual NMIs, that executes IRET: on a processor that
 * keeps virtual-NMI blocking from one guest to the next only the case which is
 * about that shall say so. vm_begin() comes after it.
 */
void vm_end_virtual_nmi_blocking(void);

/* IRET of the build's width, and a frame for it on the guest's empty stack. */
#ifdef __x86_64__
#define IRET "iretq\n"
#else
#define IRET "iret\n"
#endif
void vm_push_frame(ulong rip, u16 cs, u32 rflags);

/*
 * Conditions that exit right after VM entry: the preemption timer at 0, an open
 * interrupt window and NMI window, the virtual TPR below the threshold, and an
 * injected MTF exit. The cases declare their needs.
 */
void vm_pend_timer(void);
void vm_pend_interrupt_window(void);
void vm_pend_nmi_window(void);
void vm_pend_tpr_threshold(void);
void vm_pend_mtf(void);
#define N_TIMER "activate-vmx-preemption-timer"
#define N_INTERRUPT_WINDOW "interrupt-window-exiting"
#define N_NMI_WINDOW "nmi-exiting virtual-nmis nmi-window-exiting"
#define N_TPR_THRESHOLD "use-tpr-shadow virtualize-apic-accesses"
#define N_MTF "monitor-trap-flag"

/*
 * A watchdog for guests that may never end: the VMX-preemption timer (of which
 * the case declares its need), far beyond what a guest here needs. Then
 * TIMER_EXIT says that the guest slept or ran on.
 */
void vm_watchdog(void);
#define TIMER_EXIT EXITS(EXIT_PREEMPTION_TIMER)

/*
 * Tables of injections that succeed: without injection the guest's program
 * runs, with it the handler of the vector, entered with the frame as it must be.
 */
struct delivery {
        struct row head;
        enum guest_mode mode;
        u32 info, error, length;
        u8 advance;                     /* of the RIP in the frame */
        const struct edit *given;
        void (*prepare)(struct vm *vm); /* after @given */
};

void delivery_run(const struct test_case *self, unsigned row);

/* DELIVERIES(name, rows, .id = ..., .title = ..., .sdm = ...) */
#define DELIVERIES(name, rows, ...) \
        TABLE(name, rows, __VA_ARGS__) { delivery_run(self, row); }

#endif
