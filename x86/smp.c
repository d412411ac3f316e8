#include "smp.h"
#include "../lib/select.h"
#include "../lib/string.h"
#include "apic.h"
#include "boot/boot.h"
#include "cmdline.h"
#include "trap.h"

/* Rounds of PAUSE: between the messages that start a processor; until nobody
 * more is expected; and for one that is known to be there. */
#define GAP_SPINS 1000
#define ANSWER_SPINS 100000
#define START_SPINS 50000000

extern u32 ap_blocks;
extern u8 bsp_block[];
u32 ap_next;                     /* the index of who comes next; see entry.S */
static volatile u32 answered;    /* how many have come */
static unsigned online;          /* what cpus_online() says; 0: not asked yet */

_Noreturn void ap_main(u32 index);

struct cpu *cpu_get(unsigned index)
{
        if (!index)
                return (struct cpu *)bsp_block;
        return (struct cpu *)(ulong)(ap_blocks + (index - 1) * CPU_BLOCK);
}

/* The life of every other processor. */
_Noreturn void ap_main(u32 index)
{
        struct cpu *cpu = this_cpu();

        desc_init_cpu(cpu);
        cpu->index = index;
        cpu->apic_id = apic_id();
        cpu->online = 1;
        __atomic_add_fetch(&answered, 1, __ATOMIC_SEQ_CST);
        for (;;) {
                cli();
                if (__atomic_load_n(&cpu->busy, __ATOMIC_ACQUIRE)) {
                        write_cr3(read_cr3());
                        cpu->fn(cpu->arg);
                        cli();
                        __atomic_store_n(&cpu->busy, 0, __ATOMIC_RELEASE);
                } else {
                        /* STI takes effect after HLT has begun. */
                        asm volatile("sti; hlt" : : : "memory");
                }
        }
}

static void spin(u32 rounds)
{
        while (rounds--)
                pause();
}

static void send_start(u32 dest, u32 shorthand)
{
        extern const u8 ap_code[], ap_code_end[];

        memcpy((void *)AP_PAGE, ap_code, (size_t)(ap_code_end - ap_code));
        apic_icr(dest, shorthand | ICR_INIT | ICR_ASSERT);
        spin(GAP_SPINS);
        for (int i = 0; i < 2; i++) {
                apic_icr(dest, shorthand | ICR_SIPI | ICR_ASSERT | AP_PAGE >> 12);
                spin(GAP_SPINS);
        }
}

unsigned cpus_online(void)
{
        u32 expected = parameter_number(parameter(cmdline(), "cpus"), 0);
        u32 seen = 0;

        if (online)
                return online;
        online = 1;
        if (expected == 1 || !apic_present())
                return online;
        if (expected > CPU_MAX)
                expected = CPU_MAX;
        ap_next = 1;
        send_start(0, ICR_OTHERS);
        for (u32 i = 0; i < (expected ? START_SPINS : ANSWER_SPINS); i++) {
                if (expected && answered >= expected - 1)
                        break;
                if (answered != seen) {
                        seen = answered;
                        i = 0;
                }
                pause();
        }
        online = 1 + answered;
        return online;
}

bool cpu_run(unsigned index, void (*fn)(void *), void *arg)
{
        struct cpu *cpu = cpu_get(index);

        if (!index || index >= cpus_online() ||
            __atomic_load_n(&cpu->busy, __ATOMIC_ACQUIRE))
                return false;
        cpu->fn = fn;
        cpu->arg = arg;
        __atomic_store_n(&cpu->busy, 1, __ATOMIC_SEQ_CST);
        apic_icr(cpu->apic_id, ICR_FIXED | ICR_ASSERT | VEC_WAKE);
        return true;
}

bool cpu_wait(unsigned index, u32 spins)
{
        struct cpu *cpu = cpu_get(index);

        while (__atomic_load_n(&cpu->busy, __ATOMIC_ACQUIRE)) {
                if (!spins--)
                        return false;
                pause();
        }
        return true;
}

bool cpu_restart(unsigned index)
{
        struct cpu *cpu = cpu_get(index);

        if (!index || index >= cpus_online())
                return false;
        ap_next = index;
        cpu->online = 0;
        send_start(cpu->apic_id, 0);
        for (u32 i = 0; i < CPU_SPINS; i++) {
                if (__atomic_load_n(&cpu->online, __ATOMIC_ACQUIRE))
                        return true;
                pause();
        }
        return false;
}
