/*
 * SDM Vol. 3, VM Entries > Checks on the Guest State Area > Checks on Guest
 * Control Registers, Debug Registers, and MSRs: DR7 and IA32_DEBUGCTL.
 */
#include "lib/check.h"
#include "x86/cpu.h"
#include "x86/msr.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/probe.h"

#define SDM "VM Entries > Checks on Guest Control Registers, Debug Registers, and MSRs"

#define LOADED OR(ENTRY_CONTROLS, CTL_ENTRY_LOAD_DEBUG_CONTROLS)
#define NOT_LOADED CLEAR(ENTRY_CONTROLS, CTL_ENTRY_LOAD_DEBUG_CONTROLS)

PROGRAM(get_dr7, 32, "mov %dr7, %eax\nvmcall\n");

/* The first processors with VMX load debug controls always. */
static bool always_loaded(void)
{
        if (control_can_be_0(WORD_ENTRY, CTL_ENTRY_LOAD_DEBUG_CONTROLS))
                return false;
        case_skip("\"load debug controls\" can not be 0");
        return true;
}

/*
 * Bits 5:3 and 63:16 are reserved everywhere. For the others the processor is
 * asked: a bit is reserved if WRMSR refuses it. Where WRMSR refuses 0 as well,
 * LBR and BTF are there, and of the others nothing is known (-1).
 */
static int debugctl_bit_exists(unsigned bit)
{
        struct trap t;

        if ((bit >= 3 && bit <= 5) || bit >= 16)
                return false;
        t = wrmsr_safe(MSR_IA32_DEBUGCTL, 0);
        if (t.raised && bit < 2)
                return true;
        if (t.raised) {
                case_skip("WRMSR can not tell: it refuses IA32_DEBUGCTL");
                return -1;
        }
        t = wrmsr_safe(MSR_IA32_DEBUGCTL, BIT(bit));
        wrmsr(MSR_IA32_DEBUGCTL, 0);
        return !t.raised;
}

#define FAMILIES(name, guest, needs_)                                       \
FAMILY(debugctl_##name, 64, .id = "entry.guest.debugctl.bit." #name,        \
       .title = "a bit of IA32_DEBUGCTL: refused if reserved", .sdm = SDM,  \
       .rules = "ENTG_DEBUGCTL_RESERVED",                                   \
       .needs = "load-debug-controls " needs_)                              \
{                                                                           \
        struct probe p = {                                                  \
                .mode = guest, .given = EDITS(LOADED, SHOW_EXCEPTIONS),     \
        };                                                                  \
        int exists = debugctl_bit_exists(row);                              \
                                                                            \
        if (exists >= 0)                                                    \
                probe_legal(self, &p, EDITS(SET(GUEST_DEBUGCTL, BIT(row))), \
                            exists, RESULT(BAD_GUEST));                     \
}                                                                           \
FAMILY(dr7_high_##name, 32, .id = "entry.guest.dr7.high." #name,            \
       .title = "a bit of DR7[63:32], from 32 on, must be 0", .sdm = SDM,   \
       .rules = "ENTG_DR7_BITS_63_32",                                      \
       .needs = "host64 load-debug-controls " needs_)                       \
{                                                                           \
        struct probe p = {                                                  \
                .mode = guest, .given = EDITS(LOADED),                      \
                .reject = EDITS(OR(GUEST_DR7, BIT(32 + row))),              \
                .outcome = BAD_GUEST,                                       \
        };                                                                  \
                                                                            \
        probe_check(self, &p);                                              \
}                                                                           \
FAMILY(dr7_unchecked_##name, 32, .id = "entry.guest.dr7.not-loaded." #name, \
       .title = "DR7[63:32], from 32 on, is not checked if not loaded",     \
       .sdm = SDM, .rules = "ENTG_DR7_UNCHECKED_WHEN_NOT_LOADED",           \
       .needs = "host64 true-controls " needs_)                             \
{                                                                           \
        struct probe p = {                                                  \
                .mode = guest, .given = EDITS(NOT_LOADED, SHOW_EXCEPTIONS), \
                .accept = EDITS(OR(GUEST_DR7, BIT(32 + row))),              \
        };                                                                  \
                                                                            \
        if (!always_loaded())                                               \
                probe_check(self, &p);                                      \
}                                                                           \
/* The last one is the value 0. MOV DR itself faults with GD = 1. */        \
FAMILY(dr7_low_##name, 33, .id = "entry.guest.dr7.low." #name,              \
       .title = "DR7[31:0] is not checked, its fixed bits are forced",      \
       .sdm = SDM, .rules = "ENTG_DR7_LOW_BITS_UNCHECKED",                  \
       .needs = "load-debug-controls " needs_)                              \
{                                                                           \
        u64 dr7 = row < 32 ? BIT(row) : 0, forced_0 = 0xd000;               \
        struct probe p = {                                                  \
                .mode = guest, .given = EDITS(LOADED, SHOW_EXCEPTIONS),     \
                .accept = EDITS(SET(GUEST_DR7, dr7)), .program = &get_dr7,  \
                .rax = (dr7 & ~forced_0) | DR7_FIXED,                       \
                .rax_mask = 0xffffffff & ~DR7_RTM,                          \
        };                                                                  \
                                                                            \
        if (dr7 == DR7_GD) {                                                \
                p.program = NULL;                                           \
                p.rax_mask = 0;                                             \
        }                                                                   \
        probe_check(self, &p);                                              \
}
FAMILIES(pae, GUEST_PAE, "")
FAMILIES(long, GUEST_LONG, "host64")

static const struct probe loaded_rows[] = {
        { ROW("bus-lock", "bus-lock detection is reserved without CPUID",
              "ENTG_DEBUGCTL_BUS_LOCK_BIT", "!bus-lock-detect"),
          .given = EDITS(LOADED),
          .reject = EDITS(SET(GUEST_DEBUGCTL, DEBUGCTL_BUS_LOCK)),
          .outcome = BAD_GUEST },
        { ROW("bus-lock-supported", "bus-lock detection can be loaded",
              "ENTG_DEBUGCTL_BUS_LOCK_BIT", "bus-lock-detect"),
          .given = EDITS(LOADED, SHOW_EXCEPTIONS),
          .accept = EDITS(SET(GUEST_DEBUGCTL, DEBUGCTL_BUS_LOCK)) },
        { ROW("rtm-supported", "RTM debugging can be loaded",
              "ENTG_DEBUGCTL_RTM_BIT", "rtm"),
          .given = EDITS(LOADED, SHOW_EXCEPTIONS),
          .accept = EDITS(SET(GUEST_DEBUGCTL, DEBUGCTL_RTM)) },
};

PROBES(debugctl_rows, loaded_rows, .id = "entry.guest.debugctl",
       .title = "checks on guest IA32_DEBUGCTL", .sdm = SDM,
       .needs = "load-debug-controls")

CASE(no_rtm, .id = "entry.guest.debugctl.rtm",
     .title = "RTM debugging is refused where WRMSR refuses it", .sdm = SDM,
     .rules = "ENTG_DEBUGCTL_RTM_BIT", .needs = "load-debug-controls !rtm")
{
        struct probe p = {
                .given = EDITS(LOADED), .outcome = BAD_GUEST,
                .reject = EDITS(SET(GUEST_DEBUGCTL, DEBUGCTL_RTM)),
        };
        int exists = debugctl_bit_exists(15);

        if (exists > 0)
                case_skip("WRMSR accepts IA32_DEBUGCTL.RTM");
        else if (!exists)
                probe_check(self, &p);
}

static const struct probe not_loaded_rows[] = {
        { ROW("ones", "all bits of IA32_DEBUGCTL"),
          .accept = EDITS(SET(GUEST_DEBUGCTL, ~0ull)) },
        { ROW("ones-but-btf", "all bits of IA32_DEBUGCTL but BTF"),
          .accept = EDITS(SET(GUEST_DEBUGCTL, ~(u64)DEBUGCTL_BTF)) },
        { ROW("ones-pae", "all bits of IA32_DEBUGCTL, 32-bit guest"),
          .mode = GUEST_PAE, .accept = EDITS(SET(GUEST_DEBUGCTL, ~0ull)) },
        { ROW("bit-63", "bit 63 of IA32_DEBUGCTL"),
          .accept = EDITS(SET(GUEST_DEBUGCTL, BIT(63))) },
};

TABLE(debugctl_unchecked, not_loaded_rows,
      .id = "entry.guest.debugctl.not-loaded",
      .title = "IA32_DEBUGCTL is not checked if it is not loaded", .sdm = SDM,
      .rules = "ENTG_DEBUGCTL_UNCHECKED_WHEN_NOT_LOADED",
      .needs = "true-controls")
{
        struct probe p = *(const struct probe *)case_row(self, row);

        p.given = EDITS(NOT_LOADED, SHOW_EXCEPTIONS);
        if (!always_loaded())
                probe_check(self, &p);
}
