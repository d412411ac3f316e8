#include "x86/vmx/shadow.h"
#include "lib/check.h"
#include "x86/memory.h"
#include "x86/vmx/guest_env.h"
#include "x86/vmx/instr.h"

#define INDICATOR 0x80000000u

/* The same bytes in all modes; the memory forms not in real mode. */
#ifdef __x86_64__
PROGRAM(read_register, NATIVE_BITS, "vmread %rcx, %rdx\n");
PROGRAM(write_register, NATIVE_BITS, "vmwrite %rdx, %rcx\n");
PROGRAM(read_memory, NATIVE_BITS, "vmread %rcx, (%rax)\n");
PROGRAM(write_memory, NATIVE_BITS, "vmwrite (%rax), %rcx\n");
#else
PROGRAM(read_register, NATIVE_BITS, "vmread %ecx, %edx\n");
PROGRAM(write_register, NATIVE_BITS, "vmwrite %edx, %ecx\n");
PROGRAM(read_memory, NATIVE_BITS, "vmread %ecx, (%eax)\n");
PROGRAM(write_memory, NATIVE_BITS, "vmwrite (%eax), %ecx\n");
#endif
#define INSN_SIZE 3

struct shadow shadow_begin(enum guest_mode mode)
{
        struct shadow s = { .vm = vm_begin(mode) };

        s.region = vmcs_region_new();
        s.region->revision |= INDICATOR;
        s.pointer = phys(s.region);
        CHECK_RESULT("VMCLEAR of the shadow VMCS", vmclear(&s.pointer), SUCCEED);
        s.bitmap[SHADOW_VMREAD] = page_alloc(1);
        s.bitmap[SHADOW_VMWRITE] = page_alloc(1);
        vmcs_edit(EDITS(WITH_SECONDARY(CTL_SECONDARY_VMCS_SHADOWING)));
        vmwrite(VMCS_VMREAD_BITMAP, phys(s.bitmap[SHADOW_VMREAD]));
        vmwrite(VMCS_VMWRITE_BITMAP, phys(s.bitmap[SHADOW_VMWRITE]));
        vmwrite(VMCS_VMCS_LINK_POINTER, s.pointer);
        return s;
}

void shadow_intercept(struct shadow *s, enum shadow_access access, u32 encoding,
                      bool intercept)
{
        u8 *byte = &s->bitmap[access][encoding >> 3], bit = (u8)(1u << (encoding & 7));

        *byte = (u8)(intercept ? *byte | bit : *byte & ~bit);
}

static void load_shadow(const struct shadow *s)
{
        CHECK_RESULT("VMPTRLD of the shadow VMCS", vmptrld(&s->pointer), SUCCEED);
}

u64 shadow_read(struct shadow *s, u32 field)
{
        u64 value;

        load_shadow(s);
        value = vmread(field);
        vm_load(s->vm);
        return value;
}

void shadow_write(struct shadow *s, u32 field, u64 value)
{
        load_shadow(s);
        vmwrite(field, value);
        vm_load(s->vm);
}

static struct vmx_result of_flags(u64 flags)
{
        switch (flags & VMX_FLAGS) {
        case 0:
                return RESULT(SUCCEED);
        case RFLAGS_CF:
                return RESULT(FAIL_INVALID);
        case RFLAGS_ZF:
                return RESULT(FAIL_VALID((u32)vmread(VMCS_VM_INSTRUCTION_ERROR)));
        default:
                return (struct vmx_result){ .kind = VMX_ODD_FLAGS, .code = (u32)flags };
        }
}

struct vmx_result shadow_run(struct shadow *s, unsigned access, u64 field)
{
        const struct program programs[] = {
                read_register, write_register, read_memory, write_memory,
        };
        struct guest_event e;
        struct vmx_result r;
        u64 rip;

        vm_program(s->vm, programs[access]);
        rip = vmread(VMCS_GUEST_RIP);
        vm_control(VMCS_GUEST_RFLAGS, VMX_FLAGS, 0);
        s->vm->regs.rcx = (ulong)field;
        vm_poison(0);
        r = vm_enter(s->vm);
        if (r.kind != VMX_EXIT || r.code != EXIT_VMCALL)
                return r;
        if (vm_event(s->vm, &e))
                return (struct vmx_result){ .kind = VMX_EXCEPTION, .vector = e.vector,
                                            .has_code = e.has_error, .code = e.error };
        CHECK_EQ("guest RIP behind the instruction", vmread(VMCS_GUEST_RIP), rip + INSN_SIZE);
        return of_flags(vmread(VMCS_GUEST_RFLAGS));
}
