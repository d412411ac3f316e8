/*
 * SDM Vol. 3, VM Entries > Checks on VMX Controls > VM-Exit Control Fields and
 * VM-Entry Control Fields: the addresses and counts of the three MSR areas.
 */
#include "x86/memory.h"
#include "x86/msr.h"
#include "x86/vmx/control_check.h"

#define SDM SDM_EXIT_CONTROLS

struct msr_entry {
        u32 index, reserved;
        u64 value;
};

/* An entry that may stand in any of the areas: the register as it is. */
static void fill(u64 area, unsigned count)
{
        struct msr_entry *e = (struct msr_entry *)(ulong)area;

        for (unsigned i = 0; i < count; i++)
                e[i] = (struct msr_entry){
                        .index = MSR_IA32_SYSENTER_CS,
                        .value = rdmsr(MSR_IA32_SYSENTER_CS),
                };
}

enum area { EXIT_STORE, EXIT_LOAD, ENTRY_LOAD, AREAS };

static const struct {
        u32 address, count;
} fields[AREAS] = {
        { VMCS_EXIT_MSR_STORE_ADDRESS, VMCS_EXIT_MSR_STORE_COUNT },
        { VMCS_EXIT_MSR_LOAD_ADDRESS, VMCS_EXIT_MSR_LOAD_COUNT },
        { VMCS_ENTRY_MSR_LOAD_ADDRESS, VMCS_ENTRY_MSR_LOAD_COUNT },
};

static struct vmx_result enter_with(enum area area, u64 address, u32 count,
                                    const struct edit *edits)
{
        struct vm *vm = vm_begin(GUEST_NATIVE);

        vmwrite(fields[area].address, address);
        vmwrite(fields[area].count, count);
        vmcs_edit(edits);
        vm_poison(VMERR_ENTRY_CONTROLS);
        return vm_enter(vm);
}

/* The guest runs, and the area is used. */
static void accepted(enum area area, u64 address, u32 count)
{
        CHECK_RESULT("VM entry with a valid area",
                     enter_with(area, address, count, NULL), EXITS(EXIT_VMCALL));
}

/*
 * Only the area's address and count are looked at: with invalid guest state
 * neither the VM-exit MSR-store area nor the VM-entry MSR-load area is used.
 */
static void passed(enum area area, u64 address, u32 count)
{
        CHECK_RESULT("VM entry with an area that need not be memory",
                     enter_with(area, address, count, EDITS(GUEST_DEFECT)),
                     BAD_GUEST);
}

/* Not used either, if the processor does not refuse it. */
static void refused(enum area area, u64 address, u32 count)
{
        CHECK_RESULT("VM entry with an invalid area",
                     enter_with(area, address, count, EDITS(GUEST_DEFECT)),
                     BAD_CONTROLS);
}

/* Memory that nothing else uses, and is it there? See x86/memory.h. */
#define UNUSED_MEMORY 0x2000000ull

static bool is_memory(u64 address)
{
        volatile u32 *p = (volatile u32 *)(ulong)address;

        if (address >= MEMORY_LIMIT)
                return false;
        *p = 0x600df00d;
        return *p == 0x600df00d;
}

static void bit_case(enum area area, unsigned bit)
{
        u64 page = new_page(0);

        fill(page, 4);
        accepted(area, page, 1);
        if (bit < 4 || bit >= control_address_width())
                refused(area, page | BIT(bit), 1);
        else
                passed(area, UNUSED_MEMORY | BIT(bit), 1);
}

#define BITS_OF(name, area_, id_, what, rule, sdm_)                            \
        FAMILY(name##_bits, 64, .id = "entry.controls." id_ ".bit",            \
               .title = "a bit of the " what " address that it cannot have "   \
                        "must be 0",                                           \
               .sdm = sdm_,                                                    \
               .rules = rule "_ALIGN " rule "_WIDTH ENTC_ADDR_32BIT_LIMIT "    \
                        "ENTC_ADDR_WIDTH_TME")                                 \
        {                                                                      \
                bit_case(area_, row);                                          \
        }

BITS_OF(exit_store, EXIT_STORE, "exit-msr-store", "VM-exit MSR-store",
        "ENTC_EXIT_MSR_STORE", SDM_EXIT_CONTROLS)
BITS_OF(entry_load, ENTRY_LOAD, "entry-msr-load", "VM-entry MSR-load",
        "ENTC_ENTRY_MSR_LOAD", SDM_ENTRY_CONTROLS)

/*
 * The VM-exit MSR-load area is used whenever the host state is loaded. Where a
 * wrong one is not refused that is a VMX abort, and the end of the boot: few
 * cases, so that this happens but a few times.
 */
static void load_area_bits(unsigned first, unsigned last)
{
        u64 page = new_page(0);

        fill(page, 4);
        accepted(EXIT_LOAD, page, 1);
        for (unsigned bit = first; bit <= last && !check_failed(); bit++)
                refused(EXIT_LOAD, page | BIT(bit), 1);
}

CASE(load_area_low, .id = "entry.controls.exit-msr-load.low-bits",
     .title = "bits 3:0 of the VM-exit MSR-load address must be 0", .sdm = SDM,
     .rules = "ENTC_EXIT_MSR_LOAD_ALIGN")
{
        load_area_bits(0, 3);
}

CASE(load_area_width, .id = "entry.controls.exit-msr-load.beyond-width",
     .title = "bits of the VM-exit MSR-load address beyond the width must be 0",
     .sdm = SDM,
     .rules = "ENTC_EXIT_MSR_LOAD_WIDTH ENTC_ADDR_32BIT_LIMIT ENTC_ADDR_WIDTH_TME")
{
        load_area_bits(control_address_width(), 63);
}

CASE(load_area_memory, .id = "entry.controls.exit-msr-load.memory",
     .title = "bits of the VM-exit MSR-load address that it can have", .sdm = SDM,
     .rules = "ENTC_EXIT_MSR_LOAD_ALIGN")
{
        for (unsigned bit = 4; bit < 26; bit++) {
                u64 area = UNUSED_MEMORY | BIT(bit);

                if (!is_memory(area))
                        area = new_page(0) + (BIT(bit) & 0xff0);
                fill(area, 1);
                accepted(EXIT_LOAD, area, 1);
        }
}

static void low_nibble(enum area area)
{
        u64 page = new_page(0);

        fill(page, 4);
        accepted(area, page + 16, 1);
        refused(area, page + 15, 1);
}

/* The area ends at the last byte that the width allows, and one entry later. */
static void last_byte(enum area area)
{
        u64 end = 1ull << control_address_width(), page = new_page(0);

        if (area == EXIT_LOAD) {
                fill(page, 2);
                accepted(area, page, 2);
        } else {
                passed(area, end - 32, 2);
                passed(area, end - 16, 1);
        }
        refused(area, end - 16, 2);
        refused(area, end - 32, 3);
        refused(area, end - 4096, 257);
}

/*
 * 16 times these counts is 16 and -16, modulo 2^32. Not for the VM-exit MSR-load
 * area: where this is not refused it is used, and that is a VMX abort.
 */
static void no_wrap(enum area area)
{
        u64 end = 1ull << control_address_width(), page = new_page(0);

        fill(page, 1);
        accepted(area, page, 1);
        refused(area, end - 16, 0x10000001);
        refused(area, end - 16, 0xffffffff);
        if (control_address_width() <= 36)
                refused(area, page, 0xffffffff);
}

static void count_zero(enum area area)
{
        static const u64 addresses[] = { ~0ull, 1 };

        for (unsigned i = 0; i < ARRAY_LEN(addresses); i++) {
                accepted(area, addresses[i], 0);
                refused(area, addresses[i], 1);
        }
}

/* In the accepted entry the store area must have been written. */
static void content_of_store(__attribute__((unused)) enum area area)
{
        u64 page = new_page(0);
        struct msr_entry *e = (struct msr_entry *)(ulong)page;

        fill(page, 1);
        e->value = ~0ull;
        accepted(EXIT_STORE, page, 1);
        CHECK_EQ("the value stored at the VM exit", e->value,
                 rdmsr(MSR_IA32_SYSENTER_CS));
        e->value = ~0ull;
        e->reserved = 1;
        passed(EXIT_STORE, page, 1);
        CHECK_EQ("the value after a VM-entry failure", e->value, ~0ull);
}

static void content_of_entry_load(__attribute__((unused)) enum area area)
{
        u64 page = new_page(0);
        struct msr_entry *e = (struct msr_entry *)(ulong)page;

        fill(page, 1);
        e->index = ~0u;
        passed(ENTRY_LOAD, page, 1);
        CHECK_RESULT("VM entry with an MSR that does not exist",
                     enter_with(ENTRY_LOAD, page, 1, NULL),
                     ENTRY_FAILS(EXIT_ENTRY_FAILURE_MSR_LOADING, 1));
}

#define AREA_ROW(id_, area_, what, rule, fn)                            \
        { ROW(id_, what, rule), .area = area_, .run = fn }
/* One rule for each of the three areas. */
#define AREA_ROWS(id_, what, suffix, fn)                                     \
        AREA_ROW("exit-msr-store." id_, EXIT_STORE, "VM-exit MSR-store " what, \
                 "ENTC_EXIT_MSR_STORE_" suffix, fn),                         \
        AREA_ROW("exit-msr-load." id_, EXIT_LOAD, "VM-exit MSR-load " what,  \
                 "ENTC_EXIT_MSR_LOAD_" suffix, fn),                          \
        AREA_ROW("entry-msr-load." id_, ENTRY_LOAD, "VM-entry MSR-load " what, \
                 "ENTC_ENTRY_MSR_LOAD_" suffix, fn)

static const struct area_row {
        struct row head;
        enum area area;
        void (*run)(enum area area);
} area_rows[] = {
        AREA_ROWS("low-nibble", "address that ends in FH", "ALIGN", low_nibble),
        AREA_ROWS("last-byte", "area up to the last address", "LAST_BYTE",
                  last_byte),
        AREA_ROW("exit-msr-store.no-wrap", EXIT_STORE,
                 "VM-exit MSR-store area of more than 4 GBytes",
                 "ENTC_EXIT_MSR_STORE_LAST_BYTE_NO_WRAP", no_wrap),
        AREA_ROW("entry-msr-load.no-wrap", ENTRY_LOAD,
                 "VM-entry MSR-load area of more than 4 GBytes",
                 "ENTC_ENTRY_MSR_LOAD_LAST_BYTE_NO_WRAP", no_wrap),
        AREA_ROWS("count-0", "count 0: the address is not checked",
                  "COUNT_ZERO", count_zero),
        AREA_ROW("exit-msr-store.content", EXIT_STORE,
                 "entries of VM-exit areas are not checked at VM entry",
                 "ENTC_EXIT_MSR_CONTENT_NOT_CHECKED", content_of_store),
        AREA_ROW("entry-msr-load.content", ENTRY_LOAD,
                 "entries of the VM-entry area are not a check on controls",
                 "ENTC_ENTRY_MSR_CONTENT_NOT_A_CONTROL_CHECK",
                 content_of_entry_load),
};

TABLE(areas, area_rows, .id = "entry.controls",
      .title = "checks on MSR areas", .sdm = SDM)
{
        const struct area_row *r = case_row(self, row);

        r->run(r->area);
}
