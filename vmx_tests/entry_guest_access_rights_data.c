/*
 * SDM Vol. 3, VM Entries > Checks on the Guest State Area > Checks on Guest
 * Segment Registers: the access rights of DS, ES, FS and GS. G:
 * entry_guest_segment_limits.c.
 */
#include "lib/check.h"
#include "x86/cpu.h"
#include "x86/memory.h"
#include "x86/vmx/probe.h"
#include "x86/vmx/segment.h"

#define SDM "VM Entries > Checks on Guest Segment Registers"

#define DATA32 (AR_G | AR_DB | AR_P | AR_S)
#define DATA16 (AR_P | AR_S)
#define RW AR_TYPE(3)

static const struct edit *const shown = EDITS(SHOW_EXCEPTIONS);

/* Accessed; readable if it is code. */
static bool type_is_legal(unsigned type)
{
        return type & 1 && (!(type & 8) || type & 2);
}

static void type_check(const struct test_case *self, enum guest_mode mode,
                       enum segment seg, u32 rights, unsigned type)
{
        struct probe p = { .mode = mode, .given = shown };

        segment_rights_check(self, &p, seg, rights | AR_TYPE(type),
                             type_is_legal(type));
}

static void flag_check(const struct test_case *self, enum guest_mode mode,
                       enum segment seg, u32 rights, u32 missing)
{
        struct probe p = { .mode = mode };

        segment_rights_check(self, &p, seg, (rights | RW) & ~missing, false);
}

static void avl_check(const struct test_case *self, enum guest_mode mode,
                      enum segment seg, u32 rights)
{
        struct probe p = { .mode = mode, .given = shown };

        segment_rights_check(self, &p, seg, rights | RW | AR_AVL, true);
}

static void reserved_check(const struct test_case *self, enum guest_mode mode,
                           enum segment seg, unsigned bit)
{
        struct probe p = { .mode = mode, .given = shown };

        segment_reserved_check(self, &p, seg, bit);
}

#define ONE(reg, SEG, name, guest, rights, needs_)                           \
FAMILY(type_##reg##_##name, 16, .id = "entry.guest." #reg ".type." #name,    \
       .title = "a type of a usable register", .sdm = SDM,                   \
       .rules = "ENTG_SEG_DATA_TYPE_ACCESSED ENTG_SEG_DATA_TYPE_READABLE "   \
                "ENTG_SEG_DATA_TYPE_ACCEPT", .needs = needs_)                \
{                                                                            \
        type_check(self, guest, SEG, rights, row);                           \
}                                                                            \
CASE(s_##reg##_##name, .id = "entry.guest." #reg ".s." #name,                \
     .title = "S of a usable register must be 1", .sdm = SDM,                \
     .rules = "ENTG_SEG_OTHER_S_USABLE", .needs = needs_)                    \
{                                                                            \
        flag_check(self, guest, SEG, rights, AR_S);                          \
}                                                                            \
CASE(p_##reg##_##name, .id = "entry.guest." #reg ".p." #name,                \
     .title = "P of a usable register must be 1", .sdm = SDM,                \
     .rules = "ENTG_SEG_OTHER_P_USABLE", .needs = needs_)                    \
{                                                                            \
        flag_check(self, guest, SEG, rights, AR_P);                          \
}                                                                            \
CASE(avl_##reg##_##name, .id = "entry.guest." #reg ".avl." #name,            \
     .title = "AVL may be 1", .sdm = SDM, .rules = "ENTG_SEG_AVL_FREE",      \
     .needs = needs_)                                                        \
{                                                                            \
        avl_check(self, guest, SEG, rights);                                 \
}                                                                            \
FAMILY(reserved_##reg##_##name, AR_RESERVED_BITS,                            \
       .id = "entry.guest." #reg ".reserved." #name,                         \
       .title = "bits 11:8 and 31:17 of a usable register must be 0",        \
       .sdm = SDM, .rules = "ENTG_SEG_OTHER_AR_11_8_USABLE "                 \
       "ENTG_SEG_OTHER_AR_31_17_USABLE "                                     \
       "ENTG_SEG_AR_RESERVED_VMWRITE_IGNORED", .needs = needs_)              \
{                                                                            \
        reserved_check(self, guest, SEG, AR_RESERVED_BIT(row));              \
}
#define FOUR(WHAT, ...)                                                      \
        WHAT(ds, SEG_DS, __VA_ARGS__) WHAT(es, SEG_ES, __VA_ARGS__)          \
        WHAT(fs, SEG_FS, __VA_ARGS__) WHAT(gs, SEG_GS, __VA_ARGS__)
FOUR(ONE, long, GUEST_LONG, DATA32, "host64")
FOUR(ONE, pae, GUEST_PAE, DATA32, "")
FOUR(ONE, real, GUEST_REAL, DATA16, "unrestricted-guest")

/* Each bit alone, all, none; with a limit that no G allows, and RPL 3. */
static void unusable_check(const struct test_case *self, enum guest_mode mode,
                           enum segment seg, unsigned number)
{
        u32 rights = number < 32 ? (u32)BIT(number) : number == 32 ? ~0u : 0;
        struct probe p = {
                .mode = mode,
                .given = EDITS(SHOW_EXCEPTIONS, EDIT(OR, SEG_SELECTOR(seg), 3),
                               EDIT(SET, SEG_RIGHTS(seg), AR_UNUSABLE),
                               EDIT(SET, SEG_LIMIT(seg), 0xfff00000)),
        };

        segment_rights_check(self, &p, seg, rights | AR_UNUSABLE, true);
}

#define UNUSABLE(reg, SEG, name, guest, needs_)                              \
FAMILY(unusable_##reg##_##name, 34,                                          \
       .id = "entry.guest." #reg ".unusable." #name,                         \
       .title = "nothing of an unusable register is checked (numbers 32 and "\
                "33: all bits, none)", .sdm = SDM,                           \
       .rules = "ENTG_SEG_DATA_UNUSABLE_UNCHECKED", .needs = needs_)         \
{                                                                            \
        unusable_check(self, guest, SEG, row);                               \
}
FOUR(UNUSABLE, long, GUEST_LONG, "host64")
FOUR(UNUSABLE, pae, GUEST_PAE, "")

/* DPL against RPL, for a data type and for code. */
static void dpl_check(const struct test_case *self, enum guest_mode mode,
                      void (*prepare)(struct vm *), enum segment seg,
                      unsigned type, unsigned number, bool exempt)
{
        unsigned dpl = number >> 2, rpl = number & 3;
        struct probe p = {
                .mode = mode, .prepare = prepare,
                .given = EDITS(SHOW_EXCEPTIONS, EDIT(OR, SEG_SELECTOR(seg), rpl),
                               EDIT(SET, SEG_RIGHTS(seg),
                                    DATA32 | AR_TYPE(type) | AR_DPL(3))),
        };

        segment_rights_check(self, &p, seg, DATA32 | AR_TYPE(type) | AR_DPL(dpl),
                             exempt || dpl >= rpl);
}

#define DPL(reg, SEG, type, name, guest, prepare, exempt, rules_, needs_)      \
FAMILY(dpl_##reg##_##name##_##type, 16,                                        \
       .id = "entry.guest." #reg ".dpl." #name ".type-" #type,                 \
       .title = "DPL and RPL of a usable register (number: 4 * DPL + RPL)",    \
       .sdm = SDM, .rules = rules_, .needs = needs_)                           \
{                                                                              \
        dpl_check(self, guest, prepare, SEG, type, row, exempt);               \
}
#define DPLS(reg, SEG, name, guest, needs_)                                    \
        DPL(reg, SEG, 3, name, guest, NULL, false,                             \
            "ENTG_SEG_DATA_DPL_GE_RPL_NO_UG", needs_)                          \
        DPL(reg, SEG, 11, name, guest, NULL, false,                            \
            "ENTG_SEG_DATA_DPL_GE_RPL_NO_UG", needs_)                          \
        DPL(reg, SEG, 15, name, guest, NULL, true,                             \
            "ENTG_SEG_DATA_DPL_CONFORMING_EXEMPT", needs_)
#define DPLS_EXEMPT(reg, SEG, name, guest, prepare, needs_)                    \
        DPL(reg, SEG, 3, name, guest, prepare, true,                           \
            "ENTG_SEG_DATA_DPL_UG_EXEMPT", needs_)                             \
        DPL(reg, SEG, 11, name, guest, prepare, true,                          \
            "ENTG_SEG_DATA_DPL_UG_EXEMPT", needs_)
FOUR(DPLS, long, GUEST_LONG, "host64")
FOUR(DPLS, pae, GUEST_PAE, "")
FOUR(DPLS_EXEMPT, protected, GUEST_PROTECTED, NULL, "unrestricted-guest")
FOUR(DPLS_EXEMPT, pae_unrestricted, GUEST_PAE, with_unrestricted_guest,
     "unrestricted-guest")

/* "Unrestricted guest" counts while the secondary controls are on. */
#define INACTIVE(reg, SEG, type, needs_)                                       \
CASE(dpl_##reg##_inactive, .id = "entry.guest." #reg ".dpl.inactive",          \
     .title = "DPL 0 with RPL 3 while secondary controls are off", .sdm = SDM, \
     .rules = "ENTG_SEG_DATA_DPL_GE_RPL_NO_UG", .needs = "unrestricted-guest") \
{                                                                              \
        struct probe p = {                                                     \
                .mode = GUEST_PAE, .prepare = with_unrestricted_guest,         \
                .given = EDITS(SHOW_EXCEPTIONS, EDIT(OR, SEG_SELECTOR(SEG), 3)), \
                .reject = EDITS(CLEAR(PRIMARY_CONTROLS,                        \
                                      CTL_PRIMARY_ACTIVATE_SECONDARY)),        \
                .outcome = BAD_GUEST,                                          \
        };                                                                     \
                                                                               \
        probe_check(self, &p);                                                 \
}
FOUR(INACTIVE, 3, "")

/* Reads through each of the registers, whose selectors are null. */
PROGRAM(load_ds, 32, "movl %ds:(%ebx), %eax\nvmcall\n");
PROGRAM(load_es, 32, "movl %es:(%ebx), %eax\nvmcall\n");
PROGRAM(load_fs, 32, "movl %fs:(%ebx), %eax\nvmcall\n");
PROGRAM(load_gs, 32, "movl %gs:(%ebx), %eax\nvmcall\n");
PROGRAM(load_ss, 32, "movl %ss:(%ebx), %eax\nvmcall\n");

static u32 *data;

static void point_ebx(struct vm *vm)
{
        vm->regs.rbx = (ulong)data;
}

#define NULL_ROW(reg, REG)                                                   \
        { ROW(#reg), .mode = GUEST_PAE, .prepare = point_ebx,                \
          .accept = EDITS(SET(GUEST_##REG##_SELECTOR, 0)),                   \
          .program = &load_##reg, .rax = 0x600df00d, .rax_mask = 0xffffffff }

static const struct probe null_rows[] = {
        NULL_ROW(ds, DS), NULL_ROW(es, ES), NULL_ROW(fs, FS), NULL_ROW(gs, GS),
        NULL_ROW(ss, SS),
};

TABLE(null_selector, null_rows, .id = "entry.guest.usable-null-selector",
      .title = "a usable register may have a null selector, and can be used",
      .sdm = SDM, .rules = "ENTG_SEG_USABLE_NULL_SELECTOR_OK")
{
        struct probe p = *(const struct probe *)case_row(self, row);

        data = page_alloc(1);
        *data = 0x600df00d;
        p.given = shown;
        probe_check(self, &p);
}
