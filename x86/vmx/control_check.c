#include "x86/vmx/control_check.h"
#include "lib/report.h"
#include "x86/memory.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/instr.h"

/* The checks that follow are passed, and fail on the guest state. */
static struct vmx_result enter_defective(struct vm *vm)
{
        vmcs_edit(EDITS(GUEST_DEFECT));
        vm_poison(VMERR_ENTRY_CONTROLS);
        return vm_enter(vm);
}

/*
 * "IA-32e mode guest" and "host address-space size" are also in the checks
 * related to address-space size, which may be reported as either error.
 */
static bool is_size_rule(enum control_word word, u64 mask, bool value)
{
        const bool host64 = sizeof(ulong) == 8;

        if (word == WORD_EXIT && mask == CTL_EXIT_HOST_ADDRESS_SPACE_SIZE)
                return value != host64;
        return word == WORD_ENTRY && mask == CTL_ENTRY_IA32E_MODE_GUEST &&
               value && !host64;
}

static bool is_allowed(enum control_word word, u64 mask, bool value)
{
        /* Never 1 outside SMM, whatever the MSR says. */
        const u64 smm_only = CTL_ENTRY_ENTRY_TO_SMM |
                             CTL_ENTRY_DEACTIVATE_DUAL_MONITOR;

        if (!value)
                return control_can_be_0(word, mask);
        if (word == WORD_ENTRY && mask & smm_only)
                return false;
        return control_can_be_1(word, mask);
}

static void try_setting(enum control_word word, unsigned bit, bool value)
{
        struct vm *vm = vm_begin(GUEST_NATIVE);
        u64 mask = BIT(bit);
        struct vmx_result r;
        const char *what = value ? "VM entry with the bit 1"
                                 : "VM entry with the bit 0";

        vm_valid_fields();
        if (value)
                vm_require(word, mask);
        else
                vm_control(control_word_field(word), 0, mask);
        r = enter_defective(vm);
        if (is_size_rule(word, mask, value))
                check_result_either(__FILE__, __LINE__, what, r,
                                    RESULT(BAD_CONTROLS), RESULT(BAD_HOST));
        else if (is_allowed(word, mask, value))
                CHECK_RESULT(what, r, BAD_GUEST);
        else
                CHECK_RESULT(what, r, BAD_CONTROLS);
}

void control_bit_check(enum control_word word, unsigned bit)
{
        try_setting(word, bit, false);
        /* What a control unknown to the SDM requires, nobody can tell. */
        if (control_find(word, bit) || !control_can_be_1(word, BIT(bit)))
                try_setting(word, bit, true);
}

static struct vmx_result enter_with(enum control_word word, u64 set, u64 clear)
{
        struct vm *vm = vm_begin(GUEST_NATIVE);

        vm_control(control_word_field(word), set, clear);
        vm_poison(VMERR_ENTRY_CONTROLS);
        return vm_enter(vm);
}

void default1_check(enum control_word word, u64 mask)
{
        CHECK_RESULT("VM entry with the control 1", enter_with(word, mask, 0),
                     EXITS(EXIT_VMCALL));
        if (control_can_be_0(word, mask))
                CHECK_RESULT("VM entry with the control 0",
                             enter_with(word, 0, mask), EXITS(EXIT_VMCALL));
        else
                CHECK_RESULT("VM entry with the control 0, that must be 1",
                             enter_with(word, 0, mask), BAD_CONTROLS);
}

void absent_field_check(u32 field)
{
        vm_begin(GUEST_NATIVE);
        vm_poison(VMERR_UNSUPPORTED_FIELD);
        CHECK_RESULT("VMWRITE of a field that every processor has",
                     vmwrite_raw(VMCS_PIN_CONTROLS,
                                 (ulong)vmread(VMCS_PIN_CONTROLS)), SUCCEED);
        CHECK_RESULT("VMWRITE", vmwrite_raw(field, 0),
                     FAIL_VALID(VMERR_UNSUPPORTED_FIELD));
}

unsigned control_address_width(void)
{
        return vmx_caps()->basic & CAP_ADDRESSES_32BIT
               ? 32 : physical_address_width();
}

const struct address_value address_values[ADDRESS_VALUES] = {
        { { .id = "ones" }, ~0ull },
        { { .id = "misaligned" }, 1 },
        { { .id = "bit63" }, 1ull << 63 },
};

static struct vm *begin(const struct edit *controls, u32 field, u64 address)
{
        struct vm *vm = vm_begin(GUEST_NATIVE);

        vmcs_edit(controls);
        vmwrite(field, address);
        vm_poison(VMERR_ENTRY_CONTROLS);
        return vm;
}

/* The guest runs. */
static void enter_valid(const struct address_check *a)
{
        struct vm *vm = begin(a->active, a->field, new_page(0));

        CHECK_RESULT("VM entry with a valid address", vm_enter(vm),
                     EXITS(EXIT_VMCALL));
}

static void report_address(u32 field, u64 address)
{
        report_detail("vmcs", "%s = 0x%llx", vmcs_field_name(field),
                      (unsigned long long)address);
}

/*
 * The guest state is invalid: a processor that does not check the address must
 * not come to use it.
 */
static void refused(const struct address_check *a, u64 address)
{
        struct vm *vm = begin(a->active, a->field, address);

        if (!CHECK_RESULT("VM entry with an address that it cannot have",
                          enter_defective(vm), BAD_CONTROLS))
                report_address(a->field, address);
}

static void passed(const struct edit *controls, u32 field, u64 address)
{
        struct vm *vm = begin(controls, field, address);

        if (!CHECK_RESULT("VM entry with an address that it can have",
                          enter_defective(vm), BAD_GUEST))
                report_address(field, address);
}

/*
 * Memory that nothing else uses: the pools of x86/memory.c fill up from both
 * ends of the first 64 MiB.
 */
#define UNUSED_MEMORY 0x2000000ull

void address_check_bit(const struct address_check *a, unsigned bit)
{
        u64 mask = BIT(bit);

        enter_valid(a);
        if (bit < a->low || bit >= control_address_width())
                refused(a, new_page(0) | mask);
        else if (!a->mapped || mask < MEMORY_LIMIT)
                passed(a->active, a->field, UNUSED_MEMORY | mask);
        else
                case_skip("only .top-of-space takes such an address");
}

void address_check_ignored(const struct address_check *a, unsigned row)
{
        u64 value = address_values[row].value;
        struct vm *vm = begin(a->inactive, a->field, value);

        CHECK_RESULT("VM entry while the address does not count",
                     vm_enter(vm), EXITS(EXIT_VMCALL));
        refused(a, value);
}

void address_check_top(const struct address_check *a)
{
        u64 end = 1ull << control_address_width();

        passed(a->active, a->field, end - BIT(a->low));
        refused(a, end);
}
