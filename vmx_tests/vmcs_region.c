/*
 * SDM Vol. 3, Virtual Machine Control Structures > Format of the VMCS Region,
 * and Overview: the region in memory, and what the processor does with it.
 */
#include "lib/check.h"
#include "lib/string.h"
#include "x86/memory.h"
#include "x86/paging.h"
#include "x86/vmx/instr.h"
#include "x86/vmx/pointer.h"
#include "x86/vmx/probe.h"

#define SDM_FORMAT "Virtual Machine Control Structures > Format of the VMCS Region"
#define SDM_OVERVIEW "Virtual Machine Control Structures > Overview"
#define SDM_TYPES "Virtual Machine Control Structures > VMCS Types: Ordinary and Shadow"
#define SDM_INIT "Virtual Machine Control Structures > Initializing a VMCS"

#define SHADOW 0x80000000u
#define FIELD VMCS_PAGE_FAULT_ERROR_CODE_MATCH

CASE(vmclear_aligned, .id = "vmcs.pointer.vmclear",
     .title = "VMCLEAR takes pointers that are multiples of 4096 alone",
     .sdm = SDM_OVERVIEW, .rules = "VMCS_REG_ALIGN")
{
        pointer_bits_refused(INSN_VMCLEAR, 0, 11, VMERR_VMCLEAR_ADDRESS);
}

CASE(vmptrld_aligned, .id = "vmcs.pointer.vmptrld",
     .title = "VMPTRLD takes pointers that are multiples of 4096 alone",
     .sdm = SDM_OVERVIEW, .rules = "VMCS_REG_ALIGN")
{
        pointer_bits_refused(INSN_VMPTRLD, 0, 11, VMERR_VMPTRLD_ADDRESS);
}

CASE(revision, .id = "vmcs.region.revision",
     .title = "the processor never writes the revision identifier",
     .sdm = SDM_FORMAT, .rules = "VMCS_REG_REVISION_NOT_WRITTEN")
{
        struct vm *vm = vm_new(GUEST_NATIVE);
        volatile u32 *revision = &vm->region->revision;
        u32 before = *revision;

        for (unsigned round = 0; round < 2; round++) {
                vm_clear(vm);
                CHECK_EQ("after VMCLEAR and VMPTRLD", *revision, before);
                vmwrite(FIELD, 0x12345678);
                CHECK_EQ("after VMWRITE", *revision, before);
                CHECK_RESULT("VMLAUNCH", vm_launch(vm), EXITS(EXIT_VMCALL));
                CHECK_EQ("after VMLAUNCH and exit", *revision, before);
                CHECK_RESULT("VMRESUME", vm_resume(vm), EXITS(EXIT_VMCALL));
                CHECK_EQ("after VMRESUME and exit", *revision, before);
                CHECK_RESULT("VMCLEAR", vmclear(&vm->pointer), SUCCEED);
                CHECK_EQ("after VMCLEAR", *revision, before);
        }
}

/* VMCLEAR does not look at what it makes of the region's identifier. */
CASE(revision_any, .id = "vmcs.region.revision-any",
     .title = "VMCLEAR does not write a revision identifier that is not the processor's",
     .sdm = SDM_FORMAT, .rules = "VMCS_REG_REVISION_NOT_WRITTEN")
{
        static const u32 values[] = { 0, ~0u, 0x55555555, 0x2aaaaaaa };
        struct vmcs_region *region;
        u64 pointer;

        vm_begin(GUEST_NATIVE);
        region = vmcs_region_new();
        pointer = phys(region);
        for (unsigned i = 0; i < ARRAY_LEN(values); i++) {
                region->revision = values[i];
                CHECK_RESULT("VMCLEAR", vmclear(&pointer), SUCCEED);
                CHECK_EQ("revision identifier", region->revision, values[i]);
        }
}

CASE(abort_indicator, .id = "vmcs.region.abort-indicator",
     .title = "the VMX-abort indicator does not matter",
     .sdm = SDM_FORMAT, .rules = "VMCS_REG_ABORT_NOT_CHECKED")
{
        static const u32 values[] = { 0, 1, 4, ~0u };
        struct vm *vm = vm_new(GUEST_NATIVE);

        for (unsigned i = 0; i < ARRAY_LEN(values); i++) {
                CHECK_RESULT("VMCLEAR", vmclear(&vm->pointer), SUCCEED);
                vm->region->abort_indicator = values[i];
                CHECK_RESULT("VMPTRLD", vmptrld(&vm->pointer), SUCCEED);
                CHECK_RESULT("VMLAUNCH", vm_launch(vm), EXITS(EXIT_VMCALL));
                CHECK_RESULT("VMRESUME", vm_resume(vm), EXITS(EXIT_VMCALL));
                CHECK_EQ("VMX-abort indicator", vm->region->abort_indicator, values[i]);
                vm->region->abort_indicator = ~values[i];
                CHECK_RESULT("VMRESUME after it was written", vm_resume(vm),
                             EXITS(EXIT_VMCALL));
        }
}

/* The linear address is not the processor's way to the region. */
CASE(memory_type, .id = "vmcs.region.uncacheable-alias",
     .title = "an uncacheable linear mapping of the region makes no difference",
     .sdm = SDM_FORMAT, .rules = "VMCS_REG_MEMTYPE")
{
        struct vm *vm = vm_new(GUEST_NATIVE);

        CHECK_RESULT("VMCLEAR", vmclear(&vm->pointer), SUCCEED);
        paging_set(vm->region, PTE_P | PTE_W | PTE_PCD | PTE_PWT);
        vm_clear(vm);
        vmwrite(FIELD, 0x12345678);
        CHECK_RESULT("VMLAUNCH", vm_launch(vm), EXITS(EXIT_VMCALL));
        CHECK_RESULT("VMRESUME", vm_resume(vm), EXITS(EXIT_VMCALL));
        vm_clear(vm);
        CHECK_EQ("the field", vmread(FIELD), 0x12345678);
}

/* Whatever was in the region, VMCLEAR makes an inactive, clear VMCS of it. */
CASE(uninitialised, .id = "vmcs.region.uninitialised",
     .title = "VMCLEAR of a region with arbitrary contents", .sdm = SDM_OVERVIEW,
     .rules = "VMCS_ST_UNINIT_VMCLEAR")
{
        static const u8 fills[] = { 0xff, 0x01, 0xa5 };
        struct vm *vm = vm_new(GUEST_NATIVE);
        u32 revision = vm->region->revision;

        for (unsigned i = 0; i < ARRAY_LEN(fills); i++) {
                CHECK_RESULT("VMCLEAR", vmclear(&vm->pointer), SUCCEED);
                memset(vm->region, fills[i], sizeof(*vm->region));
                CHECK_RESULT("VMCLEAR of arbitrary bytes", vmclear(&vm->pointer), SUCCEED);
                vm->region->revision = revision;
                CHECK_RESULT("VMPTRLD", vmptrld(&vm->pointer), SUCCEED);
                vm_baseline(vm, GUEST_NATIVE);
                vm_poison(VMERR_VMRESUME_NOT_LAUNCHED);
                CHECK_RESULT("VMRESUME", vm_resume(vm),
                             FAIL_VALID(VMERR_VMRESUME_NOT_LAUNCHED));
                CHECK_RESULT("VMLAUNCH", vm_launch(vm), EXITS(EXIT_VMCALL));
        }
}

/* What its launch state is then, nobody knows: it is not entered. */
CASE(no_vmclear, .id = "vmcs.region.no-vmclear",
     .title = "VMPTRLD of a region that was never VMCLEARed", .sdm = SDM_INIT,
     .rules = "VMCS_ST_NO_VMCLEAR_FIRST")
{
        u64 pointer;

        vm_begin(GUEST_NATIVE);
        pointer = phys(vmcs_region_new());
        CHECK_RESULT("VMPTRLD", vmptrld(&pointer), SUCCEED);
        CHECK_EQ("current-VMCS pointer", current_vmcs(), pointer);
        CHECK_RESULT("VMCLEAR", vmclear(&pointer), SUCCEED);
}

CASE(physical, .id = "vmcs.pointer.alias",
     .title = "the VMCS is known by its physical address, wherever the operand is",
     .sdm = SDM_OVERVIEW, .rules = "VMCS_ST_PHYS_ALIAS")
{
        struct vm *vm = vm_begin(GUEST_NATIVE);
        u64 *operand = page_alloc(1), *alias = (u64 *)(ulong)0x7ffff000;

        paging_map(alias, phys(operand), PTE_P | PTE_W);
        *operand = vm->pointer;
        vmwrite(FIELD, 0x12345678);
        CHECK_RESULT("VMLAUNCH", vm_launch(vm), EXITS(EXIT_VMCALL));
        CHECK_RESULT("VMPTRLD by an alias of the operand", vmptrld(alias), SUCCEED);
        CHECK_EQ("the field", vmread(FIELD), 0x12345678);
        CHECK_RESULT("VMRESUME", vm_resume(vm), EXITS(EXIT_VMCALL));
        CHECK_RESULT("VMCLEAR by an alias of the operand", vmclear(alias), SUCCEED);
        CHECK_EQ("current-VMCS pointer", current_vmcs(), NO_VMCS);
        CHECK_RESULT("VMPTRLD", vmptrld(operand), SUCCEED);
        CHECK_EQ("the field", vmread(FIELD), 0x12345678);
        CHECK_RESULT("VMRESUME after VMCLEAR", vm_resume(vm),
                     FAIL_VALID(VMERR_VMRESUME_NOT_LAUNCHED));
}

#define MANY 64

CASE(many, .id = "vmcs.state.many-active",
     .title = "64 VMCSs are active at once, each with values of its own",
     .sdm = SDM_OVERVIEW, .rules = "VMCS_ST_MANY_ACTIVE VMCS_RW_PERSIST_SWITCH")
{
        static u64 pointers[MANY];

        vm_begin(GUEST_NATIVE);
        for (unsigned i = 0; i < MANY; i++) {
                pointers[i] = phys(vmcs_region_new());
                CHECK_RESULT("VMCLEAR", vmclear(&pointers[i]), SUCCEED);
                CHECK_RESULT("VMPTRLD", vmptrld(&pointers[i]), SUCCEED);
                vmwrite(FIELD, 0x1000 + i);
                vmwrite(VMCS_GUEST_RIP, 0x2000 + i);
                vmwrite(VMCS_TSC_OFFSET, 0x3000000000000000 + i);
                vmwrite(VMCS_HOST_TR_SELECTOR, 0x4000 + i);
        }
        for (unsigned i = 0; i < MANY; i++) {
                CHECK_RESULT("VMPTRLD", vmptrld(&pointers[i]), SUCCEED);
                CHECK_EQ("32-bit control field", vmread(FIELD), 0x1000 + i);
                CHECK_EQ("guest RIP", vmread(VMCS_GUEST_RIP), 0x2000 + i);
                CHECK_EQ("TSC offset", vmread(VMCS_TSC_OFFSET), 0x3000000000000000 + i);
                CHECK_EQ("host TR", vmread(VMCS_HOST_TR_SELECTOR), 0x4000 + i);
        }
}

/* By an entry or its refusal, and by VMREAD, which both types allow. */
CASE(type_switch, .id = "vmcs.type.switch",
     .title = "a region can be ordinary, then shadow, then ordinary again",
     .sdm = SDM_TYPES, .rules = "VMCS_TYPE_SWITCH_AFTER_CLEAR "
                                "INS_VMREAD_ROOT_SHADOW_TYPE INS_VMWRITE_ROOT_SHADOW_TYPE",
     .needs = "vmcs-shadowing")
{
        struct vm *vm = vm_new(GUEST_NATIVE);
        u32 revision = vm->region->revision;

        CHECK_RESULT("VMLAUNCH as ordinary VMCS", vm_launch(vm), EXITS(EXIT_VMCALL));
        CHECK_RESULT("VMCLEAR", vmclear(&vm->pointer), SUCCEED);
        vm->region->revision = revision | SHADOW;
        CHECK_RESULT("VMPTRLD as shadow VMCS", vmptrld(&vm->pointer), SUCCEED);
        CHECK_RESULT("VMWRITE to the shadow VMCS", vmwrite_raw(FIELD, 0x12345678), SUCCEED);
        CHECK_EQ("VMREAD from the shadow VMCS", vmread(FIELD), 0x12345678);
        CHECK_EQ("revision identifier", vm->region->revision, revision | SHADOW);
        CHECK_RESULT("VMCLEAR", vmclear(&vm->pointer), SUCCEED);
        vm->region->revision = revision;
        vm->launched = false;
        CHECK_RESULT("VMPTRLD as ordinary VMCS", vmptrld(&vm->pointer), SUCCEED);
        vm_baseline(vm, GUEST_NATIVE);
        CHECK_RESULT("VMLAUNCH", vm_launch(vm), EXITS(EXIT_VMCALL));
}
