/*
 * VM entry as the last of a few instructions written beside the case: for what
 * is in force right before it. Registers of the guest are not cared for.
 */
#ifndef X86_VMX_ENTRY_CODE_H
#define X86_VMX_ENTRY_CODE_H

#include "x86/vmx/guest.h"
#include "x86/vmx/instr.h"

/*
 * ENTRY_CODE(name, "instructions"): a function `ulong name(void)` that ends in
 * VMLAUNCH or VMRESUME. The instructions may use all general registers but the
 * stack pointer, and the 64 bytes below it. It returns 0 after a VM exit, else
 * RFLAGS as they were behind the instructions; the six arithmetic flags are set
 * before them. It sets host RIP and RSP of the current VMCS, if there is one.
 */
#ifdef __x86_64__
#define ENTRY_CODE(name, code)                                                \
        asm(".pushsection .text\n" #name ":\n"                                \
            "push %rbx\npush %rbp\npush %r12\npush %r13\npush %r14\npush %r15\n" \
            "mov $0x6c14, %eax\nvmwrite %rsp, %rax\n"                         \
            "mov $0x6c16, %eax\nlea 2f(%rip), %rcx\nvmwrite %rcx, %rax\n"     \
            "push $0x8d7\npopf\n"                                             \
            code "\n"                                                         \
            "1: pushf\npop %rax\npush $2\npopf\njmp 3f\n"                     \
            "2: xor %eax, %eax\n"                                             \
            "3: pop %r15\npop %r14\npop %r13\npop %r12\npop %rbp\npop %rbx\n" \
            "ret\n.popsection\n");                                            \
        ulong name(void)
#else
#define ENTRY_CODE(name, code)                                                \
        asm(".pushsection .text\n" #name ":\n"                                \
            "push %ebx\npush %ebp\npush %esi\npush %edi\n"                    \
            "mov $0x6c14, %eax\nvmwrite %esp, %eax\n"                         \
            "mov $0x6c16, %eax\nmov $2f, %ecx\nvmwrite %ecx, %eax\n"          \
            "push $0x8d7\npopf\n"                                             \
            code "\n"                                                         \
            "1: pushf\npop %eax\npush $2\npopf\njmp 3f\n"                     \
            "2: xor %eax, %eax\n"                                             \
            "3: pop %edi\npop %esi\npop %ebp\npop %ebx\n"                     \
            "ret\n.popsection\n");                                            \
        ulong name(void)
#endif

/* An exit gives exit reason and qualification. */
__attribute__((warn_unused_result))
static inline struct vmx_result entry_code_run(ulong (*fn)(void))
{
        struct vmx_result r = { .kind = VMX_EXIT, .has_info = true };
        ulong flags;

        trap_clear();
        flags = fn();
        if (flags)
                return vmx_result_of(flags);
        r.code = (u32)vmread(VMCS_EXIT_REASON);
        r.info = vmread(VMCS_EXIT_QUALIFICATION);
        return r;
}

#endif
