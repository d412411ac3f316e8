/*
 * SDM Vol. 3, VM Entries > Details of Vectored-Event Injection: a software
 * interrupt for a guest in virtual-8086 mode with CR4.VME = 1. The interrupt
 * redirection bitmap of the TSS sends it to the program's own vector table at
 * linear address 0, or to the protected-mode handler.
 */
#include "lib/string.h"
#include "x86/cpu.h"
#include "x86/memory.h"
#include "x86/vmx/ept.h"
#include "x86/vmx/event.h"

#define SDM "VM Entries > Details of Vectored-Event Injection"
#define NEEDS "vme"

#define VECTOR 0x30
#define LENGTH 2
#define REDIRECTION 0x68      /* of the bitmap in the TSS: below the I/O bitmap */
#define IO_MAP (REDIRECTION + 32)

/*
 * A virtual-8086 guest with VME whose bitmap has all bits @protected, DPL 3 for
 * the vector's gate, and EFLAGS.IOPL, VIF and IF as given.
 */
static struct vm *begin(struct vm_tables *t, bool protected, u32 rflags)
{
        struct vm *vm = vm_begin(GUEST_V86);
        u16 io_map = IO_MAP;

        *t = vm_tables(vm);
        memset(t->tss + REDIRECTION, protected ? 0xff : 0, 32);
        t->tss[IO_MAP] = 0xff;
        memcpy(t->tss + 0x66, &io_map, sizeof(io_map));
        vmwrite(VMCS_GUEST_TR_LIMIT, IO_MAP);
        vm_control(VMCS_GUEST_CR4, CR4_VME, 0);
        vm_control(VMCS_GUEST_RFLAGS, rflags, RFLAGS_IOPL & ~rflags);
        vm_gate(t, VECTOR)[GATE_RIGHTS] |= GATE_DPL(3);
        vm_poison(0);
        return vm;
}

/* The handler that the vector table at 0 names, below 1 MiB. */
static bool at_real_handler(u8 vector)
{
        const u16 *entry = NULL;

        asm("" : "+r" (entry));  /* the table is at address 0 */
        entry += 2 * vector;
        return CHECK_VMCS(GUEST_RIP, entry[0]) &&
               CHECK_VMCS(GUEST_CS_SELECTOR, entry[1]);
}

static u16 stack_word(unsigned n)
{
        u16 word;

        memcpy(&word, (void *)(ulong)(vmread(VMCS_GUEST_SS_BASE) +
                                      (u16)vmread(VMCS_GUEST_RSP) + 2 * n), 2);
        return word;
}

#define ALL (RFLAGS_IF | RFLAGS_TF | RFLAGS_VIF | RFLAGS_IOPL)

/* @image: of those flags, what is pushed (VIF is not in 16 bits); @live: after. */
static const struct {
        struct row head;
        u32 rflags, image, live;
} redirected[] = {
        { ROW("iopl-3", "IOPL 3, IF = 1, TF = 1: both are cleared",
              "INJ_V86_VME_REDIRECT_IOPL3"),
          RFLAGS_IOPL | RFLAGS_IF | RFLAGS_TF, RFLAGS_IOPL | RFLAGS_IF | RFLAGS_TF,
          RFLAGS_IOPL },
        { ROW("iopl-3-if-clear", "IOPL 3, IF = 0", "INJ_V86_VME_REDIRECT_IOPL3"),
          RFLAGS_IOPL | RFLAGS_VIF, RFLAGS_IOPL, RFLAGS_IOPL | RFLAGS_VIF },
        { ROW("iopl-0.vif", "IOPL 0, VIF = 1, IF = 0",
              "INJ_V86_VME_REDIRECT_IOPL_LT3"),
          RFLAGS_VIF, RFLAGS_IOPL | RFLAGS_IF, 0 },
        { ROW("iopl-0.vif-if", "IOPL 0, VIF = 1, IF = 1, TF = 1",
              "INJ_V86_VME_REDIRECT_IOPL_LT3"),
          RFLAGS_VIF | RFLAGS_IF | RFLAGS_TF,
          RFLAGS_IOPL | RFLAGS_IF | RFLAGS_TF, RFLAGS_IF },
        { ROW("iopl-0.if", "IOPL 0, VIF = 0, IF = 1",
              "INJ_V86_VME_REDIRECT_IOPL_LT3"),
          RFLAGS_IF, RFLAGS_IOPL, RFLAGS_IF },
        { ROW("iopl-2.vif", "IOPL 2, VIF = 1", "INJ_V86_VME_REDIRECT_IOPL_LT3"),
          RFLAGS_VIF | 2 << 12, RFLAGS_IOPL | RFLAGS_IF, 2 << 12 },
};

TABLE(redirection, redirected, .id = "inject.vme.redirected",
      .title = "bitmap bit 0: the program's own handler, in virtual-8086 mode",
      .sdm = SDM, .needs = NEEDS)
{
        u32 rflags = redirected[row].rflags;
        struct vm_tables t;
        struct vm *vm = begin(&t, false, rflags);
        u16 code = (u16)vmread(VMCS_GUEST_CS_SELECTOR);

        vm_inject(INT_N(VECTOR), 0, LENGTH);
        CHECK_EXIT("VM entry", vm_enter(vm), EXITS(EXIT_VMCALL));
        if (!at_real_handler(VECTOR))
                return;
        CHECK_VMCS(GUEST_RSP, PAGE_SIZE - 6);
        CHECK_EQ("IP in the frame", stack_word(0), LENGTH);
        CHECK_EQ("CS in the frame", stack_word(1), code);
        CHECK_MASKED("FLAGS in the frame", stack_word(2), redirected[row].image,
                     ALL & 0xffff);
        CHECK_VMCS_MASKED(GUEST_RFLAGS, redirected[row].live | RFLAGS_VM,
                          ALL | RFLAGS_VM);
}

/* No gate is looked at: neither its DPL nor its presence. */
static const struct {
        struct row head;
        u8 rights;
} unused[] = {
        { ROW("dpl-0", "the gate has DPL 0"), GATE_P | GATE_INTERRUPT },
        { ROW("not-present", "the gate is not present"),
          GATE_INTERRUPT | GATE_DPL(3) },
};

TABLE(no_gate, unused, .id = "inject.vme.no-gate-check",
      .title = "a redirected interrupt does not look at the gate",
      .sdm = SDM, .rules = "INJ_V86_VME_REDIRECT_NO_DPL", .needs = NEEDS)
{
        for (u32 iopl = 0; iopl <= RFLAGS_IOPL; iopl += RFLAGS_IOPL) {
                struct vm_tables t;
                struct vm *vm = begin(&t, false, iopl);

                vm_gate(&t, VECTOR)[GATE_RIGHTS] = unused[row].rights;
                vm_inject(INT_N(VECTOR), 0, LENGTH);
                CHECK_EXIT("VM entry", vm_enter(vm), EXITS(EXIT_VMCALL));
                at_real_handler(VECTOR);
        }
}

FAMILY(bit_set, 4, .id = "inject.vme.not-redirected.iopl",
       .title = "bitmap bit 1: the protected-mode handler, whatever IOPL is",
       .sdm = SDM, .rules = "INJ_V86_VME_BIT_SET INJ_V86_SWINT_GATE_DPL",
       .needs = NEEDS)
{
        struct vm_tables t;
        struct vm *vm = begin(&t, true, row << 12);

        vm_inject(INT_N(VECTOR), 0, LENGTH);
        CHECK_DELIVERED("gate of DPL 3", vm, vm_enter(vm), .vector = VECTOR,
                        .rip = LENGTH);
        vm = begin(&t, true, row << 12);
        vm_gate(&t, VECTOR)[GATE_RIGHTS] = GATE_P | GATE_INTERRUPT;
        vm_inject(INT_N(VECTOR), 0, LENGTH);
        CHECK_DELIVERED("gate of DPL 0", vm, vm_enter(vm), .vector = VEC_GP,
                        .has_error = true, .error = VECTOR << 3 | ERR_IDT,
                        .rip = 0);
}

/* One bit of the bitmap is 1, its neighbours are 0, and the other way round. */
CASE(right_bit, .id = "inject.vme.bit",
     .title = "the vector's own bit of the bitmap decides",
     .sdm = SDM, .rules = "INJ_V86_VME_BIT_SET INJ_V86_VME_REDIRECT_IOPL3",
     .needs = NEEDS)
{
        struct vm_tables t;
        struct vm *vm = begin(&t, false, RFLAGS_IOPL);

        t.tss[REDIRECTION + VECTOR / 8] = 1u << VECTOR % 8;
        vm_inject(INT_N(VECTOR), 0, LENGTH);
        CHECK_DELIVERED("bit 1 among 0", vm, vm_enter(vm), .vector = VECTOR,
                        .rip = LENGTH);
        vm = begin(&t, true, RFLAGS_IOPL);
        t.tss[REDIRECTION + VECTOR / 8] = (u8)~(1u << VECTOR % 8);
        vm_inject(INT_N(VECTOR), 0, LENGTH);
        CHECK_EXIT("bit 0 among 1", vm_enter(vm), EXITS(EXIT_VMCALL));
        at_real_handler(VECTOR);
}

static const struct {
        struct row head;
        u32 info;
        u8 advance;
} others[] = {
        { ROW("external", "external interrupt"), EXTERNAL(VECTOR), 0 },
        { ROW("nmi", "NMI"), NMI, 0 },
        { ROW("exception", "#UD"), HARDWARE(VEC_UD), 0 },
        { ROW("int1", "INT1"), INT1_TRAP, LENGTH },
        { ROW("int3", "INT3"), SOFTWARE(3), LENGTH },
};

TABLE(other_types, others, .id = "inject.vme.other-types",
      .title = "other events go to the protected-mode handler",
      .sdm = SDM, .rules = "INJ_V86_VME_ONLY_SWINT", .needs = NEEDS)
{
        struct vm_tables t;
        struct vm *vm = begin(&t, false, RFLAGS_IOPL);

        vm_gate(&t, (u8)others[row].info)[GATE_RIGHTS] |= GATE_DPL(3);
        vm_inject(others[row].info, 0, LENGTH);
        CHECK_DELIVERED("VM entry", vm, vm_enter(vm),
                        .vector = (u8)others[row].info,
                        .rip = others[row].advance);
}

/*
 * An EPT violation on the way: on the vector table, which is at physical address
 * 0 too, and on the stack. (On the bitmap: the exit is certain, its original
 * event is not, so that is not judged.)
 */
static const struct {
        struct row head;
        bool judged;
} places[] = {
        { ROW("vector-table"), true },
        { ROW("stack"), true },
        { ROW("bitmap"), false },
};

TABLE(redirected_exit, places, .id = "inject.vme.exit",
      .title = "an EPT violation in a redirected delivery exits",
      .sdm = "VM Entries > VM Exits During Event Injection",
      .rules = "INJ_V86_VME_EXIT_IN_REDIRECT", .needs = NEEDS " enable-ept")
{
        for (u32 iopl = 0; iopl <= RFLAGS_IOPL; iopl += RFLAGS_IOPL) {
                struct vm_tables t;
                struct vm *vm = begin(&t, false, iopl);
                u32 stack = (u32)(ulong)low_page(1);
                u64 *ept = ept_new();
                u64 page = row == 0 ? 0 : row == 1 ? stack : phys(t.tss);

                vmwrite(VMCS_GUEST_SS_SELECTOR, stack >> 4);
                vmwrite(VMCS_GUEST_SS_BASE, stack);
                ept_map_identity(ept);
                *ept_entry(ept, page, EPT_PTE) = 0;
                ept_use(ept, 0);
                vm_inject(INT_N(VECTOR), 0, LENGTH);
                CHECK_EXIT("VM entry", vm_enter(vm), EXITS(EXIT_EPT_VIOLATION));
                if (places[row].judged)
                        CHECK_ORIGINAL_EVENT(INT_N(VECTOR), 0);
                CHECK_VMCS(GUEST_RIP, 0);
                CHECK_VMCS(GUEST_RSP, PAGE_SIZE);
                CHECK_EQ("page of the guest-physical address",
                         vmread(VMCS_GUEST_PHYSICAL_ADDRESS) / PAGE_SIZE,
                         page / PAGE_SIZE);
        }
}
