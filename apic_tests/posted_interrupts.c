/*
 * SDM Vol. 3, APIC Virtualization and Virtual Interrupts > Posted-Interrupt
 * Processing: interrupts that a second processor posts to a running guest.
 */
#include "lib/string.h"
#include "x86/apic.h"
#include "x86/memory.h"
#include "x86/smp.h"
#include "x86/trap.h"
#include "x86/vmx/exit_probe.h"

#define SDM "APIC Virtualization and Virtual Interrupts > " \
            "Posted-Interrupt Processing"

#define NEEDS "cpus-2 apic process-posted-interrupts use-tpr-shadow " \
              "virtual-interrupt-delivery " \
              "external-interrupt-exiting acknowledge-interrupt-on-exit"

/* The notification vector, and one that is none. */
#define NOTIFICATION 0xe5
#define OTHER        0xe7

/* Rounds of the guest's loops: until the interrupt was sent, and then until it
 * must have arrived. */
#define PATIENCE 5000000u
#define LOOPS 300000u

PROGRAM(waiting, NATIVE_BITS,
        "movl $1, (%" SI ")\n"
        "1: pause\n cmpl $0, 4(%" SI ")\n jnz 2f\n dec %ecx\n jnz 1b\n"
        "2: pause\n dec %edx\n jnz 2b\n vmcall\n");

/* SDM, Format of Posted-Interrupt Descriptor. */
struct descriptor {
        u32 requests[8];     /* bit n: vector n is posted */
        u32 outstanding;     /* bit 0 = ON, bit 1 = SN */
        u32 rest[7];
};

/* What the second processor does, once the guest says that it runs. */
struct sender {
        volatile u32 started, sent;  /* for the guest */
        u32 target;
        u8 vector;                   /* of the IPI */
        struct descriptor *descriptor;
        u32 requests[8];             /* to be posted before it */
        u32 outstanding;
};

struct setting {
        struct vm *vm;
        struct descriptor *descriptor;
        u8 *apic_page;
        struct sender *sender;
};

static void post(void *arg)
{
        struct sender *s = arg;

        for (u32 i = 0; i < CPU_SPINS && !s->started; i++)
                pause();
        for (unsigned i = 0; i < 8; i++)
                __atomic_or_fetch(&s->descriptor->requests[i], s->requests[i],
                                  __ATOMIC_SEQ_CST);
        __atomic_or_fetch(&s->descriptor->outstanding, s->outstanding,
                          __ATOMIC_SEQ_CST);
        apic_icr(s->target, ICR_FIXED | ICR_ASSERT | s->vector);
        s->sent = 1;
}

static void add(u32 *words, u8 vector)
{
        words[vector / 32] |= 1u << vector % 32;
}

/* The bit of @vector in the register at @reg of the virtual-APIC page. */
static bool virtual_bit(const struct setting *s, u32 reg, u8 vector)
{
        return *(u32 *)(s->apic_page + reg + vector / 32 * 16) >> vector % 32 & 1;
}

static struct setting begin(u8 ipi_vector)
{
        struct setting s = { .descriptor = page_alloc(1),
                             .apic_page = page_alloc(1),
                             .sender = page_alloc(1) };
        struct vm *vm = vm_begin(GUEST_NATIVE);

        s.vm = vm;
        apic_enable();
        vm_program(vm, waiting);
        vm->regs.rsi = (ulong)&s.sender->started;
        vm->regs.rcx = PATIENCE;
        vm->regs.rdx = LOOPS;
        vmwrite(VMCS_GUEST_RFLAGS, vmread(VMCS_GUEST_RFLAGS) | RFLAGS_IF);
        vm_control(VMCS_PIN_CONTROLS, CTL_PIN_EXTERNAL_INTERRUPT_EXITING |
                   CTL_PIN_PROCESS_POSTED_INTERRUPTS, 0);
        vm_control(VMCS_PRIMARY_CONTROLS, CTL_PRIMARY_USE_TPR_SHADOW |
                   CTL_PRIMARY_ACTIVATE_SECONDARY, 0);
        vm_control(VMCS_SECONDARY_CONTROLS,
                   CTL_SECONDARY_VIRTUAL_INTERRUPT_DELIVERY, 0);
        vm_control(VMCS_EXIT_CONTROLS, CTL_EXIT_ACKNOWLEDGE_INTERRUPT, 0);
        vmwrite(VMCS_VIRTUAL_APIC_ADDRESS, phys(s.apic_page));
        vmwrite(VMCS_POSTED_INTERRUPT_DESCRIPTOR, phys(s.descriptor));
        vmwrite(VMCS_POSTED_INTERRUPT_VECTOR, NOTIFICATION);
        s.sender->target = apic_id();
        s.sender->vector = ipi_vector;
        s.sender->descriptor = s.descriptor;
        vm_poison(0);
        return s;
}

/* One that is in service still or has reached nobody: other cases' APIC is idle. */
static void drop_interrupt(u8 vector)
{
        if (apic_vector_bit(APIC_ISR, vector))
                apic_eoi();
        irq_set(vector, irq_ignore);
        sti_nop_cli();
}

/* The guest runs while the second processor posts. */
static struct vmx_result run(struct setting *s)
{
        struct vmx_result got;

        if (!cpu_run(1, post, s->sender))
                case_error("processor 1 is busy");
        got = vm_enter(s->vm);
        if (!cpu_wait(1, CPU_SPINS))
                case_error("processor 1 does not become idle");
        drop_interrupt(s->sender->vector);
        return got;
}

static void check_delivered(struct setting *s, struct vmx_result got, u8 vector)
{
        struct guest_event event;

        if (!CHECK_RESULT("no exit but the handler's VMCALL", got,
                          EXITS(EXIT_VMCALL)) ||
            !CHECK("delivered in the guest", vm_event(s->vm, &event),
                   "the guest ran to its end")) {
                vm_report_exit();
                return;
        }
        CHECK_EQ("vector", event.vector, vector);
        CHECK("interrupted in the loop", event.rip > s->vm->entry_rip &&
              event.rip < (ulong)waiting.end, "RIP 0x%llx",
              (unsigned long long)event.rip);
        CHECK_EQ("guest interrupt status: SVI",
                 vmread(VMCS_GUEST_INTERRUPT_STATUS) >> 8, vector);
        CHECK_EQ("virtual ISR", virtual_bit(s, APIC_ISR, vector), 1);
        CHECK_EQ("virtual IRR", virtual_bit(s, APIC_IRR, vector), 0);
        CHECK_EQ("virtual PPR", *(u32 *)(s->apic_page + APIC_PPR),
                 vector & 0xf0);
}

struct posted_row {
        struct row head;
        u8 vector;
};

static const struct posted_row vectors[] = {
        { ROW("20"), 0x20 }, { ROW("3f"), 0x3f }, { ROW("41"), 0x41 },
        { ROW("80"), 0x80 }, { ROW("c1"), 0xc1 }, { ROW("ff"), 0xff },
};

TABLE(posted, vectors, .id = "posted.delivered",
      .title = "a posted interrupt reaches the running guest without a VM exit",
      .sdm = SDM, .rules = "PI_MATCH_PROCESS PI_CLEARS_ON PI_PIR_TO_VIRR "
                           "PI_EVALUATES", .needs = NEEDS)
{
        const struct posted_row *r = case_row(self, row);
        struct setting s = begin(NOTIFICATION);

        add(s.sender->requests, r->vector);
        s.sender->outstanding = 1;
        check_delivered(&s, run(&s), r->vector);
        for (unsigned i = 0; i < 8; i++)
                CHECK_EQ("posted requests, all taken",
                         s.descriptor->requests[i], 0);
        CHECK_EQ("outstanding notification", s.descriptor->outstanding & 1, 0);
        CHECK_EQ("guest interrupt status: RVI",
                 vmread(VMCS_GUEST_INTERRUPT_STATUS) & 0xff, 0);
}

CASE(other_vector, .id = "posted.other-vector",
     .title = "an interrupt with another vector exits and posts nothing",
     .sdm = SDM, .rules = "PI_MISMATCH_EXIT", .needs = NEEDS)
{
        struct setting s = begin(OTHER);
        u32 info;

        add(s.sender->requests, 0x41);
        s.sender->outstanding = 1;
        if (!CHECK_RESULT("the guest", run(&s),
                          EXITS_WITH(EXIT_EXTERNAL_INTERRUPT, 0))) {
                vm_report_exit();
                return;
        }
        info = (u32)vmread(VMCS_EXIT_INTERRUPTION_INFO);
        CHECK_EQ("exiting-event identification", info & ~BIT(12),
                 BIT(31) | OTHER);
        CHECK_EQ("posted requests", s.descriptor->requests[2], 2);
        CHECK_EQ("outstanding notification", s.descriptor->outstanding, 1);
}

CASE(without_on, .id = "posted.on-not-consulted",
     .title = "the requests are taken although ON is 0 and SN is 1",
     .sdm = SDM, .rules = "PI_ON_NOT_CONSULTED PI_SN_NOT_CONSULTED "
                          "PI_DESC_REST_UNMODIFIED", .needs = NEEDS)
{
        struct setting s = begin(NOTIFICATION);

        add(s.sender->requests, 0x41);
        s.sender->outstanding = 0xfffffffe;
        memset(s.descriptor->rest, 0xa5, sizeof(s.descriptor->rest));
        check_delivered(&s, run(&s), 0x41);
        CHECK_EQ("bits 287:257, as before", s.descriptor->outstanding,
                 0xfffffffe);
        for (unsigned i = 0; i < ARRAY_LEN(s.descriptor->rest); i++)
                CHECK_EQ("bits 511:288, as before", s.descriptor->rest[i],
                         0xa5a5a5a5);
}

CASE(two, .id = "posted.two",
     .title = "of two the higher is delivered, the other is pending",
     .sdm = SDM, .rules = "PI_TWO_VECTORS_ORDER PI_RVI_MAX", .needs = NEEDS)
{
        struct setting s = begin(NOTIFICATION);

        add(s.sender->requests, 0x41);
        add(s.sender->requests, 0x81);
        s.sender->outstanding = 1;
        check_delivered(&s, run(&s), 0x81);
        CHECK_EQ("guest interrupt status: RVI",
                 vmread(VMCS_GUEST_INTERRUPT_STATUS) & 0xff, 0x41);
        CHECK_EQ("virtual IRR of the other", virtual_bit(&s, APIC_IRR, 0x41), 1);
}

CASE(rvi_kept, .id = "posted.rvi-kept",
     .title = "a lower vector posted leaves RVI, and the bits of the virtual IRR",
     .sdm = SDM, .rules = "PI_RVI_MAX PI_PIR_TO_VIRR PI_EVALUATES",
     .needs = NEEDS)
{
        struct setting s = begin(NOTIFICATION);

        /* The virtual TPR holds both back. */
        s.apic_page[APIC_TPR] = 0x60;
        vmwrite(VMCS_GUEST_INTERRUPT_STATUS, 0x61);
        *(u32 *)(s.apic_page + APIC_IRR + 0x30) = 1u << 1;
        add(s.sender->requests, 0x41);
        s.sender->outstanding = 1;
        if (!CHECK_RESULT("the guest runs to its end", run(&s),
                          EXITS(EXIT_VMCALL)))
                return;
        CHECK_EQ("posted requests, all taken", s.descriptor->requests[2], 0);
        CHECK_EQ("virtual IRR of 41H", virtual_bit(&s, APIC_IRR, 0x41), 1);
        CHECK_EQ("virtual IRR of 61H", virtual_bit(&s, APIC_IRR, 0x61), 1);
        CHECK_EQ("guest interrupt status",
                 vmread(VMCS_GUEST_INTERRUPT_STATUS), 0x61);
}

CASE(masked, .id = "posted.interrupts-off",
     .title = "with RFLAGS.IF = 0 the request is taken and not delivered",
     .sdm = SDM, .rules = "PI_IF0", .needs = NEEDS)
{
        struct setting s = begin(NOTIFICATION);
        struct guest_event event;

        vmwrite(VMCS_GUEST_RFLAGS,
                vmread(VMCS_GUEST_RFLAGS) & ~(u64)RFLAGS_IF);
        add(s.sender->requests, 0x41);
        s.sender->outstanding = 1;
        if (!CHECK_RESULT("the guest runs to its end", run(&s),
                          EXITS(EXIT_VMCALL)))
                return;
        CHECK("nothing was delivered", !vm_event(s.vm, &event), "vector %u",
              event.vector);
        CHECK_EQ("posted requests, all taken", s.descriptor->requests[2], 0);
        CHECK_EQ("virtual IRR", virtual_bit(&s, APIC_IRR, 0x41), 1);
        CHECK_EQ("guest interrupt status",
                 vmread(VMCS_GUEST_INTERRUPT_STATUS), 0x41);
}
