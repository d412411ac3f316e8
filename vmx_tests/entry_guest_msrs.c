/*
 * SDM Vol. 3, VM Entries > Checks on the Guest State Area > Checks on Guest
 * Control Registers, Debug Registers, and MSRs: IA32_SYSENTER_*, IA32_PAT,
 * IA32_EFER, IA32_PERF_GLOBAL_CTRL, SMBASE. MSRs of later processors, and what
 * is not checked if not loaded: entry_guest_msrs_optional.c.
 */
#include "lib/check.h"
#include "x86/cpu.h"
#include "x86/memory.h"
#include "x86/msr.h"
#include "x86/vmx/canonical.h"
#include "x86/vmx/probe.h"

#define SDM "VM Entries > Checks on Guest Control Registers, Debug Registers, and MSRs"

static const struct canonical_row canonical_rows[] = { CANONICAL_ROWS };

static void canonical_check(const struct test_case *self, unsigned row,
                            enum guest_mode mode, u32 field)
{
        const struct canonical_row *r = case_row(self, row);
        struct probe p = { .mode = mode, .given = EDITS(SHOW_EXCEPTIONS) };

        probe_legal(self, &p, EDITS(EDIT(SET, field, canonical_value(r))),
                    r->legal, RESULT(BAD_GUEST));
}

#define SYSENTER(reg, REG, name, guest, needs_)                             \
TABLE(sysenter_##reg##_##name, canonical_rows,                              \
      .id = "entry.guest.sysenter-" #reg "." #name,                         \
      .title = "IA32_SYSENTER_" #REG " must be canonical", .sdm = SDM,      \
      .rules = "ENTG_SYSENTER_" #REG "_CANONICAL",                          \
      .needs = "host64 " needs_)                                            \
{                                                                           \
        canonical_check(self, row, guest, VMCS_GUEST_SYSENTER_##REG);       \
}
#define SYSENTERS(name, guest, needs_)          \
        SYSENTER(esp, ESP, name, guest, needs_) \
        SYSENTER(eip, EIP, name, guest, needs_)
SYSENTERS(long, GUEST_LONG, "")
SYSENTERS(compat, GUEST_COMPAT, "")
SYSENTERS(pae, GUEST_PAE, "")
SYSENTERS(real, GUEST_REAL, "unrestricted-guest")

static const struct probe unchecked_rows[] = {
        { ROW("sysenter-cs.0", "IA32_SYSENTER_CS is not checked: 0",
              "ENTG_SYSENTER_CS_UNCHECKED"),
          .accept = EDITS(SET(GUEST_SYSENTER_CS, 0)) },
        { ROW("sysenter-cs.ffff", "IA32_SYSENTER_CS is not checked: FFFFH",
              "ENTG_SYSENTER_CS_UNCHECKED"),
          .accept = EDITS(SET(GUEST_SYSENTER_CS, 0xffff)) },
        { ROW("sysenter-cs.ones", "IA32_SYSENTER_CS is not checked: all ones",
              "ENTG_SYSENTER_CS_UNCHECKED"),
          .accept = EDITS(SET(GUEST_SYSENTER_CS, 0xffffffff)) },
        { ROW("smbase.1", "SMBASE is not checked: 1", "ENTG_SMBASE_UNCHECKED"),
          .accept = EDITS(SET(GUEST_SMBASE, 1)) },
        { ROW("smbase.ones", "SMBASE is not checked: all ones",
              "ENTG_SMBASE_UNCHECKED"),
          .accept = EDITS(SET(GUEST_SMBASE, 0xffffffff)) },
};

TABLE(unchecked, unchecked_rows, .id = "entry.guest",
      .title = "MSRs that VM entry does not check", .sdm = SDM)
{
        const struct probe *r = case_row(self, row);
        u64 value = r->accept[0].value;

        vm_begin(GUEST_NATIVE);
        if (!vmcs_has(r->accept[0].field)) {
                case_skip("the VMCS does not have the field");
                return;
        }
        probe_check(self, r);
        if (r->accept[0].field == VMCS_GUEST_SYSENTER_CS)
                CHECK_EQ("IA32_SYSENTER_CS that the VM exit saved",
                         vmread(VMCS_GUEST_SYSENTER_CS), value);
}

/* VM exits need not load the MSR: afterwards it may be the guest's. */
static void legal_msr(const struct test_case *self, const struct probe *p,
                      u32 msr, const struct edit *edits, bool legal)
{
        u64 old = 0;
        struct trap t = rdmsr_safe(msr, &old);

        probe_legal(self, p, edits, legal, RESULT(BAD_GUEST));
        if (!t.raised)
                wrmsr(msr, old);
}

struct pat_row {
        struct row head;
        u8 type;
        bool legal;
};

#define PAT_ROW(n, legal_) { .head = { .id = #n }, .type = 0x##n, .legal = legal_ }
static const struct pat_row pat_rows[] = {
        PAT_ROW(00, true), PAT_ROW(01, true), PAT_ROW(04, true),
        PAT_ROW(05, true), PAT_ROW(06, true), PAT_ROW(07, true),
        PAT_ROW(02, false), PAT_ROW(03, false), PAT_ROW(08, false),
        PAT_ROW(0e, false), PAT_ROW(10, false), PAT_ROW(16, false),
        PAT_ROW(20, false), PAT_ROW(40, false), PAT_ROW(80, false),
        PAT_ROW(86, false), PAT_ROW(ff, false),
};

#define PAT_BYTE(n)                                                         \
TABLE(pat_##n, pat_rows, .id = "entry.guest.pat.byte-" #n,                  \
      .title = "a byte of IA32_PAT must be 0, 1, 4, 5, 6 or 7", .sdm = SDM, \
      .rules = "ENTG_PAT_BYTE_VALUES", .needs = "load-ia32-pat-entry")      \
{                                                                           \
        const struct pat_row *r = case_row(self, row);                      \
        u64 pat = (PAT_INIT & ~(0xffull << 8 * n)) | (u64)r->type << 8 * n; \
        struct probe p = {                                                  \
                .given = EDITS(OR(ENTRY_CONTROLS, CTL_ENTRY_LOAD_PAT),      \
                               SHOW_EXCEPTIONS),                            \
        };                                                                  \
                                                                            \
        legal_msr(self, &p, MSR_IA32_PAT, EDITS(SET(GUEST_PAT, pat)),       \
                  r->legal);                                                \
}
PAT_BYTE(0) PAT_BYTE(1) PAT_BYTE(2) PAT_BYTE(3)
PAT_BYTE(4) PAT_BYTE(5) PAT_BYTE(6) PAT_BYTE(7)

/*
 * General-purpose counters from 0, fixed-function counters from 32, metrics.
 * Leaf 23H is the logical processor's own; leaf 0AH may have what all cores of
 * the package have in common. -1: the processor does not say.
 */
static int counter_exists(unsigned bit)
{
        struct cpuid c = cpuid(0xa, 0);
        unsigned version = c.a & 0xff;
        u64 capabilities = 0;

        if (bit != 48 && cpuid_bit(7, 1, 'a', 8) && cpuid_bit(0x23, 0, 'a', 1) &&
            cpuid_bit(0x23, 1, bit < 32 ? 'a' : 'b', bit % 32))
                return true;
        if (bit < 32)
                return bit < (c.a >> 8 & 0xff);
        if (bit != 48)
                return bit - 32 < (c.d & 31) ||
                       (version >= 5 && c.c & BIT(bit - 32));
        if (!cpuid_bit(1, 0, 'c', 15))
                return false;
        if (rdmsr_safe(MSR_IA32_PERF_CAPABILITIES, &capabilities).raised) {
                case_skip("IA32_PERF_CAPABILITIES can not be read");
                return -1;
        }
        return capabilities >> 15 & 1;
}

FAMILY(perf_global_ctrl, 64, .id = "entry.guest.perf-global-ctrl.bit",
       .title = "a bit of IA32_PERF_GLOBAL_CTRL: refused if reserved",
       .sdm = SDM, .rules = "ENTG_PERF_GLOBAL_CTRL_RESERVED",
       .needs = "load-ia32-perf-global-ctrl-entry perf-global-ctrl")
{
        struct probe p = {
                .given = EDITS(OR(ENTRY_CONTROLS, CTL_ENTRY_LOAD_PERF_GLOBAL_CTRL),
                               SHOW_EXCEPTIONS),
        };
        int exists = counter_exists(row);

        if (exists >= 0)
                legal_msr(self, &p, MSR_IA32_PERF_GLOBAL_CTRL,
                          EDITS(SET(GUEST_PERF_GLOBAL_CTRL, BIT(row))), exists);
}

/* Exits load it as well, for NXE. */
#define EFER_LOADED                                  \
        OR(ENTRY_CONTROLS, CTL_ENTRY_LOAD_EFER),     \
        OR(EXIT_CONTROLS, CTL_EXIT_LOAD_EFER)
#define EFER_NEEDS "load-ia32-efer-entry load-ia32-efer-exit "

/*
 * LMA must be as "IA-32e mode guest": flipping it is refused. LME must be as
 * LMA, but only with paging.
 */
static void efer_bit(const struct test_case *self, enum guest_mode mode,
                     unsigned bit)
{
        struct probe p = {
                .mode = mode, .given = EDITS(EFER_LOADED, SHOW_EXCEPTIONS),
        };
        bool intel64 = cpuid_bit(0x80000001, 0, 'd', 29);
        bool legal = (bit == 0 && intel64) ||
                     (bit == 8 && intel64 && mode == GUEST_REAL) ||
                     (bit == 11 && cpuid_bit(0x80000001, 0, 'd', 20));

        probe_legal(self, &p, EDITS(FLIP(GUEST_EFER, BIT(bit))), legal,
                    RESULT(BAD_GUEST));
}

#define EFER_BITS(name, guest, needs_)                                    \
FAMILY(efer_##name, 64, .id = "entry.guest.efer.bit." #name,              \
       .title = "a bit of IA32_EFER: refused if reserved, LME and LMA if "\
                "they differ from the mode", .sdm = SDM,                  \
       .rules = "ENTG_EFER_RESERVED", .needs = EFER_NEEDS needs_)         \
{                                                                         \
        efer_bit(self, guest, row);                                       \
}
EFER_BITS(long, GUEST_LONG, "host64")
EFER_BITS(compat, GUEST_COMPAT, "host64")
EFER_BITS(pae, GUEST_PAE, "")
EFER_BITS(real, GUEST_REAL, "unrestricted-guest")

/* RDMSR does not exit. */
static void free_msrs(struct vm *vm)
{
        (void)vm;
        vm_control(VMCS_PRIMARY_CONTROLS, CTL_PRIMARY_USE_MSR_BITMAPS, 0);
        vmwrite(VMCS_MSR_BITMAPS, phys(page_alloc(1)));
}

PROGRAM(get_efer, 32, "mov $0xc0000080, %ecx\nrdmsr\nvmcall\n");

#define UG "unrestricted-guest "
#define EFER(bits) EDITS(SET(GUEST_EFER, bits))

static const struct probe efer_rows[] = {
        { ROW("lma-ia-32e", "LMA must be 1 in IA-32e mode",
              "ENTG_EFER_LMA_EQUALS_CONTROL", "host64"),
          .mode = GUEST_LONG, .reject = EFER(0), .outcome = BAD_GUEST },
        { ROW("lma-ia-32e-lme", "LMA must be 1 in IA-32e mode, with LME = 1",
              "ENTG_EFER_LMA_EQUALS_CONTROL", "host64"),
          .mode = GUEST_LONG, .reject = EFER(EFER_LME), .outcome = BAD_GUEST },
        { ROW("lma-pae", "LMA must be 0 outside IA-32e mode",
              "ENTG_EFER_LMA_EQUALS_CONTROL"),
          .mode = GUEST_PAE, .reject = EFER(EFER_LMA | EFER_LME),
          .outcome = BAD_GUEST },
        { ROW("lma-32", "LMA must be 0 with 32-bit paging",
              "ENTG_EFER_LMA_EQUALS_CONTROL"),
          .mode = GUEST_32, .reject = EFER(EFER_LMA | EFER_LME),
          .outcome = BAD_GUEST },
        { ROW("lme-ia-32e", "LME must be 1 with paging if LMA is 1",
              "ENTG_EFER_LME_EQUALS_LMA_WHEN_PG", "host64"),
          .mode = GUEST_LONG, .reject = EFER(EFER_LMA), .outcome = BAD_GUEST },
        { ROW("lme-pae", "LME must be 0 with paging if LMA is 0",
              "ENTG_EFER_LME_EQUALS_LMA_WHEN_PG"),
          .mode = GUEST_PAE, .reject = EFER(EFER_LME), .outcome = BAD_GUEST },
        { ROW("lme-v86", "LME must be 0 in virtual-8086 mode",
              "ENTG_EFER_LME_EQUALS_LMA_WHEN_PG"),
          .mode = GUEST_V86, .reject = EFER(EFER_LME), .outcome = BAD_GUEST },
        { ROW("lme-0-unpaged", "LME may be 0 without paging",
              "ENTG_EFER_LME_FREE_WHEN_PG0", UG "use-msr-bitmaps intel64"),
          .mode = GUEST_PROTECTED, .prepare = free_msrs, .program = &get_efer,
          .accept = EFER(0), .rax = 0, .rax_mask = EFER_LME | EFER_LMA },
        { ROW("lme-1-unpaged", "LME may be 1 without paging",
              "ENTG_EFER_LME_FREE_WHEN_PG0", UG "use-msr-bitmaps intel64"),
          .mode = GUEST_PROTECTED, .prepare = free_msrs, .program = &get_efer,
          .accept = EFER(EFER_LME), .rax = EFER_LME,
          .rax_mask = EFER_LME | EFER_LMA },
        { ROW("lme-1-real", "LME may be 1 in real-address mode",
              "ENTG_EFER_LME_FREE_WHEN_PG0", UG "intel64"),
          .mode = GUEST_REAL, .accept = EFER(EFER_LME) },
        { ROW("lma-unpaged", "LMA must be 0 without paging",
              "ENTG_EFER_LMA_CHECKED_WHEN_PG0", UG "intel64"),
          .mode = GUEST_PROTECTED, .accept = EFER(EFER_LME),
          .reject = EFER(EFER_LMA | EFER_LME), .outcome = BAD_GUEST },
        { ROW("lma-alone-unpaged", "LMA must be 0 without paging and LME",
              "ENTG_EFER_LMA_CHECKED_WHEN_PG0", UG "intel64"),
          .mode = GUEST_PROTECTED, .reject = EFER(EFER_LMA),
          .outcome = BAD_GUEST },
};

TABLE(efer_checks, efer_rows, .id = "entry.guest.efer",
      .title = "checks on guest IA32_EFER", .sdm = SDM, .needs = EFER_NEEDS)
{
        struct probe p = *(const struct probe *)case_row(self, row);

        p.given = EDITS(EFER_LOADED, SHOW_EXCEPTIONS);
        probe_check(self, &p);
}
