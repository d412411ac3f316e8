/*
 * SDM Vol. 3, Virtual Machine Control Structures > Software Use of
 * Virtual-Machine Control Structures: a VMCS on one processor, then on another.
 */
#include "lib/check.h"
#include "x86/smp.h"
#include "x86/vmx/instr.h"
#include "x86/vmx/raw.h"
#include "x86/vmx/session.h"

#define SDM_USE "Virtual Machine Control Structures > Software Use of Virtual-Machine Control Structures"
#define SDM_OVERVIEW "Virtual Machine Control Structures > Overview"

#define OTHER 1      /* the second processor */
#define MAX_FIELDS 256

/* Work for the other processor. It checks nothing itself: cases run here. */
struct work {
        struct vm *vm;
        u64 fields[MAX_FIELDS];
        struct vmx_result outside, loaded, resumed, launched, resumed_again, cleared;
        u64 current_before, current;
        u64 rip;
        bool on, off;
};

/* VMXON on this processor, with a region of its own. */
static bool enter_vmx(void)
{
        vmx_on();
        return this_vmx()->operating;
}

/* All fields of the current VMCS. */
static void read_all(u64 *values)
{
        for (unsigned i = 0; i < vmcs_field_count && i < MAX_FIELDS; i++)
                values[i] = vmcs_has(vmcs_fields[i].encoding)
                            ? vmread(vmcs_fields[i].encoding) : 0;
}

/* The host state that differs between processors: this one's. */
static void host_of_this_cpu(void)
{
        struct cpu *cpu = this_cpu();

        vmwrite(VMCS_HOST_TR_BASE, (ulong)&cpu->tss);
        vmwrite(VMCS_HOST_GDTR_BASE, (ulong)cpu->gdt);
        vmwrite(VMCS_HOST_CR0, read_cr0());
        vmwrite(VMCS_HOST_CR4, read_cr4());
        vmwrite(VMCS_HOST_CR3, read_cr3());
}

/* Takes the VMCS over, looks at it, enters the guest, and gives it back. */
static void take_over(void *arg)
{
        struct work *w = arg;

        w->on = enter_vmx();
        if (!w->on)
                return;
        w->current_before = ~0ull;
        w->loaded = vmptrst(&w->current_before);
        w->loaded = vmptrld(&w->vm->pointer);
        read_all(w->fields);
        host_of_this_cpu();
        w->resumed = vm_resume(w->vm);
        w->launched = vm_launch(w->vm);
        w->rip = vmread(VMCS_GUEST_RIP);
        w->resumed_again = vm_resume(w->vm);
        w->cleared = vmclear(&w->vm->pointer);
        vmx_off();
        w->off = !this_vmx()->operating;
        desc_reload();
}

static bool run_on_other(void (*fn)(void *), void *arg)
{
        if (!cpu_run(OTHER, fn, arg) || !cpu_wait(OTHER, CPU_SPINS)) {
                case_error("the second processor does not do its work");
                return false;
        }
        return true;
}

/* Values in guest-state and control fields that no guest here uses. */
static void write_marks(void)
{
        vmwrite(VMCS_PAGE_FAULT_ERROR_CODE_MATCH, 0x12345678);
        vmwrite(VMCS_TSC_OFFSET, 0x0123456789abcdef);
        vmwrite(VMCS_CR0_READ_SHADOW, 0x5a5a5a5a);
        vmwrite(VMCS_GUEST_SYSENTER_ESP, 0x6b6b6b6b);
}

static void check_taken_over(const struct work *w, const u64 *before)
{
        CHECK("VMXON on the other processor", w->on, "it failed");
        CHECK_EQ("its current-VMCS pointer before", w->current_before, NO_VMCS);
        CHECK_RESULT("its VMPTRLD", w->loaded, SUCCEED);
        for (unsigned i = 0; i < vmcs_field_count; i++)
                if (vmcs_fields[i].encoding != VMCS_VM_INSTRUCTION_ERROR)
                        CHECK_EQ(vmcs_fields[i].name, w->fields[i], before[i]);
        CHECK_RESULT("its VMRESUME, before VMLAUNCH", w->resumed,
                     FAIL_VALID(VMERR_VMRESUME_NOT_LAUNCHED));
        CHECK_RESULT("its VMLAUNCH", w->launched, EXITS(EXIT_VMCALL));
        CHECK_RESULT("its VMRESUME, after VMLAUNCH", w->resumed_again, EXITS(EXIT_VMCALL));
        CHECK_RESULT("its VMCLEAR", w->cleared, SUCCEED);
}

CASE(clean, .id = "vmcs.migrate.clear", .title = "a clear VMCS moves with all its fields",
     .sdm = SDM_USE, .rules = "VMCS_MIG_CLEAN", .needs = "cpus-2")
{
        static struct work w;
        static u64 before[MAX_FIELDS];

        w = (struct work){ .vm = vm_new(GUEST_NATIVE) };
        write_marks();
        read_all(before);
        CHECK_RESULT("VMCLEAR", vmclear(&w.vm->pointer), SUCCEED);
        if (run_on_other(take_over, &w))
                check_taken_over(&w, before);
}

PROGRAM(two_calls, NATIVE_BITS, "vmcall\nvmcall\nvmcall\n");
#define VMCALL_SIZE 3

CASE(launched, .id = "vmcs.migrate.launched",
     .title = "a launched VMCS is clear after it has moved, and the guest goes on",
     .sdm = SDM_USE, .rules = "VMCS_MIG_LAUNCHED", .needs = "cpus-2")
{
        static struct work w;
        static u64 before[MAX_FIELDS];

        w = (struct work){ .vm = vm_new(GUEST_NATIVE) };
        write_marks();
        vm_program(w.vm, two_calls);
        CHECK_RESULT("VMLAUNCH", vm_launch(w.vm), EXITS(EXIT_VMCALL));
        vm_skip();
        read_all(before);
        CHECK_RESULT("VMCLEAR", vmclear(&w.vm->pointer), SUCCEED);
        if (!run_on_other(take_over, &w))
                return;
        check_taken_over(&w, before);
        CHECK_EQ("guest RIP after its VMLAUNCH", w.rip, w.vm->entry_rip + VMCALL_SIZE);
}

CASE(back, .id = "vmcs.migrate.back", .title = "a VMCS that moved can move back",
     .sdm = SDM_USE, .rules = "VMCS_MIG_BACK", .needs = "cpus-2")
{
        static struct work w;
        static u64 before[MAX_FIELDS];

        w = (struct work){ .vm = vm_new(GUEST_NATIVE) };
        write_marks();
        for (unsigned round = 0; round < 2; round++) {
                read_all(before);
                CHECK_RESULT("VMCLEAR", vmclear(&w.vm->pointer), SUCCEED);
                if (!run_on_other(take_over, &w))
                        return;
                check_taken_over(&w, before);
                CHECK_RESULT("VMPTRLD", vmptrld(&w.vm->pointer), SUCCEED);
                host_of_this_cpu();
                CHECK_EQ("32-bit field", vmread(VMCS_PAGE_FAULT_ERROR_CODE_MATCH), 0x12345678);
                CHECK_EQ("64-bit field", vmread(VMCS_TSC_OFFSET), 0x0123456789abcdef);
                CHECK_EQ("natural-width field", vmread(VMCS_CR0_READ_SHADOW), 0x5a5a5a5a);
                CHECK_EQ("guest field", vmread(VMCS_GUEST_SYSENTER_ESP), 0x6b6b6b6b);
                CHECK_RESULT("VMRESUME", vm_resume(w.vm),
                             FAIL_VALID(VMERR_VMRESUME_NOT_LAUNCHED));
                CHECK_RESULT("VMLAUNCH", vm_launch(w.vm), EXITS(EXIT_VMCALL));
        }
}

/* On the other processor: VMREAD outside VMX operation, then with a VMCS of its own. */
static void be_independent(void *arg)
{
        struct work *w = arg;
        ulong value = 0;

        w->outside = vmread_raw(VMCS_GUEST_RIP, &value);
        w->on = enter_vmx();
        if (!w->on)
                return;
        w->loaded = vmptrst(&w->current_before);
        w->vm = vm_begin(GUEST_NATIVE);
        vmwrite(VMCS_PAGE_FAULT_ERROR_CODE_MATCH, 0x22222222);
        w->resumed = vmptrst(&w->current);
        w->launched = vm_launch(w->vm);
        w->fields[0] = vmread(VMCS_PAGE_FAULT_ERROR_CODE_MATCH);
        w->cleared = vmclear(&w->vm->pointer);
        vmx_off();
        desc_reload();
}

CASE(per_cpu, .id = "vmcs.current.per-processor",
     .title = "VMX operation and the current VMCS belong to the processor",
     .sdm = SDM_OVERVIEW, .rules = "VMCS_CUR_PER_CPU", .needs = "cpus-2")
{
        static struct work w;
        struct vm *vm = vm_begin(GUEST_NATIVE);

        w = (struct work){ .current_before = 1 };
        vmwrite(VMCS_PAGE_FAULT_ERROR_CODE_MATCH, 0x11111111);
        CHECK_RESULT("VMLAUNCH", vm_launch(vm), EXITS(EXIT_VMCALL));
        if (!run_on_other(be_independent, &w))
                return;
        CHECK_RESULT("the other's VMREAD outside VMX operation", w.outside, FAULT(VEC_UD));
        CHECK("the other's VMXON", w.on, "it failed");
        CHECK_EQ("the other's current-VMCS pointer after VMXON", w.current_before, NO_VMCS);
        CHECK_EQ("and then", w.current, w.vm->pointer);
        CHECK("it is another VMCS", w.vm->pointer != vm->pointer, "the same");
        CHECK_RESULT("the other's VMLAUNCH", w.launched, EXITS(EXIT_VMCALL));
        CHECK_EQ("the other's field", w.fields[0], 0x22222222);
        CHECK_EQ("the current-VMCS pointer here", current_vmcs(), vm->pointer);
        CHECK_EQ("the field here", vmread(VMCS_PAGE_FAULT_ERROR_CODE_MATCH), 0x11111111);
        CHECK_RESULT("VMRESUME here", vm_resume(vm), EXITS(EXIT_VMCALL));
}
