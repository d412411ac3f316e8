/*
 * Where the other processors begin: real-address mode, CS:IP = AP_PAGE/16:0.
 * The code is copied to AP_PAGE; it takes them to ap_entry (entry.S).
 */
#include "boot.h"
#include "../cpu.h"
#include "../desc.h"

        .section .rodata
        .globl ap_code, ap_code_end
        .code16
ap_code:
        cli
        cld
        mov %cs, %ax
        mov %ax, %ds
        lgdtl ap_gdt_pointer - ap_code
        mov %cr0, %eax
        and $~(CR0_CD | CR0_NW), %eax
        or $CR0_PE, %eax
        mov %eax, %cr0
        ljmpl $SEL_CODE32, $ap_32 - ap_code + AP_PAGE
        .code32
ap_32:
        mov $SEL_DATA, %eax
        mov %eax, %ds
        mov $ap_entry, %eax
        jmp *%eax
        .balign 4
ap_gdt_pointer:
        .word SEL_TSS - 1
        .long boot_gdt
ap_code_end:
