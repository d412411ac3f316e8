/*
 * SDM Vol. 3, VMX Support for Address Translation > EPT Violations: what bits
 * 2:0 of an entry allow, at every level and in every page size. Mode-based
 * execute control is off here.
 */
#include "x86/vmx/caps.h"
#include "x86/vmx/ept_access.h"

#define SDM "VMX Support for Address Translation > EPT Violations"

/* Exit qualification. */
#define LINEAR_VALID   BIT(7)
#define OF_TRANSLATION BIT(8)

struct permission_row {
        struct row head;
        u8 leaf, level;
        u8 rwx;
        u8 kind;
};

/*
 * The rows: where the entry stands, its bits 2:0, and the access. 010 and 110
 * are misconfigurations, 100 where execute-only entries are not supported.
 */
#define ROWS_AT(name, needs, leaf, level)                                     \
        BITS_OF(name, needs, leaf, level, "000", 0, "EPT_PERM_000"),          \
        BITS_OF(name, needs, leaf, level, "001", 1, "EPT_PERM_001"),          \
        WRONG_BITS(name, needs, leaf, level, "010", 2, "EPT_MISCFG_W_NO_R"),  \
        BITS_OF(name, needs, leaf, level, "011", 3, "EPT_PERM_011"),          \
        BITS_OF(name, needs " ept-execute-only", leaf, level, "100", 4,       \
                "EPT_X_ONLY_SUPPORTED_OK EPT_PERM_100"),                      \
        WRONG_BITS(name, needs " !ept-execute-only", leaf, level,             \
                   "100-unsupported", 4, "EPT_MISCFG_X_ONLY_UNSUPPORTED"),    \
        BITS_OF(name, needs, leaf, level, "101", 5, "EPT_PERM_101"),          \
        WRONG_BITS(name, needs, leaf, level, "110", 6, "EPT_MISCFG_WX_NO_R"), \
        BITS_OF(name, needs, leaf, level, "111", 7, "EPT_PERM_111")

#define BITS_OF(name, needs, leaf, level, bits, rwx, rule)                    \
        { ROW(name "." bits ".read", NULL, rule "_READ", needs), leaf, level, \
          rwx, EPT_READ },                                                    \
        { ROW(name "." bits ".write", NULL, rule "_WRITE", needs), leaf,      \
          level, rwx, EPT_WRITE },                                            \
        { ROW(name "." bits ".fetch", NULL, rule "_FETCH", needs), leaf,      \
          level, rwx, EPT_FETCH }

#define WRONG_BITS(name, needs, leaf, level, bits, rwx, rule)                 \
        { ROW(name "." bits ".read", NULL, rule " EPT_MISCFG_ON_READ",        \
              needs), leaf, level, rwx, EPT_READ },                           \
        { ROW(name "." bits ".write", NULL, rule " EPT_MISCFG_ON_WRITE",      \
              needs), leaf, level, rwx, EPT_WRITE },                          \
        { ROW(name "." bits ".fetch", NULL, rule " EPT_MISCFG_ON_FETCH",      \
              needs), leaf, level, rwx, EPT_FETCH }

#define FAR "physical-above-39"

static const struct permission_row rows[] = {
        ROWS_AT("4k.pte", "", EPT_PTE, EPT_PTE),
        ROWS_AT("4k.pde", "", EPT_PTE, EPT_PDE),
        ROWS_AT("4k.pdpte", "", EPT_PTE, EPT_PDPTE),
        ROWS_AT("4k.pml4e", FAR, EPT_PTE, EPT_PML4E),
        ROWS_AT("2m.pde", "ept-2m", EPT_PDE, EPT_PDE),
        ROWS_AT("2m.pdpte", "ept-2m", EPT_PDE, EPT_PDPTE),
        ROWS_AT("2m.pml4e", "ept-2m " FAR, EPT_PDE, EPT_PML4E),
        ROWS_AT("1g.pdpte", "ept-1g", EPT_PDPTE, EPT_PDPTE),
        ROWS_AT("1g.pml4e", "ept-1g " FAR, EPT_PDPTE, EPT_PML4E),
};

/* Is bits 2:0 = @rwx a misconfiguration of a present entry? */
static bool is_misconfigured(u64 rwx)
{
        if (rwx == 4)
                return !(vmx_caps()->ept_vpid & CAP_EPT_EXECUTE_ONLY);
        return rwx == 2 || rwx == 6;
}

TABLE(permissions, rows, .id = "ept.permission",
      .title = "an access and bits 2:0 of one entry that maps its page",
      .sdm = SDM, .rules = "EPT_PERM_AND_OVER_LEVELS", .needs = "enable-ept")
{
        const struct permission_row *r = case_row(self, row);
        u64 needed = BIT(r->kind);
        struct ept_access a;
        volatile u64 *entry;

        ept_access_begin(&a, r->leaf, r->level == EPT_PML4E);
        entry = ept_access_entry(&a, r->level);
        ept_access_check_done(&a, r->kind, ept_access_do(&a, r->kind));

        *entry = (*entry & ~EPT_RWX) | r->rwx;
        if (is_misconfigured(r->rwx))
                ept_access_check_misconfiguration(&a, r->kind,
                                                  ept_access_do(&a, r->kind));
        else if (r->rwx & needed)
                ept_access_check_done(&a, r->kind, ept_access_do(&a, r->kind));
        else
                ept_access_check_violation(&a, r->kind,
                                           ept_access_do(&a, r->kind),
                                           needed | (u64)r->rwx << 3 |
                                           LINEAR_VALID | OF_TRANSLATION);
}
