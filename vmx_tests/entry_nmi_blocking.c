/*
 * SDM Vol. 3, VM Entries > Interruptibility State: an NMI that is pending at VM
 * entry, with and without virtual NMIs. The host is in an NMI handler: that is
 * how one can be pending.
 */
#include "x86/cpu.h"
#include "x86/vmx/event.h"

#define SDM "VM Entries > Interruptibility State"
#define NEEDS "apic"
#define EXITING " nmi-exiting"
#define VIRTUAL " nmi-exiting virtual-nmis"

PROGRAM(nops, NATIVE_BITS, "nop\n nop\n vmcall\n");
PROGRAM(iret, NATIVE_BITS, IRET);
PROGRAM(handler, NATIVE_BITS, "nop\n vmcall\n");

struct plan {
        u64 pin;                  /* controls */
        u32 blocked;
        const struct program *program;
        u16 frame_cs;             /* not 0: a frame for IRET to nops */
        void (*seen)(struct vm *vm, struct vmx_result r);
};

static void enter(void *arg)
{
        const struct plan *p = arg;
        struct vm *vm = vm_begin(GUEST_NATIVE);
        struct vm_tables t = vm_tables(vm);

        vm_gate_offset(&t, VEC_NMI, (ulong)handler.start);
        vm_program(vm, p->program ? *p->program : nops);
        vm_control(VMCS_PIN_CONTROLS, p->pin, 0);
        vmwrite(VMCS_GUEST_INTERRUPTIBILITY_STATE, p->blocked);
        if (p->blocked & BLOCKED_STI)
                vm_control(VMCS_GUEST_RFLAGS, RFLAGS_IF, 0);
        if (p->frame_cs)
                vm_push_frame((ulong)nops.start, p->frame_cs, 0);
        vm_poison(0);
        p->seen(vm, vm_enter(vm));
}

/* Enters with an NMI pending; @left says how many NMIs the host gets after all. */
static void run(struct plan p, u32 left)
{
        CHECK_EQ("NMIs left to the host", nmi_blocked(enter, &p, true), left);
}

static void seen_exit(struct vm *vm, struct vmx_result r)
{
        (void)vm;
        CHECK_EXIT("VM entry", r, EXITS(EXIT_EXCEPTION_NMI));
        CHECK_EXITING_EVENT(NMI, 0);
        CHECK_ORIGINAL_EVENT(0, 0);
        CHECK_VMCS(GUEST_RIP, (ulong)nops.start);
}

static void seen_delivered_at(ulong rip, struct vm *vm, struct vmx_result r)
{
        CHECK_EXIT("VM entry", r, EXITS(EXIT_VMCALL));
        CHECK_VMCS(GUEST_RIP, (ulong)handler.start + 1);
        CHECK_EQ("RIP in the frame", vm_stack(vm, 0), rip);
}

static void seen_delivered(struct vm *vm, struct vmx_result r)
{
        seen_delivered_at((ulong)nops.start, vm, r);
}

static void seen_held(struct vm *vm, struct vmx_result r)
{
        (void)vm;
        CHECK_EXIT("VM entry", r, EXITS(EXIT_VMCALL));
        CHECK_VMCS(GUEST_RIP, (ulong)nops.start + 2);
        CHECK_VMCS(GUEST_INTERRUPTIBILITY_STATE, BLOCKED_NMI);
}

CASE(held, .id = "entry.nmi.blocked",
     .title = "without NMI exiting: bit 3 holds a pending NMI",
     .sdm = SDM, .rules = "POST_NMI_BLOCK_NO_VNMI", .needs = NEEDS)
{
        run((struct plan){ .blocked = BLOCKED_NMI, .seen = seen_held }, 1);
}

CASE(delivered, .id = "entry.nmi.delivered",
     .title = "without NMI exiting: bit 3 = 0 lets it in, though the host had it blocked",
     .sdm = SDM, .rules = "POST_NMI_BLOCK_NO_VNMI POST_NMI_HOST_BLOCKING_OVERRIDDEN",
     .needs = NEEDS)
{
        run((struct plan){ .seen = seen_delivered }, 0);
}

CASE(held_exiting, .id = "entry.nmi.exiting.blocked",
     .title = "with NMI exiting: bit 3 holds a pending NMI",
     .sdm = SDM, .rules = "POST_NMI_BLOCK_NO_VNMI", .needs = NEEDS EXITING)
{
        run((struct plan){ .pin = CTL_PIN_NMI_EXITING, .blocked = BLOCKED_NMI,
                           .seen = seen_held }, 1);
}

CASE(exits, .id = "entry.nmi.exiting.exit",
     .title = "with NMI exiting: bit 3 = 0, it exits before the first instruction",
     .sdm = SDM,
     .rules = "POST_NMI_BLOCK_NO_VNMI POST_NMI_HOST_BLOCKING_OVERRIDDEN "
              "POST_PENDING_NMI_EXIT_AT_ENTRY",
     .needs = NEEDS EXITING)
{
        run((struct plan){ .pin = CTL_PIN_NMI_EXITING, .seen = seen_exit }, 0);
}

static void seen_virtual(struct vm *vm, struct vmx_result r)
{
        seen_exit(vm, r);
        CHECK_VMCS(GUEST_INTERRUPTIBILITY_STATE, BLOCKED_NMI);
}

FAMILY(virtual_nmis, 2, .id = "entry.nmi.virtual.bit-3",
       .title = "with virtual NMIs: it exits whatever bit 3 is",
       .sdm = SDM,
       .rules = "POST_VNMI_BIT_NOT_PHYSICAL POST_VNMI_HOST_BLOCKING_NOT_INHERITED",
       .needs = NEEDS VIRTUAL)
{
        run((struct plan){ .pin = CTL_PIN_NMI_EXITING | CTL_PIN_VIRTUAL_NMIS,
                           .blocked = row ? BLOCKED_NMI : 0,
                           .seen = row ? seen_virtual : seen_exit }, 0);
}

CASE(iret_unblocks, .id = "entry.nmi.iret",
     .title = "without NMI exiting IRET lets the NMI in, at its target",
     .sdm = SDM, .rules = "POST_NMI_UNBLOCK_IRET_NO_EXITING", .needs = NEEDS)
{
        run((struct plan){ .blocked = BLOCKED_NMI, .program = &iret,
                           .frame_cs = SEL_CODE, .seen = seen_delivered }, 0);
}

/* #GP first, then the NMI, before the first instruction of the handler of #GP. */
static void seen_after_gp(struct vm *vm, struct vmx_result r)
{
        seen_delivered_at(vm_handler(vm, VEC_GP), vm, r);
}

CASE(iret_faults, .id = "entry.nmi.iret-fault",
     .title = "an IRET that faults lets the NMI in too",
     .sdm = SDM, .rules = "POST_NMI_UNBLOCK_IRET_NO_EXITING", .needs = NEEDS)
{
        run((struct plan){ .blocked = BLOCKED_NMI, .program = &iret,
                           .frame_cs = SEL_SPARE + DESC_SPARE * 8,
                           .seen = seen_after_gp }, 0);
}

CASE(iret_exiting, .id = "entry.nmi.exiting.iret",
     .title = "with NMI exiting IRET does not unblock NMIs",
     .sdm = SDM, .rules = "POST_NMI_IRET_WITH_EXITING", .needs = NEEDS EXITING)
{
        run((struct plan){ .pin = CTL_PIN_NMI_EXITING, .blocked = BLOCKED_NMI,
                           .program = &iret, .frame_cs = SEL_CODE,
                           .seen = seen_held }, 1);
}

/* An NMI that is sent after the exit waits until the host's IRET. */
static void seen_exit_and_send(struct vm *vm, struct vmx_result r)
{
        seen_exit(vm, r);
        nmi_send();
        for (unsigned i = 0; i < 100; i++)
                pause();
        CHECK_EQ("NMIs before IRET", nmi_seen(), 0);
}

CASE(host_blocked, .id = "entry.nmi.exiting.host-blocked",
     .title = "after the exit by an NMI NMIs are blocked in the host",
     .sdm = "VMX Non-Root Operation > Other Causes of VM Exits",
     .rules = "POST_PENDING_NMI_EXIT_AT_ENTRY", .needs = NEEDS EXITING)
{
        run((struct plan){ .pin = CTL_PIN_NMI_EXITING,
                           .seen = seen_exit_and_send }, 1);
}

/* With exiting it is the processor's choice: at once or one instruction later. */
static void seen_soon(struct vm *vm, struct vmx_result r)
{
        u64 rip = vmread(VMCS_GUEST_RIP) - (ulong)nops.start;

        (void)vm;
        CHECK_EXIT("VM entry", r, EXITS(EXIT_EXCEPTION_NMI));
        CHECK_EXITING_EVENT(NMI, 0);
        CHECK("RIP at the first or second instruction", rip <= 1, "+%llu",
              (unsigned long long)rip);
}

static const struct {
        struct row head;
        u32 blocked;
} blockings[] = {
        { ROW("sti", "blocking by STI"), BLOCKED_STI },
        { ROW("mov-ss", "blocking by MOV SS"), BLOCKED_MOV_SS },
};

static void seen_behind_one(struct vm *vm, struct vmx_result r)
{
        seen_delivered_at((ulong)nops.start + 1, vm, r);
}

/* STI may block NMIs or not; MOV SS does. */
static void seen_at_most_behind_one(struct vm *vm, struct vmx_result r)
{
        CHECK_EXIT("VM entry", r, EXITS(EXIT_VMCALL));
        if (vm_stack(vm, 0) == (ulong)nops.start)
                seen_delivered(vm, r);
        else
                seen_behind_one(vm, r);
}

TABLE(delivered_late, blockings, .id = "entry.blocking.nmi",
      .title = "without NMI exiting a pending NMI is delivered after one instruction",
      .sdm = SDM, .rules = "POST_BLOCK_NMI_DELIVERY", .needs = NEEDS)
{
        u32 blocked = blockings[row].blocked;

        run((struct plan){ .blocked = blocked,
                           .seen = blocked == BLOCKED_STI
                                   ? seen_at_most_behind_one
                                   : seen_behind_one }, 0);
}

TABLE(delayed, blockings, .id = "entry.blocking.nmi-exit",
      .title = "blocking delays the exit by an NMI by one instruction at most",
      .sdm = "VMX Non-Root Operation > Event Blocking",
      .rules = "POST_BLOCK_NMI_EXITING_IMPL", .needs = NEEDS EXITING)
{
        run((struct plan){ .pin = CTL_PIN_NMI_EXITING,
                           .blocked = blockings[row].blocked,
                           .seen = seen_soon }, 0);
}
