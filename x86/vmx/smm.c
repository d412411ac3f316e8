#include "x86/vmx/smm.h"
#include "lib/string.h"
#include "x86/apic.h"
#include "x86/cpu.h"

/* SMBASE after reset, and what is there; smm_handler.S has some of these too. */
#define SMBASE 0x30000u
#define TABLE (SMBASE + 0x7000)
#define HANDLER (SMBASE + 0x8000)
#define REPORT (SMBASE + 0x9000)
#define STUBS (SMBASE + 0x7100)
#define STUB_SIZE 5
#define VECTORS 32

/* Rounds of PAUSE: an SMI to oneself comes at once. */
#define SPINS 100000

extern const u8 smm_handler[], smm_handler_end[], smm_caught[];

static volatile struct smm_report *report(void)
{
        return (volatile struct smm_report *)(ulong)REPORT;
}

volatile struct smm_report *smm_install(void)
{
        u16 *table = (u16 *)(ulong)TABLE;
        u16 caught = (u16)(HANDLER - SMBASE + (u32)(smm_caught - smm_handler));

        memcpy((void *)(ulong)HANDLER, smm_handler, (size_t)(smm_handler_end - smm_handler));
        for (unsigned v = 0; v < VECTORS; v++) {
                u16 at = (u16)(STUBS - SMBASE + v * STUB_SIZE);
                u16 distance = (u16)(caught - (at + STUB_SIZE));
                u8 stub[STUB_SIZE] = { 0xb2, (u8)v, 0xe9, (u8)distance,
                                       (u8)(distance >> 8) };

                memcpy((void *)(ulong)(SMBASE + at), stub, sizeof(stub));  /* MOV DL; JMP */
                table[2 * v] = at;
                table[2 * v + 1] = SMBASE >> 4;
        }
        memset((void *)(ulong)REPORT, 0, sizeof(struct smm_report));
        return report();
}

bool smm_send(void)
{
        u32 before = report()->count;

        apic_icr(apic_id(), SMM_ICR);
        for (u32 i = 0; i < SPINS && report()->count == before; i++)
                pause();
        return report()->count != before;
}
