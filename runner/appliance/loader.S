/*
 * Starts a Linux kernel that already lies in memory.
 *
 * The ROM at the reset vector of the appliance's machine. Everything else was
 * put into memory before the processor started: the kernel's segments at their
 * physical addresses, the initramfs, boot_params, and page tables (see
 * vmxtrunner/appliance_image.py, which also defines the symbols below). What is
 * left is the way to 64-bit mode: SDM Vol. 3 > 10.8.5 "Initializing IA-32e Mode",
 * and the register contents of Linux's 64-bit boot protocol.
 */
	.set	CR0_PE, 1 << 0
	.set	CR0_PG, 1 << 31
	.set	CR4_PAE, 1 << 5
	.set	MSR_IA32_EFER, 0xc0000080
	.set	EFER_LME, 1 << 8
	.set	CODE64, 0x10			/* __BOOT_CS of the protocol */
	.set	DATA, 0x18			/* __BOOT_DS */
	.set	CODE32, 0x20
	.set	STEP, 0x10000

	.section .text, "ax"
	.code16
rom:
start16:
	cli
	lgdtl	%cs:(gdt_pointer - rom)
	mov	%cr0, %eax
	or	$CR0_PE, %eax
	mov	%eax, %cr0
	ljmpl	$CODE32, $start32

	.code32
start32:
	mov	$DATA, %eax
	mov	%eax, %ds
	mov	%eax, %es
	mov	%eax, %fs
	mov	%eax, %gs
	mov	%eax, %ss
	/*
	 * Bochs gives host memory to blocks of guest memory in the order of their
	 * first use, and has read the whole image into the first ones: use them
	 * in this order before anything else is touched.
	 */
	mov	$IMAGE_START, %esi
1:	mov	(%esi), %eax
	add	$STEP, %esi
	cmp	$IMAGE_END, %esi
	jb	1b

	mov	$CR4_PAE, %eax
	mov	%eax, %cr4
	mov	$PAGE_TABLES, %eax
	mov	%eax, %cr3
	mov	$MSR_IA32_EFER, %ecx
	rdmsr
	or	$EFER_LME, %eax
	wrmsr
	mov	%cr0, %eax
	or	$CR0_PG, %eax
	mov	%eax, %cr0
	ljmp	$CODE64, $start64

	.code64
start64:
	mov	$BOOT_PARAMS, %esi
	mov	$ENTRY, %eax
	jmp	*%rax

	.balign	8
gdt:
	.quad	0, 0
	.quad	0x00af9b000000ffff		/* CODE64 */
	.quad	0x00cf93000000ffff		/* DATA */
	.quad	0x00cf9b000000ffff		/* CODE32 */
gdt_pointer:
	.word	. - gdt - 1
	.long	gdt

	.section .reset, "ax"
	.code16
	jmp	start16
	.balign	16
