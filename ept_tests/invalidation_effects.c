/*
 * SDM Vol. 3, VMX Support for Address Translation > Operations that Invalidate
 * Cached Mappings: after INVEPT and INVVPID a guest sees what its tables say
 * now. What else they invalidate, nobody promises and nothing here judges.
 */
#include "lib/check.h"
#include "lib/string.h"
#include "x86/memory.h"
#include "x86/paging.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/ept.h"
#include "x86/vmx/event.h"
#include "x86/vmx/instr.h"

#define SDM "VMX Support for Address Translation > Operations that Invalidate Cached Mappings"

#define VPID_OF_GUEST 0x21u
#define TARGET 0xc0000000u  /* guest-linear and guest-physical */

/* Loads from SI, then VMCALL. */
#ifdef __x86_64__
PROGRAM(load, NATIVE_BITS, "mov (%rsi), %eax\n");
#else
PROGRAM(load, NATIVE_BITS, "mov (%esi), %eax\n");
#endif

/* Two pages, of which the one has the old contents, the other the new. */
struct pages {
        u32 *old, *new;
};

#define OLD_VALUE 0x01d01d01u
#define NEW_VALUE 0x2e32e32eu

static struct pages two_pages(void)
{
        struct pages p = { page_alloc(1), page_alloc(1) };

        *p.old = OLD_VALUE;
        *p.new = NEW_VALUE;
        return p;
}

static struct vm *guest(void)
{
        struct vm *vm = vm_begin(GUEST_NATIVE);

        vm_program(vm, load);
        vm->regs.rsi = TARGET;
        return vm;
}

/* The guest reads the target: @value, or an EPT violation if that is @missing. */
static void check_load(struct vm *vm, const char *what, u32 value, bool missing)
{
        vmwrite(VMCS_GUEST_RIP, vm->entry_rip);
        vm->regs.rax = 0;
        vm_poison(0);
        if (missing) {
                CHECK_EXIT(what, vm_enter(vm), EXITS(EXIT_EPT_VIOLATION));
                CHECK_VMCS(GUEST_PHYSICAL_ADDRESS, TARGET);
        } else if (CHECK_EXIT(what, vm_enter(vm), EXITS(EXIT_VMCALL))) {
                CHECK_EQ("value read", (u32)vm->regs.rax, value);
        }
}

/* Gives @vm a VPID, so that its entries and exits invalidate nothing. */
static void use_vpid(void)
{
        if (!control_can_be_1(WORD_SECONDARY, CTL_SECONDARY_ENABLE_VPID))
                return;
        vm_control(VMCS_SECONDARY_CONTROLS, CTL_SECONDARY_ENABLE_VPID, 0);
        vmwrite(VMCS_VPID, VPID_OF_GUEST);
}

static u64 *new_ept(const struct pages *p)
{
        u64 *root = ept_new();

        ept_map_identity(root);
        ept_map(root, TARGET, phys(p->old), EPT_PTE, EPT_RWX | ept_memory_type());
        return root;
}

/* What changes in the EPT. */
enum change { LEAF_ADDRESS, LEAF_PERMISSION, UPPER_ENTRY };

static void change(u64 *root, enum change c, const struct pages *p)
{
        volatile u64 *leaf = ept_entry(root, TARGET, EPT_PTE);
        u64 *table;

        switch (c) {
        case LEAF_ADDRESS:
                *leaf = phys(p->new) | EPT_RWX | ept_memory_type();
                break;
        case LEAF_PERMISSION:
                *leaf &= ~(u64)EPT_RWX;
                break;
        case UPPER_ENTRY:
                /* Another table, in which all the target's neighbours are absent. */
                table = page_alloc(1);
                table[TARGET / PAGE_SIZE % 512] = phys(p->new) | EPT_RWX | ept_memory_type();
                *ept_entry(root, TARGET, EPT_PDE) = phys(table) | EPT_RWX;
        }
}

struct ept_row {
        struct row head;
        enum change change;
        ulong type;
};

static const struct ept_row ept_rows[] = {
        { ROW("single.address", "single-context; another page",
              "INS_INVEPT_EFFECT_1", "invept-single"), LEAF_ADDRESS, 1 },
        { ROW("single.permission", "single-context; permissions taken away",
              "INS_INVEPT_EFFECT_1", "invept-single"), LEAF_PERMISSION, 1 },
        { ROW("single.table", "single-context; another table",
              "INS_INVEPT_EFFECT_1", "invept-single"), UPPER_ENTRY, 1 },
        { ROW("all.address", "all-context; another page",
              "INS_INVEPT_EFFECT_2", "invept-all"), LEAF_ADDRESS, 2 },
        { ROW("all.permission", "all-context; permissions taken away",
              "INS_INVEPT_EFFECT_2", "invept-all"), LEAF_PERMISSION, 2 },
        { ROW("all.table", "all-context; another table",
              "INS_INVEPT_EFFECT_2", "invept-all"), UPPER_ENTRY, 2 },
};

/* Two EPTs; INVEPT is told one of them, or for all-context a third. */
TABLE(ept_effect, ept_rows, .id = "invept.effect",
      .title = "INVEPT makes changed EPT entries count", .sdm = SDM,
      .needs = "invept enable-ept")
{
        const struct ept_row *e = case_row(self, row);
        struct pages p = two_pages();
        u64 *roots[2] = { new_ept(&p), new_ept(&p) };
        struct vm *vm = guest();
        bool all = e->type == 2;

        vmcs_edit(EDITS(WITH_SECONDARY(CTL_SECONDARY_ENABLE_EPT)));
        use_vpid();
        for (unsigned i = 0; i < 2; i++) {
                ept_invalidate(eptp_of(roots[i], 0));
                vmwrite(VMCS_EPTP, eptp_of(roots[i], 0));
                check_load(vm, "before the change", OLD_VALUE, false);
        }
        for (unsigned i = 0; i < 2; i++) {
                struct inv_descriptor d = { all ? 0 : eptp_of(roots[i], 0), 0 };

                if (!all || i == 0) {
                        change(roots[i], e->change, &p);
                        if (all)
                                change(roots[1], e->change, &p);
                        CHECK_RESULT("INVEPT", invept(e->type, &d), SUCCEED);
                }
                vmwrite(VMCS_EPTP, eptp_of(roots[i], 0));
                check_load(vm, "after the change", NEW_VALUE,
                           e->change == LEAF_PERMISSION);
        }
}

/*
 * Paging of the guest's own: the fourth GiB has one page of 4 KiB, the target.
 * Returns its entry.
 */
static volatile u64 *own_paging(void)
{
        const struct guest_env *env = guest_env();
        const u64 flags = PTE_P | PTE_W | PTE_U;
        u64 *pdpt = page_alloc(1), *directory = page_alloc(1), *table = page_alloc(1);

        directory[0] = phys(table) | flags;
        if (sizeof(ulong) == 8) {
                u64 *root = page_alloc(1);

                memcpy(pdpt, env->pdpt, PAGE_SIZE);
                pdpt[TARGET >> 30] = phys(directory) | flags;
                root[0] = phys(pdpt) | flags;
                vmwrite(VMCS_GUEST_CR3, phys(root));
        } else {
                memcpy(pdpt, env->pae_pdpt, 4 * sizeof(u64));
                pdpt[TARGET >> 30] = phys(directory) | PTE_P;
                vmwrite(VMCS_GUEST_CR3, phys(pdpt));
        }
        return &table[0];
}

struct vpid_row {
        struct row head;
        ulong type;
        bool ept;         /* combined mappings, then */
};

static const struct vpid_row vpid_rows[] = {
        { ROW("address", "individual-address", "INS_INVVPID_EFFECT_0",
              "invvpid-address"), 0, false },
        { ROW("single", "single-context", "INS_INVVPID_EFFECT_1",
              "invvpid-single"), 1, false },
        { ROW("all", "all-context", "INS_INVVPID_EFFECT_2", "invvpid-all"), 2, false },
        { ROW("retaining", "single-context, retaining globals; the page is not global",
              "INS_INVVPID_EFFECT_3", "invvpid-retaining-globals"), 3, false },
        { ROW("address.ept", "individual-address, under EPT", "INS_INVVPID_EFFECT_0",
              "invvpid-address enable-ept"), 0, true },
        { ROW("single.ept", "single-context, under EPT", "INS_INVVPID_EFFECT_1",
              "invvpid-single enable-ept"), 1, true },
        { ROW("all.ept", "all-context, under EPT", "INS_INVVPID_EFFECT_2",
              "invvpid-all enable-ept"), 2, true },
        { ROW("retaining.ept", "retaining globals, under EPT", "INS_INVVPID_EFFECT_3",
              "invvpid-retaining-globals enable-ept"), 3, true },
};

TABLE(vpid_effect, vpid_rows, .id = "invvpid.effect",
      .title = "INVVPID makes changed entries of the guest's paging count", .sdm = SDM,
      .needs = "invvpid enable-vpid")
{
        const struct vpid_row *v = case_row(self, row);
        const u64 flags = PTE_P | PTE_W | PTE_U;
        struct pages p = two_pages();
        struct vm *vm = guest();
        volatile u64 *entry = own_paging();
        struct inv_descriptor d = { v->type == 2 ? 0 : VPID_OF_GUEST,
                                    v->type == 0 ? TARGET : 0 };

        vmcs_edit(EDITS(WITH_SECONDARY(CTL_SECONDARY_ENABLE_VPID)));
        vmwrite(VMCS_VPID, VPID_OF_GUEST);
        if (v->ept) {
                vm_control(VMCS_SECONDARY_CONTROLS, CTL_SECONDARY_ENABLE_EPT, 0);
                vmwrite(VMCS_EPTP, guest_env()->eptp);
                if (sizeof(ulong) == 4)
                        for (unsigned i = 0; i < 4; i++)
                                vmwrite(VMCS_GUEST_PDPTE0 + 2 * i,
                                        ((u64 *)(ulong)vmread(VMCS_GUEST_CR3))[i]);
        }
        *entry = phys(p.old) | flags;
        CHECK_RESULT("INVVPID before", invvpid(v->type, &d), SUCCEED);
        for (unsigned round = 0; round < 2; round++) {
                *entry = phys(p.old) | flags;
                CHECK_RESULT("INVVPID", invvpid(v->type, &d), SUCCEED);
                check_load(vm, "before the change", OLD_VALUE, false);
                *entry = phys(p.new) | flags;
                CHECK_RESULT("INVVPID", invvpid(v->type, &d), SUCCEED);
                check_load(vm, "after the change", NEW_VALUE, false);
        }
}
