#ifndef __x86_64__
#include "real.h"
#include "../lib/string.h"
#include "memory.h"

/* One block below 1 MiB, one segment; real.S has the same offsets. */
#define BLOCK_PAGES 3
#define STUB 0x1000u      /* the code of real.S */
#define VECTORS 0x2000u   /* the interrupt vector table */
#define HANDLERS 0x2400u  /* 256 times CALL, the return address tells which */
#define HANDLER_SIZE 3

/* In real.S; what it leaves in the block, at STUB. */
void real_run(u32 block, u32 selectors);
extern const u8 real_stub[], real_stub_end[], real_arrival[];

struct found {
        u16 handler, ip, cs, flags;
};

static void fill(u8 *block)
{
        u16 *vectors = (u16 *)(block + VECTORS);
        u32 arrival = STUB + (u32)(real_arrival - real_stub);

        memcpy(block + STUB, real_stub, (size_t)(real_stub_end - real_stub));
        for (unsigned v = 0; v < 256; v++) {
                u8 *handler = block + HANDLERS + v * HANDLER_SIZE;
                u16 at = (u16)(HANDLERS + v * HANDLER_SIZE);
                u16 distance = (u16)(arrival - at - HANDLER_SIZE);

                handler[0] = 0xe8;
                memcpy(handler + 1, &distance, 2);
                vectors[2 * v] = at;
                vectors[2 * v + 1] = (u16)((ulong)block >> 4);
        }
}

bool trap_in_real(const void *code, struct trap *t)
{
        static u8 *block;
        const u64 attributes = DESC_S | DESC_P;
        struct cpu *cpu = this_cpu();
        struct found found;

        if (!block) {
                block = low_page_keep(BLOCK_PAGES);
                fill(block);
        }
        memcpy(block, code, TRAP_CODE_SIZE);
        cpu->gdt[SEL_SPARE / 8] = desc_make((u32)block, 0xffff,
                                            attributes | DESC_TYPE(11));
        cpu->gdt[SEL_SPARE / 8 + 1] = desc_make((u32)block, 0xffff,
                                                attributes | DESC_TYPE(3));
        real_run((u32)block, SEL_SPARE);
        memcpy(&found, block + STUB, sizeof(found));
        memset(t, 0, sizeof(*t));
        t->vector = (u8)((found.handler - HANDLERS) / HANDLER_SIZE - 1);
        t->rip = found.ip;
        t->cs = found.cs;
        t->rflags = found.flags;
        t->raised = t->vector != TRAP_END;
        cpu->trap = *t;
        return t->raised;
}
#endif
