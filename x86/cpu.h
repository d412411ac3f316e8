/*
 * The processor: registers, their bits beside their accessors, and the forms
 * of accesses that may fault.
 */
#ifndef X86_CPU_H
#define X86_CPU_H

#ifdef __ASSEMBLER__
#define BIT32(n) (1 << (n))
#else
#include "../lib/types.h"
#define BIT32(n) (1u << (n))
#endif

#define CR0_PE BIT32(0)
#define CR0_MP BIT32(1)
#define CR0_EM BIT32(2)
#define CR0_TS BIT32(3)
#define CR0_ET BIT32(4)
#define CR0_NE BIT32(5)
#define CR0_WP BIT32(16)
#define CR0_AM BIT32(18)
#define CR0_NW BIT32(29)
#define CR0_CD BIT32(30)
#define CR0_PG BIT32(31)

#define CR3_PWT BIT32(3)
#define CR3_PCD BIT32(4)

#define CR4_VME BIT32(0)
#define CR4_PVI BIT32(1)
#define CR4_TSD BIT32(2)
#define CR4_DE BIT32(3)
#define CR4_PSE BIT32(4)
#define CR4_PAE BIT32(5)
#define CR4_MCE BIT32(6)
#define CR4_PGE BIT32(7)
#define CR4_PCE BIT32(8)
#define CR4_OSFXSR BIT32(9)
#define CR4_OSXMMEXCPT BIT32(10)
#define CR4_UMIP BIT32(11)
#define CR4_LA57 BIT32(12)
#define CR4_VMXE BIT32(13)
#define CR4_SMXE BIT32(14)
#define CR4_FSGSBASE BIT32(16)
#define CR4_PCIDE BIT32(17)
#define CR4_OSXSAVE BIT32(18)
#define CR4_KL BIT32(19)
#define CR4_SMEP BIT32(20)
#define CR4_SMAP BIT32(21)
#define CR4_PKE BIT32(22)
#define CR4_CET BIT32(23)
#define CR4_PKS BIT32(24)

#define RFLAGS_CF BIT32(0)
#define RFLAGS_FIXED BIT32(1)  /* always 1 */
#define RFLAGS_PF BIT32(2)
#define RFLAGS_AF BIT32(4)
#define RFLAGS_ZF BIT32(6)
#define RFLAGS_SF BIT32(7)
#define RFLAGS_TF BIT32(8)
#define RFLAGS_IF BIT32(9)
#define RFLAGS_DF BIT32(10)
#define RFLAGS_OF BIT32(11)
#define RFLAGS_IOPL (BIT32(12) | BIT32(13))
#define RFLAGS_NT BIT32(14)
#define RFLAGS_RF BIT32(16)
#define RFLAGS_VM BIT32(17)
#define RFLAGS_AC BIT32(18)
#define RFLAGS_VIF BIT32(19)
#define RFLAGS_VIP BIT32(20)
#define RFLAGS_ID BIT32(21)
/* The flags that an arithmetic instruction defines. */
#define RFLAGS_ARITH (RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | \
                      RFLAGS_SF | RFLAGS_OF)

#define DR6_B0 BIT32(0)
#define DR6_B1 BIT32(1)
#define DR6_B2 BIT32(2)
#define DR6_B3 BIT32(3)
#define DR6_BLD BIT32(11)      /* 0: bus lock (inverted, as RTM) */
#define DR6_BD BIT32(13)
#define DR6_BS BIT32(14)
#define DR6_BT BIT32(15)
#define DR6_RTM BIT32(16)      /* 0: in an RTM region */
#define DR6_INIT 0xffff0ff0u    /* after reset */
#define DR7_L(n) (1u << ((n) * 2))
#define DR7_G(n) (2u << ((n) * 2))
#define DR7_LE BIT32(8)
#define DR7_GE BIT32(9)
#define DR7_FIXED BIT32(10)
#define DR7_RTM BIT32(11)
#define DR7_GD BIT32(13)
#define DR7_RW(n, v) ((u32)(v) << (16 + (n) * 4))
#define DR7_LEN(n, v) ((u32)(v) << (18 + (n) * 4))
#define DR7_INIT 0x400u         /* after reset */

/* Vectors. */
#define VEC_DE 0
#define VEC_DB 1
#define VEC_NMI 2
#define VEC_BP 3
#define VEC_OF 4
#define VEC_BR 5
#define VEC_UD 6
#define VEC_NM 7
#define VEC_DF 8
#define VEC_TS 10
#define VEC_NP 11
#define VEC_SS 12
#define VEC_GP 13
#define VEC_PF 14
#define VEC_MF 16
#define VEC_AC 17
#define VEC_MC 18
#define VEC_XM 19
#define VEC_VE 20
#define VEC_CP 21

#ifndef __ASSEMBLER__
/* Page-fault error code. */
#define PF_P (1u << 0)
#define PF_W (1u << 1)
#define PF_U (1u << 2)
#define PF_RSVD (1u << 3)
#define PF_I (1u << 4)
#define PF_PK (1u << 5)
#define PF_SS (1u << 6)

/* Selector error codes. */
#define ERR_EXT (1u << 0)
#define ERR_IDT (1u << 1)
#define ERR_TI (1u << 2)

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
