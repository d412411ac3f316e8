/*
 * SDM Vol. 3, VM Entries > Injection of Interrupts and Exceptions: an external
 * interrupt with the vector UINV is not delivered to a guest with user
 * interrupts; user-interrupt notification processing takes its place. VM Entries
 * > User-Interrupt Recognition After VM Entry.
 */
#include "x86/cpu.h"
#include "x86/memory.h"
#include "x86/msr.h"
#include "x86/vmx/ept.h"
#include "x86/vmx/event.h"
#include "x86/vmx/session.h"

#define SDM "VM Entries > Injection of Interrupts and Exceptions"
#define RECOGNITION "VM Entries > User-Interrupt Recognition After VM Entry"
#define NEEDS "uintr load-uinv host64"

#define CR4_UINTR (1u << 25)
#define MSR_IA32_UINTR_RR 0x985
#define MSR_IA32_UINTR_HANDLER 0x986
#define MSR_IA32_UINTR_STACKADJUST 0x987
#define MSR_IA32_UINTR_PD 0x989
#define MISC_UINV(vector) ((u64)(vector) << 32)

#define VECTOR 0x70
#define OTHER 0x71
#define POSTED 5              /* a user vector */

/* SDM Vol. 3, User Interrupts > User Posted-Interrupt Descriptor. */
struct upid {
        u8 status;            /* bit 0 = ON, bit 1 = SN */
        u8 reserved;
        u8 vector, reserved2;
        u32 destination;
        u64 requests;
};

static struct upid *upid;

/* A guest with user interrupts and one that is posted; UINV is VECTOR. */
static struct vm *begin(u32 info)
{
        struct vm *vm = vm_begin(GUEST_LONG);

        upid = page_alloc(1);
        upid->status = 1;
        upid->vector = VECTOR;
        upid->requests = BIT(POSTED);
        wrmsr(MSR_IA32_UINTR_RR, 0);
        wrmsr(MSR_IA32_UINTR_MISC, 0);
        wrmsr(MSR_IA32_UINTR_PD, phys(upid));
        vm_control(VMCS_GUEST_CR4, CR4_UINTR, 0);
        vm_control(VMCS_ENTRY_CONTROLS, CTL_ENTRY_LOAD_UINV, 0);
        vmwrite(VMCS_GUEST_UINV, VECTOR);
        if (info)
                vm_inject(info, 0, 2);
        vm_poison(0);
        return vm;
}

static void end(void)
{
        wrmsr(MSR_IA32_UINTR_RR, 0);
        wrmsr(MSR_IA32_UINTR_MISC, 0);
        wrmsr(MSR_IA32_UINTR_PD, 0);
        wrmsr(MSR_IA32_UINTR_HANDLER, 0);
        wrmsr(MSR_IA32_UINTR_STACKADJUST, 0);
}

/* Processed: nothing was pushed, what was posted is requested. */
static void check_processed(struct vmx_result r)
{
        CHECK_EXIT("VM entry", r, EXITS(EXIT_VMCALL));
        CHECK_VMCS(GUEST_RIP, (ulong)program_vmcall.start);
        CHECK_VMCS(GUEST_RSP, this_vmx()->stack_top);
        CHECK_EQ("UPID.ON", upid->status & 1, 0);
        CHECK_EQ("UPID.PIR", upid->requests, 0);
        CHECK_EQ("UIRR", rdmsr(MSR_IA32_UINTR_RR), BIT(POSTED));
}

static void check_delivered_as_usual(struct vm *vm, u8 vector, u32 length)
{
        CHECK_DELIVERED("VM entry", vm, vm_enter(vm), .vector = vector,
                        .rip = (ulong)program_vmcall.start + length);
        CHECK_EQ("UPID.ON", upid->status & 1, 1);
        CHECK_EQ("UPID.PIR", upid->requests, BIT(POSTED));
        CHECK_EQ("UIRR", rdmsr(MSR_IA32_UINTR_RR), 0);
}

CASE(match, .id = "inject.uinv.match",
     .title = "the vector UINV: notification processing, no delivery",
     .sdm = SDM, .rules = "INJ_EXTINT_UINV_MATCH", .needs = NEEDS)
{
        struct vm *vm = begin(EXTERNAL(OTHER));

        check_delivered_as_usual(vm, OTHER, 0);
        vm = begin(EXTERNAL(VECTOR));
        check_processed(vm_enter(vm));
        end();
}

static const struct {
        struct row head;
        u32 info;
        u8 uinv, length;
} other_types[] = {
        { ROW("int-n", "INT n"), INT_N(VECTOR), VECTOR, 2 },
        { ROW("exception", "#UD"), HARDWARE(VEC_UD), VEC_UD, 0 },
        { ROW("nmi", "NMI"), NMI, 2, 0 },
        { ROW("int3", "INT3"), SOFTWARE(3), 3, 2 },
};

TABLE(types, other_types, .id = "inject.uinv.other-type",
      .title = "another type of event with the vector UINV is delivered",
      .sdm = SDM, .rules = "INJ_UINV_OTHER_TYPES_ORDINARY", .needs = NEEDS)
{
        struct vm *vm = begin(other_types[row].info);

        vmwrite(VMCS_GUEST_UINV, other_types[row].uinv);
        check_delivered_as_usual(vm, (u8)other_types[row].info,
                                 other_types[row].length);
        end();
}

CASE(conditions, .id = "inject.uinv.cr4",
     .title = "with CR4.UINTR = 0 the vector UINV is delivered",
     .sdm = SDM, .rules = "INJ_UINV_CONDITIONS_NOT_MET", .needs = NEEDS)
{
        struct vm *vm = begin(EXTERNAL(VECTOR));

        vm_control(VMCS_GUEST_CR4, 0, CR4_UINTR);
        check_delivered_as_usual(vm, VECTOR, 0);
        end();
}

CASE(mode, .id = "inject.uinv.ia-32e",
     .title = "outside IA-32e mode the vector UINV is delivered",
     .sdm = SDM, .rules = "INJ_UINV_CONDITIONS_NOT_MET", .needs = NEEDS)
{
        struct vm *vm = begin(0);

        vm = vm_begin(GUEST_PAE);
        vm_control(VMCS_GUEST_CR4, CR4_UINTR, 0);
        vm_control(VMCS_ENTRY_CONTROLS, CTL_ENTRY_LOAD_UINV, 0);
        vmwrite(VMCS_GUEST_UINV, VECTOR);
        vm_inject(EXTERNAL(VECTOR), 0, 0);
        vm_poison(0);
        check_delivered_as_usual(vm, VECTOR, 0);
        end();
}

CASE(live, .id = "inject.uinv.value.live",
     .title = "without load UINV the processor's own UINV counts",
     .sdm = SDM, .rules = "INJ_UINV_VALUE_AFTER_ENTRY", .needs = NEEDS)
{
        struct vm *vm = begin(EXTERNAL(VECTOR));

        vm_control(VMCS_ENTRY_CONTROLS, 0, CTL_ENTRY_LOAD_UINV);
        wrmsr(MSR_IA32_UINTR_MISC, MISC_UINV(OTHER));
        check_delivered_as_usual(vm, VECTOR, 0);
        vm = begin(EXTERNAL(VECTOR));
        vm_control(VMCS_ENTRY_CONTROLS, 0, CTL_ENTRY_LOAD_UINV);
        wrmsr(MSR_IA32_UINTR_MISC, MISC_UINV(VECTOR));
        check_processed(vm_enter(vm));
        end();
}

CASE(field, .id = "inject.uinv.value.field",
     .title = "with load UINV the field counts, not the processor's UINV",
     .sdm = SDM, .rules = "INJ_UINV_VALUE_AFTER_ENTRY", .needs = NEEDS)
{
        struct vm *vm = begin(EXTERNAL(OTHER));

        wrmsr(MSR_IA32_UINTR_MISC, MISC_UINV(OTHER));
        check_delivered_as_usual(vm, OTHER, 0);
        vm = begin(EXTERNAL(VECTOR));
        wrmsr(MSR_IA32_UINTR_MISC, MISC_UINV(OTHER));
        check_processed(vm_enter(vm));
        end();
}

CASE(list, .id = "inject.uinv.value.msr-list",
     .title = "UINV from the VM-entry MSR-load list counts",
     .sdm = SDM, .rules = "INJ_UINV_VALUE_AFTER_ENTRY", .needs = NEEDS)
{
        for (u32 vector = VECTOR; vector <= OTHER; vector++) {
                struct vm *vm = begin(EXTERNAL(vector));
                u64 *entry = page_alloc(1);

                entry[0] = MSR_IA32_UINTR_MISC;
                entry[1] = MISC_UINV(OTHER);
                vmwrite(VMCS_ENTRY_MSR_LOAD_ADDRESS, phys(entry));
                vmwrite(VMCS_ENTRY_MSR_LOAD_COUNT, 1);
                if (vector == OTHER)
                        check_processed(vm_enter(vm));
                else
                        check_delivered_as_usual(vm, VECTOR, 0);
        }
        end();
}

#define N_HLT " activity-hlt activate-vmx-preemption-timer"

CASE(halted, .id = "inject.uinv.hlt",
     .title = "after notification processing the guest is in HLT",
     .sdm = SDM, .rules = "INJ_UINV_HLT_KEPT", .needs = NEEDS N_HLT)
{
        struct vm *vm = begin(EXTERNAL(VECTOR));

        vmwrite(VMCS_GUEST_ACTIVITY_STATE, HLT);
        vm_watchdog();
        CHECK_EXIT("VM entry", vm_enter(vm), TIMER_EXIT);
        CHECK_VMCS(GUEST_RIP, (ulong)program_vmcall.start);
        CHECK_VMCS(GUEST_ACTIVITY_STATE, HLT);
        CHECK_EQ("UPID.ON", upid->status & 1, 0);
        end();
}

/* The UPID is where the guest's paging has nothing. */
FAMILY(page_fault, 2, .id = "inject.uinv.page-fault.exit",
       .title = "a page fault on the UPID is delivered or exits, by the bitmap",
       .sdm = SDM, .rules = "INJ_UINV_NESTED_EXCEPTION", .needs = NEEDS)
{
        struct vm *vm = begin(EXTERNAL(VECTOR));

        vm_paging_hole(vm);
        wrmsr(MSR_IA32_UINTR_PD, GUEST_HOLE);
        if (row) {
                vmwrite(VMCS_EXCEPTION_BITMAP, BIT(VEC_PF));
                CHECK_EXIT("bitmap bit 1", vm_enter(vm), EXITS(EXIT_EXCEPTION_NMI));
                CHECK_VMCS(GUEST_RIP, (ulong)program_vmcall.start);
        } else {
                CHECK_EXIT("bitmap bit 0", vm_enter(vm), EXITS(EXIT_VMCALL));
                CHECK_VMCS(GUEST_RIP, vm_handler(vm, VEC_PF));
                CHECK_EQ("RIP in the frame", vm_stack(vm, 1),
                         (ulong)program_vmcall.start);
                CHECK_EQ("CR2", read_cr2() & ~15ul, GUEST_HOLE);
        }
        end();
}

static const struct {
        struct row head;
        u32 activity;
} states[] = {
        { ROW("active", "active", "INJ_UINV_EXIT_ORIGINAL_EVENT"), ACTIVE },
        { ROW("hlt", "HLT", "INJ_UINV_EXIT_SAVES_HLT", "activity-hlt"), HLT },
};

TABLE(ept_violation, states, .id = "inject.uinv.ept-violation",
      .title = "an EPT violation on the UPID exits as in delivery, and saves the state",
      .sdm = "VM Exits > Information for VM Exits During Event Delivery",
      .needs = NEEDS " enable-ept")
{
        struct vm *vm = begin(EXTERNAL(VECTOR));
        u64 *ept = ept_new();

        ept_map_identity(ept);
        *ept_entry(ept, phys(upid), EPT_PTE) = 0;
        ept_use(ept, 0);
        vmwrite(VMCS_GUEST_ACTIVITY_STATE, states[row].activity);
        CHECK_EXIT("VM entry", vm_enter(vm), EXITS(EXIT_EPT_VIOLATION));
        CHECK_ORIGINAL_EVENT(EXTERNAL(VECTOR), 0);
        CHECK_VMCS(GUEST_RIP, (ulong)program_vmcall.start);
        CHECK_VMCS(GUEST_ACTIVITY_STATE, states[row].activity);
        end();
}

PROGRAM(handler, NATIVE_BITS, "nop\n vmcall\n");

/* UIF is not in the VMCS: STUI in the host sets it. */
static struct vm *begin_user(u64 requests)
{
        struct vm *vm = begin(0);

        write_cr4(read_cr4() | CR4_UINTR);
        asm volatile(".byte 0xf3, 0x0f, 0x01, 0xef");  /* STUI */
        write_cr4(read_cr4() & ~(ulong)CR4_UINTR);
        wrmsr(MSR_IA32_UINTR_HANDLER, (ulong)handler.start);
        wrmsr(MSR_IA32_UINTR_STACKADJUST, 128);
        wrmsr(MSR_IA32_UINTR_RR, requests);
        vm_user(vm);
        return vm;
}

static const struct {
        struct row head;
        u64 requests;
        bool enabled, delivered;
} recognitions[] = {
        { ROW("requested", "UIRR not 0", "POST_UINTR_RECOGNIZED_AFTER_ENTRY"),
          BIT(POSTED), true, true },
        { ROW("none", "UIRR 0", "POST_UINTR_NOT_RECOGNIZED"), 0, true, false },
        { ROW("cr4", "UIRR not 0, CR4.UINTR = 0", "POST_UINTR_NOT_RECOGNIZED"),
          BIT(POSTED), false, false },
};

TABLE(recognition, recognitions, .id = "entry.user-interrupt",
      .title = "a user interrupt that UIRR requests comes before the first instruction",
      .sdm = RECOGNITION, .needs = NEEDS)
{
        struct vm *vm = begin_user(recognitions[row].requests);

        if (!recognitions[row].enabled)
                vm_control(VMCS_GUEST_CR4, 0, CR4_UINTR);
        CHECK_EXIT("VM entry", vm_enter(vm), EXITS(EXIT_VMCALL));
        if (recognitions[row].delivered) {
                CHECK_VMCS(GUEST_RIP, (ulong)handler.start + 1);
                CHECK_EQ("user vector on the stack", vm_stack(vm, 0), POSTED);
                CHECK_EQ("RIP on the stack", vm_stack(vm, 1),
                         (ulong)program_vmcall.start);
                CHECK_EQ("UIRR", rdmsr(MSR_IA32_UINTR_RR), 0);
        } else {
                CHECK_VMCS(GUEST_RIP, (ulong)program_vmcall.start);
                CHECK_EQ("UIRR", rdmsr(MSR_IA32_UINTR_RR),
                         recognitions[row].requests);
        }
        end();
}
