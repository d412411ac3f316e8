/*
 * SDM Vol. 3, VMX Non-Root Operation > Other Causes of VM Exits: what becomes of
 * an INIT signal and a start-up IPI that arrive in VMX root operation, and of an
 * INIT that caused a VM exit. More of them: apic_tests/init_sipi.c.
 */
#include "x86/apic.h"
#include "x86/vmx/remote.h"

#define SDM "VMX Non-Root Operation > Other Causes of VM Exits"

/* Rounds until a processor that has nothing left to do is idle. */
#define IDLE_SPINS 100000u

#ifdef __x86_64__
#define DI "rdi"
#else
#define DI "edi"
#endif

/* Tells that it runs, and then runs until the first processor lets it end, or
 * has failed to for long. */
PROGRAM(waiting, NATIVE_BITS,
        "movl $1, (%" SI ")\n"
        "1: pause\n cmpl $0, (%" DI ")\n jne 2f\n dec %ecx\n jnz 1b\n2: vmcall\n");

static void wait_in_guest(struct vm *vm, struct remote *r)
{
        vm_program(vm, waiting);
        vm->regs.rsi = (ulong)&r->started;
        vm->regs.rdi = (ulong)&r->go_on;
        vm->regs.rcx = CPU_SPINS;
}

/* Stays in root operation until the first processor has done its part. */
static void wait_in_root(struct vm *vm, struct remote *r)
{
        wait_in_guest(vm, r);
        r->in_root = 1;
        for (u32 i = 0; i < CPU_SPINS && !r->go_on; i++)
                pause();
}

/* The second processor goes on after its guest's exit and its VMXOFF. */
static bool check_goes_on(const struct remote *r)
{
        for (u32 i = 0; i < CPU_SPINS && !r->done; i++)
                pause();
        if (CHECK("the guest ends", r->done, "it does not") &&
            CHECK("the processor goes on after VMXOFF", cpu_wait(1, IDLE_SPINS),
                  "it does not: the INIT was not consumed"))
                return true;
        if (!cpu_restart(1))
                case_error("processor 1 does not come back");
        return false;
}

/* The same guest without INIT; the processor is as able as ever. */
static void check_plain(void)
{
        struct remote *r = remote_start(wait_in_guest);

        if (!r)
                return;
        r->go_on = 1;
        if (remote_wait_done(r))
                CHECK_RESULT("the guest without INIT", r->result, EXITS(EXIT_VMCALL));
}

CASE(consumed, .id = "operation.init.consumed",
     .title = "an INIT that caused a VM exit is not delivered again after VMXOFF",
     .sdm = SDM, .rules = "CR_INIT_CONSUMED_BY_EXIT CR_INIT_NONROOT_EXIT",
     .needs = "cpus-2")
{
        struct remote *r = remote_start(wait_in_guest);
        bool goes_on;

        if (!r || !remote_wait_started(r))
                return;
        apic_icr(r->apic_id, ICR_INIT | ICR_ASSERT);
        for (u32 i = 0; i < IDLE_SPINS && !r->done; i++)
                pause();
        r->go_on = 1;
        goes_on = check_goes_on(r);
        CHECK_RESULT("the guest's end", r->result, EXITS_WITH(EXIT_INIT_SIGNAL, 0));
        CHECK_EQ("RSI, which INIT would change", r->regs.rsi, (ulong)&r->started);
        CHECK("RIP in the guest's loop",
              r->rip > (ulong)waiting.start && r->rip < (ulong)waiting.end,
              "RIP 0x%llx", (unsigned long long)r->rip);
        if (goes_on)
                check_plain();
}

CASE(pending, .id = "operation.init.pending",
     .title = "an INIT from root operation exits right after VM entry, and is gone then",
     .sdm = SDM, .rules = "CR_INIT_PENDING_VMENTRY", .needs = "cpus-2")
{
        struct remote *r = remote_start(wait_in_root);
        bool goes_on;

        if (!r || !remote_wait(r, &r->in_root))
                return;
        apic_icr(r->apic_id, ICR_INIT | ICR_ASSERT);
        r->go_on = 1;
        goes_on = check_goes_on(r);
        CHECK_RESULT("the guest's end", r->result, EXITS_WITH(EXIT_INIT_SIGNAL, 0));
        CHECK_EQ("guest RIP", r->rip, (ulong)waiting.start);
        CHECK_EQ("the guest's first instruction", r->started, 0);
        if (goes_on)
                check_plain();
}

#define WAIT_FOR_SIPI 3
#define EARLY 0x11
#define LATE 0x22

static void wait_for_sipi(struct vm *vm, struct remote *r)
{
        vmwrite(VMCS_GUEST_ACTIVITY_STATE, WAIT_FOR_SIPI);
        wait_in_root(vm, r);
}

/*
 * The first SIPI must not be there any more when the guest waits for one: its
 * exit tells the vector of the second. That is sent until it is taken, because
 * nobody sees when the guest begins to wait.
 */
CASE(sipi_root, .id = "operation.sipi.root",
     .title = "a SIPI in VMX root operation is dropped", .sdm = SDM,
     .rules = "CR_SIPI_DISCARDED_ROOT", .needs = "cpus-2 activity-wait-for-sipi")
{
        struct remote *r = remote_start(wait_for_sipi);

        if (!r || !remote_wait(r, &r->in_root))
                return;
        apic_icr(r->apic_id, ICR_SIPI | ICR_ASSERT | EARLY);
        r->go_on = 1;
        for (unsigned i = 0; i < 1000 && !r->done; i++) {
                for (unsigned spin = 0; spin < 2000 && !r->done; spin++)
                        pause();
                apic_icr(r->apic_id, ICR_SIPI | ICR_ASSERT | LATE);
        }
        if (remote_wait_done(r))
                CHECK_RESULT("the guest's end", r->result, EXITS_WITH(EXIT_SIPI, LATE));
}

CASE(sipi_root_active, .id = "operation.sipi.root-active",
     .title = "a SIPI in VMX root operation does nothing to an active guest", .sdm = SDM,
     .rules = "CR_SIPI_DISCARDED_ROOT", .needs = "cpus-2")
{
        struct remote *r = remote_start(wait_in_root);

        if (!r || !remote_wait(r, &r->in_root))
                return;
        apic_icr(r->apic_id, ICR_SIPI | ICR_ASSERT | EARLY);
        r->go_on = 1;
        if (remote_wait_done(r)) {
                CHECK_RESULT("the guest's end", r->result, EXITS(EXIT_VMCALL));
                CHECK_EQ("the guest ran", r->started, 1);
        }
}
