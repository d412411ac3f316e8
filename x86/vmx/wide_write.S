/*
 * One VMWRITE in 64-bit mode, for a 32-bit host that is outside VMX operation:
 *
 *      void wide_write(struct wide_write *w);
 *
 * VMXON, VMPTRLD, VMWRITE, VMCLEAR and VMXOFF. Interrupts are off; an exception
 * on the way ends the boot. The memory below 4 GBytes is mapped identically
 * before, between and after.
 */
#ifndef __x86_64__
#include "x86/desc.h"

#define VMXON_POINTER 0
#define VMCS_POINTER 8
#define FIELD 16
#define VALUE 24
#define TABLES 32
#define SUCCEEDED 36

#define EFER 0xc0000080
#define EFER_LME 0x100
#define CR0_PG 0x80000000

        .text
        .globl wide_write
wide_write:
        push    %ebx
        push    %ebp
        push    %esi
        push    %edi
        mov     20(%esp), %edi
        mov     %cr0, %esi
        mov     %cr3, %ebp
        mov     %esi, %eax
        and     $~CR0_PG, %eax
        mov     %eax, %cr0
        mov     TABLES(%edi), %eax
        mov     %eax, %cr3
        mov     $EFER, %ecx
        rdmsr
        or      $EFER_LME, %eax
        wrmsr
        mov     %esi, %cr0
        ljmp    $SEL_SPARE, $1f

        .code64
1:      mov     %edi, %edi
        mov     %esp, %esp
        xor     %ebx, %ebx
        vmxon   VMXON_POINTER(%rdi)
        jbe     3f
        vmptrld VMCS_POINTER(%rdi)
        jbe     2f
        mov     FIELD(%rdi), %rax
        vmwrite VALUE(%rdi), %rax
        jbe     2f
        inc     %ebx
2:      vmclear VMCS_POINTER(%rdi)
        vmxoff
3:      mov     %ebx, SUCCEEDED(%rdi)
        mov     $4f, %eax
        push    $SEL_CODE32
        push    %rax
        lretq

        .code32
4:      mov     %esi, %eax
        and     $~CR0_PG, %eax
        mov     %eax, %cr0
        mov     $EFER, %ecx
        rdmsr
        and     $~EFER_LME, %eax
        wrmsr
        mov     %ebp, %cr3
        mov     %esi, %cr0
        pop     %edi
        pop     %esi
        pop     %ebp
        pop     %ebx
        ret
#endif

        .section .note.GNU-stack, "", @progbits
