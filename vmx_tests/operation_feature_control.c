/*
 * SDM Vol. 3, Introduction to Virtual Machine Extensions > Enabling and Entering
 * VMX Operation: IA32_FEATURE_CONTROL. Once locked it can not be written until
 * the next reset: the cases that need it unlocked come first and leave it so,
 * the last of them locks it; one uses up a second processor.
 */
#include "lib/check.h"
#include "lib/string.h"
#include "x86/memory.h"
#include "x86/msr.h"
#include "x86/paging.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/raw.h"
#include "x86/vmx/session.h"

#define SDM "Introduction to Virtual Machine Extensions > Enabling and Entering VMX Operation"
#define LOCK FEATURE_CONTROL_LOCK
#define SMX FEATURE_CONTROL_VMX_IN_SMX
#define VMX FEATURE_CONTROL_VMX

static u64 feature(void)
{
        return rdmsr(MSR_IA32_FEATURE_CONTROL);
}

static struct vmx_result set_feature(u64 value)
{
        return raw_trap(wrmsr_safe(MSR_IA32_FEATURE_CONTROL, value));
}

static bool unlocked(void)
{
        if (!(feature() & LOCK))
                return true;
        case_skip("IA32_FEATURE_CONTROL was locked before the case");
        return false;
}

/* This image is the machine's firmware: nothing ran before it. */
static bool booted_from_rom(void)
{
        static const char magic[] = "VMXT-CMDLINE-01";

        for (u32 size = 0x10000; size <= 0x20000; size += 0x10000)
                if (!memcmp((void *)(ulong)(u32)-size, magic, sizeof(magic)))
                        return true;
        return false;
}

CASE(reset, .id = "operation.feature-control.reset", .sdm = SDM,
     .title = "IA32_FEATURE_CONTROL exists, and is 0 after reset",
     .rules = "CAP_FC_MSR_EXISTS CAP_FC_ZERO_AFTER_RESET")
{
        u64 value = 0;

        CHECK("RDMSR", !rdmsr_safe(MSR_IA32_FEATURE_CONTROL, &value).raised,
              "it faulted");
        if (booted_from_rom())
                CHECK_EQ("IA32_FEATURE_CONTROL", value, 0);
}

/* Bits that no edition has, and those of absent features; bit 1: see below. */
static u64 reserved_bits(void)
{
        u64 reserved = BITS(7, 3) | BIT(16) | BIT(19) | BITS(63, 21);

        if (!cpuid_bit(1, 0, 'c', 6))
                reserved |= BITS(15, 8);
        if (!cpuid_bit(7, 0, 'b', 2))
                reserved |= BIT(18);
        if (!cpuid_bit(7, 0, 'c', 30))
                reserved |= BIT(17);
        return reserved;
}

CASE(reserved, .id = "operation.feature-control.reserved", .sdm = SDM,
     .title = "a reserved bit can not be set", .rules = "CAP_FC_RESERVED_BITS")
{
        u64 before = feature();

        if (!unlocked())
                return;
        CHECK_RESULT("WRMSR of 4", set_feature(VMX), SUCCEED);
        CHECK_EQ("IA32_FEATURE_CONTROL", feature(), VMX);
        for (unsigned bit = 0; bit < 64; bit++) {
                if (!(reserved_bits() & BIT(bit)))
                        continue;
                CHECK("WRMSR with a reserved bit",
                      set_feature(VMX | BIT(bit)).kind == VMX_EXCEPTION,
                      "bit %u can be set", bit);
                CHECK_EQ("IA32_FEATURE_CONTROL", feature(), VMX);
        }
        CHECK_RESULT("the register as it was", set_feature(before), SUCCEED);
}

CASE(bit_1, .id = "operation.feature-control.bit1", .sdm = SDM, .needs = "!smx",
     .title = "bit 1 can not be set without SMX", .rules = "CAP_FC_BIT1_NEEDS_SMX")
{
        u64 before = feature();

        if (!unlocked())
                return;
        CHECK_RESULT("WRMSR of 4", set_feature(VMX), SUCCEED);
        CHECK_RESULT("WRMSR of 6", set_feature(VMX | SMX), FAULT_CODE(VEC_GP, 0));
        CHECK_EQ("IA32_FEATURE_CONTROL", feature(), VMX);
        CHECK_RESULT("the register as it was", set_feature(before), SUCCEED);
}

CASE(bit_1_smx, .id = "operation.feature-control.bit1-smx", .sdm = SDM,
     .title = "bit 1 can be set with SMX", .rules = "CAP_FC_BIT1_NEEDS_SMX",
     .needs = "smx")
{
        u64 before = feature();

        if (!unlocked())
                return;
        CHECK_RESULT("WRMSR of 6", set_feature(VMX | SMX), SUCCEED);
        CHECK_EQ("IA32_FEATURE_CONTROL", feature(), VMX | SMX);
        CHECK_RESULT("the register as it was", set_feature(before), SUCCEED);
}

/* All that VMXON wants but IA32_FEATURE_CONTROL. */
static void prepare_registers(void)
{
        write_cr0(vmx_cr0(read_cr0()));
        write_cr4(vmx_cr4(read_cr4() | CR4_VMXE));
}

/* The last one that finds the register unlocked: it ends with 5. */
CASE(lock_clear, .id = "operation.feature-control.unlocked", .sdm = SDM,
     .title = "VMXON faults while the register is not locked",
     .rules = "CAP_FC_LOCK_CLEAR_VMXON_GP INS_VMXON_GP_FC "
              "INS_VMXON_GP_BEFORE_OPERAND")
{
        const u64 values[] = { 0, VMX, VMX | SMX };
        const u64 *unmapped = page_alloc(1);
        u64 pointer = phys(vmcs_region_new());

        if (!unlocked())
                return;
        paging_set(unmapped, 0);
        prepare_registers();
        for (unsigned i = 0; i < ARRAY_LEN(values); i++) {
                if (values[i] & SMX && !cpuid_bit(1, 0, 'c', 6))
                        continue;
                CHECK_RESULT("WRMSR", set_feature(values[i]), SUCCEED);
                CHECK_RESULT("VMXON", vmxon(&pointer), FAULT_CODE(VEC_GP, 0));
                CHECK_RESULT("VMXON, operand not present", vmxon(unmapped),
                             FAULT_CODE(VEC_GP, 0));
                CHECK_RESULT("VMXOFF", vmxoff(), FAULT(VEC_UD));
        }
        CHECK_RESULT("WRMSR of 5", set_feature(LOCK | VMX), SUCCEED);
        CHECK_RESULT("VMXON, operand not present", vmxon(unmapped),
                     FAULT_CODE(VEC_PF, 0));
        CHECK_RESULT("VMXON", vmxon(&pointer), SUCCEED);
        vmx_set_operating(true);
        vmx_off();
}

CASE(locked, .id = "operation.feature-control.locked", .sdm = SDM,
     .title = "a locked register can not be written, not even with its value",
     .rules = "CAP_FC_LOCKED_WRMSR_GP")
{
        u64 before;

        vmx_off();
        vmx_prepare();
        before = feature();
        CHECK_MASKED("IA32_FEATURE_CONTROL", before, ~0ull, LOCK);
        CHECK_RESULT("WRMSR of the same value", set_feature(before),
                     FAULT_CODE(VEC_GP, 0));
        CHECK_RESULT("WRMSR of 0", set_feature(0), FAULT_CODE(VEC_GP, 0));
        CHECK_RESULT("WRMSR with bit 2 inverted", set_feature(before ^ VMX),
                     FAULT_CODE(VEC_GP, 0));
        CHECK_EQ("IA32_FEATURE_CONTROL", feature(), before);
}

/* What the other processor found. */
static struct {
        u64 value, before, pointer;
        struct vmx_result set, vmxon, vmxoff, again;
} other;

static void lock_without_vmx(void *unused)
{
        (void)unused;
        other.before = feature();
        if (other.before & LOCK)
                return;
        other.set = set_feature(other.value);
        prepare_registers();
        other.vmxon = vmxon(&other.pointer);
        other.vmxoff = vmxoff();
}

static void look_again(void *unused)
{
        (void)unused;
        other.before = feature();
        other.again = set_feature(other.value | VMX);
}

static bool on_other(unsigned cpu, void (*fn)(void *))
{
        if (cpu_run(cpu, fn, NULL) && cpu_wait(cpu, CPU_SPINS))
                return true;
        case_error("processor %u does not answer", cpu);
        return false;
}

struct other_row {
        struct row head;
        u8 cpu;
        u64 value;
};

/* Each locks a processor of its own. */
static const struct other_row other_rows[] = {
        { { .id = "1", .title = "1", .needs = "cpus-2" }, 1, LOCK },
        { { .id = "3", .title = "3", .needs = "cpus-3 smx" }, 2, LOCK | SMX },
};

TABLE(bit_2, other_rows, .id = "operation.feature-control.bit2", .sdm = SDM,
      .title = "VMXON faults with bit 2 clear, also after INIT",
      .rules = "CAP_FC_BIT2_CLEAR_VMXON_GP INS_VMXON_GP_FC "
               "CAP_FC_ZERO_AFTER_RESET")
{
        const struct other_row *r = case_row(self, row);

        /* First this one's: if both share the register the other's is locked. */
        vmx_off();
        vmx_prepare();
        memset(&other, 0, sizeof(other));
        other.value = r->value;
        other.pointer = phys(vmcs_region_new());
        if (!on_other(r->cpu, lock_without_vmx))
                return;
        if (other.before & LOCK) {
                case_skip("IA32_FEATURE_CONTROL was locked before the case");
                return;
        }
        CHECK_RESULT("WRMSR", other.set, SUCCEED);
        CHECK_RESULT("VMXON", other.vmxon, FAULT_CODE(VEC_GP, 0));
        CHECK_RESULT("VMXOFF", other.vmxoff, FAULT(VEC_UD));
        if (!cpu_restart(r->cpu)) {
                case_error("processor %u does not come back from INIT", r->cpu);
                return;
        }
        if (!on_other(r->cpu, look_again))
                return;
        CHECK_EQ("IA32_FEATURE_CONTROL after INIT", other.before, r->value);
        CHECK_RESULT("WRMSR after INIT", other.again, FAULT_CODE(VEC_GP, 0));
        CHECK_RESULT("VMXON where bit 2 is set", vmxon(&other.pointer), SUCCEED);
        vmx_set_operating(true);
        vmx_off();
}
