/*
 * The processor: accessors of its registers, and the forms of accesses that may
 * fault. Their bits are in cpu_bits.h.
 */
#ifndef X86_CPU_H
#define X86_CPU_H

#include "cpu_bits.h"

#ifndef __ASSEMBLER__
/*
 * What an exception left: of all fields only @raised has a meaning while it is
 * false. @rip is the saved one; @cr2 is read after every exception, @dr6 after
 * #DB only.
 */
struct trap {
        bool raised;
        u8 vector;
        bool has_error;  /* 64-bit: seen in the frame, not assumed from @vector */
        u32 error;
        u64 rip, rflags, rsp, cr2, dr6;
        u16 cs;
};

struct cpuid {
        u32 a, b, c, d;
};

static inline struct cpuid cpuid(u32 leaf, u32 sub)
{
        struct cpuid r;

        asm volatile("cpuid" : "=a"(r.a), "=b"(r.b), "=c"(r.c), "=d"(r.d)
                     : "0"(leaf), "2"(sub));
        return r;
}

/* The bit @bit (0-31) of register @reg ('a'..'d'), 0 beyond the last leaf. */
bool cpuid_bit(u32 leaf, u32 sub, char reg, unsigned bit);

#define ACCESSORS(name, reg)                                                 \
        static inline ulong read_##name(void)                                \
        {                                                                    \
                ulong v;                                                     \
                asm volatile("mov %%" reg ", %0" : "=r"(v) : : "memory");    \
                return v;                                                    \
        }                                                                    \
        static inline void write_##name(ulong v)                             \
        {                                                                    \
                asm volatile("mov %0, %%" reg : : "r"(v) : "memory");        \
        }
ACCESSORS(cr0, "cr0")
ACCESSORS(cr2, "cr2")
ACCESSORS(cr3, "cr3")
ACCESSORS(cr4, "cr4")
#ifdef __x86_64__
ACCESSORS(cr8, "cr8")
#endif
ACCESSORS(dr0, "dr0")
ACCESSORS(dr1, "dr1")
ACCESSORS(dr2, "dr2")
ACCESSORS(dr3, "dr3")
ACCESSORS(dr6, "dr6")
ACCESSORS(dr7, "dr7")
#undef ACCESSORS

#define ACCESSORS(name)                                                      \
        static inline u16 read_##name(void)                                  \
        {                                                                    \
                u16 v;                                                       \
                asm volatile("mov %%" #name ", %0" : "=r"(v));               \
                return v;                                                    \
        }                                                                    \
        static inline void write_##name(u16 v)                               \
        {                                                                    \
                asm volatile("mov %0, %%" #name : : "r"(v) : "memory");      \
        }
ACCESSORS(ds)
ACCESSORS(es)
ACCESSORS(fs)
ACCESSORS(gs)
ACCESSORS(ss)
#undef ACCESSORS

static inline u16 read_cs(void)
{
        u16 v;

        asm volatile("mov %%cs, %0" : "=r"(v));
        return v;
}

static inline ulong read_rflags(void)
{
        ulong v;

        asm volatile("pushf; pop %0" : "=r"(v) : : "memory");
        return v;
}

static inline void write_rflags(ulong v)
{
        asm volatile("push %0; popf" : : "r"(v) : "memory", "cc");
}

static inline ulong read_rsp(void)
{
        ulong v;

#ifdef __x86_64__
        asm volatile("mov %%rsp, %0" : "=r"(v));
#else
        asm volatile("mov %%esp, %0" : "=r"(v));
#endif
        return v;
}

static inline u64 rdmsr(u32 msr)
{
        u32 lo, hi;

        asm volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr) : "memory");
        return (u64)hi << 32 | lo;
}

static inline void wrmsr(u32 msr, u64 v)
{
        asm volatile("wrmsr" : : "c"(msr), "a"((u32)v), "d"((u32)(v >> 32))
                     : "memory");
}

static inline u64 rdtsc(void)
{
        u32 lo, hi;

        asm volatile("rdtsc" : "=a"(lo), "=d"(hi) : : "memory");
        return (u64)hi << 32 | lo;
}

static inline u8 inb(u16 port)
{
        u8 v;

        asm volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
        return v;
}

static inline u16 inw(u16 port)
{
        u16 v;

        asm volatile("inw %1, %0" : "=a"(v) : "Nd"(port));
        return v;
}

static inline u32 inl(u16 port)
{
        u32 v;

        asm volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
        return v;
}

static inline void outb(u16 port, u8 v)
{
        asm volatile("outb %0, %1" : : "a"(v), "Nd"(port));
}

static inline void outw(u16 port, u16 v)
{
        asm volatile("outw %0, %1" : : "a"(v), "Nd"(port));
}

static inline void outl(u16 port, u32 v)
{
        asm volatile("outl %0, %1" : : "a"(v), "Nd"(port));
}

/* Writes @n bytes to @port by one instruction. */
static inline void outs(u16 port, const void *p, size_t n)
{
        asm volatile("rep outsb" : "+S"(p), "+c"(n) : "d"(port) : "memory");
}

/* The operand of LGDT, LIDT, SGDT, SIDT. */
struct desc_ptr {
        u16 limit;
        ulong base;
} __attribute__((packed));

static inline struct desc_ptr sgdt(void)
{
        struct desc_ptr p = { 0 };

        asm volatile("sgdt %0" : "=m"(p));
        return p;
}

static inline struct desc_ptr sidt(void)
{
        struct desc_ptr p = { 0 };

        asm volatile("sidt %0" : "=m"(p));
        return p;
}

static inline void lgdt(struct desc_ptr p)
{
        asm volatile("lgdt %0" : : "m"(p) : "memory");
}

static inline void lidt(struct desc_ptr p)
{
        asm volatile("lidt %0" : : "m"(p) : "memory");
}

static inline u16 sldt(void)
{
        u16 v;

        asm volatile("sldt %0" : "=m"(v));
        return v;
}

static inline void lldt(u16 v)
{
        asm volatile("lldt %0" : : "rm"(v) : "memory");
}

static inline u16 str(void)
{
        u16 v;

        asm volatile("str %0" : "=m"(v));
        return v;
}

static inline void ltr(u16 v)
{
        asm volatile("ltr %0" : : "rm"(v) : "memory");
}

static inline void invlpg(const volatile void *p)
{
        asm volatile("invlpg (%0)" : : "r"(p) : "memory");
}

static inline void pause(void)
{
        asm volatile("pause" : : : "memory");
}

static inline void cli(void)
{
        asm volatile("cli" : : : "memory");
}

static inline void sti(void)
{
        asm volatile("sti" : : : "memory");
}

static inline void hlt(void)
{
        asm volatile("hlt" : : : "memory");
}

/* One instruction boundary with interrupts open: what is pending is taken. */
static inline void sti_nop_cli(void)
{
        asm volatile("sti; nop; cli" : : : "memory");
}

static inline void barrier(void)
{
        asm volatile("" : : : "memory");
}

/* Accesses that may fault: the result says what happened. */
struct trap rdmsr_safe(u32 msr, u64 *value) __attribute__((warn_unused_result));
struct trap wrmsr_safe(u32 msr, u64 value) __attribute__((warn_unused_result));
struct trap write_cr0_safe(ulong v) __attribute__((warn_unused_result));
struct trap write_cr3_safe(ulong v) __attribute__((warn_unused_result));
struct trap write_cr4_safe(ulong v) __attribute__((warn_unused_result));
struct trap write_dr7_safe(ulong v) __attribute__((warn_unused_result));
struct trap xsetbv_safe(u32 reg, u64 v) __attribute__((warn_unused_result));
struct trap load_u8_safe(const volatile void *p) __attribute__((warn_unused_result));
struct trap store_u8_safe(volatile void *p, u8 v) __attribute__((warn_unused_result));

#endif
#endif
