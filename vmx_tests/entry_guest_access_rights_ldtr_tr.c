/*
 * SDM Vol. 3, VM Entries > Checks on the Guest State Area > Checks on Guest
 * Segment Registers: the access rights of TR and LDTR. G:
 * entry_guest_segment_limits.c.
 */
#include "lib/check.h"
#include "x86/cpu.h"
#include "x86/vmx/probe.h"
#include "x86/vmx/segment.h"

#define SDM "VM Entries > Checks on Guest Segment Registers"

#define TSS (AR_P | AR_TYPE(11))

static const struct edit *const shown = EDITS(SHOW_EXCEPTIONS);

static void rights_check(const struct test_case *self, enum guest_mode mode,
                         enum segment seg, u32 rights, bool legal)
{
        struct probe p = { .mode = mode, .given = shown };

        segment_rights_check(self, &p, seg, rights, legal);
}

/* The baseline's LDTR is unusable; it is usable on both sides here. */
static void ldtr_reserved(const struct test_case *self, enum guest_mode mode,
                          unsigned bit)
{
        struct probe p = {
                .mode = mode,
                .given = EDITS(SHOW_EXCEPTIONS,
                               SET(GUEST_LDTR_ACCESS_RIGHTS, AR_LDT)),
        };

        segment_reserved_check(self, &p, SEG_LDTR, bit);
}

static void tr_reserved(const struct test_case *self, enum guest_mode mode,
                        unsigned bit)
{
        struct probe p = { .mode = mode, .given = shown };

        segment_reserved_check(self, &p, SEG_TR, bit);
}

#define TR(name, guest, type_rule, tss16_legal, needs_)                      \
FAMILY(tr_type_##name, 16, .id = "entry.guest.tr.type." #name,               \
       .title = "the type of TR must be that of a busy TSS", .sdm = SDM,     \
       .rules = type_rule, .needs = needs_)                                  \
{                                                                            \
        rights_check(self, guest, SEG_TR, AR_P | AR_TYPE(row),               \
                     row == 11 || (row == 3 && tss16_legal));                \
}                                                                            \
CASE(tr_s_##name, .id = "entry.guest.tr.s." #name,                           \
     .title = "S of TR must be 0", .sdm = SDM, .rules = "ENTG_SEG_TR_S",     \
     .needs = needs_)                                                        \
{                                                                            \
        rights_check(self, guest, SEG_TR, TSS | AR_S, false);                \
}                                                                            \
CASE(tr_p_##name, .id = "entry.guest.tr.p." #name,                           \
     .title = "P of TR must be 1", .sdm = SDM, .rules = "ENTG_SEG_TR_P",     \
     .needs = needs_)                                                        \
{                                                                            \
        rights_check(self, guest, SEG_TR, TSS & ~AR_P, false);               \
}                                                                            \
CASE(tr_unusable_##name, .id = "entry.guest.tr.unusable." #name,             \
     .title = "TR must be usable", .sdm = SDM,                               \
     .rules = "ENTG_SEG_TR_UNUSABLE", .needs = needs_)                       \
{                                                                            \
        rights_check(self, guest, SEG_TR, TSS | AR_UNUSABLE, false);         \
}                                                                            \
CASE(tr_avl_##name, .id = "entry.guest.tr.avl." #name,                       \
     .title = "AVL of TR may be 1", .sdm = SDM,                              \
     .rules = "ENTG_SEG_AVL_FREE", .needs = needs_)                          \
{                                                                            \
        rights_check(self, guest, SEG_TR, TSS | AR_AVL, true);               \
}                                                                            \
FAMILY(tr_dpl_##name, 4, .id = "entry.guest.tr.dpl." #name,                  \
       .title = "any DPL of TR is accepted", .sdm = SDM,                     \
       .rules = "ENTG_SEG_TR_DPL_LIMIT_FREE", .needs = needs_)               \
{                                                                            \
        rights_check(self, guest, SEG_TR, TSS | AR_DPL(row), true);          \
}                                                                            \
CASE(tr_limit_##name, .id = "entry.guest.tr.limit-0." #name,                 \
     .title = "a TR limit of 0 is accepted", .sdm = SDM,                     \
     .rules = "ENTG_SEG_TR_DPL_LIMIT_FREE", .needs = needs_)                 \
{                                                                            \
        struct probe p = {                                                   \
                .mode = guest, .given = shown,                               \
                .accept = EDITS(SET(GUEST_TR_LIMIT, 0)),                     \
        };                                                                   \
                                                                             \
        probe_check(self, &p);                                               \
}                                                                            \
FAMILY(tr_reserved_low_##name, 4, .id = "entry.guest.tr.reserved-11-8." #name, \
       .title = "a reserved bit of TR from 8 on must be 0", .sdm = SDM,      \
       .rules = "ENTG_SEG_TR_AR_11_8 ENTG_SEG_AR_RESERVED_VMWRITE_IGNORED",  \
       .needs = needs_)                                                      \
{                                                                            \
        tr_reserved(self, guest, 8 + row);                                   \
}                                                                            \
FAMILY(tr_reserved_high_##name, 15,                                          \
       .id = "entry.guest.tr.reserved-31-17." #name,                         \
       .title = "a reserved bit of TR from 17 on must be 0", .sdm = SDM,     \
       .rules = "ENTG_SEG_TR_AR_31_17 ENTG_SEG_AR_RESERVED_VMWRITE_IGNORED", \
       .needs = needs_)                                                      \
{                                                                            \
        tr_reserved(self, guest, 17 + row);                                  \
}
#define LEGACY "ENTG_SEG_TR_TYPE_LEGACY"
#define IA32E "ENTG_SEG_TR_TYPE_IA32E"
TR(long, GUEST_LONG, IA32E, false, "host64")
TR(compat, GUEST_COMPAT, IA32E, false, "host64")
TR(pae, GUEST_PAE, LEGACY, true, "")
TR(32, GUEST_32, LEGACY, true, "")
TR(v86, GUEST_V86, LEGACY, true, "")
TR(protected, GUEST_PROTECTED, LEGACY, true, "unrestricted-guest")
TR(real, GUEST_REAL, LEGACY, true, "unrestricted-guest")

#define LDTR(name, guest, needs_)                                            \
FAMILY(ldtr_type_##name, 16, .id = "entry.guest.ldtr.type." #name,           \
       .title = "the type of a usable LDTR must be 2", .sdm = SDM,           \
       .rules = "ENTG_SEG_LDTR_TYPE", .needs = needs_)                       \
{                                                                            \
        rights_check(self, guest, SEG_LDTR, AR_P | AR_TYPE(row), row == 2);  \
}                                                                            \
CASE(ldtr_s_##name, .id = "entry.guest.ldtr.s." #name,                       \
     .title = "S of a usable LDTR must be 0", .sdm = SDM,                    \
     .rules = "ENTG_SEG_LDTR_S", .needs = needs_)                            \
{                                                                            \
        rights_check(self, guest, SEG_LDTR, AR_LDT, true);                   \
        rights_check(self, guest, SEG_LDTR, AR_LDT | AR_S, false);           \
}                                                                            \
CASE(ldtr_p_##name, .id = "entry.guest.ldtr.p." #name,                       \
     .title = "P of a usable LDTR must be 1", .sdm = SDM,                    \
     .rules = "ENTG_SEG_LDTR_P", .needs = needs_)                            \
{                                                                            \
        rights_check(self, guest, SEG_LDTR, AR_LDT, true);                   \
        rights_check(self, guest, SEG_LDTR, AR_LDT & ~AR_P, false);          \
}                                                                            \
CASE(ldtr_avl_##name, .id = "entry.guest.ldtr.avl." #name,                   \
     .title = "AVL of LDTR may be 1", .sdm = SDM,                            \
     .rules = "ENTG_SEG_AVL_FREE", .needs = needs_)                          \
{                                                                            \
        rights_check(self, guest, SEG_LDTR, AR_LDT | AR_AVL, true);          \
}                                                                            \
FAMILY(ldtr_reserved_low_##name, 4,                                          \
       .id = "entry.guest.ldtr.reserved-11-8." #name,                        \
       .title = "a reserved bit of a usable LDTR from 8 on must be 0",       \
       .sdm = SDM, .rules =                                                  \
       "ENTG_SEG_LDTR_AR_11_8 ENTG_SEG_AR_RESERVED_VMWRITE_IGNORED",         \
       .needs = needs_)                                                      \
{                                                                            \
        ldtr_reserved(self, guest, 8 + row);                                 \
}                                                                            \
FAMILY(ldtr_reserved_high_##name, 15,                                        \
       .id = "entry.guest.ldtr.reserved-31-17." #name,                       \
       .title = "a reserved bit of a usable LDTR from 17 on must be 0",      \
       .sdm = SDM, .rules =                                                  \
       "ENTG_SEG_LDTR_AR_31_17 ENTG_SEG_AR_RESERVED_VMWRITE_IGNORED",        \
       .needs = needs_)                                                      \
{                                                                            \
        ldtr_reserved(self, guest, 17 + row);                                \
}                                                                            \
/* Each bit alone, all, none. */                                             \
FAMILY(ldtr_unusable_##name, 34, .id = "entry.guest.ldtr.unusable." #name,   \
       .title = "nothing of an unusable LDTR is checked (numbers 32 and 33:" \
                " all bits, none)", .sdm = SDM,                              \
       .rules = "ENTG_SEG_LDTR_UNUSABLE_UNCHECKED", .needs = needs_)         \
{                                                                            \
        u32 rights = row < 32 ? (u32)BIT(row) : row == 32 ? ~0u : 0;         \
        struct probe p = {                                                   \
                .mode = guest, .given = EDITS(SHOW_EXCEPTIONS,               \
                                              SET(GUEST_LDTR_LIMIT, ~1u)),   \
        };                                                                   \
                                                                             \
        segment_rights_check(self, &p, SEG_LDTR, rights | AR_UNUSABLE, true); \
}
LDTR(long, GUEST_LONG, "host64")
LDTR(compat, GUEST_COMPAT, "host64")
LDTR(pae, GUEST_PAE, "")
LDTR(v86, GUEST_V86, "")
LDTR(real, GUEST_REAL, "unrestricted-guest")
