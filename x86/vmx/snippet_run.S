/*
 * void snippet_run_asm(struct snippet_state *state): see snippet.h. The state
 * goes to the stack first: DS may be loaded with anything.
 */
#include "x86/desc.h"
#include "x86/vmx/regs.inc"

        .text
        .globl snippet_run_asm

#ifdef __x86_64__
#define FLAGS 0x78
#define CODE 0x80
#define SEGMENTS 0x8c   /* DS, ES, FS, GS, SS */

snippet_run_asm:
        push_kept
        push    %rdi
        push    CODE(%rdi)
        push    FLAGS(%rdi)
        mov     SEGMENTS(%rdi), %ds
        mov     SEGMENTS+4(%rdi), %es
        mov     SEGMENTS+16(%rdi), %ss
        load_regs
        popf
        call    *(%rsp)
        pushf
        push    %rdi
        mov     24(%rsp), %rdi
        store_regs
        pop     FLAGS(%rdi)
        push    $2
        popf
        mov     $SEL_DATA, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        add     $16, %rsp
        pop_kept
        ret
#else
#define FLAGS 0x1c
#define CODE 0x20
#define CS_SELECTOR 0x24
#define SEGMENTS 0x28

snippet_run_asm:
        push_kept
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
        pop_kept
        ret
#endif
        .section .note.GNU-stack, "", @progbits
