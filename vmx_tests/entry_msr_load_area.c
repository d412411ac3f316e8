/*
 * SDM Vol. 3, VM Entries > Loading MSRs: entries that are loaded. Failing ones
 * have a file of their own.
 */
#include "lib/check.h"
#include "lib/string.h"
#include "x86/cpu.h"
#include "x86/memory.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/event.h"
#include "x86/vmx/guest_msr.h"

#define SDM "VM Entries > Loading MSRs"

/* An MSR that nothing else in VM entry and VM exit touches. */
#define FREE_MSR MSR_IA32_KERNEL_GS_BASE
#define FREE_NEEDS "intel64"
#define OLD 0x0000111122223333ull
#define NEW 0x0000444455556666ull
#define NEWER 0x0000777788889999ull

/* Cannot be loaded: the index is never legal in this area. */
#define BAD_ENTRY { .index = MSR_IA32_FS_BASE }

#define LIST(...) (const struct msr_entry[]){ __VA_ARGS__ }, \
        sizeof((const struct msr_entry[]){ __VA_ARGS__ }) / \
        sizeof(struct msr_entry)

struct basic_row {
        struct row head;
        u32 msr;
        u64 a, b;
};

#define BASIC(name, msr_, needs_, a_, b_) \
        { ROW(name, NULL, NULL, needs_), MSR_IA32_##msr_, a_, b_ }
static const struct basic_row basic_rows[] = {
        BASIC("kernel-gs-base", KERNEL_GS_BASE, "intel64", 0xffff800000005000,
              0x00007fffffffa000),
        BASIC("star", STAR, "intel64", 0x0010000811112222, 0x00200018deadbeef),
        BASIC("lstar", LSTAR, "intel64", 0xffff800012345678, 0x00007ffffedcba98),
        BASIC("cstar", CSTAR, "intel64", 0xffff800056781234, 0x00007fffba98fedc),
        BASIC("fmask", FMASK, "intel64", 0x00047700, 0xfff3a8ff),
        BASIC("tsc-aux", TSC_AUX, "rdtscp", 0x12345678, 0xedcba987),
        BASIC("pat", PAT, "pat", 0x0007010600070106, 0x0001050407000406),
        BASIC("sysenter-cs", SYSENTER_CS, NULL, 0x12345678, 0x8),
        BASIC("sysenter-esp", SYSENTER_ESP, NULL, 0x12345678, 0x7edcba98),
        BASIC("sysenter-eip", SYSENTER_EIP, NULL, 0x56781234, 0x7a98fedc),
};

/* The guest reads @msr, loaded by the last of @entries, as @want. */
static void check_list(u32 msr, const struct msr_entry *entries, unsigned count,
                       u64 want)
{
        struct vm *vm = vm_begin(GUEST_NATIVE);

        vm_allow_msrs(vm);
        vm_entry_msrs(entries, count);
        CHECK_EQ("the MSR in the guest", vm_rdmsr(vm, msr), want);
}

TABLE(basic, basic_rows, .id = "entry.msr-load.basic",
      .title = "an entry writes its MSR", .sdm = SDM,
      .rules = "MSRL_BASIC_LOAD", .needs = "use-msr-bitmaps")
{
        const struct basic_row *r = case_row(self, row);
        u64 old = rdmsr(r->msr);

        wrmsr(r->msr, r->b);
        check_list(r->msr, LIST({ r->msr, 0, r->a }), r->a);
        wrmsr(r->msr, r->a);
        check_list(r->msr, LIST({ r->msr, 0, r->b }), r->b);
        wrmsr(r->msr, old);
}

CASE(debugctl, .id = "entry.msr-load.basic.debugctl",
     .title = "an entry writes IA32_DEBUGCTL, after the field", .sdm = SDM,
     .rules = "MSRL_BASIC_LOAD MSRL_OVERRIDES_GUEST_FIELDS",
     .needs = "use-msr-bitmaps load-debug-controls")
{
        if (!msr_takes(MSR_IA32_DEBUGCTL, DEBUGCTL_BTF)) {
                case_skip("WRMSR can not set IA32_DEBUGCTL.BTF");
                return;
        }
        for (u64 value = 0; value <= DEBUGCTL_BTF; value += DEBUGCTL_BTF) {
                struct vm *vm = vm_begin(GUEST_NATIVE);

                vm_allow_msrs(vm);
                vm_control(VMCS_ENTRY_CONTROLS, CTL_ENTRY_LOAD_DEBUG_CONTROLS, 0);
                vmwrite(VMCS_GUEST_DEBUGCTL, value ^ DEBUGCTL_BTF);
                vm_entry_msrs(LIST({ MSR_IA32_DEBUGCTL, 0, value }));
                CHECK_EQ("IA32_DEBUGCTL in the guest",
                         vm_rdmsr(vm, MSR_IA32_DEBUGCTL), value);
        }
}

PROGRAM(get_tsc, 32, "rdtsc\nvmcall\n");

/* Far from any value that the counter has or reaches. */
CASE(tsc, .id = "entry.msr-load.tsc",
     .title = "an entry writes the time-stamp counter", .sdm = SDM,
     .rules = "MSRL_TSC")
{
        const u64 value = 0x5a5a5a5a00000000, range = BIT(36);
        struct vm *vm = vm_begin(GUEST_NATIVE);
        bool adjustable = cpuid_bit(7, 0, 'b', 1);
        u64 adjust = adjustable ? rdmsr(MSR_IA32_TSC_ADJUST) : 0;
        u64 before, seen;

        vm_entry_msrs(LIST({ MSR_IA32_TIME_STAMP_COUNTER, 0, value }));
        vm_program(vm, get_tsc);
        vm_poison(0);
        before = rdtsc();
        CHECK_EXIT("RDTSC", vm_enter(vm), EXITS(EXIT_VMCALL));
        seen = (u64)(u32)vm->regs.rdx << 32 | (u32)vm->regs.rax;
        CHECK("the counter goes on from the value", seen - value < range,
              "0x%llx", (unsigned long long)seen);
        /* With the adjustment the counter is as if nobody had written it. */
        if (adjustable)
                wrmsr(MSR_IA32_TSC_ADJUST, adjust);
        else if (rdtsc() - value < range)
                wrmsr(MSR_IA32_TIME_STAMP_COUNTER, rdtsc() - value + before);
}

CASE(order, .id = "entry.msr-load.order",
     .title = "of two entries for an MSR the later one counts", .sdm = SDM,
     .rules = "MSRL_ORDER", .needs = "use-msr-bitmaps " FREE_NEEDS)
{
        u64 old = rdmsr(FREE_MSR);

        wrmsr(FREE_MSR, OLD);
        check_list(FREE_MSR, LIST({ FREE_MSR, 0, NEW }, { FREE_MSR, 0, NEWER }),
                   NEWER);
        check_list(FREE_MSR, LIST({ FREE_MSR, 0, NEWER }, { FREE_MSR, 0, NEW }),
                   NEW);
        wrmsr(FREE_MSR, old);
}

/* The address is checked only if the count is not 0. */
FAMILY(count_zero, 5, .id = "entry.msr-load.count-0",
       .title = "with count 0 the area is not used, wherever it is", .sdm = SDM,
       .rules = "MSRL_COUNT_ZERO", .needs = FREE_NEEDS)
{
        static const u64 addresses[] = {
                1, 8, 0xfffffffffffffff0, 0xffffffffffffffff,
        };
        const struct msr_entry good = { FREE_MSR, 0, NEW }, bad = BAD_ENTRY;
        u64 old = rdmsr(FREE_MSR);

        wrmsr(FREE_MSR, OLD);
        for (unsigned i = 0; i < 2; i++) {
                struct vm *vm = vm_begin(GUEST_NATIVE);

                vm_entry_msrs(i ? &bad : &good, 1);
                vmwrite(VMCS_ENTRY_MSR_LOAD_COUNT, 0);
                if (row)
                        vmwrite(VMCS_ENTRY_MSR_LOAD_ADDRESS, addresses[row - 1]);
                vm_poison(0);
                CHECK_EXIT("the guest", vm_enter(vm), EXITS(EXIT_VMCALL));
                CHECK_EQ("the MSR of the entry", rdmsr(FREE_MSR), OLD);
        }
        wrmsr(FREE_MSR, old);
}

/* Behind @count good entries stands one that can not be loaded. */
static const unsigned counts[] = { 1, 2, 3, 255, 256 };

FAMILY(exact_count, ARRAY_LEN(counts), .id = "entry.msr-load.count",
       .title = "as many entries are processed as the count says", .sdm = SDM,
       .rules = "MSRL_EXACT_COUNT", .needs = FREE_NEEDS)
{
        const unsigned count = counts[row];
        struct msr_entry *area = page_alloc(2);
        u64 old = rdmsr(FREE_MSR);

        for (unsigned i = 0; i < count; i++)
                area[i] = (struct msr_entry){ FREE_MSR, 0, NEW + i };
        area[count] = (struct msr_entry)BAD_ENTRY;
        for (unsigned more = 0; more < 2; more++) {
                struct vm *vm = vm_begin(GUEST_NATIVE);

                wrmsr(FREE_MSR, OLD);
                vmwrite(VMCS_ENTRY_MSR_LOAD_ADDRESS, phys(area));
                vmwrite(VMCS_ENTRY_MSR_LOAD_COUNT, count + more);
                vm_poison(0);
                if (more)
                        CHECK_EXIT("one entry more", vm_enter(vm),
                                   ENTRY_FAILS(EXIT_ENTRY_FAILURE_MSR_LOADING,
                                               count + 1));
                else
                        CHECK_EXIT("the guest", vm_enter(vm),
                                   EXITS(EXIT_VMCALL));
                CHECK_EQ("the MSR", rdmsr(FREE_MSR), NEW + count - 1);
        }
        wrmsr(FREE_MSR, old);
}

CASE(page_cross, .id = "entry.msr-load.page-crossing",
     .title = "an area may go on in the next page", .sdm = SDM,
     .rules = "MSRL_ADDRESS_PAGE_CROSS", .needs = FREE_NEEDS)
{
        struct msr_entry *area = (struct msr_entry *)
                ((u8 *)page_alloc(2) + PAGE_SIZE - sizeof(*area));
        u64 old = rdmsr(FREE_MSR), old_lstar = rdmsr(MSR_IA32_LSTAR);
        struct vm *vm = vm_begin(GUEST_NATIVE);

        wrmsr(FREE_MSR, OLD);
        wrmsr(MSR_IA32_LSTAR, OLD);
        area[0] = (struct msr_entry){ FREE_MSR, 0, NEW };
        area[1] = (struct msr_entry){ MSR_IA32_LSTAR, 0, NEWER };
        vmwrite(VMCS_ENTRY_MSR_LOAD_ADDRESS, phys(area));
        vmwrite(VMCS_ENTRY_MSR_LOAD_COUNT, 2);
        vm_poison(0);
        CHECK_EXIT("the guest", vm_enter(vm), EXITS(EXIT_VMCALL));
        CHECK_EQ("the MSR of the first entry", rdmsr(FREE_MSR), NEW);
        CHECK_EQ("the MSR of the second entry", rdmsr(MSR_IA32_LSTAR), NEWER);
        wrmsr(FREE_MSR, old);
        wrmsr(MSR_IA32_LSTAR, old_lstar);
}

/* 512 is what IA32_VMX_MISC[27:25] = 0 recommends as maximum; more may say so. */
CASE(maximum, .id = "entry.msr-load.recommended-maximum",
     .title = "512 entries are loaded", .sdm = SDM,
     .rules = "MSRL_RECOMMENDED_MAX", .needs = FREE_NEEDS)
{
        struct msr_entry *area = page_alloc(2);
        u64 old = rdmsr(FREE_MSR);
        struct vm *vm = vm_begin(GUEST_NATIVE);

        wrmsr(FREE_MSR, OLD);
        for (unsigned i = 0; i < 512; i++)
                area[i] = (struct msr_entry){ FREE_MSR, 0, NEW + i };
        vmwrite(VMCS_ENTRY_MSR_LOAD_ADDRESS, phys(area));
        vmwrite(VMCS_ENTRY_MSR_LOAD_COUNT, 512);
        vm_poison(0);
        CHECK_EXIT("the guest", vm_enter(vm), EXITS(EXIT_VMCALL));
        CHECK_EQ("the MSR", rdmsr(FREE_MSR), NEW + 511);
        wrmsr(FREE_MSR, old);
}

FAMILY(bitmap, 2, .id = "entry.msr-load.bitmap",
       .title = "MSR bitmaps of ones (row 0), or none at all (1), do not matter",
       .sdm = SDM, .rules = "MSRL_BITMAP_IGNORED",
       .needs = "use-msr-bitmaps " FREE_NEEDS)
{
        struct vm *vm = vm_begin(GUEST_NATIVE);
        u8 *bitmaps = page_alloc(1);
        u64 old = rdmsr(FREE_MSR);

        wrmsr(FREE_MSR, OLD);
        memset(bitmaps, 0xff, PAGE_SIZE);
        vm_control(VMCS_PRIMARY_CONTROLS, row ? 0 : CTL_PRIMARY_USE_MSR_BITMAPS,
                   row ? CTL_PRIMARY_USE_MSR_BITMAPS : 0);
        vmwrite(VMCS_MSR_BITMAPS, phys(bitmaps));
        vm_entry_msrs(LIST({ FREE_MSR, 0, NEW }));
        vm_poison(0);
        CHECK_EXIT("the guest", vm_enter(vm), EXITS(EXIT_VMCALL));
        CHECK_EQ("the MSR", rdmsr(FREE_MSR), NEW);
        wrmsr(FREE_MSR, old);
}

struct override_row {
        struct row head;
        u32 field, msr;
        u64 list;
};

static const struct override_row override_rows[] = {
        { ROW("sysenter-cs"), VMCS_GUEST_SYSENTER_CS, MSR_IA32_SYSENTER_CS,
          0x12345678 },
        { ROW("sysenter-esp"), VMCS_GUEST_SYSENTER_ESP, MSR_IA32_SYSENTER_ESP,
          0x7edcba98 },
        { ROW("sysenter-eip"), VMCS_GUEST_SYSENTER_EIP, MSR_IA32_SYSENTER_EIP,
          0x56781234 },
};

/* The others: entry_load_msrs_optional.c, entry_msr_load_efer.c. */
TABLE(override, override_rows, .id = "entry.msr-load.overrides-field",
      .title = "what a field loads an entry overwrites", .sdm = SDM,
      .rules = "MSRL_OVERRIDES_GUEST_FIELDS", .needs = "use-msr-bitmaps")
{
        const struct override_row *r = case_row(self, row);

        for (unsigned count = 0; count < 2; count++) {
                struct vm *vm = vm_begin(GUEST_NATIVE);

                vm_allow_msrs(vm);
                vmwrite(r->field, 0x1000);
                vm_entry_msrs(LIST({ r->msr, 0, r->list }));
                vmwrite(VMCS_ENTRY_MSR_LOAD_COUNT, count);
                CHECK_EQ("the MSR in the guest", vm_rdmsr(vm, r->msr),
                         count ? r->list : 0x1000);
                CHECK_EQ("the field after the VM exit", vmread(r->field),
                         count ? r->list : 0x1000);
        }
}
