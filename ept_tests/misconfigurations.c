/*
 * SDM Vol. 3, VMX Support for Address Translation > EPT Misconfigurations:
 * reserved bits and memory types of present entries.
 */
#include "lib/report.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/ept_access.h"

#define SDM "VMX Support for Address Translation > EPT Misconfigurations"

struct place {
        struct row head;
        u8 leaf, level;
        u8 bit;              /* reserved there */
};

#define TABLE_ROW(name, needs, leaf, level, rule) \
        { ROW(name, NULL, rule, needs), leaf, level, 0 }
#define FAR "physical-above-39"

/* A row for each entry and reserved bit. */
#define BIT_ROW(name, what, rule, needs, leaf, level, bit) \
        { ROW(name "." #bit, what, rule, needs), leaf, level, bit }
#define PML4E_BIT(bit, rule) \
        BIT_ROW("pml4e", "a PML4E", rule, FAR, EPT_PTE, EPT_PML4E, bit)
#define PDPTE_BIT(bit) \
        BIT_ROW("pdpte", "a PDPTE that references a table", \
                "EPT_PDPTE_TBL_RSVD_6_3", "", EPT_PTE, EPT_PDPTE, bit)
#define PDE_BIT(bit) \
        BIT_ROW("pde", "a PDE that references a table", \
                "EPT_PDE_TBL_RSVD_6_3", "", EPT_PTE, EPT_PDE, bit)
#define PDE_2M_BIT(bit) \
        BIT_ROW("pde-2m", "a PDE that maps a page", "EPT_PDE_2M_RSVD_20_12", \
                "ept-2m", EPT_PDE, EPT_PDE, bit)
#define PDPTE_1G_BIT(bit) \
        BIT_ROW("pdpte-1g", "a PDPTE that maps a page", \
                "EPT_PDPTE_1G_RSVD_29_12", "ept-1g", EPT_PDPTE, EPT_PDPTE, bit)

static const struct place places[] = {
        PML4E_BIT(3, "EPT_PML4E_RSVD_6_3"), PML4E_BIT(4, "EPT_PML4E_RSVD_6_3"),
        PML4E_BIT(5, "EPT_PML4E_RSVD_6_3"), PML4E_BIT(6, "EPT_PML4E_RSVD_6_3"),
        PML4E_BIT(7, "EPT_PML4E_RSVD_7"),
        PDPTE_BIT(3), PDPTE_BIT(4), PDPTE_BIT(5), PDPTE_BIT(6),
        PDE_BIT(3), PDE_BIT(4), PDE_BIT(5), PDE_BIT(6),
        PDE_2M_BIT(12), PDE_2M_BIT(13), PDE_2M_BIT(14), PDE_2M_BIT(15),
        PDE_2M_BIT(16), PDE_2M_BIT(17), PDE_2M_BIT(18), PDE_2M_BIT(19),
        PDE_2M_BIT(20),
        PDPTE_1G_BIT(12), PDPTE_1G_BIT(13), PDPTE_1G_BIT(14), PDPTE_1G_BIT(15),
        PDPTE_1G_BIT(16), PDPTE_1G_BIT(17), PDPTE_1G_BIT(18), PDPTE_1G_BIT(19),
        PDPTE_1G_BIT(20), PDPTE_1G_BIT(21), PDPTE_1G_BIT(22), PDPTE_1G_BIT(23),
        PDPTE_1G_BIT(24), PDPTE_1G_BIT(25), PDPTE_1G_BIT(26), PDPTE_1G_BIT(27),
        PDPTE_1G_BIT(28), PDPTE_1G_BIT(29),
};

static void check_bit(struct ept_access *a, volatile u64 *entry, u64 good,
                      unsigned bit)
{
        *entry = good | BIT(bit);
        ept_access_check_misconfiguration(a, EPT_READ,
                                          ept_access_do(a, EPT_READ));
        if (check_failed())
                report_detail("note", "the entry is 0x%llx, bit %u is reserved",
                              (unsigned long long)*entry, bit);
        *entry = good;
}

static volatile u64 *begin(const struct place *p, struct ept_access *a)
{
        ept_access_begin(a, p->leaf, p->level == EPT_PML4E);
        return ept_access_entry(a, p->level);
}

TABLE(reserved, places, .id = "ept.misconfiguration.reserved",
      .title = "a reserved bit of an entry", .sdm = SDM,
      .rules = "EPT_MISCFG_EXIT_REASON_49", .needs = "enable-ept")
{
        const struct place *p = case_row(self, row);
        struct ept_access a;
        volatile u64 *entry = begin(p, &a);
        u64 good = *entry;

        ept_access_check_done(&a, EPT_READ, ept_access_do(&a, EPT_READ));
        check_bit(&a, entry, good, p->bit);
}

static const struct place address_places[] = {
        TABLE_ROW("pml4e", FAR, EPT_PTE, EPT_PML4E, "EPT_PML4E_RSVD_ADDR_51_N"),
        TABLE_ROW("pdpte", "", EPT_PTE, EPT_PDPTE,
                  "EPT_PDPTE_TBL_RSVD_ADDR_51_N"),
        TABLE_ROW("pde", "", EPT_PTE, EPT_PDE, "EPT_PDE_TBL_RSVD_ADDR_51_N"),
        TABLE_ROW("pte", "", EPT_PTE, EPT_PTE, "EPT_PTE_4K_RSVD_ADDR_51_N"),
        TABLE_ROW("pde-2m", "ept-2m", EPT_PDE, EPT_PDE,
                  "EPT_PDE_2M_RSVD_ADDR_51_N"),
        TABLE_ROW("pdpte-1g", "ept-1g", EPT_PDPTE, EPT_PDPTE,
                  "EPT_PDPTE_1G_RSVD_ADDR_51_N"),
};

/*
 * Memory encryption can take the topmost bits of the width for key ids, so the
 * accepted side leaves those alone and sets an ignored bit instead.
 */
TABLE(addresses, address_places, .id = "ept.misconfiguration.address",
      .title = "each address bit from the physical-address width to 51",
      .sdm = SDM, .needs = "enable-ept physical-below-52")
{
        const struct place *p = case_row(self, row);
        struct ept_access a;
        volatile u64 *entry = begin(p, &a);
        u64 good = *entry;

        *entry = good | BIT(52);
        ept_access_check_done(&a, EPT_READ, ept_access_do(&a, EPT_READ));
        for (unsigned bit = physical_address_width(); bit <= 51 &&
             !check_failed(); bit++)
                check_bit(&a, entry, good, bit);
}

static const struct place leaves[] = {
        TABLE_ROW("4k", "", EPT_PTE, EPT_PTE, "EPT_PTE_4K_MEMTYPE_RSVD"),
        TABLE_ROW("2m", "ept-2m", EPT_PDE, EPT_PDE, "EPT_PDE_2M_MEMTYPE_RSVD"),
        TABLE_ROW("1g", "ept-1g", EPT_PDPTE, EPT_PDPTE,
                  "EPT_PDPTE_1G_MEMTYPE_RSVD"),
};

TABLE(memory_types, leaves, .id = "ept.misconfiguration.memory-type",
      .title = "memory types 2, 3 and 7 of a leaf; 0, 1, 4, 5 and 6 are good",
      .sdm = SDM, .needs = "enable-ept")
{
        const struct place *p = case_row(self, row);
        struct ept_access a;
        volatile u64 *entry = begin(p, &a);

        for (u64 type = 0; type < 8 && !check_failed(); type++) {
                *entry = (*entry & ~EPT_MT_MASK) | EPT_MT(type);
                if (type == 2 || type == 3 || type == 7)
                        ept_access_check_misconfiguration(&a, EPT_READ,
                                        ept_access_do(&a, EPT_READ));
                else
                        ept_access_check_done(&a, EPT_READ,
                                        ept_access_do(&a, EPT_READ));
        }
}

static const struct place tables[] = {
        TABLE_ROW("pml4e", FAR, EPT_PTE, EPT_PML4E, NULL),
        TABLE_ROW("pdpte", "", EPT_PTE, EPT_PDPTE, NULL),
        TABLE_ROW("pde", "", EPT_PTE, EPT_PDE, NULL),
};

TABLE(table_types, tables, .id = "ept.misconfiguration.table-type",
      .title = "a memory type in an entry that references a table",
      .sdm = SDM, .rules = "EPT_UPPER_LEVEL_MEMTYPE_NOT_CHECKED_AS_TYPE",
      .needs = "enable-ept")
{
        struct ept_access a;
        volatile u64 *entry = begin(case_row(self, row), &a);

        ept_access_check_done(&a, EPT_READ, ept_access_do(&a, EPT_READ));
        *entry |= EPT_WB;
        ept_access_check_misconfiguration(&a, EPT_READ,
                                          ept_access_do(&a, EPT_READ));
}

/* Exit qualification of a read that no entry allows. */
#define ABSENT_READ 0x181

static const struct place present_places[] = {
        TABLE_ROW("pml4e", FAR, EPT_PTE, EPT_PML4E, NULL),
        TABLE_ROW("pdpte", "", EPT_PTE, EPT_PDPTE, NULL),
        TABLE_ROW("pde", "", EPT_PTE, EPT_PDE, NULL),
};

TABLE(present, present_places, .id = "ept.misconfiguration.present-only",
      .title = "reserved bits of an entry that is not present do not count",
      .sdm = SDM, .rules = "EPT_MISCFG_RSVD_ONLY_WHEN_PRESENT",
      .needs = "enable-ept")
{
        struct ept_access a;
        volatile u64 *entry = begin(case_row(self, row), &a);

        *entry = (*entry & ~EPT_RWX) | BIT(3);
        ept_access_check_violation(&a, EPT_READ, ept_access_do(&a, EPT_READ),
                                   ABSENT_READ);
        *entry |= EPT_R;
        ept_access_check_misconfiguration(&a, EPT_READ,
                                          ept_access_do(&a, EPT_READ));
}
