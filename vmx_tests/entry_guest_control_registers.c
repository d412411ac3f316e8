/*
 * SDM Vol. 3, VM Entries > Checks on the Guest State Area > Checks on Guest
 * Control Registers, Debug Registers, and MSRs: CR0 and CR4. CR3 has a file of
 * its own.
 */
#include "lib/check.h"
#include "x86/cpu.h"
#include "x86/memory.h"
#include "x86/paging.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/guest_env.h"
#include "x86/vmx/probe.h"

#define SDM "VM Entries > Checks on Guest Control Registers, Debug Registers, and MSRs"

/* The bytes of these are the same in 16-, 32- and 64-bit code. */
PROGRAM(get_cr0, 32, "mov %cr0, %eax\nvmcall\n");
PROGRAM(get_cr3, 32, "mov %cr3, %eax\nvmcall\n");
PROGRAM(get_cr4, 32, "mov %cr4, %eax\nvmcall\n");

#define CR4_BIT_FRED BIT(32)
#define CR4_BIT_LASS BIT(27)

/*
 * Both values of one bit of CR0: refused where VMX operation fixes the other
 * one, else accepted. @ignored: VM entry does not take the bit from the field,
 * the guest finds @live.
 */
static void cr0_bit(const struct test_case *self, enum guest_mode mode,
                    unsigned bit, bool ignored, bool live)
{
        for (unsigned value = 0; value < 2; value++) {
                const struct edit *edits = value
                        ? EDITS(OR(GUEST_CR0, BIT(bit)))
                        : EDITS(CLEAR(GUEST_CR0, BIT(bit)));
                bool legal = value ? vmx_caps()->cr0_fixed1 & BIT(bit)
                                   : !(vmx_caps()->cr0_fixed0 & BIT(bit));
                struct probe p = {
                        .mode = mode, .given = EDITS(SHOW_EXCEPTIONS),
                        .program = &get_cr0,
                };

                if (legal) {
                        p.accept = edits;
                        p.rax = (ignored ? live : value) ? BIT(bit) : 0;
                        p.rax_mask = BIT(bit);
                } else {
                        p.reject = edits;
                        p.outcome = RESULT(BAD_GUEST);
                }
                probe_check(self, &p);
                if (legal)
                        CHECK_MASKED("CR0 that the VM exit saved",
                                     vmread(VMCS_GUEST_CR0), p.rax, BIT(bit));
        }
}

/* Bits 15:6, 17 and 28:19. */
static unsigned cr0_reserved_bit(unsigned n)
{
        return n < 10 ? 6 + n : n == 10 ? 17 : 8 + n;
}
#define CR0_RESERVED_BITS 21

static const unsigned cr0_flexible[] = { 1, 2, 3, 16, 18 };

#define CR0_FAMILIES(name, guest, needs_)                                      \
FAMILY(cr0_reserved_##name, CR0_RESERVED_BITS,                                 \
       .id = "entry.guest.cr0.reserved." #name,                                \
       .title = "a reserved bit of CR0 is refused or ignored", .sdm = SDM,     \
       .rules = "ENTG_CR0_RESERVED_BITS_IGNORED ENTG_CR0_FIXED1_ZERO_BITS",    \
       .needs = needs_)                                                        \
{                                                                              \
        cr0_bit(self, guest, cr0_reserved_bit(row), true, false);              \
}                                                                              \
FAMILY(cr0_flexible_##name, ARRAY_LEN(cr0_flexible),                           \
       .id = "entry.guest.cr0.flexible." #name,                                \
       .title = "MP, EM, TS, WP and AM (in this order) may have either value", \
       .sdm = SDM, .rules = "ENTG_CR0_FLEXIBLE_BITS", .needs = needs_)         \
{                                                                              \
        cr0_bit(self, guest, cr0_flexible[row], false, false);                 \
}                                                                              \
CASE(cr0_et_##name, .id = "entry.guest.cr0.et." #name,                         \
     .title = "CR0.ET may be 0 and stays 1", .sdm = SDM,                       \
     .rules = "ENTG_CR0_ET_CLEAR_OK", .needs = needs_)                         \
{                                                                              \
        cr0_bit(self, guest, 4, true, true);                                   \
}                                                                              \
FAMILY(cr0_cd_nw_##name, 4, .id = "entry.guest.cr0.cd-nw." #name,              \
       .title = "CD and NW of the field: not checked, not loaded", .sdm = SDM, \
       .rules = "ENTG_CR0_CD_NW_NEVER_CHECKED", .needs = needs_)               \
{                                                                              \
        const u64 both = CR0_CD | CR0_NW;                                      \
        struct probe p = {                                                     \
                .mode = guest, .program = &get_cr0,                           \
                .given = EDITS(SHOW_EXCEPTIONS, CLEAR(GUEST_CR0, both)),       \
                .accept = EDITS(OR(GUEST_CR0, (u64)row << 29)),                \
                .rax = read_cr0(), .rax_mask = both,                           \
        };                                                                     \
                                                                               \
        probe_check(self, &p);                                                 \
}
CR0_FAMILIES(pae, GUEST_PAE, "")
CR0_FAMILIES(long, GUEST_LONG, "host64")
CR0_FAMILIES(real, GUEST_REAL, "unrestricted-guest")

#define CR0_HIGH(name, guest, needs_)                                          \
FAMILY(cr0_high_##name, 32, .id = "entry.guest.cr0.high." #name,               \
       .title = "a bit of CR0[63:32], from 32 on, must be 0", .sdm = SDM,      \
       .rules = "ENTG_CR0_HIGH_BITS_FIXED0", .needs = needs_)                  \
{                                                                              \
        cr0_bit(self, guest, 32 + row, false, false);                          \
}
CR0_HIGH(pae, GUEST_PAE, "host64")
CR0_HIGH(long, GUEST_LONG, "host64")

/* Other fixed bits than NE, PE and PG: none on known processors. */
CASE(cr0_fixed, .id = "entry.guest.cr0.fixed",
     .title = "each bit that IA32_VMX_CR0_FIXED0 names must be 1", .sdm = SDM,
     .rules = "ENTG_CR0_NE_FIXED1")
{
        for (unsigned bit = 1; bit < 31; bit++) {
                struct probe p = { .mode = GUEST_PAE, .outcome = BAD_GUEST };

                if (!(vmx_caps()->cr0_fixed0 & BIT(bit)))
                        continue;
                p.reject = EDITS(CLEAR(GUEST_CR0, BIT(bit)));
                probe_check(self, &p);
        }
}

/*
 * Both values of a bit of CR4. What the guest does with it is judged where the
 * bit lets the first instruction run; SMEP is seen to work, as the guest's code
 * is on user pages. CR0.WP is 1 for CET.
 */
static void cr4_bit(const struct test_case *self, enum guest_mode mode,
                    unsigned bit, u64 fixed0, u64 fixed1)
{
        u64 mask = BIT(bit);

        for (unsigned value = 0; value < 2; value++) {
                bool legal = value ? fixed1 & mask : !(fixed0 & mask);
                const struct edit *edits = value
                        ? EDITS(OR(GUEST_CR4, mask))
                        : EDITS(CLEAR(GUEST_CR4, mask));
                struct vmx_result r;
                struct probe p = {
                        .mode = !value && mask == CR4_PAE && legal
                                ? GUEST_32 : mode,
                        .given = EDITS(SHOW_EXCEPTIONS, OR(GUEST_CR0, CR0_WP)),
                        .accept = legal ? edits : NULL,
                        .reject = edits, .program = &get_cr4,
                        .rax = value ? mask : 0, .rax_mask = mask,
                };

                if (!legal) {
                        p.rax_mask = 0;
                        p.outcome = RESULT(BAD_GUEST);
                } else if (value && mask == CR4_SMEP) {
                        p.rax_mask = 0;
                        p.accepted = RESULT(EXITS(EXIT_EXCEPTION_NMI));
                } else if (value && (mask == CR4_LA57 || mask == CR4_BIT_LASS)) {
                        r = probe_enter(&p, edits, 0);
                        CHECK("the guest is entered",
                              r.kind == VMX_EXIT && !(r.code & EXIT_ENTRY_FAILURE),
                              "kind %u, code 0x%x", r.kind, r.code);
                        continue;
                }
                probe_check(self, &p);
                if (legal)
                        CHECK_MASKED("CR4 that the VM exit saved",
                                     vmread(VMCS_GUEST_CR4), value ? mask : 0,
                                     mask);
        }
}

#define CR4_RULES "ENTG_CR4_FIXED1_ZERO_BITS ENTG_CR4_FLEXIBLE_BITS"
#define CR4_TITLE "a bit of CR4: fixed as the MSRs say, else free"

FAMILY(cr4_long, 64, .id = "entry.guest.cr4.bit.long", .title = CR4_TITLE,
       .sdm = SDM, .rules = CR4_RULES, .needs = "host64")
{
        cr4_bit(self, GUEST_LONG, row, vmx_caps()->cr4_fixed0 | CR4_PAE,
                vmx_caps()->cr4_fixed1);
}

/* PCIDE and FRED are for IA-32e mode only. */
static void cr4_bit_pae(const struct test_case *self, unsigned bit)
{
        cr4_bit(self, GUEST_PAE, bit, vmx_caps()->cr4_fixed0,
                vmx_caps()->cr4_fixed1 & ~(CR4_PCIDE | CR4_BIT_FRED));
}

FAMILY(cr4_pae, 32, .id = "entry.guest.cr4.bit.pae", .title = CR4_TITLE,
       .sdm = SDM, .rules = CR4_RULES)
{
        cr4_bit_pae(self, row);
}

FAMILY(cr4_pae_high, 32, .id = "entry.guest.cr4.high.pae",
       .title = "a bit of CR4[63:32], from 32 on", .sdm = SDM,
       .rules = "ENTG_CR4_FIXED1_ZERO_BITS", .needs = "host64")
{
        cr4_bit_pae(self, 32 + row);
}

#define UG "unrestricted-guest"
#define OFF(bits) EDITS(CLEAR(GUEST_CR0, bits))

static const struct probe cr_probes[] = {
        { ROW("cr0.ne", "CR0.NE must be 1", "ENTG_CR0_NE_FIXED1"),
          .reject = OFF(CR0_NE), .outcome = BAD_GUEST },
        { ROW("cr0.ne-real", "an unrestricted guest needs CR0.NE in real mode",
              "ENTG_CR0_NE_UG_STILL_CHECKED", UG),
          .mode = GUEST_REAL, .reject = OFF(CR0_NE), .outcome = BAD_GUEST },
        { ROW("cr0.ne-unrestricted", "an unrestricted guest with paging needs CR0.NE",
              "ENTG_CR0_NE_UG_STILL_CHECKED", UG),
          .prepare = with_unrestricted_guest, .reject = OFF(CR0_NE),
          .outcome = BAD_GUEST },
        { ROW("cr0.pe", "CR0.PE must be 1 without unrestricted guest",
              "ENTG_CR0_PE_REQUIRED_WITHOUT_UG"),
          .mode = GUEST_PAE, .reject = OFF(CR0_PE | CR0_PG),
          .outcome = BAD_GUEST },
        { ROW("cr0.pe-paged", "CR0.PE must be 1, with paging and without "
              "unrestricted guest", "ENTG_CR0_PE_REQUIRED_WITHOUT_UG"),
          .mode = GUEST_PAE, .reject = OFF(CR0_PE), .outcome = BAD_GUEST },
        { ROW("cr0.pg", "CR0.PG must be 1 without unrestricted guest",
              "ENTG_CR0_PG_REQUIRED_WITHOUT_UG"),
          .mode = GUEST_PAE, .reject = OFF(CR0_PG), .outcome = BAD_GUEST },
        { ROW("cr0.protected", "an unrestricted guest may run without paging",
              "ENTG_CR0_UG_UNPAGED_PROTECTED_OK", UG),
          .mode = GUEST_PROTECTED, .accept = EDITS(SET(GUEST_CR3, 0)),
          .program = &get_cr0, .rax = CR0_PE, .rax_mask = CR0_PE | CR0_PG },
        { ROW("cr0.real", "an unrestricted guest may run in real-address mode",
              "ENTG_CR0_UG_REAL_MODE_OK", UG),
          .mode = GUEST_REAL, .accept = EDITS(SET(GUEST_CR3, 0)),
          .program = &get_cr0, .rax = 0, .rax_mask = CR0_PE | CR0_PG },
        { ROW("cr0.pg-without-pe", "CR0.PG = 1 needs CR0.PE = 1 in an "
              "unrestricted guest", "ENTG_CR0_PG_NEEDS_PE", UG),
          .mode = GUEST_PAE, .prepare = with_unrestricted_guest,
          .reject = OFF(CR0_PE), .outcome = BAD_GUEST },
        { ROW("cr0.pg-real", "a real-mode guest must have CR0.PG = 0",
              "ENTG_CR0_PG_NEEDS_PE", UG),
          .mode = GUEST_REAL, .reject = EDITS(OR(GUEST_CR0, CR0_PG)),
          .outcome = BAD_GUEST },
        { ROW("cr0.pg-without-pe-ia-32e", "CR0.PG = 1 needs CR0.PE = 1 in an "
              "unrestricted IA-32e guest", "ENTG_CR0_PG_NEEDS_PE", UG " host64"),
          .mode = GUEST_LONG, .prepare = with_unrestricted_guest,
          .reject = OFF(CR0_PE), .outcome = BAD_GUEST },
        { ROW("cr0.unrestricted-inactive.protected", "unrestricted guest does "
              "nothing while secondary controls are off: PG",
              "ENTG_CR0_UG_BIT_IGNORED_WHEN_SECONDARY_OFF", UG),
          .mode = GUEST_PROTECTED,
          .reject = EDITS(CLEAR(PRIMARY_CONTROLS, CTL_PRIMARY_ACTIVATE_SECONDARY)),
          .outcome = BAD_GUEST },
        { ROW("cr0.unrestricted-inactive.real", "unrestricted guest does "
              "nothing while secondary controls are off: PE and PG",
              "ENTG_CR0_UG_BIT_IGNORED_WHEN_SECONDARY_OFF", UG),
          .mode = GUEST_REAL,
          .reject = EDITS(CLEAR(PRIMARY_CONTROLS, CTL_PRIMARY_ACTIVATE_SECONDARY)),
          .outcome = BAD_GUEST },
        { ROW("cr0.pg-ia-32e", "an IA-32e mode guest needs CR0.PG = 1",
              "ENTG_CR0_IA32E_NEEDS_PG", UG " host64"),
          .mode = GUEST_LONG, .prepare = with_unrestricted_guest,
          .reject = OFF(CR0_PG), .outcome = BAD_GUEST },
        { ROW("cr0.pg-ia-32e-efer", "the same with IA32_EFER loaded",
              "ENTG_CR0_IA32E_NEEDS_PG",
              UG " host64 load-ia32-efer-entry load-ia32-efer-exit"),
          .mode = GUEST_LONG, .prepare = with_unrestricted_guest,
          .given = EDITS(OR(ENTRY_CONTROLS, CTL_ENTRY_LOAD_EFER),
                         OR(EXIT_CONTROLS, CTL_EXIT_LOAD_EFER)),
          .reject = OFF(CR0_PG), .outcome = BAD_GUEST },
        { ROW("cr4.vmxe.long", "CR4.VMXE must be 1", "ENTG_CR4_VMXE_FIXED1",
              "host64"),
          .mode = GUEST_LONG, .reject = EDITS(CLEAR(GUEST_CR4, CR4_VMXE)),
          .outcome = BAD_GUEST },
        { ROW("cr4.vmxe.pae", "CR4.VMXE must be 1", "ENTG_CR4_VMXE_FIXED1"),
          .mode = GUEST_PAE, .reject = EDITS(CLEAR(GUEST_CR4, CR4_VMXE)),
          .outcome = BAD_GUEST },
        { ROW("cr4.vmxe.real", "a real-mode guest needs CR4.VMXE = 1",
              "ENTG_CR4_VMXE_FIXED1", UG),
          .mode = GUEST_REAL, .reject = EDITS(CLEAR(GUEST_CR4, CR4_VMXE)),
          .outcome = BAD_GUEST },
        { ROW("cr4.pae-ia-32e", "IA-32e mode needs CR4.PAE = 1",
              "ENTG_CR4_IA32E_NEEDS_PAE", "host64"),
          .mode = GUEST_LONG, .reject = EDITS(CLEAR(GUEST_CR4, CR4_PAE)),
          .outcome = BAD_GUEST },
        { ROW("cr4.pcide-ia-32e", "CR4.PCIDE may be 1 in IA-32e mode",
              "ENTG_CR4_PCIDE_NEEDS_IA32E", "pcid host64"),
          .mode = GUEST_LONG, .accept = EDITS(OR(GUEST_CR4, CR4_PCIDE)),
          .program = &get_cr4, .rax = CR4_PCIDE, .rax_mask = CR4_PCIDE },
        { ROW("cr4.pcide-pae", "CR4.PCIDE must be 0 outside IA-32e mode",
              "ENTG_CR4_PCIDE_NEEDS_IA32E", "pcid"),
          .mode = GUEST_PAE, .reject = EDITS(OR(GUEST_CR4, CR4_PCIDE)),
          .outcome = BAD_GUEST },
        { ROW("cr4.pcide-unpaged", "CR4.PCIDE must be 0 without paging",
              "ENTG_CR4_PCIDE_NEEDS_IA32E", "pcid " UG),
          .mode = GUEST_PROTECTED, .reject = EDITS(OR(GUEST_CR4, CR4_PCIDE)),
          .outcome = BAD_GUEST },
        { ROW("cr4.pcide-with-pcid-001", "VM entry may set CR4.PCIDE and a PCID",
              "ENTG_CR4_PCIDE_SET_WITH_CR3_LOW_BITS", "pcid host64"),
          .mode = GUEST_LONG,
          .accept = EDITS(OR(GUEST_CR4, CR4_PCIDE), OR(GUEST_CR3, 1)),
          .program = &get_cr3, .rax = 1, .rax_mask = 0xfff },
        { ROW("cr4.pcide-with-pcid-fff", "VM entry may set CR4.PCIDE and a PCID",
              "ENTG_CR4_PCIDE_SET_WITH_CR3_LOW_BITS", "pcid host64"),
          .mode = GUEST_LONG,
          .accept = EDITS(OR(GUEST_CR4, CR4_PCIDE), OR(GUEST_CR3, 0xfff)),
          .program = &get_cr3, .rax = 0xfff, .rax_mask = 0xfff },
        { ROW("cr4.la57-pae", "CR4.LA57 may be 1 outside IA-32e mode",
              "ENTG_CR4_LA57_OUTSIDE_IA32E", "la57"),
          .mode = GUEST_PAE, .accept = EDITS(OR(GUEST_CR4, CR4_LA57)),
          .program = &get_cr4, .rax = CR4_LA57, .rax_mask = CR4_LA57 },
        { ROW("cr4.la57-unpaged", "CR4.LA57 may be 1 without paging",
              "ENTG_CR4_LA57_OUTSIDE_IA32E", "la57 " UG),
          .mode = GUEST_PROTECTED, .accept = EDITS(OR(GUEST_CR4, CR4_LA57)),
          .program = &get_cr4, .rax = CR4_LA57, .rax_mask = CR4_LA57 },
        { ROW("cr4.cet-without-wp", "CR4.CET = 1 needs CR0.WP = 1",
              "ENTG_CR4_CET_NEEDS_WP", "cet-ss|cet-ibt"),
          .given = EDITS(OR(GUEST_CR4, CR4_CET), OR(GUEST_CR0, CR0_WP)),
          .reject = OFF(CR0_WP), .outcome = BAD_GUEST },
        { ROW("cr4.wp-without-cet", "CR0.WP may be 0 with CR4.CET = 0",
              "ENTG_CR4_CET_NEEDS_WP", "cet-ss|cet-ibt"),
          .accept = EDITS(CLEAR(GUEST_CR4, CR4_CET), CLEAR(GUEST_CR0, CR0_WP)) },
        { ROW("cr4.fred-ia-32e", "CR4.FRED may be 1 in IA-32e mode",
              "ENTG_CR4_FRED_NEEDS_IA32E", "fred host64"),
          .mode = GUEST_LONG, .accept = EDITS(OR(GUEST_CR4, CR4_BIT_FRED)),
          .program = &get_cr4, .rax = CR4_BIT_FRED, .rax_mask = CR4_BIT_FRED },
        { ROW("cr4.fred-pae", "CR4.FRED must be 0 outside IA-32e mode",
              "ENTG_CR4_FRED_NEEDS_IA32E", "fred host64"),
          .mode = GUEST_PAE, .reject = EDITS(OR(GUEST_CR4, CR4_BIT_FRED)),
          .outcome = BAD_GUEST },
};

PROBES(cr_checks, cr_probes, .id = "entry.guest",
       .title = "checks on guest control registers", .sdm = SDM)

/*
 * Five levels whose second is the baseline's PML4: the same mapping. The host
 * has four levels, and again after the VM exit.
 */
CASE(la57_change, .id = "entry.guest.cr4.la57-may-change",
     .title = "VM entry may set CR4.LA57, which MOV to CR4 could not",
     .sdm = SDM, .rules = "ENTG_CR4_LA57_MAY_CHANGE", .needs = "la57 host64")
{
        u64 *pml5 = page_alloc(1);
        struct probe p = {
                .mode = GUEST_LONG, .program = &get_cr4,
                .given = EDITS(SHOW_EXCEPTIONS),
                .accept = EDITS(OR(GUEST_CR4, CR4_LA57),
                                SET(GUEST_CR3, phys(pml5))),
                .rax = CR4_LA57, .rax_mask = CR4_LA57,
        };

        pml5[0] = phys(guest_env()->pml4) | PTE_P | PTE_W | PTE_U;
        probe_check(self, &p);
}
