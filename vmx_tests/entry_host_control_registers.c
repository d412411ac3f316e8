/*
 * SDM Vol. 3, VM Entries > Checks on Host Control Registers and MSRs: CR0, CR3
 * and CR4. What depends on the size of the address space:
 * entry_host_address_space.c.
 */
#include "x86/cpu.h"
#include "x86/msr.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/host_state.h"
#include "x86/vmx/requirements.h"

#define SDM SDM_HOST_REGISTERS
#define CR4_LASS BIT(27)
#define CR4_FRED BIT(32)
/* VM exits leave these bits of CR0 as they are. */
#define CR0_KEPT (BITS(15, 6) | CR0_ET | BIT(17) | BITS(28, 19) | CR0_NW | CR0_CD)

/* A VM exit that loads @value; *loaded becomes what the register then has. */
static struct vmx_result enter_with(u32 field, u64 value, const struct edit *given,
                                    ulong *loaded)
{
        struct vm *vm = vm_begin(GUEST_NATIVE);
        struct vmx_result r;

        vmcs_edit(given);
        vmwrite(field, value);
        vm_poison(VMERR_ENTRY_HOST_STATE);
        r = vm_enter(vm);
        *loaded = field == VMCS_HOST_CR0 ? read_cr0() : read_cr4();
        host_restore();
        return r;
}

static bool has_bit(const char *name, unsigned bit)
{
        if (bit < 8 * sizeof(ulong))
                return true;
        case_skip("%s has %u bits in this build", name,
                  8 * (unsigned)sizeof(ulong));
        return false;
}

#define CR0_RULES                                                       \
        "ENTH_CR0_FIXED1_BITS_CLEARED ENTH_CR0_FIXED0_BITS_SET "        \
        "ENTH_CR0_FLEXIBLE_BITS_OK ENTH_CR0_NW_CD_NEVER_CHECKED"

FAMILY(cr0_bits, 64, .id = "entry.host.cr0.bit",
       .title = "a bit of host CR0 has a value that VMX operation supports",
       .sdm = SDM, .rules = CR0_RULES)
{
        const u64 mask = BIT(row), unchecked = CR0_NW | CR0_CD;
        ulong before, loaded;

        if (!has_bit("CR0", row))
                return;
        vm_begin(GUEST_NATIVE);
        before = read_cr0();
        for (unsigned value = 0; value < 2; value++) {
                u64 cr0 = value ? before | mask : before & ~mask;
                bool allowed = mask & unchecked ||
                               (value ? vmx_caps()->cr0_fixed1 & mask
                                      : !(vmx_caps()->cr0_fixed0 & mask));
                struct vmx_result r = enter_with(VMCS_HOST_CR0, cr0, NULL,
                                                 &loaded);

                if (!allowed) {
                        CHECK_RESULT("a fixed bit at the other value", r, BAD_HOST);
                        CHECK_EQ("CR0 afterwards", loaded, before);
                        continue;
                }
                CHECK_RESULT("the bit at an allowed value", r,
                             EXITS(EXIT_VMCALL));
                CHECK_MASKED("CR0 that the VM exit loaded", loaded, cr0,
                             ~CR0_KEPT);
        }
}

FAMILY(cr0_cache, 4, .id = "entry.host.cr0.nw-cd",
       .title = "host CR0.NW (1) and CR0.CD (2) in any combination", .sdm = SDM,
       .rules = "ENTH_CR0_NW_CD_NEVER_CHECKED")
{
        ulong before, loaded;
        u64 cr0;

        vm_begin(GUEST_NATIVE);
        before = read_cr0();
        cr0 = (before & ~(u64)(CR0_NW | CR0_CD)) |
              (row & 1 ? CR0_NW : 0) | (row & 2 ? CR0_CD : 0);
        CHECK_RESULT("VM entry", enter_with(VMCS_HOST_CR0, cr0, NULL, &loaded),
                     EXITS(EXIT_VMCALL));
        CHECK_MASKED("CR0 that the VM exit loaded", loaded, before, ~CR0_KEPT);
}

CASE(cr0_kept, .id = "entry.host.cr0.kept",
     .title = "CR0.ET, NW, CD and reserved bits are not loaded by VM exits",
     .sdm = SDM, .rules = "ENTH_CR0_NW_CD_NEVER_CHECKED ENTH_CR0_FLEXIBLE_BITS_OK")
{
        const u64 unchecked = CR0_NW | CR0_CD;
        ulong before, loaded;
        u64 cr0;

        vm_begin(GUEST_NATIVE);
        before = read_cr0();
        /* All of them the other way, as far as VMX operation lets them. */
        cr0 = before ^ CR0_KEPT;
        cr0 = (cr0 & unchecked) |
              (((cr0 | vmx_caps()->cr0_fixed0) & vmx_caps()->cr0_fixed1) & ~unchecked);
        CHECK_RESULT("VM entry", enter_with(VMCS_HOST_CR0, cr0, NULL, &loaded),
                     EXITS(EXIT_VMCALL));
        CHECK_MASKED("these bits after the VM exit", loaded, before, CR0_KEPT);
}

/*
 * A VM exit can load most of what is supported; the paging mode can not change
 * under the kernel, and events must go through its IDT.
 */
#define CR4_NOT_LOADED (CR4_PAE | CR4_LA57 | CR4_LASS | CR4_FRED)
#define CR4_KNOWN (BITS(14, 0) | BITS(25, 16) | BIT(28))

FAMILY(cr4_bits, 64, .id = "entry.host.cr4.bit",
       .title = "a bit of host CR4 has a value that VMX operation supports",
       .sdm = SDM, .rules = "ENTH_CR4_FIXED1_BITS_CLEARED ENTH_CR4_FIXED0_BITS_SET")
{
        const u64 mask = BIT(row);
        const struct edit *given = EDITS(OR(HOST_CR0, CR0_WP));
        ulong before, loaded;

        if (!has_bit("CR4", row))
                return;
        vm_begin(GUEST_NATIVE);
        before = read_cr4();
        for (unsigned value = 0; value < 2; value++) {
                u64 cr4 = value ? before | mask : before & ~mask;
                bool allowed = value ? vmx_caps()->cr4_fixed1 & mask
                                     : !(vmx_caps()->cr4_fixed0 & mask);
                bool runs = cr4 == before ||
                            (mask & CR4_KNOWN && !(mask & CR4_NOT_LOADED));

                if (sizeof(ulong) == 4 && mask == CR4_PCIDE && value)
                        allowed = false;
                if (allowed && !runs)
                        continue;
                if (allowed) {
                        CHECK_RESULT("the bit at an allowed value",
                                     enter_with(VMCS_HOST_CR4, cr4, given,
                                                &loaded),
                                     EXITS(EXIT_VMCALL));
                        CHECK_EQ("CR4 that the VM exit loaded", loaded, cr4);
                } else {
                        CHECK_RESULT("a fixed bit at the other value",
                                     enter_with(VMCS_HOST_CR4, cr4, given,
                                                &loaded),
                                     BAD_HOST);
                        CHECK_EQ("CR4 afterwards", loaded, before);
                }
        }
}

#define CET(given_, accept_, reject_)                                   \
        .restore = host_restore, .given = given_, .accept = accept_,    \
        .reject = reject_, .outcome = BAD_HOST
#define NO_WP CLEAR(HOST_CR0, CR0_WP)
#define WITH_CET OR(HOST_CR4, CR4_CET)
#define LOAD_CET OR(EXIT_CONTROLS, CTL_EXIT_LOAD_CET_STATE)

static const struct probe probes[] = {
        { ROW("cr0.unrestricted.pg", "unrestricted guest does not free host CR0.PG",
              "ENTH_CR0_FIXED1_EVEN_IF_UNRESTRICTED", "unrestricted-guest"),
          .mode = GUEST_PROTECTED, .reject = EDITS(CLEAR(HOST_CR0, CR0_PG)),
          .outcome = BAD_HOST },
        { ROW("cr0.unrestricted.pe", "unrestricted guest does not free host CR0.PE",
              "ENTH_CR0_FIXED1_EVEN_IF_UNRESTRICTED", "unrestricted-guest"),
          .mode = GUEST_REAL, .reject = EDITS(CLEAR(HOST_CR0, CR0_PG | CR0_PE)),
          .outcome = BAD_HOST },
        { ROW("cr4.cet", "host CR4.CET needs host CR0.WP", "ENTH_CR4_CET_NEEDS_WP",
              "cet-ss|cet-ibt"),
          CET(EDITS(WITH_CET), EDITS(OR(HOST_CR0, CR0_WP)), EDITS(NO_WP)) },
        { ROW("cr4.cet-load", "the same with \"load CET state\"",
              "ENTH_CR4_CET_NEEDS_WP", "cet-ss|cet-ibt load-cet-state-exit"),
          CET(EDITS(WITH_CET, LOAD_CET), EDITS(OR(HOST_CR0, CR0_WP)),
              EDITS(NO_WP)) },
        { ROW("cr4.no-cet", "host CR0.WP = 0 without CR4.CET",
              "ENTH_CR4_CET_NEEDS_WP", "cet-ss|cet-ibt"),
          CET(NULL, EDITS(NO_WP), EDITS(NO_WP, WITH_CET)) },
        { ROW("cr4.no-cet-wp", "host CR0.WP = 1 without CR4.CET",
              "ENTH_CR4_CET_NEEDS_WP", "cet-ss|cet-ibt"),
          CET(NULL, EDITS(OR(HOST_CR0, CR0_WP)), EDITS(NO_WP, WITH_CET)) },
        { ROW("cr3.pwt-pcd", "host CR3.PWT and PCD are not checked",
              "ENTH_CR3_LOW_BITS_ANY"),
          .restore = host_restore,
          .accept = EDITS(OR(HOST_CR3, CR3_PWT | CR3_PCD)) },
        { ROW("cr3.pcid", "any PCID in host CR3", "ENTH_CR3_LOW_BITS_ANY",
              "host64 pcid"),
          .restore = host_restore,
          .accept = EDITS(OR(HOST_CR4, CR4_PCIDE), OR(HOST_CR3, 0xfff)) },
        { ROW("cr3.low", "low bits of host CR3 without PCIDs",
              "ENTH_CR3_LOW_BITS_ANY", "host64"),
          .restore = host_restore, .accept = EDITS(OR(HOST_CR3, 0xfff)) },
        { ROW("cr3.bit-63-pcide", "host CR3[63] with CR4.PCIDE",
              "ENTH_CR3_BIT63_WITH_PCIDE", "host64 pcid"),
          .restore = host_restore, .given = EDITS(OR(HOST_CR4, CR4_PCIDE)),
          .reject = EDITS(OR(HOST_CR3, BIT(63))), .outcome = BAD_HOST },
        { ROW("cr3.bit-61", "host CR3[61] without linear-address masking",
              "ENTH_CR3_LAM_BITS", "host64 !lam"),
          .reject = EDITS(OR(HOST_CR3, BIT(61))), .outcome = BAD_HOST },
        { ROW("cr3.bit-62", "host CR3[62] without linear-address masking",
              "ENTH_CR3_LAM_BITS", "host64 !lam"),
          .reject = EDITS(OR(HOST_CR3, BIT(62))), .outcome = BAD_HOST },
};

PROBES(checks, probes, .id = "entry.host",
       .title = "checks on host control registers", .sdm = SDM)

static void cr3_bit_refused(const struct test_case *self, unsigned bit)
{
        struct probe p = {
                .reject = EDITS(OR(HOST_CR3, BIT(bit))), .outcome = BAD_HOST,
        };

        probe_check(self, &p);
}

/* Bits 61 and 62 are for linear-address masking: above. */
FAMILY(cr3_high, 9, .id = "entry.host.cr3.bit-52-plus",
       .title = "a bit of host CR3[60:52] must be 0", .sdm = SDM,
       .rules = "ENTH_CR3_WIDTH", .needs = "host64")
{
        cr3_bit_refused(self, 52 + row);
}

CASE(cr3_bit_63, .id = "entry.host.cr3.bit-63", .title = "host CR3[63] must be 0",
     .sdm = SDM, .rules = "ENTH_CR3_WIDTH", .needs = "host64")
{
        cr3_bit_refused(self, 63);
}

CASE(cr3_width, .id = "entry.host.cr3.beyond-maxphyaddr",
     .title = "each bit of host CR3 from the physical-address width to 51 must be 0",
     .sdm = SDM, .rules = "ENTH_CR3_WIDTH", .needs = "host64 physical-below-52")
{
        for (unsigned bit = physical_address_width(); bit < 52; bit++)
                cr3_bit_refused(self, bit);
}

CASE(cr3_tme, .id = "entry.host.cr3.tme",
     .title = "key-identifier bits of SEAM are not bits of host CR3", .sdm = SDM,
     .rules = "ENTH_CR3_WIDTH_TME", .needs = "host64 tme")
{
        unsigned keys = tme_key_bits();

        if (!keys)
                case_skip("IA32_TME_ACTIVATE reserves no bits");
        for (unsigned i = 0; i < keys; i++)
                cr3_bit_refused(self, physical_address_width() + i);
}
