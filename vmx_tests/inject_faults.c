/*
 * SDM Vol. 3, VM Entries > VM Exits During Event Injection: what is injected
 * never causes a VM exit by itself; an exception that its delivery meets may.
 * Also VM Exits > Information for VM Exits During Event Delivery.
 */
#include "x86/cpu.h"
#include "x86/vmx/event.h"
#include "x86/vmx/session.h"

#define SDM "VM Entries > VM Exits During Event Injection"

/* All that could intercept the event is on, if only it occurred by itself. */
static const struct delivery not_intercepted[] = {
        { ROW("bitmap.de", "#DE with an exception bitmap of ones",
              "INJ_NO_DIRECT_EXIT_EXCEPTION"),
          .info = HARDWARE(VEC_DE), .given = EDITS(SET(EXCEPTION_BITMAP, ~0u)) },
        { ROW("bitmap.db", "#DB", "INJ_NO_DIRECT_EXIT_EXCEPTION"),
          .info = HARDWARE(VEC_DB), .given = EDITS(SET(EXCEPTION_BITMAP, ~0u)) },
        { ROW("bitmap.ud", "#UD", "INJ_NO_DIRECT_EXIT_EXCEPTION"),
          .info = HARDWARE(VEC_UD), .given = EDITS(SET(EXCEPTION_BITMAP, ~0u)) },
        { ROW("bitmap.df", "#DF", "INJ_NO_DIRECT_EXIT_EXCEPTION"),
          .info = HARDWARE_CODE(VEC_DF), .given = EDITS(SET(EXCEPTION_BITMAP, ~0u)) },
        { ROW("bitmap.gp", "#GP", "INJ_NO_DIRECT_EXIT_EXCEPTION"),
          .info = HARDWARE_CODE(VEC_GP), .given = EDITS(SET(EXCEPTION_BITMAP, ~0u)) },
        { ROW("bitmap.mc", "#MC", "INJ_NO_DIRECT_EXIT_EXCEPTION"),
          .info = HARDWARE(VEC_MC), .given = EDITS(SET(EXCEPTION_BITMAP, ~0u)) },
        { ROW("bitmap.31", "exception 31", "INJ_NO_DIRECT_EXIT_EXCEPTION"),
          .info = HARDWARE(31), .given = EDITS(SET(EXCEPTION_BITMAP, ~0u)) },
        { ROW("bitmap.int3", "INT3", "INJ_NO_DIRECT_EXIT_EXCEPTION"),
          .info = SOFTWARE(VEC_BP), .length = 1, .advance = 1,
          .given = EDITS(SET(EXCEPTION_BITMAP, ~0u)) },
        { ROW("bitmap.int1", "INT1", "INJ_NO_DIRECT_EXIT_EXCEPTION"),
          .info = INT1_TRAP, .length = 1, .advance = 1,
          .given = EDITS(SET(EXCEPTION_BITMAP, ~0u)) },
        { ROW("bitmap.int-n", "INT 6", "INJ_NO_DIRECT_EXIT_EXCEPTION"),
          .info = INT_N(6), .length = 2, .advance = 2,
          .given = EDITS(SET(EXCEPTION_BITMAP, ~0u)) },
        { ROW("bitmap.external", "external interrupt 6", "INJ_NO_DIRECT_EXIT_EXCEPTION"),
          .info = EXTERNAL(6), .given = EDITS(SET(EXCEPTION_BITMAP, ~0u)) },
        { ROW("pf.match", "#PF whose error code matches", "INJ_NO_DIRECT_EXIT_PF_MASK"),
          .info = HARDWARE_CODE(VEC_PF), .error = 7,
          .given = EDITS(SET(EXCEPTION_BITMAP, BIT(VEC_PF))) },
        { ROW("pf.mismatch", "#PF whose error code does not match",
              "INJ_NO_DIRECT_EXIT_PF_MASK"),
          .info = HARDWARE_CODE(VEC_PF), .error = 7,
          .given = EDITS(SET(PAGE_FAULT_ERROR_CODE_MASK, 7)) },
        { ROW("nmi", "NMI with NMI exiting", "INJ_NO_DIRECT_EXIT_NMI", "nmi-exiting"),
          .info = NMI, .given = EDITS(OR(PIN_CONTROLS, CTL_PIN_NMI_EXITING)) },
        { ROW("nmi-bitmap", "NMI with exception bitmap bit 2", "INJ_NO_DIRECT_EXIT_NMI"),
          .info = NMI, .given = EDITS(SET(EXCEPTION_BITMAP, ~0u)) },
        { ROW("external", "external interrupt with external-interrupt exiting",
              "INJ_NO_DIRECT_EXIT_EXTINT", "external-interrupt-exiting"),
          .info = EXTERNAL(0x30),
          .given = EDITS(OR(PIN_CONTROLS, CTL_PIN_EXTERNAL_INTERRUPT_EXITING)) },
};

DELIVERIES(no_direct_exit, not_intercepted, .id = "inject.not-intercepted",
           .title = "an injected event is delivered though its like causes VM exits",
           .sdm = SDM)

PROGRAM(ud2, NATIVE_BITS, "ud2\n");

/* The other side of the table above, once: the bitmap works. */
CASE(intercepted, .id = "inject.not-intercepted.by-contrast",
     .title = "an exception that the guest raises exits by the bitmap, the injected one does not",
     .sdm = SDM, .rules = "INJ_NO_DIRECT_EXIT_EXCEPTION")
{
        struct vm *vm = vm_begin(GUEST_NATIVE);

        vm_program(vm, ud2);
        vmwrite(VMCS_EXCEPTION_BITMAP, BIT(VEC_UD));
        vm_poison(0);
        CHECK_EXIT("raised", vm_enter(vm), EXITS(EXIT_EXCEPTION_NMI));
        CHECK_EXITING_EVENT(HARDWARE(VEC_UD), 0);
        CHECK_ORIGINAL_EVENT(0, 0);
        vm_inject(HARDWARE(VEC_UD), 0, 0);
        vm_poison(0);
        CHECK_DELIVERED("injected", vm, vm_enter(vm), .vector = VEC_UD,
                        .rip = (ulong)ud2.start);
}

#define NOTHING 0
#define TRIPLE_FAULT ~0u

/*
 * The gate of what is injected is not present, so that #NP is the first nested
 * exception, unless .type0 makes it #GP.
 */
struct exit_row {
        struct row head;
        u32 info;
        u32 bitmap;
        u32 exiting, exiting_error;
        u32 original, original_error;
        bool type0;
        u8 absent[2];         /* gates not present either */
};

#define IDT(vector, ext) ((vector) << 3 | ERR_IDT | (ext))
#define INFORMATION "INJ_EXIT_NESTED_EXIT_BASIC INJ_EXIT_IDTV_TYPES INJ_EXIT_SAVED_RIP INJ_EXIT_SAVED_RSP_UNCHANGED"
#define OWN_CODE 0x5a

static const struct exit_row rows[] = {
        { ROW("external", "external interrupt: #NP", INFORMATION " INJ_NESTED_EXT_SET"),
          EXTERNAL(0x30), BIT(VEC_NP), HARDWARE_CODE(VEC_NP), IDT(0x30, 1),
          EXTERNAL(0x30) },
        { ROW("nmi", "NMI: #NP", INFORMATION " INJ_NESTED_EXT_SET"),
          NMI, BIT(VEC_NP), HARDWARE_CODE(VEC_NP), IDT(2, 1), NMI },
        { ROW("exception", "#UD: #NP",
              INFORMATION " INJ_EXIT_IDTV_ERROR_BIT INJ_NESTED_EXT_SET"),
          HARDWARE(VEC_UD), BIT(VEC_NP), HARDWARE_CODE(VEC_NP), IDT(6, 1),
          HARDWARE(VEC_UD) },
        { ROW("exception-code", "#GP: #NP", INFORMATION " INJ_EXIT_IDTV_ERROR_BIT"),
          HARDWARE_CODE(VEC_GP), BIT(VEC_NP), HARDWARE_CODE(VEC_NP), IDT(13, 1),
          HARDWARE_CODE(VEC_GP), OWN_CODE },
        { ROW("int-n", "INT 30H: #NP",
              INFORMATION " INJ_EXIT_INSTR_LENGTH_FAULT INJ_NESTED_EXT_CLEAR"),
          INT_N(0x30), BIT(VEC_NP), HARDWARE_CODE(VEC_NP), IDT(0x30, 0),
          INT_N(0x30) },
        { ROW("int1", "INT1: #NP",
              INFORMATION " INJ_EXIT_INSTR_LENGTH_FAULT INJ_NESTED_EXT_SET"),
          INT1_TRAP, BIT(VEC_NP), HARDWARE_CODE(VEC_NP), IDT(1, 1), INT1_TRAP },
        { ROW("int3", "INT3: #NP",
              INFORMATION " INJ_EXIT_INSTR_LENGTH_FAULT INJ_NESTED_EXT_CLEAR"),
          SOFTWARE(3), BIT(VEC_NP), HARDWARE_CODE(VEC_NP), IDT(3, 0),
          SOFTWARE(3) },
        { ROW("gp", "external interrupt: #GP", "INJ_EXIT_NESTED_EXIT_BASIC"),
          EXTERNAL(0x30), BIT(VEC_GP), HARDWARE_CODE(VEC_GP), IDT(0x30, 1),
          EXTERNAL(0x30), .type0 = true },
        { ROW("before-df", "#GP: #NP exits before it becomes #DF",
              "INJ_EXIT_NESTED_EXIT_BITMAP_BEFORE_DF"),
          HARDWARE_CODE(VEC_GP), BIT(VEC_NP) | BIT(VEC_DF),
          HARDWARE_CODE(VEC_NP), IDT(13, 1), HARDWARE_CODE(VEC_GP), OWN_CODE },
        { ROW("before-df.page-fault", "#PF: #NP exits before it becomes #DF",
              "INJ_EXIT_NESTED_EXIT_BITMAP_BEFORE_DF"),
          HARDWARE_CODE(VEC_PF), BIT(VEC_NP), HARDWARE_CODE(VEC_NP), IDT(14, 1),
          HARDWARE_CODE(VEC_PF), OWN_CODE },
        { ROW("df", "#GP: #NP becomes #DF, which exits", "INJ_EXIT_DF_EXIT"),
          HARDWARE_CODE(VEC_GP), BIT(VEC_DF), HARDWARE_CODE(VEC_DF), 0, NOTHING },
        { ROW("df.page-fault", "#PF: #NP becomes #DF, which exits",
              "INJ_EXIT_DF_EXIT"),
          HARDWARE_CODE(VEC_PF), BIT(VEC_DF), HARDWARE_CODE(VEC_DF), 0, NOTHING },
        { ROW("triple-fault", "#GP: #DF can not be delivered",
              "INJ_EXIT_TRIPLE_FAULT_DF_DELIVERY"),
          HARDWARE_CODE(VEC_GP), 0, TRIPLE_FAULT, 0, NOTHING, 0,
          .absent = { VEC_DF } },
        { ROW("triple-fault.nested", "#GP: #NP in delivery of #DF exits",
              "INJ_EXIT_TRIPLE_FAULT_DF_DELIVERY INJ_NESTED_SECOND_EXT_SET"),
          HARDWARE_CODE(VEC_GP), BIT(VEC_GP), HARDWARE_CODE(VEC_GP), IDT(8, 1),
          HARDWARE_CODE(VEC_DF), 0, .absent = { VEC_DF } },
        { ROW("triple-fault.injected", "#DF can not be delivered",
              "INJ_EXIT_TRIPLE_FAULT_INJECTED_DF"),
          HARDWARE_CODE(VEC_DF), 0, TRIPLE_FAULT, 0, NOTHING },
        { ROW("injected-df", "#DF: #NP exits instead of a triple fault",
              "INJ_EXIT_INJECTED_DF_NESTED_INTERCEPTED"),
          HARDWARE_CODE(VEC_DF), BIT(VEC_NP), HARDWARE_CODE(VEC_NP), IDT(8, 1),
          HARDWARE_CODE(VEC_DF), OWN_CODE },
        { ROW("second.external", "external interrupt: #GP while #NP is delivered",
              "INJ_EXIT_SECOND_NESTED_EXIT INJ_NESTED_SECOND_EXT_SET"),
          EXTERNAL(0x30), BIT(VEC_GP), HARDWARE_CODE(VEC_GP), IDT(11, 1),
          HARDWARE_CODE(VEC_NP), IDT(0x30, 1) },
        { ROW("second.int-n", "INT 30H: #GP while #NP is delivered",
              "INJ_EXIT_SECOND_NESTED_EXIT INJ_NESTED_SECOND_EXT_SET"),
          INT_N(0x30), BIT(VEC_GP), HARDWARE_CODE(VEC_GP), IDT(11, 1),
          HARDWARE_CODE(VEC_NP), IDT(0x30, 0) },
};

/* Does the row's second exception, #GP, need the gate of the first or of #DF? */
static u8 second_gate(const struct exit_row *x)
{
        return (x->original & 0x7ff) == (HARDWARE(VEC_NP) & 0x7ff) ? VEC_NP
               : x->absent[0] && x->exiting != TRIPLE_FAULT ? VEC_DF : 0;
}

TABLE(exits, rows, .id = "inject.exit",
      .title = "an exception that delivery of an injected event meets exits",
      .sdm = SDM)
{
        const struct exit_row *x = &rows[row];
        struct vm *vm = vm_begin(GUEST_NATIVE);
        struct vm_tables t = vm_tables(vm);
        u64 rsp = vmread(VMCS_GUEST_RSP), rflags;

        /* Accepted: the same bitmap, a gate that is present. */
        vmwrite(VMCS_EXCEPTION_BITMAP, x->bitmap);
        vm_inject(x->info, OWN_CODE, 2);
        vm_poison(0);
        CHECK_EXIT("gate present", vm_enter(vm), EXITS(EXIT_VMCALL));
        CHECK_VMCS(GUEST_RIP, vm_handler(vm, (u8)x->info));

        vm = vm_begin(GUEST_NATIVE);
        t = vm_tables(vm);
        vmwrite(VMCS_EXCEPTION_BITMAP, x->bitmap);
        vm_gate(&t, (u8)x->info)[GATE_RIGHTS] = x->type0 ? GATE_P : GATE_INTERRUPT;
        for (unsigned i = 0; i < ARRAY_LEN(x->absent); i++)
                if (x->absent[i])
                        vm_gate(&t, x->absent[i])[GATE_RIGHTS] = GATE_INTERRUPT;
        if (second_gate(x))
                vm_gate(&t, second_gate(x))[GATE_RIGHTS] = GATE_P;
        vm_inject(x->info, OWN_CODE, 2);
        rflags = vmread(VMCS_GUEST_RFLAGS);
        vm_poison(0);
        if (x->exiting == TRIPLE_FAULT)
                CHECK_EXIT("gate absent", vm_enter(vm),
                           EXITS_WITH(EXIT_TRIPLE_FAULT, 0));
        else
                CHECK_EXIT("gate absent", vm_enter(vm),
                           EXITS_WITH(EXIT_EXCEPTION_NMI, 0));
        CHECK_EXITING_EVENT(x->exiting == TRIPLE_FAULT ? 0 : x->exiting,
                            x->exiting_error);
        CHECK_ORIGINAL_EVENT(x->original, x->original_error);
        CHECK_VMCS(GUEST_RIP, (ulong)program_vmcall.start);
        CHECK_VMCS(GUEST_RSP, rsp);
        CHECK_VMCS(GUEST_CS_SELECTOR, SEL_CODE);
        CHECK_VMCS_MASKED(GUEST_RFLAGS, rflags, ~(u64)RFLAGS_RF);
        CHECK_VMCS(GUEST_ACTIVITY_STATE, ACTIVE);
        if ((x->original & 0x700) >= 0x400)
                CHECK_VMCS(EXIT_INSTRUCTION_LENGTH, 2);
}
