/*
 * SDM Vol. 3, VM Entries > Loading Guest State: the registers that are not in
 * the VMCS. VM entry leaves them alone: the guest finds what the host put there.
 */
#include "lib/check.h"
#include "lib/string.h"
#include "x86/cpu.h"
#include "x86/vmx/event.h"
#include "x86/vmx/exit_probe.h"
#include "x86/vmx/session.h"
#include "x86/vmx/smm.h"

#define SDM "VM Entries > Loading Guest RIP, RSP, and RFLAGS"
#define RULES "ENTL_GPRS_KEPT"

/* What comes back is what the guest saw, and not what was kept for the host. */
#ifdef __x86_64__
PROGRAM(invert, 64, "not %rax\nnot %rcx\nnot %rdx\nnot %rbx\nnot %rbp\nnot %rsi\n"
        "not %rdi\nnot %r8\nnot %r9\nnot %r10\nnot %r11\nnot %r12\nnot %r13\n"
        "not %r14\nnot %r15\nvmcall\n");
#else
PROGRAM(invert, 32, "not %eax\nnot %ecx\nnot %edx\nnot %ebx\nnot %ebp\nnot %esi\n"
        "not %edi\nvmcall\n");
#endif

CASE(general, .id = "entry.load.unchanged.general-registers",
     .title = "the general-purpose registers but RSP are the host's", .sdm = SDM,
     .rules = RULES)
{
        for (unsigned i = 0; i < 2; i++) {
                struct vm *vm = vm_begin(GUEST_NATIVE);
                ulong *r = (ulong *)&vm->regs, before[sizeof(vm->regs) / sizeof(*r)];

                for (unsigned n = 0; i && n < ARRAY_LEN(before); n++)
                        r[n] = ~r[n];
                memcpy(before, r, sizeof(before));
                vm_program(vm, invert);
                vm_poison(0);
                CHECK_EXIT("the guest", vm_enter(vm), EXITS(EXIT_VMCALL));
                for (unsigned n = 0; n < ARRAY_LEN(before); n++)
                        CHECK_EQ("a register, inverted by the guest", r[n],
                                 ~before[n]);
        }
}

PROGRAM(get_cr2, NATIVE_BITS, "mov %cr2, %" AX "\nvmcall\n");

CASE(cr2, .id = "entry.load.unchanged.cr2", .title = "CR2 is the host's",
     .sdm = SDM, .rules = RULES)
{
        static const u64 values[] = { 0xffff800012345678, 0x00007fffedcba987 };

        for (unsigned i = 0; i < ARRAY_LEN(values); i++) {
                struct vm *vm = vm_begin(GUEST_NATIVE);

                vm_program(vm, get_cr2);
                vm_poison(0);
                write_cr2((ulong)values[i]);
                CHECK_EXIT("the guest", vm_enter(vm), EXITS(EXIT_VMCALL));
                CHECK_EQ("CR2 in the guest", vm->regs.rax, (ulong)values[i]);
                CHECK_EQ("CR2 after the VM exit", read_cr2(), (ulong)values[i]);
        }
}

#ifdef __x86_64__
PROGRAM(get_cr8, 64, "mov %cr8, %rax\nvmcall\n");

CASE(cr8, .id = "entry.load.unchanged.cr8",
     .title = "CR8, the task priority, is the host's", .sdm = SDM,
     .rules = RULES, .needs = "host64 apic")
{
        ulong old = read_cr8();

        for (ulong value = 5; value <= 10; value += 5) {
                struct vm *vm = vm_begin(GUEST_LONG);

                vm_program(vm, get_cr8);
                vm_poison(0);
                write_cr8(value);
                CHECK_EXIT("the guest", vm_enter(vm), EXITS(EXIT_VMCALL));
                CHECK_EQ("CR8 in the guest", vm->regs.rax, value);
                CHECK_EQ("CR8 after the VM exit", read_cr8(), value);
        }
        write_cr8(old);
}
#endif

static u64 xgetbv(void)
{
        u32 low, high;

        asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
        return (u64)high << 32 | low;
}

PROGRAM(get_xcr0, 32, "xor %ecx, %ecx\nxgetbv\nvmcall\n");

/* x87 alone, and x87 with SSE: what every processor with XSAVE has. */
CASE(xcr0, .id = "entry.load.unchanged.xcr0", .title = "XCR0 is the host's",
     .sdm = SDM, .rules = RULES, .needs = "xsave")
{
        u64 old;

        write_cr4(read_cr4() | CR4_OSXSAVE);
        old = xgetbv();
        for (u64 value = 1; value <= 3; value += 2) {
                struct vm *vm = vm_begin(GUEST_NATIVE);

                vm_control(VMCS_GUEST_CR4, CR4_OSXSAVE, 0);
                vm_program(vm, get_xcr0);
                vm_poison(0);
                CHECK("XSETBV runs", !xsetbv_safe(0, value).raised,
                      "it faults");
                CHECK_EXIT("the guest", vm_enter(vm), EXITS(EXIT_VMCALL));
                CHECK_EQ("XCR0 in the guest",
                         (u64)(u32)vm->regs.rdx << 32 | (u32)vm->regs.rax,
                         value);
                CHECK_EQ("XCR0 after the VM exit", xgetbv(), value);
        }
        CHECK("XSETBV of the old value runs", !xsetbv_safe(0, old).raised,
              "it faults");
}

PROGRAM(get_x87, 32, "fnstcw (%esi)\nfstpl 8(%esi)\nvmcall\n");

CASE(x87, .id = "entry.load.unchanged.x87",
     .title = "x87 control word and registers are the host's", .sdm = SDM,
     .rules = RULES, .needs = "x87")
{
        static const u64 numbers[] = { 0x400921fb54442d18, 0xc005bf0a8b145769 };
        static const u16 words[] = { 0x037f, 0x0c7f };
        static struct {
                u16 word;
                u64 number __attribute__((aligned(8)));
        } seen;

        for (unsigned i = 0; i < ARRAY_LEN(numbers); i++) {
                struct vm *vm = vm_begin(GUEST_NATIVE);

                memset(&seen, 0, sizeof(seen));
                vm_program(vm, get_x87);
                vm->regs.rsi = (ulong)&seen;
                vm_poison(0);
                asm volatile("fninit\n\tfldcw %0\n\tfldl %1"
                             : : "m"(words[i]), "m"(numbers[i]));
                CHECK_EXIT("the guest", vm_enter(vm), EXITS(EXIT_VMCALL));
                CHECK_EQ("the control word in the guest", seen.word, words[i]);
                CHECK_EQ("the number in the guest", seen.number, numbers[i]);
        }
        asm volatile("fninit");
}

PROGRAM(get_sse, 32, "movd %xmm0, %eax\nmovd %xmm7, %ecx\nstmxcsr (%esi)\nvmcall\n");

CASE(sse, .id = "entry.load.unchanged.sse",
     .title = "MXCSR and the XMM registers are the host's", .sdm = SDM,
     .rules = RULES, .needs = "sse2 fxsr")
{
        static const u32 words[] = { 0x1f80, 0x9fc0 };
        static u32 seen;

        write_cr4(read_cr4() | CR4_OSFXSR);
        for (u32 i = 0; i < ARRAY_LEN(words); i++) {
                struct vm *vm = vm_begin(GUEST_NATIVE);

                seen = 0;
                vm_control(VMCS_GUEST_CR4, CR4_OSFXSR, 0);
                vm_program(vm, get_sse);
                vm->regs.rsi = (ulong)&seen;
                vm_poison(0);
                asm volatile("movd %0, %%xmm0\n\tmovd %1, %%xmm7\n\tldmxcsr %2"
                             : : "r"(0x12345678 + i), "r"(0x87654321 - i),
                                 "m"(words[i]));
                CHECK_EXIT("the guest", vm_enter(vm), EXITS(EXIT_VMCALL));
                CHECK_EQ("XMM0 in the guest", (u32)vm->regs.rax, 0x12345678 + i);
                CHECK_EQ("XMM7 in the guest", (u32)vm->regs.rcx, 0x87654321 - i);
                CHECK_EQ("MXCSR in the guest", seen, words[i]);
        }
        asm volatile("ldmxcsr %0" : : "m"(words[0]));
}

/*
 * The field is for VM entries from SMM alone. An SMI in VMX root operation, and
 * one before VMX operation, finds the same handler as ever.
 */
FAMILY(smbase, 4, .id = "entry.load.unchanged.smbase",
       .title = "whatever the SMBASE field has, SMBASE stays", .sdm =
       "VM Entries > Loading Guest Control Registers, Debug Registers, and MSRs",
       .rules = "ENTL_SMBASE_UNCHANGED", .needs = "apic")
{
        static const u32 values[] = { 0, 0x20000, 0x30001, 0xffffffff };
        struct vm *vm = vm_begin(GUEST_NATIVE);

        if (!vmcs_has(VMCS_GUEST_SMBASE)) {
                case_skip("the processor has no such field");
                return;
        }
        smm_install();
        vmx_off();
        if (!smm_send()) {
                case_skip("SMIs do not come to a handler at the SMBASE of reset");
                return;
        }
        vm = vm_begin(GUEST_NATIVE);
        vmwrite(VMCS_GUEST_SMBASE, values[row]);
        vm_poison(0);
        CHECK_EXIT("the guest", vm_enter(vm), EXITS(EXIT_VMCALL));
        CHECK("an SMI after it comes to the handler", smm_send(), "it does not");
        vmx_off();
        CHECK("an SMI outside VMX operation too", smm_send(), "it does not");
}
