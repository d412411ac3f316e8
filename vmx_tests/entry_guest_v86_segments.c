/*
 * SDM Vol. 3, VM Entries > Checks on the Guest State Area > Checks on Guest
 * Segment Registers: a guest that will be virtual-8086.
 */
#include "lib/check.h"
#include "x86/cpu.h"
#include "x86/vmx/probe.h"
#include "x86/vmx/segment.h"

#define SDM "VM Entries > Checks on Guest Segment Registers"

#define V86_RIGHTS 0xf3

static const struct edit *const shown = EDITS(SHOW_EXCEPTIONS);

static void refused(const struct test_case *self, const struct edit *reject,
                    void (*prepare)(struct vm *))
{
        struct probe p = {
                .mode = GUEST_V86, .given = shown, .reject = reject,
                .prepare = prepare, .outcome = BAD_GUEST,
        };

        probe_check(self, &p);
}

static void reserved(const struct test_case *self, enum segment seg,
                     unsigned bit)
{
        struct probe p = { .mode = GUEST_V86, .given = shown };

        segment_reserved_check(self, &p, seg, bit);
}

#define RIGHTS(seg, value) EDITS(EDIT(SET, SEG_RIGHTS(seg), value))

#define REGISTER(reg, SEG)                                                   \
FAMILY(base_##reg, 32, .id = "entry.guest.v86." #reg ".base",                \
       .title = "a bit of the base that differs from 16 * selector",         \
       .sdm = SDM, .rules = "ENTG_SEG_V86_BASE")                             \
{                                                                            \
        refused(self, EDITS(EDIT(FLIP, SEG_BASE(SEG), BIT(row))), NULL);     \
}                                                                            \
CASE(base_high_##reg, .id = "entry.guest.v86." #reg ".base-high",            \
     .title = "each bit of the base from 32 on must be 0", .sdm = SDM,       \
     .rules = "ENTG_SEG_V86_BASE", .needs = "host64")                        \
{                                                                            \
        for (unsigned bit = 32; bit < 64; bit++)                             \
                refused(self, EDITS(EDIT(FLIP, SEG_BASE(SEG), BIT(bit))),    \
                        NULL);                                               \
}                                                                            \
FAMILY(limit_##reg, 32, .id = "entry.guest.v86." #reg ".limit",              \
       .title = "a bit of the limit that differs from FFFFH", .sdm = SDM,    \
       .rules = "ENTG_SEG_V86_LIMIT")                                        \
{                                                                            \
        refused(self, EDITS(EDIT(FLIP, SEG_LIMIT(SEG), BIT(row))), NULL);    \
}                                                                            \
CASE(limit_ones_##reg, .id = "entry.guest.v86." #reg ".limit-ffffffff",      \
     .title = "the limit must be FFFFH", .sdm = SDM,                         \
     .rules = "ENTG_SEG_V86_LIMIT")                                          \
{                                                                            \
        refused(self, EDITS(EDIT(SET, SEG_LIMIT(SEG), ~0u)), NULL);          \
}                                                                            \
FAMILY(type_##reg, 16, .id = "entry.guest.v86." #reg ".type",                \
       .title = "the type must be 3", .sdm = SDM,                            \
       .rules = "ENTG_SEG_V86_AR_TYPE")                                      \
{                                                                            \
        struct probe p = { .mode = GUEST_V86, .given = shown };              \
                                                                             \
        segment_rights_check(self, &p, SEG, (V86_RIGHTS & ~15u) | row,       \
                             row == 3);                                      \
}                                                                            \
CASE(s_##reg, .id = "entry.guest.v86." #reg ".s", .title = "S must be 1",    \
     .sdm = SDM, .rules = "ENTG_SEG_V86_AR_S")                               \
{                                                                            \
        refused(self, RIGHTS(SEG, V86_RIGHTS & ~AR_S), NULL);                \
}                                                                            \
FAMILY(dpl_##reg, 3, .id = "entry.guest.v86." #reg ".dpl",                   \
       .title = "DPL must be 3", .sdm = SDM,                                 \
       .rules = "ENTG_SEG_V86_AR_DPL")                                       \
{                                                                            \
        refused(self, RIGHTS(SEG, (V86_RIGHTS & ~AR_DPL(3)) | AR_DPL(row)),  \
                NULL);                                                       \
}                                                                            \
CASE(p_##reg, .id = "entry.guest.v86." #reg ".p", .title = "P must be 1",    \
     .sdm = SDM, .rules = "ENTG_SEG_V86_AR_P")                               \
{                                                                            \
        refused(self, RIGHTS(SEG, V86_RIGHTS & ~AR_P), NULL);                \
}                                                                            \
FAMILY(low_##reg, 4, .id = "entry.guest.v86." #reg ".bits-15-12",            \
       .title = "AVL, L, D/B and G (in this order) must be 0", .sdm = SDM,   \
       .rules = "ENTG_SEG_V86_AR_BITS_15_8")                                 \
{                                                                            \
        refused(self, RIGHTS(SEG, V86_RIGHTS | AR_AVL << row), NULL);        \
}                                                                            \
FAMILY(reserved_low_##reg, 4, .id = "entry.guest.v86." #reg ".reserved-11-8", \
       .title = "a reserved bit from 8 on must be 0", .sdm = SDM,            \
       .rules = "ENTG_SEG_V86_AR_BITS_15_8 "                                 \
                "ENTG_SEG_AR_RESERVED_VMWRITE_IGNORED")                      \
{                                                                            \
        reserved(self, SEG, 8 + row);                                        \
}                                                                            \
FAMILY(reserved_high_##reg, 15, .id = "entry.guest.v86." #reg ".reserved-31-17", \
       .title = "a reserved bit from 17 on must be 0", .sdm = SDM,           \
       .rules = "ENTG_SEG_V86_AR_31_17 "                                     \
                "ENTG_SEG_AR_RESERVED_VMWRITE_IGNORED")                      \
{                                                                            \
        reserved(self, SEG, 17 + row);                                       \
}                                                                            \
CASE(unusable_##reg, .id = "entry.guest.v86." #reg ".unusable",              \
     .title = "the register must be usable", .sdm = SDM,                     \
     .rules = "ENTG_SEG_V86_AR_UNUSABLE")                                    \
{                                                                            \
        refused(self, RIGHTS(SEG, V86_RIGHTS | AR_UNUSABLE), NULL);          \
}                                                                            \
/* Unrestricted guest: one bit of each field. */                             \
FAMILY(unrestricted_##reg, 4, .id = "entry.guest.v86." #reg ".unrestricted", \
       .title = "an unrestricted guest follows the same rules (base, limit, "\
                "DPL, type)", .sdm = SDM, .rules = "ENTG_SEG_V86_UG_SAME",   \
       .needs = "unrestricted-guest")                                        \
{                                                                            \
        const struct edit *bad[] = {                                         \
                EDITS(EDIT(FLIP, SEG_BASE(SEG), 16)),                        \
                EDITS(EDIT(SET, SEG_LIMIT(SEG), ~0u)),                       \
                RIGHTS(SEG, V86_RIGHTS & ~AR_DPL(3)),                        \
                RIGHTS(SEG, V86_RIGHTS | AR_TYPE(11)),                       \
        };                                                                   \
                                                                             \
        refused(self, bad[row], with_unrestricted_guest);                    \
}
REGISTER(cs, SEG_CS)
REGISTER(ss, SEG_SS)
REGISTER(ds, SEG_DS)
REGISTER(es, SEG_ES)
REGISTER(fs, SEG_FS)
REGISTER(gs, SEG_GS)

/* A base need not lie in memory. */
#define SELECTOR(value)                                                      \
        { ROW(#value), .mode = GUEST_V86, .accept = EDITS(                   \
                SET(GUEST_SS_SELECTOR, 0x##value),                           \
                SET(GUEST_SS_BASE, 0x##value##0),                            \
                SET(GUEST_DS_SELECTOR, 0x##value),                           \
                SET(GUEST_DS_BASE, 0x##value##0),                            \
                SET(GUEST_ES_SELECTOR, 0x##value),                           \
                SET(GUEST_ES_BASE, 0x##value##0),                            \
                SET(GUEST_FS_SELECTOR, 0x##value),                           \
                SET(GUEST_FS_BASE, 0x##value##0),                            \
                SET(GUEST_GS_SELECTOR, 0x##value),                           \
                SET(GUEST_GS_BASE, 0x##value##0)),                           \
          .reject = EDITS(SET(GUEST_DS_SELECTOR, 0x##value),                 \
                          SET(GUEST_DS_BASE, 0x##value##1)),                 \
          .outcome = BAD_GUEST }

static const struct probe selectors[] = {
        SELECTOR(0000), SELECTOR(0001), SELECTOR(0007), SELECTOR(1000),
        SELECTOR(7fff), SELECTOR(8000), SELECTOR(fffc), SELECTOR(ffff),
};

/* A fault at CPL 3. */
PROGRAM(halt, 16, "hlt\n");

TABLE(selector, selectors, .id = "entry.guest.v86.selector",
      .title = "any selector with base 16 * selector is accepted", .sdm = SDM,
      .rules = "ENTG_SEG_V86_ACCEPT ENTG_SEG_V86_BASE")
{
        struct probe p = *(const struct probe *)case_row(self, row);

        p.given = shown;
        probe_check(self, &p);
}

CASE(cpl, .id = "entry.guest.v86.cpl",
     .title = "the guest runs with CPL 3", .sdm = SDM,
     .rules = "ENTG_SEG_V86_ACCEPT")
{
        struct probe p = {
                .mode = GUEST_V86, .given = shown, .program = &halt,
                .accepted = EXITS(EXIT_EXCEPTION_NMI),
        };

        probe_check(self, &p);
        CHECK_MASKED("the exception", vmread(VMCS_EXIT_INTERRUPTION_INFO),
                     VEC_GP, 0xff);
        CHECK_MASKED("RFLAGS.VM", vmread(VMCS_GUEST_RFLAGS), RFLAGS_VM,
                     RFLAGS_VM);
}
