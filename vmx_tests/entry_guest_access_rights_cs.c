/*
 * SDM Vol. 3, VM Entries > Checks on the Guest State Area > Checks on Guest
 * Segment Registers: the access rights of CS. G: entry_guest_segment_limits.c.
 */
#include "lib/check.h"
#include "x86/cpu.h"
#include "x86/vmx/probe.h"
#include "x86/vmx/segment.h"

#define SDM "VM Entries > Checks on Guest Segment Registers"

#define CODE64 (AR_G | AR_L | AR_P | AR_S)
#define CODE32 (AR_G | AR_DB | AR_P | AR_S)
#define CODE16 (AR_P | AR_S)

static const struct edit *const shown = EDITS(SHOW_EXCEPTIONS);

static bool is_code(unsigned type)
{
        return type == 9 || type == 11 || type == 13 || type == 15;
}

#define TYPES(name, guest, prepare_, rights, data_legal, rule, needs_)       \
FAMILY(type_##name, 16, .id = "entry.guest.cs.type." #name,                  \
       .title = "a type of CS", .sdm = SDM, .rules = rule, .needs = needs_)  \
{                                                                            \
        struct probe p = {                                                   \
                .mode = guest, .prepare = prepare_, .given = shown,          \
        };                                                                   \
                                                                             \
        segment_rights_check(self, &p, SEG_CS, (rights) | AR_TYPE(row),      \
                             is_code(row) || (row == 3 && data_legal));      \
}
#define NO_UG "ENTG_SEG_CS_TYPE_NO_UG"
#define UG "ENTG_SEG_CS_TYPE_UG"
#define UG_PROTECTED "ENTG_SEG_CS_TYPE_UG ENTG_SEG_CS_TYPE3_PROTECTED_MODE_OK"
TYPES(long, GUEST_LONG, NULL, CODE64, false, NO_UG, "host64")
TYPES(compat, GUEST_COMPAT, NULL, CODE32, false, NO_UG, "host64")
TYPES(pae, GUEST_PAE, NULL, CODE32, false, NO_UG, "")
TYPES(32, GUEST_32, NULL, CODE32, false, NO_UG, "")
TYPES(pae_unrestricted, GUEST_PAE, with_unrestricted_guest, CODE32, true,
      UG_PROTECTED, "unrestricted-guest")
TYPES(protected, GUEST_PROTECTED, NULL, CODE32, true, UG_PROTECTED,
      "unrestricted-guest")
TYPES(real, GUEST_REAL, NULL, CODE16, true, UG, "unrestricted-guest")
#define UNUSABLE_CS " ENTG_SEG_CS_UNUSABLE_BIT_ACCEPTED"
TYPES(unusable, GUEST_LONG, NULL, CODE64 | AR_UNUSABLE, false,
      NO_UG UNUSABLE_CS, "host64")

/* One bit alone, of usable and of unusable rights. */
#define FLAGS(name, guest, rights, needs_)                                   \
FAMILY(s_##name, 2, .id = "entry.guest.cs.s." #name,                         \
       .title = "S must be 1 (number 1: in an unusable CS too)", .sdm = SDM, \
       .rules = "ENTG_SEG_CS_S", .needs = needs_)                            \
{                                                                            \
        struct probe p = { .mode = guest };                                  \
                                                                             \
        segment_rights_check(self, &p, SEG_CS, (((rights) | AR_TYPE(11)) &   \
                             ~AR_S) | (row ? AR_UNUSABLE : 0), false);       \
}                                                                            \
FAMILY(p_##name, 2, .id = "entry.guest.cs.p." #name,                         \
       .title = "P must be 1 (number 1: in an unusable CS too)", .sdm = SDM, \
       .rules = "ENTG_SEG_CS_P", .needs = needs_)                            \
{                                                                            \
        struct probe p = { .mode = guest };                                  \
                                                                             \
        segment_rights_check(self, &p, SEG_CS, (((rights) | AR_TYPE(11)) &   \
                             ~AR_P) | (row ? AR_UNUSABLE : 0), false);       \
}                                                                            \
FAMILY(reserved_low_##name, 4, .id = "entry.guest.cs.reserved-11-8." #name,  \
       .title = "a reserved bit from 8 on must be 0", .sdm = SDM,            \
       .rules = "ENTG_SEG_CS_AR_11_8 ENTG_SEG_AR_RESERVED_VMWRITE_IGNORED",  \
       .needs = needs_)                                                      \
{                                                                            \
        struct probe p = { .mode = guest, .given = shown };                  \
                                                                             \
        segment_reserved_check(self, &p, SEG_CS, 8 + row);                   \
}                                                                            \
FAMILY(reserved_high_##name, 15,                                             \
       .id = "entry.guest.cs.reserved-31-17." #name,                         \
       .title = "a reserved bit from 17 on must be 0", .sdm = SDM,           \
       .rules = "ENTG_SEG_CS_AR_31_17 ENTG_SEG_AR_RESERVED_VMWRITE_IGNORED", \
       .needs = needs_)                                                      \
{                                                                            \
        struct probe p = { .mode = guest, .given = shown };                  \
                                                                             \
        segment_reserved_check(self, &p, SEG_CS, 17 + row);                  \
}
FLAGS(long, GUEST_LONG, CODE64, "host64")
FLAGS(compat, GUEST_COMPAT, CODE32, "host64")
FLAGS(pae, GUEST_PAE, CODE32, "")
FLAGS(protected, GUEST_PROTECTED, CODE32, "unrestricted-guest")
FLAGS(real, GUEST_REAL, CODE16, "unrestricted-guest")

FAMILY(reserved_unusable, AR_RESERVED_BITS,
       .id = "entry.guest.cs.reserved.unusable",
       .title = "reserved bits 11:8 and 31:17 of an unusable CS must be 0",
       .sdm = SDM, .rules = "ENTG_SEG_CS_AR_11_8 ENTG_SEG_CS_AR_31_17 "
       "ENTG_SEG_AR_RESERVED_VMWRITE_IGNORED", .needs = "host64")
{
        struct probe p = {
                .mode = GUEST_LONG, .given = EDITS(SHOW_EXCEPTIONS,
                        OR(GUEST_CS_ACCESS_RIGHTS, AR_UNUSABLE)),
        };

        segment_reserved_check(self, &p, SEG_CS, AR_RESERVED_BIT(row));
}

/* 32-bit code: EAX = 90901234H; 16-bit code: AX = 1234H, two NOPs. */
PROGRAM(operand_size, 32, "mov $0x90901234, %eax\nvmcall\n");

/* 16-bit code begins at offset 0, where its instruction pointer reaches. */
static void code_at_0(struct vm *vm)
{
        vm->regs.rax = 0;
        vmwrite(VMCS_GUEST_CS_BASE, vm->entry_rip);
        vmwrite(VMCS_GUEST_RIP, 0);
}

#define RIGHTS(value) EDITS(SET(GUEST_CS_ACCESS_RIGHTS, value))
#define SIZE_ROW(id_, title_, rule, needs_, guest, rights, rax_)            \
        { ROW(id_, title_, rule, needs_), .mode = guest,                    \
          .accept = RIGHTS(rights), .program = &operand_size,               \
          .prepare = code_at_0, .rax = rax_, .rax_mask = 0xffffffff }
#define L_RULE "ENTG_SEG_CS_DB_L_OUTSIDE_IA32E_OK"

static const struct probe rows[] = {
        { ROW("l-and-db", "D/B must be 0 with L = 1 in IA-32e mode",
              "ENTG_SEG_CS_DB_WITH_L", "host64"),
          .mode = GUEST_LONG, .reject = RIGHTS(CODE64 | AR_TYPE(11) | AR_DB),
          .outcome = BAD_GUEST },
        { ROW("l-and-db-compat", "D/B = 1 must go with L = 0 in IA-32e mode",
              "ENTG_SEG_CS_DB_WITH_L", "host64"),
          .mode = GUEST_COMPAT, .reject = RIGHTS(CODE32 | AR_TYPE(11) | AR_L),
          .outcome = BAD_GUEST },
        SIZE_ROW("compat-32", "L = 0 and D/B = 1 in IA-32e mode",
                 "ENTG_SEG_CS_DB_WITH_L", "host64", GUEST_COMPAT,
                 CODE32 | AR_TYPE(11), 0x90901234),
        SIZE_ROW("compat-16", "L = 0 and D/B = 0 in IA-32e mode",
                 "ENTG_SEG_CS_DB_WITH_L", "host64", GUEST_COMPAT,
                 (CODE32 | AR_TYPE(11)) & ~AR_DB, 0x1234),
        SIZE_ROW("l-and-db-pae", "L = 1 and D/B = 1 outside IA-32e mode",
                 L_RULE, NULL, GUEST_PAE, CODE32 | AR_TYPE(11) | AR_L,
                 0x90901234),
        SIZE_ROW("l-pae", "L = 1 and D/B = 0 outside IA-32e mode", L_RULE, NULL,
                 GUEST_PAE, (CODE32 | AR_TYPE(11) | AR_L) & ~AR_DB, 0x1234),
        SIZE_ROW("l-and-db-protected", "L = 1 and D/B = 1 without paging",
                 L_RULE, "unrestricted-guest", GUEST_PROTECTED,
                 CODE32 | AR_TYPE(11) | AR_L, 0x90901234),
        SIZE_ROW("data-32", "type 3 with D/B = 1, protected mode",
                 "ENTG_SEG_CS_TYPE3_PROTECTED_MODE_OK", "unrestricted-guest",
                 GUEST_PROTECTED, CODE32 | AR_TYPE(3), 0x90901234),
        SIZE_ROW("data-16", "type 3 with D/B = 0, protected mode",
                 "ENTG_SEG_CS_TYPE3_PROTECTED_MODE_OK", "unrestricted-guest",
                 GUEST_PROTECTED, (CODE32 | AR_TYPE(3)) & ~AR_DB, 0x1234),
        { ROW("avl.long", "AVL may be 1", "ENTG_SEG_AVL_FREE", "host64"),
          .mode = GUEST_LONG, .accept = RIGHTS(CODE64 | AR_TYPE(11) | AR_AVL) },
        { ROW("avl.pae", "AVL may be 1", "ENTG_SEG_AVL_FREE"),
          .mode = GUEST_PAE, .accept = RIGHTS(CODE32 | AR_TYPE(11) | AR_AVL) },
        { ROW("l-and-db-unusable", "D/B must be 0 with L = 1 in an unusable CS",
              "ENTG_SEG_CS_DB_WITH_L" UNUSABLE_CS, "host64"),
          .mode = GUEST_LONG,
          .accept = RIGHTS(CODE64 | AR_TYPE(11) | AR_UNUSABLE),
          .reject = RIGHTS(CODE64 | AR_TYPE(11) | AR_DB | AR_UNUSABLE),
          .outcome = BAD_GUEST },
        { ROW("g-unusable", "an unusable CS with limit FFFFFFFFH needs G = 1",
              "ENTG_SEG_G_LIMIT_HIGH" UNUSABLE_CS, "host64"),
          .mode = GUEST_LONG,
          .accept = RIGHTS(CODE64 | AR_TYPE(11) | AR_UNUSABLE),
          .reject = RIGHTS((CODE64 | AR_TYPE(11) | AR_UNUSABLE) & ~AR_G),
          .outcome = BAD_GUEST },
        { ROW("g-unusable-low", "an unusable CS with limit 0 needs G = 0",
              "ENTG_SEG_G_LIMIT_LOW" UNUSABLE_CS, "host64"),
          .mode = GUEST_LONG,
          .accept = EDITS(SET(GUEST_CS_LIMIT, 0),
                          SET(GUEST_CS_ACCESS_RIGHTS,
                              (CODE64 | AR_TYPE(11) | AR_UNUSABLE) & ~AR_G)),
          .reject = EDITS(SET(GUEST_CS_LIMIT, 0),
                          SET(GUEST_CS_ACCESS_RIGHTS,
                              CODE64 | AR_TYPE(11) | AR_UNUSABLE)),
          .outcome = BAD_GUEST },
        { ROW("type-3-inactive", "type 3 while secondary controls are off",
              NO_UG, "unrestricted-guest"),
          .mode = GUEST_PAE, .prepare = with_unrestricted_guest,
          .accept = RIGHTS(CODE32 | AR_TYPE(3)),
          .reject = EDITS(SET(GUEST_CS_ACCESS_RIGHTS, CODE32 | AR_TYPE(3)),
                          CLEAR(PRIMARY_CONTROLS,
                                CTL_PRIMARY_ACTIVATE_SECONDARY)),
          .outcome = BAD_GUEST },
        { ROW("unusable", "an unusable CS with valid rights is accepted",
              "ENTG_SEG_CS_UNUSABLE_BIT_ACCEPTED", "host64"),
          .mode = GUEST_LONG,
          .accept = RIGHTS(CODE64 | AR_TYPE(11) | AR_UNUSABLE) },
};

TABLE(cs_rows, rows, .id = "entry.guest.cs", .title = "access rights of CS",
      .sdm = SDM)
{
        struct probe p = *(const struct probe *)case_row(self, row);

        p.given = shown;
        probe_check(self, &p);
}

/*
 * CS.DPL against SS.DPL, with RPLs of SS.DPL. The accepted side has CS.DPL =
 * SS.DPL, or both 0 for type 3.
 */
static void dpl_pair(const struct test_case *self, enum guest_mode mode,
                     u32 cs_rights, unsigned type, unsigned number, bool usable)
{
        unsigned cs_dpl = number >> 2, ss_dpl = number & 3;
        unsigned other_dpl = type == 3 ? 0 : ss_dpl;
        u32 ss = usable ? AR_G | AR_DB | AR_P | AR_S | AR_TYPE(3) : AR_UNUSABLE;
        bool legal = type == 3 ? !number : type < 12 ? cs_dpl == ss_dpl
                                                     : cs_dpl <= ss_dpl;
        const struct edit *edits = EDITS(
                SET(GUEST_CS_ACCESS_RIGHTS, cs_rights | AR_TYPE(type) | AR_DPL(cs_dpl)),
                SET(GUEST_SS_ACCESS_RIGHTS, ss | AR_DPL(ss_dpl)));
        struct probe p = {
                .mode = mode,
                .given = EDITS(SHOW_EXCEPTIONS, OR(GUEST_CS_SELECTOR, ss_dpl),
                               OR(GUEST_SS_SELECTOR, ss_dpl),
                               SET(GUEST_CS_ACCESS_RIGHTS,
                                   cs_rights | AR_TYPE(type) | AR_DPL(other_dpl)),
                               SET(GUEST_SS_ACCESS_RIGHTS, ss | AR_DPL(other_dpl))),
        };

        probe_legal(self, &p, edits, legal, RESULT(BAD_GUEST));
}

#define DPL(name, guest, rights, type, usable, rules_, needs_)                 \
FAMILY(dpl_##name##_##type, 16, .id = "entry.guest.cs.dpl." #name ".type-" #type, \
       .title = "CS.DPL and SS.DPL (number: 4 * CS.DPL + SS.DPL)", .sdm = SDM, \
       .rules = rules_, .needs = needs_)                                       \
{                                                                              \
        dpl_pair(self, guest, rights, type, row, usable);                      \
}
#define NONCONFORMING "ENTG_SEG_CS_DPL_NONCONFORMING"
#define CONFORMING "ENTG_SEG_CS_DPL_CONFORMING"
#define DPLS(name, guest, rights, usable, also, needs_)                   \
        DPL(name, guest, rights, 9, usable, NONCONFORMING also, needs_)   \
        DPL(name, guest, rights, 11, usable, NONCONFORMING also, needs_)  \
        DPL(name, guest, rights, 13, usable, CONFORMING also, needs_)     \
        DPL(name, guest, rights, 15, usable, CONFORMING also, needs_)
DPLS(long, GUEST_LONG, CODE64, true, "", "host64")
DPLS(compat, GUEST_COMPAT, CODE32, true, "", "host64")
DPLS(pae, GUEST_PAE, CODE32, true, "", "")
DPLS(protected, GUEST_PROTECTED, CODE32, true, "", "unrestricted-guest")
DPLS(unusable, GUEST_LONG, CODE64, false, " ENTG_SEG_CS_DPL_USES_UNUSABLE_SS",
     "host64")
DPL(unusable_cs, GUEST_LONG, CODE64 | AR_UNUSABLE, 11, true,
    NONCONFORMING UNUSABLE_CS, "host64")
DPL(unusable_cs, GUEST_LONG, CODE64 | AR_UNUSABLE, 15, true,
    CONFORMING UNUSABLE_CS, "host64")
DPL(protected, GUEST_PROTECTED, CODE32, 3, true,
    "ENTG_SEG_CS_DPL_TYPE3 ENTG_SEG_SS_DPL_ZERO_CS_TYPE3", "unrestricted-guest")
