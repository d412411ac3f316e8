/*
 * SDM Vol. 3, VM Entries > Checks on Host Control Registers and MSRs: the MSRs
 * of all processors, RSP and RIP. MSRs of newer features: entry_host_msrs_new.c.
 */
#include "x86/memory.h"
#include "x86/msr.h"
#include "x86/paging.h"
#include "x86/trap.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/host_state.h"

#define SDM SDM_HOST_REGISTERS
#define EXIT(NAME) OR(EXIT_CONTROLS, CTL_EXIT_##NAME)
#define OFF(NAME) CLEAR(EXIT_CONTROLS, CTL_EXIT_##NAME)

FAMILY(sysenter_esp, 64, .id = "entry.host.sysenter-esp.bit",
       .title = "host IA32_SYSENTER_ESP is canonical", .sdm = SDM,
       .rules = "ENTH_SYSENTER_CANONICAL ENTH_SYSENTER_CANONICAL_LA57_CPU_WIDTH",
       .needs = "host64")
{
        host_address_bit(self, VMCS_HOST_SYSENTER_ESP, NULL, row);
}

FAMILY(sysenter_eip, 64, .id = "entry.host.sysenter-eip.bit",
       .title = "host IA32_SYSENTER_EIP is canonical", .sdm = SDM,
       .rules = "ENTH_SYSENTER_CANONICAL ENTH_SYSENTER_CANONICAL_LA57_CPU_WIDTH",
       .needs = "host64")
{
        host_address_bit(self, VMCS_HOST_SYSENTER_EIP, NULL, row);
}

/*
 * The register that the exit loads, and its value at the beginning. A target
 * may lack a register that it says it has; what a VM exit loads is then lost.
 */
static u32 saved_msr;
static u64 saved;
static bool exists;

static void save_msr(u32 msr)
{
        saved_msr = msr;
        saved = 0;
        exists = !rdmsr_safe(msr, &saved).raised;
}

static void restore_msr(void)
{
        host_restore();
        if (exists)
                wrmsr(saved_msr, saved);
}

/* One value of a host field, and its legal one as it is. */
static void try_value(const struct test_case *self, u32 field, u32 msr,
                      const struct edit *given, u64 value, bool legal)
{
        struct probe p = {
                .given = given, .restore = restore_msr,
                .accept = (const struct edit[]){ EDIT(SET, field, value),
                                                 { .op = EDIT_END } },
                .reject = (const struct edit[]){ EDIT(SET, field, value),
                                                 { .op = EDIT_END } },
        };
        struct edit current[] = { EDIT(SET, field, 0), { .op = EDIT_END } };

        save_msr(msr);
        current[0].value = saved;
        if (!legal) {
                p.accept = current;
                p.outcome = RESULT(BAD_HOST);
        }
        probe_check(self, &p);
}

/* SDM, Architectural Performance Monitoring: the counters that there are. */
static u64 counters(void)
{
        struct cpuid c = cpuid(0xa, 0);
        unsigned general = c.a >> 8 & 0xff, fixed = c.d & 0x1f;
        u64 mask, metrics = 0;

        mask = general ? BITS(general - 1, 0) : 0;
        mask |= (fixed ? BITS(fixed - 1, 0) : 0) << 32;
        if ((c.a & 0xff) >= 5)
                mask |= (u64)c.c << 32;
        if (cpuid(0, 0).a >= 0x23) {
                c = cpuid(0x23, 1);
                mask |= c.a | (u64)c.b << 32;
        }
        if (cpuid_bit(1, 0, 'c', 15) &&
            !rdmsr_safe(MSR_IA32_PERF_CAPABILITIES, &metrics).raised &&
            metrics & BIT(15))
                mask |= BIT(48);
        return mask;
}

/* Each bit that is a counter, or each that is not. */
static void try_counters(const struct test_case *self, bool legal)
{
        for (unsigned bit = 0; bit < 64 && !check_failed(); bit++)
                if (!(counters() & BIT(bit)) != legal)
                        try_value(self, VMCS_HOST_PERF_GLOBAL_CTRL,
                                  MSR_IA32_PERF_GLOBAL_CTRL,
                                  EDITS(EXIT(LOAD_PERF_GLOBAL_CTRL)), BIT(bit),
                                  legal);
}

#define PERF_NEEDS "load-ia32-perf-global-ctrl-exit perf-global-ctrl"

CASE(perf_counters, .id = "entry.host.perf-global-ctrl.counters",
     .title = "each counter in host IA32_PERF_GLOBAL_CTRL", .sdm = SDM,
     .rules = "ENTH_PERF_GLOBAL_CTRL_RESERVED", .needs = PERF_NEEDS)
{
        try_counters(self, true);
}

CASE(perf_reserved, .id = "entry.host.perf-global-ctrl.reserved",
     .title = "reserved bits of host IA32_PERF_GLOBAL_CTRL must be 0", .sdm = SDM,
     .rules = "ENTH_PERF_GLOBAL_CTRL_RESERVED", .needs = PERF_NEEDS)
{
        try_counters(self, false);
}

#define PAT_VALUE(id_, value_, legal_) \
        { ROW(id_, "a memory type"), .value = value_, .legal = legal_ }

static const struct value_row {
        struct row head;
        u64 value;
        bool legal;
} pat_rows[] = {
        PAT_VALUE("uc", 0, true), PAT_VALUE("wc", 1, true),
        PAT_VALUE("2", 2, false), PAT_VALUE("3", 3, false),
        PAT_VALUE("wt", 4, true), PAT_VALUE("wp", 5, true),
        PAT_VALUE("wb", 6, true), PAT_VALUE("uc-minus", 7, true),
        PAT_VALUE("8", 8, false), PAT_VALUE("0e", 0xe, false),
        PAT_VALUE("10", 0x10, false), PAT_VALUE("20", 0x20, false),
        PAT_VALUE("40", 0x40, false), PAT_VALUE("80", 0x80, false),
        PAT_VALUE("86", 0x86, false), PAT_VALUE("ff", 0xff, false),
};

/* Entry 0 is what the kernel's pages use: uncacheable does no harm here. */
TABLE(pat_bytes, pat_rows, .id = "entry.host.pat.byte",
      .title = "in each byte of host IA32_PAT", .sdm = SDM,
      .rules = "ENTH_PAT_BYTES", .needs = "load-ia32-pat-exit pat")
{
        const struct value_row *r = case_row(self, row);

        for (unsigned byte = 0; byte < 8; byte++) {
                u64 mask = 0xffull << 8 * byte, pat = rdmsr(MSR_IA32_PAT);

                try_value(self, VMCS_HOST_PAT, MSR_IA32_PAT,
                          EDITS(EXIT(LOAD_PAT)),
                          (pat & ~mask) | r->value << 8 * byte, r->legal);
        }
}

/* LMA and LME: below. NXE may be 0: the kernel's tables do not use XD here. */
FAMILY(efer_bits, 64, .id = "entry.host.efer.bit",
       .title = "a reserved bit of host IA32_EFER must be 0", .sdm = SDM,
       .rules = "ENTH_EFER_RESERVED",
       .needs = "load-ia32-efer-exit intel64|nx")
{
        const u64 mask = BIT(row), modes = EFER_LMA | EFER_LME;
        u64 efer = rdmsr(MSR_IA32_EFER), defined = EFER_SCE * cpuid_bit(0x80000001, 0, 'd', 29) |
                   EFER_NXE * cpuid_bit(0x80000001, 0, 'd', 20);
        const struct edit *load = EDITS(EXIT(LOAD_EFER));

        if (mask & modes) {
                try_value(self, VMCS_HOST_EFER, MSR_IA32_EFER, load,
                          efer ^ mask, false);
                return;
        }
        try_value(self, VMCS_HOST_EFER, MSR_IA32_EFER, load, efer & ~mask, true);
        try_value(self, VMCS_HOST_EFER, MSR_IA32_EFER, load, efer | mask,
                  defined & mask);
}

FAMILY(efer_modes, 4, .id = "entry.host.efer.lme-lma",
       .title = "host IA32_EFER.LME (1) and LMA (2) are as the host is", .sdm = SDM,
       .rules = "ENTH_EFER_LMA_LME_EQUAL_HAS", .needs = "load-ia32-efer-exit intel64")
{
        u64 efer = rdmsr(MSR_IA32_EFER) & ~(u64)(EFER_LMA | EFER_LME);

        efer |= (row & 1 ? EFER_LME : 0) | (row & 2 ? EFER_LMA : 0);
        try_value(self, VMCS_HOST_EFER, MSR_IA32_EFER, EDITS(EXIT(LOAD_EFER)),
                  efer, row == (sizeof(ulong) == 8 ? 3 : 0));
}

#define IGNORED(id_, what, rule, needs_, NAME, field, value)                  \
        { ROW(id_, what " is not checked unless it is loaded", rule, needs_), \
          .restore = host_restore, .given = EDITS(SET(field, value)),         \
          .accept = EDITS(OFF(NAME)), .reject = EDITS(EXIT(NAME)),            \
          .outcome = BAD_HOST }
#define ANY(id_, what, rule, ...)                                             \
        { ROW(id_, what, rule), .restore = host_restore,                      \
          .accept = EDITS(__VA_ARGS__) }

static const struct probe probes[] = {
        IGNORED("perf-global-ctrl.off", "host IA32_PERF_GLOBAL_CTRL",
                "ENTH_PERF_GLOBAL_CTRL_IGNORED", PERF_NEEDS,
                LOAD_PERF_GLOBAL_CTRL, HOST_PERF_GLOBAL_CTRL, ~0ull),
        IGNORED("pat.off", "host IA32_PAT", "ENTH_PAT_IGNORED",
                "load-ia32-pat-exit", LOAD_PAT, HOST_PAT, ~0ull),
        IGNORED("efer.off", "host IA32_EFER", "ENTH_EFER_IGNORED",
                "load-ia32-efer-exit", LOAD_EFER, HOST_EFER, ~0ull),
        IGNORED("efer.off-0", "host IA32_EFER", "ENTH_EFER_IGNORED",
                "load-ia32-efer-exit host64", LOAD_EFER, HOST_EFER, 0),
        ANY("sysenter-cs.0", "host IA32_SYSENTER_CS 0", "ENTH_SYSENTER_CS_ANY",
            SET(HOST_SYSENTER_CS, 0)),
        ANY("sysenter-cs.ones", "host IA32_SYSENTER_CS FFFFFFFFH",
            "ENTH_SYSENTER_CS_ANY", SET(HOST_SYSENTER_CS, ~0u)),
};

PROBES(checks, probes, .id = "entry.host", .title = "checks on host MSRs",
       .sdm = SDM)

/*
 * A VM entry with its own way back, for host RSP that points nowhere: the
 * kernel's is kept in memory. The event that could use the stack in between
 * does not come: interrupts are off.
 */
static ulong kept_rsp;

#ifdef __x86_64__
#define LOAD_EXIT_RIP "lea 2f(%%rip), %%rdx\n\tmov $0x6c16, %%eax\n\t" \
                      "vmwrite %%rdx, %%rax\n\t"
#define KEEP_RSP "mov %%rsp, %[kept]\n\t"
#define TAKE_RSP "mov %[kept], %%rsp\n\t"
#define SAVED "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", \
              "r12", "r13", "r14", "r15"
#define SAVE_FRAME "push %%rbp\n\t"
#define RESTORE_FRAME "pop %%rbp\n\t"
#else
#define LOAD_EXIT_RIP "mov $2f, %%edx\n\tmov $0x6c16, %%eax\n\t" \
                      "vmwrite %%edx, %%eax\n\t"
#define KEEP_RSP "mov %%esp, %[kept]\n\t"
#define TAKE_RSP "mov %[kept], %%esp\n\t"
#define SAVED "ebx", "ecx", "edx", "esi", "edi"
#define SAVE_FRAME "push %%ebp\n\t"
#define RESTORE_FRAME "pop %%ebp\n\t"
#endif

/* True: a VM exit came back. */
static bool enter_without_stack(void)
{
        ulong exited;

        asm volatile(SAVE_FRAME KEEP_RSP LOAD_EXIT_RIP
                     "xor %%eax, %%eax\n\t"
                     "vmlaunch\n\t"
                     "jmp 3f\n"
                     "2:\t" TAKE_RSP
                     "mov $1, %%eax\n"
                     "3:\t" RESTORE_FRAME
                     : "=a" (exited), [kept] "+m" (kept_rsp)
                     : : SAVED, "cc", "memory");
        return exited;
}

static const struct value_row rsp_rows[] = {
        { ROW("1", "host RSP 1"), .value = 1 },
        { ROW("0", "host RSP 0"), .value = 0 },
        { ROW("80000000", "host RSP 80000000H"), .value = 0x80000000 },
        { ROW("non-canonical", "host RSP 80000000_00000000H", NULL, "host64"),
          .value = 0x8000000000000000 },
};

TABLE(rsp, rsp_rows, .id = "entry.host.rsp", .title = "host RSP is not checked",
      .sdm = SDM, .rules = "ENTH_RSP_ANY")
{
        const struct value_row *r = case_row(self, row);

        vm_begin(GUEST_NATIVE);
        vmwrite(VMCS_HOST_RSP, r->value);
        vm_poison(VMERR_ENTRY_HOST_STATE);
        if (CHECK("VM entry and VM exit", enter_without_stack(),
                  "VM-instruction error %u",
                  (unsigned)vmread(VMCS_VM_INSTRUCTION_ERROR)))
                CHECK_EQ("exit reason", vmread(VMCS_EXIT_REASON), EXIT_VMCALL);
}

static void enter(void *vm)
{
        CHECK("VM entry", false, "kind %u, no page fault in the host",
              vm_enter(vm).kind);
}

/* The entry succeeds; the host's first instruction is a page fault. */
static void fault_at(u64 rip)
{
        struct vm *vm = vm_begin(GUEST_NATIVE);
        struct trap t;

        vmwrite(VMCS_HOST_RIP, rip);
        vm_poison(VMERR_ENTRY_HOST_STATE);
        if (!trap_call(enter, vm, &t))
                return;
        CHECK_EQ("exception after the VM exit", t.vector, VEC_PF);
        CHECK_EQ("at", t.rip, rip);
        CHECK_EQ("exit reason", vmread(VMCS_EXIT_REASON), EXIT_VMCALL);
}

CASE(rip_unmapped, .id = "entry.host.rip.unmapped",
     .title = "host RIP may be in a page that is not present",
     .sdm = SDM_HOST_SIZE, .rules = "ENTH_RIP_UNMAPPED_OK")
{
        void *page = page_alloc(1);

        paging_set(page, 0);
        fault_at((ulong)page);
}

/* Both halves of the linear-address space, of 48 bits and of more. */
static const struct value_row rip_rows[] = {
        { ROW("lower-half", "host RIP 00007FFF_FFFFF000H"), .value = BITS(46, 12) },
        { ROW("upper-half", "host RIP FFFF8000_00000000H"), .value = BITS(63, 47) },
};

TABLE(rip_canonical, rip_rows, .id = "entry.host.rip.canonical",
      .title = "host RIP may be any canonical address", .sdm = SDM_HOST_SIZE,
      .rules = "ENTH_HAS1_RIP_CANONICAL ENTH_RIP_UNMAPPED_OK", .needs = "host64")
{
        const struct value_row *r = case_row(self, row);

        fault_at(r->value);
}
