#include "x86/vmx/ept.h"
#include "lib/check.h"
#include "lib/string.h"
#include "x86/memory.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/guest_env.h"
#include "x86/vmx/instr.h"

#define TABLE_ADDRESS BITS(51, 12)

u64 *ept_new(void)
{
        return page_alloc(1);
}

static unsigned index_at(u64 gpa, unsigned level)
{
        return (unsigned)(gpa >> (12 + 9 * (level - 1))) & 511;
}

static u64 *table_of(u64 entry)
{
        return (u64 *)(ulong)(entry & TABLE_ADDRESS);
}

/* Puts a table in place of the large page @entry of @level. */
static u64 *split(u64 *entry, unsigned level)
{
        u64 *table = page_alloc(1), flags = *entry & ~TABLE_ADDRESS;
        u64 base = *entry & TABLE_ADDRESS;

        if (level - 1 == EPT_PTE)
                flags &= ~EPT_LARGE;
        for (unsigned i = 0; i < 512; i++)
                table[i] = (base + i * EPT_PAGE_SIZE(level - 1)) | flags;
        *entry = phys(table) | EPT_RWX;
        return table;
}

volatile u64 *ept_entry(u64 *root, u64 gpa, unsigned level)
{
        u64 *table = root;

        for (unsigned at = EPT_PML4E; at > level; at--) {
                u64 *entry = &table[index_at(gpa, at)];

                if (!(*entry & EPT_RWX)) {
                        table = page_alloc(1);
                        *entry = phys(table) | EPT_RWX;
                } else if (at < EPT_PML4E && *entry & EPT_LARGE) {
                        table = split(entry, at);
                } else {
                        table = table_of(*entry);
                }
        }
        return &table[index_at(gpa, level)];
}

void ept_map(u64 *root, u64 gpa, u64 hpa, unsigned level, u64 flags)
{
        *ept_entry(root, gpa, level) =
                hpa | flags | (level > EPT_PTE ? EPT_LARGE : 0);
}

u64 ept_memory_type(void)
{
        return vmx_caps()->ept_vpid & CAP_EPT_WB ? EPT_WB : EPT_MT(0);
}

/*
 * The memory types of the EPT replace those of the MTRRs: above the suite's
 * memory there may be devices.
 */
static u64 identity_entry(u64 at)
{
        return at | EPT_RWX |
               (at < MEMORY_LIMIT ? ept_memory_type() : EPT_MT(0));
}

void ept_map_identity(u64 *root)
{
        if (vmx_caps()->ept_vpid & CAP_EPT_2M) {
                for (u64 gib = 0; gib < 4ull << 30; gib += 1ull << 30) {
                        volatile u64 *pd = ept_entry(root, gib, EPT_PDE);

                        for (u64 i = 0; i < 512; i++)
                                pd[i] = identity_entry(gib + (i << 21)) |
                                        EPT_LARGE;
                }
                return;
        }
        for (u64 at = 0; at < MEMORY_LIMIT; at += PAGE_SIZE)
                *ept_entry(root, at, EPT_PTE) = identity_entry(at);
        ept_map(root, 0xfee00000, 0xfee00000, EPT_PTE,
                EPT_RWX | EPT_MT(0));
}

u64 *ept_new_over_identity(void)
{
        u64 *root = ept_new(), *pdpt = page_alloc(1);
        const u64 *identity = table_of(guest_env()->eptp);

        memcpy(pdpt, table_of(identity[0]), 4 * sizeof(u64));
        root[0] = phys(pdpt) | EPT_RWX;
        return root;
}

void ept_use(const u64 *root, u64 flags)
{
        u64 eptp = eptp_of(root, flags);

        vm_control(VMCS_PRIMARY_CONTROLS, CTL_PRIMARY_ACTIVATE_SECONDARY, 0);
        vm_control(VMCS_SECONDARY_CONTROLS, CTL_SECONDARY_ENABLE_EPT, 0);
        vmwrite(VMCS_EPTP, eptp);
        /* The table may stand where another case had one. */
        ept_invalidate(eptp);
}

u64 eptp_of(const u64 *root, u64 flags)
{
        return phys(root) | EPTP_WALK(4) | ept_memory_type() >> 3 | flags;
}

void ept_invalidate(u64 eptp)
{
        struct inv_descriptor d = { eptp, 0 };
        u64 cap = vmx_caps()->ept_vpid;

        if (!(cap & CAP_INVEPT))
                return;
        CHECK_RESULT("INVEPT",
                     invept(cap & CAP_INVEPT_SINGLE ? 1 : 2, &d), SUCCEED);
}
