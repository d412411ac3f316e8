/*
 * SDM Vol. 3, Appendix A, VMX Capability Reporting Facility > VMCS Enumeration;
 * and scenario 2-1: a VMM that enumerates everything that VMX can do here, finds
 * it consistent, and starts a guest with what it found. The values themselves
 * are in the fingerprint of every boot.
 */
#include "lib/check.h"
#include "x86/msr.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/guest.h"
#include "x86/vmx/guest_env.h"
#include "x86/vmx/session.h"

#define SDM "VMX Capability Reporting Facility > VMCS Enumeration"

CASE(reserved, .id = "capability.enumeration.reserved", .sdm = SDM,
     .title = "bits 0 and 63:10 are 0", .rules = "CAP_ENUM_RESERVED")
{
        CHECK_MASKED("IA32_VMX_VMCS_ENUM", vmx_caps()->vmcs_enum, 0,
                     BIT(0) | BITS(63, 10));
}

CASE(minimum, .id = "capability.enumeration.minimum", .sdm = SDM,
     .title = "it covers the fields that every processor has",
     .rules = "CAP_ENUM_MINIMUM")
{
        u64 highest = vmx_cap(vmcs_enum, HIGHEST_INDEX);

        CHECK("highest index", highest >= vmcs_index(VMCS_GUEST_SYSENTER_CS),
              "0x%x", (unsigned)highest);
}

CASE(highest, .id = "capability.enumeration.highest", .sdm = SDM,
     .title = "it is the highest index of a field that VMREAD finds",
     .rules = "CAP_ENUM_HIGHEST_INDEX")
{
        const u32 indices = 512;
        u32 found = 0;

        vm_begin(GUEST_NATIVE);
        for (u32 group = 0; group < 16; group++)
                for (u32 index = found; index < indices; index++)
                        if (vmcs_has(vmcs_encoding((enum vmcs_width)(group >> 2),
                                                   (enum vmcs_type)(group & 3),
                                                   index, false)))
                                found = index;
        CHECK_EQ("IA32_VMX_VMCS_ENUM[9:1]", vmx_cap(vmcs_enum, HIGHEST_INDEX),
                 found);
}

/* The steps of the scenario. */
#define SCENARIO "Virtual-Machine Monitor Programming Considerations > " \
                 "Algorithms for Determining VMX Capabilities"

CASE(step_cpuid, .id = "scenario.2-1.cpuid", .sdm = SCENARIO,
     .title = "CPUID reports VMX, and a VMCS region can be made",
     .rules = "CAP_CPUID_VMX_BIT CAP_BASIC_REGION_SIZE CAP_BASIC_MEMTYPE")
{
        u64 size = vmx_cap(basic, REGION_SIZE), type = vmx_cap(basic, MEMORY_TYPE);

        CHECK_EQ("CPUID.01H:ECX.VMX", cpuid(1, 0).c >> 5 & 1, 1);
        CHECK("bytes of a region", size > 0 && size <= sizeof(struct vmcs_region),
              "%u", (unsigned)size);
        CHECK("memory type", type == 0 || type == 6, "%u", (unsigned)type);
}

static unsigned seen;

static void read_again(const char *name, u64 value)
{
        u64 now = 0;

        for (u32 msr = MSR_IA32_VMX_BASIC; msr < MSR_IA32_VMX_BASIC + 32; msr++)
                if (vmx_caps()->present & 1u << (msr - MSR_IA32_VMX_BASIC) &&
                    rdmsr(msr) == value)
                        now = value;
        CHECK_EQ(name, now, value);
        seen++;
}

CASE(step_msrs, .id = "scenario.2-1.msrs", .sdm = SCENARIO,
     .title = "every capability MSR that must exist does, and is as it was read",
     .rules = "CAP_MSR_MANDATORY_SET CAP_STABLE_VALUES")
{
        u32 present = vmx_caps()->present, count = 0;

        for (; present; present &= present - 1)
                count++;
        CHECK_EQ("MSRs that should exist and faulted", vmx_caps()->missing, 0);
        seen = 0;
        vmx_caps_each(read_again);
        CHECK_EQ("MSRs enumerated", seen, count);
}

CASE(step_controls, .id = "scenario.2-1.controls", .sdm = SCENARIO,
     .title = "every control has a value that is allowed",
     .rules = "CAP_PIN_MUST1_IS_ALLOWED1 CAP_PROC_MUST1_IS_ALLOWED1 "
              "CAP_EXIT_MUST1_IS_ALLOWED1 CAP_ENTRY_MUST1_IS_ALLOWED1")
{
        for (unsigned word = 0; word < CONTROL_WORDS; word++) {
                const struct control_limits *l = &vmx_caps()->limits[word];
                const struct control_limits *p = &vmx_caps()->plain_limits[word];

                CHECK_EQ(control_word_name((enum control_word)word),
                         l->must & ~l->may, 0);
                CHECK_EQ("the same by the plain MSR", p->must & ~p->may, 0);
                CHECK_EQ("settings for nothing",
                         control_settings((enum control_word)word, 0), l->must);
                CHECK_EQ("settings for everything",
                         control_settings((enum control_word)word, ~0ull), l->may);
        }
}

CASE(step_words, .id = "scenario.2-1.words", .sdm = SCENARIO,
     .title = "a word of controls exists where another one can activate it",
     .rules = "CAP_SEC_IMPLIES_ACTIVATE CAP_EXIT2_IMPLIES_ACTIVATE")
{
        const struct vmx_caps *c = vmx_caps();

        CHECK_EQ("secondary controls without their activation",
                 control_can_be_1(WORD_PRIMARY, CTL_PRIMARY_ACTIVATE_SECONDARY)
                 ? 0 : c->limits[WORD_SECONDARY].may, 0);
        CHECK_EQ("tertiary controls without their activation",
                 control_can_be_1(WORD_PRIMARY, CTL_PRIMARY_ACTIVATE_TERTIARY)
                 ? 0 : c->limits[WORD_TERTIARY].may, 0);
        CHECK_EQ("secondary VM-exit controls without their activation",
                 control_can_be_1(WORD_EXIT, (u32)CTL_EXIT_ACTIVATE_SECONDARY)
                 ? 0 : c->limits[WORD_SECONDARY_EXIT].may, 0);
        vm_begin(GUEST_NATIVE);
        CHECK_EQ("secondary controls in the VMCS",
                 vmcs_has(VMCS_SECONDARY_CONTROLS),
                 control_can_be_1(WORD_PRIMARY, CTL_PRIMARY_ACTIVATE_SECONDARY));
}

CASE(step_registers, .id = "scenario.2-1.registers", .sdm = SCENARIO,
     .title = "CR0 and CR4 have values that VMX operation supports",
     .rules = "CAP_CR0_FIXED_CONSISTENT CAP_CR4_FIXED_CONSISTENT "
              "CAP_CR4_FIXED0_VMXE")
{
        const struct vmx_caps *c = vmx_caps();

        vmx_on();
        CHECK_EQ("CR0 bits fixed to both", c->cr0_fixed0 & ~c->cr0_fixed1, 0);
        CHECK_EQ("CR4 bits fixed to both", c->cr4_fixed0 & ~c->cr4_fixed1, 0);
        CHECK_EQ("CR0 in VMX operation", read_cr0(), vmx_cr0(read_cr0()));
        CHECK_EQ("CR4 in VMX operation", read_cr4(), vmx_cr4(read_cr4()));
        CHECK_MASKED("CR4", read_cr4(), ~0u, CR4_VMXE);
}

CASE(step_guest, .id = "scenario.2-1.guest", .sdm = SCENARIO,
     .title = "a guest with exactly what must be runs, and again with EPT and VPID",
     .rules = "CAP_MINIMAL_SETTINGS_ENTER CAP_EPT_NEEDS_WALK_LENGTH "
              "CAP_EPT_NEEDS_MEMTYPE")
{
        struct vm *vm = vm_begin(GUEST_NATIVE);

        CHECK_RESULT("the guest", vm_enter(vm), EXITS(EXIT_VMCALL));
        vm = vm_begin(GUEST_NATIVE);
        if (control_can_be_1(WORD_SECONDARY, CTL_SECONDARY_ENABLE_VPID)) {
                vmcs_edit(EDITS(WITH_SECONDARY(CTL_SECONDARY_ENABLE_VPID)));
                vmwrite(VMCS_VPID, 1);
        }
        if (control_can_be_1(WORD_SECONDARY, CTL_SECONDARY_ENABLE_EPT)) {
                vmcs_edit(EDITS(WITH_SECONDARY(CTL_SECONDARY_ENABLE_EPT)));
                vmwrite(VMCS_EPTP, guest_env()->eptp);
        }
        vm_poison(VMERR_ENTRY_CONTROLS);
        CHECK_RESULT("the guest with EPT and VPID", vm_enter(vm),
                     EXITS(EXIT_VMCALL));
}
