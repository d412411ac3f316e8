/*
 * Tables of memory operands that fault: boundary pairs of one VMX instruction
 * with its operand at an address that is just accessible and at one that just
 * is not. SDM Vol. 3, VMX Instruction Reference, the exceptions of each.
 */
#ifndef X86_VMX_OPERAND_H
#define X86_VMX_OPERAND_H

#include "lib/check.h"
#include "x86/vmx/raw.h"

struct operand;

/* Puts the operand in its place, accessible or (@rejected) not. */
typedef void place_fn(struct operand *o, bool rejected);

/* Paging. */
place_fn place_not_present, place_reserved_bit, place_smap, place_write_protected;
place_fn place_split;
/* Not aligned; over a cache line; a segment base. */
place_fn place_odd, place_line, place_fs_override, place_gs_override, place_sib;
#ifdef __x86_64__
/* Canonical addresses; null selectors; other encodings. */
place_fn place_canonical, place_canonical_end, place_fs_base, place_gs_base;
place_fn place_rbp, place_rsp, place_null_selectors;
place_fn place_rex_w, place_address_size, place_rip_relative;

#define place_ds_limit NULL
#define place_es_limit NULL
#define place_fs_limit NULL
#define place_gs_limit NULL
#define place_cs_limit NULL
#define place_ss_limit_ebp NULL
#define place_ss_limit_prefix NULL
#define place_ds_null NULL
#define place_es_null NULL
#define place_fs_null NULL
#define place_gs_null NULL
#define place_execute_only NULL
#define place_read_only NULL
#define place_code NULL
#define place_code_execute_only NULL
#define place_address_16 NULL

/* Ends what the canonical places mapped. */
void operand_unmap(void);
#else
/* A segment's limit; a null selector; a type. */
place_fn place_ds_limit, place_es_limit, place_fs_limit, place_gs_limit;
place_fn place_cs_limit, place_ss_limit_ebp, place_ss_limit_prefix;
place_fn place_ds_null, place_es_null, place_fs_null, place_gs_null;
place_fn place_execute_only, place_read_only, place_code, place_code_execute_only;
place_fn place_address_16;

#define place_canonical NULL
#define place_canonical_end NULL
#define place_fs_base NULL
#define place_gs_base NULL
#define place_rbp NULL
#define place_rsp NULL
#define place_null_selectors NULL
#define place_rex_w NULL
#define place_address_size NULL
#define place_rip_relative NULL

static inline void operand_unmap(void)
{
}
#endif

struct operand_row {
        struct row head;
        u8 insn;                    /* enum insn_id, one with a memory operand */
        place_fn *place;
        struct vmx_result outcome;  /* kind 0: there is no rejected side */
};

/* The body of a table of struct operand_row. */
void operand_run(const struct test_case *self, unsigned row);

#define OPERANDS(name, rows, ...) \
        TABLE(name, rows, __VA_ARGS__) { operand_run(self, row); }

#define OPERAND_ROW(N, ID, TITLE, RULE, NEEDS, PLACE, ...)              \
        { .head = { ID, #N ": " TITLE, RULE, NEEDS },                   \
          .insn = INSN_##N, .place = place_##PLACE, .outcome = __VA_ARGS__ }

#define OPERAND_GP FAULT_CODE(VEC_GP, 0)
#define OPERAND_SS FAULT_CODE(VEC_SS, 0)

/* @N as in the catalogue's ids (INS_N_MEM_...); @W: PF_W if it writes, or 0. */
#define OPERAND_ROWS(N, W)                                                     \
        OPERAND_ROW(N, "ds-limit", "an operand beyond the limit of DS",        \
                    "INS_" #N "_MEM_GP_LIMIT", "host32", ds_limit, OPERAND_GP),\
        OPERAND_ROW(N, "es-limit", "an operand beyond the limit of ES",        \
                    "INS_" #N "_MEM_GP_LIMIT", "host32", es_limit, OPERAND_GP),\
        OPERAND_ROW(N, "fs-limit", "an operand beyond the limit of FS",        \
                    "INS_" #N "_MEM_GP_LIMIT", "host32", fs_limit, OPERAND_GP),\
        OPERAND_ROW(N, "gs-limit", "an operand beyond the limit of GS",        \
                    "INS_" #N "_MEM_GP_LIMIT", "host32", gs_limit, OPERAND_GP),\
        OPERAND_ROW(N, "ss-limit-ebp", "an operand beyond the limit of SS",    \
                    "INS_" #N "_MEM_SS_LIMIT", "host32", ss_limit_ebp,         \
                    OPERAND_SS),                                               \
        OPERAND_ROW(N, "ss-limit-prefix",                                      \
                    "SS override, an operand beyond the limit",                \
                    "INS_" #N "_MEM_SS_LIMIT", "host32", ss_limit_prefix,      \
                    OPERAND_SS),                                               \
        OPERAND_ROW(N, "ds-null", "an operand in a null DS",                   \
                    "INS_" #N "_MEM_GP_NULL", "host32", ds_null, OPERAND_GP),  \
        OPERAND_ROW(N, "es-null", "an operand in a null ES",                   \
                    "INS_" #N "_MEM_GP_NULL", "host32", es_null, OPERAND_GP),  \
        OPERAND_ROW(N, "fs-null", "an operand in a null FS",                   \
                    "INS_" #N "_MEM_GP_NULL", "host32", fs_null, OPERAND_GP),  \
        OPERAND_ROW(N, "gs-null", "an operand in a null GS",                   \
                    "INS_" #N "_MEM_GP_NULL", "host32", gs_null, OPERAND_GP),  \
        OPERAND_ROW(N, "canonical", "an operand at the first address that is " \
                    "not canonical", "INS_" #N "_MEM_GP_NONCANON", "host64",   \
                    canonical, OPERAND_GP),                                    \
        OPERAND_ROW(N, "canonical-end", "an operand that ends beyond the "     \
                    "canonical addresses", "INS_" #N "_MEM_GP_NONCANON",       \
                    "host64", canonical_end, OPERAND_GP),                      \
        OPERAND_ROW(N, "fs-base", "FS base and offset give an address that "   \
                    "is not canonical", "INS_" #N "_MEM_GP_NONCANON",          \
                    "host64", fs_base, OPERAND_GP),                            \
        OPERAND_ROW(N, "gs-base", "GS base and offset give an address that "   \
                    "is not canonical", "INS_" #N "_MEM_GP_NONCANON",          \
                    "host64", gs_base, OPERAND_GP),                            \
        OPERAND_ROW(N, "rbp", "RBP gives an address that is not canonical",    \
                    "INS_" #N "_MEM_SS_NONCANON", "host64", rbp, OPERAND_SS),  \
        OPERAND_ROW(N, "rsp", "RSP and an index give an address that is not "  \
                    "canonical", "INS_" #N "_MEM_SS_NONCANON", "host64", rsp,  \
                    OPERAND_SS),                                               \
        OPERAND_ROW(N, "null-selectors", "null DS, ES and SS in 64-bit mode",  \
                    "INS_MEM_NULL_64BIT", "host64", null_selectors, { 0 }),    \
        OPERAND_ROW(N, "not-present", "an operand in a page not present",      \
                    "INS_" #N "_MEM_PF", NULL, not_present,                    \
                    FAULT_CODE(VEC_PF, W)),                                    \
        OPERAND_ROW(N, "reserved-bit", "an operand in a page whose entry has " \
                    "a reserved bit set", "INS_" #N "_MEM_PF",                 \
                    "physical-below-52", reserved_bit,                         \
                    FAULT_CODE(VEC_PF, PF_P | PF_RSVD | W)),                   \
        OPERAND_ROW(N, "smap", "an operand in a user page under SMAP",         \
                    "INS_" #N "_MEM_PF", "smap", smap,                         \
                    FAULT_CODE(VEC_PF, PF_P | W)),                             \
        OPERAND_ROW(N, "split", "an operand over two pages, the second not "   \
                    "present", "INS_" #N "_MEM_PF_SPLIT", NULL, split,         \
                    FAULT_CODE(VEC_PF, W)),                                    \
        OPERAND_ROW(N, "odd", "an operand at an odd address",                  \
                    "INS_" #N "_MEM_UNALIGNED", NULL, odd, { 0 }),             \
        OPERAND_ROW(N, "line", "an operand over two cache lines",              \
                    "INS_" #N "_MEM_UNALIGNED", NULL, line, { 0 }),            \
        OPERAND_ROW(N, "rex-w", "REX.W changes nothing",                       \
                    "INS_PREFIX_REX_SEG_ADDR", "host64", rex_w, { 0 }),        \
        OPERAND_ROW(N, "fs-override", "an operand relative to FS",             \
                    "INS_PREFIX_REX_SEG_ADDR", NULL, fs_override, { 0 }),      \
        OPERAND_ROW(N, "gs-override", "an operand relative to GS",             \
                    "INS_PREFIX_REX_SEG_ADDR", NULL, gs_override, { 0 }),      \
        OPERAND_ROW(N, "address-size", "an address-size prefix",               \
                    "INS_PREFIX_REX_SEG_ADDR", "host64", address_size, { 0 }), \
        OPERAND_ROW(N, "address-16", "a 16-bit address that wraps",            \
                    "INS_MEM_ADDRESSING", "host32", address_16, { 0 }),        \
        OPERAND_ROW(N, "sib", "base, scaled index and displacement",           \
                    "INS_MEM_ADDRESSING", NULL, sib, { 0 }),                   \
        OPERAND_ROW(N, "rip-relative", "an operand relative to RIP",           \
                    "INS_PREFIX_REX_SEG_ADDR", "host64", rip_relative, { 0 })

/* Those that only a source operand has. */
#define OPERAND_SOURCE_ROWS(N)                                                 \
        OPERAND_ROW(N, "cs-limit", "an operand beyond the limit of CS",        \
                    "INS_" #N "_MEM_GP_LIMIT", "host32", cs_limit, OPERAND_GP),\
        OPERAND_ROW(N, "execute-only", "an operand in an execute-only code "   \
                    "segment", "INS_" #N "_MEM_GP_XO_CODE", "host32",          \
                    execute_only, OPERAND_GP)

/* Those that only a destination has. */
#define OPERAND_DESTINATION_ROWS(N)                                            \
        OPERAND_ROW(N, "read-only", "a destination in a read-only segment",    \
                    "INS_" #N "_MEM_GP_RO_DATA", "host32", read_only,          \
                    OPERAND_GP),                                               \
        OPERAND_ROW(N, "code", "a destination in a readable code segment",     \
                    "INS_" #N "_MEM_GP_CODE", "host32", code, OPERAND_GP),     \
        OPERAND_ROW(N, "code-execute-only",                                    \
                    "a destination in an execute-only code segment",           \
                    "INS_" #N "_MEM_GP_CODE", "host32", code_execute_only,     \
                    OPERAND_GP),                                               \
        OPERAND_ROW(N, "write-protected",                                      \
                    "a destination in a read-only page with CR0.WP = 1",       \
                    "INS_" #N "_MEM_PF", NULL, write_protected,                \
                    FAULT_CODE(VEC_PF, PF_P | PF_W))

#endif
