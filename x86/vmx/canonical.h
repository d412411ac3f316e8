/*
 * Values for a field that must hold a canonical address. All but the last two
 * are canonical, or not, for 48 and for 57 bits alike; those two are not for
 * the width that the processor has, and so for no smaller one.
 */
#ifndef X86_VMX_CANONICAL_H
#define X86_VMX_CANONICAL_H

#include "lib/registry.h"
#include "x86/vmx/caps.h"

struct canonical_row {
        struct row head;
        u64 value;          /* CANONICAL_WIDTH...: only run time knows it */
        bool legal;
};

#define CANONICAL_WIDTH 1       /* bits 63:N are 0, N - 1 is 1 */
#define CANONICAL_WIDTH_HIGH 2  /* bits 63:N are 1, N - 1 is 0 */

#define CANONICAL_ROW(id_, value_, legal_) \
        { .head = { .id = id_ }, .value = value_, .legal = legal_ }
#define CANONICAL_ROWS                                                \
        CANONICAL_ROW("0", 0, true),                                  \
        CANONICAL_ROW("00007ffffffff000", 0x7ffffffff000, true),      \
        CANONICAL_ROW("ffff800000000000", 0xffff800000000000, true),  \
        CANONICAL_ROW("fffffffffffff000", 0xfffffffffffff000, true),  \
        CANONICAL_ROW("8000000000000000", 0x8000000000000000, false), \
        CANONICAL_ROW("7ffffffffffff000", 0x7ffffffffffff000, false), \
        CANONICAL_ROW("7f00000000000000", 0x7f00000000000000, false), \
        CANONICAL_ROW("width", CANONICAL_WIDTH, false),               \
        CANONICAL_ROW("width-high", CANONICAL_WIDTH_HIGH, false)

static inline u64 canonical_value(const struct canonical_row *row)
{
        unsigned width = linear_address_width();

        if (row->value == CANONICAL_WIDTH)
                return BIT(width - 1);
        if (row->value == CANONICAL_WIDTH_HIGH)
                return ~BITS(width - 1, 0);
        return row->value;
}

#endif
