/*
 * SDM Vol. 3, VM Entries > Event Injection for VM Entries to Real-Address Mode:
 * the interrupt vector table, frames of three words, no error codes.
 */
#include "lib/string.h"
#include "x86/cpu.h"
#include "x86/memory.h"
#include "x86/vmx/ept.h"
#include "x86/vmx/event.h"

#define SDM "VM Entries > Event Injection for VM Entries to Real-Address Mode"
#define NEEDS "unrestricted-guest"

#define FRAME "INJ_RM_FRAME"
#define NO_CODE(n, id_, name)                                              \
        { ROW(id_, name " without error code", "INJ_RM_NO_ERROR_CODE"),    \
          GUEST_REAL, HARDWARE(n) }

static const struct delivery events[] = {
        { ROW("external", "external interrupt", FRAME " INJ_RM_IVT"), GUEST_REAL,
          EXTERNAL(0x30) },
        { ROW("external-255", "external interrupt FFH", FRAME " INJ_RM_IVT"),
          GUEST_REAL, EXTERNAL(0xff) },
        { ROW("nmi", "NMI", FRAME), GUEST_REAL, NMI },
        { ROW("exception", "#UD", FRAME), GUEST_REAL, HARDWARE(VEC_UD) },
        { ROW("int-n", "INT 30H, length 2", FRAME " INJ_RM_NO_PRIVILEGE_CHECK"),
          GUEST_REAL, INT_N(0x30), .length = 2, .advance = 2 },
        { ROW("int-n-15", "INT 30H, length 15", FRAME), GUEST_REAL, INT_N(0x30),
          .length = 15, .advance = 15 },
        { ROW("int1", "INT1", FRAME " INJ_RM_NO_PRIVILEGE_CHECK"), GUEST_REAL,
          INT1_TRAP, .length = 1, .advance = 1 },
        { ROW("int3", "INT3", FRAME " INJ_RM_NO_PRIVILEGE_CHECK"), GUEST_REAL,
          SOFTWARE(3), .length = 1, .advance = 1 },
        { ROW("into", "INTO", FRAME " INJ_RM_NO_PRIVILEGE_CHECK"), GUEST_REAL,
          SOFTWARE(4), .length = 1, .advance = 1 },
        NO_CODE(VEC_DF, "df", "#DF"), NO_CODE(VEC_TS, "ts", "#TS"),
        NO_CODE(VEC_NP, "np", "#NP"), NO_CODE(VEC_SS, "ss", "#SS"),
        NO_CODE(VEC_GP, "gp", "#GP"), NO_CODE(VEC_PF, "pf", "#PF"),
        NO_CODE(VEC_AC, "ac", "#AC"),
};

DELIVERIES(real, events, .id = "inject.real",
           .title = "delivery of an injected event in real-address mode",
           .sdm = SDM, .needs = NEEDS)

/* A table elsewhere whose entry leads to another vector's handler. */
CASE(ivt_base, .id = "inject.real.ivt-base",
     .title = "the vector table is at IDTR.base",
     .sdm = SDM, .rules = "INJ_RM_IVT", .needs = NEEDS)
{
        struct vm *vm = vm_begin(GUEST_REAL);
        struct vm_tables t = vm_tables(vm);

        memcpy(vm_gate(&t, 0x30), vm_gate(&t, 0x31), 4);
        vm_inject(EXTERNAL(0x30), 0, 0);
        vm_poison(0);
        CHECK_DELIVERED("VM entry", vm, vm_enter(vm), .vector = 0x31, .rip = 0);
}

/* CS = selector, base = selector * 16, IP = the entry's low word. */
CASE(ivt_entry, .id = "inject.real.ivt-entry",
     .title = "CS and IP come from the vector's 4-byte entry",
     .sdm = SDM, .rules = "INJ_RM_IVT", .needs = NEEDS)
{
        static const u8 vmcall[] = { 0x0f, 0x01, 0xc1 };
        struct vm *vm = vm_begin(GUEST_REAL);
        struct vm_tables t = vm_tables(vm);
        u8 *code = low_page(1);
        u16 entry[2] = { 0x123, (u16)((ulong)code >> 4) };

        memcpy(code + entry[0], vmcall, sizeof(vmcall));
        memcpy(vm_gate(&t, 0x80), entry, sizeof(entry));
        vm_inject(EXTERNAL(0x80), 0, 0);
        vm_poison(0);
        CHECK_EXIT("VM entry", vm_enter(vm), EXITS(EXIT_VMCALL));
        CHECK_VMCS(GUEST_RIP, entry[0]);
        CHECK_VMCS(GUEST_CS_SELECTOR, entry[1]);
        CHECK_VMCS(GUEST_CS_BASE, (u32)entry[1] << 4);
        CHECK_VMCS(GUEST_RSP, PAGE_SIZE - 6);
}

CASE(flags, .id = "inject.real.flags",
     .title = "delivery clears IF, TF and AC, after pushing FLAGS",
     .sdm = SDM, .rules = "INJ_RM_FLAGS", .needs = NEEDS)
{
        const u32 flags = RFLAGS_IF | RFLAGS_TF | RFLAGS_AC;
        struct vm *vm = vm_begin(GUEST_REAL);

        vm_control(VMCS_GUEST_RFLAGS, flags, 0);
        vm_inject(EXTERNAL(0x30), 0, 0);
        vm_poison(0);
        CHECK_DELIVERED("VM entry", vm, vm_enter(vm), .vector = 0x30, .rip = 0,
                        .rflags = RFLAGS_IF | RFLAGS_TF | RFLAGS_FIXED);
        CHECK_VMCS_MASKED(GUEST_RFLAGS, 0, flags);
}

static const struct {
        struct row head;
        u32 info;
} senders[] = {
        { ROW("external"), EXTERNAL(0x30) },
        { ROW("exception"), HARDWARE(31) },
        { ROW("int-n"), INT_N(0x30) },
};

static struct vm *begin_limit(u32 info, u32 limit)
{
        struct vm *vm = vm_begin(GUEST_REAL);

        vmwrite(VMCS_GUEST_IDTR_LIMIT, limit);
        vm_inject(info, 0, 2);
        vm_poison(0);
        return vm;
}

TABLE(idt_limit, senders, .id = "inject.real.idt-limit",
      .title = "a vector beyond IDTR.limit is #GP, without error code",
      .sdm = SDM, .rules = "INJ_RM_IDT_LIMIT INJ_RM_EXIT_ERROR_BIT_CLEAR",
      .needs = NEEDS)
{
        u32 info = senders[row].info, limit = (u8)info * 4 + 3;
        bool software = (info & 0x700) == 0x400;
        struct vm *vm = begin_limit(info, limit);

        CHECK_DELIVERED("within the limit", vm, vm_enter(vm), .vector = (u8)info,
                        .rip = software ? 2 : 0);
        vm = begin_limit(info, limit - 1);
        CHECK_DELIVERED("beyond, bitmap bit 13 = 0", vm, vm_enter(vm),
                        .vector = VEC_GP, .rip = 0);
        vm = begin_limit(info, limit - 1);
        vmwrite(VMCS_EXCEPTION_BITMAP, BIT(VEC_GP));
        CHECK_EXIT("beyond, bitmap bit 13 = 1", vm_enter(vm),
                   EXITS(EXIT_EXCEPTION_NMI));
        CHECK_EXITING_EVENT(HARDWARE(VEC_GP), 0);
        CHECK_ORIGINAL_EVENT(info, 0);
        CHECK_VMCS(GUEST_RIP, 0);
        CHECK_VMCS(GUEST_RSP, PAGE_SIZE);
        if (software)
                CHECK_VMCS(EXIT_INSTRUCTION_LENGTH, 2);
}

TABLE(triple, senders, .id = "inject.real.triple-fault",
      .title = "an IDTR.limit below vectors 8 and 13 is a triple fault",
      .sdm = SDM, .rules = "INJ_RM_IDT_LIMIT_TRIPLE", .needs = NEEDS)
{
        struct vm *vm = begin_limit(senders[row].info, 0);

        CHECK_EXIT("VM entry", vm_enter(vm), EXITS_WITH(EXIT_TRIPLE_FAULT, 0));
        CHECK_ORIGINAL_EVENT(0, 0);
        CHECK_EXITING_EVENT(0, 0);
}

/* Three words fit below SP = 6; the first of them is at 4. */
TABLE(stack_limit, senders, .id = "inject.real.stack-limit",
      .title = "a push beyond SS.limit is #SS, without error code",
      .sdm = SDM, .rules = "INJ_RM_SS_LIMIT INJ_RM_EXIT_ERROR_BIT_CLEAR",
      .needs = NEEDS)
{
        u32 info = senders[row].info;

        for (u32 limit = 5; limit >= 4; limit--) {
                struct vm *vm = vm_begin(GUEST_REAL);
                u32 stack = (u32)(ulong)low_page(1);

                vmwrite(VMCS_GUEST_SS_SELECTOR, stack >> 4);
                vmwrite(VMCS_GUEST_SS_BASE, stack);
                vmwrite(VMCS_GUEST_SS_LIMIT, limit);
                vmwrite(VMCS_GUEST_RSP, 6);
                vmwrite(VMCS_EXCEPTION_BITMAP, BIT(VEC_SS));
                vm_inject(info, 0, 2);
                vm_poison(0);
                if (limit == 5) {
                        CHECK_EXIT("within", vm_enter(vm), EXITS(EXIT_VMCALL));
                        CHECK_VMCS(GUEST_RSP, 0);
                        continue;
                }
                CHECK_EXIT("beyond", vm_enter(vm), EXITS(EXIT_EXCEPTION_NMI));
                CHECK_EXITING_EVENT(HARDWARE(VEC_SS), 0);
                CHECK_ORIGINAL_EVENT(info, 0);
                CHECK_VMCS(GUEST_RSP, 6);
        }
}

#define READ BIT(0)
#define WRITE BIT(1)
#define LINEAR BIT(7)
#define TRANSLATED BIT(8)

/* A table of vectors, and a stack, of the case's own, in its own EPT. */
TABLE(ept_violation, senders, .id = "inject.real.ept-violation",
      .title = "EPT violations on the vector table and on the stack exit",
      .sdm = SDM, .rules = "INJ_RM_EXTERNAL_EPT", .needs = NEEDS)
{
        u32 info = senders[row].info;

        for (unsigned on_stack = 0; on_stack < 2; on_stack++) {
                struct vm *vm = vm_begin(GUEST_REAL);
                struct vm_tables t = vm_tables(vm);
                u32 stack = (u32)(ulong)low_page(1);
                u64 *ept = ept_new(), from = on_stack ? stack : phys(t.idt);

                ept_map_identity(ept);
                *ept_entry(ept, from, EPT_PTE) = 0;
                ept_use(ept, 0);
                vmwrite(VMCS_GUEST_SS_SELECTOR, stack >> 4);
                vmwrite(VMCS_GUEST_SS_BASE, stack);
                vm_inject(info, 0, 2);
                vm_poison(0);
                CHECK_EXIT("VM entry", vm_enter(vm), EXITS(EXIT_EPT_VIOLATION));
                CHECK_VMCS_MASKED(EXIT_QUALIFICATION,
                                  LINEAR | TRANSLATED | (on_stack ? WRITE : READ),
                                  LINEAR | TRANSLATED | WRITE |
                                  (on_stack ? 0 : READ));
                CHECK_ORIGINAL_EVENT(info, 0);
                CHECK_VMCS(GUEST_RIP, 0);
                CHECK_VMCS(GUEST_RSP, PAGE_SIZE);
                CHECK_EQ("page of the guest-physical address",
                         vmread(VMCS_GUEST_PHYSICAL_ADDRESS) / PAGE_SIZE,
                         from / PAGE_SIZE);
        }
}
