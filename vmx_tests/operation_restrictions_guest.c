/*
 * SDM Vol. 3, Introduction to Virtual Machine Extensions > Restrictions on VMX
 * Operation: the fixed bits of CR0 and CR4 in VMX non-root operation, and across
 * VM entries and VM exits.
 */
#include "x86/vmx/caps.h"
#include "x86/vmx/guest_env.h"
#include "x86/vmx/probe.h"
#include "x86/vmx/raw.h"

#define SDM "Introduction to Virtual Machine Extensions > Restrictions on VMX Operation"

/* MOV from the register (0: CR0, 4: CR4), AND with ~@clear, MOV to it. */
static void add_clear(struct code *code, unsigned cr, u32 clear)
{
        const u8 modrm = (u8)(0xc0 | cr << 3);
        const u32 keep = ~clear;

        CODE_ADD(code, 0x0f, 0x20, modrm, 0x25);
        code_add(code, &keep, sizeof(keep));
        CODE_ADD(code, 0x0f, 0x22, modrm);
}

/* The guest writes its own CR0 and CR4: no bit is the host's. */
struct guest_row {
        struct row head;
        u8 mode, cr;
        u32 first, second;  /* what the guest clears; 0: nothing */
        bool unrestricted;
        struct vmx_result outcome;
};

#define ALLOWED EXITS(EXIT_VMCALL)
#define REFUSED FAULT_CODE(VEC_GP, 0)

static const struct guest_row guest_rows[] = {
        { ROW("cr0.ne", "CR0.NE", "CR_NONROOT_MOV_CR0_FIXED"),
          .cr = 0, .first = CR0_NE, .outcome = REFUSED },
        { ROW("cr0.pg", "CR0.PG", "CR_NONROOT_MOV_CR0_FIXED CR_NONROOT_URG_PE_PG"),
          .mode = GUEST_PAE, .cr = 0, .first = CR0_PG, .outcome = REFUSED },
        { ROW("cr0.pe", "CR0.PE and CR0.PG", "CR_NONROOT_MOV_CR0_FIXED "
              "CR_NONROOT_URG_PE_PG"), .mode = GUEST_PAE, .cr = 0,
          .first = CR0_PE | CR0_PG, .outcome = REFUSED },
        { ROW("cr4.vmxe", "CR4.VMXE", "CR_NONROOT_MOV_CR4_FIXED"),
          .cr = 4, .first = CR4_VMXE, .outcome = REFUSED },
        { ROW("unrestricted.cr0.pg", "CR0.PG, unrestricted guest",
              "CR_NONROOT_URG_PE_PG", "unrestricted-guest"), .mode = GUEST_PAE,
          .cr = 0, .first = CR0_PG, .unrestricted = true, .outcome = ALLOWED },
        { ROW("unrestricted.cr0.pe", "CR0.PG, then CR0.PE, unrestricted guest",
              "CR_NONROOT_URG_PE_PG", "unrestricted-guest"), .mode = GUEST_PAE,
          .cr = 0, .first = CR0_PG, .second = CR0_PE, .unrestricted = true,
          .outcome = ALLOWED },
        { ROW("unrestricted.cr0.ne", "CR0.NE, unrestricted guest",
              "CR_NONROOT_URG_NE_STILL_FIXED", "unrestricted-guest"),
          .mode = GUEST_PAE, .cr = 0, .first = CR0_NE, .unrestricted = true,
          .outcome = REFUSED },
};

/* What the guest does, clearing nothing or what the row says. */
static struct vmx_result clear_in_guest(const struct guest_row *r, bool clear,
                                        u64 *before)
{
        struct vm *vm = vm_begin((enum guest_mode)r->mode);
        struct code code = { 0 };

        if (r->unrestricted) {
                vmcs_edit(EDITS(WITH_SECONDARY(CTL_SECONDARY_ENABLE_EPT |
                                               CTL_SECONDARY_UNRESTRICTED_GUEST)));
                vmwrite(VMCS_EPTP, guest_env()->eptp);
        }
        add_clear(&code, r->cr, clear ? r->first : 0);
        if (r->second)
                add_clear(&code, r->cr, clear ? r->second : 0);
        *before = vmread(r->cr ? VMCS_GUEST_CR4 : VMCS_GUEST_CR0);
        return raw_guest(vm, &code, 0);
}

TABLE(guest_clears, guest_rows, .id = "operation.restrictions.guest", .sdm = SDM,
      .title = "a guest clears a bit that VMX operation fixes to 1")
{
        const struct guest_row *r = case_row(self, row);
        const struct vmx_caps *c = vmx_caps();
        u32 field = r->cr ? VMCS_GUEST_CR4 : VMCS_GUEST_CR0;
        u64 before;

        if (~(r->cr ? c->cr4_fixed0 : c->cr0_fixed0) & (r->first | r->second)) {
                case_skip("not fixed on this processor");
                return;
        }
        CHECK_RESULT("MOV that changes nothing", clear_in_guest(r, false, &before),
                     ALLOWED);
        CHECK_RESULT("MOV that clears the bit", clear_in_guest(r, true, &before),
                     r->outcome);
        if (r->outcome.kind == VMX_EXIT)
                before &= ~(u64)(r->first | r->second);
        CHECK_EQ("the guest's register", vmread(field), before);
}

/* The exemption is the guest's alone: SDM, the same section. */
CASE(root_after_guest, .id = "operation.restrictions.root.clear.after-unrestricted",
     .sdm = SDM, .title = "CR0.PG is fixed to 1 again after an unrestricted guest",
     .needs = "host32 unrestricted-guest", .rules = "CR_ROOT_MOV_CR0_PG")
{
        ulong cr0 = read_cr0();
        struct vmx_result r;

        CHECK_RESULT("VM entry", vm_enter(vm_begin(GUEST_PROTECTED)),
                     EXITS(EXIT_VMCALL));
        r = raw_trap(write_cr0_safe(cr0 & ~(ulong)CR0_PG));
        CHECK_EQ("CR0", read_cr0(), cr0);
        write_cr0(cr0);
        CHECK_RESULT("MOV of CR0.PG = 0", r, FAULT_CODE(VEC_GP, 0));
}

static const struct probe keep_probes[] = {
        { ROW("guest.cr0", "guest CR0.NE = 0"),
          .reject = EDITS(CLEAR(GUEST_CR0, CR0_NE)), .outcome = BAD_GUEST },
        { ROW("guest.cr4", "guest CR4.VMXE = 0"),
          .reject = EDITS(CLEAR(GUEST_CR4, CR4_VMXE)), .outcome = BAD_GUEST },
        { ROW("host.cr0", "host CR0.NE = 0"),
          .reject = EDITS(CLEAR(HOST_CR0, CR0_NE)), .outcome = BAD_HOST },
        { ROW("host.cr4", "host CR4.VMXE = 0"),
          .reject = EDITS(CLEAR(HOST_CR4, CR4_VMXE)), .outcome = BAD_HOST },
};

PROBES(keep, keep_probes, .id = "operation.restrictions.transitions", .sdm = SDM,
       .title = "no VM entry or VM exit gives a fixed bit the other value",
       .rules = "CR_ENTRY_EXIT_KEEP_FIXED")
