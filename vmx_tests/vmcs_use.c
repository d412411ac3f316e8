/*
 * SDM Vol. 3, Virtual Machine Control Structures > Software Use of the VMCS and
 * Related Structures: fields that are not used, fields that stay as they are,
 * and the structures that fields point to.
 */
#include "lib/check.h"
#include "x86/memory.h"
#include "x86/vmx/event.h"
#include "x86/vmx/instr.h"
#include "x86/vmx/probe.h"

#define SDM_INIT "Virtual Machine Control Structures > Initializing a VMCS"
#define SDM_DATA "Virtual Machine Control Structures > Organization of VMCS Data"
#define SDM_RELATED "Virtual Machine Control Structures > Software Access to Related Structures"
#define SDM_EXECUTIVE "Virtual Machine Control Structures > Executive-VMCS Pointer"

#define GARBAGE 0x5a5a5a5a5a5a5a5a

/* The rejected side shows that the value is wrong for a processor that uses it. */
#define UNUSED(id, name, value, needs, ...)                                   \
        { ROW(id, "a value that is wrong is not used while its control is 0", \
              NULL, needs),                                                   \
          .given = EDITS(SET(name, value)), .reject = EDITS(__VA_ARGS__),     \
          .outcome = BAD_CONTROLS }

static const struct probe unused_fields[] = {
        UNUSED("io-bitmap-a", IO_BITMAP_A, GARBAGE, "use-io-bitmaps",
               OR(PRIMARY_CONTROLS, CTL_PRIMARY_USE_IO_BITMAPS)),
        UNUSED("io-bitmap-b", IO_BITMAP_B, GARBAGE, "use-io-bitmaps",
               OR(PRIMARY_CONTROLS, CTL_PRIMARY_USE_IO_BITMAPS)),
        UNUSED("msr-bitmaps", MSR_BITMAPS, GARBAGE, "use-msr-bitmaps",
               OR(PRIMARY_CONTROLS, CTL_PRIMARY_USE_MSR_BITMAPS)),
        UNUSED("virtual-apic", VIRTUAL_APIC_ADDRESS, GARBAGE, "use-tpr-shadow",
               OR(PRIMARY_CONTROLS, CTL_PRIMARY_USE_TPR_SHADOW)),
        UNUSED("eptp", EPTP, GARBAGE, "enable-ept",
               WITH_SECONDARY(CTL_SECONDARY_ENABLE_EPT)),
        UNUSED("vpid", VPID, 0, "enable-vpid",
               WITH_SECONDARY(CTL_SECONDARY_ENABLE_VPID)),
        UNUSED("apic-access", APIC_ACCESS_ADDRESS, GARBAGE, "virtualize-apic-accesses",
               WITH_SECONDARY(CTL_SECONDARY_VIRTUALIZE_APIC_ACCESSES)),
        UNUSED("vmread-bitmap", VMREAD_BITMAP, GARBAGE, "vmcs-shadowing",
               WITH_SECONDARY(CTL_SECONDARY_VMCS_SHADOWING)),
        UNUSED("secondary", SECONDARY_CONTROLS, 0xffffffff,
               "activate-secondary-controls",
               OR(PRIMARY_CONTROLS, CTL_PRIMARY_ACTIVATE_SECONDARY)),
        UNUSED("tertiary", TERTIARY_CONTROLS, ~0ull, "activate-tertiary-controls",
               OR(PRIMARY_CONTROLS, CTL_PRIMARY_ACTIVATE_TERTIARY)),
};

PROBES(unused, unused_fields, .id = "vmcs.unused",
       .title = "a field that is not used needs no initialisation", .sdm = SDM_INIT,
       .rules = "VMCS_INIT_UNUSED_FIELDS")

struct executive {
        struct row head;
        u64 value;
};

static const struct executive executive_values[] = {
        { ROW("all-ones", "all ones", NULL, NULL), ~0ull },
        { ROW("misaligned", "not a multiple of 4096", NULL, NULL), 0x801 },
        { ROW("beyond-width", "beyond the physical-address width", NULL, NULL),
          0xfff0000000000000 },
        { ROW("nothing-there", "a page without a VMCS", NULL, NULL), 0x1000 },
};

TABLE(executive, executive_values, .id = "vmcs.executive-pointer",
      .title = "the executive-VMCS pointer keeps any value, and no VM entry looks at it",
      .sdm = SDM_EXECUTIVE, .rules = "VMCS_EXECUTIVE_PTR")
{
        const struct executive *x = case_row(self, row);
        struct vm *vm = vm_begin(GUEST_NATIVE);
        ulong value = 0;

        if (!CHECK_RESULT("VMREAD of the field",
                          vmread_raw(VMCS_EXECUTIVE_VMCS_POINTER, &value), SUCCEED))
                return;
        vmwrite(VMCS_EXECUTIVE_VMCS_POINTER, x->value);
        vm_poison(0);
        CHECK_RESULT("VMLAUNCH", vm_launch(vm), EXITS(EXIT_VMCALL));
        CHECK_VMCS(EXECUTIVE_VMCS_POINTER, x->value);
        CHECK_RESULT("VMRESUME", vm_resume(vm), EXITS(EXIT_VMCALL));
        CHECK_VMCS(EXECUTIVE_VMCS_POINTER, x->value);
}

PROGRAM(in_80, NATIVE_BITS, "in $0x80, %al\nvmcall\n");

/* Port 80H is where POST codes are shown: reading it does nothing. */
CASE(related, .id = "vmcs.related-structures",
     .title = "an I/O bitmap that is changed between two entries is obeyed",
     .sdm = SDM_RELATED, .rules = "VMCS_RELATED_STRUCTURES", .needs = "use-io-bitmaps")
{
        struct vm *vm = vm_begin(GUEST_NATIVE);
        u8 *bitmaps = page_alloc(2);

        vm_program(vm, in_80);
        vmwrite(VMCS_IO_BITMAP_A, phys(bitmaps));
        vmwrite(VMCS_IO_BITMAP_B, phys(bitmaps) + PAGE_SIZE);
        vm_control(VMCS_PRIMARY_CONTROLS, CTL_PRIMARY_USE_IO_BITMAPS, 0);
        for (unsigned i = 0; i < 4; i++) {
                bitmaps[0x80 / 8] = i & 1;
                vmwrite(VMCS_GUEST_RIP, vm->entry_rip);
                vm_poison(0);
                if (i & 1)
                        CHECK_EXIT("the port's bit is 1", vm_enter(vm),
                                   EXITS(EXIT_IO_INSTRUCTION));
                else
                        CHECK_EXIT("the port's bit is 0", vm_enter(vm),
                                   EXITS(EXIT_VMCALL));
        }
}

/* Control fields that count in every guest, so that a value of one's own in
 * them would be refused. */
static bool always_counts(u32 field)
{
        switch (field) {
        case VMCS_PIN_CONTROLS:
        case VMCS_PRIMARY_CONTROLS:
        case VMCS_SECONDARY_CONTROLS:
        case VMCS_EXIT_CONTROLS:
        case VMCS_ENTRY_CONTROLS:
        case VMCS_CR3_TARGET_COUNT:
        case VMCS_EXIT_MSR_STORE_COUNT:
        case VMCS_EXIT_MSR_LOAD_COUNT:
        case VMCS_ENTRY_MSR_LOAD_COUNT:
        case VMCS_ENTRY_INTERRUPTION_INFO:
                return true;
        }
        return false;
}

PROGRAM(run_cpuid, NATIVE_BITS, "cpuid\n");
PROGRAM(run_ud2, NATIVE_BITS, "ud2\n");

struct trip {
        struct row head;
        const struct program *program;
        u64 guest_rflags;
        struct vmx_result outcome;
};

static const struct trip trips[] = {
        { ROW("vmcall", "an exit by VMCALL", "INS_ERRFIELD_KEPT_ON_EXIT", NULL),
          &program_vmcall, RFLAGS_FIXED, EXITS(EXIT_VMCALL) },
        { ROW("cpuid", "an exit by CPUID", "INS_ERRFIELD_KEPT_ON_EXIT", NULL),
          &run_cpuid, RFLAGS_FIXED, EXITS(EXIT_CPUID) },
        { ROW("exception", "an exit by an exception", "INS_ERRFIELD_KEPT_ON_EXIT", NULL),
          &run_ud2, RFLAGS_FIXED, EXITS(EXIT_EXCEPTION_NMI) },
        { ROW("entry-failure", "a VM-entry failure", NULL, NULL),
          &program_vmcall, 0, BAD_GUEST },
};

TABLE(untouched, trips, .id = "vmcs.untouched",
      .title = "VM entry and exit change no control, no host state and no error number",
      .sdm = SDM_DATA, .rules = "VMCS_RW_ENTRY_EXIT_UNTOUCHED")
{
        static u64 before[256];
        const struct trip *t = case_row(self, row);
        struct vm *vm = vm_begin(GUEST_NATIVE);

        vm_program(vm, *t->program);
        vmwrite(VMCS_GUEST_RFLAGS, t->guest_rflags);
        vmwrite(VMCS_EXCEPTION_BITMAP, BIT(VEC_UD));  /* of GARBAGE too */
        /* Host RSP is written by vm_enter(): once before it is looked at. */
        vm_poison(0);
        check_result(__FILE__, __LINE__, "first entry", vm_enter(vm), t->outcome);
        vmwrite(VMCS_GUEST_RIP, vm->entry_rip);
        vmwrite(VMCS_GUEST_RFLAGS, t->guest_rflags);
        for (unsigned i = 0; i < vmcs_field_count; i++) {
                u32 field = vmcs_fields[i].encoding;
                enum vmcs_type type = vmcs_type(field);

                if (!vmcs_has(field) ||
                    (type != VMCS_TYPE_CONTROL && type != VMCS_TYPE_HOST))
                        continue;
                if (type == VMCS_TYPE_CONTROL && !always_counts(field))
                        vmwrite(field, GARBAGE + field);
                before[i] = vmread(field);
        }
        vm_poison(0);
        check_result(__FILE__, __LINE__, "VM entry", vm_enter(vm), t->outcome);
        CHECK_VMCS(VM_INSTRUCTION_ERROR, VMERR_UNSUPPORTED_FIELD);
        for (unsigned i = 0; i < vmcs_field_count; i++) {
                u32 field = vmcs_fields[i].encoding;
                enum vmcs_type type = vmcs_type(field);

                if (vmcs_has(field) &&
                    (type == VMCS_TYPE_CONTROL || type == VMCS_TYPE_HOST))
                        CHECK_EQ(vmcs_fields[i].name, vmread(field), before[i]);
        }
}
