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
#define HOST_RSP_FIELD 0x6c14
#define PRESET_FLAGS 0x8d7

        .text
        .globl vm_enter_asm, vm_exit_asm

#ifdef __x86_64__
.macro load_guest
        mov     0x00(%rdi), %rax
        mov     0x08(%rdi), %rcx
        mov     0x10(%rdi), %rdx
        mov     0x18(%rdi), %rbx
        mov     0x20(%rdi), %rbp
        mov     0x28(%rdi), %rsi
        mov     0x38(%rdi), %r8
        mov     0x40(%rdi), %r9
        mov     0x48(%rdi), %r10
        mov     0x50(%rdi), %r11
        mov     0x58(%rdi), %r12
        mov     0x60(%rdi), %r13
        mov     0x68(%rdi), %r14
        mov     0x70(%rdi), %r15
        mov     0x30(%rdi), %rdi
        push    $PRESET_FLAGS
        popf
.endm

vm_enter_asm:
        push    %rbx
        push    %rbp
        push    %r12
        push    %r13
        push    %r14
        push    %r15
        push    %rdi
        mov     $HOST_RSP_FIELD, %eax
        vmwrite %rsp, %rax
        test    %rsi, %rsi
        jnz     2f
        load_guest
1:      vmlaunch
        jmp     3f
2:      load_guest
4:      vmresume
3:      pushf
        pop     %rax
        pop     %rdi
5:      pop     %r15
        pop     %r14
        pop     %r13
        pop     %r12
        pop     %rbp
        pop     %rbx
        ret

vm_exit_asm:
        push    %rdi
        mov     8(%rsp), %rdi
        mov     %rax, 0x00(%rdi)
        mov     %rcx, 0x08(%rdi)
        mov     %rdx, 0x10(%rdi)
        mov     %rbx, 0x18(%rdi)
        mov     %rbp, 0x20(%rdi)
        mov     %rsi, 0x28(%rdi)
        mov     %r8, 0x38(%rdi)
        mov     %r9, 0x40(%rdi)
        mov     %r10, 0x48(%rdi)
        mov     %r11, 0x50(%rdi)
        mov     %r12, 0x58(%rdi)
        mov     %r13, 0x60(%rdi)
        mov     %r14, 0x68(%rdi)
        mov     %r15, 0x70(%rdi)
        pop     0x30(%rdi)
        pop     %rdi
        xor     %eax, %eax
        jmp     5b
#else
.macro load_guest
        mov     0x00(%edi), %eax
        mov     0x04(%edi), %ecx
        mov     0x08(%edi), %edx
        mov     0x0c(%edi), %ebx
        mov     0x10(%edi), %ebp
        mov     0x14(%edi), %esi
        mov     0x18(%edi), %edi
        push    $PRESET_FLAGS
        popf
.endm

vm_enter_asm:
        push    %ebx
        push    %ebp
        push    %esi
        push    %edi
        mov     20(%esp), %edi
        mov     24(%esp), %esi
        push    %edi
        mov     $HOST_RSP_FIELD, %eax
        vmwrite %esp, %eax
        test    %esi, %esi
        jnz     2f
        load_guest
1:      vmlaunch
        jmp     3f
2:      load_guest
4:      vmresume
3:      pushf
        pop     %eax
        pop     %edi
5:      pop     %edi
        pop     %esi
        pop     %ebp
        pop     %ebx
        ret

vm_exit_asm:
        push    %edi
        mov     4(%esp), %edi
        mov     %eax, 0x00(%edi)
        mov     %ecx, 0x04(%edi)
        mov     %edx, 0x08(%edi)
        mov     %ebx, 0x0c(%edi)
        mov     %ebp, 0x10(%edi)
        mov     %esi, 0x14(%edi)
        pop     0x18(%edi)
        pop     %edi
        xor     %eax, %eax
        jmp     5b
#endif

        .pushsection .extable, "a"
        .long   1b, 3b
        .long   4b, 3b
        .popsection

        .section .note.GNU-stack, "", @progbits
