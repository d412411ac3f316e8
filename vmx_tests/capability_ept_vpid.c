/*
 * SDM Vol. 3, Appendix A, VMX Capability Reporting Facility > VPID and EPT
 * Capabilities, VM Functions: each bit of IA32_VMX_EPT_VPID_CAP and of
 * IA32_VMX_VMFUNC, and what can be done with it and without.
 */
#include "x86/memory.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/ept.h"
#include "x86/vmx/guest_env.h"
#include "x86/vmx/instr.h"
#include "x86/vmx/probe.h"
#include "x86/vmx/raw.h"

#define SDM "VMX Capability Reporting Facility > VPID and EPT Capabilities"

CASE(reserved, .id = "capability.ept.reserved", .sdm = SDM,
     .title = "reserved bits are 0", .rules = "CAP_EPT_RESERVED",
     .needs = "enable-ept|enable-vpid")
{
        CHECK_MASKED("IA32_VMX_EPT_VPID_CAP", vmx_caps()->ept_vpid, 0,
                     BITS(5, 1) | BITS(13, 9) | BIT(15) | BITS(19, 18) | BIT(24) |
                     BITS(31, 27) | BITS(39, 33) | BITS(47, 44) | BITS(63, 54));
}

/* VM entry with this EPTP, and INVEPT of it: both accept it or refuse it. */
static void check_eptp(u64 eptp, bool legal)
{
        const struct inv_descriptor d = { eptp, 0 };
        struct vm *vm = vm_begin(GUEST_NATIVE);

        vmcs_edit(EDITS(WITH_SECONDARY(CTL_SECONDARY_ENABLE_EPT)));
        vmwrite(VMCS_EPTP, eptp);
        vm_poison(VMERR_ENTRY_CONTROLS);
        if (legal)
                CHECK_RESULT("VM entry", vm_enter(vm), EXITS(EXIT_VMCALL));
        else
                CHECK_RESULT("VM entry", vm_enter(vm), BAD_CONTROLS);
        if (!vmx_cap(ept_vpid, INVEPT) || !vmx_cap(ept_vpid, INVEPT_SINGLE))
                return;
        vm_poison(VMERR_INVALIDATE_OPERAND);
        if (legal)
                CHECK_RESULT("INVEPT", invept(1, &d), SUCCEED);
        else
                CHECK_RESULT("INVEPT", invept(1, &d),
                             FAIL_VALID(VMERR_INVALIDATE_OPERAND));
}

CASE(usable, .id = "capability.ept.usable", .sdm = SDM, .needs = "enable-ept",
     .title = "an EPTP of a reported walk length and memory type enters",
     .rules = "CAP_EPT_NEEDS_WALK_LENGTH CAP_EPT_NEEDS_MEMTYPE")
{
        if (!vmx_cap(ept_vpid, EPT_WALK_4) || !(vmx_cap(ept_vpid, EPT_WB) ||
                                                vmx_cap(ept_vpid, EPT_UC)))
                case_skip("EPT without 4-level walks, or without a memory type");
        else
                check_eptp(guest_env()->eptp, true);
}

FAMILY(walk, 8, .id = "capability.ept.walk", .sdm = SDM, .needs = "enable-ept",
       .title = "EPTP[5:3] is this number: only a reported walk length enters",
       .rules = "CAP_EPT_BIT6_WALK4 CAP_EPT_BIT7_WALK5")
{
        u64 eptp = (guest_env()->eptp & ~BITS(5, 3)) | (u64)row << 3;
        bool legal = (row == 3 && vmx_cap(ept_vpid, EPT_WALK_4)) ||
                     (row == 4 && vmx_cap(ept_vpid, EPT_WALK_5));
        u64 *root = ept_new();

        check_eptp(guest_env()->eptp, true);
        if (row == 4) {
                root[0] = (eptp & BITS(51, 12)) | EPT_RWX;
                eptp = phys(root) | (eptp & BITS(11, 0));
        }
        check_eptp(eptp, legal);
}

FAMILY(memory_type, 8, .id = "capability.ept.memory-type", .sdm = SDM,
       .title = "EPTP[2:0] is this number: only a reported memory type enters",
       .needs = "ept-walk-4", .rules = "CAP_EPT_BIT8_UC CAP_EPT_BIT14_WB")
{
        u64 eptp = (guest_env()->eptp & ~BITS(2, 0)) | row;
        bool legal = (row == 0 && vmx_cap(ept_vpid, EPT_UC)) ||
                     (row == 6 && vmx_cap(ept_vpid, EPT_WB));

        check_eptp(guest_env()->eptp, true);
        check_eptp(eptp, legal);
}

CASE(accessed_dirty, .id = "capability.ept.accessed-dirty", .sdm = SDM,
     .title = "bit 21 allows EPTP[6]", .needs = "ept-walk-4",
     .rules = "CAP_EPT_BIT21_AD")
{
        check_eptp(guest_env()->eptp, true);
        check_eptp(guest_env()->eptp | EPTP_AD, vmx_cap(ept_vpid, EPT_AD));
}

/* With bit 23 = 1 the SDM is at odds with itself about VM entry. */
CASE(shadow_stack, .id = "capability.ept.shadow-stack", .sdm = SDM,
     .title = "EPTP[7] is reserved without bit 23",
     .needs = "ept-walk-4 !ept-shadow-stack", .rules = "CAP_EPT_BIT23_SSS")
{
        check_eptp(guest_env()->eptp, true);
        check_eptp(guest_env()->eptp | BIT(7), false);
}

/* A guest under an identity map of its own; its program is one VMCALL. */
static u64 *begin_mapped(struct vm **vm, u64 *gpa)
{
        static const struct code empty;
        u64 *root = ept_new();

        *vm = vm_begin(GUEST_NATIVE);
        raw_program(*vm, &empty, 0);
        *gpa = (*vm)->entry_rip;
        ept_map_identity(root);
        return root;
}

static void run_mapped(struct vm *vm, const u64 *root, bool legal)
{
        ept_use(root, 0);
        vm_poison(0);
        if (legal)
                CHECK_RESULT("the guest", vm_enter(vm), EXITS(EXIT_VMCALL));
        else
                CHECK_RESULT("the guest", vm_enter(vm),
                             EXITS(EXIT_EPT_MISCONFIGURATION));
}

/* The page of the program, by an entry of this level and these permissions. */
static void run_with_entry(unsigned level, u64 flags, bool legal)
{
        struct vm *vm;
        u64 gpa, *root = begin_mapped(&vm, &gpa);

        run_mapped(vm, root, true);
        root = begin_mapped(&vm, &gpa);
        *ept_entry(root, gpa, level) = (gpa & ~(EPT_PAGE_SIZE(level) - 1)) |
                                       ept_memory_type() | flags;
        run_mapped(vm, root, legal);
}

CASE(execute_only, .id = "capability.ept.execute-only", .sdm = SDM,
     .title = "bit 0 allows entries with execute permission only",
     .needs = "ept-walk-4", .rules = "CAP_EPT_BIT0_XONLY")
{
        run_with_entry(EPT_PTE, EPT_X, vmx_cap(ept_vpid, EPT_EXECUTE_ONLY));
}

CASE(pages_2m, .id = "capability.ept.2m", .sdm = SDM,
     .title = "bit 16 allows page-directory entries that map 2 MBytes",
     .needs = "ept-walk-4", .rules = "CAP_EPT_BIT16_2M")
{
        run_with_entry(EPT_PDE, EPT_RWX | EPT_LARGE, vmx_cap(ept_vpid, EPT_2M));
}

CASE(pages_1g, .id = "capability.ept.1g", .sdm = SDM,
     .title = "bit 17 allows entries that map 1 GByte",
     .needs = "ept-walk-4", .rules = "CAP_EPT_BIT17_1G")
{
        run_with_entry(EPT_PDPTE, EPT_RWX | EPT_LARGE, vmx_cap(ept_vpid, EPT_1G));
}

/* User-accessible, writable and executable by the guest's paging. */
#define ADVANCED (BIT(9) | BIT(10))

CASE(advanced, .id = "capability.ept.advanced-info", .sdm = SDM,
     .title = "bit 22: an EPT violation tells the rights of the linear address",
     .needs = "ept-advanced-info", .rules = "CAP_EPT_BIT22_ADVINFO")
{
        struct vm *vm;
        u64 gpa, *root = begin_mapped(&vm, &gpa);

        *ept_entry(root, gpa, EPT_PTE) = 0;
        ept_use(root, 0);
        vm_poison(0);
        CHECK_RESULT("the guest", vm_enter(vm), EXITS(EXIT_EPT_VIOLATION));
        CHECK_MASKED("bits 8 and 7 of the qualification",
                     vmread(VMCS_EXIT_QUALIFICATION), BIT(8) | BIT(7),
                     BIT(8) | BIT(7));
        CHECK_MASKED("bits 11:9 of the qualification",
                     vmread(VMCS_EXIT_QUALIFICATION), ADVANCED, BITS(11, 9));
}

CASE(no_invept, .id = "capability.ept.invept.absent", .sdm = SDM,
     .title = "INVEPT is undefined without bit 20", .needs = "!invept",
     .rules = "CAP_EPT_BIT20_INVEPT CAP_EPT_INVEPT_TYPES_NEED_BIT20")
{
        vm_begin(GUEST_NATIVE);
        for (ulong type = 0; type < 4; type++)
                CHECK_RESULT("INVEPT", invept(type, &(struct inv_descriptor){ 0 }),
                             FAULT(VEC_UD));
}

struct type_row {
        struct row head;
        u8 type;
        u64 bit;          /* that reports it; 0: never */
};

static const struct type_row invept_rows[] = {
        { ROW("0", "type 0, which is reserved", "CAP_EPT_BIT20_INVEPT"), 0, 0 },
        { ROW("1", "type 1, single-context", "CAP_EPT_BIT25_INVEPT_SINGLE "
              "CAP_EPT_BIT20_INVEPT"), 1, CAP_INVEPT_SINGLE },
        { ROW("2", "type 2, all-context", "CAP_EPT_BIT26_INVEPT_ALL "
              "CAP_EPT_BIT20_INVEPT"), 2, CAP_INVEPT_ALL },
        { ROW("3", "type 3, which is reserved", "CAP_EPT_BIT20_INVEPT"), 3, 0 },
};

TABLE(invept_types, invept_rows, .id = "capability.ept.invept", .sdm = SDM,
      .title = "INVEPT supports exactly the types that are reported",
      .needs = "invept ept-walk-4")
{
        const struct type_row *r = case_row(self, row);
        const struct inv_descriptor d = { guest_env()->eptp, 0 };

        vm_begin(GUEST_NATIVE);
        vm_poison(VMERR_INVALIDATE_OPERAND);
        if (vmx_caps()->ept_vpid & r->bit)
                CHECK_RESULT("INVEPT", invept(r->type, &d), SUCCEED);
        else
                CHECK_RESULT("INVEPT", invept(r->type, &d),
                             FAIL_VALID(VMERR_INVALIDATE_OPERAND));
}

CASE(no_invvpid, .id = "capability.vpid.invvpid.absent", .sdm = SDM,
     .title = "INVVPID is undefined without VPIDs or without bit 32",
     .needs = "!enable-vpid|!invvpid",
     .rules = "CAP_VPID_BIT32_INVVPID CAP_VPID_TYPES_NEED_BIT32 "
              "CAP_VPID_BITS_ZERO_WITHOUT_VPID")
{
        vm_begin(GUEST_NATIVE);
        for (ulong type = 0; type < 5; type++)
                CHECK_RESULT("INVVPID", invvpid(type, &(struct inv_descriptor){ 1, 0 }),
                             FAULT(VEC_UD));
}

static const struct type_row invvpid_rows[] = {
        { ROW("0", "type 0, individual-address", "CAP_VPID_BIT40_TYPE0"), 0,
          CAP_INVVPID_ADDRESS },
        { ROW("1", "type 1, single-context", "CAP_VPID_BIT41_TYPE1"), 1,
          CAP_INVVPID_SINGLE },
        { ROW("2", "type 2, all-context", "CAP_VPID_BIT42_TYPE2"), 2,
          CAP_INVVPID_ALL },
        { ROW("3", "type 3, single-context but globals", "CAP_VPID_BIT43_TYPE3"),
          3, CAP_INVVPID_RETAINING },
        { ROW("4", "type 4, which is reserved"), 4, 0 },
};

TABLE(invvpid_types, invvpid_rows, .id = "capability.vpid.invvpid", .sdm = SDM,
      .title = "INVVPID supports exactly the types that are reported",
      .rules = "CAP_VPID_BIT32_INVVPID", .needs = "enable-vpid invvpid")
{
        const struct type_row *r = case_row(self, row);
        const struct inv_descriptor d = { 1, 0 };

        vm_begin(GUEST_NATIVE);
        vm_poison(VMERR_INVALIDATE_OPERAND);
        if (vmx_caps()->ept_vpid & r->bit)
                CHECK_RESULT("INVVPID", invvpid(r->type, &d), SUCCEED);
        else
                CHECK_RESULT("INVVPID", invvpid(r->type, &d),
                             FAIL_VALID(VMERR_INVALIDATE_OPERAND));
}

CASE(hlat_prefix, .id = "capability.ept.hlat-prefix", .sdm = SDM,
     .title = "HLAT prefix sizes 0 and 1 enter", .needs = "enable-hlat enable-ept",
     .rules = "CAP_EPT_HLAT_PREFIX")
{
        for (u64 size = 0; size < 2 && size <= vmx_cap(ept_vpid, HLAT_PREFIX_MAX);
             size++) {
                struct vm *vm = vm_begin(GUEST_NATIVE);

                ept_use((u64 *)(ulong)(guest_env()->eptp & BITS(51, 12)), 0);
                vm_control(VMCS_PRIMARY_CONTROLS, CTL_PRIMARY_ACTIVATE_TERTIARY, 0);
                vm_control(VMCS_TERTIARY_CONTROLS, CTL_TERTIARY_ENABLE_HLAT, 0);
                vmwrite(VMCS_HLATP, phys(guest_env()->pml4));
                vmwrite(VMCS_HLAT_PREFIX_SIZE, size);
                vm_poison(VMERR_ENTRY_CONTROLS);
                CHECK_RESULT("VM entry", vm_enter(vm), EXITS(EXIT_VMCALL));
        }
}

#define FUNCTIONS "VMX Capability Reporting Facility > VM Functions"

/* The lowest function that the processor does not have; ~0 if it has all. */
static u64 missing_function(u64 unused)
{
        u64 missing = ~vmx_caps()->vmfunc;

        (void)unused;
        return missing & -missing;
}

static void functions(struct vm *vm)
{
        (void)vm;
        vmwrite(VMCS_EPTP, guest_env()->eptp);
        if (vmcs_has(VMCS_EPTP_LIST_ADDRESS))
                vmwrite(VMCS_EPTP_LIST_ADDRESS, phys(page_alloc(1)));
}

#define WITH_FUNCTIONS \
        WITH_SECONDARY(CTL_SECONDARY_ENABLE_EPT | CTL_SECONDARY_ENABLE_VM_FUNCTIONS)

static const struct probe function_probes[] = {
        { ROW("reported", "a function that is not reported",
              "CAP_VMFUNC_ENFORCED"), .prepare = functions,
          .given = EDITS(WITH_FUNCTIONS),
          .accept = EDITS(SET(VM_FUNCTION_CONTROLS, 0)),
          .reject = EDITS(CALC(VM_FUNCTION_CONTROLS, missing_function)),
          .outcome = BAD_CONTROLS },
        { ROW("enabled", "the same, while VM functions are not enabled",
              "CAP_VMFUNC_ENFORCED"), .prepare = functions,
          .given = EDITS(WITH_FUNCTIONS,
                         CALC(VM_FUNCTION_CONTROLS, missing_function)),
          .accept = EDITS(CLEAR(SECONDARY_CONTROLS,
                                CTL_SECONDARY_ENABLE_VM_FUNCTIONS)),
          .outcome = BAD_CONTROLS },
        { ROW("eptp-switching", "EPTP switching needs \"enable EPT\"",
              "CAP_VMFUNC_ENFORCED CAP_VMFUNC_EPTP_NEEDS_EPT", "eptp-switching"),
          .prepare = functions,
          .given = EDITS(WITH_FUNCTIONS, SET(VM_FUNCTION_CONTROLS, 1)),
          .reject = EDITS(CLEAR(SECONDARY_CONTROLS, CTL_SECONDARY_ENABLE_EPT)),
          .outcome = BAD_CONTROLS },
};

PROBES(function, function_probes, .id = "capability.vmfunc", .sdm = FUNCTIONS,
       .title = "VM-function controls", .needs = "enable-vm-functions enable-ept")
