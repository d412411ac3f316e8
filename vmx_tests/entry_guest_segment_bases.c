/*
 * SDM Vol. 3, VM Entries > Checks on the Guest State Area > Checks on Guest
 * Segment Registers: base-address fields. Virtual-8086 guests have a file of
 * their own.
 */
#include "lib/check.h"
#include "x86/cpu.h"
#include "x86/desc.h"
#include "x86/memory.h"
#include "x86/vmx/canonical.h"
#include "x86/vmx/guest_env.h"
#include "x86/vmx/probe.h"
#include "x86/vmx/segment.h"

#define SDM "VM Entries > Checks on Guest Segment Registers"

static const struct canonical_row canonical_rows[] = { CANONICAL_ROWS };

static void canonical_check(const struct test_case *self, unsigned row,
                            enum guest_mode mode, enum segment seg, u32 rights)
{
        const struct canonical_row *r = case_row(self, row);
        struct probe p = {
                .mode = mode,
                .given = EDITS(SHOW_EXCEPTIONS,
                               EDIT(SET, SEG_RIGHTS(seg), rights)),
        };

        probe_legal(self, &p, EDITS(EDIT(SET, SEG_BASE(seg), canonical_value(r))),
                    r->legal, RESULT(BAD_GUEST));
}

#define CANONICAL(reg, SEG, how, rights, rule, name, guest, needs_)        \
TABLE(canonical_##reg##_##how##_##name, canonical_rows,                    \
      .id = "entry.guest.base." #reg "." #how "." #name,                   \
      .title = "the base must be canonical", .sdm = SDM, .rules = rule,    \
      .needs = "host64 " needs_)                                           \
{                                                                          \
        canonical_check(self, row, guest, SEG, rights);                    \
}
#define CANONICALS(name, guest, needs_)                                    \
        CANONICAL(fs, SEG_FS, usable, 0xc093,                              \
                  "ENTG_SEG_BASE_FS_CANONICAL", name, guest, needs_)       \
        CANONICAL(fs, SEG_FS, unusable, AR_UNUSABLE,                       \
                  "ENTG_SEG_BASE_FS_CANONICAL", name, guest, needs_)       \
        CANONICAL(gs, SEG_GS, usable, 0xc093,                              \
                  "ENTG_SEG_BASE_GS_CANONICAL", name, guest, needs_)       \
        CANONICAL(gs, SEG_GS, unusable, AR_UNUSABLE,                       \
                  "ENTG_SEG_BASE_GS_CANONICAL", name, guest, needs_)       \
        CANONICAL(ldtr, SEG_LDTR, usable, AR_LDT,                          \
                  "ENTG_SEG_BASE_LDTR_CANONICAL_USABLE", name, guest, needs_) \
        CANONICAL(tr, SEG_TR, usable, 0x8b,                                \
                  "ENTG_SEG_BASE_TR_CANONICAL", name, guest, needs_)
CANONICALS(long, GUEST_LONG, "")
CANONICALS(compat, GUEST_COMPAT, "")
CANONICALS(pae, GUEST_PAE, "")
/* A limit of FFFFFFFFH goes with G = 1; real mode has no rule against it. */
CANONICALS(protected, GUEST_PROTECTED, "unrestricted-guest")

/* TR and LDTR are checked in virtual-8086 mode as in any other. */
CANONICAL(tr, SEG_TR, usable, 0x8b, "ENTG_SEG_BASE_TR_CANONICAL", v86, GUEST_V86, "")
CANONICAL(ldtr, SEG_LDTR, usable, AR_LDT, "ENTG_SEG_BASE_LDTR_CANONICAL_USABLE",
          v86, GUEST_V86, "")

/* Bits 63:32 of a base that has only 32 bits. CS: @rights are added. */
static void high_bit(const struct test_case *self, enum guest_mode mode,
                     enum segment seg, u32 rights, unsigned bit)
{
        struct probe p = {
                .mode = mode, .outcome = BAD_GUEST,
                .given = EDITS(EDIT(OR, SEG_RIGHTS(seg), rights)),
                .reject = EDITS(EDIT(OR, SEG_BASE(seg), BIT(bit))),
        };

        probe_check(self, &p);
}

#define HIGH(reg, SEG, how, rights, rule, name, guest, needs_)              \
FAMILY(high_##reg##_##how##_##name, 32,                                     \
       .id = "entry.guest.base." #reg ".high." #how "." #name,              \
       .title = "a bit of the base from 32 on must be 0", .sdm = SDM,       \
       .rules = rule, .needs = "host64 " needs_)                            \
{                                                                           \
        high_bit(self, guest, SEG, rights, 32 + row);                       \
}
#define HIGHS(name, guest, needs_)                                          \
        HIGH(cs, SEG_CS, usable, 0, "ENTG_SEG_BASE_CS_HIGH", name, guest,   \
             needs_)                                                        \
        HIGH(ss, SEG_SS, usable, 0, "ENTG_SEG_BASE_SS_DS_ES_HIGH_USABLE",   \
             name, guest, needs_)                                           \
        HIGH(ds, SEG_DS, usable, 0, "ENTG_SEG_BASE_SS_DS_ES_HIGH_USABLE",   \
             name, guest, needs_)                                           \
        HIGH(es, SEG_ES, usable, 0, "ENTG_SEG_BASE_SS_DS_ES_HIGH_USABLE",   \
             name, guest, needs_)
HIGHS(long, GUEST_LONG, "")
HIGHS(pae, GUEST_PAE, "")
HIGHS(real, GUEST_REAL, "unrestricted-guest")
HIGH(cs, SEG_CS, unusable, AR_UNUSABLE, "ENTG_SEG_BASE_CS_HIGH", long,
     GUEST_LONG, "")

#define CANONICAL_HIGH 0xffffffff80000000ull

/* The program at offset @rip of a CS with the highest base. */
static u64 from_top(u64 rip)
{
        return (u32)rip + 1;
}

static const struct probe rows[] = {
        { ROW("cs.top.long", "CS base FFFFFFFFH", "ENTG_SEG_BASE_CS_HIGH"),
          .mode = GUEST_LONG, .accept = EDITS(SET(GUEST_CS_BASE, 0xffffffff)),
          .reject = EDITS(SET(GUEST_CS_BASE, CANONICAL_HIGH)),
          .outcome = BAD_GUEST },
        { ROW("cs.top.pae", "CS base FFFFFFFFH", "ENTG_SEG_BASE_CS_HIGH"),
          .mode = GUEST_PAE,
          .accept = EDITS(SET(GUEST_CS_BASE, 0xffffffff),
                          CALC(GUEST_RIP, from_top)),
          .reject = EDITS(SET(GUEST_CS_BASE, CANONICAL_HIGH)),
          .outcome = BAD_GUEST },
        { ROW("ss.top", "SS base FFFFFFFFH", "ENTG_SEG_BASE_SS_DS_ES_HIGH_USABLE"),
          .accept = EDITS(SET(GUEST_SS_BASE, 0xffffffff)),
          .reject = EDITS(SET(GUEST_SS_BASE, CANONICAL_HIGH)),
          .outcome = BAD_GUEST },
        { ROW("ds.top", "DS base FFFFFFFFH", "ENTG_SEG_BASE_SS_DS_ES_HIGH_USABLE"),
          .accept = EDITS(SET(GUEST_DS_BASE, 0xffffffff)),
          .reject = EDITS(SET(GUEST_DS_BASE, CANONICAL_HIGH)),
          .outcome = BAD_GUEST },
        { ROW("es.top", "ES base FFFFFFFFH", "ENTG_SEG_BASE_SS_DS_ES_HIGH_USABLE"),
          .accept = EDITS(SET(GUEST_ES_BASE, 0xffffffff)),
          .reject = EDITS(SET(GUEST_ES_BASE, CANONICAL_HIGH)),
          .outcome = BAD_GUEST },
        { ROW("fs.high-32-bit-guest", "FS base above 4 GBytes, 32-bit guest",
              "ENTG_SEG_BASE_FS_GS_HIGH_OUTSIDE_64BIT"),
          .mode = GUEST_PAE, .accept = EDITS(SET(GUEST_FS_BASE, BIT(32))),
          .reject = EDITS(SET(GUEST_FS_BASE, BIT(63))), .outcome = BAD_GUEST },
        { ROW("gs.high-32-bit-guest", "GS base above 4 GBytes, 32-bit guest",
              "ENTG_SEG_BASE_FS_GS_HIGH_OUTSIDE_64BIT"),
          .mode = GUEST_PAE, .accept = EDITS(SET(GUEST_GS_BASE, BIT(32))),
          .reject = EDITS(SET(GUEST_GS_BASE, BIT(63))), .outcome = BAD_GUEST },
};

TABLE(base_rows, rows, .id = "entry.guest.base",
      .title = "bases at the limits", .sdm = SDM, .needs = "host64")
{
        struct probe p = *(const struct probe *)case_row(self, row);

        p.given = EDITS(SHOW_EXCEPTIONS);
        probe_check(self, &p);
}

/* SS with DPL 0; nothing else of an unusable register is checked. */
#define UNUSABLE(reg, REG, rule, name, guest, needs_)                       \
FAMILY(unusable_##reg##_##name, 3,                                          \
       .id = "entry.guest.base." #reg ".unusable." #name,                   \
       .title = "the base of an unusable register is not checked",          \
       .sdm = SDM, .rules = rule, .needs = "host64 " needs_)                \
{                                                                           \
        static const u64 bases[] = { BIT(63), ~0ull, BIT(32) };             \
        struct probe p = {                                                  \
                .mode = guest, .given = EDITS(SHOW_EXCEPTIONS),             \
                .accept = EDITS(SET(GUEST_##REG##_ACCESS_RIGHTS, AR_UNUSABLE), \
                                SET(GUEST_##REG##_BASE, bases[row])),       \
        };                                                                  \
                                                                            \
        probe_check(self, &p);                                              \
}
#define UNUSABLES(name, guest, needs_)                                          \
        UNUSABLE(ss, SS, "ENTG_SEG_BASE_SS_DS_ES_UNUSABLE_UNCHECKED", name,     \
                 guest, needs_)                                                 \
        UNUSABLE(ds, DS, "ENTG_SEG_BASE_SS_DS_ES_UNUSABLE_UNCHECKED", name,     \
                 guest, needs_)                                                 \
        UNUSABLE(es, ES, "ENTG_SEG_BASE_SS_DS_ES_UNUSABLE_UNCHECKED", name,     \
                 guest, needs_)                                                 \
        UNUSABLE(ldtr, LDTR, "ENTG_SEG_BASE_LDTR_UNUSABLE_UNCHECKED", name,     \
                 guest, needs_)
UNUSABLES(long, GUEST_LONG, "")
UNUSABLES(pae, GUEST_PAE, "")

PROGRAM(read_ds_0, 16, "movl 0, %eax\nvmcall\n");

static u64 other_selector(u64 selector)
{
        return selector ^ 0xf000;
}

/* Neither CS nor DS is where its selector says. */
CASE(real_mode, .id = "entry.guest.base.real-mode",
     .title = "a base need not be 16 times the selector in real mode",
     .sdm = SDM, .rules = "ENTG_SEG_BASE_REAL_MODE_FREE",
     .needs = "unrestricted-guest")
{
        u32 *page = page_alloc(1);
        struct probe p = {
                .mode = GUEST_REAL, .program = &read_ds_0,
                .given = EDITS(SHOW_EXCEPTIONS),
                .accept = EDITS(SET(GUEST_DS_SELECTOR, 0x1234),
                                SET(GUEST_DS_BASE, phys(page)),
                                CALC(GUEST_CS_SELECTOR, other_selector)),
                .rax = 0x600df00d, .rax_mask = 0xffffffff,
        };

        *page = 0x600df00d;
        probe_check(self, &p);
}
