/*
 * VM entry and VM exit, for both builds.
 *
 *      ulong vm_enter_asm(struct guest_regs *regs, ulong resume);
 *
 * Returns 0 after a VM exit, else RFLAGS after an instruction that did not
 * enter, or anything where it raised an exception (x86/trap.h records it).
 * The six arithmetic flags are set before, so that an instruction which leaves
 * them alone is noticed. Without a current VMCS the VMWRITE fails too, and the
 * instruction shall say so itself.
 */
#include "x86/vmx/regs.inc"

#define HOST_RSP_FIELD 0x6c14
#define PRESET_FLAGS 0x8d7

#ifdef __x86_64__
#define DI %rdi
#define SI %rsi
#define SP %rsp
#define AX %rax
#define WORD 8
#else
#define DI %edi
#define SI %esi
#define SP %esp
#define AX %eax
#define WORD 4
#endif

.macro load_guest
        load_regs
        push    $PRESET_FLAGS
        popf
.endm

        .text
        .globl vm_enter_asm, vm_exit_asm

vm_enter_asm:
        push_kept
#ifndef __x86_64__
        mov     20(%esp), %edi
        mov     24(%esp), %esi
#endif
        push    DI
        mov     $HOST_RSP_FIELD, %eax
        vmwrite SP, AX
        test    SI, SI
        jnz     2f
        load_guest
1:      vmlaunch
        jmp     3f
2:      load_guest
4:      vmresume
3:      pushf
        pop     AX
        pop     DI
5:      pop_kept
        ret

vm_exit_asm:
        push    DI
        mov     WORD(SP), DI
        store_regs
        pop     DI
        xor     %eax, %eax
        jmp     5b

        .pushsection .extable, "a"
        .long   1b, 3b
        .long   4b, 3b
        .popsection

        .section .note.GNU-stack, "", @progbits
