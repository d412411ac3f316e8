/*
 * SDM Vol. 3, VM Entries > Checks on VMX Controls > VM-Execution Control Fields:
 * fields that hold the address of a page. Those of the APIC, and of EPT: the
 * files entry_controls_*.c of apic_tests and ept_tests. MSR areas:
 * entry_controls_msr_areas.c.
 */
#include "x86/cpu.h"
#include "x86/msr.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/control_check.h"

#define SDM SDM_EXECUTION_CONTROLS
#define PRIMARY(NAME) CTL_PRIMARY_##NAME
#define SECONDARY(NAME) CTL_SECONDARY_##NAME

/* The VM-entry rules of one address come in threes. */
#define PAGE_CHECK(name, id_, needs_, thing, rule, ...)                 \
        ADDRESS_CHECK(name, "entry.controls." id_, needs_, thing,       \
                      rule "_ALIGN " rule "_WIDTH", rule "_IGNORED",    \
                      .low = 12, __VA_ARGS__)

PAGE_CHECK(io_bitmap_a, "io-bitmap-a", "use-io-bitmaps",
           "the address of I/O bitmap A", "ENTC_IO_BITMAP_A",
           .field = VMCS_IO_BITMAP_A,
           .active = EDITS(OR(PRIMARY_CONTROLS, PRIMARY(USE_IO_BITMAPS)),
                           CALC(IO_BITMAP_B, new_page)))
PAGE_CHECK(io_bitmap_b, "io-bitmap-b", "use-io-bitmaps",
           "the address of I/O bitmap B", "ENTC_IO_BITMAP_B",
           .field = VMCS_IO_BITMAP_B,
           .active = EDITS(OR(PRIMARY_CONTROLS, PRIMARY(USE_IO_BITMAPS)),
                           CALC(IO_BITMAP_A, new_page)))
PAGE_CHECK(msr_bitmaps, "msr-bitmaps", "use-msr-bitmaps",
           "the address of the MSR bitmaps", "ENTC_MSR_BITMAP",
           .field = VMCS_MSR_BITMAPS,
           .active = EDITS(OR(PRIMARY_CONTROLS, PRIMARY(USE_MSR_BITMAPS))))
PAGE_CHECK(vmread_bitmap, "vmread-bitmap", "vmcs-shadowing",
           "the VMREAD-bitmap address", "ENTC_VMREAD_BITMAP",
           .field = VMCS_VMREAD_BITMAP,
           .active = EDITS(WITH_SECONDARY(SECONDARY(VMCS_SHADOWING)),
                           CALC(VMWRITE_BITMAP, new_page)))
PAGE_CHECK(vmwrite_bitmap, "vmwrite-bitmap", "vmcs-shadowing",
           "the VMWRITE-bitmap address", "ENTC_VMWRITE_BITMAP",
           .field = VMCS_VMWRITE_BITMAP,
           .active = EDITS(WITH_SECONDARY(SECONDARY(VMCS_SHADOWING)),
                           CALC(VMREAD_BITMAP, new_page)))
PAGE_CHECK(low_pasid, "low-pasid-directory", "pasid-translation",
           "the low PASID directory address", "ENTC_LOW_PASID_DIR",
           .field = VMCS_LOW_PASID_DIRECTORY,
           .active = EDITS(WITH_SECONDARY(SECONDARY(PASID_TRANSLATION)),
                           CALC(HIGH_PASID_DIRECTORY, new_page)))
PAGE_CHECK(high_pasid, "high-pasid-directory", "pasid-translation",
           "the high PASID directory address", "ENTC_HIGH_PASID_DIR",
           .field = VMCS_HIGH_PASID_DIRECTORY,
           .active = EDITS(WITH_SECONDARY(SECONDARY(PASID_TRANSLATION)),
                           CALC(LOW_PASID_DIRECTORY, new_page)))

/* One page for several structures, as edits of fields one after the other. */
static u64 shared;

static u64 shared_page(__attribute__((unused)) u64 old)
{
        return shared;
}

static u64 page_before(__attribute__((unused)) u64 old)
{
        return shared - 4096;
}

/* The second of two pages; the directories that it may be are full of ones. */
static void share_page(__attribute__((unused)) struct vm *vm)
{
        new_page(0);
        shared = new_page(0);
}

static void share_page_of_ones(__attribute__((unused)) struct vm *vm)
{
        shared = new_page(0);
        for (u64 *p = (u64 *)(ulong)shared; p < (u64 *)(ulong)shared + 512; p++)
                *p = ~0ull;
}

#define IO_BITMAPS OR(PRIMARY_CONTROLS, PRIMARY(USE_IO_BITMAPS))
#define COINCIDE "ENTC_IO_BITMAPS_MAY_COINCIDE"
#define OVERLAP "ENTC_ADDR_OVERLAP_NOT_CHECKED"

static const struct probe page_probes[] = {
        { ROW("io-bitmaps-coincide", "I/O bitmap B = I/O bitmap A", COINCIDE,
              "use-io-bitmaps"),
          .prepare = share_page,
          .accept = EDITS(IO_BITMAPS, CALC(IO_BITMAP_A, shared_page),
                          CALC(IO_BITMAP_B, shared_page)) },
        { ROW("io-bitmap-b-before-a", "I/O bitmap B right before I/O bitmap A",
              COINCIDE, "use-io-bitmaps"),
          .prepare = share_page,
          .accept = EDITS(IO_BITMAPS, CALC(IO_BITMAP_A, shared_page),
                          CALC(IO_BITMAP_B, page_before)) },
        { ROW("io-bitmaps-unconditional",
              "I/O bitmaps and unconditional I/O exiting", COINCIDE,
              "use-io-bitmaps unconditional-io-exiting"),
          .prepare = share_page,
          .accept = EDITS(IO_BITMAPS, CALC(IO_BITMAP_A, shared_page),
                          CALC(IO_BITMAP_B, page_before),
                          OR(PRIMARY_CONTROLS,
                             PRIMARY(UNCONDITIONAL_IO_EXITING))) },
        { ROW("overlap.bitmaps", "I/O bitmaps and MSR bitmaps in one page",
              OVERLAP, "use-io-bitmaps use-msr-bitmaps"),
          .prepare = share_page,
          .accept = EDITS(IO_BITMAPS,
                          OR(PRIMARY_CONTROLS, PRIMARY(USE_MSR_BITMAPS)),
                          CALC(IO_BITMAP_A, shared_page),
                          CALC(IO_BITMAP_B, shared_page),
                          CALC(MSR_BITMAPS, shared_page)) },
        { ROW("overlap.virtual-apic", "all of these and the virtual-APIC page",
              OVERLAP, "use-io-bitmaps use-msr-bitmaps use-tpr-shadow"),
          .prepare = share_page,
          .accept = EDITS(IO_BITMAPS, WITH_TPR_SHADOW,
                          OR(PRIMARY_CONTROLS, PRIMARY(USE_MSR_BITMAPS)),
                          CALC(IO_BITMAP_A, shared_page),
                          CALC(IO_BITMAP_B, shared_page),
                          CALC(MSR_BITMAPS, shared_page),
                          CALC(VIRTUAL_APIC_ADDRESS, shared_page)) },
        { ROW("pasid.one-directory", "PASID translation, one directory, no EPT",
              "ENTC_PASID_WITHOUT_EPT_OK", "pasid-translation"),
          .prepare = share_page,
          .accept = EDITS(WITH_SECONDARY(SECONDARY(PASID_TRANSLATION)),
                          CALC(LOW_PASID_DIRECTORY, shared_page),
                          CALC(HIGH_PASID_DIRECTORY, shared_page)) },
        { ROW("pasid.content", "PASID directories of all ones",
              "ENTC_PASID_WITHOUT_EPT_OK", "pasid-translation"),
          .prepare = share_page_of_ones,
          .accept = EDITS(WITH_SECONDARY(SECONDARY(PASID_TRANSLATION)),
                          CALC(LOW_PASID_DIRECTORY, shared_page),
                          CALC(HIGH_PASID_DIRECTORY, shared_page)) },
        { ROW("shadowing-link",
              "the VMCS link pointer is guest state, with VMCS shadowing too",
              "ENTC_VMCS_SHADOWING_LINK_IS_GUEST_CHECK", "vmcs-shadowing"),
          .given = EDITS(WITH_SECONDARY(SECONDARY(VMCS_SHADOWING)),
                         CALC(VMREAD_BITMAP, new_page),
                         CALC(VMWRITE_BITMAP, new_page)),
          .reject = EDITS(SET(VMCS_LINK_POINTER, 1)),
          .outcome = ENTRY_FAILS(EXIT_ENTRY_FAILURE_GUEST_STATE, 4) },
};

PROBES(pages, page_probes, .id = "entry.controls.pages",
       .title = "pages that VMX structures are in", .sdm = SDM)

/* IA32_TME_ACTIVATE: how many key-identifier bits, and those of SEAM. */
#define MSR_IA32_TME_ACTIVATE 0x982

CASE(key_id_bits, .id = "entry.controls.pages.key-identifier",
     .title = "a key-identifier bit that is not SEAM's is an address bit",
     .sdm = SDM, .rules = "ENTC_ADDR_KEYID_BITS_BELOW_SEAM_OK", .needs = "tme use-io-bitmaps")
{
        u64 tme;
        bool active = !rdmsr_safe(MSR_IA32_TME_ACTIVATE, &tme).raised &&
                      tme & BIT(0);

        if (active && (tme >> 32 & 15) > (tme >> 36 & 15))
                address_check_bit(&io_bitmap_a, control_address_width() - 1);
        else
                case_skip("IA32_TME_ACTIVATE has no key identifiers but SEAM's");
}
