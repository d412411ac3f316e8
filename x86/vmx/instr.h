/*
 * The VMX instructions. Each returns what it did (x86/vmx/result.h); nothing is
 * assumed about how it ends. SDM Vol. 3, VMX Instruction Reference.
 */
#ifndef X86_VMX_INSTR_H
#define X86_VMX_INSTR_H

#include "x86/cpu.h"
#include "x86/trap.h"
#include "x86/vmx/result.h"

/* The flags that a VMX instruction defines. */
#define VMX_FLAGS (RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | \
                   RFLAGS_OF)

/*
 * Runs one instruction with all six flags set before, so that an instruction
 * that leaves them alone is noticed, and catches its exception.
 */
#define VMX_ASM(instruction, flags, ...)                        \
        do {                                                    \
                trap_clear();                                   \
                asm volatile("push %[preset]\n\t"               \
                             "popf\n\t"                         \
                             "1: " instruction "\n\t"           \
                             "2: pushf\n\t"                     \
                             "pop %[result]\n\t"                \
                             EXTABLE("1b", "2b")                \
                             : [result] "=&r" (flags)           \
                             : [preset] "i" (VMX_FLAGS | 2),    \
                               __VA_ARGS__                      \
                             : "cc", "memory");                 \
        } while (0)

/* The result of the instruction that VMX_ASM ran last. */
__attribute__((warn_unused_result))
struct vmx_result vmx_result_of(ulong flags);

#define VMX_INSTRUCTION __attribute__((warn_unused_result)) \
        static inline struct vmx_result

/* @region_pointer: the 64-bit memory operand holding the physical address. */
VMX_INSTRUCTION vmxon(const u64 *region_pointer)
{
        ulong flags;

        VMX_ASM("vmxon %[p]", flags, [p] "m" (*region_pointer));
        return vmx_result_of(flags);
}

VMX_INSTRUCTION vmxoff(void)
{
        ulong flags;

        VMX_ASM("vmxoff", flags, "i" (0));
        return vmx_result_of(flags);
}

VMX_INSTRUCTION vmclear(const u64 *region_pointer)
{
        ulong flags;

        VMX_ASM("vmclear %[p]", flags, [p] "m" (*region_pointer));
        return vmx_result_of(flags);
}

VMX_INSTRUCTION vmptrld(const u64 *region_pointer)
{
        ulong flags;

        VMX_ASM("vmptrld %[p]", flags, [p] "m" (*region_pointer));
        return vmx_result_of(flags);
}

VMX_INSTRUCTION vmptrst(u64 *pointer)
{
        ulong flags;

        VMX_ASM("vmptrst (%[p])", flags, [p] "r" (pointer));
        return vmx_result_of(flags);
}

/* One VMREAD of natural width: @field as it stands, any encoding. */
VMX_INSTRUCTION vmread_raw(ulong field, ulong *value)
{
        ulong flags, got = *value;

        trap_clear();
        asm volatile("push %[preset]\n\t"
                     "popf\n\t"
                     "1: vmread %[field], %[value]\n\t"
                     "2: pushf\n\t"
                     "pop %[result]\n\t"
                     EXTABLE("1b", "2b")
                     : [result] "=&r" (flags), [value] "+&r" (got)
                     : [preset] "i" (VMX_FLAGS | 2), [field] "r" (field)
                     : "cc", "memory");
        *value = got;
        return vmx_result_of(flags);
}

/* One VMWRITE of natural width. */
VMX_INSTRUCTION vmwrite_raw(ulong field, ulong value)
{
        ulong flags;

        VMX_ASM("vmwrite %[value], %[field]", flags, [value] "r" (value),
                [field] "r" (field));
        return vmx_result_of(flags);
}

/* VMCALL in VMX root operation: VMfail, or #UD outside. */
VMX_INSTRUCTION vmcall_root(void)
{
        ulong flags;

        VMX_ASM("vmcall", flags, "i" (0));
        return vmx_result_of(flags);
}

/* @descriptor: 128 bits, as INVEPT and INVVPID take it. */
struct inv_descriptor {
        u64 low, high;
};

VMX_INSTRUCTION invept(ulong type, const struct inv_descriptor *descriptor)
{
        ulong flags;

        VMX_ASM("invept %[d], %[type]", flags, [d] "m" (*descriptor),
                [type] "r" (type));
        return vmx_result_of(flags);
}

VMX_INSTRUCTION invvpid(ulong type, const struct inv_descriptor *descriptor)
{
        ulong flags;

        VMX_ASM("invvpid %[d], %[type]", flags, [d] "m" (*descriptor),
                [type] "r" (type));
        return vmx_result_of(flags);
}

#endif
