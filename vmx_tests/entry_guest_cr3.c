/*
 * SDM Vol. 3, VM Entries > Checks on the Guest State Area > Checks on Guest
 * Control Registers, Debug Registers, and MSRs: CR3.
 */
#include "lib/check.h"
#include "x86/cpu.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/probe.h"

#define SDM "VM Entries > Checks on Guest Control Registers, Debug Registers, and MSRs"

PROGRAM(get_cr3, 32, "mov %cr3, %eax\nvmcall\n");

/* Bits 61 and 62 belong to linear-address masking. */
FAMILY(high_bits, 10, .id = "entry.guest.cr3.high",
       .title = "a bit of CR3[60:52], from 52 on, or bit 63, must be 0",
       .sdm = SDM, .rules = "ENTG_CR3_BITS_63_52", .needs = "host64")
{
        struct probe p = {
                .mode = GUEST_LONG, .outcome = BAD_GUEST,
                .reject = EDITS(OR(GUEST_CR3, BIT(row < 9 ? 52 + row : 63))),
        };

        probe_check(self, &p);
}

FAMILY(lam_bits, 2, .id = "entry.guest.cr3.lam",
       .title = "CR3[61] and CR3[62] must be 0 without linear-address masking",
       .sdm = SDM, .rules = "ENTG_CR3_BITS_63_52 ENTG_CR3_LAM_BITS",
       .needs = "host64 !lam")
{
        struct probe p = {
                .mode = GUEST_LONG, .outcome = BAD_GUEST,
                .reject = EDITS(OR(GUEST_CR3, BIT(61 + row))),
        };

        probe_check(self, &p);
}

FAMILY(lam_loaded, 2, .id = "entry.guest.cr3.lam.loaded",
       .title = "CR3[61] and CR3[62] may be 1 with linear-address masking",
       .sdm = SDM, .rules = "ENTG_CR3_LAM_BITS", .needs = "host64 lam")
{
        struct probe p = {
                .mode = GUEST_LONG, .program = &get_cr3,
                .given = EDITS(SHOW_EXCEPTIONS),
                .accept = EDITS(OR(GUEST_CR3, BIT(61 + row))),
                .rax = BIT(61 + row), .rax_mask = BIT(61) | BIT(62),
        };

        probe_check(self, &p);
}

CASE(beyond_width, .id = "entry.guest.cr3.beyond-maxphyaddr.long",
     .title = "each bit of CR3 from the physical-address width to 51 must be 0",
     .sdm = SDM, .rules = "ENTG_CR3_BEYOND_MAXPHYADDR",
     .needs = "host64 physical-below-52")
{
        for (unsigned bit = physical_address_width(); bit < 52; bit++) {
                struct probe p = {
                        .mode = GUEST_LONG, .outcome = BAD_GUEST,
                        .reject = EDITS(OR(GUEST_CR3, BIT(bit))),
                };

                probe_check(self, &p);
        }
}

/* The width check where CR3 is not used, and where EPT has nothing for it. */
FAMILY(width_unpaged, 20, .id = "entry.guest.cr3.width.unpaged",
       .title = "a bit of CR3 from 32 on, in a guest without paging", .sdm = SDM,
       .rules = "ENTG_CR3_BEYOND_MAXPHYADDR ENTG_CR3_CHECKED_WITH_PG_CLEAR",
       .needs = "host64 unrestricted-guest")
{
        struct probe p = {
                .mode = GUEST_PROTECTED, .program = &get_cr3,
                .given = EDITS(SHOW_EXCEPTIONS),
        };

        probe_legal(self, &p, EDITS(OR(GUEST_CR3, BIT(32 + row))),
                    32 + row < guest_address_width(),
                    RESULT(BAD_GUEST));
}

FAMILY(width_ept, 16, .id = "entry.guest.cr3.width.ept",
       .title = "a bit of CR3 from 32 on, in a 64-bit guest under EPT",
       .sdm = SDM,
       .rules = "ENTG_CR3_BEYOND_MAXPHYADDR ENTG_CR3_EPT_GPA_NOT_TRANSLATED_AT_ENTRY",
       .needs = "host64 enable-ept")
{
        bool legal = 32 + row < guest_address_width();
        struct probe p = { .mode = GUEST_LONG, .prepare = with_ept };
        const struct edit *edits = EDITS(OR(GUEST_CR3, BIT(32 + row)));

        if (legal) {
                p.accept = edits;
                p.accepted = RESULT(EXITS(EXIT_EPT_VIOLATION));
        } else {
                p.reject = edits;
                p.outcome = RESULT(BAD_GUEST);
        }
        probe_check(self, &p);
}

/* Bits that the paging mode does not use for the table's address. */
#define LOW_BITS(name, guest, bits, needs_)                                 \
FAMILY(low_##name, bits, .id = "entry.guest.cr3.low." #name,                \
       .title = "a low bit of CR3 is not checked; PWT and PCD are loaded",  \
       .sdm = SDM, .rules = "ENTG_CR3_LOW_BITS_UNCHECKED", .needs = needs_) \
{                                                                           \
        struct probe p = {                                                  \
                .mode = guest, .given = EDITS(SHOW_EXCEPTIONS),             \
                .accept = EDITS(OR(GUEST_CR3, BIT(row))),                   \
                .program = &get_cr3, .rax = BIT(row),                       \
                .rax_mask = CR3_PWT | CR3_PCD,                              \
        };                                                                  \
                                                                            \
        probe_check(self, &p);                                              \
}
LOW_BITS(long, GUEST_LONG, 12, "host64")
LOW_BITS(compat, GUEST_COMPAT, 12, "host64")
LOW_BITS(pae, GUEST_PAE, 5, "")
LOW_BITS(32, GUEST_32, 12, "")

/*
 * Without EPT. SDM Vol. 3, Paging, tables of the use of CR3: PAE and 32-bit
 * paging ignore bits 63:32.
 */
#define IGNORED(name, guest)                                                \
CASE(ignored_##name, .id = "entry.guest.cr3.width." #name,                  \
     .title = "each bit of CR3 from 32 on is ignored by the paging, but must" \
              " be 0 from the physical-address width on", .sdm = SDM,       \
     .rules = "ENTG_CR3_BEYOND_MAXPHYADDR", .needs = "host64")              \
{                                                                           \
        struct probe p = { .mode = guest, .given = EDITS(SHOW_EXCEPTIONS) }; \
                                                                            \
        for (unsigned bit = 32; bit < 52; bit++)                            \
                probe_legal(self, &p, EDITS(OR(GUEST_CR3, BIT(bit))),       \
                            bit < physical_address_width(),                 \
                            RESULT(BAD_GUEST));                             \
}
IGNORED(pae, GUEST_PAE)
IGNORED(32, GUEST_32)

static const struct probe rows[] = {
        { ROW("bit-63-pcide", "CR3[63] must be 0 with CR4.PCIDE = 1",
              "ENTG_CR3_BIT63_WITH_PCIDE", "pcid host64"),
          .mode = GUEST_LONG, .given = EDITS(OR(GUEST_CR4, CR4_PCIDE)),
          .reject = EDITS(OR(GUEST_CR3, BIT(63))), .outcome = BAD_GUEST },
        { ROW("bit-63-unpaged", "CR3[63] must be 0 without paging",
              "ENTG_CR3_CHECKED_WITH_PG_CLEAR", "host64 unrestricted-guest"),
          .mode = GUEST_PROTECTED, .reject = EDITS(OR(GUEST_CR3, BIT(63))),
          .outcome = BAD_GUEST },
        { ROW("bit-63-real", "CR3[63] must be 0 in real-address mode",
              "ENTG_CR3_CHECKED_WITH_PG_CLEAR", "host64 unrestricted-guest"),
          .mode = GUEST_REAL, .reject = EDITS(OR(GUEST_CR3, BIT(63))),
          .outcome = BAD_GUEST },
        { ROW("bit-63-pae", "CR3[63] must be 0 with PAE paging",
              "ENTG_CR3_BITS_63_52", "host64"),
          .mode = GUEST_PAE, .reject = EDITS(OR(GUEST_CR3, BIT(63))),
          .outcome = BAD_GUEST },
        { ROW("bit-63-32", "CR3[63] must be 0 with 32-bit paging",
              "ENTG_CR3_BITS_63_52", "host64"),
          .mode = GUEST_32, .reject = EDITS(OR(GUEST_CR3, BIT(63))),
          .outcome = BAD_GUEST },
        { ROW("bit-63-v86", "CR3[63] must be 0 in virtual-8086 mode",
              "ENTG_CR3_BITS_63_52", "host64"),
          .mode = GUEST_V86, .reject = EDITS(OR(GUEST_CR3, BIT(63))),
          .outcome = BAD_GUEST },
};

PROBES(cr3_rows, rows, .id = "entry.guest.cr3", .title = "checks on guest CR3",
       .sdm = SDM)

/*
 * VM entry does not read the paging structures of a guest under EPT: the first
 * fetch does, except with PAE paging, whose PDPTEs are in the VMCS.
 */
#define NOT_READ(name, guest, reason, needs_)                               \
CASE(not_read_##name, .id = "entry.guest.cr3.not-read-under-ept." #name,    \
     .title = "VM entry accepts a CR3 that EPT does not map",               \
     .sdm = "VM Entries > Checks on Guest RIP, RFLAGS, and SSP",            \
     .rules = "ENTG_CR3_EPT_GPA_NOT_TRANSLATED_AT_ENTRY",                   \
     .needs = "enable-ept " needs_)                                         \
{                                                                           \
        struct probe p = {                                                  \
                .mode = guest, .prepare = with_ept_hole,                    \
                .accept = EDITS(SET(GUEST_CR3, EPT_HOLE)),                      \
                .accepted = EXITS(reason),                                  \
        };                                                                  \
                                                                            \
        probe_check(self, &p);                                              \
        if (reason != EXIT_EPT_VIOLATION)                                   \
                return;                                                     \
        /* A linear access, to an entry of the paging structures. */        \
        CHECK_MASKED("exit qualification", vmread(VMCS_EXIT_QUALIFICATION), \
                     BIT(7), BIT(7) | BIT(8));                              \
        CHECK_MASKED("guest-physical address",                              \
                     vmread(VMCS_GUEST_PHYSICAL_ADDRESS), EPT_HOLE,         \
                     ~0xfffull);                                            \
}
NOT_READ(long, GUEST_LONG, EXIT_EPT_VIOLATION, "host64")
NOT_READ(compat, GUEST_COMPAT, EXIT_EPT_VIOLATION, "host64")
NOT_READ(32, GUEST_32, EXIT_EPT_VIOLATION, "")
NOT_READ(pae, GUEST_PAE, EXIT_VMCALL, "")

static void tme_case(const struct test_case *self, bool ept)
{
        unsigned width = physical_address_width(), keys = tme_key_bits();

        if (!keys)
                case_skip("IA32_TME_ACTIVATE takes no address bits");
        for (unsigned bit = width; bit < width + keys; bit++) {
                struct probe p = {
                        .mode = ept ? GUEST_PROTECTED : GUEST_LONG,
                        .given = EDITS(SHOW_EXCEPTIONS),
                };

                probe_legal(self, &p, EDITS(OR(GUEST_CR3, BIT(bit))), ept,
                            RESULT(BAD_GUEST));
        }
}

CASE(tme_without_ept, .id = "entry.guest.cr3.tme.without-ept",
     .title = "memory encryption narrows CR3 without EPT", .sdm = SDM,
     .rules = "ENTG_CR3_TME_REDUCED_NO_EPT", .needs = "host64 tme")
{
        tme_case(self, false);
}

CASE(tme_with_ept, .id = "entry.guest.cr3.tme.with-ept",
     .title = "memory encryption does not narrow CR3 with EPT", .sdm = SDM,
     .rules = "ENTG_CR3_TME_NOT_REDUCED_WITH_EPT",
     .needs = "host64 tme unrestricted-guest")
{
        tme_case(self, true);
}
