/*
 * Where exceptions and interrupts arrive, and the ways into code that ends by
 * one. struct trap_frame (trap.h) is what is pushed here.
 */
#include "cpu.h"
#include "desc.h"

        .text
#ifdef __x86_64__

/*
 * 256 entries of 8 bytes; the address that CALL pushes tells the vector. The
 * processor aligns RSP to 16 before it pushes 5 words, or 6 with an error code
 * (SDM Vol. 3, Interrupt and Exception Handling > 64-Bit Mode Stack Frame): so
 * RSP itself tells whether there is one.
 */
        .balign 8
        .globl trap_stubs
trap_stubs:
        .rept 256
        call trap_common
        .balign 8
        .endr

trap_common:
        testb $8, %spl
        jnz 1f
        push (%rsp)
        movq $-1, 8(%rsp)
1:      push %rax
        push %rcx
        push %rdx
        push %rbx
        push %rbp
        push %rsi
        push %rdi
        push %r8
        push %r9
        push %r10
        push %r11
        push %r12
        push %r13
        push %r14
        push %r15
        subq $trap_stubs, 15 * 8(%rsp)
        shrq $3, 15 * 8(%rsp)
        cld
        mov %rsp, %rdi
        call trap_handler
        pop %r15
        pop %r14
        pop %r13
        pop %r12
        pop %r11
        pop %r10
        pop %r9
        pop %r8
        pop %rdi
        pop %rsi
        pop %rbp
        pop %rbx
        pop %rdx
        pop %rcx
        pop %rax
        add $16, %rsp
        iretq

.macro save_registers
        push %rbx
        push %rbp
        push %r12
        push %r13
        push %r14
        push %r15
.endm

.macro restore_registers
        pop %r15
        pop %r14
        pop %r13
        pop %r12
        pop %rbp
        pop %rbx
.endm

/* bool trap_enter_call(void (*fn)(void *), void *arg, ulong *catch) */
        .globl trap_enter_call
trap_enter_call:
        save_registers
        mov %rsp, (%rdx)
        sub $8, %rsp
        mov %rdi, %rax
        mov %rsi, %rdi
        call *%rax
        add $8, %rsp
        xor %eax, %eax
        restore_registers
        ret

/* bool trap_enter_iret(const ulong frame[5], ulong rax, ulong *catch) */
        .globl trap_enter_iret
trap_enter_iret:
        save_registers
        mov %rsp, (%rdx)
        push 4 * 8(%rdi)
        push 3 * 8(%rdi)
        push 2 * 8(%rdi)
        push 1 * 8(%rdi)
        push (%rdi)
        mov %rsi, %rax
        xor %ebx, %ebx
        xor %ecx, %ecx
        xor %edx, %edx
        xor %esi, %esi
        xor %edi, %edi
        xor %ebp, %ebp
        xor %r8d, %r8d
        xor %r9d, %r9d
        xor %r10d, %r10d
        xor %r11d, %r11d
        xor %r12d, %r12d
        xor %r13d, %r13d
        xor %r14d, %r14d
        xor %r15d, %r15d
        iretq

/*
 * void trap_unwind(ulong catch): makes the trap_enter function that stored
 * @catch return true. By IRET, which ends the blocking of NMIs.
 */
        .globl trap_unwind
trap_unwind:
        mov $SEL_DATA, %eax
        mov %eax, %ds
        mov %eax, %es
        mov %rdi, %rsp
        push %rax
        push %rdi
        push $2
        push $SEL_CODE
        push $1f
        iretq
1:      mov $1, %eax
        restore_registers
        ret

#else

/* The vectors that push an error code. */
#define PUSHES_ERROR(v) (v == VEC_DF || (v >= VEC_TS && v <= VEC_PF) || \
                         v == VEC_AC || v == VEC_CP)

        .balign 8
        .globl trap_stubs
trap_stubs:
        vector = 0
        .rept 256
        .if !(PUSHES_ERROR(vector))
        push $-1
        .endif
        call trap_common
        .balign 8
        vector = vector + 1
        .endr

trap_common:
        pusha
        push %ds
        push %es
        mov $SEL_DATA, %eax
        mov %eax, %ds
        mov %eax, %es
        subl $trap_stubs, 10 * 4(%esp)
        shrl $3, 10 * 4(%esp)
        cld
        push %esp
        call trap_handler
        add $4, %esp
        pop %es
        pop %ds
        popa
        add $8, %esp
        iret

.macro save_registers
        push %ebx
        push %ebp
        push %esi
        push %edi
.endm

.macro restore_registers
        pop %edi
        pop %esi
        pop %ebp
        pop %ebx
.endm

/* bool trap_enter_call(void (*fn)(void *), void *arg, ulong *catch) */
        .globl trap_enter_call
trap_enter_call:
        save_registers
        mov 16 + 12(%esp), %eax
        mov %esp, (%eax)
        push 16 + 8(%esp)
        call *16 + 4 + 4(%esp)
        add $4, %esp
        xor %eax, %eax
        restore_registers
        ret

/* bool trap_enter_iret(const ulong frame[9], ulong eax, ulong *catch) */
        .globl trap_enter_iret
trap_enter_iret:
        save_registers
        mov 16 + 12(%esp), %eax
        mov %esp, (%eax)
        mov 16 + 4(%esp), %esi
        mov 16 + 8(%esp), %eax
        mov $9, %ecx
1:      push -4(%esi, %ecx, 4)
        loop 1b
        xor %ebx, %ebx
        xor %edx, %edx
        xor %esi, %esi
        xor %edi, %edi
        xor %ebp, %ebp
        iret

/* void trap_unwind(ulong catch), as above. */
        .globl trap_unwind
trap_unwind:
        mov 4(%esp), %ebx
        mov $SEL_DATA, %eax
        mov %eax, %ds
        mov %eax, %es
        mov %eax, %fs
        mov %eax, %gs
        mov %eax, %ss
        mov %ebx, %esp
        push $2
        push $SEL_CODE
        push $1f
        iret
1:      mov $1, %eax
        restore_registers
        ret
#endif
