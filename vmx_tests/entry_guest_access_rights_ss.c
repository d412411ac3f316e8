/*
 * SDM Vol. 3, VM Entries > Checks on the Guest State Area > Checks on Guest
 * Segment Registers: the access rights of SS. G: entry_guest_segment_limits.c;
 * its DPL and that of CS: entry_guest_access_rights_cs.c.
 */
#include "lib/check.h"
#include "x86/cpu.h"
#include "x86/vmx/probe.h"
#include "x86/vmx/segment.h"

#define SDM "VM Entries > Checks on Guest Segment Registers"

#define STACK32 (AR_G | AR_DB | AR_P | AR_S)
#define STACK16 (AR_P | AR_S)
#define RW AR_TYPE(3)

static const struct edit *const shown = EDITS(SHOW_EXCEPTIONS);

/* Every type, and each other bit alone, of a usable SS. */
#define USABLE(name, guest, rights, needs_)                                  \
FAMILY(type_##name, 16, .id = "entry.guest.ss.type." #name,                  \
       .title = "the type of a usable SS must be 3 or 7", .sdm = SDM,        \
       .rules = "ENTG_SEG_SS_TYPE_USABLE", .needs = needs_)                  \
{                                                                            \
        struct probe p = { .mode = guest, .given = shown };                  \
                                                                             \
        segment_rights_check(self, &p, SEG_SS, (rights) | AR_TYPE(row),      \
                             row == 3 || row == 7);                          \
}                                                                            \
CASE(s_##name, .id = "entry.guest.ss.s." #name,                              \
     .title = "S of a usable SS must be 1", .sdm = SDM,                      \
     .rules = "ENTG_SEG_OTHER_S_USABLE", .needs = needs_)                    \
{                                                                            \
        struct probe p = { .mode = guest };                                  \
                                                                             \
        segment_rights_check(self, &p, SEG_SS, ((rights) | RW) & ~AR_S,      \
                             false);                                         \
}                                                                            \
CASE(p_##name, .id = "entry.guest.ss.p." #name,                              \
     .title = "P of a usable SS must be 1", .sdm = SDM,                      \
     .rules = "ENTG_SEG_OTHER_P_USABLE", .needs = needs_)                    \
{                                                                            \
        struct probe p = { .mode = guest };                                  \
                                                                             \
        segment_rights_check(self, &p, SEG_SS, ((rights) | RW) & ~AR_P,      \
                             false);                                         \
}                                                                            \
CASE(avl_##name, .id = "entry.guest.ss.avl." #name,                          \
     .title = "AVL may be 1", .sdm = SDM, .rules = "ENTG_SEG_AVL_FREE",      \
     .needs = needs_)                                                        \
{                                                                            \
        struct probe p = { .mode = guest, .given = shown };                  \
                                                                             \
        segment_rights_check(self, &p, SEG_SS, (rights) | RW | AR_AVL, true); \
}                                                                            \
FAMILY(reserved_low_##name, 4, .id = "entry.guest.ss.reserved-11-8." #name,  \
       .title = "a reserved bit of a usable SS from 8 on must be 0",         \
       .sdm = SDM, .rules = "ENTG_SEG_OTHER_AR_11_8_USABLE "                 \
       "ENTG_SEG_AR_RESERVED_VMWRITE_IGNORED", .needs = needs_)              \
{                                                                            \
        struct probe p = { .mode = guest, .given = shown };                  \
                                                                             \
        segment_reserved_check(self, &p, SEG_SS, 8 + row);                   \
}                                                                            \
FAMILY(reserved_high_##name, 15,                                             \
       .id = "entry.guest.ss.reserved-31-17." #name,                         \
       .title = "a reserved bit of a usable SS from 17 on must be 0",        \
       .sdm = SDM, .rules = "ENTG_SEG_OTHER_AR_31_17_USABLE "                \
       "ENTG_SEG_AR_RESERVED_VMWRITE_IGNORED", .needs = needs_)              \
{                                                                            \
        struct probe p = { .mode = guest, .given = shown };                  \
                                                                             \
        segment_reserved_check(self, &p, SEG_SS, 17 + row);                  \
}
USABLE(long, GUEST_LONG, STACK32, "host64")
USABLE(compat, GUEST_COMPAT, STACK32, "host64")
USABLE(pae, GUEST_PAE, STACK32, "")
USABLE(protected, GUEST_PROTECTED, STACK32, "unrestricted-guest")
USABLE(real, GUEST_REAL, STACK16, "unrestricted-guest")

/* Each bit of an unusable SS alone, but for its DPL. */
#define UNUSABLE(name, guest, needs_)                                        \
FAMILY(unusable_##name, 32, .id = "entry.guest.ss.unusable." #name,          \
       .title = "no bit of an unusable SS is checked but its DPL "           \
                "(numbers 5 and 6 are done without)",                        \
       .sdm = SDM, .rules = "ENTG_SEG_SS_TYPE_UNUSABLE_UNCHECKED",           \
       .needs = needs_)                                                      \
{                                                                            \
        u32 dpl = AR_DPL(3);                                                 \
        struct probe p = { .mode = guest, .given = shown };                  \
                                                                             \
        segment_rights_check(self, &p, SEG_SS,                               \
                             AR_UNUSABLE | ((u32)BIT(row) & ~dpl), true);    \
}
UNUSABLE(long, GUEST_LONG, "host64")
UNUSABLE(pae, GUEST_PAE, "")
UNUSABLE(real, GUEST_REAL, "unrestricted-guest")

static const struct probe rows[] = {
        { ROW("null-64-bit", "a null, unusable SS of a 64-bit guest",
              "ENTG_SEG_64BIT_SS_UNUSABLE_OK", "host64"),
          .mode = GUEST_LONG,
          .accept = EDITS(SET(GUEST_SS_SELECTOR, 0),
                          SET(GUEST_SS_ACCESS_RIGHTS, AR_UNUSABLE)) },
        { ROW("unusable-all-ones", "an unusable SS with all other bits 1",
              "ENTG_SEG_SS_TYPE_UNUSABLE_UNCHECKED"),
          .mode = GUEST_PAE,
          .accept = EDITS(SET(GUEST_SS_ACCESS_RIGHTS, ~AR_DPL(3))) },
        { ROW("unusable-all-types", "an unusable SS with type 15",
              "ENTG_SEG_SS_TYPE_UNUSABLE_UNCHECKED"),
          .mode = GUEST_PAE,
          .accept = EDITS(SET(GUEST_SS_ACCESS_RIGHTS, AR_UNUSABLE | 15)) },
};

TABLE(ss_rows, rows, .id = "entry.guest.ss", .title = "access rights of SS",
      .sdm = SDM)
{
        struct probe p = *(const struct probe *)case_row(self, row);

        p.given = shown;
        probe_check(self, &p);
}

/*
 * SS.DPL against SS.RPL = CS.RPL. CS is conforming with DPL 0: nothing else is
 * wrong.
 */
static void dpl_pair(const struct test_case *self, enum guest_mode mode,
                     unsigned number, u32 rights)
{
        unsigned dpl = number >> 2, rpl = number & 3;
        struct probe p = {
                .mode = mode,
                .given = EDITS(SHOW_EXCEPTIONS, OR(GUEST_CS_SELECTOR, rpl),
                               OR(GUEST_SS_SELECTOR, rpl),
                               OR(GUEST_CS_ACCESS_RIGHTS, AR_TYPE(15)),
                               SET(GUEST_SS_ACCESS_RIGHTS, rights | AR_DPL(rpl))),
        };

        probe_legal(self, &p,
                    EDITS(SET(GUEST_SS_ACCESS_RIGHTS, rights | AR_DPL(dpl))),
                    dpl == rpl, RESULT(BAD_GUEST));
}

#define DPL(name, guest, rights, needs_)                                     \
FAMILY(dpl_##name, 16, .id = "entry.guest.ss.dpl." #name,                    \
       .title = "SS.DPL must equal SS.RPL (number: 4 * DPL + RPL)",          \
       .sdm = SDM, .rules = "ENTG_SEG_SS_DPL_EQ_RPL_NO_UG", .needs = needs_) \
{                                                                            \
        dpl_pair(self, guest, row, rights);                                  \
}
DPL(long, GUEST_LONG, STACK32 | RW, "host64")
DPL(compat, GUEST_COMPAT, STACK32 | RW, "host64")
DPL(pae, GUEST_PAE, STACK32 | RW, "")
DPL(32, GUEST_32, STACK32 | RW, "")
DPL(unusable, GUEST_LONG, AR_UNUSABLE, "host64")

/* Real mode: CS.DPL equals SS.DPL, so that only SS.DPL itself is wrong. */
static void real_dpl(const struct test_case *self, unsigned type, unsigned dpl,
                     u32 rights)
{
        struct probe p = {
                .mode = GUEST_REAL, .outcome = BAD_GUEST,
                .given = EDITS(SHOW_EXCEPTIONS,
                               SET(GUEST_CS_ACCESS_RIGHTS, STACK16 | type),
                               SET(GUEST_SS_ACCESS_RIGHTS, rights)),
                .reject = EDITS(SET(GUEST_CS_ACCESS_RIGHTS,
                                    STACK16 | type | AR_DPL(dpl)),
                                SET(GUEST_SS_ACCESS_RIGHTS,
                                    rights | AR_DPL(dpl))),
        };

        probe_check(self, &p);
}

#define REAL_DPL(how, rights)                                                \
FAMILY(real_dpl_##how, 12, .id = "entry.guest.ss.dpl.real." #how,            \
       .title = "SS.DPL must be 0 in real mode (number: DPL - 1, and 3 for " \
                "each of the CS types 9, 11, 13, 15)",                       \
       .sdm = SDM, .rules = "ENTG_SEG_SS_DPL_ZERO_PE0",                      \
       .needs = "unrestricted-guest")                                        \
{                                                                            \
        real_dpl(self, 9 + row / 3 * 2, 1 + row % 3, rights);                \
}
REAL_DPL(usable, STACK16 | RW)
REAL_DPL(unusable, AR_UNUSABLE)
