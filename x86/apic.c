#include "apic.h"
#include "cpu.h"
#include "msr.h"
#include "smp.h"

/* An IPI that is pending for so many reads will not be sent. */
#define ICR_PATIENCE 1000000

bool apic_present(void)
{
        return cpuid_bit(1, 0, 'd', 9);
}

bool apic_x2apic_supported(void)
{
        return cpuid_bit(1, 0, 'c', 21);
}

void apic_refresh(void)
{
        u64 base = rdmsr(MSR_IA32_APIC_BASE);

        this_cpu()->x2apic = base & APIC_BASE_EXTD;
        this_cpu()->apic_base = (ulong)(base & BITS(51, 12));
}

void apic_enable(void)
{
        static const u16 lvt[] = { APIC_LVT_TIMER, APIC_LVT_LINT0,
                                   APIC_LVT_LINT1, APIC_LVT_ERROR };
        struct cpu *cpu = this_cpu();

        if (cpu->apic_on)
                return;
        cpu->apic_on = true;
        apic_refresh();
        apic_write(APIC_SVR, APIC_SVR_ENABLE | APIC_VEC_SPURIOUS);
        for (unsigned i = 0; i < ARRAY_LEN(lvt); i++)
                apic_write(lvt[i], APIC_LVT_MASKED);
        apic_write(APIC_TPR, 0);
}

u64 apic_base(void)
{
        apic_enable();
        return this_cpu()->apic_base;
}

u32 apic_read(u32 reg)
{
        apic_enable();
        if (this_cpu()->x2apic)
                return (u32)rdmsr(MSR_X2APIC(reg));
        return *(volatile u32 *)(this_cpu()->apic_base + reg);
}

void apic_write(u32 reg, u32 value)
{
        apic_enable();
        if (this_cpu()->x2apic)
                wrmsr(MSR_X2APIC(reg), value);
        else
                *(volatile u32 *)(this_cpu()->apic_base + reg) = value;
}

u32 apic_id(void)
{
        u32 id = apic_read(APIC_ID);

        return this_cpu()->x2apic ? id : id >> 24;
}

void apic_eoi(void)
{
        apic_write(APIC_EOI, 0);
}

void apic_icr(u32 dest, u32 low)
{
        apic_enable();
        if (this_cpu()->x2apic) {
                wrmsr(MSR_X2APIC(APIC_ICR), (u64)dest << 32 | low);
                return;
        }
        apic_write(APIC_ICR_HIGH, dest << 24);
        apic_write(APIC_ICR, low);
        for (unsigned i = 0; i < ICR_PATIENCE; i++)
                if (!(apic_read(APIC_ICR) & ICR_PENDING))
                        return;
}

void apic_self_ipi(u8 vector)
{
        apic_icr(0, ICR_SELF | ICR_ASSERT | ICR_FIXED | vector);
}

bool apic_vector_bit(u32 reg, u8 vector)
{
        return apic_read(reg + vector / 32 * 16) >> (vector % 32) & 1;
}

void apic_timer(u8 vector, u32 count)
{
        apic_write(APIC_TIMER_DIVIDE, APIC_DIVIDE_1);
        apic_write(APIC_LVT_TIMER, vector);
        apic_write(APIC_TIMER_INITIAL, count);
}

void apic_timer_stop(void)
{
        apic_write(APIC_TIMER_INITIAL, 0);
        apic_write(APIC_LVT_TIMER, APIC_LVT_MASKED);
}

/*
 * SDM Vol. 3, Extended xAPIC (x2APIC) > x2APIC State Transitions: xAPIC to
 * x2APIC directly, back only by way of the disabled state.
 */
bool apic_set_mode(bool x2apic)
{
        struct cpu *cpu = this_cpu();
        u64 base;
        struct trap t;

        if (x2apic && !apic_x2apic_supported())
                return false;
        apic_enable();
        apic_refresh();
        if (cpu->x2apic == x2apic)
                return true;
        base = rdmsr(MSR_IA32_APIC_BASE) & ~(u64)APIC_BASE_EXTD;
        if (x2apic) {
                t = wrmsr_safe(MSR_IA32_APIC_BASE, base | APIC_BASE_EXTD);
                apic_refresh();
                return !t.raised && cpu->x2apic;
        }
        t = wrmsr_safe(MSR_IA32_APIC_BASE, base & ~(u64)APIC_BASE_EN);
        if (!t.raised)
                t = wrmsr_safe(MSR_IA32_APIC_BASE, base);
        if (t.raised || !(rdmsr(MSR_IA32_APIC_BASE) & APIC_BASE_EN))
                return false;
        cpu->apic_on = false;  /* what was set up is lost */
        apic_enable();
        return true;
}
