/* Segment, task and interrupt descriptors. */
#ifndef X86_DESC_H
#define X86_DESC_H

/* Selectors: the same in both builds. SEL_CODE is what the kernel runs on. */
#define SEL_CODE64 0x08      /* usable in the 64-bit build only */
#define SEL_DATA 0x10        /* flat, writable, DPL 0 */
#define SEL_CODE32 0x18      /* flat, DPL 0; compatibility mode in the 64-bit build */
#define SEL_CODE16 0x20      /* base 0, limit FFFFH, 16-bit, DPL 0 */
#define SEL_DATA16 0x28      /* base 0, limit FFFFH, writable, DPL 0 */
#define SEL_USER_CODE 0x33   /* flat, DPL 3, of the build's width */
#define SEL_USER_DATA 0x3b   /* flat, DPL 3 */
#define SEL_USER_CODE32 0x43 /* flat, DPL 3 */
#define SEL_TSS 0x48         /* takes two entries */
#define SEL_SPARE 0x58       /* DESC_SPARE entries, not present, for cases */
#define DESC_SPARE 5
#define DESC_ENTRIES (SEL_SPARE / 8 + DESC_SPARE)

#ifdef __x86_64__
#define SEL_CODE SEL_CODE64
#else
#define SEL_CODE SEL_CODE32
#endif

/* Bits of a segment descriptor, as in its second doubleword moved to 63:32. */
#define DESC_TYPE(n) ((u64)(n) << 40)  /* with S: 11 code r/x accessed, 3 data r/w accessed */
#define DESC_S BIT(44)
#define DESC_DPL(n) ((u64)(n) << 45)
#define DESC_P BIT(47)
#define DESC_AVL BIT(52)
#define DESC_L BIT(53)
#define DESC_DB BIT(54)
#define DESC_G BIT(55)

#ifndef __ASSEMBLER__
#include "cpu.h"

#define TSS_LIMIT 0x67

#ifdef __x86_64__
struct tss {
        u32 reserved0;
        u64 rsp[3];
        u64 reserved1;
        u64 ist[7];
        u64 reserved2;
        u16 reserved3, iomap;
} __attribute__((packed));
struct idt_gate {
        u16 offset_low, selector;
        u8 ist, type;
        u16 offset_mid;
        u32 offset_high, reserved;
} __attribute__((packed));
#define IST_DF 1
#define IST_NMI 2
#define IST_MC 3
#else
struct tss {
        u32 link, esp0, ss0, esp1, ss1, esp2, ss2, cr3, eip, eflags;
        u32 eax, ecx, edx, ebx, esp, ebp, esi, edi;
        u32 es, cs, ss, ds, fs, gs, ldt;
        u16 trap, iomap;
} __attribute__((packed));
struct idt_gate {
        u16 offset_low, selector;
        u8 ist, type;
        u16 offset_mid;
} __attribute__((packed));
#endif

/* The IDT, common to all processors; the GDT and the TSS are in struct cpu. */
extern struct idt_gate idt[256];

/* A descriptor with @base, 20-bit @limit and the DESC_ bits @attributes. */
static inline u64 desc_make(u32 base, u32 limit, u64 attributes)
{
        return attributes | (limit & 0xffff) | (u64)(base & 0xffffff) << 16 |
               (u64)(limit >> 16 & 15) << 48 | (u64)(base >> 24) << 56;
}

/* Sets a gate's DPL (0-3): INT n needs CPL <= DPL. */
void idt_set_dpl(unsigned vector, unsigned dpl);

/*
 * Loads this processor's GDT, IDT, TR, segment registers, CR0 and CR4 as after
 * boot (CR4.VMXE stays as it is: in VMX operation it cannot change), and puts
 * the spare descriptors and the TSS back. After whatever a case did, and after
 * VM exits: those leave limits of FFFFH and other bases.
 */
void desc_reload(void);

/* The values that desc_reload writes to CR0 and CR4. */
extern u32 boot_cr0, boot_cr4;

/* Used by the machine layer only: builds the tables of the block @cpu. */
struct cpu;
void desc_init_idt(void);
void desc_init_cpu(struct cpu *cpu);
#endif
#endif
