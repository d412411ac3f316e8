/*
 * SDM Vol. 3, VMX Non-Root Operation > Instructions That Cause VM Exits
 * Conditionally: RDMSR and WRMSR, and the MSR bitmaps (Virtual Machine Control
 * Structures > MSR-Bitmap Address).
 */
#include "lib/string.h"
#include "x86/cpu.h"
#include "x86/memory.h"
#include "x86/msr.h"
#include "x86/vmx/exit_probe.h"

#define SDM "VMX Non-Root Operation > Instructions That Cause VM Exits > " \
            "Instructions That Cause VM Exits Conditionally"

ONE(rdmsr_code, "rdmsr");
ONE(wrmsr_code, "wrmsr");

/* The four bitmaps of 1 KByte each, as the page holds them. */
enum { READ_LOW, READ_HIGH, WRITE_LOW, WRITE_HIGH };

struct msr_row {
        struct row head;
        u32 msr;
        u8 bitmap;
};

#define LENGTH 2        /* of both instructions */

/*
 * An MSR that does not exist raises #GP in the guest where it does not exit:
 * either way the instruction was not stopped by the bitmap.
 */
static bool ran(struct vm *vm, struct vmx_result r)
{
        struct guest_event event;

        if (!result_matches(r, RESULT(EXITS(EXIT_VMCALL))))
                return false;
        if (vm_event(vm, &event))
                return event.vector == VEC_GP && event.rip == vm->entry_rip;
        return vmread(VMCS_GUEST_RIP) == vm->entry_rip + LENGTH;
}

static bool is_write(u8 bitmap)
{
        return bitmap == WRITE_LOW || bitmap == WRITE_HIGH;
}

static struct vm *msr_guest(u32 msr, bool write, u8 **bitmaps)
{
        struct vm *vm = vm_begin(GUEST_NATIVE);

        vm_program(vm, write ? wrmsr_code : rdmsr_code);
        vm->regs.rcx = msr;
        *bitmaps = page_alloc(1);
        vmwrite(VMCS_MSR_BITMAPS, phys(*bitmaps));
        vm_control(VMCS_PRIMARY_CONTROLS, CTL_PRIMARY_USE_MSR_BITMAPS, 0);
        vm_poison(0);
        return vm;
}

static void check_exits(struct vm *vm, bool write, const char *what)
{
        struct guest_regs before = vm->regs;
        struct vmx_result got = vm_enter(vm);
        struct vmx_result want = EXITS_WITH(write ? EXIT_WRMSR : EXIT_RDMSR, 0);

        if (!CHECK_RESULT(what, got, want)) {
                vm_report_exit();
                return;
        }
        CHECK_EQ("RIP at the instruction", vmread(VMCS_GUEST_RIP),
                 vm->entry_rip);
        CHECK_EQ("VM-exit instruction length",
                 vmread(VMCS_EXIT_INSTRUCTION_LENGTH), LENGTH);
        CHECK("general registers as before",
              !memcmp(&before, &vm->regs, sizeof(before)), "RAX 0x%llx",
              (unsigned long long)vm->regs.rax);
}

static void check_runs(struct vm *vm, const char *what)
{
        struct vmx_result got = vm_enter(vm);

        if (!CHECK(what, ran(vm, got), "VM exit %u", got.code))
                vm_report_exit();
}

#define MSR_ROWS(name, bitmap_, base, rule)                                   \
        { ROW(name ".first", NULL, rule), (base), bitmap_ },                  \
        { ROW(name ".second", NULL, rule), (base) + 1, bitmap_ },             \
        { ROW(name ".byte-1", NULL, rule), (base) + 8, bitmap_ },             \
        { ROW(name ".middle", NULL, rule), (base) + 0x1234, bitmap_ },        \
        { ROW(name ".last", NULL, rule), (base) + 0x1fff, bitmap_ }

/*
 * WRMSR really writes where it runs, so those rows take MSRs that no processor
 * has, or one that may be written with any value.
 */
static const struct msr_row rows[] = {
        MSR_ROWS("read-low", READ_LOW, 0, "EXI_RDMSR_BITMAP_LOW"),
        MSR_ROWS("read-high", READ_HIGH, 0xc0000000, "EXI_RDMSR_BITMAP_HIGH"),
        { ROW("write-low.sysenter-cs", NULL, "EXI_WRMSR_BITMAP_LOW"),
          MSR_IA32_SYSENTER_CS, WRITE_LOW },
        { ROW("write-low.middle", NULL, "EXI_WRMSR_BITMAP_LOW"), 0x1234,
          WRITE_LOW },
        { ROW("write-low.last", NULL, "EXI_WRMSR_BITMAP_LOW"), 0x1fff,
          WRITE_LOW },
        { ROW("write-high.first", NULL, "EXI_WRMSR_BITMAP_HIGH"), 0xc0000000,
          WRITE_HIGH },
        { ROW("write-high.middle", NULL, "EXI_WRMSR_BITMAP_HIGH"), 0xc0001234,
          WRITE_HIGH },
        { ROW("write-high.last", NULL, "EXI_WRMSR_BITMAP_HIGH"), 0xc0001fff,
          WRITE_HIGH },
};

/*
 * The side that runs has every other bit of the page 1, the side that exits has
 * every other bit 0.
 */
TABLE(bitmaps, rows, .id = "exit.msr.bitmap",
      .title = "RDMSR and WRMSR exit by one bit of the MSR bitmaps",
      .sdm = SDM, .needs = "use-msr-bitmaps")
{
        const struct msr_row *r = case_row(self, row);
        unsigned at = r->bitmap * 1024 + (r->msr & 0x1fff) / 8;
        u8 bit = (u8)(1u << (r->msr & 7)), *bitmaps;
        u64 cs = rdmsr(MSR_IA32_SYSENTER_CS);
        struct vm *vm;

        vm = msr_guest(r->msr, is_write(r->bitmap), &bitmaps);
        memset(bitmaps, 0xff, PAGE_SIZE);
        bitmaps[at] &= (u8)~bit;
        check_runs(vm, "bit is 0, all others 1");

        vm = msr_guest(r->msr, is_write(r->bitmap), &bitmaps);
        bitmaps[at] = bit;
        check_exits(vm, is_write(r->bitmap), "bit is 1, all others 0");
        wrmsr(MSR_IA32_SYSENTER_CS, cs);
}

static const struct msr_row outside_rows[] = {
        { ROW("2000"), 0x2000, 0 },
        { ROW("40000000"), 0x40000000, 0 },
        { ROW("bfffffff"), 0xbfffffff, 0 },
        { ROW("c0002000"), 0xc0002000, 0 },
        { ROW("ffffffff"), 0xffffffff, 0 },
};

TABLE(outside, outside_rows, .id = "exit.msr.outside",
      .title = "an MSR outside both ranges of the bitmaps exits in any case",
      .sdm = SDM, .rules = "EXI_MSR_OUTSIDE_RANGES",
      .needs = "use-msr-bitmaps")
{
        const struct msr_row *r = case_row(self, row);
        u8 *bitmaps;

        for (unsigned write = 0; write < 2; write++)
                check_exits(msr_guest(r->msr, write, &bitmaps), write,
                            write ? "WRMSR" : "RDMSR");
        check_runs(msr_guest(0x1fff, false, &bitmaps), "RDMSR of 1FFFH");
        check_runs(msr_guest(0xc0001fff, false, &bitmaps),
                   "RDMSR of C0001FFFH");
}

CASE(no_bitmaps, .id = "exit.msr.no-bitmaps",
     .title = "without MSR bitmaps every RDMSR and WRMSR exits", .sdm = SDM,
     .rules = "EXI_RDMSR_NO_BITMAP EXI_WRMSR_NO_BITMAP",
     .needs = "use-msr-bitmaps")
{
        u64 before = rdmsr(MSR_IA32_SYSENTER_CS);
        u8 *bitmaps;

        for (unsigned write = 0; write < 2; write++) {
                struct vm *vm = msr_guest(MSR_IA32_SYSENTER_CS, write,
                                          &bitmaps);

                vm_control(VMCS_PRIMARY_CONTROLS, 0,
                           CTL_PRIMARY_USE_MSR_BITMAPS);
                check_exits(vm, write, write ? "WRMSR" : "RDMSR");
                CHECK_EQ("guest IA32_SYSENTER_CS, not written",
                         vmread(VMCS_GUEST_SYSENTER_CS), 0);
                check_runs(msr_guest(MSR_IA32_SYSENTER_CS, write, &bitmaps),
                           write ? "WRMSR, bit is 0" : "RDMSR, bit is 0");
        }
        wrmsr(MSR_IA32_SYSENTER_CS, before);
}

CASE(separate, .id = "exit.msr.read-and-write-apart",
     .title = "the bitmaps for reads and for writes are independent",
     .sdm = SDM, .rules = "EXI_MSR_READ_WRITE_SEPARATE",
     .needs = "use-msr-bitmaps")
{
        const unsigned byte = MSR_IA32_SYSENTER_CS / 8;
        const u8 bit = 1 << MSR_IA32_SYSENTER_CS % 8;
        u64 before = rdmsr(MSR_IA32_SYSENTER_CS);

        for (unsigned write = 0; write < 2; write++) {
                u8 *bitmaps;
                struct vm *vm = msr_guest(MSR_IA32_SYSENTER_CS, write,
                                          &bitmaps);

                bitmaps[(write ? READ_LOW : WRITE_LOW) * 1024 + byte] = bit;
                check_runs(vm, "only the other access has its bit set");
                vm = msr_guest(MSR_IA32_SYSENTER_CS, write, &bitmaps);
                bitmaps[(write ? WRITE_LOW : READ_LOW) * 1024 + byte] = bit;
                check_exits(vm, write, "only this access has its bit set");
        }
        wrmsr(MSR_IA32_SYSENTER_CS, before);
}

#ifdef __x86_64__
CASE(ecx_only, .id = "exit.msr.ecx-only",
     .title = "bits 63:32 of RCX do not count", .sdm = SDM,
     .rules = "EXI_MSR_ECX_32BIT", .needs = "use-msr-bitmaps host64")
{
        u8 *bitmaps;
        struct vm *vm = msr_guest(0x10, false, &bitmaps);

        vm->regs.rcx |= 0xffffffff00000000ull;
        check_runs(vm, "bit is 0");
        vm = msr_guest(0x10, false, &bitmaps);
        vm->regs.rcx |= 0xffffffff00000000ull;
        bitmaps[2] = 1;
        check_exits(vm, false, "bit is 1");
}
#endif

CASE(live, .id = "exit.msr.bitmap-live",
     .title = "a bitmap changed between two entries counts at once", .sdm = SDM,
     .rules = "EXI_MSR_BITMAP_LIVE", .needs = "use-msr-bitmaps")
{
        u8 *bitmaps;
        struct vm *vm = msr_guest(0x10, false, &bitmaps);

        bitmaps[2] = 1;
        check_exits(vm, false, "bit is 1");
        bitmaps[2] = 0;
        check_runs(vm, "bit is 0 now");
        bitmaps[2] = 1;
        vmwrite(VMCS_GUEST_RIP, vm->entry_rip);
        check_exits(vm, false, "bit is 1 again");
}
