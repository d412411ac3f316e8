/*
 * The end of every ROM: from the reset vector to the image's entry. It is the
 * same for all of them. It finds the ROM's beginning by the slot's magic and
 * the rest in the image's ROM header (entry.S). Where several ROMs are stacked,
 * each reset starts the next one, from the top down (lib/PROTOCOL.md > A stack
 * of ROMs).
 */
#include "boot.h"
#include "../cpu.h"

/* Everything here lies in the last 256 bytes below 4 GiB. */
#define ROM_TAIL 0xffffff00
#define AT(label) (label - tail + ROM_TAIL)

        .section .text
        .code16
tail:
start16:
        cli
        cld
        lgdtl %cs:AT(gdt_pointer) - 0xffff0000
        mov $CR0_ET | CR0_PE, %eax      /* caches on: CD and NW are set at reset */
        mov %eax, %cr0
        ljmpl $8, $AT(start32)
        .code32
start32:
        mov $16, %eax
        mov %eax, %ds
        mov %eax, %es
        mov %eax, %ss

        /* Address line 20 may still be forced to 0: then 1 MiB is address 0. */
        xor %ebx, %ebx
        movl $0x12345678, IMAGE_ADDRESS(%ebx)
        mov %ebx, (%ebx)
        cmp %ebx, IMAGE_ADDRESS(%ebx)
        jne 1f
        in $0x92, %al
        or $2, %al
        and $0xfe, %al                  /* bit 0 would reset */
        out %al, $0x92
1:
        xor %ebp, %ebp                  /* 4 GiB */
1:      sub $0x10000, %ebp
        cmpl $ROM_MAGIC, (%ebp)
        jne 1b
        movzbl ROM_STACK(%ebp), %ecx
        jecxz start_rom                 /* there is no other */

        mov $CMOS_SHUTDOWN_STATUS, %al
        out %al, $0x70
        in $0x71, %al
        movzbl %al, %edx
        shr %edx                        /* so many have ended */
        jc stop                         /* and one began and has not */
        cmp %ecx, %edx
        jae stop
        inc %eax
        out %al, $0x71
1:      dec %edx
        js start_rom
2:      sub $0x10000, %ebp
        cmpl $ROM_MAGIC, (%ebp)
        jne 2b
        jmp 1b

stop:   mov $AT(shutdown), %esi
        mov $8, %ecx
        mov $0x8900, %dx
        rep outsb
        hlt

start_rom:
        mov $IMAGE_ADDRESS, %edi
        lea ROM_SLOT(%ebp), %esi
        lea ROM_HEADER(%esi), %ebx      /* magic, image end, bss, bss end, entry */
        mov 4(%ebx), %ecx
        sub %edi, %ecx
        shr $2, %ecx
        rep movsl
        mov 8(%ebx), %edi
        mov 12(%ebx), %ecx
        sub %edi, %ecx
        shr $2, %ecx
        xor %eax, %eax
        rep stosl
        lea 16(%ebp), %esi              /* the command line */
        jmp *16(%ebx)

        .balign 8
gdt:    .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
gdt_pointer:
        .word gdt_pointer - gdt - 1
        .long AT(gdt)

shutdown:
        .ascii "Shutdown"

        .org 0xf0
        .code16
        jmp start16                     /* the reset vector */
        .org 0x100
