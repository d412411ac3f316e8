/*
 * A guest on the second processor, for events that come from another one. The
 * case sets the guest up there, lets it run, and sees on the first processor
 * how it ended.
 */
#ifndef X86_VMX_REMOTE_H
#define X86_VMX_REMOTE_H

#include "lib/check.h"
#include "x86/smp.h"
#include "x86/vmx/exit_probe.h"

/*
 * Rounds of a guest's loop of PAUSE: long enough for an IPI to arrive that was
 * sent before; and for the processor that sends it to do so, although other
 * work may take it away for a while.
 */
#define REMOTE_LOOPS 300000u
#define REMOTE_PATIENCE 5000000u

struct remote {
        void (*set_up)(struct vm *vm, struct remote *r);
        u32 apic_id;
        /* Words for the two processors to talk. */
        volatile u32 started;  /* a guest may write it */
        volatile u32 in_root, go_on;
        volatile u32 done;
        /* How it ended, once done. */
        struct vmx_result result;
        struct guest_regs regs;
        u64 rip, rflags;
        u32 interruption_info, vectoring_info, activity;
};

/*
 * Starts on processor 1: VMX operation on, a native guest, @set_up(vm, r), VM
 * entry; after the exit the processor leaves VMX operation and is idle. NULL
 * (and the case is an error) if the processor can not be started.
 */
struct remote *remote_start(void (*set_up)(struct vm *vm, struct remote *r));

/*
 * Wait until *word is not 0, the guest has said that it started, or the guest
 * has ended. False: it did not come to that, and the case failed; the processor
 * is given a new start.
 */
bool remote_wait(struct remote *r, volatile u32 *word);
bool remote_wait_started(struct remote *r);
bool remote_wait_done(struct remote *r);

/*
 * A moment in which the other processor does what it can do. This one halts:
 * where both have to share one of a host, a loop would leave it to chance how
 * far the other one comes.
 */
void remote_moment(void);

#endif
