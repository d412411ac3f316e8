/*
 * The SMI handler, for address SMBASE + 8000H. It runs in 16-bit code with base
 * SMBASE; registers are its own, RSM brings back the interrupted ones. It reads
 * and writes nothing by CS: Bochs 2.7 leaves out the base there.
 */
#define SEGMENT 0x3000
#define HANDLER 0x8000
#define REPORT 0x9000
#define TABLE_LINEAR 0x37000
#define STACK_TOP 0x6000

        .pushsection .rodata
        .globl smm_handler, smm_handler_end, smm_caught
        .code16

#define AT(label) (label - smm_handler + HANDLER)

/* The exception's stub sets DL and goes to where BP says. */
.macro try code:vararg
        mov     $AT(1f), %bp
        mov     $0xff, %dl
        \code
1:      mov     %dl, (%di)
        inc     %di
.endm

smm_handler:
        mov     $SEGMENT, %ax
        mov     %ax, %ds
        mov     %ax, %ss
        lidtl   AT(2f)
        mov     $STACK_TOP, %sp
        mov     $REPORT + 12, %di
        mov     %cr0, %eax
        mov     %eax, REPORT + 4
        mov     %cr4, %eax
        mov     %eax, REPORT + 8
        xor     %si, %si
        try     mov %eax, %cr4
        or      $0x2000, %eax
        try     mov %eax, %cr4
        xor     %eax, %eax
        mov     $AT(3f), %bp
        cpuid
        mov     $0xff, %dl
3:      mov     %dl, (%di)
        inc     %di
        try     .byte 0xf3, 0x0f, 0xc7, 0x34    /* vmxon (si) */
        try     .byte 0x0f, 0x01, 0xc4          /* vmxoff */
        try     .byte 0x66, 0x0f, 0xc7, 0x34    /* vmclear (si) */
        try     .byte 0x0f, 0xc7, 0x34          /* vmptrld (si) */
        try     .byte 0x0f, 0xc7, 0x3c          /* vmptrst (si) */
        try     .byte 0x0f, 0x78, 0xc8          /* vmread cx, ax */
        try     .byte 0x0f, 0x79, 0xc8          /* vmwrite ax, cx */
        try     .byte 0x0f, 0x01, 0xc2          /* vmlaunch */
        try     .byte 0x0f, 0x01, 0xc3          /* vmresume */
        try     .byte 0x0f, 0x01, 0xc1          /* vmcall */
        incl    REPORT
        rsm

smm_caught:
        add     $6, %sp
        jmp     *%bp

2:      .word   32 * 4 - 1
        .long   TABLE_LINEAR
smm_handler_end:
        .popsection
        .section .note.GNU-stack, "", @progbits
