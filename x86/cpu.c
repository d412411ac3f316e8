#include "cpu.h"
#include "trap.h"

bool cpuid_bit(u32 leaf, u32 sub, char reg, unsigned bit)
{
        struct cpuid r = cpuid(leaf & 0x80000000, 0);

        if (leaf > r.a)
                return false;
        r = cpuid(leaf, sub);
        switch (reg) {
        case 'a':
                return r.a >> bit & 1;
        case 'b':
                return r.b >> bit & 1;
        case 'c':
                return r.c >> bit & 1;
        default:
                return r.d >> bit & 1;
        }
}

/* Runs one instruction; its exception, if any, is the function's result. */
#define TRY(instruction, ...)                                           \
        do {                                                            \
                trap_clear();                                           \
                asm volatile("1: " instruction "\n2:\n"                 \
                             EXTABLE("1b", "2b") __VA_ARGS__);          \
        } while (0)

struct trap rdmsr_safe(u32 msr, u64 *value)
{
        u32 lo = 0, hi = 0;

        TRY("rdmsr", : "+a"(lo), "+d"(hi) : "c"(msr) : "memory");
        if (!trap_last()->raised)
                *value = (u64)hi << 32 | lo;
        return *trap_last();
}

struct trap wrmsr_safe(u32 msr, u64 value)
{
        TRY("wrmsr", : : "c"(msr), "a"((u32)value), "d"((u32)(value >> 32))
            : "memory");
        return *trap_last();
}

struct trap write_cr0_safe(ulong v)
{
        TRY("mov %0, %%cr0", : : "r"(v) : "memory");
        return *trap_last();
}

struct trap write_cr3_safe(ulong v)
{
        TRY("mov %0, %%cr3", : : "r"(v) : "memory");
        return *trap_last();
}

struct trap write_cr4_safe(ulong v)
{
        TRY("mov %0, %%cr4", : : "r"(v) : "memory");
        return *trap_last();
}

struct trap write_dr7_safe(ulong v)
{
        TRY("mov %0, %%dr7", : : "r"(v) : "memory");
        return *trap_last();
}

struct trap xsetbv_safe(u32 reg, u64 v)
{
        TRY("xsetbv", : : "c"(reg), "a"((u32)v), "d"((u32)(v >> 32)) : "memory");
        return *trap_last();
}

struct trap load_u8_safe(const volatile void *p)
{
        u8 v;

        TRY("movb (%1), %0", : "=q"(v) : "r"(p) : "memory");
        return *trap_last();
}

struct trap store_u8_safe(volatile void *p, u8 v)
{
        TRY("movb %1, (%0)", : : "r"(p), "q"(v) : "memory");
        return *trap_last();
}
