/*
 * SDM Vol. 3, VM Entries > Checks on the Guest State Area > Checks on Guest RIP,
 * RFLAGS, and SSP.
 */
#include "lib/check.h"
#include "x86/cpu.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/probe.h"
#include "x86/vmx/segment.h"

#define SDM "VM Entries > Checks on Guest RIP, RFLAGS, and SSP"
#define SDM_RIP "VM Entries > Checks on Guest RIP and RFLAGS"

/* RIP[63:32] outside 64-bit mode. */
#define RIP_HIGH(name, guest, rule, needs_)                                  \
FAMILY(rip_high_##name, 32, .id = "entry.guest.rip.high." #name,             \
       .title = "a bit of RIP from 32 on must be 0", .sdm = SDM_RIP,         \
       .rules = rule, .needs = "host64 " needs_)                             \
{                                                                            \
        struct probe p = {                                                   \
                .mode = guest, .given = EDITS(SHOW_EXCEPTIONS),              \
                .reject = EDITS(OR(GUEST_RIP, BIT(32 + row))),               \
                .outcome = BAD_GUEST,                                        \
        };                                                                   \
                                                                             \
        probe_check(self, &p);                                               \
}
RIP_HIGH(compat, GUEST_COMPAT, "ENTG_RIP_HIGH_COMPAT", "")
RIP_HIGH(pae, GUEST_PAE, "ENTG_RIP_HIGH_NOT_IA32E", "")
RIP_HIGH(v86, GUEST_V86, "ENTG_RIP_HIGH_NOT_IA32E", "")
RIP_HIGH(protected, GUEST_PROTECTED, "ENTG_RIP_HIGH_NOT_IA32E", "unrestricted-guest")
RIP_HIGH(real, GUEST_REAL, "ENTG_RIP_HIGH_NOT_IA32E", "unrestricted-guest")

/* CS.L does not count outside IA-32e mode. */
FAMILY(rip_high_l, 32, .id = "entry.guest.rip.high.pae-l",
       .title = "a bit of RIP from 32 on must be 0, with CS.L = 1",
       .sdm = SDM_RIP, .rules = "ENTG_RIP_HIGH_NOT_IA32E", .needs = "host64")
{
        struct probe p = {
                .mode = GUEST_PAE, .outcome = BAD_GUEST,
                .given = EDITS(SHOW_EXCEPTIONS,
                               OR(GUEST_CS_ACCESS_RIGHTS, AR_L)),
                .reject = EDITS(OR(GUEST_RIP, BIT(32 + row))),
        };

        probe_check(self, &p);
}

/*
 * The first fetch of a RIP that VM entry accepts and the guest can not use
 * raises #GP(0), with that RIP. In real mode there is no error code.
 */
static void entered_then_gp(const struct test_case *self, enum guest_mode mode,
                            const struct edit *edits, u64 rip)
{
        struct probe p = {
                .mode = mode, .given = EDITS(SHOW_EXCEPTIONS), .accept = edits,
                .accepted = EXITS(EXIT_EXCEPTION_NMI),
        };

        probe_check(self, &p);
        if (check_failed())
                return;
        CHECK_MASKED("the exception", vmread(VMCS_EXIT_INTERRUPTION_INFO),
                     0x80000b00u | VEC_GP,
                     mode == GUEST_REAL ? 0x800007ffu : 0x80000fffu);
        if (mode != GUEST_REAL)
                CHECK_EQ("its error code",
                         vmread(VMCS_EXIT_INTERRUPTION_ERROR_CODE), 0);
        CHECK_EQ("guest RIP", vmread(VMCS_GUEST_RIP), rip);
}

/* Each bit of RIP[63:N] alone is 1, or alone is 0. */
CASE(rip_upper, .id = "entry.guest.rip.64-bit.one-bit",
     .title = "a bit of RIP[63:N] that differs from the others",
     .sdm = SDM_RIP, .rules = "ENTG_RIP_64BIT_UPPER_IDENTICAL",
     .needs = "host64")
{
        unsigned width = linear_address_width();

        for (unsigned bit = width; bit < 64; bit++) {
                struct probe p = {
                        .mode = GUEST_LONG, .outcome = BAD_GUEST,
                        .given = EDITS(SHOW_EXCEPTIONS),
                        .reject = EDITS(OR(GUEST_RIP, BIT(bit))),
                };
                struct probe high = {
                        .mode = GUEST_LONG, .outcome = BAD_GUEST,
                        .given = EDITS(SHOW_EXCEPTIONS),
                        .reject = EDITS(SET(GUEST_RIP, ~BIT(bit))),
                };

                probe_check(self, &p);
                probe_check(self, &high);
        }
}

/* A canonical address in the upper half, which is not mapped, is not refused. */
CASE(rip_upper_half, .id = "entry.guest.rip.64-bit.upper-half",
     .title = "RIP[63:N] may be all ones", .sdm = SDM_RIP,
     .rules = "ENTG_RIP_64BIT_UPPER_IDENTICAL", .needs = "host64")
{
        struct probe p = {
                .mode = GUEST_LONG, .given = EDITS(SHOW_EXCEPTIONS),
                .accept = EDITS(SET(GUEST_RIP, 0xffff800000001000)),
                .accepted = EXITS(EXIT_EXCEPTION_NMI),
                .reject = EDITS(SET(GUEST_RIP, 0x7fff800000001000)),
                .outcome = BAD_GUEST,
        };

        probe_check(self, &p);
}

CASE(rip_noncanonical, .id = "entry.guest.rip.64-bit.non-canonical",
     .title = "RIP[N-1] may differ from RIP[63:N], which are 0", .sdm = SDM_RIP,
     .rules = "ENTG_RIP_64BIT_NONCANONICAL_ACCEPTED", .needs = "host64")
{
        u64 rip = BIT(linear_address_width() - 1);

        entered_then_gp(self, GUEST_LONG, EDITS(SET(GUEST_RIP, rip)), rip);
}

CASE(rip_noncanonical_high, .id = "entry.guest.rip.64-bit.non-canonical-high",
     .title = "RIP[N-1] may differ from RIP[63:N], which are 1", .sdm = SDM_RIP,
     .rules = "ENTG_RIP_64BIT_NONCANONICAL_ACCEPTED", .needs = "host64")
{
        u64 rip = ~BIT(linear_address_width() - 1);

        entered_then_gp(self, GUEST_LONG, EDITS(SET(GUEST_RIP, rip)), rip);
}

/* The guest's CR4.LA57 is 0 here; the width is the processor's. */
FAMILY(rip_cpu_width, 2, .id = "entry.guest.rip.64-bit.cpu-width",
       .title = "RIP may need 57 bits in a guest with 4-level paging",
       .sdm = SDM_RIP, .rules = "ENTG_RIP_CPU_WIDTH_WITH_LA57_0",
       .needs = "host64 la57")
{
        u64 rip = row ? BIT(55) : BIT(47);

        entered_then_gp(self, GUEST_LONG, EDITS(SET(GUEST_RIP, rip)), rip);
}

#define BEYOND(name, guest, needs_)                                          \
CASE(beyond_##name, .id = "entry.guest.rip.beyond-limit." #name,             \
     .title = "RIP may be beyond the limit of CS", .sdm = SDM_RIP,           \
     .rules = "ENTG_RIP_BEYOND_CS_LIMIT_ACCEPTED", .needs = needs_)          \
{                                                                            \
        entered_then_gp(self, guest,                                         \
                        EDITS(SET(GUEST_CS_LIMIT, 0xffff),                   \
                              SET(GUEST_RIP, 0x10000),                       \
                              CLEAR(GUEST_CS_ACCESS_RIGHTS, AR_G)), 0x10000); \
}
BEYOND(compat, GUEST_COMPAT, "host64")
BEYOND(pae, GUEST_PAE, "")
BEYOND(v86, GUEST_V86, "")
BEYOND(protected, GUEST_PROTECTED, "unrestricted-guest")
BEYOND(real, GUEST_REAL, "unrestricted-guest")

#define RSP_ROW(id_, value) \
        { ROW(id_), .accept = EDITS(SET(GUEST_RSP, value)) }

static const struct probe rsp_rows[] = {
        RSP_ROW("0", 0), RSP_ROW("1", 1), RSP_ROW("ffffffff", 0xffffffff),
        RSP_ROW("8000000000000000", 0x8000000000000000),
        RSP_ROW("7fffffffffffffff", 0x7fffffffffffffff),
        RSP_ROW("ffffffffffffffff", 0xffffffffffffffff),
};

#define RSP(name, guest, needs_)                                             \
TABLE(rsp_##name, rsp_rows, .id = "entry.guest.rsp." #name,                  \
      .title = "RSP is not checked", .sdm = SDM_RIP,                         \
      .rules = "ENTG_RSP_UNCHECKED", .needs = "host64 " needs_)              \
{                                                                            \
        struct probe p = *(const struct probe *)case_row(self, row);         \
                                                                             \
        p.mode = guest;                                                      \
        p.given = EDITS(SHOW_EXCEPTIONS);                                    \
        probe_check(self, &p);                                               \
}
RSP(long, GUEST_LONG, "")
RSP(pae, GUEST_PAE, "")
RSP(real, GUEST_REAL, "unrestricted-guest")

/*
 * RFLAGS, bit by bit. TF = 1 ends the guest's first instruction in a debug
 * exception, were it not VMCALL, which exits before. VIF and VIP are not both 1.
 */
static void rflags_bit(const struct test_case *self, enum guest_mode mode,
                       unsigned bit)
{
        const u64 free = RFLAGS_ARITH | RFLAGS_TF | RFLAGS_IF | RFLAGS_DF |
                         RFLAGS_IOPL | RFLAGS_NT | RFLAGS_RF | RFLAGS_AC |
                         RFLAGS_VIF | RFLAGS_VIP | RFLAGS_ID;
        struct probe p = { .mode = mode, .given = EDITS(SHOW_EXCEPTIONS) };

        probe_legal(self, &p, EDITS(FLIP(GUEST_RFLAGS, BIT(bit))),
                    BIT(bit) & free, RESULT(BAD_GUEST));
}

/* The bit that the exit saved is the one that the entry loaded. */
static void rflags_free(const struct test_case *self, enum guest_mode mode,
                        unsigned bit)
{
        u64 value = BIT(bit);
        struct probe p = {
                .mode = mode, .given = EDITS(SHOW_EXCEPTIONS),
                .accept = EDITS(FLIP(GUEST_RFLAGS, value)),
        };
        bool was;

        vm_begin(mode);
        was = vmread(VMCS_GUEST_RFLAGS) & value;
        probe_check(self, &p);
        CHECK_MASKED("RFLAGS that the VM exit saved", vmread(VMCS_GUEST_RFLAGS),
                     was ? 0 : value, value);
}

static const u8 free_bits[] = { 0, 2, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 18, 19,
                                20, 21 };
static const u8 fixed_bits[] = { 3, 5, 15 };

#define RFLAGS(name, guest, needs_)                                          \
FAMILY(free_##name, ARRAY_LEN(free_bits),                                    \
       .id = "entry.guest.rflags.free." #name,                               \
       .title = "CF PF AF ZF SF TF IF DF OF IOPL NT AC VIF VIP ID (in this " \
                "order) may have either value", .sdm = SDM_RIP,              \
       .rules = "ENTG_RFLAGS_OTHER_BITS_FREE", .needs = needs_)              \
{                                                                            \
        rflags_free(self, guest, free_bits[row]);                            \
}                                                                            \
CASE(rf_##name, .id = "entry.guest.rflags.rf." #name,                        \
     .title = "RF may be 1", .sdm = SDM_RIP,                                 \
     .rules = "ENTG_RFLAGS_OTHER_BITS_FREE", .needs = needs_)                \
{                                                                            \
        rflags_bit(self, guest, 16);                                         \
}                                                                            \
FAMILY(fixed_##name, 3, .id = "entry.guest.rflags.reserved." #name,          \
       .title = "bits 3, 5 and 15 (in this order) must be 0", .sdm = SDM_RIP, \
       .rules = "ENTG_RFLAGS_RESERVED_15_5_3", .needs = needs_)              \
{                                                                            \
        rflags_bit(self, guest, fixed_bits[row]);                            \
}                                                                            \
CASE(one_##name, .id = "entry.guest.rflags.bit-1." #name,                    \
     .title = "bit 1 must be 1", .sdm = SDM_RIP,                             \
     .rules = "ENTG_RFLAGS_BIT1", .needs = needs_)                           \
{                                                                            \
        rflags_bit(self, guest, 1);                                          \
}                                                                            \
FAMILY(upper_##name, 10, .id = "entry.guest.rflags.upper." #name,            \
       .title = "a bit from 22 to 31 must be 0", .sdm = SDM_RIP,             \
       .rules = "ENTG_RFLAGS_RESERVED_63_22", .needs = needs_)               \
{                                                                            \
        rflags_bit(self, guest, 22 + row);                                   \
}                                                                            \
FAMILY(high_##name, 32, .id = "entry.guest.rflags.high." #name,              \
       .title = "a bit from 32 on must be 0", .sdm = SDM_RIP,                \
       .rules = "ENTG_RFLAGS_RESERVED_63_22", .needs = "host64 " needs_)     \
{                                                                            \
        rflags_bit(self, guest, 32 + row);                                   \
}
RFLAGS(long, GUEST_LONG, "host64")
RFLAGS(compat, GUEST_COMPAT, "host64")
RFLAGS(pae, GUEST_PAE, "")
RFLAGS(v86, GUEST_V86, "")
RFLAGS(real, GUEST_REAL, "unrestricted-guest")

/* All but the mode is that of a virtual-8086 guest, on both sides. */
static const struct probe vm_rows[] = {
        { ROW("vm.long", "RFLAGS.VM must be 0 in IA-32e mode",
              "ENTG_RFLAGS_VM_IA32E", "host64"),
          .mode = GUEST_LONG, .reject = EDITS(OR(GUEST_RFLAGS, RFLAGS_VM)),
          .outcome = BAD_GUEST },
        { ROW("vm.compat", "RFLAGS.VM must be 0 in compatibility mode",
              "ENTG_RFLAGS_VM_IA32E", "host64"),
          .mode = GUEST_COMPAT, .reject = EDITS(OR(GUEST_RFLAGS, RFLAGS_VM)),
          .outcome = BAD_GUEST },
        { ROW("vm.v86-with-ia-32e", "a virtual-8086 guest must not be IA-32e",
              "ENTG_RFLAGS_VM_IA32E", "host64"),
          .mode = GUEST_V86,
          .reject = EDITS(OR(ENTRY_CONTROLS, CTL_ENTRY_IA32E_MODE_GUEST)),
          .outcome = BAD_GUEST },
        { ROW("vm.real", "RFLAGS.VM must be 0 in real mode",
              "ENTG_RFLAGS_VM_PE0", "unrestricted-guest"),
          .mode = GUEST_REAL, .reject = EDITS(OR(GUEST_RFLAGS, RFLAGS_VM)),
          .outcome = BAD_GUEST },
        { ROW("vm.v86-with-pe-0", "a virtual-8086 guest must have CR0.PE = 1",
              "ENTG_RFLAGS_VM_PE0", "unrestricted-guest"),
          .mode = GUEST_V86, .prepare = with_unrestricted_guest,
          .accept = EDITS(CLEAR(GUEST_CR0, CR0_PG)),
          .reject = EDITS(CLEAR(GUEST_CR0, CR0_PG | CR0_PE)),
          .outcome = BAD_GUEST },
};

PROBES(rflags_vm, vm_rows, .id = "entry.guest.rflags",
       .title = "RFLAGS.VM", .sdm = SDM_RIP)

/* SSP. With CR4.CET = 0 the guest does not use it. */
#define LOAD_CET OR(ENTRY_CONTROLS, CTL_ENTRY_LOAD_CET_STATE)

static void ssp_check(const struct test_case *self, enum guest_mode mode,
                      u64 good, u64 bad)
{
        struct probe p = {
                .mode = mode, .given = EDITS(SHOW_EXCEPTIONS, LOAD_CET),
                .accept = EDITS(SET(GUEST_SSP, good)),
                .reject = EDITS(SET(GUEST_SSP, bad)),
        };

        if (good != bad)
                p.outcome = RESULT(BAD_GUEST);
        probe_check(self, &p);
}

#define SSP_LOW(name, guest, needs_)                                         \
FAMILY(ssp_low_##name, 2, .id = "entry.guest.ssp.low." #name,                \
       .title = "SSP[1:0] must be 0", .sdm = SDM,                            \
       .rules = "ENTG_SSP_LOW_BITS", .needs = "load-cet-state-entry " needs_) \
{                                                                            \
        ssp_check(self, guest, 0x1004, 0x1004 | BIT(row));                   \
}
SSP_LOW(long, GUEST_LONG, "host64")
SSP_LOW(pae, GUEST_PAE, "")

FAMILY(ssp_high, 3, .id = "entry.guest.ssp.high",
       .title = "SSP[63:N] must be identical (bit 63, bit N, all but bit 63)",
       .sdm = SDM, .rules = "ENTG_SSP_HIGH_BITS_IDENTICAL",
       .needs = "load-cet-state-entry host64")
{
        unsigned width = linear_address_width();
        const u64 bad[] = { BIT(63), BIT(width), ~BIT(63) & ~7ull };

        ssp_check(self, GUEST_LONG, ~(BIT(width - 1) - 1), bad[row]);
}

CASE(ssp_not_canonical, .id = "entry.guest.ssp.not-canonical",
     .title = "SSP[N-1] may differ from SSP[63:N]", .sdm = SDM,
     .rules = "ENTG_SSP_HIGH_BITS_IDENTICAL",
     .needs = "load-cet-state-entry host64")
{
        u64 ssp = BIT(linear_address_width() - 1);

        ssp_check(self, GUEST_LONG, ssp, ssp);
}

/* Whether SSP[63:32] are checked outside 64-bit mode the SDM leaves open. */
FAMILY(ssp_32, 2, .id = "entry.guest.ssp.32-bit",
       .title = "any aligned SSP below 4 GBytes outside 64-bit mode",
       .sdm = SDM, .rules = "ENTG_SSP_HIGH_32_OUTSIDE_64BIT",
       .needs = "load-cet-state-entry host64")
{
        u64 ssp = row ? 0xfffffffc : 0x1004;

        ssp_check(self, GUEST_PAE, ssp, ssp);
        ssp_check(self, GUEST_COMPAT, ssp, ssp);
}
