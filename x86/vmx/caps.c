#include "x86/vmx/caps.h"
#include "x86/cpu.h"
#include "x86/msr.h"

/* Of the MSRs before 480H + 32; enough for `present` and `missing`. */
#define FIRST_MSR MSR_IA32_VMX_BASIC

/* How Total Memory Encryption takes physical-address bits away. */
#define MSR_IA32_TME_ACTIVATE 0x982

static struct vmx_caps caps;

static u64 read_capability(u32 msr, bool exists)
{
        u64 value = 0;

        if (!exists)
                return 0;
        if (rdmsr_safe(msr, &value).raised) {
                caps.missing |= 1u << (msr - FIRST_MSR);
                return 0;
        }
        caps.present |= 1u << (msr - FIRST_MSR);
        return value;
}

/* Bits 31:0 are those that must be 1, bits 63:32 those that may be 1. */
static struct control_limits two_halves(u64 value)
{
        return (struct control_limits){ (u32)value, value >> 32 };
}

static void read_all(void)
{
        struct control_limits *plain = caps.plain_limits, *limits = caps.limits;

        /* Locals of the members' names, because `exists` uses these. */
#define MSR(number, name, member, exists)                               \
        const u64 member = read_capability(number, (exists) != 0);      \
        caps.member = member;
#include "x86/vmx/caps.def"

        plain[WORD_PIN] = two_halves(pinbased);
        plain[WORD_PRIMARY] = two_halves(procbased);
        plain[WORD_SECONDARY] = two_halves(procbased2);
        plain[WORD_EXIT] = two_halves(exit);
        plain[WORD_ENTRY] = two_halves(entry);
        /* 64 bits of what may be 1; nothing must be. */
        plain[WORD_TERTIARY].may = procbased3;
        plain[WORD_SECONDARY_EXIT].may = exit2;

        for (unsigned word = 0; word < CONTROL_WORDS; word++)
                limits[word] = plain[word];
        if (caps.present & 1u << (MSR_IA32_VMX_TRUE_PINBASED_CTLS - FIRST_MSR))
                limits[WORD_PIN] = two_halves(true_pinbased);
        if (caps.present & 1u << (MSR_IA32_VMX_TRUE_PROCBASED_CTLS - FIRST_MSR))
                limits[WORD_PRIMARY] = two_halves(true_procbased);
        if (caps.present & 1u << (MSR_IA32_VMX_TRUE_EXIT_CTLS - FIRST_MSR))
                limits[WORD_EXIT] = two_halves(true_exit);
        if (caps.present & 1u << (MSR_IA32_VMX_TRUE_ENTRY_CTLS - FIRST_MSR))
                limits[WORD_ENTRY] = two_halves(true_entry);
}

const struct vmx_caps *vmx_caps(void)
{
        static bool ready;

        if (!ready) {
                caps.vmx = cpuid_bit(1, 0, 'c', 5);
                if (caps.vmx)
                        read_all();
                ready = true;
        }
        return &caps;
}

bool control_can_be_1(enum control_word word, u64 mask)
{
        return (vmx_caps()->limits[word].may & mask) == mask;
}

bool control_can_be_0(enum control_word word, u64 mask)
{
        return !(vmx_caps()->limits[word].must & mask);
}

u64 control_settings(enum control_word word, u64 want)
{
        const struct control_limits *l = &vmx_caps()->limits[word];

        return (want | l->must) & l->may;
}

/* The leaf's EAX, 0 where it does not exist. */
static u32 address_sizes(void)
{
        static u32 sizes;
        static bool ready;

        if (!ready) {
                if (cpuid(0x80000000, 0).a >= 0x80000008)
                        sizes = cpuid(0x80000008, 0).a;
                ready = true;
        }
        return sizes;
}

unsigned guest_address_width(void)
{
        unsigned width = address_sizes() & 0xff;

        if (!width)
                width = cpuid_bit(1, 0, 'd', 6) ? 36 : 32;
        return width;
}

unsigned tme_key_bits(void)
{
        u64 tme;

        if (!cpuid_bit(7, 0, 'c', 13) ||
            rdmsr_safe(MSR_IA32_TME_ACTIVATE, &tme).raised || !(tme & BIT(0)))
                return 0;
        return (unsigned)(tme >> 36 & 15);
}

unsigned physical_address_width(void)
{
        static unsigned width;

        if (!width)
                width = guest_address_width() - tme_key_bits();
        return width;
}

unsigned linear_address_width(void)
{
        unsigned width = address_sizes() >> 8 & 0xff;

        return width ? width : 32;
}

void vmx_caps_each(void (*fn)(const char *name, u64 value))
{
        const struct vmx_caps *c = vmx_caps();

#define MSR(number, name, member, exists)                       \
        if (c->present & 1u << ((number) - FIRST_MSR))           \
                fn("IA32_VMX_" #name, c->member);
#include "x86/vmx/caps.def"
}
