#include "x86/vmx/raw.h"
#include "lib/check.h"
#include "lib/string.h"
#include "x86/desc.h"
#include "x86/memory.h"
#include "x86/real.h"

/* SDM Vol. 3, VMX Instruction Reference: the opcodes. */
const struct insn insns[INSNS] = {
#define MEMORY(name, n, ...) \
        [INSN_##name] = { #name, EXIT_##name, n, { __VA_ARGS__ }, true }
#define PLAIN(name, ...) \
        [INSN_##name] = { #name, EXIT_##name, 3, { __VA_ARGS__ }, false }
        MEMORY(VMXON, 4, 0xf3, 0x0f, 0xc7, 0x30),
        MEMORY(VMCLEAR, 4, 0x66, 0x0f, 0xc7, 0x30),
        MEMORY(VMPTRLD, 3, 0x0f, 0xc7, 0x30),
        MEMORY(VMPTRST, 3, 0x0f, 0xc7, 0x38),
        MEMORY(VMREAD, 3, 0x0f, 0x78, 0x08),
        MEMORY(VMWRITE, 3, 0x0f, 0x79, 0x08),
        MEMORY(INVEPT, 5, 0x66, 0x0f, 0x38, 0x80, 0x08),
        MEMORY(INVVPID, 5, 0x66, 0x0f, 0x38, 0x81, 0x08),
        PLAIN(VMCALL, 0x0f, 0x01, 0xc1),
        PLAIN(VMLAUNCH, 0x0f, 0x01, 0xc2),
        PLAIN(VMRESUME, 0x0f, 0x01, 0xc3),
        PLAIN(VMXOFF, 0x0f, 0x01, 0xc4),
        PLAIN(VMFUNC, 0x0f, 0x01, 0xd4),
};

void code_add(struct code *code, const void *bytes, unsigned size)
{
        if (code->size + size > sizeof(code->bytes)) {
                case_error("code of more than %u bytes",
                           (unsigned)sizeof(code->bytes));
                return;
        }
        memcpy(code->bytes + code->size, bytes, size);
        code->size = (u8)(code->size + size);
}

void code_insn(struct code *code, enum insn_id id)
{
        code_add(code, insns[id].bytes, insns[id].size);
}

struct vmx_result raw_flags(ulong flags)
{
        ulong error = ~0u;

        if ((flags & VMX_FLAGS) != RFLAGS_ZF)
                return vmx_result_of(flags);
        if (vmread_raw(VMCS_VM_INSTRUCTION_ERROR, &error).kind != VMX_SUCCEED)
                error = ~0u;
        return RESULT(FAIL_VALID((u32)error));
}

struct native_run {
        const u8 *page;
        ulong ax, flags;
};

static void run_native(void *arg)
{
        struct native_run *run = arg;
        ulong flags, ax = run->ax, cx = 0;

        asm volatile("push %[preset]\n\t"
                     "popf\n\t"
                     "call *%[code]\n\t"
                     "pushf\n\t"
                     "pop %[flags]"
                     : [flags] "=&r" (flags), "+a" (ax), "+c" (cx)
                     : [preset] "i" (VMX_FLAGS | RFLAGS_FIXED),
                       [code] "r" (run->page)
                     : "cc", "memory", "edx");
        run->flags = flags;
}

struct vmx_result raw_trap(struct trap t)
{
        if (!t.raised)
                return RESULT(SUCCEED);
        return (struct vmx_result){ .kind = VMX_EXCEPTION, .vector = t.vector,
                                    .has_code = t.has_error, .code = t.error };
}

u8 *raw_page(void)
{
        static u8 *page;

        if (!page)
                page = page_keep(1);
        return page;
}

static struct vmx_result native(const struct code *code, ulong ax)
{
        struct native_run run = { .page = raw_page(), .ax = ax };
        u8 *page = raw_page();
        struct trap t;

        memcpy(page, code->bytes, code->size);
        page[code->size] = 0xc3;  /* RET */
        if (trap_call(run_native, &run, &t))
                return raw_trap(t);
        trap_clear();
        return raw_flags(run.flags);
}

/* CPL 3 of compatibility mode is reached from 64-bit mode, by RETF. */
static void enter_compat(struct code *code)
{
        CODE_ADD(code, 0x6a, SEL_USER_CODE32,                    /* push */
                 0xe8, 0, 0, 0, 0,                               /* call next */
                 0x48, 0x83, 0x04, 0x24, 0x07,                   /* add 7, (rsp) */
                 0x48, 0xcb);                                    /* lretq */
}

static bool run_other(enum raw_mode mode, const void *code, ulong ax,
                      struct trap *t)
{
        switch (mode) {
        case RAW_CPL1:
                return trap_at_inner_cpl_arg(1, code, ax, t);
        case RAW_CPL2:
                return trap_at_inner_cpl_arg(2, code, ax, t);
        case RAW_CPL3:
        case RAW_COMPAT_CPL3:
                return trap_at_cpl3_arg(code, ax, t);
#ifdef __x86_64__
        case RAW_COMPAT:
                return trap_in_compat_arg(code, ax, t);
#else
        case RAW_V86:
                return trap_in_v86_arg(code, ax, t);
        case RAW_REAL:
                return trap_in_real(code, t);
#endif
        default:
                case_error("mode %u is not one of this build", (unsigned)mode);
                return false;
        }
}

struct vmx_result raw_run(enum raw_mode mode, const struct code *code, ulong ax)
{
        u8 buf[TRAP_CODE_SIZE] = { 0 };
        struct code whole = { 0 };
        struct trap t;

        if (mode == RAW_NATIVE)
                return native(code, ax);
        if (mode == RAW_COMPAT_CPL3)
                enter_compat(&whole);
        code_add(&whole, code->bytes, code->size);
        CODE_ADD(&whole, 0xcd, TRAP_END);
        memcpy(buf, whole.bytes, whole.size);
        if (run_other(mode, buf, ax, &t))
                return raw_trap(t);
        /* It ended in INT 40H. */
        return raw_flags((ulong)this_cpu()->trap.rflags);
}

void raw_guest_cpl(struct vm *vm, unsigned cpl)
{
        const u64 dpl = (u64)cpl << 5;
        u16 cs = (u16)(vmread(VMCS_GUEST_CS_SELECTOR) | cpl);
        u16 ss = (u16)(vmread(VMCS_GUEST_SS_SELECTOR) | cpl);

        if (cpl == 3) {
                cs = vm->mode == GUEST_COMPAT ? SEL_USER_CODE32 : SEL_USER_CODE;
                ss = SEL_USER_DATA;
        }
        vmwrite(VMCS_GUEST_CS_SELECTOR, cs);
        vmwrite(VMCS_GUEST_SS_SELECTOR, ss);
        vmwrite(VMCS_GUEST_CS_ACCESS_RIGHTS,
                vmread(VMCS_GUEST_CS_ACCESS_RIGHTS) | dpl);
        vmwrite(VMCS_GUEST_SS_ACCESS_RIGHTS,
                vmread(VMCS_GUEST_SS_ACCESS_RIGHTS) | dpl);
}

void raw_guest_cpl3(struct vm *vm)
{
        raw_guest_cpl(vm, 3);
}

void raw_program(struct vm *vm, const struct code *code, ulong ax)
{
        static const u8 end[] = { 0x0f, 0x01, 0xc1, 0x0f, 0x01, 0xc1 };
        u8 *page = page_alloc(1);

        memcpy(page, code->bytes, code->size);
        memcpy(page + code->size, end, sizeof(end));
        vm_program(vm, (struct program){ page, page + code->size });
        vm->regs.rax = ax;
}

struct vmx_result raw_guest(struct vm *vm, const struct code *code, ulong ax)
{
        struct vmx_result r;
        u32 info;

        raw_program(vm, code, ax);
        vmwrite(VMCS_EXCEPTION_BITMAP, ~0u);
        vm_poison(0);
        r = vm_enter(vm);
        if (r.kind != VMX_EXIT || r.code != EXIT_EXCEPTION_NMI)
                return r;
        info = (u32)vmread(VMCS_EXIT_INTERRUPTION_INFO);
        r = (struct vmx_result){ .kind = VMX_EXCEPTION, .vector = (u8)info,
                                 .has_code = info & 1u << 11 };
        if (r.has_code)
                r.code = (u32)vmread(VMCS_EXIT_INTERRUPTION_ERROR_CODE);
        return r;
}

u64 current_vmcs(void)
{
        u64 pointer = 0x5a5a5a5a5a5a5a5aull;

        CHECK_RESULT("VMPTRST", vmptrst(&pointer), SUCCEED);
        return pointer;
}
