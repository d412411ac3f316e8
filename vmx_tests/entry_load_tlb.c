/*
 * SDM Vol. 3, VM Entries > Loading Guest State > Updating Non-Register State:
 * cached translations. The paging structures change while the host has, or
 * guests had, the old translation; nothing but VM entry invalidates it.
 */
#include "lib/check.h"
#include "x86/cpu.h"
#include "x86/memory.h"
#include "x86/paging.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/ept.h"
#include "x86/vmx/event.h"
#include "x86/vmx/exit_probe.h"
#include "x86/vmx/instr.h"
#include "x86/vmx/views.h"

#define SDM "VM Entries > Updating Non-Register State"
#define SDM_INVALIDATE "VMX Support for Address Translation > " \
                       "Operations that Invalidate Cached Mappings"

PROGRAM(read_word, 32, "mov (%esi), %eax\nvmcall\n");

#define OLD 0x01d01d01u
#define NEW 0x2e32e32eu

static u32 *old_page, *new_page;

static void take_pages(void)
{
        old_page = page_alloc(1);
        new_page = page_alloc(1);
        *old_page = OLD;
        *new_page = NEW;
}

static void to_new_page(volatile u64 *pte)
{
        *pte = (*pte & ~PTE_ADDR) | phys(new_page);
        barrier();
}

/* The guest's next instruction reads the word at old_page. */
static void check_read(struct vm *vm, const char *what, u32 want)
{
        vm_program(vm, read_word);
        vm->regs.rsi = (ulong)old_page;
        vm_poison(0);
        CHECK_EXIT("the read", vm_enter(vm), EXITS(EXIT_VMCALL));
        CHECK_EQ(what, (u32)vm->regs.rax, want);
}

/*
 * The guest has the host's own tables. VM exits invalidate too, so that the
 * host's translation is the only one that can be old.
 */
static void host_to_guest(bool global)
{
        volatile u64 *pte;
        struct vm *vm;

        take_pages();
        if (global)
                write_cr4(read_cr4() | CR4_PGE);
        vm = vm_begin(GUEST_NATIVE);
        vmwrite(VMCS_GUEST_CR3, paging_root());
        vm_control(VMCS_GUEST_CR4, global ? CR4_PGE : 0, 0);
        pte = paging_entry(old_page);
        if (global)
                *pte |= PTE_G;
        invlpg(old_page);
        check_read(vm, "the word, before", OLD);

        vm_program(vm, read_word);
        vm_poison(0);
        CHECK_EQ("the word that the host reads", *(volatile u32 *)old_page, OLD);
        to_new_page(pte);
        CHECK_EXIT("the read", vm_enter(vm), EXITS(EXIT_VMCALL));
        CHECK_EQ("the word, mapped elsewhere", (u32)vm->regs.rax, NEW);
        invlpg(old_page);
}

CASE(host, .id = "entry.load.tlb.host", .title = "without a VPID the guest does "
     "not use a translation that the host cached", .sdm = SDM,
     .rules = "ENTL_TLB_VPID0_FLUSH")
{
        host_to_guest(false);
}

CASE(host_global, .id = "entry.load.tlb.host.global", .title = "the same for a "
     "global page", .sdm = SDM_INVALIDATE,
     .rules = "ENTL_TLB_VPID0_FLUSH_GLOBAL", .needs = "pge")
{
        host_to_guest(true);
}

/* From one VM entry to the next, by the guest's own tables. */
FAMILY(guest, 2, .id = "entry.load.tlb.guest", .title = "without a VPID the guest "
       "does not use a translation that it cached (row 1: a global one)",
       .sdm = SDM, .rules = "ENTL_TLB_VPID0_FLUSH ENTL_TLB_VPID0_FLUSH_GLOBAL",
       .needs = "pge")
{
        struct vm *vm = vm_begin(GUEST_NATIVE);
        u64 *pte;

        take_pages();
        pte = vm_pte(vm, old_page);
        if (row)
                *pte |= PTE_G;
        vm_control(VMCS_GUEST_CR4, CR4_PGE, 0);
        check_read(vm, "the word, before", OLD);
        to_new_page(pte);
        check_read(vm, "the word, mapped elsewhere", NEW);
}

#ifdef __x86_64__
/* MOV to CR3 with bit 63 set invalidates nothing. */
PROGRAM(switch_pcid, 64, "mov %rcx, %cr3\nmov (%esi), %eax\nvmcall\n");

CASE(pcid, .id = "entry.load.tlb.pcid", .title = "without a VPID what was cached "
     "for another PCID is invalidated too", .sdm = SDM,
     .rules = "ENTL_TLB_VPID0_FLUSH", .needs = "host64 pcid")
{
        struct vm *vm;
        u64 *pte, root;

        if (!control_can_be_0(WORD_PRIMARY, CTL_PRIMARY_CR3_LOAD_EXITING)) {
                case_skip("\"CR3-load exiting\" can not be 0");
                return;
        }
        vm = vm_begin(GUEST_LONG);
        take_pages();
        pte = vm_pte(vm, old_page);
        root = vmread(VMCS_GUEST_CR3);
        vm_control(VMCS_GUEST_CR4, CR4_PCIDE, 0);
        vmwrite(VMCS_GUEST_CR3, root | 1);
        check_read(vm, "the word, before, with PCID 1", OLD);

        to_new_page(pte);
        vmwrite(VMCS_GUEST_CR3, root | 2);
        vm_program(vm, switch_pcid);
        vm->regs.rcx = root | 1 | BIT(63);
        vm_poison(0);
        CHECK_EXIT("the switch and the read", vm_enter(vm), EXITS(EXIT_VMCALL));
        CHECK_EQ("the word, mapped elsewhere, with PCID 1", (u32)vm->regs.rax,
                 NEW);
}
#endif

/* Two EPTs that map the same. */
CASE(eptps, .id = "entry.load.tlb.eptp", .title = "without a VPID guests that "
     "alternate between EPTPs do not use old translations", .sdm = SDM_INVALIDATE,
     .rules = "ENTL_TLB_VPID0_COMBINED_ALL_EPTP", .needs = "enable-ept")
{
        struct vm *vm = vm_begin(GUEST_NATIVE);
        u64 *roots[2] = { ept_new_over_identity(), ept_new_over_identity() };
        u64 *pte;

        take_pages();
        pte = vm_pte(vm, old_page);
        for (unsigned i = 0; i < 2; i++) {
                ept_use(roots[i], 0);
                check_read(vm, "the word, before", OLD);
        }
        to_new_page(pte);
        for (unsigned i = 0; i < 2; i++) {
                vmwrite(VMCS_EPTP, eptp_of(roots[i], 0));
                check_read(vm, "the word, mapped elsewhere", NEW);
        }
}

/*
 * A guest that changes the EPTP by itself, before it reads: on the way there
 * nothing is invalidated but by the VM entry, which had the other EPTP.
 */
CASE(eptp_switched, .id = "entry.load.tlb.eptp.switched", .title = "without a VPID "
     "what was cached under another EPTP is invalidated too", .sdm = SDM_INVALIDATE,
     .rules = "ENTL_TLB_VPID0_COMBINED_ALL_EPTP",
     .needs = "enable-ept enable-vm-functions eptp-switching")
{
        struct views v = views_begin(GUEST_NATIVE);
        u64 *pte;

        take_pages();
        pte = vm_pte(v.vm, old_page);
        for (unsigned i = 0; i < 2; i++) {
                vmwrite(VMCS_EPTP, v.eptp);
                v.vm->regs.rsi = (ulong)old_page;
                CHECK_EXIT("VMFUNC and the read", views_switch(&v, 0, 0),
                           EXITS(EXIT_VMCALL));
                CHECK_EQ(i ? "the word, mapped elsewhere" : "the word, before",
                         (u32)v.vm->regs.rdx, i ? NEW : OLD);
                to_new_page(pte);
        }
}

/* Beyond the memory that the suite uses; behind it is one page or the other. */
#define GPA 0xc0000000u

FAMILY(after_invept, 2, .id = "entry.load.tlb.invept", .title = "after INVEPT "
       "(single-context, all-context) the guest uses the new EPT entry", .sdm = SDM,
       .rules = "ENTL_TLB_GUEST_PHYSICAL_NOT_REQUIRED",
       .needs = "enable-ept invept invept-single invept-all")
{
        struct vm *vm = vm_begin(GUEST_NATIVE);
        u64 *root = ept_new(), *pte;
        struct inv_descriptor d = { 0 };

        take_pages();
        ept_map_identity(root);
        ept_map(root, GPA, phys(old_page), EPT_PTE, EPT_RWX | ept_memory_type());
        ept_use(root, 0);
        pte = vm_pte(vm, old_page);
        *pte = (*pte & ~PTE_ADDR) | GPA;
        check_read(vm, "the word, before", OLD);

        ept_map(root, GPA, phys(new_page), EPT_PTE, EPT_RWX | ept_memory_type());
        if (!row)
                d.low = eptp_of(root, 0);
        CHECK_RESULT("INVEPT", invept(row + 1, &d), SUCCEED);
        check_read(vm, "the word, mapped elsewhere", NEW);
}
