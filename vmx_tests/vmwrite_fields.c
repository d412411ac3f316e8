/*
 * SDM Vol. 3, VMX Instruction Reference > VMWRITE: which fields it writes, and
 * what it leaves alone.
 */
#include "lib/check.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/instr.h"
#include "x86/vmx/session.h"

#define SDM "VMX Instruction Reference > VMWRITE"

struct read_only {
        struct row head;
        u32 field;
};

#define READ_ONLY(id, name, needs) \
        { { id, "a VM-exit information field", NULL, needs }, VMCS_##name }

static const struct read_only read_only_fields[] = {
        READ_ONLY("0x4400", VM_INSTRUCTION_ERROR, NULL),
        READ_ONLY("0x4402", EXIT_REASON, NULL),
        READ_ONLY("0x4404", EXIT_INTERRUPTION_INFO, NULL),
        READ_ONLY("0x4406", EXIT_INTERRUPTION_ERROR_CODE, NULL),
        READ_ONLY("0x4408", IDT_VECTORING_INFO, NULL),
        READ_ONLY("0x440a", IDT_VECTORING_ERROR_CODE, NULL),
        READ_ONLY("0x440c", EXIT_INSTRUCTION_LENGTH, NULL),
        READ_ONLY("0x440e", EXIT_INSTRUCTION_INFO, NULL),
        READ_ONLY("0x6400", EXIT_QUALIFICATION, NULL),
        READ_ONLY("0x6402", IO_RCX, NULL),
        READ_ONLY("0x6404", IO_RSI, NULL),
        READ_ONLY("0x6406", IO_RDI, NULL),
        READ_ONLY("0x6408", IO_RIP, NULL),
        READ_ONLY("0x640a", GUEST_LINEAR_ADDRESS, NULL),
        READ_ONLY("0x2400", GUEST_PHYSICAL_ADDRESS, "enable-ept"),
        READ_ONLY("0x2401", GUEST_PHYSICAL_ADDRESS | 1, "enable-ept"),
        READ_ONLY("0x2402", MSR_DATA, "enable-msr-list-instructions"),
        READ_ONLY("0x2403", MSR_DATA | 1, "enable-msr-list-instructions"),
        READ_ONLY("0x2404", ORIGINAL_EVENT_DATA, "fred"),
        READ_ONLY("0x2405", ORIGINAL_EVENT_DATA | 1, "fred"),
};

TABLE(refused, read_only_fields, .id = "vmwrite.read-only",
      .title = "VMWRITE of it fails with error 13, and leaves it as it was",
      .sdm = SDM, .rules = "INS_VMWRITE_READONLY", .needs = "!vmwrite-any-field")
{
        const struct read_only *f = case_row(self, row);
        u64 before;

        vm_begin(GUEST_NATIVE);
        CHECK_RESULT("VMWRITE of a control field",
                     vmwrite_raw(VMCS_EXCEPTION_BITMAP, 0), SUCCEED);
        vm_poison(VMERR_READ_ONLY_FIELD);
        if (!CHECK("VMREAD of the field", vmcs_has(f->field), "it fails"))
                return;
        before = vmread(f->field);
        CHECK_RESULT("VMWRITE", vmwrite_raw(f->field, (ulong)~before),
                     FAIL_VALID(VMERR_READ_ONLY_FIELD));
        if (f->field == VMCS_VM_INSTRUCTION_ERROR)
                before = VMERR_READ_ONLY_FIELD;
        CHECK_EQ("the field", vmread(f->field), before);
}

TABLE(allowed, read_only_fields, .id = "vmwrite.read-only-writable",
      .title = "VMWRITE writes it where IA32_VMX_MISC[29] is 1",
      .sdm = SDM, .rules = "INS_VMWRITE_READONLY_ALLOWED",
      .needs = "vmwrite-any-field")
{
        static const u64 values[] = { 0, ~0ull, 0x5555555555555555, 0x0123456789abcdef };
        const struct read_only *f = case_row(self, row);
        unsigned bits = vmcs_field_bits(f->field, 8 * sizeof(ulong));

        vm_begin(GUEST_NATIVE);
        for (unsigned i = 0; i < ARRAY_LEN(values); i++) {
                vm_poison(0);
                if (!CHECK_RESULT("VMWRITE", vmwrite_raw(f->field, (ulong)values[i]),
                                  SUCCEED))
                        return;
                CHECK_EQ("the field", vmread(f->field),
                         (ulong)values[i] & BITS(bits - 1, 0));
        }
}

struct unchecked {
        struct row head;
        u32 field;
        u64 value;
};

static const struct unchecked unchecked[] = {
        { { "pin-controls", "reserved bits of controls", NULL, NULL },
          VMCS_PIN_CONTROLS, 0xffffffff },
        { { "entry-controls", "reserved bits of controls", NULL, NULL },
          VMCS_ENTRY_CONTROLS, 0 },
        { { "io-bitmap", "an I/O-bitmap address that is not aligned", NULL, NULL },
          VMCS_IO_BITMAP_A, 0xfff },
        { { "msr-count", "a VM-exit MSR-load count", NULL, NULL },
          VMCS_EXIT_MSR_LOAD_COUNT, 0xffffffff },
        { { "host-rip", "a host RIP that is not canonical", NULL, "host64" },
          VMCS_HOST_RIP, 0x8000000000000000 },
        { { "host-cs", "a null selector for the host's CS", NULL, NULL },
          VMCS_HOST_CS_SELECTOR, 0 },
        { { "guest-cr0", "a guest CR0 that can not be", NULL, NULL },
          VMCS_GUEST_CR0, 0 },
        { { "link-pointer", "a VMCS link pointer that is not aligned", NULL, NULL },
          VMCS_VMCS_LINK_POINTER, 1 },
        { { "activity", "an activity state that does not exist", NULL, NULL },
          VMCS_GUEST_ACTIVITY_STATE, 0xffffffff },
};

TABLE(no_check, unchecked, .id = "vmwrite.not-checked",
      .title = "VMWRITE does not judge the value", .sdm = SDM,
      .rules = "INS_VMWRITE_NO_VALUE_CHECK")
{
        const struct unchecked *f = case_row(self, row);

        vm_begin(GUEST_NATIVE);
        CHECK_RESULT("VMWRITE", vmwrite_raw(f->field, (ulong)f->value), SUCCEED);
        if (sizeof(ulong) < sizeof(u64) && vmcs_width(f->field) == VMCS_WIDTH_64)
                CHECK_RESULT("VMWRITE of the upper half",
                             vmwrite_raw(f->field | 1, (ulong)(f->value >> 32)), SUCCEED);
        CHECK_EQ("the field", vmread(f->field), f->value);
}

CASE(launch_state, .id = "vmwrite.launch-state",
     .title = "no VMWRITE changes the launch state, the revision or the abort indicator",
     .sdm = SDM, .rules = "INS_VMWRITE_LAUNCH_STATE VMCS_REG_REVISION_NOT_WRITTEN")
{
        static u64 saved[256];
        struct vm *vm = vm_begin(GUEST_NATIVE);
        u32 revision = vm->region->revision;

        CHECK_RESULT("VMLAUNCH", vm_launch(vm), EXITS(EXIT_VMCALL));
        for (unsigned i = 0; i < vmcs_field_count; i++) {
                u32 field = vmcs_fields[i].encoding;
                bool writable = vmcs_type(field) != VMCS_TYPE_READ_ONLY;

                if (!vmcs_has(field) || (!writable && !vm_can_poison_exit()))
                        continue;
                saved[i] = vmread(field);
                vmwrite(field, ~0ull);
        }
        CHECK_RESULT("VMLAUNCH with all fields all ones", vm_launch(vm),
                     FAIL_VALID(VMERR_VMLAUNCH_NOT_CLEAR));
        for (unsigned i = 0; i < vmcs_field_count; i++) {
                u32 field = vmcs_fields[i].encoding;
                bool writable = vmcs_type(field) != VMCS_TYPE_READ_ONLY;

                if (vmcs_has(field) && (writable || vm_can_poison_exit()))
                        vmwrite(field, saved[i]);
        }
        CHECK_RESULT("VMRESUME with the fields restored", vm_resume(vm),
                     EXITS(EXIT_VMCALL));
        vm_clear(vm);
        CHECK_EQ("revision identifier", vm->region->revision, revision);
        CHECK_EQ("VMX-abort indicator", vm->region->abort_indicator, 0);
}
