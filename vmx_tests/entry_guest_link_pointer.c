/*
 * SDM Vol. 3, VM Entries > Checks on the Guest State Area > Checks on Guest
 * Non-Register State: VMCS link pointer.
 */
#include "lib/check.h"
#include "lib/string.h"
#include "x86/cpu.h"
#include "x86/memory.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/probe.h"
#include "x86/vmx/session.h"

#define SDM "VM Entries > Checks on Guest Non-Register State"
#define BAD_LINK ENTRY_FAILS(EXIT_ENTRY_FAILURE_GUEST_STATE, 4)
#define SHADOW 0x80000000u

#define LINK(value) EDITS(SET(VMCS_LINK_POINTER, value))

static u32 revision(void)
{
        return (u32)vmx_caps()->basic & ~SHADOW;
}

/* The pointer @good is accepted, @bad is not. */
static void pair(const struct test_case *self, enum guest_mode mode,
                 void (*prepare)(struct vm *), u64 good, u64 bad)
{
        struct probe p = {
                .mode = mode, .prepare = prepare, .given = EDITS(SHOW_EXCEPTIONS),
                .accept = LINK(good), .reject = LINK(bad), .outcome = BAD_LINK,
        };

        probe_check(self, &p);
}

static void accepted(const struct test_case *self,
                     void (*prepare)(struct vm *), u64 good)
{
        struct probe p = {
                .prepare = prepare, .given = EDITS(SHOW_EXCEPTIONS),
                .accept = LINK(good),
        };

        probe_check(self, &p);
}

/* With "VMCS shadowing"; no access of the guest exits. */
static void shadowing(struct vm *vm)
{
        void *bitmap = page_alloc(1);

        (void)vm;
        vm_control(VMCS_PRIMARY_CONTROLS, CTL_PRIMARY_ACTIVATE_SECONDARY, 0);
        vm_control(VMCS_SECONDARY_CONTROLS, CTL_SECONDARY_VMCS_SHADOWING, 0);
        vmwrite(VMCS_VMREAD_BITMAP, phys(bitmap));
        vmwrite(VMCS_VMWRITE_BITMAP, phys(bitmap));
}

/* The same while the secondary controls are off. */
static void shadowing_inactive(struct vm *vm)
{
        shadowing(vm);
        vm_control(VMCS_PRIMARY_CONTROLS, 0, CTL_PRIMARY_ACTIVATE_SECONDARY);
}

/* The bytes at the misaligned address are those of a valid region, too. */
#define ALIGNMENT(name, guest, needs_)                                       \
FAMILY(alignment_##name, 12, .id = "entry.guest.link.alignment." #name,      \
       .title = "a bit of 11:0 must be 0", .sdm = SDM,                       \
       .rules = "ENTG_LINK_ALIGNMENT ENTG_FAIL_QUAL_4", .needs = needs_)     \
{                                                                            \
        struct vmcs_region *region = vmcs_region_new();                      \
        u32 value = revision();                                              \
                                                                             \
        if (row >= 2)                                                        \
                memcpy((u8 *)region + BIT(row), &value, sizeof(value));      \
        pair(self, guest, NULL, phys(region), phys(region) | BIT(row));      \
}
ALIGNMENT(long, GUEST_LONG, "host64")
ALIGNMENT(pae, GUEST_PAE, "")
ALIGNMENT(real, GUEST_REAL, "unrestricted-guest")

CASE(width, .id = "entry.guest.link.width",
     .title = "each bit from the physical-address width on must be 0",
     .sdm = SDM, .rules = "ENTG_LINK_PHYS_WIDTH")
{
        u64 region = phys(vmcs_region_new());

        for (unsigned bit = physical_address_width(); bit < 64; bit++)
                pair(self, GUEST_NATIVE, NULL, region, region | BIT(bit));
}

CASE(width_all, .id = "entry.guest.link.almost-all-ones",
     .title = "FFFFFFFF_FFFFF000H is not the value that skips the checks",
     .sdm = SDM, .rules = "ENTG_LINK_PHYS_WIDTH")
{
        pair(self, GUEST_NATIVE, NULL, phys(vmcs_region_new()), ~0xfffull);
}

/* All ones but for one bit: every other check would fail as well. */
FAMILY(not_all_ones, 64, .id = "entry.guest.link.all-but",
       .title = "only all ones skip the checks", .sdm = SDM,
       .rules = "ENTG_LINK_ALL_ONES")
{
        pair(self, GUEST_NATIVE, NULL, ~0ull, ~BIT(row));
}

CASE(width_32, .id = "entry.guest.link.width-32",
     .title = "bits 63:32 must be 0 where VMX addresses have 32 bits",
     .sdm = SDM, .rules = "ENTG_LINK_32BIT_WIDTH",
     .needs = "vmx-addresses-32bit")
{
        u64 region = phys(vmcs_region_new());

        pair(self, GUEST_NATIVE, NULL, region, region | BIT(32));
}

CASE(width_tme, .id = "entry.guest.link.width-tme",
     .title = "memory encryption narrows the link pointer", .sdm = SDM,
     .rules = "ENTG_LINK_TME_REDUCED", .needs = "tme")
{
        unsigned top = physical_address_width(), keys = tme_key_bits();
        u64 region = phys(vmcs_region_new());

        if (!keys)
                case_skip("IA32_TME_ACTIVATE takes no address bits");
        for (unsigned bit = top; bit < top + keys; bit++)
                pair(self, GUEST_NATIVE, NULL, region, region | BIT(bit));
}

/* Two regions, of which one has @bits of its first doubleword inverted. */
static void revision_pair(const struct test_case *self,
                          void (*prepare)(struct vm *), u32 good, u32 bad)
{
        struct vmcs_region *valid = vmcs_region_new();
        struct vmcs_region *invalid = vmcs_region_new();

        valid->revision = good;
        invalid->revision = bad;
        pair(self, GUEST_NATIVE, prepare, phys(valid), phys(invalid));
}

FAMILY(revision_bits, 31, .id = "entry.guest.link.revision",
       .title = "a bit of the revision identifier differs", .sdm = SDM,
       .rules = "ENTG_LINK_REVISION")
{
        revision_pair(self, NULL, revision(), revision() ^ (u32)BIT(row));
}

FAMILY(revision_shadow, 31, .id = "entry.guest.link.revision-shadow",
       .title = "a bit of the revision identifier of a shadow VMCS differs",
       .sdm = SDM, .rules = "ENTG_LINK_REVISION", .needs = "vmcs-shadowing")
{
        revision_pair(self, shadowing, revision() | SHADOW,
                      (revision() ^ (u32)BIT(row)) | SHADOW);
}

CASE(revision_next, .id = "entry.guest.link.revision-plus-1",
     .title = "the next revision identifier", .sdm = SDM,
     .rules = "ENTG_LINK_REVISION")
{
        revision_pair(self, NULL, revision(), (revision() + 1) & ~SHADOW);
}

CASE(shadow_required, .id = "entry.guest.link.shadow.required",
     .title = "with VMCS shadowing it must be a shadow VMCS", .sdm = SDM,
     .rules = "ENTG_LINK_SHADOW_REQUIRED", .needs = "vmcs-shadowing")
{
        revision_pair(self, shadowing, revision() | SHADOW, revision());
}

CASE(shadow_forbidden, .id = "entry.guest.link.shadow.forbidden",
     .title = "without VMCS shadowing it must not be a shadow VMCS", .sdm = SDM,
     .rules = "ENTG_LINK_SHADOW_FORBIDDEN")
{
        revision_pair(self, NULL, revision(), revision() | SHADOW);
}

CASE(shadow_inactive, .id = "entry.guest.link.shadow.inactive",
     .title = "while secondary controls are off it must not be a shadow VMCS",
     .sdm = SDM, .rules = "ENTG_LINK_SHADOW_FORBIDDEN",
     .needs = "vmcs-shadowing")
{
        revision_pair(self, shadowing_inactive, revision(),
                      revision() | SHADOW);
}

CASE(current, .id = "entry.guest.link.current",
     .title = "it must not be the current VMCS", .sdm = SDM,
     .rules = "ENTG_LINK_CURRENT_VMCS")
{
        vmx_on();
        pair(self, GUEST_NATIVE, NULL, phys(vmcs_region_new()),
             this_vmx()->vm.pointer);
}

CASE(all_ones, .id = "entry.guest.link.all-ones",
     .title = "all ones are accepted without VMCS shadowing", .sdm = SDM,
     .rules = "ENTG_LINK_ALL_ONES")
{
        accepted(self, NULL, ~0ull);
}

PROGRAM(use_shadow, NATIVE_BITS,
#ifdef __x86_64__
        "vmread %rcx, %rdx\n"
#else
        "vmread %ecx, %edx\n"
#endif
        "setc %al\nsetz %ah\nmovzwl %ax, %eax\nvmcall\n");

/* A field of full access; CF = 1 and ZF = 0 say VMfailInvalid. */
CASE(all_ones_shadowing, .id = "entry.guest.link.all-ones-shadowing",
     .title = "all ones are accepted with VMCS shadowing: VMREAD fails",
     .sdm = SDM, .rules = "ENTG_LINK_ALL_ONES", .needs = "vmcs-shadowing")
{
        struct vm *vm = vm_begin(GUEST_NATIVE);

        shadowing(vm);
        vm_program(vm, use_shadow);
        vm->regs.rcx = VMCS_GUEST_CR0;
        vmwrite(VMCS_EXCEPTION_BITMAP, 0xffffffff);
        vmwrite(VMCS_VMCS_LINK_POINTER, ~0ull);
        vm_poison(0);
        if (CHECK_RESULT("VM entry", vm_enter(vm), EXITS(EXIT_VMCALL)))
                CHECK_EQ("CF and ZF of VMREAD in the guest", vm->regs.rax, 1);
}

CASE(never_cleared, .id = "entry.guest.link.target.never-cleared",
     .title = "only the first doubleword of the target counts", .sdm = SDM,
     .rules = "ENTG_LINK_TARGET_STATE_IGNORED")
{
        struct vmcs_region *region = vmcs_region_new();

        memset(region->data, 0xa5, sizeof(region->data));
        region->abort_indicator = 0xa5a5a5a5;
        accepted(self, NULL, phys(region));
}

CASE(active, .id = "entry.guest.link.target.active",
     .title = "the target may be an active VMCS", .sdm = SDM,
     .rules = "ENTG_LINK_TARGET_STATE_IGNORED")
{
        struct vm *other = vm_new(GUEST_NATIVE);

        CHECK_RESULT("VM entry of the other VMCS", vm_enter(other),
                     EXITS(EXIT_VMCALL));
        accepted(self, NULL, other->pointer);
        vm_clear(other);
}

/* No check is made on these fields of the same section. */
FAMILY(timer, 3, .id = "entry.guest.timer-value",
       .title = "the VMX-preemption timer value is not checked", .sdm = SDM,
       .rules = "ENTG_TIMER_VALUE_UNCHECKED",
       .needs = "activate-vmx-preemption-timer")
{
        static const u32 values[] = { 0, 1, 0xffffffff };
        struct probe p = {
                .given = EDITS(SHOW_EXCEPTIONS, OR(PIN_CONTROLS,
                               CTL_PIN_ACTIVATE_PREEMPTION_TIMER)),
                .accept = EDITS(SET(PREEMPTION_TIMER_VALUE, values[row])),
        };
        struct vmx_result r;

        if (values[row] == 1) {
                /* Which comes first, VMCALL or the timer, is open. */
                r = probe_enter(&p, p.accept, 0);
                check_result_either(self->file, (int)self->line, "VM entry", r,
                                    RESULT(EXITS(EXIT_PREEMPTION_TIMER)),
                                    RESULT(EXITS(EXIT_VMCALL)));
                return;
        }
        if (!values[row])
                p.accepted = RESULT(EXITS(EXIT_PREEMPTION_TIMER));
        probe_check(self, &p);
}

FAMILY(pml_index, 5, .id = "entry.guest.pml-index",
       .title = "the PML index is not checked", .sdm = SDM,
       .rules = "ENTG_PML_INDEX_UNCHECKED", .needs = "enable-pml ept-ad")
{
        static const u16 values[] = { 0, 511, 512, 0x8000, 0xffff };
        struct vm *vm = vm_begin(GUEST_NATIVE);
        struct vmx_result r;

        with_ept(vm);
        vm_control(VMCS_SECONDARY_CONTROLS, CTL_SECONDARY_ENABLE_PML, 0);
        vmwrite(VMCS_PML_ADDRESS, phys(page_alloc(1)));
        vmwrite(VMCS_PML_INDEX, values[row]);
        vm_poison(0);
        r = vm_enter(vm);
        /* Without accessed and dirty flags for EPT nothing is logged. */
        CHECK_RESULT("VM entry", r, EXITS(EXIT_VMCALL));
        vmwrite(VMCS_PML_INDEX, 0);
}
