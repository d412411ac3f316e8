#include "desc.h"
#include "../lib/string.h"
#include "memory.h"
#include "trap.h"

/* Types of system descriptors and gates, present. */
#define TYPE_TSS 0x89           /* available */
#define TYPE_INTERRUPT_GATE 0x8e

#define STUB_SIZE 8             /* bytes from one entry of trap.S to the next */

extern const u64 boot_gdt[SEL_TSS / 8];

struct idt_gate idt[256] NOINIT __attribute__((aligned(16)));
u32 boot_cr0, boot_cr4;

void idt_set_dpl(unsigned vector, unsigned dpl)
{
        idt[vector].type = (u8)((idt[vector].type & ~0x60) | dpl << 5);
}

void desc_init_idt(void)
{
        extern const u8 trap_stubs[];
        u32 stub = (u32)(ulong)trap_stubs;

        for (unsigned v = 0; v < ARRAY_LEN(idt); v++, stub += STUB_SIZE) {
                idt[v] = (struct idt_gate){
                        .offset_low = (u16)stub,
                        .selector = SEL_CODE,
                        .type = TYPE_INTERRUPT_GATE,
                        .offset_mid = (u16)(stub >> 16),
                };
        }
        idt_set_dpl(VEC_BP, 3);
        idt_set_dpl(VEC_OF, 3);
        idt_set_dpl(TRAP_END, 3);
#ifdef __x86_64__
        idt[VEC_DF].ist = IST_DF;
        idt[VEC_NMI].ist = IST_NMI;
        idt[VEC_MC].ist = IST_MC;
#endif
        boot_cr0 = (u32)read_cr0();
        boot_cr4 = (u32)read_cr4();
}

/*
 * The descriptors as after boot: the TSS is available, not busy. Word by word,
 * as this is done after every case.
 */
static void fill_gdt(struct cpu *cpu)
{
        ulong tss = (ulong)&cpu->tss;

        for (unsigned i = 0; i < DESC_ENTRIES; i++)
                cpu->gdt[i] = i < SEL_TSS / 8 ? boot_gdt[i] : 0;
        /* The upper half of a 64-bit base below 4 GiB is 0. */
        cpu->gdt[SEL_TSS / 8] = desc_make((u32)tss, TSS_LIMIT,
                                          (u64)TYPE_TSS << 40);
}

static void fill_tss(struct cpu *cpu)
{
        ulong block = (ulong)cpu;

        cpu->tss = (struct tss){
                .iomap = sizeof(struct tss),  /* beyond the limit: none */
#ifdef __x86_64__
                .rsp[0] = block + CPU_STACK_RSP0,
                .ist[IST_DF - 1] = block + CPU_STACK_DF,
                .ist[IST_NMI - 1] = block + CPU_STACK_NMI,
                .ist[IST_MC - 1] = block + CPU_STACK_MC,
#else
                .esp0 = block + CPU_STACK_RSP0,
                .ss0 = SEL_DATA,
#endif
        };
}

void desc_init_cpu(struct cpu *cpu)
{
        memset(cpu, 0, sizeof(*cpu));
        cpu->magic = CPU_MAGIC;
        desc_reload();
}

static void load_cs(void)
{
#ifdef __x86_64__
        asm volatile("push %0\n\t"
                     "lea 1f(%%rip), %%rax\n\t"
                     "push %%rax\n\t"
                     "lretq\n"
                     "1:" : : "i"(SEL_CODE) : "rax", "memory");
#else
        asm volatile("ljmp %0, $1f\n1:" : : "i"(SEL_CODE) : "memory");
#endif
}

void desc_reload(void)
{
        struct cpu *cpu = this_cpu();
        u32 cr4 = boot_cr4 | (read_cr4() & CR4_VMXE);

        fill_gdt(cpu);
        fill_tss(cpu);
        lgdt((struct desc_ptr){ sizeof(cpu->gdt) - 1, (ulong)cpu->gdt });
        lidt((struct desc_ptr){ sizeof(idt) - 1, (ulong)idt });
        load_cs();
        write_ss(SEL_DATA);
        write_ds(SEL_DATA);
        write_es(SEL_DATA);
        write_fs(SEL_DATA);
        write_gs(SEL_DATA);
        lldt(0);
        ltr(SEL_TSS);
        if (read_cr0() != boot_cr0)
                write_cr0(boot_cr0);
        if (read_cr4() != cr4)
                write_cr4(cr4);
}
