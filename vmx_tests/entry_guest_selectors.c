/*
 * SDM Vol. 3, VM Entries > Checks on the Guest State Area > Checks on Guest
 * Segment Registers: selector fields.
 */
#include "lib/check.h"
#include "x86/cpu.h"
#include "x86/vmx/probe.h"
#include "x86/vmx/segment.h"

#define SDM "VM Entries > Checks on Guest Segment Registers"

/* The same bytes in 32- and 64-bit code. */
PROGRAM(get_tr, 32, "str %eax\nvmcall\n");
PROGRAM(get_ldtr, 32, "sldt %eax\nvmcall\n");
/* Faults unless CPL is 0. */
PROGRAM(privileged, 32, "mov %cr0, %eax\nvmcall\n");
/* For a CS that begins 16 bytes behind the program. */
PROGRAM(shifted, 16, ".fill 16, 1, 0x90\nvmcall\n");

#define TR(selector) EDITS(SET(GUEST_TR_SELECTOR, selector))
#define TR_PAIR(id_, guest, good, bad, needs_)                           \
        { ROW(id_, NULL, NULL, needs_), .mode = guest,                   \
          .given = EDITS(SHOW_EXCEPTIONS), .accept = TR(good),           \
          .reject = TR(bad), .outcome = BAD_GUEST }
#define TR_PAIRS(id_, guest, needs_)                         \
        TR_PAIR(id_ ".0000", guest, 0x0000, 0x0004, needs_), \
        TR_PAIR(id_ ".0008", guest, 0x0008, 0x000c, needs_), \
        TR_PAIR(id_ ".000b", guest, 0x000b, 0x000f, needs_), \
        TR_PAIR(id_ ".fff8", guest, 0xfff8, 0xfffc, needs_)

static const struct probe tr_rows[] = {
        TR_PAIRS("long", GUEST_LONG, "host64"),
        TR_PAIRS("compat", GUEST_COMPAT, "host64"),
        TR_PAIRS("pae", GUEST_PAE, NULL),
        TR_PAIRS("32", GUEST_32, NULL),
        TR_PAIRS("v86", GUEST_V86, NULL),
        TR_PAIRS("protected", GUEST_PROTECTED, "unrestricted-guest"),
        TR_PAIRS("real", GUEST_REAL, "unrestricted-guest"),
};

PROBES(tr_ti, tr_rows, .id = "entry.guest.selector.tr",
       .title = "the TI flag of the TR selector must be 0", .sdm = SDM,
       .rules = "ENTG_SEG_TR_TI")

#define LDTR(rights, selector)                          \
        EDITS(SET(GUEST_LDTR_ACCESS_RIGHTS, rights),    \
              SET(GUEST_LDTR_SELECTOR, selector))
#define LDTR_PAIR(id_, guest, needs_)                                  \
        { ROW("usable." id_, "the TI flag of a usable LDTR must be 0", \
              "ENTG_SEG_LDTR_TI_USABLE", needs_),                      \
          .mode = guest, .given = EDITS(SHOW_EXCEPTIONS),              \
          .accept = LDTR(AR_LDT, 0x10), .reject = LDTR(AR_LDT, 0x14),  \
          .outcome = BAD_GUEST },                                      \
        { ROW("unusable." id_,                                         \
              "the TI flag of an unusable LDTR is not checked",        \
              "ENTG_SEG_LDTR_TI_UNUSABLE_OK", needs_),                 \
          .mode = guest, .given = EDITS(SHOW_EXCEPTIONS),              \
          .accept = LDTR(AR_UNUSABLE, 0x14) }

static const struct probe ldtr_rows[] = {
        LDTR_PAIR("long", GUEST_LONG, "host64"),
        LDTR_PAIR("compat", GUEST_COMPAT, "host64"),
        LDTR_PAIR("pae", GUEST_PAE, NULL),
        LDTR_PAIR("v86", GUEST_V86, NULL),
        LDTR_PAIR("protected", GUEST_PROTECTED, "unrestricted-guest"),
        LDTR_PAIR("real", GUEST_REAL, "unrestricted-guest"),
};

PROBES(ldtr_ti, ldtr_rows, .id = "entry.guest.selector.ldtr",
       .title = "the TI flag of the LDTR selector", .sdm = SDM)

/*
 * Bit 16 of the access rights makes a register unusable, not its selector. The
 * type that is refused is read-only for SS, not accessed for the others.
 */
#define NULL_ROW(id_, rule, seg, edit, needs_)                             \
        { ROW(id_, NULL, rule, needs_),                                    \
          .given = EDITS(SHOW_EXCEPTIONS, SET(GUEST_##seg##_SELECTOR, 0)), \
          .reject = EDITS(edit), .outcome = BAD_GUEST }
#define NULL_ROWS(id_, seg, wrong_type, type_rule, base_rule, wrong_base)  \
        NULL_ROW(id_ ".type", type_rule, seg,                              \
                 CLEAR(GUEST_##seg##_ACCESS_RIGHTS, wrong_type), NULL),    \
        NULL_ROW(id_ ".s", "ENTG_SEG_OTHER_S_USABLE", seg,                 \
                 CLEAR(GUEST_##seg##_ACCESS_RIGHTS, AR_S), NULL),          \
        NULL_ROW(id_ ".p", "ENTG_SEG_OTHER_P_USABLE", seg,                 \
                 CLEAR(GUEST_##seg##_ACCESS_RIGHTS, AR_P), NULL),          \
        NULL_ROW(id_ ".limit", "ENTG_SEG_G_LIMIT_LOW", seg,        \
                 CLEAR(GUEST_##seg##_LIMIT, 1), NULL),                     \
        NULL_ROW(id_ ".base", base_rule, seg,                              \
                 SET(GUEST_##seg##_BASE, wrong_base), "host64")
#define NULL_DATA(id_, seg, base_rule, wrong_base) \
        NULL_ROWS(id_, seg, 1, "ENTG_SEG_DATA_TYPE_ACCESSED", base_rule, wrong_base)
#define HIGH_RULE "ENTG_SEG_BASE_SS_DS_ES_HIGH_USABLE"
#define HIGH BIT(32)

static const struct probe null_rows[] = {
        NULL_ROWS("ss", SS, 2, "ENTG_SEG_SS_TYPE_USABLE", HIGH_RULE, HIGH),
        NULL_DATA("ds", DS, HIGH_RULE, HIGH),
        NULL_DATA("es", ES, HIGH_RULE, HIGH),
        NULL_DATA("fs", FS, "ENTG_SEG_BASE_FS_CANONICAL", BIT(63)),
        NULL_DATA("gs", GS, "ENTG_SEG_BASE_GS_CANONICAL", BIT(63)),
};

PROBES(null_usable, null_rows, .id = "entry.guest.selector.null",
       .title = "a null selector does not make a register unusable", .sdm = SDM)

/* What the guest finds, with a selector that a check could have refused. */
#define SEEN(id_, title_, rule, needs_, guest, edits, program_, rax_)     \
        { ROW(id_, title_, rule, needs_), .mode = guest,                  \
          .given = EDITS(SHOW_EXCEPTIONS), .accept = edits,               \
          .program = &program_, .rax = rax_, .rax_mask = 0xffff }
#define UNUSABLE_TI LDTR(AR_UNUSABLE, 0x14)

static const struct probe seen_rows[] = {
        SEEN("tr-null.long", "TR may have a null selector",
             "ENTG_SEG_TR_NULL_SELECTOR_OK", "host64", GUEST_LONG, TR(0),
             get_tr, 0),
        SEEN("tr-null.pae", "TR may have a null selector",
             "ENTG_SEG_TR_NULL_SELECTOR_OK", NULL, GUEST_PAE, TR(0), get_tr, 0),
        SEEN("ldtr-ti.long", "an unusable LDTR keeps its selector",
             "ENTG_SEG_LDTR_TI_UNUSABLE_OK", "host64", GUEST_LONG, UNUSABLE_TI,
             get_ldtr, 0x14),
        SEEN("ldtr-ti.pae", "an unusable LDTR keeps its selector",
             "ENTG_SEG_LDTR_TI_UNUSABLE_OK", NULL, GUEST_PAE, UNUSABLE_TI,
             get_ldtr, 0x14),
};

PROBES(seen, seen_rows, .id = "entry.guest.selector.seen",
       .title = "selectors that the guest finds", .sdm = SDM)

/*
 * CS is conforming with DPL 0, so that no DPL rule joins in: SS.RPL = SS.DPL =
 * @ss_rpl, and only CS.RPL differs. @ss_rights: 0, or AR_UNUSABLE for an SS
 * with nothing but its DPL.
 */
static void rpl_pair(const struct test_case *self, enum guest_mode mode,
                     unsigned cs_rpl, unsigned ss_rpl, u32 ss_rights)
{
        const struct edit *differ = EDITS(CLEAR(GUEST_CS_SELECTOR, 3),
                                          OR(GUEST_CS_SELECTOR, cs_rpl));
        struct probe p = { .mode = mode };

        vm_begin(mode);
        if (!ss_rights)
                ss_rights = (u32)vmread(VMCS_GUEST_SS_ACCESS_RIGHTS);
        p.given = EDITS(SHOW_EXCEPTIONS,
                        OR(GUEST_CS_ACCESS_RIGHTS, AR_TYPE(15)),
                        SET(GUEST_SS_ACCESS_RIGHTS, ss_rights | AR_DPL(ss_rpl)),
                        OR(GUEST_CS_SELECTOR, ss_rpl),
                        OR(GUEST_SS_SELECTOR, ss_rpl));
        if (cs_rpl != ss_rpl) {
                p.reject = differ;
                p.outcome = RESULT(BAD_GUEST);
        }
        probe_check(self, &p);
}

#define RPL(name, guest, needs_)                                           \
FAMILY(rpl_##name, 16, .id = "entry.guest.selector.ss-rpl." #name,         \
       .title = "SS.RPL must equal CS.RPL (number: 4 * CS.RPL + SS.RPL)",  \
       .sdm = SDM, .rules = "ENTG_SEG_SS_RPL_EQ_CS_RPL", .needs = needs_)  \
{                                                                          \
        rpl_pair(self, guest, row >> 2, row & 3, 0);                       \
}
RPL(long, GUEST_LONG, "host64")
RPL(compat, GUEST_COMPAT, "host64")
RPL(pae, GUEST_PAE, "")
RPL(32, GUEST_32, "")

FAMILY(rpl_unusable, 16, .id = "entry.guest.selector.ss-rpl.unusable",
       .title = "the RPL of an unusable SS must equal CS.RPL", .sdm = SDM,
       .rules = "ENTG_SEG_SS_RPL_CHECK_IGNORES_UNUSABLE", .needs = "host64")
{
        rpl_pair(self, GUEST_LONG, row >> 2, row & 3, AR_UNUSABLE);
}

/* The DPLs stay 0, so CPL is 0 whatever the RPLs are. */
static void rpl_exempt(const struct test_case *self, enum guest_mode mode,
                       unsigned cs_rpl, unsigned ss_rpl)
{
        struct probe p = {
                .mode = mode, .prepare = with_unrestricted_guest,
                .program = &privileged, .given = EDITS(SHOW_EXCEPTIONS),
                .accept = EDITS(OR(GUEST_CS_SELECTOR, cs_rpl),
                                OR(GUEST_SS_SELECTOR, ss_rpl)),
        };

        probe_check(self, &p);
}

#define RPL_EXEMPT(name, guest, needs_)                                    \
FAMILY(rpl_exempt_##name, 16,                                              \
       .id = "entry.guest.selector.ss-rpl.unrestricted." #name,            \
       .title = "SS.RPL may differ from CS.RPL and SS.DPL in an "          \
                "unrestricted guest (number: 4 * CS.RPL + SS.RPL)",        \
       .sdm = SDM,                                                         \
       .rules = "ENTG_SEG_SS_RPL_UG_EXEMPT ENTG_SEG_SS_DPL_RPL_UG_EXEMPT", \
       .needs = "unrestricted-guest " needs_)                              \
{                                                                          \
        rpl_exempt(self, guest, row >> 2, row & 3);                        \
}
RPL_EXEMPT(long, GUEST_LONG, "host64")
RPL_EXEMPT(pae, GUEST_PAE, "")
RPL_EXEMPT(protected, GUEST_PROTECTED, "")

/*
 * The control while the secondary controls are off. CS is conforming with DPL
 * 0; the CPL is 0 with one RPL of 3, 3 with RPLs of 0.
 */
#define SECONDARY_OFF \
        EDITS(CLEAR(PRIMARY_CONTROLS, CTL_PRIMARY_ACTIVATE_SECONDARY))
#define INACTIVE(id_, rule, edit)                                           \
        { ROW(id_, NULL, rule), .mode = GUEST_PAE, .reject = SECONDARY_OFF, \
          .given = EDITS(SHOW_EXCEPTIONS,                                   \
                         OR(GUEST_CS_ACCESS_RIGHTS, AR_TYPE(15)), edit),    \
          .prepare = with_unrestricted_guest, .outcome = BAD_GUEST }

static const struct probe inactive_rows[] = {
        INACTIVE("cs-rpl", "ENTG_SEG_SS_RPL_EQ_CS_RPL", OR(GUEST_CS_SELECTOR, 3)),
        INACTIVE("ss-dpl", "ENTG_SEG_SS_DPL_EQ_RPL_NO_UG",
                 OR(GUEST_SS_ACCESS_RIGHTS, AR_DPL(3))),
};

PROBES(inactive, inactive_rows, .id = "entry.guest.selector.ss-rpl.inactive",
       .title = "unrestricted guest does nothing while secondary controls are off",
       .sdm = SDM, .needs = "unrestricted-guest")

/* The low bits are part of the base. */
CASE(v86_rpl, .id = "entry.guest.selector.ss-rpl.v86",
     .title = "in virtual-8086 mode the low bits of SS and CS may differ",
     .sdm = SDM, .rules = "ENTG_SEG_SS_RPL_V86_EXEMPT")
{
        struct probe p = {
                .mode = GUEST_V86, .program = &shifted,
                .given = EDITS(SHOW_EXCEPTIONS),
        };

        for (unsigned low = 0; low < 4; low++) {
                p.accept = EDITS(OR(GUEST_CS_SELECTOR, 1), OR(GUEST_CS_BASE, 16),
                                 OR(GUEST_SS_SELECTOR, low),
                                 OR(GUEST_SS_BASE, 16 * low));
                probe_check(self, &p);
        }
}
