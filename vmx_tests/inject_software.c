/*
 * SDM Vol. 3, VM Entries > Details of Vectored-Event Injection: software
 * interrupts (INT n), software exceptions (INT3, INTO) and privileged software
 * exceptions (INT1). They save the RIP behind an instruction of the length that
 * the VMCS says, and those a program may cause are subject to the gate's DPL.
 */
#include "x86/memory.h"
#include "x86/vmx/event.h"
#include "x86/vmx/session.h"

#define SDM "VM Entries > Details of Vectored-Event Injection"

#define LENGTHS(id_, name, rule, info_)                                         \
        { ROW(id_ ".length-1", name ", length 1", rule), .info = info_,         \
          .length = 1, .advance = 1 },                                          \
        { ROW(id_ ".length-2", name ", length 2", rule), .info = info_,         \
          .length = 2, .advance = 2 },                                          \
        { ROW(id_ ".length-15", name ", length 15", rule), .info = info_,       \
          .length = 15, .advance = 15 },                                        \
        { ROW(id_ ".length-0", name ", length 0", "INJ_LENGTH_ZERO",            \
              "inject-length-0"), .info = info_ }

#define AT_CPL0(id_, name, info_)                                               \
        { ROW(id_, name, "INJ_DPL_CHECK_CPL0"), .info = info_, .length = 1,     \
          .advance = 1 }

static const struct delivery events[] = {
        LENGTHS("int-n", "INT 30H", "INJ_SWINT_RIP", INT_N(0x30)),
        LENGTHS("int3", "INT3", "INJ_SWEXC_RIP", SOFTWARE(3)),
        LENGTHS("into", "INTO", "INJ_SWEXC_RIP", SOFTWARE(4)),
        LENGTHS("int1", "INT1", "INJ_PRIVSWEXC_RIP", INT1_TRAP),
        { ROW("int-n.vector-0", "INT 0", "INJ_SWINT_RIP"), .info = INT_N(0),
          .length = 2, .advance = 2 },
        { ROW("int-n.vector-13", "INT 13: no error code", "INJ_SWINT_RIP"),
          .info = INT_N(13), .length = 2, .advance = 2 },
        { ROW("int-n.vector-255", "INT FFH", "INJ_SWINT_RIP"),
          .info = INT_N(255), .length = 2, .advance = 2 },
        { ROW("int-n.code-ignored", "INT 30H ignores the error-code field",
              "INJ_ERROR_FIELD_IGNORED_IF_BIT11_CLEAR"),
          .info = INT_N(0x30), .length = 2, .advance = 2, .error = ~0u },
        { ROW("int-n.compatibility-mode", "INT 30H in compatibility mode",
              "INJ_SWINT_RIP INJ_COMPAT_TO_64", "host64"),
          .mode = GUEST_COMPAT, .info = INT_N(0x30), .length = 2, .advance = 2 },
        { ROW("int-n.32-bit", "INT 30H in a 32-bit guest", "INJ_SWINT_RIP"),
          .mode = GUEST_PAE, .info = INT_N(0x30), .length = 2, .advance = 2 },
        AT_CPL0("int-n.gate-dpl-0", "INT 30H at CPL 0 and a DPL-0 gate", INT_N(0x30)),
        AT_CPL0("int3.gate-dpl-0", "INT3 at CPL 0 and a DPL-0 gate", SOFTWARE(3)),
        AT_CPL0("into.gate-dpl-0", "INTO at CPL 0 and a DPL-0 gate", SOFTWARE(4)),
        { ROW("int1.user", "INT1 at CPL 3 needs no DPL-3 gate",
              "INJ_PRIVSWEXC_NO_DPL_CHECK INJ_PRIVILEGE_CHANGE"),
          .info = INT1_TRAP, .length = 1, .advance = 1, .prepare = vm_user },
        { ROW("int1.user-length-2", "INT1 at CPL 3, length 2",
              "INJ_PRIVSWEXC_NO_DPL_CHECK"),
          .info = INT1_TRAP, .length = 2, .advance = 2, .prepare = vm_user },
};

DELIVERIES(software, events, .id = "inject.software",
           .title = "delivery of an injected software event", .sdm = SDM)

static const struct {
        struct row head;
        u32 info;
        u8 dpl;
} checked[] = {
        { ROW("int-n.dpl-0", "INT 30H, gate DPL 0", "INJ_SWINT_DPL_CHECK"),
          INT_N(0x30), 0 },
        { ROW("int-n.dpl-1", "INT 30H, gate DPL 1", "INJ_SWINT_DPL_CHECK"),
          INT_N(0x30), 1 },
        { ROW("int-n.dpl-2", "INT 30H, gate DPL 2", "INJ_SWINT_DPL_CHECK"),
          INT_N(0x30), 2 },
        { ROW("int-n.exception-vector", "INT 6, gate DPL 0", "INJ_SWINT_DPL_CHECK"),
          INT_N(6), 0 },
        { ROW("int3.dpl-0", "INT3, gate DPL 0", "INJ_SWEXC_DPL_CHECK"),
          SOFTWARE(3), 0 },
        { ROW("int3.dpl-2", "INT3, gate DPL 2", "INJ_SWEXC_DPL_CHECK"),
          SOFTWARE(3), 2 },
        { ROW("into.dpl-0", "INTO, gate DPL 0", "INJ_SWEXC_DPL_CHECK"),
          SOFTWARE(4), 0 },
};

static struct vmx_result enter_user(u32 info, u8 dpl)
{
        struct vm *vm = vm_begin(GUEST_NATIVE);
        struct vm_tables t = vm_tables(vm);

        vm_user(vm);
        vm_gate(&t, (u8)info)[GATE_RIGHTS] =
                (u8)(GATE_P | GATE_INTERRUPT | GATE_DPL(dpl));
        vm_inject(info, 0, 1);
        vm_poison(0);
        return vm_enter(vm);
}

TABLE(dpl, checked, .id = "inject.software.dpl-check",
      .title = "at CPL 3 the gate's DPL must be 3, else #GP",
      .sdm = SDM)
{
        struct vm *vm = &this_vmx()->vm;
        ulong rip = (ulong)program_vmcall.start;
        u8 vector = (u8)checked[row].info;
        struct vmx_result r = enter_user(checked[row].info, 3);

        CHECK_DELIVERED("gate of DPL 3", vm, r, .vector = vector, .rip = rip + 1);
        r = enter_user(checked[row].info, checked[row].dpl);
        CHECK_DELIVERED("gate of a lower DPL", vm, r, .vector = VEC_GP,
                        .has_error = true, .error = vector * 8u | ERR_IDT,
                        .rip = rip);
}

/* What the guest could not even fetch. */
static const struct {
        struct row head;
        u32 info;
        u32 length;
} unfetched[] = {
        { ROW("int-n"), INT_N(0x30), 2 },
        { ROW("int3"), SOFTWARE(3), 1 },
        { ROW("int1"), INT1_TRAP, 1 },
};

TABLE(no_fetch, unfetched, .id = "inject.software.no-fetch",
      .title = "the instruction that would have caused the event is not fetched",
      .sdm = SDM, .rules = "INJ_NO_OPCODE_REQUIRED")
{
        struct vm *vm = vm_begin(GUEST_NATIVE);

        vm_paging_hole(vm);
        vmwrite(VMCS_EXCEPTION_BITMAP, BIT(VEC_PF));
        vmwrite(VMCS_GUEST_RIP, GUEST_HOLE);
        vm_poison(0);
        CHECK_EXIT("VM entry without injection", vm_enter(vm),
                   EXITS_WITH(EXIT_EXCEPTION_NMI, GUEST_HOLE));
        vm = vm_begin(GUEST_NATIVE);
        vm_paging_hole(vm);
        vmwrite(VMCS_EXCEPTION_BITMAP, BIT(VEC_PF));
        vmwrite(VMCS_GUEST_RIP, GUEST_HOLE);
        vm_inject(unfetched[row].info, 0, unfetched[row].length);
        vm_poison(0);
        CHECK_DELIVERED("VM entry with injection", vm, vm_enter(vm),
                        .vector = (u8)unfetched[row].info,
                        .rip = GUEST_HOLE + unfetched[row].length);
}

/* VM exits clear the bit that caused the injection; failed entries do not. */
CASE(valid_bit, .id = "inject.valid-bit",
     .title = "a VM exit clears the valid bit of the injected event, a failed VM entry does not",
     .sdm = "VM Exits > Recording VM-Exit Information and Updating VM-Entry Control Fields",
     .rules = "INJ_EXIT_VALID_BIT_CLEARED")
{
        static const u32 infos[] = { EXTERNAL(0x30), NMI, HARDWARE_CODE(13),
                                     INT_N(0x30), INT1_TRAP, SOFTWARE(3) };
        struct vm *vm;

        for (unsigned i = 0; i < ARRAY_LEN(infos); i++) {
                struct vm_tables t;

                vm = vm_begin(GUEST_NATIVE);
                vm_inject(infos[i], 0, 1);
                vm_poison(0);
                CHECK_EXIT("delivered", vm_enter(vm), EXITS(EXIT_VMCALL));
                CHECK_VMCS_MASKED(ENTRY_INTERRUPTION_INFO, 0, EVENT_VALID);

                vm = vm_begin(GUEST_NATIVE);
                t = vm_tables(vm);
                vm_gate(&t, (u8)infos[i])[GATE_RIGHTS] = 0;
                vmwrite(VMCS_EXCEPTION_BITMAP, ~0u);
                vm_inject(infos[i], 0, 1);
                vm_poison(0);
                CHECK_EXIT("not delivered", vm_enter(vm),
                           EXITS(EXIT_EXCEPTION_NMI));
                CHECK_VMCS_MASKED(ENTRY_INTERRUPTION_INFO, 0, EVENT_VALID);

                vm = vm_begin(GUEST_NATIVE);
                vm_inject(infos[i], 0, 1);
                vm_control(VMCS_GUEST_RFLAGS, 0, RFLAGS_FIXED);
                vm_poison(0);
                CHECK_EXIT("failed entry", vm_enter(vm), BAD_GUEST);
                CHECK_VMCS(ENTRY_INTERRUPTION_INFO, infos[i]);
        }
}
