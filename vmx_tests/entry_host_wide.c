/*
 * SDM Vol. 3, VM Entries > Checks on the host-state area, in a 32-bit host of a
 * processor with Intel 64: bits 63:32 of natural-width fields, which such a host
 * can not write. They are written in 64-bit mode, outside VMX operation; the
 * VMCS keeps them.
 */
#include "x86/cpu.h"
#include "x86/msr.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/host_state.h"
#include "x86/vmx/instr.h"

#define NEEDS "host32 intel64"

#ifdef __x86_64__
static void vmwrite_wide(struct vm *vm, u32 field, u64 value)
{
        (void)vm;
        vmwrite(field, value);
}
#endif

/* The old value with @high in bits 63:32. */
static struct vmx_result enter_with(const struct edit *given, u32 field, u64 value)
{
        struct vm *vm = vm_begin(GUEST_NATIVE);
        struct vmx_result r;

        vmcs_edit(given);
        vmwrite_wide(vm, field, value);
        vm_poison(VMERR_ENTRY_HOST_STATE);
        r = vm_enter(vm);
        host_restore();
        return r;
}

static void refused_with(const struct edit *given, u32 field, u64 bits)
{
        u64 old;

        vm_begin(GUEST_NATIVE);
        vmcs_edit(given);
        old = vmread(field);
        CHECK_RESULT("bits 63:32 are 0", enter_with(given, field, old),
                     EXITS(EXIT_VMCALL));
        CHECK_RESULT("a bit of 63:32 is 1", enter_with(given, field, old | bits),
                     BAD_HOST);
}

/* In the lower half of the linear-address space, and in the upper. */
static void accepted_with(const struct edit *given, u32 field)
{
        static const u64 high[] = { BITS(45, 32), BITS(63, 32) };

        for (unsigned i = 0; i < ARRAY_LEN(high); i++) {
                u64 old;

                vm_begin(GUEST_NATIVE);
                old = vmread(field);
                CHECK_RESULT("bits 63:32 are not 0, the address is canonical",
                             enter_with(given, field, old | high[i]),
                             EXITS(EXIT_VMCALL));
        }
}

FAMILY(rip, 32, .id = "entry.host.wide.rip.bit-32-plus",
       .title = "host RIP[63:32] must be 0 in a 32-bit host", .sdm = SDM_HOST_SIZE,
       .rules = "ENTH_HAS0_RIP_HIGH", .needs = NEEDS)
{
        refused_with(NULL, VMCS_HOST_RIP, BIT(32 + row));
}

FAMILY(cr0, 32, .id = "entry.host.wide.cr0.bit-32-plus",
       .title = "host CR0[63:32] must be 0", .sdm = SDM_HOST_REGISTERS,
       .rules = "ENTH_CR0_FIXED0_BITS_SET ENTB_32BIT_HOST_SAME_CHECKS",
       .needs = NEEDS)
{
        u64 mask = BIT(32 + row);

        if (vmx_caps()->cr0_fixed1 & mask)
                case_skip("IA32_VMX_CR0_FIXED1 has the bit");
        else
                refused_with(NULL, VMCS_HOST_CR0, mask);
}

/* Bit 32 is CR4.FRED. */
FAMILY(cr4, 32, .id = "entry.host.wide.cr4.bit-32-plus",
       .title = "host CR4[63:32] must be 0 in a 32-bit host",
       .sdm = SDM_HOST_SIZE,
       .rules = "ENTH_CR4_FIXED0_BITS_SET ENTB_32BIT_HOST_SAME_CHECKS",
       .needs = NEEDS)
{
        u64 mask = BIT(32 + row);

        if (row && vmx_caps()->cr4_fixed1 & mask)
                case_skip("IA32_VMX_CR4_FIXED1 has the bit");
        else
                refused_with(NULL, VMCS_HOST_CR4, mask);
}

CASE(fred, .id = "entry.host.wide.cr4.fred",
     .title = "host CR4.FRED must be 0 in a 32-bit host", .sdm = SDM_HOST_SIZE,
     .rules = "ENTH_HAS0_CR4_FRED", .needs = NEEDS " fred")
{
        refused_with(NULL, VMCS_HOST_CR4, BIT(32));
}

FAMILY(cr3, 32, .id = "entry.host.wide.cr3.bit-32-plus",
       .title = "a bit of host CR3 from the physical-address width on must be 0",
       .sdm = SDM_HOST_REGISTERS,
       .rules = "ENTH_CR3_WIDTH ENTB_32BIT_HOST_SAME_CHECKS", .needs = NEEDS)
{
        unsigned bit = 32 + row;

        if (bit < physical_address_width() ||
            ((bit == 61 || bit == 62) && cpuid_bit(7, 1, 'a', 26)))
                case_skip("the processor has bit %u of CR3", bit);
        else
                refused_with(NULL, VMCS_HOST_CR3, BIT(bit));
}

/* What the processor's width makes non-canonical, in any host. */
#define BASE(id_, what, FIELD_) \
        { ROW(id_, what " base"), .field = VMCS_HOST_##FIELD_ }

static const struct field_row {
        struct row head;
        u32 field;
} base_rows[] = {
        BASE("fs", "host FS", FS_BASE), BASE("gs", "host GS", GS_BASE),
        BASE("gdtr", "host GDTR", GDTR_BASE), BASE("idtr", "host IDTR", IDTR_BASE),
        BASE("tr", "host TR", TR_BASE),
};

TABLE(bases, base_rows, .id = "entry.host.wide.base",
      .title = "bases of a 32-bit host are canonical", .sdm = SDM_HOST_SEGMENTS,
      .rules = "ENTH_BASE_32BIT_HOST_HIGH_BITS", .needs = NEEDS)
{
        const struct field_row *r = case_row(self, row);

        refused_with(NULL, r->field, BIT(63));
        refused_with(NULL, r->field, BIT(linear_address_width() - 1));
        refused_with(NULL, r->field, BITS(63, 32) & ~BIT(linear_address_width() - 1));
}

/* Canonical is enough: what the host can not use it may have all the same. */
TABLE(high_bases, base_rows, .id = "entry.host.wide.base-high",
      .title = "bases of a 32-bit host may have bits 63:32", .sdm = SDM_HOST_SEGMENTS,
      .rules = "ENTH_BASE_32BIT_HOST_HIGH_BITS", .needs = NEEDS)
{
        const struct field_row *r = case_row(self, row);

        accepted_with(NULL, r->field);
}

static const struct field_row sysenter_rows[] = {
        BASE("esp", "host IA32_SYSENTER_ESP", SYSENTER_ESP),
        BASE("eip", "host IA32_SYSENTER_EIP", SYSENTER_EIP),
};

TABLE(sysenter, sysenter_rows, .id = "entry.host.wide.sysenter",
      .title = "SYSENTER addresses of a 32-bit host are canonical",
      .sdm = SDM_HOST_REGISTERS, .rules = "ENTH_SYSENTER_CANONICAL",
      .needs = NEEDS)
{
        const struct field_row *r = case_row(self, row);
        const u64 esp = rdmsr(MSR_IA32_SYSENTER_ESP);
        const u64 eip = rdmsr(MSR_IA32_SYSENTER_EIP);

        refused_with(NULL, r->field, BIT(63));
        refused_with(NULL, r->field, BIT(linear_address_width() - 1));
        accepted_with(NULL, r->field);
        wrmsr(MSR_IA32_SYSENTER_ESP, esp);
        wrmsr(MSR_IA32_SYSENTER_EIP, eip);
}

static const struct field_row cet_rows[] = {
        { ROW("s-cet", "host IA32_S_CET", "ENTH_CET_HIGH_HALF_32BIT_HOST",
              "cet-ibt"), .field = VMCS_HOST_S_CET },
        { ROW("ssp", "host SSP", "ENTH_CET_HIGH_HALF_32BIT_HOST"),
          .field = VMCS_HOST_SSP },
};

TABLE(cet, cet_rows, .id = "entry.host.wide.cet",
      .title = "bits 63:32 must be 0 in a 32-bit host", .sdm = SDM_HOST_SIZE,
      .needs = NEEDS " load-cet-state-exit")
{
        const struct field_row *r = case_row(self, row);
        const struct edit *load = EDITS(OR(EXIT_CONTROLS, CTL_EXIT_LOAD_CET_STATE));

        refused_with(load, r->field, BIT(32));
        refused_with(load, r->field, BIT(46));
}

/* This one is not limited to 32 bits. */
CASE(ssp_table, .id = "entry.host.wide.cet.ssp-table",
     .title = "the SSP table of a 32-bit host is canonical", .sdm = SDM_HOST_SIZE,
     .rules = "ENTH_CET_SSP_TABLE_CANONICAL", .needs = NEEDS " load-cet-state-exit")
{
        const struct edit *load = EDITS(OR(EXIT_CONTROLS, CTL_EXIT_LOAD_CET_STATE));
        u64 old = 0;
        bool exists = !rdmsr_safe(MSR_IA32_INTERRUPT_SSP_TABLE_ADDR, &old).raised;

        refused_with(load, VMCS_HOST_INTERRUPT_SSP_TABLE, BIT(63));
        accepted_with(load, VMCS_HOST_INTERRUPT_SSP_TABLE);
        if (exists)
                wrmsr(MSR_IA32_INTERRUPT_SSP_TABLE_ADDR, old);
}

CASE(zero_extension, .id = "entry.host.wide.zero-extension",
     .title = "VMWRITE outside 64-bit mode clears bits 63:32 of the field",
     .sdm = "Virtual Machine Control Structures > VMREAD, VMWRITE, and Encodings "
            "of VMCS Fields",
     .rules = "ENTB_NATURAL_WIDTH_HIGH_HALF_FROM_32BIT", .needs = NEEDS)
{
        struct vm *vm = vm_begin(GUEST_NATIVE);

        vmwrite_wide(vm, VMCS_HOST_SYSENTER_EIP, BIT(63) | 0x1000);
        CHECK_EQ("VMREAD outside 64-bit mode", vmread(VMCS_HOST_SYSENTER_EIP), 0x1000);
        vm_poison(VMERR_ENTRY_HOST_STATE);
        CHECK_RESULT("VM entry, bit 63 is 1", vm_enter(vm), BAD_HOST);
        vmwrite(VMCS_HOST_SYSENTER_EIP, 0x1000);
        CHECK_RESULT("VM entry after a VMWRITE of 32 bits", vm_enter(vm),
                     EXITS(EXIT_VMCALL));
}
