/*
 * SDM Vol. 3, VMX Non-Root Operation > Changes to Instruction Behavior in VMX
 * Non-Root Operation: guest/host masks and read shadows change what the guest
 * reads from CR0 and CR4, not what VM entry loads.
 */
#include "x86/cpu.h"
#include "x86/memory.h"
#include "x86/vmx/event.h"
#include "x86/vmx/snippet.h"

#define SDM "VMX Non-Root Operation > Changes to Instruction Behavior in VMX Non-Root Operation"

/* CR0 and CR4 as read, in RAX and RCX; then a write to a read-only page. */
PROGRAM(read_and_write, NATIVE_BITS,
        "mov %cr0, " RAX "\n mov %cr4, " RCX "\n movb $1, (" R_("si") ")\n vmcall\n");

static const struct {
        struct row head;
        bool masked;
        bool write_protect;   /* real CR0.WP */
} sides[] = {
        { ROW("clear.wp-0", "masks 0, CR0.WP = 0"), false, false },
        { ROW("clear.wp-1", "masks 0, CR0.WP = 1"), false, true },
        { ROW("set.wp-0", "masks of ones, CR0.WP = 0"), true, false },
        { ROW("set.wp-1", "masks of ones, CR0.WP = 1"), true, true },
};

/* The shadows are the complement of the registers, as far as those go. */
TABLE(masks, sides, .id = "entry.cr-masks",
      .title = "the guest reads the shadows and runs with the registers",
      .sdm = SDM, .rules = "ENTL_CR_MASK_SHADOW_NOT_LOADED")
{
        struct vm *vm = vm_begin(GUEST_NATIVE);
        u8 *page = page_alloc(1);
        u64 *pte = vm_pte(vm, page), cr0, cr4, mask = sides[row].masked ? ~0ull : 0;

        *pte &= ~2ull;
        vm_program(vm, read_and_write);
        vm->regs.rsi = (ulong)page;
        vm_control(VMCS_GUEST_CR0, sides[row].write_protect ? CR0_WP : 0,
                   sides[row].write_protect ? 0 : CR0_WP);
        cr0 = vmread(VMCS_GUEST_CR0);
        cr4 = vmread(VMCS_GUEST_CR4);
        vmwrite(VMCS_CR0_GUEST_HOST_MASK, mask);
        vmwrite(VMCS_CR4_GUEST_HOST_MASK, mask);
        vmwrite(VMCS_CR0_READ_SHADOW, ~cr0);
        vmwrite(VMCS_CR4_READ_SHADOW, ~cr4);
        vm_poison(0);
        if (sides[row].write_protect)
                CHECK_DELIVERED("write", vm, vm_enter(vm), .vector = VEC_PF,
                                .has_error = true, .error = PF_P | PF_W,
                                .rip = (ulong)read_and_write.end - 6);
        else
                CHECK_EXIT("write", vm_enter(vm), EXITS(EXIT_VMCALL));
        CHECK_EQ("CR0 as the guest reads it", vm->regs.rax,
                 (ulong)(mask ? ~cr0 : cr0));
        CHECK_EQ("CR4 as the guest reads it", vm->regs.rcx,
                 (ulong)(mask ? ~cr4 : cr4));
        CHECK_VMCS(GUEST_CR0, cr0);
        CHECK_VMCS(GUEST_CR4, cr4);
}
