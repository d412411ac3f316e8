/*
 * SDM Vol. 3, VMX Non-Root Operation > Other Causes of VM Exits: INIT signals
 * and start-up IPIs, from the first processor to a second one's guest.
 */
#include "x86/apic.h"
#include "x86/vmx/remote.h"

#define SDM "VMX Non-Root Operation > Other Causes of VM Exits"

/*
 * Tells that it runs, then waits for what comes, or to be told to go on; after
 * that for what was sent before.
 */
PROGRAM(waiting, NATIVE_BITS,
        "movl $1, (%" SI ")\n"
        "1: pause\n cmpl $0, (%" DX ")\n jnz 2f\n dec %ecx\n jnz 1b\n"
        "2: pause\n dec %ebx\n jnz 2b\n vmcall\n");

static void wait_in_guest(struct vm *vm, struct remote *r)
{
        vm_program(vm, waiting);
        vm->regs.rsi = (ulong)&r->started;
        vm->regs.rdx = (ulong)&r->go_on;
        vm->regs.rcx = REMOTE_PATIENCE;
        vm->regs.rbx = REMOTE_LOOPS;
}

/* For what another processor was sent to arrive there. */
static void let_arrive(void)
{
        for (unsigned i = 0; i < 20000; i++)
                pause();
}

CASE(init_active, .id = "init.exit.active",
     .title = "INIT to a running guest exits and initializes nothing",
     .sdm = SDM,
     .rules = "MP_INIT_NONROOT_EXIT MP_INIT_NONROOT_NO_RESET "
              "MP_INIT_IF_IRRELEVANT",
     .needs = "cpus-2")
{
        struct remote *r = remote_start(wait_in_guest);

        if (!r || !remote_wait_started(r))
                return;
        apic_icr(r->apic_id, ICR_INIT | ICR_ASSERT);
        if (!remote_wait_done(r))
                return;
        CHECK_RESULT("the guest's processor", r->result,
                     EXITS_WITH(EXIT_INIT_SIGNAL, 0));
        CHECK_EQ("exiting-event identification, valid bit",
                 r->interruption_info >> 31, 0);
        CHECK_EQ("original-event identification, valid bit",
                 r->vectoring_info >> 31, 0);
        CHECK_EQ("activity state", r->activity, 0);
        CHECK("RIP in the guest's loop", r->rip > (ulong)waiting.start &&
              r->rip < (ulong)waiting.end, "RIP 0x%llx",
              (unsigned long long)r->rip);
        CHECK_EQ("guest's RSI, as loaded", r->regs.rsi, (ulong)&r->started);
}

CASE(no_init, .id = "init.exit.none",
     .title = "without INIT the same guest runs to its end", .sdm = SDM,
     .rules = "MP_INIT_NONROOT_EXIT", .needs = "cpus-2")
{
        struct remote *r = remote_start(wait_in_guest);

        if (!r)
                return;
        r->go_on = 1;
        if (remote_wait_done(r))
                CHECK_RESULT("the guest's processor", r->result,
                             EXITS(EXIT_VMCALL));
}

/* INIT comes while the processor is in root operation: it waits for the entry. */
static void latch(struct vm *vm, struct remote *r)
{
        wait_in_guest(vm, r);
        r->in_root = 1;
        for (u32 i = 0; i < REMOTE_PATIENCE && !r->go_on; i++)
                pause();
}

CASE(init_latched, .id = "init.exit.latched",
     .title = "INIT in VMX root operation is blocked, and exits after the entry",
     .sdm = SDM, .rules = "MP_INIT_ROOT_BLOCKED MP_INIT_LATCHED_ENTRY",
     .needs = "cpus-2")
{
        struct remote *r = remote_start(latch);

        if (!r || !remote_wait(r, &r->in_root))
                return;
        apic_icr(r->apic_id, ICR_INIT | ICR_ASSERT);
        let_arrive();
        r->go_on = 1;
        if (!remote_wait_done(r))
                return;
        CHECK_RESULT("the guest's processor", r->result,
                     EXITS_WITH(EXIT_INIT_SIGNAL, 0));
        CHECK_EQ("RIP, nothing executed", r->rip, (ulong)waiting.start);
        CHECK_EQ("the guest did not run", r->started, 0);
}

static void halt_in_guest(struct vm *vm, struct remote *r)
{
        wait_in_guest(vm, r);
        vmwrite(VMCS_GUEST_ACTIVITY_STATE, 1);
        r->in_root = 1;
}

CASE(init_halted, .id = "init.exit.hlt",
     .title = "INIT ends the HLT activity state", .sdm = SDM,
     .rules = "MP_INIT_NONROOT_HLT", .needs = "cpus-2 activity-hlt")
{
        struct remote *r = remote_start(halt_in_guest);

        if (!r || !remote_wait(r, &r->in_root))
                return;
        let_arrive();  /* the processor, in the guest */
        apic_icr(r->apic_id, ICR_INIT | ICR_ASSERT);
        if (!remote_wait_done(r))
                return;
        CHECK_RESULT("the guest's processor", r->result,
                     EXITS_WITH(EXIT_INIT_SIGNAL, 0));
        CHECK_EQ("activity state", r->activity, 1);
        CHECK_EQ("the guest did not run", r->started, 0);
}

static void wait_for_sipi(struct vm *vm, struct remote *r)
{
        wait_in_guest(vm, r);
        vmwrite(VMCS_GUEST_ACTIVITY_STATE, 3);
        r->in_root = 1;
}

struct sipi_row {
        struct row head;
        u8 vector;
};

static const struct sipi_row vectors[] = {
        { ROW("00"), 0x00 }, { ROW("10"), 0x10 }, { ROW("9f"), 0x9f },
        { ROW("ff"), 0xff },
};

/*
 * A SIPI that comes before the processor has entered the guest is discarded, so
 * it is sent until one is taken.
 */
static struct remote *take_sipi(u8 vector)
{
        struct remote *r = remote_start(wait_for_sipi);

        if (!r || !remote_wait(r, &r->in_root))
                return NULL;
        for (unsigned i = 0; i < 1000 && !r->done; i++) {
                apic_icr(r->apic_id, ICR_SIPI | ICR_ASSERT | vector);
                for (unsigned spin = 0; spin < 2000 && !r->done; spin++)
                        pause();
        }
        return remote_wait_done(r) ? r : NULL;
}

TABLE(sipi, vectors, .id = "sipi.exit",
      .title = "a SIPI in the wait-for-SIPI state exits with its vector",
      .sdm = SDM, .rules = "MP_SIPI_EXIT MP_SIPI_QUAL",
      .needs = "cpus-2 activity-wait-for-sipi")
{
        const struct sipi_row *s = case_row(self, row);
        struct remote *r = take_sipi(s->vector);

        if (!r)
                return;
        CHECK_RESULT("the guest's processor", r->result,
                     EXITS_WITH(EXIT_SIPI, s->vector));
        CHECK_EQ("RIP as loaded", r->rip, (ulong)waiting.start);
        CHECK_EQ("the guest did not run", r->started, 0);
}

/* SDM, Saving Non-Register State: the state before the VM exit. */
CASE(sipi_activity, .id = "sipi.exit-saves-activity-state",
     .title = "the exit by a SIPI saves the wait-for-SIPI state",
     .sdm = "VM Exits > Saving Guest State > Saving Non-Register State",
     .rules = "MP_SIPI_EXIT", .needs = "cpus-2 activity-wait-for-sipi")
{
        struct remote *r = take_sipi(0x10);

        if (r)
                CHECK_EQ("activity state", r->activity, 3);
}

/* SIPIs to a running guest come to nothing: it ends by its own VMCALL. */
CASE(sipi_active, .id = "sipi.ignored.active",
     .title = "a SIPI to a running guest is discarded", .sdm = SDM,
     .rules = "MP_SIPI_IGNORED_ACTIVE", .needs = "cpus-2")
{
        struct remote *r = remote_start(wait_in_guest);

        if (!r || !remote_wait_started(r))
                return;
        for (unsigned i = 0; i < 3; i++)
                apic_icr(r->apic_id, ICR_SIPI | ICR_ASSERT | 0x10);
        r->go_on = 1;
        if (remote_wait_done(r))
                CHECK_RESULT("the guest's processor", r->result,
                             EXITS(EXIT_VMCALL));
}
