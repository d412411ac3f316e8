/* The local APIC, in xAPIC and x2APIC mode by one interface. */
#ifndef X86_APIC_H
#define X86_APIC_H

#include "../lib/types.h"

#define APIC_DEFAULT_BASE 0xfee00000u

/* Registers: offsets in the page; the x2APIC MSR is 800H + offset / 16. */
#define APIC_ID 0x020
#define APIC_VERSION 0x030
#define APIC_TPR 0x080
#define APIC_APR 0x090
#define APIC_PPR 0x0a0
#define APIC_EOI 0x0b0
#define APIC_RRD 0x0c0
#define APIC_LDR 0x0d0
#define APIC_DFR 0x0e0
#define APIC_SVR 0x0f0
#define APIC_ISR 0x100   /* + 10H * (vector / 32) */
#define APIC_TMR 0x180
#define APIC_IRR 0x200
#define APIC_ESR 0x280
#define APIC_LVT_CMCI 0x2f0
#define APIC_ICR 0x300   /* x2APIC: all 64 bits */
#define APIC_ICR_HIGH 0x310
#define APIC_LVT_TIMER 0x320
#define APIC_LVT_THERMAL 0x330
#define APIC_LVT_PERF 0x340
#define APIC_LVT_LINT0 0x350
#define APIC_LVT_LINT1 0x360
#define APIC_LVT_ERROR 0x370
#define APIC_TIMER_INITIAL 0x380
#define APIC_TIMER_CURRENT 0x390
#define APIC_TIMER_DIVIDE 0x3e0
#define APIC_SELF_IPI 0x3f0  /* x2APIC only */

#define APIC_SVR_ENABLE (1u << 8)
#define APIC_VEC_SPURIOUS 0xff
#define APIC_LVT_MASKED (1u << 16)
#define APIC_TIMER_PERIODIC (1u << 17)
#define APIC_TIMER_DEADLINE (2u << 17)
#define APIC_DIVIDE_1 0xb

/* The low half of the ICR. */
#define ICR_FIXED (0u << 8)
#define ICR_NMI (4u << 8)
#define ICR_INIT (5u << 8)
#define ICR_SIPI (6u << 8)
#define ICR_LOGICAL (1u << 11)
#define ICR_PENDING (1u << 12)
#define ICR_ASSERT (1u << 14)
#define ICR_LEVEL (1u << 15)
#define ICR_SELF (1u << 18)
#define ICR_ALL (2u << 18)
#define ICR_OTHERS (3u << 18)

bool apic_present(void);
/* Software-enables this processor's APIC once (spurious vector FFH, all LVT
 * entries masked, TPR 0). Every function below does it first. */
void apic_enable(void);
/* Looks again at IA32_APIC_BASE: needed after something else changed it. */
void apic_refresh(void);
u64 apic_base(void);         /* address of the registers' page */

u32 apic_read(u32 reg);
void apic_write(u32 reg, u32 value);
u32 apic_id(void);           /* all 32 bits in x2APIC mode */
void apic_eoi(void);
/* Sends: @dest is an APIC id (or a logical destination), @low the low half of
 * the ICR. Waits until it is sent. */
void apic_icr(u32 dest, u32 low);
void apic_self_ipi(u8 vector);
/* True if @vector is set in the 256-bit register @reg (ISR, TMR or IRR). */
bool apic_vector_bit(u32 reg, u8 vector);
/* One timer interrupt after @count timer clocks (divider 1). */
void apic_timer(u8 vector, u32 count);
void apic_timer_stop(void);

bool apic_x2apic_supported(void);
/* Switches the mode; false if it cannot: leaving x2APIC mode means disabling
 * the APIC first, and not every machine lets it be enabled again. */
bool apic_set_mode(bool x2apic) __attribute__((warn_unused_result));

#endif
