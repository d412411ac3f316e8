/*
 * SDM Vol. 3, VM Entries > Loading MSRs: IA32_EFER, whose LMA nothing can write
 * and whose LME changes only without paging; what an entry may do depends on the
 * guest state that is loaded already.
 */
#include "lib/check.h"
#include "x86/cpu.h"
#include "x86/memory.h"
#include "x86/paging.h"
#include "x86/vmx/event.h"
#include "x86/vmx/exit_probe.h"
#include "x86/vmx/guest_msr.h"

#define SDM "VM Entries > Loading MSRs"
#define NEEDS "use-msr-bitmaps intel64 "
#define UG "unrestricted-guest"
#define MODE_BITS (EFER_LME | EFER_LMA)

/* VM entry at an unusual IA32_EFER ends with the host's as it was. */
static u64 old_efer;

static struct vm *efer_guest(enum guest_mode mode, u64 list)
{
        struct vm *vm = vm_begin(mode);
        struct msr_entry e = { MSR_IA32_EFER, 0, list };

        old_efer = rdmsr(MSR_IA32_EFER);
        vm_allow_msrs(vm);
        vm_entry_msrs(&e, 1);
        return vm;
}

static void check_efer(struct vm *vm, u64 want)
{
        u64 got = vm_rdmsr(vm, MSR_IA32_EFER);

        wrmsr(MSR_IA32_EFER, old_efer);
        CHECK_EQ("IA32_EFER in the guest", got, want);
}

static void check_refused(struct vm *vm)
{
        struct vmx_result got;

        vm_poison(0);
        got = vm_enter(vm);
        wrmsr(MSR_IA32_EFER, old_efer);
        CHECK_EXIT("an entry that changes LME", got,
                   ENTRY_FAILS(EXIT_ENTRY_FAILURE_MSR_LOADING, 1));
}

struct mode_row {
        struct row head;
        enum guest_mode mode;
        u64 bits;            /* LME and LMA that VM entry establishes */
};

static const struct mode_row paged_rows[] = {
        { ROW("long", NULL, NULL, "host64"), GUEST_LONG, MODE_BITS },
        { ROW("compat", NULL, NULL, "host64"), GUEST_COMPAT, MODE_BITS },
        { ROW("pae"), GUEST_PAE, 0 },
        { ROW("32"), GUEST_32, 0 },
};

/* The host's LME is 1 in a 64-bit build: it does not matter. */
TABLE(lme_paged, paged_rows, .id = "entry.msr-load.efer.lme-paged",
      .title = "with CR0.PG = 1 an entry can not change LME", .sdm = SDM,
      .rules = "MSRL_EFER_LME_CHANGE_PG1 MSRL_LOADED_AFTER_GUEST_STATE",
      .needs = NEEDS)
{
        const struct mode_row *r = case_row(self, row);

        check_efer(efer_guest(r->mode, r->bits), r->bits);
        check_refused(efer_guest(r->mode, r->bits ^ EFER_LME));
        check_refused(efer_guest(r->mode, r->bits ^ MODE_BITS));
}

static const struct mode_row unpaged_rows[] = {
        { ROW("protected"), GUEST_PROTECTED },
        { ROW("real"), GUEST_REAL },
};

TABLE(lme_unpaged, unpaged_rows, .id = "entry.msr-load.efer.lme-unpaged",
      .title = "with CR0.PG = 0 an entry can change LME", .sdm = SDM,
      .rules = "MSRL_EFER_LME_CHANGE_PG0 MSRL_LOADED_AFTER_GUEST_STATE",
      .needs = NEEDS UG)
{
        const struct mode_row *r = case_row(self, row);

        for (u64 lme = 0; lme <= EFER_LME; lme += EFER_LME)
                check_efer(efer_guest(r->mode, lme), lme);
}

TABLE(lma, paged_rows, .id = "entry.msr-load.efer.lma",
      .title = "LMA of an entry is ignored", .sdm = SDM,
      .rules = "MSRL_EFER_LMA_IGNORED", .needs = NEEDS)
{
        const struct mode_row *r = case_row(self, row);

        check_efer(efer_guest(r->mode, r->bits), r->bits);
        check_efer(efer_guest(r->mode, r->bits ^ EFER_LMA), r->bits);
}

TABLE(lma_unpaged, unpaged_rows, .id = "entry.msr-load.efer.lma-unpaged",
      .title = "LMA of an entry is ignored with CR0.PG = 0", .sdm = SDM,
      .rules = "MSRL_EFER_LMA_IGNORED", .needs = NEEDS UG)
{
        const struct mode_row *r = case_row(self, row);

        check_efer(efer_guest(r->mode, EFER_LMA), 0);
        check_efer(efer_guest(r->mode, MODE_BITS), EFER_LME);
}

/* @with: also "load IA32_EFER", whose field has the other values. */
static void check_free_bits(const struct mode_row *r, bool with)
{
        u64 free = EFER_SCE | (cpuid_bit(0x80000001, 0, 'd', 20) ? EFER_NXE : 0);

        for (unsigned i = 0; i < 4; i++) {
                u64 bits = ((i & 1 ? EFER_SCE : 0) | (i & 2 ? EFER_NXE : 0)) & free;
                struct vm *vm = efer_guest(r->mode, r->bits | bits);

                if (with) {
                        vm_control(VMCS_ENTRY_CONTROLS, CTL_ENTRY_LOAD_EFER, 0);
                        vmwrite(VMCS_GUEST_EFER, r->bits | (bits ^ free));
                }
                wrmsr(MSR_IA32_EFER, (old_efer & ~free) | (bits ^ free));
                check_efer(vm, r->bits | bits);
        }
}

TABLE(free_bits, paged_rows, .id = "entry.msr-load.efer.sce-nxe",
      .title = "SCE and NXE are the entry's", .sdm = SDM,
      .rules = "MSRL_EFER_SCE_NXE", .needs = NEEDS)
{
        check_free_bits(case_row(self, row), false);
}

TABLE(override, paged_rows, .id = "entry.msr-load.efer.overrides-field",
      .title = "SCE and NXE are the entry's, whatever the field has", .sdm = SDM,
      .rules = "MSRL_OVERRIDES_GUEST_FIELDS MSRL_EFER_SCE_NXE",
      .needs = NEEDS "load-ia32-efer-entry")
{
        check_free_bits(case_row(self, row), true);
}

PROGRAM(read_page, NATIVE_BITS, "mov (%" CX "), %al\nvmcall\n");

/* Bit 63 of a PTE is reserved while NXE is 0. */
CASE(nxe_effect, .id = "entry.msr-load.efer.nxe-effect",
     .title = "NXE of an entry: a page may be execute-disable", .sdm = SDM,
     .rules = "MSRL_EFER_SCE_NXE", .needs = NEEDS "nx")
{
        const u64 bits = NATIVE_BITS == 64 ? MODE_BITS : 0;

        for (u64 nxe = 0; nxe <= EFER_NXE; nxe += EFER_NXE) {
                struct vm *vm = efer_guest(GUEST_NATIVE, bits | nxe);
                u8 *page = page_alloc(1);
                struct vmx_result got;

                *vm_pte(vm, page) |= PTE_NX;
                vmwrite(VMCS_EXCEPTION_BITMAP, 0xffffffff);
                vm_program(vm, read_page);
                vm->regs.rcx = (ulong)page;
                vm_poison(0);
                wrmsr(MSR_IA32_EFER, (old_efer & ~(u64)EFER_NXE) |
                                     (nxe ^ EFER_NXE));
                got = vm_enter(vm);
                wrmsr(MSR_IA32_EFER, old_efer);
                if (nxe) {
                        CHECK_EXIT("read of the page with NXE = 1", got,
                                   EXITS(EXIT_VMCALL));
                        continue;
                }
                CHECK_EXIT("read of the page with NXE = 0", got,
                           EXITS_WITH(EXIT_EXCEPTION_NMI, (ulong)page));
                CHECK_EXITING_EVENT(HARDWARE_CODE(VEC_PF), PF_P | PF_RSVD);
        }
}
