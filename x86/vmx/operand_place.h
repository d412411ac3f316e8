/* One run of an operand's table: what the places (operand.h) fill. */
#ifndef X86_VMX_OPERAND_PLACE_H
#define X86_VMX_OPERAND_PLACE_H

#include "lib/string.h"
#include "x86/desc.h"
#include "x86/memory.h"
#include "x86/msr.h"
#include "x86/paging.h"
#include "x86/vmx/operand.h"

struct operand {
        enum insn_id insn;
        unsigned size;     /* bytes of the operand */
        u8 content[16];    /* before */
        u8 *page;          /* two pages, zero but for the operand */
        u8 *flat;          /* the operand, where the kernel sees it */
        ulong ax;
        u64 cr2;           /* if it is a page fault */
        struct code code;
};

#define PRESENT (PTE_P | PTE_W | PTE_A | PTE_D)

/* The operand @offset bytes into its two pages. */
static inline void put(struct operand *o, unsigned offset)
{
        o->flat = o->page + offset;
        memcpy(o->flat, o->content, o->size);
        o->ax = (ulong)o->flat;
        o->cr2 = phys(o->flat);
}

/* As the last bytes of the first page, or one byte further. */
static inline void put_at_end(struct operand *o, bool further)
{
        put(o, PAGE_SIZE - o->size + further);
}

/* Sets VMX_FLAGS, for what stands behind. */
void operand_flags(struct operand *o);

/* The instruction behind @prefix (0: none). */
void operand_insn(struct operand *o, u8 prefix);

/* The same with another memory operand: ModR/M without its reg field. */
void operand_insn_modrm(struct operand *o, u8 modrm, const void *more, unsigned size);

/* The same with (E)BP or RBP as the base: what is in AX. */
void operand_insn_bp(struct operand *o);

/* MOV of @value to DX. */
void operand_dx(struct operand *o, u16 value);

#endif
