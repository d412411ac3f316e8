/* The way to real-address mode and back: x86/real.c. */
#ifndef __x86_64__
#include "cpu.h"
#include "desc.h"

#define STUB 0x1000
#define VECTORS 0x2000

        .text
        .code32
/* void real_run(u32 block, u32 selectors): first of code, second of data. */
        .globl real_run
real_run:
        pusha
        mov 32 + 4(%esp), %ebx
        mov 32 + 8(%esp), %edx
        mov %esp, saved_esp
        sidt saved_idt
        mov %cr0, %ecx
        mov %ecx, real_saved_cr0 - real_stub + STUB(%ebx)
        push %edx
        push $(real_protected - real_stub + STUB)
        lea 8(%edx), %eax
        mov %eax, %ds
        lret

/* Back, without paging, on no stack; SEL_DATA's base is 0. */
real_return:
        mov $SEL_DATA, %eax
        mov %eax, %ds
        mov %eax, %es
        mov %eax, %fs
        mov %eax, %gs
        mov %eax, %ss
        mov saved_esp, %esp
        mov %ecx, %cr0
        jmp 1f
1:      lidt saved_idt
        popa
        ret

/* Copied to STUB in the block; offsets are relative to the block. */
        .section .rodata
        .balign 8
        .globl real_stub, real_stub_end, real_arrival
        .code16
real_stub:
real_found:
        .skip 8
real_saved_cr0:
        .long 0
real_idt_pointer:
        .word 0x3ff
        .long 0
/*
 * 16-bit protected mode; AX is the selector of the block, EBX its address. What
 * the segment registers hold besides selectors and bases stays in real mode.
 */
real_protected:
        mov %ax, %es
        mov %ax, %fs
        mov %ax, %gs
        mov %ax, %ss
        mov $0xffe, %esp
        lea VECTORS(%ebx), %edx
        mov %edx, real_idt_pointer - real_stub + STUB + 2
        shr $4, %ebx
        mov %cr0, %eax
        and $~CR0_PG, %eax
        mov %eax, %cr0
        and $~CR0_PE, %eax
        mov %eax, %cr0
        /* Real-address mode from here. */
        mov %bx, %ss
        push %bx
        push $(real_mode - real_stub + STUB)
        lret
real_mode:
        lidtl %cs:(real_idt_pointer - real_stub + STUB)
        mov %bx, %ds
        mov %bx, %es
        mov %bx, %fs
        mov %bx, %gs
        xor %eax, %eax
        xor %ebx, %ebx
        xor %ecx, %ecx
        xor %edx, %edx
        xor %esi, %esi
        xor %edi, %edi
        xor %ebp, %ebp
        push %cs
        push %ax
        lret
/* A handler called this. */
real_arrival:
        popw %cs:(real_found - real_stub + STUB)
        popw %cs:(real_found - real_stub + STUB + 2)
        popw %cs:(real_found - real_stub + STUB + 4)
        popw %cs:(real_found - real_stub + STUB + 6)
        mov %cs:(real_saved_cr0 - real_stub + STUB), %ecx
        mov %ecx, %eax
        and $~CR0_PG, %eax
        mov %eax, %cr0
        ljmpl $SEL_CODE32, $real_return
real_stub_end:

        .bss
        .balign 8
saved_esp:
        .skip 4
saved_idt:
        .skip 8
#endif
