/*
 * SDM Vol. 3, VM Entries > Details of Vectored-Event Injection: gates and stacks
 * of an injected event are those of any event; also what becomes of RF.
 */
#include "lib/string.h"
#include "x86/cpu.h"
#include "x86/memory.h"
#include "x86/vmx/event.h"
#include "x86/vmx/session.h"

#define SDM "VM Entries > Details of Vectored-Event Injection"

#define WORD ((unsigned)sizeof(ulong))

/* The words of a frame, from the one pushed last, which is at the guest's RSP. */
static void check_frame(const struct vm *vm, const u64 *want, unsigned count)
{
        static const char *const names[] = {
                "RIP in the frame", "CS in the frame", "RFLAGS in the frame",
                "RSP in the frame", "SS in the frame",
        };

        for (unsigned i = 0; i < count; i++)
                CHECK_EQ(names[i], i == 1 || i == 4 ? (u16)vm_stack(vm, i)
                                                    : vm_stack(vm, i), want[i]);
}

static const struct {
        struct row head;
        u32 below;            /* of the stack's end: where RSP is before */
        u32 info;
        u32 frame;            /* the frame's size below the aligned RSP */
} alignments[] = {
        { ROW("aligned", "RSP aligned on 16 bytes"), 0, HARDWARE(6), 40 },
        { ROW("by-8", "RSP is 8 bytes off"), 8, HARDWARE(6), 40 },
        { ROW("by-1", "RSP is odd"), 1, HARDWARE(6), 40 },
        { ROW("by-15", "RSP is 1 above a multiple of 16"), 15, HARDWARE(6), 40 },
        { ROW("error-code", "with an error code, RSP aligned"), 0,
          HARDWARE_CODE(13), 48 },
        { ROW("error-code-by-8", "with an error code, RSP is 8 bytes off"), 8,
          HARDWARE_CODE(13), 48 },
};

TABLE(alignment, alignments, .id = "inject.frame.64-bit",
      .title = "64-bit delivery aligns RSP and always pushes SS and RSP",
      .sdm = SDM, .rules = "INJ_SAME_PRIVILEGE_FRAME_64", .needs = "host64")
{
        struct vm *vm = vm_begin(GUEST_LONG);
        ulong top = this_vmx()->stack_top, rsp = top - alignments[row].below;
        u64 want[5] = { (ulong)program_vmcall.start, SEL_CODE64, RFLAGS_FIXED,
                        rsp, SEL_DATA };
        u32 has_error = alignments[row].info & EVENT_HAS_ERROR ? 8 : 0;

        vmwrite(VMCS_GUEST_RSP, rsp);
        vm_inject(alignments[row].info, 0, 0);
        vm_poison(0);
        CHECK_EXIT("the handler's VMCALL", vm_enter(vm), EXITS(EXIT_VMCALL));
        CHECK_VMCS(GUEST_RIP, vm_handler(vm, (u8)alignments[row].info));
        CHECK_VMCS(GUEST_RSP, (rsp & ~15ul) - alignments[row].frame);
        vmwrite(VMCS_GUEST_RSP, vmread(VMCS_GUEST_RSP) + has_error);
        check_frame(vm, want, ARRAY_LEN(want));
}

/* Events that go through the gate as they are, without a check of its DPL. */
static const struct {
        struct row head;
        u32 info;
} senders[] = {
        { ROW("external"), EXTERNAL(0x30) },
        { ROW("nmi"), NMI },
        { ROW("exception"), HARDWARE(6) },
};

/* RSP0, or SS0:ESP0, of a TSS that only the VMCS names. */
TABLE(privilege, senders, .id = "inject.frame.privilege-change",
      .title = "from CPL 3 the stack comes from the TSS at the guest's TR base",
      .sdm = SDM, .rules = "INJ_PRIVILEGE_CHANGE INJ_AFTER_STATE_AND_MSRS")
{
        struct vm *vm = vm_begin(GUEST_NATIVE);
        struct vm_tables t = vm_tables(vm);
        ulong stack0 = (ulong)page_alloc(1) + PAGE_SIZE;
        u64 want[5] = { (ulong)program_vmcall.start, 0, 0,
                        this_vmx()->stack_top, SEL_USER_DATA };

        vm_user(vm);
        want[1] = vmread(VMCS_GUEST_CS_SELECTOR);
        memcpy(t.tss + 4, &stack0, WORD);
        vm_inject(senders[row].info, 0, 0);
        want[2] = vmread(VMCS_GUEST_RFLAGS);
        vm_poison(0);
        CHECK_EXIT("the handler's VMCALL", vm_enter(vm), EXITS(EXIT_VMCALL));
        CHECK_VMCS(GUEST_RIP, vm_handler(vm, (u8)senders[row].info));
        CHECK_VMCS(GUEST_CS_SELECTOR, SEL_CODE);
        CHECK_VMCS(GUEST_SS_SELECTOR, WORD == 8 ? 0 : SEL_DATA);
        CHECK_VMCS_MASKED(GUEST_SS_ACCESS_RIGHTS, 0, 3u << 5);
        CHECK_VMCS(GUEST_RSP, stack0 - 5 * WORD);
        check_frame(vm, want, ARRAY_LEN(want));
}

TABLE(ist, senders, .id = "inject.frame.ist",
      .title = "a gate's IST field chooses the stack",
      .sdm = SDM, .rules = "INJ_IST", .needs = "host64")
{
        struct vm *vm = vm_begin(GUEST_LONG);
        struct vm_tables t = vm_tables(vm);
        ulong stack = (ulong)page_alloc(1) + PAGE_SIZE;
        ulong rsp = this_vmx()->stack_top - 8;
        u64 want[5] = { (ulong)program_vmcall.start, SEL_CODE64, 0, rsp,
                        SEL_DATA };

        vmwrite(VMCS_GUEST_RSP, rsp);
        vm_gate(&t, (u8)senders[row].info)[GATE_IST] = 3;
        memcpy(t.tss + 0x24 + 2 * 8, &stack, WORD);
        vm_inject(senders[row].info, 0, 0);
        want[2] = vmread(VMCS_GUEST_RFLAGS);
        vm_poison(0);
        CHECK_EXIT("the handler's VMCALL", vm_enter(vm), EXITS(EXIT_VMCALL));
        CHECK_VMCS(GUEST_RIP, vm_handler(vm, (u8)senders[row].info));
        CHECK_VMCS(GUEST_RSP, stack - 40);
        check_frame(vm, want, ARRAY_LEN(want));
}

/*
 * 16-bit code below 1 MiB, where a gate of 16 bits reaches it. With one of 32
 * bits to the same place the frame is twice as large.
 */
static const struct {
        struct row head;
        u8 type;
        u32 info;
        u32 frame;
} gates[] = {
        { ROW("16-bit-interrupt", "16-bit interrupt gate"), 0x06, HARDWARE(6), 6 },
        { ROW("16-bit-trap", "16-bit trap gate"), 0x07, HARDWARE(6), 6 },
        { ROW("16-bit-error-code", "16-bit interrupt gate, error code"), 0x06,
          HARDWARE_CODE(13), 8 },
        { ROW("32-bit-interrupt", "32-bit interrupt gate"), 0x0e, HARDWARE(6), 12 },
        { ROW("32-bit-error-code", "32-bit interrupt gate, error code"), 0x0e,
          HARDWARE_CODE(13), 16 },
};

TABLE(gate_size, gates, .id = "inject.frame.gate",
      .title = "a gate's size is the size of what is pushed",
      .sdm = SDM, .rules = "INJ_32BIT_GATES")
{
        static const u8 vmcall[] = { 0x0f, 0x01, 0xc1 };
        struct vm *vm = vm_begin(GUEST_PAE);
        struct vm_tables t = vm_tables(vm);
        u8 *code = low_page(1);
        u8 vector = (u8)gates[row].info;
        u32 size = gates[row].type & 8 ? 4 : 2, top = (u32)this_vmx()->stack_top;
        u32 has_error = gates[row].info & EVENT_HAS_ERROR ? size : 0;
        u32 want[3] = { (u32)(ulong)program_vmcall.start, SEL_CODE32, 0 };
        const u8 *frame;

        memcpy(code + 0x20, vmcall, sizeof(vmcall));
        t.gdt[SEL_SPARE / 8] = desc_make((u32)(ulong)code, 0xffff,
                                         DESC_TYPE(11) | DESC_S | DESC_P);
        vm_gate(&t, vector)[GATE_RIGHTS] = GATE_P | gates[row].type;
        vm_gate_selector(&t, vector, SEL_SPARE);
        vm_gate_offset(&t, vector, 0x20);
        vm_inject(gates[row].info, 0x5a, 0);
        want[2] = (u32)vmread(VMCS_GUEST_RFLAGS);
        vm_poison(0);
        CHECK_EXIT("the handler's VMCALL", vm_enter(vm), EXITS(EXIT_VMCALL));
        CHECK_VMCS(GUEST_RIP, 0x20);
        CHECK_VMCS(GUEST_CS_SELECTOR, SEL_SPARE);
        CHECK_VMCS(GUEST_RSP, top - gates[row].frame);
        frame = (const u8 *)(ulong)(top - gates[row].frame);
        for (u32 i = 0; i < 3; i++) {
                u32 word = 0, mask = size == 4 && i != 1 ? ~0u : 0xffff;

                memcpy(&word, frame + has_error + i * size, size);
                CHECK_MASKED("a word of the frame", word, want[i], mask);
        }
        if (has_error) {
                u32 word = 0;

                memcpy(&word, frame, size);
                CHECK_EQ("error code", word, 0x5a);
        }
}

/* RF = 1 would let the first instruction run in spite of its breakpoint. */
CASE(rf_cleared, .id = "inject.handler-flags.rf",
     .title = "RF is 0 at the first instruction of the handler",
     .sdm = SDM, .rules = "INJ_RFLAGS_AFTER_INT_GATE",
     .needs = "load-debug-controls")
{
        ulong dr0 = read_dr0();

        for (u32 rf = 0; rf <= RFLAGS_RF; rf += RFLAGS_RF) {
                struct vm *vm = vm_begin(GUEST_NATIVE);

                write_dr0(vm_handler(vm, VEC_UD));
                vm_control(VMCS_ENTRY_CONTROLS, CTL_ENTRY_LOAD_DEBUG_CONTROLS, 0);
                vmwrite(VMCS_GUEST_DR7, DR7_FIXED | DR7_L(0));
                vmwrite(VMCS_EXCEPTION_BITMAP, BIT(VEC_DB));
                vm_control(VMCS_GUEST_RFLAGS, rf, 0);
                vm_inject(HARDWARE(VEC_UD), 0, 0);
                vm_poison(0);
                CHECK_EXIT("breakpoint on the handler", vm_enter(vm),
                           EXITS(EXIT_EXCEPTION_NMI));
                CHECK_EXITING_EVENT(HARDWARE(VEC_DB), 0);
                CHECK_VMCS_MASKED(EXIT_QUALIFICATION, DR6_B0, DR6_B0 | DR6_BS);
                CHECK_VMCS(GUEST_RIP, vm_handler(vm, VEC_UD));
                CHECK_ORIGINAL_EVENT(0, 0);
        }
        write_dr0(dr0);
}
