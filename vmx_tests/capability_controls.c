/*
 * SDM Vol. 3, Appendix A, VMX Capability Reporting Facility > Reserved Controls
 * and Default Settings, VM-Execution Controls, VM-Exit Controls, VM-Entry
 * Controls: the MSRs of the controls agree with each other and with VM entry.
 * Each single bit at VM entry: the cases of the checks on VMX controls.
 */
#include "lib/check.h"
#include "lib/string.h"
#include "x86/msr.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/probe.h"
#include "x86/vmx/raw.h"

#define SDM "VMX Capability Reporting Facility > Reserved Controls and Default Settings"

/* The words that have a default1 class: SDM, the same section. */
struct word_row {
        struct row head;
        u8 word;
        u32 default1;
        size_t plain, limits;  /* the plain and the TRUE MSR in struct vmx_caps */
};

#define WORD_ROW(ID, RULES, WORD, DEFAULT1, PLAIN, LIMITS)                     \
        { .head = { .id = ID, .title = ID, .rules = RULES }, .word = WORD,     \
          .default1 = DEFAULT1, .plain = offsetof(struct vmx_caps, PLAIN),     \
          .limits = offsetof(struct vmx_caps, LIMITS) }
/* One row a word; @RULE is the end of the rules' ids. */
#define WORD_ROWS(RULE)                                                        \
        WORD_ROW("pin", "CAP_PIN_" RULE, WORD_PIN, 0x00000016, pinbased,       \
                 true_pinbased),                                               \
        WORD_ROW("primary", "CAP_PROC_" RULE, WORD_PRIMARY, 0x0401e172,        \
                 procbased, true_procbased),                                   \
        WORD_ROW("exit", "CAP_EXIT_" RULE, WORD_EXIT, 0x00036dff, exit,        \
                 true_exit),                                                   \
        WORD_ROW("entry", "CAP_ENTRY_" RULE, WORD_ENTRY, 0x000011ff, entry,    \
                 true_entry)

#define WORD_TABLE(NAME, RULE, ...)                                            \
        static const struct word_row NAME##_rows[] = { WORD_ROWS(RULE) };      \
        TABLE(NAME, NAME##_rows, .sdm = SDM, __VA_ARGS__)

static u64 msr_at(size_t offset)
{
        u64 value;

        memcpy(&value, (const u8 *)vmx_caps() + offset, sizeof(value));
        return value;
}

/* Of a capability MSR: the controls that must be 1, and that can be 1. */
static u32 low(u64 msr)
{
        return (u32)msr;
}

static u32 high(u64 msr)
{
        return (u32)(msr >> 32);
}

WORD_TABLE(default1_set, "DEFAULT1_SET", .id = "capability.controls.default1",
           .title = "the plain MSR has every default1 control as one that must be 1")
{
        const struct word_row *r = case_row(self, row);

        CHECK_MASKED("allowed 0-settings", low(msr_at(r->plain)), ~0u,
                     r->default1);
}

WORD_TABLE(default1_allowed, "DEFAULT1_ALLOWED1",
           .id = "capability.controls.default1-can-be-1",
           .title = "every default1 control can be 1")
{
        const struct word_row *r = case_row(self, row);

        CHECK_MASKED("allowed 1-settings", high(msr_at(r->plain)), ~0u,
                     r->default1);
}

WORD_TABLE(must_be_allowed, "MUST1_IS_ALLOWED1",
           .id = "capability.controls.must-be-1",
           .title = "a control that must be 1 can be 1")
{
        const struct word_row *r = case_row(self, row);
        u64 plain = msr_at(r->plain), real = msr_at(r->limits);

        CHECK_EQ("controls that must be 1 and can not", low(plain) & ~high(plain),
                 0);
        if (vmx_cap(basic, TRUE_CONTROLS))
                CHECK_EQ("the same by the TRUE MSR", low(real) & ~high(real), 0);
}

WORD_TABLE(same_allowed, "TRUE_ALLOWED1_EQUAL",
           .id = "capability.controls.true.can-be-1",
           .title = "the TRUE MSR has the plain one's allowed 1-settings",
           .needs = "true-controls")
{
        const struct word_row *r = case_row(self, row);

        CHECK_EQ("allowed 1-settings of the TRUE MSR", high(msr_at(r->limits)),
                 high(msr_at(r->plain)));
}

WORD_TABLE(true_must, "TRUE_ALLOWED0", .id = "capability.controls.true.can-be-0",
           .title = "the TRUE MSR lets only default1 controls be 0 besides",
           .needs = "true-controls")
{
        const struct word_row *r = case_row(self, row);
        u32 plain = low(msr_at(r->plain)), real = low(msr_at(r->limits));

        CHECK_EQ("must be 1 by the TRUE MSR only", real & ~plain, 0);
        CHECK_EQ("must be 1 by the plain MSR only, and not default1",
                 plain & ~real & ~r->default1, 0);
}

/* VM entry with the word at this value, all else as in the baseline. */
static struct vmx_result enter_with(const struct word_row *r, u64 value)
{
        struct vm *vm = vm_begin(GUEST_NATIVE);

        vmwrite(control_word_field((enum control_word)r->word), value);
        vm_poison(VMERR_ENTRY_CONTROLS);
        return vm_enter(vm);
}

static u64 baseline_of(const struct word_row *r)
{
        vm_begin(GUEST_NATIVE);
        return vmread(control_word_field((enum control_word)r->word));
}

/* The lowest control that must have the value that it has in the MSR. */
static void check_enforced(const struct word_row *r, u64 fixed)
{
        u64 base = baseline_of(r), bit = fixed & -fixed;
        struct vm *vm;

        if (!bit) {
                case_skip("no control of this word is fixed so");
                return;
        }
        CHECK_RESULT("VM entry with the right value", enter_with(r, base),
                     EXITS(EXIT_VMCALL));
        CHECK_RESULT("VM entry with the other value", enter_with(r, base ^ bit),
                     FAIL_VALID(VMERR_ENTRY_CONTROLS));
        vm = vm_begin(GUEST_NATIVE);
        vmwrite(control_word_field((enum control_word)r->word), base ^ bit);
        CHECK_RESULT("VM entry again", vm_enter(vm),
                     FAIL_VALID(VMERR_ENTRY_CONTROLS));
        vmwrite(control_word_field((enum control_word)r->word), base);
        CHECK_RESULT("VMRESUME", vm_resume(vm),
                     FAIL_VALID(VMERR_VMRESUME_NOT_LAUNCHED));
        CHECK_RESULT("VMLAUNCH", vm_launch(vm), EXITS(EXIT_VMCALL));
}

WORD_TABLE(enforced_0, "ENFORCED_ALLOWED0",
           .id = "capability.controls.enforced.must-be-1",
           .title = "VM entry refuses 0 in a control that must be 1")
{
        const struct word_row *r = case_row(self, row);

        check_enforced(r, vmx_caps()->limits[r->word].must);
}

WORD_TABLE(enforced_1, "ENFORCED_ALLOWED1",
           .id = "capability.controls.enforced.must-be-0",
           .title = "VM entry refuses 1 in a control that can not be 1")
{
        const struct word_row *r = case_row(self, row);

        check_enforced(r, ~vmx_caps()->limits[r->word].may & BITS(31, 0));
}

WORD_TABLE(no_true, "BASIC55_CLEAR_DEFAULT1",
           .id = "capability.controls.default1.required",
           .title = "without the TRUE MSRs every default1 control must be 1",
           .needs = "!true-controls")
{
        const struct word_row *r = case_row(self, row);
        u64 base = baseline_of(r);

        CHECK_RESULT("VM entry with all of them", enter_with(r, base),
                     EXITS(EXIT_VMCALL));
        for (unsigned bit = 0; bit < 32; bit++)
                if (r->default1 & BIT(bit))
                        CHECK_RESULT("VM entry without one of them",
                                     enter_with(r, base & ~BIT(bit)),
                                     FAIL_VALID(VMERR_ENTRY_CONTROLS));
}

WORD_TABLE(flexible, "TRUE_DEFAULT1_FLEX",
           .id = "capability.controls.default1.flexible",
           .title = "a default1 control that can be 0 by the TRUE MSR is not checked",
           .needs = "true-controls")
{
        const struct word_row *r = case_row(self, row);
        u32 flexible = r->default1 & ~low(msr_at(r->limits));
        u64 base = baseline_of(r);

        if (!flexible) {
                case_skip("none of this word's can be 0");
                return;
        }
        CHECK_MASKED("the baseline", base, 0, flexible);
        CHECK_RESULT("VM entry with all of them 0", enter_with(r, base),
                     EXITS(EXIT_VMCALL));
        for (unsigned bit = 0; bit < 32; bit++)
                if (flexible & BIT(bit))
                        CHECK_RESULT("VM entry with one of them 1",
                                     enter_with(r, base | BIT(bit)),
                                     EXITS(EXIT_VMCALL));
}

CASE(secondary, .id = "capability.controls.secondary.can-be-0", .sdm =
     "VMX Capability Reporting Facility > VM-Execution Controls > Secondary "
     "Processor-Based VM-Execution Controls",
     .title = "no secondary control must be 1", .rules = "CAP_SEC_ALLOWED0_ALL",
     .needs = "activate-secondary-controls")
{
        CHECK_EQ("bits 31:0 of IA32_VMX_PROCBASED_CTLS2",
                 low(vmx_caps()->procbased2), 0);
}

/* Words of which no control must be 1, looked at only if another is 1. */
struct gated_row {
        struct row head;
        u8 word;
        u16 field, gate_field;
        u64 gate;
};

static const struct gated_row gated_rows[] = {
        { ROW("secondary", "secondary processor-based controls",
              "CAP_SEC_ENFORCED_ALLOWED1", "activate-secondary-controls"),
          WORD_SECONDARY, VMCS_SECONDARY_CONTROLS, VMCS_PRIMARY_CONTROLS,
          CTL_PRIMARY_ACTIVATE_SECONDARY },
        { ROW("tertiary", "tertiary processor-based controls",
              "CAP_TER_ENFORCED_ALLOWED1", "activate-tertiary-controls"),
          WORD_TERTIARY, VMCS_TERTIARY_CONTROLS, VMCS_PRIMARY_CONTROLS,
          CTL_PRIMARY_ACTIVATE_TERTIARY },
        { ROW("secondary-exit", "secondary VM-exit controls",
              "CAP_EXIT2_ENFORCED_ALLOWED1", "activate-secondary-controls-exit"),
          WORD_SECONDARY_EXIT, VMCS_SECONDARY_EXIT_CONTROLS, VMCS_EXIT_CONTROLS,
          (u32)CTL_EXIT_ACTIVATE_SECONDARY },
};

static struct vmx_result enter_gated(const struct gated_row *r, u64 gate,
                                     u64 value)
{
        struct vm *vm = vm_begin(GUEST_NATIVE);

        vm_control(r->gate_field, gate, gate ^ r->gate);
        vmwrite(r->field, value);
        vm_poison(VMERR_ENTRY_CONTROLS);
        return vm_enter(vm);
}

TABLE(gated, gated_rows, .id = "capability.controls.gated", .sdm = SDM,
      .title = "a control that can not be 1 is refused where its word is in use")
{
        const struct gated_row *r = case_row(self, row);
        u64 width = r->word == WORD_SECONDARY ? BITS(31, 0) : ~0ull;
        u64 never = ~vmx_caps()->limits[r->word].may & width;
        u64 bit = never & -never;

        CHECK_RESULT("VM entry, the word in use, all 0",
                     enter_gated(r, r->gate, 0), EXITS(EXIT_VMCALL));
        CHECK_RESULT("VM entry, the word not in use, the control 1",
                     enter_gated(r, 0, bit), EXITS(EXIT_VMCALL));
        if (bit)
                CHECK_RESULT("VM entry, the word in use, the control 1",
                             enter_gated(r, r->gate, bit),
                             FAIL_VALID(VMERR_ENTRY_CONTROLS));
}

CASE(intel64, .id = "capability.controls.intel64",
     .sdm = "VMX Capability Reporting Facility > VM-Exit Controls",
     .title = "64-bit hosts and guests exist only with Intel 64 architecture",
     .rules = "CAP_INTEL64_HOST_ADDR_SPACE CAP_INTEL64_IA32E_GUEST")
{
        bool intel64 = cpuid_bit(0x80000001, 0, 'd', 29);
        bool host = control_can_be_1(WORD_EXIT, CTL_EXIT_HOST_ADDRESS_SPACE_SIZE);
        bool guest = control_can_be_1(WORD_ENTRY, CTL_ENTRY_IA32E_MODE_GUEST);

        CHECK("\"host address-space size\"", !host || intel64, "can be 1");
        CHECK("\"IA-32e mode guest\"", !guest || intel64, "can be 1");
        if (host && guest && sizeof(ulong) == 8)
                CHECK_RESULT("VM entry", vm_enter(vm_begin(GUEST_LONG)),
                             EXITS(EXIT_VMCALL));
}
