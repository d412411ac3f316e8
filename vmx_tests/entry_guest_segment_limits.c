/*
 * SDM Vol. 3, VM Entries > Checks on the Guest State Area > Checks on Guest
 * Segment Registers: the limit and its granularity (G). Virtual-8086 guests
 * have a file of their own.
 */
#include "lib/check.h"
#include "x86/cpu.h"
#include "x86/memory.h"
#include "x86/vmx/probe.h"
#include "x86/vmx/segment.h"

#define SDM "VM Entries > Checks on Guest Segment Registers"

struct limit_row {
        struct row head;
        u32 limit;
        bool g, legal;
};

#define LIMIT(limit_, g_, legal_)                              \
        { .head = { .id = #limit_ ".g" #g_ }, .limit = 0x##limit_, \
          .g = g_, .legal = legal_ }

/* A 0 in bits 11:0 needs G = 0. */
static const struct limit_row low_rows[] = {
        LIMIT(00000000, 0, true), LIMIT(00000000, 1, false),
        LIMIT(00000067, 0, true), LIMIT(00000067, 1, false),
        LIMIT(000007ff, 0, true), LIMIT(000007ff, 1, false),
        LIMIT(00000ffe, 0, true), LIMIT(00000ffe, 1, false),
        LIMIT(00001000, 0, true), LIMIT(00001000, 1, false),
        LIMIT(000ffffe, 0, true), LIMIT(000ffffe, 1, false),
        LIMIT(00001fff, 1, true), LIMIT(ffffffff, 1, true),
        LIMIT(fffff7ff, 1, false), LIMIT(fffffffe, 1, false),
};

/* A 1 in bits 31:20 needs G = 1. */
static const struct limit_row high_rows[] = {
        LIMIT(00100fff, 1, true), LIMIT(00100fff, 0, false),
        LIMIT(001fffff, 1, true), LIMIT(001fffff, 0, false),
        LIMIT(80000fff, 1, true), LIMIT(80000fff, 0, false),
        LIMIT(7fffffff, 1, true), LIMIT(7fffffff, 0, false),
        LIMIT(ffffffff, 1, true), LIMIT(ffffffff, 0, false),
};

static const struct limit_row either_rows[] = {
        LIMIT(00000fff, 0, true), LIMIT(00000fff, 1, true),
        LIMIT(0007ffff, 0, true), LIMIT(0007ffff, 1, true),
        LIMIT(000fffff, 0, true), LIMIT(000fffff, 1, true),
};

static const struct limit_row impossible_rows[] = {
        LIMIT(00100000, 0, false), LIMIT(00100000, 1, false),
        LIMIT(00100ffe, 0, false), LIMIT(00100ffe, 1, false),
        LIMIT(fffff000, 0, false), LIMIT(fffff000, 1, false),
};

/* Makes the program begin at offset 0 of CS, where any limit but 0 and 1 does. */
static void code_at_0(struct vm *vm)
{
        if (vm->mode != GUEST_PAE)
                return;
        vmwrite(VMCS_GUEST_CS_BASE, vm->entry_rip);
        vmwrite(VMCS_GUEST_RIP, 0);
}

static void limit_check(const struct test_case *self, enum guest_mode mode,
                        enum segment seg, u32 rights, u32 limit, bool g,
                        bool legal)
{
        const struct edit *edits = EDITS(
                EDIT(SET, SEG_LIMIT(seg), limit),
                EDIT(CLEAR, SEG_RIGHTS(seg), AR_G),
                EDIT(OR, SEG_RIGHTS(seg), g ? AR_G : 0));
        struct probe p = {
                .mode = mode, .prepare = code_at_0,
                .given = EDITS(SHOW_EXCEPTIONS,
                               EDIT(CLEAR, SEG_RIGHTS(seg), AR_UNUSABLE),
                               EDIT(OR, SEG_RIGHTS(seg), rights)),
        };

        if (!legal) {
                p.reject = edits;
                p.outcome = RESULT(BAD_GUEST);
        } else {
                p.accept = edits;
                if (seg == SEG_CS && limit < 2 && mode != GUEST_LONG)
                        p.accepted = RESULT(EXITS(EXIT_EXCEPTION_NMI));
        }
        probe_check(self, &p);
}

static void limit_row_check(const struct test_case *self, unsigned row,
                            enum guest_mode mode, enum segment seg, u32 rights)
{
        const struct limit_row *r = case_row(self, row);

        limit_check(self, mode, seg, rights, r->limit, r->g, r->legal);
}

#define ROWS(reg, SEG, rights, rows, rules_, name, guest, needs_)            \
TABLE(reg##_##rows##_##name, rows,                                           \
      .id = "entry.guest.limit." #reg "." #name "." ID_##rows,               \
      .title = TITLE_##rows, .sdm = SDM, .rules = rules_, .needs = needs_)   \
{                                                                            \
        limit_row_check(self, row, guest, SEG, rights);                      \
}
#define ID_low_rows "low"
#define TITLE_low_rows "a 0 in limit bits 11:0 needs G = 0"
#define ID_high_rows "high"
#define TITLE_high_rows "a 1 in limit bits 31:20 needs G = 1"
#define ID_either_rows "either"
#define TITLE_either_rows "a limit that either G allows"
#define ID_impossible_rows "impossible"
#define TITLE_impossible_rows "a limit that no G allows"

/* Each bit alone, beside a limit that the same G allows. */
#define BITS_OF(reg, SEG, rights, low_rule, high_rule, name, guest, needs_)  \
FAMILY(reg##_low_##name, 12,                                                 \
       .id = "entry.guest.limit." #reg "." #name ".bit-0",                   \
       .title = "a bit of the limit that is 0 with G = 1", .sdm = SDM,       \
       .rules = low_rule, .needs = needs_)                                   \
{                                                                            \
        limit_check(self, guest, SEG, rights, ~(1u << row), true, false);    \
}                                                                            \
FAMILY(reg##_high_##name, 12,                                                \
       .id = "entry.guest.limit." #reg "." #name ".bit-1",                   \
       .title = "a bit of the limit, from 20 on, that is 1 with G = 0",      \
       .sdm = SDM, .rules = high_rule, .needs = needs_)                      \
{                                                                            \
        limit_check(self, guest, SEG, rights, 0xfffu | 1u << (20 + row),     \
                    false, false);                                           \
}

#define LOW "ENTG_SEG_G_LIMIT_LOW"
#define HIGH "ENTG_SEG_G_LIMIT_HIGH"
#define SEGMENT_ROWS(reg, SEG, name, guest, needs_, also)                    \
        ROWS(reg, SEG, 0, low_rows, LOW also, name, guest, needs_)           \
        ROWS(reg, SEG, 0, high_rows, HIGH also, name, guest, needs_)         \
        ROWS(reg, SEG, 0, either_rows, "ENTG_SEG_G_EITHER", name, guest,     \
             needs_)                                                         \
        ROWS(reg, SEG, 0, impossible_rows, "ENTG_SEG_G_IMPOSSIBLE_LIMIT",    \
             name, guest, needs_)
#define SEGMENT(reg, SEG, name, guest, needs_, also)                         \
        SEGMENT_ROWS(reg, SEG, name, guest, needs_, also)                    \
        BITS_OF(reg, SEG, 0, LOW also, HIGH also, name, guest, needs_)
#define SIX(WHAT, name, guest, needs_, also)                                 \
        WHAT(cs, SEG_CS, name, guest, needs_, also)                          \
        WHAT(ss, SEG_SS, name, guest, needs_, also)                          \
        WHAT(ds, SEG_DS, name, guest, needs_, also)                          \
        WHAT(es, SEG_ES, name, guest, needs_, also)                          \
        WHAT(fs, SEG_FS, name, guest, needs_, also)                          \
        WHAT(gs, SEG_GS, name, guest, needs_, also)

SIX(SEGMENT, long, GUEST_LONG, "host64", " ENTG_SEG_G_NOT_CHECKED_BY_MODE")
SIX(SEGMENT, pae, GUEST_PAE, "", "")
SIX(SEGMENT_ROWS, real, GUEST_REAL, "unrestricted-guest", "")

#define SYSTEM(reg, SEG, rights, low_rule, high_rule, name, guest, needs_)   \
        ROWS(reg, SEG, rights, low_rows, low_rule, name, guest, needs_)      \
        ROWS(reg, SEG, rights, high_rows, high_rule, name, guest, needs_)    \
        BITS_OF(reg, SEG, rights, low_rule, high_rule, name, guest, needs_)
#define SYSTEM_PAIR(name, guest, needs_)                                     \
        SYSTEM(tr, SEG_TR, 0, "ENTG_SEG_TR_G_LOW", "ENTG_SEG_TR_G_HIGH",     \
               name, guest, needs_)                                          \
        SYSTEM(ldtr, SEG_LDTR, AR_LDT, "ENTG_SEG_LDTR_G_LOW",                \
               "ENTG_SEG_LDTR_G_HIGH", name, guest, needs_)
SYSTEM_PAIR(long, GUEST_LONG, "host64")
SYSTEM_PAIR(pae, GUEST_PAE, "")

PROGRAM(read_at_ebx, 16, "movl (%ebx), %eax\nvmcall\n");

static u32 *far_page;

static void point_ebx(struct vm *vm)
{
        vm->regs.rbx = (ulong)far_page;
}

/* Beyond 64 KBytes of a data segment with base 0. */
#define BIG_REAL(name, limit_, rights, result, rax_mask_)                    \
CASE(big_real_##name, .id = "entry.guest.limit.real-mode." #name,            \
     .title = "a limit need not be FFFFH in real mode, and it counts",       \
     .sdm = SDM, .rules = "ENTG_SEG_LIMIT_REAL_MODE_FREE",                   \
     .needs = "unrestricted-guest")                                          \
{                                                                            \
        struct probe p = {                                                   \
                .mode = GUEST_REAL, .program = &read_at_ebx,                 \
                .prepare = point_ebx, .accepted = EXITS(result),             \
                .given = EDITS(SHOW_EXCEPTIONS, SET(GUEST_DS_BASE, 0)),      \
                .accept = EDITS(SET(GUEST_DS_LIMIT, limit_),                 \
                                SET(GUEST_DS_ACCESS_RIGHTS, rights)),        \
                .rax = 0x600df00d, .rax_mask = rax_mask_,                    \
        };                                                                   \
                                                                             \
        far_page = page_alloc(1);                                            \
        *far_page = 0x600df00d;                                              \
        probe_check(self, &p);                                               \
}
BIG_REAL(big, 0xffffffff, 0x8093, EXIT_VMCALL, 0xffffffff)
BIG_REAL(ffff, 0xffff, 0x93, EXIT_EXCEPTION_NMI, 0)
