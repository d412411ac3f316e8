/*
 * The entries of an image: multiboot, PVH and ROM. All arrive in flat 32-bit
 * protected mode without paging; from there one way leads to machine_main().
 */
#include "boot.h"
#include "../cpu.h"
#include "../desc.h"
#include "../msr.h"
#include "../smp.h"

#define MULTIBOOT_MAGIC 0x1badb002
#define MULTIBOOT_FLAGS 0       /* no request: the ELF headers say it all */

        .section .boot, "ax"
        .balign 4
        .long MULTIBOOT_MAGIC, MULTIBOOT_FLAGS
        .long -(MULTIBOOT_MAGIC + MULTIBOOT_FLAGS)
        .org ROM_HEADER
        .long ROM_MAGIC, image_end, bss_start, bss_end, rom_entry

/* PVH: the note that names the 32-bit entry (XEN_ELFNOTE_PHYS32_ENTRY). */
        .section .note.Xen, "a", @note
        .balign 4
        .long 4, 4, 18
        .asciz "Xen"
        .long pvh_entry

.macro load_segments
        mov $SEL_DATA, %eax
        mov %eax, %ds
        mov %eax, %es
        mov %eax, %fs
        mov %eax, %gs
        mov %eax, %ss
.endm

        .text
        .code32
/* EBX: multiboot information; flag bit 2: the command line at offset 16. */
        .globl multiboot_entry
multiboot_entry:
        xor %esi, %esi
        testb $4, (%ebx)
        jz 1f
        mov 16(%ebx), %esi
1:      mov $BOOT_MULTIBOOT, %edi
        jmp start

/* EBX: struct hvm_start_info; the command line's address at offset 24. */
pvh_entry:
        mov 24(%ebx), %esi
        mov $BOOT_PVH, %edi
        jmp start

/* From rom.S, with the command line's address in ESI. */
rom_entry:
        mov $BOOT_ROM, %edi

/* EDI: the boot path; ESI: the command line or 0. */
start:
        cli
        cld
        lgdt boot_gdt_pointer
        ljmp $SEL_CODE32, $1f
1:      mov $bsp_block + CPU_STACK_TOP, %esp
        load_segments

        /* Four page directories: 4 GiB, identity, present, writable, A and D. */
        mov $boot_directories, %ebx
        mov $0xe3, %eax
1:      mov %eax, (%ebx)
        movl $0, 4(%ebx)
        add $8, %ebx
        add $0x200000, %eax
        jnc 1b
#ifdef __x86_64__
        movl $boot_pdpt + 7, boot_root
        mov $7, %edx
#else
        mov $1, %edx            /* R/W and U/S are reserved in PAE's PDPTEs */
#endif
        mov $boot_directories, %eax
        mov $boot_pdpt, %ebx
        mov $4, %ecx
        or %edx, %eax
1:      mov %eax, (%ebx)
        add $0x1000, %eax
        add $8, %ebx
        loop 1b

        mov $1f, %ebp
        jmp enable_paging
#ifdef __x86_64__
        .code64
1:      mov %esp, %esp          /* the upper halves are undefined by now */
        mov %esi, %esi
        mov %edi, %edi
        xor %ebp, %ebp
        call machine_main
#else
1:      xor %ebp, %ebp
        push %esi
        push %edi
        call machine_main
#endif
        .code32

/* Another processor, from ap.S: flat 32-bit protected mode, boot_gdt, no stack. */
        .globl ap_entry
ap_entry:
        mov $1, %edi
        lock xadd %edi, ap_next
        cmp $CPU_MAX, %edi
        jae 2f
        imul $CPU_BLOCK, %edi, %esp
        add ap_blocks, %esp     /* block n's top: n is 1 for the first of them */
        load_segments
        mov $1f, %ebp
        jmp enable_paging
2:      cli
        hlt                     /* one too many */
        jmp 2b
#ifdef __x86_64__
        .code64
1:      mov %esp, %esp
        mov %edi, %edi
        xor %ebp, %ebp
        call ap_main
#else
1:      xor %ebp, %ebp
        push %edi
        call ap_main
#endif
        .code32

/*
 * Turns on the paging of the build and goes on at EBP in its native mode; keeps
 * ESI, EDI and ESP. CR0: caches on, NE as VMX operation asks for.
 */
enable_paging:
        mov $CR4_PAE, %eax
        mov %eax, %cr4
        mov $boot_root, %eax
        mov %eax, %cr3
        mov $0x80000000, %eax
        cpuid
        xor %edx, %edx
        cmp $0x80000001, %eax
        jb 1f
        mov $0x80000001, %eax
        cpuid
1:
#ifdef __x86_64__
        bt $29, %edx            /* Intel 64 */
        jnc no_long_mode
        mov $EFER_LME, %ebx
#else
        xor %ebx, %ebx
#endif
        bt $20, %edx            /* execute disable */
        jnc 1f
        or $EFER_NXE, %ebx
1:      test %ebx, %ebx
        jz 1f
        mov $MSR_IA32_EFER, %ecx
        mov %ebx, %eax
        xor %edx, %edx
        wrmsr
1:      mov $CR0_PG | CR0_WP | CR0_NE | CR0_ET | CR0_PE, %eax
        mov %eax, %cr0
        push $SEL_CODE
        push %ebp
        lret

#ifdef __x86_64__
/* Nothing can be reported from here: only end, see lib/PROTOCOL.md. */
no_long_mode:
        mov $0xf4, %dx
        xor %eax, %eax
        out %al, %dx
        mov $shutdown, %esi
        mov $8, %ecx
        mov $0x8900, %dx
        rep outsb
1:      cli
        hlt
        jmp 1b
        .section .rodata
shutdown: .ascii "Shutdown"
#endif

/* The fixed entries of every GDT; "accessed" is set, so nothing writes here. */
        .section .rodata
        .balign 8
        .globl boot_gdt, boot_gdt_pointer
boot_gdt:
        .quad 0
        .quad 0x00af9b000000ffff        /* SEL_CODE64 */
        .quad 0x00cf93000000ffff        /* SEL_DATA */
        .quad 0x00cf9b000000ffff        /* SEL_CODE32 */
        .quad 0x00009b000000ffff        /* SEL_CODE16 */
        .quad 0x000093000000ffff        /* SEL_DATA16 */
#ifdef __x86_64__
        .quad 0x00affb000000ffff        /* SEL_USER_CODE */
#else
        .quad 0x00cffb000000ffff
#endif
        .quad 0x00cff3000000ffff        /* SEL_USER_DATA */
        .quad 0x00cffb000000ffff        /* SEL_USER_CODE32 */
boot_gdt_end:
        .if boot_gdt_end - boot_gdt != SEL_TSS
        .error "boot_gdt and desc.h differ"
        .endif
boot_gdt_pointer:
        .word boot_gdt_end - boot_gdt - 1
        .long boot_gdt          /* LGDT in 32-bit mode reads 32 bits of base */

        .bss
        .balign 4096
        .globl boot_root, boot_pdpt, boot_directories, bsp_block
#ifdef __x86_64__
boot_root:
        .skip 4096
boot_pdpt:
        .skip 4096
#else
boot_root:
boot_pdpt:
        .skip 32
#endif
        .section .bss..noinit, "aw", @nobits
        .balign CPU_BLOCK
bsp_block:
        .skip CPU_BLOCK
boot_directories:
        .skip 4 * 4096
