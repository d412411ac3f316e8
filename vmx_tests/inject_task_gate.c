/*
 * SDM Vol. 3, VMX Non-Root Operation > Treatment of Task Switches: an event that
 * is injected through a task gate in the IDT. The gate and the new TSS are
 * checked first, then comes the VM exit; nothing has been changed then.
 */
#include "lib/string.h"
#include "x86/cpu.h"
#include "x86/vmx/event.h"
#include "x86/vmx/session.h"

#define SDM "VMX Non-Root Operation > Treatment of Task Switches"

#define LENGTH 2
#define SEL_NEW_TSS SEL_SPARE
#define TSS_AVAILABLE DESC_TYPE(9)
#define TSS_BUSY DESC_TYPE(11)
#define FROM_IDT 3u           /* source of the task switch */

/* A 32-bit guest; the vector's gate is a task gate to a TSS in own tables. */
static struct vm *begin(u32 info, struct vm_tables *t, u64 type, u32 limit)
{
        struct vm *vm = vm_begin(GUEST_PAE);

        *t = vm_tables(vm);
        vm_gate(t, (u8)info)[GATE_RIGHTS] = GATE_P | GATE_TASK;
        vm_gate_selector(t, (u8)info, SEL_NEW_TSS);
        t->gdt[SEL_NEW_TSS / 8] = desc_make((u32)(ulong)t->tss + 0x800, limit, type);
        vm_inject(info, 0x5a, LENGTH);
        vm_poison(0);
        return vm;
}

TABLE(task_exit, event_types, .id = "inject.task-gate",
      .title = "an injected event through a task gate exits",
      .sdm = SDM,
      .rules = "INJ_EXIT_TASK_GATE_EXIT INJ_EXIT_TASK_GATE_INSTR_LENGTH "
               "INJ_EXIT_TASK_GATE_NO_STATE_CHANGE INJ_EXIT_SAVED_RIP")
{
        u32 info = event_types[row].info;
        struct vm_tables t;
        struct vm *vm = begin(info, &t, TSS_AVAILABLE | DESC_P, TSS_LIMIT);
        u8 old_tss[TSS_LIMIT + 1], new_tss[TSS_LIMIT + 1];
        u64 gdt[DESC_ENTRIES], rsp = vmread(VMCS_GUEST_RSP);
        u64 rflags;

        vm_control(VMCS_GUEST_RFLAGS, RFLAGS_DF, 0);
        rflags = vmread(VMCS_GUEST_RFLAGS);
        memcpy(old_tss, t.tss, sizeof(old_tss));
        memcpy(new_tss, t.tss + 0x800, sizeof(new_tss));
        memcpy(gdt, t.gdt, sizeof(gdt));
        CHECK_EXIT("VM entry", vm_enter(vm), EXITS(EXIT_TASK_SWITCH));
        CHECK_VMCS_MASKED(EXIT_QUALIFICATION, FROM_IDT << 30 | SEL_NEW_TSS,
                          3u << 30 | 0xffff);
        CHECK_ORIGINAL_EVENT(info, 0x5a);
        CHECK_EXITING_EVENT(0, 0);
        CHECK_VMCS(GUEST_RIP, (ulong)program_vmcall.start);
        CHECK_VMCS(GUEST_RSP, rsp);
        if ((info & 0x700) >= 0x400)
                CHECK_VMCS(EXIT_INSTRUCTION_LENGTH, LENGTH);
        CHECK_VMCS_MASKED(GUEST_RFLAGS, rflags, ~(u64)RFLAGS_RF);
        CHECK_VMCS(GUEST_TR_SELECTOR, SEL_TSS);
        CHECK_EQ("old TSS is changed", memcmp(old_tss, t.tss, sizeof(old_tss)), 0);
        CHECK_EQ("new TSS is changed",
                 memcmp(new_tss, t.tss + 0x800, sizeof(new_tss)), 0);
        CHECK_EQ("GDT is changed", memcmp(gdt, t.gdt, sizeof(gdt)), 0);
}

static const struct {
        struct row head;
        u64 type;
        u32 limit;
        u8 rights;
        u16 selector;
        u8 vector;
        u16 error;
} bad[] = {
        { ROW("tss-busy", "the TSS is busy"), TSS_BUSY | DESC_P, TSS_LIMIT,
          GATE_P | GATE_TASK, SEL_NEW_TSS, VEC_GP, SEL_NEW_TSS },
        { ROW("tss-type", "not a TSS: a data segment"),
          DESC_TYPE(3) | DESC_S | DESC_P, TSS_LIMIT,
          GATE_P | GATE_TASK, SEL_NEW_TSS, VEC_GP, SEL_NEW_TSS },
        { ROW("tss-not-present", "the TSS is not present"), TSS_AVAILABLE,
          TSS_LIMIT, GATE_P | GATE_TASK, SEL_NEW_TSS, VEC_NP, SEL_NEW_TSS },
        { ROW("tss-limit", "the TSS has a limit of 66H"), TSS_AVAILABLE | DESC_P,
          TSS_LIMIT - 1, GATE_P | GATE_TASK, SEL_NEW_TSS, VEC_TS, SEL_NEW_TSS },
        { ROW("beyond-gdt", "the TSS selector is beyond the GDT"),
          TSS_AVAILABLE | DESC_P, TSS_LIMIT, GATE_P | GATE_TASK,
          SEL_SPARE + DESC_SPARE * 8, VEC_GP, SEL_SPARE + DESC_SPARE * 8 },
        { ROW("local", "the TSS selector is one of the LDT"),
          TSS_AVAILABLE | DESC_P, TSS_LIMIT, GATE_P | GATE_TASK,
          SEL_NEW_TSS | 4, VEC_GP, SEL_NEW_TSS | 4 },
        { ROW("gate-not-present", "the gate is not present"),
          TSS_AVAILABLE | DESC_P, TSS_LIMIT, GATE_TASK, SEL_NEW_TSS, VEC_NP,
          0x30 << 3 | ERR_IDT },
};

/* EXT is 1 for the interrupt and 0 for INT n. */
TABLE(task_checks, bad, .id = "inject.task-gate.check",
      .title = "a bad task gate or TSS faults before the task-switch exit",
      .sdm = SDM, .rules = "INJ_EXIT_TASK_GATE_CHECKS_FIRST")
{
        static const u32 infos[] = { EXTERNAL(0x30), INT_N(0x30) };

        for (unsigned i = 0; i < 2 * ARRAY_LEN(infos); i++) {
                u32 info = infos[i / 2], ext = info == EXTERNAL(0x30);
                struct vm_tables t;
                struct vm *vm = begin(info, &t, bad[row].type, bad[row].limit);

                vm_gate(&t, (u8)info)[GATE_RIGHTS] = bad[row].rights;
                vm_gate_selector(&t, (u8)info, bad[row].selector);
                if (i % 2 == 0) {
                        CHECK_DELIVERED("bitmap bit 0", vm, vm_enter(vm),
                                        .vector = bad[row].vector,
                                        .has_error = true,
                                        .error = bad[row].error | ext,
                                        .rip = (ulong)program_vmcall.start);
                        continue;
                }
                vmwrite(VMCS_EXCEPTION_BITMAP, BIT(bad[row].vector));
                CHECK_EXIT("bitmap bit 1", vm_enter(vm),
                           EXITS(EXIT_EXCEPTION_NMI));
                CHECK_EXITING_EVENT(HARDWARE_CODE(bad[row].vector),
                                    bad[row].error | ext);
                CHECK_ORIGINAL_EVENT(info, 0);
                CHECK_VMCS(GUEST_RIP, (ulong)program_vmcall.start);
        }
}

static const struct {
        struct row head;
        u32 info;
        bool checked;
} users[] = {
        { ROW("int-n", "INT 30H"), INT_N(0x30), true },
        { ROW("int3", "INT3"), SOFTWARE(3), true },
        { ROW("into", "INTO"), SOFTWARE(4), true },
        { ROW("int1", "INT1"), INT1_TRAP, false },
        { ROW("external", "external interrupt"), EXTERNAL(0x30), false },
        { ROW("nmi", "NMI"), NMI, false },
        { ROW("exception", "#UD"), HARDWARE(VEC_UD), false },
};

TABLE(task_dpl, users, .id = "inject.task-gate.dpl",
      .title = "at CPL 3 the DPL of a task gate counts for INT n, INT3 and INTO only",
      .sdm = SDM, .rules = "INJ_EXIT_TASK_GATE_DPL")
{
        u32 info = users[row].info;

        for (u8 dpl = 0; dpl <= 3; dpl += 3) {
                struct vm_tables t;
                struct vm *vm = begin(info, &t, TSS_AVAILABLE | DESC_P, TSS_LIMIT);

                vm_user(vm);
                vm_gate(&t, (u8)info)[GATE_RIGHTS] |= (u8)GATE_DPL(dpl);
                if (dpl == 3 || !users[row].checked)
                        CHECK_EXIT("allowed", vm_enter(vm), EXITS(EXIT_TASK_SWITCH));
                else
                        CHECK_DELIVERED("gate of DPL 0", vm, vm_enter(vm),
                                        .vector = VEC_GP, .has_error = true,
                                        .error = (u8)info << 3 | ERR_IDT,
                                        .rip = (ulong)program_vmcall.start);
        }
}

TABLE(task_ia32e, event_types, .id = "inject.task-gate.ia-32e",
      .title = "in IA-32e mode a task gate is #GP, and no VM exit",
      .sdm = SDM, .rules = "INJ_EXIT_TASK_GATE_IA32E INJ_NESTED_BAD_GATE_TYPE",
      .needs = "host64")
{
        u32 info = event_types[row].info;
        u32 type = info >> 8 & 7, ext = type != 4 && type != 6;
        struct vm *vm = vm_begin(GUEST_LONG);
        struct vm_tables t = vm_tables(vm);

        vm_gate(&t, (u8)info)[GATE_RIGHTS] = GATE_P | GATE_TASK;
        vm_gate_selector(&t, (u8)info, SEL_TSS);
        vmwrite(VMCS_EXCEPTION_BITMAP, BIT(VEC_GP));
        vm_inject(info, 0x5a, LENGTH);
        vm_poison(0);
        CHECK_EXIT("VM entry", vm_enter(vm), EXITS(EXIT_EXCEPTION_NMI));
        CHECK_EXITING_EVENT(HARDWARE_CODE(VEC_GP), (u8)info << 3 | ERR_IDT | ext);
        CHECK_ORIGINAL_EVENT(info, 0x5a);
}
