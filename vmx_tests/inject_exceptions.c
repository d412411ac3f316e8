/*
 * SDM Vol. 3, VM Entries > Details of Vectored-Event Injection: hardware
 * exceptions, their error codes, and the registers that an exception which is
 * injected leaves alone although one that occurs changes them.
 */
#include "x86/cpu.h"
#include "x86/msr.h"
#include "x86/vmx/event.h"
#include "x86/vmx/snippet.h"

#define SDM "VM Entries > Details of Vectored-Event Injection"
#define CONTEXT "VM Entries > Vectored-Event Injection"

#define PLAIN(n, name) \
        { ROW(name, "hardware exception " #n ", without error code",    \
              "INJ_HWEXC_NO_ERROR"), .info = HARDWARE(n) }
#define CODED(n, name) \
        { ROW(name, "hardware exception " #n ", with error code",       \
              "INJ_HWEXC_ERROR"),                                       \
          .info = HARDWARE_CODE(n), .error = 0x1234 }

static const struct delivery exceptions[] = {
        PLAIN(0, "vector.0"), PLAIN(1, "vector.1"), PLAIN(3, "vector.3"),
        PLAIN(4, "vector.4"), PLAIN(5, "vector.5"), PLAIN(6, "vector.6"),
        PLAIN(7, "vector.7"), CODED(8, "vector.8"), PLAIN(9, "vector.9"),
        CODED(10, "vector.10"), CODED(11, "vector.11"), CODED(12, "vector.12"),
        CODED(13, "vector.13"), CODED(14, "vector.14"), PLAIN(15, "vector.15"),
        PLAIN(16, "vector.16"), CODED(17, "vector.17"), PLAIN(18, "vector.18"),
        PLAIN(19, "vector.19"), PLAIN(20, "vector.20"), PLAIN(22, "vector.22"),
        PLAIN(23, "vector.23"), PLAIN(24, "vector.24"), PLAIN(25, "vector.25"),
        PLAIN(26, "vector.26"), PLAIN(27, "vector.27"), PLAIN(28, "vector.28"),
        PLAIN(29, "vector.29"), PLAIN(30, "vector.30"), PLAIN(31, "vector.31"),
        { ROW("code.df", "the error code of #DF is pushed as it is, not 0",
              "INJ_ERROR_CODE_UNINTERPRETED"),
          .info = HARDWARE_CODE(8), .error = 0x5a },
        { ROW("code.pf", "the error code of #PF need not agree with paging",
              "INJ_ERROR_CODE_UNINTERPRETED"),
          .info = HARDWARE_CODE(14), .error = 0x1f },
        { ROW("code.ac", "the error code of #AC is pushed as it is, not 0",
              "INJ_ERROR_CODE_UNINTERPRETED"),
          .info = HARDWARE_CODE(17), .error = 0x7fff },
        { ROW("code.not-delivered", "without the deliver-error-code bit the field is ignored",
              "INJ_ERROR_FIELD_IGNORED_IF_BIT11_CLEAR"),
          .info = HARDWARE(6), .error = ~0u },
        { ROW("code.interrupt", "an external interrupt ignores the error-code field",
              "INJ_ERROR_FIELD_IGNORED_IF_BIT11_CLEAR"),
          .info = EXTERNAL(0x30), .error = ~0u },
        { ROW("code.any.cp", "#CP with an error code", "INJ_HWEXC_ANY_ERROR_BASIC56",
              "error-code-optional"),
          .info = HARDWARE_CODE(21), .error = 3 },
        { ROW("code.any.ud", "#UD with an error code", "INJ_HWEXC_ANY_ERROR_BASIC56",
              "error-code-optional"),
          .info = HARDWARE_CODE(6), .error = 0x5a },
        { ROW("code.any.gp", "#GP without an error code", "INJ_HWEXC_ANY_ERROR_BASIC56",
              "error-code-optional"),
          .info = HARDWARE(13) },
        { ROW("nested-bit", "the nested-exception bit means nothing without FRED",
              "INJ_NESTED_BIT_IGNORED_WITH_IDT", "nested-exception"),
          .info = HARDWARE_CODE(13) | (u32)BIT(13), .error = 0x10 },
        { ROW("code.pae", "a 32-bit guest gets a 32-bit error code", "INJ_HWEXC_ERROR"),
          .mode = GUEST_PAE, .info = HARDWARE_CODE(13), .error = 0x1234 },
        { ROW("length-ignored", "the instruction length does not matter for a hardware exception",
              "INJ_LENGTH_IGNORED_FOR_OTHERS"),
          .info = HARDWARE(6), .length = ~0u },
        { ROW("user", "an exception from CPL 3 enters a DPL-0 handler",
              "INJ_HW_NO_DPL_CHECK INJ_PRIVILEGE_CHANGE"),
          .info = HARDWARE_CODE(13), .error = 0x10, .prepare = vm_user },
        { ROW("user-bp", "vector 3 as a hardware exception needs no DPL-3 gate",
              "INJ_HW_NO_DPL_CHECK"),
          .info = HARDWARE(3), .prepare = vm_user },
        { ROW("user-of", "vector 4 as a hardware exception needs no DPL-3 gate",
              "INJ_HW_NO_DPL_CHECK"),
          .info = HARDWARE(4), .prepare = vm_user },
        { ROW("user-nmi", "an NMI from CPL 3 enters a DPL-0 handler",
              "INJ_HW_NO_DPL_CHECK"),
          .info = NMI, .prepare = vm_user },
};

DELIVERIES(exception, exceptions, .id = "inject.exception",
           .title = "delivery of an injected hardware exception", .sdm = SDM)

/* Older processors refuse a code with bit 15 set, present ones deliver it. */
CASE(bit_15, .id = "inject.exception.code.bit-15",
     .title = "an error code with bit 15 is refused or delivered as it is",
     .sdm = SDM, .rules = "INJ_ERROR_CODE_BIT15")
{
        struct vm *vm = vm_begin(GUEST_NATIVE);
        struct vmx_result r;

        vm_inject(HARDWARE_CODE(VEC_GP), 0x8004, 0);
        vm_poison(VMERR_ENTRY_CONTROLS);
        r = vm_enter(vm);
        if (r.kind == VMX_FAIL_VALID)
                CHECK_RESULT("VM entry", r, FAIL_VALID(VMERR_ENTRY_CONTROLS));
        else
                CHECK_DELIVERED("VM entry", vm, r, .vector = VEC_GP,
                                .has_error = true, .error = 0x8004,
                                .rip = (ulong)program_vmcall.start);
}

PROGRAM(step, NATIVE_BITS, "nop\n vmcall\n");
PROGRAM(branch, NATIVE_BITS, "jmp 1f\n nop\n1: vmcall\n");
PROGRAM(read_at_ax, NATIVE_BITS, "mov (" RAX "), %cl\n vmcall\n");
PROGRAM(read_dr0_vmcall, NATIVE_BITS, "mov %dr0, " RAX "\n vmcall\n");

static const struct {
        struct row head;
        u32 info, length;
} debug_events[] = {
        { ROW("exception"), HARDWARE(VEC_DB), 0 },
        { ROW("int1"), INT1_TRAP, 1 },
};

/* A single step would set BS and leave the rest. */
TABLE(dr6, debug_events, .id = "inject.debug.dr6",
      .title = "injection of #DB leaves DR6 alone, a single step does not",
      .sdm = SDM, .rules = "INJ_DEBUG_REGS_UNCHANGED")
{
        static const u32 presets[] = { 0xffff0ff0, 0xffff4ff5 };
        ulong saved = read_dr6();
        struct vm *vm = vm_begin(GUEST_NATIVE);

        write_dr6(presets[0]);
        vm_program(vm, step);
        vm_control(VMCS_GUEST_RFLAGS, RFLAGS_TF, 0);
        vm_poison(0);
        CHECK_DELIVERED("single step", vm, vm_enter(vm), .vector = VEC_DB,
                        .rip = (ulong)step.start + 1);
        CHECK_MASKED("DR6 after a single step", read_dr6(), DR6_BS, DR6_BS);
        for (unsigned i = 0; i < ARRAY_LEN(presets); i++) {
                write_dr6(presets[i]);
                vm = vm_begin(GUEST_NATIVE);
                vm_inject(debug_events[row].info, 0, debug_events[row].length);
                vm_poison(0);
                CHECK_DELIVERED("injected", vm, vm_enter(vm), .vector = VEC_DB,
                                .rip = (ulong)program_vmcall.start +
                                       debug_events[row].length);
                CHECK_EQ("DR6", read_dr6(), presets[i]);
        }
        write_dr6(saved);
}

static void load_debug(u64 dr7, u64 debugctl)
{
        vm_control(VMCS_ENTRY_CONTROLS, CTL_ENTRY_LOAD_DEBUG_CONTROLS, 0);
        vm_control(VMCS_EXIT_CONTROLS, CTL_EXIT_SAVE_DEBUG_CONTROLS, 0);
        vmwrite(VMCS_GUEST_DR7, dr7);
        vmwrite(VMCS_GUEST_DEBUGCTL, debugctl);
}

TABLE(gd, debug_events, .id = "inject.debug.gd",
      .title = "injection of #DB leaves DR7.GD alone, a single step clears it",
      .sdm = SDM, .rules = "INJ_DB_DR7_GD_UNCHANGED",
      .needs = "load-debug-controls save-debug-controls")
{
        const u32 dr7 = DR7_FIXED | DR7_GD;
        struct vm *vm = vm_begin(GUEST_NATIVE);
        struct vm_tables t;

        vm_program(vm, step);
        load_debug(dr7, 0);
        vm_control(VMCS_GUEST_RFLAGS, RFLAGS_TF, 0);
        vm_poison(0);
        CHECK_DELIVERED("single step", vm, vm_enter(vm), .vector = VEC_DB,
                        .rip = (ulong)step.start + 1);
        CHECK_VMCS_MASKED(GUEST_DR7, 0, DR7_GD);

        vm = vm_begin(GUEST_NATIVE);
        t = vm_tables(vm);
        load_debug(dr7, 0);
        vm_gate_offset(&t, VEC_DB, (ulong)read_dr0_vmcall.start);
        vmwrite(VMCS_EXCEPTION_BITMAP, BIT(VEC_DB));
        vm_inject(debug_events[row].info, 0, debug_events[row].length);
        vm_poison(0);
        CHECK_EXIT("MOV from DR0 in the handler", vm_enter(vm),
                   EXITS(EXIT_EXCEPTION_NMI));
        CHECK_EXITING_EVENT(HARDWARE(VEC_DB), 0);
        CHECK_VMCS_MASKED(EXIT_QUALIFICATION, DR6_BD, DR6_BD | DR6_BS);
        CHECK_VMCS(GUEST_RIP, (ulong)read_dr0_vmcall.start);
        CHECK_VMCS(GUEST_DR7, dr7);
}

static const struct {
        struct row head;
        u32 bits;
        u32 info, length;
} debugctl[] = {
        { ROW("lbr"), DEBUGCTL_LBR, HARDWARE(VEC_DB), 0 },
        { ROW("lbr-int1"), DEBUGCTL_LBR, INT1_TRAP, 1 },
        { ROW("btf"), DEBUGCTL_BTF, HARDWARE(VEC_DB), 0 },
        { ROW("btf-int1"), DEBUGCTL_BTF, INT1_TRAP, 1 },
};

TABLE(debugctl_kept, debugctl, .id = "inject.debug.debugctl",
      .title = "injection of #DB leaves IA32_DEBUGCTL alone, a trap clears the bit",
      .sdm = SDM, .rules = "INJ_DB_DEBUGCTL_UNCHANGED",
      .needs = "load-debug-controls save-debug-controls")
{
        u32 bits = debugctl[row].bits;
        struct vm *vm;

        if (wrmsr_safe(MSR_IA32_DEBUGCTL, bits).raised ||
            rdmsr(MSR_IA32_DEBUGCTL) != bits) {
                case_skip("IA32_DEBUGCTL does not have the bit");
                return;
        }
        wrmsr(MSR_IA32_DEBUGCTL, 0);
        vm = vm_begin(GUEST_NATIVE);
        vm_program(vm, branch);
        load_debug(DR7_FIXED, bits);
        vm_control(VMCS_GUEST_RFLAGS, RFLAGS_TF, 0);
        vm_poison(0);
        CHECK_DELIVERED("trap", vm, vm_enter(vm), .vector = VEC_DB,
                        .rip = (ulong)branch.start + 3);
        CHECK_VMCS_MASKED(GUEST_DEBUGCTL, 0, bits);

        vm = vm_begin(GUEST_NATIVE);
        load_debug(DR7_FIXED, bits);
        vm_inject(debugctl[row].info, 0, debugctl[row].length);
        vm_poison(0);
        CHECK_DELIVERED("injected", vm, vm_enter(vm), .vector = VEC_DB,
                        .rip = (ulong)program_vmcall.start +
                               debugctl[row].length);
        CHECK_VMCS(GUEST_DEBUGCTL, bits);
}

CASE(cr2, .id = "inject.page-fault.cr2",
     .title = "injection of #PF leaves CR2 alone, a page fault does not",
     .sdm = CONTEXT, .rules = "INJ_PF_CR2_UNCHANGED")
{
        static const u32 presets[] = { 0x12345678, 0 };
        struct vm *vm = vm_begin(GUEST_NATIVE);

        vm_paging_hole(vm);
        vm_program(vm, read_at_ax);
        vm->regs.rax = GUEST_HOLE;
        write_cr2(presets[0]);
        vm_poison(0);
        CHECK_DELIVERED("page fault", vm, vm_enter(vm), .vector = VEC_PF,
                        .has_error = true, .rip = (ulong)read_at_ax.start);
        CHECK_EQ("CR2 after a page fault", read_cr2(), GUEST_HOLE);
        for (unsigned i = 0; i < ARRAY_LEN(presets); i++) {
                vm = vm_begin(GUEST_NATIVE);
                vm_inject(HARDWARE_CODE(VEC_PF), PF_W, 0);
                write_cr2(presets[i]);
                vm_poison(0);
                CHECK_DELIVERED("injected", vm, vm_enter(vm), .vector = VEC_PF,
                                .has_error = true, .error = PF_W,
                                .rip = (ulong)program_vmcall.start);
                CHECK_EQ("CR2", read_cr2(), presets[i]);
        }
}

static const struct {
        struct row head;
        u8 vector;
        u32 ts;
} fpu[] = {
        { ROW("nm", "#NM, CR0.TS = 0"), VEC_NM, 0 },
        { ROW("nm-ts", "#NM, CR0.TS = 1"), VEC_NM, CR0_TS },
        { ROW("mf", "#MF, CR0.TS = 0"), VEC_MF, 0 },
        { ROW("xm", "#XM, CR0.TS = 0"), VEC_XM, 0 },
};

/* TOP = 7 in the FPU status word: none of these exceptions would leave it so. */
TABLE(fpu_state, fpu, .id = "inject.fpu",
      .title = "injection of #NM, #MF and #XM leaves CR0.TS and the x87 state",
      .sdm = CONTEXT, .rules = "INJ_MF_NM_STATE_UNCHANGED", .needs = "x87")
{
        struct vm *vm = vm_begin(GUEST_NATIVE);
        u16 before = 0, after = 0;

        vm_control(VMCS_GUEST_CR0, fpu[row].ts, CR0_TS & ~fpu[row].ts);
        vm_inject(HARDWARE(fpu[row].vector), 0, 0);
        vm_poison(0);
        asm volatile("fninit; fld1; fnstsw %0" : "=m" (before));
        CHECK_DELIVERED("injected", vm, vm_enter(vm), .vector = fpu[row].vector,
                        .rip = (ulong)program_vmcall.start);
        asm volatile("fnstsw %0; fninit" : "=m" (after));
        CHECK_EQ("x87 status word", after, before);
        CHECK_VMCS_MASKED(GUEST_CR0, fpu[row].ts, CR0_TS);
}

CASE(mxcsr, .id = "inject.fpu.mxcsr", .title = "injection of #XM leaves MXCSR",
     .sdm = CONTEXT, .rules = "INJ_MF_NM_STATE_UNCHANGED", .needs = "sse fxsr")
{
        const u32 initial = 0x1f80, preset = 0x1f81;
        struct vm *vm = vm_begin(GUEST_NATIVE);
        u32 after = 0;

        write_cr4(read_cr4() | CR4_OSFXSR);
        vmwrite(VMCS_HOST_CR4, read_cr4());
        vm_inject(HARDWARE(VEC_XM), 0, 0);
        vm_poison(0);
        asm volatile("ldmxcsr %0" : : "m" (preset));
        CHECK_DELIVERED("injected", vm, vm_enter(vm), .vector = VEC_XM,
                        .rip = (ulong)program_vmcall.start);
        asm volatile("stmxcsr %0" : "=m" (after));
        CHECK_EQ("MXCSR", after, preset);
        asm volatile("ldmxcsr %0" : : "m" (initial));
}
