/*
 * SDM Vol. 3, VM Entries > Checks Related to Address-Space Size.
 */
#include "x86/memory.h"
#include "x86/trap.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/guest_env.h"
#include "x86/vmx/host_state.h"
#include "x86/vmx/instr.h"

#define SDM SDM_HOST_SIZE
#define HAS CTL_EXIT_HOST_ADDRESS_SPACE_SIZE
#define GUEST64 CTL_ENTRY_IA32E_MODE_GUEST
/* A check on controls that stands among those on host state: either number. */
#define SIZE_RULE .outcome = BAD_HOST, .also = BAD_CONTROLS

static const struct probe size_probes[] = {
        { ROW("host64.size-0", "a 64-bit host needs \"host address-space size\"",
              "ENTH_HAS_LMA1_HAS0", "host64"),
          .mode = GUEST_PAE, .reject = EDITS(CLEAR(EXIT_CONTROLS, HAS)),
          SIZE_RULE },
        { ROW("host64.size-0-guest64",
              "a 64-bit guest needs \"host address-space size\"",
              "ENTH_HAS_HAS0_GUEST64", "host64"),
          .mode = GUEST_LONG, .reject = EDITS(CLEAR(EXIT_CONTROLS, HAS)),
          SIZE_RULE },
        { ROW("host64.guest64", "a 64-bit host may have a 64-bit guest",
              "ENTH_HAS_LMA1_BOTH_GUEST_MODES_OK", "host64"),
          .mode = GUEST_LONG },
        { ROW("host64.guest32", "a 64-bit host may have a 32-bit guest",
              "ENTH_HAS_LMA1_BOTH_GUEST_MODES_OK", "host64"),
          .mode = GUEST_PAE },
        { ROW("host32", "a 32-bit host has a 32-bit guest",
              "ENTH_HAS_LMA0_HAS0_GUEST0", "host32"),
          .mode = GUEST_PAE },
        { ROW("host32.size-1", "a 32-bit host has no 64-bit address space",
              "ENTH_HAS_LMA0_HAS1", "host32 intel64"),
          .reject = EDITS(OR(EXIT_CONTROLS, HAS)), SIZE_RULE },
        { ROW("host32.size-1-guest64", "the same with a 64-bit guest",
              "ENTH_HAS_LMA0_HAS1", "host32 intel64"),
          .reject = EDITS(OR(EXIT_CONTROLS, HAS), OR(ENTRY_CONTROLS, GUEST64)),
          SIZE_RULE },
        { ROW("host32.guest64", "a 32-bit host has no 64-bit guest",
              "ENTH_HAS_LMA0_GUEST64 ENTH_HAS_HAS0_GUEST64", "host32 intel64"),
          .reject = EDITS(OR(ENTRY_CONTROLS, GUEST64)), SIZE_RULE },
        { ROW("no-intel64.size-1", "no 64-bit address space without Intel 64",
              "ENTH_HAS_NO_INTEL64", "host32 !intel64"),
          .reject = EDITS(OR(EXIT_CONTROLS, HAS)), SIZE_RULE },
        { ROW("no-intel64.guest64", "no 64-bit guest without Intel 64",
              "ENTH_HAS_NO_INTEL64", "host32 !intel64"),
          .reject = EDITS(OR(ENTRY_CONTROLS, GUEST64)), SIZE_RULE },
        { ROW("cr4.pae", "a 64-bit host needs CR4.PAE", "ENTH_HAS1_CR4_PAE",
              "host64"),
          .restore = host_restore, .reject = EDITS(CLEAR(HOST_CR4, CR4_PAE)),
          .outcome = BAD_HOST },
        { ROW("cr4.pcide.32-bit", "a 32-bit host has no PCIDs",
              "ENTH_HAS0_CR4_PCIDE", "host32 pcid"),
          .restore = host_restore, .reject = EDITS(OR(HOST_CR4, CR4_PCIDE)),
          .outcome = BAD_HOST },
        { ROW("cr4.pcide.1", "a 64-bit host may have PCIDs",
              "ENTH_HAS1_CR4_PCIDE_FREE", "host64 pcid"),
          .restore = host_restore, .accept = EDITS(OR(HOST_CR4, CR4_PCIDE)) },
        { ROW("cr4.pcide.0", "a 64-bit host may be without PCIDs",
              "ENTH_HAS1_CR4_PCIDE_FREE", "host64 pcid"),
          .restore = host_restore, .accept = EDITS(CLEAR(HOST_CR4, CR4_PCIDE)) },
        { ROW("cr4.pae.1", "a 32-bit host may have CR4.PAE",
              "ENTH_HAS0_CR4_PAE_FREE", "host32"),
          .restore = host_restore, .accept = EDITS(OR(HOST_CR4, CR4_PAE)) },
};

PROBES(sizes, size_probes, .id = "entry.host.size",
       .title = "checks related to address-space size", .sdm = SDM)

/*
 * The kernel with 32-bit paging, for a moment: MOV to CR4 could not go back,
 * because CR3 would be taken for that of PAE paging, but another VM exit can.
 */
CASE(pae_0, .id = "entry.host.size.cr4.pae.0",
     .title = "a 32-bit host may be without CR4.PAE", .sdm = SDM,
     .rules = "ENTH_HAS0_CR4_PAE_FREE", .needs = "host32 pse")
{
        struct vm *vm = vm_begin(GUEST_NATIVE);
        u64 cr3 = vmread(VMCS_HOST_CR3), cr4 = vmread(VMCS_HOST_CR4);
        struct vmx_result first, second;
        ulong loaded;

        vmwrite(VMCS_HOST_CR3, phys(guest_env()->directory32));
        vmwrite(VMCS_HOST_CR4, (cr4 & ~(u64)CR4_PAE) | CR4_PSE);
        vm_poison(VMERR_ENTRY_HOST_STATE);
        first = vm_enter(vm);
        loaded = read_cr4();
        vmwrite(VMCS_HOST_CR3, cr3);
        vmwrite(VMCS_HOST_CR4, cr4);
        second = vm_enter(vm);
        host_restore();
        CHECK_RESULT("VM entry, host CR4.PAE 0", first, EXITS(EXIT_VMCALL));
        CHECK_EQ("CR4 that the VM exit loaded", loaded & CR4_PAE, 0);
        CHECK_RESULT("VM entry, host CR4.PAE 1", second, EXITS(EXIT_VMCALL));
}

/* Canonical ones that are not mapped are accepted: entry_host_msrs.c. */
static bool canonical(u64 address, unsigned width)
{
        return address >> (width - 1) == 0 ||
               address >> (width - 1) == ~0ull >> (width - 1);
}

static u64 odd;

static u64 odd_rip(__attribute__((unused)) u64 old)
{
        return odd;
}

static const struct test_case *rip_case;

static void check_rip(void *probe)
{
        probe_check(rip_case, probe);
}

/* An exit to such an address, where it is not refused, is an exception there. */
static void rip_refused(const struct test_case *self, u64 rip)
{
        struct probe p = {
                .restore = host_restore, .reject = EDITS(CALC(HOST_RIP, odd_rip)),
        };
        struct trap t;

        odd = rip;
        rip_case = self;
        if (!canonical(rip, linear_address_width()))
                p.outcome = RESULT(BAD_HOST);
        if (trap_call(check_rip, &p, &t))
                CHECK("VM entry, rejected side", false,
                      "a VM exit to host RIP, and exception %u there", t.vector);
}

FAMILY(rip_bits, 17, .id = "entry.host.rip.bit-47-plus",
       .title = "host RIP of a 64-bit host is canonical", .sdm = SDM,
       .rules = "ENTH_HAS1_RIP_CANONICAL", .needs = "host64")
{
        rip_refused(self, BIT(47 + row));
        rip_refused(self, ~BIT(47 + row));
}

CASE(rip_pattern, .id = "entry.host.rip.pattern",
     .title = "host RIP AAAAAAAA_AAAAAAAAH in a 64-bit host", .sdm = SDM,
     .rules = "ENTH_HAS1_RIP_CANONICAL", .needs = "host64")
{
        rip_refused(self, 0xaaaaaaaaaaaaaaaa);
}
