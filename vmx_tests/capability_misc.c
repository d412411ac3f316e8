/*
 * SDM Vol. 3, Appendix A, VMX Capability Reporting Facility > Miscellaneous Data:
 * IA32_VMX_MISC, field by field, and what each promises. Bit 14:
 * operation_restrictions_features.c; bit 15: capability_msrs.c.
 */
#include "x86/apic.h"
#include "x86/memory.h"
#include "x86/smp.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/guest_env.h"
#include "x86/vmx/instr.h"
#include "x86/vmx/probe.h"
#include "x86/vmx/session.h"

#define SDM "VMX Capability Reporting Facility > Miscellaneous Data"

CASE(reserved, .id = "capability.misc.reserved", .sdm = SDM,
     .title = "bits 13:9 and 31 are 0", .rules = "CAP_MISC_RESERVED_13_9_31")
{
        CHECK_MASKED("IA32_VMX_MISC", vmx_caps()->misc, 0, BITS(13, 9) | BIT(31));
}

CASE(lma_with_unrestricted, .id = "capability.misc.stores-lma", .sdm = SDM,
     .title = "bit 5 is 1 where unrestricted guest can be 1",
     .needs = "unrestricted-guest", .rules = "CAP_MISC_BIT5_URG")
{
        CHECK_MASKED("IA32_VMX_MISC", vmx_caps()->misc, ~0ull, CAP_STORES_LMA);
}

/* Compatibility mode, CPL 0: CR0.PG = 0 ends IA-32e mode. */
PROGRAM(leave_long, 32, "mov %cr0, %eax\nbtr $31, %eax\nmov %eax, %cr0\nvmcall\n");

CASE(lma_stored, .id = "capability.misc.stores-lma.effect", .sdm = SDM,
     .title = "a VM exit stores IA32_EFER.LMA in \"IA-32e mode guest\"",
     .needs = "stores-lma unrestricted-guest host64 save-ia32-efer",
     .rules = "CAP_MISC_BIT5_EFFECT")
{
        const u64 lma = CTL_ENTRY_IA32E_MODE_GUEST;
        struct vm *vm = vm_begin(GUEST_COMPAT);
        u64 before;

        vmcs_edit(EDITS(WITH_SECONDARY(CTL_SECONDARY_ENABLE_EPT |
                                       CTL_SECONDARY_UNRESTRICTED_GUEST),
                        OR(EXIT_CONTROLS, CTL_EXIT_SAVE_EFER)));
        vmwrite(VMCS_EPTP, guest_env()->eptp);
        before = vmread(VMCS_ENTRY_CONTROLS);
        CHECK_RESULT("VM entry, the guest stays in IA-32e mode", vm_enter(vm),
                     EXITS(EXIT_VMCALL));
        CHECK_EQ("VM-entry controls", vmread(VMCS_ENTRY_CONTROLS), before);
        vm_program(vm, leave_long);
        CHECK_RESULT("VM entry, the guest leaves IA-32e mode", vm_enter(vm),
                     EXITS(EXIT_VMCALL));
        CHECK_MASKED("guest IA32_EFER.LMA", vmread(VMCS_GUEST_EFER), 0, BIT(10));
        CHECK_EQ("VM-entry controls", vmread(VMCS_ENTRY_CONTROLS), before & ~lma);
}

/* An activity state is seen by a VM exit that does not end it. */
#define EXPIRED OR(PIN_CONTROLS, CTL_PIN_ACTIVATE_PREEMPTION_TIMER), \
                SET(PREEMPTION_TIMER_VALUE, 0)

#define STATE(n) EDITS(SET(GUEST_ACTIVITY_STATE, n))

static const struct probe activity_probes[] = {
        { ROW("hlt", "bit 6 = 0: activity state HLT", "CAP_MISC_ACTIVITY_HLT "
              "CAP_MISC_ACTIVITY_ACTIVE", "!activity-hlt"),
          .accept = STATE(0), .reject = STATE(1), .outcome = BAD_GUEST },
        { ROW("shutdown", "bit 7 = 0: activity state shutdown",
              "CAP_MISC_ACTIVITY_SHUTDOWN CAP_MISC_ACTIVITY_ACTIVE",
              "!activity-shutdown"),
          .accept = STATE(0), .reject = STATE(2), .outcome = BAD_GUEST },
        { ROW("wait-for-sipi", "bit 8 = 0: activity state wait-for-SIPI",
              "CAP_MISC_ACTIVITY_SIPI CAP_MISC_ACTIVITY_ACTIVE",
              "!activity-wait-for-sipi"),
          .accept = STATE(0), .reject = STATE(3), .outcome = BAD_GUEST },
};

PROBES(activity_refused, activity_probes, .id = "capability.misc.activity.refused",
       .sdm = SDM, .title = "an activity state that is not supported")

struct activity_row {
        struct row head;
        u32 state;
};

static const struct activity_row activity_rows[] = {
        { ROW("active", "active", "CAP_MISC_ACTIVITY_ACTIVE"), 0 },
        { ROW("hlt", "HLT", "CAP_MISC_ACTIVITY_HLT", "activity-hlt"), 1 },
        { ROW("shutdown", "shutdown", "CAP_MISC_ACTIVITY_SHUTDOWN",
              "activity-shutdown"), 2 },
};

TABLE(activity, activity_rows, .id = "capability.misc.activity", .sdm = SDM,
      .title = "VM entry to a supported activity state",
      .needs = "activate-vmx-preemption-timer")
{
        const struct activity_row *r = case_row(self, row);
        struct vm *vm = vm_begin(GUEST_NATIVE);

        vmcs_edit(EDITS(EXPIRED));
        vmwrite(VMCS_GUEST_ACTIVITY_STATE, r->state);
        vm_poison(0);
        CHECK_RESULT("VM entry", vm_enter(vm), EXITS(EXIT_PREEMPTION_TIMER));
        CHECK_EQ("guest activity state", vmread(VMCS_GUEST_ACTIVITY_STATE),
                 r->state);
}

#define SIPI_VECTOR 0x9a
#define SIPI_ROUNDS 100
#define SIPI_SPINS 20000u

static struct vmx_result sipi_result;

static void wait_for_sipi(void *unused)
{
        struct vm *vm = vm_begin(GUEST_NATIVE);

        (void)unused;
        vmwrite(VMCS_GUEST_ACTIVITY_STATE, 3);
        sipi_result = vm_enter(vm);
        vmx_off();
}

CASE(activity_sipi, .id = "capability.misc.activity.wait-for-sipi", .sdm = SDM,
     .title = "VM entry to activity state wait-for-SIPI",
     .rules = "CAP_MISC_ACTIVITY_SIPI",
     .needs = "activity-wait-for-sipi cpus-2")
{
        u32 id = cpu_get(1)->apic_id;
        bool idle = false;

        /* Which fields there are is asked of this processor, not of the other. */
        vm_begin(GUEST_NATIVE);
        sipi_result = (struct vmx_result){ 0 };
        if (!cpu_run(1, wait_for_sipi, NULL)) {
                case_error("processor 1 does not answer");
                return;
        }
        /* One that comes before the VM entry is lost. */
        for (unsigned i = 0; i < SIPI_ROUNDS && !idle; i++) {
                apic_icr(id, ICR_SIPI | ICR_ASSERT | SIPI_VECTOR);
                idle = cpu_wait(1, SIPI_SPINS);
        }
        if (!idle) {
                apic_icr(id, ICR_INIT | ICR_ASSERT);
                idle = cpu_wait(1, CPU_SPINS);
        }
        CHECK("processor 1", idle, "does not come back");
        CHECK_RESULT("VM entry on it", sipi_result,
                     EXITS_WITH(EXIT_SIPI, SIPI_VECTOR));
}

CASE(cr3_targets, .id = "capability.misc.cr3-targets", .sdm = SDM,
     .title = "at most 256 CR3-target values", .rules = "CAP_MISC_CR3_TARGETS")
{
        CHECK("CR3-target values", vmx_cap(misc, CR3_TARGETS) <= 256, "%u",
              (unsigned)vmx_cap(misc, CR3_TARGETS));
}

static u64 most_targets(u64 unused)
{
        (void)unused;
        return vmx_cap(misc, CR3_TARGETS);
}

/* The SDM names 4, and the number that the MSR reports: beyond both. */
static u64 too_many_targets(u64 unused)
{
        u64 most = most_targets(unused);

        return (most < 4 ? 4 : most) + 1;
}

static const struct probe target_probes[] = {
        { ROW("count", "a CR3-target count beyond the number supported",
              "CAP_MISC_CR3_TARGET_ENFORCED"),
          .accept = EDITS(CALC(CR3_TARGET_COUNT, most_targets)),
          .reject = EDITS(CALC(CR3_TARGET_COUNT, too_many_targets)),
          .outcome = BAD_CONTROLS },
};

PROBES(targets, target_probes, .id = "capability.misc.cr3-targets", .sdm = SDM,
       .title = "VM entry")

CASE(write_all, .id = "capability.misc.vmwrite-all", .sdm = SDM,
     .title = "bit 29: VMWRITE to a VM-exit information field",
     .rules = "CAP_MISC_BIT29_VMWRITE_ALL")
{
        ulong before = 0, after = 0;

        vm_begin(GUEST_NATIVE);
        CHECK_RESULT("VMREAD", vmread_raw(VMCS_EXIT_REASON, &before), SUCCEED);
        if (vmx_cap(misc, WRITE_READ_ONLY)) {
                CHECK_RESULT("VMWRITE", vmwrite_raw(VMCS_EXIT_REASON, before ^ 0x5a),
                             SUCCEED);
                before ^= 0x5a;
        } else {
                CHECK_RESULT("VMWRITE", vmwrite_raw(VMCS_EXIT_REASON, before ^ 0x5a),
                             FAIL_VALID(VMERR_READ_ONLY_FIELD));
        }
        CHECK_RESULT("VMREAD", vmread_raw(VMCS_EXIT_REASON, &after), SUCCEED);
        CHECK_EQ("exit reason", after, before);
}

#define INJECT(type, vector) (0x80000000u | (type) << 8 | (vector))
#define LENGTH(n) EDITS(SET(ENTRY_INSTRUCTION_LENGTH, n))

/* Each with length 1, and with length 0 refused or accepted as bit 30 says. */
#define ZERO(ID, TITLE, NEEDS, TYPE, VECTOR, ...)                            \
        { ROW(ID, TITLE, "CAP_MISC_BIT30_ZERO_LEN", NEEDS),                  \
          .given = EDITS(SET(ENTRY_INTERRUPTION_INFO, INJECT(TYPE, VECTOR))), \
          __VA_ARGS__ }
#define REFUSED .accept = LENGTH(1), .reject = LENGTH(0), .outcome = BAD_CONTROLS
#define ACCEPTED .accept = LENGTH(0), .reject = LENGTH(16), .outcome = BAD_CONTROLS

static const struct probe length_probes[] = {
        ZERO("refused.interrupt", "bit 30 = 0: software interrupt",
             "!inject-length-0", 4u, 0x60, REFUSED),
        ZERO("refused.privileged", "bit 30 = 0: privileged software exception",
             "!inject-length-0", 5u, VEC_DB, REFUSED),
        ZERO("refused.exception", "bit 30 = 0: software exception",
             "!inject-length-0", 6u, VEC_BP, REFUSED),
        ZERO("accepted.interrupt", "bit 30 = 1: software interrupt",
             "inject-length-0", 4u, 0x60, ACCEPTED),
        ZERO("accepted.privileged", "bit 30 = 1: privileged software exception",
             "inject-length-0", 5u, VEC_DB, ACCEPTED),
        ZERO("accepted.exception", "bit 30 = 1: software exception",
             "inject-length-0", 6u, VEC_BP, ACCEPTED),
};

PROBES(length, length_probes, .id = "capability.misc.length-0", .sdm = SDM,
       .title = "injection with an instruction length of 0")

/* RSI: TSC at the beginning, RDI: at the end, when ECX have passed. */
PROGRAM(pass_time, 32, "rdtsc\nmov %eax, %esi\n1: rdtsc\nmov %eax, %edi\n"
        "sub %esi, %eax\ncmp %ecx, %eax\njb 1b\nvmcall\n");

#define TICKS 256u
#define TIMER_START 0x40000000u

/* Both sides are allowed an eighth, and two, for how a target keeps time. */
static bool about(u64 least, u64 got, u64 most)
{
        return got + got / 8 + 2 >= least && got <= most + most / 8 + 2;
}

CASE(timer_rate, .id = "capability.misc.timer-rate", .sdm = SDM,
     .title = "the VMX-preemption timer counts down each 2^X TSC cycles",
     .needs = "activate-vmx-preemption-timer save-vmx-preemption-timer-value",
     .rules = "CAP_MISC_TIMER_RATE")
{
        unsigned rate = (unsigned)vmx_cap(misc, PREEMPTION_TIMER_RATE);
        struct vm *vm = vm_begin(GUEST_NATIVE);
        u64 start, whole, inside, ticks;

        if (rate > 16) {
                case_skip("a tick takes 2^%u cycles", rate);
                return;
        }
        vm_control(VMCS_PIN_CONTROLS, CTL_PIN_ACTIVATE_PREEMPTION_TIMER, 0);
        vm_control(VMCS_EXIT_CONTROLS, CTL_EXIT_SAVE_PREEMPTION_TIMER, 0);
        vm_control(VMCS_PRIMARY_CONTROLS, 0, CTL_PRIMARY_RDTSC_EXITING);
        vmwrite(VMCS_PREEMPTION_TIMER_VALUE, TIMER_START);
        vm_program(vm, pass_time);
        vm->regs.rcx = TICKS << rate;
        vm_poison(0);
        start = rdtsc();
        CHECK_RESULT("VM entry", vm_enter(vm), EXITS(EXIT_VMCALL));
        whole = (rdtsc() - start) >> rate;
        inside = (u32)(vm->regs.rdi - vm->regs.rsi) >> rate;
        ticks = TIMER_START - vmread(VMCS_PREEMPTION_TIMER_VALUE);
        CHECK("ticks of the timer", about(inside, ticks, whole),
              "%u while %u passed in the guest and %u outside", (u32)ticks,
              (u32)inside, (u32)whole);
}
