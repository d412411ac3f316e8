/*
 * void snippet_run_asm(struct snippet_state *state): see snippet.h. The state
 * goes to the stack first: DS may be loaded with anything.
 */
#include "x86/desc.h"

        .text
        .globl snippet_run_asm

#ifdef __x86_64__
#define FLAGS 0x78
#define CODE 0x80
#define SEGMENTS 0x8c   /* DS, ES, FS, GS, SS */

snippet_run_asm:
        push    %rbx
        push    %rbp
        push    %r12
        push    %r13
        push    %r14
        push    %r15
        push    %rdi
        push    CODE(%rdi)
        push    FLAGS(%rdi)
        mov     SEGMENTS(%rdi), %ds
        mov     SEGMENTS+4(%rdi), %es
        mov     SEGMENTS+16(%rdi), %ss
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
        popf
        call    *(%rsp)
        pushf
        push    %rdi
        mov     24(%rsp), %rdi
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
        pop     FLAGS(%rdi)
        push    $2
        popf
        mov     $SEL_DATA, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        add     $16, %rsp
        pop     %r15
        pop     %r14
        pop     %r13
        pop     %r12
        pop     %rbp
        pop     %rbx
        ret
#else
#define FLAGS 0x1c
#define CODE 0x20
#define CS_SELECTOR 0x24
#define SEGMENTS 0x28

snippet_run_asm:
        push    %ebx
        push    %ebp
        push    %esi
        push    %edi
        mov     20(%esp), %edi
        push    %edi
        push    CS_SELECTOR(%edi)
        push    CODE(%edi)
        push    FLAGS(%edi)
        push    0x00(%edi)
        push    0x04(%edi)
        push    0x08(%edi)
        push    0x0c(%edi)
        push    $0
        push    0x10(%edi)
        push    0x14(%edi)
        push    0x18(%edi)
        mov     SEGMENTS+4(%edi), %es
        mov     SEGMENTS+8(%edi), %fs
        mov     SEGMENTS+12(%edi), %gs
        mov     SEGMENTS+16(%edi), %ss
        mov     SEGMENTS(%edi), %ds
        popa
        popf
        lcall   *(%esp)
        pushf
        pusha
        mov     $SEL_DATA, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %fs
        mov     %eax, %gs
        mov     %eax, %ss
        mov     44(%esp), %edi
        pop     0x18(%edi)
        pop     0x14(%edi)
        pop     0x10(%edi)
        pop     %eax
        pop     0x0c(%edi)
        pop     0x08(%edi)
        pop     0x04(%edi)
        pop     0x00(%edi)
        pop     FLAGS(%edi)
        push    $2
        popf
        add     $12, %esp
        pop     %edi
        pop     %esi
        pop     %ebp
        pop     %ebx
        ret
#endif
        .section .note.GNU-stack, "", @progbits
