/*
 * Scenario: a VMM that initialises its VMXON region and one VMCS for each of
 * several guests, switches between them, and dumps and compares their fields.
 * SDM Vol. 3, Virtual Machine Control Structures.
 *
 * Each case runs the scenario from its beginning to its own step.
 */
#include "lib/check.h"
#include "x86/memory.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/event.h"
#include "x86/vmx/instr.h"
#include "x86/vmx/raw.h"
#include "x86/vmx/session.h"

#define SDM "Virtual Machine Control Structures > Software Use of Virtual-Machine Control Structures"

/* Each counts in (E)BX by a number of its own, exits by an instruction of its
 * own, and goes on behind it. */
PROGRAM(by_cpuid, NATIVE_BITS, "1: add $3, %ebx\ncpuid\njmp 1b\n");
PROGRAM(by_vmcall, 32, "1: add $5, %ebx\nvmcall\njmp 1b\n");
PROGRAM(by_invd, NATIVE_BITS, "1: add $7, %ebx\ninvd\njmp 1b\n");
PROGRAM(by_cpuid_16, 16, "1: add $11, %ebx\ncpuid\njmp 1b\n");

static const struct {
        const char *name;
        enum guest_mode mode;
        const struct program *program;
        u32 reason, step;
} kinds[] = {
        { "guest 0, native, CPUID", GUEST_NATIVE, &by_cpuid, EXIT_CPUID, 3 },
        { "guest 1, PAE, VMCALL", GUEST_PAE, &by_vmcall, EXIT_VMCALL, 5 },
        { "guest 2, native, INVD", GUEST_NATIVE, &by_invd, EXIT_INVD, 7 },
        { "guest 3, virtual-8086, CPUID", GUEST_V86, &by_cpuid_16, EXIT_CPUID, 11 },
};

#define GUESTS ARRAY_LEN(kinds)
#define ROUNDS 5
#define MAX_FIELDS 256

struct guest {
        struct vm *vm;
        unsigned exits;
        u64 dump[MAX_FIELDS];
};

static struct guest guests[GUESTS];

/* One word of each guest's own in a field that no guest uses. */
#define MARK_FIELD VMCS_PAGE_FAULT_ERROR_CODE_MATCH
static u32 mark_of(unsigned i)
{
        return 0x3e1d0000u + i;
}

/* A VMXON region of the scenario's own; VMX operation begins with it. */
static void enter_operation(void)
{
        struct vmcs_region *region;
        u64 pointer;
        struct vmx_result r;

        vmx_off();
        vmx_prepare();
        region = vmcs_region_new();
        pointer = phys(region);
        CHECK_EQ("revision identifier", region->revision,
                 vmx_caps()->basic & 0x7fffffff);
        r = vmxon(&pointer);
        if (CHECK_RESULT("VMXON", r, SUCCEED))
                vmx_set_operating(true);
        CHECK_EQ("current-VMCS pointer", current_vmcs(), NO_VMCS);
}

/* Each guest has a VMCS, initialised by VMCLEAR, VMPTRLD and VMWRITE. */
static void make_guests(void)
{
        for (unsigned i = 0; i < GUESTS; i++) {
                guests[i] = (struct guest){ .vm = vm_new(kinds[i].mode) };
                vm_program(guests[i].vm, *kinds[i].program);
                guests[i].vm->regs.rbx = 0;
                vmwrite(MARK_FIELD, mark_of(i));
                CHECK_EQ("current-VMCS pointer", current_vmcs(), guests[i].vm->pointer);
        }
        for (unsigned i = 0; i < GUESTS; i++) {
                vm_load(guests[i].vm);
                CHECK_EQ(kinds[i].name, vmread(MARK_FIELD), mark_of(i));
        }
}

static void dump(u64 *values)
{
        for (unsigned i = 0; i < vmcs_field_count; i++)
                values[i] = vmcs_has(vmcs_fields[i].encoding)
                            ? vmread(vmcs_fields[i].encoding) : 0;
}

static void dump_all(void)
{
        for (unsigned i = 0; i < GUESTS; i++) {
                vm_load(guests[i].vm);
                dump(guests[i].dump);
        }
}

static u64 dumped(unsigned guest, u32 field)
{
        for (unsigned i = 0; i < vmcs_field_count; i++)
                if (vmcs_fields[i].encoding == field)
                        return guests[guest].dump[i];
        return 0;
}

/* Of the fields that a VMM writes: what all guests share, and what they do not. */
static void compare_guests(void)
{
        dump_all();
        for (unsigned i = 1; i < GUESTS; i++) {
                CHECK("guest RIP differs", dumped(i, VMCS_GUEST_RIP) !=
                      dumped(0, VMCS_GUEST_RIP), "%s has that of guest 0", kinds[i].name);
                CHECK_EQ("the mark", dumped(i, MARK_FIELD), mark_of(i));
        }
        /* Two native guests: all is the same but what was made different. */
        for (unsigned i = 0; i < vmcs_field_count; i++) {
                u32 field = vmcs_fields[i].encoding;

                if (vmcs_type(field) == VMCS_TYPE_READ_ONLY || field == MARK_FIELD ||
                    field == VMCS_GUEST_RIP)
                        continue;
                CHECK_EQ(vmcs_fields[i].name, guests[2].dump[i], guests[0].dump[i]);
        }
        /* The host is one for all. */
        for (unsigned g = 1; g < GUESTS; g++)
                for (unsigned i = 0; i < vmcs_field_count; i++)
                        if (vmcs_type(vmcs_fields[i].encoding) == VMCS_TYPE_HOST)
                                CHECK_EQ(vmcs_fields[i].name, guests[g].dump[i],
                                         guests[0].dump[i]);
}

/* One entry of guest @i: it must count on, and exit as it does. */
static void run_guest(unsigned i)
{
        struct guest *g = &guests[i];

        vm_load(g->vm);
        vm_poison(0);
        if (!CHECK_EXIT(kinds[i].name, vm_enter(g->vm), EXITS(kinds[i].reason)))
                return;
        g->exits++;
        CHECK_EQ("its counter", (u32)g->vm->regs.rbx, g->exits * kinds[i].step);
        CHECK_EQ("current-VMCS pointer", current_vmcs(), g->vm->pointer);
        vm_skip();
}

static void launch_all(void)
{
        for (unsigned i = 0; i < GUESTS; i++)
                run_guest(i);
}

/* Round robin; then each as often as its number says. */
static void switch_between(void)
{
        for (unsigned round = 0; round < ROUNDS; round++)
                for (unsigned i = 0; i < GUESTS; i++)
                        run_guest((i + round) % GUESTS);
        for (unsigned i = 0; i < GUESTS; i++)
                for (unsigned n = 0; n < i; n++)
                        run_guest(i);
        for (unsigned i = 0; i < GUESTS; i++) {
                vm_load(guests[i].vm);
                vm_poison(VMERR_VMLAUNCH_NOT_CLEAR);
                CHECK_RESULT("VMLAUNCH of a launched guest", vm_launch(guests[i].vm),
                             FAIL_VALID(VMERR_VMLAUNCH_NOT_CLEAR));
        }
}

/* Guest fields in which every exit saves what the guests here never change. Of
 * others, as those of an unusable LDTR, the SDM leaves open what is saved. */
static bool is_constant(u32 field)
{
        switch (field) {
        case VMCS_GUEST_CR0:
        case VMCS_GUEST_CR3:
        case VMCS_GUEST_CR4:
        case VMCS_GUEST_RSP:
        case VMCS_GUEST_GDTR_BASE:
        case VMCS_GUEST_GDTR_LIMIT:
        case VMCS_GUEST_IDTR_BASE:
        case VMCS_GUEST_IDTR_LIMIT:
        case VMCS_GUEST_CS_BASE:
        case VMCS_GUEST_CS_LIMIT:
        case VMCS_GUEST_TR_BASE:
        case VMCS_GUEST_TR_LIMIT:
                return true;
        }
        return field >= VMCS_GUEST_ES_SELECTOR && field <= VMCS_GUEST_TR_SELECTOR;
}

/* What entries and exits have changed: nothing of controls and host. */
static void compare_with_before(void)
{
        u64 now[MAX_FIELDS];

        for (unsigned g = 0; g < GUESTS; g++) {
                vm_load(guests[g].vm);
                dump(now);
                for (unsigned i = 0; i < vmcs_field_count; i++) {
                        u32 field = vmcs_fields[i].encoding;
                        enum vmcs_type type = vmcs_type(field);

                        /* Host RSP is where the VMM's last entry was. */
                        if ((type == VMCS_TYPE_HOST && field != VMCS_HOST_RSP) ||
                            type == VMCS_TYPE_CONTROL || is_constant(field))
                                CHECK_EQ(vmcs_fields[i].name, now[i],
                                         guests[g].dump[i]);
                }
                CHECK("guest RIP is in its program",
                      vmread(VMCS_GUEST_RIP) - dumped(g, VMCS_GUEST_RIP) < 16,
                      "RIP 0x%llx", (unsigned long long)vmread(VMCS_GUEST_RIP));
        }
}

/* VMCLEAR makes all of them inactive, clear, and keeps what they hold. */
static void clear_all(void)
{
        u64 now[MAX_FIELDS];

        dump_all();
        for (unsigned i = 0; i < GUESTS; i++)
                CHECK_RESULT("VMCLEAR", vmclear(&guests[i].vm->pointer), SUCCEED);
        CHECK_EQ("current-VMCS pointer", current_vmcs(), NO_VMCS);
        for (unsigned g = 0; g < GUESTS; g++) {
                vm_load(guests[g].vm);
                dump(now);
                for (unsigned i = 0; i < vmcs_field_count; i++)
                        CHECK_EQ(vmcs_fields[i].name, now[i], guests[g].dump[i]);
                vm_poison(VMERR_VMRESUME_NOT_LAUNCHED);
                CHECK_RESULT("VMRESUME", vm_resume(guests[g].vm),
                             FAIL_VALID(VMERR_VMRESUME_NOT_LAUNCHED));
                guests[g].vm->launched = false;
                run_guest(g);
        }
}

static void leave_operation(void)
{
        ulong value = 0;

        for (unsigned i = 0; i < GUESTS; i++)
                CHECK_RESULT("VMCLEAR", vmclear(&guests[i].vm->pointer), SUCCEED);
        vmx_off();
        CHECK_RESULT("VMREAD", vmread_raw(VMCS_GUEST_RIP, &value), FAULT(VEC_UD));
        vmx_on();
        CHECK_EQ("current-VMCS pointer", current_vmcs(), NO_VMCS);
        for (unsigned i = 0; i < GUESTS; i++) {
                guests[i].vm->launched = false;
                run_guest(i);
        }
}

struct step {
        struct row head;
        void (*run)(void);
};

static const struct step steps[] = {
        { ROW("1-operation", "a VMXON region of one's own",
              "INS_VMXON_SUCCESS INS_VMXON_NO_CURRENT_VMCS", NULL), enter_operation },
        { ROW("2-initialise", "a VMCS for each guest", "VMCS_ST_ONE_CURRENT", NULL),
          make_guests },
        { ROW("3-dump", "the fields of the guests, compared", "VMCS_RW_PERSIST_SWITCH",
              NULL), compare_guests },
        { ROW("4-launch", "each guest is launched", "VMCS_ST_LAUNCH", NULL), launch_all },
        { ROW("5-switch", "each guest goes on where it was", "VMCS_ST_TWO_ACTIVE", NULL),
          switch_between },
        { ROW("6-dump", "what entries and exits left alone",
              "VMCS_RW_ENTRY_EXIT_UNTOUCHED", NULL), compare_with_before },
        { ROW("7-clear", "all guests cleared, and launched again",
              "VMCS_RW_PERSIST_CLEAR VMCS_ST_CLEAR_FROM_ACTIVE_LAUNCHED", NULL),
          clear_all },
        { ROW("8-leave", "out of VMX operation, back, and each goes on",
              "VMCS_ST_VMXOFF_CLEARED_FIRST VMCS_ST_VMXOFF_LOSES_CURRENT", NULL),
          leave_operation },
};

TABLE(scenario, steps, .id = "scenario.3-1", .title = "several guests of one VMM",
      .sdm = SDM)
{
        (void)self;
        for (unsigned i = 0; i <= row && !check_failed(); i++)
                steps[i].run();
        /* The VMXON region is this case's memory. */
        vmx_off();
}
