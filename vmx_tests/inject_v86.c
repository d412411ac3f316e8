/*
 * SDM Vol. 3, VM Entries > Details of Vectored-Event Injection: events for a
 * guest in virtual-8086 mode, and software interrupts with CR4.VME, which the
 * redirection bitmap of the TSS may send to the program's own vector table.
 */
#include "lib/string.h"
#include "x86/cpu.h"
#include "x86/memory.h"
#include "x86/vmx/event.h"

#define SDM "VM Entries > Details of Vectored-Event Injection"

#define HARD "INJ_V86_HW_EVENTS"

static const struct delivery events[] = {
        { ROW("external", "external interrupt", HARD), GUEST_V86, EXTERNAL(0x30) },
        { ROW("nmi", "NMI", HARD), GUEST_V86, NMI },
        { ROW("exception", "#UD", HARD), GUEST_V86, HARDWARE(VEC_UD) },
        { ROW("exception-code", "#GP with an error code", HARD), GUEST_V86,
          HARDWARE_CODE(VEC_GP), .error = 0x5a },
        { ROW("int1", "INT1", HARD), GUEST_V86, INT1_TRAP, .length = 1,
          .advance = 1 },
};

DELIVERIES(v86, events, .id = "inject.v86",
           .title = "delivery of an injected event in virtual-8086 mode",
           .sdm = SDM)

/* The frame of a virtual-8086 guest, as words of 4 bytes from ESP on. */
enum { EIP, CS, EFLAGS, ESP, SS, ES, DS, FS, GS, FRAME };

TABLE(v86_frame, events, .id = "inject.v86.frame",
      .title = "the frame has ESP, SS and the data segments, which are then null",
      .sdm = SDM, .rules = HARD)
{
        static const u32 fields[] = {
                VMCS_GUEST_ES_SELECTOR, VMCS_GUEST_DS_SELECTOR,
                VMCS_GUEST_FS_SELECTOR, VMCS_GUEST_GS_SELECTOR,
        };
        const struct delivery *d = &events[row];
        struct vm *vm = vm_begin(GUEST_V86);
        struct vm_tables t = vm_tables(vm);
        u32 top = (u32)(ulong)page_alloc(1) + PAGE_SIZE;
        unsigned first = d->info & EVENT_HAS_ERROR ? 1 : 0;
        u16 segment = (u16)vmread(VMCS_GUEST_CS_SELECTOR);

        memcpy(t.tss + 4, &top, 4);
        for (u32 i = 0; i < ARRAY_LEN(fields); i++) {
                vmwrite(fields[i], segment + 1 + i);
                vmwrite(fields[i] - VMCS_GUEST_ES_SELECTOR + VMCS_GUEST_ES_BASE,
                        (segment + 1 + i) * 16u);
        }
        vm_inject(d->info, d->error, d->length);
        vm_poison(0);
        CHECK_EXIT("VM entry", vm_enter(vm), EXITS(EXIT_VMCALL));
        CHECK_VMCS(GUEST_RIP, vm_handler(vm, (u8)d->info));
        CHECK_VMCS(GUEST_CS_SELECTOR, SEL_CODE32);
        CHECK_VMCS(GUEST_SS_SELECTOR, SEL_DATA);
        CHECK_VMCS(GUEST_RSP, top - (FRAME + first) * 4);
        CHECK_VMCS_MASKED(GUEST_RFLAGS, 0, RFLAGS_VM | RFLAGS_IF | RFLAGS_TF);
        CHECK_EQ("SS in the frame", (u16)vm_stack(vm, first + SS), segment);
        CHECK_EQ("ESP in the frame", vm_stack(vm, first + ESP), PAGE_SIZE);
        CHECK_MASKED("VM in the frame", vm_stack(vm, first + EFLAGS),
                     RFLAGS_VM | RFLAGS_IOPL, RFLAGS_VM | RFLAGS_IOPL);
        for (u32 i = 0; i < ARRAY_LEN(fields); i++) {
                CHECK_EQ("data segment in the frame",
                         (u16)vm_stack(vm, first + ES + i), segment + 1 + i);
                CHECK_EQ("data segment in the handler", vmread(fields[i]), 0);
        }
}

static const struct {
        struct row head;
        u64 type;
        u32 info;
} segments[] = {
        { ROW("conforming.external", "conforming, external interrupt"),
          DESC_TYPE(15), EXTERNAL(0x30) },
        { ROW("conforming.exception", "conforming, #UD"), DESC_TYPE(15),
          HARDWARE(VEC_UD) },
        { ROW("dpl-1.external", "DPL 1, external interrupt"),
          DESC_TYPE(11) | DESC_DPL(1), EXTERNAL(0x30) },
        { ROW("dpl-2.nmi", "DPL 2, NMI"), DESC_TYPE(11) | DESC_DPL(2), NMI },
        { ROW("dpl-3.exception", "DPL 3, #UD"), DESC_TYPE(11) | DESC_DPL(3),
          HARDWARE(VEC_UD) },
};

TABLE(handler_segment, segments, .id = "inject.v86.handler-segment",
      .title = "the handler's segment must be non-conforming and of DPL 0, else #GP",
      .sdm = SDM, .rules = "INJ_V86_BAD_HANDLER_CS")
{
        const u64 flat = DESC_S | DESC_P | DESC_DB | DESC_G;
        u8 vector = (u8)segments[row].info;

        for (unsigned bad = 0; bad < 2; bad++) {
                struct vm *vm = vm_begin(GUEST_V86);
                struct vm_tables t = vm_tables(vm);

                t.gdt[SEL_SPARE / 8] = desc_make(0, 0xfffff, flat |
                                (bad ? segments[row].type : DESC_TYPE(11)));
                vm_gate_selector(&t, vector, SEL_SPARE);
                vm_inject(segments[row].info, 0, 0);
                vm_poison(0);
                if (bad)
                        CHECK_DELIVERED("other", vm, vm_enter(vm),
                                        .vector = VEC_GP, .has_error = true,
                                        .error = SEL_SPARE | ERR_EXT, .rip = 0);
                else
                        CHECK_DELIVERED("non-conforming, DPL 0", vm, vm_enter(vm),
                                        .vector = vector, .rip = 0);
        }
}

PROGRAM(int_30h, 16, "int $0x30\n");

/* INT n that the guest executes is #GP(0) with IOPL < 3. */
FAMILY(iopl, 4, .id = "inject.v86.iopl",
       .title = "an injected INT n does not depend on IOPL",
       .sdm = SDM, .rules = "INJ_V86_SWINT_IOPL_IGNORED")
{
        for (unsigned injected = 0; injected < 2; injected++) {
                struct vm *vm = vm_begin(GUEST_V86);
                struct vm_tables t = vm_tables(vm);

                vm_program(vm, int_30h);
                vm_control(VMCS_GUEST_RFLAGS, row << 12, RFLAGS_IOPL & ~(row << 12));
                vm_gate(&t, 0x30)[GATE_RIGHTS] |= GATE_DPL(3);
                if (injected)
                        vm_inject(INT_N(0x30), 0, 2);
                vm_poison(0);
                if (injected || row == 3)
                        CHECK_DELIVERED("INT 30H", vm, vm_enter(vm),
                                        .vector = 0x30, .rip = 2);
                else
                        CHECK_DELIVERED("INT 30H, executed", vm, vm_enter(vm),
                                        .vector = VEC_GP, .has_error = true,
                                        .error = 0, .rip = 0);
        }
}

static const struct {
        struct row head;
        u32 info;
} gates[] = {
        { ROW("int-n", "INT 30H"), INT_N(0x30) },
        { ROW("int3", "INT3"), SOFTWARE(3) },
        { ROW("into", "INTO"), SOFTWARE(4) },
};

TABLE(gate_dpl, gates, .id = "inject.v86.gate-dpl",
      .title = "INT n, INT3 and INTO need a gate of DPL 3",
      .sdm = SDM, .rules = "INJ_V86_SWINT_GATE_DPL")
{
        u8 vector = (u8)gates[row].info;

        for (int dpl = 3; dpl >= 0; dpl--) {
                struct vm *vm = vm_begin(GUEST_V86);
                struct vm_tables t = vm_tables(vm);

                vm_gate(&t, vector)[GATE_RIGHTS] |= (u8)GATE_DPL(dpl);
                vm_inject(gates[row].info, 0, 2);
                vm_poison(0);
                if (dpl == 3)
                        CHECK_DELIVERED("DPL 3", vm, vm_enter(vm),
                                        .vector = vector, .rip = 2);
                else
                        CHECK_DELIVERED("DPL below 3", vm, vm_enter(vm),
                                        .vector = VEC_GP, .has_error = true,
                                        .error = vector << 3 | ERR_IDT, .rip = 0);
        }
}
